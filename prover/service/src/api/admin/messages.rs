//! Between the messages of the operator and the store's words.

use std::time::Duration;

use uuid::Uuid;

use super::super::{convert, page, proto};
use crate::{
    gateway::GatewayError,
    store::{
        ApiKey, Lane, Millis, Node, NodeChange, NodeState, Scopes, Tenant, TenantChange, TenantId,
        Trust,
    },
};

const MAX_NAME_BYTES: usize = 128;
const MAX_POOLS: usize = 16;

/// A page of rows that are all in memory: tenants, keys and nodes are few, and the operator's.
pub(super) fn paged<T>(
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

pub(super) fn bounded_ttl(
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

pub(super) fn tenant_id(field: &'static str, text: &str) -> Result<TenantId, GatewayError> {
    text.parse()
        .map_err(|_| GatewayError::invalid(field, "BAD_NAME", "expected tenants/{id}"))
}

/// A name that tokens can carry and that is no tenants/{id}.
pub(super) fn tenant_name(text: &str) -> Result<String, GatewayError> {
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

pub(super) fn positive(field: &'static str, value: f32, zero: bool) -> Result<f64, GatewayError> {
    let fits = value.is_finite() && (value > 0.0 || zero && value == 0.0) && value <= 1e6;
    if !fits {
        let message = "a number above 0 and at most 1,000,000";
        return Err(GatewayError::invalid(field, "BAD_NUMBER", message));
    }
    Ok(f64::from(value))
}

pub(super) fn tenant_message(t: &Tenant) -> proto::Tenant {
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

pub(super) fn key_message(k: &ApiKey) -> proto::ApiKey {
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

pub(super) fn key_prefix(field: &'static str, name: &str) -> Result<String, GatewayError> {
    let prefix = name.strip_prefix("keys/").unwrap_or(name);
    let fits = prefix.len() == 8 && prefix.bytes().all(|b| b.is_ascii_alphanumeric());
    if !fits {
        let message = "expected keys/{prefix of 8 characters}";
        return Err(GatewayError::invalid(field, "BAD_NAME", message));
    }
    Ok(prefix.to_owned())
}

pub(super) fn scopes(names: &[String]) -> Result<Scopes, GatewayError> {
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
pub(super) fn pools(field: &'static str, names: &[String]) -> Result<Vec<String>, GatewayError> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let fits = |name: &String| (1..=63).contains(&name.len()) && name.bytes().all(word);
    if names.len() > MAX_POOLS || !names.iter().all(fits) {
        let message = "at most 16 pools of 1 to 63 letters, digits, -, _ or .";
        return Err(GatewayError::invalid(field, "BAD_POOL", message));
    }
    Ok(names.to_vec())
}

pub(super) fn trust(field: &'static str, code: i32) -> Result<Trust, GatewayError> {
    Trust::from_code(code)
        .ok_or_else(|| GatewayError::invalid(field, "BAD_TRUST", "UNTRUSTED, VETTED or OWNED"))
}

/// The fields that a mask names; every one of `known` when it is absent.
pub(super) fn mask(
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

pub(super) fn tenant_change(m: &proto::UpdateTenantRequest) -> Result<TenantChange, GatewayError> {
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

pub(super) fn node_state(field: &'static str, code: i32) -> Result<NodeState, GatewayError> {
    NodeState::from_code(code).ok_or_else(|| {
        let message = "ACTIVE, DRAINING, OFFLINE or QUARANTINED";
        GatewayError::invalid(field, "BAD_STATE", message)
    })
}

pub(super) fn node_change(m: &proto::UpdateNodeRequest) -> Result<NodeChange, GatewayError> {
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

pub(super) fn node_message(n: &Node, now: Millis, ttl_ms: i64) -> proto::Node {
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

pub(super) fn lane_message(l: &Lane) -> proto::cluster_stats::Lane {
    proto::cluster_stats::Lane {
        priority: l.priority.code(),
        backend: l.backend.code(),
        vram_class: 0,
        queued: l.queued,
        running: l.running,
        oldest: Some(convert::duration_ms(l.oldest_ms)),
        backlog_gpu_time: Some(convert::duration_ms(l.backlog_ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_a_list_in_memory_join_to_the_whole() {
        let secret = [1; 32];
        let rows: Vec<u32> = (0..25).collect();
        let (mut all, mut token) = (Vec::new(), String::new());
        loop {
            let (page, next) = paged(&secret, "rows", 10, &token, rows.clone()).expect("page");
            assert!(page.len() <= 10);
            all.extend(page);
            token = next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(all, rows);
        let (_, token) = paged(&secret, "rows", 10, "", rows.clone()).expect("page");
        assert!(paged(&secret, "others", 10, &token, rows).is_err());
    }

    #[test]
    fn names_of_tenants_are_no_numbers_of_tenants() {
        for bad in ["", " a", "a ", "tenants/1", "a\nb", &"x".repeat(129)] {
            assert!(tenant_name(bad).is_err(), "{bad:?}");
        }
        assert!(tenant_name("Acme & Söhne").is_ok());
    }

    #[test]
    fn only_named_fields_change_and_only_known_ones_can_be_named() {
        let request = |paths: &[&str]| proto::UpdateTenantRequest {
            tenant: Some(proto::Tenant {
                max_queued: 7,
                weight: f32::NAN,
                ..Default::default()
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: paths.iter().map(|p| (*p).to_owned()).collect(),
            }),
        };
        let change = tenant_change(&request(&["max_queued"])).expect("a change");
        assert_eq!((change.max_queued, change.weight), (Some(7), None));
        assert!(change.name.is_none() && change.disabled.is_none());
        assert!(tenant_change(&request(&["weight"])).is_err());
        assert!(tenant_change(&request(&["vtime"])).is_err());
    }
}
