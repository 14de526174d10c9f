//! The attempts that run now: their progress, and the switches that stop them. Nothing here is durable.

use std::{
    ops::ControlFlow,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::broadcast;

use super::lease::AttemptId;
use crate::{
    store::{JobId, Phase, TenantId},
    work::Control,
};

/// Where an attempt is.
#[derive(Clone, Copy, Debug)]
pub struct LiveProgress {
    /// Whose.
    pub tenant: TenantId,
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub epoch: i64,
    /// What it does.
    pub phase: Phase,
    /// 0..1, monotone.
    pub progress: f32,
    /// Time left, when it can be told.
    pub left: Option<Duration>,
}

/// The attempts that run, one a slot at most.
#[derive(Debug)]
pub struct Live {
    current: Mutex<Vec<Arc<Attempt>>>,
    events: broadcast::Sender<LiveProgress>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            current: Mutex::default(),
            events: broadcast::Sender::new(256),
        }
    }
}

impl Live {
    /// Progress of whatever runs.
    pub fn subscribe(&self) -> broadcast::Receiver<LiveProgress> {
        self.events.subscribe()
    }

    /// Where `job` is, if it runs.
    pub fn progress(&self, job: JobId) -> Option<LiveProgress> {
        let attempts: Vec<_> = self
            .lock()
            .iter()
            .filter(|a| a.job == job)
            .cloned()
            .collect();
        // Of two that race, the one that is further.
        let places = attempts.iter().map(|a| a.snapshot());
        places.max_by(|a, b| a.progress.total_cmp(&b.progress))
    }

    /// Where a node says that one of its attempts is.
    pub(crate) fn tell(&self, tenant: TenantId, attempt: AttemptId, phase: Phase, progress: f32) {
        let known = self
            .lock()
            .iter()
            .find(|a| a.job == attempt.job && a.epoch == attempt.epoch)
            .cloned();
        let known = known.unwrap_or_else(|| self.add(tenant, attempt.job, attempt.epoch, true));
        let progress = if progress.is_finite() { progress } else { 0.0 };
        known.tell(phase, progress.clamp(0.0, 1.0));
    }

    /// An attempt of a node ended.
    pub(crate) fn forget(&self, attempt: AttemptId) {
        self.lock()
            .retain(|a| a.job != attempt.job || a.epoch != attempt.epoch);
    }

    /// A job ended, and with it what nodes told of its attempts.
    pub(crate) fn forget_nodes_of(&self, job: JobId) {
        self.lock().retain(|a| a.job != job || !a.remote);
    }

    /// Forgets the attempts of nodes of which nobody spoke for `silence`: they ended without a word here.
    pub(super) fn prune(&self, silence: Duration) {
        self.lock().retain(|a| {
            let state = a.state.lock().unwrap_or_else(PoisonError::into_inner);
            !a.remote || state.told.elapsed() < silence
        });
    }

    /// Asks `job` to stop, if it runs.
    pub fn stop(&self, job: JobId) {
        for attempt in self.lock().iter().filter(|a| a.job == job) {
            attempt.stop.store(true, Ordering::Relaxed);
        }
    }

    /// Asks whatever runs to stop.
    pub(crate) fn stop_for_drain(&self) {
        for attempt in self.lock().iter() {
            attempt.stop.store(true, Ordering::Relaxed);
        }
    }

    /// Begins an attempt of this process.
    pub(super) fn begin(&self, tenant: TenantId, job: JobId, epoch: i64) -> Arc<Attempt> {
        self.add(tenant, job, epoch, false)
    }

    fn add(&self, tenant: TenantId, job: JobId, epoch: i64, remote: bool) -> Arc<Attempt> {
        let attempt = Arc::new(Attempt {
            remote,
            tenant,
            job,
            epoch,
            started: Instant::now(),
            stop: AtomicBool::new(false),
            state: Mutex::new(State {
                phase: Phase::FetchKey,
                progress: 0.0,
                sent: None,
                told: Instant::now(),
            }),
            events: self.events.clone(),
        });
        self.lock().push(Arc::clone(&attempt));
        attempt
    }

    /// Ends an attempt.
    pub(super) fn end(&self, attempt: &Arc<Attempt>) {
        self.lock().retain(|a| !Arc::ptr_eq(a, attempt));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Attempt>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct State {
    phase: Phase,
    progress: f32,
    sent: Option<Instant>,
    /// When it was heard of last.
    told: Instant,
}

/// One running attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    /// Whether it runs on a node.
    remote: bool,
    tenant: TenantId,
    job: JobId,
    epoch: i64,
    started: Instant,
    stop: AtomicBool,
    state: Mutex<State>,
    events: broadcast::Sender<LiveProgress>,
}

impl Attempt {
    fn snapshot(&self) -> LiveProgress {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.view(&state)
    }

    fn tell(&self, phase: Phase, progress: f32) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = state.phase != phase;
        state.phase = phase;
        state.told = Instant::now();
        state.progress = state.progress.max(progress);
        if changed
            || state
                .sent
                .is_none_or(|at| at.elapsed() >= Duration::from_millis(100))
        {
            state.sent = Some(Instant::now());
            // Nobody listening is no error.
            let _ = self.events.send(self.view(&state));
        }
    }

    fn view(&self, state: &State) -> LiveProgress {
        let left = (state.progress > 0.02).then(|| {
            self.started
                .elapsed()
                .mul_f32(((1.0 - state.progress) / state.progress).clamp(0.0, 1e4))
        });
        LiveProgress {
            tenant: self.tenant,
            job: self.job,
            epoch: self.epoch,
            phase: state.phase,
            progress: state.progress,
            left,
        }
    }
}

/// The part of an attempt that lies before a phase, and the phase's own part.
fn span(phase: Phase) -> (f32, f32) {
    match phase {
        Phase::FetchKey => (0.0, 0.01),
        Phase::LoadKey => (0.01, 0.04),
        Phase::Witness => (0.05, 0.15),
        Phase::Commit => (0.2, 0.2),
        Phase::Prove => (0.4, 0.54),
        Phase::Wrap => (0.94, 0.01),
        Phase::Verify => (0.95, 0.04),
        Phase::Upload => (0.99, 0.01),
    }
}

/// How much of a proof is done when `done` of `total` steps of `phase` are.
pub(crate) fn overall(phase: Phase, done: u64, total: u64) -> f32 {
    let (before, own) = span(phase);
    let part = if total == 0 {
        0.0
    } else {
        (done.min(total) as f32) / (total as f32)
    };
    before + own * part
}

impl Control for Attempt {
    fn report(&self, phase: Phase, done: u64, total: u64) -> ControlFlow<()> {
        self.tell(phase, overall(phase, done, total));
        if self.stop.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_never_falls_and_a_stop_reaches_the_work() {
        let live = Live::default();
        let job = JobId::fresh();
        let attempt = live.begin(TenantId::DEFAULT, job, 1);
        assert!(attempt.report(Phase::Prove, 1, 2).is_continue());
        let half = live.progress(job).map(|p| p.progress);
        assert!(attempt.report(Phase::Commit, 0, 1).is_continue());
        assert_eq!(live.progress(job).map(|p| p.progress), half);
        live.stop(JobId::fresh());
        assert!(attempt.report(Phase::Prove, 1, 2).is_continue());
        live.stop(job);
        assert!(attempt.report(Phase::Prove, 1, 2).is_break());
        live.end(&attempt);
        assert!(live.progress(job).is_none());
    }

    #[test]
    fn an_attempt_that_no_node_speaks_of_is_forgotten() {
        let live = Live::default();
        let attempt = AttemptId {
            job: JobId::fresh(),
            epoch: 1,
        };
        let own = live.begin(TenantId::DEFAULT, JobId::fresh(), 1);
        live.tell(TenantId::DEFAULT, attempt, Phase::Prove, 0.5);
        live.prune(Duration::from_secs(60));
        assert!(live.progress(attempt.job).is_some());
        live.prune(Duration::ZERO);
        assert!(live.progress(attempt.job).is_none() && live.progress(own.job).is_some());
    }

    #[test]
    fn attempts_in_flight_are_told_apart() {
        let live = Live::default();
        let jobs = [JobId::fresh(), JobId::fresh()];
        let attempts = jobs.map(|job| live.begin(TenantId::DEFAULT, job, 1));
        assert!(attempts[0].report(Phase::Prove, 1, 2).is_continue());
        let at = |job| live.progress(job).map(|p| p.progress);
        assert!(at(jobs[0]) > at(jobs[1]));
        live.stop(jobs[1]);
        assert!(attempts[0].report(Phase::Prove, 1, 2).is_continue());
        assert!(attempts[1].report(Phase::Prove, 1, 2).is_break());
        live.end(&attempts[0]);
        assert!(live.progress(jobs[0]).is_none() && live.progress(jobs[1]).is_some());
        let third = live.begin(TenantId::DEFAULT, JobId::fresh(), 1);
        live.stop_for_drain();
        assert!(third.report(Phase::Prove, 0, 1).is_break());
    }
}
