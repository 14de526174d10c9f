//! Loops, unrolled: the body is translated once per step.
//!
//! A state is what the step before made of it; a scanned input is the step's chunk along an axis, from the end where the chunk is
//! negative; scanned outputs are concatenated.

use super::{Translation, Value, refused};
use crate::onnx::ImportError;
use crate::onnx::dialect::recurrent::Recurrent;
use crate::onnx::graph::FloatGraph;
use std::sync::Arc;
use tract_onnx::prelude::{IntoArcTensor, Tensor, TypedModel, TypedNode};
use tract_onnx::tract_core::ops::scan::{InputMapping, Scan, ScanInfo};

/// Most steps of a loop.
const MAX_STEPS: usize = 4096;

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
        match node.op_as::<Recurrent>() {
            Some(op) => self.recurrence(node, op, inputs).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn shape_of(&self, value: &Value) -> Vec<usize> {
        match value {
            Value::Const(tensor) => tensor.shape().to_vec(),
            Value::Node(id) => self.graph.nodes[*id].shape.clone(),
        }
    }

    /// How often the body runs, and how long the scanned axis is.
    fn steps(
        &mut self,
        node: &TypedNode,
        op: &Scan,
        inputs: &[Value],
    ) -> Result<usize, ImportError> {
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
        if op.skip != 0 {
            return Err(self.unsupported(node, "a loop that skips steps"));
        }
        self.bounded(node, steps, op.body.nodes.len())?;
        Ok(steps)
    }

    /// Refuses a loop of too many steps, or of too many nodes in all its steps.
    pub(super) fn bounded(
        &mut self,
        node: &TypedNode,
        steps: usize,
        body: usize,
    ) -> Result<(), ImportError> {
        if !(1..=MAX_STEPS).contains(&steps) {
            let reason = format!("a loop of {steps} steps; expected between 1 and {MAX_STEPS}");
            return Err(self.unsupported(node, reason));
        }
        let nodes = body.saturating_mul(steps);
        self.count_steps(node, nodes)
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
    pub(super) fn step(
        &mut self,
        node: &TypedNode,
        body: &TypedModel,
        sources: Vec<Value>,
    ) -> Result<Vec<Value>, ImportError> {
        for (source, value) in body.inputs.iter().zip(&sources) {
            let expected = body.outlet_fact(*source).map_err(refused)?;
            let got = self.shape_of(value);
            if expected.shape.as_concrete() != Some(&got[..]) {
                let expected = &expected.shape;
                let reason = format!("a step reads the shape {expected:?} and gets {got:?}");
                return Err(self.unsupported(node, reason));
            }
        }
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
            used: self.used,
        };
        let walked = inner.walk();
        let values = body.outputs.iter().map(|outlet| inner.value(outlet));
        let values: Option<Vec<Value>> = values.collect();
        (self.graph, self.used) = (inner.graph, inner.used);
        walked?;
        values.ok_or(ImportError::Missing("output of a loop"))
    }

    /// The part of a scanned input that a step reads.
    pub(super) fn chunk(
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
                let part = tensor.slice(axis, start, start + chunk).map_err(refused)?;
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
    pub(super) fn joined(
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
            let all = Tensor::stack_tensors(info.axis, &fixed).map_err(refused)?;
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
