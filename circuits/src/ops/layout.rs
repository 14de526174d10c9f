//! # Layout: the same values in another order or shape
//! ONNX: Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Identity. Shapes: x with any shape of the same volume → `shape`.
//! Semantics: x read as `view`, its axes permuted by `axes`, the result read as `shape`.
//! Constraints: none, a gather of wires. Source: ONNX operator specification.

use super::{ARITY, Case, EvalError, InferError, Operator, length, one, one_tensor, volume};
use crate::constraint::{BuildError, Builder, WireTensor};
use crate::quantize::{SchemeError, Site};
use crate::tensor::{Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Shape the input is read with.
    pub view: Vec<usize>,
    /// Axis `axes[i]` of the view becomes axis i.
    pub axes: Vec<usize>,
    /// Output shape.
    pub shape: Vec<usize>,
}

impl Layout {
    /// The permuted shape, or an error when the parts do not agree.
    fn check(&self) -> Result<usize, InferError> {
        let len = volume(&self.view)?;
        length("output shape", len, volume(&self.shape)?)?;
        length("axes", self.view.len(), self.axes.len())?;
        let mut seen = vec![false; self.view.len()];
        for &axis in &self.axes {
            match seen.get_mut(axis) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(InferError::Attribute("axes are not a permutation")),
            }
        }
        Ok(len)
    }

    /// Input index of every output element; the parts must agree.
    pub(crate) fn index(&self) -> Vec<usize> {
        let rank = self.view.len();
        let mut strides = vec![1usize; rank];
        for axis in (1..rank).rev() {
            strides[axis - 1] = strides[axis] * self.view[axis];
        }
        let mut index = vec![0usize];
        for &axis in &self.axes {
            index = index
                .iter()
                .flat_map(|&base| (0..self.view[axis]).map(move |i| (base, i)))
                .map(|(base, i)| base + i * strides[axis])
                .collect();
        }
        index
    }

    /// Whether no element moves.
    fn is_reshape(&self) -> bool {
        self.axes
            .iter()
            .filter(|&&axis| self.view[axis] != 1)
            .is_sorted()
    }
}

impl Operator for Layout {
    const NAME: &'static str = "Layout";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        let (view, axes) = site.layout()?;
        Ok(Self {
            view,
            axes,
            shape: site.shape().to_vec(),
        })
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        let x = one(x)?;
        length("input", self.check()?, x.len())?;
        let quantization = Some(x.quantization.ok_or(InferError::Accumulator)?);
        Ok(Fact {
            shape: self.shape.clone(),
            interval: x.interval,
            quantization,
        })
    }

    fn eval(&self, x: &[&Tensor]) -> Result<Tensor, EvalError> {
        let x = one_tensor(x, self.view.iter().product())?;
        let data = if self.is_reshape() {
            x.data.clone()
        } else {
            self.index().into_iter().map(|i| x.data[i]).collect()
        };
        Ok(Tensor {
            shape: self.shape.clone(),
            data,
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        let [x] = x else { return Err(ARITY) };
        if self.is_reshape() {
            return Ok((*x).clone());
        }
        // `infer` bounds a tensor to 2^28 elements
        let index = self.index().into_iter().map(|i| i as u32).collect();
        b.gather(x, index)
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name, op| Case {
            name,
            op,
            facts: vec![Fact {
                shape: vec![2, 3, 2],
                interval: Interval { lo: -128, hi: 127 },
                quantization: Some(Quantization {
                    scale: 1.0,
                    zero_point: 3,
                }),
            }],
            runs: vec![vec![Tensor {
                shape: vec![2, 3, 2],
                data: (-6..6).collect(),
            }]],
        };
        vec![
            case(
                "transpose",
                Self {
                    view: vec![2, 3, 2],
                    axes: vec![2, 0, 1],
                    shape: vec![2, 2, 3],
                },
            ),
            case(
                "flatten",
                Self {
                    view: vec![12],
                    axes: vec![0],
                    shape: vec![1, 12],
                },
            ),
        ]
    }
}
