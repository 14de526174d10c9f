//! # Extremum: the largest or the least of several tensors, element by element
//! ONNX: Max-13 and Min-13 of computed tensors; And, Or of booleans. Shapes: x₁ … x_k [..] of one quantization → y [..].
//! Semantics: y[i] = max_j x_j[i], or the minimum.
//! Constraints: the gadget max, of the negated values for a minimum. Soundness: DESIGN.md#max.
//! Source: ONNX operator specification, Max and Min.

use super::{ARITY, Case, EvalError, InferError, Operator};
use crate::constraint::{BuildError, Builder, WireTensor};
use crate::gadgets::max::max;
use crate::onnx::FloatOp;
use crate::quantize::{SchemeError, Site};
use crate::tensor::{Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extremum {
    /// The largest, or the least.
    pub largest: bool,
}

impl Operator for Extremum {
    const NAME: &'static str = "Max";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        match site.node.op {
            FloatOp::Extremum { largest } => Ok(Self { largest }),
            _ => Err(site.wrong_operator()),
        }
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        let Some((first, rest)) = x.split_first() else {
            return Err(InferError::Arity {
                expected: 2,
                got: 0,
            });
        };
        let quantization = first.quantization.ok_or(InferError::Accumulator)?;
        let mut interval = first.interval;
        for x in rest {
            if x.shape != first.shape {
                return Err(InferError::Shapes {
                    left: first.shape.clone(),
                    right: x.shape.clone(),
                });
            }
            if x.quantization != Some(quantization) {
                return Err(InferError::Attribute(
                    "the inputs have different scales or zero points",
                ));
            }
            let (lo, hi) = if self.largest {
                (
                    interval.lo.max(x.interval.lo),
                    interval.hi.max(x.interval.hi),
                )
            } else {
                (
                    interval.lo.min(x.interval.lo),
                    interval.hi.min(x.interval.hi),
                )
            };
            interval = Interval { lo, hi };
        }
        if interval.max_abs() > 1 << 46 {
            return Err(InferError::Attribute("a difference has more than 48 bits"));
        }
        Ok(Fact {
            shape: first.shape.clone(),
            interval,
            quantization: Some(quantization),
        })
    }

    fn eval(&self, x: &[&Tensor]) -> Result<Tensor, EvalError> {
        let Some((first, rest)) = x.split_first() else {
            return Err(EvalError::Arity {
                expected: 2,
                got: 0,
            });
        };
        let mut data = first.data.clone();
        for x in rest {
            if x.len() != data.len() {
                return Err(EvalError::Length {
                    expected: data.len(),
                    got: x.len(),
                });
            }
            for (y, &x) in data.iter_mut().zip(&x.data) {
                *y = if self.largest { x.max(*y) } else { x.min(*y) };
            }
        }
        Ok(Tensor {
            shape: first.shape.clone(),
            data,
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        if x.is_empty() {
            return Err(ARITY);
        }
        if self.largest {
            return max(b, x);
        }
        let negated: Vec<WireTensor> = x
            .iter()
            .map(|x| b.combine(&[(-1, x)], 0))
            .collect::<Result<_, _>>()?;
        let largest = max(b, &negated.iter().collect::<Vec<_>>())?;
        b.combine(&[(-1, &largest)], 0)
    }

    fn cases() -> Vec<Case<Self>> {
        let fact = Fact {
            shape: vec![4],
            interval: Interval { lo: -128, hi: 127 },
            quantization: Some(Quantization {
                scale: 0.1,
                zero_point: 9,
            }),
        };
        let run = vec![
            Tensor::flat(vec![-128, 5, 127, 0]),
            Tensor::flat(vec![127, 5, -128, -1]),
            Tensor::flat(vec![0, 4, 126, 1]),
        ];
        [("largest of three", true), ("least of three", false)]
            .into_iter()
            .map(|(name, largest)| Case {
                name,
                op: Self { largest },
                facts: vec![fact.clone(); 3],
                runs: vec![run.clone()],
            })
            .collect()
    }
}
