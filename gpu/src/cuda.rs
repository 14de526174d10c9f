//! # The CUDA device
//!
//! Vectors and keys lie in the memory of a GPU, and whole proofs are made there (DESIGN.md#the-gpu). No CUDA toolkit is needed to build: the
//! driver, and the compiler of kernels where they are not embedded, are loaded when they are used.

pub(crate) mod checks;
mod device;
pub(crate) mod driver;
pub(crate) mod emulator;
pub(crate) mod failing;
pub(crate) mod lines;
mod measure;
pub(crate) mod memory;
pub(crate) mod module;
mod msm;
pub(crate) mod ntt;
pub(crate) mod source;
mod vectors;

pub use device::Cuda;
pub use driver::{DriverError, Facts};
pub use measure::InstructionRate;

use module::Found;

/// The GPUs of this machine.
#[derive(Debug, Clone, Default)]
pub struct Detected {
    /// Those that can be used.
    pub gpus: Vec<Gpu>,
    /// Why others, or all, cannot: a sentence each.
    pub unusable: Vec<String>,
}

/// A GPU that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Its number, as the driver counts.
    pub ordinal: usize,
    /// What it is.
    pub facts: Facts,
}

/// Looks for GPUs. A machine without a driver has none, and the reason says so.
#[must_use]
pub fn detect() -> Detected {
    let mut detected = Detected::default();
    for found in module::gpus() {
        match found {
            Found::Gpu { ordinal, facts } => detected.gpus.push(Gpu { ordinal, facts }),
            Found::Unusable(reason) => detected.unusable.push(reason.to_string()),
        }
    }
    detected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device as _;
    use crate::testing::{check_arithmetic, check_device, emulated_gpu};

    fn emulated(memory_bytes: Option<u64>) -> Cuda {
        emulated_gpu(memory_bytes).expect("a C++ compiler")
    }

    #[test]
    fn device_arithmetic_is_that_of_arkworks() {
        let device = emulated(None);
        check_arithmetic(&device, 1_000_000).expect("equal results");
    }

    #[test]
    fn the_emulated_gpu_passes_the_device_suite() {
        check_device(&emulated(None)).expect("equal results");
    }

    #[test]
    fn programs_become_kernels() {
        let gpu = emulated(None);
        for lines in crate::testing::vectors::programs() {
            assert!(gpu.compile_lines(&lines).expect("a C++ compiler"));
        }
    }

    /// What does not fit goes through in parts, or is done by the CPU.
    #[test]
    fn a_gpu_of_any_memory_gives_the_same_results() {
        for memory_bytes in [0, 100 << 10, 1 << 20, 8 << 20] {
            check_device(&emulated(Some(memory_bytes))).expect("equal results");
        }
    }
}
