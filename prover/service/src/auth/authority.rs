//! The gateway's own certificate authority: it names the gateway to its nodes, and nodes to the gateway.
//!
//! Of a certificate request only the public key is used, after the request's signature shows that its sender holds the key. Names,
//! uses and lifetime are the authority's. A node's certificate cannot serve (no serverAuth), the gateway's cannot call (no
//! clientAuth), and neither can issue (not an authority, path length 0).

use std::{
    fmt, fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rand::RngCore as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber,
};
use time::{Duration, OffsetDateTime};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, pem::PemObject as _,
};
use zeroize::Zeroizing;

use crate::store::{BlobError, Digest, Millis, NodeId, blobs};

/// The name by which nodes know the gateway, whatever address they reach it at.
pub const GATEWAY_NAME: &str = "gateway.zkinfer.internal";
/// Life of a node's certificate. It is renewed at half of it.
pub const NODE_LIFE: Duration = Duration::days(7);
/// Life of the gateway's certificate, which is made afresh at half of it.
pub(crate) const SERVER_LIFE: Duration = Duration::days(30);
const AUTHORITY_LIFE: Duration = Duration::days(3650);
/// Clocks of nodes may be behind by this.
const SKEW: Duration = Duration::hours(2);
/// Longest certificate request.
const MAX_REQUEST_BYTES: usize = 4096;

/// Why the authority cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder cannot be made.
    #[error(transparent)]
    Folder(#[from] BlobError),
    /// A file holds something else.
    #[error(
        "{0} is damaged, or is not the pair of the file beside it; restore the folder from a backup"
    )]
    Damaged(PathBuf),
    /// Others may read its key.
    #[error("{path} has mode {mode:03o}, expected 600: others may read the authority's key")]
    Mode {
        /// The key.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A certificate cannot be made.
    #[error("making a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// Why a certificate request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Too long.
    #[error("a certificate request of {0} bytes, at most 4096")]
    TooLong(usize),
    /// Not a request whose signature is that of its key.
    #[error("not a PKCS #10 certificate request signed with its own key")]
    Malformed,
    /// Another kind of key.
    #[error("the key of the certificate request is not on P-256")]
    WrongKey,
}

/// A certificate and its key, for a listener.
pub(crate) struct ServerIdentity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

/// A certificate that was given to a node.
#[derive(Clone, Debug)]
pub struct NodeCertificate {
    /// The certificate, PEM.
    pub pem: String,
    /// SHA-256 of its DER: the name under which calls with it are known.
    pub fingerprint: Digest,
    /// When it ends.
    pub expires_at: Millis,
}

/// The public key of a node that proved to hold the secret one.
#[derive(Clone, Debug)]
pub struct NodeKey(rcgen::PublicKey);

impl NodeKey {
    /// Reads a certificate request (DER).
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn read(request: &[u8]) -> Result<Self, RequestError> {
        if request.len() > MAX_REQUEST_BYTES {
            return Err(RequestError::TooLong(request.len()));
        }
        let request = CertificateSigningRequestDer::from(request);
        let key = CertificateSigningRequestParams::from_der(&request)
            .map_err(|_| RequestError::Malformed)?
            .public_key;
        let on_curve = p256::PublicKey::from_sec1_bytes(key.der_bytes()).is_ok();
        if *PublicKeyData::algorithm(&key) != PKCS_ECDSA_P256_SHA256
            || key.der_bytes().len() != 65
            || !on_curve
        {
            return Err(RequestError::WrongKey);
        }
        Ok(Self(key))
    }

    /// The uncompressed point.
    pub fn point(&self) -> &[u8] {
        self.0.der_bytes()
    }
}

/// The gateway's authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// The key is left out.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("certificate", &Digest::of(&self.certificate))
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Opens the authority in `folder`; the first time, makes it.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn open(folder: &Path) -> Result<Self, AuthorityError> {
        if !folder.exists() {
            create(folder)?;
        }
        let read = |name: &str| {
            let path = folder.join(name);
            let bytes = blobs::read_bounded(&path, 64 << 10)?;
            let text = String::from_utf8(bytes).map_err(|_| AuthorityError::Damaged(path))?;
            Ok::<_, AuthorityError>(Zeroizing::new(text))
        };
        let damaged = |name: &str| AuthorityError::Damaged(folder.join(name));
        let pem = read(CERTIFICATE)?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| damaged(CERTIFICATE))?
            .into_owned();
        let path = folder.join(KEY);
        let mode = std::fs::metadata(&path).map_or(0, |m| m.permissions().mode() & 0o777);
        if mode & 0o077 != 0 {
            return Err(AuthorityError::Mode { path, mode });
        }
        let key = KeyPair::from_pkcs8_pem_and_sign_algo(&read(KEY)?, &PKCS_ECDSA_P256_SHA256)
            .map_err(|_| damaged(KEY))?;
        let point = key.public_key_raw();
        if !certificate.windows(point.len()).any(|w| w == point) {
            return Err(damaged(CERTIFICATE));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self {
            issuer,
            certificate,
            pem: pem.to_string(),
        })
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Gives the holder of `key` a certificate as `node`.
    ///
    /// # Errors
    /// Signing failed.
    pub fn admit(&self, key: &NodeKey, node: NodeId) -> Result<NodeCertificate, AuthorityError> {
        let expires = OffsetDateTime::now_utc() + NODE_LIFE;
        let name = node.0.to_string();
        let params = leaf(&name, ExtendedKeyUsagePurpose::ClientAuth, expires);
        let certificate = params.signed_by(&key.0, &self.issuer)?;
        Ok(NodeCertificate {
            pem: certificate.pem(),
            fingerprint: Digest::of(certificate.der()),
            expires_at: expires.unix_timestamp().saturating_mul(1000),
        })
    }

    /// A fresh certificate and key for a listener with these names.
    pub(crate) fn serve_as(&self, names: &[String]) -> Result<ServerIdentity, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let expires = OffsetDateTime::now_utc() + SERVER_LIFE;
        let mut params = leaf(GATEWAY_NAME, ExtendedKeyUsagePurpose::ServerAuth, expires);
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(ServerIdentity {
            chain: vec![certificate.into(), self.certificate.clone()],
            key: PrivateKeyDer::from(key),
        })
    }
}

const KEY: &str = "ca.key";
/// The name of the certificate's file in the folder.
pub(crate) const CERTIFICATE: &str = "ca.crt";

fn named(name: &str, expires: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = OffsetDateTime::now_utc() - SKEW;
    params.not_after = expires;
    let mut serial = [0; 16];
    rand::rngs::OsRng.fill_bytes(&mut serial);
    // Positive, and of one length.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

fn leaf(name: &str, usage: ExtendedKeyUsagePurpose, expires: OffsetDateTime) -> CertificateParams {
    let mut params = named(name, expires);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params
}

/// Both files are written into a folder of another name, which then takes its place: there is a whole authority or none.
fn create(folder: &Path) -> Result<(), AuthorityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let expires = OffsetDateTime::now_utc() + AUTHORITY_LIFE;
    let mut params = named("zkinfer gateway", expires);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    let certificate = params.self_signed(&key)?;

    let staged = folder.with_extension(format!("new-{}", std::process::id()));
    let _ = fs::remove_dir_all(&staged);
    blobs::private_folder(&staged)?;
    let key = Zeroizing::new(key.serialize_pem());
    for (name, text) in [(KEY, key.as_str()), (CERTIFICATE, &certificate.pem())] {
        let path = staged.join(name);
        let mut file = blobs::private_file(&path)?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(|source| AuthorityError::File { path, source })?;
    }
    blobs::sync_folder(&staged)?;
    fs::rename(&staged, folder).map_err(|source| AuthorityError::File {
        path: folder.to_owned(),
        source,
    })?;
    if let Some(parent) = folder.parent() {
        blobs::sync_folder(parent)?;
    }
    Ok(())
}

/// When a listener's certificate that is made now is to be made afresh.
pub(crate) fn renew_at() -> SystemTime {
    SystemTime::now() + SERVER_LIFE.unsigned_abs() / 2
}

#[cfg(test)]
mod tests {

    use rcgen::{PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SigningKey};

    use super::*;

    fn authority() -> (tempfile::TempDir, Authority) {
        let dir = tempfile::tempdir().expect("temp dir");
        let authority = Authority::open(&dir.path().join("ca")).expect("open");
        (dir, authority)
    }

    fn request(key: &impl SigningKey, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        change(&mut params);
        params
            .serialize_request(key)
            .expect("request")
            .der()
            .to_vec()
    }

    fn p256() -> KeyPair {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key")
    }

    #[test]
    fn the_authority_is_made_once_and_its_key_is_the_owners_alone() {
        let (dir, first) = authority();
        let folder = dir.path().join("ca");
        let again = Authority::open(&folder).expect("open");
        assert_eq!(first.certificate(), again.certificate());
        let mode = |p: &Path| fs::metadata(p).expect("metadata").permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join(KEY)), 0o600);
        let text = fs::read_to_string(folder.join(KEY)).expect("key");
        let line = text.lines().nth(1).expect("a line");
        assert!(!format!("{first:?}").contains(line));
    }

    #[test]
    fn a_key_beside_another_certificate_is_refused() {
        let (one, _) = authority();
        let (two, _) = authority();
        let from = two.path().join("ca").join(KEY);
        fs::copy(from, one.path().join("ca").join(KEY)).expect("copy");
        assert!(matches!(
            Authority::open(&one.path().join("ca")),
            Err(AuthorityError::Damaged(_))
        ));
    }

    #[test]
    fn only_the_key_of_a_request_enters_the_certificate() {
        let (_dir, authority) = authority();
        let key = p256();
        let greedy = request(&key, |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params
                .distinguished_name
                .push(DnType::CommonName, "wanted-name");
            params.subject_alt_names = CertificateParams::new(vec![GATEWAY_NAME.to_owned()])
                .expect("name")
                .subject_alt_names;
        });
        let node = NodeId::fresh();
        let key_read = NodeKey::read(&greedy).expect("a good signature");
        assert_eq!(key_read.point(), key.public_key_raw());
        let given = authority.admit(&key_read, node).expect("issue");
        let der = CertificateDer::from_pem_slice(given.pem.as_bytes()).expect("pem");
        let contains = |bytes: &[u8]| der.windows(bytes.len()).any(|w| w == bytes);
        assert!(contains(node.0.to_string().as_bytes()) && contains(key.public_key_raw()));
        assert!(!contains(b"wanted-name") && !contains(GATEWAY_NAME.as_bytes()));
        // id-kp-clientAuth is 1.3.6.1.5.5.7.3.2, serverAuth ends with 1.
        let purpose = |last| contains(&[0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, last]);
        assert!(purpose(2) && !purpose(1));
        // basicConstraints, critical, an empty sequence: not an authority.
        assert!(contains(&[0x55, 0x1d, 0x13, 1, 1, 0xff, 4, 2, 0x30, 0]));
        let days = (given.expires_at / 1000 - OffsetDateTime::now_utc().unix_timestamp()) / 86_400;
        assert!((6..=7).contains(&days), "{days}");
    }

    #[test]
    fn requests_with_other_keys_or_broken_signatures_are_refused() {
        for other in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
            let key = KeyPair::generate_for(other).expect("key");
            assert!(NodeKey::read(&request(&key, |_| {})).is_err(), "{other:?}");
        }
        let good = request(&p256(), |_| {});
        assert!(NodeKey::read(&good).is_ok());
        for at in [good.len() - 1, good.len() / 2, 40] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(NodeKey::read(&bad).is_err(), "byte {at}");
        }
        assert_eq!(NodeKey::read(&[]).err(), Some(RequestError::Malformed));
        assert_eq!(
            NodeKey::read(&[0x30; 5000]).err(),
            Some(RequestError::TooLong(5000))
        );
    }
}
