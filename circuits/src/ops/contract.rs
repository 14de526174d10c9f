//! # Contract: product of two computed matrices
//! ONNX: MatMul-13, Gemm-13 and Einsum-12 with two computed operands. Shapes: x₁ [B,M,K], x₂ [B,N,K] → y with B·M·N elements.
//! Semantics: y[t,i,j] = Σ_l (x₁[t,i,l] − zero_point₁)·(x₂[t,j,l] − zero_point₂), exact, with zero point 0.
//! Constraints: the instruction Contract. Soundness: DESIGN.md#contract. Source: ONNX operator specification, MatMul.

use super::{ARITY, Case, EvalError, InferError, Operator, length, quantization, volume};
use crate::constraint::{BuildError, Builder, WireTensor};
use crate::quantize::{SchemeError, Site};
use crate::tensor::{Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contract {
    /// B, M, K, N.
    pub sizes: [usize; 4],
    /// Output shape.
    pub shape: Vec<usize>,
    /// Integers that stand for 0 in x₁ and x₂.
    pub zero_points: [i64; 2],
    /// Real value of one step of y.
    pub scale: f64,
}

impl Contract {
    /// Elements of both operands and of the result.
    fn lengths(&self) -> Option<[usize; 3]> {
        let [batch, rows, inner, columns] = self.sizes;
        let product = |a: usize, b: usize| batch.checked_mul(a)?.checked_mul(b);
        Some([
            product(rows, inner)?,
            product(columns, inner)?,
            product(rows, columns)?,
        ])
    }
}

impl Operator for Contract {
    const NAME: &'static str = "Contract";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        let (sizes, factor) = site.contraction()?;
        let (left, right) = (site.input(0)?, site.input(1)?);
        Ok(Self {
            sizes,
            shape: site.shape().to_vec(),
            zero_points: [left.zero_point, right.zero_point],
            scale: left.scale * right.scale * factor,
        })
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        let [left, right] = x else {
            return Err(InferError::Arity {
                expected: 2,
                got: x.len(),
            });
        };
        let too_large = InferError::Attribute("a size is zero or too large");
        let lengths = self.lengths().ok_or(too_large.clone())?;
        let products = lengths[2].checked_mul(self.sizes[2]);
        if products.is_none_or(|n| n > 1 << 34) {
            return Err(InferError::Attribute("more than 2^34 multiply-accumulates"));
        }
        if lengths.contains(&0) || lengths.iter().any(|&n| n > crate::tensor::MAX_ELEMENTS) {
            return Err(too_large);
        }
        length("first operand", lengths[0], left.len())?;
        length("second operand", lengths[1], right.len())?;
        length("output shape", lengths[2], volume(&self.shape)?)?;
        let mut factors = Vec::with_capacity(2);
        for (x, zero_point) in x.iter().zip(self.zero_points) {
            quantization(x, zero_point)?;
            let zero = zero_point
                .checked_neg()
                .ok_or(InferError::Attribute("zero point"))?;
            factors.push(x.interval.shift(zero)?);
        }
        let output = Quantization {
            scale: self.scale,
            zero_point: 0,
        };
        if !output.is_sound() {
            return Err(InferError::Attribute(
                "the output scale is not a positive number",
            ));
        }
        let product = factors[0].mul(&factors[1])?;
        Ok(Fact {
            shape: self.shape.clone(),
            interval: product.scale(self.sizes[2] as i64)?,
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
        let [batch, rows, inner, columns] = self.sizes;
        let lengths = self.lengths().ok_or(EvalError::Overflow)?;
        for (x, expected) in x.iter().zip(lengths) {
            if x.len() != expected {
                let got = x.len();
                return Err(EvalError::Length { expected, got });
            }
        }
        let term = |(a, b): (&i64, &i64)| {
            let a = a.checked_sub(self.zero_points[0])?;
            a.checked_mul(b.checked_sub(self.zero_points[1])?)
        };
        let mut data = Vec::with_capacity(lengths[2]);
        for t in 0..batch {
            for a in left.data[t * rows * inner..][..rows * inner].chunks_exact(inner) {
                for b in right.data[t * columns * inner..][..columns * inner].chunks_exact(inner) {
                    let mut terms = a.iter().zip(b).map(term);
                    let sum = terms.try_fold(0i64, |sum, term| sum.checked_add(term?));
                    data.push(sum.ok_or(EvalError::Overflow)?);
                }
            }
        }
        Ok(Tensor {
            shape: self.shape.clone(),
            data,
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        let [left, right] = x else { return Err(ARITY) };
        let left = b.combine(&[(1, left)], -self.zero_points[0])?;
        let right = b.combine(&[(1, right)], -self.zero_points[1])?;
        b.contract(&left, &right, self.sizes)
    }

    fn cases() -> Vec<Case<Self>> {
        let zero_points = [-7, 100];
        let fact = |shape: &[usize], zero_point| Fact {
            shape: shape.to_vec(),
            interval: Interval { lo: -128, hi: 127 },
            quantization: Some(Quantization {
                scale: 0.25,
                zero_point,
            }),
        };
        let tensor = |shape: &[usize], start: i64, step: i64| Tensor {
            shape: shape.to_vec(),
            data: (0..shape.iter().product::<usize>() as i64)
                .map(|i| (start + step * i).rem_euclid(256) - 128)
                .collect(),
        };
        let case = |name, sizes: [usize; 4]| {
            let [batch, rows, inner, columns] = sizes;
            let (a, b) = ([batch, rows, inner], [batch, columns, inner]);
            Case {
                name,
                op: Self {
                    sizes,
                    shape: vec![batch, rows, columns],
                    zero_points,
                    scale: 0.0625,
                },
                facts: vec![fact(&a, zero_points[0]), fact(&b, zero_points[1])],
                runs: vec![
                    vec![tensor(&a, 0, 37), tensor(&b, 5, 91)],
                    vec![tensor(&a, 0, 0), tensor(&b, 255, 0)],
                ],
            }
        };
        vec![
            case("a row times a row", [1, 1, 3, 1]),
            case("two matrices", [2, 2, 2, 3]),
        ]
    }
}
