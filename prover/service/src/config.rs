//! What can be set: limits, folders, addresses.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use crate::work::{device::Chosen, slots::Share};

/// The address of a server nobody configured.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7443";
/// The endpoint of a client nobody configured.
pub const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:7443";

/// Largest request message.
pub const MAX_REQUEST_BYTES: usize = 4 << 20;
/// Largest message of an upload.
pub const MAX_ARTIFACT_MESSAGE_BYTES: usize = 2 << 20;
/// Largest answer.
pub const MAX_RESPONSE_BYTES: usize = 8 << 20;
/// Largest input inside a request.
pub const MAX_INLINE_INPUT_BYTES: usize = 1 << 20;
/// Largest chunk of an upload or download.
pub const MAX_CHUNK_BYTES: usize = 1 << 20;
/// Largest model file.
pub const MAX_MODEL_BYTES: u64 = 512 << 20;
/// Largest calibration or input file.
pub const MAX_TENSOR_FILE_BYTES: u64 = 512 << 20;
/// Largest settings file.
pub const MAX_SETTINGS_BYTES: u64 = 64 << 10;

/// Bounds on what clients can make the server hold and do.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Queued jobs.
    pub max_queued: u64,
    /// Bytes of artifacts, uploads and keys.
    pub max_stored_bytes: u64,
    /// Address space of the compile process.
    pub compile_memory_bytes: u64,
    /// Time of the compile process.
    pub compile_timeout: Duration,
    /// Time to live of a job that names none.
    pub default_ttl: Duration,
    /// Attempts of a job that names none.
    pub default_max_attempts: u32,
    /// How long a running job may go on after SIGTERM.
    pub drain_timeout: Duration,
    /// Circuits whose keys stay loaded.
    pub warm_circuits: usize,
    /// How often a node gives a sign of life.
    pub heartbeat: Duration,
    /// How long an attempt of a node lives without one.
    pub lease_ttl: Duration,
    /// No proof may take longer, whatever its circuit's proofs took before.
    pub proof_time: Option<Duration>,
    /// Jobs at a time, and threads of each; one job at a time uses every thread.
    pub share: Share,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_queued: 1000,
            max_stored_bytes: 50 << 30,
            compile_memory_bytes: 8 << 30,
            compile_timeout: Duration::from_secs(600),
            default_ttl: Duration::from_secs(7 * 24 * 3600),
            default_max_attempts: 3,
            drain_timeout: Duration::from_secs(30),
            warm_circuits: 4,
            heartbeat: Duration::from_secs(5),
            lease_ttl: Duration::from_secs(30),
            proof_time: None,
            share: Share {
                slots: NonZeroUsize::MIN,
                threads: NonZeroUsize::MIN,
            },
        }
    }
}

impl Limits {
    /// The time of a lease as the store counts it.
    pub fn lease_ttl_ms(&self) -> i64 {
        i64::try_from(self.lease_ttl.as_millis()).unwrap_or(i64::MAX / 4)
    }
}

/// A server of this machine alone, on the default address.
impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7443)),
            data: default_data_dir(),
            access: AccessConfig::default(),
            node_listen: None,
            metrics_listen: None,
            own_node: true,
            kek_file: None,
            limits: Limits::default(),
            worker: PathBuf::new(),
            gpus: Chosen::default(),
            gpu_table_bytes: None,
        }
    }
}

/// Who may call. The default asks nobody for anything, and serves the own machine only.
#[derive(Clone, Debug, Default)]
pub struct AccessConfig {
    /// Ask callers for API keys or tokens also on a loopback address; other addresses always ask.
    pub auth: bool,
    /// Tokens of an identity provider, beside API keys.
    pub jwt: Option<JwtConfig>,
    /// TLS of the clients' listener.
    pub tls: ListenerTls,
    /// Something in front of the listener ends TLS and bounds the rate by address: serve plain text on any address.
    pub plaintext_behind_proxy: bool,
    /// Calls a second from one address before anybody is known; `None` for [`DEFAULT_ADDRESS_RATE`], 0 for no bound.
    pub address_rate: Option<f64>,
    /// How often an open watch asks whether its caller would still be let in; `None` for [`DEFAULT_RECHECK`].
    pub recheck: Option<Duration>,
}

/// How long a watch may outlive its key.
pub const DEFAULT_RECHECK: Duration = Duration::from_secs(15);

/// Calls a second from one address.
pub const DEFAULT_ADDRESS_RATE: f64 = 500.0;

/// TLS of a listener.
#[derive(Clone, Debug, Default)]
pub enum ListenerTls {
    /// Plain text.
    #[default]
    None,
    /// The operator's certificate; read again when the files change.
    Files {
        /// The certificate chain, PEM.
        certificate: PathBuf,
        /// Its key, PEM.
        key: PathBuf,
    },
    /// A certificate of the gateway's own authority.
    SelfSigned {
        /// Names and addresses that clients call it by, beside localhost and the address of the listener.
        names: Vec<String>,
    },
}

/// How tokens are checked.
#[derive(Clone, Debug)]
pub struct JwtConfig {
    /// The file with the key set (JWKS); read again when it changes.
    pub jwks: PathBuf,
    /// The issuer that tokens must name.
    pub issuer: String,
    /// The audience that tokens must name.
    pub audience: String,
}

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The data folder.
    pub data: PathBuf,
    /// Who may call.
    pub access: AccessConfig,
    /// Where prover nodes reach the server; nowhere when absent.
    pub node_listen: Option<SocketAddr>,
    /// Where monitoring reads metrics, over plain HTTP.
    pub metrics_listen: Option<SocketAddr>,
    /// Whether this process proves itself.
    pub own_node: bool,
    /// The key that private inputs are sealed with; `kek` in the data folder when absent. What does not exist is made.
    pub kek_file: Option<PathBuf>,
    /// The bounds.
    pub limits: Limits,
    /// The program whose `compile-worker` compiles models.
    pub worker: PathBuf,
    /// The GPUs that prove, a slot on each.
    pub gpus: Chosen,
    /// Memory of a GPU for the tables of one key; `None` for half of what is free.
    pub gpu_table_bytes: Option<u64>,
}

/// The data folder of a server nobody configured.
pub fn default_data_dir() -> PathBuf {
    let base = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|p| p.is_absolute());
    let home = || std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".local/share"));
    base.or_else(home)
        .unwrap_or_else(|| PathBuf::from("."))
        .join("zkinfer")
}
