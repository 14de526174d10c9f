//! Keys: which are registered, who may retire them, what the deposit does.

use frame_support::{assert_noop, assert_ok, traits::fungible::InspectHold};
use sp_runtime::{BuildStorage, TokenError, traits::BadOrigin};
use zkinfer_verifier::{G2Affine, KeyMaterial, Setup, VerifyingKey};

use super::*;
use crate::{
    pallet::{Event, GenesisConfig, KeyBytes, Keys},
    simulate::halo2_key,
    types::System as KeySystem,
};

fn simulator(seed: u8) -> Simulator {
    Simulator::new(SYSTEMS[1], layout(3, 0), seed)
}

#[test]
fn a_key_is_held_for_a_deposit_until_it_is_retired() {
    in_chain(|| {
        let key = simulator(1).key;
        let (digest, bytes) = (key.digest(), key.encode());
        assert_ok!(register(&key));
        let event = Event::KeyRegistered {
            key: digest,
            model_id: key.model_id,
            owner: ALICE,
        };
        System::assert_last_event(event.into());
        let reason = KeyDeposit::get();
        let held = 100 + bytes.len() as u64;
        assert_eq!(Balances::balance_on_hold(&reason, &ALICE), held);
        let record = Keys::<Test>::get(digest).expect("registered");
        assert_eq!(record.model_id, key.model_id);
        assert_eq!(record.cost.system, KeySystem::UltraGroth);
        assert_eq!((record.public_bytes, record.proof_bytes), (62, 320));
        assert_eq!(
            KeyBytes::<Test>::get(digest).map(|key| key.into_inner()),
            Some(bytes)
        );
        assert_noop!(register(&key), Error::<Test>::KeyKnown);

        assert_noop!(
            ZkinferVerifier::retire_key(RuntimeOrigin::signed(BOB), digest),
            BadOrigin
        );
        assert_noop!(
            ZkinferVerifier::retire_key(RuntimeOrigin::none(), digest),
            BadOrigin
        );
        assert_ok!(ZkinferVerifier::retire_key(alice(), digest));
        System::assert_last_event(Event::KeyRetired { key: digest }.into());
        assert_eq!(Balances::balance_on_hold(&reason, &ALICE), 0);
        assert_noop!(
            ZkinferVerifier::retire_key(alice(), digest),
            Error::<Test>::KeyUnknown
        );
    });
}

#[test]
fn an_owner_gives_notice_before_a_key_goes() {
    in_chain(|| {
        Notice::set(5);
        let (simulator, statement, proof) = registered(SYSTEMS[0]);
        let key = simulator.key.digest();
        let retire = || ZkinferVerifier::retire_key(alice(), key);
        use crate::inference::VerifyInference;
        assert_eq!(ZkinferVerifier::retires(key), None);
        assert_ok!(retire());
        System::assert_last_event(Event::KeyRetiring { key, at: 6 }.into());
        assert_eq!(ZkinferVerifier::retires(key), Some(6));
        run_to(5);
        assert_noop!(retire(), Error::<Test>::KeyRetiring);
        assert_ok!(verify_statement(&simulator, &statement, &proof));
        run_to(6);
        assert_ok!(retire());
        System::assert_last_event(Event::KeyRetired { key }.into());
        assert_eq!(Balances::balance_on_hold(&KeyDeposit::get(), &ALICE), 0);
        Notice::set(0);
    });
}

#[test]
fn a_revoked_key_never_comes_back_and_its_attestations_count_no_more() {
    in_chain(|| {
        use crate::inference::VerifyInference;
        let (first, statement, proof) = registered(SYSTEMS[0]);
        let key = first.key.digest();
        assert_ok!(verify_statement(&first, &statement, &proof));
        assert!(ZkinferVerifier::attestation(statement.digest(&key)).is_some());
        assert_noop!(ZkinferVerifier::revoke_key(alice(), key), BadOrigin);
        assert_ok!(ZkinferVerifier::revoke_key(RuntimeOrigin::root(), key));
        System::assert_last_event(Event::KeyRevoked { key }.into());
        assert_eq!(Balances::balance_on_hold(&KeyDeposit::get(), &ALICE), 0);
        assert_eq!(ZkinferVerifier::attestation(statement.digest(&key)), None);
        assert_noop!(register(&first.key), Error::<Test>::KeyRevoked);
        let other = first.statement(4);
        assert_noop!(
            verify_statement(&first, &other, &first.prove(&other, 4)),
            Error::<Test>::KeyUnknown
        );
        // A key nobody has registered yet.
        let next = simulator(2);
        assert_ok!(ZkinferVerifier::revoke_key(
            RuntimeOrigin::root(),
            next.key.digest()
        ));
        assert_noop!(register(&next.key), Error::<Test>::KeyRevoked);
    });
}

#[test]
fn a_deposit_that_cannot_be_released_stops_an_owner_but_not_governance() {
    in_chain(|| {
        let (simulator, statement, proof) = registered(SYSTEMS[0]);
        let key = simulator.key.digest();
        StuckDeposits::set(true);
        assert_noop!(
            ZkinferVerifier::retire_key(alice(), key),
            sp_runtime::DispatchError::Unavailable
        );
        assert_ok!(ZkinferVerifier::revoke_key(RuntimeOrigin::root(), key));
        StuckDeposits::set(false);
        assert_noop!(
            verify_statement(&simulator, &statement, &proof),
            Error::<Test>::KeyUnknown
        );
    });
}

#[test]
fn what_was_attested_stays_when_its_owner_retires_a_key() {
    in_chain(|| {
        use crate::inference::VerifyInference;
        let (simulator, statement, proof) = registered(SYSTEMS[0]);
        let digest = simulator.key.digest();
        assert_ok!(verify_statement(&simulator, &statement, &proof));
        assert_ok!(ZkinferVerifier::retire_key(alice(), digest));
        assert!(ZkinferVerifier::attestation(statement.digest(&digest)).is_some());
        let other = simulator.statement(4);
        assert_noop!(
            verify_statement(&simulator, &other, &simulator.prove(&other, 4)),
            Error::<Test>::KeyUnknown
        );
        assert_ok!(register(&simulator.key));
        assert_ok!(verify_statement(
            &simulator,
            &other,
            &simulator.prove(&other, 4)
        ));
    });
}

#[test]
fn who_cannot_pay_registers_nothing() {
    in_chain(|| {
        let poor = RuntimeOrigin::signed(99);
        let key = key_bytes(simulator(1).key.encode());
        assert_noop!(
            ZkinferVerifier::register_key(poor, key.clone()),
            TokenError::FundsUnavailable
        );
        assert_noop!(
            ZkinferVerifier::register_key(RuntimeOrigin::root(), key),
            BadOrigin
        );
    });
}

#[test]
fn keys_under_which_proofs_can_be_forged_are_refused() {
    in_chain(|| {
        let refused = |change: &dyn Fn(&mut zkinfer_verifier::GrothKey), error: Error<Test>| {
            let mut key = simulator(1).key;
            let KeyMaterial::Groth(groth) = &mut key.material else {
                panic!("a key of ultragroth");
            };
            change(groth);
            assert_noop!(register(&key), error);
        };
        refused(&|k| k.deltas_g2[0] = k.gamma_g2, Error::KeyRefused);
        refused(&|k| k.deltas_g2[1] = -k.deltas_g2[0], Error::KeyRefused);
        refused(&|k| k.deltas_g2[0] = k.beta_g2, Error::KeyRefused);
        refused(&|k| k.deltas_g2[1] = generator(), Error::KeyRefused);
        refused(&|k| k.ic[2] = -k.ic[1], Error::KeyRefused);
        refused(&|k| k.ic[3].y = k.ic[2].y, Error::KeyPoint);
        refused(&|k| k.ic[1] = Default::default(), Error::KeyPoint);
        refused(&|k| k.gamma_g2 = outside_subgroup(), Error::KeyPoint);
        refused(&|k| k.ic.truncate(3), Error::KeyMalformed);
        let key = simulator(1).key_with_setup(Setup::Development);
        Development::set(false);
        assert_noop!(register(&key), Error::<Test>::DevelopmentKey);
        Development::set(true);
        assert_ok!(register(&key));
        assert!(Keys::<Test>::get(key.digest()).is_some_and(|record| record.development));
    });
}

fn generator() -> G2Affine {
    use ark_ec::AffineRepr;
    G2Affine::generator()
}

/// A point of the twist that is not in the subgroup: its cofactor is large, so the first point found is not.
fn outside_subgroup() -> G2Affine {
    use zkinfer_verifier::{Fq, Fq2};
    (1_u64..)
        .filter_map(|x| {
            G2Affine::get_point_from_x_unchecked(Fq2::new(Fq::from(x), Fq::from(0_u64)), true)
        })
        .find(|point| !point.is_in_correct_subgroup_assuming_on_curve())
        .expect("one in a few")
}

#[test]
fn changed_bytes_make_another_key_or_none() {
    SYSTEMS.into_iter().for_each(change_every_byte);
}

fn change_every_byte(system: ProofSystem) {
    in_chain(|| {
        let (simulator, statement, proof) = registered(system);
        let (digest, bytes) = (simulator.key.digest(), simulator.key.encode());
        MaxKeys::set(10_000);
        MaxAttestations::set(1_000);
        let mut n_accepted = 0;
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            let other = zkinfer_verifier::keccak256(&changed);
            assert_ne!(other, digest);
            let root = sp_io::storage::root(sp_runtime::StateVersion::V1);
            let registered = ZkinferVerifier::register_key(
                RuntimeOrigin::signed(BOB),
                key_bytes(changed.clone()),
            );
            match VerifyingKey::decode(&changed) {
                Err(_) => assert!(registered.is_err(), "byte {at}"),
                // Beyond the decoder's rules there are only the runtime's bounds.
                Ok(_) => assert!(
                    registered.is_ok() || registered == Err(Error::<Test>::KeyTooCostly.into()),
                    "byte {at}"
                ),
            }
            if registered.is_ok() {
                n_accepted += 1;
                assert!(Keys::<Test>::contains_key(other));
                // The same statement of another key has another identity. The equation of groth16 binds points only: what its
                // keys say about themselves is the word of who registers them.
                let context = statement.context.to_bytes();
                let accepted = verify(other, context, &statement.public_bytes, &proof).is_ok();
                let library = library(&changed, context, &statement.public_bytes, &proof);
                assert_eq!(accepted, library, "byte {at}");
                assert!(!accepted || system == ProofSystem::Groth16, "byte {at}");
                assert_ok!(ZkinferVerifier::retire_key(
                    RuntimeOrigin::signed(BOB),
                    other
                ));
            } else {
                assert_eq!(root, sp_io::storage::root(sp_runtime::StateVersion::V1));
            }
        }
        assert!(
            n_accepted > 64,
            "model id, circuit digest, scales: {n_accepted}"
        );
        assert_ok!(verify_statement(&simulator, &statement, &proof));
    });
}

#[test]
fn a_chain_may_start_with_keys() {
    let key = simulator(1).key;
    let genesis = |keys| GenesisConfig::<Test> {
        keys,
        ..Default::default()
    };
    let storage = genesis(vec![key.encode()])
        .build_storage()
        .expect("a sound key");
    sp_io::TestExternalities::new(storage).execute_with(|| {
        assert_eq!(
            Keys::<Test>::get(key.digest()).expect("registered").owner,
            None
        );
        assert_eq!(ZkinferVerifier::check_state(), Ok(()));
        // Nobody paid: only governance removes it, and there is nothing to give back.
        assert_noop!(
            ZkinferVerifier::retire_key(alice(), key.digest()),
            BadOrigin
        );
        assert_ok!(ZkinferVerifier::revoke_key(
            RuntimeOrigin::root(),
            key.digest()
        ));
    });
    let mut damaged = key.encode();
    damaged[200] ^= 1;
    let started = std::panic::catch_unwind(|| genesis(vec![damaged]).build_storage());
    assert!(started.is_err(), "a chain started with a damaged key");
}

#[test]
fn a_description_of_halo2_is_registered_and_noise_is_refused() {
    in_chain(|| {
        let key = halo2_key(20, 64, layout(3, 0));
        assert_ok!(register(&key));
        let statement = crate::simulate::statement(&key.layout, 1);
        let noise = crate::simulate::halo2_noise(&key);
        let context = statement.context.to_bytes();
        let ask = |proof: &[u8]| verify(key.digest(), context, &statement.public_bytes, proof);
        assert_noop!(ask(&noise), Error::<Test>::ProofRejected);
        let mut point = noise.clone();
        point[63] ^= 1;
        assert_noop!(ask(&point), Error::<Test>::ProofPoint);
        let mut scalar = noise.clone();
        let at = noise.len() - 128 - 32;
        scalar[at..at + 32].fill(0xff);
        assert_noop!(ask(&scalar), Error::<Test>::ProofScalar);
        assert_noop!(ask(&noise[32..]), Error::<Test>::ProofLength);
        let mut secret = key.clone();
        if let KeyMaterial::Halo2Kzg(protocol) = &mut secret.material {
            protocol.s_g2 = generator();
        }
        assert_noop!(register(&secret), Error::<Test>::KeyRefused);
    });
}
