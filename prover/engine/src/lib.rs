//! # zkinfer-engine: setup and prove, on a compute device
//!
//! * [`mod@backend`]: one proof system behind the traits [`Backend`] and [`Prover`]; progress and cancellation.
//! * [`mod@quote`]: what a key and a proof will cost, before any key is made.
//! * [`mod@halo2_kzg`]: PLONK over KZG: the library's circuits and proofs, our own prover.
//! * `groth16`, `ultragroth`: the two systems of the Groth16 family, each a `setup` and a `prove` that read like the equations.
//! * `qap`, `crs`: what these two share: the quadratic arithmetic program, and keys on disk.
//!
//! The equations and the layout of keys: DESIGN.md. No file is opened here except through `zkinfer-params`.

#![forbid(unsafe_code)]

pub mod backend;
mod crs;
mod error;
mod groth16;
pub mod halo2_kzg;
mod qap;
pub mod quote;
mod ultragroth;

pub use backend::{
    Backend, CryptoRngCore, KeySource, Phase, Progress, ProofInput, Proven, Prover, Silent,
    backend, form_of,
};
pub use error::{PrepareError, ProveError, SetupError};
pub use quote::{CircuitCost, Comparison, Quote, QuoteError, SetupTrust, compare, quote};
