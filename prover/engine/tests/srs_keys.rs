//! Keys of halo2-kzg from reference strings: of a ceremony, too small, changed, of another τ; and the library's own files.
#![allow(clippy::unwrap_used)]

mod small;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use halo2_proofs::SerdeFormat;
use halo2_proofs::poly::EvaluationDomain;
use halo2_proofs::poly::commitment::{Blind, Params, ParamsProver};
use halo2_proofs::poly::kzg::commitment::ParamsKZG;
use halo2curves::bn256::{Bn256, Fr};
use halo2curves::ff::Field;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};
use small::{Bundle, dense, input, layers, rng};
use zkinfer_circuits::constraint::Program;
use zkinfer_engine::{KeySource, PrepareError, SetupError, Silent, backend, compare, quote};
use zkinfer_gpu::Cpu;
use zkinfer_params::dev_setup::{Trapdoor, development_srs};
use zkinfer_params::keys::{KeyHeader, KeySink, KeyWriter, ProvingKeyFile, SectionKind};
use zkinfer_params::srs::{Ceremonies, Origin, Place, Srs, SrsError, SrsStep, library};
use zkinfer_verifier::{ProofSystem, Setup, VerifyingKey, verify};

fn quiet(_: SrsStep, _: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A development reference string in `folder`.
fn development(folder: &Path, seed: u64, k: u32) -> Srs {
    let trapdoor = Trapdoor::insecure_from_seed_for_tests(seed);
    let path = folder.join(format!("{seed}-{k}.srs"));
    development_srs(&trapdoor, k, Place::File(&path), &mut quiet).unwrap()
}

/// Imports a file of the library that a list knows, so that it counts as a ceremony's.
fn import(raw: &Path, to: &Path) -> Srs {
    let digest: String = Sha256::digest(fs::read(raw).unwrap())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut known = Ceremonies::none();
    known.add("the test's ceremony", &digest).unwrap();
    library::import(raw, &known, None, Place::File(to), &mut quiet).unwrap()
}

fn set_up(
    program: &Arc<Program>,
    system: ProofSystem,
    srs: &Srs,
    path: &Path,
) -> Result<VerifyingKey, SetupError> {
    let mut writer = KeyWriter::create(path).unwrap();
    let source = KeySource::Srs(srs);
    let vk =
        backend(system, Arc::new(Cpu)).setup(program, [9; 32], source, &mut writer, &Silent)?;
    writer.finish().unwrap();
    Ok(vk)
}

fn k_of(program: &Arc<Program>) -> u32 {
    quote(program, ProofSystem::Halo2Kzg)
        .unwrap()
        .domain
        .ilog2()
}

#[test]
fn keys_from_a_ceremony_say_so_and_their_proofs_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let program = layers(5, 2);
    let k = k_of(&program);
    // Larger than needed, as a ceremony's file is.
    let dev = development(folder.path(), 1, k + 1);
    library::export(&dev, k + 1, &at("raw"), &mut quiet).unwrap();
    let ceremony = import(&at("raw"), &at("ceremony.srs"));
    assert!(matches!(ceremony.origin(), Origin::Ceremony { .. }));

    let halo2 = ProofSystem::Halo2Kzg;
    let vk = set_up(&program, halo2, &ceremony, &at("a.key")).unwrap();
    assert_eq!(vk.setup, Setup::Ceremony);
    let key = ProvingKeyFile::open(&at("a.key")).unwrap();
    assert_eq!(key.header().setup, Setup::Ceremony);
    let prover = backend(halo2, Arc::new(Cpu))
        .prepare(program.clone(), key, vk.clone())
        .unwrap();
    let proven = prover
        .prove(&input(&program, 1), &mut rng(1), &Silent)
        .unwrap();
    verify(&vk, &proven.statement, &proven.proof).unwrap();

    // The same τ makes the same key, whichever way it comes; only the mark of its origin differs.
    let again = set_up(&program, halo2, &dev, &at("b.key")).unwrap();
    assert_eq!(again.setup, Setup::Development);
    assert_eq!(again.material, vk.material);
    let direct = Bundle::new(program, halo2, 1);
    assert_eq!(direct.vk, again);
    assert!(fs::read(direct.key_path()).unwrap() == fs::read(at("b.key")).unwrap());
    // A key whose two files say different things is refused.
    let mixed = direct
        .backend
        .prepare(direct.program.clone(), direct.key(), vk)
        .err();
    assert!(matches!(mixed, Some(PrepareError::Setup { .. })));
}

#[test]
fn a_reference_string_that_does_not_fit_makes_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let program = dense(5);
    let k = k_of(&program);
    let path = folder.path().join("proving.key");
    let small = development(folder.path(), 1, k - 1);
    let refused = set_up(&program, ProofSystem::Halo2Kzg, &small, &path);
    assert!(matches!(
        refused,
        Err(SetupError::Srs(SrsError::TooSmall { needed, got })) if needed == k && got == k - 1
    ));
    for system in [ProofSystem::Groth16, ProofSystem::UltraGroth] {
        let refused = set_up(&program, system, &small, &path).unwrap_err();
        assert!(matches!(refused, SetupError::Source { .. }));
        assert!(refused.to_string().contains("halo2-kzg"));
    }
    // Two powers swapped, and every digest of the file made right again.
    let right = development(folder.path(), 1, k);
    let mut bytes = fs::read(right.path()).unwrap();
    let (a, b) = bytes[4096 + 64 * 9..4096 + 64 * 11].split_at_mut(64);
    a.swap_with_slice(b);
    let digest: [u8; 32] = Sha256::digest(&bytes[4096..4096 + (64 << k)]).into();
    bytes[344..376].copy_from_slice(&digest);
    let digest: [u8; 32] = Sha256::digest(&bytes[..4064]).into();
    bytes[4064..4096].copy_from_slice(&digest);
    let changed = folder.path().join("changed.srs");
    fs::write(&changed, &bytes).unwrap();
    let refused = set_up(
        &program,
        ProofSystem::Halo2Kzg,
        &Srs::open(&changed).unwrap(),
        &path,
    );
    assert!(matches!(refused, Err(SetupError::Srs(SrsError::Pairing))));
    assert!(!path.exists());
}

/// A proving key with the header of one key and the sections of another.
fn forge(header: &KeyHeader, sections: &Bundle, path: &Path) -> ProvingKeyFile {
    let key = sections.key();
    let mut writer = KeyWriter::create(path).unwrap();
    writer.begin(header).unwrap();
    for section in key.sections() {
        writer.start_section(section.kind, section.count).unwrap();
        let bytes = key.read_section(section.kind, section.count).unwrap();
        writer.append(&bytes).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn a_key_made_with_another_reference_string_is_refused() {
    let one = Bundle::new(dense(5), ProofSystem::Halo2Kzg, 1);
    let other = Bundle::new(dense(5), ProofSystem::Halo2Kzg, 2);
    let forged = forge(
        one.key().header(),
        &other,
        &one.dir.path().join("forged.key"),
    );
    let refused = one
        .backend
        .prepare(one.program.clone(), forged, one.vk.clone())
        .err();
    assert!(
        matches!(refused, Some(PrepareError::OtherSrs)),
        "{refused:?}"
    );

    // Sections of another size, and points that are none.
    let large = Bundle::new(layers(40, 2), ProofSystem::Halo2Kzg, 1);
    if large.key().section(SectionKind::Monomial).unwrap().count
        != one.key().section(SectionKind::Monomial).unwrap().count
    {
        let forged = forge(
            one.key().header(),
            &large,
            &one.dir.path().join("large.key"),
        );
        let refused = one
            .backend
            .prepare(one.program.clone(), forged, one.vk.clone())
            .err();
        assert!(matches!(refused, Some(PrepareError::SectionCount { .. })));
    }
    let path = one.dir.path().join("points.key");
    let key = one.key();
    let mut writer = KeyWriter::create(&path).unwrap();
    writer.begin(key.header()).unwrap();
    for section in key.sections() {
        let mut bytes = key.read_section(section.kind, section.count).unwrap();
        bytes[70] ^= 1;
        writer.start_section(section.kind, section.count).unwrap();
        writer.append(&bytes).unwrap();
    }
    let forged = writer.finish().unwrap();
    let refused = one
        .backend
        .prepare(one.program.clone(), forged, one.vk.clone())
        .err();
    assert!(
        matches!(refused, Some(PrepareError::Keygen(_))),
        "{refused:?}"
    );
}

#[test]
fn the_library_reads_our_files_and_we_read_the_librarys() {
    const K: u32 = 6;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let consistent = |params: &ParamsKZG<Bn256>| {
        let domain = EvaluationDomain::<Fr>::new(1, params.k());
        let mut values = domain.empty_lagrange();
        values.iter_mut().for_each(|v| *v = Fr::random(OsRng));
        let coefficients = domain.lagrange_to_coeff(values.clone());
        let blind = Blind(Fr::ZERO);
        params.commit(&coefficients, blind) == params.commit_lagrange(&values, blind)
    };
    let srs = development(folder.path(), 1, K);
    library::export(&srs, K, &at("ours"), &mut quiet).unwrap();
    let bytes = fs::read(at("ours")).unwrap();
    let ours = ParamsKZG::<Bn256>::read_custom(&mut &bytes[..], SerdeFormat::RawBytes).unwrap();
    assert!(consistent(&ours));

    let theirs = ParamsKZG::<Bn256>::setup(K, OsRng);
    let mut bytes = Vec::new();
    theirs
        .write_custom(&mut bytes, SerdeFormat::RawBytes)
        .unwrap();
    fs::write(at("theirs"), &bytes).unwrap();
    let imported = import(&at("theirs"), &at("theirs.srs"));
    imported.verify(&mut quiet).unwrap();
    library::export(&imported, K, &at("back"), &mut quiet).unwrap();
    assert!(fs::read(at("back")).unwrap() == bytes);
    // The library's file cut down here is what the library cuts it down to.
    library::export(&imported, 4, &at("cut"), &mut quiet).unwrap();
    let mut cut = theirs;
    cut.downsize(4);
    let mut bytes = Vec::new();
    cut.write_custom(&mut bytes, SerdeFormat::RawBytes).unwrap();
    assert!(fs::read(at("cut")).unwrap() == bytes);
}

#[test]
fn every_system_proves_the_same_outputs() {
    let program = layers(5, 2);
    let one = input(&program, 3);
    let proven = ProofSystem::ALL.map(|system| {
        let bundle = Bundle::new(program.clone(), system, 1);
        let proven = bundle.prover().prove(&one, &mut rng(1), &Silent).unwrap();
        (proven.statement, proven.outputs)
    });
    assert_eq!(proven[0], proven[1]);
    assert_eq!(proven[1], proven[2]);
}

#[test]
fn the_comparison_has_every_system_and_a_reason() {
    let compared = compare(&layers(40, 2)).unwrap();
    let systems: Vec<ProofSystem> = compared.quotes.iter().map(|quote| quote.system).collect();
    assert_eq!(systems, ProofSystem::ALL);
    assert!(compared.refused.is_empty());
    assert!(systems.contains(&compared.recommended));
    assert!(compared.reason.contains("ceremony"), "{}", compared.reason);
    for quote in &compared.quotes {
        assert!(quote.transaction_gas > quote.gas + 21_000);
    }
}
