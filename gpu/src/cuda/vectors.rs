//! # Vectors: what the kernels of `vectors.cu` are launched with
//!
//! Everything that needs memory takes it before it changes a vector, so that a vector is whole when there is none.

use std::sync::Arc;

use ark_bn254::Fr;
use ark_ff::Field;
use zeroize::Zeroizing;

use super::driver::{Arg, Driver, DriverError, Kernel, Unit};
use super::memory::{Buffer, FR_BYTES, element, scalar_bytes};
use crate::cpu::polynomials;

/// Threads of a block.
const BLOCK: u32 = 128;
/// Values of a chunk of a recurrence, and values that share an inversion.
const CHUNK: usize = 32;
/// As many values and fewer go to the host: a launch takes as long.
const FEW: usize = 256;
/// `MIXED` of the device code.
const MIXED: usize = 16;

pub(super) fn word(n: usize) -> Arg {
    Arg::U32(u32::try_from(n).unwrap_or(u32::MAX))
}

fn len_of(buffer: &Buffer) -> usize {
    buffer.bytes() / FR_BYTES
}

/// Launches a kernel, a thread for each of `n` things.
pub(super) fn launch(
    driver: &Arc<dyn Driver>,
    kernel: Kernel,
    n: usize,
    args: &[Arg],
) -> Result<(), DriverError> {
    if n == 0 {
        return Ok(());
    }
    let blocks = u32::try_from(n.div_ceil(BLOCK as usize)).unwrap_or(u32::MAX);
    driver.launch(kernel, blocks, BLOCK, 0, args)
}

fn run(
    driver: &Arc<dyn Driver>,
    name: &'static str,
    n: usize,
    args: &[Arg],
) -> Result<(), DriverError> {
    let unit = Unit::Vectors;
    launch(driver, Kernel { unit, name }, n, args)
}

/// The addresses of buffers, for kernels that take as many as they are told.
pub(super) fn addresses(
    driver: &Arc<dyn Driver>,
    buffers: &[&Buffer],
) -> Result<Buffer, DriverError> {
    let list: Vec<u64> = buffers.iter().map(|buffer| buffer.at(0)).collect();
    Buffer::of(driver, bytemuck::cast_slice(&list))
}

pub(super) fn duplicate(driver: &Arc<dyn Driver>, from: &Buffer) -> Result<Buffer, DriverError> {
    let copy = Buffer::new(driver, from.bytes())?;
    if from.bytes() > 0 {
        driver.copy(copy.at(0), from.at(0), from.bytes())?;
    }
    Ok(copy)
}

pub(super) fn combine(
    driver: &Arc<dyn Driver>,
    sum: &Buffer,
    factors: &[Fr],
    terms: &[&Buffer],
) -> Result<(), DriverError> {
    let list = addresses(driver, terms)?;
    let factors = Buffer::of_scalars(driver, factors)?;
    let n = len_of(sum);
    let args = [
        sum.arg(),
        list.arg(),
        factors.arg(),
        word(terms.len()),
        word(n),
    ];
    run(driver, "vector_combine", n, &args)
}

/// Whether one launch mixes so many vectors.
pub(super) fn mixes(n_vectors: usize) -> bool {
    n_vectors <= MIXED
}

pub(super) fn mix(
    driver: &Arc<dyn Driver>,
    vectors: &[&Buffer],
    matrix: &[Vec<Fr>],
) -> Result<(), DriverError> {
    let list = addresses(driver, vectors)?;
    let matrix = Buffer::of_scalars(driver, &matrix.concat())?;
    let n = vectors.first().map_or(0, |vector| len_of(vector));
    let args = [list.arg(), matrix.arg(), word(vectors.len()), word(n)];
    run(driver, "vector_mix", n, &args)
}

/// p(x).
pub(super) fn evaluate(driver: &Arc<dyn Driver>, p: &Buffer, x: Fr) -> Result<Fr, DriverError> {
    let n = len_of(p);
    if n <= FEW {
        return Ok(polynomials::horner(&Zeroizing::new(p.scalars()?), x));
    }
    // Σ_t x^t·(Σ_k p_(t + k·threads)·(x^threads)^k): a polynomial of as many coefficients as threads.
    let threads = n.div_ceil(CHUNK).max(FEW);
    let parts = Buffer::new(driver, threads * FR_BYTES)?;
    let power = element(x.pow([threads as u64]));
    let args = [parts.arg(), p.arg(), power, word(threads), word(n)];
    run(driver, "vector_evaluate", threads, &args)?;
    evaluate(driver, &parts, x)
}

/// Divides by X − z; gives the remainder.
pub(super) fn divide(driver: &Arc<dyn Driver>, p: &Buffer, z: Fr) -> Result<Fr, DriverError> {
    let on_host = |values: &mut [Fr]| polynomials::divide(values, z);
    // What comes into a chunk is the quotient of the polynomial of all chunks' values by X − z^CHUNK.
    let between = |values: &Buffer| divide(driver, values, z.pow([CHUNK as u64]));
    let names = ("vector_chunk_values", "vector_divide");
    recur(driver, p, names, Some(z), on_host, between)
}

/// v_i ← start·Π_(j < i) v_j; gives the product over all.
pub(super) fn running_products(
    driver: &Arc<dyn Driver>,
    v: &Buffer,
    start: Fr,
) -> Result<Fr, DriverError> {
    let on_host = |values: &mut [Fr]| polynomials::running_products(values, start);
    let between = |products: &Buffer| running_products(driver, products, start);
    let names = ("vector_chunk_products", "vector_running_products");
    recur(driver, v, names, None, on_host, between)
}

/// A recurrence in place: the first kernel makes a value of every chunk, `between` makes of these what comes into every chunk, and the
/// second kernel goes on from there. Few values are the host's.
fn recur(
    driver: &Arc<dyn Driver>,
    values: &Buffer,
    (gather, spread): (&'static str, &'static str),
    factor: Option<Fr>,
    on_host: impl FnOnce(&mut [Fr]) -> Fr,
    between: impl FnOnce(&Buffer) -> Result<Fr, DriverError>,
) -> Result<Fr, DriverError> {
    let n = len_of(values);
    if n <= FEW {
        let mut scalars = Zeroizing::new(values.scalars()?);
        let result = on_host(&mut scalars);
        values.write(0, scalar_bytes(&scalars))?;
        return Ok(result);
    }
    let chunks = n.div_ceil(CHUNK);
    let of_chunks = Buffer::new(driver, chunks * FR_BYTES)?;
    let sizes = [word(CHUNK), word(chunks), word(n)];
    let args = |operands: [Arg; 2]| -> Vec<Arg> {
        let factor = factor.map(element);
        operands.into_iter().chain(factor).chain(sizes).collect()
    };
    run(
        driver,
        gather,
        chunks,
        &args([of_chunks.arg(), values.arg()]),
    )?;
    let result = between(&of_chunks)?;
    run(
        driver,
        spread,
        chunks,
        &args([values.arg(), of_chunks.arg()]),
    )?;
    Ok(result)
}

/// v_i ← 1/v_i; 0 stays 0.
pub(super) fn invert(driver: &Arc<dyn Driver>, v: &Buffer) -> Result<(), DriverError> {
    let n = len_of(v);
    let before = Buffer::new(driver, v.bytes())?;
    let threads = n.div_ceil(CHUNK);
    let args = [v.arg(), before.arg(), word(threads), word(n)];
    run(driver, "vector_invert", threads, &args)
}

pub(super) fn lookup(
    driver: &Arc<dyn Driver>,
    table: &Buffer,
    factors: &[Fr],
    indices: &[u32],
) -> Result<Buffer, DriverError> {
    let found = Buffer::new(driver, indices.len() * FR_BYTES)?;
    let factors = Buffer::of_scalars(driver, factors)?;
    let indices_at = Buffer::of(driver, bytemuck::cast_slice(indices))?;
    let operands = [found.arg(), table.arg(), factors.arg(), indices_at.arg()];
    let sizes = [word(len_of(table)), word(indices.len())];
    let args: Vec<Arg> = operands.into_iter().chain(sizes).collect();
    run(driver, "vector_lookup", indices.len(), &args)?;
    Ok(found)
}
