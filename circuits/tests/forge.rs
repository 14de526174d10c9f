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
    BuildError, Builder, HintKind, Instr, LinearMap, Program, TableFunction, TensorId, WireTensor,
    solve, solve_bent,
};
use zkinfer_circuits::gadgets::max::max;
use zkinfer_circuits::gadgets::requantize::requantize;
use zkinfer_circuits::gadgets::select_rows::{select_fixed_rows, select_rows};
use zkinfer_circuits::gadgets::square_root::{reciprocal_square_root, square_root};
use zkinfer_circuits::gadgets::top_k::top_k;
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
    for (name, gadget) in GADGETS {
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

/// Pairs of wires that are tried for one circuit and one input; the inputs take turns, so together they try more.
const PAIRS: usize = 400;

/// 2, 3, 5, 7, 8, 9, 10, 19, 20, 21, 24, 25, 26: the library at tiny parameters, every input, every tie. Every wire is changed, pairs
/// in turn; every hint and table value is changed with everything that follows computed from it.
#[test]
fn exactly_one_witness_survives_for_every_input_of_the_library() {
    for (name, gadget) in LIBRARY {
        let begun = std::time::Instant::now();
        let program = tiny(3, gadget);
        for circuit in circuits(&program) {
            for (turn, input) in inputs(3).enumerate() {
                let solved = solve(&program, &input).unwrap();
                let forger = Forger::new(&circuit, &solved);
                forger.check_honest().unwrap();
                let changes = forger.small_changes();
                let singles = forger.single_changes().count();
                let (single, pairs) = changes.split_at(singles);
                let step = pairs.len().div_ceil(PAIRS).max(1);
                for changes in single.iter().chain(pairs.iter().skip(turn).step_by(step)) {
                    assert!(
                        !forger.accepts(changes, None),
                        "{name}, {:?}: accepted {changes:?}",
                        circuit.form()
                    );
                }
                for lie in bent(&program, &input, &[-4, -3, -2, -1, 1, 2, 3, 4]) {
                    let liar = Forger::new(&circuit, &lie);
                    assert!(
                        liar.same_witness(&forger) || !liar.accepts_unchanged(None),
                        "{name}, {:?}: accepted a lie about {input:?}",
                        circuit.form()
                    );
                }
            }
        }
        println!("{name}: {:?}", begun.elapsed());
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

/// Groups that say what another one says too: the plain form decomposes a table's key by itself, so the range of the low part of an exponent, which is
/// a key of exactly that range, is there twice.
const SAID_TWICE: [&str; 1] = ["exp, Plain, limb 0: group 25 (sum of bits)"];

#[test]
fn every_deleted_constraint_lets_a_forgery_through() {
    let mut idle: Vec<String> = vec![];
    for (name, gadget) in GADGETS.into_iter().chain(LIBRARY) {
        let program = tiny(3, gadget);
        for circuit in circuits(&program) {
            let runs: Vec<_> = inputs(3).map(|x| solve(&program, &x).unwrap()).collect();
            let forgers: Vec<_> = runs.iter().map(|s| Forger::new(&circuit, s)).collect();
            let mut lies = outside_their_type(&program);
            let mut of_run: Vec<Option<usize>> = vec![None; lies.len()];
            for (run, input) in inputs(3).enumerate() {
                lies.extend(bent(&program, &input, &[-2, -1, 1, 2]));
                of_run.resize(lies.len(), Some(run));
            }
            let all = lies.iter().map(|s| Forger::new(&circuit, s)).zip(of_run);
            // a value that a form computes from others cannot be lied about by itself
            let honest = |liar: &Forger<'_>, run: Option<usize>| {
                run.is_some_and(|run| liar.same_witness(&forgers[run]))
            };
            let (liars, of_run): (Vec<_>, Vec<_>) =
                all.filter(|(liar, run)| !honest(liar, *run)).unzip();
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
                    })
                    || liars.iter().zip(&of_run).any(|(liar, run)| {
                        run.is_some_and(|run| {
                            let kept = liar.kept_folds(&forgers[run], group);
                            kept.iter().any(|c| liar.accepts(c, Some(group)))
                        })
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
    idle.retain(|group| !SAID_TWICE.contains(&group.as_str()));
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

/// A program of one gadget over a private input of `n` int8 values; its first value is the output.
fn over_bytes(
    n: usize,
    gadget: impl FnOnce(&mut Builder, &WireTensor) -> Result<WireTensor, BuildError>,
) -> (Arc<Program>, WireTensor) {
    let mut b = Builder::new();
    b.node("feed");
    let x = b
        .input(spec(
            "x",
            Role::Input,
            Visibility::Private,
            &[n],
            Dtype::Int8,
        ))
        .unwrap();
    b.node("gadget");
    let y = gadget(&mut b, &x).unwrap();
    b.output(
        &x,
        spec("y", Role::Output, Visibility::Private, &[n], Dtype::Int8),
    )
    .unwrap();
    (Arc::new(b.finish().unwrap()), y)
}

/// Whether some form accepts an assignment in which the hinted or looked-up tensor behind `bend` is another.
fn accepted(circuits: &[R1cs], input: &[Tensor], bend: &dyn Fn(TensorId, &mut [i64])) -> bool {
    let lie = solve_bent(circuits[0].program(), input, bend).unwrap();
    circuits
        .iter()
        .any(|circuit| Forger::new(circuit, &lie).accepts_unchanged(None))
}

fn first_hint(program: &Program, of: HintKind) -> TensorId {
    let step = program
        .steps()
        .iter()
        .find(|s| matches!(&s.instr, Instr::Hint { kind, .. } if *kind == of));
    step.unwrap().y.unwrap()
}

/// 20, 21: of the roots of every small x all candidates but one are refused.
#[test]
fn roots_of_all_small_values_are_the_only_ones() {
    let scale = HintKind::ReciprocalSquareRoot { scale: 4 };
    for kind in [HintKind::SquareRoot, scale] {
        let (program, _) = over_bytes(64, |b, x| {
            let places = (129..193).collect();
            let x = b.linear(LinearMap::Scale { factors: vec![1] }, x, places)?;
            match kind {
                HintKind::SquareRoot => square_root(b, &x),
                _ => reciprocal_square_root(b, &x, 4),
            }
        });
        let hint = first_hint(&program, kind);
        let forms = circuits(&program);
        // −128 + 129 + i: the values from 1 to 64
        let input = [Tensor::flat(vec![-128; 64])];
        assert!(accepted(&forms, &input, &|_, _| {}));
        for i in 0..64 {
            for delta in [-2, -1, 1, 2] {
                let bend = |id: TensorId, v: &mut [i64]| {
                    if id == hint {
                        v[i] += delta;
                    }
                };
                assert!(
                    !accepted(&forms, &input, &bend),
                    "{kind:?} of {i} + {delta}"
                );
            }
        }
    }
}

/// 24, 25: another member of the row twice, one left out, or two exchanged, with the indices that follow.
#[test]
fn top_k_refuses_duplicates_drops_and_swaps() {
    for k in [2, 3, 4] {
        let (program, _) = over_bytes(4, |b, x| Ok(top_k(b, x, 4, k)?.value));
        let hint = first_hint(&program, HintKind::Ranked);
        let forms = circuits(&program);
        for row in [
            [5, 5, 5, 5],
            [1, 7, 7, -3],
            [4, 3, 2, 1],
            [-128, 127, 127, -128],
        ] {
            let input = [Tensor::flat(row.to_vec())];
            assert!(accepted(&forms, &input, &|_, _| {}));
            let keys: Vec<i64> = (0..4).map(|j| 4 * row[j] + 3 - j as i64).collect();
            let mut sorted = keys.clone();
            sorted.sort_unstable_by(|a, b| b.cmp(a));
            // every choice of k members with repetition, but the right one
            for choice in 0..4usize.pow(k as u32) {
                let members: Vec<i64> = (0..k as u32)
                    .map(|r| keys[choice / 4usize.pow(r) % 4])
                    .collect();
                if members == sorted[..k] {
                    continue;
                }
                let bend = |id: TensorId, v: &mut [i64]| {
                    if id == hint {
                        v.copy_from_slice(&members);
                    }
                };
                assert!(!accepted(&forms, &input, &bend), "{row:?}: {members:?}");
            }
        }
    }
}

/// 26: an index of −1, n, n + 1 or r − 1 does not build, and a bit of another index is refused.
#[test]
fn an_index_outside_the_rows_is_refused() {
    for (offset, fits) in [(128, true), (127, false), (129, false)] {
        let mut b = Builder::new();
        let input = spec("x", Role::Input, Visibility::Private, &[1], Dtype::Int8);
        let x = b.input(input).unwrap();
        let index = b.combine(&[(1, &x)], offset).unwrap();
        let built = select_fixed_rows(&mut b, &index, &[7; 256], 1);
        assert_eq!(built.is_ok(), fits, "index offset {offset}");
        let matrix = b.gather(&x, vec![0; 256]).unwrap();
        let built = select_rows(&mut b, &index, &matrix, 1);
        assert_eq!(built.is_ok(), fits, "index offset {offset}");
    }
}

/// 13: a table of one row has no other row, padding included, that a lookup could hit.
#[test]
fn a_table_of_one_row_has_no_default() {
    let program = tiny(3, |b, xs| {
        let key = b.combine(&[(0, &xs[0])], 7)?;
        let value = b.lookup(&TableFunction::map(7, vec![9]), &key)?;
        b.combine(&[(1, &value), (1, &xs[1])], 0)
    });
    for circuit in circuits(&program) {
        for input in inputs(3) {
            let solved = solve(&program, &input).unwrap();
            let forger = Forger::new(&circuit, &solved);
            forger.check_honest().unwrap();
            for changes in forger.small_changes() {
                assert!(!forger.accepts(&changes, None), "accepted {changes:?}");
            }
        }
    }
}
