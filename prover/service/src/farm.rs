//! The farm: who proves what, and when. One in-process prover takes one job at a time.

mod cache;
pub mod job;
mod live;
mod prover;
mod reaper;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Limits,
    store::{Blobs, CircuitId, JobStore},
    work::{Gate, Work},
};

pub(crate) use cache::Recent;
pub(crate) use live::overall;
pub use live::{Live, LiveProgress};

/// What every part of the service shares.
#[derive(Debug)]
pub struct Farm {
    /// The durable state.
    pub store: Arc<dyn JobStore>,
    /// The files.
    pub blobs: Arc<Blobs>,
    /// The proving work.
    pub work: Arc<dyn Work>,
    /// The bounds.
    pub limits: Limits,
    /// The data folder.
    pub data: PathBuf,
    /// The gateway's view of recent circuits.
    pub(crate) gates: Mutex<Recent<CircuitId, Arc<dyn Gate>>>,
    /// The attempt that runs.
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

    /// Starts the prover and the reaper; both end after [`Farm::stopping`] is cancelled.
    ///
    /// # Errors
    /// The prover thread cannot be started.
    pub fn start(self: &Arc<Self>) -> std::io::Result<()> {
        let bench = prover::Workbench::start()?;
        self.tasks.spawn(prover::run(Arc::clone(self), bench));
        self.tasks.spawn(reaper::run(Arc::clone(self)));
        Ok(())
    }
}
