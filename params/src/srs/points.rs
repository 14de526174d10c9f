//! # Raw points: affine coordinates as little-endian Montgomery limbs
//!
//! 64 bytes a G1 point, 128 bytes a G2 point (each coordinate c0 ‖ c1), all-zero for infinity. `.ptau` files, proving keys and
//! the library's raw format agree on it. A reference string has no point at infinity: one is refused.

use std::fmt;

use ark_bn254::{Fq, Fq2, G1Affine, G2Affine};
use ark_ec::AffineRepr;
use ark_ff::{BigInt, PrimeField};
use rayon::prelude::*;

/// Bytes of a raw G1 point.
pub const G1_BYTES: usize = 64;
/// Bytes of a raw G2 point.
pub const G2_BYTES: usize = 128;

/// What is wrong with a raw point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PointFault {
    /// A coordinate is not below the field's modulus.
    NotCanonical,
    /// The coordinates do not satisfy the curve's equation.
    OffCurve,
    /// The point is not in the subgroup of prime order.
    OtherSubgroup,
    /// The point is infinity: τ is zero or a root of unity, or the file is damaged.
    Infinity,
}

impl fmt::Display for PointFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotCanonical => "has a coordinate that is not below the modulus",
            Self::OffCurve => "is not on the curve",
            Self::OtherSubgroup => "is not in the subgroup of prime order",
            Self::Infinity => "is the point at infinity",
        })
    }
}

/// Decodes a whole number of G1 points; the index of the first bad one otherwise.
pub(crate) fn decode_g1(bytes: &[u8]) -> Result<Vec<G1Affine>, (u64, PointFault)> {
    bytes
        .par_chunks_exact(G1_BYTES)
        .enumerate()
        .map(|(i, raw)| g1(raw).map_err(|fault| (i as u64, fault)))
        .collect()
}

fn g1(raw: &[u8]) -> Result<G1Affine, PointFault> {
    let (x, y) = raw.split_at(G1_BYTES / 2);
    let (x, y) = (fq(x)?, fq(y)?);
    if x == Fq::from(0u64) && y == Fq::from(0u64) {
        return Err(PointFault::Infinity);
    }
    let point = G1Affine::new_unchecked(x, y);
    // The cofactor is 1: every point of the curve is in the group.
    if point.is_on_curve() {
        Ok(point)
    } else {
        Err(PointFault::OffCurve)
    }
}

/// Decodes one G2 point.
pub(crate) fn decode_g2(raw: &[u8; G2_BYTES]) -> Result<G2Affine, PointFault> {
    let (x, y) = raw.split_at(G2_BYTES / 2);
    let (x, y) = (fq2(x)?, fq2(y)?);
    if x == Fq2::from(0u64) && y == Fq2::from(0u64) {
        return Err(PointFault::Infinity);
    }
    let point = G2Affine::new_unchecked(x, y);
    if !point.is_on_curve() {
        Err(PointFault::OffCurve)
    } else if !point.is_in_correct_subgroup_assuming_on_curve() {
        Err(PointFault::OtherSubgroup)
    } else {
        Ok(point)
    }
}

fn fq2(raw: &[u8]) -> Result<Fq2, PointFault> {
    let (c0, c1) = raw.split_at(raw.len() / 2);
    Ok(Fq2::new(fq(c0)?, fq(c1)?))
}

fn fq(raw: &[u8]) -> Result<Fq, PointFault> {
    let mut limbs = [0u64; 4];
    for (limb, bytes) in limbs.iter_mut().zip(raw.chunks_exact(8)) {
        let mut word = [0u8; 8];
        word.copy_from_slice(bytes);
        *limb = u64::from_le_bytes(word);
    }
    let value = BigInt::new(limbs);
    if value < Fq::MODULUS {
        Ok(Fq::new_unchecked(value))
    } else {
        Err(PointFault::NotCanonical)
    }
}

/// Appends the raw form of a G1 point.
pub(crate) fn encode_g1(point: &G1Affine, to: &mut Vec<u8>) {
    match point.xy() {
        Some((x, y)) => [x, y].iter().for_each(|c| put(c, to)),
        None => to.extend_from_slice(&[0; G1_BYTES]),
    }
}

/// The raw form of G1 points.
pub(crate) fn encode_g1_all(points: &[G1Affine]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(points.len() * G1_BYTES);
    points.iter().for_each(|point| encode_g1(point, &mut bytes));
    bytes
}

/// The raw form of a G2 point.
pub(crate) fn encode_g2(point: &G2Affine) -> [u8; G2_BYTES] {
    let mut bytes = Vec::with_capacity(G2_BYTES);
    if let Some((x, y)) = point.xy() {
        [x.c0, x.c1, y.c0, y.c1]
            .iter()
            .for_each(|c| put(c, &mut bytes));
    }
    let mut raw = [0u8; G2_BYTES];
    raw[..bytes.len()].copy_from_slice(&bytes);
    raw
}

/// The Montgomery limbs of a coordinate.
fn put(value: &Fq, to: &mut Vec<u8>) {
    for limb in value.0.0 {
        to.extend_from_slice(&limb.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use ark_ec::{CurveGroup, PrimeGroup};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn points_come_back_and_infinity_does_not() {
        let g = G1Affine::generator();
        let double = (ark_bn254::G1Projective::generator() + g).into_affine();
        let raw = encode_g1_all(&[g, double]);
        assert_eq!(decode_g1(&raw), Ok(vec![g, double]));
        let g2 = G2Affine::generator();
        assert_eq!(decode_g2(&encode_g2(&g2)), Ok(g2));
        let infinity = encode_g1_all(&[g, G1Affine::identity()]);
        assert_eq!(decode_g1(&infinity), Err((1, PointFault::Infinity)));
        assert_eq!(
            decode_g2(&encode_g2(&G2Affine::identity())),
            Err(PointFault::Infinity)
        );
    }

    #[test]
    fn a_modulus_as_a_coordinate_is_not_canonical() {
        let mut raw = encode_g1_all(&[G1Affine::generator()]);
        for (bytes, limb) in raw.chunks_exact_mut(8).zip(Fq::MODULUS.0) {
            bytes.copy_from_slice(&limb.to_le_bytes());
        }
        assert_eq!(decode_g1(&raw), Err((0, PointFault::NotCanonical)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(raw in prop::collection::vec(any::<u8>(), G2_BYTES)) {
            let _ = decode_g1(&raw);
            let raw: [u8; G2_BYTES] = raw.try_into().expect("128 bytes");
            let _ = decode_g2(&raw);
        }
    }
}
