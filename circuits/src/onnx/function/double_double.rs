//! Sums of two doubles: about 104 bits from exactly rounded operations.
//!
//! Errors below are relative to the result, for operands and results between 2^-900 and 2^900; callers keep to that range by
//! splitting off powers of two.

/// An unevaluated sum hi + lo with |lo| ≤ ulp(hi)/2.
#[derive(Clone, Copy, Debug)]
pub(super) struct DoubleDouble {
    pub(super) hi: f64,
    pub(super) lo: f64,
}

pub(super) const ONE: DoubleDouble = DoubleDouble { hi: 1.0, lo: 0.0 };
pub(super) const TWO: DoubleDouble = DoubleDouble { hi: 2.0, lo: 0.0 };
/// ln 2 to 107 bits.
pub(super) const LN_2: DoubleDouble = DoubleDouble {
    hi: std::f64::consts::LN_2,
    lo: 2.319_046_813_846_299_6e-17,
};
/// π/2 to 107 bits.
pub(super) const HALF_PI: DoubleDouble = DoubleDouble {
    hi: std::f64::consts::FRAC_PI_2,
    lo: 6.123_233_995_736_766e-17,
};
/// 2/√π to 107 bits.
pub(super) const TWO_OVER_SQRT_PI: DoubleDouble = DoubleDouble {
    hi: std::f64::consts::FRAC_2_SQRT_PI,
    lo: 1.533_545_961_316_588e-17,
};

impl DoubleDouble {
    /// A double as it is.
    pub(super) fn exact(x: f64) -> Self {
        Self { hi: x, lo: 0.0 }
    }

    /// Knuth's two-sum: a + b exactly.
    pub(super) fn sum(a: f64, b: f64) -> Self {
        let hi = a + b;
        let v = hi - a;
        Self {
            hi,
            lo: (a - (hi - v)) + (b - v),
        }
    }

    /// a·b exactly.
    pub(super) fn product(a: f64, b: f64) -> Self {
        let hi = a * b;
        Self {
            hi,
            lo: a.mul_add(b, -hi),
        }
    }

    /// Sum, to 2^-104 also under cancellation of the high parts.
    pub(super) fn add(self, other: Self) -> Self {
        let s = Self::sum(self.hi, other.hi);
        let t = Self::sum(self.lo, other.lo);
        let s = Self::sum(s.hi, s.lo + t.hi);
        Self::sum(s.hi, s.lo + t.lo)
    }

    /// Difference, as exact as the sum.
    pub(super) fn subtract(self, other: Self) -> Self {
        self.add(other.negate())
    }

    /// The opposite, exactly.
    pub(super) fn negate(self) -> Self {
        Self {
            hi: -self.hi,
            lo: -self.lo,
        }
    }

    /// Product, to 2^-103.
    pub(super) fn multiply(self, other: Self) -> Self {
        let hi = self.hi * other.hi;
        let lo = self.hi.mul_add(other.hi, -hi) + (self.hi * other.lo + self.lo * other.hi);
        Self::sum(hi, lo)
    }

    /// Quotient, to 2^-102.
    pub(super) fn divide(self, other: Self) -> Self {
        let scaled = |q: f64| other.multiply(Self { hi: q, lo: 0.0 });
        let first = self.hi / other.hi;
        let rest = self.add(scaled(first).negate());
        let second = rest.hi / other.hi;
        let rest = rest.add(scaled(second).negate());
        let third = rest.hi / other.hi;
        Self::sum(first, second).add(Self { hi: third, lo: 0.0 })
    }

    /// Square root of a number ≥ 0, to 2^-102: one Newton step from the root of the high part.
    pub(super) fn sqrt(self) -> Self {
        if self.hi == 0.0 {
            return self;
        }
        let root = self.hi.sqrt();
        let rest = self.subtract(Self::product(root, root));
        Self::sum(root, rest.hi / (2.0 * root))
    }

    /// (hi·2^k, lo·2^k), rounded once where that is below the normal numbers.
    pub(super) fn scale(self, k: i32) -> Self {
        // any result beyond these is 0 or infinite, and each half is a normal power
        let k = k.clamp(-2000, 2000);
        let (half, rest) = (k / 2, k - k / 2);
        let power = |e: i32| f64::from_bits(((1023 + e) as u64) << 52);
        let (a, b) = (power(half), power(rest));
        Self {
            hi: self.hi * a * b,
            lo: self.lo * a * b,
        }
    }
}

/// m and e with x = m·2^e and m in [√½, √2], for finite x > 0.
pub(super) fn split(x: f64) -> (f64, i32) {
    let (normal, shift) = if x < f64::MIN_POSITIVE {
        (x * f64::from_bits((1023 + 54) << 52), 54)
    } else {
        (x, 0)
    };
    let bits = normal.to_bits();
    let e = ((bits >> 52) & 0x7ff) as i32 - 1023;
    let m = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    if m > std::f64::consts::SQRT_2 {
        (m * 0.5, e + 1 - shift)
    } else {
        (m, e - shift)
    }
}
