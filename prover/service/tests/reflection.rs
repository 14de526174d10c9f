//! A client that knows only server reflection submits a job and fetches a valid proof.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod server;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use server::{Server, digits_circuit, model};

/// The Python that has grpcio: the one that the test command installs, or the system's.
fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let candidates = [root.join(".ci/.venv/bin/python"), PathBuf::from("python3")];
    let has_grpc = |python: &PathBuf| {
        let imports = Command::new(python)
            .args(["-c", "import grpc, grpc_reflection, google.protobuf"])
            .output();
        imports.is_ok_and(|output| output.status.success())
    };
    candidates.into_iter().find(has_grpc).unwrap_or_else(|| {
        panic!(
            "this test needs Python with grpcio, grpcio-reflection and protobuf; run .ci/test, or: \
             python3 -m venv .ci/.venv && .ci/.venv/bin/pip install -r .ci/requirements.txt"
        )
    })
}

#[test]
fn a_python_client_without_stubs_gets_a_valid_proof() {
    let python = python();
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let circuit = digits_circuit(&server.endpoint);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grpc_reflection_client.py");
    let output = Command::new(python)
        .arg("-B")
        .arg(script)
        .arg(server.endpoint.trim_start_matches("http://"))
        .arg(circuit)
        .arg(model("digits-mlp.json"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (answer["valid"].as_bool(), answer["proof_bytes"].as_u64()),
        (Some(true), Some(320))
    );
}
