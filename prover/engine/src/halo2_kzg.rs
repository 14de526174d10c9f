//! # PLONK over KZG
//!
//! | module | what |
//! |---|---|
//! | [`transcript`] | the library's transcript traits over the transcript that verifier and contracts compute |
//! | [`protocol`] | from the library's configuration of a circuit to the verifier's protocol description |
//! | `assembly`, [`key`] | the fixed part of a circuit, and what a prover keeps of it |
//! | `graph`, `program` | the constraints as straight-line code over blocks of rows |
//! | `rows`, `polynomial` | the domain and transforms, polynomials |
//! | `permutation`, `quotient`, `opening` | the three arguments |
//! | [`rounds`] | a proof, round by round |
//! | `setup`, `prove` | the backend |
//! | `library` | what is left of the library: configurations and field elements |
//!
//! Circuits are written against the library and its verifier accepts our proofs; its prover is not used but by tests, which compare. What
//! leaves `rounds` is checked by our own verifier before anybody sees it.

mod assembly;
mod graph;
pub mod key;
mod library;
mod opening;
mod permutation;
mod polynomial;
mod program;
pub mod protocol;
mod prove;
mod quotient;
pub mod rounds;
mod rows;
mod setup;
pub mod transcript;

use std::sync::Arc;

use zkinfer_circuits::constraint::Program;
use zkinfer_gpu::Device;
use zkinfer_params::keys::{KeySink, ProvingKeyFile};
use zkinfer_verifier::{ProofSystem, VerifyingKey};

use crate::backend::{Backend, KeySource, Progress, Prover};
use crate::error::{PrepareError, SetupError};

pub(crate) use library::{Size, size};

/// The backend of halo2-kzg.
#[derive(Debug)]
pub(crate) struct Halo2Kzg {
    device: Arc<dyn Device>,
}

impl Halo2Kzg {
    /// The system on a device.
    pub(crate) fn new(device: Arc<dyn Device>) -> Self {
        Self { device }
    }
}

impl Backend for Halo2Kzg {
    fn system(&self) -> ProofSystem {
        ProofSystem::Halo2Kzg
    }

    fn setup(
        &self,
        program: &Arc<Program>,
        model_id: [u8; 32],
        source: KeySource<'_>,
        sink: &mut dyn KeySink,
        progress: &dyn Progress,
    ) -> Result<VerifyingKey, SetupError> {
        setup::setup(&*self.device, program, model_id, source, sink, progress)
    }

    fn prepare(
        &self,
        program: Arc<Program>,
        key: ProvingKeyFile,
        vk: VerifyingKey,
    ) -> Result<Box<dyn Prover>, PrepareError> {
        Ok(Box::new(prove::Halo2KzgProver::new(
            self.device.clone(),
            &program,
            &key,
            vk,
        )?))
    }
}
