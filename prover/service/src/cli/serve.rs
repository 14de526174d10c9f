//! `serve`: the embedded service.

use std::{
    io::Write as _, net::SocketAddr, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration,
};

use serde_json::json;

use super::{CliError, Out, compile::CompileLimits, params::HomeArg};
use crate::{
    api::server::{self, ServeError},
    config::{self, Limits, ServeConfig},
    work::{LocalWork, slots::Share},
};

#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = config::DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// The data folder.
    #[arg(long, value_name = "DIR", default_value_os_t = config::default_data_dir())]
    data: PathBuf,
    /// Listen on an address that others can reach although there is no authentication yet.
    #[arg(long)]
    insecure_no_auth: bool,
    /// Jobs that may wait.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_queued)]
    max_queued: u64,
    /// Bytes of artifacts, uploads and keys.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().max_stored_bytes)]
    max_stored_bytes: u64,
    /// Seconds that a running job may go on after SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain_timeout: u64,
    /// Jobs at a time. They share the threads, and each takes the memory of one prover.
    #[arg(long, value_name = "N", default_value = "1")]
    slots: NonZeroUsize,
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

pub(crate) async fn serve(args: ServeArgs, out: Out) -> Result<(), CliError> {
    let child = args.compile.child()?;
    let srs = args.srs.as_deref().map(|name| args.home.find(name));
    let work = LocalWork::new(child.clone()).with_srs(srs.transpose()?);
    let share = Share::of(args.slots, rayon::current_num_threads());
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
        ..Limits::default()
    };
    let config = ServeConfig {
        listen: args.listen,
        data: args.data,
        insecure_no_auth: args.insecure_no_auth,
        limits,
        worker: child.worker,
    };
    // Before the first line of output: whoever waits for it may send a signal at once.
    let mut signals = Signals::new()?;
    let running = server::start(&config, Arc::new(work))
        .await
        .map_err(refused)?;
    let value = json!({ "listening": running.address.to_string(), "data": config.data, "pid": std::process::id() });
    out.result(
        &value,
        &format!(
            "zkinfer serves on http://{} (data in {})",
            running.address,
            config.data.display()
        ),
    );
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

fn refused(e: ServeError) -> CliError {
    match e {
        ServeError::NotLoopback(_) | ServeError::DataInUse(_) | ServeError::AddressInUse(_) => {
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
