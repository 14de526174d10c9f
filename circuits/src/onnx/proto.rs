//! The bytes of an ONNX file, parsed and refused early: everything that the later stages would take at its word.

use super::ImportError;
use super::MAX_FEATURES;
use super::dialect::checked::MAX_RANK;
use super::operators;
use super::quantized::{self, Given};
use super::{control, sequences, tabular};
use crate::tensor::MAX_ELEMENTS;
use std::collections::BTreeMap;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use tract_onnx::prelude::Framework;
use zkinfer_verifier::Dtype;

/// Most bytes a model file may have.
pub const MAX_MODEL_BYTES: usize = 512 << 20;

/// Most axes of an input.
const MAX_INPUT_RANK: usize = 8;

/// Name, shape and, unless it is of floats, type of an input.
pub(super) type ParsedInput = (String, Vec<usize>, Option<Dtype>);

/// A parsed file whose inputs, initializers and operators were checked.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) proto: ModelProto,
    /// Name, shape and integer type of every input that is not an initializer.
    pub(super) inputs: Vec<ParsedInput>,
    /// Names of the outputs.
    pub(super) outputs: Vec<String>,
    /// Names of the nodes, as the parser takes them.
    pub(super) nodes: Vec<(String, String)>,
    /// What a quantized file gives for its layers, by node name; `None` for a float file.
    pub(super) given: Option<BTreeMap<String, Given>>,
    /// Length of the file.
    pub(super) n_bytes: usize,
}

/// Runs a step of the parser, and turns its panics into errors.
pub(super) fn guarded<T>(step: impl FnOnce() -> Result<T, ImportError>) -> Result<T, ImportError> {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(ImportError::ParserPanic(shorten(
            text.unwrap_or("no message"),
        )))
    })
}

/// A message of the parser, cut to a readable length and one line.
pub(super) fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(400) {
        None => line,
        Some((end, _)) => format!("{}…", &line[..end]),
    }
}

/// Parses the bytes and checks everything that does not need shapes.
pub(super) fn read(bytes: &[u8]) -> Result<Parsed, ImportError> {
    if bytes.is_empty() {
        return Err(ImportError::Empty);
    }
    if bytes.len() > MAX_MODEL_BYTES {
        return Err(ImportError::TooLarge {
            got: bytes.len(),
            max: MAX_MODEL_BYTES,
        });
    }
    let mut proto = guarded(|| {
        tract_onnx::onnx()
            .proto_model_for_read(&mut &bytes[..])
            .map_err(|e| ImportError::NotOnnx(shorten(&format!("{e:#}"))))
    })?;
    let Some(graph) = &mut proto.graph else {
        return Err(ImportError::Missing("graph"));
    };
    if graph.node.is_empty() {
        return Err(ImportError::Missing("node"));
    }
    if graph.output.is_empty() {
        return Err(ImportError::Missing("output"));
    }
    let sets = proto.opset_import.iter();
    let sets = sets.filter(|set| operators::standard(&set.domain).is_empty());
    let set = sets.map(|set| set.version).max().unwrap_or(1);
    // nothing can read these
    graph.initializer.retain(|tensor| !tensor.name.is_empty());
    check_names(graph)?;
    for node in &mut graph.node {
        node.name = node_name(node);
    }
    let initial: HashSet<String> = graph.initializer.iter().map(|t| t.name.clone()).collect();
    guarded(|| control::rewrite(graph, set))?;
    let nodes = graph
        .node
        .iter()
        .map(|n| (node_name(n), n.op_type.clone()))
        .collect();
    guarded(|| tabular::rewrite(graph, set))?;
    guarded(|| sequences::rewrite(graph))?;
    check_graph(graph, 0)?;
    check_order(graph)?;
    let given = quantized::rewrite(graph)?;
    check_makers(graph, &initial)?;
    let inputs = check_inputs(graph)?;
    let outputs: Vec<String> = graph.output.iter().map(|o| o.name.clone()).collect();
    let known = |name: &String| {
        graph.node.iter().any(|n| n.output.contains(name))
            || graph.input.iter().any(|i| i.name == *name)
            || graph.initializer.iter().any(|t| t.name == *name)
    };
    if let Some(output) = outputs.iter().find(|name| !known(name)) {
        return Err(ImportError::Parser(format!(
            "no node makes the output `{output}`"
        )));
    }
    Ok(Parsed {
        inputs,
        outputs,
        nodes,
        given,
        proto,
        n_bytes: bytes.len(),
    })
}

/// No name is made twice: by an input, an initializer or a node of the file, or by what its nodes were rewritten to. An input may have a
/// default among the initializers of the file.
fn check_makers(graph: &GraphProto, initial: &HashSet<String>) -> Result<(), ImportError> {
    let inputs = graph.input.iter().map(|i| &i.name);
    let inputs = inputs.filter(|name| !initial.contains(*name));
    let outputs = graph.node.iter().flat_map(|n| &n.output);
    let outputs = outputs.filter(|name| !name.is_empty());
    let made = inputs
        .chain(graph.initializer.iter().map(|t| &t.name))
        .chain(outputs);
    let mut known = HashSet::new();
    match made.into_iter().find(|name| !known.insert(*name)) {
        None => Ok(()),
        Some(name) => Err(ImportError::Parser(format!(
            "`{}` is made twice; expected another name for every tensor and node",
            shorten(name)
        ))),
    }
}

/// The node's name, or that of the first output that has one.
pub(super) fn node_name(node: &NodeProto) -> String {
    let outputs = node.output.iter().find(|name| !name.is_empty());
    match node.name.is_empty() {
        true => outputs.cloned().unwrap_or_default(),
        false => node.name.clone(),
    }
}

fn unsupported_operator(node: &NodeProto) -> ImportError {
    let op = operators::name_of(node);
    let instead = match operators::alternative(&op) {
        Some(instead) => format!("in its place: {instead}"),
        None => "nothing comes near it".to_owned(),
    };
    ImportError::UnsupportedOperator {
        node: shorten(&node_name(node)),
        op: shorten(&op),
        instead,
    }
}

fn check_operators(graph: &GraphProto, depth: usize) -> Result<(), ImportError> {
    for node in &graph.node {
        if quantized::is_quantized(node) {
            continue;
        }
        let domain = operators::standard(&node.domain);
        if !operators::is_supported(domain, &node.op_type) {
            return Err(unsupported_operator(node));
        }
        if node.op_type == "BatchNormalization"
            && node
                .attribute
                .iter()
                .any(|a| a.name == "training_mode" && a.i != 0)
        {
            return Err(ImportError::Unsupported {
                node: node_name(node),
                op: node.op_type.clone(),
                reason: "training_mode = 1; expected 0".to_owned(),
            });
        }
        for body in node.attribute.iter().filter_map(|a| a.g.as_ref()) {
            if depth == MAX_DEPTH {
                let reason = format!("a body within {MAX_DEPTH} others; expected fewer");
                return Err(quantized::refuse(node, reason));
            }
            check_graph(body, depth + 1)?;
        }
    }
    Ok(())
}

/// Most bodies around a body: the parser reads each again for every one around it.
const MAX_DEPTH: usize = 3;
/// Most letters of the name of a size: the parser reads it as a formula, by recursion.
const MAX_SYMBOL: usize = 64;

/// The sizes that ports leave open have names of some length.
fn check_symbols(graph: &GraphProto) -> Result<(), ImportError> {
    let ports = graph.input.iter().chain(&graph.output);
    for port in ports.chain(&graph.value_info) {
        let shape = tensor_type(port).and_then(|tensor| tensor.shape.as_ref());
        for dim in shape.into_iter().flat_map(|shape| &shape.dim) {
            if let Some(tensor_shape_proto::dimension::Value::DimParam(name)) = &dim.value
                && name.len() > MAX_SYMBOL
            {
                let reason = format!(
                    "the tensor `{:.80}` has a size of {} letters; expected at most {MAX_SYMBOL}",
                    port.name,
                    name.len()
                );
                return Err(ImportError::Parser(reason));
            }
        }
    }
    Ok(())
}

/// Checks the operators and the constants of a graph and of the bodies in it.
fn check_graph(graph: &GraphProto, depth: usize) -> Result<(), ImportError> {
    check_symbols(graph)?;
    check_operators(graph, depth)?;
    for node in &graph.node {
        check_axes(node)?;
        match node.op_type.as_str() {
            "Transpose" => check_permutation(node)?,
            "Scan" => check_scan(node)?,
            _ => {}
        }
    }
    // what these read beside the first input is no mask
    let layers = [
        "Conv",
        "ConvTranspose",
        "Gemm",
        "LSTM",
        "GRU",
        "MatMul",
        "RNN",
    ];
    let layers = graph
        .node
        .iter()
        .filter(|n| layers.contains(&n.op_type.as_str()));
    let weights: HashSet<&String> = layers.flat_map(|n| n.input.iter().skip(1)).collect();
    for tensor in &graph.initializer {
        check_tensor(tensor, &tensor.name, weights.contains(&tensor.name))?;
    }
    for node in &graph.node {
        let is_weight = node.output.iter().any(|y| weights.contains(y));
        for tensor in node.attribute.iter().filter_map(|a| a.t.as_ref()) {
            check_tensor(tensor, &node_name(node), is_weight)?;
        }
    }
    Ok(())
}

/// Axes are near those that a tensor can have: the parser counts from and up to them.
fn check_axes(node: &NodeProto) -> Result<(), ImportError> {
    const FAR: i64 = 64;
    for attribute in &node.attribute {
        let name = attribute.name.as_str();
        let is_axis = name == "axis" || name.ends_with("_axis");
        if !is_axis && name != "axes" && !name.ends_with("_axes") {
            continue;
        }
        let values = attribute.ints.iter().chain([&attribute.i]);
        if let Some(got) = values.copied().find(|v| !(-FAR..FAR).contains(v)) {
            let reason = format!("{name} = {got}; expected one from {} to {}", -FAR, FAR - 1);
            return Err(quantized::refuse(node, reason));
        }
    }
    Ok(())
}

/// A Scan scans no more than it reads: the parser makes lists of that length.
fn check_scan(node: &NodeProto) -> Result<(), ImportError> {
    let scanned = node.attribute.iter().find(|a| a.name == "num_scan_inputs");
    let got = scanned.map_or(0, |a| a.i);
    let body = node.attribute.iter().find_map(|a| a.g.as_ref());
    let ports = body.map_or((0, 0), |body| (body.input.len(), body.output.len()));
    let most = node.input.len().min(ports.0);
    if !usize::try_from(got).is_ok_and(|n| n <= most && ports.0 - n <= ports.1) {
        let reason = format!(
            "num_scan_inputs = {got} of {} inputs, and a body of {} inputs and {} outputs; expected at most the inputs, and an output for every other input of the body",
            node.input.len(),
            ports.0,
            ports.1
        );
        return Err(quantized::refuse(node, reason));
    }
    Ok(())
}

/// The axes of a Transpose are a permutation: the parser looks for the steps to any other one without end.
fn check_permutation(node: &NodeProto) -> Result<(), ImportError> {
    let Some(axes) = node.attribute.iter().find(|a| a.name == "perm") else {
        return Ok(());
    };
    let mut sorted = axes.ints.clone();
    sorted.sort_unstable();
    let is_permutation = (0..).zip(&sorted).all(|(axis, &got): (i64, _)| axis == got);
    if is_permutation {
        return Ok(());
    }
    let first = &axes.ints[..axes.ints.len().min(8)];
    let reason = format!("the axes {first:?}; expected each from 0 on once");
    Err(quantized::refuse(node, reason))
}

/// Inputs, outputs and nodes have names, which errors and statements speak of.
fn check_names(graph: &GraphProto) -> Result<(), ImportError> {
    for (what, ports) in [("input", &graph.input), ("output", &graph.output)] {
        if let Some(index) = ports.iter().position(|port| port.name.is_empty()) {
            return Err(ImportError::Unnamed { what, index });
        }
    }
    match graph.node.iter().position(|n| node_name(n).is_empty()) {
        None => Ok(()),
        Some(index) => Err(ImportError::Unnamed {
            what: "node",
            index,
        }),
    }
}

/// Refuses nodes that wait for their own result, directly or through others: nodes are taken off as their operands are made.
fn check_order(graph: &GraphProto) -> Result<(), ImportError> {
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            makers.entry(output).or_insert(index);
        }
    }
    let needed = |node: &NodeProto| -> Vec<usize> {
        let made = node.input.iter().filter_map(|x| makers.get(x.as_str()));
        made.copied().collect()
    };
    let mut readers: Vec<Vec<usize>> = vec![vec![]; graph.node.len()];
    let mut missing: Vec<usize> = vec![0; graph.node.len()];
    for (index, node) in graph.node.iter().enumerate() {
        for maker in needed(node) {
            readers[maker].push(index);
            missing[index] += 1;
        }
    }
    let mut ready: Vec<usize> = (0..missing.len()).filter(|i| missing[*i] == 0).collect();
    while let Some(node) = ready.pop() {
        for reader in std::mem::take(&mut readers[node]) {
            missing[reader] -= 1;
            if missing[reader] == 0 {
                ready.push(reader);
            }
        }
    }
    match missing.iter().position(|n| *n > 0) {
        None => Ok(()),
        Some(index) => Err(ImportError::Loop {
            node: node_name(&graph.node[index]),
        }),
    }
}

/// Bytes of an element, and how many elements a tensor of a type other than float has outside `raw_data`.
fn integers(tensor: &TensorProto) -> Option<(usize, usize)> {
    let typed = tensor.int32_data.len();
    Some(match DataType::try_from(tensor.data_type).ok()? {
        DataType::Uint8 | DataType::Int8 | DataType::Bool => (1, typed),
        DataType::Uint16 | DataType::Int16 | DataType::Float16 | DataType::Bfloat16 => (2, typed),
        DataType::Int32 => (4, typed),
        DataType::Uint32 => (4, tensor.uint64_data.len()),
        DataType::Int64 => (8, tensor.int64_data.len()),
        DataType::Uint64 => (8, tensor.uint64_data.len()),
        _ => return None,
    })
}

fn check_tensor(tensor: &TensorProto, name: &str, is_weight: bool) -> Result<(), ImportError> {
    let external = tensor.data_location == Some(DataLocation::External as i32);
    if external || !tensor.external_data.is_empty() {
        return Err(ImportError::ExternalData {
            tensor: name.to_owned(),
        });
    }
    check_rank(name, tensor.dims.len(), MAX_RANK)?;
    let size = || ImportError::TensorSize {
        tensor: name.to_owned(),
        shape: tensor.dims.clone(),
        max: MAX_ELEMENTS,
    };
    let len = tensor
        .dims
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?))
        .filter(|&n| n <= MAX_ELEMENTS)
        .ok_or_else(size)?;
    let float = [DataType::Float as i32, DataType::Double as i32].contains(&tensor.data_type);
    if !float {
        let (width, typed) = integers(tensor).ok_or_else(|| ImportError::TensorType {
            tensor: name.to_owned(),
            got: tensor.data_type,
        })?;
        let got = match tensor.raw_data.len() {
            0 => typed.saturating_mul(width),
            raw => raw,
        };
        let expected = len.saturating_mul(width);
        if got != expected {
            return Err(ImportError::InitializerLength {
                tensor: name.to_owned(),
                expected,
                got,
            });
        }
    }
    if tensor.data_type == DataType::Float as i32 {
        let value = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into();
        let values = floats(name, len, 4, &tensor.raw_data, &tensor.float_data, value)?;
        check_floats(name, len, values, is_weight)?;
    }
    if tensor.data_type == DataType::Double as i32 {
        let value = |b: &[u8]| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
        let values = floats(name, len, 8, &tensor.raw_data, &tensor.double_data, value)?;
        check_floats(name, len, values, is_weight)?;
    }
    let width = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Uint8 | DataType::Int8) => 1,
        Ok(DataType::Uint16 | DataType::Int16) => 2,
        Ok(DataType::Int32) => 4,
        _ => return Ok(()),
    };
    let got = if tensor.raw_data.is_empty() {
        tensor.int32_data.len() * width
    } else {
        tensor.raw_data.len()
    };
    if got != len * width {
        return Err(ImportError::InitializerLength {
            tensor: name.to_owned(),
            expected: len * width,
            got,
        });
    }
    Ok(())
}

/// The values of `raw`, or of `typed` when there are no raw bytes, of the right number.
fn floats<'a, T: Copy + Into<f64>>(
    name: &str,
    len: usize,
    width: usize,
    raw: &'a [u8],
    typed: &'a [T],
    decode: impl Fn(&[u8]) -> f64 + 'a,
) -> Result<Box<dyn Iterator<Item = f64> + 'a>, ImportError> {
    let got = if raw.is_empty() {
        typed.len() * width
    } else {
        raw.len()
    };
    if got != len * width {
        return Err(ImportError::InitializerLength {
            tensor: name.to_owned(),
            expected: len * width,
            got,
        });
    }
    Ok(if raw.is_empty() {
        Box::new(typed.iter().map(|&v| v.into()))
    } else {
        Box::new(raw.chunks_exact(width).map(decode))
    })
}

/// Checks that values are numbers that a float32 has.
fn check_floats(
    name: &str,
    len: usize,
    mut values: impl Iterator<Item = f64>,
    is_weight: bool,
) -> Result<(), ImportError> {
    // a single number may be a bound, and −∞ masks; where one is a weight after all, translation refuses it
    let masks = |v: f64| v == f64::NEG_INFINITY && !is_weight;
    let bound = |v: f64| masks(v) || len == 1 && v.is_infinite();
    // an f32 weight: a double beyond its range would become infinite
    let bad = |v: f64| !bound(v) && (!v.is_finite() || v.abs() > f64::from(f32::MAX));
    match values.by_ref().enumerate().find(|&(_, v)| bad(v)) {
        None => Ok(()),
        Some((index, value)) => Err(ImportError::NonFiniteWeight {
            tensor: name.to_owned(),
            index,
            value,
        }),
    }
}

/// Elements of a tensor that depends on an input; `None` above `MAX_FEATURES`.
pub(super) fn elements(shape: &[usize]) -> Option<usize> {
    let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    len.filter(|&n| n <= MAX_FEATURES)
}

/// What is said of a tensor that has no `elements`, or has none.
pub(super) fn too_large(name: &str, shape: &[usize]) -> ImportError {
    let dim = |&d: &usize| i64::try_from(d).unwrap_or(i64::MAX);
    ImportError::TensorSize {
        tensor: shorten(name),
        shape: shape.iter().map(dim).collect(),
        max: MAX_FEATURES,
    }
}

fn check_rank(tensor: &str, rank: usize, max: usize) -> Result<(), ImportError> {
    match rank <= max {
        true => Ok(()),
        false => Err(ImportError::Parser(format!(
            "the tensor `{}` has {rank} axes; expected at most {max}",
            shorten(tensor)
        ))),
    }
}

/// The type of a port that holds a tensor.
pub(super) fn tensor_type(port: &ValueInfoProto) -> Option<&type_proto::Tensor> {
    let type_proto::Value::TensorType(tensor) = port.r#type.as_ref()?.value.as_ref()?;
    Some(tensor)
}

fn check_inputs(graph: &GraphProto) -> Result<Vec<ParsedInput>, ImportError> {
    use tensor_shape_proto::dimension::Value;
    let mut inputs = Vec::new();
    for input in &graph.input {
        if graph.initializer.iter().any(|t| t.name == input.name) {
            continue;
        }
        let Some(tensor) = tensor_type(input) else {
            return Err(ImportError::InputType {
                input: input.name.clone(),
                got: "none".to_owned(),
            });
        };
        let dtype = match DataType::try_from(tensor.elem_type) {
            Ok(DataType::Float) => None,
            Ok(DataType::Bool) => Some(Dtype::Bool),
            Ok(DataType::Int8) => Some(Dtype::Int8),
            Ok(DataType::Uint8) => Some(Dtype::Uint8),
            // wider integers are indices and counts: a statement holds sixteen bits of them
            Ok(DataType::Int16 | DataType::Int32 | DataType::Int64) => Some(Dtype::Int16),
            got => {
                let got = got.map_or_else(
                    |_| "unknown".to_owned(),
                    |t| format!("{t:?}").to_lowercase(),
                );
                return Err(ImportError::InputType {
                    input: input.name.clone(),
                    got,
                });
            }
        };
        let dims = tensor.shape.as_ref().map(|s| &s.dim[..]);
        let text = dims.map_or_else(
            || "unknown".to_owned(),
            |dims| {
                let dim = |d: &tensor_shape_proto::Dimension| match &d.value {
                    Some(Value::DimValue(v)) => v.to_string(),
                    Some(Value::DimParam(p)) => p.clone(),
                    None => "?".to_owned(),
                };
                format!("[{}]", dims.iter().map(dim).collect::<Vec<_>>().join(", "))
            },
        );
        let fixed = |d: &tensor_shape_proto::Dimension| match d.value {
            Some(Value::DimValue(v)) if v > 0 => usize::try_from(v).ok(),
            _ => None,
        };
        let shape = dims.and_then(|dims| dims.iter().map(fixed).collect::<Option<Vec<_>>>());
        let Some(shape) = shape else {
            return Err(ImportError::DynamicShape {
                input: input.name.clone(),
                shape: text,
            });
        };
        check_rank(&input.name, shape.len(), MAX_INPUT_RANK)?;
        if elements(&shape).is_none() {
            return Err(too_large(&input.name, &shape));
        }
        inputs.push((input.name.clone(), shape, dtype));
    }
    if inputs.is_empty() {
        return Err(ImportError::Missing("input"));
    }
    Ok(inputs)
}
