//! # Weights of the calls
//! Written by `host/weights.py` from the benchmarks of [`crate::benchmarking`], run in WASM on wasmtime by one thread; the margin over what was
//! measured is 1.5. Picoseconds, and bytes of proof. `b` counts bytes, `w` words, `p` points, `s` steps, `n` attestations.

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
        Weight::from_parts(12_749_348_646, 14_198)
            .saturating_add(Weight::from_parts(158_812, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(5))
    }

    fn register_ultragroth(b: u32) -> Weight {
        Weight::from_parts(16_484_822_035, 14_198)
            .saturating_add(Weight::from_parts(127_793, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(5))
    }

    fn register_halo2_kzg(b: u32) -> Weight {
        Weight::from_parts(6_063_854_104, 14_198)
            .saturating_add(Weight::from_parts(98_104, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(5))
    }

    fn retire_key() -> Weight {
        Weight::from_parts(1_998_413_250, 14_198)
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(5))
    }

    fn revoke_key() -> Weight {
        Weight::from_parts(1_998_413_250, 14_198)
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(5))
    }

    fn refuse(w: u32) -> Weight {
        Weight::from_parts(427_180_422, 32_585)
            .saturating_add(Weight::from_parts(1_224_647, 0).saturating_mul(w.into()))
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(0))
    }

    fn expire(n: u32) -> Weight {
        Weight::from_parts(85_676_349, 5_527)
            .saturating_add(Weight::from_parts(44_338_361, 0).saturating_mul(n.into()))
            .saturating_add(T::DbWeight::get().reads(1))
            .saturating_add(T::DbWeight::get().writes(1))
            .saturating_add(T::DbWeight::get().writes(1).saturating_mul(n.into()))
    }

    fn verify_groth16(w: u32, b: u32) -> Weight {
        Weight::from_parts(20_121_918_272, 32_585)
            .saturating_add(Weight::from_parts(14_067_512, 0).saturating_mul(w.into()))
            .saturating_add(Weight::from_parts(1_792_431, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(2))
    }

    fn verify_ultragroth(w: u32, b: u32) -> Weight {
        Weight::from_parts(14_948_649_715, 32_585)
            .saturating_add(Weight::from_parts(4_934_841, 0).saturating_mul(w.into()))
            .saturating_add(Weight::from_parts(15_586, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(2))
    }

    fn verify_halo2_kzg(p: u32, s: u32, w: u32, b: u32) -> Weight {
        Weight::from_parts(9_043_641_618, 32_585)
            .saturating_add(Weight::from_parts(78_775_999, 0).saturating_mul(p.into()))
            .saturating_add(Weight::from_parts(142_158, 0).saturating_mul(s.into()))
            .saturating_add(Weight::from_parts(11_341_181, 0).saturating_mul(w.into()))
            .saturating_add(Weight::from_parts(528_285, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(2))
    }
}

impl WeightInfo for () {
    fn register_groth16(b: u32) -> Weight {
        Weight::from_parts(12_749_348_646, 14_198)
            .saturating_add(Weight::from_parts(158_812, 0).saturating_mul(b.into()))
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(5))
    }

    fn register_ultragroth(b: u32) -> Weight {
        Weight::from_parts(16_484_822_035, 14_198)
            .saturating_add(Weight::from_parts(127_793, 0).saturating_mul(b.into()))
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(5))
    }

    fn register_halo2_kzg(b: u32) -> Weight {
        Weight::from_parts(6_063_854_104, 14_198)
            .saturating_add(Weight::from_parts(98_104, 0).saturating_mul(b.into()))
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(5))
    }

    fn retire_key() -> Weight {
        Weight::from_parts(1_998_413_250, 14_198)
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(5))
    }

    fn revoke_key() -> Weight {
        Weight::from_parts(1_998_413_250, 14_198)
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(5))
    }

    fn refuse(w: u32) -> Weight {
        Weight::from_parts(427_180_422, 32_585)
            .saturating_add(Weight::from_parts(1_224_647, 0).saturating_mul(w.into()))
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(0))
    }

    fn expire(n: u32) -> Weight {
        Weight::from_parts(85_676_349, 5_527)
            .saturating_add(Weight::from_parts(44_338_361, 0).saturating_mul(n.into()))
            .saturating_add(RocksDbWeight::get().reads(1))
            .saturating_add(RocksDbWeight::get().writes(1))
            .saturating_add(RocksDbWeight::get().writes(1).saturating_mul(n.into()))
    }

    fn verify_groth16(w: u32, b: u32) -> Weight {
        Weight::from_parts(20_121_918_272, 32_585)
            .saturating_add(Weight::from_parts(14_067_512, 0).saturating_mul(w.into()))
            .saturating_add(Weight::from_parts(1_792_431, 0).saturating_mul(b.into()))
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(2))
    }

    fn verify_ultragroth(w: u32, b: u32) -> Weight {
        Weight::from_parts(14_948_649_715, 32_585)
            .saturating_add(Weight::from_parts(4_934_841, 0).saturating_mul(w.into()))
            .saturating_add(Weight::from_parts(15_586, 0).saturating_mul(b.into()))
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(2))
    }

    fn verify_halo2_kzg(p: u32, s: u32, w: u32, b: u32) -> Weight {
        Weight::from_parts(9_043_641_618, 32_585)
            .saturating_add(Weight::from_parts(78_775_999, 0).saturating_mul(p.into()))
            .saturating_add(Weight::from_parts(142_158, 0).saturating_mul(s.into()))
            .saturating_add(Weight::from_parts(11_341_181, 0).saturating_mul(w.into()))
            .saturating_add(Weight::from_parts(528_285, 0).saturating_mul(b.into()))
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(2))
    }
}
