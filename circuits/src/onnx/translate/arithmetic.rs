//! Contractions with constant weights, and arithmetic with constants or between two tensors.

use super::windows::inverse;
use super::{Translation, Value};
use crate::onnx::ImportError;
use crate::onnx::graph::FloatOp;
use tract_onnx::prelude::{Tensor, TypedNode};
use tract_onnx::tract_core::ops::einsum::EinSum;

impl Translation<'_> {
    /// A contraction with constant weights: x as [rows][k], weights as [n][k], y as [rows][n].
    pub(super) fn einsum(
        &mut self,
        node: &TypedNode,
        op: &EinSum,
        (slot_x, x): (usize, usize),
        (slot_w, w): (usize, &Tensor),
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        if op.q_params.is_some() {
            return Err(self.unsupported(node, "quantized operands; expected floats"));
        }
        let view = self.graph.nodes[x].shape.clone();
        let (mut rows, mut summed, mut columns) = (vec![], vec![], vec![]);
        for axis in op.axes.iter_all_axes() {
            let at = |positions: &[usize]| match positions {
                [] => Ok(None),
                [one] => Ok(Some(*one)),
                _ => Err(self.unsupported(node, "an operand has one axis twice")),
            };
            let in_x = at(&axis.inputs[slot_x])?;
            let in_w = at(&axis.inputs[slot_w])?;
            let in_y = at(&axis.outputs[0])?;
            let width = in_w.map_or(1, |a| w.shape()[a]);
            match (in_x, in_y) {
                (Some(x), Some(y)) if width == 1 => rows.push((y, x)),
                (Some(x), None) if in_w.is_some() => summed.push((x, in_w)),
                (Some(x), None) if view[x] == 1 => summed.push((x, None)),
                (None, Some(y)) => columns.push((y, in_w)),
                (None, None) if width == 1 => {}
                _ => {
                    let reason =
                        "weights that differ along a batch axis; expected one weight matrix";
                    return Err(self.unsupported(node, reason));
                }
            }
        }
        rows.sort_unstable();
        summed.sort_unstable();
        columns.sort_unstable();
        for &(x, in_w) in &summed {
            if in_w.is_some_and(|a| w.shape()[a] != view[x]) {
                return Err(self.unsupported(node, "a broadcast contraction; expected equal sizes"));
            }
        }
        let order: Vec<usize> = rows
            .iter()
            .map(|&(_, x)| x)
            .chain(summed.iter().map(|&(x, _)| x))
            .collect();
        let n_in: usize = summed.iter().map(|&(x, _)| view[x]).product();
        let x = self.rearrange(node, x, view, order);

        let values = self.weights(node, w)?;
        let mut strides = vec![1usize; w.rank()];
        for axis in (1..w.rank()).rev() {
            strides[axis - 1] = strides[axis] * w.shape()[axis];
        }
        let axes = columns
            .iter()
            .map(|&(_, a)| a)
            .chain(summed.iter().map(|&(_, a)| a));
        let mut index = vec![0usize];
        for axis in axes.flatten() {
            let step = strides[axis];
            let size = w.shape()[axis];
            index = index
                .iter()
                .flat_map(|&base| (0..size).map(move |i| base + i * step))
                .collect();
        }
        let weights: Vec<f32> = index.into_iter().map(|i| values[i]).collect();
        let n_out = weights.len() / n_in;

        let mut dims: Vec<usize> = rows.iter().map(|&(y, _)| shape[y]).collect();
        let view: Vec<usize> = rows
            .iter()
            .map(|r| r.0)
            .chain(columns.iter().map(|c| c.0))
            .collect();
        dims.push(n_out);
        let op = FloatOp::MatMul {
            n_in,
            weights,
            bias: vec![0.0; n_out],
        };
        let y = self.push(node, op, vec![x], dims);
        // axis j of the product is axis view[j] of y
        let sizes: Vec<usize> = view.iter().map(|&axis| shape[axis]).collect();
        let order = inverse(&view);
        if order.is_sorted() {
            // nothing moves: the product already has the shape of y but for how its columns are split
            return Ok(if columns.len() == 1 {
                y
            } else {
                self.reshape(node, y, shape)
            });
        }
        Ok(self.transpose(node, y, sizes, order))
    }

    pub(super) fn binary(
        &mut self,
        node: &TypedNode,
        name: &str,
        left: &Value,
        right: &Value,
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        let (x, constant, x_first) = match (left, right) {
            (Value::Node(a), Value::Node(b)) => {
                return self.pairwise(node, name, [*a, *b], shape);
            }
            (Value::Node(x), Value::Const(c)) => (*x, c, true),
            (Value::Const(c), Value::Node(x)) => (*x, c, false),
            (Value::Const(_), Value::Const(_)) => {
                return Err(self.unsupported(node, "it cannot be computed at import"));
            }
        };
        let x = self.expand(node, x, &shape)?;
        let values = self.floats(node, constant)?;
        let first = values[0];
        let uniform = values.iter().all(|&v| v == first);
        let affine = matches!(name, "Add" | "Sub" | "SubF" | "Mul") || (name == "Div" && x_first);
        if self.is_integer(node) || !(affine || matches!(name, "Max" | "Min")) {
            // whole numbers stay whole only in tables
            return if uniform {
                self.with_number(node, name, x, first, x_first, shape)
            } else if matches!(name, "Pow" | "Rem") || (name == "Div" && self.is_integer(node)) {
                self.by_constant(node, name, x, (constant, x_first), shape)
            } else {
                let constant = self.constant_tensor(node, x, constant, &shape)?;
                let operands = if x_first {
                    [x, constant]
                } else {
                    [constant, x]
                };
                self.pairwise(node, name, operands, shape)
            };
        }
        if matches!(name, "Max" | "Min") {
            if !uniform {
                let constant = self.constant_tensor(node, x, constant, &shape)?;
                return self.pairwise(node, name, [x, constant], shape);
            }
            let (lo, hi) = if name == "Max" {
                (first, f32::INFINITY)
            } else {
                (f32::NEG_INFINITY, first)
            };
            return Ok(self.push(node, FloatOp::Clamp { lo, hi }, vec![x], shape));
        }
        let values = match name {
            "Add" => self.masking(node, constant)?,
            _ => self.weights(node, constant)?,
        };
        let (inner, values) = channels(&values, constant.shape(), &shape).ok_or_else(|| {
            self.unsupported(
                node,
                "a constant whose shape does not broadcast to the tensor",
            )
        })?;
        let (ones, zeros) = (vec![1.0; values.len()], vec![0.0; values.len()]);
        let negated: Vec<f32> = values.iter().map(|v| -v).collect();
        let (factors, offsets) = match (name, x_first) {
            ("Add", _) => (ones, values),
            ("Sub", true) | ("SubF", false) => (ones, negated),
            ("Sub", false) | ("SubF", true) => (ones.iter().map(|v| -v).collect(), values),
            ("Mul", _) => (values, zeros),
            ("Div", true) if values.iter().all(|v| (1.0 / v).is_finite()) => {
                (values.iter().map(|v| 1.0 / v).collect(), zeros)
            }
            _ => {
                return Err(
                    self.unsupported(node, format!("{name} with a constant is not supported"))
                );
            }
        };
        Ok(self.push(
            node,
            FloatOp::Affine {
                inner,
                factors,
                offsets,
            },
            vec![x],
            shape,
        ))
    }
}

/// A constant that broadcasts to `shape`, as (inner, values): element i takes value ⌊i / inner⌋ mod |values|.
fn channels(values: &[f32], from: &[usize], shape: &[usize]) -> Option<(usize, Vec<f32>)> {
    if values.len() == 1 {
        return Some((1, values.to_vec()));
    }
    let lead = shape.len().checked_sub(from.len())?;
    let dim = |axis: usize| if axis < lead { 1 } else { from[axis - lead] };
    if (0..shape.len()).any(|a| dim(a) != 1 && dim(a) != shape[a]) {
        return None;
    }
    let varying: Vec<usize> = (0..shape.len()).filter(|&a| dim(a) > 1).collect();
    let (first, last) = (*varying.first()?, *varying.last()?);
    if (first..=last).all(|a| dim(a) == shape[a]) {
        return Some((shape[last + 1..].iter().product(), values.to_vec()));
    }
    // the constant skips an axis: spell it out for every element
    if shape.iter().product::<usize>() > super::bounds::MAX_SPELLED_OUT {
        return None;
    }
    let mut full = Vec::with_capacity(shape.iter().product());
    for i in 0..shape.iter().product::<usize>() {
        let (mut rest, mut index, mut step) = (i, 0, 1);
        for a in (0..shape.len()).rev() {
            let at = rest % shape[a];
            rest /= shape[a];
            if dim(a) > 1 {
                index += at * step;
                step *= shape[a];
            }
        }
        full.push(values[index]);
    }
    Some((1, full))
}
