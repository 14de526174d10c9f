//! Content-addressed files of the data folder: `blobs/ab/abcd…`, readable by the owner only.
//!
//! A blob is written beside its place, synced, renamed, and its folder synced; only then may its digest be recorded.
//! Reading checks the digest. Collecting (delete row, delete file) excludes pinning (write file, record row), so a
//! digest that is being recorded never loses its file.
//!
//! Uploads of kind INPUT are encrypted from their first byte on and filed as `abcd….sealed`; reading decrypts them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::Digest as _;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{
    ArtifactKind, Digest, UploadId,
    sealed::{SealError, SealedFile, Vault},
};

/// What the name of an encrypted blob ends in.
const SEALED: &str = ".sealed";

/// Why a blob could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The bytes do not have the digest they are filed under.
    #[error("expected digest {expected}, got {got}")]
    Digest {
        /// The digest promised.
        expected: Digest,
        /// The digest found.
        got: Digest,
    },
    /// The file does not have the promised length.
    #[error("expected {expected} bytes, got {got}")]
    Length {
        /// The length promised.
        expected: u64,
        /// The length found.
        got: u64,
    },
    /// An encrypted file could not be written or read.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl BlobError {
    /// Whether the disk is full.
    pub fn is_disk_full(&self) -> bool {
        let source = match self {
            Self::Io { source, .. } | Self::Seal(SealError::Io { source, .. }) => source,
            Self::Seal(SealError::Stream(source)) => source,
            _ => return false,
        };
        matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

/// The blobs and uploads of one data folder.
#[derive(Debug)]
pub struct Blobs {
    root: PathBuf,
    vault: Arc<Vault>,
    collecting: RwLock<()>,
}

/// Whether artifacts of this kind are encrypted on disk.
fn is_sealed(kind: ArtifactKind) -> bool {
    kind == ArtifactKind::Input
}

/// The digest that a file in a folder of `blobs` is filed under.
pub fn digest_of_name(name: &str) -> Option<Digest> {
    name.strip_suffix(SEALED).unwrap_or(name).parse().ok()
}

impl Blobs {
    /// Opens the folders below `root`, creating what is missing; `vault` encrypts what is private.
    ///
    /// # Errors
    /// A folder cannot be created.
    pub fn open(root: &Path, vault: Arc<Vault>) -> Result<Self, BlobError> {
        for folder in ["blobs", "uploads"] {
            private_folder(&root.join(folder))?;
        }
        Ok(Self {
            root: root.to_owned(),
            vault,
            collecting: RwLock::new(()),
        })
    }

    /// What encrypts private inputs.
    pub fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    /// Held while a file is written and its digest recorded.
    pub async fn pin(&self) -> RwLockReadGuard<'_, ()> {
        self.collecting.read().await
    }

    /// Held while a digest is forgotten and its file deleted.
    pub async fn collect(&self) -> RwLockWriteGuard<'_, ()> {
        self.collecting.write().await
    }

    /// Where the blob of `digest` lies.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join("blobs").join(&name[..2]).join(name)
    }

    /// Where the encrypted blob of `digest` lies.
    fn sealed_path(&self, digest: &Digest) -> PathBuf {
        let mut path = self.path(digest).into_os_string();
        path.push(SEALED);
        path.into()
    }

    /// Where the bytes of an upload lie.
    pub fn upload_path(&self, id: UploadId) -> PathBuf {
        self.root.join("uploads").join(id.0.simple().to_string())
    }

    /// Stores `bytes` durably.
    ///
    /// # Errors
    /// The disk is full or broken.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        let digest = Digest::of(bytes);
        let path = self.path(&digest);
        if path.exists() && self.read(&digest, bytes.len() as u64).is_ok() {
            return Ok(digest);
        }
        let temporary = self
            .root
            .join("uploads")
            .join(uuid::Uuid::new_v4().simple().to_string());
        let mut file = private_file(&temporary)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        if let Err(source) = written {
            let _ = fs::remove_file(&temporary);
            return Err(BlobError::Io {
                path: temporary,
                source,
            });
        }
        self.place(&temporary, &self.path(&digest))?;
        Ok(digest)
    }

    /// Bytes of an upload that are on disk.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn upload_size(&self, id: UploadId, kind: ArtifactKind) -> Result<u64, BlobError> {
        let path = self.upload_path(id);
        let len = if is_sealed(kind) {
            SealedFile::plain_len(&path)
        } else {
            fs::metadata(&path).map(|m| m.len())
        };
        match len {
            Ok(len) => Ok(len),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(BlobError::Io { path, source }),
        }
    }

    /// Appends to an upload.
    ///
    /// # Errors
    /// The file cannot be written; what was written of `data` stays.
    pub fn append_upload(
        &self,
        id: UploadId,
        kind: ArtifactKind,
        data: &[u8],
    ) -> Result<(), BlobError> {
        let path = self.upload_path(id);
        let io = |source| BlobError::Io {
            path: path.clone(),
            source,
        };
        if is_sealed(kind) {
            return self.vault.append_file(&path)?.write_all(data).map_err(io);
        }
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(data))
            .map_err(io)
    }

    /// Checks length and digest of an upload and files it.
    ///
    /// # Errors
    /// The bytes are not what was announced (the upload stays), or the disk fails.
    pub fn adopt_upload(
        &self,
        id: UploadId,
        kind: ArtifactKind,
        digest: &Digest,
        size: u64,
    ) -> Result<(), BlobError> {
        let path = self.upload_path(id);
        let io = |source| BlobError::Io {
            path: path.clone(),
            source,
        };
        // An empty artifact has no chunk and hence no file.
        if size == 0 {
            self.append_upload(id, kind, &[])?;
        }
        // Also where the header of an encrypted upload was not written whole.
        let file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(BlobError::Length {
                    expected: size,
                    got: 0,
                });
            }
            opened => opened.map_err(io)?,
        };
        let got = self.upload_size(id, kind)?;
        if got != size {
            return Err(BlobError::Length {
                expected: size,
                got,
            });
        }
        let got = if is_sealed(kind) {
            digest_of(&mut self.vault.read_file(&path)?)
        } else {
            digest_of(&mut &file)
        };
        let got = got.map_err(io)?;
        if got != *digest {
            return Err(BlobError::Digest {
                expected: *digest,
                got,
            });
        }
        file.sync_all().map_err(io)?;
        let to = if is_sealed(kind) {
            self.sealed_path(digest)
        } else {
            self.path(digest)
        };
        self.place(&path, &to)
    }

    /// Throws an upload away.
    pub fn drop_upload(&self, id: UploadId) {
        let _ = fs::remove_file(self.upload_path(id));
    }

    /// Deletes a blob.
    pub fn remove(&self, digest: &Digest) {
        let _ = fs::remove_file(self.path(digest));
        let _ = fs::remove_file(self.sealed_path(digest));
    }

    /// Opens the encrypted blob of `digest`, where there is no other.
    fn sealed(&self, digest: &Digest) -> Result<Option<SealedFile>, BlobError> {
        let path = self.sealed_path(digest);
        if self.path(digest).exists() || !path.exists() {
            return Ok(None);
        }
        Ok(Some(self.vault.read_file(&path)?))
    }

    /// Reads a whole blob of at most `max` bytes and checks its digest.
    ///
    /// # Errors
    /// The file is missing, longer, or damaged.
    pub fn read(&self, digest: &Digest, max: u64) -> Result<Vec<u8>, BlobError> {
        let bytes = match self.sealed(digest)? {
            Some(file) if file.len() > max => {
                return Err(BlobError::Length {
                    expected: max,
                    got: file.len(),
                });
            }
            Some(mut file) => {
                let mut bytes = Vec::with_capacity(file.len() as usize);
                file.read_to_end(&mut bytes).map_err(SealError::from)?;
                bytes
            }
            None => read_bounded(&self.path(digest), max)?,
        };
        let got = Digest::of(&bytes);
        if got != *digest {
            return Err(BlobError::Digest {
                expected: *digest,
                got,
            });
        }
        Ok(bytes)
    }

    /// Reads at most `len` bytes at `offset`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read_range(&self, digest: &Digest, offset: u64, len: u64) -> Result<Vec<u8>, BlobError> {
        if let Some(mut file) = self.sealed(digest)? {
            file.seek_to(offset);
            let mut out = Vec::new();
            let mut range = file.take(len);
            range.read_to_end(&mut out).map_err(SealError::from)?;
            return Ok(out);
        }
        let path = self.path(digest);
        let io = |source| BlobError::Io {
            path: path.clone(),
            source,
        };
        let mut file = File::open(&path).map_err(io)?;
        file.seek(SeekFrom::Start(offset)).map_err(io)?;
        let mut out = Vec::new();
        file.take(len).read_to_end(&mut out).map_err(io)?;
        Ok(out)
    }

    /// Renames a synced file to its place and makes the name durable.
    fn place(&self, from: &Path, to: &Path) -> Result<(), BlobError> {
        let folder = to.parent().unwrap_or(&self.root);
        let fresh = !folder.exists();
        private_folder(folder)?;
        fs::rename(from, to).map_err(|source| BlobError::Io {
            path: to.to_owned(),
            source,
        })?;
        sync_folder(folder)?;
        if fresh {
            sync_folder(&self.root.join("blobs"))?;
        }
        Ok(())
    }
}

/// Reads a file of at most `max` bytes; checks the length before allocating.
///
/// # Errors
/// The file is missing or longer.
pub fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, BlobError> {
    let io = |source| BlobError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    let len = file.metadata().map_err(io)?.len();
    if len > max {
        return Err(BlobError::Length {
            expected: max,
            got: len,
        });
    }
    let mut out = Vec::with_capacity(len as usize);
    file.take(max.saturating_add(1))
        .read_to_end(&mut out)
        .map_err(io)?;
    if out.len() as u64 > max {
        return Err(BlobError::Length {
            expected: max,
            got: out.len() as u64,
        });
    }
    Ok(out)
}

/// The digest of what is left of a reader.
///
/// # Errors
/// The reader fails.
pub fn digest_of(reader: &mut impl Read) -> io::Result<Digest> {
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(Digest(hash.finalize().into())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// Creates a folder that only the owner may read.
///
/// # Errors
/// The folder cannot be created.
pub fn private_folder(path: &Path) -> Result<(), BlobError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| BlobError::Io {
            path: path.to_owned(),
            source,
        })
}

/// Creates an empty file that only the owner may read.
///
/// # Errors
/// The file cannot be created.
pub fn private_file(path: &Path) -> Result<File, BlobError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| BlobError::Io {
            path: path.to_owned(),
            source,
        })
}

/// Makes the names in a folder durable.
///
/// # Errors
/// The folder cannot be synced.
pub fn sync_folder(path: &Path) -> Result<(), BlobError> {
    File::open(path)
        .and_then(|d| d.sync_all())
        .map_err(|source| BlobError::Io {
            path: path.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> Arc<Vault> {
        Arc::new(Vault::from_key([7; 32].into()))
    }

    #[test]
    fn a_damaged_blob_is_not_read() {
        let dir = tempfile::tempdir().expect("temp dir");
        let blobs = Blobs::open(dir.path(), vault()).expect("open");
        let digest = blobs.put(b"hello").expect("put");
        assert_eq!(blobs.read(&digest, 5).expect("read"), b"hello");
        assert!(matches!(
            blobs.read(&digest, 4),
            Err(BlobError::Length {
                expected: 4,
                got: 5
            })
        ));
        fs::write(blobs.path(&digest), b"jello").expect("damage");
        assert!(matches!(
            blobs.read(&digest, 5),
            Err(BlobError::Digest { .. })
        ));
        blobs.put(b"hello").expect("put repairs");
        assert!(blobs.read(&digest, 5).is_ok());
    }

    #[test]
    fn an_upload_of_other_bytes_is_not_filed() {
        let dir = tempfile::tempdir().expect("temp dir");
        let blobs = Blobs::open(dir.path(), vault()).expect("open");
        for kind in [ArtifactKind::Model, ArtifactKind::Input] {
            let id = UploadId::fresh();
            blobs.append_upload(id, kind, b"abc").expect("write");
            let digest = Digest::of(b"abd");
            assert!(matches!(
                blobs.adopt_upload(id, kind, &digest, 3),
                Err(BlobError::Digest { .. })
            ));
            assert!(matches!(
                blobs.adopt_upload(id, kind, &Digest::of(b"abc"), 4),
                Err(BlobError::Length { .. })
            ));
            blobs
                .adopt_upload(id, kind, &Digest::of(b"abc"), 3)
                .expect("right bytes");
            assert!(!blobs.path(&digest).exists() && !blobs.sealed_path(&digest).exists());
        }
    }

    #[test]
    fn an_uploaded_input_is_never_on_disk_in_the_clear() {
        let dir = tempfile::tempdir().expect("temp dir");
        let blobs = Blobs::open(dir.path(), vault()).expect("open");
        let canary = b"CANARY-31337-CANARY".repeat(100);
        let digest = Digest::of(&canary);
        let id = UploadId::fresh();
        let clear = || {
            let folders = ["blobs", "uploads"].map(|f| dir.path().join(f));
            let mut folders = folders.to_vec();
            let mut files = Vec::new();
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(folder).expect("list") {
                    let path = entry.expect("entry").path();
                    if path.is_dir() {
                        folders.push(path);
                    } else {
                        files.push(fs::read(path).expect("read"));
                    }
                }
            }
            assert_eq!(files.len(), 1);
            files[0].windows(6).any(|w| w == b"CANARY")
        };
        let kind = ArtifactKind::Input;
        for chunk in canary.chunks(333) {
            let at = blobs.upload_size(id, kind).expect("size");
            assert_eq!(canary[at as usize..][..chunk.len()], *chunk);
            blobs.append_upload(id, kind, chunk).expect("write");
            assert!(!clear());
        }
        let size = canary.len() as u64;
        blobs.adopt_upload(id, kind, &digest, size).expect("adopt");
        assert!(!clear());
        assert_eq!(blobs.read(&digest, size).expect("read"), canary);
        assert_eq!(
            blobs.read_range(&digest, 700, 5).expect("read"),
            canary[700..705]
        );
        assert!(matches!(
            blobs.read(&digest, size - 1),
            Err(BlobError::Length { .. })
        ));
        let path = blobs.sealed_path(&digest);
        let name = path.file_name().and_then(|n| n.to_str()).expect("name");
        assert_eq!(digest_of_name(name), Some(digest));
        let mut damaged = fs::read(&path).expect("read");
        damaged[500] ^= 1;
        fs::write(&path, damaged).expect("damage");
        assert!(matches!(
            blobs.read(&digest, size),
            Err(BlobError::Digest { .. })
        ));
        blobs.remove(&digest);
        assert!(!path.exists());
        // A file without a byte has a header only.
        let (id, empty) = (UploadId::fresh(), Digest::of(b""));
        blobs.adopt_upload(id, kind, &empty, 0).expect("adopt");
        assert_eq!(blobs.read(&empty, 0).expect("read"), b"");
    }
}
