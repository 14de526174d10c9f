//! Integer tensors and the intervals the compiler proves about them.

mod fact;
mod interval;
mod window;

pub use fact::{Fact, Quantization};
pub use interval::{BOUND, Interval, IntervalError};
pub use window::{ConvGeometry, GeometryError, MAX_ELEMENTS, Tap};

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// An integer tensor in row-major order; every value the quantized model computes fits `i64`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize)]
pub struct Tensor {
    /// Dimensions, outermost first; the empty shape is a scalar.
    pub shape: Vec<usize>,
    /// `shape.iter().product()` values in row-major order.
    pub data: Vec<i64>,
}

impl Tensor {
    /// A tensor of `shape` over `data`, or `None` when the lengths disagree.
    pub fn new(shape: Vec<usize>, data: Vec<i64>) -> Option<Self> {
        let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        (len == data.len()).then_some(Self { shape, data })
    }

    /// A one-dimensional tensor over `data`.
    pub fn flat(data: Vec<i64>) -> Self {
        Self {
            shape: vec![data.len()],
            data,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether the tensor has no element.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
}

/// Values may be private inputs: only the shape is shown.
impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tensor")
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}
