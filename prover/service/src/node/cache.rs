//! Bundles that a node holds on its disk.
//!
//! `ab/<sha256>` are the files, `circuits/<id>/NAME` hard links to them in the shape of a bundle, `circuits/<id>.json` what is
//! known of them, `tmp/<sha256>` files on their way in. A file is placed after its digest was compared, and used without comparing
//! it again only as long as inode, time and size are those of the comparison; a prover that finds fault with a bundle has
//! all of it compared again. Whole circuits leave, the cheapest to lose first, when the bound on bytes or the room that the
//! disk must keep asks for it; never one that is in use.

mod download;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{warm::worth, watch::Watch};
use crate::{
    bundle,
    farm::lease::{FetchFile, UplinkError},
    store::{BlobError, CircuitId, Digest, KeyResidency, Tier, blobs},
};

/// Unfinished downloads older than this are swept at the start.
const STALE_PART: Duration = Duration::from_secs(24 * 3600);
const MAX_RECORD_BYTES: u64 = 64 << 10;

/// Why a bundle cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The disk refuses.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder cannot be made.
    #[error(transparent)]
    Folder(#[from] BlobError),
    /// The gateway names a file that no bundle has.
    #[error("the lease names a file {0:?}, which no bundle has, or names it twice")]
    Name(String),
    /// The gateway leaves a file out that every bundle has.
    #[error("the lease names no {0}")]
    Incomplete(&'static str),
    /// A file is larger than such a file may be.
    #[error("{name}: {size} bytes, at most {most}")]
    Size {
        /// Which.
        name: String,
        /// What the gateway says.
        size: u64,
        /// The bound.
        most: u64,
    },
    /// There is no room even when everything that is not in use has left.
    #[error(
        "no room for {need} bytes of keys: {used} of {limit} bytes are in use, {free} bytes of the disk are free and {keep} stay so"
    )]
    NoRoom {
        /// Bytes to fetch.
        need: u64,
        /// Bytes of circuits in use.
        used: u64,
        /// The bound on the cache.
        limit: u64,
        /// Bytes free on the disk.
        free: u64,
        /// Bytes that stay free.
        keep: u64,
    },
    /// What came is not what was promised.
    #[error("{name}: expected {expected}, got {got}")]
    Content {
        /// Which.
        name: String,
        /// Digest or length promised.
        expected: String,
        /// Digest or length received.
        got: String,
    },
    /// The gateway does not send it.
    #[error("{name}: {source}")]
    Fetch {
        /// Which.
        name: String,
        /// Why.
        source: UplinkError,
    },
    /// The attempt was stopped.
    #[error("stopped")]
    Stopped,
    /// A defect.
    #[error("reading a file met a defect")]
    Defect,
}

impl CacheError {
    /// Whether it is about room.
    pub fn is_no_room(&self) -> bool {
        match self {
            Self::NoRoom { .. } => true,
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            _ => false,
        }
    }
}

/// Where files come from.
#[async_trait::async_trait]
pub trait Source: Send + Sync {
    /// Writes the bytes of `file` from `offset` on.
    async fn fetch(
        &self,
        file: &FetchFile,
        offset: u64,
        sink: &mut (dyn io::Write + Send),
    ) -> Result<(), UplinkError>;
}

/// How much a cache may hold.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// Its folder.
    pub folder: PathBuf,
    /// Bytes of keys at most.
    pub max_bytes: u64,
    /// Bytes of the disk that stay free.
    pub min_free_bytes: u64,
}

/// What a digest comparison found about a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileRecord {
    sha256: String,
    size: u64,
    inode: u64,
    mtime: i64,
    mtime_nanos: i64,
}

/// What is known of a circuit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct CircuitRecord {
    files: BTreeMap<String, FileRecord>,
    load_ms: u64,
    /// Seconds since 1970.
    used: u64,
    /// Some files are missing: it counts, and may leave, and proves nothing.
    #[serde(default)]
    partial: bool,
}

#[derive(Debug, Default)]
struct State {
    circuits: HashMap<CircuitId, CircuitRecord>,
    pins: HashMap<CircuitId, usize>,
    suspects: HashSet<CircuitId>,
    /// One download of a digest at a time.
    turns: HashMap<Digest, Arc<tokio::sync::Mutex<()>>>,
    /// Bytes of [`Promise`]s.
    promised: u64,
    /// Those of them that are on their way.
    awaited: u64,
}

/// The bundles on the disk.
#[derive(Debug)]
pub struct Cache {
    settings: CacheSettings,
    state: Mutex<State>,
}

/// A bundle that stays as long as this does.
#[derive(Debug)]
pub struct Held {
    cache: Arc<Cache>,
    circuit: CircuitId,
    folder: PathBuf,
}

impl Held {
    /// The bundle's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.cache.state();
        if let Some(pins) = state.pins.get_mut(&self.circuit) {
            *pins -= 1;
            if *pins == 0 {
                state.pins.remove(&self.circuit);
            }
        }
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> CacheError + '_ {
    |source| CacheError::Io {
        path: path.to_owned(),
        source,
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs())
}

/// Bytes that anyone may still write on the disk of `folder`.
pub(crate) fn disk_free(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(0, |s| s.f_bavail.saturating_mul(s.f_frsize))
}

impl Cache {
    /// Opens a cache and sweeps what a crash left.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn open(settings: CacheSettings) -> Result<Arc<Self>, CacheError> {
        let cache = Self {
            settings,
            state: Mutex::default(),
        };
        blobs::private_folder(&cache.settings.folder)?;
        for folder in ["circuits", "tmp"] {
            blobs::private_folder(&cache.settings.folder.join(folder))?;
        }
        cache.read_records();
        cache.sweep();
        Ok(Arc::new(cache))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn circuit_folder(&self, circuit: CircuitId) -> PathBuf {
        self.settings
            .folder
            .join("circuits")
            .join(circuit.0.to_string())
    }

    fn record_path(&self, circuit: CircuitId) -> PathBuf {
        let name = format!("{}.json", circuit.0);
        self.settings.folder.join("circuits").join(name)
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        let prefix = name.get(..2).unwrap_or("00").to_owned();
        self.settings.folder.join(prefix).join(name)
    }

    fn part(&self, digest: &Digest) -> PathBuf {
        self.settings.folder.join("tmp").join(digest.to_string())
    }

    /// The bundle of `circuit`, whose `files` are fetched from `source` as far as they are not here.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn bundle(
        self: &Arc<Self>,
        circuit: CircuitId,
        files: &[&FetchFile],
        source: &dyn Source,
        watch: &Watch,
    ) -> Result<Held, CacheError> {
        check_names(files)?;
        *self.state().pins.entry(circuit).or_default() += 1;
        let held = Held {
            cache: Arc::clone(self),
            circuit,
            folder: self.circuit_folder(circuit),
        };
        let suspect = self.state().suspects.contains(&circuit);
        let known = self
            .state()
            .circuits
            .get(&circuit)
            .cloned()
            .unwrap_or_default();
        let mut record = CircuitRecord {
            files: BTreeMap::new(),
            used: now(),
            partial: false,
            ..known
        };
        let mut promises = Vec::new();
        for &file in files {
            let old = known.files.get(&file.name).filter(|_| !suspect);
            let (new, promise) = match self.file(&held, file, old, source, watch).await {
                Ok(made) => made,
                Err(e) => {
                    self.keep_part(circuit, record, &known);
                    return Err(e);
                }
            };
            record.files.insert(file.name.clone(), new);
            promises.extend(promise);
        }
        self.remove_strangers(&held.folder, &record);
        self.write_record(circuit, &record)?;
        let mut state = self.state();
        state.circuits.insert(circuit, record);
        if suspect {
            state.suspects.remove(&circuit);
        }
        drop(state);
        Ok(held)
    }

    /// Notes the files of a bundle that did not come whole, so that they count and can leave.
    fn keep_part(&self, circuit: CircuitId, mut record: CircuitRecord, known: &CircuitRecord) {
        for (name, file) in &known.files {
            let entry = record.files.entry(name.clone());
            entry.or_insert_with(|| file.clone());
        }
        if record.files.is_empty() {
            return;
        }
        record.partial = true;
        if let Err(error) = self.write_record(circuit, &record) {
            tracing::warn!(%circuit, %error, "cannot note what came of a circuit");
        }
        self.state().circuits.insert(circuit, record);
    }

    /// Puts one file of a bundle into its place, as it is here or fetched anew.
    async fn file(
        &self,
        held: &Held,
        file: &FetchFile,
        old: Option<&FileRecord>,
        source: &dyn Source,
        watch: &Watch,
    ) -> Result<(FileRecord, Option<Promise<'_>>), CacheError> {
        let link = held.folder.join(&file.name);
        if let Some(old) = old
            && old.sha256 == file.digest.to_string()
            && record_of(&link, &file.digest).is_ok_and(|new| new == *old)
        {
            return Ok((old.clone(), None));
        }
        let turn = Turn::of(self, file.digest);
        let _turn = tokio::select! {
            turn = turn.lock.lock() => turn,
            () = watch.stopped() => return Err(CacheError::Stopped),
        };
        let mut promise = None;
        let place = self.place(&file.digest);
        let whole = tokio::select! {
            whole = is_whole(&place, file) => whole?,
            () = watch.stopped() => return Err(CacheError::Stopped),
        };
        if !whole {
            // The bundle's own link would keep the damaged bytes on the disk, and its record count them.
            remove_file(&link)?;
            remove_file(&place)?;
            if let Some(record) = self.state().circuits.get_mut(&held.circuit) {
                record.files.remove(&file.name);
                record.partial = true;
            }
            promise = Some(self.download(file, &place, source, watch).await?);
        }
        blobs::private_folder(&held.folder)?;
        let inode = |path: &Path| fs::metadata(path).map(|m| m.ino()).ok();
        if inode(&link) != inode(&place) {
            // At no moment is the name without a file.
            let new = self.part(&file.digest).with_extension("link");
            remove_file(&new)?;
            fs::hard_link(&place, &new).map_err(io_error(&new))?;
            fs::rename(&new, &link).map_err(io_error(&link))?;
        }
        let record = record_of(&link, &file.digest).map_err(io_error(&link))?;
        Ok((record, promise))
    }

    async fn download(
        &self,
        file: &FetchFile,
        place: &Path,
        source: &dyn Source,
        watch: &Watch,
    ) -> Result<Promise<'_>, CacheError> {
        let part = self.part(&file.digest);
        let here = fs::metadata(&part).map_or(0, |m| m.len());
        self.make_room(file.size, here)?;
        let mut promise = Promise::of(self, file.size);
        download::download(file, &part, source, watch).await?;
        if let Some(parent) = place.parent() {
            blobs::private_folder(parent)?;
        }
        fs::rename(&part, place).map_err(io_error(place))?;
        // After that: a download that a crash leaves must open again.
        let readonly = fs::Permissions::from_mode(0o400);
        fs::set_permissions(place, readonly).map_err(io_error(place))?;
        for folder in [place.parent(), part.parent()].into_iter().flatten() {
            blobs::sync_folder(folder)?;
        }
        promise.arrived();
        Ok(promise)
    }

    /// Lets circuits go until `need` more bytes fit, of which `here` are on the disk.
    fn make_room(&self, need: u64, here: u64) -> Result<(), CacheError> {
        let missing = need.saturating_sub(here);
        let mut dropped = false;
        loop {
            let used = self.used_bytes();
            let (promised, awaited) = {
                let state = self.state();
                (state.promised, state.awaited)
            };
            let free = disk_free(&self.settings.folder);
            let (limit, keep) = (self.settings.max_bytes, self.settings.min_free_bytes);
            if used.saturating_add(promised).saturating_add(need) <= limit
                && free >= awaited.saturating_add(missing).saturating_add(keep)
            {
                return Ok(());
            }
            if !std::mem::replace(&mut dropped, true) {
                self.drop_parts();
                continue;
            }
            let Some(circuit) = self.cheapest() else {
                return Err(CacheError::NoRoom {
                    need,
                    used,
                    limit,
                    free,
                    keep,
                });
            };
            tracing::info!(%circuit, "the keys leave the cache to make room");
            self.forget(circuit);
        }
    }

    /// Removes downloads that nobody goes on with.
    fn drop_parts(&self) {
        let state = self.state();
        for (path, _) in self.left_parts(&state) {
            let _ = fs::remove_file(path);
        }
    }

    /// Downloads that nobody goes on with, and their sizes.
    fn left_parts(&self, state: &State) -> Vec<(PathBuf, u64)> {
        let parts = self.settings.folder.join("tmp");
        let left = folder(&parts).filter_map(|entry| {
            let name = entry.file_name();
            let digest: Digest = name.to_str()?.split('.').next()?.parse().ok()?;
            let is_left = !state.turns.contains_key(&digest);
            let size = entry.metadata().ok()?.len();
            is_left.then(|| (entry.path(), size))
        });
        left.collect()
    }

    /// Bytes that new keys may take when those that are not in use leave.
    pub fn room(&self) -> u64 {
        let state = self.state();
        let bytes = |pinned: bool| -> u64 {
            let of = state.circuits.iter();
            let of = of.filter(|(c, _)| state.pins.contains_key(c) == pinned);
            let files = of.flat_map(|(_, record)| record.files.values());
            let distinct: HashMap<&str, u64> = files.map(|f| (f.sha256.as_str(), f.size)).collect();
            distinct.values().sum()
        };
        let (held, idle) = (bytes(true), bytes(false));
        let taken = held.saturating_add(state.promised);
        let by_limit = self.settings.max_bytes.saturating_sub(taken);
        let keep = self.settings.min_free_bytes.saturating_add(state.awaited);
        // So may downloads that nobody goes on with.
        let left = self
            .left_parts(&state)
            .iter()
            .fold(0u64, |sum, (_, size)| sum.saturating_add(*size));
        let free = disk_free(&self.settings.folder);
        let free = free.saturating_add(idle).saturating_add(left);
        by_limit.min(free.saturating_sub(keep))
    }

    /// Whether circuits beside this one are in use.
    pub fn is_busy(&self, beside: CircuitId) -> bool {
        self.state().pins.keys().any(|c| *c != beside)
    }

    /// Whether the files of a circuit are to be compared before they are used again.
    pub(super) fn is_suspect(&self, circuit: CircuitId) -> bool {
        self.state().suspects.contains(&circuit)
    }

    /// The circuit that is cheapest to lose and not in use.
    fn cheapest(&self) -> Option<CircuitId> {
        let (state, now) = (self.state(), now());
        let value = |record: &CircuitRecord| {
            let idle = Duration::from_secs(now.saturating_sub(record.used));
            worth(Duration::from_millis(record.load_ms), idle)
        };
        state
            .circuits
            .iter()
            .filter(|(circuit, _)| !state.pins.contains_key(circuit))
            .min_by(|a, b| value(a.1).total_cmp(&value(b.1)))
            .map(|(circuit, _)| *circuit)
    }

    /// Bytes of all circuits; a file of several counts once.
    pub fn used_bytes(&self) -> u64 {
        let state = self.state();
        let files = state.circuits.values().flat_map(|c| c.files.values());
        let distinct: HashMap<&str, u64> = files.map(|f| (f.sha256.as_str(), f.size)).collect();
        distinct.values().sum()
    }

    /// Lets a circuit go, unless it is in use.
    pub fn forget(&self, circuit: CircuitId) {
        let gone = self
            .settings
            .folder
            .join("tmp")
            .join(format!("gone-{}", circuit.0));
        let record = {
            let mut state = self.state();
            if state.pins.contains_key(&circuit) {
                return;
            }
            // Out of the way before anybody may fetch it again.
            let _ = fs::remove_file(self.record_path(circuit));
            let _ = fs::remove_dir_all(&gone);
            let _ = fs::rename(self.circuit_folder(circuit), &gone);
            state.circuits.remove(&circuit)
        };
        let _ = fs::remove_dir_all(&gone);
        for file in record.iter().flat_map(|r| r.files.values()) {
            if let Ok(digest) = file.sha256.parse() {
                remove_unlinked(&self.place(&digest));
            }
        }
    }

    /// Has all files of a circuit compared with their digests before they are used again.
    pub fn suspect(&self, circuit: CircuitId) {
        self.state().suspects.insert(circuit);
    }

    /// Notes how long loading a circuit took.
    pub fn loaded(&self, circuit: CircuitId, load: Duration) {
        let record = {
            let mut state = self.state();
            let Some(record) = state.circuits.get_mut(&circuit) else {
                return;
            };
            record.load_ms = u64::try_from(load.as_millis()).unwrap_or(u64::MAX);
            record.clone()
        };
        if let Err(error) = self.write_record(circuit, &record) {
            tracing::warn!(%circuit, %error, "cannot note how long loading took");
        }
    }

    /// The folder of a circuit whose files are all here, as far as is known.
    pub fn present(self: &Arc<Self>, circuit: CircuitId) -> Option<Held> {
        let mut state = self.state();
        let whole = state.circuits.get(&circuit).is_some_and(|r| !r.partial);
        if !whole || state.suspects.contains(&circuit) {
            return None;
        }
        *state.pins.entry(circuit).or_default() += 1;
        Some(Held {
            cache: Arc::clone(self),
            circuit,
            folder: self.circuit_folder(circuit),
        })
    }

    /// The circuits on the disk.
    pub fn residency(&self) -> Vec<KeyResidency> {
        let state = self.state();
        let whole = state.circuits.iter().filter(|(_, record)| !record.partial);
        let near = whole.map(|(circuit, record)| KeyResidency {
            circuit: *circuit,
            tier: Tier::Disk,
            load_ms: record.load_ms,
        });
        near.collect()
    }

    /// Room on the disk above what stays free.
    pub fn disk_free(&self) -> u64 {
        disk_free(&self.settings.folder).saturating_sub(self.settings.min_free_bytes)
    }

    fn write_record(&self, circuit: CircuitId, record: &CircuitRecord) -> Result<(), CacheError> {
        let (path, part) = (
            self.record_path(circuit),
            self.record_path(circuit).with_extension("new"),
        );
        let text = serde_json::to_vec(record).map_err(|_| CacheError::Defect)?;
        fs::write(&part, text).map_err(io_error(&part))?;
        fs::rename(&part, &path).map_err(io_error(&path))
    }

    /// Reads what an earlier process knew; a record that does not parse is forgotten with its folder.
    fn read_records(&self) {
        let mut state = self.state();
        for entry in folder(&self.settings.folder.join("circuits")) {
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|n| n.strip_suffix(".json")) else {
                continue;
            };
            let record = blobs::read_bounded(&entry.path(), MAX_RECORD_BYTES)
                .ok()
                .and_then(|text| serde_json::from_slice::<CircuitRecord>(&text).ok());
            if let (Ok(circuit), Some(record)) = (id.parse(), record) {
                state.circuits.insert(circuit, record);
            }
        }
    }

    /// Removes what no record names.
    fn sweep(&self) {
        let state = self.state();
        let known: HashSet<String> = state
            .circuits
            .keys()
            .flat_map(|c| [c.0.to_string(), format!("{}.json", c.0)])
            .collect();
        drop(state);
        for entry in folder(&self.settings.folder.join("circuits")) {
            if !entry
                .file_name()
                .to_str()
                .is_some_and(|n| known.contains(n))
            {
                let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
            }
        }
        for entry in folder(&self.settings.folder.join("tmp")) {
            let old = entry.metadata().and_then(|m| m.modified()).ok();
            if old
                .and_then(|at| at.elapsed().ok())
                .is_none_or(|age| age > STALE_PART)
                || entry.file_type().is_ok_and(|t| t.is_dir())
            {
                let _ = fs::remove_file(entry.path()).or_else(|_| fs::remove_dir_all(entry.path()));
            }
        }
        let two_digits =
            |name: &str| name.len() == 2 && name.bytes().all(|b| b.is_ascii_hexdigit());
        for prefix in folder(&self.settings.folder) {
            if prefix.file_name().to_str().is_some_and(two_digits) {
                for file in folder(&prefix.path()) {
                    remove_unlinked(&file.path());
                }
            }
        }
    }

    /// Removes files of a bundle's folder that its record does not name.
    fn remove_strangers(&self, bundle: &Path, record: &CircuitRecord) {
        for entry in folder(bundle) {
            let named = entry
                .file_name()
                .to_str()
                .is_some_and(|n| record.files.contains_key(n));
            if !named {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// A place in the line for a digest; the line goes with the last one in it.
struct Turn<'a> {
    cache: &'a Cache,
    digest: Digest,
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl<'a> Turn<'a> {
    fn of(cache: &'a Cache, digest: Digest) -> Self {
        let lock = Arc::clone(cache.state().turns.entry(digest).or_default());
        Self {
            cache,
            digest,
            lock,
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.cache.state();
        // The line's own one and this one.
        if Arc::strong_count(&self.lock) <= 2 {
            state.turns.remove(&self.digest);
        }
    }
}

/// Bytes that were fetched or will be and that no record counts yet: other downloads may not take them.
struct Promise<'a> {
    cache: &'a Cache,
    bytes: u64,
    awaited: u64,
}

impl<'a> Promise<'a> {
    fn of(cache: &'a Cache, bytes: u64) -> Self {
        let mut state = cache.state();
        state.promised += bytes;
        state.awaited += bytes;
        drop(state);
        Self {
            cache,
            bytes,
            awaited: bytes,
        }
    }

    /// The bytes are on the disk.
    fn arrived(&mut self) {
        self.cache.state().awaited -= std::mem::take(&mut self.awaited);
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        self.arrived();
        self.cache.state().promised -= self.bytes;
    }
}

/// A lease's files are files of a bundle, each once, none too large, and those are all there that a prover reads.
fn check_names(files: &[&FetchFile]) -> Result<(), CacheError> {
    let mut seen = HashSet::new();
    for file in files {
        let bound = bundle::size_bound(&file.name);
        let Some(most) = bound.filter(|_| seen.insert(&file.name) && !file.encrypted) else {
            return Err(CacheError::Name(crate::store::cut(file.name.clone(), 64)));
        };
        if file.size > most {
            let name = file.name.clone();
            return Err(CacheError::Size {
                name,
                size: file.size,
                most,
            });
        }
    }
    let needed = [
        bundle::MANIFEST,
        bundle::MODEL,
        bundle::PROGRAM,
        bundle::PROVING_KEY,
        bundle::VERIFYING_KEY,
    ];
    match needed
        .into_iter()
        .find(|name| !files.iter().any(|f| f.name == *name))
    {
        Some(name) => Err(CacheError::Incomplete(name)),
        None => Ok(()),
    }
}

fn folder(path: &Path) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(path).into_iter().flatten().flatten()
}

/// Removes a file; that there is none is no error.
fn remove_file(path: &Path) -> Result<(), CacheError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error(path)(e)),
        _ => Ok(()),
    }
}

/// Removes a file that no bundle links to.
fn remove_unlinked(path: &Path) {
    if fs::metadata(path).is_ok_and(|m| m.nlink() == 1) {
        let _ = fs::remove_file(path);
    }
}

fn record_of(path: &Path, digest: &Digest) -> io::Result<FileRecord> {
    let facts = fs::metadata(path)?;
    Ok(FileRecord {
        sha256: digest.to_string(),
        size: facts.len(),
        inode: facts.ino(),
        mtime: facts.mtime(),
        mtime_nanos: facts.mtime_nsec(),
    })
}

/// Whether the file at `place` has the length and the digest of `file`.
async fn is_whole(place: &Path, file: &FetchFile) -> Result<bool, CacheError> {
    let (path, size) = (place.to_owned(), file.size);
    let read = move || -> io::Result<Option<Digest>> {
        let mut file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        if file.metadata()?.len() != size {
            return Ok(None);
        }
        blobs::digest_of(&mut file).map(Some)
    };
    let found = tokio::task::spawn_blocking(read)
        .await
        .map_err(|_| CacheError::Defect)?
        .map_err(io_error(place))?;
    if found.is_some_and(|got| got != file.digest) {
        tracing::warn!(file = %file.name, expected = %file.digest, "a file of the cache is damaged; fetching it again");
    }
    Ok(found == Some(file.digest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
