//! `infer` and `prove`: what the quantized model answers, and the proof of it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zkinfer_circuits::{Model, tensor::Tensor};
use zkinfer_verifier::{Context, ProofSystem, Role, StatementLayout, snarkjs};

use super::{
    CliError, Out,
    output::{bytes, read_file, row, seconds, table, write_file},
    progress::Bar,
};
use crate::{
    bundle::{Bundle, ProofFile},
    config,
    work::local::{self, LocalWork},
};

/// An input file on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct InputArgs {
    /// The input: .npz, or JSON {"input_data": [[…]]}.
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// Which sample of a file that holds several, counted from 0.
    #[arg(long, value_name = "N")]
    pub(crate) sample: Option<usize>,
}

impl InputArgs {
    fn tensors(&self, model: &Model) -> Result<Vec<Tensor>, CliError> {
        read_input(model, &self.input, self.sample)
    }
}

/// Reads and quantizes an input file.
pub(crate) fn read_input(
    model: &Model,
    path: &Path,
    sample: Option<usize>,
) -> Result<Vec<Tensor>, CliError> {
    let file = read_file(path, config::MAX_TENSOR_FILE_BYTES, "input file")?;
    local::quantize_file(model, &file, sample).map_err(|e| {
        let hint = if e.starts_with("the file holds") {
            "; choose one with --sample N"
        } else {
            ""
        };
        CliError::usage(format!("{}: {e}{hint}", path.display()))
    })
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
    /// The proof to write; with --format snarkjs, public.json is written beside it.
    #[arg(short, long, value_name = "FILE", default_value = "proof.json")]
    output: PathBuf,
    /// How the proof is written.
    #[arg(long, value_enum, default_value = "zkinfer")]
    format: Format,
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
    let (model, _) = local::read_circuit(&bundle).map_err(CliError::usage)?;
    let input = args.input.tensors(&model)?;
    let outputs = model.eval(&input).map_err(CliError::failed)?;
    let layout = model.layout();
    let outputs = tensors_json(&layout, Role::Output, &outputs);
    let value = json!({ "model_id": hex::encode(model.model_id()), "outputs": outputs });
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
    let bar = Bar::new("prove");
    // The input is cheap to refuse, the key slow to load.
    let (model, _) = local::read_circuit(&bundle).map_err(CliError::usage)?;
    let tensors = args.input.tensors(&model)?;
    let prover = LocalWork::in_process().load(&bundle, &bar)?;
    let loaded = bar.elapsed();
    let proven = prover.prove_tensors(tensors, args.context.unwrap_or_default(), &bar)?;
    let took = bar.elapsed();
    drop(bar);
    let vk = prover.verifying_key();
    let mut written = vec![args.output.clone()];
    match args.format {
        Format::Zkinfer => {
            let file = ProofFile::new(&vk.digest(), vk.system, &proven.statement, &proven.proof);
            write_file(&args.output, file.to_json().as_bytes())?;
        }
        Format::Snarkjs => {
            let public = args.output.with_file_name("public.json");
            if public == args.output {
                return Err(CliError::usage(
                    "-o must not be named public.json: that file holds the public words",
                ));
            }
            let proof = snarkjs::proof_to_json(&proven.proof).map_err(CliError::failed)?;
            let words = snarkjs::public_to_json(&proven.statement).map_err(CliError::failed)?;
            write_file(&args.output, proof.as_bytes())?;
            write_file(&public, words.as_bytes())?;
            written.push(public);
        }
    }
    let outputs = tensors_json(&vk.layout, Role::Output, &proven.outputs);
    let digest = hex::encode(proven.statement.digest(&vk.digest()));
    let value = json!({
        "written": written, "system": vk.system.name(), "model_id": hex::encode(vk.model_id),
        "context": proven.statement.context.to_string(), "statement_digest": digest,
        "proof_bytes": proven.proof.to_bytes().len(), "outputs": outputs, "load_seconds": loaded, "prove_seconds": took - loaded,
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
    out.result(&value, &table(&rows));
    Ok(())
}
