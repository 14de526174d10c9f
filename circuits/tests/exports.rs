//! Whole networks of the usual kinds as PyTorch exports them, by tracing and by torch.export, against onnxruntime (`models/make_exports.py` wrote both).
//!
//! Each is small and has random weights: what is tested is that the graph that an exporter writes is read, computes what onnxruntime computes,
//! keeps its values in integers, and proves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use zkinfer_circuits::arithmetization::halo2::Halo2Circuit;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::solve;
use zkinfer_circuits::model::Visibilities;
use zkinfer_circuits::onnx::{self, FloatGraph};
use zkinfer_circuits::quantize;
use zkinfer_circuits::quantize::input::{Sample, from_npz};
use zkinfer_circuits::testing::{Forger, Halo2Forger};

type Error = Box<dyn std::error::Error>;

/// Samples that are evaluated; those before them calibrate.
const HELD_OUT: usize = 10;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/exports")
}

/// A network, its samples, and what onnxruntime gives for them.
struct Export {
    graph: FloatGraph,
    samples: Vec<Sample>,
    expected: Vec<Sample>,
}

impl Export {
    fn read(name: &str) -> Result<Self, Error> {
        let bytes = |extension: &str| std::fs::read(folder().join(format!("{name}.{extension}")));
        let graph = onnx::import(&bytes("onnx")?)?;
        let file = from_npz(&bytes("npz")?)?;
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
        if samples.len() <= HELD_OUT || samples.len() != expected.len() {
            return Err(format!("{} samples, {} results", samples.len(), expected.len()).into());
        }
        Ok(Self {
            graph,
            samples,
            expected,
        })
    }

    /// Largest error of the float graph, relative where values are larger than 1.
    fn float_error(&self) -> f64 {
        let mut worst = 0f64;
        for (sample, expected) in self.samples.iter().zip(&self.expected) {
            let values = self.graph.evaluate(sample);
            for ((_, id), expected) in self.graph.outputs.iter().zip(expected) {
                for (&got, &wanted) in values[*id].iter().zip(expected) {
                    let wanted = f64::from(wanted);
                    let error = (got - wanted).abs() / wanted.abs().max(1.0);
                    // a NaN is an error too
                    worst = if error <= worst { worst } else { error };
                }
            }
        }
        worst
    }

    /// Root mean square of what the integers lose on samples that did not calibrate, over that of the outputs; and rows of the committed form.
    fn integer_error(&self) -> Result<(f64, usize), Error> {
        let (calibration, held_out) = self.samples.split_at(self.samples.len() - HELD_OUT);
        let ranges = quantize::ranges(&self.graph, calibration)?;
        let model = quantize::quantize(&self.graph, &ranges, Visibilities::default())?.model;
        let (mut lost, mut size) = (0.0, 0.0);
        for (sample, expected) in held_out.iter().zip(&self.expected[calibration.len()..]) {
            let outputs = model.eval(&model.quantize_input(sample)?)?;
            for ((output, port), expected) in outputs.iter().zip(model.outputs()).zip(expected) {
                let quantization = model.facts()[port.tensor].quantization;
                let quantization = quantization.ok_or("an output without a scale")?;
                for (&q, &real) in output.data.iter().zip(expected) {
                    let real = f64::from(real);
                    lost += (quantization.dequantize(q) - real).powi(2);
                    size += real * real;
                }
            }
        }
        let program = Arc::new(model.synthesize()?);
        let inputs = model.quantize_input(&held_out[0])?;
        let solved = solve(&program, &inputs)?;
        if solved.outputs(&program) != model.eval(&inputs)? {
            return Err("solver and eval differ".into());
        }
        let circuit = R1cs::lower(&program, Form::Committed)?;
        Forger::new(&circuit, &solved).check_honest()?;
        let halo2 = Halo2Circuit::lower(&program)?;
        Halo2Forger::new(&halo2, &solved).check_honest()?;
        Ok(((lost / size).sqrt(), circuit.n_rows()))
    }
}

/// The networks of one exporter, at least so many, whose integers may lose so much.
fn check(exporter: &str, least: usize, most_lost: f64) -> Result<(), Error> {
    let mut names: Vec<String> = std::fs::read_dir(folder())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|file| Some(file.strip_suffix(".onnx")?.to_owned()))
        .filter(|name| name.ends_with(exporter))
        .collect();
    names.sort();
    let mut failures = vec![];
    for name in &names {
        let figures = Export::read(name).and_then(|export| {
            let (integer, rows) = export.integer_error()?;
            Ok((export.float_error(), integer, rows))
        });
        match figures {
            Ok((float, integer, rows)) => {
                println!(
                    "{name}: float {float:.1e}, integers {:.2} %, {rows} rows",
                    100.0 * integer
                );
                if !(float < 1e-5 && integer < most_lost) {
                    failures.push(format!("{name}: errors {float} and {integer}"));
                }
            }
            Err(e) => failures.push(format!("{name}: {e}")),
        }
    }
    assert!(names.len() >= least, "{} networks", names.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

#[test]
fn traced_networks_compute_what_onnxruntime_does_and_prove() -> Result<(), Error> {
    check(".ts", 25, 0.06)
}

#[test]
fn networks_of_torch_export_compute_what_onnxruntime_does_and_prove() -> Result<(), Error> {
    check(".dynamo", 18, 0.06)
}

#[test]
fn networks_of_keras_compute_what_onnxruntime_does_and_prove() -> Result<(), Error> {
    // two LSTMs on each other: 6.6 %
    check(".keras", 32, 0.07)
}

#[test]
#[ignore = "prints; set EXPORT"]
fn print_errors() -> Result<(), Error> {
    let export = Export::read(&std::env::var("EXPORT")?)?;
    let (calibration, held_out) = export.samples.split_at(export.samples.len() - HELD_OUT);
    let ranges = quantize::ranges(&export.graph, calibration)?;
    let quantized = quantize::quantize(&export.graph, &ranges, Visibilities::default())?;
    let report = quantize::report(&export.graph, &ranges, &quantized, held_out)?;
    for (layer, node) in report.layers.iter().zip(0..) {
        println!("{node} {layer:?}");
    }
    Ok(())
}
