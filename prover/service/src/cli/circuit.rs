//! `circuit create|get|ls`: circuits of a server.

use std::{path::PathBuf, time::Duration};

use serde_json::Value;

use super::{
    CliError, Endpoint, Out,
    client::{Client, call, circuit_json, circuit_state_name, message, refused},
    compile::{PrecisionArgs, System, VisibilityArgs, batch_range},
    output::{bytes, row, table},
    progress::Bar,
};
use crate::{
    api::proto,
    bundle::{CompileSettings, Shown},
    config,
    store::{ArtifactKind, CircuitState},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum CircuitVerb {
    /// Upload a model, compile it and make its keys.
    Create(CreateArgs),
    /// Show a circuit.
    Get {
        /// circuits/{uuid}
        name: String,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// List circuits, newest first.
    Ls {
        #[command(flatten)]
        endpoint: Endpoint,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// The ONNX file.
    model: PathBuf,
    /// Samples of the data that the model will meet.
    #[arg(long, value_name = "FILE")]
    calibration: PathBuf,
    /// The proof system.
    #[arg(long, value_enum, default_value = "ultragroth")]
    system: System,
    /// Whether the statement shows the input.
    #[arg(long, value_enum, default_value = "public")]
    input: Shown,
    /// Whether the statement shows the output.
    #[arg(long, value_enum, default_value = "public")]
    output: Shown,
    /// Inferences that one proof is about.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = batch_range())]
    batch: u32,
    #[command(flatten)]
    visibility: VisibilityArgs,
    #[command(flatten)]
    precision: PrecisionArgs,
    /// Wait until the circuit is ready.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    endpoint: Endpoint,
}

pub(crate) async fn run(verb: CircuitVerb, out: Out) -> Result<(), CliError> {
    match verb {
        CircuitVerb::Create(args) => create(args, out).await,
        CircuitVerb::Get { name, endpoint } => {
            let mut client = Client::connect(&endpoint).await?;
            let request = proto::GetCircuitRequest { name };
            let circuit = client
                .circuits
                .get_circuit(call(request))
                .await
                .map_err(refused)?
                .into_inner();
            out.result(&circuit_json(&circuit), &text(&circuit));
            Ok(())
        }
        CircuitVerb::Ls { endpoint } => list(&endpoint, out).await,
    }
}

async fn create(args: CreateArgs, out: Out) -> Result<(), CliError> {
    let mut client = Client::connect(&args.endpoint).await?;
    let model = client
        .upload_file(&args.model, config::MAX_MODEL_BYTES, ArtifactKind::Model)
        .await?;
    let calibration = client
        .upload_file(
            &args.calibration,
            config::MAX_TENSOR_FILE_BYTES,
            ArtifactKind::Calibration,
        )
        .await?;
    let settings = CompileSettings {
        input: args.input,
        output: args.output,
        visibilities: args.visibility.chosen()?,
        batch: args.batch,
        precisions: args.precision.chosen()?,
    };
    let settings = serde_json::to_vec(&settings).map_err(CliError::failed)?;
    let settings = client.upload(settings, ArtifactKind::Settings).await?;
    let request = proto::CreateCircuitRequest {
        model: Some(message(&model)),
        settings: Some(message(&settings)),
        calibration: Some(message(&calibration)),
        backend: args.system.backend().code(),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let mut circuit = client
        .circuits
        .create_circuit(call(request))
        .await
        .map_err(refused)?
        .into_inner();
    if args.wait {
        circuit = wait_ready(&mut client, &circuit.name).await?;
    }
    out.result(&circuit_json(&circuit), &text(&circuit));
    Ok(())
}

/// Waits until a circuit is READY.
pub(crate) async fn wait_ready(
    client: &mut Client,
    name: &str,
) -> Result<proto::Circuit, CliError> {
    let bar = Bar::new("circuit");
    loop {
        let request = proto::GetCircuitRequest {
            name: name.to_owned(),
        };
        let circuit = client
            .circuits
            .get_circuit(call(request))
            .await
            .map_err(refused)?
            .into_inner();
        match CircuitState::from_code(circuit.state) {
            Some(CircuitState::Ready) => return Ok(circuit),
            Some(CircuitState::Compiling) => bar.show("compiling", 0.0),
            Some(CircuitState::Setup) => bar.show("making keys", 0.5),
            _ => {
                let why = circuit
                    .failure
                    .map_or_else(|| "it is gone".to_owned(), |f| f.message);
                return Err(CliError::failed(format!("{name} failed: {why}")));
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn list(endpoint: &Endpoint, out: Out) -> Result<(), CliError> {
    let mut client = Client::connect(endpoint).await?;
    let mut circuits = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = proto::ListCircuitsRequest {
            page_size: 500,
            page_token,
            ..Default::default()
        };
        let page = client
            .circuits
            .list_circuits(call(request))
            .await
            .map_err(refused)?
            .into_inner();
        circuits.extend(page.circuits);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let values: Vec<Value> = circuits.iter().map(circuit_json).collect();
    let lines = circuits
        .iter()
        .map(|c| format!("{}  {}\n", c.name, circuit_state_name(c.state)));
    out.result(&Value::Array(values), &lines.collect::<String>());
    Ok(())
}

fn text(c: &proto::Circuit) -> String {
    let value = circuit_json(c);
    let mut rows = vec![
        row("circuit", &c.name),
        row("state", circuit_state_name(c.state)),
        row("system", value["system"].as_str().unwrap_or_default()),
        row("model", value["model"].as_str().unwrap_or_default()),
    ];
    if c.proving_key_size > 0 {
        rows.push(row("proving key", bytes(c.proving_key_size)));
    }
    for (what, list) in [("input", &c.inputs), ("output", &c.outputs)] {
        rows.extend(list.iter().map(|t| {
            row(
                format!("{what} {}", t.name),
                format!("{:?} {}", t.shape, t.dtype),
            )
        }));
    }
    if let Some(f) = &c.failure {
        rows.push(row("failure", format!("{}: {}", f.code, f.message)));
    }
    table(&rows)
}
