//! Recurrent operators, unrolled: the body is translated once per step.
//!
//! A state is what the step before made of it; a scanned input is the step's chunk along an axis, from the end where the chunk is
//! negative; scanned outputs are concatenated.

use super::{Translation, Value};
use crate::onnx::ImportError;
use crate::onnx::graph::FloatGraph;
use crate::onnx::proto::shorten;
use std::sync::Arc;
use tract_onnx::prelude::{
    Datum, IntoArcTensor, OutletId, SpecialOps, Tensor, TractError, TypedFact, TypedModel,
    TypedNode,
};
use tract_onnx::tract_core::ops::array::Slice;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::gru_seq::GruSeq;
use tract_onnx::tract_core::ops::scan::{InputMapping, OutputMapping, Scan, ScanInfo};
use tract_onnx::tract_core::ops::{TypedOp, math, nn};

/// Most steps of a loop.
const MAX_STEPS: usize = 4096;

/// Most nodes of all steps of a loop together.
const MAX_UNROLLED: usize = 1 << 16;

fn parser(e: TractError) -> ImportError {
    ImportError::Parser(shorten(&format!("{e:#}")))
}

impl Translation<'_> {
    /// The outputs of a recurrent operator; `None` for any other.
    pub(super) fn recurrent(
        &mut self,
        node: &TypedNode,
        inputs: &[Value],
    ) -> Result<Option<Vec<Value>>, ImportError> {
        if let Some(op) = node.op_as::<Scan>() {
            return self.unrolled(node, op, inputs).map(Some);
        }
        let Some(op) = node.op_as::<GruSeq>() else {
            return Ok(None);
        };
        let (Some(x), Some(h)) = (inputs.first(), inputs.last()) else {
            return Err(self.unsupported(node, "it reads a missing output"));
        };
        let weights = inputs[1..inputs.len() - 1].iter();
        let weights = weights.map(|w| self.fixed(node, w, "a weight").cloned());
        let weights = weights.collect::<Result<Vec<Tensor>, _>>()?;
        let sizes = [x, h].map(|v| self.shape_of(v));
        let body = gru_body(op, &weights, &sizes).map_err(parser)?;
        let every = ScanInfo::new(1, op.chunk);
        let y = OutputMapping {
            scan: op.emit_y.then_some((0, every)),
            full_dim_hint: None,
            last_value_slot: Some(1),
            state: true,
        };
        let mapping = vec![InputMapping::Scan(every), InputMapping::State];
        let scan = Scan::new(body, mapping, vec![y], 0).map_err(parser)?;
        self.unrolled(node, &scan, &[x.clone(), h.clone()])
            .map(Some)
    }

    pub(super) fn shape_of(&self, value: &Value) -> Vec<usize> {
        match value {
            Value::Const(tensor) => tensor.shape().to_vec(),
            Value::Node(id) => self.graph.nodes[*id].shape.clone(),
        }
    }

    /// How often the body runs, and how long the scanned axis is.
    fn steps(&self, node: &TypedNode, op: &Scan, inputs: &[Value]) -> Result<usize, ImportError> {
        let mut steps = None;
        for (mapping, input) in op.input_mapping.iter().zip(inputs) {
            let Some(info) = mapping.as_scan() else {
                continue;
            };
            let size = self.shape_of(input).get(info.axis).copied().unwrap_or(0);
            let chunk = info.chunk.unsigned_abs();
            let divides = chunk > 0 && size.is_multiple_of(chunk);
            let n = divides
                .then(|| size / chunk)
                .filter(|n| steps.is_none_or(|s| s == *n));
            let n = n.ok_or_else(|| {
                self.unsupported(node, "scanned inputs of different or broken lengths")
            })?;
            steps = Some(n);
        }
        let steps = steps.unwrap_or(0);
        if op.skip != 0 || !(1..=MAX_STEPS).contains(&steps) {
            let reason = format!("a loop of {steps} steps; expected between 1 and {MAX_STEPS}");
            return Err(self.unsupported(node, reason));
        }
        let nodes = op.body.nodes.len().saturating_mul(steps);
        if nodes > MAX_UNROLLED {
            let reason = format!("its steps have {nodes} nodes together, more than {MAX_UNROLLED}");
            return Err(self.unsupported(node, reason));
        }
        Ok(steps)
    }

    fn unrolled(
        &mut self,
        node: &TypedNode,
        op: &Scan,
        inputs: &[Value],
    ) -> Result<Vec<Value>, ImportError> {
        let steps = self.steps(node, op, inputs)?;
        let is_state =
            |(mapping, value): (&InputMapping, &Value)| mapping.is_state().then(|| value.clone());
        let mut states: Vec<Value> = op
            .input_mapping
            .iter()
            .zip(inputs)
            .filter_map(is_state)
            .collect();
        let mut made: Vec<Vec<Value>> = vec![Vec::with_capacity(steps); op.output_mapping.len()];
        for step in 0..steps {
            let mut held = states.into_iter();
            let mut sources = Vec::with_capacity(inputs.len());
            for (mapping, input) in op.input_mapping.iter().zip(inputs) {
                sources.push(match mapping {
                    InputMapping::State => held.next().ok_or(ImportError::Missing("state"))?,
                    InputMapping::Full => input.clone(),
                    InputMapping::Scan(info) => self.chunk(node, input, info, step)?,
                });
            }
            let outputs = self.step(node, &op.body, sources)?;
            let kept = op.output_mapping.iter().zip(&outputs);
            states = kept
                .filter(|(m, _)| m.state)
                .map(|(_, v)| v.clone())
                .collect();
            for (all, output) in made.iter_mut().zip(outputs) {
                all.push(output);
            }
        }
        let mut slots: Vec<Option<Value>> = vec![None; node.outputs.len()];
        for (mapping, values) in op.output_mapping.iter().zip(made) {
            if let (Some(slot), Some(last)) = (mapping.last_value_slot, values.last())
                && let Some(place) = slots.get_mut(slot)
            {
                *place = Some(last.clone());
            }
            if let Some((slot, info)) = &mapping.scan
                && let Some(place) = slots.get_mut(*slot)
            {
                *place = Some(self.joined(node, values, info)?);
            }
        }
        // a slot that nothing fills is one that nothing may read: its value is missing
        let unread = || Value::Const(Arc::new(Tensor::zero::<f32>(&[0]).unwrap_or_default()));
        Ok(slots
            .into_iter()
            .map(|v| v.unwrap_or_else(unread))
            .collect())
    }

    /// One step: the outputs of the body for these inputs.
    fn step(
        &mut self,
        node: &TypedNode,
        body: &TypedModel,
        sources: Vec<Value>,
    ) -> Result<Vec<Value>, ImportError> {
        let empty = FloatGraph {
            given: None,
            nodes: vec![],
            inputs: vec![],
            outputs: vec![],
        };
        let mut inner = Translation {
            model: body,
            parsed: self.parsed,
            values: vec![Vec::new(); body.nodes.len()],
            graph: std::mem::replace(&mut self.graph, empty),
            sources,
            within: Some(self.origin(node)),
        };
        let walked = inner.walk();
        let values = body.outputs.iter().map(|outlet| inner.value(outlet));
        let values: Option<Vec<Value>> = values.collect();
        self.graph = inner.graph;
        walked?;
        values.ok_or(ImportError::Missing("output of a loop"))
    }

    /// The part of a scanned input that a step reads.
    fn chunk(
        &mut self,
        node: &TypedNode,
        input: &Value,
        info: &ScanInfo,
        step: usize,
    ) -> Result<Value, ImportError> {
        let shape = self.shape_of(input);
        let (axis, chunk) = (info.axis, info.chunk.unsigned_abs());
        let start = if info.chunk < 0 {
            shape[axis] - (step + 1) * chunk
        } else {
            step * chunk
        };
        match input {
            Value::Const(tensor) => {
                let part = tensor.slice(axis, start, start + chunk).map_err(parser)?;
                Ok(Value::Const(part.into_arc_tensor()))
            }
            Value::Node(x) => {
                let inner: usize = shape[axis + 1..].iter().product();
                let outer: usize = shape[..axis].iter().product();
                let index = (0..outer)
                    .flat_map(|o| {
                        let first = (o * shape[axis] + start) * inner;
                        first..first + chunk * inner
                    })
                    .collect();
                let mut part = shape;
                part[axis] = chunk;
                Ok(Value::Node(self.gather(
                    node,
                    vec![*x],
                    index,
                    vec![],
                    part,
                )?))
            }
        }
    }

    /// What the steps made, side by side along an axis.
    fn joined(
        &mut self,
        node: &TypedNode,
        mut parts: Vec<Value>,
        info: &ScanInfo,
    ) -> Result<Value, ImportError> {
        if info.chunk < 0 {
            parts.reverse();
        }
        let fixed: Option<Vec<Arc<Tensor>>> = parts
            .iter()
            .map(|part| match part {
                Value::Const(tensor) => Some(tensor.clone()),
                Value::Node(_) => None,
            })
            .collect();
        if let Some(fixed) = fixed {
            let all = Tensor::stack_tensors(info.axis, &fixed).map_err(parser)?;
            return Ok(Value::Const(all.into_arc_tensor()));
        }
        let mut shape = self.shape_of(&parts[0]);
        let (mut nodes, mut constants) = (vec![], vec![]);
        let mut starts = vec![];
        let (mut at, mut size) = (0, 0);
        for part in &parts {
            let dims = self.shape_of(part);
            size += dims[info.axis];
            match part {
                Value::Node(x) => {
                    starts.push((true, at, dims[info.axis]));
                    at += self.graph.nodes[*x].len();
                    nodes.push(*x);
                }
                Value::Const(tensor) => {
                    starts.push((false, constants.len(), dims[info.axis]));
                    constants.extend(self.weights(node, tensor)?);
                }
            }
        }
        let inner: usize = shape[info.axis + 1..].iter().product();
        let outer: usize = shape[..info.axis].iter().product();
        let index = (0..outer)
            .flat_map(|o| {
                starts.iter().flat_map(move |&(computed, start, length)| {
                    let first = if computed { start } else { at + start };
                    let first = first + o * length * inner;
                    first..first + length * inner
                })
            })
            .collect();
        shape[info.axis] = size;
        Ok(Value::Node(
            self.gather(node, nodes, index, constants, shape)?,
        ))
    }
}

/// One step of tract's whole-sequence GRU: gates z, r, n of x·Wᵀ + b and h·Rᵀ + c; h ← n + z·(h − n).
fn gru_body(
    op: &GruSeq,
    weights: &[Tensor],
    [x, h]: &[Vec<usize>; 2],
) -> tract_onnx::prelude::TractResult<TypedModel> {
    let mut body = TypedModel::default();
    let mut step = x.clone();
    step[1] = 1;
    let float = f32::datum_type();
    let xt = body.add_source("x", TypedFact::dt_shape(float, &step[..]))?;
    let ht = body.add_source("h", TypedFact::dt_shape(float, &h[..]))?;
    fn wire(
        body: &mut TypedModel,
        name: &str,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> tract_onnx::prelude::TractResult<OutletId> {
        Ok(body.wire_node(name, op, inputs)?[0])
    }
    let product = || -> tract_onnx::prelude::TractResult<EinSum> {
        Ok(EinSum {
            axes: "btk,gk->btg".parse()?,
            operating_dt: f32::datum_type(),
            q_params: None,
        })
    };
    let n = op.hidden;
    let (w, rest) = if op.projected {
        (None, weights)
    } else {
        (weights.first(), weights.get(1..).unwrap_or_default())
    };
    let r = rest.first().cloned().unwrap_or_default();
    let bias = if op.has_bias { rest.get(1) } else { None };
    let part = |start: usize| -> tract_onnx::prelude::TractResult<Option<Tensor>> {
        let Some(bias) = bias else { return Ok(None) };
        let flat = bias.clone().into_shape(&[1, 1, 6 * n])?;
        Ok(Some(flat.slice(2, start, start + 3 * n)?))
    };
    let mut gates = [xt, ht];
    if let Some(w) = w {
        let w = body.add_const("w", w.clone())?;
        gates[0] = wire(&mut body, "xw", product()?, &[xt, w])?;
        if let Some(bias) = part(0)? {
            let bias = body.add_const("wb", bias)?;
            gates[0] = wire(&mut body, "xwb", math::add(), &[gates[0], bias])?;
        }
    }
    let r = body.add_const("r", r)?;
    gates[1] = wire(&mut body, "hr", product()?, &[ht, r])?;
    if let Some(bias) = part(3 * n)? {
        let bias = body.add_const("rb", bias)?;
        gates[1] = wire(&mut body, "hrb", math::add(), &[gates[1], bias])?;
    }
    let mut slices = vec![];
    for gate in 0..3 {
        for (side, &from) in gates.iter().enumerate() {
            let op = Slice::new(2, gate * n, (gate + 1) * n);
            slices.push(wire(&mut body, &format!("gate{gate}{side}"), op, &[from])?);
        }
    }
    let z = wire(&mut body, "z.sum", math::add(), &slices[0..2])?;
    let z = wire(&mut body, "z", nn::sigmoid(), &[z])?;
    let r = wire(&mut body, "r.sum", math::add(), &slices[2..4])?;
    let r = wire(&mut body, "reset", nn::sigmoid(), &[r])?;
    let reset = wire(&mut body, "n.reset", math::mul(), &[r, slices[5]])?;
    let sum = wire(&mut body, "n.sum", math::add(), &[slices[4], reset])?;
    let new = wire(&mut body, "n", math::tanh(), &[sum])?;
    let difference = wire(&mut body, "h.difference", math::sub(), &[ht, new])?;
    let kept = wire(&mut body, "h.kept", math::mul(), &[z, difference])?;
    let next = wire(&mut body, "h.next", math::add(), &[new, kept])?;
    body.select_output_outlets(&[next])?;
    Ok(body)
}
