//! # Permutation products
//!
//! Cell (j, i) of the permuted columns has the name δ^j·ωⁱ; σ_j(ωⁱ) is the name of the cell that follows it in its cycle. A product takes
//! d − 2 columns: Z(ω^(i+1)) = Z(ωⁱ)·Π_j (f_j + β·δ^j·ωⁱ + γ)/(f_j + β·σ_j + γ), and begins with what the product before it ended with.

use std::ops::Range;

use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, Field};
use zkinfer_gpu::{Device, DeviceError, FrVec, Lines, LinesError, Op, Step};

use super::library::{LibraryFr, from_library};
use super::rows::Rows;

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

    /// The names of the cells after those of a column, with δ^j replaced by `cosets`.
    fn names(
        &self,
        device: &dyn Device,
        rows: &Rows,
        cosets: &[Fr],
        column: usize,
    ) -> Result<FrVec, DeviceError> {
        let next = &self.next[column * self.n..(column + 1) * self.n];
        device.lookup(rows.points(), cosets, next)
    }

    /// The values of σ of a column, in the order of rows.
    pub(super) fn sigma(
        &self,
        device: &dyn Device,
        rows: &Rows,
        column: usize,
    ) -> Result<FrVec, DeviceError> {
        self.names(device, rows, &self.cosets(Fr::ONE), column)
    }

    /// The values of the product over `columns`, of which `values` are the values in the order of rows, beginning with `start`. The blinding
    /// rows at the end are the caller's.
    pub(super) fn product(
        &self,
        device: &dyn Device,
        rows: &Rows,
        columns: Range<usize>,
        values: &[&FrVec],
        (beta, gamma): (Fr, Fr),
        start: Fr,
    ) -> Result<FrVec, DeviceError> {
        let cosets = self.cosets(beta);
        let names = columns
            .clone()
            .map(|column| self.names(device, rows, &cosets, column));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        let mut inverses = device.zeros(self.n)?;
        let operands: Vec<&FrVec> = values.iter().copied().chain(&names).collect();
        let lines = denominators(values.len())?;
        device.run_lines(&mut inverses, &lines, &operands, &[gamma], Fr::ZERO)?;
        drop(names);
        device.invert(&mut inverses)?;
        let mut product = device.zeros(self.n)?;
        let others = [rows.points(), &inverses];
        let operands: Vec<&FrVec> = values.iter().copied().chain(others).collect();
        let uniform: Vec<Fr> = std::iter::once(gamma)
            .chain(cosets[columns].iter().copied())
            .collect();
        let lines = quotients(values.len())?;
        device.run_lines(&mut product, &lines, &operands, &uniform, Fr::ZERO)?;
        // From the factors to the products of all before.
        device.running_products(&mut product, start)?;
        Ok(product)
    }
}

/// Registers: two operands of a factor, their sum, the factor, and the product so far in one of two.
const A: u16 = 0;
const B: u16 = 1;
const SUM: u16 = 2;
const FACTOR: u16 = 3;
const PRODUCTS: [u16; 2] = [4, 5];
/// What a product has besides.
const POINT: u16 = 6;
const N_REGISTERS: usize = 7;
/// The number of γ among the uniform values.
const GAMMA: u16 = 0;

fn load(register: u16, column: usize) -> Step {
    let column = column as u16;
    Step::Set(register, Op::Load { column, offset: 0 })
}

/// Π_j (f_j + name_j + γ), of as many columns f_j and then as many names.
fn denominators(n: usize) -> Result<Lines, LinesError> {
    let mut steps = Vec::new();
    for j in 0..n {
        steps.extend([load(A, j), load(B, n + j)]);
        take_up(&mut steps, j);
    }
    steps.push(Step::Fold(PRODUCTS[n % 2]));
    Lines::new(steps, N_REGISTERS, 2 * n, 1)
}

/// Π_j (f_j + coset_j·ωⁱ + γ) times the last column, of columns f_j and then ωⁱ; the cosets follow γ.
fn quotients(n: usize) -> Result<Lines, LinesError> {
    let mut steps = vec![load(POINT, n)];
    for j in 0..n {
        let coset = j as u16 + 1;
        steps.extend([load(A, j), Step::Set(B, Op::MulUniform(coset, POINT))]);
        take_up(&mut steps, j);
    }
    steps.push(load(FACTOR, n + 1));
    steps.push(Step::Set(A, Op::Mul(PRODUCTS[n % 2], FACTOR)));
    steps.push(Step::Fold(A));
    Lines::new(steps, N_REGISTERS, n + 2, n + 1)
}

/// The product so far times (A + B + γ); before the first factor there is none. The result of `j` + 1 factors is in register (j + 1) mod 2.
fn take_up(steps: &mut Vec<Step>, j: usize) {
    let (before, after) = (PRODUCTS[j % 2], PRODUCTS[(j + 1) % 2]);
    steps.push(Step::Set(SUM, Op::Add(A, B)));
    if j == 0 {
        steps.push(Step::Set(after, Op::AddUniform(GAMMA, SUM)));
    } else {
        steps.push(Step::Set(FACTOR, Op::AddUniform(GAMMA, SUM)));
        steps.push(Step::Set(after, Op::Mul(before, FACTOR)));
    }
}
