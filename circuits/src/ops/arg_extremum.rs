//! # ArgExtremum: where a row is largest or least
//! ONNX: ArgMax-13 and ArgMin-13 along axes that the rows follow, both values of select_last_index. Shapes: x [.., n] → y [..], whole numbers.
//! Semantics: y = the least index of a largest element, or the greatest; or of a least element.
//! Constraints: the gadget arg_max, of −x for the least. Soundness: DESIGN.md#arg-max. Source: ONNX operator specification, ArgMax.

use super::{ARITY, Case, EvalError, InferError, Operator, one, volume};
use crate::constraint::{BuildError, Builder, WireTensor};
use crate::gadgets::arg_max::{Ties, arg_max, arg_min};
use crate::onnx::FloatOp;
use crate::quantize::{SchemeError, Site};
use crate::tensor::{Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArgExtremum {
    /// Output shape.
    pub shape: Vec<usize>,
    /// Elements of a row.
    pub n: usize,
    /// The largest, or the least.
    pub largest: bool,
    /// Of equals the last, or the first.
    pub last: bool,
}

/// Whole numbers.
pub(super) const WHOLE: Quantization = Quantization {
    scale: 1.0,
    zero_point: 0,
};

/// What an index below n is proved to be.
pub(super) fn indices(n: usize) -> Interval {
    // rows are bounded to 2^28 elements
    Interval {
        lo: 0,
        hi: n.next_power_of_two().max(2) as i64 - 1,
    }
}

/// The indices of a row from the best element to the worst, equal ones in ascending order.
pub(super) fn ranked(row: &[i64], largest: bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by_key(|&i| {
        if largest {
            (-i128::from(row[i]), i)
        } else {
            (row[i].into(), i)
        }
    });
    order
}

impl Operator for ArgExtremum {
    const NAME: &'static str = "ArgMax";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        match site.node.op {
            FloatOp::ArgExtremum { n, largest, last } => Ok(Self {
                shape: site.shape().to_vec(),
                n,
                largest,
                last,
            }),
            _ => Err(site.wrong_operator()),
        }
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        let x = one(x)?;
        x.quantization.ok_or(InferError::Accumulator)?;
        let rows = volume(&self.shape)?;
        if self.n == 0 || rows.checked_mul(self.n) != Some(x.len()) {
            return Err(InferError::Attribute("the rows do not make up the input"));
        }
        // keys are x·N + index
        let wide = x.interval.max_abs() >= 1 << 46 || self.n > 1 << 20;
        let bits = 64 - x.interval.width().leading_zeros() + self.n.ilog2() + 2;
        if wide || bits > 47 {
            return Err(InferError::Attribute(
                "a row times its values needs more than 47 bits",
            ));
        }
        Ok(Fact {
            shape: self.shape.clone(),
            interval: indices(self.n),
            quantization: Some(WHOLE),
        })
    }

    fn eval(&self, x: &[&Tensor]) -> Result<Tensor, EvalError> {
        let expected = self.shape.iter().product::<usize>() * self.n;
        let x = super::one_tensor(x, expected)?;
        let index = |row: &[i64]| {
            let best = ranked(row, self.largest).first().copied().unwrap_or(0);
            let equals = row.iter().rposition(|v| *v == row[best]);
            let chosen = if self.last {
                equals.unwrap_or(best)
            } else {
                best
            };
            chosen as i64
        };
        Ok(Tensor {
            shape: self.shape.clone(),
            data: x.data.chunks_exact(self.n.max(1)).map(index).collect(),
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        let [x] = x else { return Err(ARITY) };
        let ties = if self.last { Ties::Last } else { Ties::First };
        if self.largest {
            arg_max(b, x, self.n, ties)
        } else {
            arg_min(b, x, self.n, ties)
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let fact = Fact {
            shape: vec![3, 3],
            interval: Interval { lo: -128, hi: 127 },
            quantization: Some(Quantization {
                scale: 0.5,
                zero_point: 3,
            }),
        };
        let run = |data: [i64; 9]| {
            vec![Tensor {
                shape: vec![3, 3],
                data: data.to_vec(),
            }]
        };
        [
            ("largest, first", true, false),
            ("largest, last", true, true),
            ("least, first", false, false),
            ("least, last", false, true),
        ]
        .into_iter()
        .map(|(name, largest, last)| Case {
            name,
            op: Self {
                shape: vec![3],
                n: 3,
                largest,
                last,
            },
            facts: vec![fact.clone()],
            runs: vec![
                run([1, 5, 5, -128, -128, 127, 0, 0, 0]),
                run([5, 1, 5, 127, -128, -128, 3, 2, 1]),
            ],
        })
        .collect()
    }
}
