//! # What can be wrong with a reference string

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::ceremony::{CeremonyError, FileDigests, hex};
use super::{FORMAT_VERSION, MAX_K, PointFault};
use crate::store::StoreError;

/// The two sequences of points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SrsSection {
    /// \[τⁱ\].
    Monomial,
    /// \[L_i(τ)\].
    Lagrange,
}

impl fmt::Display for SrsSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Monomial => "the powers of τ in G1",
            Self::Lagrange => "the Lagrange form",
        })
    }
}

/// Why there is no usable reference string.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SrsError {
    /// The operating system refused to open or read the file.
    #[error("cannot read the reference string {}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A folder, or something else without a length.
    #[error("{} is not a file", path.display())]
    NotAFile {
        /// Where.
        path: PathBuf,
    },
    /// The file could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file begins with something else.
    #[error("this file is no zkinfer reference string{}", hint(*ptau))]
    NotAnSrs {
        /// It begins like a `.ptau` file.
        ptau: bool,
    },
    /// The file is no `.ptau` file.
    #[error("this file is no .ptau file: it does not begin with `ptau`")]
    NotPtau,
    /// Another version of a format.
    #[error("the {format} file has format version {got}, this program reads version {expected}")]
    Version {
        /// Which format.
        format: &'static str,
        /// The version read here.
        expected: u32,
        /// The file's version.
        got: u32,
    },
    /// The header page does not have its own digest.
    #[error("the reference string's header is damaged; import it again")]
    DamagedHeader,
    /// A number of the file has no meaning.
    #[error("{place}: expected {expected}, got {got}")]
    Malformed {
        /// Where in the file.
        place: String,
        /// What belongs there.
        expected: String,
        /// What is there.
        got: String,
    },
    /// The file is shorter or longer than it says.
    #[error(
        "the file should have {expected} bytes and has {got}; it is truncated or has trailing bytes"
    )]
    Length {
        /// Bytes by its own account.
        expected: u64,
        /// Bytes of the file.
        got: u64,
    },
    /// The points are of another curve.
    #[error("the reference string is of another curve: expected {expected}, got {got}")]
    Curve {
        /// BN254's modulus.
        expected: String,
        /// The file's modulus.
        got: String,
    },
    /// The circuit is larger than the reference string.
    #[error(
        "the reference string is too small: the circuit needs 2^{needed} powers, it has 2^{got}"
    )]
    TooSmall {
        /// log₂ of the powers needed.
        needed: u32,
        /// log₂ of the powers there.
        got: u32,
    },
    /// No k of a reference string.
    #[error("a reference string has 2^1 to 2^{MAX_K} powers, not 2^{got}")]
    K {
        /// What was asked for.
        got: u32,
    },
    /// A point is not a point of the group, or infinity.
    #[error("{section}: point {index} {fault}")]
    Point {
        /// Which points.
        section: SrsSection,
        /// Which of them, from 0.
        index: u64,
        /// What is wrong.
        fault: PointFault,
    },
    /// \[τ\] in G2 is not a point of the group, or infinity.
    #[error("τ in G2 {fault}")]
    PointG2 {
        /// What is wrong.
        fault: PointFault,
    },
    /// The points do not begin with the curve's generator.
    #[error("{section} must begin with the generator of {group}")]
    Generator {
        /// Which points.
        section: &'static str,
        /// G1 or G2.
        group: &'static str,
    },
    /// τ = 1: the file that a ceremony begins with.
    #[error("τ is 1: nobody has contributed to this file yet")]
    NoContribution,
    /// τ is zero or a root of unity (probability below 2⁻²²⁰).
    #[error("the trapdoor's τ is zero or a root of unity; draw another trapdoor")]
    DegenerateTrapdoor,
    /// The points are not powers of the τ in G2.
    #[error("the pairing check failed: the points in G1 are not the powers of the τ in G2")]
    Pairing,
    /// The Lagrange form belongs to other points.
    #[error("the Lagrange form is not that of the powers of τ")]
    Lagrange,
    /// A section's bytes do not have the digest in the header.
    #[error("{section}: the bytes are damaged; import the file again")]
    Damaged {
        /// The section.
        section: SrsSection,
    },
    /// The source file is on no list.
    #[error(
        "the file is of no known ceremony: its BLAKE2b-512 is {}, its SHA-256 {}; compare one of them with what the ceremony's \
         people published and name it in a list of ceremonies ({known} files are known)",
        hex(&digests.blake2b), hex(&digests.sha256)
    )]
    UnknownDigest {
        /// The digests of the file.
        digests: Box<FileDigests>,
        /// Files on the list.
        known: usize,
    },
    /// A list of ceremonies cannot be used.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    /// No file of the store has such a name.
    #[error("no reference string {id} in {}", home.display())]
    Missing {
        /// What was asked for.
        id: String,
        /// The store.
        home: PathBuf,
    },
    /// Several files of the store begin with this name.
    #[error("{id} is the beginning of {n} names; give more digits")]
    Ambiguous {
        /// What was asked for.
        id: String,
        /// Files.
        n: usize,
    },
    /// The listener stopped the work.
    #[error("cancelled")]
    Cancelled,
}

impl SrsError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    pub(crate) fn point(section: SrsSection, index: u64, fault: PointFault) -> Self {
        Self::Point {
            section,
            index,
            fault,
        }
    }

    pub(crate) fn malformed(
        place: impl Into<String>,
        expected: impl ToString,
        got: impl ToString,
    ) -> Self {
        Self::Malformed {
            place: place.into(),
            expected: expected.to_string(),
            got: got.to_string(),
        }
    }

    pub(crate) fn version(got: u32) -> Self {
        Self::Version {
            format: "reference string",
            expected: FORMAT_VERSION,
            got,
        }
    }
}

fn hint(ptau: bool) -> &'static str {
    if ptau {
        "; it looks like a .ptau file: import it with `zkinfer params import`"
    } else {
        ""
    }
}
