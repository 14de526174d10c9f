//! # Proof systems and key provenance
//! The two one-byte tags every key starts with, and their names on command lines and in JSON.

use core::{fmt, str::FromStr};

use alloc::string::String;
use serde::{Deserialize, Serialize};

/// A proof system over BN254; the discriminant is its byte in encoded keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum ProofSystem {
    /// Groth16 as published (eprint 2016/260): every word is a public input.
    Groth16 = 1,
    /// Groth16 with one committed round (eprint 2020/278): words are hashed and evaluated.
    UltraGroth = 2,
    /// PLONK over KZG (Halo2, SHPLONK): a universal setup.
    #[serde(rename = "halo2-kzg")]
    Halo2Kzg = 3,
}

impl ProofSystem {
    /// Every system, in the order of the tags.
    pub const ALL: [Self; 3] = [Self::Groth16, Self::UltraGroth, Self::Halo2Kzg];

    /// The name used on command lines, in manifests and in proof files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Groth16 => "groth16",
            Self::UltraGroth => "ultragroth",
            Self::Halo2Kzg => "halo2-kzg",
        }
    }

    /// The system of an encoded tag.
    #[must_use]
    pub const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            1 => Some(Self::Groth16),
            2 => Some(Self::UltraGroth),
            3 => Some(Self::Halo2Kzg),
            _ => None,
        }
    }

    /// How many δ's a key of this system has: one per round of private wires, none in `halo2-kzg`.
    #[must_use]
    pub const fn n_deltas(self) -> usize {
        match self {
            Self::Groth16 => 1,
            Self::UltraGroth => 2,
            Self::Halo2Kzg => 0,
        }
    }

    /// Length of an encoded proof, where it is the same for all keys; [`crate::VerifyingKey::proof_bytes`] knows every one.
    #[must_use]
    pub const fn proof_bytes(self) -> Option<usize> {
        match self {
            Self::Groth16 => Some(256),
            Self::UltraGroth => Some(320),
            Self::Halo2Kzg => None,
        }
    }

    /// How many points combine into the public-input point of a statement of `n_words` words; `halo2-kzg` has none.
    #[must_use]
    pub const fn n_ic(self, n_words: usize) -> usize {
        match self {
            Self::Groth16 => n_words.saturating_add(1),
            Self::UltraGroth => 4,
            Self::Halo2Kzg => 0,
        }
    }
}

impl fmt::Display for ProofSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is not one of the names this type accepts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{got}` is not known here; expected one of {expected}")]
pub struct UnknownName {
    /// The accepted names.
    pub expected: &'static str,
    /// The name that was given, cut to 64 characters.
    pub got: String,
}

impl FromStr for ProofSystem {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|system| system.name() == name)
            .ok_or_else(|| UnknownName {
                expected: "groth16, ultragroth, halo2-kzg",
                got: name.chars().take(64).collect(),
            })
    }
}

/// Who knew the trapdoor of a key; the discriminant is its byte in encoded keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Setup {
    /// One party made the key alone and could forge proofs: for tests and local chains only.
    Development = 1,
    /// The key came out of a ceremony.
    Ceremony = 2,
}

impl Setup {
    /// The name used in manifests and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Ceremony => "ceremony",
        }
    }

    /// The provenance of an encoded tag.
    #[must_use]
    pub const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            1 => Some(Self::Development),
            2 => Some(Self::Ceremony),
            _ => None,
        }
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
