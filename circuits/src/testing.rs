//! The ladder every operator climbs, on every arithmetization that exists.
//!
//! [`check_case`]: infer = eval → solver = eval → both R1CS forms and Halo2 (its mock prover too) accept → every hinted wire changed is
//! refused, by name.
//! The forger is as strong as a prover can be without breaking a hash: it changes a wire and recomputes honestly everything
//! that depends on it, multiplicities and inverses included.

mod forger;
mod halo2_forger;
mod ladder;
mod mutation;

pub use forger::{Attack, Forger};
pub use halo2_forger::{Halo2Forger, Halo2Lie};
pub use ladder::{Measured, check_case, inputs_of, program_of};
pub use mutation::{Mutations, Subject, delete_each_step};

use crate::arithmetization::r1cs::{Form, LowerError, Violation};
use crate::constraint::{
    BuildError, Builder, LinearMap, Program, ProgramError, SolveError, TableFunction,
};
use crate::gadgets::requantize::requantize;
use crate::ops::{EvalError, InferError};
use std::sync::Arc;
use zkinfer_verifier::{Dtype, Role, TensorSpec, Visibility};

/// Which rung a case failed on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// `infer` refused the case's facts.
    #[error("infer: {0}")]
    Infer(#[from] InferError),
    /// `eval` refused a run.
    #[error("eval: {0}")]
    Eval(#[from] EvalError),
    /// `constrain` refused the operator.
    #[error("constrain: {0}")]
    Build(#[from] BuildError),
    /// The program does not survive being written and read.
    #[error("decode: {0}")]
    Program(#[from] ProgramError),
    /// The solver refused a run.
    #[error("solve: {0}")]
    Solve(#[from] SolveError),
    /// A form has no circuit.
    #[error("{form:?}: {source}")]
    Lower {
        /// Form.
        form: Form,
        /// Reason.
        source: LowerError,
    },
    /// Two computations of one thing differ.
    #[error("{0} differ")]
    Differ(&'static str),
    /// An honest witness is refused.
    #[error("{form:?}: honest witness refused: {violation}")]
    Refused {
        /// Form.
        form: Form,
        /// What it breaks.
        violation: Violation,
    },
    /// A forged witness is accepted.
    #[error("{form:?}: forged witness accepted: {attack}")]
    Accepted {
        /// Form.
        form: Form,
        /// The forgery.
        attack: Attack,
    },
    /// There is no Halo2 circuit.
    #[error("halo2: {0}")]
    Halo2Lower(LowerError),
    /// An honest witness is refused by the Halo2 form.
    #[error("halo2: honest witness refused: {violation}")]
    Halo2Refused {
        /// What it breaks.
        violation: Violation,
    },
    /// A lying witness is accepted by the Halo2 form.
    #[error("halo2: lying witness accepted: {lie}")]
    Halo2Accepted {
        /// The lie.
        lie: String,
    },
    /// A forged witness is refused, but the violation names another node.
    #[error("{form:?}: {attack}: the violation names {violation}")]
    Misnamed {
        /// Form.
        form: Form,
        /// The forgery.
        attack: Attack,
        /// What was named.
        violation: Violation,
    },
}

/// An int8 tensor declaration with unit scale, for small programs made by hand.
pub fn spec(
    name: &str,
    role: Role,
    visibility: Visibility,
    shape: &[usize],
    dtype: Dtype,
) -> TensorSpec {
    TensorSpec {
        name: name.to_owned(),
        role,
        visibility,
        shape: shape.iter().map(|&d| d as u32).collect(),
        dtype,
        scale: 1.0,
        zero_point: 0,
    }
}

/// One dense layer with requantization on a public input: the smallest program with every part of a statement.
///
/// # Errors
/// Never for the fixed sizes used in tests; otherwise as the builder.
pub fn tiny_dense(
    weights: Vec<i64>,
    bias: Vec<i64>,
    n_in: usize,
    visibility: Visibility,
) -> Result<Arc<Program>, BuildError> {
    let n_out = bias.len();
    let mut b = Builder::new();
    b.node("dense");
    let x = b.input(spec("x", Role::Input, visibility, &[1, n_in], Dtype::Int8))?;
    let acc = b.linear(
        LinearMap::Dense {
            n_in,
            n_out,
            weights,
        },
        &x,
        bias,
    )?;
    let f = TableFunction::clamp(-128, 127);
    let y = requantize(&mut b, &acc, vec![1 << 17], 24, 3, &f)?;
    b.output(
        &y,
        spec(
            "y",
            Role::Output,
            Visibility::Public,
            &[1, n_out],
            Dtype::Int8,
        ),
    )?;
    Ok(Arc::new(b.finish()?))
}
