//! Nodes, queue and time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
};

use uuid::Uuid;

use super::{
    report::{Report, TenantReport, Waits},
    trace::TraceJob,
};
use crate::{
    farm::scheduler::{Candidate, NodeClass, Share, Snapshot, TimeModel, Waiting, fair, plan},
    store::{
        Backend, Capabilities, CircuitId, JobId, KeyResidency, Millis, NodeId, NodeState, Priority,
        Resources, TenantId, Tier, Trust,
    },
};

/// The nodes of a simulation, all alike.
#[derive(Clone, Copy, Debug)]
pub struct Machines {
    /// Their number.
    pub nodes: u32,
    /// Proofs at a time on each.
    pub slots: u32,
    /// Keys that each keeps loaded.
    pub cache_keys: usize,
    /// Memory of each.
    pub ram_bytes: u64,
}

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The gateway's scheduler.
    Scheduler,
    /// First come, first served.
    Fifo,
}

/// Runs a trace, whose jobs are in order of their times, to its end.
pub fn simulate(trace: &[TraceJob], machines: Machines, policy: Policy) -> Report {
    let mut world = World::new(trace, machines, policy);
    world.run();
    world.report()
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A proof ends.
    Done { node: usize, job: usize },
    /// A job is created.
    Created(usize),
    /// A node asks again.
    Ask,
}

/// A key that a node has loaded or loads.
struct Loaded {
    circuit: usize,
    ready_at: u64,
    used_at: u64,
    users: u32,
}

struct Node {
    id: NodeId,
    free_slots: u32,
    free_ram: u64,
    keys: Vec<Loaded>,
    /// Circuits whose keys are on its disk.
    on_disk: Vec<bool>,
    idle_since: u64,
    /// What it said last.
    candidate: Candidate,
}

struct Tenant {
    name: String,
    share: Share,
    waiting: u32,
    waits: Vec<u64>,
    /// Slot time while two tenants or more waited.
    contended_ms: f64,
}

/// Passing over, by job.
#[derive(Clone, Copy, Default)]
struct Passed {
    times: u32,
    since: Option<Millis>,
}

struct World<'a> {
    trace: &'a [TraceJob],
    machines: Machines,
    policy: Policy,
    now: u64,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    nodes: Vec<Node>,
    tenants: Vec<Tenant>,
    /// What compile estimated, by circuit.
    estimated_ms: Vec<u64>,
    /// Tenant and circuit of each job.
    indices: Vec<(usize, usize)>,
    /// Waiting jobs by class, tenant and circuit, the oldest first.
    lanes: BTreeMap<(Priority, usize, usize), VecDeque<usize>>,
    passed: Vec<Passed>,
    model: TimeModel,
    estimates: Vec<u64>,
    batch_running: u32,
    leases_since_batch: u32,
    asks: BTreeSet<u64>,
    proven: u64,
    impossible: u64,
    warm: u64,
    loads: u64,
    load_bytes: u64,
    prove_ms: u64,
    last_end: u64,
    classes: BTreeMap<Priority, Vec<u64>>,
}

fn id(n: usize) -> Uuid {
    Uuid::from_u128(n as u128 + 1)
}

fn index(id: Uuid) -> usize {
    (id.as_u128() - 1) as usize
}

/// The numbers of names, in order of appearance.
fn number<'a>(known: &mut BTreeMap<&'a str, usize>, name: &'a str) -> usize {
    let next = known.len();
    *known.entry(name).or_insert(next)
}

impl<'a> World<'a> {
    fn new(trace: &'a [TraceJob], machines: Machines, policy: Policy) -> Self {
        let (mut tenants, mut circuits) = (BTreeMap::new(), BTreeMap::new());
        let indices: Vec<(usize, usize)> = trace
            .iter()
            .map(|j| {
                (
                    number(&mut tenants, &j.tenant),
                    number(&mut circuits, &j.circuit),
                )
            })
            .collect();
        let mut names: Vec<(usize, &str)> = tenants.into_iter().map(|(n, i)| (i, n)).collect();
        names.sort_unstable();
        // The first proof's time stands for it.
        let mut estimated_ms = vec![0; circuits.len()];
        for (job, &(_, circuit)) in trace.iter().zip(&indices).rev() {
            estimated_ms[circuit] = job.prove_ms;
        }
        let free = Resources {
            ram_bytes: machines.ram_bytes,
            ..Resources::default()
        };
        let node = |n: usize| Node {
            id: NodeId(id(n)),
            free_slots: machines.slots,
            free_ram: machines.ram_bytes,
            keys: Vec::new(),
            on_disk: vec![false; circuits.len()],
            idle_since: 0,
            candidate: Candidate {
                node: NodeId(id(n)),
                state: NodeState::Active,
                trust: Trust::Owned,
                pools: Vec::new(),
                backends: vec![Backend::UltraGroth],
                total: free,
                free,
                slots: machines.slots,
                free_slots: machines.slots,
                keys: Vec::new(),
                score: 1.0,
            },
        };
        let tenant = |(_, name): (usize, &str)| Tenant {
            name: name.to_owned(),
            share: Share {
                weight: 1.0,
                vtime: 0.0,
                running: 0,
                max_running: u32::MAX,
            },
            waiting: 0,
            waits: Vec::new(),
            contended_ms: 0.0,
        };
        let created = trace.iter().enumerate();
        Self {
            trace,
            machines,
            policy,

            now: 0,
            events: created
                .map(|(i, j)| Reverse((j.at_ms, Event::Created(i))))
                .collect(),
            nodes: (0..machines.nodes as usize).map(node).collect(),
            tenants: names.into_iter().map(tenant).collect(),
            estimated_ms,
            indices,
            lanes: BTreeMap::new(),
            passed: vec![Passed::default(); trace.len()],
            model: TimeModel::default(),
            estimates: vec![0; trace.len()],
            batch_running: 0,
            leases_since_batch: 0,
            asks: BTreeSet::new(),
            proven: 0,
            impossible: 0,
            warm: 0,
            loads: 0,
            load_bytes: 0,
            prove_ms: 0,
            last_end: 0,
            classes: BTreeMap::new(),
        }
    }

    fn run(&mut self) {
        while let Some(&Reverse((at, _))) = self.events.peek() {
            self.pass_time(at);
            while let Some(&Reverse((same, event))) = self.events.peek()
                && same == at
            {
                self.events.pop();
                match event {
                    Event::Created(job) => self.create(job),
                    Event::Done { node, job } => self.finish(node, job),
                    Event::Ask => {
                        self.asks.remove(&at);
                    }
                }
            }
            while self.serve() {}
        }
    }

    /// Moves the clock and counts who got what meanwhile.
    fn pass_time(&mut self, at: u64) {
        let step = (at - self.now) as f64;
        let waiting = self.tenants.iter().filter(|t| t.waiting > 0).count();
        if waiting >= 2 {
            for tenant in &mut self.tenants {
                tenant.contended_ms += f64::from(tenant.share.running) * step;
            }
        }
        self.now = at;
    }

    fn create(&mut self, job: usize) {
        let trace = &self.trace[job];
        if trace.ram > self.machines.ram_bytes || self.machines.slots == 0 || self.nodes.is_empty()
        {
            self.impossible += 1;
            return;
        }
        let (tenant, circuit) = self.indices[job];
        let busy = |t: &Tenant| t.waiting > 0 || t.share.running > 0;
        if !busy(&self.tenants[tenant]) {
            let active = self.tenants.iter().filter(|t| busy(t));
            let active: Vec<f64> = active.map(|t| t.share.vtime).collect();
            let all = self.tenants.iter().map(|t| t.share.vtime);
            let joined = fair::join(self.tenants[tenant].share.vtime, active, all);
            self.tenants[tenant].share.vtime = joined;
        }
        self.tenants[tenant].waiting += 1;
        let lane = (trace.priority, tenant, circuit);
        self.lanes.entry(lane).or_default().push_back(job);
    }

    fn finish(&mut self, node: usize, job: usize) {
        let trace = &self.trace[job];
        let (tenant, circuit) = self.indices[job];
        let share = &mut self.tenants[tenant].share;
        share.running -= 1;
        share.vtime += fair::settle(self.estimates[job], trace.prove_ms, share.weight);
        let node = &mut self.nodes[node];
        node.free_slots += 1;
        node.free_ram += trace.ram;
        node.idle_since = self.now;
        if let Some(key) = node.keys.iter_mut().find(|k| k.circuit == circuit) {
            key.users -= 1;
        }
        if trace.priority == Priority::Batch {
            self.batch_running -= 1;
        }
        let class = NodeClass::of(&Capabilities::default());
        self.model
            .observe(CircuitId(id(circuit)), class, trace.prove_ms);
        self.proven += 1;
        self.prove_ms += trace.prove_ms;
        self.last_end = self.now;
    }

    /// Lets every node with free slots ask once; `true` when one got something.
    fn serve(&mut self) -> bool {
        if self.lanes.is_empty() {
            return false;
        }
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        order.retain(|&n| self.nodes[n].free_slots > 0);
        order.sort_by_key(|&n| (self.nodes[n].idle_since, n));
        let mut any = false;
        for node in order {
            any |= match self.policy {
                Policy::Scheduler => self.ask(node),
                Policy::Fifo => self.first(node),
            };
        }
        any
    }

    fn ask(&mut self, node: usize) -> bool {
        let free_slots = self.nodes[node].free_slots;
        let snapshot = self.snapshot();
        let plan = plan(&snapshot, self.nodes[node].id, free_slots);
        let now = self.now as Millis;
        for job in &plan.passed_over {
            self.passed[index(job.0)].times += 1;
        }
        for job in plan.passed_over.iter().chain(&plan.held) {
            self.passed[index(job.0)].since.get_or_insert(now);
        }
        if let Some(at) = plan.retry_at.and_then(|t| u64::try_from(t).ok())
            && self.asks.insert(at)
        {
            self.events.push(Reverse((at, Event::Ask)));
        }
        for job in &plan.picks {
            self.start(node, index(job.0));
        }
        !plan.picks.is_empty()
    }

    /// The oldest job, if it fits.
    fn first(&mut self, node: usize) -> bool {
        let heads = self.lanes.values().filter_map(|lane| lane.front());
        let Some(&job) = heads.min() else {
            return false;
        };
        let fits = self.trace[job].ram <= self.nodes[node].free_ram;
        if fits {
            self.start(node, job);
        }
        fits
    }

    /// What the gateway would read: the heads of the lanes, as many as a node can take.
    fn snapshot(&mut self) -> Snapshot {
        let class = NodeClass::of(&Capabilities::default());
        let mut jobs = Vec::new();
        for (&(priority, tenant, circuit), lane) in &self.lanes {
            let prior = self.estimated_ms[circuit];
            let estimate = self.model.predict(CircuitId(id(circuit)), &class, prior);
            for &job in lane.iter().take(self.machines.slots as usize) {
                let trace = &self.trace[job];
                self.estimates[job] = estimate.p50_ms;
                jobs.push(Waiting {
                    job: JobId(id(job)),
                    tenant: TenantId(tenant as i64),
                    circuit: CircuitId(id(circuit)),
                    backend: Backend::UltraGroth,
                    priority,
                    created_at: trace.at_ms as Millis,
                    not_before: 0,
                    needs: Resources {
                        ram_bytes: trace.ram,
                        ..Resources::default()
                    },
                    min_trust: Trust::Untrusted,
                    pools: Vec::new(),
                    excluded: Vec::new(),
                    estimated_ms: estimate.p50_ms,
                    key_load_ms: trace.key_load_ms,
                    passed_over: self.passed[job].times,
                    passed_since: self.passed[job].since,
                    low_score_from: None,
                });
            }
        }
        Snapshot {
            now: self.now as Millis,
            jobs,
            nodes: self.nodes.iter_mut().map(Node::describe).collect(),
            tenants: (0i64..)
                .zip(&self.tenants)
                .map(|(i, t)| (TenantId(i), t.share))
                .collect(),
            batch_running: self.batch_running,
            leases_since_batch: self.leases_since_batch,
        }
    }

    fn start(&mut self, node: usize, job: usize) {
        let trace = &self.trace[job];
        let (tenant, circuit) = self.indices[job];
        let lane = (trace.priority, tenant, circuit);
        if let Some(jobs) = self.lanes.get_mut(&lane) {
            jobs.retain(|&j| j != job);
            if jobs.is_empty() {
                self.lanes.remove(&lane);
            }
        }
        let share = &mut self.tenants[tenant].share;
        share.running += 1;
        share.vtime += fair::charge(self.estimates[job], share.weight);
        if trace.priority == Priority::Batch {
            self.batch_running += 1;
            self.leases_since_batch = 0;
        } else {
            self.leases_since_batch += 1;
        }
        let ready_at =
            match self.nodes[node].start(circuit, trace, self.now, self.machines.cache_keys) {
                Start::Warm(at) => {
                    self.warm += 1;
                    at
                }
                Start::Cold(at) => {
                    self.loads += 1;
                    self.load_bytes += trace.key_bytes;
                    at
                }
            };
        let wait = ready_at - trace.at_ms;
        self.tenants[tenant].waiting -= 1;
        self.tenants[tenant].waits.push(wait);
        self.classes.entry(trace.priority).or_default().push(wait);
        let end = ready_at + trace.prove_ms;
        self.events.push(Reverse((end, Event::Done { node, job })));
    }

    fn report(self) -> Report {
        let first = self.trace.first().map_or(0, |j| j.at_ms);
        let makespan_ms = self.last_end.saturating_sub(first);
        let slots = f64::from(self.machines.nodes) * f64::from(self.machines.slots);
        let part = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
        let waits = self.tenants.iter().flat_map(|t| t.waits.iter().copied());
        let waits = Waits::of(waits.collect());
        let contended: f64 = self.tenants.iter().map(|t| t.contended_ms).sum();
        let tenant = |t: Tenant| {
            let report = TenantReport {
                jobs: t.waits.len() as u64,
                waits: Waits::of(t.waits),
                contended_share: part(t.contended_ms, contended),
            };
            (t.name, report)
        };
        let classes = self.classes.into_iter();
        Report {
            policy: match self.policy {
                Policy::Scheduler => "scheduler",
                Policy::Fifo => "fifo",
            },
            proven: self.proven,
            impossible: self.impossible,
            makespan_ms,
            utilisation: part(self.prove_ms as f64, slots * makespan_ms as f64),
            warm_share: part(self.warm as f64, (self.warm + self.loads) as f64),
            key_loads: self.loads,
            key_bytes: self.load_bytes,
            waits,
            classes: classes.map(|(c, w)| (c.name(), Waits::of(w))).collect(),
            tenants: self.tenants.into_iter().map(tenant).collect(),
        }
    }
}

/// How a proof starts, and when.
enum Start {
    Warm(u64),
    Cold(u64),
}

impl Node {
    fn start(&mut self, circuit: usize, job: &TraceJob, now: u64, cache_keys: usize) -> Start {
        self.free_slots -= 1;
        self.free_ram -= job.ram;
        if let Some(key) = self.keys.iter_mut().find(|k| k.circuit == circuit) {
            key.users += 1;
            key.used_at = now;
            return Start::Warm(key.ready_at.max(now));
        }
        while self.keys.len() >= cache_keys.max(1) {
            let unused = self.keys.iter().enumerate().filter(|(_, k)| k.users == 0);
            let Some((oldest, _)) = unused.min_by_key(|(_, k)| (k.used_at, k.circuit)) else {
                break;
            };
            self.keys.swap_remove(oldest);
        }
        let ready_at = now + job.key_load_ms;
        self.on_disk[circuit] = true;
        self.keys.push(Loaded {
            circuit,
            ready_at,
            used_at: now,
            users: 1,
        });
        Start::Cold(ready_at)
    }

    fn describe(&mut self) -> Candidate {
        let loaded = self.keys.iter().map(|k| (k.circuit, Tier::Ram));
        let on_disk = self.on_disk.iter().enumerate().filter(|(_, on)| **on);
        let on_disk = on_disk.map(|(circuit, _)| (circuit, Tier::Disk));
        self.candidate.free_slots = self.free_slots;
        self.candidate.free.ram_bytes = self.free_ram;
        self.candidate.keys = loaded
            .chain(on_disk)
            .map(|(circuit, tier)| KeyResidency {
                circuit: CircuitId(id(circuit)),
                tier,
                load_ms: 0,
            })
            .collect();
        self.candidate.clone()
    }
}
