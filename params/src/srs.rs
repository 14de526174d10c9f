//! # Structured reference strings: powers of τ for KZG over BN254
//!
//! One file holds \[τⁱ\] in G1 for i < 2ᵏ, the same points in Lagrange form, and \[τ\] in G2. It says where it comes from: a
//! ceremony whose file's digest is on the list of known ones, or this machine (development). Files of ceremonies enter through
//! [`ptau`] or [`library`]; both read the source once, compute its digests, and check every point and every power on the way.
//! A file is opened by its header alone; [`Srs::verify`] reads and checks it all, [`Srs::load`] the part that a circuit needs.
//! Format and the checks' argument: DESIGN.md.

mod ceremony;
mod check;
mod error;
mod header;
mod home;
mod lagrange;
pub mod library;
mod points;
pub mod ptau;
mod source;
mod writer;

use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ark_bn254::G2Affine;
use ark_ec::AffineRepr;
use sha2::{Digest, Sha256};

pub use ceremony::{Ceremonies, CeremonyError, FileDigests, MAX_LIST_BYTES, MAX_NAME_BYTES};
pub use error::{SrsError, SrsSection};
pub use home::{SrsEntry, SrsHome};
pub use points::{G1_BYTES, G2_BYTES, PointFault};
pub(crate) use writer::SrsWriter;

pub(crate) use check::geometric;
pub(crate) use lagrange::to_library;
pub(crate) use points::{encode_g1_all, encode_g2};

use check::Check;
use points::{decode_g1, decode_g2};

/// Version of the file format; another version is refused.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of the header page, and the alignment of the sections.
pub const PAGE_BYTES: u64 = 4096;
/// The largest k: the field has 2²⁸-th roots of unity.
pub const MAX_K: u32 = 28;
/// Points read, checked and multiplied at once.
const CHUNK_POINTS: u64 = 1 << 15;

/// Where a reference string comes from, and so who may trust it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// τ was drawn on one machine: whoever saw it can forge proofs.
    Development,
    /// A file whose digest is pinned.
    Ceremony {
        /// The name that the list of ceremonies has for it.
        name: String,
        /// The digests of the file.
        digests: FileDigests,
    },
}

/// Stations of work on a reference string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SrsStep {
    /// Reading, hashing and checking a file; counted in bytes.
    Read,
    /// Computing points from τ; counted in points.
    Make,
    /// Computing a Lagrange form; counted in points of the transform's layers.
    Transform,
}

/// Hears `done` of `total` of a step; `Break` stops the work.
pub type Watch<'a> = dyn FnMut(SrsStep, u64, u64) -> ControlFlow<()> + 'a;

/// Reports to `watch`.
pub(crate) fn tell(
    watch: &mut Watch<'_>,
    step: SrsStep,
    done: u64,
    total: u64,
) -> Result<(), SrsError> {
    match watch(step, done, total) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(SrsError::Cancelled),
    }
}

/// An open file of a reference string whose header was checked; its points were not read yet.
#[derive(Debug)]
pub struct Srs {
    file: File,
    path: PathBuf,
    pub(crate) header: Header,
    id: [u8; 32],
}

/// What the header page says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) k: u32,
    /// The smallest k whose Lagrange form is in the file; all from there to `k` are.
    pub(crate) lagrange_from: u32,
    pub(crate) origin: Origin,
    /// \[τ\] in G2, raw.
    pub(crate) s_g2: [u8; G2_BYTES],
    pub(crate) monomial_sha256: [u8; 32],
    pub(crate) lagrange_sha256: [u8; 32],
}

impl Header {
    pub(crate) fn monomial_points(&self) -> u64 {
        1 << self.k
    }

    pub(crate) fn lagrange_points(&self) -> u64 {
        (2 << self.k) - (1 << self.lagrange_from)
    }

    pub(crate) fn lagrange_at(&self) -> u64 {
        lagrange_at(self.k)
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.lagrange_at() + self.lagrange_points() * G1_BYTES as u64
    }
}

/// Where the Lagrange section of a file of 2ᵏ powers begins.
fn lagrange_at(k: u32) -> u64 {
    (PAGE_BYTES + (G1_BYTES as u64) * (1 << k)).next_multiple_of(PAGE_BYTES)
}

/// The generator of G2, raw.
#[must_use]
pub fn g2_generator() -> [u8; G2_BYTES] {
    encode_g2(&G2Affine::generator())
}

/// Where a new file goes.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// Exactly there.
    File(&'a Path),
    /// Into a store, under its digest.
    Home(&'a SrsHome),
}

/// The part of a reference string that a circuit of 2ᵏ rows needs, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct SrsPart {
    /// log₂ of the number of rows.
    pub k: u32,
    /// \[τⁱ\] for i < 2ᵏ, raw.
    pub monomial: Vec<u8>,
    /// \[L_i(τ)\] over the domain that the library's root of unity generates, raw.
    pub lagrange: Vec<u8>,
    /// \[τ\] in G2, raw.
    pub s_g2: [u8; G2_BYTES],
}

impl std::fmt::Debug for SrsPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SrsPart(k = {})", self.k)
    }
}

impl Srs {
    /// Opens the file at `path` and checks its header against the file's length.
    ///
    /// # Errors
    /// [`SrsError`]; nothing larger than the header page is read or allocated.
    pub fn open(path: &Path) -> Result<Self, SrsError> {
        let io = |source| SrsError::io(path, source);
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(SrsError::NotAFile {
                path: path.to_path_buf(),
            });
        }
        let mut page = [0u8; PAGE_BYTES as usize];
        let n = metadata.len().min(PAGE_BYTES) as usize;
        file.read_exact_at(&mut page[..n], 0).map_err(io)?;
        let (header, id) = header::decode(&page, metadata.len())?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
            header,
            id,
        })
    }

    /// log₂ of the number of powers; the largest circuit it serves has 2ᵏ rows.
    #[must_use]
    pub fn k(&self) -> u32 {
        self.header.k
    }

    /// Where it comes from.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.header.origin
    }

    /// \[τ\] in G2, raw: two files with the same point are of the same τ.
    #[must_use]
    pub fn s_g2(&self) -> &[u8; G2_BYTES] {
        &self.header.s_g2
    }

    /// The digest of the header, which has the digests of the sections: what the file is called in a store.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        self.id
    }

    /// Bytes of the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.header.file_bytes()
    }

    /// Where the file was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the whole file and checks the sections' digests, every point, that the points are powers of one τ, and that the
    /// Lagrange forms are theirs.
    ///
    /// # Errors
    /// [`SrsError`], naming the first thing that does not hold.
    pub fn verify(&self, watch: &mut Watch<'_>) -> Result<(), SrsError> {
        let header = &self.header;
        let mut check = Check::new(header.k, header.lagrange_from);
        let total = (header.monomial_points() + header.lagrange_points()) * G1_BYTES as u64;
        let mut done = 0;
        for (section, at, count, expected) in [
            (
                SrsSection::Monomial,
                PAGE_BYTES,
                header.monomial_points(),
                header.monomial_sha256,
            ),
            (
                SrsSection::Lagrange,
                header.lagrange_at(),
                header.lagrange_points(),
                header.lagrange_sha256,
            ),
        ] {
            let mut sha256 = Sha256::new();
            let mut from = 0;
            while from < count {
                let n = CHUNK_POINTS.min(count - from);
                let raw = self.read(at, from, n)?;
                sha256.update(&raw);
                check.absorb(section, &raw)?;
                from += n;
                done += raw.len() as u64;
                tell(watch, SrsStep::Read, done, total)?;
            }
            if <[u8; 32]>::from(sha256.finalize()) != expected {
                return Err(SrsError::Damaged { section });
            }
        }
        check.finish(&header.s_g2)
    }

    /// Reads and checks what a circuit of 2ᵏ rows needs. A Lagrange form that the file does not have is computed.
    ///
    /// # Errors
    /// [`SrsError::TooSmall`], or what does not hold of the part that was read.
    pub fn load(&self, k: u32, watch: &mut Watch<'_>) -> Result<SrsPart, SrsError> {
        if k > self.header.k {
            return Err(SrsError::TooSmall {
                needed: k,
                got: self.header.k,
            });
        }
        if k == 0 {
            return Err(SrsError::K { got: k });
        }
        let n = 1u64 << k;
        let monomial = self.read(PAGE_BYTES, 0, n)?;
        let stored = k >= self.header.lagrange_from;
        let total = if stored { 2 * n } else { n } * G1_BYTES as u64;
        let mut done = 0;
        let mut check = Check::new(k, if stored { k } else { k + 1 });
        let mut absorb = |section, raw: &[u8]| {
            for chunk in raw.chunks(CHUNK_POINTS as usize * G1_BYTES) {
                check.absorb(section, chunk)?;
                done += chunk.len() as u64;
                tell(watch, SrsStep::Read, done, total)?;
            }
            Ok::<_, SrsError>(())
        };
        absorb(SrsSection::Monomial, &monomial)?;
        let own = if stored {
            let from = n - (1 << self.header.lagrange_from);
            let own = self.read(self.header.lagrange_at(), from, n)?;
            absorb(SrsSection::Lagrange, &own)?;
            Some(own)
        } else {
            None
        };
        check.finish(&self.header.s_g2)?;
        let own = match own {
            Some(own) => own,
            None => {
                let powers = decode_g1(&monomial)
                    .map_err(|(i, fault)| SrsError::point(SrsSection::Monomial, i, fault))?;
                encode_g1_all(&lagrange::from_powers(&powers, watch)?)
            }
        };
        Ok(SrsPart {
            k,
            monomial,
            lagrange: to_library(&own),
            s_g2: self.header.s_g2,
        })
    }

    /// Writes the first 2ᵏ powers as a file of their own.
    ///
    /// # Errors
    /// [`SrsError::TooSmall`], or what does not hold of the part that was read.
    pub fn truncate(&self, k: u32, to: Place<'_>, watch: &mut Watch<'_>) -> Result<Self, SrsError> {
        let part = self.load(k, watch)?;
        let mut writer = SrsWriter::begin(k, &to)?;
        writer.append(SrsSection::Monomial, &part.monomial)?;
        writer.append(
            SrsSection::Lagrange,
            &lagrange::from_library(&part.lagrange),
        )?;
        writer.finish(k, self.header.origin.clone(), part.s_g2)
    }

    /// `n` raw points from point `from` of the section at `at`.
    fn read(&self, at: u64, from: u64, n: u64) -> Result<Vec<u8>, SrsError> {
        let mut raw = vec![0u8; n as usize * G1_BYTES];
        self.file
            .read_exact_at(&mut raw, at + from * G1_BYTES as u64)
            .map_err(|source| SrsError::io(&self.path, source))?;
        Ok(raw)
    }
}
