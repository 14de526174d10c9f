//! # Cuda: the device of one GPU
//!
//! Vectors lie in the GPU's memory. What does not fit goes, in this order, into smaller parts, then to the CPU: an operation on a vector that
//! lies in the memory of the process is done there, with the same result. After a failure everything goes to the CPU: the proof that was under
//! way is lost, the process is not.

mod operations;

use std::fmt;
use std::mem;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ark_bn254::{Fr, G1Affine, G1Projective, G2Affine, G2Projective};
use ark_ec::AdditiveGroup;
use zeroize::Zeroizing;

use super::checks;
use super::driver::{Driver, DriverError, Facts};
use super::memory::{self, Buffer, FR_BYTES};
use super::module::Nvidia;
use super::msm::resident::{Resident, Unusable};
use super::msm::{self, Fault};
use super::ntt::{self, Plans};
use super::vectors;
use crate::Cpu;
use crate::bases::Bases;
use crate::copies::Copied;
use crate::cpu::portable::{MAX_BASES, check_groups, check_len, check_max};
use crate::curve::{Curve, G1, G2, ProjectiveOf};
use crate::device::{
    Device, DeviceError, DeviceInfo, Direction, FixedBase, FrSlice, FrVec, Lent, Place, Points,
};
use crate::domain::Domain;
use crate::field::ScalarClass;
use crate::lines::Lines;

/// Fewer bases than this are not divided further to make them fit.
const LEAST_PART: usize = 1 << 14;
/// More bases than this are taken in parts: places of entries are 32-bit numbers.
const LARGEST_PART: usize = 1 << 26;

/// A GPU as a device, with the CPU behind it.
pub struct Cuda {
    driver: Arc<dyn Driver>,
    /// What tells its copies of bases from those of other devices.
    number: u64,
    plans: Plans,
    /// The GPU failed.
    failed: AtomicBool,
    /// One operation at a time: their kernels would only share the multiprocessors, and their memory may not fit together.
    turn: Mutex<()>,
}

impl Cuda {
    pub(crate) fn with_driver(driver: Arc<dyn Driver>) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        Self {
            driver,
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            plans: Plans::default(),
            failed: AtomicBool::new(false),
            turn: Mutex::new(()),
        }
    }

    /// Opens the GPU with this number, as the driver counts, compiles its kernels if need be, and lets them compute a few known results.
    ///
    /// # Errors
    /// There is no such GPU, it cannot be used, its kernels do not compile, or it computes something else.
    pub fn open(ordinal: usize) -> Result<Self, DriverError> {
        let device = Self::with_driver(Arc::new(Nvidia::open(ordinal)?));
        checks::check_briefly(device.driver()).map_err(|mismatch| DriverError::Failed {
            call: "the test of the kernels",
            reason: mismatch.to_string(),
        })?;
        Ok(device)
    }

    /// What the GPU is.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        self.driver.facts()
    }

    /// Whether the GPU failed, so that everything is done by the CPU.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Bytes of the GPU's memory that are free.
    ///
    /// # Errors
    /// When the GPU has failed.
    pub fn free_bytes(&self) -> Result<u64, DriverError> {
        self.driver.free_bytes()
    }

    pub(crate) fn driver(&self) -> &Arc<dyn Driver> {
        &self.driver
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a failure of the GPU.
    fn noted(&self, error: DriverError) -> DriverError {
        if !matches!(error, DriverError::OutOfMemory { .. }) {
            self.failed.store(true, Ordering::Relaxed);
        }
        error
    }

    /// The result of work on the GPU, or none where its memory does not suffice.
    fn tried<T>(
        &self,
        work: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<Option<T>, DeviceError> {
        match work() {
            Ok(result) => Ok(Some(result)),
            Err(DriverError::OutOfMemory { .. }) => Ok(None),
            Err(error) => Err(self.noted(error).into()),
        }
    }

    /// Brings a vector into the memory of the process.
    fn fetch(&self, vector: &mut FrVec) -> Result<(), DeviceError> {
        if let Place::Gpu(buffer) = vector.place() {
            let scalars = buffer.scalars().map_err(|error| self.noted(error))?;
            *vector.place_mut() = Place::Host(scalars);
        }
        Ok(())
    }

    /// What `host` makes of a vector in the memory of the process: of the vector itself if it lies there.
    fn on_host<T>(
        &self,
        vector: &FrVec,
        host: impl FnOnce(&FrVec) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        match vector.place() {
            Place::Host(_) => host(vector),
            Place::Gpu(_) | Place::Both(_) => host(&self.copied(vector)?),
        }
    }

    /// A copy of a vector in the memory of the process.
    fn copied(&self, vector: &FrVec) -> Result<FrVec, DeviceError> {
        Ok(FrVec::from_host(match vector.place() {
            Place::Host(host) => host.clone(),
            Place::Gpu(buffer) => buffer.scalars().map_err(|error| self.noted(error))?,
            Place::Both(_) => return Err(DeviceError::Foreign),
        }))
    }

    /// Works on the buffer of `vector` and on those of `others`, if the first is on the GPU and its memory suffices, for copies of those that are
    /// not, too; else `host` works in the memory of the process, on copies of those that are not there.
    fn work(
        &self,
        vector: &mut FrVec,
        others: &[&FrVec],
        gpu: impl FnOnce(&mut Buffer, &[&Buffer]) -> Result<(), DriverError>,
        host: impl FnOnce(&mut FrVec, &[&FrVec]) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        if let Place::Gpu(buffer) = vector.place_mut() {
            let _turn = self.turn();
            let done = self.tried(|| {
                let copies = others.iter().map(|other| match other.place() {
                    Place::Host(host) => Buffer::of_scalars(&self.driver, host).map(Some),
                    Place::Gpu(_) | Place::Both(_) => Ok(None),
                });
                let copies = copies.collect::<Result<Vec<_>, _>>()?;
                let there = others.iter().zip(&copies).map(|(other, copy)| match copy {
                    Some(copy) => Some(copy),
                    None => other.buffer(),
                });
                let Some(buffers) = there.collect::<Option<Vec<_>>>() else {
                    // Of other devices: refused below.
                    return Ok(false);
                };
                gpu(buffer, &buffers).map(|()| true)
            });
            if done? == Some(true) {
                return Ok(());
            }
        }
        self.fetch(vector)?;
        let copies = others.iter().map(|other| match other.place() {
            Place::Host(_) => Ok(None),
            Place::Gpu(_) | Place::Both(_) => self.copied(other).map(Some),
        });
        let copies = copies.collect::<Result<Vec<_>, _>>()?;
        let there = others.iter().zip(&copies);
        let there = there.map(|(other, copy)| copy.as_ref().unwrap_or(other));
        host(vector, &there.collect::<Vec<_>>())
    }

    /// The bases on the GPU, copied there if need be; none where they do not fit.
    fn resident<C: Curve>(
        &self,
        bases: &Bases<C>,
    ) -> Result<Option<Arc<Resident<C>>>, DeviceError> {
        if let Some(resident) = bases.copies.get::<Resident<C>>(self.number) {
            return Ok(Some(resident));
        }
        match Resident::new(&self.driver, bases) {
            Ok(resident) => {
                let resident = Arc::new(resident);
                bases
                    .copies
                    .keep(self.number, Arc::clone(&resident) as Copied);
                Ok(Some(resident))
            }
            Err(Unusable::Bases(error)) => Err(error.into()),
            Err(Unusable::Driver(DriverError::OutOfMemory { .. })) => Ok(None),
            Err(Unusable::Driver(error)) => Err(self.noted(error).into()),
        }
    }

    fn msm<C: Curve>(
        &self,
        bases: &Bases<C>,
        scalars: FrSlice<'_>,
        class: ScalarClass,
        on_cpu: impl Fn(&Bases<C>, FrSlice<'_>) -> Result<ProjectiveOf<C>, DeviceError>,
    ) -> Result<ProjectiveOf<C>, DeviceError> {
        check_len("scalars of a multiplication", bases.len(), scalars.len())?;
        check_max("bases of a multiplication", bases.len(), MAX_BASES)?;
        let (vector, first) = scalars.within();
        let Place::Gpu(buffer) = vector.place() else {
            return on_cpu(bases, scalars);
        };
        let sum = self.on_gpu(bases, || {
            if bases.len() <= LARGEST_PART
                && let Some(resident) = self.resident(bases)?
                && let Some(sum) = self.multiplied(&resident, buffer, first, class, 0)?
            {
                return Ok(Some(sum));
            }
            self.in_parts(bases, buffer, first, class)
        })?;
        sum.map_or_else(
            || {
                let host = self.copied(vector)?;
                on_cpu(bases, host.slice(first..first + bases.len())?)
            },
            Ok,
        )
    }

    /// Does `work` when it is its turn. Threads of a pool look at the bases before: a thread that waits for others of its pool may be given
    /// other work of the device's, which must not wait for the turn that it has.
    fn on_gpu<C: Curve, T>(
        &self,
        bases: &Bases<C>,
        work: impl FnOnce() -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        bases.finite()?;
        let _turn = self.turn();
        work()
    }

    /// A multiplication on the GPU; none where its memory does not suffice. The bases begin at index `start` of the caller's.
    fn multiplied<C: Curve>(
        &self,
        bases: &Resident<C>,
        scalars: &Buffer,
        first: usize,
        class: ScalarClass,
        start: usize,
    ) -> Result<Option<ProjectiveOf<C>>, DeviceError> {
        let sum = msm::multiply(bases, scalars, first, class);
        self.answered(sum, start, class)
    }

    /// What came of a multiplication whose first scalar has index `start`; none where the memory did not suffice.
    fn answered<T>(
        &self,
        sum: Result<T, Fault>,
        start: usize,
        class: ScalarClass,
    ) -> Result<Option<T>, DeviceError> {
        match sum {
            Ok(sum) => Ok(Some(sum)),
            Err(Fault::OutOfClass(index)) => Err(DeviceError::OutOfClass {
                index: start + index,
                class,
            }),
            Err(Fault::Driver(DriverError::OutOfMemory { .. })) => Ok(None),
            Err(Fault::Driver(error)) => Err(self.noted(error).into()),
        }
    }

    /// A multiplication whose bases pass through the GPU in parts, the largest that fit; none where no part does.
    fn in_parts<C: Curve>(
        &self,
        bases: &Bases<C>,
        scalars: &Buffer,
        first: usize,
        class: ScalarClass,
    ) -> Result<Option<ProjectiveOf<C>>, DeviceError> {
        let mut part = bases.len().div_ceil(2).min(LARGEST_PART);
        let (mut start, mut total) = (0, ProjectiveOf::<C>::ZERO);
        while start < bases.len() {
            if part < LEAST_PART {
                return Ok(None);
            }
            let end = bases.len().min(start + part);
            let own = bases.part(start..end)?;
            let resident = match Resident::new(&self.driver, &own) {
                Ok(resident) => Some(resident),
                Err(Unusable::Bases(_)) => {
                    // Of the whole section, for the index.
                    bases.finite()?;
                    None
                }
                Err(Unusable::Driver(DriverError::OutOfMemory { .. })) => None,
                Err(Unusable::Driver(error)) => return Err(self.noted(error).into()),
            };
            let sum = match &resident {
                Some(resident) => {
                    self.multiplied(resident, scalars, first + start, class, start)?
                }
                None => None,
            };
            match sum {
                Some(sum) => {
                    total += sum;
                    start = end;
                }
                None => part /= 2,
            }
        }
        Ok(Some(total))
    }

    fn tabulate<C: Curve>(&self, bases: &Bases<C>, max_bytes: u64) -> Result<u64, DeviceError> {
        if self.has_failed() || bases.is_empty() {
            return Ok(0);
        }
        bases.finite()?;
        let _turn = self.turn();
        let Some(resident) = self.resident(bases)? else {
            return Ok(0);
        };
        if resident.table_bytes() > 0 {
            return Ok(resident.table_bytes());
        }
        // Multiplications need memory too.
        let free = self.free_bytes().map_err(|error| self.noted(error))?;
        let limit = max_bytes.min(free.saturating_sub(self.facts().memory_bytes / 8));
        let Some(Some(tabulated)) = self.tried(|| resident.tabulated(limit))? else {
            return Ok(0);
        };
        let bytes = tabulated.table_bytes();
        bases.copies.keep(self.number, Arc::new(tabulated));
        Ok(bytes)
    }
}

impl Device for Cuda {
    fn info(&self) -> DeviceInfo {
        let facts = self.facts();
        DeviceInfo {
            name: facts.name.clone(),
            parallelism: facts.multiprocessors,
        }
    }

    fn upload(&self, mut values: Vec<Fr>) -> Result<FrVec, DeviceError> {
        if !self.has_failed() {
            let buffer = self.tried(|| Buffer::of_scalars(&self.driver, &values));
            if let Ok(Some(buffer)) = buffer {
                memory::wipe(&mut values);
                return Ok(FrVec::from_gpu(buffer));
            }
        }
        // What the GPU does not take, the CPU does.
        Ok(FrVec::from_host(values))
    }

    fn download(&self, mut vector: FrVec) -> Result<Vec<Fr>, DeviceError> {
        self.fetch(&mut vector)?;
        Cpu.download(vector)
    }

    fn lend(&self, values: Vec<Fr>, part: Range<usize>) -> Result<Lent, DeviceError> {
        let mut values = Zeroizing::new(values);
        let lent = Lent::of(&values, &part)?;
        let copied = match self.has_failed() {
            true => None,
            // What the GPU does not take, the CPU reads where it is.
            false => self.tried(|| Buffer::of_scalars(&self.driver, lent)).ok(),
        };
        match copied.flatten() {
            Some(buffer) => Ok(Lent {
                part: (0, part.len()),
                vector: FrVec::from_gpu(buffer),
                kept: Some(values),
            }),
            None => Cpu.lend(mem::take(&mut *values), part),
        }
    }

    fn ntt(
        &self,
        vector: &mut FrVec,
        domain: &Domain,
        direction: Direction,
        points: Points,
    ) -> Result<(), DeviceError> {
        check_len("a transform", domain.n(), vector.len())?;
        let offset = domain.points(points).ok_or(DeviceError::ZeroShift)?.offset;
        let shift = (points != Points::Subgroup).then_some(offset);
        self.work(
            vector,
            &[],
            |buffer, _| ntt::transform(&self.driver, &self.plans, buffer, domain, direction, shift),
            |vector, _| Cpu.ntt(vector, domain, direction, points),
        )
    }

    fn to_coset(&self, vector: &mut FrVec, domain: &Domain) -> Result<(), DeviceError> {
        check_len("a transform", domain.n(), vector.len())?;
        self.work(
            vector,
            &[],
            |buffer, _| ntt::to_coset(&self.driver, &self.plans, buffer, domain),
            |vector, _| Cpu.to_coset(vector, domain),
        )
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
        self.work(
            a,
            &[b, c],
            |a, others| ntt::mul_sub_scale(&self.driver, a, others[0], others[1], scale),
            |a, others| Cpu.mul_sub_scale(a, others[0], others[1], scale),
        )
    }

    fn mul_pointwise(&self, a: &mut FrVec, b: &FrVec) -> Result<(), DeviceError> {
        check_len("second operand", a.len(), b.len())?;
        self.work(
            a,
            &[b],
            |a, others| ntt::mul(&self.driver, a, others[0]),
            |a, others| Cpu.mul_pointwise(a, others[0]),
        )
    }

    fn zeros(&self, len: usize) -> Result<FrVec, DeviceError> {
        let bytes = len.saturating_mul(FR_BYTES);
        self.made(|| Buffer::zeroed(&self.driver, bytes), || Cpu.zeros(len))
    }

    fn duplicate(&self, vector: &FrVec) -> Result<FrVec, DeviceError> {
        match vector.place() {
            Place::Gpu(buffer) => {
                let copy = || vectors::duplicate(&self.driver, buffer);
                self.made(copy, || self.copied(vector))
            }
            Place::Host(_) | Place::Both(_) => self.copied(vector),
        }
    }

    fn read_range(&self, part: FrSlice<'_>) -> Result<Vec<Fr>, DeviceError> {
        self.read_part(part)
    }

    fn write_range(
        &self,
        vector: &mut FrVec,
        first: usize,
        values: &[Fr],
    ) -> Result<(), DeviceError> {
        self.write_part(vector, first, values)
    }

    fn run_lines(
        &self,
        sum: &mut FrVec,
        lines: &Lines,
        columns: &[&FrVec],
        uniform: &[Fr],
        fold: Fr,
    ) -> Result<(), DeviceError> {
        self.run_program(sum, lines, columns, uniform, fold)
    }

    fn compile_lines(&self, lines: &Lines) -> Result<bool, DeviceError> {
        self.compile_program(lines)
    }

    fn combine(&self, sum: &mut FrVec, terms: &[(Fr, &FrVec)]) -> Result<(), DeviceError> {
        self.add_terms(sum, terms)
    }

    fn mix(&self, vectors: &mut [FrVec], matrix: &[Vec<Fr>]) -> Result<(), DeviceError> {
        self.mix_all(vectors, matrix)
    }

    fn evaluate(&self, vector: &FrVec, x: Fr) -> Result<Fr, DeviceError> {
        self.value_at(vector, x)
    }

    fn divide(&self, vector: &mut FrVec, z: Fr) -> Result<Fr, DeviceError> {
        self.work_alone(
            vector,
            |buffer| vectors::divide(&self.driver, buffer, z),
            |vector| Cpu.divide(vector, z),
        )
    }

    fn invert(&self, vector: &mut FrVec) -> Result<(), DeviceError> {
        self.work_alone(
            vector,
            |buffer| vectors::invert(&self.driver, buffer),
            |vector| Cpu.invert(vector),
        )
    }

    fn running_products(&self, vector: &mut FrVec, start: Fr) -> Result<Fr, DeviceError> {
        self.work_alone(
            vector,
            |buffer| vectors::running_products(&self.driver, buffer, start),
            |vector| Cpu.running_products(vector, start),
        )
    }

    fn lookup(&self, table: &FrVec, factors: &[Fr], indices: &[u32]) -> Result<FrVec, DeviceError> {
        self.look_up(table, factors, indices)
    }

    fn msm_g1(
        &self,
        bases: &Bases<G1>,
        scalars: FrSlice<'_>,
        class: ScalarClass,
    ) -> Result<G1Projective, DeviceError> {
        self.msm(bases, scalars, class, |bases, scalars| {
            Cpu.msm_g1(bases, scalars, class)
        })
    }

    fn msm_g2(
        &self,
        bases: &Bases<G2>,
        scalars: FrSlice<'_>,
        class: ScalarClass,
    ) -> Result<G2Projective, DeviceError> {
        self.msm(bases, scalars, class, |bases, scalars| {
            Cpu.msm_g2(bases, scalars, class)
        })
    }

    fn tabulate_g1(
        &self,
        bases: &Bases<G1>,
        _n_full: usize,
        max_bytes: u64,
    ) -> Result<u64, DeviceError> {
        self.tabulate(bases, max_bytes)
    }

    fn tabulate_g2(
        &self,
        bases: &Bases<G2>,
        _n_full: usize,
        max_bytes: u64,
    ) -> Result<u64, DeviceError> {
        self.tabulate(bases, max_bytes)
    }

    fn msm_grouped_g1(
        &self,
        bases: &Bases<G1>,
        groups: &[u32],
        values: FrSlice<'_>,
    ) -> Result<G1Projective, DeviceError> {
        let n_groups = check_groups(bases.len(), groups, values.len())?;
        let (vector, first) = values.within();
        if let Place::Gpu(buffer) = vector.place() {
            let sum = self.on_gpu(bases, || {
                let Some(resident) = self.resident(bases)? else {
                    return Ok(None);
                };
                let sum = msm::multiply_grouped(&resident, groups, buffer, first, n_groups);
                self.answered(sum, 0, ScalarClass::Full)
            })?;
            if let Some(sum) = sum {
                return Ok(sum);
            }
        }
        let values = self.copied(vector)?;
        Cpu.msm_grouped_g1(bases, groups, values.slice(first..values.len())?)
    }

    // Set-ups are made once, and their time is that of writing the key.
    fn fixed_base_g1(
        &self,
        base: &FixedBase<G1>,
        scalars: &[Fr],
    ) -> Result<Vec<G1Affine>, DeviceError> {
        Cpu.fixed_base_g1(base, scalars)
    }

    fn fixed_base_g2(
        &self,
        base: &FixedBase<G2>,
        scalars: &[Fr],
    ) -> Result<Vec<G2Affine>, DeviceError> {
        Cpu.fixed_base_g2(base, scalars)
    }
}

impl fmt::Debug for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cuda({})", self.facts().name)
    }
}
