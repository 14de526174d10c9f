//! # Tables: fixed functions of one integer, given by their rows
//! Semantics: `f(key) = values[clamp(key, lo, hi) − lo]`, identity on [lo, hi] when there are no values.
//! A table is keyed on a contiguous interval, so keys are unique, there is no default row, and layers that apply the same
//! function share one table over the union of their keys.

use crate::tensor::Interval;
use serde::{Deserialize, Serialize};

/// Index of a table in its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableId(pub u32);

/// A saturating function of one integer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableFunction {
    /// Keys below are treated as `lo`.
    pub lo: i64,
    /// Keys above are treated as `hi`.
    pub hi: i64,
    /// `hi − lo + 1` values, or `None` for the identity on [lo, hi].
    pub values: Option<Vec<i64>>,
}

impl TableFunction {
    /// Most rows a table may have.
    pub const MAX_ROWS: u64 = 1 << 20;

    /// `clamp(key, lo, hi)`.
    pub fn clamp(lo: i64, hi: i64) -> Self {
        Self {
            lo,
            hi,
            values: None,
        }
    }

    /// `values[clamp(key, lo, lo + values.len() − 1) − lo]`.
    pub fn map(lo: i64, values: Vec<i64>) -> Self {
        Self {
            lo,
            hi: lo + (values.len() as i64) - 1,
            values: Some(values),
        }
    }

    /// The function's value at `key`.
    pub fn value(&self, key: i64) -> i64 {
        let key = key.clamp(self.lo, self.hi);
        match &self.values {
            None => key,
            // clamp put key − lo into 0..values.len()
            Some(values) => values[(key - self.lo) as usize],
        }
    }

    /// Whether bounds and values agree and stay small.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        const LIMIT: i64 = 1 << 40;
        if self.lo > self.hi || self.lo < -LIMIT || self.hi > LIMIT {
            return Err("clamp bounds are empty or beyond ±2^40");
        }
        if (self.hi - self.lo) as u64 >= Self::MAX_ROWS {
            return Err("clamp bounds span too many values");
        }
        if let Some(values) = &self.values {
            if values.len() as i64 != self.hi - self.lo + 1 {
                return Err("number of values differs from the clamp bounds");
            }
            if values.iter().any(|v| v.unsigned_abs() > LIMIT as u64) {
                return Err("a value is beyond ±2^40");
            }
        }
        Ok(())
    }
}

/// A function and the keys that some lookup of the program can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The function.
    pub function: TableFunction,
    /// Rows: every integer of this interval is one key.
    pub keys: Interval,
}

impl Table {
    /// (key, value) of every row, keys ascending.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = (i64, i64)> + '_ {
        (0..self.keys.width() as usize).map(|i| {
            let key = self.keys.lo + i as i64;
            (key, self.function.value(key))
        })
    }
}
