//! The `zkinfer` program.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    zkinfer_service::cli::main()
}
