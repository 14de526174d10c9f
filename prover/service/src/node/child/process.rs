//! A child process and the three threads that serve its pipes. The thread that starts the child reads its answers until it
//! ends, because a child is told of its parent's death when the *thread* that started it ends.

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use zeroize::Zeroizing;

use super::protocol::{self, Reply, Request};

/// Variables that a child inherits.
const VARIABLES: [&str; 2] = ["ZKINFER_LOG", "LD_LIBRARY_PATH"];
/// Those that a child with a GPU inherits too: which GPU has which number, where the compiler of kernels is, and where compiled ones are kept.
const GPU_VARIABLES: [&str; 5] = [
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "ZKINFER_NVRTC",
    "XDG_CACHE_HOME",
    "HOME",
];
/// Longest line of a child about its GPU.
const MAX_LINE_BYTES: usize = 1024;
/// How much of the end of its standard error is kept.
const LAST_WORDS_BYTES: usize = 2048;

/// What a child did.
#[derive(Debug)]
pub(super) enum Event {
    /// It said something.
    Reply(Reply),
    /// It ended; nothing follows.
    Ended(Death),
}

/// How a child ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Death {
    status: Option<ExitStatus>,
    /// What it broke the protocol with.
    broke: Option<String>,
    /// The end of its standard error.
    pub(super) words: String,
}

impl Death {
    /// Whether its last words hold one of `phrases`.
    pub(super) fn words_include(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.words.contains(phrase))
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(broke) = &self.broke {
            return write!(f, "broke the protocol: {broke}");
        }
        match self.status {
            Some(status) => match (status.signal(), status.code()) {
                (Some(signal), _) => write!(f, "was ended by {}", signal_name(signal)),
                (None, Some(code)) => write!(f, "ended with exit code {code}"),
                (None, None) => write!(f, "ended"),
            },
            None => write!(f, "ended"),
        }
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}

/// The GPU of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChildGpu {
    /// Its number.
    pub(super) ordinal: usize,
    /// Its memory for the tables of one key; `None` for half of what is free.
    pub(super) table_bytes: Option<u64>,
}

/// A frame, and the input that follows it.
type Outgoing = (Vec<u8>, Option<Zeroizing<Vec<u8>>>);

/// A running child; dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    child: Arc<Mutex<Option<Child>>>,
    outgoing: mpsc::Sender<Outgoing>,
    events: tokio::sync::mpsc::Receiver<Event>,
    ended: Arc<AtomicBool>,
}

impl Process {
    /// Starts `program prover-child`.
    pub(super) fn spawn(program: &Path, slot: u32, gpu: Option<ChildGpu>) -> io::Result<Self> {
        let program = program.to_owned();
        let (started, start) = mpsc::channel();
        let (events, received) = tokio::sync::mpsc::channel(64);
        let ended = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ended);
        std::thread::Builder::new()
            .name(format!("slot {slot} child"))
            .spawn(move || {
                let mut child = match start_child(&program, gpu) {
                    Ok(child) => child,
                    Err(e) => {
                        let _ = started.send(Err(e));
                        return;
                    }
                };
                let (pid, stdin) = (child.id(), child.stdin.take());
                let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
                let child = Arc::new(Mutex::new(Some(child)));
                let _ = started.send(Ok((pid, stdin, Arc::clone(&child))));
                let words = Arc::new(Mutex::new(Vec::new()));
                let heard = Arc::clone(&words);
                let listener = std::thread::spawn(move || listen(stderr, &heard));
                let broke = stdout.and_then(|out| forward(out, slot, &events).err());
                // The next order goes to another child.
                over.store(true, Ordering::Release);
                let mut death = bury(&child, broke.as_ref().map(ToString::to_string));
                // Its last words may be on their way; someone who inherited the pipe may never close it.
                let deadline = Instant::now() + Duration::from_millis(500);
                while !listener.is_finished() && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(5));
                }
                let words = words.lock().unwrap_or_else(PoisonError::into_inner);
                death.words = String::from_utf8_lossy(&words).into_owned();
                let _ = events.blocking_send(Event::Ended(death));
            })?;
        let gone = || io::Error::other("the thread of a prover process is gone");
        let (pid, stdin, child) = start.recv().map_err(|_| gone())??;
        let (outgoing, queue) = mpsc::channel::<Outgoing>();
        std::thread::Builder::new()
            .name(format!("slot {slot} orders"))
            .spawn(move || write_all(stdin, queue))?;
        Ok(Self {
            pid,
            child,
            outgoing,
            events: received,
            ended,
        })
    }

    /// Its number.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it is over, also when its end was not read yet.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
            || lock(&self.child)
                .as_mut()
                .is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// Sends a request, and the input that belongs to it. A child that died says so by its event.
    pub(super) fn send(&self, request: &Request, input: Option<Zeroizing<Vec<u8>>>) {
        match protocol::frame(request) {
            Ok(frame) => {
                let _ = self.outgoing.send((frame, input));
            }
            Err(error) => tracing::error!(%error, "cannot write to a prover process"),
        }
    }

    /// What it does next.
    pub(super) async fn next(&mut self) -> Event {
        self.events
            .recv()
            .await
            .unwrap_or(Event::Ended(Death::default()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = lock(&self.child).as_mut() {
            let _ = child.kill();
        }
    }
}

fn lock(child: &Mutex<Option<Child>>) -> std::sync::MutexGuard<'_, Option<Child>> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start_child(program: &Path, gpu: Option<ChildGpu>) -> io::Result<Child> {
    let of_gpu = gpu.map_or(&[][..], |_| &GPU_VARIABLES[..]);
    let kept = VARIABLES.iter().chain(of_gpu);
    let kept = kept.filter_map(|name| Some((name, std::env::var_os(name)?)));
    Command::new(program)
        .arg("prover-child")
        .args(gpu.map_or_else(Vec::new, gpu_arguments))
        .env_clear()
        .envs(kept)
        .current_dir("/")
        // Ctrl-C goes to the supervisor only: it lets the proof end.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

fn gpu_arguments(gpu: ChildGpu) -> Vec<String> {
    let mut arguments = vec![format!("--gpu={}", gpu.ordinal)];
    arguments.extend(gpu.table_bytes.map(|b| format!("--gpu-table-bytes={b}")));
    arguments
}

/// Writes orders until the child or the slot is gone.
fn write_all(stdin: Option<ChildStdin>, queue: mpsc::Receiver<Outgoing>) {
    let Some(mut stdin) = stdin else { return };
    for (frame, input) in queue {
        let input: &[u8] = input.as_ref().map_or(&[], |bytes| bytes);
        if stdin
            .write_all(&frame)
            .and_then(|()| stdin.write_all(input))
            .is_err()
        {
            return;
        }
    }
}

/// Hands replies on until the child closes its output.
fn forward(
    mut stdout: std::process::ChildStdout,
    slot: u32,
    events: &tokio::sync::mpsc::Sender<Event>,
) -> io::Result<()> {
    while let Some(reply) = protocol::read(&mut stdout, protocol::MAX_REPLY_BYTES)? {
        if let Reply::Device { is_gpu, line } = &reply {
            tell_device(slot, *is_gpu, line);
        }
        if events.blocking_send(Event::Reply(reply)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Logs what a child proves on when it says so, which may be long before its first order.
fn tell_device(slot: u32, is_gpu: bool, line: &str) {
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    let line = crate::store::cut(line, MAX_LINE_BYTES);
    match is_gpu {
        true => tracing::info!(slot, "the slot proves on {line}"),
        false => tracing::warn!(slot, "the slot proves on {line}"),
    }
}

/// Waits for a child that closed its output, or broke the protocol; helps it along.
fn bury(child: &Mutex<Option<Child>>, broke: Option<String>) -> Death {
    let deadline = Instant::now() + Duration::from_secs(1);
    let status = loop {
        let mut held = lock(child);
        let Some(running) = held.as_mut() else {
            break None;
        };
        match running.try_wait() {
            Ok(Some(status)) => {
                *held = None;
                break Some(status);
            }
            Ok(None) if broke.is_some() || Instant::now() >= deadline => {
                let _ = running.kill();
            }
            Ok(None) => {}
            Err(_) => break None,
        }
        drop(held);
        std::thread::sleep(Duration::from_millis(5));
    };
    Death {
        status,
        broke,
        words: String::new(),
    }
}

/// Reads standard error to its end and keeps the last of it.
fn listen(stderr: Option<std::process::ChildStderr>, words: &Mutex<Vec<u8>>) {
    let Some(mut pipe) = stderr else { return };
    let mut chunk = [0; 4096];
    while let Ok(n @ 1..) = pipe.read(&mut chunk) {
        // Where a panic was; our hook prints the place and nothing else.
        let said = String::from_utf8_lossy(chunk.get(..n).unwrap_or_default());
        for line in said.lines().filter(|l| l.contains("internal error at ")) {
            let line: String = line.chars().filter(|c| !c.is_control()).take(300).collect();
            tracing::error!(line, "a prover met a defect");
        }
        let mut kept = words.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(chunk.get(..n).unwrap_or_default());
        let surplus = kept.len().saturating_sub(LAST_WORDS_BYTES);
        kept.drain(..surplus);
    }
}
