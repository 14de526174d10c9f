//! # Fq2: sixteen elements a₀ + a₁·u, u² = −1
//!
//! Bounds speak of each part. A sum of two parts must stay below 84·p for its product.

use super::field::{Fq16, LANES, Modulus, Mont, one};
use crate::curve::Row;

type FqModulus = Mont<ark_bn254::FqConfig>;

/// Sixteen elements of the quadratic extension.
#[derive(Clone, Copy)]
pub(crate) struct Fq2x16 {
    pub(crate) c0: Fq16,
    pub(crate) c1: Fq16,
}

impl Fq2x16 {
    /// a·b by Karatsuba with two reductions: below (3 + A·B/84)·p and (1 + 2·A·B/84)·p, for A·B ≤ 2·84.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(crate) fn mul(&self, other: &Self) -> Self {
        let first = self.c0.mul_wide(&other.c0);
        let second = self.c1.mul_wide(&other.c1);
        let cross = self.c0.add(&self.c1).mul_wide(&other.c0.add(&other.c1));
        Self {
            c0: Fq16::reduce(
                first
                    .sub(&second)
                    .plus_p::<FqModulus>()
                    .plus_p::<FqModulus>(),
            ),
            c1: Fq16::reduce(cross.sub(&first).sub(&second)),
        }
    }

    /// a² for a₁ ≤ 8·p: below (1 + 2·A·(A + 8)/84)·p and (1 + 2·A²/84)·p.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(crate) fn square(&self) -> Self {
        let sum = self.c0.add(&self.c1);
        let difference = self.c0.sub::<8>(&self.c1);
        Self {
            c0: sum.mul(&difference),
            c1: self.c0.add(&self.c0).mul(&self.c1),
        }
    }

    /// a + b.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn add(&self, other: &Self) -> Self {
        Self {
            c0: self.c0.add(&other.c0),
            c1: self.c1.add(&other.c1),
        }
    }

    /// a − b + K·p in each part.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn sub<const K: u64>(&self, other: &Self) -> Self {
        Self {
            c0: self.c0.sub::<K>(&other.c0),
            c1: self.c1.sub::<K>(&other.c1),
        }
    }

    /// a − b − c + K·p in each part.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn sub2<const K: u64>(&self, b: &Self, c: &Self) -> Self {
        Self {
            c0: self.c0.sub2::<K>(&b.c0, &c.c0),
            c1: self.c1.sub2::<K>(&b.c1, &c.c1),
        }
    }

    /// Each part below 2·p, from below 64·p.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(crate) fn shrink(&self) -> Self {
        Self {
            c0: self.c0.shrink(),
            c1: self.c1.shrink(),
        }
    }

    /// Each part below p, from below 64·p.
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    #[inline]
    pub(crate) fn canonical(&self) -> Self {
        Self {
            c0: self.c0.canonical(),
            c1: self.c1.canonical(),
        }
    }

    /// The lanes where two canonical values are equal.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn equals(&self, other: &Self) -> u16 {
        self.c0.equals(&other.c0) & self.c1.equals(&other.c1)
    }

    /// The lanes whose first part has a top limb above `limb`.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn top_above(&self, limb: u64) -> u16 {
        self.c0.top_above(limb)
    }

    /// `other` in the lanes of `mask`, `self` elsewhere.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn select(&self, mask: u16, other: &Self) -> Self {
        Self {
            c0: self.c0.select(mask, &other.c0),
            c1: self.c1.select(mask, &other.c1),
        }
    }

    /// 0 in every lane.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn zero() -> Self {
        Self {
            c0: Fq16::zero(),
            c1: Fq16::zero(),
        }
    }

    /// 1 in every lane.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn one() -> Self {
        Self {
            c0: Fq16::one(),
            c1: Fq16::zero(),
        }
    }

    /// Coordinate `which` of sixteen points.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn of_points<const SHIFT: u32>(points: &[&[Row; 4]; LANES], which: usize) -> Self {
        let mut rows = [[&points[0][0]; LANES]; 2];
        for lane in 0..LANES {
            rows[0][lane] = &points[lane][2 * which];
            rows[1][lane] = &points[lane][2 * which + 1];
        }
        Self {
            c0: Fq16::gather::<SHIFT>(rows[0]),
            c1: Fq16::gather::<SHIFT>(rows[1]),
        }
    }

    /// Stores coordinate `which` of sixteen points; each part below 2²⁵⁶.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn store_points(&self, points: &mut [[Row; 4]; LANES], which: usize) {
        self.c0.store_in(points, 2 * which);
        self.c1.store_in(points, 2 * which + 1);
    }

    /// The lanes in memory, part by part; each below 2²⁵⁶.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn store_parts(&self, rows: &mut [[Row; LANES]; 2]) {
        self.c0.store(&mut rows[0]);
        self.c1.store(&mut rows[1]);
    }

    /// The lanes from memory.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn load_parts(rows: &[[Row; LANES]; 2]) -> Self {
        Self {
            c0: Fq16::load::<0>(&rows[0]),
            c1: Fq16::load::<0>(&rows[1]),
        }
    }
}

impl Fq16 {
    /// 1 in every lane.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn one() -> Self {
        Self::splat(const { one(FqModulus::P) })
    }

    /// Coordinate `which` of sixteen points.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn of_points<const SHIFT: u32>(points: &[&[Row; 2]; LANES], which: usize) -> Self {
        let mut rows = [&points[0][0]; LANES];
        for lane in 0..LANES {
            rows[lane] = &points[lane][which];
        }
        Self::gather::<SHIFT>(rows)
    }

    /// Stores coordinate `which` of sixteen points; each below 2²⁵⁶.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn store_points(&self, points: &mut [[Row; 2]; LANES], which: usize) {
        self.store_in(points, which);
    }

    /// The lanes in memory; each below 2²⁵⁶.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn store_parts(&self, rows: &mut [[Row; LANES]; 1]) {
        self.store(&mut rows[0]);
    }

    /// The lanes from memory.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn load_parts(rows: &[[Row; LANES]; 1]) -> Self {
        Self::load::<0>(&rows[0])
    }
}
