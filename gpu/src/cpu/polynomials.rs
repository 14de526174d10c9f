//! # Vectors as coefficients of polynomials, linear combinations, inverses and running products

use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, Field, One};
use rayon::prelude::*;
use zeroize::Zeroizing;

/// Elements of one task.
const PER_TASK: usize = 1 << 11;
/// Elements that share an inversion.
const PER_INVERSION: usize = 1 << 10;
/// Chains of Horner's rule that run at once: one multiplication waits for the one before it.
const CHAINS: usize = 4;

/// p(x).
pub(crate) fn evaluate(p: &[Fr], x: Fr) -> Fr {
    let parts: Vec<Fr> = p
        .par_chunks(PER_TASK)
        .map(|part| evaluate_part(part, x))
        .collect();
    let parts = Zeroizing::new(parts);
    horner(&parts, x.pow([PER_TASK as u64]))
}

pub(crate) fn horner(p: &[Fr], x: Fr) -> Fr {
    p.iter().rev().fold(Fr::ZERO, |sum, c| sum * x + c)
}

fn evaluate_part(p: &[Fr], x: Fr) -> Fr {
    let len = p.len() / CHAINS;
    if len * CHAINS != p.len() {
        return horner(p, x);
    }
    let mut sums = [Fr::ZERO; CHAINS];
    for i in (0..len).rev() {
        for (chain, sum) in sums.iter_mut().enumerate() {
            *sum = *sum * x + p[chain * len + i];
        }
    }
    horner(&sums, x.pow([len as u64]))
}

/// Replaces p by its quotient by X − z, the top coefficient becoming zero; gives the remainder p(z) back.
pub(crate) fn divide(p: &mut [Fr], z: Fr) -> Fr {
    // What the coefficients above a part carry into it: their value at z, divided by z^(its end).
    let carries: Vec<Fr> = p
        .par_chunks(PER_TASK)
        .map(|part| evaluate_part(part, z))
        .collect();
    let mut carries = Zeroizing::new(carries);
    let step = z.pow([PER_TASK as u64]);
    let remainder = divide_part(&mut carries, step, Fr::ZERO);
    p.par_chunks_mut(PER_TASK)
        .zip(carries.par_iter())
        .for_each(|(part, carry)| {
            divide_part(part, z, *carry);
        });
    remainder
}

/// The division of a part into which `carry` comes from above; gives what goes on below.
fn divide_part(part: &mut [Fr], z: Fr, mut carry: Fr) -> Fr {
    for c in part.iter_mut().rev() {
        let below = *c + carry * z;
        *c = carry;
        carry = below;
    }
    carry
}

/// sum ← sum + Σ factor_i·v_i, for vectors of one length.
pub(super) fn combine(sum: &mut [Fr], terms: &[(Fr, &[Fr])]) {
    sum.par_chunks_mut(PER_TASK)
        .enumerate()
        .for_each(|(task, sum)| {
            let part = task * PER_TASK..task * PER_TASK + sum.len();
            for (factor, v) in terms {
                for (sum, c) in sum.iter_mut().zip(&v[part.clone()]) {
                    *sum += *factor * c;
                }
            }
        });
}

/// (v_0, v_1, …) ← matrix·(v_0, v_1, …), place by place, for vectors of one length.
pub(super) fn mix(vectors: &mut [&mut [Fr]], matrix: &[Vec<Fr>]) {
    let n_vectors = vectors.len();
    let mut parts: Vec<Vec<&mut [Fr]>> = Vec::new();
    for vector in vectors {
        for (task, part) in vector.chunks_mut(PER_TASK).enumerate() {
            if parts.len() <= task {
                parts.push(Vec::with_capacity(n_vectors));
            }
            parts[task].push(part);
        }
    }
    parts.into_par_iter().for_each(|mut parts| {
        let mut before = Zeroizing::new(vec![Fr::ZERO; n_vectors]);
        for i in 0..parts.first().map_or(0, |part| part.len()) {
            for (value, part) in before.iter_mut().zip(&parts) {
                *value = part[i];
            }
            for (part, row) in parts.iter_mut().zip(matrix) {
                let terms = row.iter().zip(before.iter());
                part[i] = terms.map(|(factor, value)| *factor * value).sum();
            }
        }
    });
}

/// v_i ← 1/v_i; 0 stays 0.
pub(super) fn invert(v: &mut [Fr]) {
    v.par_chunks_mut(PER_INVERSION)
        .for_each(|part| ark_ff::fields::serial_batch_inversion_and_mul(part, &Fr::ONE));
}

/// v_i ← start·Π_(j < i) v_j; gives the product over all.
pub(crate) fn running_products(v: &mut [Fr], start: Fr) -> Fr {
    // As few parts as there are threads: a part but the last is gone over twice.
    let len = v.len().div_ceil(rayon::current_num_threads()).max(PER_TASK);
    let starts: Vec<Fr> = v
        .par_chunks(len)
        .enumerate()
        .map(|(i, part)| match (i + 1) * len < v.len() {
            true => part.iter().product(),
            false => Fr::one(),
        })
        .collect();
    let mut starts = Zeroizing::new(starts);
    running_part(&mut starts, start);
    let ends: Vec<Fr> = v
        .par_chunks_mut(len)
        .zip(starts.par_iter())
        .map(|(part, start)| running_part(part, *start))
        .collect();
    Zeroizing::new(ends).last().copied().unwrap_or(start)
}

fn running_part(part: &mut [Fr], start: Fr) -> Fr {
    part.iter_mut().fold(start, |before, value| {
        let factor = std::mem::replace(value, before);
        before * factor
    })
}

/// `factors[i / n]·table[i % n]` for every index i, n the length of the table.
pub(super) fn lookup(table: &[Fr], factors: &[Fr], indices: &[u32]) -> Vec<Fr> {
    indices
        .par_iter()
        .with_min_len(PER_TASK)
        .map(|index| {
            let index = *index as usize;
            factors[index / table.len()] * table[index % table.len()]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_polynomial_is_quotient_times_divisor_plus_remainder() {
        let z = Fr::from(99u64);
        for len in [1, 7, PER_TASK, 2 * PER_TASK + 4] {
            let p: Vec<Fr> = (0..len as u64).map(|i| Fr::from(i * i * i + 5)).collect();
            let mut quotient = p.clone();
            let remainder = divide(&mut quotient, z);
            assert_eq!(remainder, horner(&p, z));
            assert_eq!(remainder, evaluate(&p, z));
            let mut back = vec![remainder];
            back.resize(len + 1, Fr::ZERO);
            for (i, q) in quotient.iter().enumerate() {
                back[i + 1] += q;
                back[i] -= *q * z;
            }
            assert_eq!(back.pop(), Some(Fr::ZERO));
            assert_eq!(back, p);
        }
    }
}
