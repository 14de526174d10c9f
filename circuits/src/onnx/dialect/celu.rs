//! Celu: tract's reader leaves the factor α out.

use super::{Built, math, number, same_as_first};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

pub(super) fn build(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let alpha: f32 = node.get_attr_opt("alpha")?.unwrap_or(1.0);
    ensure!(
        alpha.is_finite() && alpha != 0.0,
        "alpha = {alpha}; expected a finite number other than 0"
    );
    Ok((expand(Celu { alpha }), vec![]))
}

/// max(0, x) + min(0, α·(exp(x/α) − 1)).
#[derive(Clone, Debug)]
struct Celu {
    alpha: f32,
}

impl Expansion for Celu {
    fn name(&self) -> StaticName {
        "Celu".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        same_as_first(s, inputs, outputs, 1)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let rank = model.outlet_fact(inputs[0])?.rank();
        let mut constant =
            |name: &str, value: f32| number(model, format!("{prefix}.{name}"), value, rank);
        let alpha = constant("alpha", self.alpha)?;
        let (zero, one) = (constant("zero", 0.0)?, constant("one", 1.0)?);
        let mut wire = |name: &str, op: Box<dyn TypedOp>, operands: &[OutletId]| {
            let wired = model.wire_node(format!("{prefix}.{name}"), op, operands)?;
            TractResult::Ok(wired[0])
        };
        let x = inputs[0];
        let ratio = wire("ratio", Box::new(math::div()), &[x, alpha])?;
        let power = wire("power", Box::new(math::exp()), &[ratio])?;
        let less = wire("less", Box::new(math::sub()), &[power, one])?;
        let scaled = wire("scaled", Box::new(math::mul()), &[less, alpha])?;
        let negative = wire("negative", Box::new(math::min()), &[scaled, zero])?;
        let positive = wire("positive", Box::new(math::max()), &[x, zero])?;
        model.wire_node(prefix, math::add(), &[positive, negative])
    }
}
