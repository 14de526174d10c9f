//! Everything that is not a valid proof of this statement under this key is refused, with the error that says why.

mod simulator;

use ark_bn254::{Fr, G1Affine};
use ark_ec::AffineRepr;
use simulator::{
    Q, R, SYSTEMS, add_modulus, each_byte_changed, greatest, layout, non_canonical, off_subgroup,
    tensor, valid,
};
use zkinfer_verifier::{
    Context, ContextError, Dtype, PointError, Proof, ProofError, ProofPoint, ProofSystem, Role,
    Statement, StatementError, StatementLayout, VerifyError, Visibility,
    curve::scalar_from_bytes,
    snarkjs::{self, SnarkjsError},
    verify, verify_words,
};

/// The points of a proof and the byte each begins at.
fn points(system: ProofSystem) -> Vec<(ProofPoint, usize, usize)> {
    match system {
        ProofSystem::Groth16 => vec![
            (ProofPoint::A, 0, 64),
            (ProofPoint::B, 64, 128),
            (ProofPoint::C, 192, 64),
        ],
        ProofSystem::Halo2Kzg => panic!("a groth16 system"),
        ProofSystem::UltraGroth => {
            vec![
                (ProofPoint::A, 0, 64),
                (ProofPoint::B, 64, 128),
                (ProofPoint::C1, 192, 64),
                (ProofPoint::C2, 256, 64),
            ]
        }
    }
}

#[test]
fn rejects_every_changed_byte_of_the_proof() {
    for system in SYSTEMS {
        let (simulator, statement, proof) = valid(system, 40);
        for (i, bytes) in each_byte_changed(&proof.to_bytes(), 1) {
            match Proof::from_bytes(system, &bytes) {
                Err(ProofError::Point { point, .. }) => {
                    let (_, start, len) = points(system)
                        .into_iter()
                        .find(|p| p.0 == point)
                        .expect("a point");
                    assert!(
                        (start..start + len).contains(&i),
                        "byte {i} is not of {point}"
                    );
                }
                Err(other) => panic!("byte {i}: {other}"),
                Ok(proof) => assert_eq!(
                    verify(&simulator.key, &statement, &proof),
                    Err(VerifyError::Rejected)
                ),
            }
        }
    }
}

#[test]
fn rejects_every_changed_byte_of_the_statement() {
    for system in SYSTEMS {
        let (simulator, statement, proof) = valid(system, 40);
        for (_, bytes) in each_byte_changed(&statement.public_bytes, 2) {
            let changed = Statement {
                public_bytes: bytes,
                ..statement.clone()
            };
            assert_eq!(
                verify(&simulator.key, &changed, &proof),
                Err(VerifyError::Rejected)
            );
        }
        for (_, bytes) in each_byte_changed(&statement.context.to_bytes(), 3) {
            let bytes: [u8; 32] = bytes.try_into().expect("32 bytes");
            match Context::from_bytes(bytes) {
                Err(error) => assert_eq!(error, ContextError::TooLarge),
                Ok(context) => {
                    let changed = Statement {
                        context,
                        ..statement.clone()
                    };
                    assert_eq!(
                        verify(&simulator.key, &changed, &proof),
                        Err(VerifyError::Rejected)
                    );
                }
            }
        }
    }
}

#[test]
fn rejects_proofs_of_another_circuit_and_another_system() {
    for system in SYSTEMS {
        let (_, statement, proof) = valid(system, 40);
        let other =
            simulator::Simulator::new(system, zkinfer_verifier::Setup::Development, layout(40), 99);
        assert_eq!(
            verify(&other.key, &statement, &proof),
            Err(VerifyError::Rejected)
        );
    }
    let (plain, statement, plain_proof) = valid(ProofSystem::Groth16, 40);
    let (ultra, _, ultra_proof) = valid(ProofSystem::UltraGroth, 40);
    let (groth16, ultragroth) = (ProofSystem::Groth16, ProofSystem::UltraGroth);
    assert_eq!(
        verify(&plain.key, &statement, &ultra_proof),
        Err(VerifyError::System {
            expected: groth16,
            got: ultragroth
        })
    );
    assert_eq!(
        verify(&ultra.key, &statement, &plain_proof),
        Err(VerifyError::System {
            expected: ultragroth,
            got: groth16
        })
    );
}

#[test]
fn rejects_coordinates_with_the_modulus_added() {
    for system in SYSTEMS {
        let (_, _, proof) = valid(system, 1);
        for (point, start, len) in points(system) {
            for at in (start..start + len).step_by(32) {
                let bytes = add_modulus(&proof.to_bytes(), at, &Q).expect("2q < 2^256");
                let expected = ProofError::Point {
                    point,
                    error: PointError::Coordinate,
                };
                assert_eq!(Proof::from_bytes(system, &bytes), Err(expected));
            }
        }
    }
}

#[test]
fn rejects_infinity_in_every_place() {
    for system in SYSTEMS {
        let (simulator, statement, proof) = valid(system, 1);
        for (point, start, len) in points(system) {
            let mut bytes = proof.to_bytes();
            bytes[start..start + len].fill(0);
            let expected = ProofError::Point {
                point,
                error: PointError::Infinity,
            };
            assert_eq!(Proof::from_bytes(system, &bytes), Err(expected));
        }
        // A proof built in memory passes no decoder: the verifier looks again.
        let zero = G1Affine::zero();
        let built = match proof {
            Proof::Groth16 { a, b, .. } => Proof::Groth16 { a, b, c: zero },
            Proof::UltraGroth { a, b, c2, .. } => Proof::UltraGroth { a, b, c1: zero, c2 },
            Proof::Halo2Kzg { .. } => panic!("a groth16 system"),
        };
        assert!(matches!(
            verify(&simulator.key, &statement, &built),
            Err(VerifyError::Proof(ProofError::Point {
                error: PointError::Infinity,
                ..
            }))
        ));
        let built = match proof {
            Proof::Groth16 { a, c, .. } => Proof::Groth16 {
                a,
                b: off_subgroup(),
                c,
            },
            Proof::UltraGroth { a, c1, c2, .. } => Proof::UltraGroth {
                a,
                b: off_subgroup(),
                c1,
                c2,
            },
            Proof::Halo2Kzg { .. } => panic!("a groth16 system"),
        };
        let expected = ProofError::Point {
            point: ProofPoint::B,
            error: PointError::OffSubgroup,
        };
        assert_eq!(
            verify(&simulator.key, &statement, &built),
            Err(VerifyError::Proof(expected))
        );
        assert_eq!(Proof::from_bytes(system, &built.to_bytes()), Err(expected));
    }
}

#[test]
fn rejects_points_off_the_curve() {
    let (_, _, proof) = valid(ProofSystem::UltraGroth, 1);
    for (point, start, len) in points(ProofSystem::UltraGroth) {
        let mut bytes = proof.to_bytes();
        bytes[start + len - 1] ^= 1;
        let expected = ProofError::Point {
            point,
            error: PointError::OffCurve,
        };
        assert_eq!(
            Proof::from_bytes(ProofSystem::UltraGroth, &bytes),
            Err(expected)
        );
    }
}

#[test]
fn rejects_swapped_points() {
    let (simulator, statement, proof) = valid(ProofSystem::UltraGroth, 40);
    let Proof::UltraGroth { a, b, c1, c2 } = proof else {
        panic!("an ultragroth proof")
    };
    for (a, c1, c2) in [
        (a, c2, c1),
        (c1, a, c2),
        (c2, c1, a),
        (c1, c2, a),
        (c2, a, c1),
        (-a, c1, c2),
    ] {
        let swapped = Proof::UltraGroth { a, b, c1, c2 };
        assert_eq!(
            verify(&simulator.key, &statement, &swapped),
            Err(VerifyError::Rejected)
        );
    }
    let (simulator, statement, proof) = valid(ProofSystem::Groth16, 40);
    let Proof::Groth16 { a, b, c } = proof else {
        panic!("a groth16 proof")
    };
    for (a, b, c) in [(c, b, a), (-a, b, c), (a, -b, c), (a, b, -c)] {
        let swapped = Proof::Groth16 { a, b, c };
        assert_eq!(
            verify(&simulator.key, &statement, &swapped),
            Err(VerifyError::Rejected)
        );
    }
}

#[test]
fn rejects_wrong_lengths_and_counts() {
    for system in SYSTEMS {
        let (simulator, statement, proof) = valid(system, 40);
        let bytes = proof.to_bytes();
        let expected = simulator.key.proof_bytes();
        for len in 0..bytes.len() {
            let got = ProofError::Length {
                system,
                expected,
                got: len,
            };
            assert_eq!(Proof::from_bytes(system, &bytes[..len]), Err(got));
        }
        for extra in [1, 31, 32, 64, 320] {
            let long = [bytes.as_slice(), &vec![0; extra]].concat();
            let got = ProofError::Length {
                system,
                expected,
                got: expected + extra,
            };
            assert_eq!(Proof::from_bytes(system, &long), Err(got));
        }
        for got in [0, 39, 41, 62] {
            let mut changed = statement.clone();
            changed.public_bytes.resize(got, 0);
            let error = VerifyError::Statement(StatementError::PublicBytes { expected: 40, got });
            assert_eq!(verify(&simulator.key, &changed, &proof), Err(error));
        }
        let mut words = statement.words();
        words.push(Fr::from(0_u64));
        let error = VerifyError::Statement(StatementError::Words {
            expected: 3,
            got: 4,
        });
        assert_eq!(verify_words(&simulator.key, &words, &proof), Err(error));
        assert!(verify_words(&simulator.key, &words[..2], &proof).is_err());
    }
}

#[test]
fn rejects_proofs_of_words_that_no_statement_has() {
    for system in SYSTEMS {
        for size in [0, 1, 31, 40] {
            let (simulator, statement, _) = valid(system, size);
            let (key, words) = (&simulator.key, statement.words());
            for (index, words) in non_canonical(&key.layout, &words) {
                let proof = simulator.prove_words(&words, 3);
                let error = VerifyError::Statement(StatementError::NonCanonicalWord { index });
                assert_eq!(verify_words(key, &words, &proof), Err(error));
            }
            let words = greatest(&key.layout);
            let proof = simulator.prove_words(&words, 4);
            assert_eq!(verify_words(key, &words, &proof), Ok(()));
        }
    }
}

#[test]
fn rejects_scalars_with_the_modulus_added() {
    let (simulator, statement, _) = valid(ProofSystem::Groth16, 40);
    for word in statement.words() {
        let bytes = zkinfer_verifier::curve::scalar_to_bytes(word);
        let sum: [u8; 32] = add_modulus(&bytes, 0, &R)
            .and_then(|sum| sum.try_into().ok())
            .expect("2r < 2^256");
        assert_eq!(scalar_from_bytes(&sum), None);
    }
    let one_plus_r =
        "21888242871839275222246405745257275088548364400416034343698204186575808495618";
    for text in [
        one_plus_r,
        "01",
        "-1",
        "+1",
        "",
        " 1",
        "0x1",
        &"9".repeat(78),
        &"9".repeat(79),
    ] {
        let json = format!(r#"["{text}", "0", "0"]"#);
        let error = snarkjs::public_from_json(&simulator.key.layout, &json);
        assert_eq!(
            error,
            Err(SnarkjsError::Number { field: "public" }),
            "{text}"
        );
    }
}

#[test]
fn rejects_words_the_packing_never_makes() {
    let layout = layout(40);
    let words = [Fr::from(1_u64), Fr::from(2_u64), Fr::from(0_u64)];
    assert!(Statement::from_words(&layout, &words).is_ok());
    let wide = -Fr::from(1_u64);
    for index in 0..3 {
        let mut changed = words;
        changed[index] = wide;
        assert_eq!(
            Statement::from_words(&layout, &changed),
            Err(StatementError::NonCanonicalWord { index })
        );
    }
    let padding = [words[0], words[1], Fr::from(1_u64)];
    assert_eq!(
        Statement::from_words(&layout, &padding),
        Err(StatementError::NonCanonicalWord { index: 2 })
    );
}

#[test]
fn rejects_values_outside_their_dtype() {
    let layout = StatementLayout {
        tensors: vec![tensor(
            "x",
            Role::Input,
            Visibility::Public,
            &[2],
            Dtype::Bool,
        )],
    };
    let build = |values: &[&[i64]]| Statement::new(&layout, Context::ZERO, values);
    assert!(matches!(
        build(&[&[0, 2]]),
        Err(StatementError::OutsideDtype {
            index: 1,
            value: 2,
            ..
        })
    ));
    assert!(matches!(
        build(&[&[-1, 0]]),
        Err(StatementError::OutsideDtype { index: 0, .. })
    ));
    assert!(matches!(
        build(&[&[i64::MIN, i64::MAX]]),
        Err(StatementError::OutsideDtype { index: 0, .. })
    ));
    assert!(matches!(
        build(&[&[0]]),
        Err(StatementError::Elements {
            expected: 2,
            got: 1,
            ..
        })
    ));
    assert!(matches!(
        build(&[]),
        Err(StatementError::Tensors {
            expected: 1,
            got: 0
        })
    ));
    let shown = Statement {
        context: Context::ZERO,
        public_bytes: vec![0, 7],
        digests: vec![],
    };
    assert!(matches!(
        shown.tensors(&layout),
        Err(StatementError::OutsideDtype {
            index: 1,
            value: 7,
            ..
        })
    ));
}

#[test]
fn refuses_snarkjs_proofs_that_are_not_canonical() {
    let (_, _, proof) = valid(ProofSystem::Groth16, 1);
    let text = snarkjs::proof_to_json(&proof).expect("plain groth16");
    assert!(snarkjs::proof_from_json(&text.replace("groth16", "plonk")).is_err());
    assert!(snarkjs::proof_from_json(&text.replace("bn128", "bls12381")).is_err());
    assert!(snarkjs::proof_from_json(&text.replacen("\"1\"", "\"2\"", 1)).is_err());
    assert!(snarkjs::proof_from_json(&text.replacen("\"1\"", "\"0\"", 1)).is_err());
    let mut json: serde_json::Value = serde_json::from_str(&text).expect("our own JSON");
    let q = "21888242871839275222246405745257275088696311157297823662689037894645226208583";
    json["pi_a"][0] = q.into();
    assert_eq!(
        snarkjs::proof_from_json(&json.to_string()),
        Err(ProofError::Point {
            point: ProofPoint::A,
            error: PointError::Coordinate
        }
        .into())
    );
    assert!(matches!(
        snarkjs::proof_from_json("{"),
        Err(SnarkjsError::Json { .. })
    ));
}
