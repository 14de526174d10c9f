//! One case through the pipeline.

use crate::case::{Case, Values};
use crate::steps;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tract_onnx::pb::tensor_proto::DataType;
use zkinfer_circuits::arithmetization::LowerError;
use zkinfer_circuits::arithmetization::halo2::Halo2Circuit;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::solve;
use zkinfer_circuits::model::Visibilities;
use zkinfer_circuits::onnx::{self, FloatGraph, ImportError};
use zkinfer_circuits::quantize::{self, Quantized, Range};
use zkinfer_circuits::tensor::Tensor;
use zkinfer_circuits::testing::{Forger, Halo2Forger};
use zkinfer_verifier::{Dtype, Visibility};

/// The float graph against the case, relative to the largest output.
const SEMANTIC: f64 = 1e-4;
/// The float graph against the case, relative to the element: the package's own bound, since some of its outputs have four digits.
const SPREAD: f64 = 1e-3;
/// Why a case with such values is not run.
pub const VALUES: &[&str] = &[TOO_LARGE, NOT_FINITE];
const TOO_LARGE: &str = "an integer input beyond sixteen bits";
const NOT_FINITE: &str = "a value that is not finite in float32";

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
        /// Of inputs and outputs together.
        elements: usize,
        /// The program was solved and its circuits accept the witness.
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
    let run = Run::new(case, constant_operands)?;
    run.check_semantics()?;
    run.check_integers()?;
    Ok(Outcome::Pass {
        elements: run.elements(),
        circuit: false,
        steps: run.error(),
    })
}

/// The verdict on a case that passed, after its circuits were checked too.
pub fn judge_circuit(case: &Case, constant_operands: bool) -> Outcome {
    let check = || -> Result<Outcome, Outcome> {
        let run = Run::new(case, constant_operands)?;
        run.check_circuit()?;
        Ok(Outcome::Pass {
            elements: run.elements(),
            circuit: true,
            steps: run.error(),
        })
    };
    match catch_unwind(AssertUnwindSafe(check)) {
        Ok(Ok(outcome) | Err(outcome)) => outcome,
        Err(_) => fail("a panic in its circuits"),
    }
}

/// A case and everything the pipeline makes of it.
pub struct Run {
    pub graph: FloatGraph,
    pub ranges: Vec<Range>,
    pub quantized: Quantized,
    /// The case's values of the inputs that stayed inputs.
    pub sample: Vec<Vec<f32>>,
    /// The case's outputs.
    pub expected: Vec<Values>,
    /// The outputs that are whole numbers or truth values.
    pub whole: Vec<bool>,
    /// Nothing but whole numbers and truth values goes in.
    pub whole_inputs: bool,
    /// All tensors of the integer model.
    pub tensors: Vec<Tensor>,
}

impl Run {
    /// Import, calibration, quantization, integer evaluation; the shapes are the case's.
    pub fn new(case: &Case, constant_operands: bool) -> Result<Self, Outcome> {
        let graph = onnx::import(&case.model(constant_operands)).map_err(|error| match error {
            // its message lists the supported operators
            ImportError::UnsupportedOperator { op, .. } => {
                unsupported(format!("operator {op} is not supported"))
            }
            error => unsupported(error),
        })?;
        // their inputs and outputs are real numbers to us, and integers in the cases
        if graph.given.is_some() {
            return Err(unsupported(
                "a quantized graph: held against onnxruntime in quantized.rs",
            ));
        }
        let outputs = case.outputs();
        let expected =
            outputs.ok_or_else(|| unsupported("an output that is not a tensor of numbers"))?;
        check_shapes(&graph, &expected)?;
        if expected
            .iter()
            .any(|v| v.data.iter().any(|v| !v.is_finite()))
        {
            return Err(unsupported(NOT_FINITE));
        }
        let sample = sample(case, &graph)?;
        let mut samples = vec![sample.clone()];
        if case.real() {
            samples.push(sample.iter().map(|x| halved(x)).collect());
        }
        // halves may leave the domain of a function
        let ranges = quantize::ranges(&graph, &samples);
        let ranges = ranges.or_else(|_| quantize::ranges(&graph, &samples[..1]));
        let ranges = ranges.map_err(unsupported)?;
        let quantized = quantize::quantize(&graph, &ranges, Visibilities::default());
        let mut quantized = quantized.map_err(unsupported)?;
        let model = &quantized.model;
        let inputs = model.inputs().iter().map(|i| i.dtype == Dtype::Int8);
        let outputs = model.outputs().iter();
        // a statement shows int8 alone
        if !inputs
            .chain(outputs.map(|o| model.facts()[o.tensor].is_int8()))
            .all(|int8| int8)
        {
            let hidden = Visibilities {
                input: Visibility::Private,
                output: Visibility::Private,
                ..Visibilities::default()
            };
            quantized = quantize::quantize(&graph, &ranges, hidden).map_err(unsupported)?;
        }
        let inputs = quantized
            .model
            .quantize_input(&sample)
            .map_err(unsupported)?;
        check_types(&quantized, &sample)?;
        let tensors = quantized.model.eval_all(&inputs).map_err(fail)?;
        Ok(Self {
            graph,
            ranges,
            quantized,
            sample,
            expected,
            whole: case.output_types().map(is_whole).collect(),
            whole_inputs: case.input_types().all(is_whole),
            tensors,
        })
    }

    /// The float graph gives the case's outputs.
    pub fn check_semantics(&self) -> Result<(), Outcome> {
        let values = self.graph.evaluate(&self.sample);
        let outputs = self.graph.outputs.iter().zip(&self.whole);
        for (((name, id), whole), expected) in outputs.zip(&self.expected) {
            let finite = expected.data.iter().filter(|v| v.is_finite());
            let largest = finite.fold(0.0f64, |largest, v| largest.max(v.abs()));
            for (index, (got, wanted)) in values[*id].iter().zip(&expected.data).enumerate() {
                let allowed = (SEMANTIC * largest).max(SPREAD * wanted.abs());
                let near = !whole && (got - wanted).abs() <= allowed;
                if !near && got != wanted {
                    let place = format!("`{name}`[{index}]");
                    return Err(fail(format!("{place} is {got}; ONNX has {wanted}")));
                }
            }
        }
        Ok(())
    }

    /// Every tensor of the integer model is what its node of the float graph gives, and the outputs are the float graph's.
    pub fn check_integers(&self) -> Result<(), Outcome> {
        let model = &self.quantized.model;
        for (output, (name, id)) in model.outputs().iter().zip(&self.graph.outputs) {
            let shape = &model.facts()[output.tensor].shape;
            if self.quantized.tensors[*id] != Some(output.tensor)
                || *shape != self.graph.nodes[*id].shape
            {
                return Err(fail(format!(
                    "`{name}` is another tensor of the integer model"
                )));
            }
        }
        steps::check(&self.graph, &self.ranges, &self.quantized, &self.tensors)?;
        self.check_whole()
    }

    /// What is computed on whole numbers alone is exact.
    fn check_whole(&self) -> Result<(), Outcome> {
        let model = &self.quantized.model;
        let outputs = model.outputs().iter().zip(&self.expected);
        for ((output, expected), whole) in outputs.zip(&self.whole) {
            let q = model.facts()[output.tensor].quantization;
            let q = q.ok_or_else(|| fail("an output without a scale"))?;
            let values = &self.tensors[output.tensor].data;
            let wrong = |(&v, wanted): (&i64, &f64)| q.dequantize(v) != *wanted;
            let found = values.iter().zip(&expected.data).position(wrong);
            if let (true, true, Some(index)) = (self.whole_inputs, *whole, found) {
                let (got, wanted) = (q.dequantize(values[index]), expected.data[index]);
                let place = format!("`{}`[{index}]", output.name);
                return Err(fail(format!("whole {place} is {got}; ONNX has {wanted}")));
            }
        }
        Ok(())
    }

    /// Elements of inputs and outputs together.
    fn elements(&self) -> usize {
        let model = &self.quantized.model;
        let inputs = &self.tensors[..model.inputs().len()];
        let outputs = model.outputs().iter().map(|o| &self.tensors[o.tensor]);
        inputs.iter().chain(outputs).map(Tensor::len).sum()
    }

    /// The program gives the same integers, and each of its circuits accepts the honest witness.
    pub fn check_circuit(&self) -> Result<(), Outcome> {
        let model = &self.quantized.model;
        let inputs = &self.tensors[..model.inputs().len()];
        let outputs = model.outputs().iter().map(|o| &self.tensors[o.tensor]);
        let outputs: Vec<Tensor> = outputs.cloned().collect();
        let program = Arc::new(model.synthesize().map_err(fail)?);
        let solved = solve(&program, inputs).map_err(fail)?;
        if solved.outputs(&program) != outputs {
            return Err(fail("solver and eval differ"));
        }
        for form in [Form::Plain, Form::Committed] {
            let circuit = match R1cs::lower(&program, form) {
                // the plain form has no tables of this size
                Err(LowerError::Selection { .. }) if form == Form::Plain => continue,
                lowered => lowered.map_err(fail)?,
            };
            let honest = Forger::new(&circuit, &solved).check_honest();
            honest.map_err(fail)?;
        }
        let circuit = Halo2Circuit::lower(&program).map_err(fail)?;
        let honest = Halo2Forger::new(&circuit, &solved).check_honest();
        honest.map_err(fail)
    }

    /// Largest error of the integer model's outputs against the case, in steps: what rounding inputs, weights and every tensor costs together.
    pub fn error(&self) -> f64 {
        let model = &self.quantized.model;
        let mut worst = 0.0f64;
        for (output, expected) in model.outputs().iter().zip(&self.expected) {
            let Some(q) = model.facts()[output.tensor].quantization else {
                return f64::INFINITY;
            };
            for (&v, wanted) in self.tensors[output.tensor].data.iter().zip(&expected.data) {
                worst = worst.max((q.dequantize(v) - wanted).abs() / q.scale);
            }
        }
        worst
    }
}

fn is_whole(element: Option<DataType>) -> bool {
    let real = [
        DataType::Float,
        DataType::Double,
        DataType::Float16,
        DataType::Bfloat16,
    ];
    element.is_some_and(|t| !real.contains(&t))
}

/// An input of whole numbers is what the case has, or the statement cannot hold it.
fn check_types(quantized: &Quantized, sample: &[Vec<f32>]) -> Result<(), Outcome> {
    for (input, values) in quantized.model.inputs().iter().zip(sample) {
        let [lo, hi] = [input.dtype.min() as f32, input.dtype.max() as f32];
        let whole = input.quantization.scale == 1.0 && input.quantization.zero_point == 0;
        if whole && values.iter().any(|v| *v < lo || *v > hi) {
            return Err(unsupported(TOO_LARGE));
        }
    }
    Ok(())
}

/// Another sample of what an operator may be given: half of the values; ones for zeros alone, which have no range.
fn halved(x: &[f32]) -> Vec<f32> {
    let zeros = x.iter().all(|v| *v == 0.0);
    let other = |v: &f32| if zeros { 1.0 } else { v / 2.0 };
    x.iter().map(other).collect()
}

fn check_shapes(graph: &FloatGraph, expected: &[Values]) -> Result<(), Outcome> {
    let got = graph.outputs.iter().map(|(_, id)| &graph.nodes[*id].shape);
    let wanted = expected.iter().map(|values| &values.shape);
    if got.clone().eq(wanted.clone()) {
        return Ok(());
    }
    let (got, wanted): (Vec<_>, Vec<_>) = (got.collect(), wanted.collect());
    Err(fail(format!("output shapes {got:?}; ONNX has {wanted:?}")))
}

/// The case's values of the inputs that stayed inputs.
fn sample(case: &Case, graph: &FloatGraph) -> Result<Vec<Vec<f32>>, Outcome> {
    let values = |&id: &usize| {
        let name = &graph.nodes[id].name;
        let values = case.input(name);
        let values = values.ok_or_else(|| fail(format!("no values of `{name}`")))?;
        let narrow = |v: f64| (v as f32).is_finite() && (v == 0.0 || v as f32 != 0.0);
        if !values.data.iter().all(|&v| narrow(v)) {
            return Err(unsupported(NOT_FINITE));
        }
        Ok(values.data.iter().map(|&v| v as f32).collect())
    };
    graph.inputs.iter().map(values).collect()
}
