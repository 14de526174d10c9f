//! # Max: the largest of several values, element by element, or of every row
//! Semantics: `y[i] = max_j x_j[i]`.
//! Constraints: hint m; `Π_j (m − x_j) = 0`; `m − x_j ≥ 0` for every j.
//! Soundness: DESIGN.md#max. Cost: counted in tests/golden/cost.csv.

use super::{bits_for, for_each_element, rows_of, span};
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
        let bits = bits_for(span(&difference).hi);
        b.range(&difference, bits)?;
    }
    Ok(m)
}

/// The largest value of every row, and how far every element is below its row's.
#[derive(Clone, Debug)]
pub struct RowMax {
    /// One element for each row.
    pub value: WireTensor,
    /// `value − x`, at least 0, in the shape of x.
    pub below: WireTensor,
}

/// Maximum of every row of `n` elements of `x`.
///
/// # Errors
/// When x is not made of such rows, or a difference needs more than 48 bits.
pub fn row_max(b: &mut Builder, x: &WireTensor, n: usize) -> Result<RowMax, BuildError> {
    let columns = columns(b, "row_max", x, n)?;
    let columns: Vec<&WireTensor> = columns.iter().collect();
    let value = b.hint(HintKind::Max, &columns)?;
    let value = b.member(value, &columns)?;
    let each = for_each_element(b, &value, n)?;
    let below = b.combine(&[(1, &each), (-1, x)], 0)?;
    let bits = bits_for(span(&below).hi);
    let below = b.range(&below, bits)?;
    Ok(RowMax { value, below })
}

/// The columns of rows of `n` elements, one element for each row.
pub(super) fn columns(
    b: &mut Builder,
    step: &'static str,
    x: &WireTensor,
    n: usize,
) -> Result<Vec<WireTensor>, BuildError> {
    let rows = rows_of(b, step, x, n)?;
    (0..n)
        .map(|j| b.gather(x, (0..rows).map(|row| (row * n + j) as u32).collect()))
        .collect()
}
