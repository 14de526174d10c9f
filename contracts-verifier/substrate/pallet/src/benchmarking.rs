//! # Benchmarks of the calls
//! Every benchmark does the most work that a call of its sizes can do: proofs that hold (or, of `halo2-kzg`, fail in the last pairing),
//! keys that pass every rule. `b` counts bytes, `w` words, `p` points and `s` operations, as [`WeightInfo`](crate::WeightInfo) does.

use alloc::{vec, vec::Vec};

use frame_benchmarking::v2::*;
use frame_support::{
    BoundedVec,
    traits::{Consideration, EnsureOrigin, Footprint, Get},
};
use frame_system::{RawOrigin, pallet_prelude::BlockNumberFor};
use sp_runtime::traits::Saturating;
use zkinfer_verifier::{ProofSystem, Statement, VerifyingKey};

use crate::{
    pallet::{Attestations, Call, Config, Expiring, Keys, Pallet},
    simulate::{Simulator, halo2_key, halo2_noise, layout, statement},
    types::Attestation,
};

/// Room for a key of any system that has one private tensor.
const KEY_BYTES: u32 = 1_024;

/// Words of the longest statement.
fn words<T: Config>() -> u32 {
    T::MaxPublicBytes::get() / 31 + 1
}

/// When an attestation of this block expires.
fn expiry<T: Config>() -> BlockNumberFor<T> {
    frame_system::Pallet::<T>::block_number().saturating_add(T::AttestationLifetime::get())
}

/// As many statements as fit into a block, and `fewer` less.
fn others<T: Config>(fewer: u32) -> BoundedVec<[u8; 32], T::MaxAttestationsPerBlock> {
    let n = T::MaxAttestationsPerBlock::get().saturating_sub(fewer);
    BoundedVec::truncate_from(
        (0..n)
            .map(|i| zkinfer_verifier::keccak256(&i.to_le_bytes()))
            .collect(),
    )
}

/// The arguments of `verify`: key, context, public tensors, proof.
type Arguments<T> = (
    [u8; 32],
    [u8; 32],
    BoundedVec<u8, <T as Config>::MaxPublicBytes>,
    BoundedVec<u8, <T as Config>::MaxProofBytes>,
);

/// Stores a key; the arguments of `verify`.
fn ready<T: Config>(
    key: &VerifyingKey,
    statement: Statement,
    proof: Vec<u8>,
) -> Result<Arguments<T>, BenchmarkError> {
    Pallet::<T>::insert_key(key.encode(), None)?;
    // All attestations of this block but one are there.
    Expiring::<T>::insert(expiry::<T>(), others::<T>(1));
    let too_long = |_| BenchmarkError::Stop("longer than the runtime allows");
    Ok((
        key.digest(),
        statement.context.to_bytes(),
        statement.to_bytes().try_into().map_err(too_long)?,
        proof.try_into().map_err(too_long)?,
    ))
}

/// As [`ready`], with a proof that holds.
fn ready_to_hold<T: Config>(
    system: ProofSystem,
    words: u32,
    filler: u32,
) -> Result<Arguments<T>, BenchmarkError> {
    let simulator = Simulator::new(system, layout(words, filler), 1);
    let statement = simulator.statement(1);
    let proof = simulator.prove(&statement, 1);
    ready::<T>(&simulator.key, statement, proof)
}

/// The account of an origin that may register keys.
fn owner<T: Config>(origin: &T::RuntimeOrigin) -> Result<T::AccountId, BenchmarkError> {
    T::KeyOrigin::ensure_origin(origin.clone()).map_err(|_| BenchmarkError::Weightless)
}

/// The origin and the bytes of a registration, paid for.
fn registration<T: Config>(
    key: &VerifyingKey,
) -> Result<(T::RuntimeOrigin, BoundedVec<u8, T::MaxKeyBytes>), BenchmarkError> {
    let origin = T::KeyOrigin::try_successful_origin().map_err(|()| BenchmarkError::Weightless)?;
    let owner = owner::<T>(&origin)?;
    let bytes = key.encode();
    T::Deposit::ensure_successful(&owner, Footprint::from_parts(1, bytes.len()));
    let bytes = bytes
        .try_into()
        .map_err(|_| BenchmarkError::Stop("longer than the runtime allows"))?;
    Ok((origin, bytes))
}

#[benchmarks]
mod benchmarks {
    use super::*;

    /// Most points: one for each word of a statement.
    #[benchmark]
    fn register_groth16(
        b: Linear<KEY_BYTES, { T::MaxKeyBytes::get() / 2 }>,
    ) -> Result<(), BenchmarkError> {
        let words = (b - KEY_BYTES) / 64 + 1;
        let key = Simulator::new(ProofSystem::Groth16, layout(words, 0), 1).key;
        let (origin, bytes) = registration::<T>(&key)?;
        #[extrinsic_call]
        register_key(origin as T::RuntimeOrigin, bytes);
        assert!(Keys::<T>::contains_key(key.digest()));
        Ok(())
    }

    /// Most points of G2; the rest of the bytes are tensors that nobody sees.
    #[benchmark]
    fn register_ultragroth(
        b: Linear<KEY_BYTES, { T::MaxKeyBytes::get() / 2 }>,
    ) -> Result<(), BenchmarkError> {
        let key = Simulator::new(ProofSystem::UltraGroth, layout(1, b - KEY_BYTES), 1).key;
        let (origin, bytes) = registration::<T>(&key)?;
        #[extrinsic_call]
        register_key(origin as T::RuntimeOrigin, bytes);
        assert!(Keys::<T>::contains_key(key.digest()));
        Ok(())
    }

    /// Half of the bytes are points, half operations.
    #[benchmark]
    fn register_halo2_kzg(
        b: Linear<KEY_BYTES, { T::MaxKeyBytes::get() / 2 }>,
    ) -> Result<(), BenchmarkError> {
        let half = (b - KEY_BYTES) / 2;
        let key = halo2_key(half / 70 + 8, half / 2, layout(1, 0));
        let (origin, bytes) = registration::<T>(&key)?;
        #[extrinsic_call]
        register_key(origin as T::RuntimeOrigin, bytes);
        assert!(Keys::<T>::contains_key(key.digest()));
        Ok(())
    }

    #[benchmark]
    fn retire_key() -> Result<(), BenchmarkError> {
        let key = Simulator::new(ProofSystem::UltraGroth, layout(1, 0), 1).key;
        let (origin, bytes) = registration::<T>(&key)?;
        let owner = owner::<T>(&origin)?;
        Pallet::<T>::register_key(origin, bytes)?;
        // The second call of two: the notice is over.
        let now = frame_system::Pallet::<T>::block_number();
        Keys::<T>::mutate(key.digest(), |record| {
            if let Some(record) = record {
                record.retires = Some(now);
            }
        });
        #[extrinsic_call]
        _(RawOrigin::Signed(owner), key.digest());
        assert_eq!(Keys::<T>::count(), 0);
        Ok(())
    }

    #[benchmark]
    fn revoke_key() -> Result<(), BenchmarkError> {
        let key = Simulator::new(ProofSystem::UltraGroth, layout(1, 0), 1).key;
        let (origin, bytes) = registration::<T>(&key)?;
        Pallet::<T>::register_key(origin, bytes)?;
        let origin =
            T::RevokeOrigin::try_successful_origin().map_err(|()| BenchmarkError::Weightless)?;
        #[extrinsic_call]
        _(origin as T::RuntimeOrigin, key.digest());
        assert_eq!(Keys::<T>::count(), 0);
        Ok(())
    }

    /// The last refusal before the key is read: no more attestations in this block.
    #[benchmark]
    fn refuse(w: Linear<1, { words::<T>() }>) -> Result<(), BenchmarkError> {
        let simulator = Simulator::new(ProofSystem::UltraGroth, layout(w, 0), 1);
        let (key, context, tensors, proof) =
            ready::<T>(&simulator.key, simulator.statement(1), vec![0; 320])?;
        Expiring::<T>::insert(expiry::<T>(), others::<T>(0));
        let who = RawOrigin::Signed(whitelisted_caller());
        let outcome;
        #[block]
        {
            outcome = Pallet::<T>::verify(who.into(), key, context, tensors, proof);
        }
        assert!(outcome.is_err());
        Ok(())
    }

    #[benchmark]
    fn expire(n: Linear<0, { T::MaxAttestationsPerBlock::get() }>) {
        let now = BlockNumberFor::<T>::from(7_u32);
        let statements: Vec<_> = (0..n)
            .map(|i| zkinfer_verifier::keccak256(&i.to_le_bytes()))
            .collect();
        for statement in &statements {
            let attestation = Attestation {
                key: [0; 32],
                who: whitelisted_caller(),
                block: BlockNumberFor::<T>::from(1_u32),
                expires: now,
            };
            Attestations::<T>::insert(statement, attestation);
        }
        Expiring::<T>::insert(now, BoundedVec::truncate_from(statements));
        #[block]
        {
            <Pallet<T> as frame_support::traits::Hooks<_>>::on_initialize(now);
        }
        assert_eq!(Attestations::<T>::iter().count(), 0);
    }

    #[benchmark]
    fn verify_groth16(
        w: Linear<1, { words::<T>() }>,
        b: Linear<0, { T::MaxKeyBytes::get() / 4 }>,
    ) -> Result<(), BenchmarkError> {
        let (key, context, tensors, proof) = ready_to_hold::<T>(ProofSystem::Groth16, w, b)?;
        let who = RawOrigin::Signed(whitelisted_caller());
        #[extrinsic_call]
        verify(who, key, context, tensors, proof);
        assert_eq!(Attestations::<T>::iter().count(), 1);
        Ok(())
    }

    #[benchmark]
    fn verify_ultragroth(
        w: Linear<1, { words::<T>() }>,
        b: Linear<0, { T::MaxKeyBytes::get() / 4 }>,
    ) -> Result<(), BenchmarkError> {
        let (key, context, tensors, proof) = ready_to_hold::<T>(ProofSystem::UltraGroth, w, b)?;
        let who = RawOrigin::Signed(whitelisted_caller());
        #[extrinsic_call]
        verify(who, key, context, tensors, proof);
        assert_eq!(Attestations::<T>::iter().count(), 1);
        Ok(())
    }

    /// The proof is noise, which fails in the last pairing; what a proof that holds writes comes on top.
    #[benchmark]
    fn verify_halo2_kzg(
        p: Linear<8, { T::MaxKeyBytes::get() / 128 }>,
        s: Linear<0, { T::MaxSteps::get().min(T::MaxKeyBytes::get() / 10) }>,
        w: Linear<1, { words::<T>() }>,
        b: Linear<0, { T::MaxKeyBytes::get() / 16 }>,
    ) -> Result<(), BenchmarkError> {
        let key = halo2_key(p, s, layout(w, b));
        let claim = statement(&key.layout, 1);
        let (digest, context, tensors, proof) = ready::<T>(&key, claim, halo2_noise(&key))?;
        let who: T::AccountId = whitelisted_caller();
        let outcome;
        #[block]
        {
            outcome = Pallet::<T>::verify(
                RawOrigin::Signed(who.clone()).into(),
                digest,
                context,
                tensors,
                proof,
            );
            let attestation = Attestation {
                key: digest,
                who,
                block: BlockNumberFor::<T>::from(1_u32),
                expires: BlockNumberFor::<T>::from(7_u32),
            };
            Expiring::<T>::insert(attestation.expires, others::<T>(0));
            Attestations::<T>::insert(digest, attestation);
        }
        let refused = crate::Error::<T>::ProofRejected.into();
        assert_eq!(outcome.map_err(|e| e.error), Err(refused));
        Ok(())
    }

    impl_benchmark_test_suite!(Pallet, crate::mock::new_test_ext(), crate::mock::Test);
}
