//! # TopK: the best elements of a row in order
//! ONNX: TopK-11 along the axis that the rows follow, sorted; largest or smallest. Shapes: x [.., n] → y [.., k]: values, or whole numbers.
//! Semantics: y = the k largest (or least) elements in descending (ascending) order, equal ones by index; or their indices.
//! Constraints: the gadget top_k, of −x for the least. Soundness: DESIGN.md#top-k. Source: ONNX operator specification, TopK.

use super::arg_extremum::{WHOLE, indices, ranked};
use super::{ARITY, Case, EvalError, InferError, Operator, one, one_tensor, volume};
use crate::constraint::{BuildError, Builder, WireTensor};
use crate::gadgets::top_k::{bottom_k, top_k};
use crate::onnx::FloatOp;
use crate::quantize::{SchemeError, Site};
use crate::tensor::{Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopK {
    /// Output shape.
    pub shape: Vec<usize>,
    /// Elements of a row.
    pub n: usize,
    /// Elements kept of it.
    pub k: usize,
    /// The largest, or the least.
    pub largest: bool,
    /// Indices instead of values.
    pub indices: bool,
}

impl Operator for TopK {
    const NAME: &'static str = "TopK";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        match site.node.op {
            FloatOp::TopK {
                n,
                k,
                largest,
                indices,
            } => Ok(Self {
                shape: site.shape().to_vec(),
                n,
                k,
                largest,
                indices,
            }),
            _ => Err(site.wrong_operator()),
        }
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        let x = one(x)?;
        let quantization = x.quantization.ok_or(InferError::Accumulator)?;
        if !(1..=self.n).contains(&self.k) || !x.len().is_multiple_of(self.n) {
            return Err(InferError::Attribute("the rows do not make up the input"));
        }
        super::length(
            "output shape",
            x.len() / self.n * self.k,
            volume(&self.shape)?,
        )?;
        // keys are x·N + index
        let wide = x.interval.max_abs() >= 1 << 46 || self.n > 1 << 20;
        let bits = 64 - x.interval.width().leading_zeros() + self.n.ilog2() + 2;
        if wide || bits > 47 {
            return Err(InferError::Attribute(
                "a row times its values needs more than 47 bits",
            ));
        }
        let (interval, quantization) = if self.indices {
            (indices(self.n), WHOLE)
        } else {
            (x.interval, quantization)
        };
        Ok(Fact {
            shape: self.shape.clone(),
            interval,
            quantization: Some(quantization),
        })
    }

    fn eval(&self, x: &[&Tensor]) -> Result<Tensor, EvalError> {
        let expected = self.shape.iter().product::<usize>() / self.k.max(1) * self.n;
        let x = one_tensor(x, expected)?;
        let best = |row: &[i64]| {
            let order = ranked(row, self.largest).into_iter().take(self.k);
            let part = |i: usize| if self.indices { i as i64 } else { row[i] };
            order.map(part).collect::<Vec<_>>()
        };
        Ok(Tensor {
            shape: self.shape.clone(),
            data: x.data.chunks_exact(self.n.max(1)).flat_map(best).collect(),
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        let [x] = x else { return Err(ARITY) };
        let placed = if self.largest {
            top_k(b, x, self.n, self.k)?
        } else {
            bottom_k(b, x, self.n, self.k)?
        };
        Ok(if self.indices {
            placed.index
        } else {
            placed.value
        })
    }

    fn cases() -> Vec<Case<Self>> {
        let fact = Fact {
            shape: vec![2, 4],
            interval: Interval { lo: -128, hi: 127 },
            quantization: Some(Quantization {
                scale: 0.5,
                zero_point: 3,
            }),
        };
        let run = |data: [i64; 8]| {
            vec![Tensor {
                shape: vec![2, 4],
                data: data.to_vec(),
            }]
        };
        [
            ("two largest, values", true, false),
            ("two largest, indices", true, true),
            ("two least, values", false, false),
            ("two least, indices", false, true),
        ]
        .into_iter()
        .map(|(name, largest, indices)| Case {
            name,
            op: Self {
                shape: vec![2, 2],
                n: 4,
                k: 2,
                largest,
                indices,
            },
            facts: vec![fact.clone()],
            runs: vec![
                run([1, 5, 5, -128, 127, -128, 0, 127]),
                run([3, 3, 3, 3, 9, 7, 8, 10]),
            ],
        })
        .collect()
    }
}
