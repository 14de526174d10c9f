//! Circuits: creation with the COMPILE job, and what compile and setup report.

use sqlx::{AssertSqlSafe, Row};

use super::{SqliteStore, Tx, check_queue, jobs, life, now, remember, remembered, rows};
use crate::store::{
    Circuit, CircuitFilter, CircuitId, CircuitState, CommitOutcome, CompileFacts, Created, Failure,
    JobId, JobKind, NewCircuit, Page, SetupFacts, StoreError, TenantId,
};

pub(super) async fn create(
    store: &SqliteStore,
    tenant: TenantId,
    new: NewCircuit,
) -> Result<Created<Circuit>, StoreError> {
    let mut tx = store.write().await?;
    if let Some(id) = remembered(&mut tx, tenant, "CreateCircuit", &new.request).await? {
        let resource = in_tx(&mut tx, tenant, CircuitId(id)).await?;
        return Ok(Created {
            resource,
            existed: true,
        });
    }
    let live = sqlx::query(
        "SELECT id FROM circuits WHERE tenant_id=? AND fingerprint=? AND state IN (1,2,3)",
    )
    .bind(tenant.0)
    .bind(&new.fingerprint.0[..])
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(row) = live {
        let id = CircuitId(rows::uuid(row.try_get(0)?)?);
        remember(&mut tx, tenant, "CreateCircuit", &new.request, id.0).await?;
        let resource = in_tx(&mut tx, tenant, id).await?;
        tx.commit().await?;
        return Ok(Created {
            resource,
            existed: true,
        });
    }
    check_queue(&mut tx, tenant, new.max_queued).await?;
    let id = CircuitId::fresh();
    let now = now(&mut tx).await?;
    sqlx::query(
        "INSERT INTO circuits(id,tenant_id,fingerprint,backend,model_digest,settings_digest,calibration_digest,state,labels,created_at) \
         VALUES (?,?,?,?,?,?,?,?,?,?)",
    )
    .bind(&id.0.as_bytes()[..])
    .bind(tenant.0)
    .bind(&new.fingerprint.0[..])
    .bind(new.backend.code())
    .bind(&new.model.0[..])
    .bind(new.settings.as_ref().map(|d| &d.0[..]))
    .bind(&new.calibration.0[..])
    .bind(CircuitState::Compiling.code())
    .bind(jobs::text(&new.labels))
    .bind(now)
    .execute(&mut *tx)
    .await?;
    jobs::insert_for_circuit(&mut tx, tenant, id, JobKind::Compile).await?;
    remember(&mut tx, tenant, "CreateCircuit", &new.request, id.0).await?;
    let resource = in_tx(&mut tx, tenant, id).await?;
    store.commit(tx).await?;
    Ok(Created {
        resource,
        existed: false,
    })
}

pub(super) async fn in_tx(
    tx: &mut Tx<'_>,
    tenant: TenantId,
    id: CircuitId,
) -> Result<Circuit, StoreError> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT {} FROM circuits WHERE id=? AND tenant_id=?",
        rows::CIRCUIT
    )))
    .bind(&id.0.as_bytes()[..])
    .bind(tenant.0)
    .fetch_optional(&mut **tx)
    .await?;
    row.as_ref()
        .map(rows::circuit)
        .transpose()?
        .ok_or_else(|| not_found(id))
}

fn not_found(id: CircuitId) -> StoreError {
    StoreError::NotFound {
        kind: "circuit",
        id: id.to_string(),
    }
}

pub(super) async fn circuit(
    store: &SqliteStore,
    tenant: TenantId,
    id: CircuitId,
) -> Result<Circuit, StoreError> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT {} FROM circuits WHERE id=? AND tenant_id=?",
        rows::CIRCUIT
    )))
    .bind(&id.0.as_bytes()[..])
    .bind(tenant.0)
    .fetch_optional(&store.readers)
    .await?;
    row.as_ref()
        .map(rows::circuit)
        .transpose()?
        .ok_or_else(|| not_found(id))
}

pub(super) async fn list(
    store: &SqliteStore,
    tenant: TenantId,
    filter: &CircuitFilter,
    page: &Page,
) -> Result<Vec<Circuit>, StoreError> {
    let mut query = sqlx::QueryBuilder::new(format!(
        "SELECT {} FROM circuits WHERE tenant_id=",
        rows::CIRCUIT
    ));
    query.push_bind(tenant.0);
    if let Some(backend) = filter.backend {
        query.push(" AND backend=").push_bind(backend.code());
    }
    if let Some(state) = filter.state {
        query.push(" AND state=").push_bind(state.code());
    }
    jobs::push_labels_and_page(&mut query, &filter.labels, page);
    query
        .build()
        .fetch_all(&store.readers)
        .await?
        .iter()
        .map(rows::circuit)
        .collect()
}

pub(super) async fn commit_compile(
    store: &SqliteStore,
    id: JobId,
    epoch: i64,
    facts: CompileFacts,
) -> Result<CommitOutcome, StoreError> {
    let mut tx = store.write().await?;
    let (job, outcome) = life::succeed(&mut tx, id, epoch, None).await?;

    if outcome == CommitOutcome::Accepted {
        set_facts(
            &mut tx,
            job.circuit,
            CircuitState::Setup,
            "compiled",
            &jobs::text(&facts),
        )
        .await?;
        jobs::insert_for_circuit(&mut tx, job.tenant, job.circuit, JobKind::Setup).await?;
        store.commit(tx).await?;
    }
    Ok(outcome)
}

pub(super) async fn commit_setup(
    store: &SqliteStore,
    id: JobId,
    epoch: i64,
    facts: SetupFacts,
) -> Result<CommitOutcome, StoreError> {
    let mut tx = store.write().await?;
    let (job, outcome) = life::succeed(&mut tx, id, epoch, None).await?;

    if outcome == CommitOutcome::Accepted {
        set_facts(
            &mut tx,
            job.circuit,
            CircuitState::Ready,
            "keys",
            &jobs::text(&facts),
        )
        .await?;
        store.commit(tx).await?;
    }
    Ok(outcome)
}

async fn set_facts(
    tx: &mut Tx<'_>,
    id: CircuitId,
    state: CircuitState,
    column: &'static str,
    facts: &str,
) -> Result<(), StoreError> {
    sqlx::query(AssertSqlSafe(format!(
        "UPDATE circuits SET state=?, {column}=?, version=version+1 WHERE id=?"
    )))
    .bind(state.code())
    .bind(facts)
    .bind(&id.0.as_bytes()[..])
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// A COMPILE or SETUP job ended badly: so did its circuit.
pub(super) async fn fail(
    tx: &mut Tx<'_>,
    id: CircuitId,
    failure: &Failure,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE circuits SET state=4, failure=?, version=version+1 WHERE id=? AND state IN (1,2)",
    )
    .bind(jobs::text(failure))
    .bind(&id.0.as_bytes()[..])
    .execute(&mut **tx)
    .await?;
    Ok(())
}
