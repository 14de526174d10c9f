//! # Cache: compiled units on the disk
//!
//! What lies here runs on the GPU with the process's data, so only files and folders that belong to the user, and that nobody else may
//! write, are believed; and of those only the ones that match their own digest. A cache that cannot be used is no error.

use std::env;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;

use rustix::process::geteuid;

use super::recipe::digest;

/// Hexadecimal digits of a digest, and the end of the line.
const HEAD: usize = 64 + 1;

/// A folder of compiled units.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The user's: `$XDG_CACHE_HOME/zkinfer/kernels`, or `~/.cache/zkinfer/kernels`.
    pub(crate) fn of_user() -> Option<Self> {
        let absolute = |name| {
            env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let caches =
            absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
        Self::open(&caches.join("zkinfer/kernels"))
    }

    /// Makes the folder where there is none.
    fn open(folder: &Path) -> Option<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .ok()?;
        let trusted =
            fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir() && is_private(&found));
        trusted.then(|| Self {
            folder: folder.to_owned(),
        })
    }

    /// What was stored under a key.
    pub(crate) fn read(&self, key: &str) -> Option<Vec<u8>> {
        let mut file = File::open(self.path(key)).ok()?;
        let found = file.metadata().ok()?;
        if !found.is_file() || !is_private(&found) {
            return None;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        let (head, content) = bytes.split_at_checked(HEAD)?;
        (head == head_of(content).as_bytes()).then(|| content.to_vec())
    }

    /// Stores under a key; readers see all of it or nothing.
    pub(crate) fn write(&self, key: &str, content: &[u8]) -> io::Result<()> {
        let beside = self.folder.join(format!(".{key}.{}", process::id()));
        let written =
            write_new(&beside, content).and_then(|()| fs::rename(&beside, self.path(key)));
        if written.is_err() {
            // Nothing was there to be removed, or a later process will not mind it.
            let _ = fs::remove_file(&beside);
        }
        written
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.cubin"))
    }
}

fn head_of(content: &[u8]) -> String {
    digest([content]) + "\n"
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(head_of(content).as_bytes())?;
    file.write_all(content)?;
    file.sync_all()
}

/// Belongs to the user, and nobody else may write it.
fn is_private(found: &Metadata) -> bool {
    found.uid() == geteuid().as_raw() && found.mode() & 0o022 == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("a/b")).unwrap();
        (folder, cache)
    }

    #[test]
    fn gives_back_what_was_stored_and_nothing_else() {
        let (_folder, cache) = cache();
        assert_eq!(cache.read("k"), None);
        cache.write("k", b"code").unwrap();
        cache.write("k", b"newer code").unwrap();
        assert_eq!(cache.read("k").as_deref(), Some(&b"newer code"[..]));
        assert_eq!(cache.read("l"), None);
        assert_eq!(fs::read_dir(&cache.folder).unwrap().count(), 1);
    }

    #[test]
    fn ignores_a_damaged_file() {
        let (_folder, cache) = cache();
        cache.write("k", b"code").unwrap();
        let sound = fs::read(cache.path("k")).unwrap();
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            fs::write(cache.path("k"), damaged).unwrap();
            assert_eq!(cache.read("k"), None, "byte {at}");
            fs::write(cache.path("k"), &sound[..at]).unwrap();
            assert_eq!(cache.read("k"), None, "cut at {at}");
        }
    }

    #[test]
    fn ignores_what_others_may_write() {
        let (_folder, cache) = cache();
        let allow =
            |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        cache.write("k", b"code").unwrap();
        allow(&cache.path("k"), 0o620);
        assert_eq!(cache.read("k"), None);
        allow(&cache.path("k"), 0o600);
        assert!(cache.read("k").is_some());
        assert_eq!(fs::metadata(&cache.folder).unwrap().mode() & 0o777, 0o700);
        allow(&cache.folder, 0o777);
        assert!(Cache::open(&cache.folder).is_none());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_no_cache() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(Cache::open(&file.join("kernels")).is_none());
        assert!(Cache::open(&file).is_none());
    }
}
