//! # Development set-up: one party knows the trapdoor
//!
//! The trapdoor of Groth16 (eprint 2016/260) and of UltraGroth, drawn by the machine that makes the keys. **Whoever sees
//! these six values can prove anything under the key.** They are overwritten when dropped and never printed, but a
//! machine's memory is no ceremony: keys made from them are marked as development keys and no production key takes this path.

use std::fmt;

use ark_bn254::Fr;
use ark_ff::Zero;
use ark_std::UniformRand;
use rand::rngs::{OsRng, StdRng};
use rand::{CryptoRng, RngCore, SeedableRng};
use zeroize::{Zeroize, ZeroizeOnDrop};

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
