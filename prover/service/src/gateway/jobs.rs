//! Jobs: what may be queued, how it is waited for, and how its proof leaves.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use zeroize::Zeroizing;
use zkinfer_verifier::Context;

use super::{Gateway, GatewayError, gate};
use crate::{
    config,
    farm::{LiveProgress, scheduler::Pending},
    store::{
        ArtifactKind, Attempt, Circuit, CircuitId, Digest, Job, JobFilter, JobId, JobKind,
        JobState, Labels, NewJob, Page, Priority, ProofRecord, RequestKey, Trust, sealed::Sealed,
    },
    work::{ProofEncoding, ProofParts},
};

/// Longest poll of WaitJob.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Labels that are looked for at once.
const MAX_WANTED_LABELS: usize = 8;
/// A number of an input file as text, with what surrounds it.
const BYTES_A_VALUE: u64 = 128;
/// Longest time to live.
const MAX_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// Where the input of a job is.
#[derive(Clone)]
pub enum JobInput {
    /// In the request.
    Inline(Vec<u8>),
    /// Uploaded before.
    Artifact(Digest),
}

/// The bytes may be private.
impl std::fmt::Debug for JobInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
            Self::Artifact(digest) => write!(f, "Artifact({digest})"),
        }
    }
}

/// A proof that a client wants.
#[derive(Clone, Debug)]
pub struct JobRequest {
    /// Of which circuit.
    pub circuit: CircuitId,
    /// For which input.
    pub input: JobInput,
    /// The context: empty is zero.
    pub context: Vec<u8>,
    /// Its class in the queue.
    pub priority: Priority,
    /// Time to live.
    pub ttl: Option<Duration>,
    /// Budget of attempts; 0 is the default.
    pub max_attempts: u32,
    /// The client's labels.
    pub labels: Labels,
    /// Answer a job of the same content.
    pub allow_cached: bool,
    /// The least trust of its node; unset is the least that the input allows.
    pub min_trust: Option<Trust>,
    /// The pools of its node (empty: all).
    pub pools: Vec<String>,
    /// W3C trace context of the call.
    pub trace: BTreeMap<String, String>,
    /// For idempotency.
    pub request: Option<RequestKey>,
}

/// A job with what is not in the store.
#[derive(Clone, Debug)]
pub struct JobView {
    /// The job.
    pub job: Job,
    /// Where it is, while it runs.
    pub live: Option<LiveProgress>,
    /// Why it waits, while it is queued.
    pub pending: Option<Pending>,
    /// Whether CreateJob answered an older job.
    pub deduplicated: bool,
}

pub(super) fn check_labels(labels: &Labels) -> Result<(), GatewayError> {
    if labels.len() > 64
        || labels
            .iter()
            .any(|(k, v)| k.is_empty() || k.len() > 63 || v.len() > 255)
    {
        let message = "at most 64 labels, keys of 1 to 63 bytes, values of at most 255";
        return Err(GatewayError::invalid("labels", "BAD_LABELS", message));
    }
    Ok(())
}

/// Refuses labels to look for that are no labels, or more than a query shall hold.
pub(crate) fn check_wanted_labels(labels: &Labels) -> Result<(), GatewayError> {
    if labels.len() > MAX_WANTED_LABELS {
        let got = labels.len();
        let message = format!("at most {MAX_WANTED_LABELS} labels to look for, got {got}");
        return Err(GatewayError::invalid("labels", "TOO_MANY", message));
    }
    check_labels(labels)
}

fn check_pools(pools: &[String]) -> Result<(), GatewayError> {
    if pools.len() > 16 || pools.iter().any(|p| p.is_empty() || p.len() > 63) {
        let message = "at most 16 pools, names of 1 to 63 bytes";
        return Err(GatewayError::invalid(
            "nodes.node_pools",
            "BAD_POOLS",
            message,
        ));
    }
    Ok(())
}

/// An input of the circuit as text, generously: what is longer holds something else.
fn most_input_bytes(circuit: &Circuit) -> u64 {
    let inputs = circuit.compiled.iter().flat_map(|c| &c.inputs);
    let lengths = inputs.map(|t| t.shape.iter().fold(1u64, |n, d| n.saturating_mul(*d)));
    let values = lengths.fold(0u64, u64::saturating_add);
    let text = values.saturating_mul(BYTES_A_VALUE).saturating_add(1 << 20);
    text.min(config::MAX_TENSOR_FILE_BYTES)
}

fn context(bytes: &[u8]) -> Result<[u8; 32], GatewayError> {
    let bad = |message: String| GatewayError::invalid("context", "BAD_CONTEXT", message);
    let bytes: [u8; 32] = match bytes.len() {
        0 => [0; 32],
        32 => bytes.try_into().unwrap_or_default(),
        n => return Err(bad(format!("expected 32 bytes or none, got {n}"))),
    };
    Context::from_bytes(bytes).map_err(|e| bad(e.to_string()))?;
    Ok(bytes)
}

impl Gateway {
    /// Queues a proof, or answers the job that stands for it.
    pub(crate) async fn create_job(
        &self,
        mut request: JobRequest,
    ) -> Result<JobView, GatewayError> {
        // The body may hold a private input, and its plain digest would tell who guesses right.
        if let Some(key) = &mut request.request {
            key.fingerprint = self.farm.vault.identity(&key.fingerprint.0);
        }
        if let Some(key) = &request.request
            && let Some(job) = self.farm.store.remembered_job(self.tenant, key).await?
        {
            return Ok(JobView {
                deduplicated: true,
                ..self.view(job).await?
            });
        }
        check_labels(&request.labels)?;
        check_pools(&request.pools)?;
        let context = context(&request.context)?;
        let ttl = request.ttl.unwrap_or(self.farm.limits.default_ttl);
        if ttl.is_zero() || ttl > MAX_TTL {
            return Err(GatewayError::invalid(
                "ttl",
                "BAD_TTL",
                "more than 0 and at most 30 days",
            ));
        }
        let max_attempts = match request.max_attempts {
            0 => self.farm.limits.default_max_attempts,
            n @ 1..=20 => n,
            n => {
                return Err(GatewayError::invalid(
                    "max_attempts",
                    "BAD_ATTEMPTS",
                    format!("at most 20, got {n}"),
                ));
            }
        };
        let circuit = self
            .farm
            .store
            .circuit(self.tenant, request.circuit)
            .await?;
        let gate = gate(&self.farm, self.tenant, request.circuit).await?;
        // Few inputs are in memory at a time, and none that cannot be one of this circuit.
        let permit = self.check_permit().await?;
        let most = most_input_bytes(&circuit);
        let (file, mut input_artifact) = self.input_file(request.input, most).await?;
        let quantize = move || {
            let _permit = permit;
            gate.quantize(&file)
        };
        let quantized = tokio::task::spawn_blocking(quantize)
            .await
            .map_err(|_| GatewayError::Internal("reading the input met a defect".into()))?
            .map_err(|message| GatewayError::invalid("input", "BAD_INPUT", message))?;
        self.check_room(quantized.len() as u64).await?;
        let private_input = circuit.has_private_input();
        // A private input's upload has served: the job has its tensors, sealed.
        let upload = input_artifact.take_if(|_| private_input);
        let (stored, identity, input_key) = if private_input {
            let sealed = self.seal(quantized).await?;
            (sealed.0.bytes, sealed.1, sealed.0.wrapped_key)
        } else {
            let identity = Digest::of(&quantized);
            (quantized, identity, Vec::new())
        };
        let length = stored.len() as u64;
        let pinned = self.farm.blobs.pin().await;
        let blobs = Arc::clone(&self.farm.blobs);
        let digest = tokio::task::spawn_blocking(move || blobs.put(&stored))
            .await
            .map_err(|_| GatewayError::Internal("storing the input met a defect".into()))??;
        let created = self
            .farm
            .store
            .create_job(
                self.tenant,
                NewJob {
                    circuit: request.circuit,
                    priority: request.priority,
                    input: (digest, length),
                    input_artifact,
                    private_input,
                    identity,
                    input_key,
                    min_trust: request.min_trust.unwrap_or(Trust::Untrusted),
                    pools: request.pools,
                    trace: request.trace,
                    context,
                    allow_cached: request.allow_cached,
                    ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
                    max_attempts,
                    labels: request.labels,
                    request: request.request,
                    max_queued: self.farm.limits.max_queued,
                },
            )
            .await;
        drop(pinned);
        // Whatever did not become part of a job does not stay.
        let existed = created.as_ref().map_or(true, |c| c.existed);
        if created.is_ok() && existed {
            self.farm.metrics.dedup_hit();
        }
        if existed {
            self.forget(&digest, private_input).await?;
        }
        if let (Ok(_), Some(upload)) = (&created, upload) {
            self.forget(&upload, true).await?;
        }
        Ok(JobView {
            deduplicated: existed,
            ..self.view(created?.resource).await?
        })
    }

    async fn input_file(
        &self,
        input: JobInput,
        most: u64,
    ) -> Result<(Zeroizing<Vec<u8>>, Option<Digest>), GatewayError> {
        let too_large = |field, got: u64| {
            let message = format!("{got} bytes, an input of this circuit has at most {most}");
            GatewayError::invalid(field, "INPUT_TOO_LARGE", message)
        };
        match input {
            JobInput::Inline(bytes) if bytes.len() > config::MAX_INLINE_INPUT_BYTES => {
                let message = format!(
                    "{} bytes, at most {} inside a request; upload it as an INPUT artifact",
                    bytes.len(),
                    config::MAX_INLINE_INPUT_BYTES
                );
                Err(GatewayError::invalid(
                    "inline_input",
                    "INPUT_TOO_LARGE",
                    message,
                ))
            }
            JobInput::Inline(bytes) if bytes.len() as u64 > most => {
                Err(too_large("inline_input", bytes.len() as u64))
            }
            JobInput::Inline(bytes) => Ok((Zeroizing::new(bytes), None)),
            JobInput::Artifact(digest) => {
                let artifact = self.artifact(&digest).await.map_err(|_| {
                    let message = format!(
                        "artifact {digest} is not uploaded; call FindMissing, then upload it"
                    );
                    GatewayError::invalid("input_artifact", "ARTIFACT_MISSING", message)
                })?;
                if artifact.kind != ArtifactKind::Input {
                    let message =
                        format!("artifact {digest} is a {}, expected INPUT", artifact.kind);
                    return Err(GatewayError::invalid(
                        "input_artifact",
                        "WRONG_KIND",
                        message,
                    ));
                }
                if artifact.size > most {
                    return Err(too_large("input_artifact", artifact.size));
                }
                let blobs = Arc::clone(&self.farm.blobs);
                let read = tokio::task::spawn_blocking(move || blobs.read(&digest, most)).await;
                let bytes = read.map_err(|_| {
                    GatewayError::Internal("reading the input met a defect".into())
                })??;
                Ok((Zeroizing::new(bytes), Some(digest)))
            }
        }
    }

    /// A job with its progress and place.
    pub(crate) async fn view(&self, job: Job) -> Result<JobView, GatewayError> {
        let pending = self.farm.pending(&[&job]).await?.remove(&job.id);
        Ok(self.with_live(job, pending))
    }

    fn with_live(&self, job: Job, pending: Option<Pending>) -> JobView {
        let live = if job.state.is_terminal() {
            None
        } else {
            self.farm.live.progress(job.id)
        };
        JobView {
            job,
            live,
            pending,
            deduplicated: false,
        }
    }

    /// The sealed form of quantized tensors, and the name by which the same tensors are known again.
    async fn seal(&self, quantized: Vec<u8>) -> Result<(Sealed, Digest), GatewayError> {
        let farm = Arc::clone(&self.farm);
        let quantized = Zeroizing::new(quantized);
        let sealed = tokio::task::spawn_blocking(move || {
            let identity = farm.vault.identity(&quantized);
            farm.vault.seal(&quantized).map(|sealed| (sealed, identity))
        });
        sealed
            .await
            .map_err(|_| GatewayError::Internal("sealing the input met a defect".into()))?
            .map_err(|e| GatewayError::Internal(format!("sealing the input: {e}")))
    }

    /// The job with `id`.
    pub(crate) async fn job(&self, id: JobId) -> Result<JobView, GatewayError> {
        self.view(self.farm.store.job(self.tenant, id).await?).await
    }

    /// The attempts of a job.
    pub(crate) async fn attempts(&self, id: JobId) -> Result<Vec<Attempt>, GatewayError> {
        Ok(self.farm.store.attempts(self.tenant, id).await?)
    }

    /// A page of jobs.
    pub(crate) async fn jobs(
        &self,
        filter: &JobFilter,
        page: &Page,
    ) -> Result<Vec<JobView>, GatewayError> {
        self.views(self.farm.store.jobs(self.tenant, filter, page).await?)
            .await
    }

    /// Jobs with their progress and places, by one look at the queue.
    pub(crate) async fn views(&self, jobs: Vec<Job>) -> Result<Vec<JobView>, GatewayError> {
        let mut pending = self.farm.pending(&jobs.iter().collect::<Vec<_>>()).await?;
        let views = jobs.into_iter().map(|job| {
            let why = pending.remove(&job.id);
            self.with_live(job, why)
        });
        Ok(views.collect())
    }

    /// Waits until the job is terminal, at most `timeout` and a minute.
    pub(crate) async fn wait(&self, id: JobId, timeout: Duration) -> Result<JobView, GatewayError> {
        let until = tokio::time::Instant::now() + timeout.min(MAX_WAIT);
        let mut changes = self.farm.store.changes();
        loop {
            changes.mark_unchanged();
            // Why it waits is asked once, at the end: many wait, and the store changes often.
            let job = self.farm.store.job(self.tenant, id).await?;
            if job.state.is_terminal() {
                return self.view(job).await;
            }
            tokio::select! {
                () = tokio::time::sleep_until(until) => return self.job(id).await,
                () = self.farm.stopping.cancelled() => return self.view(job).await,
                _ = changes.changed() => {}
            }
        }
    }

    /// Cancels a job that is not terminal.
    pub(crate) async fn cancel(
        &self,
        id: JobId,
        etag: Option<i64>,
    ) -> Result<JobView, GatewayError> {
        let job = self.farm.store.cancel(self.tenant, id, etag).await?;
        if job.state == JobState::Cancelled {
            self.farm.live.stop(id);
            self.farm.live.forget_nodes_of(id);
        }
        self.view(job).await
    }

    /// The verified proof of a job.
    pub(crate) async fn proof(
        &self,
        id: JobId,
        encoding: ProofEncoding,
    ) -> Result<(ProofRecord, Vec<u8>), GatewayError> {
        let job = self.farm.store.job(self.tenant, id).await?;
        if job.kind != JobKind::Prove {
            let message = format!("{id} is a {} job; only PROVE jobs have proofs", job.kind);
            return Err(GatewayError::invalid("job", "NOT_A_PROOF_JOB", message));
        }
        let Some(record) = self.farm.store.proof(self.tenant, id).await? else {
            return Err(GatewayError::NoProof {
                state: job.state,
                why: job.failure.map(|f| f.message),
            });
        };
        let data = match encoding {
            ProofEncoding::Native => record.proof.clone(),
            other => {
                let gate = gate(&self.farm, self.tenant, job.circuit).await?;
                let parts = ProofParts {
                    proof: record.proof.clone(),
                    public_values: record.public_values.clone(),
                };
                gate.encode(other, &parts)
                    .map_err(|m| GatewayError::invalid("format", "FORMAT_NOT_SERVED", m))?
            }
        };
        Ok((record, data))
    }

    /// Checks somebody's proof: `Ok(Some(reason))` when it does not hold.
    pub(crate) async fn verify_proof(
        &self,
        circuit: CircuitId,
        encoding: ProofEncoding,
        proof: Vec<u8>,
        public_values: Vec<u8>,
    ) -> Result<Option<String>, GatewayError> {
        let gate = self.gate(circuit).await?;
        // The client may go away; the work goes on, and counts.
        let permit = self.check_permit().await?;
        let checked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            gate.decode(encoding, &proof, &public_values)
                .and_then(|parts| gate.verify(&parts))
                .err()
        });
        checked
            .await
            .map_err(|_| GatewayError::Internal("the verifier met a defect".into()))
    }
}
