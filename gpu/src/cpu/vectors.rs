//! # Element-wise operations, in parts of a few thousand elements

use ark_bn254::Fr;
use rayon::prelude::*;

/// Elements of one task.
const ELEMENTS_PER_TASK: usize = 1 << 12;

/// a_i ← (a_i·b_i − c_i)·scale, for three vectors of one length.
pub(super) fn mul_sub_scale(a: &mut [Fr], b: &[Fr], c: &[Fr], scale: Fr, lanes: bool) {
    a.par_chunks_mut(ELEMENTS_PER_TASK)
        .zip(b.par_chunks(ELEMENTS_PER_TASK))
        .zip(c.par_chunks(ELEMENTS_PER_TASK))
        .for_each(|((a, b), c)| {
            let done = in_lanes(lanes, || lane_code::mul_sub_scale(a, b, c, scale));
            for ((a, b), c) in a.iter_mut().zip(b).zip(c).skip(done) {
                *a = (*a * b - c) * scale;
            }
        });
}

/// a_i ← a_i·b_i, for two vectors of one length.
pub(super) fn mul(a: &mut [Fr], b: &[Fr], lanes: bool) {
    a.par_chunks_mut(ELEMENTS_PER_TASK)
        .zip(b.par_chunks(ELEMENTS_PER_TASK))
        .for_each(|(a, b)| {
            let done = in_lanes(lanes, || lane_code::mul(a, b));
            for (a, b) in a.iter_mut().zip(b).skip(done) {
                *a *= b;
            }
        });
}

/// a_i ← a_i·factorⁿ by n products: what a field product costs without memory.
pub(crate) fn mul_repeatedly(a: &mut [Fr], factor: Fr, n: usize, lanes: bool) {
    let done = in_lanes(lanes, || lane_code::mul_repeatedly(a, factor, n));
    for a in a.iter_mut().skip(done) {
        for _ in 0..n {
            *a *= factor;
        }
    }
}

#[cfg(target_arch = "x86_64")]
use super::ifma::vectors as lane_code;

/// Without lanes nothing is done.
#[cfg(not(target_arch = "x86_64"))]
mod lane_code {
    use ark_bn254::Fr;

    pub(super) fn mul_sub_scale(_: &mut [Fr], _: &[Fr], _: &[Fr], _: Fr) -> usize {
        0
    }

    pub(super) fn mul(_: &mut [Fr], _: &[Fr]) -> usize {
        0
    }

    pub(super) fn mul_repeatedly(_: &mut [Fr], _: Fr, _: usize) -> usize {
        0
    }
}

/// How many elements `work` has done in lanes, if it may.
fn in_lanes(lanes: bool, work: impl FnOnce() -> usize) -> usize {
    if lanes { work() } else { 0 }
}
