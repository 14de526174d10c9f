//! One case through the pipeline.

use crate::case::{Case, Values};
use crate::steps;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tract_onnx::pb::tensor_proto::DataType;
use zkinfer_circuits::Model;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::solve;
use zkinfer_circuits::model::Visibilities;
use zkinfer_circuits::onnx::{self, FloatGraph, ImportError};
use zkinfer_circuits::quantize::{self, Quantized, Range};
use zkinfer_circuits::tensor::Tensor;
use zkinfer_circuits::testing::Forger;

/// The float graph against the case, relative to the largest output.
const SEMANTIC: f64 = 1e-4;
/// The float graph against the case, relative to the element: the package's own bound, since some of its outputs have four digits.
const SPREAD: f64 = 1e-3;
/// Most elements, inputs and outputs together, of a case whose program is solved and checked.
const MAX_SOLVED: usize = 600;

/// What became of a case.
#[derive(Debug)]
pub struct Verdict {
    pub outcome: Outcome,
    /// The operands after the first were made initializers, because the case is not supported as it is.
    pub constant_operands: bool,
}

/// Pass, or not and why.
#[derive(Debug)]
pub enum Outcome {
    Pass {
        /// The program was solved and its R1CS form accepts the witness.
        circuit: bool,
        /// Largest error of the integer model's outputs against the case, in steps.
        steps: f64,
    },
    Fail(String),
    Unsupported(String),
}

/// Runs a case as it is, and where that is not supported with constant operands.
pub fn judge(case: &Case) -> Verdict {
    let outcome = guarded(case, false);
    if let Outcome::Unsupported(_) = outcome {
        let constant = guarded(case, true);
        if !matches!(constant, Outcome::Unsupported(_)) {
            return Verdict {
                outcome: constant,
                constant_operands: true,
            };
        }
    }
    Verdict {
        outcome,
        constant_operands: false,
    }
}

fn guarded(case: &Case, constant_operands: bool) -> Outcome {
    let run = catch_unwind(AssertUnwindSafe(|| run(case, constant_operands)));
    match run {
        Ok(Ok(outcome) | Err(outcome)) => outcome,
        Err(_) => Outcome::Fail("a panic".to_owned()),
    }
}

pub fn fail(reason: impl ToString) -> Outcome {
    Outcome::Fail(reason.to_string())
}

fn unsupported(reason: impl ToString) -> Outcome {
    Outcome::Unsupported(reason.to_string())
}

fn run(case: &Case, constant_operands: bool) -> Result<Outcome, Outcome> {
    let graph = onnx::import(&case.model(constant_operands)).map_err(|error| match error {
        // its message lists the supported operators
        ImportError::UnsupportedOperator { op, .. } => {
            unsupported(format!("operator {op} is not supported"))
        }
        error => unsupported(error),
    })?;
    let expected = case.outputs();
    let expected =
        expected.ok_or_else(|| unsupported("an output that is not a tensor of numbers"))?;
    let sample = sample(case, &graph)?;
    check_semantics(&graph, &sample, &expected)?;
    let (ranges, quantized) = quantized(case, &graph, &sample)?;
    let model = &quantized.model;
    let inputs = model.quantize_input(&sample).map_err(fail)?;
    let tensors = model.eval_all(&inputs).map_err(fail)?;
    steps::check(&graph, &ranges, &quantized, &tensors)?;
    let steps = error(&graph, &quantized, &tensors, &expected)?;
    let outputs = model.eval(&inputs).map_err(fail)?;
    let elements = inputs.iter().chain(&outputs).map(Tensor::len);
    let circuit = elements.sum::<usize>() <= MAX_SOLVED;
    if circuit {
        check_circuit(model, &inputs, &outputs)?;
    }
    Ok(Outcome::Pass { circuit, steps })
}

/// The case's values of the inputs that stayed inputs.
fn sample(case: &Case, graph: &FloatGraph) -> Result<Vec<Vec<f32>>, Outcome> {
    let values = |&id: &usize| {
        let name = &graph.nodes[id].name;
        let values = case.input(name);
        let values = values.ok_or_else(|| fail(format!("no values of `{name}`")))?;
        Ok(values.data.iter().map(|&v| v as f32).collect())
    };
    graph.inputs.iter().map(values).collect()
}

fn check_semantics(
    graph: &FloatGraph,
    sample: &[Vec<f32>],
    expected: &[Values],
) -> Result<(), Outcome> {
    if graph.outputs.len() != expected.len() {
        let n = graph.outputs.len();
        return Err(fail(format!("{n} outputs of {}", expected.len())));
    }
    let values = graph.evaluate(sample);
    for ((name, id), expected) in graph.outputs.iter().zip(expected) {
        let shape = &graph.nodes[*id].shape;
        if *shape != expected.shape || values[*id].len() != expected.data.len() {
            let wanted = &expected.shape;
            return Err(fail(format!("`{name}` has shape {shape:?}; ONNX {wanted:?}")));
        }
        let largest = largest(&expected.data);
        for (index, (got, wanted)) in values[*id].iter().zip(&expected.data).enumerate() {
            let equal = got == wanted || got.is_nan() && wanted.is_nan();
            let allowed = (SEMANTIC * largest).max(SPREAD * wanted.abs());
            if !equal && !((got - wanted).abs() <= allowed) {
                let place = format!("`{name}`[{index}]");
                return Err(fail(format!("{place} is {got}; ONNX has {wanted}")));
            }
        }
    }
    Ok(())
}

fn largest(values: &[f64]) -> f64 {
    let finite = values.iter().filter(|v| v.is_finite());
    finite.fold(0.0, |largest, v| largest.max(v.abs()))
}

/// The integer model, calibrated with the case's inputs and, where all are real numbers, with their halves.
fn quantized(
    case: &Case,
    graph: &FloatGraph,
    sample: &[Vec<f32>],
) -> Result<(Vec<Range>, Quantized), Outcome> {
    let mut samples = vec![sample.to_vec()];
    let real = |e: Option<DataType>| matches!(e, Some(DataType::Float | DataType::Double));
    if case.elements().all(real) {
        let halves = sample.iter().map(|x| x.iter().map(|v| v / 2.0).collect());
        samples.push(halves.collect());
    }
    let ranges = quantize::ranges(graph, &samples).map_err(unsupported)?;
    let quantized = quantize::quantize(graph, &ranges, Visibilities::default());
    Ok((ranges, quantized.map_err(unsupported)?))
}

/// Largest error of the integer model's outputs against the case, in steps; what rounding inputs, weights and every tensor to eight bits costs.
fn error(
    graph: &FloatGraph,
    quantized: &Quantized,
    tensors: &[Tensor],
    expected: &[Values],
) -> Result<f64, Outcome> {
    let mut worst = 0.0f64;
    for (number, output) in quantized.model.outputs().iter().enumerate() {
        let fact = &quantized.model.facts()[output.tensor];
        let (_, id) = graph.outputs[number];
        if quantized.tensors[id] != Some(output.tensor) || fact.shape != expected[number].shape {
            return Err(fail("an output is another tensor, or has another shape"));
        }
        let q = fact.quantization.ok_or_else(|| fail("an accumulator is an output"))?;
        let values = tensors[output.tensor].data.iter().map(|&v| q.dequantize(v));
        for (value, wanted) in values.zip(&expected[number].data) {
            worst = worst.max((value - wanted).abs() / q.scale);
        }
    }
    Ok(worst)
}

/// The program gives the same integers, and its committed form accepts the honest witness.
fn check_circuit(model: &Model, inputs: &[Tensor], outputs: &[Tensor]) -> Result<(), Outcome> {
    let program = Arc::new(model.synthesize().map_err(fail)?);
    let solved = solve(&program, inputs).map_err(fail)?;
    if solved.outputs(&program) != outputs {
        return Err(fail("solver and eval differ"));
    }
    let circuit = R1cs::lower(&program, Form::Committed).map_err(fail)?;
    Forger::new(&circuit, &solved).check_honest().map_err(fail)
}
