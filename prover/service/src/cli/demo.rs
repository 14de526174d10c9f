//! `demo`: the whole road on a bundled model, through the service as any client would use it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use zkinfer_contracts::{Solidity, Target as _, evm::Evm};
use zkinfer_verifier::{Proof, VerifyingKey};

use super::{
    CliError, Endpoint, Out,
    circuit::wait_ready,
    client::{Client, call, is_terminal, message, phase_name, refused, state_name},
    compile::{CompileLimits, System},
    gpu::GpuArg,
    output::{TemporaryFolder, bytes, row, seconds, table},
};
use crate::{
    api::{
        proto::{self, create_job_request::Input, job_event::Event},
        server,
    },
    bundle::ProofFile,
    config::{Limits, ServeConfig},
    store::ArtifactKind,
    work::LocalWork,
};

const MODEL: &[u8] = include_bytes!("../../../../circuits/tests/models/digits-cnn.onnx");
const CALIBRATION: &[u8] =
    include_bytes!("../../../../circuits/tests/models/digits-cnn.calibration.npz");
const INPUT: &[u8] = include_bytes!("../../../../circuits/tests/models/digits-cnn.json");
const CHAIN_ID: u64 = 31_337;

#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// The proof system.
    #[arg(long, value_enum, default_value = "ultragroth")]
    system: System,
}

/// Tells what happens, as it happens.
struct Story {
    quiet: bool,
    begun: Instant,
}

impl Story {
    fn say(&self, text: &str) {
        if !self.quiet {
            eprintln!("[{:6.2} s] {text}", self.begun.elapsed().as_secs_f64());
        }
    }
}

pub(crate) async fn demo(args: DemoArgs, out: Out) -> Result<(), CliError> {
    let story = Story {
        quiet: out.json,
        begun: Instant::now(),
    };
    let folder = TemporaryFolder::new()?;
    let child = CompileLimits {
        compile_memory_mib: 8192,
        compile_timeout: 600,
    }
    .child()?;
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let config = ServeConfig {
        listen,
        data: folder.path().join("data"),
        limits: Limits {
            drain_timeout: Duration::from_secs(2),
            ..Limits::default()
        },
        worker: child.worker.clone(),
        gpus: GpuArg::default().chosen()?,
        ..ServeConfig::default()
    };
    let running = server::start(&config, Arc::new(LocalWork::new(child)))
        .await
        .map_err(CliError::failed)?;
    story.say(&format!(
        "the embedded service listens on http://{}",
        running.address
    ));
    let endpoint = Endpoint {
        endpoint: format!("http://{}", running.address),
        ..Endpoint::default()
    };
    let done = road(&args, out, &story, &endpoint).await;
    running.stop().await.map_err(CliError::failed)?;
    done
}

async fn road(
    args: &DemoArgs,
    out: Out,
    story: &Story,
    endpoint: &Endpoint,
) -> Result<(), CliError> {
    let mut client = Client::connect(endpoint).await?;
    let model = client.upload(MODEL.to_vec(), ArtifactKind::Model).await?;
    let calibration = client
        .upload(CALIBRATION.to_vec(), ArtifactKind::Calibration)
        .await?;
    story.say(&format!(
        "uploaded the digits CNN ({}) and its samples",
        bytes(MODEL.len() as u64)
    ));

    let begun = Instant::now();
    let request = proto::CreateCircuitRequest {
        model: Some(message(&model)),
        calibration: Some(message(&calibration)),
        backend: args.system.backend().code(),
        ..Default::default()
    };
    let circuit = client
        .circuits
        .create_circuit(call(request))
        .await
        .map_err(refused)?
        .into_inner();
    let circuit = wait_ready(&mut client, &circuit.name).await?;
    let circuit_seconds = begun.elapsed().as_secs_f64();
    let key_bytes = circuit.proving_key_size;
    story.say(&format!(
        "compiled it and made development keys ({} proving key)",
        bytes(key_bytes)
    ));

    let begun = Instant::now();
    let request = proto::CreateJobRequest {
        circuit: circuit.name.clone(),
        input: Some(Input::InlineInput(INPUT.to_vec())),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let job = client
        .jobs
        .create_job(call(request))
        .await
        .map_err(refused)?
        .into_inner();
    story.say(&format!("submitted {}", job.name));
    follow(&mut client, &job.name, story).await?;
    let job_seconds = begun.elapsed().as_secs_f64();
    let request = proto::GetJobRequest {
        name: job.name.clone(),
        view: proto::get_job_request::View::Full as i32,
    };
    let ended = client
        .jobs
        .get_job(call(request))
        .await
        .map_err(refused)?
        .into_inner();
    let prove_seconds = ended
        .history
        .last()
        .and_then(|a| a.prove)
        .map_or(0.0, |d| d.seconds as f64 + f64::from(d.nanos) / 1e9);

    let request = proto::GetProofRequest {
        job: job.name.clone(),
        format: proto::ProofFormat::Json as i32,
    };
    let proof = client
        .jobs
        .get_proof(call(request))
        .await
        .map_err(refused)?
        .into_inner();
    let Some(proto::proof::Body::Data(proof_json)) = proof.body else {
        return Err(CliError::failed("the service sent no proof"));
    };
    let request = proto::GetVerifierRequest {
        name: circuit.name.clone(),
        target: proto::VerifierTarget::Solidity as i32,
    };
    let contract = client
        .circuits
        .get_verifier(call(request))
        .await
        .map_err(refused)?
        .into_inner();

    let vk = VerifyingKey::decode(&contract.verifying_key).map_err(CliError::failed)?;
    let begun = Instant::now();
    let (statement, proof) = ProofFile::parse(&proof_json)
        .and_then(|f| f.verify(&vk))
        .map_err(CliError::failed)?;
    let verify_seconds = begun.elapsed().as_secs_f64();
    story.say("the native verifier accepts the proof");

    let mut evm = Evm::new(CHAIN_ID);
    let deployed = evm.deploy(&contract.bytecode).map_err(CliError::failed)?;
    let data = Solidity {
        allow_dev_key: true,
    }
    .encode(&vk, &statement, &proof)
    .map_err(CliError::failed)?;
    let outcome = evm
        .call(deployed.address, &data)
        .map_err(CliError::failed)?;
    if outcome.output.last() != Some(&1) {
        return Err(CliError::failed("the contract did not answer true"));
    }
    story.say(&format!(
        "the generated contract accepts it in the EVM for {} gas",
        outcome.gas_used
    ));

    let mut tampered = statement.clone();
    if let Some(byte) = tampered.public_bytes.last_mut() {
        *byte ^= 1;
    }
    let native = zkinfer_verifier::verify(&vk, &tampered, &proof);
    let data = Solidity {
        allow_dev_key: true,
    }
    .encode(&vk, &tampered, &proof)
    .map_err(CliError::failed)?;
    let chain = evm.call(deployed.address, &data);
    let (Err(native), Err(chain)) = (native, chain) else {
        return Err(CliError::failed(
            "a tampered output was accepted; this is a defect, please report it",
        ));
    };
    story.say(&format!("one output byte changed: the native verifier refuses ({native}), the contract refuses ({chain})"));

    let proof_bytes = Proof::to_bytes(&proof).len();
    let value = json!({
        "system": vk.system.name(), "proving_key_bytes": key_bytes, "verifying_key_bytes": contract.verifying_key.len(),
        "proof_bytes": proof_bytes, "public_bytes": statement.public_bytes.len(), "compile_and_setup_seconds": circuit_seconds,
        "job_seconds": job_seconds, "prove_seconds": prove_seconds, "verify_seconds": verify_seconds,
        "gas": outcome.gas_used, "code_bytes": deployed.code_size, "deploy_gas": deployed.gas, "tampered": "rejected",
        "seconds": story.begun.elapsed().as_secs_f64(),
    });
    let rows = [
        row("model", "digits-cnn (8×8 handwritten digits)"),
        row("system", vk.system),
        row("compile and setup", seconds(circuit_seconds)),
        row("job, submit to proof", seconds(job_seconds)),
        row("prove", seconds(prove_seconds)),
        row("verify, native", seconds(verify_seconds)),
        row("proving key", bytes(key_bytes)),
        row("verifying key", bytes(contract.verifying_key.len() as u64)),
        row("proof", bytes(proof_bytes as u64)),
        row("public tensors", bytes(statement.public_bytes.len() as u64)),
        row(
            "contract",
            format!(
                "{}, {} gas to deploy",
                bytes(deployed.code_size as u64),
                deployed.gas
            ),
        ),
        row(
            "verify, EVM",
            format!("{} gas (execution)", outcome.gas_used),
        ),
        row("tampered proof", "refused by both"),
    ];
    out.result(&value, &table(&rows));
    Ok(())
}

/// Streams a job's events to its end.
async fn follow(client: &mut Client, name: &str, story: &Story) -> Result<(), CliError> {
    let request = proto::WatchJobsRequest {
        names: vec![name.to_owned()],
        ..Default::default()
    };
    let mut stream = client
        .jobs
        .watch_jobs(request)
        .await
        .map_err(refused)?
        .into_inner();
    let mut phase = 0;
    while let Some(event) = stream.message().await.map_err(refused)? {
        match event.event {
            Some(Event::Snapshot(job)) => story.say(&format!("job is {}", state_name(job.state))),
            Some(Event::State(s)) => {
                story.say(&format!("job becomes {}", state_name(s.to)));
                if is_terminal(s.to) && s.to != crate::store::JobState::Succeeded.code() {
                    let why = s.failure.map_or_else(String::new, |f| f.message);
                    return Err(CliError::failed(format!(
                        "the job ended as {}: {why}",
                        state_name(s.to)
                    )));
                }
            }
            Some(Event::Progress(p)) if p.phase != phase => {
                phase = p.phase;
                story.say(&format!(
                    "  {} ({:.0}%)",
                    phase_name(p.phase),
                    p.progress * 100.0
                ));
            }
            _ => {}
        }
    }
    Ok(())
}
