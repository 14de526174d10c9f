//! # Square roots: of an integer, and of its reciprocal in fixed point
//! Semantics: `y = ⌊√x⌋` for x ≥ 0; `y = ⌊2^s / √x⌋` for x ≥ 1.
//! Constraints: `y² ≤ x < (y + 1)²`; `y²·x ≤ 2^2s < (y + 1)²·x`.
//! Soundness: DESIGN.md#square-root. Cost: counted in tests/golden/gadgets.csv.

use super::normalize::normalize;
use super::{bits_for, loose_bits, span};
use crate::constraint::{BuildError, Builder, HintKind, WireTensor};

/// `⌊√x⌋`, element-wise, for 0 ≤ x < 2^47.
///
/// # Errors
/// When x may lie outside.
pub fn square_root(b: &mut Builder, x: &WireTensor) -> Result<WireTensor, BuildError> {
    let ends = span(x);
    b.inside("square_root", "least value", ends.lo, 0, 1 << 47)?;
    b.inside("square_root", "largest value", ends.hi, 0, (1 << 47) - 1)?;
    let top = ends.hi.isqrt();
    let y = b.hint(HintKind::SquareRoot, &[x])?;
    let y = b.range_hinted(y, bits_for(top))?;
    let square = b.mul(&y, &y)?;
    let rest = b.combine(&[(1, x), (-1, &square)], 0)?;
    let rest = b.range(&rest, loose_bits(2 * top))?;
    // x < (y + 1)² says rest ≤ 2y
    let room = b.combine(&[(2, &y), (-1, &rest)], 0)?;
    let bits = bits_for(span(&room).hi);
    b.range(&room, bits)?;
    Ok(y)
}

/// `⌊2^scale / √x⌋`, element-wise, for x ≥ 1 and `scale` in 1..=30.
///
/// Products must stay inside ±2^62: (2^scale/√(least x))²·(largest x), with the first factor rounded up to a power of two. For x
/// from 1 that is 2·(scale + 1) + bits of x ≤ 62. [`reciprocal_square_root_wide`] takes larger x.
///
/// # Errors
/// When x may be below 1, or a bound is passed.
pub fn reciprocal_square_root(
    b: &mut Builder,
    x: &WireTensor,
    scale: u32,
) -> Result<WireTensor, BuildError> {
    const NAME: &str = "reciprocal_square_root";
    b.inside(NAME, "scale", scale.into(), 1, 30)?;
    let ends = span(x);
    b.inside(NAME, "least value", ends.lo, 1, 1 << 47)?;
    b.inside(NAME, "largest value", ends.hi, 1, 1 << 47)?;
    let target = 1i64 << (2 * scale);
    let top = (target / ends.lo).isqrt();
    // both differences are below (2y + 1)·x, and y·x ≤ 2^s·√x
    let gap = (i128::from(ends.hi.isqrt() + 1) << (scale + 1)) + i128::from(ends.hi);
    let gap = i64::try_from(gap).unwrap_or(i64::MAX);
    let y = b.hint(HintKind::ReciprocalSquareRoot { scale: scale as u8 }, &[x])?;
    let y = b.range_hinted(y, bits_for(top))?;
    let once = b.mul(&y, x)?;
    let twice = b.mul(&y, &once)?;
    let below = b.combine(&[(-1, &twice)], target)?;
    b.range(&below, loose_bits(gap))?;
    let above = b.combine(&[(1, &twice), (2, &once), (1, x)], -target - 1)?;
    b.range(&above, loose_bits(gap))?;
    Ok(y)
}

/// A reciprocal square root with its unit: `value / 2^scale ≈ 1 / √x`.
#[derive(Clone, Debug)]
pub struct Reciprocal {
    /// The values.
    pub value: WireTensor,
    /// Exponent of the unit.
    pub scale: u32,
}

/// Bits of x that [`reciprocal_square_root_wide`] keeps.
pub const KEPT_BITS: u32 = 16;
/// Scale of the root of the kept bits: 2·(22 + 1) + 16 = 62.
const KEPT_SCALE: u32 = 22;

/// The reciprocal square root of the 15 or 16 leading bits of x, for 1 ≤ x < 2^47, as an integer of one unit for all x.
///
/// With e the least exponent such that z = ⌈x / 4^e⌉ ≤ 2^16, and E the largest e that x can need: the value is
/// `⌊2^22 / √z⌋·2^(E − e)` and the unit 2^−(22 + E). The relative error is below 2^−13.
///
/// # Errors
/// When x may lie outside.
pub fn reciprocal_square_root_wide(
    b: &mut Builder,
    x: &WireTensor,
) -> Result<Reciprocal, BuildError> {
    let z = normalize(b, x, KEPT_BITS)?;
    let root = reciprocal_square_root(b, &z.value, KEPT_SCALE)?;
    let scale = KEPT_SCALE + z.most;
    if z.most == 0 {
        return Ok(Reciprocal { value: root, scale });
    }
    let factor = z.table(b, |e| 1 << (i64::from(z.most) - e).max(0))?;
    let value = b.mul(&root, &factor)?;
    Ok(Reciprocal { value, scale })
}
