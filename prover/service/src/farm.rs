//! The farm: who proves what, and when. The in-process prover takes one job a slot at a time.

mod cache;
pub mod job;
pub mod lease;
mod live;
mod prover;
mod reaper;
pub mod scheduler;
pub mod sim;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Limits,
    store::{Blobs, CircuitId, Store, TenantId},
    work::{Gate, Work},
};

pub(crate) use cache::Recent;
pub(crate) use live::overall;
pub use live::{Live, LiveProgress};

/// What every part of the service shares.
#[derive(Debug)]
pub struct Farm {
    /// The durable state.
    pub store: Arc<dyn Store>,
    /// The files.
    pub blobs: Arc<Blobs>,
    /// The proving work.
    pub work: Arc<dyn Work>,
    /// The bounds.
    pub limits: Limits,
    /// The data folder.
    pub data: PathBuf,
    /// The gateway's view of recent circuits.
    pub(crate) gates: Mutex<Recent<(TenantId, CircuitId), Arc<dyn Gate>>>,
    /// The attempts that run.
    pub live: Live,
    /// Set when the server stops taking work.
    pub stopping: CancellationToken,
    /// Work that must end before the process does.
    pub tasks: TaskTracker,
}

impl Farm {
    /// The bundle folder of a circuit.
    pub fn bundle(&self, circuit: CircuitId) -> PathBuf {
        self.data.join("circuits").join(circuit.0.to_string())
    }

    /// Starts the slots of the prover and the reaper; all end after [`Farm::stopping`] is cancelled.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(self: &Arc<Self>) -> std::io::Result<()> {
        let warm = prover::warm_keys(self);
        for _ in 0..self.limits.share.slots.get() {
            let bench = prover::Workbench::start(self.limits.share)?;
            let run = prover::run(Arc::clone(self), bench, Arc::clone(&warm));
            self.tasks.spawn(run);
        }
        self.tasks.spawn(reaper::run(Arc::clone(self)));
        Ok(())
    }
}
