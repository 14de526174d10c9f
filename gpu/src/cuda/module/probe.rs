//! # Probe: which GPUs this machine has, and why one of them cannot be used

// Calls into the driver.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::fs;

use cudarc::driver::result::{self, device};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUresult};
use thiserror::Error;

use super::context::check;
use crate::cuda::driver::{DriverError, Facts};

/// The oldest architecture that the kernels are written for.
const OLDEST_ARCHITECTURE: (u32, u32) = (8, 0);

/// The oldest version of CUDA whose driver has every function that is called here: 12.0.
const OLDEST_DRIVER: u32 = 12_000;

/// What stands where a GPU could be.
#[derive(Debug)]
pub(crate) enum Found {
    /// A GPU that the kernels run on.
    Gpu {
        /// Its number, as the driver counts.
        ordinal: usize,
        facts: Facts,
    },
    /// Why one GPU, or every GPU, cannot be used.
    Unusable(Unusable),
}

/// Why a GPU cannot be used.
#[derive(Debug, Clone, Error)]
pub(crate) enum Unusable {
    #[error("NVIDIA's driver is not installed")]
    NoDriver,
    #[error("NVIDIA's driver is for CUDA {}.{}; CUDA 12.0 or newer is needed", .version / 1000, .version % 1000 / 10)]
    OldDriver { version: u32 },
    #[error("NVIDIA's driver finds no GPU")]
    NoGpu,
    #[error(
        "GPU {ordinal} ({name}) has architecture {}.{}; 8.0 or newer is needed",
        .architecture.0,
        .architecture.1
    )]
    Architecture {
        ordinal: usize,
        name: String,
        architecture: (u32, u32),
    },
    #[error("NVIDIA's driver: {0}")]
    Failed(#[from] DriverError),
}

impl From<Unusable> for DriverError {
    fn from(reason: Unusable) -> Self {
        match reason {
            Unusable::Failed(error) => error,
            Unusable::NoDriver => Self::Missing {
                library: "NVIDIA's driver (libcuda.so.1)",
            },
            other => Self::Failed {
                call: "opening a GPU",
                reason: other.to_string(),
            },
        }
    }
}

/// Every GPU of this machine, usable or not; or the one reason why there is none.
pub(crate) fn gpus() -> Vec<Found> {
    let count = match count() {
        Ok(count) => count,
        Err(reason) => return vec![Found::Unusable(reason)],
    };
    let look = |ordinal| match look(ordinal) {
        Ok((_, facts)) => Found::Gpu { ordinal, facts },
        Err(reason) => Found::Unusable(reason),
    };
    (0..count).map(look).collect()
}

/// A GPU that can be used, and what it is.
pub(super) fn look(ordinal: usize) -> Result<(sys::CUdevice, Facts), Unusable> {
    let version = initialize()?;
    let number = c_int::try_from(ordinal).map_err(|_| Unusable::NoGpu)?;
    let device = check("cuDeviceGet", device::get(number))?;
    let facts = facts(device, version)?;
    if facts.architecture < OLDEST_ARCHITECTURE {
        return Err(Unusable::Architecture {
            ordinal,
            name: facts.name,
            architecture: facts.architecture,
        });
    }
    Ok((device, facts))
}

/// The version of CUDA that the driver is for: 12040 for 12.4.
pub(super) fn initialize() -> Result<u32, Unusable> {
    // SAFETY: loading NVIDIA's driver has no precondition.
    if !unsafe { sys::is_culib_present() } {
        return Err(Unusable::NoDriver);
    }
    let mut version = 0;
    // SAFETY: the pointer is to a live integer.
    let answer = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    check("cuDriverGetVersion", answer.result())?;
    let version = u32::try_from(version).unwrap_or(0);
    if version < OLDEST_DRIVER {
        return Err(Unusable::OldDriver { version });
    }
    match result::init() {
        Err(error) if error.0 == CUresult::CUDA_ERROR_NO_DEVICE => Err(Unusable::NoGpu),
        answer => Ok(check("cuInit", answer).map(|()| version)?),
    }
}

fn count() -> Result<usize, Unusable> {
    initialize()?;
    let count = check("cuDeviceGetCount", device::get_count())?;
    usize::try_from(count)
        .ok()
        .filter(|count| *count > 0)
        .ok_or(Unusable::NoGpu)
}

fn facts(device: sys::CUdevice, version: u32) -> Result<Facts, DriverError> {
    // SAFETY: the device comes from the driver, here and below.
    let memory = unsafe { device::total_mem(device) };
    let known = |attribute| check("cuDeviceGetAttribute", self::attribute(device, attribute));
    Ok(Facts {
        name: check("cuDeviceGetName", device::get_name(device))?,
        architecture: (
            known(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            known(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        multiprocessors: known(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as usize,
        memory_bytes: check("cuDeviceTotalMem", memory)? as u64,
        driver: driver(version),
        clock_khz: known(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE).unwrap_or(0),
    })
}

/// An attribute that is never negative.
pub(super) fn attribute(
    device: sys::CUdevice,
    attribute: Attribute,
) -> Result<u32, result::DriverError> {
    // SAFETY: the device comes from the driver.
    let value = unsafe { device::get_attribute(device, attribute) }?;
    Ok(u32::try_from(value).unwrap_or(0))
}

/// The kernel module's version where Linux says it, and the version of CUDA.
fn driver(version: u32) -> String {
    let cuda = format!("CUDA {}.{}", version / 1000, version % 1000 / 10);
    match fs::read_to_string("/sys/module/nvidia/version") {
        Ok(module) => format!("{} ({cuda})", module.trim()),
        Err(_) => cuda,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On any machine: with a GPU, without one, without a driver.
    #[test]
    fn looking_for_gpus_finds_some_or_says_why_not() {
        let found = gpus();
        assert!(!found.is_empty());
        for found in found {
            match found {
                Found::Gpu { ordinal, facts } => println!("{ordinal}: {facts:?}"),
                Found::Unusable(reason) => println!("{reason}"),
            }
        }
    }

    #[test]
    fn a_gpu_that_is_not_there_is_an_error() {
        assert!(look(1 << 20).is_err());
        assert!(look(usize::MAX).is_err());
    }
}
