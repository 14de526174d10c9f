//! # Scheduler: which jobs a node that asks gets
//! A pure function of a [`Snapshot`]: no store, no clock, and the order of the snapshot's lists does not matter.
//!
//! 1. *Filter* (`filter`): the node can take the job: state, proof system, size, trust, pools, exclusions, room; its tenant may run one more.
//! 2. *Class* ([`fair`]): INTERACTIVE before NORMAL before BATCH, one class up for every 10 minutes of waiting; a tenth of the slots goes to
//!    BATCH first while it waits.
//! 3. *Fair share* ([`fair`]): within the class, the tenant with the least virtual time; within the tenant, the oldest job. This is the *head*.
//! 4. *Affinity*: among tenants within 2 × the head's key load of the head's, the job whose key is nearest on the node goes before the head,
//!    at most 8 times or for 30 s. A head whose key another node has loaded is held for that node, for the same 2 × key load and 30 s at most.
//! 5. *Batches*: of one circuit, a call takes one job, or several whose estimates add up to at most 60 s.
//!
//! [`explain`] answers from the same functions why a job waits.

mod explain;
pub mod fair;
mod filter;
mod model;
mod speculate;
#[cfg(test)]
mod tests;

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BTreeSet},
};

use crate::store::{
    Backend, CircuitId, JobId, KeyResidency, Millis, NodeId, NodeState, Priority, Resources,
    TenantId, Tier, Trust,
};

pub use explain::{Explanation, NodeVerdict, Pending, PendingKind, explain};
pub use filter::{Delay, Refusal};
pub(in crate::farm) use filter::{can_prove, fits};
pub use model::{NodeClass, Quantiles, TimeModel};
pub use speculate::{Racing, speculate};

/// How often a job is passed over for affinity.
pub const MAX_PASSED_OVER: u32 = 8;
/// How long a job is passed over for affinity.
pub const MAX_PASSED_MS: i64 = 30_000;
/// The estimates of one circuit's jobs in one call, when there are several.
pub const BATCH_MS: u64 = 60_000;
/// A node with a lower score gets BATCH jobs and speculative copies only.
pub const LOW_SCORE: f64 = 0.3;
/// Circuits named in [`Plan::prefetch`].
const MAX_PREFETCH: usize = 2;

/// What the scheduler decides from.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The database's time.
    pub now: Millis,
    /// Jobs in the queue.
    pub jobs: Vec<Waiting>,
    /// Nodes that are known.
    pub nodes: Vec<Candidate>,
    /// Tenants that may run jobs; a job of another tenant waits.
    pub tenants: BTreeMap<TenantId, Share>,
    /// Attempts at BATCH jobs that run.
    pub batch_running: u32,
    /// Leases given since the last one of a BATCH job.
    pub leases_since_batch: u32,
}

/// A job in the queue.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The job.
    pub job: JobId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its circuit.
    pub circuit: CircuitId,
    /// Its proof system.
    pub backend: Backend,
    /// Its class.
    pub priority: Priority,
    /// When it was created.
    pub created_at: Millis,
    /// Not before this.
    pub not_before: Millis,
    /// What a proof needs.
    pub needs: Resources,
    /// The least trust in a node that may see its input.
    pub min_trust: Trust,
    /// The node must be in one of these; empty: anywhere.
    pub pools: Vec<String>,
    /// Nodes that it does not go to again.
    pub excluded: Vec<NodeId>,
    /// Estimated time of the proof.
    pub estimated_ms: u64,
    /// Estimated time to load its key where it is not loaded.
    pub key_load_ms: u64,
    /// How often [`Plan::passed_over`] named it.
    pub passed_over: u32,
    /// When [`Plan::passed_over`] or [`Plan::held`] first named it.
    pub passed_since: Option<Millis>,
    /// The least trust of nodes that may take it with a low score, too: there is no better one, or it waited long. `None`: no such node.
    pub low_score_from: Option<Trust>,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name.
    pub node: NodeId,
    /// OFFLINE when it was not heard of in time.
    pub state: NodeState,
    /// How far it is trusted.
    pub trust: Trust,
    /// The pools it belongs to.
    pub pools: Vec<String>,
    /// The proof systems it proves.
    pub backends: Vec<Backend>,
    /// What it has.
    pub total: Resources,
    /// What is not taken.
    pub free: Resources,
    /// Proofs at a time.
    pub slots: u32,
    /// Slots that are not taken.
    pub free_slots: u32,
    /// The keys it holds.
    pub keys: Vec<KeyResidency>,
    /// 0..1: how well it did.
    pub score: f64,
}

impl Candidate {
    /// How near the key of `circuit` is.
    fn tier(&self, circuit: CircuitId) -> Option<Tier> {
        let keys = self.keys.iter().filter(|k| k.circuit == circuit);
        keys.map(|k| k.tier).max()
    }
}

/// A tenant's part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Its weight.
    pub weight: f64,
    /// Its virtual time.
    pub vtime: f64,
    /// Attempts that run.
    pub running: u32,
    /// The most that may.
    pub max_running: u32,
}

/// What a node gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Jobs to lease to it, in this order.
    pub picks: Vec<JobId>,
    /// Jobs whose turn it was and before which another was taken for affinity: one more in `passed_over`, `passed_since` set once.
    pub passed_over: Vec<JobId>,
    /// Jobs whose turn it was and that wait for a node that has their key loaded: `passed_since` set once.
    pub held: Vec<JobId>,
    /// Circuits whose keys the node may load ahead of work.
    pub prefetch: Vec<CircuitId>,
    /// When a job that waits could become the node's without any other change: ask again then.
    pub retry_at: Option<Millis>,
}

/// The jobs that `node` gets, at most `max` and its free slots.
pub fn plan(snapshot: &Snapshot, node: NodeId, max: u32) -> Plan {
    let Some(node) = snapshot.nodes.iter().find(|n| n.node == node) else {
        return Plan::default();
    };
    let mut board = Board::new(snapshot, node, max);
    while board.slots > 0 && board.step() {}
    board.finish()
}

/// Where one step leads.
enum Choice {
    Take(usize),
    /// Its turn, but another node has its key loaded.
    Hold(usize, filter::Hold),
    Stop,
}

/// A job that the node could take.
struct Entry<'a> {
    job: &'a Waiting,
    class: Priority,
    tier: Option<Tier>,
    hold: Option<filter::Hold>,
}

impl Entry<'_> {
    fn key(&self) -> (Millis, JobId) {
        (self.job.created_at, self.job.job)
    }
}

/// A plan in the making.
struct Board<'a> {
    snapshot: &'a Snapshot,
    node: &'a Candidate,
    /// Oldest first; what is taken or held leaves.
    entries: Vec<Entry<'a>>,
    tenants: BTreeMap<TenantId, Share>,
    slots: u32,
    free: Resources,
    /// Estimates of what this call takes, by circuit.
    taken_ms: BTreeMap<CircuitId, u64>,
    /// Jobs held for slots that are free on other nodes.
    elsewhere: BTreeMap<CircuitId, u32>,
    batch_running: u32,
    since_batch: u32,
    passed: BTreeSet<JobId>,
    plan: Plan,
}

impl<'a> Board<'a> {
    fn new(snapshot: &'a Snapshot, node: &'a Candidate, max: u32) -> Self {
        let mut plan = Plan::default();
        let mut entries = Vec::new();
        for job in &snapshot.jobs {
            if filter::fits(job, node).is_err() {
                continue;
            }
            match filter::ready(job, snapshot) {
                Ok(()) => entries.push(Entry {
                    job,
                    class: fair::class(job.priority, job.created_at, snapshot.now),
                    tier: node.tier(job.circuit),
                    hold: filter::hold(job, node, snapshot),
                }),
                Err(Delay::Backoff { until, .. }) => earlier(&mut plan.retry_at, until),
                Err(_) => {}
            }
        }
        entries.sort_by_key(Entry::key);
        entries.dedup_by_key(|e| e.job.job);
        Self {
            snapshot,
            node,
            entries,
            tenants: snapshot.tenants.clone(),
            slots: node.free_slots.min(max),
            free: node.free,
            taken_ms: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            batch_running: snapshot.batch_running,
            since_batch: snapshot.leases_since_batch,
            passed: BTreeSet::new(),
            plan,
        }
    }

    /// One decision; `false` when there is nothing more to decide.
    fn step(&mut self) -> bool {
        match self.choose() {
            Choice::Take(i) => self.take(i),
            Choice::Hold(i, hold) => self.hold(i, hold),
            Choice::Stop => return false,
        }
        true
    }

    /// How near the key is; one that this call makes the node load counts as loaded.
    fn nearness(&self, entry: &Entry<'_>) -> u8 {
        let loading = self.taken_ms.contains_key(&entry.job.circuit);
        match entry.tier {
            Some(Tier::Vram) => 3,
            Some(Tier::Ram) => 2,
            _ if loading => 2,
            Some(Tier::Disk) => 1,
            None => 0,
        }
    }

    /// The other node for which the job waits.
    fn waits_for(&self, entry: &Entry<'_>) -> Option<filter::Hold> {
        entry.hold.filter(|_| self.nearness(entry) < 2)
    }

    fn vtime(&self, entry: &Entry<'_>) -> f64 {
        let share = self.tenants.get(&entry.job.tenant);
        share.map_or(f64::MAX, |s| s.vtime)
    }

    /// The order without affinity, within a class.
    fn order(&self, a: &Entry<'_>, b: &Entry<'_>) -> Ordering {
        let vtimes = self.vtime(a).total_cmp(&self.vtime(b));
        vtimes.then_with(|| a.key().cmp(&b.key()))
    }

    /// Whether the node has room for it and its tenant may run one more.
    fn is_open(&self, entry: &Entry<'_>) -> bool {
        let share = self.tenants.get(&entry.job.tenant);
        share.is_some_and(|s| s.running < s.max_running)
            && filter::room(entry.job, self.node, &self.free).is_ok()
    }

    /// Whether this call may take one more of the circuit.
    fn within_batch(&self, job: &Waiting) -> bool {
        let taken = self.taken_ms.get(&job.circuit);
        taken.is_none_or(|ms| ms.saturating_add(job.estimated_ms) <= BATCH_MS)
    }

    fn choose(&self) -> Choice {
        let open = |&i: &usize| self.is_open(&self.entries[i]);
        let open: Vec<usize> = (0..self.entries.len()).filter(open).collect();
        if fair::batch_is_due(self.snapshot, self.batch_running, self.since_batch) {
            let batch = |&i: &usize| {
                let entry = &self.entries[i];
                entry.job.priority == Priority::Batch && self.waits_for(entry).is_none()
            };
            let batch: Vec<usize> = open.iter().copied().filter(batch).collect();
            if !batch.is_empty() {
                return self.among(&batch);
            }
        }
        let top = open.iter().map(|&i| self.entries[i].class).max();
        let of_top = |&i: &usize| Some(self.entries[i].class) == top;
        let of_top: Vec<usize> = open.into_iter().filter(of_top).collect();
        self.among(&of_top)
    }

    /// Decides among jobs of one class.
    fn among(&self, candidates: &[usize]) -> Choice {
        let by_turn = |&a: &usize, &b: &usize| self.order(&self.entries[a], &self.entries[b]);
        let Some(turn) = candidates.iter().copied().min_by(by_turn) else {
            return Choice::Stop;
        };
        let head = &self.entries[turn];
        if !self.within_batch(head.job) {
            return Choice::Stop;
        }
        if filter::is_spent(head.job, self.snapshot.now) {
            return Choice::Take(turn);
        }
        let reach = self.vtime(head) + filter::slack_ms(head.job) as f64;
        let near = candidates.iter().copied().filter(|&i| {
            let entry = &self.entries[i];
            let of_batch = self.taken_ms.contains_key(&entry.job.circuit);
            i == turn
                || (of_batch || self.vtime(entry) <= reach)
                    && self.within_batch(entry.job)
                    && self.waits_for(entry).is_none()
        });
        let nearest = near.min_by(|&a, &b| {
            let (a, b) = (&self.entries[a], &self.entries[b]);
            let nearness = self.nearness(b).cmp(&self.nearness(a));
            nearness.then_with(|| self.order(a, b))
        });
        match (nearest.unwrap_or(turn), self.waits_for(head)) {
            (chosen, Some(hold)) if chosen == turn => Choice::Hold(turn, hold),
            (chosen, _) => Choice::Take(chosen),
        }
    }

    fn hold(&mut self, i: usize, hold: filter::Hold) {
        let job = self.entries.remove(i).job;
        self.plan.held.push(job.job);
        earlier(&mut self.plan.retry_at, hold.until);
        let elsewhere = self.elsewhere.entry(job.circuit).or_default();
        if *elsewhere < hold.free_slots {
            *elsewhere += 1;
        } else {
            // It may still come here: its slot waits with it, lest a job of a lower class takes it.
            self.slots -= 1;
        }
    }

    fn take(&mut self, i: usize) {
        let taken = &self.entries[i];
        // Whose turn it was.
        let before = self.entries.iter().filter(|e| {
            e.class == taken.class && self.is_open(e) && self.order(e, taken) == Ordering::Less
        });
        let head = before.min_by(|a, b| self.order(a, b)).map(|e| e.job.job);
        self.passed.extend(head);
        let job = self.entries.remove(i).job;
        self.slots -= 1;
        self.free = filter::without(&self.free, &job.needs);
        if let Some(share) = self.tenants.get_mut(&job.tenant) {
            share.vtime += fair::charge(job.estimated_ms, share.weight);
            share.running = share.running.saturating_add(1);
        }
        let taken = self.taken_ms.entry(job.circuit).or_default();
        *taken = taken.saturating_add(job.estimated_ms);
        if job.priority == Priority::Batch {
            self.batch_running = self.batch_running.saturating_add(1);
            self.since_batch = 0;
        } else {
            self.since_batch = self.since_batch.saturating_add(1);
        }
        self.plan.picks.push(job.job);
    }

    fn finish(mut self) -> Plan {
        let named = |job: &JobId| self.plan.picks.contains(job);
        self.passed.retain(|job| !named(job));
        self.plan.passed_over = self.passed.iter().copied().collect();
        self.plan.prefetch = self.prefetch();
        self.plan
    }

    /// Circuits with more work in the queue, for each node that would then have the key loaded, than loading it takes.
    fn prefetch(&self) -> Vec<CircuitId> {
        let mut demand: BTreeMap<CircuitId, (u64, u64)> = BTreeMap::new();
        for Entry { job, .. } in &self.entries {
            let (work, load) = demand.entry(job.circuit).or_default();
            *work = work.saturating_add(job.estimated_ms);
            *load = job.key_load_ms.max(*load);
        }
        let is_loaded = |n: &Candidate, circuit| n.tier(circuit).is_some_and(|t| t >= Tier::Ram);
        let mut wanted: Vec<(u64, CircuitId)> = Vec::new();
        for (circuit, (work, load)) in demand {
            if is_loaded(self.node, circuit) || self.taken_ms.contains_key(&circuit) {
                continue;
            }
            let others = self.snapshot.nodes.iter();
            let holds = |n: &&Candidate| n.state == NodeState::Active && is_loaded(n, circuit);
            let each = work / (others.filter(holds).count() as u64 + 1);
            if each > load {
                wanted.push((each, circuit));
            }
        }
        wanted.sort_by_key(|&(each, circuit)| (Reverse(each), circuit));
        wanted.truncate(MAX_PREFETCH);
        wanted.into_iter().map(|(_, circuit)| circuit).collect()
    }
}

fn earlier(at: &mut Option<Millis>, other: Millis) {
    *at = Some(at.map_or(other, |t| t.min(other)));
}
