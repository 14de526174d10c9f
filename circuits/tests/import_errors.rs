//! Files and samples that must be refused with a sentence that says what is wrong, and never with a panic.

use std::path::Path;
use zkinfer_circuits::onnx::{self, ImportError};
use zkinfer_circuits::quantize::input::{from_json, from_npz};
use zkinfer_circuits::quantize::{Calibration, CalibrationError, InputError, QuantizeError};
use zkinfer_circuits::{CompileError, Settings, compile};

fn read(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/models")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn refusal(bytes: &[u8]) -> ImportError {
    match onnx::import(bytes) {
        Err(e) => e,
        Ok(_) => panic!("accepted"),
    }
}

/// The message of `bad/NAME.onnx` must contain every word.
fn refuses(name: &str, words: &[&str]) {
    let message = refusal(&read(&format!("bad/{name}.onnx"))).to_string();
    for word in words {
        assert!(message.contains(word), "{name}: {message}");
    }
}

fn compile_error(model: &str, calibration: &Calibration) -> CompileError {
    match compile(
        &read(model),
        calibration,
        &Settings::default(),
        &mut |_, _, _| {},
    ) {
        Err(e) => e,
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn empty_file_is_refused() {
    assert_eq!(refusal(&[]), ImportError::Empty);
}

#[test]
fn every_truncation_is_refused() {
    let bytes = read("digits-mlp.onnx");
    for end in (1..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
        assert!(onnx::import(&bytes[..end]).is_err(), "{end} bytes accepted");
    }
}

#[test]
fn files_that_are_not_onnx_are_refused() {
    for bytes in [
        &b"hello, this is not a model"[..],
        &[0xff; 64],
        &read("digits-mlp.heldout.npz"),
        b"\x08\x08",
        b"{}",
    ] {
        let message = refusal(bytes).to_string();
        assert!(message.contains("ONNX"), "{message}");
    }
}

#[test]
fn damaged_files_never_panic() {
    let bytes = read("bad/../ops/conv_group.onnx");
    for i in 0..bytes.len() {
        for flip in [0x01, 0x80, 0x7f] {
            let mut damaged = bytes.clone();
            damaged[i] ^= flip;
            // many stay valid models; none may panic out of `import`
            let _ = onnx::import(&damaged);
        }
    }
}

#[test]
fn sizes_that_are_only_claimed_are_refused() {
    refuses("claims_1_gb", &["`w`", "1073741824", "48"]);
    refuses("huge_input", &["`x`", "elements"]);
    // found by fuzzing: 187 bytes that took seconds and gigabytes
    refuses(
        "resize_large",
        &["`resize_0`", "more than 4194304 elements"],
    );
}

#[test]
fn unsupported_operators_name_the_node_and_the_list() {
    refuses(
        "unsupported_op",
        &[
            "bitshift_0",
            "BitShift",
            "in its place: Mul or Div by a power of two",
        ],
    );
    refuses("unsupported_domain", &["relu_0", "com.example.Relu"]);
    refuses(
        "batch_norm_training",
        &["batchnormalization_0", "training_mode = 1"],
    );
}

#[test]
fn dynamic_shapes_name_the_input() {
    refuses("dynamic_batch", &["`x`", "[batch, 4]", "fixed"]);
    refuses("unknown_rank", &["`x`", "fixed"]);
    refuses("integer_input", &["gemm_0", "F32 with I8"]);
}

#[test]
fn weights_that_are_not_finite_name_the_tensor() {
    refuses("nan_weight", &["`w`", "NaN", "index 7"]);
    refuses("infinite_weight", &["`w`", "-inf", "index 2"]);
}

#[test]
fn weights_outside_the_file_are_refused() {
    refuses("external_data", &["`w`", "another file"]);
}

#[test]
fn pads_that_no_tensor_has_name_the_node_and_the_bound() {
    let file = read("float/pad_wrap.onnx");
    // the initializer `p`, and six int64 as its raw data
    let start = file.windows(5).position(|w| w == b"B\x01pJ\x30");
    let start = start.unwrap_or_else(|| panic!("no pads")) + 5;
    for pad in [
        i64::MIN,
        -(1 << 62),
        -(1 << 18) - 1,
        (1 << 18) + 1,
        i64::MAX,
    ] {
        for at in (start..start + 48).step_by(8) {
            let mut file = file.clone();
            file[at..at + 8].copy_from_slice(&pad.to_le_bytes());
            let error = refusal(&file);
            assert!(matches!(error, ImportError::Parser(_)), "{error}");
            let message = error.to_string();
            for word in ["pad_0", &pad.to_string(), "within ±2^18"] {
                assert!(message.contains(word), "{message}");
            }
        }
    }
}

#[test]
fn inconsistent_graphs_are_refused() {
    refuses("missing_input", &["nowhere"]);
    refuses("weights_do_not_fit", &["not consistent"]);
}

#[test]
fn calibration_that_leaves_a_range_degenerate_names_the_tensor() {
    let ones = from_samples("{\"input_data\": [[1, 2, 3, 4]]}");
    match compile_error("bad/always_zero.onnx", &ones) {
        CompileError::Quantize(QuantizeError::DegenerateRange { tensor, .. }) => {
            assert!(tensor.contains("relu_2"), "{tensor}")
        }
        other => panic!("{other}"),
    }
    let zeros = from_samples(&format!("{{\"input_data\": [{:?}]}}", vec![0; 64]));
    match compile_error("digits-mlp.onnx", &zeros) {
        CompileError::Quantize(QuantizeError::DegenerateRange { tensor, .. }) => {
            assert_eq!(tensor, "input")
        }
        other => panic!("{other}"),
    }
}

fn from_samples(json: &str) -> Calibration {
    Calibration::from_json(json.as_bytes()).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn calibration_of_another_shape_or_with_nan_is_refused() {
    let wrong = Calibration::from_npz(&read("lenet5-mnist-shape.calibration.npz"));
    let wrong = wrong.unwrap_or_else(|e| panic!("{e}"));
    assert!(matches!(
        compile_error("digits-mlp.onnx", &wrong),
        CompileError::Calibration(CalibrationError::Input(InputError::Shape { .. }))
    ));
    let short = from_samples("{\"input_data\": [[1, 2, 3]]}");
    assert!(
        compile_error("digits-mlp.onnx", &short)
            .to_string()
            .contains("[1, 64]")
    );
    let two = from_samples("{\"input_data\": [[1], [2]]}");
    assert!(
        compile_error("digits-mlp.onnx", &two)
            .to_string()
            .contains("2 lists")
    );
    let mut values = vec!["0.5".to_owned(); 128];
    values[64 + 7] = "1e300".to_owned();
    let huge = from_samples(&format!("{{\"input_data\": [[{}]]}}", values.join(",")));
    match compile_error("digits-mlp.onnx", &huge) {
        CompileError::Calibration(CalibrationError::Input(InputError::NonFinite {
            sample,
            index,
            ..
        })) => {
            assert_eq!((sample, index), (1, 7));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn json_of_another_form_is_refused() {
    for json in [
        "",
        "[1, 2]",
        "{}",
        "{\"input_data\": 3}",
        "{\"input_data\": [1, 2]}",
        "{\"input_data\": [[\"a\"]]}",
        "{\"input_data\": [[null]]}",
        "{\"input_data\": [[NaN]]}",
        "{\"input_data\": [[1]",
    ] {
        assert!(from_json(json.as_bytes()).is_err(), "{json}");
    }
    let deep = format!(
        "{{\"input_data\": {}1{}}}",
        "[".repeat(100),
        "]".repeat(100)
    );
    assert!(from_json(deep.as_bytes()).is_err());
}

#[test]
fn damaged_archives_are_refused_without_panic() {
    let bytes = read("digits-mlp.calibration.npz");
    for end in (0..bytes.len()).step_by(61) {
        assert!(from_npz(&bytes[..end]).is_err());
    }
    for i in (0..bytes.len()).step_by(5) {
        let mut damaged = bytes.clone();
        damaged[i] ^= 0x41;
        if let Ok(file) = from_npz(&damaged) {
            let _ = file.samples(&[("x", &[1, 64])]);
        }
    }
}
