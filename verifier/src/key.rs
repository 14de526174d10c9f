//! # Verifying keys: contents, encoding, digest, linter
//! An encoding is: magic and version (8 bytes) ‖ system ‖ setup ‖ model_id ‖ circuit_digest ‖ layout ‖ material; the material of the
//! Groth16 systems is α ‖ β ‖ γ ‖ number of δ's (1) ‖ δ's ‖ number of IC points (4) ‖ IC points, that of halo2-kzg a protocol
//! description ([`crate::halo2_kzg`]); integers big-endian, points as in [`crate::curve`]. The digest covers all of it.
//! Decoding accepts only what [`VerifyingKey::encode`] writes, and only keys that pass [`VerifyingKey::check`].
//! Rules and the forgeries they stop: DESIGN.md#keys.

mod codec;

use alloc::vec::Vec;
use core::fmt;

use ark_bn254::{Fq2, G1Affine, G2Affine};
use ark_ec::AffineRepr;
use ark_ff::PrimeField;

use crate::{
    cursor::Cursor,
    curve::{PointError, check_g1, check_g2},
    halo2_kzg::{Protocol, ProtocolError, check::check_words},
    keccak256,
    statement::{LayoutError, StatementLayout},
    system::{ProofSystem, Setup},
};

/// All that is needed to verify proofs of one circuit.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifyingKey {
    /// The proof system.
    pub system: ProofSystem,
    /// Who knew the trapdoor.
    pub setup: Setup,
    /// Digest of the integer model, scales included.
    pub model_id: [u8; 32],
    /// Digest of the constraints.
    pub circuit_digest: [u8; 32],
    /// What the statement shows.
    pub layout: StatementLayout,
    /// What the proofs are checked with.
    pub material: KeyMaterial,
}

/// The part of a key that depends on the proof system.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyMaterial {
    /// Points of `groth16` and `ultragroth`.
    Groth(GrothKey),
    /// The protocol description of `halo2-kzg`.
    Halo2Kzg(Protocol),
}

/// The points of a key of `groth16` or `ultragroth`.
#[derive(Clone, Debug, PartialEq)]
pub struct GrothKey {
    /// \[α\] in G1.
    pub alpha_g1: G1Affine,
    /// \[β\] in G2.
    pub beta_g2: G2Affine,
    /// \[γ\] in G2.
    pub gamma_g2: G2Affine,
    /// \[δ\] in G2, one for each round of private wires.
    pub deltas_g2: Vec<G2Affine>,
    /// The public-input points: groth16: the constant and one for each word; ultragroth: the constant, ρ, α', e.
    pub ic: Vec<G1Affine>,
}

/// A point of a key, by its name in the equations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the equations")]
pub enum KeyPoint {
    Alpha,
    Beta,
    Gamma,
    Delta(usize),
    Ic(usize),
    Fixed(usize),
    Sigma(usize),
    S,
}

impl fmt::Display for KeyPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alpha => f.write_str("alpha"),
            Self::Beta => f.write_str("beta"),
            Self::Gamma => f.write_str("gamma"),
            Self::Delta(i) => write!(f, "delta {}", i + 1),
            Self::Ic(i) => write!(f, "IC {i}"),
            Self::Fixed(i) => write!(f, "fixed {i}"),
            Self::Sigma(i) => write!(f, "sigma {i}"),
            Self::S => f.write_str("s"),
        }
    }
}

/// Why bytes are not a verifying key, or a key must not be used.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Fewer bytes than the counts announce.
    #[error("the key is cut short at byte {at}: {needed} more bytes expected, {left} left")]
    Truncated {
        /// Position of the field that does not fit.
        at: usize,
        /// Its length.
        needed: usize,
        /// Bytes left.
        left: usize,
    },
    /// Bytes after the end.
    #[error("{extra} bytes after the end of the key")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// The first bytes are not those of a key of this version.
    #[error("not a zkinfer verifying key of format version {version}")]
    Magic {
        /// The version this crate reads.
        version: u8,
    },
    /// A one-byte tag has no meaning.
    #[error("{field}: unknown tag {got} at byte {at}")]
    Tag {
        /// What the tag says.
        field: &'static str,
        /// Position of the tag.
        at: usize,
        /// The tag.
        got: u8,
    },
    /// A tensor name is not UTF-8.
    #[error("tensor {tensor}: the name is not UTF-8")]
    NameEncoding {
        /// Position of the tensor.
        tensor: usize,
    },
    /// The layout breaks a bound.
    #[error("layout: {0}")]
    Layout(#[from] LayoutError),
    /// The protocol description breaks a rule.
    #[error("protocol: {0}")]
    Protocol(#[from] ProtocolError),
    /// A scalar is not less than the order of the group.
    #[error("a scalar of the key is not less than the group order")]
    Scalar,
    /// The material is not that of the key's system.
    #[error("the key is marked {system}, its contents are of another system")]
    Material {
        /// The system of the key's tag.
        system: ProofSystem,
    },
    /// A count does not match the system and the layout.
    #[error("{what}: expected {expected}, got {got}")]
    Count {
        /// What is counted.
        what: &'static str,
        /// What the system and the layout ask for.
        expected: usize,
        /// What the key has.
        got: usize,
    },
    /// A count is written in the long form although the short one holds it.
    #[error("{what}: {got} is written as a long count, which is for 255 and more")]
    LongCount {
        /// What is counted.
        what: &'static str,
        /// What the key has.
        got: u16,
    },
    /// A point is not acceptable.
    #[error("key point {point}: {error}")]
    Point {
        /// Which point.
        point: KeyPoint,
        /// What is wrong with it.
        error: PointError,
    },
    /// Two of β, γ, δ's or two IC points are equal up to sign: proofs can be forged.
    #[error("key points {first} and {second} coincide: anyone could forge proofs")]
    Coincide {
        /// One of them.
        first: KeyPoint,
        /// The other.
        second: KeyPoint,
    },
    /// α, β or a δ is ± the generator, as in a key that no contribution has touched.
    #[error(
        "key point {point} is the generator: no one contributed to this key, its secret is known to all"
    )]
    Generator {
        /// Which point.
        point: KeyPoint,
    },
}

impl VerifyingKey {
    /// The one encoding of this key.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// The key of an encoding.
    ///
    /// # Errors
    /// [`KeyError`] unless the bytes are exactly what [`Self::encode`] writes for a key that passes [`Self::check`].
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        let key = codec::decode(Cursor::new(bytes))?;
        key.check()?;
        Ok(key)
    }

    /// The key of an encoding that [`Self::decode`] has accepted before, on this machine or by this chain's consensus: neither the
    /// linter nor the checks of points run again, which are most of the time of decoding. Never for bytes from elsewhere: proofs can
    /// be forged under a key with bad points.
    ///
    /// # Errors
    /// [`KeyError`] if the form is not that of a key.
    pub fn decode_unchecked(bytes: &[u8]) -> Result<Self, KeyError> {
        codec::decode(Cursor::of_checked(bytes))
    }

    /// keccak256 of the encoding.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        keccak256(&self.encode())
    }

    /// The points of a key of `groth16` or `ultragroth`.
    #[must_use]
    pub const fn groth(&self) -> Option<&GrothKey> {
        match &self.material {
            KeyMaterial::Groth(groth) => Some(groth),
            KeyMaterial::Halo2Kzg(_) => None,
        }
    }

    /// The protocol description of a key of `halo2-kzg`.
    #[must_use]
    pub const fn halo2_kzg(&self) -> Option<&Protocol> {
        match &self.material {
            KeyMaterial::Groth(_) => None,
            KeyMaterial::Halo2Kzg(protocol) => Some(protocol),
        }
    }

    /// Length of an encoded proof under this key.
    #[must_use]
    pub fn proof_bytes(&self) -> usize {
        match &self.material {
            KeyMaterial::Groth(_) => self.system.proof_bytes().unwrap_or_default(),
            KeyMaterial::Halo2Kzg(protocol) => protocol.proof_bytes(),
        }
    }

    /// Checks that the material is of the system and its counts match the system and the layout.
    ///
    /// # Errors
    /// [`KeyError::Material`], [`KeyError::Count`], [`KeyError::Protocol`].
    pub fn check_counts(&self) -> Result<(), KeyError> {
        let system = self.system;
        match (&self.material, system) {
            (KeyMaterial::Groth(groth), ProofSystem::Groth16 | ProofSystem::UltraGroth) => {
                groth.check_counts(system, self.layout.n_words())
            }
            (KeyMaterial::Halo2Kzg(protocol), ProofSystem::Halo2Kzg) => {
                Ok(check_words(protocol, self.layout.n_words())?)
            }
            _ => Err(KeyError::Material { system }),
        }
    }

    /// The key linter: bounds of the layout, counts, and for `groth16` and `ultragroth` every point finite, on its curve and in its
    /// subgroup, β, γ and the δ's pairwise distinct up to sign, none of α, β and the δ's equal to ± the generator, IC points
    /// distinct up to sign; for `halo2-kzg` [`Protocol::check`].
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self) -> Result<(), KeyError> {
        self.layout.check()?;
        self.check_counts()?;
        match &self.material {
            KeyMaterial::Groth(groth) => groth.check(),
            KeyMaterial::Halo2Kzg(protocol) => Ok(protocol.check()?),
        }
    }
}

impl GrothKey {
    fn check_counts(&self, system: ProofSystem, n_words: usize) -> Result<(), KeyError> {
        let counts = [
            ("deltas", system.n_deltas(), self.deltas_g2.len()),
            ("IC points", system.n_ic(n_words), self.ic.len()),
        ];
        match counts
            .into_iter()
            .find(|(_, expected, got)| expected != got)
        {
            Some((what, expected, got)) => Err(KeyError::Count {
                what,
                expected,
                got,
            }),
            None => Ok(()),
        }
    }

    fn check(&self) -> Result<(), KeyError> {
        let at = |point| move |error| KeyError::Point { point, error };
        check_g1(&self.alpha_g1).map_err(at(KeyPoint::Alpha))?;
        check_g2(&self.beta_g2).map_err(at(KeyPoint::Beta))?;
        check_g2(&self.gamma_g2).map_err(at(KeyPoint::Gamma))?;
        for (i, delta) in self.deltas_g2.iter().enumerate() {
            check_g2(delta).map_err(at(KeyPoint::Delta(i)))?;
        }
        for (i, ic) in self.ic.iter().enumerate() {
            check_g1(ic).map_err(at(KeyPoint::Ic(i)))?;
        }
        self.check_pairing_points()?;
        self.check_ic_distinct()
    }

    fn check_pairing_points(&self) -> Result<(), KeyError> {
        // Finite points of one curve have equal x exactly when they are equal up to sign.
        if self.alpha_g1.x == G1Affine::generator().x {
            return Err(KeyError::Generator {
                point: KeyPoint::Alpha,
            });
        }
        let deltas = self.deltas_g2.iter().enumerate();
        let points: Vec<(KeyPoint, Fq2)> = [
            (KeyPoint::Beta, self.beta_g2.x),
            (KeyPoint::Gamma, self.gamma_g2.x),
        ]
        .into_iter()
        .chain(deltas.map(|(i, delta)| (KeyPoint::Delta(i), delta.x)))
        .collect();
        let generator = G2Affine::generator().x;
        for (i, &(second, x)) in points.iter().enumerate() {
            if x == generator && second != KeyPoint::Gamma {
                return Err(KeyError::Generator { point: second });
            }
            if let Some(&(first, _)) = points.iter().take(i).find(|(_, other)| *other == x) {
                return Err(KeyError::Coincide { first, second });
            }
        }
        Ok(())
    }

    fn check_ic_distinct(&self) -> Result<(), KeyError> {
        let points = self.ic.iter().enumerate();
        let mut sorted: Vec<_> = points.map(|(i, ic)| (ic.x.into_bigint(), i)).collect();
        sorted.sort_unstable();
        for pair in sorted.windows(2) {
            if let [(first, i), (second, j)] = pair
                && first == second
            {
                return Err(KeyError::Coincide {
                    first: KeyPoint::Ic(*i),
                    second: KeyPoint::Ic(*j),
                });
            }
        }
        Ok(())
    }
}
