//! JSON web tokens of the operator's identity provider, checked against a key set (JWKS) in a file.
//!
//! The algorithm is that of the key, never what the token says; ES256, RS256 and EdDSA with public keys only. A token needs `exp`,
//! the right `iss` and `aud`, the tenant in `zkinfer_tenant` (its name, or tenants/{id}), and its scopes in `scope`, written
//! `zkinfer:read`: a bare `admin` may mean another service's.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime},
};

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize;

use crate::{
    config::JwtConfig,
    store::{BlobError, Millis, Scope, Scopes, TenantId, blobs},
};

/// Clocks may differ by this.
const LEEWAY_SECONDS: u64 = 30;
/// Before the name of a scope of ours.
const SCOPE_PREFIX: &str = "zkinfer:";
/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);
const MAX_FILE_BYTES: u64 = 1 << 20;
const MAX_KEYS: usize = 100;
/// 2048 bits in base64url.
const MIN_MODULUS_CHARS: usize = 341;
/// 8192 bits in base64url: what checks a signature must not be the attack.
const MAX_MODULUS_CHARS: usize = 1366;

/// Why a key set cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwksError {
    /// The file cannot be read.
    #[error("the key set: {0}")]
    File(#[from] BlobError),
    /// It is no key set.
    #[error("the key set {0} is not JSON of the form {{\"keys\": [...]}}")]
    Malformed(PathBuf),
    /// It has no key that could be used.
    #[error("the key set {0} has no ES256, RS256 (2048 bits or more) or EdDSA signing key")]
    NoKey(PathBuf),
}

/// Whom a token names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The tenant, by number or by name.
    pub tenant: TenantRef,
    /// What the token allows.
    pub scopes: Scopes,
    /// Who it was made for.
    pub subject: String,
    /// When it ends.
    pub ends: Millis,
}

/// A tenant as a token names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantRef {
    /// tenants/{id}
    Id(TenantId),
    /// Its name.
    Name(String),
}

#[derive(Debug)]
struct Keys {
    by_id: HashMap<String, (DecodingKey, Algorithm)>,
    /// The only key, for tokens that name none.
    only: Option<(DecodingKey, Algorithm)>,
}

#[derive(Debug)]
struct Current {
    keys: Arc<Keys>,
    read: Option<SystemTime>,
    looked: Instant,
}

/// Checks tokens.
#[derive(Debug)]
pub struct Tokens {
    config: JwtConfig,
    current: RwLock<Current>,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    zkinfer_tenant: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    sub: String,
    /// Seconds, whole or not.
    exp: f64,
}

impl Tokens {
    /// Reads the key set.
    ///
    /// # Errors
    /// [`JwksError`].
    pub fn open(config: JwtConfig) -> Result<Self, JwksError> {
        let read = modified(&config.jwks);
        let keys = Arc::new(read_keys(&config.jwks)?);
        Ok(Self {
            current: RwLock::new(Current {
                keys,
                read,
                looked: Instant::now(),
            }),
            config,
        })
    }

    /// The keys of the file as it is now; of its last good state when it cannot be read.
    fn keys(&self) -> Arc<Keys> {
        let lock = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let (keys, read) = (Arc::clone(&lock.keys), lock.read);
        if lock.looked.elapsed() < LOOK {
            return keys;
        }
        drop(lock);
        let now = modified(&self.config.jwks);
        let keys = match (now != read).then(|| read_keys(&self.config.jwks)) {
            Some(Ok(fresh)) => Arc::new(fresh),
            Some(Err(error)) => {
                tracing::error!(%error, "the changed key set cannot be used; the old one stays");
                keys
            }
            None => keys,
        };
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Current {
            keys: Arc::clone(&keys),
            read: now,
            looked: Instant::now(),
        };
        keys
    }

    /// Checks a token; why one is refused is for the log of the operator only.
    pub(crate) fn check(&self, token: &str) -> Result<Bearer, &'static str> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| "not a token")?;
        let keys = self.keys();
        let (key, algorithm) = match &header.kid {
            Some(id) => keys.by_id.get(id).ok_or("unknown key id")?,
            None => keys.only.as_ref().ok_or("no key id")?,
        };
        let mut validation = Validation::new(*algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_audience(&[&self.config.audience]);
        validation.set_issuer(&[&self.config.issuer]);
        validation.set_required_spec_claims(&["exp", "aud", "iss"]);
        let claims = jsonwebtoken::decode::<Claims>(token, key, &validation)
            .map_err(|_| "signature, algorithm, issuer, audience or time")?
            .claims;
        let tenant = match claims.zkinfer_tenant.as_str() {
            "" => return Err("no zkinfer_tenant"),
            id if id.starts_with("tenants/") => {
                TenantRef::Id(id.parse().map_err(|_| "malformed zkinfer_tenant")?)
            }
            _ => TenantRef::Name(claims.zkinfer_tenant),
        };
        // Other services' scopes may stand beside ours.
        let scopes = claims
            .scope
            .split_ascii_whitespace()
            .filter_map(|s| s.strip_prefix(SCOPE_PREFIX)?.parse::<Scope>().ok())
            .collect();
        Ok(Bearer {
            tenant,
            scopes,
            subject: crate::store::cut(claims.sub, 128),
            ends: ((claims.exp + LEEWAY_SECONDS as f64) * 1000.0) as Millis,
        })
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|m| m.modified()).ok()
}

fn read_keys(path: &Path) -> Result<Keys, JwksError> {
    let bytes = blobs::read_bounded(path, MAX_FILE_BYTES)?;
    let malformed = || JwksError::Malformed(path.to_owned());
    // Keys of kinds unknown to us may stand beside ours.
    #[derive(Deserialize)]
    struct Raw {
        keys: Vec<serde_json::Value>,
    }
    let raw: Raw = serde_json::from_slice(&bytes).map_err(|_| malformed())?;
    let set = JwkSet {
        keys: raw
            .keys
            .into_iter()
            .take(MAX_KEYS)
            .filter_map(|key| serde_json::from_value(key).ok())
            .collect(),
    };
    let usable: Vec<_> = set
        .keys
        .iter()
        .filter_map(|jwk| {
            let algorithm = algorithm(jwk)?;
            let key = DecodingKey::from_jwk(jwk).ok()?;
            Some((jwk.common.key_id.clone(), (key, algorithm)))
        })
        .collect();
    let only = match &usable[..] {
        [] => return Err(JwksError::NoKey(path.to_owned())),
        [(_, only)] => Some(only.clone()),
        _ => None,
    };
    let by_id = usable
        .into_iter()
        .filter_map(|(id, key)| Some((id?, key)))
        .collect();
    Ok(Keys { by_id, only })
}

/// The one algorithm of a key; `None` for keys that sign nothing here.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    if !matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    ) {
        return None;
    }
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(p) if p.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(p) if p.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        AlgorithmParameters::RSA(p)
            if (MIN_MODULUS_CHARS..=MAX_MODULUS_CHARS).contains(&p.n.len()) && p.e.len() <= 8 =>
        {
            (Algorithm::RS256, KeyAlgorithm::RS256)
        }
        _ => return None,
    };
    match jwk.common.key_algorithm {
        Some(declared) if declared != name => None,
        _ => Some(algorithm),
    }
}
