//! Deliberately broken gadgets: for each of them the suite's checks go red, for the expected reason, and stay green without the bug.

#![allow(clippy::unwrap_used)]

mod broken;
mod gadgets;

use broken::{BROKEN, Bug, Red};
use gadgets::{Gadget, inputs, tiny};
use std::sync::Arc;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::{Program, solve};
use zkinfer_circuits::testing::Forger;

/// What the checks say of a gadget with all its rows: green, or why not.
fn judge(gadget: Gadget, semantics: fn([i64; 3]) -> i64) -> Option<Red> {
    let program = tiny(3, gadget);
    if differs(&program, semantics) {
        return Some(Red::Differs);
    }
    let mut circuits = vec![R1cs::lower(&program, Form::Plain).unwrap()];
    circuits.extend([2, 3].map(|w| R1cs::lower_with_limb(&program, w).unwrap()));
    let forged: Vec<bool> = circuits
        .iter()
        .map(|circuit| forged(circuit, &program, None))
        .collect();
    // a bug of the program shows in every form
    assert!(forged.iter().all(|f| *f == forged[0]), "{forged:?}");
    forged[0].then_some(Red::Forged)
}

/// Solver = specification.
fn differs(program: &Program, semantics: fn([i64; 3]) -> i64) -> bool {
    inputs(3).any(|input| {
        let solved = solve(program, &input).unwrap();
        let x = [0, 1, 2].map(|i| input[i].data[0]);
        solved.outputs(program)[0].data != [semantics(x)]
    })
}

/// Whether the search for a second witness finds one, without the rows of one group.
fn forged(circuit: &R1cs, program: &Arc<Program>, except: Option<usize>) -> bool {
    inputs(3).any(|input| {
        let solved = solve(program, &input).unwrap();
        let forger = Forger::new(circuit, &solved);
        let mut changes = forger.small_changes();
        if let Some(group) = except {
            changes.extend(forger.targeted_changes(group));
        }
        changes
            .iter()
            .any(|changes| forger.accepts(changes, except))
    })
}

fn verdict(bug: &Bug, semantics: fn([i64; 3]) -> i64) -> Option<Red> {
    match bug {
        Bug::Program(gadget) => judge(*gadget, semantics),
        Bug::Relation(second_answer) => second_answer().then_some(Red::Forged),
        Bug::Deleted(gadget, form, limb, instr, rule, from_last) => {
            let program = tiny(3, *gadget);
            let circuit = match form {
                Form::Plain => R1cs::lower(&program, Form::Plain).unwrap(),
                Form::Committed => R1cs::lower_with_limb(&program, *limb).unwrap(),
            };
            // green before anything is deleted
            assert_eq!(judge(*gadget, semantics), None);
            let solved = solve(&program, &inputs(3).next().unwrap()).unwrap();
            let groups = Forger::new(&circuit, &solved).groups_of(instr, rule);
            let group = groups[groups.len() - 1 - from_last];
            forged(&circuit, &program, Some(group)).then_some(Red::Forged)
        }
    }
}

#[test]
fn every_broken_gadget_is_caught_for_its_own_reason() {
    assert!(BROKEN.len() >= 10);
    for broken in &BROKEN {
        let name = broken.name;
        assert_eq!(
            verdict(&broken.bug, broken.semantics),
            Some(broken.red),
            "{name}"
        );
        if let Some(sound) = &broken.sound {
            assert_eq!(verdict(sound, broken.semantics), None, "{name}, repaired");
        }
        println!("{name}: {:?}", broken.red);
    }
}
