//! What prover nodes and the gateway say to each other, in the service's own words. A node in this process says it by
//! calls, another one by gRPC.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::store::{
    ArtifactKind, Backend, Capabilities, CircuitId, CommitOutcome, Digest, Failure, JobId,
    KeyResidency, NodeId, Phase, Resources, StoreError,
};

/// Names an attempt: the job and the fencing token of the claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId {
    /// The job.
    pub job: JobId,
    /// The claim.
    pub epoch: i64,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.job, self.epoch)
    }
}

/// A node that begins a session.
#[derive(Clone, Debug)]
pub struct Hello {
    /// The version of its program.
    pub version: String,
    /// What it has.
    pub capabilities: Capabilities,
    /// Attempts that it still works on.
    pub resume: Vec<AttemptId>,
}

/// The answer to [`Hello`].
#[derive(Clone, Debug)]
pub struct Welcome {
    /// The node's name.
    pub node: NodeId,
    /// The number of the session.
    pub session: i64,
    /// How often to send a heartbeat.
    pub heartbeat: Duration,
    /// How long a lease lives without one.
    pub lease_ttl: Duration,
    /// Of [`Hello::resume`]: still the node's.
    pub keep: Vec<AttemptId>,
    /// Of [`Hello::resume`]: to stop.
    pub drop: Vec<AttemptId>,
    /// The longest proof the gateway reads.
    pub max_proof_bytes: u64,
}

/// A node that can take work.
#[derive(Clone, Debug)]
pub struct Acquire {
    /// Its session.
    pub session: i64,
    /// Free slots.
    pub max_leases: u32,
    /// How long to wait for work, at most 25 s.
    pub wait: Duration,
    /// What is free.
    pub free: Resources,
    /// The keys it holds.
    pub keys: Vec<KeyResidency>,
}

/// The answer to [`Acquire`].
#[derive(Clone, Debug, Default)]
pub struct Granted {
    /// The attempts it got.
    pub leases: Vec<Lease>,
    /// Circuits whose keys it may load ahead of work.
    pub prefetch: Vec<CircuitId>,
    /// Ask again after this.
    pub retry_after: Duration,
}

/// A file that an attempt needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchFile {
    /// What it is.
    pub kind: ArtifactKind,
    /// Its name in the bundle; empty for the input.
    pub name: String,
    /// SHA-256 of the bytes as they are sent.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// Whether they are sealed with the key of [`Lease::input_key`].
    pub encrypted: bool,
}

/// One attempt at a proof, given to a node.
#[derive(Clone)]
pub struct Lease {
    /// Its name.
    pub attempt: AttemptId,
    /// The circuit.
    pub circuit: CircuitId,
    /// Its proof system.
    pub backend: Backend,
    /// The bundle without keys the node does not need, and the input last.
    pub files: Vec<FetchFile>,
    /// The data key of an encrypted input, wrapped for the key of the node's certificate; empty for a plain input.
    pub input_key: Vec<u8>,
    /// The context of the statement.
    pub context: [u8; 32],
    /// The digest of the verifying key.
    pub vk_digest: [u8; 32],
    /// What the attempt may use.
    pub limits: Resources,
    /// How long it may take.
    pub time_limit: Duration,
    /// W3C trace context.
    pub trace: BTreeMap<String, String>,
    /// Whether it races another attempt of the job.
    pub speculative: bool,
}

/// The wrapped key is left out.
impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("attempt", &self.attempt)
            .field("circuit", &self.circuit)
            .field("backend", &self.backend)
            .field("limits", &self.limits)
            .field("time_limit", &self.time_limit)
            .field("speculative", &self.speculative)
            .finish_non_exhaustive()
    }
}

/// Where an attempt of a node is.
#[derive(Clone, Copy, Debug)]
pub struct AttemptStatus {
    /// Its name.
    pub attempt: AttemptId,
    /// What it does.
    pub phase: Phase,
    /// 0..1, monotone.
    pub progress: f32,
    /// The most memory it used.
    pub peak_ram: u64,
}

/// A sign of life.
#[derive(Clone, Debug)]
pub struct Beat {
    /// The session.
    pub session: i64,
    /// What it works on.
    pub attempts: Vec<AttemptStatus>,
    /// What is free.
    pub free: Resources,
    /// Whether it takes nothing more.
    pub draining: bool,
    /// The keys it holds.
    pub keys: Vec<KeyResidency>,
    /// Room on its disk.
    pub disk_free: u64,
}

/// The answer to [`Beat`].
#[derive(Clone, Debug, Default)]
pub struct BeatAnswer {
    /// Attempts to stop at once: cancelled, lost, won by another.
    pub cancel: Vec<AttemptId>,
    /// Whether the node shall end what it has and take nothing more.
    pub drain: bool,
    /// Circuits whose keys it may load ahead of work.
    pub prefetch: Vec<CircuitId>,
    /// Circuits whose keys it may forget.
    pub evict: Vec<CircuitId>,
    /// The session is over: open a new one.
    pub stale: bool,
}

/// A finished proof.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The session.
    pub session: i64,
    /// The attempt.
    pub attempt: AttemptId,
    /// The native bytes.
    pub proof: Vec<u8>,
    /// The statement.
    pub public_values: Vec<u8>,
    /// The key it was made with.
    pub vk_digest: [u8; 32],
    /// Time to load the key.
    pub key_load: Duration,
    /// Time to prove.
    pub prove: Duration,
    /// The most memory it used.
    pub peak_ram: u64,
}

/// What became of a finished proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The node is done with it.
    Settled(CommitOutcome),
    /// The gateway's verification refused it.
    Invalid(String),
}

/// Why the gateway did not answer a node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UplinkError {
    /// The session is over: open a new one.
    #[error("the session is over")]
    StaleSession,
    /// The node may not do this: revoked, quarantined, or not its lease.
    #[error("the gateway refuses: {0}")]
    Refused(String),
    /// The gateway cannot be reached or its store is down: try again.
    #[error("the gateway does not answer: {0}")]
    Unreachable(String),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A node's line to its gateway.
#[async_trait::async_trait]
pub trait Uplink: fmt::Debug + Send + Sync {
    /// Begins a session.
    async fn open(&self, hello: Hello) -> Result<Welcome, UplinkError>;
    /// Asks for work.
    async fn acquire(&self, acquire: Acquire) -> Result<Granted, UplinkError>;
    /// Gives a sign of life.
    async fn heartbeat(&self, beat: Beat) -> Result<BeatAnswer, UplinkError>;
    /// Hands a proof over. Idempotent.
    async fn commit(&self, finished: Finished) -> Result<Verdict, UplinkError>;
    /// Says that an attempt failed; `true` when it was no longer the node's. [`crate::store::FailureClass::Cancelled`] hands it back.
    async fn fail(
        &self,
        session: i64,
        attempt: AttemptId,
        failure: Failure,
    ) -> Result<bool, UplinkError>;
    /// Ends the session.
    async fn close(&self, session: i64, reason: &str) -> Result<(), UplinkError>;
    /// Writes the bytes of `file` from `sink`'s end on; the caller checks length and digest.
    async fn fetch(
        &self,
        session: i64,
        lease: &Lease,
        file: &FetchFile,
        offset: u64,
        sink: &mut (dyn std::io::Write + Send),
    ) -> Result<(), UplinkError>;
}
