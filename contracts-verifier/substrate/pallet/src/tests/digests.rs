//! Keys with hashed tensors: a call has 32 bytes of each digest behind the public tensors, and the library's verdict.

use frame_support::{assert_noop, assert_ok};
use zkinfer_verifier::{Fr, curve::scalar_to_bytes};

use super::*;
use crate::{
    inference::{InferenceError, VerifyInference},
    pallet::Keys,
    simulate::{halo2_key, halo2_noise, hashed_layout},
};

/// r, big-endian: one more than the largest scalar.
fn order() -> [u8; 32] {
    let mut bytes = scalar_to_bytes(-Fr::from(1_u64));
    bytes[31] += 1;
    bytes
}

/// Words of packed tensors with the context, and digests.
const SHAPES: [(u32, u32); 3] = [(1, 1), (3, 2), (2, 33)];

/// A registered key with hashed tensors, a statement and its proof.
fn registered(
    system: ProofSystem,
    (words, n_hashed): (u32, u32),
) -> (Simulator, Statement, Vec<u8>) {
    let simulator = Simulator::new(system, hashed_layout(words, 0, n_hashed), system as u8);
    assert_ok!(register(&simulator.key));
    let statement = simulator.statement(9);
    let proof = simulator.prove(&statement, 9);
    (simulator, statement, proof)
}

fn each_shape(test: impl Fn(Simulator, Statement, Vec<u8>)) {
    for system in SYSTEMS {
        for shape in SHAPES {
            in_chain(|| {
                let (simulator, statement, proof) = registered(system, shape);
                test(simulator, statement, proof);
            });
        }
    }
}

#[test]
fn a_proof_of_hashed_tensors_is_attested() {
    each_shape(|simulator, statement, proof| {
        let key = simulator.key.digest();
        let record = Keys::<Test>::get(key).expect("registered");
        let layout = &simulator.key.layout;
        assert_eq!(record.public_bytes as usize, layout.public_bytes());
        assert_eq!(record.statement_bytes() as usize, layout.statement_bytes());
        assert_eq!(record.cost.words as usize, layout.n_words());
        let (context, shown) = (statement.context.to_bytes(), statement.to_bytes());
        let digest = statement.digest(&key);
        assert_eq!(
            ZkinferVerifier::statement_digest(key, context, &shown),
            Some(digest)
        );
        let asked = ZkinferVerifier::verify_inference(key, context, &shown, &proof);
        assert_eq!(asked, Ok(digest));
        assert_ok!(verify_statement(&simulator, &statement, &proof));
        assert!(ZkinferVerifier::attestation(digest).is_some_and(|known| known.key == key));
    });
}

#[test]
fn every_changed_byte_of_a_statement_with_digests_is_refused_as_by_the_library() {
    each_shape(|simulator, statement, proof| {
        let (key, digest) = (simulator.key.encode(), simulator.key.digest());
        let (context, shown) = (statement.context.to_bytes(), statement.to_bytes());
        // Every byte of the shorter ones.
        for at in (0..shown.len()).step_by(1 + shown.len() / 256) {
            let mut changed = shown.clone();
            changed[at] ^= 1 << (at % 8);
            assert!(!library(&key, context, &changed, &proof));
            assert!(
                verify(digest, context, &changed, &proof).is_err(),
                "byte {at}"
            );
        }
        assert!(library(&key, context, &shown, &proof));
    });
}

#[test]
fn digests_of_other_tensors_are_refused() {
    each_shape(|simulator, statement, proof| {
        let mut other = statement.clone();
        other.digests = simulator.statement(8).digests;
        assert_ne!(other, statement);
        let rejected = Error::<Test>::ProofRejected;
        assert_noop!(verify_statement(&simulator, &other, &proof), rejected);
        let mut exchanged = statement.clone();
        exchanged.digests.reverse();
        if exchanged != statement {
            let rejected = Error::<Test>::ProofRejected;
            assert_noop!(verify_statement(&simulator, &exchanged, &proof), rejected);
        }
    });
}

#[test]
fn digests_that_are_not_less_than_the_order_are_refused() {
    each_shape(|simulator, statement, proof| {
        let (key, context) = (simulator.key.digest(), statement.context.to_bytes());
        let shown = statement.to_bytes();
        for i in 0..statement.digests.len() {
            let at = statement.public_bytes.len() + 32 * i;
            let mut alias = [0; 32];
            let mut carry = 0;
            for place in (0..32).rev() {
                let sum = u16::from(shown[at + place]) + u16::from(order()[place]) + carry;
                (alias[place], carry) = (sum as u8, sum >> 8);
            }
            for value in [order(), [0xff; 32], alias] {
                let mut changed = shown.clone();
                changed[at..at + 32].copy_from_slice(&value);
                assert!(!library(&simulator.key.encode(), context, &changed, &proof));
                let refused = Error::<Test>::DigestTooLarge;
                assert_noop!(verify(key, context, &changed, &proof), refused);
                let asked = ZkinferVerifier::verify_inference(key, context, &changed, &proof);
                assert_eq!(asked, Err(InferenceError::DigestTooLarge));
                assert_eq!(
                    ZkinferVerifier::statement_digest(key, context, &changed),
                    None
                );
            }
        }
        // r − 1 is a digest.
        let mut most = statement.clone();
        most.digests.fill(-Fr::from(1_u64));
        assert_ok!(verify_statement(
            &simulator,
            &most,
            &simulator.prove(&most, 3)
        ));
    });
}

#[test]
fn missing_and_further_bytes_are_refused() {
    each_shape(|simulator, statement, proof| {
        let (key, context) = (simulator.key.digest(), statement.context.to_bytes());
        let shown = statement.to_bytes();
        let len = shown.len();
        for wrong in [0, len - 32, len - 31, len - 1, len + 1, len + 31, len + 32] {
            let mut changed = shown.clone();
            changed.resize(wrong, 0);
            assert!(!library(&simulator.key.encode(), context, &changed, &proof));
            let refused = Error::<Test>::PublicLength;
            assert_noop!(verify(key, context, &changed, &proof), refused);
        }
        let public = &statement.public_bytes;
        let refused = Error::<Test>::PublicLength;
        assert_noop!(verify(key, context, public, &proof), refused);
    });
}

#[test]
fn a_description_of_halo2_with_digests_is_registered() {
    in_chain(|| {
        let key = halo2_key(20, 64, hashed_layout(3, 0, 2));
        assert_ok!(register(&key));
        let statement = crate::simulate::statement(&key.layout, 1);
        let (context, mut shown) = (statement.context.to_bytes(), statement.to_bytes());
        let noise = halo2_noise(&key);
        let rejected = Error::<Test>::ProofRejected;
        assert_noop!(verify(key.digest(), context, &shown, &noise), rejected);
        let at = shown.len() - 32;
        shown[at..].copy_from_slice(&order());
        let large = Error::<Test>::DigestTooLarge;
        assert_noop!(verify(key.digest(), context, &shown, &noise), large);
        let short = Error::<Test>::PublicLength;
        assert_noop!(verify(key.digest(), context, &shown[..at], &noise), short);
    });
}
