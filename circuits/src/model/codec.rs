//! Canonical bytes of a model, and its identity.
//!
//! `MAGIC ‖ version ‖ postcard(inputs, nodes, outputs, visibilities of both roles)`, and where tensors have visibilities of their own the next
//! version and behind it `postcard(visibilities by name)`. Decoding rebuilds the model through [`ModelBuilder`],
//! and accepts only the bytes that encoding the result gives.

use super::{Input, Model, ModelBuilder, ModelError, Node, Output, Visibilities};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use zkinfer_verifier::Visibility;

const MAGIC: &[u8; 8] = b"zkimodel";
const VERSION: u8 = 2;
/// Of a model in which tensors have visibilities of their own.
const VERSION_BY_NAME: u8 = 3;
/// Separates model digests from every other digest.
const DOMAIN: &[u8] = b"zkinfer model v2\0";
/// Most bytes a model may have.
const MAX_BYTES: usize = 1 << 30;

/// Why bytes are not a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The first bytes are not a model's.
    #[error("not a zkinfer model: the first bytes are not its magic number")]
    Magic,
    /// Written by another version.
    #[error(
        "the model has format version {got}, this program reads {VERSION} and {VERSION_BY_NAME}"
    )]
    Version {
        /// Version in the file.
        got: u8,
    },
    /// More bytes than are read.
    #[error("the model has {got} bytes, at most {MAX_BYTES} are read")]
    TooLarge {
        /// Length given.
        got: usize,
    },
    /// The body is truncated or malformed.
    #[error("the model is truncated or malformed: {0}")]
    Body(#[from] postcard::Error),
    /// The bytes are not the ones that encoding gives.
    #[error("the model is not in canonical form")]
    NotCanonical,
    /// The operators do not form a model.
    #[error(transparent)]
    Model(#[from] ModelError),
}

#[derive(Serialize)]
struct Body<'a> {
    inputs: &'a [Input],
    nodes: &'a [Node],
    outputs: &'a [Output],
    visibilities: [Visibility; 2],
}

#[derive(Deserialize)]
struct OwnedBody {
    inputs: Vec<Input>,
    nodes: Vec<Node>,
    outputs: Vec<Output>,
    visibilities: [Visibility; 2],
}

impl Model {
    /// Canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let Visibilities {
            input,
            output,
            tensors,
        } = &self.visibilities;
        bytes.push(match tensors.is_empty() {
            true => VERSION,
            false => VERSION_BY_NAME,
        });
        let body = Body {
            inputs: &self.inputs,
            nodes: &self.nodes,
            outputs: &self.outputs,
            visibilities: [*input, *output],
        };
        // sequences of known length and plain numbers: postcard has no failure for them when it writes to a Vec
        bytes.extend(postcard::to_stdvec(&body).unwrap_or_default());
        if !tensors.is_empty() {
            bytes.extend(postcard::to_stdvec(tensors).unwrap_or_default());
        }
        bytes
    }

    /// Reads a model from bytes of any origin.
    ///
    /// # Errors
    /// When the bytes are not exactly what `encode` gives for some checked model.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_BYTES {
            return Err(DecodeError::TooLarge { got: bytes.len() });
        }
        let rest = bytes.strip_prefix(MAGIC).ok_or(DecodeError::Magic)?;
        let (&version, rest) = rest.split_first().ok_or(DecodeError::Magic)?;
        if version != VERSION && version != VERSION_BY_NAME {
            return Err(DecodeError::Version { got: version });
        }
        let (body, mut left): (OwnedBody, &[u8]) = postcard::take_from_bytes(rest)?;
        let mut tensors = BTreeMap::new();
        if version == VERSION_BY_NAME {
            (tensors, left) = postcard::take_from_bytes(left)?;
        }
        if !left.is_empty() {
            return Err(DecodeError::NotCanonical);
        }
        let [input, output] = body.visibilities;
        let mut builder = ModelBuilder::new(Visibilities {
            input,
            output,
            tensors,
        });
        for input in body.inputs {
            builder.input(&input.name, input.shape, input.dtype, input.quantization)?;
        }
        for node in body.nodes {
            builder.node(&node.name, node.op, &node.inputs)?;
        }
        for output in body.outputs {
            builder.output(&output.name, output.tensor)?;
        }
        let model = builder.finish()?;
        if model.encode() == bytes {
            Ok(model)
        } else {
            Err(DecodeError::NotCanonical)
        }
    }

    /// Identity of the model: SHA-256 of a domain prefix and the canonical bytes, scales and visibilities included.
    pub fn model_id(&self) -> [u8; 32] {
        Sha256::new()
            .chain_update(DOMAIN)
            .chain_update(self.encode())
            .finalize()
            .into()
    }
}
