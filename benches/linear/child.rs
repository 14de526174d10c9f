//! One step on one model, in a process that does nothing else.
//! The steps hand each other files, so that none counts the memory of the one before: `model.onnx` → `model.zki` → nothing.

use crate::shapes::Shape;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use zkinfer_circuits::Model;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::solve;
use zkinfer_circuits::model::Visibilities;
use zkinfer_circuits::onnx;
use zkinfer_circuits::ops::Op;
use zkinfer_circuits::quantize::{quantize, ranges};

/// Numbers by name.
pub type Report = HashMap<String, f64>;

/// What a child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The ONNX file, calibrated on one sample, to the integer model.
    Import,
    /// The integer model to the constraint program, and all wires of that for one input.
    Compile,
    /// The integer model to the constraint program, and that to R1CS in the form with a committed round.
    Lower,
}

impl Step {
    /// Its name in arguments.
    pub fn name(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Compile => "compile",
            Self::Lower => "lower",
        }
    }
}

/// Reads what [`run`] printed.
pub fn parse(lines: &str) -> Report {
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    lines.lines().filter_map(pair).collect()
}

/// Runs the step that the arguments name, and prints its numbers, the peak of this process's resident memory among them.
pub fn run(step: &str, shape: &str, macs: &str, folder: &Path) {
    let shape = Shape::ALL.into_iter().find(|s| s.name() == shape);
    let shape = shape.expect("the parent names a shape");
    let macs = macs.parse().expect("the parent gives a number");
    // the pool's threads are there whatever the model is
    rayon::broadcast(|_| ());
    match step {
        "import" => import(shape, macs, folder),
        "compile" => compile(shape, macs, folder),
        _ => lower(folder),
    }
}

/// Prints the peak of this process's resident memory so far.
fn print_peak() {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.expect("a line").parse().expect("a number");
    println!("peak {}", 1024 * kib);
}

/// Seconds that the threads of this process have run so far: what waits for a processor does not count.
fn processor_seconds() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux");
    let nanoseconds = threads.map(|thread| -> u64 {
        let path = thread.expect("a thread").path().join("schedstat");
        let line = std::fs::read_to_string(path).expect("Linux with CONFIG_SCHED_INFO");
        let first = line.split_whitespace().next().expect("three numbers");
        first.parse().expect("a number")
    });
    nanoseconds.sum::<u64>() as f64 / 1e9
}

/// Processor seconds of one call, and the last result; never two results at a time. The clock of a running thread goes on in
/// steps of milliseconds, so that what is short is called until it is long.
fn timed<T>(mut f: impl FnMut() -> T) -> (f64, T) {
    const LONG: f64 = 0.3;
    let start = processor_seconds();
    let (mut calls, mut last) = (1, f());
    loop {
        let seconds = processor_seconds() - start;
        if seconds >= LONG {
            return (seconds / f64::from(calls), last);
        }
        drop(last);
        last = f();
        calls += 1;
    }
}

fn import(shape: Shape, macs: u64, folder: &Path) {
    let file = std::fs::read(folder.join("model.onnx")).expect("the parent wrote it");
    println!("file {}", file.len());
    let (seconds, graph) = timed(|| onnx::import(&file).expect("an ONNX file"));
    println!("import {seconds}");
    let sample = [vec![shape.sample(macs)]];
    let (seconds, quantized) = timed(|| {
        let ranges = ranges(&graph, &sample).expect("finite numbers");
        quantize(&graph, &ranges, Visibilities::default()).expect("operators we have")
    });
    println!("quantize {seconds}");
    print_peak();
    std::fs::write(folder.join("model.zki"), quantized.model.encode()).expect("a file in TMPDIR");
}

fn model(folder: &Path) -> Model {
    let file = std::fs::read(folder.join("model.zki")).expect("the step before wrote it");
    Model::decode(&file).expect("the step before wrote it")
}

/// Multiply-accumulates and weights of the layers.
fn layers(model: &Model) -> (usize, usize) {
    let sizes = model.nodes().iter().map(|node| match &node.op {
        Op::Conv(conv) => {
            let g = &conv.geometry;
            let window = g.channels_in / g.groups * g.n_taps();
            (g.output_len() * window, conv.weights.len())
        }
        Op::MatMul(dense) => {
            let rows = dense.shape.iter().product::<usize>() / dense.bias.len();
            (rows * dense.weights.len(), dense.weights.len())
        }
        _ => (0, 0),
    });
    sizes.fold((0, 0), |sum, layer| (sum.0 + layer.0, sum.1 + layer.1))
}

fn compile(shape: Shape, macs: u64, folder: &Path) {
    let model = model(folder);
    let (macs_exact, weights) = layers(&model);
    let activations = model.facts().iter().filter(|f| f.quantization.is_some());
    println!("macs {macs_exact}\nweights {weights}");
    println!(
        "activations {}",
        activations.map(|f| f.len()).sum::<usize>()
    );
    let input = model.quantize_input(&[shape.sample(macs)]);
    let input = input.expect("the shape's own input");
    let (seconds, program) = timed(|| model.synthesize().expect("bounded values"));
    println!("synthesize {seconds}");
    let (seconds, wires) = timed(|| solve(&program, &input).expect("a fitting input"));
    println!("solve {seconds}");
    print_peak();
    // what was timed is right
    let expected = model.eval(&input).expect("a fitting input");
    assert_eq!(wires.outputs(&program), expected);
}

fn lower(folder: &Path) {
    let program = Arc::new(model(folder).synthesize().expect("bounded values"));
    let (seconds, r1cs) = timed(|| R1cs::lower(&program, Form::Committed).expect("small values"));
    println!("lower {seconds}\nrows {}", r1cs.n_rows());
    print_peak();
}
