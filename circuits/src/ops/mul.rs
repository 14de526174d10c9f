//! # Mul: product of two activations
//! ONNX: Mul of two computed tensors, and Div after a table of reciprocals. Shapes: x₁, x₂ [..] → y [..].
//! Semantics: y = (x₁ − zero_point₁)·(x₂ − zero_point₂), exact, with scale s₁·s₂ and zero point 0.
//! Constraints: one product for each element. Soundness: the product is a function of its factors.
//! Source: ONNX operator specification, Mul.

use super::{ARITY, Case, EvalError, InferError, Operator, quantization};
use crate::constraint::{BuildError, Builder, WireTensor};
use crate::quantize::{SchemeError, Site};
use crate::tensor::{Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mul {
    /// Integers that stand for 0 in x₁ and x₂.
    pub zero_points: [i64; 2],
}

impl Operator for Mul {
    const NAME: &'static str = "Mul";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        Ok(Self {
            zero_points: [site.input(0)?.zero_point, site.input(1)?.zero_point],
        })
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        let [left, right] = x else {
            return Err(InferError::Arity {
                expected: 2,
                got: x.len(),
            });
        };
        if left.shape != right.shape {
            return Err(InferError::Shapes {
                left: left.shape.clone(),
                right: right.shape.clone(),
            });
        }
        let mut factors = Vec::with_capacity(2);
        let mut scale = 1.0;
        for (x, zero_point) in x.iter().zip(self.zero_points) {
            scale *= quantization(x, zero_point)?.scale;
            let zero = zero_point
                .checked_neg()
                .ok_or(InferError::Attribute("zero point"))?;
            factors.push(x.interval.shift(zero)?);
        }
        let output = Quantization {
            scale,
            zero_point: 0,
        };
        if !output.is_sound() {
            return Err(InferError::Attribute(
                "the output scale is not a positive number",
            ));
        }
        Ok(Fact {
            shape: left.shape.clone(),
            interval: factors[0].mul(&factors[1])?,
            quantization: Some(output),
        })
    }

    fn eval(&self, x: &[&Tensor]) -> Result<Tensor, EvalError> {
        let [left, right] = x else {
            return Err(EvalError::Arity {
                expected: 2,
                got: x.len(),
            });
        };
        if left.len() != right.len() {
            return Err(EvalError::Length {
                expected: left.len(),
                got: right.len(),
            });
        }
        let product = |(&l, &r): (&i64, &i64)| {
            let left = l.checked_sub(self.zero_points[0])?;
            left.checked_mul(r.checked_sub(self.zero_points[1])?)
        };
        let data = left.data.iter().zip(&right.data).map(product);
        Ok(Tensor {
            shape: left.shape.clone(),
            data: data.collect::<Option<_>>().ok_or(EvalError::Overflow)?,
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        let [left, right] = x else { return Err(ARITY) };
        let left = b.combine(&[(1, left)], -self.zero_points[0])?;
        let right = b.combine(&[(1, right)], -self.zero_points[1])?;
        b.mul(&left, &right)
    }

    fn cases() -> Vec<Case<Self>> {
        let zero_points = [-128, 7];
        let fact = |zero_point| Fact {
            shape: vec![5],
            interval: Interval { lo: -128, hi: 127 },
            quantization: Some(Quantization {
                scale: 0.1,
                zero_point,
            }),
        };
        vec![Case {
            name: "two zero points",
            op: Self { zero_points },
            facts: zero_points.map(fact).to_vec(),
            runs: vec![vec![
                Tensor::flat(vec![-128, -1, 0, 1, 127]),
                Tensor::flat(vec![127, 5, 7, -128, -128]),
            ]],
        }]
    }
}
