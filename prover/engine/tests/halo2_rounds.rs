//! Our halo2-kzg prover beside the library's: both verifiers accept its proofs, and with one random generator both provers commit to the
//! same polynomials and say the same of them, but for the one random polynomial that the library draws from elsewhere.
#![allow(clippy::unwrap_used)]

mod halo2_small;
mod small;

use std::io;
use std::ops::ControlFlow;
use std::sync::Mutex;

use halo2_proofs::poly::commitment::Params;
use halo2_proofs::transcript::{EncodedChallenge, Transcript, TranscriptRead, TranscriptWrite};
use halo2_small::{Bundle, Shape};
use halo2curves::bn256::{Fr, G1, G1Affine, G2Affine};
use halo2curves::ff::Field;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rayon::ThreadPoolBuilder;
use zkinfer_engine::halo2_kzg::key::{KeygenError, ProvingKey};
use zkinfer_engine::halo2_kzg::transcript::{Challenge, EvmTranscript, from_verifier};
use zkinfer_engine::{Phase, ProveError};
use zkinfer_gpu::{Bases, Cpu};
use zkinfer_verifier::halo2_kzg::{Poly, Protocol};
use zkinfer_verifier::{Proof, ProofSystem, verify};

/// The small circuits and programs of our own lowering.
fn subjects() -> Vec<Bundle> {
    vec![
        Bundle::new(Shape::Full, 40, 17),
        Bundle::new(Shape::Plain, 40, 17),
        Bundle::of_program(small::dense(3), 17),
        Bundle::of_program(small::layers(4, 1), 17),
        Bundle::of_program(small::layers(5, 3), 17),
    ]
}

#[test]
fn both_verifiers_accept_our_proofs() {
    for bundle in subjects() {
        let key = bundle.our_key(&Cpu);
        // The library's description, transcript representation included, comes out of our own key generation.
        assert_eq!(Some(key.protocol()), bundle.key.halo2_kzg());
        for seed in 1..4 {
            let (statement, bytes) = bundle.ours(&key, &Cpu, seed, u64::from(seed));
            let words: Vec<Fr> = statement.words().into_iter().map(from_verifier).collect();
            assert!(bundle.library_accepts(&words, &bytes), "{:?}", bundle.shape);
            verify(&bundle.key, &statement, &Proof::Halo2Kzg { bytes }).unwrap();
        }
    }
}

/// The library's transcript, which writes what another proof says at a few places instead.
struct Replacing {
    inner: EvmTranscript<Vec<u8>>,
    /// The other proof, read in step.
    other: EvmTranscript<io::Cursor<Vec<u8>>>,
    at: usize,
    /// Offsets of what is replaced: R, R(x), W, W'.
    places: [usize; 4],
    points: Vec<(G1Affine, G1Affine)>,
    scalars: Vec<(Fr, Fr)>,
    challenges: Vec<Fr>,
}

impl Transcript<G1Affine, Challenge> for Replacing {
    fn squeeze_challenge(&mut self) -> Challenge {
        let challenge = self.inner.squeeze_challenge();
        self.challenges.push(challenge.get_scalar());
        challenge
    }

    fn common_point(&mut self, point: G1Affine) -> io::Result<()> {
        self.inner.common_point(point)
    }

    fn common_scalar(&mut self, scalar: Fr) -> io::Result<()> {
        self.inner.common_scalar(scalar)
    }
}

impl TranscriptWrite<G1Affine, Challenge> for Replacing {
    fn write_point(&mut self, point: G1Affine) -> io::Result<()> {
        let other = self.other.read_point()?;
        let replaced = self.places.contains(&self.at);
        self.at += 64;
        if replaced {
            self.points.push((point, other));
            return self.inner.write_point(other);
        }
        assert_eq!(point, other, "the point at byte {}", self.at - 64);
        self.inner.write_point(point)
    }

    fn write_scalar(&mut self, scalar: Fr) -> io::Result<()> {
        let other = self.other.read_scalar()?;
        let replaced = self.places.contains(&self.at);
        self.at += 32;
        if replaced {
            self.scalars.push((scalar, other));
            return self.inner.write_scalar(other);
        }
        assert_eq!(scalar, other, "the scalar at byte {}", self.at - 32);
        self.inner.write_scalar(scalar)
    }
}

fn places(p: &Protocol) -> [usize; 4] {
    let random = 64 * (p.advice_phases.len() + p.n_products());
    let evals = 64 * p.n_commitments();
    let openings = evals + 32 * p.n_evals();
    [
        random,
        evals + 32 * p.random_eval(),
        openings,
        openings + 64,
    ]
}

#[test]
fn both_provers_make_the_same_proof_but_for_the_random_polynomial() {
    for bundle in subjects() {
        let p = bundle.key.halo2_kzg().unwrap();
        let key = bundle.our_key(&Cpu);
        // The parameters' secret is the first scalar of the seed.
        let tau = Fr::random(StdRng::seed_from_u64(17));
        assert_eq!(bundle.params.s_g2(), (G2Affine::generator() * tau).into());
        for seed in [3_u8, 8] {
            let (statement, ours) = bundle.ours(&key, &Cpu, seed, u64::from(seed));
            let digest = bundle.key.digest();
            let mut theirs = Replacing {
                inner: EvmTranscript::new(&digest, Vec::new()),
                other: EvmTranscript::new(&digest, io::Cursor::new(ours.clone())),
                at: 0,
                places: places(p),
                points: Vec::new(),
                scalars: Vec::new(),
                challenges: Vec::new(),
            };
            let same = bundle.library_proof(seed, u64::from(seed), &mut theirs);
            assert_eq!(same, statement);
            // Every other point and scalar was compared on the way.
            assert_eq!(theirs.at, ours.len());
            assert_eq!(theirs.inner.into_stream(), ours);

            // What the difference of the random polynomials makes of the two points of the opening, by hand.
            let [(r_theirs, r_ours), w, w_last] = theirs.points[..] else {
                panic!("three points are replaced");
            };
            assert_ne!(r_theirs, r_ours);
            let [.., x, y, v, u] = theirs.challenges[..] else {
                panic!("four challenges");
            };
            let openings = p.openings();
            let (set, place) = openings
                .iter()
                .enumerate()
                .find_map(|(i, set)| {
                    let place = set
                        .polys
                        .iter()
                        .position(|(poly, _)| *poly == Poly::Random)?;
                    Some((i as u64, place as u64))
                })
                .unwrap();
            let factor = v.pow([set]) * y.pow([place]);
            let omega = bundle.pk.get_vk().get_domain();
            let point = |r: i32| omega.rotate_omega(x, halo2_proofs::poly::Rotation(r));
            let mut rotations: Vec<i32> = openings
                .iter()
                .flat_map(|s| &s.rotations)
                .copied()
                .collect();
            rotations.sort_unstable();
            rotations.dedup();
            let lacking = |set: usize| -> Fr {
                let lacks = rotations
                    .iter()
                    .filter(|r| !openings[set].rotations.contains(r));
                lacks.map(|r| u - point(*r)).product()
            };
            let all: Fr = rotations.iter().map(|r| u - point(*r)).product();
            let (eval_theirs, eval_ours) = theirs.scalars[0];
            let numerator: G1 =
                G1::from(r_theirs) - r_ours - G1Affine::generator() * (eval_theirs - eval_ours);
            let over = |x: Fr| x.invert().unwrap();
            let expected = numerator * (factor * over(tau - x));
            assert_eq!(G1::from(w.0) - w.1, expected);
            let last = lacking(set as usize) - all * over(tau - x);
            let expected = numerator * (factor * last * over(lacking(0) * (tau - u)));
            assert_eq!(G1::from(w_last.0) - w_last.1, expected);
        }
    }
}

#[test]
fn a_proof_depends_on_the_generator_and_not_on_the_number_of_threads() {
    for bundle in [
        Bundle::new(Shape::Full, 40, 5),
        Bundle::of_program(small::layers(4, 1), 5),
    ] {
        let key = bundle.our_key(&Cpu);
        let with = |n| {
            let pool = ThreadPoolBuilder::new().num_threads(n).build().unwrap();
            pool.install(|| bundle.ours(&key, &Cpu, 1, 7))
        };
        assert_eq!(with(1), with(3));
        let (_, other) = bundle.ours(&key, &Cpu, 1, 8);
        let (_, proof) = with(1);
        // Not one commitment is the same.
        let n = bundle.key.halo2_kzg().unwrap().n_commitments();
        for (a, b) in proof.chunks(64).zip(other.chunks(64)).take(n) {
            assert_ne!(a, b);
        }
    }
}

#[test]
fn every_commitment_and_every_pass_is_a_report_and_each_can_stop_the_proof() {
    let program = small::layers(4, 1);
    let bundle = small::Bundle::new(program, ProofSystem::Halo2Kzg, 5);
    let prover = bundle.prover();
    let input = small::input(&bundle.program, 1);
    let reports = Mutex::new(Vec::new());
    let listen = |phase: Phase, done: u64, total: u64| {
        reports.lock().unwrap().push((phase, done, total));
        ControlFlow::Continue(())
    };
    prover.prove(&input, &mut small::rng(1), &listen).unwrap();
    let reports = reports.into_inner().unwrap();
    let prove: Vec<_> = reports
        .iter()
        .filter(|(p, ..)| *p == Phase::Prove)
        .collect();
    let total = prove[0].2;
    let expected: Vec<u64> = (0..=total).collect();
    assert_eq!(
        prove.iter().map(|(_, done, _)| *done).collect::<Vec<_>>(),
        expected
    );
    let p = bundle.vk.halo2_kzg().unwrap();
    let commitments = p.n_commitments() as u64 + 2;
    assert!(total >= commitments + u64::from(p.degree) - 1);

    for stop in 0..reports.len() {
        let heard = Mutex::new(0);
        let listen = |_: Phase, _: u64, _: u64| {
            let mut heard = heard.lock().unwrap();
            *heard += 1;
            if *heard > stop {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let stopped = prover.prove(&input, &mut small::rng(1), &listen);
        assert!(
            matches!(stopped, Err(ProveError::Cancelled)),
            "report {stop}"
        );
        assert_eq!(*heard.lock().unwrap(), stop + 1, "nothing is done after it");
    }
}

#[test]
fn keys_are_refused_that_do_not_fit_the_circuit() {
    let bundle = Bundle::of_program(small::dense(3), 4);
    let circuit = bundle.circuit.as_ref().unwrap();
    let k = bundle.params.k();
    let generate =
        |powers, k| ProvingKey::generate(&Cpu, &circuit.synthesis(), k, powers, None).err();
    assert!(matches!(
        generate(bundle.powers(), k + 1),
        Some(KeygenError::Points { expected, got, .. }) if expected == 2 * got
    ));
    let mut powers = bundle.powers();
    let mut points = powers.lagrange.points(0..1 << k).unwrap();
    let other = points[4].y;
    points[5].x += other;
    powers.lagrange = Bases::from_points(points);
    assert!(matches!(
        generate(powers, k),
        Some(KeygenError::OffCurve { index: 5, .. })
    ));
    let mut powers = bundle.powers();
    powers.monomial = bundle.powers().lagrange;
    assert!(matches!(generate(powers, k), Some(KeygenError::Extract(_))));
}
