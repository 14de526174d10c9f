//! # Are these the powers of one τ, and is that their Lagrange form?
//!
//! The points pass once, in order. With a random ρ and a random w_l for every Lagrange form l, of n_l points over the root ω_l:
//!
//! * S = Σ_i ρⁱ·P_i. P_0 is the generator and e(ρ·(S − ρⁿ⁻¹·P_(n−1)), [τ]) = e(S − P_0, [1]), or some P_(i+1) ≠ τ·P_i with probability
//!   below n/r (a polynomial in ρ with a non-zero coefficient).
//! * Σ_l w_l·Σ_i ρⁱ·L_(l,i) = Σ_j g_j·P_j with g_j = Σ_(l: n_l > j) w_l·f_(l,j), where f_l is the polynomial with the value ρⁱ at ω_lⁱ:
//!   f_(l,j) = (ρ^n_l − 1)/(n_l·(ρ·ω_l⁻ʲ − 1)), a geometric sum. Lagrange points that are not those of the powers pass with
//!   probability below n/r again.
//!
//! ρ and w come from the operating system after the file is fixed. Memory is a few chunks.

use ark_bn254::{Bn254, Fr, G1Affine, G1Projective, G2Affine};
use ark_ec::pairing::Pairing;
use ark_ec::{AffineRepr, CurveGroup, VariableBaseMSM};
use ark_ff::{FftField, Field, One, Zero, batch_inversion};
use ark_std::UniformRand;
use rand::rngs::OsRng;
use rayon::prelude::*;

use super::{G2_BYTES, MAX_K, SrsError, SrsSection, decode_g1, decode_g2};

/// The sums of one file.
pub(crate) struct Check {
    n: u64,
    rho: Fr,
    levels: Vec<Level>,
    powers: Pass,
    lagrange: Pass,
    /// Σ ρⁱ·P_i.
    sum: G1Projective,
    /// Σ g_j·P_j.
    expected: G1Projective,
    /// Σ_l w_l·Σ ρⁱ·L_(l,i).
    got: G1Projective,
    first: Option<G1Affine>,
    second: Option<G1Affine>,
    last: Option<G1Affine>,
}

/// One Lagrange form.
struct Level {
    n: u64,
    /// Points of the smaller forms before it.
    from: u64,
    weight: Fr,
    omega_inverse: Fr,
    /// w_l·(ρ^n_l − 1)/n_l.
    numerator: Fr,
}

/// How far a section has passed.
struct Pass {
    done: u64,
    total: u64,
}

impl Check {
    /// A check of 2ᵏ powers and of the Lagrange forms of 2^`lagrange_from` to 2ᵏ points; none where `lagrange_from` > k.
    pub(crate) fn new(k: u32, lagrange_from: u32) -> Self {
        let n = 1u64 << k;
        // A ρ in the domain would be a zero denominator.
        let rho = loop {
            let rho = Fr::rand(&mut OsRng);
            if rho.pow([1u64 << MAX_K]) != Fr::one() && !rho.is_zero() {
                break rho;
            }
        };
        let mut from = 0;
        let levels: Vec<Level> = (lagrange_from..=k)
            .filter_map(|l| {
                let n = 1u64 << l;
                let weight = Fr::rand(&mut OsRng);
                let size = Fr::from(n).inverse()?;
                let level = Level {
                    n,
                    from,
                    weight,
                    omega_inverse: Fr::get_root_of_unity(n)?.inverse()?,
                    numerator: weight * (rho.pow([n]) - Fr::one()) * size,
                };
                from += n;
                Some(level)
            })
            .collect();
        Self {
            n,
            rho,
            levels,
            powers: Pass { done: 0, total: n },
            lagrange: Pass {
                done: 0,
                total: from,
            },
            sum: G1Projective::zero(),
            expected: G1Projective::zero(),
            got: G1Projective::zero(),
            first: None,
            second: None,
            last: None,
        }
    }

    /// Takes the next raw points of a section; points beyond its end are not looked at.
    pub(crate) fn absorb(&mut self, section: SrsSection, raw: &[u8]) -> Result<(), SrsError> {
        let pass = match section {
            SrsSection::Monomial => &self.powers,
            SrsSection::Lagrange => &self.lagrange,
        };
        let done = pass.done;
        let points =
            decode_g1(raw).map_err(|(i, fault)| SrsError::point(section, done + i, fault))?;
        let left = (pass.total - done).min(points.len() as u64) as usize;
        let points = &points[..left];
        match section {
            SrsSection::Monomial => self.absorb_powers(points),
            SrsSection::Lagrange => self.absorb_lagrange(points),
        }
        Ok(())
    }

    fn absorb_powers(&mut self, points: &[G1Affine]) {
        let from = self.powers.done;
        let n = points.len() as u64;
        let powers = geometric(self.rho, from, n);
        self.sum += msm(points, &powers);
        let mut weights = vec![Fr::zero(); points.len()];
        for level in &self.levels {
            let used = level.n.saturating_sub(from).min(n) as usize;
            let mut denominators = geometric(level.omega_inverse, from, used as u64);
            denominators
                .par_iter_mut()
                .for_each(|d| *d = *d * self.rho - Fr::one());
            batch_inversion(&mut denominators);
            weights
                .par_iter_mut()
                .zip(&denominators)
                .for_each(|(weight, d)| *weight += level.numerator * d);
        }
        if !self.levels.is_empty() {
            self.expected += msm(points, &weights);
        }
        for (i, point) in points.iter().take(2).enumerate() {
            match from + i as u64 {
                0 => self.first = Some(*point),
                1 => self.second = Some(*point),
                _ => {}
            }
        }
        self.last = points.last().copied().or(self.last);
        self.powers.done += n;
    }

    fn absorb_lagrange(&mut self, points: &[G1Affine]) {
        let (from, to) = (self.lagrange.done, self.lagrange.done + points.len() as u64);
        for level in &self.levels {
            let (begin, end) = (from.max(level.from), to.min(level.from + level.n));
            if begin < end {
                let powers = geometric(self.rho, begin - level.from, end - begin);
                let points = &points[(begin - from) as usize..(end - from) as usize];
                self.got += msm(points, &powers) * level.weight;
            }
        }
        self.lagrange.done = to;
    }

    /// There are no Lagrange forms after all.
    pub(crate) fn without_lagrange(&mut self) {
        self.levels.clear();
        self.lagrange = Pass { done: 0, total: 0 };
        self.expected = G1Projective::zero();
        self.got = G1Projective::zero();
    }

    /// Says whether all of it holds for the raw \[τ\] in G2.
    pub(crate) fn finish(self, s_g2: &[u8; G2_BYTES]) -> Result<(), SrsError> {
        for (section, pass) in [
            (SrsSection::Monomial, &self.powers),
            (SrsSection::Lagrange, &self.lagrange),
        ] {
            if pass.done != pass.total {
                return Err(SrsError::malformed(
                    section.to_string(),
                    format!("{} points", pass.total),
                    pass.done,
                ));
            }
        }
        let s_g2 = decode_g2(s_g2).map_err(|fault| SrsError::PointG2 { fault })?;
        let (Some(first), Some(last)) = (self.first, self.last) else {
            return Err(SrsError::Pairing);
        };
        if first != G1Affine::generator() {
            return Err(SrsError::Generator {
                section: "the powers of τ",
                group: "G1",
            });
        }
        if self.second == Some(first) {
            return Err(SrsError::NoContribution);
        }
        let shifted = (self.sum - last * self.rho.pow([self.n - 1])) * self.rho;
        let rest = self.sum - first;
        let product = Bn254::multi_pairing(
            [shifted.into_affine(), (-rest).into_affine()],
            [s_g2, G2Affine::generator()],
        );
        if !product.is_zero() {
            return Err(SrsError::Pairing);
        }
        if self.expected != self.got {
            return Err(SrsError::Lagrange);
        }
        Ok(())
    }
}

/// baseⁱ for `from` ≤ i < `from + n`.
pub(crate) fn geometric(base: Fr, from: u64, n: u64) -> Vec<Fr> {
    const RUN: usize = 1 << 10;
    let mut powers = vec![Fr::one(); n as usize];
    powers.par_chunks_mut(RUN).enumerate().for_each(|(c, run)| {
        let mut power = base.pow([from + (c * RUN) as u64]);
        for value in run {
            *value = power;
            power *= base;
        }
    });
    powers
}

fn msm(points: &[G1Affine], scalars: &[Fr]) -> G1Projective {
    G1Projective::msm_unchecked(points, scalars)
}
