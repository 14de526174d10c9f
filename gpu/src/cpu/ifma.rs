//! # AVX-512 IFMA: sixteen field elements at once
//!
//! `vpmadd52` multiplies 52-bit limbs, eight lanes an instruction. Functions here are compiled for the instruction set and may be
//! called only where [`detected`] said yes; the caller's `unsafe` says so once for each kernel.

pub(crate) mod field;
pub(crate) mod rows;

/// Whether this processor has the instructions.
#[must_use]
pub(crate) fn detected() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512ifma")
}

#[cfg(test)]
mod bench {
    use super::field::*;
    #[target_feature(enable = "avx512f,avx512ifma,avx512dq")]
    fn chain(x: &mut [[[u64;4]; 16]], y: &[[[u64;4];16]], n: usize) {
        for _ in 0..n {
            for (x, y) in x.iter_mut().zip(y) {
                let a = Fq16::load::<0>(x);
                let b = Fq16::load::<0>(y);
                let c = a.mul(&b);
                c.store(x);
            }
        }
    }
    #[target_feature(enable = "avx512f,avx512ifma,avx512dq")]
    fn latency(a: Fq16, n: usize) -> Fq16 {
        let mut x = a;
        for _ in 0..n { x = x.mul(&a); }
        x
    }
    #[target_feature(enable = "avx512f,avx512ifma,avx512dq")]
    fn latency_sq(a: Fq16, n: usize) -> Fq16 {
        let mut x = a;
        for _ in 0..n { x = x.square(); }
        x
    }
    #[target_feature(enable = "avx512f,avx512ifma,avx512dq")]
    fn many(v: &mut [Fq16], w: &[Fq16], n: usize) {
        for _ in 0..n {
            for (x, y) in v.iter_mut().zip(w) { *x = x.mul(y); }
        }
    }
    #[test]
    fn speed() {
        if !super::detected() { return }
        let mut x = vec![[[7u64, 5, 3, 1]; 16]; 16];
        let y = vec![[[9u64, 5, 4, 1]; 16]; 16];
        let time = |name: &str, per: usize, f: &mut dyn FnMut()| {
            let mut best = f64::MAX;
            for _ in 0..7 { let t = std::time::Instant::now(); f(); best = best.min(t.elapsed().as_secs_f64()); }
            println!("{name}: {:.3} ns", best * 1e9 / per as f64);
        };
        time("load mul store", 16 * 16 * 10000, &mut || unsafe { chain(&mut x, &y, 10000) });
        let a = unsafe { Fq16::splat([1, 2, 3, 4, 5]) };
        let mut out = a;
        time("latency", 16 * 100000, &mut || out = unsafe { latency(a, 100000) });
        time("latency sqr", 16 * 100000, &mut || out = unsafe { latency_sq(a, 100000) });
        let mut v = vec![out; 16]; let w = vec![a; 16];
        time("many", 16 * 16 * 10000, &mut || unsafe { many(&mut v, &w, 10000) });
        let mut p = ark_bn254::Fq::from(3u64); let q = ark_bn254::Fq::from(5u64);
        time("ark latency", 1000000, &mut || for _ in 0..1000000 { p *= q; });
        println!("{p} {:?}", unsafe { std::mem::transmute::<_, [u64; 80]>(v[0])[0] });
    }
}
