//! Graphs that are already quantized, rewritten on the protobuf to float operators between quantization marks.
//!
//! * An integer operator (QLinearConv, QGemm, …) becomes its float operator on dequantized tensors, followed by a mark.
//! * DequantizeLinear of a constant becomes a constant of the real products; its scales and integers are remembered by the
//!   node that reads it ([`Given`]), and planning takes them back.
//! * Clip of integers becomes a second mark, with a narrower range.
//! * QuantizeLinear of an activation becomes a [`mark`](mark::Mark): rounding, saturation and the scale that planning must use.
//!   DequantizeLinear of its result is the identity: every tensor of the rewritten graph holds real numbers.

mod computed;
mod constant;
pub(super) mod mark;
mod operators;

use super::ImportError;
use super::operators::{self as listed, standard};
use super::proto::tensor_type;
use constant::{Constant, Integers};
use std::collections::{BTreeMap, HashMap, HashSet};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, type_proto};

/// Domain of onnxruntime's own operators.
const MICROSOFT: &str = "com.microsoft";

/// Operators that move integers or choose among them, and so keep their scale.
const KEEP_SCALE: &[&str] = &[
    "Concat",
    "Flatten",
    "GlobalMaxPool",
    "Identity",
    "MaxPool",
    "Reshape",
    "Slice",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// Integers that a layer's constants stand for.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// Scale of the weights: one, or one per output channel.
    pub weight_scales: Vec<f64>,
    /// Integers of the bias.
    pub bias: Option<Vec<i32>>,
    /// Whether a bias of real numbers is rounded to a whole number of products.
    pub rounds_bias: bool,
}

impl Given {
    /// The layer is multiplied by `factors` and `offsets` are added, both per output channel.
    pub(super) fn scale(&mut self, factors: &[f32], offsets: &[f32]) {
        let n = self.weight_scales.len().max(factors.len());
        let at = |c: usize| {
            let factor = f64::from(factors[c % factors.len()]);
            self.weight_scales[c % self.weight_scales.len()] * factor
        };
        self.weight_scales = (0..n).map(at).collect();
        if offsets.iter().any(|&o| o != 0.0) {
            self.bias = None;
        }
    }
}

/// Scale, zero point and range of an integer tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scheme {
    pub(super) scale: f32,
    pub(super) zero_point: i32,
    pub(super) lo: i32,
    pub(super) hi: i32,
}

/// Whether the operator is one of [`QUANTIZED`](listed::QUANTIZED), or refused here with its reason.
pub(super) fn is_quantized(node: &NodeProto) -> bool {
    let domain = standard(&node.domain);
    node.op_type == "DynamicQuantizeLinear" || listed::is_quantized(domain, &node.op_type)
}

/// Rewrites the graph; returns what is given for the layers, by node name, or `None` when nothing in it is quantized.
pub(super) fn rewrite(
    graph: &mut GraphProto,
) -> Result<Option<BTreeMap<String, Given>>, ImportError> {
    if !graph.node.iter().any(is_quantized) {
        return Ok(None);
    }
    let mut rewrite = Rewrite {
        to_quantize: to_quantize(graph),
        ..Rewrite::default()
    };
    for tensor in &graph.initializer {
        rewrite.constants.insert(
            tensor.name.clone(),
            Constant::File(Box::new(tensor.clone())),
        );
    }
    for input in &mut graph.input {
        rewrite.declare_input(input);
    }
    for node in std::mem::take(&mut graph.node) {
        rewrite.node(node)?;
    }
    for input in &mut graph.input {
        if rewrite.inputs.get(&input.name) == Some(&true)
            && let Some(type_proto::Value::TensorType(tensor)) =
                input.r#type.as_mut().and_then(|t| t.value.as_mut())
        {
            tensor.elem_type = DataType::Float as i32;
        }
    }
    let made = |name: &String| rewrite.real.contains_key(name);
    graph.initializer.retain(|t| !made(&t.name));
    graph.initializer.append(&mut rewrite.initializers);
    graph.node = rewrite.nodes;
    Ok(Some(rewrite.given))
}

/// The tensors that only a QuantizeLinear reads, also through a rectifier.
fn to_quantize(graph: &GraphProto) -> HashSet<String> {
    let mut readers: HashMap<&str, usize> = HashMap::new();
    let read = graph.node.iter().flat_map(|node| &node.input);
    for name in read.chain(graph.output.iter().map(|output| &output.name)) {
        *readers.entry(name).or_default() += 1;
    }
    let mut found = HashSet::new();
    for node in graph.node.iter().rev() {
        let passes = match node.op_type.as_str() {
            "QuantizeLinear" => true,
            "Clip" | "Relu" => node.output.first().is_some_and(|y| found.contains(y)),
            _ => false,
        };
        if let (Some(x), true) = (node.input.first(), passes)
            && readers.get(x.as_str()) == Some(&1)
        {
            found.insert(x.clone());
        }
    }
    found
}

/// The rewriting under way.
#[derive(Default)]
struct Rewrite {
    /// Constants of the file, by name.
    constants: HashMap<String, Constant>,
    /// Integer tensors that depend on an input; in the rewritten graph the name holds real numbers.
    integers: HashMap<String, Scheme>,
    /// Integer inputs, and whether one was given a scale.
    inputs: HashMap<String, bool>,
    /// Real constants that were made from integers.
    real: HashMap<String, Integers>,
    initializers: Vec<TensorProto>,
    /// Real tensors that were integers a moment ago.
    dequantized: HashSet<String>,
    /// Real tensors that become integers and are nothing else.
    to_quantize: HashSet<String>,
    /// Elements of the constants that were computed.
    computed: usize,
    nodes: Vec<NodeProto>,
    given: BTreeMap<String, Given>,
}

/// An error at a node.
pub(super) fn refuse(node: &NodeProto, reason: impl Into<String>) -> ImportError {
    ImportError::Unsupported {
        node: super::proto::node_name(node),
        op: listed::name_of(node),
        reason: reason.into(),
    }
}

impl Rewrite {
    fn declare_input(&mut self, input: &tract_onnx::pb::ValueInfoProto) {
        let Some(tensor) = tensor_type(input) else {
            return;
        };
        let integer = [DataType::Uint8, DataType::Int8].map(|t| t as i32);
        if integer.contains(&tensor.elem_type) && !self.constants.contains_key(&input.name) {
            self.inputs.insert(input.name.clone(), false);
        }
    }

    fn node(&mut self, node: NodeProto) -> Result<(), ImportError> {
        let domain = standard(&node.domain).to_owned();
        match (domain.as_str(), node.op_type.as_str()) {
            (_, "DynamicQuantizeLinear") => Err(refuse(
                &node,
                "its scale depends on the input, so the meaning of the integers would not be fixed before the proof; quantize the model statically",
            )),
            ("", "Constant") => {
                self.constant(&node)?;
                self.nodes.push(node);
                Ok(())
            }
            ("" | MICROSOFT, "QuantizeLinear") => self.quantize_linear(node),
            ("" | MICROSOFT, "DequantizeLinear") => self.dequantize_linear(node),
            (domain, op) if listed::is_quantized(domain, op) => self.integer_operator(node),
            ("", "Clip") if self.reads_integers(&node) => self.clip(node),
            _ => self.float_operator(node),
        }
    }

    /// Remembers the value of a Constant node.
    fn constant(&mut self, node: &NodeProto) -> Result<(), ImportError> {
        let value = node.attribute.iter().find(|a| a.name == "value");
        if let (Some(tensor), Some(name)) = (value.and_then(|a| a.t.as_ref()), node.output.first())
        {
            self.constants
                .insert(name.clone(), Constant::File(Box::new(tensor.clone())));
        }
        let scalar = |name: &str| node.attribute.iter().find(|a| a.name == name);
        if let (Some(value), Some(name)) = (scalar("value_float"), node.output.first()) {
            let tensor = constant::floats(name, &[], vec![value.f]);
            self.constants
                .insert(name.clone(), Constant::File(Box::new(tensor)));
        }
        Ok(())
    }

    /// QuantizeLinear: integers of a constant, or a mark.
    fn quantize_linear(&mut self, node: NodeProto) -> Result<(), ImportError> {
        let [x, output] = [node.input.first(), node.output.first()];
        let (Some(x), Some(output)) = (x.cloned(), output.cloned()) else {
            return Err(refuse(&node, "it has no input or no output"));
        };
        if let Some(constant) = self.constants.get(&x) {
            let values = constant.floats(&node, &x)?;
            let scales = self.scales(&node, 1, 2, attribute(&node, "axis").unwrap_or(1))?;
            let integers = values.quantize(&node, &scales)?;
            self.constants.insert(output, Constant::Integers(integers));
            return Ok(());
        }
        let scheme = self.scheme(&node, 1, 2)?;
        self.mark(&node, node_name(&node), x, output, scheme);
        Ok(())
    }

    /// DequantizeLinear: a real constant, or nothing at all.
    fn dequantize_linear(&mut self, mut node: NodeProto) -> Result<(), ImportError> {
        let [x, output] = [node.input.first(), node.output.first()];
        let (Some(x), Some(output)) = (x.cloned(), output.cloned()) else {
            return Err(refuse(&node, "it has no input or no output"));
        };
        if self.constants.contains_key(&x) {
            let axis = attribute(&node, "axis").unwrap_or(1);
            let scales = self.scales(&node, 1, 2, axis)?;
            return self.dequantize(&node, &x, &scales, output);
        }
        let scheme = self.scheme(&node, 1, 2)?;
        let x = self.activation(&node, &x, scheme)?;
        self.dequantized.insert(output);
        node.op_type = "Identity".to_owned();
        node.domain.clear();
        node.attribute.clear();
        node.input = vec![x];
        self.nodes.push(node);
        Ok(())
    }

    /// The name of the real tensor that an integer activation stands for; its scale must be the one it was made with.
    fn activation(
        &mut self,
        node: &NodeProto,
        name: &str,
        scheme: Scheme,
    ) -> Result<String, ImportError> {
        if self.inputs.get(name) == Some(&false) {
            self.inputs.insert(name.to_owned(), true);
            self.integers.insert(name.to_owned(), scheme);
            let marked = format!("{name}.quantized");
            self.mark(node, marked.clone(), name.to_owned(), marked, scheme);
        }
        let reads = if self.inputs.contains_key(name) {
            format!("{name}.quantized")
        } else {
            name.to_owned()
        };
        match self.integers.get(name) {
            Some(made) if made.is_read_as(&scheme) => Ok(reads),
            Some(made) => Err(refuse(
                node,
                format!(
                    "`{name}` is read with scale {} and zero point {}, but was made with {} and {}; expected one quantization of a tensor",
                    scheme.scale, scheme.zero_point, made.scale, made.zero_point
                ),
            )),
            None => Err(refuse(
                node,
                format!("`{name}` is not an integer tensor that an earlier node quantized"),
            )),
        }
    }

    /// Adds a mark that makes the integers `output` of the real tensor `x`.
    fn mark(&mut self, node: &NodeProto, name: String, x: String, output: String, scheme: Scheme) {
        let float = |name: &str, value| AttributeProto {
            name: name.to_owned(),
            r#type: AttributeType::Float as i32,
            f: value,
            ..AttributeProto::default()
        };
        let integer = |name: &str, value: i32| AttributeProto {
            name: name.to_owned(),
            r#type: AttributeType::Int as i32,
            i: value.into(),
            ..AttributeProto::default()
        };
        self.nodes.push(NodeProto {
            input: vec![x],
            output: vec![output.clone()],
            name,
            op_type: mark::NAME.to_owned(),
            attribute: vec![
                float("scale", scheme.scale),
                integer("zero_point", scheme.zero_point),
                integer("lo", scheme.lo),
                integer("hi", scheme.hi),
            ],
            doc_string: node.doc_string.clone(),
            ..NodeProto::default()
        });
        self.integers.insert(output, scheme);
    }

    /// An operator on real numbers, or one that keeps the scale of integers.
    fn float_operator(&mut self, mut node: NodeProto) -> Result<(), ImportError> {
        let scheme = node
            .input
            .iter()
            .find_map(|i| self.integers.get(i))
            .copied();
        let marked = |name: &String| self.integers.contains_key(name);
        // the first input decides; indices and shapes of the others are not activations
        let data = if node.op_type == "Concat" {
            node.input.len()
        } else {
            1
        };
        let reads_integers = node.input.iter().take(data).any(marked);
        if let (Some(scheme), true) = (scheme, reads_integers) {
            self.keep_scale(&mut node, data, scheme)?;
        } else {
            self.remember_constants(&node)?;
            self.follow_constant(&node);
            self.follow_dequantized(&node);
            if standard(&node.domain).is_empty() {
                self.compute(&node);
            }
        }
        self.nodes.push(node);
        Ok(())
    }

    fn keep_scale(
        &mut self,
        node: &mut NodeProto,
        data: usize,
        scheme: Scheme,
    ) -> Result<(), ImportError> {
        // the outputs of ConvInteger and MatMulInteger are cast before they are scaled
        let to = attribute(node, "to");
        let cast = node.op_type == "Cast" && to == Some(DataType::Float as i64);
        // PyTorch casts integers to the type they have
        let type_of = |t: i64| DataType::try_from(i32::try_from(t).ok()?).ok();
        let ends = to.and_then(type_of).and_then(constant::range);
        let fits = ends.is_some_and(|(lo, hi)| lo <= scheme.lo && scheme.hi <= hi);
        if node.op_type == "Cast" && fits {
            node.op_type = "Identity".to_owned();
            node.attribute.clear();
        }
        if !(KEEP_SCALE.contains(&node.op_type.as_str()) || cast && scheme == Scheme::UNIT) {
            return Err(refuse(
                node,
                "it reads quantized integers; expected a DequantizeLinear before it",
            ));
        }
        for input in node.input.iter().take(data) {
            if self.integers.get(input) != Some(&scheme) {
                return Err(refuse(
                    node,
                    "its inputs have different scales or zero points; expected one, or QLinearConcat",
                ));
            }
        }
        if !cast {
            for output in &node.output {
                self.integers.insert(output.clone(), scheme);
            }
        }
        for input in &mut node.input {
            if self.inputs.contains_key(input.as_str()) {
                input.push_str(".quantized");
            }
        }
        Ok(())
    }

    /// Remembers the integers of constant weights and biases by the node that reads them.
    fn remember_constants(&mut self, node: &NodeProto) -> Result<(), ImportError> {
        if !["Conv", "ConvTranspose", "Gemm", "MatMul"].contains(&node.op_type.as_str()) {
            return Ok(());
        }
        let integers = |i: usize| node.input.get(i).and_then(|name| self.real.get(name));
        let Some(weights) = integers(1).or_else(|| integers(0)) else {
            return Ok(());
        };
        let given = Given {
            weight_scales: weights.scales.iter().map(|&s| s.into()).collect(),
            bias: integers(2).map(|b| b.values.clone()),
            rounds_bias: self.between_marks(node),
        };
        self.remember(node, given)
    }

    /// Whether a layer stands between a DequantizeLinear and a QuantizeLinear: onnxruntime computes those in integers, with a bias of int32, and all
    /// others in float32, with the bias as it is.
    fn between_marks(&self, node: &NodeProto) -> bool {
        let is_in =
            |set: &HashSet<String>, name: Option<&String>| name.is_some_and(|n| set.contains(n));
        is_in(&self.dequantized, node.input.first())
            && is_in(&self.to_quantize, node.output.first())
    }

    /// What onnxruntime moves a DequantizeLinear over.
    fn follow_dequantized(&mut self, node: &NodeProto) {
        let moves = ["MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze"];
        let x = node.input.first();
        if moves.contains(&node.op_type.as_str()) && x.is_some_and(|x| self.dequantized.contains(x))
        {
            self.dequantized.extend(node.output.first().cloned());
        }
    }

    /// Weights that are moved before a layer reads them keep their scales.
    fn follow_constant(&mut self, node: &NodeProto) {
        let moved = [
            "Flatten",
            "Identity",
            "Reshape",
            "Squeeze",
            "Transpose",
            "Unsqueeze",
        ];
        let made = node.input.first().and_then(|x| self.real.get(x)).cloned();
        if let (Some(mut made), Some(output)) = (made, node.output.first())
            && moved.contains(&node.op_type.as_str())
        {
            if node.op_type == "Transpose" {
                // only a bias is read again as integers, and it has one dimension
                made.values.clear();
            }
            self.real.insert(output.clone(), made);
        }
    }

    fn remember(&mut self, node: &NodeProto, given: Given) -> Result<(), ImportError> {
        match self.given.insert(node_name(node), given) {
            None => Ok(()),
            Some(_) => Err(refuse(
                node,
                "two layers of the quantized model have this name; expected a name for each",
            )),
        }
    }
}

impl Scheme {
    /// Whether integers made with this scheme stand for the same numbers in another.
    fn is_read_as(&self, other: &Self) -> bool {
        let inside = other.lo <= self.lo && self.hi <= other.hi;
        self.scale == other.scale && self.zero_point == other.zero_point && inside
    }

    /// Integers that stand for themselves.
    const UNIT: Self = Self {
        scale: 1.0,
        zero_point: 0,
        lo: i32::MIN,
        hi: i32::MAX,
    };
}

/// The node's name, as in messages.
fn node_name(node: &NodeProto) -> String {
    super::proto::node_name(node)
}

/// An integer attribute.
fn attribute(node: &NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|a| a.name == name).map(|a| a.i)
}
