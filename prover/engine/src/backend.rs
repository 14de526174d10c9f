//! # Backends: one proof system each, behind one pair of traits
//!
//! A [`Backend`] makes keys and prepares provers; a [`Prover`] holds one circuit and its key and proves one input after
//! another. Work reports its progress, and stops where a report answers `Break`.

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::Arc;

use rand::{CryptoRng, RngCore};
use zkinfer_circuits::arithmetization::r1cs::Form;
use zkinfer_circuits::constraint::Program;
use zkinfer_circuits::tensor::Tensor;
use zkinfer_gpu::Device;
use zkinfer_params::dev_setup::Trapdoor;
use zkinfer_params::keys::{KeySink, ProvingKeyFile};
use zkinfer_params::srs::Srs;
use zkinfer_verifier::{Context, Proof, ProofSystem, Statement, VerifyingKey};

use crate::error::{PrepareError, ProveError, SetupError};
use crate::{groth16, halo2_kzg, ultragroth};

/// A proof system on a device.
pub trait Backend: Debug + Send + Sync {
    /// Which proof system.
    fn system(&self) -> ProofSystem;

    /// Makes the keys of `program`: the proving key streams into `sink`, the verifying key is returned. The same program, model
    /// id and source give the same keys for any number of threads.
    ///
    /// # Errors
    /// [`SetupError`]; the sink's file is then incomplete and must not be finished.
    fn setup(
        &self,
        program: &Arc<Program>,
        model_id: [u8; 32],
        source: KeySource<'_>,
        sink: &mut dyn KeySink,
        progress: &dyn Progress,
    ) -> Result<VerifyingKey, SetupError>;

    /// Lowers `program` and maps `key`; once for each circuit. Of a key of groth16 and ultragroth the single points are compared with the
    /// verifying key and the queries are not read: a query that is damaged gives no proof, and the refusal names the section.
    /// [`ProvingKeyFile::verify`] finds damage before, but whoever wrote the file wrote its digests too.
    ///
    /// # Errors
    /// [`PrepareError`] when program, proving key and verifying key do not belong together.
    fn prepare(
        &self,
        program: Arc<Program>,
        key: ProvingKeyFile,
        vk: VerifyingKey,
    ) -> Result<Box<dyn Prover>, PrepareError>;
}

/// Where the secret of a key comes from.
#[derive(Debug)]
pub enum KeySource<'a> {
    /// This machine draws it: a development key.
    Development(Trapdoor),
    /// A reference string; the key is as trustworthy as its origin. Only `halo2-kzg` has keys of this kind.
    Srs(&'a Srs),
}

impl From<Trapdoor> for KeySource<'_> {
    fn from(trapdoor: Trapdoor) -> Self {
        Self::Development(trapdoor)
    }
}

impl KeySource<'_> {
    /// The trapdoor, for a system that has no other source.
    pub(crate) fn trapdoor(self, system: ProofSystem) -> Result<Trapdoor, SetupError> {
        match self {
            Self::Development(trapdoor) => Ok(trapdoor),
            Self::Srs(_) => Err(SetupError::Source { system }),
        }
    }
}

/// A circuit with its key, ready to prove.
pub trait Prover: Debug + Send + Sync {
    /// Solves the program on `input` and proves the result. The proof was accepted by `zkinfer_verifier::verify` before it
    /// is returned.
    ///
    /// # Errors
    /// [`ProveError`]; nothing of the witness is kept.
    fn prove(
        &self,
        input: &ProofInput,
        rng: &mut dyn CryptoRngCore,
        progress: &dyn Progress,
    ) -> Result<Proven, ProveError>;

    /// Makes tables of the key's points in at most `max_bytes` of memory: proofs that begin later take less work, and are
    /// distributed as before. Tables take as long as about ten proofs, so they are for provers of many. Returns their bytes;
    /// 0 where none fits and in systems that have none. Tables once made are kept.
    ///
    /// # Errors
    /// [`PrepareError`]: the key is damaged, or there is no memory.
    fn tabulate(&self, max_bytes: u64) -> Result<u64, PrepareError> {
        let _ = max_bytes;
        Ok(0)
    }

    /// The verifying key that accepts the proofs.
    fn verifying_key(&self) -> &VerifyingKey;
}

/// A source of blinding factors: the operating system's in production, seeded only in tests.
pub trait CryptoRngCore: RngCore + CryptoRng {}

impl<R: RngCore + CryptoRng + ?Sized> CryptoRngCore for R {}

/// What to prove. Holds private tensors: its `Debug` shows shapes only.
#[derive(Debug, Clone)]
pub struct ProofInput {
    /// The input tensors in declared order, quantized.
    pub tensors: Vec<Tensor>,
    /// What the proof is bound to.
    pub context: Context,
}

/// A proof and what it proves.
#[derive(Debug, Clone)]
pub struct Proven {
    /// The claim.
    pub statement: Statement,
    /// Its proof.
    pub proof: Proof,
    /// The output tensors in declared order, private ones included.
    pub outputs: Vec<Tensor>,
}

/// Stations of a set-up or a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// From program to circuit.
    Lower,
    /// Making a key; counted in points.
    Keys,
    /// Mapping and checking a key.
    LoadKey,
    /// Solving the program.
    Witness,
    /// The committed round.
    Commit,
    /// Transforms and multiplications.
    Prove,
    /// Checking the own proof.
    Verify,
}

/// Hears how far the work is, and may stop it.
pub trait Progress: Sync {
    /// `done` of `total` steps of `phase` are done. `Break` stops the work at this point.
    fn report(&self, phase: Phase, done: u64, total: u64) -> ControlFlow<()>;
}

impl<F: Fn(Phase, u64, u64) -> ControlFlow<()> + Sync> Progress for F {
    fn report(&self, phase: Phase, done: u64, total: u64) -> ControlFlow<()> {
        self(phase, done, total)
    }
}

/// Hears nothing and never stops the work.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn report(&self, _phase: Phase, _done: u64, _total: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// The backend of a proof system.
#[must_use]
pub fn backend(system: ProofSystem, device: Arc<dyn Device>) -> Box<dyn Backend> {
    match system {
        ProofSystem::Groth16 => Box::new(groth16::Groth16::new(device)),
        ProofSystem::UltraGroth => Box::new(ultragroth::UltraGroth::new(device)),
        ProofSystem::Halo2Kzg => Box::new(halo2_kzg::Halo2Kzg::new(device)),
    }
}

/// The form of R1CS that a proof system proves; `None` for a system that proves no R1CS.
#[must_use]
pub fn form_of(system: ProofSystem) -> Option<Form> {
    match system {
        ProofSystem::Groth16 => Some(Form::Plain),
        ProofSystem::UltraGroth => Some(Form::Committed),
        ProofSystem::Halo2Kzg => None,
    }
}

/// The work was stopped by its [`Progress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cancelled;

/// Counts the steps of one phase.
pub(crate) struct Steps<'a> {
    progress: &'a dyn Progress,
    phase: Phase,
    done: u64,
    total: u64,
}

impl<'a> Steps<'a> {
    /// Reports the beginning of `phase`.
    pub(crate) fn begin(
        progress: &'a dyn Progress,
        phase: Phase,
        total: u64,
    ) -> Result<Self, Cancelled> {
        Self::resume(progress, phase, 0, total)
    }

    /// Reports that `done` steps of a phase that has begun are done.
    pub(crate) fn resume(
        progress: &'a dyn Progress,
        phase: Phase,
        done: u64,
        total: u64,
    ) -> Result<Self, Cancelled> {
        let steps = Self {
            progress,
            phase,
            done,
            total,
        };
        steps.report()?;
        Ok(steps)
    }

    /// Reports `n` more steps.
    pub(crate) fn advance(&mut self, n: u64) -> Result<(), Cancelled> {
        self.done += n;
        self.report()
    }

    fn report(&self) -> Result<(), Cancelled> {
        match self.progress.report(self.phase, self.done, self.total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Cancelled),
        }
    }
}
