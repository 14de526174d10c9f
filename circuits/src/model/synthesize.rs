//! Model → constraint program: every operator adds its instructions in turn.

use super::Model;
use crate::constraint::{BuildError, Builder, Program, WireTensor};
use crate::ops::{Operator, Requantize};
use crate::tensor::Quantization;
use zkinfer_verifier::{Dtype, Role, StatementLayout, TensorSpec, Visibility};

impl Model {
    /// What a proof about this model states: its inputs, then its outputs.
    pub fn layout(&self) -> StatementLayout {
        StatementLayout {
            tensors: self.input_specs().chain(self.output_specs()).collect(),
        }
    }

    fn input_specs(&self) -> impl Iterator<Item = TensorSpec> + '_ {
        self.inputs.iter().map(|input| {
            spec(
                &input.name,
                Role::Input,
                self.visibilities.input,
                &input.shape,
                input.dtype,
                input.quantization,
            )
        })
    }

    fn output_specs(&self) -> impl Iterator<Item = TensorSpec> + '_ {
        self.outputs.iter().map(|output| {
            let fact = &self.facts[output.tensor];
            // the builder refuses an output without one
            let quantization = fact.quantization.unwrap_or(Quantization {
                scale: 1.0,
                zero_point: 0,
            });
            spec(
                &output.name,
                Role::Output,
                self.visibilities.output,
                &fact.shape,
                // nor one of another type
                fact.dtype().unwrap_or(Dtype::Int32),
                quantization,
            )
        })
    }

    /// The program whose solutions are exactly the model's evaluations.
    ///
    /// # Errors
    /// When a compile-time bound of a gadget does not hold; the error names the ONNX node.
    pub fn synthesize(&self) -> Result<Program, BuildError> {
        self.build(&vec![None; self.nodes.len()])
    }

    /// The program whose solutions are exactly `n` evaluations of the model, in order; [`Model::synthesize`] when `n` is 1.
    ///
    /// # Errors
    /// As [`Model::synthesize`] and [`Program::batched`].
    pub fn synthesize_batch(&self, n: u32) -> Result<Program, BuildError> {
        match n {
            1 => self.synthesize(),
            _ => self.build(&self.pools_first())?.batched(n),
        }
    }

    /// `first[p]`: node p comes before an earlier node, which then is what stands there.
    fn build(&self, first: &[Option<(usize, Requantize)>]) -> Result<Program, BuildError> {
        let mut b = Builder::new();
        let mut wires: Vec<WireTensor> = Vec::with_capacity(self.facts.len());
        for input in self.input_specs() {
            b.node(&input.name);
            wires.push(b.input(input)?);
        }
        let overtaken = |i: usize| first.iter().flatten().any(|(r, _)| *r == i);
        for (i, (node, first)) in self.nodes.iter().zip(first).enumerate() {
            let x: Vec<&WireTensor> = node.inputs.iter().map(|&t| &wires[t]).collect();
            let y = match &x[..] {
                // whoever overtakes is all that reads this tensor, and reads the accumulator in its place
                [x] if overtaken(i) => (*x).clone(),
                _ => {
                    b.node(&node.name);
                    node.op.constrain(&mut b, &x)?
                }
            };
            wires.push(match first {
                Some((r, behind)) => {
                    b.node(&self.nodes[*r].name);
                    behind.constrain(&mut b, &[&y])?
                }
                None => y,
            });
        }
        for (output, spec) in self.outputs.iter().zip(self.output_specs()) {
            b.node(&output.name);
            b.output(&wires[output.tensor], spec)?;
        }
        b.finish()
    }
}

fn spec(
    name: &str,
    role: Role,
    visibility: Visibility,
    shape: &[usize],
    dtype: Dtype,
    q: Quantization,
) -> TensorSpec {
    TensorSpec {
        name: name.to_owned(),
        role,
        visibility,
        // tensors have at most 2^26 elements
        shape: shape.iter().map(|&d| d as u32).collect(),
        dtype,
        scale: q.scale,
        zero_point: q.zero_point,
    }
}
