//! Which loaded circuits to keep: the one that is cheapest to lose leaves first.

use std::time::{Duration, Instant};

use crate::store::CircuitId;

/// What keeping a key is worth: the time that loading it took, over the time since it was used.
pub(crate) fn worth(load: Duration, idle: Duration) -> f64 {
    (load.as_secs_f64() + 0.001) / (idle.as_secs_f64() + 1.0)
}

#[derive(Debug)]
struct Entry<V> {
    circuit: CircuitId,
    value: V,
    bytes: u64,
    load: Duration,
    used: Instant,
}

/// Loaded circuits within a bound of bytes and of number.
#[derive(Debug)]
pub(crate) struct Warm<V> {
    max_bytes: u64,
    max_circuits: usize,
    entries: Vec<Entry<V>>,
}

impl<V: Clone> Warm<V> {
    pub(crate) fn new(max_bytes: u64, max_circuits: usize) -> Self {
        Self {
            max_bytes,
            max_circuits: max_circuits.max(1),
            entries: Vec::new(),
        }
    }

    /// The value of `circuit`, which was used now.
    pub(crate) fn touch(&mut self, circuit: CircuitId) -> Option<V> {
        let entry = self.entries.iter_mut().find(|e| e.circuit == circuit)?;
        entry.used = Instant::now();
        Some(entry.value.clone())
    }

    /// Lets the cheapest circuits go until `bytes` more fit, or none is left.
    pub(crate) fn make_room(&mut self, bytes: u64) {
        while !self.entries.is_empty()
            && (self.bytes().saturating_add(bytes) > self.max_bytes
                || self.entries.len() >= self.max_circuits)
        {
            self.let_one_go();
        }
    }

    /// Lets the cheapest circuit go; `false` when there is none.
    pub(crate) fn let_one_go(&mut self) -> bool {
        let entries = self.entries.iter().enumerate();
        let cheapest = entries
            .map(|(at, e)| (at, worth(e.load, e.used.elapsed())))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        let Some((at, _)) = cheapest else {
            return false;
        };
        self.entries.swap_remove(at);
        true
    }

    /// Lets every circuit go.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Keeps a value of `bytes` that took `load` to load.
    pub(crate) fn insert(&mut self, circuit: CircuitId, value: V, bytes: u64, load: Duration) {
        self.remove(circuit);
        self.make_room(bytes);
        self.entries.push(Entry {
            circuit,
            value,
            bytes,
            load,
            used: Instant::now(),
        });
    }

    /// Forgets `circuit`.
    pub(crate) fn remove(&mut self, circuit: CircuitId) {
        self.entries.retain(|e| e.circuit != circuit);
    }

    /// Bytes of all circuits.
    pub(crate) fn bytes(&self) -> u64 {
        self.entries.iter().map(|e| e.bytes).sum()
    }

    /// The circuits, and how long each took to load.
    pub(crate) fn list(&self) -> Vec<(CircuitId, Duration)> {
        self.entries.iter().map(|e| (e.circuit, e.load)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(warm: &mut Warm<u8>, circuits: &[CircuitId]) -> Vec<bool> {
        let list = warm.list();
        circuits
            .iter()
            .map(|c| list.iter().any(|(held, _)| held == c))
            .collect()
    }

    #[test]
    fn the_circuit_that_is_cheapest_to_lose_leaves() {
        let circuits = [(); 4].map(|()| CircuitId::fresh());
        let [slow, quick, next, large] = circuits;
        let mut warm = Warm::new(100, 10);
        warm.insert(slow, 1, 40, Duration::from_secs(60));
        warm.insert(quick, 2, 40, Duration::from_millis(10));
        assert_eq!(warm.touch(quick), Some(2));
        // Quick was used last, but costs less to load again.
        warm.insert(next, 3, 40, Duration::from_secs(1));
        assert_eq!(held(&mut warm, &circuits), [true, false, true, false]);
        // What is larger than the bound is kept alone: it is in use.
        warm.insert(large, 4, 1000, Duration::from_secs(1));
        assert_eq!(held(&mut warm, &circuits), [false, false, false, true]);
        warm.remove(large);
        assert_eq!((warm.touch(large), warm.bytes()), (None, 0));
        assert!(!warm.let_one_go());
        warm.insert(slow, 1, 40, Duration::from_secs(60));
        warm.insert(quick, 2, 40, Duration::from_millis(10));
        assert!(warm.let_one_go());
        assert_eq!(held(&mut warm, &circuits), [true, false, false, false]);
        warm.clear();
        assert_eq!(warm.bytes(), 0);
    }

    #[test]
    fn idle_time_wears_the_worth_of_a_key_off() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        assert!(worth(minute, second) > worth(second, second));
        assert!(worth(second, Duration::ZERO) > worth(minute, minute * 60));
    }

    #[test]
    fn the_number_of_circuits_is_bounded() {
        let mut warm = Warm::new(u64::MAX, 2);
        for n in 0..5 {
            warm.insert(CircuitId::fresh(), n, 0, Duration::from_secs(1));
        }
        assert_eq!(warm.list().len(), 2);
    }
}
