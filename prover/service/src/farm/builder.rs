//! The builder: compiles models and makes keys, one at a time, in this process. Nodes only prove: the keys that the gateway
//! verifies with are its own.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{Farm, live::Attempt};
use crate::{
    config,
    store::{CommitOutcome, CompileFacts, Job, JobKind, SetupFacts, StoreError},
    work::{CompileRequest, WorkError},
};

/// What the builder does.
const KINDS: [JobKind; 2] = [JobKind::Compile, JobKind::Setup];

type Task = Box<dyn FnOnce() + Send>;

/// The thread that blocking work runs on.
#[derive(Debug)]
pub(super) struct Workbench {
    tasks: mpsc::Sender<Task>,
}

impl Workbench {
    pub(super) fn start() -> std::io::Result<Self> {
        let (tasks, queue) = mpsc::channel::<Task>();
        std::thread::Builder::new()
            .name("builder".into())
            .stack_size(64 << 20)
            .spawn(move || {
                for task in queue {
                    task();
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
                    "the builder met a defect; the server's log has its place",
                ))
            });
            let _ = answer.send(result);
        });
        let gone = || {
            WorkError::internal(
                "BUILDER_GONE",
                "the builder thread is gone; restart the server",
            )
        };
        self.tasks.send(task).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// Takes jobs until the farm stops.
pub(super) async fn run(farm: Arc<Farm>, bench: Workbench) {
    let mut changes = farm.store.changes();
    while !farm.stopping.is_cancelled() {
        changes.mark_unchanged();
        match farm.store.claim(&KINDS).await {
            Ok(Some(job)) => attempt(&farm, &bench, job).await,
            Ok(None) => {
                let due = farm.store.next_due_in_ms(&KINDS).await;
                let due = due.ok().flatten().unwrap_or(u64::MAX);
                let pause = Duration::from_millis(due.clamp(5, 2000));
                tokio::select! {
                    () = farm.stopping.cancelled() => {}
                    _ = changes.changed() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
            Err(error) => {
                tracing::error!(%error, "cannot claim a job");
                tokio::select! {
                    () = farm.stopping.cancelled() => {}
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
            }
        }
    }
}

/// What an attempt made.
enum Product {
    Compiled(CompileFacts),
    Keys(SetupFacts),
}

async fn attempt(farm: &Arc<Farm>, bench: &Workbench, job: Job) {
    let (id, epoch) = (job.id, job.epoch);
    let control = farm.live.begin(job.tenant, id, epoch);
    let result = match farm.store.start(id, epoch).await {
        Ok(_) => {
            tracing::info!(job = %id, epoch, kind = %job.kind, "started");
            work_on(farm, bench, &job, &control).await
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
    settle(farm, &job, result).await;
    farm.live.end(&control);
}

async fn work_on(
    farm: &Arc<Farm>,
    bench: &Workbench,
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
        JobKind::Prove => Err(WorkError::internal(
            "NOT_BUILT",
            "the builder was given a proof to make",
        )),
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

/// Writes down how the attempt ended; a store that fails is asked again until the process ends.
async fn settle(farm: &Farm, job: &Job, result: Result<Product, WorkError>) {
    let mut wait = Duration::from_millis(50);
    loop {
        let written = match &result {
            Ok(product) => commit(farm, job, product).await,
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

async fn commit(farm: &Farm, job: &Job, product: &Product) -> Result<(), StoreError> {
    let (id, epoch) = (job.id, job.epoch);
    let outcome = match product {
        Product::Compiled(facts) => farm.store.commit_compile(id, epoch, facts.clone()).await?,
        Product::Keys(facts) => farm.store.commit_setup(id, epoch, facts.clone()).await?,
    };
    match outcome {
        CommitOutcome::Accepted => tracing::info!(job = %job.id, epoch = job.epoch, "done"),
        CommitOutcome::AlreadyProven | CommitOutcome::JobEnded => {
            tracing::info!(job = %job.id, epoch = job.epoch, "result dropped: the job had ended");
        }
    }
    Ok(())
}
