//! One proof about sixteen inferences: what a user does with it, and every exchange and change that must be refused.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod claims;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use claims::{Claim, Judges, inference_is_what_was_proved, passes, zkinfer};
use serde_json::{Value, json};
use zkinfer_verifier::{Context, Role, Statement, VerifyingKey};

const BATCH: usize = 16;

fn model(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../circuits/tests/models")
        .join(file)
}

/// A bundle of `model` made by the command line.
fn bundle(folder: &Path, name: &str, batch: usize) -> PathBuf {
    let bundle = folder.join(format!("{name}-{batch}"));
    passes(
        zkinfer("compile")
            .arg(model(&format!("{name}.onnx")))
            .arg("-o")
            .arg(&bundle)
            .arg("--calibration")
            .arg(model(&format!("{name}.calibration.npz")))
            .args(["--batch", &batch.to_string()]),
    );
    bundle
}

/// A JSON input of `n` different samples: as many numbers as they have together.
fn samples(name: &str, n: usize, to: &Path) {
    let one: Value = serde_json::from_slice(&fs::read(model(name)).unwrap()).unwrap();
    let numbers: Vec<f64> = one["input_data"][0]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect();
    let all: Vec<Vec<f64>> = (0..n)
        .map(|i| {
            let mut sample = numbers.clone();
            sample.rotate_left(5 * i % numbers.len());
            sample
        })
        .collect();
    fs::write(to, json!({ "input_data": [all] }).to_string()).unwrap();
}

/// Exit code 2, and an error with these words.
fn usage(command: &mut Command, words: &str) {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{command:?}: {error}");
    assert!(error.contains(words), "expected {words:?} in: {error}");
}

/// Where every tensor of the statement lies in the public bytes.
fn places(key: &VerifyingKey) -> Vec<(String, std::ops::Range<usize>)> {
    let mut at = 0;
    key.layout
        .public_tensors()
        .map(|t| {
            let place = at..at + t.len_bytes();
            at = place.end;
            (t.name.clone(), place)
        })
        .collect()
}

fn exchanged(claim: &Claim, pairs: &[(&std::ops::Range<usize>, &std::ops::Range<usize>)]) -> Claim {
    let mut lie = claim.clone();
    for (a, b) in pairs {
        let (x, y) = (
            claim.publics[(*a).clone()].to_vec(),
            claim.publics[(*b).clone()].to_vec(),
        );
        lie.publics[(*a).clone()].copy_from_slice(&y);
        lie.publics[(*b).clone()].copy_from_slice(&x);
    }
    lie
}

#[test]
fn one_proof_of_sixteen_digits_is_accepted_and_no_exchanged_or_changed_element_is() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path(), "digits-cnn", BATCH);
    let at = |name: &str| folder.path().join(name);
    let (input, proof) = (at("input.json"), at("proof.json"));
    samples("digits-cnn.json", BATCH, &input);
    passes(zkinfer("setup").arg(&bundle));
    let inferred = passes(
        zkinfer("infer")
            .arg(&bundle)
            .arg("--input")
            .arg(&input)
            .arg("--json"),
    );
    passes(
        zkinfer("prove")
            .arg(&bundle)
            .arg("--input")
            .arg(&input)
            .args(["--context", "0x1234", "-o"])
            .arg(&proof),
    );
    let honest = Claim::read(&proof);
    let key = VerifyingKey::decode(&fs::read(bundle.join("verifying.key")).unwrap()).unwrap();
    inference_is_what_was_proved(&inferred, &key, &honest);

    // the statement: sixteen inputs, then sixteen outputs, in order
    let places = places(&key);
    let (inputs, outputs) = places.split_at(BATCH);
    let base = |name: &str| name.split('[').next().unwrap().to_owned();
    for (j, ((x, _), (y, _))) in inputs.iter().zip(outputs).enumerate() {
        assert_eq!(*x, format!("{}[{j}]", base(&inputs[0].0)));
        assert_eq!(*y, format!("{}[{j}]", base(&outputs[0].0)));
    }
    assert_eq!(places.len(), 2 * BATCH);

    // bundle and key alone read the same file of sixteen samples
    let verify = |first: &[&Path]| {
        let mut command = zkinfer("verify");
        command.args(first).arg("--input").arg(&input);
        passes(&mut command)
    };
    verify(&[&bundle, &proof]);
    verify(&[Path::new("--key"), &bundle.join("verifying.key"), &proof]);
    let calldata = passes(zkinfer("calldata").arg(&bundle).arg(&proof));
    let calldata = hex::decode(calldata.trim().trim_start_matches("0x")).unwrap();
    assert_eq!(calldata, honest.calldata());

    let judges = Judges::new(key);
    assert!(judges.accept(&honest));
    println!(
        "16 digits: {} gas, {} bytes of proof",
        judges.gas(&honest),
        honest.proof.len()
    );
    let mut refused = 0;
    let mut refuse = |lie: &Claim, what: &str| {
        if lie.publics != honest.publics {
            judges.refuse(lie, what);
            refused += 1;
        }
    };
    for i in 0..BATCH {
        let j = (i + 1 + i % 7) % BATCH;
        let x = (&inputs[i].1, &inputs[j].1);
        let y = (&outputs[i].1, &outputs[j].1);
        let pair = format!("{i} and {j}");
        refuse(
            &exchanged(&honest, &[x]),
            &format!("inputs {pair} exchanged"),
        );
        refuse(
            &exchanged(&honest, &[y]),
            &format!("outputs {pair} exchanged"),
        );
        refuse(
            &exchanged(&honest, &[x, y]),
            &format!("inferences {pair} exchanged"),
        );
    }
    // one element of every tensor, another one in each
    for (t, (name, place)) in places.iter().enumerate() {
        let mut lie = honest.clone();
        let index = place.start + (31 * t) % place.len();
        lie.publics[index] ^= 1 << (t % 8);
        refuse(&lie, &format!("byte {index}, of {name}, changed"));
    }
    assert!(refused >= 3 * BATCH + BATCH, "{refused}");
    // one copy's statement, or all but one of them, is no statement of this key
    let mut short = honest.clone();
    short.publics.truncate(places[2 * BATCH - 1].1.start);
    judges.refuse(&short, "a statement without its last output");
}

#[test]
fn a_batch_takes_its_number_of_samples_and_says_what_it_got() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path(), "digits-mlp", 3);
    let manifest = fs::read(bundle.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["settings"]["batch"], 3);
    let io: Value = serde_json::from_slice(&fs::read(bundle.join("io.json")).unwrap()).unwrap();
    assert_eq!(io.as_array().unwrap().len(), 6);
    let input = folder.path().join("input.json");
    let infer = |more: &[&str]| {
        let mut command = zkinfer("infer");
        command.arg(&bundle).arg("--input").arg(&input).args(more);
        command
    };
    for n in [1, 2, 4] {
        samples("digits-mlp.json", n, &input);
        let told = format!("the file holds {n} samples, a proof of this circuit is about 3");
        usage(&mut infer(&[]), &told);
    }
    // three of seven, from number 4 on, are samples 4, 5 and 6
    samples("digits-mlp.json", 7, &input);
    usage(
        &mut infer(&["--sample", "5"]),
        "there is no sample 7: the file holds 7",
    );
    let outputs = |text: &str| -> Vec<Value> {
        let printed: Value = serde_json::from_str(text).unwrap();
        let outputs = printed["outputs"].as_array().unwrap().iter();
        outputs.map(|o| o["quantized"].clone()).collect()
    };
    let together = outputs(&passes(&mut infer(&["--sample", "4", "--json"])));
    let single = self::bundle(folder.path(), "digits-mlp", 1);
    for (j, batched) in together.iter().enumerate() {
        let mut command = zkinfer("infer");
        command.arg(&single).arg("--input").arg(&input);
        let alone = passes(command.args(["--sample", &(4 + j).to_string(), "--json"]));
        assert_eq!(&outputs(&alone)[0], batched);
    }
    for bad in ["0", "4097", "many"] {
        usage(
            zkinfer("compile").arg("m.onnx").args([
                "-o",
                "b",
                "--calibration",
                "c",
                "--batch",
                bad,
            ]),
            "--batch",
        );
    }
}

#[test]
fn prove_all_proves_every_sample_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    for batch in [1, 2] {
        let bundle = bundle(folder.path(), "digits-mlp", batch);
        passes(zkinfer("setup").arg(&bundle));
        let (input, to) = (
            folder.path().join("in.json"),
            folder.path().join(format!("to-{batch}")),
        );
        samples("digits-mlp.json", 6, &input);
        let mut command = zkinfer("prove");
        command.arg(&bundle).arg("--input").arg(&input).arg("--all");
        command.args(["--in-flight", "3", "--json", "-o"]).arg(&to);
        let told: Value = serde_json::from_str(&passes(&mut command)).unwrap();
        assert_eq!(told["proofs"], 6 / batch);
        let key = VerifyingKey::decode(&fs::read(bundle.join("verifying.key")).unwrap()).unwrap();
        for index in 0..6 / batch {
            let proof = to.join(format!("proof-{index}.json"));
            let first = (index * batch).to_string();
            let mut verify = zkinfer("verify");
            verify.arg(&bundle).arg(&proof).arg("--input").arg(&input);
            passes(verify.args(["--sample", &first]));
            let claim = Claim::read(&proof);
            let statement = Statement {
                context: Context::from_bytes(claim.context).unwrap(),
                public_bytes: claim.publics,
                digests: vec![],
            };
            let digest = hex::encode(statement.digest(&key.digest()));
            assert_eq!(told["statement_digests"][index], digest);
            let shown = statement.tensors(&key.layout).unwrap();
            let n_inputs = shown.iter().filter(|(t, _)| t.role == Role::Input).count();
            assert_eq!(n_inputs, batch);
        }
        samples("digits-mlp.json", 5, &input);
        if batch == 2 {
            usage(
                &mut command,
                "the file holds 5 samples, expected a multiple of 2",
            );
        }
    }
}

#[test]
fn a_server_with_two_slots_proves_batches() {
    let folder = tempfile::tempdir().unwrap();
    let served = server::Server::start_with(&folder.path().join("data"), &["--slots", "2"]);
    let at = ["--endpoint", served.endpoint.as_str()];
    let created = server::passes(
        zkinfer("circuit")
            .args(["create", "--wait", "--batch", "2", "--calibration"])
            .arg(model("digits-mlp.calibration.npz"))
            .arg(model("digits-mlp.onnx"))
            .args(at),
    );
    let circuit = created["name"].as_str().unwrap();
    let input = folder.path().join("input.json");
    let submit = |n: usize| {
        samples("digits-mlp.json", n, &input);
        let mut command = zkinfer("job");
        command.args(["submit", circuit, "--no-cache", "--input"]);
        command.arg(&input).args(at);
        command
    };
    server::fails(
        &mut submit(3),
        1,
        "the file holds 3 samples, a proof of this circuit is about 2",
    );
    let jobs: Vec<String> = (0..6)
        .map(|_| {
            let job = server::passes(&mut submit(2));
            job["name"].as_str().unwrap().to_owned()
        })
        .collect();
    for job in &jobs {
        let ended = server::passes(zkinfer("job").args(["wait", job]).args(at));
        assert_eq!(ended["state"], "SUCCEEDED");
    }
    let proof = folder.path().join("proof.json");
    server::passes(
        zkinfer("job")
            .args(["proof", &jobs[5], "-o"])
            .arg(&proof)
            .args(at),
    );
    assert_eq!(Claim::read(&proof).publics.len(), 2 * (64 + 10));
}
