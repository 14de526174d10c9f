//! From what the store sees to what the scheduler decides on: free slots, estimates, and which nodes a job does not go to again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    Farm,
    scheduler::{
        Candidate, Explanation, LOW_SCORE, NodeClass, Pending, PendingKind, Racing, Share,
        Snapshot, TimeModel, Waiting, can_prove, explain, fits,
    },
};
use crate::store::{
    AttemptOutcome, CircuitId, FailureClass, FarmView, Job, JobId, JobKind, JobState, KeyResidency,
    Millis, Node, NodeId, NodeView, Resources, RunningJob, StoreError, Tier, Tried, Trust,
    WaitingJob,
};

/// How long a job waits for a better node than one that failed it, or whose score is low.
const PATIENCE_MS: i64 = 120_000;
/// Bytes of a key that a node loads in a millisecond, until a node says how long it took.
const KEY_BYTES_A_MS: u64 = 500_000;

/// The farm at one moment.
#[derive(Debug)]
pub(super) struct Outlook {
    pub(super) snapshot: Snapshot,
    pub(super) running: Vec<Racing>,
    pub(super) nodes: Vec<Node>,
    /// When the next job becomes due that is not.
    pub(super) next_due: Option<Millis>,
}

/// What a node says is free, beside what the store knows.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    pub(super) node: NodeId,
    pub(super) free: Resources,
    pub(super) keys: Vec<KeyResidency>,
}

/// Builds what the scheduler decides on.
pub(super) fn outlook(
    view: FarmView,
    model: &TimeModel,
    ttl_ms: i64,
    since_batch: u32,
    asking: Option<&Asking>,
) -> Outlook {
    let loads = key_loads(&view.nodes);
    let mut nodes: Vec<Candidate> = view
        .nodes
        .iter()
        .map(|node| candidate(node, &view.running, view.now, ttl_ms))
        .collect();
    if let Some(asking) = asking
        && let Some(node) = nodes.iter_mut().find(|n| n.node == asking.node)
    {
        node.keys.clone_from(&asking.keys);
        node.free = Resources {
            ram_bytes: node.free.ram_bytes.min(asking.free.ram_bytes),
            vram_bytes: node.free.vram_bytes.min(asking.free.vram_bytes),
            disk_bytes: node.free.disk_bytes.min(asking.free.disk_bytes),
            cpu_threads: node.free.cpu_threads,
        };
        // The bundles of the node of this process lie where the gateway keeps them.
        if view
            .nodes
            .iter()
            .any(|n| n.node.id == node.node && n.node.public_key.is_empty())
        {
            node.free.disk_bytes = u64::MAX;
        }
    }
    let now = view.now;
    let turn = |job: WaitingJob| waiting(job, model, &loads, &nodes, now);
    let mut batch_running = 0;
    let classes: HashMap<NodeId, NodeClass> = view
        .nodes
        .iter()
        .map(|n| (n.node.id, NodeClass::of(&n.node.capabilities)))
        .collect();
    let running = view
        .running
        .into_iter()
        .map(|job| {
            let RunningJob { job, attempts } = job;
            batch_running += u32::from(job.priority == crate::store::Priority::Batch);
            let oldest = attempts.first();
            let estimate = job.estimated_ms;
            let expected = match oldest.and_then(|a| classes.get(&a.node?)) {
                Some(class) => model.predict(job.circuit, class, estimate),
                None => model.predict_any(job.circuit, estimate),
            };
            Racing {
                nodes: attempts.iter().filter_map(|a| a.node).collect(),
                tried: job.tried.iter().map(|t| t.node).collect(),
                elapsed_ms: oldest.map_or(0, |a| now.saturating_sub(a.leased_at).max(0) as u64),
                expected,
                job: turn(job),
            }
        })
        .collect();
    let jobs = view.waiting.into_iter().map(turn).collect();
    let tenants: BTreeMap<_, _> = view
        .tenants
        .iter()
        .map(|t| {
            let share = Share {
                weight: t.weight,
                vtime: t.vtime,
                running: t.running,
                max_running: t.max_running,
            };
            (t.tenant, share)
        })
        .collect();
    Outlook {
        snapshot: Snapshot {
            now,
            jobs,
            nodes,
            tenants,
            batch_running,
            leases_since_batch: since_batch,
        },
        running,
        nodes: view.nodes.into_iter().map(|n| n.node).collect(),
        next_due: view.next_due,
    }
}

/// How long loading the key of a circuit took where it was loaded, on average, as trusted nodes say.
fn key_loads(nodes: &[NodeView]) -> HashMap<CircuitId, u64> {
    let mut sums: HashMap<CircuitId, (u64, u64)> = HashMap::new();
    let loaded = nodes
        .iter()
        .filter(|n| n.node.trust >= Trust::Vetted)
        .flat_map(|n| &n.keys)
        .filter(|k| k.tier > Tier::Disk && k.load_ms > 0);
    for key in loaded {
        let (sum, count) = sums.entry(key.circuit).or_default();
        *sum = sum.saturating_add(key.load_ms);
        *count += 1;
    }
    sums.into_iter()
        .map(|(circuit, (sum, count))| (circuit, sum / count))
        .collect()
}

fn candidate(view: &NodeView, running: &[RunningJob], now: Millis, ttl_ms: i64) -> Candidate {
    let node = &view.node;
    let mut total = node.capabilities.total;
    if node.public_key.is_empty() {
        total.disk_bytes = u64::MAX;
    }
    let taken = running
        .iter()
        .filter(|r| r.attempts.iter().any(|a| a.node == Some(node.id)))
        .fold(0u64, |sum, r| sum.saturating_add(r.job.ram_bytes));
    Candidate {
        node: node.id,
        state: node.state_at(now, ttl_ms),
        trust: node.trust,
        pools: node.pools.clone(),
        backends: node.capabilities.backends.clone(),
        total,
        free: Resources {
            ram_bytes: total.ram_bytes.saturating_sub(taken),
            ..total
        },
        slots: node.slots(),
        free_slots: node.slots().saturating_sub(node.running),
        keys: view.keys.clone(),
        score: node.score,
    }
}

fn waiting(
    job: WaitingJob,
    model: &TimeModel,
    loads: &HashMap<CircuitId, u64>,
    nodes: &[Candidate],
    now: Millis,
) -> Waiting {
    let key_load_ms = loads.get(&job.circuit).copied();
    let tried = job.tried;
    let mut waiting = Waiting {
        job: job.job,
        tenant: job.tenant,
        circuit: job.circuit,
        backend: job.backend,
        priority: job.priority,
        created_at: job.created_at,
        not_before: job.not_before,
        needs: Resources {
            ram_bytes: job.ram_bytes,
            disk_bytes: job.key_bytes,
            ..Resources::default()
        },
        min_trust: job.min_trust,
        pools: job.pools,
        excluded: Vec::new(),
        low_score_from: None,
        estimated_ms: model.predict_any(job.circuit, job.estimated_ms).p50_ms,
        key_load_ms: key_load_ms.unwrap_or(job.key_bytes / KEY_BYTES_A_MS),
        passed_over: job.passed_over,
        passed_since: job.passed_since,
    };
    let mut better = nodes.iter().filter(|n| n.score >= LOW_SCORE);
    let alone = !better.any(|n| can_prove(&waiting, n).is_ok());
    // A node that could take the job and does not keeps nobody out for long, but UNTRUSTED ones whose word is that they failed: they may come
    // again and again, and the job's budget is what they use up.
    let ended = tried.iter().map(|t| t.ended_at).max().unwrap_or(0);
    let since = ended.max(waiting.created_at).max(waiting.not_before);
    let long = now.saturating_sub(since) >= PATIENCE_MS;
    waiting.low_score_from = match (alone, long) {
        (true, _) => Some(Trust::Untrusted),
        (false, true) => Some(Trust::Vetted),
        (false, false) => None,
    };
    let suspect = |node: NodeId| {
        let known = nodes.iter().find(|n| n.node == node);
        known.is_none_or(|n| n.trust < Trust::Vetted)
    };
    let tried: Vec<Tried> = tried
        .into_iter()
        .filter(|t| !long || t.outcome == AttemptOutcome::Failed && suspect(t.node))
        .collect();
    waiting.excluded = excluded(&waiting, &tried, nodes);
    waiting
}

/// The nodes that a job does not go to again: those that failed it, lost it, or handed it back twice, as long as another node may take it. When
/// every one of them lost it, only those that failed stay out; when every one of them failed, the last one does, unless it is alone.
fn excluded(job: &Waiting, tried: &[Tried], nodes: &[Candidate]) -> Vec<NodeId> {
    let failed = |t: &&Tried| {
        t.outcome == AttemptOutcome::Failed && t.class != Some(FailureClass::Cancelled)
    };
    let failed: Vec<NodeId> = tried.iter().filter(failed).map(|t| t.node).collect();
    let lost = tried.iter().filter(|t| {
        t.outcome == AttemptOutcome::Lost || t.outcome == AttemptOutcome::Released && t.times > 1
    });
    let all: BTreeSet<NodeId> = lost.map(|t| t.node).chain(failed.iter().copied()).collect();
    let able: Vec<NodeId> = nodes
        .iter()
        .filter(|n| fits(job, n).is_ok())
        .map(|n| n.node)
        .collect();
    if able.iter().any(|n| !all.contains(n)) {
        return all.into_iter().collect();
    }
    if able.iter().any(|n| !failed.contains(n)) {
        return failed
            .iter()
            .copied()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
    }
    match failed.last() {
        Some(last) if able.iter().any(|n| n != last) => vec![*last],
        _ => Vec::new(),
    }
}

impl Farm {
    /// What the scheduler thinks of a job that waits; `None` when it does not wait for a node.
    ///
    /// # Errors
    /// The store failed.
    pub async fn explain(&self, job: JobId) -> Result<Option<Explanation>, StoreError> {
        let outlook = self.look(&[job], None).await?;
        Ok(explain(&outlook.snapshot, job))
    }

    /// Why each of `jobs` waits that does.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) async fn pending(
        &self,
        jobs: &[&Job],
    ) -> Result<HashMap<JobId, Pending>, StoreError> {
        let queued: Vec<&&Job> = jobs
            .iter()
            .filter(|j| j.state == JobState::Queued)
            .collect();
        let proofs: Vec<JobId> = queued
            .iter()
            .filter(|j| j.kind == JobKind::Prove)
            .map(|j| j.id)
            .collect();
        let outlook = match proofs.is_empty() {
            true => None,
            false => Some(self.look(&proofs, None).await?),
        };
        let now = self.store.now().await?;
        let mut pending = HashMap::new();
        for job in queued {
            let told = outlook
                .as_ref()
                .and_then(|o| explain(&o.snapshot, job.id))
                .map(|e| e.pending);
            let told = match told {
                Some(told) => told,
                // The gateway's own turn, or it was taken between two looks.
                None => own_turn(job, now, self.store.jobs_ahead(job).await?),
            };
            pending.insert(job.id, told);
        }
        Ok(pending)
    }

    /// The farm now; `also` are among the jobs when they wait.
    pub(super) async fn look(
        &self,
        also: &[JobId],
        asking: Option<&Asking>,
    ) -> Result<Outlook, StoreError> {
        let view = self.store.view(also).await?;
        let ttl_ms = self.limits.lease_ttl_ms();
        let model = self
            .model
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(outlook(view, &model, ttl_ms, self.since_batch(), asking))
    }
}

fn own_turn(job: &Job, now: Millis, ahead: u32) -> Pending {
    if job.not_before > now {
        return Pending {
            kind: PendingKind::Backoff,
            detail: "waits before it is tried again".to_owned(),
            jobs_ahead: ahead,
            next_try: Some(job.not_before),
        };
    }
    Pending {
        kind: PendingKind::WaitingForTurn,
        detail: format!("{ahead} jobs go first"),
        jobs_ahead: ahead,
        next_try: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Backend, NodeState, Priority, TenantId, Tried, Trust};

    fn node(trust: Trust) -> Candidate {
        Candidate {
            node: NodeId::fresh(),
            state: NodeState::Active,
            trust,
            pools: Vec::new(),
            backends: vec![Backend::UltraGroth],
            total: Resources::default(),
            free: Resources::default(),
            slots: 1,
            free_slots: 1,
            keys: Vec::new(),
            score: 1.0,
        }
    }

    /// Whom a job does not go to again a second after `tried`.
    fn excluded(job: WaitingJob, nodes: &[Candidate]) -> Vec<NodeId> {
        turn(job, nodes, 1000).excluded
    }

    fn turn(job: WaitingJob, nodes: &[Candidate], now: Millis) -> Waiting {
        waiting(job, &TimeModel::default(), &HashMap::new(), nodes, now)
    }

    fn job(min_trust: Trust, tried: &[(&Candidate, AttemptOutcome)]) -> WaitingJob {
        let tried = tried.iter().map(|(node, outcome)| Tried {
            node: node.node,
            outcome: *outcome,
            class: (*outcome == AttemptOutcome::Failed).then_some(FailureClass::NodeFault),
            times: 1,
            ended_at: 0,
        });
        WaitingJob {
            job: JobId::fresh(),
            tenant: TenantId::DEFAULT,
            circuit: CircuitId::fresh(),
            backend: Backend::UltraGroth,
            priority: Priority::Normal,
            created_at: 0,
            not_before: 0,
            ram_bytes: 0,
            key_bytes: 0,
            estimated_ms: 1,
            min_trust,
            pools: Vec::new(),
            passed_over: 0,
            passed_since: None,
            tried: tried.collect(),
        }
    }

    #[test]
    fn a_job_does_not_go_again_to_a_node_that_failed_or_lost_it_while_another_may_take_it() {
        use AttemptOutcome::{Failed, Lost, Released};
        let nodes = [node(Trust::Owned), node(Trust::Owned), node(Trust::Owned)];
        let [a, b, _] = &nodes;
        let mut both = excluded(job(Trust::Untrusted, &[(a, Failed), (b, Lost)]), &nodes);
        both.sort();
        let mut wanted = vec![a.node, b.node];
        wanted.sort();
        assert_eq!(both, wanted);
        assert!(excluded(job(Trust::Untrusted, &[(a, Released)]), &nodes).is_empty());
    }

    #[test]
    fn a_job_does_not_go_again_to_a_node_that_handed_it_back_twice() {
        let nodes = [node(Trust::Owned), node(Trust::Owned)];
        let mut twice = job(Trust::Untrusted, &[(&nodes[0], AttemptOutcome::Released)]);
        twice.tried[0].times = 2;
        assert_eq!(excluded(twice, &nodes), [nodes[0].node]);
    }

    #[test]
    fn a_node_that_may_not_take_a_job_keeps_no_other_one_out() {
        let low = Candidate {
            score: 0.2,
            ..node(Trust::Owned)
        };
        let small = Candidate {
            total: Resources::default(),
            ..node(Trust::Owned)
        };
        for other in [low, small] {
            let mut able = node(Trust::Owned);
            able.total.disk_bytes = 1;
            let nodes = [able, other];
            let mut lost = job(Trust::Untrusted, &[(&nodes[0], AttemptOutcome::Lost)]);
            lost.key_bytes = u64::from(nodes[1].score == 1.0);
            assert!(excluded(lost, &nodes).is_empty());
        }
    }

    #[test]
    fn a_node_that_could_take_a_job_and_does_not_keeps_others_out_for_two_minutes_only() {
        let idle = node(Trust::Untrusted);
        let nodes = [node(Trust::Owned), idle];
        let lost = job(Trust::Untrusted, &[(&nodes[0], AttemptOutcome::Lost)]);
        let early = turn(lost.clone(), &nodes, PATIENCE_MS - 1);
        assert_eq!(early.excluded, [nodes[0].node]);
        assert!(turn(lost, &nodes, PATIENCE_MS).excluded.is_empty());
        // But not for those whose word is all there is against them.
        let failed = job(Trust::Untrusted, &[(&nodes[1], AttemptOutcome::Failed)]);
        let later = turn(failed.clone(), &nodes, 100 * PATIENCE_MS);
        assert_eq!(later.excluded, [nodes[1].node]);
        assert!(turn(failed, &nodes[1..], 0).excluded.is_empty(), "alone");
    }

    #[test]
    fn a_node_with_a_low_score_works_when_no_better_one_can() {
        let low = Candidate {
            score: 0.0,
            ..node(Trust::Owned)
        };
        let private = job(Trust::Vetted, &[]);
        let nodes = [low.clone(), node(Trust::Untrusted)];
        assert!(fits(&turn(private.clone(), &nodes, 0), &low).is_ok());
        let nodes = [low.clone(), node(Trust::Vetted)];
        assert!(fits(&turn(private.clone(), &nodes, 0), &low).is_err());
        assert!(fits(&turn(private, &nodes, PATIENCE_MS), &low).is_ok());
        let liar = Candidate {
            score: 0.0,
            ..node(Trust::Untrusted)
        };
        let nodes = [liar.clone(), node(Trust::Vetted)];
        let public = job(Trust::Untrusted, &[]);
        assert!(fits(&turn(public, &nodes, PATIENCE_MS), &liar).is_err());
    }

    #[test]
    fn the_only_node_that_may_take_a_job_takes_it_again() {
        use AttemptOutcome::{Failed, Lost};
        let nodes = [node(Trust::Owned), node(Trust::Untrusted)];
        let [vetted, other] = &nodes;
        let private = |tried: &[_]| excluded(job(Trust::Vetted, tried), &nodes);
        assert!(private(&[(vetted, Lost)]).is_empty());
        assert!(private(&[(vetted, Failed)]).is_empty());
        let public = job(Trust::Untrusted, &[(vetted, Failed), (other, Lost)]);
        assert_eq!(
            excluded(public, &nodes),
            [vetted.node],
            "the one that lost it may"
        );
        let public = job(Trust::Untrusted, &[(vetted, Failed), (other, Failed)]);
        assert_eq!(
            excluded(public, &nodes),
            [other.node],
            "the last one that failed may not"
        );
    }
}
