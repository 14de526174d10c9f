//! # The transcript of the committed round
//! c_i = keccak256(domain ‖ vk_digest ‖ words ‖ C1.x ‖ C1.y ‖ i) mod r over 32-byte big-endian words: ρ for i = 1 (the pole
//! of the lookup argument), α for i = 2 (folding and the evaluation of words). One independent hash for each. The number of words
//! is fixed by the key, so the concatenation is read in one way only. Source: groth16 with a committed round, eprint 2020/278;
//! argument: DESIGN.md#challenges.

use alloc::vec::Vec;

use ark_bn254::{Fr, G1Affine};

use crate::{
    curve::{scalar_mod_order, scalar_to_bytes, write_g1},
    keccak256,
};

/// First word of every challenge: "zkinfer/ultragroth/challenge/v1" padded with one zero byte.
pub const CHALLENGE_DOMAIN: [u8; 32] = *b"zkinfer/ultragroth/challenge/v1\0";
/// First word of a statement digest: "zkinfer/statement/v1" padded with zero bytes.
pub const STATEMENT_DOMAIN: [u8; 32] = *b"zkinfer/statement/v1\0\0\0\0\0\0\0\0\0\0\0\0";

/// The verifier's two challenges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenges {
    /// The pole ρ of the lookup argument.
    pub rho: Fr,
    /// The folding challenge α'.
    pub alpha: Fr,
}

/// The challenges after a commitment.
#[must_use]
pub fn challenges(vk_digest: &[u8; 32], words: &[Fr], c1: &G1Affine) -> Challenges {
    let mut bytes = Vec::with_capacity(32 * words.len().saturating_add(5));
    bytes.extend_from_slice(&CHALLENGE_DOMAIN);
    bytes.extend_from_slice(vk_digest);
    for word in words {
        bytes.extend_from_slice(&scalar_to_bytes(*word));
    }
    write_g1(&mut bytes, c1);
    bytes.extend_from_slice(&[0; 32]);
    let last = bytes.len() - 1;
    let mut challenge = |i| {
        bytes[last] = i;
        scalar_mod_order(&keccak256(&bytes))
    };
    Challenges {
        rho: challenge(1),
        alpha: challenge(2),
    }
}

/// e = Σ word_i·α^i, the one public input that stands for all words.
#[must_use]
pub fn evaluate_words(words: &[Fr], alpha: Fr) -> Fr {
    words
        .iter()
        .rev()
        .fold(Fr::default(), |sum, word| sum * alpha + word)
}
