//! The product of two wire tensors, with the exact interval of every element.

use super::{Builder, MAX_TENSOR_LEN};
use crate::constraint::program::TensorState;
use crate::constraint::{BuildError, Instr, WireTensor};
use crate::tensor::{Interval, IntervalError};
use rayon::prelude::*;

impl Builder {
    /// `y[t][i][j] = Σ_l a[t][i][l]·b[t][j][l]` with `dims` = [batch, m, k, n]: a is `[batch][m][k]`, b is `[batch][n][k]`, y is
    /// `[batch][m][n]`. Both operands are read along their rows; what is stored otherwise is gathered first.
    ///
    /// # Errors
    /// When a dimension is zero, an operand has another length, the program is too large, or an element could leave ±2^62.
    pub fn contract(
        &mut self,
        a: &WireTensor,
        b: &WireTensor,
        dims: [usize; 4],
    ) -> Result<WireTensor, BuildError> {
        let [batch, m, k, n] = dims;
        let small = self.contract_dims(dims)?;
        for (x, rows) in [(a, m), (b, n)] {
            let expected = batch.saturating_mul(rows).saturating_mul(k);
            if x.len() != expected {
                return Err(BuildError::Length {
                    node: self.node_name(),
                    step: "contract",
                    expected,
                    got: x.len(),
                });
            }
        }
        let len = batch.saturating_mul(m).saturating_mul(n);
        if len > MAX_TENSOR_LEN {
            return Err(BuildError::TooLarge {
                what: "elements in a tensor",
                max: MAX_TENSOR_LEN,
            });
        }
        self.count_terms((len as u64).saturating_mul(k as u64))?;
        self.room_for(len)?;
        let rows = |out: usize| {
            let (t, i, j) = (out / (m * n), out / n % m, out % n);
            let (a, b) = ((t * m + i) * k, (t * n + j) * k);
            (a..a + k, b..b + k)
        };
        let interval = |out: usize| {
            let (i, j) = rows(out);
            dot(&a.intervals[i], &b.intervals[j])
        };
        let intervals: Option<Vec<Interval>> = (0..len)
            .into_par_iter()
            .map(|out| interval(out).ok())
            .collect();
        let intervals = match intervals {
            Some(intervals) => intervals,
            // once more in order, so that the first one is named
            None => (0..len)
                .map(|out| interval(out).map_err(|e| self.interval("contract", out, e)))
                .collect::<Result<_, _>>()?,
        };
        let instr = Instr::Contract {
            a: a.id,
            b: b.id,
            dims: small,
        };
        let id = self.push(instr, TensorState::Proved(intervals.into()))?;
        Ok(self.wire(id))
    }

    /// The dimensions as an instruction holds them.
    fn contract_dims(&self, dims: [usize; 4]) -> Result<[u32; 4], BuildError> {
        let mut small = [0; 4];
        for ((small, got), what) in small.iter_mut().zip(dims).zip(["batch", "m", "k", "n"]) {
            if !(1..=MAX_TENSOR_LEN).contains(&got) {
                return Err(BuildError::Parameter {
                    node: self.node_name(),
                    step: "contract",
                    what,
                    got: i64::try_from(got).unwrap_or(i64::MAX),
                    min: 1,
                    max: MAX_TENSOR_LEN as i64,
                });
            }
            // at most MAX_TENSOR_LEN
            *small = got as u32;
        }
        Ok(small)
    }
}

/// `{Σ x·y}`, every partial sum in `i128`.
fn dot(x: &[Interval], y: &[Interval]) -> Result<Interval, IntervalError> {
    let mut ends = Some((0i128, 0i128));
    for (x, y) in x.iter().zip(y) {
        let (xs, ys) = ([x.lo, x.hi], [y.lo, y.hi]);
        let products = xs.map(|x| ys.map(|y| i128::from(x) * i128::from(y)));
        let [[p, q], [r, s]] = products;
        let (lo, hi) = (p.min(q).min(r).min(s), p.max(q).max(r).max(s));
        ends = ends.and_then(|(l, h)| Some((l.checked_add(lo)?, h.checked_add(hi)?)));
    }
    // a sum beyond 2^127 is beyond ±2^62 too
    let (lo, hi) = ends.unwrap_or((i128::MIN, i128::MAX));
    Interval::new(lo, hi)
}
