//! # Writing a proving key in one pass
//!
//! Memory is one buffer, whatever the key's size. The header page is written last, so that an unfinished file is not a key,
//! and the file has a temporary name until it is complete and on the disk.

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{
    KeyHeader, KeyOpenError, KeySink, KeyWriteError, PAGE_BYTES, ProvingKeyFile, Section,
    SectionKind, header,
};
use crate::store::{StagedFile, StoreError};

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// A proving key being written beside its place; dropped without [`KeyWriter::finish`] it leaves nothing.
#[derive(Debug)]
pub struct KeyWriter {
    staged: StagedFile,
    buffer: Vec<u8>,
    /// Bytes of the file so far, the buffer included.
    len: u64,
    header: Option<KeyHeader>,
    sections: Vec<Section>,
    open: Option<OpenSection>,
}

#[derive(Debug)]
struct OpenSection {
    section: Section,
    written: u64,
    sha256: Sha256,
}

impl KeyWriter {
    /// Begins a key that will be at `path`.
    ///
    /// # Errors
    /// [`KeyWriteError::Store`] when the folder cannot be written.
    pub fn create(path: &Path) -> Result<Self, KeyWriteError> {
        Ok(Self {
            staged: StagedFile::beside(path)?,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            len: 0,
            header: None,
            sections: Vec::new(),
            open: None,
        })
    }

    /// Writes the header, flushes the file to the disk, renames it into place and opens it.
    ///
    /// # Errors
    /// [`KeyWriteError`]; nothing is left behind then.
    pub fn finish(mut self) -> Result<ProvingKeyFile, FinishError> {
        self.close_section()?;
        let Some(header) = self.header else {
            return Err(KeyWriteError::OutOfOrder {
                what: "finished before it was begun",
            }
            .into());
        };
        self.flush()?;
        let page = header::encode(&header, &self.sections, self.len);
        let path = self.staged.target().to_path_buf();
        let mut file = BufWriter::new(self.staged.file());
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.write_all(&page))
            .and_then(|()| file.flush())
            .map_err(StoreError::io("write", &path))
            .map_err(KeyWriteError::from)?;
        drop(file);
        self.staged.commit().map_err(KeyWriteError::from)?;
        Ok(ProvingKeyFile::open(&path)?)
    }

    fn close_section(&mut self) -> Result<(), KeyWriteError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        if open.written != open.section.len_bytes() {
            return Err(KeyWriteError::SectionLength {
                kind: open.section.kind,
                expected: open.section.len_bytes(),
                got: open.written,
            });
        }
        self.sections.push(Section {
            sha256: open.sha256.finalize().into(),
            ..open.section
        });
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), KeyWriteError> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() >= BUFFER_BYTES {
            self.write_through(bytes)?;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), KeyWriteError> {
        let buffer = std::mem::take(&mut self.buffer);
        self.write_through(&buffer)?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    fn write_through(&mut self, bytes: &[u8]) -> Result<(), KeyWriteError> {
        let mut file = self.staged.file();
        file.write_all(bytes)
            .map_err(StoreError::io("write", self.staged.target()))?;
        Ok(())
    }
}

impl KeySink for KeyWriter {
    fn begin(&mut self, header: &KeyHeader) -> Result<(), KeyWriteError> {
        if self.header.replace(*header).is_some() {
            return Err(KeyWriteError::OutOfOrder {
                what: "begun twice",
            });
        }
        self.write(&[0u8; PAGE_BYTES as usize])
    }

    fn start_section(&mut self, kind: SectionKind, count: u64) -> Result<(), KeyWriteError> {
        self.close_section()?;
        let what = if self.header.is_none() {
            Some("a section before the header")
        } else if self.sections.iter().any(|section| section.kind == kind) {
            Some("a section twice")
        } else if count > super::MAX_POINTS {
            Some("a section with more points than the format allows")
        } else {
            None
        };
        if let Some(what) = what {
            return Err(KeyWriteError::OutOfOrder { what });
        }
        let offset = self.len.next_multiple_of(PAGE_BYTES);
        let padding = [0u8; PAGE_BYTES as usize];
        self.write(&padding[..(offset - self.len) as usize])?;
        self.open = Some(OpenSection {
            section: Section {
                kind,
                count,
                offset,
                sha256: [0; 32],
            },
            written: 0,
            sha256: Sha256::new(),
        });
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), KeyWriteError> {
        let Some(open) = &mut self.open else {
            return Err(KeyWriteError::OutOfOrder {
                what: "points before a section",
            });
        };
        open.written += bytes.len() as u64;
        open.sha256.update(bytes);
        let (kind, expected, got) = (open.section.kind, open.section.len_bytes(), open.written);
        if got > expected {
            return Err(KeyWriteError::SectionLength {
                kind,
                expected,
                got,
            });
        }
        self.write(bytes)
    }
}

/// Why a written key could not be finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FinishError {
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] KeyWriteError),
    /// It was written and could not be opened again.
    #[error(transparent)]
    Open(#[from] KeyOpenError),
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use zkinfer_verifier::{ProofSystem, Setup};

    use super::*;

    const HEADER: KeyHeader = KeyHeader {
        system: ProofSystem::UltraGroth,
        setup: Setup::Development,
        vk_digest: [1; 32],
        circuit_digest: [2; 32],
        program_digest: [3; 32],
    };

    fn write_key(path: &Path) -> ProvingKeyFile {
        let mut writer = KeyWriter::create(path).expect("created");
        writer.begin(&HEADER).expect("begun");
        for (kind, count) in [
            (SectionKind::PointsG1, 3u64),
            (SectionKind::D1, 0),
            (SectionKind::B2, 100),
            (SectionKind::H, 20_000),
        ] {
            writer.start_section(kind, count).expect("started");
            let point = vec![kind as u8; kind.point_bytes() as usize];
            for _ in 0..count {
                writer.append(&point).expect("appended");
            }
        }
        writer.finish().expect("finished")
    }

    #[test]
    fn a_key_file_gives_back_what_was_written() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("proving.key");
        let key = write_key(&path);
        assert_eq!(*key.header(), HEADER);
        key.verify().expect("digests hold");
        let section = key.section(SectionKind::H).expect("there");
        assert_eq!((section.count, section.offset % PAGE_BYTES), (20_000, 0));
        let bytes = fs::read(&path).expect("readable");
        let start = section.offset as usize;
        assert!(bytes[start..].iter().all(|&byte| byte == 8));
        assert_eq!(bytes.len(), start + section.len_bytes() as usize);
        assert!(matches!(
            key.section(SectionKind::A),
            Err(KeyOpenError::MissingSection { .. })
        ));
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1);
    }

    #[test]
    fn an_unfinished_or_short_key_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("proving.key");
        let mut writer = KeyWriter::create(&path).expect("created");
        writer.begin(&HEADER).expect("begun");
        writer.start_section(SectionKind::A, 2).expect("started");
        writer.append(&[0; 64]).expect("appended");
        assert!(matches!(
            writer.start_section(SectionKind::H, 1),
            Err(KeyWriteError::SectionLength {
                kind: SectionKind::A,
                expected: 128,
                got: 64
            })
        ));
        drop(writer);
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0);
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_of_the_header_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("proving.key");
        drop(write_key(&path));
        let bytes = fs::read(&path).expect("readable");
        let other = dir.path().join("other.key");
        for len in [0, 1, 4095, 4096, 4097, bytes.len() - 1] {
            fs::write(&other, &bytes[..len]).expect("written");
            assert!(ProvingKeyFile::open(&other).is_err(), "{len} bytes");
        }
        let page: [u8; PAGE_BYTES as usize] =
            bytes[..PAGE_BYTES as usize].try_into().expect("one page");
        for bit in 0..PAGE_BYTES as usize * 8 {
            let mut flipped = page;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(header::decode(&flipped, bytes.len() as u64).is_err());
        }
    }

    #[test]
    fn a_flipped_bit_in_a_section_is_found_by_verify() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("proving.key");
        let key = write_key(&path);
        let offset = key.section(SectionKind::B2).expect("there").offset as usize;
        let mut bytes = fs::read(&path).expect("readable");
        bytes[offset + 77] ^= 4;
        fs::write(&path, &bytes).expect("written");
        let key = ProvingKeyFile::open(&path).expect("the header is whole");
        assert!(matches!(
            key.verify(),
            Err(KeyOpenError::Damaged {
                kind: SectionKind::B2
            })
        ));
    }

    proptest! {
        /// A hostile header has a valid digest, since anybody can compute one.
        #[test]
        fn a_hostile_header_never_panics_and_never_reaches_beyond_the_file(
            edits in prop::collection::vec((0usize..640, any::<u8>()), 0..12),
            words in prop::collection::vec((0usize..64, prop::sample::select(vec![0u64, 1, 4096, 8192, u64::MAX, 1 << 29, 1 << 58, 1 << 63])), 0..4),
            file_bytes in prop::sample::select(vec![0u64, 4096, 1_400_000, u64::MAX]),
        ) {
            let section = |kind: SectionKind, count, offset| Section { kind, count, offset, sha256: [0; 32] };
            let sections = [section(SectionKind::A, 100, 4096), section(SectionKind::B2, 10, 12288)];
            let mut page = header::encode(&HEADER, &sections, 12288 + 1280);
            for (at, byte) in edits {
                page[at] = byte;
            }
            for (at, word) in words {
                page[16 + at * 8..24 + at * 8].copy_from_slice(&word.to_le_bytes());
            }
            let digest: [u8; 32] = Sha256::digest(&page[..4064]).into();
            page[4064..].copy_from_slice(&digest);
            if let Ok((_, sections)) = header::decode(&page, file_bytes) {
                for section in sections {
                    prop_assert!(section.offset + section.len_bytes() <= file_bytes);
                }
            }
        }
    }
}
