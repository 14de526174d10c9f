//! Proofs: what is accepted, what is refused and by which name, what is recorded.

use frame_support::{assert_noop, assert_ok, traits::Hooks};

use super::*;
use crate::{
    inference::{InferenceError, VerifyInference},
    pallet::{Attestations, Event},
    types::Attestation,
};

#[test]
fn a_proof_that_holds_is_attested_once_until_it_expires() {
    for system in SYSTEMS {
        in_chain(|| {
            let (simulator, statement, proof) = registered(system);
            let key = simulator.key.digest();
            let digest = statement.digest(&key);
            let inferred = ZkinferVerifier::statement_digest(
                key,
                statement.context.to_bytes(),
                &statement.public_bytes,
            );
            assert_eq!(inferred, Some(digest));
            assert_eq!(ZkinferVerifier::attestation(digest), None);

            assert_ok!(verify_statement(&simulator, &statement, &proof));
            let attestation = Attestation {
                key,
                who: BOB,
                block: 1,
                expires: 1 + LIFETIME,
            };
            assert_eq!(ZkinferVerifier::attestation(digest), Some(attestation));
            let event = Event::Attested {
                statement: digest,
                key,
                who: BOB,
                expires: 1 + LIFETIME,
            };
            System::assert_last_event(event.into());

            // Another proof of the same statement: the same identity.
            let again = simulator.prove(&statement, 10);
            assert_ne!(again, proof);
            assert_noop!(
                verify_statement(&simulator, &statement, &again),
                Error::<Test>::AlreadyAttested
            );
            run_to(LIFETIME);
            assert_noop!(
                verify_statement(&simulator, &statement, &again),
                Error::<Test>::AlreadyAttested
            );
            run_to(LIFETIME + 1);
            assert_eq!(Attestations::<Test>::iter().count(), 0);
            assert_ok!(verify_statement(&simulator, &statement, &again));
        });
    }
}

#[test]
fn an_expired_attestation_does_not_count_even_if_it_is_still_there() {
    in_chain(|| {
        let (simulator, statement, proof) = registered(SYSTEMS[0]);
        assert_ok!(verify_statement(&simulator, &statement, &proof));
        let digest = statement.digest(&simulator.key.digest());
        System::set_block_number(LIFETIME);
        assert!(ZkinferVerifier::attestation(digest).is_some());
        System::set_block_number(LIFETIME + 1);
        assert_eq!(ZkinferVerifier::attestation(digest), None);
    });
}

#[test]
fn every_refusal_has_its_name_and_changes_nothing() {
    for system in SYSTEMS {
        in_chain(|| {
            let (simulator, statement, proof) = registered(system);
            let key = simulator.key.digest();
            let (context, tensors) = (statement.context.to_bytes(), &statement.public_bytes[..]);
            let refused = |result, error: Error<Test>| {
                assert_eq!(result, Err(error.into()));
            };
            let root = sp_io::storage::root(sp_runtime::StateVersion::V1);
            refused(verify([7; 32], context, tensors, &proof), Error::KeyUnknown);
            refused(
                verify(key, [0xff; 32], tensors, &proof),
                Error::ContextTooLarge,
            );
            let mut high = [0; 32];
            high[0] = 0x20;
            refused(verify(key, high, tensors, &proof), Error::ContextTooLarge);
            let long = [tensors, &[0]].concat();
            refused(verify(key, context, &long, &proof), Error::PublicLength);
            refused(
                verify(key, context, &tensors[1..], &proof),
                Error::PublicLength,
            );
            refused(verify(key, context, &[], &proof), Error::PublicLength);
            let long = [&proof[..], &[0]].concat();
            refused(verify(key, context, tensors, &long), Error::ProofLength);
            refused(
                verify(key, context, tensors, &proof[1..]),
                Error::ProofLength,
            );
            refused(verify(key, context, tensors, &[]), Error::ProofLength);
            for infinity in [0..64, 64..192, 192..256] {
                let mut zeros = proof.clone();
                zeros[infinity].fill(0);
                refused(verify(key, context, tensors, &zeros), Error::ProofPoint);
            }
            let noise = vec![0xff; proof.len()];
            refused(verify(key, context, tensors, &noise), Error::ProofPoint);
            let other = simulator.prove(&simulator.statement(8), 9);
            refused(verify(key, context, tensors, &other), Error::ProofRejected);
            assert_eq!(root, sp_io::storage::root(sp_runtime::StateVersion::V1));
        });
    }
}

#[test]
fn changed_bytes_of_proof_context_and_tensors_are_refused_as_by_the_library() {
    for system in SYSTEMS {
        in_chain(|| {
            let (simulator, statement, proof) = registered(system);
            let key = simulator.key.encode();
            let digest = simulator.key.digest();
            let context = statement.context.to_bytes();
            let whole = [&context[..], &statement.public_bytes, &proof].concat();
            let split = |bytes: &[u8]| {
                let (context, rest) = bytes.split_first_chunk::<32>().expect("a context");
                let (tensors, proof) = rest.split_at(statement.public_bytes.len());
                (*context, tensors.to_vec(), proof.to_vec())
            };
            let mut tried = 0;
            for at in 0..whole.len() {
                let mut changed = whole.clone();
                changed[at] ^= 1 << (at % 8);
                let (context, tensors, proof) = split(&changed);
                let pallet = verify(digest, context, &tensors, &proof).is_ok();
                assert!(!pallet, "byte {at}");
                assert_eq!(
                    pallet,
                    library(&key, context, &tensors, &proof),
                    "byte {at}"
                );
                tried += 1;
            }
            assert!(tried >= 350);
            let (context, tensors, proof) = split(&whole);
            assert!(library(&key, context, &tensors, &proof));
            assert_ok!(verify(digest, context, &tensors, &proof));
        });
    }
}

#[test]
fn a_proof_of_one_key_is_none_of_another() {
    in_chain(|| {
        let (one, statement, proof) = registered(SYSTEMS[0]);
        let two = Simulator::new(SYSTEMS[0], layout(3, 0), 77);
        assert_ok!(register(&two.key));
        assert_noop!(
            verify_statement(&two, &statement, &proof),
            Error::<Test>::ProofRejected
        );
        assert_ok!(verify_statement(&one, &statement, &proof));
    });
}

#[test]
fn pallets_get_the_same_answer_and_nothing_is_recorded() {
    for system in SYSTEMS {
        in_chain(|| {
            let (simulator, statement, proof) = registered(system);
            let key = simulator.key.digest();
            let ask = |tensors: &[u8], proof: &[u8]| {
                ZkinferVerifier::verify_inference(key, statement.context.to_bytes(), tensors, proof)
            };
            let root = sp_io::storage::root(sp_runtime::StateVersion::V1);
            assert_eq!(
                ask(&statement.public_bytes, &proof),
                Ok(statement.digest(&key))
            );
            let mut other = statement.public_bytes.clone();
            other[0] ^= 1;
            assert_eq!(ask(&other, &proof), Err(InferenceError::ProofRejected));
            assert_eq!(ask(&[], &proof), Err(InferenceError::PublicLength));
            assert_eq!(ask(&other, &[]), Err(InferenceError::ProofLength));
            let unknown = ZkinferVerifier::verify_inference([0; 32], [0; 32], &[], &[]);
            assert_eq!(unknown, Err(InferenceError::KeyUnknown));
            assert_eq!(root, sp_io::storage::root(sp_runtime::StateVersion::V1));
            assert!(ZkinferVerifier::weight(key).is_some());
            assert_eq!(ZkinferVerifier::weight([0; 32]), None);
        });
    }
}

#[test]
fn only_so_many_attestations_fit_in_a_block() {
    in_chain(|| {
        let (simulator, ..) = registered(SYSTEMS[1]);
        for seed in 0..3 {
            let statement = simulator.statement(seed);
            let proof = simulator.prove(&statement, seed);
            assert_ok!(verify_statement(&simulator, &statement, &proof));
        }
        let statement = simulator.statement(3);
        let proof = simulator.prove(&statement, 3);
        assert_noop!(
            verify_statement(&simulator, &statement, &proof),
            Error::<Test>::TooManyAttestations
        );
        run_to(2);
        assert_ok!(verify_statement(&simulator, &statement, &proof));
        run_to(1 + LIFETIME);
        assert_eq!(Attestations::<Test>::iter().count(), 1);
        run_to(2 + LIFETIME);
        assert_eq!(Attestations::<Test>::iter().count(), 0);
    });
}

#[test]
fn what_is_renewed_in_its_last_block_is_not_removed() {
    in_chain(|| {
        let (simulator, statement, proof) = registered(SYSTEMS[0]);
        assert_ok!(verify_statement(&simulator, &statement, &proof));
        run_to(LIFETIME);
        // A hook before the pallet's own, such as a scheduler's, sends the proof again.
        System::set_block_number(LIFETIME + 1);
        assert_ok!(verify_statement(&simulator, &statement, &proof));
        Pallet::<Test>::on_initialize(LIFETIME + 1);
        let digest = statement.digest(&simulator.key.digest());
        let expires = ZkinferVerifier::attestation(digest).map(|known| known.expires);
        assert_eq!(expires, Some(2 * LIFETIME + 1));
        assert_eq!(ZkinferVerifier::check_state(), Ok(()));
        run_to(2 * LIFETIME);
        assert!(ZkinferVerifier::attestation(digest).is_some());
        run_to(2 * LIFETIME + 1);
        assert_eq!(Attestations::<Test>::iter().count(), 0);
    });
}

#[test]
fn keys_that_today_would_not_be_registered_verify_nothing() {
    in_chain(|| {
        let simulator = Simulator::new(SYSTEMS[0], layout(3, 0), 1);
        let key = simulator.key_with_setup(zkinfer_verifier::Setup::Development);
        assert_ok!(register(&key));
        let statement = simulator.statement(1);
        let proof = simulator.prove(&statement, 1);
        let (context, tensors) = (statement.context.to_bytes(), &statement.public_bytes);
        Development::set(false);
        assert_noop!(
            verify(key.digest(), context, tensors, &proof),
            Error::<Test>::KeyBarred
        );
        let asked = ZkinferVerifier::verify_inference(key.digest(), context, tensors, &proof);
        assert_eq!(asked, Err(InferenceError::KeyBarred));
        Development::set(true);
        assert_ok!(verify(key.digest(), context, tensors, &proof));

        let halo2 = crate::simulate::halo2_key(20, 64, layout(3, 0));
        assert_ok!(register(&halo2));
        let noise = crate::simulate::halo2_noise(&halo2);
        MaxSteps::set(10);
        assert_noop!(
            verify(halo2.digest(), context, tensors, &noise),
            Error::<Test>::KeyBarred
        );
        MaxSteps::set(8_192);
    });
}
