//! # The quote of halo2-kzg

use std::sync::Arc;

use zkinfer_circuits::arithmetization::halo2::Halo2Circuit;
use zkinfer_circuits::constraint::Program;
use zkinfer_params::keys::SectionKind;
use zkinfer_verifier::ProofSystem;

use super::rates::{Kernel, Rates, Work, multiplication, transform};
use super::{
    CircuitCost, ProgramSize, Quote, QuoteError, SetupTrust, ram_of_process, sections_end,
    transaction,
};
use crate::halo2_kzg;

/// Bytes of a prover beside the process and the key: a cell of a column, which is a field element and what goes with it, for the fixed columns
/// and for so many others that are there at once; and for each byte of the program.
const RAM_PER_CELL: u64 = 35;
const RAM_COLUMNS: u64 = 39;
const RAM_PER_PROGRAM_BYTE: u64 = 144;
/// Advice columns of small scalars: cells of tensors, limbs, multiplicities and two factors; and the additions for each of their rows.
const SMALL_COLUMNS: usize = 5;
const SMALL: f64 = 1.5;
/// Gas of execution of a key contract with the reusable verifier: the pairing and what surrounds it, a commitment, an evaluation, a
/// word. The specialised contract takes about a ninth less.
const GAS_HALO2: u64 = 146_000;
const GAS_PER_COMMITMENT: u64 = 6_700;
const GAS_PER_EVALUATION: u64 = 600;
const GAS_PER_WORD: u64 = 210;

pub(super) fn quote(program: &Arc<Program>, system: ProofSystem) -> Result<Quote, QuoteError> {
    let circuit = Halo2Circuit::lower(program)?;
    let cost = circuit.cost();
    let columns = halo2_kzg::size(&circuit.synthesis());
    let size = Size {
        n: 1 << circuit.k(),
        columns,
        program: ProgramSize::of(program),
    };
    let gas = GAS_HALO2
        + GAS_PER_COMMITMENT * columns.n_commitments as u64
        + GAS_PER_EVALUATION * columns.n_evals as u64
        + GAS_PER_WORD * cost.n_words as u64;
    let proof_bytes = columns.proof_bytes();
    let key_bytes = sections_end(&[
        (SectionKind::Monomial, size.n),
        (SectionKind::Lagrange, size.n),
        (SectionKind::PointsG2, 1),
    ]);
    let cells = size.n as u64 * (RAM_COLUMNS + columns.n_fixed as u64);
    let quote = Quote {
        system,
        trust: SetupTrust::of(system),
        rows: cost.tape_rows.max(cost.lookup_rows).max(cost.table_rows),
        domain: size.n,
        key_bytes,
        proof_bytes,
        ram_bytes: ram_of_process(size.n)
            + key_bytes
            + RAM_PER_CELL * cells
            + RAM_PER_PROGRAM_BYTE * size.program.bytes,
        setup: size.setup(),
        load: size.load(),
        prove: size.prove(),
        setup_seconds: 0.0,
        load_seconds: 0.0,
        prove_seconds: 0.0,
        gas,
        transaction_gas: transaction(gas, proof_bytes, cost.n_words),
        circuit: CircuitCost::Halo2(cost),
    };
    Ok(quote.priced(&Rates::reference()))
}

/// What the costs of a circuit follow from.
struct Size {
    n: usize,
    columns: halo2_kzg::Size,
    program: ProgramSize,
}

impl Size {
    /// The powers of τ in both forms, and what loading computes.
    fn setup(&self) -> Work {
        self.fixed_part()
            .and(&[
                (Kernel::Power, 2.0 * self.n as f64),
                (Kernel::Product, 13.0 * self.n as f64),
                (Kernel::Serial, 1_300_000.0),
            ])
            .times(1.16)
    }

    /// The fixed part, and checks of every point of the key.
    fn load(&self) -> Work {
        self.fixed_part().and(&[
            (Kernel::Product, 137.0 * self.n as f64),
            (Kernel::Serial, 450_000.0),
        ])
    }

    /// Laying the circuit out; a commitment and a transform for each fixed column, whose scalars are small, and each σ.
    fn fixed_part(&self) -> Work {
        let (n, fixed) = (self.n as f64, self.columns.n_fixed as f64);
        let sigma = self.columns.n_permuted as f64;
        Work::of(&[
            (Kernel::AddG1, sigma * multiplication(self.n)),
            (Kernel::AddG1, fixed * SMALL * n),
            (Kernel::Butterfly, (fixed + sigma) * transform(self.n)),
            (Kernel::Serial, 9.0 * self.program.terms as f64),
        ])
    }

    /// Commitments, transforms to the cosets of the quotient and back, its constraints; evaluations and openings.
    fn prove(&self) -> Work {
        let c = &self.columns;
        let (n, fixed) = (self.n as f64, c.n_fixed as f64);
        let pieces = (c.degree - 1) as f64;
        let products = c.n_points - c.n_advice - c.degree - 2;
        // The instance and l_0 are transformed too, and the columns of a proof once from values to coefficients.
        let on_coset = (c.n_advice + c.n_fixed + c.n_permuted + products + 2) as f64;
        let once = (c.n_advice + 2 * products + 3) as f64;
        let full = c.n_points.saturating_sub(SMALL_COLUMNS) as f64;
        Work::of(&[
            (Kernel::AddG1, full * multiplication(self.n)),
            (Kernel::AddG1, SMALL_COLUMNS as f64 * SMALL * n),
            (
                Kernel::Butterfly,
                (pieces * on_coset + once) * transform(self.n),
            ),
            (Kernel::Product, (18.0 * fixed + 350.0) * n),
            (Kernel::Serial, 1_200_000.0),
        ])
        .times(1.07)
    }
}
