//! ONNX model → quantized integer model → constraint program → R1CS.
//!
//! The waist of the house: many operators, few instructions, several arithmetizations. See `DESIGN.md`.
#![forbid(unsafe_code)]

pub mod arithmetization;
pub mod constraint;
pub mod gadgets;
pub mod tensor;
