//! # A cursor over untrusted bytes
//! Never reads past the end; callers check counts against the bytes left before they allocate.

use crate::key::KeyError;

/// Reads an encoded key from its beginning.
pub(crate) struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Cursor<'b> {
    pub(crate) const fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
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
