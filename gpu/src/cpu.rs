//! # The CPU device
//!
//! Field and curve types of arkworks, parallel over rayon's current thread pool.

pub(crate) mod batch_affine;
pub(crate) mod fixed_base;
mod pippenger;
mod portable;

pub use portable::Cpu;
