//! The records of the store, in the service's own words.

mod codes;
mod nodes;

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use uuid::Uuid;

pub use codes::{
    ArtifactKind, AttemptOutcome, Backend, CircuitState, FailureClass, JobKind, JobState,
    NodeState, Phase, Priority, Tier, Trust,
};
pub use nodes::{Capabilities, ClusterView, Gpu, KeyResidency, Lane, Node, NodeChange, Resources};

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Reads a digest from exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = hex::FromHexError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let mut out = [0; 32];
        hex::decode_to_slice(s, &mut out)?;
        Ok(Self(out))
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A fresh id, ordered by time.
            pub fn fresh() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(s: &str) -> Result<Self, Self::Err> {
                Ok(Self(Uuid::parse_str(s.strip_prefix($prefix).unwrap_or(s))?))
            }
        }
    )*};
}

ids! {
    /// Names a job.
    JobId = "jobs/";
    /// Names a circuit.
    CircuitId = "circuits/";
    /// Names an upload.
    UploadId = "";
    /// Names a prover node.
    NodeId = "nodes/";
}

/// Names a tenant. Everything a client sees belongs to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(pub i64);

impl TenantId {
    /// The tenant of a server without authentication.
    pub const DEFAULT: Self = Self(1);
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tenants/{}", self.0)
    }
}

impl FromStr for TenantId {
    type Err = std::num::ParseIntError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Ok(Self(s.strip_prefix("tenants/").unwrap_or(s).parse()?))
    }
}

/// Milliseconds since 1970, by the database's clock.
pub type Millis = i64;

/// Free words of the client about a resource.
pub type Labels = BTreeMap<String, String>;

/// Why a job or a circuit failed; the message never contains input data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Decides retry and blame.
    pub class: FailureClass,
    /// A constant for programs.
    pub code: String,
    /// A sentence for people, at most 1 KiB.
    pub message: String,
    /// The attempt that failed.
    pub attempt: u32,
}

impl Failure {
    /// A failure whose message is cut at 1 KiB.
    pub fn new(class: FailureClass, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            class,
            code: code.into(),
            message: cut(message.into(), 1024),
            attempt: 0,
        }
    }
}

/// Cuts `text` to at most `max` bytes at a character boundary.
pub fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let mut end = max.saturating_sub('…'.len_utf8());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A stored file.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// What it is for.
    pub kind: ArtifactKind,
    /// When it was recorded.
    pub created_at: Millis,
}

/// Bytes in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredBytes {
    /// By everybody.
    pub total: u64,
    /// By the tenant who asks.
    pub tenant: u64,
    /// The tenant's own bound.
    pub tenant_limit: Option<u64>,
}

/// A file on its way in. The committed size is the length of its file.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Its name.
    pub id: UploadId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The digest it must have.
    pub digest: Digest,
    /// The length it must have.
    pub size: u64,
    /// What it is for.
    pub kind: ArtifactKind,
    /// When it is thrown away.
    pub expires_at: Millis,
}

/// A request id with the digest of the body it came with.
#[derive(Clone, Debug)]
pub struct RequestKey {
    /// The client's UUID.
    pub request_id: String,
    /// Digest of the rest of the request.
    pub fingerprint: Digest,
}

/// One tensor of a circuit, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorFacts {
    /// ONNX name.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<u64>,
    /// "int8", "uint8", …
    pub dtype: String,
    /// Whether its values stay out of the statement.
    pub private: bool,
    /// Whether the statement has a digest of it instead.
    #[serde(default, skip_serializing_if = "is_not")]
    pub hashed: bool,
}

// the signature is serde's
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_not(flag: &bool) -> bool {
    !*flag
}

/// A model compiled for one proof system.
#[derive(Clone, Debug)]
pub struct Circuit {
    /// Its name.
    pub id: CircuitId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Digest of everything that determines it.
    pub fingerprint: Digest,
    /// Its proof system.
    pub backend: Backend,
    /// Digest of the ONNX file.
    pub model: Digest,
    /// Digest of the settings file.
    pub settings: Option<Digest>,
    /// Digest of the calibration file.
    pub calibration: Digest,
    /// Its state.
    pub state: CircuitState,
    /// Why it is FAILED.
    pub failure: Option<Failure>,
    /// Known after compile.
    pub compiled: Option<CompileFacts>,
    /// Known after setup.
    pub keys: Option<SetupFacts>,
    /// The client's labels.
    pub labels: Labels,
    /// Grows with every change.
    pub version: i64,
    /// When it was created.
    pub created_at: Millis,
}

impl Circuit {
    /// Whether some input tensor stays out of the statement.
    pub fn has_private_input(&self) -> bool {
        self.compiled
            .as_ref()
            .is_some_and(|c| c.inputs.iter().any(|t| t.private))
    }
}

/// What compile learned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompileFacts {
    /// Digest of the constraint program.
    pub program: [u8; 32],
    /// Input tensors.
    pub inputs: Vec<TensorFacts>,
    /// Output tensors.
    pub outputs: Vec<TensorFacts>,
    /// Memory a proof needs.
    pub ram_bytes: u64,
    /// Estimated time of a proof.
    pub estimated_prove_ms: u64,
}

/// What setup made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupFacts {
    /// SHA-256 of the proving key file.
    pub proving_key: [u8; 32],
    /// Its length.
    pub proving_key_bytes: u64,
    /// SHA-256 of the encoded verifying key.
    pub verifying_key: [u8; 32],
    /// Keccak-256 of the encoded verifying key.
    pub vk_digest: [u8; 32],
}

/// A circuit to create.
#[derive(Clone, Debug)]
pub struct NewCircuit {
    /// Digest of everything that determines it.
    pub fingerprint: Digest,
    /// Its proof system.
    pub backend: Backend,
    /// The ONNX file.
    pub model: Digest,
    /// The settings file.
    pub settings: Option<Digest>,
    /// The calibration file.
    pub calibration: Digest,
    /// The client's labels.
    pub labels: Labels,
    /// For idempotency.
    pub request: Option<RequestKey>,
    /// The bound on queued jobs.
    pub max_queued: u64,
}

/// Which circuits to list.
#[derive(Clone, Debug, Default)]
pub struct CircuitFilter {
    /// Only this proof system.
    pub backend: Option<Backend>,
    /// Only this state.
    pub state: Option<CircuitState>,
    /// Only with these labels.
    pub labels: Labels,
}

/// A job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The circuit it works on.
    pub circuit: CircuitId,
    /// What it does.
    pub kind: JobKind,
    /// Its state.
    pub state: JobState,
    /// Its class in the queue.
    pub priority: Priority,
    /// The stored quantized tensors (PROVE).
    pub input: Option<Digest>,
    /// The uploaded file they came from.
    pub input_artifact: Option<Digest>,
    /// Whether the input must not outlive the job.
    pub private_input: bool,
    /// The context of the statement.
    pub context: [u8; 32],
    /// The statement, known when SUCCEEDED.
    pub public_values: Vec<u8>,
    /// Digest of the proof, known when SUCCEEDED.
    pub proof: Option<Digest>,
    /// When it was created.
    pub created_at: Millis,
    /// When its present attempt started.
    pub started_at: Option<Millis>,
    /// When it became terminal.
    pub ended_at: Option<Millis>,
    /// Not before this.
    pub not_before: Millis,
    /// Not after this.
    pub deadline: Option<Millis>,
    /// Attempts that ended with a failure.
    pub attempt_count: u32,
    /// Attempts whose prover disappeared.
    pub lost_count: u32,
    /// The budget of attempts.
    pub max_attempts: u32,
    /// The fencing token: counts claims.
    pub epoch: i64,
    /// Why it failed last.
    pub failure: Option<Failure>,
    /// The client's labels.
    pub labels: Labels,
    /// The least trust of a node that may prove it.
    pub min_trust: Trust,
    /// The pools whose nodes may prove it (empty: all).
    pub pools: Vec<String>,
    /// The data key of a sealed input, wrapped by the gateway's key; empty for a plain input.
    pub input_key: Vec<u8>,
    /// W3C trace context of the call that created it.
    pub trace: BTreeMap<String, String>,
    /// Whether an attempt ran out of time, so that the next one gets more.
    pub more_time: bool,
    /// Grows with every change.
    pub version: i64,
}

/// A PROVE job to create.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The circuit.
    pub circuit: CircuitId,
    /// Its class in the queue.
    pub priority: Priority,
    /// The stored quantized tensors, sealed or not: digest and length.
    pub input: (Digest, u64),
    /// By what the same tensors are known again: their digest, or for private ones a keyed one.
    pub identity: Digest,
    /// The uploaded file they came from.
    pub input_artifact: Option<Digest>,
    /// Whether the input must not outlive the job; only nodes that are VETTED at least see it, whatever `min_trust` says.
    pub private_input: bool,
    /// The data key of a sealed input, wrapped by the gateway's key; empty for a plain input.
    pub input_key: Vec<u8>,
    /// The least trust of a node that may prove it.
    pub min_trust: Trust,
    /// The pools whose nodes may prove it (empty: all).
    pub pools: Vec<String>,
    /// W3C trace context of the call that creates it.
    pub trace: BTreeMap<String, String>,
    /// The context of the statement.
    pub context: [u8; 32],
    /// Answer a live or succeeded job of the same content.
    pub allow_cached: bool,
    /// Time to live.
    pub ttl_ms: u64,
    /// The budget of attempts.
    pub max_attempts: u32,
    /// The client's labels.
    pub labels: Labels,
    /// For idempotency.
    pub request: Option<RequestKey>,
    /// The bound on queued jobs.
    pub max_queued: u64,
}

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Only these states (empty: all).
    pub states: Vec<JobState>,
    /// Only of this circuit.
    pub circuit: Option<CircuitId>,
    /// Only with these labels.
    pub labels: Labels,
    /// Only created after.
    pub after: Option<Millis>,
    /// Only created before.
    pub before: Option<Millis>,
}

/// A page of a list, newest first.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Rows wanted.
    pub size: u32,
    /// Rows strictly after this creation time and id.
    pub after: Option<(Millis, Uuid)>,
}

/// One claim of a job.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The epoch of the claim.
    pub epoch: i64,
    /// Whose it is; `None` is the gateway's own.
    pub node: Option<NodeId>,
    /// The session of the node.
    pub session: Option<i64>,
    /// Whether it races an older attempt.
    pub speculative: bool,
    /// When it was claimed.
    pub leased_at: Millis,
    /// When it is lost unless the node is heard of.
    pub lease_expires: Option<Millis>,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Time to load the key.
    pub key_load_ms: Option<i64>,
    /// Time to prove.
    pub prove_ms: Option<i64>,
    /// The most memory it used, as its node says.
    pub peak_ram: u64,
}

/// A proof that the gateway verified.
#[derive(Clone, Debug)]
pub struct NewProof {
    /// The native bytes.
    pub proof: Vec<u8>,
    /// The statement.
    pub public_values: Vec<u8>,
    /// The key it was verified with.
    pub vk_digest: [u8; 32],
    /// Who verified it.
    pub verifier_version: String,
    /// How long that took.
    pub verify_ms: i64,
    /// Time to load the key.
    pub key_load_ms: i64,
    /// Time to prove.
    pub prove_ms: i64,
    /// The most memory it used, as its node says.
    pub peak_ram: u64,
}

/// A stored proof.
#[derive(Clone, Debug)]
pub struct ProofRecord {
    /// SHA-256 of the native bytes.
    pub digest: Digest,
    /// The native bytes.
    pub proof: Vec<u8>,
    /// The statement.
    pub public_values: Vec<u8>,
    /// The key it was verified with.
    pub vk_digest: [u8; 32],
    /// When the gateway verified it.
    pub verified_at: Millis,
    /// Who verified it.
    pub verifier_version: String,
}

/// A change of a job's state.
#[derive(Clone, Debug)]
pub struct StateEvent {
    /// The cursor: the tenant's changes are numbered from 1.
    pub seq: i64,
    /// When.
    pub at: Millis,
    /// Whose.
    pub job: JobId,
    /// The state before (`None` for a new job).
    pub from: Option<JobState>,
    /// The state after.
    pub to: JobState,
    /// Why, when it failed.
    pub failure: Option<Failure>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_long_messages_at_a_character() {
        let long = "é".repeat(1000);
        let short = cut(long, 1024);
        assert!(short.len() <= 1024 && short.ends_with('…'));
        assert_eq!(cut("short".into(), 1024), "short");
    }

    #[test]
    fn names_parse_with_and_without_prefix() {
        let id = JobId::fresh();
        assert_eq!(id.to_string().parse::<JobId>().ok(), Some(id));
        assert_eq!(id.0.to_string().parse::<JobId>().ok(), Some(id));
        assert!("jobs/nonsense".parse::<JobId>().is_err());
    }
}
