//! One lease: its files, its input, its proof, and the gateway's answer.

use std::{io, sync::Arc, time::Duration};

use zeroize::Zeroizing;

use super::{
    backoff::Backoff,
    cache::{CacheError, Held, Source},
    input,
    slot::{Load, Order, Proved},
    supervisor::{Files, Seat, Shared},
    watch::{Stop, Watch},
};
use crate::{
    farm::lease::{FetchFile, Finished, Lease, UplinkError, Verdict},
    store::{ArtifactKind, Failure, FailureClass, Phase},
    work::{Control as _, WorkError},
};

/// Failures that a damaged file on this disk explains.
const DAMAGE: [&str; 4] = ["BAD_BUNDLE", "BAD_KEY", "SELF_CHECK", "PROVE"];

/// How long a slot rests that could not start its child.
const BROKEN_PAUSE: Duration = Duration::from_secs(30);

/// Notes that an attempt runs, as long as this lives.
struct Registered<'a>(&'a Shared, &'a Watch);

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.0.end(self.1.attempt());
    }
}

/// Works on a lease until the gateway knows how it ended.
pub(super) async fn run(shared: Arc<Shared>, mut seat: Seat, lease: Lease) {
    let attempt = lease.attempt;
    let watch = Arc::new(Watch::new(attempt, lease.limits));
    if !shared.begin(&watch) {
        tracing::warn!(%attempt, "the gateway granted an attempt twice");
        shared.free_seat(seat);
        return;
    }
    let _registered = Registered(&shared, &watch);
    shared.news.notify_one();
    tracing::info!(%attempt, circuit = %lease.circuit, speculative = lease.speculative, trace = lease.trace.get("traceparent"), "started");
    let result = make(&shared, &mut seat, &lease, &watch).await;
    let broken = matches!(&result, Err(WorkError::Failed(f)) if f.code == "CHILD_SPAWN");
    if broken {
        // A slot that cannot start a child would fail job after job.
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            tokio::time::sleep(BROKEN_PAUSE).await;
            shared.free_seat(seat);
        });
    } else {
        shared.free_seat(seat);
    }
    settle(&shared, &lease, &watch, result).await;
}

/// Makes the proof; once more with files compared anew when a damaged file may be why it failed.
async fn make(
    shared: &Shared,
    seat: &mut Seat,
    lease: &Lease,
    watch: &Arc<Watch>,
) -> Result<Proved, WorkError> {
    match try_make(shared, seat, lease, watch).await {
        Err(WorkError::Failed(failure)) if DAMAGE.contains(&failure.code.as_str()) => {
            let Files::Cache(cache) = &shared.config.files else {
                return Err(WorkError::Failed(failure));
            };
            tracing::warn!(attempt = %lease.attempt, code = failure.code, message = failure.message, "comparing the files of the circuit again");
            seat.slot.forget(lease.circuit);
            cache.suspect(lease.circuit);
            try_make(shared, seat, lease, watch).await
        }
        result => result,
    }
}

async fn try_make(
    shared: &Shared,
    seat: &mut Seat,
    lease: &Lease,
    watch: &Arc<Watch>,
) -> Result<Proved, WorkError> {
    if watch.report(Phase::FetchKey, 0, 1).is_break() {
        return Err(WorkError::Cancelled);
    }
    let source = LeaseSource { shared, lease };
    let bundle = bundle(shared, lease, &source, watch).await?;
    let input = read_input(shared, lease, &source, watch).await?;
    let order = Order {
        load: Load {
            circuit: lease.circuit,
            folder: bundle.folder(),
            limits: lease.limits,
            time_limit: lease.time_limit,
        },
        input,
        context: lease.context,
    };
    let proved = seat.slot.prove(order, watch).await?;
    if let (Files::Cache(cache), false) = (&shared.config.files, proved.key_load.is_zero()) {
        cache.loaded(lease.circuit, proved.key_load);
    }
    Ok(proved)
}

/// A bundle's folder; one of the cache is kept as long as this.
enum Bundle {
    Local(std::path::PathBuf),
    Held(Held),
}

impl Bundle {
    fn folder(&self) -> std::path::PathBuf {
        match self {
            Self::Local(folder) => folder.clone(),
            Self::Held(held) => held.folder().to_owned(),
        }
    }
}

async fn bundle(
    shared: &Shared,
    lease: &Lease,
    source: &LeaseSource<'_>,
    watch: &Watch,
) -> Result<Bundle, WorkError> {
    let cache = match &shared.config.files {
        Files::Local(folder) => {
            return Ok(Bundle::Local(folder.join(lease.circuit.0.to_string())));
        }
        Files::Cache(cache) => cache,
    };
    let is_input = |file: &&FetchFile| file.kind == ArtifactKind::Input;
    let files: Vec<&FetchFile> = lease.files.iter().filter(|f| !is_input(f)).collect();
    let held = cache.bundle(lease.circuit, &files, source, watch).await;
    held.map(Bundle::Held).map_err(|e| match e {
        CacheError::Stopped => WorkError::Cancelled,
        // Others' keys leave when their proofs are made: this one is for later, or for another node.
        e if e.is_no_room() && cache.is_busy(lease.circuit) => {
            tracing::warn!(attempt = %lease.attempt, error = %e, "handing back what has no room now");
            WorkError::Cancelled
        }
        e if e.is_no_room() => WorkError::fault("NO_DISK", e.to_string()),
        e @ (CacheError::Name(_) | CacheError::Incomplete(_) | CacheError::Size { .. }) => {
            WorkError::internal("BAD_LEASE", e.to_string())
        }
        e => WorkError::fault("FETCH", e.to_string()),
    })
}

async fn read_input(
    shared: &Shared,
    lease: &Lease,
    source: &LeaseSource<'_>,
    watch: &Watch,
) -> Result<Zeroizing<Vec<u8>>, WorkError> {
    let bad = |e: String| WorkError::internal("BAD_LEASE", e);
    let mut inputs = lease.files.iter().filter(|f| f.kind == ArtifactKind::Input);
    let (Some(file), None) = (inputs.next(), inputs.next()) else {
        return Err(bad("expected a lease with one input".to_owned()));
    };
    let sealed = input::fetch(file, source, watch).await?;
    if !file.encrypted {
        return Ok(sealed);
    }
    input::open(shared.config.secret.as_ref(), lease, &sealed)
}

/// Fetches with the session of the moment.
struct LeaseSource<'a> {
    shared: &'a Shared,
    lease: &'a Lease,
}

#[async_trait::async_trait]
impl Source for LeaseSource<'_> {
    async fn fetch(
        &self,
        file: &FetchFile,
        offset: u64,
        sink: &mut (dyn io::Write + Send),
    ) -> Result<(), UplinkError> {
        let session = self.shared.in_session().await.number;
        let fetched = self
            .shared
            .uplink
            .fetch(session, self.lease, file, offset, sink)
            .await;
        if matches!(fetched, Err(UplinkError::StaleSession)) {
            self.shared.is_over(session);
        }
        fetched
    }
}

/// Tells the gateway how it ended, until the gateway answers.
async fn settle(shared: &Shared, lease: &Lease, watch: &Watch, result: Result<Proved, WorkError>) {
    let attempt = lease.attempt;
    match result {
        Ok(proved) => {
            watch.finish();
            commit(shared, lease, watch, proved).await;
        }
        Err(WorkError::Failed(failure)) => {
            tracing::warn!(%attempt, class = %failure.class, code = failure.code, message = failure.message, "attempt failed");
            fail(shared, watch, failure).await;
        }
        Err(WorkError::Cancelled) if watch.why_stopped() == Some(Stop::Gateway) => {
            tracing::info!(%attempt, "stopped");
        }
        Err(WorkError::Cancelled) => {
            let message = "handed back before the proof was made";
            let failure = Failure::new(FailureClass::Cancelled, "HANDED_BACK", message);
            fail(shared, watch, failure).await;
        }
    }
}

async fn commit(shared: &Shared, lease: &Lease, watch: &Watch, proved: Proved) {
    let attempt = lease.attempt;
    let length = proved.parts.proof.len() as u64;
    let most = shared.in_session().await.max_proof_bytes;
    if length > most {
        let message = format!("the proof has {length} bytes, the gateway reads at most {most}");
        let failure = Failure::new(FailureClass::Internal, "PROOF_TOO_LONG", message);
        return fail(shared, watch, failure).await;
    }
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        let session = shared.in_session().await.number;
        let finished = Finished {
            session,
            attempt,
            proof: proved.parts.proof.clone(),
            public_values: proved.parts.public_values.clone(),
            vk_digest: lease.vk_digest,
            key_load: proved.key_load,
            prove: proved.prove,
            peak_ram: watch.peak_ram(),
        };
        match shared.uplink.commit(finished).await {
            Ok(Verdict::Settled(outcome)) => {
                let ms = proved.prove.as_millis() as u64;
                tracing::info!(%attempt, ?outcome, prove_ms = ms, peak_ram = watch.peak_ram(), "done");
                return;
            }
            Ok(Verdict::Invalid(reason)) => {
                tracing::error!(%attempt, reason, "the gateway refused the proof; the circuit's files are compared before they are used again");
                if let Files::Cache(cache) = &shared.config.files {
                    cache.suspect(lease.circuit);
                }
                shared.forget_loaded(lease.circuit);
                return;
            }
            Err(UplinkError::Refused(reason)) => {
                tracing::error!(%attempt, reason, "the gateway does not take the proof");
                return;
            }
            Err(UplinkError::StaleSession) => shared.is_over(session),
            Err(error) => {
                tracing::warn!(%attempt, %error, "cannot deliver the proof; trying again");
                backoff.wait().await;
            }
        }
    }
}

async fn fail(shared: &Shared, watch: &Watch, failure: Failure) {
    let attempt = watch.attempt();
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    // Of an attempt that the gateway dropped it wants to hear nothing.
    while watch.why_stopped() != Some(Stop::Gateway) {
        let session = shared.in_session().await.number;
        match shared.uplink.fail(session, attempt, failure.clone()).await {
            Ok(stale) => {
                if stale {
                    tracing::info!(%attempt, "the attempt was over before it failed");
                }
                return;
            }
            Err(UplinkError::Refused(reason)) => {
                tracing::warn!(%attempt, reason, "the gateway does not hear of the failure");
                return;
            }
            Err(UplinkError::StaleSession) => shared.is_over(session),
            Err(error) => {
                tracing::warn!(%attempt, %error, "cannot tell the failure; trying again");
                backoff.wait().await;
            }
        }
    }
}
