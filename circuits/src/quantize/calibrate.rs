//! Ranges of every tensor of the float model over the calibration samples.

use super::input::{self, InputError, InputFile, Sample};
use crate::onnx::FloatGraph;
use rayon::prelude::*;

/// Samples to calibrate with, not yet matched to a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    file: Option<InputFile>,
}

/// Least and largest value of a tensor; 0 is always inside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Least value, at most 0.
    pub lo: f64,
    /// Largest value, at least 0.
    pub hi: f64,
}

/// Why samples do not calibrate a model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// The file does not hold inputs of the model.
    #[error("calibration: {0}")]
    Input(#[from] InputError),
    /// The float model gives NaN or infinity on a sample.
    #[error("calibration: sample {sample} makes `{tensor}` {value} at index {index}")]
    NonFinite {
        /// ONNX node.
        tensor: String,
        /// Sample number, from 0.
        sample: usize,
        /// Row-major index.
        index: usize,
        /// The value.
        value: f64,
    },
}

impl Calibration {
    /// No samples: enough for a file that gives every quantization itself.
    pub fn none() -> Self {
        Self { file: None }
    }

    /// Samples from a `.npz` archive.
    ///
    /// # Errors
    /// When it is not one.
    pub fn from_npz(bytes: &[u8]) -> Result<Self, InputError> {
        Ok(Self {
            file: Some(input::from_npz(bytes)?),
        })
    }

    /// Samples from JSON of the form `{"input_data": [[…]]}`.
    ///
    /// # Errors
    /// When it is not of that form.
    pub fn from_json(bytes: &[u8]) -> Result<Self, InputError> {
        Ok(Self {
            file: Some(input::from_json(bytes)?),
        })
    }

    /// Samples from an archive or JSON, whichever the bytes are.
    ///
    /// # Errors
    /// As [`Calibration::from_npz`] and [`Calibration::from_json`].
    pub fn parse(bytes: &[u8]) -> Result<Self, InputError> {
        Ok(Self {
            file: Some(InputFile::parse(bytes)?),
        })
    }

    /// The samples for a model; at least one, unless there are none at all.
    ///
    /// # Errors
    /// When the file does not hold inputs of the model.
    pub fn samples(&self, graph: &FloatGraph) -> Result<Vec<Sample>, CalibrationError> {
        let inputs: Vec<(&str, &[usize])> = graph
            .inputs
            .iter()
            .map(|&id| {
                (
                    graph.nodes[id].name.as_str(),
                    graph.nodes[id].shape.as_slice(),
                )
            })
            .collect();
        match &self.file {
            Some(file) => Ok(file.samples(&inputs)?),
            None => Ok(vec![]),
        }
    }
}

/// Ranges of every node's output over the samples; empty when there are none.
///
/// # Errors
/// When the float model leaves the finite numbers.
pub fn ranges(graph: &FloatGraph, samples: &[Sample]) -> Result<Vec<Range>, CalibrationError> {
    if samples.is_empty() {
        return Ok(vec![]);
    }
    // minima and maxima do not depend on the order in which threads finish
    let each = samples.par_iter().enumerate().map(|(number, sample)| {
        let values = graph.evaluate(sample);
        let range = |(values, node): (&Vec<f64>, &crate::onnx::FloatNode)| {
            if let Some(index) = values.iter().position(|v| !v.is_finite()) {
                return Err(CalibrationError::NonFinite {
                    tensor: node.name.clone(),
                    sample: number,
                    index,
                    value: values[index],
                });
            }
            let start = Range { lo: 0.0, hi: 0.0 };
            Ok(values.iter().fold(start, |r, &v| Range {
                lo: r.lo.min(v),
                hi: r.hi.max(v),
            }))
        };
        values
            .iter()
            .zip(&graph.nodes)
            .map(range)
            .collect::<Result<Vec<_>, _>>()
    });
    let each: Vec<Result<Vec<Range>, CalibrationError>> = each.collect();
    let mut all = vec![Range { lo: 0.0, hi: 0.0 }; graph.nodes.len()];
    for ranges in each {
        for (all, r) in all.iter_mut().zip(ranges?) {
            *all = Range {
                lo: all.lo.min(r.lo),
                hi: all.hi.max(r.hi),
            };
        }
    }
    Ok(all)
}
