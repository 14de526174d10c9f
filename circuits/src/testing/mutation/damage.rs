//! Linear maps have no rows of their own in some forms: their coefficients are changed instead.

use super::{Search, Subject};
use crate::arithmetization::halo2::{Except, Halo2Circuit, Lie};
use crate::constraint::{Assignment, Instr, LinearMap, Program, solve};
use std::sync::Arc;

/// Coefficients of one map that are changed, one by one, until one shows.
const TRIED: usize = 24;

/// `n` indices spread over `0..len`, none of them first when there are many.
fn spread(len: usize) -> impl Iterator<Item = usize> {
    let stride = len.div_ceil(TRIED).max(1);
    (0..len).skip(stride / 2).step_by(stride)
}

/// The instruction with one coefficient, index or constant changed, in every way that is tried.
fn changed(instr: &Instr, honest: &Assignment) -> Vec<Instr> {
    match instr {
        Instr::Linear { map, x, bias } => changed_maps(map, honest.tensor(*x))
            .into_iter()
            .map(|map| Instr::Linear {
                map: Arc::new(map),
                x: *x,
                bias: bias.clone(),
            })
            .collect(),
        Instr::Combine { terms, constant } => {
            let change = |k: usize, c: i64| {
                let mut terms = terms.clone();
                terms[k].0 = c;
                Instr::Combine {
                    terms,
                    constant: *constant,
                }
            };
            let each = (0..terms.len().min(TRIED)).map(|k| change(k, terms[k].0 + 1));
            let dropped = terms.iter().enumerate().take(TRIED);
            each.chain(dropped.map(|(k, _)| change(k, 0))).collect()
        }
        _ => vec![],
    }
}

fn changed_maps(map: &LinearMap, x: &[i64]) -> Vec<LinearMap> {
    // an element that none exceeds, and one that exceeds none
    let ends = [
        (0..x.len()).max_by_key(|i| x[*i]).unwrap_or(0),
        (0..x.len()).min_by_key(|i| x[*i]).unwrap_or(0),
    ];
    let numbers = match map {
        LinearMap::Dense { weights, .. } | LinearMap::Conv { weights, .. } => weights.len(),
        LinearMap::Scale { factors } => factors.len(),
        LinearMap::Gather { index } => index.len(),
    };
    let change = |k: usize| {
        let mut map = map.clone();
        match &mut map {
            LinearMap::Dense { weights, .. } | LinearMap::Conv { weights, .. } => weights[k] += 1,
            LinearMap::Scale { factors } => factors[k] += 1,
            LinearMap::Gather { index } => {
                // another value, if there is one
                let now = x.get(index[k] as usize).copied().unwrap_or(0);
                let other = ends.iter().find(|i| x[**i] != now);
                index[k] = other.map_or(index[k], |i| *i as u32);
            }
        }
        map
    };
    // a weight that meets a zero shows nothing
    let meets = |k: &usize| match map {
        LinearMap::Dense { n_in, .. } => x[k % n_in] != 0,
        _ => true,
    };
    let places: Vec<usize> = (0..numbers).filter(meets).collect();
    let maps: Vec<LinearMap> = spread(places.len()).map(|k| change(places[k])).collect();
    maps.into_iter().filter(|changed| changed != map).collect()
}

impl Search<'_> {
    /// Whether a changed coefficient of `step` shows: the outputs differ, or the constraints refuse the honest wires.
    pub(super) fn damaged(&self, step: usize, subject: &Subject<'_>) -> bool {
        let instr = &self.program.steps()[step].instr;
        changed(instr, &self.honest).into_iter().any(|instr| {
            let damaged = Arc::new(self.program.with_instr(step, instr));
            self.outputs_differ(&damaged) || self.refuses_honest(&damaged, subject)
        })
    }

    fn outputs_differ(&self, damaged: &Program) -> bool {
        solve(damaged, self.inputs)
            .is_ok_and(|other| other.outputs(damaged) != self.honest.outputs(self.program))
    }

    fn refuses_honest(&self, damaged: &Arc<Program>, subject: &Subject<'_>) -> bool {
        match subject {
            Subject::R1cs(circuit) => circuit.lower_like(damaged).is_ok_and(|circuit| {
                let fixed = super::super::forger::fixed();
                let refusals = circuit.refusals(&self.honest, fixed, &Default::default(), None);
                !refusals.none()
            }),
            Subject::Halo2(circuit) => {
                let lowered = Halo2Circuit::lower_with(damaged, circuit.plan());
                lowered.is_ok_and(|circuit| {
                    let context = super::super::halo2_forger::context();
                    let cells = circuit.cells_of(&self.honest, context, &Lie::default());
                    circuit.check_cells_except(&cells, Except::Nothing).is_err()
                })
            }
        }
    }
}
