//! Heartbeats: on a thread with a runtime of its own, so that neither a proof on all cores nor a full runtime delays them.

use std::{io, sync::Arc, thread::JoinHandle, time::Duration};

use tokio_util::sync::CancellationToken;

use super::supervisor::{Session, Shared};
use crate::farm::lease::{Beat, BeatAnswer, UplinkError};
use std::sync::atomic::Ordering;

/// After a refusal: only an operator changes that.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);
/// Between a beat and one for news.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

/// The thread.
#[derive(Debug)]
pub(super) struct Pulse {
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Pulse {
    pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (shared, stopped) = (Arc::clone(shared), stop.clone());
        let thread = std::thread::Builder::new()
            .name("heartbeat".into())
            .spawn(move || {
                // This thread only, and only where the system lets it.
                let _ = rustix::process::nice(-10);
                runtime.block_on(async {
                    tokio::select! {
                        () = beat(&shared) => {}
                        () = stopped.cancelled() => {}
                    }
                });
            })?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
    }
}

async fn beat(shared: &Shared) {
    loop {
        let session = shared.in_session().await;
        let begun = tokio::time::Instant::now();
        // A beat that gets no answer must not keep the next one back until the leases run out.
        let patience = (session.lease_ttl / 3).max(session.heartbeat);
        let call = shared.uplink.heartbeat(compose(shared, session));
        let next = match tokio::time::timeout(patience, call).await {
            Ok(Ok(answer)) => {
                obey(shared, session, answer);
                session.heartbeat
            }
            Ok(Err(UplinkError::StaleSession)) => {
                shared.is_over(session.number);
                continue;
            }
            Ok(Err(error @ UplinkError::Refused(_))) => {
                tracing::error!(%error, "heartbeat refused");
                REFUSED_PAUSE
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "heartbeat failed");
                session.heartbeat.min(Duration::from_secs(1))
            }
            Err(_) => {
                tracing::warn!("heartbeat without an answer");
                session.heartbeat.min(Duration::from_secs(1))
            }
        };
        tokio::select! {
            () = tokio::time::sleep_until(begun + next) => {}
            () = shared.news.notified() => tokio::time::sleep_until(begun + LEAST_PAUSE.min(next)).await,
        }
    }
}

fn compose(shared: &Shared, session: Session) -> Beat {
    Beat {
        session: session.number,
        attempts: shared.attempts().iter().map(|w| w.status()).collect(),
        free: shared.free(),
        draining: shared.stopping.is_cancelled(),
        keys: shared.keys(),
        disk_free: shared.disk_free(),
    }
}

fn obey(shared: &Shared, session: Session, answer: BeatAnswer) {
    for attempt in answer.cancel {
        shared.cancel(attempt);
    }
    if shared.drained.swap(answer.drain, Ordering::Relaxed) != answer.drain {
        tracing::info!(
            drain = answer.drain,
            "the gateway changed whether this node takes leases"
        );
        shared.notify_changed();
    }
    for circuit in answer.evict {
        shared.evict(circuit);
    }
    shared.wish(answer.prefetch);
    if answer.stale {
        shared.is_over(session.number);
    }
}
