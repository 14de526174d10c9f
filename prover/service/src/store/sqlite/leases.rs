//! Sessions of nodes and the attempts they hold.

use sqlx::{AssertSqlSafe, Row, sqlite::SqliteRow};

use super::{
    SqliteStore, Tx, circuits, jobs,
    life::{self, Claimant},
    nodes::{self, Deed},
    rows, view,
};
use crate::{
    farm::{
        job::{
            CHILD_DIED, History, Judgement, NOT_HANDED_OUT, Refusal, Step, TIME_LIMIT, backoff_ms,
            judge,
        },
        lease::AttemptId,
    },
    store::{
        AttemptBeat, AttemptOutcome, Capabilities, CircuitId, ClusterView, Failure, FailureClass,
        FarmStore, FarmView, Heard, Held, Job, JobEnd, JobId, JobKind, JobState, KeyResidency,
        Leased, Millis, Node, NodeChange, NodeId, NodeState, Rejected, Session, StoreError,
        TenantId, Took, Trust, Want,
    },
};

/// Refused proofs within [`INVALID_WINDOW_MS`] that quarantine a node.
const INVALID_LIMIT: i64 = 2;
const INVALID_WINDOW_MS: i64 = 24 * 3600 * 1000;
/// Times a job is handed back before it waits for its next claim.
const RELEASES_BEFORE_BACKOFF: u32 = 3;
/// A node that was not heard of for so long is not counted on.
const SILENT_MS: i64 = 120_000;

fn attempt_id(row: &SqliteRow) -> Result<AttemptId, StoreError> {
    Ok(AttemptId {
        job: JobId(rows::uuid(row.try_get("job_id")?)?),
        epoch: row.try_get("epoch")?,
    })
}

async fn open_of(tx: &mut Tx<'_>, node: NodeId) -> Result<Vec<AttemptId>, StoreError> {
    sqlx::query(
        "SELECT job_id,epoch FROM attempts WHERE node_id=? AND ended_at IS NULL ORDER BY leased_at",
    )
    .bind(&node.0.as_bytes()[..])
    .fetch_all(&mut **tx)
    .await?
    .iter()
    .map(attempt_id)
    .collect()
}

/// Ends an open attempt as lost.
async fn lose(
    tx: &mut Tx<'_>,
    node: NodeId,
    attempt: AttemptId,
    code: &str,
    message: &str,
) -> Result<(), StoreError> {
    let failure = Failure::new(FailureClass::NodeLost, code, message);
    let lost = Step::Lost {
        epoch: attempt.epoch,
    };
    life::step(tx, attempt.job, lost, Some(failure), &Claimant::default()).await?;
    nodes::score(tx, node, Deed::Lost).await
}

/// Ends every open attempt of a node as lost.
pub(super) async fn lose_all(
    tx: &mut Tx<'_>,
    node: NodeId,
    code: &str,
    message: &str,
) -> Result<(), StoreError> {
    for attempt in open_of(tx, node).await? {
        lose(tx, node, attempt, code, message).await?;
    }
    Ok(())
}

/// Ends the open attempts of a node that need more trust than it has now.
pub(super) async fn lose_beyond(
    tx: &mut Tx<'_>,
    node: NodeId,
    trust: Trust,
) -> Result<(), StoreError> {
    let open = sqlx::query(
        "SELECT a.job_id,a.epoch FROM attempts a JOIN jobs j ON j.id=a.job_id WHERE a.node_id=? AND a.ended_at IS NULL AND j.min_trust>?",
    )
    .bind(&node.0.as_bytes()[..])
    .bind(trust.code())
    .fetch_all(&mut **tx)
    .await?;
    for row in open {
        let attempt = attempt_id(&row)?;
        let message = "its node is not trusted enough any more";
        let failure = Failure::new(FailureClass::NodeLost, "TRUST_LOWERED", message);
        let lost = Step::Lost {
            epoch: attempt.epoch,
        };
        life::step(tx, attempt.job, lost, Some(failure), &Claimant::default()).await?;
    }
    Ok(())
}

/// A node hands an attempt back. From the third time on the job waits longer each time, so that nodes that take and return cannot spin it.
async fn hand_back(tx: &mut Tx<'_>, attempt: AttemptId) -> Result<Job, StoreError> {
    let release = Step::Release {
        epoch: attempt.epoch,
    };
    life::step(tx, attempt.job, release, None, &Claimant::default()).await?;
    let row = sqlx::query(
        "SELECT count(*) FROM attempts WHERE job_id=? AND outcome=? AND node_id IS NOT NULL",
    )
    .bind(&attempt.job.0.as_bytes()[..])
    .bind(AttemptOutcome::Released.code())
    .fetch_one(&mut **tx)
    .await?;
    let times = rows::count(row.try_get(0)?);
    if times >= RELEASES_BEFORE_BACKOFF {
        let wait = backoff_ms(times + 1 - RELEASES_BEFORE_BACKOFF);
        sqlx::query("UPDATE jobs SET not_before=max(not_before,?) WHERE id=? AND state=1")
            .bind(tx.now.saturating_add_unsigned(wait))
            .bind(&attempt.job.0.as_bytes()[..])
            .execute(&mut **tx)
            .await?;
    }
    jobs::in_tx(tx, attempt.job).await
}

/// Whether the attempt is open and of this session of the node.
async fn is_theirs(
    tx: &mut Tx<'_>,
    node: NodeId,
    session: i64,
    attempt: AttemptId,
) -> Result<bool, StoreError> {
    let row = sqlx::query(
        "SELECT 1 FROM attempts WHERE job_id=? AND epoch=? AND node_id=? AND session=? AND ended_at IS NULL",
    )
    .bind(&attempt.job.0.as_bytes()[..])
    .bind(attempt.epoch)
    .bind(&node.0.as_bytes()[..])
    .bind(session)
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.is_some())
}

async fn open_session(
    store: &SqliteStore,
    node: NodeId,
    version: &str,
    capabilities: Capabilities,
    resume: &[AttemptId],
    ttl_ms: i64,
) -> Result<Session, StoreError> {
    let mut tx = store.write().await?;
    let now = tx.now;
    let number = nodes::in_tx(&mut tx, node).await?.session + 1;
    sqlx::query(
        "UPDATE nodes SET session=?, online=1, last_seen=?, capabilities=?, program=? WHERE id=?",
    )
    .bind(number)
    .bind(now)
    .bind(jobs::text(&capabilities))
    .bind(version)
    .bind(&node.0.as_bytes()[..])
    .execute(&mut *tx)
    .await?;
    let mut keep = Vec::new();
    for attempt in open_of(&mut tx, node).await? {
        if resume.contains(&attempt) {
            sqlx::query(
                "UPDATE attempts SET session=?, lease_expires=? WHERE job_id=? AND epoch=?",
            )
            .bind(number)
            .bind(now.saturating_add(ttl_ms))
            .bind(&attempt.job.0.as_bytes()[..])
            .bind(attempt.epoch)
            .execute(&mut *tx)
            .await?;
            keep.push(attempt);
        } else {
            let message = "the node began anew without this attempt";
            lose(&mut tx, node, attempt, "NODE_RESTARTED", message).await?;
        }
    }
    store.commit(tx).await?;
    let drop = resume.iter().copied().filter(|a| !keep.contains(a));
    Ok(Session {
        number,
        drop: drop.collect(),
        keep,
    })
}

async fn close_session(
    store: &SqliteStore,
    node: NodeId,
    session: i64,
) -> Result<bool, StoreError> {
    let mut tx = store.write().await?;
    let ended = sqlx::query("UPDATE nodes SET online=0 WHERE id=? AND session=? AND online=1")
        .bind(&node.0.as_bytes()[..])
        .bind(session)
        .execute(&mut *tx)
        .await?
        .rows_affected();
    if ended == 0 {
        return Ok(false);
    }
    for attempt in open_of(&mut tx, node).await? {
        hand_back(&mut tx, attempt).await?;
    }
    store.commit(tx).await?;
    Ok(true)
}

/// Whether the node may take the job now, whatever the scheduler thinks.
async fn may_take(tx: &mut Tx<'_>, node: &Node, job: &Job, copy: bool) -> Result<bool, StoreError> {
    let waits = job.state == JobState::Queued && job.not_before <= tx.now;
    let runs = matches!(job.state, JobState::Leased | JobState::Running);
    let least = if job.private_input {
        job.min_trust.max(Trust::Vetted)
    } else {
        job.min_trust
    };
    if job.kind != JobKind::Prove || !(if copy { runs } else { waits }) || node.trust < least {
        return Ok(false);
    }
    if copy {
        let own = sqlx::query("SELECT 1 FROM attempts WHERE job_id=? AND node_id=?")
            .bind(&job.id.0.as_bytes()[..])
            .bind(&node.id.0.as_bytes()[..])
            .fetch_optional(&mut **tx)
            .await?;
        return Ok(own.is_none());
    }
    let row = sqlx::query(
        "SELECT max_running, (SELECT count(*) FROM jobs WHERE tenant_id=?1 AND kind=1 AND state IN (2,3,4)) FROM tenants WHERE id=?1",
    )
    .bind(job.tenant.0)
    .fetch_one(&mut **tx)
    .await?;
    let (most, running): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok(most <= 0 || running < most)
}

async fn lease(
    store: &SqliteStore,
    id: NodeId,
    session: i64,
    wants: &[Want],
    ttl_ms: i64,
) -> Result<Vec<Leased>, StoreError> {
    let mut tx = store.write().await?;
    let node = nodes::in_tx(&mut tx, id).await?;
    if node.state != NodeState::Active || !node.online || node.session != session {
        return Ok(Vec::new());
    }
    let expires = tx.now.saturating_add(ttl_ms);
    let free = node.slots().saturating_sub(node.running) as usize;
    let mut taken: Vec<Leased> = Vec::new();
    for want in wants {
        if taken.len() >= free {
            break;
        }
        let job = jobs::in_tx(&mut tx, want.job).await?;
        if !may_take(&mut tx, &node, &job, want.copy).await? {
            continue;
        }
        let claimant = Claimant {
            node: Some((id, session)),
            expires: Some(expires),
            overdue: Some(tx.now.saturating_add_unsigned(want.at_most_ms)),
            charge_ms: if want.copy {
                0
            } else {
                i64::try_from(want.charge_ms).unwrap_or(i64::MAX)
            },
        };
        let what = if want.copy { Step::Copy } else { Step::Claim };
        match life::step(&mut tx, want.job, what, None, &claimant).await {
            Ok(job) => taken.push(Leased {
                attempt: AttemptId {
                    job: job.id,
                    epoch: job.epoch,
                },
                job,
                expires,
                speculative: want.copy,
            }),
            Err(StoreError::Refused(_)) => {}
            Err(e) => return Err(e),
        }
    }
    store.commit(tx).await?;
    Ok(taken)
}

async fn heartbeat(
    store: &SqliteStore,
    id: NodeId,
    session: i64,
    attempts: &[AttemptBeat],
    keys: Option<&[KeyResidency]>,
    ttl_ms: i64,
) -> Result<Option<Heard>, StoreError> {
    let mut tx = store.write().await?;
    let now = tx.now;
    let seen = sqlx::query(
        "UPDATE nodes SET last_seen=? WHERE id=? AND session=? AND online=1 RETURNING state",
    )
    .bind(now)
    .bind(&id.0.as_bytes()[..])
    .bind(session)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(seen) = seen else { return Ok(None) };
    let state = NodeState::from_code(seen.try_get(0)?).ok_or(StoreError::Corrupt("node state"))?;
    let mut heard = Heard {
        state,
        kept: Vec::new(),
        cancel: Vec::new(),
    };
    let mut told = false;
    for beat in attempts {
        let row = sqlx::query(
            "UPDATE attempts SET lease_expires=?, peak_ram=max(coalesce(peak_ram,0),?) \
             WHERE job_id=? AND epoch=? AND node_id=? AND session=? AND ended_at IS NULL \
             RETURNING (SELECT state FROM jobs WHERE id=job_id), (SELECT tenant_id FROM jobs WHERE id=job_id)",
        )
        .bind(now.saturating_add(ttl_ms))
        .bind(i64::try_from(beat.peak_ram).unwrap_or(i64::MAX))
        .bind(&beat.attempt.job.0.as_bytes()[..])
        .bind(beat.attempt.epoch)
        .bind(&id.0.as_bytes()[..])
        .bind(session)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else {
            heard.cancel.push(beat.attempt);
            continue;
        };
        heard.kept.push((beat.attempt, TenantId(row.try_get(1)?)));
        if row.try_get::<i32, _>(0)? == JobState::Leased.code() {
            let start = Step::Start {
                epoch: beat.attempt.epoch,
            };
            life::step(&mut tx, beat.attempt.job, start, None, &Claimant::default()).await?;
            told = true;
        }
    }
    if let Some(keys) = keys {
        nodes::set_keys(&mut tx, id, keys).await?;
    }
    if told {
        store.commit(tx).await?;
    } else {
        tx.commit().await?;
    }
    Ok(Some(heard))
}

async fn held(
    store: &SqliteStore,
    node: NodeId,
    attempt: AttemptId,
) -> Result<Option<Held>, StoreError> {
    let sql = format!(
        "SELECT {}, invalid_at IS NOT NULL AS refused FROM attempts WHERE job_id=? AND epoch=? AND node_id=?",
        rows::ATTEMPT
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(&attempt.job.0.as_bytes()[..])
        .bind(attempt.epoch)
        .bind(&node.0.as_bytes()[..])
        .fetch_optional(&store.readers)
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Held {
        job: jobs::job(store, None, attempt.job).await?,
        attempt: rows::attempt(&row)?,
        refused: row.try_get("refused")?,
    }))
}

/// What is known when `node` fails `job`. Only what nodes of VETTED or more said of it counts.
async fn history(tx: &mut Tx<'_>, node: &Node, job: &Job) -> Result<History, StoreError> {
    let row = sqlx::query(
        "SELECT count(DISTINCT CASE WHEN failure_code=?3 AND failure_class=3 AND node_id<>?2 THEN node_id END), \
         count(CASE WHEN failure_code=?3 AND failure_class=3 AND node_id=?2 THEN 1 END)>0, \
         count(CASE WHEN failure_class=2 THEN 1 END)>0 \
         FROM attempts a JOIN nodes n ON n.id=a.node_id WHERE a.job_id=?1 AND a.outcome=2 AND n.trust>=?4",
    )
    .bind(&job.id.0.as_bytes()[..])
    .bind(&node.id.0.as_bytes()[..])
    .bind(CHILD_DIED)
    .bind(Trust::Vetted.code())
    .fetch_one(&mut **tx)
    .await?;
    let backend = circuits::in_tx(tx, job.tenant, job.circuit).await?.backend;
    let sql = format!(
        "SELECT {} FROM nodes WHERE id<>? AND state=1 AND online=1 AND last_seen>=? AND trust>=?",
        rows::NODE
    );
    let others = sqlx::query(AssertSqlSafe(sql))
        .bind(&node.id.0.as_bytes()[..])
        .bind(tx.now - SILENT_MS)
        .bind(job.min_trust.code())
        .fetch_all(&mut **tx)
        .await?;
    let others = others.iter().map(rows::node);
    let others: Vec<Node> = others.collect::<Result<_, _>>()?;
    let able = others.iter().filter(|n| {
        n.capabilities.backends.contains(&backend)
            && (job.pools.is_empty() || job.pools.iter().any(|p| n.pools.contains(p)))
    });
    let ram = node.capabilities.total.ram_bytes;
    Ok(History {
        own: false,
        trusted: node.trust >= Trust::Vetted,
        others_died: rows::count(row.try_get(0)?),
        died_here: row.try_get(1)?,
        other_nodes: u32::try_from(able.clone().count()).unwrap_or(u32::MAX),
        exceeded_before: row.try_get(2)?,
        bigger_node: able
            .clone()
            .any(|n| n.trust >= Trust::Vetted && n.capabilities.total.ram_bytes > ram),
    })
}

async fn fail(
    store: &SqliteStore,
    id: NodeId,
    session: i64,
    attempt: AttemptId,
    failure: Failure,
) -> Result<Option<Job>, StoreError> {
    let mut tx = store.write().await?;
    if !is_theirs(&mut tx, id, session, attempt).await? {
        return Ok(None);
    }
    let node = nodes::in_tx(&mut tx, id).await?;
    let job = jobs::in_tx(&mut tx, attempt.job).await?;
    let history = history(&mut tx, &node, &job).await?;
    let judgement = judge(failure.class, &failure.code, &history);
    let exceeded = failure.class == FailureClass::ResourceExceeded;
    if exceeded && history.trusted && judgement == Judgement::Retry {
        // More time, or a node with more memory.
        let more_ram = node.capabilities.total.ram_bytes.saturating_add(1);
        sqlx::query("UPDATE jobs SET more_time=max(more_time,?1), min_ram=max(min_ram,iif(?1,0,?2)) WHERE id=?3")
            .bind(failure.code == TIME_LIMIT)
            .bind(i64::try_from(more_ram).unwrap_or(i64::MAX))
            .bind(&attempt.job.0.as_bytes()[..])
            .execute(&mut *tx)
            .await?;
    }
    let by_node = matches!(
        failure.class,
        FailureClass::NodeFault | FailureClass::Internal
    ) && failure.code != NOT_HANDED_OUT;
    let what = Step::Fail {
        epoch: attempt.epoch,
        judgement,
    };
    let job = life::step(
        &mut tx,
        attempt.job,
        what,
        Some(failure),
        &Claimant::default(),
    )
    .await?;
    if judgement == Judgement::Poison {
        forgive(&mut tx, &node, attempt).await?;
    } else if by_node {
        nodes::score(&mut tx, id, Deed::Failed).await?;
    }
    store.commit(tx).await?;
    Ok(Some(job))
}

/// The earlier deaths over a poison job were not the nodes' fault.
async fn forgive(tx: &mut Tx<'_>, last: &Node, attempt: AttemptId) -> Result<(), StoreError> {
    let died = sqlx::query(
        "SELECT node_id FROM attempts WHERE job_id=? AND epoch<>? AND outcome=2 AND failure_class=3 AND failure_code=? \
         AND node_id IS NOT NULL",
    )
    .bind(&attempt.job.0.as_bytes()[..])
    .bind(attempt.epoch)
    .bind(CHILD_DIED)
    .fetch_all(&mut **tx)
    .await?;
    for row in died {
        let node = rows::node_id(row.try_get(0)?)?.unwrap_or(last.id);
        nodes::score(tx, node, Deed::Forgiven).await?;
    }
    Ok(())
}

async fn release(
    store: &SqliteStore,
    node: NodeId,
    session: i64,
    attempt: AttemptId,
) -> Result<Option<Job>, StoreError> {
    let mut tx = store.write().await?;
    if !is_theirs(&mut tx, node, session, attempt).await? {
        return Ok(None);
    }
    let job = hand_back(&mut tx, attempt).await?;
    store.commit(tx).await?;
    Ok(Some(job))
}

async fn reject(
    store: &SqliteStore,
    id: NodeId,
    attempt: AttemptId,
    reason: &str,
) -> Result<Rejected, StoreError> {
    let mut tx = store.write().await?;
    let now = tx.now;
    let first = sqlx::query(
        "UPDATE attempts SET invalid_at=? WHERE job_id=? AND epoch=? AND node_id=? AND invalid_at IS NULL",
    )
    .bind(now)
    .bind(&attempt.job.0.as_bytes()[..])
    .bind(attempt.epoch)
    .bind(&id.0.as_bytes()[..])
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if first == 0 {
        return Ok(Rejected { quarantined: false });
    }
    let failure = Failure::new(FailureClass::ProofInvalid, "PROOF_INVALID", reason);
    let what = Step::Fail {
        epoch: attempt.epoch,
        judgement: Judgement::Retry,
    };
    match life::step(
        &mut tx,
        attempt.job,
        what,
        Some(failure),
        &Claimant::default(),
    )
    .await
    {
        // An attempt that ended before stays as it ended.
        Ok(_) | Err(StoreError::Refused(Refusal::Terminal(_) | Refusal::Stale { .. })) => {}
        Err(e) => return Err(e),
    }
    nodes::score(&mut tx, id, Deed::Invalid).await?;
    let node = nodes::in_tx(&mut tx, id).await?;
    let row = sqlx::query("SELECT count(*) FROM attempts WHERE node_id=? AND invalid_at>?")
        .bind(&id.0.as_bytes()[..])
        .bind(now - INVALID_WINDOW_MS)
        .fetch_one(&mut *tx)
        .await?;
    let quarantined = row.try_get::<i64, _>(0)? >= INVALID_LIMIT && !node.public_key.is_empty();
    if quarantined {
        sqlx::query("UPDATE nodes SET state=?, version=version+1 WHERE id=?")
            .bind(NodeState::Quarantined.code())
            .bind(&id.0.as_bytes()[..])
            .execute(&mut *tx)
            .await?;
        lose_all(
            &mut tx,
            id,
            "QUARANTINED",
            "its node sent proofs that do not hold",
        )
        .await?;
    }
    store.commit(tx).await?;
    Ok(Rejected { quarantined })
}

async fn expire_leases(store: &SqliteStore) -> Result<Vec<AttemptId>, StoreError> {
    let due = "SELECT job_id,epoch,node_id,lease_expires<?1 AS silent FROM attempts WHERE ended_at IS NULL AND (lease_expires<?1 OR overdue_at<?1)";
    if sqlx::query(due)
        .bind(store.clock())
        .fetch_optional(&store.readers)
        .await?
        .is_none()
    {
        return Ok(Vec::new());
    }
    let mut tx = store.write().await?;
    let now = tx.now;
    let mut lost = Vec::new();
    for row in sqlx::query(due).bind(now).fetch_all(&mut *tx).await? {
        let attempt = attempt_id(&row)?;
        let Some(node) = rows::node_id(row.try_get("node_id")?)? else {
            continue;
        };
        let (code, message) = if row.try_get("silent")? {
            ("LEASE_EXPIRED", "its node was not heard of in time")
        } else {
            ("OVERDUE", "its node did not end it in any reasonable time")
        };
        lose(&mut tx, node, attempt, code, message).await?;
        lost.push(attempt);
    }
    store.commit(tx).await?;
    Ok(lost)
}

#[async_trait::async_trait]
impl FarmStore for SqliteStore {
    async fn now(&self) -> Result<Millis, StoreError> {
        Ok(self.clock())
    }

    async fn add_node(
        &self,
        id: NodeId,
        name: &str,
        public_key: Vec<u8>,
        trust: Trust,
        pools: &[String],
    ) -> Result<Node, StoreError> {
        nodes::add(self, id, name, public_key, trust, pools).await
    }

    async fn own_node(&self, name: &str) -> Result<Node, StoreError> {
        nodes::own(self, name).await
    }

    async fn node(&self, id: NodeId) -> Result<Node, StoreError> {
        nodes::node(self, id).await
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        nodes::nodes(self).await
    }

    async fn update_node(
        &self,
        id: NodeId,
        change: NodeChange,
        etag: Option<i64>,
    ) -> Result<Node, StoreError> {
        nodes::update(self, id, change, etag).await
    }

    async fn cluster(&self, ttl_ms: i64) -> Result<ClusterView, StoreError> {
        nodes::cluster(self, ttl_ms).await
    }

    async fn open_session(
        &self,
        node: NodeId,
        version: &str,
        capabilities: Capabilities,
        resume: &[AttemptId],
        ttl_ms: i64,
    ) -> Result<Session, StoreError> {
        open_session(self, node, version, capabilities, resume, ttl_ms).await
    }

    async fn close_session(&self, node: NodeId, session: i64) -> Result<bool, StoreError> {
        close_session(self, node, session).await
    }

    async fn view(&self, also: &[JobId]) -> Result<FarmView, StoreError> {
        view::farm(self, also).await
    }

    async fn lease(
        &self,
        node: NodeId,
        session: i64,
        wants: &[Want],
        ttl_ms: i64,
    ) -> Result<Vec<Leased>, StoreError> {
        lease(self, node, session, wants, ttl_ms).await
    }

    async fn pass_over(&self, passed: &[JobId], held: &[JobId]) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let now = tx.now;
        let passed = passed.iter().map(|job| (job, 1));
        for (job, more) in passed.chain(held.iter().map(|job| (job, 0))) {
            sqlx::query("UPDATE jobs SET passed_over=passed_over+?, passed_since=coalesce(passed_since,?) WHERE id=? AND state=1")
                .bind(more)
                .bind(now)
                .bind(&job.0.as_bytes()[..])
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn heartbeat(
        &self,
        node: NodeId,
        session: i64,
        attempts: &[AttemptBeat],
        keys: Option<&[KeyResidency]>,
        ttl_ms: i64,
    ) -> Result<Option<Heard>, StoreError> {
        heartbeat(self, node, session, attempts, keys, ttl_ms).await
    }

    async fn held(&self, node: NodeId, attempt: AttemptId) -> Result<Option<Held>, StoreError> {
        held(self, node, attempt).await
    }

    async fn open_attempts(&self, node: NodeId) -> Result<Vec<(AttemptId, CircuitId)>, StoreError> {
        sqlx::query(
            "SELECT job_id,epoch,circuit_id FROM attempts WHERE node_id=? AND ended_at IS NULL",
        )
        .bind(&node.0.as_bytes()[..])
        .fetch_all(&self.readers)
        .await?
        .iter()
        .map(|row| {
            let circuit = CircuitId(rows::uuid(row.try_get("circuit_id")?)?);
            Ok((attempt_id(row)?, circuit))
        })
        .collect()
    }

    async fn fail_attempt(
        &self,
        node: NodeId,
        session: i64,
        attempt: AttemptId,
        failure: Failure,
    ) -> Result<Option<Job>, StoreError> {
        fail(self, node, session, attempt, failure).await
    }

    async fn release_attempt(
        &self,
        node: NodeId,
        session: i64,
        attempt: AttemptId,
    ) -> Result<Option<Job>, StoreError> {
        release(self, node, session, attempt).await
    }

    async fn reject_attempt(
        &self,
        node: NodeId,
        attempt: AttemptId,
        reason: &str,
    ) -> Result<Rejected, StoreError> {
        reject(self, node, attempt, reason).await
    }

    async fn expire_leases(&self) -> Result<Vec<AttemptId>, StoreError> {
        expire_leases(self).await
    }

    async fn recent_proofs(&self, limit: u32) -> Result<Vec<Took>, StoreError> {
        view::recent_proofs(self, limit).await
    }

    async fn newest_change(&self) -> Result<i64, StoreError> {
        view::newest_change(self).await
    }

    async fn ends_after(&self, cursor: i64) -> Result<Vec<JobEnd>, StoreError> {
        view::ends_after(self, cursor).await
    }
}
