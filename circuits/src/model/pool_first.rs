//! # Pooling before requantization
//! A requantization without a decreasing activation is nondecreasing, so it commutes with a maximum: max f(x) = f(max x).
//! Where a MaxPool is all that reads a Requantize, and their channels agree, pooling the accumulators first leaves one
//! requantization for each window instead of one for each of its elements. Differences of accumulators are wider, so this pays where
//! windows hardly overlap: about 4·|x| + (2t − 1)·|y| rows against (3t + 3)·|y|, with t taps.
//! Used for batches; the program of a single inference keeps the model's order.

use super::Model;
use crate::ops::{Op, Requantize};

/// Widest accumulators that are pooled: their differences stay far below the 48 bits of a range.
const MAX_ABS: u64 = 1 << 40;

impl Model {
    /// For every node, when it is a MaxPool that may come first: the node it overtakes, and what that becomes behind it.
    pub(super) fn pools_first(&self) -> Vec<Option<(usize, Requantize)>> {
        (0..self.nodes.len()).map(|p| self.overtakes(p)).collect()
    }

    fn overtakes(&self, p: usize) -> Option<(usize, Requantize)> {
        let (Op::MaxPool(pool), &[x]) = (&self.nodes[p].op, &self.nodes[p].inputs[..]) else {
            return None;
        };
        let r = x.checked_sub(self.inputs.len())?;
        let (Op::Requantize(requantize), &[acc]) = (&self.nodes[r].op, &self.nodes[r].inputs[..])
        else {
            return None;
        };
        let readers = self.nodes.iter().flat_map(|n| &n.inputs);
        let outputs = self.outputs.iter().map(|o| &o.tensor);
        if readers.chain(outputs).filter(|t| **t == x).count() != 1 {
            return None;
        }
        let g = &pool.geometry;
        let (n, m, taps) = (g.input_len(), g.output_len(), g.n_taps());
        let wide = self.facts[acc].interval.max_abs() > MAX_ABS;
        if wide || 4 * n + 2 * taps * m <= (3 * taps + 4) * m || !requantize.is_monotone() {
            return None;
        }
        // a channel of the multipliers is a whole number of planes, before and after
        let area = g.height * g.width;
        let [rows, columns] = g.output_size();
        let inner = match requantize.multipliers.len() {
            1 => m,
            _ if requantize.inner.is_multiple_of(area) => requantize.inner / area * rows * columns,
            _ => return None,
        };
        let behind = Requantize {
            inner,
            ..requantize.clone()
        };
        Some((r, behind))
    }
}
