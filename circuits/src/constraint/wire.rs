//! Handles to tensors of wires. The type says what is known about the values.
//!
//! * [`WireTensor`]: bound, with an interval proved for every element; arithmetic is allowed.
//! * [`Hinted`]: chosen by the prover; nothing is known until a range, lookup or membership binds it.
//! * [`Unbound`]: the quotient of a split, a linear expression that some field element always satisfies; its interval is
//!   only expected, and it can do nothing but enter a lookup or a range.

use crate::tensor::Interval;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Index of a tensor in its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TensorId(pub u32);

impl TensorId {
    /// The index as a `usize`.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A bound tensor: element i lies in `intervals()[i]` in every accepted witness.
#[derive(Clone, Debug)]
pub struct WireTensor {
    pub(super) id: TensorId,
    pub(super) intervals: Arc<[Interval]>,
}

impl WireTensor {
    /// Which tensor this is.
    pub fn id(&self) -> TensorId {
        self.id
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.intervals.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// Proved interval of every element.
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }
}

/// Values the prover chose; no arithmetic and no interval until they are bound.
#[derive(Debug)]
pub struct Hinted {
    pub(super) id: TensorId,
    pub(super) len: usize,
}

/// The quotient of a split: an expression whose interval is expected, not proved.
#[derive(Debug)]
pub struct Unbound {
    pub(super) id: TensorId,
    pub(super) expected: Arc<[Interval]>,
}

impl Unbound {
    /// Interval that every honest value lies in, element by element.
    pub fn expected(&self) -> &[Interval] {
        &self.expected
    }
}
