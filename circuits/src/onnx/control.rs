//! Control flow that the file fixes: a Loop whose number of steps follows from constants and fixed shapes becomes its steps, as tf2onnx writes recurrent
//! layers of Keras, and an If whose condition does becomes its branch. Others stay, and are refused.
//!
//! What decides is computed here on few integers, truth values and float32 numbers, as onnxruntime does; anything that could differ there is unknown.

pub(super) mod known;
mod names;

use super::ImportError;
use super::operators::standard;
use super::proto::{node_name, tensor_type};
use super::quantized::refuse;
use known::{Knowledge, Known};
use names::Names;
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, attribute_proto,
};

/// Most nodes that all steps and branches of a file have together; a step counts as one more, and so does what it passes on.
const MAX_NODES: usize = 1 << 14;
/// Most bytes of those nodes: of their attributes and of all names.
const MAX_BYTES: usize = 1 << 26;

/// Rewrites what is fixed; `set` is the version of ONNX's own operators.
pub(super) fn rewrite(graph: &mut GraphProto, set: i64) -> Result<(), ImportError> {
    if !graph.node.iter().any(is_control) {
        return Ok(());
    }
    let nodes = std::mem::take(&mut graph.node);
    let mut rewrite = Rewrite {
        set,
        known: Knowledge::of(graph),
        names: Names::of(graph, &nodes),
        scopes: vec![],
        own: vec![],
        nodes: vec![],
        initializers: vec![],
        n_nodes: 0,
        n_bytes: 0,
    };
    for node in nodes {
        if is_control(&node) {
            let call = Call {
                name: node_name(&node),
                input: node.input.clone(),
                output: node.output.clone(),
            };
            rewrite.control(&node, &call)?;
        } else {
            rewrite.push(node);
        }
    }
    graph.node = rewrite.nodes;
    graph.initializer.append(&mut rewrite.initializers);
    Ok(())
}

fn is_control(node: &NodeProto) -> bool {
    standard(&node.domain).is_empty() && ["Loop", "If"].contains(&node.op_type.as_str())
}

fn is_constant(node: &NodeProto) -> bool {
    standard(&node.domain).is_empty() && node.op_type == "Constant"
}

/// What a Loop or an If is called, reads and makes once the names around it are resolved.
struct Call {
    name: String,
    input: Vec<String>,
    output: Vec<String>,
}

/// The rewriting under way.
struct Rewrite {
    set: i64,
    known: Knowledge,
    names: Names,
    /// What the names of the bodies around a node have become, the innermost last: of each body the constants, and the step.
    scopes: Vec<HashMap<String, String>>,
    /// What the nodes of these bodies make.
    own: Vec<HashSet<String>>,
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

    fn push(&mut self, node: NodeProto) {
        self.known.learn(&node);
        self.nodes.push(node);
    }

    /// Gives a name of a body its new one. Names of outer graphs may be hidden, but not be read before.
    fn define(&mut self, of: &NodeProto, name: &str, renamed: String) -> Result<(), ImportError> {
        if self.of_body(name).is_some() || self.names.is_mentioned(&renamed) {
            let reason = format!("`{name:.80}` is made twice, or is called as another tensor");
            return Err(refuse(of, reason));
        }
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_owned(), renamed);
        }
        Ok(())
    }

    /// What a name has become that the innermost body makes: its constants have a scope, and its step has.
    fn of_body(&self, name: &str) -> Option<&String> {
        let level = self.own.len().saturating_sub(1);
        self.of_level(level, name)
    }

    fn of_level(&self, level: usize, name: &str) -> Option<&String> {
        let scopes = self.scopes.iter().skip(2 * level).take(2);
        scopes.rev().find_map(|scope| scope.get(name))
    }

    /// What a name has become that a node of the innermost body reads.
    fn read(&self, of: &NodeProto, name: &str) -> Result<String, ImportError> {
        for (level, own) in self.own.iter().enumerate().rev() {
            if let Some(renamed) = self.of_level(level, name) {
                return Ok(renamed.clone());
            }
            if own.contains(name) {
                let reason = format!("`{name:.80}` is read before the body makes it");
                return Err(refuse(of, reason));
            }
        }
        Ok(name.to_owned())
    }

    /// A node of a body; names made there begin with `prefix`.
    fn inner(&mut self, of: &NodeProto, node: &NodeProto, prefix: &str) -> Result<(), ImportError> {
        let control = is_control(node);
        if !control && node.attribute.iter().any(|a| a.g.is_some()) {
            let reason = "a body within a Loop or an If; expected only Loop or If there";
            return Err(refuse(node, reason));
        }
        let input = node.input.iter().map(|name| self.read(of, name));
        let input = input.collect::<Result<Vec<_>, _>>()?;
        let mut output = Vec::with_capacity(node.output.len());
        for name in &node.output {
            if name.is_empty() {
                output.push(String::new());
                continue;
            }
            let renamed = format!("{prefix}.{name}");
            self.define(of, name, renamed.clone())?;
            output.push(renamed);
        }
        let name = self.names.unique(format!("{prefix}.{}", node_name(node)));
        if control {
            return self.control(
                node,
                &Call {
                    name,
                    input,
                    output,
                },
            );
        }
        self.push(NodeProto {
            name,
            input,
            output,
            op_type: node.op_type.clone(),
            domain: node.domain.clone(),
            attribute: node.attribute.iter().map(lean).collect(),
            ..NodeProto::default()
        });
        Ok(())
    }

    fn control(&mut self, node: &NodeProto, call: &Call) -> Result<(), ImportError> {
        match node.op_type.as_str() {
            "Loop" => self.steps(node, call),
            _ => self.branch(node, call),
        }
    }

    fn count(&mut self, of: &NodeProto, n_nodes: usize, n_bytes: usize) -> Result<(), ImportError> {
        self.n_nodes = self.n_nodes.saturating_add(n_nodes);
        self.n_bytes = self.n_bytes.saturating_add(n_bytes);
        if self.n_nodes > MAX_NODES || self.n_bytes > MAX_BYTES {
            let reason = format!(
                "the steps have more than {MAX_NODES} nodes or {MAX_BYTES} bytes together; expected fewer steps"
            );
            return Err(refuse(of, reason));
        }
        Ok(())
    }

    /// Makes the initializers of a body those of the file, once for all steps, and its Constants, which are like them: the innermost scope.
    fn constants(
        &mut self,
        of: &NodeProto,
        body: &GraphProto,
        prefix: &str,
    ) -> Result<(), ImportError> {
        // those of the file's own loops are made once
        let nested = !self.scopes.is_empty();
        if nested {
            self.count(of, body.node.len(), 0)?;
        }
        self.scopes.push(HashMap::new());
        let made = body.node.iter().flat_map(|n| &n.output);
        self.own
            .push(made.filter(|name| !name.is_empty()).cloned().collect());
        for node in body.node.iter().filter(|n| is_constant(n)) {
            if nested {
                self.count(of, 1, size_of(node, prefix))?;
            }
            self.inner(of, node, prefix)?;
        }
        for tensor in &body.initializer {
            if nested {
                self.count(of, 1, data(tensor) + tensor.name.len() + prefix.len())?;
            }
            let renamed = format!("{prefix}.{}", tensor.name);
            self.define(of, &tensor.name, renamed.clone())?;
            self.keep(TensorProto {
                name: renamed,
                ..lean_tensor(tensor)
            });
        }
        Ok(())
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

    /// The nodes of a body, whose ports become `ports`; what its outputs have become.
    fn body(
        &mut self,
        of: &NodeProto,
        body: &GraphProto,
        ports: impl Iterator<Item = String>,
        prefix: &str,
    ) -> Result<Vec<String>, ImportError> {
        self.scopes.push(HashMap::new());
        for (port, name) in body.input.iter().zip(ports) {
            if self.of_body(&port.name).is_some() {
                let reason = format!("`{:.80}` is made twice in the body", port.name);
                return Err(refuse(of, reason));
            }
            if let Some(scope) = self.scopes.last_mut() {
                scope.insert(port.name.clone(), name);
            }
        }
        for node in body.node.iter().filter(|n| !is_constant(n)) {
            self.count(of, 1, size_of(node, prefix))?;
            self.inner(of, node, prefix)?;
        }
        let outputs = body.output.iter().map(|o| self.resolved(&o.name)).collect();
        self.scopes.pop();
        Ok(outputs)
    }

    /// A node that passes a tensor on under another name.
    fn pass(&mut self, call: &Call, from: &str, to: &str) {
        let name = self.names.unique(format!("{}.{to}", call.name));
        self.push(NodeProto {
            name,
            op_type: "Identity".to_owned(),
            input: vec![from.to_owned()],
            output: vec![to.to_owned()],
            ..NodeProto::default()
        });
    }

    fn branch(&mut self, node: &NodeProto, call: &Call) -> Result<(), ImportError> {
        let condition = call.input.first().and_then(|name| self.known.get(name));
        let Some(condition) = condition.and_then(Known::truth) else {
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
        let n_outputs = call.output.len();
        let names: usize = call.output.iter().map(String::len).sum();
        self.count(
            node,
            n_outputs,
            n_outputs * (NODE + call.name.len()) + 3 * names,
        )?;
        let prefix = format!("{}.{branch}", call.name);
        self.constants(node, body, &prefix)?;
        let made = self.body(node, body, std::iter::empty(), &prefix)?;
        self.scopes.pop();
        self.own.pop();
        for (from, to) in made.iter().zip(&call.output) {
            if !to.is_empty() {
                self.pass(call, from, to);
            }
        }
        Ok(())
    }

    fn steps(&mut self, node: &NodeProto, call: &Call) -> Result<(), ImportError> {
        let name = &call.name;
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
        let given = |at: usize| call.input.get(at).filter(|name| !name.is_empty());
        let computed = |what: &str| {
            let reason = format!(
                "{what} is computed; expected one that follows from constants and fixed shapes"
            );
            refuse(node, reason)
        };
        let most = match given(0).map(|name| self.known.get(name)) {
            None => None,
            Some(known) => {
                let number = known.and_then(Known::number);
                Some(number.ok_or_else(|| computed("the number of steps"))?)
            }
        };
        let mut goes_on = match given(1).map(|name| self.known.get(name)) {
            None => true,
            Some(known) => {
                let truth = known.and_then(Known::truth);
                truth.ok_or_else(|| computed("the condition"))?
            }
        };
        let asked = given(1).is_some();
        // onnxruntime gives a body these with the axis that it declares
        let [of_step, of_condition] = [0, 1].map(|port| dims(&body.input[port]));
        let (Some(of_step), Some(of_condition)) = (of_step, of_condition) else {
            let reason = "a step or condition of several axes; expected none, or one";
            return Err(refuse(node, reason));
        };
        self.constants(node, body, name)?;
        let always = self.keep(TensorProto {
            name: format!("{name}.condition"),
            dims: of_condition,
            data_type: DataType::Bool as i32,
            int32_data: vec![1],
            ..TensorProto::default()
        });
        let mut values: Vec<String> = call.input.iter().skip(2).cloned().collect();
        let mut parts: Vec<Vec<String>> = vec![vec![]; collected];
        let ports = body.input.iter().chain(&body.output);
        let names: usize = ports.map(|port| port.name.len()).sum();
        let n_ports = body.input.len() + body.output.len();
        let mut step = 0;
        while goes_on && most.is_none_or(|most| step < most) {
            let prefix = format!("{name}.{step}");
            let bytes = names + n_ports * (NODE + 3 * prefix.len());
            self.count(node, n_ports, bytes)?;
            let number = self.integers(format!("{prefix}.step"), &of_step, vec![step]);
            let made = [number, always.clone()].into_iter().chain(values);
            let made = self.body(node, body, made, &prefix)?;
            let (condition, made) = made.split_first().ok_or_else(|| computed("nothing"))?;
            let condition = self.known.get(condition).and_then(Known::truth);
            let condition = condition.ok_or_else(|| computed("the condition of a step"))?;
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
        self.own.pop();
        let (last, all) = call.output.split_at(carried);
        for (from, to) in values.iter().zip(last).filter(|(_, to)| !to.is_empty()) {
            self.pass(call, from, to);
        }
        for (parts, to) in parts.into_iter().zip(all) {
            if to.is_empty() {
                continue;
            }
            if parts.is_empty() {
                return Err(refuse(node, "no step whose results could be collected"));
            }
            let name = self.names.unique(format!("{name}.{to}"));
            self.nodes.push(NodeProto {
                name,
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
            name: self.names.unique(to.to_owned()),
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

/// Bytes of a node without its parts, about.
const NODE: usize = 512;
/// Bytes of a name without its letters.
const NAME: usize = 32;

/// The axes of a step's number or condition, as a body declares it: none, or one.
fn dims(port: &ValueInfoProto) -> Option<Vec<i64>> {
    let shape = tensor_type(port).and_then(|tensor| tensor.shape.as_ref());
    match shape.map_or(0, |shape| shape.dim.len()) {
        0 => Some(vec![]),
        1 => Some(vec![1]),
        _ => None,
    }
}

/// What is read of an attribute that has no body.
fn lean(attribute: &AttributeProto) -> AttributeProto {
    AttributeProto {
        name: attribute.name.clone(),
        r#type: attribute.r#type,
        f: attribute.f,
        i: attribute.i,
        s: attribute.s.clone(),
        t: attribute.t.as_ref().map(lean_tensor),
        floats: attribute.floats.clone(),
        ints: attribute.ints.clone(),
        strings: attribute.strings.clone(),
        ..AttributeProto::default()
    }
}

/// What is read of a tensor but for its name.
fn lean_tensor(tensor: &TensorProto) -> TensorProto {
    TensorProto {
        dims: tensor.dims.clone(),
        data_type: tensor.data_type,
        float_data: tensor.float_data.clone(),
        int32_data: tensor.int32_data.clone(),
        string_data: tensor.string_data.clone(),
        int64_data: tensor.int64_data.clone(),
        raw_data: tensor.raw_data.clone(),
        double_data: tensor.double_data.clone(),
        uint64_data: tensor.uint64_data.clone(),
        data_location: tensor.data_location,
        ..TensorProto::default()
    }
}

/// Bytes of a node of a body, about; those of its own bodies are counted as their nodes are made.
fn size_of(node: &NodeProto, prefix: &str) -> usize {
    let names = node.input.iter().chain(&node.output);
    let names = names.map(|name| NAME + name.len() + prefix.len());
    let own = node_name(node).len() + prefix.len() + node.op_type.len() + node.domain.len();
    let attributes = node.attribute.iter().map(size);
    NODE + own + names.sum::<usize>() + attributes.sum::<usize>()
}

/// Bytes of what is read of an attribute, about.
fn size(attribute: &AttributeProto) -> usize {
    let strings = attribute.strings.iter().map(|s| NAME + s.len());
    NODE + attribute.name.len()
        + attribute.t.as_ref().map_or(0, data)
        + 8 * (attribute.floats.len() + attribute.ints.len())
        + attribute.s.len()
        + strings.sum::<usize>()
}

/// Bytes of a tensor, about.
fn data(tensor: &TensorProto) -> usize {
    NODE + tensor.raw_data.len()
        + 8 * (tensor.float_data.len() + tensor.int32_data.len() + tensor.int64_data.len())
        + 8 * (tensor.double_data.len() + tensor.uint64_data.len())
        + tensor
            .string_data
            .iter()
            .map(|s| NAME + s.len())
            .sum::<usize>()
        + tensor.dims.len() * 8
}
