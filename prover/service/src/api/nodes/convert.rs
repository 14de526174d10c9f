//! Between the messages of nodes and the desk's words. Lists are counted before they are read.

use std::time::Duration;

use super::super::{convert as api, proto};
use crate::{
    farm::{
        desk::{MAX_ATTEMPTS, MAX_KEYS, MAX_WAIT},
        lease::{
            Acquire, AttemptId, AttemptStatus, Beat, BeatAnswer, Finished, Granted, Hello, Lease,
            Verdict, Welcome,
        },
    },
    gateway::GatewayError,
    store::{
        Backend, Capabilities, CircuitId, CommitOutcome, Failure, FailureClass, Gpu, KeyResidency,
        Phase, Resources, Tier,
    },
};

type Read<T> = Result<T, GatewayError>;

/// Proof systems, GPUs and features in a message; the desk has narrower bounds.
const MAX_PARTS: usize = 1024;

fn bounded<T>(field: &'static str, list: &[T], most: usize) -> Read<()> {
    if list.len() > most {
        let message = format!("{} entries, at most {most}", list.len());
        return Err(GatewayError::invalid(field, "TOO_MANY", message));
    }
    Ok(())
}

/// A number that the store keeps with a sign.
pub(super) fn number(field: &'static str, value: u64) -> Read<i64> {
    i64::try_from(value)
        .map_err(|_| GatewayError::invalid(field, "TOO_LARGE", format!("{value} is too large")))
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(super) fn attempt(job: &str, epoch: u64) -> Read<AttemptId> {
    Ok(AttemptId {
        job: api::job_id("job", job)?,
        epoch: number("epoch", epoch)?,
    })
}

fn held(attempt: AttemptId) -> proto::HeldAttempt {
    proto::HeldAttempt {
        job: attempt.job.to_string(),
        epoch: unsigned(attempt.epoch),
        finished: false,
    }
}

fn duration(time: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(time).ok()
}

fn time(field: &'static str, value: Option<prost_types::Duration>) -> Read<Duration> {
    value.map_or(Ok(Duration::ZERO), |d| api::duration(field, &d))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn resources(r: Option<proto::Resources>) -> Resources {
    let r = r.unwrap_or_default();
    Resources {
        ram_bytes: r.ram_bytes,
        vram_bytes: r.vram_bytes,
        disk_bytes: r.disk_bytes,
        cpu_threads: r.cpu_threads,
    }
}

fn keys(list: Vec<proto::KeyResidency>) -> Read<Vec<KeyResidency>> {
    bounded("keys", &list, MAX_KEYS)?;
    list.into_iter()
        .map(|k| {
            let bad = || GatewayError::invalid("keys", "BAD_TIER", "DISK, RAM or VRAM");
            Ok(KeyResidency {
                circuit: api::circuit_id("keys", &k.circuit)?,
                tier: Tier::from_code(k.tier).ok_or_else(bad)?,
                // A time that no key takes would spoil the sums of others.
                load_ms: millis(time("keys", k.load_time)?).min(86_400_000),
            })
        })
        .collect()
}

pub(super) fn hello(m: proto::OpenSessionRequest) -> Read<Hello> {
    bounded("resume", &m.resume, MAX_ATTEMPTS)?;
    let c = m.capabilities.unwrap_or_default();
    bounded("capabilities.backends", &c.backends, MAX_PARTS)?;
    bounded("capabilities.gpus", &c.gpus, MAX_PARTS)?;
    bounded("capabilities.cpu_features", &c.cpu_features, MAX_PARTS)?;
    Ok(Hello {
        version: m.version,
        capabilities: Capabilities {
            // Systems that this gateway does not know it cannot lease either.
            backends: c
                .backends
                .iter()
                .filter_map(|b| Backend::from_code(b.backend))
                .collect(),
            total: resources(c.total),
            slots: c.slots,
            gpus: c
                .gpus
                .into_iter()
                .map(|g| Gpu {
                    uuid: g.uuid,
                    model: g.model,
                    vram_bytes: g.vram_bytes,
                    driver: g.driver,
                })
                .collect(),
            cpu_features: c.cpu_features,
        },
        resume: m
            .resume
            .iter()
            .map(|a| attempt(&a.job, a.epoch))
            .collect::<Read<_>>()?,
    })
}

pub(super) fn welcome(w: Welcome) -> proto::OpenSessionResponse {
    proto::OpenSessionResponse {
        node: w.node.to_string(),
        session_epoch: unsigned(w.session),
        heartbeat_interval: duration(w.heartbeat),
        lease_ttl: duration(w.lease_ttl),
        keep: w.keep.into_iter().map(held).collect(),
        drop: w.drop.into_iter().map(held).collect(),
        max_proof_bytes: w.max_proof_bytes,
    }
}

pub(super) fn acquire(m: proto::AcquireLeasesRequest) -> Read<Acquire> {
    Ok(Acquire {
        session: number("session_epoch", m.session_epoch)?,
        max_leases: m.max_leases,
        wait: time("wait", m.wait)?.min(MAX_WAIT),
        free: resources(m.free),
        keys: keys(m.keys)?,
    })
}

fn expiry(ttl: Duration) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp::from(
        std::time::SystemTime::now() + ttl,
    ))
}

fn names(circuits: Vec<CircuitId>) -> Vec<String> {
    circuits.iter().map(ToString::to_string).collect()
}

fn lease(l: Lease, ttl: Duration) -> proto::Lease {
    proto::Lease {
        job: l.attempt.job.to_string(),
        epoch: unsigned(l.attempt.epoch),
        circuit: l.circuit.to_string(),
        backend: l.backend.code(),
        backend_version: "1".to_owned(),
        fetch: l
            .files
            .into_iter()
            .map(|f| proto::FetchFile {
                kind: f.kind.code(),
                digest: Some(proto::Digest {
                    sha256: f.digest.0.to_vec(),
                }),
                size: f.size,
                urls: Vec::new(),
                encrypted: f.encrypted,
                name: f.name,
            })
            .collect(),
        input_key_wrapped: l.input_key,
        limits: Some(api::resources(&l.limits)),
        soft_time_limit: duration(l.time_limit),
        lease_expire_time: expiry(ttl),
        vk_digest: l.vk_digest.to_vec(),
        trace_context: l.trace,
        speculative: l.speculative,
        context: l.context.to_vec(),
    }
}

pub(super) fn granted(g: Granted, ttl: Duration) -> proto::AcquireLeasesResponse {
    proto::AcquireLeasesResponse {
        leases: g.leases.into_iter().map(|l| lease(l, ttl)).collect(),
        prefetch_circuits: names(g.prefetch),
        retry_after: duration(g.retry_after),
    }
}

pub(super) fn beat(m: proto::HeartbeatRequest) -> Read<Beat> {
    bounded("attempts", &m.attempts, MAX_ATTEMPTS)?;
    let status = |a: &proto::AttemptStatus| {
        Ok(AttemptStatus {
            attempt: attempt(&a.job, a.epoch)?,
            // A phase that this gateway does not know is some work.
            phase: Phase::from_code(a.phase).unwrap_or(Phase::Prove),
            progress: if a.progress.is_finite() {
                a.progress.clamp(0.0, 1.0)
            } else {
                0.0
            },
            peak_ram: a.peak_ram,
        })
    };
    Ok(Beat {
        session: number("session_epoch", m.session_epoch)?,
        attempts: m.attempts.iter().map(status).collect::<Read<_>>()?,
        free: resources(m.free),
        draining: m.draining,
        keys: keys(m.keys)?,
        disk_free: m.disk_free,
    })
}

pub(super) fn beat_answer(a: BeatAnswer, ttl: Duration) -> proto::HeartbeatResponse {
    proto::HeartbeatResponse {
        lease_expire_time: expiry(ttl),
        cancel: a.cancel.into_iter().map(held).collect(),
        drain: a.drain,
        prefetch_circuits: names(a.prefetch),
        evict_circuits: names(a.evict),
        session_stale: a.stale,
    }
}

/// A proof without its bytes.
pub(super) fn finished(h: &proto::CommitHeader) -> Read<Finished> {
    Ok(Finished {
        session: number("session_epoch", h.session_epoch)?,
        attempt: attempt(&h.job, h.epoch)?,
        proof: Vec::new(),
        public_values: h.public_values.clone(),
        vk_digest: api::digest("vk_digest", h.vk_digest.as_ref())?.0,
        key_load: time("key_load", h.key_load)?,
        prove: time("prove", h.prove)?,
        peak_ram: h.peak_ram,
    })
}

pub(super) fn verdict(v: Verdict) -> proto::CommitProofResponse {
    use proto::commit_proof_response::Outcome;
    let (outcome, detail) = match v {
        Verdict::Settled(CommitOutcome::Accepted) => (Outcome::Accepted, String::new()),
        Verdict::Settled(CommitOutcome::AlreadyProven) => (Outcome::AlreadyProven, String::new()),
        Verdict::Settled(CommitOutcome::JobEnded) => (Outcome::JobCancelled, String::new()),
        Verdict::Invalid(why) => (Outcome::Invalid, crate::store::cut(why, 1024)),
    };
    proto::CommitProofResponse {
        outcome: outcome as i32,
        detail,
    }
}

pub(super) fn failure(m: Option<proto::Failure>) -> Read<Failure> {
    let m = m.ok_or_else(|| {
        GatewayError::invalid("failure", "FAILURE_MISSING", "why the attempt failed")
    })?;
    // A class that this gateway does not know is the node's fault.
    let class = FailureClass::from_code(m.class).unwrap_or(FailureClass::NodeFault);
    Ok(Failure::new(
        class,
        crate::store::cut(m.code, 64),
        m.message,
    ))
}
