//! The life of a job, as a pure function.
//!
//! QUEUED → LEASED → RUNNING → SUCCEEDED; side exits: back to QUEUED (retry, release, lost), FAILED, DEAD, CANCELLED,
//! EXPIRED. Terminal states never change. `epoch` counts claims and is the fencing token of an attempt: only the
//! newest attempt may report progress or failure, but any attempt that belonged to the job may commit its proof.

use crate::store::{FailureClass, JobState};

/// The part of a job that its life depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its state.
    pub state: JobState,
    /// Claims so far.
    pub epoch: i64,
    /// Failed attempts so far.
    pub attempts: u32,
    /// Lost attempts so far.
    pub lost: u32,
    /// The budget of failed attempts.
    pub max_attempts: u32,
}

/// Something that happens to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The prover takes it.
    Claim,
    /// The prover begins.
    Start {
        /// Its attempt.
        epoch: i64,
    },
    /// A verified result arrives.
    Commit {
        /// Its attempt.
        epoch: i64,
    },
    /// The attempt failed.
    Fail {
        /// Its attempt.
        epoch: i64,
        /// Whose fault.
        class: FailureClass,
    },
    /// The prover hands the attempt back (drain).
    Release {
        /// Its attempt.
        epoch: i64,
    },
    /// The prover disappeared.
    Lost,
    /// The client cancels.
    Cancel,
    /// The deadline passed.
    Expire,
}

/// Why a step changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The job is over.
    #[error("the job is already {0}")]
    Terminal(JobState),
    /// A newer attempt owns the job.
    #[error("attempt {got} is stale, attempt {expected} owns the job")]
    Stale {
        /// The newest attempt.
        expected: i64,
        /// The attempt that spoke.
        got: i64,
    },
    /// The step does not apply in this state.
    #[error("a {0} job does not take this step")]
    Impossible(JobState),
}

impl Life {
    /// A job that was just created.
    pub fn queued(max_attempts: u32) -> Self {
        Self {
            state: JobState::Queued,
            epoch: 0,
            attempts: 0,
            lost: 0,
            max_attempts,
        }
    }

    /// The life after `step`, and how long the job must wait in the queue before its next claim, in milliseconds.
    ///
    /// # Errors
    /// A [`Refusal`]: nothing changes.
    pub fn after(self, step: Step) -> Result<(Self, u64), Refusal> {
        use JobState::{Cancelled, Dead, Expired, Failed, Leased, Queued, Running, Succeeded};
        if self.state.is_terminal() {
            return Err(Refusal::Terminal(self.state));
        }
        let held = matches!(self.state, Leased | Running | JobState::Verifying);
        let current = |epoch: i64| {
            if epoch != self.epoch {
                Err(Refusal::Stale {
                    expected: self.epoch,
                    got: epoch,
                })
            } else if held {
                Ok(())
            } else {
                Err(Refusal::Impossible(self.state))
            }
        };
        let to = |state| Self { state, ..self };
        match step {
            Step::Claim if self.state == Queued => Ok((
                Self {
                    epoch: self.epoch + 1,
                    ..to(Leased)
                },
                0,
            )),
            Step::Claim => Err(Refusal::Impossible(self.state)),
            Step::Start { epoch } => {
                current(epoch)?;
                if self.state != Leased {
                    return Err(Refusal::Impossible(self.state));
                }
                Ok((to(Running), 0))
            }
            Step::Commit { epoch } => {
                if epoch < 1 || epoch > self.epoch {
                    return Err(Refusal::Stale {
                        expected: self.epoch,
                        got: epoch,
                    });
                }
                Ok((to(Succeeded), 0))
            }
            Step::Fail { epoch, class } => {
                current(epoch)?;
                let attempts = self.attempts.saturating_add(1);
                let failed = Self { attempts, ..self };
                Ok(match class {
                    FailureClass::InvalidRequest | FailureClass::ResourceExceeded => (
                        Self {
                            state: Failed,
                            ..failed
                        },
                        0,
                    ),
                    FailureClass::Cancelled => (
                        Self {
                            state: Cancelled,
                            ..failed
                        },
                        0,
                    ),
                    FailureClass::Deadline => (
                        Self {
                            state: Expired,
                            ..failed
                        },
                        0,
                    ),
                    _ if attempts >= self.max_attempts => (
                        Self {
                            state: Dead,
                            ..failed
                        },
                        0,
                    ),
                    _ => (
                        Self {
                            state: Queued,
                            ..failed
                        },
                        backoff_ms(attempts),
                    ),
                })
            }
            Step::Release { epoch } => {
                current(epoch)?;
                Ok((to(Queued), 0))
            }
            Step::Lost if held => {
                let lost = self.lost.saturating_add(1);
                // A job that takes the process down every time must not keep the others from their turn.
                let wait = if lost < LOST_BEFORE_BACKOFF {
                    0
                } else {
                    backoff_ms(lost + 1 - LOST_BEFORE_BACKOFF)
                };
                Ok((Self { lost, ..to(Queued) }, wait))
            }
            Step::Lost => Err(Refusal::Impossible(self.state)),
            Step::Cancel => Ok((to(Cancelled), 0)),
            Step::Expire => Ok((to(Expired), 0)),
        }
    }
}

/// Losses after which a job waits before it is claimed again.
pub const LOST_BEFORE_BACKOFF: u32 = 5;

/// `min(2^n · 1 s, 5 min)` for the `n`-th failure.
pub fn backoff_ms(n: u32) -> u64 {
    (1000u64 << n.min(20)).min(300_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn step() -> impl Strategy<Value = Step> {
        let class = prop::sample::select(FailureClass::ALL);
        prop_oneof![
            3 => Just(Step::Claim),
            3 => (0..6i64).prop_map(|epoch| Step::Start { epoch }),
            1 => (0..6i64).prop_map(|epoch| Step::Commit { epoch }),
            2 => (0..6i64, class).prop_map(|(epoch, class)| Step::Fail { epoch, class }),
            1 => (0..6i64).prop_map(|epoch| Step::Release { epoch }),
            2 => Just(Step::Lost),
            1 => Just(Step::Cancel),
            1 => Just(Step::Expire),
        ]
    }

    proptest! {
        #[test]
        fn terminal_states_never_change_and_counters_never_fall(steps in prop::collection::vec(step(), 0..60)) {
            let mut life = Life::queued(3);
            let mut commits = 0;
            for step in steps {
                let Ok((next, wait)) = life.after(step) else { continue };
                prop_assert!(!life.state.is_terminal());
                prop_assert!(next.epoch >= life.epoch && next.attempts >= life.attempts && next.lost >= life.lost);
                prop_assert_eq!(next.epoch > life.epoch, step == Step::Claim);
                prop_assert!(wait == 0 || next.state == JobState::Queued);
                prop_assert!(next.state != JobState::Queued || next.attempts < next.max_attempts);
                commits += u32::from(next.state == JobState::Succeeded);
                life = next;
            }
            prop_assert!(commits <= 1);
        }

        #[test]
        fn a_stale_attempt_changes_nothing(epoch in 0..5i64) {
            let life = Life { epoch: 5, state: JobState::Running, ..Life::queued(3) };
            let class = FailureClass::Internal;
            for step in [Step::Fail { epoch, class }, Step::Release { epoch }, Step::Start { epoch }] {
                prop_assert!(matches!(life.after(step), Err(Refusal::Stale { expected: 5, .. })), "{:?}", step);
            }
        }
    }

    #[test]
    fn an_older_attempt_of_the_job_may_commit_and_a_future_one_may_not() {
        let life = Life {
            epoch: 2,
            state: JobState::Queued,
            ..Life::queued(3)
        };
        assert_eq!(
            life.after(Step::Commit { epoch: 1 }).map(|(l, _)| l.state),
            Ok(JobState::Succeeded)
        );
        assert!(life.after(Step::Commit { epoch: 3 }).is_err());
        assert!(life.after(Step::Commit { epoch: 0 }).is_err());
    }

    #[test]
    fn the_clients_fault_is_not_retried_and_ours_is_until_the_budget_is_spent() {
        let running = Life {
            epoch: 1,
            state: JobState::Running,
            ..Life::queued(2)
        };
        let fail = |life: Life, class| {
            life.after(Step::Fail {
                epoch: life.epoch,
                class,
            })
            .map(|(l, _)| l)
        };
        assert_eq!(
            fail(running, FailureClass::InvalidRequest).map(|l| l.state),
            Ok(JobState::Failed)
        );
        let again = fail(running, FailureClass::Internal).expect("the attempt is current");
        assert_eq!((again.state, again.attempts), (JobState::Queued, 1));
        let second = Life {
            epoch: 2,
            state: JobState::Running,
            ..again
        };
        assert_eq!(
            fail(second, FailureClass::Internal).map(|l| l.state),
            Ok(JobState::Dead)
        );
    }

    #[test]
    fn a_lost_attempt_does_not_touch_the_attempt_budget() {
        let mut life = Life::queued(1);
        for n in 1..=50 {
            life = life.after(Step::Claim).expect("queued").0;
            life = life.after(Step::Lost).expect("leased").0;
            assert_eq!(
                (life.state, life.lost, life.attempts),
                (JobState::Queued, n, 0)
            );
        }
    }
}
