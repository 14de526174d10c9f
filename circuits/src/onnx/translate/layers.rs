//! The operators with attributes: windows, contractions, reductions, and arithmetic with a constant.

use super::{Translation, Value};
use crate::onnx::ImportError;
use crate::onnx::graph::FloatOp;
use crate::tensor::ConvGeometry;
use tract_onnx::prelude::{Tensor, TypedNode};
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PoolSpec};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::nn::{DataFormat, Reduce, Reducer};

/// What a pooling window computes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pool {
    Max,
    Sum { normalize: bool, include_pad: bool },
}

/// Channels-last axes of a rank, as the order that puts channels before space.
fn channels_first(rank: usize, batch: bool) -> Vec<usize> {
    let first = usize::from(batch);
    let mut axes: Vec<usize> = (0..first).collect();
    axes.push(rank - 1);
    axes.extend(first..rank - 1);
    axes
}

fn inverse(axes: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; axes.len()];
    for (i, &axis) in axes.iter().enumerate() {
        inverse[axis] = i;
    }
    inverse
}

impl Translation<'_> {
    /// Runs `layer` on a channels-first view of `x`; it gets (node, batch, channels, space) and the output's channels-first shape.
    fn with_channels_first(
        &mut self,
        node: &TypedNode,
        format: DataFormat,
        x: usize,
        shape: Vec<usize>,
        layer: impl FnOnce(
            &mut Self,
            usize,
            [usize; 2],
            Vec<usize>,
            Vec<usize>,
        ) -> Result<usize, ImportError>,
    ) -> Result<usize, ImportError> {
        let batch = matches!(format, DataFormat::NCHW | DataFormat::NHWC);
        let last = matches!(format, DataFormat::NHWC | DataFormat::HWC);
        let rank = shape.len();
        let order = if last {
            channels_first(rank, batch)
        } else {
            (0..rank).collect()
        };
        let view = self.graph.nodes[x].shape.clone();
        let from = if last {
            self.transpose(node, x, view.clone(), order.clone())
        } else {
            x
        };
        let dims: Vec<usize> = order.iter().map(|&a| view[a]).collect();
        let (n, rest) = if batch {
            (dims[0], &dims[1..])
        } else {
            (1, &dims[..])
        };
        let (channels, space) = (rest[0], rest[1..].to_vec());
        let inner: Vec<usize> = order.iter().map(|&a| shape[a]).collect();
        let y = layer(self, from, [n, channels], space, inner.clone())?;
        Ok(if last {
            self.transpose(node, y, inner, inverse(&order))
        } else {
            y
        })
    }

    /// The geometry of a window operator on [N·C] planes, and whether its padding is only what the attributes say.
    fn geometry(
        &self,
        node: &TypedNode,
        spec: &PoolSpec,
        space: &[usize],
        channels: [usize; 2],
        groups: usize,
        out: &[usize],
    ) -> Result<ConvGeometry, ImportError> {
        let fail = |reason: String| self.unsupported(node, reason);
        if !(1..=2).contains(&space.len()) || spec.kernel_shape.len() != space.len() {
            return Err(fail(format!(
                "{} spatial axes; expected one or two",
                space.len()
            )));
        }
        let mut padding = spec.computed_padding(space);
        for (axis, p) in padding.iter_mut().enumerate() {
            // with ceil_mode, the last window reaches beyond the declared padding
            let reach = (spec.kernel_shape[axis] - 1) * spec.dilation(axis) + 1;
            let needed = p.convoluted.saturating_sub(1) * spec.stride(axis) + reach;
            p.pad_after = p
                .pad_after
                .max(needed.saturating_sub(space[axis] + p.pad_before));
        }
        // one spatial axis is a window of height 1
        let pair = |values: Vec<usize>, one: usize| match values[..] {
            [w] => [one, w],
            _ => [values[0], values[1]],
        };
        let [top, left] = pair(padding.iter().map(|p| p.pad_before).collect(), 0);
        let [bottom, right] = pair(padding.iter().map(|p| p.pad_after).collect(), 0);
        let [height, width] = pair(space.to_vec(), 1);
        let geometry = ConvGeometry {
            channels_in: channels[0],
            height,
            width,
            channels_out: channels[1],
            kernel: pair(spec.kernel_shape.to_vec(), 1),
            strides: pair(spec.strides().to_vec(), 1),
            pads: [top, left, bottom, right],
            dilations: pair(spec.dilations().to_vec(), 1),
            groups,
        };
        geometry.check().map_err(|e| fail(e.to_string()))?;
        let expected: usize = out.iter().product();
        if geometry.output_len() != expected {
            let got = geometry.output_size();
            return Err(fail(format!(
                "its padding gives the size {got:?}, its shape is {out:?}"
            )));
        }
        Ok(geometry)
    }

    pub(super) fn conv(
        &mut self,
        node: &TypedNode,
        op: &Conv,
        x: usize,
        kernel: &Tensor,
        bias: &Tensor,
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        if op.q_params.is_some() || op.kernel_fmt != KernelFormat::OIHW {
            return Err(self.unsupported(
                node,
                "quantized or channels-last kernels; expected float OIHW",
            ));
        }
        let weights = self.weights(node, kernel)?;
        let bias = self.weights(node, bias)?;
        let spec = op.pool_spec.clone();
        let group = op.group;
        self.with_channels_first(
            node,
            spec.data_format,
            x,
            shape,
            |t, x, [n, c], space, shape| {
                let o = spec.output_channels;
                let geometry =
                    t.geometry(node, &spec, &space, [n * c, n * o], n * group, &shape)?;
                let bias = if bias.len() == 1 {
                    vec![bias[0]; o]
                } else {
                    bias
                };
                if weights.len() * n != geometry.weights_len() || bias.len() != o {
                    return Err(t.unsupported(node, "kernel or bias do not fit the channels"));
                }
                let op = FloatOp::Conv {
                    geometry,
                    weights: weights.repeat(n),
                    bias: bias.repeat(n),
                };
                Ok(t.push(node, op, vec![x], shape))
            },
        )
    }

    pub(super) fn pool(
        &mut self,
        node: &TypedNode,
        spec: &PoolSpec,
        x: usize,
        shape: Vec<usize>,
        pool: Pool,
    ) -> Result<usize, ImportError> {
        let spec = spec.clone();
        self.with_channels_first(
            node,
            spec.data_format,
            x,
            shape,
            |t, x, [n, c], space, shape| {
                let geometry = t.geometry(node, &spec, &space, [n * c, n * c], n * c, &shape)?;
                let n_taps = geometry.n_taps();
                let taps: Vec<_> = geometry.taps().collect();
                let counts: Vec<u32> = taps
                    .chunks_exact(n_taps)
                    // a window has fewer than 2^28 taps
                    .map(|window| window.iter().filter(|tap| tap.input.is_some()).count() as u32)
                    .collect();
                if counts.contains(&0) {
                    return Err(t.unsupported(node, "a window lies on padding alone"));
                }
                let op = match pool {
                    Pool::Max => FloatOp::MaxPool { geometry },
                    Pool::Sum {
                        normalize: false, ..
                    } => FloatOp::SumPool {
                        geometry,
                        divisors: vec![1],
                        factor: 1.0,
                    },
                    Pool::Sum {
                        include_pad: true, ..
                    } => {
                        t.check_declared_padding(node, &spec, &geometry)?;
                        FloatOp::SumPool {
                            geometry,
                            divisors: vec![n_taps as u32],
                            factor: 1.0,
                        }
                    }
                    Pool::Sum { .. } => {
                        let equal = counts.iter().all(|&count| count == counts[0]);
                        let divisors = if equal { vec![counts[0]] } else { counts };
                        FloatOp::SumPool {
                            geometry,
                            divisors,
                            factor: 1.0,
                        }
                    }
                };
                Ok(t.push(node, op, vec![x], shape))
            },
        )
    }

    /// Refuses means that count padding which only `ceil_mode` adds: there ONNX counts fewer taps.
    fn check_declared_padding(
        &self,
        node: &TypedNode,
        spec: &PoolSpec,
        g: &ConvGeometry,
    ) -> Result<(), ImportError> {
        use tract_onnx::tract_core::ops::cnn::PaddingSpec;
        let PaddingSpec::ExplicitOnnxPool(_, after, true) = &spec.padding else {
            return Ok(());
        };
        let declared = match after[..] {
            [right] => [0, right],
            [bottom, right] => [bottom, right],
            _ => [usize::MAX; 2],
        };
        if g.pads[2..] == declared {
            return Ok(());
        }
        Err(self.unsupported(
            node,
            "ceil_mode = 1 with count_include_pad = 1; expected one of them",
        ))
    }

    /// Sum, mean or maximum over axes: a window over the last axis of a view.
    pub(super) fn reduce(
        &mut self,
        node: &TypedNode,
        op: &Reduce,
        x: usize,
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        let view = self.graph.nodes[x].shape.clone();
        let (mut order, reduced): (Vec<usize>, Vec<usize>) =
            (0..view.len()).partition(|axis| !op.axes.contains(axis));
        let n: usize = reduced.iter().map(|&a| view[a]).product();
        order.extend(reduced);
        let x = self.rearrange(node, x, view.clone(), order);
        let channels = view.iter().product::<usize>() / n;
        let geometry = ConvGeometry {
            channels_in: channels,
            height: 1,
            width: n,
            channels_out: channels,
            kernel: [1, n],
            strides: [1, 1],
            pads: [0; 4],
            dilations: [1, 1],
            groups: channels,
        };
        geometry
            .check()
            .map_err(|e| self.unsupported(node, e.to_string()))?;
        let op = match op.reducer {
            Reducer::Sum => FloatOp::SumPool {
                geometry,
                divisors: vec![1],
                factor: 1.0,
            },
            Reducer::Max => FloatOp::MaxPool { geometry },
            other => {
                let reason =
                    format!("the reduction {other:?} is not supported; sums, means and maxima are");
                return Err(self.unsupported(node, reason));
            }
        };
        Ok(self.push(node, op, vec![x], shape))
    }

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
            (Value::Node(a), Value::Node(b)) => return self.sum(node, name, [*a, *b], shape),
            (Value::Node(x), Value::Const(c)) => (*x, c, true),
            (Value::Const(c), Value::Node(x)) => (*x, c, false),
            (Value::Const(_), Value::Const(_)) => {
                return Err(self.unsupported(node, "it cannot be computed at import"));
            }
        };
        if self.graph.nodes[x].len() != shape.iter().product::<usize>() {
            return Err(self.unsupported(
                node,
                "the constant enlarges the tensor; expected one that broadcasts to it",
            ));
        }
        let values = self.floats(node, constant)?;
        if matches!(name, "Max" | "Min") {
            let first = values[0];
            if values.iter().any(|&v| v != first) {
                return Err(
                    self.unsupported(node, "bounds that differ by element; expected one number")
                );
            }
            let (lo, hi) = if name == "Max" {
                (first, f32::INFINITY)
            } else {
                (f32::NEG_INFINITY, first)
            };
            return Ok(self.push(node, FloatOp::Clamp { lo, hi }, vec![x], shape));
        }
        let values = self.weights(node, constant)?;
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

    fn sum(
        &mut self,
        node: &TypedNode,
        name: &str,
        x: [usize; 2],
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        let signs = match name {
            "Add" => [1, 1],
            "Sub" => [1, -1],
            "SubF" => [-1, 1],
            _ => {
                let reason = format!("{name} of two tensors is not supported; Add and Sub are");
                return Err(self.unsupported(node, reason));
            }
        };
        let len = shape.iter().product::<usize>();
        if x.iter().any(|&x| self.graph.nodes[x].len() != len) {
            return Err(self.unsupported(node, "two tensors of different sizes; expected one size"));
        }
        let x = x.map(|x| self.reshape(node, x, shape.clone()));
        Ok(self.push(node, FloatOp::Add { signs }, x.to_vec(), shape))
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
