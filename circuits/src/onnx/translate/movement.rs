//! Operators that only move elements: slices, concatenations, paddings, broadcasts, gathers with fixed indices.
//!
//! Where every element of the output comes from is found by running tract's own operator on the elements' numbers.

use super::{Translation, Value, refused};
use crate::onnx::graph::FloatOp;
use crate::onnx::{ImportError, MAX_FEATURES};
use std::sync::Arc;
use tract_onnx::prelude::{IntoTValue, TVec, Tensor, TypedNode, TypedOp, tensor0};
use tract_onnx::tract_core::ops::array::{Gather, ScatterReduction};
use tract_onnx::tract_core::ops::array::{
    GatherElements, GatherNd, MultiBroadcastTo, Pad, PadMode, ScatterElements, ScatterNd, Slice,
    StridedSlice, Tile, Trilu, TypedConcat,
};
use tract_onnx::tract_core::ops::downsample::Downsample;

/// Most elements that one node moves: their numbers are carried by f32, which is exact up to 2^24, and several times.
const MAX_NUMBERED: usize = MAX_FEATURES + 1;

impl Translation<'_> {
    /// The operator with paddings that are numbers of elements, when it is one that only moves elements; and the value that it pads with.
    fn mover(&self, node: &TypedNode) -> Option<(Box<dyn TypedOp>, f32)> {
        if let Some(op) = node.op_as::<Pad>()
            && let PadMode::Constant(value) = &op.mode
        {
            let value = value.cast_to_scalar::<f32>().ok()?;
            let marked = Pad {
                pads: op.pads.clone(),
                mode: PadMode::Constant(Arc::new(tensor0(0f32))),
            };
            return Some((Box::new(marked), value));
        }
        let scatters = |r: &ScatterReduction| *r == ScatterReduction::None;
        let moves = node.op_is::<Slice>()
            || node.op_is::<Pad>()
            || node.op_is::<StridedSlice>()
            || node.op_is::<Downsample>()
            || node.op_is::<TypedConcat>()
            || node.op_is::<Tile>()
            || node.op_is::<MultiBroadcastTo>()
            || node.op_is::<Gather>()
            || node.op_is::<GatherElements>()
            || node.op_is::<GatherNd>()
            || node.op_is::<Trilu>()
            || node
                .op_as::<ScatterElements>()
                .is_some_and(|op| scatters(&op.reduction))
            || node
                .op_as::<ScatterNd>()
                .is_some_and(|op| scatters(&op.reduction))
            || node.op.name() == "NearestUpsample";
        moves.then(|| (node.op.clone(), 0.0))
    }

    /// A tensor whose elements all are elements of the inputs or constants; `None` for any other operator.
    pub(super) fn moved(
        &mut self,
        node: &TypedNode,
        inputs: &[Value],
        shape: Vec<usize>,
    ) -> Result<Option<usize>, ImportError> {
        let Some((op, padding)) = self.mover(node) else {
            return Ok(None);
        };
        // the other operands are indices, sizes and repeats
        let scatters = node.op_is::<ScatterElements>() || node.op_is::<ScatterNd>();
        let is_data =
            |slot: usize| slot == 0 || node.op_is::<TypedConcat>() || (scatters && slot == 2);
        let computed = |(slot, v): (usize, &Value)| matches!(v, Value::Node(_)) && !is_data(slot);
        if inputs.iter().enumerate().any(computed) {
            return Ok(None);
        }
        let mut numbered: TVec<_> = TVec::new();
        // number 0 is the padding
        let (mut next, mut tensors, mut constants) = (1usize, vec![], vec![padding]);
        let mut starts: Vec<(usize, usize, bool)> = vec![];
        for (slot, input) in inputs.iter().enumerate() {
            let (dims, values): (Vec<usize>, Option<&Arc<Tensor>>) = match input {
                Value::Node(x) => (self.graph.nodes[*x].shape.clone(), None),
                Value::Const(t) => (t.shape().to_vec(), Some(t)),
            };
            if !is_data(slot) {
                let Value::Const(t) = input else { continue };
                numbered.push(t.clone().into_tvalue());
                continue;
            }
            let len: usize = dims.iter().product();
            if next + len > MAX_NUMBERED {
                return Err(self.unsupported(node, "more than 2^22 elements are moved at once"));
            }
            let numbers: Vec<f32> = (next..next + len).map(|i| i as f32).collect();
            let tensor = Tensor::from_shape(&dims, &numbers);
            let tensor = tensor.map_err(refused)?;
            numbered.push(tensor.into_tvalue());
            match (input, values) {
                (Value::Node(x), _) => {
                    starts.push((next, tensors.len(), true));
                    tensors.push(*x);
                }
                (_, Some(t)) => {
                    starts.push((next, constants.len(), false));
                    constants.extend(self.floats(node, t)?);
                }
                _ => {}
            }
            next += len;
        }
        self.room_to_move(node, shape.iter().product())?;
        let moved = op.eval_out_of_plan(numbered);
        let moved = moved.map_err(refused)?;
        let moved = moved.and_then(|m| m.into_iter().next());
        let moved =
            moved.ok_or_else(|| self.unsupported(node, "it cannot be computed at import"))?;
        let numbers = self.floats(node, &moved)?;
        let mut total = 0;
        let firsts: Vec<usize> = tensors
            .iter()
            .map(|&x| {
                total += self.graph.nodes[x].len();
                total - self.graph.nodes[x].len()
            })
            .collect();
        let source = |number: &f32| {
            let number = *number as usize;
            let known = starts.partition_point(|(start, _, _)| *start <= number);
            match known.checked_sub(1).map(|at| starts[at]) {
                None => total,
                Some((start, tensor, true)) => firsts[tensor] + number - start,
                Some((start, at, false)) => total + at + number - start,
            }
        };
        let index = numbers.iter().map(source).collect();
        Ok(Some(self.gather(node, tensors, index, constants, shape)?))
    }

    /// A node that gathers from tensors and constants; unused constants are left out.
    pub(super) fn gather(
        &mut self,
        node: &TypedNode,
        inputs: Vec<usize>,
        index: Vec<usize>,
        constants: Vec<f32>,
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        let len: usize = shape.iter().product();
        if index.len() != len || inputs.is_empty() {
            return Err(self.unsupported(node, "its size does not follow from its inputs"));
        }
        let total: usize = inputs.iter().map(|&x| self.graph.nodes[x].len()).sum();
        if inputs.len() == 1 && index.iter().copied().eq(0..total) {
            return Ok(self.reshape(node, inputs[0], shape));
        }
        self.room_to_move(node, len)?;
        self.used.move_elements(len);
        let mut names: Vec<Option<u32>> = vec![None; constants.len()];
        let mut kept = vec![];
        let mut renamed = Vec::with_capacity(len);
        for i in index {
            let Some(c) = i.checked_sub(total) else {
                // tensors have at most 2^28 elements
                renamed.push(i as u32);
                continue;
            };
            let Some(name) = names.get_mut(c) else {
                return Err(self.unsupported(node, "it reads beyond its inputs"));
            };
            let name = *name.get_or_insert_with(|| {
                kept.push(constants[c]);
                (total + kept.len() - 1) as u32
            });
            renamed.push(name);
        }
        let op = FloatOp::Gather {
            index: renamed,
            constants: kept,
        };
        Ok(self.push(node, op, inputs, shape))
    }

    /// `x` broadcast to `shape`.
    pub(super) fn expand(
        &mut self,
        node: &TypedNode,
        x: usize,
        shape: &[usize],
    ) -> Result<usize, ImportError> {
        let from = self.graph.nodes[x].shape.clone();
        if from == shape {
            return Ok(x);
        }
        if from.iter().product::<usize>() == shape.iter().product::<usize>() {
            return Ok(self.reshape(node, x, shape.to_vec()));
        }
        let index = broadcast(&from, shape)
            .ok_or_else(|| self.unsupported(node, "two shapes that do not broadcast"))?;
        self.gather(node, vec![x], index, vec![], shape.to_vec())
    }

    /// The values of a constant broadcast to `shape`.
    pub(super) fn broadcast_values(
        &self,
        node: &TypedNode,
        values: &Tensor,
        shape: &[usize],
    ) -> Result<Vec<f32>, ImportError> {
        let index = broadcast(values.shape(), shape)
            .ok_or_else(|| self.unsupported(node, "a constant whose shape does not broadcast"))?;
        let values = self.masking(node, values)?;
        Ok(index.into_iter().map(|i| values[i]).collect())
    }

    /// A constant as a tensor of the graph.
    pub(super) fn constant_tensor(
        &mut self,
        node: &TypedNode,
        anchor: usize,
        values: &Tensor,
        shape: &[usize],
    ) -> Result<usize, ImportError> {
        self.room_to_move(node, shape.iter().product())?;
        let values = self.broadcast_values(node, values, shape)?;
        let total = self.graph.nodes[anchor].len();
        let index = (total..total + values.len()).collect();
        self.gather(node, vec![anchor], index, values, shape.to_vec())
    }
}

/// Source of every element of `shape` in a tensor of shape `from`; `None` when it does not broadcast.
fn broadcast(from: &[usize], shape: &[usize]) -> Option<Vec<usize>> {
    let lead = shape.len().checked_sub(from.len())?;
    let mut strides = vec![0usize; shape.len()];
    let mut step = 1;
    for axis in (lead..shape.len()).rev() {
        let dim = from[axis - lead];
        if dim != 1 && dim != shape[axis] {
            return None;
        }
        if dim != 1 {
            strides[axis] = step;
        }
        step *= dim;
    }
    let mut index = vec![0usize];
    for (&size, &stride) in shape.iter().zip(&strides) {
        index = index
            .iter()
            .flat_map(|&base| (0..size).map(move |i| base + i * stride))
            .collect();
    }
    Some(index)
}
