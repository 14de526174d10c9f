//! Lies about contractions: with challenges that the prover knew, or without a group of rows.

use super::{Forger, arbitrary};
use crate::arithmetization::r1cs::Witness;
use crate::constraint::TensorId;
use ark_bn254::Fr;
use ark_ff::{Field, One, Zero};
use std::collections::BTreeMap;

impl Forger<'_> {
    /// The same assignment under challenges that are not the ones of [`Forger::new`].
    #[must_use]
    pub fn under_other_challenges(&self) -> Self {
        let mut other = Self {
            circuit: self.circuit,
            solved: self.solved,
            words: self.words.clone(),
            rho: arbitrary(3),
            alpha: arbitrary(4),
            honest: self.honest.clone(),
        };
        other.honest = other.forge(&BTreeMap::new());
        other
    }

    /// An error of y, element `at` and the one after it, that is zero at this forger's own challenge: `α·1 − 1·α`.
    #[must_use]
    pub fn kernel_change(&self, y: TensorId, at: usize) -> BTreeMap<usize, Fr> {
        let wires = self.wires_of(y);
        let pair = wires.get(at).zip(wires.get(at + 1));
        let pair = pair.map(|(a, b)| [(*a, self.alpha), (*b, -Fr::one())]);
        let changed = pair.into_iter().flatten();
        changed.map(|(w, e)| (w, self.value(w) + e)).collect()
    }

    /// Whether the prover commits to all wires of `y` before any challenge.
    #[must_use]
    pub fn is_committed(&self, y: TensorId) -> bool {
        let (first, n) = (self.circuit.n_instance(), self.circuit.n_committed());
        let wires = self.wires_of(y);
        !wires.is_empty() && wires.iter().all(|w| (first..first + n).contains(w))
    }

    fn wires_of(&self, y: TensorId) -> Vec<usize> {
        let tensors = self.circuit.wire_tensors();
        let tensors = tensors.filter(|t| t.value == Some(y));
        tensors.flat_map(|t| t.start..t.start + t.len).collect()
    }

    /// One element of the result of the group's step changed, and one wire that only the deleted group made set so that the first
    /// row that refuses accepts.
    pub(super) fn solved_changes(&self, group: usize) -> Vec<BTreeMap<usize, Fr>> {
        let c = self.circuit;
        let deleted = &c.groups[group];
        let step = deleted.step.map(|step| &c.program().steps()[step]);
        let Some(y) = step.and_then(|step| step.y) else {
            return vec![];
        };
        let private = c.n_instance() + c.n_committed();
        let mut all = vec![];
        for row in deleted.first_row..deleted.first_row + deleted.n {
            let [_, _, made] = c.row(row);
            let Some((free, _)) = made.into_iter().find(|(wire, _)| *wire >= private) else {
                continue;
            };
            for wire in self.wires_of(y) {
                let lie = BTreeMap::from([(wire, self.value(wire) + Fr::one())]);
                all.extend(self.solved_change(lie, free, group));
            }
        }
        all
    }

    /// One wire that only the deleted group made changed, and every element of the result that a refusing row holds moved by what
    /// that row lacks.
    pub(super) fn followed_changes(&self, group: usize) -> Vec<BTreeMap<usize, Fr>> {
        let c = self.circuit;
        let deleted = &c.groups[group];
        let step = deleted.step.map(|step| &c.program().steps()[step]);
        let Some(y) = step.and_then(|step| step.y) else {
            return vec![];
        };
        let results = self.wires_of(y);
        let deleted = deleted.first_row..deleted.first_row + deleted.n;
        let mut all = vec![];
        for row in deleted.clone() {
            let [_, _, made] = c.row(row);
            let Some((free, _)) = made.first() else {
                continue;
            };
            let mut changes = BTreeMap::from([(*free, self.value(*free) + Fr::one())]);
            let residues = self.residues(&self.forge(&changes));
            for (row, residue) in residues.into_iter().enumerate() {
                if residue.is_zero() || deleted.contains(&row) {
                    continue;
                }
                let [_, _, sum] = c.row(row);
                // y stands alone on the right side of its last row, with coefficient 1
                if let Some((wire, _)) = sum.iter().find(|(wire, _)| results.contains(wire)) {
                    changes.insert(*wire, self.value(*wire) + residue);
                }
            }
            all.push(changes);
        }
        all
    }

    /// `lie`, and a value for the wire `free` under which the first row outside `group` that refuses the lie accepts.
    fn solved_change(
        &self,
        lie: BTreeMap<usize, Fr>,
        free: usize,
        group: usize,
    ) -> Option<BTreeMap<usize, Fr>> {
        let with = |value: Fr| {
            let mut changes = lie.clone();
            changes.insert(free, value);
            changes
        };
        let honest = self.value(free);
        let residues = self.residues(&self.forge(&with(honest)));
        let deleted = &self.circuit.groups[group];
        let deleted = deleted.first_row..deleted.first_row + deleted.n;
        let refused = |row: &usize| !residues[*row].is_zero() && !deleted.contains(row);
        let Some(row) = (0..residues.len()).find(refused) else {
            return Some(with(honest));
        };
        let moved = self.residues(&self.forge(&with(honest + Fr::one())));
        let slope = (moved[row] - residues[row]).inverse()?;
        Some(with(honest - residues[row] * slope))
    }

    /// `a·b − c` of every row.
    fn residues(&self, witness: &Witness) -> Vec<Fr> {
        let [a, b, c] = self.circuit.row_values(witness);
        let products = a.iter().zip(&b).map(|(a, b)| *a * b);
        products.zip(&c).map(|(p, c)| p - c).collect()
    }
}
