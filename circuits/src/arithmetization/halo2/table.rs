//! # Tables and the rows that ask them
//! One lookup a row: `(l, id·h, id)` is a row of the tables. Id 0 is the range table of one limb (key only); every other id is a
//! function, its value multiplied by the id so that one fixed column says both which table and whether h is looked at.

use crate::constraint::{TableId, TensorId};

/// What a table holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum TableKind {
    /// Keys 0..2^bits, no value: one limb.
    Limb(u32),
    /// The identity on 0..2^bits: a range that also binds h.
    Identity(u32),
    /// A table of the program.
    Program(TableId),
}

/// One table; its id is its position.
#[derive(Clone, Debug)]
pub(super) struct LookupTable {
    /// First key; keys are contiguous.
    pub(super) first: i64,
    /// Value of every key.
    pub(super) values: Vec<i64>,
    /// Row of the first key.
    pub(super) start: usize,
}

/// What the key cell of a row holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeyFill {
    /// Nothing is asked: zero, a row of the range table like any other.
    Zero,
    /// Element of a tensor, plus a constant.
    Element(TensorId, u32, i64),
    /// Bits `at .. at + bits` of element `index` of x plus `offset` less q·2^split, shifted left by `scale`.
    Limb {
        x: TensorId,
        q: Option<TensorId>,
        index: u32,
        offset: i64,
        split: u32,
        at: u32,
        bits: u32,
        scale: u32,
    },
}

/// One row of the home and key columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct LookupRow {
    pub(super) key: KeyFill,
    /// Home cell in this row.
    pub(super) home: Option<u32>,
    /// Table asked; 0 is the limb table.
    pub(super) table: u32,
    /// Decomposition that begins in this row.
    pub(super) kind: Option<u32>,
    pub(super) step: u32,
}

/// Blocks of rows whose number depends on the limb width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Block {
    /// A split by so many bits, with its key.
    Split(u32),
    /// A range of so many bits; exact or rounded up to whole limbs.
    Range(u32, bool),
}

impl Block {
    /// How the block's first home cell is cut.
    pub(super) fn decomposition(self, limb: u32) -> Decomposition {
        match self {
            Self::Split(shift) => Decomposition::new(shift, limb, true),
            Self::Range(bits, true) => Decomposition::new(bits, limb, false),
            Self::Range(bits, false) => {
                Decomposition::new(bits.next_multiple_of(limb), limb, false)
            }
        }
    }
}

/// `h[0] = Σ 2^e·l[rotation]`, and for a last limb of fewer bits `l[to] = 2^s·l[from]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Decomposition {
    pub(super) terms: Vec<(u32, u32)>,
    pub(super) check: Option<(u32, u32, u32)>,
}

impl Decomposition {
    /// Limbs of `limb` bits for the low `shift` bits, and the key in row 1 when `keyed`.
    ///
    /// Rows: limb 0, the key, limb 1, limb 2, …, the last limb scaled up when it is short.
    pub(super) fn new(shift: u32, limb: u32, keyed: bool) -> Self {
        let n = shift.div_ceil(limb);
        let row = |j: u32| if j == 0 { 0 } else { j + u32::from(keyed) };
        let mut terms: Vec<(u32, u32)> = (0..n).map(|j| (row(j), j * limb)).collect();
        if keyed {
            terms.push((1, shift));
        }
        let short = shift % limb;
        let after = if n <= 1 {
            1 + u32::from(keyed)
        } else {
            row(n - 1) + 1
        };
        let check = (short != 0).then(|| (row(n - 1), after, limb - short));
        Self { terms, check }
    }

    /// Rows it spans.
    pub(super) fn rows(&self) -> u32 {
        let last = self.terms.iter().map(|t| t.0).max().unwrap_or(0);
        self.check.map_or(last, |c| last.max(c.1)) + 1
    }
}
