//! # 0 → 1: the cost of a verification is part of a key's record
//! Every key is decoded with all checks again. One that would not be registered today (its linter's rules may be stricter than when it was)
//! is retired: its deposit goes back. On a chain that gets the pallet with this version there is nothing to do.

use frame_support::{
    migrations::VersionedMigration,
    pallet_prelude::*,
    traits::{Consideration, UncheckedOnRuntimeUpgrade},
    weights::Weight,
};
use zkinfer_verifier::VerifyingKey;

use crate::{
    pallet::{Config, KeyBytes, Keys, Pallet},
    types::{KeyRecord, System},
    weights::WeightInfo,
};

/// To be listed in the runtime's migrations.
pub type MigrateToV1<T> =
    VersionedMigration<0, 1, RecordCosts<T>, Pallet<T>, <T as frame_system::Config>::DbWeight>;

/// The layout of version 0.
pub mod v0 {
    use super::*;

    /// What was known of a key.
    #[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, MaxEncodedLen, TypeInfo)]
    pub struct KeyRecord<AccountId, Deposit> {
        /// The integer model.
        pub model_id: [u8; 32],
        /// Whether one party made the key.
        pub development: bool,
        /// The proof system.
        pub system: System,
        /// Bytes of the public tensors.
        pub public_bytes: u32,
        /// Bytes of a proof.
        pub proof_bytes: u32,
        /// Who registered the key, and the deposit.
        pub owner: Option<(AccountId, Deposit)>,
    }

    /// Where it was: under the same keys as today's.
    #[frame_support::storage_alias]
    pub type Keys<T: Config> = CountedStorageMap<
        Pallet<T>,
        Identity,
        [u8; 32],
        KeyRecord<<T as frame_system::Config>::AccountId, <T as Config>::Deposit>,
        OptionQuery,
    >;
}

/// The step without the version check, which [`MigrateToV1`] adds.
#[derive(Debug)]
pub struct RecordCosts<T>(PhantomData<T>);

impl<T: Config> UncheckedOnRuntimeUpgrade for RecordCosts<T> {
    fn on_runtime_upgrade() -> Weight {
        let mut weight = T::DbWeight::get().reads(1);
        let old: alloc::vec::Vec<_> = v0::Keys::<T>::iter().collect();
        for (digest, record) in old {
            let bytes = KeyBytes::<T>::get(digest).unwrap_or_default();
            weight = weight
                .saturating_add(T::WeightInfo::register_key(bytes.len() as u32))
                .saturating_add(T::WeightInfo::retire_key());
            let fresh = VerifyingKey::decode(&bytes)
                .ok()
                .and_then(|key| KeyRecord::of::<T>(&key, bytes.len()).ok());
            match fresh {
                Some(fresh) => Keys::<T>::insert(
                    digest,
                    KeyRecord {
                        owner: record.owner,
                        ..fresh
                    },
                ),
                None => {
                    log::warn!(target: crate::LOG_TARGET, "key {digest:02x?} does not pass today's rules and is retired");
                    v0::Keys::<T>::remove(digest);
                    KeyBytes::<T>::remove(digest);
                    if let Some((owner, deposit)) = record.owner
                        && deposit.drop(&owner).is_err()
                    {
                        log::error!(target: crate::LOG_TARGET, "the deposit for key {digest:02x?} stays held");
                    }
                }
            }
        }
        weight
    }
}
