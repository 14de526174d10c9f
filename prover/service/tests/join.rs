//! `zkinfer node join` and `run` against a gateway of the test, over real mutual TLS, with real proofs in real children.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod server;

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    process::{Child, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair,
};
use server::{model, passes, zkinfer};
use tokio_stream::{Stream, wrappers::TcpListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Certificate, Identity, Server, ServerTlsConfig},
};
use zkinfer_service::{
    api::proto::{
        self,
        commit_proof_request::Message,
        commit_proof_response::Outcome,
        prover_nodes_server::{ProverNodes, ProverNodesServer},
    },
    store::{CircuitId, Digest, JobId},
    work::{Gate, LocalWork, ProofParts, Work as _},
};

const TOKEN_SECRET: [u8; 32] = [8; 32];

/// An authority, and the certificate of the gateway.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
    pem: String,
}

impl Authority {
    fn fresh() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            der: certificate.der().to_vec(),
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    fn server(&self) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["gateway.zkinfer.internal".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity::from_pem(certificate.pem(), key.serialize_pem())
    }

    fn token(&self) -> String {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        format!("zkt1.{}.{}", encode(&TOKEN_SECRET), encode(&self.der))
    }
}

/// The gateway of the test.
struct Gateway {
    authority: Authority,
    token_used: AtomicBool,
    /// Seconds that certificates live.
    life: AtomicU64,
    renewed: AtomicUsize,
    circuit: CircuitId,
    files: Vec<(String, Vec<u8>)>,
    input: Vec<u8>,
    leases: AtomicUsize,
    beats: AtomicUsize,
    closed: AtomicUsize,
    /// Fetches that get a chunk with a wrong checksum, then one that ends early.
    spoil: AtomicUsize,
    commits: Mutex<Vec<(ProofParts, Option<String>)>>,
    offsets: Mutex<Vec<u64>>,
}

fn known<T>(request: &Request<T>) -> Result<(), Status> {
    match request.peer_certs() {
        Some(certificates) if !certificates.is_empty() => Ok(()),
        _ => Err(Status::unauthenticated("no certificate")),
    }
}

fn file(kind: i32, name: &str, bytes: &[u8]) -> proto::FetchFile {
    proto::FetchFile {
        kind,
        digest: Some(proto::Digest {
            sha256: Digest::of(bytes).0.to_vec(),
        }),
        size: bytes.len() as u64,
        name: name.to_owned(),
        ..Default::default()
    }
}

fn seconds(n: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration {
        seconds: n,
        nanos: 0,
    })
}

struct Service(Arc<Gateway>);

#[tonic::async_trait]
impl ProverNodes for Service {
    async fn enroll(
        &self,
        request: Request<proto::EnrollRequest>,
    ) -> Result<Response<proto::EnrollResponse>, Status> {
        let me = &self.0;
        match request.get_ref().token.is_empty() {
            true => {
                known(&request)?;
                me.renewed.fetch_add(1, Ordering::SeqCst);
            }
            false => {
                assert!(request.peer_certs().is_none());
                assert_eq!(request.get_ref().token, me.authority.token());
                if me.token_used.swap(true, Ordering::SeqCst) {
                    return Err(Status::permission_denied("the token was used before"));
                }
            }
        }
        let der = request.into_inner().csr_der.into();
        let mut csr = CertificateSigningRequestParams::from_der(&der)
            .map_err(|e| Status::invalid_argument(e.to_string()))?;
        csr.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = csr.signed_by(&me.authority.issuer).unwrap();
        let life = Duration::from_secs(me.life.load(Ordering::SeqCst));
        Ok(Response::new(proto::EnrollResponse {
            node: "nodes/019a0000-0000-7000-8000-000000000001".into(),
            certificate_chain_pem: certificate.pem().into_bytes(),
            ca_pem: me.authority.pem.clone().into_bytes(),
            expire_time: Some((SystemTime::now() + life).into()),
        }))
    }

    async fn open_session(
        &self,
        request: Request<proto::OpenSessionRequest>,
    ) -> Result<Response<proto::OpenSessionResponse>, Status> {
        known(&request)?;
        let hello = request.into_inner();
        assert_eq!(hello.node_name, "tester");
        assert_eq!(hello.capabilities.unwrap().slots, 1);
        Ok(Response::new(proto::OpenSessionResponse {
            node: "nodes/019a0000-0000-7000-8000-000000000001".into(),
            session_epoch: 5,
            heartbeat_interval: Some(prost_types::Duration {
                seconds: 0,
                nanos: 200_000_000,
            }),
            lease_ttl: seconds(30),
            max_proof_bytes: 1 << 20,
            ..Default::default()
        }))
    }

    async fn acquire_leases(
        &self,
        request: Request<proto::AcquireLeasesRequest>,
    ) -> Result<Response<proto::AcquireLeasesResponse>, Status> {
        known(&request)?;
        let me = &self.0;
        let take = |n: usize| n.checked_sub(1);
        if me
            .leases
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(300)).await;
            return Ok(Response::new(proto::AcquireLeasesResponse::default()));
        }
        let mut fetch: Vec<_> = me.files.iter().map(|(name, b)| file(2, name, b)).collect();
        fetch.push(file(6, "", &me.input));
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let lease = proto::Lease {
            job: JobId::fresh().to_string(),
            epoch: 1,
            circuit: me.circuit.to_string(),
            backend: proto::Backend::UltragrothBn254 as i32,
            fetch,
            soft_time_limit: seconds(100),
            vk_digest: vec![7; 32],
            context: vec![0; 32],
            trace_context: [("traceparent".to_owned(), trace.to_owned())].into(),
            ..Default::default()
        };
        Ok(Response::new(proto::AcquireLeasesResponse {
            leases: vec![lease],
            ..Default::default()
        }))
    }

    async fn heartbeat(
        &self,
        request: Request<proto::HeartbeatRequest>,
    ) -> Result<Response<proto::HeartbeatResponse>, Status> {
        known(&request)?;
        self.0.beats.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(proto::HeartbeatResponse::default()))
    }

    async fn commit_proof(
        &self,
        request: Request<Streaming<proto::CommitProofRequest>>,
    ) -> Result<Response<proto::CommitProofResponse>, Status> {
        known(&request)?;
        let trace = request
            .metadata()
            .get("traceparent")
            .map(|v| v.to_str().unwrap().to_owned());
        let mut stream = request.into_inner();
        let (mut header, mut proof) = (None, Vec::new());
        while let Some(message) = stream.message().await? {
            match message.message.unwrap() {
                Message::Header(h) => header = Some(h),
                Message::Chunk(chunk) => proof.extend(chunk),
            }
        }
        let header = header.unwrap();
        assert_eq!(
            (header.session_epoch, header.proof_size),
            (5, proof.len() as u64)
        );
        assert_eq!(header.proof_digest.unwrap().sha256, Digest::of(&proof).0);
        let public_values = header.public_values;
        self.0.commits.lock().unwrap().push((
            ProofParts {
                proof,
                public_values,
            },
            trace,
        ));
        Ok(Response::new(proto::CommitProofResponse {
            outcome: Outcome::Accepted as i32,
            detail: String::new(),
        }))
    }

    async fn fail_attempt(
        &self,
        request: Request<proto::FailAttemptRequest>,
    ) -> Result<Response<proto::FailAttemptResponse>, Status> {
        panic!("no attempt fails here: {:?}", request.into_inner().failure);
    }

    async fn close_session(
        &self,
        request: Request<proto::CloseSessionRequest>,
    ) -> Result<Response<proto::CloseSessionResponse>, Status> {
        known(&request)?;
        self.0.closed.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(proto::CloseSessionResponse::default()))
    }

    type FetchStream =
        Pin<Box<dyn Stream<Item = Result<proto::ReadArtifactResponse, Status>> + Send>>;

    async fn fetch(
        &self,
        request: Request<proto::FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        known(&request)?;
        let me = &self.0;
        let request = request.into_inner();
        let digest = request.digest.unwrap().sha256;
        let all: HashMap<_, _> = me
            .files
            .iter()
            .map(|(_, b)| b)
            .chain([&me.input])
            .map(|b| (Digest::of(b).0.to_vec(), b.clone()))
            .collect();
        let bytes = all
            .get(&digest)
            .ok_or_else(|| Status::not_found("no such file"))?
            .clone();
        assert_eq!(request.job.is_empty(), bytes != me.input);
        me.offsets.lock().unwrap().push(request.offset);
        // Only a file of several chunks can be spoiled in its middle.
        let spoil = match bytes.len() > 300_000 {
            true => me.spoil.load(Ordering::SeqCst),
            false => 0,
        };
        if spoil > 0 {
            me.spoil.store(spoil - 1, Ordering::SeqCst);
        }
        let mut at = request.offset as usize;
        let mut answers = Vec::new();
        for data in bytes[at..].chunks(100_000).map(<[u8]>::to_vec) {
            let mut crc32c = crc32c::crc32c(&data);
            if spoil == 2 && at > 0 {
                crc32c ^= 1;
            }
            if spoil == 1 && at > 150_000 {
                answers.push(Err(Status::unavailable("going away")));
                break;
            }
            let chunk = proto::Chunk {
                offset: at as u64,
                data,
                crc32c,
            };
            at += chunk.data.len();
            answers.push(Ok(proto::ReadArtifactResponse { chunk: Some(chunk) }));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(answers))))
    }
}

async fn serve(gateway: &Arc<Gateway>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = ServerTlsConfig::new()
        .identity(gateway.authority.server())
        .client_ca_root(Certificate::from_pem(&gateway.authority.pem))
        .client_auth_optional(true);
    let service = ProverNodesServer::new(Service(gateway.clone()));
    let router = Server::builder()
        .tls_config(tls)
        .unwrap()
        .add_service(service);
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

fn gateway(bundle: Option<&Path>) -> (Arc<Gateway>, Option<Arc<dyn Gate>>) {
    let gate = bundle.map(|b| LocalWork::in_process().gate(b).unwrap());
    let names = [
        "manifest.json",
        "model",
        "program",
        "proving.key",
        "verifying.key",
    ];
    let read =
        |name: &&str| bundle.map(|b| ((*name).to_owned(), std::fs::read(b.join(name)).unwrap()));
    let input = gate.as_ref().map(|g| {
        g.quantize(&std::fs::read(model("digits-mlp.json")).unwrap())
            .unwrap()
    });
    let gateway = Gateway {
        authority: Authority::fresh(),
        token_used: AtomicBool::new(false),
        life: AtomicU64::new(7 * 24 * 3600),
        renewed: AtomicUsize::new(0),
        circuit: CircuitId::fresh(),
        files: names.iter().filter_map(read).collect(),
        input: input.unwrap_or_default(),
        leases: AtomicUsize::new(0),
        beats: AtomicUsize::new(0),
        closed: AtomicUsize::new(0),
        spoil: AtomicUsize::new(0),
        commits: Mutex::default(),
        offsets: Mutex::default(),
    };
    (Arc::new(gateway), gate)
}

/// A `zkinfer node` that is killed when the test ends.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(args: &[&str], data: &Path) -> Node {
    let log = std::env::var_os("ZKINFER_TEST_LOG").map_or_else(Stdio::null, |_| Stdio::inherit());
    let mut command = zkinfer();
    command
        .arg("node")
        .args(args)
        .arg("--data")
        .arg(data)
        .args(["--slots", "1"]);
    Node(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
}

async fn until(what: &str, mut found: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !found() {
        assert!(
            Instant::now() < deadline,
            "it did not happen in 60 s: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn terminated(mut node: Node) -> bool {
    let pid = node.0.id().to_string();
    std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status()
        .unwrap();
    tokio::task::spawn_blocking(move || node.0.wait().unwrap().success())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_proves_drains_and_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let (bundle, data) = (folder.path().join("bundle"), folder.path().join("node"));
    passes(
        zkinfer()
            .arg("compile")
            .arg(model("digits-mlp.onnx"))
            .arg("--calibration")
            .arg(model("digits-mlp.calibration.npz"))
            .arg("-o")
            .arg(&bundle),
    );
    passes(zkinfer().arg("setup").arg(&bundle));
    let (gateway, gate) = gateway(Some(&bundle));
    let address = serve(&gateway).await;
    gateway.leases.store(2, Ordering::SeqCst);
    gateway.spoil.store(2, Ordering::SeqCst);
    let (url, token) = (address.to_string(), gateway.authority.token());
    let join = [
        "join",
        "--gateway",
        &url,
        "--token",
        &token,
        "--name",
        "tester",
    ];
    let node = start(&join, &data);
    until("two proofs", || gateway.commits.lock().unwrap().len() == 2).await;
    for (parts, trace) in gateway.commits.lock().unwrap().iter() {
        gate.as_ref().unwrap().verify(parts).unwrap();
        let trace = trace.as_deref().unwrap();
        assert!(
            trace.starts_with("00-0af7651916cd43dd8448eb211c80319c"),
            "{trace}"
        );
    }
    let resumed = gateway
        .offsets
        .lock()
        .unwrap()
        .iter()
        .filter(|at| **at > 0)
        .count();
    assert!(resumed >= 2, "downloads went on where they were cut");
    let beats = gateway.beats.load(Ordering::SeqCst);
    until("heartbeats", || {
        gateway.beats.load(Ordering::SeqCst) > beats + 3
    })
    .await;
    assert!(terminated(node).await);
    assert_eq!(gateway.closed.load(Ordering::SeqCst), 1);

    // It knows who it is: neither token nor gateway is needed, and no key is fetched again.
    gateway.offsets.lock().unwrap().clear();
    gateway.leases.store(1, Ordering::SeqCst);
    let node = start(&["run"], &data);
    until("a third proof", || {
        gateway.commits.lock().unwrap().len() == 3
    })
    .await;
    assert_eq!(gateway.offsets.lock().unwrap().len(), 1, "only the input");
    assert!(terminated(node).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn f37_a_certificate_is_renewed_at_half_its_life_without_a_lost_call() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, _) = gateway(None);
    gateway.life.store(4, Ordering::SeqCst);
    let url = serve(&gateway).await.to_string();
    let token = gateway.authority.token();
    let join = [
        "join",
        "--gateway",
        &url,
        "--token",
        &token,
        "--name",
        "tester",
    ];
    let node = start(&join, folder.path());
    until("two renewals", || {
        gateway.renewed.load(Ordering::SeqCst) >= 2
    })
    .await;
    let certificate = std::fs::read_to_string(folder.path().join("node.crt")).unwrap();
    assert!(certificate.contains("BEGIN CERTIFICATE"));
    let beats = gateway.beats.load(Ordering::SeqCst);
    until("heartbeats", || {
        gateway.beats.load(Ordering::SeqCst) > beats + 3
    })
    .await;
    assert!(terminated(node).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_join_says_why_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, _) = gateway(None);
    let url = serve(&gateway).await.to_string();
    let own = gateway.authority.token();
    let foreign = Authority::fresh().token();
    gateway.token_used.store(true, Ordering::SeqCst);
    let cases = [
        (
            vec!["--gateway", &url, "--token", &own],
            1,
            "the token was used before",
        ),
        (
            vec!["--gateway", &url, "--token", &foreign],
            1,
            "is not the gateway that made this token",
        ),
        (
            vec!["--gateway", "127.0.0.1:1", "--token", &own],
            1,
            "does not answer at https://127.0.0.1:1",
        ),
        (
            vec!["--gateway", "http://x", "--token", &own],
            2,
            "expected https://",
        ),
        (
            vec!["--gateway", &url, "--token", "zkt1.x.y"],
            2,
            "not an enrollment token",
        ),
        (vec!["--gateway", &url], 2, "needs --token"),
    ];
    for (args, code, words) in cases {
        let data = folder.path().to_owned();
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        tokio::task::spawn_blocking(move || {
            let mut command = zkinfer();
            command
                .args(["node", "join"])
                .args(args)
                .arg("--data")
                .arg(data);
            server::fails(&mut command, code, words);
        })
        .await
        .unwrap();
    }
    assert!(!folder.path().join("node.json").exists());
    let data = folder.path().to_owned();
    tokio::task::spawn_blocking(move || {
        server::fails(
            zkinfer().args(["node", "run", "--data"]).arg(data),
            2,
            "belongs to no node yet",
        );
    })
    .await
    .unwrap();
}
