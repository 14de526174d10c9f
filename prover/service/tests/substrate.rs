//! `zkinfer verifier --target substrate` from bundles that the command line made: what the vectors of a generated crate say of each changed
//! byte is what `zkinfer verify` says. The crates' own tests replay the same vectors on the pallet.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod server;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use server::{fails, model, passes, zkinfer};
use zkinfer_verifier::VerifyingKey;

/// A bundle with keys.
fn bundle(folder: &Path, options: &[&str]) -> PathBuf {
    let bundle = folder.join("bundle");
    passes(
        zkinfer()
            .arg("compile")
            .arg(model("digits-mlp.onnx"))
            .arg("-o")
            .arg(&bundle)
            .arg("--calibration")
            .arg(model("digits-mlp.calibration.npz"))
            .args(options),
    );
    passes(zkinfer().arg("setup").arg(&bundle));
    bundle
}

fn generate(bundle: &Path, to: &Path) -> Command {
    let mut command = zkinfer();
    command
        .arg("verifier")
        .arg(bundle)
        .args(["--target", "substrate", "--allow-dev-key", "-o"])
        .arg(to);
    command
}

/// The example of a generated crate, and its key.
struct Example {
    system: &'static str,
    key: Vec<u8>,
    vk_digest: String,
    context: Vec<u8>,
    /// Behind them the digests of hashed tensors.
    public_tensors: Vec<u8>,
    n_digests: usize,
    proof: Vec<u8>,
}

impl Example {
    fn read(folder: &Path, system: &'static str, vk_digest: &str) -> Self {
        let text = fs::read_to_string(folder.join("vectors/example.txt")).unwrap();
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            hex::decode(lines.find(|(field, _)| *field == name).unwrap().1).unwrap()
        };
        let key = fs::read_to_string(folder.join("key.hex")).unwrap();
        let key = hex::decode(key.trim_end()).unwrap();
        Self {
            system,
            n_digests: VerifyingKey::decode(&key).unwrap().layout.n_hashed(),
            key,
            vk_digest: vk_digest.to_owned(),
            context: value("context"),
            public_tensors: value("public_tensors"),
            proof: value("proof"),
        }
    }

    fn change(&mut self, place: &str, at: usize, by: u8) {
        let bytes = match place {
            "none" => return,
            "key" => &mut self.key,
            "context" => &mut self.context,
            "public_tensors" => &mut self.public_tensors,
            "proof" => &mut self.proof,
            other => panic!("no place: {other}"),
        };
        bytes[at] ^= by;
    }

    fn proof_json(&self) -> Value {
        let hex = |bytes: &[u8]| format!("0x{}", hex::encode(bytes));
        let n_public = self.public_tensors.len() - 32 * self.n_digests;
        let (publics, digests) = self.public_tensors.split_at(n_public);
        let digests: Vec<_> = digests.chunks(32).map(hex).collect();
        json!({
            "system": self.system, "vk_digest": format!("0x{}", self.vk_digest), "context": hex(&self.context),
            "publics": hex(publics), "digests": digests, "proof": hex(&self.proof),
        })
    }
}

fn every_verdict_is_that_of_the_command(system: &'static str, options: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let bundle = bundle(folder.path(), &[&["--system", system], options].concat());
    let made = passes(&mut generate(&bundle, &at("crate")));
    let vk_digest = made["vk_digest"].as_str().unwrap();
    assert_eq!(made["pallet_index"], 8);
    let example = || Example::read(&at("crate"), system, vk_digest);
    assert_eq!(
        example().key,
        fs::read(bundle.join("verifying.key")).unwrap()
    );

    let (key, proof) = (at("changed.key"), at("changed.json"));
    let text = fs::read_to_string(at("crate").join("vectors/mutations.txt")).unwrap();
    let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
    assert!(lines.len() >= 600, "{} lines", lines.len());
    let mut accepted = 0;
    for line in lines {
        let fields: Vec<&str> = line.split(' ').collect();
        let mut changed = example();
        let by = u8::from_str_radix(fields[2], 16).unwrap();
        changed.change(fields[0], fields[1].parse().unwrap(), by);
        fs::write(&key, &changed.key).unwrap();
        fs::write(&proof, changed.proof_json().to_string()).unwrap();
        let mut verify = zkinfer();
        let said = match fields[0] {
            "key" => verify.arg("verify").arg("--key").arg(&key).arg(&proof),
            _ => verify.arg("verify").arg(&bundle).arg(&proof),
        };
        let said = said.output().unwrap();
        let error = String::from_utf8_lossy(&said.stderr);
        assert!(!error.contains("panicked"), "{line}: {error}");
        let verdict = match (fields[0], said.status.code()) {
            (_, Some(0)) => "accepted",
            // A file that is no key at all is a wrong argument.
            (_, Some(1)) | ("key", Some(2)) => "refused",
            other => panic!("{line}: {other:?}: {error}"),
        };
        assert_eq!(verdict, fields[3], "{line}");
        accepted += usize::from(verdict == "accepted");
    }
    assert_eq!(accepted, 1, "the honest line");
}

#[test]
fn every_verdict_is_that_of_the_command_for_groth16() {
    every_verdict_is_that_of_the_command("groth16", &[]);
}

#[test]
fn every_verdict_is_that_of_the_command_for_ultragroth() {
    every_verdict_is_that_of_the_command("ultragroth", &[]);
}

#[test]
fn every_verdict_is_that_of_the_command_for_halo2_kzg() {
    every_verdict_is_that_of_the_command("halo2-kzg", &[]);
}

#[test]
fn every_verdict_is_that_of_the_command_for_hashed_inputs() {
    every_verdict_is_that_of_the_command("groth16", &["--input", "hashed"]);
}

#[test]
fn a_proof_of_ones_own_is_the_example_and_its_call_is_what_calldata_writes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let bundle = bundle(folder.path(), &["--system", "groth16"]);
    let input = model("digits-mlp.json");
    passes(
        zkinfer()
            .arg("prove")
            .arg(&bundle)
            .arg("--input")
            .arg(&input)
            .arg("-o")
            .arg(at("proof.json"))
            .args(["--context", "0x2a"]),
    );
    // With a proof at hand the proving key is not needed.
    fs::rename(bundle.join("proving.key"), at("proving.key")).unwrap();
    for to in ["one", "two"] {
        let mut command = generate(&bundle, &at(to));
        passes(
            command
                .args(["--pallet-index", "51", "--proof"])
                .arg(at("proof.json")),
        );
    }
    let listed = Command::new("diff")
        .arg("-r")
        .arg(at("one"))
        .arg(at("two"))
        .output()
        .unwrap();
    assert!(
        listed.status.success(),
        "the same key and proof give the same files"
    );
    fails(&mut generate(&bundle, &at("three")), 1, "--proof");
    fs::rename(at("proving.key"), bundle.join("proving.key")).unwrap();

    let calldata = |more: &[&str]| {
        let mut command = zkinfer();
        command.arg("calldata").arg(&bundle).arg(at("proof.json"));
        command.args(more);
        command
    };
    let call = passes(&mut calldata(&[
        "--target",
        "substrate",
        "--pallet-index",
        "51",
    ]));
    let file = fs::read_to_string(at("one/calls/verify.hex")).unwrap();
    assert_eq!(
        call["calldata"].as_str().unwrap(),
        format!("0x{}", file.trim_end())
    );
    assert_eq!(
        (&call["pallet_index"], &call["call_index"]),
        (&json!(51), &json!(2))
    );
    assert!(file.starts_with("3302"));
    let usual = passes(&mut calldata(&["--target", "substrate"]));
    assert!(usual["calldata"].as_str().unwrap().starts_with("0x0802"));
    let solidity = passes(&mut calldata(&[]));
    assert!(!solidity["calldata"].as_str().unwrap().starts_with("0x0802"));
    assert_eq!(solidity.get("pallet_index"), None);
    fails(
        &mut calldata(&["--pallet-index", "8"]),
        2,
        "--target substrate",
    );
    fails(
        &mut calldata(&["--target", "substrate", "--pallet-index", "256"]),
        2,
        "256",
    );

    let mut refused = zkinfer();
    refused
        .arg("verifier")
        .arg(&bundle)
        .args(["--target", "substrate", "-o"])
        .arg(at("four"));
    fails(&mut refused, 1, "--allow-dev-key");
    let mut lie: Value = serde_json::from_slice(&fs::read(at("proof.json")).unwrap()).unwrap();
    lie["context"] = json!(format!("0x{:064x}", 0x2b));
    fs::write(at("lie.json"), lie.to_string()).unwrap();
    let mut command = generate(&bundle, &at("five"));
    fails(
        command.arg("--proof").arg(at("lie.json")),
        1,
        "does not prove",
    );
    assert!(!at("four").exists() && !at("five").exists());
}
