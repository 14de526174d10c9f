//! True statements are accepted; encodings round-trip; packing and transcript have known answers.

mod simulator;

use ark_bn254::Fr;
use simulator::{SYSTEMS, Simulator, g1, groth_mut, layout, tensor, valid};
use zkinfer_verifier::{
    Context, Dtype, Proof, ProofSystem, Role, Setup, Statement, StatementLayout, VerifyingKey,
    Visibility,
    curve::scalar_to_bytes,
    snarkjs,
    transcript::{challenges, evaluate_words},
    verify, verify_words,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn accepts_proofs_of_both_systems_at_every_word_boundary() {
    for system in SYSTEMS {
        for public_bytes in [0, 1, 30, 31, 32, 62, 63, 794] {
            let (simulator, statement, proof) = valid(system, public_bytes);
            assert_eq!(statement.public_bytes.len(), public_bytes as usize);
            assert_eq!(
                verify(&simulator.key, &statement, &proof),
                Ok(()),
                "{system}, {public_bytes} bytes"
            );
            assert_eq!(
                verify_words(&simulator.key, &statement.words(), &proof),
                Ok(())
            );
        }
    }
}

#[test]
fn encodings_round_trip() {
    for system in SYSTEMS {
        let (simulator, statement, proof) = valid(system, 40);
        let bytes = simulator.key.encode();
        let key = VerifyingKey::decode(&bytes).expect("an encoded key decodes");
        assert_eq!(key, simulator.key);
        assert_eq!(key.encode(), bytes);
        assert_eq!(key.digest(), simulator.key.digest());

        let bytes = proof.to_bytes();
        assert_eq!(bytes.len(), simulator.key.proof_bytes());
        assert_eq!(Proof::from_bytes(system, &bytes), Ok(proof));
        assert_eq!(
            Statement::from_words(&key.layout, &statement.words()),
            Ok(statement)
        );
        assert_eq!(system.name().parse(), Ok(system));
    }
}

#[test]
fn packs_elements_as_offsets_from_the_minimum() {
    let layout = StatementLayout {
        tensors: vec![
            tensor("b", Role::Input, Visibility::Public, &[2], Dtype::Bool),
            tensor("i8", Role::Input, Visibility::Public, &[3], Dtype::Int8),
            tensor(
                "hidden",
                Role::Input,
                Visibility::Private,
                &[9],
                Dtype::Int8,
            ),
            tensor("u8", Role::Input, Visibility::Public, &[2], Dtype::Uint8),
            tensor("i16", Role::Output, Visibility::Public, &[2], Dtype::Int16),
            tensor("i32", Role::Output, Visibility::Public, &[], Dtype::Int32),
        ],
    };
    assert_eq!(layout.check(), Ok(()));
    let values: [&[i64]; 5] = [
        &[0, 1],
        &[-128, 0, 127],
        &[0, 255],
        &[-32768, 32767],
        &[i64::from(i32::MAX)],
    ];
    let statement = Statement::new(&layout, Context::ZERO, &values).expect("values of the dtypes");
    assert_eq!(
        hex(&statement.public_bytes),
        "0001 0080ff 00ff 0000ffff ffffffff".replace(' ', "")
    );
    assert_eq!(layout.public_bytes(), 15);
    assert_eq!(layout.n_words(), 2);
    let word = scalar_to_bytes(statement.words()[1]);
    assert_eq!(
        hex(&word),
        format!("00{}{}", hex(&statement.public_bytes), "00".repeat(16))
    );
    let tensors = statement
        .tensors(&layout)
        .expect("the bytes are of this layout");
    assert_eq!(
        tensors
            .iter()
            .map(|(_, values)| values.as_slice())
            .collect::<Vec<_>>(),
        values
    );
    assert_eq!(tensors[1].0.name, "i8");
    assert!((tensors[1].0.dequantize(5) - 0.25).abs() < 1e-12);
}

#[test]
fn contexts_are_numbers_below_two_to_the_253() {
    let context = Context::from_hex("0xAb").expect("two digits");
    assert_eq!(context.to_bytes()[31], 0xab);
    assert_eq!(context.as_fr(), Fr::from(0xab_u64));
    assert_eq!(context.to_string(), format!("0x{}ab", "00".repeat(31)));
    assert_eq!(context.to_string().parse(), Ok(context));
    let largest = format!("1f{}", "ff".repeat(31));
    assert!(Context::from_hex(&largest).is_ok());
    assert!(Context::from_hex(&format!("20{}", "00".repeat(31))).is_err());
    for bad in ["", "0x", "g", "+1", &"0".repeat(65)] {
        assert!(Context::from_hex(bad).is_err(), "{bad:?}");
    }
}

/// The vector was computed by another implementation: tests/vectors/transcript.js.
#[test]
fn challenges_match_the_known_answer() {
    let words = [Fr::from(5_u64), Fr::from(7_u64), -Fr::from(1_u64)];
    let challenges = challenges(&[0x42; 32], &words, &g1(Fr::from(2_u64)));
    let expected: Vec<&str> = include_str!("vectors/transcript.txt").lines().collect();
    assert_eq!(hex(&scalar_to_bytes(challenges.rho)), expected[0]);
    assert_eq!(hex(&scalar_to_bytes(challenges.alpha)), expected[1]);
    assert_eq!(
        hex(&scalar_to_bytes(evaluate_words(&words, challenges.alpha))),
        expected[2]
    );
    let statement = Statement {
        context: Context::from_hex("5").expect("a digit"),
        public_bytes: vec![1, 2, 3],
        digests: vec![],
    };
    assert_eq!(hex(&statement.digest(&[0x42; 32])), expected[3]);
}

#[test]
fn snarkjs_files_round_trip() {
    let (simulator, statement, proof) = valid(ProofSystem::Groth16, 40);
    let text = snarkjs::proof_to_json(&proof).expect("plain groth16");
    assert_eq!(snarkjs::proof_from_json(&text), Ok(proof));
    let text = snarkjs::public_to_json(&statement).expect("strings serialize");
    assert_eq!(
        snarkjs::public_from_json(&simulator.key.layout, &text),
        Ok(statement)
    );
    let text = snarkjs::verification_key_to_json(&simulator.key).expect("plain groth16");
    let json: serde_json::Value = serde_json::from_str(&text).expect("our own JSON");
    assert_eq!(json["nPublic"], 3);
    assert_eq!(json["IC"].as_array().map(Vec::len), Some(4));

    let (simulator, _, proof) = valid(ProofSystem::UltraGroth, 40);
    assert!(snarkjs::proof_to_json(&proof).is_err());
    assert!(snarkjs::verification_key_to_json(&simulator.key).is_err());
}

#[test]
fn snarkjs_writes_zero_as_a_digit() {
    let simulator = Simulator::new(ProofSystem::Groth16, Setup::Development, layout(31), 3);
    let statement = Statement {
        context: Context::ZERO,
        public_bytes: vec![0; 31],
        digests: vec![],
    };
    let text = snarkjs::public_to_json(&statement).expect("strings serialize");
    assert_eq!(text.split_whitespace().collect::<String>(), r#"["0","0"]"#);
    assert_eq!(
        snarkjs::public_from_json(&simulator.key.layout, &text),
        Ok(statement)
    );
}

#[test]
fn gamma_may_be_the_generator() {
    let (simulator, ..) = valid(ProofSystem::UltraGroth, 1);
    let mut key = simulator.key;
    groth_mut(&mut key).gamma_g2 = simulator::g2(Fr::from(1_u64));
    assert_eq!(key.check(), Ok(()));
}
