//! # The quotient, coset by coset
//!
//! The folded constraints N have degree below d·n, N = h·(Xⁿ − 1), and h = Σ_j X^(nj)·h_j with d − 1 pieces of n coefficients. On the coset
//! g^(c+1)·⟨ω⟩ the power Xⁿ is the constant t_c = g^(n(c+1)), so what interpolates N there is (t_c − 1)·Σ_j t_c^j·h_j: d − 1 cosets, t_c all
//! different, give the h_j by one small matrix, coefficient by coefficient. Nothing larger than n is ever transformed, and a column's
//! values on a coset exist only from the first pass that reads them to the last.

use std::collections::HashMap;

use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, FftField, Field, Zero, batch_inversion};
use zeroize::Zeroizing;
use zkinfer_gpu::{Device, DeviceError, FrVec, Lines, Op, Step};

use super::graph::Source;
use super::program::{Program, Values};
use super::rows::Rows;
use crate::backend::Steps;
use crate::error::ProveError;

/// The coefficients of what the constraints read.
pub(super) trait Coefficients {
    /// Of a committed column or the instance column; `None` for what the quotient computes.
    fn of(&self, source: Source) -> Option<&FrVec>;
}

/// Steps that [`quotient`] reports.
pub(super) fn n_steps(program: &Program, n_pieces: usize) -> u64 {
    (n_pieces * program.passes().len()) as u64
}

/// The pieces h_j of the quotient; `values` without the shift.
pub(super) fn quotient(
    device: &dyn Device,
    rows: &Rows,
    program: &Program,
    columns: &dyn Coefficients,
    mut values: Values<'_>,
    n_pieces: usize,
    steps: &mut Steps<'_>,
) -> Result<Vec<FrVec>, ProveError> {
    let n = rows.n();
    let mut pieces: Vec<FrVec> = Vec::with_capacity(n_pieces);
    let mut powers = Vec::with_capacity(n_pieces);
    values.shift = Fr::ONE;
    for _ in 0..n_pieces {
        values.shift *= Fr::GENERATOR;
        let power = values.shift.pow([n as u64]);
        let mut sum = device.zeros(n)?;
        let uniform = Zeroizing::new(program.uniform(&values));
        let mut cosets: HashMap<Source, FrVec> = HashMap::new();
        for pass in program.passes() {
            for source in pass.sources() {
                if *source != Source::Point && !cosets.contains_key(source) {
                    let coset = match columns.of(*source) {
                        Some(column) => rows.coset_values(device, column, values.shift)?,
                        None => first_row(device, rows, values.shift, power)?,
                    };
                    cosets.insert(*source, coset);
                }
            }
            let read: Vec<&FrVec> = pass
                .sources()
                .iter()
                .map(|source| cosets.get(source).unwrap_or(rows.points()))
                .collect();
            program.run(device, pass, &read, &uniform, &mut sum)?;
            for source in pass.last_used() {
                cosets.remove(source);
            }
            steps.advance(1)?;
        }
        pieces.push(rows.coset_coefficients(device, sum, values.shift)?);
        powers.push(power);
    }
    // From the interpolations on the cosets to the pieces.
    device.mix(&mut pieces, &inverse_vandermonde(&powers))?;
    Ok(pieces)
}

/// l_0 on a coset: (t − 1)/(n·(x − 1)), x = shift·ωⁱ.
fn first_row(device: &dyn Device, rows: &Rows, shift: Fr, power: Fr) -> Result<FrVec, DeviceError> {
    // The inverse of n·shift/(t − 1)·ωⁱ − n/(t − 1); t is not 1 on a coset.
    let factor = Fr::from(rows.n() as u64) * (power - Fr::ONE).inverse().unwrap_or(Fr::ZERO);
    let steps = vec![
        Step::Set(
            0,
            Op::Load {
                column: 0,
                offset: 0,
            },
        ),
        Step::Set(1, Op::MulUniform(0, 0)),
        Step::Set(0, Op::AddUniform(1, 1)),
        Step::Fold(0),
    ];
    let lines = Lines::new(steps, 2, 1, 2)?;
    let mut values = device.zeros(rows.n())?;
    let uniform = [factor * shift, -factor];
    device.run_lines(&mut values, &lines, &[rows.points()], &uniform, Fr::ZERO)?;
    device.invert(&mut values)?;
    Ok(values)
}

/// The matrix that takes ((t_c − 1)·Σ_j t_c^j·h_j)_c to (h_j)_j.
fn inverse_vandermonde(points: &[Fr]) -> Vec<Vec<Fr>> {
    let n = points.len();
    let mut below: Vec<Fr> = points
        .iter()
        .enumerate()
        .map(|(c, t)| {
            let others = points.iter().enumerate().filter(|(m, _)| *m != c);
            others.fold(*t - Fr::ONE, |product, (_, other)| product * (*t - other))
        })
        .collect();
    debug_assert!(below.iter().all(|b| !b.is_zero()));
    batch_inversion(&mut below);
    let mut matrix = vec![vec![Fr::ZERO; n]; n];
    for (c, factor) in below.iter().enumerate() {
        // Π_(m ≠ c) (T − t_m).
        let mut basis = vec![*factor];
        for (m, other) in points.iter().enumerate() {
            if m != c {
                basis.push(Fr::ZERO);
                for at in (0..basis.len()).rev() {
                    let shifted = if at > 0 { basis[at - 1] } else { Fr::ZERO };
                    basis[at] = shifted - basis[at] * other;
                }
            }
        }
        for (row, value) in matrix.iter_mut().zip(basis) {
            row[c] = value;
        }
    }
    matrix
}

#[cfg(test)]
mod tests {
    use zkinfer_gpu::Cpu;

    use super::*;

    #[test]
    fn the_matrix_takes_values_on_cosets_to_pieces() {
        let points: Vec<Fr> = [5u64, 25, 125, 9].map(Fr::from).to_vec();
        let pieces: Vec<Fr> = [3u64, 0, 11, 8].map(Fr::from).to_vec();
        let values: Vec<Fr> = points
            .iter()
            .map(|t| {
                let sum = pieces.iter().rev().fold(Fr::ZERO, |sum, h| sum * t + h);
                sum * (*t - Fr::ONE)
            })
            .collect();
        for (row, piece) in inverse_vandermonde(&points).iter().zip(pieces) {
            let got: Fr = row.iter().zip(&values).map(|(m, v)| *m * v).sum();
            assert_eq!(got, piece);
        }
    }

    #[test]
    fn the_first_lagrange_polynomial_is_the_closed_formula() {
        let rows = Rows::new(&Cpu, 4).expect("points").expect("a small domain");
        let shift = Fr::GENERATOR;
        let values = first_row(&Cpu, &rows, shift, shift.pow([16u64])).expect("values");
        let values = Cpu.download(values).expect("values");
        let points = Cpu.read_range(rows.points().as_slice()).expect("points");
        // l_0(x) = (1 + x + … + x^15)/16.
        for (value, point) in values.iter().zip(points) {
            let x = shift * point;
            let sum: Fr = (0..16u64).map(|i| x.pow([i])).sum();
            assert_eq!(*value * Fr::from(16u64), sum);
        }
    }
}
