//! Running a model on integers, and the way in and out of them.

use super::Model;
use crate::ops;
use crate::quantize::{InputError, InputFile};
use crate::tensor::Tensor;

/// Why real inputs are not inputs of a model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeInputError {
    /// Wrong number of tensors.
    #[error("expected {expected} input tensors, got {got}")]
    Count {
        /// Inputs of the model.
        expected: usize,
        /// Tensors given.
        got: usize,
    },
    /// Wrong number of elements.
    #[error("input `{input}`: expected {expected} elements, got {got}")]
    Length {
        /// Name of the input.
        input: String,
        /// Elements of its shape.
        expected: usize,
        /// Elements given.
        got: usize,
    },
    /// A value is NaN or infinite.
    #[error("input `{input}`, index {index}: {value} is not a finite number")]
    NonFinite {
        /// Name of the input.
        input: String,
        /// Row-major index.
        index: usize,
        /// The value.
        value: f32,
    },
}

/// Why a model could not be evaluated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The real inputs are not inputs of the model.
    #[error(transparent)]
    Input(#[from] QuantizeInputError),
    /// An integer input is outside its type or has another size.
    #[error("input `{input}`: {source}")]
    Integer {
        /// Name of the input.
        input: String,
        /// Reason.
        source: ops::EvalError,
    },
    /// An operator failed.
    #[error("node `{node}`: {op}: {source}")]
    Node {
        /// ONNX node name.
        node: String,
        /// Operator.
        op: &'static str,
        /// Reason.
        source: ops::EvalError,
    },
}

impl Model {
    /// Integers of real inputs, one row-major tensor per input; values beyond the range of the input's type saturate.
    ///
    /// # Errors
    /// When count or lengths differ, or a value is not finite.
    pub fn quantize_input(&self, inputs: &[Vec<f32>]) -> Result<Vec<Tensor>, QuantizeInputError> {
        if inputs.len() != self.inputs.len() {
            let (expected, got) = (self.inputs.len(), inputs.len());
            return Err(QuantizeInputError::Count { expected, got });
        }
        let tensor = |(input, values): (&super::Input, &Vec<f32>)| {
            let expected = input.shape.iter().product();
            if values.len() != expected {
                let (input, got) = (input.name.clone(), values.len());
                return Err(QuantizeInputError::Length {
                    input,
                    expected,
                    got,
                });
            }
            if let Some(index) = values.iter().position(|v| !v.is_finite()) {
                let (input, value) = (input.name.clone(), values[index]);
                return Err(QuantizeInputError::NonFinite {
                    input,
                    index,
                    value,
                });
            }
            let q = input.quantization;
            let integer = |&v: &f32| q.quantize(v.into(), input.dtype);
            Ok(Tensor {
                shape: input.shape.clone(),
                data: values.iter().map(integer).collect(),
            })
        };
        self.inputs.iter().zip(inputs).map(tensor).collect()
    }

    /// The samples that a file holds for this model, not yet quantized.
    ///
    /// # Errors
    /// When an input is missing, has another shape or type, or holds a value that is not finite.
    pub fn samples(&self, file: &InputFile) -> Result<Vec<Vec<Vec<f32>>>, InputError> {
        let inputs: Vec<(&str, &[usize])> = self
            .inputs
            .iter()
            .map(|i| (i.name.as_str(), i.shape.as_slice()))
            .collect();
        file.samples(&inputs)
    }

    /// Every tensor of the model: inputs first, then one per node.
    ///
    /// # Errors
    /// When the inputs are not tensors of the declared sizes and types.
    pub fn eval_all(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
        if inputs.len() != self.inputs.len() {
            let (expected, got) = (self.inputs.len(), inputs.len());
            return Err(QuantizeInputError::Count { expected, got }.into());
        }
        let mut tensors = Vec::with_capacity(self.facts.len());
        for ((input, fact), tensor) in self.inputs.iter().zip(&self.facts).zip(inputs) {
            let bad = |source| EvalError::Integer {
                input: input.name.clone(),
                source,
            };
            if tensor.len() != fact.len() {
                return Err(bad(ops::EvalError::Length {
                    expected: fact.len(),
                    got: tensor.len(),
                }));
            }
            if let Some(index) = tensor.data.iter().position(|&v| !fact.interval.contains(v)) {
                let value = tensor.data[index];
                return Err(bad(ops::EvalError::Range {
                    index,
                    value,
                    range: fact.interval,
                }));
            }
            tensors.push(Tensor {
                shape: input.shape.clone(),
                data: tensor.data.clone(),
            });
        }
        for node in &self.nodes {
            let x: Vec<&Tensor> = node.inputs.iter().map(|&t| &tensors[t]).collect();
            let y = node.op.eval(&x).map_err(|source| EvalError::Node {
                node: node.name.clone(),
                op: node.op.name(),
                source,
            })?;
            tensors.push(y);
        }
        Ok(tensors)
    }

    /// The outputs of the model.
    ///
    /// # Errors
    /// As [`Model::eval_all`].
    pub fn eval(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let mut tensors = self.eval_all(inputs)?;
        let empty = || Tensor {
            shape: vec![],
            data: vec![],
        };
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for (i, output) in self.outputs.iter().enumerate() {
            let again = self.outputs[i + 1..]
                .iter()
                .any(|later| later.tensor == output.tensor);
            let tensor = &mut tensors[output.tensor];
            outputs.push(if again {
                tensor.clone()
            } else {
                std::mem::replace(tensor, empty())
            });
        }
        Ok(outputs)
    }

    /// The real numbers that output tensors stand for.
    ///
    /// Tensors beyond the model's outputs are left out.
    pub fn dequantize(&self, outputs: &[Tensor]) -> Vec<Vec<f64>> {
        let quantization = |output: &super::Output| self.facts[output.tensor].quantization;
        let real = |(output, tensor): (&super::Output, &Tensor)| {
            let q = quantization(output);
            tensor
                .data
                .iter()
                .map(|&v| q.map_or(v as f64, |q| q.dequantize(v)))
                .collect()
        };
        self.outputs.iter().zip(outputs).map(real).collect()
    }
}
