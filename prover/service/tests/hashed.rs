//! A circuit whose input is hashed: the proof has a digest, revealed inputs are checked against it, and no other digest passes, on a chain
//! neither.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod server;

use std::{fs, path::Path};

use serde_json::{Value, json};
use server::{Server, fails, model, passes, zkinfer};
use zkinfer_contracts::{
    creation_code,
    evm::{Evm, EvmError},
    solidity::DEVELOPMENT_CHAIN_ID,
};
use zkinfer_verifier::VerifyingKey;

/// The order of the scalar field, added to a digest below 2^256 − r.
fn plus_order(digest: &str) -> Option<String> {
    const ORDER: &str = "30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001";
    let byte = |text: &str, i: usize| u16::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap();
    let (mut sum, mut carry) = (vec![0; 32], 0);
    for i in (0..32).rev() {
        let digit = byte(digest.strip_prefix("0x").unwrap(), i) + byte(ORDER, i) + carry;
        sum[i] = digit % 256;
        carry = digit / 256;
    }
    let digits: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    (carry == 0).then(|| format!("0x{digits}"))
}

/// An input other than that of the proof.
fn other_input(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("other.json");
    fs::write(&path, json!({ "input_data": [vec![0.25; 64]] }).to_string()).unwrap();
    path
}

#[test]
fn a_proof_shows_a_digest_that_only_its_input_has() {
    shows_a_digest("ultragroth");
}

#[test]
fn a_proof_of_halo2_kzg_shows_a_digest_that_only_its_input_has() {
    shows_a_digest("halo2-kzg");
}

fn shows_a_digest(system: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (bundle, proof) = (
        folder.path().join("bundle"),
        folder.path().join("proof.json"),
    );
    passes(
        zkinfer()
            .arg("compile")
            .arg(model("digits-mlp.onnx"))
            .arg("-o")
            .arg(&bundle)
            .arg("--calibration")
            .arg(model("digits-mlp.calibration.npz"))
            .args(["--system", system, "--input", "hashed"]),
    );
    let io: Value =
        serde_json::from_slice(&fs::read(bundle.join("io.json")).unwrap()).unwrap_or_default();
    assert!(io.to_string().contains("\"hashed\""), "{io}");
    passes(zkinfer().arg("setup").arg(&bundle));
    passes(
        zkinfer()
            .arg("prove")
            .arg(&bundle)
            .arg("--input")
            .arg(model("digits-mlp.json"))
            .arg("-o")
            .arg(&proof),
    );
    let verify = |proof: &Path, input: Option<&Path>| {
        let mut command = zkinfer();
        command.arg("verify").arg(&bundle).arg(proof);
        if let Some(input) = input {
            command.arg("--input").arg(input);
        }
        command
    };
    let shown = passes(&mut verify(&proof, None));
    assert_eq!(shown["inputs"].as_array().unwrap().len(), 0);
    assert_eq!(shown["outputs"].as_array().unwrap().len(), 1);
    assert_eq!(shown["hashed"][0]["digest"].as_str().unwrap().len(), 64);
    passes(&mut verify(&proof, Some(&model("digits-mlp.json"))));
    let other = other_input(folder.path());
    fails(&mut verify(&proof, Some(&other)), 1, "digest");

    let honest: Value = serde_json::from_slice(&fs::read(&proof).unwrap()).unwrap();
    let digest = honest["digests"][0].as_str().unwrap().to_owned();
    let lie = folder.path().join("lie.json");
    let mut cases = vec![
        (json!([]), "digests"),
        (json!([digest, digest]), "digests"),
        (json!([digest[..64]]), "digests"),
        (json!([format!("0x{}", "f".repeat(64))]), "order"),
        (json!([format!("0x{}", "0".repeat(64))]), "does not prove"),
    ];
    if let Some(sum) = plus_order(&digest) {
        cases.push((json!([sum]), "order"));
    }
    for (digests, words) in cases {
        let mut changed = honest.clone();
        changed["digests"] = digests;
        fs::write(&lie, changed.to_string()).unwrap();
        fails(&mut verify(&lie, None), 1, words);
    }

    let target = |target: &str| {
        let mut command = zkinfer();
        command
            .arg("verifier")
            .arg(&bundle)
            .args(["--target", target, "--allow-dev-key", "-o"])
            .arg(folder.path().join(target));
        command
    };
    passes(&mut target("solidity"));
    passes(&mut target("substrate"));
    let calldata = |target: &str| {
        let mut command = zkinfer();
        command.arg("calldata").arg(&bundle).arg(&proof);
        let call = passes(command.args(["--target", target]));
        call["calldata"].as_str().unwrap().to_owned()
    };
    let call = calldata("substrate");
    let example = fs::read_to_string(folder.path().join("substrate/vectors/example.txt")).unwrap();
    assert!(call.starts_with("0x0802") && call.contains(&digest[2..]));
    assert!(example.contains("public_tensors "), "{example}");
    let quoted = passes(zkinfer().arg("quote").arg(&bundle));
    contract_accepts(&bundle, &calldata("solidity"), &digest[2..], &quoted["gas"]);
}

/// The contract accepts the call, for about the gas that was quoted, and no other digest in it.
fn contract_accepts(bundle: &Path, call: &str, digest: &str, quoted: &Value) {
    let key = VerifyingKey::decode(&fs::read(bundle.join("verifying.key")).unwrap()).unwrap();
    let mut evm = Evm::new(DEVELOPMENT_CHAIN_ID);
    let contract = evm.deploy(&creation_code(&key, true).unwrap()).unwrap();
    let mut call_with = |text: &str| {
        let data = hex::decode(call[2..].replace(digest, text)).unwrap();
        evm.call(contract.address, &data)
    };
    assert!(call.contains(digest));
    let gas = call_with(digest).unwrap().gas_used;
    let quoted = quoted.as_u64().unwrap();
    println!("{}: {gas} gas, quoted {quoted}", key.system);
    assert!(
        gas.abs_diff(quoted) <= gas / 50,
        "{gas} gas, quoted {quoted}"
    );
    for lie in ["0".repeat(64), "f".repeat(64)] {
        assert!(matches!(call_with(&lie), Err(EvmError::Reverted { .. })));
    }
}

#[test]
fn a_server_delivers_proofs_of_hashed_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let created = passes(
        zkinfer()
            .args([
                "circuit",
                "create",
                "--wait",
                "--input",
                "hashed",
                "--endpoint",
            ])
            .arg(&server.endpoint)
            .arg("--calibration")
            .arg(model("digits-mlp.calibration.npz"))
            .arg(model("digits-mlp.onnx")),
    );
    assert_eq!(created["inputs"][0]["visibility"], "hashed", "{created}");
    assert_eq!(created["outputs"][0]["visibility"], "public");
    let proof = folder.path().join("proof.json");
    passes(
        zkinfer()
            .args([
                "job",
                "submit",
                created["name"].as_str().unwrap(),
                "--wait",
                "-o",
            ])
            .arg(&proof)
            .arg("--input")
            .arg(model("digits-mlp.json"))
            .args(["--endpoint", &server.endpoint]),
    );
    let proof: Value = serde_json::from_slice(&fs::read(&proof).unwrap()).unwrap();
    assert_eq!(proof["digests"].as_array().unwrap().len(), 1, "{proof}");
    server.kill();
}
