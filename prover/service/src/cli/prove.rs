//! `infer` and `prove`: what the quantized model answers, and the proof of it.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zkinfer_circuits::{Model, tensor::Tensor};
use zkinfer_verifier::{Context, ProofSystem, Role, StatementLayout, snarkjs};

use super::{
    CliError, Out,
    gpu::GpuArgs,
    output::{bytes, read_file, row, seconds, table, write_file},
    progress::Bar,
};
use crate::{
    bundle::{Bundle, ProofFile},
    config,
    work::{
        Unwatched,
        inputs::{self, InputFileError},
        local::{self, LocalWork},
        slots::{self, Share, Slots},
    },
};

/// An input file on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct InputArgs {
    /// The input: .npz, or JSON {"input_data": [[…]]}. A bundle of batch N takes N samples: a leading axis of N, or N times as
    /// many numbers.
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// Which sample of a file that holds several, counted from 0; with a batch of N the first of N.
    #[arg(long, value_name = "N")]
    pub(crate) sample: Option<usize>,
}

/// Reads and quantizes the input file of one proof, which is about `batch` inferences.
pub(crate) fn read_input(
    model: &Model,
    batch: usize,
    path: &Path,
    sample: Option<usize>,
) -> Result<Vec<Tensor>, CliError> {
    let file = read_file(path, config::MAX_TENSOR_FILE_BYTES, "input file")?;
    inputs::one(model, batch, &file, sample).map_err(|e| bad_input(path, &e))
}

/// What is wrong with an input file, and what would help.
pub(crate) fn bad_input(path: &Path, e: &InputFileError) -> CliError {
    let hint = match e {
        InputFileError::Samples { expected: 1, .. } => "; choose one with --sample N",
        InputFileError::Samples { expected, got } if got > expected => {
            "; choose the first of them with --sample N"
        }
        _ => "",
    };
    CliError::usage(format!("{}: {e}{hint}", path.display()))
}

#[derive(Debug, clap::Args)]
pub(crate) struct InferArgs {
    /// The bundle folder.
    bundle: PathBuf,
    #[command(flatten)]
    input: InputArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ProveArgs {
    /// The bundle folder.
    bundle: PathBuf,
    #[command(flatten)]
    input: InputArgs,
    /// Binds the proof to a task: a hexadecimal number below 2^253.
    #[arg(long, value_name = "HEX")]
    context: Option<Context>,
    /// The proof to write, by default proof.json; with --format snarkjs, public.json is written beside it; with --all the folder
    /// of proof-0.json, proof-1.json, …, by default proofs.
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Prove every sample of the file (with a batch of N, every N of them), several proofs at a time.
    #[arg(long, conflicts_with = "sample")]
    all: bool,
    /// Proofs in flight with --all, which share the threads; each takes the memory of one prover. From 128 proofs on they share
    /// tables of the key's points too, at most 1 GiB.
    #[arg(long, value_name = "K", default_value = "2", requires = "all")]
    in_flight: NonZeroUsize,
    /// How the proof is written.
    #[arg(long, value_enum, default_value = "zkinfer")]
    format: Format,
    #[command(flatten)]
    gpu: GpuArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// proof.json of zkinfer.
    Zkinfer,
    /// proof.json and public.json of snarkjs (plain groth16 only).
    Snarkjs,
}

/// Tensors of one role as JSON: name, shape, integers, real numbers.
pub(crate) fn tensors_json(layout: &StatementLayout, role: Role, tensors: &[Tensor]) -> Vec<Value> {
    let specs = layout.tensors.iter().filter(|t| t.role == role);
    let json = |(spec, tensor): (&zkinfer_verifier::TensorSpec, &Tensor)| {
        let real: Vec<f64> = tensor.data.iter().map(|&q| spec.dequantize(q)).collect();
        json!({ "name": spec.name, "shape": spec.shape, "quantized": tensor.data, "real": real })
    };
    specs.zip(tensors).map(json).collect()
}

/// A tensor as one line of text.
pub(crate) fn tensor_line(value: &Value) -> String {
    let real = value["real"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let shown: Vec<String> = real
        .iter()
        .take(16)
        .map(|v| format!("{:.4}", v.as_f64().unwrap_or(f64::NAN)))
        .collect();
    let rest = if real.len() > 16 {
        format!(", … {} values", real.len())
    } else {
        String::new()
    };
    let largest = real.iter().enumerate().max_by(|a, b| {
        let number = |v: &Value| v.as_f64().unwrap_or(f64::NEG_INFINITY);
        number(a.1).total_cmp(&number(b.1))
    });
    let argmax = match largest {
        Some((index, _)) if real.len() > 1 => format!("  (largest at {index})"),
        _ => String::new(),
    };
    format!("[{}{rest}]{argmax}", shown.join(", "))
}

pub(crate) fn infer(args: &InferArgs, out: Out) -> Result<(), CliError> {
    let bundle = Bundle::open(&args.bundle)?;
    let (model, program) = local::read_circuit(&bundle).map_err(CliError::usage)?;
    let batch = program.batch();
    let input = read_input(&model, batch as usize, &args.input.input, args.input.sample)?;
    let outputs = inputs::eval(&model, &input).map_err(CliError::failed)?;
    let outputs = tensors_json(program.layout(), Role::Output, &outputs);
    let value =
        json!({ "model_id": hex::encode(model.model_id()), "batch": batch, "outputs": outputs });
    let text = if out.json {
        String::new()
    } else {
        serde_json::to_string_pretty(&value).map_err(CliError::failed)?
    };
    out.result(&value, &text);
    Ok(())
}

pub(crate) fn prove(args: &ProveArgs, out: Out) -> Result<(), CliError> {
    let bundle = Bundle::open(&args.bundle)?;
    if args.format == Format::Snarkjs && bundle.system() != ProofSystem::Groth16 {
        let message =
            "--format snarkjs is for plain groth16; compile the model with --system groth16";
        return Err(CliError::usage(message));
    }
    if !bundle.has_keys() {
        return Err(crate::bundle::BundleError::NoKeys(args.bundle.clone()).into());
    }
    if args.all {
        return all(args, &bundle, out);
    }
    let bar = Bar::new("prove");
    // The input is cheap to refuse, the key slow to load.
    let (model, program) = local::read_circuit(&bundle).map_err(CliError::usage)?;
    let batch = program.batch() as usize;
    let output = args.output.clone().unwrap_or_else(|| "proof.json".into());
    let tensors = read_input(&model, batch, &args.input.input, args.input.sample)?;
    // Tables cost more than one proof gains by them.
    let work = LocalWork::in_process().on(
        args.gpu.compute()?,
        Some(args.gpu.gpu_table_bytes.unwrap_or(0)),
    );
    let prover = work.load(&bundle, &bar)?;
    let loaded = bar.elapsed();
    let proven = prover.prove_tensors(tensors, args.context.unwrap_or_default(), &bar)?;
    let took = bar.elapsed();
    drop(bar);
    let vk = prover.verifying_key();
    let mut written = vec![output.clone()];
    match args.format {
        Format::Zkinfer => {
            let file = ProofFile::new(&vk.digest(), vk.system, &proven.statement, &proven.proof);
            write_file(&output, file.to_json().as_bytes())?;
        }
        Format::Snarkjs => {
            let public = output.with_file_name("public.json");
            if public == output {
                return Err(CliError::usage(
                    "-o must not be named public.json: that file holds the public words",
                ));
            }
            let proof = snarkjs::proof_to_json(&proven.proof).map_err(CliError::failed)?;
            let words = snarkjs::public_to_json(&proven.statement).map_err(CliError::failed)?;
            write_file(&output, proof.as_bytes())?;
            write_file(&public, words.as_bytes())?;
            written.push(public);
        }
    }
    let outputs = tensors_json(&vk.layout, Role::Output, &proven.outputs);
    let digest = hex::encode(proven.statement.digest(&vk.digest()));
    let value = json!({
        "written": written, "system": vk.system.name(), "model_id": hex::encode(vk.model_id),
        "context": proven.statement.context.to_string(), "statement_digest": digest,
        "proof_bytes": proven.proof.to_bytes().len(), "batch": batch, "outputs": outputs, "load_seconds": loaded, "prove_seconds": took - loaded,
        "proved_on": work.compute().line(),
    });
    let names: Vec<String> = written.iter().map(|p| p.display().to_string()).collect();
    let mut rows = vec![
        row(
            "proof",
            format!(
                "{} ({})",
                names.join(", "),
                bytes(proven.proof.to_bytes().len() as u64)
            ),
        ),
        row("context", proven.statement.context),
        row("statement digest", digest),
    ];
    rows.extend(outputs.iter().map(|o| {
        row(
            format!("output {}", o["name"].as_str().unwrap_or_default()),
            tensor_line(o),
        )
    }));
    rows.push(row("loaded in", seconds(loaded)));
    rows.push(row("proved in", seconds(took - loaded)));
    rows.push(row("proved on", work.compute().line()));
    out.result(&value, &table(&rows));
    Ok(())
}

/// Proves every sample of a file into a folder.
fn all(args: &ProveArgs, bundle: &Bundle, out: Out) -> Result<(), CliError> {
    if args.format == Format::Snarkjs {
        return Err(CliError::usage(
            "--all writes proof.json files of zkinfer; prove one sample with --format snarkjs",
        ));
    }
    let folder = args.output.clone().unwrap_or_else(|| "proofs".into());
    let bar = Bar::new("prove");
    let (model, program) = local::read_circuit(bundle).map_err(CliError::usage)?;
    let batch = program.batch() as usize;
    let path = &args.input.input;
    let file = read_file(path, config::MAX_TENSOR_FILE_BYTES, "input file")?;
    let inputs = inputs::every(&model, batch, &file).map_err(|e| bad_input(path, &e))?;
    std::fs::create_dir_all(&folder)
        .map_err(|e| CliError::usage(format!("the folder {}: {e}", folder.display())))?;
    let tables = slots::table_bytes(inputs.len());
    let gpu_tables = args.gpu.gpu_table_bytes.or((tables == 0).then_some(0));
    let work = LocalWork::in_process().with_tables(tables);
    let work = work.on(args.gpu.compute()?, gpu_tables);
    let prover = work.load(bundle, &bar)?;
    let (vk, loaded) = (prover.verifying_key(), bar.elapsed());
    let digest = vk.digest();
    let n_proofs = inputs.len();
    let slots = args
        .in_flight
        .min(NonZeroUsize::new(n_proofs).unwrap_or(NonZeroUsize::MIN));
    let share = Share::of(slots, rayon::current_num_threads());
    let slots = Slots::start(share).map_err(CliError::failed)?;
    let context = args.context.unwrap_or_default();
    let mut n_written = 0;
    let mut digests = vec![String::new(); n_proofs];
    slots.run(
        inputs,
        |_, tensors| Ok(prover.prove_tensors(tensors, context, &Unwatched)?),
        |index, proven| {
            let file = ProofFile::new(&digest, vk.system, &proven.statement, &proven.proof);
            let to = folder.join(format!("proof-{index}.json"));
            write_file(&to, file.to_json().as_bytes())?;
            digests[index] = hex::encode(proven.statement.digest(&digest));
            n_written += 1;
            bar.show("", f64::from(n_written) / n_proofs as f64);
            Ok::<_, CliError>(())
        },
    )?;
    let took = bar.elapsed() - loaded;
    drop(bar);
    let a_minute = 60.0 * n_proofs as f64 / took;
    let value = json!({
        "folder": folder, "proofs": n_proofs, "system": vk.system.name(), "model_id": hex::encode(vk.model_id), "batch": batch,
        "context": context.to_string(), "statement_digests": digests, "in_flight": share.slots, "threads_each": share.threads,
        "load_seconds": loaded, "table_bytes": prover.table_bytes(), "prove_seconds": took, "proofs_per_minute": a_minute,
        "proved_on": work.compute().line(),
    });
    let flight = format!("{} on {} threads each", share.slots, share.threads);
    let rows = [
        row("proofs", format!("{n_proofs} in {}", folder.display())),
        row("context", context),
        row("in flight", flight),
        row("loaded in", seconds(loaded)),
        row(
            "proved in",
            format!("{}, {a_minute:.1} proofs a minute", seconds(took)),
        ),
        row("proved on", work.compute().line()),
    ];
    out.result(&value, &table(&rows));
    Ok(())
}
