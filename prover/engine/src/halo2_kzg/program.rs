//! # Constraints as straight-line passes over rows
//!
//! A [`Program`] computes c_0·y^(m−1) + … + c_(m−1), the folded constraints, at every point of a coset. It is compiled once for each
//! circuit: gates and permutation argument become one [`Graph`], uniform nodes a list evaluated once for each coset, and the rest
//! *passes*. A pass takes consecutive constraints that read few columns together, so only the columns of one pass, and those that a later one
//! needs again, are in memory. Within a pass an instruction works on a block of rows at a time, in registers that stay in the
//! first-level cache; nothing is allocated for a row.

use std::collections::{BTreeSet, HashMap, HashSet};

use ark_bn254::Fr;
use ark_ff::Field;
use zkinfer_gpu::{Device, DeviceError, FrVec, Lines, Op, Step};
use zkinfer_verifier::halo2_kzg::{Op as GateOp, Protocol};

use super::graph::{Given, Graph, Id, Node, Source};
use super::library::{LibraryFr, from_library};
use super::rows::Rows;

/// Columns of a pass, unless a single constraint reads more.
const PASS_COLUMNS: usize = 16;

/// What uniform nodes need of a proof.
#[derive(Debug)]
pub(super) struct Values<'a> {
    pub(super) challenges: &'a [Fr],
    pub(super) beta: Fr,
    pub(super) gamma: Fr,
    pub(super) y: Fr,
    pub(super) shift: Fr,
}

/// A compiled constraint system.
#[derive(Debug)]
pub(super) struct Program {
    uniform: Vec<Uniform>,
    y: u16,
    passes: Vec<Pass>,
}

/// A step of the uniform part; the result of step i has number i.
#[derive(Clone, Copy, Debug)]
enum Uniform {
    Constant(Fr),
    Given(Given),
    Neg(u16),
    Add(u16, u16),
    Sub(u16, u16),
    Mul(u16, u16),
}

/// Consecutive constraints.
#[derive(Debug)]
pub(super) struct Pass {
    sources: Vec<Source>,
    last_used: Vec<Source>,
    lines: Lines,
}

impl Pass {
    /// What the pass reads.
    pub(super) fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// What no later pass reads.
    pub(super) fn last_used(&self) -> &[Source] {
        &self.last_used
    }
}

/// The description breaks a rule that [`Protocol::check`] enforces.
#[derive(Debug)]
pub(super) struct Malformed;

impl Program {
    /// Compiles the constraints of `protocol`.
    pub(super) fn compile(protocol: &Protocol, rows: &Rows) -> Result<Self, Malformed> {
        let mut graph = Graph::default();
        let mut constraints = gates(&mut graph, protocol)?;
        constraints.extend(permutation(&mut graph, protocol)?);
        let y = graph.given(Given::Y);
        let mut numbers = UniformNumbers::default();
        let y = numbers.number(&graph, y)?;
        let groups = group(&graph, &constraints);
        let mut passes = Vec::with_capacity(groups.len());
        for group in groups {
            passes.push(PassBuilder::new(&graph, &mut numbers, rows).build(&group)?);
        }
        let mut seen = HashSet::new();
        for pass in passes.iter_mut().rev() {
            let sources = pass.sources.iter().copied();
            pass.last_used = sources.filter(|source| seen.insert(*source)).collect();
        }
        Ok(Self {
            uniform: numbers.steps,
            y,
            passes,
        })
    }

    /// Lets the device prepare for the passes.
    pub(super) fn prepare(&self, device: &dyn Device) -> Result<(), DeviceError> {
        for pass in &self.passes {
            device.compile_lines(&pass.lines)?;
        }
        Ok(())
    }

    pub(super) fn passes(&self) -> &[Pass] {
        &self.passes
    }

    /// The uniform values of one coset.
    pub(super) fn uniform(&self, given: &Values<'_>) -> Vec<Fr> {
        let mut values: Vec<Fr> = Vec::with_capacity(self.uniform.len());
        for step in &self.uniform {
            let value = |i: u16| values[usize::from(i)];
            let value = match *step {
                Uniform::Constant(value) => value,
                Uniform::Given(Given::Challenge(i)) => given.challenges[usize::from(i)],
                Uniform::Given(Given::Beta) => given.beta,
                Uniform::Given(Given::Gamma) => given.gamma,
                Uniform::Given(Given::Y) => given.y,
                Uniform::Given(Given::Shift) => given.shift,
                Uniform::Neg(a) => -value(a),
                Uniform::Add(a, b) => value(a) + value(b),
                Uniform::Sub(a, b) => value(a) - value(b),
                Uniform::Mul(a, b) => value(a) * value(b),
            };
            values.push(value);
        }
        values
    }

    /// Folds the constraints of a pass into `sum`. `columns` are the values of its sources, in their order.
    pub(super) fn run(
        &self,
        device: &dyn Device,
        pass: &Pass,
        columns: &[&FrVec],
        uniform: &[Fr],
        sum: &mut FrVec,
    ) -> Result<(), DeviceError> {
        let y = uniform[usize::from(self.y)];
        device.run_lines(sum, &pass.lines, columns, uniform, y)
    }
}

/// The constraints of the gates.
fn gates(graph: &mut Graph, p: &Protocol) -> Result<Vec<Id>, Malformed> {
    let mut constraints = Vec::new();
    let mut stack: Vec<Id> = Vec::new();
    for op in &p.gates {
        let mut pop = || stack.pop().ok_or(Malformed);
        let id = match op {
            GateOp::Const(value) => graph.constant(*value),
            GateOp::Fixed(i) => {
                let query = p.fixed_queries.get(usize::from(*i)).ok_or(Malformed)?;
                graph.cell(Source::Fixed(query.column), query.rotation)
            }
            GateOp::Advice(i) => {
                let query = p.advice_queries.get(usize::from(*i)).ok_or(Malformed)?;
                graph.cell(Source::Advice(query.column), query.rotation)
            }
            GateOp::Instance => graph.cell(Source::Instance, 0),
            GateOp::Challenge(i) => graph.given(Given::Challenge(*i)),
            GateOp::Neg => {
                let a = pop()?;
                graph.neg(a)
            }
            GateOp::Add => {
                let (b, a) = (pop()?, pop()?);
                graph.add(a, b)
            }
            GateOp::Mul => {
                let (b, a) = (pop()?, pop()?);
                graph.mul(a, b)
            }
            GateOp::Scale(factor) => {
                let a = pop()?;
                let factor = graph.constant(*factor);
                graph.mul(factor, a)
            }
            GateOp::End => {
                constraints.push(pop()?);
                continue;
            }
        };
        stack.push(id);
    }
    Ok(constraints)
}

/// The constraints of the permutation argument, as the verifier folds them (`zkinfer_verifier::halo2_kzg::verify`).
fn permutation(graph: &mut Graph, p: &Protocol) -> Result<Vec<Id>, Malformed> {
    let n_products = p.n_products();
    let Some(last_product) = n_products.checked_sub(1) else {
        return Ok(Vec::new());
    };
    let index = |i: usize| u16::try_from(i).map_err(|_| Malformed);
    let one = graph.constant(Fr::ONE);
    let first = graph.cell(Source::First, 0);
    // l_i(X) = l_0(X·ω^−i): the last row of the products is −(blinding_factors + 1), the blinding rows follow.
    let mut active = one;
    for rotation in 1..=-p.last_rotation() {
        let row = graph.cell(Source::First, rotation);
        active = graph.sub(active, row);
    }
    let last = graph.cell(Source::First, -p.last_rotation());

    let start = graph.cell(Source::Product(0), 0);
    let start = graph.sub(one, start);
    let mut constraints = vec![graph.mul(first, start)];
    let end = graph.cell(Source::Product(index(last_product)?), 0);
    let square = graph.mul(end, end);
    let end = graph.sub(square, end);
    constraints.push(graph.mul(end, last));
    for i in 1..n_products {
        let here = graph.cell(Source::Product(index(i)?), 0);
        let before = graph.cell(Source::Product(index(i - 1)?), p.last_rotation());
        let step = graph.sub(here, before);
        constraints.push(graph.mul(step, first));
    }
    let delta = from_library(&<LibraryFr as halo2curves::ff::PrimeField>::DELTA);
    let [beta, gamma, shift] = [Given::Beta, Given::Gamma, Given::Shift].map(|g| graph.given(g));
    let point = graph.cell(Source::Point, 0);
    let mut coset = graph.mul(beta, shift);
    for i in 0..n_products {
        let mut left = graph.cell(Source::Product(index(i)?), 1);
        let mut right = graph.cell(Source::Product(index(i)?), 0);
        for j in p.chunk(i) {
            let column = p.permuted.get(j).copied().ok_or(Malformed)?;
            let value = graph.cell(column.into(), 0);
            let value = graph.add(value, gamma);
            let sigma = graph.cell(Source::Sigma(index(j)?), 0);
            let sigma = graph.mul(beta, sigma);
            let factor = graph.add(value, sigma);
            left = graph.mul(left, factor);
            let place = graph.mul(coset, point);
            let factor = graph.add(value, place);
            right = graph.mul(right, factor);
            let delta = graph.constant(delta);
            coset = graph.mul(coset, delta);
        }
        let step = graph.sub(left, right);
        constraints.push(graph.mul(step, active));
    }
    Ok(constraints)
}

/// What a constraint reads.
fn sources(graph: &Graph, constraint: Id) -> Vec<Source> {
    let mut found = Vec::new();
    for id in needed(graph, constraint, &HashSet::new()) {
        if let Node::Cell(source, _) = graph.node(id)
            && !found.contains(&source)
        {
            found.push(source);
        }
    }
    found
}

/// Consecutive constraints that read at most [`PASS_COLUMNS`] columns together.
fn group(graph: &Graph, constraints: &[Id]) -> Vec<Vec<Id>> {
    let mut groups: Vec<Vec<Id>> = Vec::new();
    let mut columns: Vec<Source> = Vec::new();
    for constraint in constraints {
        let mut own = sources(graph, *constraint);
        let mut both = columns.clone();
        both.extend(own.iter().filter(|s| !columns.contains(s)));
        match groups.last_mut() {
            Some(group) if both.len() <= PASS_COLUMNS => {
                group.push(*constraint);
                columns = both;
            }
            _ => {
                groups.push(vec![*constraint]);
                columns = std::mem::take(&mut own);
            }
        }
    }
    groups
}

/// The nodes that vary from row to row and that `root` needs, ascending, so operands first; not those in `done`, nor what is only below them.
fn needed(graph: &Graph, root: Id, done: &HashSet<Id>) -> BTreeSet<Id> {
    let mut found = BTreeSet::new();
    let mut open = vec![root];
    while let Some(id) = open.pop() {
        if !graph.is_uniform(id) && !done.contains(&id) && found.insert(id) {
            open.extend(graph.operands(id));
        }
    }
    found
}

/// Numbers of uniform nodes.
#[derive(Debug, Default)]
struct UniformNumbers {
    steps: Vec<Uniform>,
    numbers: HashMap<Id, u16>,
}

impl UniformNumbers {
    /// The number of a uniform node, whose operands get theirs first.
    fn number(&mut self, graph: &Graph, root: Id) -> Result<u16, Malformed> {
        let mut open = BTreeSet::from([root]);
        let mut all = BTreeSet::new();
        while let Some(id) = open.pop_last() {
            if !self.numbers.contains_key(&id) && all.insert(id) {
                open.extend(graph.operands(id));
            }
        }
        for id in all {
            let number = |id: Id| self.numbers.get(&id).copied().ok_or(Malformed);
            let step = match graph.node(id) {
                Node::Constant(value) => Uniform::Constant(value),
                Node::Given(given) => Uniform::Given(given),
                Node::Neg(a) => Uniform::Neg(number(a)?),
                Node::Add(a, b) => Uniform::Add(number(a)?, number(b)?),
                Node::Sub(a, b) => Uniform::Sub(number(a)?, number(b)?),
                Node::Mul(a, b) => Uniform::Mul(number(a)?, number(b)?),
                Node::Cell(..) => return Err(Malformed),
            };
            let new = u16::try_from(self.steps.len()).map_err(|_| Malformed)?;
            self.steps.push(step);
            self.numbers.insert(id, new);
        }
        self.numbers.get(&root).copied().ok_or(Malformed)
    }
}

/// Gives the nodes of a pass registers.
struct PassBuilder<'a> {
    graph: &'a Graph,
    numbers: &'a mut UniformNumbers,
    rows: &'a Rows,
    sources: Vec<Source>,
    steps: Vec<Step>,
    /// How often a node is still read.
    uses: HashMap<Id, usize>,
    registers: HashMap<Id, u16>,
    free: Vec<u16>,
    n_registers: u16,
}

impl<'a> PassBuilder<'a> {
    fn new(graph: &'a Graph, numbers: &'a mut UniformNumbers, rows: &'a Rows) -> Self {
        Self {
            graph,
            numbers,
            rows,
            sources: Vec::new(),
            steps: Vec::new(),
            uses: HashMap::new(),
            registers: HashMap::new(),
            free: Vec::new(),
            n_registers: 0,
        }
    }

    fn build(mut self, constraints: &[Id]) -> Result<Pass, Malformed> {
        let mut all = HashSet::new();
        for root in constraints {
            for id in needed(self.graph, *root, &all) {
                for operand in self.graph.operands(id) {
                    *self.uses.entry(operand).or_default() += 1;
                }
                all.insert(id);
            }
            *self.uses.entry(*root).or_default() += 1;
        }
        // A node that was computed keeps its register as long as something reads it, so what is missing here was never computed.
        let mut computed = HashSet::new();
        for root in constraints {
            if self.graph.is_uniform(*root) {
                let number = self.numbers.number(self.graph, *root)?;
                self.steps.push(Step::FoldUniform(number));
                continue;
            }
            for id in needed(self.graph, *root, &computed) {
                self.compute(id)?;
                computed.insert(id);
            }
            let register = self.register(*root)?;
            self.steps.push(Step::Fold(register));
            self.release(*root);
        }
        let (n_columns, n_uniform) = (self.sources.len(), self.numbers.steps.len());
        let lines = Lines::new(self.steps, self.n_registers.into(), n_columns, n_uniform);
        Ok(Pass {
            sources: self.sources,
            last_used: Vec::new(),
            lines: lines.map_err(|_| Malformed)?,
        })
    }

    fn compute(&mut self, id: Id) -> Result<(), Malformed> {
        let op = match self.graph.node(id) {
            Node::Constant(_) | Node::Given(_) => return Err(Malformed),
            Node::Cell(source, rotation) => Op::Load {
                column: self.column(source)?,
                offset: u32::try_from(self.rows.offset(rotation)).map_err(|_| Malformed)?,
            },
            Node::Neg(a) => Op::Neg(self.register(a)?),
            Node::Add(a, b) => match (self.graph.is_uniform(a), self.graph.is_uniform(b)) {
                (true, _) => Op::AddUniform(self.uniform(a)?, self.register(b)?),
                (_, true) => Op::AddUniform(self.uniform(b)?, self.register(a)?),
                _ => Op::Add(self.register(a)?, self.register(b)?),
            },
            Node::Sub(a, b) => match (self.graph.is_uniform(a), self.graph.is_uniform(b)) {
                (true, _) => Op::UniformSub(self.uniform(a)?, self.register(b)?),
                (_, true) => return Err(Malformed),
                _ => Op::Sub(self.register(a)?, self.register(b)?),
            },
            Node::Mul(a, b) => match self.graph.is_uniform(a) {
                true => Op::MulUniform(self.uniform(a)?, self.register(b)?),
                false => Op::Mul(self.register(a)?, self.register(b)?),
            },
        };
        // Before the operands are released: the target must not be one of them.
        let target = match self.free.pop() {
            Some(register) => register,
            None => {
                let register = self.n_registers;
                self.n_registers = register.checked_add(1).ok_or(Malformed)?;
                register
            }
        };
        self.registers.insert(id, target);
        self.steps.push(Step::Set(target, op));
        for operand in self.graph.operands(id).collect::<Vec<_>>() {
            self.release(operand);
        }
        Ok(())
    }

    fn column(&mut self, source: Source) -> Result<u16, Malformed> {
        let known = self.sources.iter().position(|other| *other == source);
        let position = known.unwrap_or_else(|| {
            self.sources.push(source);
            self.sources.len() - 1
        });
        u16::try_from(position).map_err(|_| Malformed)
    }

    fn register(&self, id: Id) -> Result<u16, Malformed> {
        self.registers.get(&id).copied().ok_or(Malformed)
    }

    fn uniform(&mut self, id: Id) -> Result<u16, Malformed> {
        self.numbers.number(self.graph, id)
    }

    /// One reader less; without any, the register is free.
    fn release(&mut self, id: Id) {
        if let Some(uses) = self.uses.get_mut(&id) {
            *uses = uses.saturating_sub(1);
            if *uses == 0
                && let Some(register) = self.registers.remove(&id)
            {
                self.free.push(register);
            }
        }
    }
}
