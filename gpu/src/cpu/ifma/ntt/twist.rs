//! # Twist: powers of a root that join two passes
//!
//! Output k of a block is multiplied by start·base^k, lane by lane. The powers are made as the outputs come, one product each: a
//! table of them would be as long as the vector.

use ark_bn254::Fr;
use ark_ff::Field;

use super::super::field::{Fr16, LANES, split};
use super::block::{LIFT, Root, Signed, n_groups};
use crate::curve::Row;

/// The powers start·base^k in the order in which a block's transform asks for them.
pub(super) struct Twist {
    n_groups: usize,
    base: Fr16,
    base_to_groups: Fr16,
    quarters: [Fr16; 3],
    group_start: Fr16,
    current: Fr16,
}

impl Twist {
    /// For a block of 2^log_rows rows.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn new(start: &[Fr; LANES], base: &[Fr; LANES], log_rows: u32) -> Self {
        let (start, base) = (lanes(start), lanes(base));
        let n_groups = n_groups(log_rows);
        let base_to_groups = power_of_two(base, n_groups.ilog2());
        let quarter = power_of_two(base_to_groups, log_rows - 2 - n_groups.ilog2());
        let half = quarter.square();
        Self {
            n_groups,
            base,
            base_to_groups,
            quarters: [quarter, half, quarter.mul(&half)],
            group_start: start,
            current: start,
        }
    }

    /// Outputs k + q·n/4 times their powers: in 0 .. 2·p.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn apply(&mut self, k: usize, outputs: &[Signed; 4]) -> [Fr16; 4] {
        if k < self.n_groups {
            self.current = self.group_start;
            self.group_start = self.group_start.mul(&self.base);
        } else {
            self.current = self.current.mul(&self.base_to_groups);
        }
        let [quarter, half, three_quarters] = &self.quarters;
        let current = &self.current;
        [
            outputs[0].times::<LIFT>(current),
            outputs[1].times::<LIFT>(&current.mul(quarter)),
            outputs[2].times::<LIFT>(&current.mul(half)),
            outputs[3].times::<LIFT>(&current.mul(three_quarters)),
        ]
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn power_of_two(mut base: Fr16, log: u32) -> Fr16 {
    for _ in 0..log {
        base = base.square();
    }
    base
}

/// A scalar in the Montgomery form of the lanes.
pub(super) fn row(x: &Fr) -> Row {
    let mut x = *x;
    for _ in 0..4 {
        ark_ff::AdditiveGroup::double_in_place(&mut x);
    }
    x.0.0
}

/// The same, in limbs.
pub(in super::super) fn limbs(x: &Fr) -> Root {
    split(row(x), 1)
}

#[target_feature(enable = "avx512f")]
fn lanes(x: &[Fr; LANES]) -> Fr16 {
    Fr16::load::<0>(&x.map(|x| row(&x)))
}

/// start·base^l for lane l.
pub(super) fn geometric(start: Fr, base: Fr) -> [Fr; LANES] {
    let mut power = start;
    core::array::from_fn(|_| {
        let this = power;
        power *= base;
        this
    })
}

/// base^(k·step) for k < n, in limbs.
pub(super) fn powers(base: Fr, step: usize, n: usize) -> Vec<Root> {
    let base = base.pow([step as u64]);
    let mut power = Fr::ONE;
    (0..n)
        .map(|_| {
            let this = limbs(&power);
            power *= base;
            this
        })
        .collect()
}
