//! What every arithmetization reads of a program alike: how wide an input's range is, which elements a word packs, what the field holds.

use super::LowerError;
use crate::constraint::{Instr, Program, TensorId};
use ark_bn254::Fr;
use std::collections::HashMap;
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

/// An element of a word: it adds `(element − min)·scale·2^exponent`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    pub(super) tensor: TensorId,
    pub(super) index: usize,
    pub(super) scale: i64,
    pub(super) exponent: u32,
    pub(super) min: i64,
}

/// The words of public tensors after the context: their bytes, 31 to a word. Of an element that a word's end cuts, the high bytes are the
/// quotient q of `element − min = q·2^shift + ρ`, which the program splits off and ranges, and the low bytes are `element − min − q·2^shift`.
///
/// # Errors
/// [`LowerError::Layout`] when a word's end cuts an element that the program does not split there.
pub(super) fn words(program: &Program) -> Result<Vec<Vec<Packed>>, LowerError> {
    let ids = program.inputs().iter().chain(program.outputs());
    let quotients = quotients(program);
    let mut words: Vec<Vec<Packed>> = vec![];
    let mut byte = 0usize;
    for (id, spec) in ids.zip(&program.layout().tensors) {
        if spec.visibility != Visibility::Public {
            continue;
        }
        let (bytes, min) = (spec.dtype.bytes(), spec.dtype.min());
        for index in 0..program.tensors()[id.index()].len() {
            let (word, place) = (byte / 31, byte % 31);
            byte += bytes;
            words.resize(words.len().max((byte - 1) / 31 + 1), vec![]);
            let whole = Packed {
                tensor: *id,
                index,
                scale: 1,
                exponent: 8 * (31 - (byte - 1) as u32 % 31 - 1),
                min,
            };
            let Some(cut) = (place + bytes).checked_sub(31).filter(|cut| *cut > 0) else {
                words[word].push(whole);
                continue;
            };
            let shift = 8 * cut as u32;
            let high = quotients.get(&(*id, min, shift));
            let high = Packed {
                tensor: *high.ok_or_else(|| LowerError::Layout {
                    tensor: spec.name.clone(),
                })?,
                exponent: 0,
                min: 0,
                ..whole
            };
            let taken = Packed {
                scale: -(1 << shift),
                exponent: whole.exponent,
                ..high
            };
            words[word].push(high);
            words[word + 1].extend([whole, taken]);
        }
    }
    Ok(words)
}

/// By tensor, minimum and shift, the ranged quotients of `tensor − minimum` that a program has.
fn quotients(program: &Program) -> HashMap<(TensorId, i64, u32), TensorId> {
    let (mut moved, mut split, mut ranged) = (HashMap::new(), HashMap::new(), HashMap::new());
    for step in program.steps() {
        match (&step.instr, step.y) {
            (Instr::Combine { terms, constant }, Some(y)) => {
                if let [(1, x)] = terms[..] {
                    moved.insert(y, (x, -constant));
                }
            }
            (Instr::Split { x, shift }, Some(q)) => {
                if let Some((x, min)) = moved.get(x) {
                    split.insert(q, (*x, *min, *shift));
                }
            }
            (Instr::Range { x: q, .. }, Some(y)) => {
                if let Some(of) = split.get(q) {
                    ranged.entry(*of).or_insert(y);
                }
            }
            _ => {}
        }
    }
    ranged
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
                scale: 1,
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
