//! # Adders: sums of many pairs of affine points
//!
//! An arena holds finite points in an adder's own form (raw words); key sections hold them in arkworks' form. An adder lifts key points
//! into the arena, adds pairs, and lowers results. All pairs of a call share one inversion. A sum may be infinite: it is then marked
//! in its words and every later addition understands the mark.

use ark_bn254::Fr;
use ark_ec::short_weierstrass::Affine;
use ark_ec::{AdditiveGroup, AffineRepr, CurveGroup};
use ark_ff::PrimeField;
use bytemuck::Zeroable;

use super::batch_affine::BatchAdder;
use crate::curve::{AffineOf, Curve, ProjectiveOf, Row, point_of, raw_of};

/// The index of a base, and whether its negative is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub(crate) struct Pick(u32);

impl Pick {
    const NEGATIVE: u32 = 1 << 31;

    /// Base `index`, negated or not.
    pub(crate) fn new(index: u32, negative: bool) -> Self {
        debug_assert!(index < Self::NEGATIVE);
        Self(index | u32::from(negative) << 31)
    }

    pub(crate) fn index(self) -> usize {
        (self.0 & !Self::NEGATIVE) as usize
    }

    pub(crate) fn is_negative(self) -> bool {
        self.0 & Self::NEGATIVE != 0
    }
}

/// Scalars that an adder reads at once.
pub(crate) const SCALARS: usize = 16;

/// Sums of pairs in group `C`. The answers do not depend on the adder.
pub(crate) trait Adder<C: Curve>: Send {
    /// Makes room for calls of at most `pairs` pairs: scratch that grows leaves a copy behind.
    fn reserve(&mut self, pairs: usize);

    /// `out[k]` = base `picks[k]`, which is finite.
    fn lift(&mut self, bases: &[C::Raw], picks: &[Pick], out: &mut [C::Raw]);

    /// `out[k]` = the sum of the bases `pairs[k]`, both finite.
    fn add_bases(&mut self, bases: &[C::Raw], pairs: &[[Pick; 2]], out: &mut [C::Raw]);

    /// `out[k]` = the sum of the points `pairs[k]` of the arena, as they are: no pick is negative.
    fn add_arena(&mut self, arena: &[C::Raw], pairs: &[[Pick; 2]], out: &mut [C::Raw]);

    /// 2^times·P in the place of every point P of an arena, all finite. Whether all results are finite too; where not, the
    /// points are lost. In the group they always are.
    fn double(&mut self, points: &mut [C::Raw], times: u32) -> bool;

    /// The integers below r that at most [`SCALARS`] scalars are.
    fn integers(&self, scalars: &[Fr]) -> [Row; SCALARS] {
        let mut integers = [[0; 4]; SCALARS];
        for (integer, scalar) in integers.iter_mut().zip(scalars) {
            *integer = scalar.into_bigint().0;
        }
        integers
    }

    /// The point of an arena's words.
    fn lower(&self, point: &C::Raw) -> AffineOf<C>;
}

/// The top word of the first coordinate of the point at infinity: no field element has it.
const INFINITE: u64 = u64::MAX;

/// The mark of the point at infinity in an arena.
pub(crate) fn infinite<C: Curve>() -> C::Raw {
    let mut raw = C::Raw::zeroed();
    raw.as_mut()[0][3] = INFINITE;
    raw
}

/// Whether a point of an arena is infinite.
pub(crate) fn is_infinite<C: Curve>(raw: &C::Raw) -> bool {
    raw.as_ref()[0][3] == INFINITE
}

/// Base `pick` of a key section.
pub(crate) fn picked<C: Curve>(bases: &[C::Raw], pick: Pick) -> AffineOf<C> {
    let point = point_of::<C>(&bases[pick.index()]);
    if pick.is_negative() { -point } else { point }
}

/// The adder of every machine, over arkworks' arithmetic; its arena form is the key's.
pub(crate) struct Portable<C: Curve>(BatchAdder<C::Config>);

impl<C: Curve> Portable<C> {
    pub(crate) fn new() -> Self {
        Self(BatchAdder::new(0))
    }
}

fn arena_form<C: Curve>(point: &AffineOf<C>) -> C::Raw {
    if point.is_zero() {
        infinite::<C>()
    } else {
        raw_of::<C>(point)
    }
}

impl<C: Curve> Adder<C> for Portable<C> {
    fn reserve(&mut self, pairs: usize) {
        self.0.reserve(pairs);
    }

    fn lift(&mut self, bases: &[C::Raw], picks: &[Pick], out: &mut [C::Raw]) {
        for (out, pick) in out.iter_mut().zip(picks) {
            *out = arena_form::<C>(&picked::<C>(bases, *pick));
        }
    }

    fn add_bases(&mut self, bases: &[C::Raw], pairs: &[[Pick; 2]], out: &mut [C::Raw]) {
        self.0.add_pairs(
            pairs.len(),
            out,
            |_, k| pairs[k].map(|pick| picked::<C>(bases, pick)).into(),
            |out, k, sum| out[k] = arena_form::<C>(&sum),
        );
    }

    fn add_arena(&mut self, arena: &[C::Raw], pairs: &[[Pick; 2]], out: &mut [C::Raw]) {
        self.0.add_pairs(
            pairs.len(),
            out,
            |_, k| pairs[k].map(|pick| lower::<C>(&arena[pick.index()])).into(),
            |out, k, sum| out[k] = arena_form::<C>(&sum),
        );
    }

    fn double(&mut self, points: &mut [C::Raw], times: u32) -> bool {
        let mut multiples: Vec<ProjectiveOf<C>> = points
            .iter()
            .map(|point| lower::<C>(point).into_group())
            .collect();
        for multiple in &mut multiples {
            for _ in 0..times {
                multiple.double_in_place();
            }
        }
        let multiples = ProjectiveOf::<C>::normalize_batch(&multiples);
        for (point, multiple) in points.iter_mut().zip(&multiples) {
            *point = arena_form::<C>(multiple);
        }
        multiples.iter().all(|multiple| !multiple.is_zero())
    }

    fn lower(&self, point: &C::Raw) -> AffineOf<C> {
        lower::<C>(point)
    }
}

fn lower<C: Curve>(raw: &C::Raw) -> AffineOf<C> {
    if is_infinite::<C>(raw) {
        Affine::identity()
    } else {
        point_of::<C>(raw)
    }
}
