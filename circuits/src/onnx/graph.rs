//! The float graph: what a model computes on real numbers, in the operators that quantization knows.
//!
//! Nodes are in topological order and have one output; every shape is fixed. `evaluate` is the float model for calibration
//! and reports, in f64 and in a fixed order of operations.

use super::{Function, Given};
use crate::tensor::ConvGeometry;
use std::collections::BTreeMap;

/// A real function of one or two earlier tensors.
#[derive(Clone, Debug, PartialEq)]
pub enum FloatOp {
    /// A model input.
    Input,
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
    /// An element-wise function.
    Unary(Function),
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
            let value = if node.op == FloatOp::Input {
                let input = self.inputs.iter().position(|&i| i == id);
                let given = input
                    .and_then(|i| sample.get(i))
                    .map_or(&[][..], |v| &v[..]);
                let padded = given.iter().copied().chain(std::iter::repeat(0.0));
                padded.take(node.len()).map(f64::from).collect()
            } else {
                node.op.evaluate(x(0), x(1))
            };
            values.push(value);
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
            Self::Input => "Input",
            Self::Conv { .. } => "Conv",
            Self::MatMul { .. } => "MatMul",
            Self::Affine { .. } => "Affine",
            Self::Add { .. } => "Add",
            Self::Clamp { .. } => "Clip",
            Self::Unary(Function::Sigmoid) => "Sigmoid",
            Self::Unary(Function::Tanh) => "Tanh",
            Self::MaxPool { .. } => "MaxPool",
            Self::SumPool { .. } => "SumPool",
            Self::Layout { .. } => "Layout",
            Self::Quantize { .. } => "QuantizeLinear",
        }
    }

    fn evaluate(&self, x: &[f64], x1: &[f64]) -> Vec<f64> {
        match self {
            Self::Input => x.to_vec(),
            Self::Conv {
                geometry,
                weights,
                bias,
            } => convolve(geometry, weights, bias, x),
            Self::MatMul {
                n_in,
                weights,
                bias,
            } => x
                .chunks_exact(*n_in)
                .flat_map(|row| {
                    weights.chunks_exact(*n_in).zip(bias).map(|(w, &b)| {
                        row.iter()
                            .zip(w)
                            .fold(f64::from(b), |sum, (x, &w)| sum + x * f64::from(w))
                    })
                })
                .collect(),
            Self::Affine {
                inner,
                factors,
                offsets,
            } => x
                .iter()
                .enumerate()
                .map(|(i, x)| {
                    let c = i / inner % factors.len();
                    x * f64::from(factors[c]) + f64::from(offsets[c])
                })
                .collect(),
            Self::Add { signs } => x
                .iter()
                .zip(x1)
                .map(|(a, b)| a * f64::from(signs[0]) + b * f64::from(signs[1]))
                .collect(),
            Self::Clamp { lo, hi } => x
                .iter()
                .map(|x| x.max(f64::from(*lo)).min(f64::from(*hi)))
                .collect(),
            Self::Unary(function) => x.iter().map(|&x| function.value(x)).collect(),
            Self::MaxPool { geometry } => {
                let pooled = pool(geometry, x, f64::NEG_INFINITY, f64::max);
                pooled.into_iter().flatten().collect()
            }
            Self::SumPool {
                geometry,
                divisors,
                factor,
            } => {
                let divisor =
                    |p: usize| f64::from(divisors[if divisors.len() == 1 { 0 } else { p }]);
                let planes = pool(geometry, x, 0.0, |a, b| a + b).into_iter();
                planes
                    .flat_map(|plane| plane.into_iter().enumerate())
                    .map(|(p, sum)| sum * factor / divisor(p))
                    .collect()
            }
            Self::Quantize {
                scale,
                zero_point,
                lo,
                hi,
            } => {
                let zero = *zero_point as f64;
                let (lo, hi) = (*lo as f64 - zero, *hi as f64 - zero);
                let steps = |x: &f64| f64::from((x / scale) as f32).round_ties_even();
                x.iter().map(|x| steps(x).clamp(lo, hi) * scale).collect()
            }
            Self::Layout { view, axes } => {
                let shape = axes.iter().map(|&a| view[a]).collect();
                let layout = crate::ops::Layout {
                    view: view.clone(),
                    axes: axes.clone(),
                    shape,
                };
                layout.index().into_iter().map(|i| x[i]).collect()
            }
        }
    }
}

fn convolve(g: &ConvGeometry, weights: &[f32], bias: &[f32], x: &[f64]) -> Vec<f64> {
    let [rows, columns] = g.output_size();
    let area = g.height * g.width;
    let (per_group, n_taps) = (g.channels_in_per_group(), g.n_taps());
    let taps: Vec<_> = g
        .taps()
        .filter_map(|t| Some((t.output, t.tap, t.input?)))
        .collect();
    let mut y = Vec::with_capacity(g.output_len());
    for (o, &bias) in bias.iter().enumerate() {
        let mut sums = vec![f64::from(bias); rows * columns];
        let first = o / g.channels_out_per_group() * per_group;
        for c in 0..per_group {
            let input = &x[(first + c) * area..][..area];
            let kernel = &weights[(o * per_group + c) * n_taps..][..n_taps];
            for &(output, tap, source) in &taps {
                sums[output] += f64::from(kernel[tap]) * input[source];
            }
        }
        y.extend(sums);
    }
    y
}

/// Folds every window of every plane.
fn pool(g: &ConvGeometry, x: &[f64], start: f64, fold: impl Fn(f64, f64) -> f64) -> Vec<Vec<f64>> {
    let [rows, columns] = g.output_size();
    let taps: Vec<_> = g
        .taps()
        .filter_map(|t| Some((t.output, t.input?)))
        .collect();
    x.chunks_exact(g.height * g.width)
        .map(|plane| {
            let mut folded = vec![start; rows * columns];
            for &(output, source) in &taps {
                folded[output] = fold(folded[output], plane[source]);
            }
            folded
        })
        .collect()
}
