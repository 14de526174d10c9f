//! # Digests of hashed tensors on the tape
//! Semantics: the word of a hashed tensor is the Poseidon digest of its bytes, which are ranged where the tensor is made.
//! Constraints: rows for every S-box input u, for `u·u` and `u²·u²`; the fifth power is the product `u⁴·u` inside the sums that read it.
//! The second element of the last state is tied to the word. Nothing here reads a challenge. Soundness: DESIGN.md#hashed-tensors.

use super::Fr;
use super::lower::{Lowering, View};
use super::tape::{Mode, NO_STEP, Operand, Target};
use super::values::{fr, pow2, word};
use crate::arithmetization::LowerError;
use crate::arithmetization::interface::{Hashed, Packed};
use crate::arithmetization::sponge::{self, AffineMap, Stage};
use halo2curves::ff::Field;
use zkinfer_verifier::poseidon::{RATE, WIDTH};

/// Rows of one permutation, at most.
const BLOCK_ROWS: usize = 1400;

impl Lowering<'_> {
    /// Ties the home cell of a word to the digest of a hashed tensor.
    pub(super) fn hash_into(&mut self, hashed: &Hashed, home: u32) -> Result<(), LowerError> {
        let mut state: Option<Vec<u32>> = None;
        for block in hashed.words.chunks(RATE) {
            let absorbed: usize = block.iter().map(Vec::len).sum();
            self.room(absorbed + BLOCK_ROWS)?;
            let mut mixed: Vec<u32> = (0..WIDTH)
                .map(|i| {
                    let start = match &state {
                        Some(state) => {
                            let before = Operand::Result(state[i]);
                            self.tape
                                .term(NO_STEP, Mode::Start, Fr::ONE, before, Fr::ZERO)
                        }
                        None => {
                            let constant = if i == 0 { word(hashed.tag) } else { Fr::ZERO };
                            self.tape.constant(NO_STEP, Mode::Start, constant)
                        }
                    };
                    let words = i.checked_sub(1).and_then(|i| block.get(i));
                    words.map_or(start, |word| self.absorb(word))
                })
                .collect();
            for stage in sponge::short_stages() {
                mixed = self.stage(stage, &mixed);
            }
            state = Some(mixed);
        }
        // a layout has no empty tensor, so there is a block
        if let Some(state) = state {
            self.tape.tie(state[1], Target::Home(home));
        }
        Ok(())
    }

    /// Adds a packed word to the running sum.
    fn absorb(&mut self, word: &[Packed]) -> u32 {
        for element in word {
            let view: View = self.views[element.tensor.index()][element.index];
            let offset = view.plus(-fr(element.min));
            self.add_view(
                NO_STEP,
                Mode::Keep,
                pow2(element.exponent) * fr(element.scale),
                offset,
            );
        }
        self.tape.last()
    }

    /// The rows of the state after a stage.
    fn stage(&mut self, stage: &Stage, state: &[u32]) -> Vec<u32> {
        let state = state
            .iter()
            .map(|row| [Operand::One, Operand::Result(*row)]);
        let mut arguments: Vec<[Operand; 2]> = state.collect();
        for row in 0..stage.inputs.len() {
            let u = Operand::Result(self.affine(&stage.inputs, row, &arguments));
            let mut product = |a: Operand| {
                let row = self
                    .tape
                    .product(NO_STEP, Mode::Start, Fr::ONE, [a, a], &[]);
                Operand::Result(row)
            };
            let square = product(u);
            arguments.push([product(square), u]);
        }
        let rows = 0..stage.after.len();
        rows.map(|row| self.affine(&stage.after, row, &arguments))
            .collect()
    }

    /// One row of an affine map whose arguments are products.
    fn affine(&mut self, map: &AffineMap, row: usize, arguments: &[[Operand; 2]]) -> u32 {
        let mut constant = word(map.constants[row]);
        let mut mode = Mode::Start;
        for (x, c) in &map.rows[row] {
            self.tape
                .product(NO_STEP, mode, word(*c), arguments[*x], &[constant]);
            (mode, constant) = (Mode::Keep, Fr::ZERO);
        }
        self.tape.last()
    }
}
