use std::{
    os::unix::fs::OpenOptionsExt as _,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{
    farm::lease::AttemptId,
    store::{ArtifactKind, JobId, Resources},
};

/// A gateway with files of which it sends at most `cut` bytes a call, and `surplus` bytes too many.
#[derive(Default)]
struct Shelf {
    files: HashMap<Digest, Vec<u8>>,
    cut: Option<usize>,
    surplus: usize,
    asked: Mutex<Vec<(Digest, u64)>>,
    calls: AtomicUsize,
}

#[async_trait::async_trait]
impl Source for Shelf {
    async fn fetch(
        &self,
        file: &FetchFile,
        offset: u64,
        sink: &mut (dyn io::Write + Send),
    ) -> Result<(), UplinkError> {
        self.asked.lock().unwrap().push((file.digest, offset));
        self.calls.fetch_add(1, Ordering::Relaxed);
        let bytes = &self.files[&file.digest][offset as usize..];
        let broken = |e: io::Error| UplinkError::Unreachable(e.to_string());
        let sent = &bytes[..self.cut.unwrap_or(bytes.len()).min(bytes.len())];
        sink.write_all(sent).map_err(broken)?;
        sink.write_all(&vec![0; self.surplus]).map_err(broken)?;
        match sent.len() == bytes.len() {
            true => Ok(()),
            false => Err(UplinkError::Unreachable("cut".into())),
        }
    }
}

impl Shelf {
    /// A bundle whose files are made of `seed`; the model is the same for all.
    fn bundle(&mut self, seed: u8, key_bytes: usize) -> Vec<FetchFile> {
        let contents = [
            (bundle::MANIFEST, vec![seed; 10]),
            (bundle::MODEL, vec![1; 1000]),
            (bundle::PROGRAM, vec![seed; 11]),
            (bundle::PROVING_KEY, vec![seed; key_bytes]),
            (bundle::VERIFYING_KEY, vec![seed; 12]),
        ];
        let file = |(name, bytes): (&str, Vec<u8>)| {
            let digest = Digest::of(&bytes);
            let size = bytes.len() as u64;
            self.files.insert(digest, bytes);
            FetchFile {
                kind: ArtifactKind::Circuit,
                name: name.into(),
                digest,
                size,
                encrypted: false,
            }
        };
        contents.map(file).into()
    }

    fn calls(&self) -> usize {
        self.calls.swap(0, Ordering::Relaxed)
    }
}

fn watch() -> Watch {
    let attempt = AttemptId {
        job: JobId::fresh(),
        epoch: 1,
    };
    Watch::new(attempt, Resources::default())
}

fn settings(folder: &Path) -> CacheSettings {
    CacheSettings {
        folder: folder.join("cache"),
        max_bytes: 1 << 30,
        min_free_bytes: 0,
    }
}

/// A cache with room for one bundle with a key of 5000 bytes.
fn small(folder: &Path) -> Arc<Cache> {
    let settings = CacheSettings {
        max_bytes: 7000,
        ..settings(folder)
    };
    Cache::open(settings).unwrap()
}

async fn get(
    cache: &Arc<Cache>,
    circuit: CircuitId,
    files: &[FetchFile],
    shelf: &Shelf,
) -> Result<Held, CacheError> {
    let files: Vec<&FetchFile> = files.iter().collect();
    cache.bundle(circuit, &files, shelf, &watch()).await
}

fn is_right(held: &Held, files: &[FetchFile]) -> bool {
    let right =
        |f: &FetchFile| Digest::of(&fs::read(held.folder().join(&f.name)).unwrap()) == f.digest;
    files.iter().all(right)
}

/// Writes other bytes into a file of the cache, by the link of its bundle, with the time it had when `keep_time`.
fn damage(path: &Path, keep_time: bool, change: impl FnOnce(&mut Vec<u8>)) {
    let times = fs::metadata(path).unwrap();
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    io::Write::write_all(&mut &file, &bytes).unwrap();
    if keep_time {
        let times = fs::FileTimes::new().set_modified(times.modified().unwrap());
        file.set_times(times).unwrap();
    }
}

#[tokio::test]
async fn a_bundle_is_fetched_once_and_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut shelf = Shelf::default();
    let (circuit, files) = (CircuitId::fresh(), shelf.bundle(7, 5000));
    let cache = Cache::open(settings(folder.path())).unwrap();
    let held = get(&cache, circuit, &files, &shelf).await.unwrap();
    assert!(is_right(&held, &files) && shelf.calls() == 5);
    drop(get(&cache, circuit, &files, &shelf).await.unwrap());
    cache.loaded(circuit, Duration::from_secs(3));
    drop((held, cache));
    let stranger = settings(folder.path()).folder.join("circuits/stranger");
    fs::create_dir(&stranger).unwrap();

    let cache = Cache::open(settings(folder.path())).unwrap();
    let held = get(&cache, circuit, &files, &shelf).await.unwrap();
    assert!(
        is_right(&held, &files) && shelf.calls() == 0,
        "nothing is fetched again"
    );
    assert!(!stranger.exists());
    let keys = cache.residency();
    assert_eq!(
        (keys.len(), keys[0].circuit, keys[0].load_ms),
        (1, circuit, 3000)
    );
}

#[tokio::test]
async fn f21_a_wrong_truncated_or_flipped_file_is_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut shelf = Shelf::default();
    let (circuit, files) = (CircuitId::fresh(), shelf.bundle(7, 5000));
    let cache = Cache::open(settings(folder.path())).unwrap();
    let held = get(&cache, circuit, &files, &shelf).await.unwrap();
    let key = held.folder().join(bundle::PROVING_KEY);
    shelf.calls();
    type Change = fn(&mut Vec<u8>);
    let changes: [(Change, &str); 4] = [
        (|b| b[2500] ^= 4, "flipped"),
        (|b| b.truncate(100), "truncated"),
        (|b| b.fill(9), "wrong"),
        (|b| b.push(0), "longer"),
    ];
    for (change, what) in changes {
        damage(&key, false, change);
        let held = get(&cache, circuit, &files, &shelf).await.unwrap();
        assert!(is_right(&held, &files), "{what}");
        assert_eq!(shelf.calls(), 1, "{what}");
    }
    // A flip that left no trace in the file's facts is found when a prover has found fault with the bundle.
    damage(&key, true, |b| b[1] ^= 1);
    cache.suspect(circuit);
    assert!(cache.present(circuit).is_none());
    let held = get(&cache, circuit, &files, &shelf).await.unwrap();
    assert!(is_right(&held, &files) && shelf.calls() == 1);
    // A file that was deleted.
    fs::remove_file(&key).unwrap();
    assert!(is_right(
        &get(&cache, circuit, &files, &shelf).await.unwrap(),
        &files
    ));
}

#[tokio::test]
async fn what_came_before_a_stop_counts_and_can_leave() {
    let folder = tempfile::tempdir().unwrap();
    let mut shelf = Shelf::default();
    let (first, files) = (CircuitId::fresh(), shelf.bundle(7, 5000));
    let cache = Cache::open(settings(folder.path())).unwrap();
    let names: Vec<&FetchFile> = files.iter().collect();
    let stopped = watch();
    struct Stops<'a>(&'a Shelf, &'a Watch, Digest);
    #[async_trait::async_trait]
    impl Source for Stops<'_> {
        async fn fetch(
            &self,
            file: &FetchFile,
            offset: u64,
            sink: &mut (dyn io::Write + Send),
        ) -> Result<(), UplinkError> {
            if file.digest == self.2 {
                self.1.stop(crate::node::watch::Stop::Gateway);
                return Err(UplinkError::Unreachable("cut".into()));
            }
            self.0.fetch(file, offset, sink).await
        }
    }
    let source = Stops(&shelf, &stopped, files[4].digest);
    let told = cache.bundle(first, &names, &source, &stopped).await;
    assert!(matches!(told, Err(CacheError::Stopped)), "{told:?}");
    assert!(cache.present(first).is_none() && cache.residency().is_empty());
    assert_eq!(cache.used_bytes(), 5000 + 1000 + 10 + 11);
    drop(cache);
    // Also for the next process, and it makes room for others.
    let cache = small(folder.path());
    assert_eq!(cache.used_bytes(), 6021);
    let second = CircuitId::fresh();
    let others = shelf.bundle(8, 5000);
    drop(get(&cache, second, &others, &shelf).await.unwrap());
    assert!(cache.used_bytes() <= 7000 && cache.present(second).is_some());
    let held = get(&cache, first, &files, &shelf).await.unwrap();
    assert!(is_right(&held, &files), "it comes again, whole");
}

#[tokio::test]
async fn what_was_left_of_a_download_is_room_and_leaves_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(settings(folder.path())).unwrap();
    let part = cache.part(&Digest([5; 32]));
    fs::write(&part, vec![0; 3000]).unwrap();
    let left = cache.left_parts(&cache.state());
    assert_eq!(left, [(part.clone(), 3000)]);
    let turn = Turn::of(&cache, Digest([5; 32]));
    assert!(
        cache.left_parts(&cache.state()).is_empty(),
        "somebody goes on"
    );
    cache.drop_parts();
    assert!(part.exists());
    drop(turn);
    cache.drop_parts();
    assert!(!part.exists());
}

#[tokio::test]
async fn what_idle_keys_hold_is_room_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut shelf = Shelf::default();
    let (circuit, files) = (CircuitId::fresh(), shelf.bundle(7, 5000));
    let cache = small(folder.path());
    assert_eq!(cache.room(), 7000);
    let held = get(&cache, circuit, &files, &shelf).await.unwrap();
    assert_eq!(cache.room(), 7000 - cache.used_bytes());
    assert!(cache.is_busy(CircuitId::fresh()) && !cache.is_busy(circuit));
    drop(held);
    assert_eq!(cache.room(), 7000);
}

#[tokio::test]
async fn a_damaged_key_larger_than_half_the_cache_is_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut shelf = Shelf::default();
    let (circuit, files) = (CircuitId::fresh(), shelf.bundle(7, 5000));
    let cache = small(folder.path());
    let held = get(&cache, circuit, &files, &shelf).await.unwrap();
    damage(&held.folder().join(bundle::PROVING_KEY), false, |b| {
        b[0] ^= 1
    });
    drop(held);
    let held = get(&cache, circuit, &files, &shelf).await.unwrap();
    assert!(is_right(&held, &files));
}

#[tokio::test]
async fn a_download_goes_on_where_it_was_cut() {
    let folder = tempfile::tempdir().unwrap();
    let mut shelf = Shelf {
        cut: Some(2000),
        ..Shelf::default()
    };
    let (circuit, files) = (CircuitId::fresh(), shelf.bundle(7, 5000));
    let cache = Cache::open(settings(folder.path())).unwrap();
    let held = get(&cache, circuit, &files, &shelf).await.unwrap();
    assert!(is_right(&held, &files));
    let key = files[3].digest;
    let offsets = |asked: &[(Digest, u64)]| -> Vec<u64> {
        asked
            .iter()
            .filter(|(d, _)| *d == key)
            .map(|(_, at)| *at)
            .collect()
    };
    assert_eq!(offsets(&shelf.asked.lock().unwrap()), [0, 2000, 4000]);
    drop((held, cache));

    // What another process left is gone on with, whether it is the beginning of the file or not.
    for left in [vec![7; 3000], vec![8; 3000], vec![7; 6000]] {
        fs::remove_dir_all(settings(folder.path()).folder).unwrap();
        let cache = Cache::open(settings(folder.path())).unwrap();
        fs::write(cache.part(&key), &left).unwrap();
        shelf.asked.lock().unwrap().clear();
        let held = get(&cache, circuit, &files, &shelf).await.unwrap();
        assert!(is_right(&held, &files));
        let first = offsets(&shelf.asked.lock().unwrap())[0];
        assert_eq!(first, if left.len() == 3000 { 3000 } else { 0 });
    }
}

#[tokio::test]
async fn what_the_gateway_sends_is_believed_only_by_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let mut shelf = Shelf::default();
    let (circuit, files) = (CircuitId::fresh(), shelf.bundle(7, 5000));
    let cache = Cache::open(settings(folder.path())).unwrap();
    let key = files[3].digest;
    shelf.files.insert(key, vec![6; 5000]);
    let error = get(&cache, circuit, &files, &shelf).await.unwrap_err();
    assert!(matches!(error, CacheError::Content { .. }), "{error}");
    shelf.files.insert(key, vec![7; 4999]);
    let error = get(&cache, circuit, &files, &shelf)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("expected 5000 bytes, got 4999"), "{error}");
    shelf.files.insert(key, vec![7; 5000]);
    shelf.surplus = 1;
    let error = get(&cache, circuit, &files, &shelf)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("more than the"), "{error}");
    assert!(cache.present(circuit).is_none());
}

#[tokio::test]
async fn names_that_no_bundle_has_reach_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut shelf = Shelf::default();
    let files = shelf.bundle(7, 50);
    let cache = Cache::open(settings(folder.path())).unwrap();
    let refused = async |change: &dyn Fn(&mut Vec<FetchFile>)| {
        let mut files = files.clone();
        change(&mut files);
        get(&cache, CircuitId::fresh(), &files, &shelf)
            .await
            .unwrap_err()
    };
    for name in ["../../evil", "/etc/passwd", "", "model/../model", "lock"] {
        let error = refused(&|f| f[1].name = name.into()).await;
        assert!(matches!(error, CacheError::Name(_)), "{name}: {error}");
    }
    assert!(matches!(
        refused(&|f| f[0].name = "model".into()).await,
        CacheError::Name(_)
    ));
    assert!(matches!(
        refused(&|f| drop(f.remove(3))).await,
        CacheError::Incomplete("proving.key")
    ));
    assert!(matches!(
        refused(&|f| f[0].size = u64::MAX).await,
        CacheError::Size { .. }
    ));
    assert!(matches!(
        refused(&|f| f[3].encrypted = true).await,
        CacheError::Name(_)
    ));
    assert_eq!(shelf.calls(), 0);
    assert!(cache.state().pins.is_empty());
}

#[tokio::test]
async fn the_cheapest_circuit_that_nobody_uses_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut shelf = Shelf::default();
    let cache = Cache::open(CacheSettings {
        max_bytes: 30_000,
        ..settings(folder.path())
    })
    .unwrap();
    let circuits = [(); 4].map(|()| CircuitId::fresh());
    let files: Vec<_> = (0..4).map(|n| shelf.bundle(10 + n, 9000)).collect();
    let seconds = [100, 1, 50];
    for n in 0..3 {
        drop(get(&cache, circuits[n], &files[n], &shelf).await.unwrap());
        cache.loaded(circuits[n], Duration::from_secs(seconds[n]));
    }
    // The model is one file for all of them.
    assert_eq!(cache.used_bytes(), 1000 + 3 * 9033);
    let in_use = cache.present(circuits[0]).unwrap();
    drop(get(&cache, circuits[3], &files[3], &shelf).await.unwrap());
    let held = |c: usize| cache.present(circuits[c]).is_some();
    assert_eq!([0, 1, 2, 3].map(held), [true, false, true, true]);
    assert!(
        !cache.place(&files[1][3].digest).exists(),
        "its key is gone from the disk"
    );
    assert!(
        cache.place(&files[1][1].digest).exists(),
        "the model of the others is not"
    );

    // With all others in use there is no room, and nothing leaves.
    let users = [0, 2, 3].map(|c| cache.present(circuits[c]).unwrap());
    let error = get(&cache, circuits[1], &files[1], &shelf)
        .await
        .unwrap_err();
    assert!(error.is_no_room(), "{error}");
    drop((users, in_use));
    assert!(get(&cache, circuits[1], &files[1], &shelf).await.is_ok());
}

#[tokio::test]
async fn f11_a_disk_that_must_keep_room_takes_no_keys() {
    let folder = tempfile::tempdir().unwrap();
    let mut shelf = Shelf::default();
    let files = shelf.bundle(7, 50);
    let cache = Cache::open(CacheSettings {
        min_free_bytes: u64::MAX,
        ..settings(folder.path())
    })
    .unwrap();
    let error = get(&cache, CircuitId::fresh(), &files, &shelf)
        .await
        .unwrap_err();
    assert!(error.is_no_room(), "{error}");
    assert_eq!((cache.disk_free(), shelf.calls()), (0, 0));
}
