//! # The CPU device
//!
//! Field and curve types of arkworks, parallel over rayon's current thread pool.

pub(crate) mod batch_affine;
pub(crate) mod fixed_base;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub(crate) mod ifma;
mod pippenger;
mod portable;

pub use portable::Cpu;
