//! `report`: one HTML page about a bundle: the model as a graph, what each layer costs and how far it is from the float model,
//! histograms, scatter, accuracy.
//!
//! The page is made from numbers that are gathered first (`report/data.rs`); what is not there is named on the page. It needs
//! nothing but itself: no script, no font, no image, and a content security policy that would refuse them.

mod answers;
mod charts;
mod data;
mod graph;
mod layers;
mod layout;
mod page;
mod text;

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Value, json};
use zkinfer_circuits::{
    Model, Program, Report,
    quantize::profile::{LEAST_CLASSES_FOR_TOP_5, Profile},
};
use zkinfer_engine::{self as engine, CircuitCost, Quote};

use super::{
    CliError, Out,
    compile::CompileLimits,
    output::{TemporaryFolder, bytes, row, seconds, table, write_file},
    progress::Bar,
};
use crate::{
    bundle::{self, Bundle},
    config,
    store::Digest,
    work::{ProfileRequest, local, run_profile},
};
use data::{Cost, Page, errors, facts_of};

/// The array with the labels where no other is named.
const LABELS: &str = "label";

#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// The bundle folder.
    bundle: PathBuf,
    /// The page to write.
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
    /// Samples to run: .npz, or JSON {"input_data": [[…]]}. With them the page has histograms of every activation.
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    /// The ONNX file that the bundle was compiled from. With it the page compares the answers to the samples with the float model's.
    #[arg(long, value_name = "FILE", requires = "samples")]
    model: Option<PathBuf>,
    /// The array of the samples' .npz that has the right class of each, by default `label` if there is one.
    #[arg(long, value_name = "NAME", requires = "samples")]
    labels: Option<String>,
    #[command(flatten)]
    limits: CompileLimits,
}

pub(crate) fn report(args: &ReportArgs, out: Out) -> Result<(), CliError> {
    let bundle = Bundle::open(&args.bundle)?;
    let (model, program) = local::read_circuit(&bundle).map_err(CliError::usage)?;
    let calibration = read_report(&bundle)?;
    let files = [(&args.model, "model"), (&args.samples, "samples file")];
    for (path, what) in files.iter().filter_map(|(p, w)| Some((p.as_ref()?, w))) {
        if !path.is_file() {
            let message = format!("the {what} {} is not a file", path.display());
            return Err(CliError::usage(message));
        }
    }
    let labels = labels_in(args)?;
    let bar = Bar::new("report");
    let profile = match &args.samples {
        Some(samples) => Some(profiled(args, samples, labels.clone(), &bar)?),
        None => None,
    };
    let quote = engine::quote(&program, bundle.system()).map_err(CliError::failed)?;
    let took = bar.elapsed();
    drop(bar);
    let missing = missing(args, labels.as_deref(), profile.as_ref());
    let page = Page {
        name: name_of(&args.bundle),
        identity: identity(args, &bundle)?,
        claim: claim(&bundle, &quote),
        cost: cost(&quote, &program),
        tensors: facts_of(&model, &calibration),
        outputs: outputs(&model),
        calibration,
        profile,
        missing,
    };
    let errors = errors(&model, &page.calibration, page.profile.as_ref());
    let html = page::page(&page, &errors);
    write_file(&args.output, html.as_bytes())?;
    out.result(&value(args, &page, &html), &text(args, &page, &html, took));
    Ok(())
}

fn read_report(bundle: &Bundle) -> Result<Report, CliError> {
    let bytes = bundle.read(bundle::REPORT)?;
    serde_json::from_slice(&bytes).map_err(|e| {
        CliError::usage(format!(
            "{} of the bundle: {e}; compile the model again",
            bundle::REPORT
        ))
    })
}

/// The array with the labels: the one asked for, or the usual one if the file has it.
fn labels_in(args: &ReportArgs) -> Result<Option<String>, CliError> {
    let Some(samples) = &args.samples else {
        return Ok(None);
    };
    if let Some(name) = &args.labels {
        return Ok(Some(name.clone()));
    }
    let file = super::output::read_file(samples, config::MAX_TENSOR_FILE_BYTES, "samples file")?;
    let file = zkinfer_circuits::quantize::InputFile::parse(&file)
        .map_err(|e| CliError::usage(format!("{}: {e}", samples.display())))?;
    Ok(file.has_array(LABELS).then(|| LABELS.to_owned()))
}

fn profiled(
    args: &ReportArgs,
    samples: &Path,
    labels: Option<String>,
    bar: &Bar,
) -> Result<Profile, CliError> {
    let folder = TemporaryFolder::new()?;
    let request = ProfileRequest {
        bundle: args.bundle.clone(),
        model: args.model.clone(),
        samples: samples.to_owned(),
        labels,
        work_folder: folder.path().join("profile"),
    };
    Ok(run_profile(&args.limits.child()?, &request, bar)?)
}

fn name_of(bundle: &Path) -> String {
    let path = std::path::absolute(bundle).unwrap_or_else(|_| bundle.to_owned());
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

fn outputs(model: &Model) -> Vec<(String, usize)> {
    let outputs = model.outputs().iter();
    outputs.map(|o| (o.name.clone(), o.tensor)).collect()
}

/// What a proof is about.
fn claim(bundle: &Bundle, quote: &Quote) -> String {
    let manifest = bundle.manifest();
    let what = match manifest.settings.batch {
        1 => "an input".to_owned(),
        n => format!("{n} inputs"),
    };
    let own = manifest.settings.visibilities.iter();
    let own: String = own
        .map(|(name, shown)| format!(", {name} {}", shown.words()))
        .collect();
    format!(
        "A proof of {} shows that this integer model gave its output for {what}: inputs {}, outputs {}{own}. It says nothing about the float \
         model; how close the two are is below.",
        bytes(quote.proof_bytes as u64),
        manifest.settings.input.words(),
        manifest.settings.output.words(),
    )
}

fn identity(args: &ReportArgs, bundle: &Bundle) -> Result<Vec<(String, String)>, CliError> {
    let manifest = bundle.manifest();
    let mut rows = vec![
        row("model id", &manifest.model_id),
        row("program digest", &manifest.program_digest),
        row("compiled by", format!("zkinfer {}", manifest.zkinfer)),
        row("inferences per proof", manifest.settings.batch),
    ];
    for (node, precision) in manifest.settings.precisions.iter() {
        rows.push(row("precision chosen", format!("{node}: {precision}")));
    }
    match &manifest.keys {
        Some(keys) => {
            rows.push(row("keys", &keys.setup));
            rows.push(row("verifying key", &keys.vk_digest));
            rows.push(row("circuit digest", &keys.circuit_digest));
        }
        None => rows.push(row("keys", "none yet")),
    }
    for (what, path) in [("ONNX file", &args.model), ("samples", &args.samples)] {
        if let Some(path) = path {
            rows.push(row(what, name_of(path)));
            rows.push(row(format!("SHA-256 of the {what}"), digest_of(path)?));
        }
    }
    Ok(rows)
}

fn digest_of(path: &Path) -> Result<Digest, CliError> {
    let unreadable = |e: std::io::Error| CliError::usage(format!("{}: {e}", path.display()));
    let mut all = Vec::new();
    let most = config::MAX_MODEL_BYTES.max(config::MAX_TENSOR_FILE_BYTES);
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(most).read_to_end(&mut all).map_err(unreadable)?;
    Ok(Digest::of(&all))
}

fn cost(quote: &Quote, program: &Arc<Program>) -> Cost {
    let (unit, shared) = match &quote.circuit {
        CircuitCost::R1cs { cost, .. } => {
            let tables = cost.tables.iter();
            let mut shared: Vec<_> = tables
                .map(|t| (format!("lookup table {}", t.name), t.rows))
                .collect();
            shared.push(("statement".to_owned(), cost.statement_rows));
            ("constraints", shared)
        }
        CircuitCost::Halo2(cost) => {
            let by_node: usize = cost.by_node.iter().map(|(_, rows)| rows).sum();
            let others = (cost.tape_rows + cost.lookup_rows).saturating_sub(by_node);
            ("rows", vec![("statement and constants".to_owned(), others)])
        }
    };
    let mut figures = vec![
        row("proof system", quote.system),
        row("setup", quote.trust.name()),
        row("rows used", quote.rows),
        row("domain", quote.domain),
    ];
    if let CircuitCost::Halo2(cost) = &quote.circuit {
        figures.push(row("rows of lookup tables", cost.table_rows));
        figures.push(row("rows of the tape", cost.tape_rows));
        figures.push(row("rows of the lookup columns", cost.lookup_rows));
    }
    figures.extend([
        row("proving key", bytes(quote.key_bytes)),
        row("proof", bytes(quote.proof_bytes as u64)),
        row("words of the statement", program.layout().n_words()),
        row(
            "memory of a prover",
            format!("about {}", bytes(quote.ram_bytes)),
        ),
        row(
            "set-up here",
            format!("about {}", seconds(quote.setup_seconds)),
        ),
        row(
            "prove here",
            format!("about {}", seconds(quote.prove_seconds)),
        ),
        row("gas of a verification", format!("about {}", quote.gas)),
    ]);
    Cost {
        system: quote.system.to_string(),
        unit,
        by_node: quote.circuit.by_node().to_vec(),
        shared,
        figures,
    }
}

/// What is not on the page, and what would bring it.
fn missing(args: &ReportArgs, labels: Option<&str>, profile: Option<&Profile>) -> Vec<String> {
    let mut missing = Vec::new();
    if args.samples.is_none() {
        missing.push(
            "Histograms of the activations, the scatter and accuracy need samples: --samples samples.npz --model model.onnx."
                .to_owned(),
        );
    } else if args.model.is_none() {
        missing.push(
            "The comparison with the float model on these samples needs the ONNX file: --model model.onnx. Errors shown are those on the calibration samples."
                .to_owned(),
        );
    }
    let Some(output) = profile.and_then(|p| p.outputs.first()) else {
        return missing;
    };
    if labels.is_none() {
        missing.push(format!(
            "Accuracy needs the right classes: an array `{LABELS}` in the .npz of the samples, or another with --labels NAME."
        ));
    } else if output.classes < LEAST_CLASSES_FOR_TOP_5 {
        missing.push(format!(
            "Top-5 needs at least {LEAST_CLASSES_FOR_TOP_5} classes; output {} has {}.",
            output.name, output.classes
        ));
    }
    missing
}

fn value(args: &ReportArgs, page: &Page, html: &str) -> Value {
    let outputs: Option<Vec<Value>> = page.profile.as_ref().map(|profile| {
        let outputs = profile.outputs.iter();
        outputs
            .map(|o| json!({ "name": o.name, "agreement": o.agreement, "accuracy": o.accuracy }))
            .collect()
    });
    json!({
        "written": args.output, "bytes": html.len(), "system": page.cost.system, (page.cost.unit): page.cost.total(),
        "samples": page.profile.as_ref().map(|p| p.samples), "outputs": outputs, "missing": page.missing,
    })
}

fn text(args: &ReportArgs, page: &Page, html: &str, took: f64) -> String {
    let size = bytes(html.len() as u64);
    let mut rows = vec![
        row("page", format!("{} ({size})", args.output.display())),
        row(page.cost.unit, page.cost.total()),
        row("gathered in", seconds(took)),
    ];
    if let Some(profile) = &page.profile {
        rows.push(row("samples", profile.samples));
        for output in &profile.outputs {
            let of = |n: usize| format!("{n} of {}", profile.samples);
            if let Some(n) = output.agreement {
                rows.push(row(format!("output {}: same answer", output.name), of(n)));
            }
            if let Some(accuracy) = &output.accuracy {
                rows.push(row("right, quantized", of(accuracy.quantized.top_1)));
                if let Some(float) = &accuracy.float {
                    rows.push(row("right, float", of(float.top_1)));
                }
            }
        }
    }
    let mut text = table(&rows);
    for line in &page.missing {
        text += &format!("not on the page: {line}\n");
    }
    text
}
