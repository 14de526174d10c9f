//! # The per-key source
//! The template, and behind it a contract with the key as annotated constants. Text from the model (tensor names) is written into comments
//! with everything but plain letters, digits and `._/:-` replaced, so that a model cannot write Solidity.

use std::fmt::Write;

use zkinfer_verifier::{GrothKey, VerifyingKey, Visibility};

use super::{creation::deployer_source, key_words::key_words};
use crate::target::GenerateError;

pub(super) fn per_key(key: &VerifyingKey) -> Result<String, GenerateError> {
    let system = key.system;
    let source = deployer_source(system).zip(key.groth());
    let ((name, template), groth) = source.ok_or(GenerateError::System { system })?;
    let mut text = template.to_owned();
    // Writing to a String does not fail.
    let _ = write_contract(&mut text, name, key, groth);
    Ok(text)
}

fn write_contract(
    out: &mut String,
    name: &str,
    key: &VerifyingKey,
    groth: &GrothKey,
) -> std::fmt::Result {
    let development = key.setup == zkinfer_verifier::Setup::Development;
    writeln!(out)?;
    writeln!(
        out,
        "/// @title ZkinferVerifier: deploys the {name}Verifier of one key"
    )?;
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
        };
        let name: String = tensor
            .name
            .chars()
            .map(|c| if is_plain(c) { c } else { '?' })
            .collect();
        let (role, shape) = (tensor.role, &tensor.shape);
        let dtype = tensor.dtype.name();
        let (scale, zero) = (tensor.scale, tensor.zero_point);
        writeln!(
            out,
            "///   {role:?} {name}: {dtype} {shape:?}, {visibility}; real = {scale:e} * (q - {zero})"
        )?;
    }
    writeln!(out, "/// @dev model {}", hex::encode(key.model_id))?;
    writeln!(out, "///      circuit {}", hex::encode(key.circuit_digest))?;
    writeln!(out, "contract ZkinferVerifier is {name}Deployer {{")?;
    writeln!(out, "    constructor()")?;
    writeln!(out, "        {name}Deployer(")?;
    writeln!(out, "            {development}, // {} key", key.setup)?;
    for word in key_words(key, groth) {
        writeln!(out, "            // {}", word.name)?;
        for chunk in word.bytes.chunks(32) {
            writeln!(out, "            hex\"{}\"", hex::encode(chunk))?;
        }
    }
    writeln!(out, "        )")?;
    writeln!(out, "    {{}}")?;
    writeln!(out, "}}")
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._/:-".contains(c)
}
