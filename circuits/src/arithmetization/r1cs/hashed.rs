//! # Digests of hashed tensors as rows
//! Semantics: the word of a hashed tensor is the Poseidon digest of its bytes, which are ranged where the tensor is made.
//! Constraints: for every S-box `u·u = u2`, `u2·u2 = u4`, `u4·u = v`; u, the packed bytes and the digest are linear expressions.
//! Soundness: DESIGN.md#hashed-tensors.

use super::circuit::{Class, Fill, LinComb, Node, Rid};
use super::lower::{Lowering, int, pow2};
use crate::arithmetization::interface::Hashed;
use crate::arithmetization::sponge::{self, Stage};
use ark_bn254::Fr;
use ark_ff::{One, Zero};
use zkinfer_verifier::poseidon::{RATE, WIDTH};

impl Lowering<'_> {
    /// The state after the last permutation: its second element is the digest.
    pub(super) fn hash(&mut self, hashed: &Hashed) -> Rid {
        let mut state: Option<Rid> = None;
        for block in hashed.words.chunks(RATE) {
            let mut rows: Vec<Vec<(Rid, usize, Fr)>> = vec![vec![]; WIDTH];
            let mut constants = vec![Fr::zero(); WIDTH];
            let mut class = Class::Committed;
            match state {
                None => constants[0] = hashed.tag,
                Some(state) => {
                    class = self.tensors[state].class;
                    for (i, row) in rows.iter_mut().enumerate() {
                        row.push((state, i, Fr::one()));
                    }
                }
            }
            let words = rows[1..].iter_mut().zip(&mut constants[1..]).zip(block);
            for ((row, constant), word) in words {
                for element in word {
                    let x = self.rid(element.tensor);
                    class = class.max(self.tensors[x].class);
                    let weight = pow2(element.exponent) * int(element.scale);
                    *constant -= weight * int(element.min);
                    row.push((x, element.index, weight));
                }
            }
            let mut mixed = self.push(Node::Pack { rows, constants }, WIDTH, class);
            for stage in sponge::whole_stages() {
                mixed = self.stage(mixed, stage);
            }
            state = Some(mixed);
        }
        // a layout has no empty tensor, so there is a block
        state.unwrap_or_else(|| unreachable!("a hashed tensor without elements"))
    }

    fn stage(&mut self, state: Rid, stage: &Stage) -> Rid {
        let n = stage.inputs.len();
        // a word that is not in the committed round is refused when the argument is closed
        let class = self.first_class().max(self.tensors[state].class);
        let fill = Fill::FifthPowers {
            map: stage.inputs.clone(),
            state,
        };
        let v = self.wires(class, n, fill);
        let of = [state, v];
        let map = stage.inputs.clone();
        let u = self.push(Node::Affine { map, of }, n, class);
        let u_lc = || LinComb::of(u);
        let u2 = self.product("hash square", None, class, n, [u_lc(), u_lc()]);
        let factors = [LinComb::of(u2), LinComb::of(u2)];
        let u4 = self.product("hash fourth power", None, class, n, factors);
        let row = [LinComb::of(u4), u_lc(), LinComb::of(v)];
        self.rows("hash fifth power", None, n, row);
        let map = stage.after.clone();
        self.push(Node::Affine { map, of }, WIDTH, class)
    }
}
