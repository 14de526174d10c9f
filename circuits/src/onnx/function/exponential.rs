//! Exponential, logarithm, power and the hyperbolic functions.

use super::double_double::{DoubleDouble, LN_2, ONE, TWO, split};

/// Arguments below this give f(x) = x to half an ulp for the odd functions with f'(0) = 1 and f''(0) = 0.
pub(super) const TINY: f64 = 3.725_290_298_461_914e-9; // 2^-28

/// s and k with e^x = s·2^k, |x| ≤ 2000: x = k·ln 2 + r with |r| ≤ ln(2)/2, and the Taylor series of e^r.
fn parts(x: DoubleDouble) -> (DoubleDouble, i32) {
    let k = (x.hi / LN_2.hi).round();
    let r = x.subtract(LN_2.multiply(DoubleDouble::exact(k)));
    (ONE.add(series(r)), k as i32)
}

/// r + r²/2! + … + r^27/27! for |r| ≤ 0.35, where 0.35^27 / 27! is below 2^-130.
fn series(r: DoubleDouble) -> DoubleDouble {
    // Horner from the last term
    let mut sum = ONE;
    for n in (2..=27).rev() {
        let term = r.divide(DoubleDouble::exact(f64::from(n)));
        sum = ONE.add(term.multiply(sum));
    }
    r.divide(ONE).multiply(sum)
}

/// e^x, |x| ≤ 700.
pub(super) fn exp_moderate(x: DoubleDouble) -> DoubleDouble {
    let (sum, k) = parts(x);
    sum.scale(k)
}

/// e^x for |x| ≤ 709, the nearer end beyond.
pub(super) fn exp_clamped(x: f64) -> DoubleDouble {
    exp_moderate(DoubleDouble::exact(x.clamp(-709.0, 709.0)))
}

/// 2^shift·e^x rounded, infinite or 0 where that is out of range; x.hi may be any double.
pub(super) fn exp_rounded(x: DoubleDouble, shift: i32) -> f64 {
    if x.hi.is_nan() {
        f64::NAN
    } else if x.hi > 720.0 {
        f64::INFINITY
    } else if x.hi < -760.0 {
        0.0
    } else {
        let (sum, k) = parts(x);
        sum.scale(k + shift).hi
    }
}

/// e^x − 1 relative to itself, |x| ≤ 700.
fn exp_minus_one(x: DoubleDouble) -> DoubleDouble {
    if x.hi.abs() < 0.3 {
        return series(x);
    }
    exp_moderate(x).subtract(ONE)
}

/// 2·artanh(s) = ln((1 + s)/(1 − s)) for |s| ≤ 0.172: the series, where 0.172^46 is below 2^-116.
fn ln_of_quotient(s: DoubleDouble) -> DoubleDouble {
    let square = s.multiply(s);
    let mut sum = DoubleDouble::exact(0.0);
    for n in (0..23).rev() {
        let coefficient = TWO.divide(DoubleDouble::exact(f64::from(2 * n + 1)));
        sum = coefficient.add(square.multiply(sum));
    }
    s.multiply(sum)
}

/// ln x for a normal x > 0: x = m·2^e, and ln m from (m − 1)/(m + 1), which is exact near 1.
fn ln_normal(x: DoubleDouble) -> DoubleDouble {
    let (_, e) = split(x.hi);
    ln_scaled(x.scale(-e), e)
}

/// ln(m·2^e), m about [√½, √2].
fn ln_scaled(m: DoubleDouble, e: i32) -> DoubleDouble {
    let ln_m = ln_of_quotient(m.subtract(ONE).divide(m.add(ONE)));
    LN_2.multiply(DoubleDouble::exact(f64::from(e))).add(ln_m)
}

/// ln x for finite x > 0.
fn ln_positive(x: f64) -> DoubleDouble {
    let (m, e) = split(x);
    ln_scaled(DoubleDouble::exact(m), e)
}

/// ln(1 + t) relative to itself, −1 < t ≤ 2^900.
fn ln_one_plus(t: DoubleDouble) -> DoubleDouble {
    if t.hi > -0.25 && t.hi < 0.375 {
        ln_of_quotient(t.divide(TWO.add(t)))
    } else {
        ln_normal(ONE.add(t))
    }
}

/// ln x.
pub(super) fn ln(x: f64) -> f64 {
    if x == 0.0 {
        f64::NEG_INFINITY
    } else if x < 0.0 || x.is_nan() {
        f64::NAN
    } else if x == f64::INFINITY {
        x
    } else {
        ln_positive(x).hi
    }
}

/// ln(1 + e^x), written so that e^ is of a number ≤ 0.
pub(super) fn softplus(x: f64) -> f64 {
    if x < -40.0 {
        // t²/2 is below half an ulp of t = e^x
        return exp_rounded(DoubleDouble::exact(x), 0);
    }
    if x > 40.0 || x.is_nan() {
        return x;
    }
    let rest = ln_one_plus(exp_clamped(-x.abs()));
    rest.add(DoubleDouble::exact(if x > 0.0 { x } else { 0.0 }))
        .hi
}

/// (e^a − e^−a)/2 = (t + t/(1 + t))/2 with t = e^a − 1, a = |x|.
pub(super) fn sinh(x: f64) -> f64 {
    let a = x.abs();
    if a < TINY || x.is_nan() {
        return x;
    }
    let value = if a > 40.0 {
        exp_rounded(DoubleDouble::exact(a), -1)
    } else {
        let t = exp_minus_one(DoubleDouble::exact(a));
        t.add(t.divide(ONE.add(t))).scale(-1).hi
    };
    value.copysign(x)
}

/// (e^a + e^−a)/2, a = |x|.
pub(super) fn cosh(x: f64) -> f64 {
    let a = x.abs();
    if a > 40.0 {
        return exp_rounded(DoubleDouble::exact(a), -1);
    }
    let e = exp_clamped(a);
    e.add(ONE.divide(e)).scale(-1).hi
}

/// ln(2a), which arsinh and arcosh are to 2^-60 for finite a ≥ 2^30.
fn ln_of_double(a: f64) -> f64 {
    ln_positive(a).add(LN_2).hi
}

/// ln(a + √(a² + 1)) = ln(1 + a + a²/(1 + √(a² + 1))), a = |x|.
pub(super) fn asinh(x: f64) -> f64 {
    let a = x.abs();
    if a < TINY || !x.is_finite() {
        return x;
    }
    let value = if a > 1e9 {
        ln_of_double(a)
    } else {
        let square = DoubleDouble::product(a, a);
        let rest = square.divide(ONE.add(ONE.add(square).sqrt()));
        ln_one_plus(rest.add(DoubleDouble::exact(a))).hi
    };
    value.copysign(x)
}

/// ln(x + √(x² − 1)) = ln(1 + t + √(t·(t + 2))) with t = x − 1.
pub(super) fn acosh(x: f64) -> f64 {
    if x < 1.0 || x.is_nan() {
        return f64::NAN;
    }
    if x == f64::INFINITY {
        return x;
    }
    if x > 1e9 {
        return ln_of_double(x);
    }
    let t = DoubleDouble::sum(x, -1.0);
    ln_one_plus(t.add(t.multiply(t.add(TWO)).sqrt())).hi
}

/// ln((1 + a)/(1 − a))/2 = ln(1 + 2a/(1 − a))/2, a = |x|.
pub(super) fn atanh(x: f64) -> f64 {
    let a = x.abs();
    if a > 1.0 {
        return f64::NAN;
    }
    if a < TINY || x.is_nan() {
        return x;
    }
    let value = if a == 1.0 {
        f64::INFINITY
    } else {
        let t = DoubleDouble::exact(2.0 * a).divide(DoubleDouble::sum(1.0, -a));
        ln_one_plus(t).scale(-1).hi
    };
    value.copysign(x)
}

/// The largest |y| for which x^y is multiplied out: m in [√½, √2] keeps m^y within 2^±256.
const MAX_MULTIPLIED: f64 = 512.0;

/// x^y with the special cases of IEEE 754's pow.
pub(in crate::onnx) fn power(x: f64, y: f64) -> f64 {
    if y == 0.0 || x == 1.0 {
        return 1.0;
    }
    if x.is_nan() || y.is_nan() {
        return f64::NAN;
    }
    let integer = y == y.floor();
    // doubles from 2^53 on are even
    let odd = integer && y.abs() < 9_007_199_254_740_992.0 && (y * 0.5) != (y * 0.5).floor();
    let a = x.abs();
    if x < 0.0 && !integer && a.is_finite() {
        return f64::NAN;
    }
    let magnitude = if a == 1.0 {
        1.0
    } else if a == 0.0 || a.is_infinite() || y.is_infinite() {
        if (a > 1.0) == (y > 0.0) {
            f64::INFINITY
        } else {
            0.0
        }
    } else {
        power_of_positive(a, y, integer)
    };
    if odd && x.is_sign_negative() {
        -magnitude
    } else {
        magnitude
    }
}

/// a^y for finite a > 0 and finite y ≠ 0.
fn power_of_positive(a: f64, y: f64, integer: bool) -> f64 {
    if integer && y.abs() <= MAX_MULTIPLIED {
        let (m, e) = split(a);
        let power = multiplied(m, y.abs() as u32);
        let power = if y < 0.0 { ONE.divide(power) } else { power };
        return power.scale(e * (y as i32)).hi;
    }
    let ln = ln_positive(a);
    let rough = y * ln.hi;
    if rough.abs() < 720.0 || (rough < 0.0 && rough > -760.0) {
        exp_rounded(ln.multiply(DoubleDouble::exact(y)), 0)
    } else if rough > 0.0 {
        f64::INFINITY
    } else {
        0.0
    }
}

/// m^n by squaring, n ≤ 512.
fn multiplied(m: f64, n: u32) -> DoubleDouble {
    let (mut result, mut square, mut rest) = (ONE, DoubleDouble::exact(m), n);
    while rest > 0 {
        if rest & 1 == 1 {
            result = result.multiply(square);
        }
        rest >>= 1;
        if rest > 0 {
            square = square.multiply(square);
        }
    }
    result
}
