//! LSTM, GRU and RNN, unrolled: the body of one step is translated once per step and direction.
//!
//! A body maps X_t, the weights and the states, all matrices, to the next states. Steps and directions are put together by gathers.

use super::{Translation, Value, refused};
use crate::onnx::ImportError;
use crate::onnx::dialect::recurrent::{Activation, Cell, Direction, Recurrent, Sizes};
use tract_onnx::prelude::{
    Datum, IntoArcTensor, OutletId, SpecialOps, Tensor, TractResult, TypedFact, TypedModel,
    TypedNode, tensor0,
};
use tract_onnx::tract_core::ops::array::Slice;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::scan::ScanInfo;
use tract_onnx::tract_core::ops::{TypedOp, math, nn};

impl Translation<'_> {
    /// The used outputs of a recurrent operator.
    pub(super) fn recurrence(
        &mut self,
        node: &TypedNode,
        op: &Recurrent,
        inputs: &[Value],
    ) -> Result<Vec<Value>, ImportError> {
        let of = |input: usize| op.inputs[input].and_then(|at| inputs.get(at)).cloned();
        let missing = || ImportError::Missing("input of a recurrent operator");
        let (x, r) = (of(0).ok_or_else(missing)?, of(2).ok_or_else(missing)?);
        let sizes = op.sizes(&self.shape_of(&x), &self.shape_of(&r));
        let sizes = sizes.ok_or_else(missing)?;
        self.whole_sequences(node, of(4).as_ref(), sizes.steps)?;
        let mut parts: [Vec<Value>; 3] = Default::default();
        for (index, direction) in op.directions.iter().enumerate() {
            let mut full = vec![];
            for (input, columns) in [
                (1, vec![sizes.input]),
                (2, vec![sizes.hidden]),
                (3, vec![]),
                (7, vec![]),
            ] {
                full.push(match of(input) {
                    None => None,
                    Some(value) => Some(self.of_direction(node, &value, 0, index, columns)?),
                });
            }
            let mut states = vec![];
            let held: &[usize] = if op.cell == Cell::Lstm { &[5, 6] } else { &[5] };
            for &input in held {
                states.push(match of(input) {
                    None => {
                        let zero = Tensor::zero::<f32>(&[sizes.batch, sizes.hidden]);
                        Value::Const(zero.map_err(refused)?.into_arc_tensor())
                    }
                    Some(value) => {
                        let columns = vec![sizes.hidden];
                        self.of_direction(node, &value, op.time, index, columns)?
                    }
                });
            }
            let body = Body::wired(op.cell, direction, &sizes, &full).map_err(refused)?;
            let full: Vec<Value> = full.into_iter().flatten().collect();
            let along = ScanInfo::new(op.time, if direction.reverse { -1 } else { 1 });
            let made = self.pass(node, &along, &body, &x, full, states)?;
            for (all, part) in parts.iter_mut().zip(made) {
                all.push(part);
            }
        }
        let mut outputs = vec![];
        for (output, parts) in parts.into_iter().enumerate() {
            if op.outputs[output].is_some() {
                // the axis of directions is behind time in Y, and where time was in the states
                let axis = op.time + usize::from(output == 0);
                outputs.push(self.joined(node, parts, &ScanInfo::new(axis, 1))?);
            }
        }
        Ok(outputs)
    }

    /// Refuses sequences that end before the last step.
    fn whole_sequences(
        &self,
        node: &TypedNode,
        lengths: Option<&Value>,
        steps: usize,
    ) -> Result<(), ImportError> {
        let Some(lengths) = lengths else {
            return Ok(());
        };
        let lengths = self.fixed(node, lengths, "a sequence length")?;
        let lengths = self.floats(node, lengths)?;
        match lengths
            .iter()
            .find(|&&length| f64::from(length) != steps as f64)
        {
            None => Ok(()),
            Some(length) => {
                let reason = format!("a sequence of {length} steps of {steps}; expected all steps");
                Err(self.unsupported(node, reason))
            }
        }
    }

    /// The part of a direction as a matrix: rows, then `columns`; without columns, one row.
    fn of_direction(
        &mut self,
        node: &TypedNode,
        value: &Value,
        axis: usize,
        index: usize,
        columns: Vec<usize>,
    ) -> Result<Value, ImportError> {
        let part = self.chunk(node, value, &ScanInfo::new(axis, 1), index)?;
        let len: usize = self.shape_of(&part).iter().product();
        let shape = match columns[..] {
            [columns] => vec![len / columns.max(1), columns],
            _ => vec![1, len],
        };
        self.viewed(node, &part, shape)
    }

    /// A value with another shape; a constant as f32.
    fn viewed(
        &mut self,
        node: &TypedNode,
        value: &Value,
        shape: Vec<usize>,
    ) -> Result<Value, ImportError> {
        Ok(match value {
            Value::Node(x) => Value::Node(self.reshape(node, *x, shape)),
            Value::Const(tensor) => {
                let tensor = tensor.cast_to::<f32>().map_err(refused)?.into_owned();
                let tensor = tensor.into_shape(&shape).map_err(refused)?;
                Value::Const(tensor.into_arc_tensor())
            }
        })
    }

    /// All steps of a direction: its part of Y, and its last states.
    fn pass(
        &mut self,
        node: &TypedNode,
        along: &ScanInfo,
        body: &TypedModel,
        x: &Value,
        full: Vec<Value>,
        mut states: Vec<Value>,
    ) -> Result<Vec<Value>, ImportError> {
        let shape = self.shape_of(x);
        let time = along.axis;
        let (steps, batch) = (shape[time], shape[1 - time]);
        self.bounded(node, steps, body.nodes.len())?;
        let mut made = Vec::with_capacity(steps);
        for step in 0..steps {
            let part = self.chunk(node, x, along, step)?;
            let mut sources = vec![self.viewed(node, &part, vec![batch, shape[2]])?];
            sources.extend(full.iter().cloned());
            sources.extend(states);
            states = self.step(node, body, sources)?;
            made.extend(states.first().cloned());
        }
        let hidden = states.first().map_or(0, |h| self.shape_of(h)[1]);
        let mut shape = vec![1, 1, 1, hidden];
        shape[2 - 2 * time] = batch;
        let mut rows = vec![];
        for state in &made {
            rows.push(self.viewed(node, state, shape.clone())?);
        }
        let mut outputs = vec![self.joined(node, rows, along)?];
        for state in &states {
            let mut shape = vec![batch, hidden];
            shape.insert(time, 1);
            outputs.push(self.viewed(node, state, shape)?);
        }
        Ok(outputs)
    }
}

/// The body of a step while it is wired.
struct Body {
    model: TypedModel,
    hidden: usize,
    activations: Vec<Activation>,
}

impl Body {
    /// X_t, W, R, B, P and the states, where present, to the next states.
    fn wired(
        cell: Cell,
        direction: &Direction,
        sizes: &Sizes,
        full: &[Option<Value>],
    ) -> TractResult<TypedModel> {
        let mut body = Self {
            model: TypedModel::default(),
            hidden: sizes.hidden,
            activations: direction.activations.clone(),
        };
        let n = sizes.hidden;
        let rows = cell.gates() * n;
        let x = body.source("x", &[sizes.batch, sizes.input])?;
        let w = body.source("w", &[rows, sizes.input])?;
        let r = body.source("r", &[rows, n])?;
        let mut optional = |name: &str, input: usize, columns: usize| -> TractResult<_> {
            match full.get(input) {
                Some(Some(_)) => body.source(name, &[1, columns]).map(Some),
                _ => Ok(None),
            }
        };
        let bias = optional("b", 2, 2 * rows)?;
        let peepholes = optional("p", 3, 3 * n)?;
        let h = body.source("h", &[sizes.batch, n])?;
        let outputs = match cell {
            Cell::Lstm => {
                let c = body.source("c", &[sizes.batch, n])?;
                let gates = body.sums(x, w, h, r, bias, rows)?;
                body.lstm(gates, c, peepholes)?.to_vec()
            }
            Cell::Gru {
                linear_before_reset: true,
            } => {
                let from_x = body.biased("x", x, w, bias, 0, rows)?;
                let from_h = body.biased("h", h, r, bias, rows, rows)?;
                vec![body.gru_linear([from_x, from_h], h)?]
            }
            Cell::Gru { .. } => vec![body.gru(x, w, h, r, bias)?],
            Cell::Rnn => {
                let sum = body.sums(x, w, h, r, bias, rows)?;
                vec![body.activation("next", 0, sum)?]
            }
        };
        body.model.select_output_outlets(&outputs)?;
        Ok(body.model)
    }

    fn source(&mut self, name: &str, shape: &[usize]) -> TractResult<OutletId> {
        let fact = TypedFact::dt_shape(f32::datum_type(), shape);
        self.model.add_source(name, fact)
    }

    fn wire(
        &mut self,
        name: &str,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        Ok(self.model.wire_node(name, op, inputs)?[0])
    }

    /// Columns from the gate `from` on, as many as `count` gates have.
    fn gate(
        &mut self,
        name: &str,
        x: OutletId,
        from: usize,
        count: usize,
    ) -> TractResult<OutletId> {
        let n = self.hidden;
        self.wire(name, Slice::new(1, from * n, (from + count) * n), &[x])
    }

    /// x·wᵀ.
    fn product(&mut self, name: &str, x: OutletId, w: OutletId) -> TractResult<OutletId> {
        let product = EinSum::new("mk,nk->mn".parse()?, f32::datum_type());
        self.wire(name, product, &[x, w])
    }

    /// x·wᵀ plus `columns` of the bias from `start` on.
    fn biased(
        &mut self,
        name: &str,
        x: OutletId,
        w: OutletId,
        bias: Option<OutletId>,
        start: usize,
        columns: usize,
    ) -> TractResult<OutletId> {
        let product = self.product(&format!("{name}.product"), x, w)?;
        let Some(bias) = bias else {
            return Ok(product);
        };
        let part = Slice::new(1, start, start + columns);
        let part = self.wire(&format!("{name}.bias"), part, &[bias])?;
        self.wire(&format!("{name}.biased"), math::add(), &[product, part])
    }

    /// x·wᵀ + h·rᵀ and both biases.
    fn sums(
        &mut self,
        x: OutletId,
        w: OutletId,
        h: OutletId,
        r: OutletId,
        bias: Option<OutletId>,
        rows: usize,
    ) -> TractResult<OutletId> {
        let x = self.biased("x", x, w, bias, 0, rows)?;
        let h = self.biased("h", h, r, bias, rows, rows)?;
        self.wire("sums", math::add(), &[x, h])
    }

    /// One of the direction's activations.
    fn activation(&mut self, name: &str, which: usize, x: OutletId) -> TractResult<OutletId> {
        match self.activations[which] {
            Activation::Sigmoid => self.wire(name, nn::sigmoid(), &[x]),
            Activation::Tanh => self.wire(name, math::tanh(), &[x]),
            Activation::Relu => {
                let zero = tensor0(0f32).broadcast_into_rank(2)?;
                let zero = self.model.add_const(format!("{name}.zero"), zero)?;
                self.wire(name, math::max(), &[x, zero])
            }
        }
    }

    /// c ← f(f)·c + f(i)·g(c), h ← f(o)·h(c), for gates i, o, f, c.
    fn lstm(
        &mut self,
        gates: OutletId,
        c: OutletId,
        peepholes: Option<OutletId>,
    ) -> TractResult<[OutletId; 2]> {
        let gate = |body: &mut Self, name: &str, at: usize, state: Option<OutletId>| {
            let sum = body.gate(&format!("{name}.sum"), gates, at, 1)?;
            let (Some(state), Some(peepholes)) = (state, peepholes) else {
                return body.activation(name, usize::from(at == 3), sum);
            };
            let part = body.gate(&format!("{name}.peephole"), peepholes, at, 1)?;
            let seen = body.wire(&format!("{name}.seen"), math::mul(), &[state, part])?;
            let sum = body.wire(&format!("{name}.all"), math::add(), &[sum, seen])?;
            body.activation(name, 0, sum)
        };
        let input = gate(self, "input", 0, Some(c))?;
        let forget = gate(self, "forget", 2, Some(c))?;
        let new = gate(self, "new", 3, None)?;
        let kept = self.wire("kept", math::mul(), &[forget, c])?;
        let added = self.wire("added", math::mul(), &[input, new])?;
        let cell = self.wire("cell", math::add(), &[kept, added])?;
        let output = gate(self, "output", 1, Some(cell))?;
        let shown = self.activation("shown", 2, cell)?;
        let next = self.wire("next", math::mul(), &[output, shown])?;
        Ok([next, cell])
    }

    /// h ← n + z·(h − n).
    fn blended(&mut self, z: OutletId, new: OutletId, h: OutletId) -> TractResult<OutletId> {
        let difference = self.wire("difference", math::sub(), &[h, new])?;
        let kept = self.wire("kept", math::mul(), &[z, difference])?;
        self.wire("next", math::add(), &[new, kept])
    }

    /// n = g(x's part + r·(h's part)).
    fn gru_linear(&mut self, sides: [OutletId; 2], h: OutletId) -> TractResult<OutletId> {
        let mut sums = vec![];
        for (at, name) in ["update", "reset"].into_iter().enumerate() {
            let x = self.gate(&format!("{name}.x"), sides[0], at, 1)?;
            let h = self.gate(&format!("{name}.h"), sides[1], at, 1)?;
            let sum = self.wire(&format!("{name}.sum"), math::add(), &[x, h])?;
            sums.push(self.activation(name, 0, sum)?);
        }
        let x = self.gate("new.x", sides[0], 2, 1)?;
        let state = self.gate("new.h", sides[1], 2, 1)?;
        let state = self.wire("new.reset", math::mul(), &[sums[1], state])?;
        let sum = self.wire("new.sum", math::add(), &[x, state])?;
        let new = self.activation("new", 1, sum)?;
        self.blended(sums[0], new, h)
    }

    /// n = g(x's part + (r·h)·R_nᵀ + b).
    fn gru(
        &mut self,
        x: OutletId,
        w: OutletId,
        h: OutletId,
        r: OutletId,
        bias: Option<OutletId>,
    ) -> TractResult<OutletId> {
        let n = self.hidden;
        let x = self.biased("x", x, w, bias, 0, 3 * n)?;
        let early = self.wire("r.early", Slice::new(0, 0, 2 * n), &[r])?;
        let late = self.wire("r.late", Slice::new(0, 2 * n, 3 * n), &[r])?;
        let state = self.biased("h", h, early, bias, 3 * n, 2 * n)?;
        let gates = self.gate("gates.x", x, 0, 2)?;
        let gates = self.wire("gates.sum", math::add(), &[gates, state])?;
        let gates = self.activation("gates", 0, gates)?;
        let update = self.gate("update", gates, 0, 1)?;
        let reset = self.gate("reset", gates, 1, 1)?;
        let state = self.wire("new.reset", math::mul(), &[reset, h])?;
        let state = self.biased("new.h", state, late, bias, 5 * n, n)?;
        let x = self.gate("new.x", x, 2, 1)?;
        let sum = self.wire("new.sum", math::add(), &[x, state])?;
        let new = self.activation("new", 1, sum)?;
        self.blended(update, new, h)
    }
}
