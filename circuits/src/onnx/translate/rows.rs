//! Operators that work on rows: softmax, normalization, reductions, sorting, and what is built from them.

use super::windows::inverse;
use super::{Translation, Value};
use crate::onnx::graph::FloatOp;
use crate::onnx::{Expression, Function, ImportError};
use crate::tensor::ConvGeometry;
use tract_onnx::prelude::{Tensor, TypedNode};
use tract_onnx::tract_core::ops::array::{CumSum, OneHot, Topk};
use tract_onnx::tract_core::ops::nn::rms_norm::RmsNorm;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, Softmax, SoftmaxKind};

/// Most elements that are reduced as a chain of operators.
const MAX_COLUMNS: usize = 1 << 13;

impl Translation<'_> {
    /// `x` with `axes` moved behind the others, the number of elements they hold together, and the order of the axes.
    fn as_rows(
        &mut self,
        node: &TypedNode,
        x: usize,
        axes: &[usize],
    ) -> (usize, usize, Vec<usize>) {
        let view = self.graph.nodes[x].shape.clone();
        let (mut order, last): (Vec<usize>, Vec<usize>) =
            (0..view.len()).partition(|axis| !axes.contains(axis));
        let n = last.iter().map(|&axis| view[axis]).product();
        order.extend(last);
        (self.rearrange(node, x, view, order.clone()), n, order)
    }

    /// Applies an operator to the rows along `axes`, and brings the axes back where they were.
    fn on_rows(
        &mut self,
        node: &TypedNode,
        x: usize,
        axes: &[usize],
        op: impl FnOnce(usize) -> FloatOp,
    ) -> usize {
        let view = self.graph.nodes[x].shape.clone();
        let (rows, n, order) = self.as_rows(node, x, axes);
        let moved: Vec<usize> = order.iter().map(|&axis| view[axis]).collect();
        let y = self.push(node, op(n), vec![rows], moved.clone());
        if self.graph.nodes[rows].shape == view && rows == x {
            self.graph.nodes[y].shape = view;
            return y;
        }
        self.transpose(node, y, moved, inverse(&order))
    }

    pub(super) fn softmax(
        &mut self,
        node: &TypedNode,
        op: &Softmax,
        x: usize,
    ) -> Result<usize, ImportError> {
        if op.kind == SoftmaxKind::LogSoftmax {
            return self.log_softmax(node, &op.axes, x);
        }
        Ok(self.on_rows(node, x, &op.axes, |n| FloatOp::Softmax { n }))
    }

    /// d − ln Σ e^d with d = x − max x: the logarithm of a share that is no step of a softmax is still known.
    fn log_softmax(
        &mut self,
        node: &TypedNode,
        axes: &[usize],
        x: usize,
    ) -> Result<usize, ImportError> {
        let shape = self.graph.nodes[x].shape.clone();
        let mut reduced = shape.clone();
        axes.iter().for_each(|&axis| reduced[axis] = 1);
        let over = |reducer| Reduce {
            axes: axes.into(),
            reducer,
        };
        let unary = |f| FloatOp::Unary(Expression::of(f));
        let difference = || FloatOp::Add { signs: [1, -1] };
        let largest = self.reduce(node, &over(Reducer::Max), x, reduced.clone())?;
        let largest = self.expand(node, largest, &shape)?;
        let below = self.push(node, difference(), vec![x, largest], shape.clone());
        let powers = self.push(node, unary(Function::Exp), vec![below], shape.clone());
        let sum = self.reduce(node, &over(Reducer::Sum), powers, reduced.clone())?;
        let logarithm = self.push(node, unary(Function::Ln), vec![sum], reduced);
        let logarithm = self.expand(node, logarithm, &shape)?;
        Ok(self.push(node, difference(), vec![below, logarithm], shape))
    }

    pub(super) fn normalize(
        &mut self,
        node: &TypedNode,
        op: &RmsNorm,
        x: usize,
    ) -> Result<usize, ImportError> {
        let epsilon = self.floats(node, &op.eps)?;
        let epsilon = f64::from(epsilon.first().copied().unwrap_or(0.0));
        Ok(self.on_rows(node, x, &[op.axis], |n| FloatOp::Normalize { n, epsilon }))
    }

    /// A running sum: a sum over windows of n elements that end at each, or start there; without the element itself it is subtracted again.
    pub(super) fn running_sum(&mut self, node: &TypedNode, op: &CumSum, x: usize) -> usize {
        let len = self.graph.nodes[x].len();
        let y = self.on_rows(node, x, &[op.axis], |n| {
            let pads = match op.reverse {
                true => [0, 0, 0, n - 1],
                false => [0, n - 1, 0, 0],
            };
            let channels = len / n;
            FloatOp::SumPool {
                geometry: ConvGeometry {
                    channels_in: channels,
                    height: 1,
                    width: n,
                    channels_out: channels,
                    kernel: [1, n],
                    strides: [1, 1],
                    pads,
                    dilations: [1, 1],
                    groups: channels,
                },
                divisors: vec![1],
                factor: 1.0,
            }
        });
        if !op.exclusive {
            return y;
        }
        let shape = self.graph.nodes[x].shape.clone();
        self.push(node, FloatOp::Add { signs: [1, -1] }, vec![y, x], shape)
    }

    /// The element at `position` of every row.
    fn column(
        &mut self,
        node: &TypedNode,
        rows: usize,
        n: usize,
        position: usize,
        shape: &[usize],
    ) -> Result<usize, ImportError> {
        let len: usize = shape.iter().product();
        let index = (0..len).map(|row| row * n + position).collect();
        self.gather(node, vec![rows], index, vec![], shape.to_vec())
    }

    /// Reductions that are not sums or maxima over windows; `None` for those.
    pub(super) fn reduce_rows(
        &mut self,
        node: &TypedNode,
        op: &Reduce,
        x: usize,
        shape: &[usize],
    ) -> Result<Option<usize>, ImportError> {
        let (largest, last) = match op.reducer {
            Reducer::ArgMax(last) => (true, last),
            Reducer::ArgMin(last) => (false, last),
            Reducer::MeanOfSquares => return self.mean_of_squares(node, op, x, shape).map(Some),
            Reducer::Min | Reducer::All | Reducer::Any | Reducer::Prod => {
                return self.reduce_columns(node, op, x, shape).map(Some);
            }
            _ => return Ok(None),
        };
        let (rows, n, _) = self.as_rows(node, x, &op.axes);
        let op = FloatOp::ArgExtremum { n, largest, last };
        Ok(Some(self.push(node, op, vec![rows], shape.to_vec())))
    }

    fn mean_of_squares(
        &mut self,
        node: &TypedNode,
        op: &Reduce,
        x: usize,
        shape: &[usize],
    ) -> Result<usize, ImportError> {
        let from = self.graph.nodes[x].shape.clone();
        let square = FloatOp::Unary(Expression::of(Function::Square));
        let squares = self.push(node, square, vec![x], from.clone());
        let n: usize = op.axes.iter().map(|&axis| from[axis]).product();
        let sum = Reduce {
            axes: op.axes.clone(),
            reducer: Reducer::Sum,
        };
        let sum = self.reduce(node, &sum, squares, shape.to_vec())?;
        if let FloatOp::SumPool { factor, .. } = &mut self.graph.nodes[sum].op {
            *factor = 1.0 / n as f64;
        }
        Ok(sum)
    }

    /// A reduction as a chain over the columns.
    fn reduce_columns(
        &mut self,
        node: &TypedNode,
        op: &Reduce,
        x: usize,
        shape: &[usize],
    ) -> Result<usize, ImportError> {
        let (rows, n, _) = self.as_rows(node, x, &op.axes);
        if n > MAX_COLUMNS {
            let reason = format!("it reduces {n} elements; expected at most {MAX_COLUMNS}");
            return Err(self.unsupported(node, reason));
        }
        let columns = (0..n).map(|i| self.column(node, rows, n, i, shape));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        if let [only] = columns[..] {
            return Ok(only);
        }
        let product = matches!(op.reducer, Reducer::Prod);
        if !product {
            let largest = matches!(op.reducer, Reducer::Any);
            let op = FloatOp::Extremum { largest };
            return Ok(self.push(node, op, columns, shape.to_vec()));
        }
        let mut rest = columns.into_iter();
        let mut y = rest.next().ok_or(ImportError::Missing("column"))?;
        for column in rest {
            y = self.push(node, FloatOp::Mul, vec![y, column], shape.to_vec());
        }
        Ok(y)
    }

    /// The best k of every row: values, indices.
    pub(super) fn top_k(
        &mut self,
        node: &TypedNode,
        op: &Topk,
        x: usize,
        k: &Tensor,
    ) -> Result<[usize; 2], ImportError> {
        let k = k.cast_to_scalar::<i64>();
        let k = k.map_err(|_| self.unsupported(node, "k is not one number"))?;
        let view = self.graph.nodes[x].shape.clone();
        let n = view[op.axis];
        let k = usize::try_from(k).ok().filter(|k| (1..=n).contains(k));
        let k =
            k.ok_or_else(|| self.unsupported(node, "k is not between 1 and the size of the axis"))?;
        let (rows, n, order) = self.as_rows(node, x, &[op.axis]);
        let mut moved: Vec<usize> = order.iter().map(|&axis| view[axis]).collect();
        if let Some(last) = moved.last_mut() {
            *last = k;
        }
        let mut part = |indices| {
            let largest = op.largest;
            let top = FloatOp::TopK {
                n,
                k,
                largest,
                indices,
            };
            let y = self.push(node, top, vec![rows], moved.clone());
            self.transpose(node, y, moved.clone(), inverse(&order))
        };
        Ok([part(false), part(true)])
    }

    /// `on` where the index is the position along a new axis, else `off`.
    pub(super) fn one_hot(
        &mut self,
        node: &TypedNode,
        op: &OneHot,
        x: usize,
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        let [off, on] = [&op.off, &op.on].map(|v| self.floats(node, v));
        let (off, on) = (off?[0], on?[0]);
        let after: usize = shape[op.axis + 1..].iter().product();
        let len: usize = shape.iter().product();
        let position = |i: usize| i / after % op.dim;
        let sources = (0..len).map(|i| i / (after * op.dim) * after + i % after);
        let index = self.gather(node, vec![x], sources.collect(), vec![], shape.clone())?;
        let total = self.graph.nodes[index].len();
        let positions: Vec<f32> = (0..op.dim).map(|d| d as f32).collect();
        let which = (0..len).map(|i| total + position(i)).collect();
        let positions = self.gather(node, vec![index], which, positions, shape.clone())?;
        // a negative index counts from the end
        let which = (0..len).map(|i| total + position(i)).collect();
        let before: Vec<f32> = (0..op.dim).map(|d| d as f32 - op.dim as f32).collect();
        let before = self.gather(node, vec![index], which, before, shape.clone())?;
        let equal = FloatOp::Compare(crate::onnx::graph::Relation::Equal);
        let ahead = self.push(node, equal.clone(), vec![index, positions], shape.clone());
        let behind = self.push(node, equal, vec![index, before], shape.clone());
        let either = FloatOp::Extremum { largest: true };
        let equal = self.push(node, either, vec![ahead, behind], shape.clone());
        if (off, on) == (0.0, 1.0) {
            return Ok(equal);
        }
        let choose = Expression::Select(
            Box::new(Expression::Argument),
            Box::new(Expression::Constant(on.into())),
            Box::new(Expression::Constant(off.into())),
        );
        Ok(self.push(node, FloatOp::Unary(choose), vec![equal], shape))
    }

    /// Rows of a constant matrix, chosen by a computed index along its first axis.
    pub(super) fn embedding(
        &mut self,
        node: &TypedNode,
        axis: usize,
        table: &Tensor,
        index: usize,
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        if axis != 0 {
            let reason =
                "a computed index along another axis than the first; expected axis 0 of a constant";
            return Err(self.unsupported(node, reason));
        }
        let values = self.weights(node, table)?;
        let width = table.shape()[1..].iter().product();
        Ok(self.push(node, FloatOp::Lookup { width, values }, vec![index], shape))
    }

    /// A contraction of two computed tensors, as a batched product of rows with rows.
    pub(super) fn contract(
        &mut self,
        node: &TypedNode,
        op: &tract_onnx::tract_core::ops::einsum::EinSum,
        operands: [usize; 2],
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        let views = operands.map(|x| self.graph.nodes[x].shape.clone());
        let (mut batch, mut rows, mut summed, mut columns) = (vec![], vec![], vec![], vec![]);
        for axis in op.axes.iter_all_axes() {
            let at = |positions: &[usize]| match positions {
                [] => Ok(None),
                [one] => Ok(Some(*one)),
                _ => Err(self.unsupported(node, "an operand has one axis twice")),
            };
            let (a, b) = (at(&axis.inputs[0])?, at(&axis.inputs[1])?);
            let y = at(&axis.outputs[0])?;
            let sizes = [a.map_or(1, |i| views[0][i]), b.map_or(1, |i| views[1][i])];
            match (a, b, y) {
                (Some(_), Some(_), Some(y)) if sizes[0] == sizes[1] => batch.push((y, a, b)),
                (Some(_), _, Some(y)) if sizes[1] == 1 => rows.push((y, a, b)),
                (_, Some(_), Some(y)) if sizes[0] == 1 => columns.push((y, a, b)),
                (Some(_), Some(_), None) if sizes[0] == sizes[1] => summed.push((0, a, b)),
                (None, None, Some(y)) => rows.push((y, a, b)),
                (_, _, None) if sizes == [1, 1] => {}
                _ => {
                    let reason = "an axis that is summed in one operand only; expected a product of matrices";
                    return Err(self.unsupported(node, reason));
                }
            }
        }
        batch.sort_unstable();
        rows.sort_unstable();
        columns.sort_unstable();
        let size = |axes: &[(usize, Option<usize>, Option<usize>)], which: usize| -> usize {
            let sizes = axes.iter().map(|(_, a, b)| {
                let at = if which == 0 { *a } else { *b };
                at.map_or(1, |i| views[which][i])
            });
            sizes.product()
        };
        let sizes = [
            size(&batch, 0),
            size(&rows, 0),
            size(&summed, 0),
            size(&columns, 1),
        ];
        let mut order_of = |which: usize, outer: &[(usize, Option<usize>, Option<usize>)]| {
            let listed = batch.iter().chain(outer).chain(&summed);
            let mut order: Vec<usize> = listed
                .filter_map(|(_, a, b)| if which == 0 { *a } else { *b })
                .collect();
            let rest = (0..views[which].len()).filter(|i| !order.contains(i));
            order.extend(rest.collect::<Vec<_>>());
            self.rearrange(node, operands[which], views[which].clone(), order)
        };
        let a = order_of(0, &rows);
        let b = order_of(1, &columns);
        let placed: Vec<usize> = batch
            .iter()
            .chain(&rows)
            .chain(&columns)
            .map(|(y, _, _)| *y)
            .collect();
        let dims: Vec<usize> = placed.iter().map(|&axis| shape[axis]).collect();
        let product = FloatOp::Contract { sizes, factor: 1.0 };
        let y = self.push(node, product, vec![a, b], dims.clone());
        Ok(self.transpose(node, y, dims, inverse(&placed)))
    }

    /// The value of an input that must be constant.
    pub(super) fn fixed<'v>(
        &self,
        node: &TypedNode,
        value: &'v Value,
        what: &str,
    ) -> Result<&'v Tensor, ImportError> {
        match value {
            Value::Const(tensor) => Ok(tensor),
            Value::Node(_) => Err(self.unsupported(
                node,
                format!("{what} that is computed; expected a constant"),
            )),
        }
    }
}
