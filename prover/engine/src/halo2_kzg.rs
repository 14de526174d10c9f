//! # PLONK over KZG
//!
//! | module | what |
//! |---|---|
//! | [`transcript`] | the library's transcript traits over the transcript that verifier and contracts compute |
//! | [`protocol`] | from the library's verifying key to the verifier's protocol description |

pub mod protocol;
pub mod transcript;

use std::sync::Arc;

use zkinfer_circuits::constraint::Program;
use zkinfer_gpu::Device;
use zkinfer_params::dev_setup::Trapdoor;
use zkinfer_params::keys::{KeySink, ProvingKeyFile};
use zkinfer_verifier::{ProofSystem, VerifyingKey};

use crate::backend::{Backend, Progress, Prover};
use crate::error::{PrepareError, SetupError};

/// The backend of halo2-kzg.
#[derive(Debug)]
pub(crate) struct Halo2Kzg {
    #[allow(dead_code, reason = "the library computes on the processor")]
    device: Arc<dyn Device>,
}

impl Halo2Kzg {
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
        _program: &Arc<Program>,
        _model_id: [u8; 32],
        _trapdoor: Trapdoor,
        _sink: &mut dyn KeySink,
        _progress: &dyn Progress,
    ) -> Result<VerifyingKey, SetupError> {
        Err(SetupError::System {
            system: self.system(),
        })
    }

    fn prepare(
        &self,
        _program: Arc<Program>,
        _key: ProvingKeyFile,
        vk: VerifyingKey,
    ) -> Result<Box<dyn Prover>, PrepareError> {
        Err(PrepareError::System {
            what: "verifying key",
            expected: self.system(),
            got: vk.system,
        })
    }
}
