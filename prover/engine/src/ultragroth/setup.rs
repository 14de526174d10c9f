//! # Set-up of UltraGroth
//!
//! Over γ: the constant and the challenge wires ρ, α', e (IC). Over δ1: the committed wires. Over δ2: the private wires and
//! the quotient. The two δ's are independent: who knew their ratio could move a committed value after the challenges.

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
    let system = ProofSystem::UltraGroth;
    let mut maker = KeyMaker::new(device, system, program, trapdoor, progress)?;
    let deltas = Zeroizing::new([maker.trapdoor().delta1, maker.trapdoor().delta2]);
    let [delta1, delta2] = &*deltas;
    let key = maker.verifying_key(system, model_id, &*deltas)?;
    maker.write_common(&key, &*deltas, sink)?;
    let [_, committed, private] = maker.wire_classes();
    maker.write_bound(SectionKind::D1, committed, delta1, sink)?;
    maker.write_bound(SectionKind::D2, private, delta2, sink)?;
    maker.write_quotient(sink)?;
    Ok(key)
}
