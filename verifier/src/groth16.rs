//! # Groth16: one equation, every word a public input
//! e(A, B) = e(α, β) · e(IC_0 + Σ word_i·IC_{i+1}, γ) · e(C, δ). Source: eprint 2016/260 §3.2; DESIGN.md#groth16.

use ark_bn254::{Fr, G1Affine, G1Projective};
use ark_ec::{CurveGroup, VariableBaseMSM};

/// IC_0 + Σ word_i·IC_{i+1}; `None` if the counts differ.
pub(crate) fn public_point(ic: &[G1Affine], words: &[Fr]) -> Option<G1Affine> {
    let (constant, bases) = ic.split_first()?;
    if bases.len() != words.len() {
        return None;
    }
    let sum = G1Projective::msm(bases, words).ok()?;
    Some((sum + constant).into_affine())
}
