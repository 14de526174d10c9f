//! The proving work as the farm sees it: compile, set up, prove, verify. The farm knows no tensors and no fields.

mod child;
mod compile;
pub mod device;
pub mod inputs;
pub mod local;
mod profile;
pub mod slots;

use std::{fmt::Debug, ops::ControlFlow, path::Path, sync::Arc};

use crate::store::{Backend, CompileFacts, Failure, FailureClass, Phase, SetupFacts};

pub use child::ChildLimits;
pub use compile::{CompileRequest, run_child, run_worker};
pub use local::LocalWork;
pub use profile::{ProfileRequest, run_profile, run_profile_worker};

/// How work tells where it is and learns that it shall stop.
pub trait Control: Send + Sync {
    /// `done` of `total` steps of `phase`; `Break` asks to stop soon.
    fn report(&self, phase: Phase, done: u64, total: u64) -> ControlFlow<()>;
}

/// A control that nobody watches.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl Control for Unwatched {
    fn report(&self, _: Phase, _: u64, _: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Why work ended without a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkError {
    /// It was asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// It failed.
    #[error("{}", .0.message)]
    Failed(Failure),
}

impl WorkError {
    /// The client's fault.
    pub fn invalid(code: &str, message: impl Into<String>) -> Self {
        Self::Failed(Failure::new(FailureClass::InvalidRequest, code, message))
    }

    /// This machine's fault.
    pub fn fault(code: &str, message: impl Into<String>) -> Self {
        Self::Failed(Failure::new(FailureClass::NodeFault, code, message))
    }

    /// A bound was hit.
    pub fn exceeded(code: &str, message: impl Into<String>) -> Self {
        Self::Failed(Failure::new(FailureClass::ResourceExceeded, code, message))
    }

    /// A defect of ours.
    pub fn internal(code: &str, message: impl Into<String>) -> Self {
        Self::Failed(Failure::new(FailureClass::Internal, code, message))
    }
}

/// A proof with the statement it proves, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofParts {
    /// The native bytes.
    pub proof: Vec<u8>,
    /// Context, then the bytes of the public tensors.
    pub public_values: Vec<u8>,
}

/// What a contract's author needs.
#[derive(Clone, Debug)]
pub struct VerifierFiles {
    /// Source files by path.
    pub files: Vec<(String, Vec<u8>)>,
    /// Creation code; for a Substrate chain the call that registers the key.
    pub bytecode: Vec<u8>,
    /// The encoded verifying key.
    pub verifying_key: Vec<u8>,
    /// Its Keccak-256 digest.
    pub vk_digest: [u8; 32],
    /// The compiler the creation code came from; empty where nothing is compiled.
    pub compiler: String,
}

/// How a proof is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofEncoding {
    /// The points.
    Native,
    /// Calldata of the contract.
    SolidityCalldata,
    /// proof.json.
    Json,
}

/// Everything the farm asks of the lower floors.
pub trait Work: Debug + Send + Sync {
    /// Compiles a model into the bundle folder `bundle`, in a child process.
    ///
    /// # Errors
    /// The model, the calibration data or a limit.
    fn compile(
        &self,
        request: &CompileRequest,
        bundle: &Path,
        control: &dyn Control,
    ) -> Result<CompileFacts, WorkError>;

    /// Makes the keys of a bundle; a bundle that has keys keeps them.
    ///
    /// # Errors
    /// The bundle is damaged, or the disk is full.
    fn setup(&self, bundle: &Path, control: &dyn Control) -> Result<SetupFacts, WorkError>;

    /// What the gateway needs of a bundle: no proving key.
    ///
    /// # Errors
    /// The bundle is damaged.
    fn gate(&self, bundle: &Path) -> Result<Arc<dyn Gate>, WorkError>;

    /// Loads program and proving key.
    ///
    /// # Errors
    /// The bundle is damaged.
    fn prepare(
        &self,
        bundle: &Path,
        control: &dyn Control,
    ) -> Result<Arc<dyn WarmProver>, WorkError>;
}

/// Why a statement is not about an input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The statement is of another one.
    #[error("{0}")]
    Proof(String),
    /// The input itself is not what it was when it was stored.
    #[error("{0}")]
    Input(String),
}

/// The gateway's view of a circuit.
pub trait Gate: Debug + Send + Sync {
    /// Parses a client's input file and quantizes it; the bytes are canonical.
    ///
    /// # Errors
    /// What is wrong with the input, in a sentence that holds none of it.
    fn quantize(&self, input: &[u8]) -> Result<Vec<u8>, String>;

    /// Checks a proof with the gateway's own key.
    ///
    /// # Errors
    /// Why it does not hold.
    fn verify(&self, parts: &ProofParts) -> Result<(), String>;

    /// Checks that a statement is about the canonical quantized tensors `input`: what it shows of them is theirs, and where it hides one, the outputs
    /// that it shows are the model's for this input.
    ///
    /// # Errors
    /// [`Mismatch`].
    fn check_input(&self, parts: &ProofParts, input: &[u8]) -> Result<(), Mismatch>;

    /// The digest of the key that `verify` uses.
    fn vk_digest(&self) -> [u8; 32];

    /// Reads a proof that a client sent as `encoding`.
    ///
    /// # Errors
    /// Why it is malformed.
    fn decode(
        &self,
        encoding: ProofEncoding,
        proof: &[u8],
        public_values: &[u8],
    ) -> Result<ProofParts, String>;

    /// Writes a proof as `encoding`.
    ///
    /// # Errors
    /// The circuit's system has no such encoding.
    fn encode(&self, encoding: ProofEncoding, parts: &ProofParts) -> Result<Vec<u8>, String>;

    /// The contract of this circuit.
    ///
    /// # Errors
    /// Why there is none.
    fn solidity(&self) -> Result<VerifierFiles, String>;

    /// The Substrate crate of this circuit, whose tests run on a proof of it.
    ///
    /// # Errors
    /// Why there is none.
    fn substrate(&self, example: &ProofParts) -> Result<VerifierFiles, String>;
}

/// A circuit whose key is loaded.
pub trait WarmProver: Debug + Send + Sync {
    /// Proves the canonical quantized tensors that [`Gate::quantize`] made. The prover verifies its own proof.
    ///
    /// # Errors
    /// Cancelled, or a fault.
    fn prove(
        &self,
        input: &[u8],
        context: [u8; 32],
        control: &dyn Control,
    ) -> Result<ProofParts, WorkError>;
}

/// The proof systems that this version serves.
pub fn served(backend: Backend) -> zkinfer_verifier::ProofSystem {
    match backend {
        Backend::Groth16 => zkinfer_verifier::ProofSystem::Groth16,
        Backend::Halo2Kzg => zkinfer_verifier::ProofSystem::Halo2Kzg,
        Backend::UltraGroth => zkinfer_verifier::ProofSystem::UltraGroth,
    }
}
