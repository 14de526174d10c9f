//! # Vectors: element-wise operations, sixteen elements at a time
//!
//! Each returns how many elements it has done: all whole sixteens, or none where the processor has no lanes.

use ark_bn254::Fr;

use super::field::{Fr16, LANES};
use super::ntt::limbs;
use crate::curve::Row;

/// a_i ← (a_i·b_i − c_i)·scale.
pub(crate) fn mul_sub_scale(a: &mut [Fr], b: &[Fr], c: &[Fr], scale: Fr) -> usize {
    if !super::detected() {
        return 0;
    }
    // SAFETY: the processor has the instructions.
    unsafe { mul_sub_scale_lanes(a, b, c, scale) }
}

/// a_i ← a_i·b_i.
pub(crate) fn mul(a: &mut [Fr], b: &[Fr]) -> usize {
    if !super::detected() {
        return 0;
    }
    // SAFETY: the processor has the instructions.
    unsafe { mul_lanes(a, b) }
}

/// a_i ← a_i·factorⁿ by n products.
pub(crate) fn mul_repeatedly(a: &mut [Fr], factor: Fr, n: usize) -> usize {
    if !super::detected() {
        return 0;
    }
    // SAFETY: the processor has the instructions.
    unsafe { mul_repeatedly_lanes(a, factor, n) }
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn mul_repeatedly_lanes(a: &mut [Fr], factor: Fr, n: usize) -> usize {
    let factor = Fr16::splat(limbs(&factor));
    let mut done = 0;
    // Two vectors in flight: what is measured is throughput, not the latency of one product.
    for a in a.as_chunks_mut::<{ 2 * LANES }>().0 {
        let (halves, _) = a.as_chunks_mut::<LANES>();
        let mut powers = [Fr16::zero(); 2];
        for h in 0..2 {
            powers[h] = Fr16::gather::<0>(rows(&halves[h]));
        }
        for _ in 0..n {
            for h in 0..2 {
                powers[h] = powers[h].mul(&factor);
            }
        }
        for h in 0..2 {
            let mut a = halves[h].each_mut().map(|a| &mut a.0.0);
            powers[h].less::<1>().scatter(&mut a);
        }
        done += 2 * LANES;
    }
    done
}

// With b sixteenfold, a·b·16/2²⁶⁰ is the product in Montgomery form with R = 2²⁵⁶: below (1 + 16/84)·p.

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn mul_sub_scale_lanes(a: &mut [Fr], b: &[Fr], c: &[Fr], scale: Fr) -> usize {
    let scale = Fr16::splat(limbs(&scale));
    let mut done = 0;
    for ((a, b), c) in a
        .as_chunks_mut::<LANES>()
        .0
        .iter_mut()
        .zip(b.as_chunks().0)
        .zip(c.as_chunks().0)
    {
        let product = Fr16::gather::<0>(rows(a)).mul(&Fr16::gather::<4>(rows(b)));
        let difference = product.sub::<1>(&Fr16::gather::<0>(rows(c)));
        let mut a = a.each_mut().map(|a| &mut a.0.0);
        difference.mul(&scale).less::<1>().scatter(&mut a);
        done += LANES;
    }
    done
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn mul_lanes(a: &mut [Fr], b: &[Fr]) -> usize {
    let mut done = 0;
    for (a, b) in a.as_chunks_mut::<LANES>().0.iter_mut().zip(b.as_chunks().0) {
        let product = Fr16::gather::<0>(rows(a)).mul(&Fr16::gather::<4>(rows(b)));
        let mut a = a.each_mut().map(|a| &mut a.0.0);
        product.less::<1>().scatter(&mut a);
        done += LANES;
    }
    done
}

fn rows(elements: &[Fr; LANES]) -> [&Row; LANES] {
    elements.each_ref().map(|element| &element.0.0)
}
