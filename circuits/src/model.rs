//! The integer model: operators in topological order, and what their tensors mean.
//!
//! `eval` of a model is the specification of everything proved about it. Its identity is the digest of its canonical encoding,
//! scales included.

mod build;
mod codec;
mod eval;
mod pool_first;
mod synthesize;

pub use build::{ModelBuilder, ModelError};
pub use codec::DecodeError;
pub use eval::{EvalError, QuantizeInputError};

use crate::ops::Op;
use crate::tensor::{Fact, Quantization};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use zkinfer_verifier::{Dtype, Role, Visibility};

/// Whether the statement shows the inputs and the outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visibilities {
    /// Of every input that is not named.
    pub input: Visibility,
    /// Of every output that is not named.
    pub output: Visibility,
    /// Of inputs and outputs by name.
    pub tensors: BTreeMap<String, Visibility>,
}

impl Visibilities {
    /// Of a tensor.
    #[must_use]
    pub fn of(&self, role: Role, name: &str) -> Visibility {
        let usual = match role {
            Role::Input => self.input,
            Role::Output => self.output,
        };
        self.tensors.get(name).copied().unwrap_or(usual)
    }
}

impl Default for Visibilities {
    fn default() -> Self {
        Self {
            input: Visibility::Public,
            output: Visibility::Public,
            tensors: BTreeMap::new(),
        }
    }
}

/// An integer input of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Name of the ONNX input.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Type of the elements.
    pub dtype: Dtype,
    /// What the integers stand for.
    pub quantization: Quantization,
}

/// One operator and where its inputs come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Name of the ONNX node it serves.
    pub name: String,
    /// The operator.
    pub op: Op,
    /// Tensors it reads: the model's inputs come first, then one tensor per node.
    pub inputs: Vec<usize>,
}

/// An output of a model, of the narrowest type that holds its proved interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Name of the ONNX output.
    pub name: String,
    /// The tensor.
    pub tensor: usize,
}

/// A checked integer model: every operator applies to its inputs, and every output fits a type of a statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    inputs: Vec<Input>,
    nodes: Vec<Node>,
    outputs: Vec<Output>,
    visibilities: Visibilities,
    facts: Vec<Fact>,
}

impl Model {
    /// The inputs, in declared order.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The operators, in topological order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The outputs, in declared order.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Whether inputs and outputs are shown in the statement.
    pub fn visibilities(&self) -> &Visibilities {
        &self.visibilities
    }

    /// Shape, proved interval and quantization of every tensor.
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// The tensor of output `number`; the first tensor when there is no such output.
    pub(crate) fn output_tensor(&self, number: usize) -> usize {
        self.outputs.get(number).map_or(0, |o| o.tensor)
    }
}
