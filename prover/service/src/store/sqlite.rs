//! The store of one machine: SQLite in WAL mode with full synchronisation, one writer, several readers.
//!
//! Writes run in `BEGIN IMMEDIATE` transactions on a pool of one connection. A caller that may be dropped half-way
//! (a request handler) runs them in a task of their own.

mod access;
mod artifacts;
mod circuits;
mod jobs;
mod leases;
mod life;
mod migrate;
mod nodes;
mod rows;
mod view;

use std::{
    fs::OpenOptions,
    ops::{Deref, DerefMut},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use sqlx::{
    Connection as _, Row, Sqlite, SqliteConnection, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::watch;

use super::{
    Artifact, ArtifactKind, Attempt, Circuit, CircuitFilter, CircuitId, CommitOutcome,
    CompileFacts, Created, Digest, Failure, Job, JobFilter, JobId, JobKind, JobStore, Millis,
    NewCircuit, NewJob, NewProof, NodeId, Page, ProofRecord, Recovered, RequestKey, SetupFacts,
    StateEvent, StoreError, StoredBytes, TenantId, Upload, UploadId,
};

/// How long a request id is remembered.
const REQUEST_ID_TTL_MS: i64 = 24 * 3600 * 1000;
/// How long an unfinished upload is kept.
const UPLOAD_TTL_MS: i64 = 24 * 3600 * 1000;
/// How long an artifact that nothing needs is kept.
const ARTIFACT_TTL_MS: i64 = 30 * 24 * 3600 * 1000;
/// How long events are kept.
const EVENT_TTL_MS: i64 = 30 * 24 * 3600 * 1000;

/// A transaction, with the time at which it began.
struct Tx<'a> {
    inner: Transaction<'a, Sqlite>,
    now: Millis,
}

impl Tx<'_> {
    async fn commit(self) -> Result<(), sqlx::Error> {
        self.inner.commit().await
    }
}

impl Deref for Tx<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.inner
    }
}

impl DerefMut for Tx<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.inner
    }
}

/// The database's clock.
async fn now(tx: &mut Tx<'_>) -> Result<i64, StoreError> {
    Ok(tx.now)
}

/// The SQLite store.
#[derive(Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    changed: watch::Sender<u64>,
    /// A clock that was set stands still; 0 is this machine's.
    set_clock: AtomicI64,
    /// When the store was opened: steps of the wall clock after that end no lease.
    opened: (Millis, Instant),
}

fn wall_clock() -> Millis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX / 2)
}

impl SqliteStore {
    /// Opens or creates the database at `path`.
    ///
    /// # Errors
    /// The file cannot be opened, or a newer version wrote it.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        // SQLite gives its other files the mode of the database.
        let _ = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path);
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let writer = pool_options()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone())
            .await?;
        migrate::migrate(&writer).await?;
        let readers = pool_options()
            .max_connections(4)
            .connect_with(options)
            .await?;
        Ok(Self {
            writer,
            readers,
            changed: watch::Sender::new(0),
            set_clock: AtomicI64::new(0),
            opened: (wall_clock(), Instant::now()),
        })
    }

    /// The database is this process, so its clock is this machine's, as it was when the store was opened and as time passed since.
    fn clock(&self) -> Millis {
        match self.set_clock.load(Ordering::Relaxed) {
            0 => {
                let (wall, opened) = self.opened;
                let since = opened.elapsed().as_millis();
                wall.saturating_add(i64::try_from(since).unwrap_or(i64::MAX / 2))
            }
            set => set,
        }
    }

    /// The wall clock, for what people and other machines were promised: the ends of credentials.
    fn wall(&self) -> Millis {
        match self.set_clock.load(Ordering::Relaxed) {
            0 => wall_clock(),
            set => set,
        }
    }

    /// Sets the clock, which then stands still.
    #[cfg(test)]
    pub(crate) fn set_clock(&self, now: Millis) {
        self.set_clock.store(now, Ordering::Relaxed);
    }

    /// Begins a write transaction.
    async fn write(&self) -> Result<Tx<'static>, StoreError> {
        let inner = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        // Told after the wait for the writer, so that later transactions have later times.
        let now = self.clock();
        Ok(Tx { inner, now })
    }

    /// Commits and wakes those who wait for events.
    async fn commit(&self, tx: Tx<'_>) -> Result<(), StoreError> {
        tx.commit().await?;
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
        Ok(())
    }
}

/// After some errors (a full disk among them) SQLite ends a transaction by itself; sqlx then counts it as open for ever.
/// Such a connection is replaced before its next use.
fn pool_options() -> SqlitePoolOptions {
    SqlitePoolOptions::new().before_acquire(|connection, _| {
        Box::pin(async move {
            // The answer comes after a rollback that is still queued.
            connection.ping().await?;
            Ok(!connection.is_in_transaction())
        })
    })
}

/// What a request id was used for, if it was.
async fn remembered(
    tx: &mut Tx<'_>,
    tenant: TenantId,
    method: &str,
    key: &Option<RequestKey>,
) -> Result<Option<uuid::Uuid>, StoreError> {
    let Some(key) = key else { return Ok(None) };
    let now = now(tx).await?;
    let row = sqlx::query(
        "SELECT fingerprint, resource FROM idempotency WHERE tenant_id=? AND method=? AND request_id=? AND expires_at>?",
    )
    .bind(tenant.0)
    .bind(method)
    .bind(&key.request_id)
    .bind(now)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    if rows::digest(row.try_get(0)?)? != key.fingerprint {
        return Err(StoreError::RequestIdReused(key.request_id.clone()));
    }
    rows::uuid(row.try_get(1)?).map(Some)
}

/// Remembers what a request id was used for.
async fn remember(
    tx: &mut Tx<'_>,
    tenant: TenantId,
    method: &str,
    key: &Option<RequestKey>,
    resource: uuid::Uuid,
) -> Result<(), StoreError> {
    let Some(key) = key else { return Ok(()) };
    let now = now(tx).await?;
    sqlx::query("INSERT OR REPLACE INTO idempotency(tenant_id,method,request_id,fingerprint,resource,expires_at) VALUES (?,?,?,?,?,?)")
        .bind(tenant.0)
        .bind(method)
        .bind(&key.request_id)
        .bind(&key.fingerprint.0[..])
        .bind(&resource.as_bytes()[..])
        .bind(now + REQUEST_ID_TTL_MS)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Refuses one more queued job than the tenant's bound, or `limit` for a tenant without one.
async fn check_queue(tx: &mut Tx<'_>, tenant: TenantId, limit: u64) -> Result<(), StoreError> {
    let row = sqlx::query(
        "SELECT (SELECT count(*) FROM jobs WHERE tenant_id=?1 AND state=1), (SELECT max_queued FROM tenants WHERE id=?1)",
    )
    .bind(tenant.0)
    .fetch_one(&mut **tx)
    .await?;
    let used = rows::bytes(row.try_get(0)?);
    let (limit, advice) = match row.try_get::<Option<i64>, _>(1)? {
        Some(own @ 1..) => (
            rows::bytes(own),
            "wait for jobs to finish, or ask the operator for a larger bound",
        ),
        _ => (
            limit,
            "wait for jobs to finish, or start the server with a larger --max-queued",
        ),
    };
    if used >= limit {
        return Err(StoreError::Quota {
            what: "queued jobs",
            used,
            limit,
            advice,
        });
    }
    Ok(())
}

impl From<sqlx::Error> for StoreError {
    fn from(e: sqlx::Error) -> Self {
        const SQLITE_FULL: &str = "13";
        match &e {
            sqlx::Error::Database(d) if d.code().is_some_and(|c| c == SQLITE_FULL) => {
                Self::DiskFull
            }
            _ => Self::Database(Box::new(e)),
        }
    }
}

#[async_trait::async_trait]
impl JobStore for SqliteStore {
    async fn missing_artifacts(
        &self,
        tenant: TenantId,
        digests: &[Digest],
    ) -> Result<Vec<Digest>, StoreError> {
        artifacts::missing(self, tenant, digests).await
    }

    async fn artifact(
        &self,
        tenant: TenantId,
        digest: &Digest,
    ) -> Result<Option<Artifact>, StoreError> {
        artifacts::artifact(self, tenant, digest).await
    }

    async fn has_blob(&self, digest: &Digest) -> Result<bool, StoreError> {
        artifacts::has_blob(self, digest).await
    }

    async fn add_artifact(
        &self,
        tenant: TenantId,
        digest: Digest,
        size: u64,
        kind: ArtifactKind,
    ) -> Result<Artifact, StoreError> {
        artifacts::add(self, tenant, digest, size, kind).await
    }

    async fn remove_artifact(&self, tenant: TenantId, digest: &Digest) -> Result<bool, StoreError> {
        artifacts::remove(self, tenant, digest).await
    }

    async fn expired_artifacts(&self) -> Result<Vec<(TenantId, Digest)>, StoreError> {
        artifacts::expired(self).await
    }

    async fn stored_bytes(&self, tenant: TenantId) -> Result<StoredBytes, StoreError> {
        artifacts::stored_bytes(self, tenant).await
    }

    async fn start_upload(
        &self,
        tenant: TenantId,
        digest: Digest,
        size: u64,
        kind: ArtifactKind,
    ) -> Result<Upload, StoreError> {
        artifacts::start_upload(self, tenant, digest, size, kind).await
    }

    async fn upload(&self, tenant: TenantId, id: UploadId) -> Result<Upload, StoreError> {
        artifacts::upload(self, tenant, id).await
    }

    async fn has_upload(&self, id: UploadId) -> Result<bool, StoreError> {
        artifacts::has_upload(self, id).await
    }

    async fn end_upload(&self, id: UploadId, keep: bool) -> Result<(), StoreError> {
        artifacts::end_upload(self, id, keep).await
    }

    async fn expired_uploads(&self) -> Result<Vec<UploadId>, StoreError> {
        artifacts::expired_uploads(self).await
    }

    async fn create_circuit(
        &self,
        tenant: TenantId,
        new: NewCircuit,
    ) -> Result<Created<Circuit>, StoreError> {
        circuits::create(self, tenant, new).await
    }

    async fn circuit(&self, tenant: TenantId, id: CircuitId) -> Result<Circuit, StoreError> {
        circuits::circuit(self, tenant, id).await
    }

    async fn circuits(
        &self,
        tenant: TenantId,
        filter: &CircuitFilter,
        page: &Page,
    ) -> Result<Vec<Circuit>, StoreError> {
        circuits::list(self, tenant, filter, page).await
    }

    async fn remembered_job(
        &self,
        tenant: TenantId,
        request: &RequestKey,
    ) -> Result<Option<Job>, StoreError> {
        let mut tx = self.write().await?;
        let id = remembered(&mut tx, tenant, "CreateJob", &Some(request.clone())).await?;
        drop(tx);
        match id {
            Some(id) => jobs::job(self, Some(tenant), JobId(id)).await.map(Some),
            None => Ok(None),
        }
    }

    async fn create_job(&self, tenant: TenantId, new: NewJob) -> Result<Created<Job>, StoreError> {
        jobs::create(self, tenant, new).await
    }

    async fn job(&self, tenant: TenantId, id: JobId) -> Result<Job, StoreError> {
        jobs::job(self, Some(tenant), id).await
    }

    async fn any_job(&self, id: JobId) -> Result<Job, StoreError> {
        jobs::job(self, None, id).await
    }

    async fn jobs(
        &self,
        tenant: TenantId,
        filter: &JobFilter,
        page: &Page,
    ) -> Result<Vec<Job>, StoreError> {
        jobs::list(self, tenant, filter, page).await
    }

    async fn jobs_ahead(&self, job: &Job) -> Result<u32, StoreError> {
        jobs::ahead(self, job).await
    }

    async fn attempts(&self, tenant: TenantId, id: JobId) -> Result<Vec<Attempt>, StoreError> {
        jobs::attempts(self, tenant, id).await
    }

    async fn proof(&self, tenant: TenantId, id: JobId) -> Result<Option<ProofRecord>, StoreError> {
        jobs::proof(self, tenant, id).await
    }

    async fn claim(&self, kinds: &[JobKind]) -> Result<Option<Job>, StoreError> {
        life::claim(self, kinds).await
    }

    async fn next_due_in_ms(&self, kinds: &[JobKind]) -> Result<Option<u64>, StoreError> {
        life::next_due_in_ms(self, kinds).await
    }

    async fn start(&self, id: JobId, epoch: i64) -> Result<Job, StoreError> {
        life::start(self, id, epoch).await
    }

    async fn release(&self, id: JobId, epoch: i64) -> Result<Job, StoreError> {
        life::release(self, id, epoch).await
    }

    async fn fail(&self, id: JobId, epoch: i64, failure: Failure) -> Result<Job, StoreError> {
        life::fail(self, id, epoch, failure).await
    }

    async fn commit_proof(
        &self,
        id: JobId,
        epoch: i64,
        node: Option<NodeId>,
        proof: NewProof,
    ) -> Result<CommitOutcome, StoreError> {
        life::commit_proof(self, id, epoch, node, proof).await
    }

    async fn commit_compile(
        &self,
        id: JobId,
        epoch: i64,
        facts: CompileFacts,
    ) -> Result<CommitOutcome, StoreError> {
        circuits::commit_compile(self, id, epoch, facts).await
    }

    async fn commit_setup(
        &self,
        id: JobId,
        epoch: i64,
        facts: SetupFacts,
    ) -> Result<CommitOutcome, StoreError> {
        circuits::commit_setup(self, id, epoch, facts).await
    }

    async fn cancel(
        &self,
        tenant: TenantId,
        id: JobId,
        etag: Option<i64>,
    ) -> Result<Job, StoreError> {
        life::cancel(self, tenant, id, etag).await
    }

    async fn expire(&self) -> Result<Vec<Job>, StoreError> {
        life::expire(self).await
    }

    async fn recover(&self, grace_ms: i64) -> Result<Recovered, StoreError> {
        life::recover(self, grace_ms).await
    }

    async fn private_inputs_to_drop(&self) -> Result<Vec<Job>, StoreError> {
        jobs::private_inputs_to_drop(self).await
    }

    async fn input_dropped(&self, id: JobId) -> Result<(), StoreError> {
        jobs::input_dropped(self, id).await
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let now = tx.now;
        sqlx::query("DELETE FROM idempotency WHERE expires_at<=?")
            .bind(now)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM job_events WHERE at<=?")
            .bind(now - EVENT_TTL_MS)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    async fn events_after(
        &self,
        tenant: TenantId,
        cursor: i64,
        limit: u32,
    ) -> Result<Vec<StateEvent>, StoreError> {
        sqlx::query(
            "SELECT tenant_seq,at,job_id,from_state,to_state,failure FROM job_events WHERE tenant_id=? AND tenant_seq>? \
             ORDER BY tenant_seq LIMIT ?",
        )
        .bind(tenant.0)
        .bind(cursor)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?
        .iter()
        .map(rows::event)
        .collect()
    }

    async fn last_event(&self, tenant: TenantId) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT last_event FROM tenants WHERE id=?")
            .bind(tenant.0)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|r| r.try_get(0)).transpose()?.unwrap_or(0))
    }

    async fn secret(&self) -> Result<[u8; 32], StoreError> {
        let row = sqlx::query("SELECT value FROM meta WHERE key='secret'")
            .fetch_one(&self.readers)
            .await?;
        Ok(rows::digest(row.try_get(0)?)?.0)
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

#[cfg(test)]
mod tests;
