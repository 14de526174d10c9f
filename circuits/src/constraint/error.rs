//! Why a program cannot be built.

use super::TensorId;
use crate::tensor::IntervalError;

/// A step of the builder that would not be sound or not be bounded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A value could leave ±2^62.
    #[error("{node}: {step}: element {index}: {source}")]
    Interval {
        /// ONNX node.
        node: String,
        /// Instruction.
        step: &'static str,
        /// Element index.
        index: usize,
        /// Computed bounds.
        source: IntervalError,
    },
    /// Operand lengths disagree.
    #[error("{node}: {step}: expected {expected} elements, got {got}")]
    Length {
        /// ONNX node.
        node: String,
        /// Instruction.
        step: &'static str,
        /// Needed length.
        expected: usize,
        /// Given length.
        got: usize,
    },
    /// A key interval that no table of bounded size covers.
    #[error(
        "{node}: the activation before clamping spans [{lo}, {hi}], more than the {max} rows a table may have"
    )]
    TableTooWide {
        /// ONNX node.
        node: String,
        /// Smallest key.
        lo: i64,
        /// Largest key.
        hi: i64,
        /// Row limit.
        max: u64,
    },
    /// A table function that is not well formed.
    #[error("{node}: table: {reason}")]
    Table {
        /// ONNX node.
        node: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A shift or bit count outside its limits.
    #[error("{node}: {step}: {what} is {got}, allowed {min}..={max}")]
    Parameter {
        /// ONNX node.
        node: String,
        /// Instruction.
        step: &'static str,
        /// Which parameter.
        what: &'static str,
        /// Given.
        got: i64,
        /// Least allowed.
        min: i64,
        /// Most allowed.
        max: i64,
    },
    /// A linear map whose index or shape is not possible.
    #[error("{node}: linear map: {reason}")]
    Map {
        /// ONNX node.
        node: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A range check that the proved interval can never pass.
    #[error("{node}: range: the interval [{lo}, {hi}] never fits {bits} bits")]
    EmptyRange {
        /// ONNX node.
        node: String,
        /// Smallest value.
        lo: i64,
        /// Largest value.
        hi: i64,
        /// Bits asked for.
        bits: u32,
    },
    /// Inputs, outputs or the statement layout do not match.
    #[error("program interface: {reason}")]
    Interface {
        /// What is wrong.
        reason: &'static str,
    },
    /// The inputs and outputs are not a statement.
    #[error("program interface: {0}")]
    Layout(zkinfer_verifier::LayoutError),
    /// A hinted tensor that no step binds.
    #[error("{node}: tensor {tensor:?} is hinted and never bound")]
    UnboundHint {
        /// ONNX node.
        node: String,
        /// The tensor.
        tensor: TensorId,
    },
    /// The program is larger than the limits.
    #[error("the program has more than {max} {what}")]
    TooLarge {
        /// Which count.
        what: &'static str,
        /// Limit.
        max: usize,
    },
    /// A batch of no copy, or of too many.
    #[error("a batch holds 1 to {max} inferences, got {got}")]
    Batch {
        /// Most copies.
        max: u32,
        /// Copies asked for.
        got: u32,
    },
    /// A program that is a batch cannot be repeated once more.
    #[error("the program is a batch of {copies} already")]
    Batched {
        /// Copies it has.
        copies: u32,
    },
    /// The copies of a batch would pass a limit together.
    #[error("a batch of {batch}: {one} {what} in each, at most {max} in all, which is a batch of {}", .max / (*.one).max(1))]
    BatchTooLarge {
        /// Which count.
        what: &'static str,
        /// Copies asked for.
        batch: u32,
        /// Count of one copy.
        one: u64,
        /// Limit.
        max: u64,
    },
}
