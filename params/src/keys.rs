//! # The proving key file
//!
//! One page of header, then sections that each begin on a page boundary and hold raw points: coordinates as little-endian
//! Montgomery limbs, 64 bytes a G1 point, 128 bytes a G2 point, all-zero for infinity. Opening reads one page; the
//! sections are mapped by whoever multiplies with them. Everything the header says is checked against the file's real
//! length before it is used. DESIGN.md has the table of the format.

mod header;
mod writer;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use thiserror::Error;
use zkinfer_verifier::{ProofSystem, Setup};

use crate::store::StoreError;

pub use writer::{FinishError, KeyWriter};

/// Version of the file format; another version is refused.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of the header page, and the alignment of every section.
pub const PAGE_BYTES: u64 = 4096;
/// Most points of one section: twice the field's largest domain.
pub const MAX_POINTS: u64 = 1 << 29;

/// What a proving key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHeader {
    /// The proof system.
    pub system: ProofSystem,
    /// Who made the key, and so who may trust it.
    pub setup: Setup,
    /// Digest of the verifying key.
    pub vk_digest: [u8; 32],
    /// Digest of the circuit.
    pub circuit_digest: [u8; 32],
    /// Digest of the program the circuit was lowered from.
    pub program_digest: [u8; 32],
}

/// The sections of a proving key, named as in the papers of the two families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum SectionKind {
    /// Single G1 points: \[α\], \[β\], \[δ1\] (UltraGroth only), \[δ2\].
    PointsG1 = 1,
    /// Single G2 points: \[β\], \[δ2\]; \[τ\] for halo2-kzg.
    PointsG2 = 2,
    /// \[u_j(τ)\] in G1 for every wire.
    A = 3,
    /// \[v_j(τ)\] in G1 for every wire.
    B1 = 4,
    /// \[v_j(τ)\] in G2 for every wire.
    B2 = 5,
    /// \[K_j/δ1\] in G1 for every committed wire.
    D1 = 6,
    /// \[K_j/δ2\] in G1 for every private wire.
    D2 = 7,
    /// The quotient's query in G1, one point for each point of the coset.
    H = 8,
    /// \[τⁱ\] in G1 for every row (halo2-kzg only).
    Monomial = 9,
    /// \[L_i(τ)\] in G1 for every row, over the library's domain (halo2-kzg only).
    Lagrange = 10,
}

impl SectionKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::PointsG1,
        Self::PointsG2,
        Self::A,
        Self::B1,
        Self::B2,
        Self::D1,
        Self::D2,
        Self::H,
        Self::Monomial,
        Self::Lagrange,
    ];

    /// Bytes of one point of the section.
    #[must_use]
    pub fn point_bytes(self) -> u64 {
        match self {
            Self::PointsG2 | Self::B2 => 128,
            _ => 64,
        }
    }
}

/// Where a section lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// What it holds.
    pub kind: SectionKind,
    /// Number of points.
    pub count: u64,
    /// Offset of its first byte in the file, a multiple of [`PAGE_BYTES`].
    pub offset: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

impl Section {
    /// Bytes of the section.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        // At most 2²⁹ points of 128 bytes: the header was checked.
        self.count * self.kind.point_bytes()
    }
}

/// Takes the sections of a key as a set-up makes them, in any order, each in pieces.
pub trait KeySink: Send {
    /// Says what the key belongs to; called once, first.
    ///
    /// # Errors
    /// [`KeyWriteError`].
    fn begin(&mut self, header: &KeyHeader) -> Result<(), KeyWriteError>;
    /// Begins a section of `count` points; the section before it must be complete.
    ///
    /// # Errors
    /// [`KeyWriteError`].
    fn start_section(&mut self, kind: SectionKind, count: u64) -> Result<(), KeyWriteError>;
    /// Appends raw points to the section.
    ///
    /// # Errors
    /// [`KeyWriteError`].
    fn append(&mut self, bytes: &[u8]) -> Result<(), KeyWriteError>;
}

/// An open proving key whose header was checked; its sections were not read yet.
#[derive(Debug)]
pub struct ProvingKeyFile {
    file: File,
    path: PathBuf,
    header: KeyHeader,
    sections: Vec<Section>,
}

impl ProvingKeyFile {
    /// Opens the key at `path` and checks its header against the file's length.
    ///
    /// # Errors
    /// [`KeyOpenError`]; nothing larger than the header page is read or allocated.
    pub fn open(path: &Path) -> Result<Self, KeyOpenError> {
        let io = |source| KeyOpenError::Io {
            path: path.to_path_buf(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() || metadata.len() < PAGE_BYTES {
            return Err(KeyOpenError::TooShort {
                got: metadata.len(),
            });
        }
        let mut page = [0u8; PAGE_BYTES as usize];
        file.read_exact_at(&mut page, 0).map_err(io)?;
        let (header, sections) = header::decode(&page, metadata.len())?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
            header,
            sections,
        })
    }

    /// What the key belongs to.
    #[must_use]
    pub fn header(&self) -> &KeyHeader {
        &self.header
    }

    /// The open file, for mapping its sections.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where the file was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every section of the file.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The section of a kind.
    ///
    /// # Errors
    /// [`KeyOpenError::MissingSection`].
    pub fn section(&self, kind: SectionKind) -> Result<&Section, KeyOpenError> {
        self.sections
            .iter()
            .find(|section| section.kind == kind)
            .ok_or(KeyOpenError::MissingSection { kind })
    }

    /// Reads a section of `expected` points and compares its SHA-256 with the header's.
    ///
    /// # Errors
    /// [`KeyOpenError`]; nothing is allocated for a section of another length.
    pub fn read_section(&self, kind: SectionKind, expected: u64) -> Result<Vec<u8>, KeyOpenError> {
        let section = self.section(kind)?;
        if section.count != expected {
            return Err(KeyOpenError::SectionCount {
                kind,
                expected,
                got: section.count,
            });
        }
        let mut bytes = vec![0u8; section.len_bytes() as usize];
        self.file
            .read_exact_at(&mut bytes, section.offset)
            .map_err(|source| KeyOpenError::Io {
                path: self.path.clone(),
                source,
            })?;
        if <[u8; 32]>::from(Sha256::digest(&bytes)) == section.sha256 {
            Ok(bytes)
        } else {
            Err(KeyOpenError::Damaged { kind })
        }
    }

    /// Reads a section and compares its SHA-256 with the header's.
    ///
    /// # Errors
    /// [`KeyOpenError::Damaged`] or [`KeyOpenError::Io`].
    pub fn verify_section(&self, section: &Section) -> Result<(), KeyOpenError> {
        let mut sha256 = Sha256::new();
        let mut buffer = vec![0u8; 1 << 18];
        let (mut offset, mut left) = (section.offset, section.len_bytes());
        while left > 0 {
            let n = left.min(buffer.len() as u64);
            let piece = &mut buffer[..n as usize];
            self.file
                .read_exact_at(piece, offset)
                .map_err(|source| KeyOpenError::Io {
                    path: self.path.clone(),
                    source,
                })?;
            sha256.update(&*piece);
            offset += n;
            left -= n;
        }
        if <[u8; 32]>::from(sha256.finalize()) == section.sha256 {
            Ok(())
        } else {
            Err(KeyOpenError::Damaged { kind: section.kind })
        }
    }

    /// Checks every section's digest: reads the whole file, the sections in parallel.
    ///
    /// # Errors
    /// A damaged section.
    pub fn verify(&self) -> Result<(), KeyOpenError> {
        self.sections
            .par_iter()
            .try_for_each(|section| self.verify_section(section))
    }
}

/// Why a file is not a usable proving key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyOpenError {
    /// The operating system refused to open or read it.
    #[error("cannot read the proving key {}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is not even a header page.
    #[error("a proving key has a header of {PAGE_BYTES} bytes; this file has {got}")]
    TooShort {
        /// Bytes of the file.
        got: u64,
    },
    /// The file begins with something else.
    #[error("this file is no zkinfer proving key")]
    NotAKey,
    /// Another version of the format.
    #[error(
        "the proving key has format version {got}, this program reads version {FORMAT_VERSION}; make the key again with `setup`"
    )]
    Version {
        /// The file's version.
        got: u32,
    },
    /// The header page does not have its own digest.
    #[error("the proving key's header is damaged; make the key again with `setup`")]
    DamagedHeader,
    /// The header's digest is right and yet a field has no meaning.
    #[error("the proving key's header has an impossible {field}")]
    Malformed {
        /// The field.
        field: &'static str,
    },
    /// The file is shorter or longer than its header says.
    #[error(
        "the proving key should have {expected} bytes and has {got}; it is truncated or has trailing bytes"
    )]
    Length {
        /// Bytes by the header.
        expected: u64,
        /// Bytes of the file.
        got: u64,
    },
    /// A section that the proof system needs is not there.
    #[error("the proving key has no section {kind:?}")]
    MissingSection {
        /// The section.
        kind: SectionKind,
    },
    /// A section has another number of points than the circuit needs.
    #[error("section {kind:?} of the proving key: expected {expected} points, got {got}")]
    SectionCount {
        /// The section.
        kind: SectionKind,
        /// By the circuit.
        expected: u64,
        /// By the key.
        got: u64,
    },
    /// A section's bytes do not have the digest in the header.
    #[error("section {kind:?} of the proving key is damaged; make the key again with `setup`")]
    Damaged {
        /// The section.
        kind: SectionKind,
    },
}

/// Why a proving key could not be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyWriteError {
    /// The file could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sections were not given in the order begin, (start, append…)…, finish.
    #[error("a proving key's sections were written out of order: {what}")]
    OutOfOrder {
        /// What happened.
        what: &'static str,
    },
    /// A section got fewer or more bytes than announced.
    #[error("section {kind:?} was announced with {expected} bytes and got {got}")]
    SectionLength {
        /// The section.
        kind: SectionKind,
        /// Bytes announced.
        expected: u64,
        /// Bytes given.
        got: u64,
    },
}
