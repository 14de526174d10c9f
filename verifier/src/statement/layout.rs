//! # The statement's layout: which tensors a model has and which of them are public
//! Fixed by the verifying key. Sizes are bounded so that a decoder knows what it may allocate.

use alloc::{collections::BTreeMap, string::String, vec::Vec};
use core::fmt;

use serde::{Deserialize, Serialize};

use super::{DIGEST_BYTES, WORD_DATA_BYTES};

/// Most tensors in a layout: inputs and outputs of 4096 inferences in one proof.
pub const MAX_TENSORS: usize = 8192;
/// Most dimensions of a tensor.
pub const MAX_DIMS: usize = 8;
/// Longest tensor name in bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// Most bytes of public tensors in a statement.
pub const MAX_PUBLIC_BYTES: usize = 1 << 24;
/// Most bytes of hashed tensors behind a statement: each takes about 2.4 rows of a circuit.
pub const MAX_HASHED_BYTES: usize = 1 << 22;
/// Most elements of a tensor.
pub const MAX_ELEMENTS: usize = 1 << 28;

/// Whether the model reads or writes a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Role {
    /// The model reads it.
    Input = 1,
    /// The model writes it.
    Output = 2,
}

/// Whether the statement shows a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Visibility {
    /// Part of the statement.
    Public = 1,
    /// Known to the prover only; nothing outside the proof is tied to it.
    Private = 2,
    /// The statement has one digest of it: who is told the values can check them, who is not can only guess them.
    Hashed = 3,
}

/// The integer type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Dtype {
    /// 0 or 1.
    Bool = 1,
    /// −128..=127.
    Int8 = 2,
    /// 0..=255.
    Uint8 = 3,
    /// −2^15..2^15.
    Int16 = 4,
    /// −2^31..2^31.
    Int32 = 5,
}

impl Role {
    pub(crate) const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            1 => Some(Self::Input),
            2 => Some(Self::Output),
            _ => None,
        }
    }
}

impl Visibility {
    pub(crate) const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            1 => Some(Self::Public),
            2 => Some(Self::Private),
            3 => Some(Self::Hashed),
            _ => None,
        }
    }
}

impl Dtype {
    pub(crate) const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            1 => Some(Self::Bool),
            2 => Some(Self::Int8),
            3 => Some(Self::Uint8),
            4 => Some(Self::Int16),
            5 => Some(Self::Int32),
            _ => None,
        }
    }

    /// Bytes of one element in a statement.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Bool | Self::Int8 | Self::Uint8 => 1,
            Self::Int16 => 2,
            Self::Int32 => 4,
        }
    }

    /// The least element.
    #[must_use]
    pub const fn min(self) -> i64 {
        match self {
            Self::Bool | Self::Uint8 => 0,
            Self::Int8 => i8::MIN as i64,
            Self::Int16 => i16::MIN as i64,
            Self::Int32 => i32::MIN as i64,
        }
    }

    /// The greatest element.
    #[must_use]
    pub const fn max(self) -> i64 {
        match self {
            Self::Bool => 1,
            Self::Uint8 => u8::MAX as i64,
            Self::Int8 => i8::MAX as i64,
            Self::Int16 => i16::MAX as i64,
            Self::Int32 => i32::MAX as i64,
        }
    }

    /// The name used in JSON and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int8 => "int8",
            Self::Uint8 => "uint8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One tensor at the model's border: real value = scale · (q − zero_point).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorSpec {
    /// The ONNX name.
    pub name: String,
    /// Read or written by the model.
    pub role: Role,
    /// Shown by the statement or not.
    pub visibility: Visibility,
    /// Dimensions, outermost first; a scalar has none.
    pub shape: Vec<u32>,
    /// Element type.
    pub dtype: Dtype,
    /// Real value of one step; finite and positive.
    pub scale: f64,
    /// The integer that stands for 0.
    pub zero_point: i64,
}

impl TensorSpec {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape
            .iter()
            .fold(1, |len, dim| len.saturating_mul(*dim as usize))
    }

    /// Whether the tensor has no elements; no valid layout has such a tensor.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the tensor in a statement.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.len().saturating_mul(self.dtype.bytes())
    }

    /// The real value an element stands for.
    #[must_use]
    pub fn dequantize(&self, q: i64) -> f64 {
        self.scale * ((i128::from(q) - i128::from(self.zero_point)) as f64)
    }

    fn check(&self, tensor: usize) -> Result<(), LayoutError> {
        if self.name.is_empty() || self.name.len() > MAX_NAME_BYTES {
            return Err(LayoutError::Name {
                tensor,
                max: MAX_NAME_BYTES,
                got: self.name.len(),
            });
        }
        if self.shape.len() > MAX_DIMS {
            return Err(LayoutError::Dimensions {
                tensor,
                max: MAX_DIMS,
                got: self.shape.len(),
            });
        }
        if self.is_empty() || self.len() > MAX_ELEMENTS {
            return Err(LayoutError::Elements {
                tensor,
                max: MAX_ELEMENTS,
                got: self.len(),
            });
        }
        if !self.scale.is_finite() || self.scale <= 0.0 {
            return Err(LayoutError::Scale {
                tensor,
                got: self.scale,
            });
        }
        Ok(())
    }
}

/// The tensors at the model's border: inputs, then outputs, in declared order.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct StatementLayout {
    /// Inputs, then outputs.
    pub tensors: Vec<TensorSpec>,
}

/// Why a layout cannot be that of a key.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// More than [`MAX_TENSORS`] tensors.
    #[error("at most {max} tensors, got {got}")]
    Tensors {
        /// The bound.
        max: usize,
        /// Tensors given.
        got: usize,
    },
    /// A name is empty or longer than [`MAX_NAME_BYTES`].
    #[error("tensor {tensor}: a name has 1 to {max} bytes, got {got}")]
    Name {
        /// Position of the tensor.
        tensor: usize,
        /// The bound.
        max: usize,
        /// Length given.
        got: usize,
    },
    /// Two tensors of one role have the same name.
    #[error("tensor {tensor}: its name is taken by tensor {other}")]
    DuplicateName {
        /// Position of the second tensor.
        tensor: usize,
        /// Position of the first.
        other: usize,
    },
    /// More than [`MAX_DIMS`] dimensions.
    #[error("tensor {tensor}: at most {max} dimensions, got {got}")]
    Dimensions {
        /// Position of the tensor.
        tensor: usize,
        /// The bound.
        max: usize,
        /// Dimensions given.
        got: usize,
    },
    /// No element, or more than [`MAX_ELEMENTS`].
    #[error("tensor {tensor}: 1 to {max} elements, got {got}")]
    Elements {
        /// Position of the tensor.
        tensor: usize,
        /// The bound.
        max: usize,
        /// Elements given.
        got: usize,
    },
    /// The scale is not finite and positive.
    #[error("tensor {tensor}: the scale is finite and positive, got {got}")]
    Scale {
        /// Position of the tensor.
        tensor: usize,
        /// Scale given.
        got: f64,
    },
    /// An input stands after an output.
    #[error("tensor {tensor}: inputs stand before outputs")]
    Order {
        /// Position of the tensor.
        tensor: usize,
    },
    /// More than [`MAX_PUBLIC_BYTES`] public bytes.
    #[error("at most {max} public bytes, got {got}")]
    PublicBytes {
        /// The bound.
        max: usize,
        /// Bytes of the layout's public tensors.
        got: usize,
    },
    /// More than [`MAX_HASHED_BYTES`] bytes of hashed tensors.
    #[error("at most {max} bytes of hashed tensors, got {got}")]
    HashedBytes {
        /// The bound.
        max: usize,
        /// Bytes of the layout's hashed tensors.
        got: usize,
    },
}

impl StatementLayout {
    /// The tensors the statement shows, in order.
    pub fn public_tensors(&self) -> impl Iterator<Item = &TensorSpec> {
        self.tensors
            .iter()
            .filter(|tensor| tensor.visibility == Visibility::Public)
    }

    /// The tensors that the statement shows or has a digest of, in order, with their positions.
    pub fn bound_tensors(&self) -> impl Iterator<Item = (usize, &TensorSpec)> {
        let tensors = self.tensors.iter().enumerate();
        tensors.filter(|(_, tensor)| tensor.visibility != Visibility::Private)
    }

    /// The tensors that the statement has a digest of, in order, with their positions.
    pub fn hashed_tensors(&self) -> impl Iterator<Item = (usize, &TensorSpec)> {
        self.bound_tensors()
            .filter(|(_, tensor)| tensor.visibility == Visibility::Hashed)
    }

    /// Number of hashed tensors.
    #[must_use]
    pub fn n_hashed(&self) -> usize {
        self.hashed_tensors().count()
    }

    /// Length of what a statement shows besides the context: the public bytes and 32 bytes a digest.
    #[must_use]
    pub fn statement_bytes(&self) -> usize {
        self.public_bytes()
            .saturating_add(self.n_hashed().saturating_mul(DIGEST_BYTES))
    }

    /// Length of the public tensors in bytes.
    #[must_use]
    pub fn public_bytes(&self) -> usize {
        self.public_tensors()
            .fold(0, |bytes, tensor| bytes.saturating_add(tensor.len_bytes()))
    }

    /// Number of words: the context, one for every 31 public bytes begun, and one for every hashed tensor.
    #[must_use]
    pub fn n_words(&self) -> usize {
        1 + self.public_bytes().div_ceil(WORD_DATA_BYTES) + self.n_hashed()
    }

    /// Checks the bounds, the order and the scales.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self) -> Result<(), LayoutError> {
        if self.tensors.len() > MAX_TENSORS {
            return Err(LayoutError::Tensors {
                max: MAX_TENSORS,
                got: self.tensors.len(),
            });
        }
        let mut outputs = false;
        let mut names = BTreeMap::new();
        for (i, tensor) in self.tensors.iter().enumerate() {
            tensor.check(i)?;
            if outputs && tensor.role == Role::Input {
                return Err(LayoutError::Order { tensor: i });
            }
            outputs |= tensor.role == Role::Output;
            if let Some(other) = names.insert((tensor.role as u8, tensor.name.as_str()), i) {
                return Err(LayoutError::DuplicateName { tensor: i, other });
            }
        }
        let got = self.public_bytes();
        if got > MAX_PUBLIC_BYTES {
            return Err(LayoutError::PublicBytes {
                max: MAX_PUBLIC_BYTES,
                got,
            });
        }
        let hashed = self.hashed_tensors();
        let got = hashed.fold(0, |bytes: usize, (_, tensor)| {
            bytes.saturating_add(tensor.len_bytes())
        });
        if got > MAX_HASHED_BYTES {
            return Err(LayoutError::HashedBytes {
                max: MAX_HASHED_BYTES,
                got,
            });
        }
        Ok(())
    }
}
