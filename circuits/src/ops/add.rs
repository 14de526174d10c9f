//! # Add: sum of two activations of different scales
//! ONNX: Add-13 and Sub-13 of two tensors of one shape. Shapes: x₁, x₂ [..] → y [..].
//! Semantics: y = factor₁·(x₁ − zero_point₁) + factor₂·(x₂ − zero_point₂). Either a factor is round(±s_i/s_y·2^k), y is an
//! accumulator of scale s_y/2^k, and the Requantize that follows has multiplier 1 and shift k; or one scale is a whole multiple of the
//! other, and y is the exact sum in steps of the smaller.
//! Constraints: none of its own, y is a linear expression. Source: ONNX operator specification, Add.

use super::{ARITY, Case, EvalError, InferError, Operator, quantization};
use crate::constraint::{BuildError, Builder, WireTensor};
use crate::quantize::{SchemeError, Site};
use crate::tensor::{Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Add {
    /// Integers that stand for 0 in x₁ and x₂.
    pub zero_points: [i64; 2],
    /// Fixed-point ratios of the input scales to the output scale, signed.
    pub factors: [i64; 2],
    /// What y stands for; `None` for an accumulator.
    pub output: Option<Quantization>,
}

impl Operator for Add {
    const NAME: &'static str = "Add";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        Ok(Self {
            zero_points: [site.input(0)?.zero_point, site.input(1)?.zero_point],
            factors: site.sum_factors()?,
            output: site.exact_sum(),
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
        if self.factors.iter().any(|f| f.unsigned_abs() >= 1 << 31) {
            return Err(InferError::Attribute("a factor has more than 31 bits"));
        }
        let mut sum = Interval::point(0)?;
        for ((x, zero_point), factor) in x.iter().zip(self.zero_points).zip(self.factors) {
            quantization(x, zero_point)?;
            let zero = zero_point
                .checked_neg()
                .ok_or(InferError::Attribute("zero point"))?;
            sum = sum.add(&x.interval.shift(zero)?.scale(factor)?)?;
        }
        if self
            .output
            .is_some_and(|q| !q.is_sound() || q.zero_point != 0)
        {
            return Err(InferError::Attribute("scale or zero point of the output"));
        }
        Ok(Fact {
            shape: left.shape.clone(),
            interval: sum,
            quantization: self.output,
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
        let term = |x: i64, i: usize| {
            x.checked_sub(self.zero_points[i])?
                .checked_mul(self.factors[i])
        };
        let data = left
            .data
            .iter()
            .zip(&right.data)
            .map(|(&l, &r)| term(l, 0)?.checked_add(term(r, 1)?))
            .collect::<Option<_>>()
            .ok_or(EvalError::Overflow)?;
        Ok(Tensor {
            shape: left.shape.clone(),
            data,
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        let [left, right] = x else { return Err(ARITY) };
        let constant =
            -(self.factors[0] * self.zero_points[0] + self.factors[1] * self.zero_points[1]);
        b.combine(
            &[(self.factors[0], left), (self.factors[1], right)],
            constant,
        )
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
        [
            ("sum", [1 << 21, 123_456]),
            ("difference", [2_000_000, -(1 << 22)]),
        ]
        .into_iter()
        .map(|(name, factors)| Case {
            name,
            op: Self {
                zero_points,
                factors,
                output: None,
            },
            facts: zero_points.map(fact).to_vec(),
            runs: vec![vec![
                Tensor::flat(vec![-128, -1, 0, 1, 127]),
                Tensor::flat(vec![127, 5, 7, -128, -128]),
            ]],
        })
        .collect()
    }
}
