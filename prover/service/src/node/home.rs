//! The folder of a node that joined a gateway: who it is, the key of its certificate, and its cache.
//!
//! `node.json` (names, gateway, times), `node.key` (PKCS #8), `node.crt`, `ca.crt`, `lock`, `cache/`; only the owner may read
//! them.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use p256::pkcs8::DecodePrivateKey as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::InputSecret;
use crate::store::{BlobError, blobs};

const FACTS: &str = "node.json";
const KEY: &str = "node.key";
const CERTIFICATE: &str = "node.crt";
const AUTHORITY: &str = "ca.crt";
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Why a node's folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// The node did not join.
    #[error(
        "{0} belongs to no node yet; join a gateway with `zkinfer node join --gateway URL --token TOKEN --data {0}`"
    )]
    NotJoined(PathBuf),
    /// Another process runs the node.
    #[error("another zkinfer node runs in {0}; stop it, or choose another folder with --data")]
    InUse(PathBuf),
    /// A file holds something else.
    #[error(
        "{path} is damaged ({what}); remove the folder and join the gateway again with a new token"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The disk refuses.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder cannot be made or read.
    #[error(transparent)]
    Folder(#[from] BlobError),
}

/// What is known of a node that joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The node's name, as the gateway gave it.
    pub node: String,
    /// What its operator calls it.
    pub name: String,
    /// Where the gateway is.
    pub gateway: String,
    /// When the certificate came, in seconds since 1970 by this machine's clock.
    pub issued: u64,
    /// When it ends.
    pub expires: u64,
}

impl Facts {
    /// Time until the certificate is to be renewed: half its life after it came.
    pub fn until_renewal(&self, now: u64) -> Duration {
        let half = self.issued + self.expires.saturating_sub(self.issued) / 2;
        Duration::from_secs(half.saturating_sub(now))
    }
}

/// The present time in seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs())
}

/// PEM files of an identity. The key is wiped.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) key: Zeroizing<String>,
    pub(crate) certificate: String,
    pub(crate) authority: String,
}

/// The key is left out.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// A node's folder, which no other process uses as long as this lives.
#[derive(Debug)]
pub struct Home {
    folder: PathBuf,
    _lock: File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    facts: Facts,
    identity: Identity,
}

/// A folder whose lock is held.
#[derive(Debug)]
pub struct Locked {
    folder: PathBuf,
    lock: File,
}

impl Locked {
    /// Makes the folder if need be, and takes its lock.
    ///
    /// # Errors
    /// Another process has it, or the disk refuses.
    pub fn take(folder: &Path) -> Result<Self, HomeError> {
        blobs::private_folder(folder)?;
        let folder = folder.canonicalize().map_err(io_error(folder))?;
        let path = folder.join("lock");
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io_error(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(HomeError::InUse(folder)),
            Err(fs::TryLockError::Error(e)) => return Err(io_error(&path)(e)),
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(io_error(&path))?;
        Ok(Self { folder, lock })
    }

    /// Whether the folder belongs to a node that joined.
    pub fn has_joined(&self) -> bool {
        self.folder.join(FACTS).is_file()
    }

    /// Whether it joined so long ago that its certificate is over: only a new token lets it in again.
    pub fn is_over(&self) -> bool {
        let facts = blobs::read_bounded(&self.folder.join(FACTS), MAX_FILE_BYTES);
        let facts = facts
            .ok()
            .and_then(|f| serde_json::from_slice::<Facts>(&f).ok());
        facts.is_some_and(|f| f.expires <= now())
    }

    /// Reads who the node is.
    ///
    /// # Errors
    /// It did not join, or a file is damaged.
    pub fn open(self) -> Result<Home, HomeError> {
        if !self.has_joined() {
            return Err(HomeError::NotJoined(self.folder));
        }
        let text = |name: &str| {
            let path = self.folder.join(name);
            let bytes = Zeroizing::new(blobs::read_bounded(&path, MAX_FILE_BYTES)?);
            String::from_utf8(bytes.to_vec())
                .map_err(|_| damaged(&self.folder.join(name), "no text"))
        };
        let facts = serde_json::from_str(&text(FACTS)?)
            .map_err(|e| damaged(&self.folder.join(FACTS), e))?;
        let identity = Identity {
            key: Zeroizing::new(text(KEY)?),
            certificate: text(CERTIFICATE)?,
            authority: text(AUTHORITY)?,
        };
        Ok(Home {
            folder: self.folder,
            _lock: self.lock,
            state: Mutex::new(State { facts, identity }),
        })
    }

    /// Writes down who the node is; the file that says that it joined comes last.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn join(self, facts: Facts, identity: Identity) -> Result<Home, HomeError> {
        write(&self.folder, KEY, identity.key.as_bytes())?;
        write(&self.folder, AUTHORITY, identity.authority.as_bytes())?;
        write(&self.folder, CERTIFICATE, identity.certificate.as_bytes())?;
        write_facts(&self.folder, &facts)?;
        Ok(Home {
            folder: self.folder,
            _lock: self.lock,
            state: Mutex::new(State { facts, identity }),
        })
    }
}

impl Home {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is known of the node.
    pub fn facts(&self) -> Facts {
        self.state().facts.clone()
    }

    /// What it shows the gateway.
    pub(crate) fn identity(&self) -> Identity {
        self.state().identity.clone()
    }

    /// The key that opens inputs.
    ///
    /// # Errors
    /// The key's file holds none.
    pub fn secret(&self) -> Result<InputSecret, HomeError> {
        // The parsers' errors may quote the file.
        let wrong = || damaged(&self.folder.join(KEY), "not a P-256 key");
        let pair = rcgen::KeyPair::from_pem(&self.state().identity.key).map_err(|_| wrong())?;
        let der = Zeroizing::new(pair.serialize_der());
        let key = p256::SecretKey::from_pkcs8_der(&der).map_err(|_| wrong())?;
        Ok(InputSecret(Arc::new(key)))
    }

    /// Puts a renewed certificate in the place of the old one.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn renew(&self, certificate: String, expires: u64) -> Result<(), HomeError> {
        write(&self.folder, CERTIFICATE, certificate.as_bytes())?;
        let mut state = self.state();
        state.facts.issued = now();
        state.facts.expires = expires;
        state.identity.certificate = certificate;
        write_facts(&self.folder, &state.facts)
    }

    /// Notes that the gateway is somewhere else.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn move_gateway(&self, gateway: &str) -> Result<(), HomeError> {
        let mut state = self.state();
        gateway.clone_into(&mut state.facts.gateway);
        write_facts(&self.folder, &state.facts)
    }
}

fn damaged(path: &Path, what: impl ToString) -> HomeError {
    HomeError::Damaged {
        path: path.to_owned(),
        what: what.to_string(),
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> HomeError + '_ {
    |source| HomeError::Io {
        path: path.to_owned(),
        source,
    }
}

fn write_facts(folder: &Path, facts: &Facts) -> Result<(), HomeError> {
    let text = serde_json::to_vec_pretty(facts).map_err(|e| damaged(&folder.join(FACTS), e))?;
    write(folder, FACTS, &text)
}

/// Writes a file that only the owner may read: whole or not at all.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), HomeError> {
    let (path, part) = (folder.join(name), folder.join(format!("{name}.new")));
    let mut file = blobs::private_file(&part)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&part, &path))
        .map_err(io_error(&path))?;
    Ok(blobs::sync_folder(folder)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_node_whose_certificate_is_over_joins_anew() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!Locked::take(folder.path()).unwrap().is_over());
        for (expires, over) in [(now() + 60, false), (now() - 1, true)] {
            let facts = Facts { expires, ..facts() };
            let locked = Locked::take(folder.path()).unwrap();
            drop(locked.join(facts, identity()).unwrap());
            assert_eq!(Locked::take(folder.path()).unwrap().is_over(), over);
        }
    }

    fn facts() -> Facts {
        Facts {
            node: "nodes/1".into(),
            name: "one".into(),
            gateway: "https://gateway:7444".into(),
            issued: 1000,
            expires: 3000,
        }
    }

    fn identity() -> Identity {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Identity {
            key: Zeroizing::new(key.serialize_pem()),
            certificate: "certificate".into(),
            authority: "authority".into(),
        }
    }

    #[test]
    fn a_node_knows_who_it_is_after_a_restart_and_runs_once_only() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("node");
        let nobody = Locked::take(&folder).unwrap();
        assert!(!nobody.has_joined());
        let error = nobody.open().unwrap_err().to_string();
        assert!(error.contains("zkinfer node join"), "{error}");
        let home = Locked::take(&folder)
            .unwrap()
            .join(facts(), identity())
            .unwrap();
        assert!(matches!(Locked::take(&folder), Err(HomeError::InUse(_))));
        home.renew("newer".into(), 5000).unwrap();
        drop(home);
        let home = Locked::take(&folder).unwrap().open().unwrap();
        assert_eq!(
            (home.facts().node, home.facts().expires),
            ("nodes/1".into(), 5000)
        );
        assert_eq!(home.identity().certificate, "newer");
        assert!(home.secret().is_ok());
        for name in [FACTS, KEY, CERTIFICATE, AUTHORITY] {
            let mode = fs::metadata(folder.join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn damaged_files_are_named_and_the_key_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity {
            key: Zeroizing::new("SECRET".into()),
            ..identity()
        };
        let home = Locked::take(folder.path())
            .unwrap()
            .join(facts(), identity)
            .unwrap();
        let error = home.secret().unwrap_err().to_string();
        assert!(error.contains("node.key is damaged") && !error.contains("SECRET"));
        assert!(!format!("{home:?}").contains("SECRET"));
        drop(home);
        fs::write(folder.path().join(FACTS), "{").unwrap();
        let error = Locked::take(folder.path())
            .unwrap()
            .open()
            .unwrap_err()
            .to_string();
        assert!(error.contains("node.json is damaged"), "{error}");
    }

    #[test]
    fn renewal_is_due_at_half_the_certificates_life() {
        assert_eq!(facts().until_renewal(1000), Duration::from_secs(1000));
        assert_eq!(facts().until_renewal(1900), Duration::from_secs(100));
        assert_eq!(facts().until_renewal(9000), Duration::ZERO);
    }
}
