//! What monitoring reads: counters and times of this process, and gauges of the store, in Prometheus' text form. Labels are few and bounded:
//! never a tenant, never a job.

mod layer;
mod listener;

use std::{fmt, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};

use crate::store::{AttemptOutcome, Backend, FailureClass, JobState, NodeState, Priority, Trust};

pub use layer::{MeasureLayer, Measured};
pub use listener::serve;

macro_rules! labels {
    ($($name:ident { $($field:ident),* })*) => {$(
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        struct $name { $($field: &'static str),* }
    )*};
}

labels! {
    JobEnd { state, backend }
    AttemptEnd { outcome, failure_class }
    Reason { reason }
    Kind { kind }
    OfBackend { backend }
    Lane { priority, backend, vram_class }
    OfNodes { state, trust }
    OfSlots { state }
    Tier { tier }
    Direction { direction }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    method: String,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Method {
    method: String,
}

type Times<L> = Family<L, Histogram, fn() -> Histogram>;

/// A key that is ready sooner than this was loaded already.
const WARM: Duration = Duration::from_millis(1);

/// From a millisecond to about a quarter of an hour.
fn times() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 20))
}

fn family<L: Clone + Eq + std::hash::Hash>() -> Times<L> {
    Family::new_with_constructor(times as fn() -> Histogram)
}

/// One lane of the queue, as gauges show it.
#[derive(Clone, Copy, Debug)]
pub struct LaneGauge {
    /// Its class.
    pub priority: Priority,
    /// Its proof system.
    pub backend: Backend,
    /// Jobs that wait.
    pub queued: u64,
    /// How long the oldest has waited.
    pub oldest: Duration,
    /// The estimated time of all that wait.
    pub backlog: Duration,
}

/// What the gauges show of the store at one moment.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// The queue.
    pub lanes: Vec<LaneGauge>,
    /// Nodes by state and trust.
    pub nodes: Vec<(NodeState, Trust)>,
    /// Slots of active nodes.
    pub slots: u32,
    /// Of these, working.
    pub busy: u32,
    /// Waiting jobs that no node may take, by reason.
    pub unschedulable: Vec<(&'static str, u64)>,
    /// The age of the oldest sign of life among active nodes.
    pub heartbeat_age: Duration,
}

/// The metrics of one process.
pub struct Metrics {
    registry: Registry,
    jobs: Family<JobEnd, Counter>,
    attempts: Family<AttemptEnd, Counter>,
    leases_lost: Counter,
    leases_stale: Counter,
    proofs_rejected: Family<Reason, Counter>,
    dedup_hits: Counter,
    jobs_dead: Family<Reason, Counter>,
    job_wait: Histogram,
    job_prove: Times<OfBackend>,
    key_load: Times<Tier>,
    proof_verify: Histogram,
    commit: Histogram,
    lease: Histogram,
    warm_starts: Counter,
    cold_starts: Counter,
    calls: Family<Call, Counter>,
    call_times: Times<Method>,
    rate_limited: Family<Kind, Counter>,
    artifact_bytes: Family<Direction, Counter>,
    store_errors: Counter,
    queued: Family<Lane, Gauge>,
    oldest_wait: Family<Lane, Gauge<f64, std::sync::atomic::AtomicU64>>,
    backlog: Family<Lane, Gauge<f64, std::sync::atomic::AtomicU64>>,
    nodes: Family<OfNodes, Gauge>,
    slots: Family<OfSlots, Gauge>,
    unschedulable: Family<Reason, Gauge>,
    heartbeat_age: Gauge<f64, std::sync::atomic::AtomicU64>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics that count from zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("zkinfer");
        macro_rules! registered {
            ($name:literal, $help:literal, $metric:expr) => {{
                let metric = $metric;
                registry.register($name, $help, metric.clone());
                metric
            }};
            ($name:literal, $help:literal, $unit:expr, $metric:expr) => {{
                let metric = $metric;
                registry.register_with_unit($name, $help, $unit, metric.clone());
                metric
            }};
        }
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program", build);
        let jobs = registered!("jobs", "Jobs that ended", Family::default());
        let attempts = registered!("attempts", "Attempts that ended", Family::default());
        let leases_lost = registered!("leases_lost", "Leases that ran out", Counter::default());
        let leases_stale = registered!(
            "leases_stale",
            "Messages of attempts that were no longer the node's",
            Counter::default()
        );
        let proofs_rejected = registered!(
            "proofs_rejected",
            "Proofs that the gateway refused",
            Family::default()
        );
        let dedup_hits = registered!(
            "dedup_hits",
            "Create calls that an older job answered",
            Counter::default()
        );
        let jobs_dead = registered!("jobs_dead", "Jobs that were given up", Family::default());
        let seconds = || Unit::Seconds;
        let job_wait = registered!(
            "job_wait",
            "From submit to the first lease",
            seconds(),
            times()
        );
        let job_prove = registered!(
            "job_prove",
            "Time of a proof on its node",
            seconds(),
            family()
        );
        let key_load = registered!(
            "key_load",
            "Time to make a circuit's key ready on its node",
            seconds(),
            family()
        );
        let proof_verify = registered!(
            "proof_verify",
            "The gateway's verification",
            seconds(),
            times()
        );
        let commit = registered!(
            "commit",
            "From the end of an upload to its verdict",
            seconds(),
            times()
        );
        let lease = registered!(
            "lease",
            "Time to choose and write leases",
            seconds(),
            times()
        );
        let warm_starts = registered!(
            "warm_starts",
            "Proofs whose key was loaded already",
            Counter::default()
        );
        let cold_starts = registered!(
            "cold_starts",
            "Proofs that waited for their key",
            Counter::default()
        );
        let calls = registered!("grpc_requests", "Calls answered", Family::default());
        let call_times = registered!(
            "grpc_request",
            "Time until a call's answer begins",
            seconds(),
            family()
        );
        let rate_limited = registered!("ratelimited", "Calls over a rate", Family::default());
        let artifact_bytes = registered!(
            "artifact_bytes",
            "Bytes of artifacts moved",
            Family::default()
        );
        let store_errors = registered!("store_errors", "Errors of the store", Counter::default());
        let queued = registered!("jobs_queued", "Jobs that wait", Family::default());
        let oldest_wait = registered!(
            "job_oldest_wait",
            "How long the oldest waiting job has waited",
            seconds(),
            Family::default()
        );
        let backlog = registered!(
            "backlog_gpu",
            "Estimated proving time of all that waits: what an autoscaler follows",
            seconds(),
            Family::default()
        );
        let nodes = registered!("nodes", "Prover nodes", Family::default());
        let slots = registered!(
            "slots",
            "Proofs that nodes can make at a time",
            Family::default()
        );
        let unschedulable = registered!(
            "jobs_unschedulable",
            "Waiting jobs that no node may take",
            Family::default()
        );
        let heartbeat_age = registered!(
            "node_heartbeat_age",
            "The age of the oldest sign of life among active nodes",
            seconds(),
            Gauge::default()
        );
        Self {
            registry,
            jobs,
            attempts,
            leases_lost,
            leases_stale,
            proofs_rejected,
            dedup_hits,
            jobs_dead,
            job_wait,
            job_prove,
            key_load,
            proof_verify,
            commit,
            lease,
            warm_starts,
            cold_starts,
            calls,
            call_times,
            rate_limited,
            artifact_bytes,
            store_errors,
            queued,
            oldest_wait,
            backlog,
            nodes,
            slots,
            unschedulable,
            heartbeat_age,
        }
    }

    /// A job ended; `dead` says why it was given up.
    pub fn job_ended(&self, state: JobState, backend: Backend, dead: Option<&'static str>) {
        let end = JobEnd {
            state: state.name(),
            backend: backend.name(),
        };
        self.jobs.get_or_create(&end).inc();
        if let Some(reason) = dead {
            self.jobs_dead.get_or_create(&Reason { reason }).inc();
        }
    }

    /// An attempt ended.
    pub fn attempt_ended(&self, outcome: AttemptOutcome, class: Option<FailureClass>) {
        let end = AttemptEnd {
            outcome: outcome.name(),
            failure_class: class.map_or("NONE", FailureClass::name),
        };
        self.attempts.get_or_create(&end).inc();
        if outcome == AttemptOutcome::Lost {
            self.leases_lost.inc();
        }
    }

    /// A node spoke of an attempt that was no longer its own.
    pub fn lease_stale(&self) {
        self.leases_stale.inc();
    }

    /// The gateway refused a proof.
    pub fn proof_rejected(&self, reason: &'static str) {
        self.proofs_rejected.get_or_create(&Reason { reason }).inc();
    }

    /// An older job answered a create call.
    pub fn dedup_hit(&self) {
        self.dedup_hits.inc();
    }

    /// Leases were chosen and written.
    pub fn leased(&self, took: Duration) {
        self.lease.observe(took.as_secs_f64());
    }

    /// A job got its first lease.
    pub fn waited(&self, wait: Duration) {
        self.job_wait.observe(wait.as_secs_f64());
    }

    /// A proof was accepted.
    pub fn proved(&self, backend: Backend, prove: Duration, key_load: Duration) {
        self.attempt_ended(AttemptOutcome::Won, None);
        let warm = key_load < WARM;
        let backend = OfBackend {
            backend: backend.name(),
        };
        self.job_prove
            .get_or_create(&backend)
            .observe(prove.as_secs_f64());
        let tier = Tier {
            tier: if warm { "RAM" } else { "DISK" },
        };
        self.key_load
            .get_or_create(&tier)
            .observe(key_load.as_secs_f64());
        if warm {
            self.warm_starts.inc();
        } else {
            self.cold_starts.inc();
        }
    }

    /// The gateway verified a proof.
    pub fn verified(&self, took: Duration) {
        self.proof_verify.observe(took.as_secs_f64());
    }

    /// A finished proof got its verdict.
    pub fn committed(&self, took: Duration) {
        self.commit.observe(took.as_secs_f64());
    }

    /// A call was answered. `method` must be one of few.
    pub fn called(&self, method: &str, code: &'static str, took: Duration) {
        let method = method.to_owned();
        let call = Call {
            method: method.clone(),
            code,
        };
        self.calls.get_or_create(&call).inc();
        self.call_times
            .get_or_create(&Method { method })
            .observe(took.as_secs_f64());
    }

    /// A call was over its rate.
    pub fn rate_limited(&self, kind: &'static str) {
        self.rate_limited.get_or_create(&Kind { kind }).inc();
    }

    /// Bytes of artifacts came in ("in") or went out ("out").
    pub fn artifact_bytes(&self, direction: &'static str, bytes: u64) {
        self.artifact_bytes
            .get_or_create(&Direction { direction })
            .inc_by(bytes);
    }

    /// The store failed.
    pub fn store_error(&self) {
        self.store_errors.inc();
    }

    /// Everything, with `gauges` as the store is now.
    pub fn text(&self, gauges: &Gauges) -> String {
        self.queued.clear();
        self.oldest_wait.clear();
        self.backlog.clear();
        for lane in &gauges.lanes {
            let label = Lane {
                priority: lane.priority.name(),
                backend: lane.backend.name(),
                vram_class: "0",
            };
            self.queued.get_or_create(&label).set(whole(lane.queued));
            self.oldest_wait
                .get_or_create(&label)
                .set(lane.oldest.as_secs_f64());
            self.backlog
                .get_or_create(&label)
                .set(lane.backlog.as_secs_f64());
        }
        self.nodes.clear();
        for (state, trust) in &gauges.nodes {
            let label = OfNodes {
                state: state.name(),
                trust: trust.name(),
            };
            self.nodes.get_or_create(&label).inc();
        }
        let slots = |state, n: u32| {
            self.slots
                .get_or_create(&OfSlots { state })
                .set(i64::from(n));
        };
        slots("busy", gauges.busy);
        slots("free", gauges.slots.saturating_sub(gauges.busy));
        self.unschedulable.clear();
        for (reason, jobs) in &gauges.unschedulable {
            self.unschedulable
                .get_or_create(&Reason { reason })
                .set(whole(*jobs));
        }
        self.heartbeat_age.set(gauges.heartbeat_age.as_secs_f64());
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_the_names_that_dashboards_and_alerts_use() {
        let metrics = Metrics::new();
        metrics.job_ended(JobState::Dead, Backend::Groth16, Some("POISON_SUSPECT"));
        metrics.attempt_ended(AttemptOutcome::Lost, Some(FailureClass::NodeLost));
        metrics.proof_rejected("PROOF_INVALID");
        metrics.proved(
            Backend::UltraGroth,
            Duration::from_millis(80),
            Duration::from_micros(40),
        );
        metrics.called("Jobs/CreateJob", "OK", Duration::from_millis(2));
        metrics.rate_limited("tenant");
        let gauges = Gauges {
            lanes: vec![LaneGauge {
                priority: Priority::Normal,
                backend: Backend::UltraGroth,
                queued: 7,
                oldest: Duration::from_secs(3),
                backlog: Duration::from_secs(70),
            }],
            nodes: vec![(NodeState::Active, Trust::Owned); 2],
            slots: 3,
            busy: 1,
            unschedulable: vec![("NO_NODE_BIG_ENOUGH", 1)],
            heartbeat_age: Duration::from_secs(1),
        };
        let text = metrics.text(&gauges);
        for line in [
            r#"zkinfer_jobs_total{state="DEAD",backend="groth16"} 1"#,
            r#"zkinfer_jobs_dead_total{reason="POISON_SUSPECT"} 1"#,
            r#"zkinfer_attempts_total{outcome="LOST",failure_class="NODE_LOST"} 1"#,
            "zkinfer_leases_lost_total 1",
            r#"zkinfer_proofs_rejected_total{reason="PROOF_INVALID"} 1"#,
            r#"zkinfer_job_prove_seconds_count{backend="ultragroth"} 1"#,
            r#"zkinfer_key_load_seconds_count{tier="RAM"} 1"#,
            "zkinfer_warm_starts_total 1",
            "zkinfer_cold_starts_total 0",
            r#"zkinfer_grpc_requests_total{method="Jobs/CreateJob",code="OK"} 1"#,
            r#"zkinfer_ratelimited_total{kind="tenant"} 1"#,
            r#"zkinfer_jobs_queued{priority="NORMAL",backend="ultragroth",vram_class="0"} 7"#,
            r#"zkinfer_job_oldest_wait_seconds{priority="NORMAL",backend="ultragroth",vram_class="0"} 3.0"#,
            r#"zkinfer_backlog_gpu_seconds{priority="NORMAL",backend="ultragroth",vram_class="0"} 70.0"#,
            r#"zkinfer_nodes{state="ACTIVE",trust="OWNED"} 2"#,
            r#"zkinfer_slots{state="busy"} 1"#,
            r#"zkinfer_slots{state="free"} 2"#,
            r#"zkinfer_jobs_unschedulable{reason="NO_NODE_BIG_ENOUGH"} 1"#,
            "zkinfer_node_heartbeat_age_seconds 1.0",
            "zkinfer_build_info",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
        // A lane that emptied is not shown with its last value.
        assert!(
            !metrics
                .text(&Gauges::default())
                .contains("zkinfer_jobs_queued{")
        );
    }
}
