//! What the page shows, gathered before anything is drawn.

use zkinfer_circuits::Model;
use zkinfer_circuits::quantize::profile::{Profile, TensorError, tensors_of};
use zkinfer_circuits::quantize::{Integers, Report};
use zkinfer_circuits::tensor::Quantization;

/// Everything on the page.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// What the bundle is called.
    pub(crate) name: String,
    /// Name and value of what identifies it: digests, versions, files.
    pub(crate) identity: Vec<(String, String)>,
    /// What a proof is about, in one sentence.
    pub(crate) claim: String,
    /// What keys and proofs cost.
    pub(crate) cost: Cost,
    /// The model's tensors: inputs first, then one per node.
    pub(crate) tensors: Vec<TensorFacts>,
    /// Name and tensor of every output.
    pub(crate) outputs: Vec<(String, usize)>,
    /// The accuracy report of the bundle.
    pub(crate) calibration: Report,
    /// What the model does on samples, if there were any.
    pub(crate) profile: Option<Profile>,
    /// What the page cannot show, and what it needs for that.
    pub(crate) missing: Vec<String>,
}

/// What keys and proofs cost.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    /// The proof system.
    pub(crate) system: String,
    /// "constraints" or "rows".
    pub(crate) unit: &'static str,
    /// Rows by ONNX node.
    pub(crate) by_node: Vec<(String, usize)>,
    /// Rows that belong to no node, with what they are for.
    pub(crate) shared: Vec<(String, usize)>,
    /// Name and value of the other figures.
    pub(crate) figures: Vec<(String, String)>,
}

impl Cost {
    /// All rows.
    pub(crate) fn total(&self) -> usize {
        let all = self.by_node.iter().chain(&self.shared);
        all.map(|(_, rows)| rows).sum()
    }
}

/// One tensor of the integer model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TensorFacts {
    /// Name of the ONNX node or input.
    pub(crate) name: String,
    /// The operator that makes it.
    pub(crate) op: &'static str,
    /// Tensors it is made from.
    pub(crate) inputs: Vec<usize>,
    /// Dimensions.
    pub(crate) shape: Vec<usize>,
    /// Least and largest value that any admissible input leads to.
    pub(crate) interval: [i64; 2],
    /// What the integers stand for; `None` for an accumulator with a scale for each channel.
    pub(crate) quantization: Option<Quantization>,
    /// Why there are so many integers, where the accuracy report says it.
    pub(crate) integers: Option<Integers>,
}

/// The tensors of a model, with what its accuracy report says of them.
pub(crate) fn facts_of(model: &Model, report: &Report) -> Vec<TensorFacts> {
    let inputs = model.inputs().iter().map(|i| (&i.name, "Input", vec![]));
    let nodes = model.nodes().iter();
    let nodes = nodes.map(|n| (&n.name, n.op.name(), n.inputs.clone()));
    let named = inputs.chain(nodes).zip(model.facts());
    let tensor =
        |((name, op, inputs), fact): ((&String, _, _), &zkinfer_circuits::tensor::Fact)| {
            TensorFacts {
                name: name.clone(),
                op,
                inputs,
                shape: fact.shape.clone(),
                interval: [fact.interval.lo, fact.interval.hi],
                quantization: fact.quantization,
                integers: None,
            }
        };
    let mut tensors: Vec<TensorFacts> = named.map(tensor).collect();
    for (layer, tensor) in report.layers.iter().zip(tensors_of(model, report)) {
        if let Some(tensor) = tensor {
            tensors[tensor].integers.clone_from(&layer.integers);
        }
    }
    tensors
}

/// For every tensor how far it is from the float model: on the samples of the profile, or as the accuracy report says.
pub(crate) fn errors(
    model: &Model,
    report: &Report,
    profile: Option<&Profile>,
) -> Vec<Option<TensorError>> {
    if let Some(profile) = profile.filter(|p| p.float) {
        return profile.tensors.iter().map(|t| t.error).collect();
    }
    let mut errors = vec![None; model.facts().len()];
    for (layer, tensor) in report.layers.iter().zip(tensors_of(model, report)) {
        if let Some(tensor) = tensor {
            errors[tensor] = Some(TensorError {
                mean: layer.mean_error,
                max: layer.max_error,
                range: layer.range,
            });
        }
    }
    errors
}
