//! Work on untrusted files in a child process: a parser may run out of memory or time, the server must not.
//!
//! The parent writes `request.json` into a private folder, starts `zkinfer VERB FOLDER`, reads progress from its standard output,
//! one JSON object a line, kills it at its time limit, and reads the result or the failure it left. The child limits its own
//! address space before it opens any file.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Control, WorkError};
use crate::store::{Failure, Phase, blobs};

const REQUEST: &str = "request.json";
const RESULT: &str = "result.json";
const MAX_REQUEST_BYTES: u64 = 1 << 20;
const MAX_RESULT_BYTES: u64 = 64 << 20;

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

/// A kind of work that a child does.
#[derive(Debug)]
pub(super) struct Task {
    /// The hidden verb of the child.
    pub(super) verb: &'static str,
    /// The work in a word.
    pub(super) doing: &'static str,
    /// What its failure codes begin with.
    pub(super) code: &'static str,
}

impl Task {
    fn code(&self, what: &str) -> String {
        format!("{}_{what}", self.code)
    }

    fn fault(&self, what: &str, e: &dyn std::fmt::Display) -> WorkError {
        let message = format!("the process for {}: {e}", self.doing);
        WorkError::fault(&self.code(what), message)
    }
}

#[derive(Serialize, Deserialize)]
enum Outcome<T> {
    Done(T),
    Failed(Failure),
}

#[derive(Serialize, Deserialize)]
struct Step {
    done: u64,
    total: u64,
}

/// The private folder of one child; gone when the attempt is.
#[derive(Debug)]
pub(super) struct Folder<'a> {
    path: PathBuf,
    task: &'a Task,
}

impl Drop for Folder<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

impl<'a> Folder<'a> {
    /// Creates it.
    pub(super) fn new(path: &Path, task: &'a Task) -> Result<Self, WorkError> {
        blobs::private_folder(path).map_err(|e| task.fault("FOLDER", &e))?;
        Ok(Self {
            path: path.to_owned(),
            task,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A path that means the same to the child.
    pub(super) fn absolute(&self, path: &Path) -> Result<PathBuf, WorkError> {
        std::path::absolute(path).map_err(|e| self.task.fault("FOLDER", &e))
    }

    /// Runs the child on `order` and reads its result.
    ///
    /// # Errors
    /// What the child reports, its death, a limit, or a cancellation.
    pub(super) fn run<T: DeserializeOwned>(
        &self,
        limits: &ChildLimits,
        order: &impl Serialize,
        control: &dyn Control,
    ) -> Result<T, WorkError> {
        let task = self.task;
        let text = serde_json::to_vec(order).map_err(|e| task.fault("FOLDER", &e))?;
        std::fs::write(self.path.join(REQUEST), text).map_err(|e| task.fault("FOLDER", &e))?;
        let child = Command::new(&limits.worker)
            .arg(task.verb)
            .arg(self.absolute(&self.path)?)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| {
                let message = format!("cannot start {}: {e}", limits.worker.display());
                WorkError::fault(&task.code("SPAWN"), message)
            })?;
        let ended = watch(Killed(child), task, limits, control)?;
        let result = blobs::read_bounded(&self.path.join(RESULT), MAX_RESULT_BYTES);
        let outcome: Option<Outcome<T>> = result
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        match outcome {
            Some(Outcome::Done(result)) if ended.status.success() => Ok(result),
            // A library that notices the limit before the allocator does reports it as an error of its own.
            Some(Outcome::Failed(failure)) if failure.message.contains("out of memory") => {
                Err(memory(task, limits))
            }
            Some(Outcome::Failed(failure)) => Err(WorkError::Failed(failure)),
            _ => Err(death(&ended, task, limits)),
        }
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
    task: &Task,
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
        let ended = child.0.try_wait().map_err(|e| task.fault("WAIT", &e))?;
        if let Some(status) = ended {
            break status;
        }
        if begun.elapsed() > limits.timeout {
            let seconds = limits.timeout.as_secs();
            let message = format!(
                "{} took longer than the limit of {seconds} s (--compile-timeout)",
                task.doing
            );
            return Err(WorkError::exceeded(&task.code("TIMEOUT"), message));
        }
    };
    Ok(Ended {
        status,
        words: words.join().unwrap_or_default(),
    })
}

fn memory(task: &Task, limits: &ChildLimits) -> WorkError {
    let mib = limits.memory_bytes >> 20;
    let message = format!(
        "{} needed more than the {mib} MiB it may use (--compile-memory-mib), or the model file claims sizes that it does \
         not have",
        task.doing
    );
    WorkError::exceeded(&task.code("MEMORY"), message)
}

fn death(ended: &Ended, task: &Task, limits: &ChildLimits) -> WorkError {
    let words = [
        "memory allocation",
        "capacity overflow",
        "Cannot allocate memory",
        "failed to spawn thread",
    ];
    if words.iter().any(|w| ended.words.contains(w)) || ended.status.signal() == Some(9) {
        return memory(task, limits);
    }
    let message = format!(
        "the process died while {} this model ({}); the file may be damaged",
        task.doing, ended.status
    );
    WorkError::invalid(&task.code("CRASHED"), message)
}

/// The child's side: reads what to do.
pub(super) fn order<T: DeserializeOwned>(folder: &Path) -> Result<T, String> {
    let text =
        blobs::read_bounded(&folder.join(REQUEST), MAX_REQUEST_BYTES).map_err(|e| e.to_string())?;
    serde_json::from_slice(&text).map_err(|e| e.to_string())
}

/// The child's side: bounds its address space (0 for none), dies with its parent, and leaves no core behind.
pub(super) fn confine(memory_bytes: u64) -> Result<(), String> {
    if memory_bytes != 0 {
        let limit = rustix::process::Rlimit {
            current: Some(memory_bytes),
            maximum: Some(memory_bytes),
        };
        rustix::process::setrlimit(rustix::process::Resource::As, limit)
            .map_err(|e| format!("setrlimit: {e}"))?;
    }
    // A server that is killed takes its child with it.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let no_core = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, no_core);
    Ok(())
}

/// The child's side: tells the parent where it is.
pub(super) fn tell(done: u64, total: u64) {
    if let Ok(line) = serde_json::to_string(&Step { done, total }) {
        use std::io::Write as _;
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

/// The child's side: leaves the result or the failure.
pub(super) fn answer<T: Serialize>(
    folder: &Path,
    result: Result<T, WorkError>,
) -> Result<(), String> {
    let outcome = match result {
        Ok(result) => Outcome::Done(result),
        Err(WorkError::Failed(failure)) => Outcome::Failed(failure),
        Err(WorkError::Cancelled) => return Err("cancelled".to_owned()),
    };
    let text = serde_json::to_vec(&outcome).map_err(|e| e.to_string())?;
    zkinfer_params::store::write_file(&folder.join(RESULT), &text).map_err(|e| e.to_string())
}
