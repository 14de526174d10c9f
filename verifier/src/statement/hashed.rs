//! # Digests of hashed tensors
//! A hashed tensor shows one word of the statement: digest = Poseidon sponge(tag; packed elements). The tag, which is the
//! capacity of the sponge, is 31 bytes: `zkinfer/hashed/v1`, role 1, dtype 1, position in the layout 4, length in bytes 8. The elements are the bytes of a
//! public tensor, as many whole elements to a word as 31 bytes hold, from the left; the rest of a word is zero.
//! Soundness: DESIGN.md#hashed-tensors.

use alloc::vec::Vec;
use core::hint::black_box;

use ark_bn254::Fr;
use ark_ff::AdditiveGroup;

use super::{
    MAX_HASHED_BYTES, StatementError, StatementLayout, TensorSpec, Visibility, WORD_DATA_BYTES,
    append_elements, word_of,
};
use crate::poseidon::Poseidon;

/// Separates digests of tensors from every other use of the permutation.
pub const HASH_DOMAIN: [u8; 17] = *b"zkinfer/hashed/v1";

impl TensorSpec {
    /// Bytes of whole elements in one word of the hash: 31, 30 or 28.
    #[must_use]
    pub const fn hashed_word_bytes(&self) -> usize {
        WORD_DATA_BYTES - WORD_DATA_BYTES % self.dtype.bytes()
    }

    /// The domain of the digest of this tensor at `position` of a layout: no two positions, roles, dtypes or lengths share one.
    #[must_use]
    pub fn hash_tag(&self, position: usize) -> Fr {
        let mut bytes = [0; WORD_DATA_BYTES];
        bytes[..17].copy_from_slice(&HASH_DOMAIN);
        bytes[17] = self.role as u8;
        bytes[18] = self.dtype as u8;
        // a layout has at most 2^13 tensors of at most 2^30 bytes
        bytes[19..23].copy_from_slice(&(position as u32).to_be_bytes());
        bytes[23..].copy_from_slice(&(self.len_bytes() as u64).to_be_bytes());
        word_of(&bytes)
    }

    /// The words that the hash takes in.
    ///
    /// # Errors
    /// On a wrong count or an element outside its dtype.
    pub fn hashed_words(&self, values: &[i64]) -> Result<Vec<Fr>, StatementError> {
        let mut bytes = Vec::with_capacity(self.len_bytes().min(MAX_HASHED_BYTES));
        append_elements(self, values, &mut bytes)?;
        let words = bytes.chunks(self.hashed_word_bytes()).map(word_of);
        let words = words.collect();
        bytes.fill(0);
        black_box(&bytes);
        Ok(words)
    }
}

impl StatementLayout {
    /// The digest of the tensor at `position` with these elements: who is told the values of a hashed tensor compares it with that of the statement.
    ///
    /// # Errors
    /// When the layout has no such tensor, it is not hashed, or the values are not of its shape and dtype.
    pub fn digest_of(&self, position: usize, values: &[i64]) -> Result<Fr, StatementError> {
        self.digest_by(&Poseidon::of_tensors(), position, values)
    }

    /// The same with parameters that the caller keeps for many tensors.
    pub(super) fn digest_by(
        &self,
        poseidon: &Poseidon,
        position: usize,
        values: &[i64],
    ) -> Result<Fr, StatementError> {
        let spec = self
            .tensors
            .get(position)
            .filter(|spec| spec.visibility == Visibility::Hashed);
        let spec = spec.ok_or(StatementError::NotHashed { position })?;
        let mut words = spec.hashed_words(values)?;
        let digest = poseidon.hash(spec.hash_tag(position), &words);
        // the values may be a secret of whoever asks
        words.fill(Fr::ZERO);
        black_box(&words);
        Ok(digest)
    }
}
