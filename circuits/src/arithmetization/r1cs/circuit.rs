//! The parts of a lowered circuit: tensors of wires or of linear expressions, and groups of element-wise rows.

use crate::arithmetization::sponge::AffineMap;
use crate::constraint::TensorId;
use ark_bn254::Fr;
use ark_ff::{One, Zero};
use std::sync::Arc;

/// Which part of the witness a wire belongs to; the order is the order of commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Committed round, W1.
    Committed,
    /// Challenges and words: known to the verifier.
    Instance,
    /// Everything else, W2.
    Private,
}

/// Index of a tensor of the circuit.
pub(super) type Rid = usize;

/// Element-wise linear combination; tensors of one element are broadcast.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinComb {
    pub(super) terms: Vec<(Fr, Rid)>,
    pub(super) constant: Fr,
}

impl LinComb {
    pub(super) fn constant(c: Fr) -> Self {
        Self {
            terms: vec![],
            constant: c,
        }
    }

    pub(super) fn one() -> Self {
        Self::constant(Fr::one())
    }

    pub(super) fn of(x: Rid) -> Self {
        Self {
            terms: vec![(Fr::one(), x)],
            constant: Fr::zero(),
        }
    }

    pub(super) fn plus(mut self, c: Fr, other: &Self) -> Self {
        self.constant += c * other.constant;
        for (d, x) in &other.terms {
            match self.terms.iter_mut().find(|t| t.1 == *x) {
                Some(t) => t.0 += c * d,
                None => self.terms.push((c * d, *x)),
            }
        }
        self.terms.retain(|t| !t.0.is_zero());
        self
    }

    pub(super) fn add_constant(mut self, c: Fr) -> Self {
        self.constant += c;
        self
    }

    pub(super) fn scaled(mut self, c: Fr) -> Self {
        self.constant *= c;
        self.terms.iter_mut().for_each(|t| t.0 *= c);
        self
    }
}

/// Another tensor's elements in another order, some of them repeated: element (i₀, i₁, i₂, i₃) is `x[offset + Σ stride·i]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strides {
    pub(super) offset: usize,
    /// (length, stride), outermost first.
    pub(super) axes: [(usize, usize); 4],
}

impl Strides {
    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.axes.iter().map(|axis| axis.0).product()
    }

    /// Where element `i` lies.
    pub(super) fn at(&self, mut i: usize) -> usize {
        let mut at = self.offset;
        for (len, stride) in self.axes.iter().rev() {
            at += i % len * stride;
            i /= len;
        }
        at
    }
}

/// How an honest prover computes a tensor of wires.
#[derive(Clone, Debug)]
pub(super) enum Fill {
    /// Given from outside: challenges, words.
    Given,
    /// The statement's context.
    Context,
    /// The program tensor's integers.
    Value(TensorId),
    /// Bits `shift .. shift + bits` of `x − q·2^split`.
    Remainder {
        x: TensorId,
        q: TensorId,
        split: u32,
        shift: u32,
        bits: u32,
    },
    /// Bits `shift .. shift + bits` of a small non-negative combination.
    Bits { of: LinComb, shift: u32, bits: u32 },
    /// `a·b + plus`.
    Product {
        a: LinComb,
        b: LinComb,
        plus: LinComb,
    },
    /// `u⁵` for the rows u of `map`, one after the other: each reads the state and the powers before it.
    FifthPowers { map: Arc<AffineMap>, state: Rid },
    /// `1 / of`.
    Inverse { of: LinComb },
    /// `num / den`.
    Quotient { num: LinComb, den: LinComb },
    /// How often each row of the table is asked for.
    Count { table: usize },
    /// The result y of a contraction with these dimensions.
    Contract {
        a: Rid,
        b: Rid,
        dims: [usize; 4],
        y: TensorId,
    },
}

/// What a tensor's elements are.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Variables, at consecutive indices of their class.
    Wires {
        class: Class,
        start: usize,
        fill: Fill,
    },
    /// The linear map and bias of program step `step`, applied to `x`.
    Linear { step: usize, x: Rid },
    /// Element-wise combination.
    Combo(LinComb),
    /// `values[i]·x` with x of one element.
    Outer { values: Arc<[i64]>, x: Rid },
    /// Fixed values.
    Constants { values: Arc<[i64]> },
    /// Elements of x in another order.
    Gather { x: Rid, strides: Strides },
    /// Sums of `width` consecutive elements of x.
    Sums { x: Rid, width: usize },
    /// One element: `Σ c·Σ_i x[i]`.
    Sum { terms: Vec<(Fr, Rid)> },
    /// Row k: `constants[k] + Σ c·x[i]` over the listed (x, i, c).
    Pack {
        rows: Vec<Vec<(Rid, usize, Fr)>>,
        constants: Vec<Fr>,
    },
    /// The rows of `map`, whose arguments are the elements of the two tensors, one after the other.
    Affine { map: Arc<AffineMap>, of: [Rid; 2] },
}

/// A tensor of the circuit.
#[derive(Clone, Debug)]
pub(super) struct RTensor {
    pub(super) node: Node,
    pub(super) len: usize,
    /// Latest class among the wires it depends on.
    pub(super) class: Class,
}

/// `n` rows `a[i]·b[i] = c[i]`.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Which constraint of the lowering this is.
    pub(crate) rule: &'static str,
    /// Program step it serves; `None` for tables, the logUp sum and the statement.
    pub(crate) step: Option<usize>,
    pub(crate) first_row: usize,
    pub(crate) n: usize,
    pub(super) a: LinComb,
    pub(super) b: LinComb,
    pub(super) c: LinComb,
}

/// Every element of (key, value) is a row of a table.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) key: Rid,
    pub(super) value: Option<Rid>,
    pub(super) table: usize,
    pub(super) step: usize,
    pub(super) n: usize,
    /// `α·value`, once the argument is closed; `None` without a value.
    pub(super) fold: Option<Rid>,
    /// The query's inverses, once the argument is closed.
    pub(super) inverse: Option<Rid>,
}

/// A table of the logUp argument. Keys are consecutive integers; range tables have value 0.
#[derive(Clone, Debug)]
pub(super) struct RTable {
    /// Distinct, never 0.
    pub(super) id: u64,
    pub(super) rows: Arc<[(i64, i64)]>,
    pub(super) name: String,
    /// Multiplicity over denominator of every row, once the argument is closed.
    pub(super) quotient: Option<Rid>,
}
