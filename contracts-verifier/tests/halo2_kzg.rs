//! The contracts of halo2-kzg keys accept exactly what the native verifier accepts, and revert with a custom error on everything else: the
//! reusable one from its embedded code, the specialised one as solc compiles it.
#![allow(clippy::unwrap_used)]

mod halo2;
#[path = "../../verifier/tests/simulator/mod.rs"]
mod simulator;
mod solc;
mod vectors;

use halo2::{Chain, Halo2Simulator, SHAPES, Shape, valid_halo2};
use simulator::{Q, R, add_modulus, each_byte_changed, greatest, non_canonical};
use solc::{EMBEDDED, compile};
use vectors::{Call, encode_words, selector, word};
use zkinfer_contracts::{
    GenerateError, Solidity, Target, creation_code,
    evm::{Evm, EvmError},
    solidity::{
        DEVELOPMENT_CHAIN_ID, MAX_CODE_BYTES, calldata_verify, calldata_verify_proof,
        key_creation_code, key_words, verifier_creation_code,
    },
};
use zkinfer_verifier::{
    KeyMaterial, Setup, StatementError, curve::scalar_to_bytes, halo2_kzg::Op, keccak256,
    verify_words,
};

#[test]
fn accepts_what_the_native_verifier_accepts() {
    for shape in SHAPES {
        for size in [0, 1, 31, 32, 300, 794] {
            let (simulator, statement, proof) = valid_halo2(shape, size.min(simulator_rows(shape)));
            let mut chain = Chain::new(&simulator.key);
            let call = Call::new(&statement, &proof);
            assert!(
                call.holds(&simulator.key),
                "{shape:?}: the simulated proof holds"
            );
            let data = Solidity::default()
                .encode(&simulator.key, &statement, &proof)
                .unwrap();
            assert_eq!(data, call.encode(), "both encoders agree");
            assert!(chain.accepts(&data), "{shape:?}, {size} bytes");
            let words = calldata_verify_proof(&statement.words(), &proof);
            assert!(chain.accepts(&words), "{shape:?}, {size} words");
            let other = simulator.statement(77);
            let other_proof = simulator.prove(&other, 78);
            assert!(chain.accepts(&calldata_verify(&other, &other_proof)));
            chain.refuses(&Call::new(&other, &proof), "InvalidProof()");
        }
    }
}

/// Public bytes that fit the rows of the shape's domain.
fn simulator_rows(shape: Shape) -> u32 {
    match shape {
        Shape::Least => 31 * 50,
        _ => 10_000,
    }
}

#[test]
fn refuses_every_changed_byte_of_context_and_tensors_and_every_changed_word_of_the_proof() {
    let mut mutations = 0;
    for (shape, size) in [(Shape::Small, 33), (Shape::Large, 0), (Shape::Model, 74)] {
        let (simulator, statement, proof) = valid_halo2(shape, size);
        let mut chain = Chain::new(&simulator.key);
        let good = Call::new(&statement, &proof);
        let mut calls = Vec::new();
        for (_, context) in each_byte_changed(&good.context, 1) {
            calls.push(Call {
                context,
                ..good.clone()
            });
        }
        for (_, tensors) in each_byte_changed(&good.tensors, 2) {
            calls.push(Call {
                tensors,
                ..good.clone()
            });
        }
        let with = |proof: Vec<u8>| Call {
            proof,
            ..good.clone()
        };
        for at in (0..good.proof.len()).step_by(32) {
            // One low bit; one high bit; zero; r and q added; exchanged with the next word, and with the next point.
            for (byte, bit) in [(31, 1), (1, 0x10)] {
                let mut proof = good.proof.clone();
                proof[at + byte] ^= bit;
                calls.push(with(proof));
            }
            let mut proof = good.proof.clone();
            proof[at..at + 32].fill(0);
            calls.push(with(proof));
            calls.extend(add_modulus(&good.proof, at, &R).map(with));
            calls.extend(add_modulus(&good.proof, at, &Q).map(with));
            for (distance, length) in [(32, 32), (64, 64)] {
                if at + distance + length <= good.proof.len() {
                    let mut proof = good.proof.clone();
                    let (left, right) = proof.split_at_mut(at + distance);
                    left[at..at + length].swap_with_slice(&mut right[..length]);
                    calls.push(with(proof));
                }
            }
        }
        for call in calls {
            if call == good {
                continue;
            }
            let accepted = chain.accepts(&call.encode());
            assert_eq!(
                accepted,
                call.holds(&simulator.key),
                "the verifiers disagree: {call:?}"
            );
            assert!(!accepted);
            mutations += 1;
        }
    }
    assert!(mutations >= 300);
    println!("{mutations} changed calls refused by the native verifier and both contracts");
}

#[test]
fn refuses_every_changed_byte_of_the_calldata() {
    let (simulator, statement, proof) = valid_halo2(Shape::Least, 33);
    let mut chain = Chain::new(&simulator.key);
    let raw = calldata_verify_proof(&statement.words(), &proof);
    for good in [calldata_verify(&statement, &proof), raw] {
        for (i, data) in each_byte_changed(&good, 4) {
            let outputs = chain.outputs(&data);
            assert!(outputs.iter().all(Result::is_err), "byte {i}");
        }
    }
}

#[test]
fn refuses_points_that_are_infinite_not_canonical_or_off_the_curve_and_scalars_that_are_not_canonical()
 {
    for shape in SHAPES {
        let (simulator, statement, proof) = valid_halo2(shape, 1);
        let mut chain = Chain::new(&simulator.key);
        let good = Call::new(&statement, &proof);
        let with = |proof: Vec<u8>| Call {
            proof,
            ..good.clone()
        };
        let evals = 64 * simulator.protocol.n_commitments();
        let openings = good.proof.len() - 128;
        let points = (0..evals).chain(openings..good.proof.len()).step_by(64);
        for at in points {
            let mut infinity = good.proof.clone();
            infinity[at..at + 64].fill(0);
            chain.refuses(&with(infinity), "InvalidPoint()");
            for at in [at, at + 32] {
                let mut value = good.proof.clone();
                while let Some(sum) = add_modulus(&value, at, &Q) {
                    value = sum;
                    chain.refuses(&with(value.clone()), "InvalidPoint()");
                }
                let mut off = good.proof.clone();
                off[at + 31] ^= 1;
                chain.refuses(&with(off), "InvalidPoint()");
                let mut modulus = good.proof.clone();
                modulus[at..at + 32].copy_from_slice(&Q);
                chain.refuses(&with(modulus), "InvalidPoint()");
            }
        }
        for at in (evals..openings).step_by(32) {
            let mut value = good.proof.clone();
            while let Some(sum) = add_modulus(&value, at, &R) {
                value = sum;
                chain.refuses(&with(value.clone()), "InvalidScalar()");
            }
            let mut modulus = good.proof.clone();
            modulus[at..at + 32].copy_from_slice(&R);
            chain.refuses(&with(modulus), "InvalidScalar()");
            let mut other = good.proof.clone();
            other[at + 31] ^= 1;
            chain.refuses(&with(other), "InvalidProof()");
        }
    }
}

#[test]
fn refuses_calldata_that_is_cut_or_continued_and_wrong_lengths_and_offsets() {
    let (simulator, statement, proof) = valid_halo2(Shape::Small, 33);
    let mut chain = Chain::new(&simulator.key);
    let good = Call::new(&statement, &proof);
    for data in [
        calldata_verify(&statement, &proof),
        calldata_verify_proof(&statement.words(), &proof),
    ] {
        for len in (0..data.len()).step_by(7) {
            let outputs = chain.outputs(&data[..len]);
            assert!(outputs.iter().all(Result::is_err), "cut to {len}");
        }
        for extra in [1, 31, 32, 64, 1024] {
            let long = [data.as_slice(), &vec![0; extra]].concat();
            chain.refuses_data(&long, "InvalidLength()");
        }
    }
    for len in [0, 1, 31, 32, 34, 62, 64, 65, 1000] {
        let mut call = good.clone();
        call.tensors.resize(len, 0);
        chain.refuses(&call, "InvalidLength()");
    }
    let length = good.proof.len();
    for len in [
        0,
        1,
        32,
        length - 64,
        length - 32,
        length - 1,
        length + 1,
        length + 32,
    ] {
        let mut call = good.clone();
        call.proof.resize(len, 0);
        chain.refuses(&call, "InvalidLength()");
    }
    // The same arguments in an encoding that ABI decoders read alike: the proof first, the tensors behind it.
    let proof_tail = [&word(length)[..], &good.proof].concat();
    let mut tensors_tail = [&word(good.tensors.len())[..], &good.tensors].concat();
    tensors_tail.resize(96, 0);
    let heads = [&word(96 + proof_tail.len())[..], &word(96)].concat();
    let name = selector("verify(uint256,bytes,bytes)");
    let swapped = [name, good.context.clone(), heads, proof_tail, tensors_tail].concat();
    chain.refuses_data(&swapped, "InvalidLength()");
    // Dirt in the padding of the tensors.
    for at in [33, 63] {
        let mut dirty = good.encode();
        dirty[4 + 96 + 32 + at] = 1;
        chain.refuses_data(&dirty, "InvalidLength()");
    }
    let words: Vec<Vec<u8>> = statement
        .words()
        .iter()
        .map(|word| scalar_to_bytes(*word).to_vec())
        .collect();
    assert!(chain.accepts(&encode_words(&words, &good.proof)));
    chain.refuses_data(&encode_words(&words[..2], &good.proof), "InvalidLength()");
    chain.refuses_data(&encode_words(&[], &good.proof), "InvalidLength()");
    let zero = [words.clone(), vec![vec![0; 32]]].concat();
    chain.refuses_data(&encode_words(&zero, &good.proof), "InvalidLength()");
    chain.refuses_data(
        &encode_words(&words, &good.proof[..length - 32]),
        "InvalidLength()",
    );
}

#[test]
fn refuses_words_that_no_statement_has_like_the_native_verifier() {
    for size in [0, 1, 31, 32, 217, 249] {
        let (simulator, statement, proof) = valid_halo2(Shape::Small, size);
        let (key, words) = (&simulator.key, statement.words());
        let mut chain = Chain::new(key);
        for (index, words) in non_canonical(&key.layout, &words) {
            // The equation holds for these words: only their form is wrong.
            let proof = simulator.prove_words(&words, 3);
            let error = StatementError::NonCanonicalWord { index };
            assert_eq!(verify_words(key, &words, &proof), Err(error.into()));
            chain.refuses_data(&calldata_verify_proof(&words, &proof), "InvalidWord()");
        }
        let most = greatest(&key.layout);
        let proof_of_most = simulator.prove_words(&most, 4);
        assert_eq!(verify_words(key, &most, &proof_of_most), Ok(()));
        assert!(chain.accepts(&calldata_verify_proof(&most, &proof_of_most)));

        let bytes: Vec<Vec<u8>> = words
            .iter()
            .map(|word| scalar_to_bytes(*word).to_vec())
            .collect();
        for i in 0..bytes.len() {
            let mut changed = bytes.clone();
            while let Some(sum) = add_modulus(&changed[i], 0, &R) {
                changed[i] = sum;
                let data = encode_words(&changed, &proof.to_bytes());
                chain.refuses_data(&data, "InvalidWord()");
            }
        }
        let good = Call::new(&statement, &proof);
        for context in [add_modulus(&good.context, 0, &R), Some(vec![0xff; 32])] {
            let call = Call {
                context: context.unwrap(),
                ..good.clone()
            };
            chain.refuses(&call, "InvalidWord()");
        }
    }
}

#[test]
fn refuses_proofs_of_other_keys() {
    let (simulator, statement, proof) = valid_halo2(Shape::Small, 40);
    let mut chain = Chain::new(&simulator.key);
    assert!(chain.accepts(&calldata_verify(&statement, &proof)));
    // The same circuit with another reference string, and the same points under another digest.
    let other = Halo2Simulator::new(Shape::Small, Setup::Development, 40, 8);
    assert_eq!(other.key.proof_bytes(), simulator.key.proof_bytes());
    chain.refuses(
        &Call::new(&statement, &other.prove(&statement, 5)),
        "InvalidProof()",
    );
    let mut other = simulator.clone();
    other.key.model_id = [0x33; 32];
    chain.refuses(
        &Call::new(&statement, &other.prove(&statement, 5)),
        "InvalidProof()",
    );
}

#[test]
fn a_development_key_deploys_on_the_development_chain_only() {
    let (simulator, ..) = valid_halo2(Shape::Small, 40);
    let refused = Err(GenerateError::DevelopmentKey);
    assert_eq!(creation_code(&simulator.key, false), refused);
    assert_eq!(key_creation_code(&simulator.key, false, [1; 20]), refused);
    assert_eq!(
        Solidity::default().generate(&simulator.key),
        Err(GenerateError::DevelopmentKey)
    );
    let tree = Solidity {
        allow_dev_key: true,
    }
    .generate(&simulator.key)
    .unwrap();
    let specialised = compile(&tree["ZkinferVerifier.sol"], EMBEDDED)["ZkinferVerifier"].clone();
    for creation in [creation_code(&simulator.key, true).unwrap(), specialised] {
        for chain_id in [1, 10, 11_155_111, 1337] {
            match Evm::new(chain_id).deploy(&creation) {
                Err(EvmError::Reverted { output, .. }) => {
                    assert_eq!(output, selector("DevelopmentKey()"));
                }
                other => panic!("chain {chain_id}: {other:?}"),
            }
        }
        assert!(Evm::new(DEVELOPMENT_CHAIN_ID).deploy(&creation).is_ok());
    }
    let ceremony = Halo2Simulator::new(Shape::Small, Setup::Ceremony, 40, 5);
    let statement = ceremony.statement(1);
    let proof = ceremony.prove(&statement, 2);
    let tree = Solidity::default().generate(&ceremony.key).unwrap();
    let specialised = compile(&tree["ZkinferVerifier.sol"], EMBEDDED)["ZkinferVerifier"].clone();
    for creation in [creation_code(&ceremony.key, false).unwrap(), specialised] {
        let mut evm = Evm::new(1);
        let contract = evm.deploy(&creation).expect("deploys anywhere");
        assert!(
            evm.call(contract.address, &calldata_verify(&statement, &proof))
                .is_ok()
        );
    }
}

#[test]
fn one_verifier_serves_many_key_contracts_and_each_accepts_its_own_proofs_only() {
    let mut evm = Evm::new(DEVELOPMENT_CHAIN_ID);
    let verifier = evm.deploy(verifier_creation_code()).unwrap();
    let keys: Vec<_> = [
        (Shape::Small, 7),
        (Shape::Small, 8),
        (Shape::Large, 7),
        (Shape::Model, 7),
    ]
    .map(|(shape, seed)| Halo2Simulator::new(shape, Setup::Development, 40, seed))
    .into_iter()
    .map(|simulator| {
        let creation = key_creation_code(&simulator.key, true, verifier.address).unwrap();
        let contract = evm.deploy(&creation).unwrap();
        assert!(contract.code_size < MAX_CODE_BYTES);
        (simulator, contract)
    })
    .collect();
    for (i, (simulator, _)) in keys.iter().enumerate() {
        let statement = simulator.statement(1);
        let data = calldata_verify(&statement, &simulator.prove(&statement, 2));
        for (j, (_, contract)) in keys.iter().enumerate() {
            assert_eq!(
                evm.call(contract.address, &data).is_ok(),
                i == j,
                "proof {i}, key {j}"
            );
        }
        // The verifier itself has no key.
        for data in [data, selector("vkDigest()")] {
            match evm.call(verifier.address, &data) {
                Err(EvmError::Reverted { output, .. }) => assert_eq!(output, selector("NoKey()")),
                other => panic!("a call without a key: {other:?}"),
            }
        }
    }
    // Anything else in the verifier's place is refused, an empty address as well.
    let (simulator, contract) = &keys[0];
    for address in [contract.address, [0x77; 20]] {
        let creation = key_creation_code(&simulator.key, true, address).unwrap();
        match evm.deploy(&creation) {
            Err(EvmError::Reverted { output, .. }) => {
                assert_eq!(output, selector("InvalidVerifier()"))
            }
            other => panic!("another verifier: {other:?}"),
        }
    }
}

#[test]
fn the_deployer_refuses_a_key_of_another_format() {
    let (simulator, ..) = valid_halo2(Shape::Least, 40);
    let creation = creation_code(&simulator.key, true).unwrap();
    let end = creation.len();
    let refused = |data: &[u8]| match Evm::new(DEVELOPMENT_CHAIN_ID).deploy(data) {
        Err(EvmError::Reverted { output, .. }) => assert_eq!(output, selector("InvalidKey()")),
        other => panic!("a damaged key: {other:?}"),
    };
    // The format, the number of words, and more public bytes than 2^24.
    for at in [end - 32, end - 9, end - 5, end - 4] {
        let mut changed = creation.clone();
        changed[at] ^= 2;
        refused(&changed);
    }
}

#[test]
fn the_reusable_verifier_cannot_change_anything() {
    // Creation code of solc: what follows the first INVALID is the runtime; walking over push data.
    let code = verifier_creation_code();
    let mut i = 0;
    let mut seen = std::collections::BTreeSet::new();
    while i < code.len() {
        let op = code[i];
        seen.insert(op);
        i += 1 + if (0x60..=0x7f).contains(&op) {
            usize::from(op) - 0x5f
        } else {
            0
        };
    }
    // SSTORE, TSTORE, LOG0..LOG4, CREATE, CALL, CALLCODE, DELEGATECALL, CREATE2, SELFDESTRUCT, SLOAD.
    for op in [
        0x54, 0x55, 0x5d, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xf0, 0xf1, 0xf2, 0xf4, 0xf5, 0xff,
    ] {
        assert!(!seen.contains(&op), "opcode {op:#x}");
    }
    assert!(seen.contains(&0xfa), "the precompiles are called");
}

#[test]
fn the_key_digest_is_readable_and_nothing_else_is_callable() {
    let (simulator, ..) = valid_halo2(Shape::Small, 40);
    let mut chain = Chain::new(&simulator.key);
    for contract in chain.contracts {
        let outcome = chain
            .evm
            .call(contract.address, &selector("vkDigest()"))
            .expect("a getter");
        assert_eq!(outcome.output, simulator.key.digest());
    }
    for data in [vec![], vec![0; 4], selector("owner()")] {
        assert!(!chain.accepts(&data));
    }
}

#[test]
fn refuses_keys_that_fail_the_linter_or_do_not_fit() {
    let (simulator, ..) = valid_halo2(Shape::Small, 40);
    let mut key = simulator.key.clone();
    let KeyMaterial::Halo2Kzg(protocol) = &mut key.material else {
        panic!("a halo2-kzg key")
    };
    protocol.gates.push(Op::Mul);
    assert!(matches!(
        creation_code(&key, true),
        Err(GenerateError::Key(_))
    ));

    // Gate programs without repetitions: one that fits, one too long for a contract, one with more slots than there are numbers.
    for (n, fits) in [(200, true), (1_000, false), (13_000, false)] {
        let mut key = simulator.key.clone();
        let KeyMaterial::Halo2Kzg(protocol) = &mut key.material else {
            panic!("a halo2-kzg key")
        };
        protocol.gates.clear();
        for i in 0..n {
            protocol
                .gates
                .extend([Op::Instance, Op::Advice((i % 3) as u16)]);
            protocol
                .gates
                .extend([Op::Scale((i as u64 + 5).into()), Op::Add, Op::End]);
        }
        match creation_code(&key, true) {
            Ok(_) => assert!(fits, "{n} constraints"),
            Err(GenerateError::CodeSize { .. } | GenerateError::Statement { .. }) => {
                assert!(!fits, "{n} constraints");
            }
            Err(other) => panic!("{n} constraints: {other}"),
        }
    }
}

#[test]
fn a_statement_of_zeros_is_accepted_like_any_other() {
    let (simulator, ..) = valid_halo2(Shape::Model, 63);
    let statement = zkinfer_verifier::Statement {
        context: zkinfer_verifier::Context::ZERO,
        public_bytes: vec![0; 63],
        digests: vec![],
    };
    let proof = simulator.prove(&statement, 3);
    assert!(Chain::new(&simulator.key).accepts(&calldata_verify(&statement, &proof)));
}

/// A verifier's address may lose its code in the transaction that made it, and get another: a key contract asks what stands there in every call.
#[test]
fn a_key_contract_without_its_verifier_reverts() {
    let simulator = Halo2Simulator::new(Shape::Small, Setup::Development, 40, 7);
    let statement = simulator.statement(1);
    let data = calldata_verify(&statement, &simulator.prove(&statement, 2));
    let deployed = Evm::new(DEVELOPMENT_CHAIN_ID).deploy(verifier_creation_code());
    let prefix = verifier_creation_code().len() - deployed.unwrap().code_size;
    let runtime = &verifier_creation_code()[prefix..];
    for stands in [true, false] {
        let mut evm = Evm::new(DEVELOPMENT_CHAIN_ID);
        let verifier = match stands {
            true => evm.deploy(verifier_creation_code()).unwrap().address,
            false => [0x77; 20],
        };
        // What the deployer leaves behind, put there without it: creation code that returns what follows its eleven bytes.
        let mut code = vec![
            0x60, 0x0b, 0x38, 0x03, 0x80, 0x60, 0x0b, 0x5f, 0x39, 0x5f, 0xf3,
        ];
        code.push(0x73);
        code.extend_from_slice(&verifier);
        code.extend_from_slice(&[0x3f, 0x7f]);
        code.extend_from_slice(&keccak256(runtime));
        code.extend_from_slice(&[0x14, 0x60, 0x3e, 0x57, 0x5f, 0x5f, 0xfd, 0x5b]);
        code.extend_from_slice(&[0x36, 0x5f, 0x5f, 0x37, 0x5f, 0x5f, 0x36, 0x5f, 0x73]);
        code.extend_from_slice(&verifier);
        code.extend_from_slice(&[0x5a, 0xf4, 0x3d, 0x5f, 0x5f, 0x3e, 0x60, 0x68, 0x57]);
        code.extend_from_slice(&[0x3d, 0x5f, 0xfd, 0x5b, 0x3d, 0x5f, 0xf3]);
        for word in key_words(&simulator.key).unwrap() {
            code.extend_from_slice(&word.bytes);
        }
        let contract = evm.deploy(&code).unwrap();
        match evm.call(contract.address, &data) {
            Ok(_) => assert!(stands),
            Err(EvmError::Reverted { output, .. }) => assert!(!stands && output.is_empty()),
            Err(error) => panic!("verifier stands: {stands}: {error}"),
        }
        if stands {
            let creation = key_creation_code(&simulator.key, true, verifier).unwrap();
            let made = evm.deploy(&creation).unwrap();
            assert_eq!(made.code_size, contract.code_size);
            assert!(evm.call(made.address, &data).is_ok());
        }
    }
}
