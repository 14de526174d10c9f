//! # Pippenger's multi-scalar multiplication with signed digits and affine buckets
//!
//! Σ s_i·P_i with s_i = Σ_w d_iw·2^(c·w), |d_iw| ≤ 2^(c−1):
//! 1. read each scalar as a signed integer of b_i bits (field.rs); drop zeros and points at infinity;
//! 2. choose c by the cost Σ_i ⌈(b_i + 1)/c⌉ + W·2^(c−1)·`BUCKET_COST` over the real bit lengths, so that a witness of
//!    small integers costs one or two additions a value and full-size scalars keep wide windows;
//! 3. for each window, block by block: sort the points by bucket |d| (negated where d < 0), add neighbours of a bucket
//!    pairwise until one point is left, all pairs of a round sharing one inversion, and add that point to the bucket;
//! 4. S_w = Σ_k k·B_k by running sums; the result is Σ_w 2^(c·w)·S_w.
//!
//! A bucket that gets most points (many equal scalars) costs no more than an even spread. Windows, and parts of a window when
//! there are few, run in parallel. The time depends on the scalars.

use ark_bn254::Fr;
use ark_ec::short_weierstrass::{Affine, Bucket, Projective, SWCurveConfig};
use ark_ec::{AdditiveGroup, AffineRepr};
use ark_ff::Zero;
use rayon::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use super::batch_affine::BatchAdder;
use crate::device::DeviceError;
use crate::field::{ScalarClass, SignedScalar, signed_digits};

/// Additions that one bucket costs in the running sums (one mixed and one full addition against 6 products).
const BUCKET_COST: usize = 4;
/// Widest window: a digit fits an `i16`.
const MAX_WINDOW_BITS: u32 = 15;
/// Points of one block: its points and their first sums stay in the second-level cache.
const BLOCK_POINTS: usize = 1 << 13;
/// Scalars read by one task.
const SCALARS_PER_TASK: usize = 1 << 11;

/// Σ scalar_i·base_i; the slices have one length.
///
/// # Errors
/// [`DeviceError::OutOfClass`] when a scalar is not in `class`.
pub(crate) fn msm<P: SWCurveConfig<ScalarField = Fr>>(
    bases: &[Affine<P>],
    scalars: &[Fr],
    class: ScalarClass,
) -> Result<Projective<P>, DeviceError> {
    // Bases that count, and where their scalars are: a copy of a scalar would have to be overwritten on every path.
    let terms = bases
        .par_iter()
        .zip(scalars)
        .with_min_len(SCALARS_PER_TASK)
        .enumerate()
        .filter_map(|(index, (base, scalar))| {
            let scalar = SignedScalar::from(*scalar);
            if !class.holds(&scalar) {
                return Some(Err(DeviceError::OutOfClass { index, class }));
            }
            (scalar.bits > 0 && !base.is_zero()).then_some(Ok((*base, index)))
        })
        .collect::<Result<Vec<_>, _>>()?;

    let signed = |index: usize| SignedScalar::from(scalars[index]);
    let plan = Plan::new(&bit_lengths(&terms, |(_, index)| signed(*index).bits));
    let mut digits = Zeroizing::new(vec![0i16; terms.len() * plan.n_windows]);
    digits
        .par_chunks_exact_mut(plan.n_windows)
        .zip(&terms)
        .with_min_len(SCALARS_PER_TASK)
        .for_each(|(digits, (_, index))| signed_digits(&signed(*index), plan.c, digits));

    let n_parts = plan.n_parts(terms.len(), rayon::current_num_threads());
    let part_len = terms.len().div_ceil(n_parts).max(1);
    let sums: Zeroizing<Vec<Projective<P>>> = (0..plan.n_windows * n_parts)
        .into_par_iter()
        .with_max_len(1)
        .map(|task| {
            let (w, part) = (task / n_parts, task % n_parts);
            let start = (part * part_len).min(terms.len());
            let end = (start + part_len).min(terms.len());
            let digit = |k: usize| digits[k * plan.n_windows + w];
            let entries = (start..end).filter_map(|k| match digit(k) {
                0 => None,
                d if d < 0 => Some((d.unsigned_abs() as usize - 1, -terms[k].0)),
                d => Some((d as usize - 1, terms[k].0)),
            });
            window_sum(1 << (plan.c - 1), end - start, entries)
        })
        .collect::<Vec<_>>()
        .into();
    drop(digits);

    let mut total = Projective::zero();
    for window in sums.chunks(n_parts).rev() {
        for _ in 0..plan.c {
            total.double_in_place();
        }
        for sum in window {
            total += sum;
        }
    }
    Ok(total)
}

/// How many terms have scalars of each number of bits.
fn bit_lengths<T: Sync>(terms: &[T], bits: impl Fn(&T) -> u32 + Sync) -> [usize; 256] {
    let none = || [0usize; 256];
    terms
        .par_iter()
        .with_min_len(SCALARS_PER_TASK)
        .fold(none, |mut histogram, term| {
            histogram[bits(term) as usize] += 1;
            histogram
        })
        .reduce(none, |left, right| {
            std::array::from_fn(|bits| left[bits] + right[bits])
        })
}

/// Window width and number of windows.
#[derive(Debug, Clone, Copy)]
struct Plan {
    c: u32,
    n_windows: usize,
}

impl Plan {
    fn new(histogram: &[usize; 256]) -> Self {
        let n_windows = |c: u32, bits: usize| (bits + 1).div_ceil(c as usize);
        let widest = histogram.iter().rposition(|&n| n > 0).unwrap_or(0);
        let cost = |c: u32| {
            let additions: usize = histogram
                .iter()
                .enumerate()
                .map(|(bits, &n)| n * n_windows(c, bits))
                .sum();
            additions + n_windows(c, widest) * BUCKET_COST * (1 << (c - 1))
        };
        let c = (2..=MAX_WINDOW_BITS)
            .min_by_key(|&c| cost(c))
            .unwrap_or(MAX_WINDOW_BITS);
        Self {
            c,
            n_windows: n_windows(c, widest),
        }
    }

    /// Parts of a window that run in parallel: enough tasks for every thread while a part has more points than buckets.
    fn n_parts(&self, n_terms: usize, n_threads: usize) -> usize {
        let wanted = (4 * n_threads).div_ceil(self.n_windows);
        wanted.min(n_terms >> self.c).max(1)
    }
}

/// Σ_k (k + 1)·B_k where B_k is the sum of the points of bucket k.
fn window_sum<P: SWCurveConfig>(
    n_buckets: usize,
    max_entries: usize,
    entries: impl Iterator<Item = (usize, Affine<P>)>,
) -> Projective<P> {
    let mut buckets = Buckets::new(n_buckets, BLOCK_POINTS.min(max_entries));
    for (bucket, point) in entries {
        buckets.add(bucket, point);
    }
    buckets.add_block();

    let mut running = Bucket::<P>::ZERO;
    let mut sum = Bucket::<P>::ZERO;
    for bucket in buckets.sums.iter().rev() {
        running += bucket;
        sum += &running;
    }
    sum.into()
}

/// The buckets of one window. Each buffer has its final capacity from the start, so that none leaves a copy
/// behind by growing, and each is overwritten at the end: which points share a bucket tells the digits.
struct Buckets<P: SWCurveConfig> {
    sums: Vec<Affine<P>>,
    /// Bucket and point of every entry of the current block.
    block: Vec<(usize, Affine<P>)>,
    /// Where the points of each bucket end while the block is sorted.
    ends: Vec<usize>,
    /// Points of the current block, those of one bucket side by side.
    points: Vec<Affine<P>>,
    /// Sums of the current round.
    next: Vec<Affine<P>>,
    /// Bucket, first point and number of points of every run.
    runs: Vec<(usize, usize, usize)>,
    /// First point of each pair of the round, and where its sum goes.
    pairs: Vec<(usize, usize)>,
    adder: BatchAdder<P>,
}

impl<P: SWCurveConfig> Buckets<P> {
    fn new(n_buckets: usize, block_points: usize) -> Self {
        Self {
            sums: vec![Affine::identity(); n_buckets],
            block: Vec::with_capacity(block_points),
            ends: vec![0; n_buckets],
            points: Vec::with_capacity(block_points),
            next: Vec::with_capacity(block_points),
            runs: Vec::with_capacity(block_points.min(n_buckets)),
            pairs: Vec::with_capacity(block_points / 2),
            adder: BatchAdder::new(block_points),
        }
    }

    fn add(&mut self, bucket: usize, point: Affine<P>) {
        self.block.push((bucket, point));
        if self.block.len() == BLOCK_POINTS {
            self.add_block();
        }
    }

    /// Adds the points of the block to their buckets and empties the block.
    fn add_block(&mut self) {
        self.sort();
        self.block.clear();
        while self.runs.iter().any(|&(_, _, len)| len > 1) {
            self.add_neighbours();
        }
        let (runs, points) = (&self.runs, &self.points);
        self.adder.add_pairs(
            runs.len(),
            &mut self.sums,
            |sums, k| (sums[runs[k].0], points[runs[k].1]),
            |sums, k, sum| sums[runs[k].0] = sum,
        );
    }

    /// Counting sort of the block by bucket.
    fn sort(&mut self) {
        let (block, ends) = (&self.block, &mut self.ends);
        ends.fill(0);
        for &(bucket, _) in block {
            ends[bucket] += 1;
        }
        self.runs.clear();
        let mut start = 0;
        for (bucket, end) in ends.iter_mut().enumerate() {
            if *end > 0 {
                self.runs.push((bucket, start, *end));
            }
            let len = *end;
            *end = start;
            start += len;
        }
        self.points.clear();
        self.points.resize(block.len(), Affine::identity());
        for &(bucket, point) in block {
            self.points[ends[bucket]] = point;
            ends[bucket] += 1;
        }
    }

    /// One round: every run of m points becomes a run of ⌈m/2⌉ sums.
    fn add_neighbours(&mut self) {
        self.next.clear();
        self.next.resize(self.points.len(), Affine::identity());
        self.pairs.clear();
        let mut out = 0;
        for (_, start, len) in &mut self.runs {
            let (from, to) = (*start, out);
            self.pairs
                .extend((0..*len / 2).map(|k| (from + 2 * k, to + k)));
            if *len % 2 == 1 {
                self.next[to + *len / 2] = self.points[from + *len - 1];
            }
            *start = to;
            *len = len.div_ceil(2);
            out += *len;
        }
        let (pairs, points) = (&self.pairs, &self.points);
        self.adder.add_pairs(
            pairs.len(),
            &mut self.next,
            |_, k| (points[pairs[k].0], points[pairs[k].0 + 1]),
            |next, k, sum| next[pairs[k].1] = sum,
        );
        self.next.truncate(out);
        std::mem::swap(&mut self.points, &mut self.next);
    }
}

impl<P: SWCurveConfig> Drop for Buckets<P> {
    fn drop(&mut self) {
        for points in [&mut self.sums, &mut self.points, &mut self.next] {
            points.zeroize();
        }
        self.block.zeroize();
        self.ends.zeroize();
        self.runs.zeroize();
        self.pairs.zeroize();
    }
}
