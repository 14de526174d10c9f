//! Closed integer intervals with checked arithmetic.

use serde::{Deserialize, Serialize};

/// No proved interval may reach beyond ±2^62: values stay in `i64` in the solver, and far below p/2 of every field.
pub const BOUND: i64 = 1 << 62;

/// `lo ≤ x ≤ hi`, both ends within ±[`BOUND`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Interval {
    /// Smallest value.
    pub lo: i64,
    /// Largest value.
    pub hi: i64,
}

/// An interval computation left ±2^62, or was given empty bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interval [{lo}, {hi}] is empty or leaves ±2^62")]
pub struct IntervalError {
    /// Lower end that was computed.
    pub lo: i128,
    /// Upper end that was computed.
    pub hi: i128,
}

impl Interval {
    /// The interval [lo, hi].
    ///
    /// # Errors
    /// When `lo > hi` or an end lies outside ±[`BOUND`].
    pub fn new(lo: i128, hi: i128) -> Result<Self, IntervalError> {
        let bound = i128::from(BOUND);
        if lo > hi || lo < -bound || hi > bound {
            return Err(IntervalError { lo, hi });
        }
        // both ends lie within ±2^62 here
        Ok(Self {
            lo: lo as i64,
            hi: hi as i64,
        })
    }

    /// The interval that holds only `x`.
    ///
    /// # Errors
    /// When `x` lies outside ±[`BOUND`].
    pub fn point(x: i64) -> Result<Self, IntervalError> {
        Self::new(x.into(), x.into())
    }

    /// Whether `x` lies inside.
    pub fn contains(&self, x: i64) -> bool {
        self.lo <= x && x <= self.hi
    }

    /// Number of integers inside.
    pub fn width(&self) -> u64 {
        (i128::from(self.hi) - i128::from(self.lo) + 1) as u64
    }

    /// Largest absolute value inside.
    pub fn max_abs(&self) -> u64 {
        self.lo.unsigned_abs().max(self.hi.unsigned_abs())
    }

    /// Largest distance of an integer inside from `centre`.
    pub fn reach(&self, centre: i64) -> u64 {
        self.lo.abs_diff(centre).max(self.hi.abs_diff(centre))
    }

    /// Smallest interval that holds both.
    pub fn union(&self, other: &Self) -> Self {
        Self {
            lo: self.lo.min(other.lo),
            hi: self.hi.max(other.hi),
        }
    }

    /// `{x + y}`.
    ///
    /// # Errors
    /// When the result leaves ±[`BOUND`].
    pub fn add(&self, other: &Self) -> Result<Self, IntervalError> {
        Self::new(
            i128::from(self.lo) + i128::from(other.lo),
            i128::from(self.hi) + i128::from(other.hi),
        )
    }

    /// `{x + c}`.
    ///
    /// # Errors
    /// When the result leaves ±[`BOUND`].
    pub fn shift(&self, c: i64) -> Result<Self, IntervalError> {
        Self::new(
            i128::from(self.lo) + i128::from(c),
            i128::from(self.hi) + i128::from(c),
        )
    }

    /// `{c·x}`.
    ///
    /// # Errors
    /// When the result leaves ±[`BOUND`].
    pub fn scale(&self, c: i64) -> Result<Self, IntervalError> {
        let (a, b) = (
            i128::from(self.lo) * i128::from(c),
            i128::from(self.hi) * i128::from(c),
        );
        Self::new(a.min(b), a.max(b))
    }

    /// `{x·y}`.
    ///
    /// # Errors
    /// When the result leaves ±[`BOUND`].
    pub fn mul(&self, other: &Self) -> Result<Self, IntervalError> {
        let p = [
            i128::from(self.lo) * i128::from(other.lo),
            i128::from(self.lo) * i128::from(other.hi),
            i128::from(self.hi) * i128::from(other.lo),
            i128::from(self.hi) * i128::from(other.hi),
        ];
        Self::new(
            p.into_iter().fold(p[0], i128::min),
            p.into_iter().fold(p[0], i128::max),
        )
    }

    /// `{x²}`.
    ///
    /// # Errors
    /// When the result leaves ±[`BOUND`].
    pub fn square(&self) -> Result<Self, IntervalError> {
        let product = self.mul(self)?;
        let least = match self.contains(0) {
            true => 0,
            false => self.lo.unsigned_abs().min(self.hi.unsigned_abs()),
        };
        Self::new(i128::from(least).pow(2), product.hi.into())
    }

    /// Interval of `floor(x / 2^shift)`.
    pub fn shift_right(&self, shift: u32) -> Self {
        Self {
            lo: self.lo >> shift,
            hi: self.hi >> shift,
        }
    }
}
