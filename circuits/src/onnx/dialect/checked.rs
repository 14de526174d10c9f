//! tract's own operators where a few of their numbers must be looked at first: it counts to an axis without end where the tensor has fewer, and takes time and
//! memory by the square of a rank.

use super::{Built, original};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// Most axes of a tensor.
pub(in crate::onnx) const MAX_RANK: usize = 16;

/// An operator whose attribute `axis` is one of its input's.
pub(super) fn axis_of_input(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    checked(context, node, Some(0))
}

/// An operator whose attribute `axis` is one of its output's, which has one more than the input.
pub(super) fn axis_of_output(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    checked(context, node, Some(1))
}

/// An operator whose output's rank the file says.
pub(super) fn rank_of_output(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    checked(context, node, None)
}

fn checked(context: &ParsingContext<'_>, node: &NodeProto, more: Option<i64>) -> Built {
    let (op, outer) = original(context, node)?;
    let axis: Option<i64> = node.get_attr_opt("axis")?;
    let axis = axis.zip(more);
    let inner = InferenceOp::as_op(&*op).downcast_ref::<Box<dyn Expansion>>();
    let inner = inner.context("an operator of another form")?.clone();
    Ok((expand(Checked { axis, inner }), outer))
}

#[derive(Clone, Debug)]
struct Checked {
    /// The axis, and how many axes there are beside the input's.
    axis: Option<(i64, i64)>,
    inner: Box<dyn Expansion>,
}

impl Expansion for Checked {
    fn name(&self) -> StaticName {
        self.inner.name()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Expansion::nboutputs(&*self.inner)
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let x = inputs.first().context("no input")?;
        if let Some((axis, more)) = self.axis {
            s.given(&x.rank, move |_, rank| {
                let n = rank + more;
                ensure!(
                    (-n..n).contains(&axis),
                    "axis = {axis}; expected one of {n} axes"
                );
                Ok(())
            })?;
        }
        for y in outputs {
            s.given(&y.rank, move |_, rank| {
                let few = usize::try_from(rank).is_ok_and(|rank| rank <= MAX_RANK);
                ensure!(few, "rank {rank}; expected at most {MAX_RANK}");
                Ok(())
            })?;
        }
        Expansion::rules(&*self.inner, s, inputs, outputs)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        self.inner.wire(prefix, model, inputs)
    }

    fn wire_with_inference_model_and_node(
        &self,
        prefix: &str,
        model: &InferenceModel,
        node: &InferenceNode,
        typed_model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let inner = &self.inner;
        inner.wire_with_inference_model_and_node(prefix, model, node, typed_model, inputs)
    }
}
