//! Which GPUs there are, which of them prove, and what would help the others.

use zkinfer_gpu::{
    cuda::{Cuda, Detected, DriverError, Gpu},
    kernels::Compiler,
};

use super::{super::output::bytes, Finding, Health};
use crate::work::device::{Chosen, GpuChoice};

/// The name of the check.
const GPU: &str = "gpu";

/// What a GPU needs.
const NEEDED: &str = "to prove on a GPU: one of NVIDIA's, of architecture 8.0 or newer (Ampere and later); install NVIDIA's driver (>= 525), nothing else";
/// What helps where kernels are neither embedded nor compiled.
const COMPILER: &str = "this program has no kernels of its own for this GPU: install NVRTC 12 or 13, which comes with CUDA and as `pip install nvidia-cuda-nvrtc-cu12`, \
     and name its folder in ZKINFER_NVRTC";
/// What helps where a GPU does not work.
const BROKEN: &str =
    "`nvidia-smi` and `dmesg` say more; until it works, proofs of its slot run on the CPU";

/// Looks for GPUs, and lets those that were chosen compute.
pub(super) fn check(choice: &GpuChoice) -> Finding {
    let detected = match choice {
        GpuChoice::None => Detected::default(),
        _ => zkinfer_gpu::cuda::detect(),
    };
    judge(&detected, choice, |ordinal| Cuda::open(ordinal).map(drop))
}

fn judge(
    detected: &Detected,
    choice: &GpuChoice,
    open: impl Fn(usize) -> Result<(), DriverError>,
) -> Finding {
    let chosen = match Chosen::among(detected.clone(), choice) {
        Ok(chosen) => chosen,
        Err(e) => {
            let fix = "choose another with --gpu or ZKINFER_GPU; auto takes what there is";
            return Finding::not(GPU, Health::Bad, e.to_string(), fix);
        }
    };
    let reasons = chosen.reasons.join("; ");
    if chosen.gpus.is_empty() {
        let seen = format!("no GPU: proofs run on the CPU ({reasons})");
        let fix = match choice {
            GpuChoice::None => "",
            _ => NEEDED,
        };
        return Finding::not(GPU, Health::Good, seen, fix);
    }
    let (mut health, mut fix, mut seen) = (Health::Good, "", Vec::new());
    for gpu in &chosen.gpus {
        let used = match open(gpu.ordinal) {
            Ok(()) => "proves".to_owned(),
            Err(error) => {
                health = Health::Poor;
                fix = remedy(&error);
                format!("does not prove: {error}")
            }
        };
        seen.push(format!("{} {used}", described(gpu)));
    }
    seen.push(compiler());
    if !reasons.is_empty() {
        seen.push(reasons);
    }
    Finding::not(GPU, health, seen.join("; "), fix)
}

fn described(gpu: &Gpu) -> String {
    let facts = &gpu.facts;
    let (major, minor) = facts.architecture;
    format!(
        "GPU {} ({}, architecture {major}.{minor}, {} multiprocessors, {}, driver {})",
        gpu.ordinal,
        facts.name,
        facts.multiprocessors,
        bytes(facts.memory_bytes),
        facts.driver
    )
}

/// What compiles kernels that are not embedded.
fn compiler() -> String {
    match Compiler::find() {
        Ok(compiler) => {
            let (major, minor) = compiler.version();
            format!("NVRTC {major}.{minor} for kernels that are not embedded")
        }
        Err(_) => "no NVRTC: embedded kernels only".to_owned(),
    }
}

fn remedy(error: &DriverError) -> &'static str {
    match error {
        DriverError::Missing { .. } | DriverError::Compile { .. } => COMPILER,
        _ => BROKEN,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use zkinfer_gpu::cuda::Facts;

    fn machine(n: usize) -> Detected {
        let gpu = |ordinal| Gpu {
            ordinal,
            facts: Facts {
                name: "Model".to_owned(),
                architecture: (9, 0),
                multiprocessors: 132,
                memory_bytes: 80 << 30,
                driver: "550.1 (CUDA 12.4)".to_owned(),
                clock_khz: 0,
            },
        };
        Detected {
            gpus: (0..n).map(gpu).collect(),
            unusable: Vec::new(),
        }
    }

    fn judged(detected: &Detected, choice: &str, broken: Option<DriverError>) -> Finding {
        judge(detected, &choice.parse().unwrap(), |_| {
            broken.clone().map_or(Ok(()), Err)
        })
    }

    #[test]
    fn a_machine_without_a_gpu_is_good_and_says_what_one_needs() {
        let machine = Detected {
            gpus: Vec::new(),
            unusable: vec!["there is no driver".to_owned()],
        };
        let found = judged(&machine, "auto", None);
        assert_eq!(found.health, Health::Good);
        assert_eq!(
            found.seen,
            "no GPU: proofs run on the CPU (there is no driver)"
        );
        assert!(found.fix.contains("install NVIDIA's driver (>= 525)"));
        assert_eq!(judged(&machine, "none", None).fix, "");
        let found = judged(&machine, "7", None);
        assert_eq!(found.health, Health::Bad);
        assert!(found.seen.contains("expected a GPU 7"), "{}", found.seen);
    }

    #[test]
    fn each_gpu_is_told_with_what_it_does() {
        let found = judged(&machine(2), "1", None);
        assert_eq!(found.health, Health::Good);
        let told = "GPU 1 (Model, architecture 9.0, 132 multiprocessors, 80.0 GiB, driver 550.1 (CUDA 12.4)) proves; ";
        assert!(found.seen.starts_with(told), "{}", found.seen);
        assert!(found.seen.ends_with("GPU 0 (Model) was not chosen"));
        let missing = DriverError::Missing { library: "NVRTC" };
        let found = judged(&machine(1), "auto", Some(missing));
        assert_eq!((found.health, &*found.fix), (Health::Poor, COMPILER));
        assert!(
            found
                .seen
                .contains("does not prove: NVRTC is not installed")
        );
    }
}
