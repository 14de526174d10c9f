//! n inferences in one program: the copies are the program, they share tables and nothing else, and a lie in any of them is refused.

#![allow(clippy::unwrap_used)]

mod fixtures;
mod gadgets;

use ark_bn254::Fr;
use fixtures::compiled;
use gadgets::{GADGETS, HALO2_GADGETS, inputs, tiny};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use zkinfer_circuits::arithmetization::halo2::Halo2Circuit;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::{
    Assignment, BuildError, Builder, Instr, MAX_BATCH, Program, ProgramError, TableFunction,
    WireTensor, solve,
};
use zkinfer_circuits::gadgets::requantize::requantize;
use zkinfer_circuits::tensor::Tensor;
use zkinfer_circuits::testing::{Forger, Halo2Forger, spec, tiny_dense};
use zkinfer_verifier::{Context, Dtype, Role, Statement, Visibility};

fn batched(program: &Program, n: u32) -> Arc<Program> {
    Arc::new(program.batched(n).unwrap())
}

/// The inputs of several inferences, one after the other.
fn joined(runs: &[&[Tensor]]) -> Vec<Tensor> {
    runs.concat()
}

/// The layer that every test of statements uses, input and output public.
fn dense() -> Arc<Program> {
    tiny_dense(vec![3, -5, 7, 2], vec![1, -1], 2, Visibility::Public).unwrap()
}

fn row_of(data: [i64; 2]) -> Tensor {
    Tensor::new(vec![1, 2], data.to_vec()).unwrap()
}

#[test]
fn a_batch_is_what_the_builder_makes_of_the_copies() {
    let layer = |b: &mut Builder, x: &WireTensor| {
        let y = requantize(b, x, vec![3], 2, 1, &TableFunction::clamp(-1, 2)).unwrap();
        b.lookup(&TableFunction::map(-1, vec![7, -3, 7, 1]), &y)
            .unwrap()
    };
    let io = |name: &str, role| spec(name, role, Visibility::Public, &[2], Dtype::Int8);
    let built = |names: &[(&str, &str)]| {
        let mut b = Builder::new();
        let outputs: Vec<WireTensor> = names
            .iter()
            .map(|(x, _)| {
                let x = b.input(io(x, Role::Input)).unwrap();
                layer(&mut b, &x)
            })
            .collect();
        for ((_, y), out) in names.iter().zip(&outputs) {
            b.output(out, io(y, Role::Output)).unwrap();
        }
        b.finish().unwrap()
    };
    let single = built(&[("x", "y")]);
    let by_hand = built(&[("x[0]", "y[0]"), ("x[1]", "y[1]"), ("x[2]", "y[2]")]);
    let batch = single.batched(3).unwrap();
    assert_eq!(batch.batch(), 3);
    assert_eq!(batch.steps(), by_hand.steps());
    assert_eq!(batch.tensors(), by_hand.tensors());
    assert_eq!(batch.tables(), by_hand.tables());
    assert_eq!(batch.inputs(), by_hand.inputs());
    assert_eq!(batch.outputs(), by_hand.outputs());
    assert_eq!(batch.layout(), by_hand.layout());
    assert_eq!(single.batched(1).unwrap(), single);
}

#[test]
fn every_size_has_its_own_bytes_and_digest_and_weights_are_written_once() {
    for (name, gadget) in GADGETS.into_iter().chain(HALO2_GADGETS) {
        let single = tiny(3, gadget);
        let mut digests = std::collections::BTreeSet::from([single.digest()]);
        for n in [2, 3, 16] {
            let batch = batched(&single, n);
            let bytes = batch.encode();
            assert_eq!(bytes.len(), single.encode().len() + 4, "{name}");
            assert_eq!(Program::decode(&bytes).unwrap(), *batch, "{name}");
            assert!(digests.insert(batch.digest()), "{name}");
        }
    }
    let batch = batched(&dense(), 4);
    let maps: Vec<_> = batch
        .steps()
        .iter()
        .filter_map(|s| match &s.instr {
            Instr::Linear { map, .. } => Some(Arc::as_ptr(map)),
            _ => None,
        })
        .collect();
    let each = maps.len() / 4;
    assert!(each > 0 && (0..maps.len()).all(|i| maps[i] == maps[i % each]));
}

#[test]
fn sizes_and_bytes_that_are_no_batch_are_refused() {
    let single = dense();
    for got in [0, MAX_BATCH + 1, u32::MAX] {
        let refused = single.batched(got);
        assert!(matches!(refused, Err(BuildError::Batch { got: g, .. }) if g == got));
    }
    let batch = batched(&single, 2);
    assert!(matches!(
        batch.batched(2),
        Err(BuildError::Batched { copies: 2 })
    ));
    let bytes = batch.encode();
    let with_size = |n: u32| [&bytes[..8], &n.to_be_bytes(), &bytes[12..]].concat();
    assert!(matches!(
        Program::decode(&with_size(1)),
        Err(ProgramError::NotCanonical)
    ));
    for n in [0, MAX_BATCH + 1, u32::MAX] {
        assert!(matches!(
            Program::decode(&with_size(n)),
            Err(ProgramError::Build(BuildError::Batch { .. }))
        ));
    }
    for end in 0..bytes.len() {
        assert!(Program::decode(&bytes[..end]).is_err());
    }
    // a batch of a batch is not a format
    let nested = [&bytes[..12], &bytes].concat();
    assert!(Program::decode(&nested).is_err());
    // 2^15 elements in each of 4096 copies pass the bound on elements before anything is copied
    let mut b = Builder::new();
    let shape = [1usize << 15];
    let x = b
        .input(spec(
            "x",
            Role::Input,
            Visibility::Private,
            &shape,
            Dtype::Int8,
        ))
        .unwrap();
    b.output(
        &x,
        spec("y", Role::Output, Visibility::Private, &shape, Dtype::Int8),
    )
    .unwrap();
    let told = b.finish().unwrap().batched(MAX_BATCH).unwrap_err();
    assert_eq!(
        told.to_string(),
        "a batch of 4096: 32768 tensor elements in each, at most 33554432 in all, which is a batch of 1024"
    );
}

#[test]
fn lists_and_outputs_of_all_copies_are_bounded_before_anything_is_copied() {
    let one = |n_terms: usize, n_outputs: usize| {
        let mut b = Builder::new();
        let private = |name: &str, role| spec(name, role, Visibility::Private, &[1], Dtype::Int8);
        let x = b.input(private("x", Role::Input)).unwrap();
        if n_terms > 0 {
            b.combine(&vec![(0, &x); n_terms], 0).unwrap();
        }
        for k in 0..n_outputs {
            b.output(&x, private(&format!("y{k}"), Role::Output))
                .unwrap();
        }
        b.finish().unwrap()
    };
    for (program, what) in [
        (one(5000, 1), "listed operands"),
        (one(0, 3), "statement tensors"),
    ] {
        let told = program.batched(MAX_BATCH).unwrap_err().to_string();
        assert!(told.contains(what), "{told}");
        let single = program.encode();
        let size = MAX_BATCH.to_be_bytes();
        let bytes = [&b"zkiprog\x02"[..], &size, &single[8..]].concat();
        let told = Program::decode(&bytes).unwrap_err().to_string();
        assert!(told.contains(what), "{told}");
    }
}

#[test]
fn no_instruction_of_a_copy_reads_a_tensor_of_another() {
    for (name, gadget) in GADGETS.into_iter().chain(HALO2_GADGETS) {
        let single = tiny(3, gadget);
        let (n_tensors, n_steps) = (single.tensors().len(), single.steps().len());
        let batch = batched(&single, 5);
        for (i, step) in batch.steps().iter().enumerate() {
            let copy = i / n_steps;
            let reads = step.instr.operands().into_iter().chain(step.y);
            for id in reads {
                assert_eq!(id.index() / n_tensors, copy, "{name}: step {i}");
            }
        }
    }
}

/// Sizes of the sets of wires that rows tie together, one row after another; challenges and constants tie nothing.
fn components(circuit: &R1cs) -> BTreeMap<usize, usize> {
    let mut parent: Vec<usize> = (0..circuit.n_wires()).collect();
    fn root(parent: &mut [usize], mut x: usize) -> usize {
        while parent[x] != x {
            parent[x] = parent[parent[x]];
            x = parent[x];
        }
        x
    }
    // the sum over all lookups is the last row of the committed form; α² is the wire of α·α
    let committed = circuit.form() == Form::Committed;
    let rows: Vec<_> = (0..circuit.n_rows() - usize::from(committed))
        .map(|row| circuit.row(row))
        .collect();
    let alpha = [(2usize, Fr::from(1u64))];
    let square = rows
        .iter()
        .find(|[a, b, _]| committed && a[..] == alpha && b[..] == alpha)
        .map(|[_, _, c]| c[0].0);
    for row in &rows {
        let wires: Vec<usize> = row
            .iter()
            .flatten()
            .map(|term| term.0)
            .filter(|w| *w >= circuit.n_instance() && Some(*w) != square)
            .collect();
        for pair in wires.windows(2) {
            let (a, b) = (root(&mut parent, pair[0]), root(&mut parent, pair[1]));
            parent[a] = b;
        }
    }
    let mut sizes = BTreeMap::<usize, usize>::new();
    for wire in circuit.n_instance()..circuit.n_wires() {
        *sizes.entry(root(&mut parent, wire)).or_default() += 1;
    }
    let mut counts = BTreeMap::new();
    for size in sizes.into_values() {
        *counts.entry(size).or_default() += 1;
    }
    counts
}

#[test]
fn rows_tie_no_wire_of_a_copy_to_a_wire_of_another() {
    // everything private, so that no public word packs elements of two copies
    let mut b = Builder::new();
    let io = |name: &str, role| spec(name, role, Visibility::Private, &[1], Dtype::Int8);
    let x = b.input(io("x", Role::Input)).unwrap();
    let square = b.mul(&x, &x).unwrap();
    let y = requantize(
        &mut b,
        &square,
        vec![3],
        7,
        1,
        &TableFunction::clamp(-9, 90),
    )
    .unwrap();
    b.output(&y, io("y", Role::Output)).unwrap();
    let single = Arc::new(b.finish().unwrap());
    let batch = batched(&single, 7);
    let plain = |p: &Arc<Program>| R1cs::lower(p, Form::Plain).unwrap();
    let committed = |p: &Arc<Program>| R1cs::lower_with_limb(p, 4).unwrap();
    for lower in [plain as fn(&Arc<Program>) -> R1cs, committed] {
        let (one, all) = (components(&lower(&single)), components(&lower(&batch)));
        // sets of one or two wires: the context, and a multiplicity with its quotient, which are shared
        let large = |c: &BTreeMap<usize, usize>, times: usize| -> Vec<(usize, usize)> {
            let large = c.iter().filter(|(size, _)| **size > 2);
            large.map(|(size, n)| (*size, n * times)).collect()
        };
        assert!(!large(&one, 1).is_empty());
        assert_eq!(large(&one, 7), large(&all, 1));
    }
}

/// Solutions of `program` on pairs of different inputs of three bits.
fn pairs(program: &Arc<Program>) -> Vec<Assignment> {
    let all: Vec<_> = inputs(3).collect();
    let solved = |i: usize| solve(program, &joined(&[&all[i], &all[7 - i]])).unwrap();
    (0..all.len()).map(solved).collect()
}

#[test]
fn no_change_of_a_wire_in_any_copy_survives() {
    let mut tried = 0;
    for (name, gadget) in GADGETS {
        let batch = batched(&tiny(3, gadget), 2);
        let mut circuits = vec![R1cs::lower(&batch, Form::Plain).unwrap()];
        circuits.extend([2, 3].map(|w| R1cs::lower_with_limb(&batch, w).unwrap()));
        for circuit in &circuits {
            for solved in pairs(&batch) {
                let forger = Forger::new(circuit, &solved);
                forger.check_honest().unwrap();
                for changes in forger.single_changes() {
                    let accepted = forger.accepts(&changes, None);
                    assert!(!accepted, "{name}, {:?}: {changes:?}", circuit.form());
                    tried += 1;
                }
            }
        }
    }
    println!("{tried} changes refused");
}

/// Two wires at once, one in each copy among them.
#[test]
fn no_two_changes_survive_across_copies() {
    for (name, gadget) in &GADGETS[..4] {
        let batch = batched(&tiny(3, *gadget), 2);
        let circuit = R1cs::lower_with_limb(&batch, 3).unwrap();
        for solved in pairs(&batch).iter().step_by(3) {
            let forger = Forger::new(&circuit, solved);
            for changes in forger.small_changes() {
                assert!(!forger.accepts(&changes, None), "{name}: {changes:?}");
            }
        }
    }
}

#[test]
fn no_bent_cell_of_any_copy_survives_in_the_halo2_form() {
    for (name, gadget) in GADGETS.into_iter().chain(HALO2_GADGETS) {
        let batch = batched(&tiny(3, gadget), 2);
        let circuit = Halo2Circuit::lower(&batch).unwrap();
        for solved in pairs(&batch).iter().step_by(5) {
            let forger = Halo2Forger::new(&circuit, solved);
            forger.check_honest().unwrap();
            let lies = forger.lies(false);
            forger
                .check_lies(&lies)
                .unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}

/// Whether a prover who solved for `solved` can show `words` instead.
fn shows(circuit: &R1cs, solved: &Assignment, words: &[Fr]) -> bool {
    let witness = match circuit.form() {
        Form::Plain => circuit.assign_plain(solved, words),
        Form::Committed => {
            let committed = circuit.commit(solved, words[0]);
            let (rho, alpha) = (Fr::from(987_654_321u64), Fr::from(123_456_789u64));
            circuit.complete(committed, words, rho, alpha).unwrap()
        }
    };
    circuit.check(&witness).is_ok()
}

#[test]
fn a_statement_with_two_inferences_exchanged_in_part_has_no_witness() {
    let batch = batched(&dense(), 3);
    let names: Vec<&str> = batch
        .layout()
        .tensors
        .iter()
        .map(|t| t.name.as_str())
        .collect();
    assert_eq!(names, ["x[0]", "x[1]", "x[2]", "y[0]", "y[1]", "y[2]"]);
    let xs = [[100, -7], [3, 50], [-128, 127]].map(row_of);
    let solved = solve(&batch, &xs).unwrap();
    let (ys, single) = (solved.outputs(&batch), dense());
    for (x, y) in xs.iter().zip(&ys) {
        let alone = solve(&single, std::slice::from_ref(x)).unwrap();
        assert_eq!(alone.outputs(&single), std::slice::from_ref(y));
    }
    let words = |xs: &[Tensor], ys: &[Tensor]| {
        let values: Vec<&[i64]> = xs.iter().chain(ys).map(|t| t.data.as_slice()).collect();
        Statement::new(batch.layout(), Context::ZERO, &values)
            .unwrap()
            .words()
    };
    for form in [Form::Plain, Form::Committed] {
        let circuit = R1cs::lower(&batch, form).unwrap();
        assert!(shows(&circuit, &solved, &words(&xs, &ys)));
        for (i, j) in [(0, 1), (0, 2), (1, 2)] {
            let (mut other_xs, mut other_ys) = (xs.clone(), ys.clone());
            other_xs.swap(i, j);
            other_ys.swap(i, j);
            let exchanged = solve(&batch, &other_xs).unwrap();
            // both exchanged is a true statement, but another one
            let both = words(&other_xs, &other_ys);
            assert!(shows(&circuit, &exchanged, &both));
            assert!(!shows(&circuit, &solved, &both));
            for lie in [words(&other_xs, &ys), words(&xs, &other_ys)] {
                assert!(!shows(&circuit, &solved, &lie), "{form:?}: {i} and {j}");
                assert!(!shows(&circuit, &exchanged, &lie), "{form:?}: {i} and {j}");
            }
        }
    }
}

#[test]
fn one_input_twice_cannot_have_two_outputs() {
    let batch = batched(&dense(), 2);
    let x = row_of([100, -7]);
    let solved = solve(&batch, &[x.clone(), x.clone()]).unwrap();
    let ys = solved.outputs(&batch);
    assert_eq!(ys[0], ys[1]);
    for form in [Form::Plain, Form::Committed] {
        let circuit = R1cs::lower(&batch, form).unwrap();
        for copy in 0..2 {
            for element in 0..ys[copy].data.len() {
                let mut lie = ys.clone();
                lie[copy].data[element] -= lie[copy].data[element].signum().max(1);
                let values: Vec<&[i64]> = [&x, &x]
                    .into_iter()
                    .chain(&lie)
                    .map(|t| t.data.as_slice())
                    .collect();
                let lie = Statement::new(batch.layout(), Context::ZERO, &values).unwrap();
                assert!(!shows(&circuit, &solved, &lie.words()), "{form:?}");
            }
        }
    }
}

#[test]
fn a_private_input_is_private_in_every_copy() {
    let single = tiny_dense(vec![1, 2], vec![0], 2, Visibility::Private).unwrap();
    let batch = single.batched(4).unwrap();
    let shown: Vec<&str> = batch
        .layout()
        .public_tensors()
        .map(|t| t.name.as_str())
        .collect();
    assert_eq!(shown, ["y[0]", "y[1]", "y[2]", "y[3]"]);
}

#[test]
fn sixteen_digits_are_sixteen_single_inferences_bit_for_bit() {
    let (one, batch) = (compiled("digits-cnn", 1), compiled("digits-cnn", 16));
    assert_eq!(one.model.model_id(), batch.model.model_id());
    assert_ne!(one.program.digest(), batch.program.digest());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    let file = std::fs::read(folder.join("digits-cnn.heldout.npz")).unwrap();
    let file = zkinfer_circuits::quantize::InputFile::parse(&file).unwrap();
    let samples = one.model.samples(&file).unwrap();
    let inputs: Vec<Tensor> = samples[..16]
        .iter()
        .flat_map(|s| one.model.quantize_input(s).unwrap())
        .collect();
    let together = solve(&batch.program, &inputs).unwrap();
    let together = together.outputs(&batch.program);
    for (j, x) in inputs.iter().enumerate() {
        let x = std::slice::from_ref(x);
        let alone = solve(&one.program, x).unwrap().outputs(&one.program);
        assert_eq!(alone, one.model.eval(x).unwrap());
        assert_eq!(alone[0], together[j], "inference {j}");
    }
}
