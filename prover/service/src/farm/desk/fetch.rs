//! Files for nodes: only what an open lease of the caller names, or a prefetch hint that it was given.

use std::path::PathBuf;

use super::Desk;
use crate::{
    farm::lease::UplinkError,
    store::{CircuitId, Digest, JobId, NodeId},
};

/// A file that a node may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Where it lies.
    pub path: PathBuf,
    /// Its length.
    pub size: u64,
}

impl Desk {
    /// The file of `digest`: the input of `job`, or without a job a file of the circuit's bundle.
    ///
    /// # Errors
    /// [`UplinkError`]; what no lease of the node names is refused alike whether it exists or not.
    pub async fn fetch(
        &self,
        node: NodeId,
        session: i64,
        circuit: CircuitId,
        job: Option<JobId>,
        digest: Digest,
    ) -> Result<Fetched, UplinkError> {
        let known = self.admitted(node).await?;
        if !known.online || known.session != session {
            return Err(UplinkError::StaleSession);
        }
        let refused = || UplinkError::Refused("no lease of this node names the file".to_owned());
        let open = self.farm.store.open_attempts(node).await?;
        let leased = open
            .iter()
            .any(|(attempt, of)| *of == circuit && job.is_none_or(|job| attempt.job == job));
        let hinted = job.is_none() && self.with(node, |v| v.prefetch.contains(&circuit));
        if !leased && !hinted {
            return Err(refused());
        }
        let (path, size) = match job {
            Some(job) => {
                let job = self.farm.store.any_job(job).await?;
                if job.input != Some(digest) || job.state.is_terminal() {
                    return Err(refused());
                }
                let path = self.farm.blobs.path(&digest);
                let size = std::fs::metadata(&path)
                    .map_err(|e| UplinkError::Unreachable(format!("the stored input: {e}")))?
                    .len();
                (path, size)
            }
            None => {
                let files = self
                    .farm
                    .files_of(circuit)
                    .await
                    .map_err(UplinkError::Unreachable)?;
                let file = files
                    .iter()
                    .find(|f| f.digest == digest)
                    .ok_or_else(refused)?;
                (self.farm.file_of(circuit, file), file.size)
            }
        };
        Ok(Fetched { path, size })
    }
}
