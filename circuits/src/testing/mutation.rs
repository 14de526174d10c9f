//! Delete-a-constraint mutation: without the constraints of one step of a program, some lie must get through.
//!
//! For every step a lie is looked for on integers: a changed value of a tensor, everything after it computed as the solver does,
//! such that only this step's relation is broken. Then the real constraints decide, form by form: all of them must refuse the
//! lie, and all but those of the step must accept it. A step without constraints in a form (a linear map) is damaged instead:
//! with another coefficient the honest wires must be refused, or the outputs must differ.

mod damage;
mod lies;

use crate::arithmetization::halo2::{Cells, Except, Halo2Circuit, Lie};
use crate::arithmetization::r1cs::{Form, R1cs};
use crate::constraint::{Assignment, Instr, Lies, Program, SolveError, TensorId, solve};
use crate::tensor::Tensor;
use ark_ff::Field;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// In circuits with more rows the witness without the deleted rows is not computed once more.
const LARGE: usize = 20_000;

/// A circuit whose constraints are deleted step by step.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// One of the R1CS forms.
    R1cs(&'a R1cs),
    /// The Halo2 form.
    Halo2(&'a Halo2Circuit),
}

/// What the deletions let through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mutations {
    /// Pairs of a step and a form in which its constraints were deleted, or its coefficients changed, and a lie then found.
    pub killed: usize,
    /// Steps without a constraint or coefficient of their own (hints, and steps whose rows another one makes).
    pub free: usize,
    /// Steps whose rows say again what others say: form, node, instruction, and why.
    pub redundant: Vec<String>,
    /// Deletions and changes after which no lie was found: form, node, instruction.
    pub survivors: Vec<String>,
}

/// A lie that breaks the relation of one step only.
#[derive(Debug)]
struct Forgery {
    lies: Lies,
    /// What an honest prover would have put there.
    instead_of: Lies,
    values: Assignment,
    /// An input element that is moved by a fraction 1/c, so that a lie about a sum with coefficient c of it is the truth.
    fraction: Option<Fraction>,
}

/// Element `index` of input tensor `x` of step `step` is moved by 1/c.
#[derive(Clone, Copy, Debug)]
struct Fraction {
    step: usize,
    x: TensorId,
    index: usize,
    c: i64,
}

/// Steps at a time of a search.
struct Search<'a> {
    program: &'a Program,
    inputs: &'a [Tensor],
    honest: Assignment,
    scratch: Assignment,
}

impl Subject<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::R1cs(circuit) => match circuit.form() {
                Form::Plain => "plain",
                Form::Committed => "committed",
            },
            Self::Halo2(_) => "halo2",
        }
    }

    fn has_rows_of(&self, step: usize) -> bool {
        match self {
            Self::R1cs(circuit) => circuit.has_rows_of(step),
            Self::Halo2(circuit) => circuit.has_rows_of(step),
        }
    }

    /// Whether the constraints refuse the forgery, and those of the other steps alone accept it.
    fn only_held_by(&self, program: &Program, step: usize, forgery: &Forgery) -> bool {
        match self {
            Self::R1cs(circuit) => {
                let Some(added) = added(program, circuit, forgery) else {
                    return false;
                };
                let fixed = super::forger::fixed();
                let all = circuit.refusals(&forgery.values, fixed, &added, None);
                // what another step refuses is accepted by no deletion
                if all.none() || !all.only(step) {
                    return false;
                }
                if circuit.n_rows() > LARGE {
                    // the rows of the step and the sum are all that refuses it, and without the rows the sum can be balanced
                    return all.residue == Default::default() || circuit.freed_by(step).is_some();
                }
                circuit
                    .refusals(&forgery.values, fixed, &added, Some(step))
                    .none()
            }
            Self::Halo2(circuit) => {
                let cells = halo2_cells(circuit, forgery);
                circuit.check_cells_except(&cells, Except::Nothing).is_err()
                    && circuit
                        .check_cells_except(&cells, Except::Step(step as u32))
                        .is_ok()
            }
        }
    }
}

/// The wires that the lies change where a form does not take its values from the assignment.
fn added(
    program: &Program,
    circuit: &R1cs,
    forgery: &Forgery,
) -> Option<BTreeMap<usize, ark_bn254::Fr>> {
    let mut added = BTreeMap::new();
    if let Some(Fraction { step, x, index, c }) = forgery.fraction {
        let fraction = ark_bn254::Fr::from(c).inverse()?;
        // an input's wire takes its value from the assignment, which has no fractions
        let wire = circuit.input_wire(x, index)?;
        debug_assert!(program.steps()[step].y == Some(x));
        return Some(BTreeMap::from([(wire, fraction)]));
    }
    for (at, lie) in &forgery.lies {
        let step = program.steps().iter().position(|s| s.y == Some(at.0))?;
        let delta = ark_bn254::Fr::from(*lie) - ark_bn254::Fr::from(*forgery.instead_of.get(at)?);
        if let Some((wire, delta)) = circuit.bend(step, at.0, at.1, delta)? {
            *added.entry(wire).or_default() += delta;
        }
    }
    Some(added)
}

fn halo2_cells(circuit: &Halo2Circuit, forgery: &Forgery) -> Cells {
    let mut lie = Lie::default();
    if let Some(Fraction { x, index, c, .. }) = forgery.fraction {
        let honest = circuit.element(&forgery.values, x, index);
        let moved = honest + crate::arithmetization::halo2::reciprocal(c);
        lie.tensors.insert((x.0, index as u32), moved);
        return circuit.cells_of(&forgery.values, super::halo2_forger::context(), &lie);
    }
    for ((y, i), value) in &forgery.lies {
        let value = crate::arithmetization::halo2::small(*value);
        lie.tensors.insert((y.0, *i as u32), value);
    }
    circuit.cells_of(&forgery.values, super::halo2_forger::context(), &lie)
}

/// Why the rows of a step follow from those of others: every element of an input is a key of a table that has no key outside its type.
fn redundancy(program: &Program, step: usize) -> Option<&'static str> {
    let step = &program.steps()[step];
    let (Instr::Input { io }, Some(y)) = (&step.instr, step.y) else {
        return None;
    };
    let dtype = program.layout().tensors[*io as usize].dtype;
    let bound = |s: &crate::constraint::Step| match &s.instr {
        Instr::Lookup { table, key } if *key == y => {
            let keys = program.tables()[table.0 as usize].keys;
            keys.lo >= dtype.min() && keys.hi <= dtype.max()
        }
        _ => false,
    };
    let why = "the table that it is looked up in has no key outside its type";
    program.steps().iter().any(bound).then_some(why)
}

/// Deletes the constraints of every step of `program` in turn, in each of `subjects`, for the first of `runs` that shows the loss.
///
/// # Errors
/// When a run has no witness.
pub fn delete_each_step(
    program: &Arc<Program>,
    runs: &[Vec<Tensor>],
    subjects: &[Subject<'_>],
) -> Result<Mutations, SolveError> {
    let mut found = Mutations::default();
    let mut searches = vec![];
    for inputs in runs {
        let honest = solve(program, inputs)?;
        searches.push(Search {
            program,
            inputs,
            scratch: honest.clone(),
            honest,
        });
    }
    for (index, step) in program.steps().iter().enumerate() {
        let rows: BTreeSet<usize> = (0..subjects.len())
            .filter(|s| subjects[*s].has_rows_of(index))
            .collect();
        let mut left = rows.clone();
        for search in &mut searches {
            if left.is_empty() {
                break;
            }
            search.each_forgery(index, &mut |forgery| {
                left.retain(|s| !subjects[*s].only_held_by(program, index, forgery));
                left.is_empty()
            });
        }
        found.killed += rows.len() - left.len();
        let name = |s: usize| {
            let (node, form) = (program.node_of(step), subjects[s].name());
            format!("{form}: {node}: {} (step {index})", step.instr.name())
        };
        match redundancy(program, index) {
            Some(why) => {
                let named = left.into_iter().map(|s| format!("{}: {why}", name(s)));
                found.redundant.extend(named);
            }
            None => found.survivors.extend(left.into_iter().map(name)),
        }
        let mapped = matches!(step.instr, Instr::Linear { .. } | Instr::Combine { .. });
        for (s, subject) in subjects.iter().enumerate() {
            match (rows.contains(&s), mapped) {
                (true, _) => {}
                (false, false) => found.free += 1,
                (false, true) => match searches.iter().any(|search| search.damaged(index, subject))
                {
                    true => found.killed += 1,
                    false => found.survivors.push(format!("{}, coefficients", name(s))),
                },
            }
        }
    }
    Ok(found)
}
