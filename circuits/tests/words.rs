//! Public tensors of two and four bytes an element: words that end inside an element.

#![allow(clippy::unwrap_used)]

use ark_bn254::Fr;
use std::collections::BTreeMap;
use std::sync::Arc;
use zkinfer_circuits::arithmetization::LowerError;
use zkinfer_circuits::arithmetization::halo2::Halo2Circuit;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::{Builder, Program, solve};
use zkinfer_circuits::model::{Model, ModelBuilder, ModelError, Visibilities};
use zkinfer_circuits::ops::{Layout, Op};
use zkinfer_circuits::tensor::{Quantization, Tensor};
use zkinfer_circuits::testing::{Forger, Halo2Forger, spec};
use zkinfer_verifier::{Context, Dtype, Role, Statement, Visibility};

const FORMS: [Form; 2] = [Form::Plain, Form::Committed];

/// A public int8 tensor of `offset` elements and one of `n` elements of another type, both outputs too, the latter in reverse order of its halves.
fn model(dtype: Dtype, offset: usize, n: usize) -> Model {
    seen(dtype, offset, n, Visibilities::default()).unwrap()
}

fn seen(
    dtype: Dtype,
    offset: usize,
    n: usize,
    visibilities: Visibilities,
) -> Result<Model, ModelError> {
    let mut b = ModelBuilder::new(visibilities);
    let whole = Quantization {
        scale: 1.0,
        zero_point: 0,
    };
    let first = b.input("first", vec![offset], Dtype::Int8, whole).unwrap();
    let x = b.input("x", vec![n], dtype, whole).unwrap();
    let swapped: Op = Layout {
        view: vec![2, n / 2],
        axes: vec![1, 0],
        shape: vec![n],
    }
    .into();
    let y = b.node("swapped", swapped, &[x]).unwrap();
    b.output("same", first).unwrap();
    b.output("y", y).unwrap();
    b.finish()
}

fn vector(data: Vec<i64>) -> Tensor {
    Tensor {
        shape: vec![data.len()],
        data,
    }
}

/// Values of every size, the ends of the type among them.
fn inputs(dtype: Dtype, offset: usize, n: usize) -> Vec<Tensor> {
    let span = dtype.max() - dtype.min();
    let element = |i: usize| dtype.min() + span * (i as i64 * 37 % 101) / 100;
    vec![
        vector((0..offset as i64).map(|i| 4 * i - 9).collect()),
        vector((0..n).map(element).collect()),
    ]
}

fn statement(program: &Program, solved: &zkinfer_circuits::constraint::Assignment) -> Statement {
    solved.statement(program, Context::ZERO).unwrap()
}

#[test]
fn words_are_those_of_the_verifier_wherever_they_end() {
    for dtype in [Dtype::Int16, Dtype::Int32] {
        for (offset, n) in [(1, 2), (2, 16), (1, 40), (3, 62), (30, 8)] {
            let model = model(dtype, offset, n);
            let program = Arc::new(model.synthesize().unwrap());
            assert_eq!(Program::decode(&program.encode()).unwrap(), *program);
            let inputs = inputs(dtype, offset, n);
            let solved = solve(&program, &inputs).unwrap();
            assert_eq!(solved.outputs(&program), model.eval(&inputs).unwrap());
            for form in FORMS {
                let circuit = R1cs::lower(&program, form).unwrap();
                let forger = Forger::new(&circuit, &solved);
                forger.check_honest().unwrap();
                let words = statement(&program, &solved).words();
                assert_eq!(forger.words()[1..], words[1..], "{dtype} {offset} {n}");
            }
            let circuit = Halo2Circuit::lower(&program).unwrap();
            Halo2Forger::new(&circuit, &solved).check_honest().unwrap();
        }
    }
}

#[test]
fn every_copy_of_a_batch_is_cut_where_it_lies() {
    // one copy alone ends where a word does
    let model = model(Dtype::Int16, 1, 8);
    let whole = model.synthesize_batch(1).unwrap().steps().len();
    let batch = Arc::new(model.synthesize_batch(5).unwrap());
    assert_eq!(Program::decode(&batch.encode()).unwrap(), *batch);
    assert!(batch.steps().len() > 5 * whole);
    let inputs: Vec<Tensor> = (0..5).flat_map(|_| inputs(Dtype::Int16, 1, 8)).collect();
    let solved = solve(&batch, &inputs).unwrap();
    for form in FORMS {
        let circuit = R1cs::lower(&batch, form).unwrap();
        let forger = Forger::new(&circuit, &solved);
        forger.check_honest().unwrap();
        assert_eq!(forger.words()[1..], statement(&batch, &solved).words()[1..]);
    }
    let circuit = Halo2Circuit::lower(&batch).unwrap();
    Halo2Forger::new(&circuit, &solved).check_honest().unwrap();
}

/// 4, 9, 11: no wire of a split can be another one, and no other element has the claimed bytes.
#[test]
fn other_bytes_of_a_cut_element_are_refused() {
    for dtype in [Dtype::Int16, Dtype::Int32] {
        let program = Arc::new(model(dtype, 2, 16).synthesize().unwrap());
        let inputs = inputs(dtype, 2, 16);
        let solved = solve(&program, &inputs).unwrap();
        for form in FORMS {
            let circuit = R1cs::lower(&program, form).unwrap();
            let forger = Forger::new(&circuit, &solved);
            let mut tried = 0;
            for changes in forger
                .small_changes()
                .into_iter()
                .chain(forger.single_changes())
                .take(600)
            {
                assert!(!forger.accepts(&changes, None), "{form:?}: {changes:?}");
                assert!(
                    !forger.accepts_as_claimed(&changes),
                    "{form:?}: {changes:?}"
                );
                tried += 1;
            }
            assert!(tried > 200, "{tried}");
            for wire in forger.input_wires(1) {
                for by in [1u64, 255, 256, 65_535, 65_536] {
                    let honest = forger.honest_value(wire);
                    for value in [honest + Fr::from(by), honest - Fr::from(by)] {
                        let lie = BTreeMap::from([(wire, value)]);
                        assert!(!forger.accepts_as_claimed(&lie));
                    }
                }
            }
        }
        let circuit = Halo2Circuit::lower(&program).unwrap();
        let forger = Halo2Forger::new(&circuit, &solved);
        assert!(forger.check_lies(&forger.lies(true)).unwrap() > 100);
        let claimed = statement(&program, &solved);
        assert!(forger.accepts_as_claimed(&[], &claimed));
        for i in 0..16 {
            for by in [1, -1, 256, -256] {
                let lie = forger.input_lie(1, i, by);
                assert!(
                    !forger.accepts_as_claimed(&[lie], &claimed),
                    "{dtype} {i} {by}"
                );
            }
        }
    }
}

/// 16: a carry from the high bytes of a cut element to its low ones, or the other way, is another statement.
#[test]
fn words_with_a_carry_between_them_are_refused() {
    let program = Arc::new(model(Dtype::Int16, 1, 40).synthesize().unwrap());
    let solved = solve(&program, &inputs(Dtype::Int16, 1, 40)).unwrap();
    for form in FORMS {
        let circuit = R1cs::lower(&program, form).unwrap();
        let forger = Forger::new(&circuit, &solved);
        let words = forger.words().to_vec();
        assert!(forger.accepts_words(&words));
        // a byte more at the end of a word, 256 times the first byte of the next one less
        let carried = (0..248).fold(Fr::from(1), |power, _| power + power);
        for k in 1..words.len() - 1 {
            for sign in [Fr::from(1), -Fr::from(1)] {
                let mut other = words.clone();
                other[k] += sign;
                other[k + 1] -= sign * carried;
                assert!(!forger.accepts_words(&other), "{form:?}: word {k}");
                other[k + 1] = words[k + 1];
                assert!(!forger.accepts_words(&other), "{form:?}: word {k}");
            }
        }
    }
}

#[test]
fn a_program_that_does_not_split_what_a_word_cuts_is_refused_by_name() {
    let mut b = Builder::new();
    b.node("identity");
    let io = |role| spec("x", role, Visibility::Public, &[16], Dtype::Int16);
    let x = b.input(io(Role::Input)).unwrap();
    b.output(
        &x,
        spec("y", Role::Output, Visibility::Private, &[16], Dtype::Int16),
    )
    .unwrap();
    let program = Arc::new(b.finish().unwrap());
    for form in FORMS {
        let refused = R1cs::lower(&program, form).unwrap_err();
        assert!(matches!(refused, LowerError::Layout { tensor } if tensor == "x"));
    }
    assert!(Halo2Circuit::lower(&program).is_err());
}

/// 2, 12: without any one group of rows of the splits, their ranges or the words, a lie is accepted.
#[test]
fn every_deleted_constraint_of_a_cut_element_lets_a_forgery_through() {
    let program = Arc::new(model(Dtype::Int16, 30, 2).synthesize().unwrap());
    let solved = solve(&program, &inputs(Dtype::Int16, 30, 2)).unwrap();
    for form in FORMS {
        let circuit = R1cs::lower(&program, form).unwrap();
        let forger = Forger::new(&circuit, &solved);
        let singles: Vec<_> = forger.single_changes().collect();
        let (mut seen, mut idle) = (0, vec![]);
        for (group, rule) in forger.groups() {
            seen += 1;
            let mut targeted = forger.targeted_changes(group).into_iter();
            let found = targeted.any(|lie| forger.accepts(&lie, Some(group)))
                || singles.iter().any(|lie| forger.accepts(lie, Some(group)))
                || forger.accepts_other_statement(group);
            if !found {
                idle.push((group, rule));
            }
        }
        println!("{form:?}: {seen} groups, idle {idle:?}");
        assert!(seen > 8 && idle.is_empty(), "{form:?}: idle {idle:?}");
    }
}

#[test]
fn every_tensor_has_its_own_visibility() {
    use Visibility::{Hashed, Private, Public};
    let named = |tensors: &[(&str, Visibility)]| Visibilities {
        output: Private,
        tensors: tensors
            .iter()
            .map(|(name, v)| ((*name).to_owned(), *v))
            .collect(),
        ..Visibilities::default()
    };
    let model = |tensors: &[(&str, Visibility)]| seen(Dtype::Int16, 3, 16, named(tensors));
    let mixed = model(&[("x", Hashed), ("y", Public), ("first", Public)]).unwrap();
    let shown: Vec<_> = mixed
        .layout()
        .tensors
        .iter()
        .map(|t| t.visibility)
        .collect();
    assert_eq!(shown, [Public, Hashed, Private, Public]);
    assert_eq!(Model::decode(&mixed.encode()).unwrap(), mixed);
    // what a role has anyway is not written down
    let usual = model(&[("first", Public), ("same", Private)]).unwrap();
    assert_eq!(usual.encode(), model(&[]).unwrap().encode());
    assert_ne!(usual.model_id(), mixed.model_id());
    let unknown = model(&[("z", Public)]).unwrap_err();
    assert!(
        unknown.to_string().contains("`z`") && unknown.to_string().contains("first, x, same, y")
    );
    let program = Arc::new(mixed.synthesize().unwrap());
    let inputs = inputs(Dtype::Int16, 3, 16);
    let solved = solve(&program, &inputs).unwrap();
    for form in FORMS {
        let circuit = R1cs::lower(&program, form).unwrap();
        let forger = Forger::new(&circuit, &solved);
        forger.check_honest().unwrap();
        assert_eq!(
            forger.words()[1..],
            statement(&program, &solved).words()[1..]
        );
    }
    let circuit = Halo2Circuit::lower(&program).unwrap();
    Halo2Forger::new(&circuit, &solved).check_honest().unwrap();
}

#[test]
fn models_with_redundant_visibilities_are_not_canonical() {
    let plain = model(Dtype::Int8, 1, 2).encode();
    let mut redundant = plain.clone();
    redundant[8] = 3;
    // no name; and one that says what the role says
    redundant.push(0);
    assert!(Model::decode(&redundant).is_err());
    redundant.pop();
    redundant.extend([1, 1, b'x', 0]);
    assert!(Model::decode(&redundant).is_err());
    *redundant.last_mut().unwrap() = 1;
    assert!(Model::decode(&redundant).is_ok());
}

/// Whatever else a program splits, or ranges wider than it must, the words are the verifier's.
#[test]
fn other_splits_change_no_word() {
    let n = 17;
    let min = Dtype::Int16.min();
    // shift and bits of every split of the public tensor, and whether another tensor is split alike
    let programs: [(&[(u32, u32)], bool); 5] = [
        (&[(8, 48)], false),
        (&[(8, 9)], true),
        (&[(8, 48), (8, 8), (3, 17)], false),
        (&[(7, 9), (8, 17)], true),
        (&[(1, 31), (8, 24)], true),
    ];
    for (splits, alike) in programs {
        let mut b = Builder::new();
        b.node("splits");
        let mut input = |name, visibility| {
            let io = spec(name, Role::Input, visibility, &[n], Dtype::Int16);
            b.input(io).unwrap()
        };
        let hidden = input("hidden", Visibility::Private);
        let hashed = input("hashed", Visibility::Hashed);
        let x = input("x", Visibility::Public);
        let mut split = |x, splits: &[(u32, u32)]| {
            let moved = b.combine(&[(1, x)], -min).unwrap();
            for (shift, bits) in splits {
                let quotient = b.split(&moved, *shift).unwrap();
                b.range_unbound(quotient, *bits).unwrap();
            }
        };
        if alike {
            split(&hidden, splits);
            split(&hashed, &[(8, 8)]);
        }
        split(&x, splits);
        b.output(
            &hidden,
            spec("y", Role::Output, Visibility::Private, &[n], Dtype::Int16),
        )
        .unwrap();
        let program = b.finish().unwrap();
        let program = Arc::new(Program::decode(&program.encode()).unwrap());
        let values = inputs(Dtype::Int16, 1, n).swap_remove(1);
        let solved = solve(&program, &[values.clone(), values.clone(), values]).unwrap();
        let claimed = statement(&program, &solved);
        for form in FORMS {
            let circuit = R1cs::lower(&program, form).unwrap();
            let forger = Forger::new(&circuit, &solved);
            forger.check_honest().unwrap();
            assert_eq!(forger.words()[1..], claimed.words()[1..]);
            for wire in forger.input_wires(2) {
                for by in [1u64, 256] {
                    let lie = BTreeMap::from([(wire, forger.honest_value(wire) + Fr::from(by))]);
                    assert!(!forger.accepts_as_claimed(&lie), "{form:?} {splits:?}");
                }
            }
        }
        let circuit = Halo2Circuit::lower(&program).unwrap();
        let forger = Halo2Forger::new(&circuit, &solved);
        forger.check_honest().unwrap();
        for i in 0..n {
            for by in [1, -1, 256, -256] {
                let lie = forger.input_lie(2, i, by);
                assert!(
                    !forger.accepts_as_claimed(&[lie], &claimed),
                    "{splits:?} {i} {by}"
                );
            }
        }
    }
}
