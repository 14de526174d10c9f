//! # Polynomials as vectors of coefficients: evaluation, division by X − z, linear combinations

use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, Field};
use rayon::prelude::*;
use zeroize::Zeroizing;

/// Coefficients of one task.
const PER_TASK: usize = 1 << 11;
/// Chains of Horner's rule that run at once: one multiplication waits for the one before it.
const CHAINS: usize = 4;

/// p(x).
pub(super) fn evaluate(p: &[Fr], x: Fr) -> Fr {
    let parts: Vec<Fr> = p
        .par_chunks(PER_TASK)
        .map(|part| evaluate_part(part, x))
        .collect();
    let parts = Zeroizing::new(parts);
    horner(&parts, x.pow([PER_TASK as u64]))
}

fn horner(p: &[Fr], x: Fr) -> Fr {
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
pub(super) fn divide(p: &mut [Fr], z: Fr) -> Fr {
    // What the coefficients above a part carry into it: their value at z, divided by z^(its end).
    let carries: Vec<Fr> = p
        .par_chunks(PER_TASK)
        .map(|part| evaluate_part(part, z))
        .collect();
    let mut carries = Zeroizing::new(carries);
    let step = z.pow([PER_TASK as u64]);
    let mut carry = Fr::ZERO;
    for value in carries.iter_mut().rev() {
        let below = *value + carry * step;
        *value = carry;
        carry = below;
    }
    p.par_chunks_mut(PER_TASK)
        .zip(carries.par_iter())
        .for_each(|(part, carry)| {
            let mut carry = *carry;
            for c in part.iter_mut().rev() {
                let below = *c + carry * z;
                *c = carry;
                carry = below;
            }
        });
    carry
}

/// sum ← Σ factor_i·p_i; the polynomials are no longer than `sum`.
pub(super) fn combine(sum: &mut [Fr], terms: &[(Fr, &[Fr])]) {
    sum.par_chunks_mut(PER_TASK)
        .enumerate()
        .for_each(|(task, sum)| {
            let start = task * PER_TASK;
            sum.fill(Fr::ZERO);
            for (factor, p) in terms {
                let p = p.get(start..).unwrap_or_default();
                for (sum, c) in sum.iter_mut().zip(p) {
                    *sum += *factor * c;
                }
            }
        });
}

/// sum ← sum + factor·p.
pub(super) fn add_scaled(sum: &mut [Fr], factor: Fr, p: &[Fr]) {
    sum.par_iter_mut()
        .with_min_len(PER_TASK)
        .zip(p)
        .for_each(|(sum, c)| *sum += factor * c);
}

/// The coefficients of the polynomial of least degree with these values at these different points.
pub(super) fn interpolate(points: &[Fr], values: &[Fr]) -> Vec<Fr> {
    let mut sum = vec![Fr::ZERO; points.len()];
    for (i, value) in values.iter().enumerate() {
        // Π_(j ≠ i) (X − p_j)/(p_i − p_j).
        let mut basis = vec![Fr::ONE];
        let mut below = Fr::ONE;
        for (j, point) in points.iter().enumerate() {
            if j != i {
                below *= points[i] - point;
                basis.push(Fr::ZERO);
                for at in (0..basis.len()).rev() {
                    let shifted = if at > 0 { basis[at - 1] } else { Fr::ZERO };
                    basis[at] = shifted - basis[at] * point;
                }
            }
        }
        let factor = *value * below.inverse().unwrap_or(Fr::ZERO);
        for (sum, c) in sum.iter_mut().zip(basis) {
            *sum += factor * c;
        }
    }
    sum
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

    #[test]
    fn interpolation_goes_through_every_point() {
        let points: Vec<Fr> = [3u64, 8, 1, 20].map(Fr::from).to_vec();
        let values: Vec<Fr> = [7u64, 0, 5, 5].map(Fr::from).to_vec();
        let p = interpolate(&points, &values);
        for (point, value) in points.iter().zip(values) {
            assert_eq!(horner(&p, *point), value);
        }
    }
}
