//! What stands before every handler of the client listener: request id and trace, rate by address, authentication, scope, rate of
//! the tenant. A call that passes carries its [`Caller`] and its [`TraceContext`]; nothing else makes a `Caller`.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{Request, header::AUTHORIZATION};
use tonic::{
    Code, Status,
    body::Body,
    transport::server::{TcpConnectInfo, TlsConnectInfo},
};
use tracing::Span;

use super::{
    ApiSecret, Caller, RateLimits, Shown, Tokens,
    crowd::{Crowd, Place},
    door::{Admit, bound},
    jwt::TenantRef,
    methods::{Class, Need, longest, max_body_bytes, need},
    retry_after,
    trace::TraceContext,
};
use crate::{
    api::status,
    metrics::Metrics,
    store::{Digest, Scope, Store, StoreError, Tenant, TenantId},
};

/// Longest Authorization header.
const MAX_CREDENTIAL_BYTES: usize = 8192;
/// How often a key's use is written down.
const TOUCH: Duration = Duration::from_secs(60);
/// Keys whose last note is remembered.
const MAX_TOUCHED: usize = 10_000;

/// Calls of one tenant at a time.
const MAX_CALLS: usize = 256;

/// How callers are known.
#[derive(Debug)]
pub(crate) enum Identify {
    /// Not at all: whoever reaches the address is the one tenant.
    Nobody,
    /// By API key or token.
    By(Lookup),
}

/// Finds out who a credential belongs to.
#[derive(Debug)]
pub(crate) struct Lookup {
    store: Arc<dyn Store>,
    tokens: Option<Tokens>,
    touched: Mutex<HashMap<String, Instant>>,
}

/// The rules of the client listener.
#[derive(Debug)]
pub(crate) struct Guard {
    identify: Identify,
    limits: RateLimits,
    metrics: Arc<Metrics>,
    calls: Arc<Crowd<TenantId>>,
}

/// The method, when it is one: a log line is no place for a stranger's text.
fn known_path(request: &Request<Body>) -> String {
    match need(request.uri().path()) {
        Need::Unknown => "unknown".to_owned(),
        _ => crate::store::cut(request.uri().path().to_owned(), 96),
    }
}

fn peer(request: &Request<Body>) -> Option<IpAddr> {
    let extensions = request.extensions();
    let tcp = extensions.get::<TcpConnectInfo>().or_else(|| {
        let tls = extensions.get::<TlsConnectInfo<TcpConnectInfo>>();
        tls.map(TlsConnectInfo::get_ref)
    });
    tcp.and_then(TcpConnectInfo::remote_addr).map(|a| a.ip())
}

impl Admit for Guard {
    /// Whoever is known has a place; the server of one machine has room for its own calls.
    type Pass = Option<Place<TenantId>>;

    fn span(&self, request: &Request<Body>, trace: &TraceContext) -> Span {
        tracing::info_span!("call", trace = trace.id(), method = known_path(request))
    }

    async fn admit(
        &self,
        request: &mut Request<Body>,
    ) -> Result<(Self::Pass, Option<Duration>), Status> {
        let longest = longest(request.uri().path());
        if let Some(most) = max_body_bytes(request.uri().path()) {
            bound(request, most);
        }
        Ok((self.identified(request).await?, longest))
    }
}

impl Guard {
    pub(crate) fn new(identify: Identify, limits: RateLimits, metrics: Arc<Metrics>) -> Self {
        Self {
            identify,
            limits,
            metrics,
            calls: Crowd::new(MAX_CALLS),
        }
    }

    /// Gives a request its caller, or says why it has none that may call.
    async fn identified(
        &self,
        request: &mut Request<Body>,
    ) -> Result<Option<Place<TenantId>>, Status> {
        let need = need(request.uri().path());
        let Identify::By(lookup) = &self.identify else {
            request.extensions_mut().insert(Caller::local());
            return Ok(None);
        };
        if let Some(address) = peer(request) {
            let allowed = self.limits.address(address);
            allowed.map_err(|wait| self.limited("address", wait))?;
        }
        if need == Need::Nothing {
            return Ok(None);
        }
        // Handlers and their logs never see the credential.
        let mut credentials = request
            .headers()
            .get_all(AUTHORIZATION)
            .iter()
            .cloned()
            .collect::<Vec<_>>();
        request.headers_mut().remove(AUTHORIZATION);
        let credential = credentials.pop().filter(|_| credentials.is_empty());
        let credential = credential
            .as_ref()
            .and_then(|value| value.to_str().ok())
            .and_then(bearer)
            .ok_or_else(unauthenticated)?;
        let (caller, tenant) = lookup.caller(credential).await?;
        let class = match need {
            Need::Scope(scope, _) if !caller.scopes.contains(scope) => return Err(missing(scope)),
            Need::Scope(_, class) => class,
            Need::Nothing | Need::Caller | Need::Unknown => Class::Read,
        };
        self.tenant_rate(&tenant, class)?;
        let place = self.calls.enter(tenant.id)?;
        request.extensions_mut().insert(caller);
        Ok(Some(place))
    }

    fn tenant_rate(&self, tenant: &Tenant, class: Class) -> Result<(), Status> {
        let allowed = self
            .limits
            .tenant(tenant.id, class, tenant.bounds.requests_per_second);
        allowed.map_err(|wait| self.limited("tenant", wait))
    }

    fn limited(&self, kind: &'static str, wait: Duration) -> Status {
        self.metrics.rate_limited(kind);
        let message = "too many calls; slow down";
        let wait = Some(retry_after(wait));
        status::refuse(Code::ResourceExhausted, "RATE_LIMITED", message, wait)
    }
}

/// The credential of `Bearer <credential>`.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, credential) = value.split_once(' ')?;
    let fits = scheme.eq_ignore_ascii_case("bearer")
        && !credential.is_empty()
        && credential.len() <= MAX_CREDENTIAL_BYTES;
    fits.then_some(credential)
}

/// One answer for everything that is not a live credential.
pub(crate) fn unauthenticated() -> Status {
    let message = "this call needs a live API key or token: `authorization: Bearer …`";
    status::refuse(Code::Unauthenticated, "UNAUTHENTICATED", message, None)
}

fn missing(scope: Scope) -> Status {
    let message = format!("this call needs the scope `{}`", scope.name());
    status::refuse(Code::PermissionDenied, "SCOPE_MISSING", &message, None)
}

impl Lookup {
    pub(crate) fn new(store: Arc<dyn Store>, tokens: Option<Tokens>) -> Self {
        Self {
            store,
            tokens,
            touched: Mutex::default(),
        }
    }

    /// Whom a credential belongs to.
    async fn caller(&self, credential: &str) -> Result<(Caller, Tenant), Status> {
        if credential.starts_with("pk_") {
            self.of_key(credential).await
        } else {
            self.of_token(credential).await
        }
    }

    async fn of_key(&self, credential: &str) -> Result<(Caller, Tenant), Status> {
        let secret: ApiSecret = credential.parse().map_err(|_| unauthenticated())?;
        let found = self
            .store
            .api_key_by_prefix(secret.prefix())
            .await
            .map_err(failed)?;
        // Hash and compare in any case: the time does not tell whether the prefix exists.
        let nothing = Digest([0; 32]);
        let on_record = found.as_ref().map_or(&nothing, |f| &f.hash);
        let matches = secret.matches(on_record);
        let Some(found) = found.filter(|f| matches && f.is_live()) else {
            return Err(unauthenticated());
        };
        self.touch(&found.key.prefix);
        let caller = Caller {
            tenant: found.tenant.id,
            scopes: found.key.scopes,
            name: format!("keys/{}", found.key.prefix).into(),
            shown: Shown::Key(found.key.prefix.into()),
        };
        Ok((caller, found.tenant))
    }

    async fn of_token(&self, credential: &str) -> Result<(Caller, Tenant), Status> {
        let tokens = self.tokens.as_ref().ok_or_else(unauthenticated)?;
        let bearer = tokens.check(credential).map_err(|why| {
            tracing::debug!(why, "token refused");
            unauthenticated()
        })?;
        let tenant = match &bearer.tenant {
            TenantRef::Id(id) => match self.store.tenant(*id).await {
                Ok(tenant) => Some(tenant),
                Err(StoreError::NotFound { .. }) => None,
                Err(e) => return Err(failed(e)),
            },
            TenantRef::Name(name) => self.store.tenant_by_name(name).await.map_err(failed)?,
        };
        let tenant = tenant.filter(|t| !t.disabled).ok_or_else(unauthenticated)?;
        let caller = Caller {
            tenant: tenant.id,
            scopes: bearer.scopes,
            name: format!("token of {}", bearer.subject).into(),
            shown: Shown::Token(bearer.ends),
        };
        Ok((caller, tenant))
    }

    /// Notes that a key was used, once a minute at most, and never in the way of the call.
    fn touch(&self, prefix: &str) {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = touched.get(prefix).is_some_and(|at| at.elapsed() < TOUCH);
        if recent {
            return;
        }
        if touched.len() >= MAX_TOUCHED {
            touched.clear();
        }
        touched.insert(prefix.to_owned(), Instant::now());
        let (store, prefix) = (Arc::clone(&self.store), prefix.to_owned());
        tokio::spawn(async move {
            if let Err(error) = store.touch_api_key(&prefix).await {
                tracing::debug!(%error, "the use of a key was not written down");
            }
        });
    }
}

fn failed(error: StoreError) -> Status {
    crate::gateway::GatewayError::from(error).into()
}
