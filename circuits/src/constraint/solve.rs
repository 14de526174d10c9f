//! The one solver: inputs in, every tensor's integers out, for all proof systems.

use super::{Instr, LinearMap, Program, TensorId, TensorState, bias_at};
use crate::tensor::{Interval, Tensor};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use zeroize::{Zeroize, ZeroizeOnDrop};
use zkinfer_verifier::{Context, Statement, StatementError, Visibility};

/// The integers of every tensor of a program. May hold private inputs: never shown, wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Assignment {
    values: Vec<Vec<i64>>,
}

impl std::fmt::Debug for Assignment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assignment")
            .field("tensors", &self.values.len())
            .finish_non_exhaustive()
    }
}

/// Why inputs have no witness.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SolveError {
    /// Wrong number of input tensors.
    #[error("expected {expected} input tensors, got {got}")]
    Inputs {
        /// Declared inputs.
        expected: usize,
        /// Given.
        got: usize,
    },
    /// Wrong shape.
    #[error("input {name}: expected shape {expected:?}, got {got:?}")]
    Shape {
        /// Input name.
        name: String,
        /// Declared shape.
        expected: Vec<usize>,
        /// Given shape.
        got: Vec<usize>,
    },
    /// A value outside its interval.
    #[error("{node}: {step}: element {index} is {}, outside [{lo}, {hi}]", shown(*value))]
    Outside {
        /// ONNX node.
        node: String,
        /// Instruction.
        step: &'static str,
        /// Element index.
        index: usize,
        /// The value; `None` when an input is private, since errors travel into logs.
        value: Option<i64>,
        /// Least allowed.
        lo: i64,
        /// Most allowed.
        hi: i64,
    },
    /// An assertion of the program does not hold.
    #[error("{node}: {step}: element {index} does not hold")]
    Assertion {
        /// ONNX node.
        node: String,
        /// Instruction.
        step: &'static str,
        /// Element index.
        index: usize,
    },
}

fn shown(value: Option<i64>) -> String {
    value.map_or_else(|| "a private value".to_owned(), |v| v.to_string())
}

/// Computes every tensor of `program` from its inputs.
///
/// # Errors
/// When the inputs have another shape or type, or a value leaves its interval: named, never an invalid proof later.
pub fn solve(program: &Program, inputs: &[Tensor]) -> Result<Assignment, SolveError> {
    run(program, inputs, &|_, _| {}, Refuse::All)
}

/// As [`solve`], but lets values leave their types and intervals: where a liar starts. For tests of refusals.
///
/// # Errors
/// When the inputs have another shape, or an assertion of the program fails.
#[doc(hidden)]
pub fn solve_unchecked(program: &Program, inputs: &[Tensor]) -> Result<Assignment, SolveError> {
    run(program, inputs, &|_, _| {}, Refuse::Assertions)
}

/// Values a liar puts in place of honest ones: (tensor, element) → value.
#[doc(hidden)]
pub type Lies = BTreeMap<(TensorId, usize), i64>;

/// What a liar's values do to a program.
#[doc(hidden)]
#[derive(Clone, Debug, Default)]
pub struct Consequences {
    /// Steps whose relation does not hold.
    pub broken: BTreeSet<usize>,
    /// What an honest prover would have put where a lie is.
    pub instead_of: Lies,
    /// Tensors that were computed again.
    pub touched: BTreeSet<TensorId>,
}

/// Puts `lies` into `values` and computes what follows from them, in the steps before `until`, as [`solve`] does: where a
/// clever liar starts. For tests of refusals.
#[doc(hidden)]
pub fn solve_lying(
    program: &Program,
    inputs: &[Tensor],
    values: &mut Assignment,
    lies: &Lies,
    until: usize,
) -> Consequences {
    let mut found = Consequences::default();
    for (index, step) in program.steps.iter().enumerate().take(until) {
        let lied = |y: TensorId| lies.range((y, 0)..=(y, usize::MAX));
        let follows = step
            .instr
            .operands()
            .iter()
            .any(|x| found.touched.contains(x));
        if !follows && step.y.is_none_or(|y| lied(y).next().is_none()) {
            continue;
        }
        let honest = values.step(program, &step.instr, inputs, true);
        if let Instr::Lookup { table, key } = &step.instr {
            let keys = program.tables[table.0 as usize].keys;
            if values.tensor(*key).iter().any(|key| !keys.contains(*key)) {
                found.broken.insert(index);
            }
        }
        let made = honest.unwrap_or_else(|_| {
            found.broken.insert(index);
            // a step that asserts makes its first operand
            step.instr
                .operands()
                .first()
                .map(|x| values.tensor(*x).to_vec())
        });
        let (Some(y), Some(mut made)) = (step.y, made) else {
            continue;
        };
        for (at, lie) in lied(y) {
            found.instead_of.insert(*at, made[at.1]);
            made[at.1] = *lie;
            if !matches!(step.instr, Instr::Hint { .. }) {
                found.broken.insert(index);
            }
        }
        found.touched.insert(y);
        values.values[y.index()] = made;
    }
    found
}

/// As [`solve`], but `bend` may change every tensor before others read it, and nothing is refused: a prover who lies once and
/// is consistent afterwards. For tests of refusals.
///
/// # Errors
/// When the inputs have another shape.
#[doc(hidden)]
pub fn solve_bent(
    program: &Program,
    inputs: &[Tensor],
    bend: &dyn Fn(TensorId, &mut [i64]),
) -> Result<Assignment, SolveError> {
    run(program, inputs, bend, Refuse::Nothing)
}

/// What stops the solver.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refuse {
    /// A value outside its interval, or an assertion that does not hold.
    All,
    /// An assertion that does not hold.
    Assertions,
    Nothing,
}

fn run(
    program: &Program,
    inputs: &[Tensor],
    bend: &dyn Fn(TensorId, &mut [i64]),
    refuse: Refuse,
) -> Result<Assignment, SolveError> {
    if inputs.len() != program.inputs.len() {
        return Err(SolveError::Inputs {
            expected: program.inputs.len(),
            got: inputs.len(),
        });
    }
    for (x, spec) in inputs.iter().zip(&program.layout.tensors) {
        let expected: Vec<usize> = spec.shape.iter().map(|&d| d as usize).collect();
        if x.shape != expected || x.data.len() != expected.iter().product::<usize>() {
            let (name, got) = (spec.name.clone(), x.shape.clone());
            return Err(SolveError::Shape {
                name,
                expected,
                got,
            });
        }
    }
    let mut values = Assignment {
        values: Vec::with_capacity(program.tensors.len()),
    };
    for step in &program.steps {
        let y = values
            .step(program, &step.instr, inputs, refuse != Refuse::Nothing)
            .map_err(|index| SolveError::Assertion {
                node: program.node_of(step).to_owned(),
                step: step.instr.name(),
                index,
            })?;
        let (Some(id), Some(mut y)) = (step.y, y) else {
            continue;
        };
        bend(id, &mut y);
        if refuse != Refuse::All {
            values.values.push(y);
            continue;
        }
        if let TensorState::Proved(i) | TensorState::Expected(i) =
            &program.tensors[id.index()].state
        {
            check_inside(&y, i).map_err(|(index, value, Interval { lo, hi })| {
                let inputs = &program.layout.tensors[..program.inputs.len()];
                let public = inputs.iter().all(|x| x.visibility == Visibility::Public);
                SolveError::Outside {
                    node: program.node_of(step).to_owned(),
                    step: step.instr.name(),
                    index,
                    value: public.then_some(value),
                    lo,
                    hi,
                }
            })?;
        }
        values.values.push(y);
    }
    Ok(values)
}

fn check_inside(y: &[i64], intervals: &[Interval]) -> Result<(), (usize, i64, Interval)> {
    let pairs = y.par_iter().zip(intervals).with_min_len(PER_TASK);
    match pairs.position_first(|(y, i)| !i.contains(*y)) {
        None => Ok(()),
        Some(index) => Err((index, y[index], intervals[index])),
    }
}

impl Assignment {
    /// Takes back what [`solve_lying`] did.
    #[doc(hidden)]
    pub fn restore(&mut self, honest: &Self, touched: &BTreeSet<TensorId>) {
        for y in touched {
            self.values[y.index()].clone_from(&honest.values[y.index()]);
        }
    }

    /// The integers of one tensor.
    pub fn tensor(&self, id: TensorId) -> &[i64] {
        &self.values[id.index()]
    }

    /// The program's outputs in declared order, in their declared shapes.
    pub fn outputs(&self, program: &Program) -> Vec<Tensor> {
        let specs = &program.layout.tensors[program.inputs.len()..];
        let outputs = program.outputs.iter().zip(specs);
        outputs
            .map(|(id, spec)| Tensor {
                shape: spec.shape.iter().map(|&d| d as usize).collect(),
                data: self.tensor(*id).to_vec(),
            })
            .collect()
    }

    /// What a proof of this assignment claims.
    ///
    /// # Errors
    /// When a public value does not fit its declared type (the solver has excluded it).
    pub fn statement(
        &self,
        program: &Program,
        context: Context,
    ) -> Result<Statement, StatementError> {
        let ids = program.inputs.iter().chain(&program.outputs);
        let bound: Vec<&[i64]> = ids
            .zip(&program.layout.tensors)
            .filter(|(_, spec)| spec.visibility != Visibility::Private)
            .map(|(id, _)| self.tensor(*id))
            .collect();
        Statement::new(&program.layout, context, &bound)
    }

    /// Runs one instruction; `Err` is the index of an element that an assertion refuses, if they are to refuse.
    fn step(
        &self,
        program: &Program,
        instr: &Instr,
        inputs: &[Tensor],
        strict: bool,
    ) -> Result<Option<Vec<i64>>, usize> {
        let get = |id: &TensorId| self.tensor(*id);
        Ok(Some(match instr {
            Instr::Input { io } => inputs[*io as usize].data.clone(),
            Instr::Linear { map, x, bias } => apply(map, get(x), bias),
            Instr::Combine { terms, constant } => {
                let terms: Vec<(i64, &[i64])> = terms.iter().map(|(c, x)| (*c, get(x))).collect();
                each(terms[0].1.len(), |i| {
                    terms.iter().fold(*constant, |sum, (c, x)| sum + c * x[i])
                })
            }
            Instr::Mul { a, b } => {
                let (a, b) = (get(a), get(b));
                each(a.len(), |i| a[i] * b[i])
            }
            Instr::Select { condition, yes, no } => {
                let (condition, yes, no) = (get(condition), get(yes), get(no));
                each(condition.len(), |i| no[i] + condition[i] * (yes[i] - no[i]))
            }
            Instr::Split { x, shift } => {
                let x = get(x);
                each(x.len(), |i| x[i] >> shift)
            }
            Instr::Lookup { table, key } => {
                let f = &program.tables[table.0 as usize].function;
                let key = get(key);
                each(key.len(), |i| f.value(key[i]))
            }
            Instr::Range { x, bits } => {
                let top = (1i64 << bits) - 1;
                match get(x).iter().position(|x| !(0..=top).contains(x)) {
                    Some(index) if strict => return Err(index),
                    _ => get(x).to_vec(),
                }
            }
            Instr::AssertZero { x } => match get(x).iter().position(|x| *x != 0) {
                Some(index) if strict => return Err(index),
                _ => return Ok(None),
            },
            Instr::Member { x, of } => {
                let stray =
                    |(i, v): (usize, &i64)| (!of.iter().any(|c| get(c)[i] == *v)).then_some(i);
                match get(x).iter().enumerate().find_map(stray) {
                    Some(index) if strict => return Err(index),
                    _ => get(x).to_vec(),
                }
            }
            Instr::Contract { a, b, dims } => contract(get(a), get(b), *dims),
            Instr::Hint { kind, inputs } => (0..get(&inputs[0]).len())
                .map(|i| kind.value(inputs.iter().map(|x| get(x)[i])))
                .collect(),
        }))
    }
}

/// `W·x + bias` in `i64`. The builder took the same sums over intervals, in the same order and checked in `i128`: no partial sum
/// passes 2^127, and every result lies inside ±2^62.
fn apply(map: &LinearMap, x: &[i64], bias: &[i64]) -> Vec<i64> {
    let n = map
        .output_len(x.len(), "")
        .expect("the builder checked this map against this input");
    // small factors: no sum of so many products passes 2^62, and 64 bits are enough
    let terms = map.row_terms().max(1);
    let bias_max = bias.iter().map(|b| b.unsigned_abs()).max().unwrap_or(0);
    let x_max = x.iter().map(|x| x.unsigned_abs()).max().unwrap_or(0);
    let bound = u128::from(terms) * u128::from(map.max_coefficient()) * u128::from(x_max);
    if bound + u128::from(bias_max) < 1 << 62 {
        return each_weighted(n, terms, |out| {
            let mut sum = bias_at(bias, out);
            map.row(out, |i, c| sum = sum.wrapping_add(c.wrapping_mul(x[i])));
            sum
        });
    }
    each_weighted(n, terms, |out| {
        let mut sum = i128::from(bias_at(bias, out));
        map.row(out, |i, c| sum += i128::from(c) * i128::from(x[i]));
        // inside ±2^62 by the builder's interval for every x inside its own
        i64::try_from(sum).unwrap_or(i64::MAX)
    })
}

/// Rows of `a` times rows of `b`, as the builder took the same sums over intervals: in the same order, checked in `i128`.
fn contract(a: &[i64], b: &[i64], dims: [u32; 4]) -> Vec<i64> {
    let [batch, m, k, n] = dims.map(|d| d as usize);
    let max = |x: &[i64]| x.iter().map(|x| x.unsigned_abs()).max().unwrap_or(0);
    let bound = (u128::from(max(a)) * u128::from(max(b))).saturating_mul(k as u128);
    let rows = |out: usize| {
        let (t, i, j) = (out / (m * n), out / n % m, out % n);
        let (i, j) = ((t * m + i) * k, (t * n + j) * k);
        a[i..i + k].iter().zip(&b[j..j + k])
    };
    if bound < 1 << 62 {
        return each_weighted(batch * m * n, k as u64, |out| {
            rows(out).fold(0i64, |sum, (a, b)| sum.wrapping_add(a.wrapping_mul(*b)))
        });
    }
    each_weighted(batch * m * n, k as u64, |out| {
        let sum = rows(out).fold(0i128, |sum, (a, b)| {
            sum.wrapping_add(i128::from(*a) * i128::from(*b))
        });
        // inside ±2^62 by the builder's interval for operands inside theirs
        i64::try_from(sum).unwrap_or(i64::MAX)
    })
}

/// Work of one task, in elements or terms.
const PER_TASK: usize = 1 << 13;

/// `f` of every index below `n`, in parallel when there are many.
fn each(n: usize, f: impl Fn(usize) -> i64 + Send + Sync) -> Vec<i64> {
    each_weighted(n, 1, f)
}

/// As [`each`], where a call takes about `terms` multiplications.
fn each_weighted(n: usize, terms: u64, f: impl Fn(usize) -> i64 + Send + Sync) -> Vec<i64> {
    let per_task = (PER_TASK as u64 / terms).max(1) as usize;
    if n <= per_task {
        return (0..n).map(f).collect();
    }
    (0..n)
        .into_par_iter()
        .with_min_len(per_task)
        .map(f)
        .collect()
}
