//! What the service remembers: artifacts, circuits, jobs, proofs, events. No SQL type leaves this module.
//!
//! Every method that changes something is one transaction; when it returns `Ok`, the change survives `kill -9`.

mod access;
pub mod blobs;
#[cfg(test)]
pub(crate) mod conformance;
mod farm;
mod record;
pub mod sealed;
pub mod sqlite;

use std::fmt::Debug;

pub use access::*;
pub use blobs::{BlobError, Blobs};
pub use farm::*;
pub use record::*;

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Nothing of that name exists.
    #[error("{kind} {id} does not exist")]
    NotFound {
        /// "job", "circuit", "upload", "artifact".
        kind: &'static str,
        /// The name that was asked for.
        id: String,
    },
    /// Something of that name exists already.
    #[error("{kind} {id} exists already")]
    Exists {
        /// "tenant", "key".
        kind: &'static str,
        /// The name.
        id: String,
    },
    /// The request id was used before with another body.
    #[error(
        "request_id {0} was already used for a different request; send a fresh UUID for a new request"
    )]
    RequestIdReused(String),
    /// A limit of this server would be exceeded.
    #[error("{what}: {used} of {limit} in use; {advice}")]
    Quota {
        /// The limited quantity.
        what: &'static str,
        /// Present use.
        used: u64,
        /// The bound.
        limit: u64,
        /// What the caller can do.
        advice: &'static str,
    },
    /// The circuit cannot take jobs in its present state.
    #[error("circuit {circuit} is {state}, not READY")]
    CircuitNotReady {
        /// The circuit.
        circuit: CircuitId,
        /// Its state.
        state: CircuitState,
    },
    /// The job was changed since the etag was read.
    #[error("etag mismatch: the job is at version {now}")]
    EtagMismatch {
        /// The present version.
        now: i64,
    },
    /// The job is terminal, or a newer attempt owns it.
    #[error(transparent)]
    Refused(#[from] crate::farm::job::Refusal),
    /// No room on the disk.
    #[error("the disk of the data folder is full; free some space and send the request again")]
    DiskFull,
    /// The database failed.
    #[error("the job store failed: {0}")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A row holds a value that this version does not know.
    #[error("the job store holds an unknown {0}; it was written by a newer zkinfer")]
    Corrupt(&'static str),
    /// The data folder was written by a newer version.
    #[error(
        "the data folder has schema version {found}, this zkinfer knows up to {known}; use a newer zkinfer"
    )]
    Newer {
        /// Version on disk.
        found: i64,
        /// Newest known version.
        known: i64,
    },
}

/// The answer of a create call.
#[derive(Debug, Clone)]
pub struct Created<T> {
    /// The resource.
    pub resource: T,
    /// Whether it existed before this call.
    pub existed: bool,
}

/// What a commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The proof was stored; the job is SUCCEEDED.
    Accepted,
    /// The job already has its proof; nothing changed.
    AlreadyProven,
    /// The job ended otherwise meanwhile; nothing changed.
    JobEnded,
}

/// What [`JobStore::recover`] found after a restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Jobs that this process worked on; they are queued again.
    pub requeued: u64,
    /// Attempts of nodes, which have another lease's time to be heard of.
    pub held: u64,
}

/// Everything that is remembered.
pub trait Store: JobStore + FarmStore + AccessStore {}

impl<S: JobStore + FarmStore + AccessStore> Store for S {}

/// The durable state of the service. What a client sees belongs to a tenant; what belongs to another one does not exist.
#[async_trait::async_trait]
pub trait JobStore: Debug + Send + Sync {
    /// The digests of `digests` that the tenant did not upload.
    async fn missing_artifacts(
        &self,
        tenant: TenantId,
        digests: &[Digest],
    ) -> Result<Vec<Digest>, StoreError>;
    /// The tenant's artifact with `digest`.
    async fn artifact(
        &self,
        tenant: TenantId,
        digest: &Digest,
    ) -> Result<Option<Artifact>, StoreError>;
    /// Whether anything names the file of `digest`.
    async fn has_blob(&self, digest: &Digest) -> Result<bool, StoreError>;
    /// Records bytes that are already durable in the blob store.
    async fn add_artifact(
        &self,
        tenant: TenantId,
        digest: Digest,
        size: u64,
        kind: ArtifactKind,
    ) -> Result<Artifact, StoreError>;
    /// Forgets the tenant's artifact unless a live job or circuit of the tenant needs it; `true` when the file may go
    /// because nobody else names it.
    async fn remove_artifact(&self, tenant: TenantId, digest: &Digest) -> Result<bool, StoreError>;
    /// Artifacts whose time is over.
    async fn expired_artifacts(&self) -> Result<Vec<(TenantId, Digest)>, StoreError>;

    /// Bytes of artifacts, uploads on their way and proving keys.
    async fn stored_bytes(&self, tenant: TenantId) -> Result<StoredBytes, StoreError>;

    /// Begins an upload, or finds the tenant's live one of the same digest.
    async fn start_upload(
        &self,
        tenant: TenantId,
        digest: Digest,
        size: u64,
        kind: ArtifactKind,
    ) -> Result<Upload, StoreError>;
    /// The tenant's upload with `id`.
    async fn upload(&self, tenant: TenantId, id: UploadId) -> Result<Upload, StoreError>;
    /// Whether somebody's upload has this id.
    async fn has_upload(&self, id: UploadId) -> Result<bool, StoreError>;
    /// Ends an upload; with `keep`, its artifact is recorded in the same transaction.
    async fn end_upload(&self, id: UploadId, keep: bool) -> Result<(), StoreError>;
    /// Uploads whose time is over.
    async fn expired_uploads(&self) -> Result<Vec<UploadId>, StoreError>;

    /// Creates a circuit and its COMPILE job, or answers the tenant's one with the same fingerprint.
    async fn create_circuit(
        &self,
        tenant: TenantId,
        new: NewCircuit,
    ) -> Result<Created<Circuit>, StoreError>;
    /// The tenant's circuit with `id`.
    async fn circuit(&self, tenant: TenantId, id: CircuitId) -> Result<Circuit, StoreError>;
    /// A page of circuits, newest first.
    async fn circuits(
        &self,
        tenant: TenantId,
        filter: &CircuitFilter,
        page: &Page,
    ) -> Result<Vec<Circuit>, StoreError>;

    /// The job that the tenant used a request id for, within 24 hours.
    async fn remembered_job(
        &self,
        tenant: TenantId,
        request: &RequestKey,
    ) -> Result<Option<Job>, StoreError>;
    /// Creates a PROVE job, or answers the one that the request id or the content names.
    async fn create_job(&self, tenant: TenantId, new: NewJob) -> Result<Created<Job>, StoreError>;
    /// The tenant's job with `id`.
    async fn job(&self, tenant: TenantId, id: JobId) -> Result<Job, StoreError>;
    /// Anybody's job with `id`: for the operator and the farm.
    async fn any_job(&self, id: JobId) -> Result<Job, StoreError>;
    /// A page of jobs, newest first.
    async fn jobs(
        &self,
        tenant: TenantId,
        filter: &JobFilter,
        page: &Page,
    ) -> Result<Vec<Job>, StoreError>;
    /// How many queued jobs of the same tenant go before `job`.
    async fn jobs_ahead(&self, job: &Job) -> Result<u32, StoreError>;
    /// The attempts of a job, oldest first.
    async fn attempts(&self, tenant: TenantId, id: JobId) -> Result<Vec<Attempt>, StoreError>;
    /// The proof of a job.
    async fn proof(&self, tenant: TenantId, id: JobId) -> Result<Option<ProofRecord>, StoreError>;

    /// This process takes the next job of `kinds` that is due: QUEUED → LEASED with a new epoch.
    async fn claim(&self, kinds: &[JobKind]) -> Result<Option<Job>, StoreError>;
    /// When the next queued job of `kinds` becomes due, in milliseconds from now.
    async fn next_due_in_ms(&self, kinds: &[JobKind]) -> Result<Option<u64>, StoreError>;
    /// LEASED → RUNNING, of a claimed job.
    async fn start(&self, id: JobId, epoch: i64) -> Result<Job, StoreError>;
    /// Hands an unfinished claimed job back to the queue without counting it.
    async fn release(&self, id: JobId, epoch: i64) -> Result<Job, StoreError>;
    /// Ends a claim with a failure: back to the queue, FAILED or DEAD.
    async fn fail(&self, id: JobId, epoch: i64, failure: Failure) -> Result<Job, StoreError>;
    /// Stores the verified proof of a PROVE job, exactly once. The attempt must be, or have been, of `node`.
    async fn commit_proof(
        &self,
        id: JobId,
        epoch: i64,
        node: Option<NodeId>,
        proof: NewProof,
    ) -> Result<CommitOutcome, StoreError>;
    /// A COMPILE job ended well: records the facts and queues the SETUP job, in one transaction.
    async fn commit_compile(
        &self,
        id: JobId,
        epoch: i64,
        facts: CompileFacts,
    ) -> Result<CommitOutcome, StoreError>;
    /// A SETUP job ended well: the circuit is READY.
    async fn commit_setup(
        &self,
        id: JobId,
        epoch: i64,
        facts: SetupFacts,
    ) -> Result<CommitOutcome, StoreError>;
    /// Cancels a job that is not terminal; a terminal one is answered unchanged.
    async fn cancel(
        &self,
        tenant: TenantId,
        id: JobId,
        etag: Option<i64>,
    ) -> Result<Job, StoreError>;
    /// Ends jobs whose deadline has passed; answers them.
    async fn expire(&self) -> Result<Vec<Job>, StoreError>;
    /// After a restart: what this process worked on goes back to the queue with `lost_count + 1`; the attempts of nodes
    /// get `grace_ms` to be heard of.
    async fn recover(&self, grace_ms: i64) -> Result<Recovered, StoreError>;
    /// Terminal PROVE jobs whose private input is still stored.
    async fn private_inputs_to_drop(&self) -> Result<Vec<Job>, StoreError>;
    /// Marks the private input of a job as deleted.
    async fn input_dropped(&self, id: JobId) -> Result<(), StoreError>;
    /// Forgets events and request ids that are past their time.
    async fn sweep(&self) -> Result<(), StoreError>;

    /// Ticks after every change that made an event.
    fn changes(&self) -> tokio::sync::watch::Receiver<u64>;
    /// The tenant's events after `cursor` in order, at most `limit`.
    async fn events_after(
        &self,
        tenant: TenantId,
        cursor: i64,
        limit: u32,
    ) -> Result<Vec<StateEvent>, StoreError>;
    /// The cursor of the tenant's newest event.
    async fn last_event(&self, tenant: TenantId) -> Result<i64, StoreError>;
    /// A secret of this data folder, for page tokens.
    async fn secret(&self) -> Result<[u8; 32], StoreError>;
    /// Flushes and closes.
    async fn close(&self);
}
