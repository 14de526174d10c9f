//! # Device: what a prover asks of a machine
//!
//! A prover is written once over these handles: vectors of scalars that the device owns, mapped bases, and a few bulk
//! operations on them. For the CPU a vector is a `Vec`. Every operation gives the same field elements and the same group
//! elements on every device and for any number of threads.

use std::fmt;
use std::ops::Range;

use ark_bn254::{Fr, G1Affine, G1Projective, G2Affine, G2Projective};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::bases::{Bases, BasesError};
use crate::cuda::DriverError;
use crate::cuda::memory::{Buffer, FR_BYTES};
use crate::curve::{AffineOf, Curve, G1, G2};
use crate::domain::Domain;
use crate::field::ScalarClass;
use crate::lines::{Lines, LinesError};

/// Bulk field and group operations on vectors that the device owns.
pub trait Device: fmt::Debug + Send + Sync {
    /// What the device is.
    fn info(&self) -> DeviceInfo;

    /// Hands `values` to the device.
    ///
    /// # Errors
    /// When the device's memory does not hold them.
    fn upload(&self, values: Vec<Fr>) -> Result<FrVec, DeviceError>;

    /// Takes the values back.
    ///
    /// # Errors
    /// When the device has failed.
    fn download(&self, vector: FrVec) -> Result<Vec<Fr>, DeviceError>;

    /// Hands over a part of `values`, to be read only, until [`Device::take_back`]: nothing is copied where a device works in the memory of the
    /// process, and nothing but the part where it has its own.
    ///
    /// # Errors
    /// [`DeviceError::Length`] when the part ends beyond the values.
    fn lend(&self, values: Vec<Fr>, part: Range<usize>) -> Result<Lent, DeviceError> {
        let values = FrVec::from_host(values);
        Lent::of(values.host()?, &part)?;
        Ok(Lent {
            vector: values,
            part: (part.start, part.end),
            kept: None,
        })
    }

    /// All the values that were lent.
    ///
    /// # Errors
    /// When the device has failed.
    fn take_back(&self, lent: Lent) -> Result<Vec<Fr>, DeviceError> {
        match lent.kept {
            Some(mut kept) => Ok(std::mem::take(&mut *kept)),
            None => self.download(lent.vector),
        }
    }

    /// In place, natural order: `Forward` turns the coefficients of a polynomial into its values on `points` of `domain`,
    /// `Inverse` turns values into coefficients.
    ///
    /// # Errors
    /// [`DeviceError::Length`] unless the vector has exactly the domain's length; [`DeviceError::ZeroShift`].
    fn ntt(
        &self,
        vector: &mut FrVec,
        domain: &Domain,
        direction: Direction,
        points: Points,
    ) -> Result<(), DeviceError>;

    /// In place, natural order: the values of a polynomial of degree below n on the roots of unity of `domain` become its
    /// values on the coset g·H. The same as an inverse transform on the subgroup and a forward one on the coset, with less
    /// work: the coefficients need no order.
    ///
    /// # Errors
    /// [`DeviceError::Length`] unless the vector has exactly the domain's length.
    fn to_coset(&self, vector: &mut FrVec, domain: &Domain) -> Result<(), DeviceError>;

    /// a_i ← (a_i·b_i − c_i)·scale.
    ///
    /// # Errors
    /// [`DeviceError::Length`] unless the three vectors have one length.
    fn mul_sub_scale(
        &self,
        a: &mut FrVec,
        b: &FrVec,
        c: &FrVec,
        scale: Fr,
    ) -> Result<(), DeviceError>;

    /// a_i ← a_i·b_i.
    ///
    /// # Errors
    /// [`DeviceError::Length`] unless the vectors have one length.
    fn mul_pointwise(&self, a: &mut FrVec, b: &FrVec) -> Result<(), DeviceError>;

    /// A vector of `len` zeros.
    ///
    /// # Errors
    /// When there is no memory, or the device has failed.
    fn zeros(&self, len: usize) -> Result<FrVec, DeviceError>;

    /// Another vector with the same values.
    ///
    /// # Errors
    /// As [`Device::zeros`].
    fn duplicate(&self, vector: &FrVec) -> Result<FrVec, DeviceError>;

    /// Some of the values.
    ///
    /// # Errors
    /// When the device has failed.
    fn read_range(&self, part: FrSlice<'_>) -> Result<Vec<Fr>, DeviceError>;

    /// Overwrites values from place `first` on.
    ///
    /// # Errors
    /// [`DeviceError::Length`] when they end beyond the vector.
    fn write_range(
        &self,
        vector: &mut FrVec,
        first: usize,
        values: &[Fr],
    ) -> Result<(), DeviceError>;

    /// Runs `lines` on every row: `sum` and the columns are the vectors it says, `uniform` the values that are the same for all rows, `fold`
    /// what a sum is multiplied with before it takes something up.
    ///
    /// # Errors
    /// [`DeviceError::Length`] unless there are as many columns and uniform values as the program needs, the columns are as long as `sum`,
    /// and that length is a power of two.
    fn run_lines(
        &self,
        sum: &mut FrVec,
        lines: &Lines,
        columns: &[&FrVec],
        uniform: &[Fr],
        fold: Fr,
    ) -> Result<(), DeviceError>;

    /// Prepares for running `lines` often: a GPU compiles a kernel of it. Results are the same. Whether there was something to prepare.
    ///
    /// # Errors
    /// When the device has failed.
    fn compile_lines(&self, lines: &Lines) -> Result<bool, DeviceError> {
        let _ = lines;
        Ok(false)
    }

    /// sum_i ← sum_i + Σ factor·v_i over the `terms` (factor, v).
    ///
    /// # Errors
    /// [`DeviceError::Length`] unless the vectors have one length.
    fn combine(&self, sum: &mut FrVec, terms: &[(Fr, &FrVec)]) -> Result<(), DeviceError>;

    /// (v_0, v_1, …) ← matrix·(v_0, v_1, …), place by place; rows of the matrix, as many as vectors.
    ///
    /// # Errors
    /// [`DeviceError::Length`] unless the vectors have one length and the matrix is square, with a row for each.
    fn mix(&self, vectors: &mut [FrVec], matrix: &[Vec<Fr>]) -> Result<(), DeviceError>;

    /// Σ v_i·xⁱ: the value of the polynomial with these coefficients.
    ///
    /// # Errors
    /// When the device has failed.
    fn evaluate(&self, vector: &FrVec, x: Fr) -> Result<Fr, DeviceError>;

    /// Divides the polynomial with these coefficients by X − z: the quotient replaces it, the top coefficient becoming 0. Gives the
    /// remainder, its value at z.
    ///
    /// # Errors
    /// When the device has failed.
    fn divide(&self, vector: &mut FrVec, z: Fr) -> Result<Fr, DeviceError>;

    /// v_i ← 1/v_i; 0 stays 0.
    ///
    /// # Errors
    /// When the device has failed.
    fn invert(&self, vector: &mut FrVec) -> Result<(), DeviceError>;

    /// v_i ← start·v_0·…·v_(i−1). Gives the product over all, times `start`.
    ///
    /// # Errors
    /// When the device has failed.
    fn running_products(&self, vector: &mut FrVec, start: Fr) -> Result<Fr, DeviceError>;

    /// `factors[i / n]·table[i % n]` for every index i of the list, n the length of the table.
    ///
    /// # Errors
    /// [`DeviceError::Length`] unless there is a factor for every index.
    fn lookup(&self, table: &FrVec, factors: &[Fr], indices: &[u32]) -> Result<FrVec, DeviceError>;

    /// Σ scalar_i·base_i in G1.
    ///
    /// # Errors
    /// [`DeviceError::Length`] unless there are as many scalars as bases; [`DeviceError::OutOfClass`] when a scalar breaks
    /// the promise; [`DeviceError::Bases`] when the key is damaged.
    fn msm_g1(
        &self,
        bases: &Bases<G1>,
        scalars: FrSlice<'_>,
        class: ScalarClass,
    ) -> Result<G1Projective, DeviceError>;

    /// Σ scalar_i·base_i in G2.
    ///
    /// # Errors
    /// As [`Device::msm_g1`].
    fn msm_g2(
        &self,
        bases: &Bases<G2>,
        scalars: FrSlice<'_>,
        class: ScalarClass,
    ) -> Result<G2Projective, DeviceError>;

    /// Tabulates multiples 2^(c·w)·P of the bases in at most `max_bytes` of memory, for multiplications with about `n_full` scalars of
    /// full size: all that follow on these bases are faster, with the same results. A table takes as long as six to twenty of them. Bases
    /// that have a table keep it. Returns the bytes of the table; 0 where none fits, or where the device has no use for one.
    ///
    /// # Errors
    /// [`DeviceError::Bases`] when the key is damaged; [`DeviceError::Table`] when there is no memory.
    fn tabulate_g1(
        &self,
        bases: &Bases<G1>,
        n_full: usize,
        max_bytes: u64,
    ) -> Result<u64, DeviceError> {
        let _ = (bases, n_full, max_bytes);
        Ok(0)
    }

    /// [`Device::tabulate_g1`] in G2.
    ///
    /// # Errors
    /// As [`Device::tabulate_g1`].
    fn tabulate_g2(
        &self,
        bases: &Bases<G2>,
        n_full: usize,
        max_bytes: u64,
    ) -> Result<u64, DeviceError> {
        let _ = (bases, n_full, max_bytes);
        Ok(0)
    }

    /// Σ `values[groups[i]]`·base_i in G1: a multiplication by scalars of few distinct values, which costs one addition a base and one
    /// multiplication of as many terms as there are values. A base whose entry is [`NO_GROUP`] is left out.
    ///
    /// # Errors
    /// [`DeviceError::Length`] unless there are as many entries as bases and each is [`NO_GROUP`] or has a value;
    /// [`DeviceError::Bases`] when the key is damaged.
    fn msm_grouped_g1(
        &self,
        bases: &Bases<G1>,
        groups: &[u32],
        values: FrSlice<'_>,
    ) -> Result<G1Projective, DeviceError>;

    /// The products scalar_i·base of one G1 base, in affine form: how a set-up makes its queries.
    ///
    /// # Errors
    /// When the device has failed.
    fn fixed_base_g1(
        &self,
        base: &FixedBase<G1>,
        scalars: &[Fr],
    ) -> Result<Vec<G1Affine>, DeviceError>;

    /// The products scalar_i·base of one G2 base, in affine form.
    ///
    /// # Errors
    /// When the device has failed.
    fn fixed_base_g2(
        &self,
        base: &FixedBase<G2>,
        scalars: &[Fr],
    ) -> Result<Vec<G2Affine>, DeviceError>;
}

/// The mark of a base that [`Device::msm_grouped_g1`] leaves out.
pub const NO_GROUP: u32 = u32::MAX;

/// What a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// Short name, for logs and benches.
    pub name: String,
    /// Threads or multiprocessors that work in parallel.
    pub parallelism: usize,
}

/// Which way a transform goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Coefficients to values.
    Forward,
    /// Values to coefficients.
    Inverse,
}

/// Which points of a domain a transform evaluates on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Points {
    /// The roots of unity.
    Subgroup,
    /// The roots of unity times the field's generator.
    Coset,
    /// The roots of unity times any scalar but 0.
    Shifted(Fr),
}

/// A vector of scalars that a device owns; overwritten with zeros when dropped, since it may hold a witness.
pub struct FrVec {
    place: Place,
}

/// Where a vector lies.
pub(crate) enum Place {
    /// In the memory of the process.
    Host(Vec<Fr>),
    /// In the memory of a GPU.
    Gpu(Buffer),
    /// With each of two devices that are compared.
    Both(Box<(FrVec, FrVec)>),
}

impl FrVec {
    /// Number of scalars.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.place {
            Place::Host(host) => host.len(),
            Place::Gpu(buffer) => buffer.bytes() / FR_BYTES,
            Place::Both(pair) => pair.0.len(),
        }
    }

    /// Whether there is no scalar.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A part of the vector.
    ///
    /// # Errors
    /// [`DeviceError::Length`] when the range ends beyond the vector.
    pub fn slice(&self, range: Range<usize>) -> Result<FrSlice<'_>, DeviceError> {
        self.as_slice().slice(range)
    }

    /// The whole vector.
    #[must_use]
    pub fn as_slice(&self) -> FrSlice<'_> {
        FrSlice {
            vector: self,
            range: (0, self.len()),
        }
    }

    pub(crate) fn from_host(host: Vec<Fr>) -> Self {
        Self {
            place: Place::Host(host),
        }
    }

    pub(crate) fn from_gpu(buffer: Buffer) -> Self {
        Self {
            place: Place::Gpu(buffer),
        }
    }

    pub(crate) fn from_both(first: FrVec, second: FrVec) -> Self {
        Self {
            place: Place::Both(Box::new((first, second))),
        }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn place_mut(&mut self) -> &mut Place {
        &mut self.place
    }

    /// Its memory on a GPU.
    pub(crate) fn buffer(&self) -> Option<&Buffer> {
        match &self.place {
            Place::Gpu(buffer) => Some(buffer),
            Place::Host(_) | Place::Both(_) => None,
        }
    }

    pub(crate) fn host(&self) -> Result<&[Fr], DeviceError> {
        match &self.place {
            Place::Host(host) => Ok(host),
            Place::Gpu(_) | Place::Both(_) => Err(DeviceError::Foreign),
        }
    }

    pub(crate) fn host_mut(&mut self) -> Result<&mut Vec<Fr>, DeviceError> {
        match &mut self.place {
            Place::Host(host) => Ok(host),
            Place::Gpu(_) | Place::Both(_) => Err(DeviceError::Foreign),
        }
    }
}

impl Drop for FrVec {
    fn drop(&mut self) {
        // A buffer of a GPU overwrites itself.
        if let Place::Host(host) = &mut self.place {
            host.zeroize();
        }
    }
}

impl fmt::Debug for FrVec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrVec({} scalars)", self.len())
    }
}

/// Values that a device reads for a while.
#[derive(Debug)]
pub struct Lent {
    pub(crate) vector: FrVec,
    /// Of the vector: first index and end.
    pub(crate) part: (usize, usize),
    /// All values, where the vector is a copy of the part.
    pub(crate) kept: Option<Zeroizing<Vec<Fr>>>,
}

impl Lent {
    /// The part of `values` that is to be lent.
    pub(crate) fn of<'a>(values: &'a [Fr], part: &Range<usize>) -> Result<&'a [Fr], DeviceError> {
        values.get(part.clone()).ok_or(DeviceError::Length {
            what: "a part of values",
            expected: values.len(),
            got: part.end,
        })
    }

    /// The part that was lent.
    #[must_use]
    pub fn part(&self) -> FrSlice<'_> {
        FrSlice {
            vector: &self.vector,
            range: self.part,
        }
    }
}

/// A part of an [`FrVec`].
#[derive(Clone, Copy)]
pub struct FrSlice<'a> {
    vector: &'a FrVec,
    /// First index and end; within the vector.
    range: (usize, usize),
}

impl<'a> FrSlice<'a> {
    /// A part of this part.
    ///
    /// # Errors
    /// [`DeviceError::Length`] when the range ends beyond it.
    pub fn slice(&self, range: Range<usize>) -> Result<Self, DeviceError> {
        if range.start > range.end || range.end > self.len() {
            return Err(DeviceError::Length {
                what: "a slice of a vector",
                expected: self.len(),
                got: range.end,
            });
        }
        let first = self.range.0;
        Ok(Self {
            vector: self.vector,
            range: (first + range.start, first + range.end),
        })
    }

    /// Number of scalars.
    #[must_use]
    pub fn len(&self) -> usize {
        self.range.1 - self.range.0
    }

    /// Whether there is no scalar.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn host(&self) -> Result<&'a [Fr], DeviceError> {
        Ok(&self.vector.host()?[self.range.0..self.range.1])
    }

    /// The vector that this is a part of, and the index of its first scalar.
    pub(crate) fn within(&self) -> (&'a FrVec, usize) {
        (self.vector, self.range.0)
    }
}

impl fmt::Debug for FrSlice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrSlice({} scalars)", self.len())
    }
}

/// A base whose multiples are tabulated once for many fixed-base products: for every c-bit window w the points
/// d·2^(c·w)·base, d = 1 ..= 2^(c−1).
pub struct FixedBase<C: Curve> {
    pub(crate) c: u32,
    pub(crate) n_windows: usize,
    /// Whether the base is not the point at infinity.
    pub(crate) finite: bool,
    /// 2^(c−1) multiples for each window, as raw words.
    pub(crate) table: Vec<C::Raw>,
}

impl<C: Curve> FixedBase<C> {
    /// Tabulates `base` for about `n_scalars` products.
    #[must_use]
    pub fn new(base: AffineOf<C>, n_scalars: usize) -> Self {
        crate::cpu::fixed_base::tabulate(base, n_scalars)
    }

    /// What the table of [`FixedBase::new`] for `n_scalars` products costs, without making it: the points in it, and the additions of one
    /// product.
    #[must_use]
    pub fn cost(n_scalars: usize) -> (usize, usize) {
        let (c, n_windows) = crate::cpu::fixed_base::shape(n_scalars);
        ((n_windows as usize) << (c - 1), n_windows as usize)
    }
}

impl<C: Curve> fmt::Debug for FixedBase<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "FixedBase<{}>({} windows of {} bits)",
            C::NAME,
            self.n_windows,
            self.c
        )
    }
}

/// Why a device operation failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// Two operands do not have the lengths the operation needs.
    #[error("{what}: expected {expected} elements, got {got}")]
    Length {
        /// The operation or operand.
        what: &'static str,
        /// The length needed.
        expected: usize,
        /// The length given.
        got: usize,
    },
    /// The points of a transform are shifted by 0: they are one point.
    #[error("the points of a transform are shifted by zero")]
    ZeroShift,
    /// A scalar is outside the class the caller promised.
    #[error("scalar {index} is outside the promised class {class:?}")]
    OutOfClass {
        /// Index of the scalar.
        index: usize,
        /// The promise.
        class: ScalarClass,
    },
    /// The operating system gives no memory for a table.
    #[error("no memory for a table of bases: {0}")]
    Table(std::io::Error),
    /// The bases could not be read.
    #[error(transparent)]
    Bases(#[from] BasesError),
    /// Two devices that are compared have different results.
    #[error("two devices disagree on {operation}, first at element {index}")]
    Disagreement {
        /// The operation.
        operation: &'static str,
        /// Index of the first element that differs; 0 where there is one result.
        index: usize,
    },
    /// A vector of another device.
    #[error("the vector belongs to another device")]
    Foreign,
    /// What is to be run over rows is no program.
    #[error("a program over rows: {0}")]
    Lines(#[from] LinesError),
    /// A GPU failed, or has no memory left.
    #[error(transparent)]
    Gpu(#[from] DriverError),
}
