//! # Calls, good and bad, and what the native verifier says to them
#![allow(dead_code, reason = "each test file uses its part")]

use zkinfer_verifier::{Context, Proof, Statement, VerifyingKey, keccak256, verify};

/// The arguments of `verify` as bytes that need not mean anything.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub context: Vec<u8>,
    pub tensors: Vec<u8>,
    pub proof: Vec<u8>,
}

pub fn word(value: usize) -> [u8; 32] {
    let mut word = [0; 32];
    word[24..].copy_from_slice(&(value as u64).to_be_bytes());
    word
}

fn tail(bytes: &[u8]) -> Vec<u8> {
    let mut out = [word(bytes.len()).as_slice(), bytes].concat();
    out.resize(32 + bytes.len().div_ceil(32) * 32, 0);
    out
}

impl Call {
    pub fn new(statement: &Statement, proof: &Proof) -> Self {
        Self {
            context: statement.context.to_bytes().to_vec(),
            tensors: statement.to_bytes(),
            proof: proof.to_bytes(),
        }
    }

    /// The canonical ABI encoding, written here a second time.
    pub fn encode(&self) -> Vec<u8> {
        let tensors = tail(&self.tensors);
        [
            &keccak256(b"verify(uint256,bytes,bytes)")[..4],
            &self.context,
            &word(96),
            &word(96 + tensors.len()),
            &tensors,
            &tail(&self.proof),
        ]
        .concat()
    }

    /// What the native verifier says.
    pub fn holds(&self, key: &VerifyingKey) -> bool {
        let native = || {
            let context = Context::from_bytes(self.context.clone().try_into().ok()?).ok()?;
            let statement = Statement::from_bytes(&key.layout, context, &self.tensors).ok()?;
            let proof = Proof::from_bytes(key.system, &self.proof).ok()?;
            verify(key, &statement, &proof).ok()
        };
        native().is_some()
    }
}

/// Calldata of `verifyProof` from raw words.
pub fn encode_words(words: &[Vec<u8>], proof: &[u8]) -> Vec<u8> {
    [
        &keccak256(b"verifyProof(uint256[],bytes)")[..4],
        &word(64),
        &word(96 + 32 * words.len()),
        &word(words.len()),
        &words.concat(),
        &tail(proof),
    ]
    .concat()
}

/// First four bytes of a custom error's hash.
pub fn selector(error: &str) -> Vec<u8> {
    keccak256(error.as_bytes())[..4].to_vec()
}
