//! Between the messages of the API and the service's own words.

use std::time::Duration;

use super::proto;
use crate::{
    farm::{LiveProgress, scheduler::Pending},
    gateway::{
        CircuitRequest, GatewayError, JobInput, JobRequest, JobView, UploadState,
        check_wanted_labels,
    },
    store::{
        Artifact, ArtifactKind, Attempt, Backend, Circuit, CircuitFilter, CircuitId, CircuitState,
        Digest, Failure, JobFilter, JobId, JobKind, JobState, Millis, Priority, ProofRecord,
        RequestKey, StateEvent, TensorFacts, Trust, UploadId,
    },
    work::{ProofEncoding, VerifierFiles},
};

type Invalid = GatewayError;

/// States of a filter; there are fewer.
const MAX_STATES: usize = 16;

pub(super) fn timestamp(at: Millis) -> prost_types::Timestamp {
    let nanos = at.rem_euclid(1000) * 1_000_000;
    prost_types::Timestamp {
        seconds: at.div_euclid(1000),
        nanos: nanos as i32,
    }
}

fn millis(at: &prost_types::Timestamp) -> Millis {
    at.seconds
        .saturating_mul(1000)
        .saturating_add(i64::from(at.nanos) / 1_000_000)
}

/// The present time as the API shows it.
pub(super) fn now() -> prost_types::Timestamp {
    prost_types::Timestamp::from(std::time::SystemTime::now())
}

pub(super) fn duration_ms(ms: u64) -> prost_types::Duration {
    prost_types::Duration {
        seconds: (ms / 1000) as i64,
        nanos: (ms % 1000) as i32 * 1_000_000,
    }
}

/// A duration of the client.
pub(super) fn duration(
    field: &'static str,
    value: &prost_types::Duration,
) -> Result<Duration, Invalid> {
    Duration::try_from(*value)
        .map_err(|_| Invalid::invalid(field, "BAD_DURATION", "must not be negative"))
}

/// Amounts as the API shows them.
pub(super) fn resources(r: &crate::store::Resources) -> proto::Resources {
    proto::Resources {
        ram_bytes: r.ram_bytes,
        vram_bytes: r.vram_bytes,
        disk_bytes: r.disk_bytes,
        cpu_threads: r.cpu_threads,
        needs_gpu: r.vram_bytes > 0,
    }
}

fn later(left: Duration) -> prost_types::Timestamp {
    prost_types::Timestamp::from(std::time::SystemTime::now() + left)
}

fn digest_message(digest: &Digest) -> proto::Digest {
    proto::Digest {
        sha256: digest.0.to_vec(),
    }
}

fn raw_digest(bytes: &[u8; 32]) -> proto::Digest {
    proto::Digest {
        sha256: bytes.to_vec(),
    }
}

pub(super) fn digest(
    field: &'static str,
    message: Option<&proto::Digest>,
) -> Result<Digest, Invalid> {
    let missing = || Invalid::invalid(field, "DIGEST_MISSING", "a sha256 digest is required");
    let bytes = &message.ok_or_else(missing)?.sha256;
    Digest::from_slice(bytes).ok_or_else(|| {
        Invalid::invalid(
            field,
            "BAD_DIGEST",
            format!("expected 32 bytes, got {}", bytes.len()),
        )
    })
}

fn name<T: std::str::FromStr>(field: &'static str, text: &str, form: &str) -> Result<T, Invalid> {
    text.parse()
        .map_err(|_| Invalid::invalid(field, "BAD_NAME", format!("expected {form}")))
}

pub(super) fn circuit_id(field: &'static str, text: &str) -> Result<CircuitId, Invalid> {
    name(field, text, "circuits/{uuid}")
}

pub(super) fn job_id(field: &'static str, text: &str) -> Result<JobId, Invalid> {
    name(field, text, "jobs/{uuid}")
}

pub(super) fn upload_id(text: &str) -> Result<UploadId, Invalid> {
    name("upload_id", text, "the upload_id that StartUpload answered")
}

pub(super) fn etag(text: &str) -> Result<Option<i64>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| Invalid::invalid("etag", "BAD_ETAG", "not an etag of this server"))
}

/// The key under which a request is remembered: its id, and the digest of the rest of its body.
pub(super) fn request_key(
    id: &str,
    body: &impl prost::Message,
) -> Result<Option<RequestKey>, Invalid> {
    if id.is_empty() {
        return Ok(None);
    }
    let id = uuid::Uuid::parse_str(id)
        .map_err(|_| Invalid::invalid("request_id", "BAD_REQUEST_ID", "expected a UUID"))?
        .to_string();
    Ok(Some(RequestKey {
        request_id: id,
        fingerprint: Digest::of(&body.encode_to_vec()),
    }))
}

fn backend(code: i32) -> Result<Option<Backend>, Invalid> {
    match (code, Backend::from_code(code)) {
        (0, _) => Ok(None),
        (_, Some(backend)) => Ok(Some(backend)),
        _ => {
            let message =
                "this server proves with GROTH16_BN254, HALO2_KZG_BN254 and ULTRAGROTH_BN254";
            Err(Invalid::invalid("backend", "BACKEND_NOT_SERVED", message))
        }
    }
}

fn trust(code: i32) -> Result<Option<Trust>, Invalid> {
    match (code, Trust::from_code(code)) {
        (0, _) => Ok(None),
        (_, Some(trust)) => Ok(Some(trust)),
        _ => Err(Invalid::invalid(
            "nodes.min_trust",
            "BAD_TRUST",
            "UNTRUSTED, VETTED or OWNED",
        )),
    }
}

pub(super) fn encoding(format: i32) -> Result<ProofEncoding, Invalid> {
    match proto::ProofFormat::try_from(format) {
        Ok(proto::ProofFormat::Unspecified | proto::ProofFormat::Native) => {
            Ok(ProofEncoding::Native)
        }
        Ok(proto::ProofFormat::SolidityCalldata) => Ok(ProofEncoding::SolidityCalldata),
        Ok(proto::ProofFormat::Json) => Ok(ProofEncoding::Json),
        _ => {
            let message = "this server writes NATIVE, SOLIDITY_CALLDATA and JSON";
            Err(Invalid::invalid("format", "FORMAT_NOT_SERVED", message))
        }
    }
}

fn format(encoding: ProofEncoding) -> proto::ProofFormat {
    match encoding {
        ProofEncoding::Native => proto::ProofFormat::Native,
        ProofEncoding::SolidityCalldata => proto::ProofFormat::SolidityCalldata,
        ProofEncoding::Json => proto::ProofFormat::Json,
    }
}

pub(super) fn artifact_kind(code: i32) -> Result<ArtifactKind, Invalid> {
    ArtifactKind::from_code(code)
        .ok_or_else(|| Invalid::invalid("kind", "BAD_KIND", "the kind of the artifact is required"))
}

pub(super) fn failure(f: &Failure) -> proto::Failure {
    proto::Failure {
        class: f.class.code(),
        code: f.code.clone(),
        message: f.message.clone(),
        attempt: f.attempt,
    }
}

pub(super) fn artifact(a: &Artifact) -> proto::Artifact {
    proto::Artifact {
        digest: Some(digest_message(&a.digest)),
        size: a.size,
        kind: a.kind.code(),
        create_time: Some(timestamp(a.created_at)),
        expire_time: None,
    }
}

pub(super) fn missing(digests: &[Digest]) -> proto::FindMissingResponse {
    proto::FindMissingResponse {
        missing: digests.iter().map(digest_message).collect(),
    }
}

pub(super) fn upload(state: &UploadState) -> proto::Upload {
    proto::Upload {
        upload_id: state.upload.id.to_string(),
        digest: Some(digest_message(&state.upload.digest)),
        size: state.upload.size,
        committed_size: state.committed,
        expire_time: Some(timestamp(state.upload.expires_at)),
    }
}

pub(super) fn started(state: Option<&UploadState>) -> proto::StartUploadResponse {
    let part_size = crate::config::MAX_CHUNK_BYTES as u64;
    match state {
        None => proto::StartUploadResponse {
            already_present: true,
            part_size,
            ..Default::default()
        },
        Some(state) => proto::StartUploadResponse {
            already_present: false,
            upload_id: state.upload.id.to_string(),
            committed_size: state.committed,
            part_size,
            parts: Vec::new(),
            expire_time: Some(timestamp(state.upload.expires_at)),
        },
    }
}

pub(super) fn circuit_request(
    mut m: proto::CreateCircuitRequest,
) -> Result<CircuitRequest, Invalid> {
    if m.srs.is_some() {
        return Err(Invalid::invalid(
            "srs",
            "SRS_NOT_USED",
            "the keys of this server come from a local trapdoor, or from the reference string that it was started with",
        ));
    }
    let id = std::mem::take(&mut m.request_id);
    let request = request_key(&id, &m)?;
    Ok(CircuitRequest {
        model: digest("model", m.model.as_ref())?,
        settings: m
            .settings
            .as_ref()
            .map(|d| digest("settings", Some(d)))
            .transpose()?,
        calibration: digest("calibration", m.calibration.as_ref())?,
        backend: backend(m.backend)?.unwrap_or(Backend::UltraGroth),
        backend_version: m.backend_version,
        labels: m.labels,
        request,
        validate_only: m.validate_only,
    })
}

pub(super) fn circuit_filter(m: &proto::ListCircuitsRequest) -> Result<CircuitFilter, Invalid> {
    let state = match m.state {
        0 => None,
        code => Some(
            CircuitState::from_code(code)
                .ok_or_else(|| Invalid::invalid("state", "BAD_STATE", "unknown state"))?,
        ),
    };
    check_wanted_labels(&m.labels)?;
    Ok(CircuitFilter {
        backend: backend(m.backend)?,
        state,
        labels: m.labels.clone(),
    })
}

fn tensor(t: &TensorFacts) -> proto::TensorSpec {
    let visibility = match (t.hashed, t.private) {
        (true, _) => proto::Visibility::Hashed,
        (false, true) => proto::Visibility::Private,
        (false, false) => proto::Visibility::Public,
    };
    proto::TensorSpec {
        name: t.name.clone(),
        shape: t.shape.clone(),
        dtype: t.dtype.clone(),
        visibility: visibility as i32,
    }
}

pub(super) fn circuit(c: &Circuit) -> proto::Circuit {
    let compiled = c.compiled.as_ref();
    let keys = c.keys.as_ref();
    proto::Circuit {
        name: if c.id.0.is_nil() {
            String::new()
        } else {
            c.id.to_string()
        },
        fingerprint: Some(digest_message(&c.fingerprint)),
        backend: c.backend.code(),
        backend_version: "1".to_owned(),
        model: Some(digest_message(&c.model)),
        compiled: compiled.map(|f| raw_digest(&f.program)),
        srs: None,
        proving_key: keys.map(|k| raw_digest(&k.proving_key)),
        verifying_key: keys.map(|k| raw_digest(&k.verifying_key)),
        state: c.state.code(),
        failure: c.failure.as_ref().map(failure),
        requires: compiled.map(|f| proto::Resources {
            ram_bytes: f.ram_bytes,
            disk_bytes: keys.map_or(0, |k| k.proving_key_bytes),
            cpu_threads: 1,
            ..Default::default()
        }),
        estimated_prove: compiled.map(|f| duration_ms(f.estimated_prove_ms)),
        proving_key_size: keys.map_or(0, |k| k.proving_key_bytes),
        labels: c.labels.clone(),
        etag: c.version.to_string(),
        create_time: (c.created_at != 0).then(|| timestamp(c.created_at)),
        inputs: compiled
            .map(|f| f.inputs.iter().map(tensor).collect())
            .unwrap_or_default(),
        outputs: compiled
            .map(|f| f.outputs.iter().map(tensor).collect())
            .unwrap_or_default(),
    }
}

pub(super) fn verifier_files(v: VerifierFiles) -> proto::GetVerifierResponse {
    proto::GetVerifierResponse {
        files: v
            .files
            .into_iter()
            .map(|(path, data)| proto::SourceFile { path, data })
            .collect(),
        bytecode: v.bytecode,
        verifying_key: v.verifying_key,
        vk_digest: Some(raw_digest(&v.vk_digest)),
        compiler: v.compiler,
    }
}

pub(super) fn job_request(mut m: proto::CreateJobRequest) -> Result<JobRequest, Invalid> {
    let id = std::mem::take(&mut m.request_id);
    let request = request_key(&id, &m)?;
    for code in &m.formats {
        encoding(*code)?;
    }
    let input = match m.input {
        Some(proto::create_job_request::Input::InlineInput(bytes)) => JobInput::Inline(bytes),
        Some(proto::create_job_request::Input::InputArtifact(d)) => {
            JobInput::Artifact(digest("input_artifact", Some(&d))?)
        }
        None => {
            let message = "set inline_input (at most 1 MiB) or input_artifact";
            return Err(Invalid::invalid("input", "INPUT_MISSING", message));
        }
    };
    let (min_trust, pools) = match m.nodes {
        None => (None, Vec::new()),
        Some(nodes) => (trust(nodes.min_trust)?, nodes.node_pools),
    };
    let priority = match m.priority {
        0 => Priority::Normal,
        code => Priority::from_code(code).ok_or_else(|| {
            Invalid::invalid("priority", "BAD_PRIORITY", "BATCH, NORMAL or INTERACTIVE")
        })?,
    };
    Ok(JobRequest {
        circuit: circuit_id("circuit", &m.circuit)?,
        input,
        context: m.context,
        priority,
        ttl: m.ttl.as_ref().map(|d| duration("ttl", d)).transpose()?,
        max_attempts: m.max_attempts,
        labels: m.labels,
        allow_cached: m.allow_cached.unwrap_or(true),
        min_trust,
        pools,
        trace: Default::default(),
        request,
    })
}

pub(super) fn job_filter(m: &proto::ListJobsRequest) -> Result<JobFilter, Invalid> {
    let state = |code: &i32| {
        JobState::from_code(*code)
            .ok_or_else(|| Invalid::invalid("states", "BAD_STATE", format!("unknown state {code}")))
    };
    if m.states.len() > MAX_STATES {
        let message = format!("at most {MAX_STATES} states, got {}", m.states.len());
        return Err(Invalid::invalid("states", "TOO_MANY", message));
    }
    check_wanted_labels(&m.labels)?;
    Ok(JobFilter {
        states: m.states.iter().map(state).collect::<Result<_, _>>()?,
        circuit: if m.circuit.is_empty() {
            None
        } else {
            Some(circuit_id("circuit", &m.circuit)?)
        },
        labels: m.labels.clone(),
        after: m.created_after.as_ref().map(millis),
        before: m.created_before.as_ref().map(millis),
    })
}

/// Why a job waits.
pub(super) fn pending(pending: &Pending) -> proto::PendingReason {
    proto::PendingReason {
        kind: pending.kind.code(),
        detail: pending.detail.clone(),
        jobs_ahead: pending.jobs_ahead,
        next_try: pending.next_try.map(timestamp),
    }
}

pub(super) fn job(view: &JobView) -> proto::Job {
    let job = &view.job;
    let done = job.state == JobState::Succeeded;
    proto::Job {
        name: job.id.to_string(),
        circuit: job.circuit.to_string(),
        state: job.state.code(),
        phase: view.live.map_or(0, |l| l.phase.code()),
        progress: view
            .live
            .map_or(if done { 1.0 } else { 0.0 }, |l| l.progress),
        priority: job.priority.code(),
        // The digest of a private input of few possible values would give it away.
        input: job
            .input
            .filter(|_| !job.private_input)
            .as_ref()
            .map(digest_message),
        public_values: job.public_values.clone(),
        create_time: Some(timestamp(job.created_at)),
        start_time: job.started_at.map(timestamp),
        end_time: job.ended_at.map(timestamp),
        deadline: job.deadline.map(timestamp),
        eta: view.live.and_then(|l| l.left).map(later),
        attempts: u32::try_from(job.epoch).unwrap_or(u32::MAX),
        max_attempts: job.max_attempts,
        failure: job.failure.as_ref().filter(|_| !done).map(failure),
        pending_reason: view.pending.as_ref().map(pending),
        proof: job.proof.as_ref().map(digest_message),
        labels: job.labels.clone(),
        etag: job.version.to_string(),
        deduplicated: view.deduplicated,
        kind: match job.kind {
            JobKind::Prove => proto::job::Kind::Prove,
            JobKind::Compile => proto::job::Kind::Compile,
            JobKind::Setup => proto::job::Kind::Setup,
        } as i32,
        context: job.context.to_vec(),
        history: Vec::new(),
    }
}

pub(super) fn attempt(a: &Attempt) -> proto::AttemptView {
    proto::AttemptView {
        number: u32::try_from(a.epoch).unwrap_or(u32::MAX),
        node: a
            .node
            .map_or_else(|| "gateway".to_owned(), |node| node.to_string()),
        speculative: a.speculative,
        peak_ram: a.peak_ram,
        lease_time: Some(timestamp(a.leased_at)),
        end_time: a.ended_at.map(timestamp),
        failure: a.failure.as_ref().map(failure),
        key_load: a.key_load_ms.map(|ms| duration_ms(ms.max(0) as u64)),
        prove: a.prove_ms.map(|ms| duration_ms(ms.max(0) as u64)),
        ..Default::default()
    }
}

pub(super) fn proof(
    job: JobId,
    record: ProofRecord,
    encoding: ProofEncoding,
    data: Vec<u8>,
) -> proto::Proof {
    proto::Proof {
        job: job.to_string(),
        digest: Some(digest_message(&record.digest)),
        format: format(encoding) as i32,
        body: Some(proto::proof::Body::Data(data)),
        public_values: record.public_values,
        vk_digest: Some(raw_digest(&record.vk_digest)),
        verify_time: Some(timestamp(record.verified_at)),
        verifier_version: record.verifier_version,
    }
}

pub(super) fn event(cursor: i64, job: JobId, event: proto::job_event::Event) -> proto::JobEvent {
    proto::JobEvent {
        cursor: cursor.to_string(),
        time: Some(now()),
        job: job.to_string(),
        event: Some(event),
    }
}

pub(super) fn keep_alive(cursor: i64) -> proto::JobEvent {
    let event = Some(proto::job_event::Event::KeepAlive(proto::KeepAlive {}));
    proto::JobEvent {
        cursor: cursor.to_string(),
        time: Some(now()),
        job: String::new(),
        event,
    }
}

pub(super) fn state_event(e: &StateEvent) -> proto::JobEvent {
    let change = proto::StateChange {
        from: e.from.map_or(0, JobState::code),
        to: e.to.code(),
        failure: e.failure.as_ref().map(failure),
    };
    let event = Some(proto::job_event::Event::State(change));
    proto::JobEvent {
        cursor: e.seq.to_string(),
        time: Some(timestamp(e.at)),
        job: e.job.to_string(),
        event,
    }
}

pub(super) fn progress_event(cursor: i64, p: &LiveProgress) -> proto::JobEvent {
    let progress = proto::Progress {
        phase: p.phase.code(),
        progress: p.progress,
        eta: p.left.map(later),
        attempt: u32::try_from(p.epoch).unwrap_or(u32::MAX),
    };
    event(cursor, p.job, proto::job_event::Event::Progress(progress))
}

/// A watch's cursor.
pub(super) fn cursor(text: &str) -> Result<Option<i64>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    let bad = || {
        Invalid::invalid(
            "cursor",
            "BAD_CURSOR",
            "expected the cursor of an earlier event",
        )
    };
    text.parse()
        .ok()
        .filter(|n| *n >= 0)
        .map(Some)
        .ok_or_else(bad)
}
