//! The one way to make a model, also when it comes from disk: every step is inferred and checked.

use super::{Input, Model, Node, Output, Visibilities};
use crate::ops::{InferError, Op};
use crate::tensor::{Fact, Interval, Quantization};
use zkinfer_verifier::{Dtype, Visibility};

/// Most operators in a model.
const MAX_NODES: usize = 1 << 14;
/// Most inputs and outputs together.
const MAX_PORTS: usize = 64;
/// Most tensors that one node reads.
const MAX_NODE_INPUTS: usize = 1 << 12;
/// Most elements of one tensor.
const MAX_TENSOR_LEN: usize = 1 << 26;
/// Most dimensions of an input or output.
const MAX_DIMS: usize = 8;
/// Longest name in bytes.
const MAX_NAME_BYTES: usize = 256;

/// Why operators do not form a model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// An operator does not apply to its inputs.
    #[error("node `{node}`: {op}: {source}")]
    Infer {
        /// ONNX node name.
        node: String,
        /// Operator.
        op: &'static str,
        /// Reason.
        source: InferError,
    },
    /// A node or output reads a tensor that is not made before it.
    #[error("`{name}` reads tensor {tensor}, only {known} are made before it")]
    Order {
        /// Node or output.
        name: String,
        /// Tensor it reads.
        tensor: usize,
        /// Tensors that exist.
        known: usize,
    },
    /// A visibility for what is neither an input nor an output.
    #[error("a visibility for `{tensor}`; expected the name of an input or an output: {known}")]
    Visibility {
        /// The name.
        tensor: String,
        /// Names that exist.
        known: String,
    },
    /// An input is empty, too large, or has an impossible scale.
    #[error("input `{input}`: {reason}")]
    Input {
        /// Name of the input.
        input: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// An output is an accumulator, or wider than 32 bits.
    #[error("output `{output}`: {reason}")]
    Output {
        /// Name of the output.
        output: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A tensor is larger than the limit.
    #[error("node `{node}`: its output has {len} elements, at most {MAX_TENSOR_LEN} are possible")]
    TensorSize {
        /// ONNX node name.
        node: String,
        /// Elements.
        len: usize,
    },
    /// The model has more parts than the limit.
    #[error("the model has more than {max} {what}")]
    TooMany {
        /// Which parts.
        what: &'static str,
        /// Limit.
        max: usize,
    },
    /// There is no input or no output.
    #[error("the model has no {0}")]
    None(&'static str),
}

/// Builds a [`Model`] tensor by tensor: inputs, then nodes, then outputs.
#[derive(Clone, Debug)]
pub struct ModelBuilder {
    model: Model,
}

/// A name cut to the length a statement can carry.
fn bounded(name: &str) -> String {
    let end = (0..=MAX_NAME_BYTES.min(name.len()))
        .rev()
        .find(|&i| name.is_char_boundary(i));
    name[..end.unwrap_or(0)].to_owned()
}

impl ModelBuilder {
    /// An empty model.
    pub fn new(visibilities: Visibilities) -> Self {
        let model = Model {
            inputs: vec![],
            nodes: vec![],
            outputs: vec![],
            visibilities,
            facts: vec![],
        };
        Self { model }
    }

    /// What is known about a tensor.
    pub fn fact(&self, tensor: usize) -> Option<&Fact> {
        self.model.facts.get(tensor)
    }

    /// Declares an input and returns its tensor.
    ///
    /// # Errors
    /// When it is empty or too large, its scale is not a positive number, or a node exists already.
    pub fn input(
        &mut self,
        name: &str,
        shape: Vec<usize>,
        dtype: Dtype,
        quantization: Quantization,
    ) -> Result<usize, ModelError> {
        let bad = |reason| ModelError::Input {
            input: name.to_owned(),
            reason,
        };
        if !self.model.nodes.is_empty() {
            return Err(bad("inputs must come before nodes"));
        }
        if self.model.inputs.len() >= MAX_PORTS {
            return Err(ModelError::TooMany {
                what: "inputs",
                max: MAX_PORTS,
            });
        }
        let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if !len.is_some_and(|n| (1..=MAX_TENSOR_LEN).contains(&n)) || shape.len() > MAX_DIMS {
            return Err(bad("it is empty or too large"));
        }
        let interval = Interval {
            lo: dtype.min(),
            hi: dtype.max(),
        };
        if !quantization.is_sound() || !interval.contains(quantization.zero_point) {
            return Err(bad(
                "its scale is not a positive number, or its zero point is not of its type",
            ));
        }
        self.model.facts.push(Fact {
            shape: shape.clone(),
            interval,
            quantization: Some(quantization),
        });
        self.model.inputs.push(Input {
            name: bounded(name),
            shape,
            dtype,
            quantization,
        });
        Ok(self.model.facts.len() - 1)
    }

    /// Adds an operator and returns its tensor.
    ///
    /// # Errors
    /// When it reads a tensor that does not exist yet, or does not apply to what it reads.
    pub fn node(&mut self, name: &str, op: Op, inputs: &[usize]) -> Result<usize, ModelError> {
        if self.model.nodes.len() >= MAX_NODES {
            return Err(ModelError::TooMany {
                what: "nodes",
                max: MAX_NODES,
            });
        }
        let known = self.model.facts.len();
        if let Some(&tensor) = inputs.iter().find(|&&t| t >= known) {
            return Err(ModelError::Order {
                name: name.to_owned(),
                tensor,
                known,
            });
        }
        if inputs.len() > MAX_NODE_INPUTS {
            return Err(ModelError::TooMany {
                what: "inputs of one node",
                max: MAX_NODE_INPUTS,
            });
        }
        let facts: Vec<&Fact> = inputs.iter().map(|&t| &self.model.facts[t]).collect();
        let fact = op.infer(&facts).map_err(|source| ModelError::Infer {
            node: name.to_owned(),
            op: op.name(),
            source,
        })?;
        if fact.len() > MAX_TENSOR_LEN {
            return Err(ModelError::TensorSize {
                node: name.to_owned(),
                len: fact.len(),
            });
        }
        self.model.facts.push(fact);
        self.model.nodes.push(Node {
            name: bounded(name),
            op,
            inputs: inputs.to_vec(),
        });
        Ok(known)
    }

    /// Declares an output.
    ///
    /// # Errors
    /// When the tensor does not exist, is an accumulator, or is wider than 32 bits.
    pub fn output(&mut self, name: &str, tensor: usize) -> Result<(), ModelError> {
        let known = self.model.facts.len();
        let Some(fact) = self.model.facts.get(tensor) else {
            return Err(ModelError::Order {
                name: name.to_owned(),
                tensor,
                known,
            });
        };
        if self.model.outputs.len() + self.model.inputs.len() >= MAX_PORTS {
            return Err(ModelError::TooMany {
                what: "inputs and outputs",
                max: MAX_PORTS,
            });
        }
        let fits = fact.dtype().is_some() && fact.quantization.is_some();
        if !fits || fact.shape.len() > MAX_DIMS {
            let reason = "it is not an activation of at most 32 bits and 8 dimensions";
            return Err(ModelError::Output {
                output: name.to_owned(),
                reason,
            });
        }
        self.model.outputs.push(Output {
            name: bounded(name),
            tensor,
        });
        Ok(())
    }

    /// The finished model.
    ///
    /// # Errors
    /// When it has no input or no output, or one that is given a visibility does not exist.
    pub fn finish(mut self) -> Result<Model, ModelError> {
        if self.model.inputs.is_empty() {
            return Err(ModelError::None("input"));
        }
        if self.model.outputs.is_empty() {
            return Err(ModelError::None("output"));
        }
        self.settle_visibilities()?;
        Ok(self.model)
    }

    /// Keeps the visibilities by name that differ from those of the role, so that equal models have equal bytes.
    fn settle_visibilities(&mut self) -> Result<(), ModelError> {
        let model = &mut self.model;
        let inputs = model
            .inputs
            .iter()
            .map(|i| (&i.name, model.visibilities.input));
        let outputs = model
            .outputs
            .iter()
            .map(|o| (&o.name, model.visibilities.output));
        let tensors: Vec<(&String, Visibility)> = inputs.chain(outputs).collect();
        let named = &model.visibilities.tensors;
        if let Some(unknown) = named
            .keys()
            .find(|name| tensors.iter().all(|(t, _)| t != name))
        {
            let known: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
            return Err(ModelError::Visibility {
                tensor: bounded(unknown),
                known: known.join(", "),
            });
        }
        let told = |(name, visibility): &(&String, Visibility)| {
            let differs = tensors
                .iter()
                .any(|(t, usual)| t == name && usual != visibility);
            differs.then(|| ((*name).clone(), *visibility))
        };
        let named = named.iter().map(|(name, visibility)| (name, *visibility));
        let kept = named.filter_map(|named| told(&named)).collect();
        model.visibilities.tensors = kept;
        Ok(())
    }
}
