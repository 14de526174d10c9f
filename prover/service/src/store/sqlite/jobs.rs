//! Jobs as clients see them: creation, lists, proofs, events.

use serde::Serialize;
use sha2::Digest as _;
use sqlx::{AssertSqlSafe, QueryBuilder, Row, Sqlite};

use super::{SqliteStore, Tx, artifacts, check_queue, circuits, remember, remembered, rows};
use crate::store::{
    ArtifactKind, Attempt, CircuitId, CircuitState, Created, Digest, Failure, Job, JobFilter,
    JobId, JobKind, JobState, Labels, NewJob, Page, Priority, ProofRecord, StoreError, TenantId,
    Trust,
};

/// Attempts of COMPILE and SETUP jobs.
const CIRCUIT_JOB_ATTEMPTS: u32 = 3;

/// Serializes a record whose serialization cannot fail (no maps with non-string keys).
pub(super) fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("records have string keys only")
}

pub(super) fn push_labels_and_page(query: &mut QueryBuilder<Sqlite>, labels: &Labels, page: &Page) {
    for (key, value) in labels {
        query
            .push(" AND EXISTS(SELECT 1 FROM json_each(labels) WHERE json_each.key=")
            .push_bind(key.clone());
        query
            .push(" AND json_each.value=")
            .push_bind(value.clone())
            .push(")");
    }
    if let Some((created_at, id)) = page.after {
        query
            .push(" AND (created_at,id) < (")
            .push_bind(created_at)
            .push(",")
            .push_bind(id.as_bytes().to_vec())
            .push(")");
    }
    query
        .push(" ORDER BY created_at DESC, id DESC LIMIT ")
        .push_bind(page.size);
}

pub(super) fn not_found(id: JobId) -> StoreError {
    StoreError::NotFound {
        kind: "job",
        id: id.to_string(),
    }
}

/// A tenant that had nothing to do joins at the present virtual time (`fair::join`): idleness saves up nothing.
async fn join(tx: &mut Tx<'_>, tenant: TenantId) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE tenants SET vtime=max(vtime,coalesce( \
         (SELECT min(vtime) FROM tenants WHERE id<>?1 AND id IN (SELECT tenant_id FROM jobs WHERE kind=1 AND state IN (2,3,4))), \
         (SELECT min(vtime) FROM tenants WHERE id<>?1 AND id IN (SELECT tenant_id FROM jobs WHERE kind=1 AND state IN (1,2,3,4))), \
         (SELECT max(vtime) FROM tenants))) \
         WHERE id=?1 AND id NOT IN (SELECT tenant_id FROM jobs WHERE kind=1 AND state IN (1,2,3,4))",
    )
    .bind(tenant.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn create(
    store: &SqliteStore,
    tenant: TenantId,
    new: NewJob,
) -> Result<Created<Job>, StoreError> {
    let mut tx = store.write().await?;
    if let Some(id) = remembered(&mut tx, tenant, "CreateJob", &new.request).await? {
        let resource = in_tx(&mut tx, JobId(id)).await?;
        return Ok(Created {
            resource,
            existed: true,
        });
    }
    let circuit = circuits::in_tx(&mut tx, tenant, new.circuit).await?;
    if circuit.state != CircuitState::Ready {
        return Err(StoreError::CircuitNotReady {
            circuit: new.circuit,
            state: circuit.state,
        });
    }
    let id = JobId::fresh();
    let mut hash = sha2::Sha256::new();
    hash.update(b"zkinfer-job-v1");
    hash.update(circuit.fingerprint.0);
    hash.update(circuit.id.0.as_bytes());
    hash.update(new.identity.0);
    hash.update(new.context);
    if !new.allow_cached {
        hash.update(id.0.as_bytes());
    }
    let dedup_key: [u8; 32] = hash.finalize().into();
    let same = sqlx::query(
        "SELECT id FROM jobs WHERE tenant_id=? AND dedup_key=? AND state IN (1,2,3,4,5)",
    )
    .bind(tenant.0)
    .bind(&dedup_key[..])
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(row) = same {
        let id = JobId(rows::uuid(row.try_get(0)?)?);
        remember(&mut tx, tenant, "CreateJob", &new.request, id.0).await?;
        let resource = in_tx(&mut tx, id).await?;
        tx.commit().await?;
        return Ok(Created {
            resource,
            existed: true,
        });
    }
    check_queue(&mut tx, tenant, new.max_queued).await?;
    let (digest, size) = new.input;
    if new.private_input {
        // Nobody reads it as an artifact.
        artifacts::insert_blob(&mut tx, &digest, size, ArtifactKind::Input).await?;
    } else {
        artifacts::insert(&mut tx, tenant, &digest, size, ArtifactKind::Input).await?;
    }
    let min_trust = if new.private_input {
        new.min_trust.max(Trust::Vetted)
    } else {
        new.min_trust
    };
    join(&mut tx, tenant).await?;
    let now = tx.now;
    sqlx::query(
        "INSERT INTO jobs(id,tenant_id,circuit_id,kind,state,priority,dedup_key,input_digest,input_artifact,private_input,context,\
         created_at,updated_at,not_before,deadline,max_attempts,labels,min_trust,pools,trace,input_key) \
         VALUES (?,?,?,?,1,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    )
    .bind(&id.0.as_bytes()[..])
    .bind(tenant.0)
    .bind(&new.circuit.0.as_bytes()[..])
    .bind(JobKind::Prove.code())
    .bind(new.priority.code())
    .bind(&dedup_key[..])
    .bind(&new.input.0.0[..])
    .bind(new.input_artifact.as_ref().map(|d| &d.0[..]))
    .bind(new.private_input)
    .bind(&new.context[..])
    .bind(now)
    .bind(now)
    .bind(now)
    .bind(now.saturating_add(i64::try_from(new.ttl_ms).unwrap_or(i64::MAX)))
    .bind(new.max_attempts)
    .bind(text(&new.labels))
    .bind(min_trust.code())
    .bind(text(&new.pools))
    .bind(text(&new.trace))
    .bind((!new.input_key.is_empty()).then_some(&new.input_key[..]))
    .execute(&mut *tx)
    .await?;
    append_event(&mut tx, tenant, id, None, JobState::Queued, None).await?;
    remember(&mut tx, tenant, "CreateJob", &new.request, id.0).await?;
    let resource = in_tx(&mut tx, id).await?;
    store.commit(tx).await?;
    Ok(Created {
        resource,
        existed: false,
    })
}

/// Queues the COMPILE or SETUP job of a circuit.
pub(super) async fn insert_for_circuit(
    tx: &mut Tx<'_>,
    tenant: TenantId,
    circuit: CircuitId,
    kind: JobKind,
) -> Result<(), StoreError> {
    let id = JobId::fresh();
    let now = tx.now;
    sqlx::query(
        "INSERT INTO jobs(id,tenant_id,circuit_id,kind,state,priority,dedup_key,private_input,context,created_at,updated_at,not_before,\
         max_attempts,labels) VALUES (?,?,?,?,1,?,?,0,?,?,?,?,?,'{}')",
    )
    .bind(&id.0.as_bytes()[..])
    .bind(tenant.0)
    .bind(&circuit.0.as_bytes()[..])
    .bind(kind.code())
    .bind(Priority::Normal.code())
    .bind(&Digest::of(format!("{kind} {circuit}").as_bytes()).0[..])
    .bind(&[0u8; 32][..])
    .bind(now)
    .bind(now)
    .bind(now)
    .bind(CIRCUIT_JOB_ATTEMPTS)
    .execute(&mut **tx)
    .await?;
    append_event(tx, tenant, id, None, JobState::Queued, None).await
}

/// Appends a change of state; the changes of a tenant are numbered by themselves, so that a cursor tells nothing of others.
pub(super) async fn append_event(
    tx: &mut Tx<'_>,
    tenant: TenantId,
    id: JobId,
    from: Option<JobState>,
    to: JobState,
    failure: Option<&Failure>,
) -> Result<(), StoreError> {
    let now = tx.now;
    sqlx::query("UPDATE tenants SET last_event=last_event+1 WHERE id=?")
        .bind(tenant.0)
        .execute(&mut **tx)
        .await?;
    sqlx::query(
        "INSERT INTO job_events(job_id,at,from_state,to_state,failure,tenant_id,tenant_seq) \
         VALUES (?1,?2,?3,?4,?5,?6,(SELECT last_event FROM tenants WHERE id=?6))",
    )
    .bind(&id.0.as_bytes()[..])
    .bind(now)
    .bind(from.map(JobState::code))
    .bind(to.code())
    .bind(failure.map(text))
    .bind(tenant.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn in_tx(tx: &mut Tx<'_>, id: JobId) -> Result<Job, StoreError> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT {} FROM jobs WHERE id=?",
        rows::JOB
    )))
    .bind(&id.0.as_bytes()[..])
    .fetch_optional(&mut **tx)
    .await?;
    row.as_ref()
        .map(rows::job)
        .transpose()?
        .ok_or_else(|| not_found(id))
}

/// The job with `id`, of `tenant` or of anybody.
pub(super) async fn job(
    store: &SqliteStore,
    tenant: Option<TenantId>,
    id: JobId,
) -> Result<Job, StoreError> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT {} FROM jobs WHERE id=?1 AND tenant_id=coalesce(?2,tenant_id)",
        rows::JOB
    )))
    .bind(&id.0.as_bytes()[..])
    .bind(tenant.map(|t| t.0))
    .fetch_optional(&store.readers)
    .await?;
    row.as_ref()
        .map(rows::job)
        .transpose()?
        .ok_or_else(|| not_found(id))
}

pub(super) async fn list(
    store: &SqliteStore,
    tenant: TenantId,
    filter: &JobFilter,
    page: &Page,
) -> Result<Vec<Job>, StoreError> {
    let mut query = QueryBuilder::new(format!("SELECT {} FROM jobs WHERE tenant_id=", rows::JOB));
    query.push_bind(tenant.0);
    if !filter.states.is_empty() {
        query.push(" AND state IN (");
        let mut list = query.separated(",");
        for state in &filter.states {
            list.push_bind(state.code());
        }
        query.push(")");
    }
    if let Some(circuit) = filter.circuit {
        query
            .push(" AND circuit_id=")
            .push_bind(circuit.0.as_bytes().to_vec());
    }
    if let Some(after) = filter.after {
        query.push(" AND created_at>").push_bind(after);
    }
    if let Some(before) = filter.before {
        query.push(" AND created_at<").push_bind(before);
    }
    push_labels_and_page(&mut query, &filter.labels, page);
    query
        .build()
        .fetch_all(&store.readers)
        .await?
        .iter()
        .map(rows::job)
        .collect()
}

pub(super) async fn ahead(store: &SqliteStore, job: &Job) -> Result<u32, StoreError> {
    let row = sqlx::query(
        "SELECT count(*) FROM jobs WHERE state=1 AND tenant_id=?3 AND (priority>?1 OR (priority=?1 AND id<?2))",
    )
    .bind(job.priority.code())
    .bind(&job.id.0.as_bytes()[..])
    .bind(job.tenant.0)
    .fetch_one(&store.readers)
    .await?;
    Ok(u32::try_from(row.try_get::<i64, _>(0)?).unwrap_or(u32::MAX))
}

pub(super) async fn attempts(
    store: &SqliteStore,
    tenant: TenantId,
    id: JobId,
) -> Result<Vec<Attempt>, StoreError> {
    let sql = format!(
        "SELECT {} FROM attempts WHERE job_id=? AND EXISTS(SELECT 1 FROM jobs WHERE id=job_id AND tenant_id=?) ORDER BY epoch",
        rows::ATTEMPT
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(&id.0.as_bytes()[..])
        .bind(tenant.0)
        .fetch_all(&store.readers)
        .await?
        .iter()
        .map(rows::attempt)
        .collect()
}

pub(super) async fn proof(
    store: &SqliteStore,
    tenant: TenantId,
    id: JobId,
) -> Result<Option<ProofRecord>, StoreError> {
    let row = sqlx::query(
        "SELECT proof_digest,proof,public_values,vk_digest,verified_at,verifier_version FROM proofs WHERE job_id=? \
         AND EXISTS(SELECT 1 FROM jobs WHERE id=job_id AND tenant_id=?)",
    )
    .bind(&id.0.as_bytes()[..])
    .bind(tenant.0)
    .fetch_optional(&store.readers)
    .await?;
    row.as_ref().map(rows::proof).transpose()
}

pub(super) async fn private_inputs_to_drop(store: &SqliteStore) -> Result<Vec<Job>, StoreError> {
    let sql = format!(
        "SELECT {} FROM jobs WHERE private_input=1 AND input_dropped=0 AND state IN (5,6,7,8,9) LIMIT 1000",
        rows::JOB
    );
    sqlx::query(AssertSqlSafe(sql))
        .fetch_all(&store.readers)
        .await?
        .iter()
        .map(rows::job)
        .collect()
}

pub(super) async fn input_dropped(store: &SqliteStore, id: JobId) -> Result<(), StoreError> {
    let mut tx = store.write().await?;
    sqlx::query("UPDATE jobs SET input_dropped=1, input_key=x'' WHERE id=?")
        .bind(&id.0.as_bytes()[..])
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}
