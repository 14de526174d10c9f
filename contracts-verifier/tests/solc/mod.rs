//! # The Solidity compiler, for tests
//! `$SOLC` (a command that speaks `--standard-json`), else `.ci/solc.js` over the pinned npm package. Missing is a failure that names the
//! command to run.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

/// One way to run the compiler.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub via_ir: bool,
    pub runs: u32,
}

/// The settings the embedded creation code is compiled with.
pub const EMBEDDED: Settings = Settings {
    via_ir: false,
    runs: 10_000,
};

/// The root of the repository: the first folder above the crate with the test tools' list.
pub fn repository() -> PathBuf {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let root = folders.find(|folder| folder.join(".ci/package.json").is_file());
    root.expect("a crate of the repository").to_owned()
}

/// Creation code of every contract in `source`, by name. Warnings are failures.
pub fn compile(source: &str, settings: Settings) -> std::collections::BTreeMap<String, Vec<u8>> {
    let input = json!({
        "language": "Solidity",
        "sources": { "source.sol": { "content": source } },
        "settings": {
            "evmVersion": "shanghai",
            "viaIR": settings.via_ir,
            "optimizer": { "enabled": true, "runs": settings.runs },
            "metadata": { "appendCBOR": false, "bytecodeHash": "none" },
            "outputSelection": { "*": { "*": ["evm.bytecode.object"] } },
        },
    });
    let output = run(&input.to_string());
    if let Some(errors) = output["errors"].as_array() {
        let messages: Vec<_> = errors
            .iter()
            .filter_map(|error| error["formattedMessage"].as_str())
            .collect();
        assert!(messages.is_empty(), "solc: {}", messages.join("\n"));
    }
    let contracts = output["contracts"]["source.sol"]
        .as_object()
        .expect("solc's output has contracts");
    let code = |value: &Value| {
        hex::decode(value["evm"]["bytecode"]["object"].as_str().expect("code")).expect("hex")
    };
    contracts
        .iter()
        .map(|(name, value)| (name.clone(), code(value)))
        .collect()
}

fn run(input: &str) -> Value {
    let shim = repository().join(".ci/solc.js");
    let mut command = match std::env::var_os("SOLC") {
        Some(solc) => Command::new(solc),
        None => {
            let package = repository().join(".ci/node_modules/solc");
            assert!(
                package.is_dir(),
                "no solc: run `npm ci --prefix .ci`, or set $SOLC to a command"
            );
            let mut node = Command::new("node");
            node.arg(shim);
            node
        }
    };
    let mut child = command
        .arg("--standard-json")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("solc starts; it needs `node`, or set $SOLC to a command");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(input.as_bytes())
        .expect("solc reads its input");
    let output = child.wait_with_output().expect("solc ends");
    assert!(
        output.status.success(),
        "solc failed with {}",
        output.status
    );
    serde_json::from_slice(&output.stdout).expect("solc writes JSON")
}
