//! # MatMul: dense layer with fixed weights
//! ONNX: MatMul-13 and Gemm-13 with constant B. Shapes: x [.., K] → y [.., N], an accumulator.
//! Semantics: y[b,n] = bias[n] + Σ_k weights[n,k]·(x[b,k] − zero_point).
//! Constraints: none of its own, y is a linear expression. Source: ONNX operator specification, MatMul and Gemm.

use super::conv::accumulator;
use super::{
    ARITY, Case, EvalError, InferError, Operator, length, one, one_tensor, quantization, volume,
};
use crate::constraint::{BuildError, Builder, LinearMap, WireTensor};
use crate::quantize::{SchemeError, Site};
use crate::tensor::{Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatMul {
    /// Output shape, [.., N].
    pub shape: Vec<usize>,
    /// Integer that stands for 0 in x.
    pub zero_point: i64,
    /// `[N][K]`, row-major; within ±255: int8, or uint8 less its zero point.
    pub weights: Vec<i16>,
    /// One per output column.
    pub bias: Vec<i32>,
}

impl MatMul {
    /// (K, N), or `None` when weights and bias do not agree.
    fn sizes(&self) -> Option<(usize, usize)> {
        let n = self.bias.len();
        let k = self.weights.len().checked_div(n)?;
        (k > 0 && k * n == self.weights.len()).then_some((k, n))
    }

    /// Elements of the input; 0 when the sizes do not agree.
    fn input_len(&self) -> usize {
        self.sizes()
            .map_or(0, |(k, n)| self.shape.iter().product::<usize>() / n * k)
    }
}

impl Operator for MatMul {
    const NAME: &'static str = "MatMul";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        let (n_in, weights, bias) = site.dense()?;
        let (weights, bias) = site.quantize_weights(&weights, n_in, &bias)?;
        Ok(Self {
            shape: site.shape().to_vec(),
            zero_point: site.input(0)?.zero_point,
            weights,
            bias,
        })
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        let x = one(x)?;
        quantization(x, self.zero_point)?;
        let (k, n) = self.sizes().ok_or(InferError::Attribute(
            "weights are not [N][K] for a bias of N values",
        ))?;
        let out = volume(&self.shape)?;
        if self.shape.last() != Some(&n) {
            return Err(InferError::Attribute("the last output dimension is not N"));
        }
        let input = (out / n)
            .checked_mul(k)
            .ok_or(InferError::Attribute("input is too large"))?;
        length("input", input, x.len())?;
        let zero = self
            .zero_point
            .checked_neg()
            .ok_or(InferError::Attribute("zero point"))?;
        let centred = x.interval.shift(zero)?;
        Ok(Fact {
            shape: self.shape.clone(),
            interval: accumulator(centred, self.weights.chunks_exact(k), &self.bias)?,
            quantization: None,
        })
    }

    fn eval(&self, x: &[&Tensor]) -> Result<Tensor, EvalError> {
        let x = one_tensor(x, self.input_len())?;
        let (k, n) = self.sizes().ok_or(EvalError::Length {
            expected: 0,
            got: self.weights.len(),
        })?;
        let mut data = Vec::with_capacity(x.len() / k * n);
        for row in x.data.chunks_exact(k) {
            for (weights, &bias) in self.weights.chunks_exact(k).zip(&self.bias) {
                let sum = row
                    .iter()
                    .zip(weights)
                    .try_fold(i64::from(bias), |sum, (&x, &w)| {
                        x.checked_sub(self.zero_point)?
                            .checked_mul(i64::from(w))?
                            .checked_add(sum)
                    });
                data.push(sum.ok_or(EvalError::Overflow)?);
            }
        }
        Ok(Tensor {
            shape: self.shape.clone(),
            data,
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        let [x] = x else { return Err(ARITY) };
        let (n_in, n_out) = self.sizes().unwrap_or((0, 0));
        let centred = b.combine(&[(1, x)], -self.zero_point)?;
        let weights = self.weights.iter().map(|&w| w.into()).collect();
        let rows = x.len().checked_div(n_in).unwrap_or(0);
        let bias = (0..rows).flat_map(|_| self.bias.iter().map(|&v| i64::from(v)));
        b.linear(
            LinearMap::Dense {
                n_in,
                n_out,
                weights,
            },
            &centred,
            bias.collect(),
        )
    }

    fn cases() -> Vec<Case<Self>> {
        [
            ("one row", vec![1, 3], 0),
            ("a batch of rows", vec![1, 2, 3], -128),
        ]
        .into_iter()
        .map(|(name, shape, zero_point)| {
            let rows = shape.iter().product::<usize>() / 3;
            let mut input = shape.clone();
            input.pop();
            input.push(4);
            Case {
                name,
                op: Self {
                    shape,
                    zero_point,
                    weights: vec![127, -127, 0, 1, -128, 5, 6, 7, 0, 0, 0, 0],
                    bias: vec![12, -(1 << 30), 0],
                },
                facts: vec![Fact {
                    shape: input.clone(),
                    interval: Interval { lo: -128, hi: 127 },
                    quantization: Some(Quantization {
                        scale: 0.25,
                        zero_point,
                    }),
                }],
                runs: [[-128; 4], [127; 4], [1, -2, 3, -4]]
                    .into_iter()
                    .map(|row| {
                        vec![Tensor {
                            shape: input.clone(),
                            data: row.repeat(rows),
                        }]
                    })
                    .collect(),
            }
        })
        .collect()
    }
}
