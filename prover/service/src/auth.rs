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

use crate::store::{Scopes, TenantId};

pub use enroll::{EnrollToken, TokenError};
pub use first_key::{FirstKeyError, ensure_admin_key};
pub(crate) use guard::{Guard, Identify, Lookup};
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
}

impl Caller {
    /// The caller of a server without authentication.
    pub fn local() -> Self {
        Self {
            tenant: TenantId::DEFAULT,
            scopes: Scopes::ALL,
            name: "local".into(),
        }
    }
}
