//! # Ceremonies: which files of powers of τ are known
//!
//! A file proves by itself that its powers belong together, never that nobody knows τ. That is said of it by the people who
//! took part, and what they publish is a digest of the file. The list is JSON, `[{"name": …, "blake2b": "<128 hex digits>"}]` or
//! with `"sha256": "<64 hex digits>"`. The built-in list holds the files of the Hermez ceremony (54 contributions of the
//! perpetual powers of τ and a beacon) with the BLAKE2b-512 digests that the README of snarkjs 0.7.6 publishes.

use std::fmt;

use serde::Deserialize;
use thiserror::Error;

/// Most bytes of a list.
pub const MAX_LIST_BYTES: usize = 1 << 20;
/// Most bytes of a ceremony's name.
pub const MAX_NAME_BYTES: usize = 95;

const BUILT_IN: &str = include_str!("known.json");

/// The digests of a source file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FileDigests {
    /// BLAKE2b with 64 bytes, as `b2sum` prints it.
    pub blake2b: [u8; 64],
    /// SHA-256.
    pub sha256: [u8; 32],
}

impl fmt::Debug for FileDigests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "FileDigests(BLAKE2b-512 {}, SHA-256 {})",
            hex(&self.blake2b),
            hex(&self.sha256)
        )
    }
}

/// Names of ceremonies by the digests of their files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceremonies(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    digest: Pinned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pinned {
    Blake2b([u8; 64]),
    Sha256([u8; 32]),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    blake2b: Option<String>,
    sha256: Option<String>,
}

/// Why a list of ceremonies cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CeremonyError {
    /// The list is longer than any list.
    #[error("a list of ceremonies may have {MAX_LIST_BYTES} bytes, this one has {got}")]
    TooLong {
        /// Bytes of the list.
        got: usize,
    },
    /// It is not JSON of the right form.
    #[error("the list of ceremonies: {0}")]
    Json(#[from] serde_json::Error),
    /// An entry has no name, or one that cannot be kept.
    #[error("a ceremony's name has 1 to {MAX_NAME_BYTES} printable bytes")]
    Name,
    /// An entry needs one of the two digests.
    #[error("ceremony {name}: expected either `blake2b` or `sha256`")]
    OneDigest {
        /// The entry.
        name: String,
    },
    /// A digest is not hexadecimal of the right length.
    #[error("ceremony {name}: expected {expected} hexadecimal digits for `{field}`")]
    Hex {
        /// The entry.
        name: String,
        /// The field.
        field: &'static str,
        /// Digits of such a digest.
        expected: usize,
    },
}

impl Ceremonies {
    /// The ceremonies that this program knows.
    #[must_use]
    pub fn built_in() -> Self {
        // A test reads the list; a broken one knows nothing, which refuses everything.
        Self::parse(BUILT_IN.as_bytes()).unwrap_or(Self(Vec::new()))
    }

    /// No ceremony at all.
    #[must_use]
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Reads a list.
    ///
    /// # Errors
    /// [`CeremonyError`].
    pub fn parse(json: &[u8]) -> Result<Self, CeremonyError> {
        if json.len() > MAX_LIST_BYTES {
            return Err(CeremonyError::TooLong { got: json.len() });
        }
        let lines: Vec<Line> = serde_json::from_slice(json)?;
        let entries = lines.into_iter().map(|line| {
            let field = |field, text: &str, bytes: &mut [u8]| {
                let expected = bytes.len() * 2;
                unhex(text, bytes).ok_or_else(|| CeremonyError::Hex {
                    name: line.name.clone(),
                    field,
                    expected,
                })
            };
            let digest = match (&line.blake2b, &line.sha256) {
                (Some(text), None) => {
                    let mut digest = [0; 64];
                    field("blake2b", text, &mut digest)?;
                    Pinned::Blake2b(digest)
                }
                (None, Some(text)) => {
                    let mut digest = [0; 32];
                    field("sha256", text, &mut digest)?;
                    Pinned::Sha256(digest)
                }
                _ => return Err(CeremonyError::OneDigest { name: line.name }),
            };
            Entry::new(line.name, digest)
        });
        entries.collect::<Result<_, _>>().map(Self)
    }

    /// Adds the entries of another list.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Adds one file by its digest in hexadecimal: 128 digits for BLAKE2b-512, 64 for SHA-256.
    ///
    /// # Errors
    /// [`CeremonyError`].
    pub fn add(&mut self, name: &str, digest: &str) -> Result<(), CeremonyError> {
        let (mut blake2b, mut sha256) = ([0; 64], [0; 32]);
        let digest = if unhex(digest, &mut blake2b).is_some() {
            Pinned::Blake2b(blake2b)
        } else if unhex(digest, &mut sha256).is_some() {
            Pinned::Sha256(sha256)
        } else {
            return Err(CeremonyError::Hex {
                name: name.to_owned(),
                field: "digest",
                expected: 128,
            });
        };
        self.0.push(Entry::new(name.to_owned(), digest)?);
        Ok(())
    }

    /// The name of the file with these digests.
    #[must_use]
    pub fn name_of(&self, digests: &FileDigests) -> Option<&str> {
        let same = |entry: &&Entry| match entry.digest {
            Pinned::Blake2b(digest) => digest == digests.blake2b,
            Pinned::Sha256(digest) => digest == digests.sha256,
        };
        self.0.iter().find(same).map(|entry| entry.name.as_str())
    }

    /// How many files are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no file is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Entry {
    fn new(name: String, digest: Pinned) -> Result<Self, CeremonyError> {
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(CeremonyError::Name);
        }
        Ok(Self { name, digest })
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str, to: &mut [u8]) -> Option<()> {
    let digits = text.as_bytes();
    if digits.len() != to.len() * 2 {
        return None;
    }
    for (byte, pair) in to.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |d: u8| char::from(d).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_list_knows_the_hermez_files_of_8_to_28() {
        let known = Ceremonies::built_in();
        assert_eq!(known.len(), 21);
        for (i, entry) in known.0.iter().enumerate() {
            let expected = match i + 8 {
                28 => "powersOfTau28_hez_final.ptau".to_owned(),
                power => format!("powersOfTau28_hez_final_{power:02}.ptau"),
            };
            assert_eq!(entry.name, expected);
            assert!(matches!(entry.digest, Pinned::Blake2b(_)));
        }
    }

    #[test]
    fn a_file_is_found_by_either_digest_and_by_no_other() {
        let digests = FileDigests {
            blake2b: [7; 64],
            sha256: [9; 32],
        };
        let mut list = Ceremonies::none();
        assert!(list.is_empty() && list.name_of(&digests).is_none());
        list.add("mine", &"09".repeat(32)).expect("a digest");
        assert_eq!(list.name_of(&digests), Some("mine"));
        let other = FileDigests {
            sha256: [8; 32],
            ..digests
        };
        assert_eq!(list.name_of(&other), None);
        list.add("other", &"07".repeat(64)).expect("a digest");
        assert_eq!(list.name_of(&other), Some("other"));
    }

    #[test]
    fn a_list_with_a_mistake_is_refused() {
        for text in [
            "{}",
            r#"[{"name":"a"}]"#,
            r#"[{"name":"a","sha256":"00"}]"#,
            r#"[{"name":"a","sha256":"zz","blake2b":"00"}]"#,
            r#"[{"name":"a","md5":"00"}]"#,
            &format!(r#"[{{"name":"","sha256":"{}"}}]"#, "00".repeat(32)),
            &format!(r#"[{{"name":"a\nb","sha256":"{}"}}]"#, "00".repeat(32)),
        ] {
            assert!(Ceremonies::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Ceremonies::none().add("a", "é").is_err());
    }
}
