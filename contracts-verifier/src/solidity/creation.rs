//! # Creation code without a compiler
//! The deployer's creation code as solc wrote it, then its constructor arguments (bool development, bytes key). `tests/golden.rs` compares the
//! embedded code with solc's output for the committed source.

use zkinfer_verifier::{ProofSystem, Setup, VerifyingKey};

use super::{
    calldata::{push_bytes, word},
    key_words::key_words,
};
use crate::target::GenerateError;

/// The largest code a contract may have (EIP-170).
pub const MAX_CODE_BYTES: usize = 24_576;

const GROTH16_HEX: &str = include_str!("groth16.hex");
const ULTRAGROTH_HEX: &str = include_str!("ultragroth.hex");
/// Decoded when this crate is compiled: a damaged file does not build.
static GROTH16: [u8; GROTH16_HEX.len() / 2] = decode_hex(GROTH16_HEX);
static ULTRAGROTH: [u8; ULTRAGROTH_HEX.len() / 2] = decode_hex(ULTRAGROTH_HEX);

/// The fixed contract of a Groth16 system: its name without the suffix `Verifier` or `Deployer`, and its source.
#[must_use]
pub const fn deployer_source(system: ProofSystem) -> Option<(&'static str, &'static str)> {
    Some(match system {
        ProofSystem::Groth16 => (
            "Groth16",
            include_str!("../../templates/Groth16Verifier.sol"),
        ),
        ProofSystem::UltraGroth => (
            "UltraGroth",
            include_str!("../../templates/UltraGrothVerifier.sol"),
        ),
        ProofSystem::Halo2Kzg => return None,
    })
}

/// The code that creates the verifier contract of a key.
///
/// # Errors
/// [`GenerateError`]: the key fails its linter, is a development key without `allow_dev_key`, or is too large for a contract.
pub fn creation_code(key: &VerifyingKey, allow_dev_key: bool) -> Result<Vec<u8>, GenerateError> {
    key.check()?;
    let development = key.setup == Setup::Development;
    if development && !allow_dev_key {
        return Err(GenerateError::DevelopmentKey);
    }
    let system = key.system;
    let groth = key.groth().ok_or(GenerateError::System { system })?;
    let deployer: &[u8] = match system {
        ProofSystem::Groth16 => &GROTH16,
        ProofSystem::UltraGroth => &ULTRAGROTH,
        ProofSystem::Halo2Kzg => return Err(GenerateError::System { system }),
    };
    // The deployer contains the verifier's code, so this is a little more than what will be deployed.
    let bytes = deployer
        .len()
        .saturating_add(64 * groth.ic.len())
        .saturating_add(512 + 64);
    if bytes > MAX_CODE_BYTES {
        let n_words = key.layout.n_words();
        return Err(GenerateError::CodeSize {
            system: key.system,
            n_words,
            bytes,
            max: MAX_CODE_BYTES,
        });
    }
    let mut code = deployer.to_vec();
    code.extend_from_slice(&word(usize::from(development)));
    code.extend_from_slice(&word(0x40));
    let key_bytes: Vec<u8> = key_words(key, groth)
        .into_iter()
        .flat_map(|word| word.bytes)
        .collect();
    push_bytes(&mut code, &key_bytes);
    Ok(code)
}

const fn decode_hex<const N: usize>(text: &str) -> [u8; N] {
    const fn digit(byte: u8) -> u8 {
        match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => panic!("embedded creation code is not lower-case hexadecimal"),
        }
    }
    let text = text.as_bytes();
    let mut bytes = [0; N];
    let mut i = 0;
    while i < N {
        bytes[i] = digit(text[2 * i]) << 4 | digit(text[2 * i + 1]);
        i += 1;
    }
    bytes
}
