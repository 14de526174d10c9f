//! Compiling in a child process: a parser of untrusted files may run out of memory or time, the server must not.
//!
//! The child leaves the bundle in its folder; the parent moves it to its place.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zkinfer_circuits::constraint::MAX_BATCH;

use super::{
    Control, WorkError,
    child::{self, ChildLimits, Folder, Task},
};
use crate::{
    bundle::CompileSettings,
    config,
    store::{Backend, CompileFacts, blobs},
};

const BUNDLE: &str = "bundle";

const COMPILING: Task = Task {
    verb: "compile-worker",
    doing: "compiling",
    code: "COMPILE",
};

/// A model to compile.
#[derive(Clone, Debug)]
pub struct CompileRequest {
    /// The ONNX file.
    pub model: PathBuf,
    /// The calibration file.
    pub calibration: PathBuf,
    /// How.
    pub settings: CompileSettings,
    /// For which proof system.
    pub backend: Backend,
    /// A folder for the child, created and removed here.
    pub work_folder: PathBuf,
}

impl CompileRequest {
    /// Reads a settings file: a JSON object, or nothing for the defaults.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read_settings(bytes: Option<&[u8]>) -> Result<CompileSettings, String> {
        let form = "expected {\"input\": \"public\" | \"private\" | \"hashed\", \"output\": the same, \"visibilities\": {tensor: the same}, \"batch\": number, \"precisions\": {node: \"int8\" | \"int16\"}}";
        let Some(bytes) = bytes else {
            return Ok(CompileSettings::default());
        };
        let settings: CompileSettings =
            serde_json::from_slice(bytes).map_err(|e| format!("{form}: {e}"))?;
        match settings.batch {
            1..=MAX_BATCH => Ok(settings),
            got => Err(format!("batch: expected 1 to {MAX_BATCH}, got {got}")),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Order {
    model: PathBuf,
    calibration: PathBuf,
    settings: CompileSettings,
    backend: Backend,
    memory_bytes: u64,
}

/// Compiles `request` in a child process and moves the bundle to `bundle`.
///
/// # Errors
/// What the child reports, its death, a limit, or a cancellation.
pub fn run_child(
    limits: &ChildLimits,
    request: &CompileRequest,
    bundle: &Path,
    control: &dyn Control,
) -> Result<CompileFacts, WorkError> {
    let folder = Folder::new(&request.work_folder, &COMPILING)?;
    let order = Order {
        model: folder.absolute(&request.model)?,
        calibration: folder.absolute(&request.calibration)?,
        settings: request.settings.clone(),
        backend: request.backend,
        memory_bytes: limits.memory_bytes,
    };
    let facts = folder.run(limits, &order, control)?;
    place(&folder.path().join(BUNDLE), bundle)?;
    Ok(facts)
}

/// Moves the child's bundle to its place, replacing what an interrupted attempt left.
fn place(from: &Path, to: &Path) -> Result<(), WorkError> {
    let fault =
        |e: std::io::Error| WorkError::fault("BUNDLE", format!("cannot place the bundle: {e}"));
    if to.exists() {
        std::fs::remove_dir_all(to).map_err(fault)?;
    }
    std::fs::rename(from, to).map_err(fault)?;
    let parent = to
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    blobs::sync_folder(parent).map_err(|e| WorkError::fault("BUNDLE", e.to_string()))
}

/// The child's side: `zkinfer compile-worker FOLDER`.
///
/// # Errors
/// Only what keeps it from reporting: everything else is in the result file.
pub fn run_worker(folder: &Path) -> Result<(), String> {
    let order: Order = child::order(folder)?;
    child::confine(order.memory_bytes)?;
    child::answer(folder, compile(&order, &folder.join(BUNDLE)))
}

fn compile(order: &Order, bundle: &Path) -> Result<CompileFacts, WorkError> {
    let read = |path: &Path, max: u64, what: &str| {
        blobs::read_bounded(path, max)
            .map_err(|e| WorkError::invalid("UNREADABLE_FILE", format!("the {what} file: {e}")))
    };
    let model = read(&order.model, config::MAX_MODEL_BYTES, "model")?;
    let calibration = read(
        &order.calibration,
        config::MAX_TENSOR_FILE_BYTES,
        "calibration",
    )?;
    super::local::compile(
        &model,
        &calibration,
        order.settings.clone(),
        super::served(order.backend),
        bundle,
        &mut child::tell,
    )
}
