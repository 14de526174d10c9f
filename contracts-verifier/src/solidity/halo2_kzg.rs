//! # Contracts of halo2-kzg keys
//! Two forms of the same verification: a reusable contract that interprets a key contract's code, and a specialised contract with the key
//! inlined, which is cheaper to call. Both are written from one plan.
//!
//! | module | what |
//! |---|---|
//! | [`plan`] | transcript, arithmetic and point arithmetic of one key, as data |
//! | [`graph`] | the arithmetic: a graph without repetitions |
//! | [`program`] | the graph as multiply-adds |
//! | [`packed`] | the key of the reusable contract: plan and points in bytes |
//! | [`specialised`] | the plan as Solidity |

mod graph;
mod packed;
mod plan;
mod program;
mod specialised;

pub(super) use packed::key_pieces;
pub(super) use specialised::source as specialised_source;
