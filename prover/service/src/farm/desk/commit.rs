//! Proofs of nodes: checked from the cheapest to the dearest, and stored only when the gateway's own key accepts them.

use std::{
    collections::HashSet,
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{Desk, bounded};
use crate::{
    farm::{
        Farm,
        lease::{AttemptId, Finished, UplinkError, Verdict},
        scheduler::NodeClass,
    },
    store::{
        AttemptOutcome, CommitOutcome, FailureClass, Held, JobState, NewProof, NodeId, StoreError,
        Trust,
    },
    work::ProofParts,
};

/// The longest proof that is read: the systems served here make proofs of at most some kilobytes.
pub const MAX_PROOF_BYTES: u64 = 64 << 10;
/// The longest statement that is read.
pub const MAX_STATEMENT_BYTES: u64 = 4 << 20;

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// One call checks a proof of an attempt at a time.
struct Checking<'a>(&'a Desk, AttemptId);

impl<'a> Checking<'a> {
    fn begin(desk: &'a Desk, attempt: AttemptId) -> Option<Self> {
        desk.checking()
            .insert(attempt)
            .then_some(Self(desk, attempt))
    }
}

impl Drop for Checking<'_> {
    fn drop(&mut self) {
        self.0.checking().remove(&self.1);
    }
}

impl Desk {
    fn checking(&self) -> MutexGuard<'_, HashSet<AttemptId>> {
        self.checking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a finished proof. Whatever session it was made in, the attempt must have been the node's. Idempotent.
    ///
    /// # Errors
    /// [`UplinkError`].
    pub async fn commit(&self, node: NodeId, finished: Finished) -> Result<Verdict, UplinkError> {
        let known = self.admitted(node).await?;
        let attempt = finished.attempt;
        let Some(held) = self.farm.store.held(node, attempt).await? else {
            return Err(UplinkError::Refused(format!(
                "{attempt} was never an attempt of this node"
            )));
        };
        if held.refused {
            let reason = "a proof of this attempt was refused before";
            return Ok(Verdict::Invalid(reason.to_owned()));
        }
        if held.job.state.is_terminal() {
            self.farm.live.forget(attempt);
            return Ok(Verdict::Settled(match held.job.state {
                JobState::Succeeded => CommitOutcome::AlreadyProven,
                _ => CommitOutcome::JobEnded,
            }));
        }
        let Some(_checking) = Checking::begin(self, attempt) else {
            let message = "another call delivers a proof of this attempt";
            return Err(UplinkError::Unreachable(message.to_owned()));
        };
        // No proof takes longer than its attempt.
        let now = self.farm.store.now().await?;
        let most = now.saturating_sub(held.attempt.leased_at).max(0) as u64;
        let finished = Finished {
            key_load: finished.key_load.min(Duration::from_millis(most)),
            prove: finished.prove.min(Duration::from_millis(most)),
            ..finished
        };
        let begun = Instant::now();
        let (circuit, prove, key_load) = (held.job.circuit, finished.prove, finished.key_load);
        let (tenant, metrics) = (held.job.tenant, &self.farm.metrics);
        let proof = match self.check(held, finished).await? {
            Ok(proof) => proof,
            Err(reason) => {
                metrics.proof_rejected("PROOF_INVALID");
                metrics.attempt_ended(AttemptOutcome::Failed, Some(FailureClass::ProofInvalid));
                self.reject(node, attempt, &reason).await?;
                return Ok(Verdict::Invalid(reason));
            }
        };
        let farm = Arc::clone(&self.farm);
        let outcome = self
            .detached(async move {
                let (job, epoch) = (attempt.job, attempt.epoch);
                let stored = farm.store.commit_proof(job, epoch, Some(node), proof).await;
                match stored {
                    Ok(outcome) => Ok(outcome),
                    Err(StoreError::Refused(refusal)) => {
                        Err(UplinkError::Refused(refusal.to_string()))
                    }
                    Err(e) => Err(e.into()),
                }
            })
            .await?;
        self.farm.live.forget_nodes_of(attempt.job);
        metrics.committed(begun.elapsed());
        if outcome == CommitOutcome::Accepted {
            match self.farm.store.circuit(tenant, circuit).await {
                Ok(circuit) => metrics.proved(circuit.backend, prove, key_load),
                // The proof is stored; only its time is not counted.
                Err(_) => metrics.store_error(),
            }
        }
        // Times by which others are measured are taken from nodes that are trusted.
        if outcome == CommitOutcome::Accepted && known.trust >= Trust::Vetted {
            let class = NodeClass::of(&known.capabilities);
            let ms = u64::try_from(prove.as_millis()).unwrap_or(u64::MAX);
            let mut model = self
                .farm
                .model
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            model.observe(circuit, class, ms);
        }
        tracing::info!(%node, %attempt, ?outcome, "proof");
        Ok(Verdict::Settled(outcome))
    }

    async fn reject(
        &self,
        node: NodeId,
        attempt: AttemptId,
        reason: &str,
    ) -> Result<(), UplinkError> {
        let farm = Arc::clone(&self.farm);
        let message = bounded(reason, 1024);
        tracing::warn!(%node, %attempt, reason = message, "proof refused");
        let rejected = self
            .detached(async move { Ok(farm.store.reject_attempt(node, attempt, &message).await?) })
            .await?;
        self.farm.live.forget(attempt);
        if rejected.quarantined {
            tracing::error!(%node, "the node is quarantined");
        }
        Ok(())
    }

    /// The proof as it may be stored, or why it does not hold.
    async fn check(
        &self,
        held: Held,
        finished: Finished,
    ) -> Result<Result<NewProof, String>, UplinkError> {
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
                return Ok(Err(format!("a {what} of {got} bytes, at most {most}")));
            }
        }
        if finished.public_values.get(..32) != Some(&job.context[..]) {
            return Ok(Err("the proof carries another context".to_owned()));
        }
        let gate = crate::gateway::gate(&self.farm, job.tenant, job.circuit)
            .await
            .map_err(|e| UplinkError::Unreachable(format!("the verifying key: {e}")))?;
        let vk_digest = gate.vk_digest();
        if finished.vk_digest != vk_digest {
            return Ok(Err(format!(
                "the proof was made with the key {}, expected {}",
                hex::encode(finished.vk_digest),
                hex::encode(vk_digest)
            )));
        }
        let _permit = self.checks.acquire().await.map_err(|_| super::stopping())?;
        let farm = Arc::clone(&self.farm);
        let parts = ProofParts {
            proof: finished.proof,
            public_values: finished.public_values,
        };
        let begun = Instant::now();
        let checked = tokio::task::spawn_blocking(move || {
            if let Err(reason) = gate.verify(&parts) {
                return Ok(Err(reason));
            }
            let input = farm.read_input(&job).map_err(UplinkError::Unreachable)?;
            Ok(gate.check_input(&parts, &input).map(|()| parts))
        });
        let checked: Result<Result<ProofParts, String>, UplinkError> = checked
            .await
            .map_err(|_| UplinkError::Unreachable("the verifier met a defect".to_owned()))?;
        self.farm.metrics.verified(begun.elapsed());
        Ok(checked?.map(|parts| NewProof {
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
