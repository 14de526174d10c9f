//! # 0 → 1: the cost of a verification is part of a key's record
//! Every key is decoded with all checks again, and its bytes held against its digest. One that would not be registered today (the linter's
//! rules may be stricter than when it was) is retired: its deposit goes back. On a chain that gets the pallet with this version there is
//! nothing to do. All keys are migrated in one block: a chain with hundreds of them retires some first.

use frame_support::{
    migrations::VersionedMigration,
    pallet_prelude::*,
    traits::{Consideration, UncheckedOnRuntimeUpgrade},
    weights::Weight,
};
use zkinfer_verifier::{VerifyingKey, keccak256};

use crate::{
    pallet::{Config, Event, KeyBytes, Keys, Pallet, RecordOf},
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
        // Keys of the map, not what decodes: a record that does not is removed as well.
        let digests: alloc::vec::Vec<_> = v0::Keys::<T>::iter_keys().collect();
        for digest in digests {
            let record = v0::Keys::<T>::get(digest);
            if record.is_none() {
                log::error!(target: crate::LOG_TARGET, "the record of key {digest:02x?} does not decode: its deposit, if any, stays held");
            }
            let decodes = record.is_some();
            let owner = record.and_then(|record| record.owner);
            let bytes = KeyBytes::<T>::get(digest).unwrap_or_default();
            weight = weight
                .saturating_add(T::WeightInfo::register_key(bytes.len() as u32))
                .saturating_add(T::WeightInfo::revoke_key());
            let fresh = VerifyingKey::decode(&bytes)
                .ok()
                .filter(|_| decodes && keccak256(&bytes) == digest)
                .and_then(|key| RecordOf::<T>::of::<T>(&key, bytes.len()).ok());
            match fresh {
                Some(fresh) => Keys::<T>::insert(digest, KeyRecord { owner, ..fresh }),
                None => {
                    log::warn!(target: crate::LOG_TARGET, "key {digest:02x?} does not pass today's rules and is retired");
                    Pallet::<T>::forget(&digest);
                    if let Some((owner, deposit)) = owner
                        && deposit.drop(&owner).is_err()
                    {
                        log::error!(target: crate::LOG_TARGET, "the deposit for key {digest:02x?} stays held");
                    }
                    Pallet::<T>::deposit_event(Event::KeyRetired { key: digest });
                }
            }
        }
        weight
    }

    #[cfg(feature = "try-runtime")]
    fn post_upgrade(_: alloc::vec::Vec<u8>) -> Result<(), sp_runtime::TryRuntimeError> {
        Pallet::<T>::check_state().map_err(sp_runtime::TryRuntimeError::Other)
    }
}
