//! The server: opens the data folder, recovers what a crash left, listens, drains.

use std::{
    fs::File,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::rustls::ServerConfig;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::Router};
use tower::layer::util::{Identity, Stack};

use super::{
    DESCRIPTORS, admin::Admin, artifacts::Artifacts, circuits::Circuits, jobs::Jobs, nodes::Nodes,
    proto, served_methods,
};
use crate::{
    auth::{
        FirstKeyError, Guard, Identify, JwksError, Lookup, RateLimits, Tokens,
        authority::{self, Authority, AuthorityError},
        crowd::Crowd,
        door::DoorLayer,
        ensure_admin_key,
        peer::Gate,
        tls::{self, TlsError},
    },
    config::{self, AccessConfig, ListenerTls, ServeConfig},
    farm::{Desk, Farm},
    gateway::Gateway,
    metrics::{self, MeasureLayer},
    node::{ChildGpus, Children, Threads, Workshop, capabilities},
    store::{
        BlobError, Blobs, StoreError,
        sealed::{SealError, Vault},
        sqlite::SqliteStore,
    },
    store::{JobStore as _, blobs},
    work::Work,
};

/// Largest message of a caller that asks for health: the name of a service.
const MAX_HEALTH_BYTES: usize = 1 << 10;
/// Largest message of a caller that asks for a description of the API.
const MAX_QUESTION_BYTES: usize = 4 << 10;

/// Watches and downloads of one tenant at a time.
const MAX_STREAMS: usize = 64;

/// A connection takes no new calls after this; those that go on do so.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(600);

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Others can reach the address, and could read along.
    #[error(
        "{0} can be reached from other machines, so it needs TLS: pass --tls-cert and --tls-key, or --tls-self-signed; or \
         --plaintext-behind-proxy if something in front of it ends TLS"
    )]
    PlainText(SocketAddr),
    /// Another server has the data folder.
    #[error(
        "another zkinfer serves the data folder {0}; stop it, or choose another folder with --data"
    )]
    DataInUse(PathBuf),
    /// The port is taken.
    #[error("{0} is in use by another program; stop it, or choose another address with --listen")]
    AddressInUse(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The data folder cannot be used.
    #[error("data folder: {0}")]
    Data(#[from] BlobError),
    /// A file of the data folder cannot be used.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key of private inputs cannot be used.
    #[error("key of private inputs: {0}")]
    Vault(#[from] SealError),
    /// The gateway's authority cannot be used.
    #[error("certificate authority: {0}")]
    Authority(#[from] AuthorityError),
    /// A listener has no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The key set of tokens cannot be used.
    #[error(transparent)]
    Jwks(#[from] JwksError),
    /// There is no first key.
    #[error("the first API key: {0}")]
    FirstKey(#[from] FirstKeyError),
    /// gRPC failed.
    #[error("gRPC: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The descriptors are damaged.
    #[error("reflection: {0}")]
    Reflection(String),
}

/// A server that runs.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where prover nodes reach it.
    pub node_address: Option<SocketAddr>,
    /// Where monitoring reads metrics.
    pub metrics_address: Option<SocketAddr>,
    /// Whether clients reach it by TLS.
    pub tls: bool,
    /// The file with the first API key, if this start made one.
    pub admin_key: Option<PathBuf>,
    /// The certificate by which clients know the server, if it is of its own authority.
    pub authority: Option<PathBuf>,
    farm: Arc<Farm>,
    serving: Vec<JoinHandle<Result<(), tonic::transport::Error>>>,
    drain_timeout: Duration,
    /// Held as long as the data folder is ours.
    _lock: File,
}

/// Opens the data folder and serves.
///
/// # Errors
/// [`ServeError`].
pub async fn start(config: &ServeConfig, work: Arc<dyn Work>) -> Result<Running, ServeError> {
    let access = &config.access;
    let local = config.listen.ip().is_loopback();
    if !local && matches!(access.tls, ListenerTls::None) && !access.plaintext_behind_proxy {
        return Err(ServeError::PlainText(config.listen));
    }
    let asks = access.auth || access.jwt.is_some() || access.plaintext_behind_proxy || !local;
    blobs::private_folder(&config.data)?;
    let lock = lock(&config.data)?;
    let listener = listen(config.listen).await?;
    let address = listener.local_addr().map_err(|source| ServeError::Listen {
        address: config.listen,
        source,
    })?;

    for folder in ["circuits", "tmp"] {
        blobs::private_folder(&config.data.join(folder))?;
    }
    empty_folder(&config.data.join("tmp"));
    let store = SqliteStore::open(&config.data.join("zkinfer.db")).await?;
    let kek = config.kek_file.clone();
    let kek = kek.unwrap_or_else(|| config.data.join("kek"));
    let vault = Arc::new(Vault::open(&kek)?);
    let blobs = Blobs::open(&config.data, vault)?;
    let recovered = store.recover(config.limits.lease_ttl_ms()).await?;
    if recovered.requeued > 0 {
        tracing::info!(
            jobs = recovered.requeued,
            "jobs that ran when the server stopped are queued again"
        );
    }
    sweep_blobs(&store, &config.data).await?;

    let secret = store.secret().await?;
    let admin_key = match asks {
        true => ensure_admin_key(&store, &config.data).await?,
        false => None,
    };
    let own = matches!(access.tls, ListenerTls::SelfSigned { .. });
    let folder = config.data.join("ca");
    let authority = match own || config.node_listen.is_some() {
        true => Some(Arc::new(Authority::open(&folder)?)),
        false => None,
    };
    let tls = client_tls(access, authority.as_ref(), address)?;
    let for_nodes = match config.node_listen {
        Some(at) => Some(listen(at).await?),
        None => None,
    };
    let node_address = for_nodes.as_ref().and_then(|l| l.local_addr().ok());
    let farm = Arc::new(Farm::new(
        Arc::new(store),
        blobs,
        Arc::clone(&work),
        config.limits.clone(),
        config.data.clone(),
    ));
    farm.remember_times().await?;
    farm.start().map_err(|source| ServeError::File {
        path: config.data.clone(),
        source,
    })?;
    let desk = Arc::new(Desk::new(Arc::clone(&farm)));
    let capabilities = capabilities::detect(config.limits.share, u64::MAX, u64::MAX);
    let capabilities = capabilities::with_gpus(capabilities, &config.gpus.gpus);
    if config.own_node {
        tracing::info!("{}", config.gpus);
        let workshop = workshop(config, work, capabilities.total.ram_bytes);
        farm.start_own_node(&desk, capabilities, workshop).await?;
    }
    let metrics_address = match config.metrics_listen {
        Some(at) => Some(serve_metrics(&farm, at).await?),
        None => None,
    };
    let identify = match asks {
        false => Identify::Nobody,
        true => {
            let tokens = access.jwt.clone().map(Tokens::open).transpose()?;
            Identify::By(Lookup::new(Arc::clone(&farm.store), tokens))
        }
    };
    let limits = RateLimits::new(address_rate(access));
    let guard = Guard::new(identify, limits, Arc::clone(&farm.metrics));
    let gateway = Gateway::new(Arc::clone(&farm));
    let encrypted = tls.is_some();
    let recheck = access.recheck.unwrap_or(config::DEFAULT_RECHECK);
    let router = clients(gateway, secret, authority.clone(), guard, recheck).await?;
    let mut serving = vec![listen_with(router, listener, tls, &farm.stopping)];
    if let (Some(listener), Some(authority)) = (for_nodes, authority) {
        let tls = tls::for_nodes(&authority)?;
        let router = nodes(desk, authority);
        serving.push(listen_with(router, listener, Some(tls), &farm.stopping));
    }
    Ok(Running {
        address,
        metrics_address,
        node_address,
        tls: encrypted,
        admin_key,
        authority: own.then(|| folder.join(authority::CERTIFICATE)),
        farm,
        serving,
        drain_timeout: config.limits.drain_timeout,
        _lock: lock,
    })
}

async fn serve_metrics(farm: &Arc<Farm>, at: SocketAddr) -> Result<SocketAddr, ServeError> {
    let listener = listen(at).await?;
    let address = listener.local_addr().map_err(|source| ServeError::Listen {
        address: at,
        source,
    })?;
    let served = metrics::serve(listener, Arc::clone(farm));
    farm.tasks.spawn(async move {
        if let Err(error) = served.await {
            tracing::error!(%error, "metrics are no longer served");
        }
    });
    Ok(address)
}

/// Slots in processes of the program that compiles models, or, without one, on threads of this process.
fn workshop(config: &ServeConfig, work: Arc<dyn Work>, ram_bytes: u64) -> Arc<dyn Workshop> {
    let share = config.limits.share;
    if config.worker.as_os_str().is_empty() {
        return Arc::new(Threads::new(work, share, config.limits.warm_circuits));
    }
    Arc::new(Children {
        program: config.worker.clone(),
        share,
        ram_bytes: ram_bytes / share.slots.get() as u64,
        allowance_bytes: Children::ALLOWANCE_BYTES,
        gpus: ChildGpus {
            ordinals: config.gpus.ordinals(),
            table_bytes: config.gpu_table_bytes,
        },
    })
}

/// A proxy knows the addresses, this server does not.
fn address_rate(access: &AccessConfig) -> f64 {
    match access.plaintext_behind_proxy {
        true => 0.0,
        false => access.address_rate.unwrap_or(config::DEFAULT_ADDRESS_RATE),
    }
}

fn client_tls(
    access: &AccessConfig,
    authority: Option<&Arc<Authority>>,
    address: SocketAddr,
) -> Result<Option<Arc<ServerConfig>>, ServeError> {
    match (&access.tls, authority) {
        (ListenerTls::Files { certificate, key }, _) => {
            Ok(Some(tls::from_files(certificate, key)?))
        }
        (ListenerTls::SelfSigned { names }, Some(authority)) => {
            let mut names = names.clone();
            names.extend(["localhost".to_owned(), authority::GATEWAY_NAME.to_owned()]);
            if !address.ip().is_unspecified() {
                names.push(address.ip().to_string());
            }
            Ok(Some(tls::issued(authority, names)?))
        }
        _ => Ok(None),
    }
}

/// Serves until the server stops; with TLS, each handshake on its own.
fn listen_with<L>(
    router: Router<L>,
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    stopping: &CancellationToken,
) -> JoinHandle<Result<(), tonic::transport::Error>>
where
    L: tower::Layer<tonic::service::Routes> + Send + 'static,
    L::Service: tower::Service<
            http::Request<tonic::body::Body>,
            Response = http::Response<tonic::body::Body>,
            Error = std::convert::Infallible,
        > + Clone
        + Send
        + 'static,
    <L::Service as tower::Service<http::Request<tonic::body::Body>>>::Future: Send,
{
    let stopping = stopping.clone();
    let stopped = async move { stopping.cancelled().await };
    match tls {
        Some(tls) => {
            let incoming = tls::accept(listener, tls);
            tokio::spawn(router.serve_with_incoming_shutdown(incoming, stopped))
        }
        None => {
            let incoming = TcpListenerStream::new(listener);
            tokio::spawn(router.serve_with_incoming_shutdown(incoming, stopped))
        }
    }
}

/// The listener of nodes, behind their certificates.
fn nodes(desk: Arc<Desk>, authority: Arc<Authority>) -> Router<Stack<DoorLayer<Gate>, Identity>> {
    let layer = DoorLayer::new(Gate::new(Arc::clone(&desk.farm().store)));
    let service = proto::prover_nodes_server::ProverNodesServer::new(Nodes::new(desk, authority))
        .max_decoding_message_size(config::MAX_REQUEST_BYTES)
        .max_encoding_message_size(config::MAX_RESPONSE_BYTES);
    Server::builder()
        .layer(layer)
        .concurrency_limit_per_connection(64)
        .load_shed(true)
        .max_concurrent_streams(128)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .add_service(service)
}

/// The listener of clients, behind the guard.
async fn clients(
    gateway: Gateway,
    secret: [u8; 32],
    authority: Option<Arc<Authority>>,
    guard: Guard,
    recheck: Duration,
) -> Result<Router<Stack<DoorLayer<Guard>, Stack<MeasureLayer, Identity>>>, ServeError> {
    let streams = Crowd::new(MAX_STREAMS);
    let artifacts = proto::artifacts_server::ArtifactsServer::new(Artifacts {
        gateway: gateway.clone(),
        streams: Arc::clone(&streams),
    })
    .max_decoding_message_size(config::MAX_ARTIFACT_MESSAGE_BYTES)
    .max_encoding_message_size(config::MAX_RESPONSE_BYTES);
    let circuits = proto::circuits_server::CircuitsServer::new(Circuits {
        gateway: gateway.clone(),
        secret,
    })
    .max_decoding_message_size(config::MAX_REQUEST_BYTES)
    .max_encoding_message_size(config::MAX_RESPONSE_BYTES);
    let jobs = proto::jobs_server::JobsServer::new(Jobs {
        gateway: gateway.clone(),
        secret,
        streams,
        recheck,
    })
    .max_decoding_message_size(config::MAX_REQUEST_BYTES)
    .max_encoding_message_size(config::MAX_RESPONSE_BYTES);
    let admin = proto::admin_server::AdminServer::new(Admin {
        gateway: gateway.clone(),
        secret,
        authority,
    })
    .max_decoding_message_size(config::MAX_REQUEST_BYTES)
    .max_encoding_message_size(config::MAX_RESPONSE_BYTES);
    let (reporter, health) = tonic_health::server::health_reporter();
    let health = health.max_decoding_message_size(MAX_HEALTH_BYTES);
    reporter
        .set_serving::<proto::artifacts_server::ArtifactsServer<Artifacts>>()
        .await;
    reporter
        .set_serving::<proto::circuits_server::CircuitsServer<Circuits>>()
        .await;
    reporter
        .set_serving::<proto::jobs_server::JobsServer<Jobs>>()
        .await;
    reporter
        .set_serving::<proto::admin_server::AdminServer<Admin>>()
        .await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = reflection()
        .build_v1()
        .map_err(|e| ServeError::Reflection(e.to_string()))?
        .max_decoding_message_size(MAX_QUESTION_BYTES);
    let v1alpha = reflection()
        .build_v1alpha()
        .map_err(|e| ServeError::Reflection(e.to_string()))?
        .max_decoding_message_size(MAX_QUESTION_BYTES);
    let measure = MeasureLayer::new(Arc::clone(&gateway.farm().metrics), served_methods());
    Ok(Server::builder()
        .layer(measure)
        .layer(DoorLayer::new(guard))
        .tcp_nodelay(true)
        .concurrency_limit_per_connection(64)
        .load_shed(true)
        .max_concurrent_streams(256)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .max_connection_age(MAX_CONNECTION_AGE)
        .add_service(health)
        .add_service(v1)
        .add_service(v1alpha)
        .add_service(artifacts)
        .add_service(circuits)
        .add_service(jobs)
        .add_service(admin))
}

impl Running {
    /// Drains: takes no new work, lets the running job end within the drain timeout, closes the store.
    ///
    /// # Errors
    /// The listener failed.
    pub async fn stop(self) -> Result<(), ServeError> {
        let Self {
            farm,
            serving,
            drain_timeout,
            _lock,
            ..
        } = self;
        farm.stopping.cancel();
        farm.tasks.close();
        if tokio::time::timeout(drain_timeout, farm.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("the running job did not end in time; it goes back to the queue");
            farm.live.stop_for_drain();
            let _ = tokio::time::timeout(Duration::from_secs(10), farm.tasks.wait()).await;
        }
        // Connections that stay open do not keep the process.
        let ends = tokio::time::Instant::now() + Duration::from_secs(2);
        let mut result = Ok(());
        for mut serving in serving {
            match tokio::time::timeout_at(ends, &mut serving).await {
                Ok(Ok(served)) => result = result.and(served),
                _ => serving.abort(),
            }
        }
        farm.store.close().await;
        Ok(result?)
    }
}

/// Takes the lock of a data folder; the system frees it when the process dies.
fn lock(data: &Path) -> Result<File, ServeError> {
    let path = data.join("lock");
    let io = |source| ServeError::File {
        path: path.clone(),
        source,
    };
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            return Err(ServeError::DataInUse(data.to_owned()));
        }
        Err(std::fs::TryLockError::Error(e)) => return Err(io(e)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(io)?;
    Ok(file)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::AddrInUse => ServeError::AddressInUse(address),
            _ => ServeError::Listen { address, source },
        })
}

fn empty_folder(path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let _ = std::fs::remove_dir_all(entry.path());
    }
}

/// Deletes files that no row names: what a crash left between writing and recording.
async fn sweep_blobs(store: &SqliteStore, data: &Path) -> Result<(), ServeError> {
    let folders = std::fs::read_dir(data.join("blobs"))
        .into_iter()
        .flatten()
        .flatten();
    for file in folders.flat_map(|f| std::fs::read_dir(f.path()).into_iter().flatten().flatten()) {
        let known = match file.file_name().to_str().and_then(blobs::digest_of_name) {
            Some(digest) => store.has_blob(&digest).await?,
            None => false,
        };
        if !known {
            let _ = std::fs::remove_file(file.path());
        }
    }
    for file in std::fs::read_dir(data.join("uploads"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let known = match file.file_name().to_str().and_then(|n| n.parse().ok()) {
            Some(id) => store.has_upload(id).await?,
            None => false,
        };
        if !known {
            let _ = std::fs::remove_file(file.path());
        }
    }
    Ok(())
}
