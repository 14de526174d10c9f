//! Why a job waits: for every node the sentence of the rule that keeps the job from it.

use super::{Candidate, Delay, Refusal, Snapshot, Waiting, fair, filter};
use crate::store::{JobId, Millis, NodeId, NodeState, Tier};

/// What the scheduler thinks of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Of every node, by name.
    pub verdicts: Vec<NodeVerdict>,
    /// In short.
    pub pending: Pending,
}

/// Whether a node would take a job.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeVerdict {
    /// The node.
    pub node: NodeId,
    /// Whether it takes the job when it asks and no other job goes first.
    pub eligible: bool,
    /// A sentence.
    pub reason: String,
    /// The node's score.
    pub score: f64,
}

/// Why a job waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The kind.
    pub kind: PendingKind,
    /// A sentence.
    pub detail: String,
    /// Jobs that go before it.
    pub jobs_ahead: u32,
    /// When it is tried again, where that is known.
    pub next_try: Option<Millis>,
}

/// The kinds of reasons, with the numbers of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PendingKind {
    /// Other jobs go first, or all slots that it could have are taken.
    WaitingForTurn = 1,
    /// No node takes work.
    NoNodeOnline = 2,
    /// No node has what a proof needs.
    NoNodeBigEnough = 3,
    /// No node proves its system.
    NoNodeForBackend = 4,
    /// Its tenant runs as many as it may.
    TenantConcurrency = 5,
    /// It failed and is tried again later.
    Backoff = 6,
    /// Its circuit is not READY.
    CircuitNotReady = 7,
    /// Every node that could take it may not.
    AllNodesExcluded = 8,
}

impl PendingKind {
    /// The number in the API.
    pub fn code(self) -> i32 {
        self as i32
    }

    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::WaitingForTurn => "WAITING_FOR_TURN",
            Self::NoNodeOnline => "NO_NODE_ONLINE",
            Self::NoNodeBigEnough => "NO_NODE_BIG_ENOUGH",
            Self::NoNodeForBackend => "NO_NODE_FOR_BACKEND",
            Self::TenantConcurrency => "TENANT_CONCURRENCY",
            Self::Backoff => "BACKOFF",
            Self::CircuitNotReady => "CIRCUIT_NOT_READY",
            Self::AllNodesExcluded => "ALL_NODES_EXCLUDED",
        }
    }
}

/// Why `job` waits; `None` when it is not in the snapshot.
pub fn explain(snapshot: &Snapshot, job: JobId) -> Option<Explanation> {
    let job = snapshot.jobs.iter().find(|j| j.job == job)?;
    let mut nodes: Vec<&Candidate> = snapshot.nodes.iter().collect();
    nodes.sort_by_key(|n| n.node);
    nodes.dedup_by_key(|n| n.node);
    let verdicts = nodes.iter().map(|node| {
        let (eligible, reason) = match verdict(job, node, snapshot) {
            Ok(reason) => (true, reason),
            Err(reason) => (false, reason),
        };
        NodeVerdict {
            node: node.node,
            eligible,
            reason,
            score: node.score,
        }
    });
    Some(Explanation {
        verdicts: verdicts.collect(),
        pending: pending(job, &nodes, snapshot),
    })
}

/// Why `node` takes `job`, or why it does not.
fn verdict(job: &Waiting, node: &Candidate, snapshot: &Snapshot) -> Result<String, String> {
    filter::fits(job, node).map_err(|e| e.to_string())?;
    filter::ready(job, snapshot).map_err(|e| e.to_string())?;
    now(job, node, snapshot).map_err(|e| e.to_string())?;
    Ok(match node.tier(job.circuit) {
        Some(Tier::Vram) => "takes it; its key is on the GPU".to_owned(),
        Some(Tier::Ram) => "takes it; its key is loaded".to_owned(),
        tier => {
            let place = tier.map_or("not there yet", |_| "on disk");
            let load = job.key_load_ms as f64 / 1000.0;
            format!("takes it; its key is {place}, loading it takes about {load:.1} s")
        }
    })
}

/// What keeps `job` from a node that fits it.
fn now(job: &Waiting, node: &Candidate, snapshot: &Snapshot) -> Result<(), Refusal> {
    if node.free_slots == 0 {
        return Err(Refusal::NoFreeSlot { slots: node.slots });
    }
    filter::room(job, node, &node.free)?;
    match filter::hold(job, node, snapshot) {
        Some(hold) => Err(Refusal::Held {
            node: hold.node,
            wait_ms: hold.until.saturating_sub(snapshot.now),
        }),
        None => Ok(()),
    }
}

fn pending(job: &Waiting, nodes: &[&Candidate], snapshot: &Snapshot) -> Pending {
    let jobs_ahead = fair::ahead(snapshot, job);
    let (kind, detail, next_try) = match unable(job, nodes) {
        Some((kind, detail)) => (kind, detail, None),
        None => match filter::ready(job, snapshot) {
            Err(delay) => {
                let (kind, next) = match delay {
                    Delay::Backoff { until, .. } => (PendingKind::Backoff, Some(until)),
                    _ => (PendingKind::TenantConcurrency, None),
                };
                (kind, format!("{delay}"), next)
            }
            Ok(()) => turn(job, nodes, snapshot, jobs_ahead),
        },
    };
    Pending {
        kind,
        detail,
        jobs_ahead,
        next_try,
    }
}

/// Narrows the nodes rule by rule; the rule that leaves none is the reason.
fn unable(job: &Waiting, nodes: &[&Candidate]) -> Option<(PendingKind, String)> {
    let of = |n: usize| {
        if n == 1 {
            "1 node".to_owned()
        } else {
            format!("{n} nodes")
        }
    };
    let online = |n: &&Candidate| n.state == NodeState::Active;
    let active: Vec<&Candidate> = nodes.iter().copied().filter(online).collect();
    if active.is_empty() {
        let detail = match nodes.len() {
            0 => "no node ever joined".to_owned(),
            n => format!("none of {} takes work", of(n)),
        };
        return Some((PendingKind::NoNodeOnline, detail));
    }
    let proves = |n: &&Candidate| n.backends.contains(&job.backend);
    let able: Vec<&Candidate> = active.iter().copied().filter(proves).collect();
    if able.is_empty() {
        let detail = format!("none of {} proves {}", of(active.len()), job.backend);
        return Some((PendingKind::NoNodeForBackend, detail));
    }
    let refusals: Vec<(&Candidate, Option<Refusal>)> = able
        .iter()
        .map(|n| (*n, filter::fits(job, n).err()))
        .collect();
    let is_small = |r: &Option<Refusal>| {
        matches!(
            r,
            Some(Refusal::TooSmall { .. } | Refusal::TooFewThreads { .. })
        )
    };
    let big: Vec<&(&Candidate, Option<Refusal>)> =
        refusals.iter().filter(|(_, r)| !is_small(r)).collect();
    if big.is_empty() {
        return Some((PendingKind::NoNodeBigEnough, too_small(&refusals)));
    }
    if big.iter().any(|(_, r)| r.is_none()) {
        return None;
    }
    // The least node's words stand for all.
    let words = big.iter().find_map(|(_, r)| r.as_ref());
    let words = words.map(ToString::to_string).unwrap_or_default();
    let detail = match big.len() {
        1 => format!("the only node that could take it does not: {words}"),
        n => format!("none of {n} nodes that could take it does; the first: {words}"),
    };
    Some((PendingKind::AllNodesExcluded, detail))
}

/// What is short on the node that is nearest to enough.
fn too_small(refusals: &[(&Candidate, Option<Refusal>)]) -> String {
    let short = |r: &Refusal| match r {
        Refusal::TooSmall { needs, has, .. } => *has as f64 / *needs as f64,
        Refusal::TooFewThreads { needs, has } => f64::from(*has) / f64::from(*needs),
        _ => 0.0,
    };
    let refusals = refusals.iter().filter_map(|(_, r)| r.as_ref());
    let nearest = refusals.max_by(|a, b| short(a).total_cmp(&short(b)));
    match nearest {
        Some(Refusal::TooSmall { what, needs, has }) => format!(
            "needs {} of {what}, the largest node has {}",
            filter::bytes(*needs),
            filter::bytes(*has)
        ),
        Some(Refusal::TooFewThreads { needs, has }) => {
            format!("needs {needs} threads, the largest node has {has}")
        }
        _ => String::new(),
    }
}

/// A job that some node could take.
fn turn(
    job: &Waiting,
    nodes: &[&Candidate],
    snapshot: &Snapshot,
    ahead: u32,
) -> (PendingKind, String, Option<Millis>) {
    let fitting = nodes.iter().filter(|n| filter::fits(job, n).is_ok());
    let refusals: Vec<Option<Refusal>> = fitting.map(|n| now(job, n, snapshot).err()).collect();
    let free = refusals.iter().filter(|r| r.is_none()).count();
    let wait = refusals.iter().filter_map(|r| match r {
        Some(Refusal::Held { wait_ms, .. }) => Some(snapshot.now.saturating_add(*wait_ms)),
        _ => None,
    });
    let detail = match (refusals.len(), free) {
        (1, 0) => "the node that can take it is busy".to_owned(),
        (n, 0) => format!("all {n} nodes that can take it are busy"),
        (_, 1) => "1 node has room for it".to_owned(),
        (_, free) => format!("{free} nodes have room for it"),
    };
    let first = match ahead {
        0 => "it is next".to_owned(),
        1 => "1 job goes first".to_owned(),
        n => format!("{n} jobs go first"),
    };
    let next_try = if free == 0 { wait.min() } else { None };
    (
        PendingKind::WaitingForTurn,
        format!("{first}; {detail}"),
        next_try,
    )
}
