//! Letting nodes in, and renewing their certificates.

use std::sync::Arc;

use tonic::{Code, Response, Status};

use super::Nodes;
use crate::{
    api::{convert, proto, status},
    auth::{
        EnrollToken,
        authority::{NodeCertificate, NodeKey},
        peer::Peer,
    },
    gateway::GatewayError,
    store::{Digest, NodeId},
};

/// One answer for everything that is not a live token.
fn no_token() -> Status {
    let message = "the token is not one of this gateway, or was used, or its time is over";
    status::refuse(Code::Unauthenticated, "TOKEN_REFUSED", message, None)
}

/// What the operator reads in lists.
fn display_name(text: &str) -> Result<String, GatewayError> {
    let fits = (1..=64).contains(&text.len()) && !text.contains(char::is_control);
    if !fits {
        let message = "1 to 64 bytes without control characters";
        return Err(GatewayError::invalid("node_name", "BAD_NAME", message));
    }
    Ok(text.to_owned())
}

impl Nodes {
    /// Gives a certificate: to the bearer of a token, or a fresh one to `known`, for the same key.
    pub(super) async fn enroll_node(
        &self,
        known: Option<Peer>,
        request: proto::EnrollRequest,
    ) -> Result<Response<proto::EnrollResponse>, Status> {
        let token = zeroize::Zeroizing::new(request.token);
        // The cheap and harmless checks first: a bad request does not use the token up.
        let key = NodeKey::read(&request.csr_der)
            .map_err(|e| GatewayError::invalid("csr_der", "BAD_REQUEST", e.to_string()))?;
        let nodes = self.clone();
        let (node, given) = match (known, token.is_empty()) {
            (Some(Peer { node, presented }), true) => {
                if key.point() != node.public_key {
                    let message = "a renewal is for the key that the node has";
                    let bad = GatewayError::invalid("csr_der", "OTHER_KEY", message);
                    return Err(bad.into());
                }
                let id = node.id;
                let given = self
                    .detached(async move { nodes.give(&key, id, Some(presented)).await })
                    .await?;
                tracing::info!(node = %id, "certificate renewed");
                (id, given)
            }
            (_, false) => {
                let name = display_name(&request.node_name)?;
                let token: EnrollToken = token.parse().map_err(|_| no_token())?;
                if token.authority() != &self.authority.certificate()[..] {
                    return Err(no_token());
                }
                let work = async move { nodes.let_in(&key, &token, &name).await };
                self.detached(work).await?.ok_or_else(no_token)?
            }
            (None, true) => return Err(no_token()),
        };
        Ok(Response::new(proto::EnrollResponse {
            node: node.to_string(),
            certificate_chain_pem: given.pem.into_bytes(),
            ca_pem: self.authority.pem().as_bytes().to_vec(),
            expire_time: Some(convert::timestamp(given.expires_at)),
        }))
    }

    /// Runs `work` to its end even when the node goes away: a token that was used has its node.
    async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, GatewayError>> + Send + 'static,
    ) -> Result<T, GatewayError> {
        let done = self.desk.farm().tasks.spawn(work).await;
        done.map_err(|_| GatewayError::Internal("the enrollment met a defect".to_owned()))?
    }

    /// Uses the token up, and makes the node; `None` when the token is not live.
    async fn let_in(
        &self,
        key: &NodeKey,
        token: &EnrollToken,
        name: &str,
    ) -> Result<Option<(NodeId, NodeCertificate)>, GatewayError> {
        let store = Arc::clone(&self.desk.farm().store);
        let id = NodeId::fresh();
        let Some(grant) = store.use_enroll_token(token.hash(), id).await? else {
            return Ok(None);
        };
        let point = key.point().to_vec();
        store
            .add_node(id, name, point, grant.trust, &grant.pools)
            .await?;
        let given = self.give(key, id, None).await?;
        tracing::info!(node = %id, name, trust = %grant.trust, "node joined");
        Ok(Some((id, given)))
    }

    /// A certificate, on record before anybody has it.
    async fn give(
        &self,
        key: &NodeKey,
        node: NodeId,
        presented: Option<Digest>,
    ) -> Result<NodeCertificate, GatewayError> {
        let given = self
            .authority
            .admit(key, node)
            .map_err(|e| GatewayError::Internal(e.to_string()))?;
        self.desk
            .farm()
            .store
            .add_node_certificate(given.fingerprint, node, given.expires_at, presented)
            .await?;
        Ok(given)
    }
}
