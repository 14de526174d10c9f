//! # The tape: every linear relation and product, one multiply-accumulate a row
//! `S[r+1] = mode(r)·S[r] + f[r]·a[r]·b[r] + Σ_j η^j·w_j[r]`, mode ∈ {0, 1, δ, γ}. The operands a and b are copies of home
//! cells or of earlier results; f and w are fixed. Soundness: DESIGN.md#tape.

use super::Fr;
use crate::constraint::TensorId;
use halo2curves::ff::Field;

/// What a row does with the sum of the row before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Mode {
    /// Begins a new sum.
    Start = 0,
    /// Goes on.
    Keep = 1,
    /// Multiplies by δ first: a step of Horner's rule over positions, or over columns of a contraction.
    Delta = 2,
    /// Multiplies by γ first: a step of Horner's rule over output channels, or over rows of a contraction.
    Gamma = 3,
}

/// Where a factor comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    /// No product in this row.
    None,
    /// The constant 1.
    One,
    /// η^j.
    Eta(u32),
    /// δ^e.
    Power(u32),
    /// A home cell.
    Home(u32),
    /// The result of an earlier row.
    Result(u32),
}

/// What a result must equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Zero.
    Zero,
    /// A home cell.
    Home(u32),
    /// Another result.
    Result(u32),
}

impl Target {
    /// Where the target's value stands: in a home cell, or as the result of a row.
    pub(super) fn place<T>(self, home: impl Fn(u32) -> T, result: impl Fn(u32) -> T) -> T {
        match self {
            Self::Zero => result(ZERO),
            Self::Home(cell) => home(cell),
            Self::Result(row) => result(row),
        }
    }
}

/// No program step: rows that serve the whole circuit.
pub(super) const NO_STEP: u32 = u32::MAX;

/// One row.
#[derive(Clone, Copy, Debug)]
pub(super) struct TapeRow {
    pub(super) mode: Mode,
    pub(super) a: Operand,
    pub(super) b: Operand,
    pub(super) f: Fr,
    /// Index of the row's first fixed addend in [`Tape::weights`].
    pub(super) weights: Option<u32>,
    /// Program step that the row serves.
    pub(super) step: u32,
}

/// A value in the first phase's home column.
#[derive(Clone, Copy, Debug)]
pub(super) enum HomeFill {
    /// An element of a program tensor.
    Tensor(TensorId, u32),
    /// An element of a program tensor and a constant.
    Offset(TensorId, u32, i64),
    /// Element `index` of x less q·2^split.
    Remainder {
        x: TensorId,
        q: TensorId,
        index: u32,
        split: u32,
    },
    /// A word of the statement.
    Word(u32),
    /// A coefficient of a product of polynomials that is no output (see [`super::linear`]).
    Between { product: u32, index: u32 },
    /// The value of another home cell.
    Copy(u32),
}

/// The rows under construction.
#[derive(Clone, Debug)]
pub(super) struct Tape {
    /// Fixed addends per row.
    pub(super) width: usize,
    pub(super) rows: Vec<TapeRow>,
    pub(super) weights: Vec<Fr>,
    pub(super) ties: Vec<(u32, Target, u32)>,
    /// Highest power of δ asked for.
    powers: Option<u32>,
    /// Where the powers begin once [`Tape::close`] has run.
    first_power: u32,
}

/// Row of the constant 1, of the constant 0 and of η.
const ONE: u32 = 0;
const ZERO: u32 = 1;
const ETA: u32 = 2;

impl Tape {
    /// A tape of `width` fixed addends a row, beginning with its constants.
    pub(super) fn new(width: usize) -> Self {
        let mut tape = Self {
            width,
            rows: vec![],
            weights: vec![],
            ties: vec![],
            powers: None,
            first_power: 0,
        };
        tape.constant(NO_STEP, Mode::Start, Fr::ONE);
        tape.constant(NO_STEP, Mode::Start, Fr::ZERO);
        for j in 1..width {
            let mut weights = vec![Fr::ZERO; width];
            weights[j] = Fr::ONE;
            tape.addends(NO_STEP, Mode::Start, &weights);
        }
        tape
    }

    /// Result of the last row.
    pub(super) fn last(&self) -> u32 {
        self.rows.len() as u32 - 1
    }

    fn push(
        &mut self,
        step: u32,
        mode: Mode,
        f: Fr,
        [a, b]: [Operand; 2],
        weights: Option<u32>,
    ) -> u32 {
        for operand in [a, b] {
            if let Operand::Power(e) = operand {
                self.powers = Some(self.powers.unwrap_or(0).max(e));
            }
        }
        self.rows.push(TapeRow {
            mode,
            a,
            b,
            f,
            weights,
            step,
        });
        self.last()
    }

    fn weights(&mut self, weights: &[Fr]) -> Option<u32> {
        if weights.iter().all(|w| bool::from(w.is_zero())) {
            return None;
        }
        let at = self.weights.len() as u32;
        self.weights.extend_from_slice(weights);
        self.weights.resize(at as usize + self.width, Fr::ZERO);
        Some(at)
    }

    /// Adds `Σ_j η^j·weights[j]`.
    pub(super) fn addends(&mut self, step: u32, mode: Mode, weights: &[Fr]) -> u32 {
        let weights = self.weights(weights);
        self.push(step, mode, Fr::ZERO, [Operand::None; 2], weights)
    }

    /// Adds a constant.
    pub(super) fn constant(&mut self, step: u32, mode: Mode, constant: Fr) -> u32 {
        self.addends(step, mode, &[constant])
    }

    /// Adds `f·a·b + Σ_j η^j·weights[j]`.
    pub(super) fn product(
        &mut self,
        step: u32,
        mode: Mode,
        f: Fr,
        factors: [Operand; 2],
        weights: &[Fr],
    ) -> u32 {
        let weights = self.weights(weights);
        self.push(step, mode, f, factors, weights)
    }

    /// Adds `f·b + constant`.
    pub(super) fn term(&mut self, step: u32, mode: Mode, f: Fr, b: Operand, constant: Fr) -> u32 {
        self.product(step, mode, f, [Operand::One, b], &[constant])
    }

    /// Binds the result of row `row`.
    pub(super) fn tie(&mut self, row: u32, target: Target) {
        let step = self.rows[row as usize].step;
        self.ties.push((row, target, step));
    }

    /// Appends the powers of δ. Nothing is added afterwards.
    pub(super) fn close(&mut self) {
        self.first_power = self.rows.len() as u32;
        let Some(top) = self.powers else { return };
        self.constant(NO_STEP, Mode::Start, Fr::ONE);
        for _ in 0..top {
            self.constant(NO_STEP, Mode::Delta, Fr::ZERO);
        }
    }

    /// Row of δ^0.
    pub(super) fn first_power(&self) -> u32 {
        self.first_power
    }

    /// Where an operand's value stands: in a home cell, or as the result of a row; `None` without a product.
    pub(super) fn factor<T>(
        &self,
        operand: Operand,
        home: impl Fn(u32) -> T,
        result: impl Fn(u32) -> T,
    ) -> Option<T> {
        Some(match operand {
            Operand::None => return None,
            Operand::Home(cell) => home(cell),
            Operand::One | Operand::Eta(0) => result(ONE),
            Operand::Eta(j) => result(ETA + j - 1),
            Operand::Power(e) => result(self.first_power + e),
            Operand::Result(row) => result(row),
        })
    }

    /// Fixed addends of a row.
    pub(super) fn weights_of(&self, row: &TapeRow) -> &[Fr] {
        row.weights
            .map_or(&[], |at| &self.weights[at as usize..][..self.width])
    }
}
