//! The ProverNodes service: messages of nodes in, the desk's answers out. Who calls is known by the certificate (`auth::peer`);
//! nothing that a message says of its sender is read.

mod commit;
mod convert;
mod enroll;
mod fetch;

use std::sync::Arc;

use tonic::{Code, Request, Response, Status, Streaming};

use super::{proto, status};
use crate::{
    auth::{authority::Authority, crowd::Crowd, peer::Peer},
    farm::{Desk, lease::UplinkError},
    gateway::GatewayError,
    store::{Node, NodeId},
};

/// Proofs that one node hands over at a time.
const MAX_COMMITS: usize = 8;
/// Files that one node reads at a time.
const MAX_FETCHES: usize = 16;

/// Serves ProverNodes.
#[derive(Clone, Debug)]
pub(super) struct Nodes {
    desk: Arc<Desk>,
    authority: Arc<Authority>,
    commits: Arc<Crowd<NodeId>>,
    fetches: Arc<Crowd<NodeId>>,
}

impl Nodes {
    pub(super) fn new(desk: Arc<Desk>, authority: Arc<Authority>) -> Self {
        Self {
            desk,
            authority,
            commits: Crowd::new(MAX_COMMITS),
            fetches: Crowd::new(MAX_FETCHES),
        }
    }
}

/// The node that calls. Only the layer of the listener says so.
fn peer<T>(request: &Request<T>) -> Result<Node, Status> {
    let peer = request.extensions().get::<Peer>();
    peer.map(|p| p.node.clone()).ok_or_else(|| {
        let message = "this call needs the certificate of a node";
        status::refuse(Code::Unauthenticated, "UNAUTHENTICATED", message, None)
    })
}

/// What the desk refuses, as nodes read it.
fn refused(error: UplinkError) -> Status {
    match error {
        UplinkError::StaleSession => {
            let message = "the session is over; open a new one";
            status::refuse(Code::FailedPrecondition, "STALE_SESSION", message, None)
        }
        UplinkError::Refused(why) => status::refuse(Code::PermissionDenied, "REFUSED", &why, None),
        UplinkError::Unreachable(why) => {
            // It may name places of this machine.
            tracing::warn!(why, "a node's call failed");
            let message = "the gateway cannot answer this now; try again";
            let wait = Some(std::time::Duration::from_secs(2));
            status::refuse(Code::Unavailable, "NOT_NOW", message, wait)
        }
        UplinkError::Store(e) => GatewayError::from(e).into(),
    }
}

/// Whether a node of `version` understands this gateway: the first two numbers are the language.
fn same_language(version: &str) -> bool {
    let ours = env!("CARGO_PKG_VERSION");
    let language = |text: &str| {
        let mut numbers = text.split('.');
        let mut next = || numbers.next()?.parse::<u32>().ok();
        Some((next()?, next()?))
    };
    language(version).is_some_and(|theirs| Some(theirs) == language(ours))
}

#[tonic::async_trait]
impl proto::prover_nodes_server::ProverNodes for Nodes {
    async fn enroll(
        &self,
        request: Request<proto::EnrollRequest>,
    ) -> Result<Response<proto::EnrollResponse>, Status> {
        let known = request.extensions().get::<Peer>().cloned();
        self.enroll_node(known, request.into_inner()).await
    }

    async fn open_session(
        &self,
        request: Request<proto::OpenSessionRequest>,
    ) -> Result<Response<proto::OpenSessionResponse>, Status> {
        let node = peer(&request)?;
        let m = request.into_inner();
        if !same_language(&m.version) {
            let theirs = crate::store::cut(m.version, 64);
            let message = format!(
                "this gateway is zkinfer {}, the node is {theirs:?}: both must have the same first two numbers; update the older one",
                env!("CARGO_PKG_VERSION")
            );
            let code = Code::FailedPrecondition;
            return Err(status::refuse(code, "NODE_VERSION", &message, None));
        }
        let hello = convert::hello(m)?;
        let welcome = self.desk.open(node.id, hello).await.map_err(refused)?;
        Ok(Response::new(convert::welcome(welcome)))
    }

    async fn acquire_leases(
        &self,
        request: Request<proto::AcquireLeasesRequest>,
    ) -> Result<Response<proto::AcquireLeasesResponse>, Status> {
        let node = peer(&request)?;
        let ask = convert::acquire(request.into_inner())?;
        let granted = self.desk.acquire(node.id, ask).await.map_err(refused)?;
        let ttl = self.desk.farm().limits.lease_ttl;
        Ok(Response::new(convert::granted(granted, ttl)))
    }

    async fn heartbeat(
        &self,
        request: Request<proto::HeartbeatRequest>,
    ) -> Result<Response<proto::HeartbeatResponse>, Status> {
        let node = peer(&request)?;
        let beat = convert::beat(request.into_inner())?;
        let answer = self.desk.heartbeat(node.id, beat).await.map_err(refused)?;
        let ttl = self.desk.farm().limits.lease_ttl;
        Ok(Response::new(convert::beat_answer(answer, ttl)))
    }

    async fn commit_proof(
        &self,
        request: Request<Streaming<proto::CommitProofRequest>>,
    ) -> Result<Response<proto::CommitProofResponse>, Status> {
        let node = peer(&request)?;
        let _place = self.commits.enter(node.id)?;
        let finished = commit::read(request.into_inner()).await?;
        let verdict = self.desk.commit(node.id, finished).await.map_err(refused)?;
        Ok(Response::new(convert::verdict(verdict)))
    }

    async fn fail_attempt(
        &self,
        request: Request<proto::FailAttemptRequest>,
    ) -> Result<Response<proto::FailAttemptResponse>, Status> {
        let node = peer(&request)?;
        let m = request.into_inner();
        let session = convert::number("session_epoch", m.session_epoch)?;
        let attempt = convert::attempt(&m.job, m.epoch)?;
        let failure = convert::failure(m.failure)?;
        let stale = self
            .desk
            .fail(node.id, session, attempt, failure)
            .await
            .map_err(refused)?;
        Ok(Response::new(proto::FailAttemptResponse { stale }))
    }

    async fn close_session(
        &self,
        request: Request<proto::CloseSessionRequest>,
    ) -> Result<Response<proto::CloseSessionResponse>, Status> {
        let node = peer(&request)?;
        let m = request.into_inner();
        let session = convert::number("session_epoch", m.session_epoch)?;
        self.desk
            .close(node.id, session, &m.reason)
            .await
            .map_err(refused)?;
        Ok(Response::new(proto::CloseSessionResponse {}))
    }

    type FetchStream = fetch::Chunks;

    async fn fetch(
        &self,
        request: Request<proto::FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        let node = peer(&request)?;
        let place = self.fetches.enter(node.id)?;
        let m = request.into_inner();
        let session = convert::number("session_epoch", m.session_epoch)?;
        let circuit = super::convert::circuit_id("circuit", &m.circuit)?;
        let job = match m.job.as_str() {
            "" => None,
            job => Some(super::convert::job_id("job", job)?),
        };
        let digest = super::convert::digest("digest", m.digest.as_ref())?;
        let file = self
            .desk
            .fetch(node.id, session, circuit, job, digest)
            .await
            .map_err(refused)?;
        Ok(Response::new(fetch::stream(file, m.offset, place)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_with_the_same_first_two_numbers_understand_each_other() {
        let ours = env!("CARGO_PKG_VERSION");
        let numbers: Vec<u32> = ours.split('.').filter_map(|n| n.parse().ok()).collect();
        let (major, minor) = (numbers[0], numbers[1]);
        assert!(same_language(ours));
        assert!(same_language(&format!("{major}.{minor}.99")));
        assert!(!same_language(&format!("{major}.{}.0", minor + 1)));
        assert!(!same_language(&format!("{}.{minor}.0", major + 1)));
        for bad in ["", "1", "x.y.z", "0.-1", "９.1"] {
            assert!(!same_language(bad), "{bad}");
        }
    }

    #[test]
    fn a_node_is_told_its_session_is_over_and_never_where_files_lie() {
        use tonic_types::StatusExt as _;
        let stale = refused(UplinkError::StaleSession);
        let info = stale.get_details_error_info().map(|i| i.reason);
        assert_eq!(info.as_deref(), Some("STALE_SESSION"));
        let lost = refused(UplinkError::Unreachable("/secret/place: gone".into()));
        assert_eq!(lost.code(), Code::Unavailable);
        assert!(!lost.message().contains("/secret"));
    }
}
