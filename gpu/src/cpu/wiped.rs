//! # Wiped: a vector that is overwritten when it is dropped
//!
//! `Zeroizing<Vec<T>>` writes a word at a time, and unused capacity a byte at a time; the scratch of a multiplication is megabytes.

use std::ops::{Deref, DerefMut};

use zeroize::optimization_barrier;

/// A vector whose whole capacity is overwritten with `T::default()`, which stands for zeros, when it is dropped. A vector that grows
/// leaves a copy behind: whoever fills one reserves first.
pub(crate) struct Wiped<T: Copy + Default>(Vec<T>);

impl<T: Copy + Default> Wiped<T> {
    /// An empty vector with room for `capacity` values.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// `len` times `value`.
    pub(crate) fn filled(value: T, len: usize) -> Self {
        Self(vec![value; len])
    }
}

impl<T: Copy + Default> Default for Wiped<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + Default> FromIterator<T> for Wiped<T> {
    /// Grows unless the iterator knows its length.
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl<T: Copy + Default> Deref for Wiped<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T: Copy + Default> DerefMut for Wiped<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

impl<T: Copy + Default> Drop for Wiped<T> {
    fn drop(&mut self) {
        self.0.clear();
        self.0.resize(self.0.capacity(), T::default());
        optimization_barrier(self.0.as_slice());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_its_values() {
        let mut values: Wiped<u32> = (0..9).collect();
        values.truncate(3);
        assert_eq!(values.as_slice(), [0, 1, 2]);
        assert_eq!(Wiped::filled(7u8, 2).as_slice(), [7, 7]);
        assert!(Wiped::<u8>::with_capacity(4).capacity() >= 4);
    }
}
