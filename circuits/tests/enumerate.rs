//! Full enumeration at the smallest parameters: of all assignments of the wires that a prover chooses, from a list of values for
//! each, one is accepted. The values are integers around the honest one and around zero, and the fractions that multiplication by a
//! small number brings back to small integers: what wraps around the field wraps through these.

#![allow(clippy::unwrap_used)]

mod gadgets;

use gadgets::{GADGETS, HALO2_GADGETS, inputs, tiny};
use std::collections::BTreeMap;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::solve;
use zkinfer_circuits::testing::Forger;

/// Most assignments of one input of one circuit.
const MOST: usize = 4000;
/// A wire with fewer values than this is not searched: such gadgets are searched by pairs (`forge.rs`).
const FEWEST: usize = 3;
/// Inputs of every gadget, of eight.
const INPUTS: [usize; 3] = [1, 4, 7];

/// Values for each of `n` wires so that all assignments together stay below [`MOST`].
fn values_each(n: usize) -> usize {
    (1..=128)
        .take_while(|v: &usize| v.pow(n as u32) <= MOST)
        .last()
        .unwrap_or(1)
}

/// How many assignments are accepted, the honest one included, and how many there are.
fn accepted(forger: &Forger<'_>, wires: &[usize], each: usize) -> (usize, usize) {
    let values: Vec<_> = wires
        .iter()
        .map(|w| forger.candidate_values(*w, each))
        .collect();
    let total: usize = values.iter().map(Vec::len).product();
    let mut count = 1;
    for number in 1..total {
        let mut rest = number;
        let changes: BTreeMap<_, _> = wires
            .iter()
            .zip(&values)
            .map(|(wire, values)| {
                let value = values[rest % values.len()];
                rest /= values.len();
                (*wire, value)
            })
            .collect();
        count += usize::from(forger.accepts(&changes, None));
    }
    (count, total)
}

#[test]
fn no_other_assignment_of_the_hinted_wires_is_accepted() {
    let (mut searched, mut left_out) = (0usize, vec![]);
    for (name, gadget) in GADGETS.into_iter().chain(HALO2_GADGETS) {
        let program = tiny(3, gadget);
        let forms = [
            R1cs::lower(&program, Form::Plain).unwrap(),
            R1cs::lower_with_limb(&program, 2).unwrap(),
            R1cs::lower_with_limb(&program, 4).unwrap(),
        ];
        for circuit in forms {
            let label = format!("{name}, {:?}, limb {}", circuit.form(), circuit.limb_bits());
            for at in INPUTS {
                let input = inputs(3).nth(at).unwrap();
                let solved = solve(&program, &input).unwrap();
                let forger = Forger::new(&circuit, &solved);
                let wires = forger.chosen_wires();
                let each = values_each(wires.len());
                if each < FEWEST {
                    left_out.push(label.clone());
                    break;
                }
                let (count, total) = accepted(&forger, &wires, each);
                assert_eq!(count, 1, "{label}, input {at}: {total} assignments");
                searched += total;
            }
        }
    }
    println!("{searched} assignments, one accepted of each; too many wires: {left_out:?}");
    // every gadget is searched in one form at least
    let all = GADGETS.iter().chain(&HALO2_GADGETS);
    for (name, _) in all {
        let forms = ["Plain", "Committed"].map(|form| format!("{name}, {form}, limb"));
        let out = left_out
            .iter()
            .filter(|l| forms.iter().any(|f| l.starts_with(f)));
        assert!(out.count() < 3, "{name} is searched in no form");
    }
    assert!(searched > 10_000);
}
