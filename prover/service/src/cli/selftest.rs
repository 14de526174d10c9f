//! `selftest`: this program, whole, on this machine: a server of its own, a tiny circuit of every proof system, a prover that is
//! killed, proofs checked natively and in the EVM.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use zkinfer_contracts::{Solidity, Target as _, evm::Evm};
use zkinfer_verifier::VerifyingKey;

use super::{
    CliError, Endpoint, Out,
    circuit::wait_ready,
    client::{Client, call, is_terminal, message, refused, state_name},
    compile::CompileLimits,
    gpu::GpuArg,
    output::{TemporaryFolder, row, seconds, table},
};
use crate::{
    api::{
        proto::{self, create_job_request::Input},
        server,
    },
    bundle::ProofFile,
    config::ServeConfig,
    farm::job::CHILD_DIED,
    store::{ArtifactKind, Backend, JobState},
    work::LocalWork,
};

const MODEL: &[u8] = include_bytes!("../../../../circuits/tests/models/digits-mlp.onnx");
const CALIBRATION: &[u8] =
    include_bytes!("../../../../circuits/tests/models/digits-mlp.calibration.npz");
const INPUT: &[u8] = include_bytes!("../../../../circuits/tests/models/digits-mlp.json");
const CHAIN_ID: u64 = 31_337;

pub(crate) async fn selftest(out: Out) -> Result<(), CliError> {
    let begun = Instant::now();
    let folder = TemporaryFolder::new()?;
    let child = CompileLimits {
        compile_memory_mib: 8192,
        compile_timeout: 600,
    }
    .child()?;
    let config = ServeConfig {
        listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
        data: folder.path().join("data"),
        worker: child.worker.clone(),
        gpus: GpuArg::default().chosen()?,
        ..ServeConfig::default()
    };
    let running = server::start(&config, Arc::new(LocalWork::new(child)))
        .await
        .map_err(CliError::failed)?;
    let endpoint = Endpoint {
        endpoint: format!("http://{}", running.address),
        ..Endpoint::default()
    };
    let tested = test(&endpoint, out).await;
    running.stop().await.map_err(CliError::failed)?;
    let rows = tested?;
    let took = begun.elapsed().as_secs_f64();
    let value = json!({
        "checks": rows.iter().map(|(name, seen)| json!({ "check": name, "seen": seen })).collect::<Vec<_>>(), "seconds": took,
    });
    out.result(
        &value,
        &format!("{}\neverything works; {}", table(&rows), seconds(took)),
    );
    Ok(())
}

async fn test(endpoint: &Endpoint, out: Out) -> Result<Vec<(String, String)>, CliError> {
    let mut client = Client::connect(endpoint).await?;
    let model = client.upload(MODEL.to_vec(), ArtifactKind::Model).await?;
    let calibration = client
        .upload(CALIBRATION.to_vec(), ArtifactKind::Calibration)
        .await?;
    let mut rows = Vec::new();
    for &backend in Backend::ALL {
        let begun = Instant::now();
        if !out.json {
            eprintln!("{backend} …");
        }
        let request = proto::CreateCircuitRequest {
            model: Some(message(&model)),
            calibration: Some(message(&calibration)),
            backend: backend.code(),
            ..Default::default()
        };
        let circuit = client.circuits.create_circuit(call(request)).await;
        let circuit = circuit.map_err(refused)?.into_inner();
        let circuit = wait_ready(&mut client, &circuit.name).await?;
        let job = submit(&mut client, &circuit.name, true).await?;
        let job = ended(&mut client, &job).await?;
        let (gas, size) = check(&mut client, &circuit.name, &job).await?;
        rows.push(row(
            backend.name(),
            format!(
                "compiled, set up, proved ({size} bytes), verified natively and in the EVM ({gas} gas), a changed output refused; {}",
                seconds(begun.elapsed().as_secs_f64())
            ),
        ));
        if backend == Backend::UltraGroth {
            let (killed, attempts) = survives_a_kill(&mut client, &circuit.name).await?;
            rows.push(row(
                "killed prover",
                format!("{killed} killed at work; the job was proved by attempt {attempts}"),
            ));
        }
    }
    Ok(rows)
}

async fn submit(client: &mut Client, circuit: &str, cached: bool) -> Result<String, CliError> {
    let request = proto::CreateJobRequest {
        circuit: circuit.to_owned(),
        input: Some(Input::InlineInput(INPUT.to_vec())),
        allow_cached: Some(cached),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let job = client.jobs.create_job(call(request)).await;
    Ok(job.map_err(refused)?.into_inner().name)
}

async fn ended(client: &mut Client, job: &str) -> Result<proto::Job, CliError> {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let request = proto::GetJobRequest {
            name: job.to_owned(),
            view: proto::get_job_request::View::Full.into(),
        };
        let seen = client.jobs.get_job(call(request)).await;
        let seen = seen.map_err(refused)?.into_inner();
        if seen.state == JobState::Succeeded.code() {
            return Ok(seen);
        }
        if is_terminal(seen.state) || Instant::now() > until {
            let why = seen.failure.map_or_else(String::new, |f| f.message);
            return Err(CliError::failed(format!(
                "{job} is {}: {why}",
                state_name(seen.state)
            )));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Verifies a job's proof natively and in the EVM, and that neither takes it for another output: gas and length.
async fn check(
    client: &mut Client,
    circuit: &str,
    job: &proto::Job,
) -> Result<(u64, usize), CliError> {
    let request = proto::GetProofRequest {
        job: job.name.clone(),
        format: proto::ProofFormat::Json.into(),
    };
    let proof = client.jobs.get_proof(call(request)).await;
    let Some(proto::proof::Body::Data(proof)) = proof.map_err(refused)?.into_inner().body else {
        return Err(CliError::failed("the service sent no proof"));
    };
    let request = proto::GetVerifierRequest {
        name: circuit.to_owned(),
        target: proto::VerifierTarget::Solidity.into(),
    };
    let contract = client.circuits.get_verifier(call(request)).await;
    let contract = contract.map_err(refused)?.into_inner();
    let vk = VerifyingKey::decode(&contract.verifying_key).map_err(CliError::failed)?;
    let (statement, proof) = ProofFile::parse(&proof)
        .and_then(|f| f.verify(&vk))
        .map_err(CliError::failed)?;
    let target = Solidity {
        allow_dev_key: true,
    };
    let mut evm = Evm::new(CHAIN_ID);
    let deployed = evm.deploy(&contract.bytecode).map_err(CliError::failed)?;
    let data = target
        .encode(&vk, &statement, &proof)
        .map_err(CliError::failed)?;
    let accepted = evm
        .call(deployed.address, &data)
        .map_err(CliError::failed)?;
    if accepted.output.last() != Some(&1) {
        return Err(CliError::failed("the contract did not answer true"));
    }
    let mut lie = statement.clone();
    if let Some(byte) = lie.public_bytes.last_mut() {
        *byte ^= 1;
    }
    let data = target.encode(&vk, &lie, &proof).map_err(CliError::failed)?;
    if zkinfer_verifier::verify(&vk, &lie, &proof).is_ok()
        || evm.call(deployed.address, &data).is_ok()
    {
        return Err(CliError::failed(
            "a changed output was accepted; this is a defect, please report it",
        ));
    }
    Ok((accepted.gas_used, proof.to_bytes().len()))
}

/// Kills this server's prover processes while a job is at work, and waits for its proof all the same.
async fn survives_a_kill(client: &mut Client, circuit: &str) -> Result<(usize, u32), CliError> {
    let mut killed = 0;
    for _ in 0..20 {
        let job = submit(client, circuit, false).await?;
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            let request = proto::GetJobRequest {
                name: job.clone(),
                view: 0,
            };
            let state = client.jobs.get_job(call(request)).await;
            let state = state.map_err(refused)?.into_inner().state;
            if state == JobState::Running.code() {
                killed = kill_provers();
                break;
            }
            if is_terminal(state) {
                break;
            }
        }
        let seen = ended(client, &job).await?;
        // A proof that was there before the kill proves nothing: another try.
        let died = seen.history.iter().any(|a| {
            let failure = a.failure.as_ref();
            failure.is_some_and(|f| f.code == CHILD_DIED)
        });
        if let (true, Some(last)) = (died, seen.history.last()) {
            return Ok((killed, last.number));
        }
    }
    Err(CliError::failed(
        "no prover could be killed at work in 20 tries",
    ))
}

/// Kills the children of this process that prove; how many.
fn kill_provers() -> usize {
    let own = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut killed = 0;
    for process in processes {
        let read = |file: &str| std::fs::read(process.path().join(file)).unwrap_or_default();
        let status = String::from_utf8_lossy(&read("status")).into_owned();
        let parent = status.lines().find_map(|l| l.strip_prefix("PPid:"));
        let proves = read("cmdline")
            .split(|b| *b == 0)
            .any(|argument| argument == b"prover-child");
        let pid = process.file_name().to_str().and_then(|n| n.parse().ok());
        if let (true, Some(parent), Some(pid)) =
            (proves, parent, pid.and_then(rustix::process::Pid::from_raw))
            && parent.trim() == own
            && rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok()
        {
            killed += 1;
        }
    }
    killed
}
