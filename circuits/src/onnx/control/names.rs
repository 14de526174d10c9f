//! The names of a file: what steps are called must not be one of them.

use super::super::proto::node_name;
use std::collections::HashSet;
use tract_onnx::pb::{GraphProto, NodeProto};

/// See the module.
pub(super) struct Names {
    /// Tensors that any node, body or port speaks of.
    mentioned: HashSet<String>,
    /// Nodes, as the parser takes them.
    nodes: HashSet<String>,
}

impl Names {
    /// Of a graph whose nodes are `nodes`.
    pub(super) fn of(graph: &GraphProto, nodes: &[NodeProto]) -> Self {
        let mut names = Self {
            mentioned: HashSet::new(),
            nodes: nodes.iter().map(node_name).collect(),
        };
        names.mention(graph);
        nodes.iter().for_each(|node| names.mention_node(node));
        names
    }

    fn mention(&mut self, graph: &GraphProto) {
        let ports = graph.input.iter().chain(&graph.output).map(|p| &p.name);
        let tensors = ports.chain(graph.initializer.iter().map(|t| &t.name));
        self.mentioned.extend(tensors.cloned());
        graph.node.iter().for_each(|node| self.mention_node(node));
    }

    fn mention_node(&mut self, node: &NodeProto) {
        let names = node.input.iter().chain(&node.output);
        self.mentioned.extend(names.cloned());
        let bodies = node.attribute.iter().filter_map(|a| a.g.as_ref());
        bodies.for_each(|body| self.mention(body));
    }

    /// Whether the file speaks of a tensor of this name.
    pub(super) fn is_mentioned(&self, tensor: &str) -> bool {
        self.mentioned.contains(tensor)
    }

    /// A name that no node has, this one if it can be.
    pub(super) fn unique(&mut self, mut node: String) -> String {
        while !self.nodes.insert(node.clone()) {
            node.push('\'');
        }
        node
    }
}
