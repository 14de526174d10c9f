//! # The protocol description: everything a verifier knows about one circuit
//! Columns and their phases, what is opened where, the gates as one flat program, the commitments of the key. The native verifier
//! runs it, the Solidity generator writes it out; both take every order (proof bytes, evaluations, opening sets) from here.
//! The order is that of `verify_proof` of `halo2-axiom` 0.5.3 with one instance column, no lookups and SHPLONK. Argument:
//! DESIGN.md#halo2-kzg.
//!
//! Proof, in bytes (a point x ‖ y is 64, a scalar 32, big-endian):
//! ```text
//! advice commitments, phase by phase, in a phase by column    challenges of a phase are squeezed after its commitments
//! (θ is squeezed and not used)  β, γ squeezed
//! Z_0 …                          one product for each chunk of permuted columns
//! R                              the random polynomial; y squeezed
//! H_0 …                          degree − 1 pieces of the quotient; x squeezed
//! evaluations                    advice queries, fixed queries, R(x), σ's at x, then for each Z: Z(x), Z(ωx), and, for all but the last, Z(ω^last·x)
//! W                              y', v squeezed before it, u after it
//! W'
//! ```

use alloc::{vec, vec::Vec};
use core::ops::Range;

use ark_bn254::{Fr, G1Affine, G2Affine};

use super::check::ProtocolError;

/// Largest and smallest base-2 logarithm of the number of rows.
pub const K_RANGE: core::ops::RangeInclusive<u8> = 4..=28;
/// Columns of one kind, and permuted columns.
pub const MAX_COLUMNS: usize = 256;
/// Queries of one kind.
pub const MAX_QUERIES: usize = 1024;
/// Rotations at which one column is queried.
pub const MAX_ROTATIONS: usize = 32;
/// Challenges.
pub const MAX_CHALLENGES: usize = 64;
/// Phases.
pub const MAX_PHASES: u8 = 3;
/// Degree of the constraint system.
pub const MAX_DEGREE: u8 = 33;
/// Operations of the gate program.
pub const MAX_OPS: usize = 1 << 16;
/// Values on the stack of the gate program.
pub const MAX_STACK: usize = 64;

/// A circuit and its commitments, as a verifier needs them.
#[derive(Clone, Debug, PartialEq)]
pub struct Protocol {
    /// The domain has 2^k rows.
    pub k: u8,
    /// Maximum degree d of a constraint: the quotient has d − 1 pieces, a permutation product takes d − 2 columns.
    pub degree: u8,
    /// Rows at the end that hold blinding factors; row −(blinding_factors + 1) is the last row of the products.
    pub blinding_factors: u8,
    /// The phase of each advice column.
    pub advice_phases: Vec<u8>,
    /// The phase after which each challenge is squeezed.
    pub challenge_phases: Vec<u8>,
    /// Where advice columns are opened, in the order of their evaluations; no column and rotation twice.
    pub advice_queries: Vec<Query>,
    /// Where fixed columns are opened, in the order of their evaluations; no column and rotation twice.
    pub fixed_queries: Vec<Query>,
    /// The columns of the permutation argument, in order; each is also queried at rotation 0.
    pub permuted: Vec<Column>,
    /// The gates: every constraint's expression in post-order, closed by [`Op::End`].
    pub gates: Vec<Op>,
    /// What the library absorbs for the key: its `transcript_repr`.
    pub transcript_repr: Fr,
    /// Commitments of the fixed columns; a column of zeros is the point at infinity.
    pub fixed: Vec<G1Affine>,
    /// Commitments of the permutation polynomials σ, one for each permuted column; finite.
    pub sigma: Vec<G1Affine>,
    /// \[s\] in G2. The other points of the commitment scheme are the generators.
    pub s_g2: G2Affine,
}

/// One column at one rotation: the polynomial is opened at x·ω^rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Index of the column among those of its kind.
    pub column: u16,
    /// Rows forward; negative is back. Less than half the domain either way.
    pub rotation: i32,
}

/// A column of the permutation argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// An advice column.
    Advice(u16),
    /// A fixed column.
    Fixed(u16),
    /// The instance column: the words, padded with zeros.
    Instance,
}

/// A step of the gate program, which works on a stack of scalars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Pushes a constant.
    Const(Fr),
    /// Pushes the evaluation of a fixed query (index into [`Protocol::fixed_queries`]).
    Fixed(u16),
    /// Pushes the evaluation of an advice query (index into [`Protocol::advice_queries`]).
    Advice(u16),
    /// Pushes the evaluation of the instance column at x.
    Instance,
    /// Pushes a challenge (index into [`Protocol::challenge_phases`]).
    Challenge(u16),
    /// Replaces a by −a.
    Neg,
    /// Replaces a, b by a + b.
    Add,
    /// Replaces a, b by a·b.
    Mul,
    /// Replaces a by a times a constant.
    Scale(Fr),
    /// Closes one constraint: numerator ← numerator·y + top, and the stack is empty again.
    End,
}

/// A committed polynomial that is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poly {
    /// An advice column.
    Advice(u16),
    /// A fixed column.
    Fixed(u16),
    /// A product Z_i of the permutation argument.
    Product(u16),
    /// A permutation polynomial σ_i.
    Sigma(u16),
    /// The quotient Σ x^(n·i)·H_i.
    Quotient,
    /// The random polynomial R.
    Random,
}

/// What a polynomial is claimed to evaluate to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eval {
    /// The evaluation at this position of the proof's list.
    Given(usize),
    /// The quotient at x: numerator / (x^n − 1), computed by the verifier.
    Quotient,
}

/// The polynomials that are opened at the same set of rotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpeningSet {
    /// The rotations, ascending.
    pub rotations: Vec<i32>,
    /// The polynomials, in the order of the powers of y', each with its evaluations in the order of [`Self::rotations`].
    pub polys: Vec<(Poly, Vec<Eval>)>,
}

impl Protocol {
    /// Rows of the domain.
    #[must_use]
    pub const fn n(&self) -> u64 {
        1 << (self.k & 63)
    }

    /// The rotation of the last row of the permutation products, negative.
    #[must_use]
    pub const fn last_rotation(&self) -> i32 {
        -(self.blinding_factors as i32 + 1)
    }

    /// Pieces H_i of the quotient.
    #[must_use]
    pub const fn n_quotients(&self) -> usize {
        self.degree.saturating_sub(1) as usize
    }

    /// Permuted columns of one product.
    #[must_use]
    pub fn chunk_len(&self) -> usize {
        usize::from(self.degree.saturating_sub(2)).max(1)
    }

    /// Products Z_i of the permutation argument.
    #[must_use]
    pub fn n_products(&self) -> usize {
        self.permuted.len().div_ceil(self.chunk_len())
    }

    /// Phases: 0 up to the greatest of a column.
    #[must_use]
    pub fn n_phases(&self) -> u8 {
        let last = self.advice_phases.iter().max();
        last.copied().unwrap_or_default().saturating_add(1)
    }

    /// Position of a fixed query's evaluation in the proof's list; advice query q has position q.
    #[must_use]
    pub const fn fixed_eval(&self, query: usize) -> usize {
        self.advice_queries.len() + query
    }

    /// Position of R(x).
    #[must_use]
    pub const fn random_eval(&self) -> usize {
        self.fixed_eval(self.fixed_queries.len())
    }

    /// Position of σ_i(x).
    #[must_use]
    pub const fn sigma_eval(&self, i: usize) -> usize {
        self.random_eval() + 1 + i
    }

    /// Position of Z_i(x); Z_i(ωx) follows, then, for all but the last product, Z_i(ω^last·x).
    #[must_use]
    pub const fn product_eval(&self, i: usize) -> usize {
        self.sigma_eval(self.sigma.len()) + 3 * i
    }

    /// Evaluations in a proof.
    #[must_use]
    pub fn n_evals(&self) -> usize {
        let products = (3 * self.n_products()).saturating_sub(1);
        self.product_eval(0) + products
    }

    /// Points of a proof before the evaluations: advice, products, R, quotient pieces.
    #[must_use]
    pub fn n_commitments(&self) -> usize {
        self.advice_phases.len() + self.n_products() + 1 + self.n_quotients()
    }

    /// Length of a proof.
    #[must_use]
    pub fn proof_bytes(&self) -> usize {
        64 * (self.n_commitments() + 2) + 32 * self.n_evals()
    }

    /// Position of the evaluation at rotation 0 of a permuted column; `None` for the instance column, whose evaluation
    /// the verifier computes, and for a column that is not queried there, which [`Self::check`] refuses.
    #[must_use]
    pub fn permuted_eval(&self, column: Column) -> Option<usize> {
        let find = |queries: &[Query], column| {
            let query = Query {
                column,
                rotation: 0,
            };
            queries.iter().position(|other| *other == query)
        };
        match column {
            Column::Advice(i) => find(&self.advice_queries, i),
            Column::Fixed(i) => find(&self.fixed_queries, i).map(|query| self.fixed_eval(query)),
            Column::Instance => None,
        }
    }

    /// Positions in the list of permuted columns of one product.
    #[must_use]
    pub fn chunk(&self, product: usize) -> Range<usize> {
        let start = product.saturating_mul(self.chunk_len());
        let end = start
            .saturating_add(self.chunk_len())
            .min(self.permuted.len());
        start.min(end)..end
    }

    /// The opening sets, in the order of the powers of v; in the first the verifier divides by the difference to all points.
    #[must_use]
    pub fn openings(&self) -> Vec<OpeningSet> {
        let mut sets: Vec<OpeningSet> = Vec::new();
        let mut push = |poly: Poly, mut at: Vec<(i32, Eval)>| {
            at.sort_unstable_by_key(|(rotation, _)| *rotation);
            let (rotations, evals): (Vec<i32>, Vec<Eval>) = at.into_iter().unzip();
            match sets.iter_mut().find(|set| set.rotations == rotations) {
                Some(set) => set.polys.push((poly, evals)),
                None => sets.push(OpeningSet {
                    rotations,
                    polys: vec![(poly, evals)],
                }),
            }
        };
        for (column, at) in by_column(&self.advice_queries, 0) {
            push(Poly::Advice(column), at);
        }
        let n_products = self.n_products();
        for (i, poly) in (0..n_products).zip(0..) {
            let first = self.product_eval(i);
            let mut at = vec![(0, Eval::Given(first)), (1, Eval::Given(first + 1))];
            if i + 1 < n_products {
                at.push((self.last_rotation(), Eval::Given(first + 2)));
            }
            push(Poly::Product(poly), at);
        }
        for (column, at) in by_column(&self.fixed_queries, self.fixed_eval(0)) {
            push(Poly::Fixed(column), at);
        }
        for (i, poly) in (0..self.sigma.len()).zip(0..) {
            push(
                Poly::Sigma(poly),
                vec![(0, Eval::Given(self.sigma_eval(i)))],
            );
        }
        push(Poly::Quotient, vec![(0, Eval::Quotient)]);
        push(Poly::Random, vec![(0, Eval::Given(self.random_eval()))]);
        sets
    }

    /// The linter of a description: bounds, indices, queries without repetition, permuted columns queried where they are read, gates
    /// of a degree the quotient has room for and a program that leaves nothing behind, the instance column in use, points finite
    /// (fixed columns may be zero) and on their curves, \[s\] in the subgroup and not ± the generator.
    ///
    /// # Errors
    /// [`ProtocolError`], the first rule broken.
    pub fn check(&self) -> Result<(), ProtocolError> {
        super::check::check(self)
    }
}

/// The queried columns in the order of their first query, each with its rotations and the positions of the evaluations.
fn by_column(queries: &[Query], first_eval: usize) -> Vec<(u16, Vec<(i32, Eval)>)> {
    let mut columns: Vec<(u16, Vec<(i32, Eval)>)> = Vec::new();
    let mut seen: Vec<Option<usize>> = vec![None; MAX_COLUMNS];
    for (query, eval) in queries.iter().zip(first_eval..) {
        let at = (query.rotation, Eval::Given(eval));
        let Some(slot) = seen.get_mut(usize::from(query.column)) else {
            continue;
        };
        match slot.and_then(|position| columns.get_mut(position)) {
            Some((_, rotations)) => rotations.push(at),
            None => {
                *slot = Some(columns.len());
                columns.push((query.column, vec![at]));
            }
        }
    }
    columns
}
