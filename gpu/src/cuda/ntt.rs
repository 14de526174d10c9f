//! # NTT: transforms on a device
//!
//! A transform is one to four passes of `cuda/ntt.cu`, each from one buffer to another: natural order in and out, the vector and a scratch of
//! its size in turns. Shifts of the points and 1/n are in the tables of factors that passes have anyway ([`plan`]): only a transform on shifted
//! points has a product an element more, in its first pass, or in its last when it is an inverse one.

mod plan;
mod vector;

use std::sync::Arc;

use ark_bn254::Fr;
use ark_ff::Field;

use self::plan::Formula;
pub(crate) use self::plan::Plans;
pub(crate) use self::vector::{mul, mul_sub_scale};
use super::driver::{Driver, DriverError};
use super::memory::{Buffer, FR_BYTES};
use crate::device::Direction;
use crate::domain::Domain;

/// Transforms the scalars of `vector`, as many as `domain` has points, in natural order: `Forward` from coefficients to values on the points of
/// the domain times `shift`, which is not zero (none: 1), `Inverse` back.
///
/// # Errors
/// [`DriverError::OutOfMemory`], with the vector as it was; or the device failed.
pub(crate) fn transform(
    driver: &Arc<dyn Driver>,
    plans: &Plans,
    vector: &mut Buffer,
    domain: &Domain,
    direction: Direction,
    shift: Option<Fr>,
) -> Result<(), DriverError> {
    let shift = shift.unwrap_or(Fr::ONE);
    let formula = match direction {
        Direction::Forward => Formula {
            input_base: shift,
            ..Formula::values(domain)
        },
        Direction::Inverse => Formula {
            output_base: inverse(shift),
            scale: inverse_of_n(domain),
            ..Formula::coefficients(domain)
        },
    };
    apply(driver, plans, vector, &[formula])
}

/// Values on the roots of unity of `domain` to values of the same polynomial on its coset, in natural order.
///
/// # Errors
/// As [`transform`].
pub(crate) fn to_coset(
    driver: &Arc<dyn Driver>,
    plans: &Plans,
    vector: &mut Buffer,
    domain: &Domain,
) -> Result<(), DriverError> {
    let forward = Formula {
        input_base: domain.coset_offset(),
        scale: inverse_of_n(domain),
        ..Formula::values(domain)
    };
    let formulas = [Formula::coefficients(domain), forward];
    apply(driver, plans, vector, &formulas)
}

/// One transform after another, in place.
fn apply(
    driver: &Arc<dyn Driver>,
    plans: &Plans,
    vector: &mut Buffer,
    formulas: &[Formula],
) -> Result<(), DriverError> {
    debug_assert!(
        formulas
            .iter()
            .all(|formula| vector.bytes() == FR_BYTES << formula.log_n),
        "as many scalars as points"
    );
    // All memory is taken before the vector changes: without it, the caller goes on with what it had.
    let mut scratch = plans.without_others(|| Buffer::new(driver, vector.bytes()))?;
    let plans: Vec<_> = formulas
        .iter()
        .map(|formula| plans.plan(driver, formula))
        .collect::<Result<_, _>>()?;
    for plan in plans {
        for pass in &plan.passes {
            pass.launch(driver, &plan, &scratch, vector)?;
            std::mem::swap(vector, &mut scratch);
        }
    }
    Ok(())
}

impl Formula {
    /// From coefficients to values on the roots of unity.
    fn values(domain: &Domain) -> Self {
        Self {
            log_n: domain.log_n(),
            root: domain.root(),
            input_base: Fr::ONE,
            output_base: Fr::ONE,
            scale: Fr::ONE,
        }
    }

    /// From values on the roots of unity to n times the coefficients.
    fn coefficients(domain: &Domain) -> Self {
        Self {
            root: inverse(domain.root()),
            ..Self::values(domain)
        }
    }
}

fn inverse_of_n(domain: &Domain) -> Fr {
    inverse(Fr::from(domain.n() as u64))
}

/// 1/x for an x that is not zero.
fn inverse(x: Fr) -> Fr {
    x.inverse().unwrap_or(Fr::ONE)
}

#[cfg(test)]
mod tests;
