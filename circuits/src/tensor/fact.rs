//! What the compiler knows about an integer tensor before any input exists.

use super::Interval;
use serde::{Deserialize, Serialize};
use zkinfer_verifier::Dtype;

/// How an integer stands for a real number: `real = scale · (q − zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantization {
    /// Real value of one step; finite and positive.
    pub scale: f64,
    /// The integer that stands for 0.
    pub zero_point: i64,
}

impl Quantization {
    /// Whether the scale is finite and positive, and the zero point within ±2^31.
    pub fn is_sound(&self) -> bool {
        self.scale.is_finite() && self.scale > 0.0 && self.zero_point.unsigned_abs() <= 1 << 31
    }

    /// The integer of a type that stands for a real input, as QuantizeLinear has it: the quotient is a float32, ties go to even, and what lies
    /// beyond the type saturates.
    pub fn quantize(&self, value: f64, dtype: Dtype) -> i64 {
        let steps = f64::from((value / self.scale) as f32).round_ties_even();
        // clamped to the type before the cast
        (steps + self.zero_point as f64).clamp(dtype.min() as f64, dtype.max() as f64) as i64
    }

    /// The real number that `q` stands for.
    pub fn dequantize(&self, q: i64) -> f64 {
        self.scale * (q - self.zero_point) as f64
    }
}

/// Shape, proved interval and meaning of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Holds every value that any admissible input leads to; never taken from calibration.
    pub interval: Interval,
    /// `None` for an accumulator whose scale differs by channel: only a Requantize reads it.
    pub quantization: Option<Quantization>,
}

impl Fact {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether every value is an int8.
    pub fn is_int8(&self) -> bool {
        self.dtype() == Some(Dtype::Int8)
    }

    /// The narrowest type of a statement that holds every value; `None` beyond 32 bits.
    pub fn dtype(&self) -> Option<Dtype> {
        let types = [Dtype::Int8, Dtype::Uint8, Dtype::Int16, Dtype::Int32];
        let holds = |t: &Dtype| self.interval.lo >= t.min() && self.interval.hi <= t.max();
        types.into_iter().find(holds)
    }
}
