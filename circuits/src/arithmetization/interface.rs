//! What every arithmetization reads of a program alike: how wide an input's range is, which elements a word packs, what the field holds.

use super::LowerError;
use crate::constraint::{Program, TensorId};
use ark_bn254::Fr;
use zkinfer_verifier::{Dtype, Visibility};

/// How products of tensors are lowered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Products {
    /// Whichever takes fewer rows, instruction by instruction.
    #[default]
    Cheapest,
    /// As an identity of polynomials at a challenge, wherever there is one.
    Always,
    /// Term by term.
    Never,
}

/// Bits of the largest magnitude below p/2 of BN254's scalar field.
pub(super) const CAPACITY_BITS: u32 = 252;

/// Refuses a combination of so many bits when it could reach p/2.
pub(super) fn capacity(program: &Program, step: usize, bits: u32) -> Result<(), LowerError> {
    if bits < CAPACITY_BITS {
        return Ok(());
    }
    let step = &program.steps()[step];
    Err(LowerError::Capacity {
        node: program.node_of(step).to_owned(),
        step: step.instr.name(),
        bits,
        capacity: CAPACITY_BITS,
    })
}

/// `0 ≤ x − min < 2^bits` is what an input's type says of an element x.
pub(super) fn input_bits(dtype: Dtype) -> u32 {
    match dtype {
        Dtype::Bool => 1,
        Dtype::Int8 | Dtype::Uint8 => 8,
        Dtype::Int16 => 16,
        Dtype::Int32 => 32,
    }
}

/// An element of a word: it adds `(element − min)·2^exponent`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    pub(super) tensor: TensorId,
    pub(super) index: usize,
    pub(super) exponent: u32,
    pub(super) min: i64,
}

/// The words of public tensors after the context: their bytes, 31 to a word.
///
/// # Errors
/// [`LowerError::Layout`] when a word boundary would cut an element.
pub(super) fn words(program: &Program) -> Result<Vec<Vec<Packed>>, LowerError> {
    let ids = program.inputs().iter().chain(program.outputs());
    let mut words: Vec<Vec<Packed>> = vec![];
    let mut byte = 0usize;
    for (id, spec) in ids.zip(&program.layout().tensors) {
        if spec.visibility != Visibility::Public {
            continue;
        }
        let bytes = spec.dtype.bytes();
        for index in 0..program.tensors()[id.index()].len() {
            let (word, place) = (byte / 31, byte % 31);
            if place + bytes > 31 {
                return Err(LowerError::Layout {
                    tensor: spec.name.clone(),
                });
            }
            if word == words.len() {
                words.push(vec![]);
            }
            words[word].push(Packed {
                tensor: *id,
                index,
                exponent: 8 * (31 - place as u32 - bytes as u32),
                min: spec.dtype.min(),
            });
            byte += bytes;
        }
    }
    Ok(words)
}

/// A hashed tensor: one word of the statement, after those of the public tensors.
#[derive(Clone, Debug)]
pub(super) struct Hashed {
    /// The domain of its digest.
    pub(super) tag: Fr,
    /// What the hash takes in.
    pub(super) words: Vec<Vec<Packed>>,
}

/// The hashed tensors in declared order, packed as [`zkinfer_verifier::statement::hashed`] says: whole elements from the left.
pub(super) fn hashed(program: &Program) -> Vec<Hashed> {
    let ids: Vec<TensorId> = program
        .inputs()
        .iter()
        .chain(program.outputs())
        .copied()
        .collect();
    let tensors = program.layout().hashed_tensors();
    let hashed = tensors.map(|(position, spec)| {
        let (tensor, bytes) = (ids[position], spec.dtype.bytes());
        let per_word = spec.hashed_word_bytes() / bytes;
        let n = program.tensors()[tensor.index()].len();
        let word = |first: usize| {
            let elements = first..n.min(first + per_word);
            let packed = elements.map(|index| Packed {
                tensor,
                index,
                exponent: 8 * (31 - (bytes * (index - first + 1)) as u32),
                min: spec.dtype.min(),
            });
            packed.collect()
        };
        Hashed {
            tag: spec.hash_tag(position),
            words: (0..n).step_by(per_word).map(word).collect(),
        }
    });
    hashed.collect()
}
