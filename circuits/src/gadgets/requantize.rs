//! # Requantize: accumulator to activation, with clamp and activation function fused
//! Semantics: `y = f(clamp(zero_point + floor((acc·M + 2^(s−1)) / 2^s), lo, hi))`, round half up for both signs.
//! Constraints: `acc·M + 2^(s−1) + zero_point·2^s = key·2^s + ρ`, `0 ≤ ρ < 2^s`, `(key, y) ∈ T`. Where
//! the keys would be more rows than a table may have, or than saturating the elements takes: the rescaled value, saturated to the domain of f, is the key.
//! Soundness: DESIGN.md#requantize. Cost: counted in tests/golden/cost.csv. Source: gemmlowp-style fixed-point requantization.

use super::rescale::shift_right;
use super::saturate::saturate;
use super::span;
use crate::constraint::{BuildError, Builder, LinearMap, TableFunction, WireTensor};

/// Rows of a table that are always worth it.
const FEW_ROWS: u64 = 16_384;
/// Rows that saturating takes for every element, about.
const SATURATION: u64 = 16;

/// Requantizes `acc` element-wise.
///
/// `multipliers` is one M for all, or one per element; `shift` is s; `f` is the clamp with the activation folded in, keyed
/// on the value after the zero point was added.
///
/// # Errors
/// When an intermediate could leave ±2^62, or the table would be too wide together with what it is shared with.
pub fn requantize(
    b: &mut Builder,
    acc: &WireTensor,
    multipliers: Vec<i64>,
    shift: u32,
    zero_point: i64,
    f: &TableFunction,
) -> Result<WireTensor, BuildError> {
    if !(1..=48).contains(&shift) || zero_point.unsigned_abs() > 1 << 16 {
        return Err(BuildError::Table {
            node: "requantize".to_owned(),
            reason: "shift must be 1..=48 and the zero point within ±2^16",
        });
    }
    // |zero_point|·2^s ≤ 2^64 does not fit for the extreme shift: the interval check of `linear` is on i64 bias
    let offset = i128::from(zero_point) * (1i128 << shift) + (1i128 << (shift - 1));
    let offset = i64::try_from(offset).map_err(|_| BuildError::Table {
        node: "requantize".to_owned(),
        reason: "zero point times 2^shift leaves 64 bits",
    })?;
    let scaled = b.linear(
        LinearMap::Scale {
            factors: multipliers,
        },
        acc,
        vec![offset],
    )?;
    let keys = span(&scaled).shift_right(shift);
    // rows of a table that few elements read would cost more than saturating those elements
    let worth = FEW_ROWS + SATURATION * acc.len() as u64;
    if keys.width() > worth.min(TableFunction::MAX_ROWS) {
        let key = shift_right(b, &scaled, shift)?;
        let key = saturate(b, &key, f.lo, f.hi)?;
        return b.lookup(f, &key);
    }
    let key = b.split(&scaled, shift)?;
    b.lookup_unbound(f, key)
}
