//! Scales, zero points, integer weights and multipliers.
//!
//! A [`Site`] is a float node together with the quantization of the tensors around it; the operators import themselves from
//! it. All arithmetic is IEEE f64 in a fixed order, so that a model and its calibration give the same integers everywhere.

use super::given;
use crate::onnx::{FloatNode, FloatOp, Function, Given};
use crate::ops::Requantize;
use crate::tensor::{ConvGeometry, Quantization};

/// Shifts that are tried, in multiples of the limb width 12.
const SHIFTS: [u32; 3] = [24, 36, 12];
/// A smaller non-zero multiplier makes the quantizer try a larger shift.
const LEAST_MULTIPLIER: f64 = 1024.0;
/// Multipliers have at most 31 bits.
const LARGEST_MULTIPLIER: f64 = 2_147_483_647.0;

/// Why a float node has no integer form.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemeError {
    /// The ratio of two scales has more than 31 bits even with the least shift.
    #[error(
        "node `{node}`: the scales of its input and output differ by {ratio:e}, at most 2^19 is representable; check the calibration data"
    )]
    Multiplier {
        /// ONNX node name.
        node: String,
        /// The ratio.
        ratio: f64,
    },
    /// A mean over windows with too many different counts.
    #[error("node `{node}`: its windows have too many different sizes for exact means")]
    Counts {
        /// ONNX node name.
        node: String,
    },
    /// A weight of a quantized file is no multiple of its scale.
    #[error(
        "node `{node}`: the weight {weight} is no multiple of its scale {scale:e}; expected one scale for the tensor, or one per output channel"
    )]
    Weight {
        /// ONNX node name.
        node: String,
        /// The weight.
        weight: f64,
        /// Its scale.
        scale: f64,
    },
    /// A weight or bias of a quantized file does not fit its type once its zero point is subtracted.
    #[error(
        "node `{node}`: the integer {weight} does not fit; expected weights within ±255 after subtraction of their zero point, and biases of int32"
    )]
    WeightRange {
        /// ONNX node name.
        node: String,
        /// The integer.
        weight: i64,
    },
    /// An operator was imported from a float node that it does not compute.
    #[error("node `{node}`: {op} cannot be computed by this operator")]
    Operator {
        /// ONNX node name.
        node: String,
        /// The float operator.
        op: &'static str,
    },
}

/// What a requantization must produce.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The int8 tensor after rounding and clamping, before any activation table.
    pub clamped: Quantization,
    /// Least value of it.
    pub lo: i8,
    /// Largest value of it.
    pub hi: i8,
    /// The activation and the quantization of its result.
    pub activation: Option<(Function, Quantization)>,
}

impl Target {
    /// Quantization of the requantized tensor.
    pub fn output(&self) -> Quantization {
        self.activation.map_or(self.clamped, |(_, output)| output)
    }
}

/// The int8 quantization of values in [lo, hi], which includes 0; `None` when the range is degenerate.
pub(super) fn activation(lo: f64, hi: f64) -> Option<Quantization> {
    let scale = (hi - lo) / 255.0;
    if !(scale.is_finite() && scale > 1e-30) {
        return None;
    }
    // lo ≤ 0 ≤ hi puts the result between −128 and 127 but for rounding
    let zero_point = (-128.0 - lo / scale).round().clamp(-128.0, 127.0) as i64;
    Some(Quantization { scale, zero_point })
}

/// The int8 nearest to a real number.
pub(crate) fn to_int8(value: f64, q: Quantization) -> i8 {
    // clamped to the int8 range; NaN is refused at every door
    (value / q.scale + q.zero_point as f64)
        .round()
        .clamp(-128.0, 127.0) as i8
}

/// A float node and the quantization around it.
#[derive(Clone, Debug)]
pub struct Site<'a> {
    /// The node.
    pub node: &'a FloatNode,
    /// Quantization of the integer tensors that stand for its inputs.
    pub inputs: Vec<Quantization>,
    /// What the requantization of its result must produce; `None` where nothing is requantized.
    pub target: Option<&'a Target>,
    /// What a quantized file gives for the node.
    pub given: Option<&'a Given>,
    /// Whether multipliers need the precision of float32: the scales on both sides are a quantized file's.
    pub precise: bool,
}

impl Site<'_> {
    fn wrong_operator(&self) -> SchemeError {
        SchemeError::Operator {
            node: self.node.name.clone(),
            op: self.node.op.name(),
        }
    }

    /// Quantization of input `i`.
    pub(crate) fn input(&self, i: usize) -> Result<Quantization, SchemeError> {
        self.inputs
            .get(i)
            .copied()
            .ok_or_else(|| self.wrong_operator())
    }

    fn target(&self) -> Result<&Target, SchemeError> {
        self.target.ok_or_else(|| self.wrong_operator())
    }

    /// Output shape.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.node.shape
    }

    /// Quantization of the requantized output.
    pub(crate) fn output(&self) -> Result<Quantization, SchemeError> {
        Ok(self.target()?.output())
    }

    /// Geometry, weights and bias of a convolution; an affine function is a depthwise one.
    pub(crate) fn convolution(&self) -> Result<(ConvGeometry, Vec<f32>, Vec<f32>), SchemeError> {
        match &self.node.op {
            FloatOp::Conv {
                geometry,
                weights,
                bias,
            } => Ok((geometry.clone(), weights.clone(), bias.clone())),
            FloatOp::Affine {
                inner,
                factors,
                offsets,
            } => {
                let len = self.node.len();
                let width = if factors.len() == 1 { len } else { *inner };
                let channels = len / width;
                let geometry = ConvGeometry {
                    channels_in: channels,
                    height: 1,
                    width,
                    channels_out: channels,
                    kernel: [1, 1],
                    strides: [1, 1],
                    pads: [0; 4],
                    dilations: [1, 1],
                    groups: channels,
                };
                let spread = |v: &[f32]| (0..channels).map(|c| v[c % v.len()]).collect();
                Ok((geometry, spread(factors), spread(offsets)))
            }
            _ => Err(self.wrong_operator()),
        }
    }

    /// (K, weights [N][K], bias [N]) of a dense layer.
    pub(crate) fn dense(&self) -> Result<(usize, Vec<f32>, Vec<f32>), SchemeError> {
        match &self.node.op {
            FloatOp::MatMul {
                n_in,
                weights,
                bias,
            } => Ok((*n_in, weights.clone(), bias.clone())),
            _ => Err(self.wrong_operator()),
        }
    }

    /// Geometry of a pooling window.
    pub(crate) fn window(&self) -> Result<ConvGeometry, SchemeError> {
        match &self.node.op {
            FloatOp::MaxPool { geometry } => Ok(geometry.clone()),
            _ => Err(self.wrong_operator()),
        }
    }

    /// Geometry and integer factors of a sum, and the factor of its scale.
    pub(crate) fn sum(&self) -> Result<(ConvGeometry, Vec<u32>, f64), SchemeError> {
        let FloatOp::SumPool {
            geometry,
            divisors,
            factor,
        } = &self.node.op
        else {
            return Err(self.wrong_operator());
        };
        let too_many = || SchemeError::Counts {
            node: self.node.name.clone(),
        };
        let lcm = divisors.iter().try_fold(1u32, |lcm, &d| {
            let (mut a, mut b) = (lcm, d);
            while b != 0 {
                (a, b) = (b, a % b);
            }
            (lcm / a.max(1))
                .checked_mul(d)
                .filter(|&n| n > 0 && n < 1 << 24)
        });
        let lcm = lcm.ok_or_else(too_many)?;
        let factors = divisors.iter().map(|d| lcm / d).collect();
        Ok((geometry.clone(), factors, factor / f64::from(lcm)))
    }

    /// (view, axes) of a layout.
    pub(crate) fn layout(&self) -> Result<(Vec<usize>, Vec<usize>), SchemeError> {
        match &self.node.op {
            FloatOp::Layout { view, axes } => Ok((view.clone(), axes.clone())),
            _ => Err(self.wrong_operator()),
        }
    }

    /// Scale of every channel's weights: max|w|/127, but large enough that the bias fits 28 bits and that a step of the
    /// accumulator is at least 2^-14 of an output step. Finer weights could not be seen in the output; the floor keeps the
    /// multiplier of a channel with small or no weights at 2^10 with the usual shift.
    fn weight_scales(
        &self,
        weights: &[f32],
        per_channel: usize,
        bias: &[f32],
    ) -> Result<Vec<f64>, SchemeError> {
        if let Some(scales) = self.given_scales(bias.len()) {
            return Ok(scales);
        }
        let x = self.input(0)?.scale;
        let least = self.target()?.clamped.scale / x / f64::from(1u32 << 14);
        let scale = |(row, &bias): (&[f32], &f32)| {
            let largest = row
                .iter()
                .fold(0.0f64, |max, &w| max.max(f64::from(w).abs()));
            let for_bias = f64::from(bias).abs() / x / f64::from(1u32 << 28);
            (largest / 127.0).max(for_bias).max(least)
        };
        Ok(weights
            .chunks_exact(per_channel.max(1))
            .zip(bias)
            .map(scale)
            .collect())
    }

    /// Integer weights and bias.
    pub(crate) fn quantize_weights(
        &self,
        weights: &[f32],
        per_channel: usize,
        bias: &[f32],
    ) -> Result<(Vec<i16>, Vec<i32>), SchemeError> {
        let x = self.input(0)?.scale;
        let scales = self.weight_scales(weights, per_channel, bias)?;
        if self.given.is_some() {
            return self.given_weights(&scales, weights, per_channel, bias);
        }
        let mut integers = Vec::with_capacity(weights.len());
        for (row, scale) in weights.chunks_exact(per_channel.max(1)).zip(&scales) {
            let integer = |&w: &f32| (f64::from(w) / scale).round().clamp(-127.0, 127.0) as i16;
            integers.extend(row.iter().map(integer));
        }
        // |bias| ≤ 2^28 by the choice of the scales
        let integer = |(&b, scale): (&f32, &f64)| (f64::from(b) / (x * scale)).round() as i32;
        Ok((integers, bias.iter().zip(&scales).map(integer).collect()))
    }

    /// Ratio of the accumulator's scale to the target's, per channel, and the elements that share a channel.
    pub(crate) fn ratios(&self) -> Result<(Vec<f64>, usize), SchemeError> {
        let target = self.target()?.clamped.scale;
        let weighted = |weights: &[f32], per_channel: usize, bias: &[f32]| {
            let x = self.input(0)?.scale;
            let scales = self.weight_scales(weights, per_channel, bias)?;
            Ok::<_, SchemeError>(scales.into_iter().map(|w| x * w / target).collect())
        };
        match &self.node.op {
            FloatOp::Conv { .. } | FloatOp::Affine { .. } => {
                let (geometry, weights, bias) = self.convolution()?;
                let per_channel = weights.len() / bias.len().max(1);
                let plane = geometry.output_len() / geometry.channels_out.max(1);
                Ok((weighted(&weights, per_channel, &bias)?, plane))
            }
            FloatOp::MatMul {
                n_in,
                weights,
                bias,
            } => Ok((weighted(weights, *n_in, bias)?, 1)),
            _ => Ok((vec![self.input(0)?.scale / target], 1)),
        }
    }

    /// Fixed-point ratios of two input scales to the output's, signed.
    pub(crate) fn sum_factors(&self) -> Result<[i64; 2], SchemeError> {
        let (ratios, shift) = self.sum_ratios()?;
        // `fixed` accepted both
        let factor = |ratio: f64| (ratio * f64::from(1u32 << shift)).round() as i64;
        Ok(ratios.map(factor))
    }

    fn sum_ratios(&self) -> Result<([f64; 2], u32), SchemeError> {
        let FloatOp::Add { signs } = &self.node.op else {
            return Err(self.wrong_operator());
        };
        let target = self.target()?.clamped.scale;
        let ratio = |i: usize| Ok(f64::from(signs[i]) * self.input(i)?.scale / target);
        let ratios = [ratio(0)?, ratio(1)?];
        let largest = ratios[0].abs().max(ratios[1].abs());
        let fits = |shift: &u32| largest * f64::from(1u32 << shift) <= LARGEST_MULTIPLIER;
        let shift = [24, 12].into_iter().find(fits);
        let shift = shift.ok_or(SchemeError::Multiplier {
            node: self.node.name.clone(),
            ratio: largest,
        })?;
        Ok((ratios, shift))
    }

    /// Multipliers and shift for ratios: shift 24, 36 where a multiplier would be below 2^10, 12 where one would pass 31 bits.
    fn fixed(&self, ratios: &[f64]) -> Result<(Vec<u32>, u32), SchemeError> {
        let at = |ratio: f64, shift: u32| (ratio * (1u64 << shift) as f64).round();
        let largest = ratios.iter().fold(0.0f64, |max, &r| max.max(r));
        let smallest = ratios.iter().fold(
            f64::INFINITY,
            |min, &r| if r > 0.0 { min.min(r) } else { min },
        );
        let fits = |shift: u32| at(largest, shift) <= LARGEST_MULTIPLIER;
        let [usual, fine, coarse] = SHIFTS;
        let precise = if self.precise {
            given::shift(ratios)
        } else {
            None
        };
        let shift = if let Some(shift) = precise {
            shift
        } else if fits(fine) && at(smallest, usual) < LEAST_MULTIPLIER {
            fine
        } else if fits(usual) {
            usual
        } else if fits(coarse) {
            coarse
        } else {
            return Err(SchemeError::Multiplier {
                node: self.node.name.clone(),
                ratio: largest,
            });
        };
        Ok((ratios.iter().map(|&r| at(r, shift) as u32).collect(), shift))
    }

    /// The requantization of the node's accumulator, or of its int8 input where it has no accumulator.
    pub(crate) fn requantization(&self) -> Result<Requantize, SchemeError> {
        let target = self.target()?;
        let (multipliers, shift, inner) = if let FloatOp::Add { .. } = self.node.op {
            (vec![1], self.sum_ratios()?.1, 1)
        } else {
            let (ratios, inner) = self.ratios()?;
            let (multipliers, shift) = self.fixed(&ratios)?;
            (multipliers, shift, inner)
        };
        let accumulated = matches!(
            self.node.op,
            FloatOp::Conv { .. }
                | FloatOp::Affine { .. }
                | FloatOp::MatMul { .. }
                | FloatOp::Add { .. }
        );
        Ok(Requantize {
            zero_point_in: if accumulated {
                0
            } else {
                self.input(0)?.zero_point
            },
            inner,
            multipliers,
            shift,
            zero_point: target.clamped.zero_point,
            lo: target.lo,
            hi: target.hi,
            table: if target.activation.is_some() {
                self.table(target.clamped)?
            } else {
                Vec::new()
            },
            output: target.output(),
        })
    }

    /// The activation of every int8 of quantization `x`.
    pub(crate) fn table(&self, x: Quantization) -> Result<Vec<i8>, SchemeError> {
        let (function, output) = self
            .target()?
            .activation
            .ok_or_else(|| self.wrong_operator())?;
        Ok((-128..128)
            .map(|q| to_int8(function.value(x.dequantize(q)), output))
            .collect())
    }

    /// Largest relative error of the fixed-point multipliers.
    pub(crate) fn multiplier_error(&self) -> Result<f64, SchemeError> {
        let (ratios, fixed, shift) = if let FloatOp::Add { .. } = self.node.op {
            let (ratios, shift) = self.sum_ratios()?;
            let fixed = self.sum_factors()?.map(|f| f as f64);
            (ratios.to_vec(), fixed.to_vec(), shift)
        } else {
            let (ratios, _) = self.ratios()?;
            let (fixed, shift) = self.fixed(&ratios)?;
            (ratios, fixed.into_iter().map(f64::from).collect(), shift)
        };
        let error = |(r, m): (&f64, &f64)| (m / (1u64 << shift) as f64 - r).abs() / r.abs();
        let errors = ratios
            .iter()
            .zip(&fixed)
            .filter(|(r, _)| **r != 0.0)
            .map(error);
        Ok(errors.fold(0.0, f64::max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activation_ranges_put_zero_on_an_integer() {
        let rectified = activation(0.0, 6.0).expect("a range");
        assert_eq!(rectified.zero_point, -128);
        assert_eq!(rectified.dequantize(-128), 0.0);
        let centred = activation(-1.0, 1.0).expect("a range");
        assert_eq!(to_int8(0.0, centred), centred.zero_point as i8);
        assert_eq!(activation(0.0, 0.0), None);
        assert_eq!(activation(0.0, f64::INFINITY), None);
    }

    fn dense(weights: Vec<f32>, bias: Vec<f32>) -> FloatNode {
        let shape = vec![1, bias.len()];
        let op = FloatOp::MatMul {
            n_in: 2,
            weights,
            bias,
        };
        FloatNode {
            name: "dense".to_owned(),
            op,
            inputs: vec![0],
            shape,
        }
    }

    fn target(scale: f64) -> Target {
        let clamped = Quantization {
            scale,
            zero_point: 0,
        };
        Target {
            clamped,
            lo: -128,
            hi: 127,
            activation: None,
        }
    }

    #[test]
    fn channels_without_weights_keep_their_bias_and_the_usual_shift() {
        let node = dense(vec![0.5, -1.0, 0.0, 0.0, 1e-30, 0.0], vec![0.1, 3.0, -3.0]);
        let target = target(0.05);
        let input = Quantization {
            scale: 0.01,
            zero_point: -128,
        };
        let site = Site {
            node: &node,
            inputs: vec![input],
            target: Some(&target),
            given: None,
            precise: false,
        };
        let made = site.requantization().expect("representable");
        assert_eq!(made.shift, 24);
        assert!(made.multipliers.iter().all(|&m| m >= 1 << 10));
        let (_, weights, bias) = site.dense().expect("dense");
        let (integers, biases) = site
            .quantize_weights(&weights, 2, &bias)
            .expect("quantized");
        assert_eq!(integers[..2], [64, -127]);
        assert_eq!(integers[2..], [0; 4]);
        for (c, real) in [3.0, -3.0].into_iter().enumerate() {
            let steps =
                f64::from(biases[c + 1]) * f64::from(made.multipliers[c + 1]) / f64::from(1 << 24);
            assert!((steps * 0.05 - real).abs() < 0.01, "{steps}");
        }
        assert!(site.multiplier_error().expect("ratios") < 1e-3);
    }

    #[test]
    fn shifts_follow_the_size_of_the_ratios() {
        let plain = FloatOp::Clamp { lo: 0.0, hi: 1.0 };
        let node = FloatNode {
            name: "clip".to_owned(),
            op: plain,
            inputs: vec![0],
            shape: vec![1],
        };
        let shift = |ratio: f64| {
            let target = target(1.0);
            let inputs = vec![Quantization {
                scale: ratio,
                zero_point: 0,
            }];
            Site {
                node: &node,
                inputs,
                target: Some(&target),
                given: None,
                precise: false,
            }
            .requantization()
            .map(|r| r.shift)
        };
        assert_eq!(shift(0.01), Ok(24));
        assert_eq!(shift(1e-5), Ok(36));
        assert_eq!(shift(1000.0), Ok(12));
        assert!(matches!(shift(1e7), Err(SchemeError::Multiplier { .. })));
    }
}
