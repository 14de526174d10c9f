//! Our halo2-kzg prover beside the library's `create_proof`, in one process and on as many threads as rayon has, by turns:
//! `cargo bench --workspace --bench halo2_prover [-- WORD…]` (words choose circuits by name; `RAYON_NUM_THREADS=2` for two threads).
//! Prints medians of seven, where our time goes, and the peak memory of a proof of each. The witness is solved before the clock starts, and
//! laid out in columns after; both proofs are verified by the library once.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use halo2_proofs::SerdeFormat;
use halo2_proofs::plonk::{ProvingKey as LibraryKey, create_proof, keygen_pk2, verify_proof};
use halo2_proofs::poly::kzg::commitment::{KZGCommitmentScheme, ParamsKZG};
use halo2_proofs::poly::kzg::multiopen::{ProverSHPLONK, VerifierSHPLONK};
use halo2_proofs::poly::kzg::strategy::SingleStrategy;
use halo2curves::bn256::{Bn256, Fr, G1Affine};
use rand::SeedableRng;
use rand::rngs::{OsRng, StdRng};
use zkinfer_circuits::arithmetization::halo2::{Halo2Circuit, Plan, Products};
use zkinfer_circuits::constraint::{Assignment, solve};
use zkinfer_circuits::quantize::InputFile;
use zkinfer_circuits::{Calibration, Settings};
use zkinfer_engine::halo2_kzg::key::{Powers, ProvingKey};
use zkinfer_engine::halo2_kzg::rounds;
use zkinfer_engine::halo2_kzg::transcript::{EvmTranscript, from_verifier};
use zkinfer_engine::{Phase, Progress};
use zkinfer_gpu::curve::decode_point;
use zkinfer_gpu::{Bases, Cpu, Curve, G1, G2};
use zkinfer_params::dev_setup::{Trapdoor, development_srs_part};
use zkinfer_params::srs::g2_generator;
use zkinfer_verifier::{Context, Statement};

const ROUNDS: usize = 7;
const DIGEST: [u8; 32] = [7; 32];

/// A model of `circuits/tests/models` on about 2^k rows.
struct Subject {
    model: &'static str,
    k: u32,
}

const SUBJECTS: [Subject; 3] = [
    Subject {
        model: "digits-cnn",
        k: 0,
    },
    Subject {
        model: "lenet5-mnist-shape",
        k: 0,
    },
    Subject {
        model: "lenet5-mnist-shape",
        k: 17,
    },
];

struct Ready {
    circuit: Halo2Circuit,
    solved: Assignment,
    statement: Statement,
    params: ParamsKZG<Bn256>,
    library: LibraryKey<G1Affine>,
    ours: ProvingKey,
}

fn peak_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

fn now_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

fn forget_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Subject {
    fn lower(&self) -> (Halo2Circuit, Assignment, Statement) {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../circuits/tests/models");
        let file = |extension: &str| {
            fs::read(models.join(format!("{}.{extension}", self.model))).expect("a model's file")
        };
        let calibration = Calibration::from_npz(&file("calibration.npz")).expect("samples");
        let settings = Settings::default();
        let compiled =
            zkinfer_circuits::compile(&file("onnx"), &calibration, &settings, &mut |_, _, _| ())
                .expect("a program");
        let input = InputFile::parse(&file("json")).expect("an input file");
        let samples = compiled.model.samples(&input).expect("inputs of the model");
        let tensors = compiled
            .model
            .quantize_input(&samples[0])
            .expect("an input of the model");
        let program = Arc::new(compiled.program);
        let cheapest = Halo2Circuit::lower(&program).expect("a circuit");
        let circuit = if self.k == 0 {
            cheapest
        } else {
            // A wasteful layout of the same program on the rows asked for.
            let plans = (1..=8).rev().flat_map(|width| {
                [Products::Never, Products::Cheapest].map(|products| Plan {
                    limb_bits: cheapest.plan().limb_bits,
                    width,
                    products,
                })
            });
            plans
                .filter_map(|plan| Halo2Circuit::lower_with(&program, plan).ok())
                .find(|circuit| circuit.k() == self.k)
                .expect("a layout of this size")
        };
        let solved = solve(&program, &tensors).expect("a witness");
        let statement = solved
            .statement(&program, Context::ZERO)
            .expect("a statement");
        (circuit, solved, statement)
    }

    fn ready(&self) -> Ready {
        let (circuit, solved, statement) = self.lower();
        let k = circuit.k();
        let part = development_srs_part(&Trapdoor::for_development(), k, &mut |_, _, _| {
            ControlFlow::Continue(())
        })
        .expect("powers");
        let (size, generator) = (k.to_le_bytes(), g2_generator());
        let mut raw = size
            .chain(&*part.monomial)
            .chain(&*part.lagrange)
            .chain(&generator[..])
            .chain(&part.s_g2[..]);
        let params = ParamsKZG::read_custom(&mut raw, SerdeFormat::RawBytes).expect("parameters");
        let bases = |bytes: &[u8]| {
            let points = bytes.chunks(G1::POINT_BYTES).map(decode_point::<G1>);
            Bases::from_points(points.map(|point| point.expect("a point")).collect())
        };
        let powers = Powers {
            monomial: bases(&part.monomial),
            lagrange: bases(&part.lagrange),
            s_g2: decode_point::<G2>(&part.s_g2).expect("a point"),
        };
        let start = Instant::now();
        let library = keygen_pk2(&params, &circuit.synthesis(), false).expect("a key");
        let theirs = start.elapsed().as_secs_f64();
        let (start, before) = (Instant::now(), now_mib());
        let repr = zkinfer_engine::halo2_kzg::protocol::scalar(&library.get_vk().transcript_repr());
        let ours = ProvingKey::generate(&Cpu::new(), &circuit.synthesis(), k, powers, Some(repr))
            .expect("a key");
        println!(
            "  key generation: library {theirs:.3} s, ours {:.3} s ({:.0} MiB resident); {:?}",
            start.elapsed().as_secs_f64(),
            now_mib() - before,
            circuit.cost(),
        );
        Ready {
            circuit,
            solved,
            statement,
            params,
            library,
            ours,
        }
    }
}

/// Adds up the time before each report.
struct Clock(Mutex<(Instant, Vec<f64>)>);

impl Progress for Clock {
    fn report(&self, _: Phase, _: u64, _: u64) -> ControlFlow<()> {
        let mut clock = self.0.lock().expect("nobody panics");
        let lap = clock.0.elapsed().as_secs_f64();
        clock.0 = Instant::now();
        clock.1.push(lap);
        ControlFlow::Continue(())
    }
}

impl Ready {
    fn words(&self) -> Vec<Fr> {
        self.statement
            .words()
            .into_iter()
            .map(from_verifier)
            .collect()
    }

    fn prove_theirs(&self) -> Vec<u8> {
        let mut transcript = EvmTranscript::new(&DIGEST, Vec::new());
        let words = self.words();
        create_proof::<KZGCommitmentScheme<Bn256>, ProverSHPLONK<'_, Bn256>, _, _, _, _>(
            &self.params,
            &self.library,
            &[self.circuit.assign(&self.solved, &self.statement)],
            &[&[&words]],
            StdRng::from_rng(OsRng).expect("randomness"),
            &mut transcript,
        )
        .expect("a proof");
        transcript.into_stream()
    }

    fn prove_ours(&self, progress: &dyn Progress) -> Vec<u8> {
        let witness = self.circuit.assign(&self.solved, &self.statement);
        let mut rng = StdRng::from_rng(OsRng).expect("randomness");
        let (device, words) = (Cpu::new(), self.statement.words());
        rounds::create_proof(
            &self.ours, &device, &DIGEST, &words, &witness, &mut rng, progress,
        )
        .expect("a proof")
    }

    fn check(&self, proof: &[u8]) {
        let mut transcript = EvmTranscript::new(&DIGEST, proof);
        verify_proof::<KZGCommitmentScheme<Bn256>, VerifierSHPLONK<'_, Bn256>, _, _, _>(
            &self.params,
            self.library.get_vk(),
            SingleStrategy::new(&self.params),
            &[&[&self.words()]],
            &mut transcript,
        )
        .expect("an honest proof");
    }

    /// Our time by part: the reports of a proof in order.
    fn parts(&self, laps: &[f64]) -> BTreeMap<&'static str, f64> {
        let p = self.ours.protocol();
        let commitments = [
            ("1 advice", p.advice_phases.len()),
            ("2 permutation", p.n_products()),
            ("3 random polynomial", 1),
        ];
        let mut names = vec!["0 instance"];
        for (name, n) in commitments {
            names.extend(vec![name; n]);
        }
        let after = p.n_quotients() + 2;
        let passes = laps.len() - names.len() - after;
        names.extend(vec!["4 quotient: values"; passes]);
        names.extend(vec!["5 quotient: commitments"; p.n_quotients()]);
        names.extend(["6 evaluations and opening"; 2]);
        let mut parts = BTreeMap::new();
        for (name, lap) in names.into_iter().zip(laps) {
            *parts.entry(name).or_insert(0.0) += lap;
        }
        parts
    }
}

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|w| !w.starts_with('-'))
        .collect();
    println!("{} threads", rayon::current_num_threads());
    for subject in SUBJECTS {
        let name = match subject.k {
            0 => subject.model.to_owned(),
            k => format!("{} on 2^{k} rows", subject.model),
        };
        if !words.is_empty() && !words.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        println!("{name}");
        let ready = subject.ready();
        let memory = |prove: &dyn Fn() -> Vec<u8>| {
            forget_peak();
            let before = now_mib();
            ready.check(&prove());
            peak_mib() - before
        };
        let silent = &zkinfer_engine::Silent;
        let ours_mib = memory(&|| ready.prove_ours(silent));
        let theirs_mib = memory(&|| ready.prove_theirs());
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let mut parts: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let clock = Clock(Mutex::new((start, Vec::new())));
            ready.prove_ours(&clock);
            ours.push(start.elapsed().as_secs_f64());
            let laps = clock.0.into_inner().expect("nobody panics").1;
            for (part, seconds) in ready.parts(&laps) {
                parts.entry(part).or_default().push(seconds);
            }
            let start = Instant::now();
            ready.prove_theirs();
            theirs.push(start.elapsed().as_secs_f64());
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!(
            "  k = {}: ours {ours:.3} s, {ours_mib:.0} MiB more; library {theirs:.3} s, {theirs_mib:.0} MiB more; {:.2} times faster",
            ready.circuit.k(),
            theirs / ours
        );
        for (part, seconds) in parts {
            println!("    {part:<26} {:.3} s", median(seconds));
        }
    }
}
