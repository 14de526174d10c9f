//! A tensor that is split into a sequence of which fixed members are read, as torch.export writes `chunk` and `split`: every such member is a Slice, or a
//! Gather, of the tensor. Other sequences stay, and are refused.

use super::ImportError;
use super::control::known::Known;
use super::operators::standard;
use super::quantized::refuse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    AttributeProto, GraphProto, NodeProto, TensorProto, attribute_proto::AttributeType,
};

/// Most lengths that are given for the members of a sequence.
const MAX_MEMBERS: usize = 1 << 12;

/// A tensor that is split.
#[derive(Clone, Debug)]
struct Split {
    x: String,
    axis: i64,
    members: Members,
}

/// What the members are.
#[derive(Clone, Debug)]
enum Members {
    /// One element of the axis, which stays, or not.
    Single { keeps_axis: bool },
    /// So many elements.
    Equal(i64),
    /// As many as are listed.
    Listed(Arc<[i64]>),
}

/// Rewrites what reads fixed members.
pub(super) fn rewrite(graph: &mut GraphProto) -> Result<(), ImportError> {
    if !graph.node.iter().any(|n| n.op_type == "SplitToSequence") {
        return Ok(());
    }
    let constants = constants(graph);
    let mut splits: HashMap<String, Split> = HashMap::new();
    let mut made = vec![];
    for node in graph
        .node
        .iter_mut()
        .filter(|n| standard(&n.domain).is_empty())
    {
        match node.op_type.as_str() {
            "SplitToSequence" => {
                if let (Some(split), Some(y)) = (split(node, &constants)?, node.output.first()) {
                    splits.insert(y.clone(), split);
                }
            }
            "SequenceAt" => {
                let sequence = node.input.first().and_then(|name| splits.get(name));
                let index = node.input.get(1).and_then(|name| constants.get(name));
                if let (Some(split), Some(&[index])) = (sequence, index.map(|v| &v[..])) {
                    let split = split.clone();
                    made.extend(member(node, &split, index)?);
                }
            }
            _ => {}
        }
    }
    graph.initializer.append(&mut made);
    let read = graph.node.iter().flat_map(|n| &n.input);
    let outputs = graph.output.iter().map(|output| &output.name);
    let read: HashSet<String> = read.chain(outputs).cloned().collect();
    graph
        .node
        .retain(|n| n.op_type != "SplitToSequence" || n.output.iter().any(|y| read.contains(y)));
    Ok(())
}

/// The constants of the file that are few integers.
fn constants(graph: &GraphProto) -> HashMap<String, Arc<[i64]>> {
    let tensors = graph.initializer.iter();
    let tensors = tensors.map(|tensor| (&tensor.name, Known::of(tensor, MAX_MEMBERS)));
    let nodes = graph.node.iter().filter(|n| n.op_type == "Constant");
    let nodes = nodes.filter_map(|n| Some((n.output.first()?, Known::constant(n, MAX_MEMBERS))));
    let integers = |(name, known): (&String, Option<Known>)| {
        let values = known?.integers()?;
        Some((name.clone(), values.into()))
    };
    tensors.chain(nodes).filter_map(integers).collect()
}

/// How a node splits; `None` where that is computed.
fn split(
    node: &NodeProto,
    constants: &HashMap<String, Arc<[i64]>>,
) -> Result<Option<Split>, ImportError> {
    let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name).map(|a| a.i);
    let x = node.input.first().filter(|x| !x.is_empty());
    let x = x.ok_or_else(|| refuse(node, "it has no input"))?.clone();
    let members = match node.input.get(1).filter(|name| !name.is_empty()) {
        None => Members::Single {
            keeps_axis: attribute("keepdims") != Some(0),
        },
        // onnxruntime drops the axis there, ONNX does not
        Some(_) if attribute("keepdims") == Some(0) => {
            return Err(refuse(node, "keepdims = 0 beside lengths; expected 1"));
        }
        Some(name) => {
            let Some(sizes) = constants.get(name) else {
                return Ok(None);
            };
            match sizes[..] {
                [size] if size > 0 => Members::Equal(size),
                [_, _, ..] if sizes.iter().all(|&n| n > 0) => Members::Listed(sizes.clone()),
                _ => {
                    let first = &sizes[..sizes.len().min(4)];
                    let reason =
                        format!("members of {first:?} elements; expected positive lengths");
                    return Err(refuse(node, reason));
                }
            }
        }
    };
    Ok(Some(Split {
        x,
        axis: attribute("axis").unwrap_or(0),
        members,
    }))
}

/// Makes a SequenceAt a Slice or a Gather; returns the constants that it reads.
fn member(
    node: &mut NodeProto,
    split: &Split,
    index: i64,
) -> Result<Vec<TensorProto>, ImportError> {
    let out_of_range = |node: &NodeProto| {
        refuse(
            node,
            format!("member {index} of a sequence; expected one that it has, counted from 0"),
        )
    };
    let y = node.output.first().cloned().unwrap_or_default();
    let constant = |part: &str, dims: &[i64], values: Vec<i64>| TensorProto {
        name: format!("{y}.{part}"),
        dims: dims.to_vec(),
        data_type: DataType::Int64 as i32,
        int64_data: values,
        ..TensorProto::default()
    };
    let (start, end) = match &split.members {
        Members::Single { keeps_axis } => {
            let dims: &[i64] = if *keeps_axis { &[1] } else { &[] };
            let indices = constant("member", dims, vec![index]);
            node.op_type = "Gather".to_owned();
            node.input = vec![split.x.clone(), indices.name.clone()];
            node.attribute = vec![AttributeProto {
                name: "axis".to_owned(),
                r#type: AttributeType::Int as i32,
                i: split.axis,
                ..AttributeProto::default()
            }];
            return Ok(vec![indices]);
        }
        Members::Equal(size) => {
            let end = index
                .checked_add(1)
                .and_then(|next| next.checked_mul(*size));
            let end = end.filter(|_| index >= 0);
            let end = end.ok_or_else(|| out_of_range(node))?;
            (end - size, end)
        }
        Members::Listed(sizes) => {
            // a list of at most 2^16
            let n = sizes.len() as i64;
            let at = if index < 0 {
                index.saturating_add(n)
            } else {
                index
            };
            let at = usize::try_from(at).ok().filter(|&at| at < sizes.len());
            let at = at.ok_or_else(|| out_of_range(node))?;
            let start = sizes[..at]
                .iter()
                .try_fold(0i64, |sum, &n| sum.checked_add(n));
            let end = start.and_then(|start| start.checked_add(sizes[at]));
            start.zip(end).ok_or_else(|| out_of_range(node))?
        }
    };
    let made = vec![
        constant("start", &[1], vec![start]),
        constant("end", &[1], vec![end]),
        constant("axis", &[1], vec![split.axis]),
    ];
    node.op_type = "Slice".to_owned();
    node.input = vec![split.x.clone()];
    node.input.extend(made.iter().map(|t| t.name.clone()));
    node.attribute.clear();
    Ok(made)
}
