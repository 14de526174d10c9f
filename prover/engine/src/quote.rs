//! # Quote: what a key and a proof will cost, before any key
//!
//! Rows, domain, key bytes and proof bytes are exact: they are counted in the circuit. Seconds are counts of the circuit (`r1cs`, `halo2`)
//! times [`Rates`], stored ones or measured ones; memory is counted too. Where the constants come from: DESIGN.md#estimates.

mod calibrate;
mod halo2;
mod r1cs;
mod rates;

use std::sync::Arc;

use zkinfer_circuits::arithmetization::LowerError;
use zkinfer_circuits::arithmetization::halo2::Halo2Cost;
use zkinfer_circuits::arithmetization::r1cs::Cost;
use zkinfer_circuits::constraint::{Instr, Program, TensorDecl, TensorId};
use zkinfer_params::keys::{PAGE_BYTES, SectionKind};
use zkinfer_verifier::ProofSystem;

pub use calibrate::calibrate;
pub use rates::{Kernel, Rates, Work};

use crate::backend::form_of;

/// Gas of a transaction before execution, of a byte of calldata that is not zero, and of the call's own words.
const GAS_TRANSACTION: u64 = 21_000;
const GAS_PER_BYTE: u64 = 16;
const GAS_CALL: u64 = 1_500;
/// What a process that proves holds before it has a circuit: the program's own pages, most of it.
const RAM_BASE: u64 = 24 << 20;
/// Of every thread: the buffers of a multiplication, in bytes for each term up to so many terms.
const RAM_PER_TERM: u64 = 296;
const MAX_TERMS: u64 = 1 << 14;

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
    /// Most memory that is resident in a process that loads the key and makes one proof, estimated: its own and the key's mapped pages,
    /// what `/usr/bin/time -v zkinfer prove` shows.
    pub ram_bytes: u64,
    /// What a set-up is made of.
    pub setup: Work,
    /// What loading a key is made of.
    pub load: Work,
    /// What the first proof of a process is made of.
    pub prove: Work,
    /// Seconds of a set-up on the rates' threads.
    pub setup_seconds: f64,
    /// Seconds of loading a key, before the first proof of a process.
    pub load_seconds: f64,
    /// Seconds of the first proof of a process.
    pub prove_seconds: f64,
    /// Gas of execution of an on-chain verification, estimated, without calldata and the base fee.
    pub gas: u64,
    /// Gas of the whole transaction, estimated: execution, calldata and the base fee.
    pub transaction_gas: u64,
}

impl Quote {
    /// The quote with the seconds of other rates.
    #[must_use]
    pub fn priced(mut self, rates: &Rates) -> Self {
        self.setup_seconds = self.setup.seconds(rates);
        self.load_seconds = self.load.seconds(rates);
        self.prove_seconds = self.prove.seconds(rates);
        self
    }
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

    /// Bits of the limbs that ranges are cut into, as the cost model chose them; `None` where ranges are single bits.
    #[must_use]
    pub fn limb_bits(&self) -> Option<u32> {
        let bits = match self {
            Self::R1cs { cost, .. } => cost.limb_bits,
            Self::Halo2(cost) => cost.limb_bits,
        };
        (bits != 0).then_some(bits)
    }

    /// Rows of all lookup tables, that of the limbs included.
    #[must_use]
    pub fn table_rows(&self) -> usize {
        match self {
            Self::R1cs { cost, .. } => cost.tables.iter().map(|table| table.rows).sum(),
            Self::Halo2(cost) => cost.table_rows,
        }
    }
}

/// Lowers `program` for `system` and says what its keys and proofs will cost, at the reference machine's rates: see [`Quote::priced`].
///
/// # Errors
/// [`QuoteError`] when the program has no circuit of the system's form.
pub fn quote(program: &Arc<Program>, system: ProofSystem) -> Result<Quote, QuoteError> {
    match form_of(system) {
        Some(form) => r1cs::quote(program, system, form),
        None => halo2::quote(program, system),
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

impl Comparison {
    /// The comparison with the seconds of other rates; the recommendation stays, which the reference machine's rates decided.
    #[must_use]
    pub fn priced(mut self, rates: &Rates) -> Self {
        self.quotes = self.quotes.into_iter().map(|q| q.priced(rates)).collect();
        self
    }
}

/// Quotes every system at the reference machine's rates and recommends one.
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

/// Gas of a transaction whose calldata is a proof and the statement's words.
fn transaction(gas: u64, proof_bytes: usize, n_words: usize) -> u64 {
    gas + GAS_TRANSACTION + GAS_CALL + GAS_PER_BYTE * (proof_bytes as u64 + 31 * n_words as u64)
}

/// The header page, then every section from a page boundary; the last one is not padded.
fn sections_end(sections: &[(SectionKind, usize)]) -> u64 {
    sections.iter().fold(PAGE_BYTES, |end, (kind, count)| {
        end.next_multiple_of(PAGE_BYTES) + *count as u64 * kind.point_bytes()
    })
}

/// What of a program costs the same in every system.
struct ProgramSize {
    /// Bytes of its encoding.
    bytes: u64,
    /// Elements of all tensors.
    elements: usize,
    /// Terms of its linear maps and products of its contractions.
    terms: usize,
    /// Words of the statement.
    words: usize,
}

impl ProgramSize {
    fn of(program: &Program) -> Self {
        let len = |x: TensorId| program.tensors()[x.index()].len();
        let mut terms = 0usize;
        for step in program.steps() {
            match (&step.instr, step.y) {
                (Instr::Linear { map, .. }, Some(y)) => {
                    (0..len(y)).for_each(|out| map.row(out, |_, _| terms += 1));
                }
                (Instr::Contract { dims, .. }, _) => {
                    let products = dims
                        .iter()
                        .fold(1usize, |n, d| n.saturating_mul(*d as usize));
                    terms = terms.saturating_add(products);
                }
                _ => {}
            }
        }
        Self {
            bytes: program.encode().len() as u64,
            elements: program.tensors().iter().map(TensorDecl::len).sum(),
            terms,
            words: program.layout().n_words(),
        }
    }
}

/// Memory of a process that proves, whatever the system.
fn ram_of_process(n_terms: usize) -> u64 {
    let threads = rayon::current_num_threads() as u64;
    RAM_BASE + RAM_PER_TERM * threads * MAX_TERMS.min(n_terms as u64)
}
