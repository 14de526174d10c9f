//! # SCALE-encoded calls
//! Place of the pallet in its runtime ‖ number of the call ‖ arguments; byte strings behind their compact length. The tests of every
//! generated crate decode them as the call type of a runtime. Source: docs.polkadot.com, SCALE codec.

use parity_scale_codec::Encode as _;
use zkinfer_verifier::{Proof, Statement, VerifyingKey};

/// The number of the pallet's call `register_key`.
pub const REGISTER_KEY: u8 = 0;
/// The number of the pallet's call `verify`.
pub const VERIFY: u8 = 2;

/// The call `verify(key, context, public_tensors, proof)`.
#[must_use]
pub fn call_verify(
    pallet_index: u8,
    key_digest: &[u8; 32],
    statement: &Statement,
    proof: &Proof,
) -> Vec<u8> {
    let context = statement.context.to_bytes();
    let tensors = statement.to_bytes();
    let arguments = (key_digest, context, tensors, proof.to_bytes());
    (pallet_index, VERIFY, arguments).encode()
}

/// The call `register_key(key)`.
#[must_use]
pub fn call_register_key(pallet_index: u8, key: &VerifyingKey) -> Vec<u8> {
    (pallet_index, REGISTER_KEY, key.encode()).encode()
}
