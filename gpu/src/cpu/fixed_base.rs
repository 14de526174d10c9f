//! # Fixed-base products: k_i·B for many k_i
//!
//! Signed base-2^c digits and a table of every window's multiples: a product is a sum of one table point a window, and many products are
//! the sums of many buckets (`msm::buckets`), affine without a final normalisation.

use ark_bn254::Fr;
use ark_ec::short_weierstrass::{Affine, Projective};
use ark_ec::{AdditiveGroup, AffineRepr, CurveGroup};
use ark_ff::PrimeField;
use rayon::prelude::*;

use super::adder::{Adder, Pick};
use super::msm::buckets::{self, Sorted};
use super::wiped::Wiped;
use crate::curve::{AffineOf, Curve, raw_of};
use crate::device::FixedBase;
use crate::field::{SignedScalar, signed_digits};

/// Scalars read by one task.
const SCALARS_PER_TASK: usize = 1 << 10;
/// Widest window: 2^13 points of every window are tabulated, 10 MiB in G1.
const MAX_WINDOW_BITS: u32 = 14;

/// Bits of a window, and windows, of a table for about `n_scalars` products.
pub(crate) fn shape(n_scalars: usize) -> (u32, u32) {
    let c = n_scalars
        .max(2)
        .ilog2()
        .saturating_sub(1)
        .clamp(4, MAX_WINDOW_BITS);
    (c, Fr::MODULUS_BIT_SIZE.div_ceil(c))
}

/// Tabulates the windows of `base`, wide enough that the table is cheap beside `n_scalars` products.
pub(crate) fn tabulate<C: Curve>(base: AffineOf<C>, n_scalars: usize) -> FixedBase<C> {
    let (c, n_windows) = shape(n_scalars);
    let mut starts = Vec::with_capacity(n_windows as usize);
    let mut start: Projective<C::Config> = base.into_group();
    for _ in 0..n_windows {
        starts.push(start);
        for _ in 0..c {
            start.double_in_place();
        }
    }
    let windows: Vec<Vec<C::Raw>> = starts
        .into_par_iter()
        .map(|start| {
            let step = start.into_affine();
            let multiples: Vec<_> = std::iter::successors(Some(start), |point| Some(*point + step))
                .take(1 << (c - 1))
                .collect();
            let affine = Projective::normalize_batch(&multiples);
            affine.iter().map(raw_of::<C>).collect()
        })
        .collect();
    FixedBase {
        c,
        n_windows: n_windows as usize,
        finite: !base.is_zero(),
        table: windows.concat(),
    }
}

/// The products of every scalar with the tabulated base.
pub(crate) fn multiply<C: Curve, A: Adder<C>>(
    base: &FixedBase<C>,
    scalars: &[Fr],
    adder: impl Fn() -> A + Sync,
) -> Vec<AffineOf<C>> {
    if !base.finite {
        return vec![Affine::identity(); scalars.len()];
    }
    let n_windows = base.n_windows;
    let mut digits = Wiped::filled(0i16, scalars.len() * n_windows);
    digits
        .par_chunks_exact_mut(n_windows)
        .zip(scalars)
        .with_min_len(SCALARS_PER_TASK)
        .for_each(|(digits, scalar)| signed_digits(&SignedScalar::from(*scalar), base.c, digits));
    let mut picks = Wiped::with_capacity(digits.len());
    let mut ends = Wiped::with_capacity(scalars.len());
    for digits in digits.chunks_exact(n_windows) {
        for (window, digit) in digits.iter().enumerate().filter(|(_, digit)| **digit != 0) {
            let multiple = usize::from(digit.unsigned_abs()) - 1;
            let index = (window << (base.c - 1)) + multiple;
            picks.push(Pick::new(index as u32, *digit < 0));
        }
        ends.push(picks.len() as u32);
    }
    drop(digits);
    let sums = buckets::sums(&base.table, &Sorted { picks, ends }, 1, &adder);
    let lower = adder();
    sums.iter().map(|sum| lower.lower(sum)).collect()
}
