//! Values of a tensor as the prover has them: the solver's integers, integers of its own, or field elements.

use crate::arithmetization::r1cs::circuit::{LinComb, Rid};
use crate::arithmetization::r1cs::witness::to_i64;
use ark_bn254::Fr;
use ark_ff::One;
use rayon::prelude::*;
use std::ops::Range;
use zeroize::Zeroizing;

/// Elements of one task.
const PER_TASK: usize = 1 << 12;
/// Results of integer combinations stay below this absolute value.
const LIMIT: i128 = 1 << 62;

/// The elements of one tensor. What is copied from a witness is overwritten when dropped.
pub(super) enum Value<'a> {
    /// Integers of the solver or of the circuit.
    Given(&'a [i64]),
    Integers(Zeroizing<Vec<i64>>),
    Field(Zeroizing<Vec<Fr>>),
    /// A range of the wires.
    Wires(Range<usize>),
}

/// A [`Value`] that can be read.
#[derive(Clone, Copy)]
pub(super) enum View<'v> {
    Integers(&'v [i64]),
    Field(&'v [Fr]),
}

impl Value<'_> {
    pub(super) fn view<'v>(&'v self, wires: &'v [Fr]) -> View<'v> {
        match self {
            Self::Given(x) => View::Integers(x),
            Self::Integers(x) => View::Integers(x),
            Self::Field(x) => View::Field(x),
            Self::Wires(range) => View::Field(&wires[range.clone()]),
        }
    }

    pub(super) fn integers(&self) -> Option<&[i64]> {
        match self {
            Self::Given(x) => Some(x),
            Self::Integers(x) => Some(x),
            Self::Field(_) | Self::Wires(_) => None,
        }
    }
}

/// A [`LinComb`] with small integer coefficients over a power of two: `(Σ c·x + constant) / 2^shift`.
#[derive(Clone, Debug)]
pub(super) struct IntegerComb {
    terms: Vec<(i64, Rid)>,
    constant: i64,
    shift: u32,
}

impl IntegerComb {
    /// `None` when a coefficient is no such fraction.
    pub(super) fn of(l: &LinComb) -> Option<Self> {
        let mut scale = Fr::one();
        for shift in 0..=62 {
            let terms: Option<Vec<_>> = l
                .terms
                .iter()
                .map(|(c, x)| Some((to_i64(*c * scale)?, *x)))
                .collect();
            if let (Some(terms), Some(constant)) = (terms, to_i64(l.constant * scale)) {
                // below 2^63 of them together: no sum of i64 values passes i128
                let sum: u128 = terms.iter().map(|t| u128::from(t.0.unsigned_abs())).sum();
                return (sum < 1 << 63).then_some(Self {
                    terms,
                    constant,
                    shift,
                });
            }
            scale += scale;
        }
        None
    }

    pub(super) fn reads(&self) -> impl Iterator<Item = Rid> + '_ {
        self.terms.iter().map(|t| t.1)
    }

    /// Element `i`, when it is a small integer. `sources` are the tensors of the terms; those of one element are broadcast.
    pub(super) fn at(&self, sources: &[&[i64]], i: usize) -> Option<i64> {
        let mut sum = i128::from(self.constant);
        for ((c, _), x) in self.terms.iter().zip(sources) {
            sum += i128::from(*c) * i128::from(x[if x.len() == 1 { 0 } else { i }]);
        }
        let whole = sum & ((1 << self.shift) - 1) == 0;
        let value = sum >> self.shift;
        (whole && -LIMIT < value && value < LIMIT).then_some(value as i64)
    }
}

/// Calls `f` with pieces of `out` and where they begin, in parallel when there are many elements; false when one call says so.
pub(super) fn each_piece<T: Send>(
    out: &mut [T],
    f: impl Fn(usize, &mut [T]) -> bool + Sync,
) -> bool {
    if out.len() <= PER_TASK {
        return f(0, out);
    }
    out.par_chunks_mut(PER_TASK)
        .enumerate()
        .all(|(k, piece)| f(k * PER_TASK, piece))
}

/// As [`each_piece`], for `f` that fills every element by itself; `None` when one cannot be.
pub(super) fn fill_all<T: Send>(
    out: &mut [T],
    f: impl Fn(usize) -> Option<T> + Sync,
) -> Option<()> {
    let whole = each_piece(out, |start, piece| {
        piece
            .iter_mut()
            .enumerate()
            .all(|(k, out)| match f(start + k) {
                Some(value) => {
                    *out = value;
                    true
                }
                None => false,
            })
    });
    whole.then_some(())
}
