//! No decoder panics, whatever it reads, and what it accepts it would write again.

mod simulator;

use std::sync::LazyLock;

use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed},
};
use simulator::{SYSTEMS, valid};
use zkinfer_verifier::{Context, Proof, ProofSystem, Statement, VerifyingKey, snarkjs, verify};

static KEYS: LazyLock<[Vec<u8>; 2]> =
    LazyLock::new(|| SYSTEMS.map(|system| valid(system, 11).0.key.encode()));

fn config() -> Config {
    Config {
        cases: 2_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(11),
        ..Config::default()
    }
}

/// Cuts, overwrites and inserts.
fn damage(bytes: &mut Vec<u8>, edits: &[(u16, u8, u8)]) {
    for (at, kind, value) in edits {
        let at = usize::from(*at) % (bytes.len() + 1);
        match kind % 4 {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, *value),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = *value;
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn key_decoder_survives_random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(VerifyingKey::decode(&bytes).is_err());
        let headed = [b"zkinfvk\x01\x02\x01".as_slice(), &bytes].concat();
        prop_assert!(VerifyingKey::decode(&headed).is_err());
    }

    #[test]
    fn key_decoder_survives_damaged_keys(
        system in 0..2_usize,
        edits in proptest::collection::vec((0..260_u16, any::<u8>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = KEYS[system].clone();
        damage(&mut bytes, &edits);
        if let Ok(key) = VerifyingKey::decode(&bytes) {
            prop_assert_eq!(key.encode(), bytes);
        }
    }

    #[test]
    fn proof_decoder_survives_random_bytes(bytes in proptest::collection::vec(any::<u8>(), 250..330)) {
        for system in SYSTEMS {
            prop_assert!(Proof::from_bytes(system, &bytes).is_err());
        }
    }

    #[test]
    fn json_readers_survive_any_text(text in ".{0,200}") {
        let layout = simulator::layout(40);
        prop_assert!(snarkjs::proof_from_json(&text).is_err());
        prop_assert!(snarkjs::public_from_json(&layout, &text).is_err());
        if let Ok(context) = Context::from_hex(&text) {
            prop_assert_eq!(Context::from_hex(&context.to_string()), Ok(context));
        }
    }
}

#[test]
fn the_verifier_survives_any_length() {
    let (simulator, statement, proof) = valid(ProofSystem::UltraGroth, 11);
    for len in (0..100).filter(|len| *len != 11) {
        let shown = Statement {
            public_bytes: vec![0; len],
            ..statement.clone()
        };
        assert!(verify(&simulator.key, &shown, &proof).is_err());
        assert!(shown.tensors(&simulator.key.layout).is_err());
    }
}
