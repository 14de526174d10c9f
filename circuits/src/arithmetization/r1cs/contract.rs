//! # Contractions: products of two wire tensors
//! Semantics: `y[t][i][j] = Σ_l a[t][i][l]·b[t][j][l]`, y a wire tensor.
//! Direct: a row for every term, or for two of them by Winograd's identity
//! `(a₀ + b₁)·(a₁ + b₀) = a₀·b₀ + a₁·b₁ + a₀·a₁ + b₀·b₁`; the last row of an element is the sum.
//! At the challenge: `u[l] = Σ_j α^j·b[j][l]` and `w[i] = Σ_j α^j·y[i][j]` by Horner's rule, then `Σ_l a[i][l]·u[l] = w[i]`.
//! Soundness: DESIGN.md#contractions. Sources: Freivalds 1979; Winograd 1968, "A new algorithm for inner product".

use super::Form;
use super::circuit::{Class, Fill, LinComb, Node, Rid, Strides};
use super::lower::Lowering;
use crate::arithmetization::interface::Products;
use crate::constraint::TensorId;
use ark_bn254::Fr;
use ark_ff::One;

/// A contraction that is checked at the challenge. The operand with fewer rows is folded.
#[derive(Clone, Debug)]
pub(super) struct Contraction {
    pub(super) step: usize,
    batch: usize,
    /// Length of a row of both operands.
    k: usize,
    /// The operand whose rows stay apart, and their number in one matrix.
    kept: (Rid, usize),
    /// The operand whose rows are folded with powers of α, and their number in one matrix.
    folded: (Rid, usize),
    y: Rid,
    /// Distance in y of two kept rows, and of two folded ones.
    strides: [usize; 2],
}

impl Contraction {
    fn new(step: usize, [a, b]: [Rid; 2], [batch, m, k, n]: [usize; 4], y: Rid) -> Self {
        let (kept, folded, strides) = match n <= m {
            true => ((a, m), (b, n), [n, 1]),
            false => ((b, n), (a, m), [1, n]),
        };
        Self {
            step,
            batch,
            k,
            kept,
            folded,
            y,
            strides,
        }
    }

    /// What must be in the committed round: both operands and the result.
    pub(super) fn reads(&self) -> [Rid; 3] {
        [self.kept.0, self.folded.0, self.y]
    }
}

/// Rows of the check at the challenge.
fn rows_at_challenge([batch, m, k, n]: [usize; 4]) -> usize {
    let (kept, folded) = (m.max(n), m.min(n));
    batch * ((folded - 1) * k + kept * k + kept * (folded - 1))
}

/// Rows with one row a term.
fn rows_of_terms([batch, m, k, n]: [usize; 4]) -> usize {
    batch * m * k * n
}

/// Rows with one row for two terms.
fn rows_of_pairs([batch, m, k, n]: [usize; 4]) -> usize {
    batch * (m * n * k.div_ceil(2) + (m + n) * (k / 2))
}

impl Lowering<'_> {
    /// The wires of y, tied directly or, where that takes fewer rows, at the challenge.
    pub(super) fn contract(
        &mut self,
        step: usize,
        operands: [Rid; 2],
        dims: [usize; 4],
        y: TensorId,
    ) -> Rid {
        let [a, b] = operands;
        let [batch, m, _, n] = dims;
        let y = self.wires(
            self.first_class(),
            batch * m * n,
            Fill::Contract { a, b, dims, y },
        );
        let direct = rows_of_terms(dims).min(rows_of_pairs(dims));
        let at_challenge = match self.plan.products {
            Products::Cheapest => rows_at_challenge(dims) < direct,
            Products::Always => true,
            Products::Never => false,
        };
        if self.form == Form::Committed && at_challenge {
            let contraction = Contraction::new(step, operands, dims, y);
            self.contractions.push(contraction);
        } else {
            self.contract_directly(step, operands, dims, y);
        }
        y
    }

    fn contract_directly(&mut self, step: usize, operands: [Rid; 2], dims: [usize; 4], y: Rid) {
        let [batch, m, k, n] = dims;
        let len = batch * m * n;
        let paired = rows_of_pairs(dims) < rows_of_terms(dims);
        let mut last = LinComb::of(y);
        if paired {
            let spread = [
                [(batch, m), (m, 1), (n, 0), (1, 0)],
                [(batch, n), (m, 0), (n, 1), (1, 0)],
            ];
            for ((x, rows), axes) in operands.into_iter().zip([m, n]).zip(spread) {
                let own = self.own_pairs(step, x, batch * rows, k);
                let own = self.gather(own, 0, axes);
                last = last.plus(Fr::one(), &LinComb::of(own));
            }
        }
        // where the last product of an element begins, and whether it is a pair; `before` of them come before it
        let (at, pair) = match paired && k.is_multiple_of(2) {
            true => (k - 2, true),
            false => (k - 1, false),
        };
        let before = if paired { at / 2 } else { at };
        if before > 0 {
            let factors = self.factors(operands, dims, paired, 0, before);
            let class = self.first_class();
            let terms = self.product("terms", Some(step), class, len * before, factors);
            let sum = self.sums(terms, before);
            last = last.plus(-Fr::one(), &LinComb::of(sum));
        }
        let [left, right] = self.factors(operands, dims, pair, at, 1);
        self.rows("sum of terms", Some(step), len, [left, right, last]);
    }

    /// `Σ_l x[2l]·x[2l + 1]` of every row of x.
    fn own_pairs(&mut self, step: usize, x: Rid, rows: usize, k: usize) -> Rid {
        let pairs = k / 2;
        let axes = [(1, 0), (1, 0), (rows, k), (pairs, 2)];
        let factors = [0, 1].map(|offset| LinComb::of(self.gather(x, offset, axes)));
        let class = self.first_class();
        let products = self.product("own pairs", Some(step), class, rows * pairs, factors);
        self.sums(products, pairs)
    }

    /// The factors of `count` consecutive products of every element, beginning with term `l`: single terms, or pairs of them.
    fn factors(
        &mut self,
        [a, b]: [Rid; 2],
        [batch, m, k, n]: [usize; 4],
        paired: bool,
        l: usize,
        count: usize,
    ) -> [LinComb; 2] {
        let terms = (count, 1 + usize::from(paired));
        let rows_a = [(batch, m * k), (m, k), (n, 0), terms];
        let rows_b = [(batch, n * k), (m, 0), (n, k), terms];
        let mut at = |l| [(a, rows_a), (b, rows_b)].map(|(x, axes)| self.gather(x, l, axes));
        let [a0, b0] = at(l).map(LinComb::of);
        if !paired {
            return [a0, b0];
        }
        let [a1, b1] = at(l + 1).map(LinComb::of);
        [a0.plus(Fr::one(), &b1), a1.plus(Fr::one(), &b0)]
    }

    /// The second phase of a contraction that is checked at the challenge.
    pub(super) fn check_contraction(&mut self, c: &Contraction, alpha: Rid) {
        let Contraction { batch, k, .. } = *c;
        let ((kept, rows), (folded, n)) = (c.kept, c.folded);
        let [kept_stride, folded_stride] = c.strides;
        let operand = [(1, 0), (1, 0), (batch, n * k), (k, 1)];
        let result = [(1, 0), (1, 0), (batch, rows * n), (rows, kept_stride)];
        let u = self.folded(c, "fold of an operand", alpha, (folded, k), operand);
        let w = self.folded(c, "fold of the result", alpha, (c.y, folded_stride), result);
        // terms l .. l + count of every kept row; what is folded is full-size and stands left
        let factors = |this: &mut Self, l: usize, count: usize| {
            let u_axes = [(1, 0), (batch, k), (rows, 0), (count, 1)];
            let kept_axes = [(1, 0), (batch, rows * k), (rows, k), (count, 1)];
            [(u, u_axes), (kept, kept_axes)].map(|(x, axes)| LinComb::of(this.gather(x, l, axes)))
        };
        let mut last = LinComb::of(w);
        if k > 1 {
            let pair = factors(self, 0, k - 1);
            let len = batch * rows * (k - 1);
            let terms = self.product("folded terms", Some(c.step), Class::Private, len, pair);
            let sum = self.sums(terms, k - 1);
            last = last.plus(-Fr::one(), &LinComb::of(sum));
        }
        let [left, right] = factors(self, k - 1, 1);
        let row = [left, right, last];
        self.rows("folded sum", Some(c.step), batch * rows, row);
    }

    /// `Σ_j α^j·x_j` over the folded rows j, where x_j is what `axes` see of x from `j·distance` on.
    fn folded(
        &mut self,
        c: &Contraction,
        rule: &'static str,
        alpha: Rid,
        (x, distance): (Rid, usize),
        axes: [(usize, usize); 4],
    ) -> Rid {
        let mut sum = self.gather(x, (c.folded.1 - 1) * distance, axes);
        for j in (0..c.folded.1 - 1).rev() {
            let here = LinComb::of(self.gather(x, j * distance, axes));
            let [a, b] = [alpha, sum].map(LinComb::of);
            let fill = Fill::Product {
                a: a.clone(),
                b: b.clone(),
                plus: here.clone(),
            };
            let n = self.len(sum);
            sum = self.wires(Class::Private, n, fill);
            let product = LinComb::of(sum).plus(-Fr::one(), &here);
            self.rows(rule, Some(c.step), n, [a, b, product]);
        }
        sum
    }

    fn gather(&mut self, x: Rid, offset: usize, axes: [(usize, usize); 4]) -> Rid {
        let strides = Strides { offset, axes };
        let class = self.tensors[x].class;
        self.push(Node::Gather { x, strides }, strides.len(), class)
    }

    /// Sums of `width` consecutive elements.
    fn sums(&mut self, x: Rid, width: usize) -> Rid {
        let (n, class) = (self.len(x) / width, self.tensors[x].class);
        self.push(Node::Sums { x, width }, n, class)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::LowerError;
    use super::super::lower::Plan;
    use super::*;
    use crate::constraint::{Builder, Program};
    use crate::testing::spec;
    use std::sync::Arc;
    use zkinfer_verifier::{Dtype, Role, Visibility};

    fn squares() -> Arc<Program> {
        let mut b = Builder::new();
        b.node("contraction");
        let io = |role| spec("x", role, Visibility::Private, &[9], Dtype::Int8);
        let x = b.input(io(Role::Input)).unwrap();
        let y = b.combine(&[(1, &x)], 1).unwrap();
        let y = b.contract(&x, &y, [1, 3, 3, 3]).unwrap();
        let io = spec("y", Role::Output, Visibility::Private, &[9], Dtype::Int32);
        b.output(&y, io).unwrap();
        Arc::new(b.finish().unwrap())
    }

    fn lowered(program: &Arc<Program>) -> Lowering<'_> {
        let plan = Plan {
            limb_bits: 4,
            products: Products::Always,
            ..Plan::default()
        };
        Lowering::walk(program, Form::Committed, plan).unwrap()
    }

    /// 28: an operand or result of a contraction that is not entirely committed is refused, whatever else it is.
    #[test]
    fn a_contraction_with_a_tensor_of_the_second_phase_is_refused() {
        let program = squares();
        let mut l = lowered(&program);
        let [contraction] = l.contractions.clone().try_into().unwrap();
        assert!(l.check_phases(None).is_ok());
        let mut reads = contraction.reads().to_vec();
        reads.dedup();
        assert_eq!(reads.len(), 3);
        for x in reads {
            for class in [Class::Instance, Class::Private] {
                let honest = std::mem::replace(&mut l.tensors[x].class, class);
                let refused = l.check_phases(None);
                assert!(
                    matches!(
                        &refused,
                        Err(LowerError::Phase { node, step: "contract" }) if node == "contraction"
                    ),
                    "{refused:?}"
                );
                l.tensors[x].class = honest;
            }
        }
        assert!(l.check_phases(None).is_ok());
    }

    /// What a gather or a sum reads decides its class, so that a query behind them is refused too.
    #[test]
    fn gathers_and_sums_of_second_phase_wires_are_of_the_second_phase() {
        let program = squares();
        let l = lowered(&program);
        let mut seen = 0;
        for tensor in &l.tensors {
            if let Node::Gather { x, .. } | Node::Sums { x, .. } = &tensor.node {
                assert_eq!(tensor.class, l.tensors[*x].class);
                seen += usize::from(tensor.class == Class::Private);
            }
        }
        assert!(seen >= 2);
    }
}
