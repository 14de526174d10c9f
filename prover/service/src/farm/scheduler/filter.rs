//! What a node can take: never, not now, or not yet.

use super::{Candidate, LOW_SCORE, MAX_PASSED_MS, MAX_PASSED_OVER, Snapshot, Waiting};
use crate::store::{Backend, Millis, NodeId, NodeState, Priority, Resources, Tier, Trust};

/// Why a node does not get a job.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Not ACTIVE.
    #[error("the node is {0}")]
    State(NodeState),
    /// It does not prove this system.
    #[error("the node does not prove {0}")]
    Backend(Backend),
    /// It has too little of something.
    #[error("needs {} of {what}, the node has {}", bytes(*needs), bytes(*has))]
    TooSmall {
        /// Memory, GPU memory, disk.
        what: &'static str,
        /// What the job needs.
        needs: u64,
        /// What the node has in all.
        has: u64,
    },
    /// It has too few threads.
    #[error("needs {needs} threads, the node has {has}")]
    TooFewThreads {
        /// What the job needs.
        needs: u32,
        /// What the node has.
        has: u32,
    },
    /// It is not trusted enough.
    #[error("needs a node that is {needs}, this one is {has}")]
    Trust {
        /// What the job asks for.
        needs: Trust,
        /// What the node is.
        has: Trust,
    },
    /// It is in none of the job's pools.
    #[error("the node is in none of the pools {0}")]
    Pools(String),
    /// The job failed or was lost on it.
    #[error("the node is excluded: an earlier attempt at this job ended badly on it")]
    Excluded,
    /// Its score is low.
    #[error("the node's score is {0:.2}: below {LOW_SCORE} it gets BATCH jobs only")]
    LowScore(f64),
    /// All its slots are taken.
    #[error("all {slots} slots are taken")]
    NoFreeSlot {
        /// What it has.
        slots: u32,
    },
    /// Something is taken.
    #[error("needs {} of {what}, {} of {} is free", bytes(*needs), bytes(*free), bytes(*total))]
    NoRoom {
        /// Memory, GPU memory, disk.
        what: &'static str,
        /// What the job needs.
        needs: u64,
        /// What is free.
        free: u64,
        /// What the node has in all.
        total: u64,
    },
    /// Another node has the key loaded.
    #[error("{node} has the key loaded: the job waits for it, {:.1} s at most", *wait_ms as f64 / 1000.0)]
    Held {
        /// The other node.
        node: NodeId,
        /// How much longer.
        wait_ms: i64,
    },
}

impl Refusal {
    /// Whether time alone, or other jobs' ends, remove it.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::NoFreeSlot { .. } | Self::NoRoom { .. } | Self::Held { .. }
        )
    }
}

/// Why a job is not ready for any node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Delay {
    /// Its next try is later.
    #[error("waits {:.1} s before the next try", *wait_ms as f64 / 1000.0)]
    Backoff {
        /// When.
        until: Millis,
        /// How much longer.
        wait_ms: i64,
    },
    /// Its tenant runs as many as it may.
    #[error("the tenant has {running} running jobs, its limit is {max}")]
    Tenant {
        /// What runs.
        running: u32,
        /// What may run.
        max: u32,
    },
    /// Its tenant runs nothing at all.
    #[error("the tenant takes no part")]
    NoTenant,
}

/// Whether the job may start at all.
pub(super) fn ready(job: &Waiting, snapshot: &Snapshot) -> Result<(), Delay> {
    if job.not_before > snapshot.now {
        return Err(Delay::Backoff {
            until: job.not_before,
            wait_ms: job.not_before.saturating_sub(snapshot.now),
        });
    }
    match snapshot.tenants.get(&job.tenant) {
        None => Err(Delay::NoTenant),
        Some(share) if share.running >= share.max_running => Err(Delay::Tenant {
            running: share.running,
            max: share.max_running,
        }),
        Some(_) => Ok(()),
    }
}

/// Whether an idle `node` takes `job`.
pub(in crate::farm) fn fits(job: &Waiting, node: &Candidate) -> Result<(), Refusal> {
    can_prove(job, node)?;
    let low_is_enough = job.low_score_from.is_some_and(|least| node.trust >= least);
    if node.score < LOW_SCORE && job.priority != Priority::Batch && !low_is_enough {
        return Err(Refusal::LowScore(node.score));
    }
    Ok(())
}

/// Whether an idle `node` can take a copy of `job`, whatever its score.
pub(in crate::farm) fn can_prove(job: &Waiting, node: &Candidate) -> Result<(), Refusal> {
    if node.state != NodeState::Active {
        return Err(Refusal::State(node.state));
    }
    if !node.backends.contains(&job.backend) {
        return Err(Refusal::Backend(job.backend));
    }
    for (what, needs, has) in amounts(job, node, &node.total) {
        if needs > has {
            return Err(Refusal::TooSmall { what, needs, has });
        }
    }
    if job.needs.cpu_threads > node.total.cpu_threads {
        return Err(Refusal::TooFewThreads {
            needs: job.needs.cpu_threads,
            has: node.total.cpu_threads,
        });
    }
    if node.trust < job.min_trust {
        return Err(Refusal::Trust {
            needs: job.min_trust,
            has: node.trust,
        });
    }
    if !job.pools.is_empty() && !job.pools.iter().any(|p| node.pools.contains(p)) {
        return Err(Refusal::Pools(job.pools.join(", ")));
    }
    if job.excluded.contains(&node.node) {
        return Err(Refusal::Excluded);
    }
    Ok(())
}

/// Whether `job` fits beside what runs.
pub(super) fn room(job: &Waiting, node: &Candidate, free: &Resources) -> Result<(), Refusal> {
    let totals = amounts(job, node, &node.total);
    for ((what, needs, free), (_, _, total)) in amounts(job, node, free).into_iter().zip(totals) {
        if needs > free {
            return Err(Refusal::NoRoom {
                what,
                needs,
                free,
                total,
            });
        }
    }
    Ok(())
}

/// What is left of `free`.
pub(super) fn without(free: &Resources, taken: &Resources) -> Resources {
    Resources {
        ram_bytes: free.ram_bytes.saturating_sub(taken.ram_bytes),
        vram_bytes: free.vram_bytes.saturating_sub(taken.vram_bytes),
        disk_bytes: free.disk_bytes.saturating_sub(taken.disk_bytes),
        cpu_threads: free.cpu_threads,
    }
}

/// What the job needs beside what there is; a key that the node holds needs no room on its disk.
fn amounts(job: &Waiting, node: &Candidate, has: &Resources) -> [(&'static str, u64, u64); 3] {
    let disk = match node.tier(job.circuit) {
        Some(_) => 0,
        None => job.needs.disk_bytes,
    };
    [
        ("memory", job.needs.ram_bytes, has.ram_bytes),
        ("GPU memory", job.needs.vram_bytes, has.vram_bytes),
        ("disk", disk, has.disk_bytes),
    ]
}

/// Whether the job was passed over as often or as long as a job may be.
pub(super) fn is_spent(job: &Waiting, now: Millis) -> bool {
    let long = |since: Millis| now.saturating_sub(since) >= MAX_PASSED_MS;
    job.passed_over >= MAX_PASSED_OVER || job.passed_since.is_some_and(long)
}

/// What avoiding a load of the job's key is worth.
pub(super) fn slack_ms(job: &Waiting) -> u64 {
    job.key_load_ms.saturating_mul(2)
}

/// A job that waits for a node that has its key loaded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    /// No longer than this.
    pub(super) until: Millis,
    /// That node.
    pub(super) node: NodeId,
    /// Free slots of all such nodes.
    pub(super) free_slots: u32,
}

/// Whether `job` waits for another node rather than have `node` load its key: no longer than twice the time of the load.
pub(super) fn hold(job: &Waiting, node: &Candidate, snapshot: &Snapshot) -> Option<Hold> {
    if is_spent(job, snapshot.now) || is_loaded(job, node) {
        return None;
    }
    let patience = i64::try_from(slack_ms(job)).map_or(MAX_PASSED_MS, |ms| ms.min(MAX_PASSED_MS));
    let since = job.passed_since.unwrap_or(snapshot.now);
    let until = since.saturating_add(patience);
    if until <= snapshot.now {
        return None;
    }
    // What an UNTRUSTED node says of its keys makes nobody wait.
    let others = snapshot.nodes.iter().filter(|other| {
        other.node != node.node
            && other.trust >= Trust::Vetted
            && is_loaded(job, other)
            && fits(job, other).is_ok()
    });
    let (mut first, mut free_slots) = (None, 0u32);
    for other in others {
        first = Some(first.map_or(other.node, |f: NodeId| f.min(other.node)));
        if room(job, other, &other.free).is_ok() {
            free_slots = free_slots.saturating_add(other.free_slots);
        }
    }
    first.map(|node| Hold {
        until,
        node,
        free_slots,
    })
}

/// Whether the key of `job` is loaded on `node`.
pub(super) fn is_loaded(job: &Waiting, node: &Candidate) -> bool {
    node.tier(job.circuit).is_some_and(|t| t >= Tier::Ram)
}

/// Bytes as people read them.
pub(super) fn bytes(n: u64) -> String {
    let unit = |shift: u32| n as f64 / (1u64 << shift) as f64;
    match n {
        0..0x400 => format!("{n} B"),
        0x400..0x10_0000 => format!("{:.1} KiB", unit(10)),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", unit(20)),
        _ => format!("{:.1} GiB", unit(30)),
    }
}
