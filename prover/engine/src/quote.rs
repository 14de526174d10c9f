//! # Quote: what a key and a proof will cost, before any key
//!
//! Rows, domain and key bytes are exact. Memory, seconds and gas are estimates from the constants below; DESIGN.md says on
//! what they were measured.

use std::sync::Arc;

use zkinfer_circuits::arithmetization::LowerError;
use zkinfer_circuits::arithmetization::halo2::{Halo2Circuit, Halo2Cost};
use zkinfer_circuits::arithmetization::r1cs::{Cost, Form, R1cs};
use zkinfer_circuits::constraint::Program;
use zkinfer_params::keys::{PAGE_BYTES, SectionKind};
use zkinfer_verifier::ProofSystem;

use crate::backend::form_of;
use crate::halo2_kzg;
use crate::qap::Qap;

/// Prover memory: a fixed part, then bytes for each point of the domain and each wire.
const RAM_BASE: u64 = 30 << 20;
const RAM_PER_POINT: u64 = 96;
const RAM_PER_WIRE: u64 = 90;
/// Core-microseconds of one proof: a fixed part, a point of the domain (transforms, and the quotient's multiplication), a wire, a
/// row of a table (full-size terms of two multiplications).
const PROVE_MICROS: f64 = 6_000.0;
const PROVE_MICROS_PER_POINT: f64 = 1.8;
const PROVE_MICROS_PER_WIRE: f64 = 0.5;
const PROVE_MICROS_PER_TABLE_ROW: f64 = 5.0;
/// Core-microseconds of a set-up: for each G1 and each G2 point.
const SETUP_MICROS_PER_G1: f64 = 3.4;
const SETUP_MICROS_PER_G2: f64 = 8.0;
/// Gas of execution: the pairing and what surrounds it, a public input of plain Groth16, a word of UltraGroth.
const GAS_GROTH16: u64 = 183_100;
const GAS_PER_PUBLIC: u64 = 6_640;
const GAS_ULTRAGROTH: u64 = 237_600;
const GAS_PER_WORD: u64 = 100;

/// Prover memory of halo2-kzg: a fixed part, then bytes for each row and each row of a column.
const HALO2_RAM_BASE: u64 = 12 << 20;
const HALO2_RAM_PER_ROW: u64 = 1_400;
const HALO2_RAM_PER_CELL: u64 = 95;
/// Core-microseconds of one proof: a fixed part, a row of the domain, and a row of a committed polynomial.
const HALO2_PROVE_MICROS: f64 = 240_000.0;
const HALO2_PROVE_MICROS_PER_ROW: f64 = 30.0;
const HALO2_PROVE_MICROS_PER_CELL: f64 = 7.0;
/// Core-microseconds of a set-up from a trapdoor: a fixed part, a row, and a row of a fixed or permuted column.
const HALO2_SETUP_MICROS: f64 = 80_000.0;
const HALO2_SETUP_MICROS_PER_ROW: f64 = 10.0;
const HALO2_SETUP_MICROS_PER_CELL: f64 = 4.0;
/// Gas of execution of a key contract with the reusable verifier: the pairing and what surrounds it, a commitment, an evaluation, a
/// word. The specialised contract takes about a ninth less.
const GAS_HALO2: u64 = 146_000;
const GAS_PER_COMMITMENT: u64 = 6_700;
const GAS_PER_EVALUATION: u64 = 600;
const GAS_PER_HALO2_WORD: u64 = 210;
/// Gas of a transaction before execution, of a byte of calldata that is not zero, and of the call's own words.
const GAS_TRANSACTION: u64 = 21_000;
const GAS_PER_BYTE: u64 = 16;
const GAS_CALL: u64 = 1_500;

/// Why there is no quote.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// The program has no circuit of the system's form.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// No system has a circuit for the program.
    #[error("no proof system has a circuit for this program: {0}")]
    None(Box<Self>),
}

/// Whom a verifier of production keys has to trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetupTrust {
    /// A ceremony for every circuit; whoever knows its secret forges proofs of that circuit.
    PerCircuit,
    /// One public ceremony for all circuits.
    Universal,
}

impl SetupTrust {
    /// Of a system.
    #[must_use]
    pub const fn of(system: ProofSystem) -> Self {
        match system {
            ProofSystem::Groth16 | ProofSystem::UltraGroth => Self::PerCircuit,
            ProofSystem::Halo2Kzg => Self::Universal,
        }
    }

    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PerCircuit => "per-circuit",
            Self::Universal => "universal",
        }
    }
}

/// What a key and a proof will cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Quote {
    /// The proof system.
    pub system: ProofSystem,
    /// What its set-up asks verifiers to trust.
    pub trust: SetupTrust,
    /// What the circuit is made of.
    pub circuit: CircuitCost,
    /// Rows used: of the QAP the circuit's and one for each instance wire.
    pub rows: usize,
    /// Points of the domain.
    pub domain: usize,
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
    /// Gas of the whole transaction, estimated: execution, calldata and the base fee.
    pub transaction_gas: u64,
}

/// What a circuit is made of, by its arithmetization.
#[derive(Debug, Clone, PartialEq)]
pub enum CircuitCost {
    /// Rank-1 constraints.
    R1cs {
        /// Rows by layer and by table.
        cost: Cost,
        /// Wires.
        wires: usize,
    },
    /// Columns and rows.
    Halo2(Halo2Cost),
}

impl CircuitCost {
    /// Rows by layer of the model.
    #[must_use]
    pub fn by_node(&self) -> &[(String, usize)] {
        match self {
            Self::R1cs { cost, .. } => &cost.by_node,
            Self::Halo2(cost) => &cost.by_node,
        }
    }
}

/// Lowers `program` for `system` and says what its keys and proofs will cost.
///
/// # Errors
/// [`QuoteError`] when the program has no circuit of the system's form.
pub fn quote(program: &Arc<Program>, system: ProofSystem) -> Result<Quote, QuoteError> {
    match form_of(system) {
        Some(form) => quote_r1cs(program, system, form),
        None => quote_halo2(program, system),
    }
}

/// The quotes of every system that can prove the program, and the one to take.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// In the order of [`ProofSystem::ALL`].
    pub quotes: Vec<Quote>,
    /// The systems that cannot, and why.
    pub refused: Vec<(ProofSystem, String)>,
    /// The one to take.
    pub recommended: ProofSystem,
    /// Why.
    pub reason: String,
}

/// Quotes every system and recommends one.
///
/// # Errors
/// [`QuoteError::None`] when no system has a circuit for the program.
pub fn compare(program: &Arc<Program>) -> Result<Comparison, QuoteError> {
    let (mut quotes, mut refused, mut last) = (Vec::new(), Vec::new(), None);
    for system in ProofSystem::ALL {
        match quote(program, system) {
            Ok(quoted) => quotes.push(quoted),
            Err(error) => {
                refused.push((system, error.to_string()));
                last = Some(error);
            }
        }
    }
    match (recommend(&quotes), last) {
        (Some((recommended, reason)), _) => Ok(Comparison {
            quotes,
            refused,
            recommended,
            reason,
        }),
        (None, Some(error)) => Err(QuoteError::None(Box::new(error))),
        (None, None) => Err(LowerError::TooLarge { rows: 0 }.into()),
    }
}

/// Trust goes before cost, up to a proof that takes this many times as long.
const TRUST_IS_WORTH: f64 = 4.0;

/// Which of the quoted systems to take, and why.
fn recommend(quotes: &[Quote]) -> Option<(ProofSystem, String)> {
    let of = |system| quotes.iter().find(move |quote| quote.system == system);
    let ours = of(ProofSystem::UltraGroth).or_else(|| of(ProofSystem::Groth16));
    let (halo2, other) = match (of(ProofSystem::Halo2Kzg), ours) {
        (Some(halo2), Some(other)) => (halo2, other),
        (Some(only), None) => {
            let reason = "the only system with a circuit for this model; its keys can come from a public ceremony";
            return Some((only.system, reason.to_owned()));
        }
        (None, Some(only)) => {
            let reason = "the only kind of system with a circuit for this model; its keys need a ceremony of their own";
            return Some((only.system, reason.to_owned()));
        }
        (None, None) => return None,
    };
    let slower = halo2.prove_seconds / other.prove_seconds;
    let dearer = halo2.transaction_gas as f64 / other.transaction_gas as f64;
    if slower <= TRUST_IS_WORTH {
        let reason = format!(
            "its keys can come from a public ceremony, so nobody has to trust who made them; {} needs a ceremony for every model, and \
             would take {:.1}× the gas and {:.1}× the proving time",
            other.system,
            1.0 / dearer,
            1.0 / slower,
        );
        Some((halo2.system, reason))
    } else {
        let reason = format!(
            "proves {slower:.1}× faster than halo2-kzg and verifies for {:.1}× the gas; but its keys need a ceremony of their own: where \
             the prover must not be able to forge, take halo2-kzg",
            1.0 / dearer,
        );
        Some((other.system, reason))
    }
}

fn quote_halo2(program: &Arc<Program>, system: ProofSystem) -> Result<Quote, QuoteError> {
    let circuit = Halo2Circuit::lower(program)?;
    let cost = circuit.cost();
    let size = halo2_kzg::size(&circuit.synthesis());
    let domain = 1usize << circuit.k();
    let cells = |columns: usize| (domain * columns) as f64;
    let prove_core_seconds = (HALO2_PROVE_MICROS
        + cells(1) * HALO2_PROVE_MICROS_PER_ROW
        + cells(size.n_points) * HALO2_PROVE_MICROS_PER_CELL)
        / 1e6;
    let setup_core_seconds = (HALO2_SETUP_MICROS
        + cells(1) * HALO2_SETUP_MICROS_PER_ROW
        + cells(size.n_fixed + size.n_permuted) * HALO2_SETUP_MICROS_PER_CELL)
        / 1e6;
    let columns = (size.n_advice + 2 * (size.n_fixed + size.n_permuted)) as u64;
    let gas = GAS_HALO2
        + GAS_PER_COMMITMENT * size.n_commitments as u64
        + GAS_PER_EVALUATION * size.n_evals as u64
        + GAS_PER_HALO2_WORD * cost.n_words as u64;
    let threads = rayon::current_num_threads() as f64;
    let proof_bytes = size.proof_bytes();
    Ok(Quote {
        system,
        trust: SetupTrust::of(system),
        rows: cost.tape_rows.max(cost.lookup_rows).max(cost.table_rows),
        domain,
        key_bytes: sections_end(&[
            (SectionKind::Monomial, domain),
            (SectionKind::Lagrange, domain),
            (SectionKind::PointsG2, 1),
        ]),
        proof_bytes,
        ram_bytes: HALO2_RAM_BASE
            + domain as u64 * (HALO2_RAM_PER_ROW + columns * HALO2_RAM_PER_CELL),
        setup_core_seconds,
        prove_core_seconds,
        setup_seconds: setup_core_seconds / threads,
        prove_seconds: prove_core_seconds / threads,
        gas,
        transaction_gas: transaction(gas, proof_bytes, cost.n_words),
        circuit: CircuitCost::Halo2(cost),
    })
}

/// Gas of a transaction whose calldata is a proof and the statement's words.
fn transaction(gas: u64, proof_bytes: usize, n_words: usize) -> u64 {
    gas + GAS_TRANSACTION + GAS_CALL + GAS_PER_BYTE * (proof_bytes as u64 + 31 * n_words as u64)
}

fn quote_r1cs(
    program: &Arc<Program>,
    system: ProofSystem,
    form: Form,
) -> Result<Quote, QuoteError> {
    let r1cs = R1cs::lower(program, form)?;
    let rows = r1cs.n_rows().saturating_add(r1cs.n_instance());
    let qap = Qap::new(&r1cs).ok_or(LowerError::TooLarge { rows })?;
    let (domain, wires) = (qap.n(), r1cs.n_wires());
    let n_words = program.layout().n_words();
    let cost = r1cs.cost();
    let table_rows: usize = cost.tables.iter().map(|table| table.rows).sum();
    let prove_core_seconds = (PROVE_MICROS
        + domain as f64 * PROVE_MICROS_PER_POINT
        + wires as f64 * PROVE_MICROS_PER_WIRE
        + table_rows as f64 * PROVE_MICROS_PER_TABLE_ROW)
        / 1e6;
    let g1_points = (2 * wires + r1cs.n_committed() + r1cs.n_private() + domain) as f64;
    let setup_core_seconds =
        (g1_points * SETUP_MICROS_PER_G1 + wires as f64 * SETUP_MICROS_PER_G2) / 1e6;
    let threads = rayon::current_num_threads() as f64;
    let gas = match form {
        Form::Plain => GAS_GROTH16 + GAS_PER_PUBLIC * n_words as u64,
        Form::Committed => GAS_ULTRAGROTH + GAS_PER_WORD * n_words as u64,
    };
    let proof_bytes = system.proof_bytes().unwrap_or_default();
    Ok(Quote {
        system,
        trust: SetupTrust::of(system),
        rows: qap.rows_used(),
        domain,
        key_bytes: key_bytes(&r1cs, domain, system),
        proof_bytes,
        ram_bytes: RAM_BASE + domain as u64 * RAM_PER_POINT + wires as u64 * RAM_PER_WIRE,
        setup_core_seconds,
        prove_core_seconds,
        setup_seconds: setup_core_seconds / threads,
        prove_seconds: prove_core_seconds / threads,
        gas,
        transaction_gas: transaction(gas, proof_bytes, n_words),
        circuit: CircuitCost::R1cs { cost, wires },
    })
}

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
    sections_end(&sections)
}

/// The header page, then every section from a page boundary; the last one is not padded.
fn sections_end(sections: &[(SectionKind, usize)]) -> u64 {
    sections.iter().fold(PAGE_BYTES, |end, (kind, count)| {
        end.next_multiple_of(PAGE_BYTES) + *count as u64 * kind.point_bytes()
    })
}
