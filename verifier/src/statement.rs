//! # The statement: what a proof claims
//! A proof says: the model of this key, run on the public input tensors shown (and on private ones not shown), gives
//! the public output tensors shown, and the prover knew the context when it proved.
//!
//! words = `[context, packed public tensors, digests of hashed tensors]`. The public tensors (inputs, then outputs, in declared order) are
//! concatenated: an element x of a dtype with minimum m is the integer x − m in 1, 2 or 4 big-endian bytes. The bytes are cut
//! into pieces of 31; each is one big-endian word, the last padded with zero bytes on the right. A hashed tensor is one word, its digest
//! ([`hashed`]), in declared order. This is the only place where the layout is written; provers, contracts and clients call it. Soundness: DESIGN.md#statement.

pub mod hashed;
mod layout;

use alloc::{string::String, vec::Vec};
use core::{fmt, str::FromStr};

use ark_bn254::Fr;

pub use layout::{
    Dtype, LayoutError, MAX_DIMS, MAX_ELEMENTS, MAX_HASHED_BYTES, MAX_NAME_BYTES, MAX_PUBLIC_BYTES,
    MAX_TENSORS, Role, StatementLayout, TensorSpec, Visibility,
};

use crate::{
    curve::{scalar_from_bytes, scalar_to_bytes},
    keccak256,
    poseidon::Poseidon,
    transcript::STATEMENT_DOMAIN,
};

/// Bytes of public tensors in one word.
pub const WORD_DATA_BYTES: usize = 31;
/// Bytes of the digest of a hashed tensor where a statement is bytes.
pub const DIGEST_BYTES: usize = 32;

/// A 253-bit value the submitter chooses, big-endian; it binds a proof to one task.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Context([u8; 32]);

/// Why bytes or text are not a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// The value needs more than 253 bits.
    #[error("a context is less than 2^253; shift a 256-bit hash right by 3")]
    TooLarge,
    /// Not 1 to 64 hexadecimal digits (after an optional 0x).
    #[error("a context is 1 to 64 hexadecimal digits, with or without 0x")]
    NotHex,
}

impl Context {
    /// The context of a proof that is bound to no task.
    pub const ZERO: Self = Self([0; 32]);

    /// A context from 32 big-endian bytes.
    ///
    /// # Errors
    /// [`ContextError::TooLarge`] unless it is less than 2^253.
    pub const fn from_bytes(bytes: [u8; 32]) -> Result<Self, ContextError> {
        if bytes[0] >> 5 == 0 {
            Ok(Self(bytes))
        } else {
            Err(ContextError::TooLarge)
        }
    }

    /// A context from hexadecimal digits, most significant first; fewer than 64 digits are a small number.
    ///
    /// # Errors
    /// [`ContextError`].
    pub fn from_hex(text: &str) -> Result<Self, ContextError> {
        let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
        if digits.is_empty() || digits.len() > 64 {
            return Err(ContextError::NotHex);
        }
        let mut bytes = [0_u8; 32];
        for (i, digit) in digits.iter().rev().enumerate() {
            let value = (*digit as char).to_digit(16).ok_or(ContextError::NotHex)?;
            bytes[31 - i / 2] |= (value as u8) << (4 * (i % 2));
        }
        Self::from_bytes(bytes)
    }

    /// The 32 big-endian bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// The context as the first word of the statement.
    #[must_use]
    pub fn as_fr(&self) -> Fr {
        // Below 2^253 < r, so the conversion never takes the default.
        scalar_from_bytes(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({self})")
    }
}

impl FromStr for Context {
    type Err = ContextError;

    fn from_str(text: &str) -> Result<Self, ContextError> {
        Self::from_hex(text)
    }
}

/// What one proof claims: the context, the bytes of the public tensors and the digests of the hashed ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The value that binds the proof to a task.
    pub context: Context,
    /// The public tensors, concatenated as the module page says.
    pub public_bytes: Vec<u8>,
    /// The digests of the hashed tensors, in declared order.
    pub digests: Vec<Fr>,
}

/// Why values, bytes or words are not a statement of a layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// A wrong number of public and hashed tensors.
    #[error("expected {expected} public or hashed tensors, got {got}")]
    Tensors {
        /// Public and hashed tensors of the layout.
        expected: usize,
        /// Tensors given.
        got: usize,
    },
    /// A tensor has the wrong number of elements.
    #[error("tensor `{tensor}`: expected {expected} elements, got {got}")]
    Elements {
        /// Name of the tensor.
        tensor: String,
        /// Elements of its shape.
        expected: usize,
        /// Elements given.
        got: usize,
    },
    /// An element is outside its dtype.
    #[error("tensor `{tensor}`, element {index}: {value} is outside {dtype} ({min}..={max})", min = .dtype.min(), max = .dtype.max())]
    OutsideDtype {
        /// Name of the tensor.
        tensor: String,
        /// Position of the element.
        index: usize,
        /// Its value.
        value: i64,
        /// The dtype of the tensor.
        dtype: Dtype,
    },
    /// The public bytes have the wrong length.
    #[error("expected {expected} public bytes, got {got}")]
    PublicBytes {
        /// Length the layout fixes.
        expected: usize,
        /// Length given.
        got: usize,
    },
    /// A wrong number of words.
    #[error("expected {expected} words, got {got}")]
    Words {
        /// Words the layout fixes.
        expected: usize,
        /// Words given.
        got: usize,
    },
    /// A wrong number of digests.
    #[error("expected {expected} digests of hashed tensors, got {got}")]
    Digests {
        /// Hashed tensors of the layout.
        expected: usize,
        /// Digests given.
        got: usize,
    },
    /// The bytes of a digest are not less than the order of the field.
    #[error("digest {index} is not less than the order of the scalar field")]
    NonCanonicalDigest {
        /// Position among the digests.
        index: usize,
    },
    /// The layout has no hashed tensor there.
    #[error("tensor {position} of the layout is not a hashed tensor")]
    NotHashed {
        /// Position in the layout.
        position: usize,
    },
    /// The values are not those that the statement has the digest of.
    #[error("tensor `{tensor}`: these values do not have the digest of the statement")]
    OtherDigest {
        /// Name of the tensor.
        tensor: String,
    },
    /// A word does not have the form the packing gives it.
    #[error("word {index} is not canonical (context below 2^253, data below 2^248, padding zero)")]
    NonCanonicalWord {
        /// Position of the word.
        index: usize,
    },
}

impl Statement {
    /// The statement of `values`: the elements of the public and of the hashed tensors, one slice per tensor in the order of the layout.
    ///
    /// # Errors
    /// [`StatementError`] on a wrong count or an element outside its dtype.
    pub fn new(
        layout: &StatementLayout,
        context: Context,
        values: &[&[i64]],
    ) -> Result<Self, StatementError> {
        let expected = layout.bound_tensors().count();
        if values.len() != expected {
            return Err(StatementError::Tensors {
                expected,
                got: values.len(),
            });
        }
        let mut public_bytes = Vec::with_capacity(layout.public_bytes().min(MAX_PUBLIC_BYTES));
        let mut digests = Vec::new();
        let poseidon = (layout.n_hashed() > 0).then(Poseidon::of_tensors);
        for ((position, tensor), values) in layout.bound_tensors().zip(values) {
            match &poseidon {
                Some(poseidon) if tensor.visibility == Visibility::Hashed => {
                    digests.push(layout.digest_by(poseidon, position, values)?);
                }
                _ => append_elements(tensor, values, &mut public_bytes)?,
            }
        }
        Ok(Self {
            context,
            public_bytes,
            digests,
        })
    }

    /// The statement whose bytes ([`Self::to_bytes`]) are `bytes`, under `context`.
    ///
    /// # Errors
    /// On a wrong length, and on a digest that is not less than the order of the field.
    pub fn from_bytes(
        layout: &StatementLayout,
        context: Context,
        bytes: &[u8],
    ) -> Result<Self, StatementError> {
        let expected = layout.statement_bytes();
        if bytes.len() != expected {
            return Err(StatementError::PublicBytes {
                expected,
                got: bytes.len(),
            });
        }
        Self::split(context, bytes, layout.public_bytes())
    }

    /// The statement whose bytes are `bytes`, of which the first `public_bytes` are of public tensors; whoever calls this has compared the length
    /// with that of the layout, without which [`verify`](crate::verify) refuses it.
    ///
    /// # Errors
    /// [`StatementError::NonCanonicalDigest`], also for a last one of less than 32 bytes.
    pub fn split(
        context: Context,
        bytes: &[u8],
        public_bytes: usize,
    ) -> Result<Self, StatementError> {
        let (public_bytes, digests) = bytes.split_at(public_bytes.min(bytes.len()));
        let digests = digests.chunks(DIGEST_BYTES).enumerate();
        let digests = digests.map(|(index, bytes)| {
            let digest = <&[u8; 32]>::try_from(bytes)
                .ok()
                .and_then(scalar_from_bytes);
            digest.ok_or(StatementError::NonCanonicalDigest { index })
        });
        Ok(Self {
            context,
            public_bytes: public_bytes.to_vec(),
            digests: digests.collect::<Result<_, _>>()?,
        })
    }

    /// What the statement shows besides the context, as contracts, files and servers carry it: the public bytes, then 32 big-endian bytes of every digest.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.public_bytes.clone();
        for digest in &self.digests {
            bytes.extend_from_slice(&scalar_to_bytes(*digest));
        }
        bytes
    }

    /// Whether the statement has the public bytes and the digests of `layout`, as many as there must be.
    ///
    /// # Errors
    /// [`StatementError::PublicBytes`] or [`StatementError::Digests`].
    pub fn check_lengths(&self, layout: &StatementLayout) -> Result<(), StatementError> {
        let (expected, got) = (layout.public_bytes(), self.public_bytes.len());
        if expected != got {
            return Err(StatementError::PublicBytes { expected, got });
        }
        let (expected, got) = (layout.n_hashed(), self.digests.len());
        if expected != got {
            return Err(StatementError::Digests { expected, got });
        }
        Ok(())
    }

    /// Accepts exactly if the statement has the digest of these values for the tensor at `position` of the layout.
    ///
    /// # Errors
    /// [`StatementError::OtherDigest`] when it has another; otherwise as [`StatementLayout::digest_of`].
    pub fn check_revealed(
        &self,
        layout: &StatementLayout,
        position: usize,
        values: &[i64],
    ) -> Result<(), StatementError> {
        self.check_lengths(layout)?;
        let digest = layout.digest_of(position, values)?;
        let before = layout.tensors.iter().take(position);
        let index = before
            .filter(|tensor| tensor.visibility == Visibility::Hashed)
            .count();
        if self.digests.get(index) == Some(&digest) {
            return Ok(());
        }
        let tensor = layout.tensors.get(position);
        Err(StatementError::OtherDigest {
            tensor: tensor.map_or_else(String::new, |tensor| tensor.name.clone()),
        })
    }

    /// The statement whose words are `words`; the inverse of [`Self::words`].
    ///
    /// # Errors
    /// [`StatementError::Words`] or [`StatementError::NonCanonicalWord`].
    pub fn from_words(layout: &StatementLayout, words: &[Fr]) -> Result<Self, StatementError> {
        let expected = layout.n_words();
        let (Some((first, data)), true) = (words.split_first(), words.len() == expected) else {
            return Err(StatementError::Words {
                expected,
                got: words.len(),
            });
        };
        let context = Context::from_bytes(scalar_to_bytes(*first))
            .map_err(|_| StatementError::NonCanonicalWord { index: 0 })?;
        // every element is the word of one digest
        let (data, digests) = data.split_at(data.len().saturating_sub(layout.n_hashed()));
        let mut public_bytes = Vec::with_capacity(data.len() * WORD_DATA_BYTES);
        for (i, word) in data.iter().enumerate() {
            let bytes = scalar_to_bytes(*word);
            if bytes[0] != 0 {
                return Err(StatementError::NonCanonicalWord { index: i + 1 });
            }
            public_bytes.extend_from_slice(&bytes[1..]);
        }
        let len = layout.public_bytes();
        if public_bytes.iter().skip(len).any(|byte| *byte != 0) {
            return Err(StatementError::NonCanonicalWord { index: data.len() });
        }
        public_bytes.truncate(len);
        Ok(Self {
            context,
            public_bytes,
            digests: digests.to_vec(),
        })
    }

    /// The words: the context, then 31 bytes of public tensors in each, then the digests.
    #[must_use]
    pub fn words(&self) -> Vec<Fr> {
        let n_data = self.public_bytes.len().div_ceil(WORD_DATA_BYTES);
        let mut words = Vec::with_capacity(1 + n_data + self.digests.len());
        words.push(self.context.as_fr());
        words.extend(self.public_bytes.chunks(WORD_DATA_BYTES).map(word_of));
        words.extend_from_slice(&self.digests);
        words
    }

    /// The public tensors with their values.
    ///
    /// # Errors
    /// [`StatementError::PublicBytes`] or [`StatementError::OutsideDtype`] if the bytes are not of this layout.
    pub fn tensors<'l>(
        &self,
        layout: &'l StatementLayout,
    ) -> Result<Vec<(&'l TensorSpec, Vec<i64>)>, StatementError> {
        let expected = layout.public_bytes();
        if self.public_bytes.len() != expected {
            return Err(StatementError::PublicBytes {
                expected,
                got: self.public_bytes.len(),
            });
        }
        let mut rest = self.public_bytes.as_slice();
        let mut tensors = Vec::new();
        for tensor in layout.public_tensors() {
            let (bytes, tail) = rest.split_at(tensor.len_bytes().min(rest.len()));
            rest = tail;
            let mut values = Vec::with_capacity(bytes.len() / tensor.dtype.bytes());
            for (index, element) in bytes.chunks(tensor.dtype.bytes()).enumerate() {
                let offset = element
                    .iter()
                    .fold(0_i64, |value, byte| (value << 8) | i64::from(*byte));
                let value = offset + tensor.dtype.min();
                if value > tensor.dtype.max() {
                    return Err(StatementError::OutsideDtype {
                        tensor: tensor.name.clone(),
                        index,
                        value,
                        dtype: tensor.dtype,
                    });
                }
                values.push(value);
            }
            tensors.push((tensor, values));
        }
        Ok(tensors)
    }

    /// keccak256(domain ‖ vk_digest ‖ words): the one identity of a statement, for deduplication and nullifiers.
    #[must_use]
    pub fn digest(&self, vk_digest: &[u8; 32]) -> [u8; 32] {
        let words = self.words();
        let mut bytes = Vec::with_capacity(64 + 32 * words.len());
        bytes.extend_from_slice(&STATEMENT_DOMAIN);
        bytes.extend_from_slice(vk_digest);
        for word in words {
            bytes.extend_from_slice(&scalar_to_bytes(word));
        }
        keccak256(&bytes)
    }
}

/// Appends the bytes of a tensor's elements.
fn append_elements(
    tensor: &TensorSpec,
    values: &[i64],
    bytes: &mut Vec<u8>,
) -> Result<(), StatementError> {
    if values.len() != tensor.len() {
        return Err(StatementError::Elements {
            tensor: tensor.name.clone(),
            expected: tensor.len(),
            got: values.len(),
        });
    }
    let (dtype, skip) = (tensor.dtype, 8 - tensor.dtype.bytes());
    for (index, &value) in values.iter().enumerate() {
        if value < dtype.min() || value > dtype.max() {
            return Err(StatementError::OutsideDtype {
                tensor: tensor.name.clone(),
                index,
                value,
                dtype,
            });
        }
        bytes.extend_from_slice(&(value - dtype.min()).to_be_bytes()[skip..]);
    }
    Ok(())
}

/// At most 31 bytes as one word, padded with zeros on the right.
fn word_of(data: &[u8]) -> Fr {
    let mut bytes = [0; 32];
    for (byte, data) in bytes[1..].iter_mut().zip(data) {
        *byte = *data;
    }
    // Below 2^248 < r, so the conversion never takes the default.
    scalar_from_bytes(&bytes).unwrap_or_default()
}
