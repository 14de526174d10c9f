//! Three prover nodes and a gateway as processes on loopback; jobs over three circuits and two proof systems; `kill -9` of provers,
//! supervisors and the gateway at random moments: every acknowledged job ends in exactly one valid proof.
//!
//! `ZKINFER_FARM_JOBS` sets the number of jobs (300), `ZKINFER_FARM_SEED` the seed.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod farm_kit;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::{Duration, Instant},
};

use farm_kit::{Gateway, Node, QUICK, children_of, input, is_over, job, request};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use rustix::process::{Signal, kill_process};
use zkinfer_service::api::proto::job::State;

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|v| v.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_job_ends_in_exactly_one_valid_proof() {
    let jobs: usize = from_environment("ZKINFER_FARM_JOBS").unwrap_or(300);
    let seed: u64 = from_environment("ZKINFER_FARM_SEED").unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(&folder.path().join("gateway"), &QUICK);
    let circuits = [
        ("digits-mlp", gateway.circuit("digits-mlp", &[])),
        ("digits-cnn", gateway.circuit("digits-cnn", &[])),
        (
            "digits-mlp",
            gateway.circuit("digits-mlp", &["--system", "halo2-kzg"]),
        ),
    ];
    let mut nodes: Vec<Node> = ["a", "b", "c"]
        .map(|name| Node::join(&gateway, name, folder.path(), &[]))
        .into();
    let requests: Vec<_> = (0..jobs)
        .map(|n| {
            let (model, circuit) = &circuits[n % 3];
            let mut wanted = request(circuit, input(model, n / 3));
            // Inputs repeat after 64 turns; every job shall be one of its own.
            let mut context = [0; 32];
            context[24..].copy_from_slice(&(n as u64 + 1).to_be_bytes());
            wanted.context = context.to_vec();
            // Kills are not the job's fault; three of them at work must not end it.
            wanted.max_attempts = 20;
            wanted
        })
        .collect();

    // Provers are killed on one node only: a job whose provers die on two is given up, and rightly.
    let unlucky = rng.gen_range(0..3);
    let begun = Instant::now();
    let mut acknowledged: BTreeMap<usize, String> = BTreeMap::new();
    let (mut provers_killed, mut nodes_killed, mut gateways_killed) = (0, 0, 0);
    while acknowledged.len() < jobs {
        let open: Vec<_> = (0..jobs)
            .filter(|n| !acknowledged.contains_key(n))
            .take(rng.gen_range(5..30))
            .map(|n| (n, requests[n].clone()))
            .collect();
        let mut client = gateway.jobs().await;
        // The gateway may die between a request and its answer: the same request again names the same job.
        let submitting = tokio::spawn(async move {
            let mut done = Vec::new();
            for (n, wanted) in open {
                match client.create_job(wanted).await {
                    Ok(job) => done.push((n, job.into_inner().name)),
                    Err(status) => {
                        assert!(
                            matches!(
                                status.code(),
                                tonic::Code::Unavailable
                                    | tonic::Code::Unknown
                                    | tonic::Code::Cancelled
                                    | tonic::Code::Internal
                            ),
                            "{status}"
                        );
                        break;
                    }
                }
            }
            done
        });
        tokio::time::sleep(Duration::from_millis(rng.gen_range(50..600))).await;
        match rng.gen_range(0..10) {
            0..5 => {
                let node = &nodes[unlucky];
                for pid in children_of(node.pid()) {
                    provers_killed += usize::from(kill_process(pid, Signal::KILL).is_ok());
                }
            }
            5..8 => {
                nodes[rng.gen_range(0..3)].restart();
                nodes_killed += 1;
            }
            _ => {
                gateway.kill();
                gateways_killed += 1;
                tokio::time::sleep(Duration::from_millis(rng.gen_range(0..300))).await;
                gateway.start_again();
            }
        }
        acknowledged.extend(submitting.await.unwrap());
    }
    println!(
        "{jobs} jobs acknowledged after {:.1} s; killed: {provers_killed} provers, {nodes_killed} nodes, {gateways_killed} gateways",
        begun.elapsed().as_secs_f64()
    );

    let names: BTreeSet<String> = acknowledged.values().cloned().collect();
    assert_eq!(names.len(), jobs, "two requests share a job");
    let mut client = gateway.jobs().await;
    let until = Instant::now() + Duration::from_secs(300);
    for name in &names {
        loop {
            let seen = job(&mut client, name).await;
            if is_over(&seen) {
                assert_eq!(seen.state(), State::Succeeded, "{seen:#?}");
                break;
            }
            assert!(Instant::now() < until, "{seen:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    println!("all ended after {:.1} s", begun.elapsed().as_secs_f64());
    assert!(provers_killed > 0 && nodes_killed > 0 && gateways_killed > 0);
    let mut proofs = HashSet::new();
    let mut contexts = HashSet::new();
    for name in &names {
        let seen = job(&mut client, name).await;
        let file = farm_kit::proof(&gateway, &seen).await;
        assert!(contexts.insert(seen.public_values[..32].to_vec()));
        assert!(proofs.insert(serde_json::to_string(&file).unwrap()));
        assert_eq!(
            seen.history.iter().filter(|a| a.failure.is_none()).count(),
            1,
            "{seen:#?}"
        );
    }
    let ends = farm_kit::ends(&gateway, &names).await;
    for name in &names {
        assert_eq!(ends.get(name), Some(&vec![State::Succeeded]), "{name}");
    }
}
