//! Slots in processes of their own: `zkinfer prover-child`, one a slot, which keeps circuits loaded from proof to proof and can
//! be killed.
//!
//! Orders, inputs and proofs travel in frames over the child's standard input and output, never in arguments, variables or
//! files. A child that does not stop within [`PATIENCE`], uses more memory or more time than its lease allows, or breaks the
//! protocol is killed, and another one takes its place.

mod process;
mod protocol;
mod worker;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    memory,
    slot::{Load, Order, Proved, Slot, Workshop},
    watch::Watch,
};
use crate::{
    store::{CircuitId, Failure, KeyResidency, Phase, Tier},
    work::{Control as _, WorkError, device, slots::Share},
};
use process::{ChildGpu, Death, Event, Process};
use protocol::{Outcome, Reply, Request, Told};

pub use worker::run as run_child;

/// How long a child may take to obey a cancel.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How long a child may take to open its GPU; where nothing is embedded it compiles the kernels first.
const OPENING_TIMEOUT: Duration = Duration::from_secs(600);

/// Memory above what leases allow for the driver of a GPU: its buffers of launches and copies.
const DRIVER_BYTES: u64 = 512 << 20;

/// How often memory and time are compared with their limits.
const WATCHDOG_PERIOD: Duration = Duration::from_millis(50);

/// Slots in child processes.
#[derive(Clone, Debug)]
pub struct Children {
    /// The program whose `prover-child` proves.
    pub program: PathBuf,
    /// How many, and the threads of each.
    pub share: Share,
    /// Memory of one child: loaded circuits leave before it is full.
    pub ram_bytes: u64,
    /// Memory that a child may use above what its lease says.
    pub allowance_bytes: u64,
    /// The GPUs among them.
    pub gpus: ChildGpus,
}

/// GPUs of slots in child processes.
#[derive(Clone, Debug, Default)]
pub struct ChildGpus {
    /// Their numbers: a slot has one of its own, and when there are more slots, they share them in turn. Without any the CPU proves.
    pub ordinals: Vec<usize>,
    /// Memory of a GPU for the tables of one key; `None` for half of what is free.
    pub table_bytes: Option<u64>,
}

impl ChildGpus {
    fn of_slot(&self, number: u32) -> Option<ChildGpu> {
        let ordinal = device::gpu_of_slot(number, &self.ordinals)?;
        Some(ChildGpu {
            ordinal,
            table_bytes: self.table_bytes,
        })
    }
}

impl Children {
    /// What a lease's figure may be short of: buffers of pipes, allocator, stacks.
    pub const ALLOWANCE_BYTES: u64 = 128 << 20;
}

impl Workshop for Children {
    fn start(&self, number: u32) -> std::io::Result<Box<dyn Slot>> {
        let mut slot = ChildSlot {
            settings: self.clone(),
            number,
            gpu: self.gpus.of_slot(number),
            device: Device::Cpu,
            orders: 0,
            process: None,
            warm: Vec::new(),
        };
        slot.process()?;
        Ok(Box::new(slot))
    }
}

/// What a child proves on.
#[derive(Clone, Copy, Debug)]
enum Device {
    Cpu,
    Gpu,
    /// It opens its GPU since then.
    Opening(Instant),
}

impl Device {
    fn of(is_gpu: bool) -> Self {
        match is_gpu {
            true => Self::Gpu,
            false => Self::Cpu,
        }
    }
}

#[derive(Debug)]
struct ChildSlot {
    settings: Children,
    number: u32,
    /// The GPU of its children.
    gpu: Option<ChildGpu>,
    device: Device,
    /// Orders given so far; a cancel names the one it means.
    orders: u64,
    process: Option<Process>,
    warm: Vec<KeyResidency>,
}

impl ChildSlot {
    /// The child; a new one when there is none.
    fn process(&mut self) -> std::io::Result<&mut Process> {
        if self.process.as_ref().is_none_or(Process::has_ended) {
            self.warm.clear();
            let process = Process::spawn(&self.settings.program, self.number, self.gpu)?;
            self.device = match self.gpu {
                Some(_) => Device::Opening(Instant::now()),
                None => Device::Cpu,
            };
            process.send(
                &Request::Begin {
                    threads: self.settings.share.threads.get() as u64,
                    warm_bytes: self.settings.ram_bytes,
                },
                None,
            );
            self.process = Some(process);
        }
        self.process
            .as_mut()
            .ok_or_else(|| std::io::Error::other("no prover process"))
    }

    /// Kills the child; another one starts at once, so that the next order finds it.
    fn replace(&mut self) {
        self.process = None;
        self.warm.clear();
        if let Err(error) = self.process() {
            tracing::error!(slot = self.number, %error, "cannot start a prover process");
        }
    }

    /// Waits until the child knows what it proves on, so that what opening a GPU takes is not counted as an order's. A child that does not
    /// live to tell is replaced by one without a GPU.
    async fn opened(&mut self, watch: &Watch) -> Result<(), WorkError> {
        self.process().map_err(|e| no_child(&e))?;
        while let (Device::Opening(since), Some(process)) = (self.device, self.process.as_mut()) {
            let left = OPENING_TIMEOUT.saturating_sub(since.elapsed());
            tokio::select! {
                event = process.next() => match event {
                    Event::Reply(Reply::Device { is_gpu, .. }) => self.device = Device::of(is_gpu),
                    Event::Reply(_) => {}
                    Event::Ended(death) => self.go_without_gpu(&death),
                },
                () = watch.stopped() => return Err(WorkError::Cancelled),
                () = tokio::time::sleep(left) => self.go_without_gpu(&"did not answer"),
            }
        }
        Ok(())
    }

    /// Starts a child that proves on the CPU in the place of one that did not open its GPU.
    fn go_without_gpu(&mut self, how: &dyn std::fmt::Display) {
        if let Some(gpu) = self.gpu.take() {
            let (slot, gpu) = (self.number, gpu.ordinal);
            tracing::warn!(
                slot,
                "the slot proves on the CPU (GPU {gpu}: the prover process that opened it {how})"
            );
        }
        self.replace();
    }

    /// Sends an order and follows the child until it is done.
    async fn follow(
        &mut self,
        request: Request,
        order: Option<Order>,
        load: &Load,
        watch: &Arc<Watch>,
    ) -> Result<Outcome, WorkError> {
        if watch.is_stopped() {
            return Err(WorkError::Cancelled);
        }
        self.opened(watch).await?;
        let process = self.process().map_err(|e| no_child(&e))?;
        let pid = process.pid();
        let before = memory::of(Some(pid)).unwrap_or_default().resident;
        process.send(&request, order.map(|o| o.input));
        let (begun, mut asked) = (Instant::now(), None::<Instant>);
        let mut tick = tokio::time::interval(WATCHDOG_PERIOD);
        loop {
            let Some(process) = self.process.as_mut() else {
                return Err(WorkError::fault("CHILD_DIED", "the prover process is gone"));
            };
            tokio::select! {
                event = process.next() => match event {
                    Event::Reply(Reply::Progress { phase, done, total }) => {
                        let _ = watch.report(phase, done, total);
                    }
                    Event::Reply(Reply::Device { is_gpu, .. }) => self.device = Device::of(is_gpu),
                    Event::Reply(Reply::Done { number, told, peak_ram, warm }) if number == self.orders => {
                        watch.used_ram(peak_ram);
                        let tier = self.tier();
                        self.warm = warm.into_iter().map(|(circuit, load_ms)| KeyResidency {
                            circuit: CircuitId(uuid::Uuid::from_bytes(circuit)),
                            tier,
                            load_ms,
                        }).collect();
                        self.retire_if_full(pid);
                        return told_to_outcome(told);
                    }
                    Event::Reply(Reply::Done { .. }) => {}
                    Event::Ended(death) => {
                        self.replace();
                        return Err(self.obituary(&death, load));
                    }
                },
                () = watch.stopped(), if asked.is_none() => {
                    asked = Some(Instant::now());
                    process.send(&Request::Cancel { number: self.orders }, None);
                }
                _ = tick.tick() => {
                    if asked.is_some_and(|at| at.elapsed() >= PATIENCE) {
                        tracing::warn!(slot = self.number, "the prover process does not stop when asked; killing it");
                        self.replace();
                        return Err(WorkError::Cancelled);
                    }
                    if let Some(e) = self.over_limit(pid, before, begun, load, watch) {
                        self.replace();
                        return Err(e);
                    }
                }
            }
        }
    }

    /// Where the keys of loaded circuits lie.
    fn tier(&self) -> Tier {
        match self.device {
            Device::Gpu => Tier::Vram,
            Device::Cpu | Device::Opening(_) => Tier::Ram,
        }
    }

    fn allowance_bytes(&self) -> u64 {
        let driver = self.gpu.map_or(0, |_| DRIVER_BYTES);
        self.settings.allowance_bytes.saturating_add(driver)
    }

    /// What of the lease's limits the child passed.
    fn over_limit(
        &self,
        pid: u32,
        before: u64,
        begun: Instant,
        load: &Load,
        watch: &Watch,
    ) -> Option<WorkError> {
        let used = memory::of(Some(pid)).map_or(0, |u| u.resident);
        watch.used_ram(used);
        let (allowed, more) = (load.limits.ram_bytes, used.saturating_sub(before));
        if allowed != 0 && more > allowed.saturating_add(self.allowance_bytes()) {
            return Some(too_much_memory(Some(more), load));
        }
        if !load.time_limit.is_zero() && begun.elapsed() > load.time_limit {
            let message = format!(
                "the proof took longer than the {:.1} s that its lease allows",
                load.time_limit.as_secs_f64()
            );
            return Some(WorkError::exceeded("TIME_LIMIT", message));
        }
        None
    }

    /// A child whose allocator keeps more than the slot may hold makes room for a new one.
    fn retire_if_full(&mut self, pid: u32) {
        let held = memory::of(Some(pid)).map_or(0, |u| u.resident);
        let allowance = self.allowance_bytes();
        if held > self.settings.ram_bytes.saturating_add(allowance) {
            tracing::info!(
                slot = self.number,
                held,
                "the prover process holds too much memory; starting another"
            );
            self.replace();
        }
    }

    /// What a dead child means for its order.
    fn obituary(&self, death: &Death, load: &Load) -> WorkError {
        tracing::warn!(slot = self.number, how = %death, last_words = %death.words.escape_debug(), "the prover process died");
        let no_memory = [
            "memory allocation",
            "capacity overflow",
            "failed to spawn thread",
        ];
        if death.words_include(&no_memory) {
            return too_much_memory(None, load);
        }
        WorkError::fault("CHILD_DIED", format!("the prover process {death}"))
    }
}

fn too_much_memory(used: Option<u64>, load: &Load) -> WorkError {
    let used = used.map_or_else(
        || "asked for more memory".to_owned(),
        |bytes| format!("used {} MiB of memory", bytes >> 20),
    );
    let message = format!(
        "the prover {used}; its lease allows {} MiB",
        load.limits.ram_bytes >> 20
    );
    WorkError::exceeded("MEMORY_LIMIT", message)
}

fn no_child(e: &std::io::Error) -> WorkError {
    WorkError::fault("CHILD_SPAWN", format!("cannot start a prover process: {e}"))
}

fn told_to_outcome(told: Told) -> Result<Outcome, WorkError> {
    match told {
        Told::Made(outcome) => Ok(outcome),
        Told::Stopped => Err(WorkError::Cancelled),
        // The child's words are cut here too: nothing it says is believed to be short.
        Told::Failed(f) => Err(WorkError::Failed(Failure::new(
            f.class,
            crate::store::cut(f.code, 64),
            f.message,
        ))),
    }
}

fn unexpected() -> WorkError {
    WorkError::internal(
        "CHILD_ANSWER",
        "the prover process answered another question",
    )
}

#[async_trait::async_trait]
impl Slot for ChildSlot {
    async fn load(&mut self, load: Load, watch: &Arc<Watch>) -> Result<Duration, WorkError> {
        self.orders += 1;
        let request = Request::Load {
            number: self.orders,
            load: (&load).into(),
        };
        match self.follow(request, None, &load, watch).await? {
            Outcome::Loaded { load_ms } => Ok(Duration::from_millis(load_ms)),
            Outcome::Proved { .. } => Err(unexpected()),
        }
    }

    async fn prove(&mut self, order: Order, watch: &Arc<Watch>) -> Result<Proved, WorkError> {
        self.orders += 1;
        let load = order.load.clone();
        let request = Request::Prove {
            number: self.orders,
            load: (&load).into(),
            context: order.context,
            input_bytes: order.input.len() as u64,
        };
        let _ = watch.report(Phase::LoadKey, 0, 1);
        match self.follow(request, Some(order), &load, watch).await? {
            Outcome::Proved {
                proof,
                public_values,
                load_ms,
                prove_ms,
            } => Ok(Proved {
                parts: crate::work::ProofParts {
                    proof,
                    public_values,
                },
                key_load: Duration::from_millis(load_ms),
                prove: Duration::from_millis(prove_ms),
            }),
            Outcome::Loaded { .. } => Err(unexpected()),
        }
    }

    fn forget(&mut self, circuit: CircuitId) {
        self.warm.retain(|key| key.circuit != circuit);
        if let Some(process) = &self.process {
            process.send(
                &Request::Forget {
                    circuit: circuit.0.into_bytes(),
                },
                None,
            );
        }
    }

    fn warm(&self) -> Vec<KeyResidency> {
        self.warm.clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
