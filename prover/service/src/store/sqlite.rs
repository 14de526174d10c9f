//! The store of one machine: SQLite in WAL mode with full synchronisation, one writer, several readers.
//!
//! Writes run in `BEGIN IMMEDIATE` transactions on a pool of one connection. A caller that may be dropped half-way
//! (a request handler) runs them in a task of their own.

mod artifacts;
mod circuits;
mod jobs;
mod rows;

use std::{path::Path, time::Duration};

use sqlx::{
    Connection as _, Row, Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::watch;

use super::{
    Artifact, ArtifactKind, Attempt, Circuit, CircuitFilter, CircuitId, CommitOutcome,
    CompileFacts, Created, Digest, Failure, Job, JobFilter, JobId, JobStore, NewCircuit, NewJob,
    NewProof, Page, ProofRecord, Recovered, RequestKey, SetupFacts, StateEvent, StoreError, Upload,
    UploadId,
};

/// The schema that this version writes.
const SCHEMA_VERSION: i64 = 1;
/// The one tenant of a server without authentication.
const TENANT: i64 = 1;
/// How long a request id is remembered.
const REQUEST_ID_TTL_MS: i64 = 24 * 3600 * 1000;
/// How long an unfinished upload is kept.
const UPLOAD_TTL_MS: i64 = 24 * 3600 * 1000;
/// How long an artifact that nothing needs is kept.
const ARTIFACT_TTL_MS: i64 = 30 * 24 * 3600 * 1000;
/// How long events are kept.
const EVENT_TTL_MS: i64 = 30 * 24 * 3600 * 1000;

type Tx<'a> = Transaction<'a, Sqlite>;

/// The SQLite store.
#[derive(Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    changed: watch::Sender<u64>,
}

impl SqliteStore {
    /// Opens or creates the database at `path`.
    ///
    /// # Errors
    /// The file cannot be opened, or a newer version wrote it.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
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
        migrate(&writer).await?;
        let readers = pool_options()
            .max_connections(4)
            .connect_with(options)
            .await?;
        Ok(Self {
            writer,
            readers,
            changed: watch::Sender::new(0),
        })
    }

    /// Begins a write transaction.
    async fn write(&self) -> Result<Tx<'static>, StoreError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
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

async fn migrate(pool: &SqlitePool) -> Result<(), StoreError> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    let found: i64 = sqlx::query("PRAGMA user_version")
        .fetch_one(&mut *tx)
        .await?
        .try_get(0)?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::Newer {
            found,
            known: SCHEMA_VERSION,
        });
    }
    if found == 0 {
        sqlx::raw_sql(include_str!("sqlite/schema.sql"))
            .execute(&mut *tx)
            .await?;
        let now = now(&mut tx).await?;
        sqlx::query("INSERT INTO tenants(id,name,created_at) VALUES (?,'default',?)")
            .bind(TENANT)
            .bind(now)
            .execute(&mut *tx)
            .await?;
        let secret: [u8; 32] = rand::random();
        sqlx::query("INSERT INTO meta(key,value) VALUES ('secret',?)")
            .bind(&secret[..])
            .execute(&mut *tx)
            .await?;
        sqlx::raw_sql("PRAGMA user_version = 1")
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(())
}

/// The database's clock.
async fn now(tx: &mut Tx<'_>) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)")
        .fetch_one(&mut **tx)
        .await?;
    Ok(row.try_get(0)?)
}

/// What a request id was used for, if it was.
async fn remembered(
    tx: &mut Tx<'_>,
    method: &str,
    key: &Option<RequestKey>,
) -> Result<Option<uuid::Uuid>, StoreError> {
    let Some(key) = key else { return Ok(None) };
    let now = now(tx).await?;
    let row = sqlx::query(
        "SELECT fingerprint, resource FROM idempotency WHERE tenant_id=? AND method=? AND request_id=? AND expires_at>?",
    )
    .bind(TENANT)
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
    method: &str,
    key: &Option<RequestKey>,
    resource: uuid::Uuid,
) -> Result<(), StoreError> {
    let Some(key) = key else { return Ok(()) };
    let now = now(tx).await?;
    sqlx::query("INSERT OR REPLACE INTO idempotency(tenant_id,method,request_id,fingerprint,resource,expires_at) VALUES (?,?,?,?,?,?)")
        .bind(TENANT)
        .bind(method)
        .bind(&key.request_id)
        .bind(&key.fingerprint.0[..])
        .bind(&resource.as_bytes()[..])
        .bind(now + REQUEST_ID_TTL_MS)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Refuses one more queued job than `limit`.
async fn check_queue(tx: &mut Tx<'_>, limit: u64) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT count(*) FROM jobs WHERE tenant_id=? AND state=1")
        .bind(TENANT)
        .fetch_one(&mut **tx)
        .await?;
    let used: i64 = row.try_get(0)?;
    let used = used.max(0) as u64;
    if used >= limit {
        let advice = "wait for jobs to finish, or start the server with a larger --max-queued";
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
    async fn missing_artifacts(&self, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        artifacts::missing(self, digests).await
    }

    async fn artifact(&self, digest: &Digest) -> Result<Option<Artifact>, StoreError> {
        artifacts::artifact(self, digest).await
    }

    async fn add_artifact(
        &self,
        digest: Digest,
        size: u64,
        kind: ArtifactKind,
    ) -> Result<Artifact, StoreError> {
        artifacts::add(self, digest, size, kind).await
    }

    async fn remove_artifact(&self, digest: &Digest) -> Result<bool, StoreError> {
        artifacts::remove(self, digest).await
    }

    async fn expired_artifacts(&self) -> Result<Vec<Digest>, StoreError> {
        artifacts::expired(self).await
    }

    async fn stored_bytes(&self) -> Result<u64, StoreError> {
        artifacts::stored_bytes(self).await
    }

    async fn start_upload(
        &self,
        digest: Digest,
        size: u64,
        kind: ArtifactKind,
    ) -> Result<Upload, StoreError> {
        artifacts::start_upload(self, digest, size, kind).await
    }

    async fn upload(&self, id: UploadId) -> Result<Upload, StoreError> {
        artifacts::upload(self, id).await
    }

    async fn end_upload(&self, id: UploadId, keep: bool) -> Result<(), StoreError> {
        artifacts::end_upload(self, id, keep).await
    }

    async fn expired_uploads(&self) -> Result<Vec<UploadId>, StoreError> {
        artifacts::expired_uploads(self).await
    }

    async fn create_circuit(&self, new: NewCircuit) -> Result<Created<Circuit>, StoreError> {
        circuits::create(self, new).await
    }

    async fn circuit(&self, id: CircuitId) -> Result<Circuit, StoreError> {
        circuits::circuit(self, id).await
    }

    async fn circuits(
        &self,
        filter: &CircuitFilter,
        page: &Page,
    ) -> Result<Vec<Circuit>, StoreError> {
        circuits::list(self, filter, page).await
    }

    async fn remembered_job(&self, request: &RequestKey) -> Result<Option<Job>, StoreError> {
        let mut tx = self.write().await?;
        let id = remembered(&mut tx, "CreateJob", &Some(request.clone())).await?;
        drop(tx);
        match id {
            Some(id) => jobs::job(self, JobId(id)).await.map(Some),
            None => Ok(None),
        }
    }

    async fn create_job(&self, new: NewJob) -> Result<Created<Job>, StoreError> {
        jobs::create(self, new).await
    }

    async fn job(&self, id: JobId) -> Result<Job, StoreError> {
        jobs::job(self, id).await
    }

    async fn jobs(&self, filter: &JobFilter, page: &Page) -> Result<Vec<Job>, StoreError> {
        jobs::list(self, filter, page).await
    }

    async fn jobs_ahead(&self, job: &Job) -> Result<u32, StoreError> {
        jobs::ahead(self, job).await
    }

    async fn attempts(&self, id: JobId) -> Result<Vec<Attempt>, StoreError> {
        jobs::attempts(self, id).await
    }

    async fn proof(&self, id: JobId) -> Result<Option<ProofRecord>, StoreError> {
        jobs::proof(self, id).await
    }

    async fn claim(&self) -> Result<Option<Job>, StoreError> {
        jobs::claim(self).await
    }

    async fn next_due_in_ms(&self) -> Result<Option<u64>, StoreError> {
        jobs::next_due_in_ms(self).await
    }

    async fn start(&self, id: JobId, epoch: i64) -> Result<Job, StoreError> {
        jobs::start(self, id, epoch).await
    }

    async fn release(&self, id: JobId, epoch: i64) -> Result<Job, StoreError> {
        jobs::release(self, id, epoch).await
    }

    async fn fail(&self, id: JobId, epoch: i64, failure: Failure) -> Result<Job, StoreError> {
        jobs::fail(self, id, epoch, failure).await
    }

    async fn commit_proof(
        &self,
        id: JobId,
        epoch: i64,
        proof: NewProof,
    ) -> Result<CommitOutcome, StoreError> {
        jobs::commit_proof(self, id, epoch, proof).await
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

    async fn cancel(&self, id: JobId, etag: Option<i64>) -> Result<Job, StoreError> {
        jobs::cancel(self, id, etag).await
    }

    async fn expire(&self) -> Result<Vec<Job>, StoreError> {
        jobs::expire(self).await
    }

    async fn recover(&self) -> Result<Recovered, StoreError> {
        jobs::recover(self).await
    }

    async fn private_inputs_to_drop(&self) -> Result<Vec<Job>, StoreError> {
        jobs::private_inputs_to_drop(self).await
    }

    async fn input_dropped(&self, id: JobId) -> Result<(), StoreError> {
        jobs::input_dropped(self, id).await
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let now = now(&mut tx).await?;
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

    async fn events_after(&self, cursor: i64, limit: u32) -> Result<Vec<StateEvent>, StoreError> {
        sqlx::query("SELECT seq,at,job_id,from_state,to_state,failure FROM job_events WHERE seq>? ORDER BY seq LIMIT ?")
            .bind(cursor)
            .bind(limit)
            .fetch_all(&self.readers)
            .await?
            .iter()
            .map(rows::event)
            .collect()
    }

    async fn last_event(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT coalesce(max(seq),0) FROM job_events")
            .fetch_one(&self.readers)
            .await?;
        Ok(row.try_get(0)?)
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
