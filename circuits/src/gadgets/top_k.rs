//! # TopK: the k largest values of every row, in descending order, with their places
//! Semantics: values v_1 ≥ … ≥ v_k and indices; of equal values the one of lower index comes first.
//! Constraints: keys `w_j` as in `arg_max.rs`, all distinct; every `v_r ∈ {w_1, …, w_n}`; `v_r − v_(r+1) − 1 ≥ 0`;
//! `Σ_j [w_j < v_k] = n − k`; every v_r cut into value and index.
//! Soundness: DESIGN.md#top-k. Cost: counted in tests/golden/gadgets.csv.

use super::arg_max::{Placed, Ties, keys, unpack};
use super::sign::less;
use super::{bits_for, constants, for_each_element, rows_of, span};
use crate::constraint::{BuildError, Builder, HintKind, LinearMap, WireTensor};

/// The `k` largest values of every row of `n` elements and their indices, k elements for each row.
///
/// k·(n − 1) rows tie the values to the row: with k = n it is a sort, for short rows.
///
/// # Errors
/// When x is not made of such rows, k is not in 1..=n, or n times the differences of the values need more than 48 bits.
pub fn top_k(b: &mut Builder, x: &WireTensor, n: usize, k: usize) -> Result<Placed, BuildError> {
    let rows = rows_of(b, "top_k", x, n)?;
    b.inside("top_k", "k", k as i64, 1, n as i64)?;
    let keys = keys(b, "top_k", x, n, Ties::First)?;
    let v = ranked(b, &keys, n, k)?;
    if k > 1 {
        let at = |first: usize| {
            let of = |row: usize| (first..first + k - 1).map(move |r| (row * k + r) as u32);
            (0..rows).flat_map(of).collect::<Vec<u32>>()
        };
        let (larger, smaller) = (b.gather(&v, at(0))?, b.gather(&v, at(1))?);
        let gap = b.combine(&[(1, &larger), (-1, &smaller)], -1)?;
        let bits = bits_for(span(&gap).hi);
        b.range(&gap, bits)?;
    }
    if k < n {
        let last = (0..rows).map(|row| (row * k + k - 1) as u32).collect();
        let last = b.gather(&v, last)?;
        let last = for_each_element(b, &last, n)?;
        let below = less(b, &keys, &last)?;
        let count = LinearMap::Dense {
            n_in: n,
            n_out: 1,
            weights: vec![1; n],
        };
        let excess = b.linear(count, &below, vec![(k as i64) - (n as i64)])?;
        b.assert_zero(&excess)?;
    }
    unpack(b, &v, n, Ties::First)?.placed(b)
}

/// The `k` smallest values of every row, in ascending order, equal ones by index: the largest of −x.
///
/// # Errors
/// As [`top_k`].
pub fn bottom_k(b: &mut Builder, x: &WireTensor, n: usize, k: usize) -> Result<Placed, BuildError> {
    let opposite = b.combine(&[(-1, x)], 0)?;
    let largest = top_k(b, &opposite, n, k)?;
    Ok(Placed {
        value: b.combine(&[(-1, &largest.value)], 0)?,
        index: largest.index,
    })
}

/// Every row in descending order.
///
/// # Errors
/// As [`top_k`].
pub fn sort(b: &mut Builder, x: &WireTensor, n: usize) -> Result<Placed, BuildError> {
    top_k(b, x, n, n)
}

/// Hints place 0..k of every row in descending order, and binds each to be some element of the row.
fn ranked(b: &mut Builder, x: &WireTensor, n: usize, k: usize) -> Result<WireTensor, BuildError> {
    let len = x.len() / n * k;
    let places = (0..len).map(|i| (i % k) as i64).collect();
    let mut inputs = vec![constants(b, x, len, places)?];
    for j in 0..n {
        let index = (0..len).map(|i| (i / k * n + j) as u32).collect();
        inputs.push(b.gather(x, index)?);
    }
    let inputs: Vec<&WireTensor> = inputs.iter().collect();
    let v = b.hint(HintKind::Ranked, &inputs)?;
    b.member(v, &inputs[1..])
}
