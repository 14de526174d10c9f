//! # Lookup: rows of a constant matrix by computed index
//! ONNX: Gather-13 of constant data (embeddings) with a computed index. Shapes: index [..] → y [.., D].
//! Semantics: y[i][d] = values[clamp(index[i], 0, N − 1)][d].
//! Constraints: one table keyed index·D + d; an index that may lie outside is clamped first. Soundness: DESIGN.md#select-rows.
//! Source: ONNX operator specification, Gather.

use super::{ARITY, Case, EvalError, InferError, Operator, length, one, span, volume};
use crate::constraint::{BuildError, Builder, TableFunction, WireTensor};
use crate::gadgets::saturate::saturate;
use crate::gadgets::select_rows::select_fixed_rows;
use crate::onnx::FloatOp;
use crate::quantize::{SchemeError, Site};
use crate::tensor::{Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lookup {
    /// Output shape.
    pub shape: Vec<usize>,
    /// D.
    pub width: usize,
    /// `[N][D]`.
    pub values: Vec<i32>,
    /// What y stands for.
    pub output: Quantization,
}

impl Lookup {
    fn rows(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }
}

impl Operator for Lookup {
    const NAME: &'static str = "Lookup";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        let FloatOp::Lookup { width, values } = &site.node.op else {
            return Err(site.wrong_operator());
        };
        let encoding = site.encoding()?;
        Ok(Self {
            shape: site.shape().to_vec(),
            width: *width,
            values: values.iter().map(|&v| encoding.nearest(v.into())).collect(),
            output: encoding.quantization,
        })
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        let x = one(x)?;
        let quantization = x.quantization.ok_or(InferError::Accumulator)?;
        if quantization.scale != 1.0 || quantization.zero_point != 0 {
            return Err(InferError::Attribute("the index does not stand for itself"));
        }
        let rows = self.rows();
        if rows == 0 || rows * self.width != self.values.len() {
            return Err(InferError::Attribute("the values are not rows"));
        }
        if self.values.len() as u64 > TableFunction::MAX_ROWS || !self.output.is_sound() {
            return Err(InferError::Attribute(
                "more than 2^20 values, or an impossible scale",
            ));
        }
        if x.interval.max_abs() >= 1 << 40 {
            return Err(InferError::Attribute("an index of more than 40 bits"));
        }
        let len = x.len().checked_mul(self.width);
        let len = len.ok_or(InferError::Attribute("output is too large"))?;
        length("output shape", len, volume(&self.shape)?)?;
        Ok(Fact {
            shape: self.shape.clone(),
            interval: span(&self.values)?,
            quantization: Some(self.output),
        })
    }

    fn eval(&self, x: &[&Tensor]) -> Result<Tensor, EvalError> {
        let [x] = x else {
            return Err(EvalError::Arity {
                expected: 1,
                got: x.len(),
            });
        };
        let last = (self.rows() as i64 - 1).max(0);
        let row = |&i: &i64| {
            let start = i.clamp(0, last) as usize * self.width;
            self.values[start..start + self.width]
                .iter()
                .map(|&v| v.into())
        };
        Ok(Tensor {
            shape: self.shape.clone(),
            data: x.data.iter().flat_map(row).collect(),
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        let [x] = x else { return Err(ARITY) };
        let rows = Interval {
            lo: 0,
            hi: self.rows() as i64 - 1,
        };
        let inside = x.intervals().iter().all(|i| i.lo >= 0 && i.hi <= rows.hi);
        let index = if inside {
            (*x).clone()
        } else {
            saturate(b, x, rows.lo, rows.hi)?
        };
        let values: Vec<i64> = self.values.iter().map(|&v| v.into()).collect();
        select_fixed_rows(b, &index, &values, self.width)
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name, lo, hi, index: [i64; 4]| Case {
            name,
            op: Self {
                shape: vec![4, 2],
                width: 2,
                values: vec![7, -7, 0, 90, 1, -128],
                output: Quantization {
                    scale: 0.5,
                    zero_point: 0,
                },
            },
            facts: vec![Fact {
                shape: vec![4],
                interval: Interval { lo, hi },
                quantization: Some(Quantization {
                    scale: 1.0,
                    zero_point: 0,
                }),
            }],
            runs: vec![vec![Tensor::flat(index.to_vec())]],
        };
        vec![
            case("boolean index", 0, 1, [0, 1, 1, 0]),
            case("clamped index", -128, 127, [-128, 2, 1, 127]),
        ]
    }
}
