//! How a multiplication is divided: bits of a window, lengths of pieces.

use super::limits_of;
use super::resident::Resident;
use crate::cuda::driver::Arg;
use crate::curve::{Curve, G1};
use crate::field::ScalarClass;

/// Threads of a block of everything but scans.
pub(super) const RUN_BLOCK: u32 = 128;
/// Threads of a block of a scan, as in `msm.cuh`.
pub(super) const SCAN_THREADS: u32 = 256;
/// Counts that a block of a scan sums up.
pub(super) const SCAN_BLOCK: u32 = SCAN_THREADS * 16;
/// Widest windows: 2¹⁹ buckets of a set are 64 MiB in G1.
const MAX_BITS: u32 = 20;
/// Bits of the largest magnitude (r − 1)/2, and one for the carry of signed digits.
const FULL_BITS: u32 = 254;

/// Blocks of `block` threads for `n` things.
pub(super) fn blocks(n: usize, block: u32) -> u32 {
    u32::try_from(n.div_ceil(block as usize)).unwrap_or(u32::MAX)
}

/// How the scalars of a multiplication are read.
pub(super) struct Plan {
    n: usize,
    c: u32,
    n_windows: usize,
    tabulated: bool,
    class: ScalarClass,
}

impl Plan {
    pub(super) fn new<C: Curve>(bases: &Resident<C>, class: ScalarClass) -> Self {
        let bits = limits_of(class).0 + 1;
        let table = bases.window_bits();
        let c = table.unwrap_or_else(|| window_bits::<C>(bases.len(), bits));
        Self {
            n: bases.len(),
            c,
            n_windows: bits.div_ceil(c) as usize,
            tabulated: table.is_some(),
            class,
        }
    }

    /// Buckets of a set: the magnitudes of a digit.
    pub(super) fn set(&self) -> usize {
        1 << (self.c - 1)
    }

    pub(super) fn n_sets(&self) -> usize {
        if self.tabulated { 1 } else { self.n_windows }
    }

    pub(super) fn n_buckets(&self) -> usize {
        self.n_sets() * self.set()
    }

    pub(super) fn window_bits(&self) -> u32 {
        self.c
    }

    /// n, c, windows, buckets between windows, points between windows.
    pub(super) fn recoding(&self) -> [Arg; 5] {
        let (set, stride) = match self.tabulated {
            true => (0, self.n),
            false => (self.set(), 0),
        };
        [self.n, self.c as usize, self.n_windows, set, stride].map(super::word)
    }

    /// The most bits of a scalar, and whether negative ones are refused.
    pub(super) fn limits(&self) -> [Arg; 2] {
        let (bits, unsigned) = limits_of(self.class);
        [Arg::U32(bits), Arg::U32(u32::from(unsigned))]
    }
}

/// Cost of an addition of two sums, in additions of a point, times 8.
fn weight<C: Curve>() -> usize {
    if C::POINT_BYTES == G1::POINT_BYTES { 12 } else { 11 }
}

/// The window that makes the fewest additions of `n` scalars of `bits` bits, each window with buckets of its own.
fn window_bits<C: Curve>(n: usize, bits: u32) -> u32 {
    let cost = |c: &u32| {
        let windows = bits.div_ceil(*c) as usize;
        windows * (8 * n + 2 * weight::<C>() * (1 << (c - 1)))
    };
    (2..=MAX_BITS.min(bits.max(2))).min_by_key(cost).unwrap_or(2)
}

/// The window of a table of `n` bases that takes at most `max_bytes`, the best one for multiplications by scalars of full size; `None` where no
/// table fits.
pub(super) fn table_bits<C: Curve>(n: usize, max_bytes: u64) -> Option<u32> {
    let windows = |c: u32| FULL_BITS.div_ceil(c) as usize;
    let fits = |c: &u32| {
        let places = (n as u64).checked_mul(windows(*c) as u64);
        // An entry keeps a place in 31 bits.
        places.is_some_and(|places| {
            places < 1 << 31 && places.saturating_mul(C::POINT_BYTES as u64) <= max_bytes
        })
    };
    let cost = |c: &u32| 8 * n * windows(*c) + 2 * weight::<C>() * (1 << (c - 1));
    (4..=MAX_BITS).filter(fits).min_by_key(cost)
}

/// Windows of a table with windows of `c` bits.
pub(super) fn table_windows(c: u32) -> usize {
    FULL_BITS.div_ceil(c) as usize
}

/// Entries of a piece: as many pieces as threads run at once, twice over.
pub(super) fn piece_length<C: Curve>(total: usize, multiprocessors: usize) -> usize {
    let per_multiprocessor = if C::POINT_BYTES == G1::POINT_BYTES { 384 } else { 256 };
    total
        .div_ceil(2 * per_multiprocessor * multiprocessors)
        .max(16)
}

/// Buckets of a segment: threads for every multiprocessor, but no segment so short that its doublings outweigh it.
pub(super) fn segment_length(n_buckets: usize, multiprocessors: usize) -> usize {
    n_buckets.div_ceil(256 * multiprocessors).clamp(8, 64)
}

/// Sums that a thread folds into one.
pub(super) fn fold_length(n: usize) -> usize {
    n.min(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::G2;

    #[test]
    fn windows_widen_with_the_number_of_terms() {
        for (n, expected) in [(1usize, 2), (1 << 10, 7), (1 << 16, 12), (1 << 20, 16), (1 << 24, 20)] {
            let c = window_bits::<G1>(n, FULL_BITS);
            assert!(c.abs_diff(expected) <= 2, "{n}: {c}");
        }
        assert_eq!(window_bits::<G1>(1 << 20, 2), 2);
    }

    #[test]
    fn a_table_fits_into_its_bytes() {
        for max_bytes in [0u64, 100_000, 1 << 20, 1 << 32, u64::MAX] {
            if let Some(c) = table_bits::<G2>(1000, max_bytes) {
                assert!((1000 * table_windows(c) * G2::POINT_BYTES) as u64 <= max_bytes);
            }
        }
        assert_eq!(table_bits::<G1>(1 << 28, u64::MAX), None, "too many places");
        assert_eq!(table_bits::<G1>(1 << 22, u64::MAX), Some(20));
        assert_eq!(table_bits::<G1>(1000, 64_000), None);
    }
}
