//! Right answers: ranks of labels, and what the largest element is mistaken for.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Outputs with fewer classes have no top-5.
pub const LEAST_CLASSES_FOR_TOP_5: usize = 6;
/// Most cells of a confusion that are kept.
pub const MAX_CONFUSION_CELLS: usize = 1024;

/// Samples whose label was among the largest elements of an output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hits {
    /// The label was the largest; of equals the first counts.
    pub top_1: usize,
    /// The label was among the five largest; 0 where there are fewer than [`LEAST_CLASSES_FOR_TOP_5`] classes.
    pub top_5: usize,
}

impl Hits {
    /// Of one sample.
    pub(super) fn of<T: PartialOrd>(values: &[T], label: usize) -> Self {
        let Some(own) = values.get(label) else {
            return Self::default();
        };
        let before = |(i, v): &(usize, &T)| *v > own || (*v == own && *i < label);
        let rank = values.iter().enumerate().filter(before).count();
        let wide = values.len() >= LEAST_CLASSES_FOR_TOP_5;
        Self {
            top_1: usize::from(rank == 0),
            top_5: usize::from(wide && rank < 5),
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.top_1 += other.top_1;
        self.top_5 += other.top_5;
    }
}

/// Accuracy on labelled samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Of the integer model.
    pub quantized: Hits,
    /// Of the float model, where it was given.
    pub float: Option<Hits>,
    /// Samples that the float model has right and the integer model wrong.
    pub lost: usize,
    /// Samples that the integer model has right and the float model wrong.
    pub gained: usize,
}

/// What the rows of a confusion are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Truth {
    /// The labels.
    Label,
    /// The largest elements of the float model.
    Float,
}

/// How often each class was taken for each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// What the first number of a cell is.
    pub truth: Truth,
    /// Truth, largest element of the integer model, samples; the most frequent first, at most [`MAX_CONFUSION_CELLS`].
    pub cells: Vec<(usize, usize, usize)>,
    /// Cells left out.
    pub left_out: usize,
}

impl Confusion {
    pub(super) fn of(truth: Truth, pairs: impl Iterator<Item = (usize, usize)>) -> Self {
        let mut counts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for pair in pairs {
            *counts.entry(pair).or_default() += 1;
        }
        let mut cells: Vec<_> = counts.into_iter().map(|((t, q), n)| (t, q, n)).collect();
        cells.sort_by_key(|&(t, q, n)| (std::cmp::Reverse(n), t, q));
        let left_out = cells.len().saturating_sub(MAX_CONFUSION_CELLS);
        cells.truncate(MAX_CONFUSION_CELLS);
        Self {
            truth,
            cells,
            left_out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_elements_the_first_counts() {
        let hits = |values: &[i32], label| {
            let hits = Hits::of(values, label);
            (hits.top_1, hits.top_5)
        };
        assert_eq!(hits(&[3, 3, 1], 0), (1, 0));
        assert_eq!(hits(&[3, 3, 1], 1), (0, 0), "three classes have no top-5");
        assert_eq!(hits(&[0; 6], 4), (0, 1));
        assert_eq!(hits(&[0; 6], 5), (0, 0), "five equals come before it");
        assert_eq!(hits(&[1, 2], 7), (0, 0));
    }

    #[test]
    fn confusion_is_bounded_and_the_most_frequent_come_first() {
        let pairs = (0..2000)
            .map(|i| (i, i))
            .chain([(5, 5), (5, 6), (5, 6), (5, 6)]);
        let confusion = Confusion::of(Truth::Label, pairs);
        assert_eq!(confusion.cells[..2], [(5, 6, 3), (5, 5, 2)]);
        assert_eq!(confusion.cells.len(), MAX_CONFUSION_CELLS);
        assert_eq!(confusion.left_out, 2001 - MAX_CONFUSION_CELLS);
    }
}
