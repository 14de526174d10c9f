//! What the farm remembers: nodes, their sessions, and the attempts they hold.

use std::fmt::Debug;

use super::{
    Attempt, AttemptOutcome, Backend, Capabilities, CircuitId, ClusterView, Failure, FailureClass,
    Job, JobId, JobState, KeyResidency, Millis, Node, NodeChange, NodeId, NodeState, Priority,
    StoreError, TenantId, Trust,
};
use crate::farm::lease::AttemptId;

/// A session that began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its number.
    pub number: i64,
    /// Attempts of the node before that it keeps.
    pub keep: Vec<AttemptId>,
    /// Attempts that it named and that are not its own any more.
    pub drop: Vec<AttemptId>,
}

/// A job that a node wants to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// The job.
    pub job: JobId,
    /// Its tenant's share is charged with so much time.
    pub charge_ms: u64,
    /// The attempt is lost after so much time, whatever its node says.
    pub at_most_ms: u64,
    /// Whether to race the attempt that runs.
    pub copy: bool,
}

/// A job that a node took.
#[derive(Clone, Debug)]
pub struct Leased {
    /// The job as it is now.
    pub job: Job,
    /// The attempt.
    pub attempt: AttemptId,
    /// When it is lost unless the node is heard of.
    pub expires: Millis,
    /// Whether it races another attempt.
    pub speculative: bool,
}

/// What a node says of one of its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptBeat {
    /// Which.
    pub attempt: AttemptId,
    /// The most memory it used.
    pub peak_ram: u64,
}

/// What a heartbeat found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The node's state.
    pub state: NodeState,
    /// Named attempts that go on, with their tenants.
    pub kept: Vec<(AttemptId, TenantId)>,
    /// Named attempts that are over, or were never the node's.
    pub cancel: Vec<AttemptId>,
}

/// An attempt with its job.
#[derive(Clone, Debug)]
pub struct Held {
    /// The job.
    pub job: Job,
    /// The attempt.
    pub attempt: Attempt,
    /// Whether a proof of it was refused.
    pub refused: bool,
}

/// What became of a refused proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The node is QUARANTINED now.
    pub quarantined: bool,
}

/// Attempts of a job on one node that ended alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The node.
    pub node: NodeId,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Why it failed.
    pub class: Option<FailureClass>,
    /// How many there were.
    pub times: u32,
    /// When the last one ended.
    pub ended_at: Millis,
}

/// A PROVE job that waits.
#[derive(Clone, Debug)]
pub struct WaitingJob {
    /// The job.
    pub job: JobId,
    /// Whose.
    pub tenant: TenantId,
    /// Its circuit.
    pub circuit: CircuitId,
    /// The proof system.
    pub backend: Backend,
    /// Its class.
    pub priority: Priority,
    /// Since when.
    pub created_at: Millis,
    /// Not before this.
    pub not_before: Millis,
    /// Memory that it needs.
    pub ram_bytes: u64,
    /// Bytes of the proving key.
    pub key_bytes: u64,
    /// Estimated time to prove.
    pub estimated_ms: u64,
    /// The least trust of its node.
    pub min_trust: Trust,
    /// The pools of its node (empty: all).
    pub pools: Vec<String>,
    /// Times that it was passed over.
    pub passed_over: u32,
    /// Since when.
    pub passed_since: Option<Millis>,
    /// Its attempts so far on nodes, oldest first.
    pub tried: Vec<Tried>,
}

/// An attempt that did not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenAttempt {
    /// Its fencing token.
    pub epoch: i64,
    /// Its node.
    pub node: Option<NodeId>,
    /// When it began.
    pub leased_at: Millis,
    /// Whether it races another attempt.
    pub speculative: bool,
}

/// A PROVE job that somebody has.
#[derive(Clone, Debug)]
pub struct RunningJob {
    /// The job, as when it waited.
    pub job: WaitingJob,
    /// Its open attempts, oldest first.
    pub attempts: Vec<OpenAttempt>,
}

/// A node with its keys.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// The node.
    pub node: Node,
    /// The keys it said it holds.
    pub keys: Vec<KeyResidency>,
}

/// A tenant's part of the farm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TenantShare {
    /// Whose.
    pub tenant: TenantId,
    /// Its weight.
    pub weight: f64,
    /// What it was charged, by weight.
    pub vtime: f64,
    /// Jobs that run.
    pub running: u32,
    /// Jobs that may run; `u32::MAX` when there is no bound.
    pub max_running: u32,
}

/// What the scheduler decides on.
#[derive(Clone, Debug, Default)]
pub struct FarmView {
    /// The database's clock.
    pub now: Millis,
    /// Of the jobs that are due, the heads of the lanes (class, tenant, circuit), by class and age.
    pub waiting: Vec<WaitingJob>,
    /// When the next job becomes due that is not.
    pub next_due: Option<Millis>,
    /// What runs.
    pub running: Vec<RunningJob>,
    /// Every node.
    pub nodes: Vec<NodeView>,
    /// Tenants that wait or run.
    pub tenants: Vec<TenantShare>,
}

/// How long a proof took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Took {
    /// Of this circuit.
    pub circuit: CircuitId,
    /// Where.
    pub node: Option<NodeId>,
    /// Time to prove.
    pub prove_ms: u64,
}

/// How a job ended, for counting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEnd {
    /// The number of the change.
    pub cursor: i64,
    /// The state it ended in.
    pub state: JobState,
    /// Its proof system.
    pub backend: Backend,
    /// Why, when it failed.
    pub failure: Option<Failure>,
}

/// Nodes and their attempts. Every change of a job follows `farm::job`.
#[async_trait::async_trait]
pub trait FarmStore: Debug + Send + Sync {
    /// The database's clock.
    async fn now(&self) -> Result<Millis, StoreError>;
    /// Records a node that was let in; it is ACTIVE.
    async fn add_node(
        &self,
        id: NodeId,
        name: &str,
        public_key: Vec<u8>,
        trust: Trust,
        pools: &[String],
    ) -> Result<Node, StoreError>;
    /// The node of this process: OWNED, without a certificate; recorded by the first call.
    async fn own_node(&self, name: &str) -> Result<Node, StoreError>;
    /// The node with `id`.
    async fn node(&self, id: NodeId) -> Result<Node, StoreError>;
    /// Every node, oldest first.
    async fn nodes(&self) -> Result<Vec<Node>, StoreError>;
    /// What the operator changes. QUARANTINED ends its attempts as lost.
    async fn update_node(
        &self,
        id: NodeId,
        change: NodeChange,
        etag: Option<i64>,
    ) -> Result<Node, StoreError>;
    /// The farm at a glance; nodes not heard of for `ttl_ms` are not active.
    async fn cluster(&self, ttl_ms: i64) -> Result<ClusterView, StoreError>;

    /// Begins a session. Attempts of older sessions that `resume` does not name are lost.
    async fn open_session(
        &self,
        node: NodeId,
        version: &str,
        capabilities: Capabilities,
        resume: &[AttemptId],
        ttl_ms: i64,
    ) -> Result<Session, StoreError>;
    /// Ends a session; its attempts go back uncounted. `false` when it was over.
    async fn close_session(&self, node: NodeId, session: i64) -> Result<bool, StoreError>;
    /// What the scheduler decides on; `also` are among the waiting jobs when they wait, due or not.
    async fn view(&self, also: &[JobId]) -> Result<FarmView, StoreError>;
    /// Takes those of `wants` that can still be taken: not more than the node's slots, none that needs more trust.
    async fn lease(
        &self,
        node: NodeId,
        session: i64,
        wants: &[Want],
        ttl_ms: i64,
    ) -> Result<Vec<Leased>, StoreError>;
    /// Remembers that jobs were passed over for others with a loaded key, or are held for a node that has theirs.
    async fn pass_over(&self, passed: &[JobId], held: &[JobId]) -> Result<(), StoreError>;
    /// A sign of life: the named attempts get another `ttl_ms` and are RUNNING. `keys` replaces what the node holds.
    /// `None` when the session is over.
    async fn heartbeat(
        &self,
        node: NodeId,
        session: i64,
        attempts: &[AttemptBeat],
        keys: Option<&[KeyResidency]>,
        ttl_ms: i64,
    ) -> Result<Option<Heard>, StoreError>;
    /// The attempt, if it is or was the node's.
    async fn held(&self, node: NodeId, attempt: AttemptId) -> Result<Option<Held>, StoreError>;
    /// Open attempts of a node.
    async fn open_attempts(&self, node: NodeId) -> Result<Vec<(AttemptId, CircuitId)>, StoreError>;
    /// Ends an open attempt of the node with a failure; `None` when it was not its own any more.
    async fn fail_attempt(
        &self,
        node: NodeId,
        session: i64,
        attempt: AttemptId,
        failure: Failure,
    ) -> Result<Option<Job>, StoreError>;
    /// Hands an open attempt of the node back, uncounted; `None` when it was not its own any more.
    async fn release_attempt(
        &self,
        node: NodeId,
        session: i64,
        attempt: AttemptId,
    ) -> Result<Option<Job>, StoreError>;
    /// The proof of an attempt was refused: the attempt failed if it was open, and the node is QUARANTINED at the second
    /// one within 24 hours (not the node of this process: it has no other to yield to).
    async fn reject_attempt(
        &self,
        node: NodeId,
        attempt: AttemptId,
        reason: &str,
    ) -> Result<Rejected, StoreError>;
    /// Ends attempts whose lease ran out, or that take longer than any may; answers them.
    async fn expire_leases(&self) -> Result<Vec<AttemptId>, StoreError>;
    /// How long the latest proofs took, oldest first, at most `limit`.
    async fn recent_proofs(&self, limit: u32) -> Result<Vec<Took>, StoreError>;
    /// The number of the newest change of any job.
    async fn newest_change(&self) -> Result<i64, StoreError>;
    /// Jobs of all tenants that ended with a change after `cursor`, in order, at most a thousand.
    async fn ends_after(&self, cursor: i64) -> Result<Vec<JobEnd>, StoreError>;
}
