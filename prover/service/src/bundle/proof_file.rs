//! `proof.json`: {system, vk_digest, context, publics, digests, proof}, without digests where no tensor is hashed; every value but the system is `0x` and lower-case hexadecimal.

use serde::{Deserialize, Serialize};
use zkinfer_verifier::{
    Context, ContextError, Proof, ProofError, ProofSystem, Statement, StatementError, UnknownName,
    VerifyError, VerifyingKey, curve::scalar_to_bytes,
};

/// Why a proof.json does not prove what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofFileError {
    /// Not the JSON object that it must be.
    #[error("not a proof.json of zkinfer: {0}")]
    Json(#[from] serde_json::Error),
    /// A value is not hexadecimal.
    #[error("{field}: expected 0x and lower-case hexadecimal digits")]
    Hex {
        /// Which.
        field: &'static str,
    },
    /// A value has the wrong length.
    #[error("{field}: expected {expected} bytes, got {got}")]
    Length {
        /// Which.
        field: &'static str,
        /// Bytes expected.
        expected: usize,
        /// Bytes found.
        got: usize,
    },
    /// Unknown system.
    #[error("system: {0}")]
    System(#[from] UnknownName),
    /// Another system's proof.
    #[error("the proof is a {got} proof, the key is a {expected} key")]
    OtherSystem {
        /// The key's.
        expected: ProofSystem,
        /// The proof's.
        got: ProofSystem,
    },
    /// Another key's proof.
    #[error(
        "the proof was made for the key {got}, this is the key {expected}: another model, or another setup of it"
    )]
    OtherKey {
        /// The key's digest.
        expected: String,
        /// The digest in the proof.
        got: String,
    },
    /// The context is not one.
    #[error("context: {0}")]
    Context(#[from] ContextError),
    /// The digests are not those of a statement of the key.
    #[error("statement: {0}")]
    Statement(#[from] StatementError),
    /// The points are not points.
    #[error("proof: {0}")]
    Proof(#[from] ProofError),
    /// The proof does not hold.
    #[error("{0}")]
    Verify(#[from] VerifyError),
}

/// A proof with the statement it claims, as it lies in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofFile {
    /// "groth16", "ultragroth" or "halo2-kzg".
    pub system: String,
    /// The key that it was made for.
    pub vk_digest: String,
    /// 32 bytes.
    pub context: String,
    /// The bytes of the public tensors.
    pub publics: String,
    /// The digests of the hashed tensors, in declared order, 32 bytes each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<String>,
    /// The points.
    pub proof: String,
}

fn write(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

fn read(field: &'static str, text: &str) -> Result<Vec<u8>, ProofFileError> {
    let digits = text
        .strip_prefix("0x")
        .ok_or(ProofFileError::Hex { field })?;
    if digits.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(ProofFileError::Hex { field });
    }
    hex::decode(digits).map_err(|_| ProofFileError::Hex { field })
}

fn read_32(field: &'static str, text: &str) -> Result<[u8; 32], ProofFileError> {
    let bytes = read(field, text)?;
    let got = bytes.len();
    bytes.try_into().map_err(|_| ProofFileError::Length {
        field,
        expected: 32,
        got,
    })
}

impl ProofFile {
    /// The file of a proof.
    pub fn new(
        vk_digest: &[u8; 32],
        system: ProofSystem,
        statement: &Statement,
        proof: &Proof,
    ) -> Self {
        Self {
            system: system.name().to_owned(),
            vk_digest: write(vk_digest),
            context: write(&statement.context.to_bytes()),
            publics: write(&statement.public_bytes),
            digests: statement
                .digests
                .iter()
                .map(|digest| write(&scalar_to_bytes(*digest)))
                .collect(),
            proof: write(&proof.to_bytes()),
        }
    }

    /// Reads the JSON; unknown, missing and repeated fields are errors.
    ///
    /// # Errors
    /// It is not the object that it must be.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofFileError> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("an object of strings") + "\n"
    }

    /// The statement and the proof, for the key they claim to be for.
    ///
    /// # Errors
    /// A value is malformed, or the proof is another key's.
    pub fn decode(&self, vk: &VerifyingKey) -> Result<(Statement, Proof), ProofFileError> {
        let system: ProofSystem = self.system.parse()?;
        if system != vk.system {
            return Err(ProofFileError::OtherSystem {
                expected: vk.system,
                got: system,
            });
        }
        let digest = read_32("vk_digest", &self.vk_digest)?;
        if digest != vk.digest() {
            return Err(ProofFileError::OtherKey {
                expected: write(&vk.digest()),
                got: self.vk_digest.clone(),
            });
        }
        let context = Context::from_bytes(read_32("context", &self.context)?)?;
        let mut shown = read("publics", &self.publics)?;
        let expected = vk.layout.public_bytes();
        if shown.len() != expected {
            return Err(ProofFileError::Length {
                field: "publics",
                expected,
                got: shown.len(),
            });
        }
        let (expected, got) = (vk.layout.n_hashed(), self.digests.len());
        if expected != got {
            return Err(StatementError::Digests { expected, got }.into());
        }
        for digest in &self.digests {
            shown.extend(read_32("digests", digest)?);
        }
        let statement = Statement::from_bytes(&vk.layout, context, &shown)?;
        let proof = Proof::from_bytes(system, &read("proof", &self.proof)?)?;
        Ok((statement, proof))
    }

    /// Decodes and verifies.
    ///
    /// # Errors
    /// Why the proof does not hold.
    pub fn verify(&self, vk: &VerifyingKey) -> Result<(Statement, Proof), ProofFileError> {
        let (statement, proof) = self.decode(vk)?;
        zkinfer_verifier::verify(vk, &statement, &proof)?;
        Ok((statement, proof))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ProofFile {
        ProofFile {
            system: "groth16".into(),
            vk_digest: write(&[1; 32]),
            context: write(&[0; 32]),
            publics: "0x".into(),
            digests: vec![],
            proof: write(&[2; 256]),
        }
    }

    #[test]
    fn unknown_missing_and_repeated_fields_are_refused() {
        let text = sample().to_json();
        assert_eq!(ProofFile::parse(text.as_bytes()).ok(), Some(sample()));
        let unknown = text.replacen('{', "{\"extra\": 1,", 1);
        assert!(ProofFile::parse(unknown.as_bytes()).is_err());
        let repeated = text.replacen('{', "{\"system\": \"groth16\",", 1);
        assert!(ProofFile::parse(repeated.as_bytes()).is_err());
        assert!(ProofFile::parse(b"{\"system\": \"groth16\"}").is_err());
        for end in 0..text.len() - 2 {
            assert!(ProofFile::parse(&text.as_bytes()[..end]).is_err());
        }
    }

    #[test]
    fn only_lower_case_hexadecimal_is_read() {
        assert!(read("x", "0xab").is_ok());
        for bad in ["ab", "0xAB", "0xa", "0xzz", "0Xab", " 0xab", ""] {
            assert!(read("x", bad).is_err(), "{bad}");
        }
        assert!(matches!(
            read_32("x", "0xab"),
            Err(ProofFileError::Length {
                expected: 32,
                got: 1,
                ..
            })
        ));
    }
}
