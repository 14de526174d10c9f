//! From the integer model's nodes to what a person calls layers: an accumulator and what requantizes it are one, and so are
//! nodes that bear one name, because rows are counted by name.

use super::data::{Cost, TensorFacts};
use std::collections::{BTreeMap, BTreeSet};
use zkinfer_circuits::quantize::profile::TensorError;

/// One layer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layer {
    /// What computes it.
    pub(super) op: String,
    /// ONNX names of its nodes, in order.
    pub(super) names: Vec<String>,
    /// Its tensors, in order.
    pub(super) tensors: Vec<usize>,
    /// Layers it reads.
    pub(super) inputs: Vec<usize>,
    /// Rows that belong to it.
    pub(super) rows: usize,
    /// How far its last tensor that has a float tensor is from it.
    pub(super) error: Option<LayerError>,
}

/// How far a layer is from the float model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LayerError {
    /// Of the tensor.
    pub(super) of: TensorError,
    /// Real value of one step, where there is one scale.
    pub(super) step: Option<f64>,
}

impl LayerError {
    /// The mean error as a share of the tensor's range.
    pub(super) fn share(&self) -> f64 {
        let range = self.of.range[1] - self.of.range[0];
        if range > 0.0 {
            self.of.mean / range
        } else {
            0.0
        }
    }
}

impl Layer {
    /// Its names in one line.
    pub(super) fn title(&self) -> String {
        match self.names.as_slice() {
            [only] => only.clone(),
            [first, .., last] => format!("{first} … {last}"),
            [] => String::new(),
        }
    }
}

/// The layers of a model in topological order of their first tensors; rows of no layer are left to the caller.
pub(super) fn layers(
    tensors: &[TensorFacts],
    cost: &Cost,
    errors: &[Option<TensorError>],
) -> Vec<Layer> {
    let owner = owners(tensors);
    let rows: BTreeMap<&str, usize> =
        cost.by_node
            .iter()
            .fold(BTreeMap::new(), |mut rows, (name, n)| {
                *rows.entry(name.as_str()).or_default() += n;
                rows
            });
    let mut layers: Vec<Layer> = Vec::new();
    let mut number: BTreeMap<usize, usize> = BTreeMap::new();
    for (tensor, facts) in tensors.iter().enumerate() {
        let id = *number.entry(owner[tensor]).or_insert_with(|| {
            layers.push(Layer {
                op: facts.op.to_owned(),
                names: vec![],
                tensors: vec![],
                inputs: vec![],
                rows: 0,
                error: None,
            });
            layers.len() - 1
        });
        let read: Vec<usize> = facts.inputs.iter().map(|&t| number[&owner[t]]).collect();
        let layer = &mut layers[id];
        layer.tensors.push(tensor);
        if !layer.names.contains(&facts.name) {
            layer.names.push(facts.name.clone());
            // names of one layer are in no other
            layer.rows += rows.get(facts.name.as_str()).copied().unwrap_or(0);
        }
        for from in read {
            if from != id && !layer.inputs.contains(&from) {
                layer.inputs.push(from);
            }
        }
        if let Some(of) = errors.get(tensor).copied().flatten() {
            let step = facts.quantization.map(|q| q.scale);
            layer.error = Some(LayerError { of, step });
        }
    }
    layers
}

/// Rows of names that no tensor bears.
pub(super) fn rows_of_no_layer(tensors: &[TensorFacts], cost: &Cost) -> usize {
    let names: BTreeSet<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
    let others = cost
        .by_node
        .iter()
        .filter(|(name, _)| !names.contains(name.as_str()));
    others.map(|(_, rows)| rows).sum()
}

/// For every tensor, the first tensor of its layer.
fn owners(tensors: &[TensorFacts]) -> Vec<usize> {
    let mut readers = vec![0usize; tensors.len()];
    for input in tensors.iter().flat_map(|t| &t.inputs) {
        readers[*input] += 1;
    }
    let mut sets = Sets((0..tensors.len()).collect());
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    for (tensor, facts) in tensors.iter().enumerate() {
        if let (true, [from]) = (facts.op == "Requantize", facts.inputs.as_slice())
            && readers[*from] == 1
            && tensors[*from].op != "Input"
        {
            sets.join(*from, tensor);
        }
        match named.get(facts.name.as_str()) {
            Some(&other) => sets.join(other, tensor),
            None => drop(named.insert(&facts.name, tensor)),
        }
    }
    (0..tensors.len()).map(|t| sets.find(t)).collect()
}

/// Disjoint sets, each known by its least member.
struct Sets(Vec<usize>);

impl Sets {
    fn find(&mut self, mut x: usize) -> usize {
        while self.0[x] != x {
            self.0[x] = self.0[self.0[x]];
            x = self.0[x];
        }
        x
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, op: &'static str, inputs: &[usize]) -> TensorFacts {
        TensorFacts {
            name: name.to_owned(),
            op,
            inputs: inputs.to_vec(),
            shape: vec![1],
            interval: [0, 1],
            quantization: None,
            integers: None,
        }
    }

    fn cost(by_node: &[(&str, usize)]) -> Cost {
        Cost {
            system: String::new(),
            unit: "constraints",
            by_node: by_node
                .iter()
                .map(|&(n, rows)| (n.to_owned(), rows))
                .collect(),
            shared: vec![],
            figures: vec![],
        }
    }

    #[test]
    fn a_requantization_belongs_to_what_it_requantizes() {
        let tensors = [
            tensor("x", "Input", &[]),
            tensor("linear", "Linear", &[0]),
            tensor("clamp", "Requantize", &[1]),
            tensor("add", "Add", &[2, 0]),
            tensor("add", "Requantize", &[3]),
        ];
        let cost = cost(&[("x", 1), ("clamp", 20), ("add", 300), ("gone", 7)]);
        let layers = layers(&tensors, &cost, &[None; 5]);
        let shown: Vec<_> = layers
            .iter()
            .map(|l| (l.op.as_str(), l.title(), l.rows, l.inputs.clone()))
            .collect();
        assert_eq!(
            shown,
            [
                ("Input", "x".to_owned(), 1, vec![]),
                ("Linear", "linear … clamp".to_owned(), 20, vec![0]),
                ("Add", "add".to_owned(), 300, vec![1, 0]),
            ]
        );
        assert_eq!(rows_of_no_layer(&tensors, &cost), 7);
    }

    #[test]
    fn nodes_of_one_name_are_one_layer() {
        let tensors = [
            tensor("x", "Input", &[]),
            tensor("a", "Window", &[0]),
            tensor("b", "Window", &[1]),
            tensor("a", "Window", &[2]),
        ];
        let layers = layers(&tensors, &cost(&[("a", 5), ("b", 3)]), &[None; 4]);
        assert_eq!(layers.iter().map(|l| l.rows).collect::<Vec<_>>(), [0, 5, 3]);
        assert_eq!(
            layers[1].inputs,
            [0, 2],
            "a loop between layers is kept as it is"
        );
    }
}
