//! Known answers, and everything that must not open.

use std::{collections::BTreeSet, io::Write as _};

use p256::elliptic_curve::sec1::ToSec1Point as _;
use proptest::prelude::*;

use super::*;

fn key() -> Key {
    Key::new(std::array::from_fn(|i| i as u8))
}

fn vault() -> Vault {
    Vault::from_key(key())
}

fn other_vault() -> Vault {
    Vault::from_key(Key::new([7; 32]))
}

fn plain(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + (i >> 8)) as u8).collect()
}

fn sealed(len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    seal_frames(&key(), &mut &plain(len)[..], &mut out).expect("seal");
    out
}

fn secret(n: u8) -> p256::SecretKey {
    p256::SecretKey::from_slice(&[n; 32]).expect("a scalar")
}

fn public(n: u8) -> Vec<u8> {
    let point = secret(n).public_key().to_sec1_point(false);
    point.as_bytes().to_vec()
}

fn unhex(s: &str) -> Vec<u8> {
    hex::decode(s).expect("hex")
}

fn is_refused<T>(opened: Result<T, SealError>) -> bool {
    matches!(opened, Err(SealError::NotAuthentic { .. }))
}

/// `tests/vectors/sealed.py`.
#[test]
fn another_implementation_makes_the_same_bytes() {
    let digests = [
        (
            0,
            "34d1109210ab966e613094e6cad1184ea9d0465040a883f8fede10b814b473b0",
        ),
        (
            5,
            "98bf31b62daf051da9c245b815bf00a58314dfe2f23619fe84def63d727b573a",
        ),
        (
            FRAME,
            "7d69281bc6e1d4692a801bdcfa4577634be832ae9ac8dc3f6118d151f58b0e21",
        ),
        (
            2 * FRAME + 1000,
            "9d558ab2ea927e476280485024778e871b65ee6750d2646a998a511f89560614",
        ),
    ];
    for (len, digest) in digests {
        assert_eq!(Digest::of(&sealed(len)).to_string(), digest, "{len}");
    }
    assert_eq!(format!("{:?}", vault()), "Vault(08588e46516c5b0b)");
    assert_eq!(
        vault().identity(&plain(5)).to_string(),
        "d887ec71b51b1b43f12a0a033cb53c00060429bffacd29ff5152cb64d07c0f9d"
    );
    let wrapped = unhex(
        "0108588e46516c5b0b6465666768696a6b6c6d6e6f707172732491aa0c804e01cc0811cd49b7fefd4fb894045760809de2e758ce538e13aff7de982d2f74e207a3f98ff85960978aaa",
    );
    let data_key = vault().unwrap_key(&wrapped).expect("unwrap");
    assert_eq!(data_key[..], (200..232).collect::<Vec<u8>>()[..]);
    // The file: its header is what makes it deterministic.
    let folder = tempfile::tempdir().expect("temp dir");
    let path = folder.path().join("file");
    let mut header = b"zkseal\0\x01".to_vec();
    header.extend(unhex("08588e46516c5b0b"));
    header.extend(100..116);
    fs::write(&path, header).expect("header");
    let mut file = vault().append_file(&path).expect("open");
    file.write_all(&plain(2 * FRAME + 1000)).expect("write");
    assert_eq!(
        Digest::of(&fs::read(&path).expect("read")).to_string(),
        "29776e4b81f6eb66d98e39c2b18fc71c7aa97748fe6de758474ee27a1b48beb5"
    );
}

/// `test-vectors.json` of the CFRG for RFC 9180: mode 0, kem 16, kdf 1, aead 2, the first encryption.
#[test]
fn hpke_opens_the_known_answer_of_the_rfc() {
    let secret = p256::SecretKey::from_slice(&unhex(
        "317f915db7bc629c48fe765587897e01e282d3e8445f79f27f65d031a88082b2",
    ));
    let opened = open_hpke(
        &secret.expect("a scalar"),
        &unhex(
            "04c06b4f6bebc7bb495cb797ab753f911aff80aefb86fd8b6fcc35525f3ab5f03e0b21bd31a86c6048af3cb2d98e0d3bf01da5cc4c39ff5370d331a4f1f7d5a4e0",
        ),
        &unhex(
            "58c61a45059d0c5704560e9d88b564a8b63f1364b8d1fcb3c4c6ddc1d291742465e902cd216f8908da49f8f96f",
        ),
        b"Ode on a Grecian Urn",
        b"Count-0",
    );
    assert_eq!(
        opened.expect("opens")[..],
        b"Beauty is truth, truth beauty"[..]
    );
}

#[test]
fn what_is_sealed_opens_at_every_length() {
    for len in [
        0,
        1,
        16,
        FRAME - 1,
        FRAME,
        FRAME + 1,
        2 * FRAME,
        2 * FRAME + 5,
    ] {
        let sealed = vault().seal(&plain(len)).expect("seal");
        assert_eq!(sealed.bytes.len() as u64, sealed_len(len as u64), "{len}");
        let data_key = vault().unwrap_key(&sealed.wrapped_key).expect("unwrap");
        let opened = open_sealed(&data_key, &sealed.bytes).expect("open");
        assert!(opened[..] == plain(len)[..], "{len}");
    }
}

#[test]
fn every_sealing_has_a_key_of_its_own() {
    let (a, b) = (
        vault().seal(b"x").expect("seal"),
        vault().seal(b"x").expect("seal"),
    );
    assert_ne!(a.bytes, b.bytes);
    assert_ne!(a.wrapped_key, b.wrapped_key);
    let data_key = vault().unwrap_key(&a.wrapped_key).expect("unwrap");
    assert!(is_refused(open_sealed(&data_key, &b.bytes)));
}

#[test]
fn a_flipped_bit_anywhere_does_not_open() {
    let small = sealed(40);
    for bit in 0..small.len() * 8 {
        let mut changed = small.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(is_refused(open_sealed(&key(), &changed)), "bit {bit}");
    }
    let large = sealed(2 * FRAME + 9);
    for at in [
        0,
        FRAME - 1,
        FRAME,
        FRAME + TAG,
        2 * FRAME,
        large.len() - 17,
        large.len() - 1,
    ] {
        let mut changed = large.clone();
        changed[at] ^= 0x80;
        assert!(is_refused(open_sealed(&key(), &changed)), "byte {at}");
    }
}

#[test]
fn cut_swapped_dropped_repeated_and_added_frames_do_not_open() {
    let whole = sealed(2 * FRAME + 9);
    let frame = |n: usize| &whole[n * (FRAME + TAG)..((n + 1) * (FRAME + TAG)).min(whole.len())];
    let (a, b, c) = (frame(0), frame(1), frame(2));
    assert!(open_sealed(&key(), &[a, b, c].concat()).is_ok());
    let lies: [&[&[u8]]; 11] = [
        &[],
        &[a],
        &[a, b],
        &[a, c],
        &[b, c],
        &[c],
        &[b, a, c],
        &[a, a, c],
        &[a, b, b, c],
        &[a, b, c, c],
        &[a, b, c, a],
    ];
    for (n, lie) in lies.iter().enumerate() {
        assert!(is_refused(open_sealed(&key(), &lie.concat())), "lie {n}");
    }
    for cut in [1, 9, 16, 24, 25, 26, FRAME, whole.len() - 15, whole.len()] {
        let short = &whole[..whole.len() - cut];
        assert!(is_refused(open_sealed(&key(), short)), "cut by {cut}");
    }
    assert!(is_refused(open_sealed(
        &key(),
        &[&whole[..], b"x"].concat()
    )));
    // A frame of zero bytes at the end is a second way to say the same, even by who has the key.
    let mut empty_end = Vec::new();
    let cipher = cipher(&key());
    for (mut part, nonce) in [
        (plain(FRAME), [0; 12]),
        (Vec::new(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]),
    ] {
        cipher
            .encrypt_in_place(&nonce.into(), &[], &mut part)
            .expect("seal");
        empty_end.extend(part);
    }
    assert!(is_refused(open_sealed(&key(), &empty_end)));
}

#[test]
fn what_is_written_before_the_end_of_a_cut_stream_is_authentic() {
    let whole = sealed(2 * FRAME);
    let mut out = Vec::new();
    let cut = &mut &whole[..whole.len() - 1];
    assert!(is_refused(open_frames(&key(), cut, &mut out)));
    assert!(out == plain(FRAME));
}

#[test]
fn another_key_does_not_open() {
    let sealed = vault().seal(b"tensors").expect("seal");
    assert!(is_refused(open_sealed(&Key::new([1; 32]), &sealed.bytes)));
    assert!(matches!(
        other_vault().unwrap_key(&sealed.wrapped_key),
        Err(SealError::OtherKey { .. })
    ));
    // Nor when the id is forged.
    let mut forged = sealed.wrapped_key.clone();
    forged[1..=ID_LEN].copy_from_slice(&other_vault().id);
    assert!(is_refused(other_vault().unwrap_key(&forged)));
}

#[test]
fn a_changed_wrapped_key_does_not_unwrap() {
    let wrapped = vault().seal(b"").expect("seal").wrapped_key;
    assert!(vault().unwrap_key(&wrapped).is_ok());
    for bit in 0..wrapped.len() * 8 {
        let mut changed = wrapped.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(vault().unwrap_key(&changed).is_err(), "bit {bit}");
    }
    for len in [0, 1, wrapped.len() - 1] {
        assert!(matches!(
            vault().unwrap_key(&wrapped[..len]),
            Err(SealError::Length { expected: 73, .. })
        ));
    }
}

#[test]
fn only_the_node_of_the_lease_opens_its_key() {
    let wrapped = vault().seal(b"").expect("seal").wrapped_key;
    let data_key = vault().unwrap_key(&wrapped).expect("unwrap");
    let job = JobId::fresh();
    let aad = binding(job, 3);
    let leased = vault()
        .wrap_for_node(&wrapped, &public(5), &aad)
        .expect("wrap");
    assert_eq!(leased.len(), FOR_NODE_LEN);
    assert_eq!(
        open_wrapped(&secret(5), &leased, &aad).expect("open"),
        data_key
    );
    assert!(is_refused(open_wrapped(&secret(6), &leased, &aad)));
    for other in [binding(job, 4), binding(job, 2), binding(JobId::fresh(), 3)] {
        assert!(is_refused(open_wrapped(&secret(5), &leased, &other)));
    }
    for byte in 0..leased.len() {
        let mut changed = leased.clone();
        changed[byte] ^= 1;
        assert!(
            is_refused(open_wrapped(&secret(5), &changed, &aad)),
            "byte {byte}"
        );
    }
    for len in [0, 64, 112] {
        let cut = open_wrapped(&secret(5), &leased[..len], &aad);
        assert!(matches!(cut, Err(SealError::Length { expected: 113, .. })));
    }
    assert!(matches!(
        other_vault().wrap_for_node(&wrapped, &public(5), &aad),
        Err(SealError::OtherKey { .. })
    ));
}

#[test]
fn a_key_is_not_wrapped_for_what_is_no_point() {
    let wrapped = vault().seal(b"").expect("seal").wrapped_key;
    let compressed = secret(5).public_key().to_sec1_point(true);
    let mut off_curve = public(5);
    off_curve[64] ^= 1;
    let mut infinity = vec![0; 65];
    infinity[0] = 4;
    for bad in [
        Vec::new(),
        vec![0],
        compressed.as_bytes().to_vec(),
        off_curve,
        infinity,
    ] {
        assert!(matches!(
            vault().wrap_for_node(&wrapped, &bad, &[]),
            Err(SealError::NodeKey)
        ));
    }
}

#[test]
fn an_identity_depends_on_the_key_and_is_no_digest() {
    assert_eq!(vault().identity(b"a"), vault().identity(b"a"));
    assert_ne!(vault().identity(b"a"), vault().identity(b"b"));
    assert_ne!(vault().identity(b"a"), other_vault().identity(b"a"));
    assert_ne!(vault().identity(b"a"), Digest::of(b"a"));
}

#[test]
fn the_key_file_is_made_once_for_the_owner_only() {
    let folder = tempfile::tempdir().expect("temp dir");
    let path = folder.path().join("kek");
    let opened: Vec<[u8; ID_LEN]> = std::thread::scope(|s| {
        let threads: Vec<_> = (0..8)
            .map(|_| s.spawn(|| Vault::open(&path).expect("open").id))
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().expect("thread"))
            .collect()
    });
    assert_eq!(opened.iter().collect::<BTreeSet<_>>().len(), 1);
    let mode = fs::metadata(&path).expect("stat").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 1);
    let other = Vault::open(&folder.path().join("other")).expect("open");
    assert_ne!(other.id, opened[0]);
}

#[test]
fn a_key_file_that_others_may_read_or_of_another_length_is_refused() {
    let folder = tempfile::tempdir().expect("temp dir");
    let path = folder.path().join("kek");
    Vault::open(&path).expect("open");
    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        assert!(matches!(Vault::open(&path), Err(SealError::Mode { mode: m, .. }) if m == mode));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("chmod");
    assert!(Vault::open(&path).is_ok());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
    for len in [0, 31, 33] {
        fs::write(&path, vec![0; len]).expect("write");
        assert!(matches!(
            Vault::open(&path),
            Err(SealError::Length { expected: 32, .. })
        ));
    }
}

#[test]
fn a_sealed_file_shows_nothing_and_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().expect("temp dir");
    let path = folder.path().join("upload");
    let canary = b"CANARY-0123456789-CANARY";
    let text = canary.repeat(5_000);
    for (n, chunk) in text.chunks(10_007).enumerate() {
        let mut file = vault().append_file(&path).expect("open");
        assert_eq!(file.len(), n as u64 * 10_007);
        file.write_all(chunk).expect("write");
        file.sync().expect("sync");
    }
    let raw = fs::read(&path).expect("read");
    assert!(!raw.windows(8).any(|w| canary.windows(8).any(|c| c == w)));
    assert_eq!(
        SealedFile::plain_len(&path).expect("len"),
        text.len() as u64
    );
    let mut back = Vec::new();
    vault()
        .read_file(&path)
        .expect("open")
        .read_to_end(&mut back)
        .expect("read");
    assert!(back == text);
    assert!(matches!(
        other_vault().read_file(&path),
        Err(SealError::OtherKey { .. })
    ));
    // A second file of the same bytes has another key.
    let second = folder.path().join("second");
    vault()
        .append_file(&second)
        .and_then(|mut f| Ok(f.write_all(&text)?))
        .expect("write");
    assert!(fs::read(&second).expect("read")[32..] != raw[32..]);
}

#[test]
fn a_sealed_file_without_a_whole_header_begins_again() {
    let folder = tempfile::tempdir().expect("temp dir");
    let path = folder.path().join("upload");
    for len in 0..HEADER_LEN {
        fs::write(&path, vec![b'z'; len]).expect("write");
        assert_eq!(SealedFile::plain_len(&path).expect("len"), 0);
        assert!(matches!(
            vault().read_file(&path),
            Err(SealError::Length { expected: 32, .. })
        ));
        assert!(vault().append_file(&path).expect("open").is_empty());
    }
    fs::write(&path, [b'z'; 40]).expect("write");
    assert!(matches!(
        vault().append_file(&path),
        Err(SealError::Format { .. })
    ));
}

const HEADER_LEN: usize = 32;

#[test]
fn debug_shows_no_secret() {
    let sealed = vault().seal(b"tensors").expect("seal");
    let text = format!("{sealed:?} {:?}", vault());
    assert_eq!(text, "Sealed(23 bytes) Vault(08588e46516c5b0b)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_sealed_file_reads_from_any_offset(
        chunks in prop::collection::vec(0usize..200_000, 0..5),
        reads in prop::collection::vec((0usize..500_000, 0usize..200_000), 1..5),
    ) {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().join("upload");
        let text = plain(chunks.iter().sum());
        let mut at = 0;
        for chunk in chunks {
            let mut file = vault().append_file(&path).expect("open");
            file.write_all(&text[at..at + chunk]).expect("write");
            at += chunk;
        }
        let mut file = vault().append_file(&path).expect("open");
        for (offset, len) in reads {
            file.seek_to(offset as u64);
            let mut out = Vec::new();
            (&mut file).take(len as u64).read_to_end(&mut out).expect("read");
            let from = offset.min(text.len());
            prop_assert!(out == text[from..(from + len).min(text.len())]);
        }
    }

    #[test]
    fn bytes_that_nobody_sealed_do_not_open(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(open_sealed(&key(), &bytes).is_err());
        prop_assert!(vault().unwrap_key(&bytes).is_err());
        prop_assert!(open_wrapped(&secret(5), &bytes, &[]).is_err());
    }
}
