//! # Cpu: the device that every machine has

use std::fmt;

use ark_bn254::{Fr, G1Affine, G1Projective, G2Affine, G2Projective};
use ark_ec::short_weierstrass::Projective;
use ark_ff::AdditiveGroup;

use rayon::prelude::*;

use super::adder::Portable;
use super::lanes::LanesCurve;
use super::table::Table;
use super::{fixed_base, lines, msm, ntt, polynomials, vectors};
use crate::bases::Bases;
use crate::curve::{AffineOf, G1, G2};
use crate::device::{
    Device, DeviceError, DeviceInfo, Direction, FixedBase, FrSlice, FrVec, NO_GROUP, Place, Points,
};
use crate::domain::Domain;
use crate::field::ScalarClass;
use crate::lines::Lines;

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

    fn zeros(&self, len: usize) -> Result<FrVec, DeviceError> {
        Ok(FrVec::from_host(vec![Fr::ZERO; len]))
    }

    fn duplicate(&self, vector: &FrVec) -> Result<FrVec, DeviceError> {
        Ok(FrVec::from_host(vector.host()?.to_vec()))
    }

    fn read_range(&self, part: FrSlice<'_>) -> Result<Vec<Fr>, DeviceError> {
        Ok(part.host()?.to_vec())
    }

    fn write_range(
        &self,
        vector: &mut FrVec,
        first: usize,
        values: &[Fr],
    ) -> Result<(), DeviceError> {
        check_range(vector, first, values.len())?;
        vector.host_mut()?[first..first + values.len()].copy_from_slice(values);
        Ok(())
    }

    fn run_lines(
        &self,
        sum: &mut FrVec,
        lines: &Lines,
        columns: &[&FrVec],
        uniform: &[Fr],
        fold: Fr,
    ) -> Result<(), DeviceError> {
        check_lines(sum, lines, columns, uniform)?;
        let columns: Result<Vec<&[Fr]>, _> = columns.iter().map(|column| column.host()).collect();
        lines::run(sum.host_mut()?, lines, &columns?, uniform, fold);
        Ok(())
    }

    fn combine(&self, sum: &mut FrVec, terms: &[(Fr, &FrVec)]) -> Result<(), DeviceError> {
        check_terms(sum, terms)?;
        let terms = terms.iter().map(|(factor, v)| Ok((*factor, v.host()?)));
        let terms: Result<Vec<(Fr, &[Fr])>, DeviceError> = terms.collect();
        polynomials::combine(sum.host_mut()?, &terms?);
        Ok(())
    }

    fn mix(&self, vectors: &mut [FrVec], matrix: &[Vec<Fr>]) -> Result<(), DeviceError> {
        check_mix(vectors, matrix)?;
        let vectors: Result<Vec<&mut [Fr]>, DeviceError> = vectors
            .iter_mut()
            .map(|vector| Ok(vector.host_mut()?.as_mut_slice()))
            .collect();
        polynomials::mix(&mut vectors?, matrix);
        Ok(())
    }

    fn evaluate(&self, vector: &FrVec, x: Fr) -> Result<Fr, DeviceError> {
        Ok(polynomials::evaluate(vector.host()?, x))
    }

    fn divide(&self, vector: &mut FrVec, z: Fr) -> Result<Fr, DeviceError> {
        Ok(polynomials::divide(vector.host_mut()?, z))
    }

    fn invert(&self, vector: &mut FrVec) -> Result<(), DeviceError> {
        polynomials::invert(vector.host_mut()?);
        Ok(())
    }

    fn running_products(&self, vector: &mut FrVec, start: Fr) -> Result<Fr, DeviceError> {
        Ok(polynomials::running_products(vector.host_mut()?, start))
    }

    fn lookup(&self, table: &FrVec, factors: &[Fr], indices: &[u32]) -> Result<FrVec, DeviceError> {
        check_lookup(table, factors, indices)?;
        let found = polynomials::lookup(table.host()?, factors, indices);
        Ok(FrVec::from_host(found))
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

/// `n` values from place `first` on are in the vector.
pub(crate) fn check_range(vector: &FrVec, first: usize, n: usize) -> Result<(), DeviceError> {
    let most = vector.len().saturating_sub(first);
    let inside = first <= vector.len() && n <= most;
    ensure(inside, "values written into a vector", most, n)
}

/// The operands are those of the program.
pub(crate) fn check_lines(
    sum: &FrVec,
    lines: &Lines,
    columns: &[&FrVec],
    uniform: &[Fr],
) -> Result<(), DeviceError> {
    let n = sum.len();
    ensure(n.is_power_of_two(), "rows", n.next_power_of_two(), n)?;
    check_len("columns of a program", lines.n_columns(), columns.len())?;
    let (needed, given) = (lines.n_uniform(), uniform.len());
    ensure(needed <= given, "uniform values", needed, given)?;
    columns
        .iter()
        .try_for_each(|column| check_len("a column", n, column.len()))
}

pub(crate) fn check_terms(sum: &FrVec, terms: &[(Fr, &FrVec)]) -> Result<(), DeviceError> {
    terms
        .iter()
        .try_for_each(|(_, v)| check_len("a term", sum.len(), v.len()))
}

pub(crate) fn check_mix(vectors: &[FrVec], matrix: &[Vec<Fr>]) -> Result<(), DeviceError> {
    let n = vectors.len();
    check_len("rows of a matrix", n, matrix.len())?;
    matrix
        .iter()
        .try_for_each(|row| check_len("a row of a matrix", n, row.len()))?;
    let len = vectors.first().map_or(0, FrVec::len);
    vectors
        .iter()
        .try_for_each(|vector| check_len("a vector", len, vector.len()))
}

/// Every index has a factor, and the table entries.
pub(crate) fn check_lookup(
    table: &FrVec,
    factors: &[Fr],
    indices: &[u32],
) -> Result<(), DeviceError> {
    let largest = indices
        .par_iter()
        .max()
        .map_or(0, |last| *last as usize + 1);
    let most = table.len().saturating_mul(factors.len());
    ensure(largest <= most, "indices of a table", most, largest)
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
