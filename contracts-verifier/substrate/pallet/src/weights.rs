//! # Weights of the calls
//! Written by `host/weights.py` from the benchmarks of [`crate::benchmarking`], run in WASM on wasmtime by one thread; the margin over what was
//! measured is 1.5; the loop of `host/reference.py` took 1751 us. Picoseconds, and bytes of proof. `b` counts bytes, `w` words, `p` points, `s` steps, `n` attestations.

use core::marker::PhantomData;

use frame_support::{
    traits::Get,
    weights::{Weight, constants::RocksDbWeight},
};

/// Times of the calls.
pub trait WeightInfo {
    /// `register_key` of a key of `groth16`.
    fn register_groth16(b: u32) -> Weight;
    /// `register_key` of a key of `ultragroth`.
    fn register_ultragroth(b: u32) -> Weight;
    /// `register_key` of a key of `halo2-kzg`.
    fn register_halo2_kzg(b: u32) -> Weight;
    /// `retire_key`.
    fn retire_key() -> Weight;
    /// `revoke_key`.
    fn revoke_key() -> Weight;
    /// `verify` that is refused before the key is read.
    fn refuse(w: u32) -> Weight;
    /// Removal of expired attestations.
    fn expire(n: u32) -> Weight;
    /// `verify` of `groth16`.
    fn verify_groth16(w: u32, b: u32) -> Weight;
    /// `verify` of `ultragroth`.
    fn verify_ultragroth(w: u32, b: u32) -> Weight;
    /// `verify` of `halo2-kzg`.
    fn verify_halo2_kzg(p: u32, s: u32, w: u32, b: u32) -> Weight;
    /// `register_key` of `b` bytes, whatever the system.
    fn register_key(b: u32) -> Weight {
        Self::register_groth16(b)
            .max(Self::register_ultragroth(b))
            .max(Self::register_halo2_kzg(b))
    }
}

/// Weights with the database of the chain.
#[derive(Debug)]
pub struct Measured<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for Measured<T> {
    fn register_groth16(b: u32) -> Weight {
        Weight::from_parts(7_917_172_065, 17_700)
            .saturating_add(Weight::from_parts(58_503, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads(5))
            .saturating_add(T::DbWeight::get().writes(5))
    }

    fn register_ultragroth(b: u32) -> Weight {
        Weight::from_parts(8_809_858_929, 17_700)
            .saturating_add(Weight::from_parts(54_490, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads(5))
            .saturating_add(T::DbWeight::get().writes(5))
    }

    fn register_halo2_kzg(b: u32) -> Weight {
        Weight::from_parts(3_387_881_345, 17_700)
            .saturating_add(Weight::from_parts(48_748, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads(5))
            .saturating_add(T::DbWeight::get().writes(5))
    }

    fn retire_key() -> Weight {
        Weight::from_parts(1_190_776_500, 14_203)
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(5))
    }

    fn revoke_key() -> Weight {
        Weight::from_parts(1_200_057_000, 14_203)
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(6))
    }

    fn refuse(w: u32) -> Weight {
        Weight::from_parts(256_651_024, 38_734)
            .saturating_add(Weight::from_parts(1_259_674, 0).saturating_mul(w.into()))
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(0))
    }

    fn expire(n: u32) -> Weight {
        Weight::from_parts(301_299_880, 11_671)
            .saturating_add(Weight::from_parts(63_817_122, 3_569).saturating_mul(n.into()))
            .saturating_add(T::DbWeight::get().reads(1))
            .saturating_add(T::DbWeight::get().writes(1))
            .saturating_add(T::DbWeight::get().reads(1).saturating_mul(n.into()))
            .saturating_add(T::DbWeight::get().writes(1).saturating_mul(n.into()))
    }

    fn verify_groth16(w: u32, _b: u32) -> Weight {
        Weight::from_parts(13_522_369_816, 38_734)
            .saturating_add(Weight::from_parts(110_720_014, 0).saturating_mul(w.into()))
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(2))
    }

    fn verify_ultragroth(w: u32, b: u32) -> Weight {
        Weight::from_parts(16_974_998_073, 38_734)
            .saturating_add(Weight::from_parts(3_585_907, 0).saturating_mul(w.into()))
            .saturating_add(Weight::from_parts(41_698, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(2))
    }

    fn verify_halo2_kzg(p: u32, s: u32, w: u32, b: u32) -> Weight {
        Weight::from_parts(9_548_762_864, 38_734)
            .saturating_add(Weight::from_parts(126_186_469, 0).saturating_mul(p.into()))
            .saturating_add(Weight::from_parts(454_222, 0).saturating_mul(s.into()))
            .saturating_add(Weight::from_parts(7_123_029, 0).saturating_mul(w.into()))
            .saturating_add(Weight::from_parts(445_349, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(2))
    }
}

impl WeightInfo for () {
    fn register_groth16(b: u32) -> Weight {
        Weight::from_parts(7_917_172_065, 17_700)
            .saturating_add(Weight::from_parts(58_503, 0).saturating_mul(b.into()))
            .saturating_add(RocksDbWeight::get().reads(5))
            .saturating_add(RocksDbWeight::get().writes(5))
    }

    fn register_ultragroth(b: u32) -> Weight {
        Weight::from_parts(8_809_858_929, 17_700)
            .saturating_add(Weight::from_parts(54_490, 0).saturating_mul(b.into()))
            .saturating_add(RocksDbWeight::get().reads(5))
            .saturating_add(RocksDbWeight::get().writes(5))
    }

    fn register_halo2_kzg(b: u32) -> Weight {
        Weight::from_parts(3_387_881_345, 17_700)
            .saturating_add(Weight::from_parts(48_748, 0).saturating_mul(b.into()))
            .saturating_add(RocksDbWeight::get().reads(5))
            .saturating_add(RocksDbWeight::get().writes(5))
    }

    fn retire_key() -> Weight {
        Weight::from_parts(1_190_776_500, 14_203)
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(5))
    }

    fn revoke_key() -> Weight {
        Weight::from_parts(1_200_057_000, 14_203)
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(6))
    }

    fn refuse(w: u32) -> Weight {
        Weight::from_parts(256_651_024, 38_734)
            .saturating_add(Weight::from_parts(1_259_674, 0).saturating_mul(w.into()))
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(0))
    }

    fn expire(n: u32) -> Weight {
        Weight::from_parts(301_299_880, 11_671)
            .saturating_add(Weight::from_parts(63_817_122, 3_569).saturating_mul(n.into()))
            .saturating_add(RocksDbWeight::get().reads(1))
            .saturating_add(RocksDbWeight::get().writes(1))
            .saturating_add(RocksDbWeight::get().reads(1).saturating_mul(n.into()))
            .saturating_add(RocksDbWeight::get().writes(1).saturating_mul(n.into()))
    }

    fn verify_groth16(w: u32, _b: u32) -> Weight {
        Weight::from_parts(13_522_369_816, 38_734)
            .saturating_add(Weight::from_parts(110_720_014, 0).saturating_mul(w.into()))
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(2))
    }

    fn verify_ultragroth(w: u32, b: u32) -> Weight {
        Weight::from_parts(16_974_998_073, 38_734)
            .saturating_add(Weight::from_parts(3_585_907, 0).saturating_mul(w.into()))
            .saturating_add(Weight::from_parts(41_698, 0).saturating_mul(b.into()))
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(2))
    }

    fn verify_halo2_kzg(p: u32, s: u32, w: u32, b: u32) -> Weight {
        Weight::from_parts(9_548_762_864, 38_734)
            .saturating_add(Weight::from_parts(126_186_469, 0).saturating_mul(p.into()))
            .saturating_add(Weight::from_parts(454_222, 0).saturating_mul(s.into()))
            .saturating_add(Weight::from_parts(7_123_029, 0).saturating_mul(w.into()))
            .saturating_add(Weight::from_parts(445_349, 0).saturating_mul(b.into()))
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(2))
    }
}
