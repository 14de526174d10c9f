//! What can go wrong while lowering, completing and checking.

/// Why a program has no circuit of this form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LowerError {
    /// A value could reach p/2.
    #[error("{node}: {step}: needs {bits} bits, the field holds {capacity}")]
    Capacity {
        /// ONNX node.
        node: String,
        /// Instruction.
        step: &'static str,
        /// Bits of the largest combination.
        bits: u32,
        /// Bits below p/2.
        capacity: u32,
    },
    /// A lookup or a word reads a wire outside the committed round.
    #[error("{node}: {step}: reads a wire that is not in the committed round")]
    Phase {
        /// ONNX node.
        node: String,
        /// Instruction.
        step: &'static str,
    },
    /// A table too large to become a selection tree.
    #[error(
        "{node}: a function of {values} values is too large for plain groth16 (at most {max}); use ultragroth"
    )]
    Selection {
        /// ONNX node.
        node: String,
        /// Values of the function.
        values: usize,
        /// Limit.
        max: usize,
    },
    /// A public element of several bytes that a 31-byte word boundary cuts, in a program that does not split it there.
    #[error(
        "public tensor {tensor}: an element lies in two words, and the program does not split it; expected a program as a model makes it"
    )]
    Layout {
        /// Tensor name.
        tensor: String,
    },
    /// The instruction is used in a way that this arithmetization has no rows for.
    #[error("{node}: {step}: {reason}")]
    Unsupported {
        /// ONNX node.
        node: String,
        /// Instruction.
        step: &'static str,
        /// What is not possible.
        reason: &'static str,
    },
    /// A layout that was asked for is not possible.
    #[error("a layout's {what} must be {min}..={max}, got {got}")]
    Plan {
        /// Which number.
        what: &'static str,
        /// Least.
        min: usize,
        /// Most.
        max: usize,
        /// What was asked for.
        got: usize,
    },
    /// More rows than the field has roots of unity for, or than a prover can hold.
    #[error("the circuit has {rows} rows, more than are possible")]
    TooLarge {
        /// Rows.
        rows: usize,
    },
}

/// A constraint that a witness breaks, by name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{node}: {step}: {rule}: element {index} is violated")]
pub struct Violation {
    /// ONNX node.
    pub node: String,
    /// Instruction.
    pub step: &'static str,
    /// Which constraint of the instruction's lowering.
    pub rule: &'static str,
    /// Element.
    pub index: usize,
}

/// A logUp denominator was zero (probability about rows/r): draw a new commitment blinder and try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a lookup denominator is zero; commit again with fresh randomness")]
pub struct ZeroDenominator;
