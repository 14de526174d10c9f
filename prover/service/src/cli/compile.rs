//! `compile`, `setup`: from a model to a bundle with keys.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ValueEnum as _;
use serde::Deserialize as _;
use serde_json::{Value, json};
use zkinfer_circuits::constraint::MAX_BATCH;
use zkinfer_circuits::quantize::LayerReport;
use zkinfer_circuits::{Precision, Precisions};
use zkinfer_verifier::{ProofSystem, Setup};

use super::{
    CliError, Out,
    output::{bytes, row, seconds, table},
    params::{HomeArg, origin_text},
    progress::Bar,
};
use crate::{
    bundle::{self, Bundle, BundleError, CompileSettings, Shown},
    store::Backend,
    work::{ChildLimits, CompileRequest, local, run_child},
};

/// A proof system on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum System {
    /// Groth16 with one committed round: the default.
    Ultragroth,
    /// Plain Groth16, for tools that accept nothing else.
    Groth16,
    /// PLONK over KZG: keys from one public ceremony for all models.
    Halo2Kzg,
}

impl System {
    pub(crate) fn backend(self) -> Backend {
        match self {
            Self::Ultragroth => Backend::UltraGroth,
            Self::Groth16 => Backend::Groth16,
            Self::Halo2Kzg => Backend::Halo2Kzg,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct CompileArgs {
    /// The ONNX file.
    model: PathBuf,
    /// The bundle folder to write.
    #[arg(short = 'o', long = "bundle", value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Samples of the data that the model will meet: .npz, or JSON {"input_data": [[…]]}.
    #[arg(long, value_name = "FILE")]
    calibration: PathBuf,
    /// The proof system.
    #[arg(long, value_enum, default_value = "ultragroth")]
    system: System,
    /// Whether the statement shows the input. A private input without a digest proves little.
    #[arg(long, value_enum, default_value = "public")]
    input: Shown,
    /// Whether the statement shows the output.
    #[arg(long, value_enum, default_value = "public")]
    output: Shown,
    /// Inferences that one proof is about: they share the lookup tables, the weights and the verification.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = batch_range())]
    batch: u32,
    #[command(flatten)]
    visibility: VisibilityArgs,
    #[command(flatten)]
    precision: PrecisionArgs,
    /// Replace an existing bundle.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    limits: CompileLimits,
}

/// What `--batch` may be.
pub(crate) fn batch_range() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(MAX_BATCH))
}

/// Visibilities of single tensors on the command line.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct VisibilityArgs {
    /// Whether the statement shows one input or output, where that differs from --input and --output: public, private or hashed. May be given
    /// more than once.
    #[arg(long = "visibility", value_name = "TENSOR=VISIBILITY", value_parser = visibility)]
    visibilities: Vec<(String, Shown)>,
}

impl VisibilityArgs {
    /// All of them; a tensor is named once.
    pub(crate) fn chosen(&self) -> Result<BTreeMap<String, Shown>, CliError> {
        let mut all = BTreeMap::new();
        for (tensor, shown) in &self.visibilities {
            if all.insert(tensor.clone(), *shown).is_some() {
                let message = format!("--visibility names `{tensor}` twice; expected once");
                return Err(CliError::usage(message));
            }
        }
        Ok(all)
    }
}

/// NAME=VALUE; a name may hold an equals sign, a value does not.
fn assigned<'a>(text: &'a str, expected: &str) -> Result<(&'a str, &'a str), String> {
    let split = text.rsplit_once('=').filter(|(name, _)| !name.is_empty());
    split.ok_or_else(|| format!("expected {expected}, got `{text}`"))
}

/// TENSOR=VISIBILITY.
fn visibility(text: &str) -> Result<(String, Shown), String> {
    let (tensor, shown) = assigned(text, "TENSOR=public, private or hashed")?;
    Ok((tensor.to_owned(), Shown::from_str(shown, true)?))
}

/// Precisions on the command line.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PrecisionArgs {
    /// Bits of a node's result, where the quantizer shall not choose them: int8 or int16, by the name that the accuracy report gives the node.
    /// May be given more than once.
    #[arg(long = "precision", value_name = "NODE=TYPE", value_parser = precision)]
    precisions: Vec<(String, Precision)>,
}

impl PrecisionArgs {
    /// All of them; a node is named once.
    pub(crate) fn chosen(&self) -> Result<Precisions, CliError> {
        let mut all = Precisions::default();
        for (node, precision) in &self.precisions {
            if let Some(before) = all.choose(node, *precision) {
                let message = format!(
                    "--precision names `{node}` twice: expected one precision, got {before} and {precision}"
                );
                return Err(CliError::usage(message));
            }
        }
        Ok(all)
    }
}

/// NODE=TYPE.
fn precision(text: &str) -> Result<(String, Precision), String> {
    let (node, precision) = assigned(text, "NODE=int8 or NODE=int16")?;
    let precision = precision.parse::<Precision>().map_err(|e| e.to_string())?;
    Ok((node.to_owned(), precision))
}

/// Bounds of the compile process.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CompileLimits {
    /// Address space of the process that compiles a model, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 8192)]
    pub(crate) compile_memory_mib: u64,
    /// Seconds that compiling a model may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) compile_timeout: u64,
}

impl CompileLimits {
    pub(crate) fn child(&self) -> Result<ChildLimits, CliError> {
        Ok(ChildLimits {
            worker: std::env::current_exe()
                .map_err(|e| CliError::failed(format!("cannot find this program: {e}")))?,
            memory_bytes: self.compile_memory_mib.saturating_mul(1 << 20),
            timeout: Duration::from_secs(self.compile_timeout),
        })
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct SetupArgs {
    /// The bundle folder.
    bundle: PathBuf,
    /// Replace keys that the bundle has; proofs and contracts of the old keys stay with the old keys.
    #[arg(long)]
    force: bool,
    /// A reference string (a file, or the id that `params ls` shows) for halo2-kzg keys; without it the keys are development keys.
    #[arg(long, value_name = "FILE|ID")]
    srs: Option<String>,
    #[command(flatten)]
    home: HomeArg,
}

pub(crate) fn compile(args: &CompileArgs, out: Out) -> Result<(), CliError> {
    check_place(&args.bundle, args.force)?;
    for (path, what) in [
        (&args.model, "model"),
        (&args.calibration, "calibration file"),
    ] {
        if !path.is_file() {
            return Err(CliError::usage(format!(
                "the {what} {} is not a file",
                path.display()
            )));
        }
    }
    let settings = CompileSettings {
        input: args.input,
        output: args.output,
        visibilities: args.visibility.chosen()?,
        batch: args.batch,
        precisions: args.precision.chosen()?,
    };
    let bar = Bar::new("compile");
    let bundle = compile_to(
        &args.model,
        &args.calibration,
        args.system,
        settings,
        &args.bundle,
        &args.limits.child()?,
        &bar,
    )?;
    let report: Value = serde_json::from_slice(&bundle.read(bundle::REPORT)?).unwrap_or_default();
    let took = bar.elapsed();
    drop(bar);
    let manifest = bundle.manifest();
    let value = json!({
        "bundle": args.bundle, "system": manifest.system, "model_id": manifest.model_id,
        "program_digest": manifest.program_digest, "batch": manifest.settings.batch, "seconds": took, "report": report,
    });
    out.result(&value, &text(&bundle, &report, took));
    Ok(())
}

/// Compiles in a child process.
pub(crate) fn compile_to(
    model: &Path,
    calibration: &Path,
    system: System,
    settings: CompileSettings,
    to: &Path,
    limits: &ChildLimits,
    bar: &Bar,
) -> Result<Bundle, CliError> {
    let parent = to
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let request = CompileRequest {
        model: model.to_owned(),
        calibration: calibration.to_owned(),
        settings,
        backend: system.backend(),
        work_folder: parent.join(format!(".zkinfer-compile-{}", std::process::id())),
    };
    run_child(limits, &request, to, bar)?;
    Ok(Bundle::open(to)?)
}

/// Nothing but an older bundle is ever replaced.
fn check_place(place: &Path, force: bool) -> Result<(), CliError> {
    let occupied = match std::fs::read_dir(place) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => place.exists(),
    };
    if !occupied {
        return Ok(());
    }
    if !force {
        return Err(BundleError::Exists(place.to_owned()).into());
    }
    if !place.join("manifest.json").is_file() {
        let message = format!(
            "{} exists and is not a bundle; --force replaces bundles only",
            place.display()
        );
        return Err(CliError::usage(message));
    }
    Ok(())
}

fn text(bundle: &Bundle, report: &Value, took: f64) -> String {
    let manifest = bundle.manifest();
    let mut rows = vec![
        row("bundle", bundle.path().display()),
        row("system", &manifest.system),
        row("model id", &manifest.model_id),
        row("inferences per proof", manifest.settings.batch),
        row("compiled in", seconds(took)),
        row("samples compared", &report["samples"]),
    ];
    for (node, precision) in manifest.settings.precisions.iter() {
        rows.push(row("precision chosen", format!("{node}: {precision}")));
    }
    for output in report["outputs"].as_array().into_iter().flatten() {
        let name = output["name"].as_str().unwrap_or_default();
        let share = 100.0 * output["argmax_agreement"].as_f64().unwrap_or(f64::NAN);
        let error = output["max_error_steps"].as_f64().unwrap_or(f64::NAN);
        rows.push(row(
            format!("output {name}"),
            format!("argmax agrees on {share:.1}%, largest error {error:.1} steps"),
        ));
    }
    let mut text = table(&rows);
    text += "\nlayers: integers, errors against the float model (largest, mean), range, and why there are more than eight bits:\n";
    for layer in report["layers"].as_array().into_iter().flatten() {
        let number = |field: &str| layer[field].as_f64().unwrap_or(f64::NAN);
        let (name, op) = (
            layer["name"].as_str().unwrap_or_default(),
            layer["op"].as_str().unwrap_or_default(),
        );
        let range = format!(
            "[{:.3}, {:.3}]",
            layer["range"][0].as_f64().unwrap_or(0.0),
            layer["range"][1].as_f64().unwrap_or(0.0)
        );
        let told = LayerReport::deserialize(layer).map(|l| l.integers_and_why());
        let (integers, why) = told.unwrap_or_default();
        text += &format!(
            "  {op:<20} {name:<32} {integers:>8} {:>10.5} {:>10.5}  range {range}  {why}\n",
            number("max_error"),
            number("mean_error")
        );
    }
    text + &format!("\nnext: zkinfer setup {}\n", bundle.path().display())
}

pub(crate) fn setup(args: &SetupArgs, out: Out) -> Result<(), CliError> {
    let mut bundle = Bundle::open(&args.bundle)?;
    let srs = match &args.srs {
        Some(name) if bundle.system() == ProofSystem::Halo2Kzg => Some(args.home.find(name)?),
        Some(_) => {
            let message = format!(
                "--srs is for halo2-kzg; {} keys need a set-up for each circuit",
                bundle.system()
            );
            return Err(CliError::usage(message));
        }
        None => None,
    };
    if bundle.has_keys() {
        if !args.force {
            return Err(BundleError::HasKeys.into());
        }
        bundle.forget_keys()?;
    }
    let origin = srs.as_ref().map(origin_text);
    let bar = Bar::new("setup");
    let work = local::LocalWork::in_process().with_srs(srs);
    let vk = work.make_keys(&mut bundle, &bar)?;
    let took = bar.elapsed();
    drop(bar);
    let key = bundle.file(bundle::PROVING_KEY).map_or(0, |f| f.size);
    let digest = hex::encode(vk.digest());
    let value = json!({
        "bundle": args.bundle, "system": vk.system.name(), "setup": vk.setup.name(), "srs": origin, "vk_digest": digest,
        "proving_key_bytes": key, "seconds": took,
    });
    let mut rows = vec![row(
        "keys",
        match vk.setup {
            Setup::Development => "development (whoever made them can forge proofs)".to_owned(),
            Setup::Ceremony => vk.setup.name().to_owned(),
        },
    )];
    rows.extend(origin.map(|origin| row("reference string", origin)));
    rows.extend([
        row("verifying key digest", digest),
        row("proving key", bytes(key)),
        row("made in", seconds(took)),
    ]);
    out.result(&value, &table(&rows));
    Ok(())
}
