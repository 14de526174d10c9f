//! # Signed: field elements between the additions of a butterfly
//!
//! Limbs with carries that may be negative, so that additions are five instructions a register. A value is within
//! −B·p .. B·p for a bound B that the user of the type keeps; only a factor of a product needs clean limbs.

use core::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_srai_epi64, _mm512_srli_epi64,
    _mm512_sub_epi64,
};

use zeroize::Zeroize;

use super::field::{LIMB_BITS, Lanes, MASK, Modulus, broadcast, product, times};

/// Sixteen elements in limbs with signed carries, each limb below 2⁶² in absolute value.
pub(super) struct Signed<M> {
    lanes: Lanes<M>,
}

impl<M> Clone for Signed<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Signed<M> {}

impl<M> Zeroize for Signed<M> {
    fn zeroize(&mut self) {
        self.lanes.limbs.zeroize();
    }
}

impl<M: Modulus> From<Lanes<M>> for Signed<M> {
    fn from(lanes: Lanes<M>) -> Self {
        Self { lanes }
    }
}

impl<M: Modulus> Signed<M> {
    /// 0, on any processor.
    pub(super) fn zero() -> Self {
        // SAFETY: a register's zero bits are a value of its type.
        let zero: __m512i = unsafe { core::mem::zeroed() };
        Self {
            lanes: Lanes::from_limbs([[zero; 2]; 5]),
        }
    }

    /// (a, b) ← (a + b·root, a − b·root), for b within −K·p .. (84 − K)·p: both change by less than 2·p.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline(never)]
    pub(super) fn cross<const K: u64>(a: &mut Self, b: &mut Self, root: &[u64; 5]) {
        let t = product!(M, b.factor::<K>(), |i| [_mm512_set1_epi64(root[i] as i64);
            2]);
        for j in 0..5 {
            for h in 0..2 {
                let limb = a.lanes.limbs[j][h];
                a.lanes.limbs[j][h] = _mm512_add_epi64(limb, t[j][h]);
                b.lanes.limbs[j][h] = _mm512_sub_epi64(limb, t[j][h]);
            }
        }
    }

    /// (a, b) ← (a + b, a − b).
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn cross_by_one(a: &mut Self, b: &mut Self) {
        for j in 0..5 {
            for h in 0..2 {
                let limbs = (a.lanes.limbs[j][h], b.lanes.limbs[j][h]);
                a.lanes.limbs[j][h] = _mm512_add_epi64(limbs.0, limbs.1);
                b.lanes.limbs[j][h] = _mm512_sub_epi64(limbs.0, limbs.1);
            }
        }
    }

    /// a·factor, for a within −K·p .. (80 − K)·p and a factor below 1.05·p: below (1 + 80·1.05/84)·p = 2·p, with clean limbs.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline(never)]
    pub(super) fn times<const K: u64>(&self, factor: &Lanes<M>) -> Lanes<M> {
        Lanes::carried(product!(M, self.factor::<K>(), |i| factor.limbs[i]))
    }

    /// The same with one factor for all lanes.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline(never)]
    pub(super) fn times_root<const K: u64>(&self, root: &[u64; 5]) -> Lanes<M> {
        Lanes::carried(product!(M, self.factor::<K>(), |i| {
            [_mm512_set1_epi64(root[i] as i64); 2]
        }))
    }

    /// a + K·p for a factor of a product, which reads the low 52 bits of each limb; for a within −K·p .. (84 − K)·p.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn factor<const K: u64>(&self) -> [[__m512i; 2]; 5] {
        let offset = const { times(M::P, K) };
        let mut t = self.lanes.limbs;
        for j in 0..5 {
            for h in 0..2 {
                t[j][h] = _mm512_add_epi64(t[j][h], _mm512_set1_epi64(offset[j] as i64));
                if j > 0 {
                    t[j][h] = _mm512_add_epi64(t[j][h], _mm512_srai_epi64::<52>(t[j - 1][h]));
                }
            }
        }
        t
    }

    /// a + K·p with clean limbs, for a within −K·p .. (84 − K)·p.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn lifted<const K: u64>(&self) -> Lanes<M> {
        let offset = const { times(M::P, K) };
        let mut t = self.lanes.limbs;
        for j in 0..5 {
            for h in 0..2 {
                t[j][h] = _mm512_add_epi64(t[j][h], _mm512_set1_epi64(offset[j] as i64));
            }
        }
        Lanes::carried(t)
    }

    /// The same class below 2·p, for a within −K·p .. (84 − K)·p.
    ///
    /// With v = a + K·p, the top limb's product with 84 ≤ 2²⁶⁰/p gives q ≤ v/p, short of it by less than
    /// 1 + v/p·(1 − 84·p/2²⁶⁰) + 2⁻³⁸ < 1.7. Then v − q·p is v + q·(2²⁶⁰ − p) modulo 2²⁶⁰.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn reduced<const K: u64>(&self) -> Lanes<M> {
        let mut t = self.lifted::<K>().limbs;
        let complement = broadcast(const { complement(M::P) });
        let zero = _mm512_setzero_si512();
        let reciprocal = _mm512_set1_epi64(84);
        for h in 0..2 {
            let q = _mm512_madd52hi_epu64(zero, t[4][h], reciprocal);
            for j in 0..5 {
                t[j][h] = _mm512_madd52lo_epu64(t[j][h], q, complement[j]);
            }
            for j in 0..4 {
                t[j + 1][h] = _mm512_madd52hi_epu64(t[j + 1][h], q, complement[j]);
            }
        }
        let mut lanes = Lanes::carried(t);
        for top in &mut lanes.limbs[4] {
            *top = _mm512_and_si512(*top, _mm512_set1_epi64(MASK as i64));
        }
        lanes
    }

    /// The value below p, for a within −K·p .. (84 − K)·p.
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    #[inline]
    pub(super) fn canonical<const K: u64>(&self) -> Lanes<M> {
        self.reduced::<K>().less::<1>()
    }
}

/// 2²⁶⁰ − p in limbs.
const fn complement(p: [u64; 5]) -> [u64; 5] {
    let mut limbs = [0; 5];
    let mut carry = 1;
    let mut j = 0;
    while j < 5 {
        let limb = (MASK ^ p[j]) + carry;
        limbs[j] = limb & MASK;
        carry = limb >> LIMB_BITS;
        j += 1;
    }
    limbs
}
