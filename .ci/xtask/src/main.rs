//! # Repository checks that need no test to run
//! `cargo xtask tidy`: the invariants of the architecture that a script can see. `cargo xtask licences`: every dependency's licence is
//! on the list. Both print one line per violation, with the file and the rule, and exit 1.
//!
//! `cargo xtask kernels`: compiles the GPU's kernels with NVRTC for embedding (`gpu/cubins`); its arguments are those of the example `kernels`
//! of zkinfer-gpu.

#![forbid(unsafe_code)]

mod floors;
mod licences;
mod metadata;
mod source;
mod tidy;

use std::process::{Command, ExitCode};

/// A command of its own, so that the other tasks need not wait for what it is made of.
fn kernels(arguments: impl Iterator<Item = String>) -> Result<String, String> {
    let status = Command::new("cargo")
        .args(["run", "--quiet", "--release", "--package", "zkinfer-gpu"])
        .args(["--example", "kernels", "--"])
        .args(arguments)
        .current_dir(metadata::repository())
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if status.success() {
        Ok("compiled".to_owned())
    } else {
        Err(format!("the kernels were not compiled: {status}"))
    }
}

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let outcome = match task.as_str() {
        "tidy" => tidy::run(),
        "licences" => licences::run(),
        "kernels" => kernels(std::env::args().skip(2)),
        _ => Err("usage: cargo xtask tidy|licences|kernels".to_owned()),
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
