//! # Halo2 over KZG: PLONK with a universal setup
//!
//! | module | what |
//! |---|---|
//! | [`protocol`] | the description of one circuit that every verifier works from |
//! | [`check`] | the linter of a description |
//! | [`transcript`] | the challenges, byte for byte those of prover and contract |
//!
//! Statement, equations and what they rest on: DESIGN.md#halo2-kzg.

pub mod check;
mod codec;
mod opening;
pub mod protocol;
pub mod transcript;
mod verify;

pub use check::ProtocolError;
pub(crate) use codec::{decode, encode};
pub use protocol::{Column, Eval, Op, OpeningSet, Poly, Protocol, Query};
pub(crate) use verify::verify;
pub use verify::{DELTA, omega};
