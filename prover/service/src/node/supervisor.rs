//! A node's life: open a session, take leases while slots are free, hand each to a task of its own, drain.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch as channel};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    attempt,
    backoff::Backoff,
    cache::{Cache, CacheError, disk_free},
    input::InputSecret,
    pulse::Pulse,
    slot::{Load, Slot, Workshop},
    watch::{Stop, Watch},
};
use crate::{
    farm::desk::MAX_KEYS,
    farm::lease::{Acquire, AttemptId, Granted, Hello, Lease, Uplink, UplinkError, Welcome},
    store::{Capabilities, CircuitId, Failure, FailureClass, JobId, KeyResidency, Resources, Tier},
};

/// The longest wait for work in one call.
const ACQUIRE_WAIT: Duration = Duration::from_secs(25);
/// The longest wait beside proofs that run.
const BUSY_WAIT: Duration = Duration::from_secs(2);
/// A session that lasted no longer was taken by another process.
const SHORT_SESSION: Duration = Duration::from_secs(10);
/// Pauses between tries to reach the gateway.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long attempts that are handed back, and the session's end, may take.
const HAND_BACK_TIMEOUT: Duration = Duration::from_secs(10);

/// Where bundles lie.
#[derive(Clone, Debug)]
pub enum Files {
    /// In the gateway's own folder of circuits: nothing is copied.
    Local(PathBuf),
    /// In a cache that the gateway fills.
    Cache(Arc<Cache>),
}

/// How a node works.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// What it says of itself; `slots` of them are started.
    pub capabilities: Capabilities,
    /// Where bundles lie.
    pub files: Files,
    /// Opens the keys of encrypted inputs; without it they are expected as they are.
    pub secret: Option<InputSecret>,
    /// How long running proofs may go on after `stop`.
    pub drain_timeout: Duration,
    /// Heartbeats at least this often, whatever the gateway says.
    pub heartbeat: Option<Duration>,
}

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// A slot or the heartbeat cannot be started.
    #[error("cannot start {what}: {source}")]
    Start {
        /// What.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The cache cannot be used.
    #[error("cache: {0}")]
    Cache(#[from] CacheError),
}

/// What a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) number: i64,
    pub(super) heartbeat: Duration,
    pub(super) lease_ttl: Duration,
    pub(super) max_proof_bytes: u64,
}

/// A slot and its number.
#[derive(Debug)]
pub(super) struct Seat {
    number: u32,
    pub(super) slot: Box<dyn Slot>,
}

/// What the tasks of a node share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: NodeConfig,
    pub(super) uplink: Arc<dyn Uplink>,
    session: channel::Sender<Option<Session>>,
    running: Mutex<BTreeMap<AttemptId, Arc<Watch>>>,
    seats: Mutex<Vec<Seat>>,
    /// What the slots hold loaded, also those that work.
    warm: Mutex<BTreeMap<u32, Vec<KeyResidency>>>,
    /// Circuits that the gateway would like to see loaded.
    wishes: Mutex<Vec<CircuitId>>,
    /// The gateway wants nothing more done here.
    pub(super) drained: AtomicBool,
    /// The node goes down.
    pub(super) stopping: CancellationToken,
    /// A slot is free, or something else changed that leases depend on.
    changed: Notify,
    /// An attempt began: worth a heartbeat.
    pub(super) news: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// The present session.
    pub(super) fn sessions(&self) -> channel::Receiver<Option<Session>> {
        self.session.subscribe()
    }

    /// The present session, or the next one.
    pub(super) async fn in_session(&self) -> Session {
        let mut sessions = self.sessions();
        let found = sessions.wait_for(Option::is_some).await;
        match found.ok().and_then(|session| *session) {
            Some(session) => session,
            // The sender lives in `self`.
            None => std::future::pending().await,
        }
    }

    /// Notes that the gateway does not know session `number` any more.
    pub(super) fn is_over(&self, number: i64) {
        self.session.send_if_modified(|session| {
            let over = session.is_some_and(|s| s.number == number);
            if over {
                *session = None;
            }
            over
        });
    }

    /// The attempts that run, or whose end the gateway does not know.
    pub(super) fn attempts(&self) -> Vec<Arc<Watch>> {
        lock(&self.running).values().cloned().collect()
    }

    /// Stops an attempt of which the gateway wants nothing more; a proof that is made is delivered all the same.
    pub(super) fn cancel(&self, attempt: AttemptId) {
        let watch = lock(&self.running).get(&attempt).cloned();
        if let Some(watch) = watch.filter(|w| !w.is_finished()) {
            tracing::info!(%attempt, "the gateway stops the attempt");
            watch.stop(Stop::Gateway);
        }
    }

    /// Notes that an attempt runs; `false` when it does already.
    pub(super) fn begin(&self, watch: &Arc<Watch>) -> bool {
        let mut running = lock(&self.running);
        if running.contains_key(&watch.attempt()) {
            return false;
        }
        running.insert(watch.attempt(), Arc::clone(watch));
        true
    }

    /// Notes that an attempt is over and the gateway knows.
    pub(super) fn end(&self, attempt: AttemptId) {
        lock(&self.running).remove(&attempt);
        self.changed.notify_one();
    }

    /// A free slot, one that holds `circuit` if there is one, else the one that holds least.
    fn take_seat(&self, circuit: CircuitId) -> Option<Seat> {
        let mut seats = lock(&self.seats);
        let best = seats
            .iter()
            .enumerate()
            .min_by_key(|(_, seat)| {
                let warm = seat.slot.warm();
                (!warm.iter().any(|key| key.circuit == circuit), warm.len())
            })
            .map(|(at, _)| at)?;
        Some(seats.swap_remove(best))
    }

    /// Puts a slot back.
    pub(super) fn free_seat(&self, mut seat: Seat) {
        // A key whose proof was refused while the slot worked on the next one.
        if let Files::Cache(cache) = &self.config.files {
            for key in seat.slot.warm() {
                if cache.is_suspect(key.circuit) {
                    seat.slot.forget(key.circuit);
                }
            }
        }
        lock(&self.warm).insert(seat.number, seat.slot.warm());
        lock(&self.seats).push(seat);
        self.changed.notify_one();
    }

    fn free_seats(&self) -> u32 {
        u32::try_from(lock(&self.seats).len()).unwrap_or(u32::MAX)
    }

    /// What running attempts leave.
    pub(super) fn free(&self) -> Resources {
        let total = self.config.capabilities.total;
        let held = self.attempts();
        let sum = |of: fn(&Resources) -> u64| held.iter().map(|w| of(&w.holds())).sum::<u64>();
        Resources {
            ram_bytes: total.ram_bytes.saturating_sub(sum(|r| r.ram_bytes)),
            vram_bytes: total.vram_bytes.saturating_sub(sum(|r| r.vram_bytes)),
            disk_bytes: match &self.config.files {
                Files::Local(folder) => disk_free(folder),
                // What idle keys hold is free: they leave when another one comes.
                Files::Cache(cache) => cache.room(),
            },
            cpu_threads: total.cpu_threads,
        }
    }

    /// Room for keys.
    pub(super) fn disk_free(&self) -> u64 {
        match &self.config.files {
            Files::Local(folder) => disk_free(folder),
            Files::Cache(cache) => cache.disk_free(),
        }
    }

    /// The keys that this node holds, each where it is nearest; the dearest, as many as a gateway reads.
    pub(super) fn keys(&self) -> Vec<KeyResidency> {
        let mut nearest: BTreeMap<CircuitId, KeyResidency> = BTreeMap::new();
        let mut note = |key: KeyResidency| {
            let known = nearest.entry(key.circuit).or_insert(key);
            if key.tier > known.tier {
                *known = key;
            }
        };
        if let Files::Cache(cache) = &self.config.files {
            cache.residency().into_iter().for_each(&mut note);
        }
        let warm = lock(&self.warm);
        warm.values().flatten().copied().for_each(note);
        let mut keys: Vec<KeyResidency> = nearest.into_values().collect();
        keys.sort_by_key(|key| std::cmp::Reverse((key.tier, key.load_ms)));
        keys.truncate(MAX_KEYS);
        keys
    }

    /// Lets the keys of a circuit go from free slots and the disk.
    pub(super) fn evict(&self, circuit: CircuitId) {
        self.forget_loaded(circuit);
        if let Files::Cache(cache) = &self.config.files {
            cache.forget(circuit);
        }
    }

    /// Lets a circuit go from free slots; its next proof there loads it again.
    pub(super) fn forget_loaded(&self, circuit: CircuitId) {
        for seat in lock(&self.seats).iter_mut() {
            seat.slot.forget(circuit);
            lock(&self.warm).insert(seat.number, seat.slot.warm());
        }
    }

    /// Remembers what the gateway would like to see loaded.
    pub(super) fn wish(&self, circuits: Vec<CircuitId>) {
        if !circuits.is_empty() {
            *lock(&self.wishes) = circuits;
            self.changed.notify_one();
        }
    }

    /// Notes that leases may be possible again.
    pub(super) fn notify_changed(&self) {
        self.changed.notify_one();
    }
}

/// Works until `stop`, then drains.
///
/// # Errors
/// A slot cannot be started. A gateway that does not answer is no error: it is asked again for ever.
pub async fn run(
    config: NodeConfig,
    uplink: Arc<dyn Uplink>,
    workshop: Arc<dyn Workshop>,
    stop: CancellationToken,
) -> Result<(), NodeError> {
    let start = |what| move |source| NodeError::Start { what, source };
    let seats = (0..config.capabilities.slots).map(|number| {
        let slot = workshop.start(number)?;
        Ok(Seat { number, slot })
    });
    let seats: std::io::Result<Vec<Seat>> = seats.collect();
    let shared = Arc::new(Shared {
        seats: Mutex::new(seats.map_err(start("a slot"))?),
        config,
        uplink,
        session: channel::Sender::new(None),
        running: Mutex::default(),
        warm: Mutex::default(),
        wishes: Mutex::default(),
        drained: AtomicBool::new(false),
        stopping: stop,
        changed: Notify::new(),
        news: Notify::new(),
    });
    let pulse = Pulse::start(&shared).map_err(start("the heartbeat"))?;
    let tasks = TaskTracker::new();
    let mut stolen = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    while let Some(session) = open(&shared, &shared.stopping).await {
        let begun = Instant::now();
        take_leases(&shared, session, &tasks).await;
        if shared.stopping.is_cancelled() {
            break;
        }
        if begun.elapsed() > SHORT_SESSION {
            stolen.reset();
        }
        // The gateway may have begun anew, which is over at once; two processes with one identity take it from each other for ever.
        tokio::select! {
            () = stolen.wait() => {}
            () = shared.stopping.cancelled() => break,
        }
    }
    drain(&shared, &tasks).await;
    pulse.stop().await;
    Ok(())
}

/// Opens a session, however long the gateway takes; `None` when `enough` is cancelled meanwhile.
async fn open(shared: &Shared, enough: &CancellationToken) -> Option<Session> {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let resume = shared.attempts().iter().map(|w| w.attempt()).collect();
        let hello = Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: shared.config.capabilities.clone(),
            resume,
        };
        let opened = tokio::select! {
            opened = shared.uplink.open(hello) => opened,
            () = enough.cancelled() => return None,
        };
        match opened {
            Ok(welcome) => return Some(welcomed(shared, &welcome)),
            Err(error) => tracing::warn!(%error, "cannot open a session; trying again"),
        }
        tokio::select! {
            () = backoff.wait() => {}
            () = enough.cancelled() => return None,
        }
    }
}

fn welcomed(shared: &Shared, welcome: &Welcome) -> Session {
    let least = Duration::from_millis(20);
    let wanted = shared.config.heartbeat.unwrap_or(Duration::MAX);
    let session = Session {
        number: welcome.session,
        heartbeat: welcome.heartbeat.min(wanted).max(least),
        lease_ttl: welcome.lease_ttl,
        max_proof_bytes: welcome.max_proof_bytes,
    };
    tracing::info!(node = %welcome.node, session = session.number, kept = welcome.keep.len(), dropped = welcome.drop.len(), "session open");
    for attempt in &welcome.drop {
        shared.cancel(*attempt);
    }
    shared.session.send_replace(Some(session));
    session
}

/// Takes leases until the session or the node is over.
async fn take_leases(shared: &Arc<Shared>, session: Session, tasks: &TaskTracker) {
    let mut sessions = shared.sessions();
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut was_full = false;
    loop {
        if shared.stopping.is_cancelled() || *sessions.borrow_and_update() != Some(session) {
            return;
        }
        let pause = match ready(shared, &mut was_full) {
            None => Duration::from_secs(1),
            Some(max_leases) => {
                let acquire = Acquire {
                    session: session.number,
                    max_leases,
                    // What is free changes while others run.
                    wait: match shared.attempts().is_empty() {
                        true => ACQUIRE_WAIT,
                        false => BUSY_WAIT,
                    },
                    free: shared.free(),
                    keys: shared.keys(),
                };
                let granted = tokio::select! {
                    granted = shared.uplink.acquire(acquire) => granted,
                    () = shared.stopping.cancelled() => return,
                    _ = sessions.changed() => return,
                };
                match granted {
                    Ok(granted) => {
                        backoff.reset();
                        let pause = granted.retry_after;
                        begin_all(shared, session, granted, tasks);
                        pause
                    }
                    Err(UplinkError::StaleSession) => {
                        shared.is_over(session.number);
                        return;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot ask for work; trying again");
                        backoff.pause()
                    }
                }
            }
        };
        load_wishes(shared, tasks);
        if !pause.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shared.changed.notified() => {}
                () = shared.stopping.cancelled() => return,
                _ = sessions.changed() => return,
            }
        }
    }
}

/// How many leases the node can take; `None` when it is full, drained, or short of disk.
fn ready(shared: &Shared, was_full: &mut bool) -> Option<u32> {
    let full = matches!(&shared.config.files, Files::Cache(cache) if cache.disk_free() == 0 && cache.room() == 0);
    if full && !*was_full {
        tracing::error!(
            "the disk is full up to the room that must stay free: no leases until there is room"
        );
    }
    *was_full = full;
    let free = shared.free_seats();
    (free > 0 && !full && !shared.drained.load(Ordering::Relaxed)).then_some(free)
}

/// Begins every attempt that was granted; what has no slot goes back.
fn begin_all(shared: &Arc<Shared>, session: Session, granted: Granted, tasks: &TaskTracker) {
    shared.wish(granted.prefetch);
    for lease in granted.leases {
        match shared.take_seat(lease.circuit) {
            Some(seat) => {
                tasks.spawn(attempt::run(Arc::clone(shared), seat, lease));
            }
            None => {
                tracing::warn!(attempt = %lease.attempt, "more leases than free slots; handing one back");
                let shared = Arc::clone(shared);
                tasks.spawn(async move { hand_back(&shared, session, &lease).await });
            }
        }
    }
}

async fn hand_back(shared: &Shared, session: Session, lease: &Lease) {
    let failure = Failure::new(
        FailureClass::Cancelled,
        "NO_SLOT",
        "the node has no free slot",
    );
    // A lease that cannot be handed back runs out.
    let _ = shared
        .uplink
        .fail(session.number, lease.attempt, failure)
        .await;
}

/// Loads a circuit that the gateway wishes for into a free slot, if its files are here.
fn load_wishes(shared: &Arc<Shared>, tasks: &TaskTracker) {
    let Files::Cache(cache) = &shared.config.files else {
        return;
    };
    let wishes = std::mem::take(&mut *lock(&shared.wishes));
    let loaded = shared.keys();
    let in_memory = |c: CircuitId| loaded.iter().any(|k| k.circuit == c && k.tier >= Tier::Ram);
    let Some((circuit, held)) = wishes
        .into_iter()
        .filter(|c| !in_memory(*c))
        .find_map(|c| Some((c, cache.present(c)?)))
    else {
        return;
    };
    let Some(mut seat) = shared.take_seat(circuit) else {
        return;
    };
    let shared = Arc::clone(shared);
    let cache = Arc::clone(cache);
    tasks.spawn(async move {
        let nobody = AttemptId {
            job: JobId::fresh(),
            epoch: 0,
        };
        let watch = Arc::new(Watch::new(nobody, Resources::default()));
        let load = Load {
            circuit,
            folder: held.folder().to_owned(),
            limits: Resources::default(),
            time_limit: Duration::from_secs(600),
        };
        let loading = seat.slot.load(load, &watch);
        let loaded = tokio::select! {
            loaded = loading => loaded,
            () = shared.stopping.cancelled() => return,
        };
        match loaded {
            Ok(took) => cache.loaded(circuit, took),
            Err(error) => {
                tracing::warn!(%circuit, %error, "cannot load a circuit ahead of work");
                cache.suspect(circuit);
            }
        }
        shared.free_seat(seat);
    });
}

/// Lets running proofs end, hands back what does not, ends the session.
async fn drain(shared: &Arc<Shared>, tasks: &TaskTracker) {
    tasks.close();
    let running = shared.attempts().len();
    if running > 0 {
        tracing::info!(running, "draining: running proofs may end");
    }
    tokio::select! {
        () = finish(shared, tasks) => {}
        () = keep_session(shared) => {}
    }
    let session = *shared.session.borrow();
    if let Some(session) = session {
        let closing = shared.uplink.close(session.number, "drained");
        match tokio::time::timeout(HAND_BACK_TIMEOUT, closing).await {
            Ok(Ok(())) => tracing::info!("session closed"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot close the session; its leases run out")
            }
            Err(_) => tracing::warn!("cannot close the session in time; its leases run out"),
        }
    }
}

/// Waits for what runs, within the drain timeout; hands back what is left.
async fn finish(shared: &Shared, tasks: &TaskTracker) {
    let in_time = tokio::time::timeout(shared.config.drain_timeout, tasks.wait()).await;
    if in_time.is_ok() {
        return;
    }
    tracing::warn!("proofs did not end in time; they are handed back");
    for watch in shared.attempts().iter().filter(|w| !w.is_finished()) {
        watch.stop(Stop::Drain);
    }
    let _ = tokio::time::timeout(HAND_BACK_TIMEOUT, tasks.wait()).await;
}

/// What ends during a drain is told too: a session that is over is opened anew. Never ends.
async fn keep_session(shared: &Shared) {
    let (mut sessions, never) = (shared.sessions(), CancellationToken::new());
    loop {
        // The sender lives in `shared`.
        let _ = sessions.wait_for(Option::is_none).await;
        open(shared, &never).await;
    }
}
