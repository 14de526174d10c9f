//! # Conv: grouped convolution with fixed weights
//! ONNX: Conv-11, one or two spatial axes. Shapes: x [N,C,H,W] → y [N,O,H',W'], an accumulator.
//! Semantics: y[o,p] = bias[o] + Σ_{c,t} weights[o,c,t]·(x[c, source(p,t)] − zero_point); a tap on padding contributes 0,
//! which is padding with the zero point.
//! A batch N is N copies of every group. A per-element affine function is the case of 1×1 kernels with one channel per group.
//! Constraints: none of its own, y is a linear expression. Source: ONNX operator specification, Conv.

use super::{
    ARITY, Case, EvalError, InferError, Operator, length, one, one_tensor, quantization, volume,
};
use crate::constraint::{BuildError, Builder, LinearMap, WireTensor};
use crate::quantize::{SchemeError, Site};
use crate::tensor::{ConvGeometry, Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conv {
    /// Where the windows read; the batch is folded into channels and groups.
    pub geometry: ConvGeometry,
    /// Output shape, with as many elements as the geometry gives.
    pub shape: Vec<usize>,
    /// Integer that stands for 0 in x.
    pub zero_point: i64,
    /// `[O][C/groups][kernel₀][kernel₁]`, row-major; within ±255: int8, or uint8 less its zero point.
    pub weights: Vec<i16>,
    /// One per output channel.
    pub bias: Vec<i32>,
}

impl Operator for Conv {
    const NAME: &'static str = "Conv";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        let (geometry, weights, bias) = site.convolution()?;
        let per_channel = weights.len() / bias.len().max(1);
        let (weights, bias) = site.quantize_weights(&weights, per_channel, &bias)?;
        Ok(Self {
            geometry,
            shape: site.shape().to_vec(),
            zero_point: site.input(0)?.zero_point,
            weights,
            bias,
        })
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        let x = one(x)?;
        quantization(x, self.zero_point)?;
        self.geometry.check()?;
        length("input", self.geometry.input_len(), x.len())?;
        length(
            "output shape",
            self.geometry.output_len(),
            volume(&self.shape)?,
        )?;
        length("weights", self.geometry.weights_len(), self.weights.len())?;
        length("bias", self.geometry.channels_out, self.bias.len())?;
        let zero = self
            .zero_point
            .checked_neg()
            .ok_or(InferError::Attribute("zero point"))?;
        let mut centred = x.interval.shift(zero)?;
        if self.geometry.pads != [0; 4] {
            centred = centred.union(&Interval::point(0)?);
        }
        let per_channel = self.geometry.channels_in_per_group() * self.geometry.n_taps();
        Ok(Fact {
            shape: self.shape.clone(),
            interval: accumulator(centred, self.weights.chunks_exact(per_channel), &self.bias)?,
            quantization: None,
        })
    }

    fn eval(&self, x: &[&Tensor]) -> Result<Tensor, EvalError> {
        let g = &self.geometry;
        let x = one_tensor(x, g.input_len())?;
        let centred: Vec<i64> = x
            .data
            .iter()
            .map(|&v| v.checked_sub(self.zero_point).ok_or(EvalError::Overflow))
            .collect::<Result<_, _>>()?;
        let [rows, columns] = g.output_size();
        let (area, plane) = (g.height * g.width, rows * columns);
        let (per_group, n_taps) = (g.channels_in_per_group(), g.n_taps());
        let taps: Vec<_> = g
            .taps()
            .filter_map(|t| Some((t.output, t.tap, t.input?)))
            .collect();
        let mut data = Vec::with_capacity(g.output_len());
        for (o, &bias) in self.bias.iter().enumerate() {
            let mut sums = vec![i64::from(bias); plane];
            let first = o / g.channels_out_per_group() * per_group;
            for c in 0..per_group {
                let input = &centred[(first + c) * area..][..area];
                let kernel = &self.weights[(o * per_group + c) * n_taps..][..n_taps];
                for &(output, tap, source) in &taps {
                    let term = i64::from(kernel[tap]).checked_mul(input[source]);
                    sums[output] = term
                        .and_then(|t| sums[output].checked_add(t))
                        .ok_or(EvalError::Overflow)?;
                }
            }
            data.extend(sums);
        }
        Ok(Tensor {
            shape: self.shape.clone(),
            data,
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        let [x] = x else { return Err(ARITY) };
        let centred = b.combine(&[(1, x)], -self.zero_point)?;
        let plane = self.geometry.output_len() / self.geometry.channels_out;
        let map = LinearMap::Conv {
            geometry: self.geometry.clone(),
            weights: self.weights.iter().map(|&w| w.into()).collect(),
        };
        let bias = self
            .bias
            .iter()
            .flat_map(|&v| std::iter::repeat_n(i64::from(v), plane));
        b.linear(map, &centred, bias.collect())
    }

    fn cases() -> Vec<Case<Self>> {
        let geometry = |kernel, strides, pads, dilations, groups| ConvGeometry {
            channels_in: 2,
            height: 4,
            width: 3,
            channels_out: 4,
            kernel,
            strides,
            pads,
            dilations,
            groups,
        };
        [
            (
                "padded with the zero point",
                geometry([3, 3], [1, 1], [1, 1, 1, 1], [1, 1], 1),
                5,
            ),
            (
                "strided, one-sided pads",
                geometry([2, 2], [2, 1], [1, 0, 0, 1], [1, 1], 1),
                -128,
            ),
            (
                "depthwise, dilated",
                geometry([2, 2], [1, 1], [0, 0, 0, 0], [2, 1], 2),
                127,
            ),
        ]
        .into_iter()
        .map(|(name, geometry, zero_point)| {
            let [rows, columns] = geometry.output_size();
            let weights = (0..geometry.weights_len())
                .map(|i| (i * 37 % 255) as u8 as i8 as i16)
                .collect();
            Case {
                name,
                op: Self {
                    shape: vec![1, geometry.channels_out, rows, columns],
                    zero_point,
                    weights,
                    bias: vec![-7, 0, 900, 1 << 30],
                    geometry,
                },
                facts: vec![Fact {
                    shape: vec![1, 2, 4, 3],
                    interval: Interval { lo: -128, hi: 127 },
                    quantization: Some(Quantization {
                        scale: 0.5,
                        zero_point,
                    }),
                }],
                runs: [(0, 1), (-128, 0), (127, 0), (-128, 11)]
                    .into_iter()
                    .map(|(start, step)| {
                        let data = (0..24).map(|i| (start + step * i).clamp(-128, 127));
                        vec![Tensor {
                            shape: vec![1, 2, 4, 3],
                            data: data.collect(),
                        }]
                    })
                    .collect(),
            }
        })
        .collect()
    }
}

/// Interval of `bias[o] + Σ_i w[o][i]·x_i` over all outputs o, for every x_i in `x`.
pub(super) fn accumulator<'a>(
    x: Interval,
    weights: impl Iterator<Item = &'a [i16]>,
    bias: &[i32],
) -> Result<Interval, InferError> {
    let mut all: Option<Interval> = None;
    for (row, &bias) in weights.zip(bias) {
        let (mut lo, mut hi) = (i128::from(bias), i128::from(bias));
        for &w in row {
            let ends = [
                i128::from(w) * i128::from(x.lo),
                i128::from(w) * i128::from(x.hi),
            ];
            lo += ends[0].min(ends[1]);
            hi += ends[0].max(ends[1]);
        }
        let channel = Interval::new(lo, hi)?;
        all = Some(all.map_or(channel, |all| all.union(&channel)));
    }
    all.ok_or(InferError::Attribute("no output channel"))
}
