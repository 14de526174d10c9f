//! Counts and times gRPC calls.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use http::{Request, Response};
use tower::{Layer, Service};

use super::Metrics;

/// Measures every call that goes through.
#[derive(Clone, Debug)]
pub struct MeasureLayer {
    metrics: Arc<Metrics>,
    methods: Arc<[String]>,
}

impl MeasureLayer {
    /// Counts into `metrics`. Paths that are not in `methods` ("Service/Method") are one label, so that a client cannot make labels.
    pub fn new(metrics: Arc<Metrics>, methods: Vec<String>) -> Self {
        Self {
            metrics,
            methods: methods.into(),
        }
    }
}

impl<S> Layer<S> for MeasureLayer {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured {
            inner,
            layer: self.clone(),
        }
    }
}

/// A service whose calls are measured.
#[derive(Clone, Debug)]
pub struct Measured<S> {
    inner: S,
    layer: MeasureLayer,
}

/// The name of a gRPC status number.
fn code_name(code: Option<&str>) -> &'static str {
    // A call that fails before its first message has the status in its headers; what comes later counts as OK.
    match code.unwrap_or("0") {
        "0" => "OK",
        "1" => "CANCELLED",
        "3" => "INVALID_ARGUMENT",
        "4" => "DEADLINE_EXCEEDED",
        "5" => "NOT_FOUND",
        "6" => "ALREADY_EXISTS",
        "7" => "PERMISSION_DENIED",
        "8" => "RESOURCE_EXHAUSTED",
        "9" => "FAILED_PRECONDITION",
        "10" => "ABORTED",
        "12" => "UNIMPLEMENTED",
        "13" => "INTERNAL",
        "14" => "UNAVAILABLE",
        "16" => "UNAUTHENTICATED",
        _ => "OTHER",
    }
}

impl<S, A, B> Service<Request<A>> for Measured<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send + 'static>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let path = request.uri().path();
        let path = path.strip_prefix("/zkinfer.v1.").unwrap_or(path);
        let method = self.layer.methods.iter().find(|m| *m == path);
        let method = method.map_or("other", String::as_str).to_owned();
        let metrics = Arc::clone(&self.layer.metrics);
        let begun = Instant::now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = match &answer {
                Ok(response) => code_name(
                    response
                        .headers()
                        .get("grpc-status")
                        .and_then(|v| v.to_str().ok()),
                ),
                Err(_) => "OTHER",
            };
            metrics.called(&method, code, begun.elapsed());
            answer
        })
    }
}
