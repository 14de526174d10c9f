//! # Block: the transform of a block's rows
//!
//! A row is sixteen elements, one of each of sixteen transforms that go side by side; all rows of a block fit in the second
//! cache. X^s − w² splits into X^(s/2) − w and X^(s/2) + w, which needs one root w for a whole group of rows: rows come in natural
//! order and leave in bit-reversed order. Two splits are one radix-4 layer.
//!
//! **Bounds.** Loaded rows are in 0 .. 2·p. The first layer leaves (−4·p, 8·p), each later one adds less than 4·p at either end: six
//! layers stay within −[`LIFT`]·p .. (84 − `LIFT`)·p.

use super::super::field::{Fr16, FrModulus};
use super::super::signed;

/// Rows between additions.
pub(super) type Signed = signed::Signed<FrModulus>;

/// A root of unity in limbs of 52 bits, Montgomery form with R = 2²⁶⁰.
pub(super) type Root = [u64; 5];

/// What is added, times p, before a row is a factor.
pub(super) const LIFT: u64 = 26;

/// Rows of the groups that are transformed to the end one after the other: they fit in the first cache.
const LOG_GROUP: u32 = 6;

/// Base-2 logarithm of the least and greatest number of rows.
pub(super) const LOG_ROWS: core::ops::RangeInclusive<u32> = 4..=13;

/// Transforms the block: row i is `load(i)`, and `store(k, outputs)` takes the outputs k + q·n/4, q < 4, of the n rows.
/// With g the number of groups ([`n_groups`]), k goes through 0, g, 2·g, … below n/4, then 1, g + 1, …
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
#[inline]
pub(super) fn transform(
    block: &mut [Signed],
    roots: &[Root],
    mut load: impl FnMut(usize) -> Fr16,
    mut store: impl FnMut(usize, &[Signed; 4]),
) {
    let n = block.len();
    let log_n = n.ilog2();
    let mut size = first_layer(block, roots, &mut load);
    while size.ilog2() > LOG_GROUP {
        layer(block, roots, size, 0);
        size /= 4;
    }
    let n_groups = n / size;
    debug_assert_eq!(n_groups, self::n_groups(log_n));
    for k in 0..n_groups {
        let group = reversed(k, n_groups);
        let rows = &mut block[group * size..(group + 1) * size];
        let mut part = size;
        while part > 4 {
            layer(rows, roots, part, group * size / part);
            part /= 4;
        }
        let n_quads = size / 4;
        for j in 0..n_quads {
            let quad = reversed(j, n_quads);
            let beta = group * n_quads + quad;
            let Some(rows) = rows[4 * quad..].first_chunk_mut() else {
                continue;
            };
            let [x0, x1, x2, x3] = rows;
            if beta == 0 {
                reduce([x0, x1, x2, x3]);
                trivial_butterfly([x0, x1, x2, x3], roots);
            } else {
                butterfly([x0, x1, x2, x3], roots, beta);
            }
            rows.swap(1, 2);
            store(k + n_groups * j, rows);
        }
    }
}

/// Groups of a block of 2^log_n rows.
pub(super) fn n_groups(log_n: u32) -> usize {
    let log_group = if log_n < LOG_GROUP + 2 {
        // One radix-4 or radix-2 layer comes first.
        (log_n - 1) / 2 * 2
    } else {
        LOG_GROUP
    };
    1 << (log_n - log_group)
}

/// Loads the rows and transforms by 2 or 4, such that a power of 4 remains.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
#[inline]
fn first_layer(
    block: &mut [Signed],
    roots: &[Root],
    load: &mut impl FnMut(usize) -> Fr16,
) -> usize {
    let n = block.len();
    if n.ilog2() % 2 == 1 {
        let (low, high) = block.split_at_mut(n / 2);
        for i in 0..n / 2 {
            (low[i], high[i]) = (load(i).into(), load(i + n / 2).into());
            Signed::cross_by_one(&mut low[i], &mut high[i]);
        }
        return n / 2;
    }
    let quarter = n / 4;
    let [x0, x1, x2, x3] = quarters(block);
    for i in 0..quarter {
        (x0[i], x1[i]) = (load(i).into(), load(i + quarter).into());
        (x2[i], x3[i]) = (load(i + 2 * quarter).into(), load(i + 3 * quarter).into());
        trivial_butterfly([&mut x0[i], &mut x1[i], &mut x2[i], &mut x3[i]], roots);
    }
    quarter
}

fn quarters(rows: &mut [Signed]) -> [&mut [Signed]; 4] {
    let quarter = rows.len() / 4;
    let (low, high) = rows.split_at_mut(2 * quarter);
    let (x0, x1) = low.split_at_mut(quarter);
    let (x2, x3) = high.split_at_mut(quarter);
    [x0, x1, x2, x3]
}

/// One radix-4 layer over parts of `size` rows, the first of which is part number `first` of its layer.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn layer(rows: &mut [Signed], roots: &[Root], size: usize, first: usize) {
    for (part, rows) in rows.chunks_exact_mut(size).enumerate() {
        let beta = first + part;
        let [x0, x1, x2, x3] = quarters(rows);
        for i in 0..size / 4 {
            let x = [&mut x0[i], &mut x1[i], &mut x2[i], &mut x3[i]];
            if beta == 0 {
                let [x0, x1, x2, x3] = x;
                reduce([x0, x1, x2, x3]);
                trivial_butterfly([x0, x1, x2, x3], roots);
            } else {
                butterfly(x, roots, beta);
            }
        }
    }
}

/// Two splits: by w_β, then by w_2β and w_2β+1 = i·w_2β.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
#[inline]
fn butterfly([x0, x1, x2, x3]: [&mut Signed; 4], roots: &[Root], beta: usize) {
    Signed::cross::<LIFT>(x0, x2, &roots[beta]);
    Signed::cross::<LIFT>(x1, x3, &roots[beta]);
    Signed::cross::<LIFT>(x0, x1, &roots[2 * beta]);
    Signed::cross::<LIFT>(x2, x3, &roots[2 * beta + 1]);
}

/// The same for β = 0, where three of the four factors are 1. Operands in 0 .. 2·p.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
#[inline]
fn trivial_butterfly([x0, x1, x2, x3]: [&mut Signed; 4], roots: &[Root]) {
    Signed::cross_by_one(x0, x2);
    Signed::cross_by_one(x1, x3);
    Signed::cross_by_one(x0, x1);
    Signed::cross::<LIFT>(x2, x3, &roots[1]);
}

/// Every operand to 0 .. 2·p.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
#[inline]
fn reduce(x: [&mut Signed; 4]) {
    for x in x {
        *x = x.reduced::<LIFT>().into();
    }
}

/// The bits of `i` in reverse, for i < n, a power of two.
pub(super) fn reversed(i: usize, n: usize) -> usize {
    if n == 1 {
        return i;
    }
    i.reverse_bits() >> (usize::BITS - n.ilog2())
}
