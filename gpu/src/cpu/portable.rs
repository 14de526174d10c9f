//! # Cpu: the device that every machine has

use std::fmt;

use ark_bn254::{Fr, G1Affine, G1Projective, G2Affine, G2Projective};
use ark_ec::short_weierstrass::Projective;

use rayon::prelude::*;

use super::adder::Portable;
use super::lanes::LanesCurve;
use super::table::Table;
use super::{fixed_base, msm, ntt, vectors};
use crate::bases::Bases;
use crate::curve::{AffineOf, G1, G2};
use crate::device::{
    Device, DeviceError, DeviceInfo, Direction, FixedBase, FrSlice, FrVec, NO_GROUP, Place, Points,
};
use crate::domain::Domain;
use crate::field::ScalarClass;

/// The CPU: vector instructions where it has them, arkworks elsewhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu;

/// The CPU through arkworks and rayon alone, as on a processor without vector instructions: for tests and comparison.
#[derive(Debug, Clone, Copy, Default)]
pub struct PortableCpu;

impl Cpu {
    /// The device of this machine's CPU.
    #[must_use]
    pub fn new() -> Self {
        Self
    }

    /// Whether this machine's CPU has the vector instructions that the fast paths are written for.
    #[must_use]
    pub fn has_lanes() -> bool {
        G1::lanes().is_some()
    }

    /// Additions of points that a multiplication by `n` scalars of full size takes: what a cost model counts.
    #[must_use]
    pub fn additions(n: usize) -> usize {
        msm::additions(n)
    }
}

/// A device that is this machine's CPU.
trait Host: fmt::Debug + Send + Sync {
    const NAME: &'static str;

    /// Whether to use vector instructions.
    fn lanes() -> bool;

    fn msm<C: LanesCurve>(
        bases: &Bases<C>,
        scalars: FrSlice<'_>,
        class: ScalarClass,
    ) -> Result<Projective<C::Config>, DeviceError> {
        check_len("scalars of a multiplication", bases.len(), scalars.len())?;
        check_max("bases of a multiplication", bases.len(), MAX_BASES)?;
        if Self::has_lanes::<C>() {
            msm::msm(bases, scalars.host()?, class, lanes_adder::<C>)
        } else {
            msm::msm(bases, scalars.host()?, class, Portable::<C>::new)
        }
    }

    fn msm_grouped<C: LanesCurve>(
        bases: &Bases<C>,
        groups: &[u32],
        values: FrSlice<'_>,
    ) -> Result<Projective<C::Config>, DeviceError> {
        check_groups(bases.len(), groups, values.len())?;
        if Self::has_lanes::<C>() {
            msm::grouped(bases, groups, values.host()?, lanes_adder::<C>)
        } else {
            msm::grouped(bases, groups, values.host()?, Portable::<C>::new)
        }
    }

    fn tabulate<C: LanesCurve>(
        bases: &Bases<C>,
        n_full: usize,
        max_bytes: u64,
    ) -> Result<u64, DeviceError> {
        check_max("bases of a multiplication", bases.len(), MAX_BASES)?;
        if bases.table().is_none() {
            let (raw, finite) = (bases.raw(), bases.finite()?);
            let table = if Self::has_lanes::<C>() {
                Table::new(raw, finite, n_full, max_bytes, lanes_adder::<C>)
            } else {
                Table::new(raw, finite, n_full, max_bytes, Portable::<C>::new)
            };
            if let Some(table) = table.map_err(DeviceError::Table)? {
                bases.keep_table(table);
            }
        }
        Ok(bases.table().map_or(0, Table::bytes))
    }

    fn fixed_base<C: LanesCurve>(
        base: &FixedBase<C>,
        scalars: &[Fr],
    ) -> Result<Vec<AffineOf<C>>, DeviceError> {
        check_max("fixed-base products", scalars.len(), MAX_PRODUCTS)?;
        Ok(if Self::has_lanes::<C>() {
            fixed_base::multiply(base, scalars, lanes_adder::<C>)
        } else {
            fixed_base::multiply(base, scalars, Portable::<C>::new)
        })
    }

    fn has_lanes<C: LanesCurve>() -> bool {
        Self::lanes() && C::lanes().is_some()
    }
}

fn lanes_adder<C: LanesCurve>() -> C::Lanes {
    C::lanes().expect("a processor does not lose instructions")
}

impl Host for Cpu {
    const NAME: &'static str = "cpu";

    fn lanes() -> bool {
        true
    }
}

impl Host for PortableCpu {
    const NAME: &'static str = "portable cpu";

    fn lanes() -> bool {
        false
    }
}

impl<H: Host> Device for H {
    fn info(&self) -> DeviceInfo {
        DeviceInfo {
            name: Self::NAME.into(),
            parallelism: rayon::current_num_threads(),
        }
    }

    fn upload(&self, values: Vec<Fr>) -> Result<FrVec, DeviceError> {
        Ok(FrVec::from_host(values))
    }

    fn download(&self, mut vector: FrVec) -> Result<Vec<Fr>, DeviceError> {
        Ok(match vector.place_mut() {
            Place::Host(host) => std::mem::take(host),
            Place::Gpu(_) | Place::Both(_) => return Err(DeviceError::Foreign),
        })
    }

    fn ntt(
        &self,
        vector: &mut FrVec,
        domain: &Domain,
        direction: Direction,
        points: Points,
    ) -> Result<(), DeviceError> {
        check_len("a transform", domain.n(), vector.len())?;
        ntt::transform(vector.host_mut()?, domain, direction, points, Self::lanes())
    }

    fn to_coset(&self, vector: &mut FrVec, domain: &Domain) -> Result<(), DeviceError> {
        check_len("a transform", domain.n(), vector.len())?;
        ntt::to_coset(vector.host_mut()?, domain, Self::lanes())
    }

    fn mul_sub_scale(
        &self,
        a: &mut FrVec,
        b: &FrVec,
        c: &FrVec,
        scale: Fr,
    ) -> Result<(), DeviceError> {
        check_len("second operand", a.len(), b.len())?;
        check_len("third operand", a.len(), c.len())?;
        vectors::mul_sub_scale(a.host_mut()?, b.host()?, c.host()?, scale, Self::lanes());
        Ok(())
    }

    fn mul_pointwise(&self, a: &mut FrVec, b: &FrVec) -> Result<(), DeviceError> {
        check_len("second operand", a.len(), b.len())?;
        vectors::mul(a.host_mut()?, b.host()?, Self::lanes());
        Ok(())
    }

    fn msm_g1(
        &self,
        bases: &Bases<G1>,
        scalars: FrSlice<'_>,
        class: ScalarClass,
    ) -> Result<G1Projective, DeviceError> {
        Self::msm(bases, scalars, class)
    }

    fn msm_g2(
        &self,
        bases: &Bases<G2>,
        scalars: FrSlice<'_>,
        class: ScalarClass,
    ) -> Result<G2Projective, DeviceError> {
        Self::msm(bases, scalars, class)
    }

    fn tabulate_g1(
        &self,
        bases: &Bases<G1>,
        n_full: usize,
        max_bytes: u64,
    ) -> Result<u64, DeviceError> {
        Self::tabulate(bases, n_full, max_bytes)
    }

    fn tabulate_g2(
        &self,
        bases: &Bases<G2>,
        n_full: usize,
        max_bytes: u64,
    ) -> Result<u64, DeviceError> {
        Self::tabulate(bases, n_full, max_bytes)
    }

    fn msm_grouped_g1(
        &self,
        bases: &Bases<G1>,
        groups: &[u32],
        values: FrSlice<'_>,
    ) -> Result<G1Projective, DeviceError> {
        Self::msm_grouped(bases, groups, values)
    }

    fn fixed_base_g1(
        &self,
        base: &FixedBase<G1>,
        scalars: &[Fr],
    ) -> Result<Vec<G1Affine>, DeviceError> {
        Self::fixed_base(base, scalars)
    }

    fn fixed_base_g2(
        &self,
        base: &FixedBase<G2>,
        scalars: &[Fr],
    ) -> Result<Vec<G2Affine>, DeviceError> {
        Self::fixed_base(base, scalars)
    }
}

/// More bases than a [`super::adder::Pick`] tells apart.
pub(crate) const MAX_BASES: usize = (1 << 31) - 1;
/// Products whose sums of at most 64 multiples are counted in 32 bits.
const MAX_PRODUCTS: usize = 1 << 26;

/// Checks that there is an entry of `groups` for each base, and a value for each group; gives the number of groups.
pub(crate) fn check_groups(
    n_bases: usize,
    groups: &[u32],
    n_values: usize,
) -> Result<usize, DeviceError> {
    check_len("groups of bases", n_bases, groups.len())?;
    let members = groups.par_iter().filter(|group| **group != NO_GROUP);
    let n_groups = members.max().map_or(0, |last| *last as usize + 1);
    check_max("bases of a multiplication", n_bases, MAX_BASES)?;
    ensure(n_groups <= n_values, "values of groups", n_groups, n_values)?;
    Ok(n_groups)
}

pub(crate) fn check_max(what: &'static str, got: usize, max: usize) -> Result<(), DeviceError> {
    ensure(got <= max, what, max, got)
}

pub(crate) fn check_len(
    what: &'static str,
    expected: usize,
    got: usize,
) -> Result<(), DeviceError> {
    ensure(expected == got, what, expected, got)
}

fn ensure(holds: bool, what: &'static str, expected: usize, got: usize) -> Result<(), DeviceError> {
    if holds {
        Ok(())
    } else {
        Err(DeviceError::Length {
            what,
            expected,
            got,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_passes_the_device_suite() {
        for device in [&Cpu as &dyn Device, &PortableCpu] {
            if let Err(mismatch) = crate::testing::check_device(device) {
                panic!("{device:?}: {mismatch}");
            }
        }
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        for n_threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(n_threads)
                .build()
                .expect("a thread pool");
            if let Err(mismatch) = pool.install(|| crate::testing::check_device(&Cpu)) {
                panic!("{n_threads} threads: {mismatch}");
            }
        }
    }
}
