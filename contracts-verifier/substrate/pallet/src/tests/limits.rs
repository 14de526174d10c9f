//! Bounds: what is too large is refused, weights declared before a call cover what the call is charged, noise never panics.

use frame_support::{assert_noop, assert_ok, dispatch::GetDispatchInfo};
use zkinfer_verifier::{KeyMaterial, VerifyingKey, halo2_kzg::Query};

use super::*;
use crate::{
    cost::Cost,
    pallet::{Call, Keys},
    simulate::{halo2_key, halo2_noise, hashed_layout, statement},
};

#[test]
fn keys_beyond_the_bounds_are_refused() {
    in_chain(|| {
        // 4,096 bytes of public tensors are 134 words; 31·133 = 4,123.
        let long = Simulator::new(SYSTEMS[1], layout(134, 0), 1).key;
        assert_noop!(register(&long), Error::<Test>::KeyTooCostly);
        assert_ok!(register(&Simulator::new(SYSTEMS[1], layout(133, 0), 1).key));
        // A digest is 32 of these bytes: 4,096 are 128 digests; 93 bytes of tensors leave room for 125.
        for (words, most) in [(1, 128), (4, 125)] {
            let key = |n| Simulator::new(SYSTEMS[1], hashed_layout(words, 0, n), 1).key;
            assert_noop!(register(&key(most + 1)), Error::<Test>::KeyTooCostly);
            assert_ok!(register(&key(most)));
        }
        // A proof of 8,192 bytes at most.
        let mut long = halo2_key(8, 8, layout(1, 0));
        if let KeyMaterial::Halo2Kzg(protocol) = &mut long.material {
            protocol.advice_phases = vec![0; 90];
            protocol.advice_queries = (0..90)
                .map(|column| Query {
                    column,
                    rotation: 0,
                })
                .collect();
        }
        assert!(long.proof_bytes() > 8_192);
        assert_noop!(register(&long), Error::<Test>::KeyTooCostly);
        let steps = halo2_key(20, 2_000, layout(1, 0));
        MaxSteps::set(1_000);
        assert_noop!(register(&steps), Error::<Test>::KeyTooCostly);
        MaxSteps::set(8_192);
        assert_ok!(register(&steps));
        // Bounds that are lowered later do not make the storage unsound.
        MaxSteps::set(1_000);
        assert_eq!(ZkinferVerifier::check_state(), Ok(()));
        MaxSteps::set(8_192);
        assert_ok!(ZkinferVerifier::retire_key(alice(), steps.digest()));
    });
}

#[test]
fn there_are_only_so_many_keys() {
    in_chain(|| {
        for seed in 1..=4 {
            assert_ok!(register(
                &Simulator::new(SYSTEMS[1], layout(1, 0), seed).key
            ));
        }
        let fifth = Simulator::new(SYSTEMS[1], layout(1, 0), 5).key;
        assert_noop!(register(&fifth), Error::<Test>::TooManyKeys);
        let first = Simulator::new(SYSTEMS[1], layout(1, 0), 1).key.digest();
        assert_ok!(ZkinferVerifier::retire_key(alice(), first));
        assert_ok!(register(&fifth));
        assert_eq!(Keys::<Test>::count(), 4);
    });
}

/// The weight before the call, and the weight charged after it.
fn weights(
    key: &VerifyingKey,
    statement: &Statement,
    proof: &[u8],
) -> (sp_runtime::Weight, Option<sp_runtime::Weight>) {
    let call = Call::<Test>::verify {
        key: key.digest(),
        context: statement.context.to_bytes(),
        public_tensors: statement.to_bytes().try_into().expect("short"),
        proof: proof.to_vec().try_into().expect("short"),
    };
    let declared = call.get_dispatch_info().call_weight;
    use frame_support::traits::UnfilteredDispatchable;
    let outcome = call.dispatch_bypass_filter(alice());
    let charged = match outcome {
        Ok(info) => info.actual_weight,
        Err(e) => e.post_info.actual_weight,
    };
    (declared, charged)
}

#[test]
fn a_call_is_charged_at_most_what_it_declared() {
    in_chain(|| {
        let mut cases = Vec::new();
        for system in SYSTEMS {
            for words in [1, 2, 30, 133] {
                let simulator = Simulator::new(system, layout(words, 100), 1);
                let statement = simulator.statement(1);
                let proof = simulator.prove(&statement, 1);
                cases.push((simulator.key, statement, proof));
            }
            for (words, n_hashed) in [(1, 1), (2, 3), (67, 60), (1, 128)] {
                let simulator = Simulator::new(system, hashed_layout(words, 100, n_hashed), 1);
                let statement = simulator.statement(1);
                let proof = simulator.prove(&statement, 1);
                cases.push((simulator.key, statement, proof));
            }
        }
        let hashed = halo2_key(20, 100, hashed_layout(5, 0, 7));
        let claim = statement(&hashed.layout, 1);
        let noise = halo2_noise(&hashed);
        cases.push((hashed, claim, noise));
        for (points, operations) in [(8, 0), (100, 1_000), (150, 1_500)] {
            let key = halo2_key(points, operations, layout(5, 0));
            let claim = statement(&key.layout, 1);
            let proof = halo2_noise(&key);
            cases.push((key, claim, proof));
        }
        MaxKeys::set(100);
        for (key, claim, proof) in cases {
            assert_ok!(register(&key));
            run_to(System::block_number() + 1);
            let (declared, charged) = weights(&key, &claim, &proof);
            let charged = charged.expect("the weight of the key");
            assert!(charged.all_lte(declared), "{charged:?} > {declared:?}");
            let known = crate::Keys::<Test>::get(key.digest()).expect("registered");
            assert_eq!(charged, known.cost.weight::<Test>());
            assert!(charged.ref_time() > 5_000_000_000, "{charged:?}");
            // Wrong lengths, known statements: charged for what was done, which is less.
            let (declared, refused) = weights(&key, &claim, &proof[1..]);
            let refused = refused.expect("the weight of a refusal");
            assert!(refused.all_lte(declared) && refused.ref_time() < charged.ref_time());
        }
        MaxKeys::set(4);
        for digest in Keys::<Test>::iter_keys().collect::<Vec<_>>() {
            assert_ok!(ZkinferVerifier::retire_key(alice(), digest));
        }
    });
}

#[test]
fn the_length_of_a_proof_bounds_its_points() {
    let mut keys: Vec<VerifyingKey> = [8, 40, 120, 262]
        .map(|points| halo2_key(points, 100, layout(5, 0)))
        .into();
    // Many rotations, many columns of advice.
    let mut key = halo2_key(8, 8, layout(5, 0));
    if let KeyMaterial::Halo2Kzg(protocol) = &mut key.material {
        protocol.advice_phases = vec![0; 40];
        protocol.blinding_factors = 34;
        protocol.advice_queries = (0..40)
            .flat_map(|column| (0..30).map(move |rotation| Query { column, rotation }))
            .take(1_000)
            .collect();
    }
    assert_eq!(key.check(), Ok(()));
    keys.push(key);
    for key in keys {
        let cost = Cost::of_key(&key, key.encode().len());
        let bound = Cost::of_call::<Test>(key.layout.public_bytes(), key.proof_bytes());
        assert!(cost.points <= bound.points, "{cost:?} {bound:?}");
        assert_eq!((bound.steps, bound.key_bytes), (MaxSteps::get(), 16_384));
        assert_eq!((cost.words, cost.system), (bound.words, bound.system));
    }
}

#[test]
fn noise_never_panics() {
    in_chain(|| {
        let (simulator, statement, proof) = registered(SYSTEMS[1]);
        let halo2 = halo2_key(20, 64, layout(3, 0));
        assert_ok!(register(&halo2));
        let mut seed = [3; 32];
        let mut noise = |len: usize| -> Vec<u8> {
            let mut bytes = Vec::new();
            while bytes.len() < len {
                seed = zkinfer_verifier::keccak256(&seed);
                bytes.extend_from_slice(&seed);
            }
            bytes.truncate(len);
            bytes
        };
        for round in 0..400 {
            let key = [simulator.key.encode(), halo2.encode()][round % 2].clone();
            let mut damaged = key.clone();
            let at = usize::from(u16::from_be_bytes([noise(2)[0], noise(2)[1]])) % key.len();
            let len = noise(1)[0] as usize;
            for (old, new) in damaged[at..].iter_mut().zip(noise(len)) {
                *old = new;
            }
            damaged.truncate(key.len() - round % 3);
            let registered = ZkinferVerifier::register_key(alice(), key_bytes(damaged.clone()));
            assert_eq!(registered.is_ok(), VerifyingKey::decode(&damaged).is_ok());
            if registered.is_ok() {
                let digest = zkinfer_verifier::keccak256(&damaged);
                assert_ok!(ZkinferVerifier::retire_key(alice(), digest));
            }
            let key = [simulator.key.digest(), halo2.digest()][round % 2];
            let proof = noise([320, halo2.proof_bytes()][round % 2]);
            let tensors = noise(62);
            assert!(verify(key, [0; 32], &tensors, &proof).is_err());
        }
        assert_ok!(verify_statement(&simulator, &statement, &proof));
    });
}

#[test]
fn the_block_pays_for_what_expires() {
    in_chain(|| {
        let (simulator, statement, proof) = registered(SYSTEMS[1]);
        assert_ok!(verify_statement(&simulator, &statement, &proof));
        let weigh =
            |block| <Pallet<Test> as frame_support::traits::Hooks<u64>>::on_initialize(block);
        run_to(LIFETIME);
        System::set_block_number(1 + LIFETIME);
        let (one, none) = (weigh(1 + LIFETIME), weigh(2 + LIFETIME));
        type Weights = <Test as crate::Config>::WeightInfo;
        use crate::WeightInfo;
        assert_eq!((one, none), (Weights::expire(1), Weights::expire(0)));
        assert!(one.ref_time() > none.ref_time());
    });
}

#[test]
fn sizes_that_are_not_the_keys_have_no_digest_and_cost_little() {
    use crate::inference::VerifyInference;
    in_chain(|| {
        let (simulator, statement, proof) = registered(SYSTEMS[1]);
        let key = simulator.key.digest();
        let context = statement.context.to_bytes();
        let digest = |tensors: &[u8]| ZkinferVerifier::statement_digest(key, context, tensors);
        assert!(digest(&statement.public_bytes).is_some());
        assert_eq!(digest(&statement.public_bytes[1..]), None);
        let mut long = statement.clone();
        long.public_bytes.push(0);
        let (declared, charged) = weights(&simulator.key, &long, &proof);
        assert!(charged.is_some_and(|charged| charged.ref_time() < declared.ref_time() / 2));
    });
}

/// Breaks the storage in one way; what `check_state` then says.
fn broken(break_it: impl FnOnce([u8; 32], [u8; 32])) -> &'static str {
    let mut said = "";
    new_test_ext().execute_with(|| {
        let (simulator, statement, proof) = registered(SYSTEMS[1]);
        assert_ok!(verify_statement(&simulator, &statement, &proof));
        assert_eq!(ZkinferVerifier::check_state(), Ok(()));
        let key = simulator.key.digest();
        break_it(key, statement.digest(&key));
        said = ZkinferVerifier::check_state().expect_err("a broken storage");
    });
    said
}

#[test]
fn every_way_to_break_the_storage_is_seen() {
    use crate::pallet::{Attestations, Expiring, KeyBytes, Revoked};
    let without_key = broken(|key, _| KeyBytes::<Test>::remove(key));
    assert_eq!(without_key, "a record without a key");
    let damaged = broken(|key, _| {
        KeyBytes::<Test>::mutate(key, |bytes| {
            if let Some(byte) = bytes.as_mut().and_then(|bytes| bytes.get_mut(20)) {
                *byte ^= 1;
            }
        });
    });
    assert_eq!(damaged, "a key under another digest than its own");
    let noise = broken(|key, _| {
        let record = Keys::<Test>::get(key).expect("registered");
        let noise = vec![1, 2, 3];
        let digest = zkinfer_verifier::keccak256(&noise);
        Keys::<Test>::insert(digest, record);
        KeyBytes::<Test>::insert(digest, key_bytes(noise));
    });
    assert_eq!(noise, "a key that does not decode");
    assert_eq!(
        broken(|key, _| Revoked::<Test>::insert(key, ())),
        "a revoked key"
    );
    let cheaper = broken(|key, _| {
        Keys::<Test>::mutate(key, |record| {
            if let Some(record) = record {
                record.cost.words = 0;
            }
        });
    });
    assert_eq!(cheaper, "a record that does not describe its key");
    let unlisted = broken(|key, _| {
        let bytes = KeyBytes::<Test>::get(key).expect("registered");
        KeyBytes::<Test>::insert([1; 32], bytes);
    });
    assert_eq!(unlisted, "the number of keys");
    let gone = broken(|_, statement| Attestations::<Test>::remove(statement));
    assert_eq!(gone, "an expiry without its attestation");
    let eternal = broken(|_, _| Expiring::<Test>::remove(1 + LIFETIME));
    assert_eq!(eternal, "an attestation that never expires");
}
