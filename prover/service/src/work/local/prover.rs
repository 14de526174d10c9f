//! A circuit whose key is loaded.

use std::fmt::Display;

use zkinfer_circuits::{Model, tensor::Tensor};
use zkinfer_engine::{self as engine, ProofInput, ProveError, Prover};
use zkinfer_verifier::{Context, VerifyingKey};

use super::{
    super::{Control, ProofParts, WarmProver, WorkError, device::Compute},
    Watched, public_values,
};

/// The code of a proof that its prover's own check refused: the key is damaged, or what computed is.
pub(crate) const SELF_CHECK: &str = "SELF_CHECK";

/// A circuit whose key is loaded.
#[derive(Debug)]
pub struct LocalProver {
    pub(super) prover: Box<dyn Prover>,
    pub(super) model: Model,
    pub(super) table_bytes: u64,
    pub(super) compute: Compute,
}

impl LocalProver {
    /// The quantized model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Memory of the tables that speed the proofs up.
    pub fn table_bytes(&self) -> u64 {
        self.table_bytes
    }

    /// The key that accepts the proofs.
    pub fn verifying_key(&self) -> &VerifyingKey {
        self.prover.verifying_key()
    }

    /// Proves quantized tensors.
    ///
    /// # Errors
    /// Cancelled, or a fault.
    pub fn prove_tensors(
        &self,
        tensors: Vec<Tensor>,
        context: Context,
        control: &dyn Control,
    ) -> Result<engine::Proven, WorkError> {
        let input = ProofInput { tensors, context };
        let prove = || {
            let rng = &mut rand::rngs::OsRng;
            self.prover.prove(&input, rng, &Watched(control))
        };
        let had_failed = self.compute.has_failed();
        let first = prove();
        let error = first.as_ref().err().map(|error| error as &dyn Display);
        // A prover may have gone on by itself.
        let proven = match self.compute.has_failed_since(had_failed, error) {
            true => first.or_else(|_| prove()),
            false => first,
        };
        proven.map_err(|e| match e {
            ProveError::Cancelled => WorkError::Cancelled,
            ProveError::Solve(_) | ProveError::Statement(_) => {
                WorkError::invalid("BAD_INPUT", e.to_string())
            }
            ProveError::SelfCheck { .. } => WorkError::fault(SELF_CHECK, e.to_string()),
            other => WorkError::fault("PROVE", other.to_string()),
        })
    }
}

impl WarmProver for LocalProver {
    fn prove(
        &self,
        input: &[u8],
        context: [u8; 32],
        control: &dyn Control,
    ) -> Result<ProofParts, WorkError> {
        let tensors: Vec<Tensor> = serde_json::from_slice(input)
            .map_err(|_| WorkError::internal("STORED_INPUT", "the stored input is damaged"))?;
        let context = Context::from_bytes(context)
            .map_err(|e| WorkError::invalid("BAD_CONTEXT", e.to_string()))?;
        let proven = self.prove_tensors(tensors, context, control)?;
        Ok(ProofParts {
            proof: proven.proof.to_bytes(),
            public_values: public_values(&proven.statement),
        })
    }
}
