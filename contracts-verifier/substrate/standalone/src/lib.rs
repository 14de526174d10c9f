//! # zkinfer-verifier-wasm: the verifier as one WASM file
//! For chains with a WASM runtime of their own, and for browsers. The file imports nothing; it exports its memory and three functions.
//!
//! | export | does |
//! |---|---|
//! | `alloc(len: u32) -> u32` | a buffer of `len` zero bytes; 0 if `len` is 0 or above 16 MiB, if 16 buffers are alive, or without memory |
//! | `verify(ptr: u32, len: u32) -> i32` | the verdict on the envelope in the buffer; the buffer stays as it is |
//! | `dealloc(ptr: u32, len: u32)` | frees the buffer; does nothing for what `alloc` did not give |
//!
//! | verdict | meaning |
//! |--:|---|
//! | 0 | the proof proves the statement under the key |
//! | −1 | no envelope: not a live buffer with this length, or lengths that do not add up to it |
//! | −2 | the key does not decode, or allows forgery |
//! | −3 | the context is 2^253 or more, the publics are not as long as the key says, or a digest is not less than the order of the scalar field |
//! | −4 | the proof does not decode, or a point in it is not acceptable |
//! | −5 | the equation does not hold |
//!
//! The envelope is `key length 4 ‖ key ‖ context 32 ‖ publics length 4 ‖ publics ‖ proof length 4 ‖ proof`, lengths little-endian,
//! and nothing after. Publics are the public tensors, then 32 big-endian bytes of the digest of each hashed one. Which key, context and tensors are right is the caller's to say: compare keccak256 of the key with a pinned digest.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![deny(unsafe_code)]

pub mod envelope;
#[cfg(target_arch = "wasm32")]
mod exports;
