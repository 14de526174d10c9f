//! The integer model against the float graph, node by node.
//!
//! Each node of the float graph that has a tensor in the model is evaluated on what the integers that it reads stand for, with its weights rounded
//! to eight bits a channel as the quantizer does. So an error is seen where it is made, and does not have to be told from what inputs already had.
//! Operators that want their inputs in another encoding are evaluated on what the integers of that encoding stand for, and these are compared with
//! the ones they were made of.

use crate::verdict::{Outcome, fail};
use zkinfer_circuits::model::Model;
use zkinfer_circuits::onnx::{FloatGraph, FloatNode, FloatOp};
use zkinfer_circuits::ops::Op;
use zkinfer_circuits::quantize::{Quantized, Range};
use zkinfer_circuits::tensor::{Fact, Quantization, Tensor};

/// Float arithmetic on both sides: far below what an integer can be off by.
const FLOATS: f64 = 1e-3;
/// A power of a softmax is rounded to 2^-16, a share is one of 4095.
const POWER_STEPS: f64 = 4095.0 / 65536.0;
/// The inverse root of a normalization has a relative error below this.
const ROOT_ERROR: f64 = 1.0 / 8192.0;

/// An operator of the float graph, what it reads, and what it should give.
struct Place<'a> {
    node: &'a FloatNode,
    /// The operator of the model whose output stands for the node's.
    op: Option<&'a Op>,
    fact: &'a Fact,
    quantization: Quantization,
    reads: Vec<&'a [f64]>,
    real: Vec<f64>,
    /// One step of the first tensor that is read, where that was brought to the encoding the operator wants.
    step: Option<f64>,
}

/// Checks every tensor of the integer model.
pub fn check(
    graph: &FloatGraph,
    ranges: &[Range],
    quantized: &Quantized,
    tensors: &[Tensor],
) -> Result<(), Outcome> {
    let model = &quantized.model;
    let mut values: Vec<Vec<f64>> = Vec::new();
    for (id, node) in graph.nodes.iter().enumerate() {
        let tensor = quantized.tensors[id];
        let fact =
            tensor.and_then(|t| Some((t, &model.facts()[t], model.facts()[t].quantization?)));
        if matches!(node.op, FloatOp::Input { .. }) {
            let (tensor, _, q) = fact.ok_or_else(|| fail("an input without a tensor"))?;
            values.push(dequantized(&tensors[tensor], q));
            continue;
        }
        let own: Vec<&[f64]> = node.inputs.iter().map(|&i| &values[i][..]).collect();
        let Some((tensor, fact, quantization)) = fact else {
            values.push(evaluate(node, &own));
            continue;
        };
        let op = operation(model, tensor);
        let scale = |&i: &usize| model.facts()[quantized.tensors[i]?].quantization;
        let scales = node
            .inputs
            .iter()
            .map(|i| scale(i).map_or(0.0, |q| q.scale));
        let scales: Vec<f64> = scales.collect();
        let encoded = encodings(node, model, tensor, &own, &scales, tensors)?;
        let reads: Vec<&[f64]> = match &encoded {
            Some((_, encoded)) => encoded.iter().map(|v| &v[..]).collect(),
            None => own,
        };
        let real = evaluate(node, &reads);
        let place = Place {
            node,
            op,
            fact,
            quantization,
            reads,
            real,
            step: encoded.as_ref().map(|(step, _)| *step),
        };
        let allowed = place.allowed(node.inputs.first().map(|&i| ranges[i]));
        let integers = dequantized(&tensors[tensor], quantization);
        place.compare(&integers, &allowed)?;
        values.push(before_output(graph, model, (id, tensor), tensors).unwrap_or(integers));
    }
    Ok(())
}

/// What others read of a node that is an output as well and was narrowed for that alone.
fn before_output(
    graph: &FloatGraph,
    model: &Model,
    (id, tensor): (usize, usize),
    tensors: &[Tensor],
) -> Option<Vec<f64>> {
    let fused = matches!(
        graph.nodes[id].op,
        FloatOp::Clamp { .. } | FloatOp::Unary(_) | FloatOp::Quantize { .. }
    );
    let is_output = graph.outputs.iter().any(|(_, output)| *output == id);
    if fused || !is_output || !matches!(operation(model, tensor), Some(Op::Requantize(_))) {
        return None;
    }
    let &[from] = &model.nodes()[tensor - model.inputs().len()].inputs[..] else {
        return None;
    };
    let quantization = model.facts()[from].quantization?;
    Some(dequantized(&tensors[from], quantization))
}

fn dequantized(tensor: &Tensor, q: Quantization) -> Vec<f64> {
    tensor.data.iter().map(|&v| q.dequantize(v)).collect()
}

/// The operator of the model that makes a tensor.
fn operation(model: &Model, tensor: usize) -> Option<&Op> {
    let number = tensor.checked_sub(model.inputs().len())?;
    Some(&model.nodes()[number].op)
}

/// What is allowed, and the values it is measured from.
type Allowed = (f64, Vec<Vec<f64>>);

/// What the tensors that a node's operator really reads stand for, where they may be others than those of the node's inputs; they must be near.
fn encodings(
    node: &FloatNode,
    model: &Model,
    tensor: usize,
    own: &[&[f64]],
    scales: &[f64],
    tensors: &[Tensor],
) -> Result<Option<Allowed>, Outcome> {
    // what these read may be an accumulator, or the tensor before a function that they take in
    if let None | Some(Op::Requantize(_) | Op::Rescale(_)) = operation(model, tensor) {
        return Ok(None);
    }
    let read = &model.nodes()[tensor - model.inputs().len()].inputs;
    let (mut encoded, mut step) = (vec![], None);
    for ((&from, own), scale) in read.iter().zip(own).zip(scales) {
        let fact = &model.facts()[from];
        let q = fact
            .quantization
            .ok_or_else(|| fail("a read accumulator"))?;
        let values = dequantized(&tensors[from], q);
        let [lo, hi] = [fact.interval.lo, fact.interval.hi].map(|v| q.dequantize(v));
        let far = |(a, b): (&f64, &f64)| {
            (a - b.clamp(lo, hi)).abs() > (1.0 + FLOATS) * q.scale.max(*scale)
        };
        let name = &node.name;
        if values.len() != own.len() {
            let (got, wanted) = (values.len(), own.len());
            return Err(fail(format!("`{name}` reads {got} elements of {wanted}")));
        }
        if let Some(at) = values.iter().zip(*own).position(far) {
            let (got, wanted, step) = (values[at], own[at], q.scale.max(*scale));
            return Err(fail(format!(
                "{} `{name}` reads {got:.6} for {wanted:.6}[{at}] in steps of {step:.6}",
                node.op.name()
            )));
        }
        encoded.push(values);
        step = step.or(Some(q.scale));
    }
    if encoded.len() != own.len() {
        let (name, got) = (&node.name, encoded.len());
        return Err(fail(format!(
            "`{name}` reads {got} tensors of {}",
            own.len()
        )));
    }
    Ok(step.map(|step| (step, encoded)))
}

impl Place<'_> {
    /// By how many steps each element may differ.
    fn allowed(&self, range: Option<Range>) -> Vec<f64> {
        let scale = self.quantization.scale;
        let len = self.real.len();
        let mut allowed = match (self.op, &self.node.op) {
            (Some(Op::Requantize(_) | Op::Table(_) | Op::Rescale(_) | Op::Lookup(_)), _) => {
                vec![1.0; len]
            }
            // constants are rounded to the encoding, everything else has it already
            (Some(Op::Gather(_)), FloatOp::Gather { constants, .. }) => {
                vec![if constants.is_empty() { 0.0 } else { 0.5 }; len]
            }
            (Some(Op::Softmax(_)), FloatOp::Softmax { n }) => {
                vec![1.0 + POWER_STEPS * *n as f64; len]
            }
            (Some(Op::Normalize(op)), FloatOp::Normalize { n, .. }) => {
                // ε is rounded to steps of x², and at least one
                let step = self.reads[0].chunks_exact(*n).flat_map(|row| {
                    let squares: f64 = row.iter().map(|x| x * x).sum();
                    let epsilon = self.epsilon_error(op.epsilon) / squares.max(f64::MIN_POSITIVE);
                    vec![epsilon; *n]
                });
                let relative = |(y, epsilon): (&f64, f64)| {
                    1.0 + y.abs() * (ROOT_ERROR + epsilon.min(1.0)) / scale
                };
                self.real.iter().zip(step).map(relative).collect()
            }
            _ => vec![0.0; len],
        };
        if let (FloatOp::Unary(_), Some(Op::Requantize(_)), Some(range)) =
            (&self.node.op, self.op, range)
        {
            self.widen(range, &mut allowed);
        }
        allowed
    }

    /// By how much Σ x² + n·ε changes because n·ε is a whole number of squared steps, at least 1.
    fn epsilon_error(&self, steps: u64) -> f64 {
        let FloatOp::Normalize { n, epsilon } = self.node.op else {
            return 0.0;
        };
        let unit = self.step.unwrap_or(0.0).powi(2);
        (steps as f64 * unit - epsilon * n as f64).abs().min(unit)
    }

    /// A function that is taken into a requantization sees an eight-bit value that no tensor holds: what one step of that changes is allowed as
    /// well.
    fn widen(&self, range: Range, allowed: &mut [f64]) {
        let step = (range.hi - range.lo) / 255.0;
        for sign in [-1.0, 1.0] {
            // inside the range: beyond it a root has no value
            let moved = |v: &f64| (v + sign * step).clamp(range.lo, range.hi);
            let moved: Vec<f64> = self.reads[0].iter().map(moved).collect();
            let other = evaluate(self.node, &[&moved]);
            for (allowed, (a, b)) in allowed.iter_mut().zip(self.real.iter().zip(other)) {
                *allowed = allowed.max(1.0 + (a - b).abs() / self.quantization.scale);
            }
        }
    }

    /// Whether an element is a constant that stands for less than any score.
    fn is_masked(&self, element: usize) -> bool {
        let FloatOp::Gather { index, constants } = &self.node.op else {
            return false;
        };
        let before: usize = self.reads.iter().map(|x| x.len()).sum();
        let constant = (index[element] as usize).checked_sub(before);
        constant.is_some_and(|at| constants[at] == f32::MIN)
    }

    fn compare(&self, integers: &[f64], allowed: &[f64]) -> Result<(), Outcome> {
        let Self {
            node,
            fact,
            real,
            quantization: q,
            ..
        } = self;
        let [lo, hi] = [fact.interval.lo, fact.interval.hi].map(|v| q.dequantize(v));
        if integers.len() != real.len() {
            let (got, wanted) = (integers.len(), real.len());
            return Err(fail(format!(
                "`{}` has {got} elements of {wanted}",
                node.name
            )));
        }
        for (index, (got, wanted)) in integers.iter().zip(real).enumerate() {
            if self.is_masked(index) {
                if *got > lo {
                    let place = format!("{} `{}`[{index}]", node.op.name(), node.name);
                    return Err(fail(format!("{place} is {got}, masked: the least is {lo}")));
                }
                continue;
            }
            let tie = matches!(self.op, Some(Op::Compare(_))) && self.is_tie(index);
            if tie || wanted.is_nan() && self.is_edge(index) {
                continue;
            }
            let steps = (got - wanted.clamp(lo, hi)).abs() / q.scale;
            // not a number is not near
            if steps.is_nan() || steps > allowed[index] + FLOATS {
                let place = format!("{} `{}`[{index}]", node.op.name(), node.name);
                let off = format!("{steps:.2} steps off; allowed {:.2}", allowed[index]);
                return Err(fail(format!("{place} is {got:.6} for {wanted:.6}: {off}")));
            }
        }
        Ok(())
    }

    /// Whether a function without a value has one a step away: rounding its argument left the domain.
    fn is_edge(&self, index: usize) -> bool {
        let FloatOp::Unary(function) = &self.node.op else {
            return false;
        };
        let (x, step) = (self.reads[0][index], self.step.unwrap_or(0.0));
        [x - step, x + step]
            .into_iter()
            .any(|x| !function.value(x).is_nan())
    }

    /// Whether float arithmetic cannot tell the operands of a comparison apart although they are encoded differently.
    fn is_tie(&self, index: usize) -> bool {
        let (a, b) = (self.reads[0][index], self.reads[1][index]);
        a != b && (a - b).abs() <= 1e-6 * a.abs().max(b.abs())
    }
}

/// One node on given values.
fn evaluate(node: &FloatNode, reads: &[&[f64]]) -> Vec<f64> {
    rounded(&node.op).evaluate(reads, node.len())
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
