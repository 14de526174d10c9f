//! # Select: one of two tensors, chosen element by element by a boolean
//! ONNX: Where-16. Shapes: c, x₁, x₂ [..] → y [..]; x₁ and x₂ of one quantization, c in {0, 1}.
//! Semantics: y[i] = x₁[i] where c[i] = 1, else x₂[i].
//! Constraints: the instruction Select, y = x₂ + c·(x₁ − x₂). Soundness: c is proved to be 0 or 1, so y is one of the two, and which is a function of c.
//! Source: ONNX operator specification, Where.

use super::{ARITY, Case, EvalError, InferError, Operator};
use crate::constraint::{BuildError, Builder, WireTensor};
use crate::onnx::FloatOp;
use crate::quantize::{SchemeError, Site};
use crate::tensor::{Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Select;

/// What a condition may be.
const BOOLEAN: Interval = Interval { lo: 0, hi: 1 };

impl Operator for Select {
    const NAME: &'static str = "Where";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        match site.node.op {
            FloatOp::Select => Ok(Self),
            _ => Err(site.wrong_operator()),
        }
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        let [condition, yes, no] = x else {
            return Err(InferError::Arity {
                expected: 3,
                got: x.len(),
            });
        };
        for other in [yes, no] {
            if other.shape != condition.shape {
                return Err(InferError::Shapes {
                    left: condition.shape.clone(),
                    right: other.shape.clone(),
                });
            }
        }
        if !BOOLEAN.contains(condition.interval.lo) || !BOOLEAN.contains(condition.interval.hi) {
            return Err(InferError::Keys {
                keys: BOOLEAN,
                interval: condition.interval,
            });
        }
        let quantization = yes.quantization.ok_or(InferError::Accumulator)?;
        if no.quantization != Some(quantization) {
            return Err(InferError::Attribute(
                "the inputs have different scales or zero points",
            ));
        }
        let interval = yes.interval.union(&no.interval);
        if interval.max_abs() > 1 << 60 {
            return Err(InferError::Attribute("a difference has more than 62 bits"));
        }
        Ok(Fact {
            shape: condition.shape.clone(),
            interval,
            quantization: Some(quantization),
        })
    }

    fn eval(&self, x: &[&Tensor]) -> Result<Tensor, EvalError> {
        let [condition, yes, no] = x else {
            return Err(EvalError::Arity {
                expected: 3,
                got: x.len(),
            });
        };
        let expected = condition.len();
        if let Some(got) = [yes.len(), no.len()].into_iter().find(|n| *n != expected) {
            return Err(EvalError::Length { expected, got });
        }
        let element = |(index, &value): (usize, &i64)| match value {
            0 => Ok(no.data[index]),
            1 => Ok(yes.data[index]),
            _ => Err(EvalError::Range {
                index,
                value,
                range: BOOLEAN,
            }),
        };
        let data = condition.data.iter().enumerate().map(element);
        Ok(Tensor {
            shape: condition.shape.clone(),
            data: data.collect::<Result<_, _>>()?,
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        let [condition, yes, no] = x else {
            return Err(ARITY);
        };
        b.select(condition, yes, no)
    }

    fn cases() -> Vec<Case<Self>> {
        let fact = |lo, hi, zero_point| Fact {
            shape: vec![4],
            interval: Interval { lo, hi },
            quantization: Some(Quantization {
                scale: 1.0,
                zero_point,
            }),
        };
        vec![Case {
            name: "both branches",
            op: Self,
            facts: vec![fact(0, 1, 0), fact(-128, 127, 3), fact(-128, 127, 3)],
            runs: vec![vec![
                Tensor::flat(vec![0, 1, 1, 0]),
                Tensor::flat(vec![-128, 127, 5, 9]),
                Tensor::flat(vec![127, -128, 5, 8]),
            ]],
        }]
    }
}
