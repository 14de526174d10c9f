//! Products of two wire tensors: one value in every form, each wrong element refused, in few rows.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use zkinfer_circuits::arithmetization::Products;
use zkinfer_circuits::arithmetization::halo2::{Halo2Circuit, Plan};
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::{
    Assignment, BuildError, Builder, LinearMap, Program, ProgramError, TableFunction, WireTensor,
    solve,
};
use zkinfer_circuits::gadgets::requantize::requantize;
use zkinfer_circuits::tensor::{Interval, Tensor};
use zkinfer_circuits::testing::{Forger, Halo2Forger, spec};
use zkinfer_verifier::{Dtype, Role, TensorSpec, Visibility};

const NODE: &str = "contraction";

fn private(name: &str, role: Role, n: usize, dtype: Dtype) -> TensorSpec {
    spec(name, role, Visibility::Private, &[n], dtype)
}

/// Two int8 tensors, scaled and moved, and their product.
fn program([batch, m, k, n]: [usize; 4], centred: bool) -> Arc<Program> {
    let mut b = Builder::new();
    b.node("feed");
    let mut operand = |name: &str, n: usize, (factor, constant): (i64, i64)| {
        let x = b.input(private(name, Role::Input, n, Dtype::Int8)).unwrap();
        match centred {
            true => b.combine(&[(factor, &x)], constant).unwrap(),
            false => x,
        }
    };
    let x = operand("a", batch * m * k, (1, 5));
    let y = operand("b", batch * n * k, (-3, 2));
    finish(b, &x, &y, [batch, m, k, n])
}

/// A tensor and itself.
fn square([batch, m, k]: [usize; 3]) -> Arc<Program> {
    let mut b = Builder::new();
    b.node("feed");
    let x = b
        .input(private("a", Role::Input, batch * m * k, Dtype::Int8))
        .unwrap();
    finish(b, &x, &x, [batch, m, k, m])
}

fn finish(mut b: Builder, x: &WireTensor, y: &WireTensor, dims: [usize; 4]) -> Arc<Program> {
    b.node(NODE);
    let y = b.contract(x, y, dims).unwrap();
    b.output(&y, private("y", Role::Output, y.len(), Dtype::Int32))
        .unwrap();
    Arc::new(b.finish().unwrap())
}

/// The definition, without a thought for speed.
fn expected(a: &[i64], b: &[i64], [batch, m, k, n]: [usize; 4]) -> Vec<i64> {
    let mut y = vec![];
    for t in 0..batch {
        for i in 0..m {
            for j in 0..n {
                let term = |l| a[(t * m + i) * k + l] * b[(t * n + j) * k + l];
                y.push((0..k).map(term).sum());
            }
        }
    }
    y
}

/// Values of int8 that follow from the seed.
fn values(n: usize, seed: u64) -> Vec<i64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) as i64 % 256 - 128
    };
    (0..n).map(|_| next()).collect()
}

fn solved(program: &Program, inputs: &[Vec<i64>]) -> Assignment {
    let inputs: Vec<Tensor> = inputs.iter().cloned().map(Tensor::flat).collect();
    solve(program, &inputs).unwrap()
}

fn r1cs_circuits(program: &Arc<Program>) -> Vec<R1cs> {
    let forced = |products| R1cs::lower_with_products(program, 8, products).unwrap();
    vec![
        R1cs::lower(program, Form::Plain).unwrap(),
        forced(Products::Always),
        forced(Products::Never),
        forced(Products::Cheapest),
    ]
}

fn halo2_circuits(program: &Arc<Program>) -> Vec<Halo2Circuit> {
    let plan = |width, products| Plan {
        limb_bits: 6,
        width,
        products,
    };
    let plans = [
        plan(1, Products::Always),
        plan(4, Products::Always),
        plan(2, Products::Never),
        plan(1, Products::Cheapest),
    ];
    plans
        .map(|plan| Halo2Circuit::lower_with(program, plan).unwrap())
        .into()
}

/// Every form accepts the honest witness, its computations agree, and changed wires and elements are refused.
fn check_every_form(program: &Arc<Program>, solved: &Assignment) {
    for circuit in r1cs_circuits(program) {
        let forger = Forger::new(&circuit, solved);
        forger.check_honest().unwrap();
        assert!(forger.check_single_changes(NODE).unwrap() > 0);
    }
    for circuit in halo2_circuits(program) {
        let forger = Halo2Forger::new(&circuit, solved);
        forger.check_honest().unwrap();
        let lies = forger.lies(false);
        assert!(forger.check_lies(&lies).unwrap() > 0);
    }
}

#[test]
fn every_form_agrees_with_the_triple_loop_for_every_shape() {
    let shapes = [
        [1, 1, 1, 1],
        [1, 1, 5, 1],
        [1, 1, 4, 3],
        [2, 4, 3, 1],
        [1, 4, 1, 4],
        [3, 2, 2, 2],
        [2, 2, 5, 3],
        [1, 5, 4, 3],
        [1, 3, 4, 5],
        [2, 3, 3, 3],
        [1, 6, 7, 4],
    ];
    for (seed, dims) in shapes.into_iter().enumerate() {
        let [batch, m, k, n] = dims;
        for centred in [false, true] {
            let program = program(dims, centred);
            assert_eq!(Program::decode(&program.encode()).unwrap(), *program);
            let a = values(batch * m * k, 2 * seed as u64 + 1);
            let b = values(batch * n * k, 2 * seed as u64 + 2);
            let run = solved(&program, &[a.clone(), b.clone()]);
            let (a, b) = match centred {
                true => (
                    a.iter().map(|a| a + 5).collect(),
                    b.iter().map(|b| 2 - 3 * b).collect(),
                ),
                false => (a, b),
            };
            let y = &run.outputs(&program)[0];
            assert_eq!(y.data, expected(&a, &b, dims), "{dims:?}");
            check_every_form(&program, &run);
        }
    }
}

#[test]
fn a_tensor_by_itself_is_a_product_like_any_other() {
    for dims in [[1, 2, 2], [1, 3, 3], [2, 4, 3], [1, 1, 6]] {
        let [batch, m, k] = dims;
        let program = square(dims);
        let x = values(batch * m * k, 77);
        let run = solved(&program, std::slice::from_ref(&x));
        let y = &run.outputs(&program)[0];
        assert_eq!(y.data, expected(&x, &x, [batch, m, k, m]));
        check_every_form(&program, &run);
    }
}

#[test]
fn copies_of_a_batch_contract_their_own_operands() {
    let dims = [2, 3, 4, 3];
    let one = program(dims, true);
    let batch = Arc::new(one.batched(3).unwrap());
    assert_eq!(Program::decode(&batch.encode()).unwrap(), *batch);
    let inputs: Vec<Vec<i64>> = (0..6).map(|seed| values(24, 40 + seed)).collect();
    let together = solved(&batch, &inputs);
    for (copy, inputs) in inputs.chunks(2).enumerate() {
        let alone = solved(&one, inputs);
        let [alone] = &alone.outputs(&one)[..] else {
            panic!("one output")
        };
        assert_eq!(together.outputs(&batch)[copy].data, alone.data);
    }
    check_every_form(&batch, &together);
    let rows = |p: &Arc<Program>, form| rows_of(&R1cs::lower(p, form).unwrap());
    for form in [Form::Plain, Form::Committed] {
        assert_eq!(rows(&batch, form), 3 * rows(&one, form));
    }
}

/// Terms and sums beyond 64 bits whose results are small, and a table behind them.
#[test]
fn wide_terms_are_exact_in_every_form() {
    let mut b = Builder::new();
    b.node("feed");
    let mut scaled = |name: &str, factors: Vec<i64>| {
        let x = b.input(private(name, Role::Input, 8, Dtype::Int8)).unwrap();
        let map = LinearMap::Scale { factors };
        b.linear(map, &x, vec![]).unwrap()
    };
    let wide = 1i64 << 40;
    let x = scaled("a", vec![wide, 1, wide, 1, 1, wide, 1, wide]);
    let y = scaled("b", vec![1, wide, 1, wide, wide, 1, wide, 1]);
    // rows of (wide, 1) by rows of (1, wide), and the other way round
    let dims = [2, 2, 2, 2];
    b.node(NODE);
    let z = b.contract(&x, &y, dims).unwrap();
    let clamp = TableFunction::clamp(-128, 127);
    let q = requantize(&mut b, &z, vec![1], 48, 0, &clamp).unwrap();
    let out = spec("y", Role::Output, Visibility::Public, &[8], Dtype::Int8);
    b.output(&q, out).unwrap();
    let program = Arc::new(b.finish().unwrap());
    let run = solved(&program, &[values(8, 5), values(8, 6)]);
    check_every_form(&program, &run);
}

/// A requantization behind a contraction: on the tape the cells of y show what its split reads.
#[test]
fn a_requantized_contraction_has_one_value_in_every_form() {
    let mut b = Builder::new();
    b.node("feed");
    let mut operand = |name: &str| {
        let x = b
            .input(private(name, Role::Input, 12, Dtype::Int8))
            .unwrap();
        b.combine(&[(1, &x)], 3).unwrap()
    };
    let (x, y) = (operand("a"), operand("b"));
    b.node(NODE);
    let z = b.contract(&x, &y, [1, 3, 4, 3]).unwrap();
    let clamp = TableFunction::clamp(-128, 127);
    let q = requantize(&mut b, &z, vec![37], 14, -5, &clamp).unwrap();
    let out = spec("y", Role::Output, Visibility::Public, &[9], Dtype::Int8);
    b.output(&q, out).unwrap();
    let program = Arc::new(b.finish().unwrap());
    let (x, y) = (values(12, 8), values(12, 9));
    let run = solved(&program, &[x.clone(), y.clone()]);
    let [x, y] = [x, y].map(|x| x.iter().map(|x| x + 3).collect::<Vec<_>>());
    let rounded = |z: &i64| (((z * 37 + (1 << 13)) >> 14) - 5).clamp(-128, 127);
    let z = expected(&x, &y, [1, 3, 4, 3]);
    let q: Vec<i64> = z.iter().map(rounded).collect();
    assert_eq!(run.outputs(&program)[0].data, q);
    check_every_form(&program, &run);
}

/// Rows of the contraction's node.
fn rows_of(circuit: &R1cs) -> usize {
    let cost = circuit.cost();
    let node = cost.by_node.iter().find(|(name, _)| name == NODE);
    node.map_or(0, |(_, rows)| *rows)
}

#[test]
fn the_cheaper_way_is_taken() {
    // (shape, plain, committed, tape): a row a term, a row for two terms, or the check at the challenge
    for (dims, plain, committed, tape) in [
        ([1, 1, 9, 1], 9, 9, 27),
        ([1, 1, 9, 5], 45, 45, 69),
        ([1, 2, 2, 2], 8, 8, 16),
        ([1, 2, 2, 3], 11, 11, 20),
        ([1, 3, 3, 3], 24, 21, 33),
        ([1, 5, 1, 4], 20, 20, 29),
        ([4, 16, 16, 16], 9216, 2944, 3200),
        ([1, 16, 64, 8], 4864, 1584, 1736),
    ] {
        let program = program(dims, false);
        let form = |form| rows_of(&R1cs::lower(&program, form).unwrap());
        assert_eq!(form(Form::Plain), plain, "{dims:?}");
        assert_eq!(form(Form::Committed), committed, "{dims:?}");
        // the cells of inputs hold x − min: term by term every element takes a row more there
        let cost = Halo2Circuit::lower(&program).unwrap().cost();
        let node = cost.by_node.iter().find(|(name, _)| name == NODE);
        let rows = node.map_or(0, |(_, rows)| *rows);
        println!("{dims:?}: plain {plain}, committed {committed}, halo2 {rows}");
        assert_eq!(rows, tape, "{dims:?}");
    }
}

/// 27: an error that is zero at a known challenge passes; the result is committed before the challenge is drawn, and under any
/// other challenge the same error is refused.
#[test]
fn an_error_in_the_kernel_of_a_known_challenge_is_refused_under_others() {
    for dims in [[1, 3, 3, 3], [2, 5, 4, 3]] {
        let [batch, m, k, n] = dims;
        let program = program(dims, true);
        let y = program.outputs()[0];
        let run = solved(
            &program,
            &[values(batch * m * k, 1), values(batch * n * k, 2)],
        );
        let circuit = R1cs::lower_with_products(&program, 8, Products::Always).unwrap();
        let forger = Forger::new(&circuit, &run);
        assert!(forger.is_committed(y));
        for at in [0, 1] {
            let lie = forger.kernel_change(y, at);
            assert_eq!(lie.len(), 2);
            assert!(forger.accepts(&lie, None), "{dims:?}");
            assert!(!forger.under_other_challenges().accepts(&lie, None));
            // term by term there is no challenge to know
            let direct = R1cs::lower_with_products(&program, 8, Products::Never).unwrap();
            let direct = Forger::new(&direct, &run);
            let lie = direct.kernel_change(y, at);
            assert!(!direct.accepts(&lie, None));
        }
    }
}

/// 27 on the tape, by the library's own challenges.
#[test]
fn an_error_in_the_kernel_of_known_tape_challenges_is_refused_under_others() {
    let program = program([1, 3, 3, 4], true);
    let plan = Plan {
        limb_bits: 6,
        width: 1,
        products: Products::Always,
    };
    let circuit = Halo2Circuit::lower_with(&program, plan).unwrap();
    let run = solved(&program, &[values(9, 1), values(12, 2)]);
    let forger = Halo2Forger::new(&circuit, &run);
    forger.check_honest().unwrap();
    let lie = [forger.contraction_kernel_lie(program.outputs()[0])];
    assert!(forger.check_lies(&lie).is_err());
    forger.check_lies_in_mock_prover(&lie).unwrap();
}

/// 28: whatever the way, all of y is committed.
#[test]
fn results_are_committed_in_both_ways() {
    let program = program([1, 3, 4, 3], false);
    let run = solved(&program, &[values(12, 1), values(12, 2)]);
    for products in [Products::Always, Products::Never] {
        let circuit = R1cs::lower_with_products(&program, 8, products).unwrap();
        assert!(Forger::new(&circuit, &run).is_committed(program.outputs()[0]));
    }
}

#[test]
fn intervals_are_those_of_sums_of_products() {
    let mut b = Builder::new();
    let x = b.input(private("x", Role::Input, 2, Dtype::Bool)).unwrap();
    // [−3, 5] and [2, 4] by [−1, 0] and [−7, −7]
    let map = |factors| LinearMap::Scale { factors };
    let p = b.linear(map(vec![8, 2]), &x, vec![-3, 2]).unwrap();
    let q = b.linear(map(vec![1, 0]), &x, vec![-1, -7]).unwrap();
    let y = b.contract(&p, &q, [1, 1, 2, 1]).unwrap();
    // −5 … 3 and −28 … −14
    assert_eq!(y.intervals(), [Interval { lo: -33, hi: -11 }]);
}

#[test]
fn what_is_no_contraction_is_refused() {
    let mut b = Builder::new();
    let x = b.input(private("x", Role::Input, 6, Dtype::Int32)).unwrap();
    for dims in [[0, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]] {
        let refused = b.contract(&x, &x, dims);
        let zero = matches!(refused, Err(BuildError::Parameter { got: 0, .. }));
        assert!(zero, "{dims:?}");
    }
    for dims in [[1, 2, 3, 1], [1, 1, 3, 2], [2, 1, 3, 2], [3, 1, 1, 2]] {
        let refused = b.contract(&x, &x, dims);
        let length = matches!(refused, Err(BuildError::Length { got: 6, .. }));
        assert!(length, "{dims:?}: {refused:?}");
    }
    let huge = b.contract(&x, &x, [usize::MAX, 2, usize::MAX, 2]);
    assert!(matches!(huge, Err(BuildError::Parameter { .. })));
    // 3 · 2^62
    let wraps = b.contract(&x, &x, [1, 2, 3, 2]);
    assert!(matches!(wraps, Err(BuildError::Interval { index: 0, .. })));
    // 2^13 · 2^13 elements, 2^26 of them
    let wide = b
        .input(private("wide", Role::Input, 1 << 13, Dtype::Int8))
        .unwrap();
    let wide = b.contract(&wide, &wide, [1, 1 << 13, 1, 1 << 13]);
    assert!(matches!(wide, Err(BuildError::TooLarge { .. })));
}

/// 36: bytes with other dimensions are refused before anything is allocated.
#[test]
fn hostile_dimensions_are_refused() {
    let bytes = program([3, 5, 7, 2], false).encode();
    let dims = [3, 5, 7, 2];
    let at = bytes.windows(4).position(|w| w == dims).unwrap();
    for lie in [
        &[3, 5, 7, 1][..],
        &[0, 5, 7, 2],
        &[5, 3, 7, 2],
        &[3, 5, 2, 7],
        &[255, 255, 255, 255, 15, 255, 255, 255, 255, 15, 7, 2],
    ] {
        let hostile = [&bytes[..at], lie, &bytes[at + 4..]].concat();
        let refused = Program::decode(&hostile);
        assert!(matches!(refused, Err(ProgramError::Build(_))), "{lie:?}");
    }
}
