//! A gateway in memory that does what a test says: grants scripted leases, forgets sessions, does not answer.
#![allow(dead_code)]

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io::Write,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use zkinfer_service::{
    farm::lease::{
        Acquire, AttemptId, Beat, BeatAnswer, FetchFile, Finished, Granted, Hello, Lease, Uplink,
        UplinkError, Verdict, Welcome,
    },
    store::{
        ArtifactKind, Backend, CircuitId, CommitOutcome, Digest, Failure, JobId, NodeId, Resources,
    },
};

/// What a node did, with the time.
#[derive(Debug, Default)]
pub struct Seen {
    pub opened: Vec<Hello>,
    pub beats: Vec<(Instant, Beat)>,
    pub commits: Vec<Finished>,
    pub fails: Vec<(AttemptId, Failure)>,
    pub closed: Vec<i64>,
    /// File name and offset.
    pub fetched: Vec<(String, u64)>,
    pub acquired: Vec<Acquire>,
}

#[derive(Debug)]
pub struct Gateway {
    pub heartbeat: Duration,
    session: AtomicI64,
    waiting: Mutex<VecDeque<Lease>>,
    granted: Notify,
    pub seen: Mutex<Seen>,
    changed: Notify,
    pub files: Mutex<HashMap<Digest, Vec<u8>>>,
    /// Attempts to cancel.
    pub cancel: Mutex<Vec<AttemptId>>,
    /// Attempts that a new session does not keep.
    pub lost: Mutex<Vec<AttemptId>>,
    pub unreachable: AtomicBool,
    /// Commits that get no answer.
    pub deaf_commits: AtomicU64,
    pub drain: AtomicBool,
    pub invalid: AtomicBool,
    /// Grant everything at once, whatever the node asks for.
    pub generous: AtomicBool,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            session: AtomicI64::new(1),
            waiting: Mutex::default(),
            granted: Notify::new(),
            seen: Mutex::default(),
            changed: Notify::new(),
            files: Mutex::default(),
            cancel: Mutex::default(),
            lost: Mutex::default(),
            unreachable: AtomicBool::new(false),
            deaf_commits: AtomicU64::new(0),
            drain: AtomicBool::new(false),
            invalid: AtomicBool::new(false),
            generous: AtomicBool::new(false),
        }
    }
}

impl Gateway {
    /// A file that leases can name.
    pub fn file(&self, kind: ArtifactKind, name: &str, bytes: Vec<u8>) -> FetchFile {
        let digest = Digest::of(&bytes);
        let size = bytes.len() as u64;
        self.files.lock().unwrap().insert(digest, bytes);
        FetchFile {
            kind,
            name: name.into(),
            digest,
            size,
            encrypted: false,
        }
    }

    /// The files of a bundle folder, as leases name them.
    pub fn bundle(&self, folder: &Path) -> Vec<FetchFile> {
        let names = [
            "manifest.json",
            "model",
            "program",
            "proving.key",
            "verifying.key",
        ];
        let file = |name| {
            let bytes = std::fs::read(folder.join(name)).unwrap();
            self.file(ArtifactKind::Circuit, name, bytes)
        };
        names.map(file).into()
    }

    /// Lets the node have a lease; answers the attempt.
    pub fn grant(&self, circuit: CircuitId, files: &[FetchFile], input: &[u8]) -> AttemptId {
        self.grant_with(circuit, files, input, |_| ())
    }

    pub fn grant_with(
        &self,
        circuit: CircuitId,
        files: &[FetchFile],
        input: &[u8],
        change: impl FnOnce(&mut Lease),
    ) -> AttemptId {
        let attempt = AttemptId {
            job: JobId::fresh(),
            epoch: 1,
        };
        let input = self.file(ArtifactKind::Input, "", input.to_vec());
        let mut lease = Lease {
            attempt,
            circuit,
            backend: Backend::UltraGroth,
            files: [files, &[input]].concat(),
            input_key: Vec::new(),
            context: [0; 32],
            vk_digest: [7; 32],
            limits: Resources::default(),
            time_limit: Duration::from_secs(600),
            trace: BTreeMap::new(),
            speculative: false,
        };
        change(&mut lease);
        self.waiting.lock().unwrap().push_back(lease);
        self.granted.notify_waiters();
        attempt
    }

    /// The gateway forgets the session.
    pub fn forget_session(&self) {
        self.session.fetch_add(1, Ordering::SeqCst);
    }

    fn check(&self, session: i64) -> Result<(), UplinkError> {
        self.reach()?;
        match session == self.session.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(UplinkError::StaleSession),
        }
    }

    fn reach(&self) -> Result<(), UplinkError> {
        match self.unreachable.load(Ordering::SeqCst) {
            true => Err(UplinkError::Unreachable("a test".into())),
            false => Ok(()),
        }
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.seen.lock().unwrap());
        self.changed.notify_waiters();
    }

    /// Waits until the node did what `found` looks for.
    pub async fn until<T>(&self, what: &str, mut found: impl FnMut(&Seen) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(value) = found(&self.seen.lock().unwrap()) {
                return value;
            }
            assert!(
                Instant::now() < deadline,
                "the node did not do it in 60 s: {what}"
            );
            let _ = tokio::time::timeout(Duration::from_millis(20), self.changed.notified()).await;
        }
    }

    pub async fn commit_of(&self, attempt: AttemptId) -> Finished {
        self.until("commit", |s| {
            let failed = s.fails.iter().find(|f| f.0 == attempt);
            assert!(failed.is_none(), "the attempt failed: {failed:?}");
            s.commits.iter().find(|c| c.attempt == attempt).cloned()
        })
        .await
    }

    pub async fn failure_of(&self, attempt: AttemptId) -> Failure {
        let of = |s: &Seen| s.fails.iter().find(|f| f.0 == attempt).map(|f| f.1.clone());
        self.until("failure", of).await
    }

    /// Waits until heartbeats name the attempt.
    pub async fn runs(&self, attempt: AttemptId) {
        let named = |beat: &Beat| beat.attempts.iter().any(|a| a.attempt == attempt);
        self.until("run", |s| {
            s.beats.iter().any(|(_, b)| named(b)).then_some(())
        })
        .await;
    }
}

#[async_trait::async_trait]
impl Uplink for Gateway {
    async fn open(&self, hello: Hello) -> Result<Welcome, UplinkError> {
        self.reach()?;
        let lost = self.lost.lock().unwrap().clone();
        let (drop, keep) = hello.resume.iter().partition(|a| lost.contains(a));
        self.note(|s| s.opened.push(hello));
        Ok(Welcome {
            node: NodeId::fresh(),
            session: self.session.load(Ordering::SeqCst),
            heartbeat: self.heartbeat,
            lease_ttl: Duration::from_secs(30),
            keep,
            drop,
            max_proof_bytes: 1 << 20,
        })
    }

    async fn acquire(&self, acquire: Acquire) -> Result<Granted, UplinkError> {
        self.check(acquire.session)?;
        let most = match self.generous.load(Ordering::SeqCst) {
            true => usize::MAX,
            false => acquire.max_leases as usize,
        };
        self.note(|s| s.acquired.push(acquire));
        let deadline = tokio::time::Instant::now() + Duration::from_millis(200);
        loop {
            let granted = self.granted.notified();
            {
                let mut waiting = self.waiting.lock().unwrap();
                if !waiting.is_empty() {
                    let n = most.min(waiting.len());
                    return Ok(Granted {
                        leases: waiting.drain(..n).collect(),
                        ..Granted::default()
                    });
                }
            }
            if tokio::time::timeout_at(deadline, granted).await.is_err() {
                return Ok(Granted::default());
            }
        }
    }

    async fn heartbeat(&self, beat: Beat) -> Result<BeatAnswer, UplinkError> {
        let session = beat.session;
        self.note(|s| s.beats.push((Instant::now(), beat)));
        self.check(session)?;
        Ok(BeatAnswer {
            cancel: self.cancel.lock().unwrap().clone(),
            drain: self.drain.load(Ordering::SeqCst),
            ..BeatAnswer::default()
        })
    }

    async fn commit(&self, finished: Finished) -> Result<Verdict, UplinkError> {
        self.check(finished.session)?;
        let deaf = &self.deaf_commits;
        if deaf
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
            .is_ok()
        {
            return Err(UplinkError::Unreachable("no answer".into()));
        }
        self.note(|s| s.commits.push(finished));
        Ok(match self.invalid.load(Ordering::SeqCst) {
            true => Verdict::Invalid("a test".into()),
            false => Verdict::Settled(CommitOutcome::Accepted),
        })
    }

    async fn fail(
        &self,
        session: i64,
        attempt: AttemptId,
        failure: Failure,
    ) -> Result<bool, UplinkError> {
        self.check(session)?;
        self.note(|s| s.fails.push((attempt, failure)));
        Ok(false)
    }

    async fn close(&self, session: i64, _: &str) -> Result<(), UplinkError> {
        self.check(session)?;
        self.note(|s| s.closed.push(session));
        Ok(())
    }

    async fn fetch(
        &self,
        session: i64,
        _: &Lease,
        file: &FetchFile,
        offset: u64,
        sink: &mut (dyn Write + Send),
    ) -> Result<(), UplinkError> {
        self.check(session)?;
        self.note(|s| s.fetched.push((file.name.clone(), offset)));
        let bytes = self.files.lock().unwrap()[&file.digest].clone();
        sink.write_all(&bytes[offset as usize..])
            .map_err(|e| UplinkError::Unreachable(e.to_string()))
    }
}
