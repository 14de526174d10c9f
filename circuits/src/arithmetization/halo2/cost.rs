//! What a layout costs, and the search for the cheapest, from exact row counts and before any key exists.

use super::lower::Lowering;
use super::{Halo2Circuit, MAX_K, Plan, Products};
use crate::arithmetization::LowerError;
use crate::constraint::Program;
use std::sync::Arc;

/// Limb widths that are tried.
const LIMB_BITS: std::ops::RangeInclusive<u32> = 4..=16;
/// Addends per row that are tried.
const WIDTHS: [usize; 4] = [1, 2, 4, 8];

/// Columns, rows and queries of a circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halo2Cost {
    /// Binary logarithm of the rows.
    pub k: u32,
    /// Bits of a limb.
    pub limb_bits: u32,
    /// Fixed addends per row of the tape.
    pub width: usize,
    /// Rows of the tape.
    pub tape_rows: usize,
    /// Rows that ask the tables or hold home cells.
    pub lookup_rows: usize,
    /// Rows of all tables.
    pub table_rows: usize,
    /// Rows of the tape and of the lookup columns by ONNX node, in program order.
    pub by_node: Vec<(String, usize)>,
    /// Advice columns.
    pub n_advice: usize,
    /// Fixed columns.
    pub n_fixed: usize,
    /// Columns of the permutation argument.
    pub n_permuted: usize,
    /// Largest degree of a gate.
    pub degree: usize,
    /// Evaluations of advice columns in a proof.
    pub n_advice_queries: usize,
    /// Words of the statement.
    pub n_words: usize,
}

/// Rows that must fit before the blinding rows.
pub(super) fn rows_used(l: &Lowering<'_>) -> usize {
    let tables: usize = l.tables.iter().map(|t| t.values.len()).sum();
    l.tape.rows.len().max(l.rows.len()).max(tables)
}

/// Relative cost of a proof: every column is transformed, committed and opened over 2^k rows, beside a fixed share; a rotation costs
/// an evaluation.
fn weight(k: u32, width: usize, kinds: usize, rotations: usize) -> u64 {
    (40 + (width + kinds + rotations) as u64) << k
}

/// The layout of least estimated proving time; ties go to fewer columns, then to narrower limbs.
pub(super) fn search(program: &Arc<Program>) -> Result<Plan, LowerError> {
    let mut best: Option<(u64, Plan)> = None;
    let mut too_large = 1 << MAX_K;
    for width in WIDTHS {
        // the widest limbs take the fewest rows: what does not fit here does not fit at all
        let start = Plan {
            limb_bits: *LIMB_BITS.end(),
            width,
            products: Products::Cheapest,
        };
        let l = match Lowering::run(program, start) {
            Ok(l) => l,
            Err(LowerError::TooLarge { rows }) => {
                too_large = rows;
                continue;
            }
            Err(error) => return Err(error),
        };
        let functions: usize = l.tables.iter().skip(1).map(|t| t.values.len()).sum();
        let block_rows = |limb: u32| -> usize {
            let blocks = l.blocks.iter();
            blocks
                .map(|(block, n)| n * block.decomposition(limb).rows() as usize)
                .sum()
        };
        let cells = l.homes.len();
        let other_rows = l.lookup_rows_before_filling - block_rows(start.limb_bits);
        for limb_bits in LIMB_BITS {
            let lookup = (other_rows + block_rows(limb_bits)).max(cells);
            let rows = lookup
                .max(l.tape.rows.len())
                .max((1 << limb_bits) + functions);
            let mut kinds: Vec<_> = l
                .blocks
                .keys()
                .map(|b| b.decomposition(limb_bits))
                .collect();
            kinds.dedup();
            let longest = kinds.iter().map(|d| d.rows() as usize).max().unwrap_or(0);
            let rows = rows + longest.max(3) + 4;
            let k = rows.next_power_of_two().trailing_zeros();
            let cost = weight(k, width, kinds.len(), longest);
            let plan = Plan { limb_bits, ..start };
            if k <= MAX_K && best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, plan));
            }
        }
    }
    best.map(|(_, plan)| plan)
        .ok_or(LowerError::TooLarge { rows: too_large })
}

impl Halo2Circuit {
    /// What this circuit costs.
    pub fn cost(&self) -> Halo2Cost {
        let mut by_node: Vec<(String, usize)> = vec![];
        let steps = self.program.steps();
        let tape = self.tape.rows.iter().map(|r| r.step);
        for step in tape.chain(self.rows.iter().map(|r| r.step)) {
            let Some(step) = steps.get(step as usize) else {
                continue;
            };
            let node = self.program.node_of(step);
            match by_node.iter_mut().rev().find(|(name, _)| name == node) {
                Some((_, rows)) => *rows += 1,
                None => by_node.push((node.to_owned(), 1)),
            }
        }
        let rotations = self.kinds.iter().map(|k| k.rows() as usize).max();
        Halo2Cost {
            k: self.k,
            limb_bits: self.plan.limb_bits,
            width: self.plan.width,
            tape_rows: self.tape.rows.len(),
            lookup_rows: self.rows.len(),
            table_rows: self.tables.iter().map(|t| t.values.len()).sum(),
            by_node,
            n_advice: 7,
            n_fixed: 8 + self.plan.width + self.kinds.len(),
            n_permuted: 4,
            degree: super::columns::DEGREE,
            // l at its rotations, s twice, φ three times, the others once
            n_advice_queries: rotations.unwrap_or(0).max(1) + 2 + 3 + 4,
            n_words: self.n_words,
        }
    }
}
