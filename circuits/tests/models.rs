//! Whole models: the float graph against onnxruntime, the integer model against the float model, the program against the
//! integer model.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::solve;
use zkinfer_circuits::quantize::input::from_npz;
use zkinfer_circuits::quantize::{Calibration, InputFile};
use zkinfer_circuits::tensor::Tensor;
use zkinfer_circuits::testing::Forger;
use zkinfer_circuits::{Compiled, Model, Program, Settings, compile, onnx};

type Error = Box<dyn std::error::Error>;

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models")
}

fn read(name: &str) -> Result<Vec<u8>, Error> {
    Ok(std::fs::read(models().join(name))?)
}

fn argmax<T: PartialOrd>(values: &[T]) -> usize {
    (0..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

fn compiled(name: &str) -> Result<Compiled, Error> {
    let calibration = Calibration::from_npz(&read(&format!("{name}.calibration.npz"))?)?;
    Ok(compile(
        &read(&format!("{name}.onnx"))?,
        &calibration,
        &Settings::default(),
        &mut |_, _, _| {},
    )?)
}

/// Flat tensors of one array of a file, sample by sample.
fn array(file: &InputFile, name: &str, shape: &[usize]) -> Result<Vec<Vec<f32>>, Error> {
    Ok(file
        .samples(&[(name, shape)])?
        .into_iter()
        .map(|mut sample| sample.remove(0))
        .collect())
}

/// Checks a model on its held-out samples; `accuracy` asks for the trained models' bounds.
fn check(name: &str, accuracy: bool) -> Result<(), Error> {
    let Compiled {
        model,
        program,
        report,
    } = compiled(name)?;
    println!("{name}\n{report}");
    let graph = onnx::import(&read(&format!("{name}.onnx"))?)?;
    let file = from_npz(&read(&format!("{name}.heldout.npz"))?)?;
    let samples = model.samples(&file)?;
    let output = &model.facts()[model.outputs()[0].tensor];
    let step = output.quantization.ok_or("output without a scale")?.scale;
    let float_y = array(&file, "y", &output.shape)?;
    let labels = if accuracy {
        array(&file, "label", &[])?
    } else {
        vec![]
    };

    let (mut agree, mut right, mut float_right, mut worst) = (0usize, 0usize, 0usize, 0.0f64);
    for (i, sample) in samples.iter().enumerate() {
        let values = graph.evaluate(sample);
        let float = &values[graph.outputs[0].1];
        let largest = float.iter().fold(1.0f64, |m, v| m.max(v.abs()));
        for (ours, theirs) in float.iter().zip(&float_y[i]) {
            let error = (ours - f64::from(*theirs)).abs();
            assert!(
                error <= 1e-4 * largest,
                "{name}: sample {i}: float graph {ours}, onnxruntime {theirs}"
            );
        }
        let integers = model.eval(&model.quantize_input(sample)?)?;
        let real = &model.dequantize(&integers)[0];
        worst = real
            .iter()
            .zip(&float_y[i])
            .fold(worst, |w, (a, b)| w.max((a - f64::from(*b)).abs()));
        agree += usize::from(argmax(&integers[0].data) == argmax(&float_y[i]));
        if accuracy {
            let label = labels[i][0] as usize;
            right += usize::from(argmax(&integers[0].data) == label);
            float_right += usize::from(argmax(&float_y[i]) == label);
        }
    }
    let n = samples.len();
    println!(
        "{name}: {n} held out: argmax agrees on {agree}, right {right}, float right {float_right}, worst error {:.2} steps",
        worst / step
    );
    if accuracy {
        assert!(
            agree * 100 >= 98 * n,
            "{name}: argmax agrees on {agree} of {n}"
        );
        assert!(
            (right + n / 100) >= float_right,
            "{name}: right on {right}, the float model on {float_right}"
        );
    }
    assert!(
        worst / step <= 20.0,
        "{name}: worst error {} steps",
        worst / step
    );

    assert_eq!(
        Program::decode(&program.encode())?.digest(),
        program.digest()
    );
    let program = Arc::new(program);
    for sample in samples.iter().take(2) {
        let inputs = model.quantize_input(sample)?;
        let assignment = solve(&program, &inputs)?;
        assert_eq!(assignment.outputs(&program), model.eval(&inputs)?);
    }
    // matrices, their transposes and the prover's trace agree
    let assignment = solve(&program, &model.quantize_input(&samples[0])?)?;
    let circuit = R1cs::lower(&program, Form::Committed)?;
    Forger::new(&circuit, &assignment).check_honest()?;
    let bytes = model.encode();
    let decoded = Model::decode(&bytes)?;
    assert_eq!(decoded, model);
    assert_eq!(decoded.model_id(), model.model_id());
    assert_eq!(program.layout(), &model.layout());
    Ok(())
}

#[test]
fn digits_mlp_keeps_its_accuracy() -> Result<(), Error> {
    check("digits-mlp", true)
}

#[test]
fn digits_cnn_keeps_its_accuracy() -> Result<(), Error> {
    check("digits-cnn", true)
}

#[test]
fn lenet5_keeps_its_accuracy() -> Result<(), Error> {
    check("lenet5-mnist-shape", true)
}

#[test]
fn mlp_100k_stays_close_to_its_float_model() -> Result<(), Error> {
    check("mlp-100k", false)
}

#[test]
fn cnn_cifar_tiny_stays_close_to_its_float_model() -> Result<(), Error> {
    check("cnn-cifar-tiny", false)
}

#[test]
fn cnn_cifar_small_stays_close_to_its_float_model() -> Result<(), Error> {
    check("cnn-cifar-small", false)
}

#[test]
fn tiny_transformer_stays_close_to_its_float_model() -> Result<(), Error> {
    check("tiny-transformer", false)
}

#[test]
fn tiny_transformer_with_layer_normalization_and_gelu_stays_close_to_its_float_model()
-> Result<(), Error> {
    check("tiny-transformer-ln17", false)
}

#[test]
fn compiling_twice_gives_the_same_bytes() -> Result<(), Error> {
    let (a, b) = (compiled("digits-cnn")?, compiled("digits-cnn")?);
    assert_eq!(a.model.encode(), b.model.encode());
    assert_eq!(a.model.model_id(), b.model.model_id());
    assert_eq!(a.program.digest(), b.program.digest());
    assert_eq!(a.report, b.report);
    Ok(())
}

#[test]
fn sample_json_holds_an_input() -> Result<(), Error> {
    for name in ["digits-mlp", "digits-cnn", "lenet5-mnist-shape"] {
        let model = compiled(name)?.model;
        let samples = model.samples(&InputFile::parse(&read(&format!("{name}.json"))?)?)?;
        assert_eq!(samples.len(), 1);
        model.eval(&model.quantize_input(&samples[0])?)?;
    }
    Ok(())
}

#[test]
fn inputs_beyond_the_calibrated_range_saturate() -> Result<(), Error> {
    let model = compiled("digits-mlp")?.model;
    for value in [f32::MAX, -f32::MAX, 1e9, -0.0] {
        let inputs = model.quantize_input(&[vec![value; 64]])?;
        assert!(inputs[0].data.iter().all(|v| (-128..=127).contains(v)));
        model.eval(&inputs)?;
    }
    assert!(model.quantize_input(&[vec![f32::NAN; 64]]).is_err());
    assert!(model.quantize_input(&[vec![0.0; 63]]).is_err());
    let wide = Tensor {
        shape: vec![1, 64],
        data: vec![128; 64],
    };
    assert!(model.eval(&[wide]).is_err());
    Ok(())
}

#[test]
fn damaged_model_bytes_are_refused_without_panic() -> Result<(), Error> {
    let bytes = compiled("digits-mlp")?.model.encode();
    for end in (0..bytes.len()).step_by(7) {
        assert!(Model::decode(&bytes[..end]).is_err());
    }
    for i in (0..bytes.len()).step_by(3) {
        for bit in [1u8, 0x80] {
            let mut damaged = bytes.clone();
            damaged[i] ^= bit;
            // a changed weight is another model; whatever decodes must be canonical
            if let Ok(model) = Model::decode(&damaged) {
                assert_eq!(model.encode(), damaged);
            }
        }
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(Model::decode(&longer).is_err());
    Ok(())
}

/// One small model per operator variant: float graph = onnxruntime, integers close, solver = eval, both R1CS forms accept.
#[test]
fn every_operator_variant_agrees_with_onnxruntime() -> Result<(), Error> {
    let mut names: Vec<String> = std::fs::read_dir(models().join("ops"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, std::io::Error>>()?;
    names.retain(|name| name.ends_with(".onnx"));
    names.sort();
    assert!(names.len() >= 30, "the fixtures of make_ops.py are missing");
    let mut failures = vec![];
    for file in names {
        let name = file.trim_end_matches(".onnx");
        match check_variant(name) {
            Ok(steps) => println!("{name}: worst error {steps:.2} steps"),
            Err(e) => failures.push(format!("{name}: {e}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

fn check_variant(name: &str) -> Result<f64, Error> {
    let bytes = read(&format!("ops/{name}.onnx"))?;
    let npz = read(&format!("ops/{name}.npz"))?;
    let graph = onnx::import(&bytes)?;
    let Compiled { model, program, .. } = compile(
        &bytes,
        &Calibration::from_npz(&npz)?,
        &Settings::default(),
        &mut |_, _, _| {},
    )?;
    if Program::decode(&program.encode())? != program {
        return Err("the program changes when it is written and read".into());
    }
    let file = from_npz(&npz)?;
    let output = &model.facts()[model.outputs()[0].tensor];
    let q = output.quantization.ok_or("output without a scale")?;
    let float_y = array(&file, "y", &output.shape)?;
    let program = Arc::new(program);
    let circuits = [Form::Plain, Form::Committed].map(|form| R1cs::lower(&program, form));
    let mut worst = 0.0f64;
    for (i, sample) in model.samples(&file)?.iter().enumerate() {
        let values = graph.evaluate(sample);
        for (ours, theirs) in values[graph.outputs[0].1].iter().zip(&float_y[i]) {
            if (ours - f64::from(*theirs)).abs() > 1e-4 {
                return Err(format!("float graph {ours}, onnxruntime {theirs}").into());
            }
        }
        let inputs = model.quantize_input(sample)?;
        let integers = model.eval(&inputs)?;
        for (a, b) in model.dequantize(&integers)[0].iter().zip(&float_y[i]) {
            worst = worst.max((a - f64::from(*b)).abs() / q.scale);
        }
        if i < 2 {
            let assignment = solve(&program, &inputs)?;
            if assignment.outputs(&program) != integers {
                return Err("solver and eval differ".into());
            }
            let plain = circuits[0].as_ref().map_err(|e| e.to_string())?;
            let words = assignment.statement(&program, Default::default())?.words();
            plain
                .check(&plain.assign_plain(&assignment, &words))
                .map_err(|e| e.to_string())?;
        }
    }
    circuits[1].as_ref().map_err(|e| e.to_string())?;
    if worst > 6.0 {
        return Err(format!("worst error {worst:.2} steps").into());
    }
    Ok(worst)
}
