//! # Batch-affine addition in lanes
//!
//! P + Q: λ = (y₂ − y₁)/(x₂ − x₁), x₃ = λ² − x₁ − x₂, y₃ = λ·(x₁ − x₃) − y₁. Sixteen pairs a step. The first pass multiplies up
//! the denominators of each lane, one inversion serves all lanes, the second pass goes back. An addition costs five
//! products and a square, as in `batch_affine`.
//!
//! Arena form: Montgomery with R = 2²⁶⁰, x canonical, y below 2·p. Key points enter as 16 times their words (`rows`). Where the denominator is 0
//! or a point infinite, the lane divides by 1 and the pair is added by arkworks afterwards.
//!
//! Bounds in units of p, key points (arena points): x below 16 (1), y below 16 (2), a denominator below 32 (2), products of
//! denominators below 1.7 in Fq and 4.9 in Fq2, since b = 3 + 32·b/84 has that fixed point; λ below 4.3; what `shrink` gets below 34.

use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch, _mm512_loadu_si512, _mm512_movepi32_mask};

use ark_bn254::{Fq, Fq2, Fr};
use ark_ec::AffineRepr;
use ark_ec::short_weierstrass::Affine;
use ark_ff::{BigInt, Field, One};

use super::field::{Fq16, Fr16, LANES};
use super::fq2::Fq2x16;
use crate::cpu::adder::{Adder, Pick, SCALARS, infinite, is_infinite, picked};
use crate::cpu::wiped::Wiped;
use crate::curve::Row;
use crate::curve::{AffineOf, Curve, G1, G2, Limbs};

/// A canonical x in arena form has a top limb below this; the mark of infinity has one above.
const TOP_LIMB: u64 = 1 << 46;
/// Steps between asking for a key point and using it.
const PREFETCH: usize = 4;

/// 2⁴ modulo q: arena words read as arkworks' are 16 times the value.
fn sixteen() -> Fq {
    Fq::from(16u64)
}

/// 2⁻⁴ modulo q: arkworks' words of it are 2²⁵².
const SIXTEENTH: Fq = Fq::new_unchecked(BigInt([0, 0, 0, 1 << 60]));

/// The points of sixteen pairs.
#[inline]
fn operands<'a, R>(points: &'a [R], pairs: &[[Pick; 2]; LANES]) -> [[&'a R; LANES]; 2] {
    let mut operands = [[&points[0]; LANES]; 2];
    for lane in 0..LANES {
        operands[0][lane] = &points[pairs[lane][0].index()];
        operands[1][lane] = &points[pairs[lane][1].index()];
    }
    operands
}

/// The `step`-th sixteen pairs; the last pair again where there are no more.
#[inline]
fn sixteen_pairs(pairs: &[[Pick; 2]], step: usize) -> [[Pick; 2]; LANES] {
    let pairs = &pairs[step * LANES..];
    match pairs.first_chunk() {
        Some(pairs) => *pairs,
        None => core::array::from_fn(|lane| pairs[lane.min(pairs.len() - 1)]),
    }
}

/// Which points of sixteen pairs are negated, a bit a lane: the top bits of the picks.
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn signs(pairs: &[[Pick; 2]; LANES]) -> [u16; 2] {
    // Pick l of lane i is bit 2i, pick r bit 2i + 1.
    let mut mask = 0u64;
    for h in 0..2 {
        // SAFETY: the load reads 64 of the 128 bytes of `pairs` and asks for no alignment.
        let picks = unsafe { _mm512_loadu_si512(pairs.as_ptr().add(8 * h).cast()) };
        mask |= u64::from(_mm512_movepi32_mask(picks)) << (16 * h);
    }
    let mut signs = [0; 2];
    for (side, signs) in signs.iter_mut().enumerate() {
        let mut bits = mask >> side & 0x5555_5555;
        bits = (bits | bits >> 1) & 0x3333_3333;
        bits = (bits | bits >> 2) & 0x0F0F_0F0F;
        bits = (bits | bits >> 4) & 0x00FF_00FF;
        *signs = (bits | bits >> 8) as u16;
    }
    signs
}

/// Asks for the points of sixteen pairs from the `start`-th.
#[inline]
fn fetch<R>(points: &[R], pairs: &[[Pick; 2]], start: usize) {
    for pair in &pairs[start.min(pairs.len())..(start + LANES).min(pairs.len())] {
        for pick in pair {
            let point: *const R = &points[pick.index()];
            for line in 0..size_of::<R>().div_ceil(64) {
                // SAFETY: a prefetch reads nothing, and the address stays within the point.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(point.cast::<i8>().add(64 * line)) }
            }
        }
    }
}

/// The integers that sixteen scalars are: their words s·2²⁵⁶ times 2⁴, divided by R.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn integers(scalars: &[Fr]) -> [Row; LANES] {
    let mut rows = [&[0; 4]; LANES];
    for lane in 0..LANES.min(scalars.len()) {
        rows[lane] = &scalars[lane].0.0;
    }
    let mut integers = [[0; 4]; LANES];
    let sixteen = Fr16::splat([16, 0, 0, 0, 0]);
    let values = Fr16::gather::<0>(rows).mul(&sixteen);
    values.less::<1>().store(&mut integers);
    integers
}

macro_rules! lanes_adder {
    ($(#[$doc:meta])* $name:ident, $curve:ty, $field:ty, $scalar:ty) => {
        $(#[$doc])*
        pub(crate) struct $name {
            /// Denominator of each step, and the product of those before it.
            steps: Vec<[$field; 2]>,
            /// Pairs that lanes cannot add.
            special: Wiped<u32>,
        }

        impl $name {
            /// The adder, on processors that have the instructions.
            pub(crate) fn detect() -> Option<Self> {
                super::detected().then(|| Self { steps: Vec::new(), special: Wiped::default() })
            }

            /// `out[k]` = the sum of the points `pairs[k]`, but for the special pairs. `SHIFT` 4: key points, indices are
            /// [`Pick`]s; 0: points of an arena.
            #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
            fn add<const SHIFT: u32, const X: u64, const XX: u64, const Y: u64>(
                &mut self,
                points: &[<$curve as Curve>::Raw],
                pairs: &[[Pick; 2]],
                out: &mut [<$curve as Curve>::Raw],
            ) {
                self.steps.clear();
                self.special.clear();
                let one = <$field>::one();
                let mut product = one;
                let n_steps = pairs.len().div_ceil(LANES);
                for step in 0..n_steps {
                    if SHIFT != 0 {
                        fetch(points, pairs, (step + PREFETCH) * LANES);
                    }
                    let chunk = sixteen_pairs(pairs, step);
                    let [left, right] = operands(points, &chunk);
                    let x1 = <$field>::of_points::<SHIFT>(&left, 0);
                    let x2 = <$field>::of_points::<SHIFT>(&right, 0);
                    let mut without = x1.equals(&x2);
                    if SHIFT == 0 {
                        without |= x1.top_above(TOP_LIMB) | x2.top_above(TOP_LIMB);
                    }
                    let mut run = x2.sub::<X>(&x1);
                    if without != 0 {
                        run = run.select(without, &one);
                        for lane in 0..LANES.min(pairs.len() - step * LANES) {
                            if without >> lane & 1 == 1 {
                                self.special.push((step * LANES + lane) as u32);
                            }
                        }
                    }
                    self.steps.push([run, product]);
                    product = product.mul(&run);
                }
                let mut inverse = Self::invert(product);
                for step in (0..n_steps).rev() {
                    let chunk = sixteen_pairs(pairs, step);
                    let [left, right] = operands(points, &chunk);
                    let [run, before] = self.steps[step];
                    let per_run = inverse.mul(&before);
                    inverse = inverse.mul(&run);
                    let mut y1 = <$field>::of_points::<SHIFT>(&left, 1);
                    let mut y2 = <$field>::of_points::<SHIFT>(&right, 1);
                    if SHIFT != 0 {
                        let [negative1, negative2] = signs(&chunk);
                        let zero = <$field>::zero();
                        y1 = y1.select(negative1, &zero.sub::<Y>(&y1));
                        y2 = y2.select(negative2, &zero.sub::<Y>(&y2));
                    }
                    let slope = y2.sub::<Y>(&y1).mul(&per_run);
                    let x1 = <$field>::of_points::<SHIFT>(&left, 0);
                    let x2 = <$field>::of_points::<SHIFT>(&right, 0);
                    let x = slope.square().sub2::<XX>(&x1, &x2).canonical();
                    let y = slope.mul(&x1.sub::<1>(&x)).sub::<Y>(&y1).shrink();
                    let out = &mut out[step * LANES..pairs.len()];
                    if let Some(out) = out.first_chunk_mut() {
                        x.store_points(out, 0);
                        y.store_points(out, 1);
                    } else {
                        let mut last = [<$curve as Curve>::Raw::default(); LANES];
                        x.store_points(&mut last, 0);
                        y.store_points(&mut last, 1);
                        out.copy_from_slice(&last[..out.len()]);
                    }
                }
            }

            /// 2·P in the place of every point P of an arena, all finite; whether all results are. λ = 3x²/2y; a run of 2y is
            /// below 4, its products below 3.2, λ too.
            #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
            fn double_lanes(&mut self, points: &mut [<$curve as Curve>::Raw]) -> bool {
                self.steps.clear();
                let mut product = <$field>::one();
                for chunk in points.chunks(LANES) {
                    let mut operands = [&chunk[0]; LANES];
                    for lane in 0..chunk.len() {
                        operands[lane] = &chunk[lane];
                    }
                    let y = <$field>::of_points::<0>(&operands, 1);
                    let run = y.add(&y);
                    self.steps.push([run, product]);
                    product = product.mul(&run);
                }
                if product.canonical().equals(&<$field>::zero()) != 0 {
                    return false;
                }
                let mut inverse = Self::invert(product);
                for step in (0..self.steps.len()).rev() {
                    let len = LANES.min(points.len() - step * LANES);
                    let chunk = &mut points[step * LANES..][..len];
                    let mut doubled = [chunk[0]; LANES];
                    doubled[..len].copy_from_slice(chunk);
                    let operands = doubled.each_ref();
                    let x = <$field>::of_points::<0>(&operands, 0);
                    let y = <$field>::of_points::<0>(&operands, 1);
                    let [run, before] = self.steps[step];
                    let square = x.square();
                    let rise = square.add(&square).add(&square);
                    let slope = rise.mul(&inverse.mul(&before));
                    inverse = inverse.mul(&run);
                    let to_x = slope.square().sub2::<2>(&x, &x).canonical();
                    let to_y = slope.mul(&x.sub::<1>(&to_x)).sub::<2>(&y).shrink();
                    to_x.store_points(&mut doubled, 0);
                    to_y.store_points(&mut doubled, 1);
                    chunk.copy_from_slice(&doubled[..len]);
                }
                true
            }

            /// `out[k]` = base `picks[k]` in arena form.
            #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
            fn lift_lanes(
                bases: &[<$curve as Curve>::Raw],
                picks: &[Pick],
                out: &mut [<$curve as Curve>::Raw],
            ) {
                for (picks, out) in picks.chunks(LANES).zip(out.chunks_mut(LANES)) {
                    let mut points = [&bases[picks[0].index()]; LANES];
                    let mut negative = 0u16;
                    for lane in 0..picks.len() {
                        points[lane] = &bases[picks[lane].index()];
                        negative |= u16::from(picks[lane].is_negative()) << lane;
                    }
                    let x = <$field>::of_points::<4>(&points, 0).canonical();
                    let y = <$field>::of_points::<4>(&points, 1);
                    let y = y.select(negative, &<$field>::zero().sub::<16>(&y)).shrink();
                    let mut lifted = [<$curve as Curve>::Raw::default(); LANES];
                    x.store_points(&mut lifted, 0);
                    y.store_points(&mut lifted, 1);
                    out.copy_from_slice(&lifted[..out.len()]);
                }
            }

            /// 1/a for lanes that are not 0.
            #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
            fn invert(product: $field) -> $field {
                let mut rows = [[[0; 4]; LANES]; { <$scalar as Limbs>::BYTES / 32 }];
                product.canonical().store_parts(&mut rows);
                Self::invert_rows(&mut rows);
                <$field>::load_parts(&rows)
            }

            /// Words read as arkworks' are 16·a; 256 times the inverse of that has the words of 1/a.
            fn invert_rows(rows: &mut [[Row; LANES]; { <$scalar as Limbs>::BYTES / 32 }]) {
                let value = |lane: usize| {
                    let mut words = [[0; 4]; { <$scalar as Limbs>::BYTES / 32 }];
                    for (word, rows) in words.iter_mut().zip(rows.iter()) {
                        *word = rows[lane];
                    }
                    <$scalar as Limbs>::from_rows(&words)
                };
                let values: [$scalar; LANES] = core::array::from_fn(value);
                let mut before = [<$scalar>::one(); LANES];
                for lane in 1..LANES {
                    before[lane] = before[lane - 1] * values[lane - 1];
                }
                let all = before[LANES - 1] * values[LANES - 1];
                let scale = sixteen() * sixteen();
                let mut inverse = all.inverse().unwrap_or_default().scaled(&scale);
                for lane in (0..LANES).rev() {
                    let mut words = [[0; 4]; { <$scalar as Limbs>::BYTES / 32 }];
                    (inverse * before[lane]).to_rows(&mut words);
                    for (word, rows) in words.iter().zip(rows.iter_mut()) {
                        rows[lane] = *word;
                    }
                    inverse *= values[lane];
                }
            }

            fn lift_point(point: &AffineOf<$curve>) -> <$curve as Curve>::Raw {
                let Some((x, y)) = point.xy() else {
                    return infinite::<$curve>();
                };
                let mut raw = <$curve as Curve>::Raw::default();
                let half = raw.len() / 2;
                let (left, right) = raw.split_at_mut(half);
                x.scaled(&sixteen()).to_rows(left);
                y.scaled(&sixteen()).to_rows(right);
                raw
            }

            fn lower_point(raw: &<$curve as Curve>::Raw) -> AffineOf<$curve> {
                if is_infinite::<$curve>(raw) {
                    return Affine::identity();
                }
                let (x, y) = raw.split_at(raw.len() / 2);
                Affine::new_unchecked(
                    <$scalar as Limbs>::from_rows(x).scaled(&SIXTEENTH),
                    <$scalar as Limbs>::from_rows(y).scaled(&SIXTEENTH),
                )
            }
        }

        impl Adder<$curve> for $name {
            fn reserve(&mut self, pairs: usize) {
                self.steps.clear();
                self.steps.reserve_exact(pairs.div_ceil(LANES));
                self.special.clear();
                self.special.reserve_exact(pairs);
            }

            fn lift(
                &mut self,
                bases: &[<$curve as Curve>::Raw],
                picks: &[Pick],
                out: &mut [<$curve as Curve>::Raw],
            ) {
                // SAFETY: the adder exists, so the processor has the instructions.
                unsafe { Self::lift_lanes(bases, picks, out) }
            }

            fn add_bases(
                &mut self,
                bases: &[<$curve as Curve>::Raw],
                pairs: &[[Pick; 2]],
                out: &mut [<$curve as Curve>::Raw],
            ) {
                if pairs.is_empty() {
                    return;
                }
                // SAFETY: the adder exists, so the processor has the instructions.
                unsafe { self.add::<4, 16, 32, 16>(bases, pairs, out) }
                for &k in self.special.iter() {
                    let [left, right] = pairs[k as usize].map(|pick| picked::<$curve>(bases, pick));
                    out[k as usize] = Self::lift_point(&(left + right).into());
                }
            }

            fn add_arena(
                &mut self,
                arena: &[<$curve as Curve>::Raw],
                pairs: &[[Pick; 2]],
                out: &mut [<$curve as Curve>::Raw],
            ) {
                if pairs.is_empty() {
                    return;
                }
                // SAFETY: the adder exists, so the processor has the instructions.
                unsafe { self.add::<0, 1, 2, 2>(arena, pairs, out) }
                for &k in self.special.iter() {
                    let [left, right] = pairs[k as usize].map(|pick| Self::lower_point(&arena[pick.index()]));
                    out[k as usize] = Self::lift_point(&(left + right).into());
                }
            }

            fn double(&mut self, points: &mut [<$curve as Curve>::Raw], times: u32) -> bool {
                // SAFETY: the adder exists, so the processor has the instructions.
                points.is_empty() || (0..times).all(|_| unsafe { self.double_lanes(points) })
            }

            fn integers(&self, scalars: &[Fr]) -> [Row; SCALARS] {
                // SAFETY: the adder exists, so the processor has the instructions.
                unsafe { integers(scalars) }
            }

            fn lower(&self, point: &<$curve as Curve>::Raw) -> AffineOf<$curve> {
                Self::lower_point(point)
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // Of earlier, longer calls too.
                self.steps.clear();
                for step in self.steps.spare_capacity_mut() {
                    // SAFETY: registers hold any bits, zeros too, and the write stays inside the vector.
                    unsafe { core::ptr::write_volatile(step.as_mut_ptr(), core::mem::zeroed()) }
                }
            }
        }
    };
}

lanes_adder!(
    /// Sums in G1.
    LanesG1, G1, Fq16, Fq
);
lanes_adder!(
    /// Sums in G2.
    LanesG2, G2, Fq2x16, Fq2
);

/// A coordinate times a base field element.
trait Scaled {
    fn scaled(&self, factor: &Fq) -> Self;
}

impl Scaled for Fq {
    fn scaled(&self, factor: &Fq) -> Self {
        *self * factor
    }
}

impl Scaled for Fq2 {
    fn scaled(&self, factor: &Fq) -> Self {
        Self::new(self.c0 * factor, self.c1 * factor)
    }
}
