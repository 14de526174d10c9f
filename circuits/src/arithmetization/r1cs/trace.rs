//! # Trace: from the solver's integers to wires and row values in one pass
//! What an honest prover computes. Every tensor is evaluated once; small integers stay `i64`, an expression that the solver knows
//! is not computed again, and a query's denominator and inverse are those of the table row that it asks for, so there are as
//! many inversions as rows of tables. The definition is `witness.rs`, which takes any wires; `testing/forger.rs` compares them.

mod lookup;
mod reduce;
mod value;

use super::circuit::{Fill, LinComb, Node, Rid};
use super::transpose::SmallInts;
use super::{Form, Matrix, R1cs, Violation, Witness, ZeroDenominator};
use crate::constraint::Assignment;
use ark_bn254::Fr;
use ark_ff::{One, PrimeField, Zero};
use lookup::Answers;
use rayon::prelude::*;
pub use reduce::{Grouped, NO_GROUP, Reduced};
use std::ops::Range;
use value::{IntegerComb, Value, View, each_piece, fill_all};
use zeroize::{Zeroize, Zeroizing};

/// A circuit with what a [`Trace`] needs to know about its combinations.
#[derive(Debug)]
pub struct Tracer {
    r1cs: R1cs,
    /// Integer forms of the combinations of every tensor, and of every group.
    tensors: Vec<Vec<Option<IntegerComb>>>,
    groups: Vec<[Option<IntegerComb>; 3]>,
    roles: Vec<Role>,
}

/// What a tensor is to the lookup argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    None,
    /// `α·value` of a query.
    Fold(usize),
    /// The inverses of a query.
    Inverse(usize),
    /// Multiplicities over denominators of a table.
    Quotient(usize),
}

impl Tracer {
    /// Analyses the combinations of `r1cs`.
    #[must_use]
    pub fn new(r1cs: R1cs) -> Self {
        let forms = |node: &Node| match node {
            Node::Combo(l)
            | Node::Wires {
                fill: Fill::Bits { of: l, .. },
                ..
            } => vec![IntegerComb::of(l)],
            Node::Wires {
                fill: Fill::Product { a, b, plus },
                ..
            } => [a, b, plus].map(IntegerComb::of).to_vec(),
            _ => vec![],
        };
        let tensors = r1cs.tensors.iter().map(|t| forms(&t.node)).collect();
        let sides = |g: &super::Group| [&g.a, &g.b, &g.c].map(IntegerComb::of);
        let groups = r1cs.groups.iter().map(sides).collect();
        let mut roles = vec![Role::None; r1cs.tensors.len()];
        for (q, query) in r1cs.queries.iter().enumerate() {
            if let Some(fold) = query.fold {
                roles[fold] = Role::Fold(q);
            }
            if let Some(inverse) = query.inverse {
                roles[inverse] = Role::Inverse(q);
            }
        }
        for (t, table) in r1cs.tables.iter().enumerate() {
            if let Some(quotient) = table.quotient {
                roles[quotient] = Role::Quotient(t);
            }
        }
        Self {
            r1cs,
            tensors,
            groups,
            roles,
        }
    }

    /// The circuit.
    #[must_use]
    pub fn r1cs(&self) -> &R1cs {
        &self.r1cs
    }

    /// The wires of the plain form: all of them, instance first; `words[0]` is the context.
    ///
    /// # Panics
    /// In the committed form, or when there is not one word for each public input.
    #[must_use]
    pub fn plain<'a>(&'a self, solved: &'a Assignment, words: &[Fr]) -> (Trace<'a>, Vec<Fr>) {
        assert_eq!(self.r1cs.form, Form::Plain, "the other form has two rounds");
        let mut wires = vec![Fr::zero(); self.r1cs.n_wires()];
        wires[0] = Fr::one();
        wires[1..self.r1cs.n_instance()].copy_from_slice(words);
        let mut trace = Trace::new(self, solved, Fr::zero());
        trace.evaluate(self.r1cs.tensors.len(), &mut wires);
        (trace, wires)
    }

    /// The wires of the committed form, of which the committed ones have their values.
    ///
    /// # Errors
    /// The first query that is not a row of its table; the solver refuses an input with which there is one.
    ///
    /// # Panics
    /// In the plain form.
    pub fn first_round<'a>(
        &'a self,
        solved: &'a Assignment,
        context: Fr,
    ) -> Result<(Trace<'a>, Vec<Fr>), Violation> {
        let committed = self.r1cs.form == Form::Committed;
        assert!(committed, "the other form has one round");
        let mut wires = vec![Fr::zero(); self.r1cs.n_wires()];
        let mut trace = Trace::new(self, solved, context);
        // multiplicities come last of the round: their tables are asked for what is evaluated by then
        let counts = |t: &super::RTensor| {
            matches!(
                t.node,
                Node::Wires {
                    fill: Fill::Count { .. },
                    ..
                }
            )
        };
        let first_count = self.r1cs.tensors.iter().position(counts);
        let before = first_count.unwrap_or(self.r1cs.first_phase);
        trace.evaluate(before, &mut wires);
        for q in 0..self.r1cs.queries.len() {
            match trace.ask(q, &wires) {
                Ok(rows) => trace.asked.push(rows),
                Err(violation) => {
                    wires.zeroize();
                    return Err(violation);
                }
            }
        }
        trace.evaluate(self.r1cs.first_phase, &mut wires);
        Ok((trace, wires))
    }
}

/// The tensors of one witness. Holds private values: never shown, overwritten when dropped.
pub struct Trace<'a> {
    tracer: &'a Tracer,
    solved: &'a Assignment,
    context: Fr,
    values: Vec<Value<'a>>,
    /// Row of its table for every element of every query.
    asked: Vec<Zeroizing<Vec<u32>>>,
    /// What the challenges make of every table.
    tables: Vec<Answers>,
}

impl std::fmt::Debug for Trace<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace")
            .field("tensors", &self.values.len())
            .finish_non_exhaustive()
    }
}

impl<'a> Trace<'a> {
    fn new(tracer: &'a Tracer, solved: &'a Assignment, context: Fr) -> Self {
        Self {
            tracer,
            solved,
            context,
            values: Vec::with_capacity(tracer.r1cs.tensors.len()),
            asked: vec![],
            tables: vec![],
        }
    }

    /// Fills instance and private wires after the challenges; `words[0]` is the context. May be called again, with other challenges.
    ///
    /// # Errors
    /// When a denominator is zero: commit again with fresh randomness.
    pub fn second_round(
        &mut self,
        wires: &mut [Fr],
        words: &[Fr],
        rho: Fr,
        alpha: Fr,
    ) -> Result<(), ZeroDenominator> {
        let evaluation = words.iter().rev().fold(Fr::zero(), |e, w| e * alpha + w);
        wires[..4].copy_from_slice(&[Fr::one(), rho, alpha, evaluation]);
        let r1cs = &self.tracer.r1cs;
        let tables = r1cs.tables.iter();
        self.tables = tables
            .map(|table| Answers::new(table, rho, alpha))
            .collect::<Result<_, _>>()?;
        self.values.truncate(r1cs.first_phase);
        self.evaluate(r1cs.tensors.len(), wires);
        Ok(())
    }

    /// Writes A·z, B·z or C·z into the first [`R1cs::n_rows`] elements of `out`.
    ///
    /// # Panics
    /// When `out` is shorter.
    pub fn row_values(&self, matrix: Matrix, wires: &[Fr], out: &mut [Fr]) {
        let r1cs = &self.tracer.r1cs;
        let (mut out, mut parts) = (&mut out[..r1cs.n_rows()], vec![]);
        for group in &r1cs.groups {
            let (part, rest) = out.split_at_mut(group.n);
            parts.push(part);
            out = rest;
        }
        let groups = parts.into_par_iter().zip(&r1cs.groups);
        groups
            .zip(&self.tracer.groups)
            .for_each(|((part, group), integer)| {
                let role = match group.a.terms[..] {
                    [(c, x)] if c.is_one() => self.tracer.roles[x],
                    _ => Role::None,
                };
                match (matrix, role) {
                    (Matrix::A, _) => self.combine(&group.a, integer[0].as_ref(), wires, part),
                    (Matrix::B, Role::Inverse(q)) => self.gather(q, |t| &t.denominators, part),
                    (Matrix::B, Role::Quotient(t)) => {
                        part.copy_from_slice(&self.tables[t].denominators);
                    }
                    (Matrix::B, _) => self.combine(&group.b, integer[1].as_ref(), wires, part),
                    (Matrix::C, _) => self.combine(&group.c, integer[2].as_ref(), wires, part),
                }
            });
    }

    /// The wires as the parts that the definition and its checks take.
    #[must_use]
    pub fn witness(&self, wires: &[Fr]) -> Witness {
        let r1cs = &self.tracer.r1cs;
        let (instance, rest) = wires.split_at(r1cs.n_instance());
        let (committed, private) = rest.split_at(r1cs.n_committed());
        Witness {
            instance: instance.to_vec(),
            committed: committed.to_vec(),
            private: private.to_vec(),
        }
    }

    /// Where a tensor of private wires lies among them.
    fn private(&self, x: Rid) -> Range<usize> {
        let tensor = &self.tracer.r1cs.tensors[x];
        match tensor.node {
            Node::Wires { start, .. } => start..start + tensor.len,
            // the tensors of a role are wires
            _ => 0..0,
        }
    }

    /// Evaluates the tensors up to `end`.
    fn evaluate(&mut self, end: usize, wires: &mut [Fr]) {
        for id in self.values.len()..end {
            let value = self.value(id, wires);
            self.values.push(value);
        }
    }

    fn value(&self, id: Rid, wires: &mut [Fr]) -> Value<'a> {
        let r1cs = &self.tracer.r1cs;
        let tensor = &r1cs.tensors[id];
        let n = tensor.len;
        match &tensor.node {
            Node::Wires { class, start, fill } => {
                let start = r1cs.wire(*class, *start);
                // what a fill reads lies before its wires
                let (before, rest) = wires.split_at_mut(start);
                self.fill(id, fill, before, &mut rest[..n], start)
            }
            Node::Linear { step, .. } => {
                // lowering made this node for a step with a result
                let y = r1cs.program.steps()[*step].y;
                Value::Given(y.map_or(&[], |y| self.solved.tensor(y)))
            }
            Node::Constants { values } => Value::Given(values),
            Node::Combo(l) => {
                let integer = self.tracer.tensors[id][0].as_ref();
                if let Some(value) = integer.and_then(|integer| self.integers(integer, n, Some)) {
                    return Value::Integers(value);
                }
                let mut value = Zeroizing::new(vec![Fr::zero(); n]);
                self.combine(l, None, wires, &mut value);
                Value::Field(value)
            }
            Node::Outer { values, x } => {
                let (x, small) = (self.element(*x, 0, wires), SmallInts::shared());
                let values = values.iter().map(|c| small.of(*c) * x);
                Value::Field(Zeroizing::new(values.collect()))
            }
            Node::Gather { x, strides } => self.gathered(*x, |i| strides.at(i), n, wires),
            Node::Sums { x, width } => self.sums(*x, *width, n, wires),
            Node::Sum { terms } => {
                let total = terms.iter().map(|(c, x)| *c * self.sum(*x, wires)).sum();
                Value::Field(Zeroizing::new(vec![total]))
            }
            Node::Pack { rows, constants } => {
                let row = |(row, k): (&Vec<(Rid, usize, Fr)>, &Fr)| {
                    row.iter()
                        .fold(*k, |sum, (x, i, c)| sum + self.element(*x, *i, wires) * c)
                };
                let packed = rows.iter().zip(constants).map(row);
                Value::Field(Zeroizing::new(packed.collect()))
            }
            Node::Affine { map, of } => {
                let first = r1cs.tensors[of[0]].len;
                let argument = |x: usize| match x.checked_sub(first) {
                    None => self.element(of[0], x, wires),
                    Some(x) => self.element(of[1], x, wires),
                };
                let rows = (0..n).map(|row| map.at(row, argument));
                Value::Field(Zeroizing::new(rows.collect()))
            }
        }
    }

    /// The elements of `x` in another order.
    fn gathered(
        &self,
        x: Rid,
        at: impl Fn(usize) -> usize + Sync,
        n: usize,
        wires: &[Fr],
    ) -> Value<'a> {
        match self.values[x].view(wires) {
            View::Integers(x) => {
                let mut out = Zeroizing::new(vec![0i64; n]);
                fill_all(&mut out, |i| Some(x[at(i)])).expect("every element is there");
                Value::Integers(out)
            }
            View::Field(x) => {
                let mut out = Zeroizing::new(vec![Fr::zero(); n]);
                fill_all(&mut out, |i| Some(x[at(i)])).expect("every element is there");
                Value::Field(out)
            }
        }
    }

    /// Sums of `width` consecutive elements of `x`: integers where all of them are small.
    fn sums(&self, x: Rid, width: usize, n: usize, wires: &[Fr]) -> Value<'a> {
        let view = self.values[x].view(wires);
        if let View::Integers(x) = view {
            let mut out = Zeroizing::new(vec![0i64; n]);
            let sum = |i: usize| {
                let terms = x[i * width..(i + 1) * width].iter();
                let sum = terms.map(|x| i128::from(*x)).sum::<i128>();
                (sum.unsigned_abs() < 1 << 62).then_some(sum as i64)
            };
            if fill_all(&mut out, sum).is_some() {
                return Value::Integers(out);
            }
        }
        let mut out = Zeroizing::new(vec![Fr::zero(); n]);
        let element = |i| match view {
            View::Integers(x) => Fr::from(x[i]),
            View::Field(x) => x[i],
        };
        let sum = |i: usize| Some((i * width..(i + 1) * width).map(element).sum());
        fill_all(&mut out, sum).expect("every element is there");
        Value::Field(out)
    }

    /// Fills the wires of one tensor, which begin at `start`.
    fn fill(&self, id: Rid, fill: &Fill, before: &[Fr], out: &mut [Fr], start: usize) -> Value<'a> {
        let n = out.len();
        let here = start..start + n;
        let forms = &self.tracer.tensors[id];
        let value = match fill {
            Fill::Given => return Value::Wires(here),
            Fill::Context => Value::Field(Zeroizing::new(vec![self.context])),
            Fill::Value(y) | Fill::Contract { y, .. } => Value::Given(self.solved.tensor(*y)),
            Fill::Remainder {
                x,
                q,
                split,
                shift,
                bits,
            } => {
                let (x, q) = (self.solved.tensor(*x), self.solved.tensor(*q));
                let mut limbs = Zeroizing::new(vec![0i64; n]);
                let mask = (1 << bits) - 1;
                // the split's q is x / 2^split rounded down: no overflow
                let limb = |i: usize| Some((x[i] - (q[i] << split)) >> shift & mask);
                fill_all(&mut limbs, limb).expect("every element has a remainder");
                Value::Integers(limbs)
            }
            Fill::Bits { of, shift, bits } => {
                let mask = (1 << bits) - 1;
                let limb = |x: i64| (x >= 0).then_some(x >> shift & mask);
                let integer = forms[0].as_ref();
                match integer.and_then(|integer| self.integers(integer, n, limb)) {
                    Some(limbs) => Value::Integers(limbs),
                    None => {
                        self.combine(of, None, before, out);
                        for x in out.iter_mut() {
                            let limb = x.into_bigint() >> *shift;
                            *x = Fr::from(limb.0[0] & ((1 << bits) - 1));
                        }
                        return Value::Wires(here);
                    }
                }
            }
            Fill::Product { a, b, plus } => {
                if let Role::Fold(q) = self.tracer.roles[id] {
                    self.gather(q, |t| &t.folds, out);
                    return Value::Wires(here);
                }
                match self.integer_product(forms, n) {
                    Some(products) => Value::Integers(products),
                    None => {
                        let mut factor = Zeroizing::new(vec![Fr::zero(); n]);
                        self.combine(a, None, before, out);
                        self.combine(b, None, before, &mut factor);
                        out.iter_mut().zip(factor.iter()).for_each(|(a, b)| *a *= b);
                        self.combine(plus, None, before, &mut factor);
                        out.iter_mut().zip(factor.iter()).for_each(|(a, b)| *a += b);
                        return Value::Wires(here);
                    }
                }
            }
            Fill::FifthPowers { map, state } => {
                let powers = map.fifth_powers(|i| self.element(*state, i, before));
                Value::Field(Zeroizing::new(powers))
            }
            Fill::Count { table } => Value::Integers(self.count(*table, n)),
            Fill::Inverse { .. } | Fill::Quotient { .. } => {
                match self.tracer.roles[id] {
                    Role::Inverse(q) => self.gather(q, |t| &t.inverses, out),
                    Role::Quotient(t) => {
                        let table = &self.tables[t];
                        if let Fill::Quotient { num, .. } = fill {
                            self.combine(num, IntegerComb::of(num).as_ref(), before, out);
                        }
                        out.par_iter_mut()
                            .zip(&table.inverses)
                            .for_each(|(q, inverse)| *q *= inverse);
                    }
                    Role::None | Role::Fold(_) => {
                        unreachable!("lowering inverts for queries and tables only")
                    }
                }
                return Value::Wires(here);
            }
        };
        self.write(value.view(&[]), out);
        value
    }

    /// `a·b + plus` where all are integers and so is the result.
    fn integer_product(
        &self,
        forms: &[Option<IntegerComb>],
        n: usize,
    ) -> Option<Zeroizing<Vec<i64>>> {
        let [Some(a), Some(b), Some(plus)] = forms else {
            return None;
        };
        let sources = [self.sources(a)?, self.sources(b)?, self.sources(plus)?];
        let mut products = Zeroizing::new(vec![0i64; n]);
        fill_all(&mut products, |i| {
            let product = a.at(&sources[0], i)?.checked_mul(b.at(&sources[1], i)?)?;
            let sum = product.checked_add(plus.at(&sources[2], i)?)?;
            (sum.unsigned_abs() < 1 << 62).then_some(sum)
        })?;
        Some(products)
    }

    /// The integers that a combination reads.
    fn sources(&self, l: &IntegerComb) -> Option<Vec<&[i64]>> {
        l.reads().map(|x| self.values[x].integers()).collect()
    }

    /// `f` of every element of a combination; `None` when one is not a small integer or refused by `f`.
    fn integers(
        &self,
        l: &IntegerComb,
        n: usize,
        f: impl Fn(i64) -> Option<i64> + Sync,
    ) -> Option<Zeroizing<Vec<i64>>> {
        let sources = self.sources(l)?;
        let mut value = Zeroizing::new(vec![0i64; n]);
        fill_all(&mut value, |i| l.at(&sources, i).and_then(&f))?;
        Some(value)
    }

    /// Writes an element-wise combination.
    fn combine(&self, l: &LinComb, integer: Option<&IntegerComb>, wires: &[Fr], out: &mut [Fr]) {
        let small = SmallInts::shared();
        if l.terms.is_empty() {
            out.fill(l.constant);
            return;
        }
        if let Some(integer) = integer
            && let Some(sources) = self.sources(integer)
            && fill_all(out, |i| integer.at(&sources, i).map(|v| small.of(v))).is_some()
        {
            return;
        }
        let terms = l.terms.iter();
        let terms: Vec<(Fr, View<'_>)> = terms
            .map(|(c, x)| (*c, self.values[*x].view(wires)))
            .collect();
        each_piece(out, |start, out| {
            out.fill(l.constant);
            for (c, x) in &terms {
                match x {
                    View::Field([x]) => {
                        let add = *c * x;
                        out.iter_mut().for_each(|s| *s += add);
                    }
                    View::Integers([x]) => {
                        let add = *c * small.of(*x);
                        out.iter_mut().for_each(|s| *s += add);
                    }
                    View::Field(x) if c.is_one() => {
                        out.iter_mut().zip(&x[start..]).for_each(|(s, x)| *s += x);
                    }
                    View::Field(x) => {
                        let x = &x[start..];
                        out.iter_mut().zip(x).for_each(|(s, x)| *s += *x * c);
                    }
                    View::Integers(x) => {
                        let x = &x[start..];
                        out.iter_mut()
                            .zip(x)
                            .for_each(|(s, x)| *s += small.of(*x) * c);
                    }
                }
            }
            true
        });
    }

    fn write(&self, from: View<'_>, out: &mut [Fr]) {
        let small = SmallInts::shared();
        match from {
            View::Field(x) => out.copy_from_slice(x),
            View::Integers(x) => {
                each_piece(out, |start, out| {
                    let x = &x[start..];
                    out.iter_mut()
                        .zip(x)
                        .for_each(|(out, x)| *out = small.of(*x));
                    true
                });
            }
        }
    }

    fn element(&self, x: Rid, i: usize, wires: &[Fr]) -> Fr {
        match self.values[x].view(wires) {
            View::Integers(x) => SmallInts::shared().of(x[i]),
            View::Field(x) => x[i],
        }
    }

    fn sum(&self, x: Rid, wires: &[Fr]) -> Fr {
        match self.values[x].view(wires) {
            View::Integers(x) => Fr::from(x.iter().map(|x| i128::from(*x)).sum::<i128>()),
            View::Field(x) => x.par_iter().with_min_len(1 << 12).sum(),
        }
    }
}
