//! Operators that the importer spells in others: the float graph of every model of `models/float` against onnxruntime's outputs
//! (`models/make_float_ops.py` writes both), and the operators that it must have become.

use std::path::{Path, PathBuf};
use zkinfer_circuits::onnx::{self, FloatGraph, FloatOp};
use zkinfer_circuits::quantize::input::from_npz;

type Error = Box<dyn std::error::Error>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/float")
}

fn import(name: &str) -> Result<FloatGraph, Error> {
    let bytes = std::fs::read(folder().join(format!("{name}.onnx")))?;
    Ok(onnx::import(&bytes)?)
}

/// The largest error of a model on its samples, relative where values are larger than 1.
fn error(name: &str) -> Result<f64, Error> {
    let graph = import(name)?;
    let file = from_npz(&std::fs::read(folder().join(format!("{name}.npz")))?)?;
    let inputs: Vec<(&str, &[usize])> = graph
        .inputs
        .iter()
        .map(|&id| (graph.nodes[id].name.as_str(), &graph.nodes[id].shape[..]))
        .collect();
    let outputs: Vec<(&str, &[usize])> = graph
        .outputs
        .iter()
        .map(|(name, id)| (name.as_str(), &graph.nodes[*id].shape[..]))
        .collect();
    let (samples, expected) = (file.samples(&inputs)?, file.samples(&outputs)?);
    assert_eq!((samples.len(), expected.len()), (2, 2), "{name}");
    let mut worst = 0f64;
    for (sample, expected) in samples.iter().zip(expected) {
        let values = graph.evaluate(sample);
        for ((_, id), expected) in graph.outputs.iter().zip(expected) {
            assert_eq!(values[*id].len(), expected.len(), "{name}");
            for (&got, expected) in values[*id].iter().zip(expected) {
                let expected = f64::from(expected);
                // a NaN is an error too
                let error = (got - expected).abs() / expected.abs().max(1.0);
                worst = if error <= worst { worst } else { error };
            }
        }
    }
    Ok(worst)
}

#[test]
fn float_graphs_compute_what_onnxruntime_does() -> Result<(), Error> {
    let mut names: Vec<String> = std::fs::read_dir(folder())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|file| Some(file.strip_suffix(".onnx")?.to_owned()))
        .collect();
    names.sort();
    assert!(names.len() > 70, "{} models", names.len());
    let mut failures = vec![];
    for name in &names {
        match error(name) {
            Ok(error) if error < 1e-4 => {}
            Ok(error) => failures.push(format!("{name}: error {error}")),
            Err(e) => failures.push(format!("{name}: {e}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// How many nodes of a model have an operator of this name.
fn count(name: &str, operator: &str) -> Result<usize, Error> {
    let graph = import(name)?;
    let nodes = graph.nodes.iter().filter(|n| n.op.name() == operator);
    Ok(nodes.count())
}

#[test]
fn normalizations_become_one_operator() -> Result<(), Error> {
    for name in [
        "layer_norm_last",
        "layer_norm_inner",
        "layer_norm_all",
        "layer_norm_spelled_out",
        "layer_norm_with_pow",
        "instance_norm",
        "group_norm",
        "rms_norm_last",
        "rms_norm_inner",
        "rows_of_length_one",
        "moments",
    ] {
        assert_eq!(count(name, "RMSNormalization")?, 1, "{name}");
        let graph = import(name)?;
        let curved = graph
            .nodes
            .iter()
            .any(|n| matches!(n.op, FloatOp::Unary(_)));
        assert!(!curved, "{name} keeps a root or a square");
    }
    Ok(())
}

#[test]
fn windows_of_three_axes_become_windows_of_two() -> Result<(), Error> {
    for (name, operator) in [
        ("conv_3d", "Conv"),
        ("conv_transpose_3d", "Conv"),
        ("max_pool_3d", "MaxPool"),
        ("average_pool_3d", "SumPool"),
    ] {
        assert_eq!(count(name, operator)?, 1, "{name}");
    }
    Ok(())
}

#[test]
fn nearest_samples_only_move_elements() -> Result<(), Error> {
    for name in ["resize_nearest", "resize_nearest_down", "upsample_nearest"] {
        let graph = import(name)?;
        let moves = |op: &FloatOp| {
            matches!(
                op,
                FloatOp::Input { .. } | FloatOp::Gather { .. } | FloatOp::Layout { .. }
            )
        };
        assert!(graph.nodes.iter().all(|n| moves(&n.op)), "{name}");
    }
    Ok(())
}

#[test]
fn recurrent_forms_without_support_are_refused_and_say_what_is_supported() -> Result<(), Error> {
    for (name, words) in [
        ("lstm_clip", "a clip is not supported; expected none"),
        (
            "lstm_input_forget",
            "input_forget = 1 is not supported; expected 0",
        ),
        (
            "lstm_lengths",
            "a sequence of 2 steps of 3; expected all steps",
        ),
        ("gru_activation", "expected Sigmoid, Tanh or Relu"),
        ("rnn_direction", "W has the shape"),
    ] {
        let path = folder().join("refused").join(format!("{name}.onnx"));
        match onnx::import(&std::fs::read(path)?) {
            Ok(_) => return Err(format!("{name} is accepted").into()),
            Err(e) => assert!(e.to_string().contains(words), "{name}: {e}"),
        }
    }
    Ok(())
}

#[test]
fn what_has_no_fixed_meaning_is_refused_by_name() -> Result<(), Error> {
    for (name, words) in [
        ("mask_of_a_sum", "holds -inf at index 0"),
        ("mask_beside_a_softmax", "holds -inf at index 1"),
        ("mask_in_a_concat", "holds -inf"),
        ("mask_of_a_logarithm", "holds -inf"),
        ("split_sequence_beyond", ""),
        ("transpose_without_permutation", "the axes [1, 2, 1]"),
        ("split_sequence_negative", "member -1 of a sequence"),
        (
            "loop_of_computed_steps",
            "`loop`: Loop: the number of steps is computed",
        ),
        (
            "loop_of_a_computed_condition",
            "the condition of a step is computed",
        ),
        ("loop_of_rows", "the number of steps is computed"),
        ("loop_that_reads_too_early", "`t` is read before"),
        ("loop_without_end", "more than 16384 nodes"),
        ("loop_of_many_steps", "more than 16384 nodes"),
        (
            "loop_that_ends_unasked",
            "a condition that ends it beside none",
        ),
        (
            "batch_normalization_of_a_vector",
            "rank 1; expected a batch and channels",
        ),
        ("if_computed", "`if`: If: a computed condition"),
        (
            "loop_of_a_step_of_two_axes",
            "a step or condition of several axes",
        ),
        ("loop_with_a_scan", "a body within a Loop or an If"),
        (
            "loop_that_collects_nothing",
            "no step whose results could be collected",
        ),
        (
            "loop_that_makes_a_name_of_the_file",
            "`t` is made twice, or is called as another tensor",
        ),
        (
            "layer_normalization_of_a_missing_axis",
            "axis = -3; expected one of 2 axes",
        ),
        (
            "layer_normalization_of_a_far_axis",
            "axis = 4611686018427387904; expected one from -64 to 63",
        ),
        (
            "layer_normalization_of_a_negative_axis",
            "axis = -4611686018427387904; expected one from -64 to 63",
        ),
        (
            "scan_of_more_than_it_reads",
            "`scan`: Scan: num_scan_inputs = 1099511627776 of 2 inputs",
        ),
        ("pad_wrap_of_a_long_axis", "expected each within ±2^18"),
        (
            "transposed_convolution_of_large_images",
            "more than 4194304 elements",
        ),
        (
            "scan_of_a_huge_image",
            "1073741824], more than 4194304 elements",
        ),
        (
            "scan_of_a_long_symbol",
            "the tensor `r` has a size of 201 letters",
        ),
        ("scan_of_scans", "a body within 3 others"),
        (
            "scan_of_more_than_its_body_reads",
            "num_scan_inputs = 2 of 2 inputs, and a body of 1 inputs",
        ),
        ("reshape_to_many_axes", "rank 100; expected at most 16"),
        (
            "constant_of_many_axes",
            "the tensor `c` has 21 axes; expected at most 16",
        ),
        (
            "one_hot_of_a_missing_axis",
            "axis = -3; expected one of 2 axes",
        ),
        (
            "minimum_of_a_long_row",
            "it reduces 10000 elements; expected at most 8192",
        ),
        (
            "reversed_long_axis",
            "524288 elements are kept in steps of -1",
        ),
        (
            "many_pools_of_many_taps",
            "the pools up to it have more than 67108864 taps",
        ),
        ("expand_to_many_axes", "rank 100; expected at most 16"),
        ("unsqueeze_to_many_axes", "rank 101; expected at most 16"),
        (
            "constant_of_a_shape_of_many_axes",
            "rank 100; expected at most 16",
        ),
        (
            "input_of_many_axes",
            "the tensor `x` has 9 axes; expected at most 8",
        ),
        ("node_without_any_name", "node 0 has no name"),
        ("pads_beyond_of_a_short_name", "(node `a`)"),
        (
            "reversed_long_sequences",
            "524288 elements; expected at most 2^18",
        ),
        (
            "dense_block_of_many_moves",
            "more than 25165824 elements are moved",
        ),
        ("products_with_zero", "the layers up to it hold more than"),
        (
            "scan_of_scans_of_many_steps",
            "nodes of all steps are, with those of loops before, more than 131072",
        ),
        ("pads_beyond", "`pad`"),
        (
            "softmax_of_a_missing_axis",
            "axis = 7; expected one of 2 axes",
        ),
        ("pool_of_many_taps", "more than 2^28 taps"),
        (
            "pool_of_many_taps_of_volumes",
            "its windows read more than 8388608 elements",
        ),
        ("resize_of_many_weights", "more than 16777216 weights"),
        ("resize_of_many_samples", "more than 134217728 samples"),
        (
            "resize_to_a_huge_image",
            "1073741824], more than 4194304 elements",
        ),
        (
            "resize_to_a_large_image",
            "expected fewer than 2^21 elements",
        ),
        ("input_of_many_elements", "`x` has the shape [8388608]"),
    ] {
        let path = folder().join("refused").join(format!("{name}.onnx"));
        match onnx::import(&std::fs::read(path)?) {
            Ok(_) => return Err(format!("{name} is accepted").into()),
            Err(e) => assert!(e.to_string().contains(words), "{name}: {e}"),
        }
    }
    Ok(())
}

#[test]
fn large_networks_are_read() -> Result<(), Error> {
    let mut n = 0;
    for entry in std::fs::read_dir(folder().join("accepted"))? {
        let path = entry?.path();
        onnx::import(&std::fs::read(&path)?).map_err(|e| format!("{}: {e}", path.display()))?;
        n += 1;
    }
    assert_eq!(n, 5);
    Ok(())
}

/// Prints the float graph of the models named in `GRAPHS` (paths, separated by commas).
#[test]
#[ignore = "prints; set GRAPHS"]
fn print_graphs() -> Result<(), Error> {
    for path in std::env::var("GRAPHS")?.split(',') {
        println!("{path}");
        let bytes = std::fs::read(path)?;
        match onnx::import(&bytes) {
            Err(e) => println!("  {e}"),
            Ok(graph) => {
                for (id, node) in graph.nodes.iter().enumerate() {
                    let (name, op) = (&node.name, node.op.name());
                    println!("  {id} {name}: {op} {:?} → {:?}", node.inputs, node.shape);
                }
            }
        }
    }
    Ok(())
}
