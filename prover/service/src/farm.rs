//! The farm: who proves what, and when.
//!
//! | file | what it is |
//! |---|---|
//! | [`job`] | the life of a job, as a pure function |
//! | [`lease`] | what nodes and the gateway say to each other |
//! | [`scheduler`] | which jobs a node gets, as a pure function |
//! | [`sim`] | the scheduler on traces of jobs that need not exist |
//! | `snapshot` | what the scheduler decides on |
//! | [`desk`] | the gateway's side of the line to nodes |
//! | `builder` | compiles and makes keys |
//! | `reaper` | what time does |
//! | `live` | progress of what runs |

mod builder;
mod cache;
pub mod desk;
mod files;
pub mod job;
pub mod lease;
mod live;
mod reaper;
pub mod scheduler;
pub mod sim;
mod snapshot;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Limits,
    metrics::{Gauges, LaneGauge, Metrics},
    node::{Files, NodeConfig, Workshop},
    store::{
        Blobs, Capabilities, CircuitId, Node, NodeState, Store, StoreError, TenantId, Trust,
        sealed::Vault,
    },
    work::{Gate, Work},
};

pub(crate) use cache::Recent;
pub use desk::{Desk, LocalUplink};
pub(crate) use live::overall;
pub use live::{Live, LiveProgress};
use scheduler::{NodeClass, TimeModel};

/// How often the node of this process tells where it is.
const OWN_HEARTBEAT: Duration = Duration::from_millis(250);
/// Proofs that the time model is told of at the start.
const REMEMBERED_PROOFS: u32 = 2000;

/// Waiting jobs that monitoring is told the reasons of.
const EXPLAINED_JOBS: usize = 100;

/// What every part of the service shares.
#[derive(Debug)]
pub struct Farm {
    /// The durable state.
    pub store: Arc<dyn Store>,
    /// The files.
    pub blobs: Arc<Blobs>,
    /// The proving work.
    pub work: Arc<dyn Work>,
    /// The bounds.
    pub limits: Limits,
    /// The data folder.
    pub data: PathBuf,
    /// The gateway's view of recent circuits.
    pub(crate) gates: Mutex<Recent<(TenantId, CircuitId), Arc<dyn Gate>>>,
    /// Files of the bundles of recent circuits.
    files: Mutex<Recent<CircuitId, Arc<Vec<lease::FetchFile>>>>,
    /// How long proofs take.
    model: Mutex<TimeModel>,
    /// Leases since the last one of a BATCH job.
    since_batch: AtomicU32,
    /// Seals private inputs.
    pub vault: Arc<Vault>,
    /// The attempts that run.
    pub live: Live,
    /// What monitoring reads.
    pub metrics: Arc<Metrics>,
    /// Set when the server stops taking work.
    pub stopping: CancellationToken,
    /// Work that must end before the process does.
    pub tasks: TaskTracker,
}

impl Farm {
    /// The bundle folder of a circuit.
    pub fn bundle(&self, circuit: CircuitId) -> PathBuf {
        self.data.join("circuits").join(circuit.0.to_string())
    }

    /// A farm over these parts.
    pub fn new(
        store: Arc<dyn Store>,
        blobs: Blobs,
        work: Arc<dyn Work>,
        limits: Limits,
        data: PathBuf,
    ) -> Self {
        Self {
            store,
            vault: Arc::clone(blobs.vault()),
            blobs: Arc::new(blobs),
            work,
            limits,
            data,
            gates: Mutex::new(Recent::new(64)),
            files: Mutex::new(Recent::new(256)),
            model: Mutex::default(),
            since_batch: AtomicU32::new(0),
            live: Live::default(),
            metrics: Arc::default(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Starts the builder and the reaper; both end after [`Farm::stopping`] is cancelled.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(self: &Arc<Self>) -> std::io::Result<()> {
        let bench = builder::Workbench::start()?;
        self.tasks.spawn(builder::run(Arc::clone(self), bench));
        self.tasks.spawn(reaper::run(Arc::clone(self)));
        Ok(())
    }

    /// Tells the time model of the latest proofs.
    ///
    /// # Errors
    /// The store failed.
    pub async fn remember_times(&self) -> Result<(), StoreError> {
        let nodes = self.store.nodes().await?;
        let node_of = |took: &crate::store::Took| -> Option<&Node> {
            let node = nodes.iter().find(|n| Some(n.id) == took.node);
            node.filter(|n| n.trust >= Trust::Vetted)
        };
        let proofs = self.store.recent_proofs(REMEMBERED_PROOFS).await?;
        let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        for took in &proofs {
            if let Some(node) = node_of(took) {
                let class = NodeClass::of(&node.capabilities);
                model.observe(took.circuit, class, took.prove_ms);
            }
        }
        Ok(())
    }

    /// Starts the node of this process, which ends after [`Farm::stopping`] is cancelled.
    ///
    /// # Errors
    /// The store failed.
    pub async fn start_own_node(
        self: &Arc<Self>,
        desk: &Arc<Desk>,
        capabilities: Capabilities,
        workshop: Arc<dyn Workshop>,
    ) -> Result<(), StoreError> {
        let node = self.store.own_node("embedded").await?;
        let uplink = Arc::new(LocalUplink::new(Arc::clone(desk), node.id));
        let config = NodeConfig {
            capabilities,
            files: Files::Local(self.data.join("circuits")),
            secret: None,
            drain_timeout: self.limits.drain_timeout,
            // Calls within a process cost little, and progress is seen and cancels are heard at once.
            heartbeat: Some(OWN_HEARTBEAT),
        };
        let stop = self.stopping.clone();
        self.tasks.spawn(async move {
            if let Err(error) = crate::node::run(config, uplink, workshop, stop).await {
                tracing::error!(%error, "the prover of this process does not run");
            }
        });
        Ok(())
    }

    /// What monitoring shows of the store now.
    ///
    /// # Errors
    /// The store failed.
    pub async fn gauges(&self) -> Result<Gauges, StoreError> {
        let ttl = self.limits.lease_ttl_ms();
        let cluster = self.store.cluster(ttl).await?;
        let now = self.store.now().await?;
        let nodes = self.store.nodes().await?;
        let states: Vec<_> = nodes
            .iter()
            .map(|n| (n.state_at(now, ttl), n.trust))
            .collect();
        let ages = nodes.iter().zip(&states).filter_map(|(node, (state, _))| {
            let active = *state == NodeState::Active;
            node.last_seen
                .filter(|_| active)
                .map(|at| now.saturating_sub(at))
        });
        let of = |ms: u64| Duration::from_millis(ms);
        let lane = |l: &crate::store::Lane| LaneGauge {
            priority: l.priority,
            backend: l.backend,
            queued: l.queued.into(),
            oldest: of(l.oldest_ms),
            backlog: of(l.backlog_ms),
        };
        Ok(Gauges {
            lanes: cluster.lanes.iter().map(lane).collect(),
            heartbeat_age: of(ages.max().unwrap_or(0).try_into().unwrap_or(0)),
            slots: cluster.slots_total,
            busy: cluster.slots_busy,
            unschedulable: self.unschedulable().await?,
            nodes: states,
        })
    }

    /// How many of the first waiting jobs no node may take, by reason.
    async fn unschedulable(&self) -> Result<Vec<(&'static str, u64)>, StoreError> {
        use scheduler::PendingKind as Kind;
        let snapshot = self.look(&[], None).await?.snapshot;
        let first = snapshot.jobs.iter().take(EXPLAINED_JOBS);
        let kinds: Vec<Kind> = first
            .filter_map(|job| scheduler::explain(&snapshot, job.job))
            .map(|explained| explained.pending.kind)
            .collect();
        let count = |of: Kind| kinds.iter().filter(|kind| **kind == of).count() as u64;
        Ok(vec![
            ("NO_NODE_ONLINE", count(Kind::NoNodeOnline)),
            ("NO_NODE_BIG_ENOUGH", count(Kind::NoNodeBigEnough)),
            ("NO_NODE_FOR_BACKEND", count(Kind::NoNodeForBackend)),
            ("ALL_NODES_EXCLUDED", count(Kind::AllNodesExcluded)),
        ])
    }

    fn since_batch(&self) -> u32 {
        self.since_batch.load(Ordering::Relaxed)
    }

    /// Counts a lease.
    fn leased(&self, batch: bool) {
        if batch {
            self.since_batch.store(0, Ordering::Relaxed);
        } else {
            let add = |n: u32| Some(n.saturating_add(1));
            let _ = self
                .since_batch
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }
}
