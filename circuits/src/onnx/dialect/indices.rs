//! Operators that choose elements by fixed indices.

use super::{Built, Gather, MAX_PLACES, fixed_shape, same_as_first};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

pub(super) fn compress(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let axis = node.get_attr_opt("axis")?;
    Ok((expand(Compress { axis }), vec![]))
}

/// The positions along an axis, or of all elements, where a fixed condition holds.
#[derive(Clone, Debug)]
struct Compress {
    axis: Option<i64>,
}

impl Compress {
    fn axis(&self, rank: usize) -> TractResult<Option<usize>> {
        let Some(axis) = self.axis else {
            return Ok(None);
        };
        let rank = i64::try_from(rank)?;
        let axis = if axis < 0 { axis + rank } else { axis };
        ensure!(
            (0..rank).contains(&axis),
            "axis {axis} of a tensor of rank {rank}"
        );
        Ok(Some(usize::try_from(axis)?))
    }
}

/// The positions where a condition holds.
fn chosen(condition: &Tensor) -> TractResult<Vec<i64>> {
    let condition = condition.cast_to::<bool>()?;
    let condition = condition.to_plain_array_view::<bool>()?;
    let kept = (0i64..).zip(condition.iter()).filter(|(_, keep)| **keep);
    Ok(kept.map(|(i, _)| i).collect())
}

impl Expansion for Compress {
    fn name(&self) -> StaticName {
        "Compress".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 2)?;
        check_output_arity(outputs, 1)?;
        s.equals(&outputs[0].datum_type, &inputs[0].datum_type)?;
        s.given_2(
            &inputs[0].shape,
            &inputs[1].value,
            move |s, shape, condition| {
                let kept = chosen(&condition)?.len().to_dim();
                let out: TVec<TDim> = match self.axis(shape.len())? {
                    None => tvec!(kept),
                    Some(axis) => {
                        let mut out = shape;
                        out[axis] = kept;
                        out
                    }
                };
                s.equals(&outputs[0].shape, out)
            },
        )
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let condition = model.outlet_fact(inputs[1])?.konst.clone();
        let condition = condition.context("a computed condition; expected a constant")?;
        let indices = chosen(&condition)?;
        let shape = model.outlet_fact(inputs[0])?.shape.to_tvec();
        let mut x = inputs[0];
        let axis = match self.axis(shape.len())? {
            Some(axis) => axis,
            None => {
                let all: TDim = shape.iter().product();
                let flat = AxisOp::Reshape(0, shape, tvec!(all));
                x = model.wire_node(format!("{prefix}.flat"), flat, &[x])?[0];
                0
            }
        };
        let size = model.outlet_fact(x)?.shape[axis].to_i64()?;
        let fits = indices.last().is_none_or(|&last| last < size);
        ensure!(fits, "a condition longer than its axis of {size}");
        let indices = model.add_const(format!("{prefix}.indices"), tensor1(&indices))?;
        model.wire_node(prefix, Gather::new(axis), &[x, indices])
    }
}

pub(super) fn reverse_sequence(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let batch: usize = node.get_attr_opt("batch_axis")?.unwrap_or(1);
    let time: usize = node.get_attr_opt("time_axis")?.unwrap_or(0);
    ensure!(
        (batch, time) == (0, 1) || (batch, time) == (1, 0),
        "batch axis {batch} and time axis {time}; expected 0 and 1"
    );
    Ok((expand(ReverseSequence { batch, time }), vec![]))
}

/// The first steps of every sequence in reverse, as many as its fixed length.
#[derive(Clone, Debug)]
struct ReverseSequence {
    batch: usize,
    time: usize,
}

impl Expansion for ReverseSequence {
    fn name(&self) -> StaticName {
        "ReverseSequence".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        same_as_first(s, inputs, outputs, 2)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let lengths = model.outlet_fact(inputs[1])?.konst.clone();
        let lengths = lengths.context("computed lengths; expected constants")?;
        let lengths = lengths.cast_to::<i64>()?;
        let lengths = lengths.to_plain_array_view::<i64>()?;
        let lengths: Vec<i64> = lengths.iter().copied().collect();
        let shape = fixed_shape(model, inputs[0])?;
        ensure!(shape.len() >= 2, "rank {}; expected two axes", shape.len());
        let (batch, time) = (shape[self.batch], i64::try_from(shape[self.time])?);
        ensure!(
            lengths.len() == batch,
            "{} lengths for {batch} sequences",
            lengths.len()
        );
        let valid = lengths.iter().all(|l| (0..=time).contains(l));
        ensure!(valid, "a length beyond the {time} steps");
        let n: usize = shape.iter().product();
        ensure!(n <= MAX_PLACES, "{n} elements; expected at most 2^18");
        let rest: usize = shape[2..].iter().product();
        let mut indices = Vec::with_capacity(n);
        for first in 0..shape[0] {
            for second in 0..shape[1] {
                let (b, t) = if self.batch == 0 {
                    (first, second)
                } else {
                    (second, first)
                };
                let t = i64::try_from(t)?;
                let from = if t < lengths[b] {
                    lengths[b] - 1 - t
                } else {
                    t
                };
                let from = usize::try_from(from)?;
                let (i, j) = if self.batch == 0 {
                    (b, from)
                } else {
                    (from, b)
                };
                let start = i64::try_from((i * shape[1] + j) * rest)?;
                indices.extend(start..start + i64::try_from(rest)?);
            }
        }
        let all = tvec!(indices.len().to_dim());
        let dims: TVec<TDim> = shape.iter().map(|d| d.to_dim()).collect();
        let flat = AxisOp::Reshape(0, dims.clone(), all.clone());
        let flat = model.wire_node(format!("{prefix}.flat"), flat, &inputs[..1])?;
        let indices = model.add_const(format!("{prefix}.indices"), tensor1(&indices))?;
        let moved = model.wire_node(
            format!("{prefix}.moved"),
            Gather::new(0),
            &[flat[0], indices],
        )?;
        model.wire_node(prefix, AxisOp::Reshape(0, all, dims), &moved)
    }
}
