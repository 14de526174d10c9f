//! Protocol descriptions: what the linter refuses, what the decoder survives, and that verification of noise ends in an error. Real proofs
//! are in the engine's `halo2_verify.rs`, beside the library that makes them.

mod simulator;

use ark_bn254::{Fr, G1Affine, G2Affine};
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed},
};
use simulator::{R, each_byte_changed, g1, g2, layout, off_subgroup};
use zkinfer_verifier::{
    Context, KeyError, KeyMaterial, KeyPoint, PointError, Proof, ProofError, ProofSystem, Setup,
    Statement, VerifyError, VerifyingKey,
    halo2_kzg::{
        Column, Eval, Op, Poly, Protocol, ProtocolError, Query,
        protocol::{MAX_OPS, MAX_STACK},
    },
    verify,
};

fn query(column: u16, rotation: i32) -> Query {
    Query { column, rotation }
}

/// A description of every feature; its points are multiples of the generator.
fn sample() -> Protocol {
    Protocol {
        k: 8,
        degree: 5,
        blinding_factors: 5,
        advice_phases: vec![0, 1, 0],
        challenge_phases: vec![0, 1, 0],
        advice_queries: vec![
            query(0, 0),
            query(1, 1),
            query(1, 0),
            query(2, 0),
            query(1, -1),
        ],
        fixed_queries: vec![query(1, 0), query(0, 0)],
        permuted: vec![
            Column::Advice(0),
            Column::Instance,
            Column::Fixed(0),
            Column::Advice(2),
        ],
        gates: vec![
            Op::Fixed(0),
            Op::Advice(1),
            Op::Advice(2),
            Op::Challenge(1),
            Op::Mul,
            Op::Neg,
            Op::Add,
            Op::Mul,
            Op::End,
            Op::Instance,
            Op::Scale(Fr::from(3_u64)),
            Op::Const(Fr::from(4_u64)),
            Op::Add,
            Op::End,
        ],
        transcript_repr: Fr::from(99_u64),
        fixed: vec![g1(Fr::from(2_u64)), G1Affine::identity()],
        sigma: (3..7_u64).map(|scalar| g1(Fr::from(scalar))).collect(),
        s_g2: g2(Fr::from(11_u64)),
    }
}

fn key(protocol: Protocol) -> VerifyingKey {
    VerifyingKey {
        system: ProofSystem::Halo2Kzg,
        setup: Setup::Development,
        model_id: [0x11; 32],
        circuit_digest: [0x22; 32],
        layout: layout(40),
        material: KeyMaterial::Halo2Kzg(protocol),
    }
}

fn statement(key: &VerifyingKey) -> Statement {
    Statement {
        context: Context::ZERO,
        public_bytes: vec![1; key.layout.public_bytes()],
        digests: vec![],
    }
}

fn refusal(change: impl FnOnce(&mut Protocol)) -> ProtocolError {
    let mut protocol = sample();
    change(&mut protocol);
    let error = protocol.check().expect_err("a broken rule");
    // Decoding refuses what the linter refuses, and verification does not panic on it.
    let key = key(protocol);
    assert!(VerifyingKey::decode(&key.encode()).is_err());
    let proof = Proof::Halo2Kzg {
        bytes: vec![1; key.proof_bytes()],
    };
    assert!(verify(&key, &statement(&key), &proof).is_err());
    error
}

/// The name of what is out of its range.
fn out_of_range(change: impl FnOnce(&mut Protocol)) -> &'static str {
    match refusal(change) {
        ProtocolError::Range { what, .. } => what,
        other => panic!("{other}"),
    }
}

#[test]
fn a_sound_description_passes_and_round_trips() {
    let key = key(sample());
    assert_eq!(key.check(), Ok(()));
    let bytes = key.encode();
    assert_eq!(VerifyingKey::decode(&bytes), Ok(key.clone()));
    for cut in 0..bytes.len() {
        assert!(VerifyingKey::decode(&bytes[..cut]).is_err());
    }
    let long = [bytes.as_slice(), &[0]].concat();
    assert_eq!(
        VerifyingKey::decode(&long),
        Err(KeyError::Trailing { extra: 1 })
    );
    for (at, changed) in each_byte_changed(&bytes, 6) {
        if let Ok(other) = VerifyingKey::decode(&changed) {
            assert_eq!(other.encode(), changed, "byte {at}");
            assert_ne!(other.digest(), key.digest());
        }
    }
}

#[test]
fn proof_and_openings_have_the_order_of_the_library() {
    let p = sample();
    // Advice 3, products 2, R, four pieces, two openings; evaluations 5 + 2 + 1 + 4 + 3 + 2.
    assert_eq!((p.n_commitments(), p.n_evals()), (10, 17));
    assert_eq!(p.proof_bytes(), 64 * 12 + 32 * 17);
    assert_eq!((p.chunk(0), p.chunk(1), p.chunk(2)), (0..3, 3..4, 4..4));
    let given = |at: &[usize]| at.iter().copied().map(Eval::Given).collect::<Vec<_>>();
    let sets = p.openings();
    let rotations: Vec<&[i32]> = sets.iter().map(|set| set.rotations.as_slice()).collect();
    assert_eq!(rotations, [&[0][..], &[-1, 0, 1], &[-6, 0, 1], &[0, 1]]);
    let at_x: Vec<Poly> = sets[0].polys.iter().map(|(poly, _)| *poly).collect();
    assert_eq!(
        at_x,
        [
            Poly::Advice(0),
            Poly::Advice(2),
            Poly::Fixed(1),
            Poly::Fixed(0),
            Poly::Sigma(0),
            Poly::Sigma(1),
            Poly::Sigma(2),
            Poly::Sigma(3),
            Poly::Quotient,
            Poly::Random,
        ]
    );
    assert_eq!(sets[0].polys[8].1, [Eval::Quotient]);
    assert_eq!(sets[0].polys[9].1, given(&[7]));
    assert_eq!(sets[1].polys, [(Poly::Advice(1), given(&[4, 2, 1]))]);
    assert_eq!(sets[2].polys, [(Poly::Product(0), given(&[14, 12, 13]))]);
    assert_eq!(sets[3].polys, [(Poly::Product(1), given(&[15, 16]))]);
}

#[test]
fn the_linter_refuses_numbers_out_of_range() {
    assert_eq!(out_of_range(|p| p.k = 3), "k");
    assert_eq!(out_of_range(|p| p.k = 29), "k");
    assert_eq!(out_of_range(|p| p.k = 255), "k");
    assert_eq!(out_of_range(|p| p.degree = 0), "degree");
    assert_eq!(out_of_range(|p| p.degree = 34), "degree");
    assert_eq!(out_of_range(|p| p.k = 27), "quotient rows");
    assert_eq!(out_of_range(|p| p.blinding_factors = 4), "blinding factors");
    assert_eq!(
        out_of_range(|p| p.blinding_factors = 127),
        "blinding factors"
    );
    assert_eq!(out_of_range(|p| p.advice_phases.clear()), "advice columns");
    assert_eq!(
        out_of_range(|p| p.advice_phases.resize(257, 0)),
        "advice columns"
    );
    assert_eq!(
        out_of_range(|p| p.challenge_phases.resize(65, 0)),
        "challenges"
    );
    assert_eq!(out_of_range(|p| p.advice_phases[0] = 3), "phase");
    assert_eq!(out_of_range(|p| p.challenge_phases[0] = 255), "phase");
    assert_eq!(
        out_of_range(|p| p.advice_queries[0].rotation = 128),
        "rotation"
    );
    assert_eq!(
        out_of_range(|p| p.fixed_queries[0].rotation = i32::MIN),
        "rotation"
    );
    assert_eq!(
        out_of_range(|p| p.advice_queries.extend((2..40).map(|r| query(1, r)))),
        "rotations of a column"
    );
    assert_eq!(
        out_of_range(|p| p.sigma.truncate(3)),
        "permutation commitments"
    );
    let longer = |n: usize| move |p: &mut Protocol| p.gates.extend(vec![Op::Instance; n]);
    assert_eq!(out_of_range(longer(MAX_OPS)), "operations");
    assert_eq!(out_of_range(longer(MAX_STACK + 1)), "values on the stack");
}

#[test]
fn the_linter_refuses_what_is_not_there_and_what_is_there_twice() {
    assert_eq!(
        refusal(|p| p.advice_queries[3].column = 3),
        ProtocolError::Index {
            what: "advice query",
            at: 3,
            expected: 3,
            got: 3
        }
    );
    assert!(matches!(
        refusal(|p| p.fixed_queries[0].column = u16::MAX),
        ProtocolError::Index { got: 65535, .. }
    ));
    assert_eq!(
        refusal(|p| p.advice_queries[4] = query(1, 1)),
        ProtocolError::Repeated {
            what: "advice query",
            at: 4
        }
    );
    assert_eq!(
        refusal(|p| p.permuted[2] = Column::Advice(0)),
        ProtocolError::Repeated {
            what: "permuted column",
            at: 2
        }
    );
    for column in [
        Column::Advice(9),
        Column::Fixed(7),
        Column::Advice(u16::MAX),
    ] {
        assert_eq!(
            refusal(|p| p.permuted[3] = column),
            ProtocolError::NotQueried { at: 3 }
        );
    }
    assert_eq!(
        refusal(|p| p.advice_phases = vec![0, 0, 2]),
        ProtocolError::EmptyPhase { phase: 1 }
    );
    // A challenge after a phase that commits nothing would never be squeezed.
    assert_eq!(
        refusal(|p| p.challenge_phases[1] = 2),
        ProtocolError::EmptyPhase { phase: 2 }
    );
    let unused = |p: &mut Protocol| {
        p.gates[9] = Op::Fixed(0);
        p.permuted[1] = Column::Fixed(1);
    };
    assert_eq!(refusal(unused), ProtocolError::InstanceUnused);
}

#[test]
fn the_linter_refuses_programs_that_do_not_work_out() {
    let program = |ops: &[Op]| {
        let ops = ops.to_vec();
        refusal(|p| p.gates = ops)
    };
    let stack = |at, depth, needed| ProtocolError::Stack { at, depth, needed };
    assert_eq!(program(&[Op::Add]), stack(0, 0, 2));
    assert_eq!(program(&[Op::Instance, Op::Mul]), stack(1, 1, 2));
    assert_eq!(program(&[Op::Neg]), stack(0, 0, 1));
    assert_eq!(program(&[Op::End]), stack(0, 0, 1));
    assert_eq!(program(&[Op::Instance]), stack(1, 1, 0));
    let two = [Op::Instance, Op::Instance, Op::End];
    assert_eq!(program(&two), stack(2, 2, 1));
    for op in [
        Op::Fixed(2),
        Op::Advice(5),
        Op::Challenge(3),
        Op::Fixed(u16::MAX),
    ] {
        assert!(matches!(
            program(&[op, Op::End]),
            ProtocolError::Index { at: 0, .. }
        ));
    }
    let mut power = vec![Op::Instance];
    for _ in 0..5 {
        power.extend([Op::Instance, Op::Mul]);
    }
    power.push(Op::End);
    assert_eq!(
        program(&power),
        ProtocolError::Degree {
            at: 11,
            max: 5,
            got: 6
        }
    );
}

#[test]
fn the_linter_refuses_points_that_let_anyone_forge() {
    let generator = g2(Fr::from(1_u64));
    assert_eq!(refusal(|p| p.s_g2 = generator), ProtocolError::Generator);
    assert_eq!(refusal(|p| p.s_g2 = -generator), ProtocolError::Generator);
    let point = |point, error| ProtocolError::Point { point, error };
    assert_eq!(
        refusal(|p| p.s_g2 = G2Affine::identity()),
        point(KeyPoint::S, PointError::Infinity)
    );
    assert_eq!(
        refusal(|p| p.s_g2 = off_subgroup()),
        point(KeyPoint::S, PointError::OffSubgroup)
    );
    assert_eq!(
        refusal(|p| p.sigma[2] = G1Affine::identity()),
        point(KeyPoint::Sigma(2), PointError::Infinity)
    );
    let off_curve = G1Affine::new_unchecked(1_u64.into(), 3_u64.into());
    assert_eq!(
        refusal(|p| p.fixed[0] = off_curve),
        point(KeyPoint::Fixed(0), PointError::OffCurve)
    );
}

#[test]
fn the_words_must_fit_above_the_blinding_rows() {
    let mut protocol = sample();
    protocol.k = 4;
    let mut small = key(protocol);
    assert_eq!(small.check(), Ok(()));
    // Ten rows are free; a context and ten words do not fit.
    small.layout = layout(31 * 10);
    assert_eq!(
        small.check(),
        Err(KeyError::Protocol(ProtocolError::Range {
            what: "public words",
            min: 1,
            max: 10,
            got: 11
        }))
    );
}

#[test]
fn material_of_another_system_is_refused() {
    for system in [ProofSystem::Groth16, ProofSystem::UltraGroth] {
        let mut wrong = key(sample());
        wrong.system = system;
        assert_eq!(wrong.check(), Err(KeyError::Material { system }));
        assert!(VerifyingKey::decode(&wrong.encode()).is_err());
        let (simulator, statement, proof) = simulator::valid(system, 40);
        let mut wrong = simulator.key;
        wrong.system = ProofSystem::Halo2Kzg;
        assert!(wrong.check().is_err());
        let halo2 = Proof::Halo2Kzg {
            bytes: vec![0; 320],
        };
        assert!(verify(&wrong, &statement, &halo2).is_err());
        assert!(verify(&key(sample()), &statement, &proof).is_err());
    }
}

/// Where the description begins in an encoded key.
fn description_at(bytes: &[u8]) -> usize {
    let description = [8, 5, 5, 0, 3];
    let mut windows = bytes.windows(description.len());
    windows.position(|w| w == description).expect("a key")
}

#[test]
fn counts_are_checked_before_anything_is_allocated() {
    let bytes = key(sample()).encode();
    let start = description_at(&bytes);
    // The number of advice columns, then everything behind it is missing.
    for count in [0x0004_u16, 0x0100, 0x0101, 0xffff] {
        let mut bomb = bytes[..start + 3].to_vec();
        bomb.extend_from_slice(&count.to_be_bytes());
        bomb.push(0);
        assert!(matches!(
            VerifyingKey::decode(&bomb),
            Err(KeyError::Truncated { .. } | KeyError::Protocol(ProtocolError::Range { .. }))
        ));
    }
    // The number of operations: 3 + (2 + 3) + (2 + 3) + (2 + 5·6) + (2 + 2·6) + (2 + 3 + 1 + 3 + 3) bytes behind the start.
    let at = start + 3 + 5 + 5 + 32 + 14 + 12;
    assert_eq!(bytes[at..at + 4], [0, 0, 0, 14]);
    for count in [0x0001_0000_u32, 0x0001_0001, 0x7fff_ffff, 0xffff_ffff] {
        let mut bomb = bytes.clone();
        bomb[at..at + 4].copy_from_slice(&count.to_be_bytes());
        assert!(matches!(
            VerifyingKey::decode(&bomb),
            Err(KeyError::Truncated { .. } | KeyError::Protocol(ProtocolError::Range { .. }))
        ));
    }
    let mut unknown = bytes.clone();
    unknown[at + 4] = 10;
    assert_eq!(
        VerifyingKey::decode(&unknown),
        Err(KeyError::Tag {
            field: "operation",
            at: at + 4,
            got: 10
        })
    );
    // The last scalar before the points is transcript_repr.
    let repr = bytes.len() - 128 - 4 * 64 - 2 - 2 * 64 - 2 - 32;
    let mut high = bytes;
    high[repr..repr + 32].copy_from_slice(&R);
    assert_eq!(VerifyingKey::decode(&high), Err(KeyError::Scalar));
}

#[test]
fn the_largest_program_is_checked_and_run_in_bounded_time() {
    let mut protocol = sample();
    protocol.gates = vec![Op::Instance];
    while protocol.gates.len() + 3 < MAX_OPS {
        protocol.gates.extend([Op::Instance, Op::Add]);
    }
    protocol.gates.push(Op::End);
    let key = key(protocol);
    assert_eq!(key.check(), Ok(()));
    assert_eq!(VerifyingKey::decode(&key.encode()), Ok(key.clone()));
}

#[test]
fn proofs_of_wrong_length_are_refused() {
    let key = key(sample());
    let (statement, expected) = (statement(&key), key.proof_bytes());
    let system = ProofSystem::Halo2Kzg;
    for got in [0, 32, expected - 32, expected + 32] {
        let proof = Proof::from_bytes(system, &vec![0; got]).expect("whole words");
        assert_eq!(
            verify(&key, &statement, &proof),
            Err(VerifyError::Proof(ProofError::Length {
                system,
                expected,
                got
            }))
        );
    }
    for got in [1, 31, 33, (1 << 18) + 32] {
        assert!(matches!(
            Proof::from_bytes(system, &vec![0; got]),
            Err(ProofError::Words { .. })
        ));
    }
}

proptest! {
    #![proptest_config(Config {
        cases: 2_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(12),
        ..Config::default()
    })]

    #[test]
    fn decoder_and_verifier_survive_damaged_descriptions(
        edits in proptest::collection::vec((any::<u16>(), 0..4_u8, any::<u8>()), 1..8),
        noise in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut bytes = key(sample()).encode();
        let start = description_at(&bytes);
        for (at, kind, value) in edits {
            let at = start + usize::from(at) % (bytes.len() + 1 - start);
            match kind {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, value),
                _ => if let Some(byte) = bytes.get_mut(at) { *byte = value },
            }
            if bytes.len() < start { break; }
        }
        if let Ok(key) = VerifyingKey::decode(&bytes) {
            prop_assert_eq!(key.encode(), bytes.clone());
            let mut proof = noise.clone();
            proof.resize(key.proof_bytes(), 7);
            let proof = Proof::Halo2Kzg { bytes: proof };
            prop_assert!(verify(&key, &statement(&key), &proof).is_err());
        }
        bytes.truncate(start);
        bytes.extend_from_slice(&noise);
        prop_assert!(VerifyingKey::decode(&bytes).is_err());
    }
}
