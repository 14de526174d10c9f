//! Leases: the scheduler's plan, taken in the store, with everything that the node needs to work on them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Desk, MAX_KEYS, MAX_WAIT, stopping};
use crate::{
    farm::{
        Farm,
        job::NOT_HANDED_OUT,
        lease::{Acquire, FetchFile, Granted, Lease, UplinkError},
        scheduler::{NodeClass, Plan, Waiting, plan, speculate},
        snapshot::{Asking, Outlook},
    },
    store::{
        ArtifactKind, Circuit, Failure, FailureClass, JobId, Leased, Node, NodeId, NodeState,
        Priority, Resources, StoreError, Want, sealed::binding,
    },
};

/// The pause before a node that takes nothing more asks again.
const LATER: Duration = Duration::from_secs(5);
/// What is looked for at least so often: the time of leases and copies passes without an event.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Bytes that a node fetches in a millisecond at least.
const SLOWEST_BYTES_A_MS: u64 = 1000;
/// What an attempt may always take.
const PATIENCE_MS: u64 = 600_000;
/// Memory that an attempt may use beyond its circuit's estimate, which is one.
const SPARE_BYTES: u64 = 512 << 20;

/// Ends the wait of a node when its call ends; a call of a past session ends nothing of this one.
struct Waits<'a>(&'a Desk, NodeId, u64);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.with(self.1, |v| v.waits &= v.visit != self.2);
    }
}

fn nothing(retry_after: Duration) -> Granted {
    Granted {
        retry_after,
        ..Granted::default()
    }
}

pub(super) async fn acquire(
    desk: &Desk,
    id: NodeId,
    mut ask: Acquire,
) -> Result<Granted, UplinkError> {
    let node = desk.admitted(id).await?;
    current(&node, ask.session)?;
    if let Err(wait) = desk.with(id, |v| v.pace.take(Instant::now())) {
        return Ok(nothing(wait));
    }
    let (waited, visit) = desk.with(id, |v| (std::mem::replace(&mut v.waits, true), v.visit));
    if waited {
        return Ok(nothing(Duration::from_secs(1)));
    }
    let _waits = Waits(desk, id, visit);
    ask.keys.truncate(MAX_KEYS);
    let farm = &desk.farm;
    let until = tokio::time::Instant::now() + ask.wait.min(MAX_WAIT);
    let mut changes = farm.store.changes();
    let asking = Arc::new(Asking {
        node: id,
        free: ask.free,
        keys: ask.keys,
    });
    loop {
        changes.mark_unchanged();
        let work = round(
            Arc::clone(farm),
            ask.session,
            ask.max_leases,
            Arc::clone(&asking),
        );
        let Round { granted, again_in } = desk.detached(work).await?;
        desk.with(id, |v| v.prefetch.clone_from(&granted.prefetch));
        let over = tokio::time::Instant::now() >= until;
        if !granted.leases.is_empty() || !granted.retry_after.is_zero() || over {
            return Ok(granted);
        }
        let pause = tokio::time::Instant::now() + again_in.min(LOOK_EVERY);
        tokio::select! {
            () = farm.stopping.cancelled() => return Err(stopping()),
            _ = changes.changed() => {}
            () = tokio::time::sleep_until(pause.min(until)) => {}
        }
    }
}

fn current(node: &Node, session: i64) -> Result<(), UplinkError> {
    if node.online && node.session == session {
        Ok(())
    } else {
        Err(UplinkError::StaleSession)
    }
}

/// What one look at the queue gave.
struct Round {
    granted: Granted,
    /// When time alone may change that.
    again_in: Duration,
}

async fn round(
    farm: Arc<Farm>,
    session: i64,
    max: u32,
    asking: Arc<Asking>,
) -> Result<Round, UplinkError> {
    let id = asking.node;
    let outlook = farm.look(&[], Some(&asking)).await?;
    let Some(node) = outlook.nodes.iter().find(|n| n.id == id) else {
        return Err(UplinkError::Refused(format!("{id} is not known here")));
    };
    current(node, session)?;
    if node.state != NodeState::Active || max == 0 || node.slots() <= node.running {
        let granted = nothing(LATER);
        let again_in = LATER;
        return Ok(Round { granted, again_in });
    }
    let plan = plan(&outlook.snapshot, id, max);
    let wants = wants(&outlook, &plan, id);
    remember(&farm, &outlook, &plan).await?;
    let begun = Instant::now();
    let leased = match wants.is_empty() {
        true => Vec::new(),
        false => {
            let ttl = farm.limits.lease_ttl_ms();
            farm.store.lease(id, session, &wants, ttl).await?
        }
    };
    let mut leases = Vec::with_capacity(leased.len());
    if !leased.is_empty() {
        farm.metrics.leased(begun.elapsed());
    }
    for taken in leased {
        let priority = taken.job.priority;
        farm.leased(priority == Priority::Batch);
        if taken.attempt.epoch == 1 {
            let waited = outlook.snapshot.now.saturating_sub(taken.job.created_at);
            farm.metrics
                .waited(Duration::from_millis(waited.max(0) as u64));
        }
        tracing::info!(node = %id, attempt = %taken.attempt, circuit = %taken.job.circuit, speculative = taken.speculative, "leased");
        match lease(&farm, node, &taken).await {
            Ok(lease) => leases.push(lease),
            Err(failure) => {
                // Not the node's fault: it never saw the attempt.
                tracing::error!(attempt = %taken.attempt, message = failure.message, "cannot hand the attempt out");
                let told = farm.store.fail_attempt(id, session, taken.attempt, failure);
                if let Err(error) = told.await {
                    // The others were handed out; this lease runs out.
                    tracing::error!(attempt = %taken.attempt, %error, "cannot take it back");
                }
            }
        }
    }
    let until =
        |at: Option<i64>| at.map(|at| at.saturating_sub(outlook.snapshot.now).max(1) as u64);
    let again = [until(plan.retry_at), until(outlook.next_due)];
    let again = again.into_iter().flatten().min().unwrap_or(u64::MAX);
    Ok(Round {
        granted: Granted {
            leases,
            prefetch: plan.prefetch,
            retry_after: Duration::ZERO,
        },
        again_in: Duration::from_millis(again),
    })
}

/// Longer than any honest node takes: to fetch the key, load it, and prove within twice the time of its lease.
fn at_most_ms(job: &Waiting) -> u64 {
    let fetch = job.needs.disk_bytes / SLOWEST_BYTES_A_MS;
    let prove = job.estimated_ms.saturating_mul(40);
    let load = job.key_load_ms.saturating_mul(10);
    PATIENCE_MS
        .saturating_add(fetch)
        .saturating_add(prove)
        .saturating_add(load)
}

/// What to take: the plan, or when there is none, a copy of what takes too long.
fn wants(outlook: &Outlook, plan: &Plan, node: NodeId) -> Vec<Want> {
    let find = |id: &JobId| outlook.snapshot.jobs.iter().find(|j| j.job == *id);
    let mut wants: Vec<Want> = plan
        .picks
        .iter()
        .filter_map(find)
        .map(|job| Want {
            job: job.job,
            charge_ms: job.estimated_ms,
            at_most_ms: at_most_ms(job),
            copy: false,
        })
        .collect();
    if wants.is_empty()
        && let Some(job) = speculate(&outlook.snapshot, &outlook.running, node)
    {
        let late = outlook.running.iter().find(|r| r.job.job == job);
        wants.extend(late.map(|late| Want {
            job,
            charge_ms: 0,
            at_most_ms: at_most_ms(&late.job),
            copy: true,
        }));
    }
    wants
}

/// Writes down who was passed over, or held for the first time.
async fn remember(farm: &Farm, outlook: &Outlook, plan: &Plan) -> Result<(), StoreError> {
    let is_new = |id: &&JobId| {
        let job = outlook.snapshot.jobs.iter().find(|j| j.job == **id);
        job.is_some_and(|j| j.passed_since.is_none())
    };
    let held: Vec<JobId> = plan.held.iter().filter(is_new).copied().collect();
    if plan.passed_over.is_empty() && held.is_empty() {
        return Ok(());
    }
    farm.store.pass_over(&plan.passed_over, &held).await
}

fn internal(message: String) -> Failure {
    Failure::new(FailureClass::Internal, NOT_HANDED_OUT, message)
}

/// Everything that the node needs to work on an attempt.
async fn lease(farm: &Arc<Farm>, node: &Node, taken: &Leased) -> Result<Lease, Failure> {
    let job = &taken.job;
    let circuit = farm
        .store
        .circuit(job.tenant, job.circuit)
        .await
        .map_err(|e| internal(format!("cannot read the circuit: {e}")))?;
    let Some(keys) = &circuit.keys else {
        return Err(internal(format!("{} has no keys", job.circuit)));
    };
    let mut files = farm.files_of(job.circuit).await.map_err(internal)?.to_vec();
    files.push(input_file(farm, taken)?);
    Ok(Lease {
        attempt: taken.attempt,
        circuit: job.circuit,
        backend: circuit.backend,
        files,
        input_key: input_key(farm, node, taken)?,
        context: job.context,
        vk_digest: keys.vk_digest,
        limits: limits(&circuit),
        time_limit: time_limit(farm, node, taken, &circuit),
        trace: job.trace.clone(),
        speculative: taken.speculative,
    })
}

fn input_file(farm: &Farm, taken: &Leased) -> Result<FetchFile, Failure> {
    let digest = taken
        .job
        .input
        .ok_or_else(|| internal("the job has no input".to_owned()))?;
    let size = std::fs::metadata(farm.blobs.path(&digest))
        .map_err(|e| internal(format!("the stored input: {e}")))?
        .len();
    Ok(FetchFile {
        kind: ArtifactKind::Input,
        name: String::new(),
        digest,
        size,
        encrypted: !taken.job.input_key.is_empty(),
    })
}

/// The data key of a sealed input: wrapped for the node's certificate, or as it is for the node of this process.
fn input_key(farm: &Farm, node: &Node, taken: &Leased) -> Result<Vec<u8>, Failure> {
    let wrapped = &taken.job.input_key;
    if wrapped.is_empty() {
        return Ok(Vec::new());
    }
    let made = if node.public_key.is_empty() {
        farm.vault.unwrap_key(wrapped).map(|key| key.to_vec())
    } else {
        let aad = binding(taken.attempt.job, taken.attempt.epoch);
        farm.vault.wrap_for_node(wrapped, &node.public_key, &aad)
    };
    made.map_err(|e| internal(format!("the key of the input: {e}")))
}

/// Half more than compile estimated, and some: a bound that only a runaway passes.
fn limits(circuit: &Circuit) -> Resources {
    let ram = circuit.compiled.as_ref().map_or(0, |c| c.ram_bytes);
    Resources {
        ram_bytes: ram.saturating_add(ram / 2).saturating_add(SPARE_BYTES),
        disk_bytes: circuit.keys.as_ref().map_or(0, |k| k.proving_key_bytes),
        ..Resources::default()
    }
}

/// Long after the slowest proofs of the circuit ended; twice that for a job that ran out of time before.
fn time_limit(farm: &Farm, node: &Node, taken: &Leased, circuit: &Circuit) -> Duration {
    let estimate = circuit
        .compiled
        .as_ref()
        .map_or(0, |c| c.estimated_prove_ms);
    let class = NodeClass::of(&node.capabilities);
    let expected = farm
        .model
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .predict(taken.job.circuit, &class, estimate);
    let limit = Duration::from_millis(expected.soft_limit_ms());
    if let Some(most) = farm.limits.proof_time {
        return limit.min(most);
    }
    if taken.job.more_time {
        limit.saturating_mul(2)
    } else {
        limit
    }
}
