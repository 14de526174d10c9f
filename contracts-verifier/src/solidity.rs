//! # Solidity: one fixed contract per proof system, its key at the end of its code
//! `templates/*.sol` hold the contracts. The per-key source is the template and a thin contract whose constructor hands the key, as
//! annotated constants, to the deployer of the template; the deployer leaves behind `runtime ‖ key`, or, for halo2-kzg, a forwarder to the
//! one reusable verifier and the key. The creation code of the deployer is embedded here as solc wrote it (a test compares), so nobody needs
//! solc to deploy. halo2-kzg also has a specialised contract, source only. Layout of the keys and soundness: DESIGN.md.

mod calldata;
mod creation;
mod halo2_kzg;
mod key_words;
mod source;

use zkinfer_verifier::{Proof, Statement, VerifyingKey};

pub use calldata::{calldata_verify, calldata_verify_proof};
pub use creation::{
    MAX_CODE_BYTES, creation_code, deployer_source, key_creation_code, verifier_creation_code,
};
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
    /// groth16, ultragroth: `ZkinferVerifier.sol`, self-contained, and `ZkinferVerifier.bin`, the creation code in hexadecimal: the same
    /// contract for those without solc. halo2-kzg: `ZkinferVerifier.sol`, the specialised contract; `ZkinferReusable.sol` and
    /// `ZkinferReusable.bin`, the key contract for the reusable verifier, as source and as creation code.
    fn generate(&self, key: &VerifyingKey) -> Result<SourceTree, GenerateError> {
        let creation = hex::encode(creation_code(key, self.allow_dev_key)?) + "\n";
        let source = source::per_key(key)?;
        let files = match key.halo2_kzg() {
            None => vec![
                ("ZkinferVerifier.sol", source),
                ("ZkinferVerifier.bin", creation),
            ],
            Some(protocol) => vec![
                ("ZkinferVerifier.sol", source::specialised(key, protocol)),
                ("ZkinferReusable.sol", source),
                ("ZkinferReusable.bin", creation),
            ],
        };
        let files = files.into_iter();
        Ok(files.map(|(name, text)| (name.to_owned(), text)).collect())
    }

    /// Calldata of `verify(uint256 context, bytes publicTensors, bytes proof)`. The key is the contract's.
    fn encode(
        &self,
        _key: &VerifyingKey,
        statement: &Statement,
        proof: &Proof,
    ) -> Result<Vec<u8>, GenerateError> {
        proof.check()?;
        Ok(calldata_verify(statement, proof))
    }
}
