//! # Bases: the points of a multi-scalar multiplication, mapped from a key file or resident
//!
//! A mapped section costs no memory of the process beyond the page cache: opening it is O(1), and a multiplication reads the raw
//! words where they lie. The first multiplication looks at every coordinate once.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use memmap2::{Mmap, MmapOptions};
use rayon::prelude::*;
use thiserror::Error;
use zeroize::Zeroize;

use crate::copies::Copies;
use crate::cpu::table::Table;
use crate::curve::{AffineOf, Curve, is_canonical, point_of, raw_of, raw_of_bytes};

/// Points looked at by one task.
const POINTS_PER_TASK: usize = 1 << 12;

/// Why a section of a key file cannot serve as bases.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BasesError {
    /// The section reaches beyond the end of the file.
    #[error(
        "{len} {curve} points at offset {offset} end beyond the file's {file_bytes} bytes; the key file is truncated"
    )]
    OutsideFile {
        /// Name of the group.
        curve: &'static str,
        /// Offset of the section in bytes.
        offset: u64,
        /// Points of the section.
        len: usize,
        /// Length of the file in bytes.
        file_bytes: u64,
    },
    /// The operating system refused to map the section.
    #[error("cannot map {len} {curve} points of the key file: {source}")]
    Map {
        /// Name of the group.
        curve: &'static str,
        /// Points of the section.
        len: usize,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A point has a coordinate that is not below the base field's modulus.
    #[error("{curve} point {index} of the key has a coordinate ≥ q; the key file is damaged")]
    Coordinate {
        /// Name of the group.
        curve: &'static str,
        /// Index of the point in its section.
        index: usize,
    },
    /// More points were asked for than there are.
    #[error("{curve} points {start}..{end} were asked for, the section has {len}")]
    Range {
        /// Name of the group.
        curve: &'static str,
        /// First index asked for.
        start: usize,
        /// End of the range asked for.
        end: usize,
        /// Points of the section.
        len: usize,
    },
}

/// A list of bases in group `C`.
pub struct Bases<C: Curve> {
    source: Source<C>,
    len: usize,
    /// Which points are finite, or the first damaged one.
    checked: OnceLock<Result<Finite, usize>>,
    table: OnceLock<Table<C>>,
    /// What devices with memory of their own keep of the points.
    pub(crate) copies: Copies,
}

enum Source<C: Curve> {
    /// From this point of a mapping on.
    Mapped(Arc<Mmap>, usize),
    Resident(Vec<C::Raw>),
}

/// A bit for each point: whether it is finite.
#[derive(Debug)]
pub(crate) struct Finite(Vec<u64>);

impl Finite {
    /// The bits, sixty-four to a word.
    pub(crate) fn words(&self) -> &[u64] {
        &self.0
    }

    pub(crate) fn holds(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 == 1
    }
}

impl<C: Curve> Drop for Source<C> {
    fn drop(&mut self) {
        // sums of bases tell which ones a witness put together
        if let Self::Resident(points) = self {
            points.zeroize();
        }
    }
}

impl<C: Curve> Bases<C> {
    /// Maps `len` points that lie at byte `offset` of `file` in the encoding of [`crate::curve`].
    ///
    /// # Errors
    /// [`BasesError::OutsideFile`] when the file is shorter, [`BasesError::Map`] when the mapping fails.
    pub fn map(file: &File, offset: u64, len: usize) -> Result<Self, BasesError> {
        let map_error = |source| BasesError::Map {
            curve: C::NAME,
            len,
            source,
        };
        let file_bytes = file.metadata().map_err(map_error)?.len();
        let bytes = len.checked_mul(C::POINT_BYTES);
        let inside = bytes
            .and_then(|bytes| offset.checked_add(bytes as u64))
            .is_some_and(|end| end <= file_bytes);
        let Some(bytes) = bytes.filter(|_| inside) else {
            return Err(BasesError::OutsideFile {
                curve: C::NAME,
                offset,
                len,
                file_bytes,
            });
        };
        if bytes == 0 {
            return Ok(Self::from_points(Vec::new()));
        }
        let map = map_read_only(file, offset, bytes).map_err(map_error)?;
        let in_place =
            cfg!(target_endian = "little") && bytemuck::try_cast_slice::<u8, C::Raw>(&map).is_ok();
        Ok(Self {
            source: if in_place {
                Source::Mapped(Arc::new(map), 0)
            } else {
                // cannot be read where it lies
                let points = map.chunks_exact(C::POINT_BYTES);
                Source::Resident(points.map(raw_of_bytes::<C>).collect())
            },
            len,
            checked: OnceLock::new(),
            table: OnceLock::new(),
            copies: Copies::default(),
        })
    }

    /// Bases that live in memory; the points given are overwritten.
    #[must_use]
    pub fn from_points(mut points: Vec<AffineOf<C>>) -> Self {
        let bases = Self {
            len: points.len(),
            source: Source::Resident(points.par_iter().map(raw_of::<C>).collect()),
            checked: OnceLock::new(),
            table: OnceLock::new(),
            copies: Copies::default(),
        };
        points.zeroize();
        bases
    }

    /// The points of `range` as bases of their own; a mapping is shared.
    ///
    /// # Errors
    /// [`BasesError::Range`] beyond the section.
    pub fn part(&self, range: Range<usize>) -> Result<Self, BasesError> {
        self.check_range(&range)?;
        Ok(Self {
            len: range.len(),
            source: match &self.source {
                Source::Mapped(map, start) => Source::Mapped(map.clone(), start + range.start),
                Source::Resident(points) => Source::Resident(points[range.clone()].to_vec()),
            },
            checked: self.checked_part(&range),
            table: OnceLock::new(),
            copies: Copies::default(),
        })
    }

    /// What is known of the points of a range.
    fn checked_part(&self, range: &Range<usize>) -> OnceLock<Result<Finite, usize>> {
        let known = OnceLock::new();
        if let Some(Ok(finite)) = self.checked.get() {
            let bit = |index: usize| u64::from(range.end > index && finite.holds(index));
            let word = |first: usize| (0..64).fold(0, |word, i| word | bit(first + i) << i);
            let words = range.clone().step_by(64).map(word).collect();
            let _ = known.set(Ok(Finite(words)));
        }
        known
    }

    fn check_range(&self, range: &Range<usize>) -> Result<(), BasesError> {
        if range.start > range.end || range.end > self.len {
            return Err(BasesError::Range {
                curve: C::NAME,
                start: range.start,
                end: range.end,
                len: self.len,
            });
        }
        Ok(())
    }

    /// Number of points.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no point.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The affine points of `range`, converted in parallel.
    ///
    /// # Errors
    /// [`BasesError::Range`] beyond the section, [`BasesError::Coordinate`] for a damaged point.
    pub fn points(&self, range: Range<usize>) -> Result<Vec<AffineOf<C>>, BasesError> {
        self.check_range(&range)?;
        self.raw()[range.clone()]
            .par_iter()
            .with_min_len(POINTS_PER_TASK)
            .enumerate()
            .map(|(index, raw)| {
                if is_canonical::<C>(raw) {
                    Ok(point_of::<C>(raw))
                } else {
                    Err(coordinate_error::<C>(range.start + index))
                }
            })
            .collect()
    }

    /// The table that a device made of the points.
    pub(crate) fn table(&self) -> Option<&Table<C>> {
        self.table.get()
    }

    /// Keeps a table; the first one, where two threads made one.
    pub(crate) fn keep_table(&self, table: Table<C>) {
        let _ = self.table.set(table);
    }

    /// The raw words of every point.
    pub(crate) fn raw(&self) -> &[C::Raw] {
        match &self.source {
            Source::Mapped(map, start) => &bytemuck::cast_slice(map)[*start..start + self.len],
            Source::Resident(points) => points,
        }
    }

    /// Which points are finite. The first call looks at every coordinate.
    ///
    /// # Errors
    /// [`BasesError::Coordinate`] for a damaged point.
    pub(crate) fn finite(&self) -> Result<&Finite, BasesError> {
        let checked = self.checked.get_or_init(|| {
            let words = self
                .raw()
                .par_chunks(64)
                .enumerate()
                .map(|(chunk, points)| {
                    let mut word = 0;
                    for (bit, raw) in points.iter().enumerate() {
                        if !is_canonical::<C>(raw) {
                            return Err(64 * chunk + bit);
                        }
                        word |= u64::from(raw.as_ref().iter().any(|row| *row != [0; 4])) << bit;
                    }
                    Ok(word)
                });
            words.collect::<Result<_, _>>().map(Finite)
        });
        checked
            .as_ref()
            .map_err(|index| coordinate_error::<C>(*index))
    }
}

fn coordinate_error<C: Curve>(index: usize) -> BasesError {
    BasesError::Coordinate {
        curve: C::NAME,
        index,
    }
}

impl<C: Curve> fmt::Debug for Bases<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.source {
            Source::Mapped(..) => "mapped",
            Source::Resident(_) => "resident",
        };
        write!(f, "Bases<{}>({} points, {form})", C::NAME, self.len)
    }
}

#[allow(unsafe_code)]
fn map_read_only(file: &File, offset: u64, bytes: usize) -> std::io::Result<Mmap> {
    // SAFETY: the mapping is read-only and lies inside the file (checked by the caller); a key file is written beside,
    // renamed into place and never modified or truncated afterwards, so the bytes do not change under the slice, and the
    // bytes are read as plain `u8`, for which every value is valid.
    unsafe { MmapOptions::new().offset(offset).len(bytes).map(file) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use ark_ec::{AffineRepr, CurveGroup, PrimeGroup};

    use super::*;
    use crate::curve::{G1, G2, ProjectiveOf, encode_points};

    fn section<C: Curve>(n: u64) -> (Vec<AffineOf<C>>, tempfile::NamedTempFile) {
        let mut points: Vec<_> = (1..=n)
            .map(|k| (ProjectiveOf::<C>::generator() * ark_bn254::Fr::from(k)).into_affine())
            .collect();
        points[1] = AffineOf::<C>::zero();
        let mut bytes = vec![0xAA; 100];
        encode_points::<C>(&points, &mut bytes);
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(&bytes)
            .expect("the temporary file is writable");
        (points, file)
    }

    #[test]
    fn a_mapped_section_gives_its_points_back() {
        let (points, file) = section::<G1>(5);
        let bases = Bases::<G1>::map(file.as_file(), 100, 5).expect("the section is there");
        assert_eq!(bases.points(1..4).expect("in range"), &points[1..4]);
        let (points, file) = section::<G2>(5);
        let bases = Bases::<G2>::map(file.as_file(), 100, 5).expect("the section is there");
        assert_eq!(bases.points(0..5).expect("in range"), &points[..]);
    }

    #[test]
    fn a_part_has_the_points_of_its_range() {
        let (points, file) = section::<G1>(5);
        for bases in [
            Bases::<G1>::map(file.as_file(), 100, 5).expect("the section is there"),
            Bases::from_points(points.clone()),
        ] {
            let part = bases.part(1..4).expect("in range");
            assert_eq!(part.points(0..3).expect("in range"), &points[1..4]);
            let last = part.part(2..3).expect("in range");
            assert_eq!(last.points(0..1).expect("in range"), &points[3..4]);
            assert!(part.part(3..3).expect("in range").is_empty());
            assert!(matches!(part.part(2..4), Err(BasesError::Range { .. })));
        }
    }

    #[test]
    fn refuses_sections_and_ranges_beyond_the_end() {
        let (_, file) = section::<G1>(5);
        for (offset, len) in [(100, 6), (101, 5), (u64::MAX, 1), (0, usize::MAX)] {
            assert!(matches!(
                Bases::<G1>::map(file.as_file(), offset, len),
                Err(BasesError::OutsideFile { .. })
            ));
        }
        let bases = Bases::<G1>::map(file.as_file(), 100, 5).expect("the section is there");
        assert!(matches!(bases.points(2..6), Err(BasesError::Range { .. })));
    }

    #[test]
    fn refuses_a_damaged_coordinate_by_index() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(&[0u8; 64]).expect("writable");
        file.write_all(&[0xFF; 64]).expect("writable");
        let bases = Bases::<G1>::map(file.as_file(), 0, 2).expect("two points");
        assert!(matches!(
            bases.points(0..2),
            Err(BasesError::Coordinate { index: 1, .. })
        ));
    }
}
