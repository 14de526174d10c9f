use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, FftField, Field};
use ark_poly::{EvaluationDomain, Radix2EvaluationDomain};

use crate::device::Direction;
use crate::testing::scalars;

fn inputs(n: usize) -> [(&'static str, Vec<Fr>); 4] {
    let one = (0..n).map(|i| Fr::from(u64::from(i == n / 3))).collect();
    [
        ("random", scalars(n as u64, n)),
        ("all zero", vec![Fr::ZERO; n]),
        ("all -1", vec![-Fr::ONE; n]),
        ("a single one", one),
    ]
}

fn check(log_n: u32, cases: usize) {
    if !super::supports(log_n) {
        return;
    }
    let n = 1 << log_n;
    let domain = Radix2EvaluationDomain::<Fr>::new(n).expect("a domain");
    let shifted = |shift: u64| domain.get_coset(Fr::from(shift)).expect("a coset");
    for (case, input) in inputs(n).into_iter().take(cases) {
        for points in [domain, shifted(5), shifted(1_000_003)] {
            let (mut expected, mut got) = (input.clone(), input.clone());
            points.fft_in_place(&mut expected);
            super::transform(&mut got, &points, Direction::Forward);
            assert!(got == expected, "2^{log_n} {case} forward");
            super::transform(&mut got, &points, Direction::Inverse);
            assert!(got == input, "2^{log_n} {case} inverse");

            let (mut expected, mut got) = (input.clone(), input.clone());
            domain.ifft_in_place(&mut expected);
            points.fft_in_place(&mut expected);
            super::to_coset(&mut got, &points);
            assert!(got == expected, "2^{log_n} {case} to the coset");
        }
    }
}

#[test]
fn transforms_equal_those_of_arkworks() {
    for log_n in 8..=14 {
        check(log_n, 4);
    }
    check(18, 1);
}

#[test]
fn three_passes_equal_two() {
    if !super::supports(14) {
        return;
    }
    for log_n in 12..=14 {
        let n = 1 << log_n;
        let points = Radix2EvaluationDomain::<Fr>::new(n)
            .and_then(|domain| domain.get_coset(Fr::GENERATOR))
            .expect("a coset");
        let input = scalars(3, n);
        let (mut expected, mut got) = (input.clone(), input.clone());
        super::transform(&mut expected, &points, Direction::Forward);
        super::transform_by(&mut got, &points, Direction::Forward, 0);
        assert!(got == expected, "2^{log_n} forward");
        super::transform_by(&mut got, &points, Direction::Inverse, 0);
        assert!(got == input, "2^{log_n} inverse");
        let mut expected = input.clone();
        super::to_coset(&mut expected, &points);
        super::to_coset_by(&mut got, &points, 0);
        assert!(got == expected, "2^{log_n} to the coset");
    }
}

#[test]
fn transforms_do_not_depend_on_the_number_of_threads() {
    if !super::supports(12) {
        return;
    }
    let domain = Radix2EvaluationDomain::<Fr>::new(1 << 12).expect("a domain");
    let input = scalars(8, 1 << 12);
    let run = |n_threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(n_threads)
            .build()
            .expect("a thread pool");
        pool.install(|| {
            let (mut forward, mut coset) = (input.clone(), input.clone());
            super::transform(&mut forward, &domain, Direction::Forward);
            super::to_coset(&mut coset, &domain);
            (forward, coset)
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(3));
    assert!(one.1 == input);
}
