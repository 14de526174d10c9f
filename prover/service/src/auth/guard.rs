//! What stands before every handler of the client listener: request id and trace, rate by address, authentication, scope, rate of
//! the tenant. A call that passes carries its [`Caller`] and its [`TraceContext`]; nothing else makes a `Caller`.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{Request, Response, header::AUTHORIZATION};
use tonic::{
    Code, Status,
    body::Body,
    transport::server::{TcpConnectInfo, TlsConnectInfo},
};
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::{
    ApiSecret, Caller, RateLimits, Tokens,
    jwt::TenantRef,
    methods::{Class, Need, need},
    retry_after,
    trace::TraceContext,
};
use crate::{
    api::status,
    store::{Digest, Scope, Store, StoreError, Tenant},
};

/// Longest Authorization header.
const MAX_CREDENTIAL_BYTES: usize = 8192;
/// How often a key's use is written down.
const TOUCH: Duration = Duration::from_secs(60);
/// Keys whose last note is remembered.
const MAX_TOUCHED: usize = 10_000;

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

/// The layer.
#[derive(Clone, Debug)]
pub(crate) struct GuardLayer(Arc<Guard>);

#[derive(Debug)]
struct Guard {
    identify: Identify,
    limits: RateLimits,
}

impl GuardLayer {
    pub(crate) fn new(identify: Identify, limits: RateLimits) -> Self {
        Self(Arc::new(Guard { identify, limits }))
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            guard: Arc::clone(&self.0),
            inner,
        }
    }
}

/// A service behind the guard.
#[derive(Clone, Debug)]
pub(crate) struct Guarded<S> {
    guard: Arc<Guard>,
    inner: S,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send + 'static>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let guard = Arc::clone(&self.guard);
        // The one that was polled ready is used, its clone stays.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let trace = TraceContext::of(request.headers());
        let span = tracing::info_span!("call", trace = trace.id(), method = known_path(&request));
        request.extensions_mut().insert(trace.clone());
        let work = async move {
            match guard.admit(&mut request).await {
                Ok(()) => inner.call(request).await,
                Err(status) => {
                    tracing::debug!(code = ?status.code(), "turned away");
                    Ok(status.into_http())
                }
            }
        };
        Box::pin(trace.scope(work.instrument(span)))
    }
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

impl Guard {
    /// Lets a request in, with its caller, or says why not.
    async fn admit(&self, request: &mut Request<Body>) -> Result<(), Status> {
        let need = need(request.uri().path());
        let Identify::By(lookup) = &self.identify else {
            request.extensions_mut().insert(Caller::local());
            return Ok(());
        };
        if let Some(address) = peer(request) {
            self.limits.address(address).map_err(limited)?;
        }
        if need == Need::Nothing {
            return Ok(());
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
        if let Need::Scope(scope, class) = need {
            if !caller.scopes.contains(scope) {
                return Err(missing(scope));
            }
            self.tenant_rate(&tenant, class)?;
        }
        request.extensions_mut().insert(caller);
        Ok(())
    }

    fn tenant_rate(&self, tenant: &Tenant, class: Class) -> Result<(), Status> {
        self.limits
            .tenant(tenant.id, class, tenant.bounds.requests_per_second)
            .map_err(limited)
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
fn unauthenticated() -> Status {
    let message = "this call needs a live API key or token: `authorization: Bearer …`";
    status::refuse(Code::Unauthenticated, "UNAUTHENTICATED", message, None)
}

fn missing(scope: Scope) -> Status {
    let message = format!("this call needs the scope `{}`", scope.name());
    status::refuse(Code::PermissionDenied, "SCOPE_MISSING", &message, None)
}

fn limited(wait: Duration) -> Status {
    let message = "too many calls; slow down";
    let wait = Some(retry_after(wait));
    status::refuse(Code::ResourceExhausted, "RATE_LIMITED", message, wait)
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
