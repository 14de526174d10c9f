//! Reference strings: honest files of every origin, and every lie that a file can tell.
#![allow(clippy::unwrap_used)]

mod srs_files;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use ark_bn254::{Fr, G1Affine, G1Projective, G2Affine, G2Projective};
use ark_ec::{AffineRepr, CurveGroup, PrimeGroup};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use srs_files::{Ptau, file, knows, trapdoor};
use zkinfer_params::dev_setup::{development_srs, development_srs_part};
use zkinfer_params::srs::{
    Ceremonies, Origin, Place, PointFault, Srs, SrsError, SrsHome, SrsSection, SrsStep, library,
    ptau,
};

const POWER: u32 = 6;

fn quiet(_: SrsStep, _: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A folder for one test.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Imports the bytes of a `.ptau` file; a refused file leaves nothing.
    fn import(&self, bytes: &[u8], known: &Ceremonies) -> Result<Srs, SrsError> {
        let (from, to) = (self.path("in.ptau"), self.path("out.srs"));
        let _ = fs::remove_file(&to);
        fs::write(&from, bytes).unwrap();
        let srs = ptau::import(&from, known, None, Place::File(&to), &mut quiet);
        if srs.is_err() {
            assert_eq!(fs::read_dir(self.0.path()).unwrap().count(), 1);
        }
        srs
    }

    fn refused(&self, ptau: &Ptau) -> SrsError {
        let bytes = ptau.encode();
        self.import(&bytes, &knows(&bytes)).unwrap_err()
    }
}

fn honest() -> Vec<u8> {
    Ptau::new(POWER).encode()
}

#[test]
fn an_imported_file_gives_every_circuit_size_the_points_of_tau() {
    let folder = Folder::new();
    let bytes = honest();
    let srs = folder.import(&bytes, &knows(&bytes)).unwrap();
    assert_eq!(srs.k(), POWER);
    assert!(matches!(srs.origin(), Origin::Ceremony { name, .. } if name == "the test's ceremony"));
    srs.verify(&mut quiet).unwrap();
    for k in 1..=POWER {
        let expected = development_srs_part(&trapdoor(), k, &mut quiet).unwrap();
        assert!(srs.load(k, &mut quiet).unwrap() == expected, "k = {k}");
    }
    let again = Srs::open(srs.path()).unwrap();
    assert_eq!(again.id(), srs.id());
    assert_eq!(again.file_bytes(), fs::metadata(srs.path()).unwrap().len());
}

#[test]
fn a_file_without_lagrange_forms_gets_the_same_points() {
    let folder = Folder::new();
    let mut file = Ptau::new(POWER);
    file.lagrange = None;
    let bytes = file.encode();
    let srs = folder.import(&bytes, &knows(&bytes)).unwrap();
    srs.verify(&mut quiet).unwrap();
    // The largest form is in the file, a smaller one is computed.
    for k in [POWER, 3, 1] {
        let expected = development_srs_part(&trapdoor(), k, &mut quiet).unwrap();
        assert!(srs.load(k, &mut quiet).unwrap() == expected);
    }
}

#[test]
fn a_part_of_a_file_can_be_imported_and_cut_off() {
    let folder = Folder::new();
    let bytes = honest();
    let (from, to) = (folder.path("in.ptau"), folder.path("small.srs"));
    fs::write(&from, &bytes).unwrap();
    let known = knows(&bytes);
    let srs = ptau::import(&from, &known, Some(4), Place::File(&to), &mut quiet).unwrap();
    srs.verify(&mut quiet).unwrap();
    assert_eq!(srs.k(), 4);
    let cut = folder.path("cut.srs");
    let cut = srs.truncate(3, Place::File(&cut), &mut quiet).unwrap();
    cut.verify(&mut quiet).unwrap();
    assert_eq!((cut.k(), cut.origin()), (3, srs.origin()));
    let expected = development_srs_part(&trapdoor(), 3, &mut quiet).unwrap();
    assert!(cut.load(3, &mut quiet).unwrap() == expected);
    let zero = ptau::import(&from, &known, Some(0), Place::File(&to), &mut quiet);
    assert!(matches!(zero, Err(SrsError::K { got: 0 })));
}

#[test]
fn a_reference_string_that_is_too_small_says_so() {
    let folder = Folder::new();
    let bytes = honest();
    let srs = folder.import(&bytes, &knows(&bytes)).unwrap();
    let refused = srs.load(POWER + 1, &mut quiet).unwrap_err();
    assert!(matches!(refused, SrsError::TooSmall { needed: 7, got: 6 }));
    assert!(refused.to_string().contains("2^7"));
}

#[test]
fn a_file_that_no_list_knows_is_refused_with_its_digests() {
    let folder = Folder::new();
    let bytes = honest();
    let refused = folder.import(&bytes, &Ceremonies::built_in()).unwrap_err();
    let SrsError::UnknownDigest { digests, known } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(*known, 21);
    assert_eq!(digests.sha256, <[u8; 32]>::from(Sha256::digest(&bytes)));
    let blake2b: String = digests.blake2b.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(blake2b, blake2b_simd::blake2b(&bytes).to_hex().as_str());
    // The printed digest is what a list takes.
    let list = format!(r#"[{{"name":"mine","blake2b":"{blake2b}"}}]"#);
    let list = Ceremonies::parse(list.as_bytes()).unwrap();
    assert!(folder.import(&bytes, &list).is_ok());
    assert!(refused.to_string().contains(&blake2b));
}

#[test]
fn a_file_of_another_curve_is_refused() {
    let folder = Folder::new();
    let mut other = Ptau::new(1);
    other.modulus[0] ^= 2;
    assert!(matches!(folder.refused(&other), SrsError::Curve { .. }));
    // BLS12-381's coordinates have 48 bytes.
    other.modulus = vec![0xab; 48];
    let refused = folder.refused(&other);
    assert!(refused.to_string().contains("another curve"), "{refused}");
}

#[test]
fn points_that_are_no_powers_of_one_tau_fail_the_pairing_check() {
    let folder = Folder::new();
    let n = 1usize << POWER;
    let other = (G1Projective::generator() * Fr::from(5u64)).into_affine();
    for i in [1, 2, 17, n - 2, n - 1] {
        let mut file = Ptau::new(POWER);
        file.g1[i] = other;
        let refused = folder.refused(&file);
        assert!(matches!(refused, SrsError::Pairing), "power {i}: {refused}");
    }
    // Powers of a τ that is not the one in G2; two powers swapped.
    let mut file = Ptau::new(POWER);
    file.g2[1] = (G2Projective::generator() * Fr::from(5u64)).into_affine();
    assert!(matches!(folder.refused(&file), SrsError::Pairing));
    let mut file = Ptau::new(POWER);
    file.g1.swap(3, 4);
    assert!(matches!(folder.refused(&file), SrsError::Pairing));
    let mut file = Ptau::new(POWER);
    file.g1[0] = other;
    assert!(matches!(folder.refused(&file), SrsError::Generator { .. }));
    let mut file = Ptau::new(POWER);
    file.g2[0] = file.g2[1];
    assert!(matches!(folder.refused(&file), SrsError::Generator { .. }));
}

#[test]
fn a_lagrange_form_of_other_points_is_refused() {
    let folder = Folder::new();
    for level in 0..=POWER {
        let mut file = Ptau::new(POWER);
        let points = file.lagrange.as_mut().unwrap();
        let at = (1 << level) - 1;
        points[at] = (points[at] + G1Affine::generator()).into_affine();
        let refused = folder.refused(&file);
        assert!(matches!(refused, SrsError::Lagrange), "level {level}");
    }
    let mut file = Ptau::new(POWER);
    file.lagrange.as_mut().unwrap().swap(40, 41);
    assert!(matches!(folder.refused(&file), SrsError::Lagrange));
}

#[test]
fn the_first_file_of_a_ceremony_is_refused() {
    let folder = Folder::new();
    let mut file = Ptau::new(3);
    file.g1.fill(G1Affine::generator());
    file.g2.fill(G2Affine::generator());
    file.lagrange = None;
    assert!(matches!(folder.refused(&file), SrsError::NoContribution));
}

#[test]
fn points_that_are_none_are_refused_by_place() {
    let folder = Folder::new();
    let mut infinity = Ptau::new(3);
    infinity.g1[5] = G1Affine::identity();
    assert!(matches!(
        folder.refused(&infinity),
        SrsError::Point {
            section: SrsSection::Monomial,
            index: 5,
            fault: PointFault::Infinity
        }
    ));
    let honest = Ptau::new(3).encode();
    // Section 2 begins after 12 + 12 + 44 + 12 bytes.
    for (byte, value, expected) in [
        (80 + 64 * 2, None, PointFault::OffCurve),
        (80 + 64 * 2 + 31, Some(0xff), PointFault::NotCanonical),
    ] {
        let mut bytes = honest.clone();
        bytes[byte] = value.unwrap_or(bytes[byte] ^ 1);
        let refused = folder.import(&bytes, &knows(&bytes)).unwrap_err();
        assert!(
            matches!(&refused, SrsError::Point { index: 2, fault, .. } if *fault == expected),
            "{refused}"
        );
    }
}

#[test]
fn every_truncation_and_trailing_bytes_are_refused() {
    let folder = Folder::new();
    let bytes = Ptau::new(2).encode();
    for len in (0..bytes.len())
        .step_by(7)
        .chain(bytes.len() - 3..bytes.len())
    {
        let cut = &bytes[..len];
        assert!(folder.import(cut, &knows(cut)).is_err(), "{len} bytes");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(
        folder.import(&longer, &knows(&longer)),
        Err(SrsError::Length { .. })
    ));
}

#[test]
fn impossible_numbers_are_refused_before_anything_is_allocated() {
    let folder = Folder::new();
    let bytes = Ptau::new(2).encode();
    let with = |at: usize, value: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        folder.import(&bytes, &knows(&bytes)).unwrap_err()
    };
    // Version, sections, the first section's kind and length, a coordinate's length, power, the ceremony's, section 2's length.
    let huge = u64::MAX.to_le_bytes();
    for (at, value) in [
        (4, &2u32.to_le_bytes()[..]),
        (8, &0u32.to_le_bytes()),
        (8, &u32::MAX.to_le_bytes()),
        (12, &2u32.to_le_bytes()),
        (16, &huge),
        (24, &u32::MAX.to_le_bytes()),
        (24, &0u32.to_le_bytes()),
        (60, &28u32.to_le_bytes()),
        (60, &0u32.to_le_bytes()),
        (60, &u32::MAX.to_le_bytes()),
        (64, &1u32.to_le_bytes()),
        (72, &huge),
        (72, &0u64.to_le_bytes()),
    ] {
        let refused = with(at, value);
        assert!(
            !matches!(
                refused,
                SrsError::UnknownDigest { .. } | SrsError::Io { .. }
            ),
            "byte {at}: {refused}"
        );
    }
    assert!(matches!(with(0, b"PTAU"), SrsError::NotPtau));
    let header = (1u32, bytes[24..68].to_vec());
    for sections in [
        vec![header.clone()],
        vec![header.clone(), header.clone()],
        vec![(2, vec![0; 64]), header],
    ] {
        let bytes = file(&sections);
        assert!(matches!(
            folder.import(&bytes, &knows(&bytes)),
            Err(SrsError::Malformed { .. })
        ));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// The list knows the changed file, so that only the importer's own checks stand in the way.
    #[test]
    fn a_changed_file_is_refused_or_still_the_same_powers(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        small in any::<bool>(),
    ) {
        let folder = Folder::new();
        let honest = Ptau::new(2).encode();
        let mut bytes = honest.clone();
        for (at, value) in edits {
            let range = if small { 100 } else { honest.len() };
            bytes[at.index(range)] = value;
        }
        if let Ok(srs) = folder.import(&bytes, &knows(&bytes)) {
            let expected = development_srs_part(&trapdoor(), srs.k(), &mut quiet).unwrap();
            prop_assert!(srs.load(srs.k(), &mut quiet).unwrap() == expected);
        }
    }

    #[test]
    fn a_changed_reference_string_is_refused(
        at in any::<prop::sample::Index>(), mask in 1u8..
    ) {
        let folder = Folder::new();
        let path = folder.path("a.srs");
        let srs = development_srs(&trapdoor(), 6, Place::File(&path), &mut quiet).unwrap();
        srs.verify(&mut quiet).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        fs::write(&path, &bytes).unwrap();
        prop_assert!(Srs::open(&path).and_then(|srs| srs.verify(&mut quiet)).is_err());
    }
}

#[test]
fn a_reference_string_changed_with_its_digests_fails_the_checks() {
    let folder = Folder::new();
    let path = folder.path("a.srs");
    drop(development_srs(&trapdoor(), 6, Place::File(&path), &mut quiet).unwrap());
    let mut bytes = fs::read(&path).unwrap();
    // Two powers swapped, the section's digest and the header's made right again.
    let at = 4096 + 64 * 7;
    let (a, b) = bytes[at..at + 128].split_at_mut(64);
    a.swap_with_slice(b);
    let digest: [u8; 32] = Sha256::digest(&bytes[4096..4096 + 64 * 64]).into();
    bytes[344..376].copy_from_slice(&digest);
    let digest: [u8; 32] = Sha256::digest(&bytes[..4064]).into();
    bytes[4064..4096].copy_from_slice(&digest);
    fs::write(&path, &bytes).unwrap();
    let srs = Srs::open(&path).unwrap();
    assert!(matches!(srs.verify(&mut quiet), Err(SrsError::Pairing)));
    assert!(matches!(srs.load(4, &mut quiet), Err(SrsError::Pairing)));
}

#[test]
fn truncated_reference_strings_and_other_files_are_refused() {
    let folder = Folder::new();
    let path = folder.path("a.srs");
    drop(development_srs(&trapdoor(), 6, Place::File(&path), &mut quiet).unwrap());
    let bytes = fs::read(&path).unwrap();
    let other = folder.path("b.srs");
    for len in [0, 7, 8, 12, 4095, 4096, 4097, bytes.len() - 1] {
        fs::write(&other, &bytes[..len]).unwrap();
        assert!(Srs::open(&other).is_err(), "{len} bytes");
    }
    fs::write(&other, [&bytes[..], &[0]].concat()).unwrap();
    assert!(matches!(Srs::open(&other), Err(SrsError::Length { .. })));
    fs::write(&other, honest()).unwrap();
    let refused = Srs::open(&other).unwrap_err().to_string();
    assert!(refused.contains("params import"), "{refused}");
    assert!(matches!(
        Srs::open(folder.0.path()),
        Err(SrsError::NotAFile { .. })
    ));
    assert!(matches!(
        Srs::open(&folder.path("none")),
        Err(SrsError::Io { .. })
    ));
}

#[test]
fn the_library_format_goes_out_and_comes_in_again() {
    let folder = Folder::new();
    let (path, raw, back) = (
        folder.path("a.srs"),
        folder.path("raw"),
        folder.path("b.srs"),
    );
    let srs = development_srs(&trapdoor(), POWER, Place::File(&path), &mut quiet).unwrap();
    assert_eq!(*srs.origin(), Origin::Development);
    library::export(&srs, 5, &raw, &mut quiet).unwrap();
    let bytes = fs::read(&raw).unwrap();
    assert_eq!(bytes.len(), 4 + 2 * 64 * 32 + 256);
    let known = knows(&bytes);
    let import = |max_k, known: &Ceremonies| {
        library::import(&raw, known, max_k, Place::File(&back), &mut quiet)
    };
    for (max_k, k) in [(None, 5), (Some(3), 3), (Some(9), 5)] {
        let again = import(max_k, &known).unwrap();
        again.verify(&mut quiet).unwrap();
        let expected = development_srs_part(&trapdoor(), k, &mut quiet).unwrap();
        assert!(again.load(k, &mut quiet).unwrap() == expected);
    }
    assert!(matches!(
        import(None, &Ceremonies::none()),
        Err(SrsError::UnknownDigest { known: 0, .. })
    ));
    for (at, xor) in [
        (0, 1u8),
        (3, 0xff),
        (4 + 64 * 3, 1),
        (4 + 64 * 40, 1),
        (bytes.len() - 1, 1),
    ] {
        let mut bytes = bytes.clone();
        bytes[at] ^= xor;
        fs::write(&raw, &bytes).unwrap();
        assert!(import(None, &knows(&bytes)).is_err(), "byte {at}");
    }
    // Lagrange points in the order of another root of unity.
    let mut swapped = bytes.clone();
    let lagrange = 4 + 64 * 32;
    let (a, b) = swapped[lagrange + 64..lagrange + 192].split_at_mut(64);
    a.swap_with_slice(b);
    fs::write(&raw, &swapped).unwrap();
    assert!(matches!(
        import(None, &knows(&swapped)),
        Err(SrsError::Lagrange)
    ));
}

#[test]
fn a_folder_lists_finds_and_extends_what_is_known() {
    let folder = Folder::new();
    let home = SrsHome::open(&folder.path("params")).unwrap();
    let bytes = honest();
    let source = folder.path("in.ptau");
    fs::write(&source, &bytes).unwrap();
    let import =
        |known: &Ceremonies| ptau::import(&source, known, None, Place::Home(&home), &mut quiet);
    assert!(import(&home.ceremonies().unwrap()).is_err());
    assert_eq!(home.list().unwrap().len(), 0);
    let digest = blake2b_simd::blake2b(&bytes).to_hex();
    let list = home.root().join("ceremonies.json");
    fs::write(
        &list,
        format!(r#"[{{"name":"mine","blake2b":"{digest}"}}]"#),
    )
    .unwrap();
    let known = home.ceremonies().unwrap();
    assert_eq!(known.len(), 22);
    let srs = import(&known).unwrap();
    // Importing twice keeps one file.
    assert_eq!(import(&known).unwrap().id(), srs.id());
    let dev = development_srs(&trapdoor(), 3, Place::Home(&home), &mut quiet).unwrap();
    assert_eq!(home.list().unwrap().len(), 2);
    let name = |srs: &Srs| srs.path().file_stem().unwrap().to_str().unwrap().to_owned();
    assert_eq!(home.find(&name(&srs)[..12]).unwrap().id(), srs.id());
    assert_eq!(home.find(&name(&dev)).unwrap().k(), 3);
    assert!(matches!(home.find("xyz"), Err(SrsError::Missing { .. })));
    assert!(matches!(home.find(""), Err(SrsError::Missing { .. })));
    fs::copy(
        dev.path(),
        home.root().join(format!("{}0.srs", &name(&srs)[..12])),
    )
    .unwrap();
    // A file under another file's name is not that file.
    assert_eq!(home.find(&name(&srs)[..12]).unwrap().id(), srs.id());
    let own = fs::read(srs.path()).unwrap();
    fs::copy(dev.path(), srs.path()).unwrap();
    assert!(matches!(
        home.find(&name(&srs)),
        Err(SrsError::Missing { .. })
    ));
    fs::write(srs.path(), own).unwrap();
    fs::write(home.root().join("damaged.srs"), b"zkinfsrs").unwrap();
    let entries = home.list().unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.srs.is_err()).count(), 1);
    fs::write(&list, "[1]").unwrap();
    assert!(matches!(home.ceremonies(), Err(SrsError::Ceremony(_))));
}

#[test]
fn a_cancelled_import_leaves_nothing() {
    let folder = Folder::new();
    let bytes = honest();
    let (from, to) = (folder.path("in.ptau"), folder.path("out.srs"));
    fs::write(&from, &bytes).unwrap();
    let mut stop = |_, _, _| ControlFlow::Break(());
    let refused = ptau::import(&from, &knows(&bytes), None, Place::File(&to), &mut stop);
    assert!(matches!(refused, Err(SrsError::Cancelled)));
    assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 1);
}

/// snarkjs in the folder of the tools.
fn snarkjs(folder: &Path, arguments: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../.ci/node_modules/snarkjs/build/cli.cjs")
        .canonicalize()
        .expect("this test needs node and snarkjs; install them with `npm ci --prefix .ci` in the repository's root");
    let output = Command::new("node")
        .arg(script)
        .args(arguments.split(' '))
        .current_dir(folder)
        .output()
        .expect("node runs; install Node.js 20 or newer");
    assert!(output.status.success(), "snarkjs {arguments}: {output:?}");
}

#[test]
fn a_file_that_snarkjs_made_is_imported_before_and_after_its_preparation() {
    let folder = Folder::new();
    for command in [
        "powersoftau new bn128 7 first.ptau",
        "powersoftau contribute first.ptau raw.ptau --name=test -e=entropy",
        "powersoftau prepare phase2 raw.ptau prepared.ptau",
    ] {
        snarkjs(folder.0.path(), command);
    }
    let import = |name: &str, max_k| {
        let (from, to) = (folder.path(name), folder.path(&format!("{name}.srs")));
        let known = knows(&fs::read(&from).unwrap());
        ptau::import(&from, &known, max_k, Place::File(&to), &mut quiet)
    };
    assert!(matches!(
        import("first.ptau", None),
        Err(SrsError::NoContribution)
    ));
    let (raw, prepared) = (
        import("raw.ptau", None).unwrap(),
        import("prepared.ptau", None).unwrap(),
    );
    prepared.verify(&mut quiet).unwrap();
    assert_eq!(raw.s_g2(), prepared.s_g2());
    for k in [7, 5, 1] {
        // What snarkjs computed and what is computed here is one Lagrange form.
        assert!(raw.load(k, &mut quiet).unwrap() == prepared.load(k, &mut quiet).unwrap());
    }
    assert_eq!(import("prepared.ptau", Some(4)).unwrap().k(), 4);
}
