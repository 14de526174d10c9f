//! Which float node stands beside which tensor of an integer model, found again from the accuracy report.

use super::super::report::{LayerReport, Report};
use crate::model::Model;
use crate::onnx::FloatGraph;

/// Why a float graph is not the one that a model was quantized from.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PairingError {
    /// Another number of inputs or outputs.
    #[error("expected {expected} {what}, the ONNX file has {got}")]
    Count {
        /// "inputs" or "outputs".
        what: &'static str,
        /// Of the integer model.
        expected: usize,
        /// Of the float graph.
        got: usize,
    },
    /// An input or output has another name or shape.
    #[error(
        "{what}: expected `{name}` of shape {shape:?}, the ONNX file has `{got}` of shape {got_shape:?}"
    )]
    Port {
        /// "input" or "output".
        what: &'static str,
        /// Name in the integer model.
        name: String,
        /// Shape in the integer model.
        shape: Vec<usize>,
        /// Name in the float graph.
        got: String,
        /// Shape in the float graph.
        got_shape: Vec<usize>,
    },
    /// A node of the accuracy report is not in the float graph.
    #[error("the ONNX file has no {op} `{node}` of shape {shape:?}")]
    Node {
        /// Name in the report.
        node: String,
        /// Its float operator.
        op: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A tensor of the accuracy report is not in the integer model.
    #[error("the model has no tensor `{node}` with the scale of its accuracy report")]
    Tensor {
        /// Name in the report.
        node: String,
    },
}

/// A float graph beside the integer model that was made from it.
#[derive(Clone, Debug)]
pub struct Pairing<'a> {
    /// The float graph.
    pub(super) graph: &'a FloatGraph,
    /// For every tensor of the model, its float node.
    pub(super) nodes: Vec<Option<usize>>,
    /// For every output of the model, its float node.
    pub(super) outputs: Vec<usize>,
}

impl<'a> Pairing<'a> {
    /// Pairs by names, shapes, and the scales in `report`, which came with `model`.
    ///
    /// # Errors
    /// When the graph is not the one that the model was made from, as far as names and shapes tell. Weights are not compared.
    pub fn new(
        graph: &'a FloatGraph,
        model: &Model,
        report: &Report,
    ) -> Result<Self, PairingError> {
        check_ports(graph, model)?;
        let mut nodes = vec![None; model.facts().len()];
        let mut from = 0;
        for (layer, tensor) in report.layers.iter().zip(tensors_of(model, report)) {
            // the report follows the graph's order, so equal names are told apart
            let found = graph.nodes[from..].iter().position(|node| {
                node.name == layer.name && node.shape == layer.shape && node.op.name() == layer.op
            });
            let id = from
                + found.ok_or_else(|| PairingError::Node {
                    node: layer.name.clone(),
                    op: layer.op.clone(),
                    shape: layer.shape.clone(),
                })?;
            from = id + 1;
            let tensor = tensor.ok_or_else(|| PairingError::Tensor {
                node: layer.name.clone(),
            })?;
            nodes[tensor] = Some(id);
        }
        let outputs = graph.outputs.iter().map(|(_, id)| *id).collect();
        Ok(Self {
            graph,
            nodes,
            outputs,
        })
    }
}

/// For every line of an accuracy report the tensor of `model` that it is about.
pub fn tensors_of(model: &Model, report: &Report) -> Vec<Option<usize>> {
    let mut taken = vec![false; model.facts().len()];
    let of = |layer: &LayerReport| {
        let n_elements = layer.shape.iter().product::<usize>();
        let is_it = |&tensor: &usize| {
            let name = match tensor.checked_sub(model.inputs().len()) {
                None => &model.inputs()[tensor].name,
                Some(node) => &model.nodes()[node].name,
            };
            let fact = &model.facts()[tensor];
            // text keeps a number to a unit of its last place or so
            let near = |scale: f64| (scale - layer.scale).abs() <= 1e-12 * scale;
            let quantization = fact.quantization;
            let alike =
                quantization.is_some_and(|q| near(q.scale) && q.zero_point == layer.zero_point);
            !taken[tensor] && *name == layer.name && fact.len() == n_elements && alike
        };
        let all = 0..model.facts().len();
        let told = layer.tensor.filter(|t| all.contains(t)).filter(is_it);
        // an earlier version's report does not tell; a layout may have the name, the size and the scale of what it reads, and both lists
        // have them in order
        let tensor = told.or_else(|| all.clone().find(is_it))?;
        taken[tensor] = true;
        Some(tensor)
    };
    report.layers.iter().map(of).collect()
}

fn check_ports(graph: &FloatGraph, model: &Model) -> Result<(), PairingError> {
    let float_inputs = graph.inputs.iter().map(|&id| {
        let node = &graph.nodes[id];
        (node.name.as_str(), &node.shape)
    });
    let inputs = model.inputs().iter();
    check_each(
        ["inputs", "input"],
        inputs.map(|i| (i.name.as_str(), &i.shape)).collect(),
        float_inputs.collect(),
    )?;
    let float_outputs = graph
        .outputs
        .iter()
        .map(|(name, id)| (name.as_str(), &graph.nodes[*id].shape));
    let outputs = model.outputs().iter();
    check_each(
        ["outputs", "output"],
        outputs
            .map(|o| (o.name.as_str(), &model.facts()[o.tensor].shape))
            .collect(),
        float_outputs.collect(),
    )
}

type Port<'a> = (&'a str, &'a Vec<usize>);

fn check_each(
    [plural, what]: [&'static str; 2],
    expected: Vec<Port<'_>>,
    got: Vec<Port<'_>>,
) -> Result<(), PairingError> {
    if expected.len() != got.len() {
        return Err(PairingError::Count {
            what: plural,
            expected: expected.len(),
            got: got.len(),
        });
    }
    match expected.iter().zip(&got).find(|(e, g)| e != g) {
        None => Ok(()),
        Some((&(name, shape), &(other, other_shape))) => Err(PairingError::Port {
            what,
            name: name.to_owned(),
            shape: shape.clone(),
            got: other.to_owned(),
            got_shape: other_shape.clone(),
        }),
    }
}
