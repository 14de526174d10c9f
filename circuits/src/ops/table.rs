//! # Table: a function of one narrow integer
//! ONNX: Sigmoid-13, Tanh-13 and every other element-wise function. Shapes: x [..] → y [..].
//! Semantics: y = values[x − lo].
//! Constraints: (x, y) is a row of the table. Soundness: DESIGN.md#lookup. Source: constraints.md, quantization.

use super::{ARITY, Case, EvalError, InferError, Operator, one, span};
use crate::constraint::{BuildError, Builder, TableFunction, WireTensor};
use crate::quantize::{SchemeError, Site};
use crate::tensor::{Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// The least x.
    pub lo: i32,
    /// The value at lo, lo + 1, …
    pub values: Vec<i32>,
    /// What y stands for.
    pub output: Quantization,
}

impl Table {
    /// The x that have a value; empty without values.
    fn keys(&self) -> Interval {
        // values are bounded by `infer`
        let lo = i64::from(self.lo);
        Interval {
            lo,
            hi: lo + self.values.len() as i64 - 1,
        }
    }
}

impl Operator for Table {
    const NAME: &'static str = "Table";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        let (lo, values) = site.table()?;
        Ok(Self {
            lo,
            values,
            output: site.output()?,
        })
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        let x = one(x)?;
        x.quantization.ok_or(InferError::Accumulator)?;
        if self.values.is_empty() || self.values.len() as u64 > TableFunction::MAX_ROWS {
            return Err(InferError::Attribute(
                "a table of no row, or above 2^20 rows",
            ));
        }
        let keys = self.keys();
        if !keys.contains(x.interval.lo) || !keys.contains(x.interval.hi) {
            return Err(InferError::Keys {
                keys,
                interval: x.interval,
            });
        }
        if !self.output.is_sound() {
            return Err(InferError::Attribute(
                "the output scale is not a positive number",
            ));
        }
        // both ends are keys
        let (first, last) = (x.interval.lo - keys.lo, x.interval.hi - keys.lo);
        Ok(Fact {
            shape: x.shape.clone(),
            interval: span(&self.values[first as usize..=last as usize])?,
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
            let row = usize::try_from(value.saturating_sub(self.lo.into())).ok();
            row.and_then(|row| self.values.get(row))
                .map(|&v| v.into())
                .ok_or(EvalError::Range {
                    index,
                    value,
                    range: self.keys(),
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
        b.lookup(&TableFunction::map(self.lo.into(), values), x)
    }

    fn cases() -> Vec<Case<Self>> {
        let narrow = Self {
            lo: -2,
            values: vec![40_000, -7, 0, 70_000, 5],
            output: Quantization {
                scale: 0.5,
                zero_point: 3,
            },
        };
        let every = Case {
            name: "every int8",
            op: Self {
                lo: -128,
                values: (0..=255u8)
                    .map(|i| (i.wrapping_mul(i) as i8).into())
                    .collect(),
                output: Quantization {
                    scale: 0.01,
                    zero_point: 0,
                },
            },
            facts: vec![Fact {
                shape: vec![256],
                interval: Interval { lo: -128, hi: 127 },
                quantization: Some(Quantization {
                    scale: 1.0,
                    zero_point: 0,
                }),
            }],
            runs: vec![vec![Tensor::flat((-128..128).collect())]],
        };
        let few = Case {
            name: "a few keys",
            op: narrow,
            facts: vec![Fact {
                shape: vec![4],
                interval: Interval { lo: -2, hi: 1 },
                quantization: every.facts[0].quantization,
            }],
            runs: vec![vec![Tensor::flat(vec![-2, -1, 0, 1])]],
        };
        vec![every, few]
    }
}
