//! # A folder of reference strings
//!
//! Each is a file `<id>.srs`, its id the digest of its header in hexadecimal. `ceremonies.json` in the folder adds to the list of
//! known ceremonies.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::ceremony::hex;
use super::{Ceremonies, CeremonyError, MAX_LIST_BYTES, Srs, SrsError};
use crate::store::StoreError;

const SUFFIX: &str = "srs";
/// The user's list of ceremonies.
const LIST: &str = "ceremonies.json";

/// A folder of reference strings.
#[derive(Debug, Clone)]
pub struct SrsHome {
    root: PathBuf,
}

/// A file of a store; one that cannot be opened is listed with the reason.
#[derive(Debug)]
pub struct SrsEntry {
    /// Where.
    pub path: PathBuf,
    /// What it is.
    pub srs: Result<Srs, SrsError>,
}

impl SrsHome {
    /// Opens the folder and creates it when there is none.
    ///
    /// # Errors
    /// [`SrsError::Store`].
    pub fn open(root: &Path) -> Result<Self, SrsError> {
        fs::create_dir_all(root).map_err(StoreError::io("create", root))?;
        Ok(Self {
            root: root.to_path_buf(),
        })
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn file_name(id: &[u8; 32]) -> String {
        format!("{}.{SUFFIX}", hex(id))
    }

    /// The built-in ceremonies and those of the folder's `ceremonies.json`.
    ///
    /// # Errors
    /// The list cannot be read or is no list.
    pub fn ceremonies(&self) -> Result<Ceremonies, SrsError> {
        let mut known = Ceremonies::built_in();
        let path = self.root.join(LIST);
        if path.exists() {
            known.extend(read_list(&path)?);
        }
        Ok(known)
    }

    /// Every reference string of the folder, by name.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> Result<Vec<SrsEntry>, SrsError> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(StoreError::io("read", &self.root))? {
            let path = entry.map_err(StoreError::io("read", &self.root))?.path();
            if path.extension().is_some_and(|suffix| suffix == SUFFIX) {
                let srs = Srs::open(&path);
                entries.push(SrsEntry { path, srs });
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// Opens the reference string whose id begins with `id`.
    ///
    /// # Errors
    /// [`SrsError::Missing`], [`SrsError::Ambiguous`], or what [`Srs::open`] says.
    pub fn find(&self, id: &str) -> Result<Srs, SrsError> {
        // a file under another file's name is not that file
        let named = |entry: &SrsEntry| {
            let name = entry.path.file_name().map(|name| name.to_string_lossy());
            !id.is_empty()
                && name.is_some_and(|name| {
                    let own = entry.srs.as_ref().map(|srs| Self::file_name(&srs.id()));
                    name.starts_with(id) && own.map_or(true, |own| own == name)
                })
        };
        let mut found: Vec<SrsEntry> = self.list()?.into_iter().filter(named).collect();
        match (found.len(), found.pop()) {
            (1, Some(entry)) => entry.srs,
            (0, _) | (_, None) => Err(SrsError::Missing {
                id: id.to_owned(),
                home: self.root.clone(),
            }),
            (n, _) => Err(SrsError::Ambiguous {
                id: id.to_owned(),
                n,
            }),
        }
    }
}

/// Reads a list of ceremonies.
///
/// # Errors
/// The file cannot be read or is no list.
fn read_list(path: &Path) -> Result<Ceremonies, SrsError> {
    let io = |source| SrsError::io(path, source);
    let mut json = Vec::new();
    fs::File::open(path)
        .map_err(io)?
        .take(MAX_LIST_BYTES as u64 + 1)
        .read_to_end(&mut json)
        .map_err(io)?;
    let parsed: Result<Ceremonies, CeremonyError> = Ceremonies::parse(&json);
    Ok(parsed?)
}

impl Ceremonies {
    /// Reads a list from a file.
    ///
    /// # Errors
    /// The file cannot be read or is no list.
    pub fn read(path: &Path) -> Result<Self, SrsError> {
        read_list(path)
    }
}
