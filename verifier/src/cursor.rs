//! # A cursor over untrusted bytes
//! Never reads past the end; callers check counts against the bytes left before they allocate.

use ark_bn254::{G1Affine, G2Affine};

use crate::{
    curve::{
        G1_BYTES, g1_from_bytes, g1_from_bytes_unchecked, g2_from_bytes, g2_from_bytes_unchecked,
    },
    key::{KeyError, KeyPoint},
};

/// Reads an encoded key from its beginning.
pub(crate) struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
    checks_points: bool,
}

impl<'b> Cursor<'b> {
    pub(crate) const fn new(bytes: &'b [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            checks_points: true,
        }
    }

    /// For bytes that were read before: points are not looked at again.
    pub(crate) const fn of_checked(bytes: &'b [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            checks_points: false,
        }
    }

    /// Bytes left.
    pub(crate) const fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Checks that `needed` more bytes are there.
    pub(crate) const fn check_left(&self, needed: usize) -> Result<(), KeyError> {
        let left = self.left();
        if needed <= left {
            Ok(())
        } else {
            Err(KeyError::Truncated {
                at: self.at,
                needed,
                left,
            })
        }
    }

    pub(crate) fn slice(&mut self, len: usize) -> Result<&'b [u8], KeyError> {
        self.check_left(len)?;
        let truncated = KeyError::Truncated {
            at: self.at,
            needed: len,
            left: self.left(),
        };
        let slice = self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.get(..len))
            .ok_or(truncated)?;
        self.at += len;
        Ok(slice)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], KeyError> {
        let truncated = KeyError::Truncated {
            at: self.at,
            needed: N,
            left: self.left(),
        };
        let slice = self.slice(N)?;
        slice.first_chunk::<N>().copied().ok_or(truncated)
    }

    /// A point of G1.
    pub(crate) fn g1(&mut self, point: KeyPoint) -> Result<G1Affine, KeyError> {
        let bytes = self.array()?;
        let read = if self.checks_points {
            g1_from_bytes(&bytes)
        } else {
            g1_from_bytes_unchecked(&bytes)
        };
        read.map_err(|error| KeyError::Point { point, error })
    }

    /// A point of G1 that may be infinity, written as zeros.
    pub(crate) fn g1_or_zero(&mut self, point: KeyPoint) -> Result<G1Affine, KeyError> {
        let mut ahead = Self { ..*self };
        if ahead.array()? == [0; G1_BYTES] {
            *self = ahead;
            return Ok(G1Affine::identity());
        }
        self.g1(point)
    }

    /// A point of G2.
    pub(crate) fn g2(&mut self, point: KeyPoint) -> Result<G2Affine, KeyError> {
        let bytes = self.array()?;
        let read = if self.checks_points {
            g2_from_bytes(&bytes)
        } else {
            g2_from_bytes_unchecked(&bytes)
        };
        read.map_err(|error| KeyError::Point { point, error })
    }

    /// One byte with a meaning.
    pub(crate) fn tag<T>(
        &mut self,
        field: &'static str,
        from_tag: impl Fn(u8) -> Option<T>,
    ) -> Result<T, KeyError> {
        let at = self.at;
        let [got] = self.array()?;
        from_tag(got).ok_or(KeyError::Tag { field, at, got })
    }
}
