//! Whose turn it is: classes with aging, and start-time fair queuing across tenants.
//!
//! A tenant's virtual time grows by cost/weight: by the estimate when a job of it is leased, and by the difference to the real cost when the
//! attempt ends. A tenant that had nothing to do joins at the present virtual time, so idleness saves up nothing.

use std::{
    cmp::{Ordering, Reverse},
    collections::BTreeMap,
};

use super::{Share, Snapshot, Waiting, filter};
use crate::store::{Millis, NodeState, Priority, TenantId};

/// A job rises one class for each of these that it waited.
pub const AGING_MS: i64 = 600_000;
/// One of so many slots, or leases where there are fewer slots, is for BATCH first while it waits.
const BATCH_PART: u32 = 10;

/// The class of a job now.
pub fn class(priority: Priority, created_at: Millis, now: Millis) -> Priority {
    let steps = now.saturating_sub(created_at) / AGING_MS;
    match (priority, steps) {
        (p, i64::MIN..=0) => p,
        (Priority::Batch, 1) => Priority::Normal,
        _ => Priority::Interactive,
    }
}

/// Whether BATCH jobs go first now.
pub(super) fn batch_is_due(snapshot: &Snapshot, running: u32, since: u32) -> bool {
    let active = |n: &&super::Candidate| n.state == NodeState::Active;
    let slots = snapshot.nodes.iter().filter(active);
    let slots = slots.fold(0u32, |sum, n| sum.saturating_add(n.slots));
    if slots >= BATCH_PART {
        running < slots.div_ceil(BATCH_PART)
    } else {
        since >= BATCH_PART - 1
    }
}

/// What to add to a tenant's virtual time when an attempt of `estimated_ms` is leased.
pub fn charge(estimated_ms: u64, weight: f64) -> f64 {
    estimated_ms as f64 / sane(weight)
}

/// What to add to a tenant's virtual time when an attempt ends that was charged for `estimated_ms` and cost `real_ms`: 0 when it was not the
/// tenant's to pay, as with a lost node.
pub fn settle(estimated_ms: u64, real_ms: u64, weight: f64) -> f64 {
    charge(real_ms, weight) - charge(estimated_ms, weight)
}

/// The virtual time at which a tenant of `vtime` that had neither queued nor running jobs joins: no earlier than the least of the `active`
/// tenants', or where none is active, the greatest of all (`idle`).
pub fn join(
    vtime: f64,
    active: impl IntoIterator<Item = f64>,
    idle: impl IntoIterator<Item = f64>,
) -> f64 {
    let least = active.into_iter().min_by(f64::total_cmp);
    let now = least.or_else(|| idle.into_iter().max_by(f64::total_cmp));
    now.map_or(vtime, |now| vtime.max(now))
}

/// A weight that can be divided by.
fn sane(weight: f64) -> f64 {
    if weight.is_finite() && weight > 0.0 {
        weight.max(1e-3)
    } else {
        1.0
    }
}

/// How many jobs go before `job` if every lease goes by class and fair share.
pub(super) fn ahead(snapshot: &Snapshot, job: &Waiting) -> u32 {
    let class_of = |j: &Waiting| class(j.priority, j.created_at, snapshot.now);
    let own = class_of(job);
    let mut ahead = 0u32;
    // Of the same class: per tenant, oldest last.
    let mut queues: BTreeMap<TenantId, (Share, Vec<&Waiting>)> = BTreeMap::new();
    for other in &snapshot.jobs {
        let Some(share) = snapshot.tenants.get(&other.tenant) else {
            continue;
        };
        if other.job != job.job && filter::ready(other, snapshot).is_err() {
            continue;
        }
        match class_of(other).cmp(&own) {
            Ordering::Greater => ahead = ahead.saturating_add(1),
            Ordering::Equal => {
                let queue = queues.entry(other.tenant);
                queue.or_insert((*share, Vec::new())).1.push(other);
            }
            Ordering::Less => {}
        }
    }
    for (_, queue) in queues.values_mut() {
        queue.sort_by_key(|j| Reverse((j.created_at, j.job)));
    }
    loop {
        let heads = queues.values_mut().filter(|(_, queue)| !queue.is_empty());
        let next = heads.min_by(|(a, x), (b, y)| {
            let key = |q: &[&Waiting]| q.last().map(|j| (j.created_at, j.job));
            a.vtime
                .total_cmp(&b.vtime)
                .then_with(|| key(x).cmp(&key(y)))
        });
        let Some((share, queue)) = next else {
            return ahead;
        };
        match queue.pop() {
            Some(other) if other.job != job.job => {
                share.vtime += charge(other.estimated_ms, share.weight);
                ahead = ahead.saturating_add(1);
            }
            _ => return ahead,
        }
    }
}
