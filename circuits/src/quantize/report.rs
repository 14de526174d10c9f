//! How far the integer model is from the float model, on the calibration samples.

use super::calibrate::Range;
use super::input::Sample;
use super::plan::Quantized;
use super::precision::{Integers, Reason};
use crate::model::EvalError;
use crate::onnx::FloatGraph;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One quantized tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerReport {
    /// ONNX node, or input.
    pub name: String,
    /// The float operator.
    pub op: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Least and largest calibrated value, 0 included.
    pub range: [f64; 2],
    /// Real value of one step.
    pub scale: f64,
    /// Integer that stands for 0.
    pub zero_point: i64,
    /// Largest relative error of the fixed-point multipliers, where the tensor is requantized.
    pub multiplier_error: Option<f64>,
    /// Mean of |dequantized − float|.
    pub mean_error: f64,
    /// Largest |dequantized − float|.
    pub max_error: f64,
    /// Its integers, and why there are so many; `None` in a report of an earlier version.
    #[serde(default)]
    pub integers: Option<Integers>,
    /// Its number in the model: inputs first, then one tensor per node; `None` in a report of an earlier version.
    #[serde(default)]
    pub tensor: Option<usize>,
}

impl LayerReport {
    /// The type of the integers and, where it is not the usual one, the reason; a dash in a report of an earlier version.
    pub fn integers_and_why(&self) -> (String, String) {
        match &self.integers {
            None => ("-".to_owned(), String::new()),
            Some(integers) => {
                let why = match &integers.reason {
                    Reason::Usual => String::new(),
                    reason => reason.to_string(),
                };
                (integers.type_name(), why)
            }
        }
    }
}

/// One model output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputReport {
    /// Name of the output.
    pub name: String,
    /// Share of samples on which the index of the largest element agrees.
    pub argmax_agreement: f64,
    /// Mean of |dequantized − float|, in steps of the output.
    pub mean_error_steps: f64,
    /// Largest |dequantized − float|, in steps of the output.
    pub max_error_steps: f64,
}

/// The accuracy report of a quantization.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Samples compared.
    pub samples: usize,
    /// Tensors in the order of the model.
    pub layers: Vec<LayerReport>,
    /// Outputs in the order of the model.
    pub outputs: Vec<OutputReport>,
}

/// Sum and maximum of absolute errors.
#[derive(Clone, Copy, Debug, Default)]
struct Errors {
    sum: f64,
    max: f64,
}

/// Index of the largest element, the first of equals.
pub(crate) fn argmax<T: PartialOrd + Copy>(values: &[T]) -> Option<usize> {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = i;
        }
    }
    (!values.is_empty()).then_some(best)
}

/// Compares the integer model with the float model on the samples.
///
/// # Errors
/// When the model cannot be evaluated on a sample.
pub fn report(
    graph: &FloatGraph,
    ranges: &[Range],
    quantized: &Quantized,
    samples: &[Sample],
) -> Result<Report, EvalError> {
    let model = &quantized.model;
    let compared: Vec<(usize, usize)> = (0..graph.nodes.len())
        .filter_map(|id| Some((id, quantized.tensors[id]?)))
        .filter(|&(_, tensor)| model.facts()[tensor].quantization.is_some())
        .collect();
    let each = samples.par_iter().map(|sample| {
        let float = graph.evaluate(sample);
        let integer = model.eval_all(&model.quantize_input(sample)?)?;
        let errors = |&(id, tensor): &(usize, usize)| {
            let Some(q) = model.facts()[tensor].quantization else {
                return Errors::default();
            };
            let errors = integer[tensor]
                .data
                .iter()
                .zip(&float[id])
                .map(|(&i, f)| (q.dequantize(i) - f).abs());
            errors.fold(Errors::default(), |e, error| Errors {
                sum: e.sum + error,
                max: e.max.max(error),
            })
        };
        let agrees = |(output, (_, id)): (usize, &(String, usize))| {
            argmax(&integer[model.output_tensor(output)].data) == argmax(&float[*id])
        };
        let agreements: Vec<bool> = graph.outputs.iter().enumerate().map(agrees).collect();
        Ok((compared.iter().map(errors).collect::<Vec<_>>(), agreements))
    });
    let each = each.collect::<Result<Vec<_>, EvalError>>()?;
    let total = |i: usize| {
        each.iter()
            .fold(Errors::default(), |t, (errors, _)| Errors {
                sum: t.sum + errors[i].sum,
                max: t.max.max(errors[i].max),
            })
    };
    let count = |id: usize| (samples.len() * graph.nodes[id].len()).max(1) as f64;
    let mut layers = Vec::new();
    for (i, &(id, tensor)) in compared.iter().enumerate() {
        let (node, errors) = (&graph.nodes[id], total(i));
        let Some(q) = model.facts()[tensor].quantization else {
            continue;
        };
        layers.push(LayerReport {
            name: node.name.clone(),
            op: node.op.name().to_owned(),
            shape: node.shape.clone(),
            range: ranges.get(id).map_or([0.0; 2], |r| [r.lo, r.hi]),
            scale: q.scale,
            zero_point: q.zero_point,
            multiplier_error: quantized.multiplier_errors[id],
            mean_error: errors.sum / count(id),
            max_error: errors.max,
            integers: quantized.integers[id].clone(),
            tensor: Some(tensor),
        });
    }
    let output = |(number, (name, id)): (usize, &(String, usize))| {
        let errors = compared
            .iter()
            .position(|(node, _)| node == id)
            .map(total)
            .unwrap_or_default();
        let tensor = model.output_tensor(number);
        let step = model.facts()[tensor].quantization.map_or(1.0, |q| q.scale);
        let agreed = each
            .iter()
            .filter(|(_, agreements)| agreements[number])
            .count();
        OutputReport {
            name: name.clone(),
            argmax_agreement: agreed as f64 / samples.len().max(1) as f64,
            mean_error_steps: errors.sum / count(*id) / step,
            max_error_steps: errors.max / step,
        }
    };
    let outputs = graph.outputs.iter().enumerate().map(output).collect();
    Ok(Report {
        samples: samples.len(),
        layers,
        outputs,
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "float vs quantized, {} calibration samples",
            self.samples
        )?;
        writeln!(
            f,
            "{:<20} {:<8} {:>22} {:>8} {:>11} {:>5} {:>10} {:>10} {:>10}  why",
            "tensor",
            "op",
            "range",
            "integers",
            "scale",
            "zero",
            "mean err",
            "max err",
            "mult. err"
        )?;
        for layer in &self.layers {
            let range = format!("[{:.4}, {:.4}]", layer.range[0], layer.range[1]);
            let multiplier = layer
                .multiplier_error
                .map_or("-".to_owned(), |e| format!("{e:.1e}"));
            let (integers, why) = layer.integers_and_why();
            writeln!(
                f,
                "{:<20} {:<8} {:>22} {:>8} {:>11.4e} {:>5} {:>10.2e} {:>10.2e} {:>10}  {why}",
                layer.name,
                layer.op,
                range,
                integers,
                layer.scale,
                layer.zero_point,
                layer.mean_error,
                layer.max_error,
                multiplier
            )?;
        }
        for output in &self.outputs {
            writeln!(
                f,
                "output {}: argmax agrees on {:.2} %, error {:.2} steps on average, {:.2} at most",
                output.name,
                100.0 * output.argmax_agreement,
                output.mean_error_steps,
                output.max_error_steps
            )?;
        }
        Ok(())
    }
}
