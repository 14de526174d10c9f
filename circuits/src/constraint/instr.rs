//! The instructions. Tensors are written once, in order; an operand always has a smaller id than its result.

use super::{HintKind, LinearMap, TableId, TensorId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;

/// One tensor-level instruction. What each means, and what each arithmetization pays: `DESIGN.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Instr {
    /// Input tensor `io` of the program, every element ranged to its type.
    Input {
        /// Index among the program's inputs.
        io: u32,
    },
    /// `y = W·x + bias`.
    Linear {
        /// W; the copies of a batch share it.
        #[serde(with = "shared")]
        map: Arc<LinearMap>,
        /// x.
        x: TensorId,
        /// Empty for none, one value for all, or one per output.
        #[serde(with = "shared")]
        bias: Arc<Vec<i64>>,
    },
    /// `y = Σ c·x + constant`, element-wise over tensors of one length.
    Combine {
        /// (c, x).
        terms: Vec<(i64, TensorId)>,
        /// Added to every element.
        constant: i64,
    },
    /// `y = a·b`, element-wise.
    Mul {
        /// a.
        a: TensorId,
        /// b.
        b: TensorId,
    },
    /// `x = q·2^shift + ρ`, `0 ≤ ρ < 2^shift`; the result is q, unbound.
    Split {
        /// x.
        x: TensorId,
        /// Number of low bits taken off.
        shift: u32,
    },
    /// `y = table[key]`; binds `key`.
    Lookup {
        /// The table.
        table: TableId,
        /// A bound or an unbound tensor.
        key: TensorId,
    },
    /// `0 ≤ x < 2^bits`. A bound x whose proved upper end is below 2^bits needs only its sign checked.
    Range {
        /// A tensor in any state; the result is the same tensor, bound.
        x: TensorId,
        /// Exponent of the bound.
        bits: u32,
    },
    /// `x = 0`, every element.
    AssertZero {
        /// x.
        x: TensorId,
    },
    /// `Π_i (x − of_i) = 0`, element-wise: x is one of the candidates. The result is x, bound to the union of their intervals.
    Member {
        /// A hinted or bound tensor.
        x: TensorId,
        /// At least one candidate.
        of: Vec<TensorId>,
    },
    /// The prover chooses.
    Hint {
        /// How an honest prover does.
        kind: HintKind,
        /// What it looks at.
        inputs: Vec<TensorId>,
    },
    /// `y = no + condition·(yes − no)`, element-wise; every condition is proved to be 0 or 1, so y is one of the two.
    Select {
        /// 0 or 1.
        condition: TensorId,
        /// y where the condition is 1.
        yes: TensorId,
        /// y where it is 0.
        no: TensorId,
    },
    /// `y[t][i][j] = Σ_l a[t][i][l]·b[t][j][l]`: rows of a times rows of b.
    Contract {
        /// `[batch][m][k]`.
        a: TensorId,
        /// `[batch][n][k]`.
        b: TensorId,
        /// batch, m, k and n, each at least 1.
        dims: [u32; 4],
    },
}

impl Instr {
    /// Operands of its lists.
    pub(super) fn n_listed(&self) -> usize {
        match self {
            Self::Combine { terms, .. } => terms.len(),
            Self::Member { of, .. } => of.len(),
            Self::Hint { inputs, .. } => inputs.len(),
            _ => 0,
        }
    }

    /// The instruction's name in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input { .. } => "input",
            Self::Linear { .. } => "linear",
            Self::Combine { .. } => "combine",
            Self::Mul { .. } => "mul",
            Self::Split { .. } => "split",
            Self::Lookup { .. } => "lookup",
            Self::Range { .. } => "range",
            Self::AssertZero { .. } => "assert_zero",
            Self::Member { .. } => "member",
            Self::Hint { .. } => "hint",
            Self::Select { .. } => "select",
            Self::Contract { .. } => "contract",
        }
    }

    /// The tensors it reads.
    pub fn operands(&self) -> Vec<TensorId> {
        match self {
            Self::Input { .. } => vec![],
            Self::Linear { x, .. }
            | Self::Split { x, .. }
            | Self::Range { x, .. }
            | Self::AssertZero { x } => vec![*x],
            Self::Lookup { key, .. } => vec![*key],
            Self::Combine { terms, .. } => terms.iter().map(|t| t.1).collect(),
            Self::Mul { a, b } | Self::Contract { a, b, .. } => vec![*a, *b],
            Self::Member { x, of } => std::iter::once(*x).chain(of.iter().copied()).collect(),
            Self::Hint { inputs, .. } => inputs.clone(),
            Self::Select { condition, yes, no } => vec![*condition, *yes, *no],
        }
    }

    /// The same instruction on tensors `tensors` further on and inputs `inputs` further on.
    pub(super) fn shifted(&self, tensors: u32, inputs: u32) -> Self {
        let at = |id: TensorId| TensorId(id.0 + tensors);
        let mut moved = self.clone();
        match &mut moved {
            Self::Input { io } => *io += inputs,
            Self::Linear { x, .. }
            | Self::Split { x, .. }
            | Self::Range { x, .. }
            | Self::AssertZero { x } => *x = at(*x),
            Self::Lookup { key, .. } => *key = at(*key),
            Self::Combine { terms, .. } => terms.iter_mut().for_each(|t| t.1 = at(t.1)),
            Self::Mul { a, b } | Self::Contract { a, b, .. } => (*a, *b) = (at(*a), at(*b)),
            Self::Member { x, of } => {
                *x = at(*x);
                of.iter_mut().for_each(|c| *c = at(*c));
            }
            Self::Hint { inputs, .. } => inputs.iter_mut().for_each(|x| *x = at(*x)),
            Self::Select { condition, yes, no } => {
                (*condition, *yes, *no) = (at(*condition), at(*yes), at(*no));
            }
        }
        moved
    }
}

/// What is behind an [`Arc`] is written as itself.
mod shared {
    use super::{Arc, Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        x: &Arc<T>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        T::serialize(x, s)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(d).map(Arc::new)
    }
}

/// An instruction, the ONNX node it serves, and the tensor it makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Index into the program's node names.
    pub node: u32,
    /// The instruction.
    pub instr: Instr,
    /// The result; `None` for a pure assertion.
    pub y: Option<TensorId>,
}
