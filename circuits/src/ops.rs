//! # The integer operators
//! One file per operator holds all the workspace knows about it: how it comes from the float graph, the shape and interval it
//! proves, its integer semantics (`eval` is the specification), its constraints and its test cases. The `operators!` table at
//! the end of this file is the list.
//!
//! An operator has one output. Inputs and output are row-major tensors; an accumulator is an integer tensor that only a
//! [`Requantize`] reads.

mod add;
mod arg_extremum;
mod clip;
mod compare;
mod contract;
mod conv;
mod extremum;
mod gather;
mod layout;
mod lookup;
mod matmul;
mod max_pool;
mod mul;
mod normalize;
mod requantize;
mod rescale;
mod select;
mod softmax;
mod sum_pool;
mod table;
mod top_k;

pub use add::Add;
pub use arg_extremum::ArgExtremum;
pub use clip::Clip;
pub use compare::Compare;
pub use contract::Contract;
pub use conv::Conv;
pub use extremum::Extremum;
pub use gather::Gather;
pub use layout::Layout;
pub use lookup::Lookup;
pub use matmul::MatMul;
pub use max_pool::MaxPool;
pub use mul::Mul;
pub use normalize::Normalize;
pub use requantize::Requantize;
pub use rescale::Rescale;
pub use select::Select;
pub use softmax::Softmax;
pub use sum_pool::SumPool;
pub use table::Table;
pub use top_k::TopK;

use crate::constraint::{BuildError, Builder, WireTensor};
use crate::quantize::{SchemeError, Site};
use crate::tensor::{Fact, GeometryError, Interval, IntervalError, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// All the workspace knows about one operator.
pub trait Operator: Sized {
    /// ONNX spelling where there is one.
    const NAME: &'static str;

    /// The operator that computes a float node on the integers that `site` describes.
    ///
    /// # Errors
    /// When a scale, bias or multiplier does not fit its width.
    fn import(site: &Site<'_>) -> Result<Self, SchemeError>;

    /// Shape, proved interval and quantization of the output.
    ///
    /// # Errors
    /// When the operator does not apply to these inputs. After `Ok`, `eval` and `constrain` succeed on every input inside the
    /// facts.
    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError>;

    /// The integers it computes.
    ///
    /// # Errors
    /// When the inputs do not have the shapes and ranges that `infer` accepted.
    fn eval(&self, x: &[&Tensor]) -> Result<Tensor, EvalError>;

    /// Adds the instructions that force the output to be `eval` of the inputs.
    ///
    /// # Errors
    /// When a compile-time bound of a gadget does not hold.
    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError>;

    /// Small instances with facts and inputs, run on every arithmetization by `check_op`.
    fn cases() -> Vec<Case<Self>>;
}

/// One operator instance with inputs to run it on.
#[derive(Clone, Debug)]
pub struct Case<O> {
    /// What the case is about.
    pub name: &'static str,
    /// The operator.
    pub op: O,
    /// A fact per input.
    pub facts: Vec<Fact>,
    /// Several runs, each with a tensor per input, inside the facts.
    pub runs: Vec<Vec<Tensor>>,
}

/// Why an operator does not apply to its inputs.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InferError {
    /// Wrong number of inputs.
    #[error("expected {expected} inputs, got {got}")]
    Arity {
        /// Inputs the operator takes.
        expected: usize,
        /// Inputs given.
        got: usize,
    },
    /// An input or attribute has the wrong number of elements.
    #[error("{what}: expected {expected} elements, got {got}")]
    Length {
        /// Which tensor or attribute.
        what: &'static str,
        /// Elements needed.
        expected: usize,
        /// Elements found.
        got: usize,
    },
    /// Two inputs must have one shape.
    #[error("the inputs have different shapes, {left:?} and {right:?}")]
    Shapes {
        /// Shape of the first input.
        left: Vec<usize>,
        /// Shape of the second input.
        right: Vec<usize>,
    },
    /// An attribute is outside what the operator means.
    #[error("{0}")]
    Attribute(&'static str),
    /// The zero point stored in the operator is not the input's.
    #[error("zero point: expected {expected} as the input has it, got {got}")]
    ZeroPoint {
        /// Zero point of the input.
        expected: i64,
        /// Zero point of the operator.
        got: i64,
    },
    /// The input can leave the keys of a table.
    #[error("the table has the keys [{}, {}], the input's interval is [{}, {}]", .keys.lo, .keys.hi, .interval.lo, .interval.hi)]
    Keys {
        /// Keys of the table.
        keys: Interval,
        /// Proved interval of the input.
        interval: Interval,
    },
    /// The input is an accumulator, whose scale differs by channel.
    #[error("the input is an accumulator: it must be requantized first")]
    Accumulator,
    /// A window geometry is impossible.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// An interval leaves ±2^62.
    #[error(transparent)]
    Interval(#[from] IntervalError),
}

/// Why an operator could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// Wrong number of inputs.
    #[error("expected {expected} inputs, got {got}")]
    Arity {
        /// Inputs the operator takes.
        expected: usize,
        /// Inputs given.
        got: usize,
    },
    /// An input does not have the inferred size.
    #[error("input: expected {expected} elements, got {got}")]
    Length {
        /// Elements needed.
        expected: usize,
        /// Elements found.
        got: usize,
    },
    /// A value lies outside what `infer` accepted.
    #[error("element {index} is {value}, outside [{}, {}]", .range.lo, .range.hi)]
    Range {
        /// Row-major index.
        index: usize,
        /// The value.
        value: i64,
        /// Where it must lie.
        range: Interval,
    },
    /// An intermediate value does not fit 64 bits: the input was outside its interval.
    #[error("an intermediate value does not fit 64 bits")]
    Overflow,
}

/// `constrain` was given another number of inputs than `infer`.
pub(crate) const ARITY: BuildError = BuildError::Interface {
    reason: "an operator has the wrong number of inputs",
};

/// The fact of the single input.
pub(crate) fn one<'a, T>(x: &[&'a T]) -> Result<&'a T, InferError> {
    match x {
        [x] => Ok(x),
        _ => Err(InferError::Arity {
            expected: 1,
            got: x.len(),
        }),
    }
}

/// The single input tensor, with `expected` elements.
pub(crate) fn one_tensor<'a>(x: &[&'a Tensor], expected: usize) -> Result<&'a Tensor, EvalError> {
    match x {
        [x] if x.len() == expected => Ok(x),
        [x] => Err(EvalError::Length {
            expected,
            got: x.len(),
        }),
        _ => Err(EvalError::Arity {
            expected: 1,
            got: x.len(),
        }),
    }
}

/// Checks that the operator was made for the quantization of its input.
pub(crate) fn quantization(x: &Fact, zero_point: i64) -> Result<Quantization, InferError> {
    let quantization = x.quantization.ok_or(InferError::Accumulator)?;
    if quantization.zero_point != zero_point {
        return Err(InferError::ZeroPoint {
            expected: quantization.zero_point,
            got: zero_point,
        });
    }
    Ok(quantization)
}

/// Checks the number of elements of an input or attribute.
pub(crate) fn length(what: &'static str, expected: usize, got: usize) -> Result<(), InferError> {
    if expected == got {
        Ok(())
    } else {
        Err(InferError::Length {
            what,
            expected,
            got,
        })
    }
}

/// Least and largest of the values, of which there is at least one.
pub(crate) fn span(values: &[i32]) -> Result<Interval, InferError> {
    let ends = (values.iter().min(), values.iter().max());
    let (Some(&lo), Some(&hi)) = ends else {
        return Err(InferError::Attribute("a table without values"));
    };
    Ok(Interval::new(lo.into(), hi.into())?)
}

/// Number of elements of `shape`, bounded.
pub(crate) fn volume(shape: &[usize]) -> Result<usize, InferError> {
    shape
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .filter(|&n| (1..=crate::tensor::MAX_ELEMENTS).contains(&n))
        .ok_or(InferError::Attribute(
            "a tensor is empty or has more than 2^28 elements",
        ))
}

/// Writes the closed set of operators: an enum, and the dispatch of every trait function over it.
macro_rules! operators {
    ($($op:ident),* $(,)?) => {
        /// One operator of an integer model.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum Op {
            $(#[doc = concat!("See [`", stringify!($op), "`].")] $op($op)),*
        }

        impl Op {
            /// ONNX spelling where there is one.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$op(_) => $op::NAME),* }
            }

            /// See [`Operator::infer`].
            ///
            /// # Errors
            /// When the operator does not apply to these inputs.
            pub fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
                match self { $(Self::$op(op) => op.infer(x)),* }
            }

            /// See [`Operator::eval`].
            ///
            /// # Errors
            /// When the inputs do not have the shapes and ranges that `infer` accepted.
            pub fn eval(&self, x: &[&Tensor]) -> Result<Tensor, EvalError> {
                match self { $(Self::$op(op) => op.eval(x)),* }
            }

            /// See [`Operator::constrain`].
            ///
            /// # Errors
            /// When a compile-time bound of a gadget does not hold.
            pub fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
                match self { $(Self::$op(op) => op.constrain(b, x)),* }
            }

            /// The test cases of every operator.
            pub fn cases() -> Vec<Case<Op>> {
                let mut all = Vec::new();
                $(all.extend($op::cases().into_iter().map(|case| Case {
                    name: case.name,
                    op: Op::$op(case.op),
                    facts: case.facts,
                    runs: case.runs,
                }));)*
                all
            }
        }

        $(impl From<$op> for Op {
            fn from(op: $op) -> Self {
                Self::$op(op)
            }
        })*
    };
}

operators!(
    Add,
    ArgExtremum,
    Compare,
    Contract,
    Conv,
    Extremum,
    Gather,
    Layout,
    Lookup,
    MatMul,
    MaxPool,
    Mul,
    Normalize,
    Requantize,
    Rescale,
    Select,
    Softmax,
    SumPool,
    Table,
    TopK,
    // at the end: the bytes of a model have the number of an operator in this list
    Clip,
);
