//! # Normalize: the leading bits of a positive value and its exponent to the base 4
//! Semantics: e is the least exponent such that `z = ⌈x / 4^e⌉ ≤ 2^k`.
//! Constraints: `x − 1 = (z − 1)·p + ρ`, `0 ≤ ρ`, `p − 1 − ρ ≥ 0`, (e, p = 4^e) and (e, f) in fixed tables, `0 ≤ z − 1 < 2^k`,
//! `z − 1 ≥ f`, where f is 2^(k−2) for e > 0 and 0 for e = 0; p is 0 for every key that is no exponent.
//! Soundness: DESIGN.md#normalize. Cost: counted in tests/golden/gadgets.csv.

use super::{bits_for, loose_bits, span};
use crate::constraint::{BuildError, Builder, HintKind, TableFunction, WireTensor};

/// Leading bits with their exponent.
#[derive(Clone, Debug)]
pub struct Normalized {
    /// z, from 1 to 2^k.
    pub value: WireTensor,
    /// e; `None` when x is proved to need none.
    exponent: Option<WireTensor>,
    /// The largest e that an x in its proved interval needs.
    pub most: u32,
}

impl Normalized {
    /// `f(e)`, by a table; f is not asked for exponents beyond the largest.
    ///
    /// # Errors
    /// As [`Builder::lookup`].
    pub fn table(&self, b: &mut Builder, f: impl Fn(i64) -> i64) -> Result<WireTensor, BuildError> {
        let values = (0..=i64::from(self.most)).map(f).collect();
        match &self.exponent {
            Some(e) => b.lookup(&TableFunction::map(0, values), e),
            None => super::constants(b, &self.value, self.value.len(), values),
        }
    }
}

/// Normalizes `x` to `bits` bits, 2 to 16, for 1 ≤ x < 2^47.
///
/// # Errors
/// When x may lie outside or `bits` is not such a number.
pub fn normalize(b: &mut Builder, x: &WireTensor, bits: u32) -> Result<Normalized, BuildError> {
    const NAME: &str = "normalize";
    b.inside(NAME, "bits", bits.into(), 2, 16)?;
    let ends = span(x);
    b.inside(NAME, "least value", ends.lo, 1, 1 << 47)?;
    b.inside(NAME, "largest value", ends.hi, 1, (1 << 47) - 1)?;
    let most = bits_for(ends.hi - 1).saturating_sub(bits).div_ceil(2);
    if most == 0 {
        return Ok(Normalized {
            value: x.clone(),
            exponent: None,
            most,
        });
    }
    let below = b.combine(&[(1, x)], -1)?;
    let e = b.hint(HintKind::Exponent { bits: bits as u8 }, &[&below])?;
    let e = b.range_hinted(e, bits_for(most.into()))?;
    let keys = 1i64 << bits_for(most.into());
    let table = |f: &dyn Fn(i64) -> i64| TableFunction::map(0, (0..keys).map(f).collect());
    let power = |e: i64| if e <= most.into() { 1 << (2 * e) } else { 0 };
    let power = b.lookup(&table(&power), &e)?;
    let floor = b.lookup(&table(&|e| if e > 0 { 1 << (bits - 2) } else { 0 }), &e)?;
    let z = b.hint(HintKind::Quotient, &[&below, &power])?;
    let z = b.range_hinted(z, bits)?;
    let product = b.mul(&z, &power)?;
    let rest = b.combine(&[(1, &below), (-1, &product)], 0)?;
    let rest = b.range(&rest, loose_bits((1 << (2 * most)) - 1))?;
    let room = b.combine(&[(1, &power), (-1, &rest)], -1)?;
    let room_bits = bits_for(span(&room).hi);
    b.range(&room, room_bits)?;
    let above = b.combine(&[(1, &z), (-1, &floor)], 0)?;
    b.range(&above, bits)?;
    Ok(Normalized {
        value: b.combine(&[(1, &z)], 1)?,
        exponent: Some(e),
        most,
    })
}
