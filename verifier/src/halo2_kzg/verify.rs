//! # Verification of a halo2-kzg proof
//! Read the proof and squeeze the challenges; evaluate the Lagrange polynomials and the words at x; fold all constraints with y into the
//! numerator and divide it by x^n − 1, which is what the quotient must open to; hand all openings to [`super::opening`].
//! Source: PLONK, eprint 2019/953; the halo2 book, "Proving system"; equations: DESIGN.md#halo2-kzg.

use alloc::vec::Vec;

use ark_bn254::{Fr, G1Affine};
use ark_ff::{AdditiveGroup, Field, MontFp, batch_inversion};

use super::{
    check::{check_structure, check_words},
    opening,
    protocol::{Column, MAX_STACK, Op, Protocol},
    transcript::Transcript,
};
use crate::{
    curve::{g1_from_bytes, scalar_from_bytes},
    key::KeyError,
    proof::{ProofError, ProofPoint},
    system::ProofSystem,
    verify::VerifyError,
};

/// 7^((r − 1)/2^28), a root of unity of order 2^28; the domain's ω is its power 2^(28 − k).
pub(super) const ROOT_OF_UNITY: Fr =
    MontFp!("1748695177688661943023146337482803886740723238769601073607632802312037301404");
/// δ = 7^(2^28): the cosets δ^i·⟨ω⟩ number the permuted columns.
pub const DELTA: Fr =
    MontFp!("4131629893567559867359510883348571134090853742863529169391034518566172092834");

/// The challenges of a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenges {
    /// Those of the gates, in the order of [`Protocol::challenge_phases`].
    pub(super) gates: Vec<Fr>,
    /// Folds permutation values.
    pub(super) beta: Fr,
    /// Separates permutation factors.
    pub(super) gamma: Fr,
    /// Folds constraints.
    pub(super) y: Fr,
    /// Where everything is opened.
    pub(super) x: Fr,
    /// Folds the polynomials of an opening set (the library's second y).
    pub(super) y_opening: Fr,
    /// Folds the opening sets.
    pub(super) v: Fr,
    /// Where the folded opening is checked.
    pub(super) u: Fr,
}

/// What a proof's bytes say, with the challenges they lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// Commitments of the advice columns.
    pub(super) advice: Vec<G1Affine>,
    /// Commitments Z_i.
    pub(super) products: Vec<G1Affine>,
    /// The commitment R.
    pub(super) random: G1Affine,
    /// Pieces H_i.
    pub(super) quotients: Vec<G1Affine>,
    /// All evaluations, in the order of the bytes.
    pub(super) evals: Vec<Fr>,
    /// The first opening commitment.
    pub(super) w: G1Affine,
    /// The second.
    pub(super) w_prime: G1Affine,
    /// The challenges.
    pub(super) challenges: Challenges,
}

/// ω of the domain.
#[must_use]
pub fn omega(p: &Protocol) -> Fr {
    (p.k..28).fold(ROOT_OF_UNITY, |root, _| root.square())
}

/// `base` to a power that may be negative; `inverse` is the inverse of `base`.
pub(super) fn power(base: Fr, inverse: Fr, exponent: i64) -> Fr {
    let base = if exponent < 0 { inverse } else { base };
    base.pow([exponent.unsigned_abs()])
}

pub(crate) fn verify(
    p: &Protocol,
    vk_digest: &[u8; 32],
    words: &[Fr],
    proof: &[u8],
) -> Result<(), VerifyError> {
    check_structure(p).map_err(KeyError::from)?;
    check_words(p, words.len()).map_err(KeyError::from)?;
    let parts = read(p, vk_digest, words, proof)?;
    let omega = omega(p);
    let inverse = omega.inverse().ok_or(VerifyError::Rejected)?;
    let x_n = (0..p.k).fold(parts.challenges.x, |power, _| power.square());
    let lagrange = Lagrange::at(p, (omega, inverse), parts.challenges.x, x_n, words)
        .ok_or(VerifyError::Rejected)?;
    let numerator = fold(p, &parts, &lagrange).ok_or(VerifyError::Rejected)?;
    let quotient = numerator * lagrange.vanishing_inverse;
    let holds = opening::holds(p, &parts, (omega, inverse), x_n, quotient);
    if holds == Some(true) {
        Ok(())
    } else {
        Err(VerifyError::Rejected)
    }
}

/// Reads a proof of exactly the right length: every coordinate < q, every point finite and on the curve, every scalar < r.
fn read(
    p: &Protocol,
    vk_digest: &[u8; 32],
    words: &[Fr],
    bytes: &[u8],
) -> Result<Parts, VerifyError> {
    let (expected, got) = (p.proof_bytes(), bytes.len());
    let length = ProofError::Length {
        system: ProofSystem::Halo2Kzg,
        expected,
        got,
    };
    if expected != got {
        return Err(length.into());
    }
    let mut reader = Reader {
        bytes,
        transcript: Transcript::new(vk_digest),
        n_points: 0,
        length,
    };
    reader.transcript.absorb_scalar(p.transcript_repr);
    for word in words {
        reader.transcript.absorb_scalar(*word);
    }
    let mut advice = Vec::new();
    advice.resize(p.advice_phases.len(), G1Affine::identity());
    let mut gates = Vec::new();
    gates.resize(p.challenge_phases.len(), Fr::default());
    for phase in 0..p.n_phases() {
        for (commitment, of) in advice.iter_mut().zip(&p.advice_phases) {
            if *of == phase {
                *commitment = reader.point()?;
            }
        }
        for (challenge, of) in gates.iter_mut().zip(&p.challenge_phases) {
            if *of == phase {
                *challenge = reader.transcript.squeeze();
            }
        }
    }
    // θ folds the columns of library lookups; there are none, but the library squeezes it.
    let _theta = reader.transcript.squeeze();
    let beta = reader.transcript.squeeze();
    let gamma = reader.transcript.squeeze();
    let products = reader.points(p.n_products())?;
    let random = reader.point()?;
    let y = reader.transcript.squeeze();
    let quotients = reader.points(p.n_quotients())?;
    let x = reader.transcript.squeeze();
    let mut evals = Vec::with_capacity(p.n_evals());
    for _ in 0..p.n_evals() {
        evals.push(reader.scalar(evals.len())?);
    }
    let y_opening = reader.transcript.squeeze();
    let v = reader.transcript.squeeze();
    let w = reader.point()?;
    let u = reader.transcript.squeeze();
    let w_prime = reader.point()?;
    Ok(Parts {
        advice,
        products,
        random,
        quotients,
        evals,
        w,
        w_prime,
        challenges: Challenges {
            gates,
            beta,
            gamma,
            y,
            x,
            y_opening,
            v,
            u,
        },
    })
}

struct Reader<'b> {
    bytes: &'b [u8],
    transcript: Transcript,
    n_points: usize,
    length: ProofError,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ProofError> {
        let (head, rest) = self.bytes.split_first_chunk::<N>().ok_or(self.length)?;
        self.bytes = rest;
        self.transcript.absorb(head);
        Ok(*head)
    }

    fn point(&mut self) -> Result<G1Affine, ProofError> {
        let point = ProofPoint::Commitment(self.n_points);
        self.n_points += 1;
        g1_from_bytes(&self.take()?).map_err(|error| ProofError::Point { point, error })
    }

    fn points(&mut self, n: usize) -> Result<Vec<G1Affine>, ProofError> {
        (0..n).map(|_| self.point()).collect()
    }

    fn scalar(&mut self, index: usize) -> Result<Fr, ProofError> {
        scalar_from_bytes(&self.take()?).ok_or(ProofError::Scalar { index })
    }
}

/// Lagrange polynomials at x, and what follows from them.
struct Lagrange {
    first: Fr,
    last: Fr,
    blind: Fr,
    /// Σ word_i·l_i(x).
    instance: Fr,
    /// 1 / (x^n − 1).
    vanishing_inverse: Fr,
}

impl Lagrange {
    /// l_i(x) = (x^n − 1)/n · ω^i / (x − ω^i); `None` if x is in the domain.
    fn at(p: &Protocol, (omega, inverse): (Fr, Fr), x: Fr, x_n: Fr, words: &[Fr]) -> Option<Self> {
        let vanishing = x_n - Fr::ONE;
        let n_end = usize::from(p.blinding_factors) + 2;
        let mut powers = Vec::with_capacity(n_end + words.len());
        // ω^last … ω^−1, ω^0, then the rows of the words.
        let mut row = power(omega, inverse, i64::from(p.last_rotation()));
        for _ in 1..n_end + words.len().max(1) {
            powers.push(row);
            row *= omega;
        }
        let mut denominators = Vec::with_capacity(powers.len() + 2);
        denominators.extend(powers.iter().map(|row| x - row));
        denominators.push(vanishing);
        denominators.push(Fr::from(p.n()));
        if denominators.contains(&Fr::ZERO) {
            return None;
        }
        batch_inversion(&mut denominators);
        let n_inverse = denominators.pop()?;
        let vanishing_inverse = denominators.pop()?;
        let common = vanishing * n_inverse;
        let values = powers.iter().zip(&denominators);
        let values: Vec<Fr> = values.map(|(row, over)| common * row * over).collect();
        let (ends, rows) = values.split_at_checked(n_end - 1)?;
        let (last, blind) = ends.split_first()?;
        Some(Self {
            first: *rows.first()?,
            last: *last,
            blind: blind.iter().sum(),
            instance: rows.iter().zip(words).map(|(l, word)| *l * word).sum(),
            vanishing_inverse,
        })
    }
}

/// The numerator of the quotient: gates, then the permutation argument, folded with y. `None` if the description is not valid.
fn fold(p: &Protocol, parts: &Parts, lagrange: &Lagrange) -> Option<Fr> {
    let Challenges {
        beta, gamma, x, y, ..
    } = parts.challenges;
    let eval = |at: usize| parts.evals.get(at).copied();
    let mut numerator = Fr::ZERO;
    let mut stack: Vec<Fr> = Vec::with_capacity(MAX_STACK);
    for op in &p.gates {
        let value = match op {
            Op::Const(value) => *value,
            Op::Fixed(query) => eval(p.fixed_eval(usize::from(*query)))?,
            Op::Advice(query) => eval(usize::from(*query))?,
            Op::Instance => lagrange.instance,
            Op::Challenge(i) => *parts.challenges.gates.get(usize::from(*i))?,
            Op::Neg => -stack.pop()?,
            Op::Add => stack.pop()? + stack.pop()?,
            Op::Mul => stack.pop()? * stack.pop()?,
            Op::Scale(factor) => stack.pop()? * factor,
            Op::End => {
                numerator = numerator * y + stack.pop()?;
                continue;
            }
        };
        stack.push(value);
    }
    let n_products = p.n_products();
    if n_products == 0 {
        return Some(numerator);
    }
    let product = |i: usize, which: usize| eval(p.product_eval(i) + which);
    let mut constrain = |value: Fr| numerator = numerator * y + value;
    // l_0·(1 − Z_0), l_last·(Z_last² − Z_last), l_0·(Z_i − Z_(i−1)(ω^last·x)).
    constrain(lagrange.first * (Fr::ONE - product(0, 0)?));
    let end = product(n_products - 1, 0)?;
    constrain((end.square() - end) * lagrange.last);
    for i in 1..n_products {
        constrain((product(i, 0)? - product(i - 1, 2)?) * lagrange.first);
    }
    // (1 − l_last − l_blind)·(Z_i(ωx)·Π (f + β·σ + γ) − Z_i(x)·Π (f + β·δ^j·x + γ)).
    let active = Fr::ONE - lagrange.last - lagrange.blind;
    let mut coset = beta * x;
    for i in 0..n_products {
        let (mut left, mut right) = (product(i, 1)?, product(i, 0)?);
        for j in p.chunk(i) {
            let value = match p.permuted.get(j)? {
                Column::Instance => lagrange.instance,
                column => eval(p.permuted_eval(*column)?)?,
            };
            left *= value + beta * eval(p.sigma_eval(j))? + gamma;
            right *= value + coset + gamma;
            coset *= DELTA;
        }
        constrain((left - right) * active);
    }
    Some(numerator)
}

#[cfg(test)]
mod tests {
    use ark_ff::PrimeField;

    use super::*;

    #[test]
    fn constants_are_powers_of_seven() {
        let seven = Fr::from(7_u64);
        assert_eq!(DELTA, seven.pow([1_u64 << 28]));
        assert_eq!(ROOT_OF_UNITY.pow([1_u64 << 28]), Fr::ONE);
        assert_ne!(ROOT_OF_UNITY.pow([1_u64 << 27]), Fr::ONE);
        let mut exponent = (-Fr::ONE).into_bigint();
        exponent >>= 28_u32;
        assert_eq!(ROOT_OF_UNITY, seven.pow(exponent));
    }
}
