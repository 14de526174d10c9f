use ark_ff::AdditiveGroup;
use ark_poly::EvaluationDomain;

use super::*;
use crate::cuda::emulator::Emulator;
use crate::device::Points;
use crate::testing::scalars;

fn emulated(memory_bytes: Option<u64>) -> Arc<dyn Driver> {
    Emulator::start(memory_bytes).expect("a C++ compiler")
}

fn domains(log_n: u32) -> Vec<Domain> {
    let standard = Domain::new(1 << log_n).expect("a small domain");
    let other = Domain::with_root(log_n, standard.root().pow([3])).expect("of the same order");
    vec![standard, other]
}

/// Forward and inverse on the subgroup, on the coset and on other points, and from the subgroup to the coset.
fn check(driver: &Arc<dyn Driver>, plans: &Plans, domain: &Domain, coefficients: &[Fr]) {
    let n = domain.n();
    let mut on_subgroup = Vec::new();
    for (points, shift) in [
        (Points::Subgroup, None),
        (Points::Coset, Some(domain.coset_offset())),
        (
            Points::Shifted(Fr::from(1_000_003u64)),
            Some(Fr::from(1_000_003u64)),
        ),
    ] {
        let expected = domain
            .points(points)
            .expect("not shifted by zero")
            .fft(coefficients);
        let mut vector = Buffer::of_scalars(driver, coefficients).expect("memory");
        transform(
            driver,
            plans,
            &mut vector,
            domain,
            Direction::Forward,
            shift,
        )
        .expect("memory");
        assert!(
            vector.scalars().expect("a copy") == expected,
            "{n}, forward, {points:?}"
        );
        transform(
            driver,
            plans,
            &mut vector,
            domain,
            Direction::Inverse,
            shift,
        )
        .expect("memory");
        assert!(
            vector.scalars().expect("a copy") == coefficients,
            "{n}, inverse, {points:?}"
        );
        match points {
            Points::Subgroup => on_subgroup = expected,
            Points::Coset => {
                let mut vector = Buffer::of_scalars(driver, &on_subgroup).expect("memory");
                to_coset(driver, plans, &mut vector, domain).expect("memory");
                assert!(
                    vector.scalars().expect("a copy") == expected,
                    "{n}, to the coset"
                );
            }
            Points::Shifted(_) => {}
        }
    }
}

#[test]
fn transforms_of_every_number_of_passes_are_those_of_arkworks() {
    let driver = emulated(None);
    let plans = Plans::default();
    for log_n in (0..=13).chain([17]) {
        for domain in domains(log_n) {
            check(
                &driver,
                &plans,
                &domain,
                &scalars(u64::from(log_n), domain.n()),
            );
        }
    }
}

#[test]
fn transforms_of_extreme_values_are_those_of_arkworks() {
    let driver = emulated(None);
    let plans = Plans::default();
    for log_n in [1, 2, 5, 8, 10] {
        for domain in domains(log_n) {
            for value in [Fr::ZERO, Fr::ONE, -Fr::ONE] {
                check(&driver, &plans, &domain, &vec![value; domain.n()]);
            }
            let alternating: Vec<Fr> = (0..domain.n() as u64)
                .map(|i| Fr::from(i & 1) - Fr::ONE)
                .collect();
            check(&driver, &plans, &domain, &alternating);
        }
    }
}

#[test]
fn a_transform_without_memory_leaves_the_vector_and_plans_make_room() {
    let n = 1 << 10;
    // The vector, a scratch, and a little more than one plan, two with the first pass of each.
    let driver = emulated(Some(3 * 32 * n as u64 + (40 << 10)));
    let plans = Plans::default();
    let coefficients = scalars(1, n);
    for domain in domains(10) {
        let mut vector = Buffer::of_scalars(&driver, &coefficients).expect("memory");
        for direction in [Direction::Forward, Direction::Inverse] {
            transform(&driver, &plans, &mut vector, &domain, direction, None).expect("room");
        }
        assert_eq!(vector.scalars().expect("a copy"), coefficients);
        let taken = Buffer::new(&driver, driver.free_bytes().expect("a number") as usize);
        let failure = to_coset(&driver, &plans, &mut vector, &domain);
        assert!(matches!(failure, Err(DriverError::OutOfMemory { .. })));
        assert_eq!(vector.scalars().expect("a copy"), coefficients);
        drop(taken);
    }
}

#[test]
fn operations_element_by_element_are_those_of_arkworks() {
    let driver = emulated(None);
    for len in [0, 1, 255, 1000] {
        let (a, b, c) = (scalars(1, len), scalars(2, len), scalars(3, len));
        let factor = -Fr::from(5u64);
        let upload = |values: &[Fr]| Buffer::of_scalars(&driver, values).expect("memory");
        let (on_b, on_c) = (upload(&b), upload(&c));
        let after = |operation: &dyn Fn(&mut Buffer) -> Result<(), DriverError>| {
            let mut vector = upload(&a);
            operation(&mut vector).expect("a launch");
            vector.scalars().expect("a copy")
        };
        let expected = |value: &dyn Fn(usize) -> Fr| (0..len).map(value).collect::<Vec<_>>();
        assert_eq!(
            after(&|a| mul_sub_scale(&driver, a, &on_b, &on_c, factor)),
            expected(&|i| (a[i] * b[i] - c[i]) * factor)
        );
        assert_eq!(
            after(&|a| mul(&driver, a, &on_b)),
            expected(&|i| a[i] * b[i])
        );
    }
}
