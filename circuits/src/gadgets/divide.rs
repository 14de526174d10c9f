//! # Divide: quotient of two private values
//! Semantics: `q = ⌊a / d⌋` for d ≥ 1, the floor for both signs of a; `divide_rounded` is `⌊(2a + d) / 2d⌋`, round half up.
//! Constraints: `a = q·d + ρ`, `0 ≤ ρ < 2^k`, `d − 1 − ρ ≥ 0`, `0 ≤ q − low < 2^bits`; low is the least quotient.
//! Soundness: DESIGN.md#divide. Cost: counted in tests/golden/gadgets.csv.

use super::{bits_for, loose_bits, span};
use crate::constraint::{BuildError, Builder, HintKind, WireTensor};
use crate::tensor::Interval;

/// `⌊a / d⌋`, element-wise, for d proved to be at least 1.
///
/// Quotients may span 2^48 values, and (largest |quotient|)·(largest d) must stay inside ±2^62.
///
/// # Errors
/// When d may be below 1, or a bound is passed.
pub fn divide(b: &mut Builder, a: &WireTensor, d: &WireTensor) -> Result<WireTensor, BuildError> {
    b.inside("divide", "least divisor", span(d).lo, 1, 1 << 62)?;
    let least = |a: &Interval, d: &Interval| a.lo.div_euclid(if a.lo < 0 { d.lo } else { d.hi });
    let most = |a: &Interval, d: &Interval| a.hi.div_euclid(if a.hi < 0 { d.hi } else { d.lo });
    let pairs = || a.intervals().iter().zip(d.intervals());
    let lo = pairs().map(|(a, d)| least(a, d)).min().unwrap_or(0);
    let hi = pairs().map(|(a, d)| most(a, d)).max().unwrap_or(0);
    quotient(b, a, d, Interval { lo, hi })
}

/// `⌊a / d + 1/2⌋`, element-wise, for d proved to be at least 1.
///
/// # Errors
/// As [`divide`], for 2a + d and 2d.
pub fn divide_rounded(
    b: &mut Builder,
    a: &WireTensor,
    d: &WireTensor,
) -> Result<WireTensor, BuildError> {
    b.inside("divide_rounded", "least divisor", span(d).lo, 1, 1 << 62)?;
    let rounded = |a: i64, d: i64| {
        let (a, d) = (i128::from(a), i128::from(d));
        (2 * a + d).div_euclid(2 * d) as i64
    };
    let least = |a: &Interval, d: &Interval| rounded(a.lo, if a.lo < 0 { d.lo } else { d.hi });
    let most = |a: &Interval, d: &Interval| rounded(a.hi, if a.hi < 0 { d.hi } else { d.lo });
    let pairs = || a.intervals().iter().zip(d.intervals());
    let lo = pairs().map(|(a, d)| least(a, d)).min().unwrap_or(0);
    let hi = pairs().map(|(a, d)| most(a, d)).max().unwrap_or(0);
    rounded_quotient(b, a, d, Interval { lo, hi })
}

/// `⌊a / d + 1/2⌋` where the caller knows of every input that d ≥ 1 and that the result lies in `expected`.
pub(super) fn rounded_quotient(
    b: &mut Builder,
    a: &WireTensor,
    d: &WireTensor,
    expected: Interval,
) -> Result<WireTensor, BuildError> {
    let twice = b.combine(&[(2, d)], 0)?;
    let raised = b.combine(&[(2, a), (1, d)], 0)?;
    quotient(b, &raised, &twice, expected)
}

/// `⌊a / d⌋` where the caller knows of every input that d ≥ 1 and that the quotient lies in `expected`. Only completeness rests
/// on that: the ranges of ρ and of d − 1 − ρ refuse every other d, the range of q every other quotient.
pub(super) fn quotient(
    b: &mut Builder,
    a: &WireTensor,
    d: &WireTensor,
    expected: Interval,
) -> Result<WireTensor, BuildError> {
    let Interval { lo, hi } = expected;
    let a = match lo {
        0 => a.clone(),
        _ => b.combine(&[(1, a), (-lo, d)], 0)?,
    };
    let q = b.hint(HintKind::Quotient, &[&a, d])?;
    let q = b.range_hinted(q, bits_for(hi.saturating_sub(lo)))?;
    let product = b.mul(&q, d)?;
    let rest = b.combine(&[(1, &a), (-1, &product)], 0)?;
    let rest = b.range(&rest, loose_bits(span(d).hi - 1))?;
    let room = b.combine(&[(1, d), (-1, &rest)], -1)?;
    let bits = bits_for(span(&room).hi);
    b.range(&room, bits)?;
    match lo {
        0 => Ok(q),
        _ => b.combine(&[(1, &q)], lo),
    }
}
