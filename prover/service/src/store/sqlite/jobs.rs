//! Jobs: every change reads the row, asks `farm::job` what becomes of it, and writes it back by compare-and-swap.

use serde::Serialize;
use sha2::Digest as _;
use sqlx::{AssertSqlSafe, QueryBuilder, Row, Sqlite};

use super::{
    SqliteStore, TENANT, Tx, artifacts, check_queue, circuits, now, remember, remembered, rows,
};
use crate::{
    farm::job::{Life, Refusal, Step},
    store::{
        ArtifactKind, Attempt, CircuitId, CircuitState, CommitOutcome, Created, Digest, Failure,
        FailureClass, Job, JobFilter, JobId, JobKind, JobState, Labels, NewJob, NewProof, Page,
        Priority, ProofRecord, Recovered, StoreError,
    },
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

fn not_found(id: JobId) -> StoreError {
    StoreError::NotFound {
        kind: "job",
        id: id.to_string(),
    }
}

pub(super) async fn create(store: &SqliteStore, new: NewJob) -> Result<Created<Job>, StoreError> {
    let mut tx = store.write().await?;
    if let Some(id) = remembered(&mut tx, "CreateJob", &new.request).await? {
        let resource = in_tx(&mut tx, JobId(id)).await?;
        return Ok(Created {
            resource,
            existed: true,
        });
    }
    let circuit = circuits::in_tx(&mut tx, new.circuit).await?;
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
    hash.update(new.input.0.0);
    hash.update(new.context);
    if !new.allow_cached {
        hash.update(id.0.as_bytes());
    }
    let dedup_key: [u8; 32] = hash.finalize().into();
    let same = sqlx::query(
        "SELECT id FROM jobs WHERE tenant_id=? AND dedup_key=? AND state IN (1,2,3,4,5)",
    )
    .bind(TENANT)
    .bind(&dedup_key[..])
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(row) = same {
        let id = JobId(rows::uuid(row.try_get(0)?)?);
        remember(&mut tx, "CreateJob", &new.request, id.0).await?;
        let resource = in_tx(&mut tx, id).await?;
        tx.commit().await?;
        return Ok(Created {
            resource,
            existed: true,
        });
    }
    check_queue(&mut tx, new.max_queued).await?;
    artifacts::insert(&mut tx, &new.input.0, new.input.1, ArtifactKind::Input).await?;
    let now = now(&mut tx).await?;
    sqlx::query(
        "INSERT INTO jobs(id,tenant_id,circuit_id,kind,state,priority,dedup_key,input_digest,input_artifact,private_input,context,\
         created_at,updated_at,not_before,deadline,max_attempts,labels) VALUES (?,?,?,?,1,?,?,?,?,?,?,?,?,?,?,?,?)",
    )
    .bind(&id.0.as_bytes()[..])
    .bind(TENANT)
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
    .execute(&mut *tx)
    .await?;
    append_event(&mut tx, id, None, JobState::Queued, None).await?;
    remember(&mut tx, "CreateJob", &new.request, id.0).await?;
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
    circuit: CircuitId,
    kind: JobKind,
) -> Result<(), StoreError> {
    let id = JobId::fresh();
    let now = now(tx).await?;
    sqlx::query(
        "INSERT INTO jobs(id,tenant_id,circuit_id,kind,state,priority,dedup_key,private_input,context,created_at,updated_at,not_before,\
         max_attempts,labels) VALUES (?,?,?,?,1,?,?,0,?,?,?,?,?,'{}')",
    )
    .bind(&id.0.as_bytes()[..])
    .bind(TENANT)
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
    append_event(tx, id, None, JobState::Queued, None).await
}

async fn append_event(
    tx: &mut Tx<'_>,
    id: JobId,
    from: Option<JobState>,
    to: JobState,
    failure: Option<&Failure>,
) -> Result<(), StoreError> {
    let now = now(tx).await?;
    sqlx::query("INSERT INTO job_events(job_id,at,from_state,to_state,failure) VALUES (?,?,?,?,?)")
        .bind(&id.0.as_bytes()[..])
        .bind(now)
        .bind(from.map(JobState::code))
        .bind(to.code())
        .bind(failure.map(text))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn in_tx(tx: &mut Tx<'_>, id: JobId) -> Result<Job, StoreError> {
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

fn life(job: &Job) -> Life {
    Life {
        state: job.state,
        epoch: job.epoch,
        attempts: job.attempt_count,
        lost: job.lost_count,
        max_attempts: job.max_attempts,
    }
}

/// One step in the life of a job: the compare-and-swap that every change goes through.
async fn step(
    tx: &mut Tx<'_>,
    id: JobId,
    step: Step,
    failure: Option<Failure>,
) -> Result<Job, StoreError> {
    let job = in_tx(tx, id).await?;
    let before = life(&job);
    let (after, wait_ms) = before.after(step)?;
    let now = now(tx).await?;
    let failure = failure.map(|f| Failure {
        attempt: u32::try_from(before.epoch).unwrap_or(u32::MAX),
        ..f
    });
    let updated = sqlx::query(
        "UPDATE jobs SET state=?, epoch=?, attempt_count=?, lost_count=?, not_before=?, updated_at=?, version=version+1, \
         failure=coalesce(?,failure), started_at=iif(?,?,started_at), ended_at=? WHERE id=? AND state=? AND epoch=?",
    )
    .bind(after.state.code())
    .bind(after.epoch)
    .bind(after.attempts)
    .bind(after.lost)
    .bind(if after.state == JobState::Queued { now + wait_ms as i64 } else { job.not_before })
    .bind(now)
    .bind(failure.as_ref().map(text))
    .bind(after.state == JobState::Running)
    .bind(now)
    .bind(after.state.is_terminal().then_some(now))
    .bind(&id.0.as_bytes()[..])
    .bind(before.state.code())
    .bind(before.epoch)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    if updated != 1 {
        return Err(Refusal::Impossible(before.state).into());
    }
    match step {
        Step::Claim => {
            sqlx::query("INSERT INTO attempts(job_id,epoch,leased_at) VALUES (?,?,?)")
                .bind(&id.0.as_bytes()[..])
                .bind(after.epoch)
                .bind(now)
                .execute(&mut **tx)
                .await?;
        }
        Step::Start { .. } => {}
        _ => {
            sqlx::query(
                "UPDATE attempts SET ended_at=?, failure=? WHERE job_id=? AND ended_at IS NULL",
            )
            .bind(now)
            .bind(failure.as_ref().map(text))
            .bind(&id.0.as_bytes()[..])
            .execute(&mut **tx)
            .await?;
        }
    }
    append_event(tx, id, Some(before.state), after.state, failure.as_ref()).await?;
    let ended_badly = after.state.is_terminal() && after.state != JobState::Succeeded;
    if let (true, JobKind::Compile | JobKind::Setup) = (ended_badly, job.kind) {
        let failure = failure
            .unwrap_or_else(|| Failure::new(FailureClass::Internal, "ENDED", after.state.name()));
        circuits::fail(tx, job.circuit, &failure).await?;
    }
    in_tx(tx, id).await
}

pub(super) async fn job(store: &SqliteStore, id: JobId) -> Result<Job, StoreError> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT {} FROM jobs WHERE id=?",
        rows::JOB
    )))
    .bind(&id.0.as_bytes()[..])
    .fetch_optional(&store.readers)
    .await?;
    row.as_ref()
        .map(rows::job)
        .transpose()?
        .ok_or_else(|| not_found(id))
}

pub(super) async fn list(
    store: &SqliteStore,
    filter: &JobFilter,
    page: &Page,
) -> Result<Vec<Job>, StoreError> {
    let mut query = QueryBuilder::new(format!("SELECT {} FROM jobs WHERE tenant_id=", rows::JOB));
    query.push_bind(TENANT);
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
        "SELECT count(*) FROM jobs WHERE state=1 AND (priority>?1 OR (priority=?1 AND id<?2))",
    )
    .bind(job.priority.code())
    .bind(&job.id.0.as_bytes()[..])
    .fetch_one(&store.readers)
    .await?;
    Ok(u32::try_from(row.try_get::<i64, _>(0)?).unwrap_or(u32::MAX))
}

pub(super) async fn attempts(store: &SqliteStore, id: JobId) -> Result<Vec<Attempt>, StoreError> {
    sqlx::query("SELECT epoch,leased_at,ended_at,failure,key_load_ms,prove_ms FROM attempts WHERE job_id=? ORDER BY epoch")
        .bind(&id.0.as_bytes()[..])
        .fetch_all(&store.readers)
        .await?
        .iter()
        .map(rows::attempt)
        .collect()
}

pub(super) async fn proof(
    store: &SqliteStore,
    id: JobId,
) -> Result<Option<ProofRecord>, StoreError> {
    let row = sqlx::query(
        "SELECT proof_digest,proof,public_values,vk_digest,verified_at,verifier_version FROM proofs WHERE job_id=?",
    )
    .bind(&id.0.as_bytes()[..])
    .fetch_optional(&store.readers)
    .await?;
    row.as_ref().map(rows::proof).transpose()
}

pub(super) async fn claim(store: &SqliteStore) -> Result<Option<Job>, StoreError> {
    let mut tx = store.write().await?;
    let now = now(&mut tx).await?;
    let row = sqlx::query(
        "SELECT id FROM jobs WHERE state=1 AND not_before<=? ORDER BY priority DESC, id LIMIT 1",
    )
    .bind(now)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let job = step(
        &mut tx,
        JobId(rows::uuid(row.try_get(0)?)?),
        Step::Claim,
        None,
    )
    .await?;
    store.commit(tx).await?;
    Ok(Some(job))
}

pub(super) async fn next_due_in_ms(store: &SqliteStore) -> Result<Option<u64>, StoreError> {
    let row = sqlx::query("SELECT min(not_before) - CAST(unixepoch('subsec') * 1000 AS INTEGER) FROM jobs WHERE state=1")
        .fetch_one(&store.readers)
        .await?;
    Ok(row.try_get::<Option<i64>, _>(0)?.map(|ms| ms.max(0) as u64))
}

async fn one_step(
    store: &SqliteStore,
    id: JobId,
    what: Step,
    failure: Option<Failure>,
) -> Result<Job, StoreError> {
    let mut tx = store.write().await?;
    let job = step(&mut tx, id, what, failure).await?;
    store.commit(tx).await?;
    Ok(job)
}

pub(super) async fn start(store: &SqliteStore, id: JobId, epoch: i64) -> Result<Job, StoreError> {
    one_step(store, id, Step::Start { epoch }, None).await
}

pub(super) async fn release(store: &SqliteStore, id: JobId, epoch: i64) -> Result<Job, StoreError> {
    one_step(store, id, Step::Release { epoch }, None).await
}

pub(super) async fn fail(
    store: &SqliteStore,
    id: JobId,
    epoch: i64,
    failure: Failure,
) -> Result<Job, StoreError> {
    one_step(
        store,
        id,
        Step::Fail {
            epoch,
            class: failure.class,
        },
        Some(failure),
    )
    .await
}

/// The step to SUCCEEDED of any kind of job, or why it is not taken.
pub(super) async fn succeed(
    tx: &mut Tx<'_>,
    id: JobId,
    epoch: i64,
) -> Result<(Job, CommitOutcome), StoreError> {
    match step(tx, id, Step::Commit { epoch }, None).await {
        Ok(job) => Ok((job, CommitOutcome::Accepted)),
        Err(StoreError::Refused(Refusal::Terminal(state))) => {
            let outcome = if state == JobState::Succeeded {
                CommitOutcome::AlreadyProven
            } else {
                CommitOutcome::JobEnded
            };
            Ok((in_tx(tx, id).await?, outcome))
        }
        Err(e) => Err(e),
    }
}

pub(super) async fn commit_proof(
    store: &SqliteStore,
    id: JobId,
    epoch: i64,
    proof: NewProof,
) -> Result<CommitOutcome, StoreError> {
    let mut tx = store.write().await?;
    let (_, outcome) = succeed(&mut tx, id, epoch).await?;
    if outcome != CommitOutcome::Accepted {
        return Ok(outcome);
    }
    let now = now(&mut tx).await?;
    let inserted = sqlx::query(
        "INSERT INTO proofs(job_id,epoch,proof_digest,proof,public_values,vk_digest,verifier_version,verify_ms,verified_at) \
         VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT(job_id) DO NOTHING",
    )
    .bind(&id.0.as_bytes()[..])
    .bind(epoch)
    .bind(&Digest::of(&proof.proof).0[..])
    .bind(&proof.proof)
    .bind(&proof.public_values)
    .bind(&proof.vk_digest[..])
    .bind(&proof.verifier_version)
    .bind(proof.verify_ms)
    .bind(now)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if inserted != 1 {
        return Ok(CommitOutcome::AlreadyProven);
    }
    sqlx::query("UPDATE attempts SET key_load_ms=?, prove_ms=? WHERE job_id=? AND epoch=?")
        .bind(proof.key_load_ms)
        .bind(proof.prove_ms)
        .bind(&id.0.as_bytes()[..])
        .bind(epoch)
        .execute(&mut *tx)
        .await?;
    store.commit(tx).await?;
    Ok(CommitOutcome::Accepted)
}

pub(super) async fn cancel(
    store: &SqliteStore,
    id: JobId,
    etag: Option<i64>,
) -> Result<Job, StoreError> {
    let mut tx = store.write().await?;
    let job = in_tx(&mut tx, id).await?;
    if job.state.is_terminal() {
        return Ok(job);
    }
    if let Some(etag) = etag
        && etag != job.version
    {
        return Err(StoreError::EtagMismatch { now: job.version });
    }
    let failure = Failure::new(
        FailureClass::Cancelled,
        "CANCELLED",
        "cancelled by the client",
    );
    let job = step(&mut tx, id, Step::Cancel, Some(failure)).await?;
    store.commit(tx).await?;
    Ok(job)
}

pub(super) async fn expire(store: &SqliteStore) -> Result<Vec<Job>, StoreError> {
    let due = "SELECT id FROM jobs WHERE state IN (1,2,3,4) AND deadline <= CAST(unixepoch('subsec') * 1000 AS INTEGER)";
    if sqlx::query(due)
        .fetch_optional(&store.readers)
        .await?
        .is_none()
    {
        return Ok(Vec::new());
    }
    let mut tx = store.write().await?;
    let mut ended = Vec::new();
    for row in sqlx::query(due).fetch_all(&mut *tx).await? {
        let failure = Failure::new(
            FailureClass::Deadline,
            "DEADLINE",
            "the job's time to live is over",
        );
        ended.push(
            step(
                &mut tx,
                JobId(rows::uuid(row.try_get(0)?)?),
                Step::Expire,
                Some(failure),
            )
            .await?,
        );
    }
    store.commit(tx).await?;
    Ok(ended)
}

pub(super) async fn recover(store: &SqliteStore) -> Result<Recovered, StoreError> {
    let mut tx = store.write().await?;
    let held = sqlx::query("SELECT id FROM jobs WHERE state IN (2,3,4)")
        .fetch_all(&mut *tx)
        .await?;
    let mut requeued = 0;
    for row in held {
        let failure = Failure::new(
            FailureClass::NodeLost,
            "SERVER_RESTARTED",
            "the server stopped during this attempt",
        );
        step(
            &mut tx,
            JobId(rows::uuid(row.try_get(0)?)?),
            Step::Lost,
            Some(failure),
        )
        .await?;
        requeued += 1;
    }
    store.commit(tx).await?;
    Ok(Recovered { requeued })
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
    sqlx::query("UPDATE jobs SET input_dropped=1 WHERE id=?")
        .bind(&id.0.as_bytes()[..])
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}
