//! Prover nodes: what they have, and what the gateway thinks of them.

use serde::{Deserialize, Serialize};

use super::{Backend, CircuitId, Millis, NodeId, NodeState, Priority, Tier, Trust};

/// Amounts that a proof needs or a node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Memory.
    pub ram_bytes: u64,
    /// Memory of GPUs.
    pub vram_bytes: u64,
    /// Room for keys.
    pub disk_bytes: u64,
    /// Threads.
    pub cpu_threads: u32,
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// The driver's name of it.
    pub uuid: String,
    /// What the maker calls it.
    pub model: String,
    /// Its memory.
    pub vram_bytes: u64,
    /// Version of its driver.
    pub driver: String,
}

/// What a node has and can do, by its own words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// The proof systems it proves.
    pub backends: Vec<Backend>,
    /// What it has in all.
    pub total: Resources,
    /// Proofs at a time.
    pub slots: u32,
    /// Its GPUs.
    pub gpus: Vec<Gpu>,
    /// Instruction sets that the prover uses.
    pub cpu_features: Vec<String>,
}

/// A key that a node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyResidency {
    /// Of this circuit.
    pub circuit: CircuitId,
    /// How near.
    pub tier: Tier,
    /// How long loading it took.
    pub load_ms: u64,
}

/// A prover node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub id: NodeId,
    /// What its operator calls it.
    pub display_name: String,
    /// The key of its certificate: an uncompressed P-256 point; empty for the node of this process.
    pub public_key: Vec<u8>,
    /// How far it is trusted.
    pub trust: Trust,
    /// As the operator or the gateway set it; OFFLINE is told from `last_seen`.
    pub state: NodeState,
    /// The pools it belongs to.
    pub pools: Vec<String>,
    /// What it said of itself.
    pub capabilities: Capabilities,
    /// The number of its session; 0 before the first.
    pub session: i64,
    /// Whether its session goes on.
    pub online: bool,
    /// When it was last heard of.
    pub last_seen: Option<Millis>,
    /// 0..1: how well it did.
    pub score: f64,
    /// Proofs that were accepted.
    pub ok: u64,
    /// Attempts that failed by its fault.
    pub failed: u64,
    /// Proofs that were refused.
    pub invalid: u64,
    /// Leases that ran out.
    pub lost: u64,
    /// The version of its program.
    pub version: String,
    /// Attempts it has.
    pub running: u32,
    /// Grows with every change by the operator.
    pub row_version: i64,
}

impl Node {
    /// Its state, OFFLINE when it has no session or was not heard of within `ttl_ms` before `now`.
    pub fn state_at(&self, now: Millis, ttl_ms: i64) -> NodeState {
        let heard = self
            .last_seen
            .is_some_and(|at| now.saturating_sub(at) <= ttl_ms);
        match self.state {
            NodeState::Active | NodeState::Draining if !(self.online && heard) => {
                NodeState::Offline
            }
            state => state,
        }
    }

    /// Proofs that it may have at a time: one while it is not trusted, and a bounded number however many it announces.
    pub fn slots(&self) -> u32 {
        let most = match self.trust {
            Trust::Untrusted => 1,
            Trust::Vetted | Trust::Owned => 256,
        };
        self.capabilities.slots.min(most)
    }
}

/// What waits and runs of one class and proof system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The class.
    pub priority: Priority,
    /// The proof system.
    pub backend: Backend,
    /// PROVE jobs that wait.
    pub queued: u32,
    /// PROVE jobs that somebody has.
    pub running: u32,
    /// How long the oldest waits.
    pub oldest_ms: u64,
    /// Estimated time of what waits, one after the other.
    pub backlog_ms: u64,
}

/// The farm at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// Lanes in which something waits or runs.
    pub lanes: Vec<Lane>,
    /// Nodes that take work.
    pub nodes_active: u32,
    /// Their slots.
    pub slots_total: u32,
    /// Slots with an attempt.
    pub slots_busy: u32,
}

/// What an operator changes of a node; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct NodeChange {
    /// ACTIVE, DRAINING or QUARANTINED.
    pub state: Option<NodeState>,
    /// How far it is trusted.
    pub trust: Option<Trust>,
    /// The pools it belongs to.
    pub pools: Option<Vec<String>>,
}
