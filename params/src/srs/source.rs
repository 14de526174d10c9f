//! # A source file, read once from beginning to end
//!
//! Every byte that is read enters both digests, so what was checked and what was hashed is one thing.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use blake2b_simd::State;
use sha2::{Digest, Sha256};

use super::{FileDigests, G1_BYTES, SrsError, SrsStep, Watch, tell};

/// Bytes read at once: a whole number of points.
const PIECE: usize = 1 << 20;

/// A file in the hands of an importer.
pub(super) struct Source<'a, 'w> {
    file: File,
    path: PathBuf,
    len: u64,
    read: u64,
    blake2b: State,
    sha256: Sha256,
    watch: &'a mut Watch<'w>,
}

impl<'a, 'w> Source<'a, 'w> {
    pub(super) fn open(path: &Path, watch: &'a mut Watch<'w>) -> Result<Self, SrsError> {
        let io = |source| SrsError::io(path, source);
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(SrsError::NotAFile {
                path: path.to_path_buf(),
            });
        }
        Ok(Self {
            file,
            path: path.to_path_buf(),
            len: metadata.len(),
            read: 0,
            blake2b: State::new(),
            sha256: Sha256::new(),
            watch,
        })
    }

    /// Bytes of the file.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes not read yet.
    pub(super) fn left(&self) -> u64 {
        self.len - self.read
    }

    /// Who hears of the work.
    pub(super) fn watch(&mut self) -> &mut Watch<'w> {
        self.watch
    }

    /// Reads exactly the bytes of `to`.
    pub(super) fn fill(&mut self, to: &mut [u8]) -> Result<(), SrsError> {
        let expected = self.read + to.len() as u64;
        if expected > self.len {
            return Err(SrsError::Length {
                expected,
                got: self.len,
            });
        }
        self.file
            .read_exact(to)
            .map_err(|source| SrsError::io(&self.path, source))?;
        self.blake2b.update(to);
        self.sha256.update(&*to);
        self.read = expected;
        Ok(())
    }

    /// Reads a little-endian integer.
    pub(super) fn u32(&mut self) -> Result<u32, SrsError> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Reads a little-endian integer.
    pub(super) fn u64(&mut self) -> Result<u64, SrsError> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Hands `n` points to `take` in pieces.
    pub(super) fn points(
        &mut self,
        n: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), SrsError>,
    ) -> Result<(), SrsError> {
        self.pieces(n * G1_BYTES as u64, |piece| take(piece))
    }

    /// Reads `n` bytes that nobody wants but the digests.
    pub(super) fn skip(&mut self, n: u64) -> Result<(), SrsError> {
        self.pieces(n, |_| Ok(()))
    }

    fn pieces(
        &mut self,
        n: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), SrsError>,
    ) -> Result<(), SrsError> {
        if n > self.left() {
            return Err(SrsError::Length {
                expected: self.read.saturating_add(n),
                got: self.len,
            });
        }
        let mut buffer = vec![0u8; n.min(PIECE as u64) as usize];
        let mut left = n;
        while left > 0 {
            let piece = left.min(buffer.len() as u64) as usize;
            self.fill(&mut buffer[..piece])?;
            take(&buffer[..piece])?;
            left -= piece as u64;
            tell(self.watch, SrsStep::Read, self.read, self.len)?;
        }
        Ok(())
    }

    /// The digests of the file, which must have been read to its end.
    pub(super) fn finish(self) -> Result<FileDigests, SrsError> {
        // A file that grew since it was opened.
        let mut more = [0u8; 1];
        let trailing = (&self.file)
            .read(&mut more)
            .map_err(|source| SrsError::io(&self.path, source))?;
        if self.read != self.len || trailing != 0 {
            return Err(SrsError::Length {
                expected: self.read,
                got: self.len + trailing as u64,
            });
        }
        let mut blake2b = [0; 64];
        blake2b.copy_from_slice(self.blake2b.finalize().as_bytes());
        Ok(FileDigests {
            blake2b,
            sha256: self.sha256.finalize().into(),
        })
    }
}
