//! # The suite's part on vectors: programs, combinations, polynomials, inverses, products
//!
//! Sizes are on both sides of what one thread, one block and one level of a scan take.

use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, Field, Zero};

use super::{Mismatch, ensure, evaluate, scalars};
use crate::device::{Device, DeviceError, FrVec};
use crate::lines::{Lines, Op, Step};

const SIZES: [usize; 7] = [0, 1, 2, 33, 1000, (1 << 12) + 1, 3 << 13];

pub(super) fn check(device: &dyn Device) -> Result<(), Mismatch> {
    for len in SIZES {
        check_places(device, len)?;
        check_combinations(device, len)?;
        check_polynomials(device, len)?;
        check_products(device, len)?;
        check_lookup(device, len)?;
    }
    for (lines, case) in [
        (one_of_each(), "one of each"),
        (many_registers(), "many registers"),
    ] {
        let Some(lines) = lines else {
            return ensure(false, "a program", 0, case);
        };
        check_lines(device, &lines, case)?;
        if device.compile_lines(&lines)? {
            check_lines(device, &lines, case)?;
        }
    }
    check_refusals(device)
}

/// Full-size values with zeros, ones and a −1 among them.
fn mixed(seed: u64, len: usize) -> Vec<Fr> {
    let mut values = scalars(seed, len);
    for (i, value) in values.iter_mut().enumerate() {
        match i % 11 {
            3 => *value = Fr::ZERO,
            5 => *value = Fr::ONE,
            7 => *value = -Fr::ONE,
            _ => {}
        }
    }
    values
}

fn check_places(device: &dyn Device, len: usize) -> Result<(), Mismatch> {
    let own = scalars(30, len);
    let lent = device.lend(own.clone(), len / 3..len)?;
    let part = device.read_range(lent.part())?;
    ensure(part == own[len / 3..], "a part lent", len, "any")?;
    let back = device.take_back(lent)?;
    ensure(back == own, "values taken back", len, "any")?;
    let zeros = device.download(device.zeros(len)?)?;
    ensure(zeros == vec![Fr::ZERO; len], "zeros", len, "any")?;
    let mut values = scalars(31, len);
    let original = device.upload(values.clone())?;
    let mut copy = device.duplicate(&original)?;
    for (first, n) in [(0, len), (len / 3, len / 2), (len, 0)] {
        let part = device.read_range(original.slice(first..first + n)?)?;
        ensure(part == values[first..first + n], "a range read", len, "any")?;
    }
    let new = scalars(32, len / 2);
    device.write_range(&mut copy, len / 3, &new)?;
    ensure(
        device.download(original)? == values,
        "duplicate",
        len,
        "any",
    )?;
    values[len / 3..len / 3 + len / 2].copy_from_slice(&new);
    ensure(
        device.download(copy)? == values,
        "a range written",
        len,
        "any",
    )
}

fn check_combinations(device: &dyn Device, len: usize) -> Result<(), Mismatch> {
    for n_terms in [0u64, 1, 5] {
        let (start, factors) = (scalars(41, len), mixed(42, n_terms as usize));
        let vectors: Vec<Vec<Fr>> = (0..n_terms).map(|i| mixed(43 + i, len)).collect();
        let mut expected = start.clone();
        for (factor, vector) in factors.iter().zip(&vectors) {
            expected
                .iter_mut()
                .zip(vector)
                .for_each(|(sum, v)| *sum += *factor * v);
        }
        let held = upload_all(device, &vectors)?;
        let mut sum = device.upload(start)?;
        let terms: Vec<(Fr, &FrVec)> = factors.iter().copied().zip(&held).collect();
        device.combine(&mut sum, &terms)?;
        ensure(device.download(sum)? == expected, "combine", len, "any")?;
        check_mix(device, &vectors, held)?;
    }
    Ok(())
}

fn check_mix(
    device: &dyn Device,
    before: &[Vec<Fr>],
    mut held: Vec<FrVec>,
) -> Result<(), Mismatch> {
    let (n, len) = (before.len(), before.first().map_or(0, Vec::len));
    let matrix: Vec<Vec<Fr>> = (0..n as u64).map(|row| mixed(50 + row, n)).collect();
    device.mix(&mut held, &matrix)?;
    for (row, after) in matrix.iter().zip(held) {
        let entry = |i: usize| row.iter().zip(before).map(|(m, v)| *m * v[i]).sum();
        let expected: Vec<Fr> = (0..len).map(entry).collect();
        ensure(device.download(after)? == expected, "mix", len, "any")?;
    }
    Ok(())
}

fn check_polynomials(device: &dyn Device, len: usize) -> Result<(), Mismatch> {
    let full = scalars(61, len);
    for (case, p) in [("full-size", full.clone()), ("mixed", mixed(62, len))] {
        for x in [Fr::ZERO, Fr::ONE, -Fr::ONE, Fr::from(1_000_003u64)] {
            let mut vector = device.upload(p.clone())?;
            let value = evaluate(&p, x);
            ensure(device.evaluate(&vector, x)? == value, "evaluate", len, case)?;
            let remainder = device.divide(&mut vector, x)?;
            ensure(remainder == value, "the remainder of divide", len, case)?;
            let quotient = device.download(vector)?;
            // q·(X − x) + remainder = p, from the top down.
            let mut above = Fr::ZERO;
            let right = quotient.iter().zip(&p).rev().all(|(q, c)| {
                let right = *q == above;
                above = *c + above * x;
                right
            });
            ensure(right, "divide", len, case)?;
        }
    }
    Ok(())
}

fn check_products(device: &dyn Device, len: usize) -> Result<(), Mismatch> {
    let start = Fr::from(77u64);
    for (case, values) in [("full-size", scalars(71, len)), ("mixed", mixed(72, len))] {
        let mut vector = device.upload(values.clone())?;
        device.invert(&mut vector)?;
        let inverses = device.download(vector)?;
        let right = inverses
            .iter()
            .zip(&values)
            .all(|(inverse, value)| match value.is_zero() {
                true => inverse.is_zero(),
                false => *inverse * value == Fr::ONE,
            });
        ensure(right && inverses.len() == len, "invert", len, case)?;
        let mut vector = device.upload(values.clone())?;
        let end = device.running_products(&mut vector, start)?;
        let mut product = start;
        let expected: Vec<Fr> = values
            .iter()
            .map(|value| {
                let next = product * value;
                std::mem::replace(&mut product, next)
            })
            .collect();
        let same = device.download(vector)? == expected && end == product;
        ensure(same, "running products", len, case)?;
    }
    Ok(())
}

fn check_lookup(device: &dyn Device, len: usize) -> Result<(), Mismatch> {
    let (table, factors) = (scalars(81, 37), mixed(82, 12));
    let indices: Vec<u32> = (0..len).map(|i| (i * i % (37 * 12)) as u32).collect();
    let expected: Vec<Fr> = indices
        .iter()
        .map(|i| factors[*i as usize / 37] * table[*i as usize % 37])
        .collect();
    let table = device.upload(table)?;
    let found = device.lookup(&table, &factors, &indices)?;
    ensure(device.download(found)? == expected, "lookup", len, "any")
}

/// The programs of the suite.
pub(crate) fn programs() -> impl Iterator<Item = Lines> {
    [one_of_each(), many_registers()].into_iter().flatten()
}

/// Every operation and every step, columns around both ends, a register written twice.
fn one_of_each() -> Option<Lines> {
    let steps = vec![
        Step::Set(
            0,
            Op::Load {
                column: 0,
                offset: 0,
            },
        ),
        Step::Set(
            1,
            Op::Load {
                column: 1,
                offset: 1,
            },
        ),
        Step::Set(
            2,
            Op::Load {
                column: 0,
                offset: u32::MAX,
            },
        ),
        Step::Set(3, Op::Add(0, 1)),
        Step::Fold(3),
        Step::Set(4, Op::Sub(2, 3)),
        Step::Set(3, Op::Mul(4, 1)),
        Step::Set(5, Op::Mul(3, 3)),
        Step::Fold(5),
        Step::Set(4, Op::Neg(5)),
        Step::FoldUniform(2),
        Step::Set(5, Op::AddUniform(0, 4)),
        Step::Set(4, Op::UniformSub(1, 5)),
        Step::Set(5, Op::MulUniform(2, 4)),
        Step::Set(4, Op::Add(5, 5)),
        Step::Set(3, Op::Sub(4, 4)),
        Step::Fold(3),
        Step::Fold(4),
    ];
    Lines::new(steps, 6, 2, 3).ok()
}

/// More registers than a thread of any GPU has for itself.
fn many_registers() -> Option<Lines> {
    let mut steps = vec![Step::Set(
        0,
        Op::Load {
            column: 0,
            offset: 3,
        },
    )];
    for i in 1..80u16 {
        steps.push(Step::Set(i, Op::AddUniform(i % 2, i - 1)));
    }
    for i in 1..80u16 {
        steps.push(Step::Set(80 + i % 2, Op::Mul(i, 79 - i)));
        steps.push(Step::Fold(80 + i % 2));
    }
    Lines::new(steps, 82, 1, 2).ok()
}

fn check_lines(device: &dyn Device, lines: &Lines, case: &'static str) -> Result<(), Mismatch> {
    [0u32, 1, 2, 5, 6, 10, 12]
        .iter()
        .try_for_each(|log_n| check_rows(device, 1 << log_n, lines, case))
}

fn check_rows(
    device: &dyn Device,
    n: usize,
    lines: &Lines,
    case: &'static str,
) -> Result<(), Mismatch> {
    let columns: Vec<Vec<Fr>> = (0..lines.n_columns() as u64)
        .map(|i| mixed(90 + i, n))
        .collect();
    let (uniform, fold) = (scalars(95, lines.n_uniform()), Fr::from(12_345u64));
    let start = mixed(96, n);
    let expected: Vec<Fr> = (0..n)
        .map(|row| run_row(lines, &columns, &uniform, fold, row, start[row]))
        .collect();
    let held = upload_all(device, &columns)?;
    let mut sum = device.upload(start)?;
    let columns: Vec<&FrVec> = held.iter().collect();
    device.run_lines(&mut sum, lines, &columns, &uniform, fold)?;
    ensure(device.download(sum)? == expected, "a program", n, case)
}

fn run_row(
    lines: &Lines,
    columns: &[Vec<Fr>],
    uniform: &[Fr],
    fold: Fr,
    row: usize,
    mut sum: Fr,
) -> Fr {
    let mut registers = vec![Fr::ZERO; lines.n_registers()];
    let u = |i: u16| uniform[usize::from(i)];
    for step in lines.steps() {
        let r = |i: u16| registers[usize::from(i)];
        match *step {
            Step::Fold(a) => sum = sum * fold + r(a),
            Step::FoldUniform(a) => sum = sum * fold + u(a),
            Step::Set(target, op) => {
                registers[usize::from(target)] = match op {
                    Op::Load { column, offset } => {
                        let column = &columns[usize::from(column)];
                        column[(row + offset as usize) % column.len()]
                    }
                    Op::Neg(a) => -r(a),
                    Op::Add(a, b) => r(a) + r(b),
                    Op::Sub(a, b) => r(a) - r(b),
                    Op::Mul(a, b) => r(a) * r(b),
                    Op::AddUniform(a, b) => u(a) + r(b),
                    Op::UniformSub(a, b) => u(a) - r(b),
                    Op::MulUniform(a, b) => u(a) * r(b),
                };
            }
        }
    }
    sum
}

fn upload_all(device: &dyn Device, vectors: &[Vec<Fr>]) -> Result<Vec<FrVec>, DeviceError> {
    vectors
        .iter()
        .map(|vector| device.upload(vector.clone()))
        .collect()
}

fn check_refusals(device: &dyn Device) -> Result<(), Mismatch> {
    let refused = |operation, case, answer: Result<(), DeviceError>| match answer {
        Err(DeviceError::Length { .. }) => Ok(()),
        _ => Err(Mismatch::Accepted { operation, case }),
    };
    let beyond = device.lend(scalars(1, 4), 2..5).map(drop);
    refused("a part lent", "a part beyond the end", beyond)?;
    let mut vector = device.upload(scalars(1, 4))?;
    let longer = device.upload(scalars(2, 5))?;
    let term = [(Fr::ONE, &longer)];
    refused(
        "combine",
        "vectors of two lengths",
        device.combine(&mut vector, &term),
    )?;
    let beyond = device.write_range(&mut vector, 3, &scalars(3, 2));
    refused("a range written", "values beyond the end", beyond)?;
    let beyond = device.lookup(&vector, &scalars(4, 2), &[8]).map(drop);
    refused("lookup", "an index without a factor", beyond)?;
    let matrix = vec![scalars(5, 2)];
    let mut vectors = [vector];
    refused(
        "mix",
        "a matrix that is not square",
        device.mix(&mut vectors, &matrix),
    )?;
    let load = Step::Set(
        0,
        Op::Load {
            column: 0,
            offset: 0,
        },
    );
    let Ok(lines) = Lines::new(vec![load, Step::FoldUniform(0)], 1, 1, 1) else {
        return ensure(false, "a program", 4, "two steps");
    };
    let [mut vector] = vectors;
    for (case, columns, uniform) in [
        ("a column of another length", &[&longer][..], &[Fr::ONE][..]),
        ("no column", &[], &[Fr::ONE]),
    ] {
        let answer = device.run_lines(&mut vector, &lines, columns, uniform, Fr::ONE);
        refused("a program", case, answer)?;
    }
    let other = device.duplicate(&longer)?;
    let answer = device.run_lines(&mut vector, &lines, &[&other], &[], Fr::ONE);
    refused("a program", "no uniform value", answer)?;
    let mut odd = device.duplicate(&longer)?;
    let answer = device.run_lines(&mut odd, &lines, &[&longer], &[Fr::ONE], Fr::ONE);
    refused("a program", "rows that are no power of two", answer)
}
