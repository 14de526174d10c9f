//! Where the time of one proof goes. Run with
//! `ZKINFER_MODEL=lenet5-mnist-shape cargo test --release --workspace --test phases -- --ignored --nocapture`.

mod small;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ark_bn254::Fr;
use ark_ec::AffineRepr;
use ark_ff::{UniformRand, Zero};
use small::{Bundle, rng};
use zkinfer_circuits::arithmetization::r1cs::trace::Tracer;
use zkinfer_circuits::arithmetization::r1cs::{Form, Matrix, R1cs};
use zkinfer_circuits::constraint::{Program, solve};
use zkinfer_circuits::quantize::InputFile;
use zkinfer_circuits::tensor::Tensor;
use zkinfer_circuits::{Calibration, Settings};
use zkinfer_engine::{ProofInput, Silent};
use zkinfer_gpu::{Bases, Cpu, Curve, Device, Direction, Domain, G1, G2, Points, ScalarClass};
use zkinfer_params::keys::SectionKind;
use zkinfer_verifier::{Context, ProofSystem, verify};

fn model(name: &str) -> (Arc<Program>, Vec<Tensor>) {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../circuits/tests/models");
    let read = |extension: &str| {
        fs::read(models.join(format!("{name}.{extension}"))).expect("a file of the repository")
    };
    let calibration = Calibration::from_npz(&read("calibration.npz")).expect("samples");
    let compiled = zkinfer_circuits::compile(
        &read("onnx"),
        &calibration,
        &Settings::default(),
        &mut |_, _, _| (),
    )
    .expect("a valid model");
    let file = InputFile::parse(&read("json")).expect("an input");
    let samples = compiled
        .model
        .samples(&file)
        .expect("an input of the model");
    let input = compiled
        .model
        .quantize_input(&samples[0])
        .expect("in range");
    (Arc::new(compiled.program), input)
}

/// Median seconds of five runs.
fn time<T>(what: &str, mut run: impl FnMut() -> T) -> T {
    let mut seconds = Vec::new();
    let mut last = None;
    for _ in 0..5 {
        let start = Instant::now();
        let result = run();
        seconds.push(start.elapsed().as_secs_f64());
        last = Some(result);
    }
    seconds.sort_by(f64::total_cmp);
    println!("  {what:<28} {:9.2} ms", seconds[2] * 1e3);
    last.expect("five runs")
}

#[test]
#[ignore = "measures; run by hand"]
fn phases_of_one_proof() {
    let name = std::env::var("ZKINFER_MODEL").unwrap_or_else(|_| "lenet5-mnist-shape".into());
    let (program, tensors) = model(&name);
    let bundle = Bundle::new(program.clone(), ProofSystem::UltraGroth, 1);
    let lowered = time("lower", || {
        R1cs::lower(&program, Form::Committed).expect("a circuit")
    });
    let tracer = time("analyse", || Tracer::new(lowered.clone()));
    let r1cs = tracer.r1cs();
    let n = r1cs.n_rows() + r1cs.n_instance();
    println!(
        "\n{name}: {} rows, {} committed, {} private wires",
        r1cs.n_rows(),
        r1cs.n_committed(),
        r1cs.n_private()
    );
    let device: &dyn Device = &Cpu;
    let input = ProofInput {
        tensors: tensors.clone(),
        context: Context::ZERO,
    };

    let solved = time("solve", || solve(&program, &tensors).expect("a witness"));
    let statement = time("statement", || {
        solved
            .statement(&program, Context::ZERO)
            .expect("a statement")
    });
    let words = statement.words();
    let (mut trace, mut wires) = time("first round (fill W1)", || {
        tracer
            .first_round(&solved, Fr::from(0u64))
            .expect("every query is a row")
    });
    let mut random = rng(1);
    let [rho, alpha] = [(); 2].map(|()| Fr::rand(&mut random));
    time("second round (fill W2)", || {
        trace
            .second_round(&mut wires, &words, rho, alpha)
            .expect("no zero denominator")
    });
    let rows = time("row values", || {
        [Matrix::A, Matrix::B, Matrix::C].map(|matrix| {
            let mut rows = vec![Fr::from(0u64); r1cs.n_rows()];
            trace.row_values(matrix, &wires, &mut rows);
            rows
        })
    });
    let mut reduced = time("reduce", || trace.reduce(&mut wires));
    let folded = reduced.folded.take().expect("lookups with values");
    let mut grouped = reduced.grouped.take().expect("more queries than rows");
    let private = r1cs.n_wires() - r1cs.n_private();
    let (w1, w2) = (
        wires[r1cs.n_instance()..private].to_vec(),
        wires[private..].to_vec(),
    );
    let domain = Domain::new(n).expect("a domain");
    let mut padded = rows[0].clone();
    padded.resize(domain.n(), Fr::from(0u64));
    let mut vector = device.upload(padded).expect("host memory");
    time("one transform", || {
        device
            .ntt(&mut vector, &domain, Direction::Inverse, Points::Subgroup)
            .expect("its length")
    });
    let key = bundle.key();
    time("key digests", || key.verify().expect("a whole key"));
    let zeros = folded.iter().filter(|y| y.is_zero()).count();
    println!(
        "  {} folded wires of {}",
        folded.len() - zeros,
        folded.len()
    );
    let values = device
        .upload(std::mem::take(&mut grouped.values))
        .expect("host memory");
    let [wires, w1, w2, folded] =
        [wires, w1, w2, folded].map(|v| device.upload(v).expect("host memory"));
    fn map<C: Curve>(key: &zkinfer_params::keys::ProvingKeyFile, kind: SectionKind) -> Bases<C> {
        let section = key.section(kind).expect("there");
        Bases::map(key.file(), section.offset, section.count as usize).expect("mapped")
    }
    let full = ScalarClass::Full;
    for (kind, scalars) in [
        (SectionKind::D1, &w1),
        (SectionKind::A, &wires),
        (SectionKind::B1, &wires),
        (SectionKind::D2, &w2),
        (SectionKind::H, &vector),
    ] {
        let bases = map::<G1>(&key, kind);
        let points = bases.points(0..bases.len()).expect("points");
        let zeros = points.iter().filter(|p| p.is_zero()).count();
        println!("  {kind:?}: {} points, {zeros} at infinity", points.len());
        drop(points);
        let _ = time(&format!("msm {kind:?}"), || {
            device
                .msm_g1(&bases, scalars.as_slice(), full)
                .expect("a sum")
        });
    }
    let bases = map::<G1>(&key, SectionKind::D2);
    let _ = time("msm D2, folded", || {
        device
            .msm_g1(&bases, folded.as_slice(), full)
            .expect("a sum")
    });
    let _ = time("msm D2, grouped", || {
        device
            .msm_grouped_g1(&bases, &grouped.groups, values.as_slice())
            .expect("a sum")
    });
    let bases = map::<G2>(&key, SectionKind::B2);
    let _ = time("msm B2", || {
        device
            .msm_g2(&bases, wires.as_slice(), full)
            .expect("a sum")
    });
    let prover = bundle.prover();
    let proven = time("prove", || {
        prover.prove(&input, &mut rng(2), &Silent).expect("a proof")
    });
    time("verify", || {
        verify(&bundle.vk, &proven.statement, &proven.proof).expect("accepted")
    });
}
