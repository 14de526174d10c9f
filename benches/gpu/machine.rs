//! The device that is measured, and how fast it can be.

use serde_json::{Value, json};
use zkinfer_gpu::cuda::{Cuda, detect};
use zkinfer_gpu::{Cpu, Device, FrVec};

use crate::inputs;
use crate::limits::Limits;
use crate::options::{Choice, Options};
use crate::report::{AtClock, Report, Times};

/// A GPU, or the CPU in its place.
#[derive(Debug)]
pub(crate) struct Machine {
    cuda: Option<Cuda>,
    /// What copies inside the memory of the GPU reach.
    bytes_per_second: f64,
}

impl Machine {
    /// The device that the options choose; none, with the reason printed, where there is no GPU.
    ///
    /// # Errors
    /// The GPU that was found does not work, or is not the one that was asked for.
    pub(crate) fn find(options: &Options) -> Result<Option<Self>, String> {
        let ordinal = match options.choice {
            Choice::Cpu => return Ok(Some(Self::of(None)?)),
            Choice::Gpu(ordinal) => ordinal,
            Choice::First => {
                let found = detect();
                let Some(gpu) = found.gpus.first() else {
                    println!("gpu: nothing to measure: {}", reasons(&found.unusable));
                    return Ok(None);
                };
                gpu.ordinal
            }
        };
        let cuda = Cuda::open(ordinal).map_err(|error| format!("GPU {ordinal}: {error}"))?;
        Self::of(Some(cuda)).map(Some)
    }

    fn of(cuda: Option<Cuda>) -> Result<Self, String> {
        let copied = cuda.as_ref().map(Cuda::copy_rate).transpose();
        Ok(Self {
            bytes_per_second: copied
                .map_err(|error| error.to_string())?
                .unwrap_or(f64::MAX),
            cuda,
        })
    }

    pub(crate) fn device(&self) -> &dyn Device {
        match &self.cuda {
            Some(cuda) => cuda,
            None => &Cpu,
        }
    }

    /// What the limit of something is now, at the clock that the GPU has just after it.
    ///
    /// # Panics
    /// When the GPU has failed: what was timed was the CPU.
    pub(crate) fn at_clock(&self, limit: impl Fn(Limits) -> f64) -> Option<AtClock> {
        let limits = self.limits()?;
        Some(AtClock {
            seconds: limit(limits),
            clock_hz: limits.clock_hz,
        })
    }

    fn limits(&self) -> Option<Limits> {
        let cuda = self.cuda.as_ref()?;
        self.assert_works();
        let clock_hz = cuda.clock_hz().expect("a GPU that works")?;
        Some(Limits {
            multiprocessors: cuda.facts().multiprocessors,
            clock_hz,
            bytes_per_second: self.bytes_per_second,
        })
    }

    /// # Panics
    /// When the GPU has failed: what it was asked was done by the CPU.
    pub(crate) fn assert_works(&self) {
        let failed = self.cuda.as_ref().is_some_and(Cuda::has_failed);
        assert!(!failed, "the GPU has failed");
    }

    /// The device as the report shows it.
    pub(crate) fn describe(&self) -> Value {
        let Some(cuda) = &self.cuda else {
            return json!({ "device": self.device().info().name, "gpu": false });
        };
        let facts = cuda.facts();
        json!({
            "device": facts.name,
            "gpu": true,
            "architecture": [facts.architecture.0, facts.architecture.1],
            "multiprocessors": facts.multiprocessors,
            "memory_bytes": facts.memory_bytes,
            "driver": facts.driver,
            "highest_clock_khz": facts.clock_khz,
            "copy_bytes_per_second": self.bytes_per_second,
        })
    }

    /// Rates of instructions, products and copies.
    pub(crate) fn rates(&self, report: &mut Report) {
        let Some(cuda) = &self.cuda else {
            return;
        };
        report.begin_rates();
        for rate in cuda.instruction_rates().expect("a GPU that works") {
            let most = most_per_clock(rate.name, cuda.facts().architecture);
            let wall = format!(
                "{:.3} T/s at {:.0} MHz",
                rate.per_second / 1e12,
                rate.clock_hz / 1e6
            );
            let unit = "results/clock/multiprocessor";
            report.rate(rate.name, unit, rate.per_clock, most, &wall);
        }
        let products = cuda.product_rate().expect("right products") / 1e9;
        if let Some(limits) = self.limits() {
            let most = limits.products_per_second() / 1e9;
            let wall = format!("at {:.0} MHz", limits.clock_hz / 1e6);
            report.rate("field products", "G/s", products, Some(most), &wall);
        }
        report.rate(
            "copy on the GPU, read and written",
            "GB/s",
            self.bytes_per_second / 1e9,
            None,
            "",
        );
        let (up, down) = transfers(cuda);
        report.rate("upload of scalars", "GB/s", up, None, "2^22 of them");
        report.rate("download of scalars", "GB/s", down, None, "2^22 of them");
    }
}

/// Waits for everything that the device was asked: what is downloaded comes after it.
pub(crate) fn synchronize(device: &dyn Device, token: FrVec) {
    let values = device.download(token).expect("a device that works");
    assert_eq!(values.len(), 1);
}

/// What is downloaded to wait for the device.
pub(crate) fn token(device: &dyn Device) -> FrVec {
    device
        .upload(inputs::full(1, 1))
        .expect("room for a scalar")
}

/// GB/s of scalars to the GPU and back, with what the trait asks beside the copy: the host's values are overwritten.
fn transfers(device: &dyn Device) -> (f64, f64) {
    let values = inputs::full(9, 1 << 22);
    let gigabytes = size_of_val(&values[..]) as f64 / 1e9;
    let up = Times::of(
        5,
        || (values.clone(), token(device)),
        |(values, token)| {
            let vector = device.upload(values).expect("the GPU's memory");
            synchronize(device, token);
            drop(vector);
        },
    );
    let down = Times::of(
        5,
        || {
            let vector = device.upload(values.clone()).expect("the GPU's memory");
            synchronize(device, token(device));
            vector
        },
        |vector| drop(device.download(vector).expect("a device that works")),
    );
    (gigabytes / up.median, gigabytes / down.median)
}

/// What NVIDIA's tables of throughput say.
fn most_per_clock(name: &str, architecture: (u32, u32)) -> Option<f64> {
    match (name, architecture) {
        ("IMAD.WIDE" | "IMAD.HI", _) => Some(32.0),
        ("DFMA", (8, 0)) => Some(32.0),
        ("DFMA", (9, _) | (10, _)) => Some(64.0),
        ("DFMA", _) => Some(2.0),
        ("IMAD (low half)" | "IADD3 and LOP3", _) => Some(64.0),
        _ => None,
    }
}

fn reasons(unusable: &[String]) -> String {
    if unusable.is_empty() {
        "there is no GPU".to_owned()
    } else {
        unusable.join("; ")
    }
}
