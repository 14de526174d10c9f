//! scikit-learn's models of its own data sets, as skl2onnx writes them, against onnxruntime (`models/make_tabular.py` wrote both).

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use zkinfer_circuits::arithmetization::LowerError;
use zkinfer_circuits::arithmetization::halo2::Halo2Circuit;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::solve;
use zkinfer_circuits::model::Visibilities;
use zkinfer_circuits::onnx::{self, FloatGraph};
use zkinfer_circuits::quantize::input::{Sample, from_npz};
use zkinfer_circuits::quantize::{self, Quantized};
use zkinfer_circuits::testing::{Forger, Halo2Forger};

/// Files, and the share of labels that int16 features and int8 scores must keep.
const CLASSIFIERS: [(&str, f64); 10] = [
    ("logistic_regression", 0.95),
    ("logistic_binary", 0.95),
    ("logistic_raw", 0.95),
    ("normalized", 0.95),
    ("decision_tree", 0.95),
    ("random_forest", 0.95),
    ("forest_binary", 0.95),
    ("boosting", 0.95),
    ("boosting_binary", 0.95),
    ("perceptron", 0.95),
];
const REGRESSIONS: [&str; 5] = [
    "linear_raw",
    "linear_regression",
    "forest_regression",
    "boosting_regression",
    "perceptron_regression",
];

/// A model, its samples, and what onnxruntime gives for them: scores or predictions, and labels.
struct File {
    graph: FloatGraph,
    samples: Vec<Sample>,
    expected: Vec<Sample>,
}

fn read(name: &str) -> File {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/tabular");
    let bytes = |extension: &str| std::fs::read(path.join(name).with_extension(extension)).unwrap();
    let graph = onnx::import(&bytes("onnx")).unwrap();
    let file = from_npz(&bytes("npz")).unwrap();
    let shape = |id: usize| &graph.nodes[id].shape[..];
    let inputs: Vec<_> = graph.inputs.iter().map(|&id| ("X", shape(id))).collect();
    let names = ["label", "scores"];
    let names = &names[2 - graph.outputs.len()..];
    let outputs = names.iter().zip(&graph.outputs);
    let outputs: Vec<_> = outputs.map(|(name, (_, id))| (*name, shape(*id))).collect();
    let (samples, expected) = (
        file.samples(&inputs).unwrap(),
        file.samples(&outputs).unwrap(),
    );
    assert!(samples.len() >= 40 && samples.len() == expected.len());
    File {
        graph,
        samples,
        expected,
    }
}

fn quantized(file: &File) -> Quantized {
    let ranges = quantize::ranges(&file.graph, &file.samples).unwrap();
    quantize::quantize(&file.graph, &ranges, Visibilities::default()).unwrap()
}

#[test]
fn float_graphs_compute_what_onnxruntime_does() {
    for name in CLASSIFIERS
        .map(|(name, _)| name)
        .into_iter()
        .chain(REGRESSIONS)
    {
        let file = read(name);
        for (sample, expected) in file.samples.iter().zip(&file.expected) {
            let values = file.graph.evaluate(sample);
            for ((_, id), expected) in file.graph.outputs.iter().zip(expected) {
                for (got, wanted) in values[*id].iter().zip(expected) {
                    let wanted = f64::from(*wanted);
                    let error = (got - wanted).abs() / wanted.abs().max(1.0);
                    assert!(error < 1e-4, "{name}: {got}; onnxruntime has {wanted}");
                }
            }
        }
    }
}

#[test]
fn integer_models_keep_the_labels() {
    for (name, least) in CLASSIFIERS {
        let file = read(name);
        let quantized = quantized(&file);
        let kept = file
            .samples
            .iter()
            .zip(&file.expected)
            .filter(|(sample, expected)| {
                let inputs = quantized.model.quantize_input(sample).unwrap();
                let outputs = quantized.model.eval(&inputs).unwrap();
                f64::from(expected[0][0]) == outputs[0].data[0] as f64
            });
        let share = kept.count() as f64 / file.samples.len() as f64;
        println!("{name}: {share}");
        assert!(share >= least, "{name}: {share} of the labels");
    }
}

#[test]
fn integer_models_follow_the_predictions() {
    for name in REGRESSIONS {
        let file = read(name);
        let quantized = quantized(&file);
        let report = quantize::report(
            &file.graph,
            &quantize::ranges(&file.graph, &file.samples).unwrap(),
            &quantized,
            &file.samples,
        );
        let output = &report.unwrap().outputs[0];
        println!(
            "{name}: {} steps on average, {} at most",
            output.mean_error_steps, output.max_error_steps
        );
        assert!(output.mean_error_steps < 3.0, "{name}");
    }
}

#[test]
fn every_form_accepts_the_honest_witness() {
    for name in CLASSIFIERS
        .map(|(name, _)| name)
        .into_iter()
        .chain(REGRESSIONS)
    {
        let file = read(name);
        let model = quantized(&file).model;
        let inputs = model.quantize_input(&file.samples[0]).unwrap();
        let program = Arc::new(model.synthesize().unwrap());
        let solved = solve(&program, &inputs).unwrap();
        assert_eq!(solved.outputs(&program), model.eval(&inputs).unwrap());
        for form in [Form::Plain, Form::Committed] {
            match R1cs::lower(&program, form) {
                // the plain form has no tables of this size
                Err(LowerError::Selection { .. }) if form == Form::Plain => {}
                circuit => {
                    let circuit = circuit.unwrap();
                    println!("{name} {form:?}: {} rows", circuit.n_rows());
                    Forger::new(&circuit, &solved).check_honest().unwrap();
                }
            }
        }
        let circuit = Halo2Circuit::lower(&program).unwrap();
        Halo2Forger::new(&circuit, &solved).check_honest().unwrap();
    }
}

/// What would be another function than onnxruntime's, or more than a file may ask for, is refused by name (found by a reviewer who did not write it).
#[test]
fn what_is_not_read_as_onnxruntime_reads_it_is_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/tabular/refused");
    let cases = [
        ("base_as_tensor", "base_values_as_tensor"),
        ("big_labels", "labels of 2^24"),
        ("bin_both_shares", "expected a leaf and an output below 1"),
        ("bin_signed_c0_SOFTMAX", "one score for two classes"),
        ("bin_signed_c1", "expected a leaf and an output below 1"),
        ("dupw_SUM", "two weights of node"),
        ("linreg_softmax1", "a post_transform of predictions"),
        ("many_targets", "weights; expected at most"),
        ("miss_MAX", "without a weight for every target"),
        ("neg_feature", "the feature -"),
        ("reg_logistic1", "a post_transform of predictions"),
        ("same_names", "is made twice"),
        ("targets_2e34", "coefficients; expected as many"),
        ("targets_2e62", "coefficients; expected as many"),
        ("tri_missing", "a class without base values"),
        ("two_roots", "roots in"),
        ("user_init", "is made twice"),
        ("user_name", "is made twice"),
    ];
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), cases.len());
    for (name, words) in cases {
        let bytes = std::fs::read(folder.join(name).with_extension("onnx")).unwrap();
        let refused = onnx::import(&bytes).unwrap_err().to_string();
        assert!(refused.contains(words), "{name}: {refused}");
    }
}
