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
use crate::constraint::{Assignment, Instr, Lies, Program, SolveError, solve};
use crate::tensor::Tensor;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
                let held = !all.none() && all.only(step);
                held && circuit
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
    for ((y, i), value) in &forgery.lies {
        let value = crate::arithmetization::halo2::small(*value);
        lie.tensors.insert((y.0, *i as u32), value);
    }
    circuit.cells_of(&forgery.values, super::halo2_forger::context(), &lie)
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
        found.survivors.extend(left.into_iter().map(name));
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
