//! Operators that read several tensors at one scale.

use super::super::calibrate::Range;
use super::super::precision::Precision;
use super::super::scheme::{Encoding, Target};
use super::rows::{FINEST, MAX_SPAN};
use super::{Plan, QuantizeError, as_it_is};
use crate::onnx::{BELOW, FloatGraph, FloatOp, holds};
use crate::ops::{Extremum, Gather, Op, Operator, Requantize, Select};
use crate::tensor::Quantization;

/// A comparison with constants is made in steps this much finer than the tensor's.
const FINER: f64 = 256.0;

/// Whether a node holds constants only.
pub(super) fn is_constant(graph: &FloatGraph, id: usize) -> bool {
    let node = &graph.nodes[id];
    let before: usize = node.inputs.iter().map(|&i| graph.nodes[i].len()).sum();
    match &node.op {
        FloatOp::Gather { index, .. } => index.iter().all(|&i| i as usize >= before),
        _ => false,
    }
}

/// The encoding of a softmax's scores, of which the least value is masked: as fine as the softmax takes it.
fn scores(Range { lo, hi, .. }: Range) -> Encoding {
    let scale = ((hi - lo) / (MAX_SPAN - 2.0)).max(FINEST);
    Encoding {
        quantization: Quantization {
            scale,
            zero_point: 0,
        },
        // as many steps as a softmax takes
        lo: (lo / scale).floor() as i32,
        hi: (hi / scale).ceil() as i32,
    }
}

impl Plan<'_> {
    fn is_constant(&self, id: usize) -> bool {
        is_constant(self.graph, id)
    }

    /// Whether whole numbers stand for all constants of a gather.
    fn has_whole_constants(&self, id: usize) -> bool {
        let whole = |c: &f32| c.fract() == 0.0 && c.abs() < (1 << 24) as f32;
        match &self.graph.nodes[id].op {
            FloatOp::Gather { constants, .. } => constants.iter().all(whole),
            _ => false,
        }
    }

    /// Gather, Max, Min, Where: all that is mixed is brought to one encoding, which is then the result's.
    pub(super) fn mixed(&mut self, id: usize) -> Result<(), QuantizeError> {
        let node = &self.graph.nodes[id];
        // the condition of a selection is not mixed
        let (kept, chosen) = node.inputs.split_at(match node.op {
            FloatOp::Select => 1,
            _ => 0,
        });
        let encoding = self.common(id, chosen)?;
        if let FloatOp::Gather { .. } = node.op {
            return self.gathered(id, encoding);
        }
        let site = self.site(node, &self.tensors_of(node)?, None)?;
        let op: Op = match node.op {
            FloatOp::Select => Select::import(&site)?.into(),
            _ => Extremum::import(&site)?.into(),
        };
        let mut tensors = kept
            .iter()
            .map(|&input| self.tensor(input))
            .collect::<Result<Vec<_>, _>>()?;
        for &input in chosen {
            tensors.push(self.encoded(input, encoding)?);
        }
        let tensor = self.builder.node(&node.name, op, &tensors)?;
        self.settle(id, tensor);
        Ok(())
    }

    /// The encoding that a node's inputs share, if they do; else the node's own.
    fn common(&self, id: usize, inputs: &[usize]) -> Result<Encoding, QuantizeError> {
        let node = &self.graph.nodes[id];
        if let Some(range) = self.masked_scores(id).or_else(|| self.hidden(id)) {
            return Ok(scores(range));
        }
        let computed: Vec<usize> = inputs
            .iter()
            .copied()
            .filter(|&i| !self.is_constant(i))
            .collect();
        let mut shared: Option<Quantization> = None;
        let mut same = !self.is_constant(id) && !computed.is_empty();
        for &input in &computed {
            let (_, quantization) = self.known(node, self.tensor(input)?)?;
            same &= shared.is_none_or(|q| q == quantization);
            shared = Some(quantization);
        }
        let whole = Encoding::boundless(Encoding::whole(0, 0).quantization);
        if self.index[id] {
            return Ok(whole);
        }
        let constants = inputs.iter().copied().filter(|&i| self.is_constant(i));
        let fits = constants
            .chain([id])
            .all(|i| self.has_whole_constants(i) || !self.has_constants(i));
        match shared.filter(|_| same) {
            Some(q) if q == whole.quantization && fits => Ok(whole),
            Some(q) if !self.has_constants(id) && computed.len() == inputs.len() => {
                Ok(Encoding::boundless(q))
            }
            Some(q) => {
                // constants must lie where the tensors' integers do
                let own = self.calibrated(id, Precision::Int8)?;
                let Some(reach) = self.ranges.get(id) else {
                    return Ok(own);
                };
                let inside = |v: f64| (v / q.scale + q.zero_point as f64).abs() <= 32768.0;
                Ok(if inside(reach.lo) && inside(reach.hi) {
                    Encoding::boundless(q)
                } else {
                    own
                })
            }
            None if self.is_constant(id) && self.has_whole_constants(id) => Ok(whole),
            None => self.calibrated(id, Precision::Int8),
        }
    }

    /// The range of scores of which smaller ones, chosen or computed, have no share.
    fn hidden(&self, id: usize) -> Option<Range> {
        let &range = self.ranges.get(id)?;
        let shown = range.shown();
        (shown != range && self.given(id).is_none()).then_some(shown)
    }

    /// The range of all scores that are moved and chosen together with those of `id`, and of what masks some of them; `None` where nothing is masked.
    fn masked_scores(&self, id: usize) -> Option<Range> {
        let nodes = &self.graph.nodes;
        if self.is_constant(id) || !nodes.iter().any(holds) {
            return None;
        }
        let moves = |op: &FloatOp| {
            matches!(
                op,
                FloatOp::Layout { .. } | FloatOp::Gather { .. } | FloatOp::Select
            )
        };
        let chosen = |at: usize| match nodes[at].op {
            // the condition is a truth value
            FloatOp::Select => &nodes[at].inputs[1..],
            _ => &nodes[at].inputs[..],
        };
        let (mut reached, mut seen) = (vec![id], vec![false; nodes.len()]);
        let (mut masked, mut range) = (false, Range::NONE);
        while let Some(at) = reached.pop() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            masked |= holds(&nodes[at]);
            if self.is_constant(at) {
                continue;
            }
            let &Range { lo, hi, .. } = self.ranges.get(at)?;
            range = Range {
                lo: range.lo.min(lo),
                hi: range.hi.max(hi),
                ..range
            };
            if !moves(&nodes[at].op) {
                continue;
            }
            reached.extend(chosen(at));
            for &reader in &self.readers[at] {
                let node = nodes.get(reader);
                if node.is_some_and(|n| moves(&n.op)) && chosen(reader).contains(&at) {
                    reached.push(reader);
                }
            }
        }
        range.lo -= BELOW;
        masked.then_some(range)
    }

    fn has_constants(&self, id: usize) -> bool {
        match &self.graph.nodes[id].op {
            FloatOp::Gather { constants, .. } => !constants.is_empty(),
            _ => false,
        }
    }

    /// Node `id` as integers of an encoding: as it is, made of constants, or requantized.
    pub(super) fn encoded(
        &mut self,
        id: usize,
        encoding: Encoding,
    ) -> Result<usize, QuantizeError> {
        let graph = self.graph;
        let node = &graph.nodes[id];
        let tensor = self.tensor(id)?;
        let (fact, quantization) = self.known(node, tensor)?;
        let inside =
            fact.interval.lo >= encoding.lo.into() && fact.interval.hi <= encoding.hi.into();
        if quantization == encoding.quantization && inside {
            return Ok(tensor);
        }
        let q = encoding.quantization;
        let key = (id, q.scale.to_bits(), q.zero_point);
        if let Some(&known) = self.encoded.get(&key) {
            return Ok(known);
        }
        let target = Target {
            clamped: encoding,
            activation: None,
        };
        let made = if self.is_constant(id) {
            let from = self.tensor(node.inputs[0])?;
            let site = self.site(node, &[from], Some(&target))?;
            self.builder
                .node(&node.name, Gather::import(&site)?.into(), &[from])?
        } else {
            let plain = as_it_is(node);
            let site = self.site(&plain, &[tensor], Some(&target))?;
            self.builder
                .node(&node.name, Requantize::import(&site)?.into(), &[tensor])?
        };
        self.encoded.insert(key, made);
        Ok(made)
    }

    fn gathered(&mut self, id: usize, encoding: Encoding) -> Result<(), QuantizeError> {
        let graph = self.graph;
        let node = &graph.nodes[id];
        let mut tensors = vec![];
        for &input in &node.inputs {
            tensors.push(match self.is_constant(id) {
                true => self.tensor(input)?,
                false => self.encoded(input, encoding)?,
            });
        }
        let target = Target {
            clamped: encoding,
            activation: None,
        };
        let site = self.site(node, &tensors, Some(&target))?;
        let op = Gather::import(&site)?.into();
        let tensor = self.builder.node(&node.name, op, &tensors)?;
        self.settle(id, tensor);
        Ok(())
    }

    /// The tensors that a comparison reads: constants in steps that are finer than the other operand's.
    pub(super) fn comparable(&mut self, id: usize) -> Result<Vec<usize>, QuantizeError> {
        let inputs = self.graph.nodes[id].inputs.clone();
        let mut tensors = Vec::with_capacity(2);
        for (i, &input) in inputs.iter().enumerate() {
            let other = inputs[1 - i.min(1)];
            let tensor = self.tensor(input)?;
            let node = &self.graph.nodes[other];
            let (_, quantization) = self.known(node, self.tensor(other)?)?;
            let whole = self.is_whole(&self.graph.nodes[input], tensor)?;
            let alike = whole && quantization == Encoding::whole(0, 0).quantization;
            if !self.is_constant(input) || alike {
                tensors.push(tensor);
                continue;
            }
            let fine = Encoding::boundless(Quantization {
                scale: quantization.scale / FINER,
                zero_point: 0,
            });
            tensors.push(self.encoded(input, fine)?);
        }
        Ok(tensors)
    }
}
