//! Who may call: keys and tokens of clients, certificates of nodes, and the layer that asks for them.

pub mod authority;
pub(crate) mod crowd;
pub(crate) mod door;
mod enroll;
mod first_key;
mod guard;
mod jwt;
mod keys;
mod limits;
mod methods;
pub(crate) mod peer;
pub(crate) mod tls;
pub mod trace;

use std::sync::Arc;

use crate::store::{Millis, Scopes, Store, StoreError, TenantId};

pub use enroll::{EnrollToken, TokenError};
pub use first_key::{FirstKeyError, ensure_admin_key};
pub(crate) use guard::{Guard, Identify, Lookup, unauthenticated};
pub use jwt::{JwksError, Tokens};
pub use keys::{ApiSecret, KeyError};
pub(crate) use limits::{RateLimits, retry_after};

/// Who calls, after the guard let the call in.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Whose resources it sees.
    pub tenant: TenantId,
    /// What it may do.
    pub scopes: Scopes,
    /// What the log calls it.
    pub name: Arc<str>,
    shown: Shown,
}

/// What a caller showed.
#[derive(Clone, Debug)]
enum Shown {
    /// Nothing: nobody is asked.
    Nothing,
    /// The API key with this public part.
    Key(Arc<str>),
    /// A token, and when it ends.
    Token(Millis),
}

/// The time that tokens are held against.
fn now() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Millis::try_from(since.unwrap_or_default().as_millis()).unwrap_or(Millis::MAX)
}

impl Caller {
    /// The caller of a server without authentication.
    pub fn local() -> Self {
        Self {
            tenant: TenantId::DEFAULT,
            scopes: Scopes::ALL,
            name: "local".into(),
            shown: Shown::Nothing,
        }
    }

    /// Whether it would still be let in: a call that goes on asks now and then.
    pub(crate) async fn is_live(&self, store: &dyn Store) -> Result<bool, StoreError> {
        match &self.shown {
            Shown::Nothing => Ok(true),
            Shown::Key(prefix) => {
                let found = store.api_key_by_prefix(prefix).await?;
                Ok(found.is_some_and(|found| found.is_live()))
            }
            Shown::Token(ends) if *ends <= now() => Ok(false),
            Shown::Token(_) => match store.tenant(self.tenant).await {
                Ok(tenant) => Ok(!tenant.disabled),
                Err(StoreError::NotFound { .. }) => Ok(false),
                Err(error) => Err(error),
            },
        }
    }
}
