//! # What verifying a proof takes, in numbers that a weight is linear in
//! Known when a key is registered, and bounded from the sizes of a call before the key is read.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::weights::Weight;
use scale_info::TypeInfo;
use sp_runtime::traits::Get;
use zkinfer_verifier::{VerifyingKey, halo2_kzg::Protocol, statement::WORD_DATA_BYTES};

use crate::{pallet::Config, types::System, weights::WeightInfo};

/// Multiplications in the field that raising to a power takes.
const POWER_STEPS: usize = 64;
/// Multiplications in the field that take as long as squeezing a challenge.
const HASH_STEPS: usize = 32;
/// Comparisons of small integers that take as long as a multiplication in the field.
const COMPARISONS: usize = 8;

/// The size of one verification.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct Cost {
    /// The proof system.
    pub system: System,
    /// Bytes of the key, which are read and decoded.
    pub key_bytes: u32,
    /// Words of the statement: the context, the packed public tensors, the digests of hashed ones.
    pub words: u32,
    /// Points that are multiplied by scalars; `halo2-kzg` only.
    pub points: u32,
    /// Operations in the scalar field, about; `halo2-kzg` only.
    pub steps: u32,
}

impl Cost {
    /// The cost of proofs of one key.
    pub(crate) fn of_key(key: &VerifyingKey, key_bytes: usize) -> Self {
        let (points, steps) = key
            .halo2_kzg()
            .map_or((0, 0), |protocol| (points(protocol), steps(protocol)));
        Self {
            system: key.system.into(),
            key_bytes: saturated(key_bytes),
            words: saturated(key.layout.n_words()),
            points: saturated(points),
            steps: saturated(steps),
        }
    }

    /// A bound on the cost of a call, from its sizes alone. The length of a proof tells its system; whatever else it is long for is
    /// refused before the key is read.
    pub(crate) fn of_call<T: Config>(statement_bytes: usize, proof_bytes: usize) -> Self {
        let system = match proof_bytes {
            256 => System::Groth16,
            320 => System::UltraGroth,
            _ => System::Halo2Kzg,
        };
        let (points, steps) = match system {
            // A point that is multiplied has its coordinates or an evaluation, at least 32 bytes, in the proof.
            System::Halo2Kzg => (saturated(proof_bytes / 32), T::MaxSteps::get()),
            _ => (0, 0),
        };
        Self {
            system,
            key_bytes: T::MaxKeyBytes::get(),
            // A digest is a word of 32 bytes: with some among them there are fewer words.
            words: statement_words(statement_bytes),
            points,
            steps,
        }
    }

    /// The weight of `verify`.
    pub(crate) fn weight<T: Config>(&self) -> Weight {
        match self.system {
            System::Groth16 => T::WeightInfo::verify_groth16(self.words, self.key_bytes),
            System::UltraGroth => T::WeightInfo::verify_ultragroth(self.words, self.key_bytes),
            System::Halo2Kzg => {
                T::WeightInfo::verify_halo2_kzg(self.points, self.steps, self.words, self.key_bytes)
            }
        }
    }
}

/// Words of a statement with this many bytes of public tensors.
pub(crate) fn statement_words(public_bytes: usize) -> u32 {
    saturated(public_bytes.div_ceil(WORD_DATA_BYTES).saturating_add(1))
}

fn saturated(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Points of the one multiplication that opens everything: what the proof commits to, the key's columns that are opened, and G, W, W'.
fn points(p: &Protocol) -> usize {
    let mut fixed: alloc::vec::Vec<u16> =
        p.fixed_queries.iter().map(|query| query.column).collect();
    fixed.sort_unstable();
    fixed.dedup();
    p.n_commitments() + fixed.len() + p.sigma.len() + 3
}

/// Multiplications in the scalar field, and what else grows with the description, counted generously.
fn steps(p: &Protocol) -> usize {
    let sets = p.openings();
    let rotations: usize = sets.iter().map(|set| set.rotations.len()).sum();
    // In each set: its points and their interpolation; which of all rotations are not in it, their points and differences.
    let openings: usize = sets
        .iter()
        .map(|set| {
            let n = set.rotations.len();
            let others = rotations.saturating_mul(n) / COMPARISONS + 2 * rotations;
            n.saturating_mul(2 * POWER_STEPS + 4 * n + set.polys.len())
                .saturating_add(others)
        })
        .fold(0, usize::saturating_add);
    let queries = p.advice_queries.len() + p.fixed_queries.len();
    let lookups = p.permuted.len().saturating_mul(p.permuted.len() + queries) / COMPARISONS;
    p.gates.len()
        + openings
        + 2 * lookups
        + 8 * p.permuted.len()
        + queries
        + 4 * usize::from(p.blinding_factors)
        + HASH_STEPS * p.challenge_phases.len()
}
