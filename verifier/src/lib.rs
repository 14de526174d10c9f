//! # zkinfer-verifier: what a proof claims and whether it holds
//!
//! | module | question it answers |
//! |---|---|
//! | [`system`] | which proof system, and was the key made by one party |
//! | [`statement`] | what is claimed: context, public tensors and digests of hashed ones, and their packing into field elements |
//! | [`poseidon`] | the hash of hashed tensors |
//! | [`key`] | verifying keys: encoding, digest, linter |
//! | [`proof`] | proofs: encoding |
//! | [`transcript`] | the challenges of the committed round and the evaluation of the words |
//! | [`halo2_kzg`] | protocol descriptions, transcript and linter of the Halo2 side |
//! | [`curve`] | canonical encodings of BN254 points and scalars |
//! | [`snarkjs`] | the JSON files of snarkjs for plain Groth16 |
//!
//! [`verify`] is the only function that says yes. Every decoder in this crate checks sizes before it allocates,
//! accepts one encoding per value and never panics. Arguments: DESIGN.md.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod cursor;
pub mod curve;
mod groth16;
pub mod halo2_kzg;
pub mod key;
pub mod poseidon;
pub mod proof;
pub mod snarkjs;
pub mod statement;
pub mod system;
pub mod transcript;
mod ultragroth;
mod verify;

pub use curve::PointError;
pub use key::{GrothKey, KeyError, KeyMaterial, KeyPoint, VerifyingKey};
pub use proof::{Proof, ProofError, ProofPoint};
pub use statement::{
    Context, ContextError, Dtype, LayoutError, Role, Statement, StatementError, StatementLayout,
    TensorSpec, Visibility,
};
pub use system::{ProofSystem, Setup, UnknownName};
pub use verify::{VerifyError, verify, verify_words};

/// The curve of every pairing-based system here.
pub use ark_bn254::{Fq, Fq2, Fr, G1Affine, G2Affine};

/// Keccak-256, the one hash of keys, statements and challenges.
#[must_use]
pub fn keccak256(bytes: &[u8]) -> [u8; 32] {
    use sha3::Digest;
    sha3::Keccak256::digest(bytes).into()
}
