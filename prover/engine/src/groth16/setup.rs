//! # Set-up of Groth16
//!
//! Over γ: the instance (IC). Over δ, which is the trapdoor's δ2: the private wires and the quotient.

use std::slice;
use std::sync::Arc;

use zeroize::Zeroizing;
use zkinfer_circuits::constraint::Program;
use zkinfer_gpu::Device;
use zkinfer_params::dev_setup::Trapdoor;
use zkinfer_params::keys::{KeySink, SectionKind};
use zkinfer_verifier::{ProofSystem, VerifyingKey};

use crate::backend::Progress;
use crate::crs::KeyMaker;
use crate::error::SetupError;

pub(super) fn setup(
    device: &dyn Device,
    program: &Arc<Program>,
    model_id: [u8; 32],
    trapdoor: Trapdoor,
    sink: &mut dyn KeySink,
    progress: &dyn Progress,
) -> Result<VerifyingKey, SetupError> {
    let system = ProofSystem::Groth16;
    let mut maker = KeyMaker::new(device, system, program, trapdoor, progress)?;
    let delta = Zeroizing::new(maker.trapdoor().delta2);
    let deltas = slice::from_ref(&*delta);
    let key = maker.verifying_key(system, model_id, deltas)?;
    maker.write_common(&key, deltas, sink)?;
    let [_, _, private] = maker.wire_classes();
    maker.write_bound(SectionKind::D2, private, &delta, sink)?;
    maker.write_quotient(sink)?;
    Ok(key)
}
