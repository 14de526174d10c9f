//! # Clip: bounds on integers, their scale kept
//! ONNX: Clip-13 and Relu-14 of a tensor of sixteen bits; what keeps a tensor to its type. Shapes: x [..] → y [..].
//! Semantics: y = min(max(x, lo), hi), of integers; scale and zero point are those of x.
//! Constraints: the gadget saturate. Soundness: DESIGN.md#saturate. Source: ONNX operator specification, Clip.

use super::{ARITY, Case, EvalError, InferError, Operator, one};
use crate::constraint::{BuildError, Builder, WireTensor};
use crate::gadgets::saturate::saturate;
use crate::quantize::{SchemeError, Site};
use crate::tensor::{Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clip {
    /// Least value of y.
    pub lo: i32,
    /// Largest value of y.
    pub hi: i32,
}

impl Clip {
    fn value(&self, x: i64) -> i64 {
        // `infer` refuses lo > hi
        x.min(self.hi.into()).max(self.lo.into())
    }
}

impl Operator for Clip {
    const NAME: &'static str = "Clip";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        let encoding = site.encoding()?;
        if encoding.quantization != site.input(0)? {
            return Err(site.wrong_operator());
        }
        Ok(Self {
            lo: encoding.lo,
            hi: encoding.hi,
        })
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        let x = one(x)?;
        x.quantization.ok_or(InferError::Accumulator)?;
        if self.lo > self.hi {
            return Err(InferError::Attribute("the clamp is empty"));
        }
        let ends = x.interval;
        let bounds = Interval::new(self.lo.into(), self.hi.into())?;
        if ends.union(&bounds).width() > 1 << 47 {
            return Err(InferError::Attribute("a difference has more than 48 bits"));
        }
        Ok(Fact {
            shape: x.shape.clone(),
            interval: Interval::new(self.value(ends.lo).into(), self.value(ends.hi).into())?,
            quantization: x.quantization,
        })
    }

    fn eval(&self, x: &[&Tensor]) -> Result<Tensor, EvalError> {
        let [x] = x else {
            return Err(EvalError::Arity {
                expected: 1,
                got: x.len(),
            });
        };
        Ok(Tensor {
            shape: x.shape.clone(),
            data: x.data.iter().map(|&x| self.value(x)).collect(),
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        let [x] = x else { return Err(ARITY) };
        saturate(b, x, self.lo.into(), self.hi.into())
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name, ends: i64, lo: i32, hi: i32, runs: [[i64; 4]; 2]| Case {
            name,
            op: Self { lo, hi },
            facts: vec![Fact {
                shape: vec![4],
                interval: Interval {
                    lo: -ends - 1,
                    hi: ends,
                },
                quantization: Some(Quantization {
                    scale: 0.1,
                    zero_point: 0,
                }),
            }],
            runs: runs.map(|run| vec![Tensor::flat(run.to_vec())]).to_vec(),
        };
        let wide = [[-901, 900, 0, -1], [-129, -128, 127, 128]];
        let narrow = [[-128, 127, 0, -1], [-6, -5, 99, 100]];
        vec![
            case("to int8", 900, -128, 127, wide),
            case("bounds that span no power of two", 127, -5, 99, narrow),
            case("rectified", 900, 0, 1023, wide),
        ]
    }
}
