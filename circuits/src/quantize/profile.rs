//! # Profile: what an integer model does on samples, tensor by tensor
//!
//! Histograms of every tensor, and beside a float model the errors, pairs of outputs, agreement and accuracy. Everything is bounded
//! in size and depends on the samples only: not on their order of evaluation, not on the number of threads.

mod accuracy;
mod histogram;
mod outputs;
mod pairing;

pub use accuracy::{
    Accuracy, Confusion, Hits, LEAST_CLASSES_FOR_TOP_5, MAX_CONFUSION_CELLS, Truth,
};
pub use histogram::{Histogram, MAX_BINS};
pub use outputs::OutputProfile;
pub use pairing::{Pairing, PairingError, tensors_of};

use super::input::{InputError, InputFile, Sample};
use crate::model::{EvalError, Model};
use crate::tensor::Tensor;
use outputs::{Answer, Kept};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Most pairs of float and integer output that are kept, of all outputs together.
pub const MAX_POINTS: usize = 2000;
/// Samples evaluated between two reports of progress.
const CHUNK: usize = 32;

/// Why samples do not profile a model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The labels cannot be read.
    #[error("labels: {0}")]
    Input(#[from] InputError),
    /// The integer model cannot be evaluated.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// The float model gives NaN or infinity on a sample.
    #[error("sample {sample} makes `{tensor}` of the float model {value} at index {index}")]
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
    /// Another number of labels than samples.
    #[error("expected {expected} labels, one for each sample, got {got}")]
    Labels {
        /// Samples.
        expected: usize,
        /// Labels.
        got: usize,
    },
    /// A label is no class of the first output.
    #[error("label {label} of sample {sample} is not a whole number from 0 to {}", .classes.saturating_sub(1))]
    Label {
        /// Sample number, from 0.
        sample: usize,
        /// The label.
        label: f64,
        /// Elements of the first output.
        classes: usize,
    },
}

/// What a model does on samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Samples evaluated.
    pub samples: usize,
    /// Whether the float model was evaluated beside it.
    pub float: bool,
    /// Every tensor of the model: inputs first, then one per node.
    pub tensors: Vec<TensorProfile>,
    /// Outputs in the order of the model.
    pub outputs: Vec<OutputProfile>,
}

/// One tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorProfile {
    /// Its integers.
    pub histogram: Histogram,
    /// How far it is from its float tensor, where it has one.
    pub error: Option<TensorError>,
}

/// How far a tensor is from its float tensor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorError {
    /// Mean of |dequantized − float|.
    pub mean: f64,
    /// Largest |dequantized − float|.
    pub max: f64,
    /// Least and largest float value.
    pub range: [f64; 2],
}

/// The labels of an archive's array `name`, one whole number for each sample.
///
/// # Errors
/// When the file has no such array, or it does not hold whole numbers.
pub fn labels(file: &InputFile, name: &str) -> Result<Vec<f64>, ProfileError> {
    let scalar = file.samples(&[(name, &[])]);
    let samples = scalar.or_else(|_| file.samples(&[(name, &[1])]))?;
    Ok(samples
        .iter()
        .map(|sample| f64::from(sample[0][0]))
        .collect())
}

/// What the model does on `samples`; with `pairing` beside the float model, with `labels` also how often the first output is right.
///
/// `progress` is told the samples done and their number.
///
/// # Errors
/// See [`ProfileError`].
pub fn profile(
    model: &Model,
    samples: &[Sample],
    pairing: Option<&Pairing<'_>>,
    labels: Option<&[f64]>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Profile, ProfileError> {
    let labels = labels
        .map(|labels| classes_of(model, samples.len(), labels))
        .transpose()?;
    let subject = Subject { model, pairing };
    let spread = subject.spread(samples.len());
    let mut all = Gathered::new(model);
    for (number, chunk) in samples.chunks(CHUNK).enumerate() {
        progress((number * CHUNK) as u64, samples.len() as u64);
        let each = chunk.par_iter().enumerate().map(|(i, sample)| {
            let index = number * CHUNK + i;
            let label = labels.as_ref().and_then(|l| l.get(index).copied());
            subject.sample(index, sample, label, &spread)
        });
        // in the order of the samples, whichever thread was first
        for one in each.collect::<Result<Vec<_>, _>>()? {
            all.add(one);
        }
    }
    progress(samples.len() as u64, samples.len() as u64);
    Ok(all.finish(&subject, samples.len(), labels.is_some()))
}

/// The labels as indices into the first output.
fn classes_of(model: &Model, n_samples: usize, labels: &[f64]) -> Result<Vec<usize>, ProfileError> {
    if labels.len() != n_samples {
        return Err(ProfileError::Labels {
            expected: n_samples,
            got: labels.len(),
        });
    }
    let classes = model.facts()[model.output_tensor(0)].len();
    let class = |(sample, &label): (usize, &f64)| {
        let whole = label.fract() == 0.0 && label >= 0.0 && label < classes as f64;
        let bad = ProfileError::Label {
            sample,
            label,
            classes,
        };
        whole.then_some(label as usize).ok_or(bad)
    };
    labels.iter().enumerate().map(class).collect()
}

/// The model, and the float model beside it.
struct Subject<'a> {
    model: &'a Model,
    pairing: Option<&'a Pairing<'a>>,
}

/// What one sample gives.
struct Gathered {
    tensors: Vec<(Histogram, Option<Errors>)>,
    outputs: Vec<Vec<Answer>>,
}

/// Sums over a tensor's elements.
#[derive(Clone, Copy, Debug)]
struct Errors {
    n: u64,
    sum: f64,
    max: f64,
    range: [f64; 2],
}

impl Subject<'_> {
    fn output_lens(&self) -> impl Iterator<Item = usize> + '_ {
        let facts = self.model.facts();
        (0..self.model.outputs().len()).map(|o| facts[self.model.output_tensor(o)].len())
    }

    /// For every output, the distance between kept elements when all samples are laid end to end. It shares no factor with the number
    /// of elements, so every class is met.
    fn spread(&self, n_samples: usize) -> Vec<usize> {
        let each = (MAX_POINTS / self.model.outputs().len().max(1)).max(1);
        let stride = |len: usize| {
            let least = (n_samples * len).div_ceil(each).max(1);
            (least..).find(|&k| k == 1 || gcd(k, len) == 1).unwrap_or(1)
        };
        self.output_lens().map(stride).collect()
    }

    fn sample(
        &self,
        index: usize,
        sample: &Sample,
        label: Option<usize>,
        spread: &[usize],
    ) -> Result<Gathered, ProfileError> {
        let quantized = self.model.quantize_input(sample).map_err(EvalError::from)?;
        let integers = self.model.eval_all(&quantized)?;
        let floats = self.pairing.map(|pairing| pairing.graph.evaluate(sample));
        if let (Some(pairing), Some(floats)) = (self.pairing, &floats) {
            check_finite(pairing, index, floats)?;
        }
        let mut tensors = Vec::with_capacity(integers.len());
        for (number, tensor) in integers.iter().enumerate() {
            let errors = self.float_of(number, floats.as_deref());
            let errors = errors.and_then(|float| self.errors(number, tensor, float));
            tensors.push((Histogram::of(&tensor.data), errors));
        }
        let mut outputs = Vec::with_capacity(spread.len());
        for (output, &stride) in spread.iter().enumerate() {
            let tensor = &integers[self.model.output_tensor(output)];
            let node = self.pairing.map(|pairing| pairing.outputs[output]);
            let float = node.zip(floats.as_ref()).map(|(id, f)| f[id].as_slice());
            let label = label.filter(|_| output == 0);
            let fact = &self.model.facts()[self.model.output_tensor(output)];
            let kept = Kept {
                before: index * tensor.len(),
                stride,
            };
            outputs.push(vec![Answer::new(fact, &tensor.data, float, label, kept)]);
        }
        Ok(Gathered { tensors, outputs })
    }

    fn float_of<'f>(&self, tensor: usize, floats: Option<&'f [Vec<f64>]>) -> Option<&'f [f64]> {
        let id = self.pairing?.nodes[tensor]?;
        Some(floats?.get(id)?)
    }

    fn errors(&self, number: usize, tensor: &Tensor, float: &[f64]) -> Option<Errors> {
        let q = self.model.facts()[number].quantization?;
        let start = Errors {
            n: tensor.len() as u64,
            sum: 0.0,
            max: 0.0,
            range: [f64::INFINITY, f64::NEG_INFINITY],
        };
        let pairs = tensor.data.iter().zip(float);
        Some(pairs.fold(start, |e, (&i, &f)| {
            let error = (q.dequantize(i) - f).abs();
            Errors {
                sum: e.sum + error,
                max: e.max.max(error),
                range: [e.range[0].min(f), e.range[1].max(f)],
                ..e
            }
        }))
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn check_finite(
    pairing: &Pairing<'_>,
    sample: usize,
    floats: &[Vec<f64>],
) -> Result<(), ProfileError> {
    for (values, node) in floats.iter().zip(&pairing.graph.nodes) {
        if let Some(index) = values.iter().position(|v| !v.is_finite()) {
            return Err(ProfileError::NonFinite {
                tensor: node.name.clone(),
                sample,
                index,
                value: values[index],
            });
        }
    }
    Ok(())
}

impl Gathered {
    fn new(model: &Model) -> Self {
        Self {
            tensors: vec![(Histogram::default(), None); model.facts().len()],
            outputs: model.outputs().iter().map(|_| vec![]).collect(),
        }
    }

    fn add(&mut self, one: Self) {
        for ((histogram, errors), (more, found)) in self.tensors.iter_mut().zip(one.tensors) {
            *histogram = std::mem::take(histogram).merged(&more);
            *errors = match (*errors, found) {
                (Some(a), Some(b)) => Some(Errors {
                    n: a.n + b.n,
                    sum: a.sum + b.sum,
                    max: a.max.max(b.max),
                    range: [a.range[0].min(b.range[0]), a.range[1].max(b.range[1])],
                }),
                (a, b) => a.or(b),
            };
        }
        for (answers, more) in self.outputs.iter_mut().zip(one.outputs) {
            answers.extend(more);
        }
    }

    fn finish(self, subject: &Subject<'_>, samples: usize, labelled: bool) -> Profile {
        let tensor = |(histogram, errors): (Histogram, Option<Errors>)| TensorProfile {
            histogram,
            error: errors.filter(|e| e.n > 0).map(|e| TensorError {
                mean: e.sum / e.n as f64,
                max: e.max,
                range: e.range,
            }),
        };
        let float = subject.pairing.is_some();
        let named = self.outputs.into_iter().zip(subject.model.outputs());
        let outputs = named.zip(subject.output_lens()).enumerate().map(
            |(number, ((answers, output), classes))| {
                OutputProfile::of(
                    &output.name,
                    classes,
                    &answers,
                    float,
                    labelled && number == 0,
                )
            },
        );
        Profile {
            samples,
            float,
            outputs: outputs.collect(),
            tensors: self.tensors.into_iter().map(tensor).collect(),
        }
    }
}
