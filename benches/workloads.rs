//! # The one list of workloads, and what every bench needs of them
//! Models, calibration data and inputs are those of `circuits/tests/models`. `ZKINFER_BENCH` narrows the list to names that contain
//! one of its comma-separated words; without it, the quick ones run.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rand::rngs::OsRng;
use tempfile::TempDir;
use zkinfer_circuits::quantize::InputFile;
use zkinfer_circuits::tensor::Tensor;
use zkinfer_circuits::{Calibration, Compiled, Settings};
use zkinfer_engine::{ProofInput, Proven, Prover, Silent};
use zkinfer_gpu::Cpu;
use zkinfer_params::dev_setup::Trapdoor;
use zkinfer_params::keys::KeyWriter;
use zkinfer_verifier::{Context, ProofSystem, Role, VerifyingKey};

/// A model with calibration samples and one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// Name of its files, and its label in every bench.
    pub name: &'static str,
    /// Whether it runs without being asked for.
    pub quick: bool,
    /// Whether plain `groth16` (bits and selections instead of lookups) is worth its keys.
    pub plain: bool,
}

/// Every workload, small ones first.
pub const WORKLOADS: [Workload; 6] = [
    Workload {
        name: "digits-mlp",
        quick: true,
        plain: true,
    },
    Workload {
        name: "digits-cnn",
        quick: true,
        plain: true,
    },
    Workload {
        name: "lenet5-mnist-shape",
        quick: true,
        plain: false,
    },
    Workload {
        name: "mlp-100k",
        quick: true,
        plain: false,
    },
    Workload {
        name: "cnn-cifar-tiny",
        quick: false,
        plain: false,
    },
    Workload {
        name: "cnn-cifar-small",
        quick: false,
        plain: false,
    },
];

/// The proof systems a workload is measured with.
#[must_use]
pub fn systems(workload: &Workload) -> Vec<ProofSystem> {
    let plain = workload.plain.then_some(ProofSystem::Groth16);
    [Some(ProofSystem::UltraGroth), plain]
        .into_iter()
        .flatten()
        .collect()
}

/// The workloads to run.
#[must_use]
pub fn chosen() -> Vec<Workload> {
    match std::env::var("ZKINFER_BENCH") {
        Ok(words) => WORKLOADS
            .into_iter()
            .filter(|w| words.split(',').any(|word| w.name.contains(word)))
            .collect(),
        Err(_) => WORKLOADS.into_iter().filter(|w| w.quick).collect(),
    }
}

impl Workload {
    fn file(&self, extension: &str) -> Vec<u8> {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../circuits/tests/models");
        let path = models.join(format!("{}.{extension}", self.name));
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The bytes of its ONNX file.
    #[must_use]
    pub fn onnx(&self) -> Vec<u8> {
        self.file("onnx")
    }

    /// Its calibration samples.
    #[must_use]
    pub fn calibration(&self) -> Calibration {
        Calibration::from_npz(&self.file("calibration.npz"))
            .expect("the file is part of the repository")
    }

    /// Its integer model and constraint program, with the default settings.
    #[must_use]
    pub fn compile(&self) -> Compiled {
        self.compile_with(&Settings::default())
    }

    /// Its integer model and constraint program.
    #[must_use]
    pub fn compile_with(&self, settings: &Settings) -> Compiled {
        zkinfer_circuits::compile(
            &self.onnx(),
            &self.calibration(),
            settings,
            &mut |_, _, _| (),
        )
        .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Its input, quantized.
    #[must_use]
    pub fn input(&self, compiled: &Compiled) -> Vec<Tensor> {
        let file =
            InputFile::parse(&self.file("json")).expect("the file is part of the repository");
        let samples = compiled
            .model
            .samples(&file)
            .expect("the input fits its model");
        compiled
            .model
            .quantize_input(&samples[0])
            .expect("the input fits its model")
    }
}

/// A prover with its keys, ready to prove; the key file lives as long as this does.
#[derive(Debug)]
pub struct Ready {
    /// The prover, keys loaded.
    pub prover: Box<dyn Prover>,
    /// The verifying key.
    pub key: VerifyingKey,
    /// The workload's input.
    pub input: ProofInput,
    _folder: TempDir,
}

impl Ready {
    /// Compiles a workload and makes development keys for it.
    #[must_use]
    pub fn new(workload: &Workload, system: ProofSystem) -> Self {
        Self::of(workload, &workload.compile(), system)
    }

    /// Makes development keys for a compiled workload; every inference of a batch gets the workload's input.
    #[must_use]
    pub fn of(workload: &Workload, compiled: &Compiled, system: ProofSystem) -> Self {
        let one = workload.input(compiled);
        let inputs = compiled.program.layout().tensors.iter();
        let n_inputs = inputs.filter(|spec| spec.role == Role::Input).count();
        let tensors = one.iter().cycle().take(n_inputs).cloned().collect();
        let input = ProofInput {
            tensors,
            context: Context::ZERO,
        };
        let folder = tempfile::tempdir().expect("a folder for the keys");
        let path = folder.path().join("proving.key");
        let backend = zkinfer_engine::backend(system, Arc::new(Cpu::new()));
        let program = Arc::new(compiled.program.clone());
        let (model_id, trapdoor) = (compiled.model.model_id(), Trapdoor::for_development());
        let mut writer = KeyWriter::create(&path).expect("a key file");
        let key = backend
            .setup(&program, model_id, trapdoor.into(), &mut writer, &Silent)
            .unwrap_or_else(|error| panic!("{}: {error}", workload.name));
        let file = writer.finish().expect("every section was written");
        let prover = backend
            .prepare(program, file, key.clone())
            .expect("the key just written");
        Self {
            prover,
            key,
            input,
            _folder: folder,
        }
    }

    /// One proof, which the verifier has accepted.
    #[must_use]
    pub fn prove(&self) -> Proven {
        self.prover
            .prove(&self.input, &mut OsRng, &Silent)
            .expect("the input fits its model")
    }
}
