//! # Development set-up: one party knows the trapdoor
//!
//! The trapdoor of Groth16 (eprint 2016/260) and of UltraGroth, drawn by the machine that makes the keys. **Whoever sees
//! these six values can prove anything under the key.** They are overwritten when dropped and never printed, but a
//! machine's memory is no ceremony: keys made from them are marked as development keys and no production key takes this path.

use std::fmt;

use ark_bn254::{Fr, G1Projective, G2Projective};
use ark_ec::scalar_mul::BatchMulPreprocessing;
use ark_ec::{CurveGroup, PrimeGroup};
use ark_ff::{FftField, Field, One, Zero, batch_inversion};
use ark_std::UniformRand;
use rand::rngs::{OsRng, StdRng};
use rand::{CryptoRng, RngCore, SeedableRng};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::srs::{
    MAX_K, Origin, Place, Srs, SrsError, SrsPart, SrsSection, SrsStep, SrsWriter, Watch,
    encode_g1_all, encode_g2, geometric, tell, to_library,
};

/// The secret exponents of a development set-up, independent and non-zero.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Trapdoor {
    /// τ, where the quadratic arithmetic program is evaluated.
    pub tau: Fr,
    /// α, ties A to the other two proof elements.
    pub alpha: Fr,
    /// β, ties B to the other two proof elements.
    pub beta: Fr,
    /// γ, under which the publics are combined.
    pub gamma: Fr,
    /// δ1, under which the committed round is combined (UltraGroth only).
    pub delta1: Fr,
    /// δ2, under which the private wires and the quotient are combined; Groth16's δ.
    pub delta2: Fr,
}

impl Trapdoor {
    /// Draws a trapdoor from the operating system.
    #[must_use]
    pub fn for_development() -> Self {
        Self::draw(&mut OsRng)
    }

    /// The same trapdoor for the same seed, so that a test can make the same key twice. The key is worthless: anybody who
    /// reads the seed can forge its proofs.
    #[must_use]
    pub fn insecure_from_seed_for_tests(seed: u64) -> Self {
        Self::draw(&mut StdRng::seed_from_u64(seed))
    }

    fn draw(rng: &mut (impl RngCore + CryptoRng)) -> Self {
        let mut draw = || loop {
            let value = Fr::rand(rng);
            if !value.is_zero() {
                return value;
            }
        };
        Self {
            tau: draw(),
            alpha: draw(),
            beta: draw(),
            gamma: draw(),
            delta1: draw(),
            delta2: draw(),
        }
    }
}

/// Points made at once.
const CHUNK: u64 = 1 << 15;

/// Makes a reference string of 2ᵏ powers from τ. **Whoever saw τ can prove anything under every key made from it**, which is why
/// the file says `Development`, and so does every key.
///
/// # Errors
/// [`SrsError`], when k is out of range or the file cannot be written.
pub fn development_srs(
    trapdoor: &Trapdoor,
    k: u32,
    to: Place<'_>,
    watch: &mut Watch<'_>,
) -> Result<Srs, SrsError> {
    let mut writer = SrsWriter::begin(k, &to)?;
    let maker = Maker::new(trapdoor, k)?;
    let total = 3 << k;
    let mut done = 0;
    maker.powers(k, &mut |raw, n| {
        done += n;
        writer.append(SrsSection::Monomial, raw)?;
        tell(watch, SrsStep::Make, done, total)
    })?;
    for level in 0..=k {
        maker.lagrange(level, &mut |raw, n| {
            done += n;
            writer.append(SrsSection::Lagrange, raw)?;
            tell(watch, SrsStep::Make, done, total)
        })?;
    }
    writer.finish(0, Origin::Development, maker.s_g2())
}

/// The same in memory, for one circuit of 2ᵏ rows.
///
/// # Errors
/// [`SrsError`], when k is out of range.
pub fn development_srs_part(
    trapdoor: &Trapdoor,
    k: u32,
    watch: &mut Watch<'_>,
) -> Result<SrsPart, SrsError> {
    let maker = Maker::new(trapdoor, k)?;
    let total = 2 << k;
    let mut done = 0;
    let (mut monomial, mut lagrange) = (Vec::new(), Vec::new());
    maker.powers(k, &mut |raw, n| {
        done += n;
        monomial.extend_from_slice(raw);
        tell(watch, SrsStep::Make, done, total)
    })?;
    maker.lagrange(k, &mut |raw, n| {
        done += n;
        lagrange.extend_from_slice(raw);
        tell(watch, SrsStep::Make, done, total)
    })?;
    Ok(SrsPart {
        k,
        monomial,
        lagrange: to_library(&lagrange),
        s_g2: maker.s_g2(),
    })
}

/// Points from τ by multiplications of the generator.
struct Maker {
    tau: Zeroizing<Fr>,
    table: BatchMulPreprocessing<G1Projective>,
}

/// Takes raw points and their number.
type Take<'a> = dyn FnMut(&[u8], u64) -> Result<(), SrsError> + 'a;

impl Maker {
    fn new(trapdoor: &Trapdoor, k: u32) -> Result<Self, SrsError> {
        if !(1..=MAX_K).contains(&k) {
            return Err(SrsError::K { got: k });
        }
        let tau = Zeroizing::new(trapdoor.tau);
        if tau.is_zero() || tau.pow([1u64 << MAX_K]).is_one() {
            return Err(SrsError::DegenerateTrapdoor);
        }
        Ok(Self {
            tau,
            table: BatchMulPreprocessing::new(G1Projective::generator(), CHUNK as usize),
        })
    }

    fn s_g2(&self) -> [u8; crate::srs::G2_BYTES] {
        encode_g2(&(G2Projective::generator() * *self.tau).into_affine())
    }

    fn powers(&self, k: u32, take: &mut Take<'_>) -> Result<(), SrsError> {
        self.make(k, take, |from, n| geometric(*self.tau, from, n))
    }

    /// L_i(τ) = ωⁱ·(τⁿ − 1)/(n·(τ − ωⁱ)) over the root 5ᵗ.
    fn lagrange(&self, k: u32, take: &mut Take<'_>) -> Result<(), SrsError> {
        let n = Fr::from(1u64 << k);
        let degenerate = || SrsError::DegenerateTrapdoor;
        let omega = Fr::get_root_of_unity(1 << k).ok_or_else(degenerate)?;
        let scale = (self.tau.pow([1u64 << k]) - Fr::one()) / n;
        let scale = Zeroizing::new(scale);
        self.make(k, take, |from, count| {
            let roots = geometric(omega, from, count);
            let mut values: Vec<Fr> = roots.iter().map(|root| *self.tau - root).collect();
            batch_inversion(&mut values);
            for (value, root) in values.iter_mut().zip(roots) {
                *value *= root * *scale;
            }
            values
        })
    }

    fn make(
        &self,
        k: u32,
        take: &mut Take<'_>,
        scalars: impl Fn(u64, u64) -> Vec<Fr>,
    ) -> Result<(), SrsError> {
        let mut from = 0;
        while from < 1u64 << k {
            let n = CHUNK.min((1 << k) - from);
            let scalars = Zeroizing::new(scalars(from, n));
            take(&encode_g1_all(&self.table.batch_mul(&scalars)), n)?;
            from += n;
        }
        Ok(())
    }
}

impl fmt::Debug for Trapdoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trapdoor(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trapdoor_never_prints_its_values() {
        let trapdoor = Trapdoor::insecure_from_seed_for_tests(1);
        assert_eq!(format!("{trapdoor:?}"), "Trapdoor(secret)");
    }

    #[test]
    fn two_draws_differ_and_a_seed_repeats() {
        assert_ne!(
            Trapdoor::for_development().tau,
            Trapdoor::for_development().tau
        );
        assert_eq!(
            Trapdoor::insecure_from_seed_for_tests(7).delta2,
            Trapdoor::insecure_from_seed_for_tests(7).delta2
        );
    }

    #[test]
    fn zeroizing_overwrites_every_value() {
        let mut trapdoor = Trapdoor::for_development();
        trapdoor.zeroize();
        for value in [
            trapdoor.tau,
            trapdoor.alpha,
            trapdoor.beta,
            trapdoor.gamma,
            trapdoor.delta1,
            trapdoor.delta2,
        ] {
            assert!(value.is_zero());
        }
    }
}
