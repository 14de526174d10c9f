//! # Quote: what a key and a proof will cost, before any key
//!
//! Rows, domain and key bytes are exact. Memory, seconds and gas are estimates from the constants below; DESIGN.md says on
//! what they were measured.

use std::sync::Arc;

use zkinfer_circuits::arithmetization::r1cs::{Cost, LowerError, R1cs};
use zkinfer_circuits::constraint::Program;
use zkinfer_params::keys::{PAGE_BYTES, SectionKind};
use zkinfer_verifier::ProofSystem;

use crate::backend::form_of;
use crate::qap::Qap;

/// Prover memory: a fixed part, then bytes for each point of the domain and each wire.
const RAM_BASE: u64 = 24 << 20;
const RAM_PER_POINT: u64 = 560;
const RAM_PER_WIRE: u64 = 320;
/// Core-microseconds of one proof: a point of the domain (transforms, and the quotient's multiplication), a wire with a small
/// value, a private wire of UltraGroth, whose value is full-size.
const PROVE_MICROS_PER_POINT: f64 = 11.0;
const PROVE_MICROS_PER_SMALL_WIRE: f64 = 1.8;
const PROVE_MICROS_PER_FULL_WIRE: f64 = 17.0;
/// Core-microseconds of a set-up: for each G1 and each G2 point.
const SETUP_MICROS_PER_G1: f64 = 6.0;
const SETUP_MICROS_PER_G2: f64 = 21.0;
/// Gas of execution: the pairing and what surrounds it, a public input of plain Groth16, a word of UltraGroth.
const GAS_GROTH16: u64 = 183_100;
const GAS_PER_PUBLIC: u64 = 6_640;
const GAS_ULTRAGROTH: u64 = 237_600;
const GAS_PER_WORD: u64 = 100;

/// Why there is no quote.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// The program has no circuit of the system's form.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// No cost model of the system.
    #[error("there is no quote for {system}")]
    System {
        /// The system asked for.
        system: ProofSystem,
    },
}

/// What a key and a proof will cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Quote {
    /// The proof system.
    pub system: ProofSystem,
    /// Rows by layer and by table, and wires.
    pub cost: Cost,
    /// Rows of the QAP: the circuit's and one for each instance wire.
    pub rows: usize,
    /// Points of the domain.
    pub domain: usize,
    /// Wires.
    pub wires: usize,
    /// Bytes of the proving key, exactly.
    pub key_bytes: u64,
    /// Bytes of a proof.
    pub proof_bytes: usize,
    /// Peak memory of a prover, estimated, without the mapped key.
    pub ram_bytes: u64,
    /// Core-seconds of a set-up, estimated; divide by the number of cores.
    pub setup_core_seconds: f64,
    /// Core-seconds of a proof, estimated; divide by the number of cores.
    pub prove_core_seconds: f64,
    /// Seconds of a set-up on this machine's threads.
    pub setup_seconds: f64,
    /// Seconds of a proof on this machine's threads.
    pub prove_seconds: f64,
    /// Gas of execution of an on-chain verification, estimated, without calldata and the base fee.
    pub gas: u64,
}

/// Lowers `program` for `system` and says what its keys and proofs will cost.
///
/// # Errors
/// [`QuoteError`] when the program has no circuit of the system's form.
pub fn quote(program: &Arc<Program>, system: ProofSystem) -> Result<Quote, QuoteError> {
    let form = form_of(system).ok_or(QuoteError::System { system })?;
    let r1cs = R1cs::lower(program, form)?;
    let rows = r1cs.n_rows().saturating_add(r1cs.n_instance());
    let qap = Qap::new(&r1cs).ok_or(LowerError::TooLarge { rows })?;
    let (domain, wires) = (qap.n(), r1cs.n_wires());
    let n_words = program.layout().n_words();
    let n_full = match system {
        ProofSystem::Groth16 => 0,
        ProofSystem::UltraGroth => r1cs.n_private(),
        ProofSystem::Halo2Kzg => return Err(QuoteError::System { system }),
    };
    let prove_core_seconds = (domain as f64 * PROVE_MICROS_PER_POINT
        + n_full as f64 * PROVE_MICROS_PER_FULL_WIRE
        + (wires - n_full) as f64 * PROVE_MICROS_PER_SMALL_WIRE)
        / 1e6;
    let g1_points = (2 * wires + r1cs.n_committed() + r1cs.n_private() + domain) as f64;
    let setup_core_seconds =
        (g1_points * SETUP_MICROS_PER_G1 + wires as f64 * SETUP_MICROS_PER_G2) / 1e6;
    let threads = rayon::current_num_threads() as f64;
    Ok(Quote {
        system,
        cost: r1cs.cost(),
        rows: qap.rows_used(),
        domain,
        wires,
        key_bytes: key_bytes(&r1cs, domain, system),
        proof_bytes: system.proof_bytes().unwrap_or_default(),
        ram_bytes: RAM_BASE + domain as u64 * RAM_PER_POINT + wires as u64 * RAM_PER_WIRE,
        setup_core_seconds,
        prove_core_seconds,
        setup_seconds: setup_core_seconds / threads,
        prove_seconds: prove_core_seconds / threads,
        gas: match system {
            ProofSystem::Groth16 => GAS_GROTH16 + GAS_PER_PUBLIC * n_words as u64,
            ProofSystem::UltraGroth => GAS_ULTRAGROTH + GAS_PER_WORD * n_words as u64,
            ProofSystem::Halo2Kzg => return Err(QuoteError::System { system }),
        },
    })
}

/// The header page, then every section from a page boundary; the last one is not padded.
fn key_bytes(r1cs: &R1cs, domain: usize, system: ProofSystem) -> u64 {
    let wires = r1cs.n_wires();
    let mut sections = vec![
        (SectionKind::PointsG1, 2 + system.n_deltas()),
        (SectionKind::PointsG2, 2),
        (SectionKind::A, wires),
        (SectionKind::B1, wires),
        (SectionKind::B2, wires),
    ];
    if system == ProofSystem::UltraGroth {
        sections.push((SectionKind::D1, r1cs.n_committed()));
    }
    sections.push((SectionKind::D2, r1cs.n_private()));
    sections.push((SectionKind::H, domain));
    sections.into_iter().fold(PAGE_BYTES, |end, (kind, count)| {
        end.next_multiple_of(PAGE_BYTES) + count as u64 * kind.point_bytes()
    })
}
