//! The quote of every model and system beside what then happens: constraints, key and proof bytes exactly, memory and seconds within
//! a fifth. It measures, so it is run by hand, on a machine that does nothing else, and prints a table:
//!
//! ```sh
//! cargo test --release --workspace --test quote -- --ignored --nocapture
//! ZKINFER_QUOTE=lenet5 ZKINFER_RUNS=9 cargo test --release --workspace --test quote -- --ignored --nocapture
//! ```
//!
//! `ZKINFER_QUOTE` takes a part of a row's name, `ZKINFER_RUNS` the least runs of which the median is taken. Every step is a `zkinfer` process of
//! its own. Its memory is the system's high-water mark of that process. Its seconds are the processor time of all its threads, from its start
//! to its end: a busy machine changes the time that passes, but hardly that. What passed is printed too. A rented machine is faster one minute and
//! slower the next: every step stands between two quotes, whose rates are measured anew, and is held to their mean.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod claims;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use claims::{Claim, Judges, count, exactly_as_quoted, passes, zkinfer};
use serde_json::Value;
use zkinfer_verifier::{ProofSystem, VerifyingKey};

const MODELS: [&str; 8] = [
    "digits-mlp",
    "digits-cnn",
    "lenet5-mnist-shape",
    "mlp-100k",
    "cnn-cifar-tiny",
    "cnn-cifar-small",
    "tiny-transformer",
    "tiny-transformer-ln17",
];
/// How far an estimate may be from what happens.
const TOLERANCE: f64 = 0.2;
/// Steps that take longer than this are not repeated, and shorter ones until they took as long together.
const LONG_SECONDS: f64 = 4.0;
const MIB: f64 = 1_048_576.0;
/// Between two looks at a process.
const LOOK_EVERY: Duration = Duration::from_millis(1);

#[test]
#[ignore = "measures; run by hand"]
fn quotes_are_what_then_happens() {
    let wanted = std::env::var("ZKINFER_QUOTE").unwrap_or_default();
    let runs = std::env::var("ZKINFER_RUNS").map_or(5, |runs| runs.parse().unwrap());
    println!(
        "| model, system | constraints or rows | limbs | key B | proof B | memory MiB | quoted × | set-up core-s | quoted × | load and prove core-s | quoted × | gas | quoted × | set-up passed s | prove passed s |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    let mut off = Vec::new();
    let mut rows = 0;
    for model in MODELS {
        for system in ProofSystem::ALL {
            let name = format!("{model}, {}", system.name());
            if name.contains(&wanted) {
                let row = Row::measure(model, system, runs);
                println!("| {name} {}", row.cells());
                off.extend(row.off().map(|what| format!("{name}: {what}")));
                rows += 1;
            }
        }
    }
    assert!(rows > 0, "ZKINFER_QUOTE={wanted} names no row");
    assert!(off.is_empty(), "outside ±20 %:\n{}", off.join("\n"));
}

/// One estimate: what was quoted, and what happened.
struct Figure {
    what: &'static str,
    quoted: f64,
    happened: f64,
}

impl Figure {
    fn ratio(&self) -> f64 {
        self.quoted / self.happened
    }
}

/// A model and system, quoted and measured. What must be exact was compared before.
struct Row {
    constraints: u64,
    limb_bits: Option<u64>,
    key_bytes: u64,
    proof_bytes: u64,
    figures: [Figure; 4],
    /// Seconds that passed in a set-up and in a proof, from start to end of their processes.
    passed: [f64; 2],
}

impl Row {
    fn measure(model: &str, system: ProofSystem, runs: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        compile(model, system, &bundle);
        let quote = || {
            let quoted = json(zkinfer("quote").arg(&bundle));
            assert_eq!(quoted["rates"]["calibrated"], true);
            quoted
        };
        let before_setup = quote();
        let setups = repeated(runs, || {
            Used::by(zkinfer("setup").arg(&bundle).arg("--force")).1
        });
        let between = quote();
        let proof_file = folder.path().join("proof.json");
        let proofs = repeated(runs, || {
            let mut command = zkinfer("prove");
            command.arg(&bundle).arg("-o").arg(&proof_file);
            Used::by(command.arg("--input").arg(model_file(model, "json"))).1
        });
        let after_proof = quote();
        let quoted = &between;

        let claim = Claim::read(&proof_file);
        let key = VerifyingKey::decode(&fs::read(bundle.join("verifying.key")).unwrap()).unwrap();
        exactly_as_quoted(quoted, &bundle, &key, &claim);
        let gas = Judges::new(key).gas(&claim);
        let core_seconds = |of: &[Used]| median(of, |used| used.core_seconds);
        let figure = |what, quoted, happened| Figure {
            what,
            quoted,
            happened,
        };
        let setup = |quoted: &Value| number(quoted, "setup_core_seconds");
        let prove = |quoted: &Value| {
            number(quoted, "load_core_seconds") + number(quoted, "prove_core_seconds")
        };
        let mean = |a: f64, b: f64| f64::midpoint(a, b);
        Self {
            constraints: count(quoted, rows_field(system)),
            limb_bits: quoted["limb_bits"].as_u64(),
            key_bytes: count(quoted, "proving_key_bytes"),
            proof_bytes: count(quoted, "proof_bytes"),
            passed: [
                median(&setups, |used| used.seconds),
                median(&proofs, |used| used.seconds),
            ],
            figures: [
                figure(
                    "memory, MiB",
                    number(quoted, "ram_bytes") / MIB,
                    median(&proofs, |used| used.peak_bytes as f64) / MIB,
                ),
                figure(
                    "set-up, core-seconds",
                    mean(setup(&before_setup), setup(&between)),
                    core_seconds(&setups),
                ),
                figure(
                    "load and prove, core-seconds",
                    mean(prove(&between), prove(&after_proof)),
                    core_seconds(&proofs),
                ),
                figure("gas", number(quoted, "gas"), gas as f64),
            ],
        }
    }

    /// The rest of the table's row; of every figure what happened, and what was quoted over it.
    fn cells(&self) -> String {
        let bits = self.limb_bits.map_or("–".to_owned(), |b| b.to_string());
        let mut cells = format!(
            "| {} | {bits} | {} | {} |",
            self.constraints, self.key_bytes, self.proof_bytes
        );
        for figure in &self.figures {
            let happened = match figure.happened {
                few if few < 10.0 => format!("{few:.3}"),
                many => format!("{many:.0}"),
            };
            cells += &format!(" {happened} | {:.2} |", figure.ratio());
        }
        let [setup, prove] = self.passed;
        cells + &format!(" {setup:.2} | {prove:.2} |")
    }

    /// The figures that were not estimated well.
    fn off(&self) -> impl Iterator<Item = String> + '_ {
        let off = |figure: &&Figure| (figure.ratio() - 1.0).abs() > TOLERANCE;
        let told = |f: &Figure| format!("{} {:.3} for {:.3}", f.what, f.quoted, f.happened);
        self.figures.iter().filter(off).map(told)
    }
}

/// What a process used. Looked at while it runs, so what it used in its last millisecond is missed.
#[derive(Clone, Copy, Default)]
struct Used {
    peak_bytes: u64,
    core_seconds: f64,
    seconds: f64,
}

impl Used {
    /// By a command that prints JSON, with that.
    fn by(command: &mut Command) -> (Value, Self) {
        let begun = Instant::now();
        let mut child = command
            .arg("--json")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let process = PathBuf::from(format!("/proc/{}", child.id()));
        let mut used = Self::default();
        while child.try_wait().unwrap().is_none() {
            used.look(&process);
            thread::sleep(LOOK_EVERY);
        }
        used.seconds = begun.elapsed().as_secs_f64();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{command:?}");
        let seen = used.peak_bytes > 0 && used.core_seconds > 0.0;
        assert!(seen, "{} tells nothing", process.display());
        (serde_json::from_slice(&output.stdout).unwrap(), used)
    }

    /// Both only rise.
    fn look(&mut self, process: &Path) {
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = mark.and_then(|mark| mark.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        self.peak_bytes = self.peak_bytes.max(kib.unwrap_or(0) * 1024);
        let tasks = fs::read_dir(process.join("task")).into_iter().flatten();
        let nanoseconds = tasks.flatten().filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        let seconds = nanoseconds.sum::<u64>() as f64 / 1e9;
        self.core_seconds = self.core_seconds.max(seconds);
    }
}

fn rows_field(system: ProofSystem) -> &'static str {
    match system {
        ProofSystem::Groth16 | ProofSystem::UltraGroth => "constraints",
        ProofSystem::Halo2Kzg => "rows",
    }
}

fn compile(model: &str, system: ProofSystem, bundle: &Path) {
    passes(
        zkinfer("compile")
            .arg(model_file(model, "onnx"))
            .arg("-o")
            .arg(bundle)
            .arg("--calibration")
            .arg(model_file(model, "calibration.npz"))
            .args(["--system", system.name()]),
    );
}

fn model_file(model: &str, extension: &str) -> PathBuf {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../circuits/tests/models");
    models.join(format!("{model}.{extension}"))
}

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&passes(command.arg("--json"))).unwrap()
}

#[track_caller]
fn number(value: &Value, field: &str) -> f64 {
    value[field].as_f64().unwrap()
}

/// So many runs, more of short ones and one of a long one.
fn repeated(runs: usize, run: impl Fn() -> Used) -> Vec<Used> {
    let mut done: Vec<Used> = Vec::new();
    let mut seconds = 0.0;
    while done.len() < runs || seconds < LONG_SECONDS {
        let used = run();
        done.push(used);
        seconds += used.seconds;
        if used.core_seconds > LONG_SECONDS {
            break;
        }
    }
    done
}

fn median(of: &[Used], value: impl Fn(&Used) -> f64) -> f64 {
    let mut values: Vec<f64> = of.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
