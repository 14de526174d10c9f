//! Delete-a-constraint mutation over every instruction of the conformance models: red each time.

#![allow(clippy::unwrap_used)]

mod fixtures;

use fixtures::{calibration_inputs, compiled};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::time::Instant;
use zkinfer_circuits::arithmetization::halo2::Halo2Circuit;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::Program;
use zkinfer_circuits::ops::{Case, Op};
use zkinfer_circuits::tensor::Tensor;
use zkinfer_circuits::testing::{Mutations, Subject, delete_each_step, inputs_of, program_of};
use zkinfer_verifier::TensorSpec;

/// Rows beyond which the plain and the Halo2 form are left out, unless `ZKINFER_MUTATE_ALL` is set: the instructions are those of
/// the smaller models.
const MOST_PLAIN_ROWS: usize = 300_000;
const MOST_HALO2_ROWS: usize = 1 << 15;
/// Random runs of a small model.
const SPIKES: usize = 40;

fn mutations(name: &str, program: &Arc<Program>, runs: &[Vec<Tensor>]) -> Mutations {
    let start = Instant::now();
    let all = std::env::var_os("ZKINFER_MUTATE_ALL").is_some();
    let plain = R1cs::lower(program, Form::Plain).ok();
    let plain = plain.filter(|plain| all || plain.n_rows() <= MOST_PLAIN_ROWS);
    let committed = R1cs::lower(program, Form::Committed).unwrap();
    let halo2 = Halo2Circuit::lower(program).unwrap();
    let mut subjects = vec![Subject::R1cs(&committed)];
    if all || 1 << halo2.k() <= MOST_HALO2_ROWS {
        subjects.push(Subject::Halo2(&halo2));
    }
    subjects.extend(plain.as_ref().map(Subject::R1cs));
    let found = delete_each_step(program, runs, &subjects).unwrap();
    println!(
        "{name}: {} steps in {} forms: {} killed, {} free, {} survive, {:.1} s",
        program.steps().len(),
        subjects.len(),
        found.killed,
        found.free,
        found.survivors.len(),
        start.elapsed().as_secs_f64()
    );
    for redundant in &found.redundant {
        println!("  redundant: {redundant}");
    }
    found
}

/// Random inputs with one large element each, in turn, so that every element of a small window is its maximum once.
fn spiked(program: &Program, n: usize) -> Vec<Vec<Tensor>> {
    let mut rng = StdRng::seed_from_u64(8);
    let specs = &program.layout().tensors[..program.inputs().len()];
    let run = |k: usize, rng: &mut StdRng| {
        let input = |spec: &TensorSpec| {
            let shape: Vec<usize> = spec.shape.iter().map(|d| *d as usize).collect();
            let len = shape.iter().product::<usize>();
            let (lo, hi) = (spec.dtype.min(), spec.dtype.max());
            let mut data: Vec<i64> = (0..len).map(|_| rng.gen_range(lo..hi)).collect();
            data[k % len] = hi;
            Tensor { shape, data }
        };
        specs.iter().map(input).collect()
    };
    (0..n).map(|k| run(k, &mut rng)).collect()
}

fn red_each_time(name: &str) {
    let compiled = compiled(name, 1);
    let program = Arc::new(compiled.program.clone());
    let found = mutations(
        name,
        &program,
        &calibration_inputs(name, &compiled.model, 2),
    );
    assert!(found.killed > 0);
    assert!(found.survivors.is_empty(), "{name}: {:#?}", found.survivors);
}

#[test]
fn deleting_any_step_of_digits_mlp_is_noticed() {
    red_each_time("digits-mlp");
}

#[test]
fn deleting_any_step_of_digits_cnn_is_noticed() {
    red_each_time("digits-cnn");
}

#[test]
fn deleting_any_step_of_lenet5_is_noticed() {
    red_each_time("lenet5-mnist-shape");
}

#[test]
fn deleting_any_step_of_mlp_100k_is_noticed() {
    red_each_time("mlp-100k");
}

#[test]
fn deleting_any_step_of_cnn_cifar_tiny_is_noticed() {
    red_each_time("cnn-cifar-tiny");
}

#[test]
fn deleting_any_step_of_cnn_cifar_small_is_noticed() {
    red_each_time("cnn-cifar-small");
}

#[test]
fn deleting_any_step_of_any_small_model_is_noticed() {
    let mut survivors = vec![];
    let names = fixtures::operator_models();
    assert!(names.len() >= 30);
    for name in names {
        let compiled = compiled(&name, 1);
        let program = Arc::new(compiled.program.clone());
        let mut runs = calibration_inputs(&name, &compiled.model, 4);
        runs.extend(spiked(&program, SPIKES));
        let found = mutations(&name, &program, &runs);
        survivors.extend(found.survivors.into_iter().map(|s| format!("{name}: {s}")));
    }
    assert!(survivors.is_empty(), "{survivors:#?}");
}

/// Operators made of gadgets that bind one hint by several steps: a lie that breaks one of them only takes several wires. Their row groups are
/// deleted one by one in `forge.rs` (`LIBRARY`), at parameters where such lies are found.
const OF_THE_LIBRARY: [&str; 6] = [
    "ArgMax",
    "Lookup",
    "Normalize",
    "Rescale",
    "Softmax",
    "TopK",
];

#[test]
fn deleting_any_step_of_any_operator_case_is_noticed() {
    let mut survivors = vec![];
    let simple = |case: &Case<Op>| !OF_THE_LIBRARY.contains(&case.op.name());
    for case in Op::cases().into_iter().filter(simple) {
        let program = program_of(&case).unwrap();
        let mut runs: Vec<_> = case.runs.iter().map(|run| inputs_of(&case, run)).collect();
        runs.extend(spiked(&program, SPIKES));
        let name = format!("{}: {}", case.op.name(), case.name);
        let found = mutations(&name, &program, &runs);
        survivors.extend(found.survivors.into_iter().map(|s| format!("{name}: {s}")));
    }
    assert!(survivors.is_empty(), "{survivors:#?}");
}
