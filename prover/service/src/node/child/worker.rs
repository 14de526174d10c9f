//! The child's side: `zkinfer prover-child`.
//!
//! One thread reads requests, so that a cancel arrives while a proof runs; the proof runs in a pool of the slot's threads. The
//! process bounds its own memory to what the order's lease allows, writes no file, leaves no core, and ends with its parent.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    num::NonZeroUsize,
    ops::ControlFlow,
    os::fd::{AsFd as _, BorrowedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, Signal};
use zeroize::Zeroizing;

use super::super::{
    memory,
    slot::{Load, Order},
    threads::defect,
    warm::Warm,
};
use super::{
    DRIVER_BYTES,
    protocol::{self, MAX_INPUT_BYTES, Outcome, Reply, Request, Told},
};
use crate::{
    store::{CircuitId, FailureClass, Phase},
    work::{
        Control, LocalWork, WarmProver, Work as _, WorkError, device::Compute, local::SELF_CHECK,
        slots,
    },
};

/// Circuits that stay loaded at most.
const MAX_WARM: usize = 64;
/// Open files that a child may have; the driver of a GPU opens some for every GPU of the machine.
const MAX_FILES: u64 = 256;
const MAX_GPU_FILES: u64 = 1024;
/// Data above a lease's memory that the allocator may reserve without using it.
const DATA_SLACK_BYTES: u64 = 256 << 20;
/// Progress is told at most this often within a phase.
const REPORT_PERIOD: Duration = Duration::from_millis(100);

/// What the main thread does.
enum Task {
    Load { number: u64, load: Load },
    Prove { number: u64, order: Order },
    Forget(CircuitId),
}

/// Serves orders until the parent is gone, on the GPU of the number `gpu` if there is one and it can be used, with tables of at most
/// `gpu_table_bytes` for each key (by default half of what is free).
///
/// # Errors
/// What keeps it from serving.
pub fn run(gpu: Option<usize>, gpu_table_bytes: Option<u64>) -> Result<(), String> {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let (mut input, mut output) = pipes().map_err(|e| format!("standard input and output: {e}"))?;
    // The driver reads about this process, and the compiler of kernels keeps them in files: before that is given up, while there is nothing
    // here to hide.
    let compute = gpu.map_or_else(|| Compute::cpu("no GPU was given"), Compute::gpu_or_cpu);
    let peak = harden(compute.is_gpu());
    if gpu.is_some() {
        protocol::write(&mut output, &device_of(&compute)).map_err(|e| e.to_string())?;
    }
    let begin = protocol::read(&mut input, protocol::MAX_REQUEST_BYTES);
    let (threads, warm_bytes) = match begin.map_err(|e| e.to_string())? {
        Some(Request::Begin {
            threads,
            warm_bytes,
        }) => (threads, warm_bytes),
        Some(_) => return Err("expected Begin first".to_owned()),
        None => return Ok(()),
    };
    let threads = usize::try_from(threads).ok().and_then(NonZeroUsize::new);
    let pool = slots::pool(threads.unwrap_or(NonZeroUsize::MIN)).map_err(|e| e.to_string())?;
    let cancelled = Arc::new(AtomicU64::new(0));
    let (tasks, queue) = mpsc::channel();
    let flag = Arc::clone(&cancelled);
    std::thread::Builder::new()
        .name("orders".into())
        .spawn(move || {
            let code = match read_requests(&mut input, &tasks, &flag) {
                Ok(()) => 0,
                Err(e) => {
                    eprintln!("zkinfer prover-child: {e}");
                    3
                }
            };
            // Nobody is left to prove for.
            std::process::exit(code);
        })
        .map_err(|e| e.to_string())?;
    let mut bench = Bench {
        work: LocalWork::in_process().on(compute, gpu_table_bytes),
        pool,
        warm: Warm::new(warm_bytes, MAX_WARM),
        output: Arc::new(Mutex::new(output)),
        cancelled,
        peak,
    };
    for task in queue {
        match task {
            Task::Load { number, load } => bench.done(number, &load, |b, c| b.load(&load, c)),
            Task::Prove { number, order } => {
                let load = order.load.clone();
                bench.done(number, &load, |b, c| b.prove(&order, c));
            }
            Task::Forget(circuit) => bench.warm.remove(circuit),
        }
    }
    Ok(())
}

/// Gives up what a prover does not need; answers the file that resets the peak of memory.
fn harden(has_gpu: bool) -> Option<File> {
    let limit = |resource, most| {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        let _ = rustix::process::setrlimit(resource, limit);
    };
    // Opened before the process stops being its own to look into.
    let peak = File::options()
        .write(true)
        .open("/proc/self/clear_refs")
        .ok();
    memory::hide();
    let _ = rustix::thread::set_no_new_privs(true);
    limit(Resource::Fsize, 0);
    let files = if has_gpu { MAX_GPU_FILES } else { MAX_FILES };
    limit(Resource::Nofile, files);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    // The supervisor and its heartbeats come first.
    let _ = rustix::process::nice(5);
    peak
}

/// The pipes to the parent, without a buffer that would keep a copy of an input. What a library prints to standard output goes
/// to standard error.
fn pipes() -> std::io::Result<(File, File)> {
    let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(File::from);
    let (input, output) = (
        own(std::io::stdin().as_fd())?,
        own(std::io::stdout().as_fd())?,
    );
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok((input, output))
}

fn read_requests(
    input: &mut File,
    tasks: &mpsc::Sender<Task>,
    cancelled: &AtomicU64,
) -> Result<(), String> {
    loop {
        let request = protocol::read(input, protocol::MAX_REQUEST_BYTES);
        let Some(request) = request.map_err(|e| e.to_string())? else {
            return Ok(());
        };
        let task = match request {
            Request::Begin { .. } => return Err("Begin came twice".to_owned()),
            Request::Cancel { number } => {
                cancelled.fetch_max(number, Ordering::Relaxed);
                continue;
            }
            Request::Forget { circuit } => Task::Forget(CircuitId(uuid::Uuid::from_bytes(circuit))),
            Request::Load { number, load } => Task::Load {
                number,
                load: load.into(),
            },
            Request::Prove {
                number,
                load,
                context,
                input_bytes,
            } => Task::Prove {
                number,
                order: Order {
                    load: load.into(),
                    input: read_input(input, input_bytes)?,
                    context,
                },
            },
        };
        if tasks.send(task).is_err() {
            return Ok(());
        }
    }
}

/// The bytes that follow an order, in one buffer that never moves.
fn read_input(from: &mut File, length: u64) -> Result<Zeroizing<Vec<u8>>, String> {
    if length > MAX_INPUT_BYTES {
        return Err(format!(
            "an input of {length} bytes, at most {MAX_INPUT_BYTES}"
        ));
    }
    let length = usize::try_from(length).map_err(|e| e.to_string())?;
    let mut input = Zeroizing::new(Vec::new());
    input.try_reserve_exact(length).map_err(|e| e.to_string())?;
    input.resize(length, 0);
    from.read_exact(&mut input).map_err(|e| e.to_string())?;
    Ok(input)
}

/// What proves, and what it holds.
struct Bench {
    work: LocalWork,
    pool: rayon::ThreadPool,
    warm: Warm<Arc<dyn WarmProver>>,
    output: Arc<Mutex<File>>,
    cancelled: Arc<AtomicU64>,
    peak: Option<File>,
}

impl Bench {
    /// Does one order and says how it ended.
    fn done(
        &mut self,
        number: u64,
        load: &Load,
        work: impl FnOnce(&mut Self, &Reports) -> Result<Outcome, WorkError>,
    ) {
        if let Some(file) = &mut self.peak {
            let _ = file.write_all(b"5");
        }
        limit_data(match self.work.compute().is_gpu() {
            true if load.limits.ram_bytes != 0 => {
                load.limits.ram_bytes.saturating_add(DRIVER_BYTES)
            }
            _ => load.limits.ram_bytes,
        });
        let reports = Reports {
            number,
            output: Arc::clone(&self.output),
            cancelled: Arc::clone(&self.cancelled),
            sent: Mutex::new(None),
        };
        let result = catch_unwind(AssertUnwindSafe(|| work(self, &reports)));
        let told = match result.unwrap_or_else(|_| Err(defect())) {
            Ok(outcome) => Told::Made(outcome),
            Err(WorkError::Cancelled) => Told::Stopped,
            Err(WorkError::Failed(failure)) => {
                if failure.class != FailureClass::InvalidRequest {
                    // A damaged key must not stay loaded.
                    self.warm.remove(load.circuit);
                }
                Told::Failed(failure)
            }
        };
        limit_data(0);
        if self.work.compute().has_failed() {
            self.leave_gpu(&reports);
        }
        let warm = self.warm.list().into_iter();
        reports.say(&Reply::Done {
            number,
            told,
            peak_ram: memory::of(None).unwrap_or_default().peak,
            warm: warm
                .map(|(c, load)| (c.0.into_bytes(), millis(load)))
                .collect(),
        });
    }

    fn warm_prover(
        &mut self,
        load: &Load,
        control: &Reports,
    ) -> Result<(Arc<dyn WarmProver>, Duration), WorkError> {
        if let Some(prover) = self.warm.touch(load.circuit) {
            return Ok((prover, Duration::ZERO));
        }
        let bytes = folder_bytes(&load.folder);
        self.warm
            .make_room(bytes.saturating_add(load.limits.ram_bytes));
        while self.work.compute().is_short_for(bytes) && self.warm.let_one_go() {}
        let begun = Instant::now();
        let (work, folder) = (&self.work, &load.folder);
        let prover = self.pool.install(|| work.prepare(folder, control))?;
        let took = begun.elapsed();
        self.warm
            .insert(load.circuit, Arc::clone(&prover), bytes, took);
        Ok((prover, took))
    }

    fn load(&mut self, load: &Load, control: &Reports) -> Result<Outcome, WorkError> {
        let (_, took) = self.warm_prover(load, control)?;
        Ok(Outcome::Loaded {
            load_ms: millis(took),
        })
    }

    /// A proof that does not hold may be the key's fault or the GPU's: the CPU tells which, and makes the proof if it was the GPU's.
    fn prove(&mut self, order: &Order, control: &Reports) -> Result<Outcome, WorkError> {
        let made = self.prove_once(order, control);
        let refused = matches!(&made, Err(WorkError::Failed(f)) if f.code == SELF_CHECK);
        if !refused || !self.work.compute().is_gpu() {
            return made;
        }
        self.warm.clear();
        let on_gpu = std::mem::replace(&mut self.work, LocalWork::in_process());
        let made = self.prove_once(order, control);
        self.work = on_gpu;
        match &made {
            Ok(_) => self.leave_gpu(control),
            Err(_) => self.warm.clear(),
        }
        made
    }

    /// Goes on with the CPU, and says so.
    fn leave_gpu(&mut self, control: &Reports) {
        // What is loaded holds memory of the GPU.
        self.warm.clear();
        let reason = format!("{} failed", self.work.compute().line());
        self.work = LocalWork::in_process().on(Compute::cpu(&reason), None);
        control.say(&device_of(self.work.compute()));
    }

    fn prove_once(&mut self, order: &Order, control: &Reports) -> Result<Outcome, WorkError> {
        let (prover, took) = self.warm_prover(&order.load, control)?;
        let begun = Instant::now();
        let parts = self
            .pool
            .install(|| prover.prove(&order.input, order.context, control))?;
        Ok(Outcome::Proved {
            proof: parts.proof,
            public_values: parts.public_values,
            load_ms: millis(took),
            prove_ms: millis(begun.elapsed()),
        })
    }
}

fn device_of(compute: &Compute) -> Reply {
    Reply::Device {
        is_gpu: compute.is_gpu(),
        line: compute.line().to_owned(),
    }
}

/// Bounds what this process allocates from here on to `bytes` and some slack; 0 lifts the bound.
fn limit_data(bytes: u64) {
    let maximum = rustix::process::getrlimit(Resource::Data).maximum;
    let wanted = (bytes != 0).then(|| {
        let held = memory::of(None).unwrap_or_default().data;
        held.saturating_add(bytes).saturating_add(DATA_SLACK_BYTES)
    });
    let current = match (wanted, maximum) {
        (Some(wanted), Some(most)) => Some(wanted.min(most)),
        (wanted, most) => wanted.or(most),
    };
    let _ = rustix::process::setrlimit(Resource::Data, Rlimit { current, maximum });
}

fn folder_bytes(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|f| Some(f.metadata().ok()?.len())).sum()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Tells the parent where an order is, and the order that it shall stop.
struct Reports {
    number: u64,
    output: Arc<Mutex<File>>,
    cancelled: Arc<AtomicU64>,
    sent: Mutex<Option<(Phase, Instant)>>,
}

impl Reports {
    fn say(&self, reply: &Reply) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        if protocol::write(&mut *output, reply).is_err() {
            std::process::exit(0);
        }
    }
}

impl Control for Reports {
    fn report(&self, phase: Phase, done: u64, total: u64) -> ControlFlow<()> {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |(last, at): (Phase, Instant)| last == phase && at.elapsed() < REPORT_PERIOD;
        if !sent.is_some_and(fresh) {
            *sent = Some((phase, Instant::now()));
            self.say(&Reply::Progress { phase, done, total });
        }
        if self.cancelled.load(Ordering::Relaxed) >= self.number {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}
