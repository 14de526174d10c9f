//! # Proofs and their encoding
//! groth16: A ‖ B ‖ C, 256 bytes. ultragroth: A ‖ B ‖ C1 ‖ C2, 320 bytes. halo2-kzg: commitments, evaluations and two opening points,
//! as many as the key says ([`crate::halo2_kzg::protocol`]); read by the verifier only. Points as in [`crate::curve`]; infinity is refused
//! everywhere. Groth16 proofs can be re-randomized by anyone: proof bytes identify nothing, [`crate::Statement::digest`] does.

use alloc::vec::Vec;
use core::fmt;

use ark_bn254::{G1Affine, G2Affine};

use crate::{
    curve::{PointError, check_g1, check_g2, g1_from_bytes, g2_from_bytes, write_g1, write_g2},
    system::ProofSystem,
};

/// A proof of one of the systems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Plain Groth16.
    Groth16 {
        /// A in G1.
        a: G1Affine,
        /// B in G2.
        b: G2Affine,
        /// C in G1.
        c: G1Affine,
    },
    /// Groth16 with one committed round.
    UltraGroth {
        /// A in G1.
        a: G1Affine,
        /// B in G2.
        b: G2Affine,
        /// The commitment to the first round.
        c1: G1Affine,
        /// What closes the equation.
        c2: G1Affine,
    },
    /// PLONK over KZG.
    Halo2Kzg {
        /// The encoding, whole 32-byte words. Only a key says what is in it: `verify` checks every byte.
        bytes: Vec<u8>,
    },
}

/// The greatest length of a halo2-kzg proof: more than any protocol description within its bounds asks for.
pub const MAX_PROOF_BYTES: usize = 1 << 18;

/// A point of a proof, by its name in the equations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the equations")]
pub enum ProofPoint {
    A,
    B,
    C,
    C1,
    C2,
    Commitment(usize),
}

impl fmt::Display for ProofPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commitment(i) => write!(f, "commitment {i}"),
            named => fmt::Debug::fmt(named, f),
        }
    }
}

/// Why bytes are not a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// Not exactly as long as a proof of the system.
    #[error("a {system} proof has {expected} bytes, got {got}")]
    Length {
        /// The system asked for.
        system: ProofSystem,
        /// Its length.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// Not whole words, or more of them than any key asks for.
    #[error("a {system} proof is a number of 32-byte words, {max} bytes at most; got {got} bytes")]
    Words {
        /// The system asked for.
        system: ProofSystem,
        /// The most bytes.
        max: usize,
        /// Bytes given.
        got: usize,
    },
    /// An evaluation is not less than the order of the group.
    #[error("evaluation {index} of the proof is not less than the group order")]
    Scalar {
        /// Position of the evaluation.
        index: usize,
    },
    /// A point is not acceptable.
    #[error("proof point {point}: {error}")]
    Point {
        /// Which point.
        point: ProofPoint,
        /// What is wrong with it.
        error: PointError,
    },
}

fn at(point: ProofPoint) -> impl Fn(PointError) -> ProofError {
    move |error| ProofError::Point { point, error }
}

impl Proof {
    /// The system this proof is of.
    #[must_use]
    pub const fn system(&self) -> ProofSystem {
        match self {
            Self::Groth16 { .. } => ProofSystem::Groth16,
            Self::UltraGroth { .. } => ProofSystem::UltraGroth,
            Self::Halo2Kzg { .. } => ProofSystem::Halo2Kzg,
        }
    }

    /// The encoding; its length is [`crate::VerifyingKey::proof_bytes`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.system().proof_bytes().unwrap_or_default());
        let (a, b, rest) = match self {
            Self::Halo2Kzg { bytes } => return bytes.clone(),
            Self::Groth16 { a, b, c } => (a, b, [Some(c), None]),
            Self::UltraGroth { a, b, c1, c2 } => (a, b, [Some(c1), Some(c2)]),
        };
        write_g1(&mut bytes, a);
        write_g2(&mut bytes, b);
        rest.into_iter()
            .flatten()
            .for_each(|point| write_g1(&mut bytes, point));
        bytes
    }

    /// The proof of an encoding.
    ///
    /// # Errors
    /// [`ProofError`] unless the bytes are exactly one canonical proof of `system`; of `halo2-kzg`, whose proofs only a key can
    /// read, unless they are whole words and not more than [`MAX_PROOF_BYTES`].
    pub fn from_bytes(system: ProofSystem, bytes: &[u8]) -> Result<Self, ProofError> {
        let got = bytes.len();
        let Some(expected) = system.proof_bytes() else {
            check_words(system, got)?;
            return Ok(Self::Halo2Kzg {
                bytes: bytes.to_vec(),
            });
        };
        let length = ProofError::Length {
            system,
            expected,
            got,
        };
        let (a, rest) = bytes.split_first_chunk().ok_or(length)?;
        let (b, rest) = rest.split_first_chunk().ok_or(length)?;
        let (c, rest) = rest.split_first_chunk().ok_or(length)?;
        match (system, rest.len()) {
            (ProofSystem::Groth16, 0) => Ok(Self::Groth16 {
                a: g1_from_bytes(a).map_err(at(ProofPoint::A))?,
                b: g2_from_bytes(b).map_err(at(ProofPoint::B))?,
                c: g1_from_bytes(c).map_err(at(ProofPoint::C))?,
            }),
            (ProofSystem::UltraGroth, 64) => {
                let c2 = rest.first_chunk().ok_or(length)?;
                Ok(Self::UltraGroth {
                    a: g1_from_bytes(a).map_err(at(ProofPoint::A))?,
                    b: g2_from_bytes(b).map_err(at(ProofPoint::B))?,
                    c1: g1_from_bytes(c).map_err(at(ProofPoint::C1))?,
                    c2: g1_from_bytes(c2).map_err(at(ProofPoint::C2))?,
                })
            }
            _ => Err(length),
        }
    }

    /// Checks that every point is finite, on its curve and in its subgroup; of a `halo2-kzg` proof, the form of the length.
    ///
    /// # Errors
    /// [`ProofError::Point`] naming the first point that is not; [`ProofError::Words`].
    pub fn check(&self) -> Result<(), ProofError> {
        match self {
            Self::Groth16 { a, b, c } => {
                check_g1(a).map_err(at(ProofPoint::A))?;
                check_g2(b).map_err(at(ProofPoint::B))?;
                check_g1(c).map_err(at(ProofPoint::C))
            }
            Self::UltraGroth { a, b, c1, c2 } => {
                check_g1(a).map_err(at(ProofPoint::A))?;
                check_g2(b).map_err(at(ProofPoint::B))?;
                check_g1(c1).map_err(at(ProofPoint::C1))?;
                check_g1(c2).map_err(at(ProofPoint::C2))
            }
            Self::Halo2Kzg { bytes } => check_words(self.system(), bytes.len()),
        }
    }
}

fn check_words(system: ProofSystem, got: usize) -> Result<(), ProofError> {
    if got.is_multiple_of(32) && got <= MAX_PROOF_BYTES {
        return Ok(());
    }
    let max = MAX_PROOF_BYTES;
    Err(ProofError::Words { system, max, got })
}
