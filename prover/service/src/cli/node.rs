//! `node join` and `node run`: a prover node of a gateway.

use std::{
    io::Write as _, num::NonZeroUsize, path::PathBuf, str::FromStr, sync::Arc, time::Duration,
};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    CliError, Out,
    gpu::GpuArgs,
    node_admin::{self, NodeAdminVerb},
    serve::Signals,
};
use crate::{
    node::{
        self, Cache, CacheSettings, ChildGpus, Children, Files, NodeConfig, capabilities,
        home::{Home, HomeError, Locked},
        join,
        remote::{self, JoinError, Remote},
    },
    work::{device::Chosen, slots::Share},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum NodeVerb {
    /// Join a gateway with a token of `zkinfer token create`, then prove for it. A node that joined before just runs.
    Join(JoinArgs),
    /// Prove for the gateway that this node joined.
    Run(RunArgs),
    #[command(flatten)]
    Admin(NodeAdminVerb),
}

#[derive(Debug, clap::Args)]
pub(crate) struct JoinArgs {
    /// The gateway's address for nodes.
    #[arg(long, value_name = "URL")]
    gateway: String,
    /// The token, which works once; by default from ZKINFER_NODE_TOKEN, where other users of this machine cannot read it.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// What to call this node; by default the machine's name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The folder with the node's identity and its keys.
    #[arg(long, value_name = "DIR", default_value_os_t = join::default_folder())]
    data: PathBuf,
    /// Proofs at a time, each in a process of its own: a number, or auto, which is one for each GPU, or without one as many as the threads are good for.
    #[arg(long, value_name = "N|auto", default_value = "auto")]
    slots: Slots,
    #[command(flatten)]
    gpu: GpuArgs,
    /// Threads of each slot; by default its part of all threads.
    #[arg(long, value_name = "T")]
    slot_threads: Option<NonZeroUsize>,
    /// Memory that all slots together may use; by default most of the machine's.
    #[arg(long, value_name = "BYTES", default_value_t = u64::MAX, hide_default_value = true)]
    max_ram: u64,
    /// Disk that keys may use.
    #[arg(long, value_name = "BYTES", default_value_t = 100 << 30)]
    cache_bytes: u64,
    /// Disk that stays free: below it the node takes no work.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    min_free_bytes: u64,
    /// Seconds that running proofs may go on after SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    drain_timeout: u64,
}

/// A number of slots, or as many as fit.
#[derive(Clone, Copy, Debug)]
enum Slots {
    Auto,
    Number(NonZeroUsize),
}

impl FromStr for Slots {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            number => match number.parse() {
                Ok(n) => Ok(Self::Number(n)),
                Err(_) => Err("expected a number from 1 on, or auto".to_owned()),
            },
        }
    }
}

impl From<HomeError> for CliError {
    fn from(e: HomeError) -> Self {
        match e {
            HomeError::NotJoined(_) | HomeError::InUse(_) => Self::usage(e),
            _ => Self::failed(e),
        }
    }
}

impl From<JoinError> for CliError {
    fn from(e: JoinError) -> Self {
        match e {
            JoinError::Address { .. } | JoinError::Token(_) => Self::usage(e),
            JoinError::Home(e) => e.into(),
            _ => Self::failed(e),
        }
    }
}

pub(crate) async fn run(verb: NodeVerb, out: Out) -> Result<(), CliError> {
    if !matches!(verb, NodeVerb::Admin(_)) {
        crate::node::memory::hide();
    }
    match verb {
        NodeVerb::Join(args) => {
            // A token works once: what is wrong with the command line comes first.
            let gpus = args.run.gpu.chosen()?;
            let home = joined(&args).await?;
            prove(home, &args.run, gpus, out).await
        }
        NodeVerb::Admin(verb) => node_admin::run(verb, out).await,
        NodeVerb::Run(args) => {
            let gpus = args.gpu.chosen()?;
            prove(Locked::take(&args.data)?.open()?, &args, gpus, out).await
        }
    }
}

/// The identity of a node that joins now, or joined before.
async fn joined(args: &JoinArgs) -> Result<Home, CliError> {
    let folder = Locked::take(&args.run.data)?;
    let token = args
        .token
        .clone()
        .or_else(|| std::env::var("ZKINFER_NODE_TOKEN").ok());
    if folder.has_joined() && !(token.is_some() && folder.is_over()) {
        let home = folder.open()?;
        let gateway = remote::gateway_url(&args.gateway)?;
        if home.facts().gateway != gateway {
            home.move_gateway(&gateway)?;
        }
        return Ok(home);
    }
    let Some(token) = token.map(zeroize::Zeroizing::new) else {
        return Err(CliError::usage(
            "a node that joins needs --token; make one with `zkinfer token create` beside the gateway",
        ));
    };
    let name = args.name.clone().unwrap_or_else(join::machine_name);
    Ok(join::join(folder, &args.gateway, token.trim(), &name).await?)
}

async fn prove(home: Home, args: &RunArgs, gpus: Chosen, out: Out) -> Result<(), CliError> {
    let mut signals = Signals::new()?;
    let slots = match args.slots {
        Slots::Number(n) => n,
        Slots::Auto => gpus.slots(capabilities::automatic_slots()),
    };
    let share = Share::of(slots, capabilities::threads());
    let share = Share {
        threads: args.slot_threads.unwrap_or(share.threads),
        ..share
    };
    let capabilities = capabilities::detect(share, args.max_ram, args.cache_bytes);
    let capabilities = capabilities::with_gpus(capabilities, &gpus.gpus);
    tracing::info!("{gpus}");
    let cache = Cache::open(CacheSettings {
        folder: home.folder().join("cache"),
        max_bytes: args.cache_bytes,
        min_free_bytes: args.min_free_bytes,
    })
    .map_err(CliError::failed)?;
    let program = std::env::current_exe()
        .map_err(|e| CliError::failed(format!("cannot find this program: {e}")))?;
    let children = Children {
        program,
        share,
        ram_bytes: capabilities.total.ram_bytes / slots.get() as u64,
        allowance_bytes: Children::ALLOWANCE_BYTES,
        gpus: ChildGpus {
            ordinals: gpus.ordinals(),
            table_bytes: args.gpu.gpu_table_bytes,
        },
    };
    let config = NodeConfig {
        capabilities,
        files: Files::Cache(cache),
        secret: Some(home.secret()?),
        drain_timeout: Duration::from_secs(args.drain_timeout),
        heartbeat: None,
    };
    let facts = home.facts();
    let line = Remote::new(Arc::new(home));
    let stop = CancellationToken::new();
    let renewing = tokio::spawn(Arc::clone(&line).keep_certificate(stop.clone()));
    let value = json!({ "node": facts.node, "gateway": facts.gateway, "slots": slots, "slot_threads": share.threads, "gpus": gpus.ordinals(), "data": args.data, "pid": std::process::id() });
    out.result(
        &value,
        &format!(
            "{} proves for {} in {slots} slots of {} threads",
            facts.node, facts.gateway, share.threads
        ),
    );
    let mut running = tokio::spawn(node::run(config, line, Arc::new(children), stop.clone()));
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = signals.next() => {
            tracing::info!("draining; a second signal ends at once");
            stop.cancel();
            tokio::select! {
                ended = running => ended,
                () = signals.next() => {
                    let _ = std::io::stderr().flush();
                    std::process::exit(130)
                }
            }
        }
    };
    stop.cancel();
    let _ = renewing.await;
    match ended {
        Ok(ended) => ended.map_err(CliError::failed),
        Err(_) => Err(CliError::failed("the node met a defect")),
    }
}
