//! The one way to make a program: every step computes and checks the proved intervals of its result.

mod contract;
mod replay;

use super::program::{TensorDecl, TensorState};
use super::{
    BuildError, HintKind, Hinted, Instr, LinearMap, Program, Step, Table, TableFunction, TableId,
    TensorId, Unbound, WireTensor, bias_at,
};
use crate::tensor::{Interval, IntervalError};
use std::collections::HashMap;
use std::sync::Arc;
use zkinfer_verifier::{StatementLayout, TensorSpec};

/// Limits on what a program may hold: sizes are bounded before anything is allocated.
pub(super) const MAX_STEPS: usize = 1 << 16;
const MAX_TENSOR_LEN: usize = 1 << 26;
pub(super) const MAX_ELEMENTS: usize = 1 << 25;
const MAX_TABLE_ROWS: u64 = 1 << 22;
pub(super) const MAX_LINEAR_TERMS: u64 = 1 << 34;

/// Builds a [`Program`] step by step; fails rather than build one whose values could wrap.
#[derive(Debug, Default)]
pub struct Builder {
    nodes: Vec<String>,
    steps: Vec<Step>,
    tensors: Vec<TensorDecl>,
    tables: Vec<Table>,
    inputs: Vec<(TensorId, TensorSpec)>,
    outputs: Vec<(TensorId, TensorSpec)>,
    /// Elements of all tensors so far.
    elements: usize,
    /// Terms of all linear rows and contractions so far.
    linear_terms: u64,
}

impl Builder {
    /// An empty program.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the ONNX node that the following steps serve; errors and violations carry it.
    pub fn node(&mut self, name: &str) {
        self.nodes.push(name.to_owned());
    }

    pub(super) fn n_nodes(&self) -> usize {
        self.nodes.len()
    }

    fn node_name(&self) -> String {
        self.nodes.last().cloned().unwrap_or_default()
    }

    /// Declares the next input tensor; every element is ranged to its type.
    ///
    /// # Errors
    /// When the specification is not an input, is empty or too large.
    pub fn input(&mut self, spec: TensorSpec) -> Result<WireTensor, BuildError> {
        let len = spec
            .shape
            .iter()
            .try_fold(1usize, |n, &d| n.checked_mul(d as usize));
        let len = len.filter(|&n| n > 0 && n <= MAX_TENSOR_LEN);
        let Some(len) = len else {
            return Err(BuildError::Interface {
                reason: "an input is empty or too large",
            });
        };
        if spec.role != zkinfer_verifier::Role::Input {
            return Err(BuildError::Interface {
                reason: "an input is not declared as one",
            });
        }
        self.room_for(len)?;
        let interval = Interval {
            lo: spec.dtype.min(),
            hi: spec.dtype.max(),
        };
        let io = self.inputs.len() as u32;
        let id = self.push(
            Instr::Input { io },
            TensorState::Proved(vec![interval; len].into()),
        )?;
        self.inputs.push((id, spec));
        Ok(self.wire(id))
    }

    /// Declares the next output tensor.
    ///
    /// # Errors
    /// When the proved interval leaves the declared type, or the length differs from the shape.
    pub fn output(&mut self, x: &WireTensor, spec: TensorSpec) -> Result<(), BuildError> {
        let len = spec
            .shape
            .iter()
            .try_fold(1usize, |n, &d| n.checked_mul(d as usize));
        if len != Some(x.len()) || spec.role != zkinfer_verifier::Role::Output {
            return Err(BuildError::Interface {
                reason: "an output differs from its declaration",
            });
        }
        if x.intervals
            .iter()
            .any(|i| i.lo < spec.dtype.min() || i.hi > spec.dtype.max())
        {
            return Err(BuildError::Interface {
                reason: "an output can leave its declared type",
            });
        }
        self.outputs.push((x.id, spec));
        Ok(())
    }

    /// `y = W·x + bias`; `bias` is empty, one value for all outputs, or one value per output.
    ///
    /// # Errors
    /// When shapes disagree or an output could leave ±2^62.
    pub fn linear(
        &mut self,
        map: LinearMap,
        x: &WireTensor,
        bias: Vec<i64>,
    ) -> Result<WireTensor, BuildError> {
        let node = self.node_name();
        let n = map.output_len(x.len(), &node)?;
        if n > MAX_TENSOR_LEN {
            return Err(BuildError::TooLarge {
                what: "elements in a tensor",
                max: MAX_TENSOR_LEN,
            });
        }
        if !(bias.len() <= 1 || bias.len() == n) {
            return Err(BuildError::Length {
                node,
                step: "linear",
                expected: n,
                got: bias.len(),
            });
        }
        self.count_terms((n as u64).saturating_mul(map.row_terms()))?;
        self.room_for(n)?;
        let mut intervals = Vec::with_capacity(n);
        for out in 0..n {
            let b = i128::from(bias_at(&bias, out));
            let mut ends = Some((b, b));
            map.row(out, |i, c| {
                let (p, q) = (
                    i128::from(x.intervals[i].lo) * i128::from(c),
                    i128::from(x.intervals[i].hi) * i128::from(c),
                );
                ends = ends.and_then(|(lo, hi)| {
                    Some((lo.checked_add(p.min(q))?, hi.checked_add(p.max(q))?))
                });
            });
            // a sum beyond 2^127 is beyond ±2^62 too
            let (lo, hi) = ends.unwrap_or((i128::MIN, i128::MAX));
            intervals.push(Interval::new(lo, hi).map_err(|e| self.interval("linear", out, e))?);
        }
        let id = self.push(
            Instr::Linear {
                map: Arc::new(map),
                x: x.id,
                bias: Arc::new(bias),
            },
            TensorState::Proved(intervals.into()),
        )?;
        Ok(self.wire(id))
    }

    /// `y = Σ c·x + constant`, element-wise.
    ///
    /// # Errors
    /// When lengths differ, there is no term, or an element could leave ±2^62.
    pub fn combine(
        &mut self,
        terms: &[(i64, &WireTensor)],
        constant: i64,
    ) -> Result<WireTensor, BuildError> {
        let Some(n) = terms.first().map(|t| t.1.len()) else {
            return Err(BuildError::Map {
                node: self.node_name(),
                reason: "no term",
            });
        };
        self.same_len("combine", n, terms.iter().map(|t| t.1))?;
        self.room_for(n)?;
        self.count_terms((n as u64).saturating_mul(terms.len() as u64))?;
        let mut intervals = Vec::with_capacity(n);
        for i in 0..n {
            let sum = terms
                .iter()
                .try_fold(Interval::point(constant), |sum, (c, x)| {
                    Ok(sum.and_then(|s| s.add(&x.intervals[i].scale(*c)?)))
                });
            let interval = sum
                .and_then(|s| s)
                .map_err(|e| self.interval("combine", i, e))?;
            intervals.push(interval);
        }
        let terms = terms.iter().map(|(c, x)| (*c, x.id)).collect();
        let id = self.push(
            Instr::Combine { terms, constant },
            TensorState::Proved(intervals.into()),
        )?;
        Ok(self.wire(id))
    }

    /// `y[i] = x[index[i]]`.
    ///
    /// # Errors
    /// When an index is out of range.
    pub fn gather(&mut self, x: &WireTensor, index: Vec<u32>) -> Result<WireTensor, BuildError> {
        self.linear(LinearMap::Gather { index }, x, vec![])
    }

    /// `y = a·b`, element-wise.
    ///
    /// # Errors
    /// When lengths differ or a product could leave ±2^62.
    pub fn mul(&mut self, a: &WireTensor, b: &WireTensor) -> Result<WireTensor, BuildError> {
        self.same_len("mul", a.len(), [b].into_iter())?;
        self.room_for(a.len())?;
        let mut intervals = Vec::with_capacity(a.len());
        for (i, (x, y)) in a.intervals.iter().zip(b.intervals.iter()).enumerate() {
            let product = match a.id == b.id {
                true => x.square(),
                false => x.mul(y),
            };
            intervals.push(product.map_err(|e| self.interval("mul", i, e))?);
        }
        let id = self.push(
            Instr::Mul { a: a.id, b: b.id },
            TensorState::Proved(intervals.into()),
        )?;
        Ok(self.wire(id))
    }

    /// `y = yes` where the condition is 1, `no` where it is 0, element-wise.
    ///
    /// # Errors
    /// When lengths differ, a condition is not proved to be 0 or 1, or a difference could leave ±2^62.
    pub fn select(
        &mut self,
        condition: &WireTensor,
        yes: &WireTensor,
        no: &WireTensor,
    ) -> Result<WireTensor, BuildError> {
        self.same_len("select", condition.len(), [yes, no].into_iter())?;
        self.room_for(condition.len())?;
        if condition.intervals.iter().any(|c| c.lo < 0 || c.hi > 1) {
            return Err(BuildError::Map {
                node: self.node_name(),
                reason: "a condition is not proved to be 0 or 1",
            });
        }
        let mut intervals = Vec::with_capacity(condition.len());
        for (i, (yes, no)) in yes.intervals.iter().zip(no.intervals.iter()).enumerate() {
            let difference = no.scale(-1).and_then(|no| yes.add(&no));
            difference.map_err(|e| self.interval("select", i, e))?;
            intervals.push(match condition.intervals[i] {
                Interval { hi: 0, .. } => *no,
                Interval { lo: 1, .. } => *yes,
                _ => yes.union(no),
            });
        }
        let instr = Instr::Select {
            condition: condition.id,
            yes: yes.id,
            no: no.id,
        };
        let id = self.push(instr, TensorState::Proved(intervals.into()))?;
        Ok(self.wire(id))
    }

    /// `x = q·2^shift + ρ` with `0 ≤ ρ < 2^shift`; returns q, which a lookup or a range must bind.
    ///
    /// # Errors
    /// When `shift` is not in 1..=48.
    pub fn split(&mut self, x: &WireTensor, shift: u32) -> Result<Unbound, BuildError> {
        if !(1..=48).contains(&shift) {
            return Err(BuildError::Parameter {
                node: self.node_name(),
                step: "split",
                what: "shift",
                got: shift.into(),
                min: 1,
                max: 48,
            });
        }
        self.room_for(x.len())?;
        let expected: Arc<[Interval]> = x.intervals.iter().map(|i| i.shift_right(shift)).collect();
        let state = TensorState::Expected(expected.clone());
        let id = self.push(Instr::Split { x: x.id, shift }, state)?;
        Ok(Unbound { id, expected })
    }

    /// `y = f(key)` for a bound key.
    ///
    /// # Errors
    /// When the table would be too wide or the function is not well formed.
    pub fn lookup(
        &mut self,
        f: &TableFunction,
        key: &WireTensor,
    ) -> Result<WireTensor, BuildError> {
        self.lookup_key(f, key.id, &key.intervals.clone())
    }

    /// `y = f(key)` for the quotient of a split; the table binds it.
    ///
    /// # Errors
    /// As [`Builder::lookup`].
    pub fn lookup_unbound(
        &mut self,
        f: &TableFunction,
        key: Unbound,
    ) -> Result<WireTensor, BuildError> {
        self.lookup_key(f, key.id, &key.expected)
    }

    fn lookup_key(
        &mut self,
        f: &TableFunction,
        key: TensorId,
        keys: &[Interval],
    ) -> Result<WireTensor, BuildError> {
        let node = self.node_name();
        f.check().map_err(|reason| BuildError::Table {
            node: node.clone(),
            reason,
        })?;
        let Some(mut span) = keys.iter().copied().reduce(|a, b| a.union(&b)) else {
            return Err(BuildError::Table {
                node,
                reason: "no key",
            });
        };
        let known = self.tables.iter().position(|t| t.function == *f);
        if let Some(known) = known {
            span = span.union(&self.tables[known].keys);
        }
        if span.width() > TableFunction::MAX_ROWS {
            let Interval { lo, hi } = span;
            return Err(BuildError::TableTooWide {
                node,
                lo,
                hi,
                max: TableFunction::MAX_ROWS,
            });
        }
        let index = known.unwrap_or(self.tables.len());
        match self.tables.get_mut(index) {
            Some(table) => table.keys = span,
            None => self.tables.push(Table {
                function: f.clone(),
                keys: span,
            }),
        }
        if self.tables.iter().map(|t| t.keys.width()).sum::<u64>() > MAX_TABLE_ROWS {
            return Err(BuildError::TooLarge {
                what: "table rows",
                max: MAX_TABLE_ROWS as usize,
            });
        }
        self.room_for(keys.len())?;
        let intervals: Arc<[Interval]> = match &f.values {
            None => keys
                .iter()
                .map(|k| Interval {
                    lo: f.value(k.lo),
                    hi: f.value(k.hi),
                })
                .collect(),
            Some(values) => spans_of(f.lo, values, keys),
        };
        let table = TableId(index as u32);
        let id = self.push(Instr::Lookup { table, key }, TensorState::Proved(intervals))?;
        Ok(self.wire(id))
    }

    /// `0 ≤ x < 2^bits` of a bound x; returns x with the narrowed interval.
    ///
    /// # Errors
    /// When `bits` is not in 1..=48 or no value can pass.
    pub fn range(&mut self, x: &WireTensor, bits: u32) -> Result<WireTensor, BuildError> {
        self.range_within(x.id, &x.intervals.clone(), bits)
    }

    /// A range of what is known to lie, or to lie once it is a small integer, in `known`.
    fn range_within(
        &mut self,
        x: TensorId,
        known: &[Interval],
        bits: u32,
    ) -> Result<WireTensor, BuildError> {
        let top = self.range_top(bits)?;
        self.room_for(known.len())?;
        let mut intervals = Vec::with_capacity(known.len());
        for i in known {
            let narrowed = Interval::new(i.lo.max(0).into(), i.hi.min(top).into());
            intervals.push(narrowed.map_err(|_| BuildError::EmptyRange {
                node: self.node_name(),
                lo: i.lo,
                hi: i.hi,
                bits,
            })?);
        }
        let id = self.push(
            Instr::Range { x, bits },
            TensorState::Proved(intervals.into()),
        )?;
        Ok(self.wire(id))
    }

    /// Binds a hinted tensor: `0 ≤ x < 2^bits`, exactly.
    ///
    /// # Errors
    /// When `bits` is not in 1..=48.
    pub fn range_hinted(&mut self, x: Hinted, bits: u32) -> Result<WireTensor, BuildError> {
        self.range_id(x.id, x.len, bits)
    }

    /// Binds the quotient of a split: `0 ≤ x < 2^bits`, exactly. A quotient that is a small integer is the floor, so the part of
    /// its expected interval inside the range is proved.
    ///
    /// # Errors
    /// When `bits` is not in 1..=48 or no value can pass.
    pub fn range_unbound(&mut self, x: Unbound, bits: u32) -> Result<WireTensor, BuildError> {
        self.range_within(x.id, &x.expected, bits)
    }

    fn range_id(&mut self, x: TensorId, len: usize, bits: u32) -> Result<WireTensor, BuildError> {
        let top = self.range_top(bits)?;
        self.room_for(len)?;
        let state = TensorState::Proved(vec![Interval { lo: 0, hi: top }; len].into());
        let id = self.push(Instr::Range { x, bits }, state)?;
        Ok(self.wire(id))
    }

    fn range_top(&self, bits: u32) -> Result<i64, BuildError> {
        self.inside("range", "bits", bits.into(), 1, 48)?;
        Ok((1 << bits) - 1)
    }

    /// An operand of another length than a gadget needs.
    pub(crate) fn length(&self, step: &'static str, expected: usize, got: usize) -> BuildError {
        BuildError::Length {
            node: self.node_name(),
            step,
            expected,
            got,
        }
    }

    /// Refuses a parameter, or an end of a proved interval, outside `min..=max`.
    pub(crate) fn inside(
        &self,
        step: &'static str,
        what: &'static str,
        got: i64,
        min: i64,
        max: i64,
    ) -> Result<(), BuildError> {
        if (min..=max).contains(&got) {
            return Ok(());
        }
        Err(BuildError::Parameter {
            node: self.node_name(),
            step,
            what,
            got,
            min,
            max,
        })
    }

    /// `x = 0`, every element.
    ///
    /// # Errors
    /// When the program is too large.
    pub fn assert_zero(&mut self, x: &WireTensor) -> Result<(), BuildError> {
        self.push_step(Instr::AssertZero { x: x.id }, None)
    }

    /// The prover chooses a tensor as long as the inputs.
    ///
    /// # Errors
    /// When the inputs' lengths differ or there is none.
    pub fn hint(&mut self, kind: HintKind, inputs: &[&WireTensor]) -> Result<Hinted, BuildError> {
        let Some(len) = inputs.first().map(|x| x.len()) else {
            return Err(BuildError::Map {
                node: self.node_name(),
                reason: "hint without inputs",
            });
        };
        self.same_len("hint", len, inputs.iter().copied())?;
        self.room_for(len)?;
        self.count_terms((len as u64).saturating_mul(inputs.len() as u64))?;
        let inputs = inputs.iter().map(|x| x.id).collect();
        let id = self.push(Instr::Hint { kind, inputs }, TensorState::Hinted(len))?;
        Ok(Hinted { id, len })
    }

    /// Binds a hinted tensor to be, element by element, one of the candidates: `Π_i (x − of_i) = 0`.
    ///
    /// # Errors
    /// When there is no candidate or lengths differ.
    pub fn member(&mut self, x: Hinted, of: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        self.same_len("member", x.len, of.iter().copied())?;
        self.room_for(x.len)?;
        self.count_terms((x.len as u64).saturating_mul(of.len() as u64))?;
        let union = |i: usize| of.iter().map(|c| c.intervals[i]).reduce(|a, b| a.union(&b));
        let intervals: Option<Arc<[Interval]>> = (0..x.len).map(union).collect();
        let Some(intervals) = intervals else {
            return Err(BuildError::Map {
                node: self.node_name(),
                reason: "no candidate",
            });
        };
        let of = of.iter().map(|c| c.id).collect();
        let id = self.push(
            Instr::Member { x: x.id, of },
            TensorState::Proved(intervals),
        )?;
        Ok(self.wire(id))
    }

    /// Closes the program.
    ///
    /// # Errors
    /// When there is no input or output, or a hinted or unbound tensor was never bound.
    pub fn finish(self) -> Result<Program, BuildError> {
        if self.inputs.is_empty() || self.outputs.is_empty() {
            return Err(BuildError::Interface {
                reason: "no input or no output",
            });
        }
        let mut bound = vec![false; self.tensors.len()];
        for step in &self.steps {
            match &step.instr {
                Instr::Lookup { key: x, .. } | Instr::Range { x, .. } | Instr::Member { x, .. } => {
                    bound[x.index()] = true;
                }
                _ => {}
            }
        }
        for step in &self.steps {
            let Some(y) = step.y else { continue };
            let proved = matches!(self.tensors[y.index()].state, TensorState::Proved(_));
            if !proved && !bound[y.index()] {
                let node = self
                    .nodes
                    .get(step.node as usize)
                    .cloned()
                    .unwrap_or_default();
                return Err(BuildError::UnboundHint { node, tensor: y });
            }
        }
        let specs = self
            .inputs
            .iter()
            .chain(&self.outputs)
            .map(|(_, spec)| spec.clone());
        let layout = StatementLayout {
            tensors: specs.collect(),
        };
        layout.check().map_err(BuildError::Layout)?;
        Ok(Program {
            nodes: self.nodes,
            steps: self.steps,
            tensors: self.tensors,
            tables: self.tables,
            inputs: self.inputs.into_iter().map(|(id, _)| id).collect(),
            outputs: self.outputs.into_iter().map(|(id, _)| id).collect(),
            layout,
            batch: 1,
        })
    }

    fn wire(&self, id: TensorId) -> WireTensor {
        let intervals = match &self.tensors[id.index()].state {
            TensorState::Proved(intervals) => intervals.clone(),
            // `wire` is called only with tensors that were pushed as proved
            TensorState::Hinted(_) | TensorState::Expected(_) => Arc::default(),
        };
        WireTensor { id, intervals }
    }

    /// Whether another tensor of `len` elements stays inside the budget; asked before its intervals are allocated.
    fn room_for(&self, len: usize) -> Result<(), BuildError> {
        match self.elements.checked_add(len) {
            Some(total) if total <= MAX_ELEMENTS => Ok(()),
            _ => Err(BuildError::TooLarge {
                what: "tensor elements",
                max: MAX_ELEMENTS,
            }),
        }
    }

    /// Takes `terms` multiply-accumulates off the budget; asked before they are done.
    fn count_terms(&mut self, terms: u64) -> Result<(), BuildError> {
        self.linear_terms = self.linear_terms.saturating_add(terms);
        if self.linear_terms > MAX_LINEAR_TERMS {
            return Err(BuildError::TooLarge {
                what: "multiply-accumulates",
                max: MAX_LINEAR_TERMS as usize,
            });
        }
        Ok(())
    }

    fn push(&mut self, instr: Instr, state: TensorState) -> Result<TensorId, BuildError> {
        let id = TensorId(self.tensors.len() as u32);
        self.push_step(instr, Some(id))?;
        let decl = TensorDecl { state };
        self.elements = self.elements.saturating_add(decl.len());
        self.tensors.push(decl);
        Ok(id)
    }

    fn push_step(&mut self, instr: Instr, y: Option<TensorId>) -> Result<(), BuildError> {
        if self.steps.len() >= MAX_STEPS {
            return Err(BuildError::TooLarge {
                what: "instructions",
                max: MAX_STEPS,
            });
        }
        if self.nodes.is_empty() {
            self.nodes.push("model".to_owned());
        }
        let node = (self.nodes.len() - 1) as u32;
        self.steps.push(Step { node, instr, y });
        Ok(())
    }

    fn same_len<'a>(
        &self,
        step: &'static str,
        expected: usize,
        mut xs: impl Iterator<Item = &'a WireTensor>,
    ) -> Result<(), BuildError> {
        match xs.find(|x| x.len() != expected) {
            None => Ok(()),
            Some(x) => {
                let node = self.node_name();
                Err(BuildError::Length {
                    node,
                    step,
                    expected,
                    got: x.len(),
                })
            }
        }
    }

    fn interval(&self, step: &'static str, index: usize, source: IntervalError) -> BuildError {
        BuildError::Interval {
            node: self.node_name(),
            step,
            index,
            source,
        }
    }

    /// Handle of a bound tensor of the program so far.
    pub(super) fn bound(&self, id: TensorId) -> Option<WireTensor> {
        let decl = self.tensors.get(id.index())?;
        matches!(decl.state, TensorState::Proved(_)).then(|| self.wire(id))
    }
}

/// Keys of more different intervals than this share the span of the whole table.
const MAX_SPANS: usize = 64;

/// For every key interval, the span of the values that its keys have. A key is what its interval says also where it is the quotient of a
/// split: the whole part of a value of a proved interval.
fn spans_of(first: i64, values: &[i64], keys: &[Interval]) -> Arc<[Interval]> {
    let last = values.len().saturating_sub(1);
    let row = |key: i64| (key.saturating_sub(first)).clamp(0, last as i64) as usize;
    let span = |rows: &[i64]| {
        // `check` refused empty values
        let lo = rows.iter().copied().min().unwrap_or(0);
        let hi = rows.iter().copied().max().unwrap_or(0);
        Interval { lo, hi }
    };
    let mut known: HashMap<Interval, Interval> = HashMap::new();
    for key in keys {
        if known.len() > MAX_SPANS {
            return vec![span(values); keys.len()].into();
        }
        let rows = row(key.lo)..=row(key.hi);
        known.entry(*key).or_insert_with(|| span(&values[rows]));
    }
    keys.iter().map(|key| known[key]).collect()
}
