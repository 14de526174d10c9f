//! Slots in this process: a thread each, with its share of the cores. Nothing bounds the memory of such a slot and nothing can
//! kill it; the work of tests runs here.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    slot::{Load, Order, Proved, Slot, Workshop},
    warm::Warm,
    watch::Watch,
};
use crate::{
    store::{CircuitId, FailureClass, KeyResidency, Tier},
    work::{
        WarmProver, Work, WorkError,
        slots::{self, Share},
    },
};

type Task = Box<dyn FnOnce() + Send>;
type Keys = Arc<Mutex<Warm<Arc<dyn WarmProver>>>>;

/// Slots on threads of this process.
#[derive(Debug)]
pub struct Threads {
    work: Arc<dyn Work>,
    share: Share,
    warm: Keys,
}

impl Threads {
    /// Slots that do `work` and keep `warm_circuits` loaded among them.
    pub fn new(work: Arc<dyn Work>, share: Share, warm_circuits: usize) -> Self {
        Self {
            work,
            share,
            warm: Arc::new(Mutex::new(Warm::new(u64::MAX, warm_circuits))),
        }
    }
}

impl Workshop for Threads {
    fn start(&self, number: u32) -> std::io::Result<Box<dyn Slot>> {
        let pool = slots::pool(self.share.threads).map_err(std::io::Error::other)?;
        let (tasks, queue) = mpsc::channel::<Task>();
        std::thread::Builder::new()
            .name(format!("slot {number}"))
            .stack_size(64 << 20)
            .spawn(move || {
                for task in queue {
                    pool.install(task);
                }
            })?;
        Ok(Box::new(ThreadSlot {
            work: Arc::clone(&self.work),
            warm: Arc::clone(&self.warm),
            tasks,
        }))
    }
}

#[derive(Debug)]
struct ThreadSlot {
    work: Arc<dyn Work>,
    warm: Keys,
    tasks: mpsc::Sender<Task>,
}

impl ThreadSlot {
    fn keys(&self) -> MutexGuard<'_, Warm<Arc<dyn WarmProver>>> {
        self.warm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on the thread; a panic becomes a failure.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, WorkError> + Send + 'static,
    ) -> Result<T, WorkError> {
        let (answer, answered) = oneshot::channel();
        let task: Task = Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(defect()));
            let _ = answer.send(result);
        });
        let gone = || WorkError::internal("PROVER_GONE", "the prover's thread is gone");
        self.tasks.send(task).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    async fn warm_prover(
        &self,
        load: Load,
        watch: &Arc<Watch>,
    ) -> Result<(Arc<dyn WarmProver>, Duration), WorkError> {
        let held = self.keys().touch(load.circuit);
        if let Some(prover) = held {
            return Ok((prover, Duration::ZERO));
        }
        let (work, watch, begun) = (Arc::clone(&self.work), Arc::clone(watch), Instant::now());
        let prover = self
            .run(move || work.prepare(&load.folder, &*watch))
            .await?;
        let took = begun.elapsed();
        self.keys()
            .insert(load.circuit, Arc::clone(&prover), 0, took);
        Ok((prover, took))
    }
}

/// What a panic of the prover becomes.
pub(super) fn defect() -> WorkError {
    WorkError::internal(
        "PANIC",
        "the prover met a defect; the log of its node has the place",
    )
}

#[async_trait::async_trait]
impl Slot for ThreadSlot {
    async fn load(&mut self, load: Load, watch: &Arc<Watch>) -> Result<Duration, WorkError> {
        Ok(self.warm_prover(load, watch).await?.1)
    }

    async fn prove(&mut self, order: Order, watch: &Arc<Watch>) -> Result<Proved, WorkError> {
        let circuit = order.load.circuit;
        let (prover, key_load) = self.warm_prover(order.load, watch).await?;
        let (control, begun) = (Arc::clone(watch), Instant::now());
        let (input, context) = (order.input, order.context);
        let proved = self
            .run(move || prover.prove(&input, context, &*control))
            .await;
        if matches!(&proved, Err(WorkError::Failed(f)) if f.class != FailureClass::InvalidRequest) {
            // A damaged key must not stay loaded.
            self.forget(circuit);
        }
        Ok(Proved {
            parts: proved?,
            key_load,
            prove: begun.elapsed(),
        })
    }

    fn forget(&mut self, circuit: CircuitId) {
        self.keys().remove(circuit);
    }

    fn warm(&self) -> Vec<KeyResidency> {
        let list = self.keys().list();
        let near = list.into_iter().map(|(circuit, load)| KeyResidency {
            circuit,
            tier: Tier::Ram,
            load_ms: u64::try_from(load.as_millis()).unwrap_or(u64::MAX),
        });
        near.collect()
    }
}
