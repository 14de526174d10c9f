//! # Polynomials of few coefficients: evaluation, interpolation

use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, Field};

/// p(x).
pub(super) fn horner(p: &[Fr], x: Fr) -> Fr {
    p.iter().rev().fold(Fr::ZERO, |sum, c| sum * x + c)
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
    fn interpolation_goes_through_every_point() {
        let points: Vec<Fr> = [3u64, 8, 1, 20].map(Fr::from).to_vec();
        let values: Vec<Fr> = [7u64, 0, 5, 5].map(Fr::from).to_vec();
        let p = interpolate(&points, &values);
        for (point, value) in points.iter().zip(values) {
            assert_eq!(horner(&p, *point), value);
        }
    }
}
