//! BatchNormalization: tract's takes fixed statistics only, where Keras hands the layers that it fuses computed ones, and breaks down on a vector.

use super::{Built, Wiring, math, same_as_first};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

pub(super) fn batch(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let epsilon: f32 = node.get_attr_opt("epsilon")?.unwrap_or(1e-5);
    ensure!(
        epsilon.is_finite() && epsilon >= 0.0,
        "epsilon = {epsilon}; expected a finite number from 0 on"
    );
    let spatial: i64 = node.get_attr_opt("spatial")?.unwrap_or(1);
    ensure!(spatial == 1, "spatial = {spatial}; expected 1");
    Ok((expand(Batch { epsilon }), vec![]))
}

/// (x − mean) / √(variance + ε) · scale + bias, all but x and y of a number for each channel, the second axis.
#[derive(Clone, Debug)]
struct Batch {
    epsilon: f32,
}

impl Expansion for Batch {
    fn name(&self) -> StaticName {
        "BatchNormalization".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        same_as_first(s, inputs, outputs, 5)?;
        for channels in &inputs[1..] {
            s.equals(&channels.datum_type, &inputs[0].datum_type)?;
            s.equals(&channels.rank, 1)?;
        }
        s.given(&inputs[0].shape, move |s, shape| {
            ensure!(
                shape.len() >= 2,
                "rank {}; expected a batch and channels",
                shape.len()
            );
            for channels in &inputs[1..] {
                s.equals(&channels.shape[0], shape[1].clone())?;
            }
            Ok(())
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let fact = model.outlet_fact(inputs[0])?;
        let (rank, numbers) = (fact.rank(), fact.datum_type);
        let fixed = inputs[1..]
            .iter()
            .all(|&i| model.outlet_fact(i).is_ok_and(|fact| fact.konst.is_some()));
        let epsilon = tensor0(self.epsilon)
            .cast_to_dt(numbers)?
            .into_owned()
            .broadcast_into_rank(1)?;
        let epsilon = model.add_const(format!("{prefix}.epsilon"), epsilon)?;
        let mut wiring = Wiring { model, prefix };
        let &[x, scale, bias, mean, variance] = inputs else {
            bail!("{} inputs; expected 5", inputs.len());
        };
        let above = wiring.part("above", math::add(), &[variance, epsilon])?;
        let root = wiring.part("root", math::sqrt(), &[above])?;
        if fixed {
            // a factor and a term, which a convolution before takes in
            let slope = wiring.part("ratio", math::div(), &[scale, root])?;
            let slope = along_channels(&mut wiring, "slope", slope, rank)?;
            let moved = wiring.part("moved", math::mul(), &[mean, scale])?;
            let moved = wiring.part("shift", math::div(), &[moved, root])?;
            let term = wiring.part("term", math::sub(), &[bias, moved])?;
            let term = along_channels(&mut wiring, "inter", term, rank)?;
            let scaled = wiring.part("mul", math::mul(), &[slope, x])?;
            return model.wire_node(prefix, math::add(), &[term, scaled]);
        }
        let mean = along_channels(&mut wiring, "mean", mean, rank)?;
        let centred = wiring.part("centred", math::sub(), &[x, mean])?;
        let inverse = wiring.part("inverse", math::recip(), &[root])?;
        let inverse = along_channels(&mut wiring, "factor", inverse, rank)?;
        let normal = wiring.part("normal", math::mul(), &[centred, inverse])?;
        let scale = along_channels(&mut wiring, "scale", scale, rank)?;
        let scaled = wiring.part("scaled", math::mul(), &[normal, scale])?;
        let bias = along_channels(&mut wiring, "bias", bias, rank)?;
        model.wire_node(prefix, math::add(), &[scaled, bias])
    }
}

/// A vector of a number for each channel, of a rank.
fn along_channels(
    wiring: &mut Wiring<'_>,
    name: &str,
    mut x: OutletId,
    rank: usize,
) -> TractResult<OutletId> {
    for axis in std::iter::once(0).chain(2..rank) {
        x = wiring.part(&format!("{name}.{axis}"), AxisOp::Add(axis), &[x])?;
    }
    Ok(x)
}
