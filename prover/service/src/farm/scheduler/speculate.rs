//! A second attempt at a job that takes too long, on a node that has nothing else to do.

use super::{Quantiles, Snapshot, Waiting, filter, plan};
use crate::store::{JobId, NodeId, NodeState, Priority};

/// No copy before a job ran this long.
const LEAST_MS: u64 = 30_000;
/// One of so many slots may run copies, but one always may.
const PART: u32 = 20;

/// A job that runs.
#[derive(Clone, Debug)]
pub struct Racing {
    /// What it needs, as when it waited.
    pub job: Waiting,
    /// The nodes of its open attempts.
    pub nodes: Vec<NodeId>,
    /// The nodes of those that ended.
    pub tried: Vec<NodeId>,
    /// How long the oldest open attempt runs.
    pub elapsed_ms: u64,
    /// How long such jobs take on that node.
    pub expected: Quantiles,
}

/// The running job of which `node` may make a copy: the one that is latest, of the highest class.
pub fn speculate(snapshot: &Snapshot, running: &[Racing], node: NodeId) -> Option<JobId> {
    let node = snapshot.nodes.iter().find(|n| n.node == node)?;
    if node.free_slots == 0 || !plan(snapshot, node.node, 1).picks.is_empty() {
        return None;
    }
    let active = snapshot
        .nodes
        .iter()
        .filter(|n| n.state == NodeState::Active);
    let slots = active.fold(0u32, |sum, n| sum.saturating_add(n.slots));
    let copies: usize = running
        .iter()
        .map(|r| r.nodes.len().saturating_sub(1))
        .sum();
    if copies >= (slots / PART).max(1) as usize {
        return None;
    }
    let late = running.iter().filter(|r| {
        r.nodes.len() == 1
            && !r.nodes.contains(&node.node)
            && !r.tried.contains(&node.node)
            && r.job.priority >= Priority::Normal
            && r.elapsed_ms > patience(r)
            && filter::can_prove(&r.job, node).is_ok()
            && filter::room(&r.job, node, &node.free).is_ok()
    });
    let latest = late.max_by(|a, b| {
        let key = |r: &Racing| (r.job.priority, r.elapsed_ms - patience(r));
        // Of equals, the older id.
        key(a).cmp(&key(b)).then_with(|| b.job.job.cmp(&a.job.job))
    });
    latest.map(|r| r.job.job)
}

fn patience(racing: &Racing) -> u64 {
    racing.expected.p95_ms.saturating_mul(2).max(LEAST_MS)
}
