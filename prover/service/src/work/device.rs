//! What proves: a GPU, or the CPU where there is none that can be used.
//!
//! Which GPUs of a machine prove is the operator's choice ([`GpuChoice`]). A GPU that was named and is not there is an error; with `auto`, what
//! cannot be used is left out, and a line says why. One proof runs on one GPU.

use std::{fmt, num::NonZeroUsize, str::FromStr, sync::Arc};

use zkinfer_gpu::{
    Cpu, Device,
    cuda::{Cuda, Detected, DriverError, Gpu},
};

/// Which GPUs prove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum GpuChoice {
    /// Every GPU that can be used; the CPU where there is none.
    #[default]
    Auto,
    /// None: the CPU proves.
    None,
    /// Those of these numbers, as the driver counts.
    Named(Vec<usize>),
}

/// Why GPUs cannot be chosen or used as was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// The choice cannot be read.
    #[error("expected auto, none, or numbers of GPUs like 0 or 0,2, each once; got {got:?}")]
    Choice {
        /// What was given.
        got: String,
    },
    /// A GPU that was named is not there, or cannot be used.
    #[error("expected a GPU {wanted}; this machine has {found}")]
    NotThere {
        /// Its number.
        wanted: usize,
        /// What is there, and why others cannot be used.
        found: String,
    },
    /// A GPU that was named does not prove.
    #[error("{gpu}: {source}")]
    Open {
        /// Which.
        gpu: String,
        /// Why.
        source: DriverError,
    },
}

impl FromStr for GpuChoice {
    type Err = GpuError;

    fn from_str(text: &str) -> Result<Self, GpuError> {
        match text {
            "auto" => return Ok(Self::Auto),
            "none" => return Ok(Self::None),
            _ => {}
        }
        let bad = || GpuError::Choice {
            got: text.to_owned(),
        };
        let mut ordinals = Vec::new();
        for word in text.split(',') {
            let ordinal = word.trim().parse().map_err(|_| bad())?;
            if ordinals.contains(&ordinal) {
                return Err(bad());
            }
            ordinals.push(ordinal);
        }
        Ok(Self::Named(ordinals))
    }
}

/// The GPUs that prove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Those, in the order of the choice.
    pub gpus: Vec<Gpu>,
    /// Why no other does.
    pub reasons: Vec<String>,
}

impl Chosen {
    /// Makes a choice among the GPUs of this machine.
    ///
    /// # Errors
    /// [`GpuError::NotThere`].
    pub fn of_this_machine(choice: &GpuChoice) -> Result<Self, GpuError> {
        // The driver is not even loaded for who does not want it.
        let detected = match choice {
            GpuChoice::None => Detected::default(),
            _ => zkinfer_gpu::cuda::detect(),
        };
        Self::among(detected, choice)
    }

    /// Makes a choice among these.
    ///
    /// # Errors
    /// [`GpuError::NotThere`].
    pub fn among(detected: Detected, choice: &GpuChoice) -> Result<Self, GpuError> {
        let Detected { gpus, unusable } = detected;
        let wanted = match choice {
            GpuChoice::Auto => {
                return Ok(Self {
                    gpus,
                    reasons: unusable,
                });
            }
            GpuChoice::None => {
                return Ok(Self {
                    gpus: Vec::new(),
                    reasons: vec!["no GPU shall be used".to_owned()],
                });
            }
            GpuChoice::Named(wanted) => wanted,
        };
        let named = wanted.iter().map(|wanted| {
            let found = gpus.iter().find(|gpu| gpu.ordinal == *wanted).cloned();
            found.ok_or_else(|| GpuError::NotThere {
                wanted: *wanted,
                found: found_instead(&gpus, &unusable),
            })
        });
        let named = named.collect::<Result<Vec<_>, _>>()?;
        let others = gpus.iter().filter(|gpu| !named.contains(gpu));
        Ok(Self {
            reasons: others
                .map(|gpu| format!("{} was not chosen", name_of(gpu)))
                .chain(unusable)
                .collect(),
            gpus: named,
        })
    }

    /// Their numbers.
    pub fn ordinals(&self) -> Vec<usize> {
        self.gpus.iter().map(|gpu| gpu.ordinal).collect()
    }

    /// Proofs at a time, unless set otherwise: one for each GPU, else `on_cpu`.
    pub fn slots(&self, on_cpu: NonZeroUsize) -> NonZeroUsize {
        NonZeroUsize::new(self.gpus.len()).unwrap_or(on_cpu)
    }
}

/// One line for the log: what proves, and why nothing else does.
impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.gpus.iter().map(name_of).collect();
        match names.is_empty() {
            true => write!(f, "proofs run on the CPU")?,
            false => write!(f, "proofs run on {}", names.join(", "))?,
        }
        match self.reasons.is_empty() {
            true => Ok(()),
            false => write!(f, ": {}", self.reasons.join("; ")),
        }
    }
}

fn name_of(gpu: &Gpu) -> String {
    format!("GPU {} ({})", gpu.ordinal, gpu.facts.name)
}

/// What a person who named another GPU should know.
fn found_instead(gpus: &[Gpu], unusable: &[String]) -> String {
    let mut found: Vec<String> = gpus.iter().map(name_of).collect();
    if found.is_empty() {
        found.push("no GPU that can be used".to_owned());
    }
    match unusable.is_empty() {
        true => found.join(", "),
        false => format!("{} ({})", found.join(", "), unusable.join("; ")),
    }
}

/// The GPU of a slot: each slot has one of its own, and when there are more slots than GPUs, they share them in turn.
pub fn gpu_of_slot(slot: u32, ordinals: &[usize]) -> Option<usize> {
    let turn = (slot as usize).checked_rem(ordinals.len())?;
    ordinals.get(turn).copied()
}

/// What computes.
#[derive(Clone, Debug)]
pub struct Compute {
    device: Arc<dyn Device>,
    /// The same, when it is a GPU.
    gpu: Option<Arc<Cuda>>,
    line: String,
}

impl Compute {
    /// The CPU, because of `reason`.
    pub fn cpu(reason: &str) -> Self {
        Self {
            device: Arc::new(Cpu),
            gpu: None,
            line: format!("the CPU ({reason})"),
        }
    }

    /// The GPU of this number.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn gpu(ordinal: usize) -> Result<Self, DriverError> {
        let gpu = Arc::new(Cuda::open(ordinal)?);
        let line = format!("GPU {ordinal} ({})", gpu.facts().name);
        Ok(Self {
            device: Arc::clone(&gpu) as Arc<dyn Device>,
            gpu: Some(gpu),
            line,
        })
    }

    /// The GPU of this number, or else the CPU.
    pub fn gpu_or_cpu(ordinal: usize) -> Self {
        Self::gpu(ordinal).unwrap_or_else(|error| Self::cpu(&format!("GPU {ordinal}: {error}")))
    }

    /// For proofs one at a time: the first of the chosen GPUs that can be used, or else the CPU.
    ///
    /// # Errors
    /// [`GpuError::Open`] when GPUs were named and none of them can be used.
    pub fn first_of(chosen: &Chosen, choice: &GpuChoice) -> Result<Self, GpuError> {
        let mut reasons = chosen.reasons.clone();
        let mut failed = None;
        for gpu in &chosen.gpus {
            match Self::gpu(gpu.ordinal) {
                Ok(compute) => return Ok(compute),
                Err(source) => {
                    let gpu = name_of(gpu);
                    reasons.push(format!("{gpu}: {source}"));
                    failed.get_or_insert(GpuError::Open { gpu, source });
                }
            }
        }
        match (failed, choice) {
            (Some(failed), GpuChoice::Named(_)) => Err(failed),
            _ => Ok(Self::cpu(&reasons.join("; "))),
        }
    }

    /// What the provers get.
    pub fn device(&self) -> Arc<dyn Device> {
        Arc::clone(&self.device)
    }

    /// What it is, and why it is no GPU: `the CPU (NVIDIA's driver is not installed)`.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Whether it is a GPU, failed or not.
    pub fn is_gpu(&self) -> bool {
        self.gpu.is_some()
    }

    /// Whether it is a GPU that failed: what is asked of it from then on, the CPU does.
    pub fn has_failed(&self) -> bool {
        self.gpu.as_ref().is_some_and(|gpu| gpu.has_failed())
    }

    /// Whether it is a GPU that failed and had not `before`; the log says so then, and the `error` that came of it, if any did.
    pub fn has_failed_since(&self, before: bool, error: Option<&dyn fmt::Display>) -> bool {
        let failed = !before && self.has_failed();
        if failed {
            let error = error.map(tracing::field::display);
            tracing::error!(error, "{} failed; the CPU goes on", self.line);
        }
        failed
    }

    /// Memory for the tables of one key: `wanted`, or half of what the GPU has free. `None` on the CPU, which has a bound of its own.
    pub fn table_bytes(&self, wanted: Option<u64>) -> Option<u64> {
        let gpu = self.gpu.as_ref()?;
        Some(wanted.unwrap_or_else(|| gpu.free_bytes().unwrap_or(0) / 2))
    }

    /// Whether the GPU has no room for a key of `key_bytes`, and as much again to compute in.
    pub fn is_short_for(&self, key_bytes: u64) -> bool {
        let free = self.gpu.as_ref().and_then(|gpu| gpu.free_bytes().ok());
        free.is_some_and(|free| free < key_bytes.saturating_mul(2))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use zkinfer_gpu::cuda::Facts;

    fn gpu(ordinal: usize) -> Gpu {
        Gpu {
            ordinal,
            facts: Facts {
                name: format!("Model {ordinal}"),
                architecture: (9, 0),
                multiprocessors: 132,
                memory_bytes: 80 << 30,
                driver: "550.1".into(),
                clock_khz: 0,
            },
        }
    }

    fn machine(ordinals: &[usize], unusable: &[&str]) -> Detected {
        Detected {
            gpus: ordinals.iter().copied().map(gpu).collect(),
            unusable: unusable.iter().map(|&u| u.to_owned()).collect(),
        }
    }

    fn chosen(detected: Detected, choice: &str) -> Result<Chosen, String> {
        Chosen::among(detected, &choice.parse().unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_choice_is_auto_none_or_numbers_each_once() {
        let read = |text: &str| text.parse::<GpuChoice>().ok();
        assert_eq!(read("auto"), Some(GpuChoice::Auto));
        assert_eq!(read("none"), Some(GpuChoice::None));
        assert_eq!(read("0"), Some(GpuChoice::Named(vec![0])));
        assert_eq!(read("2, 0"), Some(GpuChoice::Named(vec![2, 0])));
        for bad in ["", ",", "0,", "1,1", "-1", "all", "Auto", "0;1", "1.0"] {
            let error = bad.parse::<GpuChoice>().unwrap_err().to_string();
            assert!(error.contains(&format!("got {bad:?}")), "{error}");
        }
    }

    #[test]
    fn auto_takes_what_can_be_used_and_says_what_not() {
        let all = chosen(machine(&[0, 2], &["GPU 1 is too old"]), "auto").unwrap();
        assert_eq!(all.ordinals(), [0, 2]);
        assert_eq!(
            all.to_string(),
            "proofs run on GPU 0 (Model 0), GPU 2 (Model 2): GPU 1 is too old"
        );
        let none = chosen(machine(&[], &["there is no driver"]), "auto").unwrap();
        assert!(none.gpus.is_empty());
        assert_eq!(
            none.to_string(),
            "proofs run on the CPU: there is no driver"
        );
        let refused = chosen(machine(&[0], &[]), "none").unwrap();
        assert!(refused.gpus.is_empty());
        assert_eq!(
            refused.to_string(),
            "proofs run on the CPU: no GPU shall be used"
        );
    }

    #[test]
    fn a_named_gpu_that_is_not_there_is_an_error() {
        let named = chosen(machine(&[0, 1, 2], &[]), "2,0").unwrap();
        assert_eq!(named.ordinals(), [2, 0]);
        assert!(
            named
                .to_string()
                .ends_with("GPU 1 (Model 1) was not chosen")
        );
        assert_eq!(
            chosen(machine(&[0], &["GPU 7 is too old"]), "0,7").unwrap_err(),
            "expected a GPU 7; this machine has GPU 0 (Model 0) (GPU 7 is too old)"
        );
        assert_eq!(
            chosen(machine(&[], &["there is no driver"]), "7").unwrap_err(),
            "expected a GPU 7; this machine has no GPU that can be used (there is no driver)"
        );
    }

    #[test]
    fn each_slot_has_a_gpu_of_its_own_until_they_are_shared_in_turn() {
        let of = |n: u32, ordinals: &[usize]| -> Vec<Option<usize>> {
            (0..n).map(|slot| gpu_of_slot(slot, ordinals)).collect()
        };
        assert_eq!(of(2, &[0, 3]), [Some(0), Some(3)]);
        assert_eq!(of(1, &[0, 3]), [Some(0)]);
        assert_eq!(of(3, &[4, 1]), [Some(4), Some(1), Some(4)]);
        assert_eq!(of(2, &[]), [None, None]);
        let slots = |n: usize| Chosen {
            gpus: (0..n).map(gpu).collect(),
            reasons: Vec::new(),
        };
        let three = NonZeroUsize::new(3).unwrap();
        assert_eq!(slots(2).slots(three).get(), 2);
        assert_eq!(slots(0).slots(three).get(), 3);
    }

    #[test]
    fn without_a_gpu_the_cpu_computes_and_says_why() {
        let nothing = chosen(machine(&[], &["there is no driver"]), "auto").unwrap();
        let compute = Compute::first_of(&nothing, &GpuChoice::Auto).unwrap();
        assert!(!compute.is_gpu() && !compute.has_failed());
        assert_eq!(compute.line(), "the CPU (there is no driver)");
        assert_eq!(compute.table_bytes(Some(5)), None);
        assert!(!compute.is_short_for(u64::MAX));
        // No machine has as many.
        let (far, named) = (1 << 20, GpuChoice::Named(vec![1 << 20]));
        let compute = Compute::gpu_or_cpu(far);
        assert!(!compute.is_gpu() && compute.line().contains("GPU 1048576: "));
        let listed = Chosen {
            gpus: vec![gpu(far)],
            reasons: Vec::new(),
        };
        assert!(Compute::first_of(&listed, &named).is_err());
        let compute = Compute::first_of(&listed, &GpuChoice::Auto).unwrap();
        assert!(compute.line().contains("GPU 1048576 (Model 1048576): "));
    }
}
