//! # Curves: the two groups of BN254 and the raw limbs of their points
//!
//! A point in a key file is its affine coordinates, each as four 64-bit limbs of the Montgomery form
//! (R = 2²⁵⁶), little-endian: x‖y, 64 bytes in G1; x.c0‖x.c1‖y.c0‖y.c1, 128 bytes in G2. All bytes zero is the point at
//! infinity (0,0 is on neither curve). A coordinate that is not below q is refused; that a point lies on its curve is
//! not checked here, since the digest of the section vouches for it.

use core::fmt::Debug;

use ark_bn254::{Fq, Fq2, Fr};
use ark_ec::AffineRepr;
use ark_ec::short_weierstrass::{Affine, Projective, SWCurveConfig};
use ark_ff::{BigInt, BigInteger, PrimeField};
use bytemuck::{Pod, Zeroable};
use thiserror::Error;
use zeroize::Zeroize;

/// Bytes of one base-field coordinate.
const COORDINATE_BYTES: usize = 32;

/// One of the two groups of the pairing.
pub trait Curve: sealed::Sealed + Debug + Copy + Send + Sync + 'static {
    /// The arkworks curve.
    type Config: SWCurveConfig<ScalarField = Fr, BaseField: Limbs>;
    /// A point as raw words: its coordinates of four words each.
    type Raw: Pod + Default + Zeroize + Debug + Send + Sync + AsRef<[Row]> + AsMut<[Row]>;
    /// Bytes of a point in a key file.
    const POINT_BYTES: usize;
    /// Name for messages: `G1` or `G2`.
    const NAME: &'static str;
}

/// The affine point of a [`Curve`].
pub type AffineOf<C> = Affine<<C as Curve>::Config>;
/// The projective point of a [`Curve`].
pub type ProjectiveOf<C> = Projective<<C as Curve>::Config>;

/// A base field element as four 64-bit words, least significant first.
pub type Row = [u64; 4];

/// The group of 64-byte points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct G1;
/// The group of 128-byte points, over the quadratic extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct G2;

impl Curve for G1 {
    type Config = ark_bn254::g1::Config;
    type Raw = [Row; 2];
    const POINT_BYTES: usize = 2 * COORDINATE_BYTES;
    const NAME: &'static str = "G1";
}

impl Curve for G2 {
    type Config = ark_bn254::g2::Config;
    type Raw = [Row; 4];
    const POINT_BYTES: usize = 4 * COORDINATE_BYTES;
    const NAME: &'static str = "G2";
}

/// A coordinate in a key file is not below the modulus q.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a coordinate is not below the base field's modulus")]
pub struct CoordinateTooLarge;

/// A base field element as raw Montgomery limbs.
pub trait Limbs: Sized {
    /// Bytes of the element.
    const BYTES: usize;
    /// The element whose rows are `rows`, each taken modulo q.
    fn from_rows(rows: &[Row]) -> Self;
    /// Writes the element's rows.
    fn to_rows(&self, rows: &mut [Row]);
}

impl Limbs for Fq {
    const BYTES: usize = COORDINATE_BYTES;

    fn from_rows(rows: &[Row]) -> Self {
        let mut limbs = BigInt(rows[0]);
        while limbs >= Self::MODULUS {
            limbs.sub_with_borrow(&Self::MODULUS);
        }
        Self::new_unchecked(limbs)
    }

    fn to_rows(&self, rows: &mut [Row]) {
        rows[0] = self.0.0;
    }
}

impl Limbs for Fq2 {
    const BYTES: usize = 2 * COORDINATE_BYTES;

    fn from_rows(rows: &[Row]) -> Self {
        Self::new(Fq::from_rows(&rows[..1]), Fq::from_rows(&rows[1..]))
    }

    fn to_rows(&self, rows: &mut [Row]) {
        self.c0.to_rows(&mut rows[..1]);
        self.c1.to_rows(&mut rows[1..]);
    }
}

/// Appends the raw limbs of `points` to `out`: `C::POINT_BYTES` bytes each.
pub fn encode_points<C: Curve>(points: &[AffineOf<C>], out: &mut Vec<u8>) {
    out.reserve(points.len() * C::POINT_BYTES);
    for point in points {
        for word in raw_of::<C>(point).as_ref().as_flattened() {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
}

/// Reads one point from `C::POINT_BYTES` bytes of raw limbs.
///
/// # Errors
/// [`CoordinateTooLarge`] when a coordinate is not below q.
pub fn decode_point<C: Curve>(bytes: &[u8]) -> Result<AffineOf<C>, CoordinateTooLarge> {
    let raw = raw_of_bytes::<C>(bytes);
    if is_canonical::<C>(&raw) {
        Ok(point_of::<C>(&raw))
    } else {
        Err(CoordinateTooLarge)
    }
}

/// The raw words in `C::POINT_BYTES` bytes.
pub(crate) fn raw_of_bytes<C: Curve>(bytes: &[u8]) -> C::Raw {
    let mut raw = C::Raw::zeroed();
    let (words, _) = bytes[..C::POINT_BYTES].as_chunks();
    for (word, bytes) in raw.as_mut().as_flattened_mut().iter_mut().zip(words) {
        *word = u64::from_le_bytes(*bytes);
    }
    raw
}

/// Whether every coordinate is below q.
pub(crate) fn is_canonical<C: Curve>(raw: &C::Raw) -> bool {
    let q = Fq::MODULUS.0;
    raw.as_ref()
        .iter()
        .all(|row| row.iter().rev().lt(q.iter().rev()))
}

/// The raw words of a finite point, or zeros for the point at infinity.
pub(crate) fn raw_of<C: Curve>(point: &AffineOf<C>) -> C::Raw {
    let mut raw = C::Raw::zeroed();
    if let Some((x, y)) = point.xy() {
        let rows = raw.as_mut();
        let (left, right) = rows.split_at_mut(rows.len() / 2);
        x.to_rows(left);
        y.to_rows(right);
    }
    raw
}

/// The point whose raw words are `raw`; the inverse of [`raw_of`].
pub(crate) fn point_of<C: Curve>(raw: &C::Raw) -> AffineOf<C> {
    let rows = raw.as_ref();
    if rows.iter().all(|row| *row == [0; 4]) {
        return Affine::identity();
    }
    let (x, y) = rows.split_at(rows.len() / 2);
    Affine::new_unchecked(Limbs::from_rows(x), Limbs::from_rows(y))
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::G1 {}
    impl Sealed for super::G2 {}
}

#[cfg(test)]
mod tests {
    use ark_ec::{CurveGroup, PrimeGroup};

    use super::*;

    fn round_trip<C: Curve>() {
        let points: Vec<_> = (0u64..9)
            .map(|k| (ProjectiveOf::<C>::generator() * Fr::from(k)).into_affine())
            .collect();
        let mut bytes = Vec::new();
        encode_points::<C>(&points, &mut bytes);
        assert_eq!(bytes.len(), points.len() * C::POINT_BYTES);
        for (point, chunk) in points.iter().zip(bytes.chunks_exact(C::POINT_BYTES)) {
            assert_eq!(decode_point::<C>(chunk).as_ref(), Ok(point));
        }
    }

    #[test]
    fn points_survive_their_raw_limbs() {
        round_trip::<G1>();
        round_trip::<G2>();
    }

    #[test]
    fn refuses_a_coordinate_that_is_the_modulus() {
        let mut bytes = [0u8; 64];
        for (limb, chunk) in Fq::MODULUS.0.iter().zip(bytes.chunks_exact_mut(8)) {
            chunk.copy_from_slice(&limb.to_le_bytes());
        }
        assert_eq!(decode_point::<G1>(&bytes), Err(CoordinateTooLarge));
        bytes[0] -= 1;
        assert!(decode_point::<G1>(&bytes).is_ok());
    }
}
