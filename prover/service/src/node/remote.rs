//! The gateway by gRPC over mutual TLS.
//!
//! Two connections: one for heartbeats, whose tasks live on the heartbeat's own runtime, and one for everything else, so that a
//! key of many gigabytes or a full runtime delays no sign of life. Both show the node's certificate and expect the gateway's
//! authority, whatever address the gateway has.

mod convert;
mod errors;

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use tonic::{
    Request,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::{
    backoff::Backoff,
    home::{self, Home, Identity},
};
use crate::{
    api::proto::{self, prover_nodes_client::ProverNodesClient},
    auth::authority::GATEWAY_NAME,
    config,
    farm::lease::{
        Acquire, AttemptId, Beat, BeatAnswer, FetchFile, Finished, Granted, Hello, Lease, Uplink,
        UplinkError, Verdict, Welcome,
    },
    store::{Digest, Failure},
};

pub use errors::JoinError;
use errors::{broken, refused};

/// How long a connection, and a call that does little, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// The gateway verifies before it answers a commit.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(120);
/// Trace contexts that are remembered at most.
const MAX_TRACES: usize = 4096;
/// The longest silence in a download.
const FETCH_SILENCE: Duration = Duration::from_secs(30);
/// Between a renewal and the next look.
const RENEWED_PAUSE: Duration = Duration::from_secs(60);
/// Keep-alive of idle connections.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A line to a gateway in another process.
#[derive(Debug)]
pub struct Remote {
    home: Arc<Home>,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    calls: Option<Channel>,
    beats: Option<Channel>,
    /// Trace contexts of the leases that are not settled.
    traces: BTreeMap<AttemptId, BTreeMap<String, String>>,
}

/// The address of a gateway: `https://`, whatever was said.
///
/// # Errors
/// It is no address.
pub fn gateway_url(text: &str) -> Result<String, JoinError> {
    let bare = text.trim().trim_end_matches('/');
    let url = match bare.split_once("://") {
        None => format!("https://{bare}"),
        Some(("https", _)) => bare.to_owned(),
        Some((other, _)) => {
            return Err(JoinError::Address {
                address: text.to_owned(),
                reason: format!("{other}:// is not spoken to nodes; expected https://HOST:PORT"),
            });
        }
    };
    let endpoint = Endpoint::from_shared(url.clone()).map_err(|e| JoinError::Address {
        address: text.to_owned(),
        reason: e.to_string(),
    })?;
    match endpoint.uri().host() {
        Some(host) if !host.is_empty() && bare != "https:" => Ok(url),
        _ => Err(JoinError::Address {
            address: text.to_owned(),
            reason: "it names no host".to_owned(),
        }),
    }
}

fn endpoint(
    gateway: &str,
    authority: &str,
    identity: Option<&Identity>,
) -> Result<Endpoint, tonic::transport::Error> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority))
        .domain_name(GATEWAY_NAME);
    let tls = match identity {
        Some(own) => tls.identity(tonic::transport::Identity::from_pem(
            &own.certificate,
            own.key.as_bytes(),
        )),
        None => tls,
    };
    Ok(Endpoint::from_shared(gateway.to_owned())?
        .tls_config(tls)?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

type Client = ProverNodesClient<Channel>;

fn client(channel: Channel) -> Client {
    ProverNodesClient::new(channel)
        .max_decoding_message_size(config::MAX_REQUEST_BYTES)
        .max_encoding_message_size(config::MAX_RESPONSE_BYTES)
}

/// What a gateway gave a node that joined.
#[derive(Debug)]
pub(crate) struct Enrolled {
    pub(crate) node: String,
    pub(crate) certificate: String,
    pub(crate) expires: u64,
}

/// Asks for a certificate: with a token over a connection without one, or without a token over one with a certificate.
pub(crate) async fn enroll(
    gateway: &str,
    authority: &str,
    identity: Option<&Identity>,
    request: proto::EnrollRequest,
) -> Result<Enrolled, JoinError> {
    let unreachable = |e: tonic::transport::Error| errors::no_connection(gateway, &e);
    let endpoint = endpoint(gateway, authority, identity).map_err(unreachable)?;
    let channel = endpoint.connect().await.map_err(unreachable)?;
    let mut request = Request::new(request);
    request.set_timeout(CALL_TIMEOUT);
    let answer = client(channel)
        .enroll(request)
        .await
        .map_err(|status| errors::not_enrolled(gateway, &status))?
        .into_inner();
    let expires = answer.expire_time.map_or(0, |at| at.seconds);
    let expires = u64::try_from(expires).unwrap_or(0);
    let certificate = String::from_utf8(answer.certificate_chain_pem)
        .ok()
        .filter(|pem| pem.contains("BEGIN CERTIFICATE"));
    match certificate {
        Some(certificate) if expires > 0 && !answer.node.is_empty() => Ok(Enrolled {
            node: answer.node,
            certificate,
            expires,
        }),
        _ => Err(JoinError::Answer),
    }
}

impl Remote {
    /// The line of a node that joined.
    pub fn new(home: Arc<Home>) -> Arc<Self> {
        Arc::new(Self {
            home,
            lines: Mutex::default(),
        })
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self) -> Result<Channel, UplinkError> {
        let (facts, identity) = (self.home.facts(), self.home.identity());
        endpoint(&facts.gateway, &identity.authority, Some(&identity))
            .map(|endpoint| endpoint.connect_lazy())
            .map_err(|e| UplinkError::Refused(format!("the node's certificate: {e}")))
    }

    /// The connection for everything but heartbeats; made on the first call.
    fn calls(&self) -> Result<Client, UplinkError> {
        let mut lines = self.lines();
        if lines.calls.is_none() {
            lines.calls = Some(self.connect()?);
        }
        let channel = lines.calls.clone();
        drop(lines);
        channel.map(client).ok_or_else(|| broken("no connection"))
    }

    /// The connection for heartbeats; made on the first one, so that it belongs to their runtime.
    fn beats(&self) -> Result<Client, UplinkError> {
        let mut lines = self.lines();
        if lines.beats.is_none() {
            lines.beats = Some(self.connect()?);
        }
        let channel = lines.beats.clone();
        drop(lines);
        channel.map(client).ok_or_else(|| broken("no connection"))
    }

    /// The next calls make connections anew.
    fn reconnect(&self) {
        let mut lines = self.lines();
        (lines.calls, lines.beats) = (None, None);
    }

    /// A request of an attempt, with the trace context of its lease.
    fn of_attempt<T>(&self, attempt: AttemptId, message: T, timeout: Duration) -> Request<T> {
        let mut request = with_timeout(message, timeout);
        if let Some(trace) = self.lines().traces.get(&attempt) {
            add_trace(&mut request, trace);
        }
        request
    }

    fn settled(&self, attempt: AttemptId) {
        self.lines().traces.remove(&attempt);
    }

    /// Renews the certificate at half its life, for as long as the node runs.
    pub async fn keep_certificate(self: Arc<Self>, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(3600));
        loop {
            let facts = self.home.facts();
            let due = facts.until_renewal(home::now());
            if due.is_zero() {
                match self.renew().await {
                    Ok(()) => {
                        backoff.reset();
                        // By a clock that is far ahead the next one is over before it came.
                        if self.home.facts().expires <= home::now() {
                            tokio::select! {
                                () = tokio::time::sleep(RENEWED_PAUSE) => {}
                                () = stop.cancelled() => return,
                            }
                        }
                    }
                    Err(error) => {
                        let left = facts.expires.saturating_sub(home::now());
                        tracing::warn!(%error, hours_left = left / 3600, "cannot renew the node's certificate; trying again");
                        tokio::select! {
                            () = backoff.wait() => {}
                            () = stop.cancelled() => return,
                        }
                    }
                }
                continue;
            }
            // The machine may sleep or its clock may be set: look again now and then.
            tokio::select! {
                () = tokio::time::sleep(due.min(Duration::from_secs(3600))) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Gets a new certificate for the same key, so that inputs sealed for the old one still open.
    async fn renew(&self) -> Result<(), JoinError> {
        let (facts, identity) = (self.home.facts(), self.home.identity());
        let request = proto::EnrollRequest {
            token: String::new(),
            csr_der: super::join::certificate_request(&identity.key)?,
            node_name: facts.name,
        };
        let enrolled = enroll(
            &facts.gateway,
            &identity.authority,
            Some(&identity),
            request,
        )
        .await?;
        self.home.renew(enrolled.certificate, enrolled.expires)?;
        self.reconnect();
        tracing::info!(node = enrolled.node, "the node's certificate is renewed");
        Ok(())
    }
}

fn with_timeout<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

fn add_trace<T>(request: &mut Request<T>, trace: &BTreeMap<String, String>) {
    for name in ["traceparent", "tracestate"] {
        if let Some(value) = trace.get(name).and_then(|v| v.parse().ok()) {
            request.metadata_mut().insert(name, value);
        }
    }
}

/// A beat without an answer, also one that is given up: the next one goes over a connection of its own, since nobody may be at the other end of
/// this one.
struct Unanswered<'a>(&'a Remote, bool);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.1 {
            self.0.lines().beats = None;
        }
    }
}

#[async_trait::async_trait]
impl Uplink for Remote {
    async fn open(&self, hello: Hello) -> Result<Welcome, UplinkError> {
        let message = convert::hello(hello, self.home.facts().name);
        let request = with_timeout(message, CALL_TIMEOUT);
        let answer = self.calls()?.open_session(request).await.map_err(refused)?;
        convert::welcome(answer.into_inner())
    }

    async fn acquire(&self, acquire: Acquire) -> Result<Granted, UplinkError> {
        let timeout = acquire.wait + CALL_TIMEOUT;
        let request = with_timeout(convert::acquire(acquire), timeout);
        let answer = self
            .calls()?
            .acquire_leases(request)
            .await
            .map_err(refused)?;
        let granted = convert::granted(answer.into_inner())?;
        let mut lines = self.lines();
        if lines.traces.len() > MAX_TRACES {
            // Of leases that the gateway ended, nothing is said any more.
            lines.traces.clear();
        }
        for lease in granted.leases.iter().filter(|l| !l.trace.is_empty()) {
            lines.traces.insert(lease.attempt, lease.trace.clone());
        }
        Ok(granted)
    }

    async fn heartbeat(&self, beat: Beat) -> Result<BeatAnswer, UplinkError> {
        let request = with_timeout(convert::beat(beat), CALL_TIMEOUT);
        let mut client = self.beats()?;
        let mut unanswered = Unanswered(self, true);
        let answer = client.heartbeat(request).await;
        unanswered.1 = answer.is_err();
        drop(unanswered);
        convert::beat_answer(answer.map_err(refused)?.into_inner())
    }

    async fn commit(&self, finished: Finished) -> Result<Verdict, UplinkError> {
        let attempt = finished.attempt;
        let stream = tokio_stream::iter(convert::commit(finished));
        let request = self.of_attempt(attempt, stream, COMMIT_TIMEOUT);
        let answer = self.calls()?.commit_proof(request).await.map_err(refused)?;
        let verdict = convert::verdict(answer.into_inner())?;
        self.settled(attempt);
        Ok(verdict)
    }

    async fn fail(
        &self,
        session: i64,
        attempt: AttemptId,
        failure: Failure,
    ) -> Result<bool, UplinkError> {
        let message = convert::failed(session, attempt, failure);
        let request = self.of_attempt(attempt, message, CALL_TIMEOUT);
        let answer = self.calls()?.fail_attempt(request).await.map_err(refused)?;
        self.settled(attempt);
        Ok(answer.into_inner().stale)
    }

    async fn close(&self, session: i64, reason: &str) -> Result<(), UplinkError> {
        let message = proto::CloseSessionRequest {
            session_epoch: convert::unsigned(session),
            reason: reason.to_owned(),
        };
        let request = with_timeout(message, CALL_TIMEOUT);
        self.calls()?
            .close_session(request)
            .await
            .map_err(refused)?;
        Ok(())
    }

    async fn fetch(
        &self,
        session: i64,
        lease: &Lease,
        file: &FetchFile,
        offset: u64,
        sink: &mut (dyn Write + Send),
    ) -> Result<(), UplinkError> {
        let message = convert::fetch(session, lease, file, offset);
        let mut request = Request::new(message);
        add_trace(&mut request, &lease.trace);
        let silent = |_| broken("the download fell silent");
        let opened = tokio::time::timeout(FETCH_SILENCE, async {
            self.calls()?.fetch(request).await.map_err(refused)
        });
        let mut stream = opened.await.map_err(silent)??.into_inner();
        let mut at = offset;
        loop {
            let next = tokio::time::timeout(FETCH_SILENCE, stream.message()).await;
            let Some(answer) = next.map_err(silent)?.map_err(refused)? else {
                return Ok(());
            };
            let chunk = answer
                .chunk
                .ok_or_else(|| broken("a chunk without bytes"))?;
            if chunk.offset != at {
                return Err(broken(format!(
                    "expected the bytes from {at} on, got those from {}",
                    chunk.offset
                )));
            }
            if crc32c::crc32c(&chunk.data) != chunk.crc32c {
                return Err(broken("a chunk with a wrong checksum"));
            }
            at += chunk.data.len() as u64;
            sink.write_all(&chunk.data)
                .map_err(|e| broken(e.to_string()))?;
        }
    }
}

/// The digest as messages carry it.
fn digest_message(digest: &Digest) -> proto::Digest {
    proto::Digest {
        sha256: digest.0.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_https_whatever_was_left_out() {
        let url = |text| gateway_url(text).map_err(|e| e.to_string());
        assert_eq!(url("gateway:7444"), Ok("https://gateway:7444".into()));
        assert_eq!(
            url(" https://10.0.0.1:7444/ "),
            Ok("https://10.0.0.1:7444".into())
        );
        assert_eq!(url("[::1]:7444"), Ok("https://[::1]:7444".into()));
        for bad in [
            "http://gateway:7443",
            "",
            "https://",
            "gate way:1",
            "ftp://x",
        ] {
            let error = url(bad).expect_err(bad);
            assert!(error.contains("--gateway"), "{bad}: {error}");
        }
    }
}
