//! # Creation code without a compiler
//! The deployer's creation code as solc wrote it, then its constructor arguments: (bool development, bytes key), for halo2-kzg
//! (bool development, address verifier, bytes key). `tests/golden.rs` compares the embedded code with solc's output for the committed source.

use zkinfer_verifier::{ProofSystem, Setup, VerifyingKey};

use super::{
    calldata::{push_bytes, word},
    key_words::key_words,
};
use crate::{hex_text::decode_hex, target::GenerateError};

/// The largest code a contract may have (EIP-170).
pub const MAX_CODE_BYTES: usize = 24_576;
/// Code in front of the key in a key contract of halo2-kzg: it hands calls on to the reusable verifier.
const FORWARDER_BYTES: usize = 108;

const GROTH16_HEX: &str = include_str!("groth16.hex");
const ULTRAGROTH_HEX: &str = include_str!("ultragroth.hex");
const HALO2_KZG_HEX: &str = include_str!("halo2-kzg.hex");
const HALO2_KZG_VERIFIER_HEX: &str = include_str!("halo2-kzg-verifier.hex");
/// Decoded when this crate is compiled: a damaged file does not build.
static GROTH16: [u8; GROTH16_HEX.len() / 2] = decode_hex(GROTH16_HEX);
static ULTRAGROTH: [u8; ULTRAGROTH_HEX.len() / 2] = decode_hex(ULTRAGROTH_HEX);
static HALO2_KZG: [u8; HALO2_KZG_HEX.len() / 2] = decode_hex(HALO2_KZG_HEX);
static HALO2_KZG_VERIFIER: [u8; HALO2_KZG_VERIFIER_HEX.len() / 2] =
    decode_hex(HALO2_KZG_VERIFIER_HEX);

/// The fixed contract of a system: its name without the suffix `Verifier` or `Deployer`, and its source.
#[must_use]
pub const fn deployer_source(system: ProofSystem) -> (&'static str, &'static str) {
    match system {
        ProofSystem::Groth16 => (
            "Groth16",
            include_str!("../../templates/Groth16Verifier.sol"),
        ),
        ProofSystem::UltraGroth => (
            "UltraGroth",
            include_str!("../../templates/UltraGrothVerifier.sol"),
        ),
        ProofSystem::Halo2Kzg => (
            "Halo2Kzg",
            include_str!("../../templates/Halo2KzgVerifier.sol"),
        ),
    }
}

/// The code that creates the contract to call for proofs of a key. For halo2-kzg that is a key contract with a reusable verifier of its
/// own; [`key_creation_code`] uses one that stands already.
///
/// # Errors
/// [`GenerateError`]: the key fails its linter, is a development key without `allow_dev_key`, or is too large for a contract.
pub fn creation_code(key: &VerifyingKey, allow_dev_key: bool) -> Result<Vec<u8>, GenerateError> {
    let deployer: &[u8] = match key.system {
        ProofSystem::Groth16 => &GROTH16,
        ProofSystem::UltraGroth => &ULTRAGROTH,
        ProofSystem::Halo2Kzg => return key_creation_code(key, allow_dev_key, [0; 20]),
    };
    let development = development(key, allow_dev_key)?;
    let key_bytes = packed_key(key)?;
    // The deployer contains the verifier's code, so this is a little more than what will be deployed.
    check_size(key, deployer.len().saturating_add(key_bytes.len()))?;
    let mut code = deployer.to_vec();
    code.extend_from_slice(&word(usize::from(development)));
    code.extend_from_slice(&word(0x40));
    push_bytes(&mut code, &key_bytes);
    Ok(code)
}

/// The code that creates the reusable verifier of halo2-kzg, of which a chain needs one.
#[must_use]
pub fn verifier_creation_code() -> &'static [u8] {
    &HALO2_KZG_VERIFIER
}

/// The code that creates the key contract of a halo2-kzg key in front of the reusable verifier at an address. It reverts unless the
/// verifier there has exactly the code of [`verifier_creation_code`]. The zero address creates one.
///
/// # Errors
/// [`GenerateError`]: the key fails its linter, is a development key without `allow_dev_key`, or is too large for a contract.
pub fn key_creation_code(
    key: &VerifyingKey,
    allow_dev_key: bool,
    verifier: [u8; 20],
) -> Result<Vec<u8>, GenerateError> {
    let development = development(key, allow_dev_key)?;
    let key_bytes = packed_key(key)?;
    check_size(key, FORWARDER_BYTES.saturating_add(key_bytes.len()))?;
    let mut code = HALO2_KZG.to_vec();
    code.extend_from_slice(&word(usize::from(development)));
    code.extend_from_slice(&[0; 12]);
    code.extend_from_slice(&verifier);
    code.extend_from_slice(&word(0x60));
    push_bytes(&mut code, &key_bytes);
    Ok(code)
}

/// Whether one party made the key, if its contract may be made at all.
pub(super) fn development(key: &VerifyingKey, allow_dev_key: bool) -> Result<bool, GenerateError> {
    key.check()?;
    let development = key.setup == Setup::Development;
    if development && !allow_dev_key {
        return Err(GenerateError::DevelopmentKey);
    }
    Ok(development)
}

fn packed_key(key: &VerifyingKey) -> Result<Vec<u8>, GenerateError> {
    let words = key_words(key)?;
    Ok(words.into_iter().flat_map(|word| word.bytes).collect())
}

fn check_size(key: &VerifyingKey, bytes: usize) -> Result<(), GenerateError> {
    if bytes <= MAX_CODE_BYTES {
        return Ok(());
    }
    Err(GenerateError::CodeSize {
        system: key.system,
        n_words: key.layout.n_words(),
        bytes,
        max: MAX_CODE_BYTES,
    })
}
