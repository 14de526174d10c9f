//! # Compare: less, less or equal, equal
//! ONNX: Less-13, LessOrEqual-16, Greater-13, GreaterOrEqual-16 (operands swapped), Equal-13. Shapes: x₁, x₂ [..] → y [..] in {0, 1}.
//! Semantics: y = [d < 0], [d ≤ 0] or [d = 0] with d = factor₁·(x₁ − zero_point₁) − factor₂·(x₂ − zero_point₂): the factors bring both to
//! one scale, 1 and 1 when they have one.
//! Constraints: a table of three rows on d where d is narrow, else the top bits of d and −d.
//! Soundness: DESIGN.md#compare. Source: ONNX operator specification.

use super::{ARITY, Case, EvalError, InferError, Operator, quantization};
use crate::constraint::{BuildError, Builder, TableFunction, WireTensor};
use crate::onnx::Relation;
use crate::quantize::{SchemeError, Site};
use crate::tensor::{Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// Which comparison.
    pub relation: Relation,
    /// Integers that stand for 0 in x₁ and x₂.
    pub zero_points: [i64; 2],
    /// Bring both to one scale; positive.
    pub factors: [i64; 2],
}

/// A wider difference is compared by its top bits.
const MAX_KEYS: u64 = 1 << 12;

impl Compare {
    /// y where d is negative, zero, positive.
    fn values(&self) -> [i64; 3] {
        match self.relation {
            Relation::Less => [1, 0, 0],
            Relation::LessOrEqual => [1, 1, 0],
            Relation::Equal => [0, 1, 0],
        }
    }
}

/// What a truth value stands for.
const BOOLEAN: Quantization = Quantization {
    scale: 1.0,
    zero_point: 0,
};

impl Operator for Compare {
    const NAME: &'static str = "Compare";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        let (relation, factors) = site.comparison()?;
        Ok(Self {
            relation,
            zero_points: [site.input(0)?.zero_point, site.input(1)?.zero_point],
            factors,
        })
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        let [left, right] = x else {
            return Err(InferError::Arity {
                expected: 2,
                got: x.len(),
            });
        };
        if left.shape != right.shape {
            return Err(InferError::Shapes {
                left: left.shape.clone(),
                right: right.shape.clone(),
            });
        }
        if self.factors.iter().any(|f| !(1..1 << 31).contains(f)) {
            return Err(InferError::Attribute("a factor is not in 1..2^31"));
        }
        let mut difference = Interval::point(0)?;
        for (i, (x, zero_point)) in x.iter().zip(self.zero_points).enumerate() {
            quantization(x, zero_point)?;
            let zero = zero_point
                .checked_neg()
                .ok_or(InferError::Attribute("zero point"))?;
            let factor = if i == 0 {
                self.factors[0]
            } else {
                -self.factors[1]
            };
            difference = difference.add(&x.interval.shift(zero)?.scale(factor)?)?;
        }
        if difference.max_abs() >= 1 << 47 {
            return Err(InferError::Attribute(
                "the difference has more than 47 bits",
            ));
        }
        Ok(Fact {
            shape: left.shape.clone(),
            interval: Interval { lo: 0, hi: 1 },
            quantization: Some(BOOLEAN),
        })
    }

    fn eval(&self, x: &[&Tensor]) -> Result<Tensor, EvalError> {
        let [left, right] = x else {
            return Err(EvalError::Arity {
                expected: 2,
                got: x.len(),
            });
        };
        if left.len() != right.len() {
            return Err(EvalError::Length {
                expected: left.len(),
                got: right.len(),
            });
        }
        let term = |x: i64, i: usize| {
            x.checked_sub(self.zero_points[i])?
                .checked_mul(self.factors[i])
        };
        let [negative, zero, positive] = self.values();
        let data = left.data.iter().zip(&right.data).map(|(&l, &r)| {
            let difference = term(l, 0)?.checked_sub(term(r, 1)?)?;
            Some(match difference.signum() {
                -1 => negative,
                0 => zero,
                _ => positive,
            })
        });
        Ok(Tensor {
            shape: left.shape.clone(),
            data: data.collect::<Option<_>>().ok_or(EvalError::Overflow)?,
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        let [left, right] = x else { return Err(ARITY) };
        let [f, g] = self.factors;
        let left = b.combine(&[(1, left)], -self.zero_points[0])?;
        let right = b.combine(&[(1, right)], -self.zero_points[1])?;
        let difference = b.combine(&[(f, &left), (-g, &right)], 0)?;
        let span = difference.intervals().iter().copied();
        let Some(span) = span.reduce(|a, b| a.union(&b)) else {
            return Err(ARITY);
        };
        if span.width() <= MAX_KEYS {
            let f = TableFunction::map(-1, self.values().to_vec());
            return b.lookup(&f, &difference);
        }
        // |d| < 2^bits, so ⌊d / 2^bits⌋ is −1 or 0
        let bits = (64 - span.max_abs().leading_zeros()).max(1);
        let mut sign = |c: i64| {
            let x = b.combine(&[(c, &difference)], 0)?;
            let top = b.split(&x, bits)?;
            b.lookup_unbound(&TableFunction::map(-1, vec![1, 0]), top)
        };
        match self.relation {
            Relation::Less => sign(1),
            Relation::LessOrEqual => {
                let above = sign(-1)?;
                b.combine(&[(-1, &above)], 1)
            }
            Relation::Equal => {
                let (below, above) = (sign(1)?, sign(-1)?);
                let either = b.combine(&[(1, &below), (1, &above)], 0)?;
                b.lookup(&TableFunction::map(0, vec![1, 0, 0]), &either)
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let zero_points = [-5, 7];
        let fact = |zero_point| Fact {
            shape: vec![5],
            interval: Interval { lo: -128, hi: 127 },
            quantization: Some(Quantization {
                scale: 0.1,
                zero_point,
            }),
        };
        let run = vec![
            Tensor::flat(vec![-128, -5, 0, 127, 10]),
            Tensor::flat(vec![127, 7, 13, -128, 22]),
        ];
        let relations = [
            ("less", Relation::Less),
            ("less or equal", Relation::LessOrEqual),
            ("equal", Relation::Equal),
        ];
        let scales = [[1, 1], [1 << 12, 5000]];
        scales
            .into_iter()
            .flat_map(|factors| relations.map(|(name, relation)| (name, relation, factors)))
            .map(|(name, relation, factors)| Case {
                name,
                op: Self {
                    relation,
                    zero_points,
                    factors,
                },
                facts: zero_points.map(fact).to_vec(),
                runs: vec![run.clone()],
            })
            .collect()
    }
}
