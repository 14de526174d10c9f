//! # Fixed-base products: k_i·B for many k_i
//!
//! Signed base-2^c digits and a table of every window's multiples: one affine addition a window, batched over scalars
//! so that they share an inversion; the results are affine without a final normalisation.

use ark_bn254::Fr;
use ark_ec::short_weierstrass::{Affine, Projective};
use ark_ec::{AdditiveGroup, AffineRepr, CurveGroup};
use ark_ff::PrimeField;
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::batch_affine::BatchAdder;
use crate::curve::{AffineOf, Curve};
use crate::device::FixedBase;
use crate::field::{SignedScalar, signed_digits};

/// Scalars that share one inversion.
const SCALARS_PER_BATCH: usize = 1 << 10;

/// Widest window: 2^13 points of every window are tabulated, 10 MiB in G1.
const MAX_WINDOW_BITS: u32 = 14;

/// Tabulates the windows of `base`, wide enough that the table is cheap beside `n_scalars` products.
pub(crate) fn tabulate<C: Curve>(base: AffineOf<C>, n_scalars: usize) -> FixedBase<C> {
    let c = n_scalars
        .max(2)
        .ilog2()
        .saturating_sub(1)
        .clamp(4, MAX_WINDOW_BITS);
    let n_windows = Fr::MODULUS_BIT_SIZE.div_ceil(c);
    let mut starts = Vec::with_capacity(n_windows as usize);
    let mut start: Projective<C::Config> = base.into_group();
    for _ in 0..n_windows {
        starts.push(start);
        for _ in 0..c {
            start.double_in_place();
        }
    }
    let windows = starts
        .into_par_iter()
        .map(|start| {
            let step = start.into_affine();
            let multiples: Vec<_> = std::iter::successors(Some(start), |point| Some(*point + step))
                .take(1 << (c - 1))
                .collect();
            Projective::normalize_batch(&multiples)
        })
        .collect();
    FixedBase { c, windows }
}

/// The products of every scalar with the tabulated base.
pub(crate) fn multiply<C: Curve>(base: &FixedBase<C>, scalars: &[Fr]) -> Vec<AffineOf<C>> {
    let mut products = vec![Affine::identity(); scalars.len()];
    products
        .par_chunks_mut(SCALARS_PER_BATCH)
        .zip(scalars.par_chunks(SCALARS_PER_BATCH))
        .for_each(|(products, scalars)| multiply_batch(base, scalars, products));
    products
}

fn multiply_batch<C: Curve>(base: &FixedBase<C>, scalars: &[Fr], products: &mut [AffineOf<C>]) {
    let n_windows = base.windows.len();
    let mut digits = Zeroizing::new(vec![0i16; scalars.len() * n_windows]);
    for (scalar, digits) in scalars.iter().zip(digits.chunks_exact_mut(n_windows)) {
        signed_digits(&SignedScalar::from(*scalar), base.c, digits);
    }
    let mut adder = BatchAdder::new(products.len());
    for (w, multiples) in base.windows.iter().enumerate() {
        adder.add_pairs(
            products.len(),
            products,
            |products, k| {
                let digit = digits[k * n_windows + w];
                let multiple = match digit.unsigned_abs() as usize {
                    0 => Affine::identity(),
                    magnitude => multiples[magnitude - 1],
                };
                (products[k], if digit < 0 { -multiple } else { multiple })
            },
            |products, k, sum| products[k] = sum,
        );
    }
}
