//! # UltraGroth: Groth16 with one committed round
//! e(A, B) = e(α, β) · e(IC_0 + ρ·IC_1 + α'·IC_2 + e·IC_3, γ) · e(C1, δ1) · e(C2, δ2), where ρ and α' are hashes of key, words and C1
//! ([`crate::transcript`]) and e = Σ word_i·α'^i. Source: eprint 2020/278; DESIGN.md#ultragroth.

use ark_bn254::{Fr, G1Affine};

use crate::{
    groth16::public_point,
    transcript::{Challenges, challenges, evaluate_words},
};

/// The public-input point of a statement and a commitment; `None` if the key does not have four IC points.
pub(crate) fn challenged_point(
    vk_digest: &[u8; 32],
    ic: &[G1Affine],
    words: &[Fr],
    c1: &G1Affine,
) -> Option<G1Affine> {
    let Challenges { rho, alpha } = challenges(vk_digest, words, c1);
    public_point(ic, &[rho, alpha, evaluate_words(words, alpha)])
}
