//! From one operator case to a program, two circuits and a list of refused forgeries.

use super::{Failure, Forger, Halo2Forger, spec};
use crate::arithmetization::halo2::{Halo2Circuit, Halo2Cost};
use crate::arithmetization::r1cs::{Cost, Form, R1cs};
use crate::constraint::{Builder, Program, WireTensor, solve};
use crate::ops::{Case, Op};
use crate::tensor::{Fact, Tensor};
use std::sync::Arc;
use zkinfer_verifier::{Dtype, Role, Visibility};

/// Counts of one case, for the golden file.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Program digest.
    pub digest: [u8; 32],
    /// Rows of the plain form.
    pub plain: Cost,
    /// Rows of the committed form.
    pub committed: Cost,
    /// Rows and columns of the Halo2 form.
    pub halo2: Halo2Cost,
    /// Forgeries tried, all refused.
    pub forgeries: usize,
}

/// Builds the program of one operator: digits in, operator, one output.
///
/// # Errors
/// When the operator does not apply to its facts or cannot be constrained.
pub fn program_of(case: &Case<Op>) -> Result<Arc<Program>, Failure> {
    let facts: Vec<&Fact> = case.facts.iter().collect();
    let y = case.op.infer(&facts)?;
    let mut b = Builder::new();
    b.node("feed");
    let mut xs = vec![];
    for (i, fact) in case.facts.iter().enumerate() {
        xs.push(feed(&mut b, i, fact)?);
    }
    b.node(case.name);
    let out = case.op.constrain(&mut b, &xs.iter().collect::<Vec<_>>())?;
    let span = out
        .intervals()
        .iter()
        .copied()
        .reduce(|a, b| a.union(&b))
        .unwrap_or(y.interval);
    let (dtype, visibility) = match span {
        s if s.lo >= -128 && s.hi <= 127 => (Dtype::Int8, Visibility::Public),
        _ => (Dtype::Int32, Visibility::Private),
    };
    b.output(&out, spec("y", Role::Output, visibility, &y.shape, dtype))?;
    Ok(Arc::new(b.finish()?))
}

/// The type that one input tensor has for a fact; `None` where it takes a sum of several.
fn narrow(fact: &Fact) -> Option<Dtype> {
    let boolean = fact.interval.lo >= 0 && fact.interval.hi <= 1;
    let byte = |t: &Dtype| matches!(t, Dtype::Int8 | Dtype::Uint8);
    if boolean {
        Some(Dtype::Bool)
    } else {
        fact.dtype().filter(byte)
    }
}

/// Weights of the int8 digits that make a value of `fact`: most significant first, 1 last.
fn digit_weights(fact: &Fact) -> Vec<i64> {
    let mut weights = vec![1i64];
    let mut reach = 127i64;
    let needed = fact.interval.max_abs() as i64;
    while reach < needed {
        // the widest step that leaves no gap, and no wider than needed
        let step = ((needed - reach) / 127 + 1).min(2 * reach + 1);
        weights.insert(0, step);
        reach += 127 * step;
    }
    weights
}

fn digits(value: i64, weights: &[i64]) -> Vec<i64> {
    let mut rest = value;
    weights
        .iter()
        .enumerate()
        .map(|(k, &w)| {
            let below: i64 = weights[k + 1..].iter().map(|w| 127 * w).sum();
            // least |digit| that brings the rest within reach of the smaller weights
            let digit = if rest > below {
                (rest - below + w - 1) / w
            } else if rest < -below {
                -((-rest - below + w - 1) / w)
            } else {
                0
            };
            rest -= digit * w;
            digit
        })
        .collect()
}

/// An input tensor whose interval is about the fact's: one int8 tensor, or a weighted sum of several.
fn feed(b: &mut Builder, index: usize, fact: &Fact) -> Result<WireTensor, Failure> {
    let mut terms = vec![];
    if let Some(dtype) = narrow(fact) {
        let name = format!("x{index}");
        let spec = spec(&name, Role::Input, Visibility::Private, &fact.shape, dtype);
        return Ok(b.input(spec)?);
    }
    for (k, w) in digit_weights(fact).into_iter().enumerate() {
        let name = format!("x{index}.{k}");
        let spec = spec(
            &name,
            Role::Input,
            Visibility::Private,
            &fact.shape,
            Dtype::Int8,
        );
        terms.push((w, b.input(spec)?));
    }
    let terms: Vec<(i64, &WireTensor)> = terms.iter().map(|(w, x)| (*w, x)).collect();
    Ok(b.combine(&terms, 0)?)
}

/// The input tensors of [`program_of`] that stand for a run.
pub fn inputs_of(case: &Case<Op>, run: &[Tensor]) -> Vec<Tensor> {
    let mut inputs = vec![];
    for (fact, x) in case.facts.iter().zip(run) {
        if narrow(fact).is_some() {
            inputs.push(Tensor {
                shape: fact.shape.clone(),
                data: x.data.clone(),
            });
            continue;
        }
        let weights = digit_weights(fact);
        let columns: Vec<Vec<i64>> = x.data.iter().map(|v| digits(*v, &weights)).collect();
        for k in 0..weights.len() {
            let data = columns.iter().map(|c| c[k]).collect();
            inputs.push(Tensor {
                shape: fact.shape.clone(),
                data,
            });
        }
    }
    inputs
}

/// Runs the whole ladder on one case.
///
/// # Errors
/// The first rung that does not hold.
pub fn check_case(case: &Case<Op>) -> Result<Measured, Failure> {
    let program = program_of(case)?;
    if Program::decode(&program.encode())? != *program {
        return Err(Failure::Differ("program and its decoding"));
    }
    let facts: Vec<&Fact> = case.facts.iter().collect();
    let fact = case.op.infer(&facts)?;
    let forms = [Form::Plain, Form::Committed]
        .map(|form| R1cs::lower(&program, form).map_err(|source| Failure::Lower { form, source }));
    let [plain, committed] = forms;
    let circuits = [plain?, committed?];
    let halo2 = Halo2Circuit::lower(&program).map_err(Failure::Halo2Lower)?;
    let mut forgeries = 0;
    for (index, run) in case.runs.iter().enumerate() {
        let y = case.op.eval(&run.iter().collect::<Vec<_>>())?;
        if y.shape != fact.shape {
            return Err(Failure::Differ("inferred and evaluated shapes"));
        }
        if y.data.iter().any(|v| !fact.interval.contains(*v)) {
            return Err(Failure::Differ("inferred interval and evaluated values"));
        }
        let solved = solve(&program, &inputs_of(case, run))?;
        if solved.outputs(&program)[0].data != y.data {
            return Err(Failure::Differ("solver and eval"));
        }
        let forger = Halo2Forger::new(&halo2, &solved);
        forger.check_honest()?;
        if index == 0 {
            let lies = forger.lies(false);
            forgeries += forger.check_lies(&lies)?;
            // a few through the library as well
            let some: Vec<_> = lies
                .iter()
                .step_by(lies.len().div_ceil(5))
                .cloned()
                .collect();
            forger.check_lies_in_mock_prover(&some)?;
        }
        for circuit in &circuits {
            let forger = Forger::new(circuit, &solved);
            forger.check_honest()?;
            // every run is checked, the first is attacked everywhere
            if index == 0 {
                forgeries += forger.check_single_changes(case.name)?;
            }
        }
    }
    let [plain, committed] = circuits.map(|c| c.cost());
    Ok(Measured {
        digest: program.digest(),
        plain,
        committed,
        halo2: halo2.cost(),
        forgeries,
    })
}
