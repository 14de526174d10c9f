//! Compiles the kernels ahead of time, on a machine that needs no GPU: `kernels [--out FOLDER] [--sm 80,90,…] [--check]`.
//!
//! Writes machine code and keys to the folder (`gpu/cubins`, from which the next build embeds them); with `--check` only prints sizes and times.
#![forbid(unsafe_code)]

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use zkinfer_gpu::kernels::{self, Compiler, Cubin};

/// The architectures of the GPUs since 2020 that run the kernels.
const ARCHITECTURES: [u32; 6] = [80, 86, 89, 90, 100, 120];

struct Arguments {
    /// Where to write, if at all.
    out: Option<PathBuf>,
    architectures: Vec<u32>,
}

fn main() -> ExitCode {
    let done = arguments(env::args().skip(1)).and_then(|arguments| compile(&arguments));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compile(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let compiler = Compiler::find()?;
    let (major, minor) = compiler.version();
    println!("NVRTC {major}.{minor}");
    for unit in kernels::units() {
        for &sm in &arguments.architectures {
            let begun = Instant::now();
            let cubin = compiler.compile(unit, sm)?;
            let seconds = begun.elapsed().as_secs_f64();
            println!(
                "{:24} {:9} bytes {seconds:6.2} s",
                cubin.file,
                cubin.code.len()
            );
            if let Some(folder) = &arguments.out {
                write(folder, &cubin)?;
            }
        }
    }
    Ok(())
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, Box<dyn Error>> {
    let mut arguments = Arguments {
        out: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("cubins")),
        architectures: ARCHITECTURES.to_vec(),
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--check" => arguments.out = None,
            "--out" => arguments.out = Some(value()?.into()),
            "--sm" => {
                let numbers = value()?;
                let numbers: Result<_, _> = numbers.split(',').map(str::parse).collect();
                arguments.architectures = numbers?;
            }
            _ => return Err(format!("{word}: known are --out, --sm and --check").into()),
        }
    }
    Ok(arguments)
}

/// The key last: code without a key is not embedded.
fn write(folder: &Path, cubin: &Cubin) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let key = folder.join(&cubin.key_file);
    if key.exists() {
        fs::remove_file(&key)?;
    }
    fs::write(folder.join(&cubin.file), &cubin.code)?;
    fs::write(key, &cubin.key)?;
    Ok(())
}
