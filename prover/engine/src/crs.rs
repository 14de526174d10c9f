//! # The common reference string: how both systems make, write and map it
//!
//! K_j = β·u_j(τ) + α·v_j(τ) + w_j(τ). Which wires are divided by which of γ, δ1, δ2 is the business of each system's
//! `setup`; the rest is one and the same: queries A, B1, B2 over all wires, H over the points of the coset.

mod make;
mod map;

pub(crate) use make::KeyMaker;
pub(crate) use map::{OPEN_STEPS, Opened, ProvingKey, check_identity, section};
