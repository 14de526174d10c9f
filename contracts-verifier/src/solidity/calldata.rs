//! # Calldata of the two entry points
//! The canonical ABI encoding, the only one the contracts accept: heads, then each dynamic argument as length ‖ data padded with zeros
//! to whole words. Source: Solidity contract ABI specification.

use ark_bn254::Fr;
use zkinfer_verifier::{Proof, Statement, curve::scalar_to_bytes, keccak256};

/// Calldata of `verify(uint256,bytes,bytes)`.
#[must_use]
pub fn calldata_verify(statement: &Statement, proof: &Proof) -> Vec<u8> {
    let tensors = &statement.to_bytes();
    let padded = tensors.len().next_multiple_of(32);
    let mut data = selector("verify(uint256,bytes,bytes)").to_vec();
    data.extend_from_slice(&statement.context.to_bytes());
    data.extend_from_slice(&word(0x60));
    data.extend_from_slice(&word(0x80 + padded));
    push_bytes(&mut data, tensors);
    push_bytes(&mut data, &proof.to_bytes());
    data
}

/// Calldata of `verifyProof(uint256[],bytes)`.
#[must_use]
pub fn calldata_verify_proof(words: &[Fr], proof: &Proof) -> Vec<u8> {
    let mut data = selector("verifyProof(uint256[],bytes)").to_vec();
    data.extend_from_slice(&word(0x40));
    data.extend_from_slice(&word(0x60 + 32 * words.len()));
    data.extend_from_slice(&word(words.len()));
    words
        .iter()
        .for_each(|value| data.extend_from_slice(&scalar_to_bytes(*value)));
    push_bytes(&mut data, &proof.to_bytes());
    data
}

/// First four bytes of the hash of a function's signature.
fn selector(signature: &str) -> [u8; 4] {
    let [a, b, c, d, ..] = keccak256(signature.as_bytes());
    [a, b, c, d]
}

/// A length or an offset as a 32-byte word.
pub(super) fn word(value: usize) -> [u8; 32] {
    let mut word = [0; 32];
    word[24..].copy_from_slice(&(value as u64).to_be_bytes());
    word
}

pub(super) fn push_bytes(data: &mut Vec<u8>, bytes: &[u8]) {
    data.extend_from_slice(&word(bytes.len()));
    data.extend_from_slice(bytes);
    data.resize(
        data.len() + bytes.len().next_multiple_of(32) - bytes.len(),
        0,
    );
}
