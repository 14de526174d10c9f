//! # Storage versions
//! 0 → 1: records carry the [`Cost`](crate::Cost) of a verification; before, `verify` computed it from the key.

pub mod v1;
