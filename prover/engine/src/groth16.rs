//! # Groth16 as published (eprint 2016/260)
//!
//! Every word of the statement is a public input. Proof: A, C in G1, B in G2.

mod prove;
mod setup;

use std::sync::Arc;

use zkinfer_circuits::constraint::Program;
use zkinfer_gpu::Device;
use zkinfer_params::keys::{KeySink, ProvingKeyFile};
use zkinfer_verifier::{ProofSystem, VerifyingKey};

use crate::backend::{Backend, KeySource, Progress, Prover};
use crate::error::{PrepareError, SetupError};

/// The backend of plain Groth16.
#[derive(Debug)]
pub(crate) struct Groth16 {
    device: Arc<dyn Device>,
}

impl Groth16 {
    pub(crate) fn new(device: Arc<dyn Device>) -> Self {
        Self { device }
    }
}

impl Backend for Groth16 {
    fn system(&self) -> ProofSystem {
        ProofSystem::Groth16
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
        let prover = prove::Groth16Prover::new(self.device.clone(), &program, key, vk)?;
        Ok(Box::new(prover))
    }
}
