//! Contractions, brought to products: every operand has each of its axes once, and an axis that only one operand has and the
//! result has not is summed before.

use super::{Translation, Value, refused};
use crate::onnx::ImportError;
use crate::onnx::MAX_FEATURES;
use crate::onnx::graph::FloatOp;
use crate::tensor::ConvGeometry;
use tract_onnx::prelude::{IntoArcTensor, IntoTValue, TVec, Tensor, TypedNode};
use tract_onnx::tract_core::ops::EvalOp;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

/// The letters of an operand's axes in order, or of the result's.
fn letters(op: &EinSum, operand: Option<usize>) -> Vec<char> {
    let mut placed = vec![];
    for axis in op.axes.iter_all_axes() {
        let positions = operand.map_or(&axis.outputs[0], |slot| &axis.inputs[slot]);
        placed.extend(positions.iter().map(|&position| (position, axis.repr)));
    }
    placed.sort_unstable();
    placed.into_iter().map(|(_, letter)| letter).collect()
}

/// The letters in order of first appearance, each once.
fn distinct(letters: &[char]) -> Vec<char> {
    let mut seen = vec![];
    for letter in letters {
        if !seen.contains(letter) {
            seen.push(*letter);
        }
    }
    seen
}

/// A contraction of these operands.
fn einsum(op: &EinSum, operands: &[Vec<char>], result: &[char]) -> Result<EinSum, ImportError> {
    let word = |letters: &Vec<char>| letters.iter().collect::<String>();
    let operands: Vec<String> = operands.iter().map(word).collect();
    let result: String = result.iter().collect();
    let axes = format!("{}->{result}", operands.join(","));
    Ok(EinSum {
        axes: axes.parse().map_err(refused)?,
        operating_dt: op.operating_dt,
        q_params: None,
    })
}

impl Translation<'_> {
    /// A contraction of one or two operands.
    pub(super) fn contraction(
        &mut self,
        node: &TypedNode,
        op: &EinSum,
        inputs: &[Value],
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        if op.q_params.is_some() || !(1..=2).contains(&inputs.len()) {
            let reason = format!("{} operands; expected one or two, of floats", inputs.len());
            return Err(self.unsupported(node, reason));
        }
        let result = letters(op, None);
        let all: Vec<Vec<char>> = (0..inputs.len()).map(|i| letters(op, Some(i))).collect();
        let (mut operands, mut kept) = (vec![], vec![]);
        for (slot, input) in inputs.iter().enumerate() {
            let needed = |letter: &char| {
                let others = all.iter().enumerate().filter(|(i, _)| *i != slot);
                result.contains(letter) || others.into_iter().any(|(_, l)| l.contains(letter))
            };
            let dims = self.shape_of(input);
            let (mut keep, mut drop): (Vec<char>, Vec<char>) =
                distinct(&all[slot]).into_iter().partition(needed);
            let size = |letter: &char| {
                let axis = all[slot].iter().position(|l| l == letter);
                axis.and_then(|axis| dims.get(axis).copied()).unwrap_or(1)
            };
            let plain = keep.len() + drop.len() == all[slot].len();
            if inputs.len() == 2 && plain && drop.iter().all(|letter| size(letter) == 1) {
                // products pass over axes of one element
                (keep, drop) = (all[slot].clone(), vec![]);
            }
            operands.push(self.alone(node, op, input, &all[slot], &keep, &drop)?);
            kept.push(keep);
        }
        let op = einsum(op, &kept, &result)?;
        match &operands[..] {
            [Value::Node(x)] => {
                let view = self.graph.nodes[*x].shape.clone();
                let place = |letter: &char| kept[0].iter().position(|k| k == letter);
                let axes: Vec<usize> = result.iter().filter_map(place).collect();
                let y = self.transpose(node, *x, view, axes);
                self.expand(node, y, &shape)
            }
            [Value::Node(x), Value::Const(w)] => self.weighted(node, &op, (0, *x), (1, w), shape),
            [Value::Const(w), Value::Node(x)] => self.weighted(node, &op, (1, *x), (0, w), shape),
            [Value::Node(a), Value::Node(b)] => self.contract(node, &op, [*a, *b], shape),
            _ => Err(self.unsupported(node, "it cannot be computed at import")),
        }
    }

    /// A product with constant weights: one matrix, or a matrix for every element of a batch as a grouped convolution.
    fn weighted(
        &mut self,
        node: &TypedNode,
        op: &EinSum,
        (slot_x, x): (usize, usize),
        (slot_w, w): (usize, &Tensor),
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        let view = self.graph.nodes[x].shape.clone();
        let result = letters(op, None);
        let (in_x, in_w) = (letters(op, Some(slot_x)), letters(op, Some(slot_w)));
        let size = |all: &[char], dims: &[usize], letter: &char| {
            let axis = all.iter().position(|l| l == letter);
            axis.map_or(1, |axis| dims[axis])
        };
        let sizes = |letter: &char| [size(&in_x, &view, letter), size(&in_w, w.shape(), letter)];
        let is_batch =
            |letter: &&char| result.contains(letter) && sizes(letter).iter().all(|&n| n > 1);
        let batch: Vec<char> = in_x.iter().filter(is_batch).copied().collect();
        if batch.is_empty() {
            return self.einsum(node, op, (slot_x, x), (slot_w, w), shape);
        }
        let others = |from: &[char], side: usize, kept: bool| -> Vec<char> {
            let own =
                |l: &&char| !batch.contains(l) && result.contains(l) == kept && sizes(l)[side] > 1;
            from.iter().filter(own).copied().collect()
        };
        let (rows, summed) = (others(&in_x, 0, true), others(&in_x, 0, false));
        let columns = others(&in_w, 1, true);
        let product = |letters: &[char], side: usize| -> usize {
            letters.iter().map(|l| sizes(l)[side]).product()
        };
        let [b, k, m] = [&batch, &summed, &rows].map(|l| product(l, 0));
        let n = product(&columns, 1);
        if product(&summed, 1) != k || product(&batch, 1) != b {
            return Err(self.unsupported(node, "a broadcast contraction; expected equal sizes"));
        }
        let mut order: Vec<char> = [&batch[..], &summed, &rows].concat();
        order.extend(in_x.iter().filter(|l| sizes(l)[0] == 1));
        let place = |letter: &char| in_x.iter().position(|l| l == letter);
        let axes = order.iter().filter_map(place).collect();
        let image = self.rearrange(node, x, view.clone(), axes);
        // `[batch][columns][summed]`; axes of one element may be left out
        let ordered = [&batch[..], &columns, &summed].concat();
        let turned = einsum(op, std::slice::from_ref(&in_w), &ordered)?;
        let mut constant = TVec::new();
        constant.push(w.clone().into_tvalue());
        let turned = turned.eval_out_of_plan(constant).map_err(refused)?;
        let turned = turned.and_then(|made| made.into_iter().next());
        let turned = turned.ok_or(ImportError::Missing("value of a constant contraction"))?;
        let weights = self.weights(node, &turned)?;
        let geometry = ConvGeometry {
            channels_in: b * k,
            height: 1,
            width: m,
            channels_out: b * n,
            kernel: [1, 1],
            strides: [1, 1],
            pads: [0; 4],
            dilations: [1, 1],
            groups: b,
        };
        geometry
            .check()
            .map_err(|e| self.unsupported(node, e.to_string()))?;
        let bias = vec![0.0; b * n];
        let op = FloatOp::Conv {
            geometry,
            weights,
            bias,
        };
        let made = [&batch[..], &columns, &rows].concat();
        let dims: Vec<usize> = made.iter().map(|l| sizes(l)[0].max(sizes(l)[1])).collect();
        let y = self.push(node, op, vec![image], dims.clone());
        let place = |letter: &char| made.iter().position(|l| l == letter);
        let axes = result.iter().filter_map(place).collect();
        let y = self.transpose(node, y, dims, axes);
        Ok(self.reshape(node, y, shape))
    }

    /// An operand with the axes `keep`: diagonals taken, the axes `drop` summed.
    fn alone(
        &mut self,
        node: &TypedNode,
        op: &EinSum,
        operand: &Value,
        letters: &[char],
        keep: &[char],
        drop: &[char],
    ) -> Result<Value, ImportError> {
        if keep == letters {
            return Ok(operand.clone());
        }
        let x = match operand {
            Value::Node(x) => *x,
            Value::Const(tensor) => {
                let op = einsum(op, &[letters.to_vec()], keep)?;
                let mut inputs = TVec::new();
                inputs.push(tensor.clone().into_tvalue());
                let made = op.eval_out_of_plan(inputs).map_err(refused)?;
                let made = made.and_then(|made| made.into_iter().next());
                let made = made.ok_or(ImportError::Missing("value of a constant contraction"))?;
                return Ok(Value::Const(made.into_arc_tensor()));
            }
        };
        let view = self.graph.nodes[x].shape.clone();
        let (mut steps, mut step) = (vec![0; view.len()], 1);
        for axis in (0..view.len()).rev() {
            // an axis of one element is the same everywhere
            steps[axis] = if view[axis] == 1 { 0 } else { step };
            step *= view[axis];
        }
        let (mut index, mut dims) = (vec![0usize], vec![]);
        for letter in keep.iter().chain(drop) {
            let at = (0..view.len()).filter(|&axis| letters.get(axis) == Some(letter));
            let size = at.clone().map(|axis| view[axis]).max().unwrap_or(1);
            let step: usize = at.map(|axis| steps[axis]).sum();
            if index
                .len()
                .checked_mul(size)
                .is_none_or(|n| n > MAX_FEATURES)
            {
                return Err(self.unsupported(node, "a contraction of too many elements"));
            }
            index = index
                .into_iter()
                .flat_map(|base| (0..size).map(move |i| base + i * step))
                .collect();
            dims.push(size);
        }
        let y = self.gather(node, vec![x], index, vec![], dims.clone())?;
        let summed: usize = dims[keep.len()..].iter().product();
        dims.truncate(keep.len());
        if summed == 1 {
            return Ok(Value::Node(self.reshape(node, y, dims)));
        }
        let op = Reduce {
            axes: (keep.len()..keep.len() + drop.len()).collect(),
            reducer: Reducer::Sum,
        };
        Ok(Value::Node(self.reduce(node, &op, y, dims)?))
    }
}
