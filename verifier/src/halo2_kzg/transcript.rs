//! # The transcript of halo2-kzg
//! One running buffer of bytes. It starts as domain ‖ vk_digest; a scalar adds its 32 big-endian bytes, a point x ‖ y. A challenge is
//! h = keccak256(buffer), or keccak256(buffer ‖ 0x01) if nothing was added since the last one, reduced modulo r; the buffer is then h.
//! Prover, native verifier and contracts follow this page to the byte. Argument: DESIGN.md#halo2-kzg.

use core::fmt;

use ark_bn254::Fr;
use sha3::{Digest, Keccak256};

use crate::curve::{scalar_mod_order, scalar_to_bytes};

/// What every transcript starts with: "zkinfer/halo2-kzg/transcript/v1" and one zero byte.
pub const TRANSCRIPT_DOMAIN: [u8; 32] = *b"zkinfer/halo2-kzg/transcript/v1\0";

/// The state of a transcript.
#[derive(Clone)]
pub struct Transcript {
    buffer: Keccak256,
    absorbed: bool,
}

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transcript")
            .field("absorbed", &self.absorbed)
            .finish_non_exhaustive()
    }
}

impl Transcript {
    /// The transcript of a proof under the key with this digest.
    #[must_use]
    pub fn new(vk_digest: &[u8; 32]) -> Self {
        let mut transcript = Self {
            buffer: Keccak256::new(),
            absorbed: false,
        };
        transcript.absorb(&TRANSCRIPT_DOMAIN);
        transcript.absorb(vk_digest);
        transcript
    }

    /// Adds the encoding of a scalar or a finite point; the caller has checked that it is canonical.
    pub fn absorb(&mut self, encoding: &[u8]) {
        self.buffer.update(encoding);
        self.absorbed = true;
    }

    /// Adds a scalar.
    pub fn absorb_scalar(&mut self, scalar: Fr) {
        self.absorb(&scalar_to_bytes(scalar));
    }

    /// The next challenge.
    pub fn squeeze(&mut self) -> Fr {
        if !self.absorbed {
            self.buffer.update([1]);
        }
        let hash: [u8; 32] = self.buffer.finalize_reset().into();
        self.buffer.update(hash);
        self.absorbed = false;
        scalar_mod_order(&hash)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::keccak256;

    #[test]
    fn challenges_are_hashes_of_everything_before() {
        let mut transcript = Transcript::new(&[7; 32]);
        transcript.absorb_scalar(Fr::from(5_u64));
        let mut buffer = Vec::from(*b"zkinfer/halo2-kzg/transcript/v1\0");
        buffer.extend_from_slice(&[7; 32]);
        buffer.extend_from_slice(&scalar_to_bytes(Fr::from(5_u64)));
        let first = keccak256(&buffer);
        assert_eq!(transcript.squeeze(), scalar_mod_order(&first));
        let second = keccak256(&[&first[..], &[1]].concat());
        assert_eq!(transcript.squeeze(), scalar_mod_order(&second));
        transcript.absorb(&[9; 64]);
        let third = keccak256(&[&second[..], &[9; 64]].concat());
        assert_eq!(transcript.squeeze(), scalar_mod_order(&third));
    }
}
