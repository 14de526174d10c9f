//! ONNX file → float graph.
//!
//! `proto` reads the bytes and refuses what must not reach the parser's later stages; `quantized` turns a graph that is already
//! quantized into real operators between quantization marks; `control` and `sequences` spell out fixed loops, branches and sequences; `tabular` spells scikit-learn's operators in ONNX's own; `translate` maps the typed, decluttered
//! graph of tract to the operators of [`graph`]; `fold` rewrites that graph so that fewer tensors need requantization.

mod collapse;
mod control;
mod dialect;
mod expression;
mod fold;
mod function;
pub mod graph;
mod mask;
pub mod operators;
mod proto;
mod quantized;
mod sequences;
mod tabular;
mod translate;

pub use expression::{Binary, Expression, ExpressionError};
pub use function::Function;
pub(crate) use function::exp_of_fraction;
pub use graph::{FloatGraph, FloatNode, FloatOp, Relation};
pub(crate) use mask::{BELOW, MASK, holds};
pub use proto::MAX_MODEL_BYTES;
pub use quantized::Given;
pub(crate) use tabular::differ_in_units;

/// Why a file is not a model that can be compiled.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// No bytes.
    #[error("the model file is empty")]
    Empty,
    /// More bytes than are read.
    #[error("the model file has {got} bytes, at most {max} are read")]
    TooLarge {
        /// Length of the file.
        got: usize,
        /// Limit.
        max: usize,
    },
    /// The bytes are not an ONNX protobuf.
    #[error("the file is not an ONNX model, or is truncated: {0}")]
    NotOnnx(String),
    /// The model has no graph, node, input or output.
    #[error("the ONNX model has no {0}")]
    Missing(&'static str),
    /// An input or output without a name, or a node that has neither a name nor an output.
    #[error("{what} {index} has no name")]
    Unnamed {
        /// Input, output or node.
        what: &'static str,
        /// Which, from 0.
        index: usize,
    },
    /// Nodes that wait for their own results.
    #[error("node `{node}` depends on its own result")]
    Loop {
        /// A node of the loop, or behind it.
        node: String,
    },
    /// An initializer or constant of a type that no operator here reads.
    #[error(
        "tensor `{tensor}` has the element type {got}; expected a float or integer type of ONNX's list"
    )]
    TensorType {
        /// Name of the tensor, or of the node that holds it.
        tensor: String,
        /// Number of the type.
        got: i32,
    },
    /// Weights are stored beside the model.
    #[error(
        "initializer `{tensor}` keeps its data in another file; save the model with its weights inside"
    )]
    ExternalData {
        /// Name of the initializer.
        tensor: String,
    },
    /// An input without a fixed shape.
    #[error(
        "input `{input}` has the dynamic shape {shape}; export the model with fixed dimensions"
    )]
    DynamicShape {
        /// Name of the input.
        input: String,
        /// Shape as the file gives it.
        shape: String,
    },
    /// An input of a type that is not read.
    #[error(
        "input `{input}` has element type {got}; expected float32, bool, int8 to int64 or uint8"
    )]
    InputType {
        /// Name of the input.
        input: String,
        /// Its type.
        got: String,
    },
    /// A tensor is larger than the limit.
    #[error("tensor `{tensor}` has the shape {shape:?}, more than {max} elements or none")]
    TensorSize {
        /// Name of the tensor.
        tensor: String,
        /// Its dimensions.
        shape: Vec<i64>,
        /// Limit.
        max: usize,
    },
    /// An initializer whose data does not have the length its shape asks for.
    #[error("initializer `{tensor}`: expected {expected} bytes of data, got {got}")]
    InitializerLength {
        /// Name of the initializer.
        tensor: String,
        /// Bytes its shape asks for.
        expected: usize,
        /// Bytes it has.
        got: usize,
    },
    /// A weight is NaN or infinite.
    #[error("weight tensor `{tensor}` holds {value} at index {index}")]
    NonFiniteWeight {
        /// Name of the tensor.
        tensor: String,
        /// Row-major index.
        index: usize,
        /// The value.
        value: f64,
    },
    /// An operator outside the list.
    #[error(
        "node `{node}`: operator {op} is not supported; {instead}; `zkinfer ops` lists what is supported"
    )]
    UnsupportedOperator {
        /// ONNX node name.
        node: String,
        /// Operator, with its domain unless that is ONNX's own.
        op: String,
        /// What a model can have in its place.
        instead: String,
    },
    /// A supported operator used in a way that is not.
    #[error("node `{node}`: {op}: {reason}")]
    Unsupported {
        /// ONNX node name.
        node: String,
        /// Operator.
        op: String,
        /// What is not supported, and what is.
        reason: String,
    },
    /// The parser refused the model.
    #[error("the ONNX model is not consistent: {0}")]
    Parser(String),
    /// The parser stopped on a broken invariant of its own.
    #[error("the ONNX parser gave up on this model: {0}")]
    ParserPanic(String),
}

/// Most elements of a tensor that depends on an input: import takes up to 48 bytes for each, and no circuit of more would be proved.
const MAX_FEATURES: usize = 1 << 22;

/// Reads an ONNX file into a float graph, folded and ready for quantization.
///
/// # Errors
/// See [`ImportError`]; nothing is allocated for a size that the file merely claims.
pub fn import(bytes: &[u8]) -> Result<FloatGraph, ImportError> {
    let model = proto::read(bytes)?;
    let mut graph = translate::translate(model)?;
    mask::rewrite(&mut graph)?;
    fold::fold(&mut graph);
    collapse::collapse(&mut graph);
    fold::fold(&mut graph);
    Ok(graph)
}
