//! # From the library's verifying key to the verifier's protocol description
//! Everything the description says is read from the key, nothing from the circuit's source: what the library verifies with is what
//! verifier and contracts get. Constraint systems that they do not implement (library lookups, several instance columns, rotated instance
//! queries, compressed selectors) are refused by name. Points and scalars cross over as bytes, checked.

use ark_bn254::{Fr as VerifierFr, G1Affine as VerifierG1};
use halo2_proofs::plonk::{
    Any, Column as LibraryColumn, ConstraintSystem, Expression, VerifyingKey,
};
use halo2_proofs::poly::commitment::{Params, ParamsProver};
use halo2_proofs::poly::kzg::commitment::ParamsKZG;
use halo2curves::bn256::{Bn256, Fq, Fr, G1Affine, G2Affine};
use halo2curves::ff::PrimeField;
use zkinfer_verifier::PointError;
use zkinfer_verifier::curve::{g1_from_bytes, g2_from_bytes, scalar_from_bytes};
use zkinfer_verifier::halo2_kzg::protocol::MAX_OPS;
use zkinfer_verifier::halo2_kzg::{Column, Op, Protocol, ProtocolError, Query};

use super::transcript::{point_bytes, scalar_bytes};

/// Why a key of the library has no protocol description.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// The constraint system uses something that no verifier of ours implements.
    #[error("the constraint system has {what}: expected {expected}, got {got}")]
    Unsupported {
        /// What.
        what: &'static str,
        /// How much of it there may be.
        expected: usize,
        /// How much there is.
        got: usize,
    },
    /// A number does not fit the description.
    #[error("{what}: {got} does not fit the description")]
    TooLarge {
        /// The number.
        what: &'static str,
        /// Its value.
        got: i64,
    },
    /// A gate reads a cell that is not among the queries, or a virtual selector.
    #[error("gate {gate}: reads a {what} that is not among the queries")]
    Query {
        /// Position of the gate.
        gate: usize,
        /// What it reads.
        what: &'static str,
    },
    /// The key and the parameters have different sizes.
    #[error("the parameters are for 2^{params} rows, the key for 2^{key}")]
    Size {
        /// Logarithm of the parameters.
        params: u32,
        /// Logarithm of the key.
        key: u32,
    },
    /// The parameters do not start at the generators, which every verifier of ours takes for granted.
    #[error("the parameters' first points are not the generators of BN254")]
    Generators,
    /// A point of the key is not acceptable.
    #[error("{what} {at}: {error}")]
    Point {
        /// Which kind of point.
        what: &'static str,
        /// Its position.
        at: usize,
        /// What is wrong.
        error: PointError,
    },
    /// The description breaks a rule of the verifier.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

/// The protocol description of `vk` under `params`; it passes [`Protocol::check`].
///
/// # Errors
/// [`ExtractError`].
pub fn protocol_of(
    vk: &VerifyingKey<G1Affine>,
    params: &ParamsKZG<Bn256>,
) -> Result<Protocol, ExtractError> {
    unsupported(
        "compressed selectors",
        0,
        usize::from(vk.compress_selectors()),
    )?;
    let (size, k) = (params.k(), vk.get_domain().k());
    if size != k {
        return Err(ExtractError::Size {
            params: size,
            key: k,
        });
    }
    let generators = (params.get_g().first(), params.g2());
    if generators != (Some(&G1Affine::generator()), G2Affine::generator()) {
        return Err(ExtractError::Generators);
    }
    let commitments = Commitments {
        fixed: points("fixed commitment", vk.fixed_commitments(), true)?,
        sigma: points(
            "permutation commitment",
            vk.permutation().commitments(),
            false,
        )?,
        s_g2: s_g2(&params.s_g2())?,
    };
    describe(vk.cs(), k, scalar(&vk.transcript_repr()), commitments)
}

/// The points of a description.
#[derive(Debug)]
pub(super) struct Commitments {
    pub(super) fixed: Vec<VerifierG1>,
    pub(super) sigma: Vec<VerifierG1>,
    pub(super) s_g2: zkinfer_verifier::G2Affine,
}

fn unsupported(what: &'static str, expected: usize, got: usize) -> Result<(), ExtractError> {
    if expected == got {
        Ok(())
    } else {
        Err(ExtractError::Unsupported {
            what,
            expected,
            got,
        })
    }
}

/// The protocol description of a constraint system on 2^k rows; it passes [`Protocol::check`].
pub(super) fn describe(
    cs: &ConstraintSystem<Fr>,
    k: u32,
    transcript_repr: VerifierFr,
    commitments: Commitments,
) -> Result<Protocol, ExtractError> {
    unsupported("library lookups", 0, cs.lookups().len())?;
    unsupported("instance columns", 1, cs.num_instance_columns())?;
    unsupported("virtual selectors", 0, cs.num_selectors())?;
    let rotated = cs.instance_queries().iter();
    let rotated = rotated.filter(|(_, rotation)| rotation.0 != 0).count();
    unsupported("rotated instance queries", 0, rotated)?;
    let advice_queries = queries(cs.advice_queries().iter().map(|(c, r)| (c.index(), r.0)))?;
    let fixed_queries = queries(cs.fixed_queries().iter().map(|(c, r)| (c.index(), r.0)))?;
    let columns = cs.permutation().get_columns();
    let permuted: Result<_, _> = columns.iter().map(permuted).collect();
    let mut gates = Program {
        advice_queries: &advice_queries,
        fixed_queries: &fixed_queries,
        gate: 0,
        ops: Vec::new(),
    };
    for (gate, constraints) in cs.gates().iter().enumerate() {
        gates.gate = gate;
        for constraint in constraints.polynomials() {
            gates.write(constraint)?;
            gates.push(Op::End)?;
        }
    }
    let protocol = Protocol {
        k: fits("k", k)?,
        degree: fits("degree", cs.degree())?,
        blinding_factors: fits("blinding factors", cs.blinding_factors())?,
        advice_phases: cs.advice_column_phase(),
        challenge_phases: cs.challenge_phase(),
        permuted: permuted?,
        gates: gates.ops,
        transcript_repr,
        fixed: commitments.fixed,
        sigma: commitments.sigma,
        s_g2: commitments.s_g2,
        advice_queries,
        fixed_queries,
    };
    protocol.check()?;
    Ok(protocol)
}

fn fits<T, U>(what: &'static str, value: T) -> Result<U, ExtractError>
where
    T: TryInto<U> + TryInto<i64> + Copy,
{
    value.try_into().map_err(|_| ExtractError::TooLarge {
        what,
        got: value.try_into().unwrap_or(i64::MAX),
    })
}

fn queries(queries: impl Iterator<Item = (usize, i32)>) -> Result<Vec<Query>, ExtractError> {
    queries
        .map(|(column, rotation)| {
            Ok(Query {
                column: fits("column", column)?,
                rotation,
            })
        })
        .collect()
}

fn permuted(column: &LibraryColumn<Any>) -> Result<Column, ExtractError> {
    let index = fits("column", column.index());
    match column.column_type() {
        Any::Advice(_) => Ok(Column::Advice(index?)),
        Any::Fixed => Ok(Column::Fixed(index?)),
        Any::Instance => Ok(Column::Instance),
    }
}

/// The gate program under construction.
struct Program<'q> {
    advice_queries: &'q [Query],
    fixed_queries: &'q [Query],
    gate: usize,
    ops: Vec<Op>,
}

impl Program<'_> {
    fn push(&mut self, op: Op) -> Result<(), ExtractError> {
        if self.ops.len() >= MAX_OPS {
            return Err(ExtractError::TooLarge {
                what: "operations of the gates",
                got: self.ops.len() as i64 + 1,
            });
        }
        self.ops.push(op);
        Ok(())
    }

    fn missing(&self, what: &'static str) -> ExtractError {
        ExtractError::Query {
            gate: self.gate,
            what,
        }
    }

    fn query(
        &self,
        queries: &[Query],
        (column, rotation): (usize, i32),
        what: &'static str,
    ) -> Result<u16, ExtractError> {
        let at = queries
            .iter()
            .position(|query| usize::from(query.column) == column && query.rotation == rotation);
        fits("query", at.ok_or_else(|| self.missing(what))?)
    }

    /// Writes an expression in post-order. The depth of the recursion is that of the expression, which the library recursed over too.
    fn write(&mut self, expression: &Expression<Fr>) -> Result<(), ExtractError> {
        let op = match expression {
            Expression::Constant(value) => Op::Const(scalar(value)),
            Expression::Selector(_) => return Err(self.missing("selector")),
            Expression::Fixed(q) => {
                let cell = (q.column_index(), q.rotation().0);
                Op::Fixed(self.query(self.fixed_queries, cell, "fixed cell")?)
            }
            Expression::Advice(q) => {
                let cell = (q.column_index(), q.rotation().0);
                Op::Advice(self.query(self.advice_queries, cell, "advice cell")?)
            }
            Expression::Instance(q) => match (q.column_index(), q.rotation().0) {
                (0, 0) => Op::Instance,
                _ => return Err(self.missing("instance cell")),
            },
            Expression::Challenge(challenge) => {
                Op::Challenge(fits("challenge", challenge.index())?)
            }
            Expression::Negated(a) => {
                self.write(a)?;
                Op::Neg
            }
            Expression::Sum(a, b) => {
                self.write(a)?;
                self.write(b)?;
                Op::Add
            }
            Expression::Product(a, b) => {
                self.write(a)?;
                self.write(b)?;
                Op::Mul
            }
            Expression::Scaled(a, factor) => {
                self.write(a)?;
                Op::Scale(scalar(factor))
            }
        };
        self.push(op)
    }
}

/// A scalar of the library as the verifier's.
#[must_use]
pub fn scalar(scalar: &Fr) -> VerifierFr {
    // Both fields are the same, so the conversion never takes the default.
    scalar_from_bytes(&scalar_bytes(scalar)).unwrap_or_default()
}

fn points(
    what: &'static str,
    points: &[G1Affine],
    zero_allowed: bool,
) -> Result<Vec<VerifierG1>, ExtractError> {
    let point = |(at, point): (usize, &G1Affine)| match point_bytes(point) {
        Ok(bytes) => g1_from_bytes(&bytes).map_err(|error| ExtractError::Point { what, at, error }),
        Err(_) if zero_allowed => Ok(VerifierG1::identity()),
        Err(_) => Err(ExtractError::Point {
            what,
            at,
            error: PointError::Infinity,
        }),
    };
    points.iter().enumerate().map(point).collect()
}

fn s_g2(point: &G2Affine) -> Result<zkinfer_verifier::G2Affine, ExtractError> {
    let mut bytes = Vec::with_capacity(128);
    for coordinate in [point.x.c1, point.x.c0, point.y.c1, point.y.c0] {
        let mut word: [u8; 32] = Fq::to_repr(&coordinate);
        word.reverse();
        bytes.extend_from_slice(&word);
    }
    let error = |error| ExtractError::Point {
        what: "[s]",
        at: 0,
        error,
    };
    let bytes: [u8; 128] = bytes
        .try_into()
        .map_err(|_| error(PointError::Coordinate))?;
    g2_from_bytes(&bytes).map_err(error)
}
