//! # SumPool: weighted sum over windows
//! ONNX: AveragePool-11, GlobalAveragePool-1, ReduceMean and ReduceSum. Shapes: x [N,C,H,W] → y [N,C,H',W'].
//! Semantics: y[c,p] = factors[p]·Σ_t (x[c, source(p,t)] − zero_point); padding contributes 0. A mean is the sum with its scale
//! divided: where windows hold different counts k_p, the factors are lcm(k)/k_p and the scale is divided by lcm(k). Nothing is
//! rounded, and y is wider than int8 with zero point 0.
//! Constraints: none of its own, y is a linear expression. Source: ONNX operator specification, AveragePool.

use super::max_pool::check_pool;
use super::{ARITY, Case, EvalError, InferError, Operator, one, one_tensor, quantization};
use crate::constraint::{BuildError, Builder, LinearMap, WireTensor};
use crate::quantize::{SchemeError, Site};
use crate::tensor::{ConvGeometry, Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SumPool {
    /// Depthwise: channels in, channels out and groups are equal.
    pub geometry: ConvGeometry,
    /// Output shape.
    pub shape: Vec<usize>,
    /// Integer that stands for 0 in x.
    pub zero_point: i64,
    /// One for all windows, or one per output position.
    pub factors: Vec<u32>,
    /// Real value of one step of y.
    pub scale: f64,
}

impl SumPool {
    fn factor(&self, position: usize) -> i64 {
        self.factors[if self.factors.len() == 1 { 0 } else { position }].into()
    }
}

impl Operator for SumPool {
    const NAME: &'static str = "SumPool";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        let (geometry, factors, factor) = site.sum()?;
        let x = site.input(0)?;
        Ok(Self {
            geometry,
            shape: site.shape().to_vec(),
            zero_point: x.zero_point,
            factors,
            scale: x.scale * factor,
        })
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        let x = one(x)?;
        quantization(x, self.zero_point)?;
        check_pool(&self.geometry, &self.shape, x)?;
        let [rows, columns] = self.geometry.output_size();
        if self.factors.len() != 1 && self.factors.len() != rows * columns {
            return Err(InferError::Length {
                what: "factors",
                expected: rows * columns,
                got: self.factors.len(),
            });
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
        let zero = self
            .zero_point
            .checked_neg()
            .ok_or(InferError::Attribute("zero point"))?;
        let mut centred = x.interval.shift(zero)?;
        if self.geometry.pads != [0; 4] {
            centred = centred.union(&Interval::point(0)?);
        }
        // n_taps is below 2^28 after the geometry check
        let sum = centred.scale(self.geometry.n_taps() as i64)?;
        let mut interval = sum.scale(self.factor(0))?;
        for &factor in &self.factors {
            interval = interval.union(&sum.scale(factor.into())?);
        }
        Ok(Fact {
            shape: self.shape.clone(),
            interval,
            quantization: Some(output),
        })
    }

    fn eval(&self, x: &[&Tensor]) -> Result<Tensor, EvalError> {
        let g = &self.geometry;
        let x = one_tensor(x, g.input_len())?;
        let [rows, columns] = g.output_size();
        let taps: Vec<_> = g
            .taps()
            .filter_map(|t| Some((t.output, t.input?)))
            .collect();
        let mut data = Vec::with_capacity(g.output_len());
        for plane in x.data.chunks_exact(g.height * g.width) {
            let mut sums = vec![0i64; rows * columns];
            for &(output, source) in &taps {
                let centred = plane[source].checked_sub(self.zero_point);
                sums[output] = centred
                    .and_then(|v| v.checked_add(sums[output]))
                    .ok_or(EvalError::Overflow)?;
            }
            for (position, sum) in sums.into_iter().enumerate() {
                data.push(
                    sum.checked_mul(self.factor(position))
                        .ok_or(EvalError::Overflow)?,
                );
            }
        }
        Ok(Tensor {
            shape: self.shape.clone(),
            data,
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        let [x] = x else { return Err(ARITY) };
        let geometry = self.geometry.clone();
        let centred = b.combine(&[(1, x)], -self.zero_point)?;
        let (channels, n_out) = (geometry.channels_out, geometry.output_len());
        let weights = vec![1; geometry.weights_len()];
        let sum = b.linear(LinearMap::Conv { geometry, weights }, &centred, Vec::new())?;
        if self.factors == [1] {
            return Ok(sum);
        }
        let plane = n_out / channels;
        let factors = (0..n_out).map(|i| self.factor(i % plane)).collect();
        b.linear(LinearMap::Scale { factors }, &sum, Vec::new())
    }

    fn cases() -> Vec<Case<Self>> {
        let geometry = ConvGeometry {
            channels_in: 2,
            height: 3,
            width: 3,
            channels_out: 2,
            kernel: [2, 2],
            strides: [1, 1],
            pads: [0; 4],
            dilations: [1, 1],
            groups: 2,
        };
        let padded = ConvGeometry {
            strides: [2, 2],
            pads: [1, 1, 0, 0],
            ..geometry.clone()
        };
        [
            ("equal windows", geometry, vec![1]),
            ("counts 1, 2, 2, 4", padded, vec![4, 2, 2, 1]),
        ]
        .into_iter()
        .map(|(name, geometry, factors)| Case {
            name,
            op: Self {
                geometry,
                shape: vec![1, 2, 2, 2],
                zero_point: -9,
                factors,
                scale: 0.125,
            },
            facts: vec![Fact {
                shape: vec![1, 2, 3, 3],
                interval: Interval { lo: -128, hi: 127 },
                quantization: Some(Quantization {
                    scale: 0.5,
                    zero_point: -9,
                }),
            }],
            runs: [(0, -128), (0, 127), (13, -128)]
                .into_iter()
                .map(|(step, start)| {
                    let data = (0..18).map(|i| start + step * i).collect();
                    vec![Tensor {
                        shape: vec![1, 2, 3, 3],
                        data,
                    }]
                })
                .collect(),
        })
        .collect()
    }
}
