//! Walking the structure: from rows back to wires (key generation), and one row as symbols (export, tests).

use super::circuit::{LinComb, Node, Rid};
use super::{Matrix, R1cs};
use crate::constraint::{Instr, LinearMap, bias_at};
use ark_bn254::Fr;
use ark_ff::{One, Zero};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::OnceLock;
use zeroize::Zeroizing;

/// A linear map with fewer terms is not worth a second thread.
const PARALLEL_TERMS: u64 = 1 << 16;

/// Small integers as field elements without a conversion each time.
pub(super) struct SmallInts(Vec<Fr>);

impl SmallInts {
    const HALF: i64 = 256;

    pub(super) fn shared() -> &'static Self {
        static SHARED: OnceLock<SmallInts> = OnceLock::new();
        SHARED.get_or_init(|| Self((-Self::HALF..=Self::HALF).map(Fr::from).collect()))
    }

    pub(super) fn of(&self, c: i64) -> Fr {
        match self.0.get((c + Self::HALF) as usize) {
            Some(small) if (-Self::HALF..=Self::HALF).contains(&c) => *small,
            _ => Fr::from(c),
        }
    }
}

impl R1cs {
    /// For every wire, `Σ_row rows[row]·M[row][wire]`: one walk from the last tensor to the first, without building M.
    ///
    /// # Panics
    /// When `rows` has not exactly [`R1cs::n_rows`] elements.
    pub fn transpose(&self, matrix: Matrix, rows: &[Fr]) -> Vec<Fr> {
        assert_eq!(rows.len(), self.n_rows, "one weight per row");
        let mut wires = vec![Fr::zero(); self.n_wires()];
        let mut one = Fr::zero();
        let mut weight: Vec<Vec<Fr>> = vec![vec![]; self.tensors.len()];
        for group in &self.groups {
            let l = match matrix {
                Matrix::A => &group.a,
                Matrix::B => &group.b,
                Matrix::C => &group.c,
            };
            let rows = &rows[group.first_row..group.first_row + group.n];
            self.scatter(l, rows, &mut weight, &mut one);
        }
        let small = SmallInts::shared();
        for id in (0..self.tensors.len()).rev() {
            // in key generation the weights follow from τ
            let g = Zeroizing::new(std::mem::take(&mut weight[id]));
            if g.is_empty() {
                continue;
            }
            match &self.tensors[id].node {
                Node::Wires { class, start, .. } => {
                    let start = self.wire(*class, *start);
                    wires[start..start + g.len()].copy_from_slice(&g);
                }
                Node::Linear { step, x } => {
                    let (map, bias) = self.linear(*step);
                    let target = self.weight_of(&mut weight, *x);
                    one += transpose_linear(map, bias, &g, target);
                }
                Node::Combo(l) => self.scatter(l, &g, &mut weight, &mut one),
                Node::Outer { values, x } => {
                    let sum: Fr = g
                        .iter()
                        .zip(values.iter())
                        .map(|(g, v)| *g * small.of(*v))
                        .sum();
                    self.weight_of(&mut weight, *x)[0] += sum;
                }
                Node::Constants { values } => {
                    one += g
                        .iter()
                        .zip(values.iter())
                        .map(|(g, v)| *g * small.of(*v))
                        .sum::<Fr>();
                }
                Node::Gather { x, strides } => {
                    let target = self.weight_of(&mut weight, *x);
                    for (i, g) in g.iter().enumerate() {
                        target[strides.at(i)] += g;
                    }
                }
                Node::Sums { x, width } => {
                    let target = self.weight_of(&mut weight, *x);
                    for (target, g) in target.chunks_mut(*width).zip(g.iter()) {
                        target.iter_mut().for_each(|t| *t += g);
                    }
                }
                Node::Sum { terms } => {
                    for (c, x) in terms {
                        let add = g[0] * c;
                        self.weight_of(&mut weight, *x)
                            .iter_mut()
                            .for_each(|w| *w += add);
                    }
                }
                Node::Pack { rows, constants } => {
                    for ((row, constant), g) in rows.iter().zip(constants).zip(g.iter()) {
                        one += *g * constant;
                        for (x, i, c) in row {
                            self.weight_of(&mut weight, *x)[*i] += *g * c;
                        }
                    }
                }
                Node::Affine { map, of } => {
                    let first = self.tensors[of[0]].len;
                    for ((row, constant), g) in map.rows.iter().zip(&map.constants).zip(g.iter()) {
                        one += *g * constant;
                        for (x, c) in row {
                            let (x, i) = match x.checked_sub(first) {
                                None => (of[0], *x),
                                Some(i) => (of[1], i),
                            };
                            self.weight_of(&mut weight, x)[i] += *g * c;
                        }
                    }
                }
            }
        }
        wires[0] += one;
        wires
    }

    fn weight_of<'w>(&self, weight: &'w mut [Vec<Fr>], x: Rid) -> &'w mut Vec<Fr> {
        let w = &mut weight[x];
        if w.is_empty() {
            w.resize(self.tensors[x].len, Fr::zero());
        }
        w
    }

    fn scatter(&self, l: &LinComb, g: &[Fr], weight: &mut [Vec<Fr>], one: &mut Fr) {
        if !l.constant.is_zero() {
            *one += l.constant * g.iter().sum::<Fr>();
        }
        for (c, x) in &l.terms {
            let target = self.weight_of(weight, *x);
            if target.len() == 1 && g.len() > 1 {
                target[0] += *c * g.iter().sum::<Fr>();
            } else if c.is_one() {
                target.par_iter_mut().zip(g).for_each(|(t, g)| *t += g);
            } else {
                target.par_iter_mut().zip(g).for_each(|(t, g)| *t += *g * c);
            }
        }
    }

    /// Map and bias of a linear step.
    pub(super) fn linear(&self, step: usize) -> (&crate::constraint::LinearMap, &[i64]) {
        match &self.program.steps()[step].instr {
            Instr::Linear { map, bias, .. } => (map, bias),
            // `lower` makes a Linear node only for a linear step
            other => unreachable!("step {step} is {}, not linear", other.name()),
        }
    }

    pub(super) fn expand_row(&self, l: &LinComb, i: usize) -> Vec<(usize, Fr)> {
        let mut row = BTreeMap::new();
        self.expand_lc(l, i, Fr::one(), &mut row);
        row.into_iter().filter(|(_, c)| !c.is_zero()).collect()
    }

    fn expand_lc(&self, l: &LinComb, i: usize, by: Fr, row: &mut BTreeMap<usize, Fr>) {
        if !l.constant.is_zero() {
            *row.entry(0).or_default() += by * l.constant;
        }
        for (c, x) in &l.terms {
            let i = if self.tensor(*x).len == 1 { 0 } else { i };
            self.expand(*x, i, by * c, row);
        }
    }

    fn expand(&self, x: Rid, i: usize, by: Fr, row: &mut BTreeMap<usize, Fr>) {
        match &self.tensor(x).node {
            Node::Wires { class, start, .. } => {
                *row.entry(self.wire(*class, start + i)).or_default() += by;
            }
            Node::Linear { step, x } => {
                let (map, bias) = self.linear(*step);
                *row.entry(0).or_default() += by * Fr::from(bias_at(bias, i));
                map.row(i, |j, c| self.expand(*x, j, by * Fr::from(c), row));
            }
            Node::Combo(l) => self.expand_lc(l, i, by, row),
            Node::Outer { values, x } => self.expand(*x, 0, by * Fr::from(values[i]), row),
            Node::Constants { values } => *row.entry(0).or_default() += by * Fr::from(values[i]),
            Node::Gather { x, strides } => self.expand(*x, strides.at(i), by, row),
            Node::Sums { x, width } => {
                (i * width..(i + 1) * width).for_each(|j| self.expand(*x, j, by, row));
            }
            Node::Sum { terms } => {
                for (c, x) in terms {
                    for j in 0..self.tensor(*x).len {
                        self.expand(*x, j, by * c, row);
                    }
                }
            }
            Node::Pack { rows, constants } => {
                *row.entry(0).or_default() += by * constants[i];
                for (x, j, c) in &rows[i] {
                    self.expand(*x, *j, by * c, row);
                }
            }
            Node::Affine { map, of } => {
                *row.entry(0).or_default() += by * map.constants[i];
                let first = self.tensor(of[0]).len;
                for (x, c) in &map.rows[i] {
                    match x.checked_sub(first) {
                        None => self.expand(of[0], *x, by * c, row),
                        Some(j) => self.expand(of[1], j, by * c, row),
                    }
                }
            }
        }
    }
}

/// Adds gᵀ·W to `target` and returns gᵀ·bias. Threads take outputs in turn, each with a target of its own.
fn transpose_linear(map: &LinearMap, bias: &[i64], g: &[Fr], target: &mut [Fr]) -> Fr {
    let small = SmallInts::shared();
    let add = |outputs: Range<usize>, target: &mut [Fr]| {
        let mut one = Fr::zero();
        for out in outputs {
            let g = &g[out];
            if g.is_zero() {
                continue;
            }
            let b = bias_at(bias, out);
            if b != 0 {
                one += *g * small.of(b);
            }
            map.row(out, |i, c| target[i] += *g * small.of(c));
        }
        one
    };
    let terms = map.row_terms().saturating_mul(g.len() as u64);
    if terms < PARALLEL_TERMS || terms < 4 * target.len() as u64 {
        return add(0..g.len(), target);
    }
    let per_thread = g.len().div_ceil(rayon::current_num_threads());
    let parts = (0..g.len()).into_par_iter().step_by(per_thread);
    let parts: Vec<(Zeroizing<Vec<Fr>>, Fr)> = parts
        .map(|start| {
            let mut part = Zeroizing::new(vec![Fr::zero(); target.len()]);
            let one = add(start..g.len().min(start + per_thread), &mut part);
            (part, one)
        })
        .collect();
    for (part, _) in &parts {
        let pairs = target.par_iter_mut().zip(&**part).with_min_len(1 << 12);
        pairs.for_each(|(t, p)| *t += p);
    }
    parts.iter().map(|part| part.1).sum()
}
