//! # Table: a function of one int8
//! ONNX: Sigmoid-13, Tanh-13 and every other element-wise function. Shapes: x [..] → y [..], both int8.
//! Semantics: y = values[x + 128].
//! Constraints: (x, y) is a row of the table. Soundness: DESIGN.md#lookup. Source: constraints.md, quantization.

use super::{ARITY, Case, EvalError, InferError, Operator, length, one};
use crate::constraint::{BuildError, Builder, TableFunction, WireTensor};
use crate::quantize::{SchemeError, Site};
use crate::tensor::{Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// The value at −128, …, 127.
    pub values: Vec<i8>,
    /// What y stands for.
    pub output: Quantization,
}

/// The int8 range.
const INT8: Interval = Interval { lo: -128, hi: 127 };

impl Operator for Table {
    const NAME: &'static str = "Table";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        Ok(Self {
            values: site.table(site.input(0)?)?,
            output: site.output()?,
        })
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        let x = one(x)?;
        x.quantization.ok_or(InferError::Accumulator)?;
        if !x.is_int8() {
            return Err(InferError::NotInt8(x.interval));
        }
        length("table", 256, self.values.len())?;
        if !self.output.is_sound() {
            return Err(InferError::Attribute(
                "the output scale is not a positive number",
            ));
        }
        // an int8 plus 128 indexes the 256 rows
        let rows = &self.values[(x.interval.lo + 128) as usize..=(x.interval.hi + 128) as usize];
        let (lo, hi) = rows
            .iter()
            .fold((127, -128), |(lo, hi), &v| (v.min(lo), v.max(hi)));
        Ok(Fact {
            shape: x.shape.clone(),
            interval: Interval::new(lo.into(), hi.into())?,
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
        let value = |(index, &value): (usize, &i64)| {
            let row = usize::try_from(value.saturating_add(128)).ok();
            row.and_then(|row| self.values.get(row))
                .map(|&v| v.into())
                .ok_or(EvalError::Range {
                    index,
                    value,
                    range: INT8,
                })
        };
        let data = x
            .data
            .iter()
            .enumerate()
            .map(value)
            .collect::<Result<_, _>>()?;
        Ok(Tensor {
            shape: x.shape.clone(),
            data,
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        let [x] = x else { return Err(ARITY) };
        let values = self.values.iter().map(|&v| v.into()).collect();
        b.lookup(&TableFunction::map(-128, values), x)
    }

    fn cases() -> Vec<Case<Self>> {
        vec![Case {
            name: "every int8",
            op: Self {
                values: (0..=255u8).map(|i| i.wrapping_mul(i) as i8).collect(),
                output: Quantization {
                    scale: 0.01,
                    zero_point: 0,
                },
            },
            facts: vec![Fact {
                shape: vec![256],
                interval: INT8,
                quantization: Some(Quantization {
                    scale: 1.0,
                    zero_point: 0,
                }),
            }],
            runs: vec![vec![Tensor::flat((-128..128).collect())]],
        }]
    }
}
