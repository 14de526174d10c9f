//! `/metrics` and `/healthz` over plain HTTP, on a listener of their own.

use std::sync::Arc;

use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use tokio::net::TcpListener;

use crate::farm::Farm;

/// Serves until the farm stops.
///
/// # Errors
/// The listener fails.
pub async fn serve(listener: TcpListener, farm: Arc<Farm>) -> std::io::Result<()> {
    let stopping = farm.stopping.clone();
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .with_state(farm);
    axum::serve(listener, routes)
        .with_graceful_shutdown(async move { stopping.cancelled().await })
        .await
}

async fn metrics(State(farm): State<Arc<Farm>>) -> impl IntoResponse {
    let gauges = farm.gauges().await.unwrap_or_else(|error| {
        tracing::error!(%error, "cannot read the gauges");
        farm.metrics.store_error();
        Default::default()
    });
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], farm.metrics.text(&gauges))
}

async fn health(State(farm): State<Arc<Farm>>) -> impl IntoResponse {
    use axum::http::StatusCode;
    if farm.stopping.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        match farm.store.now().await {
            Ok(_) => (StatusCode::OK, "ok\n"),
            Err(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the store does not answer\n",
            ),
        }
    }
}
