//! # PLONK over KZG
//!
//! | module | what |
//! |---|---|
//! | [`transcript`] | the library's transcript traits over the transcript that verifier and contracts compute |
//! | [`protocol`] | from the library's verifying key to the verifier's protocol description |
//! | `library` | the library's parameters, key generation and `create_proof`, each behind one function |
//! | `setup`, `prove` | the backend |
//!
//! The library computes on the processor, on rayon's threads: a device is not used. What leaves its `create_proof` is checked by
//! our own verifier before anybody sees it.

mod library;
pub mod protocol;
mod prove;
mod setup;
pub mod transcript;

use std::sync::Arc;

use zkinfer_circuits::constraint::Program;
use zkinfer_params::keys::{KeySink, ProvingKeyFile};
use zkinfer_verifier::{ProofSystem, VerifyingKey};

use crate::backend::{Backend, KeySource, Progress, Prover};
use crate::error::{PrepareError, SetupError};

pub use library::LibraryError;
pub(crate) use library::size;

/// The backend of halo2-kzg.
#[derive(Debug)]
pub(crate) struct Halo2Kzg;

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
        setup::setup(program, model_id, source, sink, progress)
    }

    fn prepare(
        &self,
        program: Arc<Program>,
        key: ProvingKeyFile,
        vk: VerifyingKey,
    ) -> Result<Box<dyn Prover>, PrepareError> {
        Ok(Box::new(prove::Halo2KzgProver::new(&program, &key, vk)?))
    }
}
