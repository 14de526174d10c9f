//! One running attempt as every part of the node sees it: where it is, and the switch that stops it.

use std::{
    ops::ControlFlow,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio_util::sync::CancellationToken;

use crate::{
    farm::{
        lease::{AttemptId, AttemptStatus},
        overall,
    },
    store::{Phase, Resources},
    work::Control,
};

/// Why an attempt was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The gateway says so: it is cancelled, lost, or won by another.
    Gateway,
    /// The node goes down: the attempt is handed back.
    Drain,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    progress: f32,
    stop: Option<Stop>,
    finished: bool,
}

/// One running attempt.
#[derive(Debug)]
pub struct Watch {
    attempt: AttemptId,
    holds: Resources,
    stopped: CancellationToken,
    peak_ram: AtomicU64,
    state: Mutex<State>,
}

impl Watch {
    /// An attempt that begins and holds `holds` of the node.
    pub fn new(attempt: AttemptId, holds: Resources) -> Self {
        Self {
            attempt,
            holds,
            stopped: CancellationToken::new(),
            peak_ram: AtomicU64::new(0),
            state: Mutex::new(State {
                phase: Phase::FetchKey,
                progress: 0.0,
                stop: None,
                finished: false,
            }),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its name.
    pub fn attempt(&self) -> AttemptId {
        self.attempt
    }

    /// What it holds of the node.
    pub fn holds(&self) -> Resources {
        self.holds
    }

    /// Asks it to stop; the first reason stays.
    pub fn stop(&self, why: Stop) {
        self.lock().stop.get_or_insert(why);
        self.stopped.cancel();
    }

    /// Why it was asked to stop.
    pub fn why_stopped(&self) -> Option<Stop> {
        self.lock().stop
    }

    /// Resolves once it was asked to stop.
    pub async fn stopped(&self) {
        self.stopped.cancelled().await;
    }

    /// Whether it was asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.stopped.is_cancelled()
    }

    /// Its proof is made; from here on nobody stops it.
    pub fn finish(&self) {
        self.lock().finished = true;
    }

    /// Whether its proof is made.
    pub fn is_finished(&self) -> bool {
        self.lock().finished
    }

    /// Notes that it used `bytes` of memory.
    pub fn used_ram(&self, bytes: u64) {
        self.peak_ram.fetch_max(bytes, Ordering::Relaxed);
    }

    /// The most memory it used.
    pub fn peak_ram(&self) -> u64 {
        self.peak_ram.load(Ordering::Relaxed)
    }

    /// Where it is.
    pub fn status(&self) -> AttemptStatus {
        let state = self.lock();
        AttemptStatus {
            attempt: self.attempt,
            phase: state.phase,
            progress: state.progress,
            peak_ram: self.peak_ram(),
        }
    }
}

impl Control for Watch {
    fn report(&self, phase: Phase, done: u64, total: u64) -> ControlFlow<()> {
        let mut state = self.lock();
        state.phase = phase;
        state.progress = state.progress.max(overall(phase, done, total));
        match state.stop {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::JobId;

    #[test]
    fn progress_never_falls_and_the_first_reason_to_stop_stays() {
        let attempt = AttemptId {
            job: JobId::fresh(),
            epoch: 3,
        };
        let watch = Watch::new(attempt, Resources::default());
        assert!(watch.report(Phase::Prove, 1, 2).is_continue());
        let half = watch.status().progress;
        assert!(watch.report(Phase::Commit, 0, 1).is_continue());
        assert_eq!(
            (watch.status().progress, watch.status().phase),
            (half, Phase::Commit)
        );
        watch.stop(Stop::Gateway);
        watch.stop(Stop::Drain);
        assert!(watch.report(Phase::Prove, 1, 2).is_break());
        assert_eq!(watch.why_stopped(), Some(Stop::Gateway));
    }
}
