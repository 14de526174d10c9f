//! TLS of the listeners: who they say they are, whom they ask, and handshakes that end.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, RootCertStore, ServerConfig,
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
        sign::CertifiedKey,
    },
    server::TlsStream,
};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    authority::{Authority, AuthorityError, GATEWAY_NAME, ServerIdentity, renew_at},
    crowd::Crowd,
    limits::network,
};
use crate::store::blobs;

/// Time for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at a time; more connections are closed at once.
const MAX_HANDSHAKES: usize = 256;
/// Those of one address.
const MAX_HANDSHAKES_OF_ONE: usize = 16;
/// How often files are looked at for a new certificate.
const LOOK: Duration = Duration::from_secs(10);

/// Why a listener has no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// No certificate can be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A file holds no certificate or key.
    #[error("{path}: {what}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Certificate and key do not fit, or the configuration is impossible.
    #[error("TLS: {0}")]
    Refused(#[from] rustls::Error),
    /// The authority's certificate cannot be trusted.
    #[error("TLS: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certified(identity: ServerIdentity) -> Result<Arc<CertifiedKey>, rustls::Error> {
    CertifiedKey::from_der(identity.chain, identity.key, &provider()).map(Arc::new)
}

/// A certificate of our own authority, made afresh at half its life.
#[derive(Debug)]
struct Issued {
    authority: Arc<Authority>,
    names: Vec<String>,
    current: RwLock<(Arc<CertifiedKey>, SystemTime)>,
}

impl Issued {
    fn new(authority: Arc<Authority>, names: Vec<String>) -> Result<Self, TlsError> {
        let first = certified(authority.serve_as(&names)?)?;
        Ok(Self {
            authority,
            names,
            current: RwLock::new((first, renew_at())),
        })
    }
}

impl ResolvesServerCert for Issued {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let (key, renew) = self
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if SystemTime::now() < renew {
            return Some(key);
        }
        let fresh = self
            .authority
            .serve_as(&self.names)
            .map_err(TlsError::from)
            .and_then(|identity| Ok(certified(identity)?));
        match fresh {
            Ok(fresh) => {
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                *current = (Arc::clone(&fresh), renew_at());
                Some(fresh)
            }
            Err(error) => {
                tracing::error!(%error, "the listener's certificate cannot be renewed");
                Some(key)
            }
        }
    }
}

/// A certificate from the operator's files, read again when they change.
#[derive(Debug)]
struct FromFiles {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<(Arc<CertifiedKey>, Stamp, Instant)>,
}

type Stamp = [Option<SystemTime>; 2];

impl FromFiles {
    fn new(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let stamp = stamp(certificate, key);
        let first = read_files(certificate, key)?;
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: RwLock::new((first, stamp, Instant::now())),
        })
    }
}

fn stamp(certificate: &Path, key: &Path) -> Stamp {
    [certificate, key].map(|p| p.metadata().and_then(|m| m.modified()).ok())
}

fn read_files(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let refuse = |path: &Path, what: &dyn std::fmt::Display| TlsError::File {
        path: path.to_owned(),
        what: what.to_string(),
    };
    let read = |path: &Path| {
        blobs::read_bounded(path, 1 << 20)
            .map(zeroize::Zeroizing::new)
            .map_err(|e| refuse(path, &e))
    };
    let chain = CertificateDer::pem_slice_iter(&read(certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| refuse(certificate, &e))?;
    if chain.is_empty() {
        return Err(refuse(certificate, &"holds no PEM certificate"));
    }
    // The parser's error may quote the file.
    let key = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|_| refuse(key, &"holds no PEM private key"))?;
    Ok(certified(ServerIdentity { chain, key })?)
}

impl ResolvesServerCert for FromFiles {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let (key, read_at, looked) = self
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if looked.elapsed() < LOOK {
            return Some(key);
        }
        let now = stamp(&self.certificate, &self.key);
        let key = match (now != read_at).then(|| read_files(&self.certificate, &self.key)) {
            Some(Ok(fresh)) => fresh,
            Some(Err(error)) => {
                tracing::error!(%error, "the changed certificate cannot be used; the old one stays");
                key
            }
            None => key,
        };
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = (Arc::clone(&key), now, Instant::now());
        Some(key)
    }
}

fn http2(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.max_early_data_size = 0;
    Arc::new(config)
}

/// The listener of nodes: TLS 1.3, our certificate, and theirs if they have one.
pub(crate) fn for_nodes(authority: &Arc<Authority>) -> Result<Arc<ServerConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()?;
    let names = vec![GATEWAY_NAME.to_owned()];
    let identity = Issued::new(Arc::clone(authority), names)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(identity));
    Ok(http2(config))
}

fn for_clients(identity: Arc<dyn ResolvesServerCert>) -> Result<Arc<ServerConfig>, TlsError> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(identity);
    Ok(http2(config))
}

/// The listener of clients with the operator's certificate.
pub(crate) fn from_files(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    for_clients(Arc::new(FromFiles::new(certificate, key)?))
}

/// The listener of clients with a certificate of our own authority.
pub(crate) fn issued(
    authority: &Arc<Authority>,
    names: Vec<String>,
) -> Result<Arc<ServerConfig>, TlsError> {
    for_clients(Arc::new(Issued::new(Arc::clone(authority), names)?))
}

/// Connections whose handshake is done. A slow one keeps nobody else waiting.
pub(crate) fn accept(
    listener: TcpListener,
    config: Arc<ServerConfig>,
) -> ReceiverStream<io::Result<TlsStream<TcpStream>>> {
    let (sender, receiver) = mpsc::channel(64);
    let acceptor = TlsAcceptor::from(config);
    let room = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let parties = Crowd::new(MAX_HANDSHAKES_OF_ONE);
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = sender.closed() => return,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, or the peer is gone already: neither ends the listener.
                    tracing::debug!(%error, "accept");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let Ok(place) = parties.enter(network(address.ip())) else {
                continue;
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                continue;
            };
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            tokio::spawn(async move {
                let _held = (permit, place);
                let _ = stream.set_nodelay(true);
                match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let _ = sender.send(Ok(stream)).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "TLS handshake"),
                    Err(_) => tracing::debug!("TLS handshake took too long"),
                }
            });
        }
    });
    ReceiverStream::new(receiver)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::{io::AsyncReadExt as _, net::TcpSocket};

    use super::*;

    async fn silent(from: &str, to: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("socket");
        socket
            .bind(from.parse().expect("address"))
            .expect("loopback");
        socket.connect(to).await.expect("connected")
    }

    /// Whether the other end keeps the connection for a while.
    async fn is_kept(stream: &mut TcpStream) -> bool {
        let read = stream.read_u8();
        let read = tokio::time::timeout(Duration::from_millis(500), read);
        read.await.is_err()
    }

    #[tokio::test]
    async fn silent_connections_of_one_address_leave_room_for_others() {
        let folder = tempfile::tempdir().expect("folder");
        let authority = Arc::new(Authority::open(&folder.path().join("ca")).expect("authority"));
        let config = issued(&authority, vec!["localhost".to_owned()]).expect("config");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listener");
        let address = listener.local_addr().expect("address");
        let _accepted = accept(listener, config);
        let mut held = Vec::new();
        for _ in 0..MAX_HANDSHAKES_OF_ONE {
            held.push(silent("127.0.0.1:0", address).await);
        }
        assert!(is_kept(&mut held[MAX_HANDSHAKES_OF_ONE - 1]).await);
        assert!(!is_kept(&mut silent("127.0.0.1:0", address).await).await);
        assert!(is_kept(&mut silent("127.0.0.2:0", address).await).await);
        drop(held);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(is_kept(&mut silent("127.0.0.1:0", address).await).await);
    }
}
