//! # SHPLONK: all openings in one equation of two pairings
//! For set i with rotations S_i, commitments C_ij and claimed evaluations, let r_ij be the polynomial of degree < |S_i| through the
//! evaluations, Z_S(u) = Π_{s ∈ S} (u − x·ω^s) and T the union of all S_i. With
//! c_i = v^i · Z_{T∖S_i}(u) / Z_{T∖S_0}(u):
//! F = Σ_i c_i · Σ_j y'^j·(C_ij − \[r_ij(u)\]) − Z_{S_0}(u)·W, and e(F + u·W', \[1\]) = e(W', \[s\]).
//! Source: eprint 2020/081, §4; DESIGN.md#halo2-kzg.

use alloc::vec::Vec;

use ark_bn254::{Bn254, Fr, G1Affine, G1Projective, G2Affine};
use ark_ec::{AffineRepr, CurveGroup, VariableBaseMSM, pairing::Pairing};
use ark_ff::{AdditiveGroup, Field, batch_inversion};

use super::{
    protocol::{Eval, OpeningSet, Poly, Protocol},
    verify::{Parts, power},
};

/// Whether the openings hold; `None` if the description is not valid or a denominator is zero.
pub(super) fn holds(
    p: &Protocol,
    parts: &Parts,
    (omega, inverse): (Fr, Fr),
    x_n: Fr,
    quotient: Fr,
) -> Option<bool> {
    let sets = p.openings();
    let (u, x) = (parts.challenges.u, parts.challenges.x);
    let point = |rotation: i32| x * power(omega, inverse, i64::from(rotation));
    let mut all: Vec<i32> = sets
        .iter()
        .flat_map(|set| &set.rotations)
        .copied()
        .collect();
    all.sort_unstable();
    all.dedup();
    let all: Vec<(i32, Fr)> = all.into_iter().map(|r| (r, point(r))).collect();

    // Z_{T∖S_i}(u) for every set, and 1/Z_{T∖S_0}(u).
    let outside = |set: &OpeningSet| -> Fr {
        let others = all.iter().filter(|(r, _)| !set.rotations.contains(r));
        others.map(|(_, point)| u - point).product()
    };
    let first = sets.first()?;
    let normalize = outside(first).inverse()?;
    let inside: Fr = first.rotations.iter().map(|r| u - point(*r)).product();

    let mut scalars: Vec<Fr> = Vec::new();
    let mut bases: Vec<G1Affine> = Vec::new();
    let mut claimed = Fr::ZERO;
    let mut v_power = Fr::ONE;
    for set in &sets {
        let points: Vec<Fr> = set.rotations.iter().map(|r| point(*r)).collect();
        let basis = lagrange_basis(&points, u)?;
        let mut factor = v_power * outside(set) * normalize;
        v_power *= parts.challenges.v;
        for (poly, evals) in &set.polys {
            for (eval, l) in evals.iter().zip(&basis) {
                let value = match eval {
                    Eval::Given(at) => *parts.evals.get(*at)?,
                    Eval::Quotient => quotient,
                };
                claimed += factor * value * l;
            }
            match poly {
                Poly::Quotient => {
                    let mut scalar = factor;
                    for piece in &parts.quotients {
                        scalars.push(scalar);
                        bases.push(*piece);
                        scalar *= x_n;
                    }
                }
                single => {
                    scalars.push(factor);
                    bases.push(commitment(p, parts, *single)?);
                }
            }
            factor *= parts.challenges.y_opening;
        }
    }
    scalars.extend([-claimed, -inside, u]);
    bases.extend([G1Affine::generator(), parts.w, parts.w_prime]);
    let right = G1Projective::msm(&bases, &scalars).ok()?.into_affine();
    let product = Bn254::multi_pairing([parts.w_prime, -right], [p.s_g2, G2Affine::generator()]);
    Some(product.0 == <Bn254 as Pairing>::TargetField::ONE)
}

fn commitment(p: &Protocol, parts: &Parts, poly: Poly) -> Option<G1Affine> {
    match poly {
        Poly::Advice(i) => parts.advice.get(usize::from(i)).copied(),
        Poly::Fixed(i) => p.fixed.get(usize::from(i)).copied(),
        Poly::Product(i) => parts.products.get(usize::from(i)).copied(),
        Poly::Sigma(i) => p.sigma.get(usize::from(i)).copied(),
        Poly::Random => Some(parts.random),
        Poly::Quotient => None,
    }
}

/// Π_{k≠j} (u − p_k)/(p_j − p_k) for each j; `None` if two points are equal.
fn lagrange_basis(points: &[Fr], u: Fr) -> Option<Vec<Fr>> {
    let others = |j: usize| {
        let all = points.iter().enumerate();
        all.filter_map(move |(k, point)| (k != j).then_some(*point))
    };
    let mut over: Vec<Fr> = points
        .iter()
        .enumerate()
        .map(|(j, at)| others(j).map(|other| *at - other).product())
        .collect();
    if over.contains(&Fr::ZERO) {
        return None;
    }
    batch_inversion(&mut over);
    for (j, value) in over.iter_mut().enumerate() {
        *value *= others(j).map(|other| u - other).product::<Fr>();
    }
    Some(over)
}
