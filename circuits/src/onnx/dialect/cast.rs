//! Cast to int64: tract makes sizes of such integers, and takes them through 32 bits, which turns the largest ("to the end" of a Slice) into −1.

use super::{Built, original};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::cast;

pub(super) fn cast(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    if node.get_attr::<DatumType>("to")? != i64::datum_type() {
        return original(context, node);
    }
    Ok((expand(ToSizes), vec![]))
}

/// Integers as sizes.
#[derive(Clone, Debug)]
struct ToSizes;

/// The same numbers as sizes; fractions are cut off.
fn sizes(tensor: &Tensor) -> TractResult<Tensor> {
    let integers = tensor.cast_to::<i64>()?;
    let view = integers.to_plain_array_view::<i64>()?;
    Ok(view.mapv(|v| v.to_dim()).into_tensor())
}

impl Expansion for ToSizes {
    fn name(&self) -> StaticName {
        "Cast".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        s.equals(&outputs[0].datum_type, TDim::datum_type())?;
        s.equals(&outputs[0].shape, &inputs[0].shape)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let fact = model.outlet_fact(inputs[0])?;
        match &fact.konst {
            // sizes may be unknown yet, and stay as they are
            Some(konst) if konst.datum_type() != TDim::datum_type() => {
                let made = sizes(konst)?;
                Ok(tvec!(model.add_const(prefix, made)?))
            }
            _ => model.wire_node(prefix, cast::cast(TDim::datum_type()), inputs),
        }
    }
}
