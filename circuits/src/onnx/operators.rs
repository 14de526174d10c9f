//! # The ONNX operators that a model may have
//!
//! One list: the reader refuses what is not in it, `zkinfer ops` and `OPERATORS.md` print it with what each operator costs, and the conformance
//! tests demand a proved case of every entry. Costs are counted by `tests/onnx_conformance` on one small case of each operator.

mod alternative;
mod page;

use tract_onnx::pb::NodeProto;

pub use alternative::alternative;
pub use page::{Columns, page, table};

/// Costs of [`OPERATORS`], written by `tests/onnx_conformance`.
const COSTS: &str = include_str!("operators/costs.csv");

/// An operator and what of it is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operator {
    /// `op_type`, as in the file; behind its domain and a point where that is not ONNX's own.
    pub name: &'static str,
    /// What of it is supported.
    pub scope: &'static str,
    /// The operator on real numbers that it becomes, between quantization marks: its costs are that one's.
    pub becomes: Option<&'static str>,
}

/// What a case of an operator costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The case of the `onnx` package, or a file of the tests.
    pub case: &'static str,
    /// Elements of its outputs.
    pub elements: usize,
    /// Constraints of groth16 but for those of the statement; `None` where that form has no circuit for the operator's tables.
    pub groth16: Option<usize>,
    /// Constraints of ultragroth but for those of tables and of the statement.
    pub ultragroth: usize,
    /// Rows of halo2-kzg's tape and lookups.
    pub halo2: usize,
}

impl Operator {
    /// The domain and the `op_type`.
    #[must_use]
    pub fn id(&self) -> (&'static str, &'static str) {
        self.name.rsplit_once('.').unwrap_or(("", self.name))
    }

    /// Its counted costs, or those of the operator it becomes; `None` for what is computed when the model is read.
    #[must_use]
    pub fn cost(&self) -> Option<Counted> {
        let name = self.becomes.unwrap_or(self.name);
        COSTS.lines().skip(1).find_map(|line| {
            let mut fields = line.split(',');
            if fields.next() != Some(name) {
                return None;
            }
            let case = fields.next()?;
            let mut count = || fields.next()?.parse().ok();
            Some(Counted {
                case,
                elements: count()?,
                groth16: count(),
                ultragroth: count()?,
                halo2: count()?,
            })
        })
    }
}

/// The domain as it is in the list: that of ONNX's own operators has two names.
pub(super) fn standard(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// The operator of a node, behind its domain and a point unless that is ONNX's own.
pub(super) fn name_of(node: &NodeProto) -> String {
    match standard(&node.domain) {
        "" => node.op_type.clone(),
        domain => format!("{domain}.{}", node.op_type),
    }
}

/// Whether an operator on real numbers or truth values is in the list.
pub(super) fn is_supported(domain: &str, op_type: &str) -> bool {
    domain.is_empty() && OPERATORS.iter().any(|o| o.name == op_type)
}

/// Whether an operator on quantized integers is in the list.
pub(super) fn is_quantized(domain: &str, op_type: &str) -> bool {
    QUANTIZED.iter().any(|o| o.id() == (domain, op_type))
}

/// The entry of an operator, if there is one.
#[must_use]
pub fn find(domain: &str, op_type: &str) -> Option<&'static Operator> {
    let all = OPERATORS.iter().chain(QUANTIZED).chain(TABULAR);
    let mut all = all.filter(|o| o.id() == (standard(domain), op_type));
    all.next()
}

const fn operator(name: &'static str, scope: &'static str) -> Operator {
    Operator {
        name,
        scope,
        becomes: None,
    }
}

const fn becomes(name: &'static str, scope: &'static str, becomes: &'static str) -> Operator {
    Operator {
        name,
        scope,
        becomes: Some(becomes),
    }
}

const ALL: &str = "all attributes";
const ELEMENT: &str = "all attributes; functions one behind the other become one table";
const PAIR: &str = "tensors and constants that broadcast";
const FIXED: &str = "where it can be computed when the model is read";
const MOVES: &str = "all attributes; elements move at no cost";
const FIXED_MOVES: &str = "by constants; elements move at no cost";
const REDUCED: &str = "fixed axes, keepdims";
const SCALES: &str = "int8 and uint8; scales and zero points fixed in the file, per tensor, those of weights per channel too";
const TREES: &str = "one kind of comparison in all trees, every tree a branch at least, depth at most 256; operator set 13; float32 weights";
const UNROLLED: &str = "unrolled over a fixed length; forward, reverse, bidirectional, layout; Sigmoid, Tanh, Relu; no clip, no shorter sequences";

/// Operators on real numbers, whole numbers and truth values.
pub const OPERATORS: &[Operator] = &[
    operator("Abs", ELEMENT),
    operator("Acos", ELEMENT),
    operator("Acosh", ELEMENT),
    operator("Add", PAIR),
    operator("And", PAIR),
    operator(
        "ArgMax",
        "the first of equals, or the last by select_last_index",
    ),
    operator(
        "ArgMin",
        "the first of equals, or the last by select_last_index",
    ),
    operator("Asin", ELEMENT),
    operator("Asinh", ELEMENT),
    operator("Atan", ELEMENT),
    operator("Atanh", ELEMENT),
    operator(
        "AveragePool",
        "any number of spatial axes, ceil_mode, count_include_pad, auto_pad, dilations",
    ),
    operator("BatchNormalization", "in inference (training_mode = 0)"),
    becomes(
        "Cast",
        "to floats at no cost, to integers (a fraction is cut off) and bool",
        "Floor",
    ),
    becomes(
        "CastLike",
        "to the type of a tensor that is only asked for its type",
        "Floor",
    ),
    operator("Ceil", ELEMENT),
    operator("Celu", ELEMENT),
    operator("Clip", "fixed bounds"),
    operator("Compress", "fixed condition"),
    operator("Concat", MOVES),
    operator("Constant", FIXED),
    operator("ConstantOfShape", FIXED),
    operator(
        "Conv",
        "1-D, 2-D, 3-D; groups, dilations, strides, auto_pad; fixed weights",
    ),
    operator(
        "ConvTranspose",
        "1-D, 2-D, 3-D; groups, dilations, strides, auto_pad; fixed weights",
    ),
    operator("Cos", ELEMENT),
    operator("Cosh", ELEMENT),
    operator("CumSum", "fixed axis, exclusive, reverse"),
    operator("DepthToSpace", MOVES),
    operator(
        "Div",
        "two tensors, or a tensor and a constant; of whole numbers by a constant",
    ),
    operator("Dropout", "in inference; not its mask"),
    operator("Einsum", "one or two operands"),
    operator("Elu", ELEMENT),
    operator("Equal", PAIR),
    operator("Erf", ELEMENT),
    operator("Exp", ELEMENT),
    operator("Expand", FIXED_MOVES),
    operator("Flatten", MOVES),
    operator("Floor", ELEMENT),
    operator("GRU", UNROLLED),
    operator(
        "Gather",
        "fixed indices along any axis; computed ones into the first axis of a constant (embeddings)",
    ),
    operator("GatherElements", "fixed indices"),
    operator("GatherND", "fixed indices"),
    operator("Gelu", ELEMENT),
    operator(
        "Gemm",
        "two tensors, or a tensor and fixed weights; transA, transB, alpha, beta",
    ),
    operator("GlobalAveragePool", "any number of spatial axes"),
    operator("GlobalLpPool", "p at least 1"),
    operator("GlobalMaxPool", "any number of spatial axes"),
    operator("Greater", PAIR),
    operator("GreaterOrEqual", PAIR),
    operator("GroupNormalization", ALL),
    operator("HardSigmoid", ELEMENT),
    operator("HardSwish", ELEMENT),
    operator("Hardmax", ALL),
    operator("Identity", MOVES),
    operator("InstanceNormalization", ALL),
    operator("LRN", ALL),
    operator("LSTM", UNROLLED),
    operator("LayerNormalization", "any axis"),
    operator("LeakyRelu", ELEMENT),
    operator("Less", PAIR),
    operator("LessOrEqual", PAIR),
    operator("Log", ELEMENT),
    operator("LogSoftmax", "any axis"),
    operator("LpNormalization", "p of 1 or 2"),
    operator(
        "LpPool",
        "any number of spatial axes, ceil_mode, auto_pad, dilations; p at least 1",
    ),
    operator(
        "MatMul",
        "two tensors, or a tensor and fixed weights; any batch axes",
    ),
    operator("Max", PAIR),
    operator(
        "MaxPool",
        "any number of spatial axes, ceil_mode, auto_pad, dilations; not the positions of the maxima",
    ),
    operator("Mean", PAIR),
    operator("MeanVarianceNormalization", ALL),
    operator("Min", PAIR),
    operator("Mish", ELEMENT),
    operator("Mod", "by a constant, with fmod or without"),
    operator("Mul", PAIR),
    operator("Neg", ELEMENT),
    operator("Not", ELEMENT),
    operator("OneHot", "fixed depth and values"),
    operator("Or", PAIR),
    operator("PRelu", "slopes that broadcast to the tensor"),
    operator(
        "Pad",
        "constant, edge, reflect and wrap, by fixed pads; wrap on every axis",
    ),
    operator("Pow", "fixed exponents, at most 64 different ones"),
    operator("RMSNormalization", "any axis"),
    operator("RNN", UNROLLED),
    operator("Range", FIXED),
    operator("Reciprocal", ELEMENT),
    operator("ReduceL1", REDUCED),
    operator("ReduceL2", REDUCED),
    operator("ReduceLogSum", REDUCED),
    operator("ReduceLogSumExp", REDUCED),
    operator("ReduceMax", REDUCED),
    operator("ReduceMean", REDUCED),
    operator("ReduceMin", REDUCED),
    operator("ReduceProd", REDUCED),
    operator("ReduceSum", REDUCED),
    operator("ReduceSumSquare", REDUCED),
    operator("Relu", ELEMENT),
    operator("Reshape", FIXED_MOVES),
    operator(
        "Resize",
        "nearest, linear, cubic; every coordinate mode; fixed sizes or scales; antialias, axes, crops",
    ),
    operator(
        "ReverseSequence",
        "fixed lengths; batch and time are the first two axes",
    ),
    operator("Round", ELEMENT),
    operator(
        "Scan",
        "unrolled; a body whose inputs have types, at most 4096 steps",
    ),
    operator("ScatterElements", "fixed indices, no reduction"),
    operator("ScatterND", "fixed indices, no reduction"),
    operator("Selu", ELEMENT),
    operator("Shape", FIXED),
    operator("Shrink", ELEMENT),
    operator("Sigmoid", ELEMENT),
    operator("Sign", ELEMENT),
    operator("Sin", ELEMENT),
    operator("Sinh", ELEMENT),
    operator("Size", FIXED),
    operator("Slice", FIXED_MOVES),
    operator(
        "Softmax",
        "any axis; masks of the scores, as −∞ or down from −10⁹",
    ),
    operator("Softplus", ELEMENT),
    operator("Softsign", ELEMENT),
    operator("SpaceToDepth", MOVES),
    operator("Split", FIXED_MOVES),
    operator("Sqrt", ELEMENT),
    operator("Squeeze", MOVES),
    operator("Sub", PAIR),
    operator("Sum", PAIR),
    operator("Swish", ELEMENT),
    operator("Tan", ELEMENT),
    operator("Tanh", ELEMENT),
    operator("ThresholdedRelu", ELEMENT),
    operator("Tile", FIXED_MOVES),
    operator(
        "TopK",
        "fixed k; values and indices, sorted; the first of equals",
    ),
    operator("Transpose", MOVES),
    operator("Trilu", FIXED_MOVES),
    operator("Unsqueeze", MOVES),
    operator("Upsample", "nearest and linear by fixed scales"),
    operator(
        "Where",
        "computed or fixed condition, tensors and constants",
    ),
    operator("Xor", PAIR),
];

/// Operators on quantized integers: a graph that has them keeps the scales of the file.
pub const QUANTIZED: &[Operator] = &[
    becomes(
        "ConvInteger",
        "behind a QuantizeLinear with a fixed scale",
        "Conv",
    ),
    becomes("DequantizeLinear", SCALES, "Identity"),
    becomes(
        "MatMulInteger",
        "behind a QuantizeLinear with a fixed scale",
        "MatMul",
    ),
    becomes("QLinearConv", SCALES, "Conv"),
    becomes("QLinearMatMul", SCALES, "MatMul"),
    becomes("QuantizeLinear", SCALES, "Clip"),
    becomes("com.microsoft.DequantizeLinear", SCALES, "Identity"),
    becomes("com.microsoft.QGemm", SCALES, "Gemm"),
    becomes("com.microsoft.QLinearAdd", SCALES, "Add"),
    becomes(
        "com.microsoft.QLinearAveragePool",
        "channels first",
        "AveragePool",
    ),
    becomes("com.microsoft.QLinearConcat", SCALES, "Concat"),
    becomes(
        "com.microsoft.QLinearGlobalAveragePool",
        "channels first",
        "GlobalAveragePool",
    ),
    becomes("com.microsoft.QLinearLeakyRelu", SCALES, "LeakyRelu"),
    becomes("com.microsoft.QLinearMul", SCALES, "Mul"),
    becomes("com.microsoft.QLinearSigmoid", SCALES, "Sigmoid"),
    becomes("com.microsoft.QLinearSoftmax", SCALES, "Softmax"),
    becomes("com.microsoft.QuantizeLinear", SCALES, "Clip"),
];

/// scikit-learn's operators, which become ONNX's own.
pub const TABULAR: &[Operator] = &[
    becomes(
        "ai.onnx.ml.ArrayFeatureExtractor",
        "fixed indices, or computed ones into a constant vector",
        "Gather",
    ),
    becomes("ai.onnx.ml.Binarizer", ALL, "Greater"),
    becomes(
        "ai.onnx.ml.LinearClassifier",
        "a row of coefficients for every class; NONE, SOFTMAX, LOGISTIC; labels that are texts become their positions",
        "Gemm",
    ),
    becomes("ai.onnx.ml.LinearRegressor", "no post_transform", "Gemm"),
    becomes("ai.onnx.ml.Normalizer", "L1 and L2", "LpNormalization"),
    becomes(
        "ai.onnx.ml.Scaler",
        "offset and scale",
        "BatchNormalization",
    ),
    operator("ai.onnx.ml.TreeEnsembleClassifier", TREES),
    operator("ai.onnx.ml.TreeEnsembleRegressor", TREES),
    becomes(
        "ai.onnx.ml.ZipMap",
        "the tensor, in the order of the labels",
        "Identity",
    ),
];

#[cfg(test)]
mod tests {
    use super::{FIXED, OPERATORS, QUANTIZED, TABULAR};

    #[test]
    fn names_are_distinct_and_in_order() {
        for list in [OPERATORS, QUANTIZED, TABULAR] {
            assert!(list.is_sorted_by(|a, b| a.id() < b.id()));
        }
    }

    #[test]
    fn every_operator_has_its_cost_unless_it_is_fixed() {
        for operator in [OPERATORS, QUANTIZED, TABULAR].concat() {
            let fixed = operator.scope == FIXED;
            assert_eq!(operator.cost().is_none(), fixed, "{}", operator.name);
        }
    }
}
