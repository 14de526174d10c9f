//! From program to circuit: each proof system's reading of the same instructions.

mod error;
pub mod halo2;
mod interface;
pub mod r1cs;
mod sponge;

pub use error::{LowerError, Violation, ZeroDenominator};
pub use interface::Products;
