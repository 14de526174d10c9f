//! The Halo2 form against liars: gadgets at tiny parameters, single cells, deleted constraints, phases and degree.

#![allow(clippy::unwrap_used)]

mod gadgets;

use gadgets::{GADGETS, HALO2_GADGETS, LIBRARY, bent, inputs, outside_their_type, tiny};
use halo2_proofs::plonk::{Circuit, ConstraintSystem};
use std::sync::Arc;
use zkinfer_circuits::arithmetization::LowerError;
use zkinfer_circuits::arithmetization::halo2::{Halo2Circuit, Plan, Products, Synthesis};
use zkinfer_circuits::constraint::{Builder, LinearMap, Program, solve};
use zkinfer_circuits::tensor::{ConvGeometry, Tensor};
use zkinfer_circuits::testing::{Halo2Forger, spec};
use zkinfer_verifier::{Dtype, Role, Visibility};

fn circuits(program: &Arc<Program>) -> Vec<Halo2Circuit> {
    let plan = |limb_bits, width, products| Plan {
        limb_bits,
        width,
        products,
    };
    let plans = [
        plan(2, 1, Products::Always),
        plan(3, 2, Products::Always),
        plan(4, 3, Products::Never),
    ];
    plans
        .into_iter()
        .map(|plan| Halo2Circuit::lower_with(program, plan).unwrap())
        .chain([Halo2Circuit::lower(program).unwrap()])
        .collect()
}

#[test]
fn exactly_one_witness_survives_for_every_input_of_every_gadget() {
    let mut tried = 0;
    for (name, gadget) in GADGETS.into_iter().chain(HALO2_GADGETS) {
        let program = tiny(3, gadget);
        for (at, circuit) in circuits(&program).iter().enumerate() {
            for input in inputs(3) {
                let solved = solve(&program, &input).unwrap();
                let forger = Halo2Forger::new(circuit, &solved);
                forger.check_honest().unwrap();
                let mut lies = forger.lies(true);
                if at < 2 {
                    lies.extend(forger.pairs());
                }
                tried += forger
                    .check_lies(&lies)
                    .unwrap_or_else(|e| panic!("{name}: {e}"));
            }
        }
    }
    println!("{tried} lies refused");
    assert!(tried > 10_000);
}

/// The library: every element of every tensor and every key changed, every hint and table value bent, and, for one input,
/// every cell; inputs outside their type. The mock prover accepts the honest witness.
#[test]
fn exactly_one_witness_survives_for_every_input_of_the_library() {
    let (mut tried, mut cells) = (0, 0);
    for (name, gadget) in LIBRARY {
        let program = tiny(3, gadget);
        for circuit in circuits(&program).iter().take(3) {
            for (at, input) in inputs(3).enumerate() {
                let solved = solve(&program, &input).unwrap();
                let forger = Halo2Forger::new(circuit, &solved);
                assert!(forger.accepts_unchanged(None), "{name}");
                tried += forger
                    .check_lies(&forger.lies(true))
                    .unwrap_or_else(|e| panic!("{name}: {e}"));
                for lie in bent(&program, &input, &[-2, -1, 1, 2]) {
                    let liar = Halo2Forger::new(circuit, &lie);
                    assert!(!liar.accepts_unchanged(None), "{name}: {input:?}");
                    tried += 1;
                }
                if at == 5 {
                    forger.check_honest().unwrap();
                    cells += forger
                        .check_cells()
                        .unwrap_or_else(|e| panic!("{name}: {e}"));
                }
            }
            for solved in outside_their_type(&program) {
                let forger = Halo2Forger::new(circuit, &solved);
                assert!(!forger.accepts_unchanged(None), "{name}");
            }
        }
    }
    println!("{tried} lies refused, {cells} cells held");
    assert!(tried > 50_000 && cells > 5_000);
}

#[test]
fn inputs_outside_their_type_are_refused() {
    for (name, gadget) in GADGETS.into_iter().chain(HALO2_GADGETS) {
        let program = tiny(3, gadget);
        for circuit in circuits(&program) {
            for solved in outside_their_type(&program) {
                let forger = Halo2Forger::new(&circuit, &solved);
                assert!(!forger.accepts_unchanged(None), "{name}");
            }
        }
    }
}

#[test]
fn no_cell_that_is_used_can_be_bent() {
    let mut tried = 0;
    for (name, gadget) in GADGETS.into_iter().chain(HALO2_GADGETS) {
        let program = tiny(3, gadget);
        for circuit in circuits(&program) {
            let input = inputs(3).nth(5).unwrap();
            let solved = solve(&program, &input).unwrap();
            tried += Halo2Forger::new(&circuit, &solved)
                .check_cells()
                .unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
    println!("{tried} cells held");
    assert!(tried > 2_000);
}

#[test]
fn every_deleted_kind_of_constraint_lets_a_lie_through() {
    let mut idle = vec![];
    for (name, gadget) in GADGETS.into_iter().chain(HALO2_GADGETS) {
        let program = tiny(3, gadget);
        for circuit in circuits(&program).into_iter().take(3) {
            let runs: Vec<_> = inputs(3).map(|x| solve(&program, &x).unwrap()).collect();
            let forgers: Vec<_> = runs.iter().map(|s| Halo2Forger::new(&circuit, s)).collect();
            let outside = outside_their_type(&program);
            let liars: Vec<_> = outside
                .iter()
                .map(|s| Halo2Forger::new(&circuit, s))
                .collect();
            for rule in 0..forgers[0].n_rules() {
                let found = forgers.iter().any(|forger| {
                    let mut lies = forger.lies(true);
                    lies.extend(forger.pairs());
                    forger.finds_a_lie_without(rule, &lies)
                }) || liars.iter().any(|liar| liar.accepts_unchanged(Some(rule)));
                if !found {
                    let plan = circuit.plan();
                    idle.push(format!("{name}, {plan:?}: {}", forgers[0].rule_name(rule)));
                }
            }
        }
    }
    assert!(idle.is_empty(), "deleted without any lie: {idle:#?}");
}

/// 27, 28: what lookups and products read is committed before any challenge exists.
#[test]
fn operands_and_results_are_committed_before_the_challenges() {
    let program = tiny(3, GADGETS[0].1);
    for circuit in circuits(&program) {
        let mut cs = ConstraintSystem::default();
        Synthesis::configure_with_params(&mut cs, circuit.shape());
        // h, l, m first; a, b, s, φ second; every challenge in between
        assert_eq!(cs.advice_column_phase(), [0, 0, 0, 1, 1, 1, 1]);
        assert!(cs.challenge_phase().iter().all(|phase| *phase == 0));
        let lookup = cs.gates().iter().find(|g| g.name() == "lookup").unwrap();
        let [polynomial] = lookup.polynomials() else {
            panic!("one polynomial")
        };
        let mut read = polynomial.extract_advices();
        read.sort_unstable();
        read.dedup();
        // h, l, m and φ itself
        assert_eq!(read, [0, 1, 2, 6]);
    }
}

fn dense() -> Arc<Program> {
    let mut b = Builder::new();
    b.node("dense");
    let x = b
        .input(spec(
            "x",
            Role::Input,
            Visibility::Private,
            &[8],
            Dtype::Int8,
        ))
        .unwrap();
    let weights = (0..64).map(|i| (i * 7) % 11 - 5).collect();
    let y = b
        .linear(
            LinearMap::Dense {
                n_in: 8,
                n_out: 8,
                weights,
            },
            &x,
            vec![3; 8],
        )
        .unwrap();
    b.output(
        &y,
        spec("y", Role::Output, Visibility::Private, &[8], Dtype::Int32),
    )
    .unwrap();
    Arc::new(b.finish().unwrap())
}

/// 27: with challenges known in advance an error in their kernel passes; with challenges drawn after the commitment it does not.
#[test]
fn an_error_in_the_kernel_of_known_challenges_is_refused_under_others() {
    let program = dense();
    let plan = Plan {
        limb_bits: 4,
        width: 8,
        products: Products::Always,
    };
    let circuit = Halo2Circuit::lower_with(&program, plan).unwrap();
    let solved = solve(&program, &[Tensor::flat((0..8).collect())]).unwrap();
    let forger = Halo2Forger::new(&circuit, &solved);
    forger.check_honest().unwrap();
    let lie = forger.kernel_lie(program.outputs()[0]);
    assert!(forger.check_lies(std::slice::from_ref(&lie)).is_err());
    forger
        .check_lies_in_mock_prover(std::slice::from_ref(&lie))
        .unwrap();
}

/// Every geometry as a product of polynomials: outputs right, each wrong output refused.
#[test]
fn convolutions_as_products_hold_every_output() {
    let geometry = |kernel, strides, pads, dilations, groups| ConvGeometry {
        channels_in: 2,
        height: 5,
        width: 4,
        channels_out: 4,
        kernel,
        strides,
        pads,
        dilations,
        groups,
    };
    let all = [
        geometry([3, 3], [1, 1], [1, 1, 1, 1], [1, 1], 1),
        geometry([3, 2], [2, 2], [0, 1, 2, 0], [1, 2], 1),
        geometry([1, 1], [1, 1], [0; 4], [1, 1], 1),
        geometry([1, 1], [2, 3], [3, 3, 3, 3], [1, 1], 1),
        geometry([2, 2], [1, 1], [1, 0, 0, 2], [2, 1], 2),
        geometry([5, 4], [1, 1], [0; 4], [1, 1], 2),
    ];
    for geometry in all {
        geometry.check().unwrap();
        let mut b = Builder::new();
        b.node("conv");
        let x = b
            .input(spec(
                "x",
                Role::Input,
                Visibility::Private,
                &[40],
                Dtype::Int8,
            ))
            .unwrap();
        let n = geometry.weights_len() as i64;
        let weights = (0..n).map(|i| (i * 5) % 17 - 8).collect();
        let bias = (0..geometry.output_len() as i64).collect();
        let n_out = geometry.output_len();
        // a zero point in the middle of the way: x is a view, not a cell
        let x = b.combine(&[(3, &x)], -7).unwrap();
        let y = b
            .linear(LinearMap::Conv { geometry, weights }, &x, bias)
            .unwrap();
        b.output(
            &y,
            spec(
                "y",
                Role::Output,
                Visibility::Private,
                &[n_out],
                Dtype::Int32,
            ),
        )
        .unwrap();
        let program = Arc::new(b.finish().unwrap());
        let x = (0..40).map(|i| (i * 29) % 256 - 128).collect();
        let solved = solve(&program, &[Tensor::flat(x)]).unwrap();
        for width in [1, 3, 4] {
            let plan = Plan {
                limb_bits: 5,
                width,
                products: Products::Always,
            };
            let circuit = Halo2Circuit::lower_with(&program, plan).unwrap();
            let forger = Halo2Forger::new(&circuit, &solved);
            forger.check_honest().unwrap();
            let lies = forger.lies(true);
            assert!(lies.len() >= 5 * n_out);
            forger.check_lies(&lies).unwrap();
        }
    }
}

const CHILD: &str = "ZKINFER_TEST_DEGREE_CHILD";

/// The library reads `MAX_DEGREE` from the environment; our circuits have the same degree whatever it says.
#[test]
fn the_environment_does_not_change_the_degree() {
    let program = tiny(3, GADGETS[0].1);
    let circuit = Halo2Circuit::lower(&program).unwrap();
    let mut cs = ConstraintSystem::default();
    Synthesis::configure_with_params(&mut cs, circuit.shape());
    if std::env::var_os(CHILD).is_some() {
        println!("degree {}", cs.degree());
        return;
    }
    assert_eq!(cs.degree(), 5);
    let largest = cs
        .gates()
        .iter()
        .flat_map(|g| g.polynomials())
        .map(|p| p.degree())
        .max();
    assert_eq!(largest, Some(5), "not above the actual degree either");
    for limit in ["2", "4", "9"] {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["the_environment_does_not_change_the_degree", "--nocapture"])
            .env(CHILD, "1")
            .env("MAX_DEGREE", limit)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("degree 5"), "MAX_DEGREE={limit}: {text}");
    }
}

#[test]
fn impossible_layouts_are_refused() {
    let program = tiny(3, GADGETS[0].1);
    for (limb_bits, width) in [(0, 1), (17, 1), (64, 1), (8, 0), (8, 9)] {
        let plan = Plan {
            limb_bits,
            width,
            products: Products::Cheapest,
        };
        let refused = Halo2Circuit::lower_with(&program, plan);
        assert!(matches!(refused, Err(LowerError::Plan { .. })), "{plan:?}");
    }
}

/// 36: few bytes that ask for many rows, or for a long chain of scalings, are refused or cheap.
#[test]
fn hostile_programs_do_not_make_the_lowering_grow() {
    let mut b = Builder::new();
    let wide = spec(
        "x",
        Role::Input,
        Visibility::Private,
        &[1 << 25],
        Dtype::Int32,
    );
    let x = b.input(wide).unwrap();
    b.output(
        &x,
        spec(
            "y",
            Role::Output,
            Visibility::Private,
            &[1 << 25],
            Dtype::Int32,
        ),
    )
    .unwrap();
    let program = Arc::new(b.finish().unwrap());
    assert!(matches!(
        Halo2Circuit::lower(&program),
        Err(LowerError::TooLarge { .. })
    ));
    let mut b = Builder::new();
    let x = b
        .input(spec(
            "x",
            Role::Input,
            Visibility::Private,
            &[1],
            Dtype::Bool,
        ))
        .unwrap();
    let mut x = b.combine(&[(1, &x), (1, &x)], 0).unwrap();
    for _ in 0..20_000 {
        x = b.combine(&[(1, &x)], 0).unwrap();
    }
    let q = b.split(&x, 1).unwrap();
    let y = b.range_unbound(q, 2).unwrap();
    b.output(
        &y,
        spec("y", Role::Output, Visibility::Private, &[1], Dtype::Int8),
    )
    .unwrap();
    let program = Arc::new(b.finish().unwrap());
    Halo2Circuit::lower(&program).unwrap();
}

#[test]
fn the_digest_is_that_of_the_program_and_the_layout() {
    let mut seen = std::collections::BTreeSet::new();
    for (_, gadget) in GADGETS {
        let program = tiny(3, gadget);
        for circuit in circuits(&program).into_iter().take(3) {
            assert!(seen.insert(circuit.digest()));
            let again = Arc::new(Program::decode(&program.encode()).unwrap());
            let again = Halo2Circuit::lower_with(&again, circuit.plan()).unwrap();
            assert_eq!(again.digest(), circuit.digest());
        }
    }
}
