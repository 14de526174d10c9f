//! # The key as the contracts read it
//! groth16, ultragroth: −α ‖ β ‖ −γ ‖ −δ's ‖ IC points ‖ vk digest ‖ numbers of digests and of public bytes, in 32-byte words. The negations are made here,
//! once, so that no contract negates a point that a prover chose. halo2-kzg: [`super::halo2_kzg`].

use ark_bn254::{G1Affine, G2Affine};
use zkinfer_verifier::{
    GrothKey, KeyMaterial, VerifyingKey,
    curve::{write_g1, write_g2},
};

use super::{calldata::word, halo2_kzg};
use crate::target::GenerateError;

/// One named piece of the key: a point or a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyWord {
    /// What it is, in the symbols of the equation.
    pub name: String,
    /// Its words, concatenated.
    pub bytes: Vec<u8>,
}

/// The pieces of a key, in the order of the contract's code.
///
/// # Errors
/// [`GenerateError::Statement`]: more words than a contract of the system can address.
pub fn key_words(key: &VerifyingKey) -> Result<Vec<KeyWord>, GenerateError> {
    match &key.material {
        KeyMaterial::Groth(groth) => Ok(groth_words(key, groth)),
        KeyMaterial::Halo2Kzg(protocol) => {
            let (system, n_words) = (key.system, key.layout.n_words());
            halo2_kzg::key_pieces(key, protocol).ok_or(GenerateError::Statement { system, n_words })
        }
    }
}

fn groth_words(key: &VerifyingKey, groth: &GrothKey) -> Vec<KeyWord> {
    let mut words = vec![
        g1("−α in G1: x, y".to_owned(), &-groth.alpha_g1),
        g2("β in G2: x.c1, x.c0, y.c1, y.c0".to_owned(), &groth.beta_g2),
        g2("−γ in G2".to_owned(), &-groth.gamma_g2),
    ];
    for (i, delta) in groth.deltas_g2.iter().enumerate() {
        let name = if groth.deltas_g2.len() == 1 {
            "−δ in G2".to_owned()
        } else {
            format!("−δ{} in G2", i + 1)
        };
        words.push(g2(name, &-*delta));
    }
    for (i, ic) in groth.ic.iter().enumerate() {
        words.push(g1(format!("IC_{i} in G1"), ic));
    }
    words.push(KeyWord {
        name: "vk digest".to_owned(),
        bytes: key.digest().to_vec(),
    });
    // 16 bytes each
    let mut numbers = word(key.layout.public_bytes());
    numbers[8..16].copy_from_slice(&(key.layout.n_hashed() as u64).to_be_bytes());
    words.push(KeyWord {
        name: "numbers of digests and of public bytes".to_owned(),
        bytes: numbers.to_vec(),
    });
    words
}

fn g1(name: String, point: &G1Affine) -> KeyWord {
    let mut bytes = Vec::with_capacity(64);
    write_g1(&mut bytes, point);
    KeyWord { name, bytes }
}

fn g2(name: String, point: &G2Affine) -> KeyWord {
    let mut bytes = Vec::with_capacity(128);
    write_g2(&mut bytes, point);
    KeyWord { name, bytes }
}
