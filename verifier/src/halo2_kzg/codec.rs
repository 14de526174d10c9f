//! # The bytes of a protocol description
//! k 1 ‖ degree 1 ‖ blinding factors 1 ‖ #advice columns 2 ‖ phases 1 each ‖ #challenges 2 ‖ phases 1 each ‖ #advice queries 2 ‖ column 2,
//! rotation 4 each ‖ #fixed queries 2 ‖ the same ‖ #permuted 2 ‖ kind 1 (advice, fixed: column 2) each ‖ #operations 4 ‖ operations ‖
//! transcript_repr 32 ‖ #fixed columns 2 ‖ points 64 each ‖ #σ 2 ‖ points 64 each ‖ \[s\] 128. Integers are big-endian. An operation is its
//! tag and a scalar (32) or an index (2) where it has one. Infinity, for a fixed column only, is 64 zero bytes.

use alloc::vec::Vec;

use ark_bn254::Fr;

use super::{
    check::ProtocolError,
    protocol::{Column, MAX_CHALLENGES, MAX_COLUMNS, MAX_OPS, MAX_QUERIES, Op, Protocol, Query},
};
use crate::{
    cursor::Cursor,
    curve::{G1_BYTES, scalar_from_bytes, scalar_to_bytes, write_g1, write_g2},
    key::{KeyError, KeyPoint},
};

pub(crate) fn encode(out: &mut Vec<u8>, p: &Protocol) {
    out.extend_from_slice(&[p.k, p.degree, p.blinding_factors]);
    put_count(out, p.advice_phases.len());
    out.extend_from_slice(&p.advice_phases);
    put_count(out, p.challenge_phases.len());
    out.extend_from_slice(&p.challenge_phases);
    for queries in [&p.advice_queries, &p.fixed_queries] {
        put_count(out, queries.len());
        for query in queries {
            out.extend_from_slice(&query.column.to_be_bytes());
            out.extend_from_slice(&query.rotation.to_be_bytes());
        }
    }
    put_count(out, p.permuted.len());
    for column in &p.permuted {
        match column {
            Column::Advice(i) => put_indexed(out, 1, *i),
            Column::Fixed(i) => put_indexed(out, 2, *i),
            Column::Instance => out.push(3),
        }
    }
    let n_ops = u32::try_from(p.gates.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&n_ops.to_be_bytes());
    for op in &p.gates {
        match op {
            Op::End => out.push(0),
            Op::Const(value) => put_scalar(out, 1, *value),
            Op::Fixed(query) => put_indexed(out, 2, *query),
            Op::Advice(query) => put_indexed(out, 3, *query),
            Op::Instance => out.push(4),
            Op::Challenge(i) => put_indexed(out, 5, *i),
            Op::Neg => out.push(6),
            Op::Add => out.push(7),
            Op::Mul => out.push(8),
            Op::Scale(factor) => put_scalar(out, 9, *factor),
        }
    }
    out.extend_from_slice(&scalar_to_bytes(p.transcript_repr));
    for points in [&p.fixed, &p.sigma] {
        put_count(out, points.len());
        points.iter().for_each(|point| write_g1(out, point));
    }
    write_g2(out, &p.s_g2);
}

// Counts beyond two bytes are refused by every check; saturation only keeps the encoder total.
fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
}

fn put_indexed(out: &mut Vec<u8>, tag: u8, index: u16) {
    out.push(tag);
    out.extend_from_slice(&index.to_be_bytes());
}

fn put_scalar(out: &mut Vec<u8>, tag: u8, scalar: Fr) {
    out.push(tag);
    out.extend_from_slice(&scalar_to_bytes(scalar));
}

pub(crate) fn decode(input: &mut Cursor<'_>) -> Result<Protocol, KeyError> {
    let [k, degree, blinding_factors] = input.array()?;
    let n = get_count(input, "advice columns", MAX_COLUMNS, 1)?;
    let advice_phases = input.slice(n)?.to_vec();
    let n = get_count(input, "challenges", MAX_CHALLENGES, 1)?;
    let challenge_phases = input.slice(n)?.to_vec();
    let advice_queries = get_queries(input, "advice queries")?;
    let fixed_queries = get_queries(input, "fixed queries")?;
    let n = get_count(input, "permuted columns", MAX_COLUMNS, 1)?;
    let mut permuted = Vec::with_capacity(n);
    for _ in 0..n {
        permuted.push(match input.tag("permuted column", kind)? {
            Kind::Advice => Column::Advice(get_u16(input)?),
            Kind::Fixed => Column::Fixed(get_u16(input)?),
            Kind::Instance => Column::Instance,
        });
    }
    let n = usize::try_from(u32::from_be_bytes(input.array()?)).unwrap_or(usize::MAX);
    bounded("operations", MAX_OPS, n)?;
    input.check_left(n)?;
    let mut gates = Vec::with_capacity(n);
    for _ in 0..n {
        let op = match input.tag("operation", |tag| (tag <= 9).then_some(tag))? {
            0 => Op::End,
            1 => Op::Const(get_scalar(input)?),
            2 => Op::Fixed(get_u16(input)?),
            3 => Op::Advice(get_u16(input)?),
            4 => Op::Instance,
            5 => Op::Challenge(get_u16(input)?),
            6 => Op::Neg,
            7 => Op::Add,
            8 => Op::Mul,
            _ => Op::Scale(get_scalar(input)?),
        };
        gates.push(op);
    }
    let transcript_repr = get_scalar(input)?;
    let n = get_count(input, "fixed columns", MAX_COLUMNS, G1_BYTES)?;
    let mut fixed = Vec::with_capacity(n);
    for i in 0..n {
        fixed.push(input.g1_or_zero(KeyPoint::Fixed(i))?);
    }
    let n = get_count(input, "permutation commitments", MAX_COLUMNS, G1_BYTES)?;
    let mut sigma = Vec::with_capacity(n);
    for i in 0..n {
        sigma.push(input.g1(KeyPoint::Sigma(i))?);
    }
    let s_g2 = input.g2(KeyPoint::S)?;
    Ok(Protocol {
        k,
        degree,
        blinding_factors,
        advice_phases,
        challenge_phases,
        advice_queries,
        fixed_queries,
        permuted,
        gates,
        transcript_repr,
        fixed,
        sigma,
        s_g2,
    })
}

enum Kind {
    Advice,
    Fixed,
    Instance,
}

fn kind(tag: u8) -> Option<Kind> {
    match tag {
        1 => Some(Kind::Advice),
        2 => Some(Kind::Fixed),
        3 => Some(Kind::Instance),
        _ => None,
    }
}

fn bounded(what: &'static str, max: usize, got: usize) -> Result<(), KeyError> {
    if got <= max {
        return Ok(());
    }
    Err(KeyError::Protocol(ProtocolError::Range {
        what,
        min: 0,
        max: i64::try_from(max).unwrap_or(i64::MAX),
        got: i64::try_from(got).unwrap_or(i64::MAX),
    }))
}

/// A count within its bound, whose items of at least `item_bytes` bytes are all there.
fn get_count(
    input: &mut Cursor<'_>,
    what: &'static str,
    max: usize,
    item_bytes: usize,
) -> Result<usize, KeyError> {
    let n = usize::from(get_u16(input)?);
    bounded(what, max, n)?;
    input.check_left(n.saturating_mul(item_bytes))?;
    Ok(n)
}

fn get_u16(input: &mut Cursor<'_>) -> Result<u16, KeyError> {
    Ok(u16::from_be_bytes(input.array()?))
}

fn get_scalar(input: &mut Cursor<'_>) -> Result<Fr, KeyError> {
    scalar_from_bytes(&input.array()?).ok_or(KeyError::Scalar)
}

fn get_queries(input: &mut Cursor<'_>, what: &'static str) -> Result<Vec<Query>, KeyError> {
    let n = get_count(input, what, MAX_QUERIES, 6)?;
    let mut queries = Vec::with_capacity(n);
    for _ in 0..n {
        queries.push(Query {
            column: get_u16(input)?,
            rotation: i32::from_be_bytes(input.array()?),
        });
    }
    Ok(queries)
}
