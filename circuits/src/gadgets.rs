//! Gadgets: small sets of instructions with a uniqueness argument each, in `DESIGN.md`.

pub mod max;
pub mod requantize;
