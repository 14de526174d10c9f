//! # Softmax: shares of e^x over every row
//! Semantics: `y_j = round(one·E_j / Σ_i E_i)`, half up, with `E_j = exp(max_i x_i − x_j)` as in `exp.rs`.
//! Constraints: those of the row maximum, of exp, and of a rounded division.
//! Soundness: DESIGN.md#softmax. Cost: counted in tests/golden/gadgets.csv.

use super::divide::rounded_quotient;
use super::exp::{Exponential, exp};
use super::for_each_element;
use super::max::row_max;
use crate::constraint::{BuildError, Builder, LinearMap, WireTensor};
use crate::tensor::Interval;

/// Softmax of every row of `n` elements of `x`, whose fraction bits are the format's; `one`, 1 to 2^20, is the integer that
/// stands for a share of 1.
///
/// The largest element has E = 2^g, so every row's sum lies in 2^g ..= n·2^g and every share in 0 ..= one.
///
/// # Errors
/// When x is not made of such rows, its differences reach 2^48, or 2·one·n·2^g leaves ±2^61.
pub fn softmax(
    b: &mut Builder,
    x: &WireTensor,
    n: usize,
    format: Exponential,
    one: i64,
) -> Result<WireTensor, BuildError> {
    b.inside("softmax", "one", one, 1, 1 << 20)?;
    let max = row_max(b, x, n)?;
    let e = exp(b, &max.below, format)?;
    let sums = LinearMap::Dense {
        n_in: n,
        n_out: 1,
        weights: vec![1; n],
    };
    let sum = b.linear(sums, &e, vec![])?;
    let sum = for_each_element(b, &sum, n)?;
    let scaled = b.combine(&[(one, &e)], 0)?;
    rounded_quotient(b, &scaled, &sum, Interval { lo: 0, hi: one })
}
