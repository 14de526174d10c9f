//! The Admin service: tenants, keys, enrollment, nodes. Its callers hold the scope `admin`, which is over all tenants.

use std::{sync::Arc, time::Duration};

use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{caller, convert, page, proto};
use crate::{
    auth::{ApiSecret, EnrollToken, authority::Authority},
    farm::scheduler::NodeVerdict,
    gateway::{Gateway, GatewayError},
    store::{
        ApiKey, EnrollGrant, Lane, Millis, NewApiKey, NewTenant, Node, NodeChange, NodeId,
        NodeState, Scopes, Store, Tenant, TenantBounds, TenantChange, TenantId, Trust,
    },
};

const MAX_NAME_BYTES: usize = 128;
const MAX_POOLS: usize = 16;
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

/// A page of rows that are all in memory: tenants, keys and nodes are few, and the operator's.
fn paged<T>(
    secret: &[u8; 32],
    list: &str,
    size: i32,
    token: &str,
    rows: Vec<T>,
) -> Result<(Vec<T>, String), GatewayError> {
    let page = page::read(secret, list, size, token)?;
    let from = page.after.map_or(0, |(_, at)| at.as_u128() as usize);
    let total = rows.len();
    let rows: Vec<T> = rows
        .into_iter()
        .skip(from)
        .take(page.size as usize)
        .collect();
    let end = from.saturating_add(rows.len());
    let next = if end < total {
        let last = Some((0, Uuid::from_u128(end as u128)));
        page::next(secret, list, &page, rows.len(), last)
    } else {
        String::new()
    };
    Ok((rows, next))
}

fn bounded_ttl(
    field: &'static str,
    value: Option<&prost_types::Duration>,
    max: Duration,
) -> Result<Option<Duration>, GatewayError> {
    let Some(value) = value else { return Ok(None) };
    let ttl = convert::duration(field, value)?;
    if ttl > max {
        let message = format!("at most {} hours", max.as_secs() / 3600);
        return Err(GatewayError::invalid(field, "TOO_LONG", message));
    }
    Ok(Some(ttl))
}

fn tenant_id(field: &'static str, text: &str) -> Result<TenantId, GatewayError> {
    text.parse()
        .map_err(|_| GatewayError::invalid(field, "BAD_NAME", "expected tenants/{id}"))
}

/// A name that tokens can carry and that is no tenants/{id}.
fn tenant_name(text: &str) -> Result<String, GatewayError> {
    let fits = !text.is_empty()
        && text.len() <= MAX_NAME_BYTES
        && !text.contains(|c: char| c == '/' || c.is_control())
        && text.trim() == text;
    if !fits {
        let message = "1 to 128 bytes without /, control characters, or spaces at the ends";
        return Err(GatewayError::invalid(
            "tenant.display_name",
            "BAD_NAME",
            message,
        ));
    }
    Ok(text.to_owned())
}

fn positive(field: &'static str, value: f32, zero: bool) -> Result<f64, GatewayError> {
    let fits = value.is_finite() && (value > 0.0 || zero && value == 0.0) && value <= 1e6;
    if !fits {
        let message = "a number above 0 and at most 1,000,000";
        return Err(GatewayError::invalid(field, "BAD_NUMBER", message));
    }
    Ok(f64::from(value))
}

fn tenant_message(t: &Tenant) -> proto::Tenant {
    proto::Tenant {
        name: t.id.to_string(),
        display_name: t.name.clone(),
        weight: t.bounds.weight as f32,
        max_running: t.bounds.max_running,
        max_queued: t.bounds.max_queued,
        max_artifact_bytes: t.bounds.max_artifact_bytes,
        requests_per_second: t.bounds.requests_per_second as f32,
        disabled: t.disabled,
        etag: t.version.to_string(),
    }
}

fn key_message(k: &ApiKey) -> proto::ApiKey {
    proto::ApiKey {
        name: format!("keys/{}", k.prefix),
        prefix: k.prefix.clone(),
        scopes: k.scopes.iter().map(|s| s.name().to_owned()).collect(),
        expire_time: k.expires_at.map(convert::timestamp),
        revoke_time: k.revoked_at.map(convert::timestamp),
        last_used: k.last_used.map(convert::timestamp),
        tenant: k.tenant.to_string(),
    }
}

fn key_prefix(field: &'static str, name: &str) -> Result<String, GatewayError> {
    let prefix = name.strip_prefix("keys/").unwrap_or(name);
    let fits = prefix.len() == 8 && prefix.bytes().all(|b| b.is_ascii_alphanumeric());
    if !fits {
        let message = "expected keys/{prefix of 8 characters}";
        return Err(GatewayError::invalid(field, "BAD_NAME", message));
    }
    Ok(prefix.to_owned())
}

fn scopes(names: &[String]) -> Result<Scopes, GatewayError> {
    let scopes: Scopes = names
        .iter()
        .map(|name| name.parse())
        .collect::<Result<_, _>>()
        .map_err(|e: crate::store::UnknownScope| {
            GatewayError::invalid("scopes", "BAD_SCOPE", e.to_string())
        })?;
    if scopes.is_empty() {
        let message = "name at least one of submit, read, verify, admin";
        return Err(GatewayError::invalid("scopes", "SCOPES_MISSING", message));
    }
    Ok(scopes)
}

/// Names of pools.
fn pools(field: &'static str, names: &[String]) -> Result<Vec<String>, GatewayError> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let fits = |name: &String| (1..=63).contains(&name.len()) && name.bytes().all(word);
    if names.len() > MAX_POOLS || !names.iter().all(fits) {
        let message = "at most 16 pools of 1 to 63 letters, digits, -, _ or .";
        return Err(GatewayError::invalid(field, "BAD_POOL", message));
    }
    Ok(names.to_vec())
}

fn trust(field: &'static str, code: i32) -> Result<Trust, GatewayError> {
    Trust::from_code(code)
        .ok_or_else(|| GatewayError::invalid(field, "BAD_TRUST", "UNTRUSTED, VETTED or OWNED"))
}

/// The fields that a mask names; every one of `known` when it is absent.
fn mask(
    mask: Option<&prost_types::FieldMask>,
    known: &[&'static str],
) -> Result<Vec<&'static str>, GatewayError> {
    let Some(mask) = mask.filter(|m| !m.paths.is_empty()) else {
        return Ok(known.to_vec());
    };
    mask.paths
        .iter()
        .map(|path| {
            known.iter().copied().find(|k| k == path).ok_or_else(|| {
                let message = format!("only {} can be changed", known.join(", "));
                GatewayError::invalid("update_mask", "BAD_FIELD", message)
            })
        })
        .collect()
}

fn tenant_change(m: &proto::UpdateTenantRequest) -> Result<TenantChange, GatewayError> {
    const FIELDS: [&str; 7] = [
        "display_name",
        "weight",
        "max_running",
        "max_queued",
        "max_artifact_bytes",
        "requests_per_second",
        "disabled",
    ];
    let t = m.tenant.clone().unwrap_or_default();
    let mut change = TenantChange::default();
    for field in mask(m.update_mask.as_ref(), &FIELDS)? {
        match field {
            "display_name" => change.name = Some(tenant_name(&t.display_name)?),
            "weight" => change.weight = Some(positive("tenant.weight", t.weight, false)?),
            "max_running" => change.max_running = Some(t.max_running),
            "max_queued" => change.max_queued = Some(t.max_queued),
            "max_artifact_bytes" => change.max_artifact_bytes = Some(t.max_artifact_bytes),
            "requests_per_second" => {
                let rate = positive("tenant.requests_per_second", t.requests_per_second, true)?;
                change.requests_per_second = Some(rate);
            }
            _ => change.disabled = Some(t.disabled),
        }
    }
    Ok(change)
}

fn node_state(field: &'static str, code: i32) -> Result<NodeState, GatewayError> {
    NodeState::from_code(code).ok_or_else(|| {
        let message = "ACTIVE, DRAINING, OFFLINE or QUARANTINED";
        GatewayError::invalid(field, "BAD_STATE", message)
    })
}

fn node_change(m: &proto::UpdateNodeRequest) -> Result<NodeChange, GatewayError> {
    let n = m.node.clone().unwrap_or_default();
    let mut change = NodeChange::default();
    for field in mask(m.update_mask.as_ref(), &["pools", "trust", "state"])? {
        match field {
            "pools" => change.pools = Some(pools("node.pools", &n.pools)?),
            "trust" => change.trust = Some(trust("node.trust", n.trust)?),
            _ => match node_state("node.state", n.state)? {
                NodeState::Offline => {
                    let message = "OFFLINE is seen, not set; use DRAINING or QUARANTINED";
                    let bad = GatewayError::invalid("node.state", "BAD_STATE", message);
                    return Err(bad);
                }
                state => change.state = Some(state),
            },
        }
    }
    Ok(change)
}

fn node_message(n: &Node, now: Millis, ttl_ms: i64) -> proto::Node {
    let c = &n.capabilities;
    let capabilities = proto::Capabilities {
        backends: c
            .backends
            .iter()
            .map(|b| proto::BackendSupport {
                backend: b.code(),
                versions: Vec::new(),
            })
            .collect(),
        total: Some(convert::resources(&c.total)),
        slots: c.slots,
        gpus: c
            .gpus
            .iter()
            .map(|g| proto::Gpu {
                uuid: g.uuid.clone(),
                model: g.model.clone(),
                vram_bytes: g.vram_bytes,
                driver: g.driver.clone(),
            })
            .collect(),
        pools: n.pools.clone(),
        cpu_features: c.cpu_features.clone(),
        ..Default::default()
    };
    proto::Node {
        name: n.id.to_string(),
        display_name: n.display_name.clone(),
        state: n.state_at(now, ttl_ms).code(),
        trust: n.trust.code(),
        pools: n.pools.clone(),
        capabilities: Some(capabilities),
        last_seen: n.last_seen.map(convert::timestamp),
        running: n.running,
        score: n.score as f32,
        ok: n.ok,
        failed: n.failed,
        invalid: n.invalid,
        lost: n.lost,
        version: n.version.clone(),
        etag: n.row_version.to_string(),
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
        let lane = |l: &Lane| proto::cluster_stats::Lane {
            priority: l.priority.code(),
            backend: l.backend.code(),
            vram_class: 0,
            queued: l.queued,
            running: l.running,
            oldest: Some(convert::duration_ms(l.oldest_ms)),
            backlog_gpu_time: Some(convert::duration_ms(l.backlog_ms)),
        };
        Ok(Response::new(proto::ClusterStats {
            lanes: view.lanes.iter().map(lane).collect(),
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
