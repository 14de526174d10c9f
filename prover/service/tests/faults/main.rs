//! Faults of a farm, as processes meet them. The numbers are those of the service's list of faults.
//!
//! The fast tier runs by default; `ZKINFER_FAULTS=all cargo test --release --workspace --test faults -- --nocapture` runs the slow one too, with the
//! times of a server nobody configured.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

#[path = "../farm_kit/mod.rs"]
mod farm_kit;

mod clients;
mod gateway;
mod network;
mod nodes;

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use farm_kit::{
    Gateway, Network, Node, QUICK, all, cutting_proxy, group_of, input, inputs, is, is_gone,
    is_over, job, json, proof, request, until,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::Code;
use zkinfer_service::api::proto::{self, FailureClass, Phase, job::State, job_event::Event};

/// Farms share two cores with one another.
static FARMS: Semaphore = Semaphore::const_new(2);

const SOON: Duration = Duration::from_secs(60);
/// Inferences of a proof that takes about a second.
const LONG: usize = 32;
/// Of [`QUICK`].
const HEARTBEAT: Duration = Duration::from_millis(500);

/// A gateway with a folder to itself, once there is room for one more farm.
async fn farm(options: &[&str]) -> (SemaphorePermit<'static>, TempDir, Gateway) {
    let turn = FARMS.acquire().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("gateway"), options);
    (turn, folder, gateway)
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

/// Not before: until then the child has nothing to do, and one that dies is replaced for free.
fn is_proving(job: &proto::Job) -> bool {
    job.state() == State::Running && job.phase() >= Phase::Witness
}

/// The node that works on a job, with its prover stopped in the middle of the proof, and the other one. `None` once the job is over.
async fn at_work<'n>(
    gateway: &Gateway,
    name: &str,
    nodes: &'n [Node; 2],
) -> Option<(&'n Node, &'n Node)> {
    let mut client = gateway.jobs().await;
    let begun = |j: &proto::Job| matches!(j.state(), State::Leased | State::Running) || is_over(j);
    let mut seen = until(&mut client, name, SOON, begun).await;
    // A slice of the proof at a time, so that it cannot end before a heartbeat tells that it began.
    let end = Instant::now() + SOON;
    while !is_proving(&seen) {
        if is_over(&seen) {
            return None;
        }
        assert!(Instant::now() < end, "{seen:#?}");
        for node in nodes {
            node.signal_provers(Signal::CONT);
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
        for node in nodes {
            node.signal_provers(Signal::STOP);
        }
        let told = Instant::now() + HEARTBEAT + HEARTBEAT / 5;
        while Instant::now() < told && !is_proving(&seen) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            seen = job(&mut client, name).await;
        }
    }
    for node in nodes {
        node.signal_provers(Signal::STOP);
    }
    let seen = job(&mut client, name).await;
    assert_eq!(seen.state(), State::Running, "{seen:#?}");
    let list = gateway.node_list();
    let at = seen.history.last().unwrap().node.as_str();
    let first = list[&nodes[0].name]["name"].as_str() == Some(at);
    let (working, other) = (&nodes[usize::from(!first)], &nodes[usize::from(first)]);
    other.signal_provers(Signal::CONT);
    Some((working, other))
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
