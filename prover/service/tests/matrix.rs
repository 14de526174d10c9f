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

mod claims;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use claims::{
    Claim, Judges, exactly_as_quoted, inference_is_what_was_proved, passes, refused, zkinfer,
};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use zkinfer_contracts::creation_code;
use zkinfer_contracts::evm::Evm;
use zkinfer_verifier::{ProofSystem, VerifyingKey};

/// One of the byte strings of a claim.
type Part = fn(&mut Claim) -> &mut [u8];

/// Model, system, and whether continuous integration runs it.
const MATRIX: [(&str, ProofSystem, bool); 18] = [
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
    ("tiny-transformer", ProofSystem::UltraGroth, true),
    ("tiny-transformer", ProofSystem::Halo2Kzg, false),
    ("tiny-transformer-ln17", ProofSystem::UltraGroth, false),
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

/// One model and system, compiled, set up, proved and deployed.
struct Case {
    label: String,
    judges: Judges,
    bundle: PathBuf,
    proof_file: PathBuf,
    honest: Claim,
    /// The same model on another input, and the same input under another context.
    others: [Claim; 2],
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
        let quoted = passes(
            zkinfer("quote")
                .arg(&bundle)
                .args(["--no-calibration", "--json"]),
        );
        let quoted: Value = serde_json::from_str(&quoted).unwrap();
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
        exactly_as_quoted(&quoted, &bundle, &key, &honest);
        inference_is_what_was_proved(&inferred, &key, &honest);
        let creation = creation_code(&key, true).unwrap();
        assert!(
            Evm::new(1).deploy(&creation).is_err(),
            "{model}: a development key deploys on chain id 1"
        );
        let judges = Judges::new(key);
        let calldata = passes(zkinfer("calldata").arg(&bundle).arg(&proof_file));
        let calldata = hex::decode(calldata.trim().trim_start_matches("0x")).unwrap();
        assert_eq!(
            calldata,
            honest.calldata(),
            "{model}: the verb and the library disagree on calldata"
        );
        let gas = judges.gas(&honest);
        let most = match system {
            ProofSystem::Groth16 => u64::MAX,
            ProofSystem::UltraGroth => ULTRAGROTH_GAS,
            ProofSystem::Halo2Kzg => HALO2_KZG_GAS,
        };
        assert!(gas <= most, "{model}, {system}: {gas} gas");
        let row = format!(
            "| {model} | {} | {:.2} | {:.2} | {} | {} | {} | {} |",
            system.name(),
            setup.as_secs_f64(),
            proved.as_secs_f64(),
            honest.proof.len(),
            honest.publics.len(),
            judges.contract.code_size,
            gas,
        );
        let label = format!("{model}, {}", system.name());
        let case = Self {
            label,
            judges,
            bundle,
            proof_file,
            honest,
            others,
            row,
            _folder: folder,
        };
        for claim in std::iter::once(&case.honest).chain(&case.others) {
            assert!(case.judges.accept(claim), "{}: an honest proof", case.label);
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
            let words = name == "proof" && self.judges.key.system == ProofSystem::Halo2Kzg;
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
        self.judges.refuse(lie, &format!("{}: {what}", self.label));
    }
}

/// The same numbers in the opposite order: another input.
fn reversed(input: &[u8]) -> Vec<u8> {
    let mut json: Value = serde_json::from_slice(input).unwrap();
    json["input_data"][0].as_array_mut().unwrap().reverse();
    serde_json::to_vec(&json).unwrap()
}

fn timed<T>(f: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let value = f();
    (value, begun.elapsed())
}
