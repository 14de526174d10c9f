//! # Max: the largest of several values, element by element
//! Semantics: `y[i] = max_j x_j[i]`.
//! Constraints: hint m; `Π_j (m − x_j) = 0`; `m − x_j ≥ 0` for every j.
//! Soundness: DESIGN.md#max. Cost: counted in tests/golden/cost.csv.

use crate::constraint::{BuildError, Builder, HintKind, WireTensor};

/// Element-wise maximum of tensors of one length.
///
/// # Errors
/// When lengths differ, there is no tensor, or a difference needs more than 48 bits.
pub fn max(b: &mut Builder, xs: &[&WireTensor]) -> Result<WireTensor, BuildError> {
    if let [x] = xs {
        return Ok((*x).clone());
    }
    let hinted = b.hint(HintKind::Max, xs)?;
    let m = b.member(hinted, xs)?;
    for x in xs {
        let difference = b.combine(&[(1, &m), (-1, x)], 0)?;
        let top = difference
            .intervals()
            .iter()
            .map(|i| i.hi)
            .max()
            .unwrap_or(0)
            .max(1);
        let bits = 64 - top.leading_zeros();
        b.range(&difference, bits)?;
    }
    Ok(m)
}
