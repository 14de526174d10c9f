//! # AVX-512 IFMA: sixteen field elements at once
//!
//! `vpmadd52` multiplies 52-bit limbs, eight lanes an instruction. Functions here are compiled for the instruction set and may be
//! called only where [`detected`] said yes; the caller's `unsafe` says so once for each kernel.

// Loops by index: see `field::broadcast`.
#![allow(clippy::needless_range_loop)]

pub(crate) mod adder;
pub(crate) mod field;
pub(crate) mod fq2;
pub(crate) mod ntt;
pub(crate) mod rows;
mod signed;
pub(crate) mod vectors;

/// Whether this processor has the instructions.
#[must_use]
pub(crate) fn detected() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512ifma")
}

#[cfg(test)]
mod tests;
