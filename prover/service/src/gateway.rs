//! The gateway: what a request does, in the service's own words. `api` translates; this decides.

mod artifacts;
mod circuits;
mod jobs;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OwnedSemaphorePermit;

use crate::{
    farm::Farm,
    store::{BlobError, CircuitId, CircuitState, Digest, JobState, StoreError, TenantId, UploadId},
    work::Gate,
};

pub use artifacts::UploadState;
pub use circuits::CircuitRequest;
pub(crate) use jobs::check_wanted_labels;
pub use jobs::{JobInput, JobRequest, JobView};

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// A field of the request is wrong.
    #[error("{field}: {message}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// A constant for programs.
        reason: &'static str,
        /// A sentence.
        message: String,
    },
    /// A resource named in the request does not exist.
    #[error("{kind} {id} does not exist")]
    NotFound {
        /// What kind.
        kind: &'static str,
        /// Its name.
        id: String,
    },
    /// The job has no proof.
    #[error("the job is {state}: it has no proof{}", .why.as_deref().map(|w| format!(" ({w})")).unwrap_or_default())]
    NoProof {
        /// Its state.
        state: JobState,
        /// Why it ended.
        why: Option<String>,
    },
    /// A verifier is asked for that comes with tests, and there is no proof to test it on.
    #[error(
        "the circuit has no proof to test a Substrate crate on: create a job for it, wait until it has SUCCEEDED, and ask again"
    )]
    NoExample,
    /// Another call writes the same upload.
    #[error("another call is writing this upload; go on after GetUpload")]
    UploadBusy,
    /// The server is going down.
    #[error("the server is draining")]
    Draining,
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file could not be written or read.
    #[error("stored file: {0}")]
    Blob(BlobError),
    /// A defect.
    #[error("{0}")]
    Internal(String),
}

impl GatewayError {
    pub(crate) fn invalid(
        field: &'static str,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self::Invalid {
            field,
            reason,
            message: message.into(),
        }
    }
}

impl From<BlobError> for GatewayError {
    fn from(e: BlobError) -> Self {
        if e.is_disk_full() {
            Self::Store(StoreError::DiskFull)
        } else {
            Self::Blob(e)
        }
    }
}

/// Decides on requests.
#[derive(Debug, Clone)]
pub struct Gateway {
    farm: Arc<Farm>,
    /// Whose resources it decides on.
    tenant: TenantId,
    writing: Arc<Mutex<HashSet<UploadId>>>,
    /// Expensive checks (proofs, input files) that may run at once.
    checks: Arc<tokio::sync::Semaphore>,
}

impl Gateway {
    /// A gateway over `farm`.
    pub fn new(farm: Arc<Farm>) -> Self {
        Self {
            farm,
            tenant: TenantId::DEFAULT,
            writing: Arc::default(),
            checks: Arc::new(tokio::sync::Semaphore::new(4)),
        }
    }

    /// The same gateway, for the resources of `tenant`.
    #[must_use]
    pub fn of(&self, tenant: TenantId) -> Self {
        Self {
            tenant,
            ..self.clone()
        }
    }

    /// Whose resources it decides on.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The farm behind it.
    pub fn farm(&self) -> &Arc<Farm> {
        &self.farm
    }

    /// Runs `work` to its end even when the caller goes away.
    ///
    /// # Errors
    /// What `work` answers, or `Draining`.
    pub async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, GatewayError>> + Send + 'static,
    ) -> Result<T, GatewayError> {
        if self.farm.stopping.is_cancelled() {
            return Err(GatewayError::Draining);
        }
        self.farm
            .tasks
            .spawn(work)
            .await
            .map_err(|_| GatewayError::Internal("the request met a defect".into()))?
    }

    async fn check_permit(&self) -> Result<OwnedSemaphorePermit, GatewayError> {
        Arc::clone(&self.checks)
            .acquire_owned()
            .await
            .map_err(|_| GatewayError::Draining)
    }

    /// Refuses `more` bytes above the bound on stored bytes.
    async fn check_room(&self, more: u64) -> Result<(), GatewayError> {
        let stored = self.farm.store.stored_bytes(self.tenant).await?;
        if let Some(limit) = stored.tenant_limit
            && stored.tenant.saturating_add(more) > limit
        {
            let advice = "artifacts that nothing needs leave after 30 days; or ask the operator for a larger bound";
            return Err(StoreError::Quota {
                what: "stored bytes",
                used: stored.tenant,
                limit,
                advice,
            }
            .into());
        }
        let (used, limit) = (stored.total, self.farm.limits.max_stored_bytes);
        if used.saturating_add(more) > limit {
            let advice = "artifacts that nothing needs leave after 30 days; or start the server with a larger --max-stored-bytes";
            return Err(StoreError::Quota {
                what: "stored bytes",
                used,
                limit,
                advice,
            }
            .into());
        }
        Ok(())
    }

    /// Deletes the file of `digest` when no row names it, and the row when nothing live needs it and `row` is set.
    async fn forget(&self, digest: &Digest, row: bool) -> Result<(), GatewayError> {
        let _collecting = self.farm.blobs.collect().await;
        let gone = if row {
            self.farm.store.remove_artifact(self.tenant, digest).await?
        } else {
            !self.farm.store.has_blob(digest).await?
        };
        if gone {
            self.farm.blobs.remove(digest);
        }
        Ok(())
    }
}

/// The gateway's view of a READY circuit: its key is the one that the store recorded.
pub(crate) async fn gate(
    farm: &Arc<Farm>,
    tenant: TenantId,
    circuit: CircuitId,
) -> Result<Arc<dyn Gate>, GatewayError> {
    // What another tenant loaded is found under that tenant only.
    let key = (tenant, circuit);
    let lock = |farm: &Farm| {
        farm.gates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .touch(&key)
    };
    if let Some(gate) = lock(farm) {
        return Ok(gate);
    }
    let record = farm.store.circuit(tenant, circuit).await?;
    let Some(keys) = record.keys.filter(|_| record.state == CircuitState::Ready) else {
        return Err(StoreError::CircuitNotReady {
            circuit,
            state: record.state,
        }
        .into());
    };
    let (work, bundle) = (Arc::clone(&farm.work), farm.bundle(circuit));
    let gate = tokio::task::spawn_blocking(move || work.gate(&bundle))
        .await
        .map_err(|_| GatewayError::Internal("loading the circuit met a defect".into()))?
        .map_err(|e| GatewayError::Internal(format!("{circuit}: {e}")))?;
    if gate.vk_digest() != keys.vk_digest {
        return Err(GatewayError::Internal(format!(
            "{circuit}: the verifying key on disk is not the one on record"
        )));
    }
    farm.gates
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(key, Arc::clone(&gate));
    Ok(gate)
}
