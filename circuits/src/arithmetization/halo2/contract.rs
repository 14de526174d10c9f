//! # Contractions on the tape
//! Semantics: `y[t][i][j] = Σ_l a[t][i][l]·b[t][j][l]`, every element of y in a home cell.
//! Direct: a row for every term. At the challenges: `Σ_l (Σ_i γ^i·a[i][l])·(Σ_j δ^j·b[j][l]) = Σ_i γ^i·Σ_j δ^j·y[i][j]` for every t, all
//! sums but the outer product by Horner's rule; i stands for the operand with fewer rows.
//! Soundness: DESIGN.md#products-of-two-tensors. Source: Freivalds 1979.

use super::lower::{Lowering, View};
use super::tape::{Mode, Operand, Target};
use super::{Fr, Products};
use crate::arithmetization::LowerError;
use crate::constraint::TensorId;
use halo2curves::ff::Field;

/// A contraction with the operand of fewer rows first.
#[derive(Clone, Copy, Debug)]
struct Contraction {
    step: u32,
    batch: usize,
    k: usize,
    /// The operand folded with powers of γ, and its rows in one matrix.
    outer: (TensorId, usize),
    /// The operand folded with powers of δ, and its rows in one matrix.
    inner: (TensorId, usize),
    y: TensorId,
    /// Distance in y of two rows of the outer and of the inner operand.
    strides: [usize; 2],
}

impl Lowering<'_> {
    /// New home cells for y, tied term by term or, where that takes fewer rows, at the challenges.
    pub(super) fn contract(
        &mut self,
        step: usize,
        [a, b]: [TensorId; 2],
        [batch, m, k, n]: [usize; 4],
        y: TensorId,
    ) -> Result<(), LowerError> {
        let at_step = step as u32;
        // elements that are not a multiple of a cell get a result of their own
        let mut operands = vec![a, b];
        operands.dedup();
        let views = operands.iter().flat_map(|x| &self.views[x.index()]);
        let direct = batch * m * k * n + views.filter(|view| factor(view).is_none()).count();
        let (outer, inner, strides) = match m <= n {
            true => ((a, m), (b, n), [n, 1]),
            false => ((b, n), (a, m), [1, n]),
        };
        let rows = batch * (k * (m + n + 1) + m * n + outer.1);
        let at_challenges = match self.plan.products {
            Products::Cheapest => rows < direct,
            Products::Always => true,
            Products::Never => false,
        };
        if !at_challenges {
            self.room(direct)?;
            self.contract_directly(at_step, &operands, [batch, m, k, n], y);
            return Ok(());
        }
        self.room(rows)?;
        self.define(y);
        let contraction = Contraction {
            step: at_step,
            batch,
            k,
            outer,
            inner,
            y,
            strides,
        };
        for t in 0..contraction.batch {
            self.check_contraction(&contraction, t);
        }
        Ok(())
    }

    fn contract_directly(
        &mut self,
        step: u32,
        operands: &[TensorId],
        [batch, m, k, n]: [usize; 4],
        y: TensorId,
    ) {
        let factors: Vec<Vec<(Fr, Operand)>> = operands
            .iter()
            .map(|x| {
                let views = self.views[x.index()].clone();
                let factor = |view: &View| match factor(view) {
                    Some(factor) => factor,
                    None => {
                        let row = self.add_view(step, Mode::Start, Fr::ONE, *view);
                        (Fr::ONE, Operand::Result(row))
                    }
                };
                views.iter().map(factor).collect()
            })
            .collect();
        // one operand stands for both when they are the same tensor
        let (Some(a), Some(b)) = (factors.first(), factors.last()) else {
            return;
        };
        let (homes, scales) = self.define(y);
        for out in 0..batch * m * n {
            let (t, i, j) = (out / (m * n), out / n % m, out % n);
            let scale = scales[out];
            let mut mode = Mode::Start;
            let mut constant = scale.offset;
            for l in 0..k {
                let ((c, x), (d, y)) = (a[(t * m + i) * k + l], b[(t * n + j) * k + l]);
                let f = scale.factor * c * d;
                self.tape.product(step, mode, f, [x, y], &[constant]);
                (mode, constant) = (Mode::Keep, Fr::ZERO);
            }
            self.tape.tie(self.tape.last(), Target::Home(homes[out]));
        }
    }

    /// The identity of matrix `t`: what it reads are views of home cells, all of the first phase.
    fn check_contraction(&mut self, c: &Contraction, t: usize) {
        let ((outer, n_outer), (inner, n_inner)) = (c.outer, c.inner);
        let mut products = vec![];
        for l in 0..c.k {
            let column = |rows: usize| (t * rows * c.k + l, c.k, rows);
            let left = self.horner(c.step, Mode::Gamma, outer, column(n_outer));
            let right = self.horner(c.step, Mode::Delta, inner, column(n_inner));
            products.push([left, right].map(Operand::Result));
        }
        let mut mode = Mode::Start;
        for pair in products {
            self.tape.product(c.step, mode, Fr::ONE, pair, &[]);
            mode = Mode::Keep;
        }
        let left = self.tape.last();
        let [outer_stride, inner_stride] = c.strides;
        let first = t * n_outer * n_inner;
        let folded: Vec<u32> = (0..n_outer)
            .map(|i| {
                let row = (first + i * outer_stride, inner_stride, n_inner);
                self.horner(c.step, Mode::Delta, c.y, row)
            })
            .collect();
        let mut mode = Mode::Start;
        for row in folded.into_iter().rev() {
            let row = Operand::Result(row);
            self.tape.term(c.step, mode, Fr::ONE, row, Fr::ZERO);
            mode = Mode::Gamma;
        }
        self.tape.tie(left, Target::Result(self.tape.last()));
    }

    /// `Σ_e χ^e·x[first + e·stride]` for e below `n`, χ the factor of `power`.
    fn horner(
        &mut self,
        step: u32,
        power: Mode,
        x: TensorId,
        (first, stride, n): (usize, usize, usize),
    ) -> u32 {
        let mut mode = Mode::Start;
        for e in (0..n).rev() {
            let view = self.views[x.index()][first + e * stride];
            self.add_view(step, mode, Fr::ONE, view);
            mode = power;
        }
        self.tape.last()
    }
}

/// An element as a multiple of its cell, when it is one.
fn factor(view: &View) -> Option<(Fr, Operand)> {
    let home = view.home.filter(|_| view.constant == Fr::ZERO)?;
    Some((view.coefficient, Operand::Home(home)))
}
