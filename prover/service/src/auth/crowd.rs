//! How many things of one party go on at a time.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// The party has as many as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {most} calls of this kind at a time")]
pub(crate) struct Crowded {
    most: usize,
}

/// Who has how many.
#[derive(Debug)]
pub(crate) struct Crowd<K: Eq + Hash> {
    most: usize,
    now: Mutex<HashMap<K, usize>>,
}

/// One of them; there may be another when it is dropped.
#[derive(Debug)]
pub(crate) struct Place<K: Eq + Hash> {
    crowd: Arc<Crowd<K>>,
    of: K,
}

impl<K: Copy + Eq + Hash> Crowd<K> {
    /// At most `most` for each party.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            now: Mutex::default(),
        })
    }

    /// One more for `of`, if it may.
    pub(crate) fn enter(self: &Arc<Self>, of: K) -> Result<Place<K>, Crowded> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let count = now.entry(of).or_default();
        if *count >= self.most {
            return Err(Crowded { most: self.most });
        }
        *count += 1;
        Ok(Place {
            crowd: Arc::clone(self),
            of,
        })
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let now = self.crowd.now.lock();
        let mut now = now.unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = now.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                now.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_party_is_bounded_others_are_not_and_who_left_is_forgotten() {
        let crowd = Crowd::new(2);
        let places: Vec<_> = (0..3).map(|_| crowd.enter('a')).collect();
        assert!(places[0].is_ok() && places[1].is_ok());
        assert_eq!(places[2].as_ref().err(), Some(&Crowded { most: 2 }));
        assert!(crowd.enter('b').is_ok());
        drop(places);
        assert!(crowd.now.lock().expect("lock").is_empty());
        assert!(crowd.enter('a').is_ok());
    }
}
