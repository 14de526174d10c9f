//! A GPU: what its instructions, multiplications, transforms and proofs take, beside the least that they can take.
//!
//! `cargo bench -p zkinfer-benches --bench gpu -- --help`. Prints Markdown. Every result is checked before it is timed; the clock, from which a
//! limit is computed, is that of a kernel which runs just after what was timed. Without a GPU one line says why, and nothing is wrong.

#![forbid(unsafe_code)]

mod check;
mod groth16;
mod inputs;
mod kernels;
mod limits;
mod machine;
mod options;
mod report;

use std::env;
use std::process::ExitCode;

use zkinfer_gpu::{G1, G2};

use machine::Machine;
use options::Options;
use report::Report;

fn main() -> ExitCode {
    if env::args().any(|word| word == "--help") {
        println!("{}", options::USAGE);
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(env::args().skip(1)) {
        Ok(options) => options,
        Err(complaint) => {
            eprintln!("{complaint}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    limits::assert_known_values();
    match Machine::find(&options) {
        Ok(Some(machine)) => run(&machine, &options),
        Ok(None) => {}
        Err(complaint) => {
            eprintln!("{complaint}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run(machine: &Machine, options: &Options) {
    println!("{:#}", machine.describe());
    if options.check {
        return check::run(machine, options);
    }
    let mut report = Report::new(options.json.clone(), machine.describe());
    if options.asks_for("rates") {
        machine.rates(&mut report);
    }
    println!("\n{}", inputs::Progression::SENTENCE);
    report.begin_times();
    if options.asks_for("ntt") {
        kernels::transforms(machine, options, &mut report);
    }
    if options.asks_for("msm") {
        kernels::multiplications::<G1>(machine, options, &mut report, 24);
        let last_g2 = if options.quick { 20 } else { 22 };
        kernels::multiplications::<G2>(machine, options, &mut report, last_g2);
    }
    if options.asks_for("groth16") {
        groth16::proofs(machine, options, &mut report);
    }
}
