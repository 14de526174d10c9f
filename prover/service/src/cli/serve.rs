//! `serve`: the embedded service.

use std::{
    io::Write as _, net::SocketAddr, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration,
};

use serde_json::json;

use super::{CliError, Out, compile::CompileLimits, gpu::GpuArgs, params::HomeArg};
use crate::{
    api::server::{self, Running, ServeError},
    config::{self, AccessConfig, JwtConfig, Limits, ListenerTls, ServeConfig},
    work::{LocalWork, device::Chosen, slots::Share},
};

#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = config::DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// The data folder.
    #[arg(long, value_name = "DIR", default_value_os_t = config::default_data_dir())]
    data: PathBuf,
    #[command(flatten)]
    access: AccessArgs,
    /// Where prover nodes reach the server, over TLS with certificates of its own authority; nowhere by default.
    #[arg(long, value_name = "ADDR")]
    node_listen: Option<SocketAddr>,
    /// The key that private inputs are sealed with: 32 bytes that only their owner may read, made when missing; by default `kek` in
    /// the data folder.
    #[arg(long, value_name = "FILE")]
    kek_file: Option<PathBuf>,
    /// Jobs that may wait.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_queued)]
    max_queued: u64,
    /// Bytes of artifacts, uploads and keys.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().max_stored_bytes)]
    max_stored_bytes: u64,
    /// Seconds that a running job may go on after SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain_timeout: u64,
    /// Jobs at a time, by default one, or one for each GPU. They share the threads, and each takes the memory of one prover. 0: only other nodes prove.
    #[arg(long, value_name = "N")]
    slots: Option<usize>,
    #[command(flatten)]
    gpu: GpuArgs,
    /// Where to serve metrics for Prometheus, over plain HTTP: `/metrics` and `/healthz`.
    #[arg(long, value_name = "ADDR")]
    metrics_listen: Option<SocketAddr>,
    /// Milliseconds between the heartbeats of nodes.
    #[arg(long, value_name = "MS", hide = true)]
    heartbeat_ms: Option<u64>,
    /// Milliseconds that a lease lives without a heartbeat.
    #[arg(long, value_name = "MS", hide = true)]
    lease_ttl_ms: Option<u64>,
    /// Milliseconds after which any proof is stopped.
    #[arg(long, value_name = "MS", hide = true)]
    proof_time_limit_ms: Option<u64>,
    /// Threads of each slot; by default its part of all threads. One slot always uses all of them.
    #[arg(long, value_name = "N")]
    slot_threads: Option<NonZeroUsize>,
    /// The reference string (a file, or an id of the folder) that halo2-kzg keys are made from; without it they are development
    /// keys.
    #[arg(long, value_name = "FILE|ID")]
    srs: Option<String>,
    #[command(flatten)]
    home: HomeArg,
    #[command(flatten)]
    compile: CompileLimits,
}

/// Who may call. Without any of these, and on a loopback address, everybody on this machine may, as one tenant.
#[derive(Debug, clap::Args)]
struct AccessArgs {
    /// Ask callers for an API key; always so on an address that others can reach.
    #[arg(long)]
    auth: bool,
    /// The certificate chain of the server, PEM; read again when it changes.
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_key",
        conflicts_with = "tls_self_signed"
    )]
    tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Serve with a certificate of the server's own authority; clients get that one's certificate with --tls-ca.
    #[arg(long)]
    tls_self_signed: bool,
    /// A name or address that clients call the server by, for its own certificate; may be repeated.
    #[arg(long, value_name = "NAME", requires = "tls_self_signed")]
    tls_name: Vec<String>,
    /// Serve plain text on any address: something in front of it ends TLS and bounds the rate by address.
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_self_signed"])]
    plaintext_behind_proxy: bool,
    /// Calls a second from one address, known or not; 0 for no bound.
    #[arg(long, value_name = "N")]
    address_rate: Option<f64>,
    /// The key set (JWKS, a file) of an identity provider whose tokens are taken beside API keys, with scopes
    /// like `zkinfer:read`; read again when it changes.
    #[arg(
        long,
        value_name = "FILE",
        requires = "jwt_issuer",
        requires = "jwt_audience"
    )]
    jwks: Option<PathBuf>,
    /// The issuer that tokens must name.
    #[arg(long, value_name = "TEXT", requires = "jwks")]
    jwt_issuer: Option<String>,
    /// The audience that tokens must name.
    #[arg(long, value_name = "TEXT", requires = "jwks")]
    jwt_audience: Option<String>,
}

impl AccessArgs {
    fn config(self) -> Result<AccessConfig, CliError> {
        let tls = match (self.tls_cert, self.tls_key) {
            (Some(certificate), Some(key)) => ListenerTls::Files { certificate, key },
            _ if self.tls_self_signed => ListenerTls::SelfSigned {
                names: self.tls_name,
            },
            _ => ListenerTls::None,
        };
        let jwt = match (self.jwks, self.jwt_issuer, self.jwt_audience) {
            (Some(jwks), Some(issuer), Some(audience)) => {
                if jwks.to_str().is_some_and(|text| text.contains("://")) {
                    let message = "--jwks takes a file; let a timer fetch the address into one";
                    return Err(CliError::usage(message));
                }
                Some(JwtConfig {
                    jwks,
                    issuer,
                    audience,
                })
            }
            _ => None,
        };
        Ok(AccessConfig {
            auth: self.auth,
            jwt,
            tls,
            plaintext_behind_proxy: self.plaintext_behind_proxy,
            address_rate: self.address_rate,
            recheck: None,
        })
    }
}

pub(crate) async fn serve(args: ServeArgs, out: Out) -> Result<(), CliError> {
    crate::node::memory::hide();
    let child = args.compile.child()?;
    let srs = args.srs.as_deref().map(|name| args.home.find(name));
    let work = LocalWork::new(child.clone()).with_srs(srs.transpose()?);
    let gpus = match args.slots {
        Some(0) => Chosen::default(),
        _ => args.gpu.chosen()?,
    };
    let slots = match args.slots {
        Some(slots) => NonZeroUsize::new(slots),
        None => Some(gpus.slots(NonZeroUsize::MIN)),
    };
    let share = Share::of(
        slots.unwrap_or(NonZeroUsize::MIN),
        rayon::current_num_threads(),
    );
    let millis = |ms: Option<u64>, or: Duration| ms.map_or(or, Duration::from_millis);
    let usual = Limits::default();
    let (heartbeat, lease_ttl) = (
        millis(args.heartbeat_ms, usual.heartbeat),
        millis(args.lease_ttl_ms, usual.lease_ttl),
    );
    if heartbeat.is_zero() || lease_ttl < heartbeat.saturating_mul(2) {
        let message =
            "a lease must live for two heartbeats at least, and a heartbeat for a millisecond";
        return Err(CliError::usage(message));
    }
    let limits = Limits {
        max_queued: args.max_queued,
        max_stored_bytes: args.max_stored_bytes,
        compile_memory_bytes: child.memory_bytes,
        compile_timeout: child.timeout,
        drain_timeout: Duration::from_secs(args.drain_timeout),
        share: Share {
            threads: args.slot_threads.unwrap_or(share.threads),
            ..share
        },
        heartbeat,
        lease_ttl,
        proof_time: args.proof_time_limit_ms.map(Duration::from_millis),
        ..usual
    };
    let config = ServeConfig {
        listen: args.listen,
        data: args.data,
        access: args.access.config()?,
        node_listen: args.node_listen,
        metrics_listen: args.metrics_listen,
        own_node: slots.is_some(),
        kek_file: args.kek_file,
        limits,
        worker: child.worker,
        gpus,
        gpu_table_bytes: args.gpu.gpu_table_bytes,
    };
    // Before the first line of output: whoever waits for it may send a signal at once.
    let mut signals = Signals::new()?;
    let running = server::start(&config, Arc::new(work))
        .await
        .map_err(refused)?;
    let scheme = if running.tls { "https" } else { "http" };
    let value = json!({
        "listening": running.address.to_string(), "scheme": scheme, "data": config.data, "pid": std::process::id(),
        "nodes": running.node_address.map(|a| a.to_string()), "metrics": running.metrics_address.map(|a| a.to_string()), "admin_key": running.admin_key, "tls_ca": running.authority,
        "gpus": config.gpus.ordinals(),
    });
    out.result(&value, &greeting(&running, scheme, &config));
    signals.next().await;
    tracing::info!("draining; a second signal ends at once");
    tokio::select! {
        stopped = running.stop() => stopped.map_err(refused),
        () = signals.next() => {
            let _ = std::io::stderr().flush();
            std::process::exit(130)
        }
    }
}

/// What a person wants to know first.
fn greeting(running: &Running, scheme: &str, config: &ServeConfig) -> String {
    let data = config.data.display();
    let mut text = format!(
        "zkinfer serves on {scheme}://{} (data in {data})",
        running.address
    );
    if let Some(address) = running.node_address {
        text += &format!("\nprover nodes join at https://{address}");
    }
    if let Some(path) = &running.authority {
        text += &format!("\nclients need --tls-ca {}", path.display());
    }
    if let Some(path) = &running.admin_key {
        text += &format!("\nthe first API key is in {}", path.display());
    }
    text
}

fn refused(e: ServeError) -> CliError {
    match e {
        ServeError::PlainText(_) | ServeError::DataInUse(_) | ServeError::AddressInUse(_) => {
            CliError::usage(e)
        }
        _ => CliError::failed(e),
    }
}

/// SIGTERM and SIGINT.
pub(super) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, CliError> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| {
            signal(kind).map_err(|e| CliError::failed(format!("cannot listen for signals: {e}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
