//! Every model through every verb, and every lie refused by the native verifier and by the contract alike.
//!
//! The default is the part that continuous integration runs. The whole matrix (six models with `ultragroth` and `halo2-kzg`, three with
//! `groth16`):
//!
//! ```sh
//! ZKINFER_MATRIX=all cargo test --release -p zkinfer-service --test matrix -- --nocapture
//! ```
//!
//! `ZKINFER_MATRIX` also takes a part of a model's name.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use zkinfer_contracts::creation_code;
use zkinfer_contracts::evm::{Deployed, Evm, EvmError};
use zkinfer_verifier::{Context, Proof, ProofSystem, Statement, VerifyingKey, verify};

/// One of the byte strings of a claim.
type Part = fn(&mut Claim) -> &mut [u8];

/// Model, system, and whether continuous integration runs it.
const MATRIX: [(&str, ProofSystem, bool); 15] = [
    ("digits-mlp", ProofSystem::UltraGroth, true),
    ("digits-mlp", ProofSystem::Halo2Kzg, true),
    ("digits-mlp", ProofSystem::Groth16, true),
    ("digits-cnn", ProofSystem::UltraGroth, true),
    ("digits-cnn", ProofSystem::Halo2Kzg, true),
    ("digits-cnn", ProofSystem::Groth16, false),
    ("lenet5-mnist-shape", ProofSystem::UltraGroth, false),
    ("lenet5-mnist-shape", ProofSystem::Halo2Kzg, false),
    ("lenet5-mnist-shape", ProofSystem::Groth16, false),
    ("mlp-100k", ProofSystem::UltraGroth, false),
    ("mlp-100k", ProofSystem::Halo2Kzg, false),
    ("cnn-cifar-tiny", ProofSystem::UltraGroth, false),
    ("cnn-cifar-tiny", ProofSystem::Halo2Kzg, false),
    ("cnn-cifar-small", ProofSystem::UltraGroth, false),
    ("cnn-cifar-small", ProofSystem::Halo2Kzg, false),
];

const CONTEXT: &str = "0x1234";
const OTHER_CONTEXT: &str = "0x1235";
/// Execution gas that one `ultragroth` verification may take, whatever the model.
const ULTRAGROTH_GAS: u64 = 250_000;
/// The same for one `halo2-kzg` verification by the contract that reads its key.
const HALO2_KZG_GAS: u64 = 700_000;

#[test]
fn every_model_is_proved_and_every_lie_is_refused_natively_and_in_the_evm() {
    let wanted = std::env::var("ZKINFER_MATRIX").unwrap_or_else(|_| "ci".to_owned());
    let chosen = |name: &str, ci: bool| match wanted.as_str() {
        "all" => true,
        "ci" => ci,
        part => name.contains(part),
    };
    let mut before: Vec<Case> = Vec::new();
    println!(
        "| model | system | setup s | prove s | proof B | publics B | code B | gas | lies refused |"
    );
    println!("|---|---|--:|--:|--:|--:|--:|--:|--:|");
    for (model, system, _) in MATRIX.into_iter().filter(|(name, _, ci)| chosen(name, *ci)) {
        let case = Case::new(model, system);
        let lies = case.refuses_other_claims()
            + case.refuses_other_models(&before)
            + case.refuses_every_changed_byte();
        println!("{} {lies} |", case.row);
        before.push(case);
    }
    assert!(!before.is_empty(), "ZKINFER_MATRIX={wanted} names no model");
}

/// A proof and what it claims, as bytes that may be lies.
#[derive(Clone)]
struct Claim {
    context: [u8; 32],
    publics: Vec<u8>,
    proof: Vec<u8>,
}

/// One model and system, compiled, set up, proved and deployed.
struct Case {
    label: String,
    key: VerifyingKey,
    bundle: PathBuf,
    proof_file: PathBuf,
    honest: Claim,
    /// The same model on another input, and the same input under another context.
    others: [Claim; 2],
    evm: std::cell::RefCell<Evm>,
    contract: Deployed,
    row: String,
    _folder: tempfile::TempDir,
}

impl Case {
    fn new(model: &str, system: ProofSystem) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let bundle = at("bundle");
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../circuits/tests/models");
        let input = models.join(format!("{model}.json"));
        let other_input = at("other.json");
        fs::write(&other_input, reversed(&fs::read(&input).unwrap())).unwrap();

        let onnx = models.join(format!("{model}.onnx"));
        let calibration = models.join(format!("{model}.calibration.npz"));
        passes(
            zkinfer("compile")
                .arg(&onnx)
                .arg("-o")
                .arg(&bundle)
                .arg("--calibration")
                .arg(&calibration)
                .args(["--system", system.name()]),
        );
        let (_, setup) = timed(|| passes(zkinfer("setup").arg(&bundle)));
        let inferred = passes(
            zkinfer("infer")
                .arg(&bundle)
                .arg("--input")
                .arg(&input)
                .arg("--json"),
        );
        let prove = |input: &Path, context: &str, to: &Path| {
            passes(
                zkinfer("prove")
                    .arg(&bundle)
                    .arg("--input")
                    .arg(input)
                    .args(["--context", context])
                    .arg("-o")
                    .arg(to),
            );
            Claim::read(to)
        };
        let proof_file = at("proof.json");
        let (honest, proved) = timed(|| prove(&input, CONTEXT, &proof_file));
        let others = [
            prove(&other_input, CONTEXT, &at("other-input.json")),
            prove(&input, OTHER_CONTEXT, &at("other-context.json")),
        ];
        passes(
            zkinfer("verify")
                .arg(&bundle)
                .arg(&proof_file)
                .args(["--context", CONTEXT]),
        );
        passes(
            zkinfer("verify")
                .arg("--key")
                .arg(bundle.join("verifying.key"))
                .arg(&proof_file)
                .arg("--input")
                .arg(&input),
        );
        let lie = refused(
            zkinfer("verify")
                .arg(&bundle)
                .arg(&proof_file)
                .args(["--context", OTHER_CONTEXT]),
        );
        assert!(
            lie,
            "{model}: verify accepts another context than the one asked for"
        );
        let lie = refused(
            zkinfer("verify")
                .arg(&bundle)
                .arg(&proof_file)
                .arg("--input")
                .arg(&other_input),
        );
        assert!(
            lie,
            "{model}: verify accepts another input than the one asked for"
        );

        let key = VerifyingKey::decode(&fs::read(bundle.join("verifying.key")).unwrap()).unwrap();
        inference_is_what_was_proved(&inferred, &key, &honest);
        let creation = creation_code(&key, true).unwrap();
        assert!(
            Evm::new(1).deploy(&creation).is_err(),
            "{model}: a development key deploys on chain id 1"
        );
        let mut evm = Evm::new(31_337);
        let contract = evm.deploy(&creation).unwrap();
        let calldata = passes(zkinfer("calldata").arg(&bundle).arg(&proof_file));
        let calldata = hex::decode(calldata.trim().trim_start_matches("0x")).unwrap();
        assert_eq!(
            calldata,
            honest.calldata(),
            "{model}: the verb and the library disagree on calldata"
        );
        let outcome = evm.call(contract.address, &calldata).unwrap();
        assert!(says_yes(&outcome.output));
        let most = match system {
            ProofSystem::Groth16 => u64::MAX,
            ProofSystem::UltraGroth => ULTRAGROTH_GAS,
            ProofSystem::Halo2Kzg => HALO2_KZG_GAS,
        };
        let gas = outcome.gas_used;
        assert!(gas <= most, "{model}, {system}: {gas} gas");
        let row = format!(
            "| {model} | {} | {:.2} | {:.2} | {} | {} | {} | {} |",
            system.name(),
            setup.as_secs_f64(),
            proved.as_secs_f64(),
            honest.proof.len(),
            honest.publics.len(),
            contract.code_size,
            outcome.gas_used,
        );
        let label = format!("{model}, {}", system.name());
        let evm = std::cell::RefCell::new(evm);
        let case = Self {
            label,
            key,
            bundle,
            proof_file,
            honest,
            others,
            evm,
            contract,
            row,
            _folder: folder,
        };
        for claim in std::iter::once(&case.honest).chain(&case.others) {
            assert!(
                case.accepts_natively(claim) && case.accepts_on_chain(claim),
                "{}: an honest proof",
                case.label
            );
        }
        case
    }

    /// The proof of another input or another context, under this statement.
    fn refuses_other_claims(&self) -> usize {
        for other in &self.others {
            self.refuses(
                &Claim {
                    proof: other.proof.clone(),
                    ..self.honest.clone()
                },
                "the proof of another statement",
            );
            self.refuses(
                &Claim {
                    proof: self.honest.proof.clone(),
                    ..other.clone()
                },
                "the statement of another proof",
            );
        }
        2 * self.others.len()
    }

    /// The proof (and the whole claim) of another model.
    fn refuses_other_models(&self, before: &[Self]) -> usize {
        for other in before {
            self.refuses(&other.honest, "another model's claim");
            self.refuses(
                &Claim {
                    proof: other.honest.proof.clone(),
                    ..self.honest.clone()
                },
                "another model's proof",
            );
            other.refuses(&self.honest, "another model's claim");
            assert!(
                refused(zkinfer("verify").arg(&self.bundle).arg(&other.proof_file)),
                "{}: verify accepts {}",
                self.label,
                other.label
            );
        }
        4 * before.len()
    }

    /// Every byte of context, publics and proof, changed once; of a halo2-kzg proof one byte of every 32-byte word.
    fn refuses_every_changed_byte(&self) -> usize {
        let mut rng = StdRng::seed_from_u64(7);
        let parts: [(&str, Part); 3] = [
            ("context", |c| &mut c.context),
            ("publics", |c| &mut c.publics),
            ("proof", |c| &mut c.proof),
        ];
        let mut refused = 0;
        for (name, part) in parts {
            let len = part(&mut self.honest.clone()).len();
            let words = name == "proof" && self.key.system == ProofSystem::Halo2Kzg;
            for begin in (0..len).step_by(if words { 32 } else { 1 }) {
                let index = if words {
                    begin + rng.gen_range(0..32)
                } else {
                    begin
                };
                let mut lie = self.honest.clone();
                let mask = rng.gen_range(1..=255_u8);
                part(&mut lie)[index] ^= mask;
                self.refuses(&lie, &format!("byte {index} of the {name} xor {mask:#04x}"));
                refused += 1;
            }
        }
        refused
    }

    #[track_caller]
    fn refuses(&self, lie: &Claim, what: &str) {
        assert!(
            !self.accepts_natively(lie),
            "{}: the native verifier accepts {what}",
            self.label
        );
        assert!(
            !self.accepts_on_chain(lie),
            "{}: the contract accepts {what}",
            self.label
        );
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
                assert!(
                    says_yes(&outcome.output),
                    "{}: the contract returned {:?}",
                    self.label,
                    outcome.output
                );
                true
            }
            Err(EvmError::Reverted { .. } | EvmError::Halted { .. }) => false,
            Err(error) => panic!("{}: {error}", self.label),
        }
    }
}

impl Claim {
    /// The claim of a `proof.json`.
    fn read(path: &Path) -> Self {
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
    fn calldata(&self) -> Vec<u8> {
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
fn inference_is_what_was_proved(inferred: &str, key: &VerifyingKey, claim: &Claim) {
    let printed: Value = serde_json::from_str(inferred).unwrap();
    let statement = Statement {
        context: Context::from_bytes(claim.context).unwrap(),
        public_bytes: claim.publics.clone(),
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

fn says_yes(output: &[u8]) -> bool {
    output.len() == 32 && output[..31].iter().all(|byte| *byte == 0) && output[31] == 1
}

/// The same numbers in the opposite order: another input.
fn reversed(input: &[u8]) -> Vec<u8> {
    let mut json: Value = serde_json::from_slice(input).unwrap();
    json["input_data"][0].as_array_mut().unwrap().reverse();
    serde_json::to_vec(&json).unwrap()
}

fn zkinfer(verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zkinfer"));
    command.arg(verb);
    command
}

#[track_caller]
fn passes(command: &mut Command) -> String {
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
fn refused(command: &mut Command) -> bool {
    let output = command.output().unwrap();
    assert!(
        matches!(output.status.code(), Some(0 | 1)),
        "{command:?}: {output:?}"
    );
    output.status.code() == Some(1)
}

fn timed<T>(f: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let value = f();
    (value, begun.elapsed())
}
