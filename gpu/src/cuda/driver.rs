//! # Driver: a machine that runs the kernels
//!
//! Memory, copies and launches, in order, on one queue. A GPU behind its driver is one such machine (`module`), the emulation of the kernels
//! on the CPU another (`emulator`): everything above this trait is the same for both.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// An address in a device's memory.
pub(crate) type Address = u64;

/// What launches kernels. Calls take effect in the order they are made, whatever thread makes them.
pub(crate) trait Driver: fmt::Debug + Send + Sync {
    /// What the machine is.
    fn facts(&self) -> &Facts;

    /// Bytes of device memory that are free now.
    fn free_bytes(&self) -> Result<u64, DriverError>;

    /// Takes `bytes` of device memory, more than none, at a multiple of 256; their contents are arbitrary.
    ///
    /// # Errors
    /// [`DriverError::OutOfMemory`], or the device failed.
    fn alloc(&self, bytes: usize) -> Result<Address, DriverError>;

    /// Takes memory with these contents, of one byte at least, which may be reused when the call returns.
    ///
    /// # Errors
    /// As [`Driver::alloc`].
    fn alloc_with(&self, contents: &[u8]) -> Result<Address, DriverError> {
        alloc_with(self, contents)
    }

    /// Gives back what [`Driver::alloc`] gave, after everything launched before is done.
    fn free(&self, at: Address);

    /// Sets every byte to zero.
    fn zero(&self, at: Address, bytes: usize) -> Result<(), DriverError>;

    /// Copies from the host; `from` may be reused when the call returns.
    fn upload(&self, to: Address, from: &[u8]) -> Result<(), DriverError>;

    /// Copies to the host; the bytes are there when the call returns.
    fn download(&self, from: Address, to: &mut [u8]) -> Result<(), DriverError>;

    /// Copies inside the device.
    fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<(), DriverError>;

    /// Queues `grid` blocks of `block` threads of `kernel`, each block with `shared` bytes of dynamic shared memory.
    fn launch(
        &self,
        kernel: Kernel,
        grid: u32,
        block: u32,
        shared: u32,
        args: &[Arg],
    ) -> Result<(), DriverError>;

    /// Makes the kernel `name` of a source of its own, which includes the headers.
    ///
    /// # Errors
    /// There is no compiler, it refuses the source, or the device refuses what it made.
    fn generate(&self, name: &'static str, source: &str)
    -> Result<Arc<dyn Generated>, DriverError>;

    /// Waits for everything that was queued.
    fn synchronize(&self) -> Result<(), DriverError>;
}

/// [`Driver::alloc_with`], one after the other.
pub(crate) fn alloc_with<D: Driver + ?Sized>(
    driver: &D,
    contents: &[u8],
) -> Result<Address, DriverError> {
    let at = driver.alloc(contents.len())?;
    match driver.upload(at, contents) {
        Ok(()) => Ok(at),
        Err(error) => {
            driver.free(at);
            Err(error)
        }
    }
}

/// A kernel that was generated.
pub(crate) trait Generated: fmt::Debug + Send + Sync {
    /// As [`Driver::launch`], without shared memory.
    fn launch(&self, grid: u32, block: u32, args: &[Arg]) -> Result<(), DriverError>;
}

/// What a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The name of the product.
    pub name: String,
    /// Major and minor number of the architecture: (9, 0) for `sm_90`.
    pub architecture: (u32, u32),
    /// Multiprocessors.
    pub multiprocessors: usize,
    /// Bytes of device memory in all.
    pub memory_bytes: u64,
    /// Version of the driver, as it gives it.
    pub driver: String,
    /// The highest clock of the multiprocessors in kHz; 0 where it is not known.
    pub clock_khz: u32,
}

/// A kernel: the translation unit that it is in, and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Kernel {
    pub(crate) unit: Unit,
    pub(crate) name: &'static str,
}

/// A translation unit of device code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Unit {
    /// Field arithmetic for tests and micro-benchmarks.
    Field,
    /// Element-wise operations and transforms of scalars.
    Ntt,
    /// Combinations, polynomials, inverses and products of vectors.
    Vectors,
    /// Straight-line programs.
    Lines,
    /// Multiplications in G1.
    MsmG1,
    /// Multiplications in G2.
    MsmG2,
}

impl Unit {
    /// Every unit.
    pub(crate) const ALL: [Self; 6] = [
        Self::Field,
        Self::Ntt,
        Self::Vectors,
        Self::Lines,
        Self::MsmG1,
        Self::MsmG2,
    ];

    /// The file of the unit, without its ending.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Field => "field",
            Self::Ntt => "ntt",
            Self::Vectors => "vectors",
            Self::Lines => "lines",
            Self::MsmG1 => "msm_g1",
            Self::MsmG2 => "msm_g2",
        }
    }
}

/// An argument of a kernel, passed by value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arg {
    /// A pointer.
    At(Address),
    /// A `u32`.
    U32(u32),
    /// An element of a field: eight 32-bit words, least significant first.
    Element([u32; 8]),
}

/// Why a machine did not do what it was asked.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum DriverError {
    /// There is not as much device memory as was asked for.
    #[error("the GPU has not enough free memory ({bytes} bytes)")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// The driver, or the library that compiles kernels, is not installed.
    #[error("{library} is not installed")]
    Missing {
        /// Name of the library.
        library: &'static str,
    },
    /// A kernel does not compile.
    #[error("cannot compile {file} for sm_{architecture}: {log}")]
    Compile {
        /// Name of the source.
        file: &'static str,
        /// Architecture compiled for.
        architecture: u32,
        /// What the compiler said.
        log: String,
    },
    /// The driver refused a call, or a kernel failed: the GPU is not to be used any longer.
    #[error("{call} failed: {reason}")]
    Failed {
        /// The call.
        call: &'static str,
        /// What the driver said.
        reason: String,
    },
}
