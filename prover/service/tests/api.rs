//! The service over real gRPC, with work that needs no mathematics.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod fake;

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use fake::{Fake, FakeWork};
use prost::Message as _;
use tokio_stream::iter;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;
use zkinfer_service::{
    api::{
        proto::{
            self, Chunk, CreateCircuitRequest, CreateJobRequest, WatchJobsRequest,
            WriteArtifactRequest, WriteHeader, artifacts_client::ArtifactsClient,
            circuits_client::CircuitsClient, create_job_request::Input, job::State,
            job_event::Event, jobs_client::JobsClient, write_artifact_request::Message,
        },
        server::{self, Running},
    },
    config::{Limits, ServeConfig},
    store::{ArtifactKind, Digest},
};

struct Served {
    running: Running,
    fake: Arc<Fake>,
    data: tempfile::TempDir,
    channel: Channel,
}

async fn serve_with(limits: Limits) -> Served {
    serve_on(tempfile::tempdir().unwrap(), limits, Arc::default()).await
}

async fn serve_on(data: tempfile::TempDir, limits: Limits, fake: Arc<Fake>) -> Served {
    let config = ServeConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        data: data.path().join("data"),
        limits,
        ..ServeConfig::default()
    };
    let running = server::start(&config, Arc::new(FakeWork(Arc::clone(&fake))))
        .await
        .unwrap();
    let address = format!("http://{}", running.address);
    let channel = Channel::from_shared(address)
        .unwrap()
        .connect()
        .await
        .unwrap();
    Served {
        running,
        fake,
        data,
        channel,
    }
}

async fn serve() -> Served {
    serve_with(Limits {
        drain_timeout: Duration::from_millis(200),
        ..Limits::default()
    })
    .await
}

fn digest(bytes: &[u8]) -> Option<proto::Digest> {
    Some(proto::Digest {
        sha256: Digest::of(bytes).0.to_vec(),
    })
}

fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|e| e.reason)
        .unwrap_or_default()
}

fn header(upload_id: &str, write_offset: u64) -> WriteArtifactRequest {
    let header = WriteHeader {
        upload_id: upload_id.into(),
        write_offset,
    };
    WriteArtifactRequest {
        message: Some(Message::Header(header)),
    }
}

fn chunk(offset: u64, data: &[u8]) -> WriteArtifactRequest {
    let chunk = Chunk {
        offset,
        data: data.to_vec(),
        crc32c: crc32c::crc32c(data),
    };
    WriteArtifactRequest {
        message: Some(Message::Chunk(chunk)),
    }
}

impl Served {
    fn artifacts(&self) -> ArtifactsClient<Channel> {
        ArtifactsClient::new(self.channel.clone())
    }

    fn circuits(&self) -> CircuitsClient<Channel> {
        CircuitsClient::new(self.channel.clone())
    }

    fn jobs(&self) -> JobsClient<Channel> {
        JobsClient::new(self.channel.clone())
    }

    async fn start_upload(&self, bytes: &[u8], kind: ArtifactKind) -> proto::StartUploadResponse {
        let request = proto::StartUploadRequest {
            digest: digest(bytes),
            size: bytes.len() as u64,
            kind: kind.code(),
            ..Default::default()
        };
        self.artifacts()
            .start_upload(request)
            .await
            .unwrap()
            .into_inner()
    }

    async fn finish(&self, upload_id: &str) -> Result<proto::Artifact, Status> {
        let request = proto::FinishUploadRequest {
            upload_id: upload_id.into(),
            part_etags: vec![],
        };
        self.artifacts()
            .finish_upload(request)
            .await
            .map(|r| r.into_inner())
    }

    async fn upload(&self, bytes: &[u8], kind: ArtifactKind) {
        let started = self.start_upload(bytes, kind).await;
        if !started.already_present {
            let mut messages = vec![header(&started.upload_id, 0)];
            for (n, part) in bytes.chunks(1 << 20).enumerate() {
                messages.push(chunk((n as u64) << 20, part));
            }
            self.artifacts()
                .write_artifact(iter(messages))
                .await
                .unwrap();
            self.finish(&started.upload_id).await.unwrap();
        }
    }

    async fn create_circuit(&self, model: &[u8], private: bool) -> proto::Circuit {
        let settings: &[u8] = if private {
            br#"{"input":"private"}"#
        } else {
            b"{}"
        };
        self.upload(model, ArtifactKind::Model).await;
        self.upload(b"samples", ArtifactKind::Calibration).await;
        self.upload(settings, ArtifactKind::Settings).await;
        let request = CreateCircuitRequest {
            model: digest(model),
            settings: digest(settings),
            calibration: digest(b"samples"),
            ..Default::default()
        };
        self.circuits()
            .create_circuit(request)
            .await
            .unwrap()
            .into_inner()
    }

    async fn circuit_in(&self, name: &str, state: proto::circuit::State) -> proto::Circuit {
        for _ in 0..500 {
            let request = proto::GetCircuitRequest { name: name.into() };
            let circuit = self
                .circuits()
                .get_circuit(request)
                .await
                .unwrap()
                .into_inner();
            if circuit.state() == state {
                return circuit;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{name} does not become {state:?}");
    }

    async fn ready(&self) -> String {
        let name = self.create_circuit(b"model", false).await.name;
        self.circuit_in(&name, proto::circuit::State::Ready)
            .await
            .name
    }

    async fn create(&self, request: CreateJobRequest) -> Result<proto::Job, Status> {
        self.jobs()
            .create_job(request)
            .await
            .map(|r| r.into_inner())
    }

    async fn job(&self, name: &str) -> proto::Job {
        self.jobs()
            .get_job(proto::GetJobRequest {
                name: name.into(),
                view: 1,
            })
            .await
            .unwrap()
            .into_inner()
    }

    async fn wait(&self, name: &str) -> proto::Job {
        let request = proto::WaitJobRequest {
            name: name.into(),
            timeout: None,
        };
        self.jobs().wait_job(request).await.unwrap().into_inner()
    }

    async fn job_in(&self, name: &str, state: State) -> proto::Job {
        for _ in 0..500 {
            let job = self.job(name).await;
            if job.state() == state {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{name} does not become {state:?}");
    }

    fn blobs(&self) -> usize {
        let folder = self.data.path().join("data/blobs");
        let folders = std::fs::read_dir(folder).into_iter().flatten().flatten();
        folders
            .map(|f| std::fs::read_dir(f.path()).into_iter().flatten().count())
            .sum()
    }
}

fn job(circuit: &str, input: &str) -> CreateJobRequest {
    let input = format!("{{\"input_data\": [[{input}]]}}").into_bytes();
    CreateJobRequest {
        circuit: circuit.into(),
        input: Some(Input::InlineInput(input)),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_becomes_a_verified_proof() {
    let served = serve().await;
    let circuit = served.ready().await;
    let created = served.create(job(&circuit, "1")).await.unwrap();
    assert!(created.name.starts_with("jobs/") && !created.deduplicated);
    let done = served.wait(&created.name).await;
    assert_eq!(done.state(), State::Succeeded);
    assert!((done.progress - 1.0).abs() < f32::EPSILON);
    let request = proto::GetProofRequest {
        job: done.name.clone(),
        format: 0,
    };
    let proof = served.jobs().get_proof(request).await.unwrap().into_inner();
    let Some(proto::proof::Body::Data(data)) = proof.body else {
        panic!("no bytes")
    };
    let verify = |proof: Vec<u8>, public_values: Vec<u8>| proto::VerifyProofRequest {
        circuit: circuit.clone(),
        proof,
        public_values,
        format: 0,
    };
    let good = served
        .jobs()
        .verify_proof(verify(data.clone(), proof.public_values.clone()))
        .await
        .unwrap()
        .into_inner();
    assert!(good.valid && good.reason.is_empty());
    let bad = served
        .jobs()
        .verify_proof(verify(vec![0; 32], proof.public_values))
        .await
        .unwrap()
        .into_inner();
    assert!(!bad.valid && !bad.reason.is_empty());
    assert_eq!(served.job(&done.name).await.history.len(), 1);
    served.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_substrate_crate_is_tested_on_the_newest_proof_of_the_circuit() {
    let served = serve().await;
    let circuit = served.ready().await;
    let other = served.create_circuit(b"model", true).await.name;
    served
        .circuit_in(&other, proto::circuit::State::Ready)
        .await;
    let asked = |name: &str| {
        let request = proto::GetVerifierRequest {
            name: name.to_owned(),
            target: proto::VerifierTarget::Substrate.into(),
        };
        let mut client = served.circuits();
        async move { client.get_verifier(request).await }
    };
    let refused = asked(&circuit).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "NO_EXAMPLE_PROOF")
    );
    assert!(refused.message().contains("create a job"));
    for input in ["1", "2"] {
        let created = served.create(job(&circuit, input)).await.unwrap();
        assert_eq!(served.wait(&created.name).await.state(), State::Succeeded);
        let request = proto::GetProofRequest {
            job: created.name,
            format: 0,
        };
        let proof = served.jobs().get_proof(request).await.unwrap().into_inner();
        let made = asked(&circuit).await.unwrap().into_inner();
        assert_eq!(made.files[0].data, proof.public_values);
    }
    let refused = asked(&other).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let nowhere = format!("circuits/{}", uuid::Uuid::now_v7());
    assert_eq!(asked(&nowhere).await.unwrap_err().code(), Code::NotFound);
    served.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_makes_one_job_and_refuses_another_body() {
    let served = serve().await;
    let circuit = served.ready().await;
    let request_id = uuid::Uuid::new_v4().to_string();
    let request = CreateJobRequest {
        request_id: request_id.clone(),
        allow_cached: Some(false),
        ..job(&circuit, "1")
    };
    let calls = (0..32).map(|_| {
        let (mut client, request) = (served.jobs(), request.clone());
        tokio::spawn(async move { client.create_job(request).await.unwrap().into_inner().name })
    });
    let mut names = HashSet::new();
    for call in calls.collect::<Vec<_>>() {
        names.insert(call.await.unwrap());
    }
    assert_eq!(names.len(), 1);
    let other = CreateJobRequest {
        request_id,
        ..job(&circuit, "2")
    };
    let refused = served.create(other).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::InvalidArgument, "REQUEST_ID_REUSED")
    );
    let refused = served
        .create(CreateJobRequest {
            request_id: "7".into(),
            ..job(&circuit, "2")
        })
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "BAD_REQUEST_ID");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_is_proved_once_unless_asked_otherwise() {
    let served = serve().await;
    let circuit = served.ready().await;
    let first = served.create(job(&circuit, "1")).await.unwrap();
    served.wait(&first.name).await;
    let again = served.create(job(&circuit, "1")).await.unwrap();
    assert!(again.deduplicated && again.name == first.name && again.state() == State::Succeeded);
    let other_context = CreateJobRequest {
        context: [vec![0; 31], vec![1]].concat(),
        ..job(&circuit, "1")
    };
    let other = served.create(other_context).await.unwrap();
    assert!(!other.deduplicated);
    let fresh = served
        .create(CreateJobRequest {
            allow_cached: Some(false),
            ..job(&circuit, "1")
        })
        .await
        .unwrap();
    assert!(!fresh.deduplicated && fresh.name != first.name);
    served.wait(&other.name).await;
    served.wait(&fresh.name).await;
    assert_eq!(served.fake.proofs.load(Ordering::Relaxed), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_inputs_and_messages_are_bounded() {
    let served = serve_with(Limits {
        max_queued: 2,
        drain_timeout: Duration::ZERO,
        ..Limits::default()
    })
    .await;
    let circuit = served.ready().await;
    served.fake.prove_ms.store(60_000, Ordering::Relaxed);
    let running = served.create(job(&circuit, "0")).await.unwrap();
    served.job_in(&running.name, State::Running).await;
    for input in ["1", "2"] {
        let queued = served.create(job(&circuit, input)).await.unwrap();
        assert!(queued.pending_reason.is_some());
    }
    let refused = served.create(job(&circuit, "3")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(
        refused.get_details_quota_failure().is_some() && refused.get_details_retry_info().is_some()
    );

    let input = Some(Input::InlineInput(vec![b'{'; (1 << 20) + 1]));
    let refused = served
        .create(CreateJobRequest {
            input,
            ..job(&circuit, "4")
        })
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::InvalidArgument, "INPUT_TOO_LARGE")
    );
    let input = Some(Input::InlineInput(vec![b'{'; 5 << 20]));
    let refused = served
        .create(CreateJobRequest {
            input,
            ..job(&circuit, "5")
        })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    let refused = served
        .create(CreateJobRequest {
            input: None,
            ..job(&circuit, "6")
        })
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "INPUT_MISSING");
    let context = vec![0xff; 32];
    let refused = served
        .create(CreateJobRequest {
            context,
            ..job(&circuit, "7")
        })
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "BAD_CONTEXT");
    let input = Some(Input::InlineInput(b"no json".to_vec()));
    let refused = served
        .create(CreateJobRequest {
            input,
            ..job(&circuit, "8")
        })
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "BAD_INPUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_bytes_are_bounded() {
    let served = serve_with(Limits {
        max_stored_bytes: 1000,
        ..Limits::default()
    })
    .await;
    served.upload(&[1; 600], ArtifactKind::Input).await;
    let request = proto::StartUploadRequest {
        digest: digest(&[2; 600]),
        size: 600,
        kind: ArtifactKind::Input.code(),
        ..Default::default()
    };
    let refused = served.artifacts().start_upload(request).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "QUOTA")
    );
    let huge = proto::StartUploadRequest {
        digest: digest(b"x"),
        size: (512 << 20) + 1,
        kind: ArtifactKind::Model.code(),
        ..Default::default()
    };
    let refused = served.artifacts().start_upload(huge).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::InvalidArgument, "TOO_LARGE")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_resumes_where_it_broke_and_bad_bytes_are_refused() {
    let served = serve().await;
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
    let started = served.start_upload(&bytes, ArtifactKind::Input).await;
    let id = started.upload_id.as_str();
    let write = |messages: Vec<WriteArtifactRequest>| {
        let mut client = served.artifacts();
        async move {
            client
                .write_artifact(iter(messages))
                .await
                .map(|r| r.into_inner().committed_size)
        }
    };
    assert_eq!(
        write(vec![header(id, 0), chunk(0, &bytes[..1_000_000])])
            .await
            .unwrap(),
        1_000_000
    );
    let why = |status: Status| reason(&status);
    assert_eq!(
        why(write(vec![chunk(0, b"x")]).await.unwrap_err()),
        "HEADER_MISSING"
    );
    assert_eq!(
        why(write(vec![header(id, 5)]).await.unwrap_err()),
        "OFFSET_MISMATCH"
    );
    let beyond = vec![header(id, 1_000_000), chunk(2_000_000, b"x")];
    assert_eq!(why(write(beyond).await.unwrap_err()), "OFFSET_MISMATCH");
    let mut flipped = chunk(1_000_000, b"xyz");
    if let Some(Message::Chunk(c)) = &mut flipped.message {
        c.data[0] ^= 1;
    }
    assert_eq!(
        why(write(vec![header(id, 1_000_000), flipped])
            .await
            .unwrap_err()),
        "CHECKSUM_MISMATCH"
    );
    let large = vec![
        header(id, 1_000_000),
        chunk(1_000_000, &bytes[1_000_000..2_500_000]),
    ];
    assert_eq!(why(write(large).await.unwrap_err()), "CHUNK_TOO_LARGE");
    assert_eq!(
        why(served.finish(id).await.unwrap_err()),
        "UPLOAD_INCOMPLETE"
    );

    // The server restarts; the upload goes on where it was.
    let Served {
        running,
        fake,
        data,
        ..
    } = served;
    running.stop().await.unwrap();
    let served = serve_on(data, Limits::default(), fake).await;
    let request = proto::GetUploadRequest {
        upload_id: id.to_owned(),
    };
    let state = served
        .artifacts()
        .get_upload(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(state.committed_size, 1_000_000);
    let rest = vec![
        header(id, 1_000_000),
        chunk(1_000_000, &bytes[1_000_000..2_000_000]),
        chunk(2_000_000, &bytes[2_000_000..]),
    ];
    served.artifacts().write_artifact(iter(rest)).await.unwrap();
    let artifact = served.finish(id).await.unwrap();
    assert_eq!(
        (artifact.size, artifact.digest),
        (3_000_000, digest(&bytes))
    );
    assert!(
        served
            .start_upload(&bytes, ArtifactKind::Input)
            .await
            .already_present
    );

    let request = proto::ReadArtifactRequest {
        digest: digest(&bytes),
        offset: 10,
        limit: 2_000_000,
    };
    let mut stream = served
        .artifacts()
        .read_artifact(request)
        .await
        .unwrap()
        .into_inner();
    let mut read = Vec::new();
    while let Some(part) = stream.message().await.unwrap() {
        let part = part.chunk.unwrap();
        assert_eq!(
            (part.offset, part.crc32c),
            (10 + read.len() as u64, crc32c::crc32c(&part.data))
        );
        read.extend(part.data);
    }
    assert!(read == bytes[10..2_000_010]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_another_digest_are_thrown_away() {
    let served = serve().await;
    let started = served.start_upload(b"promised", ArtifactKind::Input).await;
    let messages = vec![header(&started.upload_id, 0), chunk(0, b"anything")];
    served
        .artifacts()
        .write_artifact(iter(messages))
        .await
        .unwrap();
    let refused = served.finish(&started.upload_id).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::InvalidArgument, "DIGEST_MISMATCH")
    );
    let request = proto::FindMissingRequest {
        digests: vec![digest(b"promised").unwrap()],
    };
    assert_eq!(
        served
            .artifacts()
            .find_missing(request)
            .await
            .unwrap()
            .into_inner()
            .missing
            .len(),
        1
    );
    assert_ne!(
        served
            .start_upload(b"promised", ArtifactKind::Input)
            .await
            .upload_id,
        started.upload_id
    );
    let unknown = served
        .finish(&uuid::Uuid::new_v4().to_string())
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_not_found_and_what_is_no_name_is_invalid() {
    let served = serve().await;
    let get = |name: String| {
        let mut client = served.jobs();
        async move {
            client
                .get_job(proto::GetJobRequest { name, view: 0 })
                .await
                .unwrap_err()
        }
    };
    let unknown = get(format!("jobs/{}", uuid::Uuid::now_v7())).await;
    assert_eq!(
        (unknown.code(), reason(&unknown).as_str()),
        (Code::NotFound, "NOT_FOUND")
    );
    assert!(
        unknown
            .get_details_request_info()
            .is_some_and(|r| !r.request_id.is_empty())
    );
    assert_eq!(get("nonsense".into()).await.code(), Code::InvalidArgument);
    let circuit = format!("circuits/{}", uuid::Uuid::now_v7());
    assert_eq!(
        served.create(job(&circuit, "1")).await.unwrap_err().code(),
        Code::NotFound
    );
    let request = proto::ListJobsRequest {
        page_token: "made up".into(),
        ..Default::default()
    };
    assert_eq!(
        reason(&served.jobs().list_jobs(request).await.unwrap_err()),
        "BAD_PAGE_TOKEN"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_is_not_there_says_why() {
    let served = serve().await;
    let circuit = served.ready().await;
    served.fake.prove_ms.store(60_000, Ordering::Relaxed);
    let created = served.create(job(&circuit, "1")).await.unwrap();
    let request = proto::GetProofRequest {
        job: created.name.clone(),
        format: 0,
    };
    let refused = served.jobs().get_proof(request.clone()).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "NO_PROOF")
    );

    // A cancelled job frees the prover at once and stays cancelled.
    served.job_in(&created.name, State::Running).await;
    let request = proto::CancelJobRequest {
        name: created.name.clone(),
        etag: String::new(),
    };
    assert_eq!(
        served
            .jobs()
            .cancel_job(request.clone())
            .await
            .unwrap()
            .into_inner()
            .state(),
        State::Cancelled
    );
    served.fake.prove_ms.store(0, Ordering::Relaxed);
    let next = served.create(job(&circuit, "2")).await.unwrap();
    assert_eq!(served.wait(&next.name).await.state(), State::Succeeded);
    assert_eq!(
        served
            .jobs()
            .cancel_job(request)
            .await
            .unwrap()
            .into_inner()
            .state(),
        State::Cancelled
    );
    let stale = proto::CancelJobRequest {
        name: served.create(job(&circuit, "3")).await.unwrap().name,
        etag: "0".into(),
    };
    let answer = served.jobs().cancel_job(stale).await;
    assert!(answer.map_or_else(
        |s| s.code() == Code::Aborted,
        |j| j.into_inner().state() == State::Succeeded
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_the_gateway_refuses_is_never_released() {
    let served = serve().await;
    let circuit = served.ready().await;
    let request = CreateJobRequest {
        max_attempts: 1,
        ..job(&circuit, "\"lie!\"")
    };
    let created = served.create(request).await.unwrap();
    let ended = served.wait(&created.name).await;
    assert_eq!(ended.state(), State::Dead);
    assert_eq!(
        ended.failure.unwrap().class(),
        proto::FailureClass::ProofInvalid
    );
    let request = proto::GetProofRequest {
        job: created.name,
        format: 0,
    };
    assert_eq!(
        served.jobs().get_proof(request).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circuit_that_fails_says_why_and_takes_no_jobs() {
    let served = serve().await;
    let name = served.create_circuit(b"garbage", false).await.name;
    let failed = served
        .circuit_in(&name, proto::circuit::State::Failed)
        .await;
    assert_eq!(failed.failure.unwrap().code, "BAD_MODEL");
    let refused = served.create(job(&name, "1")).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "CIRCUIT_NOT_READY")
    );
    for (backend, outcome) in [
        (proto::Backend::Halo2KzgBn254, ""),
        (proto::Backend::Plonky2Goldilocks, "BACKEND_NOT_SERVED"),
    ] {
        let request = CreateCircuitRequest {
            model: digest(b"garbage"),
            calibration: digest(b"samples"),
            backend: backend.into(),
            validate_only: true,
            ..Default::default()
        };
        match served.circuits().create_circuit(request).await {
            Ok(circuit) => assert_eq!((circuit.into_inner().backend(), outcome), (backend, "")),
            Err(refused) => assert_eq!(reason(&refused), outcome),
        }
    }
    let missing = CreateCircuitRequest {
        model: digest(b"never"),
        calibration: digest(b"samples"),
        ..Default::default()
    };
    let refused = served.circuits().create_circuit(missing).await.unwrap_err();
    assert_eq!(reason(&refused), "ARTIFACT_MISSING");
    let swapped = CreateCircuitRequest {
        model: digest(b"samples"),
        calibration: digest(b"samples"),
        ..Default::default()
    };
    assert_eq!(
        reason(&served.circuits().create_circuit(swapped).await.unwrap_err()),
        "WRONG_KIND"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_input_is_deleted_after_success_and_never_echoed() {
    let served = serve().await;
    let name = served.create_circuit(b"model", true).await.name;
    let circuit = served.circuit_in(&name, proto::circuit::State::Ready).await;
    assert_eq!(circuit.inputs[0].visibility(), proto::Visibility::Private);
    let before = served.blobs();
    let created = served.create(job(&name, "31337")).await.unwrap();
    assert!(created.input.is_none());
    let done = served.wait(&created.name).await;
    assert_eq!(done.state(), State::Succeeded);
    assert!(done.input.is_none());
    for _ in 0..100 {
        if served.blobs() == before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(served.blobs(), before, "the stored input is gone");
    assert!(
        served
            .create(job(&name, "31337"))
            .await
            .unwrap()
            .deduplicated
    );
    assert_eq!(served.blobs(), before, "a repeated request leaves nothing");

    // The same for an input that was uploaded.
    let input = b"{\"input_data\": [[42]]}";
    served.upload(input, ArtifactKind::Input).await;
    let request = CreateJobRequest {
        circuit: name.clone(),
        input: Some(Input::InputArtifact(digest(input).unwrap())),
        ..Default::default()
    };
    let created = served.create(request).await.unwrap();
    assert_eq!(served.wait(&created.name).await.state(), State::Succeeded);
    for _ in 0..100 {
        if served.blobs() == before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(served.blobs(), before, "the uploaded input is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_remembered_tells_nothing_of_a_private_input() {
    let served = serve().await;
    let name = served.create_circuit(b"model", true).await.name;
    served.circuit_in(&name, proto::circuit::State::Ready).await;
    let mut request = job(&name, "4242");
    request.request_id.clear();
    let plain = Digest::of(&request.encode_to_vec()).0;
    request.request_id = uuid::Uuid::new_v4().to_string();
    let made = served.create(request.clone()).await.unwrap();
    assert_eq!(served.wait(&made.name).await.state(), State::Succeeded);
    let again = served.create(request.clone()).await.unwrap();
    assert!(again.deduplicated, "it is remembered");
    request.input = job(&name, "4243").input;
    let other = served.create(request).await.unwrap_err();
    assert_eq!(reason(&other), "REQUEST_ID_REUSED");
    let files = std::fs::read_dir(served.data.path().join("data"))
        .unwrap()
        .flatten();
    let files = files.filter(|f| f.path().is_file());
    let mut looked = 0;
    for file in files {
        let bytes = std::fs::read(file.path()).unwrap();
        assert!(!bytes.windows(32).any(|w| w == plain), "{:?}", file.path());
        looked += usize::from(file.file_name().to_str().unwrap().contains("zkinfer.db"));
    }
    assert!(looked >= 2, "the database and its log");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_is_longer_than_any_of_its_circuit_is_not_read() {
    let served = serve().await;
    let circuit = served.ready().await;
    let long = vec![b'1'; (1 << 20) + 1000];
    served.upload(&long, ArtifactKind::Input).await;
    let request = CreateJobRequest {
        circuit,
        input: Some(Input::InputArtifact(digest(&long).unwrap())),
        ..Default::default()
    };
    let refused = served.create(request).await.unwrap_err();
    assert_eq!(reason(&refused), "INPUT_TOO_LARGE");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_does_not_go_on_as_another_kind() {
    let served = serve().await;
    served.start_upload(b"x", ArtifactKind::Calibration).await;
    let request = proto::StartUploadRequest {
        digest: digest(b"x"),
        size: 1,
        kind: ArtifactKind::Input.code(),
        ..Default::default()
    };
    let refused = served.artifacts().start_upload(request).await.unwrap_err();
    assert_eq!(reason(&refused), "KIND_MISMATCH");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_broke_goes_on_at_its_cursor() {
    let served = serve().await;
    let circuit = served.ready().await;
    served.fake.prove_ms.store(1500, Ordering::Relaxed);
    let name = served.create(job(&circuit, "1")).await.unwrap().name;
    let watch = |cursor: String| {
        let mut client = served.jobs();
        let request = WatchJobsRequest {
            names: vec![name.clone()],
            cursor,
            ..Default::default()
        };
        async move { client.watch_jobs(request).await.unwrap().into_inner() }
    };
    let mut stream = watch("0".into()).await;
    let first = stream.message().await.unwrap().unwrap();
    assert!(
        matches!(first.event, Some(Event::Snapshot(_))),
        "the first event is a snapshot"
    );
    let mut seen = Vec::new();
    let mut progress = 0;
    let mut cursor = first.cursor;
    // Every second event the connection breaks.
    'watch: loop {
        for _ in 0..2 {
            let Some(event) = stream.message().await.unwrap() else {
                break 'watch;
            };
            cursor = event.cursor;
            match event.event {
                Some(Event::State(change)) => seen.push((change.from(), change.to())),
                Some(Event::Progress(_)) => progress += 1,
                _ => {}
            }
        }
        stream = watch(cursor.clone()).await;
    }
    let expected = [
        (State::Unspecified, State::Queued),
        (State::Queued, State::Leased),
        (State::Leased, State::Running),
        (State::Running, State::Succeeded),
    ];
    assert_eq!(seen, expected);
    assert!(progress > 0, "progress is told between changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_jobs_and_proves_what_was_queued() {
    let served = serve().await;
    let circuit = served.ready().await;
    let done = served.create(job(&circuit, "1")).await.unwrap().name;
    served.wait(&done).await;
    served.fake.prove_ms.store(60_000, Ordering::Relaxed);
    let running = served.create(job(&circuit, "2")).await.unwrap().name;
    let queued = served.create(job(&circuit, "3")).await.unwrap().name;
    served.job_in(&running, State::Running).await;
    let Served {
        running: server,
        fake,
        data,
        ..
    } = served;
    server.stop().await.unwrap();
    fake.prove_ms.store(0, Ordering::Relaxed);
    let served = serve_on(data, Limits::default(), fake).await;
    for name in [&done, &running, &queued] {
        let job = served.wait(name).await;
        assert_eq!(job.state(), State::Succeeded, "{name}");
        assert!(job.failure.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_served_and_other_addresses_need_a_flag() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let served = serve().await;
    let mut health = HealthClient::new(served.channel.clone());
    for service in [
        "",
        "zkinfer.v1.Jobs",
        "zkinfer.v1.Circuits",
        "zkinfer.v1.Artifacts",
    ] {
        let answer = health
            .check(HealthCheckRequest {
                service: service.into(),
            })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.status, 1, "{service}");
    }
    let config = ServeConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        data: tempfile::tempdir().unwrap().path().join("data"),
        limits: Limits::default(),
        ..ServeConfig::default()
    };
    let refused = server::start(&config, Arc::new(FakeWork(Arc::default()))).await;
    assert!(refused.unwrap_err().to_string().contains("--tls-cert"));
}
