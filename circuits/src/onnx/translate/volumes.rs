//! Windows that the two-dimensional geometry does not hold: three and more spatial axes, and transposed convolutions.
//!
//! A gather lays the elements out so that a window over one or two axes remains. It costs nothing: padding and inserted zeros
//! are constants of the gather. With up to two spatial axes the gather only pads and inserts zeros. With more, every axis but the
//! last is unfolded: its taps become channels and its outputs become rows,
//! `[channels · taps][outputs][last axis]`, under a kernel `[1, last kernel]`. Weights keep their order: `[O][C/g][k₀]…[kₙ]` is
//! `[O][C/g · k₀ · …][kₙ]`.

use super::Translation;
use super::bounds::MAX_LAID_OUT;
use super::windows::Pool;
use crate::onnx::ImportError;
use crate::onnx::graph::FloatOp;
use crate::tensor::ConvGeometry;
use tract_onnx::prelude::{Tensor, TypedNode};
use tract_onnx::tract_core::ops::cnn::{Deconv, KernelFormat, PoolSpec};

/// One spatial axis of a window operator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    /// Elements along the axis.
    size: usize,
    /// One more than the zeros between two of them.
    spread: usize,
    /// Positions before the first element; negative where elements are cut off.
    before: i64,
    kernel: usize,
    stride: usize,
    dilation: usize,
    /// Windows along the axis.
    out: usize,
}

impl Axis {
    /// An axis of one element under windows of one element.
    const UNIT: Self = Self {
        size: 1,
        spread: 1,
        before: 0,
        kernel: 1,
        stride: 1,
        dilation: 1,
        out: 1,
    };

    /// The element at a position of the padded axis.
    fn source(&self, position: usize) -> Source {
        let at = i64::try_from(position).ok()?.checked_sub(self.before)?;
        let at = usize::try_from(at).ok()?;
        let element = at / self.spread;
        let holds = at.is_multiple_of(self.spread) && element < self.size;
        holds.then(|| u32::try_from(element).ok())?
    }

    /// Positions that the windows reach.
    fn reach(&self) -> Option<usize> {
        let starts = self.out.checked_sub(1)?.checked_mul(self.stride)?;
        let field = self.kernel.checked_sub(1)?.checked_mul(self.dilation)?;
        starts.checked_add(field)?.checked_add(1)
    }

    /// The element under a tap of a window.
    fn tap(&self, window: usize, tap: usize) -> Source {
        self.source(window * self.stride + tap * self.dilation)
    }
}

/// Where an element comes from: an element of a tensor of at most 2^22, or padding.
type Source = Option<u32>;

/// Adds an axis to indices that count without it.
fn extend(partial: &[Source], size: usize, line: &[Source]) -> Vec<Source> {
    let mut all = Vec::with_capacity(partial.len() * line.len());
    for base in partial {
        // elements of a tensor of at most 2^22
        all.extend(line.iter().map(|at| Some((*base)? * size as u32 + (*at)?)));
    }
    all
}

/// For every tap, every window: its element of a plane. Taps and windows count in row-major order.
fn unfolded(axes: &[Axis]) -> Vec<Source> {
    let taps: usize = axes.iter().map(|a| a.kernel).product();
    let windows: usize = axes.iter().map(|a| a.out).product();
    let at = |tap: usize, window: usize| {
        let (mut tap, mut window) = (tap, window);
        let mut digits = vec![(0, 0); axes.len()];
        for (axis, digit) in axes.iter().zip(&mut digits).rev() {
            *digit = (window % axis.out, tap % axis.kernel);
            (window, tap) = (window / axis.out, tap / axis.kernel);
        }
        let mut elements = axes.iter().zip(digits);
        elements.try_fold(0, |base, (axis, (window, tap))| {
            // elements of a tensor of at most 2^22
            Some(base * axis.size as u32 + axis.tap(window, tap)?)
        })
    };
    let mut all = Vec::with_capacity(taps * windows);
    for tap in 0..taps {
        all.extend((0..windows).map(|window| at(tap, window)));
    }
    all
}

/// The same elements of every plane; padding is element `constant`.
fn in_planes(planes: usize, area: usize, plane: &[Source], constant: usize) -> Vec<usize> {
    let mut all = Vec::with_capacity(planes * plane.len());
    for first in (0..planes).map(|p| p * area) {
        all.extend(
            plane
                .iter()
                .map(|at| at.map_or(constant, |i| first + i as usize)),
        );
    }
    all
}

/// The product of sizes, when it is a tensor's.
fn volume(sizes: impl IntoIterator<Item = Option<usize>>) -> Option<usize> {
    let product = sizes
        .into_iter()
        .try_fold(1usize, |product, size| product.checked_mul(size?))?;
    (1..=MAX_LAID_OUT).contains(&product).then_some(product)
}

/// Weights of a convolution.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    pub(super) groups: usize,
    /// `[O][C/groups][k₀]…[kₙ]`.
    pub(super) weights: Vec<f32>,
    /// One per output channel.
    pub(super) bias: Vec<f32>,
}

/// The axes of a window operator that is not transposed.
pub(super) fn window_axes(spec: &PoolSpec, space: &[usize], out: &[usize]) -> Vec<Axis> {
    let padding = spec.computed_padding(space);
    (0..space.len())
        .map(|axis| Axis {
            size: space[axis],
            spread: 1,
            before: i64::try_from(padding[axis].pad_before).unwrap_or(i64::MAX),
            kernel: spec.kernel_shape[axis],
            stride: spec.stride(axis),
            dilation: spec.dilation(axis),
            out: out[axis],
        })
        .collect()
}

impl Translation<'_> {
    /// A convolution of `n` samples of `c` channels along the given axes.
    pub(super) fn convolve(
        &mut self,
        node: &TypedNode,
        x: usize,
        [n, c]: [usize; 2],
        axes: &[Axis],
        kernel: &Kernel,
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        let (unfold, keep) = match axes {
            [last] => (vec![], vec![Axis::UNIT, *last]),
            [_, _] => (vec![], axes.to_vec()),
            [lead @ .., last] => (lead.to_vec(), vec![*last]),
            [] => return Err(self.unsupported(node, "no spatial axis; expected at least one")),
        };
        let taps_of = || unfold.iter().map(|a| Some(a.kernel));
        let windows = || unfold.iter().map(|a| Some(a.out));
        let lengths = || keep.iter().map(Axis::reach);
        let planes = n * c;
        let all = std::iter::once(Some(planes))
            .chain(taps_of())
            .chain(windows())
            .chain(lengths());
        let Some(total) = volume(all) else {
            let reason =
                format!("its windows read more than {MAX_LAID_OUT} elements, padding included");
            return Err(self.unsupported(node, reason));
        };
        let taps: usize = unfold.iter().map(|a| a.kernel).product();
        let rows: usize = unfold.iter().map(|a| a.out).product();
        let mut plane = unfolded(&unfold);
        for axis in &keep {
            let line: Vec<_> = (0..axis.reach().unwrap_or(0))
                .map(|p| axis.source(p))
                .collect();
            plane = extend(&plane, axis.size, &line);
        }
        let area: usize = axes.iter().map(|a| a.size).product();
        let constant = self.graph.nodes[x].len();
        let index = in_planes(planes, area, &plane, constant);
        drop(plane);
        let line = |axis: usize| keep[axis].reach().unwrap_or(0);
        let (image, window) = match keep[..] {
            [height, width] => ([line(0), line(1)], [height, width]),
            _ => ([rows, line(0)], [Axis::UNIT, keep[0]]),
        };
        let image_shape = vec![planes * taps, image[0], image[1]];
        debug_assert_eq!(index.len(), total);
        let image_node = self.gather(node, vec![x], index, vec![0.0], image_shape)?;
        let o = kernel.bias.len();
        let geometry = ConvGeometry {
            channels_in: planes * taps,
            height: image[0],
            width: image[1],
            channels_out: n * o,
            kernel: window.map(|a| a.kernel),
            strides: window.map(|a| a.stride),
            pads: [0; 4],
            dilations: window.map(|a| a.dilation),
            groups: n * kernel.groups,
        };
        geometry
            .check()
            .map_err(|e| self.unsupported(node, e.to_string()))?;
        let fits = geometry.output_len() == shape.iter().product::<usize>()
            && geometry.weights_len() == kernel.weights.len() * n;
        if !fits {
            return Err(self.unsupported(node, "kernel or bias do not fit the channels"));
        }
        let op = FloatOp::Conv {
            geometry,
            weights: kernel.weights.repeat(n),
            bias: kernel.bias.repeat(n),
        };
        Ok(self.push(node, op, vec![image_node], shape))
    }

    /// A transposed convolution: zeros between the elements, the kernel turned around.
    pub(super) fn transposed_conv(
        &mut self,
        node: &TypedNode,
        op: &Deconv,
        x: usize,
        kernel: &Tensor,
        bias: &Tensor,
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        if op.kernel_format != KernelFormat::OIHW {
            return Err(self.unsupported(node, "channels-last kernels; expected OIHW"));
        }
        let taps: usize = op.pool_spec.kernel_shape.iter().product();
        let mut weights = self.weights(node, kernel)?;
        if taps == 0 || !weights.len().is_multiple_of(taps) {
            return Err(self.unsupported(node, "kernel or bias do not fit the channels"));
        }
        weights.chunks_exact_mut(taps).for_each(<[f32]>::reverse);
        let bias = self.weights(node, bias)?;
        let spec = op.pool_spec.clone();
        let (groups, adjustments) = (op.group, op.adjustments.clone());
        self.with_channels_first(
            node,
            spec.data_format,
            x,
            shape,
            |t, x, [n, c], space, shape| {
                let padding = spec
                    .padding
                    .compute_for_deconv(
                        &space,
                        &spec.kernel_shape,
                        &spec.dilations(),
                        &spec.strides(),
                        &adjustments,
                    )
                    .map_err(|e| t.unsupported(node, e.to_string()))?;
                let out = &shape[shape.len() - space.len()..];
                let signed = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
                let axis = |axis: usize| Axis {
                    size: space[axis],
                    spread: spec.stride(axis),
                    before: signed((spec.kernel_shape[axis] - 1) * spec.dilation(axis))
                        - signed(padding[axis].pad_before),
                    kernel: spec.kernel_shape[axis],
                    stride: 1,
                    dilation: spec.dilation(axis),
                    out: out[axis],
                };
                let axes: Vec<Axis> = (0..space.len()).map(axis).collect();
                let o = spec.output_channels;
                let bias = match bias[..] {
                    [only] => vec![only; o],
                    _ => bias,
                };
                let kernel = Kernel {
                    groups,
                    weights,
                    bias,
                };
                t.convolve(node, x, [n, c], &axes, &kernel, shape)
            },
        )
    }

    /// A pool over any number of axes: the taps of every window as a row, and its maximum or sum.
    pub(super) fn volume_pool(
        &mut self,
        node: &TypedNode,
        spec: &PoolSpec,
        x: usize,
        (planes, space): (usize, &[usize]),
        pool: Pool,
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        let out = &shape[shape.len() - space.len()..];
        let axes = window_axes(spec, space, out);
        let kernels = axes.iter().map(|a| Some(a.kernel));
        let windows = axes.iter().map(|a| Some(a.out));
        let taps = volume(std::iter::once(Some(planes)).chain(kernels).chain(windows));
        if taps.is_none() {
            let reason =
                format!("its windows read more than {MAX_LAID_OUT} elements, padding included");
            return Err(self.unsupported(node, reason));
        }
        let n_taps: usize = axes.iter().map(|a| a.kernel).product();
        let n_windows: usize = out.iter().product();
        let elements = unfolded(&axes);
        let (mut counts, mut rows) = (vec![], Vec::with_capacity(elements.len()));
        for window in 0..n_windows {
            let taps = || (0..n_taps).map(|tap| elements[tap * n_windows + window]);
            counts.push(taps().flatten().count() as u32);
            // a repeated element never changes a maximum
            let stand_in = matches!(pool, Pool::Max).then(|| taps().flatten().next());
            rows.extend(taps().map(|at| at.or(stand_in.flatten())));
        }
        let divisors = self.divisors(node, spec, space, out, counts, pool)?;
        let area: usize = space.iter().product();
        let constant = self.graph.nodes[x].len();
        let index = in_planes(planes, area, &rows, constant);
        drop(rows);
        let row_shape = vec![planes, n_windows, n_taps];
        let taps = self.gather(node, vec![x], index, vec![0.0], row_shape)?;
        let geometry = ConvGeometry {
            channels_in: planes,
            height: n_windows,
            width: n_taps,
            channels_out: planes,
            kernel: [1, n_taps],
            strides: [1, 1],
            pads: [0; 4],
            dilations: [1, 1],
            groups: planes,
        };
        geometry
            .check()
            .map_err(|e| self.unsupported(node, e.to_string()))?;
        let op = match pool {
            Pool::Max => FloatOp::MaxPool { geometry },
            Pool::Sum { .. } => FloatOp::SumPool {
                geometry,
                divisors,
                factor: 1.0,
            },
        };
        Ok(self.push(node, op, vec![taps], shape))
    }

    /// What the sum of every window is divided by; `counts` are the elements under each.
    pub(super) fn divisors(
        &self,
        node: &TypedNode,
        spec: &PoolSpec,
        space: &[usize],
        out: &[usize],
        counts: Vec<u32>,
        pool: Pool,
    ) -> Result<Vec<u32>, ImportError> {
        let divisors = match pool {
            Pool::Sum {
                normalize: false, ..
            } => vec![1],
            Pool::Sum {
                include_pad: true, ..
            } => padded_counts(spec, space, out),
            Pool::Sum { .. } | Pool::Max => counts,
        };
        if divisors.contains(&0) {
            return Err(self.unsupported(node, "a window lies on padding alone"));
        }
        let equal = divisors.iter().all(|&count| count == divisors[0]);
        Ok(if equal { vec![divisors[0]] } else { divisors })
    }
}

/// The taps of every window on the tensor and its declared padding: what `ceil_mode` adds beyond does not count.
fn padded_counts(spec: &PoolSpec, space: &[usize], out: &[usize]) -> Vec<u32> {
    let padding = spec.computed_padding(space);
    let mut counts = vec![1u32];
    for axis in 0..space.len() {
        let end = padding[axis].pad_before + space[axis] + padding[axis].pad_after;
        let along = (0..out[axis]).map(|window| {
            let start = window * spec.stride(axis);
            let taps = (0..spec.kernel_shape[axis]).map(|tap| start + tap * spec.dilation(axis));
            taps.filter(|&at| at < end).count() as u32
        });
        let along: Vec<u32> = along.collect();
        let rows = counts.iter();
        counts = rows
            .flat_map(|&count| along.iter().map(move |&c| count.saturating_mul(c)))
            .collect();
    }
    counts
}
