//! # The plain form: ranges as bits, tables as clamps and selections
//! For verifiers that know only Groth16: no challenge, every word a public input.
//! Constraints: bits `b·(b − 1) = 0`, one sum per decomposition; a saturating table is a sign bit, an overflow product and two
//! selections; a function of few values is a binary tree over the bits of the clamped key.
//! Soundness: DESIGN.md#plain-tables.

use super::LowerError;
use super::circuit::{Class, Fill, LinComb, Rid};
use super::lower::{Lowering, int, pow2};
use crate::constraint::{TableId, TensorId, TensorState};
use crate::tensor::Interval;
use ark_bn254::Fr;
use ark_ff::One;

/// Most values of a function that becomes a selection tree.
const MAX_SELECTION: usize = 1 << 12;

impl Lowering<'_> {
    /// `x·(x − 1) = 0`.
    pub(super) fn boolean(&mut self, step: Option<usize>, x: Rid) {
        let minus = LinComb::of(x).add_constant(-Fr::one());
        self.rows(
            "bit",
            step,
            self.len(x),
            [LinComb::of(x), minus, LinComb::default()],
        );
    }

    /// Hints `bits` bits of `x`, low first, and asserts that they sum to it: `0 ≤ x < 2^bits`, uniquely.
    pub(super) fn decompose(
        &mut self,
        step: Option<usize>,
        x: LinComb,
        bits: u32,
        len: usize,
    ) -> Vec<Rid> {
        let made: Vec<Rid> = (0..bits)
            .map(|shift| {
                let fill = Fill::Bits {
                    of: x.clone(),
                    shift,
                    bits: 1,
                };
                let bit = self.wires(Class::Private, len, fill);
                self.boolean(step, bit);
                bit
            })
            .collect();
        let rest = sum_bits(&made).plus(-Fr::one(), &x);
        self.rows(
            "sum of bits",
            step,
            len,
            [rest, LinComb::one(), LinComb::default()],
        );
        made
    }

    pub(super) fn lookup_plain(
        &mut self,
        step: usize,
        table: TableId,
        key: TensorId,
    ) -> Result<Rid, LowerError> {
        let f = self.program.tables()[table.0 as usize].function.clone();
        let bound = matches!(
            self.program.tensors()[key.index()].state,
            TensorState::Proved(_)
        );
        // a lookup key is proved or expected, never hinted
        let span = self.span(key).unwrap_or(Interval { lo: f.lo, hi: f.hi });
        let key = self.rid(key);
        let len = self.len(key);
        let width = f.hi - f.lo;
        let at = Some(step);
        let u = LinComb::of(key).add_constant(-int(f.lo));
        let (low, high) = (span.lo - f.lo, span.hi - f.lo);
        let signed = low < 0;

        let clamped = if bound && !signed && high <= width {
            u
        } else {
            let m = bit_length(high.max(0))
                .max(bit_length((-low).max(1) - 1))
                .max(1);
            let sign_offset = if signed { pow2(m) } else { int(0) };
            let m_all = m + u32::from(signed);
            let bits = self.decompose(at, u.add_constant(sign_offset), m_all, len);
            let magnitude = &bits[..m as usize];
            let sign = signed.then(|| bits[m as usize]);
            self.clamp(at, magnitude, sign, width, high, len)
        };
        let y = match &f.values {
            None => clamped.add_constant(int(f.lo)),
            Some(values) => {
                if values.len() > MAX_SELECTION {
                    let (node, values) = (self.node_name(step), values.len());
                    return Err(LowerError::Selection {
                        node,
                        values,
                        max: MAX_SELECTION,
                    });
                }
                let bits = self.decompose(at, clamped, bit_length(width).max(1), len);
                self.select(at, values, &bits, len)
            }
        };
        Ok(self.combo(y, len))
    }

    /// `clamp(u, 0, width)` where u is the sum of `magnitude`, minus 2^m when the sign bit exists and is 0; `high` is the
    /// largest u that can occur.
    fn clamp(
        &mut self,
        step: Option<usize>,
        magnitude: &[Rid],
        sign: Option<Rid>,
        width: i64,
        high: i64,
        len: usize,
    ) -> LinComb {
        let private = Class::Private;
        let keep = |l: &mut Self, x: LinComb| match sign {
            None => x,
            Some(g) => LinComb::of(l.product("sign", step, private, len, [LinComb::of(g), x])),
        };
        if high <= width {
            return keep(self, sum_bits(magnitude));
        }
        let top = int(width);
        let j = bit_length(width);
        if width + 1 == 1 << j {
            // no high bit set ⇔ u ≤ width
            let not = |b: Rid| LinComb::one().plus(-Fr::one(), &LinComb::of(b));
            let (below, above) = magnitude.split_at(j as usize);
            let mut inside = not(above[0]);
            for b in &above[1..] {
                let factors = [inside, not(*b)];
                inside = LinComb::of(self.product("overflow", step, private, len, factors));
            }
            let factors = [inside, sum_bits(below).add_constant(-top)];
            let t = self.product("saturate", step, private, len, factors);
            return keep(self, LinComb::of(t).add_constant(top));
        }
        let v = keep(self, sum_bits(magnitude));
        let m = magnitude.len() as u32;
        let m = m.max(j);
        let slack = LinComb::constant(top + pow2(m)).plus(-Fr::one(), &v);
        let bits = self.decompose(step, slack, m + 1, len);
        let fits = LinComb::of(bits[m as usize]);
        let t = self.product("saturate", step, private, len, [fits, v.add_constant(-top)]);
        LinComb::of(t).add_constant(top)
    }

    /// `values[index]` for the index whose bits are given, low first; indices past the end cannot occur.
    fn select(&mut self, step: Option<usize>, values: &[i64], bits: &[Rid], len: usize) -> LinComb {
        let mut level: Vec<LinComb> = values.iter().map(|v| LinComb::constant(int(*v))).collect();
        for (depth, bit) in bits.iter().enumerate() {
            let padded = level.len().div_ceil(2);
            let mut next = Vec::with_capacity(padded);
            for pair in level.chunks(2) {
                let [left, right] = pair else {
                    next.push(pair[0].clone());
                    continue;
                };
                let difference = right.clone().plus(-Fr::one(), left);
                next.push(if difference.terms.is_empty() {
                    // constants: linear in the bit, no row
                    left.clone().plus(difference.constant, &LinComb::of(*bit))
                } else {
                    let factors = [LinComb::of(*bit), difference];
                    let t = self.product("select", step, Class::Private, len, factors);
                    left.clone().plus(Fr::one(), &LinComb::of(t))
                });
            }
            level = next;
            debug_assert!(depth < 64);
        }
        level.swap_remove(0)
    }

    /// Every word is a public input: word 0, the context, is bound by its consistency row; the others by one row each.
    pub(super) fn close_plain(&mut self, words: Option<Rid>) -> usize {
        let first_phase = self.tensors.len();
        self.wires(Class::Instance, 1, Fill::Given);
        if let Some(packed) = words {
            let n = self.len(packed);
            let public = self.wires(Class::Instance, n, Fill::Given);
            let difference = LinComb::of(packed).plus(-Fr::one(), &LinComb::of(public));
            self.rows(
                "public word",
                None,
                n,
                [difference, LinComb::one(), LinComb::default()],
            );
        }
        first_phase
    }
}

fn sum_bits(bits: &[Rid]) -> LinComb {
    bits.iter()
        .zip(0..)
        .fold(LinComb::default(), |sum, (b, e)| {
            sum.plus(pow2(e), &LinComb::of(*b))
        })
}

/// Bits needed to write a non-negative integer.
fn bit_length(x: i64) -> u32 {
    64 - (x as u64).leading_zeros()
}
