//! # UltraGroth: Groth16 with one committed round
//!
//! The construction of Mirage (eprint 2020/278, randomized circuits) with the commitment under a δ of its own. The
//! wires W1 are committed before the challenges ρ and α' exist; the statement's words enter through one public input, their
//! evaluation e at α'. Proof: A, C1, C2 in G1, B in G2. Argument: DESIGN.md#ultragroth.

mod prove;
mod setup;

use std::sync::Arc;

use zkinfer_circuits::constraint::Program;
use zkinfer_gpu::Device;
use zkinfer_params::keys::{KeySink, ProvingKeyFile};
use zkinfer_verifier::{ProofSystem, VerifyingKey};

use crate::backend::{Backend, KeySource, Progress, Prover};
use crate::error::{PrepareError, SetupError};

/// The backend of UltraGroth.
#[derive(Debug)]
pub(crate) struct UltraGroth {
    device: Arc<dyn Device>,
}

impl UltraGroth {
    pub(crate) fn new(device: Arc<dyn Device>) -> Self {
        Self { device }
    }
}

impl Backend for UltraGroth {
    fn system(&self) -> ProofSystem {
        ProofSystem::UltraGroth
    }

    fn setup(
        &self,
        program: &Arc<Program>,
        model_id: [u8; 32],
        source: KeySource<'_>,
        sink: &mut dyn KeySink,
        progress: &dyn Progress,
    ) -> Result<VerifyingKey, SetupError> {
        let trapdoor = source.trapdoor(self.system())?;
        setup::setup(&*self.device, program, model_id, trapdoor, sink, progress)
    }

    fn prepare(
        &self,
        program: Arc<Program>,
        key: ProvingKeyFile,
        vk: VerifyingKey,
    ) -> Result<Box<dyn Prover>, PrepareError> {
        let prover = prove::UltraGrothProver::new(self.device.clone(), &program, key, vk)?;
        Ok(Box::new(prover))
    }
}
