//! # Weighing: Σ_k (k + 1)·B_k in rounds of pairs
//!
//! Let B^(0) = B and B^(l+1)_k = B^(l)_2k + B^(l)_(2k+1). With O_l the sum of B^(l)_k over odd k, bit l of every index gives
//! Σ k·B_k = Σ_l 2^l·O_l, and the last B^(m) is Σ B_k. Two additions a bucket, all in pairs; the sums of odd points of all levels are
//! halved together.

use bytemuck::Zeroable;
use rayon::prelude::*;

use ark_ec::{AdditiveGroup, AffineRepr, PrimeGroup};

use crate::cpu::adder::{Adder, Pick, is_infinite};
use crate::cpu::wiped::Wiped;
use crate::curve::{Curve, ProjectiveOf};

/// Least buckets of a part of its own.
const MIN_PART: usize = 1 << 10;
/// Most buckets of a part: it and its sums stay in the second-level cache.
const MAX_PART: usize = 1 << 13;
/// Where there is no point.
const NONE: u32 = u32::MAX;

/// Σ_k (k + 1)·`buckets[k]`.
pub(super) fn weigh<C: Curve, A: Adder<C>>(
    buckets: &[C::Raw],
    n_windows: usize,
    adder: &(impl Fn() -> A + Sync),
) -> ProjectiveOf<C> {
    let wanted = (2 * rayon::current_num_threads()).div_ceil(n_windows);
    let part_len = buckets.len().div_ceil(wanted).clamp(MIN_PART, MAX_PART);
    buckets
        .par_chunks(part_len)
        .enumerate()
        .map(|(part, buckets)| {
            let (sum, weighted) = Weighing::new(buckets, adder()).run();
            weighted + sum.mul_bigint([(part * part_len + 1) as u64])
        })
        .reduce(|| ProjectiveOf::<C>::ZERO, |left, right| left + right)
}

struct Weighing<C: Curve, A> {
    adder: A,
    arena: Wiped<C::Raw>,
    pairs: Wiped<[Pick; 2]>,
}

impl<C: Curve, A: Adder<C>> Weighing<C, A> {
    fn new(buckets: &[C::Raw], mut adder: A) -> Self {
        adder.reserve(buckets.len());
        let mut arena = Wiped::with_capacity(3 * buckets.len());
        arena.extend_from_slice(buckets);
        Self {
            adder,
            arena,
            pairs: Wiped::with_capacity(buckets.len()),
        }
    }

    /// Σ B_k and Σ k·B_k.
    fn run(mut self) -> (ProjectiveOf<C>, ProjectiveOf<C>) {
        let index = |(k, point): (usize, &C::Raw)| {
            if is_infinite::<C>(point) {
                NONE
            } else {
                k as u32
            }
        };
        let mut level: Wiped<u32> = self.arena.iter().enumerate().map(index).collect();
        let mut odds: Vec<Wiped<u32>> = Vec::new();
        loop {
            let halved = level.len() > 1;
            if halved {
                let mut odd = Wiped::with_capacity(level.len() / 2);
                let points = level.iter().skip(1).step_by(2).copied();
                odd.extend(points.filter(|k| *k != NONE));
                odds.push(odd);
            }
            self.pairs.clear();
            level = self.pair_up(&level);
            for odd in &mut odds {
                *odd = self.pair_up(odd);
            }
            if self.pairs.is_empty() && !halved {
                break;
            }
            let filled = self.arena.len();
            self.arena
                .resize(filled + self.pairs.len(), C::Raw::zeroed());
            let (points, sums) = self.arena.split_at_mut(filled);
            self.adder.add_arena(points, &self.pairs, sums);
        }
        let point = |indices: &[u32]| -> ProjectiveOf<C> {
            match indices.first() {
                Some(&k) if k != NONE => self.adder.lower(&self.arena[k as usize]).into_group(),
                _ => ProjectiveOf::<C>::ZERO,
            }
        };
        let mut weighted = ProjectiveOf::<C>::ZERO;
        for odd in odds.iter().rev() {
            weighted.double_in_place();
            weighted += point(odd);
        }
        (point(&level), weighted)
    }

    /// The sums of neighbours, where both are points; they will follow what is already to be added.
    fn pair_up(&mut self, points: &[u32]) -> Wiped<u32> {
        let first = self.arena.len();
        points
            .chunks(2)
            .map(|pair| match *pair {
                [left, right] if left != NONE && right != NONE => {
                    self.pairs
                        .push([left, right].map(|index| Pick::new(index, false)));
                    (first + self.pairs.len() - 1) as u32
                }
                [left, right] if left == NONE => right,
                _ => pair[0],
            })
            .collect()
    }
}
