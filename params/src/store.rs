//! # Store: writing so that a crash leaves the old state or the new one
//!
//! A file or a folder is written beside its place under a temporary name, flushed to the disk, renamed, and the folder that
//! holds it is flushed. Whatever fails, a full disk included, the temporary is removed and nothing is left behind.

mod local;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

pub use local::{BlobId, BlobStore, BlobWriter, Limits};

/// Prefix of every temporary name; such files are debris of a crash once their process is gone.
pub(crate) const TEMPORARY_PREFIX: &str = ".zkinfer-tmp-";

/// Why something could not be stored or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system refused an operation on a file.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The disk (or its quota) is full.
    #[error("no space left to write {}; nothing was kept of it", path.display())]
    DiskFull {
        /// Where.
        path: PathBuf,
    },
    /// The place is taken.
    #[error("{} exists already", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// A blob is larger than the store allows.
    #[error("a blob of more than {limit} bytes was offered")]
    BlobTooLarge {
        /// Most bytes of a blob.
        limit: u64,
    },
    /// The store would pass its limit of bytes.
    #[error("the store is full: it may hold {limit} bytes")]
    StoreFull {
        /// Most bytes of the store.
        limit: u64,
    },
    /// The bytes offered do not have the promised digest.
    #[error("expected a blob with digest {expected}, got one with digest {got}")]
    WrongDigest {
        /// The digest promised.
        expected: BlobId,
        /// The digest of the bytes.
        got: BlobId,
    },
    /// A stored blob no longer has the digest it is filed under.
    #[error("blob {id} is damaged on disk: its bytes have digest {got}")]
    Damaged {
        /// The digest it is filed under.
        id: BlobId,
        /// The digest of the bytes found.
        got: BlobId,
    },
    /// There is no such blob.
    #[error("no blob {id}")]
    Missing {
        /// The digest asked for.
        id: BlobId,
    },
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }
}

/// Writes `bytes` to `path`, replacing what was there, all or nothing.
///
/// # Errors
/// [`StoreError::Io`] or [`StoreError::DiskFull`]; the old file is then still in place.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut staged = StagedFile::beside(path)?;
    staged
        .file
        .write_all(bytes)
        .map_err(StoreError::io("write", path))?;
    staged.commit()
}

/// A file under a temporary name beside its place; removed when dropped without [`StagedFile::commit`].
#[derive(Debug)]
pub struct StagedFile {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl StagedFile {
    /// Opens an empty temporary file in the folder of `target`, which must exist.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the folder cannot be written.
    pub fn beside(target: &Path) -> Result<Self, StoreError> {
        let temporary = temporary_beside(target);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&temporary)
            .map_err(StoreError::io("create a file beside", target))?;
        Ok(Self {
            file,
            temporary,
            target: target.to_path_buf(),
            committed: false,
        })
    }

    /// The open temporary file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where the file will be.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Flushes the file to the disk, renames it into place and flushes the folder.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::DiskFull`]; what was at the place before is then still there.
    pub fn commit(self) -> Result<(), StoreError> {
        let target = self.target.clone();
        self.commit_as(&target)
    }

    /// Commits the file to another place in the same file system.
    pub(crate) fn commit_as(mut self, target: &Path) -> Result<(), StoreError> {
        self.file
            .sync_all()
            .map_err(StoreError::io("flush", target))?;
        fs::rename(&self.temporary, target).map_err(StoreError::io("rename into", target))?;
        self.committed = true;
        sync_dir(parent(target))
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing can be done about a failure here: the name marks the file as debris.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// What [`StagedDir::commit`] does with a folder that is already at the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave it and fail, unless it is empty.
    Refuse,
    /// Move it aside, put the new one in place, remove the old one.
    Replace,
}

/// A folder under a temporary name beside its place; removed when dropped without [`StagedDir::commit`].
#[derive(Debug)]
pub struct StagedDir {
    temporary: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl StagedDir {
    /// Creates an empty temporary folder in the folder of `target`, which must exist.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the folder cannot be written.
    pub fn beside(target: &Path) -> Result<Self, StoreError> {
        let temporary = temporary_beside(target);
        fs::create_dir(&temporary).map_err(StoreError::io("create a folder beside", target))?;
        Ok(Self {
            temporary,
            target: target.to_path_buf(),
            committed: false,
        })
    }

    /// The temporary folder, to be filled.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Flushes every file to the disk and renames the folder into place.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the place is taken and `existing` says to refuse; [`StoreError::Io`] otherwise. What was
    /// at the place is then still there.
    pub fn commit(mut self, existing: Existing) -> Result<(), StoreError> {
        sync_tree(&self.temporary)?;
        let rename = |from: &Path, to: &Path| {
            fs::rename(from, to).map_err(StoreError::io("rename into", &self.target))
        };
        let occupied = fs::read_dir(&self.target)
            .map(|mut entries| entries.next().is_some())
            .unwrap_or_else(|_| self.target.symlink_metadata().is_ok());
        match existing {
            Existing::Refuse if occupied => {
                return Err(StoreError::Exists {
                    path: self.target.clone(),
                });
            }
            Existing::Replace if occupied => {
                let aside = temporary_beside(&self.target);
                rename(&self.target, &aside)?;
                if let Err(error) = rename(&self.temporary, &self.target) {
                    rename(&aside, &self.target)?;
                    return Err(error);
                }
                self.committed = true;
                sync_dir(parent(&self.target))?;
                let removed = if aside.is_dir() {
                    fs::remove_dir_all(&aside)
                } else {
                    fs::remove_file(&aside)
                };
                return removed.map_err(StoreError::io("remove what was replaced at", &aside));
            }
            _ => rename(&self.temporary, &self.target)?,
        }
        self.committed = true;
        sync_dir(parent(&self.target))
    }
}

impl Drop for StagedDir {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing can be done about a failure here: the name marks the folder as debris.
            let _ = fs::remove_dir_all(&self.temporary);
        }
    }
}

fn sync_tree(dir: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(dir).map_err(StoreError::io("read", dir))? {
        let path = entry.map_err(StoreError::io("read", dir))?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(StoreError::io("flush", &path))?;
        }
    }
    sync_dir(dir)
}

pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(StoreError::io("flush the folder", dir))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A fresh name in the folder of `target`: unique in the process, and by the process id on the machine.
fn temporary_beside(target: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
    let salt: u32 = rand::random();
    let name = format!(
        "{TEMPORARY_PREFIX}{}-{serial}-{salt:08x}",
        std::process::id()
    );
    parent(target).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .expect("the folder exists")
            .map(|entry| {
                entry
                    .expect("readable")
                    .file_name()
                    .to_string_lossy()
                    .into()
            })
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_written_file_replaces_the_old_one_and_leaves_no_debris() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("a");
        write_file(&path, b"one").expect("written");
        write_file(&path, b"two").expect("written");
        assert_eq!(fs::read(&path).expect("readable"), b"two");
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn a_dropped_file_or_folder_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        drop(StagedFile::beside(&dir.path().join("a")).expect("created"));
        let staged = StagedDir::beside(&dir.path().join("b")).expect("created");
        fs::write(staged.path().join("x"), b"x").expect("written");
        drop(staged);
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn a_failed_rename_keeps_the_old_state() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let target = dir.path().join("a");
        fs::create_dir(&target).expect("created");
        fs::write(target.join("x"), b"x").expect("written");
        assert!(
            write_file(&target, b"one").is_err(),
            "a folder is in the way"
        );
        assert_eq!(names(dir.path()), ["a"]);
        assert_eq!(names(&target), ["x"]);
    }

    #[test]
    fn a_folder_appears_whole_and_an_existing_one_is_refused_or_replaced() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let target = dir.path().join("bundle");
        for (content, existing, expected) in [
            ("one", Existing::Refuse, "one"),
            ("two", Existing::Refuse, "one"),
            ("three", Existing::Replace, "three"),
        ] {
            let staged = StagedDir::beside(&target).expect("created");
            fs::create_dir(staged.path().join("inner")).expect("created");
            fs::write(staged.path().join("inner/x"), content).expect("written");
            assert_eq!(staged.commit(existing).is_ok(), content == expected);
            assert_eq!(
                fs::read_to_string(target.join("inner/x")).expect("readable"),
                expected
            );
            assert_eq!(names(dir.path()), ["bundle"]);
        }
    }

    #[test]
    fn a_full_disk_has_an_error_of_its_own() {
        let error = StoreError::io("write", Path::new("x"))(io::ErrorKind::StorageFull.into());
        assert!(matches!(error, StoreError::DiskFull { .. }));
    }
}
