//! # Source: the device code, as text
//!
//! The same text is compiled for GPUs by NVRTC and for the CPU by a C++ compiler.

use super::driver::Unit;

/// A file of device code: its name in `#include` lines, and its text.
#[derive(Clone, Copy)]
pub(crate) struct File<'a> {
    pub(crate) name: &'static str,
    pub(crate) text: &'a str,
}

macro_rules! file {
    ($name:literal) => {
        File {
            name: $name,
            text: include_str!(concat!("../../cuda/", $name)),
        }
    };
}

/// What units include.
pub(crate) const HEADERS: &[File<'static>] = &[
    file!("platform.cuh"),
    file!("field.cuh"),
    file!("generated.cuh"),
    file!("curve.cuh"),
    file!("msm.cuh"),
];

/// What makes the CPU a platform for the units; no GPU compiler sees it.
pub(crate) const EMULATION: &[File<'static>] = &[file!("emulation.hpp"), file!("emulation.cpp")];

/// A driver and a compiler for tests; nothing else sees them.
pub(crate) const MOCK: &[File<'static>] = &[file!("mock_driver.cpp"), file!("mock_nvrtc.cpp")];

/// Everything that the CPU needs to run every unit.
pub(crate) fn all() -> impl Iterator<Item = File<'static>> {
    let units = Unit::ALL.into_iter().map(unit);
    HEADERS.iter().chain(EMULATION).copied().chain(units)
}

/// The file of a unit.
pub(crate) const fn unit(unit: Unit) -> File<'static> {
    match unit {
        Unit::Field => file!("field.cu"),
        Unit::Ntt => file!("ntt.cu"),
        Unit::Vectors => file!("vectors.cu"),
        Unit::Lines => file!("lines.cu"),
        Unit::MsmG1 => file!("msm_g1.cu"),
        Unit::MsmG2 => file!("msm_g2.cu"),
    }
}
