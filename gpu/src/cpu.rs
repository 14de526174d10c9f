//! # The CPU device
//!
//! Field and curve types of arkworks, parallel over rayon's current thread pool; AVX-512 IFMA lanes where the processor has them.

mod adder;
pub(crate) mod batch_affine;
pub(crate) mod fixed_base;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod ifma;
mod lanes;
mod lines;
mod msm;
mod ntt;
pub(crate) mod polynomials;
pub(crate) mod portable;
pub(crate) mod table;
pub(crate) mod vectors;
mod wiped;

pub use portable::{Cpu, PortableCpu};
