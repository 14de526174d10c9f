//! # Permutation products
//!
//! Cell (j, i) of the permuted columns has the name δ^j·ωⁱ; σ_j(ωⁱ) is the name of the cell that follows it in its cycle. A product takes
//! d − 2 columns: Z(ω^(i+1)) = Z(ωⁱ)·Π_j (f_j + β·δ^j·ωⁱ + γ)/(f_j + β·σ_j + γ), and begins with what the product before it ended with.

use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, Field};
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::library::{LibraryFr, from_library};
use super::rows::{Rows, Secret};

/// Rows of one task, which share an inversion.
const PER_TASK: usize = 1 << 10;

/// Which cell follows which, one entry j·n + i for each cell.
#[derive(Debug)]
pub(super) struct Permutation {
    n: usize,
    next: Vec<u32>,
}

impl Permutation {
    /// `next` has n entries for each column, each below its length.
    pub(super) fn new(n: usize, next: Vec<u32>) -> Self {
        Self { n, next }
    }

    fn n_columns(&self) -> usize {
        self.next.len() / self.n
    }

    /// factor·δ^j for every column.
    fn cosets(&self, factor: Fr) -> Vec<Fr> {
        let delta = from_library(&<LibraryFr as halo2curves::ff::PrimeField>::DELTA);
        let next = |power: &Fr| Some(*power * delta);
        std::iter::successors(Some(factor), next)
            .take(self.n_columns())
            .collect()
    }

    /// The name of the cell after (column, row), with δ^j replaced by `cosets`.
    fn name(&self, rows: &Rows, cosets: &[Fr], column: usize, row: usize) -> Fr {
        let cell = self.next[column * self.n + row] as usize;
        cosets[cell / self.n] * rows.points()[cell % self.n]
    }

    /// The values of σ of a column, in the order of rows.
    pub(super) fn sigma(&self, rows: &Rows, column: usize) -> Vec<Fr> {
        let cosets = self.cosets(Fr::ONE);
        (0..self.n)
            .into_par_iter()
            .with_min_len(PER_TASK)
            .map(|row| self.name(rows, &cosets, column, row))
            .collect()
    }

    /// The values of the product over `columns`, of which `values` are the values in the order of rows, beginning with `start`. The blinding
    /// rows at the end are the caller's.
    pub(super) fn product(
        &self,
        rows: &Rows,
        columns: std::ops::Range<usize>,
        values: &[&[Fr]],
        (beta, gamma): (Fr, Fr),
        start: Fr,
    ) -> Secret {
        let cosets = self.cosets(beta);
        let mut product: Secret = Zeroizing::new(vec![Fr::ZERO; self.n]);
        product
            .par_chunks_mut(PER_TASK)
            .enumerate()
            .for_each(|(task, out)| {
                let first = task * PER_TASK;
                for (i, out) in out.iter_mut().enumerate() {
                    let row = first + i;
                    let factors = columns.clone().zip(values);
                    *out = factors.fold(Fr::ONE, |product, (column, values)| {
                        let name = self.name(rows, &cosets, column, row);
                        product * (values[row] + name + gamma)
                    });
                }
                ark_ff::fields::serial_batch_inversion_and_mul(out, &Fr::ONE);
                for (i, out) in out.iter_mut().enumerate() {
                    let (row, point) = (first + i, rows.points()[first + i]);
                    let factors = columns.clone().zip(values);
                    *out = factors.fold(*out, |product, (column, values)| {
                        product * (values[row] + cosets[column] * point + gamma)
                    });
                }
            });
        // From the factors to the products of all before.
        let mut before = start;
        for value in product.iter_mut() {
            let factor = std::mem::replace(value, before);
            before *= factor;
        }
        product
    }
}
