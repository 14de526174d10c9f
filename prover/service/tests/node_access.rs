//! How nodes are let in, and what strangers and liars get at their listener.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod door;
mod fake;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use door::{Door, reason, seconds};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tokio_stream::{StreamExt as _, iter, wrappers::TcpListenerStream};
use tonic::{
    Code, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Identity, Server, ServerTlsConfig},
};
use zkinfer_service::{
    api::proto::{self, commit_proof_request::Message, prover_nodes_client::ProverNodesClient},
    auth::EnrollToken,
    config::ListenerTls,
    store::Digest,
};

type Client = ProverNodesClient<Channel>;

/// A server with a listener for nodes.
async fn open() -> Door {
    Door::open(|config| config.node_listen = Some("127.0.0.1:0".parse().unwrap())).await
}

fn authority(door: &Door) -> String {
    std::fs::read_to_string(door.data.path().join("data/ca/ca.crt")).unwrap()
}

async fn connect(
    door: &Door,
    identity: Option<Identity>,
) -> Result<Client, tonic::transport::Error> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority(door)))
        .domain_name("gateway.zkinfer.internal");
    if let Some(identity) = identity {
        tls = tls.identity(identity);
    }
    let address = format!("https://{}", door.running.node_address.unwrap());
    let endpoint = Channel::from_shared(address).unwrap().tls_config(tls)?;
    Ok(ProverNodesClient::new(endpoint.connect().await?))
}

async fn token(door: &Door, ttl: i64) -> String {
    let request = proto::CreateEnrollTokenRequest {
        pools: vec!["gpu".into()],
        trust: proto::TrustLevel::Vetted as i32,
        ttl: seconds(ttl),
    };
    let made = door.admin().await.admin.create_enroll_token(request).await;
    made.unwrap().into_inner().token
}

fn request(key: &KeyPair) -> Vec<u8> {
    let csr = CertificateParams::default().serialize_request(key).unwrap();
    csr.der().to_vec()
}

fn enroll(token: &str, csr_der: Vec<u8>) -> proto::EnrollRequest {
    proto::EnrollRequest {
        token: token.into(),
        csr_der,
        node_name: "worker".into(),
    }
}

/// A node that joined.
struct Joined {
    name: String,
    key: KeyPair,
    certificate: String,
    client: Client,
}

impl Joined {
    fn identity(&self) -> Identity {
        Identity::from_pem(&self.certificate, self.key.serialize_pem())
    }
}

async fn join(door: &Door) -> Joined {
    let key = KeyPair::generate().unwrap();
    let mut stranger = connect(door, None).await.unwrap();
    let request = enroll(&token(door, 60).await, request(&key));
    let given = stranger.enroll(request).await.unwrap().into_inner();
    let certificate = String::from_utf8(given.certificate_chain_pem).unwrap();
    let identity = Identity::from_pem(&certificate, key.serialize_pem());
    Joined {
        name: given.node,
        client: connect(door, Some(identity)).await.unwrap(),
        key,
        certificate,
    }
}

fn hello(version: &str) -> proto::OpenSessionRequest {
    proto::OpenSessionRequest {
        node_name: "worker".into(),
        version: version.into(),
        capabilities: Some(proto::Capabilities {
            slots: 1,
            ..Default::default()
        }),
        resume: Vec::new(),
    }
}

async fn session(client: &mut Client) -> Result<u64, Status> {
    let opened = client
        .open_session(hello(env!("CARGO_PKG_VERSION")))
        .await?;
    Ok(opened.into_inner().session_epoch)
}

async fn set_state(door: &Door, name: &str, state: proto::node::State) -> proto::Node {
    let node = proto::Node {
        name: name.into(),
        state: state as i32,
        ..Default::default()
    };
    let request = proto::UpdateNodeRequest {
        node: Some(node),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["state".into()],
        }),
    };
    let changed = door.admin().await.admin.update_node(request).await;
    changed.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_one_node_in_with_what_it_grants() {
    let door = open().await;
    let mut node = join(&door).await;
    assert!(session(&mut node.client).await.unwrap() > 0);
    let list = proto::ListNodesRequest::default();
    let nodes = door.admin().await.admin.list_nodes(list).await.unwrap();
    let nodes = nodes.into_inner().nodes;
    let known = nodes.iter().find(|n| n.name == node.name).unwrap();
    assert_eq!(known.trust(), proto::TrustLevel::Vetted);
    assert_eq!(
        (known.display_name.as_str(), &known.pools[..]),
        ("worker", &["gpu".to_owned()][..])
    );
    assert_eq!(known.state(), proto::node::State::Active);
    assert_eq!(known.version, env!("CARGO_PKG_VERSION"));
}

#[tokio::test(flavor = "multi_thread")]
async fn used_late_foreign_and_garbled_tokens_are_refused_alike() {
    let (door, other) = (open().await, open().await);
    let key = KeyPair::generate().unwrap();
    let mut client = connect(&door, None).await.unwrap();
    let used = token(&door, 60).await;
    let (late, good) = (token(&door, 1).await, token(&door, 60).await);
    // What is wrong with the request does not use the token up.
    let broken = client
        .enroll(enroll(&used, vec![1, 2, 3]))
        .await
        .unwrap_err();
    assert_eq!(broken.code(), Code::InvalidArgument);
    client.enroll(enroll(&used, request(&key))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let made_up = {
        let real: EnrollToken = good.parse().unwrap();
        EnrollToken::fresh(real.authority()).expose().to_string()
    };
    let mut messages = std::collections::HashSet::new();
    for bad in [
        used,
        late,
        made_up,
        token(&other, 60).await,
        good.replacen("zkt1.", "zkt1.A", 1),
        "zkt1".into(),
        String::new(),
        door.admin_key.clone(),
    ] {
        let status = client
            .enroll(enroll(&bad, request(&key)))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{bad}");
        assert_eq!(reason(&status), "TOKEN_REFUSED");
        messages.insert(status.message().to_owned());
        // Faster than the bound on strangers would pass.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(messages.len(), 1);
    client.enroll(enroll(&good, request(&key))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_with_one_token_are_one_node() {
    let door = open().await;
    let shared = token(&door, 60).await;
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut client = connect(&door, None).await.unwrap();
        let message = enroll(&shared, request(&KeyPair::generate().unwrap()));
        tries.spawn(async move { client.enroll(message).await.is_ok() });
    }
    let let_in = tries.join_all().await.into_iter().filter(|ok| *ok).count();
    assert_eq!(let_in, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_certificates_of_another_authority_reach_nothing() {
    let door = Door::open(|config| {
        config.node_listen = Some("127.0.0.1:0".parse().unwrap());
        config.access.tls = ListenerTls::SelfSigned { names: Vec::new() };
    })
    .await;
    let mut stranger = connect(&door, None).await.unwrap();
    assert_eq!(
        session(&mut stranger).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    let acquire = proto::AcquireLeasesRequest::default();
    let beat = proto::HeartbeatRequest::default();
    let fail = proto::FailAttemptRequest::default();
    let close = proto::CloseSessionRequest::default();
    let fetch = proto::FetchRequest::default();
    let commit = iter(Vec::<proto::CommitProofRequest>::new());
    for status in [
        stranger.acquire_leases(acquire).await.unwrap_err(),
        stranger.heartbeat(beat).await.unwrap_err(),
        stranger.fail_attempt(fail).await.unwrap_err(),
        stranger.close_session(close).await.unwrap_err(),
        stranger.fetch(fetch).await.unwrap_err(),
        stranger.commit_proof(commit).await.unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    }
    // A node of another gateway, and a certificate that calls itself the authority's.
    let other = open().await;
    let foreign = join(&other).await.identity();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = params.self_signed(&key).unwrap();
    for identity in [foreign, Identity::from_pem(own.pem(), key.serialize_pem())] {
        let met = match connect(&door, Some(identity)).await {
            // TLS 1.3 tells the client after its own part is done.
            Ok(mut client) => session(&mut client).await.is_ok(),
            Err(_) => false,
        };
        assert!(!met);
    }
    // The listener of clients gives nothing for a node's certificate, nor this one for a key.
    let list = proto::ListJobsRequest::default;
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority(&door)))
        .identity(join(&door).await.identity());
    let clients = format!("https://{}", door.running.address);
    let clients = Channel::from_shared(clients).unwrap();
    let clients = clients.tls_config(tls).unwrap().connect().await.unwrap();
    let refused = proto::jobs_client::JobsClient::new(clients.clone())
        .list_jobs(list())
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    let refused = session(&mut ProverNodesClient::new(clients)).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    let mut jobs = proto::jobs_client::JobsClient::new(stranger_channel(&door).await);
    let key = format!("Bearer {}", door.admin_key).parse().unwrap();
    let mut keyed = tonic::Request::new(list());
    keyed.metadata_mut().insert("authorization", key);
    let refused = jobs.list_jobs(keyed).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
}

async fn stranger_channel(door: &Door) -> Channel {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority(door)))
        .domain_name("gateway.zkinfer.internal");
    let address = format!("https://{}", door.running.node_address.unwrap());
    let endpoint = Channel::from_shared(address)
        .unwrap()
        .tls_config(tls)
        .unwrap();
    endpoint.connect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantined_node_is_refused_until_it_is_activated() {
    let door = open().await;
    let mut node = join(&door).await;
    session(&mut node.client).await.unwrap();
    set_state(&door, &node.name, proto::node::State::Quarantined).await;
    let refused = session(&mut node.client).await.unwrap_err();
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::PermissionDenied, "QUARANTINED")
    );
    let renewal = enroll("", request(&node.key));
    let refused = node.client.enroll(renewal).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    set_state(&door, &node.name, proto::node::State::Active).await;
    session(&mut node.client).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_for_its_own_key_only() {
    let door = open().await;
    let mut node = join(&door).await;
    let renewal = enroll("", request(&node.key));
    let given = node.client.enroll(renewal).await.unwrap().into_inner();
    assert_eq!(given.node, node.name);
    let certificate = String::from_utf8(given.certificate_chain_pem).unwrap();
    assert_ne!(certificate, node.certificate);
    let identity = Identity::from_pem(&certificate, node.key.serialize_pem());
    let mut renewed = connect(&door, Some(identity)).await.unwrap();
    session(&mut renewed).await.unwrap();
    // The one before goes on to its end.
    session(&mut node.client).await.unwrap();
    let other = enroll("", request(&KeyPair::generate().unwrap()));
    let refused = node.client.enroll(other).await.unwrap_err();
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::InvalidArgument, "OTHER_KEY")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_a_node_cannot_stand_for_the_gateway() {
    let door = open().await;
    let node = join(&door).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = ServerTlsConfig::new().identity(node.identity());
    let (_, health) = tonic_health::server::health_reporter();
    let server = Server::builder()
        .tls_config(tls)
        .unwrap()
        .add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    for name in ["gateway.zkinfer.internal", &node.name["nodes/".len()..]] {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(authority(&door)))
            .domain_name(name);
        let endpoint = Channel::from_shared(format!("https://{address}")).unwrap();
        assert!(
            endpoint.tls_config(tls).unwrap().connect().await.is_err(),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f33_a_node_of_another_version_is_refused_with_a_sentence() {
    let door = open().await;
    let mut node = join(&door).await;
    for version in ["0.0.1", "99.0.0", "", "nonsense"] {
        let refused = node.client.open_session(hello(version)).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{version}");
        assert_eq!(reason(&refused), "NODE_VERSION");
        assert!(refused.message().contains("update the older one"));
    }
    session(&mut node.client).await.unwrap();
}

fn header(size: u64, bytes: &[u8]) -> proto::CommitProofRequest {
    let sha = |bytes: &[u8]| {
        Some(proto::Digest {
            sha256: Digest::of(bytes).0.to_vec(),
        })
    };
    let header = proto::CommitHeader {
        session_epoch: 1,
        job: "jobs/0190a5b4-7d6e-7000-8000-000000000000".into(),
        epoch: 1,
        proof_digest: sha(bytes),
        proof_size: size,
        vk_digest: sha(b"key"),
        ..Default::default()
    };
    proto::CommitProofRequest {
        message: Some(Message::Header(header)),
    }
}

fn chunk(bytes: Vec<u8>) -> proto::CommitProofRequest {
    proto::CommitProofRequest {
        message: Some(Message::Chunk(bytes)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_without_end_is_cut_off_before_it_is_held() {
    let door = open().await;
    let mut node = join(&door).await;
    session(&mut node.client).await.unwrap();
    let begun = Instant::now();
    // A gigabyte that is announced is not waited for.
    let announced = iter([header(1 << 30, b"")]).chain(tokio_stream::pending());
    let status = node.client.commit_proof(announced).await.unwrap_err();
    assert_eq!(
        reason(&status),
        "REFUSED",
        "the attempt was never its own: {status:?}"
    );
    // Nor one that is not announced: the stream ends with the first byte too many.
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = sent.clone();
    let flood = (0..1024).map(move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        chunk(vec![7; 1 << 20])
    });
    let flood = iter(std::iter::once(header(1000, b"")).chain(flood));
    let status = node.client.commit_proof(flood).await.unwrap_err();
    assert!(
        [
            Code::InvalidArgument,
            Code::Unknown,
            Code::Internal,
            Code::Cancelled
        ]
        .contains(&status.code()),
        "{status:?}"
    );
    assert!(sent.load(std::sync::atomic::Ordering::Relaxed) < 200);
    assert!(begun.elapsed() < Duration::from_secs(8));
    let wrong = [
        vec![],
        vec![chunk(vec![1])],
        vec![header(2, b"ab"), chunk(b"a".to_vec())],
        vec![header(2, b"ab"), chunk(b"cd".to_vec())],
        vec![header(2, b"ab"), header(2, b"ab")],
    ];
    for messages in wrong {
        let status = node.client.commit_proof(iter(messages)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_of_a_megabyte_is_refused_before_it_is_decoded() {
    let door = open().await;
    let mut node = join(&door).await;
    let session_epoch = session(&mut node.client).await.unwrap();
    // Two bytes each.
    let beat = |count: usize| proto::HeartbeatRequest {
        session_epoch,
        attempts: vec![proto::AttemptStatus::default(); count],
        ..Default::default()
    };
    let refused = node.client.heartbeat(beat(1 << 19)).await.unwrap_err();
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::OutOfRange, "TOO_LARGE")
    );
    let refused = node.client.heartbeat(beat(1 << 17)).await.unwrap_err();
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::InvalidArgument, "TOO_MANY")
    );
    session(&mut node.client).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_drips_is_given_up() {
    let door = open().await;
    let mut node = join(&door).await;
    session(&mut node.client).await.unwrap();
    let begun = Instant::now();
    let silent = iter([header(1000, b""), chunk(vec![1])]).chain(tokio_stream::pending());
    let status = node.client.commit_proof(silent).await.unwrap_err();
    assert_eq!(
        (status.code(), &*reason(&status)),
        (Code::DeadlineExceeded, "TOO_SLOW")
    );
    assert!((9..20).contains(&begun.elapsed().as_secs()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_floods_is_slowed_down_and_others_are_not() {
    let door = open().await;
    let (flood, mut calm) = (join(&door).await, join(&door).await);
    let session_epoch = session(&mut calm.client).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (mut client, stop) = (flood.client.clone(), stop.clone());
        calls.spawn(async move {
            let mut refused = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let beat = proto::HeartbeatRequest::default();
                refused.extend(client.heartbeat(beat).await.err());
            }
            refused
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    for _ in 0..20 {
        let beat = proto::HeartbeatRequest {
            session_epoch,
            ..Default::default()
        };
        let answer = tokio::time::timeout(Duration::from_secs(2), calm.client.heartbeat(beat));
        let answer = answer.await.expect("it waits for nobody").unwrap();
        assert!(!answer.into_inner().session_stale);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let refused = calls.join_all().await.concat();
    assert!(refused.len() > 100, "{}", refused.len());
    for status in refused {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    }
}
