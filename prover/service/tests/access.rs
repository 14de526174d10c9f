//! Who may call: keys, tokens, scopes, tenants, rates.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod door;
mod fake;

use std::{
    io::Write,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use door::{Caller, Door, reason, seconds};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;
use tonic::{
    Code, Request, Status,
    codegen::http::uri::PathAndQuery,
    transport::{Certificate, Channel, ClientTlsConfig},
};
use tonic_types::StatusExt as _;
use zkinfer_service::{
    api::{
        proto::{self, create_job_request::Input},
        server,
    },
    config::{JwtConfig, ListenerTls, ServeConfig},
    store::{ArtifactKind, Digest},
};

const METHODS: [(&str, &[&str]); 4] = [
    (
        "submit",
        &[
            "Artifacts/FindMissing",
            "Artifacts/StartUpload",
            "Artifacts/WriteArtifact",
            "Artifacts/GetUpload",
            "Artifacts/FinishUpload",
            "Circuits/CreateCircuit",
            "Jobs/CreateJob",
            "Jobs/CancelJob",
        ],
    ),
    (
        "read",
        &[
            "Artifacts/ReadArtifact",
            "Artifacts/GetArtifact",
            "Circuits/GetCircuit",
            "Circuits/ListCircuits",
            "Circuits/GetVerifier",
            "Jobs/GetJob",
            "Jobs/ListJobs",
            "Jobs/WaitJob",
            "Jobs/WatchJobs",
            "Jobs/GetProof",
        ],
    ),
    ("verify", &["Jobs/VerifyProof"]),
    (
        "admin",
        &[
            "Admin/CreateTenant",
            "Admin/UpdateTenant",
            "Admin/ListTenants",
            "Admin/CreateApiKey",
            "Admin/ListApiKeys",
            "Admin/RevokeApiKey",
            "Admin/CreateEnrollToken",
            "Admin/ListNodes",
            "Admin/UpdateNode",
            "Admin/GetClusterStats",
            "Admin/ExplainJob",
        ],
    ),
];

/// Calls a method with an empty message.
async fn call(caller: &Caller, method: &str) -> Code {
    let mut line = tonic::client::Grpc::new(caller.line.clone());
    line.ready().await.unwrap();
    let path = format!("/zkinfer.v1.{method}");
    let path = PathAndQuery::try_from(path).unwrap();
    let mut request = Request::new(());
    request.set_timeout(Duration::from_millis(500));
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    // A watch of everything answers, and then goes on.
    let answer = tokio::time::timeout(Duration::from_secs(2), line.unary(request, path, codec));
    match answer.await {
        Ok(answer) => answer.map_or_else(|status: Status| status.code(), |_| Code::Ok),
        Err(_) => Code::Ok,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_scope_opens_its_own_methods_and_no_others() {
    let door = Door::open(|_| {}).await;
    let nobody = door.says(None).await;
    for (scope, own) in METHODS {
        let (_, key) = door.key("tenants/1", &[scope]).await;
        let caller = door.with(&key).await;
        for method in own {
            let code = call(&caller, method).await;
            let closed = [
                Code::PermissionDenied,
                Code::Unauthenticated,
                Code::Unimplemented,
                Code::Internal,
            ];
            assert!(!closed.contains(&code), "{scope} {method}: {code:?}");
            assert_eq!(
                call(&nobody, method).await,
                Code::Unauthenticated,
                "{method}"
            );
        }
        for (other, methods) in METHODS.iter().filter(|(other, _)| *other != scope) {
            for method in *methods {
                let code = call(&caller, method).await;
                assert_eq!(code, Code::PermissionDenied, "{scope} {other} {method}");
            }
        }
        assert_eq!(call(&caller, "Jobs/Nothing").await, Code::Unimplemented);
        assert_eq!(
            call(&caller, "ProverNodes/Enroll").await,
            Code::Unimplemented
        );
    }
    assert_eq!(call(&nobody, "Jobs/Nothing").await, Code::Unauthenticated);
    assert!(door.make_key(key_of(&["submit", "root"])).await.is_err());
    assert!(door.make_key(key_of(&[])).await.is_err());
}

fn key_of(scopes: &[&str]) -> proto::CreateApiKeyRequest {
    proto::CreateApiKeyRequest {
        tenant: "tenants/1".into(),
        scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_live_key_is_turned_away_alike() {
    let door = Door::open(|_| {}).await;
    let (_, good) = door.key("tenants/1", &["read"]).await;
    assert!(door.with(&good).await.look().await.is_ok());
    let mut short = key_of(&["read"]);
    short.ttl = seconds(1);
    let (_, expired) = door.make_key(short).await.unwrap();
    let (name, revoked) = door.key("tenants/1", &["read"]).await;
    let request = proto::RevokeApiKeyRequest { name };
    door.admin()
        .await
        .admin
        .revoke_api_key(request)
        .await
        .unwrap();
    let other = door.tenant("other", 0.0).await;
    let (_, disabled) = door.key(&other, &["read"]).await;
    let request = proto::UpdateTenantRequest {
        tenant: Some(proto::Tenant {
            name: other,
            disabled: true,
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["disabled".into()],
        }),
    };
    door.admin()
        .await
        .admin
        .update_tenant(request)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(1200)).await;

    let last = good.chars().last().unwrap();
    let wrong = good[..good.len() - 1].to_owned() + if last == '0' { "1" } else { "0" };
    let unknown = good.replacen(&good[8..16], "AAAAAAAA", 1);
    let bad = [
        None,
        Some(String::new()),
        Some(good.clone()),
        Some(format!("Basic {good}")),
        Some("Bearer ".to_owned()),
        Some(format!("Bearer {good} {good}")),
        Some(format!("Bearer {}", "x".repeat(9000))),
        Some("Bearer eyJhbGciOiJub25lIn0.e30.".to_owned()),
        Some(format!("Bearer {wrong}")),
        Some(format!("Bearer {unknown}")),
        Some(format!("Bearer {expired}")),
        Some(format!("Bearer {revoked}")),
        Some(format!("Bearer {disabled}")),
    ];
    let mut messages = std::collections::HashSet::new();
    for credential in &bad {
        let mut caller = door.says(credential.as_deref()).await;
        let status = caller.look().await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{credential:?}");
        assert_eq!(reason(&status), "UNAUTHENTICATED");
        messages.insert(status.message().to_owned());
    }
    assert_eq!(messages.len(), 1, "{messages:?}");

    // Two credentials are none.
    let mut line = proto::jobs_client::JobsClient::new(door.channel().await);
    let mut twice = Request::new(proto::ListJobsRequest::default());
    for _ in 0..2 {
        let value = format!("Bearer {good}").parse().unwrap();
        twice.metadata_mut().append("authorization", value);
    }
    let status = line.list_jobs(twice).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

/// What reflection answers to a question for the services.
async fn described(caller: &Caller) -> Result<usize, Status> {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let mut client = ServerReflectionClient::new(caller.line.clone());
    let question = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let question = tokio_stream::iter([question]);
    let answers = client.server_reflection_info(question).await?;
    let answer = answers.into_inner().message().await?.unwrap();
    match answer.message_response {
        Some(MessageResponse::ListServicesResponse(list)) => Ok(list.service.len()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_learns_the_health_and_nothing_else_and_says_little() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let door = Door::open(|_| {}).await;
    let nobody = door.says(None).await;
    let mut health = HealthClient::new(nobody.line.clone());
    let ask = |service: String| HealthCheckRequest { service };
    assert!(health.check(ask(String::new())).await.is_ok());
    for length in [1 << 11, 1 << 20] {
        let long = ask("x".repeat(length));
        let refused = health.check(long.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
        let refused = health.watch(long).await.unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    }
    let refused = described(&nobody).await.unwrap_err();
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::Unauthenticated, "UNAUTHENTICATED")
    );
    let (_, key) = door.key("tenants/1", &["verify"]).await;
    assert!(described(&door.with(&key).await).await.unwrap() >= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn f37_a_rotated_key_loses_no_authorised_call() {
    let door = Door::open(|_| {}).await;
    let (name, first) = door.key("tenants/1", &["read"]).await;
    let current = Arc::new(Mutex::new(first.clone()));
    let (stop, calls) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut callers = Vec::new();
    for _ in 0..4 {
        let (current, stop, calls) = (current.clone(), stop.clone(), calls.clone());
        let channel = door.channel().await;
        callers.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let key = format!("Bearer {}", current.lock().unwrap());
                let mut caller = Caller::new(channel.clone(), Some(&key));
                caller.look().await.unwrap();
                calls.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let rotated = proto::CreateApiKeyRequest {
        replaces: name.clone(),
        overlap: seconds(2),
        ..Default::default()
    };
    let (_, second) = door.make_key(rotated.clone()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    current.lock().unwrap().clone_from(&second);
    tokio::time::sleep(Duration::from_millis(2200)).await;
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(calls.load(Ordering::Relaxed) > 20);
    let over = door.with(&first).await.look().await.unwrap_err();
    assert_eq!(over.code(), Code::Unauthenticated);
    assert!(door.with(&second).await.look().await.is_ok());
    // An ended key passes nothing on, and a repeated request shows no second secret.
    let late = door.make_key(rotated).await.unwrap_err();
    assert_eq!(late.code(), Code::NotFound);
    let mut once = key_of(&["read"]);
    once.request_id = "7b2e9a52-7c55-4f0c-9d2b-0e6d8a4a5f10".into();
    door.make_key(once.clone()).await.unwrap();
    let again = door.make_key(once).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

struct Keys {
    es256: EncodingKey,
    rs256: EncodingKey,
    eddsa: EncodingKey,
    rsa_n: Vec<u8>,
}

/// A key set with one key of each kind; and what signs with them.
fn key_set(path: &Path) -> Keys {
    use rsa::{pkcs1::EncodeRsaPrivateKey as _, traits::PublicKeyParts as _};
    let ec = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let ed = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let rsa = rsa::RsaPrivateKey::new(&mut rand::rngs::OsRng, 2048).unwrap();
    // An uncompressed point: 4, x, y.
    let (x, y) = ec.public_key_raw()[1..].split_at(32);
    let rsa_n = rsa.n().to_bytes_be();
    let set = json!({ "keys": [
        { "kid": "ec", "kty": "EC", "crv": "P-256", "use": "sig",
          "x": b64(x), "y": b64(y) },
        { "kid": "ed", "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": b64(ed.public_key_raw()) },
        { "kid": "rsa", "kty": "RSA", "alg": "RS256", "n": b64(&rsa_n), "e": b64(&rsa.e().to_bytes_be()) },
        { "kid": "secret", "kty": "oct", "alg": "HS256", "k": b64(b"a shared secret of the provider!") },
        { "kid": "strange", "kty": "lattice" },
    ]});
    std::fs::write(path, set.to_string()).unwrap();
    Keys {
        es256: EncodingKey::from_ec_der(ec.serialized_der()),
        eddsa: EncodingKey::from_ed_der(ed.serialized_der()),
        rs256: EncodingKey::from_rsa_der(rsa.to_pkcs1_der().unwrap().as_bytes()),
        rsa_n,
    }
}

fn claims(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = json!({
        "iss": "https://id.example", "aud": "zkinfer", "sub": "robot", "exp": now() + 300,
        "zkinfer_tenant": "default", "scope": "openid zkinfer:read",
    });
    change(&mut claims);
    claims
}

fn sign(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey, claims: &Value) -> String {
    let mut header = Header::new(algorithm);
    header.kid = kid.map(str::to_owned);
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_taken_only_with_the_algorithm_of_its_key_and_the_right_claims() {
    let folder = tempfile::tempdir().unwrap();
    let jwks = folder.path().join("jwks.json");
    let keys = key_set(&jwks);
    let door = Door::open(|config| {
        config.access.jwt = Some(JwtConfig {
            jwks: jwks.clone(),
            issuer: "https://id.example".into(),
            audience: "zkinfer".into(),
        });
    })
    .await;
    let code = async |token: &str| match door.with(token).await.look().await {
        Ok(()) => Code::Ok,
        Err(status) => status.code(),
    };
    let plain = claims(|_| {});
    let es =
        |change: fn(&mut Value)| sign(Algorithm::ES256, Some("ec"), &keys.es256, &claims(change));

    for good in [
        es(|_| {}),
        sign(Algorithm::RS256, Some("rsa"), &keys.rs256, &plain),
        sign(Algorithm::EdDSA, Some("ed"), &keys.eddsa, &plain),
        es(|c| c["zkinfer_tenant"] = json!("tenants/1")),
        es(|c| c["aud"] = json!(["other", "zkinfer"])),
        es(|c| c["exp"] = json!(now() - 5)),
    ] {
        assert_eq!(code(&good).await, Code::Ok, "{good}");
    }

    let mac = |secret: &[u8], kid: &str| {
        let key = EncodingKey::from_secret(secret);
        sign(Algorithm::HS256, Some(kid), &key, &plain)
    };
    let none = |kid: &str| {
        let header = json!({ "alg": "none", "kid": kid }).to_string();
        format!(
            "{}.{}.",
            b64(header.as_bytes()),
            b64(plain.to_string().as_bytes())
        )
    };
    let mut swapped = es(|_| {}).split('.').map(str::to_owned).collect::<Vec<_>>();
    swapped[1] = b64(claims(|c| c["scope"] = json!("zkinfer:admin"))
        .to_string()
        .as_bytes());
    let bad = [
        ("hmac with the public key", mac(&keys.rsa_n, "rsa")),
        (
            "hmac with a key of the set",
            mac(b"a shared secret of the provider!", "secret"),
        ),
        ("no signature", none("ec")),
        ("no signature, no key", none("")),
        (
            "another key's id",
            sign(Algorithm::ES256, Some("ed"), &keys.es256, &plain),
        ),
        (
            "another algorithm",
            sign(Algorithm::RS384, Some("rsa"), &keys.rs256, &plain),
        ),
        (
            "unknown key",
            sign(Algorithm::ES256, Some("gone"), &keys.es256, &plain),
        ),
        (
            "no key of several",
            sign(Algorithm::ES256, None, &keys.es256, &plain),
        ),
        ("other claims", swapped.join(".")),
        ("issuer", es(|c| c["iss"] = json!("https://evil.example"))),
        (
            "no issuer",
            es(|c| drop(c.as_object_mut().unwrap().remove("iss"))),
        ),
        ("audience", es(|c| c["aud"] = json!("other"))),
        (
            "no audience",
            es(|c| drop(c.as_object_mut().unwrap().remove("aud"))),
        ),
        ("expired", es(|c| c["exp"] = json!(now() - 120))),
        (
            "no expiry",
            es(|c| drop(c.as_object_mut().unwrap().remove("exp"))),
        ),
        ("not yet", es(|c| c["nbf"] = json!(now() + 600))),
        (
            "no tenant",
            es(|c| drop(c.as_object_mut().unwrap().remove("zkinfer_tenant"))),
        ),
        (
            "unknown tenant",
            es(|c| c["zkinfer_tenant"] = json!("nobody")),
        ),
        (
            "unknown number",
            es(|c| c["zkinfer_tenant"] = json!("tenants/99")),
        ),
    ];
    for (what, token) in &bad {
        assert_eq!(code(token).await, Code::Unauthenticated, "{what}");
    }
    // The scopes are the token's.
    let weak = es(|c| c["scope"] = json!("zkinfer:submit"));
    assert_eq!(code(&weak).await, Code::PermissionDenied);
    // What other services call theirs is nothing here.
    let foreign = es(|c| c["scope"] = json!("admin read Zkinfer:read zkinfer:Read other:read"));
    assert_eq!(code(&foreign).await, Code::PermissionDenied);

    // Keys that leave the file open nothing more; a broken file changes nothing.
    std::fs::write(&jwks, "{").unwrap();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(code(&es(|_| {})).await, Code::Ok);
    let fresh = key_set(&jwks);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(code(&es(|_| {})).await, Code::Unauthenticated);
    let token = sign(Algorithm::ES256, Some("ec"), &fresh.es256, &plain);
    assert_eq!(code(&token).await, Code::Ok);
}

fn digest(bytes: &[u8]) -> Option<proto::Digest> {
    Some(proto::Digest {
        sha256: Digest::of(bytes).0.to_vec(),
    })
}

async fn upload(caller: &mut Caller, bytes: &[u8], kind: ArtifactKind) -> bool {
    use proto::write_artifact_request::Message;
    let request = proto::StartUploadRequest {
        digest: digest(bytes),
        size: bytes.len() as u64,
        kind: kind.code(),
        ..Default::default()
    };
    let started = caller.artifacts.start_upload(request).await.unwrap();
    let started = started.into_inner();
    if started.already_present {
        return true;
    }
    let header = proto::WriteHeader {
        upload_id: started.upload_id.clone(),
        write_offset: 0,
    };
    let chunk = proto::Chunk {
        offset: 0,
        data: bytes.to_vec(),
        crc32c: crc32c::crc32c(bytes),
    };
    let messages = [Message::Header(header), Message::Chunk(chunk)]
        .map(|m| proto::WriteArtifactRequest { message: Some(m) });
    let stream = tokio_stream::iter(messages);
    caller.artifacts.write_artifact(stream).await.unwrap();
    let finish = proto::FinishUploadRequest {
        upload_id: started.upload_id,
        part_etags: Vec::new(),
    };
    caller.artifacts.finish_upload(finish).await.unwrap();
    false
}

async fn ready_circuit(caller: &mut Caller) -> String {
    upload(caller, b"model", ArtifactKind::Model).await;
    upload(caller, b"samples", ArtifactKind::Calibration).await;
    let request = proto::CreateCircuitRequest {
        model: digest(b"model"),
        calibration: digest(b"samples"),
        ..Default::default()
    };
    let name = caller.circuits.create_circuit(request).await.unwrap();
    let name = name.into_inner().name;
    for _ in 0..500 {
        let request = proto::GetCircuitRequest { name: name.clone() };
        let circuit = caller.circuits.get_circuit(request).await.unwrap();
        if circuit.into_inner().state() == proto::circuit::State::Ready {
            return name;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{name} does not become READY");
}

fn job(circuit: &str) -> proto::CreateJobRequest {
    proto::CreateJobRequest {
        circuit: circuit.into(),
        input: Some(Input::InlineInput(br#"{"input_data": [[1]]}"#.to_vec())),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_watches_so_many_times_at_once_and_others_have_their_own() {
    let door = Door::open(|_| {}).await;
    let tenant = door.tenant("other", 0.0).await;
    let other = door.with(&door.key(&tenant, &["read"]).await.1).await;
    let (_, key) = door.key("tenants/1", &["read"]).await;
    let caller = door.with(&key).await;
    let watch = async |caller: &Caller| {
        let all = proto::WatchJobsRequest::default();
        let answer = caller.jobs.clone().watch_jobs(all).await;
        answer.map(tonic::Response::into_inner)
    };
    let mut watches = Vec::new();
    for _ in 0..64 {
        watches.push(watch(&caller).await.unwrap());
    }
    let refused = watch(&door.with(&key).await).await.unwrap_err();
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::ResourceExhausted, "RATE_LIMITED")
    );
    assert!(watch(&other).await.is_ok());
    watches.pop();
    let freed = async {
        while watch(&caller).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let freed = tokio::time::timeout(Duration::from_secs(10), freed);
    freed.await.expect("who stops watching makes room");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_stands_still_is_given_up() {
    use proto::write_artifact_request::Message;
    let door = Door::open(|_| {}).await;
    let (_, key) = door.key("tenants/1", &["submit"]).await;
    let mut caller = door.with(&key).await;
    let request = proto::StartUploadRequest {
        digest: digest(b"model"),
        size: 5,
        kind: ArtifactKind::Model.code(),
        ..Default::default()
    };
    let started = caller.artifacts.start_upload(request).await.unwrap();
    let header = Message::Header(proto::WriteHeader {
        upload_id: started.into_inner().upload_id,
        write_offset: 0,
    });
    let header = proto::WriteArtifactRequest {
        message: Some(header),
    };
    let silent = tokio_stream::iter([header]).chain(tokio_stream::pending());
    let begun = Instant::now();
    let refused = caller.artifacts.write_artifact(silent).await.unwrap_err();
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::DeadlineExceeded, "TOO_SLOW")
    );
    assert!((29..45).contains(&begun.elapsed().as_secs()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let jwks = folder.path().join("jwks.json");
    let keys = key_set(&jwks);
    let door = Door::open(|config| {
        config.access.recheck = Some(Duration::from_millis(200));
        config.access.jwt = Some(JwtConfig {
            jwks: jwks.clone(),
            issuer: "https://id.example".into(),
            audience: "zkinfer".into(),
        });
    })
    .await;
    let tenant = door.tenant("other", 0.0).await;
    let (_, kept) = door.key("tenants/1", &["read"]).await;
    let (name, revoked) = door.key("tenants/1", &["read"]).await;
    let (_, disabled) = door.key(&tenant, &["read"]).await;
    let mut short = key_of(&["read"]);
    short.ttl = seconds(2);
    let (_, expired) = door.make_key(short).await.unwrap();
    let token = |change: &dyn Fn(&mut Value)| {
        let claims = claims(|c| change(c));
        sign(Algorithm::ES256, Some("ec"), &keys.es256, &claims)
    };
    // Half a minute late is on time.
    let over = token(&|c| c["exp"] = json!(now() - 27));
    let homeless = token(&|c| c["zkinfer_tenant"] = json!(tenant));
    let good = token(&|_| {});
    let mut watches = Vec::new();
    for credential in [revoked, disabled, expired, over, homeless, kept, good] {
        let mut caller = door.with(&credential).await;
        let all = proto::WatchJobsRequest::default();
        let stream = caller.jobs.watch_jobs(all).await.unwrap();
        watches.push(stream.into_inner());
    }
    let going = watches.split_off(5);
    let mut admin = door.admin().await;
    let revoke = proto::RevokeApiKeyRequest { name };
    admin.admin.revoke_api_key(revoke).await.unwrap();
    let disable = proto::UpdateTenantRequest {
        tenant: Some(proto::Tenant {
            name: tenant,
            disabled: true,
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["disabled".into()],
        }),
    };
    admin.admin.update_tenant(disable).await.unwrap();
    for (n, mut watch) in watches.into_iter().enumerate() {
        let ended = tokio::time::timeout(Duration::from_secs(10), watch.message());
        let status = ended.await.expect("it ends").unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{n}");
    }
    for mut watch in going {
        let ended = tokio::time::timeout(Duration::from_secs(1), watch.message());
        assert!(ended.await.is_err(), "a live key goes on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_has_few_states_and_few_labels_that_could_be_labels() {
    let door = Door::open(|_| {}).await;
    let (_, key) = door.key("tenants/1", &["read"]).await;
    let mut caller = door.with(&key).await;
    let some = |count: usize, key: &str| {
        let label = |n| (format!("{key}{n}"), String::new());
        (0..count)
            .map(label)
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let long = "k".repeat(63);
    for (labels, why) in [
        (some(8, "k"), None),
        (some(9, "k"), Some("TOO_MANY")),
        (some(1, &long), Some("BAD_LABELS")),
    ] {
        let jobs = proto::ListJobsRequest {
            labels: labels.clone(),
            ..Default::default()
        };
        let circuits = proto::ListCircuitsRequest {
            labels: labels.clone(),
            ..Default::default()
        };
        let watch = proto::WatchJobsRequest {
            labels,
            ..Default::default()
        };
        let answers = [
            caller.jobs.list_jobs(jobs).await.map(drop),
            caller.circuits.list_circuits(circuits).await.map(drop),
            caller.jobs.watch_jobs(watch).await.map(drop),
        ];
        for answer in answers {
            let met = answer.err().map(|s| (s.code(), reason(&s)));
            assert_eq!(met, why.map(|why| (Code::InvalidArgument, why.to_owned())));
        }
    }
    for (count, why) in [(16, None), (17, Some("TOO_MANY"))] {
        let jobs = proto::ListJobsRequest {
            states: vec![proto::job::State::Queued as i32; count],
            ..Default::default()
        };
        let refused = caller.jobs.list_jobs(jobs).await.err();
        assert_eq!(refused.as_ref().map(reason), why.map(str::to_owned));
        let told = refused.map(|s| s.message().to_owned()).unwrap_or_default();
        assert_eq!(told.contains("at most 16 states, got 17"), why.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_request_of_short_lists_is_refused_before_it_is_decoded() {
    let door = Door::open(|_| {}).await;
    let (_, key) = door.key("tenants/1", &["submit"]).await;
    let mut caller = door.with(&key).await;
    let find = |count: usize| proto::FindMissingRequest {
        digests: vec![proto::Digest::default(); count],
    };
    // Two bytes each.
    let refused = caller.artifacts.find_missing(find(1 << 19)).await;
    let refused = refused.unwrap_err();
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::OutOfRange, "TOO_LARGE")
    );
    let refused = caller.artifacts.find_missing(find(1 << 10)).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
}

/// What a status says, without the names it was asked about and the id of the call.
fn said(status: &Status, names: &[&str]) -> (Code, String, String) {
    let message = names.iter().fold(status.message().to_owned(), |m, name| {
        m.replace(name, "NAME")
    });
    (status.code(), message, reason(status))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_see_nothing_of_each_other() {
    let door = Door::open(|_| {}).await;
    let all = ["submit", "read", "verify"];
    let mut one = {
        let tenant = door.tenant("one", 0.0).await;
        door.with(&door.key(&tenant, &all).await.1).await
    };
    let mut two = {
        let tenant = door.tenant("two", 0.0).await;
        door.with(&door.key(&tenant, &all).await.1).await
    };
    let circuit = ready_circuit(&mut one).await;
    let made = one
        .jobs
        .create_job(job(&circuit))
        .await
        .unwrap()
        .into_inner();
    let wait = proto::WaitJobRequest {
        name: made.name.clone(),
        timeout: None,
    };
    let ended = one.jobs.wait_job(wait).await.unwrap().into_inner();
    assert_eq!(ended.state(), proto::job::State::Succeeded);
    one.jobs
        .create_job(proto::CreateJobRequest {
            allow_cached: Some(false),
            ..job(&circuit)
        })
        .await
        .unwrap();

    // Uploads are not known to the other one, nor presented as already there.
    let missing = proto::FindMissingRequest {
        digests: digest(b"model").into_iter().collect(),
    };
    let found = two.artifacts.find_missing(missing.clone()).await.unwrap();
    assert_eq!(found.into_inner().missing.len(), 1);
    let found = one.artifacts.find_missing(missing).await.unwrap();
    assert_eq!(found.into_inner().missing.len(), 0);
    // A digest opens nothing, and tells nothing, without the bytes.
    let mut told = Vec::new();
    for bytes in [&b"model"[..], b"never uploaded"] {
        let start = proto::StartUploadRequest {
            digest: digest(bytes),
            size: bytes.len() as u64,
            kind: ArtifactKind::Model.code(),
            ..Default::default()
        };
        let started = two.artifacts.start_upload(start).await.unwrap();
        let started = started.into_inner();
        assert!(!started.already_present);
        let finish = proto::FinishUploadRequest {
            upload_id: started.upload_id,
            part_etags: vec![],
        };
        let refused = two.artifacts.finish_upload(finish).await.unwrap_err();
        told.push((refused.code(), reason(&refused)));
        let read = proto::ReadArtifactRequest {
            digest: digest(bytes),
            ..Default::default()
        };
        let refused = two.artifacts.read_artifact(read).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0].1, "UPLOAD_INCOMPLETE");

    // Names: what belongs to another is answered like what never was.
    let absent_job = "jobs/0190a5b4-7d6e-7000-8000-000000000000";
    let absent_circuit = "circuits/0190a5b4-7d6e-7000-8000-000000000000";
    let mut answers = Vec::new();
    for (job_name, circuit_name) in [
        (made.name.as_str(), circuit.as_str()),
        (absent_job, absent_circuit),
    ] {
        let name = || job_name.to_owned();
        let get = proto::GetJobRequest {
            name: name(),
            view: 1,
        };
        let wait = proto::WaitJobRequest {
            name: name(),
            timeout: None,
        };
        let cancel = proto::CancelJobRequest {
            name: name(),
            etag: String::new(),
        };
        let proof = proto::GetProofRequest {
            job: name(),
            format: 0,
        };
        let watch = proto::WatchJobsRequest {
            names: vec![name()],
            ..Default::default()
        };
        let verify = proto::VerifyProofRequest {
            circuit: circuit_name.into(),
            proof: vec![1],
            ..Default::default()
        };
        let circuit = || proto::GetCircuitRequest {
            name: circuit_name.into(),
        };
        let verifier = proto::GetVerifierRequest {
            name: circuit_name.into(),
            target: 0,
        };
        let statuses = [
            two.jobs.get_job(get).await.unwrap_err(),
            two.jobs.wait_job(wait).await.unwrap_err(),
            two.jobs.cancel_job(cancel).await.unwrap_err(),
            two.jobs.get_proof(proof).await.unwrap_err(),
            two.jobs.watch_jobs(watch).await.unwrap_err(),
            two.jobs.verify_proof(verify).await.unwrap_err(),
            two.jobs.create_job(job(circuit_name)).await.unwrap_err(),
            two.circuits.get_circuit(circuit()).await.unwrap_err(),
            two.circuits.get_verifier(verifier).await.unwrap_err(),
        ];
        for status in &statuses {
            assert_eq!(status.code(), Code::NotFound, "{status:?}");
        }
        let told = statuses.iter().map(|s| said(s, &[job_name, circuit_name]));
        answers.push(told.collect::<Vec<_>>());
    }
    assert_eq!(answers[0], answers[1]);
    let mut digests = Vec::new();
    for bytes in [&b"model"[..], b"never uploaded"] {
        let hex = Digest::of(bytes).to_string();
        let get = proto::GetArtifactRequest {
            digest: digest(bytes),
        };
        let read = proto::ReadArtifactRequest {
            digest: digest(bytes),
            ..Default::default()
        };
        digests.push([
            said(&two.artifacts.get_artifact(get).await.unwrap_err(), &[&hex]),
            said(
                &two.artifacts.read_artifact(read).await.unwrap_err(),
                &[&hex],
            ),
        ]);
    }
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0][0].0, Code::NotFound);

    // Lists are empty; a page token of the other is no token.
    let jobs = proto::ListJobsRequest {
        page_size: 1,
        ..Default::default()
    };
    let page = one.jobs.list_jobs(jobs.clone()).await.unwrap().into_inner();
    assert!(!page.next_page_token.is_empty());
    let theirs = two.jobs.list_jobs(jobs.clone()).await.unwrap();
    assert!(theirs.into_inner().jobs.is_empty());
    let stolen = proto::ListJobsRequest {
        page_token: page.next_page_token,
        ..jobs
    };
    assert!(one.jobs.list_jobs(stolen.clone()).await.is_ok());
    let refused = two.jobs.list_jobs(stolen).await.unwrap_err();
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::InvalidArgument, "BAD_PAGE_TOKEN")
    );

    // A watch of everything sees the own jobs only.
    let request = proto::WatchJobsRequest {
        cursor: "0".into(),
        ..Default::default()
    };
    let mut stream = two.jobs.watch_jobs(request).await.unwrap().into_inner();
    let other = one.jobs.create_job(proto::CreateJobRequest {
        allow_cached: Some(false),
        ..job(&circuit)
    });
    other.await.unwrap();
    let own = ready_circuit(&mut two).await;
    let mine = two.jobs.create_job(job(&own)).await.unwrap().into_inner();
    // The same content is a job of its own: nothing is shared across tenants.
    assert!(!mine.deduplicated && own != circuit);
    let list = proto::ListJobsRequest {
        page_size: 500,
        ..Default::default()
    };
    let theirs: Vec<String> = one
        .jobs
        .list_jobs(list)
        .await
        .unwrap()
        .into_inner()
        .jobs
        .into_iter()
        .map(|j| j.name)
        .collect();
    let mut seen = 0;
    while let Ok(Ok(Some(event))) =
        tokio::time::timeout(Duration::from_millis(700), stream.message()).await
    {
        assert!(!theirs.contains(&event.job), "{event:?}");
        seen += usize::from(!event.job.is_empty());
    }
    assert!(seen >= 2, "{seen} events of its own jobs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_calls_too_often_is_told_when_to_come_back_and_others_go_on() {
    let door = Door::open(|_| {}).await;
    let (busy, calm) = (
        door.tenant("busy", 2.0).await,
        door.tenant("calm", 2.0).await,
    );
    let mut busy = door.with(&door.key(&busy, &["read"]).await.1).await;
    let mut calm = door.with(&door.key(&calm, &["read"]).await.1).await;
    let refused = async {
        for _ in 0..50 {
            if let Err(status) = busy.look().await {
                return status;
            }
        }
        panic!("fifty calls at once passed a bound of two a second");
    };
    let status = refused.await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(reason(&status), "RATE_LIMITED");
    let wait = status
        .get_details_retry_info()
        .unwrap()
        .retry_delay
        .unwrap();
    assert!((1..=5).contains(&wait.as_secs()), "{wait:?}");
    assert!(calm.look().await.is_ok());
    tokio::time::sleep(wait).await;
    assert!(busy.look().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_calls_too_often_is_stopped_before_anybody_looks_at_its_keys() {
    let door = Door::open(|config| config.access.address_rate = Some(2.0)).await;
    let mut stranger = door.says(Some("Bearer nonsense")).await;
    let mut codes = Vec::new();
    for _ in 0..30 {
        codes.push(stranger.look().await.unwrap_err().code());
    }
    assert_eq!(codes[0], Code::Unauthenticated);
    assert_eq!(codes.last(), Some(&Code::ResourceExhausted));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_carry_the_id_of_the_callers_trace() {
    let door = Door::open(|_| {}).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for key in [None, Some(door.admin_key.clone())] {
        let credential = key.map(|k| format!("Bearer {k}"));
        let mut caller = door.says(credential.as_deref()).await;
        let mut request = Request::new(proto::GetJobRequest {
            name: "jobs/0190a5b4-7d6e-7000-8000-000000000000".into(),
            view: 0,
        });
        let parent = format!("00-{trace}-00f067aa0ba902b7-01").parse().unwrap();
        request.metadata_mut().insert("traceparent", parent);
        let status = caller.jobs.get_job(request).await.unwrap_err();
        assert_eq!(status.get_details_request_info().unwrap().request_id, trace);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_options_this_machine_needs_no_key_and_others_are_never_served_plain_text() {
    let data = tempfile::tempdir().unwrap();
    let config = ServeConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        data: data.path().join("open"),
        ..ServeConfig::default()
    };
    let work = || Arc::new(fake::FakeWork(Arc::default()));
    let running = server::start(&config, work()).await.unwrap();
    assert_eq!(running.admin_key, None);
    let address = format!("http://{}", running.address);
    let channel = Channel::from_shared(address)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut anybody = Caller::new(channel, None);
    assert!(anybody.look().await.is_ok());
    assert!(
        anybody
            .admin
            .list_tenants(proto::ListTenantsRequest::default())
            .await
            .is_ok()
    );
    running.stop().await.unwrap();

    let mut open = ServeConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        data: data.path().join("wide"),
        ..ServeConfig::default()
    };
    let refused = server::start(&open, work()).await.unwrap_err().to_string();
    assert!(refused.contains("--tls-cert") && refused.contains("--plaintext-behind-proxy"));
    open.access.plaintext_behind_proxy = true;
    let running = server::start(&open, work()).await.unwrap();
    let address = format!("http://127.0.0.1:{}", running.address.port());
    let channel = Channel::from_shared(address)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let status = Caller::new(channel, None).look().await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_certificate_is_known_by_its_authority_only() {
    let door = Door::open(|config| {
        config.access.tls = ListenerTls::SelfSigned {
            names: vec!["zk.example".into()],
        };
    })
    .await;
    let address = format!("https://{}", door.running.address);
    let connect = async |tls: ClientTlsConfig| {
        let endpoint = Channel::from_shared(address.clone()).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await
    };
    let pem = std::fs::read(door.running.authority.clone().unwrap()).unwrap();
    let ours = || ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&pem));
    for name in ["zk.example", "localhost", "127.0.0.1"] {
        let channel = connect(ours().domain_name(name)).await.unwrap();
        let key = format!("Bearer {}", door.admin_key);
        assert!(
            Caller::new(channel, Some(&key)).look().await.is_ok(),
            "{name}"
        );
    }
    assert!(connect(ours().domain_name("other.example")).await.is_err());
    let stranger = rcgen::generate_simple_self_signed(vec!["zk.example".into()]).unwrap();
    let other = Certificate::from_pem(stranger.cert.pem());
    let tls = ClientTlsConfig::new()
        .ca_certificate(other)
        .domain_name("zk.example");
    assert!(connect(tls).await.is_err());
}

/// Everything that this program logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
            .with_writer(move || writer.clone())
            .init();
        log
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_no_log_and_in_no_debug_output() {
    let log = log();
    let door = Door::open(|config| config.node_listen = Some("127.0.0.1:0".parse().unwrap())).await;
    let mut admin = door.admin().await;
    let made = admin
        .admin
        .create_api_key(key_of(&["read"]))
        .await
        .unwrap()
        .into_inner();
    let token = admin
        .admin
        .create_enroll_token(proto::CreateEnrollTokenRequest::default());
    let token = token.await.unwrap().into_inner();
    door.with(&made.secret).await.look().await.unwrap();
    let wrong = format!("{}x", made.secret);
    assert!(door.with(&wrong).await.look().await.is_err());
    let enroll = proto::EnrollRequest {
        token: token.token.clone(),
        ..Default::default()
    };
    let debug = format!("{made:?} {token:?} {enroll:?}");
    let secret = made.secret.rsplit('_').next().unwrap();
    let one_time = token.token.split('.').nth(1).unwrap();
    let key_file = std::fs::read_to_string(door.data.path().join("data/ca/ca.key")).unwrap();
    let text = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(text.contains("key made"), "the log is read");
    for hidden in [
        secret,
        one_time,
        &door.admin_key,
        key_file.lines().nth(1).unwrap(),
    ] {
        assert!(!debug.contains(hidden) && !text.contains(hidden));
    }
}

/// Not a check: `cargo test --release --workspace --test access -- --ignored --nocapture the_time` prints what a refusal takes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints times, checks none"]
async fn the_time_of_a_refusal() {
    let door = Door::open(|_| {}).await;
    let (_, good) = door.key("tenants/1", &["read"]).await;
    let (name, revoked) = door.key("tenants/1", &["read"]).await;
    let request = proto::RevokeApiKeyRequest { name };
    door.admin()
        .await
        .admin
        .revoke_api_key(request)
        .await
        .unwrap();
    let last = |key: &str, by: char| {
        let mut other: String = key.to_owned();
        let was = other.pop().unwrap();
        other.push(if was == by { 'z' } else { by });
        other
    };
    let (secret, prefix) = good.rsplit_once('_').map(|(p, s)| (s, p)).unwrap();
    let unknown = format!("{}_{secret}", last(prefix, 'y'));
    let first = format!(
        "{prefix}_{}{}",
        if secret.starts_with('a') { 'b' } else { 'a' },
        &secret[1..]
    );
    let kinds = [
        ("unknown prefix", unknown),
        ("wrong from the first letter", first),
        ("wrong in the last letter", last(&good, 'x')),
        ("revoked", revoked),
    ];
    let mut callers = Vec::new();
    for (what, key) in kinds {
        callers.push((what, door.with(&key).await, Vec::new()));
    }
    for _ in 0..1000 {
        for (_, caller, times) in &mut callers {
            let request = proto::ListJobsRequest::default();
            let begun = std::time::Instant::now();
            let refused = caller.jobs.list_jobs(request).await.unwrap_err();
            times.push(begun.elapsed());
            assert_eq!(refused.code(), Code::Unauthenticated);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    for (what, _, mut times) in callers {
        times.sort_unstable();
        let us = |at: usize| times[at].as_secs_f64() * 1e6;
        println!(
            "{what}: p50 {:.0} us, p10 {:.0} us, p90 {:.0} us",
            us(500),
            us(100),
            us(900)
        );
    }
}
