//! What the supervisor asks of a place where proofs are made.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use zeroize::Zeroizing;

use super::watch::Watch;
use crate::{
    store::{CircuitId, KeyResidency, Resources},
    work::{ProofParts, WorkError},
};

/// A circuit to load.
#[derive(Clone, Debug)]
pub struct Load {
    /// The circuit.
    pub circuit: CircuitId,
    /// Its bundle folder.
    pub folder: PathBuf,
    /// What loading and proving may use.
    pub limits: Resources,
    /// How long it may take.
    pub time_limit: Duration,
}

/// A proof to make.
pub struct Order {
    /// Of this circuit.
    pub load: Load,
    /// The canonical quantized tensors.
    pub input: Zeroizing<Vec<u8>>,
    /// The context of the statement.
    pub context: [u8; 32],
}

/// The input is left out.
impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order")
            .field("load", &self.load)
            .field("input_bytes", &self.input.len())
            .finish_non_exhaustive()
    }
}

/// A proof that a slot made.
#[derive(Clone, Debug)]
pub struct Proved {
    /// The proof and its statement.
    pub parts: ProofParts,
    /// Time to load the key; zero when it was loaded before.
    pub key_load: Duration,
    /// Time to prove.
    pub prove: Duration,
}

/// A place where one proof at a time is made.
#[async_trait::async_trait]
pub trait Slot: fmt::Debug + Send {
    /// Loads a circuit ahead of work, and answers how long it took.
    ///
    /// # Errors
    /// Stopped by `watch`, or a failure.
    async fn load(&mut self, load: Load, watch: &Arc<Watch>) -> Result<Duration, WorkError>;

    /// Makes a proof; loads the circuit first if need be. Ends soon after `watch` is stopped.
    ///
    /// # Errors
    /// Stopped by `watch`, or a failure.
    async fn prove(&mut self, order: Order, watch: &Arc<Watch>) -> Result<Proved, WorkError>;

    /// Forgets a circuit.
    fn forget(&mut self, circuit: CircuitId);

    /// The circuits that are loaded.
    fn warm(&self) -> Vec<KeyResidency>;
}

/// Makes slots.
pub trait Workshop: fmt::Debug + Send + Sync {
    /// The slot of this number.
    ///
    /// # Errors
    /// The system refuses a thread or a process.
    fn start(&self, number: u32) -> std::io::Result<Box<dyn Slot>>;
}
