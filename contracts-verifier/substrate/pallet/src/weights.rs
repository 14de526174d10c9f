//! # Weights of the calls
//! Written by `host/weights.py` from the benchmarks of [`crate::benchmarking`], run in WASM on wasmtime by one thread; the margin over what was
//! measured is 1.5; the loop of `host/reference.py` took 2226 us. Picoseconds, and bytes of proof. `b` counts bytes, `w` words, `p` points, `s` steps, `n` attestations.

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
        Weight::from_parts(10_561_080_939, 17_700)
            .saturating_add(Weight::from_parts(61_967, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads(5))
            .saturating_add(T::DbWeight::get().writes(5))
    }

    fn register_ultragroth(b: u32) -> Weight {
        Weight::from_parts(9_914_695_037, 17_700)
            .saturating_add(Weight::from_parts(57_715, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads(5))
            .saturating_add(T::DbWeight::get().writes(5))
    }

    fn register_halo2_kzg(b: u32) -> Weight {
        Weight::from_parts(3_435_846_379, 17_700)
            .saturating_add(Weight::from_parts(58_474, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads(5))
            .saturating_add(T::DbWeight::get().writes(5))
    }

    fn retire_key() -> Weight {
        Weight::from_parts(1_260_318_000, 14_203)
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(5))
    }

    fn revoke_key() -> Weight {
        Weight::from_parts(1_234_581_000, 14_203)
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(6))
    }

    fn refuse(w: u32) -> Weight {
        Weight::from_parts(259_852_867, 38_734)
            .saturating_add(Weight::from_parts(1_334_246, 0).saturating_mul(w.into()))
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(0))
    }

    fn expire(n: u32) -> Weight {
        Weight::from_parts(3_505_794_809, 11_671)
            .saturating_add(Weight::from_parts(86_730_538, 3_569).saturating_mul(n.into()))
            .saturating_add(T::DbWeight::get().reads(1))
            .saturating_add(T::DbWeight::get().writes(1))
            .saturating_add(T::DbWeight::get().reads(1).saturating_mul(n.into()))
            .saturating_add(T::DbWeight::get().writes(1).saturating_mul(n.into()))
    }

    fn verify_groth16(w: u32, _b: u32) -> Weight {
        Weight::from_parts(14_322_890_241, 38_734)
            .saturating_add(Weight::from_parts(117_274_608, 0).saturating_mul(w.into()))
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(2))
    }

    fn verify_ultragroth(w: u32, b: u32) -> Weight {
        Weight::from_parts(17_979_913_104, 38_734)
            .saturating_add(Weight::from_parts(3_798_191, 0).saturating_mul(w.into()))
            .saturating_add(Weight::from_parts(44_167, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(2))
    }

    fn verify_halo2_kzg(p: u32, s: u32, w: u32, b: u32) -> Weight {
        Weight::from_parts(10_114_046_894, 38_734)
            .saturating_add(Weight::from_parts(133_656_672, 0).saturating_mul(p.into()))
            .saturating_add(Weight::from_parts(481_111, 0).saturating_mul(s.into()))
            .saturating_add(Weight::from_parts(7_544_710, 0).saturating_mul(w.into()))
            .saturating_add(Weight::from_parts(471_714, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(2))
    }
}

impl WeightInfo for () {
    fn register_groth16(b: u32) -> Weight {
        Weight::from_parts(10_561_080_939, 17_700)
            .saturating_add(Weight::from_parts(61_967, 0).saturating_mul(b.into()))
            .saturating_add(RocksDbWeight::get().reads(5))
            .saturating_add(RocksDbWeight::get().writes(5))
    }

    fn register_ultragroth(b: u32) -> Weight {
        Weight::from_parts(9_914_695_037, 17_700)
            .saturating_add(Weight::from_parts(57_715, 0).saturating_mul(b.into()))
            .saturating_add(RocksDbWeight::get().reads(5))
            .saturating_add(RocksDbWeight::get().writes(5))
    }

    fn register_halo2_kzg(b: u32) -> Weight {
        Weight::from_parts(3_435_846_379, 17_700)
            .saturating_add(Weight::from_parts(58_474, 0).saturating_mul(b.into()))
            .saturating_add(RocksDbWeight::get().reads(5))
            .saturating_add(RocksDbWeight::get().writes(5))
    }

    fn retire_key() -> Weight {
        Weight::from_parts(1_260_318_000, 14_203)
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(5))
    }

    fn revoke_key() -> Weight {
        Weight::from_parts(1_234_581_000, 14_203)
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(6))
    }

    fn refuse(w: u32) -> Weight {
        Weight::from_parts(259_852_867, 38_734)
            .saturating_add(Weight::from_parts(1_334_246, 0).saturating_mul(w.into()))
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(0))
    }

    fn expire(n: u32) -> Weight {
        Weight::from_parts(3_505_794_809, 11_671)
            .saturating_add(Weight::from_parts(86_730_538, 3_569).saturating_mul(n.into()))
            .saturating_add(RocksDbWeight::get().reads(1))
            .saturating_add(RocksDbWeight::get().writes(1))
            .saturating_add(RocksDbWeight::get().reads(1).saturating_mul(n.into()))
            .saturating_add(RocksDbWeight::get().writes(1).saturating_mul(n.into()))
    }

    fn verify_groth16(w: u32, _b: u32) -> Weight {
        Weight::from_parts(14_322_890_241, 38_734)
            .saturating_add(Weight::from_parts(117_274_608, 0).saturating_mul(w.into()))
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(2))
    }

    fn verify_ultragroth(w: u32, b: u32) -> Weight {
        Weight::from_parts(17_979_913_104, 38_734)
            .saturating_add(Weight::from_parts(3_798_191, 0).saturating_mul(w.into()))
            .saturating_add(Weight::from_parts(44_167, 0).saturating_mul(b.into()))
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(2))
    }

    fn verify_halo2_kzg(p: u32, s: u32, w: u32, b: u32) -> Weight {
        Weight::from_parts(10_114_046_894, 38_734)
            .saturating_add(Weight::from_parts(133_656_672, 0).saturating_mul(p.into()))
            .saturating_add(Weight::from_parts(481_111, 0).saturating_mul(s.into()))
            .saturating_add(Weight::from_parts(7_544_710, 0).saturating_mul(w.into()))
            .saturating_add(Weight::from_parts(471_714, 0).saturating_mul(b.into()))
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(2))
    }
}
