//! From rows to records.

use serde::de::DeserializeOwned;
use sqlx::{Row, sqlite::SqliteRow};
use uuid::Uuid;

use crate::store::{
    Artifact, ArtifactKind, Attempt, AttemptOutcome, Backend, Capabilities, Circuit, CircuitId,
    CircuitState, Digest, Failure, Job, JobId, JobKind, JobState, Node, NodeId, NodeState,
    Priority, ProofRecord, StateEvent, StoreError, TenantId, Trust, Upload, UploadId,
};

pub(super) const JOB: &str = "id,tenant_id,circuit_id,kind,state,priority,input_digest,input_artifact,private_input,context,created_at,\
    started_at,ended_at,not_before,deadline,attempt_count,lost_count,max_attempts,epoch,failure,labels,version,\
    min_trust,pools,input_key,trace,more_time,\
    (SELECT public_values FROM proofs WHERE job_id=jobs.id) AS public_values,\
    (SELECT proof_digest FROM proofs WHERE job_id=jobs.id) AS proof_digest";

pub(super) const ATTEMPT: &str = "epoch,node_id,session,speculative,leased_at,lease_expires,ended_at,outcome,failure,key_load_ms,prove_ms,\
    peak_ram";

pub(super) const NODE: &str = "id,display_name,public_key,trust,state,pools,capabilities,session,online,last_seen,score,ok,failed,\
    invalid,lost,program,version,(SELECT count(*) FROM attempts WHERE node_id=nodes.id AND ended_at IS NULL) AS running";

pub(super) const CIRCUIT: &str = "id,tenant_id,fingerprint,backend,model_digest,settings_digest,calibration_digest,state,failure,compiled,keys,\
    labels,version,created_at";

pub(super) fn digest(bytes: Vec<u8>) -> Result<Digest, StoreError> {
    Digest::from_slice(&bytes).ok_or(StoreError::Corrupt("digest"))
}

pub(super) fn uuid(bytes: Vec<u8>) -> Result<Uuid, StoreError> {
    Uuid::from_slice(&bytes).map_err(|_| StoreError::Corrupt("id"))
}

pub(super) fn json<T: DeserializeOwned>(text: Option<String>) -> Result<Option<T>, StoreError> {
    text.map(|t| serde_json::from_str(&t).map_err(|_| StoreError::Corrupt("json column")))
        .transpose()
}

fn optional_digest(bytes: Option<Vec<u8>>) -> Result<Option<Digest>, StoreError> {
    bytes.map(digest).transpose()
}

pub(super) fn count(n: i64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

pub(super) fn bytes(n: i64) -> u64 {
    n.max(0) as u64
}

pub(super) fn trust(code: i32) -> Result<Trust, StoreError> {
    Trust::from_code(code).ok_or(StoreError::Corrupt("trust"))
}

pub(super) fn node_id(bytes: Option<Vec<u8>>) -> Result<Option<NodeId>, StoreError> {
    Ok(bytes.map(uuid).transpose()?.map(NodeId))
}

pub(super) fn node(row: &SqliteRow) -> Result<Node, StoreError> {
    let total = |n: i64| n.max(0) as u64;
    Ok(Node {
        id: NodeId(uuid(row.try_get("id")?)?),
        display_name: row.try_get("display_name")?,
        public_key: row.try_get("public_key")?,
        trust: trust(row.try_get("trust")?)?,
        state: NodeState::from_code(row.try_get("state")?)
            .ok_or(StoreError::Corrupt("node state"))?,
        pools: json(Some(row.try_get("pools")?))?.unwrap_or_default(),
        capabilities: json::<Capabilities>(Some(row.try_get("capabilities")?))?.unwrap_or_default(),
        session: row.try_get("session")?,
        online: row.try_get("online")?,
        last_seen: row.try_get("last_seen")?,
        score: row.try_get("score")?,
        ok: total(row.try_get("ok")?),
        failed: total(row.try_get("failed")?),
        invalid: total(row.try_get("invalid")?),
        lost: total(row.try_get("lost")?),
        version: row.try_get("program")?,
        running: count(row.try_get("running")?),
        row_version: row.try_get("version")?,
    })
}

pub(super) fn job(row: &SqliteRow) -> Result<Job, StoreError> {
    Ok(Job {
        id: JobId(uuid(row.try_get("id")?)?),
        tenant: TenantId(row.try_get("tenant_id")?),
        circuit: CircuitId(uuid(row.try_get("circuit_id")?)?),
        kind: JobKind::from_code(row.try_get("kind")?).ok_or(StoreError::Corrupt("job kind"))?,
        state: JobState::from_code(row.try_get("state")?)
            .ok_or(StoreError::Corrupt("job state"))?,
        priority: Priority::from_code(row.try_get("priority")?)
            .ok_or(StoreError::Corrupt("priority"))?,
        input: optional_digest(row.try_get("input_digest")?)?,
        input_artifact: optional_digest(row.try_get("input_artifact")?)?,
        private_input: row.try_get("private_input")?,
        context: digest(row.try_get("context")?)?.0,
        public_values: row
            .try_get::<Option<Vec<u8>>, _>("public_values")?
            .unwrap_or_default(),
        proof: optional_digest(row.try_get("proof_digest")?)?,
        created_at: row.try_get("created_at")?,
        started_at: row.try_get("started_at")?,
        ended_at: row.try_get("ended_at")?,
        not_before: row.try_get("not_before")?,
        deadline: row.try_get("deadline")?,
        attempt_count: count(row.try_get("attempt_count")?),
        lost_count: count(row.try_get("lost_count")?),
        max_attempts: count(row.try_get("max_attempts")?),
        epoch: row.try_get("epoch")?,
        failure: json(row.try_get("failure")?)?,
        labels: json(Some(row.try_get("labels")?))?.unwrap_or_default(),
        min_trust: trust(row.try_get("min_trust")?)?,
        pools: json(Some(row.try_get("pools")?))?.unwrap_or_default(),
        input_key: row
            .try_get::<Option<Vec<u8>>, _>("input_key")?
            .unwrap_or_default(),
        trace: json(Some(row.try_get("trace")?))?.unwrap_or_default(),
        more_time: row.try_get("more_time")?,
        version: row.try_get("version")?,
    })
}

pub(super) fn circuit(row: &SqliteRow) -> Result<Circuit, StoreError> {
    Ok(Circuit {
        id: CircuitId(uuid(row.try_get("id")?)?),
        tenant: TenantId(row.try_get("tenant_id")?),
        fingerprint: digest(row.try_get("fingerprint")?)?,
        backend: Backend::from_code(row.try_get("backend")?)
            .ok_or(StoreError::Corrupt("backend"))?,
        model: digest(row.try_get("model_digest")?)?,
        settings: optional_digest(row.try_get("settings_digest")?)?,
        calibration: digest(row.try_get("calibration_digest")?)?,
        state: CircuitState::from_code(row.try_get("state")?)
            .ok_or(StoreError::Corrupt("circuit state"))?,
        failure: json(row.try_get("failure")?)?,
        compiled: json(row.try_get("compiled")?)?,
        keys: json(row.try_get("keys")?)?,
        labels: json(Some(row.try_get("labels")?))?.unwrap_or_default(),
        version: row.try_get("version")?,
        created_at: row.try_get("created_at")?,
    })
}

pub(super) fn artifact(row: &SqliteRow) -> Result<Artifact, StoreError> {
    Ok(Artifact {
        digest: digest(row.try_get("digest")?)?,
        size: row.try_get::<i64, _>("size")?.max(0) as u64,
        kind: ArtifactKind::from_code(row.try_get("kind")?)
            .ok_or(StoreError::Corrupt("artifact kind"))?,
        created_at: row.try_get("created_at")?,
    })
}

pub(super) fn upload(row: &SqliteRow) -> Result<Upload, StoreError> {
    Ok(Upload {
        id: UploadId(uuid(row.try_get("id")?)?),
        tenant: TenantId(row.try_get("tenant_id")?),
        digest: digest(row.try_get("digest")?)?,
        size: row.try_get::<i64, _>("size")?.max(0) as u64,
        kind: ArtifactKind::from_code(row.try_get("kind")?)
            .ok_or(StoreError::Corrupt("artifact kind"))?,
        expires_at: row.try_get("expires_at")?,
    })
}

pub(super) fn attempt(row: &SqliteRow) -> Result<Attempt, StoreError> {
    Ok(Attempt {
        epoch: row.try_get("epoch")?,
        node: node_id(row.try_get("node_id")?)?,
        session: row.try_get("session")?,
        speculative: row.try_get("speculative")?,
        leased_at: row.try_get("leased_at")?,
        lease_expires: row.try_get("lease_expires")?,
        ended_at: row.try_get("ended_at")?,
        outcome: AttemptOutcome::from_code(row.try_get("outcome")?)
            .ok_or(StoreError::Corrupt("attempt outcome"))?,
        failure: json::<Failure>(row.try_get("failure")?)?,
        key_load_ms: row.try_get("key_load_ms")?,
        prove_ms: row.try_get("prove_ms")?,
        peak_ram: bytes(row.try_get::<Option<i64>, _>("peak_ram")?.unwrap_or(0)),
    })
}

pub(super) fn proof(row: &SqliteRow) -> Result<ProofRecord, StoreError> {
    Ok(ProofRecord {
        digest: digest(row.try_get("proof_digest")?)?,
        proof: row.try_get("proof")?,
        public_values: row.try_get("public_values")?,
        vk_digest: digest(row.try_get("vk_digest")?)?.0,
        verified_at: row.try_get("verified_at")?,
        verifier_version: row.try_get("verifier_version")?,
    })
}

pub(super) fn event(row: &SqliteRow) -> Result<StateEvent, StoreError> {
    let state = |code: i32| JobState::from_code(code).ok_or(StoreError::Corrupt("job state"));
    Ok(StateEvent {
        seq: row.try_get("tenant_seq")?,
        at: row.try_get("at")?,
        job: JobId(uuid(row.try_get("job_id")?)?),
        from: row
            .try_get::<Option<i32>, _>("from_state")?
            .map(state)
            .transpose()?,
        to: state(row.try_get("to_state")?)?,
        failure: json(row.try_get("failure")?)?,
    })
}
