//! Ranges of every tensor of the float model over the calibration samples.

use super::input::{self, InputError, InputFile, Sample};
use crate::onnx::{BELOW, FloatGraph, FloatOp};
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
    /// Of a tensor that only softmaxes read: smaller values have no share of any row.
    pub floor: Option<f64>,
}

impl Range {
    /// Of a tensor of zeros.
    pub(super) const NONE: Self = Self {
        lo: 0.0,
        hi: 0.0,
        floor: None,
    };

    /// Both.
    fn union(self, other: Self) -> Self {
        Self {
            lo: self.lo.min(other.lo),
            hi: self.hi.max(other.hi),
            floor: self.floor.zip(other.floor).map(|(a, b)| a.min(b)),
        }
    }

    /// The same without what has no share, where that is most of it: a mask of −10,000 beside scores.
    pub(super) fn shown(self) -> Self {
        match self.floor {
            Some(floor) if self.hi - self.lo > MOSTLY * (self.hi - floor) => Self {
                lo: floor.min(0.0),
                ..self
            },
            _ => self,
        }
    }
}

/// How much wider a range is of which most has no share.
const MOSTLY: f64 = 4.0;

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
    let readers = graph.readers();
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
            Ok(values.iter().fold(Range::NONE, |r, &v| Range {
                lo: r.lo.min(v),
                hi: r.hi.max(v),
                ..r
            }))
        };
        let ranges = values.iter().zip(&graph.nodes).map(range);
        let mut ranges = ranges.collect::<Result<Vec<_>, _>>()?;
        let floors = floors(graph, &readers, &values);
        for (range, floor) in ranges.iter_mut().zip(floors) {
            range.floor = floor;
        }
        Ok(ranges)
    });
    let each: Vec<Result<Vec<Range>, CalibrationError>> = each.collect();
    let all = each.into_iter().reduce(|all, ranges| {
        let (all, ranges) = (all?, ranges?);
        Ok(all
            .into_iter()
            .zip(ranges)
            .map(|(a, b)| a.union(b))
            .collect())
    });
    all.unwrap_or(Ok(vec![]))
}

/// For every tensor that only softmaxes read, moved or not, [`BELOW`] less than the least of the largest scores of rows.
fn floors(graph: &FloatGraph, readers: &[Vec<usize>], values: &[Vec<f64>]) -> Vec<Option<f64>> {
    let mut floors: Vec<Option<f64>> = vec![None; graph.nodes.len()];
    for id in (0..graph.nodes.len()).rev() {
        let by = |&reader: &usize| match graph.nodes.get(reader)?.op {
            FloatOp::Softmax { n } => {
                let largest = |row: &[f64]| row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let rows = values[id].chunks(n.max(1)).map(largest);
                rows.reduce(f64::min).map(|least| least - BELOW)
            }
            FloatOp::Layout { .. } => floors[reader],
            // an output is read by no node
            _ => None,
        };
        let each = readers[id].iter().map(by).collect::<Option<Vec<_>>>();
        floors[id] = each.and_then(|each| each.into_iter().reduce(f64::min));
    }
    floors
}
