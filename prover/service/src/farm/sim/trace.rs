//! Traces: one JSON object a line.
//!
//! | field | what it is |
//! |---|---|
//! | `at_ms` | when the job is created, in ms from the start |
//! | `tenant`, `circuit` | names |
//! | `priority` | `BATCH`, `NORMAL` (where it is missing) or `INTERACTIVE` |
//! | `prove_ms` | how long its proof takes |
//! | `key_load_ms`, `key_bytes` | how long loading its key takes, and how long the key is |
//! | `ram` | bytes of memory that its proof needs |

use std::{
    collections::BTreeSet,
    io::{BufRead, Read as _},
};

use serde::{Deserialize, Serialize};

use crate::store::Priority;

/// Jobs in a trace.
const MAX_JOBS: usize = 1_000_000;
/// Tenants and circuits of a trace.
const MAX_NAMES: usize = 1_000;
/// Bytes in a line.
const MAX_LINE: u64 = 4096;
/// Bytes in a name.
const MAX_NAME: usize = 64;
/// Ten years.
const MAX_AT_MS: u64 = 10 * 365 * 86_400_000;
/// A week.
const MAX_TIME_MS: u64 = 7 * 86_400_000;

/// A job of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceJob {
    /// When it is created.
    pub at_ms: u64,
    /// Whose it is.
    pub tenant: String,
    /// What it proves.
    pub circuit: String,
    /// Its class.
    #[serde(default = "normal", with = "priority")]
    pub priority: Priority,
    /// How long its proof takes.
    pub prove_ms: u64,
    /// How long loading its key takes.
    pub key_load_ms: u64,
    /// Length of its key.
    #[serde(default)]
    pub key_bytes: u64,
    /// Memory of its proof.
    #[serde(default)]
    pub ram: u64,
}

fn normal() -> Priority {
    Priority::Normal
}

/// The names of the API.
mod priority {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::store::Priority;

    pub(super) fn serialize<S: Serializer>(p: &Priority, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(p.name())
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(d: D) -> Result<Priority, D::Error> {
        let name = String::deserialize(d)?;
        let known = Priority::ALL.iter().find(|p| p.name() == name);
        known
            .copied()
            .ok_or_else(|| D::Error::custom("priority: expected BATCH, NORMAL or INTERACTIVE"))
    }
}

/// Why a trace is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// It cannot be read.
    #[error("the trace: {0}")]
    Io(#[from] std::io::Error),
    /// A line is too long.
    #[error("line {line}: more than {MAX_LINE} bytes")]
    LongLine {
        /// Counted from 1.
        line: usize,
    },
    /// A line is no job.
    #[error("line {line}: {source}")]
    Json {
        /// Counted from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// A field is out of bounds.
    #[error("line {line}: {field}: at most {max}, got {got}")]
    Bound {
        /// Counted from 1.
        line: usize,
        /// Which.
        field: &'static str,
        /// The bound.
        max: u64,
        /// What it is.
        got: u64,
    },
    /// A name is empty.
    #[error("line {line}: {field} is empty")]
    Empty {
        /// Counted from 1.
        line: usize,
        /// Which.
        field: &'static str,
    },
    /// There are too many of something.
    #[error("line {line}: more than {max} {what}")]
    TooMany {
        /// Counted from 1.
        line: usize,
        /// Jobs, tenants, circuits.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// There is no job.
    #[error("the trace holds no job")]
    NoJob,
}

/// Reads a trace of at most a million jobs; the jobs come in order of their times.
///
/// # Errors
/// A line is no job, or a bound is exceeded; memory stays within the bounds.
pub fn read_trace(mut reader: impl BufRead) -> Result<Vec<TraceJob>, TraceError> {
    let mut jobs: Vec<TraceJob> = Vec::new();
    let (mut tenants, mut circuits) = (BTreeSet::new(), BTreeSet::new());
    let mut text = Vec::new();
    for line in 1usize.. {
        text.clear();
        if reader
            .by_ref()
            .take(MAX_LINE + 1)
            .read_until(b'\n', &mut text)?
            == 0
        {
            break;
        }
        if text.len() as u64 > MAX_LINE {
            return Err(TraceError::LongLine { line });
        }
        if text.trim_ascii().is_empty() {
            if line > 2 * MAX_JOBS {
                return Err(too_many(line, "lines", 2 * MAX_JOBS));
            }
            continue;
        }
        let job: TraceJob =
            serde_json::from_slice(&text).map_err(|source| TraceError::Json { line, source })?;
        check(&job, line)?;
        for (names, name, what) in [
            (&mut tenants, &job.tenant, "tenants"),
            (&mut circuits, &job.circuit, "circuits"),
        ] {
            if !names.contains(name) {
                names.insert(name.clone());
            }
            if names.len() > MAX_NAMES {
                return Err(too_many(line, what, MAX_NAMES));
            }
        }
        if jobs.len() == MAX_JOBS {
            return Err(too_many(line, "jobs", MAX_JOBS));
        }
        jobs.push(job);
    }
    if jobs.is_empty() {
        return Err(TraceError::NoJob);
    }
    jobs.sort_by_key(|j| j.at_ms);
    Ok(jobs)
}

fn too_many(line: usize, what: &'static str, max: usize) -> TraceError {
    TraceError::TooMany { line, what, max }
}

fn check(job: &TraceJob, line: usize) -> Result<(), TraceError> {
    for (field, got, max) in [
        ("at_ms", job.at_ms, MAX_AT_MS),
        ("prove_ms", job.prove_ms, MAX_TIME_MS),
        ("key_load_ms", job.key_load_ms, MAX_TIME_MS),
        ("key_bytes", job.key_bytes, 1 << 48),
        ("ram", job.ram, 1 << 48),
        ("tenant, in bytes", job.tenant.len() as u64, MAX_NAME as u64),
        (
            "circuit, in bytes",
            job.circuit.len() as u64,
            MAX_NAME as u64,
        ),
    ] {
        if got > max {
            return Err(TraceError::Bound {
                line,
                field,
                max,
                got,
            });
        }
    }
    for (field, name) in [("tenant", &job.tenant), ("circuit", &job.circuit)] {
        if name.is_empty() {
            return Err(TraceError::Empty { line, field });
        }
    }
    Ok(())
}

/// A mixed load of `n` jobs for about eight slots: ten circuits, of which few are asked for often, three tenants, of which one sends
/// everything at once in the middle, all three classes. The same seed gives the same trace.
pub fn generate(seed: u64, n: usize) -> Vec<TraceJob> {
    /// Slots that the load is made for, and the part of their time that it takes.
    const SLOTS: f64 = 8.0;
    const LOAD: f64 = 0.75;
    let n = n.min(MAX_JOBS);
    let mut draw = Draw(seed);
    let circuits: Vec<(f64, f64)> = (0..10)
        // Proofs of 0.5 to 20 s, keys of 0.25 to 4 GiB.
        .map(|_| {
            (
                500.0 * 40f64.powf(draw.unit()),
                0.25 * 16f64.powf(draw.unit()),
            )
        })
        .collect();
    let popularity: Vec<f64> = (1..=10).map(|rank| 1.0 / f64::from(rank)).collect();
    let total: f64 = popularity.iter().sum();
    let mean: f64 = circuits
        .iter()
        .zip(&popularity)
        .map(|((ms, _), p)| ms * p / total)
        .sum();
    let gap = mean / (SLOTS * LOAD);
    let mut at = 0.0;
    let mut jobs = Vec::with_capacity(n);
    for i in 0..n {
        let mut left = draw.unit() * total;
        let chosen = popularity.iter().position(|p| {
            left -= p;
            left < 0.0
        });
        let circuit = chosen.unwrap_or(0);
        let (prove_ms, key_gib) = circuits[circuit];
        let burst = (n / 2..n / 2 + n / 20).contains(&i);
        let tenant = match draw.unit() {
            _ if burst => "c",
            u if u < 0.5 => "a",
            u if u < 0.8 => "b",
            _ => "c",
        };
        let priority = match draw.unit() {
            u if u < 0.2 => Priority::Interactive,
            u if u < 0.8 => Priority::Normal,
            _ => Priority::Batch,
        };
        if !burst {
            at -= gap * (1.0 - draw.unit()).ln();
        }
        jobs.push(TraceJob {
            at_ms: at as u64,
            tenant: tenant.to_owned(),
            circuit: format!("circuit-{circuit}"),
            priority: if burst { Priority::Normal } else { priority },
            prove_ms: (prove_ms * (0.8 + 0.4 * draw.unit())) as u64,
            // Half a GiB a second.
            key_load_ms: (key_gib * 2_000.0) as u64,
            key_bytes: (key_gib * f64::from(1u32 << 30)) as u64,
            ram: 2 * (key_gib * f64::from(1u32 << 30)) as u64,
        });
    }
    jobs
}

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: &str = r#"{"at_ms":5,"tenant":"a","circuit":"m","prove_ms":10,"key_load_ms":3}"#;

    fn read(text: &str) -> Result<Vec<TraceJob>, TraceError> {
        read_trace(text.as_bytes())
    }

    #[test]
    fn a_generated_trace_reads_back() {
        let jobs = generate(1, 500);
        let lines: Vec<String> = jobs
            .iter()
            .map(|j| serde_json::to_string(j).expect("json"))
            .collect();
        assert_eq!(read(&lines.join("\n")).expect("read"), jobs);
        assert_eq!(generate(1, 500), jobs);
        assert_ne!(generate(2, 500), jobs);
    }

    #[test]
    fn jobs_come_in_order_and_missing_fields_have_their_defaults() {
        let early = LINE.replace(":5,", ":4,\"priority\":\"BATCH\",");
        let jobs = read(&format!("{LINE}\n\n{early}")).expect("read");
        assert_eq!((jobs[0].at_ms, jobs[0].priority), (4, Priority::Batch));
        assert_eq!((jobs[1].at_ms, jobs[1].priority), (5, Priority::Normal));
        assert_eq!(jobs[1].ram, 0);
    }

    #[test]
    fn what_is_no_trace_is_refused_with_its_line() {
        let long = format!("{LINE}\n{}", "x".repeat(5000));
        assert!(matches!(read(&long), Err(TraceError::LongLine { line: 2 })));
        assert!(matches!(read("\n\n"), Err(TraceError::NoJob)));
        let json = |text: &str| matches!(read(text), Err(TraceError::Json { line: 1, .. }));
        assert!(json("{}") && json("[1]") && json("\u{0}"));
        assert!(json(&LINE.replace("at_ms", "at")));
        assert!(json(&LINE.replace(":5,", ":-5,")));
        assert!(json(&LINE.replace(":5,", ":5,\"priority\":\"URGENT\",")));
        assert!(json(&LINE.replace(":5,", ":5,\"x\":1,")));
        let bound = |text: &str| matches!(read(text), Err(TraceError::Bound { line: 1, .. }));
        assert!(bound(&LINE.replace(":10,", ":604800001,")));
        assert!(bound(
            &LINE.replace("\"m\"", &format!("{:?}", "m".repeat(65)))
        ));
        let empty = read(&LINE.replace("\"a\"", "\"\""));
        assert!(matches!(
            empty,
            Err(TraceError::Empty {
                field: "tenant",
                ..
            })
        ));
        let many: Vec<String> = (0..=MAX_NAMES)
            .map(|n| LINE.replace("\"m\"", &format!("\"{n}\"")))
            .collect();
        assert!(matches!(
            read(&many.join("\n")),
            Err(TraceError::TooMany {
                line: 1001,
                what: "circuits",
                ..
            })
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read_trace(&bytes[..]).is_err());
        }
    }
}
