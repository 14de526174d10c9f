//! The embedded creation code is what solc makes of the committed source; generated source compiles under every setting people use and
//! behaves the same; gas and code size are pinned in golden/gas.csv. `UPDATE_GOLDEN=1` regenerates both.

#[path = "../../verifier/tests/simulator/mod.rs"]
mod simulator;
mod solc;
mod vectors;

use std::{fmt::Write, fs, path::PathBuf};

use ark_bn254::Fr;
use simulator::{SYSTEMS, add_modulus, valid};
use solc::{EMBEDDED, Settings, compile};
use vectors::{Call, encode_words, selector, word};
use zkinfer_contracts::{
    Solidity, Target, creation_code,
    evm::{Evm, EvmError},
    solidity::{
        DEVELOPMENT_CHAIN_ID, MAX_CODE_BYTES, calldata_verify, calldata_verify_proof,
        deployer_source,
    },
};
use zkinfer_verifier::{ProofSystem, Statement, VerifyingKey, curve::scalar_to_bytes};

const MATRIX: [Settings; 6] = [
    Settings {
        via_ir: false,
        runs: 1,
    },
    Settings {
        via_ir: false,
        runs: 200,
    },
    Settings {
        via_ir: false,
        runs: 10_000,
    },
    Settings {
        via_ir: true,
        runs: 1,
    },
    Settings {
        via_ir: true,
        runs: 200,
    },
    Settings {
        via_ir: true,
        runs: 10_000,
    },
];

fn updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1")
}

fn assert_golden(path: PathBuf, fresh: &str) {
    if updating() {
        fs::write(&path, fresh).expect("the golden file is writable");
        return;
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == fresh,
        "{} differs; look at the change, then run with UPDATE_GOLDEN=1.\ncommitted:\n{committed}\nnow:\n{fresh}",
        path.display()
    );
}

#[test]
fn embedded_creation_code_is_what_solc_makes_of_the_source() {
    for system in SYSTEMS {
        let (name, source) = deployer_source(system);
        let compiled = compile(source, EMBEDDED);
        let fresh = hex::encode(&compiled[&format!("{name}Deployer")]) + "\n";
        let path = solc::repository().join(format!("contracts-verifier/src/solidity/{system}.hex"));
        if updating() {
            fs::write(&path, fresh).expect("the embedded code is writable");
        } else {
            let committed =
                fs::read_to_string(&path).expect("the embedded code is in the repository");
            assert!(
                committed == fresh,
                "{} is not solc's output; run with UPDATE_GOLDEN=1",
                path.display()
            );
        }
    }
}

/// Deploys, checks a few good and bad calls, and returns code size and gas of `verify` and `verifyProof`.
fn exercise(
    creation: &[u8],
    key: &VerifyingKey,
    statement: &Statement,
    call: &Call,
) -> (usize, u64, u64) {
    let mut evm = Evm::new(DEVELOPMENT_CHAIN_ID);
    let contract = evm.deploy(creation).expect("the contract deploys");
    assert!(contract.code_size < MAX_CODE_BYTES);
    let outcome = evm
        .call(contract.address, &call.encode())
        .expect("a valid proof");
    assert_eq!(outcome.output, word(1));
    let words: Vec<Vec<u8>> = statement
        .words()
        .iter()
        .map(|word| scalar_to_bytes(*word).to_vec())
        .collect();
    let raw = evm
        .call(contract.address, &encode_words(&words, &call.proof))
        .expect("a valid proof");
    assert_eq!(raw.output, word(1));
    assert_eq!(
        evm.call(contract.address, &selector("vkDigest()"))
            .expect("a getter")
            .output,
        key.digest()
    );

    let mut refuse = |data: &[u8], error: &str| match evm.call(contract.address, data) {
        Err(EvmError::Reverted { output, .. }) => assert_eq!(output, selector(error), "{error}"),
        other => panic!("expected {error}, got {other:?}"),
    };
    let mut changed = call.clone();
    changed.context[31] ^= 1;
    refuse(&changed.encode(), "InvalidProof()");
    changed.context[0] = 0x20;
    refuse(&changed.encode(), "InvalidWord()");
    for i in [
        0,
        call.tensors.len() / 2,
        call.tensors.len().saturating_sub(1),
    ] {
        let mut changed = call.clone();
        if let Some(byte) = changed.tensors.get_mut(i) {
            *byte ^= 0x80;
            refuse(&changed.encode(), "InvalidProof()");
        }
    }
    for at in (0..call.proof.len()).step_by(32) {
        let proof = add_modulus(&call.proof, at, &simulator::Q).expect("2q < 2^256");
        refuse(
            &Call {
                proof,
                ..call.clone()
            }
            .encode(),
            "InvalidPoint()",
        );
    }
    let mut changed = call.clone();
    let last = changed.proof.len() - 64;
    changed.proof[last..].fill(0);
    refuse(&changed.encode(), "InvalidPoint()");
    changed.tensors.push(0);
    refuse(&changed.encode(), "InvalidLength()");
    refuse(&[call.encode(), vec![0]].concat(), "InvalidLength()");
    let mut over = words.clone();
    let last = over.len() - 1;
    over[last] = add_modulus(&over[last], 0, &simulator::R).expect("2r < 2^256");
    refuse(&encode_words(&over, &call.proof), "InvalidWord()");
    (contract.code_size, outcome.gas_used, raw.gas_used)
}

#[test]
fn generated_source_behaves_the_same_under_every_compiler_setting() {
    for system in SYSTEMS {
        let (simulator, statement, proof) = valid(system, 40);
        let key = simulator.key;
        let tree = Solidity {
            allow_dev_key: true,
        }
        .generate(&key)
        .expect("a good key");
        let call = Call::new(&statement, &proof);
        let bin = hex::decode(tree["ZkinferVerifier.bin"].trim()).expect("hex");
        exercise(&bin, &key, &statement, &call);
        for settings in MATRIX {
            let compiled = compile(&tree["ZkinferVerifier.sol"], settings);
            let (size, gas, _) = exercise(&compiled["ZkinferVerifier"], &key, &statement, &call);
            println!("{system} {settings:?}: {size} bytes, {gas} gas");
            match Evm::new(1).deploy(&compiled["ZkinferVerifier"]) {
                Err(EvmError::Reverted { output, .. }) => {
                    assert_eq!(output, selector("DevelopmentKey()"))
                }
                other => panic!("a development key on chain 1: {other:?}"),
            }
        }
    }
}

#[test]
fn assumes_nothing_about_the_free_memory_pointer_or_the_memory_behind_it() {
    for system in SYSTEMS {
        let (simulator, statement, proof) = valid(system, 40);
        let tree = Solidity {
            allow_dev_key: true,
        }
        .generate(&simulator.key)
        .expect("a good key");
        let read = if system == ProofSystem::Groth16 {
            "first := mload(0x40)"
        } else {
            "transcript := mload(0x40)"
        };
        let dirt = "mstore(0x40, 0x1fe3) for { let i := 0x80 } lt(i, 0x4000) { i := add(i, 32) } { mstore(i, not(0)) } ";
        let source = tree["ZkinferVerifier.sol"].replacen(read, &format!("{dirt}{read}"), 1);
        assert_ne!(source, tree["ZkinferVerifier.sol"]);
        for settings in [MATRIX[1], MATRIX[4]] {
            let compiled = compile(&source, settings);
            exercise(
                &compiled["ZkinferVerifier"],
                &simulator.key,
                &statement,
                &Call::new(&statement, &proof),
            );
        }
    }
}

/// Without one of its checks the contract accepts what that check refuses, so the refusals in `evm.rs` test the checks and not luck.
#[test]
fn every_check_is_what_stops_its_attack() {
    let (simulator, statement, proof) = valid(ProofSystem::Groth16, 40);
    let tree = Solidity {
        allow_dev_key: true,
    }
    .generate(&simulator.key)
    .expect("a good key");
    let call = Call::new(&statement, &proof);
    let words: Vec<Vec<u8>> = statement
        .words()
        .iter()
        .map(|word| scalar_to_bytes(*word).to_vec())
        .collect();
    let plus_r = |word: &[u8]| add_modulus(word, 0, &simulator::R).expect("2r < 2^256");

    let trailing = [call.encode(), vec![7]].concat();
    let mut dirty = call.encode();
    let padding = 4 + 96 + 32 + 40;
    dirty[padding] = 1;
    let mut aliased_words = words.clone();
    aliased_words[1] = plus_r(&words[1]);
    let aliased_words = encode_words(&aliased_words, &call.proof);
    let mut padded_words = statement.words();
    padded_words[2] += Fr::from(1_u64);
    let padded_proof = simulator.prove_words(&padded_words, 3);
    let padded_words = calldata_verify_proof(&padded_words, &padded_proof);
    let aliased_context = Call {
        context: plus_r(&call.context),
        ..call.clone()
    }
    .encode();
    let raw_trailing = [encode_words(&words, &call.proof), vec![7]].concat();

    let size = "wrong := or(wrong, xor(calldatasize(), add(body, PROOF_BYTES)))";
    let attacks = [
        (size, trailing),
        (size, raw_trailing),
        (
            "if used { wrong := or(wrong, shl(shl(3, used), calldataload(add(tensors, sub(head, 32))))) }",
            dirty,
        ),
        ("data := or(data, or(or(a, b), or(c, d)))", aliased_words),
        (
            "bad := or(bad, shl(sub(256, spare), mload(sub(end, 32))))",
            padded_words,
        ),
        ("if shr(253, context) {", aliased_context),
    ];
    let accepts_in = |source: &str| {
        let mut evm = Evm::new(DEVELOPMENT_CHAIN_ID);
        let creation = &compile(source, EMBEDDED)["ZkinferVerifier"];
        let contract = evm.deploy(creation).expect("deploys");
        move |attack: &[u8]| evm.call(contract.address, attack).is_ok()
    };
    let mut whole = accepts_in(&tree["ZkinferVerifier.sol"]);
    for (check, attack) in attacks {
        let replacement = if check.ends_with('{') { "if 0 {" } else { "" };
        let source = tree["ZkinferVerifier.sol"].replace(check, replacement);
        assert_ne!(source, tree["ZkinferVerifier.sol"], "{check}");
        assert!(!whole(&attack), "with {check}");
        assert!(accepts_in(&source)(&attack), "without {check}");
    }
}

/// Forge class 32 for digests: what the comparison with the order of the field stops, in both entry points.
#[test]
fn the_order_of_the_field_is_what_stops_aliases_of_digests() {
    let mut layout = simulator::layout(40);
    layout.tensors[0].visibility = zkinfer_verifier::Visibility::Hashed;
    let simulator = simulator::Simulator::new(
        ProofSystem::Groth16,
        zkinfer_verifier::Setup::Development,
        layout,
        3,
    );
    let tree = Solidity {
        allow_dev_key: true,
    }
    .generate(&simulator.key)
    .expect("a good key");
    let whole = &tree["ZkinferVerifier.sol"];
    let statement = simulator.statement(1);
    let proof = simulator.prove(&statement, 2);
    let mut call = Call::new(&statement, &proof);
    let at = call.tensors.len() - 32;
    call.tensors = add_modulus(&call.tensors, at, &simulator::R).expect("2r < 2^256");
    let mut words: Vec<Vec<u8>> = statement
        .words()
        .iter()
        .map(|word| scalar_to_bytes(*word).to_vec())
        .collect();
    let last = words.last_mut().expect("a digest");
    *last = add_modulus(last, 0, &simulator::R).expect("2r < 2^256");
    let accepts = |source: &str, attack: &[u8]| {
        let mut evm = Evm::new(DEVELOPMENT_CHAIN_ID);
        let creation = &compile(source, EMBEDDED)["ZkinferVerifier"];
        let contract = evm.deploy(creation).expect("deploys");
        evm.call(contract.address, attack).is_ok()
    };
    for (check, replacement, attack) in [
        (
            "if gt(calldataload(tensors), R_MAX) {",
            "if 0 {",
            call.encode(),
        ),
        (
            "bad := or(bad, gt(digest, R_MAX))",
            "",
            encode_words(&words, &call.proof),
        ),
    ] {
        let source = whole.replace(check, replacement);
        assert_ne!(source, *whole, "{check}");
        assert!(!accepts(whole, &attack), "with {check}");
        assert!(accepts(&source, &attack), "without {check}");
    }
}

#[test]
fn verifies_nothing_on_a_chain_without_the_precompiles() {
    for system in SYSTEMS {
        let (simulator, statement, proof) = valid(system, 40);
        let tree = Solidity {
            allow_dev_key: true,
        }
        .generate(&simulator.key)
        .expect("a good key");
        for precompile in [6, 7, 8] {
            // An address without code: the call succeeds and returns nothing.
            let absent = format!("staticcall(gas(), 0x77{precompile},");
            let source = tree["ZkinferVerifier.sol"]
                .replace(&format!("staticcall(gas(), {precompile},"), &absent);
            assert_ne!(source, tree["ZkinferVerifier.sol"]);
            let mut evm = Evm::new(DEVELOPMENT_CHAIN_ID);
            let contract = evm
                .deploy(&compile(&source, EMBEDDED)["ZkinferVerifier"])
                .expect("deploys");
            match evm.call(contract.address, &calldata_verify(&statement, &proof)) {
                Err(EvmError::Reverted { output, .. }) => {
                    assert_eq!(output, selector("InvalidProof()"))
                }
                other => panic!("without precompile {precompile}: {other:?}"),
            }
        }
    }
}

#[test]
fn source_and_embedded_code_leave_the_same_contract() {
    for system in SYSTEMS {
        let (simulator, ..) = valid(system, 40);
        let tree = Solidity {
            allow_dev_key: true,
        }
        .generate(&simulator.key)
        .expect("a good key");
        let compiled = compile(&tree["ZkinferVerifier.sol"], EMBEDDED);
        let deploy = |creation: &[u8]| {
            Evm::new(DEVELOPMENT_CHAIN_ID)
                .deploy(creation)
                .expect("deploys")
                .code_size
        };
        let embedded = creation_code(&simulator.key, true).expect("a good key");
        assert_eq!(deploy(&compiled["ZkinferVerifier"]), deploy(&embedded));
    }
}

#[test]
fn a_model_cannot_write_solidity_through_its_names() {
    let (simulator, ..) = valid(ProofSystem::UltraGroth, 40);
    let mut key = simulator.key;
    key.layout.tensors[0].name = "x\n*/ contract Evil {} /* \u{202e}\"'\\u{0}".to_owned();
    let tree = Solidity {
        allow_dev_key: true,
    }
    .generate(&key)
    .expect("a good key");
    let source = &tree["ZkinferVerifier.sol"];
    assert!(source.contains("Input x?\u{3f}/?contract?Evil"), "{source}");
    assert_eq!(
        compile(source, EMBEDDED).len(),
        3,
        "verifier, deployer, per-key contract"
    );
}

#[test]
fn gas_and_code_size_are_as_pinned() {
    let mut csv = String::from(
        "system,public_bytes,code_bytes,deploy_gas,verify_gas,verify_proof_gas,calldata_bytes\n",
    );
    for system in SYSTEMS {
        for size in [0, 1, 30, 31, 32, 74, 794, 3082] {
            let (simulator, statement, proof) = valid(system, size);
            let mut evm = Evm::new(DEVELOPMENT_CHAIN_ID);
            let contract = evm
                .deploy(&creation_code(&simulator.key, true).expect("a good key"))
                .expect("deploys");
            let data = calldata_verify(&statement, &proof);
            let gas = evm
                .call(contract.address, &data)
                .expect("a valid proof")
                .gas_used;
            let raw = calldata_verify_proof(&statement.words(), &proof);
            let raw = evm
                .call(contract.address, &raw)
                .expect("a valid proof")
                .gas_used;
            let (code, deploy, len) = (contract.code_size, contract.gas, data.len());
            writeln!(csv, "{system},{size},{code},{deploy},{gas},{raw},{len}").expect("a String");
            if system == ProofSystem::UltraGroth {
                assert!(
                    gas.max(raw) <= 250_000,
                    "{size} public bytes: {gas} and {raw} gas"
                );
            }
        }
    }
    print!("{csv}");
    assert_golden(
        solc::repository().join("contracts-verifier/tests/golden/gas.csv"),
        &csv,
    );
}
