//! The walk over the program that both forms share.

use super::circuit::{Class, Fill, Group, LinComb, Node, Query, RTable, RTensor, Rid};
use super::contract::Contraction;
use super::{Form, LowerError, R1cs};
use crate::arithmetization::interface::{self, Products};
use crate::constraint::{Instr, Program, Step, TensorId, TensorState};
use crate::tensor::Interval;
use ark_bn254::Fr;
use ark_ff::{One, Zero};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the committed form may choose: limb width, which narrower ranges get a table of their own, and how contractions are lowered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) limb_bits: u32,
    pub(super) narrow: BTreeSet<u32>,
    pub(super) products: Products,
}

pub(super) struct Lowering<'p> {
    pub(super) program: &'p Arc<Program>,
    pub(super) form: Form,
    pub(super) plan: Plan,
    pub(super) tensors: Vec<RTensor>,
    pub(super) groups: Vec<Group>,
    pub(super) queries: Vec<Query>,
    pub(super) tables: Vec<RTable>,
    /// Contractions to check at the challenge.
    pub(super) contractions: Vec<Contraction>,
    /// Exact ranges narrower than a limb that were asked for, by width.
    pub(super) narrow_queries: BTreeMap<u32, usize>,
    pub(super) n_rows: usize,
    n_instance: usize,
    n_committed: usize,
    n_private: usize,
    map: Vec<Rid>,
    /// The first tensor of every step, and of what follows the last.
    step_starts: Vec<Rid>,
    /// The shift of every tensor that a split made.
    split_shifts: BTreeMap<TensorId, u32>,
}

pub(super) fn int(c: i64) -> Fr {
    Fr::from(c)
}

fn split_of(step: &Step) -> Option<(TensorId, u32)> {
    match (&step.instr, step.y) {
        (Instr::Split { shift, .. }, Some(y)) => Some((y, *shift)),
        _ => None,
    }
}

pub(super) fn pow2(e: u32) -> Fr {
    ark_ff::Field::pow(&Fr::from(2u64), [u64::from(e)])
}

impl R1cs {
    /// Lowers `program`. The committed form searches its limb width by the exact row count; ties go to the narrower.
    ///
    /// # Errors
    /// When a combination could wrap, a lookup reads a wire outside the committed round, or the circuit is too large.
    pub fn lower(program: &Arc<Program>, form: Form) -> Result<Self, LowerError> {
        match form {
            Form::Plain => Lowering::run(program, form, Plan::default()),
            Form::Committed => {
                let mut best: Option<(usize, Plan)> = None;
                for limb_bits in 2..=16 {
                    let plan = Plan {
                        limb_bits,
                        ..Plan::default()
                    };
                    let first = Lowering::walk(program, form, plan)?;
                    // a table of 2^r rows pays when it saves more than 2^r second queries
                    let narrow = first.narrow_queries.iter().filter(|&(r, n)| *n > 1 << r);
                    let narrow: BTreeSet<u32> = narrow.map(|(r, _)| *r).collect();
                    let plan = Plan {
                        limb_bits,
                        narrow,
                        ..Plan::default()
                    };
                    let rows = Lowering::walk(program, form, plan.clone())?.n_rows;
                    if best.as_ref().is_none_or(|(least, _)| rows < *least) {
                        best = Some((rows, plan));
                    }
                }
                // the loop ran at least once
                Self::lower_with(program, best.map(|b| b.1).unwrap_or_default())
            }
        }
    }

    pub(super) fn lower_with(program: &Arc<Program>, plan: Plan) -> Result<Self, LowerError> {
        Lowering::run(program, Form::Committed, plan)
    }

    /// Lowers another program with this circuit's limb width and tables of ranges.
    pub(crate) fn lower_like(&self, program: &Arc<Program>) -> Result<Self, LowerError> {
        let ranges = self
            .tables
            .iter()
            .map(|table| table.id)
            .filter(|id| *id < 64);
        let narrow = ranges
            .map(|id| id as u32)
            .filter(|bits| *bits != self.limb_bits);
        let plan = Plan {
            limb_bits: self.limb_bits,
            narrow: narrow.collect(),
            ..Plan::default()
        };
        Lowering::run(program, self.form, plan)
    }

    /// Lowers with a fixed limb width, for tests that enumerate tiny tables.
    #[doc(hidden)]
    pub fn lower_with_limb(program: &Arc<Program>, limb_bits: u32) -> Result<Self, LowerError> {
        Self::lower_with_products(program, limb_bits, Products::Cheapest)
    }

    /// As [`R1cs::lower_with_limb`], with contractions lowered as told whatever they cost.
    #[doc(hidden)]
    pub fn lower_with_products(
        program: &Arc<Program>,
        limb_bits: u32,
        products: Products,
    ) -> Result<Self, LowerError> {
        Self::lower_with(
            program,
            Plan {
                limb_bits,
                narrow: BTreeSet::new(),
                products,
            },
        )
    }
}

impl<'p> Lowering<'p> {
    fn run(program: &'p Arc<Program>, form: Form, plan: Plan) -> Result<R1cs, LowerError> {
        let (lowering, words, first_phase) = Self::walk_phases(program, form, plan)?;
        if lowering.n_rows > 1 << 27 {
            return Err(LowerError::TooLarge {
                rows: lowering.n_rows,
            });
        }
        Ok(R1cs {
            program: program.clone(),
            form,
            limb_bits: lowering.plan.limb_bits,
            tensors: lowering.tensors,
            groups: lowering.groups,
            queries: lowering.queries,
            tables: lowering.tables,
            words,
            map: lowering.map,
            step_starts: lowering.step_starts,
            first_phase,
            n_instance: lowering.n_instance,
            n_committed: lowering.n_committed,
            n_private: lowering.n_private,
            n_rows: lowering.n_rows,
        })
    }

    pub(super) fn walk(
        program: &'p Arc<Program>,
        form: Form,
        plan: Plan,
    ) -> Result<Self, LowerError> {
        Ok(Self::walk_phases(program, form, plan)?.0)
    }

    fn walk_phases(
        program: &'p Arc<Program>,
        form: Form,
        plan: Plan,
    ) -> Result<(Self, Option<Rid>, usize), LowerError> {
        let mut l = Self {
            program,
            form,
            plan,
            tensors: vec![],
            groups: vec![],
            queries: vec![],
            tables: vec![],
            contractions: vec![],
            narrow_queries: Default::default(),
            n_rows: 0,
            n_instance: 1,
            n_committed: 0,
            n_private: 0,
            map: vec![],
            step_starts: vec![],
            split_shifts: program.steps().iter().filter_map(split_of).collect(),
        };
        l.open();
        for (index, step) in program.steps().iter().enumerate() {
            l.step_starts.push(l.tensors.len());
            l.step(index, step)?;
        }
        l.step_starts.push(l.tensors.len());
        let words = l.words()?;
        let first_phase = l.close(words)?;
        Ok((l, words, first_phase))
    }

    fn open(&mut self) {
        if self.form == Form::Committed {
            self.open_committed();
        }
    }

    fn close(&mut self, words: Option<Rid>) -> Result<usize, LowerError> {
        match self.form {
            Form::Plain => Ok(self.close_plain(words)),
            Form::Committed => self.close_committed(words),
        }
    }

    /// Class of the wires that exist before any challenge.
    pub(super) fn first_class(&self) -> Class {
        match self.form {
            Form::Plain => Class::Private,
            Form::Committed => Class::Committed,
        }
    }

    pub(super) fn wires(&mut self, class: Class, len: usize, fill: Fill) -> Rid {
        let counter = match class {
            Class::Instance => &mut self.n_instance,
            Class::Committed => &mut self.n_committed,
            Class::Private => &mut self.n_private,
        };
        let start = *counter;
        *counter += len;
        self.push(Node::Wires { class, start, fill }, len, class)
    }

    pub(super) fn push(&mut self, node: Node, len: usize, class: Class) -> Rid {
        self.tensors.push(RTensor { node, len, class });
        self.tensors.len() - 1
    }

    pub(super) fn combo(&mut self, l: LinComb, len: usize) -> Rid {
        let class = l.terms.iter().map(|t| self.tensors[t.1].class).max();
        self.push(Node::Combo(l), len, class.unwrap_or(Class::Committed))
    }

    pub(super) fn len(&self, x: Rid) -> usize {
        self.tensors[x].len
    }

    /// `n` rows `a·b = c`.
    pub(super) fn rows(
        &mut self,
        rule: &'static str,
        step: Option<usize>,
        n: usize,
        [a, b, c]: [LinComb; 3],
    ) {
        self.groups.push(Group {
            rule,
            step,
            first_row: self.n_rows,
            n,
            a,
            b,
            c,
        });
        self.n_rows += n;
    }

    /// A new wire tensor tied to `a·b + plus` by one row per element.
    pub(super) fn product(
        &mut self,
        rule: &'static str,
        step: Option<usize>,
        class: Class,
        n: usize,
        [a, b]: [LinComb; 2],
    ) -> Rid {
        let fill = Fill::Product {
            a: a.clone(),
            b: b.clone(),
            plus: LinComb::default(),
        };
        let y = self.wires(class, n, fill);
        self.rows(rule, step, n, [a, b, LinComb::of(y)]);
        y
    }

    pub(super) fn node_name(&self, step: usize) -> String {
        self.program.node_of(&self.program.steps()[step]).to_owned()
    }

    pub(super) fn rid(&self, id: TensorId) -> Rid {
        self.map[id.index()]
    }

    /// Union of what the builder knows about a tensor's elements.
    pub(super) fn span(&self, id: TensorId) -> Option<Interval> {
        match &self.program.tensors()[id.index()].state {
            TensorState::Proved(i) | TensorState::Expected(i) => {
                i.iter().copied().reduce(|a, b| a.union(&b))
            }
            TensorState::Hinted(_) => None,
        }
    }

    fn step(&mut self, index: usize, step: &Step) -> Result<(), LowerError> {
        let y = match &step.instr {
            Instr::Input { io } => self.input(index, step, *io as usize),
            Instr::Linear { x, .. } => {
                let x = self.rid(*x);
                // `push` gave every step with a result a tensor
                let len = step
                    .y
                    .map_or(0, |y| self.program.tensors()[y.index()].len());
                let class = self.tensors[x].class;
                Some(self.push(Node::Linear { step: index, x }, len, class))
            }
            Instr::Combine { terms, constant } => {
                let start = LinComb::constant(int(*constant));
                let sum = terms.iter().fold(start, |sum, (c, x)| {
                    sum.plus(int(*c), &LinComb::of(self.rid(*x)))
                });
                let len = self.len(self.rid(terms[0].1));
                Some(self.combo(sum, len))
            }
            Instr::Mul { a, b } => {
                let (a, b) = (self.rid(*a), self.rid(*b));
                let (n, class) = (self.len(a), self.first_class());
                let factors = [LinComb::of(a), LinComb::of(b)];
                Some(self.product("product", Some(index), class, n, factors))
            }
            Instr::Select { condition, yes, no } => {
                let [condition, yes, no] = [condition, yes, no].map(|x| LinComb::of(self.rid(*x)));
                let (n, class) = (
                    self.len(self.rid(step.instr.operands()[0])),
                    self.first_class(),
                );
                let factors = [condition, yes.plus(-Fr::one(), &no)];
                let chosen = self.product("selection", Some(index), class, n, factors);
                Some(self.combo(no.plus(Fr::one(), &LinComb::of(chosen)), n))
            }
            Instr::Split { x, shift } => {
                let (id, x) = (*x, self.rid(*x));
                let bits = self
                    .span(id)
                    .map_or(0, |i| 64 - i.max_abs().leading_zeros());
                self.capacity(index, bits.max(*shift) + 2)?;
                // the tensor of a split always exists
                step.y.map(|q| self.split(index, id, x, q, *shift))
            }
            Instr::Lookup { table, key } => {
                let split = self.split_shift(*key);
                let keys = self.program.tables()[table.0 as usize].keys;
                self.capacity(index, 64 - keys.max_abs().leading_zeros() + split + 2)?;
                match self.form {
                    Form::Plain => Some(self.lookup_plain(index, *table, *key)?),
                    Form::Committed => step
                        .y
                        .map(|y| self.lookup_committed(index, *table, *key, y)),
                }
            }
            Instr::Range { x, bits } => {
                self.capacity(index, bits + self.split_shift(*x) + 18)?;
                // a quotient that is a small integer is the floor, and so inside its expected interval
                let top = self.span(*x).map(|i| i.hi);
                let exact = top.is_none_or(|hi| hi >= 1 << bits);
                let x = self.rid(*x);
                self.range(index, x, *bits, exact);
                Some(x)
            }
            Instr::AssertZero { x } => {
                let x = self.rid(*x);
                let row = [LinComb::of(x), LinComb::one(), LinComb::default()];
                self.rows("zero", Some(index), self.len(x), row);
                None
            }
            Instr::Member { x, of } => {
                let x = self.rid(*x);
                self.member(index, x, of);
                Some(x)
            }
            Instr::Contract { a, b, dims } => {
                let (a, b, dims) = (self.rid(*a), self.rid(*b), dims.map(|d| d as usize));
                step.y.map(|y| self.contract(index, [a, b], dims, y))
            }
            Instr::Hint { .. } => step.y.map(|y| {
                let len = self.program.tensors()[y.index()].len();
                self.wires(self.first_class(), len, Fill::Value(y))
            }),
        };
        if let (Some(_), Some(y)) = (step.y, y) {
            self.map.push(y);
        }
        Ok(())
    }

    /// Shift of the split that made `id`, or 0: how far the field element may be from its integer.
    fn split_shift(&self, id: TensorId) -> u32 {
        self.split_shifts.get(&id).copied().unwrap_or(0)
    }

    fn capacity(&self, step: usize, bits: u32) -> Result<(), LowerError> {
        interface::capacity(self.program, step, bits)
    }

    fn input(&mut self, index: usize, step: &Step, io: usize) -> Option<Rid> {
        let y = step.y?;
        let spec = &self.program.layout().tensors[io];
        let len = self.program.tensors()[y.index()].len();
        let x = self.wires(self.first_class(), len, Fill::Value(y));
        let byte = LinComb::of(x).add_constant(-int(spec.dtype.min()));
        let byte = self.combo(byte, len);
        self.range(index, byte, interface::input_bits(spec.dtype), true);
        Some(x)
    }

    /// `x = q·2^shift + ρ`: hints and ranges ρ, returns q as an expression.
    fn split(&mut self, index: usize, x_id: TensorId, x: Rid, q: TensorId, shift: u32) -> Rid {
        let len = self.len(x);
        let class = self.first_class();
        let width = match self.form {
            Form::Plain => 1,
            Form::Committed => self.plan.limb_bits,
        };
        let mut rest = LinComb::of(x);
        let mut at = 0;
        while at < shift {
            let bits = width.min(shift - at);
            let fill = Fill::Remainder {
                x: x_id,
                q,
                split: shift,
                shift: at,
                bits,
            };
            let limb = self.wires(class, len, fill);
            match self.form {
                Form::Plain => self.boolean(Some(index), limb),
                Form::Committed => self.range(index, limb, bits, true),
            }
            rest = rest.plus(-pow2(at), &LinComb::of(limb));
            at += bits;
        }
        // 2 is invertible in a field of odd characteristic
        let inverse = ark_ff::Field::inverse(&pow2(shift)).unwrap_or_else(Fr::zero);
        self.combo(rest.scaled(inverse), len)
    }

    fn range(&mut self, index: usize, x: Rid, bits: u32, exact: bool) {
        match self.form {
            Form::Plain => {
                self.decompose(Some(index), LinComb::of(x), bits, self.len(x));
            }
            Form::Committed => self.range_committed(index, x, bits, exact),
        }
    }

    fn member(&mut self, index: usize, x: Rid, of: &[TensorId]) {
        let (n, class) = (self.len(x), self.first_class());
        let difference =
            |l: &Self, c: TensorId| LinComb::of(x).plus(-Fr::one(), &LinComb::of(l.rid(c)));
        let mut product = difference(self, of[0]);
        for (i, candidate) in of.iter().enumerate().skip(1) {
            let factor = difference(self, *candidate);
            if i + 1 < of.len() {
                let p = self.product("member", Some(index), class, n, [product, factor]);
                product = LinComb::of(p);
            } else {
                self.rows(
                    "member",
                    Some(index),
                    n,
                    [product, factor, LinComb::default()],
                );
                return;
            }
        }
        self.rows(
            "member",
            Some(index),
            n,
            [product, LinComb::one(), LinComb::default()],
        );
    }

    /// The public tensors, concatenated as bytes and cut into 31-byte words, then the digests of the hashed ones; `None` when there
    /// is neither.
    fn words(&mut self) -> Result<Option<Rid>, LowerError> {
        let mut rows: Vec<Vec<(Rid, usize, Fr)>> = vec![];
        let mut constants: Vec<Fr> = vec![];
        let mut class = Class::Committed;
        for word in interface::words(self.program)? {
            let mut row = Vec::with_capacity(word.len());
            let mut constant = Fr::zero();
            for element in word {
                let x = self.rid(element.tensor);
                class = class.max(self.tensors[x].class);
                let weight = pow2(element.exponent) * int(element.scale);
                constant -= weight * int(element.min);
                row.push((x, element.index, weight));
            }
            rows.push(row);
            constants.push(constant);
        }
        for hashed in interface::hashed(self.program) {
            let state = self.hash(&hashed);
            class = class.max(self.tensors[state].class);
            rows.push(vec![(state, 1, Fr::one())]);
            constants.push(Fr::zero());
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let n = rows.len();
        Ok(Some(self.push(Node::Pack { rows, constants }, n, class)))
    }
}
