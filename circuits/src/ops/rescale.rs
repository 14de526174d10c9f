//! # Rescale: another scale, without bounds
//! ONNX: between operators that need more digits than eight. Shapes: x [..] → y [..].
//! Semantics: y = ⌊((x − zero_point)·M[c] + 2^(s−1)) / 2^s⌋, c = ⌊i / inner⌋ mod |M| for element i. Nothing is cut off: the interval of y
//! is that of x, rescaled. Zero point 0.
//! Constraints: the gadget rescale. Soundness: DESIGN.md#rescale. Source: constraints.md, quantization.

use super::{ARITY, Case, EvalError, InferError, Operator, one, quantization};
use crate::constraint::{BuildError, Builder, WireTensor};
use crate::gadgets::rescale::rescale;
use crate::quantize::{SchemeError, Site};
use crate::tensor::{Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rescale {
    /// Integer that stands for 0 in x; 0 for an accumulator.
    pub zero_point: i64,
    /// Consecutive elements that share a multiplier.
    pub inner: usize,
    /// M, below 2^31: one for all elements, or one per channel.
    pub multipliers: Vec<u32>,
    /// s, 1..=48.
    pub shift: u32,
    /// Real value of one step of y.
    pub scale: f64,
}

impl Rescale {
    fn multiplier(&self, element: usize) -> i64 {
        self.multipliers[element / self.inner % self.multipliers.len()].into()
    }
}

impl Operator for Rescale {
    const NAME: &'static str = "Rescale";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        let requantize = site.requantization()?;
        Ok(Self {
            zero_point: requantize.zero_point_in,
            inner: requantize.inner,
            multipliers: requantize.multipliers,
            shift: requantize.shift,
            scale: requantize.output.scale,
        })
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        let x = one(x)?;
        if x.quantization.is_some() {
            quantization(x, self.zero_point)?;
        } else if self.zero_point != 0 {
            return Err(InferError::ZeroPoint {
                expected: 0,
                got: self.zero_point,
            });
        }
        if !(1..=48).contains(&self.shift) {
            return Err(InferError::Attribute("the shift is not in 1..=48"));
        }
        if self.multipliers.iter().any(|&m| m >= 1 << 31) {
            return Err(InferError::Attribute("a multiplier has more than 31 bits"));
        }
        let period = self.inner.checked_mul(self.multipliers.len());
        let divides = period.filter(|&n| n > 0 && x.len().is_multiple_of(n));
        if divides.is_none() {
            return Err(InferError::Attribute(
                "the multipliers do not divide the input",
            ));
        }
        let output = Quantization {
            scale: self.scale,
            zero_point: 0,
        };
        if !output.is_sound() {
            return Err(InferError::Attribute("scale of the output"));
        }
        let zero = self
            .zero_point
            .checked_neg()
            .ok_or(InferError::Attribute("zero point"))?;
        let centred = x.interval.shift(zero)?;
        let mut interval: Option<Interval> = None;
        for &m in &self.multipliers {
            let scaled = centred.scale(m.into())?.shift(1 << (self.shift - 1))?;
            let y = scaled.shift_right(self.shift);
            // the gadget takes the least result off before it splits
            if i128::from(scaled.hi) - (i128::from(y.lo) << self.shift) > 1 << 62 {
                return Err(InferError::Attribute("the products span more than 2^62"));
            }
            interval = Some(interval.map_or(y, |all| all.union(&y)));
        }
        let interval = interval.ok_or(InferError::Attribute("no multiplier"))?;
        if interval.width() > 1 << 47 {
            return Err(InferError::Attribute("the result has more than 47 bits"));
        }
        Ok(Fact {
            shape: x.shape.clone(),
            interval,
            quantization: Some(output),
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
            let product = x
                .checked_sub(self.zero_point)?
                .checked_mul(self.multiplier(i))?;
            Some(product.checked_add(1 << (self.shift - 1))? >> self.shift)
        };
        let data = x.data.iter().enumerate().map(value).collect::<Option<_>>();
        Ok(Tensor {
            shape: x.shape.clone(),
            data: data.ok_or(EvalError::Overflow)?,
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        let [x] = x else { return Err(ARITY) };
        let centred = b.combine(&[(1, x)], -self.zero_point)?;
        let factors = if self.multipliers.len() == 1 {
            vec![self.multiplier(0)]
        } else {
            (0..x.len()).map(|i| self.multiplier(i)).collect()
        };
        rescale(b, &centred, factors, self.shift)
    }

    fn cases() -> Vec<Case<Self>> {
        vec![Case {
            name: "two channels",
            op: Self {
                zero_point: 0,
                inner: 2,
                multipliers: vec![1 << 20, 40_000],
                shift: 24,
                scale: 0.1,
            },
            facts: vec![Fact {
                shape: vec![4],
                interval: Interval {
                    lo: -100_000,
                    hi: 100_000,
                },
                quantization: None,
            }],
            runs: vec![
                vec![Tensor::flat(vec![-100_000, 100_000, 77, -77])],
                vec![Tensor::flat(vec![8, -8, 210, -210])],
            ],
        }]
    }
}
