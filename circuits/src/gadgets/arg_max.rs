//! # ArgMax: the place of the largest value of every row
//! Semantics: the least (`Ties::First`) or the greatest (`Ties::Last`) j with `x_j = max_i x_i`.
//! Constraints: keys `w_j = N·x_j + t_j`, N a power of two, `t_j = N − 1 − j` (or j); the maximum m of the keys; `m = N·q + t`,
//! `0 ≤ t < N`, q ranged; the place is `N − 1 − t` (or t).
//! Soundness: DESIGN.md#arg-max. Cost: counted in tests/golden/gadgets.csv.

use super::max::row_max;
use super::{bits_for, constants, rows_of, span};
use crate::constraint::{BuildError, Builder, HintKind, LinearMap, WireTensor};
use crate::tensor::Interval;

/// Which of several equal largest values is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ties {
    /// The one of least index.
    First,
    /// The one of greatest index.
    Last,
}

/// Index of the largest value of every row of `n` elements. Indices are proved to lie below the next power of two of n.
///
/// # Errors
/// When x is not made of such rows, or n times the differences of its values need more than 48 bits.
pub fn arg_max(
    b: &mut Builder,
    x: &WireTensor,
    n: usize,
    ties: Ties,
) -> Result<WireTensor, BuildError> {
    let keys = keys(b, "arg_max", x, n, ties)?;
    let max = row_max(b, &keys, n)?;
    Ok(unpack(b, &max.value, n, ties)?.index)
}

/// Index of the smallest value of every row: that of the largest of −x.
///
/// # Errors
/// As [`arg_max`].
pub fn arg_min(
    b: &mut Builder,
    x: &WireTensor,
    n: usize,
    ties: Ties,
) -> Result<WireTensor, BuildError> {
    let opposite = b.combine(&[(-1, x)], 0)?;
    arg_max(b, &opposite, n, ties)
}

fn low_bits(n: usize) -> u32 {
    bits_for(n as i64 - 1)
}

/// Distinct keys in the order of the values, equal values in the order of `ties`.
pub(super) fn keys(
    b: &mut Builder,
    step: &'static str,
    x: &WireTensor,
    n: usize,
    ties: Ties,
) -> Result<WireTensor, BuildError> {
    rows_of(b, step, x, n)?;
    let size = 1i64 << low_bits(n);
    let place = |j: i64| match ties {
        Ties::First => size - 1 - j,
        Ties::Last => j,
    };
    let bias = (0..x.len()).map(|i| place((i % n) as i64)).collect();
    b.linear(
        LinearMap::Scale {
            factors: vec![size],
        },
        x,
        bias,
    )
}

/// A value and its index.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The values.
    pub value: WireTensor,
    /// Their indices in the row.
    pub index: WireTensor,
}

/// An index, and how far the value beside it is above the least that it can be.
pub(super) struct Unpacked {
    pub(super) index: WireTensor,
    quotient: WireTensor,
    values: Interval,
}

impl Unpacked {
    /// Value and index.
    pub(super) fn placed(self, b: &mut Builder) -> Result<Placed, BuildError> {
        let Interval { lo, hi } = self.values;
        let value = if hi > lo && (hi - lo + 1).count_ones() == 1 {
            b.combine(&[(1, &self.quotient)], lo)?
        } else {
            // the range of the quotient reaches further than the values do
            let room = b.combine(&[(-1, &self.quotient)], hi - lo)?;
            let room = b.range(&room, bits_for(hi - lo))?;
            b.combine(&[(-1, &room)], hi)?
        };
        Ok(Placed {
            value,
            index: self.index,
        })
    }
}

/// What a key was made of.
pub(super) fn unpack(
    b: &mut Builder,
    key: &WireTensor,
    n: usize,
    ties: Ties,
) -> Result<Unpacked, BuildError> {
    let bits = low_bits(n);
    let ends = span(key);
    let (lo, hi) = (ends.lo >> bits, ends.hi >> bits);
    let raised = b.combine(&[(1, key)], -(lo << bits))?;
    let size = constants(b, key, key.len(), vec![1 << bits])?;
    let q = b.hint(HintKind::Quotient, &[&raised, &size])?;
    let q = b.range_hinted(q, bits_for(hi - lo))?;
    let t = b.combine(&[(1, &raised), (-(1 << bits), &q)], 0)?;
    let t = b.range(&t, bits)?;
    let index = match ties {
        Ties::First => b.combine(&[(-1, &t)], (1 << bits) - 1)?,
        Ties::Last => t,
    };
    Ok(Unpacked {
        index,
        quotient: q,
        values: Interval { lo, hi },
    })
}
