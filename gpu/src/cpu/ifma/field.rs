//! # Field: sixteen elements of a 254-bit prime field side by side
//!
//! An element is five limbs of 52 bits, a vector of sixteen is ten registers: limb j of lanes 8h .. 8h + 8 is `limbs[j][h]`.
//! Two registers a limb, because one product is a chain of dependent instructions and two chains fill the multipliers.
//! Montgomery form with R = 2²⁶⁰.
//!
//! **Bounds.** Every value is at least 0 and has limbs below 2⁵²; p < 2²⁶⁰/84, so a product of a < A·p and b < B·p is
//! below (1 + A·B/84)·p and products never need a subtraction. Sums and differences grow by what they add; each function says its bound.

use core::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_cmpgt_epi64_mask, _mm512_madd52hi_epu64,
    _mm512_madd52lo_epu64, _mm512_mask_blend_epi64, _mm512_movepi64_mask, _mm512_or_si512,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_srai_epi64, _mm512_srli_epi64,
    _mm512_sub_epi64, _mm512_testn_epi64_mask, _mm512_xor_si512,
};
use core::marker::PhantomData;

use ark_ff::MontConfig;

/// Elements of a vector.
pub(crate) const LANES: usize = 16;
/// Bits of a limb.
pub(super) const LIMB_BITS: u32 = 52;
pub(super) const MASK: u64 = (1 << LIMB_BITS) - 1;

/// The prime field of the lanes.
pub(crate) trait Modulus: 'static {
    /// The modulus p in limbs of 52 bits.
    const P: [u64; 5];
    /// −1/p modulo 2⁵².
    const MINUS_P_INVERSE: u64;
}

/// Montgomery parameters of arkworks as those of the lanes.
#[derive(Debug)]
pub(crate) struct Mont<T>(PhantomData<T>);

impl<T: MontConfig<4>> Modulus for Mont<T> {
    const P: [u64; 5] = split(T::MODULUS.0, 1);
    const MINUS_P_INVERSE: u64 = minus_inverse(T::MODULUS.0[0]);
}

/// The scalar field as a modulus.
pub(crate) type FrModulus = Mont<ark_bn254::FrConfig>;
/// The base field of both groups.
pub(crate) type Fq16 = Lanes<Mont<ark_bn254::FqConfig>>;
/// The scalar field.
pub(crate) type Fr16 = Lanes<FrModulus>;

/// k·x in limbs of 52 bits, for k·x < 2²⁶⁰.
pub(crate) const fn split(x: [u64; 4], k: u64) -> [u64; 5] {
    let mut limbs = [0; 5];
    let mut carry = 0u128;
    let mut j = 0;
    while j < 5 {
        let bit = 52 * j as u32;
        let (word, shift) = ((bit / 64) as usize, bit % 64);
        let mut limb = x[word] >> shift;
        if shift + 52 > 64 && word + 1 < 4 {
            limb |= x[word + 1] << (64 - shift);
        }
        carry += (limb & MASK) as u128 * k as u128;
        limbs[j] = carry as u64 & MASK;
        carry >>= 52;
        j += 1;
    }
    limbs
}

/// −1/p modulo 2⁵² by Newton's iteration.
const fn minus_inverse(p: u64) -> u64 {
    let mut inverse = 1u64;
    let mut i = 0;
    while i < 6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(p.wrapping_mul(inverse)));
        i += 1;
    }
    inverse.wrapping_neg() & MASK
}

/// Sixteen field elements.
pub(crate) struct Lanes<M> {
    pub(super) limbs: [[__m512i; 2]; 5],
    field: PhantomData<M>,
}

impl<M> Clone for Lanes<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Lanes<M> {}

/// A product before its reduction: ten limbs with carries, possibly negative.
#[derive(Clone, Copy)]
pub(super) struct Wide {
    limbs: [[__m512i; 2]; 10],
}

/// One value in every lane of a register, for each limb.
///
/// Here and in all code of these lanes there are loops where closures would be shorter: a closure takes the instruction set of
/// the function it stands in, so that iterators, which do not have it, call it instead of inlining it.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn broadcast(limbs: [u64; 5]) -> [__m512i; 5] {
    let mut registers = [_mm512_setzero_si512(); 5];
    for j in 0..5 {
        registers[j] = _mm512_set1_epi64(limbs[j] as i64);
    }
    registers
}

/// a·b in limbs with carries, each below 2⁵⁷: within 0 .. (1 + A·B/84)·p. The second factor's limb i is an expression. A macro,
/// since a function of this length is called and not inlined, which takes its operands through memory.
macro_rules! product {
    ($modulus:ty, $a:expr, |$i:ident| $b:expr) => {{
        let a: [[__m512i; 2]; 5] = $a;
        let zero = _mm512_setzero_si512();
        let p = broadcast(<$modulus>::P);
        let minus_inverse = _mm512_set1_epi64(<$modulus>::MINUS_P_INVERSE as i64);
        let mut t = [[zero; 2]; 5];
        for $i in 0..5 {
            let b: [__m512i; 2] = $b;
            let mut m = [zero; 2];
            for h in 0..2 {
                t[0][h] = _mm512_madd52lo_epu64(t[0][h], a[0][h], b[h]);
            }
            for h in 0..2 {
                m[h] = _mm512_madd52lo_epu64(zero, t[0][h], minus_inverse);
            }
            for j in 1..5 {
                for h in 0..2 {
                    t[j][h] = _mm512_madd52lo_epu64(t[j][h], a[j][h], b[h]);
                }
            }
            for h in 0..2 {
                t[0][h] = _mm512_madd52lo_epu64(t[0][h], m[h], p[0]);
            }
            for j in 1..5 {
                for h in 0..2 {
                    t[j][h] = _mm512_madd52lo_epu64(t[j][h], m[h], p[j]);
                }
            }
            for h in 0..2 {
                let carry = _mm512_srli_epi64::<52>(t[0][h]);
                t[0][h] = _mm512_add_epi64(t[1][h], carry);
                t[1][h] = t[2][h];
                t[2][h] = t[3][h];
                t[3][h] = t[4][h];
                t[4][h] = zero;
            }
            for j in 0..5 {
                for h in 0..2 {
                    t[j][h] = _mm512_madd52hi_epu64(t[j][h], a[j][h], b[h]);
                }
            }
            for j in 0..5 {
                for h in 0..2 {
                    t[j][h] = _mm512_madd52hi_epu64(t[j][h], m[h], p[j]);
                }
            }
        }
        t
    }};
}
pub(super) use product;

impl<M: Modulus> Lanes<M> {
    #[inline]
    pub(super) const fn from_limbs(limbs: [[__m512i; 2]; 5]) -> Self {
        Self {
            limbs,
            field: PhantomData,
        }
    }

    /// One value in every lane, given by its limbs.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn splat(limbs: [u64; 5]) -> Self {
        let limbs = broadcast(limbs);
        let mut t = [[limbs[0]; 2]; 5];
        for j in 1..5 {
            t[j] = [limbs[j]; 2];
        }
        Self::from_limbs(t)
    }

    /// 0 in every lane.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn zero() -> Self {
        Self::from_limbs([[_mm512_setzero_si512(); 2]; 5])
    }

    /// k·p in every lane.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn multiple<const K: u64>() -> [__m512i; 5] {
        broadcast(const { times(M::P, K) })
    }

    /// a·b: below (1 + A·B/84)·p.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(crate) fn mul(&self, other: &Self) -> Self {
        Self::carried(product!(M, self.limbs, |i| other.limbs[i]))
    }

    /// a²: below (1 + A²/84)·p.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(crate) fn square(&self) -> Self {
        // One half at a time: twenty accumulators and their operands do not fit the registers.
        let zero = _mm512_setzero_si512();
        let mut out = [[zero; 2]; 5];
        for h in 0..2 {
            let mut a = [zero; 5];
            for j in 0..5 {
                a[j] = self.limbs[j][h];
            }
            let mut t = [zero; 10];
            for i in 0..5 {
                for j in i + 1..5 {
                    t[i + j] = _mm512_madd52lo_epu64(t[i + j], a[i], a[j]);
                    t[i + j + 1] = _mm512_madd52hi_epu64(t[i + j + 1], a[i], a[j]);
                }
            }
            for k in 1..9 {
                t[k] = _mm512_add_epi64(t[k], t[k]);
            }
            for i in 0..5 {
                t[2 * i] = _mm512_madd52lo_epu64(t[2 * i], a[i], a[i]);
                t[2 * i + 1] = _mm512_madd52hi_epu64(t[2 * i + 1], a[i], a[i]);
            }
            Self::reduce_half(t, h, &mut out);
        }
        Self::carried(out)
    }

    /// a·b before its reduction.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn mul_wide(&self, other: &Self) -> Wide {
        let mut t = [[_mm512_setzero_si512(); 2]; 10];
        for i in 0..5 {
            for j in 0..5 {
                for h in 0..2 {
                    let (a, b) = (self.limbs[j][h], other.limbs[i][h]);
                    t[i + j][h] = _mm512_madd52lo_epu64(t[i + j][h], a, b);
                    t[i + j + 1][h] = _mm512_madd52hi_epu64(t[i + j + 1][h], a, b);
                }
            }
        }
        Wide { limbs: t }
    }

    /// t/R: for t ≥ 0 below (1 + t/(R·p))·p. A negative t needs a multiple of p added at its upper limbs
    /// ([`Wide::plus_p`]).
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn reduce(wide: Wide) -> Self {
        let mut out = [[_mm512_setzero_si512(); 2]; 5];
        for h in 0..2 {
            let mut t = [_mm512_setzero_si512(); 10];
            for k in 0..10 {
                t[k] = wide.limbs[k][h];
            }
            Self::reduce_half(t, h, &mut out);
        }
        Self::carried(out)
    }

    /// Half h of `out`: the upper five limbs after adding the multiple of p that clears the lower five, with carries.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn reduce_half(mut t: [__m512i; 10], h: usize, out: &mut [[__m512i; 2]; 5]) {
        let p = broadcast(M::P);
        let minus_inverse = _mm512_set1_epi64(M::MINUS_P_INVERSE as i64);
        for i in 0..5 {
            let m = _mm512_madd52lo_epu64(_mm512_setzero_si512(), t[i], minus_inverse);
            for j in 0..5 {
                t[i + j] = _mm512_madd52lo_epu64(t[i + j], m, p[j]);
            }
            t[i + 1] = _mm512_add_epi64(t[i + 1], _mm512_srai_epi64::<52>(t[i]));
            for j in 0..5 {
                t[i + j + 1] = _mm512_madd52hi_epu64(t[i + j + 1], m, p[j]);
            }
        }
        for j in 0..5 {
            out[j][h] = t[j + 5];
        }
    }

    /// Limbs of 52 bits from limbs with (signed) carries; the value must not be negative.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn carried(mut t: [[__m512i; 2]; 5]) -> Self {
        let mask = _mm512_set1_epi64(MASK as i64);
        for j in 0..4 {
            for h in 0..2 {
                let carry = _mm512_srai_epi64::<52>(t[j][h]);
                t[j + 1][h] = _mm512_add_epi64(t[j + 1][h], carry);
                t[j][h] = _mm512_and_si512(t[j][h], mask);
            }
        }
        Self::from_limbs(t)
    }

    /// a + b: below (A + B)·p.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn add(&self, other: &Self) -> Self {
        let mut t = self.limbs;
        for j in 0..5 {
            for h in 0..2 {
                t[j][h] = _mm512_add_epi64(t[j][h], other.limbs[j][h]);
            }
        }
        Self::carried(t)
    }

    /// a − b + K·p for b ≤ K·p: below (A + K)·p.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn sub<const K: u64>(&self, other: &Self) -> Self {
        let offset = Self::multiple::<K>();
        let mut t = self.limbs;
        for j in 0..5 {
            for h in 0..2 {
                t[j][h] = _mm512_sub_epi64(_mm512_add_epi64(t[j][h], offset[j]), other.limbs[j][h]);
            }
        }
        Self::carried(t)
    }

    /// a − b − c + K·p for b + c ≤ K·p: below (A + K)·p.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn sub2<const K: u64>(&self, b: &Self, c: &Self) -> Self {
        let offset = Self::multiple::<K>();
        let mut t = self.limbs;
        for j in 0..5 {
            for h in 0..2 {
                let both = _mm512_add_epi64(b.limbs[j][h], c.limbs[j][h]);
                t[j][h] = _mm512_sub_epi64(_mm512_add_epi64(t[j][h], offset[j]), both);
            }
        }
        Self::carried(t)
    }

    /// a − K·p where a ≥ K·p, a elsewhere.
    #[target_feature(enable = "avx512f,avx512dq")]
    #[inline]
    pub(crate) fn less<const K: u64>(&self) -> Self {
        let multiple = Self::multiple::<K>();
        let mask = _mm512_set1_epi64(MASK as i64);
        let mut t = self.limbs;
        for h in 0..2 {
            for j in 0..5 {
                t[j][h] = _mm512_sub_epi64(t[j][h], multiple[j]);
            }
            for j in 0..4 {
                let borrow = _mm512_srai_epi64::<52>(t[j][h]);
                t[j + 1][h] = _mm512_add_epi64(t[j + 1][h], borrow);
                t[j][h] = _mm512_and_si512(t[j][h], mask);
            }
            let negative = _mm512_movepi64_mask(t[4][h]);
            for j in 0..5 {
                t[j][h] = _mm512_mask_blend_epi64(negative, t[j][h], self.limbs[j][h]);
            }
        }
        Self::from_limbs(t)
    }

    /// A value of the same class below 2·p, for a < 64·p: a − q·p with q = ⌊a/p⌋ or one less, from the top limb alone.
    ///
    /// The top limb has at most 52 bits, so l₄·⌊2³⁰⁰/p⌋ loses less than 2⁻⁴⁰ of a/p and q is never too large.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(crate) fn shrink(&self) -> Self {
        let zero = _mm512_setzero_si512();
        let reciprocal = _mm512_set1_epi64(const { reciprocal(M::P) } as i64);
        let p = broadcast(M::P);
        let mut t = self.limbs;
        for h in 0..2 {
            let q = _mm512_srli_epi64::<40>(_mm512_madd52hi_epu64(zero, t[4][h], reciprocal));
            let mut high = zero;
            for j in 0..5 {
                let low = _mm512_madd52lo_epu64(high, q, p[j]);
                high = _mm512_madd52hi_epu64(zero, q, p[j]);
                t[j][h] = _mm512_sub_epi64(t[j][h], low);
            }
        }
        Self::carried(t)
    }

    /// The one value below p, for a < 64·p.
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    #[inline]
    pub(crate) fn canonical(&self) -> Self {
        self.shrink().less::<1>()
    }

    /// The lanes where two canonical values are equal.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn equals(&self, other: &Self) -> u16 {
        let mut masks = [0u8; 2];
        for h in 0..2 {
            let mut difference = _mm512_setzero_si512();
            for j in 0..5 {
                let d = _mm512_xor_si512(self.limbs[j][h], other.limbs[j][h]);
                difference = _mm512_or_si512(difference, d);
            }
            masks[h] = _mm512_testn_epi64_mask(difference, difference);
        }
        u16::from_le_bytes(masks)
    }

    /// The lanes whose top limb is above `limb`.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn top_above(&self, limb: u64) -> u16 {
        let limb = _mm512_set1_epi64(limb as i64);
        let [low, high] = self.limbs[4];
        u16::from_le_bytes([
            _mm512_cmpgt_epi64_mask(low, limb),
            _mm512_cmpgt_epi64_mask(high, limb),
        ])
    }

    /// `other` in the lanes of `mask`, `self` elsewhere.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn select(&self, mask: u16, other: &Self) -> Self {
        let masks = mask.to_le_bytes();
        let mut t = self.limbs;
        for j in 0..5 {
            for h in 0..2 {
                t[j][h] = _mm512_mask_blend_epi64(masks[h], t[j][h], other.limbs[j][h]);
            }
        }
        Self::from_limbs(t)
    }
}

impl Wide {
    /// a − b.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn sub(mut self, other: &Self) -> Self {
        for k in 0..10 {
            for h in 0..2 {
                self.limbs[k][h] = _mm512_sub_epi64(self.limbs[k][h], other.limbs[k][h]);
            }
        }
        self
    }

    /// t + R·p, which reduces to t/R + p.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn plus_p<M: Modulus>(mut self) -> Self {
        let p = broadcast(M::P);
        for j in 0..5 {
            for h in 0..2 {
                self.limbs[j + 5][h] = _mm512_add_epi64(self.limbs[j + 5][h], p[j]);
            }
        }
        self
    }
}

/// k·p in limbs of 52 bits.
pub(super) const fn times(p: [u64; 5], k: u64) -> [u64; 5] {
    let mut limbs = [0; 5];
    let mut carry = 0u128;
    let mut j = 0;
    while j < 5 {
        carry += p[j] as u128 * k as u128;
        limbs[j] = carry as u64 & MASK;
        carry >>= 52;
        j += 1;
    }
    limbs
}

/// ⌊2³⁰⁰/p⌋, by long division; below 2⁵² since p > 2²⁵³.
const fn reciprocal(p: [u64; 5]) -> u64 {
    // The remainder starts as 2²⁵³ < p and doubles; each doubling gives a bit of the quotient.
    let mut remainder = [0, 0, 0, 0, 1u64 << (253 - 208)];
    let mut quotient = 0u64;
    let mut bit = 0;
    while bit < 300 - 253 {
        remainder = times(remainder, 2);
        quotient <<= 1;
        if at_least(remainder, p) {
            remainder = minus(remainder, p);
            quotient |= 1;
        }
        bit += 1;
    }
    quotient
}

/// 2²⁶⁰ modulo p: the Montgomery form of 1.
pub(super) const fn one(p: [u64; 5]) -> [u64; 5] {
    // 2²⁵³ < p doubles seven times.
    let mut x = [0, 0, 0, 0, 1u64 << (253 - 208)];
    let mut bit = 253;
    while bit < 260 {
        x = times(x, 2);
        if at_least(x, p) {
            x = minus(x, p);
        }
        bit += 1;
    }
    x
}

const fn at_least(a: [u64; 5], b: [u64; 5]) -> bool {
    let mut j = 5;
    while j > 0 {
        j -= 1;
        if a[j] != b[j] {
            return a[j] > b[j];
        }
    }
    true
}

const fn minus(a: [u64; 5], b: [u64; 5]) -> [u64; 5] {
    let mut limbs = [0; 5];
    let mut borrow = 0;
    let mut j = 0;
    while j < 5 {
        let difference = (a[j] | 1 << 52) - b[j] - borrow;
        limbs[j] = difference & MASK;
        borrow = 1 - (difference >> 52);
        j += 1;
    }
    limbs
}
