//! The life of a job, as a pure function.
//!
//! QUEUED → LEASED → RUNNING → SUCCEEDED; side exits: back to QUEUED (retry, release, lost), FAILED, DEAD, CANCELLED,
//! EXPIRED. Terminal states never change. `epoch` counts claims and is the fencing token of an attempt: only an open
//! attempt may report progress or failure, but any attempt that belonged to the job may commit its proof.

use crate::store::{FailureClass, JobState};

/// The code of an attempt whose child process died by a signal.
pub const CHILD_DIED: &str = "CHILD_DIED";
/// The code of an attempt that the gateway could not hand out; its node never saw it.
pub const NOT_HANDED_OUT: &str = "NOT_HANDED_OUT";
/// The code of an attempt that took too long; the next one gets more time.
pub const TIME_LIMIT: &str = "TIME_LIMIT";
/// The code of a job that kills whoever works on it.
pub const POISON_SUSPECT: &str = "POISON_SUSPECT";

/// The attempts of a job that did not end: one, and at most one copy that races it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open([i64; 2]);

impl Open {
    /// The attempts with these epochs; more than two are not kept.
    pub fn of(epochs: impl IntoIterator<Item = i64>) -> Self {
        epochs.into_iter().fold(Self::default(), Self::with)
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.0.iter().filter(|e| **e != 0).count()
    }

    /// Whether the attempt is among them.
    pub fn has(self, epoch: i64) -> bool {
        epoch != 0 && self.0.contains(&epoch)
    }

    fn with(mut self, epoch: i64) -> Self {
        if let Some(free) = self.0.iter_mut().find(|e| **e == 0) {
            *free = epoch;
        }
        self
    }

    fn without(self, epoch: i64) -> Self {
        Self(self.0.map(|e| if e == epoch { 0 } else { e }))
    }
}

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
    /// The attempts that did not end.
    pub open: Open,
}

/// What a failed attempt means for its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Somebody else shall try, while the budget lasts.
    Retry,
    /// It is the client's fault.
    Failed,
    /// No node can do it.
    Dead,
    /// It kills whoever works on it.
    Poison,
}

/// Something that happens to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Somebody takes it.
    Claim,
    /// Somebody else takes it too, to race the attempt that runs.
    Copy,
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
        /// What that means.
        judgement: Judgement,
    },
    /// The prover hands the attempt back (drain).
    Release {
        /// Its attempt.
        epoch: i64,
    },
    /// The prover disappeared.
    Lost {
        /// Its attempt.
        epoch: i64,
    },
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
    /// The attempt ended, or never was.
    #[error("attempt {got} does not hold the job, attempt {expected} is the newest")]
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
            open: Open::default(),
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
        let open = |epoch: i64| {
            if self.open.has(epoch) {
                Ok(())
            } else {
                Err(self.stale(epoch))
            }
        };
        let over = |life: Self, state| Self {
            state,
            open: Open::default(),
            ..life
        };
        match step {
            Step::Claim if self.state == Queued => Ok((self.taken(Leased), 0)),
            Step::Copy if self.open.count() == 1 => Ok((self.taken(self.state), 0)),
            Step::Claim | Step::Copy => Err(Refusal::Impossible(self.state)),
            Step::Start { epoch } => {
                open(epoch)?;
                if self.state != Leased {
                    return Err(Refusal::Impossible(self.state));
                }
                Ok((
                    Self {
                        state: Running,
                        ..self
                    },
                    0,
                ))
            }
            Step::Commit { epoch } => {
                if epoch < 1 || epoch > self.epoch {
                    return Err(self.stale(epoch));
                }
                Ok((over(self, Succeeded), 0))
            }
            Step::Fail { epoch, judgement } => {
                open(epoch)?;
                let failed = Self {
                    attempts: self.attempts.saturating_add(1),
                    ..self
                };
                Ok(match judgement {
                    Judgement::Failed => (over(failed, Failed), 0),
                    Judgement::Dead | Judgement::Poison => (over(failed, Dead), 0),
                    Judgement::Retry => failed.without(epoch, backoff_ms(failed.attempts)),
                })
            }
            Step::Release { epoch } => {
                open(epoch)?;
                Ok(self.without(epoch, 0))
            }
            Step::Lost { epoch } => {
                open(epoch)?;
                let lost = self.lost.saturating_add(1);
                // A job that takes the process down every time must not keep the others from their turn.
                let wait = if lost < LOST_BEFORE_BACKOFF {
                    0
                } else {
                    backoff_ms(lost + 1 - LOST_BEFORE_BACKOFF)
                };
                Ok(Self { lost, ..self }.without(epoch, wait))
            }
            Step::Cancel => Ok((over(self, Cancelled), 0)),
            Step::Expire => Ok((over(self, Expired), 0)),
        }
    }

    fn stale(self, got: i64) -> Refusal {
        Refusal::Stale {
            expected: self.epoch,
            got,
        }
    }

    /// One more attempt.
    fn taken(self, state: JobState) -> Self {
        let epoch = self.epoch + 1;
        Self {
            state,
            epoch,
            open: self.open.with(epoch),
            ..self
        }
    }

    /// One attempt less: the job goes on when another one runs, else it waits, or is over when the budget is spent.
    fn without(self, epoch: i64, wait: u64) -> (Self, u64) {
        let left = Self {
            open: self.open.without(epoch),
            ..self
        };
        if left.open.count() > 0 {
            return (left, 0);
        }
        let to = |state| Self { state, ..left };
        if left.attempts >= left.max_attempts {
            (to(JobState::Dead), 0)
        } else {
            (to(JobState::Queued), wait)
        }
    }
}

/// Losses after which a job waits before it is claimed again.
pub const LOST_BEFORE_BACKOFF: u32 = 5;

/// `min(2^n · 1 s, 5 min)` for the `n`-th failure, from 2 s on.
pub fn backoff_ms(n: u32) -> u64 {
    (1000u64 << n.min(20)).min(300_000)
}

/// What is known about a job and its farm when an attempt fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Whether the gateway itself worked on it: it has no other node to ask.
    pub own: bool,
    /// Whether the node is trusted beyond UNTRUSTED. What one says that is not only uses up the budget: any number of names may be one liar.
    pub trusted: bool,
    /// Other trusted nodes whose child died over it.
    pub others_died: u32,
    /// Whether this node's child died over it before.
    pub died_here: bool,
    /// Other nodes that take work.
    pub other_nodes: u32,
    /// Whether an attempt of a trusted node hit a bound before.
    pub exceeded_before: bool,
    /// Whether a node with more of what lacked takes work.
    pub bigger_node: bool,
}

/// What a failure of `class` with `code` means for the job.
pub fn judge(class: FailureClass, code: &str, history: &History) -> Judgement {
    match class {
        FailureClass::InvalidRequest | FailureClass::ResourceExceeded if history.own => {
            Judgement::Failed
        }
        _ if !history.trusted => Judgement::Retry,
        FailureClass::InvalidRequest => Judgement::Failed,
        FailureClass::ResourceExceeded
            if history.exceeded_before || !(history.bigger_node || code == TIME_LIMIT) =>
        {
            Judgement::Dead
        }
        FailureClass::NodeFault
            if code == CHILD_DIED
                && (history.others_died > 0 || (history.died_here && history.other_nodes == 0)) =>
        {
            Judgement::Poison
        }
        _ => Judgement::Retry,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn step() -> impl Strategy<Value = Step> {
        let judgement = prop_oneof![
            3 => Just(Judgement::Retry),
            1 => Just(Judgement::Failed),
            1 => Just(Judgement::Dead),
            1 => Just(Judgement::Poison),
        ];
        prop_oneof![
            4 => Just(Step::Claim),
            2 => Just(Step::Copy),
            3 => (0..6i64).prop_map(|epoch| Step::Start { epoch }),
            1 => (0..6i64).prop_map(|epoch| Step::Commit { epoch }),
            2 => (0..6i64, judgement).prop_map(|(epoch, judgement)| Step::Fail { epoch, judgement }),
            1 => (0..6i64).prop_map(|epoch| Step::Release { epoch }),
            2 => (0..6i64).prop_map(|epoch| Step::Lost { epoch }),
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
                prop_assert_eq!(next.epoch > life.epoch, matches!(step, Step::Claim | Step::Copy));
                prop_assert!(wait == 0 || next.state == JobState::Queued);
                prop_assert!(next.state != JobState::Queued || next.attempts < next.max_attempts);
                let held = matches!(next.state, JobState::Leased | JobState::Running);
                prop_assert_eq!(held, next.open.count() > 0);
                commits += u32::from(next.state == JobState::Succeeded);
                life = next;
            }
            prop_assert!(commits <= 1);
        }

        #[test]
        fn an_attempt_that_is_not_open_changes_nothing(epoch in 0..5i64) {
            let life = Life { epoch: 5, state: JobState::Running, open: Open::of([5]), ..Life::queued(3) };
            let judgement = Judgement::Retry;
            for step in [Step::Fail { epoch, judgement }, Step::Release { epoch }, Step::Start { epoch }, Step::Lost { epoch }] {
                prop_assert!(matches!(life.after(step), Err(Refusal::Stale { expected: 5, .. })), "{:?}", step);
            }
        }
    }

    fn run(steps: &[Step]) -> Life {
        steps.iter().fold(Life::queued(2), |life, step| {
            life.after(*step).expect("the step applies").0
        })
    }

    fn retry(epoch: i64) -> Step {
        Step::Fail {
            epoch,
            judgement: Judgement::Retry,
        }
    }

    #[test]
    fn an_older_attempt_of_the_job_may_commit_and_a_future_one_may_not() {
        let life = run(&[
            Step::Claim,
            retry(1),
            Step::Claim,
            Step::Release { epoch: 2 },
        ]);
        assert_eq!(
            life.after(Step::Commit { epoch: 1 }).map(|(l, _)| l.state),
            Ok(JobState::Succeeded)
        );
        assert!(life.after(Step::Commit { epoch: 3 }).is_err());
        assert!(life.after(Step::Commit { epoch: 0 }).is_err());
    }

    #[test]
    fn a_job_is_dead_when_its_budget_is_spent() {
        assert_eq!(run(&[Step::Claim, retry(1)]).state, JobState::Queued);
        let spent = run(&[Step::Claim, retry(1), Step::Claim, retry(2)]);
        assert_eq!((spent.state, spent.attempts), (JobState::Dead, 2));
    }

    #[test]
    fn a_job_with_a_copy_goes_on_until_both_attempts_ended() {
        let both = run(&[Step::Claim, Step::Start { epoch: 1 }, Step::Copy]);
        assert_eq!((both.state, both.open.count()), (JobState::Running, 2));
        assert!(both.after(Step::Copy).is_err(), "one copy at most");
        let one = both.after(retry(1)).expect("open").0;
        assert_eq!((one.state, one.attempts), (JobState::Running, 1));
        let none = one.after(Step::Lost { epoch: 2 }).expect("open").0;
        assert_eq!((none.state, none.lost), (JobState::Queued, 1));
        let won = both.after(Step::Commit { epoch: 2 }).expect("its own").0;
        assert_eq!((won.state, won.open.count()), (JobState::Succeeded, 0));
    }

    #[test]
    fn a_lost_attempt_does_not_touch_the_attempt_budget() {
        let mut life = Life::queued(1);
        for n in 1..=50 {
            life = life.after(Step::Claim).expect("queued").0;
            life = life
                .after(Step::Lost { epoch: life.epoch })
                .expect("leased")
                .0;
            assert_eq!(
                (life.state, life.lost, life.attempts),
                (JobState::Queued, n, 0)
            );
        }
    }

    #[test]
    fn the_word_of_an_untrusted_node_ends_no_job() {
        let worst = History {
            others_died: 5,
            died_here: true,
            exceeded_before: true,
            ..History::default()
        };
        let words = [
            (FailureClass::InvalidRequest, "BAD_INPUT", Judgement::Failed),
            (FailureClass::ResourceExceeded, TIME_LIMIT, Judgement::Dead),
            (FailureClass::NodeFault, CHILD_DIED, Judgement::Poison),
        ];
        for (class, code, trusted) in words {
            assert_eq!(judge(class, code, &worst), Judgement::Retry, "{class}");
            let believed = History {
                trusted: true,
                ..worst
            };
            assert_eq!(judge(class, code, &believed), trusted, "{class}");
        }
    }

    #[test]
    fn a_bound_is_hit_once_more_on_a_bigger_node_and_no_more() {
        let hit = |code, history| judge(FailureClass::ResourceExceeded, code, &history);
        let first = History {
            trusted: true,
            ..History::default()
        };
        assert_eq!(hit("MEMORY_LIMIT", first), Judgement::Dead);
        assert_eq!(hit(TIME_LIMIT, first), Judgement::Retry);
        let bigger = History {
            bigger_node: true,
            ..first
        };
        assert_eq!(hit("MEMORY_LIMIT", bigger), Judgement::Retry);
        let again = History {
            exceeded_before: true,
            ..bigger
        };
        assert_eq!(hit("MEMORY_LIMIT", again), Judgement::Dead);
        assert_eq!(hit(TIME_LIMIT, again), Judgement::Dead);
    }

    #[test]
    fn a_job_that_kills_children_on_two_nodes_is_poison() {
        let died = |history| judge(FailureClass::NodeFault, CHILD_DIED, &history);
        let farm = History {
            trusted: true,
            other_nodes: 2,
            ..History::default()
        };
        assert_eq!(died(farm), Judgement::Retry);
        let here = History {
            died_here: true,
            ..farm
        };
        assert_eq!(died(here), Judgement::Retry, "another node shall try");
        let elsewhere = History {
            others_died: 1,
            ..farm
        };
        assert_eq!(died(elsewhere), Judgement::Poison);
        let alone = History {
            other_nodes: 0,
            ..here
        };
        assert_eq!(died(alone), Judgement::Poison);
        assert_eq!(
            judge(FailureClass::NodeFault, "SELF_CHECK", &elsewhere),
            Judgement::Retry
        );
    }
}
