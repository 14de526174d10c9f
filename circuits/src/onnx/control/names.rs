//! The names of a file: what steps are called must not be one of them.

use super::super::proto::node_name;
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::{GraphProto, NodeProto};

/// See the module.
pub(super) struct Names {
    /// Tensors that any node, body or port speaks of.
    mentioned: HashSet<String>,
    /// Nodes, as the parser takes them, each with how many asked for its name since.
    nodes: HashMap<String, usize>,
}

impl Names {
    /// Of a graph whose nodes are `nodes`.
    pub(super) fn of(graph: &GraphProto, nodes: &[NodeProto]) -> Self {
        let mut names = Self {
            mentioned: HashSet::new(),
            nodes: nodes.iter().map(|node| (node_name(node), 0)).collect(),
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
    pub(super) fn unique(&mut self, node: String) -> String {
        let Some(mut asked) = self.nodes.get(&node).copied() else {
            self.nodes.insert(node.clone(), 0);
            return node;
        };
        loop {
            asked += 1;
            let numbered = format!("{node}'{asked}");
            if !self.nodes.contains_key(&numbered) {
                self.nodes.insert(node, asked);
                self.nodes.insert(numbered.clone(), 0);
                return numbered;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_nodes_of_one_name_get_short_names_of_their_own() {
        let mut names = Names::of(&GraphProto::default(), &[]);
        let made: Vec<String> = (0..2000).map(|_| names.unique("node".to_owned())).collect();
        assert_eq!(made.iter().collect::<HashSet<_>>().len(), 2000);
        assert!(made.iter().all(|name| name.len() < 10), "{:?}", made.last());
        assert_eq!(made[0], "node");
    }

    #[test]
    fn a_name_with_a_number_is_not_taken_twice() {
        let nodes = ["node", "node'1"].map(|name| NodeProto {
            name: name.to_owned(),
            ..NodeProto::default()
        });
        let mut names = Names::of(&GraphProto::default(), &nodes);
        assert_eq!(names.unique("node".to_owned()), "node'2");
    }
}
