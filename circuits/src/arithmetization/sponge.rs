//! # The hash of hashed tensors: what every arithmetization writes of Poseidon
//! A permutation is a row of stages. Inputs of a stage's S-boxes are affine in the state before the stage and in the results of its earlier
//! S-boxes; the state after it is affine in both. A full round is a stage of [`WIDTH`] S-boxes; partial rounds, one S-box each, are taken
//! together, as many as the arithmetization likes. Constraints: `v = u⁵` for every S-box, and nothing else.
//! Soundness: DESIGN.md#hashed-tensors.

use ark_bn254::Fr;
use ark_ff::{Field, One, Zero};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use zkinfer_verifier::poseidon::{FULL_ROUNDS, PARTIAL_ROUNDS, Poseidon, WIDTH};

/// Rows of sparse affine combinations of the state before a stage and of the results of its S-boxes, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AffineMap {
    /// (argument, coefficient other than zero).
    pub(super) rows: Vec<Vec<(usize, Fr)>>,
    /// Added to each row.
    pub(super) constants: Vec<Fr>,
}

/// S-boxes in order of computation, and the linear layers around them.
#[derive(Debug)]
pub(super) struct Stage {
    /// What each S-box raises; row k reads no result but the first k.
    pub(super) inputs: Arc<AffineMap>,
    /// The state after the stage.
    pub(super) after: Arc<AffineMap>,
}

impl AffineMap {
    fn new(dense: &[Vec<Fr>]) -> Self {
        let row = |row: &Vec<Fr>| {
            let terms = row[1..].iter().copied().enumerate();
            terms.filter(|(_, c)| !c.is_zero()).collect()
        };
        Self {
            rows: dense.iter().map(row).collect(),
            constants: dense.iter().map(|row| row[0]).collect(),
        }
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// One row, of arguments given by index.
    pub(super) fn at(&self, row: usize, argument: impl Fn(usize) -> Fr) -> Fr {
        let terms = self.rows[row].iter();
        terms.fold(self.constants[row], |sum, (x, c)| sum + argument(*x) * c)
    }

    /// The results of the S-boxes of a stage whose inputs are this map.
    pub(super) fn fifth_powers(&self, state: impl Fn(usize) -> Fr) -> Vec<Fr> {
        let mut results: Vec<Fr> = Vec::with_capacity(self.len());
        for row in 0..self.len() {
            let u = self.at(row, |x| match x.checked_sub(WIDTH) {
                None => state(x),
                Some(result) => results[result],
            });
            results.push(u.square().square() * u);
        }
        results
    }
}

/// The permutation itself.
pub(super) fn poseidon() -> &'static Poseidon {
    static POSEIDON: OnceLock<Poseidon> = OnceLock::new();
    POSEIDON.get_or_init(Poseidon::of_tensors)
}

/// The permutation with all partial rounds in one stage: the fewest products.
pub(super) fn whole_stages() -> &'static [Stage] {
    static STAGES: OnceLock<Vec<Stage>> = OnceLock::new();
    STAGES.get_or_init(|| stages(PARTIAL_ROUNDS))
}

/// The permutation with few partial rounds in a stage: few terms.
pub(super) fn short_stages() -> &'static [Stage] {
    static STAGES: OnceLock<Vec<Stage>> = OnceLock::new();
    STAGES.get_or_init(|| stages(SHORT))
}

/// Partial rounds of a short stage: about where terms of its inputs and of the state after it together are fewest.
const SHORT: usize = 6;

fn stages(partial: usize) -> Vec<Stage> {
    let poseidon = poseidon();
    let mut stages = vec![];
    let mut round = 0;
    while round < poseidon.rounds() {
        let full = poseidon.is_full(round);
        let last_partial = FULL_ROUNDS / 2 + PARTIAL_ROUNDS;
        let rounds = match full {
            true => round..round + 1,
            false => round..(round + partial).min(last_partial),
        };
        round = rounds.end;
        stages.push(stage(poseidon, rounds, if full { WIDTH } else { 1 }));
    }
    stages
}

/// `rounds` as one stage, by running them on symbols: the constant, the state before, the results so far.
fn stage(poseidon: &Poseidon, rounds: Range<usize>, raised: usize) -> Stage {
    let n_symbols = 1 + WIDTH + raised * rounds.len();
    let symbol = |at: usize| {
        let mut row = vec![Fr::zero(); n_symbols];
        row[at] = Fr::one();
        row
    };
    let mut state: Vec<Vec<Fr>> = (0..WIDTH).map(|i| symbol(1 + i)).collect();
    let mut inputs = vec![];
    for round in rounds {
        for (row, constant) in state.iter_mut().zip(poseidon.constants(round)) {
            row[0] += constant;
        }
        for row in &mut state[..raised] {
            let result = symbol(1 + WIDTH + inputs.len());
            inputs.push(std::mem::replace(row, result));
        }
        let mixed = |i: usize| {
            let sum = |at: usize| {
                let products = poseidon.matrix_row(i).iter().zip(&state);
                products.map(|(m, row)| *m * row[at]).sum()
            };
            (0..n_symbols).map(sum).collect()
        };
        state = (0..WIDTH).map(mixed).collect();
    }
    Stage {
        inputs: Arc::new(AffineMap::new(&inputs)),
        after: Arc::new(AffineMap::new(&state)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`Poseidon::permute`] does, by stages.
    fn by_stages(stages: &[Stage], state: &[Fr]) -> Vec<Fr> {
        let mut state = state.to_vec();
        for stage in stages {
            let results = stage.inputs.fifth_powers(|i| state[i]);
            let argument = |x: usize| match x.checked_sub(WIDTH) {
                None => state[x],
                Some(result) => results[result],
            };
            state = (0..WIDTH).map(|i| stage.after.at(i, argument)).collect();
        }
        state
    }

    #[test]
    fn stages_are_the_permutation() {
        let start: Vec<Fr> = (0..WIDTH as u64).map(Fr::from).collect();
        let mut expected = start.clone();
        Poseidon::of_tensors().permute(&mut expected);
        for partial in [1, 6, 7, PARTIAL_ROUNDS] {
            assert_eq!(by_stages(&stages(partial), &start), expected, "{partial}");
        }
        assert_eq!(by_stages(whole_stages(), &start), expected);
        assert_eq!(by_stages(short_stages(), &start), expected);
    }

    #[test]
    fn no_input_reads_a_later_result() {
        for stage in whole_stages().iter().chain(short_stages()) {
            for (k, row) in stage.inputs.rows.iter().enumerate() {
                assert!(row.iter().all(|(x, _)| *x < WIDTH + k));
            }
        }
        let boxes: usize = whole_stages().iter().map(|s| s.inputs.len()).sum();
        assert_eq!(boxes, FULL_ROUNDS * WIDTH + PARTIAL_ROUNDS);
    }
}
