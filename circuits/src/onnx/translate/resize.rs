//! Resize: sampled images.
//!
//! Nearest samples only move elements: tract's operator runs on the elements' numbers. Linear and cubic samples are a fixed affine
//! map of every plane, found by running tract's operator on the unit vectors of a plane; the plane is the trailing axes from the
//! first that changes its size. Where a sample lies outside the image and takes a constant, the operator's value at zero shows it.

use super::{Translation, Value, refused};
use crate::onnx::ImportError;
use crate::onnx::graph::FloatOp;
use tract_onnx::prelude::{IntoTValue, TVec, Tensor, TypedNode};
use tract_onnx::tract_core::ops::nn::resize;

/// Most weights of the map of one plane.
const MAX_WEIGHTS: usize = 1 << 24;
/// Most elements that the operator is run on to find them.
const MAX_SAMPLED: usize = 1 << 27;

/// Most elements of an image. Their numbers are carried by f32, which is exact up to 2^24; the operator takes microseconds for each.
const MAX_NUMBERED: usize = 1 << 21;

/// Whether the operator takes the nearest element; `None` for another operator.
fn nearest(node: &TypedNode) -> Option<bool> {
    if let Some(op) = node.op_as::<resize::Resize>() {
        return Some(op.interpolator == resize::Interpolator::Nearest);
    }
    // the general operator lives in a crate that tract does not re-export
    let general = node.op.name() == "Resize";
    general.then(|| format!("{:?}", node.op).contains("interpolator: Nearest"))
}

/// tract's operator on values of the input's shape; sizes, scales and regions are fixed.
struct Sampler<'a> {
    node: &'a TypedNode,
    operands: &'a [Value],
    from: Vec<usize>,
}

impl Sampler<'_> {
    fn run(&self, values: &[f32]) -> Result<Vec<f32>, ImportError> {
        let x = Tensor::from_shape(&self.from, values).map_err(refused)?;
        let mut inputs: TVec<_> = TVec::new();
        inputs.push(x.into_tvalue());
        for operand in self.operands {
            let Value::Const(fixed) = operand else {
                return Err(ImportError::Missing("fixed size of a Resize"));
            };
            inputs.push(fixed.clone().into_tvalue());
        }
        let y = self.node.op.eval_out_of_plan(inputs).map_err(refused)?;
        let y = y.and_then(|y| y.into_iter().next());
        let y = y.ok_or(ImportError::Missing("output of a Resize"))?;
        let view = y.to_plain_array_view::<f32>().map_err(refused)?;
        Ok(view.iter().copied().collect())
    }
}

/// An affine map of planes: `[out][in]` weights, and what it adds.
struct PlaneMap {
    planes: usize,
    n_in: usize,
    weights: Vec<f32>,
    offsets: Vec<f32>,
}

impl PlaneMap {
    /// The map of the trailing axes that hold `n_in` elements a plane.
    fn find(
        sampler: &Sampler<'_>,
        [planes, n_in, n_out]: [usize; 3],
        at_zero: &[f32],
    ) -> Result<Self, ImportError> {
        let mut weights = vec![0f32; n_in * n_out];
        for start in (0..n_in).step_by(planes) {
            let columns = planes.min(n_in - start);
            let mut units = vec![0f32; planes * n_in];
            (0..columns).for_each(|i| units[i * n_in + start + i] = 1.0);
            let y = sampler.run(&units)?;
            for i in 0..columns {
                for out in 0..n_out {
                    let value = y[i * n_out + out] - at_zero[i * n_out + out];
                    weights[out * n_in + start + i] = value;
                }
            }
        }
        Ok(Self {
            planes,
            n_in,
            weights,
            offsets: at_zero[..n_out].to_vec(),
        })
    }

    /// Whether the map is what the operator computes, on a tensor without structure.
    fn holds(&self, sampler: &Sampler<'_>) -> Result<bool, ImportError> {
        let mut state = 1u32;
        let mut value = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 16_777_216.0 - 0.5
        };
        let x: Vec<f32> = (0..self.planes * self.n_in).map(|_| value()).collect();
        let y = sampler.run(&x)?;
        let n_out = self.offsets.len();
        let fits = |plane: usize| {
            let x = &x[plane * self.n_in..][..self.n_in];
            let rows = self.weights.chunks_exact(self.n_in).zip(&self.offsets);
            rows.zip(&y[plane * n_out..]).all(|((row, &offset), &y)| {
                let sum: f64 = row
                    .iter()
                    .zip(x)
                    .map(|(&w, &x)| f64::from(w) * f64::from(x))
                    .sum();
                (sum + f64::from(offset) - f64::from(y)).abs() < 1e-4
            })
        };
        Ok(fits(0) && fits(self.planes - 1))
    }
}

impl Translation<'_> {
    /// A resized tensor; `None` for any other operator.
    pub(super) fn resized(
        &mut self,
        node: &TypedNode,
        inputs: &[Value],
        shape: &[usize],
    ) -> Result<Option<usize>, ImportError> {
        let (Some(nearest), [Value::Node(x), operands @ ..]) = (nearest(node), inputs) else {
            return Ok(None);
        };
        for operand in operands {
            self.fixed(node, operand, "a size, scale or region")?;
        }
        if shape.iter().product::<usize>() >= MAX_NUMBERED {
            let reason = format!("an image of {shape:?}; expected fewer than 2^21 elements");
            return Err(self.unsupported(node, reason));
        }
        let sampler = Sampler {
            node,
            operands,
            from: self.graph.nodes[*x].shape.clone(),
        };
        if nearest {
            return self.sampled(node, *x, &sampler, shape).map(Some);
        }
        let at_zero = sampler.run(&vec![0.0; sampler.from.iter().product()])?;
        let changed = (0..shape.len()).find(|&a| sampler.from[a] != shape[a]);
        for first in (0..=changed.unwrap_or(shape.len() - 1)).rev() {
            let sizes = [
                &sampler.from[..first],
                &sampler.from[first..],
                &shape[first..],
            ];
            let [planes, n_in, n_out] = sizes.map(|s| s.iter().product::<usize>());
            let bounds = [
                (n_in.checked_mul(n_out), MAX_WEIGHTS, "weights"),
                (
                    n_in.checked_mul(n_in + n_out),
                    MAX_SAMPLED,
                    "samples of its unit vectors",
                ),
            ];
            for (n, max, what) in bounds {
                if n.is_none_or(|n| n > max) {
                    let reason = format!(
                        "it interpolates planes of {n_in} elements into {n_out}, which takes more than {max} {what}; \
                         expected a smaller image or mode = nearest"
                    );
                    return Err(self.unsupported(node, reason));
                }
            }
            let map = PlaneMap::find(&sampler, [planes, n_in, n_out], &at_zero)?;
            if !map.holds(&sampler)? {
                continue;
            }
            let op = FloatOp::MatMul {
                n_in,
                weights: map.weights,
                bias: map.offsets,
            };
            let y = self.push(node, op, vec![*x], vec![planes, n_out]);
            return Ok(Some(self.reshape(node, y, shape.to_vec())));
        }
        Err(self.unsupported(node, "its samples are not a fixed combination of elements"))
    }

    /// Nearest samples: elements, or one constant outside the image.
    fn sampled(
        &mut self,
        node: &TypedNode,
        x: usize,
        sampler: &Sampler<'_>,
        shape: &[usize],
    ) -> Result<usize, ImportError> {
        let len: usize = sampler.from.iter().product();
        if len >= MAX_NUMBERED {
            return Err(self.unsupported(node, "more than 2^21 elements are moved at once"));
        }
        // an element changes its sign with its number, what stands for the outside does not
        let numbers: Vec<f32> = (1..=len).map(|i| i as f32).collect();
        let mirrored: Vec<f32> = numbers.iter().map(|i| -i).collect();
        let (up, down) = (sampler.run(&numbers)?, sampler.run(&mirrored)?);
        let mut constants = vec![];
        let mut index = Vec::with_capacity(up.len());
        for (up, down) in up.into_iter().zip(down) {
            let number = up as usize;
            index.push(if up == -down && (1..=len).contains(&number) {
                number - 1
            } else if up == down {
                constants = vec![up];
                len
            } else {
                return Err(self.unsupported(node, "its samples are not elements of its input"));
            });
        }
        self.gather(node, vec![x], index, constants, shape.to_vec())
    }
}
