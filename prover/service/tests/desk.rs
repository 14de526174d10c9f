//! The desk for prover nodes: honest ones, slow ones, lost ones, hostile ones.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod fake;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use fake::{Fake, FakeWork};
use zkinfer_service::{
    config::Limits,
    farm::{
        Desk, Farm,
        lease::{
            Acquire, AttemptId, AttemptStatus, Beat, Finished, Granted, Hello, Lease, UplinkError,
            Verdict,
        },
        scheduler::PendingKind,
    },
    store::{
        AttemptOutcome, Backend, Blobs, Capabilities, CircuitId, CommitOutcome, CompileFacts,
        Digest, Failure, FailureClass, Job, JobId, JobKind, JobState, NewCircuit, NewJob,
        NodeChange, NodeId, NodeState, Phase, Priority, Resources, SetupFacts, TenantId, Trust,
        sealed::Vault, sqlite::SqliteStore,
    },
};

const T: TenantId = TenantId::DEFAULT;
const VK: [u8; 32] = [7; 32];

struct Gateway {
    desk: Desk,
    farm: Arc<Farm>,
    work: Arc<Fake>,
    circuit: CircuitId,
    data: tempfile::TempDir,
}

async fn farm(data: &std::path::Path, work: &Arc<Fake>) -> Arc<Farm> {
    let limits = Limits {
        lease_ttl: Duration::from_millis(600),
        heartbeat: Duration::from_millis(100),
        ..Limits::default()
    };
    let vault = Arc::new(Vault::open(&data.join("kek")).unwrap());
    Arc::new(Farm::new(
        Arc::new(SqliteStore::open(&data.join("db")).await.unwrap()),
        Blobs::open(data, vault).unwrap(),
        Arc::new(FakeWork(Arc::clone(work))),
        limits,
        data.to_owned(),
    ))
}

impl Gateway {
    async fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let work = Arc::default();
        let farm = farm(data.path(), &work).await;
        let circuit = circuit(&farm).await;
        Self {
            desk: Desk::new(Arc::clone(&farm)),
            farm,
            work,
            circuit,
            data,
        }
    }

    /// Another process on the same data folder.
    async fn restart(self) -> Self {
        self.farm.store.close().await;
        let farm = farm(self.data.path(), &self.work).await;
        farm.store.recover(600).await.unwrap();
        Self {
            desk: Desk::new(Arc::clone(&farm)),
            farm,
            ..self
        }
    }

    async fn job(&self, input: &[u8]) -> JobId {
        self.job_with(input, |new| new).await
    }

    async fn job_with(&self, input: &[u8], change: impl FnOnce(NewJob) -> NewJob) -> JobId {
        let digest = self.farm.blobs.put(input).unwrap();
        let new = NewJob {
            circuit: self.circuit,
            priority: Priority::Normal,
            input: (digest, input.len() as u64),
            identity: digest,
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
            labels: Default::default(),
            request: None,
            max_queued: 1000,
        };
        let created = self.farm.store.create_job(T, change(new)).await.unwrap();
        created.resource.id
    }

    async fn see(&self, id: JobId) -> Job {
        self.farm.store.job(T, id).await.unwrap()
    }

    async fn outcomes(&self, id: JobId) -> Vec<AttemptOutcome> {
        let attempts = self.farm.store.attempts(T, id).await.unwrap();
        attempts.iter().map(|a| a.outcome).collect()
    }

    async fn node(&self, trust: Trust, slots: u32) -> Node<'_> {
        let id = NodeId::fresh();
        let added = self
            .farm
            .store
            .add_node(id, "node", vec![4; 65], trust, &[]);
        added.await.unwrap();
        let mut node = Node {
            gateway: self,
            id,
            session: 0,
        };
        node.open(slots, 1 << 40, vec![]).await;
        node
    }
}

async fn circuit(farm: &Farm) -> CircuitId {
    let new = NewCircuit {
        fingerprint: Digest([1; 32]),
        backend: Backend::UltraGroth,
        model: Digest([1; 32]),
        settings: None,
        calibration: Digest([2; 32]),
        labels: Default::default(),
        request: None,
        max_queued: 1000,
    };
    let store = &farm.store;
    let circuit = store.create_circuit(T, new).await.unwrap().resource.id;
    let compile = store.claim(JobKind::ALL).await.unwrap().unwrap();
    let facts = CompileFacts {
        program: [1; 32],
        inputs: vec![],
        outputs: vec![],
        ram_bytes: 1 << 30,
        estimated_prove_ms: 100,
    };
    store.commit_compile(compile.id, 1, facts).await.unwrap();
    let setup = store.claim(JobKind::ALL).await.unwrap().unwrap();
    let facts = SetupFacts {
        proving_key: [2; 32],
        proving_key_bytes: 100,
        verifying_key: [3; 32],
        vk_digest: VK,
    };
    store.commit_setup(setup.id, 1, facts).await.unwrap();
    circuit
}

struct Node<'a> {
    gateway: &'a Gateway,
    id: NodeId,
    session: i64,
}

impl Node<'_> {
    async fn open(&mut self, slots: u32, ram_bytes: u64, resume: Vec<AttemptId>) -> Vec<AttemptId> {
        let hello = Hello {
            version: "1".into(),
            capabilities: Capabilities {
                backends: vec![Backend::UltraGroth],
                total: Resources {
                    ram_bytes,
                    disk_bytes: 1 << 40,
                    cpu_threads: 4,
                    ..Resources::default()
                },
                slots,
                ..Capabilities::default()
            },
            resume,
        };
        let welcome = self.gateway.desk.open(self.id, hello).await.unwrap();
        self.session = welcome.session;
        welcome.keep
    }

    async fn ask(&self, max_leases: u32, wait: Duration) -> Result<Granted, UplinkError> {
        let free = Resources {
            ram_bytes: u64::MAX,
            vram_bytes: u64::MAX,
            disk_bytes: u64::MAX,
            cpu_threads: 4,
        };
        let acquire = Acquire {
            session: self.session,
            max_leases,
            wait,
            free,
            keys: Vec::new(),
        };
        self.gateway.desk.acquire(self.id, acquire).await
    }

    async fn lease(&self) -> Lease {
        self.beat(&[]).await;
        let granted = self.ask(1, Duration::from_secs(5)).await.unwrap();
        granted.leases.into_iter().next().unwrap()
    }

    async fn nothing(&self) {
        self.beat(&[]).await;
        let granted = self.ask(1, Duration::ZERO).await.unwrap();
        assert!(granted.leases.is_empty(), "{granted:?}");
    }

    async fn beat(&self, attempts: &[AttemptId]) -> zkinfer_service::farm::lease::BeatAnswer {
        let status = |attempt: &AttemptId| AttemptStatus {
            attempt: *attempt,
            phase: Phase::Prove,
            progress: 0.5,
            peak_ram: 1,
        };
        let beat = Beat {
            session: self.session,
            attempts: attempts.iter().map(status).collect(),
            free: Resources::default(),
            draining: false,
            keys: Vec::new(),
            disk_free: 1,
        };
        self.gateway.desk.heartbeat(self.id, beat).await.unwrap()
    }

    fn proof(&self, lease: &Lease, input: &[u8]) -> Finished {
        let public_values = [&lease.context[..], &Digest::of(input).0].concat();
        Finished {
            session: self.session,
            attempt: lease.attempt,
            proof: Digest::of(&public_values).0.to_vec(),
            public_values,
            vk_digest: lease.vk_digest,
            key_load: Duration::ZERO,
            prove: Duration::from_millis(10),
            peak_ram: 1,
        }
    }

    async fn commit(&self, finished: Finished) -> Result<Verdict, UplinkError> {
        self.gateway.desk.commit(self.id, finished).await
    }

    async fn fail(&self, lease: &Lease, class: FailureClass, code: &str) -> bool {
        let failure = Failure::new(class, code, "x");
        let desk = &self.gateway.desk;
        desk.fail(self.id, self.session, lease.attempt, failure)
            .await
            .unwrap()
    }

    async fn record(&self) -> zkinfer_service::store::Node {
        self.gateway.farm.store.node(self.id).await.unwrap()
    }
}

const ACCEPTED: Verdict = Verdict::Settled(CommitOutcome::Accepted);

#[tokio::test]
async fn a_node_proves_a_job_and_the_client_sees_how_far_it_is() {
    let gateway = Gateway::new().await;
    let node = gateway.node(Trust::Untrusted, 1).await;
    let waiting = tokio::join!(node.lease(), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        gateway.job(b"{1}").await
    });
    let (lease, job) = waiting;
    assert_eq!((lease.attempt.job, lease.vk_digest), (job, VK));
    assert_eq!(gateway.see(job).await.state, JobState::Leased);
    assert!(node.beat(&[lease.attempt]).await.cancel.is_empty());
    assert_eq!(gateway.see(job).await.state, JobState::Running);
    let live = gateway.farm.live.progress(job).unwrap();
    assert_eq!((live.phase, live.progress), (Phase::Prove, 0.5));
    assert_eq!(
        node.commit(node.proof(&lease, b"{1}")).await.unwrap(),
        ACCEPTED
    );
    assert!(gateway.farm.live.progress(job).is_none());
    let again = node.commit(node.proof(&lease, b"{1}")).await.unwrap();
    assert_eq!(again, Verdict::Settled(CommitOutcome::AlreadyProven));
    let record = node.record().await;
    assert_eq!((record.ok, record.running), (1, 0));
    assert!(record.score > 0.4, "it rises by what it does");
}

#[tokio::test]
async fn what_is_no_proof_of_the_job_is_never_released_and_its_node_is_quarantined() {
    let gateway = Gateway::new().await;
    let node = gateway.node(Trust::Vetted, 8).await;
    let mut leases = Vec::new();
    for input in [b"{1}", b"{2}"] {
        gateway.job(input).await;
        leases.push(node.lease().await);
    }
    let other = node.proof(&leases[1], b"{2}");
    let lies = [
        (
            "random bytes",
            Finished {
                proof: vec![9; 32],
                ..node.proof(&leases[0], b"{1}")
            },
        ),
        (
            "another statement",
            Finished {
                attempt: leases[1].attempt,
                ..node.proof(&leases[0], b"{1}")
            },
        ),
    ];
    for (what, lie) in lies {
        let job = lie.attempt.job;
        let verdict = node.commit(lie.clone()).await.unwrap();
        assert!(
            matches!(verdict, Verdict::Invalid(_)),
            "{what}: {verdict:?}"
        );
        assert!(
            gateway.farm.store.proof(T, job).await.unwrap().is_none(),
            "{what}"
        );
        assert_eq!(gateway.see(job).await.state, JobState::Queued);
    }
    let record = node.record().await;
    assert_eq!((record.state, record.invalid), (NodeState::Quarantined, 2));
    for refused in [
        node.commit(other).await.map(drop),
        node.ask(1, Duration::ZERO).await.map(drop),
    ] {
        assert!(
            matches!(refused, Err(UplinkError::Refused(_))),
            "{refused:?}"
        );
    }
    // Another node proves both.
    let honest = gateway.node(Trust::Untrusted, 1).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let lease = honest.lease().await;
    let input: &[u8] = if lease.attempt.job == leases[0].attempt.job {
        b"{1}"
    } else {
        b"{2}"
    };
    assert_eq!(
        honest.commit(honest.proof(&lease, input)).await.unwrap(),
        ACCEPTED
    );
}

#[tokio::test]
async fn cheap_lies_are_refused_before_any_mathematics() {
    let gateway = Gateway::new().await;
    type Lie = (&'static str, fn(Finished) -> Finished);
    let lies: [Lie; 4] = [
        ("at most 65536", |f| Finished {
            proof: vec![0; 100_000],
            ..f
        }),
        ("at most 4194304", |f| Finished {
            public_values: vec![0; 5 << 20],
            ..f
        }),
        ("another context", |f| Finished {
            public_values: vec![1; 64],
            ..f
        }),
        ("expected 0707", |f| Finished {
            vk_digest: [8; 32],
            ..f
        }),
    ];
    for (n, (reason, lie)) in lies.into_iter().enumerate() {
        let node = gateway.node(Trust::Vetted, 1).await;
        let input = format!("{{{n}}}").into_bytes();
        let job = gateway.job(&input).await;
        let lease = node.lease().await;
        let verdict = node.commit(lie(node.proof(&lease, &input))).await.unwrap();
        let Verdict::Invalid(told) = verdict else {
            panic!("{verdict:?}")
        };
        assert!(told.contains(reason), "{told}");
        // The attempt cannot be tried out again and again.
        let again = node.commit(node.proof(&lease, &input)).await.unwrap();
        assert!(matches!(again, Verdict::Invalid(_)));
        gateway.farm.store.cancel(T, job, None).await.unwrap();
    }
}

#[tokio::test]
async fn a_proof_of_an_attempt_that_was_never_the_nodes_is_refused() {
    let gateway = Gateway::new().await;
    let honest = gateway.node(Trust::Vetted, 1).await;
    let thief = gateway.node(Trust::Vetted, 1).await;
    gateway.job(b"{1}").await;
    let lease = honest.lease().await;
    let stolen = thief.commit(thief.proof(&lease, b"{1}")).await;
    assert!(matches!(stolen, Err(UplinkError::Refused(_))));
    assert!(
        thief.fail(&lease, FailureClass::InvalidRequest, "X").await,
        "stale"
    );
    assert_eq!(thief.beat(&[lease.attempt]).await.cancel, [lease.attempt]);
    assert_eq!(thief.record().await.invalid, 0);
    assert_eq!(
        honest.commit(honest.proof(&lease, b"{1}")).await.unwrap(),
        ACCEPTED
    );
}

#[tokio::test]
async fn a_lost_lease_goes_to_another_node_and_the_first_valid_proof_wins() {
    let gateway = Gateway::new().await;
    let frozen = gateway.node(Trust::Vetted, 1).await;
    let job = gateway.job(b"{1}").await;
    let late = frozen.lease().await;
    let second = gateway.node(Trust::Vetted, 1).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(
        gateway.farm.store.expire_leases().await.unwrap(),
        [late.attempt]
    );
    let seen = gateway.see(job).await;
    assert_eq!((seen.lost_count, seen.attempt_count), (1, 0));
    let lease = second.lease().await;
    assert_eq!(lease.attempt.job, job);
    second.beat(&[lease.attempt]).await;
    // The first node wakes up with a finished proof.
    assert_eq!(frozen.beat(&[late.attempt]).await.cancel, [late.attempt]);
    assert_eq!(
        frozen.commit(frozen.proof(&late, b"{1}")).await.unwrap(),
        ACCEPTED
    );
    assert_eq!(second.beat(&[lease.attempt]).await.cancel, [lease.attempt]);
    let loser = second.commit(second.proof(&lease, b"{1}")).await.unwrap();
    assert_eq!(loser, Verdict::Settled(CommitOutcome::AlreadyProven));
    assert_eq!(
        gateway.outcomes(job).await,
        [AttemptOutcome::Won, AttemptOutcome::Superseded]
    );
    let record = second.record().await;
    assert_eq!(
        (record.failed, record.lost, record.score),
        (0, 0, 1.0),
        "losing the race is no fault"
    );
}

#[tokio::test]
async fn an_untrusted_node_never_sees_a_private_input() {
    let gateway = Gateway::new().await;
    let untrusted = gateway.node(Trust::Untrusted, 1).await;
    let private = |new| NewJob {
        private_input: true,
        ..new
    };
    let job = gateway.job_with(b"{secret}", private).await;
    untrusted.nothing().await;
    let why = gateway.farm.explain(job).await.unwrap().unwrap();
    assert!(
        !why.verdicts[0].eligible && why.verdicts[0].reason.contains("VETTED"),
        "{why:?}"
    );
    let digest = Digest::of(b"{secret}");
    let desk = &gateway.desk;
    let read = desk
        .fetch(
            untrusted.id,
            untrusted.session,
            gateway.circuit,
            Some(job),
            digest,
        )
        .await;
    assert!(matches!(read, Err(UplinkError::Refused(_))));
    let vetted = gateway.node(Trust::Vetted, 1).await;
    let lease = vetted.lease().await;
    let read = desk
        .fetch(
            vetted.id,
            vetted.session,
            gateway.circuit,
            Some(job),
            digest,
        )
        .await
        .unwrap();
    assert_eq!(std::fs::read(read.path).unwrap(), b"{secret}");
    // Only what its lease names, and only as long as it is open.
    let other = desk
        .fetch(
            vetted.id,
            vetted.session,
            gateway.circuit,
            Some(job),
            Digest([1; 32]),
        )
        .await;
    assert!(matches!(other, Err(UplinkError::Refused(_))));
    assert!(
        !vetted
            .fail(&lease, FailureClass::Cancelled, "DRAINED")
            .await
    );
    let late = desk
        .fetch(
            vetted.id,
            vetted.session,
            gateway.circuit,
            Some(job),
            digest,
        )
        .await;
    assert!(matches!(late, Err(UplinkError::Refused(_))));
}

#[tokio::test]
async fn a_flood_of_calls_gets_no_more_leases_than_slots() {
    let gateway = Gateway::new().await;
    let node = gateway.node(Trust::Untrusted, 1000).await;
    for n in 0..20 {
        gateway.job(format!("{{{n}}}").as_bytes()).await;
    }
    // on a busy machine the jobs took longer than a silent node is believed in
    node.beat(&[]).await;
    let (mut leases, mut limited) = (0, 0);
    for _ in 0..100 {
        let granted = node.ask(1000, Duration::ZERO).await.unwrap();
        leases += granted.leases.len();
        limited += usize::from(!granted.retry_after.is_zero());
    }
    assert_eq!(
        leases, 1,
        "a node that is not trusted has one slot, whatever it says"
    );
    assert!(limited > 90, "{limited}");
}

#[tokio::test]
async fn a_cancel_reaches_the_node_with_its_next_heartbeat() {
    let gateway = Gateway::new().await;
    let node = gateway.node(Trust::Vetted, 1).await;
    let job = gateway.job(b"{1}").await;
    let lease = node.lease().await;
    node.beat(&[lease.attempt]).await;
    gateway.farm.store.cancel(T, job, None).await.unwrap();
    assert_eq!(node.beat(&[lease.attempt]).await.cancel, [lease.attempt]);
    let late = node.commit(node.proof(&lease, b"{1}")).await.unwrap();
    assert_eq!(late, Verdict::Settled(CommitOutcome::JobEnded));
    assert_eq!(gateway.see(job).await.state, JobState::Cancelled);
}

#[tokio::test]
async fn attempts_outlive_the_gateway_when_their_node_resumes_them() {
    let gateway = Gateway::new().await;
    let node = gateway.node(Trust::Vetted, 2).await;
    let mut leases = Vec::new();
    for input in [b"{1}", b"{2}"] {
        gateway.job(input).await;
        leases.push(node.lease().await);
    }
    let id = node.id;
    let gateway = gateway.restart().await;
    let mut node = Node {
        gateway: &gateway,
        id,
        session: 0,
    };
    let kept = node.open(2, 1 << 40, vec![leases[0].attempt]).await;
    assert_eq!(kept, [leases[0].attempt]);
    assert_eq!(
        node.commit(node.proof(&leases[0], b"{1}")).await.unwrap(),
        ACCEPTED
    );
    let dropped = gateway.see(leases[1].attempt.job).await;
    assert_eq!(
        (dropped.state, dropped.lost_count, dropped.attempt_count),
        (JobState::Queued, 1, 0)
    );
    // What the node says in an older session is stale.
    node.session -= 1;
    assert!(node.beat(&[]).await.stale);
    assert!(matches!(
        node.ask(1, Duration::ZERO).await,
        Err(UplinkError::StaleSession)
    ));
}

#[tokio::test]
async fn a_failed_attempt_is_tried_elsewhere_and_a_poison_job_ends_after_two_nodes() {
    let gateway = Gateway::new().await;
    let nodes = [
        gateway.node(Trust::Vetted, 1).await,
        gateway.node(Trust::Vetted, 1).await,
    ];
    let job = gateway.job(b"{1}").await;
    let first = nodes[0].lease().await;
    assert!(
        !nodes[0]
            .fail(&first, FailureClass::NodeFault, "CHILD_DIED")
            .await
    );
    assert_eq!(gateway.see(job).await.state, JobState::Queued);
    assert_eq!(nodes[0].record().await.failed, 1);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    // Another node is there, or the first one would be the only one.
    nodes[1].beat(&[]).await;
    nodes[0].nothing().await;
    let second = nodes[1].lease().await;
    assert!(
        !nodes[1]
            .fail(&second, FailureClass::NodeFault, "CHILD_DIED")
            .await
    );
    let dead = gateway.see(job).await;
    assert_eq!(
        (dead.state, dead.failure.unwrap().code.as_str()),
        (JobState::Dead, "POISON_SUSPECT")
    );
    for node in &nodes {
        let record = node.record().await;
        assert_eq!(
            (record.failed, record.score),
            (0, 1.0),
            "it was not their fault"
        );
    }
}

#[tokio::test]
async fn a_job_too_big_for_a_node_goes_once_to_a_bigger_one() {
    let gateway = Gateway::new().await;
    let mut small = gateway.node(Trust::Vetted, 1).await;
    small.open(1, 2 << 30, vec![]).await;
    let job = gateway.job(b"{1}").await;
    let first = small.lease().await;
    let mut big = gateway.node(Trust::Vetted, 1).await;
    big.open(1, 4 << 30, vec![]).await;
    small
        .fail(&first, FailureClass::ResourceExceeded, "MEMORY_LIMIT")
        .await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    small.nothing().await;
    let second = big.lease().await;
    big.fail(&second, FailureClass::ResourceExceeded, "MEMORY_LIMIT")
        .await;
    let dead = gateway.see(job).await;
    assert_eq!(
        (dead.state, dead.failure.unwrap().code.as_str()),
        (JobState::Dead, "MEMORY_LIMIT")
    );
}

#[tokio::test]
async fn a_job_that_fits_no_node_says_so_with_the_number() {
    let gateway = Gateway::new().await;
    let job = gateway.job(b"{1}").await;
    let why = |gateway: &Gateway| {
        let farm = Arc::clone(&gateway.farm);
        async move { farm.explain(job).await.unwrap().unwrap().pending }
    };
    assert_eq!(why(&gateway).await.kind, PendingKind::NoNodeOnline);
    let mut node = gateway.node(Trust::Vetted, 1).await;
    node.open(1, 1 << 20, vec![]).await;
    node.nothing().await;
    let told = why(&gateway).await;
    assert_eq!(told.kind, PendingKind::NoNodeBigEnough);
    assert!(told.detail.contains("1.0 GiB"), "{}", told.detail);
}

#[tokio::test]
async fn a_draining_node_ends_what_it_has_and_takes_nothing_more() {
    let gateway = Gateway::new().await;
    let node = gateway.node(Trust::Vetted, 2).await;
    gateway.job(b"{1}").await;
    let lease = node.lease().await;
    let drain = NodeChange {
        state: Some(NodeState::Draining),
        ..NodeChange::default()
    };
    gateway
        .farm
        .store
        .update_node(node.id, drain, None)
        .await
        .unwrap();
    gateway.job(b"{2}").await;
    node.nothing().await;
    let answer = node.beat(&[lease.attempt]).await;
    assert!(answer.drain && answer.cancel.is_empty());
    assert_eq!(
        node.commit(node.proof(&lease, b"{1}")).await.unwrap(),
        ACCEPTED
    );
}

#[tokio::test]
async fn a_closed_session_hands_its_attempts_back_uncounted() {
    let gateway = Gateway::new().await;
    let node = gateway.node(Trust::Vetted, 1).await;
    let job = gateway.job(b"{1}").await;
    node.lease().await;
    gateway
        .desk
        .close(node.id, node.session, "drained")
        .await
        .unwrap();
    let seen = gateway.see(job).await;
    assert_eq!(
        (seen.state, seen.lost_count, seen.attempt_count),
        (JobState::Queued, 0, 0)
    );
    assert_eq!(gateway.outcomes(job).await, [AttemptOutcome::Released]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lie_is_checked_and_counted_once_also_when_its_calls_go_away() {
    let gateway = Gateway::new().await;
    gateway.work.verify_ms.store(200, Ordering::Relaxed);
    let node = gateway.node(Trust::Vetted, 1).await;
    gateway.job(b"{1}").await;
    let lease = node.lease().await;
    let lie = Finished {
        proof: vec![9; 32],
        ..node.proof(&lease, b"{1}")
    };
    for _ in 0..10 {
        let call = node.commit(lie.clone());
        let _ = tokio::time::timeout(Duration::from_millis(20), call).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let verified = gateway.work.verified.load(Ordering::Relaxed);
    assert_eq!((verified, node.record().await.invalid), (1, 1));
}

#[tokio::test]
async fn a_node_that_hands_a_job_back_again_and_again_does_not_get_it_again() {
    let gateway = Gateway::new().await;
    let hostile = gateway.node(Trust::Untrusted, 1).await;
    let honest = gateway.node(Trust::Vetted, 1).await;
    let job = gateway.job(b"{1}").await;
    for _ in 0..2 {
        let lease = hostile.lease().await;
        assert!(
            !hostile
                .fail(&lease, FailureClass::Cancelled, "DRAINED")
                .await
        );
    }
    honest.beat(&[]).await;
    hostile.nothing().await;
    assert_eq!(honest.lease().await.attempt.job, job);
}

#[tokio::test]
async fn a_job_that_is_handed_back_by_its_only_node_waits_longer_each_time() {
    let gateway = Gateway::new().await;
    let node = gateway.node(Trust::Vetted, 1).await;
    let job = gateway.job(b"{1}").await;
    for _ in 0..3 {
        let lease = node.lease().await;
        node.fail(&lease, FailureClass::Cancelled, "DRAINED").await;
    }
    let seen = gateway.see(job).await;
    let wait = seen.not_before - gateway.farm.store.now().await.unwrap();
    assert_eq!((seen.state, seen.attempt_count), (JobState::Queued, 0));
    assert!((1000..=2000).contains(&wait), "{wait} ms");
}

#[tokio::test]
async fn a_node_cannot_pass_its_failure_off_as_the_gateways() {
    let gateway = Gateway::new().await;
    let node = gateway.node(Trust::Vetted, 1).await;
    let job = gateway.job(b"{1}").await;
    let lease = node.lease().await;
    node.fail(&lease, FailureClass::Internal, "NOT_HANDED_OUT")
        .await;
    assert_eq!(node.record().await.failed, 1);
    let told = gateway.see(job).await.failure.unwrap();
    assert_eq!(told.code, "NODE");
}

#[tokio::test]
async fn two_untrusted_nodes_end_no_job_and_are_blamed_once_it_is_proven() {
    let gateway = Gateway::new().await;
    let liars = [
        gateway.node(Trust::Untrusted, 1).await,
        gateway.node(Trust::Untrusted, 1).await,
    ];
    let job = gateway.job(b"{1}").await;
    for liar in &liars {
        liar.beat(&[]).await;
        let lease = liar.lease().await;
        liar.fail(&lease, FailureClass::InvalidRequest, "BAD_INPUT")
            .await;
        assert_eq!(gateway.see(job).await.state, JobState::Queued);
        let wait = Duration::from_millis(if liar.id == liars[0].id { 2500 } else { 5000 });
        tokio::time::sleep(wait).await;
    }
    let before = liars[0].record().await.score;
    let honest = gateway.node(Trust::Vetted, 1).await;
    let lease = honest.lease().await;
    assert_eq!(
        honest.commit(honest.proof(&lease, b"{1}")).await.unwrap(),
        ACCEPTED
    );
    for liar in &liars {
        assert!(liar.record().await.score < before);
    }
}

#[tokio::test]
async fn a_node_that_is_trusted_less_loses_what_it_may_not_see_any_more() {
    let gateway = Gateway::new().await;
    let node = gateway.node(Trust::Vetted, 2).await;
    let private = |new| NewJob {
        private_input: true,
        ..new
    };
    gateway.job_with(b"{secret}", private).await;
    gateway.job(b"{1}").await;
    let leases = [node.lease().await, node.lease().await];
    let change = NodeChange {
        trust: Some(Trust::Untrusted),
        ..NodeChange::default()
    };
    let store = &gateway.farm.store;
    store.update_node(node.id, change, None).await.unwrap();
    let open = store.open_attempts(node.id).await.unwrap();
    assert_eq!(open.len(), 1);
    let kept = leases.iter().find(|l| l.attempt == open[0].0).unwrap();
    assert!(!gateway.see(kept.attempt.job).await.private_input);
    assert_eq!(node.record().await.lost, 0, "it was not its fault");
}
