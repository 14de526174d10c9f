//! `kill -9` of the server at random moments while 50 jobs with 50 different inputs run: 50 proofs, one each, all valid.
//!
//! `ZKINFER_KILL9_KILLS` sets the number of kills (20).
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod server;

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use server::{Server, digits_circuit, model};
use tonic::transport::Channel;
use zkinfer_service::{
    api::proto::{
        self, CreateJobRequest, circuits_client::CircuitsClient, create_job_request::Input,
        job::State, jobs_client::JobsClient,
    },
    bundle::ProofFile,
};
use zkinfer_verifier::VerifyingKey;

const JOBS: usize = 50;
const AT_FIRST: usize = 10;

async fn jobs(server: &Server) -> JobsClient<Channel> {
    JobsClient::new(
        Channel::from_shared(server.endpoint.clone())
            .unwrap()
            .connect()
            .await
            .unwrap(),
    )
}

/// The bundled input, rotated: another input for every number.
fn inputs() -> Vec<Vec<u8>> {
    let file: serde_json::Value =
        serde_json::from_slice(&std::fs::read(model("digits-mlp.json")).unwrap()).unwrap();
    let values = file["input_data"][0].as_array().unwrap().clone();
    let rotated = |n: usize| {
        let mut values = values.clone();
        values.rotate_left(n % 64);
        serde_json::to_vec(&serde_json::json!({ "input_data": [values] })).unwrap()
    };
    let inputs: Vec<Vec<u8>> = (0..JOBS).map(rotated).collect();
    assert_eq!(inputs.iter().collect::<HashSet<_>>().len(), JOBS);
    inputs
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_job_ends_with_its_one_proof() {
    let kills: usize = std::env::var("ZKINFER_KILL9_KILLS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(20);
    let data = tempfile::tempdir().unwrap();
    let seed: u64 = std::env::var("ZKINFER_KILL9_SEED")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let begun = Instant::now();
    let mut server = Server::start(data.path());
    let circuit = {
        let endpoint = server.endpoint.clone();
        tokio::task::spawn_blocking(move || digits_circuit(&endpoint))
            .await
            .unwrap()
    };
    let requests: Vec<CreateJobRequest> = inputs()
        .into_iter()
        .map(|input| CreateJobRequest {
            circuit: circuit.clone(),
            input: Some(Input::InlineInput(input)),
            request_id: uuid::Uuid::new_v4().to_string(),
            ..Default::default()
        })
        .collect();
    // Job number → its name, once it was acknowledged.
    let mut acknowledged: BTreeMap<usize, String> = BTreeMap::new();
    submit(&server, &requests, 0..AT_FIRST, &mut acknowledged).await;

    let mut hits = 0;
    for kill in 0..kills {
        let mut client = jobs(&server).await;
        let until = AT_FIRST + (JOBS - AT_FIRST) * (kill + 1) / kills;
        // Two of three kills wait for a running proof; the others come at any moment, also between request and answer.
        if kill % 3 != 2 {
            submit(&server, &requests, 0..until, &mut acknowledged).await;
            hits += usize::from(see_running(&mut client).await);
            tokio::time::sleep(Duration::from_millis(rng.gen_range(0..20))).await;
            server.kill();
        } else {
            let (mut client, open) = (client.clone(), open(&requests, until, &acknowledged));
            let submitting = tokio::spawn(async move {
                let mut done = Vec::new();
                for (number, request) in open {
                    match client.create_job(request).await {
                        Ok(job) => done.push((number, job.into_inner().name)),
                        Err(_) => break,
                    }
                }
                done
            });
            tokio::time::sleep(Duration::from_millis(rng.gen_range(0..150))).await;
            server.kill();
            for (number, name) in submitting.await.unwrap() {
                acknowledged.insert(number, name);
            }
        }
        server = Server::start(data.path());
    }
    submit(&server, &requests, 0..JOBS, &mut acknowledged).await;
    check(&server, &circuit, &acknowledged, hits.min(kills / 4)).await;
    println!(
        "{kills} kills, {hits} with a proof running, {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    assert!(
        hits * 4 >= kills,
        "only {hits} of {kills} kills met a running proof"
    );
}

/// The requests below `until` that nobody acknowledged.
fn open(
    requests: &[CreateJobRequest],
    until: usize,
    done: &BTreeMap<usize, String>,
) -> Vec<(usize, CreateJobRequest)> {
    let open = requests.iter().cloned().enumerate().take(until);
    open.filter(|(number, _)| !done.contains_key(number))
        .collect()
}

async fn submit(
    server: &Server,
    requests: &[CreateJobRequest],
    range: std::ops::Range<usize>,
    acknowledged: &mut BTreeMap<usize, String>,
) {
    let mut client = jobs(server).await;
    for (number, request) in open(requests, range.end, acknowledged) {
        // A request id that was answered before answers the same job.
        let job = client.create_job(request).await.unwrap().into_inner();
        acknowledged.insert(number, job.name);
    }
}

/// Waits until a proof runs; false when nothing is left to prove.
async fn see_running(client: &mut JobsClient<Channel>) -> bool {
    let with = |states: Vec<State>| proto::ListJobsRequest {
        states: states.into_iter().map(|s| s as i32).collect(),
        page_size: 1,
        ..Default::default()
    };
    loop {
        if !client
            .list_jobs(with(vec![State::Leased, State::Running]))
            .await
            .unwrap()
            .into_inner()
            .jobs
            .is_empty()
        {
            return true;
        }
        let live = with(vec![State::Queued, State::Leased, State::Running]);
        if client
            .list_jobs(live)
            .await
            .unwrap()
            .into_inner()
            .jobs
            .is_empty()
        {
            return false;
        }
    }
}

async fn check(
    server: &Server,
    circuit: &str,
    acknowledged: &BTreeMap<usize, String>,
    hits: usize,
) {
    let mut client = jobs(server).await;
    let channel = Channel::from_shared(server.endpoint.clone())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let request = proto::GetVerifierRequest {
        name: circuit.to_owned(),
        target: 0,
    };
    let verifier = CircuitsClient::new(channel)
        .get_verifier(request)
        .await
        .unwrap()
        .into_inner();
    let key = VerifyingKey::decode(&verifier.verifying_key).unwrap();

    assert_eq!(acknowledged.len(), JOBS);
    let mut lost = 0;
    let mut statements = HashSet::new();
    for name in acknowledged.values() {
        let job = loop {
            let job = client
                .wait_job(proto::WaitJobRequest {
                    name: name.clone(),
                    timeout: None,
                })
                .await
                .unwrap()
                .into_inner();
            if job.state() >= State::Succeeded {
                break job;
            }
        };
        assert_eq!(job.state(), State::Succeeded, "{name}: {:?}", job.failure);
        let request = proto::GetJobRequest {
            name: name.clone(),
            view: 1,
        };
        let history = client.get_job(request).await.unwrap().into_inner().history;
        lost += history
            .iter()
            .filter(|a| {
                a.failure
                    .as_ref()
                    .is_some_and(|f| f.class() == proto::FailureClass::NodeLost)
            })
            .count();
        let request = proto::GetProofRequest {
            job: name.clone(),
            format: proto::ProofFormat::Json as i32,
        };
        let proof = client.get_proof(request).await.unwrap().into_inner();
        let Some(proto::proof::Body::Data(data)) = proof.body else {
            panic!("no bytes")
        };
        let (statement, _) = ProofFile::parse(&data).unwrap().verify(&key).unwrap();
        statements.insert(statement.public_bytes);
    }
    assert_eq!(statements.len(), JOBS, "50 different statements");
    assert!(
        lost >= hits,
        "{lost} attempts were lost, {hits} kills met a running proof"
    );

    let request = proto::ListJobsRequest {
        page_size: 500,
        circuit: circuit.to_owned(),
        ..Default::default()
    };
    let all = client.list_jobs(request).await.unwrap().into_inner().jobs;
    let proved = all.iter().filter(|j| j.kind() == proto::job::Kind::Prove);
    let names: HashSet<&String> = proved.map(|j| &j.name).collect();
    assert_eq!(names, acknowledged.values().collect(), "no job but the 50");
}
