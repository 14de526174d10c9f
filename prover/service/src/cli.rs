//! The command line: one file a group of verbs.
//!
//! Results go to standard output, as text or with `--json` as one JSON value; progress, warnings and errors go to standard
//! error. Exit codes: 0 done (for `verify`: valid), 1 failed (for `verify`: not valid), 2 wrong usage.

mod bench;
mod circuit;
mod client;
mod compile;
mod contract;
mod demo;
mod doctor;
mod gpu;
mod job;
mod key;
mod node;
mod node_admin;
mod ops;
mod output;
mod params;
mod processor;
mod progress;
mod prove;
mod quote;
mod report;
mod selftest;
mod serve;
mod sim;
mod tenant;
mod token;
mod top;
mod verify;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{config, telemetry};

pub(crate) use output::{CliError, Out};

/// Proofs that a quantized neural network, given an input, produced an output.
#[derive(Debug, Parser)]
#[command(name = "zkinfer", version, about, max_term_width = 110)]
struct Cli {
    /// Print one JSON value (JSON lines for streams) instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The ONNX operators that a model may have, what of each is supported, and what it costs on each proof system.
    Ops(ops::OpsArgs),
    /// Quantize an ONNX model and write a bundle.
    Compile(compile::CompileArgs),
    /// What a bundle's keys and proofs will cost, before any key is made, beside the other proof systems.
    Quote(quote::QuoteArgs),
    /// Write one HTML page about a bundle: its graph, what each layer costs and how far it is from the float model, histograms, accuracy.
    Report(report::ReportArgs),
    /// Make the keys of a bundle: development keys, or with --srs keys from a ceremony's powers of τ.
    Setup(compile::SetupArgs),
    /// Reference strings: powers of τ for halo2-kzg.
    #[command(subcommand)]
    Params(params::ParamsVerb),
    /// Run the quantized model without a proof.
    Infer(prove::InferArgs),
    /// Prove one input.
    Prove(prove::ProveArgs),
    /// Check a proof; exit code 0 valid, 1 not valid, 2 usage.
    Verify(verify::VerifyArgs),
    /// Measure a model: constraints, keys, times, gas.
    Bench(bench::BenchArgs),
    /// Generate the verifier of a bundle: a contract, or a crate for a Substrate runtime.
    Verifier(contract::VerifierArgs),
    /// The call that checks a proof: calldata of `verify(uint256,bytes,bytes)`, or the SCALE-encoded call of the pallet.
    Calldata(contract::CalldataArgs),
    /// Serve the gRPC API on this machine.
    Serve(Box<serve::ServeArgs>),
    /// Circuits of a server.
    #[command(subcommand)]
    Circuit(circuit::CircuitVerb),
    /// Jobs of a server.
    #[command(subcommand)]
    Job(job::JobVerb),
    /// Prover nodes of a gateway.
    #[command(subcommand)]
    Node(node::NodeVerb),
    /// API keys of a server.
    #[command(subcommand)]
    Key(key::KeyVerb),
    /// Tenants of a server.
    #[command(subcommand)]
    Tenant(tenant::TenantVerb),
    /// Tokens that let prover nodes in.
    #[command(subcommand)]
    Token(token::TokenVerb),
    /// The whole road on a bundled model, over real gRPC, in one command.
    Demo(demo::DemoArgs),
    /// Run a trace of jobs through the scheduler, on nodes that are not there.
    Sim(sim::SimArgs),
    /// Nodes, slots, the queue and what runs, live.
    Top(top::TopArgs),
    /// Whether this machine can serve or prove, and what to do where it cannot.
    Doctor(doctor::DoctorArgs),
    /// A server of its own, every proof system, a killed prover: this program, whole, on this machine.
    Selftest,
    /// Compiles one model in a process of its own.
    #[command(hide = true)]
    CompileWorker {
        /// The folder with the request.
        folder: PathBuf,
    },
    /// Evaluates one model on samples in a process of its own.
    #[command(hide = true)]
    ProfileWorker {
        /// The folder with the request.
        folder: PathBuf,
    },
    /// Makes proofs for the supervisor of a node, in a process of its own.
    #[command(hide = true)]
    ProverChild {
        /// The GPU to prove on.
        #[arg(long)]
        gpu: Option<usize>,
        /// Its memory for the tables of one key.
        #[arg(long)]
        gpu_table_bytes: Option<u64>,
    },
}

/// Which server to talk to, and as whom.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Endpoint {
    /// The server.
    #[arg(long, default_value = config::DEFAULT_ENDPOINT)]
    pub(crate) endpoint: String,
    /// The file with the API key; without it, the key in ZKINFER_API_KEY.
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// The certificates (PEM) that an https server's must come from; without it, those of this machine.
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 2 } else { 0 });
        }
    };
    let out = Out { json: cli.json };
    let level = if matches!(cli.verb, Verb::Serve(_) | Verb::Node(_)) {
        "info"
    } else {
        "error"
    };
    telemetry::start(cli.json, level);
    if !matches!(
        cli.verb,
        Verb::CompileWorker { .. } | Verb::ProfileWorker { .. }
    ) {
        telemetry::quiet_panics();
    }
    let done = match cli.verb {
        Verb::Ops(args) => ops::ops(&args, out),
        Verb::Compile(args) => compile::compile(&args, out),
        Verb::Quote(args) => quote::quote(&args, out),
        Verb::Report(args) => report::report(&args, out),
        Verb::Setup(args) => compile::setup(&args, out),
        Verb::Params(verb) => params::run(&verb, out),
        Verb::Infer(args) => prove::infer(&args, out),
        Verb::Prove(args) => prove::prove(&args, out),
        Verb::Verify(args) => verify::verify(&args, out),
        Verb::Bench(args) => bench::bench(&args, out),
        Verb::Verifier(args) => contract::verifier(&args, out),
        Verb::Calldata(args) => contract::calldata(&args, out),
        Verb::Serve(args) => in_runtime(serve::serve(*args, out)),
        Verb::Circuit(verb) => in_runtime(circuit::run(verb, out)),
        Verb::Job(verb) => in_runtime(job::run(verb, out)),
        Verb::Sim(args) => sim::sim(&args, out),
        Verb::Node(verb) => in_runtime(node::run(verb, out)),
        Verb::Key(verb) => in_runtime(key::run(verb, out)),
        Verb::Tenant(verb) => in_runtime(tenant::run(verb, out)),
        Verb::Token(verb) => in_runtime(token::run(verb, out)),
        Verb::Demo(args) => in_runtime(demo::demo(args, out)),
        Verb::Top(args) => in_runtime(top::top(args, out)),
        Verb::Doctor(args) => doctor::doctor(&args, out),
        Verb::Selftest => in_runtime(selftest::selftest(out)),
        Verb::CompileWorker { folder } => {
            crate::work::run_worker(&folder).map_err(CliError::failed)
        }
        Verb::ProfileWorker { folder } => {
            crate::work::run_profile_worker(&folder).map_err(CliError::failed)
        }
        Verb::ProverChild {
            gpu,
            gpu_table_bytes,
        } => crate::node::run_child(gpu, gpu_table_bytes).map_err(CliError::failed),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out.error(&error);
            ExitCode::from(error.code)
        }
    }
}

fn in_runtime(work: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::failed(format!("cannot start the runtime: {e}")))?
        .block_on(work)
}
