//! # The verifier: the only function that says yes
//! Order: form of the words, counts of the key, system, points of the proof, then one product of pairings with one final exponentiation.
//! `halo2-kzg` goes its own way after the system ([`crate::halo2_kzg`]).
//! The key itself is checked when it is decoded; this function re-checks only what it indexes.

use alloc::vec::Vec;

use ark_bn254::{Bn254, Fr, G1Affine, G2Affine};
use ark_ec::pairing::Pairing;

use crate::{
    groth16::public_point,
    halo2_kzg,
    key::{KeyError, KeyMaterial, VerifyingKey},
    proof::{Proof, ProofError},
    statement::{Statement, StatementError},
    system::ProofSystem,
    ultragroth::challenged_point,
};

/// Why a proof was not accepted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The key's counts contradict its own system and layout.
    #[error("verifying key: {0}")]
    Key(#[from] KeyError),
    /// The proof is of another system than the key.
    #[error("the key is for {expected}, the proof is {got}")]
    System {
        /// The key's system.
        expected: ProofSystem,
        /// The proof's.
        got: ProofSystem,
    },
    /// The statement is not of the key's layout.
    #[error("statement: {0}")]
    Statement(#[from] StatementError),
    /// A point of the proof is not acceptable.
    #[error("{0}")]
    Proof(#[from] ProofError),
    /// The equation does not hold: this proof does not prove this statement under this key.
    #[error("the proof does not prove this statement under this key")]
    Rejected,
}

/// Accepts exactly if `proof` proves `statement` under `vk`.
///
/// # Errors
/// [`VerifyError`], which says what was wrong.
pub fn verify(vk: &VerifyingKey, statement: &Statement, proof: &Proof) -> Result<(), VerifyError> {
    statement.check_lengths(&vk.layout)?;
    check_equation(vk, &statement.words(), proof)
}

/// Accepts exactly if `proof` proves the statement with these words under `vk`. Words that no statement of the layout has
/// ([`Statement::from_words`]) are refused whatever the proof.
///
/// # Errors
/// [`VerifyError`], which says what was wrong.
pub fn verify_words(vk: &VerifyingKey, words: &[Fr], proof: &Proof) -> Result<(), VerifyError> {
    Statement::from_words(&vk.layout, words)?;
    check_equation(vk, words, proof)
}

/// The equation for words in the form of a statement of the layout.
fn check_equation(vk: &VerifyingKey, words: &[Fr], proof: &Proof) -> Result<(), VerifyError> {
    vk.check_counts()?;
    if proof.system() != vk.system {
        return Err(VerifyError::System {
            expected: vk.system,
            got: proof.system(),
        });
    }
    proof.check()?;
    let (groth, proof) = match (&vk.material, proof) {
        (KeyMaterial::Halo2Kzg(protocol), Proof::Halo2Kzg { bytes }) => {
            return halo2_kzg::verify(protocol, &vk.digest(), words, bytes);
        }
        (KeyMaterial::Groth(groth), proof) => (groth, proof),
        _ => return Err(VerifyError::Rejected),
    };
    let (a, b, public, closing) = match proof {
        Proof::Groth16 { a, b, c } => (a, b, public_point(&groth.ic, words), [Some(c), None]),
        Proof::UltraGroth { a, b, c1, c2 } => (
            a,
            b,
            challenged_point(&vk.digest(), &groth.ic, words, c1),
            [Some(c1), Some(c2)],
        ),
        Proof::Halo2Kzg { .. } => return Err(VerifyError::Rejected),
    };
    let public = public.ok_or(VerifyError::Rejected)?;
    let mut g1: Vec<G1Affine> = Vec::from([*a, -groth.alpha_g1, -public]);
    let mut g2: Vec<G2Affine> = Vec::from([*b, groth.beta_g2, groth.gamma_g2]);
    for (point, delta) in closing.into_iter().flatten().zip(&groth.deltas_g2) {
        g1.push(-*point);
        g2.push(*delta);
    }
    let product = Bn254::final_exponentiation(Bn254::multi_miller_loop(g1, g2));
    if product.is_some_and(|product| product.0 == <Bn254 as Pairing>::TargetField::from(1_u64)) {
        Ok(())
    } else {
        Err(VerifyError::Rejected)
    }
}
