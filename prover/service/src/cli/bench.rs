//! `bench`: one table of a model, from constraints to gas; also a batch beside single proofs, and proofs in flight beside one
//! at a time, both in turns in this process.

mod versus;

use std::{num::NonZeroUsize, path::PathBuf, time::Instant};

use serde_json::json;
use zkinfer_circuits::constraint;
use zkinfer_contracts::{Solidity, Target as _, creation_code, evm::Evm};
use zkinfer_engine::{self as engine, CircuitCost};
use zkinfer_verifier::Context;

use super::{
    CliError, Out,
    compile::{CompileLimits, System, batch_range, compile_to},
    gpu::GpuArgs,
    output::{bytes, read_file, row, seconds, table},
    progress::Bar,
};
use crate::{
    bundle::{self, CompileSettings},
    config,
    work::{
        Unwatched, inputs,
        local::{self, LocalWork},
        slots::MAX_TABLE_BYTES,
    },
};

#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// The ONNX file.
    model: PathBuf,
    /// The proof system.
    #[arg(long, value_enum, default_value = "ultragroth")]
    system: System,
    /// Calibration samples; by default MODEL.calibration.npz beside the model.
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// The input to prove; by default the first calibration sample.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Proofs to make; for --batch and --throughput, rounds.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Compares one proof about N inferences with N proofs.
    #[arg(long, value_name = "N", value_parser = batch_range())]
    batch: Option<u32>,
    /// Compares K proofs in flight, which share the threads and tables of the key's points, with one at a time on all threads,
    /// without tables and with them.
    #[arg(long, value_name = "K")]
    throughput: Option<NonZeroUsize>,
    /// Memory for the tables of --throughput; 0 for none.
    #[arg(long, value_name = "BYTES", default_value_t = MAX_TABLE_BYTES, requires = "throughput")]
    table_bytes: u64,
    #[command(flatten)]
    gpu: GpuArgs,
    #[command(flatten)]
    limits: CompileLimits,
}

pub(crate) fn bench(args: &BenchArgs, out: Out) -> Result<(), CliError> {
    let beside = args.model.with_extension("calibration.npz");
    let calibration = args.calibration.clone().unwrap_or(beside);
    if !calibration.is_file() {
        let message = format!(
            "{} is not a file; name samples with --calibration FILE",
            calibration.display()
        );
        return Err(CliError::usage(message));
    }
    if !args.model.is_file() {
        return Err(CliError::usage(format!(
            "the model {} is not a file",
            args.model.display()
        )));
    }
    let folder = super::output::TemporaryFolder::new()?;
    let compute = args.gpu.compute()?;
    // A key on a GPU has its tables, as on a node, unless they are compared with none.
    let gpu_tables = match args.throughput {
        Some(_) => Some(0),
        None => args.gpu.gpu_table_bytes,
    };
    let work = LocalWork::in_process().on(compute.clone(), gpu_tables);
    let bar = Bar::new("compile");
    let to = folder.path().join("bundle");
    let mut bundle = compile_to(
        &args.model,
        &calibration,
        args.system,
        CompileSettings::default(),
        &to,
        &args.limits.child()?,
        &bar,
    )?;
    let compile_seconds = bar.elapsed();
    drop(bar);
    let (model, program) = local::read_circuit(&bundle)?;
    let quote = engine::quote(&program, bundle.system()).map_err(CliError::failed)?;
    let bar = Bar::new("setup");
    let vk = work.make_keys(&mut bundle, &bar)?;
    let setup_seconds = bar.elapsed();
    drop(bar);

    let (path, sample) = args
        .input
        .as_ref()
        .map_or((&calibration, Some(0)), |path| (path, None));
    let file = read_file(path, config::MAX_TENSOR_FILE_BYTES, "input file")?;
    let input = inputs::one(&model, 1, &file, sample).map_err(CliError::usage)?;
    let timed = Instant::now();
    constraint::solve(&program, &input).map_err(CliError::failed)?;
    let solve_seconds = timed.elapsed().as_secs_f64();

    let bar = Bar::new("prove");
    let timed = Instant::now();
    let prover = work.load(&bundle, &bar)?;
    let load_seconds = timed.elapsed().as_secs_f64();
    let mut times = Vec::new();
    let mut proven = None;
    for _ in 0..args.runs.max(1) {
        let timed = Instant::now();
        proven = Some(prover.prove_tensors(input.clone(), Context::ZERO, &bar)?);
        times.push(timed.elapsed().as_secs_f64());
    }
    drop(bar);
    let prove_p50 = versus::median(&times);
    let proven = proven.ok_or_else(|| CliError::failed("no proof was made"))?;
    let timed = Instant::now();
    zkinfer_verifier::verify(&vk, &proven.statement, &proven.proof).map_err(CliError::failed)?;
    let verify_seconds = timed.elapsed().as_secs_f64();

    let mut evm = Evm::new(31_337);
    let deployed = evm
        .deploy(&creation_code(&vk, true).map_err(CliError::failed)?)
        .map_err(CliError::failed)?;
    let call = Solidity {
        allow_dev_key: true,
    }
    .encode(&vk, &proven.statement, &proven.proof)
    .map_err(CliError::failed)?;
    let outcome = evm
        .call(deployed.address, &call)
        .map_err(CliError::failed)?;

    let (what, n_rows) = match &quote.circuit {
        CircuitCost::R1cs { cost, .. } => ("constraints", cost.rows),
        CircuitCost::Halo2(_) => ("rows", quote.rows),
    };
    let key = bundle.file(bundle::PROVING_KEY).map_or(0, |f| f.size);
    let vk_bytes = bundle.file(bundle::VERIFYING_KEY).map_or(0, |f| f.size);
    let in_flight = args
        .throughput
        .map(|slots| {
            let begun = Instant::now();
            let ready = LocalWork::in_process()
                .with_tables(args.table_bytes)
                .on(compute.clone(), args.gpu.gpu_table_bytes)
                .load(&bundle, &Unwatched)?;
            let ready = (&ready, begun.elapsed().as_secs_f64());
            versus::throughput(&prover, ready, &input, slots, args.runs)
        })
        .transpose()?;
    let batch = match args.batch {
        Some(n) => {
            let to = folder.path().join("batch");
            let settings = CompileSettings {
                batch: n,
                ..CompileSettings::default()
            };
            let bar = Bar::new("compile");
            let limits = args.limits.child()?;
            let (onnx, system) = (&args.model, args.system);
            let mut bundle = compile_to(onnx, &calibration, system, settings, &to, &limits, &bar)?;
            drop(bar);
            let bar = Bar::new("setup");
            work.make_keys(&mut bundle, &bar)?;
            drop(bar);
            let together = work.load(&bundle, &Unwatched)?;
            let (_, program) = local::read_circuit(&bundle)?;
            let rows = engine::quote(&program, bundle.system())
                .map_err(CliError::failed)?
                .rows;
            Some(versus::batch(
                &prover, &together, &input, n as usize, rows, args.runs,
            )?)
        }
        None => None,
    };
    let mut value = json!({
        "model": args.model, "system": vk.system.name(), what: n_rows,
        "domain": quote.domain, "proving_key_bytes": key, "verifying_key_bytes": vk_bytes,
        "proof_bytes": proven.proof.to_bytes().len(), "compile_seconds": compile_seconds, "setup_seconds": setup_seconds,
        "load_seconds": load_seconds, "solve_seconds": solve_seconds, "prove_p50_seconds": prove_p50, "prove_runs": times,
        "verify_seconds": verify_seconds, "gas": outcome.gas_used, "code_bytes": deployed.code_size,
        "threads": rayon::current_num_threads(), "proved_on": compute.line(), "table_bytes": prover.table_bytes(),
    });
    let mut rows = vec![
        row("model", args.model.display()),
        row("system", vk.system),
        row(what, n_rows),
        row("domain", quote.domain),
        row("proving key", bytes(key)),
        row("verifying key", bytes(vk_bytes)),
        row("proof", bytes(proven.proof.to_bytes().len() as u64)),
        row("compile", seconds(compile_seconds)),
        row("setup", seconds(setup_seconds)),
        row("load key", seconds(load_seconds)),
        row("solve", seconds(solve_seconds)),
        row(
            "prove p50",
            format!(
                "{} over {} runs, {} threads",
                seconds(prove_p50),
                times.len(),
                rayon::current_num_threads()
            ),
        ),
        row("proved on", compute.line()),
        row("verify", seconds(verify_seconds)),
        row(
            "gas",
            format!(
                "{} (execution), contract of {}",
                outcome.gas_used,
                bytes(deployed.code_size as u64)
            ),
        ),
    ];
    for (name, compared) in [("throughput", in_flight), ("batch", batch)] {
        if let Some((figures, lines)) = compared {
            value[name] = figures;
            rows.extend(lines);
        }
    }
    out.result(&value, &table(&rows));
    Ok(())
}
