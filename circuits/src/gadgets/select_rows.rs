//! # Rows by computed index
//! Semantics: `y[i] = m[index[i]]`, rows of a fixed matrix or of a computed one.
//! Constraints: fixed: `y[i][d] = T[index[i]·D + d]`. Computed: `e_ij = [index_i = j]` by a table of `index_i − j`, and
//! `y[i] = Σ_j e_ij·m[j]`.
//! Soundness: DESIGN.md#select-rows. Cost: counted in tests/golden/gadgets.csv.

use super::{for_each_element, rows_of, shifted, span};
use crate::constraint::{BuildError, Builder, LinearMap, TableFunction, WireTensor};

/// Rows of a fixed matrix `[N][width]`; indices must be proved to lie in 0..N.
///
/// # Errors
/// When an index may lie outside, the matrix is not made of such rows, or has more values than a table may have rows.
pub fn select_fixed_rows(
    b: &mut Builder,
    index: &WireTensor,
    matrix: &[i64],
    width: usize,
) -> Result<WireTensor, BuildError> {
    const NAME: &str = "select_fixed_rows";
    b.inside(NAME, "width of a row", width as i64, 1, matrix.len() as i64)?;
    let n = matrix.len() / width;
    if n * width != matrix.len() {
        return Err(b.length(NAME, n * width, matrix.len()));
    }
    check_index(b, NAME, index, n)?;
    let each = for_each_element(b, index, width)?;
    let place = (0..each.len()).map(|i| (i % width) as i64).collect();
    let map = LinearMap::Scale {
        factors: vec![width as i64],
    };
    let key = b.linear(map, &each, place)?;
    b.lookup(&TableFunction::map(0, matrix.to_vec()), &key)
}

/// `e[i][j] = [index[i] = j]` for j in 0..n, n elements for each index; an index outside gives a row of zeros.
///
/// # Errors
/// When the indices span more values than a table may have rows.
pub fn one_hot(b: &mut Builder, index: &WireTensor, n: usize) -> Result<WireTensor, BuildError> {
    b.inside("one_hot", "depth", n as i64, 1, 1 << 20)?;
    let each = for_each_element(b, index, n)?;
    let minus = (0..each.len()).map(|i| -((i % n) as i64)).collect();
    let difference = shifted(b, &each, minus)?;
    b.lookup(&TableFunction::map(-1, vec![0, 1, 0]), &difference)
}

/// Rows of a computed matrix `[N][width]`; indices must be proved to lie in 0..N. N products for each element of the result.
///
/// # Errors
/// When an index may lie outside, or the matrix is not made of such rows.
pub fn select_rows(
    b: &mut Builder,
    index: &WireTensor,
    matrix: &WireTensor,
    width: usize,
) -> Result<WireTensor, BuildError> {
    let n = rows_of(b, "select_rows", matrix, width)?;
    check_index(b, "select_rows", index, n)?;
    let bits = one_hot(b, index, n)?;
    // [index][d][j], so that the sum over j is one row of ones
    let places = || (0..index.len() * width * n).map(|p| (p / (width * n), p / n % width, p % n));
    let bit = places().map(|(i, _, j)| (i * n + j) as u32).collect();
    let bits = b.gather(&bits, bit)?;
    let element = places().map(|(_, d, j)| (j * width + d) as u32).collect();
    let elements = b.gather(matrix, element)?;
    let products = b.mul(&bits, &elements)?;
    let sum = LinearMap::Dense {
        n_in: n,
        n_out: 1,
        weights: vec![1; n],
    };
    b.linear(sum, &products, vec![])
}

fn check_index(
    b: &Builder,
    step: &'static str,
    index: &WireTensor,
    n: usize,
) -> Result<(), BuildError> {
    let ends = span(index);
    b.inside(step, "least index", ends.lo, 0, n as i64 - 1)?;
    b.inside(step, "largest index", ends.hi, 0, n as i64 - 1)
}
