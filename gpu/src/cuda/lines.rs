//! # Lines on a GPU
//!
//! A program that runs often is compiled to a kernel of its own. Others are interpreted, a step at a time, every row at once: registers lie in
//! memory of the device then, and as many threads as keep a GPU busy, each with registers of its own, take row after row.

pub(crate) mod generated;

use std::sync::Arc;

use ark_bn254::Fr;

use super::driver::{Driver, DriverError, Generated, Kernel, Unit};
use super::memory::{Buffer, FR_BYTES, element};
use super::vectors::{addresses, launch, word};
use crate::lines::{Lines, Op, Step};

/// Threads of a multiprocessor, at most: those of seven blocks, as many as its registers suffice for.
const THREADS_PER_MULTIPROCESSOR: usize = 896;
/// And at least: one block.
const LEAST_THREADS: usize = 128;
/// Bytes of registers that the threads of a multiprocessor have together: more than caches hold costs more than it gives.
const REGISTER_BYTES: usize = 256 << 10;
/// Steps of a program that becomes a kernel: NVRTC takes 4 s for 500 of them, 24 s for 1,000.
const MAX_STEPS: usize = 400;
/// Its registers of 32 bytes. What a thread has no room for lies in memory that the driver takes for every thread that may run at once.
const MAX_REGISTERS: usize = 96;

/// A kernel made of a program.
#[derive(Debug)]
pub(super) struct Compiled(Arc<dyn Generated>);

/// Makes a kernel of a program; none of one that is too long or has too many registers to be worth it.
///
/// # Errors
/// There is no compiler.
pub(super) fn compile(
    driver: &Arc<dyn Driver>,
    lines: &Lines,
) -> Result<Option<Compiled>, DriverError> {
    if lines.steps().len() > MAX_STEPS || lines.n_registers() > MAX_REGISTERS {
        return Ok(None);
    }
    let kernel = driver.generate(generated::NAME, &generated::source(lines))?;
    Ok(Some(Compiled(kernel)))
}

/// What a program works on; checked.
pub(super) struct Operands<'a> {
    pub(super) sum: &'a Buffer,
    pub(super) columns: &'a [&'a Buffer],
    pub(super) uniform: &'a [Fr],
    pub(super) fold: Fr,
}

/// Runs a program on every row of the sum.
pub(super) fn run(
    driver: &Arc<dyn Driver>,
    lines: &Lines,
    compiled: Option<&Compiled>,
    operands: &Operands<'_>,
) -> Result<(), DriverError> {
    let n = operands.sum.bytes() / FR_BYTES;
    let sum = operands.sum;
    let columns = addresses(driver, operands.columns)?;
    let uniform = Buffer::of_scalars(driver, operands.uniform)?;
    let fold = element(operands.fold);
    if let Some(Compiled(kernel)) = compiled {
        let blocks = u32::try_from(n.div_ceil(generated::BLOCK as usize)).unwrap_or(u32::MAX);
        let args = [sum.arg(), columns.arg(), uniform.arg(), fold, word(n)];
        return kernel.launch(blocks, generated::BLOCK, &args);
    }
    let with_room = REGISTER_BYTES / (FR_BYTES * lines.n_registers().max(1));
    let per_multiprocessor = with_room.clamp(LEAST_THREADS, THREADS_PER_MULTIPROCESSOR);
    let threads = n.min(driver.facts().multiprocessors.max(1) * per_multiprocessor);
    let steps = Buffer::of(driver, bytemuck::cast_slice(&encoded(lines)))?;
    let registers = Buffer::new(driver, threads * lines.n_registers() * FR_BYTES)?;
    let args = [
        sum.arg(),
        steps.arg(),
        word(lines.steps().len()),
        columns.arg(),
        uniform.arg(),
        registers.arg(),
        fold,
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
