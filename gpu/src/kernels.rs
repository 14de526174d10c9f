//! # Kernels: the device code of this crate, compiled without a GPU
//!
//! A program compiles what it needs by itself, when it first runs on a GPU. Compiling ahead of that, for embedding and for checks of the machine
//! code, needs NVIDIA's compiler library (NVRTC, major version 12 or 13) and nothing else.

use std::path::Path;

use crate::cuda::driver::{DriverError, Unit};
use crate::cuda::lines::generated;
use crate::cuda::module::{self, Nvrtc};
use crate::cuda::source::{self, File};
use crate::lines::Lines;

/// Machine code of one translation unit for one architecture.
#[derive(Debug, Clone)]
pub struct Cubin {
    /// The file in which the build script of this crate looks for the code.
    pub file: String,
    /// The code, an ELF file.
    pub code: Vec<u8>,
    /// What the compiler said of each function: registers, stack, spills.
    pub log: String,
    /// The file in which the build script looks for the key.
    pub key_file: String,
    /// The digest of what the code was made from.
    pub key: String,
}

/// NVIDIA's compiler library.
#[derive(Debug, Clone, Copy)]
pub struct Compiler(Nvrtc);

impl Compiler {
    /// The newest in the folder that the environment variable `ZKINFER_NVRTC` names; where it is not set, where the system looks for libraries
    /// (`LD_LIBRARY_PATH` among others), and in `/usr/local/cuda/lib64`.
    ///
    /// # Errors
    /// There is none.
    pub fn find() -> Result<Self, DriverError> {
        Nvrtc::find(u32::MAX).map(Self)
    }

    /// The newest in a folder.
    ///
    /// # Errors
    /// There is none.
    pub fn in_folder(folder: &Path) -> Result<Self, DriverError> {
        Nvrtc::in_folder(folder).map(Self)
    }

    /// Major and minor number of its version.
    #[must_use]
    pub fn version(&self) -> (u32, u32) {
        self.0.version()
    }

    /// Compiles a unit of [`units`] for the architecture `sm` (90 for `sm_90`).
    ///
    /// # Errors
    /// There is no such unit, it does not compile, or the compiler does not know the architecture.
    pub fn compile(&self, unit: &str, sm: u32) -> Result<Cubin, DriverError> {
        let named = Unit::ALL.into_iter().find(|known| known.name() == unit);
        let unit = named.ok_or_else(|| DriverError::Failed {
            call: "compiling",
            reason: format!("there is no unit {unit}"),
        })?;
        self.compile_source(unit.name(), source::unit(unit), sm)
    }

    /// Compiles the kernel of a program for the architecture `sm`.
    ///
    /// # Errors
    /// It does not compile, or the compiler does not know the architecture.
    pub fn compile_lines(&self, lines: &Lines, sm: u32) -> Result<Cubin, DriverError> {
        let text = generated::source(lines);
        let source = File {
            name: generated::FILE,
            text: &text,
        };
        self.compile_source(generated::NAME, source, sm)
    }

    fn compile_source(&self, name: &str, source: File<'_>, sm: u32) -> Result<Cubin, DriverError> {
        let compiled = self.0.compile(source, sm)?;
        Ok(Cubin {
            file: module::file_name(name, sm, module::CUBIN),
            code: compiled.code,
            log: compiled.log,
            key_file: module::file_name(name, sm, module::KEY),
            key: module::key(source, sm),
        })
    }
}

/// A program with every operation and every step, and one with more registers than a thread of any GPU has for itself.
pub fn sample_programs() -> impl Iterator<Item = Lines> {
    crate::testing::vectors::programs()
}

/// The names of the translation units.
pub fn units() -> impl Iterator<Item = &'static str> {
    Unit::ALL.into_iter().map(Unit::name)
}
