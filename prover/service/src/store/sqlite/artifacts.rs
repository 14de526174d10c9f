//! Artifacts and uploads. `artifacts` says which files there are, `artifact_refs` whose they are: a tenant learns nothing of
//! files that only others uploaded.

use sqlx::{AssertSqlSafe, Row};

use super::{ARTIFACT_TTL_MS, SqliteStore, Tx, UPLOAD_TTL_MS, rows};
use crate::store::{
    Artifact, ArtifactKind, Digest, StoreError, StoredBytes, TenantId, Upload, UploadId,
};

const UPLOAD: &str = "id,tenant_id,digest,size,kind,expires_at";

pub(super) async fn missing(
    store: &SqliteStore,
    tenant: TenantId,
    digests: &[Digest],
) -> Result<Vec<Digest>, StoreError> {
    let mut missing = Vec::new();
    for digest in digests {
        if artifact(store, tenant, digest).await?.is_none() {
            missing.push(*digest);
        }
    }
    Ok(missing)
}

pub(super) async fn artifact(
    store: &SqliteStore,
    tenant: TenantId,
    digest: &Digest,
) -> Result<Option<Artifact>, StoreError> {
    let row = sqlx::query(
        "SELECT a.digest,a.size,r.kind,r.created_at FROM artifact_refs r JOIN artifacts a ON a.digest=r.digest \
         WHERE r.digest=? AND r.tenant_id=?",
    )
    .bind(&digest.0[..])
    .bind(tenant.0)
    .fetch_optional(&store.readers)
    .await?;
    row.as_ref().map(rows::artifact).transpose()
}

pub(super) async fn has_blob(store: &SqliteStore, digest: &Digest) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT 1 FROM artifacts WHERE digest=?")
        .bind(&digest.0[..])
        .fetch_optional(&store.readers)
        .await?;
    Ok(row.is_some())
}

/// Records a file inside a transaction; what exists stays.
pub(super) async fn insert_blob(
    tx: &mut Tx<'_>,
    digest: &Digest,
    size: u64,
    kind: ArtifactKind,
) -> Result<(), StoreError> {
    let now = tx.now;
    sqlx::query("INSERT INTO artifacts(digest,size,kind,created_at) VALUES (?,?,?,?) ON CONFLICT(digest) DO NOTHING")
        .bind(&digest.0[..])
        .bind(size as i64)
        .bind(kind.code())
        .bind(now)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Records a file of a tenant inside a transaction; what exists stays.
pub(super) async fn insert(
    tx: &mut Tx<'_>,
    tenant: TenantId,
    digest: &Digest,
    size: u64,
    kind: ArtifactKind,
) -> Result<(), StoreError> {
    insert_blob(tx, digest, size, kind).await?;
    let now = tx.now;
    sqlx::query(
        "INSERT INTO artifact_refs(digest,tenant_id,kind,created_at) VALUES (?,?,?,?) ON CONFLICT(digest,tenant_id) DO NOTHING",
    )
    .bind(&digest.0[..])
    .bind(tenant.0)
    .bind(kind.code())
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn add(
    store: &SqliteStore,
    tenant: TenantId,
    digest: Digest,
    size: u64,
    kind: ArtifactKind,
) -> Result<Artifact, StoreError> {
    let mut tx = store.write().await?;
    insert(&mut tx, tenant, &digest, size, kind).await?;
    tx.commit().await?;
    artifact(store, tenant, &digest)
        .await?
        .ok_or(StoreError::Corrupt("artifact"))
}

/// Whether a live circuit or job (`who` narrows them) needs the file.
async fn needed(tx: &mut Tx<'_>, digest: &Digest, who: &str) -> Result<bool, StoreError> {
    let sql = format!(
        "SELECT EXISTS(SELECT 1 FROM circuits WHERE state IN (1,2) {who} AND ?1 IN (model_digest,settings_digest,calibration_digest)) \
         OR EXISTS(SELECT 1 FROM jobs WHERE state IN (1,2,3,4) {who} AND (input_digest=?1 OR input_artifact=?1))"
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(&digest.0[..])
        .fetch_one(&mut **tx)
        .await?;
    Ok(row.try_get(0)?)
}

pub(super) async fn remove(
    store: &SqliteStore,
    tenant: TenantId,
    digest: &Digest,
) -> Result<bool, StoreError> {
    let mut tx = store.write().await?;
    if needed(&mut tx, digest, &format!("AND tenant_id={}", tenant.0)).await? {
        return Ok(false);
    }
    sqlx::query("DELETE FROM artifact_refs WHERE digest=? AND tenant_id=?")
        .bind(&digest.0[..])
        .bind(tenant.0)
        .execute(&mut *tx)
        .await?;
    let shared = sqlx::query("SELECT 1 FROM artifact_refs WHERE digest=?")
        .bind(&digest.0[..])
        .fetch_optional(&mut *tx)
        .await?
        .is_some();
    let gone = !shared && !needed(&mut tx, digest, "").await?;
    if gone {
        sqlx::query("DELETE FROM artifacts WHERE digest=?")
            .bind(&digest.0[..])
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(gone)
}

pub(super) async fn expired(store: &SqliteStore) -> Result<Vec<(TenantId, Digest)>, StoreError> {
    sqlx::query(
        "SELECT tenant_id,digest FROM artifact_refs WHERE created_at<?1 UNION ALL \
         SELECT 0,digest FROM artifacts a WHERE created_at<?1 AND NOT EXISTS(SELECT 1 FROM artifact_refs r WHERE r.digest=a.digest) \
         LIMIT 1000",
    )
    .bind(store.clock() - ARTIFACT_TTL_MS)
    .fetch_all(&store.readers)
    .await?
    .iter()
    .map(|row| Ok((TenantId(row.try_get(0)?), rows::digest(row.try_get(1)?)?)))
    .collect()
}

pub(super) async fn stored_bytes(
    store: &SqliteStore,
    tenant: TenantId,
) -> Result<StoredBytes, StoreError> {
    let row = sqlx::query(
        "SELECT (SELECT coalesce(sum(size),0) FROM artifacts) + (SELECT coalesce(sum(size),0) FROM uploads) \
         + (SELECT coalesce(sum(json_extract(keys,'$.proving_key_bytes')),0) FROM circuits WHERE state=3), \
         (SELECT coalesce(sum(a.size),0) FROM artifact_refs r JOIN artifacts a ON a.digest=r.digest WHERE r.tenant_id=?1) \
         + (SELECT coalesce(sum(a.size),0) FROM jobs j INDEXED BY jobs_private JOIN artifacts a ON a.digest=j.input_digest \
         WHERE j.private_input=1 AND j.input_dropped=0 AND j.tenant_id=?1) \
         + (SELECT coalesce(sum(size),0) FROM uploads WHERE tenant_id=?1) \
         + (SELECT coalesce(sum(json_extract(keys,'$.proving_key_bytes')),0) FROM circuits WHERE state=3 AND tenant_id=?1), \
         (SELECT max_artifact_bytes FROM tenants WHERE id=?1)",
    )
    .bind(tenant.0)
    .fetch_one(&store.readers)
    .await?;
    let limit = rows::bytes(row.try_get::<Option<i64>, _>(2)?.unwrap_or(0));
    Ok(StoredBytes {
        total: rows::bytes(row.try_get(0)?),
        tenant: rows::bytes(row.try_get(1)?),
        tenant_limit: (limit > 0).then_some(limit),
    })
}

pub(super) async fn start_upload(
    store: &SqliteStore,
    tenant: TenantId,
    digest: Digest,
    size: u64,
    kind: ArtifactKind,
) -> Result<Upload, StoreError> {
    let mut tx = store.write().await?;
    let now = tx.now;
    let id = UploadId(uuid::Uuid::new_v4());
    // One live upload a digest and tenant: a second client of the same bytes goes on where the first one is.
    sqlx::query(
        "INSERT INTO uploads(id,tenant_id,digest,size,kind,expires_at) VALUES (?,?,?,?,?,?) \
         ON CONFLICT(tenant_id,digest) DO UPDATE SET expires_at=excluded.expires_at",
    )
    .bind(&id.0.as_bytes()[..])
    .bind(tenant.0)
    .bind(&digest.0[..])
    .bind(size as i64)
    .bind(kind.code())
    .bind(now + UPLOAD_TTL_MS)
    .execute(&mut *tx)
    .await?;
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT {UPLOAD} FROM uploads WHERE tenant_id=? AND digest=?"
    )))
    .bind(tenant.0)
    .bind(&digest.0[..])
    .fetch_one(&mut *tx)
    .await?;
    let upload = rows::upload(&row)?;
    tx.commit().await?;
    Ok(upload)
}

pub(super) async fn upload(
    store: &SqliteStore,
    tenant: TenantId,
    id: UploadId,
) -> Result<Upload, StoreError> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT {UPLOAD} FROM uploads WHERE id=? AND tenant_id=?"
    )))
    .bind(&id.0.as_bytes()[..])
    .bind(tenant.0)
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

pub(super) async fn has_upload(store: &SqliteStore, id: UploadId) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT 1 FROM uploads WHERE id=?")
        .bind(&id.0.as_bytes()[..])
        .fetch_optional(&store.readers)
        .await?;
    Ok(row.is_some())
}

pub(super) async fn end_upload(
    store: &SqliteStore,
    id: UploadId,
    keep: bool,
) -> Result<(), StoreError> {
    let mut tx = store.write().await?;
    let row = sqlx::query(AssertSqlSafe(format!(
        "DELETE FROM uploads WHERE id=? RETURNING {UPLOAD}"
    )))
    .bind(&id.0.as_bytes()[..])
    .fetch_optional(&mut *tx)
    .await?;
    if let (true, Some(row)) = (keep, row) {
        let upload = rows::upload(&row)?;
        insert(
            &mut tx,
            upload.tenant,
            &upload.digest,
            upload.size,
            upload.kind,
        )
        .await?;
    }
    tx.commit().await?;
    Ok(())
}

pub(super) async fn expired_uploads(store: &SqliteStore) -> Result<Vec<UploadId>, StoreError> {
    sqlx::query("SELECT id FROM uploads WHERE expires_at<?")
        .bind(store.clock())
        .fetch_all(&store.readers)
        .await?
        .iter()
        .map(|row| Ok(UploadId(rows::uuid(row.try_get(0)?)?)))
        .collect()
}
