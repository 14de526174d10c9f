//! Precisions that a caller chose, and why every tensor has the integers that it has.

use super::super::precision::{Integers, Precision, PrecisionError, Reason};
use super::super::scheme::{Encoding, Site, Target};
use super::{Plan, QuantizeError, as_it_is};
use crate::onnx::FloatOp;
use crate::ops::{Clip, Operator, Rescale};
use crate::tensor::Fact;

impl Plan<'_> {
    /// What the caller chose for a node.
    pub(super) fn chosen(&self, id: usize) -> Option<Precision> {
        self.precisions.of(&self.graph.nodes[id].name)
    }

    /// Whether a requantization of `id` takes in what reads it.
    fn is_taken_in(&self, id: usize) -> bool {
        let reader = self.sole_reader(id).map(|next| &self.graph.nodes[next].op);
        matches!(reader, Some(FloatOp::Clamp { .. } | FloatOp::Unary(_)))
    }

    /// Whether a node's digits beyond eight bits are kept where they are exact: what follows needs them, or they are chosen.
    pub(super) fn needs_digits(&self, id: usize) -> bool {
        let chosen = self.chosen(id) == Some(Precision::Int16);
        self.wide[id].is_some() || (chosen && !self.is_taken_in(id))
    }

    /// A requantization of `tensor`, imported from `site`, to the precision chosen for node `end`.
    pub(super) fn requantize_chosen(
        &mut self,
        site: &Site<'_>,
        tensor: usize,
        end: usize,
    ) -> Result<(), QuantizeError> {
        let function = site.target.is_some_and(|t| t.activation.is_some());
        if function || self.chosen(end) != Some(Precision::Int16) {
            return self.requantize(site, tensor, end);
        }
        // a table of sixteen bits would have more rows than most tensors have elements
        let graph = self.graph;
        let node = &graph.nodes[end];
        let rescale = Rescale::import(site)?.into();
        let mut result = self.builder.node(&node.name, rescale, &[tensor])?;
        let Encoding { lo, hi, .. } = site.encoding()?;
        let (fact, _) = self.known(node, result)?;
        if fact.interval.lo < lo.into() || fact.interval.hi > hi.into() {
            let clip = Clip { lo, hi }.into();
            result = self.builder.node(&node.name, clip, &[result])?;
        }
        self.multiplier_errors[end] = Some(site.multiplier_error()?);
        self.settle(end, result);
        Ok(())
    }

    /// Requantizes the tensor of node `id` where it does not fit what is chosen for the node; whole numbers stay.
    pub(super) fn brought_to_chosen(&mut self, id: usize) -> Result<(), QuantizeError> {
        let (Some(precision), Some(tensor)) = (self.chosen(id), self.tensors[id]) else {
            return Ok(());
        };
        let node = &self.graph.nodes[id];
        let (fact, _) = self.known(node, tensor)?;
        let most = precision.interval();
        let fits = most.contains(fact.interval.lo) && most.contains(fact.interval.hi);
        if fits || self.is_whole(node, tensor)? {
            return Ok(());
        }
        let target = Target {
            clamped: self.activation(id)?,
            activation: None,
        };
        let plain = as_it_is(node);
        self.requantize_chosen(&self.site(&plain, &[tensor], Some(&target))?, tensor, id)
    }

    /// Refuses choices that came to nothing. Where several nodes have one name, the last gives the result of the ONNX node.
    pub(super) fn check_chosen(&self) -> Result<(), QuantizeError> {
        let nodes = &self.graph.nodes;
        for (name, precision) in self.precisions.iter() {
            let Some(id) = nodes.iter().rposition(|node| node.name == name) else {
                continue;
            };
            let node = name.to_owned();
            let Some(tensor) = self.tensors[id] else {
                let into = self.taker(id);
                return Err(PrecisionError::Fused { node, into }.into());
            };
            if self.is_whole(&nodes[id], tensor)? {
                return Err(PrecisionError::Whole { node }.into());
            }
            let (fact, _) = self.known(&nodes[id], tensor)?;
            if precision == Precision::Int16 && fact.is_int8() {
                let from = self.source(id);
                return Err(PrecisionError::Kept { node, from }.into());
            }
        }
        Ok(())
    }

    /// The name of the first node behind `id` that has a tensor.
    fn taker(&self, id: usize) -> String {
        let mut at = id;
        while let (None, Some(next)) = (self.tensors[at], self.sole_reader(at)) {
            at = next;
        }
        self.graph.nodes[at].name.clone()
    }

    /// The name of the first node before `id` that has another one.
    fn source(&self, id: usize) -> String {
        let nodes = &self.graph.nodes;
        let mut at = id;
        while let Some(&from) = nodes[at].inputs.first() {
            at = from;
            if nodes[at].name != nodes[id].name {
                break;
            }
        }
        nodes[at].name.clone()
    }

    /// The integers of a node's tensor, if it has one.
    pub(super) fn integers(&self, id: usize) -> Option<Integers> {
        let fact = self.builder.fact(self.tensors[id]?)?;
        Some(Integers::new(fact, self.reason(id, fact)))
    }

    fn reason(&self, id: usize, fact: &Fact) -> Reason {
        let node = &self.graph.nodes[id];
        if fact.quantization == Some(Encoding::whole(0, 0).quantization) {
            return Reason::Whole;
        }
        // of several nodes with one name, those before the last may move int8
        let chosen = self.chosen(id).map(Precision::interval);
        if chosen.is_some_and(|most| most == Precision::Int8.interval() || !fact.is_int8()) {
            return Reason::Chosen;
        }
        if self.given(id).is_some() {
            return Reason::Given;
        }
        if fact.is_int8() {
            return Reason::Usual;
        }
        match node.op {
            FloatOp::Softmax { .. } | FloatOp::Normalize { .. } => Reason::Operator,
            FloatOp::Unary(_) | FloatOp::Lookup { .. } => {
                self.read_by(id, self.readers[id].first().copied())
            }
            FloatOp::Conv { .. }
            | FloatOp::Affine { .. }
            | FloatOp::MatMul { .. }
            | FloatOp::Contract { .. }
            | FloatOp::Input { .. }
            | FloatOp::Mul
            | FloatOp::Add { .. } => self.read_by(id, self.wide[id]),
            _ => Reason::Exact,
        }
    }

    fn read_by(&self, id: usize, reader: Option<usize>) -> Reason {
        let Some(reader) = reader.and_then(|r| self.graph.nodes.get(r)) else {
            return Reason::Exact;
        };
        Reason::ReadBy {
            op: reader.op.name().to_owned(),
            node: reader.name.clone(),
            through_sums: !reader.inputs.contains(&id),
        }
    }
}
