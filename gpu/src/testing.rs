//! # The suite that every device must pass
//!
//! Each operation of a [`Device`] is compared with the sentence of its documentation, computed the slow way: sums of
//! double-and-add products (for many points, one product by the sum of known logarithms), polynomials evaluated term by term. The inputs are fixed: no randomness, no clock.

mod mock;
pub(crate) mod vectors;

pub use mock::{MockGpu, mock_driver};

use std::sync::Arc;

use ark_bn254::Fr;
use ark_ec::short_weierstrass::Projective;
use ark_ec::{AffineRepr, CurveGroup, PrimeGroup};
use ark_ff::{AdditiveGroup, FftField, Field, PrimeField, Zero};
use thiserror::Error;

use crate::bases::Bases;
use crate::cuda::emulator::Emulator;
use crate::cuda::failing::Failing;
use crate::cuda::{Cuda, DriverError, checks};
use crate::curve::{AffineOf, Curve, G1, G2, ProjectiveOf};
use crate::device::{Device, DeviceError, Direction, FixedBase, FrSlice, NO_GROUP, Points};
use crate::domain::Domain;
use crate::field::ScalarClass;

/// Terms of the largest multiplication of the suite: more than one block of the CPU's, and not a power of two.
const N_MSM: usize = 9001;

/// What a device got wrong.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// The result differs from the oracle's.
    #[error("{operation} of {len} elements ({case}) differs from the oracle")]
    Value {
        /// The operation.
        operation: &'static str,
        /// Number of elements.
        len: usize,
        /// Which inputs.
        case: &'static str,
    },
    /// One result of many differs from the oracle's.
    #[error("{operation}: result {index} differs from the oracle's")]
    Element {
        /// The operation.
        operation: &'static str,
        /// Index of the first result that differs.
        index: usize,
    },
    /// An input that must be refused was accepted.
    #[error("{operation} accepted {case}")]
    Accepted {
        /// The operation.
        operation: &'static str,
        /// The wrong input.
        case: &'static str,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The machine below the device failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// Runs the whole suite.
///
/// # Errors
/// The first [`Mismatch`].
pub fn check_device(device: &dyn Device) -> Result<(), Mismatch> {
    check_transforms(device)?;
    check_element_wise(device)?;
    vectors::check(device)?;
    check_msm::<G1>(device, &|bases, scalars, class| {
        device.msm_g1(bases, scalars, class)
    })?;
    check_msm::<G2>(device, &|bases, scalars, class| {
        device.msm_g2(bases, scalars, class)
    })?;
    check_tables::<G1>(
        device,
        &|bases, scalars, class| device.msm_g1(bases, scalars, class),
        &|bases, n_full, max_bytes| device.tabulate_g1(bases, n_full, max_bytes),
    )?;
    check_tables::<G2>(
        device,
        &|bases, scalars, class| device.msm_g2(bases, scalars, class),
        &|bases, n_full, max_bytes| device.tabulate_g2(bases, n_full, max_bytes),
    )?;
    check_grouped(device)?;
    check_fixed_base::<G1>(&|base, scalars| device.fixed_base_g1(base, scalars))?;
    check_fixed_base::<G2>(&|base, scalars| device.fixed_base_g2(base, scalars))
}

/// The CUDA device over kernels that the machine's C++ compiler (`$CXX`, or `c++`) made for the CPU, for tests: as slow as it is exact.
/// `memory_bytes` is the memory that it pretends to have.
///
/// # Errors
/// There is no compiler.
pub fn emulated_gpu(memory_bytes: Option<u64>) -> Result<Cuda, DriverError> {
    Ok(Cuda::with_driver(Emulator::start(memory_bytes)?))
}

/// As [`emulated_gpu`], until it has done `calls` launches and copies: then it has failed.
///
/// # Errors
/// There is no compiler.
pub fn failing_gpu(calls: u32) -> Result<Cuda, DriverError> {
    let driver = Failing::new(Emulator::start(None)?, calls);
    Ok(Cuda::with_driver(Arc::new(driver)))
}

/// Runs `n` products of the device code's field and fewer of its other operations and point additions, and compares them with arkworks.
///
/// # Errors
/// The first [`Mismatch`].
pub fn check_arithmetic(device: &Cuda, n: usize) -> Result<(), Mismatch> {
    checks::check_arithmetic(device.driver(), n)
}

/// Compares transforms, element-wise operations and multiplications of `n` elements, a power of two, on two devices.
///
/// # Errors
/// The first [`Mismatch`].
pub fn check_agreement(device: &dyn Device, other: &dyn Device, n: usize) -> Result<(), Mismatch> {
    let Some(domain) = Domain::new(n).filter(|domain| domain.n() == n) else {
        return Ok(());
    };
    let full = scalars(21, n);
    let mixed: Vec<Fr> = (0..n)
        .map(|i| match i % 5 {
            0 => full[i],
            1 => -Fr::ONE,
            2 => Fr::ZERO,
            3 => Fr::from(i as u64),
            _ => Fr::ONE,
        })
        .collect();
    let vectors = |device: &dyn Device| -> Result<Vec<Fr>, DeviceError> {
        let mut a = device.upload(full.clone())?;
        device.to_coset(&mut a, &domain)?;
        let mut b = device.upload(mixed.clone())?;
        device.ntt(&mut b, &domain, Direction::Forward, Points::Subgroup)?;
        let c = device.upload(mixed.clone())?;
        device.mul_sub_scale(&mut a, &b, &c, full[0])?;
        device.mul_pointwise(&mut b, &c)?;
        device.ntt(&mut b, &domain, Direction::Inverse, Points::Coset)?;
        let table = device.upload(full.clone())?;
        let indices: Vec<u32> = (0..n as u32).map(|i| i * 3 % (2 * n as u32)).collect();
        let few = scalars(22, 4);
        let mut d = device.lookup(&table, &few[..2], &indices[..n / 2])?;
        device.invert(&mut d)?;
        let end = device.running_products(&mut d, few[0])?;
        let remainder = device.divide(&mut d, few[1])?;
        device.combine(&mut a, &[(few[0], &b), (Fr::ONE, &c)])?;
        let mut mixed = [a, b];
        device.mix(&mut mixed, &[few[..2].to_vec(), few[2..].to_vec()])?;
        let [mut a, b] = mixed;
        for lines in vectors::programs() {
            let columns = vec![&b; lines.n_columns()];
            device.run_lines(&mut a, &lines, &columns, &few[..lines.n_uniform()], few[0])?;
        }
        let mut all = vec![end, remainder, device.evaluate(&b, few[0])?];
        for vector in [a, b, d] {
            all.extend(device.download(vector)?);
        }
        Ok(all)
    };
    ensure(
        vectors(device)? == vectors(other)?,
        "transforms",
        n,
        "two devices",
    )?;
    let (g1, g2) = (points::<G1>(n).0, points::<G2>(n).0);
    let sums = |device: &dyn Device, scalars: &[Fr]| -> Result<_, DeviceError> {
        let (g1, g2) = (
            Bases::<G1>::from_points(g1.clone()),
            Bases::<G2>::from_points(g2.clone()),
        );
        let vector = device.upload(scalars.to_vec())?;
        let whole = vector.as_slice();
        let flat = device.msm_g1(&g1, whole, ScalarClass::Full)?;
        device.tabulate_g1(&g1, n, u64::MAX)?;
        Ok((
            flat,
            device.msm_g1(&g1, whole, ScalarClass::Full)?,
            device.msm_g2(&g2, whole, ScalarClass::Full)?,
        ))
    };
    for (case, scalars) in [("full-size", &full), ("mixed", &mixed)] {
        let same = sums(device, scalars)? == sums(other, scalars)?;
        ensure(same, "multiplications on two devices", n, case)?;
    }
    Ok(())
}

/// Σ scalar_i·base_i by double and add: the oracle of a multi-scalar multiplication.
pub fn naive_msm<C: Curve>(bases: &[AffineOf<C>], scalars: &[Fr]) -> ProjectiveOf<C> {
    bases
        .iter()
        .zip(scalars)
        .map(|(base, scalar)| base.mul_bigint(scalar.into_bigint()))
        .fold(Projective::ZERO, |sum, product| sum + product)
}

/// A fixed sequence of full-size scalars: xorshift64* words, four a scalar.
#[must_use]
pub fn scalars(seed: u64, len: usize) -> Vec<Fr> {
    let mut state = seed | 1;
    let mut word = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    };
    (0..len)
        .map(|_| {
            let bytes: Vec<u8> = (0..4).flat_map(|_| word().to_le_bytes()).collect();
            Fr::from_le_bytes_mod_order(&bytes)
        })
        .collect()
}

/// The first `len` of a fixed sequence of points, cheap to make, with their discrete logarithms: P, P + Q, P + 2Q, … with a
/// point at infinity and a repeated point among them.
#[must_use]
pub fn points<C: Curve>(len: usize) -> (Vec<AffineOf<C>>, Vec<Fr>) {
    let (first, step) = (Fr::from(77u64), Fr::from(0x1234_5678_9ABCu64));
    let step_point = ProjectiveOf::<C>::generator() * step;
    let (mut point, mut logarithm) = (ProjectiveOf::<C>::generator() * first, first);
    let (mut multiples, mut logarithms) = (Vec::with_capacity(len), Vec::with_capacity(len));
    for _ in 0..len {
        multiples.push(point);
        logarithms.push(logarithm);
        point += step_point;
        logarithm += step;
    }
    let mut points = Projective::normalize_batch(&multiples);
    if len > 5 {
        (points[3], logarithms[3]) = (AffineOf::<C>::zero(), Fr::ZERO);
        (points[4], logarithms[4]) = (points[5], logarithms[5]);
    }
    (points, logarithms)
}

/// values_i ← values_i·factorⁿ by n products each, on this thread, by the portable code or in vector instructions where they are:
/// for benches.
pub fn multiply_repeatedly(values: &mut [Fr], factor: Fr, n: usize, lanes: bool) {
    crate::cpu::vectors::mul_repeatedly(values, factor, n, lanes);
}

fn check_transforms(device: &dyn Device) -> Result<(), Mismatch> {
    for log_n in [0usize, 1, 3, 6, 8, 9] {
        let len = 1usize << log_n;
        let Some(standard) = Domain::new(len) else {
            continue;
        };
        let other = Domain::with_root(standard.log_n(), standard.root().pow([3]));
        let n = len as u64;
        let full = scalars(n, len);
        for domain in [Some(standard), other].into_iter().flatten() {
            let inputs = [
                ("full-size", full.clone()),
                ("all zero", vec![Fr::ZERO; len]),
                ("all -1", vec![-Fr::ONE; len]),
                (
                    "a single one",
                    (0..n).map(|i| Fr::from(u64::from(i == n / 3))).collect(),
                ),
            ];
            for (case, coefficients) in inputs {
                check_transform(device, &domain, case, &coefficients)?;
            }
        }
        check_refused_transforms(device, len)?;
    }
    Ok(())
}

fn check_transform(
    device: &dyn Device,
    domain: &Domain,
    case: &'static str,
    coefficients: &[Fr],
) -> Result<(), Mismatch> {
    let len = coefficients.len();
    let shift = Fr::from(1_000_003u64);
    let mut on_subgroup = Vec::new();
    for (points, offset) in [
        (Points::Subgroup, Fr::ONE),
        (Points::Coset, Fr::GENERATOR),
        (Points::Shifted(shift), shift),
    ] {
        let mut vector = device.upload(coefficients.to_vec())?;
        device.ntt(&mut vector, domain, Direction::Forward, points)?;
        let values = device.download(vector)?;
        let expected: Vec<Fr> = (0..len as u64)
            .map(|i| evaluate(coefficients, offset * domain.root().pow([i])))
            .collect();
        ensure(values == expected, "forward transform", len, case)?;
        let mut vector = device.upload(values.clone())?;
        device.ntt(&mut vector, domain, Direction::Inverse, points)?;
        let back = device.download(vector)?;
        ensure(back == coefficients, "inverse transform", len, case)?;
        match points {
            Points::Subgroup => on_subgroup = values,
            Points::Coset => {
                let mut vector = device.upload(on_subgroup.clone())?;
                device.to_coset(&mut vector, domain)?;
                let on_coset = device.download(vector)?;
                ensure(on_coset == values, "transform to the coset", len, case)?;
            }
            Points::Shifted(_) => {}
        }
    }
    Ok(())
}

fn check_refused_transforms(device: &dyn Device, len: usize) -> Result<(), Mismatch> {
    let Some(domain) = Domain::new(len) else {
        return Ok(());
    };
    let mut wrong = device.upload(vec![Fr::ONE; len + 1])?;
    let (forward, subgroup) = (Direction::Forward, Points::Subgroup);
    if device.ntt(&mut wrong, &domain, forward, subgroup).is_ok()
        || device.to_coset(&mut wrong, &domain).is_ok()
    {
        return Err(Mismatch::Accepted {
            operation: "transform",
            case: "a vector longer than the domain",
        });
    }
    let mut vector = device.upload(vec![Fr::ONE; len])?;
    let zero = Points::Shifted(Fr::ZERO);
    if device.ntt(&mut vector, &domain, forward, zero).is_ok() {
        return Err(Mismatch::Accepted {
            operation: "transform",
            case: "points shifted by zero",
        });
    }
    Ok(())
}

fn evaluate(coefficients: &[Fr], x: Fr) -> Fr {
    coefficients
        .iter()
        .rev()
        .fold(Fr::ZERO, |sum, coefficient| sum * x + coefficient)
}

fn check_element_wise(device: &dyn Device) -> Result<(), Mismatch> {
    for len in [0usize, 1, 1000, 10_000] {
        let (a, b, c) = (scalars(1, len), scalars(2, len), scalars(3, len));
        let scale = Fr::from(12_345u64);
        let mut vector = device.upload(a.clone())?;
        let (second, third) = (device.upload(b.clone())?, device.upload(c.clone())?);
        device.mul_sub_scale(&mut vector, &second, &third, scale)?;
        let expected: Vec<Fr> = (0..len).map(|i| (a[i] * b[i] - c[i]) * scale).collect();
        ensure(
            device.download(vector)? == expected,
            "mul_sub_scale",
            len,
            "any",
        )?;
        let mut vector = device.upload(a.clone())?;
        device.mul_pointwise(&mut vector, &second)?;
        let expected: Vec<Fr> = (0..len).map(|i| a[i] * b[i]).collect();
        ensure(
            device.download(vector)? == expected,
            "mul_pointwise",
            len,
            "any",
        )?;
        let mut longer = device.upload(vec![Fr::ONE; len + 1])?;
        if device.mul_pointwise(&mut longer, &second).is_ok() {
            return Err(Mismatch::Accepted {
                operation: "mul_pointwise",
                case: "vectors of two lengths",
            });
        }
    }
    Ok(())
}

type Msm<'a, C> =
    dyn Fn(&Bases<C>, FrSlice<'_>, ScalarClass) -> Result<ProjectiveOf<C>, DeviceError> + 'a;

fn check_msm<C: Curve>(device: &dyn Device, msm: &Msm<'_, C>) -> Result<(), Mismatch> {
    let operation = C::NAME;
    let full = scalars(9, N_MSM);
    let word = |i: usize| full[i].into_bigint().0[0];
    let small = |bits: u32| -> Vec<Fr> {
        (0..full.len())
            .map(|i| {
                let magnitude = Fr::from(word(i) >> (64 - bits));
                if i % 3 == 0 { -magnitude } else { magnitude }
            })
            .collect()
    };
    let mixed: Vec<Fr> = (0..full.len())
        .map(|i| match i % 7 {
            0 => full[i],
            1 => Fr::ONE,
            2 => -Fr::ONE,
            3 => Fr::ZERO,
            4 => -Fr::from(word(i) >> 48),
            5 => -full[i],
            _ => Fr::from(word(i) >> 20),
        })
        .collect();
    let bits: Vec<Fr> = (0..full.len()).map(|i| Fr::from(word(i) & 1)).collect();
    let half = Fr::from(Fr::MODULUS_MINUS_ONE_DIV_TWO);
    let cases: Vec<(&'static str, Vec<Fr>, ScalarClass)> = vec![
        ("full-size", full.clone(), ScalarClass::Full),
        ("mixed", mixed, ScalarClass::Full),
        ("bits", bits, ScalarClass::Unit01),
        ("8 bits", small(8), ScalarClass::Small { bits: 8 }),
        ("16 bits", small(16), ScalarClass::Small { bits: 16 }),
        ("64 bits", small(64), ScalarClass::Small { bits: 64 }),
        ("all equal", vec![full[0]; N_MSM], ScalarClass::Full),
        ("all zero", vec![Fr::ZERO; N_MSM], ScalarClass::Unit01),
        (
            "extremes",
            [half, half + Fr::ONE, -Fr::ONE, Fr::ONE]
                .into_iter()
                .cycle()
                .take(N_MSM)
                .collect(),
            ScalarClass::Full,
        ),
    ];
    for (case, scalars, class) in cases {
        for len in [0, 1, 2, 33, N_MSM] {
            let (points, logarithms) = points::<C>(len);
            let expected = match len {
                N_MSM => {
                    let sum: Fr = scalars.iter().zip(&logarithms).map(|(s, l)| *s * l).sum();
                    ProjectiveOf::<C>::generator() * sum
                }
                _ => naive_msm::<C>(&points, &scalars[..len]),
            };
            let vector = device.upload(scalars.clone())?;
            let got = msm(&Bases::from_points(points), vector.slice(0..len)?, class)?;
            ensure(got == expected, operation, len, case)?;
        }
    }

    let bases = Bases::<C>::from_points(points::<C>(4).0);
    let refused = |values: Vec<Fr>, class, case| -> Result<(), Mismatch> {
        let vector = device.upload(values)?;
        match msm(&bases, vector.as_slice(), class) {
            Err(_) => Ok(()),
            Ok(_) => Err(Mismatch::Accepted { operation, case }),
        }
    };
    refused(vec![Fr::ONE; 3], ScalarClass::Full, "too few scalars")?;
    let three = Fr::from(3u64);
    refused(
        vec![three; 4],
        ScalarClass::Unit01,
        "3 in the class of bits",
    )?;
    refused(
        vec![-Fr::ONE; 4],
        ScalarClass::Unit01,
        "−1 in the class of bits",
    )?;
    refused(
        vec![-three.square(); 4],
        ScalarClass::Small { bits: 3 },
        "−9 in a class of 3 bits",
    )
}

type Tabulate<'a, C> = dyn Fn(&Bases<C>, usize, u64) -> Result<u64, DeviceError> + 'a;

fn check_tables<C: Curve>(
    device: &dyn Device,
    msm: &Msm<'_, C>,
    tabulate: &Tabulate<'_, C>,
) -> Result<(), Mismatch> {
    let operation = "multiplication with a table";
    for len in [0usize, 1, 2, 33, 300] {
        let (points, _) = points::<C>(len);
        let full = scalars(11, len);
        let power = |i: usize| Fr::from(2u64).pow([i as u64 % 254]);
        let cases: [(&'static str, Vec<Fr>); 5] = [
            ("full-size", full.clone()),
            ("all zero", vec![Fr::ZERO; len]),
            ("all −1", vec![-Fr::ONE; len]),
            ("powers of two", (0..len).map(power).collect()),
            (
                "mixed",
                (0..len)
                    .map(|i| match i % 6 {
                        0 => full[i],
                        1 => Fr::ONE,
                        2 => -Fr::ONE,
                        3 => -power(i),
                        4 => Fr::from(Fr::MODULUS_MINUS_ONE_DIV_TWO),
                        _ => power(i) - Fr::ONE,
                    })
                    .collect(),
            ),
        ];
        let expected = cases.each_ref().map(|(_, s)| naive_msm::<C>(&points, s));
        // no table, a narrow one, the best
        for (n_full, max_bytes) in [(len, 0), (0, u64::MAX), (len, 1 << 20), (len, u64::MAX)] {
            let bases = Bases::<C>::from_points(points.clone());
            let bytes = tabulate(&bases, n_full, max_bytes)?;
            ensure(bytes <= max_bytes, "memory of a table", len, C::NAME)?;
            let again = tabulate(&bases, n_full, max_bytes)?;
            ensure(bytes == again, "memory of a table", len, "made again")?;
            for ((case, scalars), expected) in cases.iter().zip(&expected) {
                let vector = device.upload(scalars.clone())?;
                let got = msm(&bases, vector.as_slice(), ScalarClass::Full)?;
                ensure(got == *expected, operation, len, case)?;
            }
        }
    }
    Ok(())
}

type Fixed<'a, C> = dyn Fn(&FixedBase<C>, &[Fr]) -> Result<Vec<AffineOf<C>>, DeviceError> + 'a;

fn check_grouped(device: &dyn Device) -> Result<(), Mismatch> {
    for (len, n_groups) in [(0usize, 0usize), (40, 3), (N_MSM, 1), (N_MSM, 500)] {
        let (points, _) = points::<G1>(len);
        let values = scalars(9, n_groups);
        // some groups are empty, one is large, and some bases are in none
        let groups: Vec<u32> = (0..len)
            .map(|i| match i % 7 {
                0 => NO_GROUP,
                1 => 0,
                _ => (i * i % n_groups.div_ceil(2)) as u32,
            })
            .collect();
        let each: Vec<Fr> = groups
            .iter()
            .map(|group| values.get(*group as usize).copied().unwrap_or(Fr::ZERO))
            .collect();
        let expected = naive_msm::<G1>(&points, &each);
        let bases = Bases::from_points(points);
        let values = device.upload(values)?;
        let sum = device.msm_grouped_g1(&bases, &groups, values.as_slice())?;
        ensure(sum == expected, "grouped multiplication", len, "G1")?;
    }
    let bases = Bases::from_points(points::<G1>(2).0);
    let values = device.upload(scalars(9, 3))?;
    for (groups, case) in [
        (&[0, 3][..], "a group without a value"),
        (&[0][..], "fewer groups than bases"),
    ] {
        let refused = device.msm_grouped_g1(&bases, groups, values.as_slice());
        if !matches!(refused, Err(DeviceError::Length { .. })) {
            let operation = "grouped multiplication";
            return Err(Mismatch::Accepted { operation, case });
        }
    }
    Ok(())
}

fn check_fixed_base<C: Curve>(multiply: &Fixed<'_, C>) -> Result<(), Mismatch> {
    let base = points::<C>(1).0[0];
    for len in [0usize, 1, 40, 1500] {
        let table = FixedBase::<C>::new(base, len);
        let mut scalars = scalars(5, len);
        for (scalar, special) in scalars.iter_mut().zip([Fr::ZERO, Fr::ONE, -Fr::ONE]) {
            *scalar = special;
        }
        let products = multiply(&table, &scalars)?;
        let right = products.len() == len
            && products
                .iter()
                .zip(&scalars)
                .all(|(product, scalar)| (base * scalar - product).is_zero());
        ensure(right, "fixed-base products", len, C::NAME)?;
    }
    Ok(())
}

fn ensure(
    right: bool,
    operation: &'static str,
    len: usize,
    case: &'static str,
) -> Result<(), Mismatch> {
    if right {
        Ok(())
    } else {
        Err(Mismatch::Value {
            operation,
            len,
            case,
        })
    }
}
