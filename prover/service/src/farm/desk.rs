//! The gateway's side of the line to prover nodes: sessions, leases, heartbeats, proofs.
//!
//! What a node says is believed as far as it can be checked: an attempt must be its own, a proof must verify with the
//! gateway's own key. How many leases it holds, how often it asks and how much it sends is bounded here.

mod commit;
mod fetch;
mod grant;
mod local;
mod pace;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use super::{
    Farm,
    job::{NOT_HANDED_OUT, POISON_SUSPECT},
    lease::{Acquire, AttemptId, Beat, BeatAnswer, Granted, Hello, UplinkError, Welcome},
};
use crate::store::{
    AttemptBeat, AttemptOutcome, Capabilities, CircuitId, Failure, FailureClass, KeyResidency,
    Node, NodeId, NodeState, StoreError, TenantId, cut,
};

use commit::Checking;
pub use commit::MAX_PROOF_BYTES;
pub use fetch::Fetched;
pub use local::LocalUplink;
use pace::Pace;

/// The longest wait for work in one call.
pub const MAX_WAIT: Duration = Duration::from_secs(25);
/// Attempts in one message of a node.
pub const MAX_ATTEMPTS: usize = 1024;
/// Keys in one message of a node.
pub const MAX_KEYS: usize = 256;
/// Proofs that are verified at a time.
const CHECKS: usize = 4;

/// What the desk remembers of a node while it has a session.
#[derive(Debug, Default)]
struct Visitor {
    /// How often it asks for work or begins a session.
    pace: Pace,
    /// How often it has something new to write down.
    news: Pace,
    /// How many times it came.
    visit: u64,
    /// Whether a call of it waits for work.
    waits: bool,
    /// The keys that the store knows.
    keys: Vec<KeyResidency>,
    /// Circuits that it may fetch ahead of work.
    prefetch: Vec<CircuitId>,
    /// When its attempts were last renewed, and which they were.
    renewed: Option<(Instant, Vec<(AttemptId, TenantId)>)>,
}

/// Serves prover nodes.
#[derive(Debug)]
pub struct Desk {
    farm: Arc<Farm>,
    visitors: Mutex<HashMap<NodeId, Visitor>>,
    checks: Arc<Semaphore>,
    /// Attempts whose proof is being checked.
    checking: Checking,
}

fn stopping() -> UplinkError {
    UplinkError::Unreachable("the server is draining".to_owned())
}

/// Text of a node, as far as it is kept.
fn bounded(text: &str, max: usize) -> String {
    let plain: String = text.chars().filter(|c| !c.is_control()).take(max).collect();
    cut(plain, max)
}

impl Desk {
    /// The desk of `farm`.
    pub fn new(farm: Arc<Farm>) -> Self {
        Self {
            farm,
            visitors: Mutex::default(),
            checks: Arc::new(Semaphore::new(CHECKS)),
            checking: Checking::default(),
        }
    }

    /// The farm behind it.
    pub fn farm(&self) -> &Arc<Farm> {
        &self.farm
    }

    fn visitors(&self) -> MutexGuard<'_, HashMap<NodeId, Visitor>> {
        self.visitors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, node: NodeId, what: impl FnOnce(&mut Visitor) -> T) -> T {
        what(self.visitors().entry(node).or_default())
    }

    /// Runs `work` to its end even when the node goes away.
    async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, UplinkError>> + Send + 'static,
    ) -> Result<T, UplinkError> {
        let done = self.farm.tasks.spawn(work).await;
        done.map_err(|_| UplinkError::Unreachable("the call met a defect".to_owned()))?
    }

    /// The node, unless it may do nothing here.
    async fn admitted(&self, id: NodeId) -> Result<Node, UplinkError> {
        let node = match self.farm.store.node(id).await {
            Ok(node) => node,
            Err(StoreError::NotFound { .. }) => {
                return Err(UplinkError::Refused(format!("{id} is not known here")));
            }
            Err(e) => return Err(e.into()),
        };
        if node.state == NodeState::Quarantined {
            return Err(UplinkError::Refused(format!(
                "{id} is quarantined; its operator can activate it again"
            )));
        }
        Ok(node)
    }

    /// Begins a session.
    ///
    /// # Errors
    /// [`UplinkError`].
    pub async fn open(&self, node: NodeId, hello: Hello) -> Result<Welcome, UplinkError> {
        self.admitted(node).await?;
        if let Err(wait) = self.with(node, |v| v.pace.take(Instant::now())) {
            let message = format!("too many sessions; begin one in {wait:?}");
            return Err(UplinkError::Unreachable(message));
        }
        if hello.resume.len() > MAX_ATTEMPTS {
            return Err(UplinkError::Refused(format!(
                "{} attempts to resume, at most {MAX_ATTEMPTS}",
                hello.resume.len()
            )));
        }
        let capabilities = checked(hello.capabilities)?;
        let farm = Arc::clone(&self.farm);
        let version = bounded(&hello.version, 64);
        let session = self
            .detached(async move {
                let ttl = farm.limits.lease_ttl_ms();
                let resume = &hello.resume;
                let opened = farm
                    .store
                    .open_session(node, &version, capabilities, resume, ttl)
                    .await;
                Ok(opened?)
            })
            .await?;
        // A new session is not a new pace.
        self.with(node, |v| {
            *v = Visitor {
                pace: v.pace,
                news: v.news,
                visit: v.visit + 1,
                ..Visitor::default()
            };
        });
        tracing::info!(%node, session = session.number, kept = session.keep.len(), dropped = session.drop.len(), "session open");
        Ok(Welcome {
            node,
            session: session.number,
            heartbeat: self.farm.limits.heartbeat,
            lease_ttl: self.farm.limits.lease_ttl,
            keep: session.keep,
            drop: session.drop,
            max_proof_bytes: MAX_PROOF_BYTES,
        })
    }

    /// Waits for work. No work is an empty answer.
    ///
    /// # Errors
    /// [`UplinkError`].
    pub async fn acquire(&self, node: NodeId, ask: Acquire) -> Result<Granted, UplinkError> {
        grant::acquire(self, node, ask).await
    }

    /// Takes a sign of life.
    ///
    /// # Errors
    /// [`UplinkError`].
    pub async fn heartbeat(&self, node: NodeId, mut beat: Beat) -> Result<BeatAnswer, UplinkError> {
        let known = self.admitted(node).await?;
        if beat.attempts.len() > MAX_ATTEMPTS || beat.keys.len() > MAX_KEYS {
            return Err(UplinkError::Refused(format!(
                "{} attempts and {} keys in a heartbeat, at most {MAX_ATTEMPTS} and {MAX_KEYS}",
                beat.attempts.len(),
                beat.keys.len()
            )));
        }
        if !known.online || known.session != beat.session {
            return Ok(BeatAnswer {
                stale: true,
                ..BeatAnswer::default()
            });
        }
        let mut named = HashSet::new();
        beat.attempts.retain(|a| named.insert(a.attempt));
        // Names of other attempts cost no transaction.
        let open = match beat.attempts.is_empty() {
            true => Vec::new(),
            false => self.farm.store.open_attempts(node).await?,
        };
        let is_open = |attempt: AttemptId| open.iter().any(|(open, _)| *open == attempt);
        let named = beat.attempts.iter().map(|a| a.attempt);
        let over: Vec<AttemptId> = named.filter(|a| !is_open(*a)).collect();
        let fresh = self.still_fresh(node, &beat, &over);
        let written = fresh.is_none() && self.with(node, |v| v.news.take(Instant::now()).is_ok());
        if !written {
            if let Some(kept) = fresh {
                self.tell(&kept, &beat);
            }
            return Ok(BeatAnswer {
                cancel: over,
                drain: known.state == NodeState::Draining,
                prefetch: self.with(node, |v| v.prefetch.clone()),
                ..BeatAnswer::default()
            });
        }
        let news = self.with(node, |v| v.keys != beat.keys);
        let keys = news.then(|| beat.keys.clone());
        let attempts: Vec<AttemptBeat> = beat
            .attempts
            .iter()
            .filter(|a| is_open(a.attempt))
            .map(|a| AttemptBeat {
                attempt: a.attempt,
                peak_ram: a.peak_ram,
            })
            .collect();
        let farm = Arc::clone(&self.farm);
        let heard = self
            .detached(async move {
                let ttl = farm.limits.lease_ttl_ms();
                let (session, keys) = (beat.session, keys.as_deref());
                Ok(farm
                    .store
                    .heartbeat(node, session, &attempts, keys, ttl)
                    .await?)
            })
            .await?;
        let Some(heard) = heard else {
            return Ok(BeatAnswer {
                stale: true,
                ..BeatAnswer::default()
            });
        };
        self.tell(&heard.kept, &beat);
        let prefetch = self.with(node, |visitor| {
            visitor.keys = beat.keys;
            visitor.renewed = Some((Instant::now(), heard.kept));
            visitor.prefetch.clone()
        });
        Ok(BeatAnswer {
            cancel: [over, heard.cancel].concat(),
            drain: heard.state == NodeState::Draining,
            prefetch,
            evict: Vec::new(),
            stale: false,
        })
    }

    /// The attempts of a beat that says nothing new so soon after the last one that it need not be written down.
    fn still_fresh(
        &self,
        node: NodeId,
        beat: &Beat,
        over: &[AttemptId],
    ) -> Option<Vec<(AttemptId, TenantId)>> {
        let recent = self.farm.limits.heartbeat.mul_f32(0.9);
        let kept = self.with(node, |v| match &v.renewed {
            Some((at, kept)) if at.elapsed() < recent && v.keys == beat.keys => Some(kept.clone()),
            _ => None,
        })?;
        let named = beat.attempts.iter().map(|a| a.attempt);
        let same = named.eq(kept.iter().map(|(attempt, _)| *attempt));
        (same && over.is_empty()).then_some(kept)
    }

    /// Shows where the attempts are.
    fn tell(&self, kept: &[(AttemptId, TenantId)], beat: &Beat) {
        for (attempt, tenant) in kept {
            if let Some(said) = beat.attempts.iter().find(|a| a.attempt == *attempt) {
                self.farm
                    .live
                    .tell(*tenant, *attempt, said.phase, said.progress);
            }
        }
    }

    /// Hears that an attempt failed; `true` when it was no longer the node's. CANCELLED hands it back.
    ///
    /// # Errors
    /// [`UplinkError`].
    pub async fn fail(
        &self,
        node: NodeId,
        session: i64,
        attempt: AttemptId,
        failure: Failure,
    ) -> Result<bool, UplinkError> {
        self.admitted(node).await?;
        let open = self.farm.store.open_attempts(node).await?;
        if !open.iter().any(|(open, _)| *open == attempt) {
            self.farm.metrics.lease_stale();
            return Ok(true);
        }
        let farm = Arc::clone(&self.farm);
        self.detached(async move {
            let (outcome, class) = match failure.class {
                FailureClass::Cancelled => (AttemptOutcome::Released, None),
                class => (AttemptOutcome::Failed, Some(class)),
            };
            let ended = match failure.class {
                FailureClass::Cancelled => {
                    farm.store.release_attempt(node, session, attempt).await?
                }
                class => {
                    // Of deadlines, losses and proofs the gateway judges itself.
                    let class = match class {
                        FailureClass::NodeLost
                        | FailureClass::Deadline
                        | FailureClass::ProofInvalid => FailureClass::NodeFault,
                        class => class,
                    };
                    // What the gateway says of itself no node can say.
                    let code = match bounded(&failure.code, 64) {
                        code if [NOT_HANDED_OUT, POISON_SUSPECT].contains(&code.as_str()) => {
                            "NODE".to_owned()
                        }
                        code => code,
                    };
                    let message = bounded(&failure.message, 1024);
                    tracing::warn!(%node, %attempt, %class, code, message, "attempt failed");
                    let failure = Failure::new(class, code, message);
                    farm.store
                        .fail_attempt(node, session, attempt, failure)
                        .await?
                }
            };
            farm.live.forget(attempt);
            if ended.is_none() {
                farm.metrics.lease_stale();
            } else {
                farm.metrics.attempt_ended(outcome, class);
            }
            Ok(ended.is_none())
        })
        .await
    }

    /// Ends a session; its attempts go back uncounted.
    ///
    /// # Errors
    /// [`UplinkError`].
    pub async fn close(&self, node: NodeId, session: i64, reason: &str) -> Result<(), UplinkError> {
        let known = self.farm.store.node(node).await?;
        if !known.online || known.session != session {
            return Ok(());
        }
        let farm = Arc::clone(&self.farm);
        let closed = self
            .detached(async move { Ok(farm.store.close_session(node, session).await?) })
            .await?;
        if closed {
            self.with(node, |v| {
                v.keys.clear();
                v.prefetch.clear();
                v.renewed = None;
            });
        }
        tracing::info!(%node, session, reason = bounded(reason, 200), closed, "session closed");
        Ok(())
    }
}

/// What a node says of itself, within bounds.
fn checked(capabilities: Capabilities) -> Result<Capabilities, UplinkError> {
    let texts = capabilities
        .gpus
        .iter()
        .flat_map(|g| [&g.uuid, &g.model, &g.driver])
        .chain(&capabilities.cpu_features);
    let long = texts.into_iter().any(|t| t.len() > 128);
    if capabilities.backends.len() > 16
        || capabilities.gpus.len() > 64
        || capabilities.cpu_features.len() > 64
        || long
    {
        let message =
            "capabilities: at most 16 proof systems, 64 GPUs, 64 features, texts of 128 bytes";
        return Err(UplinkError::Refused(message.to_owned()));
    }
    Ok(capabilities)
}

#[cfg(test)]
mod tests;
