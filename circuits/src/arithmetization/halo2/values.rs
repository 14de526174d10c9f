//! Integers as field elements, and back.

use super::Fr;
use halo2curves::ff::{Field, PrimeField};
use zkinfer_verifier::curve::{scalar_from_bytes, scalar_to_bytes};

/// 1/c, and 0 for 0.
pub(crate) fn reciprocal(c: i64) -> Fr {
    Option::from(fr(c).invert()).unwrap_or(Fr::ZERO)
}

/// The field element of an integer.
pub(crate) fn fr(x: i64) -> Fr {
    let magnitude = Fr::from(x.unsigned_abs());
    if x < 0 { -magnitude } else { magnitude }
}

/// 2^e.
pub(super) fn pow2(e: u32) -> Fr {
    Fr::from(2).pow_vartime([u64::from(e)])
}

/// The integer of least absolute value that `x` stands for, when it fits 62 bits.
pub(super) fn to_i64(x: Fr) -> Option<i64> {
    let magnitude = |x: Fr| {
        let bytes = x.to_repr();
        let (low, high) = bytes.as_ref().split_at(8);
        let low = u64::from_le_bytes(low.try_into().ok()?);
        (high.iter().all(|b| *b == 0) && low < 1 << 62).then_some(low as i64)
    };
    magnitude(x).or_else(|| magnitude(-x).map(|x| -x))
}

/// A word of the statement as the library's field element.
pub(super) fn word(x: zkinfer_verifier::Fr) -> Fr {
    let mut bytes = scalar_to_bytes(x);
    bytes.reverse();
    Option::from(Fr::from_repr(bytes)).expect("the same field, canonically encoded")
}

/// The inverse of [`word`].
pub(super) fn scalar(x: Fr) -> zkinfer_verifier::Fr {
    let mut bytes: [u8; 32] = x.to_repr();
    bytes.reverse();
    scalar_from_bytes(&bytes).expect("the same field, canonically encoded")
}
