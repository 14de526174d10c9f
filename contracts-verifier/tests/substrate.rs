//! The generated Substrate crate, as text: what is in it, and what is refused. That it builds and passes its tests: `substrate/test`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

#[path = "../../verifier/tests/simulator/mod.rs"]
mod simulator;

use std::{collections::BTreeSet, fs, path::Path};

use simulator::{SYSTEMS, Simulator, hashed_layout, layout, valid};
use zkinfer_contracts::{
    Example, GenerateError, SourceTree, Substrate, Target as _,
    substrate::{PALLET_INDEX, call_register_key},
};
use zkinfer_verifier::{ProofSystem, Setup, VerifyError, VerifyingKey};

/// A target for development keys, with a proof.
fn target(system: ProofSystem, public_bytes: u32) -> (Substrate, VerifyingKey) {
    let (simulator, statement, proof) = valid(system, public_bytes);
    let target = Substrate {
        allow_dev_key: true,
        example: Some(Example { statement, proof }),
        ..Substrate::default()
    };
    (target, simulator.key)
}

fn generated(system: ProofSystem, public_bytes: u32) -> SourceTree {
    let (target, key) = target(system, public_bytes);
    target.generate(&key).unwrap()
}

#[test]
fn one_key_and_one_proof_give_one_crate() {
    for system in SYSTEMS {
        assert_eq!(generated(system, 40), generated(system, 40));
    }
}

#[test]
fn refuses_development_keys_and_examples_that_do_not_hold() {
    let (mut target, key) = target(ProofSystem::Groth16, 40);
    target.allow_dev_key = false;
    assert_eq!(target.generate(&key), Err(GenerateError::DevelopmentKey));
    let (ceremony, setup) = (layout(40), Setup::Ceremony);
    let ceremony = Simulator::new(ProofSystem::Groth16, setup, ceremony, 5);
    let statement = ceremony.statement(1);
    let proof = ceremony.prove(&statement, 2);
    target.example = Some(Example { statement, proof });
    assert!(target.generate(&ceremony.key).is_ok());

    target.allow_dev_key = true;
    let rejected = Err(GenerateError::Example(VerifyError::Rejected));
    assert_eq!(target.generate(&key), rejected, "a proof of another key");
    let (other, _) = self::target(ProofSystem::UltraGroth, 40);
    assert!(matches!(
        other.generate(&key),
        Err(GenerateError::Example(VerifyError::System { .. }))
    ));
    target.example = None;
    assert_eq!(target.generate(&key), Err(GenerateError::NoExample));
}

#[test]
fn a_key_that_fails_its_linter_gives_nothing() {
    let (target, mut key) = target(ProofSystem::Groth16, 40);
    let groth = simulator::groth_mut(&mut key);
    groth.deltas_g2 = vec![groth.gamma_g2];
    assert!(matches!(target.generate(&key), Err(GenerateError::Key(_))));
}

/// The Rust files under a folder, from it.
fn sources(folder: &Path, under: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder.join(under)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{under}/{}", entry.file_name().to_str().unwrap());
        match entry.file_type().unwrap().is_dir() {
            true => sources(folder, &path, found),
            false => _ = found.insert(path),
        }
    }
}

#[test]
fn carries_every_source_of_the_pallet_and_the_verifier() {
    let files = generated(ProofSystem::Groth16, 40);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (folder, place) in [("pallet", "substrate/pallet"), ("verifier", "../verifier")] {
        let folder_of_ours = root.join(place);
        let mut found = BTreeSet::new();
        sources(&folder_of_ours, "src", &mut found);
        for path in &found {
            let ours = fs::read_to_string(folder_of_ours.join(path)).unwrap();
            assert_eq!(files.get(&format!("{folder}/{path}")), Some(&ours));
        }
        let prefix = format!("{folder}/src/");
        let carried = files.keys().filter(|path| path.starts_with(&prefix));
        assert_eq!(carried.count(), found.len());
    }
}

#[test]
fn every_dependency_is_pinned_and_locked() {
    let files = generated(ProofSystem::Groth16, 40);
    let root = &files["Cargo.toml"];
    let pinned = |name: &str| {
        let line = root
            .lines()
            .find(|line| line.starts_with(&format!("{name} = {{")));
        let line = line.unwrap_or_else(|| panic!("{name} has no version"));
        line.contains("version = \"=") || line.contains("path = ")
    };
    for path in ["Cargo.toml", "pallet/Cargo.toml", "verifier/Cargo.toml"] {
        let lines = files[path]
            .lines()
            .skip_while(|line| *line != "[dependencies]");
        let lines = lines.filter(|line| line.contains("workspace = true"));
        let names = lines.filter_map(|line| line.split(['.', ' ']).next());
        names
            .filter(|name| *name != "workspace")
            .for_each(|name| assert!(pinned(name), "{name}"));
        let tests_of_the_crate = path == "Cargo.toml";
        assert_eq!(
            files[path].contains("[dev-dependencies]"),
            tests_of_the_crate,
            "{path}"
        );
    }
    let lock = &files["Cargo.lock"];
    let value =
        |line: &str, start: &str| Some(line.strip_prefix(start)?.split('"').next()?.to_owned());
    let names: Vec<String> = lock
        .lines()
        .filter_map(|line| value(line, "name = \""))
        .collect();
    assert!(names.is_sorted() && names.iter().any(|name| *name == crate_name(&files)));
    let known: BTreeSet<_> = names.into_iter().collect();
    for dependency in lock.lines().filter_map(|line| value(line, " \"")) {
        let name = dependency.split(' ').next().unwrap();
        assert!(known.contains(name), "{name} is not locked");
    }
}

fn crate_name(files: &SourceTree) -> String {
    let package = files["Cargo.toml"]
        .split("[package]\nname = \"")
        .nth(1)
        .unwrap();
    package.split('"').next().unwrap().to_owned()
}

#[test]
fn speaks_of_the_key_it_was_made_from() {
    for system in SYSTEMS {
        let (target, key) = target(system, 40);
        let files = target.generate(&key).unwrap();
        let digest = hex::encode(key.digest());
        assert_eq!(
            crate_name(&files),
            format!("zkinfer-verifier-{}", &digest[..8])
        );
        assert_eq!(files["key.hex"], hex::encode(key.encode()) + "\n");
        let (library, readme) = (&files["src/lib.rs"], &files["README.md"]);
        for text in [library, readme] {
            assert!(text.contains(&digest) && text.contains(&hex::encode(key.model_id)));
            assert!(
                text.contains("| 0..30 | input `x` | int8 | `[1, 30]` | `3.125e-2 * (q - -3)` |")
            );
            assert!(text.contains("| 30..40 | output `y` | int8 | `[1, 10]` |"));
            assert!(
                text.contains("can forge proofs"),
                "a development key says so"
            );
        }
        for text in files.values() {
            assert!(
                !text.contains("{{") || !text.contains("}}\n"),
                "a value is missing"
            );
        }
    }
}

#[test]
fn a_model_cannot_write_code() {
    const NAME: &str = "x`\n*/ fn evil() {} {{KEY_DIGEST}} | <b> \u{202e} \\ \"";
    let mut layout = layout(40);
    layout.tensors[0].name = NAME.to_owned();
    let simulator = Simulator::new(ProofSystem::Groth16, Setup::Development, layout, 3);
    let statement = simulator.statement(1);
    let proof = simulator.prove(&statement, 2);
    let target = Substrate {
        allow_dev_key: true,
        example: Some(Example { statement, proof }),
        ..Substrate::default()
    };
    let files = target.generate(&simulator.key).unwrap();
    let plain = "`x???/?fn?evil????????KEY_DIGEST??????b???????`";
    let mut said = 0;
    for (path, text) in &files {
        for line in text.lines().filter(|line| line.contains("evil")) {
            said += 1;
            assert!(line.contains(plain), "{path}: {line}");
            assert!(line.starts_with(if path == "README.md" { "| " } else { "//! | " }));
        }
    }
    assert_eq!(said, 2, "the library and the readme name the tensor");
}

#[test]
fn calls_are_the_bytes_that_scale_prescribes() {
    // A length below 64 is one byte, below 2^14 two: four times the length, plus 0 or 1, the low byte first.
    let cases = [
        (ProofSystem::Groth16, 0, vec![0x00], [0x01, 0x04]),
        (ProofSystem::Groth16, 40, vec![0xa0], [0x01, 0x04]),
        (ProofSystem::UltraGroth, 74, vec![0x29, 0x01], [0x01, 0x05]),
    ];
    for (system, size, length_of_tensors, length_of_proof) in cases {
        let (mut target, key) = target(system, size);
        for index in [0, PALLET_INDEX, 255] {
            target.pallet_index = index;
            let Example { statement, proof } = target.example.clone().unwrap();
            let call = [
                &[index, 2][..],
                &key.digest(),
                &statement.context.to_bytes(),
                &length_of_tensors,
                &statement.public_bytes,
                &length_of_proof,
                &proof.to_bytes(),
            ]
            .concat();
            assert_eq!(target.encode(&key, &statement, &proof), Ok(call.clone()));
            let files = target.generate(&key).unwrap();
            assert_eq!(files["calls/verify.hex"], hex::encode(call) + "\n");

            let bytes = key.encode();
            let length = u16::try_from(4 * bytes.len() + 1).unwrap().to_le_bytes();
            let register = [&[index, 0][..], &length, &bytes].concat();
            assert_eq!(call_register_key(index, &key), register);
            assert_eq!(
                files["calls/register_key.hex"],
                hex::encode(register) + "\n"
            );
        }
    }
}

/// A key with hashed tensors: the digests stand behind the public tensors, in the call, in the vectors and in what the crate says of itself.
#[test]
fn digests_stand_behind_the_public_tensors() {
    for system in SYSTEMS {
        let layout = hashed_layout(40, 2);
        let simulator = Simulator::new(system, Setup::Development, layout, 3);
        let (key, statement) = (&simulator.key, simulator.statement(1));
        let proof = simulator.prove(&statement, 2);
        let target = Substrate {
            allow_dev_key: true,
            example: Some(Example {
                statement: statement.clone(),
                proof: proof.clone(),
            }),
            ..Substrate::default()
        };
        let shown = statement.to_bytes();
        assert_eq!(shown.len(), 40 + 64);
        let call = [
            &[PALLET_INDEX, 2][..],
            &key.digest(),
            &statement.context.to_bytes(),
            &u16::to_le_bytes(4 * 104 + 1),
            &shown,
            &[
                0x01,
                if system == ProofSystem::Groth16 {
                    0x04
                } else {
                    0x05
                },
            ],
            &proof.to_bytes(),
        ]
        .concat();
        assert_eq!(target.encode(key, &statement, &proof), Ok(call.clone()));
        let files = target.generate(key).unwrap();
        assert_eq!(files["calls/verify.hex"], hex::encode(call) + "\n");
        let line = format!("public_tensors {}\n", hex::encode(shown));
        assert!(files["vectors/example.txt"].contains(&line));
        let library = &files["src/lib.rs"];
        assert!(library.contains("pub const PUBLIC_BYTES: usize = 104;"));
        for text in [library, &files["README.md"]] {
            assert!(text.contains("| 0..40 | output `y` |"), "{text}");
            assert!(text.contains("| 40..72, its digest | input `x0` |"));
            assert!(text.contains("| 72..104, its digest | input `x1` |"));
        }
        // Changes of the digests are among the vectors, all refused.
        let changed = |at: usize| (40..104).contains(&at);
        let lines = files["vectors/mutations.txt"].lines();
        let of_digests = lines
            .filter_map(|line| line.strip_prefix("public_tensors "))
            .filter_map(|line| line.split_once(' '))
            .filter(|(at, _)| changed(at.parse().unwrap()));
        let verdicts: Vec<_> = of_digests
            .map(|(_, rest)| rest.ends_with(" refused"))
            .collect();
        assert!(verdicts.len() > 64 && verdicts.iter().all(|refused| *refused));
    }
}

#[test]
fn the_encoder_refuses_points_no_verifier_accepts() {
    let (target, key) = target(ProofSystem::Groth16, 40);
    let Example {
        statement,
        mut proof,
    } = target.example.clone().unwrap();
    if let zkinfer_verifier::Proof::Groth16 { c, .. } = &mut proof {
        *c = ark_bn254::G1Affine::identity();
    }
    let refused = target.encode(&key, &statement, &proof);
    assert!(matches!(refused, Err(GenerateError::Proof(_))));
}

#[test]
fn pallets_of_the_test_runtime_have_places_of_their_own() {
    let (mut target, key) = target(ProofSystem::Groth16, 1);
    for (index, system, balances) in [(0, 1, 2), (1, 0, 2), (2, 0, 1), (8, 0, 1), (255, 0, 1)] {
        target.pallet_index = index;
        let mock = &target.generate(&key).unwrap()["src/mock.rs"];
        for line in [
            format!("System: frame_system = {system},"),
            format!("Balances: pallet_balances = {balances},"),
            format!("ZkinferVerifier: pallet = {index},"),
        ] {
            assert!(mock.contains(&line), "{line}");
        }
    }
}

#[test]
fn vectors_change_every_part_and_only_the_honest_line_is_accepted() {
    for system in SYSTEMS {
        for (size, least) in [(0, 570), (1, 700), (794, 700)] {
            let files = generated(system, size);
            let lines = files["vectors/mutations.txt"].lines();
            let lines: Vec<&str> = lines.filter(|line| !line.starts_with('#')).collect();
            assert_eq!(lines[0], "none 0 00 accepted");
            assert!(lines[1..].iter().all(|line| line.ends_with(" refused")));
            assert!(lines.len() > least, "{} lines", lines.len());
            let distinct: BTreeSet<_> = lines.iter().collect();
            assert_eq!(distinct.len(), lines.len());
            let places = ["proof", "context", "key", "public_tensors"];
            for place in &places[..if size == 0 { 3 } else { 4 }] {
                assert!(lines.iter().any(|line| line.starts_with(place)), "{place}");
            }
        }
    }
}
