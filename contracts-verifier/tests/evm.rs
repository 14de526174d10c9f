//! The contracts accept exactly what the native verifier accepts, and revert with a custom error on everything else.

#[path = "../../verifier/tests/simulator/mod.rs"]
mod simulator;
mod vectors;

use ark_bn254::Fr;
use simulator::{
    Q, R, SYSTEMS, Simulator, add_modulus, each_byte_changed, greatest, layout, non_canonical,
    off_subgroup, valid,
};
use vectors::{Call, encode_words, selector, word};
use zkinfer_contracts::{
    GenerateError, Solidity, Target, creation_code,
    evm::{Deployed, Evm, EvmError},
    solidity::{DEVELOPMENT_CHAIN_ID, calldata_verify, calldata_verify_proof},
};
use zkinfer_verifier::{
    Proof, ProofSystem, Setup, Statement, StatementError, VerifyingKey, curve::scalar_to_bytes,
    verify_words,
};

const SIZES: [u32; 8] = [0, 1, 30, 31, 32, 62, 63, 794];

struct Chain {
    evm: Evm,
    contract: Deployed,
    key: VerifyingKey,
}

impl Chain {
    fn new(key: &VerifyingKey) -> Self {
        let mut evm = Evm::new(DEVELOPMENT_CHAIN_ID);
        let creation = creation_code(key, true).expect("a good key");
        let contract = evm.deploy(&creation).expect("the contract deploys");
        Self {
            evm,
            contract,
            key: key.clone(),
        }
    }

    fn accepts(&mut self, data: &[u8]) -> bool {
        match self.evm.call(self.contract.address, data) {
            Ok(outcome) => {
                assert_eq!(
                    outcome.output,
                    word(1),
                    "a call that succeeds returns exactly 1"
                );
                true
            }
            Err(EvmError::Reverted { .. }) => false,
            Err(other) => panic!("a call neither accepts nor reverts: {other}"),
        }
    }

    /// Refused by the contract with this error, and by the native verifier.
    fn refuses(&mut self, call: &Call, error: &str) {
        assert!(!call.holds(&self.key), "the native verifier accepts");
        self.refuses_data(&call.encode(), error);
    }

    fn refuses_data(&mut self, data: &[u8], error: &str) {
        match self.evm.call(self.contract.address, data) {
            Err(EvmError::Reverted { output, .. }) => {
                assert_eq!(output, selector(error), "{error}")
            }
            other => panic!("expected {error}, got {other:?}"),
        }
    }
}

#[test]
fn accepts_what_the_native_verifier_accepts() {
    for system in SYSTEMS {
        for size in SIZES {
            let (simulator, statement, proof) = valid(system, size);
            let mut chain = Chain::new(&simulator.key);
            let call = Call::new(&statement, &proof);
            assert!(call.holds(&simulator.key));
            let data = Solidity::default()
                .encode(&simulator.key, &statement, &proof)
                .expect("a valid proof");
            assert_eq!(data, call.encode(), "both encoders agree");
            assert!(chain.accepts(&data), "{system}, {size} bytes");
            assert!(
                chain.accepts(&calldata_verify_proof(&statement.words(), &proof)),
                "{system}, {size} words"
            );
            let other = simulator.statement(77);
            let other_proof = simulator.prove(&other, 78);
            assert!(chain.accepts(&calldata_verify(&other, &other_proof)));
            assert!(!chain.accepts(&calldata_verify(&other, &proof)));
        }
    }
}

#[test]
fn refuses_every_changed_byte_of_context_tensors_and_proof() {
    let mut mutations = 0;
    for system in SYSTEMS {
        for size in [0, 1, 31, 32, 794] {
            let (simulator, statement, proof) = valid(system, size);
            let mut chain = Chain::new(&simulator.key);
            let good = Call::new(&statement, &proof);
            let contexts = each_byte_changed(&good.context, 1).map(|(_, context)| Call {
                context,
                ..good.clone()
            });
            let tensors = each_byte_changed(&good.tensors, 2).map(|(_, tensors)| Call {
                tensors,
                ..good.clone()
            });
            let proofs = each_byte_changed(&good.proof, 3).map(|(_, proof)| Call {
                proof,
                ..good.clone()
            });
            for call in contexts.chain(tensors).chain(proofs) {
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
    }
    println!("{mutations} changed calls refused by both verifiers");
}

#[test]
fn refuses_every_changed_byte_of_the_calldata() {
    let mut mutations = 0;
    for system in SYSTEMS {
        for size in [0, 1, 33] {
            let (simulator, statement, proof) = valid(system, size);
            let mut chain = Chain::new(&simulator.key);
            let raw = calldata_verify_proof(&statement.words(), &proof);
            for good in [calldata_verify(&statement, &proof), raw] {
                for (i, data) in each_byte_changed(&good, 4) {
                    assert!(!chain.accepts(&data), "{system}, {size} bytes: byte {i}");
                    mutations += 1;
                }
            }
        }
    }
    println!("{mutations} changed bytes of calldata refused");
}

#[test]
fn refuses_calldata_that_is_cut_or_continued() {
    for system in SYSTEMS {
        let (simulator, statement, proof) = valid(system, 33);
        let mut chain = Chain::new(&simulator.key);
        for good in [
            calldata_verify(&statement, &proof),
            calldata_verify_proof(&statement.words(), &proof),
        ] {
            for len in 0..good.len() {
                assert!(!chain.accepts(&good[..len]), "cut to {len}");
            }
            for extra in [1, 31, 32, 64, 1024] {
                let long = [good.as_slice(), &vec![0; extra]].concat();
                chain.refuses_data(&long, "InvalidLength()");
            }
        }
    }
}

#[test]
fn refuses_wrong_lengths_and_offsets() {
    for system in SYSTEMS {
        let (simulator, statement, proof) = valid(system, 33);
        let mut chain = Chain::new(&simulator.key);
        let good = Call::new(&statement, &proof);
        for len in [0, 1, 31, 32, 34, 62, 64, 65, 1000] {
            let mut call = good.clone();
            call.tensors.resize(len, 0);
            chain.refuses(&call, "InvalidLength()");
        }
        let other = if system == ProofSystem::Groth16 {
            320
        } else {
            256
        };
        for len in [
            0,
            1,
            simulator.key.proof_bytes() - 1,
            simulator.key.proof_bytes() + 1,
            simulator.key.proof_bytes() + 32,
            other,
        ] {
            let mut call = good.clone();
            call.proof.resize(len, 0);
            chain.refuses(&call, "InvalidLength()");
        }
        // The same arguments in an encoding that ABI decoders read alike: the proof first, the tensors behind it.
        let proof_tail = [&word(good.proof.len())[..], &good.proof].concat();
        let mut tensors_tail = [&word(good.tensors.len())[..], &good.tensors].concat();
        tensors_tail.resize(96, 0);
        let heads = [&word(96 + proof_tail.len())[..], &word(96)].concat();
        let name = selector("verify(uint256,bytes,bytes)");
        let swapped = [name, good.context.clone(), heads, proof_tail, tensors_tail].concat();
        chain.refuses_data(&swapped, "InvalidLength()");
        // Dirt in the padding of the tensors.
        let mut dirty = good.encode();
        let padding = 4 + 96 + 32 + 33;
        assert_eq!(dirty[padding], 0);
        dirty[padding] = 1;
        chain.refuses_data(&dirty, "InvalidLength()");
        dirty[padding] = 0;
        dirty[4 + 96 + 32 + 63] = 1;
        chain.refuses_data(&dirty, "InvalidLength()");

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
        chain.refuses_data(&encode_words(&words, &good.proof[..192]), "InvalidLength()");
    }
}

#[test]
fn refuses_words_that_are_not_canonical() {
    for system in SYSTEMS {
        let (simulator, statement, proof) = valid(system, 63);
        let mut chain = Chain::new(&simulator.key);
        let good = Call::new(&statement, &proof);
        for context in [
            add_modulus(&good.context, 0, &R),
            Some([&[0x20][..], &[0; 31]].concat()),
            Some(vec![0xff; 32]),
        ] {
            let call = Call {
                context: context.expect("the sum fits"),
                ..good.clone()
            };
            chain.refuses(&call, "InvalidWord()");
        }
        let words: Vec<Vec<u8>> = statement
            .words()
            .iter()
            .map(|word| scalar_to_bytes(*word).to_vec())
            .collect();
        for i in 0..words.len() {
            let mut value = words[i].clone();
            while let Some(sum) = add_modulus(&value, 0, &R) {
                value = sum;
                let mut changed = words.clone();
                changed[i].clone_from(&value);
                chain.refuses_data(&encode_words(&changed, &good.proof), "InvalidWord()");
            }
            let mut changed = words.clone();
            changed[i] = R.to_vec();
            chain.refuses_data(&encode_words(&changed, &good.proof), "InvalidWord()");
            let mut changed = words.clone();
            changed[i][31] ^= 1;
            // 63 bytes leave one byte of data in the last word; the rest is padding.
            let error = if i + 1 == words.len() {
                "InvalidWord()"
            } else {
                "InvalidProof()"
            };
            chain.refuses_data(&encode_words(&changed, &good.proof), error);
            let mut changed = words.clone();
            changed[i][1] ^= 1;
            chain.refuses_data(&encode_words(&changed, &good.proof), "InvalidProof()");
        }
    }
}

#[test]
fn refuses_words_that_no_statement_has_like_the_native_verifier() {
    let mut refused = 0;
    for system in SYSTEMS {
        for size in [0, 1, 30, 31, 32, 217, 218, 248, 249, 794] {
            let (simulator, statement, _) = valid(system, size);
            let (key, words) = (&simulator.key, statement.words());
            let mut chain = Chain::new(key);
            for (index, words) in non_canonical(&key.layout, &words) {
                // The equation holds for these words: only their form is wrong.
                let proof = simulator.prove_words(&words, 3);
                let error = StatementError::NonCanonicalWord { index };
                assert_eq!(verify_words(key, &words, &proof), Err(error.into()));
                chain.refuses_data(&calldata_verify_proof(&words, &proof), "InvalidWord()");
                refused += 1;
            }
            let words = greatest(&key.layout);
            let proof = simulator.prove_words(&words, 4);
            assert_eq!(verify_words(key, &words, &proof), Ok(()));
            assert!(chain.accepts(&calldata_verify_proof(&words, &proof)));
        }
    }
    println!("{refused} vectors of words refused by both verifiers");
}

#[test]
fn refuses_coordinates_with_the_modulus_added_and_infinity() {
    for system in SYSTEMS {
        let (simulator, statement, proof) = valid(system, 1);
        let mut chain = Chain::new(&simulator.key);
        let good = Call::new(&statement, &proof);
        for at in (0..good.proof.len()).step_by(32) {
            let mut value = good.proof.clone();
            while let Some(sum) = add_modulus(&value, at, &Q) {
                value = sum;
                chain.refuses(
                    &Call {
                        proof: value.clone(),
                        ..good.clone()
                    },
                    "InvalidPoint()",
                );
            }
        }
        let points = [(0, 64), (64, 128), (192, 64), (256, 64)];
        for (start, len) in points
            .into_iter()
            .take_while(|(start, _)| *start < good.proof.len())
        {
            let mut call = good.clone();
            call.proof[start..start + len].fill(0);
            chain.refuses(&call, "InvalidPoint()");
        }
    }
}

#[test]
fn refuses_swapped_negated_and_foreign_points() {
    for system in SYSTEMS {
        let (simulator, statement, proof) = valid(system, 40);
        let mut chain = Chain::new(&simulator.key);
        let bad: Vec<Proof> = match proof {
            Proof::Groth16 { a, b, c } => [
                (c, b, a),
                (-a, b, c),
                (a, -b, c),
                (a, b, -c),
                (a, off_subgroup(), c),
            ]
            .map(|(a, b, c)| Proof::Groth16 { a, b, c })
            .to_vec(),
            Proof::UltraGroth { a, b, c1, c2 } => [
                (a, b, c2, c1),
                (c1, b, a, c2),
                (c2, b, c1, a),
                (-a, b, c1, c2),
                (a, -b, c1, c2),
                (a, b, -c1, c2),
                (a, b, c1, -c2),
                (a, off_subgroup(), c1, c2),
            ]
            .map(|(a, b, c1, c2)| Proof::UltraGroth { a, b, c1, c2 })
            .to_vec(),
            Proof::Halo2Kzg { .. } => panic!("a groth16 system"),
        };
        for proof in bad {
            chain.refuses(&Call::new(&statement, &proof), "InvalidProof()");
        }
        // The proof of another key, and of another context.
        let other = Simulator::new(system, Setup::Development, layout(40), 99);
        chain.refuses(
            &Call::new(&statement, &other.prove(&statement, 5)),
            "InvalidProof()",
        );
        let mut call = Call::new(&statement, &proof);
        call.context = vec![0; 32];
        chain.refuses(&call, "InvalidProof()");
    }
}

#[test]
fn accepts_rerandomized_proofs_like_the_native_verifier() {
    let (simulator, statement, proof) = valid(ProofSystem::UltraGroth, 40);
    let Proof::UltraGroth { a, b, c1, c2 } = proof else {
        panic!("an ultragroth proof")
    };
    let call = Call::new(
        &statement,
        &Proof::UltraGroth {
            a: -a,
            b: -b,
            c1,
            c2,
        },
    );
    assert!(call.holds(&simulator.key));
    assert!(Chain::new(&simulator.key).accepts(&call.encode()));
}

#[test]
fn a_point_off_the_curve_takes_the_gas_of_the_call_and_still_reverts_by_name() {
    let (simulator, statement, mut proof) = valid(ProofSystem::UltraGroth, 1);
    let mut chain = Chain::new(&simulator.key);
    let Proof::UltraGroth { a, .. } = &mut proof else {
        panic!("an ultragroth proof")
    };
    a.y += ark_bn254::Fq::from(1_u64);
    chain.refuses(&Call::new(&statement, &proof), "InvalidProof()");
}

#[test]
fn a_development_key_deploys_on_the_development_chain_only() {
    for system in SYSTEMS {
        let (simulator, ..) = valid(system, 40);
        assert_eq!(
            creation_code(&simulator.key, false),
            Err(GenerateError::DevelopmentKey)
        );
        assert_eq!(
            Solidity::default().generate(&simulator.key),
            Err(GenerateError::DevelopmentKey)
        );
        let creation = creation_code(&simulator.key, true).expect("a good key");
        for chain_id in [1, 10, 11_155_111, 1337] {
            match Evm::new(chain_id).deploy(&creation) {
                Err(EvmError::Reverted { output, .. }) => {
                    assert_eq!(output, selector("DevelopmentKey()"))
                }
                other => panic!("chain {chain_id}: {other:?}"),
            }
        }
        assert!(Evm::new(DEVELOPMENT_CHAIN_ID).deploy(&creation).is_ok());

        let ceremony = Simulator::new(system, Setup::Ceremony, layout(40), 5);
        let statement = ceremony.statement(1);
        let proof = ceremony.prove(&statement, 2);
        let creation = creation_code(&ceremony.key, false).expect("a ceremony's key");
        let mut evm = Evm::new(1);
        let contract = evm.deploy(&creation).expect("deploys anywhere");
        assert!(
            evm.call(contract.address, &calldata_verify(&statement, &proof))
                .is_ok()
        );
    }
}

#[test]
fn the_deployer_refuses_a_key_of_wrong_length() {
    for system in SYSTEMS {
        let (simulator, ..) = valid(system, 40);
        let creation = creation_code(&simulator.key, true).expect("a good key");
        let key_bytes = 64 * simulator::groth(&simulator.key).ic.len()
            + if system == ProofSystem::Groth16 {
                512
            } else {
                640
            };
        let arguments = creation.len() - key_bytes - 96;
        for len in [0, 32, key_bytes - 32, key_bytes + 32] {
            let mut data = creation[..arguments + 64].to_vec();
            data.extend_from_slice(&word(len));
            data.resize(data.len() + len, 1);
            assert!(
                Evm::new(DEVELOPMENT_CHAIN_ID).deploy(&data).is_err(),
                "{system}, {len} bytes of key"
            );
        }
    }
}

#[test]
fn refuses_keys_that_fail_the_linter_or_do_not_fit() {
    let (simulator, ..) = valid(ProofSystem::UltraGroth, 40);
    let mut key = simulator.key;
    let points = simulator::groth_mut(&mut key);
    points.deltas_g2[1] = points.gamma_g2;
    assert!(matches!(
        creation_code(&key, true),
        Err(GenerateError::Key(_))
    ));

    let large = Simulator::new(
        ProofSystem::Groth16,
        Setup::Development,
        layout(31 * 400),
        1,
    );
    assert!(matches!(
        creation_code(&large.key, true),
        Err(GenerateError::CodeSize { n_words: 401, .. })
    ));
}

#[test]
fn the_encoder_refuses_points_no_contract_accepts() {
    let (simulator, statement, proof) = valid(ProofSystem::UltraGroth, 40);
    let Proof::UltraGroth { a, b, c2, .. } = proof else {
        panic!("an ultragroth proof")
    };
    let infinite = Proof::UltraGroth {
        a,
        b,
        c1: ark_bn254::G1Affine::identity(),
        c2,
    };
    assert!(matches!(
        Solidity::default().encode(&simulator.key, &statement, &infinite),
        Err(GenerateError::Proof(_))
    ));
}

#[test]
fn the_key_digest_is_readable_and_nothing_else_is_callable() {
    for system in SYSTEMS {
        let (simulator, ..) = valid(system, 40);
        let mut chain = Chain::new(&simulator.key);
        let outcome = chain
            .evm
            .call(chain.contract.address, &selector("vkDigest()"))
            .expect("a getter");
        assert_eq!(outcome.output, simulator.key.digest());
        for data in [vec![], vec![0; 4], selector("owner()")] {
            assert!(!chain.accepts(&data));
        }
    }
}

#[test]
fn a_statement_of_zeros_is_accepted_like_any_other() {
    for system in SYSTEMS {
        let (simulator, ..) = valid(system, 63);
        let statement = Statement {
            context: zkinfer_verifier::Context::ZERO,
            public_bytes: vec![0; 63],
            digests: vec![],
        };
        assert!(statement.words().iter().all(|word| *word == Fr::default()));
        let proof = simulator.prove(&statement, 3);
        assert!(Chain::new(&simulator.key).accepts(&calldata_verify(&statement, &proof)));
    }
}
