//! From rows to records.

use serde::de::DeserializeOwned;
use sqlx::{Row, sqlite::SqliteRow};
use uuid::Uuid;

use crate::store::{
    Artifact, ArtifactKind, Attempt, Backend, Circuit, CircuitId, CircuitState, Digest, Failure,
    Job, JobId, JobKind, JobState, Priority, ProofRecord, StateEvent, StoreError, Upload, UploadId,
};

pub(super) const JOB: &str = "id,circuit_id,kind,state,priority,input_digest,input_artifact,private_input,context,created_at,\
    started_at,ended_at,not_before,deadline,attempt_count,lost_count,max_attempts,epoch,failure,labels,version,\
    (SELECT public_values FROM proofs WHERE job_id=jobs.id) AS public_values,\
    (SELECT proof_digest FROM proofs WHERE job_id=jobs.id) AS proof_digest";

pub(super) const CIRCUIT: &str = "id,fingerprint,backend,model_digest,settings_digest,calibration_digest,state,failure,compiled,keys,\
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

fn count(n: i64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

pub(super) fn job(row: &SqliteRow) -> Result<Job, StoreError> {
    Ok(Job {
        id: JobId(uuid(row.try_get("id")?)?),
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
        version: row.try_get("version")?,
    })
}

pub(super) fn circuit(row: &SqliteRow) -> Result<Circuit, StoreError> {
    Ok(Circuit {
        id: CircuitId(uuid(row.try_get("id")?)?),
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
        leased_at: row.try_get("leased_at")?,
        ended_at: row.try_get("ended_at")?,
        failure: json::<Failure>(row.try_get("failure")?)?,
        key_load_ms: row.try_get("key_load_ms")?,
        prove_ms: row.try_get("prove_ms")?,
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
        seq: row.try_get("seq")?,
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
