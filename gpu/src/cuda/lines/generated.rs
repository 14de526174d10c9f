//! # Generated: the source of a kernel that does the steps of one program
//!
//! One row a thread; the registers of a program are variables, which the compiler gives registers of the GPU while they are needed. A program of the
//! interpreter reads and writes memory in every step.

use std::fmt::Write as _;

use crate::lines::{Lines, Op, Step};

/// The name of the kernel.
pub(crate) const NAME: &str = "lines_generated";

/// The file that its source is called.
pub(crate) const FILE: &str = "lines_generated.cu";

/// Threads of a block.
pub(super) const BLOCK: u32 = 128;

/// The source of a kernel with the parameters (u32 *sum, const u64 *columns, const u32 *uniform, Element fold, u32 n).
pub(crate) fn source(lines: &Lines) -> String {
    let mut text = format!(
        "#include \"generated.cuh\"\n\
         KERNEL({BLOCK}, 4) {NAME}(u32 *sum, const u64 *columns, const u32 *uniform, Element fold, u32 n) {{\n\
         u32 row = thread_index();\n\
         if (row >= n) return;\n\
         Fr y = Fr::of(fold), s = Fr::load(sum + 8ull * row);\n"
    );
    for register in 0..lines.n_registers() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "Fr r{register};");
    }
    for step in lines.steps() {
        let _ = match *step {
            Step::Set(target, op) => writeln!(text, "r{target} = {};", value(op)),
            Step::Fold(a) => writeln!(text, "s = product(s, y) + r{a};"),
            Step::FoldUniform(u) => writeln!(text, "s = product(s, y) + uniform_at(uniform, {u});"),
        };
    }
    let _ = writeln!(
        text,
        "s.canonical().store(sum + 8ull * row);\n}}\nEXPORT_STRAIGHT({NAME})"
    );
    text
}

fn value(op: Op) -> String {
    match op {
        Op::Load { column, offset } => format!("column_at(columns, {column}, row + {offset}u, n)"),
        Op::Neg(a) => format!("r{a}.negated()"),
        Op::Add(a, b) => format!("r{a} + r{b}"),
        Op::Sub(a, b) => format!("r{a} - r{b}"),
        Op::Mul(a, b) if a == b => format!("square(r{a})"),
        Op::Mul(a, b) => format!("product(r{a}, r{b})"),
        Op::AddUniform(u, a) => format!("uniform_at(uniform, {u}) + r{a}"),
        Op::UniformSub(u, a) => format!("uniform_at(uniform, {u}) - r{a}"),
        Op::MulUniform(u, a) => format!("product(uniform_at(uniform, {u}), r{a})"),
    }
}
