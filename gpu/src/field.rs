//! # Scalars: how large they are as signed integers
//!
//! Most values of a witness are small integers, negative ones included, and a small scalar costs one or two bucket
//! additions instead of twenty. A scalar s is read as the integer of least absolute value that is s modulo r.

use ark_bn254::Fr;
use ark_ff::{BigInt, BigInteger, PrimeField};
use rayon::prelude::*;

/// What a caller promises about every scalar of a multiplication. A scalar outside its class is an error, never a
/// wrong sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScalarClass {
    /// Every scalar is 0 or 1.
    Unit01,
    /// Every scalar is an integer x with |x| < 2^bits.
    Small {
        /// Bits of the absolute value.
        bits: u32,
    },
    /// Nothing is promised; the device looks at each scalar.
    Full,
}

impl ScalarClass {
    /// The narrowest class that holds all of `scalars`.
    #[must_use]
    pub fn covering(scalars: &[Fr]) -> Self {
        let widest = scalars
            .par_iter()
            .map(|scalar| SignedScalar::from(*scalar))
            .map(|scalar| scalar.bits + u32::from(scalar.bits == 1 && scalar.negative))
            .max()
            .unwrap_or(0);
        match widest {
            0 | 1 => Self::Unit01,
            bits if bits <= 64 => Self::Small { bits },
            _ => Self::Full,
        }
    }

    /// Whether `scalar` belongs to the class.
    #[must_use]
    pub fn holds(self, scalar: &SignedScalar) -> bool {
        match self {
            Self::Unit01 => scalar.bits <= 1 && !scalar.negative,
            Self::Small { bits } => scalar.bits <= bits,
            Self::Full => true,
        }
    }
}

/// A scalar as sign and magnitude, the magnitude at most (r − 1)/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedScalar {
    /// The absolute value.
    pub magnitude: BigInt<4>,
    /// Whether the integer is below zero.
    pub negative: bool,
    /// Bits of the magnitude; 0 for zero.
    pub bits: u32,
}

impl From<Fr> for SignedScalar {
    fn from(scalar: Fr) -> Self {
        Self::of_integer(scalar.into_bigint())
    }
}

impl SignedScalar {
    /// Of the scalar that is `integer`, which is below r.
    #[inline]
    pub(crate) fn of_integer(integer: BigInt<4>) -> Self {
        let mut magnitude = integer;
        // Most are small: neither they nor the others that have no top word need the comparison.
        let negative = integer.0[3] != 0 && integer > Fr::MODULUS_MINUS_ONE_DIV_TWO;
        if negative {
            magnitude = Fr::MODULUS;
            magnitude.sub_with_borrow(&integer);
        }
        Self {
            magnitude,
            negative,
            bits: magnitude.num_bits(),
        }
    }
}

/// Writes the signed base-2^c digits of a scalar, least significant first: Σ digit_w·2^(c·w) is the scalar, each digit in
/// −2^(c−1)+1 ..= 2^(c−1). `digits` must be zero on entry and hold ⌈(bits + 1)/c⌉ of them; c ≤ 15.
pub(crate) fn signed_digits(scalar: &SignedScalar, c: u32, digits: &mut [i16]) {
    let limbs = scalar.magnitude.0;
    let (mask, half) = ((1u64 << c) - 1, 1u64 << (c - 1));
    let mut carry = 0u64;
    let mut position = 0u32;
    for digit in digits {
        if position >= scalar.bits && carry == 0 {
            break;
        }
        let (limb, shift) = ((position / 64) as usize, position % 64);
        let mut raw = limbs.get(limb).map_or(0, |word| word >> shift);
        if shift + c > 64 {
            raw |= limbs.get(limb + 1).map_or(0, |word| word << (64 - shift));
        }
        let value = (raw & mask) + carry;
        carry = u64::from(value > half);
        let value = value as i32 - ((carry as i32) << c);
        *digit = if scalar.negative { -value } else { value } as i16;
        position += c;
    }
}

#[cfg(test)]
mod tests {
    use ark_ff::Field;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn signed_digits_recompose_to_the_scalar(bytes: [u8; 32], shift in 0u32..254, negate: bool, c in 2u32..=15) {
            let mut limbs = Fr::from_le_bytes_mod_order(&bytes).into_bigint();
            limbs >>= shift;
            let mut scalar = Fr::from_bigint(limbs).expect("a shift of a canonical integer is canonical");
            if negate { scalar = -scalar; }
            let signed = SignedScalar::from(scalar);
            let mut digits = vec![0i16; (signed.bits + 1).div_ceil(c) as usize];
            signed_digits(&signed, c, &mut digits);
            let radix = Fr::from(1u64 << c);
            let sum = digits.iter().rev().fold(Fr::from(0u64), |sum, &digit| {
                prop_assert_in_range(digit, c);
                sum * radix + Fr::from(i64::from(digit))
            });
            prop_assert_eq!(sum, scalar);
        }
    }

    fn prop_assert_in_range(digit: i16, c: u32) {
        assert!(i32::from(digit).unsigned_abs() <= 1 << (c - 1));
    }

    #[test]
    fn covering_finds_the_narrowest_class() {
        let class = |values: &[i64]| {
            ScalarClass::covering(&values.iter().map(|&v| Fr::from(v)).collect::<Vec<_>>())
        };
        assert_eq!(class(&[]), ScalarClass::Unit01);
        assert_eq!(class(&[0, 1, 1]), ScalarClass::Unit01);
        assert_eq!(class(&[0, -1]), ScalarClass::Small { bits: 2 });
        assert_eq!(class(&[-128, 127]), ScalarClass::Small { bits: 8 });
        assert_eq!(class(&[i64::MAX]), ScalarClass::Small { bits: 63 });
        assert_eq!(
            ScalarClass::covering(&[Fr::from(3u64).inverse().expect("3 is not 0")]),
            ScalarClass::Full
        );
        for value in [-1i64, 0, 1, -77] {
            let scalar = Fr::from(value);
            assert!(ScalarClass::covering(&[scalar]).holds(&scalar.into()));
        }
    }
}
