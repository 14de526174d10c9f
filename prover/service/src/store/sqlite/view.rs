//! What the scheduler decides on, read in one go.

use std::collections::{HashMap, HashSet};

use sqlx::{AssertSqlSafe, Row, SqliteConnection, sqlite::SqliteRow};

use super::{SqliteStore, nodes::estimate, rows};
use crate::store::{
    AttemptOutcome, Backend, CircuitId, CompileFacts, FailureClass, FarmView, JobEnd, JobId,
    JobState, KeyResidency, Millis, NodeId, NodeView, OpenAttempt, Priority, RunningJob,
    SetupFacts, StoreError, TenantId, TenantShare, Tier, Took, Tried, WaitingJob,
};

/// Jobs of a lane that the scheduler sees; the others have their turn after these.
const LANE_HEADS: i64 = 32;
/// Jobs that the scheduler sees.
const MAX_WAITING: i64 = 2000;

const WAITING: &str = "j.id,j.tenant_id,j.circuit_id,j.priority,j.created_at,j.not_before,j.min_trust,j.pools,j.min_ram,j.passed_over,\
    j.passed_since,c.backend,c.compiled,c.keys";

fn circuit_of(row: &SqliteRow) -> Result<(Option<CompileFacts>, Option<SetupFacts>), StoreError> {
    Ok((
        rows::json(row.try_get("compiled")?)?,
        rows::json(row.try_get("keys")?)?,
    ))
}

fn priority(row: &SqliteRow) -> Result<Priority, StoreError> {
    Priority::from_code(row.try_get("priority")?).ok_or(StoreError::Corrupt("priority"))
}

fn waiting(row: &SqliteRow) -> Result<WaitingJob, StoreError> {
    let (compiled, keys) = circuit_of(row)?;
    let needs = compiled.as_ref().map_or(0, |c| c.ram_bytes);
    Ok(WaitingJob {
        job: JobId(rows::uuid(row.try_get("id")?)?),
        tenant: TenantId(row.try_get("tenant_id")?),
        circuit: CircuitId(rows::uuid(row.try_get("circuit_id")?)?),
        backend: Backend::from_code(row.try_get("backend")?)
            .ok_or(StoreError::Corrupt("backend"))?,
        priority: priority(row)?,
        created_at: row.try_get("created_at")?,
        not_before: row.try_get("not_before")?,
        ram_bytes: needs.max(rows::bytes(row.try_get("min_ram")?)),
        key_bytes: keys.map_or(0, |k| k.proving_key_bytes),
        estimated_ms: estimate(compiled.as_ref()),
        min_trust: rows::trust(row.try_get("min_trust")?)?,
        pools: rows::json(Some(row.try_get("pools")?))?.unwrap_or_default(),
        passed_over: rows::count(row.try_get("passed_over")?),
        passed_since: row.try_get("passed_since")?,
        tried: Vec::new(),
    })
}

/// Of rows of one attempt each, the jobs.
fn running_jobs(rows: &[SqliteRow]) -> Result<Vec<RunningJob>, StoreError> {
    let mut jobs: Vec<RunningJob> = Vec::new();
    for row in rows {
        let attempt = OpenAttempt {
            epoch: row.try_get("epoch")?,
            node: rows::node_id(row.try_get("node_id")?)?,
            leased_at: row.try_get("leased_at")?,
            speculative: row.try_get("speculative")?,
        };
        let job = waiting(row)?;
        match jobs.last_mut().filter(|last| last.job.job == job.job) {
            Some(last) => last.attempts.push(attempt),
            None => jobs.push(RunningJob {
                job,
                attempts: vec![attempt],
            }),
        }
    }
    Ok(jobs)
}

async fn heads(
    tx: &mut SqliteConnection,
    now: Millis,
    also: &[JobId],
) -> Result<Vec<WaitingJob>, StoreError> {
    // The tenants take turns, and so do the lanes of each: none fills the view.
    let sql = format!(
        "SELECT {WAITING} FROM (SELECT head, row_number() OVER (PARTITION BY tenant_id ORDER BY place, priority DESC, head) AS turn \
         FROM (SELECT id AS head, tenant_id, priority, row_number() OVER (PARTITION BY priority,tenant_id,circuit_id ORDER BY id) AS place \
         FROM jobs WHERE state=1 AND not_before<=?) WHERE place<=?) h JOIN jobs j ON j.id=h.head JOIN circuits c ON c.id=j.circuit_id \
         WHERE j.kind=1 ORDER BY h.turn, j.id LIMIT ?"
    );
    let mut waiting = sqlx::query(AssertSqlSafe(sql))
        .bind(now)
        .bind(LANE_HEADS)
        .bind(MAX_WAITING)
        .fetch_all(&mut *tx)
        .await?
        .iter()
        .map(self::waiting)
        .collect::<Result<Vec<_>, _>>()?;
    let heads: HashSet<JobId> = waiting.iter().map(|w| w.job).collect();
    for id in also.iter().filter(|id| !heads.contains(id)) {
        let sql = format!(
            "SELECT {WAITING} FROM jobs j JOIN circuits c ON c.id=j.circuit_id WHERE j.id=? AND j.state=1 AND j.kind=1"
        );
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(&id.0.as_bytes()[..])
            .fetch_optional(&mut *tx)
            .await?;
        waiting.extend(row.as_ref().map(self::waiting).transpose()?);
    }
    Ok(waiting)
}

/// What was tried before, a line for each node and end, the last one last. By way of the jobs that live (an index has them): attempts stay for ever.
async fn add_tried<'j>(
    tx: &mut SqliteConnection,
    jobs: impl Iterator<Item = &'j mut WaitingJob>,
) -> Result<(), StoreError> {
    let mut by_job: HashMap<JobId, Vec<Tried>> = HashMap::new();
    let tried = sqlx::query(
        "SELECT a.job_id,a.node_id,a.outcome,a.failure_class,count(*) AS times,max(a.ended_at) AS ended FROM jobs j \
         CROSS JOIN attempts a ON a.job_id=j.id WHERE j.kind=1 AND j.state IN (1,2,3,4) AND j.epoch>0 AND a.node_id IS NOT NULL \
         AND a.ended_at IS NOT NULL GROUP BY a.job_id,a.node_id,a.outcome,a.failure_class ORDER BY a.job_id,max(a.epoch)",
    )
    .fetch_all(&mut *tx)
    .await?;
    for row in &tried {
        let Some(node) = rows::node_id(row.try_get("node_id")?)? else {
            continue;
        };
        let tried = Tried {
            node,
            outcome: AttemptOutcome::from_code(row.try_get("outcome")?)
                .ok_or(StoreError::Corrupt("attempt outcome"))?,
            class: row
                .try_get::<Option<i32>, _>("failure_class")?
                .and_then(FailureClass::from_code),
            times: rows::count(row.try_get("times")?),
            ended_at: row.try_get("ended")?,
        };
        let job = JobId(rows::uuid(row.try_get("job_id")?)?);
        by_job.entry(job).or_default().push(tried);
    }
    for job in jobs {
        job.tried = by_job.remove(&job.job).unwrap_or_default();
    }
    Ok(())
}

async fn node_views(tx: &mut SqliteConnection) -> Result<Vec<NodeView>, StoreError> {
    let mut keys: HashMap<NodeId, Vec<KeyResidency>> = HashMap::new();
    for row in sqlx::query("SELECT node_id,circuit_id,tier,load_ms FROM node_keys")
        .fetch_all(&mut *tx)
        .await?
    {
        let key = KeyResidency {
            circuit: CircuitId(rows::uuid(row.try_get("circuit_id")?)?),
            tier: Tier::from_code(row.try_get("tier")?).ok_or(StoreError::Corrupt("tier"))?,
            load_ms: rows::bytes(row.try_get("load_ms")?),
        };
        let node = NodeId(rows::uuid(row.try_get("node_id")?)?);
        keys.entry(node).or_default().push(key);
    }
    sqlx::query(AssertSqlSafe(format!(
        "SELECT {} FROM nodes ORDER BY created_at,id",
        rows::NODE
    )))
    .fetch_all(&mut *tx)
    .await?
    .iter()
    .map(|row| {
        let node = rows::node(row)?;
        let keys = keys.remove(&node.id).unwrap_or_default();
        Ok(NodeView { node, keys })
    })
    .collect()
}

pub(super) async fn farm(store: &SqliteStore, also: &[JobId]) -> Result<FarmView, StoreError> {
    // One read transaction, so that all parts are of one moment.
    let mut tx = store.readers.begin().await?;
    let now = store.clock();
    let mut waiting = heads(&mut tx, now, also).await?;
    let next_due =
        sqlx::query("SELECT min(not_before) FROM jobs WHERE state=1 AND kind=1 AND not_before>?")
            .bind(now)
            .fetch_one(&mut *tx)
            .await?
            .try_get(0)?;
    let running = sqlx::query(AssertSqlSafe(format!(
        "SELECT {WAITING},a.epoch,a.node_id,a.leased_at,a.speculative FROM attempts a JOIN jobs j ON j.id=a.job_id \
         JOIN circuits c ON c.id=j.circuit_id WHERE a.ended_at IS NULL AND j.kind=1 ORDER BY j.id,a.epoch"
    )))
    .fetch_all(&mut *tx)
    .await?;
    let mut running = running_jobs(&running)?;
    let raced = running.iter_mut().map(|r| &mut r.job);
    add_tried(&mut tx, waiting.iter_mut().chain(raced)).await?;
    let nodes = node_views(&mut tx).await?;
    let tenants = sqlx::query(
        "SELECT id,weight,vtime,max_running,(SELECT count(*) FROM jobs WHERE tenant_id=t.id AND kind=1 AND state IN (2,3,4)) AS running \
         FROM tenants t WHERE id IN (SELECT tenant_id FROM jobs WHERE state IN (1,2,3,4))",
    )
    .fetch_all(&mut *tx)
    .await?
    .iter()
    .map(|row| {
        let most: i64 = row.try_get("max_running")?;
        Ok(TenantShare {
            tenant: TenantId(row.try_get("id")?),
            weight: row.try_get("weight")?,
            vtime: row.try_get("vtime")?,
            running: rows::count(row.try_get("running")?),
            max_running: if most <= 0 { u32::MAX } else { rows::count(most) },
        })
    })
    .collect::<Result<Vec<_>, StoreError>>()?;
    tx.commit().await?;
    Ok(FarmView {
        now,
        waiting,
        next_due,
        running,
        nodes,
        tenants,
    })
}

pub(super) async fn recent_proofs(
    store: &SqliteStore,
    limit: u32,
) -> Result<Vec<Took>, StoreError> {
    let rows = sqlx::query(
        "SELECT circuit_id,node_id,prove_ms FROM attempts WHERE outcome=1 AND prove_ms IS NOT NULL ORDER BY ended_at DESC LIMIT ?",
    )
    .bind(limit)
    .fetch_all(&store.readers)
    .await?;
    rows.iter()
        .rev()
        .map(|row| {
            Ok(Took {
                circuit: CircuitId(rows::uuid(row.try_get("circuit_id")?)?),
                node: rows::node_id(row.try_get("node_id")?)?,
                prove_ms: rows::bytes(row.try_get("prove_ms")?),
            })
        })
        .collect()
}

pub(super) async fn newest_change(store: &SqliteStore) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT coalesce(max(seq),0) FROM job_events")
        .fetch_one(&store.readers)
        .await?;
    Ok(row.try_get(0)?)
}

pub(super) async fn ends_after(
    store: &SqliteStore,
    cursor: i64,
) -> Result<Vec<JobEnd>, StoreError> {
    let rows = sqlx::query(
        "SELECT e.seq,e.to_state,e.failure,c.backend FROM job_events e JOIN jobs j ON j.id=e.job_id JOIN circuits c ON c.id=j.circuit_id \
         WHERE e.seq>? AND e.to_state>=? ORDER BY e.seq LIMIT 1000",
    )
    .bind(cursor)
    .bind(JobState::Succeeded.code())
    .fetch_all(&store.readers)
    .await?;
    rows.iter()
        .map(|row| {
            let (state, backend) = (row.try_get("to_state")?, row.try_get("backend")?);
            Ok(JobEnd {
                cursor: row.try_get("seq")?,
                state: JobState::from_code(state).ok_or(StoreError::Corrupt("job state"))?,
                backend: Backend::from_code(backend).ok_or(StoreError::Corrupt("proof system"))?,
                failure: rows::json(row.try_get("failure")?)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_of_one_tenant_hides_no_other_job() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = SqliteStore::open(&folder.path().join("db"))
            .await
            .expect("a fresh store");
        // A hundred circuits of one tenant with 40 INTERACTIVE jobs each and one BATCH job; one job of another tenant.
        let circuits = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<=100) \
            INSERT INTO circuits(id,tenant_id,fingerprint,backend,model_digest,calibration_digest,state,labels,created_at) \
            SELECT randomblob(16),1+(i>100),randomblob(32),4,randomblob(32),randomblob(32),3,'{}',0 FROM n";
        let jobs = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<=40) \
            INSERT INTO jobs(id,tenant_id,circuit_id,kind,state,priority,dedup_key,private_input,context,created_at,updated_at,not_before,max_attempts,labels) \
            SELECT randomblob(16),tenant_id,c.id,1,1,iif(i<=40,3,1),randomblob(32),0,randomblob(32),0,0,0,3,'{}' FROM n, circuits c \
            WHERE tenant_id=1 OR i=41";
        for sql in [
            "INSERT INTO tenants(id,name,created_at) VALUES (2,'other',0)",
            circuits,
            jobs,
        ] {
            sqlx::query(sql).execute(&store.writer).await.expect(sql);
        }
        let view = farm(&store, &[]).await.expect("read");
        assert_eq!(view.waiting.len() as i64, MAX_WAITING);
        let of = |tenant: i64, priority: Priority| {
            let jobs = view.waiting.iter();
            jobs.filter(|j| j.tenant == TenantId(tenant) && j.priority == priority)
                .count()
        };
        assert_eq!(of(2, Priority::Batch), 1);
        assert_eq!(of(1, Priority::Batch), 100);
    }
}
