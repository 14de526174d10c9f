//! The calls that take longest for their sizes, for `tests/weights.py`, which times them in WASM against their weights.

use std::{env, fmt::Write, fs};

use zkinfer_verifier::{
    KeyMaterial, VerifyingKey,
    halo2_kzg::{Column, Query},
};

use super::*;
use crate::simulate::{halo2_key, halo2_noise, hashed_layout, statement};

/// Words of the longest statements that the runtime allows.
const WORDS: u32 = 133;

/// Digests of the statements that have most.
const DIGESTS: u32 = 128;

/// What a key without filler leaves of the bytes that the runtime allows.
fn room(bare: &VerifyingKey) -> u32 {
    16_384 - u32::try_from(bare.encode().len()).expect("a short key")
}

/// A key of `halo2-kzg` with as many tensors that nobody sees as there is room for.
fn full_halo2_key(points: u32, operations: u32) -> VerifyingKey {
    let filler = room(&halo2_key(points, operations, layout(WORDS, 0)));
    halo2_key(points, operations, layout(WORDS, filler))
}

/// Columns queried at many rotations, permuted columns queried last: everything that is searched or interpolated.
fn many_rotations() -> VerifyingKey {
    let mut key = halo2_key(8, 0, layout(WORDS, 0));
    let KeyMaterial::Halo2Kzg(protocol) = &mut key.material else {
        return key;
    };
    protocol.advice_phases = vec![0; 4];
    protocol.blinding_factors = 40;
    // Column c is queried at the rotations c·100, c·100 + 1, …: no two sets have a rotation in common but 0.
    protocol.advice_queries = (0..4)
        .flat_map(|column| {
            (0..9).map(move |at| Query {
                column,
                rotation: if at == 8 {
                    0
                } else {
                    i32::from(column) * 100 + at + 1
                },
            })
        })
        .collect();
    protocol.permuted = (0..4).map(Column::Advice).collect();
    protocol.sigma = vec![protocol.fixed.first().copied().unwrap_or_default(); 4];
    key
}

/// Every case: its name, its key, its statement, its proof.
fn cases() -> Vec<(String, VerifyingKey, Statement, Vec<u8>)> {
    let mut cases = Vec::new();
    for system in SYSTEMS {
        let filler = room(&Simulator::new(system, layout(WORDS, 0), 1).key);
        let simulator = Simulator::new(system, layout(WORDS, filler), 1);
        let statement = simulator.statement(1);
        let proof = simulator.prove(&statement, 1);
        let other = simulator.prove(&simulator.statement(2), 1);
        let mut off_curve = proof.clone();
        *off_curve.last_mut().expect("a proof") ^= 1;
        for (name, proof) in [
            ("holds", proof),
            ("is of another statement", other),
            ("has a bad last point", off_curve),
        ] {
            cases.push((
                format!("{system}, the proof {name}"),
                simulator.key.clone(),
                statement.clone(),
                proof,
            ));
        }
        let short = Simulator::new(system, layout(2, 0), 1);
        let statement = short.statement(1);
        let proof = short.prove(&statement, 1);
        cases.push((format!("{system}, one public"), short.key, statement, proof));
        let digests = Simulator::new(system, hashed_layout(1, 0, DIGESTS), 1);
        let statement = digests.statement(1);
        let proof = digests.prove(&statement, 1);
        let name = format!("{system}, most digests, the proof holds");
        cases.push((name, digests.key, statement, proof));
    }
    let keys = [
        ("most points", full_halo2_key(150, 0)),
        ("most operations", full_halo2_key(20, 3_800)),
        ("most rotations", many_rotations()),
        (
            "most digests",
            halo2_key(20, 0, hashed_layout(1, 0, DIGESTS)),
        ),
    ];
    for (name, key) in keys {
        let claim = statement(&key.layout, 1);
        let proof = halo2_noise(&key);
        cases.push((format!("halo2-kzg, {name}"), key, claim, proof));
    }
    cases
}

#[test]
fn the_worst_cases_are_within_the_bounds() {
    let mut lines = String::new();
    in_chain(|| {
        MaxKeys::set(100);
        for (name, key, statement, proof) in cases() {
            let bytes = key.encode();
            assert!(bytes.len() <= 16_384, "{name}: {}", bytes.len());
            let known = crate::Keys::<Test>::contains_key(key.digest());
            if !known {
                let registered = register(&key);
                assert_eq!(registered, Ok(()), "{name}");
            }
            run_to(System::block_number() + 1);
            let verified = verify(
                key.digest(),
                statement.context.to_bytes(),
                &statement.to_bytes(),
                &proof,
            );
            assert_eq!(
                verified.is_ok(),
                name.ends_with("holds") || name.ends_with("one public"),
                "{name}"
            );
            let [key, tensors, proof] = [&bytes, &statement.to_bytes(), &proof].map(|bytes| {
                bytes
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect::<String>()
            });
            writeln!(
                lines,
                "{name};{key};{};{tensors};{proof}",
                statement.context
            )
            .expect("a string");
        }
        MaxKeys::set(4);
        for digest in crate::Keys::<Test>::iter_keys().collect::<Vec<_>>() {
            frame_support::assert_ok!(ZkinferVerifier::retire_key(alice(), digest));
        }
    });
    if let Ok(path) = env::var("ZKINFER_WORST_CASES") {
        fs::write(path, lines).expect("written");
    }
}

/// Prints what a verification takes natively; asserts nothing about it.
#[test]
#[ignore = "prints times; run it alone"]
fn the_time_of_a_verification() {
    for (name, key, statement, proof) in cases() {
        let proof = zkinfer_verifier::Proof::from_bytes(key.system, &proof);
        let bytes = key.encode();
        let mut times: Vec<_> = (0..31)
            .map(|_| {
                let begun = std::time::Instant::now();
                let key = VerifyingKey::decode_unchecked(&bytes).expect("a key");
                if let Ok(proof) = &proof {
                    let _ = zkinfer_verifier::verify(&key, &statement, proof);
                }
                begun.elapsed()
            })
            .collect();
        times.sort_unstable();
        println!("native {name}: {:.2} ms", times[15].as_secs_f64() * 1e3);
    }
}
