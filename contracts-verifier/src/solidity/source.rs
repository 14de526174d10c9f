//! # The per-key source
//! The template, and behind it a contract with the key as annotated constants; for halo2-kzg also the specialised contract. Text from the
//! model (tensor names) is written into comments as [`plain`] text, so that a model cannot write Solidity.

use std::fmt::{Result as Written, Write};

use zkinfer_verifier::{ProofSystem, Setup, VerifyingKey, Visibility, halo2_kzg::Protocol};

use super::{creation::deployer_source, halo2_kzg, key_words::key_words};
use crate::{plain::plain, target::GenerateError};

/// What a contract of a development key adds: it cannot be deployed on a chain that matters.
const DEVELOPMENT_GUARD: &str = "    /// The key was made by one party, who can forge proofs: it may be deployed on chain id 31337 only.
    error DevelopmentKey();

    constructor() {
        if (block.chainid != 31337) revert DevelopmentKey();
    }
";

/// The template of the key's system and a contract that deploys it with this key.
pub(super) fn per_key(key: &VerifyingKey) -> Result<String, GenerateError> {
    let (name, template) = deployer_source(key.system);
    let mut text = template.to_owned();
    let words = key_words(key)?;
    let mut write = || -> Written {
        let development = key.setup == Setup::Development;
        // The contract of halo2-kzg can use a verifier that stands already.
        let (parameter, comment) = match key.system {
            ProofSystem::Halo2Kzg => (
                "address verifier",
                "    /// @param verifier A Halo2KzgVerifier that stands already, or zero: then one is created.\n",
            ),
            _ => ("", ""),
        };
        let out = &mut text;
        writeln!(out)?;
        writeln!(
            out,
            "/// @title ZkinferVerifier: deploys the {name}Verifier of one key"
        )?;
        about(out, key)?;
        writeln!(out, "contract ZkinferVerifier is {name}Deployer {{")?;
        write!(out, "{comment}")?;
        writeln!(out, "    constructor({parameter})")?;
        writeln!(out, "        {name}Deployer(")?;
        writeln!(out, "            {development}, // {} key", key.setup)?;
        if !parameter.is_empty() {
            writeln!(out, "            verifier,")?;
        }
        for word in &words {
            writeln!(out, "            // {}", word.name)?;
            for chunk in word.bytes.chunks(32) {
                writeln!(out, "            hex\"{}\"", hex::encode(chunk))?;
            }
        }
        writeln!(out, "        )")?;
        writeln!(out, "    {{}}")?;
        writeln!(out, "}}")
    };
    // Writing to a String does not fail.
    let _ = write();
    Ok(text)
}

/// The specialised contract of a halo2-kzg key.
pub(super) fn specialised(key: &VerifyingKey, protocol: &Protocol) -> String {
    let mut text = String::new();
    let _ = about(&mut text, key);
    let guard = match key.setup {
        Setup::Development => DEVELOPMENT_GUARD,
        _ => "",
    };
    halo2_kzg::specialised_source(key, protocol, &text, guard)
}

/// What the key is for, in comments.
fn about(out: &mut String, key: &VerifyingKey) -> Written {
    writeln!(
        out,
        "/// @notice Setup: {}. Public tensors, {} bytes in all:",
        key.setup,
        key.layout.public_bytes()
    )?;
    for tensor in &key.layout.tensors {
        let visibility = match tensor.visibility {
            Visibility::Public => "public",
            Visibility::Private => "private, not in the statement",
            Visibility::Hashed => "hashed, one word of the statement",
        };
        let name = plain(&tensor.name);
        let (role, shape) = (tensor.role, &tensor.shape);
        let dtype = tensor.dtype.name();
        let (scale, zero) = (tensor.scale, tensor.zero_point);
        writeln!(
            out,
            "///   {role:?} {name}: {dtype} {shape:?}, {visibility}; real = {scale:e} * (q - {zero})"
        )?;
    }
    writeln!(out, "/// @dev model {}", hex::encode(key.model_id))?;
    writeln!(out, "///      circuit {}", hex::encode(key.circuit_digest))
}
