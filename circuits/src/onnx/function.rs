//! Element-wise functions, computed the same on every machine.
//!
//! Platform libraries round `exp` differently, and a table is part of a model's identity. These use only IEEE operations that
//! are exactly rounded, in double-double precision (about 2^-100), and round once at the end.

use serde::{Deserialize, Serialize};

/// A function of one real number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Function {
    /// 1 / (1 + e^−x).
    Sigmoid,
    /// (e^2x − 1) / (e^2x + 1).
    Tanh,
}

impl Function {
    /// The function's value, correctly rounded but for arguments within 2^-90 of a tie.
    pub fn value(self, x: f64) -> f64 {
        match self {
            // below −700 the value is under 10^-304, which no int8 scale tells from 0
            Self::Sigmoid if x < -700.0 => 0.0,
            Self::Sigmoid => ONE.divide(ONE.add(exp(-x))).hi,
            // x³/3 is below one ulp of x here
            Self::Tanh if x.abs() < 1e-9 => x,
            Self::Tanh if x.abs() > 350.0 => x.signum(),
            Self::Tanh => {
                let square = exp(2.0 * x.abs());
                let value = ONE.add(TWO.divide(square.add(ONE)).negate()).hi;
                if x < 0.0 { -value } else { value }
            }
        }
    }
}

/// `round(2^scale_bits·e^(numerator / 2^fraction_bits))`, half up, for results below 2^53: correct but for arguments within about
/// 2^-40 of a tie.
pub fn exp_of_fraction(numerator: i64, fraction_bits: u32, scale_bits: u32) -> i64 {
    let power = |e: i32| f64::from_bits(((1023 + e) as u64) << 52);
    let x = numerator as f64 * power(-(fraction_bits.min(1000) as i32));
    let value = exp(x);
    // powers of two scale both parts exactly
    let scale = power(scale_bits.min(1000) as i32);
    let (hi, lo) = (value.hi * scale, value.lo * scale);
    let whole = hi.floor();
    whole as i64 + ((hi - whole) + lo + 0.5).floor() as i64
}

/// An unevaluated sum hi + lo with |lo| ≤ ulp(hi)/2.
#[derive(Clone, Copy, Debug)]
struct DoubleDouble {
    hi: f64,
    lo: f64,
}

const ONE: DoubleDouble = DoubleDouble { hi: 1.0, lo: 0.0 };
const TWO: DoubleDouble = DoubleDouble { hi: 2.0, lo: 0.0 };
/// ln 2 to 107 bits.
const LN_2: DoubleDouble = DoubleDouble {
    hi: std::f64::consts::LN_2,
    lo: 2.319_046_813_846_299_6e-17,
};

impl DoubleDouble {
    /// Knuth's two-sum.
    fn sum(a: f64, b: f64) -> Self {
        let hi = a + b;
        let v = hi - a;
        Self {
            hi,
            lo: (a - (hi - v)) + (b - v),
        }
    }

    fn add(self, other: Self) -> Self {
        let s = Self::sum(self.hi, other.hi);
        let t = Self::sum(self.lo, other.lo);
        let s = Self::sum(s.hi, s.lo + t.hi);
        Self::sum(s.hi, s.lo + t.lo)
    }

    fn negate(self) -> Self {
        Self {
            hi: -self.hi,
            lo: -self.lo,
        }
    }

    fn multiply(self, other: Self) -> Self {
        let hi = self.hi * other.hi;
        let lo = self.hi.mul_add(other.hi, -hi) + (self.hi * other.lo + self.lo * other.hi);
        Self::sum(hi, lo)
    }

    fn divide(self, other: Self) -> Self {
        let scaled = |q: f64| other.multiply(Self { hi: q, lo: 0.0 });
        let first = self.hi / other.hi;
        let rest = self.add(scaled(first).negate());
        let second = rest.hi / other.hi;
        let rest = rest.add(scaled(second).negate());
        let third = rest.hi / other.hi;
        Self::sum(first, second).add(Self { hi: third, lo: 0.0 })
    }
}

/// e^x for |x| ≤ 709: x = k·ln 2 + r with |r| ≤ ln(2)/2, and the Taylor series of e^r.
fn exp(x: f64) -> DoubleDouble {
    let x = x.clamp(-709.0, 709.0);
    let k = (x / LN_2.hi).round();
    let r = DoubleDouble { hi: x, lo: 0.0 }
        .add(LN_2.multiply(DoubleDouble { hi: k, lo: 0.0 }).negate());
    // Horner from the last term; 0.35^27 / 27! is below 2^-130
    let mut sum = ONE;
    for n in (1..=27).rev() {
        let term = r.divide(DoubleDouble {
            hi: f64::from(n),
            lo: 0.0,
        });
        sum = ONE.add(term.multiply(sum));
    }
    // k is within ±1023, so 2^k is a normal number or the halves below are
    let (half, rest) = ((k as i32) / 2, (k as i32) - (k as i32) / 2);
    let power = |e: i32| f64::from_bits(((1023 + e) as u64) << 52);
    let (a, b) = (power(half), power(rest));
    DoubleDouble {
        hi: sum.hi * a * b,
        lo: sum.lo * a * b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_platform_to_two_ulp() {
        for i in -4000..4000 {
            let x = f64::from(i) * 0.01;
            for (function, reference) in [
                (Function::Sigmoid, 1.0 / (1.0 + (-x).exp())),
                (Function::Tanh, x.tanh()),
            ] {
                let got = function.value(x);
                assert!(
                    (got - reference).abs() <= 1e-15 * reference.abs().max(1e-12),
                    "{function:?} {x}"
                );
            }
        }
    }

    #[test]
    fn known_values_are_correctly_rounded() {
        // from an evaluation to 40 digits
        assert_eq!(Function::Sigmoid.value(1.0), 0.731_058_578_630_004_9);
        assert_eq!(Function::Tanh.value(0.5), 0.462_117_157_260_009_75);
        assert_eq!(Function::Tanh.value(-20.0), -1.0);
        assert_eq!(Function::Sigmoid.value(0.0), 0.5);
        assert_eq!(Function::Sigmoid.value(-1e300), 0.0);
        assert_eq!(Function::Sigmoid.value(1e300), 1.0);
    }
}
