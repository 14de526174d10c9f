//! The line of the node of this process: calls.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom, Write},
    sync::Arc,
};

use super::Desk;
use crate::{
    farm::lease::{
        Acquire, AttemptId, Beat, BeatAnswer, FetchFile, Finished, Granted, Hello, Lease, Uplink,
        UplinkError, Verdict, Welcome,
    },
    store::{ArtifactKind, Failure, NodeId},
};

const CHUNK_BYTES: usize = 1 << 20;

/// A node's line to the gateway of its own process.
#[derive(Clone, Debug)]
pub struct LocalUplink {
    desk: Arc<Desk>,
    node: NodeId,
}

impl LocalUplink {
    /// The line of `node`.
    pub fn new(desk: Arc<Desk>, node: NodeId) -> Self {
        Self { desk, node }
    }
}

#[async_trait::async_trait]
impl Uplink for LocalUplink {
    async fn open(&self, hello: Hello) -> Result<Welcome, UplinkError> {
        self.desk.open(self.node, hello).await
    }

    async fn acquire(&self, acquire: Acquire) -> Result<Granted, UplinkError> {
        self.desk.acquire(self.node, acquire).await
    }

    async fn heartbeat(&self, beat: Beat) -> Result<BeatAnswer, UplinkError> {
        self.desk.heartbeat(self.node, beat).await
    }

    async fn commit(&self, finished: Finished) -> Result<Verdict, UplinkError> {
        self.desk.commit(self.node, finished).await
    }

    async fn fail(
        &self,
        session: i64,
        attempt: AttemptId,
        failure: Failure,
    ) -> Result<bool, UplinkError> {
        self.desk.fail(self.node, session, attempt, failure).await
    }

    async fn close(&self, session: i64, reason: &str) -> Result<(), UplinkError> {
        self.desk.close(self.node, session, reason).await
    }

    async fn fetch(
        &self,
        session: i64,
        lease: &Lease,
        file: &FetchFile,
        offset: u64,
        sink: &mut (dyn Write + Send),
    ) -> Result<(), UplinkError> {
        let job = (file.kind == ArtifactKind::Input).then_some(lease.attempt.job);
        let fetched = self
            .desk
            .fetch(self.node, session, lease.circuit, job, file.digest)
            .await?;
        let io = |e: std::io::Error| {
            UplinkError::Unreachable(format!("{}: {e}", fetched.path.display()))
        };
        let mut from = File::open(&fetched.path).map_err(io)?;
        from.seek(SeekFrom::Start(offset)).map_err(io)?;
        let mut chunk = zeroize::Zeroizing::new(vec![0; CHUNK_BYTES]);
        loop {
            match from.read(&mut chunk).map_err(io)? {
                0 => return Ok(()),
                n => sink.write_all(&chunk[..n]).map_err(io)?,
            }
            // A long file does not keep the other tasks of this thread.
            tokio::task::yield_now().await;
        }
    }
}
