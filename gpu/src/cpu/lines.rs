//! # Lines on the CPU: a block of rows at a time
//!
//! An instruction works on a block of rows, in registers that stay in the first-level cache; nothing is allocated for a row.

use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, Field};
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::lines::{Lines, Op, Step};

/// Rows of a block.
const BLOCK: usize = 32;
/// Blocks of one task.
const BLOCKS_PER_TASK: usize = 32;

/// What every block reads.
struct Inputs<'a> {
    columns: &'a [&'a [Fr]],
    uniform: &'a [Fr],
    fold: Fr,
}

/// Runs `lines` on every row of `sum`, whose length, that of the columns too, is a power of two.
pub(super) fn run(sum: &mut [Fr], lines: &Lines, columns: &[&[Fr]], uniform: &[Fr], fold: Fr) {
    let inputs = Inputs {
        columns,
        uniform,
        fold,
    };
    let block = BLOCK.min(sum.len());
    let registers = || Zeroizing::new(vec![vec![Fr::ZERO; block]; lines.n_registers()]);
    sum.par_chunks_mut(block * BLOCKS_PER_TASK)
        .enumerate()
        .for_each_init(registers, |registers, (task, part)| {
            for (i, sum) in part.chunks_mut(block).enumerate() {
                let row = (task * BLOCKS_PER_TASK + i) * block;
                inputs.run_block(lines, registers, row, sum);
            }
        });
}

impl Inputs<'_> {
    fn run_block(&self, lines: &Lines, registers: &mut [Vec<Fr>], row: usize, sum: &mut [Fr]) {
        for step in lines.steps() {
            match *step {
                Step::Set(target, op) => {
                    let mut out = std::mem::take(&mut registers[usize::from(target)]);
                    self.set(op, registers, row, &mut out);
                    registers[usize::from(target)] = out;
                }
                Step::Fold(a) => {
                    for (sum, a) in sum.iter_mut().zip(&registers[usize::from(a)]) {
                        *sum = *sum * self.fold + a;
                    }
                }
                Step::FoldUniform(u) => {
                    let u = self.uniform[usize::from(u)];
                    sum.iter_mut().for_each(|sum| *sum = *sum * self.fold + u);
                }
            }
        }
    }

    fn set(&self, op: Op, registers: &[Vec<Fr>], row: usize, out: &mut [Fr]) {
        let register = |i: u16| registers[usize::from(i)].iter();
        let uniform = |i: u16| self.uniform[usize::from(i)];
        match op {
            Op::Load { column, offset } => {
                let values = self.columns[usize::from(column)];
                let start = (row + offset as usize) & (values.len() - 1);
                let (front, back) = out.split_at_mut(out.len().min(values.len() - start));
                front.copy_from_slice(&values[start..start + front.len()]);
                back.copy_from_slice(&values[..back.len()]);
            }
            Op::Neg(a) => {
                for (out, a) in out.iter_mut().zip(register(a)) {
                    *out = -*a;
                }
            }
            Op::Add(a, b) => {
                for ((out, a), b) in out.iter_mut().zip(register(a)).zip(register(b)) {
                    *out = *a + b;
                }
            }
            Op::Sub(a, b) => {
                for ((out, a), b) in out.iter_mut().zip(register(a)).zip(register(b)) {
                    *out = *a - b;
                }
            }
            Op::Mul(a, b) if a == b => {
                for (out, a) in out.iter_mut().zip(register(a)) {
                    *out = a.square();
                }
            }
            Op::Mul(a, b) => {
                for ((out, a), b) in out.iter_mut().zip(register(a)).zip(register(b)) {
                    *out = *a * b;
                }
            }
            Op::AddUniform(u, a) => {
                let u = uniform(u);
                for (out, a) in out.iter_mut().zip(register(a)) {
                    *out = u + a;
                }
            }
            Op::UniformSub(u, a) => {
                let u = uniform(u);
                for (out, a) in out.iter_mut().zip(register(a)) {
                    *out = u - a;
                }
            }
            Op::MulUniform(u, a) => {
                let u = uniform(u);
                for (out, a) in out.iter_mut().zip(register(a)) {
                    *out = u * a;
                }
            }
        }
    }
}
