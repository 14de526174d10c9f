//! # R1CS over BN254's scalar field, in two forms
//! `Plain` (for `groth16`): ranges are bits, tables are clamps and selections. `Committed` (for `ultragroth`): a first round
//! of committed wires, two challenges, and one logUp argument for every range and table.
//! Rows stay structural: a convolution is its kernel; key generation walks it backwards, the prover forwards.
//! Soundness: DESIGN.md#r1cs. Sources: eprint 2022/1530 (logUp), eprint 2020/278 (committed round).

mod circuit;
mod committed;
mod contract;
mod cost;
mod damage;
pub mod export;
mod hashed;
mod lower;
mod plain;
pub mod trace;
mod transpose;
mod witness;

pub use super::error::{LowerError, Violation, ZeroDenominator};
pub use cost::{Cost, TableCost, cost};
pub use witness::Witness;

pub(crate) use circuit::{Class, Group};

use crate::constraint::Program;
use ark_bn254::Fr;
use circuit::{Query, RTable, RTensor, Rid};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// How a program becomes R1CS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// No verifier randomness: bits and selection; every word is a public input.
    Plain,
    /// One committed round and logUp; the public inputs are ρ, α and the evaluation e of the words.
    Committed,
}

/// One of the three matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matrix {
    /// Left factor.
    A,
    /// Right factor.
    B,
    /// Product.
    C,
}

/// A program lowered to `A·z ∘ B·z = C·z`.
///
/// Wires: instance (`Plain`: 1, words; `Committed`: 1, ρ, α, e), then committed (W1), then private (W2).
#[derive(Clone, Debug)]
pub struct R1cs {
    pub(crate) program: Arc<Program>,
    pub(crate) form: Form,
    pub(crate) limb_bits: u32,
    tensors: Vec<RTensor>,
    pub(crate) groups: Vec<Group>,
    queries: Vec<Query>,
    tables: Vec<RTable>,
    /// The words after the context, when there are any: packed public tensors, then digests.
    words: Option<Rid>,
    /// The tensor of the circuit that stands for each tensor of the program.
    map: Vec<Rid>,
    /// The first tensor that each step made.
    step_starts: Vec<Rid>,
    /// Tensors below this index depend on no challenge and no public word.
    first_phase: usize,
    n_instance: usize,
    n_committed: usize,
    n_private: usize,
    n_rows: usize,
}

impl R1cs {
    /// The form this circuit has.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The program this circuit is the lowering of.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Bits of a range-table limb; 0 in the plain form.
    pub fn limb_bits(&self) -> u32 {
        self.limb_bits
    }

    /// Rows, without the instance-consistency rows that the QAP adds.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Instance wires, the constant one included.
    pub fn n_instance(&self) -> usize {
        self.n_instance
    }

    /// Wires of the committed round.
    pub fn n_committed(&self) -> usize {
        self.n_committed
    }

    /// Remaining private wires.
    pub fn n_private(&self) -> usize {
        self.n_private
    }

    /// All wires.
    pub fn n_wires(&self) -> usize {
        self.n_instance + self.n_committed + self.n_private
    }

    /// SHA-256 over the form, the program, the limb width, the table contents and the counts: what a verifying key pins.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"zkinfer r1cs v1");
        hash.update([match self.form {
            Form::Plain => 0,
            Form::Committed => 1,
        }]);
        hash.update(self.program.digest());
        hash.update(self.limb_bits.to_be_bytes());
        for n in [
            self.n_rows,
            self.n_instance,
            self.n_committed,
            self.n_private,
            self.tables.len(),
        ] {
            hash.update((n as u64).to_be_bytes());
        }
        for table in &self.tables {
            hash.update(table.id.to_be_bytes());
            hash.update((table.rows.len() as u64).to_be_bytes());
            for (key, value) in table.rows.iter() {
                hash.update(key.to_be_bytes());
                hash.update(value.to_be_bytes());
            }
        }
        hash.finalize().into()
    }

    fn wire(&self, class: Class, index: usize) -> usize {
        match class {
            Class::Instance => index,
            Class::Committed => self.n_instance + index,
            Class::Private => self.n_instance + self.n_committed + index,
        }
    }

    /// Symbolic rows A, B, C of one constraint: (wire, coefficient), sorted by wire, no zero coefficient.
    ///
    /// # Panics
    /// When `row` is not below [`R1cs::n_rows`].
    pub fn row(&self, row: usize) -> [Vec<(usize, Fr)>; 3] {
        let at = self.groups.partition_point(|g| g.first_row <= row) - 1;
        let group = &self.groups[at];
        let i = row - group.first_row;
        [&group.a, &group.b, &group.c].map(|l| self.expand_row(l, i))
    }

    fn tensor(&self, id: Rid) -> &RTensor {
        &self.tensors[id]
    }
}
