//! Softmax and normalization, and the digits they need.

use super::super::calibrate::Range;
use super::super::precision::{Precision, Precisions};
use super::super::scheme::{Encoding, SchemeError, Target};
use super::mixed::is_constant;
use super::{Plan, QuantizeError, as_it_is};
use crate::onnx::{FloatGraph, FloatOp, differ_in_units};
use crate::ops::{Clip, Normalize, Operator, Rescale, Softmax};
use crate::tensor::Quantization;

/// Finest step of a softmax's input; a finer one shows in no share.
pub(super) const FINEST: f64 = 1.0 / 256.0;
/// Most steps that a score reaches down.
const MOST_STEPS: f64 = (1 << 25) as f64;
/// Most integers that the input of a softmax may span: rows of a table.
pub(super) const MAX_SPAN: f64 = 4096.0;
/// Bits of n times the largest square of a normalization.
const SQUARE_BITS: f64 = 46.0;

/// The nodes whose digits beyond eight bits show in what follows, each with the nearest node that needs them: a normalization divides by the
/// size of its input, a softmax exponentiates it, and an index asks which of two close values is larger. Sums pass the need on to what they
/// add, unless they are to have eight bits.
pub(super) fn wide(graph: &FloatGraph, precisions: &Precisions) -> Vec<Option<usize>> {
    let mut wide = vec![None; graph.nodes.len()];
    for (id, node) in graph.nodes.iter().enumerate().rev() {
        if precisions.of(&node.name) == Some(Precision::Int8) {
            wide[id] = None;
        }
        let needs = match node.op {
            FloatOp::Normalize { .. } | FloatOp::Softmax { .. } | FloatOp::ArgExtremum { .. } => {
                Some(id)
            }
            FloatOp::Add { .. }
            | FloatOp::SumPool { .. }
            | FloatOp::Layout { .. }
            | FloatOp::Gather { .. } => wide[id],
            _ => None,
        };
        let read = match node.op {
            // the condition is a truth value
            FloatOp::Select if wide[id].is_some() => &node.inputs[1..],
            _ if needs.is_some() => &node.inputs,
            _ => &[],
        };
        read.iter()
            .for_each(|&input| wide[input] = needs.or(wide[id]));
    }
    let readers = graph.readers();
    for &id in &graph.inputs {
        wide[id] = match graph.nodes[id].shape[..] {
            // one row of features
            [1, _] | [_] => reader_of_digits(graph, &readers, id),
            _ => None,
        };
    }
    wide
}

/// The node that needs an input's digits beyond eight bits: a comparison of features with thresholds, or a scaling of features that have units
/// of their own, so that the largest of them sets the step of all.
fn reader_of_digits(graph: &FloatGraph, readers: &[Vec<usize>], id: usize) -> Option<usize> {
    let (mut reached, mut seen) = (vec![id], vec![false; graph.nodes.len()]);
    while let Some(at) = reached.pop() {
        if std::mem::replace(&mut seen[at], true) {
            continue;
        }
        for &reader in &readers[at] {
            // an output has a reader that is no node
            let Some(node) = graph.nodes.get(reader) else {
                continue;
            };
            match &node.op {
                FloatOp::Compare(_) if node.inputs.iter().any(|&i| is_constant(graph, i)) => {
                    return Some(reader);
                }
                FloatOp::Affine { factors, .. } if differ_in_units(factors.iter().copied()) => {
                    return Some(reader);
                }
                FloatOp::Layout { .. } | FloatOp::Gather { .. } => reached.push(reader),
                _ => {}
            }
        }
    }
    None
}

/// The nodes that choose a row of a table: whole numbers, whatever their range.
pub(super) fn indices(graph: &FloatGraph) -> Vec<bool> {
    let mut index = vec![false; graph.nodes.len()];
    for (id, node) in graph.nodes.iter().enumerate().rev() {
        let chosen = match node.op {
            FloatOp::Lookup { .. } => &node.inputs[..],
            FloatOp::Layout { .. } | FloatOp::Gather { .. } if index[id] => &node.inputs[..],
            // the condition is a truth value
            FloatOp::Select if index[id] => &node.inputs[1..],
            _ => &[],
        };
        chosen.iter().for_each(|&input| index[input] = true);
    }
    index
}

impl Plan<'_> {
    /// Fifteen bits for the calibrated range, and no bounds.
    pub(super) fn wide_target(&self, id: usize) -> Result<Target, QuantizeError> {
        let all = self.ranges[id];
        let Range { lo, hi, .. } = all.shown();
        let mut encoding =
            Encoding::int16(2.0 * lo, 2.0 * hi).map_or_else(|| self.activation(id), Ok)?;
        // what has no share must fit too
        let least = all.lo / -MOST_STEPS;
        if encoding.quantization.scale < least {
            encoding.quantization.scale = least;
        }
        Ok(Target {
            clamped: encoding,
            activation: None,
        })
    }

    /// A tensor in steps of `scale`, without bounds.
    fn rescaled(&mut self, id: usize, tensor: usize, scale: f64) -> Result<usize, QuantizeError> {
        let quantization = Quantization {
            scale,
            zero_point: 0,
        };
        let target = Target {
            clamped: Encoding::boundless(quantization),
            activation: None,
        };
        let plain = as_it_is(&self.graph.nodes[id]);
        let op = Rescale::import(&self.site(&plain, &[tensor], Some(&target))?)?;
        Ok(self.builder.node(&plain.name, op.into(), &[tensor])?)
    }

    /// A softmax of an input of at most so many integers.
    pub(super) fn softmax(&mut self, id: usize, x: usize) -> Result<(), QuantizeError> {
        let graph = self.graph;
        let node = &graph.nodes[id];
        let (fact, quantization) = self.known(node, x)?;
        let width = fact.interval.width() as f64;
        let (mut x, mut width) = (x, width);
        let shown = self
            .ranges
            .get(node.inputs[0])
            .map(|range| (range, range.shown()));
        if let Some((range, shown)) = shown
            && *range != shown
            && width > MAX_SPAN
        {
            let floor = Encoding::boundless(quantization).between(shown.lo, f64::MAX);
            let (lo, hi) = (i64::from(floor.lo), fact.interval.hi);
            if let (true, Ok(hi)) = (fact.interval.lo < lo && lo < hi, i32::try_from(hi)) {
                let clip = Clip { lo: floor.lo, hi }.into();
                x = self.builder.node(&node.name, clip, &[x])?;
                width = (hi - floor.lo) as f64 + 1.0;
            }
        }
        if width > MAX_SPAN {
            let scale = (width * quantization.scale / MAX_SPAN).max(FINEST);
            x = self.rescaled(id, x, scale.max(quantization.scale))?;
        }
        let op = Softmax::import(&self.site(node, &[x], None)?)?;
        let tensor = self.builder.node(&node.name, op.into(), &[x])?;
        self.settle(id, tensor);
        Ok(())
    }

    /// A normalization of an input whose squares can be summed.
    pub(super) fn normalize(&mut self, id: usize, x: usize) -> Result<(), QuantizeError> {
        let graph = self.graph;
        let node = &graph.nodes[id];
        let FloatOp::Normalize { n, .. } = node.op else {
            let (node, op) = (node.name.clone(), node.op.name());
            return Err(SchemeError::Operator { node, op }.into());
        };
        let (fact, quantization) = self.known(node, x)?;
        let widest = fact.interval.reach(quantization.zero_point) as f64;
        let room = ((SQUARE_BITS - (n as f64).log2()) / 2.0).floor().exp2();
        let mut x = x;
        if widest > room {
            x = self.rescaled(id, x, quantization.scale * widest / room)?;
        }
        let op = Normalize::import(&self.site(node, &[x], None)?)?;
        let tensor = self.builder.node(&node.name, op.into(), &[x])?;
        self.settle(id, tensor);
        Ok(())
    }
}
