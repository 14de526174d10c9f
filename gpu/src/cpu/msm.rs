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

pub(super) use self::scalars::additions;

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

/// The sum of the terms of all classes, in buckets that all windows share.
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

#[cfg(test)]
mod tests {
    use ark_bn254::Fq;
    use ark_ff::{AdditiveGroup as _, Field, One};
    use proptest::prelude::*;

    use crate::curve::{AffineOf, G1, G2};
    use crate::device::Device;
    use crate::testing::{naive_msm, points, scalars};
    use crate::{Bases, Cpu, PortableCpu, ScalarClass};

    use super::*;

    const DEVICES: [&dyn Device; 2] = [&Cpu, &PortableCpu];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_table_changes_no_sum(
            terms in prop::collection::vec((0u8..8, any::<u64>()), 1..80),
            n_full in 0usize..4000,
            max_bytes in 0u64..4_000_000,
        ) {
            let (points, _) = points::<G1>(terms.len());
            let scalar = |(kind, seed): &(u8, u64)| match kind {
                0 => Fr::ZERO,
                1 => Fr::ONE,
                2 => -Fr::ONE,
                3 => Fr::from(2u64).pow([seed % 254]),
                4 => -Fr::from(2u64).pow([seed % 254]),
                5 => Fr::from(*seed),
                _ => scalars(*seed, 1)[0],
            };
            let values: Vec<Fr> = terms.iter().map(scalar).collect();
            let expected = naive_msm::<G1>(&points, &values);
            for device in DEVICES {
                let bases = Bases::<G1>::from_points(points.clone());
                let bytes = device.tabulate_g1(&bases, n_full, max_bytes).expect("sound bases");
                prop_assert!(bytes <= max_bytes);
                let vector = device.upload(values.clone()).expect("host memory");
                let sum = device.msm_g1(&bases, vector.as_slice(), ScalarClass::Full);
                prop_assert_eq!(sum.expect("a sum"), expected);
            }
        }
    }

    #[test]
    fn points_outside_the_group_get_no_table() {
        // y = 0: of order two on the curve that it is on.
        let (x, zero) = (Fq::one(), Fq::ZERO);
        for device in DEVICES {
            let mut sound = points::<G1>(40).0;
            sound[17] = AffineOf::<G1>::new_unchecked(x, zero);
            let bases = Bases::<G1>::from_points(sound);
            let bytes = device.tabulate_g1(&bases, 40, u64::MAX);
            assert_eq!(bytes.expect("canonical coordinates"), 0);
            let mut sound = points::<G2>(40).0;
            sound[17] = AffineOf::<G2>::new_unchecked(true.into(), false.into());
            let bases = Bases::<G2>::from_points(sound);
            let bytes = device.tabulate_g2(&bases, 40, u64::MAX);
            assert_eq!(bytes.expect("canonical coordinates"), 0);
        }
    }
}
