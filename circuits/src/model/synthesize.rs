//! Model → constraint program: every operator adds its instructions in turn.

use super::Model;
use crate::constraint::{BuildError, Builder, MAX_BATCH, Program, WireTensor};
use crate::ops::{Operator, Requantize};
use crate::tensor::Quantization;
use std::collections::BTreeSet;
use zkinfer_verifier::statement::WORD_DATA_BYTES;
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
                self.visibilities.of(Role::Input, &input.name),
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
                self.visibilities.of(Role::Output, &output.name),
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
        self.build(&vec![None; self.nodes.len()], 1)
    }

    /// The program whose solutions are exactly `n` evaluations of the model, in order; [`Model::synthesize`] when `n` is 1.
    ///
    /// # Errors
    /// As [`Model::synthesize`] and [`Program::batched`].
    pub fn synthesize_batch(&self, n: u32) -> Result<Program, BuildError> {
        match n {
            1 => self.synthesize(),
            n if !(1..=MAX_BATCH).contains(&n) => Err(BuildError::Batch {
                max: MAX_BATCH,
                got: n,
            }),
            _ => self.build(&self.pools_first(), n)?.batched(n),
        }
    }

    /// For every input and output, how many low bytes of its elements the ends of words cut off, in a statement of so many copies.
    fn cuts(&self, copies: u32) -> Vec<BTreeSet<usize>> {
        let specs = self.layout().tensors;
        let mut cuts = vec![BTreeSet::new(); specs.len()];
        let mut byte = 0usize;
        for part in [0..self.inputs.len(), self.inputs.len()..specs.len()] {
            for io in (0..copies).flat_map(|_| part.clone()) {
                let spec = &specs[io];
                if spec.visibility != Visibility::Public {
                    continue;
                }
                let bytes = spec.dtype.bytes();
                // after as many elements as a word has bytes all repeats: both numbers are coprime
                for index in 0..spec.len().min(WORD_DATA_BYTES) {
                    let end = (byte % WORD_DATA_BYTES + index * bytes) % WORD_DATA_BYTES + bytes;
                    if end > WORD_DATA_BYTES {
                        cuts[io].insert(end - WORD_DATA_BYTES);
                    }
                }
                byte = byte.saturating_add(spec.len_bytes());
            }
        }
        cuts
    }

    /// `first[p]`: node p comes before an earlier node, which then is what stands there. The statement will have `copies` of it.
    fn build(
        &self,
        first: &[Option<(usize, Requantize)>],
        copies: u32,
    ) -> Result<Program, BuildError> {
        let mut b = Builder::new();
        let mut wires: Vec<WireTensor> = Vec::with_capacity(self.facts.len());
        let cuts = self.cuts(copies);
        for (input, cuts) in self.input_specs().zip(&cuts) {
            b.node(&input.name);
            let x = b.input(input.clone())?;
            split_at(&mut b, &x, &input, cuts)?;
            wires.push(x);
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
        let outputs = self.outputs.iter().zip(self.output_specs());
        for ((output, spec), cuts) in outputs.zip(&cuts[self.inputs.len()..]) {
            b.node(&output.name);
            let y = &wires[output.tensor];
            split_at(&mut b, y, &spec, cuts)?;
            b.output(y, spec)?;
        }
        b.finish()
    }
}

/// Splits `x − min` after so many low bytes, for the words that end inside an element.
fn split_at(
    b: &mut Builder,
    x: &WireTensor,
    spec: &TensorSpec,
    cuts: &BTreeSet<usize>,
) -> Result<(), BuildError> {
    if cuts.is_empty() {
        return Ok(());
    }
    let bytes = b.combine(&[(1, x)], -spec.dtype.min())?;
    for low in cuts {
        let high = b.split(&bytes, 8 * *low as u32)?;
        b.range_unbound(high, 8 * (spec.dtype.bytes() - low) as u32)?;
    }
    Ok(())
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
