//! Operators that tract does not take, takes wrongly, or hides, spelled in operators that it has.
//!
//! * LpPool and GlobalLpPool: the p-th root of sums of |x|ᵖ.
//! * LRN: x·(bias + α/size · Σ x²)^(−β), the sum over neighbouring channels as a window.
//! * Compress and ReverseSequence with fixed conditions and lengths: a gather with fixed indices.
//! * Pad in the mode wrap: gathers with fixed indices.
//! * MatMul of two vectors: a contraction.
//! * LSTM, GRU and RNN: one operator, unrolled by `translate/recurrent`.
//! * BatchNormalization: also with computed statistics.
//! * LayerNormalization, RMSNormalization, Softmax, LogSoftmax and OneHot refuse an axis that a tensor does not have; what makes a tensor of another rank refuses high ones.
//! * Celu: max(0, x) + α·min(0, exp(x/α) − 1).
//! * Cast to int64: exact, where tract goes through 32 bits.
//! * Slice: parts and gathers at fixed places, whatever its bounds were made of.
//! * Upsample: the Resize of operator set 10, whose nearest element is the one below.

use super::proto::tensor_type;
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::{AttributeProto, NodeProto, attribute_proto};
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::cnn::{PaddingSpec, PoolSpec};
use tract_onnx::tract_hir::tract_core::ops::array::Gather;
use tract_onnx::tract_hir::tract_core::ops::cnn::SumPool;
use tract_onnx::tract_hir::tract_core::ops::math;
use tract_onnx::tract_hir::tract_core::ops::nn::{DataFormat, Reduce, Reducer};

use std::sync::LazyLock;

mod cast;
mod celu;
pub(super) mod checked;
mod indices;
mod normalization;
mod pad;
pub(super) mod recurrent;
mod slice;

/// What a builder returns: the operator, and the names it takes from outer graphs.
type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// Adds the operators to tract's.
pub(super) fn register(operators: &mut OnnxOpRegister) {
    operators.insert("LpPool", lp_pool);
    operators.insert("GlobalLpPool", global_lp_pool);
    operators.insert("LRN", local_response);
    operators.insert("Compress", indices::compress);
    operators.insert("ReverseSequence", indices::reverse_sequence);
    operators.insert("MatMul", matmul);
    operators.insert("Pad", pad::pad);
    operators.insert("Upsample", resize_10);
    operators.insert("Resize", resize);
    operators.insert("Cast", cast::cast);
    operators.insert("BatchNormalization", normalization::batch);
    for name in [
        "LayerNormalization",
        "RMSNormalization",
        "Softmax",
        "LogSoftmax",
    ] {
        operators.insert(name, checked::axis_of_input);
    }
    operators.insert("OneHot", checked::axis_of_output);
    for name in ["Reshape", "Expand", "Unsqueeze", "ConstantOfShape"] {
        operators.insert(name, checked::rank_of_output);
    }
    operators.insert("Celu", celu::build);
    operators.insert("Slice", slice::slice);
    for name in ["LSTM", "GRU", "RNN"] {
        operators.insert(name, recurrent::build);
    }
}

/// tract's own builder of an operator.
fn original(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    static OPERATORS: LazyLock<OnnxOpRegister> = LazyLock::new(|| tract_onnx::onnx().op_register);
    let builder = OPERATORS.0.get(&node.op_type);
    let builder = builder.with_context(|| format!("no operator {}", node.op_type))?;
    builder(context, node)
}

/// An attribute that is a text.
fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: attribute_proto::AttributeType::String.into(),
        s: value.into(),
        ..AttributeProto::default()
    }
}

/// The rules of an operator whose one output has the type and shape of its first input.
fn same_as_first<'r, 'p: 'r>(
    s: &mut Solver<'r>,
    inputs: &'p [TensorProxy],
    outputs: &'p [TensorProxy],
    arity: usize,
) -> InferenceResult {
    check_input_arity(inputs, arity)?;
    check_output_arity(outputs, 1)?;
    s.equals(&outputs[0].datum_type, &inputs[0].datum_type)?;
    s.equals(&outputs[0].shape, &inputs[0].shape)
}

/// Most elements that are kept in a list of their places.
const MAX_PLACES: usize = 1 << 18;

/// The shape of a tensor, which must be fixed.
fn fixed_shape(model: &TypedModel, x: OutletId) -> TractResult<Vec<usize>> {
    let shape = model.outlet_fact(x)?.shape.as_concrete();
    Ok(shape.context("expected a fixed shape")?.to_vec())
}

/// A constant that meets tensors of a rank element by element.
fn number(model: &mut TypedModel, name: String, value: f32, rank: usize) -> TractResult<OutletId> {
    model.add_const(name, tensor0(value).broadcast_into_rank(rank)?)
}

/// Adds the parts of an operator, each under its own name.
struct Wiring<'m> {
    model: &'m mut TypedModel,
    prefix: &'m str,
}

impl Wiring<'_> {
    /// A part with one output.
    fn part(
        &mut self,
        name: &str,
        op: impl Into<Box<dyn TypedOp>>,
        operands: &[OutletId],
    ) -> TractResult<OutletId> {
        let name = format!("{}.{name}", self.prefix);
        Ok(self.model.wire_node(name, op, operands)?[0])
    }
}

/// `node` as a Resize of operator set 10.
fn resize_10(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    ensure!(node.input.len() == 2, "expected a tensor and scales");
    let mut node = node.clone();
    node.op_type = "Resize".into();
    node.attribute.push(text("nearest_mode", "floor"));
    let mut context = context.clone();
    context.onnx_operator_set_version = 10;
    original(&context, &node)
}

/// The rank of an input or initializer of the model.
fn rank(context: &ParsingContext<'_>, name: &str) -> Option<usize> {
    let graph = context.model.graph.as_ref()?;
    let fixed = graph.initializer.iter().find(|t| t.name == name);
    if let Some(tensor) = fixed {
        return Some(tensor.dims.len());
    }
    let input = graph.input.iter().find(|i| i.name == name)?;
    Some(tensor_type(input)?.shape.as_ref()?.dim.len())
}

fn matmul(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let vectors = node.input.iter().all(|name| rank(context, name) == Some(1));
    if !vectors {
        return original(context, node);
    }
    let mut node = node.clone();
    node.op_type = "Einsum".into();
    node.attribute.push(text("equation", "i,i->"));
    original(context, &node)
}

fn resize(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    if context.onnx_operator_set_version == 10 {
        return resize_10(context, node);
    }
    original(context, node)
}

/// The attribute p of a norm, at least 1.
fn exponent(node: &NodeProto) -> TractResult<f32> {
    // a float in the first operator set, an integer since
    let p = match node.get_attr_opt::<i64>("p") {
        Ok(p) => p.unwrap_or(2) as f32,
        Err(_) => node.get_attr::<f32>("p")?,
    };
    ensure!(p >= 1.0, "p = {p}; expected at least 1");
    Ok(p)
}

fn lp_pool(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let kernel: TVec<usize> = node.get_attr_tvec("kernel_shape")?;
    let rank = kernel.len();
    let ceil = node.get_attr_opt::<i64>("ceil_mode")?.unwrap_or(0) == 1;
    let pads: TVec<usize> = node
        .get_attr_opt_tvec("pads")?
        .unwrap_or_else(|| tvec!(0; 2 * rank));
    ensure!(
        pads.len() == 2 * rank,
        "{} pads for {rank} axes",
        pads.len()
    );
    let padding = match node.get_attr_opt::<&str>("auto_pad")?.unwrap_or("NOTSET") {
        "NOTSET" => {
            let (before, after) = pads.split_at(rank);
            PaddingSpec::ExplicitOnnxPool(before.into(), after.into(), ceil)
        }
        "VALID" => PaddingSpec::Valid,
        "SAME_UPPER" => PaddingSpec::SameUpper,
        "SAME_LOWER" => PaddingSpec::SameLower,
        other => bail!("auto_pad {other}"),
    };
    let (dilations, strides): (Option<TVec<usize>>, Option<TVec<usize>>) = (
        node.get_attr_opt_tvec("dilations")?,
        node.get_attr_opt_tvec("strides")?,
    );
    let window = PoolSpec::new(DataFormat::NCHW, kernel, padding, dilations, strides, 0, 0);
    let p = exponent(node)?;
    Ok((
        expand(Norm {
            p,
            window: Some(window),
        }),
        vec![],
    ))
}

fn global_lp_pool(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let p = exponent(node)?;
    Ok((expand(Norm { p, window: None }), vec![]))
}

/// The p-norm of windows, or of whole planes.
#[derive(Clone, Debug)]
struct Norm {
    p: f32,
    window: Option<PoolSpec>,
}

/// x to a fixed power.
fn power(
    model: &mut TypedModel,
    name: String,
    x: OutletId,
    exponent: f32,
) -> TractResult<OutletId> {
    let rank = model.outlet_fact(x)?.rank();
    let exponent = number(model, format!("{name}.exponent"), exponent, rank)?;
    Ok(model.wire_node(name, math::pow(), &[x, exponent])?[0])
}

impl Expansion for Norm {
    fn name(&self) -> StaticName {
        "LpPool".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        s.equals(&outputs[0].datum_type, &inputs[0].datum_type)?;
        s.equals(&outputs[0].rank, &inputs[0].rank)?;
        s.given(&inputs[0].shape, move |s, shape| {
            let mut out = shape.clone();
            match &self.window {
                Some(window) => {
                    ensure!(shape.len() == window.rank() + 2, "a window of another rank");
                    let padding = window.computed_padding(&shape[2..]);
                    for (axis, along) in padding.iter().enumerate() {
                        out[axis + 2] = along.convoluted.clone();
                    }
                }
                None => out.iter_mut().skip(2).for_each(|d| *d = 1.into()),
            }
            s.equals(&outputs[0].shape, out)
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let shape = model.outlet_fact(inputs[0])?.shape.clone();
        let first = if self.p == 2.0 {
            math::square()
        } else {
            math::abs()
        };
        let mut y = model.wire_node(format!("{prefix}.first"), first, inputs)?[0];
        if self.p != 1.0 && self.p != 2.0 {
            y = power(model, format!("{prefix}.power"), y, self.p)?;
        }
        let sum = format!("{prefix}.sum");
        y = match &self.window {
            Some(window) => {
                let channels = shape[1].to_usize()?;
                let window = PoolSpec {
                    input_channels: channels,
                    output_channels: channels,
                    ..window.clone()
                };
                model.wire_node(sum, SumPool::new(window, false, false), &[y])?[0]
            }
            None => {
                let axes = (2..shape.rank()).collect();
                model.wire_node(sum, Reduce::new(axes, Reducer::Sum), &[y])?[0]
            }
        };
        if self.p == 2.0 {
            y = model.wire_node(format!("{prefix}.root"), math::sqrt(), &[y])?[0];
        } else if self.p != 1.0 {
            y = power(model, format!("{prefix}.root"), y, 1.0 / self.p)?;
        }
        model.rename_node(y.node, prefix)?;
        Ok(tvec!(y))
    }
}

fn local_response(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let size: usize = node.get_attr("size")?;
    ensure!(size > 0, "size = 0");
    let attribute = |name: &str, default: f32| -> TractResult<f32> {
        Ok(node.get_attr_opt(name)?.unwrap_or(default))
    };
    Ok((
        expand(LocalResponse {
            alpha: attribute("alpha", 1e-4)?,
            beta: attribute("beta", 0.75)?,
            bias: attribute("bias", 1.0)?,
            size,
        }),
        vec![],
    ))
}

/// Normalization by the squares of neighbouring channels.
#[derive(Clone, Debug)]
struct LocalResponse {
    alpha: f32,
    beta: f32,
    bias: f32,
    size: usize,
}

impl Expansion for LocalResponse {
    fn name(&self) -> StaticName {
        "LRN".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        same_as_first(s, inputs, outputs, 1)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let shape = fixed_shape(model, inputs[0])?;
        ensure!(shape.len() >= 2, "rank {}; expected channels", shape.len());
        let dims = |dims: &[usize]| dims.iter().map(|d| d.to_dim()).collect::<TVec<TDim>>();
        let rest: usize = shape[2..].iter().product();
        let planes = [shape[0], 1, shape[1], rest];
        let squares = model.wire_node(format!("{prefix}.square"), math::square(), inputs)?;
        let split = AxisOp::Reshape(0, dims(&shape), dims(&planes));
        let rows = model.wire_node(format!("{prefix}.rows"), split, &squares)?;
        let before = (self.size - 1) / 2;
        let padding = PaddingSpec::Explicit(tvec!(before, 0), tvec!(self.size - 1 - before, 0));
        let kernel = tvec!(self.size, 1);
        let window = PoolSpec::new(DataFormat::NCHW, kernel, padding, None, None, 1, 1);
        let sum = SumPool::new(window, false, false);
        let sums = model.wire_node(format!("{prefix}.sum"), sum, &rows)?;
        let merge = AxisOp::Reshape(0, dims(&planes), dims(&shape));
        let sums = model.wire_node(format!("{prefix}.sums"), merge, &sums)?;
        let (alpha, rank) = (self.alpha / self.size as f32, shape.len());
        let scale = number(model, format!("{prefix}.alpha"), alpha, rank)?;
        let scaled = model.wire_node(format!("{prefix}.scaled"), math::mul(), &[sums[0], scale])?;
        let bias = number(model, format!("{prefix}.bias"), self.bias, rank)?;
        let base = model.wire_node(format!("{prefix}.base"), math::add(), &[scaled[0], bias])?;
        let factor = power(model, format!("{prefix}.factor"), base[0], -self.beta)?;
        model.wire_node(prefix, math::mul(), &[inputs[0], factor])
    }
}
