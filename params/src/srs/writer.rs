//! # Writing a reference string
//!
//! The two sections are written as they come, each in order, the header page last; until then the file has a temporary name.

use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

use super::{
    G1_BYTES, G2_BYTES, Header, MAX_K, Origin, PAGE_BYTES, Place, Srs, SrsError, SrsHome,
    SrsSection, header,
};
use crate::store::{StagedFile, StoreError};

/// A file being written; dropped without [`SrsWriter::finish`] it leaves nothing.
pub(crate) struct SrsWriter {
    staged: StagedFile,
    k: u32,
    /// Named by its digest in the folder of `staged`, or exactly there.
    in_store: bool,
    monomial: Written,
    lagrange: Written,
}

struct Written {
    sha256: Sha256,
    bytes: u64,
}

impl SrsWriter {
    /// Begins a file of 2ᵏ powers.
    pub(crate) fn begin(k: u32, place: &Place<'_>) -> Result<Self, SrsError> {
        if !(1..=MAX_K).contains(&k) {
            return Err(SrsError::K { got: k });
        }
        let nothing = || Written {
            sha256: Sha256::new(),
            bytes: 0,
        };
        let (target, in_store) = match place {
            Place::File(path) => (path.to_path_buf(), false),
            Place::Home(home) => (home.root().join("incoming"), true),
        };
        Ok(Self {
            staged: StagedFile::beside(&target)?,
            k,
            in_store,
            monomial: nothing(),
            lagrange: nothing(),
        })
    }

    /// Appends raw points to a section.
    pub(crate) fn append(&mut self, section: SrsSection, raw: &[u8]) -> Result<(), SrsError> {
        let (at, written) = match section {
            SrsSection::Monomial => (PAGE_BYTES, &mut self.monomial),
            SrsSection::Lagrange => (super::lagrange_at(self.k), &mut self.lagrange),
        };
        self.staged
            .file()
            .write_all_at(raw, at + written.bytes)
            .map_err(StoreError::io("write", self.staged.target()))?;
        written.bytes += raw.len() as u64;
        written.sha256.update(raw);
        Ok(())
    }

    /// The raw powers that were written.
    pub(crate) fn powers(&self) -> Result<Vec<u8>, SrsError> {
        // As many bytes as were written: no number of a file.
        let mut raw = vec![0u8; self.monomial.bytes as usize];
        self.staged
            .file()
            .read_exact_at(&mut raw, PAGE_BYTES)
            .map_err(|source| SrsError::io(self.staged.target(), source))?;
        Ok(raw)
    }

    /// Writes the header, flushes, renames into place and opens the file.
    pub(crate) fn finish(
        self,
        lagrange_from: u32,
        origin: Origin,
        s_g2: [u8; G2_BYTES],
    ) -> Result<Srs, SrsError> {
        let k = self.k;
        let header = Header {
            k,
            lagrange_from,
            origin,
            s_g2,
            monomial_sha256: self.monomial.sha256.finalize().into(),
            lagrange_sha256: self.lagrange.sha256.finalize().into(),
        };
        for (section, points, bytes) in [
            (
                SrsSection::Monomial,
                header.monomial_points(),
                self.monomial.bytes,
            ),
            (
                SrsSection::Lagrange,
                header.lagrange_points(),
                self.lagrange.bytes,
            ),
        ] {
            if points * G1_BYTES as u64 != bytes {
                return Err(SrsError::malformed(
                    section.to_string(),
                    format!("{points} points"),
                    bytes / G1_BYTES as u64,
                ));
            }
        }
        let (page, id) = header::encode(&header);
        let target = match self.in_store {
            true => self.staged.target().with_file_name(SrsHome::file_name(&id)),
            false => self.staged.target().to_path_buf(),
        };
        self.staged
            .file()
            .write_all_at(&page, 0)
            .map_err(StoreError::io("write", &target))?;
        self.staged.commit_as(&target)?;
        Srs::open(&target)
    }
}
