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
    mut store: impl FnMut(usize, [Signed; 4]),
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
            let x = [
                rows[4 * quad],
                rows[4 * quad + 1],
                rows[4 * quad + 2],
                rows[4 * quad + 3],
            ];
            let [z0, z1, z2, z3] = if beta == 0 {
                trivial_butterfly(reduce(x), roots)
            } else {
                butterfly(x, roots, beta)
            };
            store(k + n_groups * j, [z0, z2, z1, z3]);
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
        let half = n / 2;
        for i in 0..half {
            let (a, b) = (Signed::from(load(i)), Signed::from(load(i + half)));
            block[i] = a.plus(&b);
            block[i + half] = a.minus(&b);
        }
        return half;
    }
    let quarter = n / 4;
    for i in 0..quarter {
        let x = [
            load(i).into(),
            load(i + quarter).into(),
            load(i + 2 * quarter).into(),
            load(i + 3 * quarter).into(),
        ];
        let z = trivial_butterfly(x, roots);
        for j in 0..4 {
            block[i + j * quarter] = z[j];
        }
    }
    quarter
}

/// One radix-4 layer over parts of `size` rows, the first of which is part number `first` of its layer.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn layer(rows: &mut [Signed], roots: &[Root], size: usize, first: usize) {
    for (part, rows) in rows.chunks_exact_mut(size).enumerate() {
        let beta = first + part;
        let (low, high) = rows.split_at_mut(size / 2);
        let (x0, x1) = low.split_at_mut(size / 4);
        let (x2, x3) = high.split_at_mut(size / 4);
        let quads = x0.iter_mut().zip(x1).zip(x2.iter_mut().zip(x3));
        if beta == 0 {
            for ((x0, x1), (x2, x3)) in quads {
                [*x0, *x1, *x2, *x3] = trivial_butterfly(reduce([*x0, *x1, *x2, *x3]), roots);
            }
        } else {
            for ((x0, x1), (x2, x3)) in quads {
                [*x0, *x1, *x2, *x3] = butterfly([*x0, *x1, *x2, *x3], roots, beta);
            }
        }
    }
}

/// Two splits: by w_β, then by w_2β and w_2β+1 = i·w_2β.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
#[inline]
fn butterfly(x: [Signed; 4], roots: &[Root], beta: usize) -> [Signed; 4] {
    let outer = Fr16::splat(roots[beta]);
    let t2 = Signed::product(&x[2].lifted::<LIFT>(), &outer);
    let t3 = Signed::product(&x[3].lifted::<LIFT>(), &outer);
    let (y0, y2) = (x[0].plus(&t2), x[0].minus(&t2));
    let (y1, y3) = (x[1].plus(&t3), x[1].minus(&t3));
    let inner = Fr16::splat(roots[2 * beta]);
    let u1 = Signed::product(&y1.lifted::<LIFT>(), &inner);
    let inner = Fr16::splat(roots[2 * beta + 1]);
    let u3 = Signed::product(&y3.lifted::<LIFT>(), &inner);
    [y0.plus(&u1), y0.minus(&u1), y2.plus(&u3), y2.minus(&u3)]
}

/// The same for β = 0, where three of the four factors are 1. Factors in 0 .. 2·p.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
#[inline]
fn trivial_butterfly(x: [Signed; 4], roots: &[Root]) -> [Signed; 4] {
    let (y0, y2) = (x[0].plus(&x[2]), x[0].minus(&x[2]));
    let (y1, y3) = (x[1].plus(&x[3]), x[1].minus(&x[3]));
    let u3 = Signed::product(&y3.lifted::<2>(), &Fr16::splat(roots[1]));
    [y0.plus(&y1), y0.minus(&y1), y2.plus(&u3), y2.minus(&u3)]
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
#[inline]
fn reduce(mut x: [Signed; 4]) -> [Signed; 4] {
    for j in 0..4 {
        x[j] = x[j].reduced::<LIFT>().into();
    }
    x
}

/// The bits of `i` in reverse, for i < n, a power of two.
pub(super) fn reversed(i: usize, n: usize) -> usize {
    if n == 1 {
        return i;
    }
    i.reverse_bits() >> (usize::BITS - n.ilog2())
}
