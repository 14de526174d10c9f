//! # Content-addressed blobs in a local folder
//!
//! A blob is filed under the SHA-256 of its bytes: `ab/cdef…`. It is written beside, flushed, renamed; storing it twice keeps
//! one copy; reading it checks the digest again. Two limits hold at every moment, unfinished blobs included: bytes of one
//! blob, and bytes of the store.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{StagedFile, StoreError, TEMPORARY_PREFIX, sync_dir};

/// The SHA-256 of a blob; its name in the store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobId(pub [u8; 32]);

impl BlobId {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobId({self})")
    }
}

/// A text is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected 64 lower-case hexadecimal digits")]
pub struct NotABlobId;

impl FromStr for BlobId {
    type Err = NotABlobId;

    fn from_str(text: &str) -> Result<Self, NotABlobId> {
        let nibble = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(NotABlobId),
        };
        let text = text.as_bytes();
        if text.len() != 64 {
            return Err(NotABlobId);
        }
        let mut id = [0u8; 32];
        for (byte, pair) in id.iter_mut().zip(text.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(id))
    }
}

/// How much a store takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of one blob.
    pub blob_bytes: u64,
    /// Most bytes of all blobs together.
    pub total_bytes: u64,
}

/// A folder of blobs. One process at a time may open it.
#[derive(Debug, Clone)]
pub struct BlobStore {
    root: PathBuf,
    limits: Limits,
    used: Arc<AtomicU64>,
    /// Held while a blob is filed or removed, so that its bytes are counted once.
    filing: Arc<Mutex<()>>,
}

impl BlobStore {
    /// Opens (and creates) the store in `root`, counts its bytes and removes what a crash left unfinished.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the folder cannot be read or written.
    pub fn open(root: &Path, limits: Limits) -> Result<Self, StoreError> {
        fs::create_dir_all(root).map_err(StoreError::io("create", root))?;
        let mut used = 0;
        for entry in fs::read_dir(root).map_err(StoreError::io("read", root))? {
            let entry = entry.map_err(StoreError::io("read", root))?;
            let path = entry.path();
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with(TEMPORARY_PREFIX)
            {
                fs::remove_file(&path).map_err(StoreError::io("remove the debris", &path))?;
            } else if path.is_dir() {
                for blob in fs::read_dir(&path).map_err(StoreError::io("read", &path))? {
                    let blob = blob.map_err(StoreError::io("read", &path))?;
                    let metadata = blob.metadata().map_err(StoreError::io("read", &path))?;
                    used += metadata.len();
                }
            }
        }
        Ok(Self {
            root: root.to_path_buf(),
            limits,
            used: Arc::new(AtomicU64::new(used)),
            filing: Arc::default(),
        })
    }

    /// Bytes of all blobs, unfinished ones included.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    /// Stores `bytes`.
    ///
    /// # Errors
    /// A limit of the store, a full disk, or [`StoreError::Io`].
    pub fn put(&self, bytes: &[u8]) -> Result<BlobId, StoreError> {
        let mut writer = self.writer()?;
        writer.append(bytes)?;
        writer.finish(None)
    }

    /// Begins a blob whose bytes come in pieces.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the folder cannot be written.
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        Ok(BlobWriter {
            store: self.clone(),
            staged: Some(StagedFile::beside(&self.root.join("blob"))?),
            sha256: Sha256::new(),
            len: 0,
        })
    }

    /// Whether the blob is there; its bytes are not read.
    #[must_use]
    pub fn contains(&self, id: &BlobId) -> bool {
        self.path(id).is_file()
    }

    /// The blob's bytes, after checking its digest.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Damaged`], [`StoreError::BlobTooLarge`] for a file larger than the store
    /// would take, or [`StoreError::Io`].
    pub fn get(&self, id: &BlobId) -> Result<Vec<u8>, StoreError> {
        let (mut file, len) = self.open_file(id)?;
        let path = self.path(id);
        if len > self.limits.blob_bytes {
            return Err(StoreError::BlobTooLarge {
                limit: self.limits.blob_bytes,
            });
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(StoreError::io("read", &path))?;
        match BlobId::of(&bytes) {
            got if got == *id => Ok(bytes),
            got => Err(StoreError::Damaged { id: *id, got }),
        }
    }

    /// The blob as an open file at its beginning, after checking its digest in a stream.
    ///
    /// # Errors
    /// As [`BlobStore::get`].
    pub fn open_verified(&self, id: &BlobId) -> Result<File, StoreError> {
        let (mut file, _) = self.open_file(id)?;
        let path = self.path(id);
        let mut sha256 = Sha256::new();
        let mut buffer = vec![0u8; 1 << 16];
        loop {
            let n = file
                .read(&mut buffer)
                .map_err(StoreError::io("read", &path))?;
            if n == 0 {
                break;
            }
            sha256.update(&buffer[..n]);
        }
        let got = BlobId(sha256.finalize().into());
        if got != *id {
            return Err(StoreError::Damaged { id: *id, got });
        }
        file.seek(SeekFrom::Start(0))
            .map_err(StoreError::io("read", &path))?;
        Ok(file)
    }

    /// Removes the blob; whether it was there.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove(&self, id: &BlobId) -> Result<bool, StoreError> {
        let _filing = self.filing();
        let len = match self.open_file(id) {
            Ok((_, len)) => len,
            Err(StoreError::Missing { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let path = self.path(id);
        fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
        self.used.fetch_sub(len, Ordering::AcqRel);
        Ok(true)
    }

    /// Where the blob lies, or would lie.
    #[must_use]
    pub fn path(&self, id: &BlobId) -> PathBuf {
        let name = id.to_string();
        self.root.join(&name[..2]).join(&name[2..])
    }

    fn open_file(&self, id: &BlobId) -> Result<(File, u64), StoreError> {
        let path = self.path(id);
        let file = File::open(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => StoreError::Missing { id: *id },
            _ => StoreError::io("open", &path)(source),
        })?;
        let len = file
            .metadata()
            .map_err(StoreError::io("read", &path))?
            .len();
        Ok((file, len))
    }

    fn filing(&self) -> MutexGuard<'_, ()> {
        self.filing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts `n` more bytes, unless the store would pass its limit.
    fn reserve(&self, n: u64) -> Result<(), StoreError> {
        let limit = self.limits.total_bytes;
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                used.checked_add(n).filter(|&sum| sum <= limit)
            })
            .map(|_| ())
            .map_err(|_| StoreError::StoreFull { limit })
    }
}

/// A blob that is being written; dropped without [`BlobWriter::finish`] it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    store: BlobStore,
    /// `None` once the blob is filed.
    staged: Option<StagedFile>,
    sha256: Sha256,
    /// Bytes counted in the store's total for this blob; 0 once it is finished.
    len: u64,
}

impl BlobWriter {
    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`StoreError::BlobTooLarge`], [`StoreError::StoreFull`], [`StoreError::DiskFull`] or [`StoreError::Io`].
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let n = bytes.len() as u64;
        let limit = self.store.limits.blob_bytes;
        if n > limit.saturating_sub(self.len) {
            return Err(StoreError::BlobTooLarge { limit });
        }
        self.store.reserve(n)?;
        self.len += n;
        if let Some(staged) = &self.staged {
            staged
                .file()
                .write_all(bytes)
                .map_err(StoreError::io("write", &self.store.root))?;
        }
        self.sha256.update(bytes);
        Ok(())
    }

    /// Bytes appended so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was appended yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Files the blob under its digest, which must be `expected` if that is given.
    ///
    /// # Errors
    /// [`StoreError::WrongDigest`], [`StoreError::DiskFull`] or [`StoreError::Io`]; nothing is kept then.
    pub fn finish(mut self, expected: Option<BlobId>) -> Result<BlobId, StoreError> {
        let got = BlobId(std::mem::take(&mut self.sha256).finalize().into());
        if let Some(expected) = expected.filter(|expected| *expected != got) {
            return Err(StoreError::WrongDigest { expected, got });
        }
        let store = self.store.clone();
        let _filing = store.filing();
        if store.open_verified(&got).is_ok() {
            return Ok(got);
        }
        let place = self.store.path(&got);
        let folder = place.parent().unwrap_or(&self.store.root);
        if !folder.is_dir() {
            fs::create_dir_all(folder).map_err(StoreError::io("create", folder))?;
            sync_dir(&self.store.root)?;
        }
        let damaged_bytes = fs::metadata(&place).map_or(0, |damaged| damaged.len());
        if let Some(staged) = self.staged.take() {
            staged.commit_as(&place)?;
        }
        self.store.used.fetch_sub(damaged_bytes, Ordering::AcqRel);
        self.len = 0;
        Ok(got)
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        self.store.used.fetch_sub(self.len, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        blob_bytes: 100,
        total_bytes: 150,
    };

    fn store() -> (tempfile::TempDir, BlobStore) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = BlobStore::open(dir.path(), LIMITS).expect("opened");
        (dir, store)
    }

    #[test]
    fn a_blob_is_filed_once_under_its_digest_and_survives_a_restart() {
        let (dir, store) = store();
        let id = store.put(b"hello").expect("stored");
        assert_eq!(id, BlobId::of(b"hello"));
        assert_eq!(store.put(b"hello").expect("stored"), id);
        assert_eq!(store.used_bytes(), 5);
        fs::write(dir.path().join(format!("{TEMPORARY_PREFIX}1-2-3")), b"x").expect("written");
        let again = BlobStore::open(dir.path(), LIMITS).expect("opened");
        assert_eq!(again.used_bytes(), 5);
        assert_eq!(again.get(&id).expect("there"), b"hello");
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1);
        assert!(again.remove(&id).expect("removed"));
        assert!(!again.remove(&id).expect("already gone"));
        assert_eq!(again.used_bytes(), 0);
        assert!(matches!(again.get(&id), Err(StoreError::Missing { .. })));
    }

    #[test]
    fn limits_hold_and_an_unfinished_blob_gives_its_bytes_back() {
        let (_dir, store) = store();
        assert!(matches!(
            store.put(&[0; 101]),
            Err(StoreError::BlobTooLarge { limit: 100 })
        ));
        let mut writer = store.writer().expect("opened");
        writer.append(&[1; 60]).expect("fits");
        writer.append(&[1; 40]).expect("fits");
        assert!(matches!(
            store.put(&[0; 51]),
            Err(StoreError::StoreFull { limit: 150 })
        ));
        drop(writer);
        assert_eq!(store.used_bytes(), 0);
        store.put(&[0; 51]).expect("there is room again");
    }

    #[test]
    fn a_damaged_blob_is_named_and_healed_by_storing_it_again() {
        let (_dir, store) = store();
        let id = store.put(b"hello").expect("stored");
        fs::write(store.path(&id), b"hellO!").expect("written");
        assert!(matches!(store.get(&id), Err(StoreError::Damaged { .. })));
        assert!(matches!(
            store.open_verified(&id),
            Err(StoreError::Damaged { .. })
        ));
        store.put(b"hello").expect("stored");
        assert_eq!(store.get(&id).expect("there"), b"hello");
    }

    #[test]
    fn a_promised_digest_is_checked() {
        let (_dir, store) = store();
        let mut writer = store.writer().expect("opened");
        writer.append(b"hello").expect("fits");
        assert!(matches!(
            writer.finish(Some(BlobId::of(b"other"))),
            Err(StoreError::WrongDigest { .. })
        ));
        assert_eq!(store.used_bytes(), 0);
    }

    #[test]
    fn a_digest_survives_its_text_and_others_are_refused() {
        let id = BlobId::of(b"x");
        assert_eq!(id.to_string().parse(), Ok(id));
        let text = id.to_string();
        for wrong in [
            "",
            &text[1..],
            &text.to_uppercase(),
            &text.replace('a', "g"),
            "../../etc/passwd",
        ] {
            assert!(wrong == text || wrong.parse::<BlobId>().is_err());
        }
    }
}
