//! A node against a gateway in memory: with fake work on threads where the node's own decisions are looked at, with real
//! children and real proofs where processes are.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod fake;
mod server;
mod uplink;

use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fake::{Fake, FakeWork};
use server::{model, passes, zkinfer};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uplink::Gateway;
use zkinfer_service::{
    farm::lease::FetchFile,
    node::{
        Cache, CacheSettings, ChildGpus, Children, Files, NodeConfig, NodeError, Threads, Workshop,
        capabilities, run,
    },
    store::{CircuitId, FailureClass, Phase},
    work::{Gate, LocalWork, ProofParts, Work as _, slots::Share},
};

fn share(slots: usize) -> Share {
    Share::of(NonZeroUsize::new(slots).unwrap(), slots)
}

/// A node that runs until it is told to stop.
struct Node {
    gateway: Arc<Gateway>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), NodeError>>,
    folder: tempfile::TempDir,
}

fn start(slots: usize, workshop: Arc<dyn Workshop>, files: impl FnOnce(&Path) -> Files) -> Node {
    start_with(slots, workshop, files, |_| ())
}

fn start_with(
    slots: usize,
    workshop: Arc<dyn Workshop>,
    files: impl FnOnce(&Path) -> Files,
    change: impl FnOnce(&mut NodeConfig),
) -> Node {
    let (gateway, stop) = (Arc::new(Gateway::default()), CancellationToken::new());
    let folder = tempfile::tempdir().unwrap();
    let mut config = NodeConfig {
        capabilities: capabilities::detect(share(slots), u64::MAX, 1 << 30),
        files: files(folder.path()),
        secret: None,
        drain_timeout: Duration::from_secs(20),
        heartbeat: None,
    };
    change(&mut config);
    let task = tokio::spawn(run(config, gateway.clone(), workshop, stop.clone()));
    Node {
        gateway,
        stop,
        task,
        folder,
    }
}

impl Node {
    async fn stopped(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn local(folder: &Path) -> Files {
    Files::Local(folder.to_owned())
}

fn cached(folder: &Path) -> Files {
    let settings = CacheSettings {
        folder: folder.join("cache"),
        max_bytes: 1 << 30,
        min_free_bytes: 0,
    };
    Files::Cache(Cache::open(settings).unwrap())
}

/// A node with fake work that takes `prove_ms`.
fn fake_node(slots: usize, prove_ms: u64) -> (Node, Arc<Fake>) {
    let fake = Arc::new(Fake::default());
    fake.prove_ms.store(prove_ms, Ordering::Relaxed);
    let work = Threads::new(Arc::new(FakeWork(fake.clone())), share(slots), 4);
    (start(slots, Arc::new(work), local), fake)
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_become_proofs_as_many_at_a_time_as_there_are_slots() {
    let (node, _) = fake_node(2, 100);
    let circuit = CircuitId::fresh();
    let inputs: Vec<String> = (0..6).map(|n| format!("{{\"n\":{n}}}")).collect();
    let grant = |input: &String| node.gateway.grant(circuit, &[], input.as_bytes());
    let attempts: Vec<_> = inputs.iter().map(grant).collect();
    for attempt in &attempts {
        node.gateway.commit_of(*attempt).await;
    }
    let proofs = node.gateway.seen.lock().unwrap().commits.clone();
    let distinct: BTreeSet<&[u8]> = proofs.iter().map(|c| &c.proof[..]).collect();
    assert_eq!((proofs.len(), distinct.len()), (6, 6));
    {
        let seen = node.gateway.seen.lock().unwrap();
        assert!(
            seen.beats.iter().all(|(_, b)| b.attempts.len() <= 4),
            "two at work, two on their way"
        );
    }
    let gateway = node.gateway.clone();
    node.stopped().await;
    assert_eq!(gateway.seen.lock().unwrap().closed.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_without_a_free_slot_goes_back() {
    // Long enough for all three to come while the first one runs, on a busy machine too.
    let (node, _) = fake_node(1, 12_000);
    node.gateway.generous.store(true, Ordering::SeqCst);
    let attempts = [(); 3].map(|()| node.gateway.grant(CircuitId::fresh(), &[], b"{}"));
    let handed_back = |s: &uplink::Seen| (s.fails.len() == 2 && s.commits.len() == 1).then_some(());
    node.gateway.until("hand two back", handed_back).await;
    let seen = node.gateway.seen.lock().unwrap();
    assert!(
        seen.fails
            .iter()
            .all(|(_, f)| f.class == FailureClass::Cancelled)
    );
    let ended: BTreeSet<_> = seen
        .fails
        .iter()
        .map(|f| f.0)
        .chain([seen.commits[0].attempt])
        .collect();
    assert_eq!(ended, BTreeSet::from(attempts));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_the_work_with_the_next_heartbeat() {
    let (node, fake) = fake_node(1, 600_000);
    let attempt = node.gateway.grant(CircuitId::fresh(), &[], b"{}");
    node.gateway.runs(attempt).await;
    let begun = Instant::now();
    node.gateway.cancel.lock().unwrap().push(attempt);
    let gone = |s: &uplink::Seen| {
        s.beats
            .last()
            .filter(|(_, b)| b.attempts.is_empty())
            .map(drop)
    };
    node.gateway.until("stop", gone).await;
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    // Nothing is told of an attempt that the gateway ended, and the slot is free.
    fake.prove_ms.store(1, Ordering::Relaxed);
    let next = node.gateway.grant(CircuitId::fresh(), &[], b"{}");
    node.gateway.commit_of(next).await;
    let seen = node.gateway.seen.lock().unwrap();
    assert!(seen.fails.is_empty() && seen.commits.len() == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_gateway_forgot_is_opened_anew_with_what_runs() {
    let (node, fake) = fake_node(2, 600_000);
    let kept = node.gateway.grant(CircuitId::fresh(), &[], b"{\"kept\":1}");
    let lost = node.gateway.grant(CircuitId::fresh(), &[], b"{\"lost\":1}");
    node.gateway.runs(kept).await;
    node.gateway.runs(lost).await;
    node.gateway.lost.lock().unwrap().push(lost);
    node.gateway.forget_session();
    let resumed = node
        .gateway
        .until("resume", |s| s.opened.get(1).map(|h| h.resume.clone()))
        .await;
    assert_eq!(BTreeSet::from_iter(resumed), BTreeSet::from([kept, lost]));
    let only_kept = |s: &uplink::Seen| {
        let beat = &s.beats.last()?.1;
        (beat.session == 2 && beat.attempts.len() == 1).then(|| beat.attempts[0].attempt)
    };
    assert_eq!(node.gateway.until("go on", only_kept).await, kept);
    fake.finish.store(true, Ordering::Relaxed);
    let commit = node.gateway.commit_of(kept).await;
    assert_eq!(commit.session, 2);
    assert!(node.gateway.seen.lock().unwrap().fails.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_away_costs_no_proof() {
    let (node, fake) = fake_node(1, 600_000);
    let attempt = node.gateway.grant(CircuitId::fresh(), &[], b"{}");
    node.gateway.runs(attempt).await;
    node.gateway.unreachable.store(true, Ordering::SeqCst);
    fake.finish.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(700)).await;
    // It comes back as another process that does not answer the first commits either.
    node.gateway.deaf_commits.store(3, Ordering::SeqCst);
    node.gateway.forget_session();
    node.gateway.unreachable.store(false, Ordering::SeqCst);
    node.gateway.commit_of(attempt).await;
    let seen = node.gateway.seen.lock().unwrap();
    assert_eq!(
        fake.proofs.load(Ordering::Relaxed),
        1,
        "the proof was made once"
    );
    assert!(
        seen.opened[1].resume.contains(&attempt),
        "also a finished attempt is resumed"
    );
    assert!(seen.fails.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn f31_a_drain_waits_for_the_proof_and_takes_nothing_more() {
    let (node, _) = fake_node(1, 1000);
    let attempt = node.gateway.grant(CircuitId::fresh(), &[], b"{}");
    node.gateway.runs(attempt).await;
    node.stop.cancel();
    let late = node.gateway.grant(CircuitId::fresh(), &[], b"{}");
    let gateway = node.gateway.clone();
    node.task.await.unwrap().unwrap();
    let seen = gateway.seen.lock().unwrap();
    assert!(seen.commits.iter().all(|c| c.attempt == attempt) && seen.commits.len() == 1);
    assert!(seen.fails.is_empty() && seen.closed == [1]);
    assert!(seen.beats.iter().any(|(_, b)| b.draining));
    assert!(
        !seen
            .beats
            .iter()
            .any(|(_, b)| b.attempts.iter().any(|a| a.attempt == late))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn f31_what_does_not_end_in_the_drain_time_is_handed_back() {
    let fake = Arc::new(Fake::default());
    fake.prove_ms.store(600_000, Ordering::Relaxed);
    let work = Threads::new(Arc::new(FakeWork(fake)), share(1), 4);
    let node = start_with(1, Arc::new(work), local, |config| {
        config.drain_timeout = Duration::from_millis(200);
    });
    let attempt = node.gateway.grant(CircuitId::fresh(), &[], b"{}");
    node.gateway.runs(attempt).await;
    let (gateway, begun) = (node.gateway.clone(), Instant::now());
    node.stopped().await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    let seen = gateway.seen.lock().unwrap();
    let (who, failure) = &seen.fails[0];
    assert_eq!((*who, failure.class), (attempt, FailureClass::Cancelled));
    assert_eq!(seen.closed, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_the_gateway_drains_takes_nothing_until_it_may() {
    let (node, _) = fake_node(1, 1);
    node.gateway.drain.store(true, Ordering::SeqCst);
    node.gateway
        .until("beats", |s| (s.beats.len() > 3).then_some(()))
        .await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let attempt = node.gateway.grant(CircuitId::fresh(), &[], b"{}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(node.gateway.seen.lock().unwrap().commits.is_empty());
    node.gateway.drain.store(false, Ordering::SeqCst);
    node.gateway.commit_of(attempt).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn f06_heartbeats_go_on_while_every_core_and_the_runtime_are_busy() {
    let (node, _) = fake_node(1, 600_000);
    let attempt = node.gateway.grant(CircuitId::fresh(), &[], b"{}");
    node.gateway.runs(attempt).await;
    let over = Arc::new(AtomicBool::new(false));
    let burners: Vec<_> = (0..4 * capabilities::threads())
        .map(|_| {
            let over = over.clone();
            std::thread::spawn(move || {
                let mut x = 1u64;
                while !over.load(Ordering::Relaxed) {
                    x = std::hint::black_box(x.wrapping_mul(3));
                }
            })
        })
        .collect();
    // The runtime's only worker is blocked: a heartbeat that lived there would stop.
    let begun = Instant::now();
    tokio::spawn(async { std::thread::sleep(Duration::from_secs(4)) })
        .await
        .unwrap();
    over.store(true, Ordering::Relaxed);
    burners.into_iter().for_each(|b| b.join().unwrap());
    let seen = node.gateway.seen.lock().unwrap();
    let during: Vec<Instant> = seen
        .beats
        .iter()
        .map(|b| b.0)
        .filter(|at| *at > begun)
        .collect();
    let gaps = during.windows(2).map(|w| w[1] - w[0]);
    let longest = gaps.max().unwrap();
    assert!(during.len() >= 8, "{} beats in 4 s", during.len());
    assert!(
        longest < Duration::from_secs(2),
        "{longest:?} without a heartbeat"
    );
}

// Real children, real proofs.

/// The digits MLP with keys, compiled once, and a batch of it whose proof takes a while.
struct Bundles {
    _folder: tempfile::TempDir,
    one: PathBuf,
    many: PathBuf,
    gate: Arc<dyn Gate>,
}

fn bundles() -> &'static Bundles {
    static BUNDLES: OnceLock<Bundles> = OnceLock::new();
    BUNDLES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, more: &[&str]| {
            let place = folder.path().join(name);
            passes(
                zkinfer()
                    .arg("compile")
                    .arg(model("digits-mlp.onnx"))
                    .arg("--calibration")
                    .arg(model("digits-mlp.calibration.npz"))
                    .arg("-o")
                    .arg(&place)
                    .args(more),
            );
            passes(zkinfer().arg("setup").arg(&place));
            place
        };
        let one = make("one", &[]);
        let many = make("many", &["--batch", &MANY.to_string()]);
        let gate = LocalWork::in_process().gate(&one).unwrap();
        Bundles {
            _folder: folder,
            one,
            many,
            gate,
        }
    })
}

/// Inferences in one proof that takes several looks of the node's watchdog, on an idle machine too.
const MANY: usize = 96;

fn sample() -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(model("digits-mlp.json")).unwrap()).unwrap()
}

fn one_input() -> Vec<u8> {
    let text = serde_json::to_vec(&sample()).unwrap();
    bundles().gate.quantize(&text).unwrap()
}

fn many_inputs() -> Vec<u8> {
    let one = sample()["input_data"][0].clone();
    let gate = LocalWork::in_process().gate(&bundles().many).unwrap();
    let text = serde_json::json!({ "input_data": [vec![one; MANY]] });
    gate.quantize(&serde_json::to_vec(&text).unwrap()).unwrap()
}

fn children(allowance_bytes: u64) -> Arc<dyn Workshop> {
    Arc::new(Children {
        program: env!("CARGO_BIN_EXE_zkinfer").into(),
        share: share(1),
        ram_bytes: 4 << 30,
        allowance_bytes,
        gpus: ChildGpus::default(),
    })
}

/// A node with one child, with a circuit in its gateway.
fn child_node(bundle: &Path, allowance_bytes: u64) -> (Node, CircuitId, Vec<FetchFile>) {
    let node = start(1, children(allowance_bytes), cached);
    let files = node.gateway.bundle(bundle);
    (node, CircuitId::fresh(), files)
}

/// The child of the node whose cache lies in `folder`; tests run in one process, so it is known by when it came.
fn child_pids() -> BTreeSet<u32> {
    let own = std::process::id();
    let numbers = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = numbers.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<&str> = after.split_whitespace().collect();
        fields.get(1).and_then(|p| p.parse().ok()) == Some(own) && fields.first() != Some(&"Z")
    })
    .filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(12).any(|w| w == b"prover-child")
    })
    .collect()
}

fn signal(pid: u32, name: &str) {
    let sent = std::process::Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// Tests that look for their child by its process run one at a time.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn the_child() -> u32 {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let pids = child_pids();
        if pids.len() == 1 {
            return *pids.first().unwrap();
        }
        assert!(
            Instant::now() < deadline,
            "expected one child, got {pids:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_valid(commit: &zkinfer_service::farm::lease::Finished) -> bool {
    let parts = ProofParts {
        proof: commit.proof.clone(),
        public_values: commit.public_values.clone(),
    };
    bundles().gate.verify(&parts).is_ok()
        && bundles().gate.check_input(&parts, &one_input()).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_proves_and_keeps_the_key_warm() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let (node, circuit, files) = child_node(&bundles().one, Children::ALLOWANCE_BYTES);
    let input = one_input();
    let first = node.gateway.grant(circuit, &files, &input);
    let first = node.gateway.commit_of(first).await;
    assert!(is_valid(&first));
    assert!(!first.key_load.is_zero() && !first.prove.is_zero() && first.peak_ram > 1 << 20);
    let second = node.gateway.grant(circuit, &files, &input);
    let second = node.gateway.commit_of(second).await;
    assert!(is_valid(&second) && second.key_load.is_zero());
    assert_ne!(first.proof, second.proof, "proofs are randomized");
    let phases = |s: &uplink::Seen| {
        let keys = s.beats.iter().flat_map(|(_, b)| &b.keys);
        let tiers = keys.filter(|k| k.circuit == circuit).map(|k| k.tier);
        // Beats of before the load told of the disk.
        tiers
            .max()
            .filter(|tier| *tier > zkinfer_service::store::Tier::Disk)
    };
    let tier = node.gateway.until("tell its keys", phases).await;
    assert_eq!(tier, zkinfer_service::store::Tier::Ram);
    node.stopped().await;
    let deadline = Instant::now() + Duration::from_secs(5);
    while !child_pids().is_empty() {
        assert!(Instant::now() < deadline, "the child outlives its node");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_a_child_killed_in_the_middle_of_a_proof_is_a_fault_and_the_node_goes_on() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let (node, circuit, files) = child_node(&bundles().one, Children::ALLOWANCE_BYTES);
    let child = the_child().await;
    signal(child, "STOP");
    let attempt = node.gateway.grant(circuit, &files, &one_input());
    let proving = |s: &uplink::Seen| {
        let status = s.beats.last()?.1.attempts.first()?.phase;
        (status == Phase::LoadKey).then_some(())
    };
    node.gateway.until("prove", proving).await;
    let begun = Instant::now();
    signal(child, "KILL");
    let failure = node.gateway.failure_of(attempt).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(
        (failure.class, &*failure.code),
        (FailureClass::NodeFault, "CHILD_DIED")
    );
    assert!(failure.message.contains("SIGKILL"), "{}", failure.message);
    assert_ne!(the_child().await, child);
    let next = node.gateway.grant(circuit, &files, &one_input());
    assert!(is_valid(&node.gateway.commit_of(next).await));
    node.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_obeys_a_cancel_and_is_killed_when_it_cannot() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let (node, circuit, files) = child_node(&bundles().one, Children::ALLOWANCE_BYTES);
    let child = the_child().await;
    for frozen in [false, true] {
        signal(child, "STOP");
        let attempt = node.gateway.grant(circuit, &files, &one_input());
        node.gateway.runs(attempt).await;
        let begun = Instant::now();
        node.gateway.cancel.lock().unwrap().push(attempt);
        if !frozen {
            tokio::time::sleep(Duration::from_millis(600)).await;
            signal(child, "CONT");
        }
        let idle = |s: &uplink::Seen| {
            let (at, beat) = s.beats.last()?;
            (*at > begun && beat.attempts.is_empty()).then_some(())
        };
        node.gateway.until("stop", idle).await;
        assert!(
            begun.elapsed() < Duration::from_secs(7),
            "{:?}",
            begun.elapsed()
        );
        if frozen {
            assert_ne!(the_child().await, child);
        } else {
            assert_eq!(the_child().await, child, "a child that obeys lives on");
        }
    }
    let next = node.gateway.grant(circuit, &files, &one_input());
    assert!(is_valid(&node.gateway.commit_of(next).await));
    {
        let seen = node.gateway.seen.lock().unwrap();
        assert!(seen.fails.is_empty() && seen.commits.len() == 1);
    }
    node.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f17_a_proof_over_its_memory_or_its_time_is_stopped_with_the_figure() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let (node, circuit, files) = child_node(&bundles().many, 0);
    let input = many_inputs();
    let attempt = node.gateway.grant_with(circuit, &files, &input, |lease| {
        lease.limits.ram_bytes = 3 << 20;
    });
    let failure = node.gateway.failure_of(attempt).await;
    assert_eq!(
        (failure.class, &*failure.code),
        (FailureClass::ResourceExceeded, "MEMORY_LIMIT")
    );
    assert!(
        failure.message.contains("its lease allows 3 MiB"),
        "{}",
        failure.message
    );
    let attempt = node.gateway.grant_with(circuit, &files, &input, |lease| {
        lease.time_limit = Duration::from_millis(60);
    });
    let failure = node.gateway.failure_of(attempt).await;
    assert_eq!(
        (failure.class, &*failure.code),
        (FailureClass::ResourceExceeded, "TIME_LIMIT")
    );
    assert!(failure.message.contains("0.1 s"), "{}", failure.message);
    // Without the limits the same proof is made.
    let attempt = node.gateway.grant(circuit, &files, &input);
    node.gateway.commit_of(attempt).await;
    node.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f21_a_key_that_was_damaged_on_the_disk_is_fetched_again_before_it_proves() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let (node, circuit, files) = child_node(&bundles().one, Children::ALLOWANCE_BYTES);
    let first = node.gateway.grant(circuit, &files, &one_input());
    assert!(is_valid(&node.gateway.commit_of(first).await));
    let place = node
        .folder
        .path()
        .join("cache/circuits")
        .join(circuit.0.to_string());
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 3] = [
        ("proving.key", |b| {
            let n = b.len();
            b[n / 2] ^= 1;
        }),
        ("program", |b| b[40] ^= 1),
        ("manifest.json", |b| b.truncate(9)),
    ];
    for (name, damage) in damages {
        // The child starts cold, and the file's time tells nothing.
        signal(the_child().await, "KILL");
        tokio::time::sleep(Duration::from_millis(300)).await;
        let file = place.join(name);
        let facts = std::fs::metadata(&file).unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        damage(&mut bytes);
        passes_quietly("chmod", &["600"], &file);
        std::fs::write(&file, &bytes).unwrap();
        let times = std::fs::FileTimes::new().set_modified(facts.modified().unwrap());
        std::fs::File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_times(times)
            .unwrap();
        node.gateway.seen.lock().unwrap().fetched.clear();
        let attempt = node.gateway.grant(circuit, &files, &one_input());
        assert!(is_valid(&node.gateway.commit_of(attempt).await), "{name}");
        let seen = node.gateway.seen.lock().unwrap();
        let again: Vec<&str> = seen
            .fetched
            .iter()
            .map(|f| &*f.0)
            .filter(|n| !n.is_empty())
            .collect();
        assert_eq!(again, [name]);
        assert!(seen.fails.is_empty(), "{name}: {:?}", seen.fails);
    }
    node.stopped().await;
}

fn passes_quietly(program: &str, args: &[&str], file: &Path) {
    let status = std::process::Command::new(program)
        .args(args)
        .arg(file)
        .status();
    assert!(status.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_ends_in_a_drain_is_delivered_although_the_session_is_over() {
    let (node, _) = fake_node(1, 1000);
    let attempt = node.gateway.grant(CircuitId::fresh(), &[], b"{}");
    node.gateway.runs(attempt).await;
    node.stop.cancel();
    node.gateway.forget_session();
    let gateway = node.gateway.clone();
    node.task.await.unwrap().unwrap();
    let seen = gateway.seen.lock().unwrap();
    assert_eq!((seen.commits.len(), seen.commits[0].session), (1, 2));
    assert!(seen.fails.is_empty() && seen.closed == [2]);
}
