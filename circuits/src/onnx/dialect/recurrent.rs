//! LSTM, GRU and RNN as one operator that tract leaves whole: its own readers ignore the direction reverse, the activations, the clip
//! and `input_forget`, and what its declutter makes of the loop is not always consistent. `translate/recurrent` unrolls it.

use super::Built;
use tract_onnx::model::{ParsingContext, optional_inputs, optional_outputs};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// What one step computes.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(in crate::onnx) enum Cell {
    /// Gates i, o, f, c and a cell state.
    Lstm,
    /// Gates z, r, h; whether the reset gate scales the product with the state rather than the state.
    Gru { linear_before_reset: bool },
    /// No gates.
    Rnn,
}

impl Cell {
    /// Rows of the weights per element of the state.
    pub(in crate::onnx) fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru { .. } => 3,
            Self::Rnn => 1,
        }
    }

    /// The activations of ONNX's defaults, as many as a direction has.
    fn activations(self) -> &'static [Activation] {
        match self {
            Self::Lstm => &[Activation::Sigmoid, Activation::Tanh, Activation::Tanh],
            Self::Gru { .. } => &[Activation::Sigmoid, Activation::Tanh],
            Self::Rnn => &[Activation::Tanh],
        }
    }

    /// The most inputs and outputs of the operator.
    fn arity(self) -> (usize, usize) {
        match self {
            Self::Lstm => (8, 3),
            _ => (6, 2),
        }
    }
}

/// A function of gates and states.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(in crate::onnx) enum Activation {
    Sigmoid,
    Tanh,
    Relu,
}

impl Activation {
    fn named(name: &str) -> TractResult<Self> {
        match name.to_ascii_lowercase().as_str() {
            "sigmoid" => Ok(Self::Sigmoid),
            "tanh" => Ok(Self::Tanh),
            "relu" => Ok(Self::Relu),
            _ => bail!("the activation {name} is not supported; expected Sigmoid, Tanh or Relu"),
        }
    }
}

/// One pass over the sequence.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub(in crate::onnx) struct Direction {
    /// Whether it starts at the last step.
    pub(in crate::onnx) reverse: bool,
    /// The activations f, g and h of ONNX, as many as the cell has.
    pub(in crate::onnx) activations: Vec<Activation>,
}

/// A recurrent operator. Its inputs and outputs are those of the ONNX node without the absent ones.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub(in crate::onnx) struct Recurrent {
    pub(in crate::onnx) cell: Cell,
    pub(in crate::onnx) directions: Vec<Direction>,
    /// The axis of time: 0, or 1 in the layout that has batches first.
    pub(in crate::onnx) time: usize,
    /// Where X, W, R, B, sequence_lens, initial_h, initial_c and P are.
    pub(in crate::onnx) inputs: [Option<usize>; 8],
    /// Where Y, Y_h and Y_c are.
    pub(in crate::onnx) outputs: [Option<usize>; 3],
}

/// Sizes of a recurrent operator.
#[derive(Clone, Copy, Debug)]
pub(in crate::onnx) struct Sizes {
    pub(in crate::onnx) steps: usize,
    pub(in crate::onnx) batch: usize,
    pub(in crate::onnx) input: usize,
    pub(in crate::onnx) hidden: usize,
}

/// Reads the attributes.
pub(super) fn build(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let flag = |name: &str| -> TractResult<bool> {
        let value: i64 = node.get_attr_opt(name)?.unwrap_or(0);
        ensure!(
            (0..=1).contains(&value),
            "{name} = {value}; expected 0 or 1"
        );
        Ok(value == 1)
    };
    let cell = match node.op_type.as_str() {
        "LSTM" => Cell::Lstm,
        "GRU" => Cell::Gru {
            linear_before_reset: flag("linear_before_reset")?,
        },
        _ => Cell::Rnn,
    };
    ensure!(
        node.get_attr_opt::<f32>("clip")?.is_none(),
        "a clip is not supported; expected none"
    );
    ensure!(
        !flag("input_forget")?,
        "input_forget = 1 is not supported; expected 0"
    );
    let (most_inputs, most_outputs) = cell.arity();
    ensure!(
        (3..=most_inputs).contains(&node.input.len()) && node.output.len() <= most_outputs,
        "{} inputs and {} outputs; expected between 3 and {most_inputs}, and at most {most_outputs}",
        node.input.len(),
        node.output.len()
    );
    let mut recurrent = Recurrent {
        cell,
        directions: directions(cell, node)?,
        time: flag("layout")?.into(),
        inputs: [None; 8],
        outputs: [None; 3],
    };
    for (slot, at) in recurrent.inputs.iter_mut().zip(optional_inputs(node)) {
        *slot = at;
    }
    for (slot, at) in recurrent.outputs.iter_mut().zip(optional_outputs(node)) {
        *slot = at;
    }
    let weights = recurrent.inputs[..3].iter().all(Option::is_some);
    ensure!(weights, "one of X, W and R is absent");
    ensure!(recurrent.count() > 0, "no output is used");
    Ok((expand(recurrent), vec![]))
}

/// The directions, with their activations.
fn directions(cell: Cell, node: &NodeProto) -> TractResult<Vec<Direction>> {
    let reverse: &[bool] = match node.get_attr_opt("direction")?.unwrap_or("forward") {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => bail!("direction {other}; expected forward, reverse or bidirectional"),
    };
    let default = cell.activations();
    let named: Option<TVec<&str>> = node.get_attr_opt_tvec("activations")?;
    let activations = match named {
        None => default.repeat(reverse.len()),
        Some(names) => {
            let read = names.iter().map(|name| Activation::named(name));
            read.collect::<TractResult<Vec<_>>>()?
        }
    };
    let expected = default.len() * reverse.len();
    ensure!(
        activations.len() == expected,
        "{} activations; expected {expected}",
        activations.len()
    );
    let each = reverse.iter().zip(activations.chunks(default.len()));
    let directions = each.map(|(&reverse, activations)| Direction {
        reverse,
        activations: activations.to_vec(),
    });
    Ok(directions.collect())
}

impl Recurrent {
    /// How many outputs are used.
    pub(in crate::onnx) fn count(&self) -> usize {
        self.outputs.iter().flatten().count()
    }

    /// The sizes that these shapes of X and R mean.
    fn dims(&self, x: &[TDim], r: &[TDim]) -> TractResult<[TDim; 4]> {
        ensure!(
            x.len() == 3 && r.len() == 3,
            "X of rank {} and R of rank {}; expected 3",
            x.len(),
            r.len()
        );
        let [steps, batch] = [self.time, 1 - self.time].map(|axis| x[axis].clone());
        Ok([steps, batch, x[2].clone(), r[2].clone()])
    }

    /// The shape of Y, or that of Y_h and Y_c.
    fn shape(&self, output: usize, [steps, batch, _, hidden]: &[TDim; 4]) -> TVec<TDim> {
        let mut shape = tvec!(self.directions.len().to_dim(), batch.clone());
        if self.time == 1 {
            shape.swap(0, 1);
        }
        if output == 0 {
            shape.insert(self.time, steps.clone());
        }
        shape.push(hidden.clone());
        shape
    }

    /// The sizes, when every input has the shape that they ask for.
    fn checked(&self, facts: &[&TypedFact]) -> TractResult<[TDim; 4]> {
        let of = |input: usize| {
            let at = self.inputs[input]?;
            Some(facts.get(at)?.shape.to_tvec())
        };
        let (x, r) = (of(0).context("no X")?, of(2).context("no R")?);
        let dims = self.dims(&x, &r)?;
        let [_, batch, input, hidden] = dims.clone();
        let directions = self.directions.len().to_dim();
        let rows = hidden.clone() * self.cell.gates();
        let state = self.shape(1, &dims);
        let expected = [
            x.clone(),
            tvec!(directions.clone(), rows.clone(), input),
            tvec!(directions.clone(), rows.clone(), hidden.clone()),
            tvec!(directions.clone(), rows * 2),
            tvec!(batch),
            state.clone(),
            state,
            tvec!(directions, hidden * 3),
        ];
        let names = [
            "X",
            "W",
            "R",
            "B",
            "sequence_lens",
            "initial_h",
            "initial_c",
            "P",
        ];
        for (input, (expected, name)) in expected.iter().zip(names).enumerate() {
            let got = of(input);
            ensure!(
                got.as_ref().is_none_or(|got| got == expected),
                "{name} has the shape {got:?}; expected {expected:?}"
            );
        }
        Ok(dims)
    }

    /// The sizes, all fixed.
    pub(in crate::onnx) fn sizes(&self, x: &[usize], r: &[usize]) -> Option<Sizes> {
        let (&[first, second, input], &[_, _, hidden]) = (x, r) else {
            return None;
        };
        let [steps, batch] = if self.time == 0 {
            [first, second]
        } else {
            [second, first]
        };
        Some(Sizes {
            steps,
            batch,
            input,
            hidden,
        })
    }
}

impl Expansion for Recurrent {
    fn name(&self) -> StaticName {
        "Recurrent".into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.count())
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, self.inputs.iter().flatten().count())?;
        check_output_arity(outputs, self.count())?;
        for output in outputs {
            s.equals(&output.datum_type, &inputs[0].datum_type)?;
        }
        // X, W and R are never absent, so R is the third
        s.given_2(&inputs[0].shape, &inputs[2].shape, move |s, x, r| {
            let dims = self.dims(&x, &r)?;
            for (output, at) in self.outputs.iter().enumerate() {
                if let Some(at) = at {
                    s.equals(&outputs[*at].shape, self.shape(output, &dims))?;
                }
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
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl Op for Recurrent {
    fn name(&self) -> StaticName {
        "Recurrent".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Recurrent {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, _: TVec<TValue>) -> TractResult<TVec<TValue>> {
        bail!(
            "a recurrent operator on constants is not supported; expected an X that depends on an input"
        )
    }
}

impl TypedOp for Recurrent {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let dims = self.checked(inputs)?;
        let float = inputs.first().context("no X")?.datum_type;
        let used = self.outputs.iter().enumerate();
        let facts = used.filter(|(_, at)| at.is_some());
        Ok(facts
            .map(|(output, _)| float.fact(self.shape(output, &dims)))
            .collect())
    }

    as_op!();
}
