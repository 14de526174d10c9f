//! How many digits a tensor has: what a caller may choose, and what a report says was chosen and why.

use crate::onnx::FloatGraph;
use crate::tensor::{Fact, Interval};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use zkinfer_verifier::Dtype;

/// Most nodes whose precision may be chosen.
pub const MAX_PRECISIONS: usize = 1 << 12;
/// Longest part of a name that the nearest one is sought by.
const MAX_COMPARED: usize = 64;

/// The integers of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// −128..128 over the calibrated range.
    Int8,
    /// −2^15..2^15 over the calibrated range.
    Int16,
}

impl Precision {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Int16 => "int16",
        }
    }

    /// The integers there are.
    pub(super) fn interval(self) -> Interval {
        let dtype = match self {
            Self::Int8 => Dtype::Int8,
            Self::Int16 => Dtype::Int16,
        };
        Interval {
            lo: dtype.min(),
            hi: dtype.max(),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = PrecisionError;

    fn from_str(text: &str) -> Result<Self, PrecisionError> {
        let all = [Self::Int8, Self::Int16];
        let found = all.into_iter().find(|p| p.name() == text);
        found.ok_or_else(|| PrecisionError::Text {
            got: text.to_owned(),
        })
    }
}

/// The precisions that a caller chooses, by the names that the accuracy report gives the nodes; all others are the quantizer's choice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Precisions(BTreeMap<String, Precision>);

impl Precisions {
    /// Chooses the precision of a node; returns what was chosen before.
    pub fn choose(&mut self, node: &str, precision: Precision) -> Option<Precision> {
        self.0.insert(node.to_owned(), precision)
    }

    /// Whether everything is left to the quantizer.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nodes whose precision is chosen.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Nodes and their precisions, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Precision)> {
        self.0.iter().map(|(node, &p)| (node.as_str(), p))
    }

    /// What is chosen for a node.
    pub fn of(&self, node: &str) -> Option<Precision> {
        self.0.get(node).copied()
    }

    /// Refuses names that no node has, and choices about a file that gives its own quantization.
    pub(super) fn check(&self, graph: &FloatGraph) -> Result<(), PrecisionError> {
        if self.len() > MAX_PRECISIONS {
            return Err(PrecisionError::TooMany { got: self.len() });
        }
        for (node, _) in self.iter() {
            if !graph.nodes.iter().any(|n| n.name == node) {
                return Err(PrecisionError::Unknown {
                    node: node.to_owned(),
                    nearest: nearest(node, graph),
                });
            }
            if graph.given.is_some() {
                let node = node.to_owned();
                return Err(PrecisionError::Given { node });
            }
        }
        Ok(())
    }
}

/// The name of a node that differs least from `name`, the first of equals.
fn nearest(name: &str, graph: &FloatGraph) -> String {
    let names = graph.nodes.iter().map(|node| node.name.as_str());
    let nearest = names.min_by_key(|other| distance(name, other));
    nearest.unwrap_or_default().to_owned()
}

/// Insertions, deletions and changes of characters between the ends of two names.
fn distance(a: &str, b: &str) -> usize {
    let end = |text: &str| text.chars().rev().take(MAX_COMPARED).collect::<Vec<_>>();
    let (a, b) = (end(a), end(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// Why a precision cannot be as it was chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrecisionError {
    /// It is no precision.
    #[error("expected the precision int8 or int16, got `{got}`")]
    Text {
        /// What was written.
        got: String,
    },
    /// More choices than are read.
    #[error("expected the precisions of at most {MAX_PRECISIONS} nodes, got {got}")]
    TooMany {
        /// Choices.
        got: usize,
    },
    /// No node has the name.
    #[error(
        "precision of `{node}`: the model has no node of this name; the nearest is `{nearest}`"
    )]
    Unknown {
        /// The name.
        node: String,
        /// The name of a node that differs least from it.
        nearest: String,
    },
    /// The file gives every quantization itself.
    #[error(
        "precision of `{node}`: expected a model of real numbers, got one whose file gives every tensor's integers"
    )]
    Given {
        /// The node.
        node: String,
    },
    /// The node's result is not computed: what reads it takes it in.
    #[error(
        "precision of `{node}`: expected a node whose result is a tensor of its own, got one that is computed together with `{into}`; choose the precision of `{into}`"
    )]
    Fused {
        /// The node.
        node: String,
        /// What takes it in.
        into: String,
    },
    /// The node passes on the integers that it reads.
    #[error(
        "precision of `{node}`: expected a node that rounds, got one that keeps the int8 it reads; choose the precision of `{from}`"
    )]
    Kept {
        /// The node.
        node: String,
        /// What it reads.
        from: String,
    },
    /// The node's results are truth values, indices or other whole numbers.
    #[error(
        "precision of `{node}`: expected a node of real numbers, got whole numbers, which stay exact"
    )]
    Whole {
        /// The node.
        node: String,
    },
}

/// Why a tensor's integers are what they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Eight bits, as all that needs no more.
    Usual,
    /// More than eight, because a reader needs them.
    ReadBy {
        /// The reader's operator.
        op: String,
        /// The reader.
        node: String,
        /// Whether there are only sums and moves in between, and not nothing.
        through_sums: bool,
    },
    /// What the operator makes: shares of a softmax, normalized rows.
    Operator,
    /// Nothing is rounded: sums and moves of the integers that are read.
    Exact,
    /// Truth values, indices and other whole numbers.
    Whole,
    /// The quantized file gives them.
    Given,
    /// The caller chose.
    Chosen,
}

/// The integers of a tensor, and why they are what they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integers {
    /// Least integer that any admissible input leads to.
    pub least: i64,
    /// Largest one.
    pub largest: i64,
    /// Why there are so many.
    pub reason: Reason,
}

impl Integers {
    pub(super) fn new(fact: &Fact, reason: Reason) -> Self {
        Self {
            least: fact.interval.lo,
            largest: fact.interval.hi,
            reason,
        }
    }

    /// Bits of the narrowest two's complement that holds them, or of the narrowest natural numbers.
    pub fn bits(&self) -> u32 {
        // the magnitudes without the sign; −2^k needs as many as 2^k − 1
        let magnitude = |x: i64| 64 - (if x < 0 { !x } else { x }).leading_zeros();
        let sign = u32::from(self.least < 0);
        magnitude(self.least).max(magnitude(self.largest)) + sign
    }

    /// The narrowest type of at most sixteen bits that holds them, or how many bits they have.
    pub fn type_name(&self) -> String {
        let types = [Dtype::Int8, Dtype::Uint8, Dtype::Int16];
        let holds = |t: &Dtype| self.least >= t.min() && self.largest <= t.max();
        match types.into_iter().find(holds) {
            Some(dtype) => dtype.to_string(),
            None => format!("{} bits", self.bits()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usual => f.write_str("usual"),
            Self::ReadBy {
                op,
                node,
                through_sums,
            } => {
                let through = if *through_sums { " through sums" } else { "" };
                write!(f, "{op} {node} reads it{through}")
            }
            Self::Operator => f.write_str("what the operator makes"),
            Self::Exact => f.write_str("exact: nothing is rounded"),
            Self::Whole => f.write_str("whole numbers"),
            Self::Given => f.write_str("given by the file"),
            Self::Chosen => f.write_str("chosen"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_types_are_the_narrowest() {
        let integers = |least, largest| Integers {
            least,
            largest,
            reason: Reason::Usual,
        };
        let shown = |least, largest| {
            let integers = integers(least, largest);
            (integers.bits(), integers.type_name())
        };
        assert_eq!(shown(-128, 127), (8, "int8".to_owned()));
        assert_eq!(shown(0, 255), (8, "uint8".to_owned()));
        assert_eq!(shown(-129, 0), (9, "int16".to_owned()));
        assert_eq!(shown(0, 4095), (12, "int16".to_owned()));
        assert_eq!(shown(-32768, 32767), (16, "int16".to_owned()));
        assert_eq!(shown(-32768, 32768), (17, "17 bits".to_owned()));
        assert_eq!(shown(0, 0), (0, "int8".to_owned()));
    }

    #[test]
    fn names_are_compared_by_edits() {
        assert_eq!(distance("conv1", "conv1"), 0);
        assert_eq!(distance("conv1", "conv2"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("/a/Relu_output_0", "/a/Relu"), 9);
    }

    #[test]
    fn a_precision_is_int8_or_int16() {
        assert_eq!("int16".parse(), Ok(Precision::Int16));
        assert_eq!(Precision::Int8.to_string().parse(), Ok(Precision::Int8));
        let error = "int4".parse::<Precision>();
        let error = error.map_or_else(|e| e.to_string(), |p| p.to_string());
        assert!(
            error.contains("int8 or int16") && error.contains("int4"),
            "{error}"
        );
    }
}
