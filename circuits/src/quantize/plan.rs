//! From the float graph to the integer model: which tensors are requantized, and what fuses.
//!
//! Conv, MatMul, affine functions and Add make accumulators, each followed by one Requantize that takes in the clamp and the
//! element-wise function behind it. MaxPool and Layout keep their input's quantization. Sums stay exact and wide until an
//! accumulator or a model output needs them.

use super::calibrate::Range;
use super::given::{self, Encoding};
use super::scheme::{SchemeError, Site, Target, activation, to_int8};
use crate::model::{Model, ModelBuilder, ModelError, Visibilities};
use crate::onnx::{FloatGraph, FloatNode, FloatOp};
use crate::ops::{Add, Conv, Layout, MatMul, MaxPool, Op, Operator, Requantize, SumPool, Table};
use crate::tensor::Quantization;

/// Why a float graph has no integer model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// All calibration samples give a tensor the same value, 0.
    #[error(
        "calibration leaves the range of `{tensor}` degenerate: every sample gives [{lo}, {hi}]; use samples that exercise it"
    )]
    DegenerateRange {
        /// ONNX node or input whose output it is.
        tensor: String,
        /// Least value seen.
        lo: f64,
        /// Largest value seen.
        hi: f64,
    },
    /// The file gives no quantization and there are no samples.
    #[error(
        "the file gives `{tensor}` no quantization; expected a QuantizeLinear behind it, or calibration samples"
    )]
    Uncalibrated {
        /// ONNX node or input whose output it is.
        tensor: String,
    },
    /// A quantization of other integers than int8 and uint8.
    #[error("`{tensor}` is quantized to [{lo}, {hi}]; expected int8 or uint8")]
    Integers {
        /// ONNX node.
        tensor: String,
        /// Least integer.
        lo: i64,
        /// Largest integer.
        hi: i64,
    },
    /// A scale does not fit.
    #[error(transparent)]
    Scheme(#[from] SchemeError),
    /// The integer operators do not fit together.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// An integer model and how it follows the float graph.
#[derive(Debug)]
pub struct Quantized {
    /// The model.
    pub model: Model,
    /// For every float node, the model tensor that stands for it; `None` where it disappeared in a fusion.
    pub tensors: Vec<Option<usize>>,
    /// For every float node, the largest relative error of the multipliers that end in it.
    pub multiplier_errors: Vec<Option<f64>>,
}

/// Quantizes a float graph; `ranges` is empty where there are no samples, and then the file must give every quantization.
///
/// # Errors
/// See [`QuantizeError`].
pub fn quantize(
    graph: &FloatGraph,
    ranges: &[Range],
    visibilities: Visibilities,
) -> Result<Quantized, QuantizeError> {
    let mut plan = Plan {
        graph,
        ranges,
        readers: graph.readers(),
        builder: ModelBuilder::new(visibilities),
        tensors: vec![None; graph.nodes.len()],
        done: vec![false; graph.nodes.len()],
        multiplier_errors: vec![None; graph.nodes.len()],
    };
    for &id in &graph.inputs {
        let node = &graph.nodes[id];
        let quantization = match plan.mark_behind(id) {
            Some(mark) => plan.encoding(mark)?.quantization,
            None => plan.activation(id)?,
        };
        let tensor = plan
            .builder
            .input(&node.name, node.shape.clone(), quantization)?;
        plan.settle(id, tensor);
    }
    for id in 0..graph.nodes.len() {
        if !plan.done[id] {
            plan.node(id)?;
        }
    }
    for (name, id) in &graph.outputs {
        let tensor = plan.int8(*id)?;
        plan.builder.output(name, tensor)?;
    }
    Ok(Quantized {
        model: plan.builder.finish()?,
        tensors: plan.tensors,
        multiplier_errors: plan.multiplier_errors,
    })
}

struct Plan<'a> {
    graph: &'a FloatGraph,
    ranges: &'a [Range],
    readers: Vec<Vec<usize>>,
    builder: ModelBuilder,
    tensors: Vec<Option<usize>>,
    done: Vec<bool>,
    multiplier_errors: Vec<Option<f64>>,
}

impl Plan<'_> {
    fn settle(&mut self, id: usize, tensor: usize) {
        self.tensors[id] = Some(tensor);
        self.done[id] = true;
    }

    /// The quantization that the mark `id` gives.
    fn encoding(&self, id: usize) -> Result<Encoding, QuantizeError> {
        let node = &self.graph.nodes[id];
        given::encoding(&node.op).ok_or_else(|| match node.op {
            FloatOp::Quantize { lo, hi, .. } => QuantizeError::Integers {
                tensor: node.name.clone(),
                lo,
                hi,
            },
            _ => QuantizeError::Uncalibrated {
                tensor: node.name.clone(),
            },
        })
    }

    /// The mark that alone reads `id`.
    fn mark_behind(&self, id: usize) -> Option<usize> {
        let is_mark = |&next: &usize| matches!(self.graph.nodes[next].op, FloatOp::Quantize { .. });
        self.sole_reader(id).filter(is_mark)
    }

    /// The int8 quantization of a node's calibrated range, or the one its mark gives.
    fn activation(&self, id: usize) -> Result<Quantization, QuantizeError> {
        if let FloatOp::Quantize { .. } = self.graph.nodes[id].op {
            return Ok(self.encoding(id)?.quantization);
        }
        let Some(&Range { lo, hi }) = self.ranges.get(id) else {
            return Err(QuantizeError::Uncalibrated {
                tensor: self.graph.nodes[id].name.clone(),
            });
        };
        activation(lo, hi).ok_or_else(|| QuantizeError::DegenerateRange {
            tensor: self.graph.nodes[id].name.clone(),
            lo,
            hi,
        })
    }

    /// The model tensor of an earlier float node.
    fn tensor(&self, id: usize) -> Result<usize, QuantizeError> {
        let node = &self.graph.nodes[id];
        let missing = || SchemeError::Operator {
            node: node.name.clone(),
            op: node.op.name(),
        };
        Ok(self.tensors[id].ok_or_else(missing)?)
    }

    /// The quantization of a model tensor; accumulators are never asked for.
    fn quantization(&self, node: &FloatNode, tensor: usize) -> Result<Quantization, QuantizeError> {
        let missing = || SchemeError::Operator {
            node: node.name.clone(),
            op: node.op.name(),
        };
        Ok(self
            .builder
            .fact(tensor)
            .and_then(|f| f.quantization)
            .ok_or_else(missing)?)
    }

    fn sole_reader(&self, id: usize) -> Option<usize> {
        match self.readers[id][..] {
            [reader] if reader != usize::MAX => Some(reader),
            _ => None,
        }
    }

    /// What the requantization that starts at `id` must produce, and the float nodes behind it that it takes in.
    fn target(&self, id: usize) -> Result<(Target, Vec<usize>), QuantizeError> {
        let nodes = &self.graph.nodes;
        let mut taken = vec![id];
        let mut end = id;
        let mut bounds = match nodes[id].op {
            FloatOp::Clamp { lo, hi } => Some((lo, hi)),
            _ => None,
        };
        if let Some(next) = self.sole_reader(end)
            && let (FloatOp::Clamp { lo, hi }, None) = (&nodes[next].op, bounds)
        {
            bounds = Some((*lo, *hi));
            end = next;
            taken.push(end);
        }
        let (lo, hi) = bounds.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        if let Some(mark) = self.mark_behind(end) {
            let encoding = self.encoding(mark)?;
            taken.push(mark);
            let target = Target {
                clamped: encoding.quantization,
                lo: encoding.nearest(lo.into()),
                hi: encoding.nearest(hi.into()),
                activation: None,
            };
            return Ok((target, taken));
        }
        let clamped = self.activation(end)?;
        let (lo, hi) = (to_int8(lo.into(), clamped), to_int8(hi.into(), clamped));
        let mut activation = None;
        if let Some(next) = self.sole_reader(end)
            && let FloatOp::Unary(function) = nodes[next].op
        {
            end = self.mark_behind(next).unwrap_or(next);
            activation = Some((function, self.activation(end)?));
            taken.extend([next, end]);
        }
        let target = Target {
            clamped,
            lo,
            hi,
            activation,
        };
        Ok((target, taken))
    }

    /// The requantization of `tensor` that ends the float nodes `taken`.
    fn end(
        &mut self,
        site: &Site<'_>,
        tensor: usize,
        taken: &[usize],
    ) -> Result<(), QuantizeError> {
        for &id in taken {
            self.done[id] = true;
        }
        let end = taken.last().copied().unwrap_or_default();
        self.requantize(site, tensor, end)
    }

    /// A requantization of `tensor`, imported from `site`.
    fn requantize(
        &mut self,
        site: &Site<'_>,
        tensor: usize,
        end: usize,
    ) -> Result<(), QuantizeError> {
        let name = &self.graph.nodes[end].name;
        let requantized = self
            .builder
            .node(name, Requantize::import(site)?.into(), &[tensor])?;
        self.multiplier_errors[end] = Some(site.multiplier_error()?);
        self.settle(end, requantized);
        Ok(())
    }

    fn node(&mut self, id: usize) -> Result<(), QuantizeError> {
        let graph = self.graph;
        let node = &graph.nodes[id];
        let inputs = node
            .inputs
            .iter()
            .map(|&i| self.tensor(i))
            .collect::<Result<Vec<_>, _>>()?;
        let quantizations = inputs
            .iter()
            .map(|&t| self.quantization(node, t))
            .collect::<Result<Vec<_>, _>>()?;
        let mut site = Site {
            node,
            inputs: quantizations,
            target: None,
            given: graph.given.as_ref().and_then(|g| g.get(&node.name)),
            precise: graph.given.is_some(),
        };
        if let FloatOp::Conv { .. } | FloatOp::MatMul { .. } = node.op {
        } else {
            site.given = None;
        }
        let kept: Op = match node.op {
            FloatOp::Input => return Ok(()),
            FloatOp::Layout { .. } => Layout::import(&site)?.into(),
            FloatOp::MaxPool { .. } => MaxPool::import(&site)?.into(),
            FloatOp::SumPool { .. } => SumPool::import(&site)?.into(),
            FloatOp::Quantize { .. } => return self.mark(id, inputs[0]),
            FloatOp::Unary(function) => {
                let end = self.mark_behind(id).unwrap_or(id);
                let output = self.activation(end)?;
                let narrow = inputs
                    .first()
                    .and_then(|&t| self.builder.fact(t))
                    .is_some_and(|f| f.is_int8());
                let clamped = if narrow {
                    site.input(0)?
                } else {
                    self.activation(node.inputs[0])?
                };
                let target = Target {
                    clamped,
                    lo: -128,
                    hi: 127,
                    activation: Some((function, output)),
                };
                site.target = Some(&target);
                if !narrow {
                    return self.end(&site, inputs[0], &[id, end]);
                }
                let tensor =
                    self.builder
                        .node(&node.name, Table::import(&site)?.into(), &inputs)?;
                self.done[id] = true;
                self.settle(end, tensor);
                return Ok(());
            }
            FloatOp::Clamp { lo, hi } if self.keeps_scale(id, lo, hi) => {
                let clamped = site.input(0)?;
                let target = Target {
                    clamped,
                    lo: to_int8(lo.into(), clamped),
                    hi: to_int8(hi.into(), clamped),
                    activation: None,
                };
                site.target = Some(&target);
                return self.end(&site, inputs[0], &[id]);
            }
            FloatOp::Clamp { .. } => {
                let (target, taken) = self.target(id)?;
                site.target = Some(&target);
                return self.end(&site, inputs[0], &taken);
            }
            FloatOp::Conv { .. }
            | FloatOp::Affine { .. }
            | FloatOp::MatMul { .. }
            | FloatOp::Add { .. } => {
                let (target, taken) = self.target(id)?;
                site.target = Some(&target);
                let op: Op = match node.op {
                    FloatOp::MatMul { .. } => MatMul::import(&site)?.into(),
                    FloatOp::Add { .. } => Add::import(&site)?.into(),
                    _ => Conv::import(&site)?.into(),
                };
                let accumulator = self.builder.node(&node.name, op, &inputs)?;
                return self.end(&site, accumulator, &taken);
            }
        };
        let tensor = self.builder.node(&node.name, kept, &inputs)?;
        self.settle(id, tensor);
        Ok(())
    }

    /// Whether a clamp that the file gives no quantization is exact in that of what it clamps: its bounds are 0 or none.
    fn keeps_scale(&self, id: usize, lo: f32, hi: f32) -> bool {
        let exact = |bound: f32| bound == 0.0 || bound.is_infinite();
        let next = self.sole_reader(id).map(|next| &self.graph.nodes[next].op);
        let given = matches!(next, Some(FloatOp::Quantize { .. } | FloatOp::Unary(_)));
        self.graph.given.is_some() && !given && exact(lo) && exact(hi)
    }

    /// The tensor of a quantization mark that stands alone: the one it reads, where that has the quantization it gives.
    fn mark(&mut self, id: usize, tensor: usize) -> Result<(), QuantizeError> {
        let node = &self.graph.nodes[id];
        let encoding = self.encoding(id)?;
        let fact = self.builder.fact(tensor);
        if fact.is_some_and(|f| f.is_int8() && f.quantization == Some(encoding.quantization)) {
            self.settle(id, tensor);
            return Ok(());
        }
        let target = Target {
            clamped: encoding.quantization,
            lo: encoding.lo,
            hi: encoding.hi,
            activation: None,
        };
        let site = Site {
            node,
            inputs: vec![self.quantization(node, tensor)?],
            target: Some(&target),
            given: None,
            precise: true,
        };
        self.requantize(&site, tensor, id)
    }

    /// The model tensor of a float node as int8, requantized if it is wider.
    fn int8(&mut self, id: usize) -> Result<usize, QuantizeError> {
        let tensor = self.tensor(id)?;
        if self.builder.fact(tensor).is_some_and(|f| f.is_int8()) {
            return Ok(tensor);
        }
        let node = &self.graph.nodes[id];
        let clamped = self.activation(id)?;
        let target = Target {
            clamped,
            lo: -128,
            hi: 127,
            activation: None,
        };
        // the tensor itself is requantized, whatever made it
        let plain = FloatNode {
            op: FloatOp::Clamp {
                lo: f32::MIN,
                hi: f32::MAX,
            },
            ..node.clone()
        };
        let site = Site {
            node: &plain,
            inputs: vec![self.quantization(node, tensor)?],
            target: Some(&target),
            given: None,
            precise: false,
        };
        self.requantize(&site, tensor, id)?;
        self.tensor(id)
    }
}
