//! # Requantize: from an accumulator, or another scale, to a narrow type, with clamp and activation fused
//! ONNX: what follows Conv, Gemm, Add …; Relu, Clip, Sigmoid and Tanh when they follow one. Shapes: x [..] → y [..].
//! Semantics: t = clamp(zero_point + ⌊((x − zero_point_in)·M[c] + 2^(s−1)) / 2^s⌋, lo, hi), c = ⌊i / inner⌋ mod |M| for
//! element i; y = t, or table[t − lo] with an activation.
//! Constraints: the fused requantization gadget on keys t. Soundness: DESIGN.md#requantize.
//! Source: constraints.md, quantization.

use super::{ARITY, Case, EvalError, InferError, Operator, length, one, quantization, span};
use crate::constraint::{BuildError, Builder, TableFunction, WireTensor};
use crate::gadgets::requantize::requantize;
use crate::quantize::{SchemeError, Site};
use crate::tensor::{Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Requantize {
    /// Integer that stands for 0 in x; 0 for an accumulator.
    pub zero_point_in: i64,
    /// Consecutive elements that share a multiplier.
    pub inner: usize,
    /// M, below 2^31: one for all elements, or one per channel.
    pub multipliers: Vec<u32>,
    /// s, 1..=48.
    pub shift: u32,
    /// Added after rounding.
    pub zero_point: i64,
    /// Least value of t.
    pub lo: i32,
    /// Largest value of t.
    pub hi: i32,
    /// The activation of lo, …, hi, or empty for none.
    pub table: Vec<i32>,
    /// What y stands for.
    pub output: Quantization,
}

impl Requantize {
    fn multiplier(&self, element: usize) -> i64 {
        self.multipliers[element / self.inner % self.multipliers.len()].into()
    }

    /// Whether a larger x never has a smaller y: multipliers are not negative, so the activation decides.
    pub(crate) fn is_monotone(&self) -> bool {
        self.table.is_sorted()
    }

    /// y of one element: `x` centred, times M.
    fn value(&self, product: i64) -> Option<i64> {
        let rounded = product.checked_add(1 << (self.shift - 1))? >> self.shift;
        let key = rounded
            .checked_add(self.zero_point)?
            .clamp(self.lo.into(), self.hi.into());
        if self.table.is_empty() {
            return Some(key);
        }
        self.table
            .get(usize::try_from(key - i64::from(self.lo)).ok()?)
            .map(|&v| v.into())
    }
}

impl Operator for Requantize {
    const NAME: &'static str = "Requantize";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        site.requantization()
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        let x = one(x)?;
        if x.quantization.is_some() {
            quantization(x, self.zero_point_in)?;
        } else if self.zero_point_in != 0 {
            return Err(InferError::ZeroPoint {
                expected: 0,
                got: self.zero_point_in,
            });
        }
        if !(1..=48).contains(&self.shift) {
            return Err(InferError::Attribute("the shift is not in 1..=48"));
        }
        let (lo, hi) = (i64::from(self.lo), i64::from(self.hi));
        if !(0..TableFunction::MAX_ROWS as i64).contains(&(hi - lo)) {
            return Err(InferError::Attribute(
                "the clamp is empty or spans more than 2^20 values",
            ));
        }
        if self.multipliers.iter().any(|&m| m >= 1 << 31) {
            return Err(InferError::Attribute("a multiplier has more than 31 bits"));
        }
        let period = self
            .inner
            .checked_mul(self.multipliers.len())
            .filter(|&n| n > 0);
        if !period.is_some_and(|n| x.len().is_multiple_of(n)) {
            return Err(InferError::Attribute(
                "the multipliers do not divide the input",
            ));
        }
        if !self.output.is_sound() || self.zero_point.unsigned_abs() > 1 << 16 {
            return Err(InferError::Attribute("scale or zero point of the output"));
        }
        if self.table.is_empty() {
            if self.output.zero_point != self.zero_point {
                return Err(InferError::ZeroPoint {
                    expected: self.zero_point,
                    got: self.output.zero_point,
                });
            }
        } else {
            // fewer than 2^20
            length("activation table", (hi - lo + 1) as usize, self.table.len())?;
        }
        let zero = self
            .zero_point_in
            .checked_neg()
            .ok_or(InferError::Attribute("zero point"))?;
        let centred = x.interval.shift(zero)?;
        // both ends of every channel must stay in range with the rounding term: the largest multiplier decides
        let largest = self.multipliers.iter().copied().max().unwrap_or(0);
        let product = centred.scale(largest.into())?.union(&Interval::point(0)?);
        let half = Interval::point(1 << (self.shift - 1))?;
        let offset = Interval::point(1 << self.shift)?
            .scale(self.zero_point)?
            .add(&half)?;
        let keys = product.add(&offset)?.shift_right(self.shift);
        let (first, last) = (keys.lo.clamp(lo, hi), keys.hi.clamp(lo, hi));
        let interval = if self.table.is_empty() {
            Interval::new(first.into(), last.into())?
        } else {
            // keys between lo and hi index the rows
            span(&self.table[(first - lo) as usize..=(last - lo) as usize])?
        };
        Ok(Fact {
            shape: x.shape.clone(),
            interval,
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
        let value = |(i, &x): (usize, &i64)| {
            self.value(
                x.checked_sub(self.zero_point_in)?
                    .checked_mul(self.multiplier(i))?,
            )
        };
        let data = x.data.iter().enumerate().map(value).collect::<Option<_>>();
        Ok(Tensor {
            shape: x.shape.clone(),
            data: data.ok_or(EvalError::Overflow)?,
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        let [x] = x else { return Err(ARITY) };
        let centred = b.combine(&[(1, x)], -self.zero_point_in)?;
        let factors = if self.multipliers.len() == 1 {
            vec![self.multiplier(0)]
        } else {
            (0..x.len()).map(|i| self.multiplier(i)).collect()
        };
        let (lo, hi) = (self.lo.into(), self.hi.into());
        let function = if self.table.is_empty() {
            TableFunction::clamp(lo, hi)
        } else {
            TableFunction::map(lo, self.table.iter().map(|&v| v.into()).collect())
        };
        requantize(b, &centred, factors, self.shift, self.zero_point, &function)
    }

    fn cases() -> Vec<Case<Self>> {
        let fact = |lo, hi, quantization| Fact {
            shape: vec![1, 2, 4],
            interval: Interval { lo, hi },
            quantization,
        };
        let run = |data: [i64; 8]| {
            vec![Tensor {
                shape: vec![1, 2, 4],
                data: data.to_vec(),
            }]
        };
        let plain = Self {
            zero_point_in: 0,
            inner: 4,
            multipliers: vec![1 << 14, 40_000],
            shift: 24,
            zero_point: -3,
            lo: -128,
            hi: 127,
            table: Vec::new(),
            output: Quantization {
                scale: 0.1,
                zero_point: -3,
            },
        };
        let ends = [-100_000, 100_000, 0, 1, -1, 512, -512, 511];
        vec![
            Case {
                name: "two channels",
                op: plain.clone(),
                facts: vec![fact(-100_000, 100_000, None)],
                runs: vec![
                    run(ends),
                    run([1536, -1536, 2560, 209, 210, -209, -210, 77_777]),
                ],
            },
            Case {
                name: "rectified, three limbs",
                op: Self {
                    multipliers: vec![1 << 26, 3],
                    shift: 36,
                    zero_point: -128,
                    lo: -128,
                    hi: 100,
                    output: Quantization {
                        scale: 0.1,
                        zero_point: -128,
                    },
                    ..plain.clone()
                },
                facts: vec![fact(-100_000, 100_000, None)],
                runs: vec![run(ends)],
            },
            Case {
                name: "to uint8",
                op: Self {
                    multipliers: vec![1 << 15],
                    inner: 1,
                    zero_point: 131,
                    lo: 0,
                    hi: 255,
                    output: Quantization {
                        scale: 0.1,
                        zero_point: 131,
                    },
                    ..plain.clone()
                },
                facts: vec![fact(-100_000, 100_000, None)],
                runs: vec![run(ends)],
            },
            Case {
                name: "int8 to int8 with an activation",
                op: Self {
                    zero_point_in: 9,
                    inner: 1,
                    multipliers: vec![3 << 23],
                    table: (0..256).map(|i| i / 2).collect(),
                    output: Quantization {
                        scale: 1.0,
                        zero_point: 0,
                    },
                    ..plain
                },
                facts: vec![fact(
                    -128,
                    127,
                    Some(Quantization {
                        scale: 0.3,
                        zero_point: 9,
                    }),
                )],
                runs: vec![run([-128, 127, 9, 10, 8, 0, 50, -50])],
            },
        ]
    }
}
