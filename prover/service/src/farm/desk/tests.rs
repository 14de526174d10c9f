//! What takes time, on a clock that the test sets.

use std::path::Path;

use super::*;
use crate::{
    config::Limits,
    farm::lease::{AttemptStatus, Lease},
    store::{
        AttemptOutcome, Blobs, CommitOutcome, CompileFacts, JobId, JobState, Phase, Resources,
        SetupFacts, TenantId, Trust,
        conformance::{capabilities, new_job, new_proof, ready_circuit},
        sealed::Vault,
        sqlite::SqliteStore,
    },
    work::{CompileRequest, Control, Gate, WarmProver, Work, WorkError},
};

const T: TenantId = TenantId::DEFAULT;
const BEGINNING: i64 = 1_800_000_000_000;

/// Nothing here is proved.
#[derive(Debug)]
struct Idle;

impl Work for Idle {
    fn compile(
        &self,
        _: &CompileRequest,
        _: &Path,
        _: &dyn Control,
    ) -> Result<CompileFacts, WorkError> {
        Err(WorkError::Cancelled)
    }

    fn setup(&self, _: &Path, _: &dyn Control) -> Result<SetupFacts, WorkError> {
        Err(WorkError::Cancelled)
    }

    fn gate(&self, _: &Path) -> Result<Arc<dyn Gate>, WorkError> {
        Err(WorkError::Cancelled)
    }

    fn prepare(&self, _: &Path, _: &dyn Control) -> Result<Arc<dyn WarmProver>, WorkError> {
        Err(WorkError::Cancelled)
    }
}

struct Room {
    store: Arc<SqliteStore>,
    desk: Desk,
    job: JobId,
    _data: tempfile::TempDir,
}

impl Room {
    async fn new() -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let path = data.path();
        let store = SqliteStore::open(&path.join("db")).await.expect("a store");
        let store = Arc::new(store);
        store.set_clock(BEGINNING);
        let vault = Arc::new(Vault::open(&path.join("kek")).expect("a key"));
        let blobs = Blobs::open(path, vault).expect("folders");
        let circuit = ready_circuit(&*store, T, 1).await;
        let input = blobs.put(b"input").expect("stored");
        let farm = Farm::new(
            Arc::clone(&store) as Arc<dyn crate::store::Store>,
            blobs,
            Arc::new(Idle),
            Limits::default(),
            path.to_owned(),
        );
        let mut new = new_job(circuit, 1);
        new.input = (input, 5);
        let job = farm
            .store
            .create_job(T, new)
            .await
            .expect("created")
            .resource
            .id;
        Self {
            store,
            desk: Desk::new(Arc::new(farm)),
            job,
            _data: data,
        }
    }

    /// A node of the farm and its session.
    async fn node(&self) -> (NodeId, i64) {
        let node = NodeId::fresh();
        let store = &self.desk.farm.store;
        let added = store.add_node(node, "node", vec![4; 65], Trust::Vetted, &[]);
        added.await.expect("added");
        let hello = Hello {
            version: "1".into(),
            capabilities: capabilities(1, 1 << 40),
            resume: Vec::new(),
        };
        let welcome = self.desk.open(node, hello).await.expect("opened");
        (node, welcome.session)
    }

    async fn ask(&self, (node, session): (NodeId, i64)) -> Option<Lease> {
        let ask = Acquire {
            session,
            max_leases: 1,
            wait: Duration::ZERO,
            free: Resources {
                ram_bytes: u64::MAX,
                disk_bytes: u64::MAX,
                ..Resources::default()
            },
            keys: Vec::new(),
        };
        let granted = self.desk.acquire(node, ask).await.expect("answered");
        granted.leases.into_iter().next()
    }

    async fn beat(&self, (node, session): (NodeId, i64), attempts: &[AttemptId]) -> BeatAnswer {
        // The store's clock is set here, the desk's is not: as if the last beat were long ago.
        self.desk.with(node, |visitor| visitor.renewed = None);
        let status = |attempt: &AttemptId| AttemptStatus {
            attempt: *attempt,
            phase: Phase::Prove,
            progress: 0.1,
            peak_ram: 1,
        };
        let beat = Beat {
            session,
            attempts: attempts.iter().map(status).collect(),
            free: Resources::default(),
            draining: false,
            keys: Vec::new(),
            disk_free: 1,
        };
        self.desk.heartbeat(node, beat).await.expect("answered")
    }
}

#[tokio::test]
async fn f40_a_copy_that_loses_is_cancelled_and_neither_billed_nor_scored() {
    let room = Room::new().await;
    let (slow, idle) = (room.node().await, room.node().await);
    let first = room.ask(slow).await.expect("the job");
    assert!(!first.speculative);
    room.beat(slow, &[first.attempt]).await;
    assert!(room.ask(idle).await.is_none(), "it does not take long yet");
    for seconds in [20, 40] {
        room.store.set_clock(BEGINNING + seconds * 1000);
        room.beat(slow, &[first.attempt]).await;
        room.beat(idle, &[]).await;
    }
    let copy = room.ask(idle).await.expect("a copy of what takes too long");
    assert!(copy.speculative && copy.attempt.job == room.job && copy.attempt.epoch == 2);
    let third = room.node().await;
    assert!(room.ask(third).await.is_none(), "one copy at most");
    assert!(room.beat(idle, &[copy.attempt]).await.cancel.is_empty());

    let store = &room.desk.farm.store;
    let committed = store
        .commit_proof(room.job, 1, Some(slow.0), new_proof(1))
        .await;
    assert_eq!(committed.expect("answered"), CommitOutcome::Accepted);
    assert_eq!(
        room.beat(idle, &[copy.attempt]).await.cancel,
        [copy.attempt]
    );
    let attempts = store.attempts(T, room.job).await.expect("read");
    let outcomes: Vec<_> = attempts.iter().map(|a| a.outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::Won, AttemptOutcome::Superseded]);
    let loser = store.node(idle.0).await.expect("kept");
    assert_eq!(
        (loser.ok, loser.failed, loser.lost, loser.running),
        (0, 0, 0, 0)
    );
    assert!((loser.score - 1.0).abs() < f64::EPSILON);
    let job = store.job(T, room.job).await.expect("kept");
    assert_eq!(
        (job.state, job.attempt_count, job.lost_count),
        (JobState::Succeeded, 0, 0)
    );
}

#[tokio::test]
async fn an_attempt_that_never_ends_is_taken_away_however_well_its_node_beats() {
    let room = Room::new().await;
    let node = room.node().await;
    let lease = room.ask(node).await.expect("the job");
    let mut now = BEGINNING;
    let mut answers = 0;
    loop {
        now += 20_000;
        room.store.set_clock(now);
        room.desk.farm.store.expire_leases().await.expect("looked");
        answers += 1;
        if !room.beat(node, &[lease.attempt]).await.cancel.is_empty() {
            break;
        }
        assert!(answers < 100, "it is never taken away");
    }
    assert!(now - BEGINNING >= 600_000, "not before ten minutes");
    let job = room.desk.farm.store.job(T, room.job).await.expect("kept");
    assert_eq!((job.state, job.lost_count), (JobState::Queued, 1));
}
