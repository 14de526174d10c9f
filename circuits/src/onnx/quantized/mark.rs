//! The quantization mark as an operator of tract: rounds and saturates, and nothing may pass it.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// Operator type of a mark in the rewritten protobuf.
pub(crate) const NAME: &str = "zkinfer.Quantize";

/// y = scale·(clamp(round_half_even(x / scale) + zero_point, lo, hi) − zero_point).
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Bits of the scale: a float has no equality that tract accepts.
    scale_bits: u32,
    pub(crate) zero_point: i32,
    pub(crate) lo: i32,
    pub(crate) hi: i32,
}

impl Mark {
    pub(crate) fn scale(&self) -> f32 {
        f32::from_bits(self.scale_bits)
    }

    fn value(&self, x: f32) -> f32 {
        let scale = self.scale();
        let (lo, hi) = (
            f64::from(self.lo) - f64::from(self.zero_point),
            f64::from(self.hi) - f64::from(self.zero_point),
        );
        let steps = f64::from((x / scale).round_ties_even());
        (steps.clamp(lo, hi) * f64::from(scale)) as f32
    }
}

/// Reads a mark from the rewritten protobuf.
pub(crate) fn build(
    _: &ParsingContext<'_>,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let mark = Mark {
        scale_bits: node.get_attr::<f32>("scale")?.to_bits(),
        zero_point: node.get_attr("zero_point")?,
        lo: node.get_attr("lo")?,
        hi: node.get_attr("hi")?,
    };
    Ok((expand(mark), vec![]))
}

impl Expansion for Mark {
    fn name(&self) -> StaticName {
        NAME.into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        solver.equals(&inputs[0].datum_type, f32::datum_type())?;
        solver.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        solver.equals(&inputs[0].shape, &outputs[0].shape)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, *self, inputs)
    }
}

impl Op for Mark {
    fn name(&self) -> StaticName {
        NAME.into()
    }

    op_as_typed_op!();
}

impl EvalOp for Mark {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = args_1!(inputs);
        let view = x.to_plain_array_view::<f32>()?;
        Ok(tvec!(view.mapv(|x| self.value(x)).into_tvalue()))
    }
}

impl TypedOp for Mark {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let fact = inputs.first().context("a mark has one input")?;
        Ok(tvec!(fact.datum_type.fact(fact.shape.clone())))
    }

    as_op!();
}
