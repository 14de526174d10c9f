//! Quantized files as they come: the integers of the model against those of onnxruntime, file by file.
//!
//! `tests/models/make_quantized.py` writes the files. Every differing byte is counted with its cause: an exact tie, where
//! onnxruntime rounds to even and its float32 arithmetic may fall to either side; or float32 arithmetic close to a tie.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::solve;
use zkinfer_circuits::onnx::{self, FloatGraph, FloatOp};
use zkinfer_circuits::quantize::Calibration;
use zkinfer_circuits::quantize::input::from_npz;
use zkinfer_circuits::testing::Forger;
use zkinfer_circuits::{Compiled, Settings, compile};

type Error = Box<dyn std::error::Error>;

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models")
}

fn read(name: &str) -> Result<Vec<u8>, Error> {
    let path = models().join(name);
    std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()).into())
}

fn argmax<T: PartialOrd>(values: &[T]) -> usize {
    (0..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

/// Output bytes of one file, compared.
#[derive(Clone, Copy, Debug, Default)]
struct Differences {
    bytes: usize,
    /// The real value lies exactly between two integers.
    ties: usize,
    /// It lies within 10^-4 of a step of such a point.
    rounding: usize,
    /// Neither.
    other: usize,
    /// Samples whose largest output is another.
    argmax: usize,
}

impl Differences {
    fn share(&self) -> f64 {
        let same = self.bytes - self.ties - self.rounding - self.other;
        same as f64 / self.bytes.max(1) as f64
    }
}

/// The name of every file, and of the model whose held-out samples it is run on.
fn index() -> Result<Vec<(String, Option<String>)>, Error> {
    let text = String::from_utf8(read("quantized/index.txt")?)?;
    let line = |line: &str| {
        let (name, samples) = line.split_once(' ')?;
        Some((
            name.to_owned(),
            (samples != "-").then(|| samples.to_owned()),
        ))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// The mark that makes the output, through operators that move integers.
fn output_mark(graph: &FloatGraph) -> Option<usize> {
    let mut id = graph.outputs.first()?.1;
    loop {
        match &graph.nodes[id].op {
            FloatOp::Quantize { .. } => return Some(id),
            FloatOp::Layout { axes, .. } if axes.is_sorted() => id = *graph.nodes[id].inputs.first()?,
            _ => return None,
        }
    }
}

/// Compiles a file without samples and compares its output integers with onnxruntime's.
fn compare(name: &str, samples: Option<&str>) -> Result<Differences, Error> {
    let bytes = read(&format!("quantized/{name}.onnx"))?;
    let graph = onnx::import(&bytes)?;
    let Compiled { model, program, .. } = compile(
        &bytes,
        &Calibration::none(),
        &Settings::default(),
        &mut |_, _, _| {},
    )?;
    let results = from_npz(&read(&format!("quantized/{name}.npz"))?)?;
    let held = match samples {
        Some(model) => from_npz(&read(&format!("{model}.heldout.npz"))?)?,
        None => results.clone(),
    };
    let output = &model.facts()[model.outputs()[0].tensor];
    let q = output.quantization.ok_or("output without a scale")?;
    let expected = results.samples(&[("y", &output.shape)])?;
    let samples = model.samples(&held)?;
    if samples.len() != expected.len() {
        return Err(format!("{} samples, {} results", samples.len(), expected.len()).into());
    }
    let mark = output_mark(&graph);
    let program = Arc::new(program);
    let mut differences = Differences::default();
    for (i, (sample, y)) in samples.iter().zip(&expected).enumerate() {
        let inputs = model.quantize_input(sample)?;
        let ours = &model.eval(&inputs)?[0].data;
        let integer = |y: &f32| (f64::from(*y) / q.scale).round() as i64 + q.zero_point;
        let theirs: Vec<i64> = y[0].iter().map(integer).collect();
        differences.bytes += ours.len();
        differences.argmax += usize::from(argmax(ours) != argmax(&theirs));
        if ours != &theirs {
            let float = graph.evaluate(sample);
            for (j, (a, b)) in ours.iter().zip(&theirs).enumerate() {
                if a == b {
                    continue;
                }
                let before = mark.map(|id| float[graph.nodes[id].inputs[0]][j] / q.scale);
                let from_tie = before.map_or(1.0, |v| (v - v.floor() - 0.5).abs());
                match (from_tie, a.abs_diff(*b)) {
                    (d, 1) if d < 1e-9 => differences.ties += 1,
                    (d, 1) if d < 1e-4 => differences.rounding += 1,
                    _ => differences.other += 1,
                }
            }
        }
        if i == 0 {
            let assignment = solve(&program, &inputs)?;
            if assignment.outputs(&program)[0].data != *ours {
                return Err("solver and eval differ".into());
            }
            let circuit = R1cs::lower(&program, Form::Committed)?;
            Forger::new(&circuit, &assignment).check_honest()?;
        }
    }
    Ok(differences)
}

fn check(wanted: impl Fn(&str) -> bool) -> Result<(), Error> {
    let mut failures = vec![];
    for (name, samples) in index()?.iter().filter(|(name, _)| wanted(name)) {
        match compare(name, samples.as_deref()) {
            Ok(d) => {
                println!(
                    "{name}: {:.3} % of {} bytes identical; ties {}, rounding {}, other {}; argmax differs {}",
                    100.0 * d.share(),
                    d.bytes,
                    d.ties,
                    d.rounding,
                    d.other,
                    d.argmax
                );
                if d.share() < 0.999 || d.argmax > 0 {
                    failures.push(format!("{name}: {d:?}"));
                }
            }
            Err(e) => failures.push(format!("{name}: {e}")),
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    Ok(())
}

fn is_form(name: &str) -> bool {
    name.contains('.')
}

#[test]
fn quantized_models_give_the_bytes_of_onnxruntime() -> Result<(), Error> {
    check(is_form)
}

#[test]
fn quantized_operators_give_the_bytes_of_onnxruntime() -> Result<(), Error> {
    check(|name| !is_form(name))
}
