//! # Solidity: one fixed contract per proof system, its key at the end of its code
//! `templates/*.sol` hold the contracts. The per-key source is the template and a thin contract whose constructor hands the key, as
//! annotated constants, to the deployer of the template; the deployer leaves behind `runtime ‖ key`. The creation code of the deployer is embedded
//! here as solc wrote it (a test compares), so nobody needs solc to deploy. Layout of the key and soundness: DESIGN.md.

mod calldata;
mod creation;
mod key_words;
mod source;

use zkinfer_verifier::{Proof, Statement, VerifyingKey};

pub use calldata::{calldata_verify, calldata_verify_proof};
pub use creation::{MAX_CODE_BYTES, creation_code, deployer_source};
pub use key_words::{KeyWord, key_words};

use crate::target::{GenerateError, SourceTree, Target};

/// The chain id of local development networks, the only one a contract with a development key deploys on.
pub const DEVELOPMENT_CHAIN_ID: u64 = 31_337;

/// The Solidity target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Solidity {
    /// Whether keys made by one party are allowed; their contracts deploy on [`DEVELOPMENT_CHAIN_ID`] only.
    pub allow_dev_key: bool,
}

impl Target for Solidity {
    /// `ZkinferVerifier.sol`, self-contained, and `ZkinferVerifier.bin`, the creation code in hexadecimal: the same contract for
    /// those without solc.
    fn generate(&self, key: &VerifyingKey) -> Result<SourceTree, GenerateError> {
        let creation = creation_code(key, self.allow_dev_key)?;
        Ok(SourceTree::from([
            ("ZkinferVerifier.sol".to_owned(), source::per_key(key)?),
            (
                "ZkinferVerifier.bin".to_owned(),
                hex::encode(creation) + "\n",
            ),
        ]))
    }

    /// Calldata of `verify(uint256 context, bytes publicTensors, bytes proof)`.
    fn encode(&self, statement: &Statement, proof: &Proof) -> Result<Vec<u8>, GenerateError> {
        proof.check()?;
        Ok(calldata_verify(statement, proof))
    }
}
