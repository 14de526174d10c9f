//! Histograms of integers whose bins do not depend on the order in which values arrive.
//!
//! A bin is all integers that agree but for their low `shift` bits. The shift is the least that leaves at most [`MAX_BINS`] bins
//! between the least and the largest value, so two histograms merge exactly, and any order of merging gives the same one.

use serde::{Deserialize, Serialize};

/// Most bins of a histogram.
pub const MAX_BINS: usize = 64;

/// How often values of a tensor fell into bins of one width.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// Least value; 0 of an empty histogram.
    pub least: i64,
    /// Largest value; 0 of an empty histogram.
    pub largest: i64,
    /// Binary logarithm of a bin's width.
    pub shift: u32,
    /// Values in each bin; bin i holds the integers from `(first + i)·2^shift` on, where `first` is `least / 2^shift`, rounded down.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// Of a tensor.
    pub fn of(values: &[i64]) -> Self {
        let (Some(&least), Some(&largest)) = (values.iter().min(), values.iter().max()) else {
            return Self::default();
        };
        let mut histogram = Self::empty(least, largest);
        let (shift, first) = (histogram.shift, histogram.first());
        for value in values {
            histogram.counts[((value >> shift) - first) as usize] += 1;
        }
        histogram
    }

    /// No value yet, with the bins for values from `least` to `largest`.
    fn empty(least: i64, largest: i64) -> Self {
        let bins = |shift: u32| (largest >> shift).abs_diff(least >> shift);
        // at shift 63 at most two bins are left
        let shift = (0..63)
            .find(|&shift| bins(shift) < MAX_BINS as u64)
            .unwrap_or(63);
        Self {
            least,
            largest,
            shift,
            counts: vec![0; bins(shift) as usize + 1],
        }
    }

    /// Number of the first bin, counted from that of 0.
    pub fn first(&self) -> i64 {
        self.least >> self.shift
    }

    /// Least integer of bin `i`; bin i ends before that of bin i + 1.
    pub fn start(&self, i: usize) -> i128 {
        (i128::from(self.first()) + i as i128) << self.shift
    }

    /// Values counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The values of both.
    #[must_use]
    pub fn merged(self, other: &Self) -> Self {
        if other.counts.is_empty() {
            return self;
        }
        if self.counts.is_empty() {
            return other.clone();
        }
        let least = self.least.min(other.least);
        let largest = self.largest.max(other.largest);
        let mut all = Self::empty(least, largest);
        for part in [&self, other] {
            // a part's range lies in that of the whole, so its bins are never wider
            let coarser = all.shift - part.shift;
            for (i, count) in part.counts.iter().enumerate() {
                let bin = (part.first() + i as i64) >> coarser;
                let at = (bin - all.first()) as usize;
                all.counts[at] += count;
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn merging_is_counting_all_at_once(
            parts in proptest::collection::vec(
                (0u32..62, proptest::collection::vec(any::<i64>(), 0..20)), 0..6)
        ) {
            let parts: Vec<Vec<i64>> = parts
                .into_iter()
                .map(|(shift, values)| values.into_iter().map(|v| v >> shift).collect())
                .collect();
            let merge = |parts: &[Vec<i64>]| {
                parts.iter().fold(Histogram::default(), |all, part| all.merged(&Histogram::of(part)))
            };
            let whole = Histogram::of(&parts.concat());
            prop_assert_eq!(merge(&parts), whole.clone());
            let reversed: Vec<_> = parts.iter().rev().cloned().collect();
            prop_assert_eq!(merge(&reversed), whole.clone());
            prop_assert!(whole.counts.len() <= MAX_BINS);
            prop_assert_eq!(whole.total(), parts.concat().len() as u64);
        }
    }

    #[test]
    fn int8_has_bins_of_four() {
        let all: Vec<i64> = (-128..128).collect();
        let histogram = Histogram::of(&all);
        assert_eq!((histogram.shift, histogram.counts), (2, vec![4; 64]));
    }

    #[test]
    fn the_ends_of_i64_fit() {
        let histogram = Histogram::of(&[i64::MIN, 0, i64::MAX]);
        assert_eq!(histogram.total(), 3);
        assert_eq!(histogram.start(0), i128::from(i64::MIN));
    }
}
