//! # Gather: elements of several tensors and constants, in any order
//! ONNX: Concat, Slice, Split, Pad, Tile, Expand, Gather with a fixed index, Resize (nearest), DepthToSpace, SpaceToDepth, Trilu …
//! Shapes: x₁ … x_k of any shape and one quantization → `shape`.
//! Semantics: y[i] = (x₁ ‖ … ‖ x_k ‖ constants)[index[i]], every tensor in row-major order.
//! Constraints: none, a gather of wires. Source: ONNX operator specification.

use super::{ARITY, Case, EvalError, InferError, Operator, length, volume};
use crate::constraint::{BuildError, Builder, LinearMap, WireTensor};
use crate::quantize::{SchemeError, Site};
use crate::tensor::{Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gather {
    /// Output shape.
    pub shape: Vec<usize>,
    /// Source of every output element.
    pub index: Vec<u32>,
    /// Values that follow the tensors.
    pub constants: Vec<i32>,
    /// What y stands for: the quantization of every tensor an element comes from.
    pub output: Quantization,
}

impl Gather {
    /// Which of tensors of these lengths some element comes from.
    fn read(&self, lengths: &[usize]) -> Vec<bool> {
        let mut read = vec![false; lengths.len()];
        let mut ends = Vec::with_capacity(lengths.len());
        let mut end = 0usize;
        for len in lengths {
            end += len;
            ends.push(end);
        }
        for &i in &self.index {
            if let Some(read) = read.get_mut(ends.partition_point(|&end| end <= i as usize)) {
                *read = true;
            }
        }
        read
    }
}

impl Operator for Gather {
    const NAME: &'static str = "Gather";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        let (index, constants) = site.gather()?;
        Ok(Self {
            shape: site.shape().to_vec(),
            index,
            constants,
            output: site.output()?,
        })
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        if x.is_empty() {
            return Err(InferError::Arity {
                expected: 1,
                got: 0,
            });
        }
        length("index", volume(&self.shape)?, self.index.len())?;
        // lengths of tensors are bounded, and so is their number
        let tensors: usize = x.iter().map(|x| x.len()).sum();
        let known = tensors + self.constants.len();
        if self.index.iter().any(|&i| i as usize >= known) {
            return Err(InferError::Attribute("an index is out of range"));
        }
        let lengths: Vec<usize> = x.iter().map(|x| x.len()).collect();
        let read = self.read(&lengths);
        let read: Vec<&&Fact> = x
            .iter()
            .zip(read)
            .filter(|(_, r)| *r)
            .map(|(x, _)| x)
            .collect();
        if read.iter().any(|x| x.quantization.is_none()) {
            return Err(InferError::Accumulator);
        }
        if read.iter().any(|x| x.quantization != Some(self.output)) || !self.output.is_sound() {
            return Err(InferError::Attribute(
                "an input has another scale or zero point than the output",
            ));
        }
        let tensors = read.iter().map(|x| x.interval);
        let constants = self.constants.iter().map(|&c| Interval {
            lo: c.into(),
            hi: c.into(),
        });
        let interval = tensors.chain(constants).reduce(|a, b| a.union(&b));
        Ok(Fact {
            shape: self.shape.clone(),
            interval: interval.ok_or(InferError::Attribute("no element"))?,
            quantization: Some(self.output),
        })
    }

    fn eval(&self, x: &[&Tensor]) -> Result<Tensor, EvalError> {
        let tensors: usize = x.iter().map(|x| x.len()).sum();
        let joined: Vec<i64> = x.iter().flat_map(|x| x.data.iter().copied()).collect();
        let element = |&i: &u32| {
            let constant = |i: usize| self.constants.get(i - tensors).map(|&c| c.into());
            let i = i as usize;
            joined
                .get(i)
                .copied()
                .or_else(|| constant(i))
                .ok_or(EvalError::Length {
                    expected: i + 1,
                    got: tensors + self.constants.len(),
                })
        };
        Ok(Tensor {
            shape: self.shape.clone(),
            data: self.index.iter().map(element).collect::<Result<_, _>>()?,
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        if x.is_empty() {
            return Err(ARITY);
        }
        let total: usize = x.iter().map(|x| x.len()).sum();
        let constant = |&i: &u32| (i as usize).checked_sub(total).map(|c| self.constants[c]);
        let constants: Vec<i64> = self
            .index
            .iter()
            .map(|i| constant(i).map_or(0, i64::from))
            .collect();
        let has_constants = self.index.iter().any(|&i| i as usize >= total);
        let lengths: Vec<usize> = x.iter().map(|x| x.len()).collect();
        let read = self.read(&lengths);
        let mut start = 0;
        let mut parts = Vec::with_capacity(x.len());
        for (number, x) in x.iter().enumerate() {
            if !read[number] && (number > 0 || !has_constants) {
                start += x.len();
                continue;
            }
            let inside = |&i: &u32| match (i as usize).checked_sub(start) {
                Some(at) if at < x.len() => at as u32,
                _ => LinearMap::NOTHING,
            };
            let index: Vec<u32> = self.index.iter().map(inside).collect();
            start += x.len();
            let bias = match number {
                0 if has_constants => constants.clone(),
                _ => Vec::new(),
            };
            parts.push(b.linear(LinearMap::Gather { index }, x, bias)?);
        }
        match &parts[..] {
            [part] => Ok(part.clone()),
            _ => {
                let terms: Vec<(i64, &WireTensor)> = parts.iter().map(|part| (1, part)).collect();
                b.combine(&terms, 0)
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let output = Quantization {
            scale: 0.5,
            zero_point: 3,
        };
        let fact = |shape: &[usize]| Fact {
            shape: shape.to_vec(),
            interval: Interval { lo: -128, hi: 127 },
            quantization: Some(output),
        };
        let tensor = |shape: &[usize], start: i64| Tensor {
            shape: shape.to_vec(),
            data: (0..shape.iter().product::<usize>() as i64)
                .map(|i| start + 7 * i)
                .collect(),
        };
        let case = |name, shapes: &[&[usize]], op| Case {
            name,
            op,
            facts: shapes.iter().map(|s| fact(s)).collect(),
            runs: vec![
                shapes
                    .iter()
                    .zip([-128, 100])
                    .map(|(s, start)| tensor(s, start))
                    .collect(),
            ],
        };
        vec![
            case(
                "concat along the last axis",
                &[&[2, 2], &[2, 1]],
                Self {
                    shape: vec![2, 3],
                    index: vec![0, 1, 4, 2, 3, 5],
                    constants: vec![],
                    output,
                },
            ),
            case(
                "pad and repeat",
                &[&[1, 3]],
                Self {
                    shape: vec![2, 4],
                    index: vec![3, 0, 1, 4, 2, 2, 0, 3],
                    constants: vec![3, -128],
                    output,
                },
            ),
        ]
    }
}
