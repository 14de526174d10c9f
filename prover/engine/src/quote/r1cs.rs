//! # The quote of groth16 and ultragroth

use std::sync::Arc;

use ark_bn254::Fr;
use ark_ff::{FftField, Field, Zero};
use rayon::prelude::*;
use zkinfer_circuits::arithmetization::LowerError;
use zkinfer_circuits::arithmetization::r1cs::{Form, Matrix, R1cs};
use zkinfer_circuits::constraint::Program;
use zkinfer_gpu::{FixedBase, G1, G2};
use zkinfer_params::keys::SectionKind;
use zkinfer_verifier::ProofSystem;

use super::rates::{HASHED_BYTE, Kernel, Rates, Work, multiplication, transform};
use super::{
    CircuitCost, ProgramSize, Quote, QuoteError, SetupTrust, ram_of_process, sections_end,
    transaction,
};
use crate::qap::Qap;

/// Bytes of a prover beside the process and the key: for each point of the domain, each wire, each byte of the program.
const RAM_PER_POINT: u64 = 118;
const RAM_PER_WIRE: u64 = 34;
const RAM_PER_PROGRAM_BYTE: u64 = 50;
/// Products of field elements in the time in which a byte of a key is written and synchronized.
const WRITTEN_BYTE: f64 = 0.11;
/// Weights of rows that one task computes.
const WEIGHTS_PER_TASK: usize = 1 << 12;
/// Gas of execution: the pairing and what surrounds it, a public input of plain Groth16, a word of UltraGroth.
const GAS_GROTH16: u64 = 183_100;
const GAS_PER_PUBLIC: u64 = 6_640;
const GAS_ULTRAGROTH: u64 = 237_600;
const GAS_PER_WORD: u64 = 100;

pub(super) fn quote(
    program: &Arc<Program>,
    system: ProofSystem,
    form: Form,
) -> Result<Quote, QuoteError> {
    let r1cs = R1cs::lower(program, form)?;
    let rows = r1cs.n_rows().saturating_add(r1cs.n_instance());
    let qap = Qap::new(&r1cs).ok_or(LowerError::TooLarge { rows })?;
    let key_bytes = key_bytes(&r1cs, qap.n(), system);
    let size = Size::of(&r1cs, &qap, key_bytes, ProgramSize::of(program));
    let gas = match form {
        Form::Plain => GAS_GROTH16 + GAS_PER_PUBLIC * size.program.words as u64,
        Form::Committed => GAS_ULTRAGROTH + GAS_PER_WORD * size.program.words as u64,
    };
    let proof_bytes = system.proof_bytes().unwrap_or_default();
    let quote = Quote {
        system,
        trust: SetupTrust::of(system),
        rows: qap.rows_used(),
        domain: size.points,
        key_bytes,
        proof_bytes,
        ram_bytes: ram_of_process(size.wires)
            + key_bytes
            + RAM_PER_POINT * size.points as u64
            + RAM_PER_WIRE * size.wires as u64
            + RAM_PER_PROGRAM_BYTE * size.program.bytes,
        setup: size.setup(),
        load: size.load(),
        prove: size.prove(),
        setup_seconds: 0.0,
        load_seconds: 0.0,
        prove_seconds: 0.0,
        gas,
        transaction_gas: transaction(gas, proof_bytes, size.program.words),
        circuit: CircuitCost::R1cs {
            cost: r1cs.cost(),
            wires: size.wires,
        },
    };
    Ok(quote.priced(&Rates::reference()))
}

/// What the costs of a circuit follow from.
struct Size {
    points: usize,
    wires: usize,
    committed: usize,
    private: usize,
    /// Rows of tables that queries ask for, at most.
    asked: usize,
    /// Wires that occur in A, and in B.
    in_a: usize,
    in_b: usize,
    key_bytes: u64,
    program: ProgramSize,
}

impl Size {
    fn of(r1cs: &R1cs, qap: &Qap, key_bytes: u64, program: ProgramSize) -> Self {
        let tables = r1cs.cost().tables;
        let rows: usize = tables.iter().map(|table| table.rows).sum();
        let [in_a, in_b] = [Matrix::A, Matrix::B].map(|matrix| occurring(r1cs, matrix));
        let committed = r1cs.n_instance()..r1cs.n_instance() + r1cs.n_committed();
        let count = |occurs: &[bool]| occurs.iter().filter(|occurs| **occurs).count();
        // What a query asks with is committed, and occurs in B beside its inverse.
        let queries = count(&in_b[committed]);
        Self {
            points: qap.n(),
            wires: r1cs.n_wires(),
            committed: r1cs.n_committed(),
            private: r1cs.n_private(),
            asked: rows.min(queries),
            in_a: count(&in_a),
            in_b: count(&in_b),
            key_bytes,
            program,
        }
    }

    /// Fixed-base products, one for each finite point; the walks over the circuit and the values at τ; encoding, hashing and writing.
    fn setup(&self) -> Work {
        let points = 2 * self.wires + self.committed + self.private + self.points;
        let finite = self.in_a + self.in_b + self.committed + self.private + self.points;
        let (table_g1, each_g1) = FixedBase::<G1>::cost(points);
        let (table_g2, each_g2) = FixedBase::<G2>::cost(self.wires);
        let (fixed, factor) = match self.committed {
            0 => (3_500_000.0, 0.98),
            _ => (2_000_000.0, 1.03),
        };
        Work::of(&[
            (Kernel::TableG1, table_g1 as f64),
            (Kernel::TableG2, table_g2 as f64),
            (Kernel::MakeG1, finite as f64 * each_g1 as f64),
            (Kernel::MakeG2, self.in_b as f64 * each_g2 as f64),
            (Kernel::Product, 21.0 * self.points as f64),
            (Kernel::Product, 0.6 * self.program.terms as f64),
            (Kernel::Product, 0.3 * self.key_bytes as f64),
            (Kernel::Serial, HASHED_BYTE * self.key_bytes as f64),
            (Kernel::Serial, WRITTEN_BYTE * self.key_bytes as f64),
            (Kernel::Serial, fixed),
        ])
        .times(factor)
    }

    /// Hashing the files of a bundle; decoding the program and, in the committed form, searching the limbs.
    fn load(&self) -> Work {
        let searched = match self.committed {
            0 => 0.0,
            _ => 13.0 * self.program.elements as f64,
        };
        Work::of(&[
            (Kernel::Serial, HASHED_BYTE * self.key_bytes as f64),
            (Kernel::Serial, 2.3 * self.program.bytes as f64),
            (Kernel::Serial, searched),
            (Kernel::Serial, 230_000.0),
        ])
    }

    /// The quotient: three transforms there and back, rows, and its multiplication. Full-size terms of A and D2, two multiplications each of as
    /// many as rows of tables are asked for. Small scalars: three multiplications in G1, a fourth of the committed wires, one in G2.
    fn prove(&self) -> Work {
        let (points, bound) = (self.points as f64, (self.committed + self.private) as f64);
        Work::of(&[
            (Kernel::Butterfly, 6.0 * transform(self.points)),
            (Kernel::Product, 2.0 * points),
            (Kernel::AddG1, multiplication(self.points)),
            (Kernel::AddG1, 4.0 * multiplication(self.asked)),
            (Kernel::AddG1, 3.0 * bound + 3.0 * self.committed as f64),
            (Kernel::AddG2, bound),
            (Kernel::Product, 1.7 * bound),
            (Kernel::Serial, 900_000.0),
        ])
        .times(match self.committed {
            0 => 1.08,
            _ => 1.12,
        })
    }
}

/// Which wires but the constant occur in a matrix: those whose column, times a vector without a relation to it, is not zero.
fn occurring(r1cs: &R1cs, matrix: Matrix) -> Vec<bool> {
    let mut rows = vec![Fr::GENERATOR; r1cs.n_rows()];
    rows.par_chunks_mut(WEIGHTS_PER_TASK)
        .enumerate()
        .for_each(|(task, rows)| {
            let mut weight = Fr::GENERATOR.pow([(1 + task * WEIGHTS_PER_TASK) as u64]);
            for row in rows {
                *row = weight;
                weight *= Fr::GENERATOR;
            }
        });
    let columns = r1cs.transpose(matrix, &rows);
    columns.iter().map(|column| !column.is_zero()).collect()
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
