//! The client side of the API: connect, upload, and say what a server's error means.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};
use tokio_stream::iter;
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint as Address},
};
use tonic_types::StatusExt as _;

use super::{CliError, output::read_file};
use crate::{
    api::proto::{
        self, artifacts_client::ArtifactsClient, circuits_client::CircuitsClient,
        jobs_client::JobsClient, write_artifact_request::Message,
    },
    config,
    store::{ArtifactKind, CircuitState, Digest, JobKind, JobState, Phase},
};

/// A connection to a server.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) artifacts: ArtifactsClient<Channel>,
    pub(crate) circuits: CircuitsClient<Channel>,
    pub(crate) jobs: JobsClient<Channel>,
}

/// The deadline of a call that does not wait.
const CALL: Duration = Duration::from_secs(30);

/// A request with a deadline.
pub(crate) fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL);
    request
}

/// A server's refusal as an error of the command line.
pub(crate) fn refused(status: Status) -> CliError {
    let violations = status
        .get_details_bad_request()
        .map(|b| b.field_violations)
        .unwrap_or_default();
    let mut message = status.message().to_owned();
    for v in violations {
        if !message.contains(&v.description) {
            message += &format!("; {}: {}", v.field, v.description);
        }
    }
    if let Some(retry) = status.get_details_retry_info().and_then(|r| r.retry_delay) {
        message += &format!("; try again in {} s", retry.as_secs());
    }
    if status.code() == Code::Unavailable && status.details().is_empty() {
        message = format!("the server does not answer ({message}); start one with `zkinfer serve`");
    }
    CliError::failed(message)
}

impl Client {
    /// Connects to `endpoint`.
    pub(crate) async fn connect(endpoint: &str) -> Result<Self, CliError> {
        let address: Address = endpoint.parse().map_err(|_| {
            CliError::usage(format!(
                "{endpoint} is not an endpoint; expected http://HOST:PORT"
            ))
        })?;
        let channel = address
            .connect_timeout(Duration::from_secs(5))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_while_idle(true)
            .tcp_nodelay(true)
            .connect()
            .await
            .map_err(|_| {
                CliError::failed(format!(
                    "no server answers at {endpoint}; start one with `zkinfer serve`"
                ))
            })?;
        Ok(Self {
            artifacts: ArtifactsClient::new(channel.clone()),
            circuits: CircuitsClient::new(channel.clone()).max_decoding_message_size(64 << 20),
            jobs: JobsClient::new(channel).max_decoding_message_size(64 << 20),
        })
    }

    /// Uploads a file unless the server has it.
    pub(crate) async fn upload_file(
        &mut self,
        path: &Path,
        max: u64,
        kind: ArtifactKind,
    ) -> Result<Digest, CliError> {
        let bytes = read_file(path, max, &kind.name().to_lowercase())?;
        self.upload(bytes, kind).await
    }

    /// Uploads bytes unless the server has them.
    pub(crate) async fn upload(
        &mut self,
        bytes: Vec<u8>,
        kind: ArtifactKind,
    ) -> Result<Digest, CliError> {
        let digest = Digest::of(&bytes);
        let start = proto::StartUploadRequest {
            digest: Some(message(&digest)),
            size: bytes.len() as u64,
            kind: kind.code(),
            ..Default::default()
        };
        let started = self
            .artifacts
            .start_upload(call(start))
            .await
            .map_err(refused)?
            .into_inner();
        if started.already_present {
            return Ok(digest);
        }
        let from = usize::try_from(started.committed_size)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let header = proto::WriteHeader {
            upload_id: started.upload_id.clone(),
            write_offset: from as u64,
        };
        let mut messages = vec![proto::WriteArtifactRequest {
            message: Some(Message::Header(header)),
        }];
        let mut offset = from as u64;
        for data in bytes[from..].chunks(config::MAX_CHUNK_BYTES) {
            let chunk = proto::Chunk {
                offset,
                data: data.to_vec(),
                crc32c: crc32c::crc32c(data),
            };
            offset += data.len() as u64;
            messages.push(proto::WriteArtifactRequest {
                message: Some(Message::Chunk(chunk)),
            });
        }
        self.artifacts
            .write_artifact(Request::new(iter(messages)))
            .await
            .map_err(refused)?;
        let finish = proto::FinishUploadRequest {
            upload_id: started.upload_id,
            part_etags: Vec::new(),
        };
        self.artifacts
            .finish_upload(Request::new(finish))
            .await
            .map_err(refused)?;
        Ok(digest)
    }
}

/// A digest as the API writes it.
pub(crate) fn message(digest: &Digest) -> proto::Digest {
    proto::Digest {
        sha256: digest.0.to_vec(),
    }
}

fn hex_of(digest: &Option<proto::Digest>) -> Option<String> {
    digest.as_ref().map(|d| hex::encode(&d.sha256))
}

fn name<T: Copy>(
    code: i32,
    from: fn(i32) -> Option<T>,
    text: fn(T) -> &'static str,
) -> &'static str {
    from(code).map_or("UNKNOWN", text)
}

/// The name of a job's state.
pub(crate) fn state_name(code: i32) -> &'static str {
    name(code, JobState::from_code, JobState::name)
}

/// Whether a job's state is final.
pub(crate) fn is_terminal(code: i32) -> bool {
    JobState::from_code(code).is_some_and(JobState::is_terminal)
}

/// The name of a phase in lower case, empty for none.
pub(crate) fn phase_name(code: i32) -> String {
    Phase::from_code(code).map_or_else(String::new, |p| p.name().to_lowercase().replace('_', " "))
}

/// The name of a circuit's state.
pub(crate) fn circuit_state_name(code: i32) -> &'static str {
    name(code, CircuitState::from_code, CircuitState::name)
}

fn failure(f: &Option<proto::Failure>) -> Value {
    f.as_ref().map_or(
        Value::Null,
        |f| json!({ "code": f.code, "message": f.message, "attempt": f.attempt }),
    )
}

fn seconds(t: &Option<prost_types::Timestamp>) -> Value {
    t.as_ref().map_or(Value::Null, |t| {
        json!(t.seconds as f64 + f64::from(t.nanos) / 1e9)
    })
}

/// A job as JSON.
pub(crate) fn job_json(job: &proto::Job) -> Value {
    json!({
        "name": job.name, "circuit": job.circuit, "state": state_name(job.state),
        "kind": name(job.kind_code(), JobKind::from_code, JobKind::name),
        "phase": phase_name(job.phase), "progress": job.progress, "attempts": job.attempts, "max_attempts": job.max_attempts,
        "created": seconds(&job.create_time), "started": seconds(&job.start_time), "ended": seconds(&job.end_time),
        "failure": failure(&job.failure), "proof": hex_of(&job.proof), "input": hex_of(&job.input),
        "public_values": hex::encode(&job.public_values), "context": hex::encode(&job.context), "labels": job.labels,
        "deduplicated": job.deduplicated, "etag": job.etag,
        "pending": job.pending_reason.as_ref().map(|p| p.detail.clone()),
        "jobs_ahead": job.pending_reason.as_ref().map(|p| p.jobs_ahead),
    })
}

impl proto::Job {
    /// The kind as the store numbers it.
    fn kind_code(&self) -> i32 {
        match self.kind() {
            proto::job::Kind::Compile => JobKind::Compile.code(),
            proto::job::Kind::Setup => JobKind::Setup.code(),
            _ => JobKind::Prove.code(),
        }
    }
}

/// A circuit as JSON.
pub(crate) fn circuit_json(c: &proto::Circuit) -> Value {
    let tensor = |t: &proto::TensorSpec| {
        let visibility = if t.visibility() == proto::Visibility::Private {
            "private"
        } else {
            "public"
        };
        json!({ "name": t.name, "shape": t.shape, "dtype": t.dtype, "visibility": visibility })
    };
    json!({
        "name": c.name, "state": circuit_state_name(c.state),
        "system": name(c.backend, crate::store::Backend::from_code, crate::store::Backend::name),
        "fingerprint": hex_of(&c.fingerprint), "model": hex_of(&c.model), "program": hex_of(&c.compiled),
        "verifying_key": hex_of(&c.verifying_key), "proving_key_bytes": c.proving_key_size,
        "created": seconds(&c.create_time), "failure": failure(&c.failure), "labels": c.labels, "etag": c.etag,
        "inputs": c.inputs.iter().map(tensor).collect::<Vec<_>>(), "outputs": c.outputs.iter().map(tensor).collect::<Vec<_>>(),
    })
}
