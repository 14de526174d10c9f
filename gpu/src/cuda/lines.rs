//! # Lines on a GPU: a step at a time, every row at once
//!
//! Registers lie in memory of the device: as many threads as keep a GPU busy, each with registers of its own, take row after row.

use std::sync::Arc;

use ark_bn254::Fr;

use super::driver::{Arg, Driver, DriverError, Kernel, Unit};
use super::memory::{Buffer, FR_BYTES, element};
use super::vectors::{addresses, launch};
use crate::lines::{Lines, Op, Step};

/// Threads of a multiprocessor: more would need more memory for registers than caches hold.
const THREADS_PER_MULTIPROCESSOR: usize = 256;

/// Runs a program on every row of `sum`; the operands are checked.
pub(super) fn run(
    driver: &Arc<dyn Driver>,
    sum: &Buffer,
    lines: &Lines,
    columns: &[&Buffer],
    uniform: &[Fr],
    fold: Fr,
) -> Result<(), DriverError> {
    let n = sum.bytes() / FR_BYTES;
    let threads = n.min(driver.facts().multiprocessors.max(1) * THREADS_PER_MULTIPROCESSOR);
    let steps = Buffer::of(driver, bytemuck::cast_slice(&encoded(lines)))?;
    let columns = addresses(driver, columns)?;
    let uniform = Buffer::of_scalars(driver, uniform)?;
    let registers = Buffer::new(driver, threads * lines.n_registers() * FR_BYTES)?;
    let word = |n: usize| Arg::U32(u32::try_from(n).unwrap_or(u32::MAX));
    let args = [
        sum.arg(),
        steps.arg(),
        word(lines.steps().len()),
        columns.arg(),
        uniform.arg(),
        registers.arg(),
        element(fold),
        word(threads),
        word(n),
    ];
    let kernel = Kernel {
        unit: Unit::Lines,
        name: "lines_run",
    };
    launch(driver, kernel, threads, &args)
}

/// Kind, target and operands of every step, as `lines.cu` reads them.
fn encoded(lines: &Lines) -> Vec<[u32; 4]> {
    lines.steps().iter().map(|step| words(*step)).collect()
}

fn words(step: Step) -> [u32; 4] {
    let (kind, target, a, b) = match step {
        Step::Set(target, op) => {
            let (kind, a, b) = match op {
                Op::Load { column, offset } => return [0, target.into(), column.into(), offset],
                Op::Neg(a) => (1, a, 0),
                Op::Add(a, b) => (2, a, b),
                Op::Sub(a, b) => (3, a, b),
                Op::Mul(a, b) => (4, a, b),
                Op::AddUniform(u, a) => (5, u, a),
                Op::UniformSub(u, a) => (6, u, a),
                Op::MulUniform(u, a) => (7, u, a),
            };
            (kind, target, a, b)
        }
        Step::Fold(a) => (8, 0, a, 0),
        Step::FoldUniform(u) => (9, 0, u, 0),
    };
    [kind, target.into(), a.into(), b.into()]
}
