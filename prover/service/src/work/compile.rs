//! Compiling in a child process: a parser of untrusted files may run out of memory or time, the server must not.
//!
//! The parent writes `request.json` into a private folder, starts `zkinfer compile-worker FOLDER`, reads progress from its
//! standard output, one JSON object a line, kills it at its time limit, and reads the bundle or the failure it left. The child
//! limits its own address space before it opens the model.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use zkinfer_circuits::constraint::MAX_BATCH;

use super::{Control, WorkError};
use crate::{
    bundle::CompileSettings,
    config,
    store::{Backend, CompileFacts, Failure, Phase, blobs},
};

const REQUEST: &str = "request.json";
const RESULT: &str = "result.json";
const BUNDLE: &str = "bundle";
const MAX_RESULT_BYTES: u64 = 1 << 20;

/// A model to compile.
#[derive(Clone, Debug)]
pub struct CompileRequest {
    /// The ONNX file.
    pub model: PathBuf,
    /// The calibration file.
    pub calibration: PathBuf,
    /// How.
    pub settings: CompileSettings,
    /// For which proof system.
    pub backend: Backend,
    /// A folder for the child, created and removed here.
    pub work_folder: PathBuf,
}

impl CompileRequest {
    /// Reads a settings file: a JSON object, or nothing for the defaults.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read_settings(bytes: Option<&[u8]>) -> Result<CompileSettings, String> {
        let form = "expected {\"input\": \"public\" | \"private\", \"output\": \"public\" | \"private\", \"batch\": number}";
        let Some(bytes) = bytes else {
            return Ok(CompileSettings::default());
        };
        let settings: CompileSettings =
            serde_json::from_slice(bytes).map_err(|e| format!("{form}: {e}"))?;
        match settings.batch {
            1..=MAX_BATCH => Ok(settings),
            got => Err(format!("batch: expected 1 to {MAX_BATCH}, got {got}")),
        }
    }
}

/// What the child may use.
#[derive(Clone, Debug)]
pub struct ChildLimits {
    /// The program.
    pub worker: PathBuf,
    /// Address space.
    pub memory_bytes: u64,
    /// Time.
    pub timeout: Duration,
}

#[derive(Serialize, Deserialize)]
struct Order {
    model: PathBuf,
    calibration: PathBuf,
    settings: CompileSettings,
    backend: Backend,
    memory_bytes: u64,
}

#[derive(Serialize, Deserialize)]
enum Outcome {
    Compiled(CompileFacts),
    Failed(Failure),
}

#[derive(Serialize, Deserialize)]
struct Step {
    done: u64,
    total: u64,
}

/// Compiles `request` in a child process and moves the bundle to `bundle`.
///
/// # Errors
/// What the child reports, its death, a limit, or a cancellation.
pub fn run_child(
    limits: &ChildLimits,
    request: &CompileRequest,
    bundle: &Path,
    control: &dyn Control,
) -> Result<CompileFacts, WorkError> {
    let folder = Folder(request.work_folder.clone());
    let fault = |what: &str, e: &dyn std::fmt::Display| {
        WorkError::fault("COMPILE_FOLDER", format!("cannot {what}: {e}"))
    };
    let folder_fault =
        |e: &dyn std::fmt::Display| fault("prepare the folder of the compile process", e);
    blobs::private_folder(&folder.0).map_err(|e| folder_fault(&e))?;
    let absolute = |p: &Path| std::path::absolute(p).map_err(|e| folder_fault(&e));
    let order = Order {
        model: absolute(&request.model)?,
        calibration: absolute(&request.calibration)?,
        settings: request.settings,
        backend: request.backend,
        memory_bytes: limits.memory_bytes,
    };
    let text = serde_json::to_vec(&order).map_err(|e| folder_fault(&e))?;
    std::fs::write(folder.0.join(REQUEST), text).map_err(|e| folder_fault(&e))?;
    let child = Command::new(&limits.worker)
        .arg("compile-worker")
        .arg(absolute(&folder.0)?)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| {
            WorkError::fault(
                "COMPILE_SPAWN",
                format!("cannot start {}: {e}", limits.worker.display()),
            )
        })?;
    let ended = watch(Killed(child), limits, control)?;
    let result = blobs::read_bounded(&folder.0.join(RESULT), MAX_RESULT_BYTES);
    let outcome: Option<Outcome> = result
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    match outcome {
        Some(Outcome::Compiled(facts)) if ended.status.success() => {
            place(&folder.0.join(BUNDLE), bundle)?;
            Ok(facts)
        }
        // A library that notices the limit before the allocator does reports it as an error of its own.
        Some(Outcome::Failed(failure)) if failure.message.contains("out of memory") => {
            Err(memory(limits))
        }
        Some(Outcome::Failed(failure)) => Err(WorkError::Failed(failure)),
        _ => Err(death(&ended, limits)),
    }
}

/// The private folder of one child; gone when the attempt is.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A child that does not outlive its attempt.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How a child ended, with the last words of its standard error.
struct Ended {
    status: ExitStatus,
    words: String,
}

/// Forwards progress until the child ends; kills it at its limit or when asked to stop.
fn watch(
    mut child: Killed,
    limits: &ChildLimits,
    control: &dyn Control,
) -> Result<Ended, WorkError> {
    let (lines, steps) = mpsc::channel();
    let stdout = child.0.stdout.take();
    let stderr = child.0.stderr.take();
    std::thread::spawn(move || {
        for line in stdout
            .map(BufReader::new)
            .into_iter()
            .flat_map(|r| r.lines())
            .map_while(Result::ok)
        {
            if let Ok(step) = serde_json::from_str::<Step>(&line)
                && lines.send(step).is_err()
            {
                return;
            }
        }
    });
    let words = std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = stderr {
            let _ = pipe.by_ref().take(4096).read_to_end(&mut text);
            // Whoever writes more must not find the pipe closed.
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    let begun = Instant::now();
    let mut last = Step { done: 0, total: 1 };
    let status = loop {
        match steps.recv_timeout(Duration::from_millis(50)) {
            Ok(step) => last = step,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                std::thread::sleep(Duration::from_millis(5))
            }
        }
        if control
            .report(Phase::Prove, last.done, last.total)
            .is_break()
        {
            return Err(WorkError::Cancelled);
        }
        let ended = child
            .0
            .try_wait()
            .map_err(|e| WorkError::fault("COMPILE_WAIT", e.to_string()))?;
        if let Some(status) = ended {
            break status;
        }
        if begun.elapsed() > limits.timeout {
            let seconds = limits.timeout.as_secs();
            let message =
                format!("compiling took longer than the limit of {seconds} s (--compile-timeout)");
            return Err(WorkError::exceeded("COMPILE_TIMEOUT", message));
        }
    };
    Ok(Ended {
        status,
        words: words.join().unwrap_or_default(),
    })
}

fn memory(limits: &ChildLimits) -> WorkError {
    let mib = limits.memory_bytes >> 20;
    let message = format!(
        "compiling needed more than the {mib} MiB it may use (--compile-memory-mib), or the model file claims sizes that it does \
         not have"
    );
    WorkError::exceeded("COMPILE_MEMORY", message)
}

fn death(ended: &Ended, limits: &ChildLimits) -> WorkError {
    let words = [
        "memory allocation",
        "capacity overflow",
        "Cannot allocate memory",
        "failed to spawn thread",
    ];
    if words.iter().any(|w| ended.words.contains(w)) || ended.status.signal() == Some(9) {
        return memory(limits);
    }
    let message = format!(
        "the compile process died on this model ({}); the file may be damaged",
        ended.status
    );
    WorkError::invalid("COMPILE_CRASHED", message)
}

/// Moves the child's bundle to its place, replacing what an interrupted attempt left.
fn place(from: &Path, to: &Path) -> Result<(), WorkError> {
    let fault =
        |e: std::io::Error| WorkError::fault("BUNDLE", format!("cannot place the bundle: {e}"));
    if to.exists() {
        std::fs::remove_dir_all(to).map_err(fault)?;
    }
    std::fs::rename(from, to).map_err(fault)?;
    let parent = to
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    blobs::sync_folder(parent).map_err(|e| WorkError::fault("BUNDLE", e.to_string()))
}

/// The child's side: `zkinfer compile-worker FOLDER`.
///
/// # Errors
/// Only what keeps it from reporting: everything else is in the result file.
pub fn run_worker(folder: &Path) -> Result<(), String> {
    let text =
        blobs::read_bounded(&folder.join(REQUEST), MAX_RESULT_BYTES).map_err(|e| e.to_string())?;
    let order: Order = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    if order.memory_bytes != 0 {
        let limit = rustix::process::Rlimit {
            current: Some(order.memory_bytes),
            maximum: Some(order.memory_bytes),
        };
        rustix::process::setrlimit(rustix::process::Resource::As, limit)
            .map_err(|e| format!("setrlimit: {e}"))?;
    }
    // A server that is killed takes its compile process with it.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let no_core = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, no_core);
    let outcome = match compile(&order, &folder.join(BUNDLE)) {
        Ok(facts) => Outcome::Compiled(facts),
        Err(WorkError::Failed(failure)) => Outcome::Failed(failure),
        Err(WorkError::Cancelled) => return Err("cancelled".to_owned()),
    };
    let text = serde_json::to_vec(&outcome).map_err(|e| e.to_string())?;
    zkinfer_params::store::write_file(&folder.join(RESULT), &text).map_err(|e| e.to_string())
}

fn compile(order: &Order, bundle: &Path) -> Result<CompileFacts, WorkError> {
    let read = |path: &Path, max: u64, what: &str| {
        blobs::read_bounded(path, max)
            .map_err(|e| WorkError::invalid("UNREADABLE_FILE", format!("the {what} file: {e}")))
    };
    let model = read(&order.model, config::MAX_MODEL_BYTES, "model")?;
    let calibration = read(
        &order.calibration,
        config::MAX_TENSOR_FILE_BYTES,
        "calibration",
    )?;
    super::local::compile(
        &model,
        &calibration,
        order.settings,
        super::served(order.backend),
        bundle,
        &mut |done, total| {
            if let Ok(line) = serde_json::to_string(&Step { done, total }) {
                use std::io::Write as _;
                let mut out = std::io::stdout().lock();
                let _ = writeln!(out, "{line}").and_then(|()| out.flush());
            }
        },
    )
}
