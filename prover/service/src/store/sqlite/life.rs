//! The life of jobs: every change reads the row and its open attempts, asks `farm::job` what becomes of them, and writes it
//! back by compare-and-swap.

use sqlx::{AssertSqlSafe, QueryBuilder, Row, Sqlite};

use super::{SqliteStore, Tx, circuits, jobs, nodes, rows};
use crate::{
    farm::job::{
        History, Judgement, Life, NOT_HANDED_OUT, Open, POISON_SUSPECT, Refusal, Step, judge,
    },
    store::{
        AttemptOutcome, CommitOutcome, Digest, Failure, FailureClass, Job, JobId, JobKind,
        JobState, Millis, NewProof, NodeId, Recovered, StoreError, TenantId, Trust,
    },
};

/// Who takes a job.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Claimant {
    /// A node with its session; nobody is this process.
    pub node: Option<(NodeId, i64)>,
    /// When its lease runs out.
    pub expires: Option<Millis>,
    /// When it is lost whatever its node says.
    pub overdue: Option<Millis>,
    /// What the tenant's share is charged with.
    pub charge_ms: i64,
}

async fn life(tx: &mut Tx<'_>, job: &Job) -> Result<Life, StoreError> {
    let open = sqlx::query("SELECT epoch FROM attempts WHERE job_id=? AND ended_at IS NULL")
        .bind(&job.id.0.as_bytes()[..])
        .fetch_all(&mut **tx)
        .await?
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<Vec<i64>, _>>()?;
    Ok(Life {
        state: job.state,
        epoch: job.epoch,
        attempts: job.attempt_count,
        lost: job.lost_count,
        max_attempts: job.max_attempts,
        open: Open::of(open),
    })
}

/// How far a tenant's virtual time may lie behind that of those who run.
const MOST_CREDIT_MS: f64 = 600_000.0;
/// No job waits longer for its next claim: the longest pause and a fifth.
const LONGEST_WAIT_MS: i64 = 360_000;

/// ± 20 %, so that jobs that failed together do not come back together.
fn spread(wait_ms: u64) -> i64 {
    let spread = rand::Rng::gen_range(&mut rand::thread_rng(), 0.8..=1.2);
    (wait_ms as f64 * spread) as i64
}

/// What the client is told when its job is over for another reason than its last failure.
fn poison(failure: &Failure) -> Failure {
    let message = format!(
        "every prover that worked on this job died; the last one: {}",
        failure.message
    );
    Failure::new(failure.class, POISON_SUSPECT, message)
}

/// One step in the life of a job: the compare-and-swap that every change goes through.
pub(super) async fn step(
    tx: &mut Tx<'_>,
    id: JobId,
    step: Step,
    failure: Option<Failure>,
    claimant: &Claimant,
) -> Result<Job, StoreError> {
    let job = jobs::in_tx(tx, id).await?;
    let before = life(tx, &job).await?;
    let (after, wait_ms) = before.after(step)?;
    let now = tx.now;
    let epoch = match step {
        Step::Fail { epoch, .. } | Step::Lost { epoch } => epoch,
        _ => before.epoch,
    };
    let failure = failure.map(|f| Failure {
        attempt: u32::try_from(epoch).unwrap_or(u32::MAX),
        ..f
    });
    let poisoned = matches!(
        step,
        Step::Fail {
            judgement: Judgement::Poison,
            ..
        }
    );
    let shown = match &failure {
        Some(f) if poisoned => Some(Failure {
            attempt: f.attempt,
            ..poison(f)
        }),
        other => other.clone(),
    };
    let updated = sqlx::query(
        "UPDATE jobs SET state=?, epoch=?, attempt_count=?, lost_count=?, not_before=?, updated_at=?, version=version+1, \
         failure=coalesce(?,failure), started_at=iif(?,?,started_at), ended_at=?, passed_over=iif(?,0,passed_over), \
         passed_since=iif(?,NULL,passed_since) WHERE id=? AND state=? AND epoch=?",
    )
    .bind(after.state.code())
    .bind(after.epoch)
    .bind(after.attempts)
    .bind(after.lost)
    .bind(if after.state == JobState::Queued { now + spread(wait_ms) } else { job.not_before })
    .bind(now)
    .bind(shown.as_ref().map(jobs::text))
    .bind(after.state == JobState::Running && before.state != JobState::Running)
    .bind(now)
    .bind(after.state.is_terminal().then_some(now))
    .bind(after.epoch > before.epoch)
    .bind(after.epoch > before.epoch)
    .bind(&id.0.as_bytes()[..])
    .bind(before.state.code())
    .bind(before.epoch)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    if updated != 1 {
        return Err(Refusal::Impossible(before.state).into());
    }
    let failed = failure.as_ref();
    match step {
        Step::Claim | Step::Copy => {
            begin_attempt(tx, &job, after.epoch, step == Step::Copy, claimant).await?;
        }
        Step::Start { .. } => {}
        Step::Commit { epoch } => end(tx, &job, Some(epoch), AttemptOutcome::Won, None).await?,
        Step::Fail { epoch, .. } => {
            end(tx, &job, Some(epoch), AttemptOutcome::Failed, failed).await?
        }
        Step::Release { epoch } => {
            end(tx, &job, Some(epoch), AttemptOutcome::Released, None).await?
        }
        Step::Lost { epoch } => end(tx, &job, Some(epoch), AttemptOutcome::Lost, failed).await?,
        Step::Cancel | Step::Expire => {}
    }
    if after.state.is_terminal() {
        let why = matches!(step, Step::Cancel | Step::Expire)
            .then_some(failed)
            .flatten();
        end(tx, &job, None, AttemptOutcome::Superseded, why).await?;
    }
    if after.state != before.state {
        jobs::append_event(
            tx,
            job.tenant,
            id,
            Some(before.state),
            after.state,
            shown.as_ref(),
        )
        .await?;
    }
    let ended_badly = after.state.is_terminal() && after.state != JobState::Succeeded;
    if let (true, JobKind::Compile | JobKind::Setup) = (ended_badly, job.kind) {
        let failure = shown
            .unwrap_or_else(|| Failure::new(FailureClass::Internal, "ENDED", after.state.name()));
        circuits::fail(tx, job.circuit, &failure).await?;
    }
    jobs::in_tx(tx, id).await
}

async fn begin_attempt(
    tx: &mut Tx<'_>,
    job: &Job,
    epoch: i64,
    speculative: bool,
    claimant: &Claimant,
) -> Result<(), StoreError> {
    let now = tx.now;
    sqlx::query(
        "INSERT INTO attempts(job_id,epoch,circuit_id,node_id,session,leased_at,lease_expires,overdue_at,speculative,charged_ms) \
         VALUES (?,?,?,?,?,?,?,?,?,?)",
    )
    .bind(&job.id.0.as_bytes()[..])
    .bind(epoch)
    .bind(&job.circuit.0.as_bytes()[..])
    .bind(claimant.node.as_ref().map(|(node, _)| &node.0.as_bytes()[..]))
    .bind(claimant.node.map(|(_, session)| session))
    .bind(now)
    .bind(claimant.expires)
    .bind(claimant.overdue)
    .bind(speculative)
    .bind(claimant.charge_ms)
    .execute(&mut **tx)
    .await?;
    if claimant.charge_ms > 0 {
        // A queue that nobody could serve saves up a bounded credit.
        sqlx::query(
            "UPDATE tenants SET vtime=max(vtime,coalesce((SELECT min(vtime) FROM tenants WHERE id<>?1 AND id IN \
             (SELECT tenant_id FROM jobs WHERE kind=1 AND state IN (2,3,4))),0)-?3)+?2/weight WHERE id=?1",
        )
        .bind(job.tenant.0)
        .bind(claimant.charge_ms as f64)
        .bind(MOST_CREDIT_MS)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Whether the attempt is of an UNTRUSTED node.
async fn is_untrusted(tx: &mut Tx<'_>, job: &Job, epoch: Option<i64>) -> Result<bool, StoreError> {
    let row = sqlx::query(
        "SELECT 1 FROM attempts a JOIN nodes n ON n.id=a.node_id WHERE a.job_id=? AND a.epoch=? AND n.trust=?",
    )
    .bind(&job.id.0.as_bytes()[..])
    .bind(epoch)
    .bind(Trust::Untrusted.code())
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.is_some())
}

/// Ends one attempt of a job (also one that ended before, when it won), or all that are open.
async fn end(
    tx: &mut Tx<'_>,
    job: &Job,
    epoch: Option<i64>,
    outcome: AttemptOutcome,
    failure: Option<&Failure>,
) -> Result<(), StoreError> {
    let now = tx.now;
    let which = match epoch {
        Some(_) => "epoch=?7",
        None => "?7 IS NULL AND ended_at IS NULL",
    };
    // Time that made no proof is not billed, unless the request was to blame, by the word of a node that is trusted.
    let blamed = failure.is_some_and(|f| {
        matches!(
            f.class,
            FailureClass::InvalidRequest | FailureClass::ResourceExceeded
        )
    });
    let to_blame = blamed && !is_untrusted(tx, job, epoch).await?;
    let refund = outcome != AttemptOutcome::Won && !(outcome == AttemptOutcome::Failed && to_blame);
    if refund {
        let sql = format!(
            "UPDATE tenants SET vtime=max(0,vtime - (SELECT coalesce(sum(charged_ms),0) FROM attempts WHERE job_id=?6 AND {which} \
             AND ended_at IS NULL)/weight) WHERE id=?1"
        );
        sqlx::query(AssertSqlSafe(sql))
            .bind(job.tenant.0)
            .bind(None::<i64>)
            .bind(None::<i64>)
            .bind(None::<i64>)
            .bind(None::<i64>)
            .bind(&job.id.0.as_bytes()[..])
            .bind(epoch)
            .execute(&mut **tx)
            .await?;
    }
    let sql = format!(
        "UPDATE attempts SET ended_at=coalesce(ended_at,?1), outcome=?2, failure=?3, failure_class=?4, failure_code=?5, \
         charged_ms=iif(?8,0,charged_ms) WHERE job_id=?6 AND {which}"
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(now)
        .bind(outcome.code())
        .bind(failure.map(jobs::text))
        .bind(failure.map(|f| f.class.code()))
        .bind(failure.map(|f| f.code.clone()))
        .bind(&job.id.0.as_bytes()[..])
        .bind(epoch)
        .bind(refund)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn push_kinds(query: &mut QueryBuilder<Sqlite>, kinds: &[JobKind]) {
    query.push(" AND kind IN (");
    let mut list = query.separated(",");
    for kind in kinds {
        list.push_bind(kind.code());
    }
    query.push(")");
}

pub(super) async fn claim(
    store: &SqliteStore,
    kinds: &[JobKind],
) -> Result<Option<Job>, StoreError> {
    let mut tx = store.write().await?;
    let mut query = QueryBuilder::new("SELECT id FROM jobs WHERE state=1 AND not_before<=");
    query.push_bind(tx.now);
    push_kinds(&mut query, kinds);
    query.push(" ORDER BY priority DESC, id LIMIT 1");
    let Some(row) = query.build().fetch_optional(&mut *tx).await? else {
        return Ok(None);
    };
    let id = JobId(rows::uuid(row.try_get(0)?)?);
    let job = step(&mut tx, id, Step::Claim, None, &Claimant::default()).await?;
    store.commit(tx).await?;
    Ok(Some(job))
}

pub(super) async fn next_due_in_ms(
    store: &SqliteStore,
    kinds: &[JobKind],
) -> Result<Option<u64>, StoreError> {
    let mut query = QueryBuilder::new("SELECT min(not_before) FROM jobs WHERE state=1");
    push_kinds(&mut query, kinds);
    let row = query.build().fetch_one(&store.readers).await?;
    let now = store.clock();
    Ok(row
        .try_get::<Option<i64>, _>(0)?
        .map(|at| rows::bytes(at.saturating_sub(now))))
}

async fn one_step(store: &SqliteStore, id: JobId, what: Step) -> Result<Job, StoreError> {
    let mut tx = store.write().await?;
    let job = step(&mut tx, id, what, None, &Claimant::default()).await?;
    store.commit(tx).await?;
    Ok(job)
}

pub(super) async fn start(store: &SqliteStore, id: JobId, epoch: i64) -> Result<Job, StoreError> {
    one_step(store, id, Step::Start { epoch }).await
}

pub(super) async fn release(store: &SqliteStore, id: JobId, epoch: i64) -> Result<Job, StoreError> {
    one_step(store, id, Step::Release { epoch }).await
}

/// Ends a claim of this process.
pub(super) async fn fail(
    store: &SqliteStore,
    id: JobId,
    epoch: i64,
    failure: Failure,
) -> Result<Job, StoreError> {
    let own = History {
        own: true,
        ..History::default()
    };
    let judgement = match failure.class {
        FailureClass::Cancelled => return release(store, id, epoch).await,
        class => judge(class, &failure.code, &own),
    };
    let mut tx = store.write().await?;
    let what = Step::Fail { epoch, judgement };
    let job = step(&mut tx, id, what, Some(failure), &Claimant::default()).await?;
    store.commit(tx).await?;
    Ok(job)
}

/// The step to SUCCEEDED of any kind of job, or why it is not taken. The attempt must be, or have been, of `node`.
pub(super) async fn succeed(
    tx: &mut Tx<'_>,
    id: JobId,
    epoch: i64,
    node: Option<NodeId>,
) -> Result<(Job, CommitOutcome), StoreError> {
    let theirs = sqlx::query("SELECT 1 FROM attempts WHERE job_id=? AND epoch=? AND node_id IS ?")
        .bind(&id.0.as_bytes()[..])
        .bind(epoch)
        .bind(node.as_ref().map(|n| &n.0.as_bytes()[..]))
        .fetch_optional(&mut **tx)
        .await?;
    if theirs.is_none() {
        let job = jobs::in_tx(tx, id).await?;
        return Err(Refusal::Stale {
            expected: job.epoch,
            got: epoch,
        }
        .into());
    }
    match step(tx, id, Step::Commit { epoch }, None, &Claimant::default()).await {
        Ok(job) => Ok((job, CommitOutcome::Accepted)),
        Err(StoreError::Refused(Refusal::Terminal(state))) => {
            let outcome = if state == JobState::Succeeded {
                CommitOutcome::AlreadyProven
            } else {
                CommitOutcome::JobEnded
            };
            Ok((jobs::in_tx(tx, id).await?, outcome))
        }
        Err(e) => Err(e),
    }
}

pub(super) async fn commit_proof(
    store: &SqliteStore,
    id: JobId,
    epoch: i64,
    node: Option<NodeId>,
    proof: NewProof,
) -> Result<CommitOutcome, StoreError> {
    let mut tx = store.write().await?;
    let (job, outcome) = succeed(&mut tx, id, epoch, node).await?;
    if outcome != CommitOutcome::Accepted {
        return Ok(outcome);
    }
    let now = tx.now;
    let inserted = sqlx::query(
        "INSERT INTO proofs(job_id,epoch,proof_digest,proof,public_values,vk_digest,verifier_version,verify_ms,verified_at,node_id) \
         VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT(job_id) DO NOTHING",
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
    .bind(node.as_ref().map(|n| &n.0.as_bytes()[..]))
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if inserted != 1 {
        return Ok(CommitOutcome::AlreadyProven);
    }
    // What the proof took replaces the estimate that the tenant was charged with; an UNTRUSTED node's word makes it no dearer.
    sqlx::query(
        "UPDATE tenants SET vtime=max(0,vtime + (SELECT iif(charged_ms>0 AND (SELECT trust FROM nodes WHERE id=node_id)=?5,min(?1,charged_ms),?1) \
         - charged_ms FROM attempts WHERE job_id=?2 AND epoch=?3)/weight) WHERE id=?4",
    )
    .bind(proof.prove_ms as f64)
    .bind(&id.0.as_bytes()[..])
    .bind(epoch)
    .bind(job.tenant.0)
    .bind(Trust::Untrusted.code())
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "UPDATE attempts SET key_load_ms=?, prove_ms=?, peak_ram=max(coalesce(peak_ram,0),?) WHERE job_id=? AND epoch=?",
    )
    .bind(proof.key_load_ms)
    .bind(proof.prove_ms)
    .bind(i64::try_from(proof.peak_ram).unwrap_or(i64::MAX))
    .bind(&id.0.as_bytes()[..])
    .bind(epoch)
    .execute(&mut *tx)
    .await?;
    if let Some(node) = node {
        nodes::score(&mut tx, node, nodes::Deed::Won).await?;
    }
    let wrong = sqlx::query(
        "SELECT DISTINCT node_id FROM attempts a JOIN nodes n ON n.id=a.node_id WHERE job_id=?1 AND outcome=2 \
         AND (failure_class IN (1,3,6) OR failure_class=2 AND trust=?4) AND failure_code<>?2 AND node_id IS NOT ?3",
    )
    .bind(&id.0.as_bytes()[..])
    .bind(NOT_HANDED_OUT)
    .bind(node.as_ref().map(|n| &n.0.as_bytes()[..]))
    .bind(Trust::Untrusted.code())
    .fetch_all(&mut *tx)
    .await?;
    for row in wrong {
        let wrong = NodeId(rows::uuid(row.try_get(0)?)?);
        nodes::score(&mut tx, wrong, nodes::Deed::Blamed).await?;
    }
    store.commit(tx).await?;
    Ok(CommitOutcome::Accepted)
}

pub(super) async fn cancel(
    store: &SqliteStore,
    tenant: TenantId,
    id: JobId,
    etag: Option<i64>,
) -> Result<Job, StoreError> {
    let mut tx = store.write().await?;
    let job = jobs::in_tx(&mut tx, id).await?;
    if job.tenant != tenant {
        return Err(jobs::not_found(id));
    }
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
    let job = step(
        &mut tx,
        id,
        Step::Cancel,
        Some(failure),
        &Claimant::default(),
    )
    .await?;
    store.commit(tx).await?;
    Ok(job)
}

pub(super) async fn expire(store: &SqliteStore) -> Result<Vec<Job>, StoreError> {
    let due = "SELECT id FROM jobs WHERE state IN (1,2,3,4) AND deadline<=?";
    if sqlx::query(due)
        .bind(store.clock())
        .fetch_optional(&store.readers)
        .await?
        .is_none()
    {
        return Ok(Vec::new());
    }
    let mut tx = store.write().await?;
    let mut ended = Vec::new();
    let now = tx.now;
    for row in sqlx::query(due).bind(now).fetch_all(&mut *tx).await? {
        let failure = Failure::new(
            FailureClass::Deadline,
            "DEADLINE",
            "the job's time to live is over",
        );
        let id = JobId(rows::uuid(row.try_get(0)?)?);
        ended.push(
            step(
                &mut tx,
                id,
                Step::Expire,
                Some(failure),
                &Claimant::default(),
            )
            .await?,
        );
    }
    store.commit(tx).await?;
    Ok(ended)
}

pub(super) async fn recover(store: &SqliteStore, grace_ms: i64) -> Result<Recovered, StoreError> {
    let mut tx = store.write().await?;
    let own =
        sqlx::query("SELECT job_id,epoch FROM attempts WHERE ended_at IS NULL AND node_id IS NULL")
            .fetch_all(&mut *tx)
            .await?;
    let mut requeued = 0;
    for row in own {
        let failure = Failure::new(
            FailureClass::NodeLost,
            "SERVER_RESTARTED",
            "the server stopped during this attempt",
        );
        let id = JobId(rows::uuid(row.try_get(0)?)?);
        let lost = Step::Lost {
            epoch: row.try_get(1)?,
        };
        step(&mut tx, id, lost, Some(failure), &Claimant::default()).await?;
        requeued += 1;
    }
    let until = tx.now.saturating_add(grace_ms);
    let held = sqlx::query(
        "UPDATE attempts SET lease_expires=? WHERE ended_at IS NULL AND node_id IS NOT NULL",
    )
    .bind(until)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    // The clock may have been ahead when the pauses were written.
    let latest = tx.now.saturating_add(LONGEST_WAIT_MS);
    sqlx::query("UPDATE jobs SET not_before=?1 WHERE state=1 AND not_before>?1")
        .bind(latest)
        .execute(&mut *tx)
        .await?;
    store.commit(tx).await?;
    Ok(Recovered { requeued, held })
}
