//! # Normalize: rows divided by the root of the mean of their squares
//! ONNX: RMSNormalization-23; the core of LayerNormalization-17, InstanceNormalization-6, GroupNormalization-21 behind a subtracted mean.
//! Shapes: x [.., n] → y [.., n], with scale √n/2^14 and zero point 0.
//! Semantics: c = x − zero_point; v = Σ c² + epsilon, an integer from 1 on; r ≈ 1/√v from the 16 leading bits of v: with e the least
//! exponent such that z = ⌈v / 4^e⌉ ≤ 2^16, r = ⌊2^22 / √z⌋·2^−(22 + e), relative error below 2^−13;
//! y = ⌊c·r·2^14 + 1/2⌋.
//! Constraints: products, the gadget of wide reciprocal roots, a split whose quotient is ranged to 16 bits: |c| ≤ √v.
//! Soundness: DESIGN.md#normalize. Source: ONNX operator specification.

use super::{ARITY, Case, EvalError, InferError, Operator, one, one_tensor, quantization, volume};
use crate::constraint::{BuildError, Builder, LinearMap, WireTensor};
use crate::gadgets::square_root::{KEPT_BITS, reciprocal_square_root_wide};
use crate::onnx::FloatOp;
use crate::quantize::{SchemeError, Site};
use crate::tensor::{Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Normalize {
    /// Shape of x and y.
    pub shape: Vec<usize>,
    /// Elements of a row.
    pub n: usize,
    /// Integer that stands for 0 in x.
    pub zero_point: i64,
    /// n·ε in steps of x squared, at least 1.
    pub epsilon: u64,
}

/// Fraction bits of c/√v.
const BITS: u32 = 14;
/// Fraction bits of 1/√z.
const ROOT_BITS: u32 = 22;

impl Normalize {
    /// Largest sum of squares, with ε.
    fn largest(&self, x: &Fact) -> Result<u128, InferError> {
        let zero = self
            .zero_point
            .checked_neg()
            .ok_or(InferError::Attribute("zero point"))?;
        let widest = u128::from(x.interval.shift(zero)?.max_abs());
        // c·r stays inside ±2^62, and nothing below overflows
        if widest > 1 << 23 || self.n > 1 << 28 {
            return Err(InferError::Attribute("an element of more than 23 bits"));
        }
        Ok(widest * widest * self.n as u128 + u128::from(self.epsilon))
    }
}

/// (⌊2^22 / √z⌋, e) for v ≥ 1.
fn inverse_root(v: i64) -> (i64, u32) {
    let mut e = 0;
    let mut z = v;
    while z > 1 << KEPT_BITS {
        e += 1;
        // ⌈v / 4^e⌉
        z = ((v - 1) >> (2 * e)) + 1;
    }
    let square = 1i64 << (2 * ROOT_BITS);
    // the largest r with r²·z ≤ 2^44, from an estimate that is off by little
    let mut root = ((square / z) as f64).sqrt() as i64;
    while root * root * z > square {
        root -= 1;
    }
    while (root + 1) * (root + 1) * z <= square {
        root += 1;
    }
    (root, e)
}

impl Operator for Normalize {
    const NAME: &'static str = "Normalize";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        let FloatOp::Normalize { n, epsilon } = site.node.op else {
            return Err(site.wrong_operator());
        };
        let x = site.input(0)?;
        // at least 1, so that a row of zeros stays one
        let steps = (epsilon * n as f64 / (x.scale * x.scale)).round().max(1.0);
        if steps > (1u64 << 45) as f64 {
            let node = site.node.name.clone();
            return Err(SchemeError::Multiplier { node, ratio: steps });
        }
        Ok(Self {
            shape: site.shape().to_vec(),
            n,
            zero_point: x.zero_point,
            epsilon: steps as u64,
        })
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        let x = one(x)?;
        quantization(x, self.zero_point)?;
        if self.n == 0 || !x.len().is_multiple_of(self.n) || volume(&self.shape)? != x.len() {
            return Err(InferError::Attribute("the rows do not make up the input"));
        }
        if self.epsilon == 0 || self.largest(x)? >= 1 << 47 {
            return Err(InferError::Attribute(
                "the sum of squares of a row is not in 1..2^47",
            ));
        }
        Ok(Fact {
            shape: self.shape.clone(),
            // |c|/√v ≤ 1, r is never too large: |y| ≤ 2^14
            interval: Interval {
                lo: -(1 << 15),
                hi: (1 << 15) - 1,
            },
            quantization: Some(Quantization {
                scale: (self.n as f64).sqrt() / f64::from(1u32 << BITS),
                zero_point: 0,
            }),
        })
    }

    fn eval(&self, x: &[&Tensor]) -> Result<Tensor, EvalError> {
        let x = one_tensor(x, self.shape.iter().product())?;
        let mut data = Vec::with_capacity(x.len());
        for row in x.data.chunks_exact(self.n.max(1)) {
            let centred = |x: &i64| x.checked_sub(self.zero_point);
            let row: Option<Vec<i64>> = row.iter().map(centred).collect();
            let row = row.ok_or(EvalError::Overflow)?;
            let start = i64::try_from(self.epsilon).ok();
            let squares = row.iter().try_fold(start, |sum, c| {
                Some(Some(sum?.checked_add(c.checked_mul(*c)?)?))
            });
            let v = squares.flatten().filter(|v| *v >= 1);
            let (root, e) = inverse_root(v.ok_or(EvalError::Overflow)?);
            let shift = ROOT_BITS + e - BITS;
            for c in row {
                let product = c.checked_mul(root).ok_or(EvalError::Overflow)?;
                data.push((product + (1 << (shift - 1))) >> shift);
            }
        }
        Ok(Tensor {
            shape: self.shape.clone(),
            data,
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        let [x] = x else { return Err(ARITY) };
        let n = self.n;
        let c = b.combine(&[(1, x)], -self.zero_point)?;
        let squares = b.mul(&c, &c)?;
        let sums = LinearMap::Dense {
            n_in: n,
            n_out: 1,
            weights: vec![1; n],
        };
        // `infer` bounds ε
        let v = b.linear(sums, &squares, vec![self.epsilon as i64])?;
        let root = reciprocal_square_root_wide(b, &v)?;
        let index = (0..x.len()).map(|i| (i / n) as u32).collect();
        let each = b.gather(&root.value, index)?;
        let product = b.mul(&c, &each)?;
        let shift = root.scale - BITS;
        // the key is y + 2^15, in 0..2^16
        let raised = b.combine(
            &[(1, &product)],
            (1i64 << (shift + 15)) + (1i64 << (shift - 1)),
        )?;
        let key = b.split(&raised, shift)?;
        let key = b.range_unbound(key, 16)?;
        b.combine(&[(1, &key)], -(1 << 15))
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name, reach: i64, epsilon, rows: [[i64; 3]; 2]| Case {
            name,
            op: Self {
                shape: vec![2, 3],
                n: 3,
                zero_point: 5,
                epsilon,
            },
            facts: vec![Fact {
                shape: vec![2, 3],
                interval: Interval {
                    lo: -reach,
                    hi: reach,
                },
                quantization: Some(Quantization {
                    scale: 0.5,
                    zero_point: 5,
                }),
            }],
            runs: vec![vec![Tensor {
                shape: vec![2, 3],
                data: rows.concat(),
            }]],
        };
        vec![
            case("small squares", 100, 7, [[5, 5, 5], [-100, 100, 6]]),
            case(
                "wide squares",
                1 << 20,
                1,
                [[-(1 << 20), 1 << 20, 5], [4, 5, 6]],
            ),
        ]
    }
}
