//! Hashed tensors: the permutation against its published answers, digests against another implementation, and what no digest may be.

mod simulator;

use std::collections::BTreeSet;

use simulator::{R, Simulator, add_modulus, tensor};
use zkinfer_verifier::{
    Context, Dtype, Fr, LayoutError, ProofSystem, Role, Setup, Statement, StatementError,
    StatementLayout, VerifyError, VerifyingKey, Visibility,
    curve::{scalar_from_bytes, scalar_to_bytes},
    poseidon::Poseidon,
    statement::MAX_HASHED_BYTES,
    verify, verify_words,
};

fn scalar(hex: &str) -> Fr {
    let digits = format!("{hex:0>64}");
    let byte = |i: usize| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).expect("two digits");
    scalar_from_bytes(&core::array::from_fn(byte)).expect("less than r")
}

/// hadeshash, code/test_vectors.txt: poseidonperm_x5_254_3 and poseidonperm_x5_254_5; circomlibjs for two elements.
#[test]
fn the_permutation_has_the_published_answers() {
    let cases: [(usize, usize, u64, &[&str]); 3] = [
        (
            3,
            57,
            0,
            &[
                "115cc0f5e7d690413df64c6b9662e9cf2a3617f2743245519e19607a4417189a",
                "0fca49b798923ab0239de1c9e7a4a9a2210312b6a2f616d18b5a87f9b628ae29",
                "0e7ae82e40091e63cbd4f16a6d16310b3729d4b6e138fcf54110e2867045a30c",
            ],
        ),
        (
            5,
            60,
            0,
            &[
                "299c867db6c1fdd79dcefa40e4510b9837e60ebb1ce0663dbaa525df65250465",
                "1148aaef609aa338b27dafd89bb98862d8bb2b429aceac47d86206154ffe053d",
                "24febb87fed7462e23f6665ff9a0111f4044c38ee1672c1ac6b0637d34f24907",
                "0eb08f6d809668a981c186beaf6110060707059576406b248e5d9cf6e78b3d3e",
                "07748bc6877c9b82c8b98666ee9d0626ec7f5be4205f79ee8528ef1c4a376fc7",
            ],
        ),
        (
            2,
            56,
            0,
            &["29176100eaa962bdc1fe6c654d6a3c130e96a4d1168b33848b897dc502820133"],
        ),
    ];
    for (width, partial_rounds, first, expected) in cases {
        let poseidon = Poseidon::generate(width, partial_rounds);
        let mut state: Vec<Fr> = (first..first + width as u64).map(Fr::from).collect();
        poseidon.permute(&mut state);
        for (got, expected) in state.iter().zip(expected) {
            assert_eq!(*got, scalar(expected), "{width} elements");
        }
    }
    assert_eq!(Poseidon::of_tensors(), Poseidon::generate(5, 60));
}

fn layout_of(tensors: &[(&str, Role, Visibility, Dtype, u32)]) -> StatementLayout {
    let spec = |&(name, role, visibility, dtype, len): &(&str, Role, Visibility, Dtype, u32)| {
        tensor(name, role, visibility, &[len], dtype)
    };
    StatementLayout {
        tensors: tensors.iter().map(spec).collect(),
    }
}

/// The vectors were computed by another implementation: tests/vectors/hashed.py.
#[test]
fn digests_match_the_known_answers() {
    let mut seen = BTreeSet::new();
    for line in include_str!("vectors/hashed.txt").lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [role, dtype, position, values @ .., digest] = &fields[..] else {
            panic!("a line has at least five fields");
        };
        let role = match *role {
            "input" => Role::Input,
            _ => Role::Output,
        };
        let dtypes = [
            Dtype::Bool,
            Dtype::Int8,
            Dtype::Uint8,
            Dtype::Int16,
            Dtype::Int32,
        ];
        let dtype = *dtypes
            .iter()
            .find(|known| known.name() == *dtype)
            .expect("a dtype");
        let values: Vec<i64> = values
            .iter()
            .map(|v| v.parse().expect("a number"))
            .collect();
        let position: usize = position.parse().expect("a number");
        let names: Vec<String> = (0..position).map(|i| format!("before {i}")).collect();
        let mut tensors: Vec<_> = names
            .iter()
            .map(|name| {
                (
                    name.as_str(),
                    Role::Input,
                    Visibility::Private,
                    Dtype::Int8,
                    1,
                )
            })
            .collect();
        tensors.push(("x", role, Visibility::Hashed, dtype, values.len() as u32));
        let layout = layout_of(&tensors);
        assert_eq!(layout.check(), Ok(()));
        let got = layout
            .digest_of(position, &values)
            .expect("values of the dtype");
        assert_eq!(got, scalar(&digest[2..]), "{line}");
        assert!(seen.insert(scalar_to_bytes(got)), "no two are equal");
    }
    assert_eq!(seen.len(), 10);
}

/// Two inputs, two outputs; one of each hashed.
fn mixed() -> StatementLayout {
    layout_of(&[
        ("a", Role::Input, Visibility::Hashed, Dtype::Int8, 40),
        ("b", Role::Input, Visibility::Public, Dtype::Int8, 35),
        ("p", Role::Output, Visibility::Private, Dtype::Int8, 3),
        ("y", Role::Output, Visibility::Hashed, Dtype::Int16, 16),
        ("z", Role::Output, Visibility::Public, Dtype::Uint8, 2),
    ])
}

fn values() -> [Vec<i64>; 4] {
    [
        (0..40).collect(),
        (0..35).map(|x| -x).collect(),
        (0..16).map(|x| 1000 * x - 9).collect(),
        vec![255, 0],
    ]
}

fn statement(layout: &StatementLayout) -> Statement {
    let values = values();
    let values: Vec<&[i64]> = values.iter().map(Vec::as_slice).collect();
    Statement::new(layout, Context::ZERO, &values).expect("values of the dtypes")
}

#[test]
fn a_hashed_tensor_is_one_word_after_the_public_bytes() {
    let layout = mixed();
    assert_eq!(layout.check(), Ok(()));
    let statement = statement(&layout);
    assert_eq!((layout.public_bytes(), layout.n_hashed()), (37, 2));
    assert_eq!((layout.n_words(), layout.statement_bytes()), (5, 101));
    let words = statement.words();
    assert_eq!(words.len(), 5);
    assert_eq!(words[3], layout.digest_of(0, &values()[0]).expect("hashed"));
    assert_eq!(words[4], layout.digest_of(3, &values()[2]).expect("hashed"));
    assert_eq!(
        Statement::from_words(&layout, &words),
        Ok(statement.clone())
    );
    let bytes = statement.to_bytes();
    assert_eq!(bytes.len(), 101);
    assert_eq!(
        Statement::from_bytes(&layout, Context::ZERO, &bytes),
        Ok(statement.clone())
    );
    let shown = statement.tensors(&layout).expect("of this layout");
    assert_eq!(shown.len(), 2);
    let [a, _, y, _] = values();
    assert_eq!(statement.check_revealed(&layout, 0, &a), Ok(()));
    assert_eq!(statement.check_revealed(&layout, 3, &y), Ok(()));
}

#[test]
fn revealed_values_that_differ_anywhere_are_refused() {
    let layout = mixed();
    let statement = statement(&layout);
    let [a, ..] = values();
    for i in 0..a.len() {
        let mut other = a.clone();
        other[i] ^= 1;
        assert!(matches!(
            statement.check_revealed(&layout, 0, &other),
            Err(StatementError::OtherDigest { .. })
        ));
    }
    assert!(matches!(
        statement.check_revealed(&layout, 0, &a[..39]),
        Err(StatementError::Elements { .. })
    ));
    for position in [1, 2, 5] {
        assert_eq!(
            statement.check_revealed(&layout, position, &a),
            Err(StatementError::NotHashed { position })
        );
    }
    let mut wide = a;
    wide[7] = 128;
    assert!(matches!(
        statement.check_revealed(&layout, 0, &wide),
        Err(StatementError::OutsideDtype { index: 7, .. })
    ));
}

/// Forge class 32: a digest and r more are two byte strings of one element; only the smaller is a statement.
#[test]
fn digests_that_are_not_canonical_are_refused() {
    let layout = mixed();
    let bytes = statement(&layout).to_bytes();
    let refused = |bytes: &[u8]| Statement::from_bytes(&layout, Context::ZERO, bytes);
    for index in 0..2 {
        let at = 37 + 32 * index;
        let mut changes = vec![[0xff; 32].to_vec(), R.to_vec()];
        let sum = add_modulus(&bytes, at, &R).expect("2r is less than 2^256");
        changes.push(sum[at..at + 32].to_vec());
        for change in changes {
            let mut changed = bytes.clone();
            changed[at..at + 32].copy_from_slice(&change);
            let error = StatementError::NonCanonicalDigest { index };
            assert_eq!(refused(&changed), Err(error));
        }
    }
    for got in [0, 37, 69, 100, 102] {
        let mut changed = bytes.clone();
        changed.resize(got, 0);
        let error = StatementError::PublicBytes { expected: 101, got };
        assert_eq!(refused(&changed), Err(error));
    }
}

#[test]
fn keys_with_hashed_tensors_verify_and_bind_every_digest() {
    for system in [ProofSystem::Groth16, ProofSystem::UltraGroth] {
        let simulator = Simulator::new(system, Setup::Development, mixed(), 11);
        let key = &simulator.key;
        assert_eq!(VerifyingKey::decode(&key.encode()).as_ref(), Ok(key));
        let statement = statement(&key.layout);
        let proof = simulator.prove(&statement, 3);
        assert_eq!(verify(key, &statement, &proof), Ok(()));
        assert_eq!(verify_words(key, &statement.words(), &proof), Ok(()));
        for index in 0..2 {
            let mut other = statement.clone();
            other.digests[index] += Fr::from(1_u64);
            assert_eq!(verify(key, &other, &proof), Err(VerifyError::Rejected));
        }
        let mut swapped = statement.clone();
        swapped.digests.swap(0, 1);
        assert_eq!(verify(key, &swapped, &proof), Err(VerifyError::Rejected));
        for got in [0, 1, 3] {
            let mut other = statement.clone();
            other.digests.resize(got, Fr::from(0_u64));
            let error = StatementError::Digests { expected: 2, got };
            assert_eq!(verify(key, &other, &proof), Err(error.into()));
        }
    }
}

#[test]
fn hashed_bytes_are_bounded() {
    let of = |len| layout_of(&[("x", Role::Input, Visibility::Hashed, Dtype::Int16, len)]);
    let most = (MAX_HASHED_BYTES / 2) as u32;
    assert_eq!(of(most).check(), Ok(()));
    assert_eq!(
        of(most + 1).check(),
        Err(LayoutError::HashedBytes {
            max: MAX_HASHED_BYTES,
            got: MAX_HASHED_BYTES + 2
        })
    );
}
