//! # Exp: e^−u for u ≥ 0, in fixed point
//! Semantics: `y = ⌊(T_h[h]·T_l[l] + 2^23) / 2^24⌋` with `u = h·2^c + l`, `0 ≤ l < 2^c`; `T_h[h] = round(2^24·e^(−h·2^(c−f)))`,
//! `T_l[l] = round(2^g·e^(−l·2^−f))`. f and g are the fraction bits of u and of y; u is taken as its limit where it is larger.
//! Constraints: h and l ranged, `u = h·2^c + l`, both in their tables, one product, one rescaling. Where there are so many elements
//! that one table over all of u costs fewer rows, that table.
//! Soundness: DESIGN.md#exp. Cost: counted in tests/golden/gadgets.csv.

use super::rescale::rescale;
use super::saturate::at_most;
use super::{bits_for, span};
use crate::constraint::{BuildError, Builder, HintKind, TableFunction, WireTensor};
use crate::onnx::exp_of_fraction;

/// Bits of T_h.
const HIGH_BITS: u32 = 24;

/// The fixed-point format of an exponential, and with it the function: its values are the same whatever the width of u.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exponential {
    /// Fraction bits of u, 0 to 16.
    pub argument_bits: u32,
    /// Fraction bits of the result, 1 to 20.
    pub result_bits: u32,
}

impl Exponential {
    /// Bits of l: as many keys as h has below the limit.
    fn low_bits(self) -> u32 {
        bits_for(self.limit()).div_ceil(2)
    }

    /// From here on the result is that of the limit, 0 (or 1 unit at the rounding's edge).
    pub fn limit(self) -> i64 {
        // e^−u < 2^−(g + 2) from u = 0.7·(g + 2) on, since 0.7 > ln 2
        let whole = i64::from((7 * (self.result_bits + 2)).div_ceil(10));
        whole << self.argument_bits
    }

    fn low(self, l: i64) -> i64 {
        exp_of_fraction(-l, self.argument_bits, self.result_bits)
    }

    fn high(self, h: i64) -> i64 {
        exp_of_fraction(-(h << self.low_bits()), self.argument_bits, HIGH_BITS)
    }

    /// The result for `u`.
    pub fn value(self, u: i64) -> i64 {
        let u = u.clamp(0, self.limit());
        let c = self.low_bits();
        let product = self.high(u >> c) * self.low(u & ((1 << c) - 1));
        (product + (1 << (HIGH_BITS - 1))) >> HIGH_BITS
    }
}

/// `e^−u`, element-wise, for u proved to be at least 0.
///
/// # Errors
/// When u may be negative, reaches 2^48, or the format is outside its bounds.
pub fn exp(b: &mut Builder, u: &WireTensor, format: Exponential) -> Result<WireTensor, BuildError> {
    b.inside("exp", "argument bits", format.argument_bits.into(), 0, 16)?;
    b.inside("exp", "result bits", format.result_bits.into(), 1, 20)?;
    b.inside("exp", "least argument", span(u).lo, 0, 1 << 48)?;
    let limit = format.limit();
    let top = span(u).hi;
    let width = top as u64 + 1;
    // about 12 rows an element in two tables, 2 in one, and 7 where u is first taken down to its limit
    if width <= TableFunction::MAX_ROWS && width <= 10 * u.len() as u64 {
        let values = (0..=limit.min(top)).map(|u| format.value(u)).collect();
        return b.lookup(&TableFunction::map(0, values), u);
    }
    let u = at_most(b, u, limit)?;
    in_two_tables(b, &u, format)
}

fn in_two_tables(
    b: &mut Builder,
    u: &WireTensor,
    format: Exponential,
) -> Result<WireTensor, BuildError> {
    let c = format.low_bits();
    let divisor = super::constants(b, u, u.len(), vec![1 << c])?;
    let h = b.hint(HintKind::Quotient, &[u, &divisor])?;
    let h = b.range_hinted(h, bits_for(span(u).hi >> c))?;
    let l = b.combine(&[(1, u), (-(1 << c), &h)], 0)?;
    let l = b.range(&l, c)?;
    let values = |n: i64, f: &dyn Fn(i64) -> i64| (0..n).map(f).collect();
    let n_high = span(&h).hi + 1;
    let high = TableFunction::map(0, values(n_high, &|h| format.high(h)));
    let low = TableFunction::map(0, values(1 << c, &|l| format.low(l)));
    let (high, low) = (b.lookup(&high, &h)?, b.lookup(&low, &l)?);
    let product = b.mul(&high, &low)?;
    rescale(b, &product, vec![1], HIGH_BITS)
}
