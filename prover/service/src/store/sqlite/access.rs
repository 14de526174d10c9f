//! Tenants, keys, enrollment.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Row, sqlite::SqliteRow};
use uuid::Uuid;

use super::{REQUEST_ID_TTL_MS, SqliteStore, Tx, now, rows};
use crate::store::{
    AccessStore, ApiKey, Digest, EnrollGrant, KeyOnRecord, Millis, NewApiKey, NewTenant, NodeId,
    RequestKey, Scopes, StoreError, Tenant, TenantBounds, TenantChange, TenantId, Trust,
};

/// Requests of the operator are remembered under no tenant.
const OPERATOR: i64 = 0;
const TENANT: &str = "t.id,t.name,t.weight,t.max_running,t.max_queued,t.max_artifact_bytes,t.requests_per_second,\
    t.disabled,t.version,t.created_at AS tenant_created_at";
const KEY: &str =
    "k.prefix,k.hash,k.tenant_id,k.scopes,k.created_at,k.expires_at,k.revoked_at,k.last_used";
const NOW: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

fn millis(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX / 4)
}

fn stored(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn read_tenant(row: &SqliteRow) -> Result<Tenant, StoreError> {
    let count = |n: i64| u32::try_from(n.max(0)).unwrap_or(u32::MAX);
    Ok(Tenant {
        id: TenantId(row.try_get("id")?),
        name: row.try_get("name")?,
        bounds: TenantBounds {
            weight: row.try_get("weight")?,
            max_running: count(row.try_get("max_running")?),
            max_queued: count(row.try_get("max_queued")?),
            max_artifact_bytes: row.try_get::<i64, _>("max_artifact_bytes")?.max(0) as u64,
            requests_per_second: row.try_get("requests_per_second")?,
        },
        disabled: row.try_get("disabled")?,
        version: row.try_get("version")?,
        created_at: row.try_get("tenant_created_at")?,
    })
}

fn read_key(row: &SqliteRow) -> Result<ApiKey, StoreError> {
    Ok(ApiKey {
        prefix: row.try_get("prefix")?,
        tenant: TenantId(row.try_get("tenant_id")?),
        scopes: Scopes::from_bits(row.try_get("scopes")?).ok_or(StoreError::Corrupt("scopes"))?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        revoked_at: row.try_get("revoked_at")?,
        last_used: row.try_get("last_used")?,
    })
}

fn no_tenant(id: TenantId) -> StoreError {
    StoreError::NotFound {
        kind: "tenant",
        id: id.to_string(),
    }
}

fn no_key(prefix: &str) -> StoreError {
    StoreError::NotFound {
        kind: "key",
        id: format!("keys/{prefix}"),
    }
}

async fn tenant_in(tx: &mut Tx<'_>, id: TenantId) -> Result<Tenant, StoreError> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT {TENANT} FROM tenants t WHERE t.id=?"
    )))
    .bind(id.0)
    .fetch_optional(&mut **tx)
    .await?;
    row.as_ref()
        .map(read_tenant)
        .transpose()?
        .ok_or_else(|| no_tenant(id))
}

async fn key_in(tx: &mut Tx<'_>, prefix: &str) -> Result<ApiKey, StoreError> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT {KEY} FROM api_keys k WHERE k.prefix=?"
    )))
    .bind(prefix)
    .fetch_optional(&mut **tx)
    .await?;
    row.as_ref()
        .map(read_key)
        .transpose()?
        .ok_or_else(|| no_key(prefix))
}

/// What an operator's request id was used for, if it was.
async fn remembered(
    tx: &mut Tx<'_>,
    method: &str,
    key: &Option<RequestKey>,
) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(key) = key else { return Ok(None) };
    let row = sqlx::query(
        "SELECT fingerprint, resource FROM idempotency WHERE tenant_id=? AND method=? AND request_id=? AND expires_at>?",
    )
    .bind(OPERATOR)
    .bind(method)
    .bind(&key.request_id)
    .bind(tx.now)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    if rows::digest(row.try_get(0)?)? != key.fingerprint {
        return Err(StoreError::RequestIdReused(key.request_id.clone()));
    }
    Ok(Some(row.try_get(1)?))
}

async fn remember(
    tx: &mut Tx<'_>,
    method: &str,
    key: &Option<RequestKey>,
    resource: &[u8],
) -> Result<(), StoreError> {
    let Some(key) = key else { return Ok(()) };
    sqlx::query(
        "INSERT OR REPLACE INTO idempotency(tenant_id,method,request_id,fingerprint,resource,expires_at) VALUES (?,?,?,?,?,?)",
    )
    .bind(OPERATOR)
    .bind(method)
    .bind(&key.request_id)
    .bind(&key.fingerprint.0[..])
    .bind(resource)
    .bind(tx.now.saturating_add(REQUEST_ID_TTL_MS))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Refuses a name that another tenant has.
async fn check_name(tx: &mut Tx<'_>, name: &str, but: i64) -> Result<(), StoreError> {
    let taken = sqlx::query("SELECT 1 FROM tenants WHERE name=? AND id<>?")
        .bind(name)
        .bind(but)
        .fetch_optional(&mut **tx)
        .await?;
    match taken {
        Some(_) => Err(StoreError::Exists {
            kind: "tenant",
            id: name.to_owned(),
        }),
        None => Ok(()),
    }
}

#[async_trait::async_trait]
impl AccessStore for SqliteStore {
    async fn tenant(&self, id: TenantId) -> Result<Tenant, StoreError> {
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT {TENANT} FROM tenants t WHERE t.id=?"
        )))
        .bind(id.0)
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref()
            .map(read_tenant)
            .transpose()?
            .ok_or_else(|| no_tenant(id))
    }

    async fn tenant_by_name(&self, name: &str) -> Result<Option<Tenant>, StoreError> {
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT {TENANT} FROM tenants t WHERE t.name=?"
        )))
        .bind(name)
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(read_tenant).transpose()
    }

    async fn tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        sqlx::query(AssertSqlSafe(format!(
            "SELECT {TENANT} FROM tenants t ORDER BY t.id"
        )))
        .fetch_all(&self.readers)
        .await?
        .iter()
        .map(read_tenant)
        .collect()
    }

    async fn create_tenant(&self, new: NewTenant) -> Result<Tenant, StoreError> {
        let mut tx = self.write().await?;
        if let Some(id) = remembered(&mut tx, "CreateTenant", &new.request).await? {
            let id = <[u8; 8]>::try_from(&id[..]).map_err(|_| StoreError::Corrupt("tenant id"))?;
            return tenant_in(&mut tx, TenantId(i64::from_be_bytes(id))).await;
        }
        check_name(&mut tx, &new.name, OPERATOR).await?;
        let at = now(&mut tx).await?;
        let b = new.bounds;
        let row = sqlx::query(
            "INSERT INTO tenants(name,weight,max_running,max_queued,max_artifact_bytes,requests_per_second,created_at) \
             VALUES (?,?,?,?,?,?,?) RETURNING id",
        )
        .bind(&new.name)
        .bind(b.weight)
        .bind(b.max_running)
        .bind(b.max_queued)
        .bind(stored(b.max_artifact_bytes))
        .bind(b.requests_per_second)
        .bind(at)
        .fetch_one(&mut *tx)
        .await?;
        let id = TenantId(row.try_get(0)?);
        remember(&mut tx, "CreateTenant", &new.request, &id.0.to_be_bytes()).await?;
        let tenant = tenant_in(&mut tx, id).await?;
        tx.commit().await?;
        Ok(tenant)
    }

    async fn update_tenant(
        &self,
        id: TenantId,
        change: TenantChange,
        etag: Option<i64>,
    ) -> Result<Tenant, StoreError> {
        let mut tx = self.write().await?;
        let before = tenant_in(&mut tx, id).await?;
        if etag.is_some_and(|etag| etag != before.version) {
            return Err(StoreError::EtagMismatch {
                now: before.version,
            });
        }
        if let Some(name) = &change.name {
            check_name(&mut tx, name, id.0).await?;
        }
        let b = before.bounds;
        sqlx::query(
            "UPDATE tenants SET name=?,weight=?,max_running=?,max_queued=?,max_artifact_bytes=?,requests_per_second=?,disabled=?,\
             version=version+1 WHERE id=?",
        )
        .bind(change.name.unwrap_or(before.name))
        .bind(change.weight.unwrap_or(b.weight))
        .bind(change.max_running.unwrap_or(b.max_running))
        .bind(change.max_queued.unwrap_or(b.max_queued))
        .bind(stored(change.max_artifact_bytes.unwrap_or(b.max_artifact_bytes)))
        .bind(change.requests_per_second.unwrap_or(b.requests_per_second))
        .bind(change.disabled.unwrap_or(before.disabled))
        .bind(id.0)
        .execute(&mut *tx)
        .await?;
        let tenant = tenant_in(&mut tx, id).await?;
        tx.commit().await?;
        Ok(tenant)
    }

    async fn api_key_by_prefix(&self, prefix: &str) -> Result<Option<KeyOnRecord>, StoreError> {
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT {KEY},{TENANT} FROM api_keys k JOIN tenants t ON t.id=k.tenant_id WHERE k.prefix=?"
        )))
        .bind(prefix)
        .fetch_optional(&self.readers)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(KeyOnRecord {
            key: read_key(&row)?,
            hash: rows::digest(row.try_get("hash")?)?,
            tenant: read_tenant(&row)?,
            now: self.wall(),
        }))
    }

    async fn api_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        sqlx::query(AssertSqlSafe(format!(
            "SELECT {KEY} FROM api_keys k ORDER BY k.created_at DESC,k.prefix"
        )))
        .fetch_all(&self.readers)
        .await?
        .iter()
        .map(read_key)
        .collect()
    }

    async fn create_api_key(&self, new: NewApiKey) -> Result<ApiKey, StoreError> {
        let mut tx = self.write().await?;
        if let Some(prefix) = remembered(&mut tx, "CreateApiKey", &new.request).await? {
            return Err(StoreError::Exists {
                kind: "key",
                id: format!("keys/{}", String::from_utf8_lossy(&prefix)),
            });
        }
        let at = self.wall();
        // A successor without an end of its own has that of the key it replaces.
        let (tenant, scopes, until) = match &new.replaces {
            Some((old, overlap)) => {
                let before = key_in(&mut tx, old).await?;
                let over = |end: Option<Millis>| end.is_some_and(|end| end <= at);
                if over(before.revoked_at) || over(before.expires_at) {
                    return Err(no_key(old));
                }
                let end = at.saturating_add(millis(*overlap));
                sqlx::query(
                    "UPDATE api_keys SET revoked_at=min(?,coalesce(revoked_at,?)) WHERE prefix=?",
                )
                .bind(end)
                .bind(end)
                .bind(old)
                .execute(&mut *tx)
                .await?;
                (before.tenant, before.scopes, before.expires_at)
            }
            None => (tenant_in(&mut tx, new.tenant).await?.id, new.scopes, None),
        };
        sqlx::query("INSERT INTO api_keys(prefix,hash,tenant_id,scopes,created_at,expires_at) VALUES (?,?,?,?,?,?)")
            .bind(&new.prefix)
            .bind(&new.hash.0[..])
            .bind(tenant.0)
            .bind(i64::from(scopes.bits()))
            .bind(at)
            .bind(new.ttl.map(|ttl| at.saturating_add(millis(ttl))).or(until))
            .execute(&mut *tx)
            .await?;
        remember(&mut tx, "CreateApiKey", &new.request, new.prefix.as_bytes()).await?;
        let key = key_in(&mut tx, &new.prefix).await?;
        tx.commit().await?;
        Ok(key)
    }

    async fn revoke_api_key(&self, prefix: &str) -> Result<ApiKey, StoreError> {
        let mut tx = self.write().await?;
        let at = self.wall();
        sqlx::query(
            "UPDATE api_keys SET revoked_at=? WHERE prefix=? AND (revoked_at IS NULL OR revoked_at>?)",
        )
        .bind(at)
        .bind(prefix)
        .bind(at)
        .execute(&mut *tx)
        .await?;
        let key = key_in(&mut tx, prefix).await?;
        tx.commit().await?;
        Ok(key)
    }

    async fn touch_api_key(&self, prefix: &str) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let at = now(&mut tx).await?;
        sqlx::query("UPDATE api_keys SET last_used=? WHERE prefix=?")
            .bind(at)
            .bind(prefix)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    async fn create_enroll_token(
        &self,
        hash: Digest,
        grant: EnrollGrant,
        ttl: Duration,
    ) -> Result<Millis, StoreError> {
        let mut tx = self.write().await?;
        let at = now(&mut tx).await?;
        let expires_at = at.saturating_add(millis(ttl));
        sqlx::query("DELETE FROM enroll_tokens WHERE expires_at<=?")
            .bind(at)
            .execute(&mut *tx)
            .await?;
        let pools =
            serde_json::to_string(&grant.pools).map_err(|_| StoreError::Corrupt("pools"))?;
        sqlx::query(
            "INSERT INTO enroll_tokens(hash,trust,pools,created_at,expires_at) VALUES (?,?,?,?,?)",
        )
        .bind(&hash.0[..])
        .bind(grant.trust.code())
        .bind(pools)
        .bind(at)
        .bind(expires_at)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(expires_at)
    }

    async fn use_enroll_token(
        &self,
        hash: Digest,
        node: NodeId,
    ) -> Result<Option<EnrollGrant>, StoreError> {
        let mut tx = self.write().await?;
        let at = now(&mut tx).await?;
        let row = sqlx::query(
            "UPDATE enroll_tokens SET used_at=?,node_id=? WHERE hash=? AND used_at IS NULL AND expires_at>? RETURNING trust,pools",
        )
        .bind(at)
        .bind(&node.0.as_bytes()[..])
        .bind(&hash.0[..])
        .bind(at)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let grant = EnrollGrant {
            trust: Trust::from_code(row.try_get("trust")?).ok_or(StoreError::Corrupt("trust"))?,
            pools: rows::json(Some(row.try_get("pools")?))?.unwrap_or_default(),
        };
        tx.commit().await?;
        Ok(Some(grant))
    }

    async fn add_node_certificate(
        &self,
        fingerprint: Digest,
        node: NodeId,
        expires_at: Millis,
        presented: Option<Digest>,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let at = now(&mut tx).await?;
        // The one that the node uses stays, however many answers were lost; so do a few that it may have.
        sqlx::query(
            "DELETE FROM node_certificates WHERE node_id=?1 AND (expires_at<=?2 OR fingerprint IS NOT ?3 AND fingerprint NOT IN \
             (SELECT fingerprint FROM node_certificates WHERE node_id=?1 ORDER BY issued_at DESC LIMIT 3))",
        )
        .bind(&node.0.as_bytes()[..])
        .bind(at)
        .bind(presented.as_ref().map(|d| &d.0[..]))
        .execute(&mut *tx)
        .await?;
        sqlx::query("INSERT INTO node_certificates(fingerprint,node_id,issued_at,expires_at) VALUES (?,?,?,?)")
            .bind(&fingerprint.0[..])
            .bind(&node.0.as_bytes()[..])
            .bind(at)
            .bind(expires_at)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    async fn node_of_certificate(&self, fingerprint: Digest) -> Result<Option<NodeId>, StoreError> {
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT node_id FROM node_certificates WHERE fingerprint=? AND expires_at>{NOW}"
        )))
        .bind(&fingerprint.0[..])
        .fetch_optional(&self.readers)
        .await?;
        row.map(|row| {
            let id: Vec<u8> = row.try_get(0)?;
            Ok(NodeId(
                Uuid::from_slice(&id).map_err(|_| StoreError::Corrupt("node id"))?,
            ))
        })
        .transpose()
    }
}

#[cfg(test)]
mod tests;
