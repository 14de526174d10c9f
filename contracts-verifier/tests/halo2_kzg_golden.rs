//! The embedded code of the halo2-kzg contracts is what solc makes of the committed source; both generated sources compile under every
//! setting people use and behave the same; gas and code sizes are pinned in golden/halo2_kzg.csv. `UPDATE_GOLDEN=1` regenerates.
#![allow(clippy::unwrap_used)]

mod halo2;
#[path = "../../verifier/tests/simulator/mod.rs"]
mod simulator;
mod solc;
mod vectors;

use std::{fmt::Write, fs, path::PathBuf};

use halo2::{SHAPES, Shape, valid_halo2, valid_halo2_of};
use simulator::{Q, R, add_modulus, hashed_layout, layout};
use solc::{EMBEDDED, Settings, compile};
use vectors::{Call, encode_words, selector, word};
use zkinfer_contracts::{
    Solidity, SourceTree, Target, creation_code,
    evm::{Evm, EvmError},
    solidity::{
        DEVELOPMENT_CHAIN_ID, MAX_CODE_BYTES, calldata_verify, calldata_verify_proof,
        deployer_source, key_creation_code, verifier_creation_code,
    },
};
use zkinfer_verifier::{ProofSystem, Statement, VerifyingKey, curve::scalar_to_bytes};

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
        "{} differs; look at the change, then run with UPDATE_GOLDEN=1.\nnow:\n{fresh}",
        path.display()
    );
}

#[test]
fn embedded_creation_code_is_what_solc_makes_of_the_source() {
    let (_, source) = deployer_source(ProofSystem::Halo2Kzg);
    let compiled = compile(source, EMBEDDED);
    for (contract, file) in [
        ("Halo2KzgDeployer", "halo2-kzg.hex"),
        ("Halo2KzgVerifier", "halo2-kzg-verifier.hex"),
    ] {
        let path = solc::repository()
            .join("contracts-verifier/src/solidity")
            .join(file);
        assert_golden(path, &(hex::encode(&compiled[contract]) + "\n"));
    }
}

fn tree(key: &VerifyingKey) -> SourceTree {
    let target = Solidity {
        allow_dev_key: true,
    };
    target.generate(key).expect("a good key")
}

/// Creation code of both contracts under a setting; the constructor of the reusable one takes the zero address.
fn creations(tree: &SourceTree, settings: Settings) -> [Vec<u8>; 2] {
    let specialised = compile(&tree["ZkinferVerifier.sol"], settings)["ZkinferVerifier"].clone();
    let mut reusable = compile(&tree["ZkinferReusable.sol"], settings)["ZkinferVerifier"].clone();
    reusable.extend_from_slice(&[0; 32]);
    [reusable, specialised]
}

/// Deploys, checks a few good and bad calls, and returns code size and gas of `verify`.
fn exercise(
    creation: &[u8],
    key: &VerifyingKey,
    statement: &Statement,
    call: &Call,
) -> (usize, u64) {
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
    let raw = encode_words(&words, &call.proof);
    assert_eq!(
        evm.call(contract.address, &raw)
            .expect("a valid proof")
            .output,
        word(1)
    );
    let digest = evm
        .call(contract.address, &selector("vkDigest()"))
        .expect("a getter");
    assert_eq!(digest.output, key.digest());

    let mut refuse = |data: &[u8], error: &str| match evm.call(contract.address, data) {
        Err(EvmError::Reverted { output, .. }) => assert_eq!(output, selector(error), "{error}"),
        other => panic!("expected {error}, got {other:?}"),
    };
    let mut changed = call.clone();
    changed.context[31] ^= 1;
    refuse(&changed.encode(), "InvalidProof()");
    changed.context[0] = 0x20;
    refuse(&changed.encode(), "InvalidWord()");
    if !call.tensors.is_empty() {
        let mut changed = call.clone();
        changed.tensors[0] ^= 0x80;
        refuse(&changed.encode(), "InvalidProof()");
    }
    let points = 64 * key.halo2_kzg().unwrap().n_commitments();
    for at in (0..call.proof.len()).step_by(32) {
        let eval = points <= at && at < call.proof.len() - 128;
        let (modulus, error) = if eval {
            (&R, "InvalidScalar()")
        } else {
            (&Q, "InvalidPoint()")
        };
        let proof = add_modulus(&call.proof, at, modulus).expect("2q < 2^256");
        refuse(
            &Call {
                proof,
                ..call.clone()
            }
            .encode(),
            error,
        );
        let mut proof = call.proof.clone();
        proof[at + 31] ^= 1;
        let error = if eval {
            "InvalidProof()"
        } else {
            "InvalidPoint()"
        };
        refuse(
            &Call {
                proof,
                ..call.clone()
            }
            .encode(),
            error,
        );
    }
    let mut changed = call.clone();
    changed.tensors.push(0);
    refuse(&changed.encode(), "InvalidLength()");
    refuse(&[call.encode(), vec![0]].concat(), "InvalidLength()");
    (contract.code_size, outcome.gas_used)
}

#[test]
fn generated_source_behaves_the_same_under_every_compiler_setting() {
    for (shape, layout, all_runs) in [
        (Shape::Small, layout(40), &[1, 200, 10_000][..]),
        (Shape::Least, hashed_layout(40, 3), &[10_000]),
        (Shape::Model, layout(74), &[10_000]),
    ] {
        let (simulator, statement, proof) = valid_halo2_of(shape, layout);
        let key = simulator.key;
        let tree = tree(&key);
        let call = Call::new(&statement, &proof);
        let bin = hex::decode(tree["ZkinferReusable.bin"].trim()).expect("hex");
        exercise(&bin, &key, &statement, &call);
        for via_ir in [false, true] {
            for runs in all_runs.iter().copied() {
                let settings = Settings { via_ir, runs };
                for creation in creations(&tree, settings) {
                    let (size, gas) = exercise(&creation, &key, &statement, &call);
                    println!("{shape:?} {settings:?}: {size} bytes, {gas} gas");
                    match Evm::new(1).deploy(&creation) {
                        Err(EvmError::Reverted { output, .. }) => {
                            assert_eq!(output, selector("DevelopmentKey()"));
                        }
                        other => panic!("a development key on chain 1: {other:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn assumes_nothing_about_the_free_memory_pointer_or_the_memory_behind_it() {
    let (simulator, statement, proof) = valid_halo2(Shape::Small, 40);
    let tree = tree(&simulator.key);
    let dirt = "mstore(0x40, 0x1fe3) for { let i := 0x80 } lt(i, 0x8000) { i := add(i, 32) } { mstore(i, not(0)) } ";
    let mut dirty = SourceTree::new();
    for (file, read) in [
        ("ZkinferVerifier.sol", "m := mload(0x40)"),
        ("ZkinferReusable.sol", "image := mload(0x40)"),
    ] {
        let source = tree[file].replacen(read, &format!("{dirt}{read}"), 1);
        assert_ne!(source, tree[file]);
        dirty.insert(file.to_owned(), source);
    }
    for via_ir in [false, true] {
        for creation in creations(&dirty, Settings { via_ir, runs: 200 }) {
            exercise(
                &creation,
                &simulator.key,
                &statement,
                &Call::new(&statement, &proof),
            );
        }
    }
}

#[test]
fn verifies_nothing_on_a_chain_without_the_precompiles() {
    let (simulator, statement, proof) = valid_halo2(Shape::Small, 40);
    let tree = tree(&simulator.key);
    for precompile in [5, 6, 7, 8] {
        // An address without code: the call succeeds and returns nothing.
        let mut without = SourceTree::new();
        for file in ["ZkinferVerifier.sol", "ZkinferReusable.sol"] {
            let absent = format!("staticcall(gas(), 0x77{precompile},");
            let source = tree[file].replace(&format!("staticcall(gas(), {precompile},"), &absent);
            assert_ne!(source, tree[file]);
            without.insert(file.to_owned(), source);
        }
        for creation in creations(&without, EMBEDDED) {
            let mut evm = Evm::new(DEVELOPMENT_CHAIN_ID);
            let contract = evm.deploy(&creation).expect("deploys");
            match evm.call(contract.address, &calldata_verify(&statement, &proof)) {
                Err(EvmError::Reverted { output, .. }) => {
                    assert_eq!(output, selector("InvalidProof()"));
                }
                other => panic!("without precompile {precompile}: {other:?}"),
            }
        }
    }
}

/// Without one of its checks a contract accepts what that check refuses, so the refusals in `halo2_kzg.rs` test the checks and not luck.
#[test]
fn every_check_is_what_stops_its_attack() {
    let (simulator, statement, proof) = valid_halo2(Shape::Small, 40);
    let tree = tree(&simulator.key);
    let call = Call::new(&statement, &proof);
    let mut padded_words = statement.words();
    padded_words[2] += zkinfer_verifier::Fr::from(1_u64);
    let padded_proof = simulator.prove_words(&padded_words, 3);
    let mut dirty = call.encode();
    dirty[4 + 96 + 32 + 40] = 1;
    let attacks = [
        (
            "wrong := or(wrong, xor(calldatasize(), add(proof.offset,",
            [call.encode(), vec![7]].concat(),
        ),
        (
            "if used { wrong := or(wrong, shl(shl(3, used), calldataload(add(tensors, sub(head, 32))))) }",
            dirty,
        ),
        (
            "bad := or(bad, shl(sub(256, spare), mload(sub(",
            calldata_verify_proof(&padded_words, &padded_proof),
        ),
    ];
    for file in ["ZkinferVerifier.sol", "ZkinferReusable.sol"] {
        let accepts_in = |source: &str| {
            let mut creation = compile(source, EMBEDDED)["ZkinferVerifier"].clone();
            creation.extend_from_slice(&[0; 32]);
            let mut evm = Evm::new(DEVELOPMENT_CHAIN_ID);
            let contract = evm.deploy(&creation).expect("deploys");
            move |attack: &[u8]| evm.call(contract.address, attack).is_ok()
        };
        let mut whole = accepts_in(&tree[file]);
        for (check, attack) in &attacks {
            // The whole line of each occurrence goes.
            let source: String = tree[file]
                .lines()
                .filter(|line| !line.contains(check))
                .flat_map(|line| [line, "\n"])
                .collect();
            assert!(source.len() < tree[file].len(), "{file}: {check}");
            assert!(!whole(attack), "{file}: with {check}");
            assert!(accepts_in(&source)(attack), "{file}: without {check}");
        }
    }
}

/// Forge class 32 for digests: what the comparison with the order of the field stops, in both entry points. The prover's transcript has the
/// alias too.
#[test]
fn the_order_of_the_field_is_what_stops_aliases_of_digests() {
    let (simulator, statement, _) = valid_halo2_of(Shape::Small, hashed_layout(40, 1));
    let tree = tree(&simulator.key);
    let mut written: Vec<_> = statement.words().into_iter().map(scalar_to_bytes).collect();
    let last = written.last_mut().expect("a digest");
    let alias = add_modulus(last.as_slice(), 0, &R).expect("2r < 2^256");
    last.copy_from_slice(&alias);
    let proof = simulator.prove_written(&written, 3);
    let mut call = Call::new(&statement, &proof);
    call.tensors.splice(40.., alias);
    assert!(!call.holds(&simulator.key));
    let written: Vec<_> = written.iter().map(|word| word.to_vec()).collect();
    let words = encode_words(&written, &call.proof);
    for (file, word) in [
        ("ZkinferVerifier.sol", "end"),
        ("ZkinferReusable.sol", "word"),
    ] {
        let accepts = |source: &str, attack: &[u8]| {
            let mut creation = compile(source, EMBEDDED)["ZkinferVerifier"].clone();
            creation.extend_from_slice(&[0; 32]);
            let mut evm = Evm::new(DEVELOPMENT_CHAIN_ID);
            let contract = evm.deploy(&creation).expect("deploys");
            evm.call(contract.address, attack).is_ok()
        };
        let in_words = format!("bad := or(bad, iszero(lt(mload({word}), R)))");
        for (check, replacement, attack) in [
            (
                "if iszero(lt(calldataload(tensors), R)) {",
                "if 0 {",
                call.encode(),
            ),
            (in_words.as_str(), "", words.clone()),
        ] {
            let source = tree[file].replace(check, replacement);
            assert_ne!(source, tree[file], "{file}: {check}");
            assert!(!accepts(&tree[file], &attack), "{file}: with {check}");
            assert!(accepts(&source, &attack), "{file}: without {check}");
        }
    }
}

#[test]
fn a_model_cannot_write_solidity_through_its_names() {
    let (simulator, ..) = valid_halo2(Shape::Least, 40);
    let mut key = simulator.key;
    key.layout.tensors[0].name = "x\n*/ contract Evil {} /* \u{202e}\"'\\u{0} @BODY@".to_owned();
    let tree = tree(&key);
    for (file, contracts) in [("ZkinferVerifier.sol", 1), ("ZkinferReusable.sol", 3)] {
        let source = &tree[file];
        assert!(source.contains("Input x?\u{3f}/?contract?Evil"), "{source}");
        assert_eq!(compile(source, EMBEDDED).len(), contracts);
    }
}

#[test]
fn source_and_embedded_code_leave_the_same_contract() {
    let (simulator, ..) = valid_halo2(Shape::Small, 40);
    let [compiled, _] = creations(&tree(&simulator.key), EMBEDDED);
    let embedded = creation_code(&simulator.key, true).expect("a good key");
    let sizes = [compiled, embedded].map(|creation| {
        let mut evm = Evm::new(DEVELOPMENT_CHAIN_ID);
        evm.deploy(&creation).expect("deploys").code_size
    });
    assert_eq!(sizes[0], sizes[1]);
}

/// 21,000 and the price of calldata.
fn intrinsic(data: &[u8]) -> u64 {
    data.iter()
        .fold(21_000, |gas, byte| gas + if *byte == 0 { 4 } else { 16 })
}

#[test]
fn gas_and_code_size_are_as_pinned() {
    let mut csv = String::from(
        "contract,circuit,public_bytes,digests,code_bytes,deploy_gas,verify_gas,verify_proof_gas,transaction_gas,proof_bytes,calldata_bytes\n",
    );
    let mut evm = Evm::new(DEVELOPMENT_CHAIN_ID);
    let verifier = evm.deploy(verifier_creation_code()).expect("deploys");
    let (code, gas) = (verifier.code_size, verifier.gas);
    writeln!(csv, "verifier,,,,{code},{gas},,,,,").expect("a String");
    let mut rows: Vec<(Shape, u32, usize)> = SHAPES.map(|shape| (shape, 74, 0)).to_vec();
    rows.extend([0, 794, 3082].map(|size| (Shape::Model, size, 0)));
    rows.extend([(0, 1), (74, 1), (74, 2), (74, 16)].map(|(size, n)| (Shape::Model, size, n)));
    for (shape, size, n_hashed) in rows {
        let layout = match n_hashed {
            0 => layout(size),
            _ => hashed_layout(size, n_hashed),
        };
        let (simulator, statement, proof) = valid_halo2_of(shape, layout);
        let specialised = &tree(&simulator.key)["ZkinferVerifier.sol"];
        let specialised = compile(specialised, EMBEDDED)["ZkinferVerifier"].clone();
        let reusable = key_creation_code(&simulator.key, true, verifier.address);
        let data = calldata_verify(&statement, &proof);
        let raw = calldata_verify_proof(&statement.words(), &proof);
        for (name, creation) in [
            ("reusable", reusable.unwrap()),
            ("specialised", specialised),
        ] {
            let contract = evm.deploy(&creation).expect("deploys");
            let mut gas_of = |data: &[u8]| {
                let outcome = evm.call(contract.address, data);
                outcome.expect("a valid proof").gas_used
            };
            let (gas, raw_gas) = (gas_of(&data), gas_of(&raw));
            let (code, deploy) = (contract.code_size, contract.gas);
            let transaction = gas + intrinsic(&data);
            let (proof_bytes, calldata) = (simulator.key.proof_bytes(), data.len());
            writeln!(
                csv,
                "{name},{shape:?},{size},{n_hashed},{code},{deploy},{gas},{raw_gas},{transaction},{proof_bytes},{calldata}"
            )
            .expect("a String");
            if name == "specialised" && shape == Shape::Model && size == 74 && n_hashed == 0 {
                assert!(transaction <= 400_000, "{transaction} gas");
            }
        }
    }
    print!("{csv}");
    assert_golden(
        solc::repository().join("contracts-verifier/tests/golden/halo2_kzg.csv"),
        &csv,
    );
}
