//! The few most recently used values of a slow load.

/// Keeps the `capacity` most recently used values.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    capacity: usize,
    entries: Vec<(K, V)>,
}

impl<K: PartialEq, V: Clone> Recent<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            entries: Vec::new(),
        }
    }

    /// The value of `key`, which becomes the most recent one.
    pub(crate) fn touch(&mut self, key: &K) -> Option<V> {
        let at = self.entries.iter().position(|(k, _)| k == key)?;
        let entry = self.entries.remove(at);
        let value = entry.1.clone();
        self.entries.push(entry);
        Some(value)
    }

    /// Adds a value; the least recent one leaves when there is no room.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.entries.retain(|(k, _)| *k != key);
        if self.entries.len() == self.capacity {
            self.entries.remove(0);
        }
        self.entries.push((key, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_value_leaves() {
        let mut recent = Recent::new(2);
        recent.insert(1, "one");
        recent.insert(2, "two");
        assert_eq!(recent.touch(&1), Some("one"));
        recent.insert(3, "three");
        assert_eq!(
            (recent.touch(&1), recent.touch(&2), recent.touch(&3)),
            (Some("one"), None, Some("three"))
        );
    }
}
