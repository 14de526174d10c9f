//! snarkjs itself accepts what our JSON says about a valid plain proof, and refuses it for another statement.

mod simulator;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use simulator::valid;
use zkinfer_verifier::{ProofSystem, Statement, snarkjs};

fn cli() -> PathBuf {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/node_modules/snarkjs/build/cli.cjs");
    assert!(path.is_file(), "no snarkjs: run `npm ci --prefix .ci`");
    path
}

#[test]
fn snarkjs_accepts_our_json_and_refuses_another_statement() {
    let (simulator, statement, proof) = valid(ProofSystem::Groth16, 40);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("snarkjs");
    fs::create_dir_all(&folder).expect("the test folder is writable");
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).expect("the test folder is writable");
        path
    };
    let key = write(
        "verification_key.json",
        snarkjs::verification_key_to_json(&simulator.key).expect("groth16"),
    );
    let proof = write(
        "proof.json",
        snarkjs::proof_to_json(&proof).expect("groth16"),
    );
    let verify = |statement: &Statement| {
        let public = write(
            "public.json",
            snarkjs::public_to_json(statement).expect("strings"),
        );
        let mut node = Command::new("node");
        node.arg(cli())
            .args(["groth16", "verify"])
            .args([&key, &public, &proof]);
        node.output().expect("node starts")
    };
    let output = verify(&statement);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let mut other = statement;
    other.public_bytes[7] ^= 1;
    assert!(!verify(&other).status.success());
}
