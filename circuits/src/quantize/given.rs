//! Quantization that a file gives: scales and integers are taken as they are, and only multipliers are rounded.
//!
//! Activations of uint8 are int8 here, 128 less with a zero point 128 less: the same real numbers, and the same bits but the top one.

use super::scheme::{SchemeError, Site};
use crate::onnx::FloatOp;
use crate::tensor::Quantization;

/// A multiplier of at least this has the precision of onnxruntime's float32.
const LEAST_MULTIPLIER: f64 = 16_777_216.0;
/// Multipliers have at most 31 bits.
const LARGEST_MULTIPLIER: f64 = 2_147_483_647.0;
/// Shifts in the order of their cost; the last is the finest.
const SHIFTS: [u32; 4] = [24, 36, 44, 48];

/// An int8 tensor and the integers it may hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Encoding {
    pub(super) quantization: Quantization,
    pub(super) lo: i8,
    pub(super) hi: i8,
}

/// The int8 encoding of a quantization mark; `None` where its integers are no int8 or uint8.
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
    let shift = match (lo, hi) {
        (0, 255) => 128,
        (-128, 127) => 0,
        _ => return None,
    };
    Some(Encoding {
        quantization: Quantization {
            scale,
            zero_point: zero_point - shift,
        },
        lo: -128,
        hi: 127,
    })
}

impl Encoding {
    /// The integer nearest to a real number, ties to even.
    pub(super) fn nearest(&self, value: f64) -> i8 {
        let steps = f64::from((value / self.quantization.scale) as f32).round_ties_even();
        let integer = steps + self.quantization.zero_point as f64;
        integer.clamp(self.lo.into(), self.hi.into()) as i8
    }
}

/// The finest shift that no product needs more bits for: the first in order of cost with full precision, else the finest that fits.
pub(super) fn shift(ratios: &[f64]) -> Option<u32> {
    let at = |ratio: f64, shift: u32| (ratio * (1u64 << shift) as f64).round();
    let largest = ratios.iter().fold(0.0f64, |max, &r| max.max(r));
    let smallest = ratios.iter().fold(
        f64::INFINITY,
        |min, &r| if r > 0.0 { min.min(r) } else { min },
    );
    let fits = |shift: &&u32| at(largest, **shift) <= LARGEST_MULTIPLIER;
    let fine = SHIFTS
        .iter()
        .filter(fits)
        .find(|&&shift| at(smallest, shift) >= LEAST_MULTIPLIER);
    fine.or_else(|| SHIFTS.iter().filter(fits).next_back())
        .copied()
}

impl Site<'_> {
    /// The scale of every output channel's weights, where the file gives them.
    pub(super) fn given_scales(&self, n_out: usize) -> Option<Vec<f64>> {
        let scales = &self.given?.weight_scales;
        (!scales.is_empty() && n_out.is_multiple_of(scales.len()))
            .then(|| (0..n_out).map(|c| scales[c % scales.len()]).collect())
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
        let mut integers = Vec::with_capacity(weights.len());
        for (row, &scale) in weights.chunks_exact(per_channel.max(1)).zip(scales) {
            for &w in row {
                let w = f64::from(w);
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
                integers.push(q as i16);
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
        assert_eq!(shift(&[1.0]), Some(24));
        assert_eq!(shift(&[0.01, 0.02]), Some(36));
        assert_eq!(shift(&[1e-5]), Some(44));
        assert_eq!(shift(&[100.0, 1e-5]), Some(24));
        assert_eq!(shift(&[1e-9]), Some(48));
        assert_eq!(shift(&[200.0]), None);
    }

    #[test]
    fn uint8_is_int8_moved_by_128() {
        let mark = |zero_point, lo, hi| FloatOp::Quantize {
            scale: 0.5,
            zero_point,
            lo,
            hi,
        };
        let unsigned = encoding(&mark(3, 0, 255)).expect("uint8");
        assert_eq!(unsigned.quantization.zero_point, -125);
        assert_eq!(unsigned.nearest(0.0), -125);
        assert_eq!(unsigned.nearest(-100.0), -128);
        assert_eq!(unsigned.nearest(0.25), -125);
        assert_eq!(unsigned.nearest(0.75), -123);
        assert_eq!(
            encoding(&mark(3, -128, 127)).map(|e| e.quantization.zero_point),
            Some(3)
        );
        assert_eq!(encoding(&mark(0, 0, 65_535)), None);
    }
}
