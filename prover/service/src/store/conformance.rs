//! What every store must do: a state machine of tenants, nodes, sessions, leases and time, beside a model in memory.
//!
//! A store's tests make a [`Subject`] and call [`check`] with steps from [`steps`]; nothing here knows an engine. After every
//! step the store is compared with the model, and the sentences that must always hold are checked ([`Model::compare`]).

mod model;
mod subject;

use proptest::prelude::*;

pub(crate) use model::check;
pub(crate) use subject::{Subject, capabilities, new_job, new_proof, ready_circuit};

use super::FailureClass;

/// Tenants of the machine.
pub(crate) const TENANTS: usize = 2;
/// Nodes: OWNED, VETTED, and UNTRUSTED ones.
pub(crate) const NODES: usize = 4;
/// The time of a lease.
pub(crate) const TTL_MS: i64 = 30_000;

/// Something that is done to the store. Numbers name tenants, nodes, jobs and attempts, modulo how many there are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// A tenant asks for a proof of one of a few inputs.
    Create {
        tenant: usize,
        input: u8,
        private: bool,
    },
    /// A tenant cancels a job, its own or another's.
    Cancel { tenant: usize, job: usize },
    /// A node begins a session, with all its attempts or none.
    Open { node: usize, resume: bool },
    /// A node ends its session.
    Close { node: usize },
    /// A node takes a job, or races who has it.
    Lease { node: usize, job: usize, copy: bool },
    /// A node names an attempt, its own or not, in a heartbeat.
    Beat { node: usize, job: usize, back: i64 },
    /// A node says that an attempt failed.
    Fail {
        node: usize,
        job: usize,
        back: i64,
        class: FailureClass,
        died: bool,
    },
    /// A node hands an attempt back.
    Release { node: usize, job: usize, back: i64 },
    /// A node delivers a proof that holds.
    Commit { node: usize, job: usize, back: i64 },
    /// A node delivers a proof that does not hold.
    Reject { node: usize, job: usize, back: i64 },
    /// Time passes.
    Wait { ms: i64 },
    /// The reaper looks.
    Reap,
    /// The server stops and starts again.
    Restart,
    /// The operator quarantines a node, or takes it back.
    Operate { node: usize, quarantine: bool },
}

/// Steps that get somewhere: mostly of what there is, now and then of what there is not.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = 0..NODES;
    let job = 0..6usize;
    // How many attempts before the newest one.
    let back = prop_oneof![4 => Just(0i64), 2 => Just(1), 1 => Just(2), 1 => Just(-1)];
    let attempt = (node.clone(), job.clone(), back);
    let class = prop::sample::select(
        &[
            FailureClass::InvalidRequest,
            FailureClass::ResourceExceeded,
            FailureClass::NodeFault,
            FailureClass::Internal,
        ][..],
    );
    let step = prop_oneof![
        4 => (0..TENANTS, 0..3u8, any::<bool>()).prop_map(|(tenant, input, private)| Step::Create { tenant, input, private }),
        1 => (0..TENANTS, job.clone()).prop_map(|(tenant, job)| Step::Cancel { tenant, job }),
        3 => (node.clone(), any::<bool>()).prop_map(|(node, resume)| Step::Open { node, resume }),
        1 => node.clone().prop_map(|node| Step::Close { node }),
        8 => (node.clone(), job, prop::bool::weighted(0.3)).prop_map(|(node, job, copy)| Step::Lease { node, job, copy }),
        4 => attempt.clone().prop_map(|(node, job, back)| Step::Beat { node, job, back }),
        4 => (attempt.clone(), class, any::<bool>())
            .prop_map(|((node, job, back), class, died)| Step::Fail { node, job, back, class, died }),
        1 => attempt.clone().prop_map(|(node, job, back)| Step::Release { node, job, back }),
        3 => attempt.clone().prop_map(|(node, job, back)| Step::Commit { node, job, back }),
        2 => attempt.prop_map(|(node, job, back)| Step::Reject { node, job, back }),
        3 => prop::sample::select(&[3_000i64, 10_000, 40_000, 25 * 3_600_000][..]).prop_map(|ms| Step::Wait { ms }),
        3 => Just(Step::Reap),
        1 => Just(Step::Restart),
        1 => (node, any::<bool>()).prop_map(|(node, quarantine)| Step::Operate { node, quarantine }),
    ];
    prop::collection::vec(step, 1..60)
}
