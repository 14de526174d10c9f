//! Eight and sixteen bits: what the quantizer chooses and says about it, and what a caller may choose instead.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use zkinfer_circuits::arithmetization::halo2::Halo2Circuit;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::{Program, solve};
use zkinfer_circuits::onnx::{FloatGraph, FloatNode, FloatOp};
use zkinfer_circuits::quantize::input::from_npz;
use zkinfer_circuits::quantize::profile::tensors_of;
use zkinfer_circuits::quantize::{
    Calibration, LayerReport, PrecisionError, QuantizeError, Reason, quantize_with, ranges,
};
use zkinfer_circuits::testing::{Forger, Halo2Forger};
use zkinfer_circuits::{CompileError, Compiled, Precision, Precisions, Report, Settings, compile};
use zkinfer_verifier::{Dtype, Visibility};

use Precision::{Int8, Int16};

const TRANSFORMER: &str = "tiny-transformer";

fn read(name: &str) -> Option<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    std::fs::read(folder.join(name)).ok()
}

fn samples(model: &str) -> Vec<u8> {
    let calibration = read(&format!("{model}.calibration.npz"));
    calibration.unwrap_or_else(|| read(&format!("{model}.npz")).unwrap())
}

fn chosen(choices: &[(&str, Precision)]) -> Precisions {
    let mut precisions = Precisions::default();
    for (node, precision) in choices {
        assert_eq!(precisions.choose(node, *precision), None);
    }
    precisions
}

fn try_compile(model: &str, choices: &[(&str, Precision)]) -> Result<Compiled, CompileError> {
    // a word of a statement holds no part of an int16
    let output = match model.starts_with("ops/") {
        true => Visibility::Private,
        false => Visibility::Public,
    };
    let settings = Settings {
        input: output,
        output,
        precisions: chosen(choices),
        ..Settings::default()
    };
    let calibration = Calibration::from_npz(&samples(model)).unwrap();
    let onnx = read(&format!("{model}.onnx")).unwrap();
    compile(&onnx, &calibration, &settings, &mut |_, _, _| {})
}

fn compiled(model: &str, choices: &[(&str, Precision)]) -> Compiled {
    try_compile(model, choices).unwrap()
}

fn refusal(model: &str, choices: &[(&str, Precision)]) -> PrecisionError {
    match try_compile(model, choices) {
        Err(CompileError::Quantize(QuantizeError::Precision(e))) => e,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("accepted"),
    }
}

/// The last line of a report about a node.
fn layer<'a>(report: &'a Report, node: &str) -> &'a LayerReport {
    report.layers.iter().rfind(|l| l.name == node).unwrap()
}

fn told(report: &Report, node: &str) -> (String, Reason) {
    let integers = layer(report, node).integers.as_ref().unwrap();
    (integers.type_name(), integers.reason.clone())
}

fn read_by(op: &str, node: &str, through_sums: bool) -> Reason {
    Reason::ReadBy {
        op: op.to_owned(),
        node: node.to_owned(),
        through_sums,
    }
}

/// solve = eval and every honest check, on two samples: both forms of R1CS where plain rows exist, and Halo2.
fn is_proveable(compiled: &Compiled, name: &str, plain: bool) {
    let Compiled { model, program, .. } = compiled;
    assert_eq!(Program::decode(&program.encode()).unwrap(), *program);
    let program = Arc::new(program.clone());
    let all = model.samples(&from_npz(&samples(name)).unwrap()).unwrap();
    let forms = [(Form::Plain, plain), (Form::Committed, true)];
    let forms = forms.into_iter().filter(|(_, wanted)| *wanted);
    let circuits: Vec<R1cs> = forms
        .map(|(form, _)| R1cs::lower(&program, form).unwrap())
        .collect();
    let halo2 = Halo2Circuit::lower(&program).unwrap();
    for sample in all.iter().take(2) {
        let inputs = model.quantize_input(sample).unwrap();
        let solved = solve(&program, &inputs).unwrap();
        assert_eq!(solved.outputs(&program), model.eval(&inputs).unwrap());
        for circuit in &circuits {
            Forger::new(circuit, &solved).check_honest().unwrap();
        }
        let forger = Halo2Forger::new(&halo2, &solved);
        assert!(forger.accepts_unchanged(None));
        if plain {
            // in the library's mock prover
            forger.check_honest().unwrap();
        }
    }
}

#[test]
fn the_report_says_which_tensors_are_wide_and_why() {
    let report = compiled(TRANSFORMER, &[]).report;
    let usual = ("int8".to_owned(), Reason::Usual);
    for node in ["input", "n8", "n10", "n38", "n42", "n45"] {
        assert_eq!(told(&report, node), usual, "{node}");
    }
    // the residual stream, and what is added to it
    let stream = read_by("RMSNormalization", "n34", true);
    assert_eq!(told(&report, "n30"), ("18 bits".to_owned(), stream.clone()));
    let branch = report.layers.iter().find(|l| l.name == "n28").unwrap();
    assert_eq!(branch.integers.as_ref().unwrap().reason, stream);
    let centred = read_by("RMSNormalization", "n34", false);
    assert_eq!(told(&report, "n32").1, centred);
    assert_eq!(told(&report, "n22").1, read_by("Softmax", "n24", false));
    assert_eq!(told(&report, "n24"), ("int16".to_owned(), Reason::Operator));
    assert_eq!(told(&report, "n31").1, Reason::Exact);
    let text = report.to_string();
    assert!(text.contains("RMSNormalization n34 reads it through sums"));
    assert!(text.contains("Softmax n24 reads it"));
}

#[test]
fn every_line_of_a_report_names_its_tensor_and_older_reports_still_read() {
    let Compiled { model, report, .. } = compiled(TRANSFORMER, &[("n42", Int16)]);
    let expected: Vec<_> = report.layers.iter().map(|l| l.tensor).collect();
    assert!(expected.iter().all(|t| t.is_some()));
    assert_eq!(tensors_of(&model, &report), expected);
    for (layer, tensor) in report.layers.iter().zip(&expected) {
        let interval = model.facts()[tensor.unwrap()].interval;
        let integers = layer.integers.as_ref().unwrap();
        assert_eq!(
            (integers.least, integers.largest),
            (interval.lo, interval.hi)
        );
    }
    // numbers change in their last place on the way through a file
    let again: Report = serde_json::from_slice(&serde_json::to_vec(&report).unwrap()).unwrap();
    let told = |r: &Report| {
        let layers = r.layers.iter();
        let told: Vec<_> = layers
            .map(|l| (l.name.clone(), l.integers.clone()))
            .collect();
        told
    };
    assert_eq!(told(&again), told(&report));
    assert_eq!(tensors_of(&model, &again), expected);

    let usual = compiled(TRANSFORMER, &[]);
    let mut older = serde_json::to_value(&usual.report).unwrap();
    for layer in older["layers"].as_array_mut().unwrap() {
        layer.as_object_mut().unwrap().remove("integers").unwrap();
        layer.as_object_mut().unwrap().remove("tensor").unwrap();
    }
    let older: Report = serde_json::from_value(older).unwrap();
    assert!(older.layers.iter().all(|l| l.integers.is_none()));
    let expected: Vec<_> = usual.report.layers.iter().map(|l| l.tensor).collect();
    assert_eq!(tensors_of(&usual.model, &older), expected);
}

#[test]
fn a_residual_stream_of_eight_bits_costs_accuracy_and_the_report_shows_it() {
    let usual = compiled(TRANSFORMER, &[]);
    let narrow = compiled(TRANSFORMER, &[("n30", Int8)]);
    assert_ne!(usual.model.model_id(), narrow.model.model_id());
    assert_ne!(usual.program.digest(), narrow.program.digest());
    let chosen = ("int8".to_owned(), Reason::Chosen);
    assert_eq!(told(&narrow.report, "n30"), chosen);
    // what is added to it needs no digits any more
    assert_eq!(told(&narrow.report, "n28").1, Reason::Usual);
    for node in ["n30", "n34"] {
        let errors = [&usual, &narrow].map(|c| layer(&c.report, node).mean_error);
        println!("{node}: {errors:?}");
        assert!(errors[1] > 1.05 * errors[0], "{node}: {errors:?}");
    }
    is_proveable(&narrow, TRANSFORMER, false);
}

#[test]
fn sixteen_bits_make_a_layer_of_eight_finer() {
    for (model, op) in [
        ("digits-mlp", "Clip"),
        ("ops/conv_batch_norm_relu", "Clip"),
        ("ops/sigmoid", "Sigmoid"),
    ] {
        let usual = compiled(model, &[]);
        let lines = &usual.report.layers;
        let found = lines.iter().find(|l| l.op == op);
        let node = found
            .unwrap_or_else(|| panic!("{model}: {}", usual.report))
            .name
            .clone();
        let wide = compiled(model, &[(&node, Int16)]);
        let (name, reason) = told(&wide.report, &node);
        assert_eq!(
            (name.as_str(), reason),
            ("int16", Reason::Chosen),
            "{model}"
        );
        let errors = [&usual, &wide].map(|c| layer(&c.report, &node).mean_error);
        println!("{model}, {node}: {errors:?}");
        assert!(errors[1] < 0.95 * errors[0], "{model}: {errors:?}");
        is_proveable(&wide, model, model.starts_with("ops/"));
    }
}

#[test]
fn a_finer_input_does_not_coarsen_the_weights_that_read_it() {
    let usual = compiled(TRANSFORMER, &[]);
    for (node, reader) in [("n42", "n43"), ("n8", "n10"), ("n8", "n18")] {
        let wide = compiled(TRANSFORMER, &[(node, Int16)]);
        let errors = [&usual, &wide].map(|c| layer(&c.report, reader).mean_error);
        println!("{reader} behind {node}: {errors:?}");
        assert!(errors[1] < errors[0], "{reader} behind {node}: {errors:?}");
    }
}

#[test]
fn every_kind_of_node_can_be_brought_to_either_precision() {
    // a sum, the scores, the shares, a normalization, affine and dense layers, a mean, in a transformer
    let nodes = ["n30", "n22", "n24", "n34", "n8", "n10", "n31", "n42", "n25"];
    for precision in [Int8, Int16] {
        let choices: Vec<_> = nodes.iter().map(|&node| (node, precision)).collect();
        let compiled = compiled(TRANSFORMER, &choices);
        println!("{}", compiled.report);
        for node in nodes {
            let (name, reason) = told(&compiled.report, node);
            assert_eq!(
                (name, reason),
                (precision.to_string(), Reason::Chosen),
                "{node}"
            );
        }
        is_proveable(&compiled, TRANSFORMER, false);
    }
}

#[test]
fn inputs_and_outputs_take_the_type_that_is_chosen() {
    let usual = compiled("ops/gemm_alpha_beta", &[]);
    let names = usual.report.layers.iter().map(|l| l.name.clone());
    let names: Vec<String> = names.collect();
    let choices: Vec<_> = names.iter().map(|name| (name.as_str(), Int16)).collect();
    let wide = compiled("ops/gemm_alpha_beta", &choices);
    let types: Vec<Dtype> = wide
        .model
        .layout()
        .tensors
        .iter()
        .map(|t| t.dtype)
        .collect();
    assert_eq!(types, [Dtype::Int16, Dtype::Int16]);
    is_proveable(&wide, "ops/gemm_alpha_beta", true);
    let steps = |c: &Compiled| {
        c.report.outputs[0].max_error_steps * layer(&c.report, names.last().unwrap()).scale
    };
    assert!(
        steps(&wide) < 0.5 * steps(&usual),
        "{} {}",
        usual.report,
        wide.report
    );

    let usual = compiled("digits-mlp", &[]);
    let logits = usual.report.layers.last().unwrap().name.clone();
    let wide = compiled("digits-mlp", &[(&logits, Int16)]);
    let types = [&usual, &wide].map(|c| c.model.layout().tensors[1].dtype);
    assert_eq!(types, [Dtype::Int8, Dtype::Int16]);
    is_proveable(&wide, "digits-mlp", false);
}

#[test]
fn choices_do_not_depend_on_their_order_and_none_changes_nothing() {
    let [a, b] = [
        [("n42", Int16), ("n30", Int8)],
        [("n30", Int8), ("n42", Int16)],
    ]
    .map(|choices| compiled(TRANSFORMER, &choices));
    assert_eq!(a.model.encode(), b.model.encode());
    assert_eq!(a.program.digest(), b.program.digest());
    assert_eq!(a.report, b.report);
    // what the quantizer chooses anyway
    let [usual, same] = [vec![], vec![("n42", Int8)]].map(|c| compiled(TRANSFORMER, &c));
    assert_eq!(usual.model.encode(), same.model.encode());
}

#[test]
fn names_that_no_node_has_are_refused_with_the_nearest() {
    let error = refusal(TRANSFORMER, &[("n3O", Int8)]);
    let expected = PrecisionError::Unknown {
        node: "n3O".to_owned(),
        nearest: "n30".to_owned(),
    };
    assert_eq!(error, expected);
    let text = error.to_string();
    assert!(text.contains("`n3O`") && text.contains("`n30`"), "{text}");
}

#[test]
fn nodes_that_others_take_in_or_that_only_move_are_refused() {
    // the dense layer before the Relu n42
    let graph = zkinfer_circuits::onnx::import(&read("tiny-transformer.onnx").unwrap()).unwrap();
    let relu = graph.nodes.iter().position(|n| n.name == "n42").unwrap();
    let dense = graph.nodes[graph.nodes[relu].inputs[0]].name.clone();
    for precision in [Int8, Int16] {
        let expected = PrecisionError::Fused {
            node: dense.clone(),
            into: "n42".to_owned(),
        };
        assert_eq!(refusal(TRANSFORMER, &[(&dense, precision)]), expected);
    }
    let expected = PrecisionError::Kept {
        node: "n12".to_owned(),
        from: "n10".to_owned(),
    };
    assert_eq!(refusal(TRANSFORMER, &[("n12", Int16)]), expected);
    compiled(TRANSFORMER, &[("n12", Int8)]);
    // it moves what is wide
    compiled(TRANSFORMER, &[("n28", Int16)]);
}

#[test]
fn files_that_give_their_integers_are_left_as_they_are() {
    let onnx = read("quantized/digits-mlp.qdq-s8.onnx").unwrap();
    let graph = zkinfer_circuits::onnx::import(&onnx).unwrap();
    let name = graph.nodes[0].name.clone();
    let settings = Settings {
        precisions: chosen(&[(&name, Int16)]),
        ..Settings::default()
    };
    let refused = compile(&onnx, &Calibration::none(), &settings, &mut |_, _, _| {});
    let Err(CompileError::Quantize(QuantizeError::Precision(error))) = refused else {
        panic!("accepted")
    };
    assert_eq!(error, PrecisionError::Given { node: name });
}

#[test]
fn whole_numbers_have_no_precision() {
    let input = FloatNode {
        name: "x".to_owned(),
        op: FloatOp::Input { dtype: None },
        inputs: vec![],
        shape: vec![1, 4],
    };
    let place = FloatNode {
        name: "place".to_owned(),
        op: FloatOp::ArgExtremum {
            n: 4,
            largest: true,
            last: false,
        },
        inputs: vec![0],
        shape: vec![1, 1],
    };
    let graph = FloatGraph {
        nodes: vec![input, place],
        inputs: vec![0],
        outputs: vec![("place".to_owned(), 1)],
        given: None,
    };
    let ranges = ranges(&graph, &[vec![vec![1.0, -2.0, 0.5, 3.0]]]).unwrap();
    for precision in [Int8, Int16] {
        let chosen = chosen(&[("place", precision)]);
        let error = quantize_with(&graph, &ranges, Default::default(), &chosen).unwrap_err();
        assert!(error.to_string().contains("`place`"), "{error}");
        assert!(error.to_string().contains("whole numbers"), "{error}");
    }
}

/// Numbers between −3 and 3 for the inputs of a graph, none of them so near to 0 that its integer has no sign.
fn drawn(graph: &FloatGraph, n_samples: usize) -> Vec<Vec<Vec<f32>>> {
    let mut state = 1u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let drawn = (state >> 40) as f32 / (1u64 << 24) as f32 * 6.0 - 3.0;
        if drawn.abs() < 0.1 { 0.1 } else { drawn }
    };
    let mut sample = || {
        let inputs = graph.inputs.iter().map(|&id| graph.nodes[id].len());
        inputs
            .map(|len| (0..len).map(|_| next()).collect())
            .collect()
    };
    (0..n_samples).map(|_| sample()).collect()
}

#[test]
fn a_mask_costs_the_scores_no_digits() {
    for way in ["added", "chosen", "computed"] {
        for value in ["infinite", "least", "ten_thousand"] {
            let name = format!("mask_{way}_{value}");
            let graph =
                zkinfer_circuits::onnx::import(&read(&format!("float/{name}.onnx")).unwrap());
            let graph = graph.unwrap();
            let mut samples = drawn(&graph, 60);
            if way == "computed" {
                // a row of nothing but masked scores shows the differences between them
                let keys = samples.iter_mut().map(|sample| &mut sample[1]);
                keys.for_each(|k| k.chunks_mut(4).for_each(|row| row[0] = 1.0));
            }
            let ranges = ranges(&graph, &samples).unwrap();
            let precisions = Precisions::default();
            let quantized = quantize_with(&graph, &ranges, Default::default(), &precisions);
            let model = quantized.unwrap().model;
            let fact = &model.facts()[model.outputs()[0].tensor];
            let share = fact.quantization.unwrap();
            let (mut worst, mut sum, mut n) = (0f64, 0.0, 0);
            for sample in &samples {
                let expected = &graph.evaluate(sample)[graph.outputs[0].1];
                let inputs = model.quantize_input(sample).unwrap();
                let got = &model.eval(&inputs).unwrap()[0].data;
                for (&got, &expected) in got.iter().zip(expected) {
                    let error = (share.dequantize(got) - expected).abs();
                    (worst, sum, n) = (worst.max(error), sum + error, n + 1);
                }
            }
            let program = Arc::new(model.synthesize().unwrap());
            let inputs = model.quantize_input(&samples[0]).unwrap();
            let solved = solve(&program, &inputs).unwrap();
            let circuit = R1cs::lower(&program, Form::Committed).unwrap();
            Forger::new(&circuit, &solved).check_honest().unwrap();
            let mean = sum / f64::from(n);
            println!(
                "{name}: mean {mean:.5}, worst {worst:.4}, {} rows",
                circuit.n_rows()
            );
            assert!(mean < 0.003 && worst < 0.02, "{name}: {mean} {worst}");
        }
    }
}
