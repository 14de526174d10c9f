//! Pad that repeats the tensor: every axis is a gather with fixed indices.

use super::{Built, Gather, MAX_PLACES, fixed_shape, original};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

pub(super) fn pad(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    if node.get_attr_opt::<&str>("mode")? != Some("wrap") {
        return original(context, node);
    }
    let axes = node.input.get(3).is_some_and(|name| !name.is_empty());
    let value = node.input.get(2).is_some_and(|name| !name.is_empty());
    ensure!(
        !axes && !value,
        "mode wrap with axes or a value; expected pads for every axis"
    );
    Ok((expand(Wrap), vec![]))
}

/// Repeats a tensor beyond its ends.
#[derive(Clone, Debug)]
struct Wrap;

/// Most elements of an axis, and that a pad adds or takes away: an index is kept for each.
const MAX_PAD: i64 = MAX_PLACES as i64;

/// Elements before and after every axis.
fn pads(pads: &Tensor, rank: usize) -> TractResult<Vec<(i64, i64)>> {
    let pads = pads.cast_to::<i64>()?;
    let pads = pads.to_plain_array_view::<i64>()?;
    let pads: Vec<i64> = pads.iter().copied().collect();
    ensure!(
        pads.len() == 2 * rank,
        "{} pads for {rank} axes",
        pads.len()
    );
    ensure!(
        pads.iter().all(|pad| (-MAX_PAD..=MAX_PAD).contains(pad)),
        "pads {pads:?}; expected each within ±2^18"
    );
    Ok((0..rank)
        .map(|axis| (pads[axis], pads[axis + rank]))
        .collect())
}

impl Expansion for Wrap {
    fn name(&self) -> StaticName {
        "Pad".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        s.equals(&outputs[0].datum_type, &inputs[0].datum_type)?;
        s.given_2(
            &inputs[0].shape,
            &inputs[1].value,
            move |s, shape, values| {
                let pads = pads(&values, shape.len())?;
                let along = shape.iter().zip(pads);
                let out: TVec<TDim> = along
                    .map(|(d, (before, after))| d.clone() + before + after)
                    .collect();
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
        let shape = fixed_shape(model, inputs[0])?;
        let values = model.outlet_fact(inputs[1])?.konst.clone();
        let values = values.context("computed pads; expected constants")?;
        let pads = pads(&values, shape.len())?;
        let mut y = inputs[0];
        for (axis, (before, after)) in pads.into_iter().enumerate() {
            if (before, after) == (0, 0) {
                continue;
            }
            let size = i64::try_from(shape[axis])?;
            let out = size.checked_add(before).and_then(|n| n.checked_add(after));
            let out = out.filter(|n| size > 0 && (1..=MAX_PAD).contains(n));
            let out =
                out.context("pads that leave nothing, or an axis of more than 2^18 elements")?;
            let indices: Vec<i64> = (0..out).map(|i| (i - before).rem_euclid(size)).collect();
            let indices = model.add_const(format!("{prefix}.indices.{axis}"), tensor1(&indices))?;
            let gather = Gather::new(axis);
            y = model.wire_node(format!("{prefix}.axis.{axis}"), gather, &[y, indices])?[0];
        }
        Ok(tvec!(y))
    }
}
