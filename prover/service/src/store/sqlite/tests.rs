use proptest::prelude::*;

use super::*;

use crate::{
    farm::job::{Judgement, Life, Step},
    store::{Backend, CircuitState, FailureClass, JobState, Labels, Priority, Trust, conformance},
};

const T: TenantId = TenantId::DEFAULT;

struct Folder {
    store: SqliteStore,
    dir: tempfile::TempDir,
}

impl Folder {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = SqliteStore::open(&dir.path().join("db"))
            .await
            .expect("a fresh store");
        Self { store, dir }
    }

    /// Opens the same file again, as after a crash.
    async fn reopen(self) -> Self {
        let Self { store, dir } = self;
        store.close().await;
        let store = SqliteStore::open(&dir.path().join("db"))
            .await
            .expect("the same store");
        Self { store, dir }
    }

    async fn ready_circuit(&self) -> CircuitId {
        let circuit = self
            .store
            .create_circuit(T, new_circuit(1))
            .await
            .expect("created")
            .resource;
        let compile = self
            .store
            .claim(JobKind::ALL)
            .await
            .expect("claimed")
            .expect("the COMPILE job");
        assert_eq!(compile.kind, JobKind::Compile);
        self.store
            .start(compile.id, compile.epoch)
            .await
            .expect("started");
        self.store
            .commit_compile(compile.id, compile.epoch, compile_facts())
            .await
            .expect("committed");
        let setup = self
            .store
            .claim(JobKind::ALL)
            .await
            .expect("claimed")
            .expect("the SETUP job");
        assert_eq!(setup.kind, JobKind::Setup);
        self.store
            .commit_setup(setup.id, setup.epoch, setup_facts())
            .await
            .expect("committed");
        circuit.id
    }
}

fn new_circuit(seed: u8) -> NewCircuit {
    NewCircuit {
        fingerprint: Digest([seed; 32]),
        backend: Backend::UltraGroth,
        model: Digest([1; 32]),
        settings: None,
        calibration: Digest([2; 32]),
        labels: Labels::new(),
        request: None,
        max_queued: 1000,
    }
}

fn compile_facts() -> CompileFacts {
    CompileFacts {
        program: [3; 32],
        inputs: vec![],
        outputs: vec![],
        ram_bytes: 1,
        estimated_prove_ms: 1,
    }
}

fn setup_facts() -> SetupFacts {
    SetupFacts {
        proving_key: [4; 32],
        proving_key_bytes: 10,
        verifying_key: [5; 32],
        vk_digest: [6; 32],
    }
}

fn new_job(circuit: CircuitId, input: u8) -> NewJob {
    NewJob {
        circuit,
        priority: Priority::Normal,
        input: (Digest([input; 32]), 1),
        identity: Digest([input; 32]),
        input_artifact: None,
        private_input: false,
        input_key: Vec::new(),
        min_trust: Trust::Untrusted,
        pools: Vec::new(),
        trace: Default::default(),
        context: [0; 32],
        allow_cached: true,
        ttl_ms: 3_600_000,
        max_attempts: 3,
        labels: Labels::new(),
        request: None,
        max_queued: 1000,
    }
}

fn new_proof(byte: u8) -> NewProof {
    NewProof {
        proof: vec![byte; 8],
        public_values: vec![0; 32],
        vk_digest: [6; 32],
        verifier_version: "test".into(),
        verify_ms: 1,
        key_load_ms: 1,
        prove_ms: 1,
        peak_ram: 1,
    }
}

#[tokio::test]
async fn compile_and_setup_are_jobs_and_make_the_circuit_ready() {
    let folder = Folder::new().await;
    let id = folder.ready_circuit().await;
    let circuit = folder.store.circuit(T, id).await.expect("it exists");
    assert_eq!(circuit.state, CircuitState::Ready);
    assert_eq!(circuit.keys.map(|k| k.vk_digest), Some([6; 32]));
    let again = folder
        .store
        .create_circuit(T, new_circuit(1))
        .await
        .expect("answered");
    assert!(again.existed && again.resource.id == id);
}

#[tokio::test]
async fn a_failed_compile_fails_the_circuit_and_the_next_request_starts_afresh() {
    let folder = Folder::new().await;
    let first = folder
        .store
        .create_circuit(T, new_circuit(1))
        .await
        .expect("created")
        .resource
        .id;
    let job = folder
        .store
        .claim(JobKind::ALL)
        .await
        .expect("claimed")
        .expect("the COMPILE job");
    let failure = Failure::new(FailureClass::InvalidRequest, "BAD_MODEL", "no");
    folder
        .store
        .fail(job.id, job.epoch, failure)
        .await
        .expect("failed");
    let circuit = folder.store.circuit(T, first).await.expect("it exists");
    assert_eq!(
        (circuit.state, circuit.failure.map(|f| f.code)),
        (CircuitState::Failed, Some("BAD_MODEL".into()))
    );
    let refused = folder.store.create_job(T, new_job(first, 1)).await;
    assert!(matches!(refused, Err(StoreError::CircuitNotReady { .. })));
    let second = folder
        .store
        .create_circuit(T, new_circuit(1))
        .await
        .expect("created");
    assert!(!second.existed && second.resource.id != first);
}

#[tokio::test]
async fn a_restart_queues_what_ran_and_keeps_what_ended() {
    let folder = Folder::new().await;
    let circuit = folder.ready_circuit().await;
    let done = folder
        .store
        .create_job(T, new_job(circuit, 1))
        .await
        .expect("created")
        .resource;
    let claimed = folder
        .store
        .claim(JobKind::ALL)
        .await
        .expect("claimed")
        .expect("a job");
    folder
        .store
        .commit_proof(done.id, claimed.epoch, None, new_proof(1))
        .await
        .expect("committed");
    let lost = folder
        .store
        .create_job(T, new_job(circuit, 2))
        .await
        .expect("created")
        .resource;
    let claimed = folder
        .store
        .claim(JobKind::ALL)
        .await
        .expect("claimed")
        .expect("a job");
    folder
        .store
        .start(lost.id, claimed.epoch)
        .await
        .expect("started");
    let waiting = folder
        .store
        .create_job(T, new_job(circuit, 3))
        .await
        .expect("created")
        .resource;

    let folder = folder.reopen().await;
    assert_eq!(
        folder.store.recover(30_000).await.expect("recovered"),
        Recovered {
            requeued: 1,
            held: 0
        }
    );
    let state = |job: Job| (job.state, job.lost_count, job.attempt_count);
    assert_eq!(
        state(folder.store.job(T, done.id).await.expect("kept")),
        (JobState::Succeeded, 0, 0)
    );
    assert_eq!(
        state(folder.store.job(T, lost.id).await.expect("kept")),
        (JobState::Queued, 1, 0)
    );
    assert_eq!(
        state(folder.store.job(T, waiting.id).await.expect("kept")),
        (JobState::Queued, 0, 0)
    );
    // The attempt that the restart took away may still have made a good proof.
    let late = folder
        .store
        .commit_proof(lost.id, claimed.epoch, None, new_proof(2))
        .await
        .expect("answered");
    assert_eq!(late, CommitOutcome::Accepted);
}

#[tokio::test]
async fn a_job_has_one_proof_whoever_commits_twice() {
    let folder = Folder::new().await;
    let circuit = folder.ready_circuit().await;
    let job = folder
        .store
        .create_job(T, new_job(circuit, 1))
        .await
        .expect("created")
        .resource;
    let claimed = folder
        .store
        .claim(JobKind::ALL)
        .await
        .expect("claimed")
        .expect("a job");
    assert_eq!(
        folder
            .store
            .commit_proof(job.id, 1, None, new_proof(1))
            .await
            .expect("first"),
        CommitOutcome::Accepted
    );
    let second = folder
        .store
        .commit_proof(job.id, claimed.epoch, None, new_proof(2))
        .await
        .expect("second");
    assert_eq!(second, CommitOutcome::AlreadyProven);
    let proof = folder
        .store
        .proof(T, job.id)
        .await
        .expect("read")
        .expect("there");
    assert_eq!(proof.proof, vec![1; 8]);
    let cancelled = folder
        .store
        .cancel(T, job.id, None)
        .await
        .expect("answered");
    assert_eq!(cancelled.state, JobState::Succeeded);
}

#[tokio::test]
async fn a_proof_after_a_cancel_is_dropped() {
    let folder = Folder::new().await;
    let circuit = folder.ready_circuit().await;
    let job = folder
        .store
        .create_job(T, new_job(circuit, 1))
        .await
        .expect("created")
        .resource;
    let claimed = folder
        .store
        .claim(JobKind::ALL)
        .await
        .expect("claimed")
        .expect("a job");
    assert_eq!(
        folder
            .store
            .cancel(T, job.id, None)
            .await
            .expect("cancelled")
            .state,
        JobState::Cancelled
    );
    let late = folder
        .store
        .commit_proof(job.id, claimed.epoch, None, new_proof(1))
        .await
        .expect("answered");
    assert_eq!(late, CommitOutcome::JobEnded);
    assert!(folder.store.proof(T, job.id).await.expect("read").is_none());
    // The content is free again: the cancelled job does not answer for it.
    assert!(
        !folder
            .store
            .create_job(T, new_job(circuit, 1))
            .await
            .expect("created")
            .existed
    );
}

#[tokio::test]
async fn the_same_content_is_one_job_unless_asked_otherwise() {
    let folder = Folder::new().await;
    let circuit = folder.ready_circuit().await;
    let first = folder
        .store
        .create_job(T, new_job(circuit, 1))
        .await
        .expect("created");
    let same = folder
        .store
        .create_job(T, new_job(circuit, 1))
        .await
        .expect("answered");
    assert!(same.existed && same.resource.id == first.resource.id);
    let other_context = NewJob {
        context: [1; 32],
        ..new_job(circuit, 1)
    };
    assert!(
        !folder
            .store
            .create_job(T, other_context)
            .await
            .expect("created")
            .existed
    );
    let fresh = NewJob {
        allow_cached: false,
        ..new_job(circuit, 1)
    };
    assert!(
        !folder
            .store
            .create_job(T, fresh)
            .await
            .expect("created")
            .existed
    );
}

#[tokio::test]
async fn a_request_id_answers_its_job_and_refuses_another_body() {
    let folder = Folder::new().await;
    let circuit = folder.ready_circuit().await;
    let key = |body: u8| {
        Some(RequestKey {
            request_id: "id".into(),
            fingerprint: Digest([body; 32]),
        })
    };
    let job = |input, body| NewJob {
        request: key(body),
        allow_cached: false,
        ..new_job(circuit, input)
    };
    let first = folder
        .store
        .create_job(T, job(1, 1))
        .await
        .expect("created")
        .resource
        .id;
    let folder = folder.reopen().await;
    assert_eq!(
        folder
            .store
            .create_job(T, job(1, 1))
            .await
            .expect("answered")
            .resource
            .id,
        first
    );
    assert!(matches!(
        folder.store.create_job(T, job(2, 2)).await,
        Err(StoreError::RequestIdReused(_))
    ));
}

#[tokio::test]
async fn the_queue_is_bounded() {
    let folder = Folder::new().await;
    let circuit = folder.ready_circuit().await;
    let job = |input| NewJob {
        max_queued: 2,
        ..new_job(circuit, input)
    };
    for input in 1..=2 {
        folder
            .store
            .create_job(T, job(input))
            .await
            .expect("there is room");
    }
    assert!(matches!(
        folder.store.create_job(T, job(3)).await,
        Err(StoreError::Quota {
            used: 2,
            limit: 2,
            ..
        })
    ));
}

#[tokio::test]
async fn a_deadline_ends_a_job_in_any_live_state() {
    let folder = Folder::new().await;
    let circuit = folder.ready_circuit().await;
    let job = |input| NewJob {
        ttl_ms: 1,
        ..new_job(circuit, input)
    };
    let running = folder
        .store
        .create_job(T, job(1))
        .await
        .expect("created")
        .resource
        .id;
    let claimed = folder
        .store
        .claim(JobKind::ALL)
        .await
        .expect("claimed")
        .expect("a job");
    folder
        .store
        .start(running, claimed.epoch)
        .await
        .expect("started");
    let queued = folder
        .store
        .create_job(T, job(2))
        .await
        .expect("created")
        .resource
        .id;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert_eq!(folder.store.expire().await.expect("expired").len(), 2);
    for id in [running, queued] {
        assert_eq!(
            folder.store.job(T, id).await.expect("kept").state,
            JobState::Expired
        );
    }
}

#[tokio::test]
async fn events_are_numbered_in_order_and_tell_every_change() {
    let folder = Folder::new().await;
    let circuit = folder.ready_circuit().await;
    let cursor = folder.store.last_event(T).await.expect("read");
    let id = folder
        .store
        .create_job(T, new_job(circuit, 1))
        .await
        .expect("created")
        .resource
        .id;
    let claimed = folder
        .store
        .claim(JobKind::ALL)
        .await
        .expect("claimed")
        .expect("a job");
    folder
        .store
        .start(id, claimed.epoch)
        .await
        .expect("started");
    folder
        .store
        .commit_proof(id, claimed.epoch, None, new_proof(1))
        .await
        .expect("committed");
    let events = folder
        .store
        .events_after(T, cursor, 100)
        .await
        .expect("read");
    let states: Vec<JobState> = events.iter().map(|e| e.to).collect();
    assert_eq!(
        states,
        [
            JobState::Queued,
            JobState::Leased,
            JobState::Running,
            JobState::Succeeded
        ]
    );
    assert!(
        events
            .windows(2)
            .all(|w| w[0].seq < w[1].seq && w[1].from == Some(w[0].to))
    );
}

#[tokio::test]
async fn pages_cover_the_list_once_newest_first() {
    let folder = Folder::new().await;
    let circuit = folder.ready_circuit().await;
    let mut made = Vec::new();
    for input in 0..7 {
        made.push(
            folder
                .store
                .create_job(T, new_job(circuit, input))
                .await
                .expect("created")
                .resource
                .id,
        );
    }
    made.reverse();
    let filter = JobFilter {
        states: vec![JobState::Queued],
        circuit: Some(circuit),
        ..JobFilter::default()
    };
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = folder
            .store
            .jobs(T, &filter, &Page { size: 3, after })
            .await
            .expect("read");
        let Some(last) = page.last() else { break };
        after = Some((last.created_at, last.id.0));
        seen.extend(page.iter().map(|j| j.id));
    }
    assert_eq!(seen, made);
}

#[tokio::test]
async fn labels_filter_lists() {
    let folder = Folder::new().await;
    let circuit = folder.ready_circuit().await;
    let labels = Labels::from([("team".to_owned(), "a'b".to_owned())]);
    let labelled = NewJob {
        labels: labels.clone(),
        ..new_job(circuit, 1)
    };
    let id = folder
        .store
        .create_job(T, labelled)
        .await
        .expect("created")
        .resource
        .id;
    folder
        .store
        .create_job(T, new_job(circuit, 2))
        .await
        .expect("created");
    let filter = JobFilter {
        labels,
        ..JobFilter::default()
    };
    let found = folder
        .store
        .jobs(
            T,
            &filter,
            &Page {
                size: 10,
                after: None,
            },
        )
        .await
        .expect("read");
    assert_eq!(found.iter().map(|j| j.id).collect::<Vec<_>>(), [id]);
}

#[tokio::test]
async fn an_artifact_that_a_live_job_needs_is_not_forgotten() {
    let folder = Folder::new().await;
    let circuit = folder.ready_circuit().await;
    let job = folder
        .store
        .create_job(T, new_job(circuit, 9))
        .await
        .expect("created")
        .resource;
    let input = Digest([9; 32]);
    assert!(
        !folder
            .store
            .remove_artifact(T, &input)
            .await
            .expect("answered")
    );
    folder
        .store
        .cancel(T, job.id, None)
        .await
        .expect("cancelled");
    assert!(
        folder
            .store
            .remove_artifact(T, &input)
            .await
            .expect("answered")
    );
    assert!(
        folder
            .store
            .artifact(T, &input)
            .await
            .expect("read")
            .is_none()
    );
}

#[tokio::test]
async fn a_newer_data_folder_is_refused() {
    let folder = Folder::new().await;
    sqlx::raw_sql("PRAGMA user_version = 99")
        .execute(&folder.store.writer)
        .await
        .expect("written");
    folder.store.close().await;
    let refused = SqliteStore::open(&folder.dir.path().join("db")).await;
    assert!(matches!(
        refused,
        Err(StoreError::Newer {
            found: 99,
            known: migrate::SCHEMA_VERSION
        })
    ));
}

#[tokio::test]
async fn a_full_disk_is_told_and_the_store_works_again_when_there_is_room() {
    let folder = Folder::new().await;
    let circuit = folder.ready_circuit().await;
    // As long as this connection lives, the file may not grow.
    sqlx::raw_sql("PRAGMA max_page_count = 1")
        .execute(&folder.store.writer)
        .await
        .expect("set");
    let labels = Labels::from([("long".to_owned(), "x".repeat(100_000))]);
    let large = NewJob {
        labels,
        ..new_job(circuit, 1)
    };
    let refused = folder.store.create_job(T, large.clone()).await;
    assert!(matches!(refused, Err(StoreError::DiskFull)), "{refused:?}");
    let created = folder
        .store
        .create_job(T, large)
        .await
        .expect("there is room");
    assert!(!created.existed);
}

fn step() -> impl Strategy<Value = Step> {
    let judgement = prop::sample::select(&[Judgement::Retry, Judgement::Failed][..]);
    prop_oneof![
        3 => Just(Step::Claim),
        3 => (0..4i64).prop_map(|epoch| Step::Start { epoch }),
        1 => (0..4i64).prop_map(|epoch| Step::Commit { epoch }),
        2 => (0..4i64, judgement).prop_map(|(epoch, judgement)| Step::Fail { epoch, judgement }),
        1 => (0..4i64).prop_map(|epoch| Step::Release { epoch }),
        2 => Just(Step::Lost { epoch: 0 }),
        1 => Just(Step::Cancel),
    ]
}

/// Takes `step` through the store; whether it changed anything.
async fn take(store: &SqliteStore, id: JobId, step: Step) -> bool {
    match step {
        Step::Claim => {
            // Backoff is not what is tested here.
            sqlx::query("UPDATE jobs SET not_before=0")
                .execute(&store.writer)
                .await
                .expect("written");
            store.claim(JobKind::ALL).await.expect("claimed").is_some()
        }
        Step::Start { epoch } => store.start(id, epoch).await.is_ok(),
        Step::Commit { epoch } => {
            matches!(
                store.commit_proof(id, epoch, None, new_proof(1)).await,
                Ok(CommitOutcome::Accepted)
            )
        }
        Step::Fail { epoch, judgement } => {
            let class = match judgement {
                Judgement::Failed => FailureClass::InvalidRequest,
                _ => FailureClass::Internal,
            };
            store
                .fail(id, epoch, Failure::new(class, "X", "x"))
                .await
                .is_ok()
        }
        Step::Release { epoch } => store.release(id, epoch).await.is_ok(),
        Step::Lost { .. } => store.recover(30_000).await.expect("recovered").requeued > 0,
        Step::Cancel => {
            let before = store.job(T, id).await.expect("kept").state;
            store.cancel(T, id, None).await.expect("answered").state != before
        }
        Step::Copy | Step::Expire => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_store_follows_the_state_machine(steps in prop::collection::vec(step(), 1..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let folder = Folder::new().await;
            let circuit = folder.ready_circuit().await;
            let id = folder.store.create_job(T, new_job(circuit, 1)).await.expect("created").resource.id;
            let mut life = Life::queued(3);
            for step in steps {
                // A restart loses whatever attempt there is.
                let step = match step {
                    Step::Lost { .. } => Step::Lost { epoch: life.epoch },
                    other => other,
                };
                let expected = life.after(step);
                let changed = take(&folder.store, id, step).await;
                prop_assert_eq!(changed, expected.is_ok(), "{:?} on {:?}", step, life);
                if let Ok((next, _)) = expected {
                    life = next;
                }
                let job = folder.store.job(T, id).await.expect("kept");
                prop_assert_eq!((job.state, job.epoch, job.attempt_count, job.lost_count),
                    (life.state, life.epoch, life.attempts, life.lost));
                let proof = folder.store.proof(T, id).await.expect("read");
                prop_assert_eq!(proof.is_some(), life.state == JobState::Succeeded);
            }
            Ok(())
        })?;
    }
}

#[async_trait::async_trait]
impl conformance::Subject for Folder {
    fn store(&self) -> &dyn crate::store::Store {
        &self.store
    }

    fn set_clock(&self, now: Millis) {
        self.store.set_clock(now);
    }

    async fn add_tenant(&self, name: &str) -> TenantId {
        let row = sqlx::query("INSERT INTO tenants(name,created_at) VALUES (?,0) RETURNING id")
            .bind(name)
            .fetch_one(&self.store.writer)
            .await
            .expect("a tenant");
        TenantId(row.try_get(0).expect("its id"))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_store_conforms_to_the_model_of_tenants_nodes_and_leases(steps in conformance::steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let folder = Folder::new().await;
            conformance::check(&folder, &steps).await
        })?;
    }
}

#[tokio::test]
async fn what_another_tenant_uploaded_is_missing_until_a_tenant_uploads_it_itself() {
    use conformance::Subject as _;
    let folder = Folder::new().await;
    let other = folder.add_tenant("other").await;
    let (store, digest) = (&folder.store, Digest([7; 32]));
    let kind = ArtifactKind::Model;
    store.add_artifact(T, digest, 5, kind).await.expect("added");
    let missing = store.missing_artifacts(other, &[digest]).await;
    assert_eq!(missing.expect("read"), [digest]);
    assert!(
        store
            .artifact(other, &digest)
            .await
            .expect("read")
            .is_none()
    );
    // Uploads of the same bytes do not meet.
    let mine = store.start_upload(T, Digest([8; 32]), 3, kind).await;
    let mine = mine.expect("begun").id;
    let theirs = store.start_upload(other, Digest([8; 32]), 3, kind).await;
    let theirs = theirs.expect("begun").id;
    assert_ne!(mine, theirs);
    assert!(matches!(
        store.upload(other, mine).await,
        Err(StoreError::NotFound { .. })
    ));
    store.end_upload(theirs, true).await.expect("ended");
    let missing = store.missing_artifacts(T, &[Digest([8; 32])]).await;
    assert_eq!(missing.expect("read").len(), 1);
    // The file stays as long as anybody has it.
    store
        .add_artifact(other, digest, 5, kind)
        .await
        .expect("added");
    assert!(!store.remove_artifact(T, &digest).await.expect("answered"));
    assert!(store.artifact(T, &digest).await.expect("read").is_none());
    assert!(
        store
            .artifact(other, &digest)
            .await
            .expect("read")
            .is_some()
    );
    assert!(
        store
            .remove_artifact(other, &digest)
            .await
            .expect("answered")
    );
    assert!(!store.has_blob(&digest).await.expect("read"));
}

#[tokio::test]
async fn circuits_request_ids_and_places_in_the_queue_tell_nothing_of_other_tenants() {
    use conformance::Subject as _;
    let folder = Folder::new().await;
    let other = folder.add_tenant("other").await;
    let circuit = folder.ready_circuit().await;
    let store = &folder.store;
    assert!(matches!(
        store.circuit(other, circuit).await,
        Err(StoreError::NotFound { .. })
    ));
    assert!(matches!(
        store.create_job(other, new_job(circuit, 1)).await,
        Err(StoreError::NotFound { .. })
    ));
    let same = store.create_circuit(other, new_circuit(1)).await;
    let same = same.expect("created");
    assert!(!same.existed && same.resource.id != circuit);
    let key = RequestKey {
        request_id: "id".into(),
        fingerprint: Digest([1; 32]),
    };
    let job = NewJob {
        request: Some(key.clone()),
        ..new_job(circuit, 1)
    };
    store.create_job(T, job).await.expect("created");
    let remembered = store.remembered_job(other, &key).await.expect("read");
    assert!(remembered.is_none());
    let (all, page) = (
        JobFilter::default(),
        Page {
            size: 9,
            after: None,
        },
    );
    let compile = store.jobs(other, &all, &page);
    let compile = compile.await.expect("read");
    assert_eq!(compile.len(), 1);
    assert_eq!(store.jobs_ahead(&compile[0]).await.expect("read"), 0);
    assert_eq!(store.last_event(other).await.expect("read"), 1);
}

#[tokio::test]
async fn a_tenants_own_bounds_go_before_the_servers() {
    let folder = Folder::new().await;
    let circuit = folder.ready_circuit().await;
    sqlx::query("UPDATE tenants SET max_queued=1, max_artifact_bytes=100")
        .execute(&folder.store.writer)
        .await
        .expect("written");
    let first = folder.store.create_job(T, new_job(circuit, 1)).await;
    first.expect("there is room");
    assert!(matches!(
        folder.store.create_job(T, new_job(circuit, 2)).await,
        Err(StoreError::Quota {
            used: 1,
            limit: 1,
            ..
        })
    ));
    let stored = folder.store.stored_bytes(T).await.expect("read");
    assert_eq!((stored.tenant, stored.tenant_limit), (11, Some(100)));
}

#[tokio::test]
async fn a_tenant_pays_for_its_proofs_and_not_for_what_nodes_lost() {
    use crate::store::{FarmStore as _, Want};
    use conformance::Subject as _;
    let folder = Folder::new().await;
    folder.set_clock(1_000_000);
    let circuit = folder.ready_circuit().await;
    let store = &folder.store;
    let node = NodeId::fresh();
    let added = store
        .add_node(node, "node", vec![4], Trust::Owned, &[])
        .await;
    added.expect("added");
    let session = store
        .open_session(node, "1", conformance::capabilities(1, 1), &[], 1000)
        .await;
    let session = session.expect("opened").number;
    let job = store.create_job(T, new_job(circuit, 1)).await;
    let job = job.expect("created").resource.id;
    let vtime = || async {
        let row = sqlx::query("SELECT vtime FROM tenants WHERE id=1");
        let row = row.fetch_one(&store.readers).await.expect("read");
        row.try_get::<f64, _>(0).expect("a number")
    };
    let want = Want {
        job,
        charge_ms: 500,
        at_most_ms: 10_000,
        copy: false,
    };
    let leased = store
        .lease(node, session, &[want], 1000)
        .await
        .expect("leased");
    assert_eq!((leased.len(), vtime().await), (1, 500.0));
    folder.set_clock(1_002_000);
    assert_eq!(store.expire_leases().await.expect("looked").len(), 1);
    assert_eq!(vtime().await, 0.0);
    let again = store
        .lease(node, session, &[want], 1000)
        .await
        .expect("leased");
    let proof = NewProof {
        prove_ms: 70,
        ..new_proof(1)
    };
    store
        .commit_proof(job, again[0].attempt.epoch, Some(node), proof)
        .await
        .expect("committed");
    assert_eq!(vtime().await, 70.0);
}

#[tokio::test]
async fn tenants_share_by_weight_and_one_that_comes_back_has_saved_nothing_up() {
    use crate::store::{AccessStore as _, FarmStore as _, NewTenant, TenantBounds, Want};
    use conformance::Subject as _;
    let folder = Folder::new().await;
    folder.set_clock(1_000_000);
    let store = &folder.store;
    let tenant = async |name: &str, weight: f64| {
        let new = NewTenant {
            name: name.to_owned(),
            bounds: TenantBounds {
                weight,
                max_running: 0,
                max_queued: 0,
                max_artifact_bytes: 0,
                requests_per_second: 0.0,
            },
            request: None,
        };
        store.create_tenant(new).await.expect("created").id
    };
    let heavy = tenant("heavy", 10.0).await;
    let light = tenant("light", 1.0).await;
    let back = tenant("back", 1.0).await;
    let node = NodeId::fresh();
    let added = store.add_node(node, "node", vec![4], Trust::Owned, &[]);
    added.await.expect("added");
    let opened = store.open_session(node, "1", conformance::capabilities(4, 1), &[], 1000);
    let session = opened.await.expect("opened").number;
    let queue = async |tenant: TenantId, input: u8| {
        let circuit = conformance::ready_circuit(store, tenant, input).await;
        let created = store.create_job(tenant, new_job(circuit, input)).await;
        created.expect("created").resource.id
    };
    let vtime = async |tenant: TenantId| {
        let row = sqlx::query("SELECT vtime FROM tenants WHERE id=?").bind(tenant.0);
        let row = row.fetch_one(&store.readers).await.expect("read");
        row.try_get::<f64, _>(0).expect("a number")
    };
    let jobs = [
        (heavy, queue(heavy, 1).await),
        (light, queue(light, 2).await),
    ];
    for (_, job) in jobs {
        let want = Want {
            job,
            charge_ms: 1000,
            at_most_ms: 10_000,
            copy: false,
        };
        let leased = store.lease(node, session, &[want], 1000).await;
        assert_eq!(leased.expect("leased").len(), 1);
    }
    // What others run does not make a tenant's own time dearer.
    assert_eq!((vtime(heavy).await, vtime(light).await), (100.0, 1000.0));
    queue(back, 3).await;
    assert_eq!(vtime(back).await, 100.0, "the least of those who work");
    queue(heavy, 4).await;
    assert_eq!(vtime(heavy).await, 100.0, "it never stopped");
}
