//! ONNX model → quantized integer model → constraint program → R1CS.
//!
//! The waist of the house: many operators, few instructions, several arithmetizations. See `DESIGN.md`.
#![forbid(unsafe_code)]

pub mod arithmetization;
pub mod constraint;
pub mod gadgets;
pub mod model;
pub mod onnx;
pub mod ops;
pub mod quantize;
pub mod tensor;
pub mod testing;

pub use constraint::Program;
pub use model::Model;
pub use quantize::{Calibration, Precision, Precisions, Report};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use zkinfer_verifier::Visibility;

/// What the caller chooses about a compilation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Whether the statement shows the model's inputs. A private input proves little: nothing outside the proof is tied to it.
    pub input: Visibility,
    /// Whether the statement shows the model's outputs.
    pub output: Visibility,
    /// Of inputs and outputs by name, where they differ from the two above.
    pub visibilities: BTreeMap<String, Visibility>,
    /// How many inferences one proof is about.
    pub batch: u32,
    /// The precisions that are not left to the quantizer.
    pub precisions: Precisions,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            input: Visibility::Public,
            output: Visibility::Public,
            visibilities: BTreeMap::new(),
            batch: 1,
            precisions: Precisions::default(),
        }
    }
}

/// A compiled model.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The integer model.
    pub model: Model,
    /// What every proof system proves about it.
    pub program: Program,
    /// How far the integer model is from the float model.
    pub report: Report,
}

/// Why a model could not be compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The file is not a model that can be compiled.
    #[error(transparent)]
    Import(#[from] onnx::ImportError),
    /// The samples do not calibrate the model.
    #[error(transparent)]
    Calibration(#[from] quantize::CalibrationError),
    /// The model has no integer form.
    #[error(transparent)]
    Quantize(#[from] quantize::QuantizeError),
    /// The integer model could not be compared with the float model.
    #[error("report: {0}")]
    Report(#[from] model::EvalError),
    /// The model has no constraint program.
    #[error("constraints: {0}")]
    Build(#[from] constraint::BuildError),
}

/// Compiles an ONNX file: import, calibration, quantization, report, constraint program.
///
/// `progress` is told the phase, the steps done and their number.
///
/// # Errors
/// See [`CompileError`]; each names the node, tensor, input or sample at fault.
pub fn compile(
    onnx: &[u8],
    calibration: &Calibration,
    settings: &Settings,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Compiled, CompileError> {
    const STEPS: u64 = 5;
    progress("import", 0, STEPS);
    let graph = onnx::import(onnx)?;
    progress("calibrate", 1, STEPS);
    let samples = calibration.samples(&graph)?;
    let ranges = quantize::ranges(&graph, &samples)?;
    progress("quantize", 2, STEPS);
    let visibilities = model::Visibilities {
        input: settings.input,
        output: settings.output,
        tensors: settings.visibilities.clone(),
    };
    let precisions = &settings.precisions;
    let quantized = quantize::quantize_with(&graph, &ranges, visibilities, precisions)?;
    progress("report", 3, STEPS);
    let report = quantize::report(&graph, &ranges, &quantized, &samples)?;
    progress("synthesize", 4, STEPS);
    let program = quantized.model.synthesize_batch(settings.batch)?;
    progress("synthesize", STEPS, STEPS);
    Ok(Compiled {
        model: quantized.model,
        program,
        report,
    })
}
