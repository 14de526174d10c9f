//! # Checks of the device code's arithmetic against arkworks
//!
//! The same for the emulation and for a GPU: vectors of operands go down, results come back and are compared.

use std::sync::Arc;

use ark_bn254::{Fq, Fq2, Fr};
use ark_ec::short_weierstrass::Projective;
use ark_ec::{AdditiveGroup, AffineRepr, CurveGroup};
use ark_ff::{BigInt, Field, MontConfig, PrimeField, Zero};

use super::Cuda;
use super::driver::{Arg, Driver, DriverError, Kernel, Unit};
use super::memory::Buffer;
use crate::curve::{AffineOf, Curve, G1, G2, Limbs, ProjectiveOf, Row, raw_of};
use crate::testing::{Mismatch, check_agreement, points, scalars};

/// Threads of a block.
const BLOCK: u32 = 128;

/// Runs `n` products and fewer of the other operations, and point additions of every kind.
///
/// # Errors
/// The first [`Mismatch`].
pub(crate) fn check_arithmetic(driver: &Arc<dyn Driver>, n: usize) -> Result<(), Mismatch> {
    let few = (n / 8).max(64);
    let (a, b) = (operands::<Fq>(1, n), operands::<Fq>(2, n));
    check(driver, "field_mul_fq", &a, &b, |a, b| *a * b)?;
    let (a, b) = (&a[..few], &b[..few]);
    check(driver, "field_sqr_fq", a, b, |a, _| a.square())?;
    check(driver, "field_add_fq", a, b, |a, b| *a + b)?;
    check(driver, "field_sub_fq", a, b, |a, b| *a - b)?;
    check(driver, "field_difference_fq", a, b, |a, b| {
        *a * b - b.double() * (*a - b)
    })?;
    check(driver, "field_lazy_fq", a, b, |a, b| {
        ((*a + b) * (*a - b) + *a * (*a + b)).double()
    })?;
    let inverted = 64.min(few);
    check(driver, "field_inverse_fq", &a[..inverted], &b[..inverted], |a, _| {
        a.inverse().unwrap_or(Fq::ZERO)
    })?;
    let (a, b) = (operands::<Fr>(3, few), operands::<Fr>(4, few));
    check(driver, "field_mul_fr", &a, &b, |a, b| *a * b)?;
    check(driver, "field_sqr_fr", &a, &b, |a, _| a.square())?;
    check(driver, "field_sub_fr", &a, &b, |a, b| *a - b)?;
    let (a, b) = (&a[..inverted], &b[..inverted]);
    check(driver, "field_inverse_fr", a, b, |a, _| {
        a.inverse().unwrap_or(Fr::ZERO)
    })?;
    let pairs = |seed| -> Vec<Fq2> {
        let parts = operands::<Fq>(seed, 2 * few);
        parts.chunks(2).map(|c| Fq2::new(c[0], c[1])).collect()
    };
    let (a, b) = (pairs(5), pairs(6));
    check(driver, "field_mul_fq2", &a, &b, |a, b| *a * b)?;
    check(driver, "field_sqr_fq2", &a, &b, |a, _| a.square())?;
    check_additions::<G1>(driver, "field_add_affine_g1", "field_add_g1")?;
    check_additions::<G2>(driver, "field_add_affine_g2", "field_add_g2")
}

/// A few operations, multiplications and transforms: what tells a GPU that computes from one that does not.
///
/// # Errors
/// The first [`Mismatch`].
pub(crate) fn check_briefly(driver: &Arc<dyn Driver>) -> Result<(), Mismatch> {
    let device = Cuda::with_driver(Arc::clone(driver));
    let n = 1 << 10;
    check_agreement(&device, &crate::Cpu, n)
}

/// Elements at the borders of the field and of limbs, then elements spread over it.
fn operands<F: PrimeField<BigInt = BigInt<4>>>(seed: u64, n: usize) -> Vec<F> {
    let power = |e: u64| F::from(2u64).pow([e]);
    let mut corners = vec![F::ZERO, F::ONE, -F::ONE, F::from(2u64), -F::from(2u64)];
    for e in [31, 32, 33, 63, 64, 95, 128, 160, 192, 224, 252, 253, 254, 255, 256] {
        corners.extend([power(e), -power(e), power(e) - F::ONE]);
        // The same as words, whatever the form.
        corners.extend(power(256).inverse().map(|r| power(e) * r));
    }
    corners.extend(F::from(F::MODULUS_MINUS_ONE_DIV_TWO).inverse());
    // Every corner meets every other one.
    let m = corners.len();
    let corner = |i: usize| match seed % 2 {
        0 => corners[i % m],
        _ => corners[i / m % m],
    };
    let spread = scalars(seed, n.saturating_sub(m * m));
    (0..n.min(m * m))
        .map(corner)
        .chain(spread.iter().map(|s| F::from_bigint(s.into_bigint()).unwrap_or(F::ONE)))
        .collect()
}

/// An element as the rows of its Montgomery form.
trait Words: Copy + PartialEq {
    fn rows(&self, rows: &mut Vec<Row>);
    fn of(rows: &[Row]) -> Self;
    const ROWS: usize;
}

impl<P: MontConfig<4>> Words for ark_ff::Fp<ark_ff::MontBackend<P, 4>, 4> {
    fn rows(&self, rows: &mut Vec<Row>) {
        rows.push(self.0.0);
    }

    fn of(rows: &[Row]) -> Self {
        Self::new_unchecked(BigInt(rows[0]))
    }

    const ROWS: usize = 1;
}

impl Words for Fq2 {
    fn rows(&self, rows: &mut Vec<Row>) {
        rows.extend([self.c0.0.0, self.c1.0.0]);
    }

    fn of(rows: &[Row]) -> Self {
        Self::new(Words::of(&rows[..1]), Words::of(&rows[1..]))
    }

    const ROWS: usize = 2;
}

fn check<F: Words>(
    driver: &Arc<dyn Driver>,
    name: &'static str,
    left: &[F],
    right: &[F],
    expected: impl Fn(&F, &F) -> F,
) -> Result<(), Mismatch> {
    let bytes = |elements: &[F]| -> Vec<Row> {
        let mut rows = Vec::with_capacity(elements.len() * F::ROWS);
        elements.iter().for_each(|element| element.rows(&mut rows));
        rows
    };
    let (a, b) = (bytes(left), bytes(right));
    let a = Buffer::of(driver, bytemuck::cast_slice(&a))?;
    let b = Buffer::of(driver, bytemuck::cast_slice(&b))?;
    let out = Buffer::new(driver, a.bytes())?;
    let n = left.len() as u32;
    launch(driver, name, n, &[out.arg(), a.arg(), b.arg(), Arg::U32(n)])?;
    let mut rows = vec![Row::default(); left.len() * F::ROWS];
    out.read(0, bytemuck::cast_slice_mut(&mut rows))?;
    for (got, (a, b)) in rows.chunks(F::ROWS).zip(left.iter().zip(right)) {
        if F::of(got) != expected(a, b) {
            return Err(mismatch(name, left.len()));
        }
    }
    Ok(())
}

fn launch(
    driver: &Arc<dyn Driver>,
    name: &'static str,
    n: u32,
    args: &[Arg],
) -> Result<(), DriverError> {
    let kernel = Kernel {
        unit: Unit::Field,
        name,
    };
    driver.launch(kernel, n.div_ceil(BLOCK), BLOCK, 0, args)
}

fn mismatch(operation: &'static str, len: usize) -> Mismatch {
    Mismatch::Value {
        operation,
        len,
        case: "operands at the borders, then spread ones",
    }
}

/// Sums of points in general position, equal, opposite and infinite, each against each other, in coordinates of every scale.
fn check_additions<C: Curve>(
    driver: &Arc<dyn Driver>,
    affine: &'static str,
    full: &'static str,
) -> Result<(), Mismatch>
where
    <C::Config as ark_ec::CurveConfig>::BaseField: Words,
{
    let (mut kinds, _) = points::<C>(9);
    kinds.push(AffineOf::<C>::zero());
    kinds.push(-kinds[0]);
    kinds.push((kinds[0] + kinds[0]).into_affine());
    let n = kinds.len();
    let left: Vec<AffineOf<C>> = (0..n * n).map(|i| kinds[i / n]).collect();
    let right: Vec<AffineOf<C>> = (0..n * n).map(|i| kinds[i % n]).collect();
    let expected: Vec<ProjectiveOf<C>> = left.iter().zip(&right).map(|(l, r)| *l + r).collect();
    let sums = |buffer: &Buffer| -> Result<Vec<ProjectiveOf<C>>, DriverError> {
        sums_of::<C>(buffer, 0, left.len())
    };
    let scaled = |points: &[AffineOf<C>], seed: u64| -> Vec<Row> {
        let scales = scalars(seed, points.len());
        let mut rows = Vec::new();
        for (point, scale) in points.iter().zip(scales) {
            xyzz_rows::<C>(point, scale, &mut rows);
        }
        rows
    };
    let count = Arg::U32(left.len() as u32);
    let raw: Vec<C::Raw> = right.iter().map(raw_of::<C>).collect();
    let start = scaled(&left, 7);
    let out = Buffer::of(driver, bytemuck::cast_slice(&start))?;
    let points = Buffer::of(driver, bytemuck::cast_slice(&raw))?;
    launch(driver, affine, left.len() as u32, &[out.arg(), points.arg(), count])?;
    if sums(&out)? != expected {
        return Err(mismatch(affine, left.len()));
    }
    let out = Buffer::of(driver, bytemuck::cast_slice(&start))?;
    let others = Buffer::of(driver, bytemuck::cast_slice(&scaled(&right, 8)))?;
    launch(driver, full, left.len() as u32, &[out.arg(), others.arg(), count])?;
    if sums(&out)? != expected {
        return Err(mismatch(full, left.len()));
    }
    Ok(())
}

/// Appends X = x·z², Y = y·z³, ZZ = z², ZZZ = z³ for z = `scale`; zeros for infinity.
fn xyzz_rows<C: Curve>(point: &AffineOf<C>, scale: Fr, rows: &mut Vec<Row>)
where
    <C::Config as ark_ec::CurveConfig>::BaseField: Words,
{
    type Base<C> = <<C as Curve>::Config as ark_ec::CurveConfig>::BaseField;
    let Some((x, y)) = point.xy() else {
        let zero = Base::<C>::ZERO;
        (0..4).for_each(|_| Words::rows(&zero, rows));
        return;
    };
    let limbs = scale.into_bigint().0;
    let z = Base::<C>::from(limbs[0] | 1);
    let (zz, zzz) = (z.square(), z.square() * z);
    for value in [x * zz, y * zzz, zz, zzz] {
        Words::rows(&value, rows);
    }
}

/// `n` sums in XYZZ coordinates from byte `offset` on.
pub(crate) fn sums_of<C: Curve>(
    buffer: &Buffer,
    offset: usize,
    n: usize,
) -> Result<Vec<ProjectiveOf<C>>, DriverError> {
    let per_coordinate = C::POINT_BYTES / 64;
    let mut rows = vec![Row::default(); 4 * per_coordinate * n];
    buffer.read(offset, bytemuck::cast_slice_mut(&mut rows))?;
    Ok(rows
        .chunks(4 * per_coordinate)
        .map(|rows| projective_of::<C>(rows))
        .collect())
}

/// A point from its XYZZ coordinates, each below 2^256 and taken modulo q.
fn projective_of<C: Curve>(rows: &[Row]) -> ProjectiveOf<C> {
    type Base<C> = <<C as Curve>::Config as ark_ec::CurveConfig>::BaseField;
    let per_coordinate = rows.len() / 4;
    let coordinate = |i: usize| {
        Base::<C>::from_rows(&rows[i * per_coordinate..(i + 1) * per_coordinate])
    };
    let [x, y, zz, zzz] = [0, 1, 2, 3].map(coordinate);
    if zz.is_zero() {
        return Projective::ZERO;
    }
    let inverse = (zz * zzz).inverse().unwrap_or_default();
    AffineOf::<C>::new_unchecked(x * inverse * zzz, y * inverse * zz).into()
}
