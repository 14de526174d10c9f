//! Our halo2-kzg verifier and the library's accept and reject the same proofs. Two differences are intended, and tested: ours refuses
//! bytes after the end of a proof, and any number of public words but the key's (the library pads the instance column with zeros).
#![allow(clippy::unwrap_used)]

mod halo2_small;
mod small;

use std::time::Instant;

use halo2_proofs::circuit::{Layouter, SimpleFloorPlanner};
use halo2_proofs::plonk::{
    Circuit, ConstraintSystem, Error, FirstPhase, keygen_vk, keygen_vk_custom,
};
use halo2_proofs::poly::Rotation;
use halo2_proofs::poly::kzg::commitment::ParamsKZG;
use halo2_small::{Bundle, Shape};
use halo2curves::bn256::{Bn256, Fr};
use halo2curves::ff::Field;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use zkinfer_engine::halo2_kzg::protocol::{ExtractError, protocol_of};
use zkinfer_engine::halo2_kzg::transcript::from_verifier;
use zkinfer_verifier::halo2_kzg::{Op, Protocol};
use zkinfer_verifier::{
    KeyMaterial, PointError, Proof, ProofError, ProofPoint, StatementError, VerifyError,
    VerifyingKey, verify, verify_words,
};

type Words = Vec<zkinfer_verifier::Fr>;

fn halo2(bytes: &[u8]) -> Proof {
    Proof::Halo2Kzg {
        bytes: bytes.to_vec(),
    }
}

fn description(bundle: &Bundle) -> &Protocol {
    bundle.key.halo2_kzg().unwrap()
}

/// Both verifiers on one proof; whether they accept.
fn both(bundle: &Bundle, words: &Words, proof: &[u8], what: &str) -> bool {
    let ours = verify_words(&bundle.key, words, &halo2(proof));
    let library: Vec<Fr> = words.iter().map(|word| from_verifier(*word)).collect();
    let library = bundle.library_accepts(&library, proof);
    assert_eq!(ours.is_ok(), library, "{what}: ours says {ours:?}");
    library
}

/// Where the points and the scalars of a proof begin.
fn places(p: &Protocol) -> (Vec<usize>, Vec<usize>) {
    let scalars = 64 * p.n_commitments();
    let openings = scalars + 32 * p.n_evals();
    let points = (0..p.n_commitments()).map(|i| 64 * i);
    let points = points.chain([openings, openings + 64]).collect();
    (points, (scalars..openings).step_by(32).collect())
}

fn swapped(proof: &[u8], first: usize, second: usize, len: usize) -> Vec<u8> {
    let mut out = proof.to_vec();
    out[first..first + len].copy_from_slice(&proof[second..second + len]);
    out[second..second + len].copy_from_slice(&proof[first..first + len]);
    out
}

fn with(proof: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut out = proof.to_vec();
    out[at..at + bytes.len()].copy_from_slice(bytes);
    out
}

/// modulus − value, value + modulus, over 256 bits, big-endian.
fn negate(modulus: &[u8; 32], value: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let mut borrow = 0_i16;
    for i in (0..32).rev() {
        let digit = i16::from(modulus[i]) - i16::from(value[i]) - borrow;
        borrow = i16::from(digit < 0);
        out[i] = digit.rem_euclid(256) as u8;
    }
    out
}

fn add(modulus: &[u8; 32], value: &[u8]) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    let mut carry = 0_u16;
    for i in (0..32).rev() {
        let digit = u16::from(modulus[i]) + u16::from(value[i]) + carry;
        carry = digit >> 8;
        out[i] = digit as u8;
    }
    (carry == 0).then_some(out)
}

const Q: [u8; 32] = [
    0x30, 0x64, 0x4e, 0x72, 0xe1, 0x31, 0xa0, 0x29, 0xb8, 0x50, 0x45, 0xb6, 0x81, 0x81, 0x58, 0x5d,
    0x97, 0x81, 0x6a, 0x91, 0x68, 0x71, 0xca, 0x8d, 0x3c, 0x20, 0x8c, 0x16, 0xd8, 0x7c, 0xfd, 0x47,
];
const R: [u8; 32] = [
    0x30, 0x64, 0x4e, 0x72, 0xe1, 0x31, 0xa0, 0x29, 0xb8, 0x50, 0x45, 0xb6, 0x81, 0x81, 0x58, 0x5d,
    0x28, 0x33, 0xe8, 0x48, 0x79, 0xb9, 0x70, 0x91, 0x43, 0xe1, 0xf5, 0x93, 0xf0, 0x00, 0x00, 0x01,
];

/// The two small circuits, and a program with scalings, requantizations and lookups in our own lowering.
fn subjects() -> [Bundle; 3] {
    [
        Bundle::new(Shape::Full, 40, 17),
        Bundle::new(Shape::Plain, 40, 17),
        Bundle::of_program(small::layers(4, 2), 17),
    ]
}

#[test]
fn both_verifiers_accept_honest_proofs() {
    for shape in [Shape::Full, Shape::Plain] {
        for public_bytes in [1, 31, 32, 124] {
            let bundle = Bundle::new(shape, public_bytes, u64::from(public_bytes));
            for seed in 1..4 {
                let statement = bundle.statement(seed);
                let proof = bundle.prove(&statement, u64::from(seed));
                assert_eq!(proof.len(), bundle.key.proof_bytes());
                assert!(both(&bundle, &statement.words(), &proof, "honest"));
                assert_eq!(verify(&bundle.key, &statement, &halo2(&proof)), Ok(()));
                // The key survives its encoding.
                let key = VerifyingKey::decode(&bundle.key.encode()).unwrap();
                assert_eq!(key, bundle.key);
                assert_eq!(verify(&key, &statement, &halo2(&proof)), Ok(()));
            }
        }
    }
    for program in [small::dense(3), small::layers(4, 1), small::layers(5, 3)] {
        let bundle = Bundle::of_program(program, 4);
        for seed in 1..4 {
            let (statement, proof) = bundle.proven(seed, u64::from(seed));
            assert_eq!(proof.len(), bundle.key.proof_bytes());
            assert!(both(&bundle, &statement.words(), &proof, "a program"));
        }
    }
}

#[test]
fn both_verifiers_reject_the_same_mutations() {
    let mut n_mutations = 0;
    for bundle in subjects() {
        let shape = bundle.shape;
        let (statement, proof) = bundle.proven(9, 5);
        let words = statement.words();
        let (_, other) = bundle.proven(9, 6);
        assert!(both(&bundle, &words, &proof, "honest"));
        let genuine = proof.clone();
        let mut rejected = |words: &Words, proof: &[u8], what: String| {
            // The evaluation of an empty column is zero as it is, and equal values may change places.
            if (words, proof) == (&statement.words(), genuine.as_slice()) {
                return;
            }
            n_mutations += 1;
            assert!(
                !both(&bundle, words, proof, &what),
                "{shape:?}: {what} is accepted"
            );
        };
        let mut rng = StdRng::seed_from_u64(23);
        let (points, scalars) = places(description(&bundle));
        for at in 0..proof.len() {
            let changed = with(&proof, at, &[proof[at] ^ rng.gen_range(1..=255_u8)]);
            rejected(&words, &changed, format!("byte {at}"));
        }
        for (i, &at) in points.iter().enumerate() {
            for &second in &points[..i] {
                rejected(
                    &words,
                    &swapped(&proof, at, second, 64),
                    format!("points {at}, {second}"),
                );
            }
            let y = &proof[at + 32..at + 64];
            rejected(
                &words,
                &with(&proof, at + 32, &negate(&Q, y)),
                format!("−point {at}"),
            );
            rejected(
                &words,
                &with(&proof, at, &[0; 64]),
                format!("identity {at}"),
            );
            rejected(
                &words,
                &with(&proof, at, &other[at..at + 64]),
                format!("foreign {at}"),
            );
            let generator = [vec![0; 31], vec![1], vec![0; 31], vec![2]].concat();
            rejected(
                &words,
                &with(&proof, at, &generator),
                format!("generator {at}"),
            );
            rejected(
                &words,
                &swapped(&proof, at, at + 32, 32),
                format!("x and y of {at}"),
            );
            for at in [at, at + 32] {
                if let Some(high) = add(&Q, &proof[at..at + 32]) {
                    rejected(
                        &words,
                        &with(&proof, at, &high),
                        format!("coordinate {at} + q"),
                    );
                }
                rejected(
                    &words,
                    &with(&proof, at, &Q),
                    format!("coordinate {at} = q"),
                );
            }
        }
        for (i, &at) in scalars.iter().enumerate() {
            for &second in &scalars[..i] {
                rejected(
                    &words,
                    &swapped(&proof, at, second, 32),
                    format!("evals {at}, {second}"),
                );
            }
            let value = &proof[at..at + 32];
            if let Some(high) = add(&R, value) {
                rejected(&words, &with(&proof, at, &high), format!("eval {at} + r"));
            }
            let mut one = [0; 32];
            one[31] = 1;
            for (bytes, name) in [
                (negate(&R, value), "negated"),
                ([0; 32], "zero"),
                (one, "one"),
                (R, "r"),
                ([0xff; 32], "all ones"),
            ] {
                rejected(
                    &words,
                    &with(&proof, at, &bytes),
                    format!("eval {at} {name}"),
                );
            }
            let foreign = with(&proof, at, &other[at..at + 32]);
            rejected(&words, &foreign, format!("foreign eval {at}"));
        }
        for len in (0..proof.len()).filter(|len| len % 32 == 0 || len % 7 == 0) {
            rejected(&words, &proof[..len], format!("cut to {len}"));
        }
        for index in 0..words.len() {
            for change in [1_u64, 2, 256, 1 << 40] {
                let mut changed = words.clone();
                changed[index] += zkinfer_verifier::Fr::from(change);
                rejected(&changed, &proof, format!("word {index} + {change}"));
            }
            let mut changed = words.clone();
            changed[index] = -changed[index];
            rejected(&changed, &proof, format!("word {index} negated"));
        }
        let mut changed = words.clone();
        changed.reverse();
        rejected(&changed, &proof, "words reversed".to_owned());
        rejected(
            &words[..words.len() - 1].to_vec(),
            &proof,
            "a word less".to_owned(),
        );
        rejected(&Vec::new(), &proof, "no words".to_owned());
        let longer = [words.as_slice(), &[zkinfer_verifier::Fr::from(0_u64)]].concat();
        rejected(&longer, &proof, "a zero word more".to_owned());
        let (_, another) = bundle.proven(10, 5);
        rejected(&words, &another, "another statement".to_owned());
        if shape != Shape::Program {
            let stranger = Bundle::new(shape, 40, 18);
            let foreign = stranger.prove(&statement, 5);
            rejected(&words, &foreign, "another setup".to_owned());
        }
    }
    println!("{n_mutations} mutations, no disagreement");
    assert!(n_mutations >= 3_000);
}

#[test]
fn the_intended_differences_are_trailing_bytes_and_the_number_of_words() {
    for shape in [Shape::Full, Shape::Plain] {
        let bundle = Bundle::new(shape, 40, 17);
        let statement = bundle.statement(9);
        let words: Vec<Fr> = statement.words().into_iter().map(from_verifier).collect();
        let proof = bundle.prove(&statement, 5);
        for extra in [1, 31, 32, 64, 4096] {
            let long = [proof.as_slice(), &vec![0; extra]].concat();
            assert!(bundle.library_accepts(&words, &long));
            let expected = proof.len();
            let refused = verify(&bundle.key, &statement, &halo2(&long)).unwrap_err();
            assert!(matches!(
                refused,
                VerifyError::Proof(ProofError::Length { expected: e, .. } | ProofError::Words { got: e, .. })
                    if e == expected || e == expected + extra
            ));
        }
        // A proof made for the words and a zero: the same instance column.
        let padded = [words.as_slice(), &[Fr::ZERO]].concat();
        let proof = bundle.prove_words(&padded, 5);
        assert!(bundle.library_accepts(&padded, &proof));
        let mut ours = statement.words();
        ours.push(zkinfer_verifier::Fr::from(0_u64));
        assert_eq!(
            verify_words(&bundle.key, &ours, &halo2(&proof)),
            Err(VerifyError::Statement(StatementError::Words {
                expected: 3,
                got: 4
            }))
        );
    }
}

#[test]
fn errors_name_the_point_and_the_evaluation() {
    let bundle = Bundle::new(Shape::Full, 40, 17);
    let statement = bundle.statement(9);
    let proof = bundle.prove(&statement, 5);
    let (points, scalars) = places(description(&bundle));
    let refusal = |bytes: &[u8]| verify(&bundle.key, &statement, &halo2(bytes)).unwrap_err();
    for (i, &at) in points.iter().enumerate() {
        for (bytes, error) in [
            ([0; 64], PointError::Infinity),
            ([1; 64], PointError::OffCurve),
            ([0xff; 64], PointError::Coordinate),
        ] {
            let point = ProofPoint::Commitment(i);
            let expected = ProofError::Point { point, error };
            assert_eq!(refusal(&with(&proof, at, &bytes)), expected.into());
        }
    }
    for (index, &at) in scalars.iter().enumerate() {
        let expected = ProofError::Scalar { index };
        assert_eq!(refusal(&with(&proof, at, &R)), expected.into());
    }
}

#[test]
fn no_changed_key_accepts_the_proof() {
    for bundle in subjects() {
        let (statement, proof) = bundle.proven(9, 5);
        let proof = halo2(&proof);
        let encoded = bundle.key.encode();
        let mut rng = StdRng::seed_from_u64(3);
        for at in 0..encoded.len() {
            let changed = with(&encoded, at, &[encoded[at] ^ rng.gen_range(1..=255_u8)]);
            if let Ok(key) = VerifyingKey::decode(&changed) {
                assert_eq!(key.encode(), changed, "byte {at}");
                assert!(verify(&key, &statement, &proof).is_err(), "byte {at}");
            }
            assert!(VerifyingKey::decode(&encoded[..at]).is_err());
        }
        // Insertions and deletions shift everything behind them.
        for _ in 0..500 {
            let mut changed = encoded.clone();
            let at = rng.gen_range(0..encoded.len());
            if rng.r#gen() {
                changed.remove(at);
            } else {
                changed.insert(at, rng.r#gen());
            }
            if let Ok(key) = VerifyingKey::decode(&changed) {
                assert!(verify(&key, &statement, &proof).is_err(), "byte {at}");
            }
        }
    }
}

#[test]
fn no_changed_description_accepts_the_proof() {
    let bundle = Bundle::new(Shape::Full, 40, 17);
    let statement = bundle.statement(9);
    let proof = halo2(&bundle.prove(&statement, 5));
    let changed = |change: &dyn Fn(&mut Protocol)| {
        let mut key = bundle.key.clone();
        let KeyMaterial::Halo2Kzg(protocol) = &mut key.material else {
            panic!("a halo2-kzg key")
        };
        change(protocol);
        if key == bundle.key {
            return;
        }
        // Built in memory, not decoded: the verifier looks again, and never panics.
        assert!(verify(&key, &statement, &proof).is_err());
    };
    let p = description(&bundle);
    for i in 0..p.gates.len() {
        changed(&|p| {
            p.gates.remove(i);
        });
        changed(&|p| p.gates[i] = Op::Instance);
        changed(&|p| p.gates[i] = Op::Mul);
        changed(&|p| p.gates[i] = Op::Advice(u16::MAX));
        changed(&|p| p.gates.truncate(i));
    }
    for i in 0..p.advice_queries.len() {
        changed(&|p| p.advice_queries[i].rotation += 1);
        changed(&|p| p.advice_queries[i].rotation = i32::MIN);
        changed(&|p| p.advice_queries[i].column ^= 1);
        changed(&|p| {
            p.advice_queries.remove(i);
        });
    }
    for i in 0..p.fixed_queries.len() {
        changed(&|p| p.fixed_queries[i].column = u16::MAX);
        changed(&|p| {
            p.fixed_queries.remove(i);
        });
    }
    for i in 0..p.permuted.len() {
        changed(&|p| {
            p.permuted.remove(i);
        });
        changed(&|p| p.permuted.swap(0, i.max(1)));
        changed(&|p| {
            p.sigma.pop();
        });
        changed(&|p| p.sigma.swap(0, i.max(1)));
    }
    for k in 0..=u8::MAX {
        if k != p.k {
            changed(&|p| p.k = k);
        }
        if k != p.degree {
            changed(&|p| p.degree = k);
        }
        if k != p.blinding_factors {
            changed(&|p| p.blinding_factors = k);
        }
        changed(&|p| p.advice_phases[1] = k.max(1));
        changed(&|p| p.challenge_phases[0] = k.max(1));
    }
    changed(&|p| p.advice_phases.clear());
    changed(&|p| p.fixed.clear());
    changed(&|p| p.advice_queries.clear());
    changed(&|p| p.challenge_phases.clear());
    changed(&|p| p.s_g2 = -p.s_g2);
    changed(&|p| p.s_g2 = zkinfer_verifier::G2Affine::identity());
    changed(&|p| p.transcript_repr += zkinfer_verifier::Fr::from(1_u64));
    changed(&|p| p.fixed[0] = -p.fixed[0]);
}

#[test]
fn verification_takes_milliseconds() {
    for bundle in subjects() {
        let shape = bundle.shape;
        let (statement, proof) = bundle.proven(9, 5);
        let proof = halo2(&proof);
        let begun = Instant::now();
        for _ in 0..50 {
            assert_eq!(verify(&bundle.key, &statement, &proof), Ok(()));
        }
        let each = begun.elapsed().as_secs_f64() * 1000.0 / 50.0;
        let p = description(&bundle);
        println!(
            "{shape:?}: {each:.2} ms to verify {} bytes, {} evaluations, a key of {} bytes",
            p.proof_bytes(),
            p.n_evals(),
            bundle.key.encode().len()
        );
    }
}

/// A circuit that only configures.
#[derive(Clone, Debug)]
struct Foreign(Kind);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Kind {
    #[default]
    Lookup,
    TwoInstances,
    RotatedInstance,
    UnusedInstance,
    Selector,
}

impl Circuit<Fr> for Foreign {
    type Config = ();
    type FloorPlanner = SimpleFloorPlanner;
    type Params = Kind;

    fn params(&self) -> Kind {
        self.0
    }

    fn without_witnesses(&self) -> Self {
        self.clone()
    }

    fn configure(_: &mut ConstraintSystem<Fr>) {}

    fn configure_with_params(cs: &mut ConstraintSystem<Fr>, kind: Kind) {
        let advice = cs.advice_column_in(FirstPhase);
        let instance = cs.instance_column();
        if kind != Kind::UnusedInstance {
            cs.enable_equality(instance);
        }
        match kind {
            Kind::Lookup => {
                let table = cs.lookup_table_column();
                cs.lookup("small", |cells| {
                    vec![(cells.query_advice(advice, Rotation::cur()), table)]
                });
            }
            Kind::TwoInstances => {
                cs.instance_column();
            }
            Kind::RotatedInstance => cs.create_gate("rotated", |cells| {
                let word = cells.query_instance(instance, Rotation::next());
                vec![cells.query_advice(advice, Rotation::cur()) - word]
            }),
            Kind::UnusedInstance => cs.create_gate("zero", |cells| {
                vec![cells.query_advice(advice, Rotation::cur())]
            }),
            Kind::Selector => {
                let selector = cs.selector();
                cs.create_gate("zero", |cells| {
                    let selector = cells.query_selector(selector);
                    vec![selector * cells.query_advice(advice, Rotation::cur())]
                });
            }
        }
    }

    fn synthesize(&self, (): (), _: impl Layouter<Fr>) -> Result<(), Error> {
        Ok(())
    }
}

#[test]
fn constraint_systems_that_no_verifier_of_ours_implements_are_refused_by_name() {
    let params = ParamsKZG::<Bn256>::setup(5, StdRng::seed_from_u64(1));
    let extract = |kind, compress| {
        let vk = keygen_vk_custom(&params, &Foreign(kind), compress).unwrap();
        protocol_of(&vk, &params)
    };
    for (kind, compress, name) in [
        (Kind::Lookup, false, "library lookups"),
        (Kind::TwoInstances, false, "instance columns"),
        (Kind::RotatedInstance, false, "rotated instance queries"),
        (Kind::Selector, true, "compressed selectors"),
    ] {
        let refused = extract(kind, compress).unwrap_err();
        assert!(
            matches!(refused, ExtractError::Unsupported { what, .. } if what == name),
            "{refused}"
        );
    }
    assert!(matches!(
        extract(Kind::UnusedInstance, false),
        Err(ExtractError::Protocol(_))
    ));
    // A selector that is not compressed is a fixed column like any other.
    assert!(extract(Kind::Selector, false).is_ok());
    let vk = keygen_vk(&params, &Foreign(Kind::Selector)).unwrap();
    let larger = ParamsKZG::<Bn256>::setup(6, StdRng::seed_from_u64(1));
    assert!(matches!(
        protocol_of(&vk, &larger),
        Err(ExtractError::Size { params: 6, key: 5 })
    ));
}
