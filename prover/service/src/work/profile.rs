//! Profiling a model on samples, in a child process: the ONNX file is parsed where a parser may run out of memory or time.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zkinfer_circuits::{
    Report,
    onnx::import,
    quantize::{
        InputFile,
        profile::{Pairing, Profile, labels, profile},
    },
};

use super::{
    Control, WorkError,
    child::{self, ChildLimits, Folder, Task},
    local,
};
use crate::{
    bundle::{self, Bundle},
    config,
    store::blobs,
};

const PROFILING: Task = Task {
    verb: "profile-worker",
    doing: "evaluating",
    code: "PROFILE",
};

/// A model to profile.
#[derive(Clone, Debug)]
pub struct ProfileRequest {
    /// The bundle folder.
    pub bundle: PathBuf,
    /// The ONNX file that it was compiled from, to compare with.
    pub model: Option<PathBuf>,
    /// The samples.
    pub samples: PathBuf,
    /// The array of the samples' file with the labels.
    pub labels: Option<String>,
    /// A folder for the child, created and removed here.
    pub work_folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Order {
    bundle: PathBuf,
    model: Option<PathBuf>,
    samples: PathBuf,
    labels: Option<String>,
    memory_bytes: u64,
}

/// Profiles in a child process.
///
/// # Errors
/// What the child reports, its death, a limit, or a cancellation.
pub fn run_profile(
    limits: &ChildLimits,
    request: &ProfileRequest,
    control: &dyn Control,
) -> Result<Profile, WorkError> {
    let folder = Folder::new(&request.work_folder, &PROFILING)?;
    let model = request.model.as_deref();
    let order = Order {
        bundle: folder.absolute(&request.bundle)?,
        model: model.map(|path| folder.absolute(path)).transpose()?,
        samples: folder.absolute(&request.samples)?,
        labels: request.labels.clone(),
        memory_bytes: limits.memory_bytes,
    };
    folder.run(limits, &order, control)
}

/// The child's side: `zkinfer profile-worker FOLDER`.
///
/// # Errors
/// Only what keeps it from reporting: everything else is in the result file.
pub fn run_profile_worker(folder: &Path) -> Result<(), String> {
    let order: Order = child::order(folder)?;
    child::confine(order.memory_bytes)?;
    child::answer(folder, profiled(&order))
}

fn profiled(order: &Order) -> Result<Profile, WorkError> {
    let damaged =
        |e: &dyn std::fmt::Display| WorkError::invalid("BAD_BUNDLE", format!("the bundle: {e}"));
    let bundle = Bundle::open(&order.bundle).map_err(|e| damaged(&e))?;
    let model = local::read_circuit(&bundle)?.0;
    let report = bundle.read(bundle::REPORT).map_err(|e| damaged(&e))?;
    let report: Report = serde_json::from_slice(&report).map_err(|e| damaged(&e))?;
    let read = |path: &Path, max: u64, what: &str| {
        blobs::read_bounded(path, max)
            .map_err(|e| WorkError::invalid("UNREADABLE_FILE", format!("the {what}: {e}")))
    };
    let bad_samples = |e: &dyn std::fmt::Display| {
        let message = format!("{}: {e}", order.samples.display());
        WorkError::invalid("BAD_SAMPLES", message)
    };
    let file = read(&order.samples, config::MAX_TENSOR_FILE_BYTES, "samples")?;
    let file = InputFile::parse(&file).map_err(|e| bad_samples(&e))?;
    let samples = model.samples(&file).map_err(|e| bad_samples(&e))?;
    let named = order.labels.as_deref().map(|name| labels(&file, name));
    let classes = named.transpose().map_err(|e| bad_samples(&e))?;
    let graph = match &order.model {
        Some(path) => {
            let onnx = read(path, config::MAX_MODEL_BYTES, "model file")?;
            let graph = import(&onnx);
            Some(graph.map_err(|e| WorkError::invalid("BAD_MODEL", e.to_string()))?)
        }
        None => None,
    };
    let pairing = match &graph {
        Some(graph) => Some(Pairing::new(graph, &model, &report).map_err(|e| {
            let message = format!("the bundle was compiled from another model: {e}");
            WorkError::invalid("OTHER_MODEL", message)
        })?),
        None => None,
    };
    let classes = classes.as_deref();
    profile(
        &model,
        &samples,
        pairing.as_ref(),
        classes,
        &mut child::tell,
    )
    .map_err(|e| bad_samples(&e))
}
