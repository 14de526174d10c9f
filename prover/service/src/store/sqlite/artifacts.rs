//! Artifacts and uploads.

use sqlx::{AssertSqlSafe, Row};

use super::{ARTIFACT_TTL_MS, SqliteStore, Tx, UPLOAD_TTL_MS, now, rows};
use crate::store::{Artifact, ArtifactKind, Digest, StoreError, Upload, UploadId};

/// What keeps an artifact alive: a live circuit's files and a live job's input.
const NEEDED: &str = "EXISTS(SELECT 1 FROM circuits WHERE state IN (1,2) AND ?1 IN (model_digest,settings_digest,calibration_digest)) \
    OR EXISTS(SELECT 1 FROM jobs WHERE state IN (1,2,3,4) AND (input_digest=?1 OR input_artifact=?1))";

pub(super) async fn missing(
    store: &SqliteStore,
    digests: &[Digest],
) -> Result<Vec<Digest>, StoreError> {
    let mut missing = Vec::new();
    for digest in digests {
        if artifact(store, digest).await?.is_none() {
            missing.push(*digest);
        }
    }
    Ok(missing)
}

pub(super) async fn artifact(
    store: &SqliteStore,
    digest: &Digest,
) -> Result<Option<Artifact>, StoreError> {
    let row = sqlx::query("SELECT digest,size,kind,created_at FROM artifacts WHERE digest=?")
        .bind(&digest.0[..])
        .fetch_optional(&store.readers)
        .await?;
    row.as_ref().map(rows::artifact).transpose()
}

/// Records an artifact inside a transaction; what exists stays.
pub(super) async fn insert(
    tx: &mut Tx<'_>,
    digest: &Digest,
    size: u64,
    kind: ArtifactKind,
) -> Result<(), StoreError> {
    let now = now(tx).await?;
    sqlx::query("INSERT INTO artifacts(digest,size,kind,created_at) VALUES (?,?,?,?) ON CONFLICT(digest) DO NOTHING")
        .bind(&digest.0[..])
        .bind(size as i64)
        .bind(kind.code())
        .bind(now)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn add(
    store: &SqliteStore,
    digest: Digest,
    size: u64,
    kind: ArtifactKind,
) -> Result<Artifact, StoreError> {
    let mut tx = store.write().await?;
    insert(&mut tx, &digest, size, kind).await?;
    tx.commit().await?;
    artifact(store, &digest)
        .await?
        .ok_or(StoreError::Corrupt("artifact"))
}

pub(super) async fn remove(store: &SqliteStore, digest: &Digest) -> Result<bool, StoreError> {
    let mut tx = store.write().await?;
    let needed: bool = sqlx::query(AssertSqlSafe(format!("SELECT {NEEDED}")))
        .bind(&digest.0[..])
        .fetch_one(&mut *tx)
        .await?
        .try_get(0)?;
    if needed {
        return Ok(false);
    }
    sqlx::query("DELETE FROM artifacts WHERE digest=?")
        .bind(&digest.0[..])
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(true)
}

pub(super) async fn expired(store: &SqliteStore) -> Result<Vec<Digest>, StoreError> {
    sqlx::query("SELECT digest FROM artifacts WHERE created_at < CAST(unixepoch('subsec') * 1000 AS INTEGER) - ? LIMIT 1000")
        .bind(ARTIFACT_TTL_MS)
        .fetch_all(&store.readers)
        .await?
        .iter()
        .map(|row| rows::digest(row.try_get(0)?))
        .collect()
}

pub(super) async fn stored_bytes(store: &SqliteStore) -> Result<u64, StoreError> {
    let row = sqlx::query(
        "SELECT (SELECT coalesce(sum(size),0) FROM artifacts) + (SELECT coalesce(sum(size),0) FROM uploads) \
         + (SELECT coalesce(sum(json_extract(keys,'$.proving_key_bytes')),0) FROM circuits WHERE state=3)",
    )
    .fetch_one(&store.readers)
    .await?;
    Ok(row.try_get::<i64, _>(0)?.max(0) as u64)
}

pub(super) async fn start_upload(
    store: &SqliteStore,
    digest: Digest,
    size: u64,
    kind: ArtifactKind,
) -> Result<Upload, StoreError> {
    let mut tx = store.write().await?;
    let now = now(&mut tx).await?;
    let id = UploadId(uuid::Uuid::new_v4());
    // One live upload a digest: a second client of the same bytes goes on where the first one is.
    sqlx::query(
        "INSERT INTO uploads(id,digest,size,kind,expires_at) VALUES (?,?,?,?,?) \
         ON CONFLICT(digest) DO UPDATE SET expires_at=excluded.expires_at",
    )
    .bind(&id.0.as_bytes()[..])
    .bind(&digest.0[..])
    .bind(size as i64)
    .bind(kind.code())
    .bind(now + UPLOAD_TTL_MS)
    .execute(&mut *tx)
    .await?;
    let row = sqlx::query("SELECT id,digest,size,kind,expires_at FROM uploads WHERE digest=?")
        .bind(&digest.0[..])
        .fetch_one(&mut *tx)
        .await?;
    let upload = rows::upload(&row)?;
    tx.commit().await?;
    Ok(upload)
}

pub(super) async fn upload(store: &SqliteStore, id: UploadId) -> Result<Upload, StoreError> {
    let row = sqlx::query("SELECT id,digest,size,kind,expires_at FROM uploads WHERE id=?")
        .bind(&id.0.as_bytes()[..])
        .fetch_optional(&store.readers)
        .await?;
    row.as_ref()
        .map(rows::upload)
        .transpose()?
        .ok_or_else(|| StoreError::NotFound {
            kind: "upload",
            id: id.to_string(),
        })
}

pub(super) async fn end_upload(
    store: &SqliteStore,
    id: UploadId,
    keep: bool,
) -> Result<(), StoreError> {
    let mut tx = store.write().await?;
    let row =
        sqlx::query("DELETE FROM uploads WHERE id=? RETURNING id,digest,size,kind,expires_at")
            .bind(&id.0.as_bytes()[..])
            .fetch_optional(&mut *tx)
            .await?;
    if let (true, Some(row)) = (keep, row) {
        let upload = rows::upload(&row)?;
        insert(&mut tx, &upload.digest, upload.size, upload.kind).await?;
    }
    tx.commit().await?;
    Ok(())
}

pub(super) async fn expired_uploads(store: &SqliteStore) -> Result<Vec<UploadId>, StoreError> {
    sqlx::query(
        "SELECT id FROM uploads WHERE expires_at < CAST(unixepoch('subsec') * 1000 AS INTEGER)",
    )
    .fetch_all(&store.readers)
    .await?
    .iter()
    .map(|row| Ok(UploadId(rows::uuid(row.try_get(0)?)?)))
    .collect()
}
