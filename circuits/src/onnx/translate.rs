//! The typed, decluttered graph of tract → the float graph.
//!
//! Every tract operator that is not listed here is an error that names the ONNX node. Values that do not depend on an input
//! are computed by tract's own operators.

mod arithmetic;
mod bounds;
mod contraction;
mod elementwise;
mod movement;
mod recurrent;
mod resize;
mod rows;
mod scan;
mod volumes;
mod windows;

use super::graph::{FloatGraph, FloatNode, FloatOp};
use super::mask::MASK;
use super::proto::{Parsed, elements, guarded, node_name, shorten, too_large};
use super::quantized::mark::{self, Mark};
use super::{ImportError, dialect};
use bounds::{Used, check_sizes};
use std::sync::Arc;
use tract_onnx::pb::{ModelProto, ValueInfoProto};
use tract_onnx::prelude::{
    DatumType, Framework, InferenceModelExt, IntoArcTensor, IntoTValue, OutletId, TVec, Tensor,
    TractError, TypedModel, TypedNode,
};
use tract_onnx::tract_core::ops::array::{CumSum, Gather, OneHot, Topk};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, MaxPool, SumPool};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::logic::Iff;
use tract_onnx::tract_core::ops::nn::rms_norm::RmsNorm;
use tract_onnx::tract_core::ops::nn::{Reduce, Softmax};
use tract_onnx::tract_core::ops::source::TypedSource;

/// What an outlet of tract's graph is.
#[derive(Clone, Debug)]
enum Value {
    /// Known at import.
    Const(Arc<Tensor>),
    /// A node of the float graph.
    Node(usize),
}

/// Translates a parsed model.
pub(super) fn translate(parsed: Parsed) -> Result<FloatGraph, ImportError> {
    let typed = match typed(&parsed.proto) {
        // the parser's panics know no node
        Err(ImportError::ParserPanic(reason)) => {
            let node = culprit(&parsed.proto).unwrap_or_default();
            return Err(ImportError::ParserPanic(format!(
                "{reason} (node `{node}`)"
            )));
        }
        typed => typed?,
    };
    guarded(|| Translation::new(&typed, &parsed)?.run())
}

/// The typed, decluttered graph.
fn typed(proto: &ModelProto) -> Result<TypedModel, ImportError> {
    guarded(|| {
        let mut onnx = tract_onnx::onnx();
        dialect::register(&mut onnx.op_register);
        onnx.op_register.insert(mark::NAME, mark::build);
        let model = onnx
            .with_ignore_output_shapes(true)
            .with_ignore_value_info(true)
            .model_for_proto_model(proto)
            .map_err(refused)?;
        let typed = model.into_typed().map_err(refused)?;
        check_sizes(&typed)?;
        typed.into_decluttered().map_err(refused)
    })
}

/// What tract says against a model.
fn refused(e: TractError) -> ImportError {
    ImportError::Parser(shorten(&format!("{e:#}")))
}

/// The first node that the parser cannot be given without a panic, by bisection.
fn culprit(proto: &ModelProto) -> Option<String> {
    let n = proto.graph.as_ref()?.node.len();
    let panics = |upto: usize| {
        let mut cut = proto.clone();
        let Some(graph) = cut.graph.as_mut() else {
            return false;
        };
        graph.node.truncate(upto);
        let last = graph.node.last().and_then(|node| node.output.first());
        graph.output = vec![ValueInfoProto {
            name: last.cloned().unwrap_or_default(),
            ..ValueInfoProto::default()
        }];
        matches!(typed(&cut), Err(ImportError::ParserPanic(_)))
    };
    let (mut fine, mut bad) = (0, n);
    while bad - fine > 1 {
        let middle = fine + (bad - fine) / 2;
        if panics(middle) {
            bad = middle
        } else {
            fine = middle
        }
    }
    proto
        .graph
        .as_ref()?
        .node
        .get(bad.checked_sub(1)?)
        .map(node_name)
}

/// The translation under way.
struct Translation<'a> {
    model: &'a TypedModel,
    parsed: &'a Parsed,
    values: Vec<Vec<Value>>,
    graph: FloatGraph,
    /// What the sources of `model` are.
    sources: Vec<Value>,
    /// Name and operator of the ONNX node whose body this is.
    within: Option<(String, String)>,
    used: Used,
}

impl<'a> Translation<'a> {
    fn new(model: &'a TypedModel, parsed: &'a Parsed) -> Result<Self, ImportError> {
        let mut graph = FloatGraph {
            nodes: vec![],
            inputs: vec![],
            outputs: vec![],
            given: parsed.given.clone(),
        };
        for (name, shape, dtype) in &parsed.inputs {
            graph.inputs.push(graph.nodes.len());
            graph.nodes.push(FloatNode {
                name: name.clone(),
                op: FloatOp::Input { dtype: *dtype },
                inputs: vec![],
                shape: shape.clone(),
            });
        }
        Ok(Self {
            model,
            parsed,
            values: vec![Vec::new(); model.nodes.len()],
            sources: graph.inputs.iter().map(|&id| Value::Node(id)).collect(),
            graph,
            within: None,
            used: Used::default(),
        })
    }

    /// Translates every node of the model.
    fn walk(&mut self) -> Result<(), ImportError> {
        let order = self.model.eval_order().map_err(refused)?;
        for id in order {
            let node = &self.model.nodes[id];
            let outputs = guarded(|| self.node(node));
            self.values[id] = outputs.map_err(|e| self.placed(node, e))?;
            self.count(node)?;
        }
        Ok(())
    }

    /// The error of a node, which names it.
    fn placed(&self, node: &TypedNode, error: ImportError) -> ImportError {
        let (name, _) = self.origin(node);
        let named = |text: &str| {
            [format!("`{name}`"), format!("{name:?}")]
                .iter()
                .any(|n| text.contains(n))
        };
        let place = |text: String| match named(&text) {
            true => text,
            false => format!("{text} (node `{}`)", shorten(&name)),
        };
        match error {
            ImportError::Parser(text) => ImportError::Parser(place(text)),
            ImportError::ParserPanic(text) => ImportError::ParserPanic(place(text)),
            other => other,
        }
    }

    /// What an outlet is, once its node is translated.
    fn value(&self, outlet: &OutletId) -> Option<Value> {
        self.values[outlet.node].get(outlet.slot).cloned()
    }

    fn run(mut self) -> Result<FloatGraph, ImportError> {
        self.walk()?;
        let outlets = &self.model.outputs;
        for (name, outlet) in self.parsed.outputs.iter().zip(outlets) {
            match self.values[outlet.node].get(outlet.slot) {
                Some(Value::Node(id)) => self.graph.outputs.push((name.clone(), *id)),
                _ => {
                    return Err(ImportError::Parser(format!(
                        "the output `{name}` does not depend on any input"
                    )));
                }
            }
        }
        Ok(self.graph)
    }

    /// Name and operator of the ONNX node that a tract node came from.
    fn origin(&self, node: &TypedNode) -> (String, String) {
        if let Some(within) = &self.within {
            return within.clone();
        }
        let belongs = |name: &str| {
            node.name
                .strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let found = self.parsed.nodes.iter().filter(|(name, _)| belongs(name));
        match found.max_by_key(|(name, _)| name.len()) {
            Some((name, op)) => (name.clone(), op.clone()),
            None => (node.name.clone(), node.op.name().to_string()),
        }
    }

    fn unsupported(&self, node: &TypedNode, reason: impl Into<String>) -> ImportError {
        let (node, op) = self.origin(node);
        ImportError::Unsupported {
            node,
            op,
            reason: reason.into(),
        }
    }

    /// The type of the elements of an outlet.
    fn datum_type(&self, outlet: Option<&OutletId>) -> Option<DatumType> {
        let fact = self.model.outlet_fact(*outlet?).ok()?;
        Some(fact.datum_type)
    }

    /// Whether a node's output holds whole numbers.
    fn is_integer(&self, node: &TypedNode) -> bool {
        let fact = node.outputs.first().map(|output| output.fact.datum_type);
        fact.is_some_and(|t| t.is_integer())
    }

    /// The fixed shape of an output.
    fn shape(&self, node: &TypedNode, slot: usize) -> Result<Vec<usize>, ImportError> {
        let shape = node
            .outputs
            .get(slot)
            .and_then(|o| o.fact.shape.as_concrete());
        let shape = shape.ok_or_else(|| {
            self.unsupported(
                node,
                "its output shape depends on the values of an input; expected a fixed one",
            )
        })?;
        if elements(shape).is_none_or(|n| n == 0) {
            return Err(too_large(&self.origin(node).0, shape));
        }
        Ok(shape.to_vec())
    }

    /// Adds a node to the float graph.
    fn push(
        &mut self,
        node: &TypedNode,
        op: FloatOp,
        inputs: Vec<usize>,
        shape: Vec<usize>,
    ) -> usize {
        let (name, _) = self.origin(node);
        self.graph.nodes.push(FloatNode {
            name,
            op,
            inputs,
            shape,
        });
        self.graph.nodes.len() - 1
    }

    /// Adds a permutation, unless it moves nothing.
    fn transpose(
        &mut self,
        node: &TypedNode,
        x: usize,
        view: Vec<usize>,
        axes: Vec<usize>,
    ) -> usize {
        let moved: Vec<usize> = axes.iter().copied().filter(|&a| view[a] != 1).collect();
        let shape: Vec<usize> = axes.iter().map(|&a| view[a]).collect();
        if moved.is_sorted() && self.graph.nodes[x].shape == shape {
            return x;
        }
        self.push(node, FloatOp::Layout { view, axes }, vec![x], shape)
    }

    /// The elements of `view` in the order of `axes`; the shape of the result does not matter to the reader.
    fn rearrange(
        &mut self,
        node: &TypedNode,
        x: usize,
        view: Vec<usize>,
        axes: Vec<usize>,
    ) -> usize {
        let moves = !axes.iter().filter(|&&a| view[a] != 1).is_sorted();
        if moves {
            self.transpose(node, x, view, axes)
        } else {
            x
        }
    }

    /// Adds a reshape, unless the shape is the same.
    fn reshape(&mut self, node: &TypedNode, x: usize, shape: Vec<usize>) -> usize {
        if self.graph.nodes[x].shape == shape {
            return x;
        }
        let view = vec![shape.iter().product()];
        self.push(
            node,
            FloatOp::Layout {
                view,
                axes: vec![0],
            },
            vec![x],
            shape,
        )
    }

    /// The values of a constant as f32, all finite.
    fn floats(&self, node: &TypedNode, tensor: &Tensor) -> Result<Vec<f32>, ImportError> {
        let cast = tensor.cast_to::<f32>();
        let cast = cast.map_err(|_| self.unsupported(node, "a constant is not a number"))?;
        let view = cast.to_plain_array_view::<f32>();
        let view = view.map_err(|_| self.unsupported(node, "a constant has no plain data"))?;
        let values: Vec<f32> = view.iter().copied().collect();
        match values.iter().position(|v| v.is_nan()) {
            None => Ok(values),
            Some(index) => Err(ImportError::NonFiniteWeight {
                tensor: self.origin(node).0,
                index,
                value: values[index].into(),
            }),
        }
    }

    /// As `floats`, and none infinite.
    fn weights(&self, node: &TypedNode, tensor: &Tensor) -> Result<Vec<f32>, ImportError> {
        let values = self.floats(node, tensor)?;
        self.finite(node, values)
    }

    fn finite(&self, node: &TypedNode, values: Vec<f32>) -> Result<Vec<f32>, ImportError> {
        match values.iter().position(|v| v.is_infinite()) {
            None => Ok(values),
            Some(index) => Err(ImportError::NonFiniteWeight {
                tensor: self.origin(node).0,
                index,
                value: values[index].into(),
            }),
        }
    }

    /// As `weights`, but −∞ may stand for what a softmax makes 0.
    fn masking(&self, node: &TypedNode, tensor: &Tensor) -> Result<Vec<f32>, ImportError> {
        let masked = |v: &f32| if *v == f32::NEG_INFINITY { MASK } else { *v };
        let values: Vec<f32> = self.floats(node, tensor)?.iter().map(masked).collect();
        self.finite(node, values)
    }

    /// Whether a node or the model reads an output.
    fn is_read(&self, node: &TypedNode, outlet: OutletId) -> bool {
        let readers = node.outputs.get(outlet.slot).map(|o| o.successors.len());
        readers.is_some_and(|n| n > 0) || self.model.outputs.contains(&outlet)
    }

    /// A product with a constant zero, the first state of a recurrence for one: zeros of the output's shape.
    fn vanishes(
        &self,
        node: &TypedNode,
        inputs: &[Value],
    ) -> Result<Option<Arc<Tensor>>, ImportError> {
        let product = node.op_is::<EinSum>()
            || node
                .op_as::<TypedBinOp>()
                .is_some_and(|op| op.0.name() == "Mul");
        let computed = inputs.iter().any(|v| matches!(v, Value::Node(_)));
        if !product || !computed || self.is_integer(node) {
            return Ok(None);
        }
        for input in inputs {
            let Value::Const(tensor) = input else {
                continue;
            };
            if self.floats(node, tensor)?.iter().all(|&v| v == 0.0) {
                let zeros = Tensor::zero::<f32>(&self.shape(node, 0)?);
                let zeros = zeros.map_err(refused)?;
                return Ok(Some(zeros.into_arc_tensor()));
            }
        }
        Ok(None)
    }

    fn node(&mut self, node: &TypedNode) -> Result<Vec<Value>, ImportError> {
        if let Some(konst) = node.op_as::<Const>() {
            return Ok(vec![Value::Const(konst.val().clone())]);
        }
        if node.op_is::<TypedSource>() {
            let position = self
                .model
                .inputs
                .iter()
                .position(|outlet| outlet.node == node.id);
            let source = position.and_then(|i| self.sources.get(i)).cloned();
            return Ok(vec![
                source.ok_or(ImportError::Missing("source of an input"))?,
            ]);
        }
        let inputs: Option<Vec<Value>> = node.inputs.iter().map(|o| self.value(o)).collect();
        let inputs = inputs.ok_or_else(|| self.unsupported(node, "it reads a missing output"))?;
        if let Some(zeros) = self.vanishes(node, &inputs)? {
            self.used.hold(zeros.len());
            return Ok(vec![Value::Const(zeros)]);
        }
        if let Some(outputs) = self.recurrent(node, &inputs)? {
            return Ok(outputs);
        }
        let constants: Option<TVec<_>> = inputs
            .iter()
            .map(|v| match v {
                Value::Const(tensor) => Some(tensor.clone().into_tvalue()),
                Value::Node(_) => None,
            })
            .collect();
        if let Some(constants) = constants {
            let folded = node.op.eval_out_of_plan(constants);
            let folded = folded.map_err(refused)?;
            let folded =
                folded.ok_or_else(|| self.unsupported(node, "it cannot be computed at import"))?;
            folded
                .iter()
                .for_each(|tensor| self.used.hold(tensor.len()));
            return Ok(folded
                .into_iter()
                .map(|t| Value::Const(t.into_arc_tensor()))
                .collect());
        }
        if let (Some(op), [Value::Node(x), k]) = (node.op_as::<Topk>(), &inputs[..]) {
            let k = self.fixed(node, k, "a k")?.clone();
            let parts = self.top_k(node, op, *x, &k)?;
            return Ok(parts.map(Value::Node).to_vec());
        }
        let mut others = (1..node.outputs.len()).map(|slot| OutletId::new(node.id, slot));
        if others.any(|outlet| self.is_read(node, outlet)) {
            return Err(self.unsupported(node, "an output beside the first is used; expected one"));
        }
        let id = self.operator(node, &inputs)?;
        Ok(vec![Value::Node(id)])
    }

    fn operator(&mut self, node: &TypedNode, inputs: &[Value]) -> Result<usize, ImportError> {
        let shape = self.shape(node, 0)?;
        if let (Some(op), [Value::Node(x), Value::Const(kernel), Value::Const(bias)]) =
            (node.op_as::<Conv>(), inputs)
        {
            return self.conv(node, op, *x, kernel, bias, shape);
        }
        if let (Some(op), [Value::Node(x), Value::Const(kernel), Value::Const(bias)]) =
            (node.op_as::<Deconv>(), inputs)
        {
            return self.transposed_conv(node, op, *x, kernel, bias, shape);
        }
        if let Some(op) = node.op_as::<EinSum>() {
            return self.contraction(node, op, inputs, shape);
        }
        if let Some(y) = self.moved(node, inputs, shape.clone())? {
            return Ok(y);
        }
        if let Some(y) = self.resized(node, inputs, &shape)? {
            return Ok(y);
        }
        if let (Some(op), [Value::Const(table), Value::Node(index)]) =
            (node.op_as::<Gather>(), inputs)
        {
            return self.embedding(node, op.axis, table, *index, shape);
        }
        if let (true, [condition, yes, no]) = (node.op_is::<Iff>(), inputs) {
            return self.choose(node, [condition, yes, no], shape);
        }
        if let (Some(op), [left, right]) = (node.op_as::<TypedBinOp>(), inputs) {
            return self.binary(node, op.0.name(), left, right, shape);
        }
        let &[Value::Node(x)] = inputs else {
            let reason =
                "it is not supported with these inputs; expected constant weights and one tensor";
            return Err(self.unsupported(node, reason));
        };
        if let Some(mark) = node.op_as::<Mark>() {
            let op = FloatOp::Quantize {
                scale: mark.scale().into(),
                zero_point: mark.zero_point.into(),
                lo: mark.lo.into(),
                hi: mark.hi.into(),
            };
            return Ok(self.push(node, op, vec![x], shape));
        }
        if let Some(op) = node.op_as::<MaxPool>() {
            return self.pool(node, &op.pool_spec, x, shape, windows::Pool::Max);
        }
        if let Some(op) = node.op_as::<SumPool>() {
            let pool = windows::Pool::Sum {
                normalize: op.normalize,
                include_pad: op.count_include_pad,
            };
            return self.pool(node, &op.pool_spec, x, shape, pool);
        }
        if let Some(op) = node.op_as::<Reduce>() {
            return match self.reduce_rows(node, op, x, &shape)? {
                Some(y) => Ok(y),
                None => self.reduce(node, op, x, shape),
            };
        }
        if let Some(op) = node.op_as::<Softmax>() {
            return self.softmax(node, op, x);
        }
        if let Some(op) = node.op_as::<RmsNorm>() {
            return self.normalize(node, op, x);
        }
        if let Some(op) = node.op_as::<CumSum>() {
            return Ok(self.running_sum(node, op, x));
        }
        if let Some(op) = node.op_as::<OneHot>() {
            return self.one_hot(node, op, x, shape);
        }
        if let Some(op) = node.op_as::<AxisOp>() {
            return Ok(match op.canonical().as_ref() {
                AxisOp::Move(from, to) => {
                    let view = self.graph.nodes[x].shape.clone();
                    let mut axes: Vec<usize> = (0..view.len()).collect();
                    let axis = axes.remove(*from);
                    axes.insert(*to, axis);
                    self.transpose(node, x, view, axes)
                }
                _ => self.reshape(node, x, shape),
            });
        }
        if let Some(op) = node.op_as::<ElementWiseOp>() {
            return self.element_wise(node, op.0.as_ref(), x, shape);
        }
        if let Some(op) = node.op_as::<Cast>() {
            return self.cast(node, op, x, shape);
        }
        if node.op_is::<Identity>() {
            return Ok(self.reshape(node, x, shape));
        }
        let reason = format!("it becomes {}, which is not supported", node.op.name());
        Err(self.unsupported(node, reason))
    }
}
