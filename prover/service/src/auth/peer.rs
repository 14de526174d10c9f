//! What stands before every call of a node: its certificate's fingerprint names it, its row says whether it may speak, and nobody
//! waits or sends without end. The bodies of strangers are not read, but for a few enrollments at a time.

use std::{net::IpAddr, sync::Arc, time::Duration};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use http::Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{
    Code, Status,
    body::Body,
    transport::server::{TcpConnectInfo, TlsConnectInfo},
};
use tracing::Span;

use super::{
    RateLimits,
    crowd::{Crowd, Place},
    door::{Admit, bound},
    trace::TraceContext,
};
use crate::{
    api::status,
    store::{Digest, Node, NodeId, NodeState, Store, StoreError},
};

/// Enrollments of strangers at a time.
const MAX_ENROLLING: usize = 16;
/// Enrollments a second from one address.
const ENROLL_RATE: f64 = 5.0;
/// Calls a second of one node, and at once.
const CALL_RATE: u32 = 100;
/// Calls of one node at a time; a slot needs few.
const MAX_CALLS: usize = 64;
/// The longest call: a wait for work, and a commit that is verified.
const LONGEST: Duration = Duration::from_secs(120);
const LONGEST_ENROLL: Duration = Duration::from_secs(20);

/// The largest request with lists.
const MAX_BODY_BYTES: usize = 512 << 10;

const SERVICE: &str = "/zkinfer.v1.ProverNodes/";

/// The node that calls.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) node: Node,
    /// The SHA-256 of the certificate that it came with.
    pub(crate) presented: Digest,
}

/// The rules of the listener of nodes.
#[derive(Debug)]
pub(crate) struct Gate {
    store: Arc<dyn Store>,
    enrolling: Arc<Semaphore>,
    addresses: RateLimits,
    pace: DefaultKeyedRateLimiter<NodeId>,
    clock: DefaultClock,
    calls: Arc<Crowd<NodeId>>,
}

/// Held while a call goes on.
#[derive(Debug)]
pub(crate) enum Admitted {
    Stranger { _permit: OwnedSemaphorePermit },
    Node { _place: Place<NodeId> },
}

/// One answer for every certificate that names no node.
fn stranger() -> Status {
    let message = "no node of this gateway has this certificate, or its time is over; join again with a new token";
    status::refuse(Code::Unauthenticated, "UNAUTHENTICATED", message, None)
}

impl Admit for Gate {
    type Pass = Admitted;

    fn span(&self, _: &Request<Body>, trace: &TraceContext) -> Span {
        tracing::info_span!("node call", trace = trace.id())
    }

    async fn admit(
        &self,
        request: &mut Request<Body>,
    ) -> Result<(Admitted, Option<Duration>), Status> {
        let (enrolls, has_lists) = match request.uri().path().strip_prefix(SERVICE) {
            // A proof comes in messages; what an attempt failed of is text, and cut.
            Some(method) => (
                method == "Enroll",
                !["CommitProof", "FailAttempt"].contains(&method),
            ),
            None => {
                let message = "this listener is for prover nodes";
                return Err(status::refuse(
                    Code::Unimplemented,
                    "NOT_HERE",
                    message,
                    None,
                ));
            }
        };
        if has_lists {
            bound(request, MAX_BODY_BYTES);
        }
        let tls = request
            .extensions()
            .get::<TlsConnectInfo<TcpConnectInfo>>()
            .cloned()
            .ok_or_else(stranger)?;
        let certificate = tls
            .peer_certs()
            .and_then(|chain| chain.first().map(|der| Digest::of(der)));
        let Some(fingerprint) = certificate else {
            if !enrolls {
                return Err(stranger());
            }
            let address = tls.get_ref().remote_addr().map(|a| a.ip());
            return self.enrolling(address);
        };
        let node = self.node(fingerprint).await?;
        self.pace
            .check_key(&node.id)
            .map_err(|not| status::busy("too many calls", not.wait_time_from(self.clock.now())))?;
        let place = self.calls.enter(node.id)?;
        request.extensions_mut().insert(Peer {
            node,
            presented: fingerprint,
        });
        Ok((Admitted::Node { _place: place }, Some(LONGEST)))
    }
}

impl Gate {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        let rate = std::num::NonZeroU32::new(CALL_RATE).unwrap_or(std::num::NonZeroU32::MIN);
        Self {
            store,
            enrolling: Arc::new(Semaphore::new(MAX_ENROLLING)),
            addresses: RateLimits::new(ENROLL_RATE),
            pace: RateLimiter::keyed(Quota::per_second(rate)),
            clock: DefaultClock::default(),
            calls: Crowd::new(MAX_CALLS),
        }
    }

    fn enrolling(&self, address: Option<IpAddr>) -> Result<(Admitted, Option<Duration>), Status> {
        if let Some(address) = address {
            self.addresses
                .address(address)
                .map_err(|wait| status::busy("too many enrollments", wait))?;
        }
        let permit = Arc::clone(&self.enrolling)
            .try_acquire_owned()
            .map_err(|_| status::busy("too many enrollments", Duration::from_secs(1)))?;
        let admitted = Admitted::Stranger { _permit: permit };
        Ok((admitted, Some(LONGEST_ENROLL)))
    }

    /// The node with this certificate, unless it may not speak.
    async fn node(&self, fingerprint: Digest) -> Result<Node, Status> {
        let failed = |e: StoreError| Status::from(crate::gateway::GatewayError::from(e));
        let id = self
            .store
            .node_of_certificate(fingerprint)
            .await
            .map_err(failed)?
            .ok_or_else(stranger)?;
        let node = match self.store.node(id).await {
            Ok(node) => node,
            Err(StoreError::NotFound { .. }) => return Err(stranger()),
            Err(e) => return Err(failed(e)),
        };
        if node.state == NodeState::Quarantined {
            let message = format!("{id} is quarantined; its operator can activate it again");
            let code = Code::PermissionDenied;
            return Err(status::refuse(code, "QUARANTINED", &message, None));
        }
        Ok(node)
    }
}
