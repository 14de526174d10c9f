//! The integer model against the float graph, node by node.
//!
//! Each node of the float graph that has a tensor in the model is evaluated on what the integers that it reads stand for, with its weights rounded
//! to eight bits a channel as the quantizer does. So an error is seen where it is made, and does not have to be told from what inputs already had.

use crate::verdict::{Outcome, fail};
use zkinfer_circuits::onnx::{FloatGraph, FloatNode, FloatOp};
use zkinfer_circuits::ops::Op;
use zkinfer_circuits::quantize::{Quantized, Range};
use zkinfer_circuits::tensor::Tensor;

/// Float arithmetic on both sides: far below what an integer can be off by.
const FLOATS: f64 = 1e-3;

/// Checks every tensor of the integer model.
pub fn check(
    graph: &FloatGraph,
    ranges: &[Range],
    quantized: &Quantized,
    tensors: &[Tensor],
) -> Result<(), Outcome> {
    let model = &quantized.model;
    let n_inputs = model.inputs().len();
    let mut values: Vec<Vec<f64>> = Vec::new();
    for (id, node) in graph.nodes.iter().enumerate() {
        let tensor = quantized.tensors[id];
        let fact =
            tensor.and_then(|t| Some((t, &model.facts()[t], model.facts()[t].quantization?)));
        if matches!(node.op, FloatOp::Input { .. }) {
            let (tensor, _, q) = fact.ok_or_else(|| fail("an input without a tensor"))?;
            let data = &tensors[tensor].data;
            values.push(data.iter().map(|&v| q.dequantize(v)).collect());
            continue;
        }
        let reads: Vec<&[f64]> = node.inputs.iter().map(|&i| &values[i][..]).collect();
        let real = evaluate(node, &reads);
        let Some((tensor, fact, q)) = fact else {
            values.push(real);
            continue;
        };
        let op = tensor.checked_sub(n_inputs).map(|n| &model.nodes()[n].op);
        let rounds = matches!(op, Some(Op::Requantize(_) | Op::Table(_)));
        let mut allowed = vec![f64::from(u8::from(rounds)); real.len()];
        if let (FloatOp::Unary(_), Some(Op::Requantize(_))) = (&node.op, op) {
            let range = ranges[node.inputs[0]];
            widen(node, reads[0], range, q.scale, &real, &mut allowed);
        }
        let [lo, hi] = [fact.interval.lo, fact.interval.hi].map(|v| q.dequantize(v));
        let integers: Vec<f64> = tensors[tensor]
            .data
            .iter()
            .map(|&v| q.dequantize(v))
            .collect();
        if integers.len() != real.len() {
            let (got, wanted) = (integers.len(), real.len());
            return Err(fail(format!(
                "`{}` has {got} elements of {wanted}",
                node.name
            )));
        }
        for (index, (got, wanted)) in integers.iter().zip(&real).enumerate() {
            let steps = (got - wanted.clamp(lo, hi)).abs() / q.scale;
            // not a number is not near
            if steps.is_nan() || steps > allowed[index] + FLOATS {
                let place = format!("{} `{}`[{index}]", node.op.name(), node.name);
                let off = format!("{steps:.2} steps off; allowed {:.2}", allowed[index]);
                return Err(fail(format!("{place} is {got:.6} for {wanted:.6}: {off}")));
            }
        }
        values.push(integers);
    }
    Ok(())
}

/// A function that is taken into a requantization sees an eight-bit value that no tensor holds: what one step of that changes is allowed as well.
fn widen(node: &FloatNode, x: &[f64], range: Range, scale: f64, real: &[f64], allowed: &mut [f64]) {
    let step = (range.hi - range.lo) / 255.0;
    for sign in [-1.0, 1.0] {
        let moved: Vec<f64> = x.iter().map(|v| v + sign * step).collect();
        let other = evaluate(node, &[&moved]);
        for (allowed, (a, b)) in allowed.iter_mut().zip(real.iter().zip(other)) {
            *allowed = allowed.max(1.0 + (a - b).abs() / scale);
        }
    }
}

/// One node on given values.
fn evaluate(node: &FloatNode, reads: &[&[f64]]) -> Vec<f64> {
    let mut nodes = Vec::new();
    for (number, values) in reads.iter().enumerate() {
        nodes.push(FloatNode {
            name: number.to_string(),
            op: FloatOp::Input { dtype: None },
            inputs: vec![],
            shape: vec![values.len()],
        });
    }
    nodes.push(FloatNode {
        op: rounded(&node.op),
        inputs: (0..reads.len()).collect(),
        ..node.clone()
    });
    let graph = FloatGraph {
        nodes,
        inputs: (0..reads.len()).collect(),
        outputs: vec![("y".to_owned(), reads.len())],
    };
    let sample = reads.iter().map(|x| x.iter().map(|&v| v as f32).collect());
    graph
        .evaluate(&sample.collect::<Vec<_>>())
        .remove(reads.len())
}

/// The operator with weights of eight bits a channel.
fn rounded(op: &FloatOp) -> FloatOp {
    let mut op = op.clone();
    if let FloatOp::Conv { weights, bias, .. } | FloatOp::MatMul { weights, bias, .. } = &mut op {
        let per_channel = weights.len() / bias.len();
        for channel in weights.chunks_exact_mut(per_channel) {
            let largest = channel.iter().fold(0.0f32, |m, w| m.max(w.abs()));
            let scale = f64::from(largest) / 127.0;
            for w in channel.iter_mut().filter(|_| scale > 0.0) {
                *w = ((f64::from(*w) / scale).round() * scale) as f32;
            }
        }
    }
    op
}
