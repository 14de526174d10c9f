//! `job submit|get|watch|wait|cancel|ls|proof`: jobs of a server.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zkinfer_verifier::Context;

use super::{
    CliError, Endpoint, Out,
    client::{Client, call, is_terminal, job_json, message, phase_name, refused, state_name},
    output::{grid, read_file, row, table, write_file},
    progress::Bar,
};
use crate::{
    api::proto::{self, job_event::Event},
    config,
    store::{ArtifactKind, JobState, Priority},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum JobVerb {
    /// Queue a proof.
    Submit(SubmitArgs),
    /// Show a job.
    Get(NameArgs),
    /// Follow a job's events until it ends.
    Watch(WatchArgs),
    /// Wait until a job ends; exit code 0 if it succeeded.
    Wait(NameArgs),
    /// Cancel a job.
    Cancel(NameArgs),
    /// List jobs, newest first.
    Ls {
        /// Only jobs of this circuit.
        #[arg(long)]
        circuit: Option<String>,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Why a job waits: for each node, whether it may take the job and why.
    Explain(NameArgs),
    /// Fetch the proof of a job.
    Proof(ProofArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct NameArgs {
    /// jobs/{uuid}
    name: String,
    #[command(flatten)]
    endpoint: Endpoint,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WatchArgs {
    /// jobs/{uuid}
    name: String,
    /// Go on after this event.
    #[arg(long, default_value = "")]
    cursor: String,
    #[command(flatten)]
    endpoint: Endpoint,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ProofArgs {
    /// jobs/{uuid}
    name: String,
    /// The file to write.
    #[arg(short, long, value_name = "FILE", default_value = "proof.json")]
    output: PathBuf,
    #[command(flatten)]
    endpoint: Endpoint,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PriorityName {
    Batch,
    Normal,
    Interactive,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SubmitArgs {
    /// circuits/{uuid}
    circuit: String,
    /// The input: .npz, or JSON {"input_data": [[…]]}.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Binds the proof to a task: a hexadecimal number below 2^253.
    #[arg(long, value_name = "HEX")]
    context: Option<Context>,
    /// Wait for the proof and write it to -o.
    #[arg(long)]
    wait: bool,
    /// The proof to write, with --wait.
    #[arg(short, long, value_name = "FILE", requires = "wait")]
    output: Option<PathBuf>,
    /// The class in the queue.
    #[arg(long, value_enum, default_value = "normal")]
    priority: PriorityName,
    /// A UUID that makes repeating this command safe; by default a fresh one.
    #[arg(long, value_name = "UUID")]
    request_id: Option<String>,
    /// Prove again even when the server has the proof of the same input and context.
    #[arg(long)]
    no_cache: bool,
    #[command(flatten)]
    endpoint: Endpoint,
}

pub(crate) async fn run(verb: JobVerb, out: Out) -> Result<(), CliError> {
    match verb {
        JobVerb::Submit(args) => submit(args, out).await,
        JobVerb::Get(args) => {
            let mut client = Client::connect(&args.endpoint).await?;
            let request = proto::GetJobRequest {
                name: args.name,
                view: 0,
            };
            let job = client
                .jobs
                .get_job(call(request))
                .await
                .map_err(refused)?
                .into_inner();
            out.result(&job_json(&job), &text(&job));
            Ok(())
        }
        JobVerb::Watch(args) => watch(&args, out).await,
        JobVerb::Wait(args) => {
            let mut client = Client::connect(&args.endpoint).await?;
            let job = wait(&mut client, &args.name).await?;
            out.result(&job_json(&job), &text(&job));
            ended_well(&job)
        }
        JobVerb::Cancel(args) => {
            let mut client = Client::connect(&args.endpoint).await?;
            let request = proto::CancelJobRequest {
                name: args.name,
                etag: String::new(),
            };
            let job = client
                .jobs
                .cancel_job(call(request))
                .await
                .map_err(refused)?
                .into_inner();
            out.result(&job_json(&job), &text(&job));
            Ok(())
        }
        JobVerb::Ls { circuit, endpoint } => {
            list(circuit.unwrap_or_default(), &endpoint, out).await
        }
        JobVerb::Explain(args) => explain(args, out).await,
        JobVerb::Proof(args) => {
            let mut client = Client::connect(&args.endpoint).await?;
            fetch(&mut client, &args.name, &args.output).await?;
            out.result(
                &json!({ "job": args.name, "written": args.output }),
                &format!("written  {}", args.output.display()),
            );
            Ok(())
        }
    }
}

async fn explain(args: NameArgs, out: Out) -> Result<(), CliError> {
    let mut client = Client::connect(&args.endpoint).await?;
    let request = proto::ExplainJobRequest { job: args.name };
    let told = client.admin.explain_job(call(request)).await;
    let told = told.map_err(refused)?.into_inner();
    let pending = told.pending_reason.unwrap_or_default();
    let kind = pending.kind().as_str_name();
    let verdicts: Vec<_> = told
        .verdicts
        .iter()
        .map(|v| json!({ "node": v.node, "eligible": v.eligible, "reason": v.reason, "score": v.score }))
        .collect();
    let mut rows = vec![["NODE", "", "SCORE", "WHY"].map(str::to_owned).to_vec()];
    for v in &told.verdicts {
        let may = if v.eligible { "may take it" } else { "may not" };
        rows.push(vec![
            v.node.clone(),
            may.to_owned(),
            format!("{:.2}", v.score),
            v.reason.clone(),
        ]);
    }
    let value = json!({
        "pending": kind, "detail": pending.detail, "jobs_ahead": pending.jobs_ahead, "verdicts": verdicts,
    });
    out.result(
        &value,
        &format!("{kind}: {}\n\n{}", pending.detail, grid(&rows)),
    );
    Ok(())
}

async fn submit(args: SubmitArgs, out: Out) -> Result<(), CliError> {
    use proto::create_job_request::Input;
    let mut client = Client::connect(&args.endpoint).await?;
    let bytes = read_file(&args.input, config::MAX_TENSOR_FILE_BYTES, "input file")?;
    let input = if bytes.len() <= config::MAX_INLINE_INPUT_BYTES {
        Input::InlineInput(bytes)
    } else {
        Input::InputArtifact(message(&client.upload(bytes, ArtifactKind::Input).await?))
    };
    let priority = match args.priority {
        PriorityName::Batch => Priority::Batch,
        PriorityName::Normal => Priority::Normal,
        PriorityName::Interactive => Priority::Interactive,
    };
    let request = proto::CreateJobRequest {
        circuit: args.circuit,
        input: Some(input),
        priority: priority.code(),
        allow_cached: Some(!args.no_cache),
        request_id: args
            .request_id
            .unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        context: args
            .context
            .map(|c| c.to_bytes().to_vec())
            .unwrap_or_default(),
        ..Default::default()
    };
    let mut job = client
        .jobs
        .create_job(call(request))
        .await
        .map_err(refused)?
        .into_inner();
    if args.wait {
        job = wait(&mut client, &job.name).await?;
        ended_well(&job)?;
        let to = args.output.unwrap_or_else(|| PathBuf::from("proof.json"));
        fetch(&mut client, &job.name, &to).await?;
        let mut value = job_json(&job);
        value["written"] = json!(to);
        out.result(&value, &format!("{}written  {}", text(&job), to.display()));
        return Ok(());
    }
    out.result(&job_json(&job), &text(&job));
    Ok(())
}

/// Follows a job to its end, over reconnects; shows its progress.
pub(crate) async fn wait(client: &mut Client, name: &str) -> Result<proto::Job, CliError> {
    let bar = Bar::new("job");
    let mut cursor = String::new();
    let mut broken = 0;
    loop {
        let request = proto::WatchJobsRequest {
            names: vec![name.to_owned()],
            cursor: cursor.clone(),
            ..Default::default()
        };
        match client.jobs.watch_jobs(request).await {
            Ok(stream) => {
                let mut stream = stream.into_inner();
                while let Ok(Some(event)) = stream.message().await {
                    broken = 0;
                    cursor = event.cursor;
                    match event.event {
                        Some(Event::Progress(p)) => {
                            bar.show(&phase_name(p.phase), f64::from(p.progress))
                        }
                        Some(Event::State(s)) => bar.show(&state_name(s.to).to_lowercase(), 0.0),
                        Some(Event::Snapshot(job)) if !is_terminal(job.state) => {
                            let ahead = job.pending_reason.map(|p| p.detail).unwrap_or_default();
                            bar.show(
                                &format!("{} {ahead}", state_name(job.state).to_lowercase()),
                                f64::from(job.progress),
                            );
                        }
                        _ => {}
                    }
                }
            }
            Err(status) if status.code() == tonic::Code::Unavailable && broken < 20 => {}
            Err(status) => return Err(refused(status)),
        }
        let request = proto::GetJobRequest {
            name: name.to_owned(),
            view: 0,
        };
        match client.jobs.get_job(call(request)).await {
            Ok(job) if is_terminal(job.get_ref().state) => return Ok(job.into_inner()),
            Ok(_) => {}
            Err(status) if status.code() == tonic::Code::Unavailable && broken < 20 => {}
            Err(status) => return Err(refused(status)),
        }
        broken += 1;
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

fn ended_well(job: &proto::Job) -> Result<(), CliError> {
    if job.state == JobState::Succeeded.code() {
        return Ok(());
    }
    let why = job
        .failure
        .as_ref()
        .map_or_else(String::new, |f| format!(": {}", f.message));
    Err(CliError::failed(format!(
        "{} is {}{why}",
        job.name,
        state_name(job.state)
    )))
}

async fn fetch(client: &mut Client, name: &str, to: &Path) -> Result<(), CliError> {
    let request = proto::GetProofRequest {
        job: name.to_owned(),
        format: proto::ProofFormat::Json as i32,
    };
    let proof = client
        .jobs
        .get_proof(call(request))
        .await
        .map_err(refused)?
        .into_inner();
    match proof.body {
        Some(proto::proof::Body::Data(bytes)) => write_file(to, &bytes),
        _ => Err(CliError::failed("the server sent no proof bytes")),
    }
}

async fn watch(args: &WatchArgs, out: Out) -> Result<(), CliError> {
    let mut client = Client::connect(&args.endpoint).await?;
    let request = proto::WatchJobsRequest {
        names: vec![args.name.clone()],
        cursor: args.cursor.clone(),
        ..Default::default()
    };
    let mut stream = client
        .jobs
        .watch_jobs(request)
        .await
        .map_err(refused)?
        .into_inner();
    while let Some(event) = stream.message().await.map_err(refused)? {
        let (what, text) = match &event.event {
            Some(Event::Snapshot(job)) => (
                json!({ "snapshot": job_json(job) }),
                format!("is {}", state_name(job.state)),
            ),
            Some(Event::State(s)) => {
                let why = s
                    .failure
                    .as_ref()
                    .map_or_else(String::new, |f| format!(" ({})", f.message));
                let value = json!({ "state": state_name(s.to), "from": state_name(s.from) });
                (value, format!("becomes {}{why}", state_name(s.to)))
            }
            Some(Event::Progress(p)) => {
                let value = json!({ "phase": phase_name(p.phase), "progress": p.progress, "attempt": p.attempt });
                (
                    value,
                    format!("{} {:.0}%", phase_name(p.phase), p.progress * 100.0),
                )
            }
            Some(Event::KeepAlive(_)) | None => continue,
        };
        out.result(
            &json!({ "cursor": event.cursor, "job": event.job, "event": what }),
            &format!("{}  {text}", event.job),
        );
    }
    Ok(())
}

async fn list(circuit: String, endpoint: &Endpoint, out: Out) -> Result<(), CliError> {
    let mut client = Client::connect(endpoint).await?;
    let mut jobs = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = proto::ListJobsRequest {
            page_size: 500,
            page_token,
            circuit: circuit.clone(),
            ..Default::default()
        };
        let page = client
            .jobs
            .list_jobs(call(request))
            .await
            .map_err(refused)?
            .into_inner();
        jobs.extend(page.jobs);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let values: Vec<Value> = jobs.iter().map(job_json).collect();
    let line = |v: &Value| {
        let word = |field: &str| v[field].as_str().unwrap_or_default().to_owned();
        format!(
            "{}  {:<9} {:<8} {}\n",
            word("name"),
            word("state"),
            word("kind"),
            word("circuit")
        )
    };
    out.result(
        &Value::Array(values.clone()),
        &values.iter().map(line).collect::<String>(),
    );
    Ok(())
}

fn text(job: &proto::Job) -> String {
    let mut rows = vec![
        row("job", &job.name),
        row("circuit", &job.circuit),
        row("state", state_name(job.state)),
    ];
    if job.deduplicated {
        rows.push(row(
            "note",
            "an earlier job of the same request or the same content",
        ));
    }
    if let Some(p) = &job.pending_reason {
        rows.push(row("waits", &p.detail));
    }
    if !is_terminal(job.state) && job.phase != 0 {
        rows.push(row(
            "phase",
            format!("{} {:.0}%", phase_name(job.phase), job.progress * 100.0),
        ));
    }
    if let Some(f) = &job.failure {
        rows.push(row("failure", format!("{}: {}", f.code, f.message)));
    }
    table(&rows)
}
