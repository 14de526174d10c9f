//! Delete-a-constraint mutation over every instruction of the conformance models: red each time.

#![allow(clippy::unwrap_used)]

mod fixtures;
mod gadgets;

use fixtures::{calibration_inputs, compiled};
use gadgets::{GADGETS, HALO2_GADGETS, inputs, tiny};
use std::sync::Arc;
use std::time::Instant;
use zkinfer_circuits::arithmetization::halo2::Halo2Circuit;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::Program;
use zkinfer_circuits::ops::Op;
use zkinfer_circuits::tensor::Tensor;
use zkinfer_circuits::testing::{
    Mutations, Subject, delete_each_step, inputs_of, program_of,
};

/// Rows of the plain form beyond which it is left out: its instructions are those of the smaller models.
const MOST_PLAIN_ROWS: usize = 300_000;

fn mutations(name: &str, program: &Arc<Program>, runs: &[Vec<Tensor>]) -> Mutations {
    let start = Instant::now();
    let plain = R1cs::lower(program, Form::Plain)
        .ok()
        .filter(|plain| plain.n_rows() <= MOST_PLAIN_ROWS);
    let committed = R1cs::lower(program, Form::Committed).unwrap();
    let halo2 = Halo2Circuit::lower(program).unwrap();
    let mut subjects = vec![Subject::R1cs(&committed), Subject::Halo2(&halo2)];
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
    found
}

fn red_each_time(name: &str) {
    let compiled = compiled(name, 1);
    let program = Arc::new(compiled.program.clone());
    let found = mutations(name, &program, &calibration_inputs(name, &compiled.model, 2));
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
        let runs = calibration_inputs(&name, &compiled.model, 4);
        let found = mutations(&name, &program, &runs);
        survivors.extend(found.survivors.into_iter().map(|s| format!("{name}: {s}")));
    }
    assert!(survivors.is_empty(), "{survivors:#?}");
}

#[test]
fn deleting_any_step_of_any_operator_case_is_noticed() {
    let mut survivors = vec![];
    for case in Op::cases() {
        let program = program_of(&case).unwrap();
        let runs: Vec<_> = case.runs.iter().map(|run| inputs_of(&case, run)).collect();
        let name = format!("{}: {}", case.op.name(), case.name);
        let found = mutations(&name, &program, &runs);
        survivors.extend(found.survivors.into_iter().map(|s| format!("{name}: {s}")));
    }
    assert!(survivors.is_empty(), "{survivors:#?}");
}

#[test]
fn deleting_any_step_of_any_gadget_is_noticed() {
    let mut survivors = vec![];
    for (name, gadget) in GADGETS.into_iter().chain(HALO2_GADGETS) {
        let runs: Vec<_> = inputs(3).collect();
        let found = mutations(name, &tiny(3, gadget), &runs);
        survivors.extend(found.survivors.into_iter().map(|s| format!("{name}: {s}")));
    }
    assert!(survivors.is_empty(), "{survivors:#?}");
}
