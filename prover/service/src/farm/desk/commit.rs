//! Proofs of nodes: checked from the cheapest to the dearest, and stored only when the gateway's own key accepts them.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use super::{Desk, bounded};
use crate::{
    farm::{
        Farm,
        job::NOT_HANDED_OUT,
        lease::{AttemptId, Finished, UplinkError, Verdict},
        scheduler::NodeClass,
    },
    store::{
        AttemptOutcome, CommitOutcome, Failure, FailureClass, Held, JobState, NewProof, Node,
        NodeId, StoreError, Trust,
    },
    work::{Mismatch, ProofParts},
};

/// The longest proof that is read: the systems served here make proofs of at most some kilobytes.
pub const MAX_PROOF_BYTES: u64 = 64 << 10;
/// The longest statement that is read.
pub const MAX_STATEMENT_BYTES: u64 = 4 << 20;

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// The proofs that are being checked: of which node, for which attempt.
pub(super) type Checking = Arc<Mutex<HashSet<(NodeId, AttemptId)>>>;

/// One call checks a proof of an attempt at a time, to its end: a node that goes away does not make room for its next one.
struct Turn(Checking, (NodeId, AttemptId));

impl Turn {
    fn begin(checking: &Checking, node: NodeId, attempt: AttemptId) -> Option<Self> {
        let mut now = checking.lock().unwrap_or_else(PoisonError::into_inner);
        let what = (node, attempt);
        now.insert(what).then(|| Self(Arc::clone(checking), what))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        now.remove(&self.1);
    }
}

impl Desk {
    /// Takes a finished proof. Whatever session it was made in, the attempt must have been the node's. Idempotent.
    ///
    /// # Errors
    /// [`UplinkError`].
    pub async fn commit(&self, node: NodeId, finished: Finished) -> Result<Verdict, UplinkError> {
        let known = self.admitted(node).await?;
        let attempt = finished.attempt;
        let Some(turn) = Turn::begin(&self.checking, node, attempt) else {
            let message = "another call delivers a proof of this attempt";
            return Err(UplinkError::Unreachable(message.to_owned()));
        };
        let (farm, checks) = (Arc::clone(&self.farm), Arc::clone(&self.checks));
        self.detached(async move {
            let _turn = turn;
            settle(&farm, checks, &known, finished).await
        })
        .await
    }
}

/// What becomes of a proof.
async fn settle(
    farm: &Arc<Farm>,
    checks: Arc<Semaphore>,
    node: &Node,
    finished: Finished,
) -> Result<Verdict, UplinkError> {
    let attempt = finished.attempt;
    let Some(held) = farm.store.held(node.id, attempt).await? else {
        return Err(UplinkError::Refused(format!(
            "{attempt} was never an attempt of this node"
        )));
    };
    if held.refused {
        let reason = "a proof of this attempt was refused before";
        return Ok(Verdict::Invalid(reason.to_owned()));
    }
    if held.job.state.is_terminal() {
        farm.live.forget(attempt);
        return Ok(Verdict::Settled(match held.job.state {
            JobState::Succeeded => CommitOutcome::AlreadyProven,
            _ => CommitOutcome::JobEnded,
        }));
    }
    // No proof takes longer than its attempt.
    let now = farm.store.now().await?;
    let most = now.saturating_sub(held.attempt.leased_at).max(0) as u64;
    let finished = Finished {
        key_load: finished.key_load.min(Duration::from_millis(most)),
        prove: finished.prove.min(Duration::from_millis(most)),
        ..finished
    };
    let begun = Instant::now();
    let (circuit, prove, key_load) = (held.job.circuit, finished.prove, finished.key_load);
    let (tenant, metrics) = (held.job.tenant, &farm.metrics);
    let held_session = held.attempt.session;
    let proof = match check(farm, checks, held, finished).await? {
        Ok(proof) => proof,
        Err(Mismatch::Input(why)) => {
            // Nothing that a node does could mend it: the attempt ends, and with the last one of its budget the job.
            tracing::error!(%attempt, why, "the stored input cannot be used");
            let failure = Failure::new(FailureClass::Internal, NOT_HANDED_OUT, why);
            let session = held_session.unwrap_or(node.session);
            let failed = farm.store.fail_attempt(node.id, session, attempt, failure);
            failed.await?;
            farm.live.forget(attempt);
            let message = "the gateway cannot use the stored input of this job";
            return Err(UplinkError::Refused(message.to_owned()));
        }
        Err(Mismatch::Proof(reason)) => {
            metrics.proof_rejected("PROOF_INVALID");
            metrics.attempt_ended(AttemptOutcome::Failed, Some(FailureClass::ProofInvalid));
            reject(farm, node.id, attempt, &reason).await?;
            return Ok(Verdict::Invalid(reason));
        }
    };
    let (job, epoch) = (attempt.job, attempt.epoch);
    let stored = farm
        .store
        .commit_proof(job, epoch, Some(node.id), proof)
        .await;
    let outcome = stored.map_err(|e| match e {
        StoreError::Refused(refusal) => UplinkError::Refused(refusal.to_string()),
        e => e.into(),
    })?;
    farm.live.forget_nodes_of(attempt.job);
    metrics.committed(begun.elapsed());
    if outcome == CommitOutcome::Accepted {
        match farm.store.circuit(tenant, circuit).await {
            Ok(circuit) => metrics.proved(circuit.backend, prove, key_load),
            // The proof is stored; only its time is not counted.
            Err(_) => metrics.store_error(),
        }
    }
    // Times by which others are measured are taken from nodes that are trusted.
    if outcome == CommitOutcome::Accepted && node.trust >= Trust::Vetted {
        let class = NodeClass::of(&node.capabilities);
        let ms = u64::try_from(prove.as_millis()).unwrap_or(u64::MAX);
        let mut model = farm.model.lock().unwrap_or_else(PoisonError::into_inner);
        model.observe(circuit, class, ms);
    }
    tracing::info!(node = %node.id, %attempt, ?outcome, "proof");
    Ok(Verdict::Settled(outcome))
}

async fn reject(
    farm: &Farm,
    node: NodeId,
    attempt: AttemptId,
    reason: &str,
) -> Result<(), UplinkError> {
    let message = bounded(reason, 1024);
    tracing::warn!(%node, %attempt, reason = message, "proof refused");
    let rejected = farm.store.reject_attempt(node, attempt, &message).await?;
    farm.live.forget(attempt);
    if rejected.quarantined {
        tracing::error!(%node, "the node is quarantined");
    }
    Ok(())
}

/// The proof as it may be stored, or why not.
async fn check(
    farm: &Arc<Farm>,
    checks: Arc<Semaphore>,
    held: Held,
    finished: Finished,
) -> Result<Result<NewProof, Mismatch>, UplinkError> {
    let no = |why: String| Ok(Err(Mismatch::Proof(why)));
    let job = held.job;
    for (what, got, most) in [
        ("proof", finished.proof.len() as u64, MAX_PROOF_BYTES),
        (
            "statement",
            finished.public_values.len() as u64,
            MAX_STATEMENT_BYTES,
        ),
    ] {
        if got > most {
            return no(format!("a {what} of {got} bytes, at most {most}"));
        }
    }
    if finished.public_values.get(..32) != Some(&job.context[..]) {
        return no("the proof carries another context".to_owned());
    }
    let gate = crate::gateway::gate(farm, job.tenant, job.circuit)
        .await
        .map_err(|e| UplinkError::Unreachable(format!("the verifying key: {e}")))?;
    let vk_digest = gate.vk_digest();
    if finished.vk_digest != vk_digest {
        return no(format!(
            "the proof was made with the key {}, expected {}",
            hex::encode(finished.vk_digest),
            hex::encode(vk_digest)
        ));
    }
    let permit = checks
        .acquire_owned()
        .await
        .map_err(|_| super::stopping())?;
    let own = Arc::clone(farm);
    let parts = ProofParts {
        proof: finished.proof,
        public_values: finished.public_values,
    };
    let begun = Instant::now();
    let checked = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        gate.verify(&parts).map_err(Mismatch::Proof)?;
        let input = own.read_input(&job).map_err(Mismatch::Input)?;
        gate.check_input(&parts, &input)?;
        Ok::<_, Mismatch>(parts)
    });
    let checked = checked
        .await
        .map_err(|_| UplinkError::Unreachable("the verifier met a defect".to_owned()))?;
    farm.metrics.verified(begun.elapsed());
    Ok(checked.map(|parts| NewProof {
        proof: parts.proof,
        public_values: parts.public_values,
        vk_digest,
        verifier_version: env!("CARGO_PKG_VERSION").to_owned(),
        verify_ms: millis(begun.elapsed()),
        key_load_ms: millis(finished.key_load),
        prove_ms: millis(finished.prove),
        peak_ram: finished.peak_ram,
    }))
}

impl Farm {
    /// The quantized tensors of a PROVE job, opened when they are sealed.
    pub(crate) fn read_input(
        &self,
        job: &crate::store::Job,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, String> {
        let digest = job.input.ok_or("the job has no input")?;
        // Frames and their tags are longer than what they hold.
        let most = 8 * crate::config::MAX_TENSOR_FILE_BYTES + (64 << 20);
        let bytes = zeroize::Zeroizing::new(
            self.blobs
                .read(&digest, most)
                .map_err(|e| format!("the stored input: {e}"))?,
        );
        if job.input_key.is_empty() {
            return Ok(bytes);
        }
        let key = self
            .vault
            .unwrap_key(&job.input_key)
            .map_err(|e| format!("the key of the input: {e}"))?;
        crate::store::sealed::open_sealed(&key, &bytes)
            .map_err(|e| format!("the stored input: {e}"))
    }
}
