use ark_ff::{FftField, UniformRand};
use ark_poly::{EvaluationDomain, Radix2EvaluationDomain};
use std::time::Instant;

use super::*;

fn random(n: usize) -> Vec<Fr> {
    let mut rng = ark_std::test_rng();
    (0..n).map(|_| Fr::rand(&mut rng)).collect()
}


#[test]
fn quick() {
    for log_n in 8..=15 {
        let n = 1 << log_n;
        let domain = Radix2EvaluationDomain::<Fr>::new(n).unwrap();
        let x = random(n);
        let mut a = x.clone();
        let mut b = x.clone();
        transform(&mut a, &domain, Direction::Forward);
        domain.fft_in_place(&mut b);
        assert!(a == b, "{log_n} forward");
        let coset = domain.get_coset(Fr::GENERATOR).unwrap();
        let mut a = x.clone();
        let mut b = x.clone();
        transform(&mut a, &coset, Direction::Forward);
        coset.fft_in_place(&mut b);
        assert!(a == b, "{log_n} coset forward");
        transform(&mut a, &coset, Direction::Inverse);
        assert!(a == x, "{log_n} coset inverse");
        let mut a = x.clone();
        let mut b = x.clone();
        to_coset(&mut a, &coset);
        domain.ifft_in_place(&mut b);
        coset.fft_in_place(&mut b);
        assert!(a == b, "{log_n} to coset");
    }
}

#[test]
#[ignore]
fn speed() {
    let logs: Vec<u32> = std::env::var("LOGS").map(|l| l.split(',').map(|x| x.parse().unwrap()).collect()).unwrap_or(vec![12, 16, 18, 20]);
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for &log_n in &logs {
            let n = 1usize << log_n;
            let domain = Radix2EvaluationDomain::<Fr>::new(n).unwrap();
            let coset = domain.get_coset(Fr::GENERATOR).unwrap();
            let mut x = random(n.min(1 << 16));
            while x.len() < n { let y = x.clone(); x.extend(y); }
            let reps = ((1 << 22) / n).clamp(10, 300);
            let mut best = [f64::MAX; 4];
            pool.install(|| {
                for rep in 0..reps {
                    let mut t = |k: usize, f: &mut dyn FnMut()| { let s = Instant::now(); f(); best[k] = best[k].min(s.elapsed().as_secs_f64() * 1e3) };
                    t(0, &mut || transform(&mut x, &domain, Direction::Forward));
                    t(1, &mut || transform(&mut x, &coset, Direction::Forward));
                    t(2, &mut || to_coset(&mut x, &coset));
                    if rep < 3 { t(3, &mut || domain.fft_in_place(&mut x)); }
                }
            });
            println!("{threads} threads 2^{log_n}: ntt {:.3} coset {:.3} to_coset {:.3} ark {:.3} ms ratio {:.2}  ns/butterfly {:.2}", best[0], best[1], best[2], best[3], best[3] / best[0], best[0] * 1e6 * threads as f64 / (n as f64 / 2.0 * log_n as f64));
        }
    }
}
