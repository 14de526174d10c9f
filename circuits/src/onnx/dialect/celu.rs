//! Celu: tract's reader leaves the factor α out.

use super::{Built, Wiring, math, number, same_as_first};
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
        let mut wiring = Wiring { model, prefix };
        let x = inputs[0];
        let ratio = wiring.part("ratio", math::div(), &[x, alpha])?;
        let power = wiring.part("power", math::exp(), &[ratio])?;
        let less = wiring.part("less", math::sub(), &[power, one])?;
        let scaled = wiring.part("scaled", math::mul(), &[less, alpha])?;
        let negative = wiring.part("negative", math::min(), &[scaled, zero])?;
        let positive = wiring.part("positive", math::max(), &[x, zero])?;
        model.wire_node(prefix, math::add(), &[positive, negative])
    }
}
