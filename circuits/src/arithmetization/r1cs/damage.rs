//! Lying witnesses and the steps that refuse them, for the tests that delete the constraints of one step.

use super::circuit::{Fill, Node, Rid};
use super::witness::{Known, Values, lincomb};
use super::{Form, R1cs};
use crate::constraint::{Assignment, TensorId};
use ark_bn254::Fr;
use ark_ff::{Field, One, Zero};
use std::collections::{BTreeMap, BTreeSet};

/// What refuses a witness.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusals {
    /// Steps with a row or a question that does not hold.
    pub(crate) steps: BTreeSet<usize>,
    /// Rows that serve no step, other than the lookup sum.
    pub(crate) shared: BTreeSet<&'static str>,
    /// What the lookup sum amounts to; zero when it holds.
    pub(crate) residue: Fr,
}

impl Refusals {
    /// Whether nothing refuses the witness.
    pub(crate) fn none(&self) -> bool {
        self.steps.is_empty() && self.shared.is_empty() && self.residue.is_zero()
    }

    /// Whether only constraints of `step` refuse it, or the sum that contains the questions of `step`.
    pub(crate) fn only(&self, step: usize) -> bool {
        self.shared.is_empty() && self.steps.iter().all(|s| *s == step)
    }
}

impl R1cs {
    /// Whether step `step` has rows.
    pub(crate) fn has_rows_of(&self, step: usize) -> bool {
        self.groups.iter().any(|g| g.step == Some(step))
    }

    /// What to add to a wire so that element `i` of the tensor that `step` makes grows by `delta`, when its value is not taken
    /// from the assignment as it is: `Some(None)` then, and `None` when no wire of the step decides it.
    pub(crate) fn bend(
        &self,
        step: usize,
        y: TensorId,
        i: usize,
        delta: Fr,
    ) -> Option<Option<(usize, Fr)>> {
        let own = self.step_starts[step]..self.step_starts[step + 1];
        let rid = *self.map.get(y.index())?;
        match &self.tensors[rid].node {
            Node::Wires {
                fill: Fill::Value(id),
                ..
            } if *id == y => Some(None),
            _ => self.bend_tensor(own, rid, i, delta).map(Some),
        }
    }

    /// The wire of an element of an input.
    pub(crate) fn input_wire(&self, x: TensorId, i: usize) -> Option<usize> {
        match &self.tensors[*self.map.get(x.index())?].node {
            Node::Wires { class, start, .. } => Some(self.wire(*class, start + i)),
            _ => None,
        }
    }

    fn bend_tensor(
        &self,
        own: std::ops::Range<Rid>,
        x: Rid,
        i: usize,
        delta: Fr,
    ) -> Option<(usize, Fr)> {
        match &self.tensors[x].node {
            Node::Wires { class, start, .. } if own.contains(&x) => {
                Some((self.wire(*class, start + i), delta))
            }
            Node::Combo(l) => l.terms.iter().rev().find_map(|(c, x)| {
                let inverse = c.inverse()?;
                self.bend_tensor(own.clone(), *x, i, delta * inverse)
            }),
            _ => None,
        }
    }

    /// What refuses the witness of a (lying) assignment with `added` on some wires, the public words and the multiplicities
    /// following from it. The rows of `without` are not looked at; if they hold the questions of a lookup, the inverses that they
    /// tied are free, and the residue of the lookup sum goes into one of them.
    pub(crate) fn refusals(
        &self,
        solved: &Assignment,
        [context, rho, alpha]: [Fr; 3],
        added: &BTreeMap<usize, Fr>,
        without: Option<usize>,
    ) -> Refusals {
        let found = self.refusals_once(solved, [context, rho, alpha], added, without);
        let freed = without.and_then(|step| self.freed_by(step));
        let Some(wire) = freed.filter(|_| !found.residue.is_zero()) else {
            return found;
        };
        let mut balanced = added.clone();
        balanced.insert(wire, -found.residue);
        self.refusals_once(solved, [context, rho, alpha], &balanced, without)
    }

    /// A wire that, without the rows of `step`, only the lookup sum reads: it can take any residue.
    pub(crate) fn freed_by(&self, step: usize) -> Option<usize> {
        let lookup = |g: &&super::Group| g.rule == "lookup" && g.step == Some(step);
        let [a, _, _] = self.row(self.groups.iter().find(lookup)?.first_row);
        a.first().map(|(wire, _)| *wire)
    }

    fn refusals_once(
        &self,
        solved: &Assignment,
        [context, rho, alpha]: [Fr; 3],
        added: &BTreeMap<usize, Fr>,
        without: Option<usize>,
    ) -> Refusals {
        let known = Known {
            solved: Some(solved),
            context,
            added: Some(added),
            follow: Some((rho, alpha)),
            ..Known::default()
        };
        // under challenges that nobody chose a denominator vanishes with probability about 2^-240
        let values = self.evaluate(&known).expect("no denominator vanishes");
        let mut found = Refusals::default();
        for group in &self.groups {
            if group.step.is_some() && group.step == without {
                continue;
            }
            let [a, b, c] = [&group.a, &group.b, &group.c].map(|l| lincomb(&values.0, l, group.n));
            if group.rule == "lookup sum" {
                found.residue = a.iter().sum();
            } else if (0..group.n).any(|i| a[i] * b[i] != c[i]) {
                match group.step {
                    Some(step) => _ = found.steps.insert(step),
                    None => _ = found.shared.insert(group.rule),
                }
            }
        }
        self.add_questions(&values, without, &mut found.steps);
        found
    }

    fn add_questions(&self, values: &Values, without: Option<usize>, steps: &mut BTreeSet<usize>) {
        for q in self.queries.iter().filter(|q| Some(q.step) != without) {
            let table = &self.tables[q.table];
            let bad = values.0[q.key].iter().enumerate().any(|(i, key)| {
                let row = self.row_of(table, *key);
                let value = q.value.map_or(Fr::zero(), |v| values.0[v][i]);
                row.is_none_or(|row| Fr::from(table.rows[row].1) != value)
            });
            if bad {
                steps.insert(q.step);
            }
        }
    }

    /// Public wires that follow from what was filled before them.
    pub(super) fn followed(
        &self,
        start: usize,
        values: &[Vec<Fr>],
        context: Fr,
        (rho, alpha): (Fr, Fr),
    ) -> Vec<Fr> {
        let packed = self.words.map_or(&[][..], |w| &values[w]);
        match (self.form, start) {
            (Form::Plain, 1) => vec![context],
            (Form::Plain, _) => packed.to_vec(),
            (Form::Committed, 1) => vec![rho],
            (Form::Committed, 2) => vec![alpha],
            (Form::Committed, _) => {
                let words = std::iter::once(&context).chain(packed);
                let mut power = Fr::one();
                let mut e = Fr::zero();
                for word in words {
                    e += power * word;
                    power *= alpha;
                }
                vec![e]
            }
        }
    }
}
