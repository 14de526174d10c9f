//! Float graph + calibration samples → integer model.
//!
//! Post-training quantization: int8 activations with a scale and zero point per tensor, int8 weights with a scale per output
//! channel, accumulators as wide as they need to be, requantization by fixed-point multipliers. Floats end here: the model's
//! integers are the specification of everything that follows.

mod calibrate;
mod given;
pub mod input;
mod npy;
mod plan;
mod precision;
pub mod profile;
mod report;
mod scheme;

pub use calibrate::{Calibration, CalibrationError, Range, ranges};
pub use input::{InputError, InputFile};
pub use plan::{QuantizeError, Quantized, quantize, quantize_with};
pub use precision::{Integers, Precision, PrecisionError, Precisions, Reason};
pub use report::{LayerReport, OutputReport, Report, report};
pub use scheme::{SchemeError, Site, Target};
