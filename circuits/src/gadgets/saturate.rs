//! # Saturate: the clamp of a value of any width
//! Semantics: `y = min(max(x, lo), hi)`.
//! Constraints: `u ∈ {x, lo}`, `u − x ≥ 0`; `y ∈ {u, hi}`, `u − y ≥ 0`; `lo ≤ y ≤ hi`.
//! Soundness: DESIGN.md#saturate. Cost: counted in tests/golden/gadgets.csv.

use super::{bits_for, constants, loose_bits, span};
use crate::constraint::{BuildError, Builder, HintKind, WireTensor};

/// `max(x, lo)`, element-wise.
///
/// # Errors
/// When a difference needs more than 48 bits.
pub fn at_least(b: &mut Builder, x: &WireTensor, lo: i64) -> Result<WireTensor, BuildError> {
    let ends = span(x);
    if lo <= ends.lo {
        return Ok(x.clone());
    }
    let limit = constants(b, x, x.len(), vec![lo])?;
    if lo >= ends.hi {
        return Ok(limit);
    }
    let y = larger(b, x, &limit)?;
    let above = b.combine(&[(1, &y)], -lo)?;
    let above = b.range(&above, bits_for(ends.hi - lo))?;
    b.combine(&[(1, &above)], lo)
}

/// `min(x, hi)`, element-wise: the negative of the larger of −x and −hi.
///
/// # Errors
/// When a difference needs more than 48 bits.
pub fn at_most(b: &mut Builder, x: &WireTensor, hi: i64) -> Result<WireTensor, BuildError> {
    let opposite = b.combine(&[(-1, x)], 0)?;
    let y = at_least(b, &opposite, -hi)?;
    b.combine(&[(-1, &y)], 0)
}

/// `clamp(x, lo, hi)`, element-wise, for lo ≤ hi.
///
/// # Errors
/// When lo > hi, or a difference needs more than 48 bits.
pub fn saturate(
    b: &mut Builder,
    x: &WireTensor,
    lo: i64,
    hi: i64,
) -> Result<WireTensor, BuildError> {
    b.inside("saturate", "lower end", lo, -(1 << 62), hi)?;
    let ends = span(x);
    if lo <= ends.lo || lo >= ends.hi {
        let y = at_least(b, x, lo)?;
        return at_most(b, &y, hi);
    }
    if hi >= ends.hi {
        return at_least(b, x, lo);
    }
    if hi <= ends.lo || lo == hi {
        return constants(b, x, x.len(), vec![hi]);
    }
    let low = constants(b, x, x.len(), vec![lo])?;
    let u = larger(b, x, &low)?;
    // the smaller of u and hi is the negative of the larger of −u and −hi
    let opposite = b.combine(&[(-1, &u)], 0)?;
    let high = constants(b, x, x.len(), vec![-hi])?;
    let v = larger(b, &opposite, &high)?;
    let above = b.combine(&[(-1, &v)], -lo)?;
    between(b, &above, lo, hi - lo)
}

/// m ∈ {x, limit} with m ≥ x: the larger of both, if something else says m ≥ limit.
fn larger(b: &mut Builder, x: &WireTensor, limit: &WireTensor) -> Result<WireTensor, BuildError> {
    let m = b.hint(HintKind::Max, &[x, limit])?;
    let m = b.member(m, &[x, limit])?;
    let above = b.combine(&[(1, &m), (-1, x)], 0)?;
    let bits = bits_for(span(&above).hi);
    b.range(&above, bits)?;
    Ok(m)
}

/// `0 ≤ x ≤ top`; returns x + lo.
fn between(b: &mut Builder, x: &WireTensor, lo: i64, top: i64) -> Result<WireTensor, BuildError> {
    if top + 1 == 1 << bits_for(top) {
        let x = b.range(x, bits_for(top))?;
        return b.combine(&[(1, &x)], lo);
    }
    let x = b.range(x, loose_bits(top))?;
    let room = b.combine(&[(-1, &x)], top)?;
    let room = b.range(&room, bits_for(top))?;
    b.combine(&[(-1, &room)], lo + top)
}
