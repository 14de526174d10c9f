//! The in-process prover: each slot claims a job, works on it in a thread of its own, lets the gateway verify, commits.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{Farm, cache::Recent, live::Attempt};
use crate::{
    config,
    store::{
        CircuitId, CommitOutcome, CompileFacts, Failure, FailureClass, Job, JobKind, NewProof,
        Phase, SetupFacts, StoreError,
    },
    work::{
        CompileRequest, Control as _, ProofParts, WarmProver, WorkError,
        slots::{self, Share},
    },
};

type Task = Box<dyn FnOnce() + Send>;
type WarmKeys = Recent<CircuitId, Arc<dyn WarmProver>>;

/// The loaded circuits, which the slots share.
pub(super) fn warm_keys(farm: &Farm) -> Arc<Mutex<WarmKeys>> {
    Arc::new(Mutex::new(WarmKeys::new(farm.limits.warm_circuits)))
}

fn lock(warm: &Mutex<WarmKeys>) -> MutexGuard<'_, WarmKeys> {
    warm.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread that blocking work runs on.
#[derive(Debug)]
pub(super) struct Workbench {
    tasks: mpsc::Sender<Task>,
}

impl Workbench {
    /// One slot on its share of the threads; a single slot works on all of them.
    pub(super) fn start(share: Share) -> std::io::Result<Self> {
        let pool = match share.slots.get() {
            1 => None,
            _ => Some(slots::pool(share.threads).map_err(std::io::Error::other)?),
        };
        let (tasks, queue) = mpsc::channel::<Task>();
        std::thread::Builder::new()
            .name("prover".into())
            .stack_size(64 << 20)
            .spawn(move || {
                for task in queue {
                    match &pool {
                        Some(pool) => pool.install(task),
                        None => task(),
                    }
                }
            })?;
        Ok(Self { tasks })
    }

    /// Runs `work` on the thread; a panic becomes a failure.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, WorkError> + Send + 'static,
    ) -> Result<T, WorkError> {
        let (answer, answered) = oneshot::channel();
        let task: Task = Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
                Err(WorkError::internal(
                    "PANIC",
                    "the prover met a defect; the server's log has its place",
                ))
            });
            let _ = answer.send(result);
        });
        let gone = || {
            WorkError::internal(
                "PROVER_GONE",
                "the prover thread is gone; restart the server",
            )
        };
        self.tasks.send(task).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// Takes jobs until the farm stops.
pub(super) async fn run(farm: Arc<Farm>, bench: Workbench, warm: Arc<Mutex<WarmKeys>>) {
    let mut changes = farm.store.changes();
    while !farm.stopping.is_cancelled() {
        changes.mark_unchanged();
        match farm.store.claim(JobKind::ALL).await {
            Ok(Some(job)) => attempt(&farm, &bench, &warm, job).await,
            Ok(None) => {
                let due = farm
                    .store
                    .next_due_in_ms(JobKind::ALL)
                    .await
                    .ok()
                    .flatten()
                    .unwrap_or(u64::MAX);
                let pause = Duration::from_millis(due.clamp(5, 2000));
                tokio::select! {
                    () = farm.stopping.cancelled() => {}
                    _ = changes.changed() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
            Err(error) => {
                tracing::error!(%error, "cannot claim a job");
                pause(&farm, Duration::from_secs(1)).await;
            }
        }
    }
}

async fn pause(farm: &Farm, time: Duration) {
    tokio::select! {
        () = farm.stopping.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}

/// What an attempt made.
enum Product {
    Compiled(CompileFacts),
    Keys(SetupFacts),
    Proof {
        parts: ProofParts,
        key_load: Duration,
        prove: Duration,
    },
}

/// What may be written down: a proof is in here only after the gateway verified it.
enum Checked {
    Compiled(CompileFacts),
    Keys(SetupFacts),
    Proof(NewProof),
}

async fn attempt(farm: &Arc<Farm>, bench: &Workbench, warm: &Mutex<WarmKeys>, job: Job) {
    let (id, epoch) = (job.id, job.epoch);
    let control = farm.live.begin(job.tenant, id, epoch);
    let started = farm.store.start(id, epoch).await;
    let result = match started {
        Ok(_) => {
            tracing::info!(job = %id, epoch, kind = %job.kind, "started");
            work_on(farm, bench, warm, &job, &control).await
        }
        // Cancelled between claim and start.
        Err(StoreError::Refused(_)) => Err(WorkError::Cancelled),
        Err(error) => {
            tracing::error!(job = %id, %error, "cannot start");
            Err(WorkError::fault(
                "STORE",
                "the job store failed at the start of the attempt",
            ))
        }
    };
    let result = match result {
        Ok(product) => verified(farm, &job, product, &control).await,
        Err(e) => Err(e),
    };
    settle(farm, &job, result).await;
    farm.live.end(&control);
}

async fn work_on(
    farm: &Arc<Farm>,
    bench: &Workbench,
    warm: &Mutex<WarmKeys>,
    job: &Job,
    control: &Arc<Attempt>,
) -> Result<Product, WorkError> {
    let bundle = farm.bundle(job.circuit);
    let (work, control) = (Arc::clone(&farm.work), Arc::clone(control));
    match job.kind {
        JobKind::Compile => {
            let request = compile_request(farm, job).await?;
            let facts = bench
                .run(move || work.compile(&request, &bundle, &*control))
                .await?;
            Ok(Product::Compiled(facts))
        }
        JobKind::Setup => Ok(Product::Keys(
            bench.run(move || work.setup(&bundle, &*control)).await?,
        )),
        JobKind::Prove => {
            let begun = Instant::now();
            let loaded = lock(warm).touch(&job.circuit);
            let prover = match loaded {
                Some(prover) => prover,
                None => {
                    let control = Arc::clone(&control);
                    let prover = bench.run(move || work.prepare(&bundle, &*control)).await?;
                    lock(warm).insert(job.circuit, Arc::clone(&prover));
                    prover
                }
            };
            let key_load = begun.elapsed();
            let input = input_of(farm, job).await?;
            let context = job.context;
            let begun = Instant::now();
            let proved = bench
                .run(move || prover.prove(&input, context, &*control))
                .await;
            if matches!(&proved, Err(WorkError::Failed(f)) if f.class != FailureClass::InvalidRequest)
            {
                // A damaged key must not stay loaded.
                lock(warm).remove(&job.circuit);
            }
            Ok(Product::Proof {
                parts: proved?,
                key_load,
                prove: begun.elapsed(),
            })
        }
    }
}

async fn compile_request(farm: &Farm, job: &Job) -> Result<CompileRequest, WorkError> {
    let circuit = farm
        .store
        .circuit(job.tenant, job.circuit)
        .await
        .map_err(|e| WorkError::fault("STORE", format!("cannot read the circuit: {e}")))?;
    let settings = match circuit.settings {
        None => None,
        Some(digest) => Some(
            farm.blobs
                .read(&digest, config::MAX_SETTINGS_BYTES)
                .map_err(|e| {
                    WorkError::fault("SETTINGS_UNREADABLE", format!("the stored settings: {e}"))
                })?,
        ),
    };
    Ok(CompileRequest {
        model: farm.blobs.path(&circuit.model),
        calibration: farm.blobs.path(&circuit.calibration),
        settings: CompileRequest::read_settings(settings.as_deref())
            .map_err(|e| WorkError::invalid("BAD_SETTINGS", e))?,
        backend: circuit.backend,
        work_folder: farm
            .data
            .join("tmp")
            .join(format!("{}-{}", job.id.0.simple(), job.epoch)),
    })
}

/// The gateway's check, with its own key, before anything is stored: the proof holds, under the job's context, for the
/// job's input as far as the statement shows it.
async fn verified(
    farm: &Arc<Farm>,
    job: &Job,
    product: Product,
    control: &Arc<Attempt>,
) -> Result<Checked, WorkError> {
    let (parts, key_load, prove) = match product {
        Product::Compiled(facts) => return Ok(Checked::Compiled(facts)),
        Product::Keys(facts) => return Ok(Checked::Keys(facts)),
        Product::Proof {
            parts,
            key_load,
            prove,
        } => (parts, key_load, prove),
    };
    if control.report(Phase::Verify, 1, 2).is_break() {
        return Err(WorkError::Cancelled);
    }
    let gate = crate::gateway::gate(farm, job.tenant, job.circuit)
        .await
        .map_err(|e| WorkError::fault("GATE", format!("cannot load the verifying key: {e}")))?;
    let vk_digest = gate.vk_digest();
    let input = input_of(farm, job).await?;
    let context = job.context;
    let begun = Instant::now();
    let checked = tokio::task::spawn_blocking(move || {
        if parts.public_values.get(..32) != Some(&context[..]) {
            return Err("the proof carries another context".to_owned());
        }
        gate.verify(&parts)?;
        gate.check_input(&parts, &input)?;
        Ok(parts)
    })
    .await;
    match checked {
        Ok(Ok(parts)) => Ok(Checked::Proof(NewProof {
            proof: parts.proof,
            public_values: parts.public_values,
            vk_digest,
            verifier_version: env!("CARGO_PKG_VERSION").to_owned(),
            verify_ms: millis(begun.elapsed()),
            key_load_ms: millis(key_load),
            prove_ms: millis(prove),
            peak_ram: 0,
        })),
        Ok(Err(reason)) => Err(WorkError::Failed(Failure::new(
            FailureClass::ProofInvalid,
            "PROOF_INVALID",
            reason,
        ))),
        Err(_) => Err(WorkError::internal("PANIC", "the verifier met a defect")),
    }
}

/// The stored quantized tensors of a PROVE job.
async fn input_of(farm: &Arc<Farm>, job: &Job) -> Result<Vec<u8>, WorkError> {
    let digest = job
        .input
        .ok_or_else(|| WorkError::internal("NO_INPUT", "the job has no input"))?;
    let blobs = Arc::clone(&farm.blobs);
    let read = move || blobs.read(&digest, 8 * config::MAX_TENSOR_FILE_BYTES);
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|_| WorkError::internal("PANIC", "reading the input met a defect"))?
        .map_err(|e| WorkError::fault("INPUT_UNREADABLE", format!("the stored input: {e}")))
}

/// Writes down how the attempt ended; a store that fails is asked again until the process ends.
async fn settle(farm: &Farm, job: &Job, result: Result<Checked, WorkError>) {
    let mut wait = Duration::from_millis(50);
    loop {
        let written = match &result {
            Ok(checked) => commit(farm, job, checked).await,
            Err(WorkError::Failed(failure)) => {
                tracing::warn!(job = %job.id, code = failure.code, message = failure.message, "attempt failed");
                farm.store
                    .fail(job.id, job.epoch, failure.clone())
                    .await
                    .map(drop)
            }
            // A cancelled or expired job is terminal already; one that stopped for a drain goes back.
            Err(WorkError::Cancelled) => farm.store.release(job.id, job.epoch).await.map(drop),
        };
        match written {
            Ok(()) | Err(StoreError::Refused(_)) => return,
            Err(error) => {
                tracing::error!(job = %job.id, %error, "cannot write down the end of an attempt; trying again");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(5));
                if farm.stopping.is_cancelled() && wait >= Duration::from_secs(1) {
                    return;
                }
            }
        }
    }
}

async fn commit(farm: &Farm, job: &Job, checked: &Checked) -> Result<(), StoreError> {
    let (id, epoch) = (job.id, job.epoch);
    let outcome = match checked {
        Checked::Compiled(facts) => farm.store.commit_compile(id, epoch, facts.clone()).await?,
        Checked::Keys(facts) => farm.store.commit_setup(id, epoch, facts.clone()).await?,
        Checked::Proof(proof) => {
            farm.store
                .commit_proof(id, epoch, None, proof.clone())
                .await?
        }
    };
    match outcome {
        CommitOutcome::Accepted => tracing::info!(job = %job.id, epoch = job.epoch, "done"),
        CommitOutcome::AlreadyProven | CommitOutcome::JobEnded => {
            tracing::info!(job = %job.id, epoch = job.epoch, "result dropped: the job had ended");
        }
    }
    Ok(())
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
