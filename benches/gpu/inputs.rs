//! Points with known logarithms and scalars of classes, made in parallel.

use ark_bn254::Fr;
use ark_ec::{CurveGroup, PrimeGroup};
use ark_ff::{AdditiveGroup, PrimeField};
use rayon::prelude::*;
use zkinfer_gpu::curve::{AffineOf, ProjectiveOf};
use zkinfer_gpu::{Curve, ScalarClass, testing};

/// Points or scalars of one task.
const CHUNK: usize = 1 << 12;

/// The multiples first, first + step, first + 2·step, … of a generator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progression {
    first: Fr,
    step: Fr,
}

impl Progression {
    /// How the points are made, for reports.
    pub(crate) const SENTENCE: &str = "Points: an arithmetic progression of multiples of the generator, all distinct; no infinite ones.";

    pub(crate) fn new() -> Self {
        let pair = testing::scalars(0x5eed, 2);
        Self {
            first: pair[0],
            step: pair[1],
        }
    }

    fn logarithm(self, index: usize) -> Fr {
        self.first + self.step * Fr::from(index as u64)
    }

    /// The first `n` points, by one addition each and one inversion a chunk.
    pub(crate) fn points<C: Curve>(self, n: usize) -> Vec<AffineOf<C>> {
        let generator = ProjectiveOf::<C>::generator();
        let step = (generator * self.step).into_affine();
        let chunks = (0..n).into_par_iter().step_by(CHUNK).map(|start| {
            let mut point = generator * self.logarithm(start);
            let mut chunk = Vec::with_capacity(CHUNK);
            for _ in start..n.min(start + CHUNK) {
                chunk.push(point);
                point += step;
            }
            ProjectiveOf::<C>::normalize_batch(&chunk)
        });
        let chunks: Vec<_> = chunks.collect();
        chunks.concat()
    }

    /// Σ scalar_i·point_i from point `start` on, by the logarithms.
    pub(crate) fn sum<C: Curve>(self, start: usize, scalars: &[Fr]) -> ProjectiveOf<C> {
        let chunks = scalars.par_chunks(CHUNK).enumerate().map(|(k, chunk)| {
            let mut logarithm = self.logarithm(start + k * CHUNK);
            let mut sum = Fr::ZERO;
            for scalar in chunk {
                sum += *scalar * logarithm;
                logarithm += self.step;
            }
            sum
        });
        let logarithm: Fr = chunks.sum();
        ProjectiveOf::<C>::generator() * logarithm
    }
}

/// `n` full-size scalars.
pub(crate) fn full(seed: u64, n: usize) -> Vec<Fr> {
    // An odd factor spreads the seeds of chunks over all bits.
    let of_chunk = |k: usize| ((seed << 32) | (k as u64 + 1)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let chunks = (0..n.div_ceil(CHUNK)).into_par_iter().map(|k| {
        let len = CHUNK.min(n - k * CHUNK);
        testing::scalars(of_chunk(k), len)
    });
    chunks.collect::<Vec<_>>().concat()
}

/// Kinds of scalars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Spread over the field.
    Full,
    /// Below 2^bits, or in absolute value below it.
    Small {
        /// Bits of the absolute value.
        bits: u32,
        /// Whether every second one is below zero.
        signed: bool,
    },
    /// 0 or 1, promised.
    Bits,
    /// Of ten, seven are 0 or 1, two below 2^8, one full; nothing is promised.
    Witness,
}

impl Class {
    /// Those that are timed.
    pub(crate) const TIMED: [Self; 3] = [
        Self::Full,
        Self::Small {
            bits: 16,
            signed: false,
        },
        Self::Witness,
    ];

    /// Those that are checked.
    pub(crate) const ALL: [Self; 7] = [
        Self::Full,
        Self::Small {
            bits: 16,
            signed: false,
        },
        Self::Witness,
        Self::Bits,
        Self::Small {
            bits: 8,
            signed: true,
        },
        Self::Small {
            bits: 33,
            signed: true,
        },
        Self::Small {
            bits: 64,
            signed: true,
        },
    ];

    pub(crate) fn name(self) -> String {
        match self {
            Self::Full => "full".to_owned(),
            Self::Small { bits, signed } => {
                let sign = if signed { "±" } else { "" };
                format!("{sign}{bits} bits")
            }
            Self::Bits => "bits".to_owned(),
            Self::Witness => "witness".to_owned(),
        }
    }

    /// What the caller of a multiplication promises.
    pub(crate) fn promise(self) -> ScalarClass {
        match self {
            Self::Full | Self::Witness => ScalarClass::Full,
            Self::Small { bits, .. } => ScalarClass::Small { bits },
            Self::Bits => ScalarClass::Unit01,
        }
    }

    pub(crate) fn scalars(self, n: usize) -> Vec<Fr> {
        let mut scalars = full(3, n);
        scalars.par_iter_mut().enumerate().for_each(|(i, scalar)| {
            *scalar = self.narrowed(i, *scalar);
        });
        scalars
    }

    fn narrowed(self, index: usize, scalar: Fr) -> Fr {
        let word = scalar.into_bigint().0[0];
        match self {
            Self::Full => scalar,
            Self::Small { bits, signed } => {
                let magnitude = Fr::from(word >> (64 - bits));
                if signed && index % 2 == 1 {
                    -magnitude
                } else {
                    magnitude
                }
            }
            Self::Bits => Fr::from(word & 1),
            Self::Witness => match index % 10 {
                0 => scalar,
                1 | 2 => Fr::from(word & 0xff),
                _ => Fr::from(word & 1),
            },
        }
    }

    /// How many of `n` terms have how many bits as signed digits have them; those that are zero are left out.
    pub(crate) fn terms(self, n: usize) -> Vec<(f64, u32)> {
        let n = n as f64;
        match self {
            Self::Full => vec![(n, FULL_BITS)],
            // One bit more, for the carry of signed digits.
            Self::Small { bits, .. } => vec![(n, bits + 1)],
            Self::Bits => vec![(n / 2.0, 1)],
            Self::Witness => vec![(0.35 * n, 1), (0.2 * n, 9), (0.1 * n, FULL_BITS)],
        }
    }
}

/// Bits of the windows of a full-size scalar that is replaced by its negative where that is smaller.
pub(crate) const FULL_BITS: u32 = 254;
