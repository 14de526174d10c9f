//! The error function.

use super::double_double::{DoubleDouble, ONE, TWO_OVER_SQRT_PI};
use super::exponential::{TINY, exp_moderate};

/// 2/√π·∫₀ˣ e^(−t²) dt = 2/√π·e^(−x²)·x·Σ (2x²)ⁿ/(1·3·…·(2n + 1)), a series without cancellation.
pub(super) fn erf(x: f64) -> f64 {
    let a = x.abs();
    if x.is_nan() {
        return x;
    }
    if a > 6.0 {
        // 1 − erf(6) is below 2^-55
        return 1.0_f64.copysign(x);
    }
    let scaled = TWO_OVER_SQRT_PI.multiply(DoubleDouble::exact(a));
    if a < TINY {
        return scaled.hi.copysign(x);
    }
    let square = DoubleDouble::product(a, a);
    let (mut sum, mut term, mut n) = (ONE, ONE, 1.0);
    // the ratio falls below 1/2 at n = 72 at the latest
    while term.hi > sum.hi * 1e-33 {
        n += 2.0;
        term = term
            .multiply(square.scale(1))
            .divide(DoubleDouble::exact(n));
        sum = sum.add(term);
    }
    let value = scaled
        .multiply(exp_moderate(square.negate()))
        .multiply(sum)
        .hi;
    value.copysign(x)
}
