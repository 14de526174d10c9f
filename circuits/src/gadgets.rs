//! Gadgets: small sets of instructions with a uniqueness argument each, in `DESIGN.md`.
//!
//! Every gadget has exactly one witness for each input inside the proved intervals of its operands, and refuses to build when
//! an intermediate could leave the bounds of the builder.

pub mod arg_max;
pub mod divide;
pub mod exp;
pub mod logic;
pub mod max;
pub mod normalize;
pub mod requantize;
pub mod rescale;
pub mod saturate;
pub mod select_rows;
pub mod sign;
pub mod softmax;
pub mod square_root;
pub mod top_k;

use crate::constraint::{BuildError, Builder, LinearMap, WireTensor};
use crate::tensor::Interval;

/// Bits of `top`, at least 1.
fn bits_for(top: i64) -> u32 {
    64 - top.max(1).leading_zeros()
}

/// Bits of a range that need not be tight, of values up to `top`: beyond a byte a multiple of 12, which most limb widths divide
/// without a rest.
fn loose_bits(top: i64) -> u32 {
    match bits_for(top) {
        bits @ ..=8 => bits,
        bits => bits.next_multiple_of(12),
    }
}

/// Union of the proved intervals.
fn span(x: &WireTensor) -> Interval {
    let all = x.intervals().iter().copied();
    // no tensor is empty
    all.reduce(|a, b| a.union(&b))
        .unwrap_or(Interval { lo: 0, hi: 0 })
}

/// A tensor of `n` fixed values: one for all, or `n`. `like` is any tensor.
fn constants(
    b: &mut Builder,
    like: &WireTensor,
    n: usize,
    values: Vec<i64>,
) -> Result<WireTensor, BuildError> {
    let zeros = LinearMap::Scale { factors: vec![0] };
    if like.len() == n {
        return b.linear(zeros, like, values);
    }
    let first = b.gather(like, vec![0; n])?;
    b.linear(zeros, &first, values)
}

/// `x + bias` with one constant for all elements, or one each.
fn shifted(b: &mut Builder, x: &WireTensor, bias: Vec<i64>) -> Result<WireTensor, BuildError> {
    b.linear(LinearMap::Scale { factors: vec![1] }, x, bias)
}

/// Number of rows of `n` elements in `x`.
fn rows_of(b: &Builder, step: &'static str, x: &WireTensor, n: usize) -> Result<usize, BuildError> {
    b.inside(step, "elements of a row", n as i64, 1, x.len() as i64)?;
    if x.len().is_multiple_of(n) {
        return Ok(x.len() / n);
    }
    Err(b.length(step, x.len().next_multiple_of(n), x.len()))
}

/// The elements of a tensor with one element for each row, `n` times each.
fn for_each_element(b: &mut Builder, x: &WireTensor, n: usize) -> Result<WireTensor, BuildError> {
    let index = (0..x.len() as u32)
        .flat_map(|row| std::iter::repeat_n(row, n))
        .collect();
    b.gather(x, index)
}
