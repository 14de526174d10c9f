//! Nodes: who they are, what they are worth, what they hold.

use sqlx::{AssertSqlSafe, Row};

use super::{SqliteStore, Tx, jobs, leases, rows};
use crate::store::{
    Backend, Circuit, ClusterView, CompileFacts, KeyResidency, Lane, Node, NodeChange, NodeId,
    NodeState, Priority, StoreError, Trust,
};

/// What a node did, for its score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Its proof was accepted.
    Won,
    /// An attempt failed, by the node's fault or the job's.
    Failed,
    /// Another node proved what it failed or refused.
    Blamed,
    /// An earlier [`Deed::Failed`] was the job's fault after all.
    Forgiven,
    /// A proof was refused.
    Invalid,
    /// A lease ran out.
    Lost,
}

/// The score of a node that nobody knows.
const NEWCOMER: f64 = 0.4;

fn not_found(id: NodeId) -> StoreError {
    StoreError::NotFound {
        kind: "node",
        id: id.to_string(),
    }
}

pub(super) async fn score(tx: &mut Tx<'_>, node: NodeId, deed: Deed) -> Result<(), StoreError> {
    let (change, ok, failed, invalid, lost) = match deed {
        Deed::Won => (0.02, 1, 0, 0, 0),
        Deed::Failed => (0.0, 0, 1, 0, 0),
        Deed::Blamed => (-0.05, 0, 0, 0, 0),
        Deed::Forgiven => (0.0, 0, -1, 0, 0),
        Deed::Invalid => (-0.5, 0, 0, 1, 0),
        Deed::Lost => (-0.1, 0, 0, 0, 1),
    };
    // The node of this process has no other to be compared with.
    sqlx::query(
        "UPDATE nodes SET score=iif(length(public_key)=0,1.0,min(1.0,max(0.0,score+?))), ok=ok+?, failed=max(0,failed+?), invalid=invalid+?, lost=lost+? WHERE id=?",
    )
    .bind(change)
    .bind(ok)
    .bind(failed)
    .bind(invalid)
    .bind(lost)
    .bind(&node.0.as_bytes()[..])
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn in_tx(tx: &mut Tx<'_>, id: NodeId) -> Result<Node, StoreError> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT {} FROM nodes WHERE id=?",
        rows::NODE
    )))
    .bind(&id.0.as_bytes()[..])
    .fetch_optional(&mut **tx)
    .await?;
    row.as_ref()
        .map(rows::node)
        .transpose()?
        .ok_or_else(|| not_found(id))
}

async fn insert(
    tx: &mut Tx<'_>,
    id: NodeId,
    name: &str,
    public_key: &[u8],
    trust: Trust,
    pools: &[String],
) -> Result<Node, StoreError> {
    let now = tx.now;
    // A node that nobody knows begins where it sees little, and rises by what it does.
    let score = match trust {
        Trust::Untrusted => NEWCOMER,
        Trust::Vetted | Trust::Owned => 1.0,
    };
    sqlx::query("INSERT INTO nodes(id,display_name,public_key,trust,state,pools,score,created_at) VALUES (?,?,?,?,?,?,?,?)")
        .bind(&id.0.as_bytes()[..])
        .bind(name)
        .bind(public_key)
        .bind(trust.code())
        .bind(NodeState::Active.code())
        .bind(jobs::text(&pools))
        .bind(score)
        .bind(now)
        .execute(&mut **tx)
        .await?;
    in_tx(tx, id).await
}

pub(super) async fn add(
    store: &SqliteStore,
    id: NodeId,
    name: &str,
    public_key: Vec<u8>,
    trust: Trust,
    pools: &[String],
) -> Result<Node, StoreError> {
    let mut tx = store.write().await?;
    let node = insert(&mut tx, id, name, &public_key, trust, pools).await?;
    store.commit(tx).await?;
    Ok(node)
}

pub(super) async fn own(store: &SqliteStore, name: &str) -> Result<Node, StoreError> {
    let mut tx = store.write().await?;
    let found = sqlx::query(AssertSqlSafe(format!(
        "SELECT {} FROM nodes WHERE length(public_key)=0",
        rows::NODE
    )))
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(row) = found {
        return rows::node(&row);
    }
    let node = insert(&mut tx, NodeId::fresh(), name, &[], Trust::Owned, &[]).await?;
    store.commit(tx).await?;
    Ok(node)
}

pub(super) async fn node(store: &SqliteStore, id: NodeId) -> Result<Node, StoreError> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT {} FROM nodes WHERE id=?",
        rows::NODE
    )))
    .bind(&id.0.as_bytes()[..])
    .fetch_optional(&store.readers)
    .await?;
    row.as_ref()
        .map(rows::node)
        .transpose()?
        .ok_or_else(|| not_found(id))
}

pub(super) async fn nodes(store: &SqliteStore) -> Result<Vec<Node>, StoreError> {
    sqlx::query(AssertSqlSafe(format!(
        "SELECT {} FROM nodes ORDER BY created_at,id",
        rows::NODE
    )))
    .fetch_all(&store.readers)
    .await?
    .iter()
    .map(rows::node)
    .collect()
}

pub(super) async fn update(
    store: &SqliteStore,
    id: NodeId,
    change: NodeChange,
    etag: Option<i64>,
) -> Result<Node, StoreError> {
    let mut tx = store.write().await?;
    let node = in_tx(&mut tx, id).await?;
    if let Some(etag) = etag
        && etag != node.row_version
    {
        return Err(StoreError::EtagMismatch {
            now: node.row_version,
        });
    }
    sqlx::query("UPDATE nodes SET state=?, trust=?, pools=?, version=version+1 WHERE id=?")
        .bind(change.state.unwrap_or(node.state).code())
        .bind(change.trust.unwrap_or(node.trust).code())
        .bind(jobs::text(&change.pools.unwrap_or(node.pools)))
        .bind(&id.0.as_bytes()[..])
        .execute(&mut *tx)
        .await?;
    if let Some(trust) = change.trust.filter(|t| *t < node.trust) {
        leases::lose_beyond(&mut tx, id, trust).await?;
    }
    if change.state == Some(NodeState::Quarantined) {
        leases::lose_all(&mut tx, id, "QUARANTINED", "its node was quarantined").await?;
    }
    // What was invalid before the operator looked does not count again.
    if change.state == Some(NodeState::Active) && node.state == NodeState::Quarantined {
        sqlx::query("UPDATE attempts SET invalid_at=0 WHERE node_id=? AND invalid_at IS NOT NULL")
            .bind(&id.0.as_bytes()[..])
            .execute(&mut *tx)
            .await?;
        sqlx::query("UPDATE nodes SET score=max(score,?) WHERE id=?")
            .bind(NEWCOMER)
            .bind(&id.0.as_bytes()[..])
            .execute(&mut *tx)
            .await?;
    }
    let node = in_tx(&mut tx, id).await?;
    store.commit(tx).await?;
    Ok(node)
}

/// Replaces the keys that a node holds; circuits that do not exist are left out.
pub(super) async fn set_keys(
    tx: &mut Tx<'_>,
    node: NodeId,
    keys: &[KeyResidency],
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM node_keys WHERE node_id=?")
        .bind(&node.0.as_bytes()[..])
        .execute(&mut **tx)
        .await?;
    for key in keys {
        sqlx::query(
            "INSERT OR REPLACE INTO node_keys(node_id,circuit_id,tier,load_ms) SELECT ?,id,?,? FROM circuits WHERE id=?",
        )
        .bind(&node.0.as_bytes()[..])
        .bind(key.tier.code())
        .bind(i64::try_from(key.load_ms).unwrap_or(i64::MAX))
        .bind(&key.circuit.0.as_bytes()[..])
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// The estimate that compile made.
pub(super) fn estimate(facts: Option<&CompileFacts>) -> u64 {
    facts.map_or(0, |f| f.estimated_prove_ms)
}

pub(super) async fn cluster(store: &SqliteStore, ttl_ms: i64) -> Result<ClusterView, StoreError> {
    let now = store.clock();
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT count(*) AS n, min(j.created_at) AS oldest, j.priority AS lane_priority, j.state=1 AS waits, c.* FROM jobs j \
         JOIN (SELECT {} FROM circuits) c ON c.id=j.circuit_id WHERE j.kind=1 AND j.state IN (1,2,3,4) \
         GROUP BY j.priority, c.id, j.state=1",
        rows::CIRCUIT
    )))
    .fetch_all(&store.readers)
    .await?;
    let mut view = ClusterView::default();
    for row in &rows {
        let circuit: Circuit = rows::circuit(row)?;
        let priority = Priority::from_code(row.try_get("lane_priority")?)
            .ok_or(StoreError::Corrupt("priority"))?;
        let n = rows::count(row.try_get("n")?);
        let waits: bool = row.try_get("waits")?;
        let oldest = rows::bytes(now.saturating_sub(row.try_get("oldest")?));
        let lane = lane(&mut view.lanes, priority, circuit.backend);
        if waits {
            lane.queued += n;
            lane.oldest_ms = lane.oldest_ms.max(oldest);
            let each = estimate(circuit.compiled.as_ref());
            lane.backlog_ms = lane
                .backlog_ms
                .saturating_add(each.saturating_mul(u64::from(n)));
        } else {
            lane.running += n;
        }
    }
    for node in nodes(store).await? {
        if node.state_at(now, ttl_ms) == NodeState::Active {
            view.nodes_active += 1;
            view.slots_total = view.slots_total.saturating_add(node.slots());
        }
        view.slots_busy = view.slots_busy.saturating_add(node.running);
    }
    Ok(view)
}

fn lane(lanes: &mut Vec<Lane>, priority: Priority, backend: Backend) -> &mut Lane {
    let at = lanes
        .iter()
        .position(|l| l.priority == priority && l.backend == backend);
    let at = at.unwrap_or_else(|| {
        lanes.push(Lane {
            priority,
            backend,
            queued: 0,
            running: 0,
            oldest_ms: 0,
            backlog_ms: 0,
        });
        lanes.len() - 1
    });
    &mut lanes[at]
}
