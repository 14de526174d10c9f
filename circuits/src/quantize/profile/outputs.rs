//! Outputs beside the float model's: pairs of values, the largest elements, right answers.

use super::super::report::argmax;
use super::accuracy::{Accuracy, Confusion, Hits, Truth};
use crate::tensor::Fact;
use serde::{Deserialize, Serialize};

/// One output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputProfile {
    /// Name.
    pub name: String,
    /// Elements of one sample.
    pub classes: usize,
    /// Float and dequantized values of the same element, evenly spread over samples and elements.
    pub points: Vec<[f64; 2]>,
    /// Samples on which the index of the largest element is that of the float model.
    pub agreement: Option<usize>,
    /// Accuracy, for the first output of labelled samples.
    pub accuracy: Option<Accuracy>,
    /// What the largest element is mistaken for, where there are labels or a float model.
    pub confusion: Option<Confusion>,
}

/// One output of one sample.
pub(super) struct Answer {
    points: Vec<[f64; 2]>,
    quantized: usize,
    float: Option<usize>,
    label: Option<usize>,
    hits: Option<Hits>,
    float_hits: Option<Hits>,
}

/// Which elements of an output are kept as points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    /// Elements of the samples before.
    pub(super) before: usize,
    /// Distance between kept elements when all samples are laid end to end.
    pub(super) stride: usize,
}

impl Answer {
    /// One output of one sample, beside the float model's.
    pub(super) fn new(
        fact: &Fact,
        integers: &[i64],
        float: Option<&[f64]>,
        label: Option<usize>,
        kept: Kept,
    ) -> Self {
        let real = |v: i64| fact.quantization.map_or(v as f64, |q| q.dequantize(v));
        let Kept { before, stride } = kept;
        let first = before.next_multiple_of(stride) - before;
        let points = float.map_or(vec![], |float| {
            let pairs = float.iter().zip(integers).skip(first).step_by(stride);
            pairs.map(|(&f, &i)| [f, real(i)]).collect()
        });
        Self {
            points,
            quantized: argmax(integers).unwrap_or(0),
            float: float.and_then(argmax),
            label,
            hits: label.map(|l| Hits::of(integers, l)),
            float_hits: label.zip(float).map(|(l, f)| Hits::of(f, l)),
        }
    }
}

impl OutputProfile {
    /// Of all samples.
    pub(super) fn of(
        name: &str,
        classes: usize,
        answers: &[Answer],
        float: bool,
        labelled: bool,
    ) -> Self {
        let agrees = |a: &&Answer| a.float == Some(a.quantized);
        let truth = match (labelled, float) {
            (true, _) => Some(Truth::Label),
            (false, true) => Some(Truth::Float),
            (false, false) => None,
        };
        let confusion = truth.filter(|_| classes > 1).map(|truth| {
            let pairs = answers.iter().filter_map(|a| {
                let true_class = match truth {
                    Truth::Label => a.label,
                    Truth::Float => a.float,
                };
                Some((true_class?, a.quantized))
            });
            Confusion::of(truth, pairs)
        });
        Self {
            name: name.to_owned(),
            classes,
            points: answers.iter().flat_map(|a| a.points.clone()).collect(),
            agreement: float.then(|| answers.iter().filter(agrees).count()),
            accuracy: labelled.then(|| accuracy(answers, float)),
            confusion,
        }
    }
}

fn accuracy(answers: &[Answer], float: bool) -> Accuracy {
    let mut all = Accuracy {
        float: float.then(Hits::default),
        ..Accuracy::default()
    };
    for answer in answers {
        let Some(hits) = answer.hits else { continue };
        all.quantized.add(hits);
        if let (Some(sum), Some(of_float)) = (&mut all.float, answer.float_hits) {
            sum.add(of_float);
            all.lost += usize::from(of_float.top_1 > hits.top_1);
            all.gained += usize::from(hits.top_1 > of_float.top_1);
        }
    }
    all
}
