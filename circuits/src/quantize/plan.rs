//! From the float graph to the integer model: which tensors are requantized, and what fuses.
//!
//! Conv, MatMul, affine functions and Add make accumulators, each followed by one Requantize that takes in the clamp and the
//! element-wise function behind it; so do products, whose scale is that of their factors. MaxPool and Layout keep their input's quantization;
//! operators that mix tensors (Gather, Max, Where) bring them to one. Sums stay exact and wide until an accumulator or a model output needs
//! them. Truth values, indices and other whole numbers have scale 1 and stay exact.

mod chosen;
mod mixed;
mod rows;

use super::calibrate::Range;
use super::given;
use super::precision::{Integers, Precision, PrecisionError, Precisions};
use super::scheme::{Encoding, SchemeError, Site, Target, activation, whole_factors};
use crate::model::{Model, ModelBuilder, ModelError, Visibilities};
use crate::onnx::{Expression, FloatGraph, FloatNode, FloatOp, Given};
use crate::ops::{
    Add, ArgExtremum, Clip, Compare, Contract, Conv, Layout, Lookup, MatMul, MaxPool, Mul, Op,
    Operator, Requantize, Rescale, SumPool, Table, TopK,
};
use crate::tensor::{Fact, Interval, Quantization};
use std::collections::BTreeMap;
use zkinfer_verifier::Dtype;

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
    /// An input is quantized to integers that no statement has.
    #[error("`{tensor}` is quantized to [{lo}, {hi}]; expected int8, uint8 or int16")]
    Integers {
        /// ONNX input.
        tensor: String,
        /// Least integer.
        lo: i32,
        /// Largest integer.
        hi: i32,
    },
    /// A precision cannot be as it was chosen.
    #[error(transparent)]
    Precision(#[from] PrecisionError),
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
    /// For every float node, the integers of its model tensor; `None` where there is none.
    pub integers: Vec<Option<Integers>>,
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
    quantize_with(graph, ranges, visibilities, &Precisions::default())
}

/// The same, with the precisions of some nodes chosen by the caller.
///
/// # Errors
/// See [`QuantizeError`].
pub fn quantize_with(
    graph: &FloatGraph,
    ranges: &[Range],
    visibilities: Visibilities,
    precisions: &Precisions,
) -> Result<Quantized, QuantizeError> {
    precisions.check(graph)?;
    let mut plan = Plan {
        graph,
        ranges,
        precisions,
        wide: rows::wide(graph, precisions),
        index: rows::indices(graph),
        readers: graph.readers(),
        builder: ModelBuilder::new(visibilities),
        tensors: vec![None; graph.nodes.len()],
        done: vec![false; graph.nodes.len()],
        encoded: BTreeMap::new(),
        multiplier_errors: vec![None; graph.nodes.len()],
    };
    for &id in &graph.inputs {
        let node = &graph.nodes[id];
        let (dtype, quantization) = plan.input_type(id)?;
        let tensor = plan
            .builder
            .input(&node.name, node.shape.clone(), dtype, quantization)?;
        plan.settle(id, tensor);
    }
    for id in 0..graph.nodes.len() {
        if !plan.done[id] {
            plan.node(id)?;
        }
        plan.brought_to_chosen(id)?;
    }
    for (name, id) in &graph.outputs {
        let tensor = plan.output(*id)?;
        plan.builder.output(name, tensor)?;
    }
    plan.check_chosen()?;
    let integers = (0..graph.nodes.len()).map(|id| plan.integers(id)).collect();
    Ok(Quantized {
        model: plan.builder.finish()?,
        tensors: plan.tensors,
        multiplier_errors: plan.multiplier_errors,
        integers,
    })
}

struct Plan<'a> {
    graph: &'a FloatGraph,
    ranges: &'a [Range],
    precisions: &'a Precisions,
    readers: Vec<Vec<usize>>,
    /// For the nodes whose digits beyond eight bits show in what follows, the nearest node that needs them.
    wide: Vec<Option<usize>>,
    /// The nodes that choose rows of tables.
    index: Vec<bool>,
    builder: ModelBuilder,
    tensors: Vec<Option<usize>>,
    done: Vec<bool>,
    /// Nodes brought to another encoding: by node, bits of the scale, and zero point.
    encoded: BTreeMap<(usize, u64, i64), usize>,
    multiplier_errors: Vec<Option<f64>>,
}

/// Largest whole number that a function gives.
const MAX_WHOLE: i32 = 1 << 24;
/// Widest interval of whole numbers that a table is made for.
const MAX_WHOLE_KEYS: u64 = 1 << 16;
/// A shorter table is made as it is.
const MAX_SHORT_KEYS: u64 = 1 << 12;
/// Rows of an element that is clipped, about.
const CLIP_ROWS: u64 = 16;
/// Widest interval of another tensor that a table is made for without requantizing it first.
const MAX_KEYS: u64 = 1 << 9;
/// Widest interval of sums whose means a table rounds as the file's runtime does.
const MAX_MEAN_KEYS: u64 = 1 << 14;

impl<'a> Plan<'a> {
    fn settle(&mut self, id: usize, tensor: usize) {
        self.tensors[id] = Some(tensor);
        self.done[id] = true;
    }

    /// The encoding that the mark `id`, or one that alone reads `id`, gives.
    fn given(&self, id: usize) -> Option<Encoding> {
        let encoding = |id: usize| given::encoding(&self.graph.nodes[id].op);
        encoding(id).or_else(|| encoding(self.sole_reader(id)?))
    }

    /// The encoding that the file gives a node, or that of its calibrated range in the bits chosen for it, which are eight otherwise.
    fn activation(&self, id: usize) -> Result<Encoding, QuantizeError> {
        self.calibrated(id, self.chosen(id).unwrap_or(Precision::Int8))
    }

    /// The encoding that the file gives a node, or that of its calibrated range.
    fn calibrated(&self, id: usize, precision: Precision) -> Result<Encoding, QuantizeError> {
        if let Some(encoding) = self.given(id) {
            return Ok(encoding);
        }
        let Some(&Range { lo, hi, .. }) = self.ranges.get(id) else {
            return Err(QuantizeError::Uncalibrated {
                tensor: self.graph.nodes[id].name.clone(),
            });
        };
        let encoding = match precision {
            Precision::Int8 => activation(lo, hi),
            Precision::Int16 => Encoding::int16(lo, hi),
        };
        encoding.ok_or_else(|| QuantizeError::DegenerateRange {
            tensor: self.graph.nodes[id].name.clone(),
            lo,
            hi,
        })
    }

    /// Type and quantization of a model input.
    fn input_type(&self, id: usize) -> Result<(Dtype, Quantization), QuantizeError> {
        let dtype = match self.graph.nodes[id].op {
            FloatOp::Input { dtype } => dtype,
            _ => None,
        };
        Ok(match dtype {
            Some(dtype) => (dtype, Encoding::whole(0, 0).quantization),
            None => {
                let usual = match self.wide[id] {
                    Some(_) => Precision::Int16,
                    None => Precision::Int8,
                };
                let encoding = self.calibrated(id, self.chosen(id).unwrap_or(usual))?;
                let dtype = given::dtype(&encoding).ok_or_else(|| QuantizeError::Integers {
                    tensor: self.graph.nodes[id].name.clone(),
                    lo: encoding.lo,
                    hi: encoding.hi,
                })?;
                (dtype, encoding.quantization)
            }
        })
    }

    fn missing(&self, node: &FloatNode) -> SchemeError {
        SchemeError::Operator {
            node: node.name.clone(),
            op: node.op.name(),
        }
    }

    /// The model tensor of an earlier float node.
    fn tensor(&self, id: usize) -> Result<usize, QuantizeError> {
        let missing = || self.missing(&self.graph.nodes[id]);
        Ok(self.tensors[id].ok_or_else(missing)?)
    }

    /// The model tensors that a float node reads.
    fn tensors_of(&self, node: &FloatNode) -> Result<Vec<usize>, QuantizeError> {
        node.inputs.iter().map(|&i| self.tensor(i)).collect()
    }

    /// What is known about a model tensor that is no accumulator.
    fn known(
        &self,
        node: &FloatNode,
        tensor: usize,
    ) -> Result<(Fact, Quantization), QuantizeError> {
        let fact = self.builder.fact(tensor).cloned();
        let known = fact.and_then(|fact| Some((fact.quantization?, fact)));
        let (quantization, fact) = known.ok_or_else(|| self.missing(node))?;
        Ok((fact, quantization))
    }

    /// A float node with what is known about the tensors before it.
    fn site<'b>(
        &self,
        node: &'b FloatNode,
        tensors: &[usize],
        target: Option<&'b Target>,
    ) -> Result<Site<'b>, QuantizeError>
    where
        'a: 'b,
    {
        let known = tensors.iter().map(|&t| self.known(node, t));
        let known = known.collect::<Result<Vec<_>, _>>()?;
        Ok(Site {
            node,
            inputs: known
                .iter()
                .map(|(_, quantization)| *quantization)
                .collect(),
            intervals: known.iter().map(|(fact, _)| fact.interval).collect(),
            target,
            given: self.given_layer(node),
            precise: self.graph.given.is_some(),
            real_bias: self
                .given_layer(node)
                .is_some_and(|given| !given.rounds_bias),
        })
    }

    /// What the file gives a layer.
    fn given_layer(&self, node: &FloatNode) -> Option<&'a Given> {
        match node.op {
            FloatOp::Conv { .. } | FloatOp::MatMul { .. } => {
                self.graph.given.as_ref().and_then(|g| g.get(&node.name))
            }
            _ => None,
        }
    }

    /// Whether a tensor holds whole numbers as themselves.
    fn is_whole(&self, node: &FloatNode, tensor: usize) -> Result<bool, QuantizeError> {
        let (_, quantization) = self.known(node, tensor)?;
        Ok(quantization == Encoding::whole(0, 0).quantization)
    }

    fn sole_reader(&self, id: usize) -> Option<usize> {
        match self.readers[id][..] {
            [reader] if reader != usize::MAX => Some(reader),
            _ => None,
        }
    }

    /// What the requantization that starts at `id` must produce, and the last float node it takes in.
    fn target(&self, id: usize) -> Result<(Target, usize), QuantizeError> {
        let nodes = &self.graph.nodes;
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
        }
        let (lo, hi) = bounds.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        let mut clamped = self.activation(end)?;
        let mut activation = None;
        if let Some(next) = self.sole_reader(end)
            && let FloatOp::Unary(function) = &nodes[next].op
        {
            // the rows of a table are for eight bits
            clamped = self.calibrated(end, Precision::Int8)?;
            activation = Some((function.clone(), self.result(next)?));
            end = next;
        }
        let clamped = clamped.between(lo.into(), hi.into());
        Ok((
            Target {
                clamped,
                activation,
            },
            end,
        ))
    }

    /// The encoding of what a table makes: wider than int8 where all readers multiply or average it, or where that is chosen.
    fn result(&self, id: usize) -> Result<Encoding, QuantizeError> {
        let precise = |&reader: &usize| {
            let reader = self.graph.nodes.get(reader);
            reader.is_some_and(|node| matches!(node.op, FloatOp::SumPool { .. } | FloatOp::Mul))
        };
        if let FloatOp::Unary(function) = &self.graph.nodes[id].op
            && function.is_whole()
        {
            // truth values and rounded numbers are themselves
            return Ok(Encoding::whole(-MAX_WHOLE, MAX_WHOLE));
        }
        if let FloatOp::Lookup { values, .. } = &self.graph.nodes[id].op
            && values
                .iter()
                .all(|v| v.fract() == 0.0 && v.abs() <= MAX_WHOLE as f32)
        {
            // labels are themselves
            return Ok(Encoding::whole(-MAX_WHOLE, MAX_WHOLE));
        }
        let Some(&Range { lo, hi, .. }) = self.ranges.get(id) else {
            return self.activation(id);
        };
        if self.chosen(id).is_none()
            && !self.readers[id].is_empty()
            && self.readers[id].iter().all(precise)
            && let Some(encoding) = Encoding::int16(lo, hi)
        {
            return Ok(encoding);
        }
        self.activation(id)
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
        let inputs = self.tensors_of(node)?;
        let site = self.site(node, &inputs, None)?;
        let kept: Op = match &node.op {
            FloatOp::Input { .. } => return Ok(()),
            FloatOp::Layout { .. } => Layout::import(&site)?.into(),
            FloatOp::MaxPool { .. } => MaxPool::import(&site)?.into(),
            FloatOp::SumPool { .. } => SumPool::import(&site)?.into(),
            FloatOp::Compare(_) => {
                let inputs = self.comparable(id)?;
                let op = Compare::import(&self.site(node, &inputs, None)?)?.into();
                let tensor = self.builder.node(&node.name, op, &inputs)?;
                self.settle(id, tensor);
                return Ok(());
            }
            FloatOp::Gather { .. } | FloatOp::Extremum { .. } | FloatOp::Select => {
                return self.mixed(id);
            }
            FloatOp::Mul | FloatOp::Contract { .. } => {
                let op: Op = match node.op {
                    FloatOp::Mul => Mul::import(&site)?.into(),
                    _ => Contract::import(&site)?.into(),
                };
                let product = self.builder.node(&node.name, op, &inputs)?;
                return self.narrowed(id, product);
            }
            FloatOp::Softmax { .. } => return self.softmax(id, inputs[0]),
            FloatOp::Normalize { .. } => return self.normalize(id, inputs[0]),
            FloatOp::ArgExtremum { .. } => ArgExtremum::import(&site)?.into(),
            FloatOp::TopK { .. } => TopK::import(&site)?.into(),
            FloatOp::Lookup { .. } => {
                let target = Target {
                    clamped: self.result(id)?,
                    activation: None,
                };
                Lookup::import(&self.site(node, &inputs, Some(&target))?)?.into()
            }
            FloatOp::Unary(_) => return self.unary(id, inputs[0]),
            FloatOp::Quantize { .. } => return self.mark(id, inputs[0]),
            FloatOp::Clamp { lo, hi } if self.keeps_scale(id, *lo, *hi) => {
                let (fact, quantization) = self.known(node, inputs[0])?;
                let end = |v: i64| i32::try_from(v).map_err(|_| self.missing(node));
                let encoding = Encoding {
                    quantization,
                    lo: end(fact.interval.lo)?,
                    hi: end(fact.interval.hi)?,
                };
                let target = Target {
                    clamped: encoding.between((*lo).into(), (*hi).into()),
                    activation: None,
                };
                return self.requantize(&self.site(node, &inputs, Some(&target))?, inputs[0], id);
            }
            FloatOp::Clamp { .. } => {
                let (target, end) = self.target(id)?;
                self.take_in(id, end);
                let site = self.site(node, &inputs, Some(&target))?;
                return self.requantize_chosen(&site, inputs[0], end);
            }
            FloatOp::Add { .. } if self.is_exact_sum(id, &inputs)? => Add::import(&site)?.into(),
            FloatOp::Conv { .. }
            | FloatOp::Affine { .. }
            | FloatOp::MatMul { .. }
            | FloatOp::Add { .. } => {
                let wide = self.wide[id].is_some() && self.chosen(id).is_none();
                let (target, end) = match wide {
                    true => (self.wide_target(id)?, id),
                    false => self.target(id)?,
                };
                let site = self.site(node, &inputs, Some(&target))?;
                let op: Op = match node.op {
                    FloatOp::MatMul { .. } => MatMul::import(&site)?.into(),
                    FloatOp::Add { .. } => Add::import(&site)?.into(),
                    _ => Conv::import(&site)?.into(),
                };
                let accumulator = self.builder.node(&node.name, op, &inputs)?;
                self.take_in(id, end);
                if wide {
                    let op = Rescale::import(&site)?.into();
                    let tensor = self.builder.node(&node.name, op, &[accumulator])?;
                    self.multiplier_errors[id] = Some(site.multiplier_error()?);
                    self.settle(id, tensor);
                    return Ok(());
                }
                return self.requantize_chosen(&site, accumulator, end);
            }
        };
        let tensor = self.builder.node(&node.name, kept, &inputs)?;
        self.settle(id, tensor);
        Ok(())
    }

    /// Marks the nodes from `id` up to `end`, which a requantization takes in.
    fn take_in(&mut self, id: usize, end: usize) {
        let mut at = Some(id);
        while let Some(node) = at.filter(|&node| node != end) {
            self.done[node] = true;
            at = self.sole_reader(node);
        }
    }

    /// Whether two tensors are added without rounding: whole numbers, or where what follows needs the digits.
    fn is_exact_sum(&self, id: usize, inputs: &[usize]) -> Result<bool, QuantizeError> {
        let node = &self.graph.nodes[id];
        let [left, right] = inputs else {
            return Ok(false);
        };
        let scales = [
            self.known(node, *left)?.1.scale,
            self.known(node, *right)?.1.scale,
        ];
        let whole = self.is_whole(node, *left)? && self.is_whole(node, *right)?;
        Ok(whole || (self.needs_digits(id) && whole_factors(scales).is_some()))
    }

    /// A function of one tensor: a table of its integers, or of the int8 it is requantized to.
    fn unary(&mut self, id: usize, x: usize) -> Result<(), QuantizeError> {
        let graph = self.graph;
        let node = &graph.nodes[id];
        let FloatOp::Unary(function) = &node.op else {
            return Err(self.missing(node).into());
        };
        let whole = self.is_whole(node, x)?;
        let x = match whole && self.given(id).is_none() {
            true => self.between_ends(id, function, x)?,
            false => x,
        };
        let (fact, quantization) = self.known(node, x)?;
        let widest = if whole { MAX_WHOLE_KEYS } else { MAX_KEYS };
        let direct = fact.interval.width() <= widest;
        let output = match direct && whole && self.given(id).is_none() {
            true => whole_values(function, fact.interval),
            false => None,
        };
        let output = output.map_or_else(|| self.result(id), Ok)?;
        let clamped = if direct {
            // `Table` reads the input as it is
            Encoding {
                quantization,
                lo: 0,
                hi: 0,
            }
        } else {
            self.calibrated(node.inputs[0], Precision::Int8)?
        };
        let target = Target {
            clamped,
            activation: Some((function.clone(), output)),
        };
        let site = self.site(node, &[x], Some(&target))?;
        if !direct {
            return self.requantize(&site, x, id);
        }
        let table = Table::import(&site)?;
        let tensor = self.builder.node(&node.name, table.into(), &[x])?;
        self.settle(id, tensor);
        Ok(())
    }

    /// Whole numbers clipped to where a function of them changes, when that saves more rows of its table than it costs.
    fn between_ends(
        &mut self,
        id: usize,
        function: &Expression,
        x: usize,
    ) -> Result<usize, QuantizeError> {
        let node = &self.graph.nodes[id];
        let (fact, _) = self.known(node, x)?;
        let Interval { lo, hi } = fact.interval;
        let width = fact.interval.width();
        if !(MAX_SHORT_KEYS..=MAX_WHOLE_KEYS).contains(&width) {
            return Ok(x);
        }
        let is = |x: i64, value: f64| function.value(x as f64).to_bits() == value.to_bits();
        let [low, high] = [lo, hi].map(|end| function.value(end as f64));
        let first = (lo..hi).find(|&x| !is(x + 1, low)).unwrap_or(lo);
        let last = (first..hi).rev().find(|&x| !is(x, high));
        let last = last.map_or(hi, |x| x + 1);
        let saved = width.saturating_sub((last - first) as u64 + 1);
        let ends = (i32::try_from(first), i32::try_from(last));
        let (Ok(lo), Ok(hi)) = ends else {
            return Ok(x);
        };
        if saved <= CLIP_ROWS * fact.len() as u64 {
            return Ok(x);
        }
        let clip = Clip { lo, hi }.into();
        Ok(self.builder.node(&node.name, clip, &[x])?)
    }

    /// Whether a clamp that the file gives no quantization is exact in that of what it clamps: its bounds are 0 or none.
    fn keeps_scale(&self, id: usize, lo: f32, hi: f32) -> bool {
        let exact = |bound: f32| bound == 0.0 || bound.is_infinite();
        let next = self.sole_reader(id).map(|next| &self.graph.nodes[next].op);
        let fuses = matches!(next, Some(FloatOp::Unary(_)));
        let given = self.graph.given.is_some() && self.given(id).is_none();
        given && !fuses && exact(lo) && exact(hi)
    }

    /// The tensor of a quantization mark: the one it reads, where that has the encoding already.
    fn mark(&mut self, id: usize, tensor: usize) -> Result<(), QuantizeError> {
        let graph = self.graph;
        let node = &graph.nodes[id];
        let encoding = self.activation(id)?;
        let (fact, quantization) = self.known(node, tensor)?;
        let (lo, hi) = (i64::from(encoding.lo), i64::from(encoding.hi));
        let inside = fact.interval.lo >= lo && fact.interval.hi <= hi;
        if inside && quantization == encoding.quantization {
            self.settle(id, tensor);
            return Ok(());
        }
        // a table rounds ties as the file's runtime does; it must not be longer than what it serves
        let ends = (
            i32::try_from(fact.interval.lo),
            i32::try_from(fact.interval.hi),
        );
        let global = self.global_mean(node.inputs[0], &encoding)?;
        let usual = MAX_KEYS + 2 * fact.len() as u64;
        if let (Ok(first), Ok(last)) = ends
            && fact.interval.width() <= usual.max(MAX_MEAN_KEYS)
            && (fact.interval.width() <= usual
                || global.is_some_and(|ratio| given::has_tie(first..=last, ratio)))
        {
            let mean = matches!(graph.nodes[node.inputs[0]].op, FloatOp::SumPool { .. });
            let value = |q: i32| {
                let real = quantization.dequantize(q.into());
                match global {
                    Some(ratio) => given::nearest_global_mean(&encoding, q, ratio),
                    None if mean => given::nearest_mean(&encoding, real),
                    None => given::nearest(&encoding, real),
                }
            };
            let table = Table {
                lo: first,
                values: (first..=last).map(value).collect(),
                output: encoding.quantization,
            };
            let tensor = self.builder.node(&node.name, table.into(), &[tensor])?;
            self.settle(id, tensor);
            return Ok(());
        }
        let target = Target {
            clamped: encoding,
            activation: None,
        };
        self.requantize_as_it_is(id, tensor, &target, id)
    }

    /// Of a node that is the mean of whole channels, the float32 that onnxruntime multiplies the sum by.
    fn global_mean(&self, id: usize, encoding: &Encoding) -> Result<Option<f32>, QuantizeError> {
        let node = &self.graph.nodes[id];
        let (
            FloatOp::SumPool {
                geometry, divisors, ..
            },
            Some(&x),
        ) = (&node.op, node.inputs.first())
        else {
            return Ok(None);
        };
        let n = geometry.height * geometry.width;
        let (_, sum) = self.known(node, self.tensor(id)?)?;
        let (_, x) = self.known(node, self.tensor(x)?)?;
        let whole = geometry.kernel == [geometry.height, geometry.width] && divisors == &[1];
        let mean = (sum.scale * n as f64 / x.scale - 1.0).abs() < 1e-9 && sum.zero_point == 0;
        let ratio = given::global_ratio(x.scale, n, encoding);
        Ok((whole && mean && ratio.is_finite()).then_some(ratio))
    }

    /// `tensor` computes node `id` exactly: narrow it to what its calibration allows, unless it may stay as it is.
    fn narrowed(&mut self, id: usize, tensor: usize) -> Result<(), QuantizeError> {
        let node = &self.graph.nodes[id];
        let (fact, _) = self.known(node, tensor)?;
        let keeps = self.is_whole(node, tensor)? || self.needs_digits(id);
        if keeps && fact.interval.max_abs() < 1 << 31 {
            self.settle(id, tensor);
            return Ok(());
        }
        let (target, end) = self.target(id)?;
        self.take_in(id, end);
        let plain = as_it_is(node);
        self.requantize_chosen(&self.site(&plain, &[tensor], Some(&target))?, tensor, end)
    }

    /// Requantizes a tensor whatever made it.
    fn requantize_as_it_is(
        &mut self,
        id: usize,
        tensor: usize,
        target: &Target,
        end: usize,
    ) -> Result<(), QuantizeError> {
        let plain = as_it_is(&self.graph.nodes[id]);
        self.requantize(&self.site(&plain, &[tensor], Some(target))?, tensor, end)
    }

    /// The model tensor of an output: int8, or whole numbers as they are.
    fn output(&mut self, id: usize) -> Result<usize, QuantizeError> {
        let tensor = self.tensor(id)?;
        let node = &self.graph.nodes[id];
        let (fact, _) = self.known(node, tensor)?;
        let whole = self.is_whole(node, tensor)?;
        // real numbers are shown in bytes unless more is chosen
        let kept = whole && fact.dtype().is_some();
        let given = self.graph.given.is_some() && fact.interval.max_abs() < 1 << 16;
        let chosen = self.chosen(id).is_some() && fact.dtype().is_some();
        if fact.is_int8() || kept || given || chosen {
            return Ok(tensor);
        }
        let target = Target {
            clamped: self.calibrated(id, Precision::Int8)?,
            activation: None,
        };
        self.requantize_as_it_is(id, tensor, &target, id)?;
        self.tensor(id)
    }
}

/// The node that requantizes whatever `node` makes, unchanged.
fn as_it_is(node: &FloatNode) -> FloatNode {
    FloatNode {
        op: FloatOp::Clamp {
            lo: f32::MIN,
            hi: f32::MAX,
        },
        ..node.clone()
    }
}

/// The encoding of a function's values on whole numbers, when they are whole numbers too.
fn whole_values(function: &Expression, interval: Interval) -> Option<Encoding> {
    let (mut least, mut largest) = (i32::MAX, i32::MIN);
    for x in interval.lo..=interval.hi {
        // at most 2^16 integers, of at most 32 bits
        let value = function.value(x as f64);
        if value.fract() != 0.0 || value.is_nan() {
            return None;
        }
        // where ONNX would overflow, values end
        let value = value.clamp(-f64::from((1 << 30) - 1), f64::from((1 << 30) - 1));
        least = least.min(value as i32);
        largest = largest.max(value as i32);
    }
    Some(Encoding::whole(least, largest))
}
