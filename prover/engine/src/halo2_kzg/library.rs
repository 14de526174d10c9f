//! # What we still take from the library: a circuit's configuration, and field elements
//!
//! Both fields of scalars are one field with one Montgomery form, R = 2²⁵⁶: an element crosses over limb by limb.

use ark_bn254::Fr;
use ark_ff::BigInt;
use halo2_proofs::plonk::{Circuit, ConstraintSystem};
use halo2curves::serde::SerdeObject;

pub(super) use halo2curves::bn256::Fr as LibraryFr;

/// A scalar of the library as ours.
pub(super) fn from_library(scalar: &LibraryFr) -> Fr {
    let mut bytes = [0u8; 32];
    // Writing 32 bytes to an array of 32 does not fail.
    let written = scalar.write_raw(&mut &mut bytes[..]);
    debug_assert!(written.is_ok());
    let mut limbs = [0u64; 4];
    for (limb, bytes) in limbs.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *limb = u64::from_le_bytes(*bytes);
    }
    Fr::new_unchecked(BigInt(limbs))
}

/// A scalar of ours as the library's.
pub(super) fn to_library(scalar: &Fr) -> LibraryFr {
    let mut bytes = [0u8; 32];
    for (limb, bytes) in scalar.0.0.iter().zip(bytes.as_chunks_mut::<8>().0) {
        *bytes = limb.to_le_bytes();
    }
    LibraryFr::from_raw_bytes_unchecked(&bytes)
}

/// What a constraint system makes of proofs and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Commitments in a proof.
    pub(crate) n_points: usize,
    /// Evaluations in a proof.
    pub(crate) n_evals: usize,
    /// Commitments that a verifier multiplies: those of the proof and of the key.
    pub(crate) n_commitments: usize,
    /// Advice columns.
    pub(crate) n_advice: usize,
    /// Fixed columns.
    pub(crate) n_fixed: usize,
    /// Permuted columns.
    pub(crate) n_permuted: usize,
    /// Degree of the constraint system.
    pub(crate) degree: usize,
}

impl Size {
    /// Bytes of a proof.
    pub(crate) fn proof_bytes(&self) -> usize {
        64 * self.n_points + 32 * self.n_evals
    }
}

/// Counts what the configuration of a circuit asks for, before any key.
pub(crate) fn size<C: Circuit<LibraryFr>>(circuit: &C) -> Size {
    let mut cs = ConstraintSystem::default();
    C::configure_with_params(&mut cs, circuit.params());
    let (n_advice, n_fixed) = (cs.num_advice_columns(), cs.num_fixed_columns());
    let n_permuted = cs.permutation().get_columns().len();
    let degree = cs.degree();
    let n_products = n_permuted.div_ceil(degree.saturating_sub(2).max(1));
    // The random polynomial, the pieces of the quotient, two opening points.
    let n_points = n_advice + n_products + 1 + (degree - 1) + 2;
    let n_evals = cs.advice_queries().len()
        + cs.fixed_queries().len()
        + 1
        + n_permuted
        + (3 * n_products).saturating_sub(1);
    Size {
        n_points,
        n_evals,
        n_commitments: n_points + n_fixed + n_permuted,
        n_advice,
        n_fixed,
        n_permuted,
        degree,
    }
}

#[cfg(test)]
mod tests {
    use halo2curves::ff::Field;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::halo2_kzg::protocol::scalar;

    #[test]
    fn scalars_cross_over_and_back() {
        let mut rng = StdRng::seed_from_u64(5);
        for theirs in [LibraryFr::ZERO, LibraryFr::ONE, -LibraryFr::ONE]
            .into_iter()
            .chain((0..100).map(|_| LibraryFr::random(&mut rng)))
        {
            // `scalar` goes the long way round, over canonical bytes.
            assert_eq!(from_library(&theirs), scalar(&theirs));
            assert_eq!(to_library(&from_library(&theirs)), theirs);
        }
    }
}
