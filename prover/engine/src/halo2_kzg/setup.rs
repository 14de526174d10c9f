//! # Set-up of halo2-kzg
//!
//! The powers of τ come from a ceremony or from a development trapdoor; the circuit adds nothing secret. The proving key file holds
//! the powers, monomial and in Lagrange form, as far as the circuit needs them, and \[τ\] in G2. Everything else of a key is
//! computed from the program when a prover is prepared.

use std::ops::ControlFlow;
use std::sync::Arc;

use rayon::prelude::*;
use zkinfer_circuits::arithmetization::halo2::Halo2Circuit;
use zkinfer_circuits::constraint::Program;
use zkinfer_gpu::curve::{CoordinateTooLarge, decode_point};
use zkinfer_gpu::{Bases, Curve, Device, G1, G2};
use zkinfer_params::dev_setup::development_srs_part;
use zkinfer_params::keys::{KeyHeader, KeySink, SectionKind};
use zkinfer_params::srs::{Origin, SrsPart, SrsStep};
use zkinfer_verifier::{KeyMaterial, ProofSystem, Setup, VerifyingKey};

use super::key::{KeygenError, Powers, Preprocessed};
use crate::backend::{KeySource, Phase, Progress, Steps};
use crate::error::SetupError;

/// Bytes written between two reports.
const PIECE: usize = 1 << 20;

pub(super) fn setup(
    device: &dyn Device,
    program: &Arc<Program>,
    model_id: [u8; 32],
    source: KeySource<'_>,
    sink: &mut dyn KeySink,
    progress: &dyn Progress,
) -> Result<VerifyingKey, SetupError> {
    let mut lowering = Steps::begin(progress, Phase::Lower, 1)?;
    let circuit = Halo2Circuit::lower(program)?;
    lowering.advance(1)?;

    // A first report at zero, the points' own while they are made or checked, and the key's while it is written.
    let n = 1u64 << circuit.k();
    let _ = Steps::begin(progress, Phase::Keys, 4 * n)?;
    let mut watch = |_: SrsStep, done: u64, total: u64| -> ControlFlow<()> {
        let part = (2 * n) as f64 * done as f64 / total.max(1) as f64;
        progress.report(Phase::Keys, (part as u64).min(2 * n), 4 * n)
    };
    let (setup, part) = match source {
        KeySource::Development(trapdoor) => (
            Setup::Development,
            development_srs_part(&trapdoor, circuit.k(), &mut watch)?,
        ),
        KeySource::Srs(srs) => (
            match srs.origin() {
                Origin::Development => Setup::Development,
                Origin::Ceremony { .. } => Setup::Ceremony,
            },
            srs.load(circuit.k(), &mut watch)?,
        ),
    };
    let made = Preprocessed::new(
        device,
        &circuit.synthesis(),
        circuit.k(),
        &powers(&part)?,
        None,
    )?;
    let vk = VerifyingKey {
        system: ProofSystem::Halo2Kzg,
        setup,
        model_id,
        circuit_digest: circuit.digest(),
        layout: program.layout().clone(),
        material: KeyMaterial::Halo2Kzg(made.protocol),
    };
    vk.check()?;

    let mut writing = Steps::resume(progress, Phase::Keys, 2 * n, 4 * n)?;
    sink.begin(&KeyHeader {
        system: vk.system,
        setup,
        vk_digest: vk.digest(),
        circuit_digest: vk.circuit_digest,
        program_digest: program.digest(),
    })?;
    for (kind, bytes) in [
        (SectionKind::Monomial, &part.monomial),
        (SectionKind::Lagrange, &part.lagrange),
    ] {
        sink.start_section(kind, n)?;
        for piece in bytes.chunks(PIECE) {
            sink.append(piece)?;
            writing.advance((piece.len() / 64) as u64)?;
        }
    }
    sink.start_section(SectionKind::PointsG2, 1)?;
    sink.append(&part.s_g2)?;
    Ok(vk)
}

/// The points of a reference string.
fn powers(part: &SrsPart) -> Result<Powers, KeygenError> {
    let refused = |what| move |CoordinateTooLarge| KeygenError::OffCurve { what, index: 0 };
    let section = |what, bytes: &[u8]| {
        let points: Result<Vec<_>, _> = bytes
            .par_chunks_exact(G1::POINT_BYTES)
            .map(decode_point::<G1>)
            .collect();
        points.map(Bases::from_points).map_err(refused(what))
    };
    Ok(Powers {
        monomial: section("monomial", &part.monomial)?,
        lagrange: section("lagrange", &part.lagrange)?,
        s_g2: decode_point::<G2>(&part.s_g2).map_err(refused("[τ]"))?,
    })
}
