//! # Substrate: a crate for one key, and calls of the pallet
//! `substrate/pallet` is the pallet that verifies proofs of any registered key. A generated crate is what a runtime needs to use one key
//! with it: the key as constants, the pallet's interface pinned to them, the sources of pallet and verifier at pinned versions, and
//! tests that show, on a real proof and what is not one, that pallet and native verifier accept the same. Why so: DESIGN.md#substrate.

mod calls;
mod manifest;
mod mutations;
mod pages;
mod vendored;

use zkinfer_verifier::{Proof, Setup, Statement, VerifyingKey, verify};

pub use calls::{REGISTER_KEY, VERIFY, call_register_key, call_verify};

use crate::target::{GenerateError, SourceTree, Target};

/// The place of the pallet in the runtime of a generated crate's tests, unless another is asked for.
pub const PALLET_INDEX: u8 = 8;

/// A proof that holds, and what it proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// What is claimed.
    pub statement: Statement,
    /// Its proof.
    pub proof: Proof,
}

/// The Substrate target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Substrate {
    /// Whether keys made by one party are allowed; a runtime refuses them unless its `AllowDevelopmentKeys` is true.
    pub allow_dev_key: bool,
    /// The place of the pallet in the runtime that calls are for, the number in its `construct_runtime!`.
    pub pallet_index: u8,
    /// What a generated crate is tested on; encoding needs none.
    pub example: Option<Example>,
}

impl Default for Substrate {
    fn default() -> Self {
        Self {
            allow_dev_key: false,
            pallet_index: PALLET_INDEX,
            example: None,
        }
    }
}

impl Target for Substrate {
    /// A crate that builds and tests itself with `cargo test`: workspace and lock file, `src`, the key in hexadecimal, the calls that
    /// register it and show the example, changed proofs, statements and keys with the verdict of the native verifier on each, and the
    /// sources of the pallet and the verifier. Needs an example.
    fn generate(&self, key: &VerifyingKey) -> Result<SourceTree, GenerateError> {
        key.check()?;
        if key.setup == Setup::Development && !self.allow_dev_key {
            return Err(GenerateError::DevelopmentKey);
        }
        let example = self.example.as_ref().ok_or(GenerateError::NoExample)?;
        verify(key, &example.statement, &example.proof).map_err(GenerateError::Example)?;
        let Example { statement, proof } = example;
        let name = pages::crate_name(key);
        let line = |bytes: &[u8]| hex::encode(bytes) + "\n";
        let call = call_verify(self.pallet_index, &key.digest(), statement, proof);
        let register = call_register_key(self.pallet_index, key);
        let own = [
            (".gitignore", "/target\n".to_owned()),
            ("Cargo.lock", manifest::lock(&name)),
            ("Cargo.toml", manifest::workspace(&name)),
            ("README.md", pages::readme(key, self.pallet_index)),
            ("calls/register_key.hex", line(&register)),
            ("calls/verify.hex", line(&call)),
            ("key.hex", line(&key.encode())),
            ("src/hex_text.rs", include_str!("hex_text.rs").to_owned()),
            ("src/lib.rs", pages::library(key)),
            ("src/mock.rs", pages::mock(self.pallet_index)),
            ("src/tests.rs", pages::TESTS.to_owned()),
            ("vectors/example.txt", mutations::example(key, example)),
            ("vectors/mutations.txt", mutations::sampled(key, example)),
        ];
        let own = own.into_iter().map(|(path, text)| (path.to_owned(), text));
        Ok(own.chain(vendored::files()).collect())
    }

    /// The SCALE encoding of the pallet's call `verify`, without signature and extensions: what a client signs.
    fn encode(
        &self,
        key: &VerifyingKey,
        statement: &Statement,
        proof: &Proof,
    ) -> Result<Vec<u8>, GenerateError> {
        proof.check()?;
        Ok(call_verify(
            self.pallet_index,
            &key.digest(),
            statement,
            proof,
        ))
    }
}
