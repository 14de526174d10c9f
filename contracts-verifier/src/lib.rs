//! # zkinfer-contracts: a verifying key in, contracts out
//!
//! | module | what it is |
//! |---|---|
//! | [`target`] | what every kind of chain needs: source for a key, calls for a proof |
//! | [`solidity`] | Solidity: one fixed contract per proof system, its key at the end of its code |
//! | [`substrate`] | Substrate: a crate with one key for a runtime that has the pallet, and the pallet's calls |
//! | [`evm`] | an EVM in this process, for the demo and the tests |
//!
//! A generated contract and the pallet accept exactly what `zkinfer_verifier::verify` accepts. Rules and arguments: DESIGN.md.
#![forbid(unsafe_code)]

pub mod evm;
mod hex_text;
mod plain;
pub mod solidity;
pub mod substrate;
pub mod target;

pub use solidity::{Solidity, creation_code};
pub use substrate::{Example, Substrate};
pub use target::{GenerateError, SourceTree, Target};
