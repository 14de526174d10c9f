//! The profile of a trained model, against what the accuracy report and a plain loop over the samples say.
#![allow(clippy::unwrap_used)]

mod fixtures;

use zkinfer_circuits::onnx::{self, FloatGraph};
use zkinfer_circuits::quantize::InputFile;
use zkinfer_circuits::quantize::profile::{
    MAX_BINS, MAX_POINTS, Pairing, PairingError, Profile, ProfileError, Truth, labels, profile,
};
use zkinfer_circuits::{Compiled, Model};

fn read(name: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    std::fs::read(folder.join(name)).unwrap()
}

fn file(name: &str) -> InputFile {
    InputFile::parse(&read(name)).unwrap()
}

fn graph(name: &str) -> FloatGraph {
    onnx::import(&read(&format!("{name}.onnx"))).unwrap()
}

/// digits-cnn on its held-out samples, with and without the float model and the labels.
fn held_out(compiled: &Compiled, graph: Option<&FloatGraph>, labelled: bool) -> Profile {
    let model = &compiled.model;
    let file = file("digits-cnn.heldout.npz");
    let samples = model.samples(&file).unwrap();
    let labels = labelled.then(|| labels(&file, "label").unwrap());
    let pairing = graph.map(|g| Pairing::new(g, model, &compiled.report).unwrap());
    let labels = labels.as_deref();
    profile(model, &samples, pairing.as_ref(), labels, &mut |_, _| {}).unwrap()
}

fn largest<T: PartialOrd>(values: &[T]) -> usize {
    (0..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

#[test]
fn on_the_calibration_samples_errors_are_those_of_the_report() {
    for name in ["digits-cnn", "digits-mlp"] {
        let compiled = fixtures::compiled(name, 1);
        let graph = graph(name);
        let pairing = Pairing::new(&graph, &compiled.model, &compiled.report).unwrap();
        let samples = compiled
            .model
            .samples(&file(&format!("{name}.calibration.npz")))
            .unwrap();
        let got = profile(
            &compiled.model,
            &samples,
            Some(&pairing),
            None,
            &mut |_, _| {},
        )
        .unwrap();
        let errors: Vec<_> = got.tensors.iter().filter_map(|t| t.error).collect();
        assert_eq!(errors.len(), compiled.report.layers.len());
        for layer in &compiled.report.layers {
            let found = errors.iter().any(|e| {
                (e.mean - layer.mean_error).abs() <= 1e-12 * layer.mean_error
                    && e.max == layer.max_error
                    && [e.range[0].min(0.0), e.range[1].max(0.0)] == layer.range
            });
            assert!(found, "{name}: {}: {errors:?}", layer.name);
        }
        let agreement = got.outputs[0].agreement.unwrap() as f64 / samples.len() as f64;
        assert_eq!(agreement, compiled.report.outputs[0].argmax_agreement);
    }
}

#[test]
fn histograms_count_every_value_inside_its_proved_interval() {
    let compiled = fixtures::compiled("digits-cnn", 1);
    let got = held_out(&compiled, None, false);
    let model: &Model = &compiled.model;
    assert_eq!(got.tensors.len(), model.facts().len());
    for (tensor, fact) in got.tensors.iter().zip(model.facts()) {
        let histogram = &tensor.histogram;
        assert_eq!(histogram.total(), (got.samples * fact.len()) as u64);
        assert!(histogram.counts.len() <= MAX_BINS);
        assert!(fact.interval.contains(histogram.least), "{histogram:?}");
        assert!(fact.interval.contains(histogram.largest), "{histogram:?}");
        assert_eq!(tensor.error, None, "there is no float model");
    }
    let output = &got.outputs[0];
    assert!(!got.float && output.points.is_empty());
    assert_eq!((output.agreement, output.accuracy), (None, None));
    assert_eq!(output.confusion, None);
}

#[test]
fn accuracy_agreement_and_confusion_are_those_of_a_plain_loop() {
    let compiled = fixtures::compiled("digits-cnn", 1);
    let graph = graph("digits-cnn");
    let got = held_out(&compiled, Some(&graph), true);
    let file = file("digits-cnn.heldout.npz");
    let truth = labels(&file, "label").unwrap();
    let samples = compiled.model.samples(&file).unwrap();
    let (mut right, mut float_right, mut agree) = (0, 0, 0);
    let (mut fives, mut float_fives) = (0, 0);
    for (sample, label) in samples.iter().zip(&truth) {
        let inputs = compiled.model.quantize_input(sample).unwrap();
        let integers = compiled.model.eval(&inputs).unwrap().remove(0).data;
        let float = graph.evaluate(sample).swap_remove(graph.outputs[0].1);
        let label = *label as usize;
        right += usize::from(largest(&integers) == label);
        float_right += usize::from(largest(&float) == label);
        agree += usize::from(largest(&integers) == largest(&float));
        // sorted from the largest, stable: of equals the first comes first
        let mut order: Vec<usize> = (0..10).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(integers[i]));
        fives += usize::from(order[..5].contains(&label));
        order.sort_unstable();
        order.sort_by(|&a, &b| float[b].total_cmp(&float[a]));
        float_fives += usize::from(order[..5].contains(&label));
    }
    let output = &got.outputs[0];
    let accuracy = output.accuracy.unwrap();
    let float = accuracy.float.unwrap();
    assert_eq!(
        (accuracy.quantized.top_1, float.top_1, output.agreement),
        (right, float_right, Some(agree))
    );
    assert_eq!(
        (accuracy.quantized.top_5, float.top_5),
        (fives, float_fives)
    );
    assert_eq!(right + accuracy.lost, float_right + accuracy.gained);
    assert!(right > 300 && fives >= right, "{accuracy:?}");
    let confusion = output.confusion.as_ref().unwrap();
    assert_eq!(confusion.truth, Truth::Label);
    let total: usize = confusion.cells.iter().map(|cell| cell.2).sum();
    let diagonal = confusion.cells.iter().filter(|cell| cell.0 == cell.1);
    assert_eq!(total, samples.len());
    assert_eq!(diagonal.map(|cell| cell.2).sum::<usize>(), right);
}

#[test]
fn points_are_few_and_meet_every_class() {
    let compiled = fixtures::compiled("digits-cnn", 1);
    let graph = graph("digits-cnn");
    let got = held_out(&compiled, Some(&graph), false);
    let points = &got.outputs[0].points;
    assert!(points.len() <= MAX_POINTS && points.len() > MAX_POINTS / 2);
    let step = compiled.model.facts()[compiled.model.outputs()[0].tensor]
        .quantization
        .unwrap()
        .scale;
    for [float, quantized] in points {
        assert!(
            (float - quantized).abs() <= 20.0 * step,
            "{float} {quantized}"
        );
    }
    assert_eq!(got, held_out(&compiled, Some(&graph), false));
    // serialized and back
    let json = serde_json::to_vec(&got).unwrap();
    assert!(json.len() < 200_000, "{} bytes", json.len());
    let _: Profile = serde_json::from_slice(&json).unwrap();
}

#[test]
fn another_models_file_is_refused() {
    let compiled = fixtures::compiled("digits-cnn", 1);
    let other = graph("digits-mlp");
    let error = Pairing::new(&other, &compiled.model, &compiled.report).unwrap_err();
    assert!(matches!(error, PairingError::Port { .. }), "{error}");
    let mut changed = graph("digits-cnn");
    let node = compiled.report.layers[1].name.clone();
    for n in changed.nodes.iter_mut().filter(|n| n.name == node) {
        n.name += "_else";
    }
    let error = Pairing::new(&changed, &compiled.model, &compiled.report).unwrap_err();
    assert!(error.to_string().contains(&node), "{error}");
}

#[test]
fn labels_that_do_not_fit_are_refused() {
    let compiled = fixtures::compiled("digits-cnn", 1);
    let model = &compiled.model;
    let file = file("digits-cnn.heldout.npz");
    let samples = model.samples(&file).unwrap();
    let run = |labels: &[f64]| {
        profile(model, &samples[..2], None, Some(labels), &mut |_, _| {}).unwrap_err()
    };
    assert!(matches!(
        run(&[1.0]),
        ProfileError::Labels {
            expected: 2,
            got: 1
        }
    ));
    for bad in [10.0, -1.0, 0.5] {
        let error = run(&[3.0, bad]);
        assert!(
            matches!(
                error,
                ProfileError::Label {
                    sample: 1,
                    classes: 10,
                    ..
                }
            ),
            "{error}"
        );
    }
    let error = labels(&file, "nothing").unwrap_err();
    assert!(error.to_string().contains("nothing"), "{error}");
}
