//! # zkinfer-params: keys and reference strings on disk, the store, the development trapdoor
//!
//! * [`keys`]: the proving key file: a header page with digests and a section table, then raw points.
//! * [`srs`]: powers of τ for KZG: the file, its checks, import from ceremonies, a folder of them.
//! * [`store`]: files and folders written beside and renamed; a content-addressed store of blobs.
//! * [`dev_setup`]: the trapdoor of a *development* set-up. Whoever has seen it can forge proofs.

#![forbid(unsafe_code)]

pub mod dev_setup;
pub mod keys;
pub mod srs;
pub mod store;
