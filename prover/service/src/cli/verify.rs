//! `verify`: whether a proof holds, and what it proves.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zkinfer_circuits::{Model, quantize::InputFile, tensor::Quantization};
use zkinfer_verifier::{
    Context, Role, Statement, TensorSpec, VerifyingKey, Visibility, curve::scalar_to_bytes,
};

use super::{
    CliError, Out,
    output::{read_file, row, table},
    prove::{bad_input, read_input, tensor_line},
};
use crate::{
    bundle::{self, Bundle, ProofFile},
    config,
    work::{inputs, local},
};

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// BUNDLE PROOF, or with --key only PROOF.
    #[arg(value_name = "PATH", num_args = 1..=2, required = true)]
    paths: Vec<PathBuf>,
    /// A verifying key alone, instead of a bundle.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The context that the proof must have.
    #[arg(long, value_name = "HEX")]
    context: Option<Context>,
    /// The input that the proof must be about.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Which sample of --input, counted from 0; with a batch of N the first of N.
    #[arg(long, value_name = "N", requires = "input")]
    sample: Option<usize>,
    /// The output that the proof must show: what `infer --json` printed, or {"output_data": [[…]]}.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The model that the key must be of.
    #[arg(long, value_name = "HEX")]
    model_id: Option<String>,
}

struct Key {
    vk: VerifyingKey,
    model: Option<Model>,
}

fn load(args: &VerifyArgs) -> Result<(Key, PathBuf), CliError> {
    match (&args.key, &args.paths[..]) {
        (Some(path), [proof]) => {
            let bytes = read_file(path, bundle::MAX_VERIFYING_KEY_BYTES, "verifying key")?;
            let vk = VerifyingKey::decode(&bytes).map_err(|e| {
                CliError::usage(format!(
                    "{} is not a usable verifying key: {e}",
                    path.display()
                ))
            })?;
            Ok((Key { vk, model: None }, proof.clone()))
        }
        (None, [folder, proof]) => {
            let bundle = Bundle::open(folder)?;
            let vk = bundle.verifying_key()?;
            let model = if args.input.is_some() || args.output.is_some() {
                Some(local::read_circuit(&bundle).map_err(CliError::usage)?.0)
            } else {
                None
            };
            Ok((Key { vk, model }, proof.clone()))
        }
        (Some(_), _) => Err(CliError::usage(
            "with --key, name only the proof: zkinfer verify --key verifying.key proof.json",
        )),
        (None, _) => Err(CliError::usage(
            "name the bundle and the proof: zkinfer verify BUNDLE proof.json",
        )),
    }
}

pub(crate) fn verify(args: &VerifyArgs, out: Out) -> Result<(), CliError> {
    let (key, proof_path) = load(args)?;
    let expected_model = args.model_id.as_deref().map(read_id).transpose()?;
    let expected_input = args
        .input
        .as_deref()
        .map(|path| expected_input(&key, path, args.sample))
        .transpose()?;
    let expected_output = args
        .output
        .as_deref()
        .map(|path| expected_output(&key, path))
        .transpose()?;
    let text = read_file(&proof_path, bundle::MAX_PROOF_FILE_BYTES, "proof")?;
    let statement = match ProofFile::parse(&text).and_then(|file| file.verify(&key.vk)) {
        Ok((statement, _)) => statement,
        Err(e) => return invalid(out, &e.to_string()),
    };
    let tensors = statement
        .tensors(&key.vk.layout)
        .map_err(|e| CliError::failed(format!("the statement: {e}")))?;

    if let Some(expected) = expected_model
        && expected != key.vk.model_id
    {
        return invalid(
            out,
            &format!(
                "the key is of model {}, expected {}",
                hex::encode(key.vk.model_id),
                hex::encode(expected)
            ),
        );
    }
    if let Some(expected) = args.context
        && expected != statement.context
    {
        return invalid(
            out,
            &format!(
                "the proof has context {}, expected {expected}",
                statement.context
            ),
        );
    }
    for (role, expected) in [
        (Role::Input, expected_input),
        (Role::Output, expected_output),
    ] {
        let Some(expected) = expected else { continue };
        let specs = key.vk.layout.tensors.iter().enumerate();
        for ((position, spec), wanted) in specs.filter(|(_, t)| t.role == role).zip(&expected) {
            if spec.visibility == Visibility::Hashed {
                if let Err(e) = statement.check_revealed(&key.vk.layout, position, wanted) {
                    return invalid(out, &e.to_string());
                }
                continue;
            }
            let values = tensors.iter().find(|(shown, _)| std::ptr::eq(*shown, spec));
            if let Some((_, values)) = values
                && values != wanted
            {
                let at = values
                    .iter()
                    .zip(wanted)
                    .position(|(a, b)| a != b)
                    .unwrap_or(0);
                return invalid(
                    out,
                    &format!(
                        "the proof is about another {}: it differs first at element {at}",
                        spec.name
                    ),
                );
            }
        }
    }
    let mut warnings = Vec::new();
    if args.context.is_none() && statement.context != Context::ZERO {
        warnings.push(format!(
            "the proof is bound to context {}; compare it with the task you asked for (--context)",
            statement.context
        ));
    }
    if key.vk.setup == zkinfer_verifier::Setup::Development {
        warnings.push("the key is a development key: whoever made it can forge proofs".to_owned());
    }
    print(out, &key.vk, &statement, &tensors, &warnings);
    Ok(())
}

fn print(
    out: Out,
    vk: &VerifyingKey,
    statement: &Statement,
    tensors: &[(&TensorSpec, Vec<i64>)],
    warnings: &[String],
) {
    let shown = |role: Role| -> Vec<Value> {
        let of_role = tensors.iter().filter(|(spec, _)| spec.role == role);
        let json = |(spec, values): &(&TensorSpec, Vec<i64>)| {
            let real: Vec<f64> = values.iter().map(|&q| spec.dequantize(q)).collect();
            json!({ "name": spec.name, "shape": spec.shape, "quantized": values, "real": real })
        };
        of_role.map(json).collect()
    };
    let hidden: Vec<&str> = vk
        .layout
        .tensors
        .iter()
        .filter(|t| t.visibility == Visibility::Private)
        .map(|t| t.name.as_str())
        .collect();
    let digests = vk.layout.hashed_tensors().zip(&statement.digests);
    let hashed: Vec<(&str, String)> = digests
        .map(|((_, t), digest)| (t.name.as_str(), hex::encode(scalar_to_bytes(*digest))))
        .collect();
    let (inputs, outputs) = (shown(Role::Input), shown(Role::Output));
    let digest = hex::encode(statement.digest(&vk.digest()));
    let mut value = json!({
        "valid": true, "system": vk.system.name(), "setup": vk.setup.name(), "model_id": hex::encode(vk.model_id),
        "vk_digest": hex::encode(vk.digest()), "context": statement.context.to_string(), "statement_digest": digest,
        "inputs": inputs, "outputs": outputs, "private": hidden, "warnings": warnings,
    });
    if !hashed.is_empty() {
        let json = |(name, digest): &(&str, String)| json!({ "name": name, "digest": digest });
        value["hashed"] = hashed.iter().map(json).collect();
    }
    let mut rows = vec![
        row(
            "valid",
            format!("{} proof, {} key", vk.system, vk.setup.name()),
        ),
        row("model id", hex::encode(vk.model_id)),
        row("verifying key", hex::encode(vk.digest())),
        row("context", statement.context),
        row("statement digest", digest),
    ];
    for (what, list) in [("input", &inputs), ("output", &outputs)] {
        rows.extend(list.iter().map(|t| {
            row(
                format!("{what} {}", t["name"].as_str().unwrap_or_default()),
                tensor_line(t),
            )
        }));
    }
    rows.extend(
        hidden
            .iter()
            .map(|name| row(format!("private {name}"), "not shown by the statement")),
    );
    rows.extend(
        hashed
            .iter()
            .map(|(name, digest)| row(format!("hashed {name}"), format!("digest {digest}"))),
    );
    out.result(&value, &table(&rows));
    for warning in warnings {
        out.warning(warning);
    }
}

fn invalid(out: Out, reason: &str) -> Result<(), CliError> {
    if out.json {
        out.result(&json!({ "valid": false, "reason": reason }), "");
    }
    Err(CliError {
        message: format!("not valid: {reason}"),
        code: 1,
    })
}

fn read_id(text: &str) -> Result<[u8; 32], CliError> {
    let mut id = [0; 32];
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut id)
        .map_err(|_| CliError::usage("--model-id: expected 64 hexadecimal digits"))?;
    Ok(id)
}

fn refuse_private(vk: &VerifyingKey, role: Role, flag: &str) -> Result<(), CliError> {
    match vk
        .layout
        .tensors
        .iter()
        .find(|t| t.role == role && t.visibility == Visibility::Private)
    {
        Some(t) => Err(CliError::usage(format!(
            "{flag}: the tensor {} is private, a proof does not show it",
            t.name
        ))),
        None => Ok(()),
    }
}

/// The integers of an input file, by the model's rule or, with a key alone, by the same rule from the key.
fn expected_input(
    key: &Key,
    path: &Path,
    sample: Option<usize>,
) -> Result<Vec<Vec<i64>>, CliError> {
    refuse_private(&key.vk, Role::Input, "--input")?;
    if let Some(model) = &key.model {
        let batch = inputs::batch_of(model, &key.vk.layout).ok_or_else(|| {
            CliError::usage(
                "the verifying key states other tensors than the model of the bundle has",
            )
        })?;
        return Ok(read_input(model, batch, path, sample)?
            .into_iter()
            .map(|t| t.data)
            .collect());
    }
    let bad = |e: String| CliError::usage(format!("{}: {e}", path.display()));
    let file = read_file(path, config::MAX_TENSOR_FILE_BYTES, "input file")?;
    let file = InputFile::parse(&file).map_err(|e| bad(e.to_string()))?;
    let specs: Vec<&TensorSpec> = key
        .vk
        .layout
        .tensors
        .iter()
        .filter(|t| t.role == Role::Input)
        .collect();
    // the names of a batch say that its samples are those of the tensors of its first copy
    let batch = inputs::copies_in_names(&specs);
    let first = &specs[..specs.len() / batch];
    let shapes: Vec<Vec<usize>> = first
        .iter()
        .map(|t| t.shape.iter().map(|&d| d as usize).collect())
        .collect();
    let name = |t: &'_ TensorSpec| match batch {
        1 => t.name.clone(),
        _ => inputs::base_name(t).unwrap_or(&t.name).to_owned(),
    };
    let names: Vec<String> = first.iter().map(|t| name(t)).collect();
    let wanted: Vec<(&str, &[usize])> = names
        .iter()
        .zip(&shapes)
        .map(|(name, shape)| (name.as_str(), shape.as_slice()))
        .collect();
    let samples = file.samples(&wanted).map_err(|e| bad(e.to_string()))?;
    let chosen = inputs::chosen(samples.len(), batch, sample).map_err(|e| bad_input(path, &e))?;
    let values = samples[chosen].iter().flatten();
    Ok(specs
        .iter()
        .zip(values)
        .map(|(spec, v)| v.iter().map(|&x| quantize(spec, f64::from(x))).collect())
        .collect())
}

/// The integer that stands for a real number, as the model's own rule has it.
fn quantize(spec: &TensorSpec, real: f64) -> i64 {
    let quantization = Quantization {
        scale: spec.scale,
        zero_point: spec.zero_point,
    };
    quantization.quantize(real, spec.dtype)
}

/// The integers of an expected output.
fn expected_output(key: &Key, path: &Path) -> Result<Vec<Vec<i64>>, CliError> {
    refuse_private(&key.vk, Role::Output, "--output")?;
    let form = "expected what `infer --json` prints, or {\"output_data\": [[numbers]]}";
    let bad = |e: String| CliError::usage(format!("{}: {e}", path.display()));
    let bytes = read_file(path, config::MAX_TENSOR_FILE_BYTES, "output file")?;
    let json: Value = serde_json::from_slice(&bytes).map_err(|e| bad(format!("{form}: {e}")))?;
    let specs: Vec<&TensorSpec> = key
        .vk
        .layout
        .tensors
        .iter()
        .filter(|t| t.role == Role::Output)
        .collect();
    let mut tensors = Vec::new();
    for (position, spec) in specs.iter().enumerate() {
        let quantized = json["outputs"][position]["quantized"].as_array();
        let real = json["output_data"][position].as_array();
        let values: Option<Vec<i64>> = match (quantized, real) {
            (Some(list), _) => list.iter().map(Value::as_i64).collect(),
            (None, Some(list)) => list
                .iter()
                .map(|v| v.as_f64().map(|x| quantize(spec, x)))
                .collect(),
            (None, None) => None,
        };
        let values = values.ok_or_else(|| bad(format!("output {}: {form}", spec.name)))?;
        if values.len() != spec.len() {
            return Err(bad(format!(
                "output {}: expected {} values, got {}",
                spec.name,
                spec.len(),
                values.len()
            )));
        }
        tensors.push(values);
    }
    Ok(tensors)
}
