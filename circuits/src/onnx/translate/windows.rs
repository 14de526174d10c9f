//! Operators over windows: convolutions, pools, and reductions as windows over the last axis.

use super::Translation;
use super::volumes::{Kernel, window_axes};
use crate::onnx::ImportError;
use crate::onnx::graph::FloatOp;
use crate::tensor::ConvGeometry;
use tract_onnx::prelude::{Tensor, TypedNode};
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PoolSpec};
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

/// The permutation that undoes `axes`.
pub(super) fn inverse(axes: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; axes.len()];
    for (i, &axis) in axes.iter().enumerate() {
        inverse[axis] = i;
    }
    inverse
}

impl Translation<'_> {
    /// Runs `layer` on a channels-first view of `x`; it gets (node, batch, channels, space) and the output's channels-first shape.
    pub(super) fn with_channels_first(
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
                let bias = if bias.len() == 1 {
                    vec![bias[0]; o]
                } else {
                    bias
                };
                if space.len() > 2 {
                    let axes = window_axes(&spec, &space, &shape[shape.len() - space.len()..]);
                    let kernel = Kernel {
                        groups: group,
                        weights,
                        bias,
                    };
                    return t.convolve(node, x, [n, c], &axes, &kernel, shape);
                }
                let geometry =
                    t.geometry(node, &spec, &space, [n * c, n * o], n * group, &shape)?;
                if weights.len() * n != geometry.weights_len() || bias.len() != o {
                    return Err(t.unsupported(node, "kernel or bias do not fit the channels"));
                }
                t.room_to_spell_out(node, geometry.weights_len())?;
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
                if space.len() > 2 {
                    return t.volume_pool(node, &spec, x, (n * c, &space), pool, shape);
                }
                let geometry = t.geometry(node, &spec, &space, [n * c, n * c], n * c, &shape)?;
                let n_taps = geometry.n_taps();
                let [rows, columns] = geometry.output_size();
                t.count_taps(node, rows.saturating_mul(columns).saturating_mul(n_taps))?;
                let counts = {
                    let mut taps = geometry.taps();
                    let mut count = |_| {
                        // a window has fewer than 2^28 taps
                        let window = taps.by_ref().take(n_taps);
                        window.filter(|tap| tap.input.is_some()).count() as u32
                    };
                    (0..rows * columns).map(&mut count).collect::<Vec<u32>>()
                };
                let out = &shape[shape.len() - space.len()..];
                let divisors = t.divisors(node, &spec, &space, out, counts, pool)?;
                let op = match pool {
                    Pool::Max => FloatOp::MaxPool { geometry },
                    Pool::Sum { .. } => FloatOp::SumPool {
                        geometry,
                        divisors,
                        factor: 1.0,
                    },
                };
                Ok(t.push(node, op, vec![x], shape))
            },
        )
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
}
