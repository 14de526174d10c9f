//! From instructions to home cells, lookup rows and the tape. Field arithmetic on witnesses is in `witness.rs`.

use super::linear::Product;
use super::table::{Block, Decomposition, KeyFill, LookupRow, LookupTable, TableKind};
use super::tape::{HomeFill, Mode, Operand, Tape, Target};
use super::values::{fr, pow2};
use super::{Fr, Plan};
use crate::arithmetization::LowerError;
use crate::arithmetization::interface::{self, Packed};
use crate::constraint::{Instr, LinearMap, Program, Step, TableId, TensorId, TensorState, bias_at};
use halo2curves::ff::Field;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Widest identity table: a quotient that is ranged, not looked up.
const MAX_IDENTITY_BITS: u32 = 16;
/// Most rows of the tape, or of the lookup columns.
const MAX_ROWS: usize = 1 << 24;

/// What a tensor's element is: `coefficient·cell + constant`.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) home: Option<u32>,
    pub(super) coefficient: Fr,
    pub(super) constant: Fr,
}

impl View {
    fn cell(home: u32) -> Self {
        Self {
            home: Some(home),
            coefficient: Fr::ONE,
            constant: Fr::ZERO,
        }
    }

    /// The cell, when the element is exactly its value.
    pub(super) fn identity(&self) -> Option<u32> {
        let plain = self.coefficient == Fr::ONE && self.constant == Fr::ZERO;
        self.home.filter(|_| plain)
    }

    fn scaled(self, c: Fr) -> Self {
        Self {
            home: self.home.filter(|_| c != Fr::ZERO),
            coefficient: self.coefficient * c,
            constant: self.constant * c,
        }
    }

    pub(super) fn plus(self, constant: Fr) -> Self {
        Self {
            constant: self.constant + constant,
            ..self
        }
    }
}

/// How a home cell shows its element: `factor·y + offset`, the factor not zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) factor: Fr,
    pub(super) offset: Fr,
}

impl Scale {
    pub(super) const ONE: Self = Self {
        factor: Fr::ONE,
        offset: Fr::ZERO,
    };

    /// 1/factor.
    pub(super) fn inverse(&self) -> Fr {
        // `hosts` takes no zero factor
        Option::from(self.factor.invert()).expect("a scaling with factor 0 hosts nothing")
    }
}

/// The tensor that a tensor's cells show, and the steps that lead there.
#[derive(Clone, Debug)]
struct Host {
    shown: TensorId,
    scalings: Vec<usize>,
}

/// A home cell: what it holds, and its row once it has one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home {
    pub(super) fill: HomeFill,
    pub(super) row: Option<u32>,
}

/// A program being lowered.
#[derive(Debug)]
pub(super) struct Lowering<'a> {
    pub(super) program: &'a Program,
    pub(super) plan: Plan,
    pub(super) tape: Tape,
    pub(super) homes: Vec<Home>,
    pub(super) home_ties: Vec<(u32, u32, u32)>,
    pub(super) rows: Vec<LookupRow>,
    pub(super) kinds: Vec<Decomposition>,
    pub(super) tables: Vec<LookupTable>,
    table_ids: HashMap<TableKind, u32>,
    pub(super) products: Vec<Product>,
    pub(super) views: Vec<Vec<View>>,
    pub(super) n_words: usize,
    /// Lookup rows before cells without a question were placed.
    pub(super) lookup_rows_before_filling: usize,
    /// Tensors that are the difference of two others.
    differences_of: HashMap<(TensorId, TensorId), TensorId>,
    /// Views of tensors whose cells were made before their instruction was reached.
    early: HashMap<TensorId, Vec<View>>,
    /// Blocks by kind: what the choice of the limb width needs.
    pub(super) blocks: BTreeMap<Block, usize>,
    hosts: HashMap<TensorId, Host>,
    /// The split that made a quotient that nothing has bound yet.
    splits: HashMap<TensorId, (TensorId, u32)>,
}

impl<'a> Lowering<'a> {
    /// Lowers every instruction and the statement.
    pub(super) fn run(program: &'a Arc<Program>, plan: Plan) -> Result<Self, LowerError> {
        let mut l = Self {
            program,
            plan,
            tape: Tape::new(plan.width),
            homes: vec![],
            home_ties: vec![],
            rows: vec![],
            kinds: vec![],
            tables: vec![],
            table_ids: HashMap::new(),
            products: vec![],
            views: Vec::with_capacity(program.tensors().len()),
            n_words: program.layout().n_words(),
            lookup_rows_before_filling: 0,
            differences_of: differences(program),
            early: HashMap::new(),
            blocks: BTreeMap::new(),
            hosts: hosts(program),
            splits: HashMap::new(),
        };
        l.table(TableKind::Limb(plan.limb_bits));
        for index in 0..l.n_words {
            let home = l.home(HomeFill::Word(index as u32));
            l.row(KeyFill::Zero, Some(home), 0, super::tape::NO_STEP);
        }
        for (index, step) in program.steps().iter().enumerate() {
            l.step(index, step)?;
            if l.tape.rows.len().max(l.rows.len()).max(l.homes.len()) > MAX_ROWS {
                return Err(LowerError::TooLarge {
                    rows: l.tape.rows.len().max(l.rows.len()),
                });
            }
        }
        l.words()?;
        l.tape.close();
        l.lookup_rows_before_filling = l.rows.len();
        l.place_the_rest();
        Ok(l)
    }

    /// Refuses work that would make too many rows before it is done.
    pub(super) fn room(&self, rows: usize) -> Result<(), LowerError> {
        let rows = self.tape.rows.len().saturating_add(rows);
        if rows > MAX_ROWS {
            return Err(LowerError::TooLarge { rows });
        }
        Ok(())
    }

    /// The same for `n` elements of so many lookup rows each.
    fn room_for_questions(&self, n: usize, each: u32) -> Result<(), LowerError> {
        let rows = n.saturating_mul(each as usize);
        let rows = self.rows.len().max(self.homes.len()).saturating_add(rows);
        if rows > MAX_ROWS {
            return Err(LowerError::TooLarge { rows });
        }
        Ok(())
    }

    /// Rows of a range of so many bits, at most.
    fn range_rows(&self, bits: u32) -> u32 {
        bits.div_ceil(self.plan.limb_bits) + 1
    }

    pub(super) fn home(&mut self, fill: HomeFill) -> u32 {
        self.homes.push(Home { fill, row: None });
        self.homes.len() as u32 - 1
    }

    fn row(&mut self, key: KeyFill, home: Option<u32>, table: u32, step: u32) -> u32 {
        let row = self.rows.len() as u32;
        let home = home.map(|home| self.placed(home, row, step));
        self.rows.push(LookupRow {
            key,
            home,
            table,
            kind: None,
            step,
        });
        row
    }

    /// The cell itself if it has no row yet, else a copy of it.
    fn placed(&mut self, home: u32, row: u32, step: u32) -> u32 {
        let cell = match self.homes[home as usize].row {
            None => home,
            Some(_) => {
                let copy = self.home(HomeFill::Copy(home));
                self.home_ties.push((copy, home, step));
                copy
            }
        };
        self.homes[cell as usize].row = Some(row);
        cell
    }

    fn table(&mut self, kind: TableKind) -> u32 {
        if let Some(known) = self.table_ids.get(&kind) {
            return *known;
        }
        let id = self.tables.len() as u32;
        self.table_ids.insert(kind.clone(), id);
        let (first, values): (i64, Vec<i64>) = match &kind {
            TableKind::Limb(bits) => (0, vec![0; 1 << bits]),
            TableKind::Identity(bits) => (0, (0..1 << bits).collect()),
            TableKind::Program(id) => {
                let table = &self.program.tables()[id.0 as usize];
                (table.keys.lo, table.rows().map(|r| r.1).collect())
            }
        };
        let start = self.tables.last().map_or(0, |t| t.start + t.values.len());
        self.tables.push(LookupTable {
            first,
            values,
            start,
        });
        id
    }

    fn kind(&mut self, kind: Decomposition) -> u32 {
        if let Some(known) = self.kinds.iter().position(|k| *k == kind) {
            return known as u32;
        }
        self.kinds.push(kind);
        self.kinds.len() as u32 - 1
    }

    /// Adds `f·view` to the running sum.
    pub(super) fn add_view(&mut self, step: u32, mode: Mode, f: Fr, view: View) -> u32 {
        match view.home {
            Some(home) => self.tape.term(
                step,
                mode,
                f * view.coefficient,
                Operand::Home(home),
                f * view.constant,
            ),
            None => self.tape.constant(step, mode, f * view.constant),
        }
    }

    /// `home = scale(Σ c·view + constant)`.
    pub(super) fn sum_into(
        &mut self,
        step: usize,
        terms: &[(Fr, View)],
        constant: Fr,
        home: u32,
        scale: Scale,
    ) {
        let step = step as u32;
        let fixed: Fr = terms.iter().map(|(c, v)| *c * v.constant).sum();
        let fixed = scale.factor * (constant + fixed) + scale.offset;
        let cells: Vec<(Fr, u32)> = terms
            .iter()
            .filter_map(|(c, v)| Some((*c * v.coefficient, v.home?)))
            .collect();
        let Some(((c, first), rest)) = cells.split_first() else {
            let row = self.tape.constant(step, Mode::Start, fixed);
            return self.tape.tie(row, Target::Home(home));
        };
        let f = scale.factor;
        self.tape
            .term(step, Mode::Start, f * c, Operand::Home(*first), fixed);
        for (c, cell) in rest {
            self.tape
                .term(step, Mode::Keep, f * c, Operand::Home(*cell), Fr::ZERO);
        }
        self.tape.tie(self.tape.last(), Target::Home(home));
    }

    /// New home cells for a tensor, in the form its only reader wants.
    pub(super) fn define(&mut self, y: TensorId) -> (Vec<u32>, Vec<Scale>) {
        let (homes, scales, views) = self.cells_for(y);
        self.views.push(views);
        (homes, scales)
    }

    fn cells_for(&mut self, y: TensorId) -> (Vec<u32>, Vec<Scale>, Vec<View>) {
        let n = self.program.tensors()[y.index()].len();
        let host = self.hosts.get(&y).cloned();
        let mut homes = Vec::with_capacity(n);
        let mut scales = Vec::with_capacity(n);
        let mut views = Vec::with_capacity(n);
        for i in 0..n {
            let (tensor, scale) = match &host {
                Some(host) => (host.shown, host.scale(self.program, i)),
                None => (y, Scale::ONE),
            };
            let home = self.home(HomeFill::Tensor(tensor, i as u32));
            let inverse = scale.inverse();
            views.push(View {
                home: Some(home),
                coefficient: inverse,
                constant: -scale.offset * inverse,
            });
            homes.push(home);
            scales.push(scale);
        }
        (homes, scales, views)
    }

    /// The cell that holds exactly element `i` of `x`; made and tied when there is none.
    fn exact(&mut self, step: usize, x: TensorId, i: usize) -> u32 {
        let view = self.views[x.index()][i];
        if let Some(home) = view.identity() {
            return home;
        }
        let home = self.home(HomeFill::Tensor(x, i as u32));
        self.sum_into(step, &[(Fr::ONE, view)], Fr::ZERO, home, Scale::ONE);
        self.views[x.index()][i] = View::cell(home);
        home
    }

    fn step(&mut self, index: usize, step: &Step) -> Result<(), LowerError> {
        match (&step.instr, step.y) {
            (Instr::Input { io }, Some(y)) => self.input(index, y, *io as usize)?,
            (Instr::Linear { map, x, bias }, Some(y)) => match &**map {
                LinearMap::Gather { .. } | LinearMap::Scale { .. } => {
                    let n = self.program.tensors()[y.index()].len();
                    let mut views = Vec::with_capacity(n);
                    for out in 0..n {
                        let mut view = View {
                            home: None,
                            coefficient: Fr::ONE,
                            constant: Fr::ZERO,
                        };
                        map.row(out, |i, c| view = self.views[x.index()][i].scaled(fr(c)));
                        views.push(view.plus(fr(bias_at(bias, out))));
                    }
                    self.views.push(views);
                }
                LinearMap::Dense { .. } | LinearMap::Conv { .. } => {
                    let (homes, scales) = self.define(y);
                    self.linear(index, map, *x, bias, &homes, &scales)?;
                }
            },
            (Instr::Combine { terms, constant }, Some(y)) => match terms[..] {
                [(c, x)] => {
                    let views = self.views[x.index()].iter();
                    let views = views.map(|v| v.scaled(fr(c)).plus(fr(*constant))).collect();
                    self.views.push(views);
                }
                _ => {
                    if let Some(views) = self.disjoint(terms, *constant) {
                        self.early.remove(&y);
                        self.views.push(views);
                        return Ok(());
                    }
                    if !self.early.contains_key(&y) {
                        self.combine(index, y, terms, *constant)?;
                    }
                    let views = self.early.remove(&y).unwrap_or_default();
                    self.views.push(views);
                }
            },
            (Instr::Mul { a, b }, Some(y)) => {
                self.room(self.views[a.index()].len().saturating_mul(3))?;
                self.mul(index, *a, *b, y);
            }
            (Instr::Select { condition, yes, no }, Some(y)) => {
                self.room(self.views[yes.index()].len().saturating_mul(7))?;
                self.select(index, [*condition, *yes, *no], y);
            }
            (Instr::Contract { a, b, dims }, Some(y)) => {
                self.contract(index, [*a, *b], dims.map(|d| d as usize), y)?;
            }
            (Instr::Split { x, shift }, Some(y)) => {
                let top = self.max_abs(*x);
                self.capacity(index, top.max(*shift) + 2)?;
                self.splits.insert(y, (*x, *shift));
                // an unbound quotient has no cells until a lookup or a range binds it
                self.views.push(vec![]);
            }
            (Instr::Lookup { table, key }, Some(y)) => self.lookup(index, *table, *key, y)?,
            (Instr::Range { x, bits }, y) => {
                self.range(index, *x, *bits, y)?;
            }
            (Instr::AssertZero { x }, _) => {
                self.room(self.views[x.index()].len())?;
                for view in self.views[x.index()].clone() {
                    self.add_view(index as u32, Mode::Start, Fr::ONE, view);
                    self.tape.tie(self.tape.last(), Target::Zero);
                }
            }
            (Instr::Member { x, of }, y) => {
                self.member(index, *x, of, y)?;
                if y.is_some() {
                    self.views.push(self.views[x.index()].clone());
                }
            }
            (Instr::Hint { .. }, Some(y)) => {
                self.define(y);
            }
            // every other instruction makes a tensor
            (_, None) => {}
        }
        Ok(())
    }

    fn max_abs(&self, x: TensorId) -> u32 {
        match &self.program.tensors()[x.index()].state {
            TensorState::Proved(i) | TensorState::Expected(i) => {
                let top = i.iter().map(|i| i.max_abs()).max().unwrap_or(0);
                64 - top.leading_zeros()
            }
            TensorState::Hinted(_) => 64,
        }
    }

    fn capacity(&self, step: usize, bits: u32) -> Result<(), LowerError> {
        interface::capacity(self.program, step, bits)
    }

    fn unsupported(&self, step: usize, reason: &'static str) -> LowerError {
        let step = &self.program.steps()[step];
        LowerError::Unsupported {
            node: self.program.node_of(step).to_owned(),
            step: step.instr.name(),
            reason,
        }
    }

    /// Elements are kept as `x − min`, which is what the range says of them.
    fn input(&mut self, step: usize, y: TensorId, io: usize) -> Result<(), LowerError> {
        let dtype = self.program.layout().tensors[io].dtype;
        let bits = interface::input_bits(dtype);
        let min = dtype.min();
        let n = self.program.tensors()[y.index()].len();
        self.room_for_questions(n, self.range_rows(bits))?;
        let mut views = Vec::with_capacity(n);
        for i in 0..n as u32 {
            let home = self.home(HomeFill::Offset(y, i, -min));
            self.range_cell(step, home, y, i, -min, bits, true);
            views.push(View::cell(home).plus(fr(min)));
        }
        self.views.push(views);
        Ok(())
    }

    /// `0 ≤ cell < 2^bits`; the cell holds element `i` of `x` plus `offset`. When not `exact`, cell < 2^bits is known already.
    #[allow(clippy::too_many_arguments, reason = "one range, said in full")]
    fn range_cell(
        &mut self,
        step: usize,
        cell: u32,
        x: TensorId,
        i: u32,
        offset: i64,
        bits: u32,
        exact: bool,
    ) {
        let w = self.plan.limb_bits;
        let at = step as u32;
        if bits <= 8 {
            let table = self.table(TableKind::Identity(bits));
            self.row(KeyFill::Element(x, i, offset), Some(cell), table, at);
            return;
        }
        let block = Block::Range(bits, exact);
        *self.blocks.entry(block).or_default() += 1;
        let kind = block.decomposition(w);
        let bits = if exact {
            bits
        } else {
            bits.next_multiple_of(w)
        };
        let n = bits.div_ceil(w);
        let limb = |j: u32, scale: u32| KeyFill::Limb {
            x,
            q: None,
            index: i,
            offset,
            split: 0,
            at: w * j,
            bits: w.min(bits - w * j),
            scale,
        };
        let first = self.row(limb(0, 0), Some(cell), 0, at);
        for j in 1..n {
            self.row(limb(j, 0), None, 0, at);
        }
        if let Some((_, _, scale)) = kind.check {
            self.row(limb(n - 1, scale), None, 0, at);
        }
        let kind = self.kind(kind);
        self.rows[first as usize].kind = Some(kind);
    }

    fn range(
        &mut self,
        step: usize,
        x: TensorId,
        bits: u32,
        y: Option<TensorId>,
    ) -> Result<(), LowerError> {
        if let Some((split_x, shift)) = self.splits.remove(&x) {
            self.capacity(step, bits + shift + 18)?;
            if bits > MAX_IDENTITY_BITS {
                return self.wide_quotient(step, x, bits, (split_x, shift));
            }
            let table = self.table(TableKind::Identity(bits));
            let n = self.program.tensors()[x.index()].len();
            self.room_for_questions(n, self.range_rows(shift) + 1)?;
            let mut views = Vec::with_capacity(n);
            for i in 0..n {
                let value = self.home(HomeFill::Tensor(x, i as u32));
                self.split_block(step, split_x, Some(x), shift, i, value, table);
                views.push(View::cell(value));
            }
            self.views.push(views);
            return Ok(());
        }
        if self.views[x.index()].is_empty() {
            return Err(self.unsupported(step, "a quotient is bound once"));
        }
        self.capacity(step, bits + 18)?;
        let state = &self.program.tensors()[x.index()].state;
        let top = match state {
            TensorState::Proved(i) => i.iter().map(|i| i.hi).max(),
            TensorState::Expected(_) | TensorState::Hinted(_) => None,
        };
        let exact = top.is_none_or(|hi| hi >= 1 << bits);
        self.room_for_questions(self.views[x.index()].len(), self.range_rows(bits))?;
        for i in 0..self.views[x.index()].len() {
            let cell = self.exact(step, x, i);
            self.range_cell(step, cell, x, i as u32, 0, bits, exact);
        }
        if y.is_some() {
            self.views.push(self.views[x.index()].clone());
        }
        Ok(())
    }

    /// `x = q·2^shift + ρ` with q and ρ in cells of their own, each ranged limb by limb.
    fn wide_quotient(
        &mut self,
        step: usize,
        q: TensorId,
        bits: u32,
        (x, shift): (TensorId, u32),
    ) -> Result<(), LowerError> {
        let state = &self.program.tensors()[q.index()].state;
        let top = match state {
            // a quotient that is a small integer is the floor, and so inside its expected interval
            TensorState::Proved(i) | TensorState::Expected(i) => i.iter().map(|i| i.hi).max(),
            TensorState::Hinted(_) => None,
        };
        let exact = top.is_none_or(|hi| hi >= 1 << bits);
        let n = self.program.tensors()[q.index()].len();
        self.room_for_questions(n, self.range_rows(bits) + self.range_rows(shift))?;
        self.room(n.saturating_mul(2))?;
        let mut views = Vec::with_capacity(n);
        for i in 0..n {
            let value = self.home(HomeFill::Tensor(q, i as u32));
            self.range_cell(step, value, q, i as u32, 0, bits, exact);
            let rest = self.home(HomeFill::Remainder {
                x,
                q,
                index: i as u32,
                split: shift,
            });
            let terms = [
                (Fr::ONE, self.views[x.index()][i]),
                (-pow2(shift), View::cell(value)),
            ];
            self.sum_into(step, &terms, Fr::ZERO, rest, Scale::ONE);
            self.remainder_rows(step, rest, x, q, i as u32, shift);
            views.push(View::cell(value));
        }
        self.views.push(views);
        Ok(())
    }

    /// `0 ≤ rest < 2^shift` of the cell that holds element `index` of x less q·2^shift.
    fn remainder_rows(
        &mut self,
        step: usize,
        rest: u32,
        x: TensorId,
        q: TensorId,
        index: u32,
        shift: u32,
    ) {
        let w = self.plan.limb_bits;
        let at = step as u32;
        let block = Block::Range(shift, true);
        *self.blocks.entry(block).or_default() += 1;
        let kind = block.decomposition(w);
        let n = shift.div_ceil(w);
        let limb = |j: u32, scale: u32| KeyFill::Limb {
            x,
            q: Some(q),
            index,
            offset: 0,
            split: shift,
            at: w * j,
            bits: w.min(shift - w * j),
            scale,
        };
        let first = self.row(limb(0, 0), Some(rest), 0, at);
        for j in 1..n {
            self.row(limb(j, 0), None, 0, at);
        }
        if let Some((_, _, scale)) = kind.check {
            self.row(limb(n - 1, scale), None, 0, at);
        }
        let kind = self.kind(kind);
        self.rows[first as usize].kind = Some(kind);
    }

    /// `x = key·2^shift + ρ`, ρ ranged, `(key, value)` a row of `table`. Without a quotient tensor the key is x itself.
    #[allow(clippy::too_many_arguments, reason = "one block, said in full")]
    fn split_block(
        &mut self,
        step: usize,
        x: TensorId,
        q: Option<TensorId>,
        shift: u32,
        i: usize,
        value: u32,
        table: u32,
    ) {
        let w = self.plan.limb_bits;
        let at = step as u32;
        let cell = self.exact(step, x, i);
        let block = Block::Split(shift);
        *self.blocks.entry(block).or_default() += 1;
        let kind = block.decomposition(w);
        let rows = kind.rows();
        let check = kind.check;
        let kind = self.kind(kind);
        let index = i as u32;
        let n = shift.div_ceil(w);
        let limb = |j: u32, scale: u32| KeyFill::Limb {
            x,
            q,
            index,
            offset: 0,
            split: shift,
            at: w * j,
            bits: w.min(shift - w * j),
            scale,
        };
        let first = if n == 0 { KeyFill::Zero } else { limb(0, 0) };
        let first = self.row(first, Some(cell), 0, at);
        self.rows[first as usize].kind = Some(kind);
        let key = KeyFill::Element(q.unwrap_or(x), index, 0);
        self.row(key, Some(value), table, at);
        for j in 1..n {
            self.row(limb(j, 0), None, 0, at);
        }
        if let Some((_, _, scale)) = check {
            self.row(limb(n - 1, scale), None, 0, at);
        }
        debug_assert_eq!(self.rows.len() as u32, first + rows);
    }

    fn lookup(
        &mut self,
        step: usize,
        table: TableId,
        key: TensorId,
        y: TensorId,
    ) -> Result<(), LowerError> {
        let (x, q, shift) = match self.splits.remove(&key) {
            Some((x, shift)) => (x, Some(key), shift),
            None if self.views[key.index()].is_empty() => {
                return Err(self.unsupported(step, "a quotient is bound once"));
            }
            None => (key, None, 0),
        };
        let keys = self.program.tables()[table.0 as usize].keys;
        self.capacity(step, 64 - keys.max_abs().leading_zeros() + shift + 2)?;
        let table = self.table(TableKind::Program(table));
        let n = self.program.tensors()[y.index()].len();
        self.room_for_questions(n, self.range_rows(shift) + 1)?;
        let (homes, _) = self.define(y);
        for (i, home) in homes.into_iter().enumerate() {
            self.split_block(step, x, q, shift, i, home, table);
        }
        Ok(())
    }

    /// `y = a·b` with `a = ca·A + ka`, `b = cb·B + kb`, in the scale of y's home.
    fn mul(&mut self, step: usize, a: TensorId, b: TensorId, y: TensorId) {
        let (homes, scales) = self.define(y);
        let at = step as u32;
        for (i, (home, scale)) in homes.iter().zip(&scales).enumerate() {
            let (a, b) = (self.views[a.index()][i], self.views[b.index()][i]);
            let (Some(cell_a), Some(cell_b)) = (a.home, b.home) else {
                // one factor is a constant: a linear relation
                let (constant, view) = if a.home.is_none() { (a, b) } else { (b, a) };
                let terms = [(constant.constant, view)];
                self.sum_into(step, &terms, Fr::ZERO, *home, *scale);
                continue;
            };
            let f = scale.factor;
            let pair = [Operand::Home(cell_a), Operand::Home(cell_b)];
            let constant = f * a.constant * b.constant + scale.offset;
            let product = f * a.coefficient * b.coefficient;
            self.tape
                .product(at, Mode::Start, product, pair, &[constant]);
            for (c, cell) in [
                (a.coefficient * b.constant, cell_a),
                (b.coefficient * a.constant, cell_b),
            ] {
                if c != Fr::ZERO {
                    let b = Operand::Home(cell);
                    self.tape.term(at, Mode::Keep, f * c, b, Fr::ZERO);
                }
            }
            self.tape.tie(self.tape.last(), Target::Home(*home));
        }
    }

    /// `y = no + condition·(yes − no)`, in the scale of y's home.
    fn select(&mut self, step: usize, [condition, yes, no]: [TensorId; 3], y: TensorId) {
        let (homes, scales) = self.define(y);
        let at = step as u32;
        for (i, (home, scale)) in homes.iter().zip(&scales).enumerate() {
            let view = |x: TensorId| self.views[x.index()][i];
            let (condition, yes, no) = (view(condition), view(yes), view(no));
            let f = scale.factor;
            // the first row brings the offset along
            let start = no.plus(scale.offset * scale.inverse());
            self.add_view(at, Mode::Start, f, start);
            self.add_product(at, f, condition, yes);
            self.add_product(at, -f, condition, no);
            self.tape.tie(self.tape.last(), Target::Home(*home));
        }
    }

    /// Adds `f·a·b` to the running sum.
    fn add_product(&mut self, step: u32, f: Fr, a: View, b: View) {
        let (Some(cell_a), Some(cell_b)) = (a.home, b.home) else {
            // one factor is a constant: a linear relation
            let (constant, view) = if a.home.is_none() { (a, b) } else { (b, a) };
            self.add_view(step, Mode::Keep, f * constant.constant, view);
            return;
        };
        let pair = [Operand::Home(cell_a), Operand::Home(cell_b)];
        let product = f * a.coefficient * b.coefficient;
        let constant = f * a.constant * b.constant;
        self.tape
            .product(step, Mode::Keep, product, pair, &[constant]);
        for (c, cell) in [
            (a.coefficient * b.constant, cell_a),
            (b.coefficient * a.constant, cell_b),
        ] {
            if c != Fr::ZERO {
                self.tape
                    .term(step, Mode::Keep, f * c, Operand::Home(cell), Fr::ZERO);
            }
        }
    }

    /// `Π (x − of_j) = 0`. Differences that the program also computes get their cells here, and are multiplied as they are.
    fn member(
        &mut self,
        step: usize,
        x: TensorId,
        of: &[TensorId],
        bound: Option<TensorId>,
    ) -> Result<(), LowerError> {
        let n = self.views[x.index()].len();
        self.room(n.saturating_mul(of.len()).saturating_mul(4))?;
        let mut differences = vec![];
        for candidate in of {
            let later = bound.and_then(|bound| self.difference(bound, *candidate));
            differences.push(match later {
                Some(y) => self.combine(step, y, &[(1, x), (-1, *candidate)], 0)?,
                None => self.differences(step, x, *candidate),
            });
        }
        let Some((first, rest)) = differences.split_first() else {
            return Ok(());
        };
        for i in 0..n {
            let mut product = first[i];
            for factor in rest {
                let pair = [product, factor[i]];
                let row = self
                    .tape
                    .product(step as u32, Mode::Start, Fr::ONE, pair, &[]);
                product = Operand::Result(row);
            }
            let row = match product {
                Operand::Result(row) => row,
                single => self
                    .tape
                    .term(step as u32, Mode::Start, Fr::ONE, single, Fr::ZERO),
            };
            self.tape.tie(row, Target::Zero);
        }
        Ok(())
    }

    /// The tensor that a later instruction makes of `x − y` and nothing else.
    fn difference(&self, x: TensorId, y: TensorId) -> Option<TensorId> {
        let made = self.differences_of.get(&(x, y)).copied();
        made.filter(|z| z.index() >= self.views.len() && !self.early.contains_key(z))
    }

    /// `x − y` on the tape only.
    fn differences(&mut self, step: usize, x: TensorId, y: TensorId) -> Vec<Operand> {
        let at = step as u32;
        let pairs: Vec<(View, View)> = self.views[x.index()]
            .iter()
            .copied()
            .zip(self.views[y.index()].iter().copied())
            .collect();
        let rows = pairs.into_iter().map(|(x, y)| {
            self.add_view(at, Mode::Start, Fr::ONE, x);
            Operand::Result(self.add_view(at, Mode::Keep, -Fr::ONE, y))
        });
        rows.collect()
    }

    /// Element-wise sum of tensors of which at most one has a cell at each element: it needs no cells of its own.
    fn disjoint(&self, terms: &[(i64, TensorId)], constant: i64) -> Option<Vec<View>> {
        let len = self.views[terms.first()?.1.index()].len();
        let sum = |i: usize| {
            let mut sum = View {
                home: None,
                coefficient: Fr::ONE,
                constant: fr(constant),
            };
            for (c, x) in terms {
                let term = self.views[x.index()][i].scaled(fr(*c));
                sum = match (sum.home, term.home) {
                    (_, None) => sum.plus(term.constant),
                    (None, Some(_)) => term.plus(sum.constant),
                    (Some(_), Some(_)) => return None,
                };
            }
            Some(sum)
        };
        (0..len).map(sum).collect()
    }

    /// Element-wise sum of several tensors, in cells of its own.
    fn combine(
        &mut self,
        step: usize,
        y: TensorId,
        terms: &[(i64, TensorId)],
        constant: i64,
    ) -> Result<Vec<Operand>, LowerError> {
        let (homes, scales, views) = self.cells_for(y);
        self.room(homes.len().saturating_mul(terms.len()))?;
        for (i, (home, scale)) in homes.iter().zip(&scales).enumerate() {
            let terms: Vec<(Fr, View)> = terms
                .iter()
                .map(|(c, x)| (fr(*c), self.views[x.index()][i]))
                .collect();
            self.sum_into(step, &terms, fr(constant), *home, *scale);
        }
        // in another scale the cell is a multiple of the element: as good a factor of a product that must be zero, but the offset matters
        let plain = scales.iter().all(|s| s.offset == Fr::ZERO);
        let operands = homes.iter().map(|home| Operand::Home(*home)).collect();
        self.early.insert(y, views);
        if plain {
            return Ok(operands);
        }
        let [(_, a), (_, b)] = terms else {
            return Ok(operands);
        };
        Ok(self.differences(step, *a, *b))
    }

    /// Ties every word but the context to the public tensors it packs, or to the digest it is.
    fn words(&mut self) -> Result<(), LowerError> {
        let words = interface::words(self.program)?;
        self.room(words.iter().map(Vec::len).sum())?;
        let statement = super::tape::NO_STEP as usize;
        for (k, word) in words.iter().enumerate() {
            let view = |e: &Packed| self.views[e.tensor.index()][e.index].plus(-fr(e.min));
            let terms: Vec<(Fr, View)> = word
                .iter()
                .map(|e| (pow2(e.exponent) * fr(e.scale), view(e)))
                .collect();
            // home k + 1 holds word k + 1: `run` made them first
            self.sum_into(statement, &terms, Fr::ZERO, k as u32 + 1, Scale::ONE);
        }
        for (k, hashed) in interface::hashed(self.program).iter().enumerate() {
            self.hash_into(hashed, (1 + words.len() + k) as u32)?;
        }
        Ok(())
    }

    /// Gives the cells that no lookup placed a row whose home column is free.
    fn place_the_rest(&mut self) {
        let mut free = 0;
        for cell in 0..self.homes.len() {
            if self.homes[cell].row.is_some() {
                continue;
            }
            while self
                .rows
                .get(free)
                .is_some_and(|r| r.home.is_some() || r.table != 0)
            {
                free += 1;
            }
            if free == self.rows.len() {
                self.row(KeyFill::Zero, None, 0, super::tape::NO_STEP);
            }
            self.rows[free].home = Some(cell as u32);
            self.homes[cell].row = Some(free as u32);
        }
    }
}

/// A tensor that only element-wise scalings read, one after the other, before a split: its cells show what the split reads.
fn hosts(program: &Program) -> HashMap<TensorId, Host> {
    let mut readers: Vec<Vec<usize>> = vec![vec![]; program.tensors().len()];
    for (index, step) in program.steps().iter().enumerate() {
        for x in step.instr.operands() {
            readers[x.index()].push(index);
        }
    }
    for id in program.outputs() {
        readers[id.index()].push(usize::MAX);
    }
    let mut hosts = HashMap::new();
    // only sums and products have cells whose form is free: a table row binds its value as it is
    let sums = program.steps().iter().filter(|step| is_sum(&step.instr));
    for x in sums.filter_map(|step| step.y) {
        let mut host = Host {
            shown: x,
            scalings: vec![],
        };
        let mut read = false;
        while let [reader] = readers[host.shown.index()][..] {
            let Some(step) = program.steps().get(reader) else {
                break;
            };
            if matches!(step.instr, Instr::Split { .. }) {
                read = true;
                break;
            }
            let Some(y) = step.y.filter(|_| is_scaling(&step.instr)) else {
                break;
            };
            host.scalings.push(reader);
            host.shown = y;
        }
        if read && !host.scalings.is_empty() {
            hosts.insert(x, host);
        }
    }
    hosts
}

/// `z = x − y` for every instruction that makes one.
fn differences(program: &Program) -> HashMap<(TensorId, TensorId), TensorId> {
    let mut all = HashMap::new();
    for step in program.steps() {
        let (Instr::Combine { terms, constant: 0 }, Some(z)) = (&step.instr, step.y) else {
            continue;
        };
        if let [(1, x), (-1, y)] = terms[..] {
            all.entry((x, y)).or_insert(z);
        }
    }
    all
}

/// Instructions that put a sum or a product into cells of its own.
fn is_sum(instr: &Instr) -> bool {
    match instr {
        Instr::Linear { map, .. } => {
            matches!(**map, LinearMap::Dense { .. } | LinearMap::Conv { .. })
        }
        Instr::Combine { terms, .. } => terms.len() > 1,
        Instr::Mul { .. } | Instr::Select { .. } | Instr::Contract { .. } => true,
        _ => false,
    }
}

/// Element-wise `c·x + constant` without a zero coefficient.
fn is_scaling(instr: &Instr) -> bool {
    match instr {
        Instr::Linear { map, .. } => {
            matches!(&**map, LinearMap::Scale { factors } if !factors.contains(&0))
        }
        Instr::Combine { terms, .. } => matches!(terms[..], [(c, _)] if c != 0),
        _ => false,
    }
}

impl Host {
    /// How the shown value follows from element `i`.
    fn scale(&self, program: &Program, i: usize) -> Scale {
        let mut scale = Scale::ONE;
        for step in &self.scalings {
            let (factor, offset) = match &program.steps()[*step].instr {
                Instr::Linear { map, bias, .. } => {
                    // `hosts` lists scalings only
                    let LinearMap::Scale { factors } = &**map else {
                        continue;
                    };
                    let factor = factors[if factors.len() == 1 { 0 } else { i }];
                    (factor, bias_at(bias, i))
                }
                Instr::Combine { terms, constant } => (terms[0].0, *constant),
                // `hosts` lists scalings only
                _ => continue,
            };
            scale.factor *= fr(factor);
            scale.offset = scale.offset * fr(factor) + fr(offset);
        }
        scale
    }
}
