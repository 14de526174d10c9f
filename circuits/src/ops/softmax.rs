//! # Softmax: shares of a row
//! ONNX: Softmax-13 along one axis, which the rows follow. Shapes: x [.., n] → y [.., n], with scale 1/`one` and zero point 0.
//! Semantics: m = max_j x[j]; e[j] = powers[min(m − x[j], last)]; y[j] = ⌊one·e[j] / Σ e + 1/2⌋. A power is round(2^g·e^(−d·s)) for a
//! difference of d steps; the last is 0 unless no difference reaches it.
//! Constraints: the largest of the row, a table of powers, a division. Soundness: DESIGN.md#softmax.
//! Source: ONNX operator specification, Softmax.

use super::{ARITY, Case, EvalError, InferError, Operator, one, one_tensor, volume};
use crate::constraint::{BuildError, Builder, LinearMap, TableFunction, WireTensor};
use crate::gadgets::divide::rounded_quotient;
use crate::gadgets::max::row_max;
use crate::onnx::{FloatOp, Function};
use crate::quantize::{SchemeError, Site};
use crate::tensor::{Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Softmax {
    /// Shape of x and y.
    pub shape: Vec<usize>,
    /// Elements of a row.
    pub n: usize,
    /// The power of no difference, 2^g, down to 0.
    pub powers: Vec<u32>,
    /// The integer that stands for a share of 1.
    pub one: u32,
}

/// g: fraction bits of a power.
const POWER_BITS: u32 = 16;
/// Steps of a share.
const ONE: u32 = 4095;
/// Most powers: finer steps of the input show nothing.
const MAX_POWERS: usize = 1 << 13;

impl Softmax {
    fn power(&self, difference: i64) -> Option<i64> {
        let last = self.powers.len().checked_sub(1)?;
        let at = usize::try_from(difference).ok()?.min(last);
        self.powers.get(at).map(|&p| p.into())
    }
}

/// Powers of e for differences of 0, 1, … steps, until they vanish or there is no larger difference.
fn powers(scale: f64, width: u64) -> Option<Vec<u32>> {
    let unit = f64::from(1u32 << POWER_BITS);
    let mut powers = vec![];
    while powers.last() != Some(&0) && (powers.len() as u64) < width {
        if powers.len() > MAX_POWERS {
            return None;
        }
        let power = unit * Function::Exp.value(-scale * powers.len() as f64);
        // between 0 and 2^16
        powers.push(power.round() as u32);
    }
    Some(powers)
}

impl Operator for Softmax {
    const NAME: &'static str = "Softmax";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        let FloatOp::Softmax { n } = site.node.op else {
            return Err(site.wrong_operator());
        };
        let (ratio, interval) = (site.input(0)?.scale, site.interval(0)?);
        let powers = powers(ratio, interval.width()).ok_or_else(|| SchemeError::Multiplier {
            node: site.node.name.clone(),
            ratio,
        })?;
        Ok(Self {
            shape: site.shape().to_vec(),
            n,
            powers,
            one: ONE,
        })
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        let x = one(x)?;
        x.quantization.ok_or(InferError::Accumulator)?;
        if self.n == 0 || !x.len().is_multiple_of(self.n) || volume(&self.shape)? != x.len() {
            return Err(InferError::Attribute("the rows do not make up the input"));
        }
        let falls = self.powers.is_sorted_by(|a, b| a >= b);
        let starts = self.powers.first() == Some(&(1 << POWER_BITS));
        let ends = self.powers.last() == Some(&0) || self.powers.len() as u64 >= x.interval.width();
        let bounded = self.powers.len() <= MAX_POWERS + 1 && (1..=1 << 16).contains(&self.one);
        if !falls || !starts || !ends || !bounded {
            return Err(InferError::Attribute(
                "powers that do not fall from 2^16 to 0, or a share of 1 beyond 2^16",
            ));
        }
        if x.interval.width() > TableFunction::MAX_ROWS || self.n > 1 << 20 {
            return Err(InferError::Attribute(
                "an input of more than 2^20 integers, or a row of more elements",
            ));
        }
        Ok(Fact {
            shape: self.shape.clone(),
            // what the range of a quotient proves
            interval: Interval {
                lo: 0,
                hi: i64::from((self.one + 1).next_power_of_two()) - 1,
            },
            quantization: Some(Quantization {
                scale: 1.0 / f64::from(self.one),
                zero_point: 0,
            }),
        })
    }

    fn eval(&self, x: &[&Tensor]) -> Result<Tensor, EvalError> {
        let x = one_tensor(x, self.shape.iter().product())?;
        let mut data = Vec::with_capacity(x.len());
        for row in x.data.chunks_exact(self.n.max(1)) {
            let largest = row.iter().copied().max().unwrap_or(0);
            let power = |&x: &i64| self.power(largest.checked_sub(x)?);
            let powers: Option<Vec<i64>> = row.iter().map(power).collect();
            let powers = powers.ok_or(EvalError::Overflow)?;
            // a row holds at most 2^20 powers of at most 2^16
            let sum: i64 = powers.iter().sum();
            let share = |e: i64| (2 * i64::from(self.one) * e + sum) / (2 * sum);
            data.extend(powers.into_iter().map(share));
        }
        Ok(Tensor {
            shape: self.shape.clone(),
            data,
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        let [x] = x else { return Err(ARITY) };
        let n = self.n;
        let below = row_max(b, x, n)?.below;
        let values = self.powers.iter().map(|&p| p.into()).collect();
        let powers = b.lookup(&TableFunction::map(0, values), &below)?;
        let sums = LinearMap::Dense {
            n_in: n,
            n_out: 1,
            weights: vec![1; n],
        };
        let sum = b.linear(sums, &powers, vec![])?;
        // the largest element has the power 2^g
        let index = (0..x.len()).map(|i| (i / n) as u32).collect();
        let sum = b.gather(&sum, index)?;
        let scaled = b.combine(&[(self.one.into(), &powers)], 0)?;
        let shares = Interval {
            lo: 0,
            hi: self.one.into(),
        };
        rounded_quotient(b, &scaled, &sum, shares)
    }

    fn cases() -> Vec<Case<Self>> {
        let fact = Fact {
            shape: vec![2, 3],
            interval: Interval { lo: -128, hi: 127 },
            quantization: Some(Quantization {
                scale: 0.5,
                zero_point: 3,
            }),
        };
        let run = |data: [i64; 6]| {
            vec![Tensor {
                shape: vec![2, 3],
                data: data.to_vec(),
            }]
        };
        vec![Case {
            name: "two rows",
            op: Self {
                shape: vec![2, 3],
                n: 3,
                powers: powers(0.5, 256).unwrap_or_default(),
                one: ONE,
            },
            facts: vec![fact],
            runs: vec![
                run([0, 1, 2, -128, 127, 126]),
                run([5, 5, 5, -128, -128, 127]),
            ],
        }]
    }
}
