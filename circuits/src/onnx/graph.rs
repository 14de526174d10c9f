//! The float graph: what a model computes on real numbers, in the operators that quantization knows.
//!
//! Nodes are in topological order and have one output; every shape is fixed. `evaluate` is the float model for calibration
//! and reports, in f64 and in a fixed order of operations.

use super::{Expression, Given, mask};
use crate::tensor::ConvGeometry;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use zkinfer_verifier::Dtype;

mod evaluate;

/// What a comparison asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    /// x₀ < x₁.
    Less,
    /// x₀ ≤ x₁.
    LessOrEqual,
    /// x₀ = x₁.
    Equal,
}

/// A real function of earlier tensors.
#[derive(Clone, Debug, PartialEq)]
pub enum FloatOp {
    /// A model input: real numbers, or whole numbers of a type.
    Input {
        /// `None` for real numbers.
        dtype: Option<Dtype>,
    },
    /// Grouped convolution; the batch is folded into channels and groups.
    Conv {
        /// Where the windows read.
        geometry: ConvGeometry,
        /// `[O][C/groups][kernel₀][kernel₁]`.
        weights: Vec<f32>,
        /// One per output channel.
        bias: Vec<f32>,
    },
    /// `y[.., n] = bias[n] + Σ_k weights[n][k]·x[.., k]`.
    MatMul {
        /// K.
        n_in: usize,
        /// `[N][K]`.
        weights: Vec<f32>,
        /// N values.
        bias: Vec<f32>,
    },
    /// `y[i] = factors[c]·x[i] + offsets[c]`, c = ⌊i / inner⌋ mod |factors|.
    Affine {
        /// Consecutive elements that share a factor.
        inner: usize,
        /// One per channel.
        factors: Vec<f32>,
        /// One per channel.
        offsets: Vec<f32>,
    },
    /// y = signs₀·x₀ + signs₁·x₁.
    Add {
        /// ±1 each.
        signs: [i8; 2],
    },
    /// y = min(max(x, lo), hi); Relu is [0, ∞].
    Clamp {
        /// Least value.
        lo: f32,
        /// Largest value.
        hi: f32,
    },
    /// An element-wise function of one tensor.
    Unary(Expression),
    /// y = x₀·x₁.
    Mul,
    /// The largest, or the least, of at least two tensors, element by element.
    Extremum {
        /// Which of the two.
        largest: bool,
    },
    /// 1 where the relation holds, else 0.
    Compare(Relation),
    /// x₁ where x₀ is not 0, else x₂.
    Select,
    /// `y[i] = (x₀ ‖ x₁ ‖ … ‖ constants)[index[i]]`.
    Gather {
        /// Source of every element.
        index: Vec<u32>,
        /// Values that follow the tensors.
        constants: Vec<f32>,
    },
    /// `y[t][i][j] = factor·Σ_l x₀[t][i][l]·x₁[t][j][l]`.
    Contract {
        /// t, i, l, j run below these.
        sizes: [usize; 4],
        /// Positive.
        factor: f64,
    },
    /// e^x over its sum, for every row of n values.
    Softmax {
        /// Length of a row.
        n: usize,
    },
    /// x over the root of (the mean of x² plus ε), for every row of n values.
    Normalize {
        /// Length of a row.
        n: usize,
        /// ε, not negative.
        epsilon: f64,
    },
    /// Index of the largest or least value of every row of n values.
    ArgExtremum {
        /// Length of a row.
        n: usize,
        /// Which of the two.
        largest: bool,
        /// Of equals the last, or the first.
        last: bool,
    },
    /// The k largest or least values of every row of n, in that order, of equals the first in front; or their indices.
    TopK {
        /// Length of a row.
        n: usize,
        /// How many are kept.
        k: usize,
        /// Which of the two.
        largest: bool,
        /// Indices instead of values.
        indices: bool,
    },
    /// `y[i][d] = values[x[i]][d]`: rows of a constant matrix; an index beyond the ends takes the first or last row.
    Lookup {
        /// Length of a row.
        width: usize,
        /// `[rows][width]`.
        values: Vec<f32>,
    },
    /// Maximum over windows; padding never wins.
    MaxPool {
        /// Depthwise windows.
        geometry: ConvGeometry,
    },
    /// `y[c,p] = factor / divisors[p] · Σ_t x[c, source(p,t)]`.
    SumPool {
        /// Depthwise windows.
        geometry: ConvGeometry,
        /// One for all windows, or one per output position.
        divisors: Vec<u32>,
        /// Positive.
        factor: f64,
    },
    /// y = scale·(clamp(round(x / scale) + zero_point, lo, hi) − zero_point), ties to even: the file gives this tensor's integers.
    Quantize {
        /// Real value of one step.
        scale: f64,
        /// The integer that stands for 0.
        zero_point: i64,
        /// Least integer.
        lo: i64,
        /// Largest integer.
        hi: i64,
    },
    /// x read as `view`, axes permuted, read as the node's shape.
    Layout {
        /// Shape the input is read with.
        view: Vec<usize>,
        /// Axis `axes[i]` of the view becomes axis i.
        axes: Vec<usize>,
    },
}

impl FloatOp {
    /// Constants that it holds.
    pub(super) fn n_values(&self) -> usize {
        match self {
            Self::Conv { weights, bias, .. } | Self::MatMul { weights, bias, .. } => {
                weights.len() + bias.len()
            }
            Self::Affine {
                factors, offsets, ..
            } => factors.len() + offsets.len(),
            Self::Gather { constants, .. } => constants.len(),
            Self::Lookup { values, .. } => values.len(),
            Self::SumPool { divisors, .. } => divisors.len(),
            _ => 0,
        }
    }
}

/// One node of the float graph.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatNode {
    /// Name of the ONNX node.
    pub name: String,
    /// What it computes.
    pub op: FloatOp,
    /// Earlier nodes.
    pub inputs: Vec<usize>,
    /// Shape of the output.
    pub shape: Vec<usize>,
}

impl FloatNode {
    /// Number of output elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the output has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A float model.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatGraph {
    /// Topological order.
    pub nodes: Vec<FloatNode>,
    /// The nodes that are model inputs, in the model's order.
    pub inputs: Vec<usize>,
    /// Name and node of every model output.
    pub outputs: Vec<(String, usize)>,
    /// What a quantized file gives for its layers, by node name; `None` for a float file.
    pub given: Option<BTreeMap<String, Given>>,
}

impl FloatGraph {
    /// Every node's output for one sample: a tensor per model input, in row-major order.
    ///
    /// Tensors beyond the inputs' lengths are read as 0; callers check lengths first.
    pub fn evaluate(&self, sample: &[Vec<f32>]) -> Vec<Vec<f64>> {
        let mut values: Vec<Vec<f64>> = Vec::with_capacity(self.nodes.len());
        for (id, node) in self.nodes.iter().enumerate() {
            let x = |i: usize| {
                node.inputs
                    .get(i)
                    .map_or(&[][..], |&from| &values[from][..])
            };
            let value = if matches!(node.op, FloatOp::Input { .. }) {
                let input = self.inputs.iter().position(|&i| i == id);
                let given = input
                    .and_then(|i| sample.get(i))
                    .map_or(&[][..], |v| &v[..]);
                let padded = given.iter().copied().chain(std::iter::repeat(0.0));
                padded.take(node.len()).map(f64::from).collect()
            } else {
                let x: Vec<&[f64]> = (0..node.inputs.len()).map(x).collect();
                node.op.evaluate(&x, node.len())
            };
            values.push(value);
        }
        for (node, values) in self.nodes.iter().zip(&mut values) {
            mask::show(node, values);
        }
        values
    }

    /// For every node, the nodes that read it; a model output counts as `usize::MAX`.
    pub fn readers(&self) -> Vec<Vec<usize>> {
        let mut readers = vec![Vec::new(); self.nodes.len()];
        for (id, node) in self.nodes.iter().enumerate() {
            for &input in &node.inputs {
                readers[input].push(id);
            }
        }
        for (_, id) in &self.outputs {
            readers[*id].push(usize::MAX);
        }
        readers
    }
}

impl FloatOp {
    /// The operator's name in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input { .. } => "Input",
            Self::Conv { .. } => "Conv",
            Self::MatMul { .. } => "MatMul",
            Self::Affine { .. } => "Affine",
            Self::Add { .. } => "Add",
            Self::Clamp { .. } => "Clip",
            Self::Unary(Expression::Apply(function, of)) if **of == Expression::Argument => {
                function.name()
            }
            Self::Unary(_) => "Function",
            Self::Mul => "Mul",
            Self::Extremum { largest: true } => "Max",
            Self::Extremum { largest: false } => "Min",
            Self::Compare(Relation::Less) => "Less",
            Self::Compare(Relation::LessOrEqual) => "LessOrEqual",
            Self::Compare(Relation::Equal) => "Equal",
            Self::Select => "Where",
            Self::Gather { .. } => "Gather",
            Self::Contract { .. } => "MatMul",
            Self::Softmax { .. } => "Softmax",
            Self::Normalize { .. } => "RMSNormalization",
            Self::ArgExtremum { largest: true, .. } => "ArgMax",
            Self::ArgExtremum { largest: false, .. } => "ArgMin",
            Self::TopK { .. } => "TopK",
            Self::Lookup { .. } => "Gather",
            Self::MaxPool { .. } => "MaxPool",
            Self::SumPool { .. } => "SumPool",
            Self::Layout { .. } => "Layout",
            Self::Quantize { .. } => "QuantizeLinear",
        }
    }
}
