//! # Targets: what every kind of chain needs from us
//! A target turns a verifying key into source files, and a proof of the key into the bytes of a call.

use std::collections::BTreeMap;

use zkinfer_verifier::{
    KeyError, Proof, ProofError, ProofSystem, Statement, VerifyError, VerifyingKey,
};

/// Generated files: path relative to the output folder, contents.
pub type SourceTree = BTreeMap<String, String>;

/// A kind of chain that contracts are generated for.
pub trait Target {
    /// The files of the verifier of one key.
    ///
    /// # Errors
    /// [`GenerateError`] if the key must not be deployed or does not fit.
    fn generate(&self, key: &VerifyingKey) -> Result<SourceTree, GenerateError>;

    /// The bytes of the call that checks one proof under a key.
    ///
    /// # Errors
    /// [`GenerateError`] if the proof could not be accepted by any verifier.
    fn encode(
        &self,
        key: &VerifyingKey,
        statement: &Statement,
        proof: &Proof,
    ) -> Result<Vec<u8>, GenerateError>;
}

/// Why nothing was generated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The key fails its linter.
    #[error("verifying key: {0}")]
    Key(#[from] KeyError),
    /// One party made the key and could forge proofs.
    #[error(
        "this is a development key: whoever made it can forge proofs; pass --allow-dev-key for a contract that deploys on chain id 31337 only, or a Substrate crate whose key a runtime refuses unless its AllowDevelopmentKeys is true"
    )]
    DevelopmentKey,
    /// The contract would exceed the code size limit.
    #[error(
        "the {system} contract for {n_words} words has up to {bytes} bytes of code, the limit is {max}: make fewer tensors public or use ultragroth"
    )]
    CodeSize {
        /// The key's system.
        system: ProofSystem,
        /// Words of its statements.
        n_words: usize,
        /// Size of the deployed code, or a little more.
        bytes: usize,
        /// The limit of EIP-170.
        max: usize,
    },
    /// The statement or the circuit is beyond what a contract of the system can address.
    #[error("no {system} contract can check this circuit with statements of {n_words} words")]
    Statement {
        /// The key's system.
        system: ProofSystem,
        /// Words of its statements.
        n_words: usize,
    },
    /// A point of the proof is not acceptable.
    #[error("{0}")]
    Proof(#[from] ProofError),
    /// The tests of what is generated need a proof, and there is none.
    #[error("the tests of a generated crate need a proof of the key, and none was given")]
    NoExample,
    /// The proof for the tests does not hold.
    #[error("the example for the tests of the generated crate: {0}")]
    Example(VerifyError),
}
