//! # Canonical encodings of BN254 scalars and points
//! A field element is 32 bytes big-endian and less than its modulus. A G1 point is x ‖ y; a G2 point is
//! x.c1 ‖ x.c0 ‖ y.c1 ‖ y.c0 (EIP-197 order). Infinity has no encoding here: no key and no proof of ours contains it.
//! Every point has exactly one accepted encoding. Source: EIP-196, EIP-197.

use alloc::vec::Vec;

use ark_bn254::{Fq, Fq2, Fr, G1Affine, G2Affine};
use ark_ec::AffineRepr;
use ark_ff::{BigInt, BigInteger, PrimeField};

/// Encoded length of a G1 point.
pub const G1_BYTES: usize = 64;
/// Encoded length of a G2 point.
pub const G2_BYTES: usize = 128;

/// Why bytes, or a value, are not an acceptable curve point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PointError {
    /// A coordinate is not less than the base-field modulus.
    #[error("a coordinate is not less than the field modulus")]
    Coordinate,
    /// The point at infinity.
    #[error("the point at infinity is not allowed")]
    Infinity,
    /// The coordinates do not satisfy the curve equation.
    #[error("not on the curve")]
    OffCurve,
    /// On the curve, outside the subgroup of order r.
    #[error("not in the prime-order subgroup")]
    OffSubgroup,
}

fn big_integer(bytes: &[u8; 32]) -> BigInt<4> {
    let mut limbs = [0_u64; 4];
    for (limb, chunk) in limbs.iter_mut().zip(bytes.rchunks(8)) {
        *limb = chunk
            .iter()
            .fold(0, |value, byte| (value << 8) | u64::from(*byte));
    }
    BigInt(limbs)
}

fn big_endian(value: BigInt<4>) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (chunk, limb) in bytes.rchunks_mut(8).zip(value.0) {
        chunk.copy_from_slice(&limb.to_be_bytes());
    }
    bytes
}

/// A scalar from 32 big-endian bytes; `None` unless it is less than r.
#[must_use]
pub fn scalar_from_bytes(bytes: &[u8; 32]) -> Option<Fr> {
    Fr::from_bigint(big_integer(bytes))
}

/// The 32 big-endian bytes of a scalar.
#[must_use]
pub fn scalar_to_bytes(scalar: Fr) -> [u8; 32] {
    big_endian(scalar.into_bigint())
}

/// A 256-bit big-endian integer reduced modulo r.
#[must_use]
pub fn scalar_mod_order(bytes: &[u8; 32]) -> Fr {
    let mut value = big_integer(bytes);
    // 2^256 < 6·r: at most five subtractions.
    while value >= Fr::MODULUS {
        value.sub_with_borrow(&Fr::MODULUS);
    }
    Fr::from_bigint(value).unwrap_or_default()
}

/// The 32 big-endian bytes of a base-field element.
#[must_use]
pub fn coordinate_to_bytes(coordinate: Fq) -> [u8; 32] {
    big_endian(coordinate.into_bigint())
}

fn coordinates<const N: usize>(bytes: &[u8]) -> Result<[Fq; N], PointError> {
    let mut out = [Fq::default(); N];
    let (words, _) = bytes.as_chunks::<32>();
    for (coordinate, word) in out.iter_mut().zip(words) {
        *coordinate = Fq::from_bigint(big_integer(word)).ok_or(PointError::Coordinate)?;
    }
    Ok(out)
}

/// Checks that a G1 point is finite and on the curve (the cofactor is 1).
///
/// # Errors
/// [`PointError::Infinity`] or [`PointError::OffCurve`].
pub fn check_g1(point: &G1Affine) -> Result<(), PointError> {
    if point.is_zero() {
        return Err(PointError::Infinity);
    }
    if point.is_on_curve() {
        Ok(())
    } else {
        Err(PointError::OffCurve)
    }
}

/// Checks that a G2 point is finite, on the curve and in the subgroup.
///
/// # Errors
/// Every variant of [`PointError`] but [`PointError::Coordinate`].
pub fn check_g2(point: &G2Affine) -> Result<(), PointError> {
    if point.is_zero() {
        return Err(PointError::Infinity);
    }
    if !point.is_on_curve() {
        return Err(PointError::OffCurve);
    }
    if point.is_in_correct_subgroup_assuming_on_curve() {
        Ok(())
    } else {
        Err(PointError::OffSubgroup)
    }
}

/// A G1 point from its encoding.
///
/// # Errors
/// [`PointError`] unless the bytes are the one encoding of a finite point.
pub fn g1_from_bytes(bytes: &[u8; G1_BYTES]) -> Result<G1Affine, PointError> {
    let point = g1_from_bytes_unchecked(bytes)?;
    check_g1(&point)?;
    Ok(point)
}

/// A G1 point from bytes that [`g1_from_bytes`] has accepted before: only its coordinates are checked.
pub(crate) fn g1_from_bytes_unchecked(bytes: &[u8; G1_BYTES]) -> Result<G1Affine, PointError> {
    let [x, y] = coordinates::<2>(bytes)?;
    Ok(G1Affine::new_unchecked(x, y))
}

/// A G2 point from its encoding.
///
/// # Errors
/// [`PointError`] unless the bytes are the one encoding of a finite point of the subgroup.
pub fn g2_from_bytes(bytes: &[u8; G2_BYTES]) -> Result<G2Affine, PointError> {
    let point = g2_from_bytes_unchecked(bytes)?;
    check_g2(&point)?;
    Ok(point)
}

/// A G2 point from bytes that [`g2_from_bytes`] has accepted before: only its coordinates are checked.
pub(crate) fn g2_from_bytes_unchecked(bytes: &[u8; G2_BYTES]) -> Result<G2Affine, PointError> {
    let [x1, x0, y1, y0] = coordinates::<4>(bytes)?;
    Ok(G2Affine::new_unchecked(Fq2::new(x0, x1), Fq2::new(y0, y1)))
}

/// Appends the encoding of a G1 point; infinity is written as zeros, which every decoder refuses.
pub fn write_g1(out: &mut Vec<u8>, point: &G1Affine) {
    let (x, y) = point.xy().unwrap_or_default();
    out.extend_from_slice(&coordinate_to_bytes(x));
    out.extend_from_slice(&coordinate_to_bytes(y));
}

/// Appends the encoding of a G2 point; infinity is written as zeros, which every decoder refuses.
pub fn write_g2(out: &mut Vec<u8>, point: &G2Affine) {
    let (x, y) = point.xy().unwrap_or_default();
    for coordinate in [x.c1, x.c0, y.c1, y.c0] {
        out.extend_from_slice(&coordinate_to_bytes(coordinate));
    }
}
