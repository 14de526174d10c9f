//! Who may call: tenants, their keys, and how nodes are let in.

use std::{fmt, str::FromStr, time::Duration};

use super::{Digest, Millis, NodeId, RequestKey, StoreError, TenantId, Trust};

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Upload, create circuits and jobs, cancel.
    Submit = 1,
    /// See circuits, jobs and proofs.
    Read = 2,
    /// Have proofs checked.
    Verify = 4,
    /// Everything of the Admin service, over all tenants.
    Admin = 8,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Submit, Self::Read, Self::Verify, Self::Admin];

    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Verify => "verify",
            Self::Admin => "admin",
        }
    }
}

/// The text names no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected submit, read, verify or admin, got {0:?}")]
pub struct UnknownScope(String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL
            .into_iter()
            .find(|s| s.name() == text)
            .ok_or_else(|| UnknownScope(super::cut(text.to_owned(), 64)))
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// No scope.
    pub const NONE: Self = Self(0);
    /// Every scope.
    pub const ALL: Self = Self(15);

    /// The set with `scope` too.
    #[must_use]
    pub fn with(self, scope: Scope) -> Self {
        Self(self.0 | scope as u8)
    }

    /// Whether `scope` is in the set.
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & scope as u8 != 0
    }

    /// Whether nothing is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes of the set.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |s| self.contains(*s))
    }

    /// The number that is stored.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// The set of a stored number.
    pub fn from_bits(bits: i64) -> Option<Self> {
        u8::try_from(bits)
            .ok()
            .filter(|b| *b <= Self::ALL.0)
            .map(Self)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        scopes.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Scope::name).collect();
        f.write_str(&names.join(" "))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

/// A tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct Tenant {
    /// Its number.
    pub id: TenantId,
    /// Its name, unique.
    pub name: String,
    /// Its bounds.
    pub bounds: TenantBounds,
    /// Whether its callers are turned away.
    pub disabled: bool,
    /// Grows with every change.
    pub version: i64,
    /// When it was made.
    pub created_at: Millis,
}

/// What a tenant may use. 0 is no bound of its own: those of the server hold for all tenants together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TenantBounds {
    /// Its share of the farm, against those of others.
    pub weight: f64,
    /// Jobs at a time.
    pub max_running: u32,
    /// Jobs that wait.
    pub max_queued: u32,
    /// Bytes of artifacts.
    pub max_artifact_bytes: u64,
    /// Calls a second, of each class.
    pub requests_per_second: f64,
}

impl Default for TenantBounds {
    fn default() -> Self {
        Self {
            weight: 1.0,
            max_running: 0,
            max_queued: 0,
            max_artifact_bytes: 0,
            requests_per_second: 0.0,
        }
    }
}

/// A tenant to make.
#[derive(Clone, Debug)]
pub struct NewTenant {
    /// Its name.
    pub name: String,
    /// Its bounds.
    pub bounds: TenantBounds,
    /// For idempotency.
    pub request: Option<RequestKey>,
}

/// What is changed of a tenant; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct TenantChange {
    /// Its name.
    pub name: Option<String>,
    /// Its share of the farm.
    pub weight: Option<f64>,
    /// Jobs at a time.
    pub max_running: Option<u32>,
    /// Jobs that wait.
    pub max_queued: Option<u32>,
    /// Bytes of artifacts.
    pub max_artifact_bytes: Option<u64>,
    /// Calls a second, of each class.
    pub requests_per_second: Option<f64>,
    /// Whether its callers are turned away.
    pub disabled: Option<bool>,
}

/// An API key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The public part.
    pub prefix: String,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it may do.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: Millis,
    /// When it ends by itself.
    pub expires_at: Option<Millis>,
    /// When it was or will be revoked.
    pub revoked_at: Option<Millis>,
    /// When it was last used, to the minute or so.
    pub last_used: Option<Millis>,
}

/// What a presented key is held against.
#[derive(Clone)]
pub struct KeyOnRecord {
    /// The key.
    pub key: ApiKey,
    /// The SHA-256 of the whole key.
    pub hash: Digest,
    /// Its tenant.
    pub tenant: Tenant,
    /// The store's time.
    pub now: Millis,
}

/// The hash is left out.
impl fmt::Debug for KeyOnRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyOnRecord")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl KeyOnRecord {
    /// Whether the key opens anything now.
    pub fn is_live(&self) -> bool {
        let ended = |at: Option<Millis>| at.is_some_and(|at| at <= self.now);
        !ended(self.key.expires_at) && !ended(self.key.revoked_at) && !self.tenant.disabled
    }
}

/// An API key to make.
#[derive(Clone)]
pub struct NewApiKey {
    /// The public part.
    pub prefix: String,
    /// The SHA-256 of the whole key.
    pub hash: Digest,
    /// Whose it is, and what it may do; unused with `replaces`.
    pub tenant: TenantId,
    /// What it may do.
    pub scopes: Scopes,
    /// How long it lives.
    pub ttl: Option<Duration>,
    /// The key whose tenant and scopes it takes over; that one ends after the time.
    pub replaces: Option<(String, Duration)>,
    /// For idempotency.
    pub request: Option<RequestKey>,
}

/// The hash is left out.
impl fmt::Debug for NewApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewApiKey")
            .field("prefix", &self.prefix)
            .field("tenant", &self.tenant)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// What an enrollment token lets a node become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrollGrant {
    /// How far it is trusted.
    pub trust: Trust,
    /// Its pools.
    pub pools: Vec<String>,
}

/// Tenants, keys, enrollment. What is compared with a secret is its SHA-256; secrets are never stored.
#[async_trait::async_trait]
pub trait AccessStore: fmt::Debug + Send + Sync {
    /// The tenant with `id`.
    async fn tenant(&self, id: TenantId) -> Result<Tenant, StoreError>;
    /// The tenant with this name.
    async fn tenant_by_name(&self, name: &str) -> Result<Option<Tenant>, StoreError>;
    /// Every tenant, oldest first.
    async fn tenants(&self) -> Result<Vec<Tenant>, StoreError>;
    /// Makes a tenant; a repeated request answers the one that it made.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken.
    async fn create_tenant(&self, new: NewTenant) -> Result<Tenant, StoreError>;
    /// Changes a tenant, at the version `etag` if one is given.
    async fn update_tenant(
        &self,
        id: TenantId,
        change: TenantChange,
        etag: Option<i64>,
    ) -> Result<Tenant, StoreError>;

    /// What the store has of the key with this public part.
    async fn api_key_by_prefix(&self, prefix: &str) -> Result<Option<KeyOnRecord>, StoreError>;
    /// Every key, newest first.
    async fn api_keys(&self) -> Result<Vec<ApiKey>, StoreError>;
    /// Records a key; with `replaces`, the end of the older one is recorded in the same transaction.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the request made a key before: its secret was shown then.
    async fn create_api_key(&self, new: NewApiKey) -> Result<ApiKey, StoreError>;
    /// Ends a key now. An ended key is answered unchanged.
    async fn revoke_api_key(&self, prefix: &str) -> Result<ApiKey, StoreError>;
    /// Notes that a key was used.
    async fn touch_api_key(&self, prefix: &str) -> Result<(), StoreError>;

    /// Records an enrollment token by its SHA-256 and answers when it ends.
    async fn create_enroll_token(
        &self,
        hash: Digest,
        grant: EnrollGrant,
        ttl: Duration,
    ) -> Result<Millis, StoreError>;
    /// Uses a token up for `node`; `None` when it is unknown, used or over.
    async fn use_enroll_token(
        &self,
        hash: Digest,
        node: NodeId,
    ) -> Result<Option<EnrollGrant>, StoreError>;

    /// Records the SHA-256 of a certificate that was given to `node`, which `presented` another. Forgets those that are over, and of the older
    /// ones that were not presented all but a few.
    async fn add_node_certificate(
        &self,
        fingerprint: Digest,
        node: NodeId,
        expires_at: Millis,
        presented: Option<Digest>,
    ) -> Result<(), StoreError>;
    /// The node of a certificate that is not over.
    async fn node_of_certificate(&self, fingerprint: Digest) -> Result<Option<NodeId>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_by_name_and_kept_by_number() {
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
            assert!(Scopes::ALL.contains(scope));
            assert!(!Scopes::NONE.contains(scope));
        }
        assert!("Admin".parse::<Scope>().is_err());
        assert_eq!(Scopes::from_bits(16), None);
        assert_eq!(Scopes::from_bits(-1), None);
        let some: Scopes = [Scope::Read, Scope::Submit].into_iter().collect();
        assert_eq!(Scopes::from_bits(i64::from(some.bits())), Some(some));
        assert_eq!(some.to_string(), "submit read");
    }
}
