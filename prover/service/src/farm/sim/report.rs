//! What a simulation found out.

use std::collections::BTreeMap;

use serde::Serialize;

/// Times between creation and the start of the proof, key load included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Waits {
    /// Their mean.
    pub mean_ms: f64,
    /// Half are shorter.
    pub p50_ms: u64,
    /// 19 of 20 are shorter.
    pub p95_ms: u64,
    /// The longest.
    pub max_ms: u64,
}

impl Waits {
    /// Of these times.
    pub fn of(mut waits: Vec<u64>) -> Self {
        waits.sort_unstable();
        let Some(last) = waits.len().checked_sub(1) else {
            return Self::default();
        };
        let at = |percent: usize| waits[(waits.len() * percent / 100).min(last)];
        Self {
            mean_ms: waits.iter().map(|&w| w as f64).sum::<f64>() / waits.len() as f64,
            p50_ms: at(50),
            p95_ms: at(95),
            max_ms: waits[last],
        }
    }
}

/// How one tenant fared.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TenantReport {
    /// Its jobs.
    pub jobs: u64,
    /// How they waited.
    pub waits: Waits,
    /// Its part of the running proofs' time while two tenants or more waited.
    pub contended_share: f64,
}

/// How a trace went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Who decided.
    pub policy: &'static str,
    /// Jobs that were proven.
    pub proven: u64,
    /// Jobs that no node can take.
    pub impossible: u64,
    /// From the first creation to the last proof.
    pub makespan_ms: u64,
    /// The part of the slots' time that went into proofs.
    pub utilisation: f64,
    /// The part of the starts that loaded no key.
    pub warm_share: f64,
    /// Keys loaded.
    pub key_loads: u64,
    /// Their length.
    pub key_bytes: u64,
    /// How all jobs waited.
    pub waits: Waits,
    /// By class.
    pub classes: BTreeMap<&'static str, Waits>,
    /// By tenant.
    pub tenants: BTreeMap<String, TenantReport>,
}
