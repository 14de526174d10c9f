//! # Logic: bits, and a choice between two values
//! Semantics: and, or, not, xor of values 0 and 1; `select(c, x, y)` is x where c = 1 and y where c = 0.
//! Constraints: polynomials of proved bits: `x·y`, `1 − (1 − x)·(1 − y)`, `1 − x`, `(x − y)²`, `y + c·(x − y)`.
//! Soundness: DESIGN.md#logic. Cost: counted in tests/golden/gadgets.csv.

use super::span;
use crate::constraint::{BuildError, Builder, WireTensor};

fn check_bits(b: &Builder, step: &'static str, xs: &[&WireTensor]) -> Result<(), BuildError> {
    for x in xs {
        let ends = span(x);
        b.inside(step, "least value of a bit", ends.lo, 0, 1)?;
        b.inside(step, "largest value of a bit", ends.hi, 0, 1)?;
    }
    Ok(())
}

/// `x ∧ y`.
///
/// # Errors
/// When an operand is not proved to be a bit, or lengths differ.
pub fn and(b: &mut Builder, x: &WireTensor, y: &WireTensor) -> Result<WireTensor, BuildError> {
    check_bits(b, "and", &[x, y])?;
    b.mul(x, y)
}

/// `x ∨ y = ¬(¬x ∧ ¬y)`.
///
/// # Errors
/// As [`and`].
pub fn or(b: &mut Builder, x: &WireTensor, y: &WireTensor) -> Result<WireTensor, BuildError> {
    check_bits(b, "or", &[x, y])?;
    let (x, y) = (not(b, x)?, not(b, y)?);
    let neither = b.mul(&x, &y)?;
    not(b, &neither)
}

/// `¬x`.
///
/// # Errors
/// As [`and`].
pub fn not(b: &mut Builder, x: &WireTensor) -> Result<WireTensor, BuildError> {
    check_bits(b, "not", &[x])?;
    b.combine(&[(-1, x)], 1)
}

/// `x ⊕ y = (x − y)²`.
///
/// # Errors
/// As [`and`].
pub fn xor(b: &mut Builder, x: &WireTensor, y: &WireTensor) -> Result<WireTensor, BuildError> {
    check_bits(b, "xor", &[x, y])?;
    let difference = b.combine(&[(1, x), (-1, y)], 0)?;
    b.mul(&difference, &difference)
}

/// `c·x + (1 − c)·y` as `y + c·(x − y)`: one product. The proved interval is that of the expression, wider than x and y.
///
/// # Errors
/// When c is not proved to be a bit, lengths differ, or a value could leave ±2^62.
pub fn select(
    b: &mut Builder,
    c: &WireTensor,
    x: &WireTensor,
    y: &WireTensor,
) -> Result<WireTensor, BuildError> {
    check_bits(b, "select", &[c])?;
    let difference = b.combine(&[(1, x), (-1, y)], 0)?;
    let product = b.mul(c, &difference)?;
    b.combine(&[(1, y), (1, &product)], 0)
}
