//! # Weights of the calls
//! placeholder until measured

use frame_support::weights::Weight;

/// Times of the calls.
pub trait WeightInfo {
    /// `register_key` of `b` bytes.
    fn register_key(b: u32) -> Weight;
    /// `retire_key`.
    fn retire_key() -> Weight;
    /// `verify` of a statement of `w` words that is refused before the key is read.
    fn refuse(w: u32) -> Weight;
    /// Removal of `n` expired attestations.
    fn expire(n: u32) -> Weight;
    /// `verify` of `groth16`: `w` words, a key of `b` bytes.
    fn verify_groth16(w: u32, b: u32) -> Weight;
    /// `verify` of `ultragroth`: `w` words, a key of `b` bytes.
    fn verify_ultragroth(w: u32, b: u32) -> Weight;
    /// `verify` of `halo2-kzg`: `p` points, `s` steps, `w` words, a key of `b` bytes.
    fn verify_halo2_kzg(p: u32, s: u32, w: u32, b: u32) -> Weight;
}

/// Weights of a chain.
#[derive(Debug)]
pub struct Measured<T>(core::marker::PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for Measured<T> {
    fn register_key(b: u32) -> Weight {
        Weight::from_parts(20_000_000_000, 0)
            .saturating_add(Weight::from_parts(1_000_000, 0).saturating_mul(b.into()))
    }
    fn retire_key() -> Weight {
        Weight::from_parts(50_000_000, 0)
    }
    fn refuse(w: u32) -> Weight {
        Weight::from_parts(50_000_000, 0)
            .saturating_add(Weight::from_parts(2_000_000, 0).saturating_mul(w.into()))
    }
    fn expire(n: u32) -> Weight {
        Weight::from_parts(5_000_000, 0).saturating_mul(n.into())
    }
    fn verify_groth16(w: u32, b: u32) -> Weight {
        Weight::from_parts(10_000_000_000, 0)
            .saturating_add(Weight::from_parts(300_000_000, 0).saturating_mul(w.into()))
            .saturating_add(Weight::from_parts(50_000, 0).saturating_mul(b.into()))
    }
    fn verify_ultragroth(w: u32, b: u32) -> Weight {
        Self::verify_groth16(4, b)
            .saturating_add(Weight::from_parts(10_000, 0).saturating_mul(w.into()))
    }
    fn verify_halo2_kzg(p: u32, s: u32, w: u32, b: u32) -> Weight {
        Self::verify_groth16(p, b)
            .saturating_add(Weight::from_parts(300_000, 0).saturating_mul((s + w).into()))
    }
}
