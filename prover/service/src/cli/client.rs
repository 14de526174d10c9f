//! The client side of the API: connect, upload, and say what a server's error means.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};
use tokio_stream::iter;
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint as Address},
};
use tonic_types::StatusExt as _;

use super::{CliError, Endpoint, output::read_file};
use crate::{
    api::proto::{
        self, admin_client::AdminClient, artifacts_client::ArtifactsClient,
        circuits_client::CircuitsClient, jobs_client::JobsClient, write_artifact_request::Message,
    },
    store::{ArtifactKind, CircuitState, Digest, JobKind, JobState, Phase},
};

/// A channel that says who calls.
pub(crate) type Line = InterceptedService<Channel, Bearer>;

/// A connection to a server.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) artifacts: ArtifactsClient<Line>,
    pub(crate) circuits: CircuitsClient<Line>,
    pub(crate) jobs: JobsClient<Line>,
    pub(crate) admin: AdminClient<Line>,
}

/// The API key that goes with every call, if there is one.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

/// The key is left out.
impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() {
            "Bearer(…)"
        } else {
            "Nobody"
        })
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            let headers = request.metadata_mut();
            headers.insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl Bearer {
    /// The key of the file, or of ZKINFER_API_KEY.
    fn of(endpoint: &Endpoint) -> Result<Self, CliError> {
        let key = match &endpoint.api_key_file {
            Some(path) => {
                let bytes = read_file(path, 16 << 10, "API key")?;
                String::from_utf8(bytes).map_err(|_| CliError::usage("the API key is no text"))?
            }
            None => match std::env::var("ZKINFER_API_KEY") {
                Ok(key) => key,
                Err(_) => return Ok(Self(None)),
            },
        };
        let key = zeroize::Zeroizing::new(key);
        let value = zeroize::Zeroizing::new(format!("Bearer {}", key.trim()));
        let mut value = MetadataValue::try_from(value.as_str())
            .map_err(|_| CliError::usage("the API key must be one line of plain characters"))?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

/// Where this machine keeps the certificates it trusts.
const SYSTEM_CERTIFICATES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

fn tls(endpoint: &Endpoint) -> Result<ClientTlsConfig, CliError> {
    let system = || {
        let mut known = SYSTEM_CERTIFICATES.iter().map(Path::new);
        known.find(|path| path.exists()).map(Path::to_owned)
    };
    let path = endpoint.tls_ca.clone().or_else(system).ok_or_else(|| {
        CliError::usage(
            "this machine has no list of certificates that it trusts; pass --tls-ca FILE",
        )
    })?;
    let pem = read_file(&path, 4 << 20, "certificates")?;
    Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
}

/// Whether the address is this machine.
fn is_local(address: &Address) -> bool {
    let host = address.uri().host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let ip = host.parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// Bytes sent at once: a slow line ends one within the server's patience.
const CHUNK_BYTES: usize = 256 << 10;
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
    if status.code() == Code::Unauthenticated {
        message += "; pass --api-key-file, or set ZKINFER_API_KEY";
    }
    if let Some(retry) = status.get_details_retry_info().and_then(|r| r.retry_delay) {
        message += &format!("; try again in {} s", retry.as_secs());
    }
    if status.code() == Code::Unavailable && status.details().is_empty() {
        message = format!("the server does not answer ({message}); start one with `zkinfer serve`");
    }
    CliError::failed(message)
}

/// A certificate that is not trusted is another matter than a server that is not there.
fn not_connected(endpoint: &str, error: &tonic::transport::Error) -> CliError {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(e) = cause {
        let text = e.to_string();
        if text.contains("certificate") {
            return CliError::failed(format!("{endpoint}: {text}; see --tls-ca"));
        }
        cause = e.source();
    }
    CliError::failed(format!(
        "no server answers at {endpoint}; start one with `zkinfer serve`"
    ))
}

impl Client {
    /// Connects to `endpoint`. A key never leaves this machine in plain text.
    pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Self, CliError> {
        let name = &endpoint.endpoint;
        let mut address: Address = name.parse().map_err(|_| {
            CliError::usage(format!(
                "{name} is not an endpoint; expected http://HOST:PORT or https://HOST:PORT"
            ))
        })?;
        let bearer = Bearer::of(endpoint)?;
        match address.uri().scheme_str() {
            Some("https") => {
                address = address.tls_config(tls(endpoint)?).map_err(|_| {
                    CliError::usage("the certificates of --tls-ca cannot be used; expected PEM")
                })?;
            }
            _ if bearer.0.is_some() && !is_local(&address) => {
                let message = format!(
                    "{name} is plain text on another machine: the API key could be read on the way; use https://"
                );
                return Err(CliError::usage(message));
            }
            _ => {}
        }
        let channel = address
            .connect_timeout(Duration::from_secs(5))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_while_idle(true)
            .tcp_nodelay(true)
            .connect()
            .await
            .map_err(|e| not_connected(name, &e))?;
        let line = InterceptedService::new(channel, bearer);
        Ok(Self {
            artifacts: ArtifactsClient::new(line.clone()),
            circuits: CircuitsClient::new(line.clone()).max_decoding_message_size(64 << 20),
            jobs: JobsClient::new(line.clone()).max_decoding_message_size(64 << 20),
            admin: AdminClient::new(line),
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
        for data in bytes[from..].chunks(CHUNK_BYTES) {
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
        let visibility = match t.visibility() {
            proto::Visibility::Private => "private",
            proto::Visibility::Hashed => "hashed",
            _ => "public",
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
