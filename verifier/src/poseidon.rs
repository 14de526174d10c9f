//! # Poseidon: a permutation of field elements that is cheap to prove
//! Semantics: `R_F/2` full, `R_P` partial, `R_F/2` full rounds; a round adds its constants, raises all elements (a partial one: the first
//! element) to the fifth power and multiplies by the MDS matrix. Source: eprint 2019/458.
//!
//! Constants and matrix are drawn from the Grain LFSR as the authors' reference implementation does, so that they are its
//! constants for BN254's scalar field; `tests/poseidon.rs` holds its published answers. Soundness: DESIGN.md#hashed-tensors.

use alloc::{vec, vec::Vec};

use ark_bn254::Fr;
use ark_ff::{Field, PrimeField, Zero};

use crate::curve::{scalar_from_bytes, scalar_mod_order};

/// Full rounds, half of them before and half after the partial ones.
pub const FULL_ROUNDS: usize = 8;
/// Elements of the state of the hash of tensors.
pub const WIDTH: usize = 5;
/// Elements that the sponge takes in before each permutation.
pub const RATE: usize = WIDTH - 1;
/// Partial rounds of the reference implementation for [`WIDTH`] elements.
pub const PARTIAL_ROUNDS: usize = 60;

/// Bits of the field's order.
const FIELD_BITS: usize = 254;

/// The round constants and the matrix of one width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poseidon {
    width: usize,
    partial_rounds: usize,
    constants: Vec<Fr>,
    matrix: Vec<Fr>,
}

impl Poseidon {
    /// The permutation under the hash of tensors.
    #[must_use]
    pub fn of_tensors() -> Self {
        Self::generate(WIDTH, PARTIAL_ROUNDS)
    }

    /// The reference implementation's parameters for so many elements and partial rounds.
    ///
    /// # Panics
    /// When `width` is not in 2..=16 or there are more than 1023 partial rounds: no parameters have such sizes.
    #[must_use]
    pub fn generate(width: usize, partial_rounds: usize) -> Self {
        assert!((2..=16).contains(&width), "2 to 16 elements");
        assert!(partial_rounds < 1024, "at most 1023 partial rounds");
        let mut grain = Grain::new(width, partial_rounds);
        let rounds = FULL_ROUNDS + partial_rounds;
        let constants = (0..rounds * width).map(|_| grain.element()).collect();
        let matrix = loop {
            // 1 / (x_i + y_j), drawn again when two of them are equal or a sum vanishes
            let points: Vec<Fr> = (0..2 * width).map(|_| grain.reduced()).collect();
            let distinct = (0..points.len()).all(|i| !points[..i].contains(&points[i]));
            let (x, y) = points.split_at(width);
            let entries = x.iter().flat_map(|x| y.iter().map(move |y| *x + y));
            let inverses: Option<Vec<Fr>> = entries.map(|sum| sum.inverse()).collect();
            if let (true, Some(inverses)) = (distinct, inverses) {
                break inverses;
            }
        };
        Self {
            width,
            partial_rounds,
            constants,
            matrix,
        }
    }

    /// Elements of the state.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Rounds of both kinds.
    #[must_use]
    pub const fn rounds(&self) -> usize {
        FULL_ROUNDS + self.partial_rounds
    }

    /// Whether a round raises every element.
    #[must_use]
    pub const fn is_full(&self, round: usize) -> bool {
        round < FULL_ROUNDS / 2 || round >= FULL_ROUNDS / 2 + self.partial_rounds
    }

    /// What a round adds to the state.
    ///
    /// # Panics
    /// When there is no such round.
    #[must_use]
    pub fn constants(&self, round: usize) -> &[Fr] {
        &self.constants[round * self.width..][..self.width]
    }

    /// A row of the matrix.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn matrix_row(&self, row: usize) -> &[Fr] {
        &self.matrix[row * self.width..][..self.width]
    }

    /// The permutation.
    ///
    /// # Panics
    /// When the state has not [`Poseidon::width`] elements.
    pub fn permute(&self, state: &mut [Fr]) {
        assert_eq!(state.len(), self.width, "a state of this width");
        for round in 0..self.rounds() {
            for (x, constant) in state.iter_mut().zip(self.constants(round)) {
                *x += constant;
            }
            let raised = if self.is_full(round) { self.width } else { 1 };
            for x in &mut state[..raised] {
                *x *= x.square().square();
            }
            self.mix(state);
        }
    }

    /// The matrix times the state.
    fn mix(&self, state: &mut [Fr]) {
        let row = |i| {
            let products = self.matrix_row(i).iter().zip(state.iter());
            products.map(|(m, x)| *m * x).sum::<Fr>()
        };
        let mixed: Vec<Fr> = (0..self.width).map(row).collect();
        state.copy_from_slice(&mixed);
    }

    /// One element of `words` under the domain `tag`: the state begins as (tag, 0, …), every permutation follows the addition of the next words to the
    /// elements after the first, and the second element is the digest. Missing words of the last block are zeros: the tag
    /// fixes how many there are, at least one (without any the digest would be 0 under every tag).
    #[must_use]
    pub fn hash(&self, tag: Fr, words: &[Fr]) -> Fr {
        let mut state = vec![Fr::zero(); self.width];
        state[0] = tag;
        for block in words.chunks(self.width - 1) {
            for (x, word) in state[1..].iter_mut().zip(block) {
                *x += word;
            }
            self.permute(&mut state);
        }
        state[1]
    }
}

/// The LFSR that the reference implementation draws from, self-shrinking: of every two bits the second counts if the first is 1.
struct Grain(u128);

impl Grain {
    fn new(width: usize, partial_rounds: usize) -> Self {
        // prime field, power as S-box, then the sizes, then thirty ones; the first bit of each is its most significant
        let fields = [
            (2, 1),
            (4, 0),
            (12, FIELD_BITS),
            (12, width),
            (10, FULL_ROUNDS),
            (10, partial_rounds),
            (30, (1 << 30) - 1),
        ];
        let bits = fields
            .iter()
            .flat_map(|(bits, value)| (0..*bits).rev().map(move |bit| value >> bit & 1));
        let state = bits
            .zip(0..)
            .fold(0, |state, (bit, at)| state | (bit as u128) << at);
        let mut grain = Self(state);
        for _ in 0..160 {
            grain.clock();
        }
        grain
    }

    fn clock(&mut self) -> u8 {
        let taps = [62, 51, 38, 23, 13, 0];
        let bit = taps.iter().fold(0, |bit, tap| bit ^ (self.0 >> tap & 1));
        self.0 = self.0 >> 1 | bit << 79;
        bit as u8
    }

    fn bit(&mut self) -> u8 {
        while self.clock() == 0 {
            self.clock();
        }
        self.clock()
    }

    /// So many bits as the order has, most significant first.
    fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for at in 256 - FIELD_BITS..256 {
            bytes[at / 8] |= self.bit() << (7 - at % 8);
        }
        bytes
    }

    /// A uniform element: what is not less than the order is thrown away.
    fn element(&mut self) -> Fr {
        loop {
            if let Some(element) = scalar_from_bytes(&self.bytes()) {
                return element;
            }
        }
    }

    /// An element of the matrix's points, which are reduced instead.
    fn reduced(&mut self) -> Fr {
        scalar_mod_order(&self.bytes())
    }
}

const _: () = assert!(Fr::MODULUS_BIT_SIZE as usize == FIELD_BITS);
