//! # Sign: is a value negative; comparisons and the absolute value
//! Semantics: `s = [x < 0]`, zero is not negative.
//! Constraints: `x + 2^t = p·2^t + ρ`, `0 ≤ ρ < 2^t`, `p ∈ {0, 1}`, where −2^t ≤ x < 2^t is proved; `s = 1 − p`.
//! Soundness: DESIGN.md#sign. Cost: counted in tests/golden/gadgets.csv.

use super::logic::{and, not};
use super::{bits_for, constants, loose_bits, span};
use crate::constraint::{BuildError, Builder, HintKind, LinearMap, TableFunction, WireTensor};

/// `[x < 0]`, element-wise, for |x| < 2^48.
///
/// # Errors
/// When an element may be larger.
pub fn is_negative(b: &mut Builder, x: &WireTensor) -> Result<WireTensor, BuildError> {
    let ends = span(x);
    if ends.lo >= 0 || ends.hi < 0 {
        return constants(b, x, x.len(), vec![i64::from(ends.hi < 0)]);
    }
    let top = ends.hi.max(-(ends.lo + 1));
    b.inside("is_negative", "largest magnitude", top, 0, (1 << 48) - 1)?;
    let t = loose_bits(top);
    let raised = b.combine(&[(1, x)], 1 << t)?;
    let p = b.split(&raised, t)?;
    let p = b.range_unbound(p, 1)?;
    b.combine(&[(-1, &p)], 1)
}

/// `[x < y]`, element-wise.
///
/// # Errors
/// When lengths differ or a difference may reach 2^48.
pub fn less(b: &mut Builder, x: &WireTensor, y: &WireTensor) -> Result<WireTensor, BuildError> {
    let difference = b.combine(&[(1, x), (-1, y)], 0)?;
    is_negative(b, &difference)
}

/// `[x = 0]`, element-wise: a table where that is cheaper, else neither x < 0 nor −x < 0.
///
/// # Errors
/// When a magnitude may reach 2^48.
pub fn is_zero(b: &mut Builder, x: &WireTensor) -> Result<WireTensor, BuildError> {
    let ends = span(x);
    let limbs = u64::from(loose_bits(ends.max_abs() as i64).div_ceil(12));
    // two signs of `limbs` + 1 rows each, against a fold and an inverse
    let saved = (2 * limbs) * x.len() as u64;
    if ends.width() <= TableFunction::MAX_ROWS && ends.width() <= saved {
        return b.lookup(&TableFunction::map(-1, vec![0, 1, 0]), x);
    }
    let opposite = b.combine(&[(-1, x)], 0)?;
    let (below, above) = (is_negative(b, x)?, is_negative(b, &opposite)?);
    let (not_below, not_above) = (not(b, &below)?, not(b, &above)?);
    and(b, &not_below, &not_above)
}

/// `[x = y]`, element-wise.
///
/// # Errors
/// As [`is_zero`], for the difference.
pub fn equal(b: &mut Builder, x: &WireTensor, y: &WireTensor) -> Result<WireTensor, BuildError> {
    let difference = b.combine(&[(1, x), (-1, y)], 0)?;
    is_zero(b, &difference)
}

/// `|x|`, element-wise: m is x or −x, and m ≥ 0.
///
/// # Errors
/// When a magnitude may reach 2^48.
pub fn abs(b: &mut Builder, x: &WireTensor) -> Result<WireTensor, BuildError> {
    if span(x).lo >= 0 {
        return Ok(x.clone());
    }
    let opposite = b.linear(LinearMap::Scale { factors: vec![-1] }, x, vec![])?;
    let m = b.hint(HintKind::Max, &[x, &opposite])?;
    let m = b.member(m, &[x, &opposite])?;
    let bits = bits_for(span(&m).hi);
    b.range(&m, bits)
}
