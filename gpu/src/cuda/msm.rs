//! # Multiplications: what the kernels of `msm.cuh` are launched with
//!
//! Count digits by bucket, sum the counts up, place the digits, add up pieces of equal length, merge what pieces share, weigh the buckets. The
//! sums of windows are put together on the CPU. Bases stay on the device; where they do not fit, a multiplication takes them in parts.

mod plan;
pub(crate) mod resident;

use std::sync::Arc;

use ark_ec::AdditiveGroup;

use self::plan::{Plan, RUN_BLOCK, SCAN_BLOCK, SCAN_THREADS, blocks, fold_length};
use self::resident::Resident;
use super::checks::sums_of;
use super::driver::{Arg, Driver, DriverError, Kernel, Unit};
use super::memory::{Buffer, FR_BYTES};
use crate::curve::{Curve, ProjectiveOf};
use crate::field::ScalarClass;

/// Partial sums that a thread merges.
const MERGED: u32 = 16;
/// Bytes of a sum in XYZZ coordinates, as many times those of a point.
const fn sum_bytes<C: Curve>() -> usize {
    2 * C::POINT_BYTES
}

/// The names of a group's kernels.
struct Names {
    unit: Unit,
    count: &'static str,
    place: &'static str,
    count_groups: &'static str,
    place_groups: &'static str,
    scan_sums: &'static str,
    scan_top: &'static str,
    scan_write: &'static str,
    accumulate: &'static str,
    merge: &'static str,
    weigh: &'static str,
    fold: &'static str,
    normalize: &'static str,
    double: &'static str,
}

macro_rules! names {
    ($unit:expr, $prefix:literal) => {
        Names {
            unit: $unit,
            count: concat!($prefix, "count"),
            place: concat!($prefix, "place"),
            count_groups: concat!($prefix, "count_groups"),
            place_groups: concat!($prefix, "place_groups"),
            scan_sums: concat!($prefix, "scan_sums"),
            scan_top: concat!($prefix, "scan_top"),
            scan_write: concat!($prefix, "scan_write"),
            accumulate: concat!($prefix, "accumulate"),
            merge: concat!($prefix, "merge"),
            weigh: concat!($prefix, "weigh"),
            fold: concat!($prefix, "fold"),
            normalize: concat!($prefix, "normalize"),
            double: concat!($prefix, "double"),
        }
    };
}

static G1_NAMES: Names = names!(Unit::MsmG1, "msm_g1_");
static G2_NAMES: Names = names!(Unit::MsmG2, "msm_g2_");

fn names<C: Curve>() -> &'static Names {
    if C::POINT_BYTES == crate::curve::G1::POINT_BYTES {
        &G1_NAMES
    } else {
        &G2_NAMES
    }
}

/// Launches a kernel of a group, a thread for each of `n` things.
fn launch(
    driver: &Arc<dyn Driver>,
    name: &'static str,
    unit: Unit,
    n: usize,
    args: &[Arg],
) -> Result<(), DriverError> {
    let kernel = Kernel { unit, name };
    driver.launch(kernel, blocks(n, RUN_BLOCK), RUN_BLOCK, 0, args)
}

fn word(n: usize) -> Arg {
    Arg::U32(u32::try_from(n).unwrap_or(u32::MAX))
}

/// A multiplication that failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The scalar of this index is outside the promised class.
    OutOfClass(usize),
    /// The machine failed.
    Driver(DriverError),
}

impl From<DriverError> for Fault {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

/// Σ scalar_i·base_i for as many scalars, from `scalars` on, as there are bases.
pub(crate) fn multiply<C: Curve>(
    bases: &Resident<C>,
    scalars: &Buffer,
    first: usize,
    class: ScalarClass,
) -> Result<ProjectiveOf<C>, Fault> {
    if bases.len() == 0 {
        return Ok(ProjectiveOf::<C>::ZERO);
    }
    let driver = bases.driver();
    let names = names::<C>();
    let plan = Plan::new::<C>(bases, class);
    let scalars = Arg::At(scalars.at(first * FR_BYTES));
    let recoding = plan.recoding();
    let counts = Buffer::zeroed(driver, 4 * plan.n_buckets())?;
    let fault = Buffer::of(driver, &u32::MAX.to_le_bytes())?;
    let mut args = vec![scalars, bases.finite(), counts.arg(), fault.arg()];
    args.extend(recoding);
    args.extend(plan.limits());
    launch(driver, names.count, names.unit, bases.len(), &args)?;
    let (offsets, cursors) = scan::<C>(driver, &counts, plan.n_buckets())?;
    drop(counts);
    let outside = fault.words(0, 1)?[0];
    if outside != u32::MAX {
        return Err(Fault::OutOfClass(outside as usize));
    }
    let total = offsets.words(4 * plan.n_buckets(), 1)?[0] as usize;
    if total == 0 {
        return Ok(ProjectiveOf::<C>::ZERO);
    }
    let entries = Buffer::new(driver, 4 * total)?;
    let mut args = vec![scalars, bases.finite(), cursors.arg(), entries.arg()];
    args.extend(recoding);
    launch(driver, names.place, names.unit, bases.len(), &args)?;
    drop(cursors);
    let sorted = Sorted {
        offsets,
        entries,
        total,
        n_buckets: plan.n_buckets(),
    };
    let buckets = sum_buckets::<C>(bases, &sorted)?;
    drop(sorted);
    let sums = weigh::<C>(driver, &buckets, plan.n_sets(), plan.set())?;
    Ok(sums.iter().rev().fold(ProjectiveOf::<C>::ZERO, |total, sum| {
        let mut total = total;
        for _ in 0..plan.window_bits() {
            total.double_in_place();
        }
        total + sum
    }))
}

/// Σ `values[groups[i]]`·base_i: first the sum of each group, then a multiplication of the sums.
pub(crate) fn multiply_grouped<C: Curve>(
    bases: &Resident<C>,
    groups: &[u32],
    values: &Buffer,
    first: usize,
    n_groups: usize,
) -> Result<ProjectiveOf<C>, Fault> {
    if bases.len() == 0 || n_groups == 0 {
        return Ok(ProjectiveOf::<C>::ZERO);
    }
    let driver = bases.driver();
    let names = names::<C>();
    let groups = Buffer::of(driver, bytemuck::cast_slice(groups))?;
    let counts = Buffer::zeroed(driver, 4 * n_groups)?;
    let n = word(bases.len());
    let args = [groups.arg(), bases.finite(), counts.arg(), n];
    launch(driver, names.count_groups, names.unit, bases.len(), &args)?;
    let (offsets, cursors) = scan::<C>(driver, &counts, n_groups)?;
    let total = offsets.words(4 * n_groups, 1)?[0] as usize;
    if total == 0 {
        return Ok(ProjectiveOf::<C>::ZERO);
    }
    let entries = Buffer::new(driver, 4 * total)?;
    let args = [groups.arg(), bases.finite(), cursors.arg(), entries.arg(), n];
    launch(driver, names.place_groups, names.unit, bases.len(), &args)?;
    let sorted = Sorted {
        offsets,
        entries,
        total,
        n_buckets: n_groups,
    };
    let sums = sum_buckets::<C>(bases, &sorted)?;
    let points = Buffer::new(driver, n_groups * C::POINT_BYTES)?;
    let args = [sums.arg(), points.arg(), word(n_groups)];
    launch(driver, names.normalize, names.unit, n_groups, &args)?;
    drop(sums);
    multiply(&Resident::<C>::of_sums(points, n_groups)?, values, first, ScalarClass::Full)
}

/// Entries in the order of their buckets.
struct Sorted {
    /// Where each bucket begins, and the end.
    offsets: Buffer,
    entries: Buffer,
    total: usize,
    n_buckets: usize,
}

/// Sums of all counts before each, twice: n + 1 to keep, and n that placing advances.
fn scan<C: Curve>(
    driver: &Arc<dyn Driver>,
    counts: &Buffer,
    n: usize,
) -> Result<(Buffer, Buffer), DriverError> {
    let names = names::<C>();
    let n_blocks = blocks(n, SCAN_BLOCK);
    let sums = Buffer::new(driver, 4 * n_blocks as usize)?;
    let offsets = Buffer::new(driver, 4 * (n + 1))?;
    let cursors = Buffer::new(driver, 4 * n)?;
    let run = |name, grid, args: &[Arg]| {
        let kernel = Kernel {
            unit: names.unit,
            name,
        };
        driver.launch(kernel, grid, SCAN_THREADS, 4 * SCAN_THREADS, args)
    };
    run(names.scan_sums, n_blocks, &[counts.arg(), sums.arg(), word(n)])?;
    run(names.scan_top, 1, &[sums.arg(), Arg::U32(n_blocks)])?;
    let args = [counts.arg(), sums.arg(), offsets.arg(), cursors.arg(), word(n)];
    run(names.scan_write, n_blocks, &args)?;
    Ok((offsets, cursors))
}

/// The sum of every bucket.
fn sum_buckets<C: Curve>(bases: &Resident<C>, sorted: &Sorted) -> Result<Buffer, DriverError> {
    let driver = bases.driver();
    let names = names::<C>();
    let bytes = sum_bytes::<C>();
    let buckets = Buffer::zeroed(driver, sorted.n_buckets * bytes)?;
    let partial = |pieces: usize| -> Result<(Buffer, Buffer), DriverError> {
        Ok((Buffer::new(driver, 2 * pieces * bytes)?, Buffer::new(driver, 8 * pieces)?))
    };
    let length = plan::piece_length::<C>(sorted.total, driver.facts().multiprocessors);
    let mut pieces = sorted.total.div_ceil(length);
    let (mut sums, mut keys) = partial(pieces)?;
    let args = [
        bases.points(),
        sorted.entries.arg(),
        sorted.offsets.arg(),
        buckets.arg(),
        sums.arg(),
        keys.arg(),
        word(sorted.n_buckets),
        word(sorted.total),
        word(length),
    ];
    launch(driver, names.accumulate, names.unit, pieces, &args)?;
    while pieces > 1 {
        let total = 2 * pieces;
        pieces = total.div_ceil(MERGED as usize);
        let (merged, merged_keys) = partial(pieces)?;
        let args = [
            sums.arg(),
            keys.arg(),
            buckets.arg(),
            merged.arg(),
            merged_keys.arg(),
            word(total),
            Arg::U32(MERGED),
        ];
        launch(driver, names.merge, names.unit, pieces, &args)?;
        (sums, keys) = (merged, merged_keys);
    }
    Ok(buckets)
}

/// Σ (k + 1)·bucket_k of each set.
fn weigh<C: Curve>(
    driver: &Arc<dyn Driver>,
    buckets: &Buffer,
    n_sets: usize,
    set: usize,
) -> Result<Vec<ProjectiveOf<C>>, DriverError> {
    let names = names::<C>();
    let length = plan::segment_length(n_sets * set, driver.facts().multiprocessors);
    let mut per_set = set.div_ceil(length);
    let mut sums = Buffer::new(driver, per_set * n_sets * sum_bytes::<C>())?;
    let args = [
        buckets.arg(),
        sums.arg(),
        word(set),
        word(length),
        word(per_set),
        word(n_sets),
    ];
    launch(driver, names.weigh, names.unit, per_set * n_sets, &args)?;
    while per_set > 1 {
        let length = fold_length(per_set);
        let pieces = per_set.div_ceil(length);
        let folded = Buffer::new(driver, pieces * n_sets * sum_bytes::<C>())?;
        let args = [
            sums.arg(),
            folded.arg(),
            word(per_set),
            word(length),
            word(n_sets),
        ];
        launch(driver, names.fold, names.unit, pieces * n_sets, &args)?;
        (sums, per_set) = (folded, pieces);
    }
    sums_of::<C>(&sums, 0, n_sets)
}

/// A scalar class as the most bits of a magnitude, and whether no scalar is negative.
fn limits_of(class: ScalarClass) -> (u32, bool) {
    match class {
        ScalarClass::Unit01 => (1, true),
        ScalarClass::Small { bits } => (bits.min(253), false),
        ScalarClass::Full => (253, false),
    }
}

