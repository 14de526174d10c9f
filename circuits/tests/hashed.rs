//! Hashed tensors: the circuit computes the digest that the verifier defines, and no other.
//!
//! Numbers are rows of the forge list in circuits/DESIGN.md.

#![allow(clippy::unwrap_used)]

use ark_bn254::Fr;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use zkinfer_circuits::arithmetization::halo2::Halo2Circuit;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::{Builder, Program, solve};
use zkinfer_circuits::tensor::Tensor;
use zkinfer_circuits::testing::{Forger, Halo2Forger, spec, tiny_dense};
use zkinfer_verifier::{Context, Dtype, Role, Statement, Visibility};

const FORMS: [Form; 2] = [Form::Plain, Form::Committed];

/// A tensor of a border: name, visibility, dtype, elements.
type Io = (&'static str, Visibility, Dtype, usize);

/// Every input is an output too, as it is.
fn identity(inputs: &[Io], outputs: &[Io]) -> Arc<Program> {
    let mut b = Builder::new();
    b.node("identity");
    let mut made = vec![];
    for (name, visibility, dtype, n) in inputs {
        made.push(
            b.input(spec(name, Role::Input, *visibility, &[*n], *dtype))
                .unwrap(),
        );
    }
    for (x, (name, visibility, dtype, n)) in made.iter().zip(outputs) {
        b.output(x, spec(name, Role::Output, *visibility, &[*n], *dtype))
            .unwrap();
    }
    Arc::new(b.finish().unwrap())
}

fn vector(data: Vec<i64>) -> Tensor {
    Tensor {
        shape: vec![data.len()],
        data,
    }
}

/// One hashed input shorter than a word, one longer than a block, both hashed outputs too, and a public one between them.
fn mixed() -> (Arc<Program>, Vec<Tensor>) {
    use Visibility::{Hashed, Private, Public};
    let program = identity(
        &[
            ("a", Hashed, Dtype::Uint8, 3),
            ("b", Public, Dtype::Int8, 33),
            ("c", Hashed, Dtype::Int8, 130),
            ("d", Private, Dtype::Int16, 16),
        ],
        &[
            ("p", Private, Dtype::Uint8, 3),
            ("q", Hashed, Dtype::Int8, 33),
            ("r", Private, Dtype::Int8, 130),
            ("s", Hashed, Dtype::Int16, 16),
        ],
    );
    let inputs = vec![
        vector(vec![0, 255, 9]),
        vector((0..33).map(|i| 3 * i - 50).collect()),
        vector((0..130).map(|i| (37 * i) % 256 - 128).collect()),
        vector((0..16).map(|i| 4369 * i - 32768).collect()),
    ];
    (program, inputs)
}

/// One hashed input, negated: the smallest program with a digest.
fn small(visibility: Visibility) -> (Arc<Program>, Vec<Tensor>) {
    let program = tiny_dense(vec![3, -5, 7, 2], vec![1, -1], 2, visibility).unwrap();
    let x = Tensor {
        shape: vec![1, 2],
        data: vec![-128, 90],
    };
    (program, vec![x])
}

#[test]
fn the_circuit_computes_the_digest_of_the_verifier() {
    let (program, inputs) = mixed();
    assert_eq!(Program::decode(&program.encode()).unwrap(), *program);
    let solved = solve(&program, &inputs).unwrap();
    for form in FORMS {
        let circuit = R1cs::lower(&program, form).unwrap();
        // rows, transposed walk, symbolic rows and the prover's pass too
        Forger::new(&circuit, &solved).check_honest().unwrap();
    }
}

#[test]
fn a_digest_takes_three_rows_for_each_of_a_hundred_s_boxes() {
    let rows = |n: usize| {
        let io = |visibility| [("x", visibility, Dtype::Int8, n)];
        let count = |visibility| {
            let program = identity(
                &io(visibility),
                &[("y", Visibility::Private, Dtype::Int8, n)],
            );
            let circuit = R1cs::lower(&program, Form::Plain).unwrap();
            circuit.n_rows()
        };
        count(Visibility::Hashed) - count(Visibility::Private)
    };
    // and one for the public word
    assert_eq!(rows(1), 301);
    assert_eq!(rows(124), 301);
    assert_eq!(rows(125), 601);
}

#[test]
fn batches_hash_every_copy_in_its_own_domain() {
    let (program, _) = small(Visibility::Hashed);
    let batch = Arc::new(program.batched(2).unwrap());
    assert_eq!(Program::decode(&batch.encode()).unwrap(), *batch);
    let x = Tensor {
        shape: vec![1, 2],
        data: vec![7, -7],
    };
    let solved = solve(&batch, &[x.clone(), x]).unwrap();
    let statement = solved.statement(&batch, Context::ZERO).unwrap();
    assert_eq!(statement.digests.len(), 2);
    assert_ne!(statement.digests[0], statement.digests[1]);
    for form in FORMS {
        let circuit = R1cs::lower(&batch, form).unwrap();
        Forger::new(&circuit, &solved).check_honest().unwrap();
    }
}

/// 9, 11, 29: every element of a hashed tensor, changed in any way, has another digest than the claimed one.
#[test]
fn another_input_is_refused_under_the_claimed_digest() {
    let (program, inputs) = mixed();
    let solved = solve(&program, &inputs).unwrap();
    for form in FORMS {
        let circuit = R1cs::lower(&program, form).unwrap();
        let forger = Forger::new(&circuit, &solved);
        assert!(forger.accepts_as_claimed(&BTreeMap::new()));
        for io in [0, 1, 2, 3] {
            let wires = forger.input_wires(io);
            assert_eq!(wires.len(), inputs[io].data.len());
            for (i, wire) in wires.into_iter().enumerate() {
                if i % 7 > 0 && i < 120 {
                    continue;
                }
                let honest = forger.honest_value(wire);
                for value in [
                    honest + Fr::from(1),
                    honest - Fr::from(1),
                    -honest - Fr::from(1),
                ] {
                    let lie = BTreeMap::from([(wire, value)]);
                    assert_ne!(forger.words_of(&lie), forger.words());
                    assert!(
                        !forger.accepts_as_claimed(&lie),
                        "{form:?}: input {io}, {i}"
                    );
                }
            }
        }
    }
}

/// 11, 16: one input of its type has one digest, and every other word in its place is refused.
#[test]
fn another_digest_is_refused() {
    let (program, inputs) = mixed();
    let solved = solve(&program, &inputs).unwrap();
    for form in FORMS {
        let circuit = R1cs::lower(&program, form).unwrap();
        let forger = Forger::new(&circuit, &solved);
        let words = forger.words();
        assert!(forger.accepts_words(words));
        assert_eq!(words.len(), 1 + 2 + 4);
        for index in 1..words.len() {
            for value in [
                Fr::from(0),
                words[index] + Fr::from(1),
                -words[index],
                words[index - 1],
            ] {
                let mut other = words.to_vec();
                other[index] = value;
                assert!(!forger.accepts_words(&other), "{form:?}: word {index}");
            }
        }
        let mut swapped = words.to_vec();
        swapped.swap(3, 4);
        assert!(!forger.accepts_words(&swapped));
    }
}

/// 4, 7: a byte that is none would let two tensors share a packed element: (b, c) and (b − 1, c + 256).
#[test]
fn bytes_that_carry_into_their_neighbours_are_refused() {
    let (program, inputs) = mixed();
    let solved = solve(&program, &inputs).unwrap();
    for form in FORMS {
        let circuit = R1cs::lower(&program, form).unwrap();
        let forger = Forger::new(&circuit, &solved);
        let wires = forger.input_wires(2);
        for at in [0, 14, 29] {
            let (left, right) = (wires[at], wires[at + 1]);
            for (less, more) in [(1, 256), (-1, -256)] {
                let lie = BTreeMap::from([
                    (left, forger.honest_value(left) - Fr::from(less)),
                    (right, forger.honest_value(right) + Fr::from(more)),
                ]);
                // the packed element and so the digest stay as claimed: only the ranges refuse this
                assert_eq!(forger.words_of(&lie), forger.words());
                assert!(!forger.accepts_as_claimed(&lie), "{form:?}, {at}");
            }
        }
    }
}

/// 11: no wire of the hash can be changed, alone or with what depends on it.
#[test]
fn every_changed_wire_of_the_hash_is_refused() {
    let (program, inputs) = small(Visibility::Hashed);
    let solved = solve(&program, &inputs).unwrap();
    for form in FORMS {
        let circuit = R1cs::lower(&program, form).unwrap();
        let forger = Forger::new(&circuit, &solved);
        let tried = forger.check_single_changes("dense").unwrap();
        assert!(tried > 300, "{tried}");
        for (group, rule) in forger.groups() {
            for lie in forger.targeted_changes(group) {
                assert!(!forger.accepts(&lie, None), "{form:?}: {rule} {lie:?}");
            }
        }
    }
}

/// 12: without any one group of rows of the hash, or of the words, a lie is accepted.
#[test]
fn every_deleted_constraint_of_the_hash_lets_a_forgery_through() {
    let (program, inputs) = small(Visibility::Hashed);
    let solved = solve(&program, &inputs).unwrap();
    for form in FORMS {
        let circuit = R1cs::lower(&program, form).unwrap();
        let forger = Forger::new(&circuit, &solved);
        let mut seen = 0;
        for (group, rule) in forger.groups() {
            let of_words = ["public word", "evaluation of the words"].contains(&rule);
            if !rule.starts_with("hash") && !of_words {
                continue;
            }
            seen += 1;
            let mut lies = forger.targeted_changes(group).into_iter();
            assert!(
                lies.any(|lie| forger.accepts(&lie, Some(group)))
                    || forger.accepts_other_statement(group),
                "{form:?}: group {group} ({rule}) is idle"
            );
        }
        // nine stages of three groups, and the words
        assert!(seen > 27, "{seen}");
    }
}

/// 29, 35: the digest depends on position, role, dtype and length, so it cannot be shown for another tensor.
#[test]
fn equal_bytes_have_other_digests_elsewhere() {
    use Visibility::{Hashed, Private};
    let mut seen = BTreeSet::new();
    let mut digest = |inputs: &[Io], outputs: &[Io], values: &[Vec<i64>]| {
        let program = identity(inputs, outputs);
        let values: Vec<Tensor> = values.iter().cloned().map(vector).collect();
        let solved = solve(&program, &values).unwrap();
        let statement: Statement = solved.statement(&program, Context::ZERO).unwrap();
        assert_eq!(statement.digests.len(), 1);
        assert!(seen.insert(statement.digests[0]), "{inputs:?} {outputs:?}");
    };
    let zeros = |n: usize| vec![0; n];
    digest(
        &[("x", Hashed, Dtype::Uint8, 4)],
        &[("y", Private, Dtype::Uint8, 4)],
        &[zeros(4)],
    );
    digest(
        &[("x", Private, Dtype::Uint8, 4)],
        &[("y", Hashed, Dtype::Uint8, 4)],
        &[zeros(4)],
    );
    digest(
        &[("x", Hashed, Dtype::Uint8, 5)],
        &[("y", Private, Dtype::Uint8, 5)],
        &[zeros(5)],
    );
    digest(
        &[("x", Hashed, Dtype::Int8, 4)],
        &[("y", Private, Dtype::Int8, 4)],
        &[vec![-128; 4]],
    );
    digest(
        &[
            ("w", Private, Dtype::Uint8, 4),
            ("x", Hashed, Dtype::Uint8, 4),
        ],
        &[
            ("y", Private, Dtype::Uint8, 4),
            ("z", Private, Dtype::Uint8, 4),
        ],
        &[zeros(4), zeros(4)],
    );
}

/// Without a hashed tensor nothing of it is in a circuit: private and public programs keep their rows.
#[test]
fn the_visibility_is_in_the_digest_of_the_circuit() {
    let all = [Visibility::Public, Visibility::Private, Visibility::Hashed];
    let programs = all.map(|visibility| small(visibility).0);
    for form in FORMS {
        let digests: BTreeSet<[u8; 32]> = programs
            .iter()
            .map(|program| R1cs::lower(program, form).unwrap().digest())
            .collect();
        assert_eq!(digests.len(), 3);
    }
}

#[test]
fn the_halo2_form_computes_the_same_digest() {
    let (program, inputs) = mixed();
    let solved = solve(&program, &inputs).unwrap();
    let circuit = Halo2Circuit::lower(&program).unwrap();
    assert_eq!(circuit.n_words(), 1 + 2 + 4);
    // here and in the library's mock prover
    Halo2Forger::new(&circuit, &solved).check_honest().unwrap();
}

/// 4, 7, 9, 11, 29 in the Halo2 form.
#[test]
fn the_halo2_form_refuses_other_inputs_and_other_digests() {
    let (program, inputs) = mixed();
    let solved = solve(&program, &inputs).unwrap();
    let circuit = Halo2Circuit::lower(&program).unwrap();
    let forger = Halo2Forger::new(&circuit, &solved);
    let statement = solved.statement(&program, Context::ZERO).unwrap();
    assert!(forger.accepts_as_claimed(&[], &statement));
    for (io, input) in inputs.iter().enumerate() {
        for i in (0..input.data.len()).step_by(1 + input.data.len() / 5) {
            for delta in [1, -1, 256] {
                let lie = forger.input_lie(io, i, delta);
                assert!(!forger.accepts_as_claimed(&[lie], &statement), "{io}, {i}");
            }
        }
    }
    for (less, more) in [(-1, 256), (1, -256)] {
        let lies = [forger.input_lie(2, 3, less), forger.input_lie(2, 4, more)];
        assert!(!forger.accepts_as_claimed(&lies, &statement));
    }
    for index in 0..statement.digests.len() {
        for value in [Fr::from(0), statement.digests[index] + Fr::from(1)] {
            let mut other = statement.clone();
            other.digests[index] = value;
            assert!(!forger.accepts_as_claimed(&[], &other), "digest {index}");
        }
    }
}

/// 11, 12, 30: every cell of the hash is held, and every kind of constraint is needed.
#[test]
fn the_halo2_form_holds_every_cell_of_the_hash() {
    let io = |visibility| [("x", visibility, Dtype::Bool, 2)];
    let program = identity(
        &io(Visibility::Hashed),
        &[("y", Visibility::Private, Dtype::Bool, 2)],
    );
    let solved = solve(&program, &[vector(vec![0, 1])]).unwrap();
    let circuit = Halo2Circuit::lower(&program).unwrap();
    let forger = Halo2Forger::new(&circuit, &solved);
    forger.check_honest().unwrap();
    assert!(forger.check_cells().unwrap() > 2000);
    let lies = forger.lies(true);
    forger.check_lies(&lies).unwrap();
    for rule in 0..forger.n_rules() {
        assert!(
            forger.finds_a_lie_without(rule, &lies),
            "{} is idle",
            forger.rule_name(rule)
        );
    }
}
