//! # pallet-zkinfer-verifier: proofs of inference, checked by a runtime
//!
//! Governance registers verifying keys; anyone shows a proof, and the runtime records who showed that the statement holds, and when.
//!
//! | call | origin | what |
//! |---|---|---|
//! | `register_key` | [`Config::KeyOrigin`] | decodes and lints a key of any of the proof systems, holds a deposit |
//! | `retire_key` | the account that paid | announces that the key goes; after [`Config::RetirementNotice`], removes it and releases the deposit |
//! | `revoke_key` | [`Config::RevokeOrigin`] | removes the key at once and for ever; its attestations count no more |
//! | `verify` | signed | checks a proof; records an [`Attestation`] under the statement's digest |
//!
//! Other pallets call [`VerifyInference`] and need no extrinsic; clients call the runtime API [`api::ZkinferVerifierApi`].
//! A proof holds here exactly if `zkinfer_verifier::verify` accepts it: the pallet calls it and adds no rule of its own but bounds.
//! Argument, storage and weights: `DESIGN.md` of the workspace.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod api;
#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
mod cost;
mod inference;
pub mod migrations;
#[cfg(test)]
mod mock;
#[cfg(any(test, feature = "runtime-benchmarks"))]
pub mod simulate;
#[cfg(test)]
mod tests;
mod types;
pub mod weights;

pub use cost::Cost;
pub use inference::{InferenceError, VerifyInference};
pub use pallet::*;
pub use types::{Attestation, KeyRecord, System};
pub use weights::WeightInfo;

/// Where messages of this pallet are logged.
const LOG_TARGET: &str = "runtime::zkinfer-verifier";

#[frame_support::pallet]
pub mod pallet {
    use alloc::vec::Vec;

    use frame_support::{
        dispatch::{DispatchClass, WithPostDispatchInfo},
        pallet_prelude::*,
        traits::{Consideration, Footprint},
    };
    use frame_system::pallet_prelude::*;
    use sp_runtime::traits::{BadOrigin, Saturating};
    use zkinfer_verifier::VerifyingKey;

    use crate::{
        LOG_TARGET,
        cost::{Cost, statement_words},
        inference::InferenceError,
        types::{Attestation, KeyRecord},
        weights::WeightInfo,
    };

    /// What a runtime decides.
    #[pallet::config]
    pub trait Config: frame_system::Config<RuntimeEvent: From<Event<Self>>> {
        /// Who may register keys, and pays the deposit. Whoever it is vouches for the set-up behind a key and for the model it names: the
        /// chain sees that a key is well formed, not who knows its trapdoor nor, for `groth16`, which model its circuit computes.
        type KeyOrigin: EnsureOrigin<Self::RuntimeOrigin, Success = Self::AccountId>;

        /// Who may revoke a key, registered or not, because proofs of it can be forged.
        type RevokeOrigin: EnsureOrigin<Self::RuntimeOrigin>;

        /// Blocks between an owner's announcement that a key goes and its removal: longer than any task that waits for its proofs.
        #[pallet::constant]
        type RetirementNotice: Get<BlockNumberFor<Self>>;

        /// What storing a key costs: a [`Footprint`] of one item and the bytes of the key.
        type Deposit: Consideration<Self::AccountId, Footprint>;

        /// Whether keys that say one party made them alone, and could forge proofs, are accepted. False on every chain that matters.
        #[pallet::constant]
        type AllowDevelopmentKeys: Get<bool>;

        /// Most keys.
        #[pallet::constant]
        type MaxKeys: Get<u32>;

        /// Most bytes of an encoded key.
        #[pallet::constant]
        type MaxKeyBytes: Get<u32>;

        /// Most bytes of public tensors in a statement, 32 for each digest of a hashed one included.
        #[pallet::constant]
        type MaxPublicBytes: Get<u32>;

        /// Most bytes of a proof.
        #[pallet::constant]
        type MaxProofBytes: Get<u32>;

        /// Most [steps](Cost::steps) that verifying one proof may take, 2^20 at most.
        #[pallet::constant]
        type MaxSteps: Get<u32>;

        /// Blocks that an attestation stays.
        #[pallet::constant]
        type AttestationLifetime: Get<BlockNumberFor<Self>>;

        /// Most attestations in one block; all of a block expire together. More than proofs fit into a block, or whoever fills it
        /// keeps others out. A runtime upgrade may raise it, never lower it.
        #[pallet::constant]
        type MaxAttestationsPerBlock: Get<u32>;

        /// Times of the calls, measured.
        type WeightInfo: WeightInfo;
    }

    /// Why the pallet holds balance.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// A registered key takes storage.
        Key,
    }

    /// A key's record in a runtime.
    pub type RecordOf<T> = KeyRecord<
        <T as frame_system::Config>::AccountId,
        <T as Config>::Deposit,
        BlockNumberFor<T>,
    >;

    /// The version of the storage layout; [`crate::migrations`] lead to it.
    pub const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    /// What is known of a key, by its digest.
    #[pallet::storage]
    pub type Keys<T: Config> = CountedStorageMap<_, Identity, [u8; 32], RecordOf<T>, OptionQuery>;

    /// The encoding of a key, by its digest. [`Pallet::register_key`] and genesis write what `VerifyingKey::decode` accepted.
    #[pallet::storage]
    pub type KeyBytes<T: Config> =
        StorageMap<_, Identity, [u8; 32], BoundedVec<u8, T::MaxKeyBytes>, OptionQuery>;

    /// Digests of keys that are never accepted again, one for each call of [`Pallet::revoke_key`].
    #[pallet::storage]
    pub type Revoked<T: Config> = StorageMap<_, Identity, [u8; 32], (), OptionQuery>;

    /// Who showed that a statement holds, by the statement's digest. One that has expired is removed when its block comes.
    #[pallet::storage]
    pub type Attestations<T: Config> = StorageMap<
        _,
        Identity,
        [u8; 32],
        Attestation<T::AccountId, BlockNumberFor<T>>,
        OptionQuery,
    >;

    /// Statements whose attestations expire at the beginning of a block.
    #[pallet::storage]
    pub type Expiring<T: Config> = StorageMap<
        _,
        Twox64Concat,
        BlockNumberFor<T>,
        BoundedVec<[u8; 32], T::MaxAttestationsPerBlock>,
        ValueQuery,
    >;

    /// Keys that the chain starts with: encodings, without a deposit.
    #[pallet::genesis_config]
    #[derive(frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        /// Encoded keys.
        pub keys: Vec<Vec<u8>>,
        /// The runtime.
        #[serde(skip)]
        pub _runtime: PhantomData<T>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        /// # Panics
        /// If a key is one that `register_key` refuses: no chain starts with it.
        fn build(&self) {
            for (i, key) in self.keys.iter().enumerate() {
                if let Err(error) = Pallet::<T>::insert_key(key.clone(), None) {
                    panic!("genesis key {i} of pallet-zkinfer-verifier: {error:?}");
                }
            }
        }
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A key can be used from now on.
        KeyRegistered {
            /// Its digest.
            key: [u8; 32],
            /// The integer model it says it is for.
            model_id: [u8; 32],
            /// Who paid the deposit.
            owner: T::AccountId,
        },
        /// The owner may remove a key from this block on.
        KeyRetiring {
            /// Its digest.
            key: [u8; 32],
            /// The block.
            at: BlockNumberFor<T>,
        },
        /// A key is no longer known. Attestations made with it stay until they expire.
        KeyRetired {
            /// Its digest.
            key: [u8; 32],
        },
        /// A key is not accepted any more, nor what was attested with it.
        KeyRevoked {
            /// Its digest.
            key: [u8; 32],
        },
        /// A statement was shown to hold.
        Attested {
            /// The statement's digest.
            statement: [u8; 32],
            /// The key.
            key: [u8; 32],
            /// Who sent the proof; whether that is who made it, only the statement's context can say.
            who: T::AccountId,
            /// The block at whose beginning the attestation is gone.
            expires: BlockNumberFor<T>,
        },
    }

    #[pallet::error]
    #[derive(PartialEq, Eq)]
    pub enum Error<T> {
        /// The key is registered already.
        KeyKnown,
        /// No key with this digest is registered.
        KeyUnknown,
        /// Governance has revoked the key.
        KeyRevoked,
        /// The key was registered under bounds that are stricter today.
        KeyBarred,
        /// The owner has announced that the key goes; the notice is not over.
        KeyRetiring,
        /// There are as many keys as the runtime allows.
        TooManyKeys,
        /// The bytes are not the encoding of a key.
        KeyMalformed,
        /// A point of the key is not finite, not on its curve or not in its subgroup.
        KeyPoint,
        /// The key breaks a rule of the linter: proofs could be forged under it.
        KeyRefused,
        /// One party made the key alone and could forge proofs; this runtime accepts keys of ceremonies only.
        DevelopmentKey,
        /// Statements or proofs of the key, or the work of verifying them, are beyond what the runtime allows.
        KeyTooCostly,
        /// The context is 2^253 or more.
        ContextTooLarge,
        /// The public tensors and the digests behind them do not have the number of bytes that the key fixes.
        PublicLength,
        /// The proof does not have the number of bytes that the key fixes.
        ProofLength,
        /// A point of the proof is not canonical, not finite, not on its curve or not in its subgroup.
        ProofPoint,
        /// An evaluation of the proof is not less than the order of the group.
        ProofScalar,
        /// The proof does not prove this statement under this key.
        ProofRejected,
        /// The statement has an attestation that has not expired.
        AlreadyAttested,
        /// There are as many attestations in this block as the runtime allows.
        TooManyAttestations,
        /// A digest of a hashed tensor is not less than the order of the group.
        DigestTooLarge,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_initialize(now: BlockNumberFor<T>) -> Weight {
            let expired = Expiring::<T>::take(now);
            for statement in &expired {
                // One that was renewed in this block, by a hook before this one, has another end.
                if Attestations::<T>::get(statement).is_some_and(|known| known.expires <= now) {
                    Attestations::<T>::remove(statement);
                }
            }
            T::WeightInfo::expire(expired.len() as u32)
        }

        fn integrity_test() {
            assert!(
                T::AttestationLifetime::get() > BlockNumberFor::<T>::from(0_u32),
                "an attestation must outlive its block"
            );
            assert!(
                T::MaxProofBytes::get() >= 320 && T::MaxKeyBytes::get() >= 1024,
                "no key of ultragroth would fit"
            );
            assert!(T::MaxSteps::get() <= 1 << 20, "more steps than are weighed");
            let limits = T::BlockWeights::get();
            let normal = limits.get(DispatchClass::Normal);
            let most = normal.max_extrinsic.unwrap_or(limits.max_block);
            let (tensors, key) = (T::MaxPublicBytes::get(), T::MaxKeyBytes::get());
            for proof in [256, 320, T::MaxProofBytes::get()] {
                let weight = Cost::of_call::<T>(tensors as usize, proof as usize).weight::<T>();
                assert!(weight.all_lte(most), "a proof that fits into no block");
            }
            assert!(
                T::WeightInfo::register_key(key).all_lte(most),
                "a key that fits into no block"
            );
            let expiring = T::WeightInfo::expire(T::MaxAttestationsPerBlock::get());
            assert!(
                expiring.all_lte(limits.max_block / 4),
                "expiry that fills a block"
            );
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::check_state().map_err(sp_runtime::TryRuntimeError::Other)
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Registers the key with these bytes (`verifying.key` of a bundle), under its digest. Checks every point and every rule of the
        /// linter, and that a proof of it can be verified within the runtime's bounds.
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::register_key(key.len() as u32))]
        pub fn register_key(
            origin: OriginFor<T>,
            key: BoundedVec<u8, T::MaxKeyBytes>,
        ) -> DispatchResult {
            let owner = T::KeyOrigin::ensure_origin(origin)?;
            let (key, model_id) = Self::insert_key(key.into_inner(), Some(&owner))?;
            Self::deposit_event(Event::KeyRegistered {
                key,
                model_id,
                owner,
            });
            Ok(())
        }

        /// Announces that a key goes; called again when [`Config::RetirementNotice`] is over, forgets it. Until then its proofs are
        /// accepted. What was attested stays until it expires.
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::retire_key())]
        pub fn retire_key(origin: OriginFor<T>, key: [u8; 32]) -> DispatchResult {
            let who = ensure_signed(origin)?;
            let mut record = Keys::<T>::get(key).ok_or(Error::<T>::KeyUnknown)?;
            let Some((owner, deposit)) = record.owner.clone().filter(|(owner, _)| *owner == who)
            else {
                return Err(BadOrigin.into());
            };
            let now = frame_system::Pallet::<T>::block_number();
            let announced = record.retires.is_some();
            let at = record
                .retires
                .unwrap_or_else(|| now.saturating_add(T::RetirementNotice::get()));
            if at > now {
                ensure!(!announced, Error::<T>::KeyRetiring);
                record.retires = Some(at);
                Keys::<T>::insert(key, record);
                Self::deposit_event(Event::KeyRetiring { key, at });
                return Ok(());
            }
            deposit.drop(&owner)?;
            Self::forget(&key);
            Self::deposit_event(Event::KeyRetired { key });
            Ok(())
        }

        /// Forgets a key at once and never takes it again, whether it was registered or not; what was attested with it counts no more.
        #[pallet::call_index(3)]
        #[pallet::weight(T::WeightInfo::revoke_key())]
        pub fn revoke_key(origin: OriginFor<T>, key: [u8; 32]) -> DispatchResult {
            T::RevokeOrigin::ensure_origin(origin)?;
            if let Some((owner, deposit)) = Keys::<T>::get(key).and_then(|record| record.owner) {
                // A deposit that cannot be released must not keep a forgeable key alive.
                if let Err(error) = deposit.drop(&owner) {
                    log::error!(target: LOG_TARGET, "the deposit of {owner:?} stays held: {error:?}");
                }
            }
            Self::forget(&key);
            Revoked::<T>::insert(key, ());
            Self::deposit_event(Event::KeyRevoked { key });
            Ok(())
        }

        /// Verifies that the proof proves, under the key, the statement of this context and these public tensors, and records that it
        /// does. `context` is a big-endian number below 2^253; `public_tensors` are the bytes of the public inputs and outputs, as
        /// `publics` of `proof.json` has them, then 32 big-endian bytes of the digest of each hashed tensor.
        ///
        /// The first proof of a statement counts: until its attestation expires, others are refused.
        #[pallet::call_index(2)]
        #[pallet::weight(Cost::of_call::<T>(public_tensors.len(), proof.len()).weight::<T>())]
        pub fn verify(
            origin: OriginFor<T>,
            key: [u8; 32],
            context: [u8; 32],
            public_tensors: BoundedVec<u8, T::MaxPublicBytes>,
            proof: BoundedVec<u8, T::MaxProofBytes>,
        ) -> DispatchResultWithPostInfo {
            let who = ensure_signed(origin)?;
            // Until the key's bytes are read, only what does not depend on it was done.
            let words = statement_words(public_tensors.len());
            let refuse = |error: Error<T>| error.with_weight(T::WeightInfo::refuse(words));
            let record = Keys::<T>::get(key).ok_or_else(|| refuse(Error::KeyUnknown))?;
            let statement = record
                .statement::<T>(context, &public_tensors, proof.len())
                .map_err(|error| refuse(error.into()))?;
            let digest = statement.digest(&key);
            let now = frame_system::Pallet::<T>::block_number();
            let known = Attestations::<T>::get(digest).is_some_and(|known| known.expires > now);
            ensure!(!known, refuse(Error::AlreadyAttested));
            let expires = now.saturating_add(T::AttestationLifetime::get());
            let mut expiring = Expiring::<T>::get(expires);
            ensure!(
                expiring.try_push(digest).is_ok(),
                refuse(Error::TooManyAttestations)
            );

            let weight = record.cost.weight::<T>();
            Self::check_proof(&key, &record, &statement, &proof)
                .map_err(|error| Error::<T>::from(error).with_weight(weight))?;

            Expiring::<T>::insert(expires, expiring);
            Attestations::<T>::insert(
                digest,
                Attestation {
                    key,
                    who: who.clone(),
                    block: now,
                    expires,
                },
            );
            Self::deposit_event(Event::Attested {
                statement: digest,
                key,
                who,
                expires,
            });
            Ok(Some(weight).into())
        }
    }

    impl<T> From<InferenceError> for Error<T> {
        fn from(error: InferenceError) -> Self {
            match error {
                InferenceError::KeyUnknown => Self::KeyUnknown,
                InferenceError::KeyBarred => Self::KeyBarred,
                InferenceError::ContextTooLarge => Self::ContextTooLarge,
                InferenceError::PublicLength => Self::PublicLength,
                InferenceError::ProofLength => Self::ProofLength,
                InferenceError::ProofPoint => Self::ProofPoint,
                InferenceError::ProofScalar => Self::ProofScalar,
                InferenceError::ProofRejected => Self::ProofRejected,
                InferenceError::DigestTooLarge => Self::DigestTooLarge,
            }
        }
    }

    impl<T: Config> Pallet<T> {
        /// Checks and stores a key; its digest and its model.
        pub(crate) fn insert_key(
            bytes: Vec<u8>,
            owner: Option<&T::AccountId>,
        ) -> Result<([u8; 32], [u8; 32]), DispatchError> {
            let key = VerifyingKey::decode(&bytes).map_err(Error::<T>::from)?;
            // The encoding is canonical, so this is the digest of the key.
            let digest = zkinfer_verifier::keccak256(&bytes);
            ensure!(!Revoked::<T>::contains_key(digest), Error::<T>::KeyRevoked);
            ensure!(!Keys::<T>::contains_key(digest), Error::<T>::KeyKnown);
            ensure!(
                Keys::<T>::count() < T::MaxKeys::get(),
                Error::<T>::TooManyKeys
            );
            let mut record = RecordOf::<T>::of::<T>(&key, bytes.len())?;
            let footprint = Footprint::from_parts(1, bytes.len());
            if let Some(owner) = owner {
                let deposit = T::Deposit::new(owner, footprint)?;
                record.owner = Some((owner.clone(), deposit));
            }
            let bytes = BoundedVec::try_from(bytes).map_err(|_| Error::<T>::KeyTooCostly)?;
            Keys::<T>::insert(digest, record);
            KeyBytes::<T>::insert(digest, bytes);
            Ok((digest, key.model_id))
        }

        /// Removes what is stored of a key.
        pub(crate) fn forget(key: &[u8; 32]) {
            Keys::<T>::remove(key);
            KeyBytes::<T>::remove(key);
        }

        /// What holds of the storage between any two calls.
        ///
        /// # Errors
        /// What does not hold.
        pub fn check_state() -> Result<(), &'static str> {
            let mut n_keys = 0_u32;
            for (digest, record) in Keys::<T>::iter() {
                n_keys = n_keys.saturating_add(1);
                let bytes = KeyBytes::<T>::get(digest).ok_or("a record without a key")?;
                if zkinfer_verifier::keccak256(&bytes) != digest {
                    return Err("a key under another digest than its own");
                }
                let key = VerifyingKey::decode(&bytes).map_err(|_| "a key that does not decode")?;
                if Revoked::<T>::contains_key(digest) {
                    return Err("a revoked key");
                }
                let fresh = RecordOf::<T>::describe(&key, bytes.len());
                let same = KeyRecord {
                    owner: record.owner.clone(),
                    retires: record.retires,
                    ..fresh
                };
                if same != record {
                    return Err("a record that does not describe its key");
                }
            }
            if n_keys != Keys::<T>::count() || KeyBytes::<T>::iter_keys().count() != n_keys as usize
            {
                return Err("the number of keys");
            }
            let mut n_expiring = 0;
            for (block, statements) in Expiring::<T>::iter() {
                for statement in statements {
                    n_expiring += 1;
                    if Attestations::<T>::get(statement).is_none_or(|a| a.expires != block) {
                        return Err("an expiry without its attestation");
                    }
                }
            }
            if Attestations::<T>::iter_keys().count() != n_expiring {
                return Err("an attestation that never expires");
            }
            Ok(())
        }
    }
}
