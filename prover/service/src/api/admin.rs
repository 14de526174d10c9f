//! The Admin service: tenants, keys, enrollment, nodes. Its callers hold the scope `admin`, which is over all tenants.

mod messages;

use std::{sync::Arc, time::Duration};

use tonic::{Request, Response, Status};

use self::messages::{
    bounded_ttl, key_message, key_prefix, lane_message, node_change, node_message, node_state,
    paged, pools, positive, scopes, tenant_change, tenant_id, tenant_message, tenant_name, trust,
};
use super::{caller, convert, proto};
use crate::{
    auth::{ApiSecret, EnrollToken, authority::Authority},
    farm::scheduler::NodeVerdict,
    gateway::{Gateway, GatewayError},
    store::{
        EnrollGrant, NewApiKey, NewTenant, NodeId, Scopes, Store, TenantBounds, TenantId, Trust,
    },
};

const DEFAULT_TOKEN_TTL: Duration = Duration::from_secs(15 * 60);
const MAX_TOKEN_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
const MAX_KEY_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const MAX_OVERLAP: Duration = Duration::from_secs(90 * 24 * 3600);

/// Serves Admin.
#[derive(Debug, Clone)]
pub(super) struct Admin {
    pub gateway: Gateway,
    pub secret: [u8; 32],
    pub authority: Option<Arc<Authority>>,
}

impl Admin {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.gateway.farm().store)
    }
}

#[tonic::async_trait]
impl proto::admin_server::Admin for Admin {
    async fn create_tenant(
        &self,
        request: Request<proto::CreateTenantRequest>,
    ) -> Result<Response<proto::Tenant>, Status> {
        let by = caller(&request)?;
        let mut m = request.into_inner();
        let id = std::mem::take(&mut m.request_id);
        let key = convert::request_key(&id, &m)?;
        let t = m.tenant.unwrap_or_default();
        let weight = match t.weight {
            0.0 => 1.0,
            weight => positive("tenant.weight", weight, false)?,
        };
        let rate = positive("tenant.requests_per_second", t.requests_per_second, true)?;
        let new = NewTenant {
            name: tenant_name(&t.display_name)?,
            bounds: TenantBounds {
                weight,
                max_running: t.max_running,
                max_queued: t.max_queued,
                max_artifact_bytes: t.max_artifact_bytes,
                requests_per_second: rate,
            },
            request: key,
        };
        let store = self.store();
        let tenant = self
            .gateway
            .detached(async move { Ok(store.create_tenant(new).await?) })
            .await?;
        tracing::info!(by = &*by.name, tenant = %tenant.id, "tenant made");
        Ok(Response::new(tenant_message(&tenant)))
    }

    async fn update_tenant(
        &self,
        request: Request<proto::UpdateTenantRequest>,
    ) -> Result<Response<proto::Tenant>, Status> {
        let by = caller(&request)?;
        let m = request.get_ref();
        let t = m.tenant.clone().unwrap_or_default();
        let (id, etag) = (tenant_id("tenant.name", &t.name)?, convert::etag(&t.etag)?);
        let change = tenant_change(m)?;
        if id == TenantId::DEFAULT && change.disabled == Some(true) {
            let message = "the first tenant holds the operator's keys";
            let bad = GatewayError::invalid("tenant.disabled", "FIRST_TENANT", message);
            return Err(bad.into());
        }
        let store = self.store();
        let tenant = self
            .gateway
            .detached(async move { Ok(store.update_tenant(id, change, etag).await?) })
            .await?;
        tracing::info!(by = &*by.name, tenant = %tenant.id, "tenant changed");
        Ok(Response::new(tenant_message(&tenant)))
    }

    async fn list_tenants(
        &self,
        request: Request<proto::ListTenantsRequest>,
    ) -> Result<Response<proto::ListTenantsResponse>, Status> {
        let m = request.into_inner();
        let rows = self.store().tenants().await.map_err(GatewayError::from)?;
        let (rows, next_page_token) =
            paged(&self.secret, "tenants", m.page_size, &m.page_token, rows)?;
        Ok(Response::new(proto::ListTenantsResponse {
            tenants: rows.iter().map(tenant_message).collect(),
            next_page_token,
        }))
    }

    async fn create_api_key(
        &self,
        request: Request<proto::CreateApiKeyRequest>,
    ) -> Result<Response<proto::CreateApiKeyResponse>, Status> {
        let by = caller(&request)?;
        let mut m = request.into_inner();
        let id = std::mem::take(&mut m.request_id);
        let key = convert::request_key(&id, &m)?;
        let ttl = bounded_ttl("ttl", m.ttl.as_ref(), MAX_KEY_TTL)?;
        let overlap = bounded_ttl("overlap", m.overlap.as_ref(), MAX_OVERLAP)?;
        let (tenant, scopes, replaces) = if m.replaces.is_empty() {
            (tenant_id("tenant", &m.tenant)?, scopes(&m.scopes)?, None)
        } else if m.tenant.is_empty() && m.scopes.is_empty() {
            let old = key_prefix("replaces", &m.replaces)?;
            let replaces = Some((old, overlap.unwrap_or_default()));
            (TenantId::DEFAULT, Scopes::NONE, replaces)
        } else {
            let message = "a key that replaces another has its tenant and scopes";
            return Err(GatewayError::invalid("replaces", "NOT_BOTH", message).into());
        };
        let secret = ApiSecret::fresh();
        let new = NewApiKey {
            prefix: secret.prefix().to_owned(),
            hash: secret.hash(),
            tenant,
            scopes,
            ttl,
            replaces,
            request: key,
        };
        let store = self.store();
        let key = self
            .gateway
            .detached(async move { Ok(store.create_api_key(new).await?) })
            .await?;
        tracing::info!(by = &*by.name, key = key.prefix, tenant = %key.tenant, scopes = %key.scopes, "key made");
        Ok(Response::new(proto::CreateApiKeyResponse {
            key: Some(key_message(&key)),
            secret: secret.expose().to_owned(),
        }))
    }

    async fn list_api_keys(
        &self,
        request: Request<proto::ListApiKeysRequest>,
    ) -> Result<Response<proto::ListApiKeysResponse>, Status> {
        let m = request.into_inner();
        let rows = self.store().api_keys().await.map_err(GatewayError::from)?;
        let (rows, next_page_token) =
            paged(&self.secret, "keys", m.page_size, &m.page_token, rows)?;
        Ok(Response::new(proto::ListApiKeysResponse {
            keys: rows.iter().map(key_message).collect(),
            next_page_token,
        }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<proto::RevokeApiKeyRequest>,
    ) -> Result<Response<proto::ApiKey>, Status> {
        let by = caller(&request)?;
        let prefix = key_prefix("name", &request.get_ref().name)?;
        let store = self.store();
        let key = self
            .gateway
            .detached(async move { Ok(store.revoke_api_key(&prefix).await?) })
            .await?;
        tracing::info!(by = &*by.name, key = key.prefix, "key revoked");
        Ok(Response::new(key_message(&key)))
    }

    async fn create_enroll_token(
        &self,
        request: Request<proto::CreateEnrollTokenRequest>,
    ) -> Result<Response<proto::CreateEnrollTokenResponse>, Status> {
        let by = caller(&request)?;
        let m = request.get_ref();
        let Some(authority) = &self.authority else {
            let message = "this server has no listener for nodes; start it with --node-listen";
            let why = "NO_NODE_LISTENER";
            let code = tonic::Code::FailedPrecondition;
            return Err(super::status::refuse(code, why, message, None));
        };
        let grant = EnrollGrant {
            trust: match m.trust {
                0 => Trust::Untrusted,
                code => trust("trust", code)?,
            },
            pools: pools("pools", &m.pools)?,
        };
        let ttl = bounded_ttl("ttl", m.ttl.as_ref(), MAX_TOKEN_TTL)?.unwrap_or(DEFAULT_TOKEN_TTL);
        let token = EnrollToken::fresh(authority.certificate());
        let (store, hash, given) = (self.store(), token.hash(), grant.clone());
        let expires = self
            .gateway
            .detached(async move { Ok(store.create_enroll_token(hash, given, ttl).await?) })
            .await?;
        tracing::info!(by = &*by.name, trust = %grant.trust, "enrollment token made");
        Ok(Response::new(proto::CreateEnrollTokenResponse {
            token: token.expose().to_string(),
            expire_time: Some(convert::timestamp(expires)),
        }))
    }

    async fn list_nodes(
        &self,
        request: Request<proto::ListNodesRequest>,
    ) -> Result<Response<proto::ListNodesResponse>, Status> {
        let m = request.into_inner();
        let wanted = match m.state {
            0 => None,
            code => Some(node_state("state", code)?),
        };
        let store = self.store();
        let nodes = store.nodes().await.map_err(GatewayError::from)?;
        let now = store.now().await.map_err(GatewayError::from)?;
        let ttl = self.gateway.farm().limits.lease_ttl_ms();
        let rows = nodes
            .into_iter()
            .filter(|n| wanted.is_none_or(|state| state == n.state_at(now, ttl)))
            .filter(|n| m.pool.is_empty() || n.pools.contains(&m.pool))
            .collect();
        let list = format!("nodes {} {}", m.state, m.pool);
        let (rows, next_page_token) = paged(&self.secret, &list, m.page_size, &m.page_token, rows)?;
        Ok(Response::new(proto::ListNodesResponse {
            nodes: rows.iter().map(|n| node_message(n, now, ttl)).collect(),
            next_page_token,
        }))
    }

    async fn update_node(
        &self,
        request: Request<proto::UpdateNodeRequest>,
    ) -> Result<Response<proto::Node>, Status> {
        let by = caller(&request)?;
        let m = request.get_ref();
        let n = m.node.clone().unwrap_or_default();
        let id: NodeId = n
            .name
            .parse()
            .map_err(|_| GatewayError::invalid("node.name", "BAD_NAME", "expected nodes/{uuid}"))?;
        let etag = convert::etag(&n.etag)?;
        let change = node_change(m)?;
        let store = self.store();
        let node = self
            .gateway
            .detached(async move { Ok(store.update_node(id, change, etag).await?) })
            .await?;
        tracing::info!(by = &*by.name, node = %node.id, state = %node.state, trust = %node.trust, "node changed");
        let now = self.store().now().await.map_err(GatewayError::from)?;
        let ttl = self.gateway.farm().limits.lease_ttl_ms();
        Ok(Response::new(node_message(&node, now, ttl)))
    }

    async fn get_cluster_stats(
        &self,
        _: Request<proto::GetClusterStatsRequest>,
    ) -> Result<Response<proto::ClusterStats>, Status> {
        let ttl = self.gateway.farm().limits.lease_ttl_ms();
        let view = self
            .store()
            .cluster(ttl)
            .await
            .map_err(GatewayError::from)?;
        Ok(Response::new(proto::ClusterStats {
            lanes: view.lanes.iter().map(lane_message).collect(),
            nodes_active: view.nodes_active,
            slots_total: view.slots_total,
            slots_busy: view.slots_busy,
        }))
    }

    async fn explain_job(
        &self,
        request: Request<proto::ExplainJobRequest>,
    ) -> Result<Response<proto::ExplainJobResponse>, Status> {
        let id = convert::job_id("job", &request.get_ref().job)?;
        let job = self.store().any_job(id).await.map_err(GatewayError::from)?;
        let told = self.gateway.farm().explain(id).await;
        let Some(told) = told.map_err(GatewayError::from)? else {
            let message = format!("{id} is {}: it waits for no node", job.state);
            let code = tonic::Code::FailedPrecondition;
            return Err(super::status::refuse(code, "NOT_WAITING", &message, None));
        };
        let verdict = |v: &NodeVerdict| proto::explain_job_response::Verdict {
            node: v.node.to_string(),
            eligible: v.eligible,
            reason: v.reason.clone(),
            score: v.score as f32,
        };
        Ok(Response::new(proto::ExplainJobResponse {
            verdicts: told.verdicts.iter().map(verdict).collect(),
            pending_reason: Some(convert::pending(&told.pending)),
        }))
    }
}
