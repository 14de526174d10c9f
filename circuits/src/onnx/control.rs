//! Control flow that the file fixes: a Loop whose number of steps follows from constants and fixed shapes becomes its steps, as tf2onnx writes recurrent
//! layers of Keras, and an If whose condition does becomes its branch. Others stay, and are refused.
//!
//! What decides is computed here on few integers, truth values and float32 numbers, as onnxruntime does; anything that could differ there is unknown.

mod known;

use super::ImportError;
use super::operators::standard;
use super::proto::node_name;
use super::quantized::refuse;
use known::{Knowledge, Known};
use std::collections::HashMap;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, attribute_proto};

/// Most nodes that all steps and branches of a file have together; a step counts as one more, and so does what it passes on.
const MAX_NODES: usize = 1 << 16;
/// Most bytes of those nodes: of their attributes and of all names.
const MAX_BYTES: usize = 1 << 26;

/// Rewrites what is fixed; `set` is the version of ONNX's own operators.
pub(super) fn rewrite(graph: &mut GraphProto, set: i64) -> Result<(), ImportError> {
    if !graph.node.iter().any(is_control) {
        return Ok(());
    }
    let mut rewrite = Rewrite {
        set,
        known: Knowledge::of(graph),
        scopes: vec![],
        nodes: vec![],
        initializers: vec![],
        n_nodes: 0,
        n_bytes: 0,
    };
    for node in std::mem::take(&mut graph.node) {
        rewrite.node(node, None)?;
    }
    graph.node = rewrite.nodes;
    graph.initializer.append(&mut rewrite.initializers);
    Ok(())
}

fn is_control(node: &NodeProto) -> bool {
    standard(&node.domain).is_empty() && ["Loop", "If"].contains(&node.op_type.as_str())
}

/// The rewriting under way.
struct Rewrite {
    set: i64,
    known: Knowledge,
    /// What the names of the bodies around a node have become, the innermost last.
    scopes: Vec<HashMap<String, String>>,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    n_nodes: usize,
    n_bytes: usize,
}

impl Rewrite {
    /// What a name has become.
    fn resolved(&self, name: &str) -> String {
        let found = self.scopes.iter().rev().find_map(|scope| scope.get(name));
        found.map_or_else(|| name.to_owned(), Clone::clone)
    }

    /// A node of the file, or of a body whose names begin with `prefix` from now on.
    fn node(&mut self, mut node: NodeProto, prefix: Option<&str>) -> Result<(), ImportError> {
        if let Some(prefix) = prefix {
            if !is_control(&node) && node.attribute.iter().any(|a| a.g.is_some()) {
                let reason = "a body within a Loop or an If; expected only Loop or If there";
                return Err(refuse(&node, reason));
            }
            node.name = format!("{prefix}.{}", node_name(&node));
            for input in node.input.iter_mut().filter(|name| !name.is_empty()) {
                *input = self.resolved(input);
            }
            for output in node.output.iter_mut().filter(|name| !name.is_empty()) {
                let renamed = format!("{prefix}.{output}");
                if let Some(scope) = self.scopes.last_mut() {
                    scope.insert(std::mem::take(output), renamed.clone());
                }
                *output = renamed;
            }
            self.count(&node, 1, weight(&node))?;
        }
        match node.op_type.as_str() {
            "Loop" if is_control(&node) => self.steps(&node),
            "If" if is_control(&node) => self.branch(&node),
            _ => {
                self.known.learn(&node);
                self.nodes.push(node);
                Ok(())
            }
        }
    }

    fn count(
        &mut self,
        node: &NodeProto,
        n_nodes: usize,
        n_bytes: usize,
    ) -> Result<(), ImportError> {
        self.n_nodes = self.n_nodes.saturating_add(n_nodes);
        self.n_bytes = self.n_bytes.saturating_add(n_bytes);
        if self.n_nodes > MAX_NODES || self.n_bytes > MAX_BYTES {
            let reason = format!(
                "the steps have more than {MAX_NODES} nodes or {MAX_BYTES} bytes together; expected fewer steps"
            );
            return Err(refuse(node, reason));
        }
        Ok(())
    }

    /// Makes the initializers of a body those of the file, once for all steps, and its Constants, which are like them.
    fn constants(
        &mut self,
        of: &NodeProto,
        body: &GraphProto,
        prefix: &str,
    ) -> Result<HashMap<String, String>, ImportError> {
        // those of the file's own loops are moved, once
        let nested = !self.scopes.is_empty();
        let mut scope = HashMap::new();
        let constants = body.node.iter().filter(|n| n.op_type == "Constant");
        for node in constants.filter(|n| standard(&n.domain).is_empty()) {
            let mut node = node.clone();
            node.name = format!("{prefix}.{}", node_name(&node));
            for output in &mut node.output {
                let renamed = format!("{prefix}.{output}");
                scope.insert(std::mem::take(output), renamed.clone());
                *output = renamed;
            }
            if nested {
                self.count(of, 1, weight(&node))?;
            }
            self.known.learn(&node);
            self.nodes.push(node);
        }
        for tensor in &body.initializer {
            if nested {
                self.count(of, 1, data(tensor) + tensor.name.len() + prefix.len())?;
            }
            let mut tensor = tensor.clone();
            let renamed = format!("{prefix}.{}", tensor.name);
            scope.insert(std::mem::take(&mut tensor.name), renamed.clone());
            tensor.name = renamed;
            self.keep(tensor);
        }
        Ok(scope)
    }

    fn keep(&mut self, tensor: TensorProto) -> String {
        let name = tensor.name.clone();
        self.known.learn_tensor(&tensor);
        self.initializers.push(tensor);
        name
    }

    fn integers(&mut self, name: String, dims: &[i64], values: Vec<i64>) -> String {
        self.keep(TensorProto {
            name,
            dims: dims.to_vec(),
            data_type: DataType::Int64 as i32,
            int64_data: values,
            ..TensorProto::default()
        })
    }

    /// The nodes of a body in `scope`; what its outputs have become.
    fn body(
        &mut self,
        body: &GraphProto,
        scope: HashMap<String, String>,
        prefix: &str,
    ) -> Result<Vec<String>, ImportError> {
        self.scopes.push(scope);
        for node in &body.node {
            let is_constant = node.op_type == "Constant" && standard(&node.domain).is_empty();
            if !is_constant {
                self.node(node.clone(), Some(prefix))?;
            }
        }
        let outputs = body.output.iter().map(|o| self.resolved(&o.name)).collect();
        self.scopes.pop();
        Ok(outputs)
    }

    /// A node that passes a tensor on under another name.
    fn pass(&mut self, from: &str, to: &str) {
        let node = NodeProto {
            name: to.to_owned(),
            op_type: "Identity".to_owned(),
            input: vec![from.to_owned()],
            output: vec![to.to_owned()],
            ..NodeProto::default()
        };
        self.known.learn(&node);
        self.nodes.push(node);
    }

    fn branch(&mut self, node: &NodeProto) -> Result<(), ImportError> {
        let condition = node.input.first().map(|name| self.known.get(name));
        let Some(&[condition]) = condition.flatten().and_then(Known::truths) else {
            let reason = "a computed condition; expected one that follows from constants, or Where on both branches";
            return Err(refuse(node, reason));
        };
        let branch = if condition {
            "then_branch"
        } else {
            "else_branch"
        };
        let body = body_of(node, branch)?;
        if body.output.len() != node.output.len() {
            let (expected, got) = (node.output.len(), body.output.len());
            let reason = format!("{got} outputs of {branch}; expected {expected}");
            return Err(refuse(node, reason));
        }
        let prefix = format!("{}.{branch}", node_name(node));
        let scope = self.constants(node, body, &prefix)?;
        let made = self.body(body, scope, &prefix)?;
        for (from, to) in made.iter().zip(&node.output) {
            if !to.is_empty() {
                self.pass(from, to);
            }
        }
        Ok(())
    }

    fn steps(&mut self, node: &NodeProto) -> Result<(), ImportError> {
        let name = node_name(node);
        let body = body_of(node, "body")?;
        let carried = node.input.len().saturating_sub(2);
        let collected = node.output.len().checked_sub(carried);
        let ports = (body.input.len(), body.output.len());
        let Some(collected) = collected.filter(|n| ports == (carried + 2, carried + 1 + n)) else {
            let reason = format!(
                "a body of {} inputs and {} outputs, {} inputs and {} outputs of its own; expected two inputs and one output more in the body than are carried from step to step, and what is collected",
                ports.0,
                ports.1,
                node.input.len(),
                node.output.len()
            );
            return Err(refuse(node, reason));
        };
        let given = |at: usize| node.input.get(at).filter(|name| !name.is_empty());
        let computed = |what: &str| {
            let reason = format!(
                "{what} is computed; expected one that follows from constants and fixed shapes"
            );
            refuse(node, reason)
        };
        let most = match given(0).map(|name| self.known.get(name)) {
            None => None,
            Some(Some(Known::Integers(n))) if n.len() == 1 => Some(n[0]),
            Some(_) => return Err(computed("the number of steps")),
        };
        let mut goes_on = match given(1).map(|name| self.known.get(name)) {
            None => true,
            Some(Some(Known::Truths(t))) if t.len() == 1 => t[0],
            Some(_) => return Err(computed("the condition")),
        };
        let asked = given(1).is_some();
        let outer = self.constants(node, body, &name)?;
        self.scopes.push(outer);
        let always = self.keep(TensorProto {
            name: format!("{name}.condition"),
            data_type: DataType::Bool as i32,
            int32_data: vec![1],
            ..TensorProto::default()
        });
        let mut values: Vec<String> = node.input.iter().skip(2).cloned().collect();
        let mut parts: Vec<Vec<String>> = vec![vec![]; collected];
        let ports = body.input.iter().chain(&body.output);
        let names: usize = ports.map(|port| port.name.len()).sum();
        let mut step = 0;
        while goes_on && most.is_none_or(|most| step < most) {
            let prefix = format!("{name}.{step}");
            let n_ports = body.input.len() + body.output.len();
            self.count(node, n_ports, names + n_ports * prefix.len())?;
            let number = self.integers(format!("{prefix}.step"), &[], vec![step]);
            let made = [number, always.clone()].into_iter().chain(values);
            let inputs = body.input.iter().map(|input| input.name.clone());
            let scope = inputs.zip(made).collect();
            let made = self.body(body, scope, &prefix)?;
            let (condition, made) = made.split_first().ok_or_else(|| computed("nothing"))?;
            let Some(&[condition]) = self.known.get(condition).and_then(Known::truths) else {
                return Err(computed("the condition of a step"));
            };
            if !condition && !asked {
                // ONNX goes on, onnxruntime stops
                let reason =
                    "a condition that ends it beside none that it is given; expected both or none";
                return Err(refuse(node, reason));
            }
            goes_on = condition;
            let (carries, collects) = made.split_at(carried);
            values = carries.to_vec();
            for (at, (parts, part)) in parts.iter_mut().zip(collects).enumerate() {
                let row = format!("{prefix}.{at}.row");
                self.row(part, &row);
                parts.push(row);
            }
            step += 1;
        }
        self.scopes.pop();
        let (last, all) = node.output.split_at(carried);
        for (from, to) in values.iter().zip(last).filter(|(_, to)| !to.is_empty()) {
            self.pass(from, to);
        }
        for (parts, to) in parts.into_iter().zip(all) {
            if to.is_empty() {
                continue;
            }
            if parts.is_empty() {
                return Err(refuse(node, "no step whose results could be collected"));
            }
            self.nodes.push(NodeProto {
                name: to.clone(),
                op_type: "Concat".to_owned(),
                input: parts,
                output: vec![to.clone()],
                attribute: vec![ints("axis", attribute_proto::AttributeType::Int, &[0])],
                ..NodeProto::default()
            });
        }
        Ok(())
    }

    /// A tensor with one more axis, the first.
    fn row(&mut self, from: &str, to: &str) {
        let mut node = NodeProto {
            name: to.to_owned(),
            op_type: "Unsqueeze".to_owned(),
            input: vec![from.to_owned()],
            output: vec![to.to_owned()],
            ..NodeProto::default()
        };
        if self.set < 13 {
            let axes = ints("axes", attribute_proto::AttributeType::Ints, &[0]);
            node.attribute.push(axes);
        } else {
            let axes = self.integers(format!("{to}.axes"), &[1], vec![0]);
            node.input.push(axes);
        }
        self.nodes.push(node);
    }
}

fn ints(name: &str, kind: attribute_proto::AttributeType, values: &[i64]) -> AttributeProto {
    let mut attribute = AttributeProto {
        name: name.to_owned(),
        r#type: kind.into(),
        ..AttributeProto::default()
    };
    match (kind, values) {
        (attribute_proto::AttributeType::Int, &[value]) => attribute.i = value,
        _ => attribute.ints = values.to_vec(),
    }
    attribute
}

fn body_of<'n>(node: &'n NodeProto, name: &str) -> Result<&'n GraphProto, ImportError> {
    let attribute = node.attribute.iter().find(|a| a.name == name);
    let body = attribute.and_then(|a| a.g.as_ref());
    body.ok_or_else(|| refuse(node, format!("no {name}")))
}

/// Bytes of a node, about: its names, its attributes and the bodies in them.
fn weight(node: &NodeProto) -> usize {
    let names = node.input.iter().chain(&node.output).chain([&node.name]);
    let attributes = node.attribute.iter().map(|attribute| {
        let tensors = attribute.t.iter().chain(&attribute.tensors);
        let bodies = attribute.g.iter().chain(&attribute.graphs);
        let body = |graph: &GraphProto| {
            let ports = graph.input.iter().chain(&graph.output);
            graph.node.iter().map(weight).sum::<usize>()
                + graph.initializer.iter().map(data).sum::<usize>()
                + ports.map(|port| port.name.len()).sum::<usize>()
        };
        tensors.map(data).sum::<usize>()
            + bodies.map(body).sum::<usize>()
            + 8 * (attribute.floats.len() + attribute.ints.len())
            + attribute.s.len()
            + attribute.strings.iter().map(Vec::len).sum::<usize>()
    });
    names.map(String::len).sum::<usize>() + attributes.sum::<usize>()
}

/// Bytes of a tensor, about.
fn data(tensor: &TensorProto) -> usize {
    tensor.raw_data.len()
        + 8 * (tensor.float_data.len() + tensor.int32_data.len() + tensor.int64_data.len())
        + 8 * (tensor.double_data.len() + tensor.uint64_data.len())
        + tensor.string_data.iter().map(Vec::len).sum::<usize>()
        + tensor.dims.len() * 8
}
