//! What a lying prover tries beyond one wire or two: lists of values for an enumeration, and tampering at random.

use super::Forger;
use crate::arithmetization::r1cs::Class;
use ark_bn254::Fr;
use ark_ff::{Field, Zero};
use std::collections::BTreeMap;

impl Forger<'_> {
    /// The wires that a prover chooses in the first round, inputs and multiplicities apart: everything else follows from them.
    pub fn chosen_wires(&self) -> Vec<usize> {
        let inputs = self.circuit.program().inputs();
        let chosen = self.circuit.wire_tensors().filter(|t| t.chosen);
        chosen
            .filter(|t| !t.value.is_some_and(|id| inputs.contains(&id)))
            .flat_map(|t| t.start..t.start + t.len)
            .collect()
    }

    /// Values near a wire's honest one, small ones, and field elements that small multiples bring back to small integers; the honest
    /// value first.
    pub fn candidate_values(&self, wire: usize, n: usize) -> Vec<Fr> {
        let honest = self.value(wire);
        let one = Fr::from(1u64);
        let fraction = |a: u64, b: u64| Fr::from(a) * Fr::from(b).inverse().unwrap_or(one);
        let step = Fr::from(1u64 << self.circuit.limb_bits().max(1));
        let mut all = vec![honest, honest + one, honest - one, Fr::zero(), one, -one];
        all.extend([
            honest + fraction(1, 2),
            honest - fraction(1, 2),
            honest + step,
            honest - step,
        ]);
        all.extend([2u64, 3, 4, 5, 6, 7, 8].map(Fr::from));
        for b in [2, 3, 4, 8, 16, 5, 7] {
            for a in 1..b {
                all.extend([honest + fraction(a, b), fraction(a, b), -fraction(a, b)]);
            }
        }
        all.extend((9..64u64).flat_map(|k| [Fr::from(k), -Fr::from(k)]));
        let mut distinct: Vec<Fr> = vec![];
        for value in all {
            if distinct.len() < n && !distinct.contains(&value) {
                distinct.push(value);
            }
        }
        distinct
    }

    /// Changes that a careless search misses: several wires at once, two wires of one tensor exchanged, wires of another
    /// inference, multiplicities. `pick(n)` draws a number below n.
    pub fn tampering(
        &self,
        other: &Self,
        pick: &mut dyn FnMut(usize) -> usize,
    ) -> BTreeMap<usize, Fr> {
        let inputs = self.circuit.program().inputs();
        let wires = self.circuit.wire_tensors();
        let (counts, tensors): (Vec<_>, Vec<_>) = wires
            .filter(|t| t.class != Class::Instance && !t.given)
            .filter(|t| !t.value.is_some_and(|id| inputs.contains(&id)))
            .partition(|t| t.count);
        let mut changes = BTreeMap::new();
        let kind = pick(4);
        let from = if kind == 3 && !counts.is_empty() {
            &counts
        } else {
            &tensors
        };
        if from.is_empty() {
            return changes;
        }
        let t = &from[pick(from.len())];
        let wire = |pick: &mut dyn FnMut(usize) -> usize| t.start + pick(t.len);
        match kind {
            0 => {
                for _ in 0..2 + pick(4) {
                    let t = &tensors[pick(tensors.len())];
                    let wire = t.start + pick(t.len);
                    let values = self.changed_values(wire);
                    changes.insert(wire, values[pick(values.len())]);
                }
            }
            1 => {
                let (a, b) = (wire(pick), wire(pick));
                changes.extend([(a, self.value(b)), (b, self.value(a))]);
            }
            2 => {
                let first = wire(pick);
                let end = (t.start + t.len).min(first + 1 + pick(8));
                changes.extend((first..end).map(|wire| (wire, other.value(wire))));
            }
            _ => {
                let (a, b) = (wire(pick), wire(pick));
                let one = Fr::from(1u64);
                changes.extend([(a, self.value(a) + one), (b, self.value(b) - one)]);
            }
        }
        changes
    }

    /// Groups of rows of the steps of instruction `instr` under the name `rule`.
    pub fn groups_of(&self, instr: &str, rule: &str) -> Vec<usize> {
        let steps = self.circuit.program().steps();
        let of = |g: &crate::arithmetization::r1cs::Group| {
            g.rule == rule && g.step.is_some_and(|s| steps[s].instr.name() == instr)
        };
        let groups = self.circuit.groups.iter().enumerate();
        groups.filter(|(_, g)| of(g)).map(|(i, _)| i).collect()
    }
}
