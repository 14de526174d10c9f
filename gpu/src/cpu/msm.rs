//! # Multi-scalar multiplication: buckets of affine points, added in pairs
//!
//! Σ s_i·P_i:
//! 1. every scalar is read as the integer of least absolute value; the terms are sorted into classes by its bits
//!    (`scalars`): ±1, ≤ 8, ≤ 16, ≤ 32, ≤ 64, ≤ 128 bits, full; zeros and points at infinity are dropped;
//! 2. each class has windows of its own c bits (signed digits, |d| ≤ 2^(c−1); the top window takes what is left), c chosen by
//!    Σ_windows (terms + 2·buckets);
//! 3. for each window (`buckets`) the terms are sorted by |digit|; neighbours of a bucket are added pairwise until one point
//!    is left, all pairs of a round with one inversion;
//! 4. Σ_k k·B_k by halving (`weigh`), again in rounds of pairs; the result is Σ_w 2^(c·w)·S_w over windows and classes.
//!
//! Everything but the last few hundred operations are additions in an [`Adder`]. Sorted terms are cut into
//! pieces of equal length whatever their buckets, so that equal scalars cost no more than spread ones and threads finish together. The
//! time depends on the scalars.

pub(super) mod buckets;
mod scalars;
mod weigh;

use ark_bn254::Fr;
use ark_ec::AdditiveGroup;
use rayon::prelude::*;
use zeroize::Zeroizing;

use self::scalars::{Class, Window};
use super::adder::Adder;
use super::table::Table;
use crate::bases::Bases;
use crate::curve::{Curve, ProjectiveOf};
use crate::device::DeviceError;
use crate::field::ScalarClass;

/// Σ `values[groups[i]]`·base_i; as many entries of `groups` as bases, each with a value or the mark of none. First the sum of the
/// bases of each group, then their multiplication.
///
/// # Errors
/// [`DeviceError::Bases`] for a damaged key.
pub(super) fn grouped<C: Curve, A: Adder<C>>(
    bases: &Bases<C>,
    groups: &[u32],
    values: &[Fr],
    adder: impl Fn() -> A + Sync,
) -> Result<ProjectiveOf<C>, DeviceError> {
    let finite = bases.finite()?;
    let sorted = buckets::sort_groups(groups, values.len(), |base| finite.holds(base));
    let sums = buckets::sums(bases.raw(), &sorted, 1, &adder);
    drop(sorted);
    let lower = adder();
    let sums = sums.iter().map(|sum| lower.lower(sum)).collect();
    msm(&Bases::from_points(sums), values, ScalarClass::Full, adder)
}

/// Σ scalar_i·base_i with adders from `adder`, one for each task; as many scalars as bases.
///
/// # Errors
/// [`DeviceError::OutOfClass`] when a scalar is not in `class`; [`DeviceError::Bases`] for a damaged key.
pub(super) fn msm<C: Curve, A: Adder<C>>(
    bases: &Bases<C>,
    scalars: &[Fr],
    class: ScalarClass,
    adder: impl Fn() -> A + Sync,
) -> Result<ProjectiveOf<C>, DeviceError> {
    let finite = bases.finite()?;
    let mut classes = scalars::classes(scalars, class, finite, &adder)?;
    if let Some(table) = bases.table() {
        let c = table.window_bits();
        let shared: usize = classes.iter().map(|class| class.shared_cost(c)).sum();
        let apart: usize = classes.iter().map(|class| class.best().1).sum();
        if shared + scalars::weighing(c) <= apart {
            return Ok(tabulated(table, &mut classes, adder));
        }
    }
    for class in &mut classes {
        class.plan(class.best().0);
    }
    let windows: Vec<(&Class, Window)> = classes
        .iter()
        .flat_map(|class| {
            class
                .windows()
                .into_iter()
                .map(move |window| (class, window))
        })
        .collect();
    let n_windows = windows.len();
    let sums: Zeroizing<Vec<ProjectiveOf<C>>> = windows
        .par_iter()
        .with_max_len(1)
        .map(|(class, window)| {
            let sorted = buckets::sort(class, *window);
            let sums = buckets::sums(bases.raw(), &sorted, n_windows, &adder);
            weigh::weigh(&sums, n_windows, &adder)
        })
        .collect::<Vec<_>>()
        .into();
    let mut total = ProjectiveOf::<C>::ZERO;
    let mut sums = sums.iter().rev().copied();
    for class in classes.iter().rev() {
        let mut class_total = ProjectiveOf::<C>::ZERO;
        for _ in class.windows() {
            for _ in 0..class.window_bits() {
                class_total.double_in_place();
            }
            class_total += sums.next().unwrap_or_default();
        }
        total += class_total;
    }
    Ok(total)
}

/// The sum of the terms of all classes with buckets that all windows share.
fn tabulated<C: Curve, A: Adder<C>>(
    table: &Table<C>,
    classes: &mut [Class],
    adder: impl Fn() -> A + Sync,
) -> ProjectiveOf<C> {
    let c = table.window_bits();
    for class in classes.iter_mut() {
        class.plan(c);
        class.rebase(|base| table.place(base));
    }
    let sorted = buckets::sort_shared(classes, 1 << (c - 1));
    let sums = buckets::sums(table.points(), &sorted, 1, &adder);
    weigh::weigh(&sums, 1, &adder)
}
