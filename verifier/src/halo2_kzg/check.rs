//! # The linter of a protocol description
//! Everything the verifier indexes, loops over or divides by is checked here; what passes costs a bounded time and memory to verify
//! with. Rules that are about soundness, not about form, say so.

use alloc::{vec, vec::Vec};

use ark_bn254::G2Affine;
use ark_ec::AffineRepr;

use super::protocol::{
    Column, K_RANGE, MAX_CHALLENGES, MAX_COLUMNS, MAX_DEGREE, MAX_OPS, MAX_PHASES, MAX_QUERIES,
    MAX_ROTATIONS, MAX_STACK, Op, Protocol, Query,
};
use crate::{
    curve::{PointError, check_g1, check_g2},
    key::KeyPoint,
};

/// Why a protocol description must not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A number outside its bounds.
    #[error("{what}: {got} is outside {min}..={max}")]
    Range {
        /// The number.
        what: &'static str,
        /// Its least value.
        min: i64,
        /// Its greatest value.
        max: i64,
        /// What the description says.
        got: i64,
    },
    /// Something refers to what is not there.
    #[error("{what} {at}: refers to {got}, there are {expected}")]
    Index {
        /// What refers.
        what: &'static str,
        /// Its position.
        at: usize,
        /// How many there are.
        expected: usize,
        /// The index used.
        got: usize,
    },
    /// A query or a permuted column occurs twice.
    #[error("{what} {at}: repeats an earlier one")]
    Repeated {
        /// What repeats.
        what: &'static str,
        /// Its position.
        at: usize,
    },
    /// A phase has challenges or later phases but no column.
    #[error("no column is committed in phase {phase}")]
    EmptyPhase {
        /// The phase.
        phase: u8,
    },
    /// A permuted column has no evaluation at rotation 0.
    #[error("permuted column {at}: not queried at rotation 0")]
    NotQueried {
        /// Position in the list of permuted columns.
        at: usize,
    },
    /// The gate program takes more values than there are, leaves values behind, or ends inside a constraint.
    #[error("gate program, operation {at}: {depth} values on the stack, {needed} expected")]
    Stack {
        /// Position of the operation, or the length of the program.
        at: usize,
        /// Values on the stack.
        depth: usize,
        /// How many the operation takes.
        needed: usize,
    },
    /// A constraint has a higher degree than the quotient has room for: no proof of it would hold.
    #[error(
        "gate program, operation {at}: a constraint of degree {got}, the description says {max}"
    )]
    Degree {
        /// Position of the operation.
        at: usize,
        /// The degree of the description.
        max: u8,
        /// The degree of the constraint.
        got: u32,
    },
    /// No constraint reads the instance column: words would be bound by nothing.
    #[error("no gate and no permutation reads the public words")]
    InstanceUnused,
    /// A point is not acceptable.
    #[error("key point {point}: {error}")]
    Point {
        /// Which point.
        point: KeyPoint,
        /// What is wrong with it.
        error: PointError,
    },
    /// \[s\] is ± the generator: s is known to all.
    #[error("key point s is the generator: its secret is known to all")]
    Generator,
}

pub(super) fn check(protocol: &Protocol) -> Result<(), ProtocolError> {
    check_structure(protocol)?;
    check_points(protocol)
}

/// Everything but the points; the verifier runs it again, because a description can be built in memory.
pub(super) fn check_structure(p: &Protocol) -> Result<(), ProtocolError> {
    let (k_min, k_max) = (i64::from(*K_RANGE.start()), i64::from(*K_RANGE.end()));
    range("k", k_min, k_max, i64::from(p.k))?;
    range("degree", 3, i64::from(MAX_DEGREE), i64::from(p.degree))?;
    // The extended domain must exist: (d − 1)·2^k ≤ 2^28.
    let quotients = p.n_quotients() as u64;
    range(
        "quotient rows",
        0,
        1 << k_max,
        (quotients << u32::from(p.k).min(28)) as i64,
    )?;
    count("advice columns", 1, MAX_COLUMNS, p.advice_phases.len())?;
    count("fixed columns", 0, MAX_COLUMNS, p.fixed.len())?;
    count("challenges", 0, MAX_CHALLENGES, p.challenge_phases.len())?;
    count("advice queries", 0, MAX_QUERIES, p.advice_queries.len())?;
    count("fixed queries", 0, MAX_QUERIES, p.fixed_queries.len())?;
    count("permuted columns", 0, MAX_COLUMNS, p.permuted.len())?;
    count("operations", 0, MAX_OPS, p.gates.len())?;
    count(
        "permutation commitments",
        p.permuted.len(),
        p.permuted.len(),
        p.sigma.len(),
    )?;
    check_phases(p)?;
    let most = check_queries("advice query", p, &p.advice_queries, p.advice_phases.len())?;
    check_queries("fixed query", p, &p.fixed_queries, p.fixed.len())?;
    // Zero knowledge: a column opened at m points and at the challenge of the opening needs m + 1 random rows; the library
    // keeps one more, and three openings of a product.
    let blinding = most.max(3) as i64 + 2;
    let half = (p.n() / 2) as i64;
    range(
        "blinding factors",
        blinding,
        half - 2,
        i64::from(p.blinding_factors),
    )?;
    check_permuted(p)?;
    let gates_read_instance = check_gates(p)?;
    if gates_read_instance || p.permuted.contains(&Column::Instance) {
        Ok(())
    } else {
        Err(ProtocolError::InstanceUnused)
    }
}

/// Checks that statements of `n_words` words fit above the blinding rows.
pub(crate) fn check_words(p: &Protocol, n_words: usize) -> Result<(), ProtocolError> {
    let rows = (p.n() as i64).saturating_sub(i64::from(p.blinding_factors) + 1);
    let words = i64::try_from(n_words).unwrap_or(i64::MAX);
    range("public words", 1, rows, words)
}

fn check_points(p: &Protocol) -> Result<(), ProtocolError> {
    for (i, point) in p.fixed.iter().enumerate() {
        // Zero polynomials commit to infinity.
        if !point.is_zero() {
            check_g1(point).map_err(at(KeyPoint::Fixed(i)))?;
        }
    }
    for (i, point) in p.sigma.iter().enumerate() {
        check_g1(point).map_err(at(KeyPoint::Sigma(i)))?;
    }
    check_g2(&p.s_g2).map_err(at(KeyPoint::S))?;
    if p.s_g2.x == G2Affine::generator().x {
        return Err(ProtocolError::Generator);
    }
    Ok(())
}

fn at(point: KeyPoint) -> impl Fn(PointError) -> ProtocolError {
    move |error| ProtocolError::Point { point, error }
}

fn range(what: &'static str, min: i64, max: i64, got: i64) -> Result<(), ProtocolError> {
    if min <= got && got <= max {
        Ok(())
    } else {
        Err(ProtocolError::Range {
            what,
            min,
            max,
            got,
        })
    }
}

fn count(what: &'static str, min: usize, max: usize, got: usize) -> Result<(), ProtocolError> {
    let signed = |n| i64::try_from(n).unwrap_or(i64::MAX);
    range(what, signed(min), signed(max), signed(got))
}

fn check_phases(p: &Protocol) -> Result<(), ProtocolError> {
    let phases = p.advice_phases.iter().chain(&p.challenge_phases).copied();
    for phase in phases.clone() {
        range("phase", 0, i64::from(MAX_PHASES) - 1, i64::from(phase))?;
    }
    // A challenge of a phase without columns would never be squeezed.
    let last = phases.max().unwrap_or_default();
    match (0..=last).find(|phase| !p.advice_phases.contains(phase)) {
        Some(phase) => Err(ProtocolError::EmptyPhase { phase }),
        None => Ok(()),
    }
}

/// Checks the queries of one kind; the greatest number of rotations of one column.
fn check_queries(
    what: &'static str,
    p: &Protocol,
    queries: &[Query],
    n_columns: usize,
) -> Result<usize, ProtocolError> {
    let half = (p.n() / 2) as i64;
    let mut rotations: Vec<Vec<i32>> = vec![Vec::new(); n_columns];
    for (at, query) in queries.iter().enumerate() {
        // Rotations that agree modulo the domain would open one polynomial twice at one point.
        range("rotation", 1 - half, half - 1, i64::from(query.rotation))?;
        let Some(seen) = rotations.get_mut(usize::from(query.column)) else {
            return Err(ProtocolError::Index {
                what,
                at,
                expected: n_columns,
                got: usize::from(query.column),
            });
        };
        if seen.contains(&query.rotation) {
            return Err(ProtocolError::Repeated { what, at });
        }
        seen.push(query.rotation);
        count("rotations of a column", 0, MAX_ROTATIONS, seen.len())?;
    }
    Ok(rotations.iter().map(Vec::len).max().unwrap_or_default())
}

fn check_permuted(p: &Protocol) -> Result<(), ProtocolError> {
    for (at, column) in p.permuted.iter().enumerate() {
        if p.permuted.iter().take(at).any(|earlier| earlier == column) {
            let what = "permuted column";
            return Err(ProtocolError::Repeated { what, at });
        }
        if *column != Column::Instance && p.permuted_eval(*column).is_none() {
            return Err(ProtocolError::NotQueried { at });
        }
    }
    Ok(())
}

/// Runs the program on degrees; whether it reads the instance column.
fn check_gates(p: &Protocol) -> Result<bool, ProtocolError> {
    let mut stack: Vec<u32> = Vec::with_capacity(MAX_STACK);
    let mut reads_instance = false;
    for (at, op) in p.gates.iter().enumerate() {
        let needed = match op {
            Op::Neg | Op::Scale(_) | Op::End => 1,
            Op::Add | Op::Mul => 2,
            _ => 0,
        };
        let depth = stack.len();
        let closed = *op != Op::End || depth == 1;
        if depth < needed || !closed {
            return Err(ProtocolError::Stack { at, depth, needed });
        }
        let index = |what, expected: usize, got: u16| {
            let got = usize::from(got);
            if got < expected {
                Ok(())
            } else {
                Err(ProtocolError::Index {
                    what,
                    at,
                    expected,
                    got,
                })
            }
        };
        let degree = match op {
            Op::Const(_) => 0,
            Op::Fixed(query) => {
                index("fixed query of operation", p.fixed_queries.len(), *query)?;
                1
            }
            Op::Advice(query) => {
                index("advice query of operation", p.advice_queries.len(), *query)?;
                1
            }
            Op::Instance => {
                reads_instance = true;
                1
            }
            Op::Challenge(challenge) => {
                index(
                    "challenge of operation",
                    p.challenge_phases.len(),
                    *challenge,
                )?;
                0
            }
            Op::Neg | Op::Scale(_) => continue,
            Op::Add | Op::Mul => {
                let (a, b) = (stack.pop(), stack.pop());
                let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
                if *op == Op::Add {
                    a.max(b)
                } else {
                    a.saturating_add(b)
                }
            }
            Op::End => {
                let got = stack.pop().unwrap_or_default();
                if got > u32::from(p.degree) {
                    let max = p.degree;
                    return Err(ProtocolError::Degree { at, max, got });
                }
                continue;
            }
        };
        stack.push(degree);
        count("values on the stack", 0, MAX_STACK, stack.len())?;
    }
    if stack.is_empty() {
        Ok(reads_instance)
    } else {
        Err(ProtocolError::Stack {
            at: p.gates.len(),
            depth: stack.len(),
            needed: 0,
        })
    }
}
