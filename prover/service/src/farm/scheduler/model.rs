//! How long a proof takes: quantiles of the attempts that ended well, by circuit and class of node.

use std::collections::{BTreeMap, VecDeque};

use crate::store::{Capabilities, CircuitId};

/// Attempts remembered for a circuit on a class of nodes.
const SAMPLES: usize = 128;
/// Circuits and classes remembered.
const ENTRIES: usize = 4096;
/// The compile estimate counts as so many attempts.
const PRIOR_WEIGHT: f64 = 4.0;
/// No attempt is stopped before this.
const LEAST_LIMIT_MS: u64 = 60_000;

/// Nodes that are about as fast as each other: the same GPU, or about as many threads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeClass(String);

impl NodeClass {
    /// The class of a node.
    pub fn of(capabilities: &Capabilities) -> Self {
        match capabilities.gpus.first() {
            Some(gpu) => Self(gpu.model.clone()),
            None => {
                let threads = capabilities.total.cpu_threads.max(1);
                Self(format!("cpu-{}", 1u32 << threads.ilog2()))
            }
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// How long a proof takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// Every second one is faster.
    pub p50_ms: u64,
    /// 19 of 20 are faster.
    pub p95_ms: u64,
    /// 99 of 100 are faster.
    pub p99_ms: u64,
}

impl Quantiles {
    /// What is believed before any attempt ended.
    pub fn prior(estimated_ms: u64) -> Self {
        Self {
            p50_ms: estimated_ms,
            p95_ms: estimated_ms.saturating_mul(2),
            p99_ms: estimated_ms.saturating_mul(3),
        }
    }

    /// After this an attempt hangs rather than works.
    pub fn soft_limit_ms(&self) -> u64 {
        self.p99_ms.saturating_mul(3).max(LEAST_LIMIT_MS)
    }
}

/// The attempts that ended well, lately.
#[derive(Clone, Debug, Default)]
pub struct TimeModel {
    finished: BTreeMap<(CircuitId, NodeClass), VecDeque<u64>>,
    /// Keys of `finished`, the oldest first.
    order: VecDeque<(CircuitId, NodeClass)>,
}

impl TimeModel {
    /// Remembers that a proof of `circuit` took `prove_ms` on a node of `class`.
    pub fn observe(&mut self, circuit: CircuitId, class: NodeClass, prove_ms: u64) {
        let key = (circuit, class);
        if !self.finished.contains_key(&key) {
            if self.order.len() >= ENTRIES
                && let Some(oldest) = self.order.pop_front()
            {
                self.finished.remove(&oldest);
            }
            self.order.push_back(key.clone());
        }
        let samples = self.finished.entry(key).or_default();
        if samples.len() >= SAMPLES {
            samples.pop_front();
        }
        samples.push_back(prove_ms);
    }

    /// How long a proof of `circuit` takes on a node of `class`, given what compile estimated.
    pub fn predict(&self, circuit: CircuitId, class: &NodeClass, estimated_ms: u64) -> Quantiles {
        let samples = self.finished.get(&(circuit, class.clone()));
        blend(samples.into_iter().flatten().copied(), estimated_ms)
    }

    /// How long a proof of `circuit` takes on whatever node.
    pub fn predict_any(&self, circuit: CircuitId, estimated_ms: u64) -> Quantiles {
        let least = (circuit, NodeClass(String::new()));
        let entries = self.finished.range(least..);
        let of_circuit = entries.take_while(|((c, _), _)| *c == circuit);
        blend(
            of_circuit.flat_map(|(_, s)| s.iter().copied()),
            estimated_ms,
        )
    }
}

/// Quantiles of `samples`, drawn towards the estimate while they are few.
fn blend(samples: impl Iterator<Item = u64>, estimated_ms: u64) -> Quantiles {
    let mut samples: Vec<u64> = samples.collect();
    samples.sort_unstable();
    let prior = Quantiles::prior(estimated_ms);
    let Some(last) = samples.len().checked_sub(1) else {
        return prior;
    };
    let n = samples.len() as f64;
    let part = n / (n + PRIOR_WEIGHT);
    let at = |percent: usize, prior: u64| {
        let seen = samples[(samples.len() * percent / 100).min(last)];
        (part * seen as f64 + (1.0 - part) * prior as f64) as u64
    };
    Quantiles {
        p50_ms: at(50, prior.p50_ms),
        p95_ms: at(95, prior.p95_ms),
        p99_ms: at(99, prior.p99_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class() -> NodeClass {
        NodeClass::of(&Capabilities::default())
    }

    #[test]
    fn the_estimate_counts_until_attempts_say_otherwise() {
        let circuit = CircuitId::fresh();
        let mut model = TimeModel::default();
        let before = model.predict(circuit, &class(), 1_000);
        assert_eq!(before, Quantiles::prior(1_000));
        for _ in 0..100 {
            model.observe(circuit, class(), 9_000);
        }
        let after = model.predict(circuit, &class(), 1_000);
        assert!((8_600..=9_000).contains(&after.p50_ms), "{after:?}");
        assert_eq!(after, model.predict_any(circuit, 1_000));
        let other = model.predict(CircuitId::fresh(), &class(), 1_000);
        assert_eq!(other, before);
    }

    #[test]
    fn quantiles_are_ordered_and_the_limit_has_a_floor() {
        let circuit = CircuitId::fresh();
        let mut model = TimeModel::default();
        for ms in (0..1_000).rev() {
            model.observe(circuit, class(), ms);
        }
        // The last 128: 127 down to 0.
        let q = model.predict(circuit, &class(), 64);
        assert!(q.p50_ms <= q.p95_ms && q.p95_ms <= q.p99_ms);
        assert!((60..=68).contains(&q.p50_ms), "{q:?}");
        assert_eq!(q.soft_limit_ms(), 60_000);
        assert_eq!(Quantiles::prior(100_000).soft_limit_ms(), 900_000);
        assert_eq!(Quantiles::prior(u64::MAX).soft_limit_ms(), u64::MAX);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut model = TimeModel::default();
        for _ in 0..ENTRIES + 10 {
            model.observe(CircuitId::fresh(), class(), 1);
        }
        assert_eq!(model.finished.len(), ENTRIES);
        assert_eq!(model.order.len(), ENTRIES);
    }
}
