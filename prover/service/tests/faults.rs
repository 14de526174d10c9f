//! Faults of a farm, as processes meet them. The numbers are those of the service's list of faults.
//!
//! The fast tier runs by default; `ZKINFER_FAULTS=all cargo test --release --workspace --test faults -- --nocapture` runs the slow one too, with the
//! times of a server nobody configured.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod farm_kit;

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use farm_kit::{
    Gateway, Network, Node, QUICK, all, cutting_proxy, input, inputs, is, is_over, job, json,
    proof, request, until,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use rustix::process::Signal;
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::Code;
use zkinfer_service::api::proto::{self, FailureClass, job::State, job_event::Event};

/// Farms share two cores with one another.
static FARMS: Semaphore = Semaphore::const_new(2);

const SOON: Duration = Duration::from_secs(60);
/// Inferences of a proof that takes about a second.
const LONG: usize = 32;

async fn turn() -> SemaphorePermit<'static> {
    FARMS.acquire().await.unwrap()
}

fn long_circuit(gateway: &Gateway) -> String {
    gateway.circuit("digits-cnn", &["--batch", &LONG.to_string()])
}

fn long_input(n: usize) -> Vec<u8> {
    inputs("digits-cnn", n, LONG)
}

fn two_nodes(gateway: &Gateway, folder: &Path) -> [Node; 2] {
    ["a", "b"].map(|name| Node::join(gateway, name, folder, &[]))
}

/// The node that works on a job, and the other one.
async fn at_work<'n>(gateway: &Gateway, name: &str, nodes: &'n [Node; 2]) -> (&'n Node, &'n Node) {
    let mut client = gateway.jobs().await;
    let seen = until(&mut client, name, SOON, is(State::Running)).await;
    // No proof ends while this looks for its place.
    for node in nodes {
        node.signal_provers(Signal::STOP);
    }
    let id = seen.history.last().unwrap().node.clone();
    let list = gateway.node_list();
    for node in nodes {
        node.signal_provers(Signal::CONT);
    }
    let first = list.values().any(|n| {
        n["name"].as_str() == Some(&id) && n["display_name"].as_str() == Some(&nodes[0].name)
    });
    if first {
        (&nodes[0], &nodes[1])
    } else {
        (&nodes[1], &nodes[0])
    }
}

async fn submit(gateway: &Gateway, circuit: &str, input: Vec<u8>) -> String {
    let mut client = gateway.jobs().await;
    let made = client.create_job(request(circuit, input)).await.unwrap();
    made.into_inner().name
}

async fn succeeds(gateway: &Gateway, name: &str) -> proto::Job {
    let mut client = gateway.jobs().await;
    let seen = until(&mut client, name, SOON, is_over).await;
    assert_eq!(seen.state(), State::Succeeded, "{seen:#?}");
    proof(gateway, &seen).await;
    seen
}

async fn ends_once(gateway: &Gateway, name: &str, state: State) {
    let ends = farm_kit::ends(gateway, &BTreeSet::from([name.to_owned()])).await;
    assert_eq!(ends.get(name), Some(&vec![state]));
}

/// Attempts that count against the job's budget.
fn charged(job: &proto::Job) -> usize {
    let free = [FailureClass::NodeLost, FailureClass::Cancelled];
    let failed = failures(job).into_iter();
    failed.filter(|(class, _)| !free.contains(class)).count()
}

fn failures(job: &proto::Job) -> Vec<(FailureClass, String)> {
    let ended = job.history.iter().filter_map(|a| a.failure.as_ref());
    ended.map(|f| (f.class(), f.code.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the proof ends before the kill: needs a longer one"]
async fn f01_a_killed_prover_fails_its_attempt_and_its_supervisor_goes_on() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = long_circuit(&gateway);
    let mut nodes = two_nodes(&gateway, folder.path());
    let name = submit(&gateway, &circuit, long_input(0)).await;
    let (working, _) = at_work(&gateway, &name, &nodes).await;
    assert!(working.signal_provers(Signal::KILL) > 0);
    let killed = Instant::now();
    let mut client = gateway.jobs().await;
    let seen = until(&mut client, &name, Duration::from_secs(5), |j| {
        !failures(j).is_empty()
    })
    .await;
    println!(
        "told after {:.0} ms",
        killed.elapsed().as_secs_f64() * 1000.0
    );
    assert_eq!(
        failures(&seen)[0],
        (FailureClass::NodeFault, "CHILD_DIED".into())
    );
    let ended = succeeds(&gateway, &name).await;
    assert_ne!(ended.history[0].node, ended.history[1].node, "{ended:#?}");
    assert!(nodes.iter_mut().all(Node::is_alive));
}

#[tokio::test(flavor = "multi_thread")]
async fn f02_a_killed_node_loses_its_lease_and_no_attempt_is_counted() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let slow = all();
    let gateway = Gateway::start(
        &folder.path().join("gateway"),
        if slow { &[] } else { &QUICK },
    );
    let circuit = long_circuit(&gateway);
    let mut nodes = two_nodes(&gateway, folder.path());
    let name = submit(&gateway, &circuit, long_input(0)).await;
    let first = at_work(&gateway, &name, &nodes).await.0.name == nodes[0].name;
    nodes[usize::from(!first)].kill();
    let killed = Instant::now();
    let mut client = gateway.jobs().await;
    let limit = Duration::from_secs(if slow { 35 } else { 3 + 5 });
    let seen = until(&mut client, &name, limit, |j| j.history.len() > 1).await;
    println!(
        "R3: leased again after {:.1} s",
        killed.elapsed().as_secs_f64()
    );
    assert_eq!(failures(&seen)[0].0, FailureClass::NodeLost);
    let ended = succeeds(&gateway, &name).await;
    assert_eq!(charged(&ended), 0, "{ended:#?}");
    let lost = gateway.node_list()[&nodes[usize::from(!first)].name]["lost"].as_u64();
    assert_eq!(lost, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn f03_a_frozen_node_that_comes_back_with_a_proof_makes_no_second_one() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = long_circuit(&gateway);
    let nodes = two_nodes(&gateway, folder.path());
    let name = submit(&gateway, &circuit, long_input(0)).await;
    let (frozen, _) = at_work(&gateway, &name, &nodes).await;
    frozen.freeze();
    let ended = succeeds(&gateway, &name).await;
    assert_eq!(failures(&ended)[0].0, FailureClass::NodeLost);
    frozen.thaw();
    tokio::time::sleep(Duration::from_secs(4)).await;
    ends_once(&gateway, &name, State::Succeeded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_a_partition_that_heals_after_the_lease_went_elsewhere_makes_no_second_end() {
    let _turn = turn().await;
    let Some(network) = Network::new(4) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut nodes_at = farm_kit::free_address();
    nodes_at.set_ip(std::net::Ipv4Addr::UNSPECIFIED.into());
    let gateway = Gateway::on(
        farm_kit::free_address(),
        nodes_at,
        &folder.path().join("gateway"),
        &QUICK,
    );
    let circuit = long_circuit(&gateway);
    let url = format!("https://{}:{}", network.here, nodes_at.port());
    let space = Some(network.space.as_str());
    let far = Node::join_at(&gateway, &url, "far", folder.path(), &[], space);
    let name = submit(&gateway, &circuit, long_input(0)).await;
    let mut client = gateway.jobs().await;
    until(&mut client, &name, SOON, is(State::Running)).await;
    network.cut();
    let near = Node::join_at(
        &gateway,
        &format!("https://127.0.0.1:{}", nodes_at.port()),
        "near",
        folder.path(),
        &[],
        None,
    );
    let ended = succeeds(&gateway, &name).await;
    assert_eq!(failures(&ended)[0].0, FailureClass::NodeLost, "{ended:#?}");
    network.heal();
    ends_once(&gateway, &name, State::Succeeded).await;
    // The far node works again.
    near.freeze();
    let name = submit(&gateway, &circuit, long_input(1)).await;
    let ended = succeeds(&gateway, &name).await;
    let list = gateway.node_list();
    assert_eq!(
        list["far"]["name"].as_str(),
        Some(ended.history.last().unwrap().node.as_str())
    );
    drop(far);
}

#[tokio::test(flavor = "multi_thread")]
async fn f05_lost_replies_for_less_than_a_lease_cost_nothing() {
    let _turn = turn().await;
    let Some(network) = Network::new(5) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut nodes_at = farm_kit::free_address();
    nodes_at.set_ip(std::net::Ipv4Addr::UNSPECIFIED.into());
    let quick = ["--lease-ttl-ms", "6000", "--heartbeat-ms", "500"];
    let gateway = Gateway::on(
        farm_kit::free_address(),
        nodes_at,
        &folder.path().join("gateway"),
        &quick,
    );
    let circuit = long_circuit(&gateway);
    let url = format!("https://{}:{}", network.here, nodes_at.port());
    let space = Some(network.space.as_str());
    let node = Node::join_at(&gateway, &url, "far", folder.path(), &[], space);
    let name = submit(&gateway, &circuit, long_input(0)).await;
    let mut client = gateway.jobs().await;
    until(&mut client, &name, SOON, is(State::Running)).await;
    // The proof must still be on its way when replies come again.
    node.signal_provers(Signal::STOP);
    network.lose_replies();
    tokio::time::sleep(Duration::from_secs(3)).await;
    network.find_replies();
    tokio::time::sleep(Duration::from_secs(3)).await;
    node.signal_provers(Signal::CONT);
    let ended = succeeds(&gateway, &name).await;
    assert_eq!(ended.history.len(), 1, "{ended:#?}");
    assert_eq!(gateway.node_list()["far"]["lost"].as_u64(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn f06_a_starved_node_keeps_its_leases() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = long_circuit(&gateway);
    let _node = Node::join(&gateway, "a", folder.path(), &[]);
    let mut hogs: Vec<_> = (0..2 * std::thread::available_parallelism().unwrap().get())
        .map(|_| {
            let endless = "while :; do :; done";
            std::process::Command::new("sh")
                .args(["-c", endless])
                .spawn()
                .unwrap()
        })
        .collect();
    let time = Duration::from_secs(if all() { 600 } else { 12 });
    let until = Instant::now() + time;
    let mut done = 0;
    while Instant::now() < until {
        let name = submit(&gateway, &circuit, long_input(done)).await;
        let ended = succeeds(&gateway, &name).await;
        assert_eq!(ended.history.len(), 1, "{ended:#?}");
        done += 1;
    }
    for hog in &mut hogs {
        hog.kill().unwrap();
        hog.wait().unwrap();
    }
    println!(
        "{done} proofs in {} s among {} hogs",
        time.as_secs(),
        hogs.len()
    );
    assert_eq!(gateway.node_list()["a"]["lost"].as_u64(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn f07_a_gateway_killed_at_any_moment_of_a_commit_ends_with_one_proof() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = gateway.circuit("digits-mlp", &[]);
    let _node = Node::join(&gateway, "a", folder.path(), &[]);
    let rounds = if all() { 60 } else { 12 };
    for round in 0..rounds {
        let name = submit(&gateway, &circuit, input("digits-mlp", round)).await;
        let mut client = gateway.jobs().await;
        let mut seen = job(&mut client, &name).await;
        // Kills spread over the end of a proof: own verification, upload, verification, transaction, answer.
        while seen.state() == State::Queued || (seen.progress < 0.9 && !is_over(&seen)) {
            seen = job(&mut client, &name).await;
        }
        tokio::time::sleep(Duration::from_micros(700 * (round as u64 % 20))).await;
        gateway.restart();
        let ended = succeeds(&gateway, &name).await;
        assert_eq!(charged(&ended), 0, "{ended:#?}");
        ends_once(&gateway, &name, State::Succeeded).await;
    }
    let data = folder.path().join("gateway/uploads");
    let left = std::fs::read_dir(data).map_or(0, Iterator::count);
    assert_eq!(left, 0, "uploads are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn f08_a_gateway_that_is_replaced_finds_its_proofs_running() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = long_circuit(&gateway);
    let nodes: Vec<Node> = ["a", "b", "c"]
        .map(|name| Node::join(&gateway, name, folder.path(), &["--slots", "2"]))
        .into();
    let mut names = Vec::new();
    for n in 0..6 {
        names.push(submit(&gateway, &circuit, long_input(n)).await);
    }
    let mut client = gateway.jobs().await;
    for name in &names {
        until(&mut client, name, SOON, |j| {
            j.state() == State::Running || is_over(j)
        })
        .await;
    }
    for node in &nodes {
        node.signal_provers(Signal::STOP);
    }
    gateway.restart();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for node in &nodes {
        node.signal_provers(Signal::CONT);
    }
    for name in &names {
        let ended = succeeds(&gateway, name).await;
        assert_eq!((charged(&ended), ended.history.len()), (0, 1), "{ended:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f12_clients_that_go_away_leave_no_half_job_and_no_poisoned_connection() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &["--max-queued", "100000"]);
    let circuit = gateway.circuit("digits-mlp", &[]);
    let calls = if all() { 10_000 } else { 600 };
    let mut rng = StdRng::seed_from_u64(12);
    let mut sent = BTreeSet::new();
    for n in 0..calls {
        let mut client = gateway.jobs().await;
        let mut wanted = request(&circuit, input("digits-mlp", n));
        wanted.allow_cached = Some(false);
        sent.insert(wanted.request_id.clone());
        wanted
            .labels
            .insert("request".into(), wanted.request_id.clone());
        let patience = Duration::from_micros(rng.gen_range(0..4000));
        let answer = tokio::time::timeout(patience, client.create_job(wanted)).await;
        if let Ok(Ok(made)) = answer {
            let name = made.into_inner().name;
            let request = proto::CancelJobRequest {
                name,
                ..Default::default()
            };
            let patience = Duration::from_micros(rng.gen_range(0..2000));
            let _ = tokio::time::timeout(patience, client.cancel_job(request)).await;
        }
    }
    let mut client = gateway.jobs().await;
    let mut token = String::new();
    let mut seen = BTreeSet::new();
    loop {
        let request = proto::ListJobsRequest {
            page_size: 500,
            page_token: token,
            circuit: circuit.clone(),
            ..Default::default()
        };
        let page = client.list_jobs(request).await.unwrap().into_inner();
        for job in &page.jobs {
            if job.kind() != proto::job::Kind::Prove {
                continue;
            }
            assert!(
                matches!(job.state(), State::Queued | State::Cancelled),
                "{job:#?}"
            );
            assert!(sent.contains(&job.labels["request"]));
            assert!(
                seen.insert(job.labels["request"].clone()),
                "twice: {job:#?}"
            );
            assert!(job.input.is_some() && job.deadline.is_some(), "{job:#?}");
        }
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    println!("{} of {calls} calls made a job", seen.len());
    assert!(!seen.is_empty());
    let name = submit(&gateway, &circuit, input("digits-mlp", 3)).await;
    let cancelled = client
        .cancel_job(proto::CancelJobRequest {
            name,
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(cancelled.into_inner().state(), State::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn f13_the_same_request_from_many_clients_is_one_job() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = gateway.circuit("digits-mlp", &[]);
    for same_id in [true, false] {
        let wanted = request(&circuit, input("digits-mlp", usize::from(same_id)));
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..32 {
            let mut client = gateway.jobs().await;
            let mut wanted = wanted.clone();
            if !same_id {
                wanted.request_id = uuid::Uuid::new_v4().to_string();
            }
            calls.spawn(async move { client.create_job(wanted).await.unwrap().into_inner() });
        }
        let made = calls.join_all().await;
        let names: BTreeSet<_> = made.iter().map(|j| j.name.clone()).collect();
        assert_eq!(names.len(), 1, "same request id: {same_id}");
        assert_eq!(made.iter().filter(|j| !j.deduplicated).count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f14_a_cancelled_job_stays_cancelled_and_its_prover_is_freed() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = long_circuit(&gateway);
    let mut client = gateway.jobs().await;
    let cancel = |name: &str| proto::CancelJobRequest {
        name: name.into(),
        ..Default::default()
    };
    // QUEUED: there is no node yet.
    let queued = submit(&gateway, &circuit, long_input(0)).await;
    client.cancel_job(cancel(&queued)).await.unwrap();
    let node = Node::join(&gateway, "a", folder.path(), &[]);
    // RUNNING, and a prover that does not hear: the proof comes after the cancel.
    let deaf = submit(&gateway, &circuit, long_input(1)).await;
    until(&mut client, &deaf, SOON, is(State::Running)).await;
    node.signal_provers(Signal::STOP);
    client.cancel_job(cancel(&deaf)).await.unwrap();
    node.signal_provers(Signal::CONT);
    // RUNNING: the slot is free for another job within a heartbeat and a bit.
    let running = submit(&gateway, &circuit, long_input(2)).await;
    until(&mut client, &running, SOON, is(State::Running)).await;
    client.cancel_job(cancel(&running)).await.unwrap();
    let begun = Instant::now();
    let next = submit(&gateway, &circuit, long_input(3)).await;
    until(&mut client, &next, SOON, |j| {
        matches!(j.state(), State::Leased | State::Running) || is_over(j)
    })
    .await;
    let freed = begun.elapsed();
    println!(
        "R4: the slot was free {:.2} s after the cancel (heartbeat 0.5 s)",
        freed.as_secs_f64()
    );
    assert!(freed < Duration::from_secs(7), "{freed:?}");
    succeeds(&gateway, &next).await;
    for name in [&queued, &deaf, &running] {
        assert_eq!(job(&mut client, name).await.state(), State::Cancelled);
        ends_once(&gateway, name, State::Cancelled).await;
        let request = proto::GetProofRequest {
            job: name.clone(),
            ..Default::default()
        };
        let refused = client.get_proof(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f15_a_cancel_that_races_the_proof_gives_one_end() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = gateway.circuit("digits-mlp", &[]);
    let _node = Node::join(&gateway, "a", folder.path(), &[]);
    let mut client = gateway.jobs().await;
    let warm = submit(&gateway, &circuit, input("digits-mlp", 63)).await;
    succeeds(&gateway, &warm).await;
    let mut states = BTreeSet::new();
    let mut names = BTreeSet::new();
    for n in 0..40u64 {
        let mut wanted = request(&circuit, input("digits-mlp", n as usize));
        wanted.allow_cached = Some(false);
        let name = client.create_job(wanted).await.unwrap().into_inner().name;
        tokio::time::sleep(Duration::from_millis(3 * n)).await;
        let request = proto::CancelJobRequest {
            name: name.clone(),
            ..Default::default()
        };
        let answered = client.cancel_job(request).await.unwrap().into_inner();
        assert!(is_over(&answered));
        states.insert(answered.state);
        names.insert(name);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ends = farm_kit::ends(&gateway, &names).await;
    for name in &names {
        let now = job(&mut client, name).await;
        assert_eq!(ends[name], vec![now.state()]);
    }
    println!("{} different ends", states.len());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the proof ends before the kill: needs a longer one"]
async fn f16_a_job_that_kills_its_provers_is_given_up_and_nobody_else_suffers() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = long_circuit(&gateway);
    let nodes = two_nodes(&gateway, folder.path());
    let before = gateway.node_list();
    let mut client = gateway.jobs().await;
    let mut wanted = request(&circuit, long_input(0));
    wanted.max_attempts = 20;
    let poison = client.create_job(wanted).await.unwrap().into_inner().name;
    let ended = loop {
        let seen = until(&mut client, &poison, SOON, |j| {
            j.state() == State::Running || is_over(j)
        })
        .await;
        if is_over(&seen) {
            break seen;
        }
        for node in &nodes {
            node.signal_provers(Signal::KILL);
        }
        let deaths = failures(&seen).len();
        until(&mut client, &poison, SOON, |j| failures(j).len() > deaths).await;
    };
    assert_eq!(ended.state(), State::Dead, "{ended:#?}");
    assert_eq!(ended.failure.as_ref().unwrap().code, "POISON_SUSPECT");
    let at: BTreeSet<_> = ended.history.iter().map(|a| a.node.clone()).collect();
    assert_eq!(at.len(), 2, "{ended:#?}");
    let after = gateway.node_list();
    for node in &nodes {
        let score = |list: &std::collections::BTreeMap<String, serde_json::Value>| {
            list[&node.name]["score"].as_f64().unwrap()
        };
        assert!(score(&after) >= score(&before), "{after:?}");
    }
    let other = submit(&gateway, &circuit, long_input(1)).await;
    succeeds(&gateway, &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f17_a_proof_over_its_limits_is_stopped_and_the_figure_told() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let limits = [&QUICK[..], &["--proof-time-limit-ms", "1500"]].concat();
    let gateway = Gateway::start(&folder.path().join("gateway"), &limits);
    let circuit = long_circuit(&gateway);
    let node = Node::join(&gateway, "a", folder.path(), &[]);
    let mut client = gateway.jobs().await;
    let name = submit(&gateway, &circuit, long_input(0)).await;
    // A prover that does not come to an end.
    let ended = loop {
        node.signal_provers(Signal::STOP);
        let seen = job(&mut client, &name).await;
        if is_over(&seen) {
            break seen;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(ended.state(), State::Dead, "{ended:#?}");
    let failure = ended.failure.clone().unwrap();
    assert_eq!(failure.class(), FailureClass::ResourceExceeded);
    assert!(failure.message.contains("1.5 s"), "{failure:?}");
    assert!(ended.history.len() <= 2, "{ended:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f21_a_damaged_key_in_a_nodes_cache_is_fetched_again() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = gateway.circuit("digits-cnn", &[]);
    let mut node = Node::join(&gateway, "a", folder.path(), &[]);
    let name = submit(&gateway, &circuit, input("digits-cnn", 0)).await;
    succeeds(&gateway, &name).await;
    for (n, damage) in ["flip", "truncate"].into_iter().enumerate() {
        node.kill();
        let (path, size) = largest_file(&node.data.join("cache"));
        assert!(size > 1_000_000, "{path:?}");
        let mut bytes = std::fs::read(&path).unwrap();
        if damage == "flip" {
            bytes[size / 2] ^= 1;
        } else {
            bytes.truncate(size / 2);
        }
        // In place, as a bad disk would do it.
        std::fs::write(&path, bytes).unwrap();
        node.start_again();
        let name = submit(&gateway, &circuit, input("digits-cnn", n + 1)).await;
        let ended = succeeds(&gateway, &name).await;
        assert_eq!(ended.history.len(), 1, "{damage}: {ended:#?}");
        assert_eq!(largest_file(&node.data.join("cache")).1, size, "{damage}");
    }
}

fn largest_file(folder: &Path) -> (std::path::PathBuf, usize) {
    let mut largest = (folder.to_owned(), 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let about = entry.metadata().unwrap();
            if about.is_dir() {
                folders.push(entry.path());
            } else if about.len() as usize > largest.1 {
                largest = (entry.path(), about.len() as usize);
            }
        }
    }
    largest
}

#[tokio::test(flavor = "multi_thread")]
async fn f25_a_download_that_is_cut_goes_on_and_no_failure_is_counted() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = gateway.circuit("digits-cnn", &[]);
    // The key has seven megabytes: every connection ends after two.
    let proxy = cutting_proxy(gateway.nodes, 2 << 20, 6);
    let url = format!("https://{proxy}");
    let _node = Node::join_at(&gateway, &url, "a", folder.path(), &[], None);
    let name = submit(&gateway, &circuit, input("digits-cnn", 0)).await;
    let ended = succeeds(&gateway, &name).await;
    assert_eq!(charged(&ended), 0, "{ended:#?}");
    assert!(failures(&ended).is_empty(), "{ended:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f29_a_job_that_no_node_can_hold_says_how_much_it_needs() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = long_circuit(&gateway);
    let mut client = gateway.jobs().await;
    let name = submit(&gateway, &circuit, long_input(0)).await;
    let waiting = job(&mut client, &name).await.pending_reason.unwrap();
    assert_eq!(waiting.kind(), proto::pending_reason::Kind::NoNodeOnline);
    let _node = Node::join(&gateway, "small", folder.path(), &["--max-ram", "1048576"]);
    let kind = proto::pending_reason::Kind::NoNodeBigEnough;
    let seen = until(&mut client, &name, Duration::from_secs(5), |j| {
        j.pending_reason.as_ref().is_some_and(|p| p.kind() == kind)
    })
    .await;
    let detail = seen.pending_reason.unwrap().detail;
    assert!(detail.contains("MiB"), "{detail}");
    let told = json(&mut gateway.cli(&["job", "explain", &name]));
    assert!(
        told["verdicts"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("MiB"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn f31_a_node_that_is_asked_to_end_finishes_or_hands_back() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = long_circuit(&gateway);
    let mut client = gateway.jobs().await;
    // Time enough: the proof is finished, and the node ends by itself.
    let mut node = Node::join(&gateway, "a", folder.path(), &["--drain-timeout", "30"]);
    let name = submit(&gateway, &circuit, long_input(0)).await;
    until(&mut client, &name, SOON, is(State::Running)).await;
    node.signal(Signal::TERM);
    let ended = succeeds(&gateway, &name).await;
    assert_eq!(ended.history.len(), 1, "{ended:#?}");
    assert!(
        node.wait(Duration::from_secs(10))
            .is_some_and(|s| s.success())
    );
    // No time: the attempt goes back uncounted, to another node.
    let mut hasty = Node::join(&gateway, "b", folder.path(), &["--drain-timeout", "1"]);
    let name = submit(&gateway, &circuit, long_input(1)).await;
    until(&mut client, &name, SOON, is(State::Running)).await;
    hasty.signal_provers(Signal::STOP);
    hasty.signal(Signal::TERM);
    until(
        &mut client,
        &name,
        Duration::from_secs(8),
        is(State::Queued),
    )
    .await;
    assert!(hasty.wait(Duration::from_secs(10)).is_some());
    let _other = Node::join(&gateway, "c", folder.path(), &[]);
    assert_eq!(charged(&succeeds(&gateway, &name).await), 0);
    // A second signal ends at once.
    let mut stuck = Node::join(&gateway, "d", folder.path(), &["--drain-timeout", "600"]);
    _other.freeze();
    let name = submit(&gateway, &circuit, long_input(2)).await;
    until(&mut client, &name, SOON, is(State::Running)).await;
    stuck.signal_provers(Signal::STOP);
    stuck.signal(Signal::TERM);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(stuck.is_alive());
    stuck.signal(Signal::TERM);
    assert!(stuck.wait(Duration::from_secs(3)).is_some());
    _other.thaw();
    succeeds(&gateway, &name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f32_a_watch_that_is_cut_and_a_gateway_that_restarts_repeat_and_lose_nothing() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = gateway.circuit("digits-mlp", &[]);
    let _node = Node::join(&gateway, "a", folder.path(), &[]);
    let mut rng = StdRng::seed_from_u64(32);
    let mut names = BTreeSet::new();
    let mut cursor = "0".to_owned();
    let mut changes = Vec::new();
    let jobs = 30;
    for cut in 0..100 {
        if cut % 3 == 0 && names.len() < jobs {
            names.insert(submit(&gateway, &circuit, input("digits-mlp", names.len())).await);
        }
        if cut == 50 {
            gateway.restart();
        }
        let request = proto::WatchJobsRequest {
            cursor: cursor.clone(),
            ..Default::default()
        };
        let mut client = gateway.jobs().await;
        let mut stream = client.watch_jobs(request).await.unwrap().into_inner();
        let patience = Duration::from_millis(rng.gen_range(0..120));
        let until = tokio::time::Instant::now() + patience;
        while let Ok(Ok(Some(event))) = tokio::time::timeout_at(until, stream.message()).await {
            if let Some(Event::State(change)) = &event.event {
                changes.push((event.job.clone(), change.from, change.to));
            }
            cursor = event.cursor;
        }
    }
    for name in &names {
        succeeds(&gateway, name).await;
    }
    let mut client = gateway.jobs().await;
    let request = proto::WatchJobsRequest {
        cursor,
        ..Default::default()
    };
    let mut stream = client.watch_jobs(request).await.unwrap().into_inner();
    let quiet = Duration::from_secs(1);
    while let Ok(Ok(Some(event))) = tokio::time::timeout(quiet, stream.message()).await {
        if let Some(Event::State(change)) = &event.event {
            changes.push((event.job.clone(), change.from, change.to));
        }
    }
    // Each job's changes are a chain from nothing to its end: none twice, none missing.
    for name in &names {
        let chain: Vec<_> = changes.iter().filter(|c| &c.0 == name).collect();
        assert_eq!(chain[0].1, 0, "{chain:?}");
        assert!(chain.windows(2).all(|w| w[0].2 == w[1].1), "{chain:?}");
        assert_eq!(chain.last().unwrap().2, i32::from(State::Succeeded));
        assert_eq!(
            chain
                .iter()
                .filter(|c| c.2 == i32::from(State::Succeeded))
                .count(),
            1
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f36_a_private_input_is_nowhere_in_what_an_attacker_can_copy() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("gateway");
    let log = folder.path().join("log");
    let gateway = Gateway::logged(&data, &QUICK, &log);
    let circuit = gateway.circuit("digits-mlp", &["--input", "private"]);
    let plain = input("digits-mlp", 5);
    let canaries = canaries(&plain);
    // Queued, with no node: the input is at rest, inline and as an artifact.
    let inline = submit(&gateway, &circuit, plain.clone()).await;
    let file = folder.path().join("secret.json");
    let other = input("digits-mlp", 6);
    std::fs::write(&file, &other).unwrap();
    let mut command = gateway.cli(&["job", "submit", &circuit, "--no-cache"]);
    let uploaded = json(command.arg("--input").arg(&file));
    std::fs::remove_file(&file).unwrap();
    let uploaded = uploaded["name"].as_str().unwrap().to_owned();
    let search = |place: &str| {
        for (what, canary) in canaries.iter().chain(&self::canaries(&other)) {
            assert_eq!(find(folder.path(), canary), None, "{what}, {place}");
        }
    };
    search("while queued");
    let node = Node::join_logged(
        &gateway,
        "a",
        folder.path(),
        &folder.path().join("node-log"),
    );
    for name in [&inline, &uploaded] {
        let ended = succeeds(&gateway, name).await;
        assert!(ended.input.is_none());
    }
    search("after success");
    // Dropped after success: nothing of kind INPUT is left.
    tokio::time::sleep(Duration::from_secs(5)).await;
    drop(node);
    search("at the end");
    // An untrusted node never sees a private input.
    let _node = Node::join(&gateway, "stranger", folder.path(), &["--untrusted"]);
    let name = submit(&gateway, &circuit, input("digits-mlp", 7)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut client = gateway.jobs().await;
    let waiting = job(&mut client, &name).await;
    assert_eq!(waiting.state(), State::Queued, "{waiting:#?}");
}

/// What would give the input away: its text, and the bytes of its quantized tensor in a row.
fn canaries(input: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let text = std::str::from_utf8(input).unwrap();
    let start = text.find("[[").unwrap() + 2;
    vec![("text", text.as_bytes()[start..start + 60].to_vec())]
}

/// The first file below `folder` that holds `canary`.
fn find(folder: &Path, canary: &[u8]) -> Option<std::path::PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read(&path)
                .is_ok_and(|bytes| bytes.windows(canary.len()).any(|w| w == canary))
            {
                return Some(path);
            }
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn f40_a_second_copy_of_a_slow_proof_wins_and_the_first_is_not_blamed() {
    if !all() {
        println!("left out: a copy is made after 30 s; ZKINFER_FAULTS=all");
        return;
    }
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuit = long_circuit(&gateway);
    let nodes = two_nodes(&gateway, folder.path());
    let name = submit(&gateway, &circuit, long_input(0)).await;
    let (slow, _) = at_work(&gateway, &name, &nodes).await;
    let before = gateway.node_list()[&slow.name].clone();
    // Its supervisor lives, its prover does not move.
    slow.signal_provers(Signal::STOP);
    let mut client = gateway.jobs().await;
    let ended = until(&mut client, &name, Duration::from_secs(90), is_over).await;
    assert_eq!(ended.state(), State::Succeeded, "{ended:#?}");
    proof(&gateway, &ended).await;
    assert_eq!(ended.history.len(), 2, "{ended:#?}");
    assert!(ended.history[1].speculative && !ended.history[0].speculative);
    slow.signal_provers(Signal::CONT);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = gateway.node_list()[&slow.name].clone();
    for count in ["score", "ok", "failed", "invalid", "lost"] {
        assert_eq!(before[count], after[count], "{count}");
    }
    ends_once(&gateway, &name, State::Succeeded).await;
}

/// Not a fault: what the queue adds to a proof of an idle server (R5).
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_server_starts_a_job_at_once() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), &["--slots", "1"]);
    let circuit = gateway.circuit("digits-mlp", &[]);
    let mut client = gateway.jobs().await;
    let mut waits = Vec::new();
    for n in 0..60 {
        let name = submit(&gateway, &circuit, input("digits-mlp", n)).await;
        let ended = until(&mut client, &name, SOON, is_over).await;
        assert_eq!(ended.state(), State::Succeeded, "{ended:#?}");
        let at = |t: &Option<prost_types::Timestamp>| {
            let t = t.as_ref().unwrap();
            t.seconds * 1000 + i64::from(t.nanos) / 1_000_000
        };
        waits.push(at(&ended.history[0].lease_time) - at(&ended.create_time));
    }
    waits.sort_unstable();
    println!(
        "R5: submit to lease, 60 jobs: p50 {} ms, p95 {} ms, most {} ms",
        waits[30], waits[57], waits[59]
    );
    assert!(waits.iter().all(|w| *w >= 0));
}
