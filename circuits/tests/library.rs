//! The gadget library at realistic widths: the solver gives what a plain function gives, over random and extreme inputs; the
//! committed R1CS form and Halo2 accept it; rows are counted.

#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use zkinfer_circuits::arithmetization::halo2::Halo2Circuit;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs, cost};
use zkinfer_circuits::constraint::{
    BuildError, Builder, LinearMap, Program, TableFunction, WireTensor, solve,
};
use zkinfer_circuits::gadgets::arg_max::{Ties, arg_max};
use zkinfer_circuits::gadgets::divide::{divide, divide_rounded};
use zkinfer_circuits::gadgets::exp::{Exponential, exp};
use zkinfer_circuits::gadgets::requantize::requantize;
use zkinfer_circuits::gadgets::rescale::rescale;
use zkinfer_circuits::gadgets::saturate::saturate;
use zkinfer_circuits::gadgets::select_rows::{select_fixed_rows, select_rows};
use zkinfer_circuits::gadgets::sign::{abs, is_negative, is_zero};
use zkinfer_circuits::gadgets::softmax::softmax;
use zkinfer_circuits::gadgets::square_root::{
    reciprocal_square_root, reciprocal_square_root_wide, square_root,
};
use zkinfer_circuits::gadgets::top_k::{sort, top_k};
use zkinfer_circuits::tensor::Tensor;
use zkinfer_circuits::testing::{Forger, Halo2Forger, spec};
use zkinfer_verifier::{Dtype, Role, Visibility};

type Build = fn(&mut Builder, &WireTensor, &WireTensor) -> Result<WireTensor, BuildError>;
type Reference = fn(&[i64], &[i64]) -> Vec<i64>;

/// A gadget of two int32 tensors of n elements, and the function it computes.
struct Case {
    name: &'static str,
    build: Build,
    reference: Reference,
}

/// Elements of the tensors of a case that is run.
const N: usize = 32;
/// Elements of the tensors of a case that is counted.
const COUNTED: usize = 4096;
/// Elements of a row.
const ROW: usize = 16;

const EXP: Exponential = Exponential {
    argument_bits: 12,
    result_bits: 16,
};

/// The high 20 bits of an int32, and similar narrowings: an interval of 2^bits values around 0 or from 0.
fn narrow(b: &mut Builder, x: &WireTensor, bits: u32) -> Result<WireTensor, BuildError> {
    // its rows are not the gadget's
    b.node("feed");
    let y = rescale(b, x, vec![1], 32 - bits)?;
    b.node("gadget");
    Ok(y)
}

fn narrowed(x: i64, bits: u32) -> i64 {
    (x + (1 << (31 - bits))) >> (32 - bits)
}

/// x − (least value) + 1: from 1 up.
fn positive(b: &mut Builder, x: &WireTensor, bits: u32) -> Result<WireTensor, BuildError> {
    let x = narrow(b, x, bits)?;
    b.combine(&[(1, &x)], (1 << (bits - 1)) + 1)
}

fn positive_of(x: i64, bits: u32) -> i64 {
    narrowed(x, bits) + (1 << (bits - 1)) + 1
}

fn each(x: &[i64], f: impl Fn(i64) -> i64) -> Vec<i64> {
    x.iter().map(|x| f(*x)).collect()
}

fn order(row: &[i64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by_key(|j| std::cmp::Reverse(row[*j]));
    order
}

const CASES: &[Case] = &[
    Case {
        name: "rescale 32 by 30 bits, shift 32",
        build: |b, x, _| rescale(b, x, vec![987_654_321], 32),
        reference: |x, _| {
            each(x, |x| {
                ((i128::from(x) * 987_654_321 + (1 << 31)) >> 32) as i64
            })
        },
    },
    Case {
        name: "sign of 32 bits",
        build: |b, x, _| is_negative(b, x),
        reference: |x, _| each(x, |x| i64::from(x < 0)),
    },
    Case {
        name: "sign of 47 bits",
        build: |b, x, y| {
            let x = b.combine(&[(32_767, x), (1, y)], 0)?;
            is_negative(b, &x)
        },
        reference: |x, y| {
            let pairs = x.iter().zip(y);
            pairs.map(|(x, y)| i64::from(32_767 * x + y < 0)).collect()
        },
    },
    Case {
        name: "zero, 32 bits",
        build: |b, x, y| {
            let d = b.combine(&[(1, x), (-1, y)], 0)?;
            is_zero(b, &d)
        },
        reference: |x, y| x.iter().zip(y).map(|(x, y)| i64::from(x == y)).collect(),
    },
    Case {
        name: "abs of 32 bits",
        build: |b, x, _| abs(b, x),
        reference: |x, _| each(x, i64::abs),
    },
    Case {
        name: "saturate 32 to 8 bits",
        build: |b, x, _| saturate(b, x, -128, 127),
        reference: |x, _| each(x, |x| x.clamp(-128, 127)),
    },
    Case {
        name: "requantize 40 bits, saturated",
        build: |b, x, _| requantize(b, x, vec![200], 8, 3, &TableFunction::clamp(-128, 127)),
        reference: |x, _| each(x, |x| (((x * 200 + 128) >> 8) + 3).clamp(-128, 127)),
    },
    Case {
        name: "divide 32 by 20 bits",
        build: |b, x, y| {
            let y = positive(b, y, 20)?;
            divide(b, x, &y)
        },
        reference: |x, y| {
            let pairs = x.iter().zip(y);
            pairs
                .map(|(x, y)| x.div_euclid(positive_of(*y, 20)))
                .collect()
        },
    },
    Case {
        name: "divide rounded 20 by 12 bits",
        build: |b, x, y| {
            let (x, y) = (narrow(b, x, 20)?, positive(b, y, 12)?);
            divide_rounded(b, &x, &y)
        },
        reference: |x, y| {
            let pairs = x.iter().zip(y);
            pairs
                .map(|(x, y)| {
                    let (x, y) = (narrowed(*x, 20), positive_of(*y, 12));
                    (2 * x + y).div_euclid(2 * y)
                })
                .collect()
        },
    },
    Case {
        name: "square root of 46 bits",
        build: |b, x, _| {
            let x = b.combine(&[(16_384, x)], 1 << 45)?;
            square_root(b, &x)
        },
        reference: |x, _| each(x, |x| (16_384 * x + (1 << 45)).isqrt()),
    },
    Case {
        name: "reciprocal square root of 16 bits",
        build: |b, x, _| {
            let x = positive(b, x, 16)?;
            reciprocal_square_root(b, &x, 21)
        },
        reference: |x, _| each(x, |x| ((1i64 << 42) / positive_of(x, 16)).isqrt()),
    },
    Case {
        name: "reciprocal square root of 40 bits",
        build: |b, x, _| {
            let x = b.combine(&[(256, x)], (1 << 39) + 1)?;
            Ok(reciprocal_square_root_wide(b, &x)?.value)
        },
        reference: |x, _| {
            each(x, |x| {
                let x = 256 * x + (1 << 39) + 1;
                let e = (0..).find(|e| (x - 1) >> (2 * e) < 1 << 16).unwrap();
                let z = ((x - 1) >> (2 * e)) + 1;
                ((1i64 << 44) / z).isqrt() << (12 - e)
            })
        },
    },
    Case {
        name: "exp of 20 bits",
        build: |b, x, _| {
            let u = positive(b, x, 20)?;
            exp(b, &u, EXP)
        },
        reference: |x, _| each(x, |x| EXP.value(positive_of(x, 20))),
    },
    Case {
        name: "softmax of 16 bits, rows of 16",
        build: |b, x, _| {
            let x = narrow(b, x, 16)?;
            softmax(b, &x, ROW, EXP, 65_535)
        },
        reference: |x, _| {
            let row = |row: &[i64]| {
                let row = each(row, |x| narrowed(x, 16));
                let max = row.iter().max().unwrap();
                let e = each(&row, |x| EXP.value(max - x));
                let sum: i64 = e.iter().sum();
                each(&e, |e| (2 * 65_535 * e + sum) / (2 * sum))
            };
            x.chunks(ROW).flat_map(row).collect()
        },
    },
    Case {
        name: "arg max of 16 bits, rows of 16",
        build: |b, x, _| {
            let x = narrow(b, x, 16)?;
            arg_max(b, &x, ROW, Ties::Last)
        },
        reference: |x, _| {
            let row = |row: &[i64]| {
                let row = each(row, |x| narrowed(x, 16));
                let max = row.iter().max().unwrap();
                row.iter().rposition(|x| x == max).unwrap() as i64
            };
            x.chunks(ROW).map(row).collect()
        },
    },
    Case {
        name: "top 3 of 8 bits, rows of 16, indices",
        build: |b, x, _| {
            let x = narrow(b, x, 8)?;
            Ok(top_k(b, &x, ROW, 3)?.index)
        },
        reference: |x, _| {
            let row = |row: &[i64]| order(&each(row, |x| narrowed(x, 8)));
            let rows = x.chunks(ROW).map(row);
            rows.flat_map(|o| o.into_iter().take(3).map(|j| j as i64))
                .collect()
        },
    },
    Case {
        name: "sort of 8 bits, rows of 16",
        build: |b, x, _| {
            let x = narrow(b, x, 8)?;
            Ok(sort(b, &x, ROW)?.value)
        },
        reference: |x, _| {
            let row = |row: &[i64]| {
                let row = each(row, |x| narrowed(x, 8));
                order(&row)
                    .into_iter()
                    .map(move |j| row[j])
                    .collect::<Vec<_>>()
            };
            x.chunks(ROW).flat_map(row).collect()
        },
    },
    Case {
        name: "fixed rows of 8, by 6 bits",
        build: |b, x, _| {
            let x = narrow(b, x, 6)?;
            // the highest value rounds up: 65 indices
            let x = b.combine(&[(1, &x)], 32)?;
            let matrix: Vec<i64> = (0..65 * 8).map(|i| (i * i) % 251 - 100).collect();
            select_fixed_rows(b, &x, &matrix, 8)
        },
        reference: |x, _| {
            let row = |x: &i64| {
                let first = (narrowed(*x, 6) + 32) * 8;
                (first..first + 8).map(|i| (i * i) % 251 - 100)
            };
            x.iter().flat_map(row).collect()
        },
    },
    Case {
        name: "computed rows of 4 of 8, by 3 bits",
        build: |b, x, y| {
            let x = narrow(b, x, 3)?;
            let x = b.combine(&[(1, &x)], 4)?;
            let matrix = b.gather(y, (0..36).map(|i| i % N as u32).collect())?;
            select_rows(b, &x, &matrix, 4)
        },
        reference: |x, y| {
            let row = |x: &i64| {
                let first = (narrowed(*x, 3) + 4) as usize * 4;
                (first..first + 4).map(|i| y[i % N])
            };
            x.iter().flat_map(row).collect()
        },
    },
];

/// The program of a case, and the gadget's result in it.
fn program(case: &Case, n: usize) -> (Arc<Program>, WireTensor) {
    let mut b = Builder::new();
    b.node("feed");
    let mut feed = |name: &str| {
        let input = spec(name, Role::Input, Visibility::Private, &[n], Dtype::Int32);
        b.input(input).unwrap()
    };
    let (x, y) = (feed("x"), feed("y"));
    b.node("gadget");
    let out = (case.build)(&mut b, &x, &y).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    let output = spec("z", Role::Output, Visibility::Private, &[n], Dtype::Int32);
    b.output(&x, output).unwrap();
    (Arc::new(b.finish().unwrap()), out)
}

/// Extreme, equal, small and arbitrary int32 values.
fn inputs(seed: u64) -> Vec<i64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (min, max) = (i64::from(i32::MIN), i64::from(i32::MAX));
    let value = |random: u64, i: usize| match (seed as usize + i) % 7 {
        0 => [min, max, min + 1, max - 1, 0, -1, 1][(random % 7) as usize],
        1 => (random % 5) as i64 - 2,
        2 => ((random % 9) as i64 - 4) << 16,
        3 => ((random % 9) as i64 - 4) << 24,
        _ => i64::from(random as u32 as i32) >> ((random >> 40) % 30),
    };
    let constant = seed.is_multiple_of(5);
    let first = next();
    (0..N)
        .map(|i| match constant {
            true => value(first, 0),
            false => value(next(), i),
        })
        .collect()
}

#[test]
fn the_solver_gives_what_a_plain_function_gives() {
    for case in CASES {
        let (program, out) = program(case, N);
        for seed in 0..60 {
            let (x, y) = (inputs(seed), inputs(seed + 1000));
            let tensors = [Tensor::flat(x.clone()), Tensor::flat(y.clone())];
            let solved = solve(&program, &tensors).unwrap_or_else(|e| panic!("{}: {e}", case.name));
            let expected = (case.reference)(&x, &y);
            assert_eq!(solved.tensor(out.id()), expected, "{}: {x:?}", case.name);
        }
    }
}

#[test]
fn both_systems_accept_the_honest_witness() {
    for case in CASES {
        let (program, _) = program(case, N);
        let again = Program::decode(&program.encode()).unwrap();
        assert_eq!(again.digest(), program.digest());
        let tensors = [Tensor::flat(inputs(3)), Tensor::flat(inputs(4))];
        let solved = solve(&program, &tensors).unwrap();
        let circuit = R1cs::lower(&program, Form::Committed).unwrap();
        let forger = Forger::new(&circuit, &solved);
        forger
            .check_honest()
            .unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let halo2 = Halo2Circuit::lower(&program).unwrap();
        let forger = Halo2Forger::new(&halo2, &solved);
        forger
            .check_honest()
            .unwrap_or_else(|e| panic!("{}: {e}", case.name));
        R1cs::lower(&program, Form::Plain).unwrap();
    }
}

/// What operands outside the stated bounds get: an error that names them.
#[test]
fn operands_outside_the_bounds_are_refused() {
    let mut b = Builder::new();
    let mut feed = |name: &str| {
        let input = spec(name, Role::Input, Visibility::Private, &[4], Dtype::Int32);
        b.input(input).unwrap()
    };
    let (x, y) = (feed("x"), feed("y"));
    let wide = b.combine(&[(1 << 20, &x)], 0).unwrap();
    let refused = |r: Result<WireTensor, BuildError>, what: &str| {
        let message = r.unwrap_err().to_string();
        assert!(message.contains(what), "{message}");
    };
    refused(divide(&mut b, &x, &y), "least divisor is -2147483648");
    refused(square_root(&mut b, &x), "least value");
    refused(reciprocal_square_root(&mut b, &x, 8), "least value");
    refused(is_negative(&mut b, &wide), "largest magnitude");
    refused(exp(&mut b, &x, EXP), "least argument");
    refused(rescale(&mut b, &wide, vec![1], 1), "bits is 51");
    refused(select_fixed_rows(&mut b, &x, &[1, 2, 3], 1), "least index");
    refused(
        arg_max(&mut b, &x, 3, Ties::First),
        "expected 6 elements, got 4",
    );
    let k = top_k(&mut b, &x, 4, 5).map(|t| t.value);
    refused(k, "k is 5, allowed 1..=4");
    let map = LinearMap::Scale { factors: vec![1] };
    let one = b.linear(map, &x, vec![(1 << 31) + 1]).unwrap();
    let scaled = reciprocal_square_root(&mut b, &one, 20);
    assert!(matches!(scaled, Err(BuildError::Interval { .. })));
}

#[test]
fn rows_for_each_element_are_golden() {
    let mut out =
        String::from("gadget,rows for each input element (committed),limb bits,table rows\n");
    for case in CASES {
        let (program, _) = program(case, COUNTED);
        let cost = cost(&program, Form::Committed).unwrap();
        let rows = cost.by_node.iter().find(|(node, _)| node == "gadget");
        let rows = rows.map_or(0, |r| r.1);
        let tables: usize = cost.tables.iter().map(|t| t.rows).sum();
        let per_element = rows as f64 / COUNTED as f64;
        writeln!(
            out,
            "\"{}\",{per_element:.2},{},{tables}",
            case.name, cost.limb_bits
        )
        .unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gadgets.csv");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &out).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        golden, out,
        "gadgets.csv changed: UPDATE_GOLDEN=1 rewrites it"
    );
}
