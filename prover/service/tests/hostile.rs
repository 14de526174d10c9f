//! A prover node that lies and a tenant that pries: neither gets anything, and the gateway's memory stays bounded.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod farm_kit;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use farm_kit::{Gateway, Node, QUICK, input, is, is_over, job, request, until};
use tokio_stream::{StreamExt as _, iter};
use tonic::{
    Code, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use zkinfer_service::{
    api::proto::{
        self, Digest, FailureClass, commit_proof_request::Message, commit_proof_response::Outcome,
        job::State, prover_nodes_client::ProverNodesClient,
    },
    store,
    work::{LocalWork, Unwatched, Work as _},
};

const SOON: Duration = Duration::from_secs(60);

/// A node of its own making, with a certificate that the gateway gave it.
#[derive(Clone)]
struct Raw {
    client: ProverNodesClient<Channel>,
    session: u64,
    answer: proto::OpenSessionResponse,
}

fn token_parts(token: &str) -> (String, Vec<u8>) {
    use base64::Engine as _;
    let mut parts = token.split('.');
    assert_eq!(parts.next(), Some("zkt1"));
    let _secret = parts.next().unwrap();
    let authority = parts.next().unwrap();
    let der = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(authority)
        .unwrap();
    (token.to_owned(), der)
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}

fn tls(authority: &str) -> ClientTlsConfig {
    ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority))
        .domain_name("gateway.zkinfer.internal")
}

async fn connect(gateway: &Gateway, tls: ClientTlsConfig) -> ProverNodesClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("https://{}", gateway.nodes)).unwrap();
    let channel = endpoint.tls_config(tls).unwrap().connect().await.unwrap();
    ProverNodesClient::new(channel)
}

impl Raw {
    async fn enroll(gateway: &Gateway, trust: &str) -> ProverNodesClient<Channel> {
        let (token, authority) = token_parts(&gateway.token(trust));
        let authority = pem(&authority);
        let key = rcgen::KeyPair::generate().unwrap();
        let csr = rcgen::CertificateParams::default()
            .serialize_request(&key)
            .unwrap();
        let mut client = connect(gateway, tls(&authority)).await;
        let request = proto::EnrollRequest {
            token,
            csr_der: csr.der().to_vec(),
            node_name: "liar".into(),
        };
        let enrolled = client.enroll(request).await.unwrap().into_inner();
        let identity = Identity::from_pem(&enrolled.certificate_chain_pem, key.serialize_pem());
        connect(gateway, tls(&authority).identity(identity)).await
    }

    async fn open(mut client: ProverNodesClient<Channel>, version: &str) -> Result<Self, Status> {
        let request = proto::OpenSessionRequest {
            node_name: "liar".into(),
            version: version.into(),
            capabilities: Some(proto::Capabilities {
                backends: [
                    proto::Backend::Groth16Bn254,
                    proto::Backend::UltragrothBn254,
                    proto::Backend::Halo2KzgBn254,
                ]
                .map(|backend| proto::BackendSupport {
                    backend: backend.into(),
                    versions: vec![],
                })
                .to_vec(),
                total: Some(Self::plenty()),
                slots: 2,
                ..Default::default()
            }),
            resume: vec![],
        };
        let answer = client.open_session(request).await?.into_inner();
        Ok(Self {
            client,
            session: answer.session_epoch,
            answer,
        })
    }

    async fn join(gateway: &Gateway) -> Self {
        let client = Self::enroll(gateway, "owned").await;
        Self::open(client, env!("CARGO_PKG_VERSION")).await.unwrap()
    }

    fn plenty() -> proto::Resources {
        proto::Resources {
            ram_bytes: 1 << 40,
            disk_bytes: 1 << 40,
            cpu_threads: 64,
            ..Default::default()
        }
    }

    async fn acquire(&mut self, leases: u32, wait: u64) -> Result<Vec<proto::Lease>, Status> {
        let request = proto::AcquireLeasesRequest {
            session_epoch: self.session,
            max_leases: leases,
            wait: Some(prost_types::Duration {
                seconds: wait.try_into().unwrap(),
                nanos: 0,
            }),
            free: Some(Self::plenty()),
            keys: vec![],
        };
        Ok(self
            .client
            .acquire_leases(request)
            .await?
            .into_inner()
            .leases)
    }

    /// The next lease, however long it takes.
    async fn lease(&mut self) -> proto::Lease {
        let until = Instant::now() + SOON;
        loop {
            if let Some(lease) = self.acquire(1, 2).await.unwrap().pop() {
                return lease;
            }
            assert!(Instant::now() < until, "no lease");
        }
    }

    async fn beat(&mut self, lease: &proto::Lease) -> proto::HeartbeatResponse {
        let request = proto::HeartbeatRequest {
            session_epoch: self.session,
            attempts: vec![proto::AttemptStatus {
                job: lease.job.clone(),
                epoch: lease.epoch,
                phase: proto::Phase::Prove.into(),
                progress: 0.5,
                ..Default::default()
            }],
            free: Some(Self::plenty()),
            ..Default::default()
        };
        self.client.heartbeat(request).await.unwrap().into_inner()
    }

    fn header(&self, lease: &proto::Lease, proof: &[u8], publics: &[u8]) -> proto::CommitHeader {
        proto::CommitHeader {
            session_epoch: self.session,
            job: lease.job.clone(),
            epoch: lease.epoch,
            proof_digest: Some(Digest {
                sha256: store::Digest::of(proof).0.to_vec(),
            }),
            proof_size: proof.len() as u64,
            public_values: publics.to_vec(),
            vk_digest: Some(Digest {
                sha256: lease.vk_digest.clone(),
            }),
            ..Default::default()
        }
    }

    async fn commit(
        &mut self,
        lease: &proto::Lease,
        proof: &[u8],
        publics: &[u8],
    ) -> Result<Outcome, Status> {
        let header = self.header(lease, proof, publics);
        let messages = vec![
            proto::CommitProofRequest {
                message: Some(Message::Header(header)),
            },
            proto::CommitProofRequest {
                message: Some(Message::Chunk(proof.to_vec())),
            },
        ];
        let answer = self.client.commit_proof(iter(messages)).await?;
        Ok(answer.into_inner().outcome())
    }
}

/// A proof that holds, made with the gateway's own bundle, for the quantized form of `input`.
fn honest(gateway: &Gateway, circuit: &str, input: &[u8], context: [u8; 32]) -> (Vec<u8>, Vec<u8>) {
    let id = circuit.strip_prefix("circuits/").unwrap();
    let bundle = gateway.data.join("circuits").join(id);
    let work = LocalWork::in_process();
    let quantized = work.gate(&bundle).unwrap().quantize(input).unwrap();
    let prover = work.prepare(&bundle, &Unwatched).unwrap();
    let parts = prover.prove(&quantized, context, &Unwatched).unwrap();
    (parts.proof, parts.public_values)
}

fn rss_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn f18_no_lie_of_a_node_is_released_and_two_put_it_in_quarantine() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = gateway.circuit("digits-mlp", &[]);
    let mut client = gateway.jobs().await;
    let honest_proof = honest(&gateway, &circuit, &input("digits-mlp", 0), [0; 32]);
    let other_proof = honest(&gateway, &circuit, &input("digits-mlp", 1), [0; 32]);
    let mut own_context = [0; 32];
    own_context[31] = 9;
    let other_context = honest(&gateway, &circuit, &input("digits-mlp", 0), own_context);
    let mut wrong_output = honest_proof.clone();
    *wrong_output.1.last_mut().unwrap() ^= 1;
    let mut random = honest_proof.clone();
    random.0 = (0..random.0.len()).map(|i| (i * 7 + 3) as u8).collect();
    let lies = [
        ("random bytes", random),
        ("another job's proof and publics", other_proof.clone()),
        (
            "another job's proof, own publics",
            (other_proof.0, honest_proof.1.clone()),
        ),
        ("right proof, wrong publics", wrong_output),
        ("right proof, another context", other_context),
        ("no proof", (vec![], honest_proof.1.clone())),
        ("no publics", (honest_proof.0.clone(), vec![])),
    ];
    // Jobs alike, one for each lie: none goes again to a node that lied about it.
    let mut names = BTreeSet::new();
    for _ in &lies {
        let mut wanted = request(&circuit, input("digits-mlp", 0));
        wanted.allow_cached = Some(false);
        wanted.max_attempts = 20;
        names.insert(client.create_job(wanted).await.unwrap().into_inner().name);
    }
    assert_eq!(names.len(), lies.len());
    for pair in lies.chunks(2) {
        // Two lies a node: then it is in quarantine.
        let mut liar = Raw::join(&gateway).await;
        for (what, (proof, publics)) in pair {
            let lease = liar.lease().await;
            assert!(names.contains(&lease.job), "{what}");
            let told = liar.commit(&lease, proof, publics).await;
            assert!(matches!(told, Ok(Outcome::Invalid)), "{what}: {told:?}");
            let seen = job(&mut client, &lease.job).await;
            assert!(!is_over(&seen), "{what}: {seen:#?}");
            let told = failures(&seen).last().cloned();
            assert_eq!(told, Some(FailureClass::ProofInvalid), "{what}: {seen:#?}");
            let get = proto::GetProofRequest {
                job: lease.job.clone(),
                ..Default::default()
            };
            let refused = client.get_proof(get).await.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition, "{what}");
        }
        let asked = liar.acquire(1, 0).await;
        let refused = asked.is_err_and(|s| s.code() == Code::PermissionDenied);
        assert_eq!(refused, pair.len() == 2);
    }
    let _honest = Node::join(&gateway, "honest", folder.path(), &[]);
    let mut invalid = 0;
    for name in &names {
        let ended = until(&mut client, name, SOON, is_over).await;
        assert_eq!(ended.state(), State::Succeeded, "{ended:#?}");
        farm_kit::proof(&gateway, &ended).await;
        let failed = failures(&ended).into_iter();
        invalid += failed.filter(|f| *f == FailureClass::ProofInvalid).count();
    }
    assert_eq!(invalid, lies.len());
}

fn failures(job: &proto::Job) -> Vec<FailureClass> {
    let ended = job.history.iter().filter_map(|a| a.failure.as_ref());
    ended.map(proto::Failure::class).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn f18_a_hidden_input_is_not_replaced_by_one_of_the_nodes_choice() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = gateway.circuit("digits-mlp", &["--input", "private"]);
    let mut client = gateway.jobs().await;
    let mut node = Raw::join(&gateway).await;
    let inputs = [input("digits-mlp", 0), input("digits-mlp", 400)];
    let [own, other] = [0, 1].map(|n| honest(&gateway, &circuit, &inputs[n], [0; 32]));
    assert_ne!(own.1, other.1, "the outputs differ");
    for (n, right) in [(0, false), (0, true)] {
        let mut wanted = request(&circuit, inputs[n].clone());
        wanted.allow_cached = Some(false);
        let name = client.create_job(wanted).await.unwrap().into_inner().name;
        let lease = node.lease().await;
        assert_eq!(lease.job, name);
        let (proof, publics) = if right { &own } else { &other };
        let told = node.commit(&lease, proof, publics).await.unwrap();
        let wanted = if right {
            Outcome::Accepted
        } else {
            Outcome::Invalid
        };
        assert_eq!(told, wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f18_huge_and_slow_proofs_cost_the_gateway_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = gateway.circuit("digits-mlp", &[]);
    let mut client = gateway.jobs().await;
    let mut liar = Raw::join(&gateway).await;
    let wanted = request(&circuit, input("digits-mlp", 0));
    let name = client.create_job(wanted).await.unwrap().into_inner().name;
    let lease = liar.lease().await;
    let before = rss_kib(gateway.pid());
    // A gigabyte announced, and a gigabyte sent after a small announcement.
    for announced in [1u64 << 30, 320] {
        let mut header = liar.header(&lease, &[], &[0; 32]);
        header.proof_size = announced;
        let chunk = Arc::new(vec![7u8; 1 << 20]);
        let first = proto::CommitProofRequest {
            message: Some(Message::Header(header)),
        };
        let rest = iter(0..1024).map(move |_| proto::CommitProofRequest {
            message: Some(Message::Chunk(chunk.to_vec())),
        });
        let answer = liar.client.commit_proof(iter([first]).chain(rest)).await;
        assert!(
            answer
                .as_ref()
                .map_or(true, |a| a.get_ref().outcome() == Outcome::Invalid),
            "{answer:?}"
        );
    }
    let grown = rss_kib(gateway.pid()).saturating_sub(before);
    println!("the gateway grew by {grown} KiB");
    assert!(grown < 64 << 10, "{grown} KiB");
    // A byte a second, and then nothing: the call ends, not the gateway's patience with others.
    let mut slow = liar.clone();
    let header = slow.header(&lease, &[0; 320], &[0; 32]);
    let drip = iter([proto::CommitProofRequest {
        message: Some(Message::Header(header)),
    }])
    .chain(tokio_stream::pending());
    let begun = Instant::now();
    let answer =
        tokio::time::timeout(Duration::from_secs(90), slow.client.commit_proof(drip)).await;
    println!(
        "the slow one was cut after {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    assert!(matches!(answer, Ok(Err(_))), "{answer:?}");
    // It never finishes either: its lease ends, and another node proves.
    let _honest = Node::join(&gateway, "honest", folder.path(), &[]);
    let ended = until(&mut client, &name, SOON, is_over).await;
    assert_eq!(ended.state(), State::Succeeded, "{ended:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f19_a_flood_of_requests_for_leases_gets_its_slots_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = gateway.circuit("digits-mlp", &[]);
    let mut client = gateway.jobs().await;
    for n in 0..20 {
        client
            .create_job(request(&circuit, input("digits-mlp", n)))
            .await
            .unwrap();
    }
    let flooder = Raw::join(&gateway).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let mut raw = flooder.clone();
        calls.spawn(async move { raw.acquire(1000, 0).await });
    }
    let honest = Node::join(&gateway, "honest", folder.path(), &["--slots", "2"]);
    let mut leased = std::collections::BTreeSet::new();
    let mut refused = 0;
    while let Some(answer) = calls.join_next().await {
        match answer.unwrap() {
            Ok(leases) => leased.extend(leases.into_iter().map(|l| l.job)),
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                refused += 1;
            }
        }
    }
    println!("{} leases, {refused} calls refused", leased.len());
    assert!((1..=2).contains(&leased.len()), "{leased:?}");
    // The others' work goes on.
    let request = proto::ListJobsRequest {
        page_size: 500,
        states: vec![State::Succeeded.into()],
        circuit: circuit.clone(),
        ..Default::default()
    };
    let end = Instant::now() + SOON;
    loop {
        let done = client
            .list_jobs(request.clone())
            .await
            .unwrap()
            .into_inner();
        let proofs = done
            .jobs
            .iter()
            .filter(|j| j.kind() == proto::job::Kind::Prove);
        if proofs.count() >= 18 {
            break;
        }
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(honest);
}

#[tokio::test(flavor = "multi_thread")]
async fn f33_a_node_of_another_version_works_or_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let own = env!("CARGO_PKG_VERSION");
    let (major_minor, patch) = own.rsplit_once('.').unwrap();
    let patch: u64 = patch.parse().unwrap();
    let (major, minor) = major_minor.split_once('.').unwrap();
    let minor: u64 = minor.parse().unwrap();
    let near = format!("{major_minor}.{}", patch + 1);
    let versions = [
        (near, true),
        (format!("{major}.{}.0", minor + 1), false),
        (format!("{major}.{}.0", minor.wrapping_sub(1) % 1000), false),
        ("99.0.0".to_owned(), false),
        (String::new(), false),
        ("x".repeat(100_000), false),
    ];
    for (version, works) in versions {
        let client = Raw::enroll(&gateway, "owned").await;
        let shown = version.get(..20).unwrap_or(&version).to_owned();
        match Raw::open(client, &version).await {
            Ok(raw) => {
                assert!(works, "{shown}");
                assert!(raw.answer.max_proof_bytes > 0);
            }
            Err(status) => {
                assert!(!works, "{shown}: {status}");
                assert!(
                    matches!(
                        status.code(),
                        Code::FailedPrecondition | Code::InvalidArgument
                    ),
                    "{shown}: {status}"
                );
                assert!(status.message().contains(own), "{shown}: {status}");
                assert!(status.message().len() < 2048);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f38_a_megabyte_of_error_reaches_the_client_as_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = gateway.circuit("digits-mlp", &[]);
    let mut client = gateway.jobs().await;
    let mut raw = Raw::join(&gateway).await;
    let mut wanted = request(&circuit, input("digits-mlp", 0));
    wanted.max_attempts = 1;
    let name = client.create_job(wanted).await.unwrap().into_inner().name;
    let lease = raw.lease().await;
    let failed = proto::FailAttemptRequest {
        session_epoch: raw.session,
        job: lease.job.clone(),
        epoch: lease.epoch,
        failure: Some(proto::Failure {
            class: FailureClass::Internal.into(),
            code: "C".repeat(1 << 20),
            message: "é".repeat(1 << 20),
            attempt: 7,
        }),
    };
    let told = raw.client.fail_attempt(failed).await.unwrap().into_inner();
    assert!(!told.stale);
    let ended = until(&mut client, &name, SOON, is_over).await;
    assert_eq!(ended.state(), State::Dead, "{ended:#?}");
    let failure = ended.failure.unwrap();
    assert!(failure.message.len() <= 1024 && failure.message.ends_with('…'));
    assert!(failure.code.len() <= 64, "{}", failure.code.len());
    let get = proto::GetProofRequest {
        job: name.clone(),
        ..Default::default()
    };
    let refused = client.get_proof(get).await.unwrap_err();
    assert!(refused.message().len() <= 2048);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_can_touch_nothing_but_its_own_leases() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = gateway.circuit("digits-mlp", &[]);
    let hidden = gateway.circuit("digits-cnn", &[]);
    let mut client = gateway.jobs().await;
    let (mut owner, mut thief) = (Raw::join(&gateway).await, Raw::join(&gateway).await);
    let name = client
        .create_job(request(&circuit, input("digits-mlp", 0)))
        .await
        .unwrap()
        .into_inner()
        .name;
    let lease = owner.lease().await;
    owner.beat(&lease).await;
    let running = until(&mut client, &name, SOON, is(State::Running)).await;
    // Another node's attempt: no failure, no heartbeat, no proof, no files.
    let failed = proto::FailAttemptRequest {
        session_epoch: thief.session,
        job: lease.job.clone(),
        epoch: lease.epoch,
        failure: Some(proto::Failure {
            class: FailureClass::InvalidRequest.into(),
            ..Default::default()
        }),
    };
    let told = thief.client.fail_attempt(failed).await;
    assert!(told.map_or(true, |t| t.into_inner().stale));
    let told = thief.beat(&lease).await;
    assert_eq!(told.cancel.len(), 1);
    let (proof, publics) = honest(&gateway, &circuit, &input("digits-mlp", 0), [0; 32]);
    let told = thief.commit(&lease, &proof, &publics).await;
    assert!(told.is_err(), "{told:?}");
    let fetch =
        |raw: &Raw, circuit: &str, file: &proto::FetchFile, job: &str| proto::FetchRequest {
            session_epoch: raw.session,
            circuit: circuit.into(),
            job: job.into(),
            digest: file.digest.clone(),
            offset: 0,
        };
    for file in &lease.fetch {
        let job = if file.name.is_empty() { &lease.job } else { "" };
        let own = owner.client.fetch(fetch(&owner, &circuit, file, job)).await;
        assert!(own.is_ok(), "{}: {own:?}", file.name);
        let stolen = thief.client.fetch(fetch(&thief, &circuit, file, job)).await;
        let code = stolen.err().map(|s| s.code());
        assert!(
            matches!(code, Some(Code::NotFound | Code::PermissionDenied)),
            "{}: {code:?}",
            file.name
        );
    }
    // Files that no lease names, and names that are no circuits.
    let key = gateway
        .data
        .join("circuits")
        .join(hidden.strip_prefix("circuits/").unwrap())
        .join("proving.key");
    let secret = proto::FetchFile {
        digest: Some(Digest {
            sha256: store::Digest::of(&std::fs::read(key).unwrap()).0.to_vec(),
        }),
        ..Default::default()
    };
    for circuit in [hidden.as_str(), circuit.as_str(), "circuits/../../kek", ""] {
        let stolen = owner
            .client
            .fetch(fetch(&owner, circuit, &secret, ""))
            .await;
        assert!(stolen.is_err(), "{circuit}");
    }
    // The past session is over once a new one begins.
    let again = Raw::open(owner.client.clone(), env!("CARGO_PKG_VERSION"))
        .await
        .unwrap();
    assert!(again.session > owner.session);
    assert!(owner.beat(&lease).await.session_stale);
    assert!(owner.acquire(1, 0).await.is_err());
    assert_eq!(running.history.len(), 1);
}
