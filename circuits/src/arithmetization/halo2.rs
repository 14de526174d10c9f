//! # Halo2 over BN254: few columns, one tape, one lookup a row
//! Every tensor element that an instruction cannot express through others has one home cell (first phase, column h). Ranges, splits
//! and tables are questions of the lookup columns (l, h), all answered by one logUp sum (φ). Every linear relation, convolution and
//! product is a run of multiply-accumulates on the tape (a, b, s), whose operands are copies of home cells.
//! Soundness: DESIGN.md#halo2. Sources: PLONKish arithmetization (halo2), logUp eprint 2022/1530, vCNN eprint 2020/584.

mod bend;
mod check;
mod columns;
mod contract;
mod cost;
mod hashed;
mod linear;
mod lower;
mod synthesis;
mod table;
mod tape;
mod values;
mod witness;

pub use columns::{Config, Shape};
pub use cost::Halo2Cost;
pub use synthesis::Synthesis;

pub(crate) use check::{Cells, Except, Rule};
pub(crate) use values::{fr as small, reciprocal};
pub(crate) use witness::Lie;

pub use super::interface::Products;

use super::LowerError;
use crate::constraint::{Instr, LinearMap, Program};
use lower::{Home, Lowering};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use table::{Decomposition, LookupRow, LookupTable};
use tape::Tape;

/// The library's scalar field.
pub use halo2curves::bn256::Fr;

/// What the layout search decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Bits of a limb: the range table has 2^limb_bits rows.
    pub limb_bits: u32,
    /// Fixed addends per row of the tape: weights that are folded at once.
    pub width: usize,
    /// How convolutions, dense layers and contractions are lowered.
    pub products: Products,
}

/// A program lowered to Halo2: the layout, without any witness.
#[derive(Clone, Debug)]
pub struct Halo2Circuit {
    program: Arc<Program>,
    plan: Plan,
    k: u32,
    tape: Tape,
    homes: Vec<Home>,
    home_ties: Vec<(u32, u32, u32)>,
    rows: Vec<LookupRow>,
    kinds: Vec<Decomposition>,
    tables: Vec<LookupTable>,
    products: Vec<linear::Product>,
    n_words: usize,
}

/// Largest domain: 2^24 rows.
const MAX_K: u32 = 24;
/// Most bits of a limb: a short limb times its scale stays below 2^32, and decompositions below the field's capacity.
const MAX_LIMB_BITS: usize = 16;
/// Most fixed addends of a tape row.
const MAX_WIDTH: usize = 8;

impl Halo2Circuit {
    /// Lowers `program` with the cheapest layout: limb width, addends per row and domain are chosen from exact row counts,
    /// before any key exists.
    ///
    /// # Errors
    /// [`LowerError`] when a value could wrap, a public tensor does not fit its words, or there are too many rows.
    pub fn lower(program: &Arc<Program>) -> Result<Self, LowerError> {
        Self::lower_with(program, cost::search(program)?)
    }

    /// Lowers `program` with a given layout.
    ///
    /// # Errors
    /// As [`Halo2Circuit::lower`], and when the layout is not possible: limbs of 1..=16 bits, 1..=8 addends.
    pub fn lower_with(program: &Arc<Program>, plan: Plan) -> Result<Self, LowerError> {
        for (what, got, max) in [
            ("limb bits", plan.limb_bits as usize, MAX_LIMB_BITS),
            ("width", plan.width, MAX_WIDTH),
        ] {
            if !(1..=max).contains(&got) {
                let min = 1;
                return Err(LowerError::Plan {
                    what,
                    min,
                    max,
                    got,
                });
            }
        }
        let l = Lowering::run(program, plan)?;
        let used = cost::rows_used(&l);
        let circuit = Self {
            program: program.clone(),
            plan,
            k: 0,
            tape: l.tape,
            homes: l.homes,
            home_ties: l.home_ties,
            rows: l.rows,
            kinds: l.kinds,
            tables: l.tables,
            products: l.products,
            n_words: l.n_words,
        };
        let rows = used + circuit.unusable_rows();
        let k = rows.next_power_of_two().trailing_zeros();
        if k > MAX_K {
            return Err(LowerError::TooLarge { rows });
        }
        Ok(Self { k, ..circuit })
    }

    /// The program this circuit is the lowering of.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Binary logarithm of the number of rows.
    pub fn k(&self) -> u32 {
        self.k
    }

    /// The layout.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// Words of the statement: the length of the instance column.
    pub fn n_words(&self) -> usize {
        self.n_words
    }

    /// What decides the columns and gates.
    pub fn shape(&self) -> Shape {
        Shape {
            width: self.plan.width,
            kinds: self.kinds.clone(),
        }
    }

    /// The words of a statement as the library's field elements: the instance column.
    pub fn instance(words: &[zkinfer_verifier::Fr]) -> Vec<Fr> {
        words.iter().map(|w| values::word(*w)).collect()
    }

    /// Blinding rows and the row before them that the library keeps for itself, and the row where the lookup sum ends.
    fn unusable_rows(&self) -> usize {
        // the library's rule: as many as the most queried column has queries (at least 3), and 2; then l_last
        let queries = self.kinds.iter().map(|k| k.rows() as usize).max();
        queries.unwrap_or(0).max(3) + 2 + 1 + 1
    }

    /// Rows of the tape and of the lookup sum.
    pub(crate) fn active_rows(&self) -> usize {
        (1 << self.k) - self.unusable_rows()
    }

    /// Row of a home cell.
    fn home_row(&self, cell: u32) -> usize {
        let row = self.homes[cell as usize].row;
        row.expect("lowering placed every home cell") as usize
    }

    fn map_of(&self, step: usize) -> Option<&LinearMap> {
        match &self.program.steps()[step].instr {
            Instr::Linear { map, .. } => Some(map),
            _ => None,
        }
    }

    /// SHA-256 over the program, the layout and every fixed cell and copy: what a verifying key pins.
    pub fn digest(&self) -> [u8; 32] {
        use halo2curves::ff::PrimeField;
        let mut hash = Sha256::new();
        hash.update(b"zkinfer halo2 v1");
        hash.update(self.program.digest());
        let mut number = |n: usize| hash.update((n as u64).to_be_bytes());
        number(self.k as usize);
        number(self.plan.limb_bits as usize);
        number(self.plan.width);
        number(self.n_words);
        number(self.kinds.len());
        for kind in &self.kinds {
            number(kind.terms.len());
            for (row, exponent) in &kind.terms {
                number(*row as usize);
                number(*exponent as usize);
            }
            let (from, to, scale) = kind.check.unwrap_or_default();
            for part in [from, to, scale] {
                number(part as usize);
            }
        }
        number(self.tables.len());
        for table in &self.tables {
            number(table.values.len());
        }
        number(synthesis::fixed_cells(self).count());
        number(synthesis::copies(self).count());
        for cells in synthesis::fixed_cells(self) {
            hash.update((cells.0 as u64).to_be_bytes());
            hash.update((cells.1 as u64).to_be_bytes());
            hash.update(cells.2.to_repr());
        }
        for (left, right) in synthesis::copies(self) {
            for (column, row) in [left, right] {
                hash.update([column as u8]);
                hash.update((row as u64).to_be_bytes());
            }
        }
        hash.finalize().into()
    }
}
