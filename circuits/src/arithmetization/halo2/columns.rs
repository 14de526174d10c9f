//! # Columns and gates
//! First phase: h (home cells), l (keys and limbs), m (multiplicities). Then the challenges θ, β, γ, δ, η, and the second phase: a, b, s
//! (the tape), φ (the lookup sum). Every gate has degree at most 5. Soundness: DESIGN.md#halo2.

use super::Fr;
use super::table::Decomposition;
use super::values::pow2;
use halo2_proofs::plonk::{
    Advice, Challenge, Column, ConstraintSystem, Expression, FirstPhase, Fixed, Instance,
    SecondPhase,
};
use halo2curves::ff::Field;

/// Degree of the largest gate; given to the library explicitly, so that its environment variable changes nothing.
pub(super) const DEGREE: usize = 5;

/// What decides the columns and gates of a circuit.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// Fixed addends per row of the tape.
    pub(super) width: usize,
    /// Decompositions, one selector each.
    pub(super) kinds: Vec<Decomposition>,
}

/// The columns of a circuit.
#[derive(Clone, Debug)]
pub struct Config {
    pub(super) h: Column<Advice>,
    pub(super) l: Column<Advice>,
    pub(super) m: Column<Advice>,
    pub(super) a: Column<Advice>,
    pub(super) b: Column<Advice>,
    pub(super) s: Column<Advice>,
    pub(super) phi: Column<Advice>,
    pub(super) challenges: Vec<Challenge>,
    pub(super) fixed: FixedColumns,
}

/// The fixed columns.
#[derive(Clone, Debug)]
pub(super) struct FixedColumns {
    /// 1 on every row of the lookup sum and of the tape.
    pub(super) active: Column<Fixed>,
    /// 1 on the rows that hold words.
    pub(super) word: Column<Fixed>,
    /// Table that the row asks.
    pub(super) table: Column<Fixed>,
    /// Table rows: key, id·value, id.
    pub(super) rows: [Column<Fixed>; 3],
    /// What the tape does: see [`super::tape::Mode`].
    pub(super) mode: Column<Fixed>,
    /// Coefficient of a·b.
    pub(super) f: Column<Fixed>,
    pub(super) addends: Vec<Column<Fixed>>,
    /// One selector for each decomposition.
    pub(super) kinds: Vec<Column<Fixed>>,
}

/// The mode's factor: 0, 1, δ, γ at 0, 1, 2, 3.
pub(super) fn mode_factor<T>(mode: &T, delta: &T, gamma: &T, constant: impl Fn(Fr) -> T) -> T
where
    T: Clone + std::ops::Add<Output = T> + std::ops::Mul<Output = T>,
{
    let less = |n: u64| mode.clone() + constant(-Fr::from(n));
    let half: Fr = Option::from(Fr::from(2).invert()).unwrap_or(Fr::ZERO);
    let sixth: Fr = Option::from(Fr::from(6).invert()).unwrap_or(Fr::ZERO);
    let one = less(2) * less(3) * constant(half);
    let two = less(1) * less(3) * constant(-half) * delta.clone();
    let three = less(1) * less(2) * constant(sixth) * gamma.clone();
    mode.clone() * (one + two + three)
}

impl Config {
    /// Creates columns and gates.
    pub(super) fn new(meta: &mut ConstraintSystem<Fr>, shape: &Shape) -> Self {
        let [h, l, m] = [(); 3].map(|()| meta.advice_column_in(FirstPhase));
        let n_challenges = if shape.width > 1 { 5 } else { 4 };
        let challenges: Vec<Challenge> = (0..n_challenges)
            .map(|_| meta.challenge_usable_after(FirstPhase))
            .collect();
        let [a, b, s, phi] = [(); 4].map(|()| meta.advice_column_in(SecondPhase));
        [h, a, b, s]
            .into_iter()
            .for_each(|column| meta.enable_equality(column));
        let fixed = FixedColumns {
            active: meta.fixed_column(),
            word: meta.fixed_column(),
            table: meta.fixed_column(),
            rows: [(); 3].map(|()| meta.fixed_column()),
            mode: meta.fixed_column(),
            f: meta.fixed_column(),
            addends: (0..shape.width).map(|_| meta.fixed_column()).collect(),
            kinds: shape.kinds.iter().map(|_| meta.fixed_column()).collect(),
        };
        let instance = meta.instance_column();
        let config = Self {
            h,
            l,
            m,
            a,
            b,
            s,
            phi,
            challenges,
            fixed,
        };
        meta.set_minimum_degree(DEGREE);
        config.statement_gate(meta, instance);
        config.decomposition_gates(meta, shape);
        config.tape_gate(meta);
        config.lookup_gates(meta);
        config
    }

    fn statement_gate(&self, meta: &mut ConstraintSystem<Fr>, instance: Column<Instance>) {
        meta.create_gate("word", |_| {
            vec![self.fixed.word.cur() * (self.h.cur() - instance.cur())]
        });
    }

    fn decomposition_gates(&self, meta: &mut ConstraintSystem<Fr>, shape: &Shape) {
        for (selector, kind) in self.fixed.kinds.iter().zip(&shape.kinds) {
            meta.create_gate("decomposition", |_| {
                let at = |rotation: u32| self.l.rot(rotation as i32);
                let sum = kind.terms.iter().fold(self.h.cur(), |sum, (row, e)| {
                    sum - at(*row) * Expression::Constant(pow2(*e))
                });
                let mut gates = vec![selector.cur() * sum];
                if let Some((from, to, scale)) = kind.check {
                    let short = at(to) - at(from) * Expression::Constant(pow2(scale));
                    gates.push(selector.cur() * short);
                }
                gates
            });
        }
    }

    fn tape_gate(&self, meta: &mut ConstraintSystem<Fr>) {
        let [_, _, gamma, delta] = self.first_challenges();
        meta.create_gate("tape", |_| {
            let factor = mode_factor(
                &self.fixed.mode.cur(),
                &delta.expr(),
                &gamma.expr(),
                Expression::Constant,
            );
            let mut next = factor * self.s.cur() + self.fixed.f.cur() * self.a.cur() * self.b.cur();
            let mut power = None;
            for addend in &self.fixed.addends {
                let addend: Expression<Fr> = addend.cur();
                next = next
                    + match &power {
                        None => addend,
                        Some(power) => addend * Expression::clone(power),
                    };
                if let Some(eta) = self.challenges.get(4) {
                    power = Some(match power {
                        None => eta.expr(),
                        Some(power) => power * eta.expr(),
                    });
                }
            }
            vec![self.fixed.active.cur() * (self.s.next() - next)]
        });
    }

    fn lookup_gates(&self, meta: &mut ConstraintSystem<Fr>) {
        let [theta, beta, ..] = self.first_challenges();
        // the last usable row, seen from row −1: the point where the permutation argument is opened too
        let last = -(meta.blinding_factors() as i32 + 1);
        meta.create_gate("lookup", |_| {
            let (theta, beta) = (theta.expr(), beta.expr());
            let [key, value, id] = self.fixed.rows.map(|column| column.cur());
            let asked = beta.clone()
                + self.l.cur()
                + theta.clone() * self.fixed.table.cur() * (self.h.cur() + theta.clone());
            let row = beta + key + theta.clone() * (value + theta * id);
            let step = self.phi.next() - self.phi.cur();
            let sum = step * asked.clone() * row.clone() - row + self.m.cur() * asked;
            vec![self.fixed.active.cur() * sum]
        });
        meta.create_gate("lookup sum", |_| {
            let one = Expression::Constant(Fr::ONE);
            let before_first = (one - self.fixed.active.cur()) * self.fixed.active.next();
            vec![
                before_first.clone() * self.phi.next(),
                before_first * self.phi.rot(last),
            ]
        });
    }

    fn first_challenges(&self) -> [Challenge; 4] {
        std::array::from_fn(|i| self.challenges[i])
    }
}
