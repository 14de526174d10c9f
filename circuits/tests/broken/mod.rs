//! Gadgets with one soundness bug each, and their sound counterparts: the checks of the suite must tell them apart.
//!
//! A bug that the builder's types allow is a program of its own. One that they forbid is a deletion of rows after lowering, or a
//! relation over the field that is searched for a second answer. A new one joins as an entry of [`BROKEN`].

use super::gadgets::{Gadget, requantize_tiny, three_bits};
use ark_bn254::Fr;
use ark_ff::Field;
use zkinfer_circuits::arithmetization::r1cs::Form;
use zkinfer_circuits::constraint::{BuildError, Builder, HintKind, TableFunction, WireTensor};
use zkinfer_circuits::gadgets::max::max;
use zkinfer_circuits::gadgets::requantize::requantize;

/// How a bug is put in.
pub enum Bug {
    /// The gadget as it is.
    Program(Gadget),
    /// One group of rows of a sound gadget is missing: form, limb bits, instruction, rule, which of them from the last.
    Deleted(Gadget, Form, u32, &'static str, &'static str, usize),
    /// A relation over the field: whether a second answer exists.
    Relation(fn() -> bool),
}

/// What tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Red {
    /// A second witness is accepted.
    Forged,
    /// The values are not those of the specification.
    Differs,
}

/// A broken gadget.
pub struct Broken {
    pub name: &'static str,
    pub bug: Bug,
    /// The same gadget without the bug, when the bug is a program or a relation.
    pub sound: Option<Bug>,
    /// What it should compute from its three Bool inputs.
    pub semantics: fn([i64; 3]) -> i64,
    pub red: Red,
}

fn signed(x: [i64; 3]) -> i64 {
    x[0] + 2 * x[1] - 4 * x[2]
}

/// Round half up of 3·x/4, plus 1, clamped.
fn requantized(x: [i64; 3]) -> i64 {
    (((3 * signed(x) + 2) >> 2) + 1).clamp(-1, 2)
}

fn half(x: [i64; 3]) -> i64 {
    (x[0] + 2 * x[1] + 4 * x[2]) >> 1
}

fn unsigned(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    b.combine(&[(1, &xs[0]), (2, &xs[1]), (4, &xs[2])], 0)
}

/// ⌊x / 2⌋ by a hint that is only asked to be near: 0 ≤ x − 2q < 4.
fn tolerant_half(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    half_within(b, xs, 2)
}

fn exact_half(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    half_within(b, xs, 1)
}

fn half_within(b: &mut Builder, xs: &[WireTensor], bits: u32) -> Result<WireTensor, BuildError> {
    let x = unsigned(b, xs)?;
    let floor = b.lookup(&TableFunction::map(0, vec![0, 0, 1, 1, 2, 2, 3, 3]), &x)?;
    let q = b.hint(HintKind::Max, &[&floor])?;
    let q = b.range_hinted(q, 2)?;
    let rest = b.combine(&[(1, &x), (-2, &q)], 0)?;
    b.range(&rest, bits)?;
    Ok(q)
}

fn candidates(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    b.combine(&[(3, &xs[1])], -1)
}

fn max_semantics(x: [i64; 3]) -> i64 {
    x[0].max(3 * x[1] - 1).max(x[2])
}

fn sound_max(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let two = candidates(b, xs)?;
    max(b, &[&xs[0], &two, &xs[2]])
}

/// Not smaller than any candidate, but none of them.
fn max_without_membership(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let two = candidates(b, xs)?;
    let all = [&xs[0], &two, &xs[2]];
    let m = b.hint(HintKind::Max, &all)?;
    let m = b.range_hinted(m, 3)?;
    for x in all {
        let difference = b.combine(&[(1, &m), (-1, x)], 0)?;
        b.range(&difference, 4)?;
    }
    Ok(m)
}

/// One of the candidates, any of them.
fn max_without_comparison(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let two = candidates(b, xs)?;
    let all = [&xs[0], &two, &xs[2]];
    let m = b.hint(HintKind::Max, &all)?;
    b.member(m, &all)
}

/// Two functions in one table, told apart by a bit that nothing ties to the function that was asked.
fn free_selector(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let zero = b.combine(&[(0, &xs[0])], 0)?;
    let selector = b.hint(HintKind::Max, &[&zero])?;
    let selector = b.range_hinted(selector, 1)?;
    let key = b.combine(&[(1, &xs[0]), (2, &selector)], 0)?;
    b.lookup(&TableFunction::map(0, vec![5, 9, 6, 10]), &key)
}

fn own_table(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    b.lookup(&TableFunction::map(0, vec![5, 9]), &xs[0])
}

/// The element at a computed index, whose indicator bits are bits and nothing else.
fn free_index(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    index(b, xs, false)
}

fn bound_index(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    index(b, xs, true)
}

/// 7 or 4 by the bit x0, by two indicator bits.
fn index(b: &mut Builder, xs: &[WireTensor], bound: bool) -> Result<WireTensor, BuildError> {
    let other = b.combine(&[(-1, &xs[0])], 1)?;
    let mut bits = vec![];
    for honest in [&other, &xs[0]] {
        let bit = b.hint(HintKind::Max, &[honest])?;
        bits.push(b.range_hinted(bit, 1)?);
    }
    if bound {
        let sum = b.combine(&[(1, &bits[0]), (1, &bits[1])], -1)?;
        b.assert_zero(&sum)?;
        let at = b.combine(&[(1, &bits[1]), (-1, &xs[0])], 0)?;
        b.assert_zero(&at)?;
    }
    b.combine(&[(7, &bits[0]), (4, &bits[1])], 0)
}

/// The zero point 1 is added by the requantization and once more by its table.
fn zero_point_twice(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let acc = three_bits(b, xs)?;
    let y = requantize(b, &acc, vec![3], 2, 1, &TableFunction::clamp(-1, 1))?;
    b.combine(&[(1, &y)], 1)
}

/// A key and its value packed as 256·key + value, the remainder ranged to 10 bits: a fraction of the key pays for the value.
fn packed_with_constants() -> bool {
    packed(|key, value| Fr::from(256u64) * key + value)
}

/// Folded with a challenge that is drawn after both are committed.
fn folded_with_a_challenge() -> bool {
    packed(|key, value| key + Fr::from(0x5bd1_e995_9bd1_e995u64) * value)
}

/// Whether x = 5·2^10 + 300 has a second (key, value) that `fold` maps to the row (5, 7), with the remainder still in its range.
fn packed(fold: fn(Fr, Fr) -> Fr) -> bool {
    let row = fold(Fr::from(5u64), Fr::from(7u64));
    let x = Fr::from(5u64 * 1024 + 300);
    let shift = Fr::from(1024u64).inverse().unwrap();
    (0..1024u64)
        .filter(|remainder| *remainder != 300)
        .any(|remainder| {
            let key = (x - Fr::from(remainder)) * shift;
            (-128i64..128).any(|value| fold(key, Fr::from(value)) == row)
        })
}

/// α = ρ²: the rows (0, 0) and (1, 0) explain the query (0, 1).
fn reused_challenge() -> bool {
    explained(|rho| rho * rho)
}

fn independent_challenges() -> bool {
    explained(|_| Fr::from(123_456_789_123u64))
}

fn explained(alpha: fn(Fr) -> Fr) -> bool {
    let rho = Fr::from(987_654_321u64);
    let query = (rho + alpha(rho)).inverse().unwrap();
    let row = |key: u64| (rho + Fr::from(key)).inverse().unwrap();
    let multiplicities = [-2i64, -1, 0, 1, 2];
    multiplicities.iter().any(|m| {
        multiplicities
            .iter()
            .any(|n| Fr::from(*m) * row(0) + Fr::from(*n) * row(1) == query)
    })
}

/// A split whose last limb has one bit, in limbs of three.
fn requantize_limbs(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let acc = three_bits(b, xs)?;
    requantize(b, &acc, vec![37], 7, 0, &TableFunction::clamp(-1, 1))
}

fn limbs_semantics(x: [i64; 3]) -> i64 {
    ((37 * signed(x) + 64) >> 7).clamp(-1, 1)
}

/// All of them.
pub const BROKEN: [Broken; 13] = [
    Broken {
        name: "remainder without a range",
        bug: Bug::Deleted(requantize_tiny, Form::Committed, 2, "split", "lookup", 0),
        sound: None,
        semantics: requantized,
        red: Red::Forged,
    },
    Broken {
        name: "last limb ranged to a whole limb",
        bug: Bug::Deleted(requantize_limbs, Form::Committed, 3, "split", "lookup", 0),
        sound: None,
        semantics: limbs_semantics,
        red: Red::Forged,
    },
    Broken {
        name: "quotient that no table binds",
        bug: Bug::Deleted(requantize_tiny, Form::Committed, 2, "lookup", "lookup", 0),
        sound: None,
        semantics: requantized,
        red: Red::Forged,
    },
    Broken {
        name: "bit that is not boolean",
        bug: Bug::Deleted(requantize_tiny, Form::Plain, 0, "split", "bit", 0),
        sound: None,
        semantics: requantized,
        red: Red::Forged,
    },
    Broken {
        name: "floor or ceiling",
        bug: Bug::Program(tolerant_half),
        sound: Some(Bug::Program(exact_half)),
        semantics: half,
        red: Red::Forged,
    },
    Broken {
        name: "maximum without membership",
        bug: Bug::Program(max_without_membership),
        sound: Some(Bug::Program(sound_max)),
        semantics: max_semantics,
        red: Red::Forged,
    },
    Broken {
        name: "maximum without comparison",
        bug: Bug::Program(max_without_comparison),
        sound: Some(Bug::Program(sound_max)),
        semantics: max_semantics,
        red: Red::Forged,
    },
    Broken {
        name: "selector of a shared table free",
        bug: Bug::Program(free_selector),
        sound: Some(Bug::Program(own_table)),
        semantics: |x| [5, 9][x[0] as usize],
        red: Red::Forged,
    },
    Broken {
        name: "index unconstrained",
        bug: Bug::Program(free_index),
        sound: Some(Bug::Program(bound_index)),
        semantics: |x| [7, 4][x[0] as usize],
        red: Red::Forged,
    },
    Broken {
        name: "zero point twice",
        bug: Bug::Program(zero_point_twice),
        sound: Some(Bug::Program(requantize_tiny)),
        semantics: requantized,
        red: Red::Differs,
    },
    Broken {
        name: "key and value packed with constants",
        bug: Bug::Relation(packed_with_constants),
        sound: Some(Bug::Relation(folded_with_a_challenge)),
        semantics: requantized,
        red: Red::Forged,
    },
    Broken {
        name: "challenge that is a power of another",
        bug: Bug::Relation(reused_challenge),
        sound: Some(Bug::Relation(independent_challenges)),
        semantics: requantized,
        red: Red::Forged,
    },
    Broken {
        name: "value that no row ties to its fold",
        bug: Bug::Deleted(requantize_tiny, Form::Committed, 2, "lookup", "fold", 0),
        sound: None,
        semantics: requantized,
        red: Red::Forged,
    },
];
