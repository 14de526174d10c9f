//! Functions of one real number, computed the same on every machine.
//!
//! Platform libraries round `exp` differently, and a table is part of a model's identity. These use only IEEE operations that
//! are exactly rounded, in double-double precision (about 2^-100), and round once at the end: within one ulp of the true value,
//! also below the normal numbers. The one exception is the sigmoid below −700, which is 0.

mod double_double;
mod error;
mod exponential;
#[cfg(test)]
mod tests;
mod trigonometric;

use serde::{Deserialize, Serialize};

use double_double::{DoubleDouble, ONE, TWO};
use exponential::{exp_clamped, exp_rounded};

pub(super) use exponential::power;

/// A primitive function of one real number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Function {
    /// 1 / (1 + e^−x).
    Sigmoid,
    /// (e^2x − 1) / (e^2x + 1).
    Tanh,
    /// e^x.
    Exp,
    /// Natural logarithm.
    Ln,
    /// Square root.
    Sqrt,
    /// 1/x.
    Reciprocal,
    /// |x|.
    Abs,
    /// −x.
    Negate,
    /// 1, −1, or x where that is 0.
    Sign,
    /// Largest integer ≤ x.
    Floor,
    /// Least integer ≥ x.
    Ceil,
    /// Nearest integer, the even one of two.
    Round,
    /// x².
    Square,
    /// 2/√π·∫₀ˣ e^(−t²) dt.
    Erf,
    /// ln(1 + e^x).
    Softplus,
    /// Sine of x radians.
    Sin,
    /// Cosine of x radians.
    Cos,
    /// Tangent of x radians.
    Tan,
    /// Arc sine, in [−π/2, π/2].
    Asin,
    /// Arc cosine, in [0, π].
    Acos,
    /// Arc tangent, in [−π/2, π/2].
    Atan,
    /// (e^x − e^−x)/2.
    Sinh,
    /// (e^x + e^−x)/2.
    Cosh,
    /// Inverse of sinh.
    Asinh,
    /// Inverse of cosh, ≥ 0.
    Acosh,
    /// Inverse of tanh.
    Atanh,
}

impl Function {
    /// All functions, in the order of their serialized indices.
    pub const ALL: [Self; 26] = [
        Self::Sigmoid,
        Self::Tanh,
        Self::Exp,
        Self::Ln,
        Self::Sqrt,
        Self::Reciprocal,
        Self::Abs,
        Self::Negate,
        Self::Sign,
        Self::Floor,
        Self::Ceil,
        Self::Round,
        Self::Square,
        Self::Erf,
        Self::Softplus,
        Self::Sin,
        Self::Cos,
        Self::Tan,
        Self::Asin,
        Self::Acos,
        Self::Atan,
        Self::Sinh,
        Self::Cosh,
        Self::Asinh,
        Self::Acosh,
        Self::Atanh,
    ];

    /// The function's value. Outside its domain, and of what is not a number, it is [`f64::NAN`], always with the same bits;
    /// a pole has an infinite value.
    pub fn value(self, x: f64) -> f64 {
        let value = match self {
            Self::Sigmoid => sigmoid(x),
            Self::Tanh => tanh(x),
            Self::Exp => exp_rounded(DoubleDouble::exact(x), 0),
            Self::Ln => exponential::ln(x),
            Self::Sqrt => x.sqrt(),
            Self::Reciprocal => 1.0 / x,
            Self::Abs => x.abs(),
            Self::Negate => -x,
            Self::Sign => sign(x),
            Self::Floor => x.floor(),
            Self::Ceil => x.ceil(),
            Self::Round => x.round_ties_even(),
            Self::Square => x * x,
            Self::Erf => error::erf(x),
            Self::Softplus => exponential::softplus(x),
            Self::Sin => trigonometric::sin(x),
            Self::Cos => trigonometric::cos(x),
            Self::Tan => trigonometric::tan(x),
            Self::Asin => trigonometric::asin(x),
            Self::Acos => trigonometric::acos(x),
            Self::Atan => trigonometric::atan(x),
            Self::Sinh => exponential::sinh(x),
            Self::Cosh => exponential::cosh(x),
            Self::Asinh => exponential::asinh(x),
            Self::Acosh => exponential::acosh(x),
            Self::Atanh => exponential::atanh(x),
        };
        canonical(value)
    }

    /// The function's name, in the spelling of ONNX where it has one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sigmoid => "Sigmoid",
            Self::Tanh => "Tanh",
            Self::Exp => "Exp",
            Self::Ln => "Log",
            Self::Sqrt => "Sqrt",
            Self::Reciprocal => "Reciprocal",
            Self::Abs => "Abs",
            Self::Negate => "Neg",
            Self::Sign => "Sign",
            Self::Floor => "Floor",
            Self::Ceil => "Ceil",
            Self::Round => "Round",
            Self::Square => "Square",
            Self::Erf => "Erf",
            Self::Softplus => "Softplus",
            Self::Sin => "Sin",
            Self::Cos => "Cos",
            Self::Tan => "Tan",
            Self::Asin => "Asin",
            Self::Acos => "Acos",
            Self::Atan => "Atan",
            Self::Sinh => "Sinh",
            Self::Cosh => "Cosh",
            Self::Asinh => "Asinh",
            Self::Acosh => "Acosh",
            Self::Atanh => "Atanh",
        }
    }
}

/// x, with the same bits for everything that is not a number: machines differ in those they produce.
pub(super) fn canonical(x: f64) -> f64 {
    if x.is_nan() { f64::NAN } else { x }
}

/// `round(2^scale_bits·e^(numerator / 2^fraction_bits))`, half up, for results below 2^53: correct but for arguments within about
/// 2^-40 of a tie.
pub fn exp_of_fraction(numerator: i64, fraction_bits: u32, scale_bits: u32) -> i64 {
    let power = |e: i32| f64::from_bits(((1023 + e) as u64) << 52);
    let x = numerator as f64 * power(-(fraction_bits.min(1000) as i32));
    let value = exp_clamped(x);
    // powers of two scale both parts exactly
    let scale = power(scale_bits.min(1000) as i32);
    let (hi, lo) = (value.hi * scale, value.lo * scale);
    let whole = hi.floor();
    whole as i64 + ((hi - whole) + lo + 0.5).floor() as i64
}

fn sign(x: f64) -> f64 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        x
    }
}

fn sigmoid(x: f64) -> f64 {
    // below −700 the value is under 10^-304, which no int8 scale tells from 0
    if x < -700.0 {
        return 0.0;
    }
    ONE.divide(ONE.add(exp_clamped(-x))).hi
}

fn tanh(x: f64) -> f64 {
    // x³/3 is below one ulp of x here
    if x.abs() < 1e-9 {
        return x;
    }
    if x.abs() > 350.0 {
        return x.signum();
    }
    let square = exp_clamped(2.0 * x.abs());
    let value = ONE.add(TWO.divide(square.add(ONE)).negate()).hi;
    if x < 0.0 { -value } else { value }
}
