//! The model in memory, and the comparison.

use std::collections::BTreeMap;

use proptest::{prop_assert, prop_assert_eq, test_runner::TestCaseError};

use super::{
    NODES, Step, Subject, TENANTS, TTL_MS, capabilities, new_job, new_proof, ready_circuit,
};
use crate::{
    farm::{
        job::{CHILD_DIED, History, Judgement, Life, judge},
        lease::AttemptId,
    },
    store::{
        AttemptBeat, AttemptOutcome, CircuitId, CommitOutcome, Digest, Failure, FailureClass,
        JobFilter, JobId, JobState, Millis, NewJob, NodeChange, NodeId, NodeState, Page, Store,
        StoreError, TenantId, Trust, Want,
    },
};

type Checked = Result<(), TestCaseError>;

/// When the machine begins.
const BEGINNING: Millis = 1_800_000_000_000;
const DAY_MS: i64 = 24 * 3_600_000;
/// No attempt takes longer.
const AT_MOST_MS: i64 = 60 * 3_600_000;

struct Attempt {
    node: usize,
    session: i64,
    outcome: AttemptOutcome,
    expires: Millis,
    overdue: Millis,
    class: Option<FailureClass>,
    died: bool,
    invalid_at: Option<Millis>,
}

impl Attempt {
    fn is_due(&self, now: Millis) -> bool {
        self.expires < now || self.overdue < now
    }
}

struct Job {
    id: JobId,
    tenant: usize,
    input: u8,
    private: bool,
    life: Life,
    not_before: Millis,
    attempts: BTreeMap<i64, Attempt>,
    proof: Option<u8>,
    /// States that the client was told of.
    told: Vec<JobState>,
}

impl Job {
    fn open(&self) -> impl Iterator<Item = (i64, &Attempt)> {
        let open = |(_, a): &(&i64, &Attempt)| a.outcome == AttemptOutcome::Open;
        self.attempts.iter().filter(open).map(|(e, a)| (*e, a))
    }
}

struct Node {
    id: NodeId,
    trust: Trust,
    slots: usize,
    ram: u64,
    session: i64,
    online: bool,
    seen: Millis,
    quarantined: bool,
}

struct Model {
    now: Millis,
    tenants: Vec<(TenantId, CircuitId)>,
    nodes: Vec<Node>,
    jobs: Vec<Job>,
    proofs: u8,
}

/// Runs `steps` on a store and on the model.
///
/// # Errors
/// They differ.
pub(crate) async fn check(subject: &dyn Subject, steps: &[Step]) -> Checked {
    let mut model = Model::begin(subject).await;
    for step in steps {
        model.take(subject, *step).await?;
        model.compare(subject.store(), *step).await?;
    }
    Ok(())
}

impl Model {
    async fn begin(subject: &dyn Subject) -> Self {
        subject.set_clock(BEGINNING);
        let store = subject.store();
        let mut tenants = vec![TenantId::DEFAULT];
        for n in 1..TENANTS {
            tenants.push(subject.add_tenant(&format!("tenant {n}")).await);
        }
        let mut owners = Vec::new();
        for (tenant, seed) in tenants.into_iter().zip(1..) {
            owners.push((tenant, ready_circuit(store, tenant, seed).await));
        }
        let kinds = [
            Trust::Owned,
            Trust::Vetted,
            Trust::Untrusted,
            Trust::Untrusted,
        ];
        let mut nodes = Vec::new();
        for (n, trust) in kinds.into_iter().take(NODES).enumerate() {
            let id = NodeId::fresh();
            let name = format!("node {n}");
            let added = store.add_node(id, &name, vec![4; 65], trust, &[]);
            added.await.expect("added");
            nodes.push(Node {
                id,
                trust,
                slots: if trust == Trust::Untrusted { 1 } else { 2 },
                ram: 1 << (30 + n),
                session: 0,
                online: false,
                seen: 0,
                quarantined: false,
            });
        }
        Self {
            now: BEGINNING,
            tenants: owners,
            nodes,
            jobs: Vec::new(),
            proofs: 0,
        }
    }

    /// The step in the life of a job, with the attempts it ends.
    fn step(&mut self, at: usize, step: crate::farm::job::Step) -> bool {
        use crate::farm::job::Step::{Commit, Fail, Lost, Release};
        let job = &mut self.jobs[at];
        let Ok((after, _)) = job.life.after(step) else {
            return false;
        };
        let mut end = |epoch: i64, outcome| {
            if let Some(attempt) = job.attempts.get_mut(&epoch) {
                attempt.outcome = outcome;
            }
        };
        match step {
            Fail { epoch, .. } => end(epoch, AttemptOutcome::Failed),
            Release { epoch } => end(epoch, AttemptOutcome::Released),
            Lost { epoch } => end(epoch, AttemptOutcome::Lost),
            Commit { epoch } => end(epoch, AttemptOutcome::Won),
            _ => {}
        }
        if after.state.is_terminal() {
            let open: Vec<i64> = job.open().map(|(e, _)| e).collect();
            for epoch in open {
                if let Some(attempt) = job.attempts.get_mut(&epoch) {
                    attempt.outcome = AttemptOutcome::Superseded;
                }
            }
        }
        if after.state != job.life.state {
            job.told.push(after.state);
        }
        job.life = after;
        true
    }

    fn lose(&mut self, of: impl Fn(&Attempt) -> bool) {
        for at in 0..self.jobs.len() {
            let lost: Vec<i64> = self.jobs[at]
                .open()
                .filter(|(_, a)| of(a))
                .map(|(e, _)| e)
                .collect();
            for epoch in lost {
                self.step(at, crate::farm::job::Step::Lost { epoch });
            }
        }
    }

    fn running(&self, node: usize) -> usize {
        let of = |j: &Job| j.open().filter(|(_, a)| a.node == node).count();
        self.jobs.iter().map(of).sum()
    }

    fn active(&self, node: usize) -> bool {
        self.nodes[node].online && !self.nodes[node].quarantined
    }

    /// The attempt `back` before the newest one of a job.
    fn attempt(&self, job: usize, back: i64) -> Option<(usize, AttemptId)> {
        let at = job.checked_rem(self.jobs.len())?;
        let job = &self.jobs[at];
        let epoch = job.life.epoch - back;
        Some((at, AttemptId { job: job.id, epoch }))
    }

    fn history(&self, at: usize, node: usize) -> History {
        let job = &self.jobs[at];
        let least = if job.private {
            Trust::Vetted
        } else {
            Trust::Untrusted
        };
        // Only what trusted nodes said counts.
        let failed = || {
            job.attempts.values().filter(|a| {
                a.outcome == AttemptOutcome::Failed && self.nodes[a.node].trust >= Trust::Vetted
            })
        };
        let died = failed().filter(|a| a.node != node && a.died);
        let nodes: std::collections::BTreeSet<_> = died.map(|a| a.node).collect();
        let others = || {
            (0..NODES).filter(|n| {
                let heard = self.nodes[*n].seen >= self.now - 120_000;
                *n != node && self.active(*n) && heard && self.nodes[*n].trust >= least
            })
        };
        History {
            own: false,
            trusted: self.nodes[node].trust >= Trust::Vetted,
            others_died: nodes.len() as u32,
            died_here: failed().any(|a| a.node == node && a.died),
            other_nodes: others().count() as u32,
            exceeded_before: failed().any(|a| a.class == Some(FailureClass::ResourceExceeded)),
            bigger_node: others().any(|n| {
                self.nodes[n].trust >= Trust::Vetted && self.nodes[n].ram > self.nodes[node].ram
            }),
        }
    }

    async fn take(&mut self, subject: &dyn Subject, step: Step) -> Checked {
        let store = subject.store();
        match step {
            Step::Create {
                tenant,
                input,
                private,
            } => self.create(store, tenant, input, private).await?,
            Step::Cancel { tenant, job } => self.cancel(store, tenant, job).await?,
            Step::Open { node, resume } => self.open(store, node, resume).await?,
            Step::Close { node } => {
                let (id, session) = (self.nodes[node].id, self.nodes[node].session);
                let closed = store.close_session(id, session).await.expect("answered");
                prop_assert_eq!(closed, self.nodes[node].online);
                if closed {
                    self.nodes[node].online = false;
                    for at in 0..self.jobs.len() {
                        let open: Vec<i64> = self.jobs[at]
                            .open()
                            .filter(|(_, a)| a.node == node)
                            .map(|(e, _)| e)
                            .collect();
                        for epoch in open {
                            self.step(at, crate::farm::job::Step::Release { epoch });
                        }
                    }
                }
            }
            Step::Lease { node, job, copy } => self.lease(store, node, job, copy).await?,
            Step::Beat { node, job, back } => self.beat(store, node, job, back).await?,
            Step::Fail {
                node,
                job,
                back,
                class,
                died,
            } => {
                self.fail(
                    store,
                    (node, job, back),
                    class,
                    died && class == FailureClass::NodeFault,
                )
                .await?;
            }
            Step::Release { node, job, back } => {
                let Some((at, attempt)) = self.attempt(job, back) else {
                    return Ok(());
                };
                let theirs = self.is_theirs(at, node, attempt.epoch);
                let (id, session) = (self.nodes[node].id, self.nodes[node].session);
                let released = store
                    .release_attempt(id, session, attempt)
                    .await
                    .expect("answered");
                prop_assert_eq!(released.is_some(), theirs);
                if theirs {
                    self.step(
                        at,
                        crate::farm::job::Step::Release {
                            epoch: attempt.epoch,
                        },
                    );
                }
            }
            Step::Commit { node, job, back } => self.commit(store, node, job, back).await?,
            Step::Reject { node, job, back } => self.reject(store, node, job, back).await?,
            Step::Wait { ms } => {
                self.now += ms;
                subject.set_clock(self.now);
            }
            Step::Reap => {
                let lost = store.expire_leases().await.expect("answered");
                let now = self.now;
                let due: usize = self
                    .jobs
                    .iter()
                    .map(|j| j.open().filter(|(_, a)| a.is_due(now)).count())
                    .sum();
                prop_assert_eq!(lost.len(), due);
                self.lose(|a| a.is_due(now));
            }
            Step::Restart => {
                let recovered = store.recover(TTL_MS).await.expect("recovered");
                let open: usize = self.jobs.iter().map(|j| j.open().count()).sum();
                prop_assert_eq!((recovered.requeued, recovered.held), (0, open as u64));
                for attempt in self.jobs.iter_mut().flat_map(|j| j.attempts.values_mut()) {
                    if attempt.outcome == AttemptOutcome::Open {
                        attempt.expires = attempt.expires.max(self.now + TTL_MS);
                    }
                }
            }
            Step::Operate { node, quarantine } => {
                let state = if quarantine {
                    NodeState::Quarantined
                } else {
                    NodeState::Active
                };
                let change = NodeChange {
                    state: Some(state),
                    ..NodeChange::default()
                };
                store
                    .update_node(self.nodes[node].id, change, None)
                    .await
                    .expect("updated");
                if quarantine {
                    self.lose(|a| a.node == node);
                } else if self.nodes[node].quarantined {
                    for attempt in self.jobs.iter_mut().flat_map(|j| j.attempts.values_mut()) {
                        if attempt.node == node && attempt.invalid_at.is_some() {
                            attempt.invalid_at = Some(0);
                        }
                    }
                }
                self.nodes[node].quarantined = quarantine;
            }
        }
        Ok(())
    }

    async fn create(
        &mut self,
        store: &dyn Store,
        tenant: usize,
        input: u8,
        private: bool,
    ) -> Checked {
        let (id, circuit) = self.tenants[tenant];
        let identity = Digest([10 * (input + 1) + u8::from(private); 32]);
        let new = NewJob {
            identity,
            input: (identity, 1),
            private_input: private,
            ..new_job(circuit, input)
        };
        let created = store.create_job(id, new).await.expect("created");
        let same = self.jobs.iter().find(|j| {
            let stands = !j.life.state.is_terminal() || j.life.state == JobState::Succeeded;
            (j.tenant, j.input, j.private) == (tenant, input, private) && stands
        });
        prop_assert_eq!(
            created.existed,
            same.is_some(),
            "content is known again within a tenant only"
        );
        if let Some(same) = same {
            prop_assert_eq!(created.resource.id, same.id);
            return Ok(());
        }
        self.jobs.push(Job {
            id: created.resource.id,
            tenant,
            input,
            private,
            life: Life::queued(3),
            not_before: self.now,
            attempts: BTreeMap::new(),
            proof: None,
            told: vec![JobState::Queued],
        });
        Ok(())
    }

    async fn cancel(&mut self, store: &dyn Store, tenant: usize, job: usize) -> Checked {
        let Some(at) = job.checked_rem(self.jobs.len()) else {
            return Ok(());
        };
        let answer = store
            .cancel(self.tenants[tenant].0, self.jobs[at].id, None)
            .await;
        if self.jobs[at].tenant != tenant {
            let hidden = matches!(answer, Err(StoreError::NotFound { .. }));
            prop_assert!(hidden, "another tenant's job does not exist");
            return Ok(());
        }
        self.step(at, crate::farm::job::Step::Cancel);
        prop_assert_eq!(answer.expect("cancelled").state, self.jobs[at].life.state);
        Ok(())
    }

    async fn open(&mut self, store: &dyn Store, node: usize, resume: bool) -> Checked {
        let held: Vec<AttemptId> = self
            .jobs
            .iter()
            .flat_map(|j| {
                j.open()
                    .map(|(epoch, a)| (AttemptId { job: j.id, epoch }, a.node))
            })
            .filter(|(_, of)| *of == node)
            .map(|(attempt, _)| attempt)
            .collect();
        // One that it never had is answered with the others that are not its own.
        let stranger = AttemptId {
            job: JobId::fresh(),
            epoch: 1,
        };
        let mut named = if resume { held.clone() } else { Vec::new() };
        named.push(stranger);
        let (slots, ram) = (self.nodes[node].slots as u32, self.nodes[node].ram);
        let opened = store
            .open_session(
                self.nodes[node].id,
                "1",
                capabilities(slots, ram),
                &named,
                TTL_MS,
            )
            .await
            .expect("opened");
        let n = &mut self.nodes[node];
        n.session += 1;
        n.online = true;
        n.seen = self.now;
        let session = n.session;
        prop_assert_eq!(opened.number, session);
        prop_assert_eq!(opened.drop, vec![stranger]);
        let mut keep = opened.keep;
        keep.sort();
        let mut wanted = if resume { held } else { Vec::new() };
        wanted.sort();
        prop_assert_eq!(keep, wanted);
        if resume {
            let expires = self.now + TTL_MS;
            for attempt in self.jobs.iter_mut().flat_map(|j| j.attempts.values_mut()) {
                if attempt.node == node && attempt.outcome == AttemptOutcome::Open {
                    (attempt.session, attempt.expires) = (session, expires);
                }
            }
        } else {
            self.lose(|a| a.node == node);
        }
        Ok(())
    }

    async fn lease(&mut self, store: &dyn Store, node: usize, job: usize, copy: bool) -> Checked {
        let Some(at) = job.checked_rem(self.jobs.len()) else {
            return Ok(());
        };
        let (id, session) = (self.nodes[node].id, self.nodes[node].session);
        let j = &self.jobs[at];
        let want = Want {
            job: j.id,
            charge_ms: 1000,
            at_most_ms: AT_MOST_MS as u64,
            copy,
        };
        let taken = store
            .lease(id, session, &[want], TTL_MS)
            .await
            .expect("answered");
        let trusted = !j.private || self.nodes[node].trust >= Trust::Vetted;
        let free = self.active(node) && self.running(node) < self.nodes[node].slots;
        let fits = if copy {
            let runs = matches!(j.life.state, JobState::Leased | JobState::Running);
            runs && j.open().count() == 1 && j.attempts.values().all(|a| a.node != node)
        } else {
            j.life.state == JobState::Queued && j.not_before <= self.now
        };
        prop_assert_eq!(!taken.is_empty(), trusted && free && fits);
        if taken.is_empty() {
            return Ok(());
        }
        let step = if copy {
            crate::farm::job::Step::Copy
        } else {
            crate::farm::job::Step::Claim
        };
        prop_assert!(self.step(at, step));
        let epoch = self.jobs[at].life.epoch;
        prop_assert_eq!(
            (taken[0].attempt.epoch, taken[0].speculative),
            (epoch, copy)
        );
        let attempt = Attempt {
            node,
            session,
            outcome: AttemptOutcome::Open,
            expires: self.now + TTL_MS,
            overdue: self.now + AT_MOST_MS,
            class: None,
            died: false,
            invalid_at: None,
        };
        self.jobs[at].attempts.insert(epoch, attempt);
        Ok(())
    }

    fn is_theirs(&self, at: usize, node: usize, epoch: i64) -> bool {
        let attempt = self.jobs[at].attempts.get(&epoch);
        attempt.is_some_and(|a| {
            a.outcome == AttemptOutcome::Open
                && a.node == node
                && a.session == self.nodes[node].session
        })
    }

    async fn beat(&mut self, store: &dyn Store, node: usize, job: usize, back: i64) -> Checked {
        let Some((at, attempt)) = self.attempt(job, back) else {
            return Ok(());
        };
        let (id, session) = (self.nodes[node].id, self.nodes[node].session);
        let beat = [AttemptBeat {
            attempt,
            peak_ram: 5,
        }];
        let heard = store
            .heartbeat(id, session, &beat, None, TTL_MS)
            .await
            .expect("answered");
        prop_assert_eq!(heard.is_some(), self.nodes[node].online);
        let Some(heard) = heard else { return Ok(()) };
        self.nodes[node].seen = self.now;
        let theirs = self.is_theirs(at, node, attempt.epoch);
        prop_assert_eq!(
            (heard.kept.len(), heard.cancel.len()),
            (usize::from(theirs), usize::from(!theirs))
        );
        if theirs {
            self.step(
                at,
                crate::farm::job::Step::Start {
                    epoch: attempt.epoch,
                },
            );
            if let Some(a) = self.jobs[at].attempts.get_mut(&attempt.epoch) {
                a.expires = self.now + TTL_MS;
            }
        }
        Ok(())
    }

    async fn fail(
        &mut self,
        store: &dyn Store,
        (node, job, back): (usize, usize, i64),
        class: FailureClass,
        died: bool,
    ) -> Checked {
        let Some((at, attempt)) = self.attempt(job, back) else {
            return Ok(());
        };
        let code = if died { CHILD_DIED } else { "X" };
        let (id, session) = (self.nodes[node].id, self.nodes[node].session);
        let theirs = self.is_theirs(at, node, attempt.epoch);
        let history = self.history(at, node);
        let failure = Failure::new(class, code, "x");
        let ended = store
            .fail_attempt(id, session, attempt, failure)
            .await
            .expect("answered");
        prop_assert_eq!(
            ended.is_some(),
            theirs,
            "only an open attempt of the session fails"
        );
        if let Some(ended) = ended {
            let judgement = judge(class, code, &history);
            self.step(
                at,
                crate::farm::job::Step::Fail {
                    epoch: attempt.epoch,
                    judgement,
                },
            );
            if let Some(a) = self.jobs[at].attempts.get_mut(&attempt.epoch) {
                (a.class, a.died) = (Some(class), died);
            }
            self.jobs[at].not_before = ended.not_before;
        }
        Ok(())
    }

    async fn commit(&mut self, store: &dyn Store, node: usize, job: usize, back: i64) -> Checked {
        let Some((at, attempt)) = self.attempt(job, back) else {
            return Ok(());
        };
        self.proofs = self.proofs.wrapping_add(1);
        let proof = new_proof(self.proofs);
        let outcome = store
            .commit_proof(attempt.job, attempt.epoch, Some(self.nodes[node].id), proof)
            .await;
        let had = self.jobs[at]
            .attempts
            .get(&attempt.epoch)
            .is_some_and(|a| a.node == node);
        if !had {
            prop_assert!(
                matches!(outcome, Err(StoreError::Refused(_))),
                "only an attempt of its own commits"
            );
            return Ok(());
        }
        let wanted = match self.jobs[at].life.state {
            JobState::Succeeded => CommitOutcome::AlreadyProven,
            state if state.is_terminal() => CommitOutcome::JobEnded,
            _ => CommitOutcome::Accepted,
        };
        prop_assert_eq!(outcome.expect("answered"), wanted);
        if wanted == CommitOutcome::Accepted {
            self.step(
                at,
                crate::farm::job::Step::Commit {
                    epoch: attempt.epoch,
                },
            );
            if let Some(a) = self.jobs[at].attempts.get_mut(&attempt.epoch) {
                (a.class, a.died) = (None, false);
            }
            self.jobs[at].proof = Some(self.proofs);
        }
        Ok(())
    }

    async fn reject(&mut self, store: &dyn Store, node: usize, job: usize, back: i64) -> Checked {
        let Some((at, attempt)) = self.attempt(job, back) else {
            return Ok(());
        };
        let rejected = store
            .reject_attempt(self.nodes[node].id, attempt, "no")
            .await
            .expect("answered");
        let now = self.now;
        let a = self.jobs[at].attempts.get_mut(&attempt.epoch);
        let Some(a) = a.filter(|a| a.node == node && a.invalid_at.is_none()) else {
            prop_assert!(!rejected.quarantined);
            return Ok(());
        };
        a.invalid_at = Some(now);
        let failed = crate::farm::job::Step::Fail {
            epoch: attempt.epoch,
            judgement: Judgement::Retry,
        };
        if self.step(at, failed) {
            if let Some(a) = self.jobs[at].attempts.get_mut(&attempt.epoch) {
                a.class = Some(FailureClass::ProofInvalid);
            }
            let stored = store.any_job(attempt.job).await.expect("kept");
            self.jobs[at].not_before = stored.not_before;
        }
        let recent =
            |a: &&Attempt| a.node == node && a.invalid_at.is_some_and(|t| t > now - DAY_MS);
        let count = self
            .jobs
            .iter()
            .flat_map(|j| j.attempts.values())
            .filter(recent)
            .count();
        prop_assert_eq!(
            rejected.quarantined,
            count >= 2,
            "two invalid proofs in a day quarantine"
        );
        if rejected.quarantined {
            self.nodes[node].quarantined = true;
            self.lose(|a| a.node == node);
        }
        Ok(())
    }

    /// The store says what the model says, and what must always hold holds.
    async fn compare(&mut self, store: &dyn Store, step: Step) -> Checked {
        for at in 0..self.jobs.len() {
            self.compare_job(store, at, step).await?;
        }
        for (n, (tenant, _)) in self.tenants.iter().enumerate() {
            let page = Page {
                size: 500,
                after: None,
            };
            let listed = store
                .jobs(*tenant, &JobFilter::default(), &page)
                .await
                .expect("read");
            let listed = listed
                .iter()
                .filter(|j| j.kind == crate::store::JobKind::Prove);
            prop_assert_eq!(
                listed.count(),
                self.jobs.iter().filter(|j| j.tenant == n).count()
            );
            let events = store.events_after(*tenant, 0, 10_000).await.expect("read");
            let last = store.last_event(*tenant).await.expect("read");
            prop_assert!(
                events.iter().map(|e| e.seq).eq(1..=last),
                "a tenant's events have no gaps"
            );
            for job in self.jobs.iter().filter(|j| j.tenant == n) {
                let told = events.iter().filter(|e| e.job == job.id).map(|e| e.to);
                prop_assert!(
                    told.eq(job.told.iter().copied()),
                    "{:?} after {:?}",
                    job.told,
                    step
                );
            }
        }
        for (n, node) in self.nodes.iter().enumerate() {
            let stored = store.node(node.id).await.expect("kept");
            let running = self.running(n);
            prop_assert!(running <= node.slots, "no more attempts than slots");
            prop_assert_eq!(
                (stored.running as usize, stored.session, stored.online),
                (running, node.session, node.online)
            );
            prop_assert_eq!(stored.state == NodeState::Quarantined, node.quarantined);
            prop_assert!((0.0..=1.0).contains(&stored.score));
            prop_assert!(
                !node.quarantined || running == 0,
                "a quarantined node holds nothing"
            );
        }
        Ok(())
    }

    async fn compare_job(&mut self, store: &dyn Store, at: usize, step: Step) -> Checked {
        let now = self.now;
        let job = &mut self.jobs[at];
        for (n, (tenant, _)) in self.tenants.iter().enumerate() {
            let seen = store.job(*tenant, job.id).await;
            let hidden = matches!(seen, Err(StoreError::NotFound { .. }));
            prop_assert_eq!(hidden, n != job.tenant);
            if hidden {
                prop_assert!(
                    store
                        .attempts(*tenant, job.id)
                        .await
                        .expect("read")
                        .is_empty()
                );
                prop_assert!(store.proof(*tenant, job.id).await.expect("read").is_none());
            }
        }
        let owner = self.tenants[job.tenant].0;
        let stored = store.job(owner, job.id).await.expect("kept");
        prop_assert_eq!(
            (
                stored.state,
                stored.epoch,
                stored.attempt_count,
                stored.lost_count
            ),
            (
                job.life.state,
                job.life.epoch,
                job.life.attempts,
                job.life.lost
            ),
            "after {:?}",
            step
        );
        prop_assert!(
            stored.not_before <= now + 360_000,
            "nobody waits longer than 5 minutes and a fifth"
        );
        job.not_before = stored.not_before;
        let attempts = store.attempts(owner, job.id).await.expect("read");
        prop_assert_eq!(attempts.len(), job.attempts.len());
        for (stored, (epoch, attempt)) in attempts.iter().zip(&job.attempts) {
            prop_assert_eq!(
                (stored.epoch, stored.outcome, stored.node),
                (*epoch, attempt.outcome, Some(self.nodes[attempt.node].id)),
                "after {:?}",
                step
            );
            prop_assert_eq!(
                stored.ended_at.is_none(),
                attempt.outcome == AttemptOutcome::Open
            );
            let seen_by = self.nodes[attempt.node].trust;
            prop_assert!(
                !job.private || seen_by >= Trust::Vetted,
                "private inputs go to trusted nodes only"
            );
        }
        let won = attempts
            .iter()
            .filter(|a| a.outcome == AttemptOutcome::Won)
            .count();
        prop_assert_eq!(won, usize::from(job.life.state == JobState::Succeeded));
        let proof = store.proof(owner, job.id).await.expect("read");
        prop_assert_eq!(
            proof.map(|p| p.proof),
            job.proof.map(|byte| vec![byte; 8]),
            "one proof, the first"
        );
        Ok(())
    }
}
