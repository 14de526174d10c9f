//! Scales, zero points, integer weights and multipliers.
//!
//! A [`Site`] is a float node together with the quantization of the tensors around it; the operators import themselves from
//! it. All arithmetic is IEEE f64 in a fixed order, so that a model and its calibration give the same integers everywhere.

use super::given;
use crate::onnx::{Expression, FloatNode, FloatOp, Given, MASK, Relation};
use crate::ops::Requantize;
use crate::tensor::{ConvGeometry, Interval, Quantization};

/// Shifts that are tried, in multiples of the limb width 12.
const SHIFTS: [u32; 3] = [24, 36, 12];
/// A smaller non-zero multiplier makes the quantizer try a larger shift.
const LEAST_MULTIPLIER: f64 = 1024.0;
/// Multipliers have at most 31 bits.
const LARGEST_MULTIPLIER: f64 = 2_147_483_647.0;
/// Bits beyond eight of an input that weights follow: as many as leave multipliers of 2^10 with the finest usual shift.
const MOST_FINER: u32 = 12;

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

/// What the integers of a tensor stand for, and which integers there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Encoding {
    /// Scale and zero point.
    pub quantization: Quantization,
    /// Least integer.
    pub lo: i32,
    /// Largest integer.
    pub hi: i32,
}

impl Encoding {
    /// The nearest integer that is there; the one for 0 where the value is no number.
    pub fn nearest(&self, value: f64) -> i32 {
        let q = self.quantization;
        let value = if value.is_nan() { 0.0 } else { value };
        // clamped to 32 bits before the cast
        (value / q.scale + q.zero_point as f64)
            .round()
            .clamp(self.lo.into(), self.hi.into()) as i32
    }

    /// The same, with integers only between those of two values.
    pub fn between(self, lo: f64, hi: f64) -> Self {
        Self {
            lo: self.nearest(lo),
            hi: self.nearest(hi),
            ..self
        }
    }

    /// Whole numbers as themselves.
    pub fn whole(lo: i32, hi: i32) -> Self {
        let quantization = Quantization {
            scale: 1.0,
            zero_point: 0,
        };
        Self {
            quantization,
            lo,
            hi,
        }
    }

    /// Any integers of a quantization.
    pub(super) fn boundless(quantization: Quantization) -> Self {
        Self {
            quantization,
            lo: i32::MIN / 2,
            hi: i32::MAX / 2,
        }
    }

    /// Sixteen bits around 0 for values in [lo, hi].
    pub(super) fn int16(lo: f64, hi: f64) -> Option<Self> {
        let scale = lo.abs().max(hi.abs()) / 32767.0;
        let quantization = Quantization {
            scale,
            zero_point: 0,
        };
        (scale.is_finite() && scale > 1e-30).then_some(Self {
            quantization,
            lo: -32768,
            hi: 32767,
        })
    }
}

/// What a requantization must produce.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The tensor after rounding and clamping, before any activation table.
    pub clamped: Encoding,
    /// The activation and the encoding of its result.
    pub activation: Option<(Expression, Encoding)>,
}

impl Target {
    /// Quantization of the requantized tensor.
    pub fn output(&self) -> Quantization {
        let last = self.activation.as_ref().map_or(&self.clamped, |a| &a.1);
        last.quantization
    }
}

/// The int8 encoding of values in [lo, hi], which includes 0; `None` when the range is degenerate.
pub(super) fn activation(lo: f64, hi: f64) -> Option<Encoding> {
    let scale = (hi - lo) / 255.0;
    if !(scale.is_finite() && scale > 1e-30) {
        return None;
    }
    // lo ≤ 0 ≤ hi puts the result between −128 and 127 but for rounding
    let zero_point = (-128.0 - lo / scale).round().clamp(-128.0, 127.0) as i64;
    Some(Encoding {
        quantization: Quantization { scale, zero_point },
        lo: -128,
        hi: 127,
    })
}

/// A float node and the quantization around it.
#[derive(Clone, Debug)]
pub struct Site<'a> {
    /// The node.
    pub node: &'a FloatNode,
    /// Quantization of the integer tensors that stand for its inputs.
    pub inputs: Vec<Quantization>,
    /// Their proved intervals.
    pub intervals: Vec<Interval>,
    /// What the requantization of its result must produce; `None` where nothing is requantized.
    pub target: Option<&'a Target>,
    /// What a quantized file gives for the node.
    pub given: Option<&'a Given>,
    /// Whether multipliers need the precision of float32: the scales on both sides are a quantized file's.
    pub precise: bool,
    /// Whether a quantized file's bias is added as a real number, and not as a whole number of products.
    pub real_bias: bool,
}

impl Site<'_> {
    pub(crate) fn wrong_operator(&self) -> SchemeError {
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

    /// Proved interval of input `i`.
    pub(crate) fn interval(&self, i: usize) -> Result<Interval, SchemeError> {
        let interval = self.intervals.get(i).copied();
        interval.ok_or_else(|| self.wrong_operator())
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

    /// Bits by which the input is finer than int8, as far as multipliers can follow.
    fn finer(&self) -> Result<u32, SchemeError> {
        let reach = self.interval(0)?.reach(self.input(0)?.zero_point);
        let bits = u64::BITS - reach.leading_zeros();
        Ok(bits.saturating_sub(8).min(MOST_FINER))
    }

    /// Scale of every channel's weights: max|w|/127, but large enough that the bias fits 28 bits and that a step of the
    /// accumulator is at least 2^-14 of an output step. Finer weights could not be seen in the output; the floor keeps the
    /// multiplier of a channel with small or no weights at 2^10 with the usual shift. For an input of more than eight bits the floor is lower by as
    /// much: it would coarsen the weights by as much as the input is finer.
    fn weight_scales(
        &self,
        weights: &[f32],
        per_channel: usize,
        bias: &[f32],
    ) -> Result<Vec<f64>, SchemeError> {
        if let Some(scales) = self.given_scales(bias.len()) {
            let unit = f64::from(self.bias_unit(&scales, bias)?);
            return Ok(scales.iter().map(|scale| scale / unit).collect());
        }
        let x = self.input(0)?.scale;
        let unit = (1u64 << (14 + self.finer()?)) as f64;
        let least = self.target()?.clamped.quantization.scale / x / unit;
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
        let target = self.target()?.clamped.quantization.scale;
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
        if self.exact_sum().is_some()
            && let FloatOp::Add { signs } = &self.node.op
        {
            let factors = whole_factors([self.input(0)?.scale, self.input(1)?.scale]);
            let [left, right] = factors.ok_or_else(|| self.wrong_operator())?;
            return Ok([left * i64::from(signs[0]), right * i64::from(signs[1])]);
        }
        let (ratios, shift) = self.sum_ratios()?;
        // `fixed` accepted both
        let factor = |ratio: f64| (ratio * f64::from(1u32 << shift)).round() as i64;
        Ok(ratios.map(factor))
    }

    fn sum_ratios(&self) -> Result<([f64; 2], u32), SchemeError> {
        let FloatOp::Add { signs } = &self.node.op else {
            return Err(self.wrong_operator());
        };
        let target = self.target()?.clamped.quantization.scale;
        let ratio = |i: usize| Ok(f64::from(signs[i]) * self.input(i)?.scale / target);
        let ratios = [ratio(0)?, ratio(1)?];
        let largest = ratios[0].abs().max(ratios[1].abs());
        let fits = |shift: &u32| largest * f64::from(1u32 << shift) <= LARGEST_MULTIPLIER;
        let shift = [24, 22, 20, 18, 16, 14, 12].into_iter().find(fits);
        let shift = shift.ok_or(SchemeError::Multiplier {
            node: self.node.name.clone(),
            ratio: largest,
        })?;
        Ok((ratios, shift))
    }

    /// Multipliers and shift for ratios: shift 24, 36 where a multiplier would be below 2^10, 12 where one would pass 31 bits.
    /// Less where the products would pass 2^61.
    fn fixed(&self, ratios: &[f64], widest: u64) -> Result<(Vec<u32>, u32), SchemeError> {
        let at = |ratio: f64, shift: u32| (ratio * (1u64 << shift) as f64).round();
        let largest = ratios.iter().fold(0.0f64, |max, &r| max.max(r));
        let smallest = ratios.iter().fold(
            f64::INFINITY,
            |min, &r| if r > 0.0 { min.min(r) } else { min },
        );
        let room = (1u64 << 61) as f64 / widest.max(1) as f64;
        let fits = |shift: u32| at(largest, shift) <= LARGEST_MULTIPLIER.min(room);
        let [usual, fine, coarse] = SHIFTS;
        let precise = if self.precise {
            given::shift(ratios, LARGEST_MULTIPLIER.min(room))
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
        } else if let Some(least) = (1..coarse).rev().find(|&shift| fits(shift)) {
            least
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
        let clamped = target.clamped;
        let (multipliers, shift, inner) = if let FloatOp::Add { .. } = self.node.op {
            (vec![1], self.sum_ratios()?.1, 1)
        } else {
            let (ratios, inner) = self.ratios()?;
            let (multipliers, shift) = self.fixed(&ratios, self.widest()?)?;
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
            zero_point: clamped.quantization.zero_point,
            lo: clamped.lo,
            hi: clamped.hi,
            table: if target.activation.is_some() {
                self.rows(clamped)?
            } else {
                Vec::new()
            },
            output: target.output(),
        })
    }

    /// The activation of every integer of encoding `x`.
    fn rows(&self, x: Encoding) -> Result<Vec<i32>, SchemeError> {
        let activation = self.target()?.activation.as_ref();
        let (function, output) = activation.ok_or_else(|| self.wrong_operator())?;
        let value = |q: i32| function.value(x.quantization.dequantize(q.into()));
        let nearest = |value: f64| match self.precise {
            true => given::nearest(output, value),
            false => output.nearest(value),
        };
        Ok((x.lo..=x.hi).map(|q| nearest(value(q))).collect())
    }

    /// The activation of every integer that the input can be, and the first of them.
    pub(crate) fn table(&self) -> Result<(i32, Vec<i32>), SchemeError> {
        let x = self.intervals.first().zip(self.inputs.first());
        let (interval, quantization) = x.ok_or_else(|| self.wrong_operator())?;
        let ends = (i32::try_from(interval.lo), i32::try_from(interval.hi));
        let (Ok(lo), Ok(hi)) = ends else {
            return Err(self.wrong_operator());
        };
        let encoding = Encoding {
            quantization: *quantization,
            lo,
            hi,
        };
        Ok((lo, self.rows(encoding)?))
    }

    /// Largest |x − zero point| of what is requantized: the accumulator's when it has one, by its weights.
    fn widest(&self) -> Result<u64, SchemeError> {
        let x = self.intervals.first().zip(self.inputs.first());
        let (interval, quantization) = x.ok_or_else(|| self.wrong_operator())?;
        let centred = interval.reach(quantization.zero_point);
        let per_channel = match &self.node.op {
            FloatOp::Conv { weights, bias, .. } | FloatOp::MatMul { weights, bias, .. } => {
                weights.len() / bias.len().max(1)
            }
            FloatOp::Affine { .. } => 1,
            _ => return Ok(centred),
        };
        // weights of 8 bits and those of a real bias, biases of 31; without a given scale, of 7 and 28
        let (weight, bias) = match self.given {
            Some(_) if self.real_bias => (255 << given::BIAS_BITS, 1 << 31),
            Some(_) => (255, 1 << 31),
            None => (127, 1 << 28),
        };
        let sum = centred
            .saturating_mul(weight)
            .saturating_mul(per_channel as u64);
        Ok(sum.saturating_add(bias))
    }

    /// Sizes of a product of two tensors, and the factor of its scale.
    pub(crate) fn contraction(&self) -> Result<([usize; 4], f64), SchemeError> {
        match self.node.op {
            FloatOp::Contract { sizes, factor } => Ok((sizes, factor)),
            _ => Err(self.wrong_operator()),
        }
    }

    /// The encoding that the node's result must have.
    pub(crate) fn encoding(&self) -> Result<Encoding, SchemeError> {
        Ok(self.target()?.clamped)
    }

    /// Index and integer constants of a gather.
    pub(crate) fn gather(&self) -> Result<(Vec<u32>, Vec<i32>), SchemeError> {
        let FloatOp::Gather { index, constants } = &self.node.op else {
            return Err(self.wrong_operator());
        };
        let encoding = self.target()?.clamped;
        let integer = |&c: &f32| match c > MASK {
            true => encoding.nearest(c.into()),
            false => encoding.lo,
        };
        let constants = constants.iter().map(integer);
        Ok((index.clone(), constants.collect()))
    }

    /// Relation and factors of a comparison: they bring both operands to one scale.
    pub(crate) fn comparison(&self) -> Result<(Relation, [i64; 2]), SchemeError> {
        let FloatOp::Compare(relation) = self.node.op else {
            return Err(self.wrong_operator());
        };
        let scales = [self.input(0)?.scale, self.input(1)?.scale];
        if let Some(factors) = whole_factors(scales) {
            return Ok((relation, factors));
        }
        let largest = scales[0].max(scales[1]);
        let mut widest = 1u64;
        for (interval, quantization) in self.intervals.iter().zip(&self.inputs) {
            widest = widest.max(interval.reach(quantization.zero_point));
        }
        // factors of at most 24 bits, differences of at most 46
        let bits = 24.min(45 - (64 - widest.leading_zeros()).min(44));
        let unit = f64::from(1u32 << bits);
        let factor = |scale: f64| ((scale / largest * unit).round() as i64).max(1);
        Ok((relation, scales.map(factor)))
    }

    /// What an exact sum stands for: where one scale is a whole multiple of the other, and nothing is to be requantized.
    pub(crate) fn exact_sum(&self) -> Option<Quantization> {
        if self.target.is_some() {
            return None;
        }
        let scales = [self.inputs.first()?.scale, self.inputs.get(1)?.scale];
        whole_factors(scales)?;
        Some(Quantization {
            scale: scales[0].min(scales[1]),
            zero_point: 0,
        })
    }

    /// Largest relative error of the fixed-point multipliers.
    pub(crate) fn multiplier_error(&self) -> Result<f64, SchemeError> {
        let (ratios, fixed, shift) = if let FloatOp::Add { .. } = self.node.op {
            let (ratios, shift) = self.sum_ratios()?;
            let fixed = self.sum_factors()?.map(|f| f as f64);
            (ratios.to_vec(), fixed.to_vec(), shift)
        } else {
            let (ratios, _) = self.ratios()?;
            let (fixed, shift) = self.fixed(&ratios, self.widest()?)?;
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

/// Whole numbers in the ratio of two scales, the lesser 1.
pub(super) fn whole_factors(scales: [f64; 2]) -> Option<[i64; 2]> {
    let least = scales[0].min(scales[1]);
    let whole = |scale: f64| {
        let ratio = scale / least;
        let near = (ratio - ratio.round()).abs() <= 1e-9 * ratio;
        // exact below 2^24
        (near && ratio < f64::from(1 << 24)).then(|| ratio.round() as i64)
    };
    Some([whole(scales[0])?, whole(scales[1])?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activation_ranges_put_zero_on_an_integer() {
        let rectified = activation(0.0, 6.0).expect("a range");
        assert_eq!(rectified.quantization.zero_point, -128);
        assert_eq!(rectified.quantization.dequantize(-128), 0.0);
        let centred = activation(-1.0, 1.0).expect("a range");
        let zero_point = centred.quantization.zero_point;
        assert_eq!(i64::from(centred.nearest(0.0)), zero_point);
        assert_eq!(i64::from(centred.nearest(f64::NAN)), zero_point);
        assert_eq!(centred.nearest(f64::INFINITY), 127);
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
        let quantization = Quantization {
            scale,
            zero_point: 0,
        };
        Target {
            clamped: Encoding {
                quantization,
                lo: -128,
                hi: 127,
            },
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
            intervals: vec![Interval { lo: -128, hi: 127 }],
            target: Some(&target),
            given: None,
            precise: false,
            real_bias: false,
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
                intervals: vec![Interval { lo: -128, hi: 127 }],
                target: Some(&target),
                given: None,
                precise: false,
                real_bias: false,
            }
            .requantization()
            .map(|r| r.shift)
        };
        assert_eq!(shift(0.01), Ok(24));
        assert_eq!(shift(1e-5), Ok(36));
        assert_eq!(shift(1000.0), Ok(12));
        assert_eq!(shift(1e7), Ok(7));
        assert!(matches!(shift(1e10), Err(SchemeError::Multiplier { .. })));
    }
}
