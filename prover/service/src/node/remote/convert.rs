//! Between the messages of the gateway and the node's own words. What comes is checked: a gateway that sends nonsense is a line
//! that broke.

use std::time::Duration;

use super::{broken, digest_message};
use crate::{
    api::proto,
    config,
    farm::lease::{
        Acquire, AttemptId, AttemptStatus, Beat, BeatAnswer, FetchFile, Finished, Granted, Hello,
        Lease, UplinkError, Verdict, Welcome,
    },
    store::{
        ArtifactKind, Backend, Capabilities, CircuitId, CommitOutcome, Digest, Failure, JobId,
        KeyResidency, Resources, cut,
    },
};

/// Leases, and files of one, that an answer may hold.
const MAX_LEASES: usize = 1024;
const MAX_FILES: usize = 64;
/// Longest time that the gateway can set.
const MAX_TIME: Duration = Duration::from_secs(7 * 24 * 3600);

type Read<T> = Result<T, UplinkError>;

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn signed(what: &str, number: u64) -> Read<i64> {
    i64::try_from(number).map_err(|_| broken(format!("{what}: {number} is too large")))
}

fn duration(time: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(time).ok()
}

fn time(what: &str, value: Option<prost_types::Duration>) -> Read<Duration> {
    let time = value.map_or(Ok(Duration::ZERO), Duration::try_from);
    time.map(|t| t.min(MAX_TIME))
        .map_err(|_| broken(format!("{what}: a negative time")))
}

fn bytes32(what: &str, bytes: &[u8]) -> Read<[u8; 32]> {
    let wrong = || broken(format!("{what}: expected 32 bytes, got {}", bytes.len()));
    bytes.try_into().map_err(|_| wrong())
}

fn resources(value: Resources) -> Option<proto::Resources> {
    Some(proto::Resources {
        ram_bytes: value.ram_bytes,
        vram_bytes: value.vram_bytes,
        disk_bytes: value.disk_bytes,
        cpu_threads: value.cpu_threads,
        ..Default::default()
    })
}

fn keys(keys: Vec<KeyResidency>) -> Vec<proto::KeyResidency> {
    let key = |k: KeyResidency| proto::KeyResidency {
        circuit: k.circuit.to_string(),
        tier: k.tier.code(),
        load_time: duration(Duration::from_millis(k.load_ms)),
    };
    keys.into_iter().map(key).collect()
}

fn backend(code: i32) -> Read<Backend> {
    Backend::from_code(code).ok_or_else(|| {
        broken(format!("a lease of proof system {code}, which this version does not know; use the same zkinfer version on both sides"))
    })
}

fn held(attempt: AttemptId) -> proto::HeldAttempt {
    proto::HeldAttempt {
        job: attempt.job.to_string(),
        epoch: unsigned(attempt.epoch),
        finished: false,
    }
}

fn attempt(job: &str, epoch: u64) -> Read<AttemptId> {
    let job: JobId = job
        .parse()
        .map_err(|_| broken("an attempt whose job has no name"))?;
    let epoch = signed("epoch", epoch)?;
    Ok(AttemptId { job, epoch })
}

fn attempts(held: Vec<proto::HeldAttempt>) -> Read<Vec<AttemptId>> {
    held.iter().map(|h| attempt(&h.job, h.epoch)).collect()
}

fn circuits(names: Vec<String>) -> Read<Vec<CircuitId>> {
    let circuit = |name: String| name.parse().map_err(|_| broken("a circuit without a name"));
    names.into_iter().take(MAX_LEASES).map(circuit).collect()
}

fn capabilities(value: Capabilities) -> proto::Capabilities {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let system = |b: Backend| proto::BackendSupport {
        backend: b.code(),
        versions: vec![version.clone()],
    };
    let gpu = |g: crate::store::Gpu| proto::Gpu {
        uuid: g.uuid,
        model: g.model,
        vram_bytes: g.vram_bytes,
        driver: g.driver,
    };
    proto::Capabilities {
        backends: value.backends.into_iter().map(system).collect(),
        total: resources(value.total),
        slots: value.slots,
        gpus: value.gpus.into_iter().map(gpu).collect(),
        cache_bytes_free: value.total.disk_bytes,
        cpu_features: value.cpu_features,
        ..Default::default()
    }
}

pub(super) fn hello(hello: Hello, name: String) -> proto::OpenSessionRequest {
    proto::OpenSessionRequest {
        node_name: name,
        version: hello.version,
        capabilities: Some(capabilities(hello.capabilities)),
        resume: hello.resume.into_iter().map(held).collect(),
    }
}

pub(super) fn welcome(answer: proto::OpenSessionResponse) -> Read<Welcome> {
    Ok(Welcome {
        node: answer
            .node
            .parse()
            .map_err(|_| broken("a session of a node without a name"))?,
        session: signed("session", answer.session_epoch)?,
        heartbeat: time("heartbeat_interval", answer.heartbeat_interval)?,
        lease_ttl: time("lease_ttl", answer.lease_ttl)?,
        keep: attempts(answer.keep)?,
        drop: attempts(answer.drop)?,
        max_proof_bytes: answer.max_proof_bytes,
    })
}

pub(super) fn acquire(acquire: Acquire) -> proto::AcquireLeasesRequest {
    proto::AcquireLeasesRequest {
        session_epoch: unsigned(acquire.session),
        max_leases: acquire.max_leases,
        wait: duration(acquire.wait),
        free: resources(acquire.free),
        keys: keys(acquire.keys),
    }
}

pub(super) fn granted(answer: proto::AcquireLeasesResponse) -> Read<Granted> {
    if answer.leases.len() > MAX_LEASES {
        let n = answer.leases.len();
        return Err(broken(format!("{n} leases, at most {MAX_LEASES}")));
    }
    Ok(Granted {
        leases: answer.leases.into_iter().map(lease).collect::<Read<_>>()?,
        prefetch: circuits(answer.prefetch_circuits)?,
        retry_after: time("retry_after", answer.retry_after)?,
    })
}

fn lease(lease: proto::Lease) -> Read<Lease> {
    if lease.fetch.len() > MAX_FILES {
        let n = lease.fetch.len();
        return Err(broken(format!("a lease of {n} files, at most {MAX_FILES}")));
    }
    let limits = lease.limits.unwrap_or_default();
    Ok(Lease {
        attempt: attempt(&lease.job, lease.epoch)?,
        circuit: lease
            .circuit
            .parse()
            .map_err(|_| broken("a lease of a circuit without a name"))?,
        backend: backend(lease.backend)?,
        files: lease.fetch.into_iter().map(file).collect::<Read<_>>()?,
        input_key: lease.input_key_wrapped,
        context: bytes32("context", &lease.context)?,
        vk_digest: bytes32("vk_digest", &lease.vk_digest)?,
        limits: Resources {
            ram_bytes: limits.ram_bytes,
            vram_bytes: limits.vram_bytes,
            disk_bytes: limits.disk_bytes,
            cpu_threads: limits.cpu_threads,
        },
        time_limit: time("soft_time_limit", lease.soft_time_limit)?,
        trace: lease.trace_context,
        speculative: lease.speculative,
    })
}

fn file(file: proto::FetchFile) -> Read<FetchFile> {
    let digest = file.digest.unwrap_or_default();
    Ok(FetchFile {
        kind: ArtifactKind::from_code(file.kind)
            .ok_or_else(|| broken(format!("a file of kind {}", file.kind)))?,
        name: cut(file.name, 64),
        digest: Digest(bytes32("digest", &digest.sha256)?),
        size: file.size,
        encrypted: file.encrypted,
    })
}

pub(super) fn beat(beat: Beat) -> proto::HeartbeatRequest {
    let status = |s: AttemptStatus| proto::AttemptStatus {
        job: s.attempt.job.to_string(),
        epoch: unsigned(s.attempt.epoch),
        phase: s.phase.code(),
        progress: s.progress,
        peak_ram: s.peak_ram,
        reporting: true,
        ..Default::default()
    };
    proto::HeartbeatRequest {
        session_epoch: unsigned(beat.session),
        attempts: beat.attempts.into_iter().map(status).collect(),
        free: resources(beat.free),
        draining: beat.draining,
        keys: keys(beat.keys),
        disk_free: beat.disk_free,
        ..Default::default()
    }
}

pub(super) fn beat_answer(answer: proto::HeartbeatResponse) -> Read<BeatAnswer> {
    Ok(BeatAnswer {
        cancel: attempts(answer.cancel)?,
        drain: answer.drain,
        prefetch: circuits(answer.prefetch_circuits)?,
        evict: circuits(answer.evict_circuits)?,
        stale: answer.session_stale,
    })
}

/// The header, then the proof in chunks.
pub(super) fn commit(finished: Finished) -> Vec<proto::CommitProofRequest> {
    use proto::commit_proof_request::Message;
    let header = proto::CommitHeader {
        session_epoch: unsigned(finished.session),
        job: finished.attempt.job.to_string(),
        epoch: unsigned(finished.attempt.epoch),
        proof_digest: Some(digest_message(&Digest::of(&finished.proof))),
        proof_size: finished.proof.len() as u64,
        public_values: finished.public_values,
        vk_digest: Some(digest_message(&Digest(finished.vk_digest))),
        key_load: duration(finished.key_load),
        prove: duration(finished.prove),
        peak_ram: finished.peak_ram,
        ..Default::default()
    };
    let chunks = finished.proof.chunks(config::MAX_CHUNK_BYTES);
    let chunks = chunks.map(|c| Message::Chunk(c.to_vec()));
    let messages = std::iter::once(Message::Header(header)).chain(chunks);
    messages
        .map(|message| proto::CommitProofRequest {
            message: Some(message),
        })
        .collect()
}

pub(super) fn verdict(answer: proto::CommitProofResponse) -> Read<Verdict> {
    use proto::commit_proof_response::Outcome;
    let settled = match answer.outcome() {
        Outcome::Accepted => CommitOutcome::Accepted,
        Outcome::AlreadyProven => CommitOutcome::AlreadyProven,
        Outcome::JobCancelled => CommitOutcome::JobEnded,
        Outcome::Invalid => return Ok(Verdict::Invalid(cut(answer.detail, 1024))),
        Outcome::Unspecified => return Err(broken("a commit without an outcome")),
    };
    Ok(Verdict::Settled(settled))
}

pub(super) fn failed(
    session: i64,
    attempt: AttemptId,
    failure: Failure,
) -> proto::FailAttemptRequest {
    proto::FailAttemptRequest {
        session_epoch: unsigned(session),
        job: attempt.job.to_string(),
        epoch: unsigned(attempt.epoch),
        failure: Some(proto::Failure {
            class: failure.class.code(),
            code: cut(failure.code, 64),
            message: cut(failure.message, 1024),
            attempt: failure.attempt,
        }),
    }
}

pub(super) fn fetch(
    session: i64,
    lease: &Lease,
    file: &FetchFile,
    offset: u64,
) -> proto::FetchRequest {
    let of_job = file.kind == ArtifactKind::Input;
    proto::FetchRequest {
        session_epoch: unsigned(session),
        circuit: lease.circuit.to_string(),
        job: if of_job {
            lease.attempt.job.to_string()
        } else {
            String::new()
        },
        digest: Some(digest_message(&file.digest)),
        offset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> proto::Lease {
        proto::Lease {
            job: JobId::fresh().to_string(),
            epoch: 4,
            circuit: CircuitId::fresh().to_string(),
            backend: proto::Backend::UltragrothBn254 as i32,
            fetch: vec![proto::FetchFile {
                kind: 3,
                name: "proving.key".into(),
                digest: Some(digest_message(&Digest::of(b"key"))),
                size: 3,
                ..Default::default()
            }],
            context: vec![1; 32],
            vk_digest: vec![2; 32],
            ..Default::default()
        }
    }

    #[test]
    fn a_lease_is_read_as_it_was_meant() {
        let read = lease(good()).expect("a good lease");
        assert_eq!((read.attempt.epoch, read.backend), (4, Backend::UltraGroth));
        assert_eq!(read.files[0].kind, ArtifactKind::ProvingKey);
        assert_eq!((read.context, read.vk_digest), ([1; 32], [2; 32]));
    }

    #[test]
    fn nonsense_of_the_gateway_is_a_broken_line() {
        let bad: [fn(&mut proto::Lease); 8] = [
            |l| l.job = "jobs/x".into(),
            |l| l.circuit.clear(),
            |l| l.epoch = u64::MAX,
            |l| l.backend = 3,
            |l| l.context = vec![0; 31],
            |l| l.vk_digest = vec![0; 33],
            |l| l.fetch[0].digest = None,
            |l| l.fetch = vec![l.fetch[0].clone(); MAX_FILES + 1],
        ];
        for (n, change) in bad.into_iter().enumerate() {
            let mut sent = good();
            change(&mut sent);
            assert!(
                matches!(lease(sent), Err(UplinkError::Unreachable(_))),
                "{n}"
            );
        }
    }

    #[test]
    fn a_long_proof_goes_in_chunks() {
        let finished = Finished {
            session: 1,
            attempt: AttemptId {
                job: JobId::fresh(),
                epoch: 1,
            },
            proof: vec![7; config::MAX_CHUNK_BYTES * 2 + 1],
            public_values: vec![1],
            vk_digest: [0; 32],
            key_load: Duration::ZERO,
            prove: Duration::from_millis(5),
            peak_ram: 9,
        };
        use proto::commit_proof_request::Message;
        let messages = commit(finished);
        let Some(Message::Header(header)) = &messages[0].message else {
            panic!("expected a header first");
        };
        assert_eq!(header.proof_size, 2 * (1 << 20) + 1);
        let lengths = messages[1..].iter().map(|m| match &m.message {
            Some(Message::Chunk(chunk)) => chunk.len(),
            _ => 0,
        });
        assert_eq!(lengths.collect::<Vec<_>>(), [1 << 20, 1 << 20, 1]);
    }
}
