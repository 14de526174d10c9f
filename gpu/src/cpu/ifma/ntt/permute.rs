//! # Permute: swap the first and the last digit of every index
//!
//! Tiles of 16 × 16 scalars change places in pairs, so that memory is read and written half a kilobyte at a time.

use zeroize::Zeroize;

use super::super::field::LANES;
use super::grid::{Grid, for_each_task};
use crate::curve::Row;

/// Index (a, m, c) to (c, m, a), where a and c have `log_outer` bits.
pub(super) fn swap_outer_digits(grid: &Grid<'_>, log_outer: u32) {
    let n_outer = 1usize << log_outer;
    let n_middle = grid.len() >> (2 * log_outer);
    let n_tiles = n_outer / LANES;
    let n_threads = rayon::current_num_threads().min(1 + grid.len() / (1 << 14));
    let mut buffers: Vec<[Tile; 2]> = (0..n_threads).map(|_| <[Tile; 2]>::default()).collect();
    for_each_task(n_middle * n_tiles, &mut buffers, |task, [upper, lower]| {
        let (i, middle) = (task / n_middle, task % n_middle);
        for j in i..n_tiles {
            let place = |i: usize, j: usize, row: usize| {
                ((i * LANES + row) * n_middle + middle) * n_outer + j * LANES
            };
            for row in 0..LANES {
                // SAFETY: tiles (i, j) and (j, i) of one middle digit belong to this task alone.
                upper.0[row] = unsafe { grid.row(place(i, j, row), 1) }.map(|row| *row);
                // SAFETY: as above.
                lower.0[row] = unsafe { grid.row(place(j, i, row), 1) }.map(|row| *row);
            }
            for row in 0..LANES {
                // SAFETY: as above.
                for (column, to) in unsafe { grid.row(place(i, j, row), 1) }
                    .into_iter()
                    .enumerate()
                {
                    *to = lower.0[column][row];
                }
                // SAFETY: as above.
                for (column, to) in unsafe { grid.row(place(j, i, row), 1) }
                    .into_iter()
                    .enumerate()
                {
                    *to = upper.0[column][row];
                }
            }
        }
    });
}

/// A copy of a tile; overwritten when dropped.
#[derive(Default)]
struct Tile([[Row; LANES]; LANES]);

impl Drop for Tile {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
