//! # Rescale: a product with a fixed-point multiplier, rounded, of any width
//! Semantics: `y = ⌊(x·M + 2^(s−1)) / 2^s⌋`, round half up for both signs. No table, no saturation.
//! Constraints: `x·M + 2^(s−1) − low·2^s = q·2^s + ρ`, `0 ≤ ρ < 2^s`, `0 ≤ q < 2^bits`, `y = q + low`; low is the least y.
//! Soundness: DESIGN.md#rescale. Cost: counted in tests/golden/gadgets.csv.

use super::{bits_for, shifted};
use crate::constraint::{BuildError, Builder, LinearMap, WireTensor};

/// Rescales `x` element-wise; the proved interval of the result is exactly the rescaled one.
///
/// `multipliers` is one M for all, or one per element; `shift` is s, 1..=48. Results may span 2^48 values.
///
/// # Errors
/// When an intermediate could leave ±2^62, or the results span more values.
pub fn rescale(
    b: &mut Builder,
    x: &WireTensor,
    multipliers: Vec<i64>,
    shift: u32,
) -> Result<WireTensor, BuildError> {
    b.inside("rescale", "shift", shift.into(), 1, 48)?;
    let map = LinearMap::Scale {
        factors: multipliers,
    };
    let scaled = b.linear(map, x, vec![1 << (shift - 1)])?;
    shift_right(b, &scaled, shift)
}

/// `⌊x / 2^shift⌋`, element-wise, for `shift` in 1..=48.
///
/// # Errors
/// As [`rescale`].
pub fn shift_right(b: &mut Builder, x: &WireTensor, shift: u32) -> Result<WireTensor, BuildError> {
    b.inside("shift_right", "shift", shift.into(), 1, 48)?;
    let ends: Vec<(i64, i64)> = x
        .intervals()
        .iter()
        .map(|i| (i.lo >> shift, i.hi >> shift))
        .collect();
    let top = ends.iter().map(|(lo, hi)| hi - lo).max().unwrap_or(0);
    let mut low: Vec<i64> = ends.iter().map(|ends| ends.0).collect();
    if low.iter().all(|l| *l == low[0]) {
        low.truncate(1);
    }
    if low == [0] {
        let q = b.split(x, shift)?;
        return b.range_unbound(q, bits_for(top));
    }
    // low·2^s is within 2^s of an end of x's interval
    let raise = low.iter().map(|l| -(l << shift)).collect();
    let raised = shifted(b, x, raise)?;
    let q = b.split(&raised, shift)?;
    let q = b.range_unbound(q, bits_for(top))?;
    shifted(b, &q, low)
}
