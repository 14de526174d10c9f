//! Keys that are damaged, out of bounds or forgeable are refused, with the error that says why.

mod simulator;

use ark_bn254::{Fr, G1Affine, G2Affine};
use ark_ec::{AffineRepr, CurveGroup};
use simulator::{
    SYSTEMS, Simulator, each_byte_changed, g2, groth, groth_mut, off_subgroup, tensor, valid,
};
use zkinfer_verifier::{
    Dtype, GrothKey, KeyError, KeyPoint, LayoutError, PointError, Proof, ProofSystem, Role, Setup,
    Statement, StatementLayout, VerifyError, VerifyingKey, Visibility,
    transcript::{challenges, evaluate_words},
    verify,
};

/// Bytes before the layout in an encoded key.
const KEY_HEADER: usize = 8 + 2 + 64;

#[test]
fn rejects_every_changed_byte_of_the_key() {
    for system in SYSTEMS {
        let (simulator, statement, proof) = valid(system, 40);
        let encoded = simulator.key.encode();
        let points_at = encoded.len()
            - 64 * groth(&simulator.key).ic.len()
            - 4
            - 128 * groth(&simulator.key).deltas_g2.len()
            - 1
            - 320;
        for (i, bytes) in each_byte_changed(&encoded, 4) {
            let Ok(key) = VerifyingKey::decode(&bytes) else {
                continue;
            };
            // Every accepted change is another identity, and only the metadata of plain Groth16 is bound by nothing else.
            assert_ne!(key.digest(), simulator.key.digest());
            if system == ProofSystem::UltraGroth || i >= points_at {
                assert!(
                    verify(&key, &statement, &proof).is_err(),
                    "{system}: byte {i}"
                );
            }
        }
    }
}

#[test]
fn decoding_without_checks_gives_the_same_keys_and_looks_at_no_point() {
    for system in SYSTEMS {
        let (simulator, statement, proof) = valid(system, 40);
        let encoded = simulator.key.encode();
        let read = VerifyingKey::decode_unchecked(&encoded);
        assert_eq!(read, VerifyingKey::decode(&encoded));
        assert_eq!(
            verify(&read.expect("a sound key"), &statement, &proof),
            Ok(())
        );
        // The form is checked all the same; the points and the linter's rules are not.
        for len in 0..encoded.len() {
            assert!(VerifyingKey::decode_unchecked(&encoded[..len]).is_err());
        }
        let mut bad = simulator.key.clone();
        groth_mut(&mut bad).gamma_g2 = off_subgroup();
        groth_mut(&mut bad).deltas_g2[0] = bad_delta(&bad);
        assert!(VerifyingKey::decode(&bad.encode()).is_err());
        assert_eq!(VerifyingKey::decode_unchecked(&bad.encode()), Ok(bad));
    }
}

/// A δ that lets anyone forge: ± β.
fn bad_delta(key: &VerifyingKey) -> G2Affine {
    -groth(key).beta_g2
}

#[test]
fn refuses_keys_that_are_cut_or_continued() {
    for system in SYSTEMS {
        let (simulator, ..) = valid(system, 40);
        let encoded = simulator.key.encode();
        for len in 0..encoded.len() {
            let error = VerifyingKey::decode(&encoded[..len]).expect_err("a cut key");
            assert!(
                matches!(error, KeyError::Truncated { .. } | KeyError::Magic { .. }),
                "{len}: {error}"
            );
        }
        let long = [encoded.as_slice(), &[0]].concat();
        assert_eq!(
            VerifyingKey::decode(&long),
            Err(KeyError::Trailing { extra: 1 })
        );
    }
}

#[test]
fn refuses_keys_that_let_anyone_forge() {
    let (gamma, delta) = (KeyPoint::Gamma, KeyPoint::Delta);
    for system in SYSTEMS {
        let check = |change: &dyn Fn(&mut GrothKey)| {
            let (simulator, ..) = valid(system, 40);
            let mut key = simulator.key;
            change(groth_mut(&mut key));
            let error = key.check().expect_err("a bad key");
            assert_eq!(
                VerifyingKey::decode(&key.encode()),
                Err(error),
                "check and decode agree"
            );
            error
        };
        let last = system.n_deltas() - 1;
        let generator = G2Affine::generator();
        assert_eq!(
            check(&|key| key.deltas_g2[last] = key.gamma_g2),
            KeyError::Coincide {
                first: gamma,
                second: delta(last)
            }
        );
        assert_eq!(
            check(&|key| key.deltas_g2[last] = -key.gamma_g2),
            KeyError::Coincide {
                first: gamma,
                second: delta(last)
            }
        );
        assert_eq!(
            check(&|key| key.deltas_g2[0] = generator),
            KeyError::Generator { point: delta(0) }
        );
        assert_eq!(
            check(&|key| key.deltas_g2[last] = -generator),
            KeyError::Generator { point: delta(last) }
        );
        for generator in [generator, -generator] {
            assert_eq!(
                check(&|key| key.beta_g2 = generator),
                KeyError::Generator {
                    point: KeyPoint::Beta
                }
            );
        }
        for generator in [G1Affine::generator(), -G1Affine::generator()] {
            assert_eq!(
                check(&|key| key.alpha_g1 = generator),
                KeyError::Generator {
                    point: KeyPoint::Alpha
                }
            );
        }
        let infinity = PointError::Infinity;
        assert_eq!(
            check(&|key| key.deltas_g2[last] = G2Affine::zero()),
            KeyError::Point {
                point: delta(last),
                error: infinity
            }
        );
        assert_eq!(
            check(&|key| key.ic[2] = G1Affine::zero()),
            KeyError::Point {
                point: KeyPoint::Ic(2),
                error: infinity
            }
        );
        assert_eq!(
            check(&|key| key.ic[3] = key.ic[1]),
            KeyError::Coincide {
                first: KeyPoint::Ic(1),
                second: KeyPoint::Ic(3)
            }
        );
        assert_eq!(
            check(&|key| key.beta_g2 = off_subgroup()),
            KeyError::Point {
                point: KeyPoint::Beta,
                error: PointError::OffSubgroup
            }
        );
        assert!(matches!(
            check(&|key| key.ic.truncate(3)),
            KeyError::Count {
                expected: 4,
                got: 3,
                ..
            }
        ));
        assert!(matches!(
            check(&|key| key.deltas_g2.push(g2(Fr::from(9_u64)))),
            KeyError::Count { .. }
        ));
    }
    let (simulator, ..) = valid(ProofSystem::UltraGroth, 40);
    for sign in [1, -1] {
        let mut key = simulator.key.clone();
        let points = groth_mut(&mut key);
        points.deltas_g2[1] = if sign == 1 {
            points.deltas_g2[0]
        } else {
            -points.deltas_g2[0]
        };
        assert_eq!(
            key.check(),
            Err(KeyError::Coincide {
                first: delta(0),
                second: delta(1)
            })
        );
    }
    let mut key = simulator.key;
    groth_mut(&mut key).ic.clear();
    let (_, statement, proof) = valid(ProofSystem::UltraGroth, 40);
    assert!(matches!(
        verify(&key, &statement, &proof),
        Err(VerifyError::Key(KeyError::Count { .. }))
    ));
}

/// A proof of any statement from the key alone, where β is ± γ (plain) or ± the first δ; `alpha` is ± α with that sign.
fn forge(key: &VerifyingKey, statement: &Statement, equal: KeyPoint, alpha: G1Affine) -> Proof {
    let (t, words) = (Fr::from(5_u64), statement.words());
    let points = groth(key);
    let public = |inputs: &[Fr]| {
        let terms = points.ic[1..].iter().zip(inputs);
        terms.fold(points.ic[0].into_group(), |sum, (ic, input)| {
            sum + *ic * input
        })
    };
    let last = points.deltas_g2[points.deltas_g2.len() - 1];
    let b = (last * t + points.gamma_g2).into_affine();
    if key.system == ProofSystem::Groth16 {
        let point = public(&words);
        let (a, c) = if equal == KeyPoint::Gamma {
            (point + alpha, (point + alpha) * t)
        } else {
            (point, point * t - alpha)
        };
        let (a, c) = (a.into_affine(), c.into_affine());
        return Proof::Groth16 { a, b, c };
    }
    let c1 = -alpha;
    let challenges = challenges(&key.digest(), &words, &c1);
    let e = evaluate_words(&words, challenges.alpha);
    let point = public(&[challenges.rho, challenges.alpha, e]);
    Proof::UltraGroth {
        a: point.into_affine(),
        b,
        c1,
        c2: (point * t).into_affine(),
    }
}

#[test]
fn refuses_keys_whose_beta_is_another_point_and_lets_anyone_forge() {
    for system in SYSTEMS {
        for second in [KeyPoint::Gamma, KeyPoint::Delta(0), KeyPoint::Delta(1)] {
            for negative in [false, true] {
                let (simulator, statement, _) = valid(system, 40);
                let mut key = simulator.key;
                let same = match second {
                    KeyPoint::Delta(i) => groth(&key).deltas_g2.get(i).copied(),
                    _ => Some(groth(&key).gamma_g2),
                };
                let Some(same) = same else {
                    continue;
                };
                let (beta, alpha) = if negative {
                    (-same, -groth(&key).alpha_g1)
                } else {
                    (same, groth(&key).alpha_g1)
                };
                groth_mut(&mut key).beta_g2 = beta;
                // The equation does hold: only the linter stands between this key and a forged proof. In ultragroth the
                // pairing with δ1 leaves one of the three equalities.
                if system == ProofSystem::Groth16 || second == KeyPoint::Delta(0) {
                    let forged = forge(&key, &statement, second, alpha);
                    assert_eq!(verify(&key, &statement, &forged), Ok(()));
                }
                let error = KeyError::Coincide {
                    first: KeyPoint::Beta,
                    second,
                };
                assert_eq!(key.check(), Err(error));
                assert_eq!(VerifyingKey::decode(&key.encode()), Err(error));
            }
        }
    }
}

#[test]
fn refuses_keys_with_opposite_ic_points_which_prove_two_statements_at_once() {
    for system in SYSTEMS {
        let (mut simulator, statement, _) = valid(system, 40);
        simulator.oppose(1, 2);
        let error = KeyError::Coincide {
            first: KeyPoint::Ic(1),
            second: KeyPoint::Ic(2),
        };
        let key = &simulator.key;
        assert_eq!(key.check(), Err(error));
        assert_eq!(VerifyingKey::decode(&key.encode()), Err(error));
        if system == ProofSystem::Groth16 {
            let mut words = statement.words();
            words[0] += Fr::from(1_u64);
            words[1] += Fr::from(1_u64);
            let other = Statement::from_words(&key.layout, &words).expect("canonical words");
            let proof = simulator.prove(&statement, 3);
            assert_ne!(other, statement);
            assert_eq!(verify(key, &statement, &proof), Ok(()));
            assert_eq!(verify(key, &other, &proof), Ok(()));
        }
    }
}

#[test]
fn refuses_layouts_beyond_the_bounds() {
    let input = |name: &str| tensor(name, Role::Input, Visibility::Public, &[2], Dtype::Int8);
    let check = |tensors| {
        StatementLayout { tensors }
            .check()
            .expect_err("a bad layout")
    };
    let named = |n: u32| (0..n).map(|i| input(&i.to_string())).collect();
    assert_eq!(
        check(named(8193)),
        LayoutError::Tensors {
            max: 8192,
            got: 8193
        }
    );
    let most = StatementLayout {
        tensors: named(8192),
    };
    assert_eq!(most.check(), Ok(()));
    assert!(matches!(
        check(vec![input("")]),
        LayoutError::Name { got: 0, .. }
    ));
    assert!(matches!(
        check(vec![input(&"n".repeat(257))]),
        LayoutError::Name { got: 257, .. }
    ));
    assert_eq!(
        check(vec![input("a"), input("a")]),
        LayoutError::DuplicateName {
            tensor: 1,
            other: 0
        }
    );
    let mut output = input("o");
    output.role = Role::Output;
    assert_eq!(
        check(vec![output, input("a")]),
        LayoutError::Order { tensor: 1 }
    );
    for shape in [vec![0_u32], vec![1 << 15, 1 << 15], vec![u32::MAX; 8]] {
        let mut big = input("a");
        big.shape = shape;
        assert!(matches!(
            check(vec![big]),
            LayoutError::Elements { tensor: 0, .. }
        ));
    }
    let mut deep = input("a");
    deep.shape = vec![1; 9];
    assert!(matches!(
        check(vec![deep]),
        LayoutError::Dimensions { got: 9, .. }
    ));
    let mut wide = input("a");
    wide.shape = vec![(1 << 24) + 1];
    assert!(matches!(check(vec![wide]), LayoutError::PublicBytes { .. }));
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0] {
        let mut bad = input("a");
        bad.scale = scale;
        assert!(matches!(
            check(vec![bad]),
            LayoutError::Scale { tensor: 0, .. }
        ));
    }
}

#[test]
fn a_layout_of_many_tensors_has_one_encoding() {
    let input = |i: usize| {
        let name = format!("x[{i}]");
        tensor(&name, Role::Input, Visibility::Private, &[1], Dtype::Int8)
    };
    let key = |n: usize| {
        let tensors = (0..n).map(input).collect();
        let layout = StatementLayout { tensors };
        Simulator::new(ProofSystem::UltraGroth, Setup::Development, layout, 5).key
    };
    for n in [1, 254, 255, 256, 8192] {
        let bytes = key(n).encode();
        assert_eq!(VerifyingKey::decode(&bytes), Ok(key(n)), "{n} tensors");
        let count: &[u8] = &bytes[KEY_HEADER..KEY_HEADER + 3];
        match u8::try_from(n) {
            Ok(few) if few < 255 => assert_eq!(count[0], few),
            _ => assert_eq!(count, [255, (n >> 8) as u8, n as u8]),
        }
    }
    let short = key(1).encode();
    let long = [&short[..KEY_HEADER], &[255, 0, 1], &short[KEY_HEADER + 1..]].concat();
    assert_eq!(
        VerifyingKey::decode(&long),
        Err(KeyError::LongCount {
            what: "tensors",
            got: 1
        })
    );
    let mut hostile = short;
    hostile.splice(KEY_HEADER..=KEY_HEADER, [255, 255, 255]);
    assert_eq!(
        VerifyingKey::decode(&hostile),
        Err(LayoutError::Tensors {
            max: 8192,
            got: 65_535
        }
        .into())
    );
}

#[test]
fn refuses_unknown_tags_by_name() {
    let (simulator, ..) = valid(ProofSystem::Groth16, 40);
    let encoded = simulator.key.encode();
    for (at, field) in [
        (8, "proof system"),
        (9, "setup"),
        (KEY_HEADER + 1, "role"),
        (KEY_HEADER + 2, "visibility"),
        (KEY_HEADER + 3, "dtype"),
    ] {
        let mut bytes = encoded.clone();
        bytes[at] = 0xee;
        assert_eq!(
            VerifyingKey::decode(&bytes),
            Err(KeyError::Tag {
                field,
                at,
                got: 0xee
            })
        );
    }
    let mut bytes = encoded.clone();
    bytes[7] = 2;
    assert_eq!(
        VerifyingKey::decode(&bytes),
        Err(KeyError::Magic { version: 1 })
    );
    let mut bytes = encoded;
    bytes[KEY_HEADER + 6] = 0xff;
    assert_eq!(
        VerifyingKey::decode(&bytes),
        Err(KeyError::NameEncoding { tensor: 0 })
    );
}
