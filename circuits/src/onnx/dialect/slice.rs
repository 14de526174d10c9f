//! Slice as ONNX defines it, whatever made its bounds: tract takes them through 32 bits unless they are constants of the file, so that the largest
//! integer, "to the end", becomes −1.

use super::{Built, Gather, MAX_PLACES, fixed_shape, original};
use tract_onnx::model::{ParsingContext, optional_inputs};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::array::Slice as Part;

pub(super) fn slice(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    if context.onnx_operator_set_version < 10 {
        return original(context, node);
    }
    let mut others = optional_inputs(node).skip(3);
    let mut other = || others.next().flatten();
    Ok((
        expand(Slice {
            axes: other(),
            steps: other(),
        }),
        vec![],
    ))
}

/// Positions of the inputs that name axes and steps.
#[derive(Clone, Debug)]
struct Slice {
    axes: Option<usize>,
    steps: Option<usize>,
}

/// What is kept of an axis: `len` elements from `start` on, `step` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    axis: usize,
    start: i64,
    step: i64,
    len: i64,
}

impl Kept {
    /// As ONNX defines it for an axis of `size` elements.
    fn new(axis: usize, size: i64, [start, end, step]: [i64; 3]) -> TractResult<Self> {
        ensure!(step != 0, "a step of 0");
        let from_end = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
        let (start, end) = (from_end(start), from_end(end));
        let (start, end) = match step > 0 {
            true => (start.clamp(0, size), end.clamp(0, size)),
            false => (start.clamp(-1, size - 1), end.clamp(-1, size - 1)),
        };
        let distance = if step > 0 { end - start } else { start - end };
        let step_size = i64::try_from(step.unsigned_abs()).unwrap_or(i64::MAX);
        // distances are at most the size of an axis
        let len = match distance > 0 {
            true => (distance - 1) / step_size + 1,
            false => 0,
        };
        Ok(Self {
            axis,
            start,
            step,
            len,
        })
    }
}

fn integers(tensor: &Tensor) -> TractResult<Vec<i64>> {
    let tensor = tensor.cast_to::<i64>()?;
    let view = tensor.to_plain_array_view::<i64>()?;
    Ok(view.iter().copied().collect())
}

impl Slice {
    /// `bounds` are the values of the inputs from the second on.
    fn kept(&self, shape: &[usize], bounds: &[Arc<Tensor>]) -> TractResult<Vec<Kept>> {
        let values = |input: usize| {
            let tensor = bounds.get(input.wrapping_sub(1));
            integers(tensor.context("an input is missing")?)
        };
        let (starts, ends) = (values(1)?, values(2)?);
        let n = starts.len();
        let axes = match self.axes {
            Some(input) => values(input)?,
            None => (0..i64::try_from(n)?).collect(),
        };
        let steps = match self.steps {
            Some(input) => values(input)?,
            None => vec![1; n],
        };
        ensure!(
            [ends.len(), axes.len(), steps.len()] == [n; 3],
            "{n} starts, {} ends, {} axes and {} steps; expected as many of each",
            ends.len(),
            axes.len(),
            steps.len()
        );
        let rank = i64::try_from(shape.len())?;
        let mut kept: Vec<Kept> = Vec::with_capacity(n);
        for i in 0..n {
            let axis = if axes[i] < 0 {
                axes[i].saturating_add(rank)
            } else {
                axes[i]
            };
            ensure!(
                (0..rank).contains(&axis),
                "axis {} of a tensor of rank {rank}",
                axes[i]
            );
            let axis = usize::try_from(axis)?;
            ensure!(
                kept.iter().all(|k| k.axis != axis),
                "axis {axis} is named twice"
            );
            let size = i64::try_from(shape[axis])?;
            kept.push(Kept::new(axis, size, [starts[i], ends[i], steps[i]])?);
        }
        Ok(kept)
    }
}

impl Expansion for Slice {
    fn name(&self) -> StaticName {
        "Slice".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let arity = 3 + usize::from(self.axes.is_some()) + usize::from(self.steps.is_some());
        check_input_arity(inputs, arity)?;
        check_output_arity(outputs, 1)?;
        s.equals(&outputs[0].datum_type, &inputs[0].datum_type)?;
        s.equals(&outputs[0].rank, &inputs[0].rank)?;
        s.given(&inputs[0].shape, move |s, shape| {
            let bounds = inputs[1..].iter().map(|input| &input.value);
            s.given_all(bounds, move |s, bounds| {
                let sizes = shape.iter().map(|size| Ok(size.to_usize()?));
                let sizes = sizes.collect::<TractResult<Vec<_>>>()?;
                let mut out = shape.clone();
                for kept in self.kept(&sizes, &bounds)? {
                    out[kept.axis] = kept.len.to_dim();
                }
                s.equals(&outputs[0].shape, out)
            })
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let shape = fixed_shape(model, inputs[0])?;
        let mut bounds = Vec::with_capacity(inputs.len());
        for &input in &inputs[1..] {
            let value = model.outlet_fact(input)?.konst.clone();
            bounds.push(value.context("computed bounds; expected constants")?);
        }
        let mut y = inputs[0];
        for kept in self.kept(&shape, &bounds)? {
            let whole = kept.step == 1 && kept.len == i64::try_from(shape[kept.axis])?;
            if whole {
                continue;
            }
            let name = model.unique_name(format!("{prefix}.kept.{}", kept.axis));
            y = if kept.step == 1 {
                let part = Part::new(kept.axis, kept.start, kept.start + kept.len);
                model.wire_node(name, part, &[y])?[0]
            } else {
                ensure!(
                    kept.len <= MAX_PLACES as i64,
                    "{} elements are kept in steps of {}; expected at most 2^18",
                    kept.len,
                    kept.step
                );
                let indices: Vec<i64> = (0..kept.len).map(|i| kept.start + i * kept.step).collect();
                let indices = model.add_const(
                    model.unique_name(format!("{name}.indices")),
                    tensor1(&indices),
                )?;
                model.wire_node(name, Gather::new(kept.axis), &[y, indices])?[0]
            };
        }
        Ok(tvec!(y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The elements of 0, …, size − 1 that Python's slice keeps, by walking.
    fn walked(size: i64, start: i64, end: i64, step: i64) -> Vec<i64> {
        let from_end = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
        let (start, end) = (from_end(start), from_end(end));
        let inside = |at: &i64| (0..size).contains(at);
        if step > 0 {
            let all = (0..size).filter(|at| *at >= start.max(0) && *at < end);
            return all.filter(|at| (at - start.max(0)) % step == 0).collect();
        }
        let first = start.min(size - 1);
        let all = (0..size).rev().filter(|at| *at <= first && *at > end);
        all.filter(|at| (first - at) % step == 0)
            .filter(inside)
            .collect()
    }

    #[test]
    fn slices_are_those_of_the_definition() {
        let ends = [
            i64::MIN,
            i64::MIN + 1,
            -9,
            -5,
            -4,
            -1,
            0,
            1,
            3,
            4,
            5,
            9,
            i64::MAX - 1,
            i64::MAX,
        ];
        let mut tried = 0;
        for size in [0, 1, 4, 5] {
            for start in ends {
                for end in ends {
                    for step in [1, 2, 3, -1, -2, -4] {
                        let kept = Kept::new(0, size, [start, end, step]).expect("a step");
                        let made: Vec<i64> =
                            (0..kept.len).map(|i| kept.start + i * kept.step).collect();
                        assert_eq!(
                            made,
                            walked(size, start, end, step),
                            "{size}: {start}, {end}, {step}"
                        );
                        tried += 1;
                    }
                }
            }
        }
        assert!(tried > 4000, "{tried}");
        assert!(Kept::new(0, 4, [0, 4, 0]).is_err());
        let one = Kept::new(0, 4, [3, i64::MIN, i64::MIN]).expect("a step");
        assert_eq!((one.start, one.len), (3, 1));
    }
}
