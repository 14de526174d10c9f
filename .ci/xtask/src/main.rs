//! # Repository checks that need no test to run
//! `cargo xtask tidy`: the invariants of the architecture that a script can see. `cargo xtask licences`: every dependency's licence is
//! on the list. Both print one line per violation, with the file and the rule, and exit 1.

#![forbid(unsafe_code)]

mod floors;
mod licences;
mod metadata;
mod source;
mod tidy;

use std::process::ExitCode;

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let outcome = match task.as_str() {
        "tidy" => tidy::run(),
        "licences" => licences::run(),
        _ => Err("usage: cargo xtask tidy|licences".to_owned()),
    };
    match outcome {
        Ok(summary) => {
            println!("{task}: {summary}");
            ExitCode::SUCCESS
        }
        Err(complaint) => {
            eprintln!("{complaint}");
            ExitCode::FAILURE
        }
    }
}
