//! Claims that may be lies, and the two that judge them: the native verifier and the generated contract.

#![allow(clippy::unwrap_used)]
#![allow(dead_code, reason = "each test file uses its part")]

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use zkinfer_contracts::creation_code;
use zkinfer_contracts::evm::{Deployed, Evm, EvmError};
use zkinfer_params::keys::{ProvingKeyFile, SectionKind};
use zkinfer_verifier::{Context, Proof, Statement, VerifyingKey, verify};

/// A proof and what it claims, as bytes that may be lies.
#[derive(Clone)]
pub struct Claim {
    pub context: [u8; 32],
    pub publics: Vec<u8>,
    pub proof: Vec<u8>,
}

/// A key, and its contract on a chain.
pub struct Judges {
    pub key: VerifyingKey,
    pub contract: Deployed,
    evm: RefCell<Evm>,
}

impl Judges {
    pub fn new(key: VerifyingKey) -> Self {
        let mut evm = Evm::new(31_337);
        let contract = evm.deploy(&creation_code(&key, true).unwrap()).unwrap();
        Self {
            key,
            contract,
            evm: RefCell::new(evm),
        }
    }

    /// Whether both accept; they never differ.
    #[track_caller]
    pub fn accept(&self, claim: &Claim) -> bool {
        let (native, chain) = (self.accepts_natively(claim), self.accepts_on_chain(claim));
        assert_eq!(native, chain, "the native verifier and the contract differ");
        native
    }

    /// Both must refuse.
    #[track_caller]
    pub fn refuse(&self, lie: &Claim, what: &str) {
        assert!(
            !self.accepts_natively(lie),
            "the native verifier accepts {what}"
        );
        assert!(!self.accepts_on_chain(lie), "the contract accepts {what}");
    }

    /// Execution gas of an honest claim.
    pub fn gas(&self, claim: &Claim) -> u64 {
        let mut evm = self.evm.borrow_mut();
        let outcome = evm.call(self.contract.address, &claim.calldata()).unwrap();
        assert!(says_yes(&outcome.output));
        outcome.gas_used
    }

    fn accepts_natively(&self, claim: &Claim) -> bool {
        let Ok(context) = Context::from_bytes(claim.context) else {
            return false;
        };
        let Ok(proof) = Proof::from_bytes(self.key.system, &claim.proof) else {
            return false;
        };
        verify(
            &self.key,
            &Statement {
                context,
                public_bytes: claim.publics.clone(),
                digests: vec![],
            },
            &proof,
        )
        .is_ok()
    }

    /// A revert or a stop is a refusal; a call that returns anything but 1 is a defect.
    fn accepts_on_chain(&self, claim: &Claim) -> bool {
        match self
            .evm
            .borrow_mut()
            .call(self.contract.address, &claim.calldata())
        {
            Ok(outcome) => {
                let output = &outcome.output;
                assert!(says_yes(output), "the contract returned {output:?}");
                true
            }
            Err(EvmError::Reverted { .. } | EvmError::Halted { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

impl Claim {
    /// The claim of a `proof.json`.
    pub fn read(path: &Path) -> Self {
        let json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let bytes = |field: &str| {
            hex::decode(json[field].as_str().unwrap().trim_start_matches("0x")).unwrap()
        };
        Self {
            context: bytes("context").try_into().unwrap(),
            publics: bytes("publics"),
            proof: bytes("proof"),
        }
    }

    /// The call of `verify(uint256,bytes,bytes)` that makes this claim, true or not.
    pub fn calldata(&self) -> Vec<u8> {
        let word = |value: usize| [vec![0; 24], (value as u64).to_be_bytes().to_vec()].concat();
        let bytes = |data: &[u8]| {
            [
                word(data.len()),
                data.to_vec(),
                vec![0; data.len().next_multiple_of(32) - data.len()],
            ]
            .concat()
        };
        let publics = bytes(&self.publics);
        let selector = zkinfer_verifier::keccak256(b"verify(uint256,bytes,bytes)")[..4].to_vec();
        [
            selector,
            self.context.to_vec(),
            word(0x60),
            word(0x60 + publics.len()),
            publics,
            bytes(&self.proof),
        ]
        .concat()
    }
}

/// The output tensors that `infer` printed are the public outputs of the proof.
pub fn inference_is_what_was_proved(inferred: &str, key: &VerifyingKey, claim: &Claim) {
    let printed: Value = serde_json::from_str(inferred).unwrap();
    let statement = Statement {
        context: Context::from_bytes(claim.context).unwrap(),
        public_bytes: claim.publics.clone(),
        digests: vec![],
    };
    let tensors = statement.tensors(&key.layout).unwrap();
    let outputs: Vec<Value> = tensors
        .iter()
        .filter(|(spec, _)| spec.role == zkinfer_verifier::Role::Output)
        .map(|(_, values)| json!(values))
        .collect();
    let quantized: Vec<Value> = printed["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|output| output["quantized"].clone())
        .collect();
    assert_eq!(quantized, outputs);
}

/// What the quote says exactly is so: in the key on disk, the verifying key and the proof.
#[track_caller]
pub fn exactly_as_quoted(quoted: &Value, bundle: &Path, key: &VerifyingKey, claim: &Claim) {
    let path = bundle.join("proving.key");
    let bytes = fs::metadata(&path).unwrap().len();
    assert_eq!(count(quoted, "proving_key_bytes"), bytes);
    assert_eq!(count(quoted, "proof_bytes"), claim.proof.len() as u64);
    let file = ProvingKeyFile::open(&path).unwrap();
    let points = |kind| file.section(kind).unwrap().count;
    let (rows, domain) = (count(quoted, "rows"), count(quoted, "domain"));
    if let Some(groth) = key.groth() {
        assert_eq!(points(SectionKind::A), count(quoted, "wires"));
        assert_eq!(points(SectionKind::H), domain);
        // Beside the constraints there is one row for each instance wire.
        let constraints = count(quoted, "constraints");
        assert_eq!(rows, constraints + groth.ic.len() as u64);
        let parts = |list: &str| -> u64 {
            let list = quoted[list].as_array().unwrap().iter();
            list.map(|part| part["rows"].as_u64().unwrap()).sum()
        };
        let parts = parts("by_layer") + parts("tables") + count(quoted, "statement_rows");
        assert_eq!(parts, constraints);
        assert_eq!(domain, rows.next_power_of_two());
    } else {
        assert_eq!(points(SectionKind::Monomial), domain);
        assert!(rows <= domain);
        let protocol = key.halo2_kzg().unwrap();
        assert_eq!(
            protocol.fixed.len() as u64,
            count(&quoted["columns"], "fixed")
        );
        assert_eq!(
            protocol.sigma.len() as u64,
            count(&quoted["columns"], "permuted")
        );
    }
}

/// A number of a JSON value.
#[track_caller]
pub fn count(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap()
}

fn says_yes(output: &[u8]) -> bool {
    output.len() == 32 && output[..31].iter().all(|byte| *byte == 0) && output[31] == 1
}

pub fn zkinfer(verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zkinfer"));
    command.arg(verb);
    command
}

#[track_caller]
pub fn passes(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    assert!(
        status.success(),
        "{command:?}: {status}: {}",
        String::from_utf8_lossy(&stderr)
    );
    String::from_utf8(stdout).unwrap()
}

/// Exit 1: not valid. Exit 2 or a signal is something else.
#[track_caller]
pub fn refused(command: &mut Command) -> bool {
    let output = command.output().unwrap();
    assert!(
        matches!(output.status.code(), Some(0 | 1)),
        "{command:?}: {output:?}"
    );
    output.status.code() == Some(1)
}
