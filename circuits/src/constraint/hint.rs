//! What a prover may choose: a closed list, so that a program never carries code.

use serde::{Deserialize, Serialize};

/// How the honest prover computes a hinted tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HintKind {
    /// Element-wise maximum of the inputs (one output, same length).
    Max,
}

impl HintKind {
    /// The hinted value of one element, from the inputs' values of that element (never empty).
    pub(super) fn value(self, inputs: impl Iterator<Item = i64>) -> i64 {
        match self {
            Self::Max => inputs.max().unwrap_or(0),
        }
    }
}
