//! # NTT: number-theoretic transform in passes
//!
//! The n elements are a box of 2 or 3 digits, index i = (i₀, i₁, …) with i₀ the most significant. Pass d transforms along digit d: a block
//! is all values of that digit for sixteen neighbouring values of the others, loaded, transformed in the cache ([`block`]), multiplied by
//! roots of unity that join it to the next pass ([`twist`]) and stored. First digit to last takes natural order to *digit order*, where
//! position (k₀, k₁, …) holds output k₀ + n₀·k₁ + n₀·n₁·k₂; last digit to first takes digit order to natural order. So values on H go to
//! values on a coset with no permutation, the last pass of the inverse and the first of the forward transform being one
//! ([`to_coset`]). Natural order to natural order needs one pass more, which swaps the first and the last digit, equally long.
//!
//! No table grows with n: roots of unity of a block, and everything else, are made for each transform.

mod block;
mod grid;
mod permute;
mod twist;

use ark_bn254::Fr;
use ark_ff::Field;
use ark_poly::Radix2EvaluationDomain;

use super::field::LANES;
use crate::device::Direction;
use block::{LIFT, LOG_ROWS, Root, Signed};
use grid::{Block, Grid, Scratch, for_each_task};
use twist::{Twist, geometric, powers};

pub(super) use twist::limbs;

/// Longest transform in two passes.
const LOG_TWO_PASSES: u32 = 22;
/// Shortest transform that is worth a second thread.
const LOG_PARALLEL: u32 = 11;

/// How many rows ahead a pass over columns asks for memory.
const PREFETCH: usize = 8;

/// Whether vectors of 2^log_n elements are transformed here: both digits need sixteen values.
pub(crate) fn supports(log_n: u32) -> bool {
    (2 * LOG_ROWS.start()..=28).contains(&log_n) && super::detected()
}

/// Transforms in place, natural order in and out, as arkworks does. The caller has asked [`supports`].
pub(crate) fn transform(
    values: &mut [Fr],
    points: &Radix2EvaluationDomain<Fr>,
    direction: Direction,
) {
    transform_by(values, points, direction, LOG_TWO_PASSES);
}

fn transform_by(
    values: &mut [Fr],
    points: &Radix2EvaluationDomain<Fr>,
    direction: Direction,
    log_two_passes: u32,
) {
    let (root, shift, output) = match direction {
        Direction::Forward => (points.group_gen, points.offset, OutputScale::NONE),
        Direction::Inverse => {
            let output = OutputScale {
                scale: points.size_inv,
                base: points.offset_inv,
            };
            (points.group_gen_inv, Fr::ONE, output)
        }
    };
    let plan = Plan::new(values.len(), root, log_two_passes);
    let mut scratches = plan.scratches(1);
    let grid = Grid::new(values);
    plan.to_digit_order(&grid, &mut scratches, shift, output);
    drop(scratches);
    permute::swap_outer_digits(&grid, plan.log_digits[plan.log_digits.len() - 1]);
}

/// Values on the subgroup to values on the coset `points`, of the polynomial of degree below n, in place, natural order in and
/// out. The caller has asked [`supports`].
pub(crate) fn to_coset(values: &mut [Fr], points: &Radix2EvaluationDomain<Fr>) {
    to_coset_by(values, points, LOG_TWO_PASSES);
}

fn to_coset_by(values: &mut [Fr], points: &Radix2EvaluationDomain<Fr>, log_two_passes: u32) {
    let inverse = Plan::new(values.len(), points.group_gen_inv, log_two_passes);
    let forward = Plan::new(values.len(), points.group_gen, log_two_passes);
    let mut scratches = forward.scratches(2);
    let grid = Grid::new(values);
    let output = OutputScale {
        scale: points.size_inv,
        base: points.offset,
    };
    inverse.column_passes(&grid, &mut scratches, Fr::ONE, output, false);
    forward.turn(&grid, &mut scratches, &inverse, points.offset);
    forward.back_to_natural_order(&grid, &mut scratches);
}

/// Multiplies output k by scale·base^k.
#[derive(Clone, Copy)]
struct OutputScale {
    scale: Fr,
    base: Fr,
}

impl OutputScale {
    const NONE: Self = Self {
        scale: Fr::ONE,
        base: Fr::ONE,
    };
}

/// The shape of a transform and its roots.
struct Plan {
    log_n: u32,
    root: Fr,
    log_digits: Vec<u32>,
    /// w_β in bit-reversed order for the longest digit; those of a shorter one are a prefix.
    roots: Vec<Root>,
}

impl Plan {
    fn new(n: usize, root: Fr, log_two_passes: u32) -> Self {
        let log_n = n.ilog2();
        let log_digits = if log_n <= log_two_passes {
            vec![log_n.div_ceil(2), log_n / 2]
        } else {
            let outer = log_n / 3;
            vec![outer, log_n - 2 * outer, outer]
        };
        let longest = log_digits.iter().copied().max().unwrap_or(0);
        // Bit j of β stands for a root of order 2^(j + 2).
        let mut roots = vec![Fr::ONE];
        for j in 0..longest.saturating_sub(1) {
            let factor = two_power(root, log_n - j - 2);
            for beta in 0..roots.len() {
                roots.push(roots[beta] * factor);
            }
        }
        Self {
            log_n,
            root,
            roots: roots.iter().map(limbs).collect(),
            log_digits,
        }
    }

    /// Working memory of every thread: blocks of the longest digit, `n_blocks` of them.
    fn scratches(&self, n_blocks: usize) -> Vec<Vec<Scratch>> {
        let longest = self.log_digits.iter().copied().max().unwrap_or(0);
        let n_tasks = 1usize << (self.log_n - longest - LANES.ilog2());
        let n_threads = if self.log_n < LOG_PARALLEL {
            1
        } else {
            rayon::current_num_threads().min(n_tasks)
        };
        (0..n_threads)
            .map(|_| (0..n_blocks).map(|_| Scratch::new(1 << longest)).collect())
            .collect()
    }

    /// Base-2 logarithms of the sizes of digit d, of all digits before it and of all after it.
    fn shape(&self, d: usize) -> (u32, u32, u32) {
        let sum = |digits: &[u32]| digits.iter().sum();
        (
            self.log_digits[d],
            sum(&self.log_digits[..d]),
            sum(&self.log_digits[d + 1..]),
        )
    }

    /// Natural order to digit order.
    fn to_digit_order(
        &self,
        grid: &Grid<'_>,
        scratches: &mut [Vec<Scratch>],
        shift: Fr,
        output: OutputScale,
    ) {
        self.column_passes(grid, scratches, shift, output, true);
        let (log_rows, log_before, _) = self.shape(self.log_digits.len() - 1);
        let factors =
            (output.base != Fr::ONE).then(|| powers(output.base, 1 << log_before, 1 << log_rows));
        let n_tasks = 1 << (log_before - LANES.ilog2());
        for_each_task(n_tasks, scratches, |task, scratch| {
            let block = row_block(task, log_rows);
            // SAFETY: the caller has asked `supports`; the rows of a task are its own.
            unsafe { self.last_pass(grid, block, &mut scratch[0], factors.as_deref()) }
        });
    }

    /// All passes of natural to digit order but the last. `swappable`: of two digits, the longer first one is stored
    /// such that swapping the outer digits gives natural order.
    fn column_passes(
        &self,
        grid: &Grid<'_>,
        scratches: &mut [Vec<Scratch>],
        shift: Fr,
        output: OutputScale,
        swappable: bool,
    ) {
        for d in 0..self.log_digits.len() - 1 {
            let (log_rows, log_before, log_after) = self.shape(d);
            let first = d == 0;
            let root = two_power(self.root, log_before);
            let base = output.base.pow([1 << log_before]);
            let rotate = if first && swappable && self.log_digits.len() == 2 {
                log_rows - log_after
            } else {
                0
            };
            let factors =
                (first && shift != Fr::ONE).then(|| powers(shift, 1 << log_after, 1 << log_rows));
            let n_tasks = 1 << (log_before + log_after - LANES.ilog2());
            for_each_task(n_tasks, scratches, |task, scratch| {
                let (block, _, column) = column_block(task, log_rows, log_after);
                let start = if first {
                    geometric(output.scale * shift.pow([column as u64]), shift)
                } else {
                    [Fr::ONE; LANES]
                };
                let base = geometric(base * root.pow([column as u64]), root);
                // SAFETY: the caller has asked `supports`; the columns of a task are its own.
                unsafe {
                    let twist = Twist::new(&start, &base, log_rows);
                    self.column_pass(
                        grid,
                        block,
                        &mut scratch[0].rows[..1 << log_rows],
                        factors.as_deref(),
                        twist,
                        rotate,
                    );
                }
            });
        }
    }

    /// The last pass of the inverse transform and the first of this one.
    fn turn(&self, grid: &Grid<'_>, scratches: &mut [Vec<Scratch>], inverse: &Plan, shift: Fr) {
        let d = self.log_digits.len() - 1;
        let (log_rows, log_before, _) = self.shape(d);
        let factors = powers(shift, 1 << log_before, 1 << log_rows);
        let log_previous = self.log_digits[d - 1];
        let root = two_power(self.root, log_before - log_previous);
        let n_tasks = 1 << (log_before - LANES.ilog2());
        for_each_task(n_tasks, scratches, |task, scratch| {
            let block = row_block(task, log_rows);
            let digit = (task * LANES) & ((1 << log_previous) - 1);
            let base = geometric(root.pow([digit as u64]), root);
            // SAFETY: the caller has asked `supports`; the rows of a task are its own.
            unsafe {
                let twist = Twist::new(&[Fr::ONE; LANES], &base, log_rows);
                self.turn_pass(grid, block, scratch, inverse, &factors, twist);
            }
        });
    }

    /// Digit order, the last digit already transformed, to natural order.
    fn back_to_natural_order(&self, grid: &Grid<'_>, scratches: &mut [Vec<Scratch>]) {
        for d in (0..self.log_digits.len() - 1).rev() {
            let (log_rows, log_before, log_after) = self.shape(d);
            let log_previous = if d == 0 { 0 } else { self.log_digits[d - 1] };
            let root = two_power(self.root, log_before - log_previous);
            let n_tasks = 1 << (log_before + log_after - LANES.ilog2());
            for_each_task(n_tasks, scratches, |task, scratch| {
                let (block, before, column) = column_block(task, log_rows, log_after);
                let digit = before & ((1 << log_previous) - 1);
                let rows = &mut scratch[0].rows[..1 << log_rows];
                // SAFETY: the caller has asked `supports`; the columns of a task are its own.
                unsafe {
                    if d == 0 {
                        self.final_pass(grid, block, rows);
                    } else {
                        let root = root.pow([digit as u64]);
                        let start = geometric(root.pow([column as u64]), root);
                        let base = [two_power(root, log_after); LANES];
                        let twist = Twist::new(&start, &base, log_rows);
                        self.column_pass(grid, block, rows, None, twist, 0);
                    }
                }
            });
        }
    }

    /// # Safety
    /// The processor has the instructions; no other thread works on the block.
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn column_pass(
        &self,
        grid: &Grid<'_>,
        block: Block,
        rows: &mut [Signed],
        factors: Option<&[Root]>,
        mut twist: Twist,
        rotate: u32,
    ) {
        let n = rows.len();
        let low = (n >> rotate) - 1;
        let log_low = (n >> rotate).ilog2();
        let place = |k: usize| ((k & low) << rotate) + (k >> log_low);
        let load = |i: usize| {
            block.prefetch(grid, i + PREFETCH);
            // SAFETY: no other thread works on the block.
            let row = unsafe { block.load(grid, i) };
            match factors {
                Some(factors) => Signed::from(row).times_root::<0>(&factors[i]),
                None => row,
            }
        };
        let store = |k: usize, outputs: &[Signed; 4]| {
            for q in 0..4 {
                block.prefetch(grid, place(k + q * n / 4));
            }
            let outputs = twist.apply(k, outputs);
            for (q, output) in outputs.iter().enumerate() {
                // SAFETY: no other thread works on the block.
                unsafe { block.store(grid, place(k + q * n / 4), output) }
            }
        };
        block::transform(rows, &self.roots, load, store);
    }

    /// # Safety
    /// As [`Plan::column_pass`].
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn last_pass(
        &self,
        grid: &Grid<'_>,
        block: Block,
        scratch: &mut Scratch,
        factors: Option<&[Root]>,
    ) {
        let log_rows = self.log_digits[self.log_digits.len() - 1];
        let rows = &mut scratch.rows[..1 << log_rows];
        let Some(factors) = factors else {
            // SAFETY: as promised to this function.
            return unsafe { self.final_pass(grid, block, rows) };
        };
        let n = rows.len();
        // SAFETY: no other thread works on the block.
        let load = |i: usize| unsafe { block.load(grid, i) };
        let store = |k: usize, outputs: &[Signed; 4]| {
            for (q, output) in outputs.iter().enumerate() {
                let k = k + q * n / 4;
                let output = output.times_root::<LIFT>(&factors[k]).less::<1>();
                // SAFETY: no other thread works on the block.
                unsafe { block.store(grid, k, &output) }
            }
        };
        block::transform(rows, &self.roots, load, store);
    }

    /// # Safety
    /// As [`Plan::column_pass`].
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn final_pass(&self, grid: &Grid<'_>, block: Block, rows: &mut [Signed]) {
        let n = rows.len();
        let load = |i: usize| {
            block.prefetch(grid, i + PREFETCH);
            // SAFETY: no other thread works on the block.
            unsafe { block.load(grid, i) }
        };
        let store = |k: usize, outputs: &[Signed; 4]| {
            for (q, output) in outputs.iter().enumerate() {
                // SAFETY: no other thread works on the block.
                unsafe { block.store(grid, k + q * n / 4, &output.canonical::<LIFT>()) }
            }
        };
        block::transform(rows, &self.roots, load, store);
    }

    /// # Safety
    /// As [`Plan::column_pass`].
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    unsafe fn turn_pass(
        &self,
        grid: &Grid<'_>,
        block: Block,
        scratch: &mut [Scratch],
        inverse: &Plan,
        factors: &[Root],
        mut twist: Twist,
    ) {
        let n = factors.len();
        let [first, second] = scratch else { return };
        let (first, second) = (&mut first.rows[..n], &mut second.rows[..n]);
        // SAFETY: no other thread works on the block.
        let load = |i: usize| unsafe { block.load(grid, i) };
        let store = |k: usize, outputs: &[Signed; 4]| {
            for (q, output) in outputs.iter().enumerate() {
                let k = k + q * n / 4;
                second[k] = output.times_root::<LIFT>(&factors[k]).into();
            }
        };
        block::transform(first, &inverse.roots, load, store);
        let load = |i: usize| second[i].lifted::<0>();
        let store = |k: usize, outputs: &[Signed; 4]| {
            for (q, output) in twist.apply(k, outputs).iter().enumerate() {
                // SAFETY: no other thread works on the block.
                unsafe { block.store(grid, k + q * n / 4, output) }
            }
        };
        block::transform(first, &self.roots, load, store);
    }
}

/// Sixteen neighbouring columns of a digit, the number before it and the first column.
fn column_block(task: usize, log_rows: u32, log_after: u32) -> (Block, usize, usize) {
    let log_tasks = log_after - LANES.ilog2();
    let (before, column) = (task >> log_tasks, (task & ((1 << log_tasks) - 1)) * LANES);
    let block = Block {
        first: (before << (log_rows + log_after)) + column,
        row_stride: 1 << log_after,
        lane_stride: 1,
    };
    (block, before, column)
}

/// Sixteen neighbouring rows of the last digit.
fn row_block(task: usize, log_rows: u32) -> Block {
    Block {
        first: (task * LANES) << log_rows,
        row_stride: 1,
        lane_stride: 1 << log_rows,
    }
}

/// x^(2^log).
fn two_power(mut x: Fr, log: u32) -> Fr {
    for _ in 0..log {
        x.square_in_place();
    }
    x
}

#[cfg(test)]
mod tests;
