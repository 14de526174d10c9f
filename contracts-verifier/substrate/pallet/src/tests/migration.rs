//! The storage of version 0 becomes that of version 1.

use frame_support::traits::{
    Consideration, Footprint, GetStorageVersion, OnRuntimeUpgrade, StorageVersion,
    fungible::InspectHold,
};
use zkinfer_verifier::VerifyingKey;

use super::*;
use crate::{
    migrations::v1::{MigrateToV1, v0},
    pallet::{Config, KeyBytes, Keys},
    types::System as KeySystem,
};

/// Stores a key as version 0 did.
fn store_v0(key: &VerifyingKey, bytes: Vec<u8>) {
    let deposit = <Test as Config>::Deposit::new(&ALICE, Footprint::from_parts(1, bytes.len()));
    let record = v0::KeyRecord {
        model_id: key.model_id,
        development: false,
        system: KeySystem::UltraGroth,
        public_bytes: key.layout.public_bytes() as u32,
        proof_bytes: 320,
        owner: Some((ALICE, deposit.expect("Alice can pay"))),
    };
    v0::Keys::<Test>::insert(key.digest(), record);
    KeyBytes::<Test>::insert(key.digest(), key_bytes(bytes));
}

#[test]
fn records_get_their_costs_and_forgeable_keys_are_retired() {
    in_chain(|| {
        StorageVersion::new(0).put::<Pallet<Test>>();
        let sound = Simulator::new(SYSTEMS[1], layout(3, 0), 1);
        store_v0(&sound.key, sound.key.encode());
        let mut forgeable = Simulator::new(SYSTEMS[1], layout(3, 0), 2).key;
        if let zkinfer_verifier::KeyMaterial::Groth(groth) = &mut forgeable.material {
            groth.deltas_g2[0] = groth.gamma_g2;
        }
        store_v0(&forgeable, forgeable.encode());

        // Bytes under another digest than their own, and a record that does not decode.
        let other = Simulator::new(SYSTEMS[1], layout(3, 0), 3).key;
        store_v0(&other, sound.key.encode());
        let broken = Simulator::new(SYSTEMS[1], layout(3, 0), 4).key;
        store_v0(&broken, broken.encode());
        let broken = broken.digest();
        let place = Keys::<Test>::hashed_key_for(broken);
        frame_support::storage::unhashed::put_raw(&place, &[1, 2, 3]);
        let held = Balances::balance_on_hold(&KeyDeposit::get(), &ALICE);

        MigrateToV1::<Test>::on_runtime_upgrade();
        for removed in [forgeable.digest(), other.digest(), broken] {
            assert!(
                !Keys::<Test>::contains_key(removed) && !KeyBytes::<Test>::contains_key(removed)
            );
            System::assert_has_event(crate::Event::KeyRetired { key: removed }.into());
        }
        assert_eq!(Pallet::<Test>::on_chain_storage_version(), 1);
        assert_eq!(ZkinferVerifier::check_state(), Ok(()));
        assert_eq!(
            Balances::balance_on_hold(&KeyDeposit::get(), &ALICE),
            held / 2
        );
        let migrated = Keys::<Test>::get(sound.key.digest()).expect("kept");

        // As if it were registered today, and it works.
        let statement = sound.statement(1);
        let proof = sound.prove(&statement, 1);
        frame_support::assert_ok!(verify_statement(&sound, &statement, &proof));
        frame_support::assert_ok!(ZkinferVerifier::retire_key(alice(), sound.key.digest()));
        frame_support::assert_ok!(register(&sound.key));
        assert_eq!(Keys::<Test>::get(sound.key.digest()), Some(migrated));
        // A second run finds version 1 and leaves everything alone.
        let root = sp_io::storage::root(sp_runtime::StateVersion::V1);
        MigrateToV1::<Test>::on_runtime_upgrade();
        assert_eq!(root, sp_io::storage::root(sp_runtime::StateVersion::V1));
    });
}

#[test]
fn a_chain_that_gets_the_pallet_now_has_version_1() {
    new_test_ext().execute_with(|| {
        assert_eq!(Pallet::<Test>::on_chain_storage_version(), 1);
        assert_eq!(Pallet::<Test>::in_code_storage_version(), 1);
    });
}
