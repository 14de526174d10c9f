//! Quantization that a file gives: scales and integers are taken as they are, and only multipliers are rounded.

use super::scheme::{Encoding, SchemeError, Site};
use crate::onnx::FloatOp;
use crate::tensor::Quantization;
use zkinfer_verifier::Dtype;

/// A multiplier of at least this has the precision of onnxruntime's float32.
const LEAST_MULTIPLIER: f64 = 16_777_216.0;
/// Shifts in the order of their cost; the last is the finest.
const SHIFTS: [u32; 4] = [24, 36, 44, 48];
/// By how many bits weights and bias are finer than the file's weights where its bias is real: the products with 255 are 16-bit weights.
pub(super) const BIAS_BITS: u32 = 7;

/// The encoding that a quantization mark gives; `None` for another operator.
pub(super) fn encoding(op: &FloatOp) -> Option<Encoding> {
    let &FloatOp::Quantize {
        scale,
        zero_point,
        lo,
        hi,
    } = op
    else {
        return None;
    };
    Some(Encoding {
        quantization: Quantization { scale, zero_point },
        lo: i32::try_from(lo).ok()?,
        hi: i32::try_from(hi).ok()?,
    })
}

/// The type of an input whose integers are those of an encoding.
pub(super) fn dtype(encoding: &Encoding) -> Option<Dtype> {
    let range = (i64::from(encoding.lo), i64::from(encoding.hi));
    let types = [Dtype::Int8, Dtype::Uint8, Dtype::Int16];
    types.into_iter().find(|t| (t.min(), t.max()) == range)
}

/// The integer that QuantizeLinear gives: the quotient is a float32, ties go to even.
pub(super) fn nearest(encoding: &Encoding, value: f64) -> i32 {
    let value = if value.is_nan() { 0.0 } else { value };
    let steps = f64::from((value / encoding.quantization.scale) as f32).round_ties_even();
    let integer = steps + encoding.quantization.zero_point as f64;
    // clamped to 32 bits before the cast
    integer.clamp(encoding.lo.into(), encoding.hi.into()) as i32
}

/// The integer that onnxruntime's QLinearAveragePool gives: ties go to even after the zero point was added.
pub(super) fn nearest_mean(encoding: &Encoding, value: f64) -> i32 {
    let q = encoding.quantization;
    let integer = ((value / q.scale + q.zero_point as f64) as f32).round_ties_even();
    // a sum of integers is a number; clamped to 32 bits before the cast
    f64::from(integer).clamp(encoding.lo.into(), encoding.hi.into()) as i32
}

/// The integer that onnxruntime's QLinearGlobalAveragePool gives for a sum of integers: a float32 product, whose ties go to even before
/// the zero point is added.
pub(super) fn nearest_global_mean(encoding: &Encoding, sum: i32, ratio: f32) -> i32 {
    let steps = f64::from((sum as f32 * ratio).round_ties_even());
    let integer = steps + encoding.quantization.zero_point as f64;
    // a product of finite numbers; clamped to 32 bits before the cast
    integer.clamp(encoding.lo.into(), encoding.hi.into()) as i32
}

/// Whether the mean of one of these sums lies between two integers: only there do rules of rounding differ.
pub(super) fn has_tie(mut sums: std::ops::RangeInclusive<i32>, ratio: f32) -> bool {
    sums.any(|sum| (sum as f32 * ratio).fract().abs() == 0.5)
}

/// What a sum of `n` integers of scale `x` is multiplied with for their mean, as onnxruntime computes it.
pub(super) fn global_ratio(x: f64, n: usize, encoding: &Encoding) -> f32 {
    x as f32 / (encoding.quantization.scale as f32 * n as f32)
}

/// The finest shift that no product needs more bits for: the first in order of cost with full precision, else the finest that fits.
/// `limit` bounds the multipliers.
pub(super) fn shift(ratios: &[f64], limit: f64) -> Option<u32> {
    let at = |ratio: f64, shift: u32| (ratio * (1u64 << shift) as f64).round();
    let largest = ratios.iter().fold(0.0f64, |max, &r| max.max(r));
    let smallest = ratios.iter().fold(
        f64::INFINITY,
        |min, &r| if r > 0.0 { min.min(r) } else { min },
    );
    let fits = |shift: &&u32| at(largest, **shift) <= limit;
    let fine = SHIFTS
        .iter()
        .filter(fits)
        .find(|&&shift| at(smallest, shift) >= LEAST_MULTIPLIER);
    fine.or_else(|| SHIFTS.iter().rfind(fits)).copied()
}

impl Site<'_> {
    /// The scale of every output channel's weights, where the file gives them.
    pub(super) fn given_scales(&self, n_out: usize) -> Option<Vec<f64>> {
        let scales = &self.given?.weight_scales;
        (!scales.is_empty() && n_out.is_multiple_of(scales.len()))
            .then(|| (0..n_out).map(|c| scales[c % scales.len()]).collect())
    }

    /// How many steps of weights and bias make one of the file's weights: more than one where the bias is real and no whole number of products.
    pub(super) fn bias_unit(&self, scales: &[f64], bias: &[f32]) -> Result<i16, SchemeError> {
        let x = self.input(0)?.scale;
        let steps = || {
            bias.iter()
                .zip(scales)
                .map(|(&b, s)| f64::from(b) / (x * s))
        };
        let is_whole = |steps: f64| (steps - steps.round()).abs() <= 1e-6 * steps.abs().max(1.0);
        if !self.real_bias || steps().all(is_whole) {
            return Ok(1);
        }
        let largest = steps().fold(0.0f64, |max, steps| max.max(steps.abs()));
        let mut units = (0..=BIAS_BITS).rev().map(|bits| 1i16 << bits);
        let unit = units.find(|unit| largest * f64::from(*unit) < f64::from(i32::MAX));
        Ok(unit.unwrap_or(1))
    }

    /// The integers of weights and bias: each must be what its scale makes of it.
    pub(super) fn given_weights(
        &self,
        scales: &[f64],
        weights: &[f32],
        per_channel: usize,
        bias: &[f32],
    ) -> Result<(Vec<i16>, Vec<i32>), SchemeError> {
        let node = || self.node.name.clone();
        let x = self.input(0)?.scale;
        let files = self.given_scales(bias.len());
        let unit = files.map_or(Ok(1), |scales| self.bias_unit(&scales, bias))?;
        let mut integers = Vec::with_capacity(weights.len());
        for (row, &scale) in weights.chunks_exact(per_channel.max(1)).zip(scales) {
            for &w in row {
                let w = f64::from(w);
                let scale = scale * f64::from(unit);
                let q = (w / scale).round();
                // both are products of two float32, rounded once or twice
                if (q * scale - w).abs() > 4e-7 * w.abs() {
                    return Err(SchemeError::Weight {
                        node: node(),
                        weight: w,
                        scale,
                    });
                }
                if q.abs() > 255.0 {
                    return Err(SchemeError::WeightRange {
                        node: node(),
                        weight: q as i64,
                    });
                }
                integers.push(q as i16 * unit);
            }
        }
        let given = self.given.and_then(|g| g.bias.as_deref());
        let given = given.filter(|b| !b.is_empty() && bias.len().is_multiple_of(b.len()));
        let mut biases = Vec::with_capacity(bias.len());
        for (c, (&real, &scale)) in bias.iter().zip(scales).enumerate() {
            let steps = f64::from(real) / (x * scale);
            let nearest = steps.round_ties_even();
            // the file's integer, unless its scale is not that of the products
            let integer = given
                .map(|b| f64::from(b[c % b.len()]))
                .filter(|b| (b - steps).abs() <= 0.5 + 1e-5 * steps.abs());
            let integer = integer.unwrap_or(nearest);
            if integer.abs() > f64::from(i32::MAX) {
                return Err(SchemeError::WeightRange {
                    node: node(),
                    weight: integer as i64,
                });
            }
            biases.push(integer as i32);
        }
        Ok((integers, biases))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_give_the_precision_of_float32() {
        let shift = |ratios: &[f64]| shift(ratios, 2_147_483_647.0);
        assert_eq!(shift(&[1.0]), Some(24));
        assert_eq!(shift(&[0.01, 0.02]), Some(36));
        assert_eq!(shift(&[1e-5]), Some(44));
        assert_eq!(shift(&[100.0, 1e-5]), Some(24));
        assert_eq!(shift(&[1e-9]), Some(48));
        assert_eq!(shift(&[200.0]), None);
    }

    #[test]
    fn means_of_whole_channels_are_rounded_before_their_zero_point() {
        let encoding = Encoding {
            quantization: Quantization {
                scale: 0.5,
                zero_point: 3,
            },
            lo: 0,
            hi: 255,
        };
        let ratio = global_ratio(0.5, 16, &encoding);
        let means = [8, 24, 25, -8, -24, -25, -1000, 100_000];
        let integers = means.map(|sum| nearest_global_mean(&encoding, sum, ratio));
        assert_eq!(integers, [3, 5, 5, 3, 1, 1, 0, 255]);
        assert!(has_tie(0..=100, ratio));
        assert!(!has_tie(0..=7, ratio));
        assert!(!has_tie(-1000..=1000, global_ratio(0.5, 49, &encoding)));
    }

    #[test]
    fn ties_go_to_even_and_ends_saturate() {
        let mark = FloatOp::Quantize {
            scale: 0.5,
            zero_point: 3,
            lo: 0,
            hi: 255,
        };
        let unsigned = encoding(&mark).expect("uint8");
        assert_eq!(dtype(&unsigned), Some(Dtype::Uint8));
        let integers = [-100.0, 0.0, 0.25, 0.75, 1e9].map(|v| nearest(&unsigned, v));
        assert_eq!(integers, [0, 3, 3, 5, 255]);
    }
}
