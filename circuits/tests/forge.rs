//! Lies, by class: the numbers are the rows of the forge list in circuits/DESIGN.md.
//!
//! Every gadget is searched exhaustively at tiny parameters (changes of one wire and of every pair of wires, with everything
//! that depends on them recomputed), and the search itself is tested: with any group of rows deleted it must find a forgery.

#![allow(clippy::unwrap_used)]

mod gadgets;

use gadgets::{
    GADGETS, Gadget, LIBRARY, bent, inputs, outside_their_type, requantize_function,
    requantize_odd_clamp, requantize_tiny, tiny,
};
use std::sync::Arc;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::{
    BuildError, Builder, HintKind, LinearMap, Program, TableFunction, solve,
};
use zkinfer_circuits::gadgets::max::max;
use zkinfer_circuits::gadgets::requantize::requantize;
use zkinfer_circuits::tensor::Tensor;
use zkinfer_circuits::testing::{Forger, spec};
use zkinfer_verifier::{Dtype, Role, Visibility};

fn circuits(program: &Arc<Program>) -> Vec<R1cs> {
    let mut all = vec![R1cs::lower(program, Form::Plain).unwrap()];
    all.extend([2, 3].map(|w| R1cs::lower_with_limb(program, w).unwrap()));
    all.push(R1cs::lower(program, Form::Committed).unwrap());
    all
}

#[test]
fn exactly_one_witness_survives_for_every_input_of_every_gadget() {
    for (name, gadget) in GADGETS.into_iter().chain(LIBRARY) {
        let program = tiny(3, gadget);
        for circuit in circuits(&program) {
            for input in inputs(3) {
                let solved = solve(&program, &input).unwrap();
                let forger = Forger::new(&circuit, &solved);
                forger.check_honest().unwrap();
                for changes in forger.small_changes() {
                    assert!(
                        !forger.accepts(&changes, None),
                        "{name}, {:?}: accepted {changes:?}",
                        circuit.form()
                    );
                }
            }
        }
    }
}

#[test]
fn inputs_outside_their_type_are_refused() {
    for (name, gadget) in GADGETS.into_iter().chain(LIBRARY) {
        let program = tiny(3, gadget);
        for circuit in circuits(&program) {
            for solved in outside_their_type(&program) {
                assert!(
                    !Forger::new(&circuit, &solved).accepts_unchanged(None),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn every_deleted_constraint_lets_a_forgery_through() {
    let mut idle: Vec<String> = vec![];
    for (name, gadget) in GADGETS.into_iter().chain(LIBRARY) {
        let program = tiny(3, gadget);
        for circuit in circuits(&program) {
            let runs: Vec<_> = inputs(3).map(|x| solve(&program, &x).unwrap()).collect();
            let forgers: Vec<_> = runs.iter().map(|s| Forger::new(&circuit, s)).collect();
            let mut lies = outside_their_type(&program);
            for input in inputs(3) {
                lies.extend(bent(&program, &input, &[-2, -1, 1, 2]));
            }
            let liars: Vec<_> = lies.iter().map(|s| Forger::new(&circuit, s)).collect();
            for (group, rule) in forgers[0].groups() {
                let found = liars
                    .iter()
                    .any(|forger| forger.accepts_unchanged(Some(group)))
                    || forgers.iter().any(|forger| {
                        forger
                            .targeted_changes(group)
                            .iter()
                            .any(|c| forger.accepts(c, Some(group)))
                            || forger
                                .small_changes()
                                .iter()
                                .any(|c| forger.accepts(c, Some(group)))
                            || forger.accepts_other_statement(group)
                    });
                if !found {
                    let (form, limb) = (circuit.form(), circuit.limb_bits());
                    idle.push(format!(
                        "{name}, {form:?}, limb {limb}: group {group} ({rule})"
                    ));
                }
            }
        }
    }
    assert!(idle.is_empty(), "deleted without any forgery: {idle:#?}");
}

/// 1, 2, 3, 23: the quotient and remainder of every half-way point, both signs, are the only ones.
#[test]
fn rounding_is_half_up_for_both_signs_and_has_one_answer() {
    let mut b = Builder::new();
    b.node("halves");
    let x = b
        .input(spec(
            "x",
            Role::Input,
            Visibility::Private,
            &[6],
            Dtype::Int8,
        ))
        .unwrap();
    let y = requantize(&mut b, &x, vec![1], 1, 0, &TableFunction::clamp(-128, 127)).unwrap();
    b.output(
        &y,
        spec("y", Role::Output, Visibility::Public, &[6], Dtype::Int8),
    )
    .unwrap();
    let program = Arc::new(b.finish().unwrap());
    let solved = solve(&program, &[Tensor::flat(vec![-3, -2, -1, 1, 2, 3])]).unwrap();
    // floor((x + 1) / 2)
    assert_eq!(solved.outputs(&program)[0].data, [-1, -1, 0, 1, 1, 2]);
    for circuit in circuits(&program) {
        Forger::new(&circuit, &solved)
            .check_single_changes("halves")
            .unwrap();
    }
}

/// 6: a program whose values could leave ±2^62 does not build.
#[test]
fn refuses_to_build_what_could_wrap() {
    let mut b = Builder::new();
    let x = b
        .input(spec(
            "x",
            Role::Input,
            Visibility::Private,
            &[1],
            Dtype::Int32,
        ))
        .unwrap();
    let y = b
        .linear(
            LinearMap::Scale {
                factors: vec![1 << 30],
            },
            &x,
            vec![],
        )
        .unwrap();
    let wraps = b.linear(LinearMap::Scale { factors: vec![4] }, &y, vec![]);
    assert!(matches!(wraps, Err(BuildError::Interval { .. })));
    assert!(matches!(b.mul(&y, &y), Err(BuildError::Interval { .. })));
}

/// 36: bytes that ask for the most negative coefficient, or for gigabytes of wires, are an error.
#[test]
fn hostile_programs_are_refused_without_panic_or_allocation() {
    const LIMIT: [u8; 6] = [0x80, 0x80, 0x80, 0x80, 0x80, 0x40];
    const MOST_NEGATIVE: [u8; 10] = [255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
    let scaled: Gadget = |b, xs| {
        let y = b.linear(
            LinearMap::Scale {
                factors: vec![1 << 40],
            },
            &xs[0],
            vec![],
        )?;
        let q = b.split(&y, 40)?;
        b.lookup_unbound(&TableFunction::clamp(-1, 1), q)
    };
    let valued: Gadget = |b, xs| {
        let y = b.lookup(&TableFunction::map(0, vec![1 << 40, 0]), &xs[0])?;
        let q = b.split(&y, 40)?;
        b.lookup_unbound(&TableFunction::clamp(-1, 1), q)
    };
    for gadget in [scaled, valued] {
        let bytes = tiny(3, gadget).encode();
        let at = bytes.windows(6).position(|w| w == LIMIT).unwrap();
        let mut hostile = bytes[..at].to_vec();
        hostile.extend(MOST_NEGATIVE);
        hostile.extend(&bytes[at + 6..]);
        assert!(Program::decode(&hostile).is_err());
    }
    let mut b = Builder::new();
    let wide = spec(
        "x",
        Role::Input,
        Visibility::Private,
        &[1 << 26],
        Dtype::Int8,
    );
    assert!(matches!(b.input(wide), Err(BuildError::TooLarge { .. })));
}

/// 11: a hint that nothing binds does not become a program.
#[test]
fn refuses_an_unbound_hint() {
    let mut b = Builder::new();
    let x = b
        .input(spec(
            "x",
            Role::Input,
            Visibility::Private,
            &[1],
            Dtype::Int8,
        ))
        .unwrap();
    b.hint(HintKind::Max, &[&x]).unwrap();
    b.output(
        &x,
        spec("y", Role::Output, Visibility::Public, &[1], Dtype::Int8),
    )
    .unwrap();
    assert!(matches!(b.finish(), Err(BuildError::UnboundHint { .. })));
}

/// 11: neither does a quotient that nothing binds.
#[test]
fn refuses_an_unbound_quotient() {
    let mut b = Builder::new();
    let x = b
        .input(spec(
            "x",
            Role::Input,
            Visibility::Private,
            &[1],
            Dtype::Int8,
        ))
        .unwrap();
    b.split(&x, 3).unwrap();
    b.output(
        &x,
        spec("y", Role::Output, Visibility::Public, &[1], Dtype::Int8),
    )
    .unwrap();
    assert!(matches!(b.finish(), Err(BuildError::UnboundHint { .. })));
}

/// 17: every table of every shared function has unique keys, and two lookups of one function share one table.
#[test]
fn tables_have_unique_keys_and_are_shared() {
    let mut b = Builder::new();
    let x = b
        .input(spec(
            "x",
            Role::Input,
            Visibility::Private,
            &[2],
            Dtype::Int8,
        ))
        .unwrap();
    let f = TableFunction::clamp(0, 10);
    let y = b.lookup(&f, &x).unwrap();
    let wide = b.combine(&[(2, &x)], 0).unwrap();
    b.lookup(&f, &wide).unwrap();
    b.output(
        &y,
        spec("y", Role::Output, Visibility::Public, &[2], Dtype::Int8),
    )
    .unwrap();
    let program = b.finish().unwrap();
    let [table] = program.tables() else {
        panic!("one table")
    };
    let keys: Vec<i64> = table.rows().map(|r| r.0).collect();
    assert_eq!(keys, (-256..=254).collect::<Vec<_>>());
}

/// 18: the contents of the tables are part of the circuit digest.
#[test]
fn the_circuit_digest_covers_tables_form_and_layout() {
    let programs = [
        requantize_tiny as Gadget,
        requantize_odd_clamp,
        requantize_function,
    ];
    let mut digests = std::collections::BTreeSet::new();
    for gadget in programs {
        let program = tiny(3, gadget);
        for form in [Form::Plain, Form::Committed] {
            assert!(digests.insert(R1cs::lower(&program, form).unwrap().digest()));
            let again = Arc::new(Program::decode(&program.encode()).unwrap());
            assert!(digests.contains(&R1cs::lower(&again, form).unwrap().digest()));
        }
    }
}

/// 30: the consumer of a tensor that is used twice cannot see another copy: changing any wire is refused in both users.
#[test]
fn fan_out_reads_one_tensor() {
    let mut b = Builder::new();
    b.node("twice");
    let x = b
        .input(spec(
            "x",
            Role::Input,
            Visibility::Private,
            &[2],
            Dtype::Int8,
        ))
        .unwrap();
    let f = TableFunction::clamp(-4, 3);
    let y = b.lookup(&f, &x).unwrap();
    let sum = b.combine(&[(1, &y), (1, &y)], 0).unwrap();
    let square = b.mul(&y, &y).unwrap();
    let z = b.combine(&[(1, &sum), (1, &square)], 0).unwrap();
    b.output(
        &z,
        spec("z", Role::Output, Visibility::Public, &[2], Dtype::Int8),
    )
    .unwrap();
    let program = Arc::new(b.finish().unwrap());
    let solved = solve(&program, &[Tensor::flat(vec![100, -2])]).unwrap();
    assert_eq!(solved.outputs(&program)[0].data, [15, 0]);
    for circuit in circuits(&program) {
        Forger::new(&circuit, &solved)
            .check_single_changes("twice")
            .unwrap();
    }
}

/// 24: equal candidates at every pair have one maximum.
#[test]
fn ties_in_max_have_one_witness() {
    let program = tiny(3, |b, xs| max(b, &[&xs[0], &xs[1], &xs[2]]));
    for circuit in circuits(&program) {
        for input in inputs(3) {
            let solved = solve(&program, &input).unwrap();
            let forger = Forger::new(&circuit, &solved);
            for changes in forger.small_changes() {
                assert!(!forger.accepts(&changes, None), "accepted {changes:?}");
            }
        }
    }
}

/// 16: a value of one table under the key of another is refused, also where both have the key.
#[test]
fn other_tables_rows_are_refused() {
    let mut b = Builder::new();
    b.node("two tables");
    let x = b
        .input(spec(
            "x",
            Role::Input,
            Visibility::Private,
            &[1],
            Dtype::Bool,
        ))
        .unwrap();
    let f = b.lookup(&TableFunction::map(0, vec![5, 9]), &x).unwrap();
    let g = b.lookup(&TableFunction::map(0, vec![9, 5]), &x).unwrap();
    let y = b.combine(&[(1, &f), (10, &g)], 0).unwrap();
    b.output(
        &y,
        spec("y", Role::Output, Visibility::Public, &[1], Dtype::Int8),
    )
    .unwrap();
    let program = Arc::new(b.finish().unwrap());
    for input in [0, 1] {
        let solved = solve(&program, &[Tensor::flat(vec![input])]).unwrap();
        for circuit in circuits(&program) {
            let forger = Forger::new(&circuit, &solved);
            forger.check_single_changes("two tables").unwrap();
            for changes in forger.small_changes() {
                assert!(!forger.accepts(&changes, None), "accepted {changes:?}");
            }
        }
    }
}

/// 15: with α = ρ² the rows (0,0) and (1,0) "explain" the query (0,1) with multiplicities 1 and −1; our two are independent.
#[test]
fn a_folding_challenge_that_is_a_power_of_the_pole_is_forgeable() {
    use ark_bn254::Fr;
    use ark_ff::Field;
    let explained = |rho: Fr, alpha: Fr| {
        let query = (rho + alpha).inverse().unwrap();
        let rows = rho.inverse().unwrap() - (rho + Fr::from(1u64)).inverse().unwrap();
        query == rows
    };
    let rho = Fr::from(987_654_321u64);
    assert!(explained(rho, rho * rho));
    assert!(!explained(rho, Fr::from(123_456_789u64)));
}

/// 34 needs a prover: it is in prover/engine/tests. Here: what leaves its type is named, and a private value is not printed.
#[test]
fn a_value_outside_its_declared_type_is_an_error_that_names_the_place() {
    for (visibility, shown) in [
        (Visibility::Public, "is 2,"),
        (Visibility::Private, "is a private value,"),
    ] {
        let mut b = Builder::new();
        b.node("feed");
        let x = b
            .input(spec("x", Role::Input, visibility, &[2], Dtype::Bool))
            .unwrap();
        b.output(
            &x,
            spec("y", Role::Output, Visibility::Public, &[2], Dtype::Int8),
        )
        .unwrap();
        let program = b.finish().unwrap();
        let message = solve(&program, &[Tensor::flat(vec![0, 2])])
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("feed: input: element 1") && message.contains(shown),
            "{message}"
        );
        assert!(message.contains("outside [0, 1]"), "{message}");
    }
}
