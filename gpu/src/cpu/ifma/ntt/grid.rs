//! # Grid: a vector of scalars that several threads transform
//!
//! Threads take disjoint blocks of it; a block's rows are sixteen scalars a fixed stride apart.

use core::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering};

use ark_bn254::Fr;
use rayon::prelude::*;
use zeroize::Zeroize;

use super::super::field::{Fr16, LANES};
use super::block::Signed;
use crate::curve::Row;

/// Scalars borrowed mutably, handed out in parts.
pub(super) struct Grid<'a> {
    first: *mut Fr,
    len: usize,
    borrow: PhantomData<&'a mut [Fr]>,
}

// SAFETY: the pointer stands for a mutable borrow of plain integers; `Grid::row` obliges its callers to keep threads apart.
unsafe impl Sync for Grid<'_> {}

impl<'a> Grid<'a> {
    pub(super) fn new(values: &'a mut [Fr]) -> Self {
        Self {
            first: values.as_mut_ptr(),
            len: values.len(),
            borrow: PhantomData,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The limbs of scalars first, first + stride, … .
    ///
    /// # Panics
    /// When the last of them is beyond the vector, or the stride is 0.
    ///
    /// # Safety
    /// While the row lives no other row with one of its scalars does.
    #[inline]
    pub(super) unsafe fn row(&self, first: usize, stride: usize) -> [&'a mut Row; LANES] {
        assert!(stride > 0 && first + (LANES - 1) * stride < self.len);
        core::array::from_fn(|lane| {
            // SAFETY: the index is below `len` by the assertion; different lanes are different scalars; the caller keeps
            // other rows apart.
            unsafe { &mut (*self.first.add(first + lane * stride)).0.0 }
        })
    }
}

/// Sixteen columns or rows of a grid: row i is at `first + i·row_stride`, its lanes `lane_stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) first: usize,
    pub(super) row_stride: usize,
    pub(super) lane_stride: usize,
}

impl Block {
    /// Fetches row i of a block of columns into the cache; past the grid's end it does nothing.
    #[inline]
    pub(super) fn prefetch(&self, grid: &Grid<'_>, i: usize) {
        let first = self.first + i * self.row_stride;
        if self.lane_stride == 1 && first + LANES <= grid.len {
            for lane in (0..LANES).step_by(2) {
                // SAFETY: the index is below the grid's length; nothing is read.
                unsafe { _mm_prefetch::<_MM_HINT_ET0>(grid.first.add(first + lane).cast()) };
            }
        }
    }

    /// Reads row i.
    ///
    /// # Safety
    /// No other thread works on a scalar of the block.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) unsafe fn load(&self, grid: &Grid<'_>, i: usize) -> Fr16 {
        // SAFETY: the row lives until the end of this function.
        let row = unsafe { grid.row(self.first + i * self.row_stride, self.lane_stride) };
        Fr16::gather::<0>(row.map(|row| &*row))
    }

    /// Writes row i, whose lanes are below 2²⁵⁶.
    ///
    /// # Safety
    /// No other thread works on a scalar of the block.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) unsafe fn store(&self, grid: &Grid<'_>, i: usize, value: &Fr16) {
        // SAFETY: the row lives until the end of this function.
        let mut row = unsafe { grid.row(self.first + i * self.row_stride, self.lane_stride) };
        value.scatter(&mut row);
    }
}

/// A thread's working memory; overwritten when dropped.
pub(super) struct Scratch {
    pub(super) rows: Vec<Signed>,
}

impl Scratch {
    pub(super) fn new(n_rows: usize) -> Self {
        Self {
            rows: vec![Signed::zero(); n_rows],
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.rows.zeroize();
    }
}

/// Runs `work` for every number below `n_tasks`, with the working memory of the thread that takes it.
pub(super) fn for_each_task<S: Send>(
    n_tasks: usize,
    memories: &mut [S],
    work: impl Fn(usize, &mut S) + Sync,
) {
    let next = AtomicUsize::new(0);
    memories.par_iter_mut().with_max_len(1).for_each(|memory| {
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= n_tasks {
                break;
            }
            work(task, memory);
        }
    });
}
