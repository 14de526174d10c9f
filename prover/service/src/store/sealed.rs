//! # Sealed inputs: private tensors at rest and on their way to a node
//!
//! ```text
//! key file ─HKDF─┬─ "wrap" ‖ salt     ─► AES-256-GCM ─► the wrapped data key, in the job's row
//!  (32 bytes)    ├─ "upload" ‖ nonce  ─► AES-256-CTR ─► an upload on its way in  (`file.rs`)
//!                └─ "identity"        ─► HMAC        ─► the name of a private input
//! data key (random, one a job) ─► AES-256-GCM in frames ─► the sealed tensors  (`frames.rs`)
//!                              └─► HPKE to the key of the node's certificate, a lease ─► `Lease::input_key`
//! ```
//! HPKE is RFC 9180's base mode with DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM; the associated data names job and epoch, so that a wrapped key opens
//! for its lease only. A digest of few possible tensors would give them away, a keyed one does not.

mod file;
mod frames;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};
use hmac::{Hmac, Mac};
use hpke::{
    Deserializable, OpModeR, OpModeS, Serializable, aead::AesGcm256, kdf::HkdfSha256,
    kem::DhP256HkdfSha256, single_shot_open, single_shot_seal,
};
use rand::{RngCore as _, rngs::OsRng};
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

use super::{Digest, JobId};

pub use file::SealedFile;
pub use frames::{FRAME, TAG, open_frames, seal_frames, sealed_len};

/// A symmetric key; it is wiped when it is dropped.
pub type Key = Zeroizing<[u8; 32]>;

type Kem = DhP256HkdfSha256;

const KEY_LEN: usize = 32;
const SALT_LEN: usize = 16;
const ID_LEN: usize = 8;
const WRAP_VERSION: u8 = 1;
/// Version, key id, salt, key, tag.
const WRAPPED_LEN: usize = 1 + ID_LEN + SALT_LEN + KEY_LEN + TAG;
/// An uncompressed P-256 point.
const POINT_LEN: usize = 65;
/// The encapsulated key, then the sealed data key.
const FOR_NODE_LEN: usize = POINT_LEN + KEY_LEN + TAG;
const INFO: &[u8] = b"zkinfer input v1";

/// Why something could not be sealed or opened. No message contains a key or a plain byte.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A reader or a writer failed.
    #[error(transparent)]
    Stream(#[from] io::Error),
    /// The operating system gives no random bytes.
    #[error("no random bytes from the operating system: {0}")]
    Random(String),
    /// Others may read the key file.
    #[error("{path}: mode {mode:03o}, expected a file that only its owner can use: chmod 600")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Something has another length than it can have.
    #[error("{what}: expected {expected} bytes, got {got}")]
    Length {
        /// What it is.
        what: &'static str,
        /// The length it has to have.
        expected: u64,
        /// The length it has.
        got: u64,
    },
    /// The format is newer, or none of ours.
    #[error("{what}: unknown format")]
    Format {
        /// What it is.
        what: &'static str,
    },
    /// It was sealed by another key file.
    #[error("sealed with the key {expected}, this server has {got}")]
    OtherKey {
        /// The id of the key it was sealed with.
        expected: String,
        /// The id of the key there is.
        got: String,
    },
    /// The bytes are not what was sealed, or not with this key.
    #[error("{what} is not authentic")]
    NotAuthentic {
        /// What it is.
        what: &'static str,
    },
    /// A node's key is not a point of P-256.
    #[error("the node's public key is not an uncompressed point of P-256")]
    NodeKey,
    /// More than the frames can count.
    #[error("too long to seal")]
    TooLong,
}

/// Sealed bytes with their key, which only the vault that made it unwraps.
#[derive(Clone)]
pub struct Sealed {
    /// The frames.
    pub bytes: Vec<u8>,
    /// The wrapped data key.
    pub wrapped_key: Vec<u8>,
}

/// The sizes.
impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.bytes.len())
    }
}

/// The server's key for what it keeps.
pub struct Vault {
    key: Key,
    id: [u8; ID_LEN],
}

/// The id of the key, not the key.
impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({})", hex::encode(self.id))
    }
}

impl Vault {
    /// Reads the key file at `path`, or makes it: 32 random bytes that only the owner may read.
    ///
    /// # Errors
    /// The file cannot be read or made, others may read it, or it has another length.
    pub fn open(path: &Path) -> Result<Self, SealError> {
        let io = |source| SealError::Io {
            path: path.to_owned(),
            source,
        };
        let file = match File::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                create_key_file(path)?;
                File::open(path).map_err(io)?
            }
            file => file.map_err(io)?,
        };
        let about = file.metadata().map_err(io)?;
        let mode = about.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SealError::Mode {
                path: path.to_owned(),
                mode,
            });
        }
        if !about.is_file() || about.len() != KEY_LEN as u64 {
            return Err(SealError::Length {
                what: "the key file",
                expected: KEY_LEN as u64,
                got: about.len(),
            });
        }
        let mut key = Key::default();
        (&file).read_exact(&mut key[..]).map_err(io)?;
        Ok(Self::from_key(key))
    }

    /// A vault with this key.
    pub fn from_key(key: Key) -> Self {
        let mut id = [0; ID_LEN];
        let mut digest = Key::default();
        derive(&key, &[], b"zkinfer key id v1", &mut digest);
        id.copy_from_slice(&digest[..ID_LEN]);
        Self { key, id }
    }

    /// Seals `plain` with a data key of its own.
    ///
    /// # Errors
    /// There are no random bytes.
    pub fn seal(&self, plain: &[u8]) -> Result<Sealed, SealError> {
        let mut key = Key::default();
        random(&mut key[..])?;
        let mut bytes = Vec::with_capacity(sealed_len(plain.len() as u64) as usize);
        seal_frames(&key, &mut &plain[..], &mut bytes)?;
        Ok(Sealed {
            bytes,
            wrapped_key: self.wrap(&key)?,
        })
    }

    /// The data key of [`Sealed::wrapped_key`].
    ///
    /// # Errors
    /// It is not from this vault, or was changed.
    pub fn unwrap_key(&self, wrapped: &[u8]) -> Result<Key, SealError> {
        let what = "the wrapped data key";
        if wrapped.len() != WRAPPED_LEN {
            return Err(SealError::Length {
                what,
                expected: WRAPPED_LEN as u64,
                got: wrapped.len() as u64,
            });
        }
        let (head, sealed) = wrapped.split_at(1 + ID_LEN + SALT_LEN);
        if head[0] != WRAP_VERSION {
            return Err(SealError::Format { what });
        }
        self.check_id(&head[1..=ID_LEN])?;
        let cipher = self.wrapping(&head[1 + ID_LEN..]);
        let mut buffer = Zeroizing::new(sealed.to_vec());
        cipher
            .decrypt_in_place(&[0; 12].into(), head, &mut *buffer)
            .map_err(|_| SealError::NotAuthentic { what })?;
        key_of(&buffer, what)
    }

    /// The name of a private input: the same for the same tensors, and nothing to guess at without the key.
    pub fn identity(&self, plain: &[u8]) -> Digest {
        let mut key = Key::default();
        derive(&self.key, &[], b"zkinfer input identity v1", &mut key);
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&key[..])
            .expect("HMAC takes keys of any length");
        mac.update(plain);
        Digest(mac.finalize().into_bytes().into())
    }

    /// Wraps the data key of [`Sealed::wrapped_key`] for the holder of a node's key, an uncompressed SEC1 point. `aad` comes from [`binding`].
    ///
    /// # Errors
    /// The key is not from this vault, or the node's key is no point.
    pub fn wrap_for_node(
        &self,
        wrapped: &[u8],
        node_public_key: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let key = self.unwrap_key(wrapped)?;
        let node = <Kem as hpke::Kem>::PublicKey::from_bytes(node_public_key)
            .map_err(|_| SealError::NodeKey)?;
        let (encapsulated, sealed) = single_shot_seal::<AesGcm256, HkdfSha256, Kem>(
            &OpModeS::Base,
            &node,
            INFO,
            &key[..],
            aad,
        )
        .map_err(|_| SealError::NodeKey)?;
        let mut out = encapsulated.to_bytes().to_vec();
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    fn wrap(&self, key: &Key) -> Result<Vec<u8>, SealError> {
        let mut salt = [0; SALT_LEN];
        random(&mut salt)?;
        let mut head = vec![WRAP_VERSION];
        head.extend_from_slice(&self.id);
        head.extend_from_slice(&salt);
        let mut buffer = Zeroizing::new(Vec::with_capacity(KEY_LEN + TAG));
        buffer.extend_from_slice(&key[..]);
        // The salt makes the key new, so that the nonce need not be.
        self.wrapping(&salt)
            .encrypt_in_place(&[0; 12].into(), &head, &mut *buffer)
            .map_err(|_| SealError::TooLong)?;
        head.extend_from_slice(&buffer);
        Ok(head)
    }

    fn wrapping(&self, salt: &[u8]) -> Aes256Gcm {
        let mut key = Key::default();
        derive(&self.key, salt, b"zkinfer wrap v1", &mut key);
        cipher(&key)
    }

    fn check_id(&self, id: &[u8]) -> Result<(), SealError> {
        if id != self.id {
            return Err(SealError::OtherKey {
                expected: hex::encode(id),
                got: hex::encode(self.id),
            });
        }
        Ok(())
    }
}

/// What a wrapped key is bound to: the attempt that it was leased for.
pub fn binding(job: JobId, epoch: i64) -> [u8; 24] {
    let mut out = [0; 24];
    out[..16].copy_from_slice(job.0.as_bytes());
    out[16..].copy_from_slice(&epoch.to_be_bytes());
    out
}

/// Opens what [`Vault::wrap_for_node`] made, with the secret of the node's certificate.
///
/// # Errors
/// It was wrapped for another node or attempt, or was changed.
pub fn open_wrapped(
    secret: &p256::SecretKey,
    wrapped: &[u8],
    aad: &[u8],
) -> Result<Key, SealError> {
    let what = "the wrapped input key";
    if wrapped.len() != FOR_NODE_LEN {
        return Err(SealError::Length {
            what,
            expected: FOR_NODE_LEN as u64,
            got: wrapped.len() as u64,
        });
    }
    let (encapsulated, sealed) = wrapped.split_at(POINT_LEN);
    let plain = open_hpke(secret, encapsulated, sealed, INFO, aad)
        .ok_or(SealError::NotAuthentic { what })?;
    key_of(&plain, what)
}

/// Opens [`Sealed::bytes`].
///
/// # Errors
/// They are not what was sealed with this key.
pub fn open_sealed(key: &Key, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    // Large enough from the start: a vector that grows leaves copies behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(bytes.len()));
    open_frames(key, &mut &bytes[..], &mut *plain)?;
    Ok(plain)
}

fn open_hpke(
    secret: &p256::SecretKey,
    encapsulated: &[u8],
    sealed: &[u8],
    info: &[u8],
    aad: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = secret.to_bytes();
    let secret = <Kem as hpke::Kem>::PrivateKey::from_bytes(&bytes);
    bytes.as_mut_slice().zeroize();
    let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(encapsulated).ok()?;
    let mode = OpModeR::Base;
    single_shot_open::<AesGcm256, HkdfSha256, Kem>(
        &mode,
        &secret.ok()?,
        &encapsulated,
        info,
        sealed,
        aad,
    )
    .ok()
    .map(Zeroizing::new)
}

fn key_of(bytes: &[u8], what: &'static str) -> Result<Key, SealError> {
    let mut key = Key::default();
    if bytes.len() != KEY_LEN {
        return Err(SealError::Length {
            what,
            expected: KEY_LEN as u64,
            got: bytes.len() as u64,
        });
    }
    key.copy_from_slice(bytes);
    Ok(key)
}

/// HKDF-SHA256.
fn derive(key: &Key, salt: &[u8], info: &[u8], out: &mut Key) {
    hkdf::Hkdf::<Sha256>::new(Some(salt), &key[..])
        .expand(info, &mut out[..])
        .expect("32 bytes are fewer than HKDF's bound of 8160");
}

fn cipher(key: &Key) -> Aes256Gcm {
    Aes256Gcm::new((&**key).into())
}

fn random(out: &mut [u8]) -> Result<(), SealError> {
    OsRng
        .try_fill_bytes(out)
        .map_err(|e| SealError::Random(e.to_string()))
}

/// Makes a key file: whole or not at all, and the first of several that make it at once.
fn create_key_file(path: &Path) -> Result<(), SealError> {
    let io = |source| SealError::Io {
        path: path.to_owned(),
        source,
    };
    let mut key = Key::default();
    random(&mut key[..])?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let temporary = folder.join(format!(".key-{}", uuid::Uuid::new_v4().simple()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(&key[..])?;
            file.sync_all()
        })
        .and_then(|()| match fs::hard_link(&temporary, path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    let _ = fs::remove_file(&temporary);
    written.map_err(io)?;
    File::open(folder).and_then(|d| d.sync_all()).map_err(io)
}
