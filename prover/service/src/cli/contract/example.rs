//! Proofs that a generated crate is tested on: one that lies in a file, or one of an input of zeros.

use std::path::Path;

use zkinfer_circuits::tensor::Tensor;
use zkinfer_contracts::Example;
use zkinfer_verifier::{Context, Role, TensorSpec, VerifyingKey};

use super::super::{CliError, output::read_file, progress::Bar};
use crate::{
    bundle::{Bundle, MAX_PROOF_FILE_BYTES, ProofFile},
    work::local::{self, LocalWork},
};

/// The proof of a proof.json, if it holds.
pub(super) fn read(path: &Path, vk: &VerifyingKey) -> Result<Example, CliError> {
    let text = read_file(path, MAX_PROOF_FILE_BYTES, "proof")?;
    let (statement, proof) = ProofFile::parse(&text)
        .and_then(|file| file.verify(vk))
        .map_err(|e| CliError::failed(format!("{}: {e}", path.display())))?;
    Ok(Example { statement, proof })
}

/// Proves inputs of nothing but zeros.
pub(super) fn prove(bundle: &Bundle) -> Result<Example, CliError> {
    let hint = |e: &dyn std::fmt::Display| {
        CliError::failed(format!(
            "the generated crate is tested on a proof, and an input of zeros cannot be proved ({e}); pass a proof.json with --proof"
        ))
    };
    let bar = Bar::new("prove");
    let (_, program) = local::read_circuit(bundle).map_err(|e| hint(&e))?;
    let specs = program.layout().tensors.iter();
    let inputs = specs.filter(|spec| spec.role == Role::Input).map(zero);
    let prover = LocalWork::in_process()
        .load(bundle, &bar)
        .map_err(|e| hint(&e))?;
    let proven = prover
        .prove_tensors(inputs.collect(), Context::ZERO, &bar)
        .map_err(|e| hint(&e))?;
    Ok(Example {
        statement: proven.statement,
        proof: proven.proof,
    })
}

/// The tensor that stands for real zeros, or for what is nearest to them.
fn zero(spec: &TensorSpec) -> Tensor {
    let element = spec.zero_point.clamp(spec.dtype.min(), spec.dtype.max());
    Tensor {
        shape: spec.shape.iter().map(|&dim| dim as usize).collect(),
        data: vec![element; spec.len()],
    }
}
