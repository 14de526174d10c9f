//! What a prover may choose: a closed list, so that a program never carries code.

use serde::{Deserialize, Serialize};

/// How the honest prover computes a hinted tensor. New kinds go to the end: the order is part of a program's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HintKind {
    /// Element-wise maximum of the inputs (one output, same length).
    Max,
    /// Inputs a and d: ⌊a / d⌋ for d ≥ 1.
    Quotient,
    /// Input x: ⌊√x⌋ for x ≥ 0.
    SquareRoot,
    /// Input x: ⌊2^scale / √x⌋ for x ≥ 1.
    ReciprocalSquareRoot {
        /// Exponent of the result's unit.
        scale: u8,
    },
    /// Input x: the least e ≥ 0 with x < 2^bits·4^e.
    Exponent {
        /// Bits that are kept.
        bits: u8,
    },
    /// Inputs r, x_0, x_1, …: the value at place r (0 is the largest) of the x_j in descending order.
    Ranked,
}

impl HintKind {
    /// The hinted value of one element, from the inputs' values of that element (never empty). Defined for all inputs: what a
    /// gadget excludes gives a value that its constraints refuse.
    pub(super) fn value(self, mut inputs: impl Iterator<Item = i64>) -> i64 {
        let mut next = || inputs.next().unwrap_or(0);
        match self {
            Self::Max => inputs.max().unwrap_or(0),
            Self::Quotient => {
                let (a, d) = (next(), next());
                a.checked_div_euclid(d).unwrap_or(0)
            }
            Self::SquareRoot => next().max(0).isqrt(),
            Self::ReciprocalSquareRoot { scale } => {
                // y ≤ 2^s/√x says the same as y² ≤ ⌊2^2s/x⌋, since y² is an integer
                let square = 1i128 << (2 * u32::from(scale.min(60)));
                let x = i128::from(next().max(1));
                i64::try_from((square / x).isqrt()).unwrap_or(i64::MAX)
            }
            Self::Exponent { bits } => {
                let x = i128::from(next());
                let exceeds = |e: &i64| x >> (2 * e) >= 1i128 << bits.min(64);
                (0..32).find(|e| !exceeds(e)).unwrap_or(32)
            }
            Self::Ranked => {
                let place = usize::try_from(next()).unwrap_or(0);
                let mut row: Vec<i64> = inputs.collect();
                row.sort_unstable_by(|a, b| b.cmp(a));
                row.get(place).copied().unwrap_or(0)
            }
        }
    }
}
