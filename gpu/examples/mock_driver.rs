//! Makes a stand-in for NVIDIA's driver in a folder, to try on any machine with a C++ compiler what a GPU is asked to do: `mock_driver FOLDER` prints the
//! variables to start a program with. The kernels run on the CPU, slowly.
#![forbid(unsafe_code)]

use std::env;
use std::path::Path;
use std::process::ExitCode;

use zkinfer_gpu::testing::{MockGpu, mock_driver};

fn main() -> ExitCode {
    let Some(folder) = env::args().nth(1) else {
        eprintln!("mock_driver FOLDER");
        return ExitCode::FAILURE;
    };
    match mock_driver(Path::new(&folder), MockGpu::default()) {
        Ok(variables) => {
            for (name, value) in variables {
                println!("export {name}='{}'", value.to_string_lossy());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
