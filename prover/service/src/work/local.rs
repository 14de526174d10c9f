//! The work with this machine's own crates: circuits, engine, verifier, contracts, over bundles.

mod prover;

use std::{ops::ControlFlow, path::Path, sync::Arc};

use zkinfer_circuits::{Calibration, Model, Program, Settings, tensor::Tensor};
use zkinfer_contracts::{
    Example, Solidity, SourceTree, Substrate, Target as _, substrate::call_register_key,
};
use zkinfer_engine::{self as engine, KeySource, Progress, SetupError};
use zkinfer_params::{
    dev_setup::Trapdoor,
    keys::{KeyWriter, ProvingKeyFile},
    srs::Srs,
};
use zkinfer_verifier::{
    Context, Proof, ProofSystem, Role, Statement, StatementLayout, TensorSpec, VerifyingKey,
    Visibility,
};

use super::{
    ChildLimits, CompileRequest, Control, Gate, Mismatch, ProofEncoding, ProofParts, VerifierFiles,
    WarmProver, Work, WorkError, device::Compute, inputs,
};
use crate::{
    bundle::{self, Bundle, BundleError, CompileSettings, Compiled, ProofFile},
    store::{CompileFacts, Digest, Phase, SetupFacts, TensorFacts},
};

pub use prover::LocalProver;
pub(crate) use prover::SELF_CHECK;

/// The compiler that the embedded creation code came from.
const SOLC: &str = "solc (embedded creation code, compared with solc's output of the source by the tests of zkinfer-contracts)";

/// The work on this machine's CPU, or on one GPU of it.
#[derive(Debug)]
pub struct LocalWork {
    limits: ChildLimits,
    compute: Compute,
    srs: Option<Arc<Srs>>,
    max_table_bytes: u64,
    /// `None`: half of what is free.
    gpu_table_bytes: Option<u64>,
}

impl LocalWork {
    /// Work on the CPU, whose compile processes have `limits`.
    pub fn new(limits: ChildLimits) -> Self {
        Self {
            limits,
            compute: Compute::cpu("the default"),
            srs: None,
            max_table_bytes: 0,
            gpu_table_bytes: None,
        }
    }

    /// The same, with halo2-kzg keys from a reference string instead of a trapdoor drawn here.
    #[must_use]
    pub fn with_srs(self, srs: Option<Srs>) -> Self {
        Self {
            srs: srs.map(Arc::new),
            ..self
        }
    }

    /// The same on `compute`. On a GPU every circuit that it prepares has tables of at most `table_bytes` in the GPU's memory, by default half of
    /// what is free.
    #[must_use]
    pub fn on(self, compute: Compute, table_bytes: Option<u64>) -> Self {
        Self {
            compute,
            gpu_table_bytes: table_bytes,
            ..self
        }
    }

    /// What computes.
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    /// The same, with tables of at most `max_bytes` in the memory of this process for every circuit that it prepares, made when it is loaded.
    #[must_use]
    pub fn with_tables(self, max_bytes: u64) -> Self {
        Self {
            max_table_bytes: max_bytes,
            ..self
        }
    }

    /// Work of a program that compiles nothing.
    pub fn in_process() -> Self {
        Self::new(ChildLimits {
            worker: Default::default(),
            memory_bytes: 0,
            timeout: Default::default(),
        })
    }

    fn backend(&self, system: ProofSystem) -> Box<dyn engine::Backend> {
        engine::backend(system, self.compute.device())
    }

    /// Makes the keys of a bundle that has none: halo2-kzg keys from the reference string, if there is one.
    ///
    /// # Errors
    /// The bundle is damaged, the reference string is too small, or the disk is full.
    pub fn make_keys(
        &self,
        bundle: &mut Bundle,
        control: &dyn Control,
    ) -> Result<VerifyingKey, WorkError> {
        let program = Arc::new(read_program(bundle)?);
        let model_id = read_model(bundle)?.model_id();
        bundle
            .check_identity(&model_id, &program.digest())
            .map_err(bundle_fault)?;
        let write = |e: &dyn std::fmt::Display| {
            WorkError::fault("KEY_WRITE", format!("cannot write the proving key: {e}"))
        };
        let mut sink = KeyWriter::create(&bundle.proving_key_place()).map_err(|e| write(&e))?;
        let backend = self.backend(bundle.system());
        let watched = Watched(control);
        let source = match &self.srs {
            Some(srs) if bundle.system() == ProofSystem::Halo2Kzg => KeySource::Srs(srs),
            _ => KeySource::Development(Trapdoor::for_development()),
        };
        let vk = backend
            .setup(&program, model_id, source, &mut sink, &watched)
            .map_err(|e| match e {
                SetupError::Cancelled => WorkError::Cancelled,
                SetupError::Lower(_) | SetupError::DomainTooLarge { .. } => {
                    WorkError::invalid("NO_CIRCUIT", e.to_string())
                }
                SetupError::Srs(_) => WorkError::invalid("BAD_SRS", e.to_string()),
                SetupError::Write(_) => write(&e),
                other => WorkError::internal("SETUP", other.to_string()),
            })?;
        sink.finish().map_err(|e| write(&e))?;
        bundle.add_keys(&vk).map_err(bundle_fault)?;
        Ok(vk)
    }

    /// Loads program and proving key of a bundle.
    ///
    /// # Errors
    /// The bundle is damaged or has no keys.
    pub fn load(&self, bundle: &Bundle, control: &dyn Control) -> Result<LocalProver, WorkError> {
        stop_if(control.report(Phase::FetchKey, 0, 1))?;
        let program = Arc::new(read_program(bundle)?);
        let model = read_model(bundle)?;
        bundle
            .check_identity(&model.model_id(), &program.digest())
            .map_err(bundle_fault)?;
        let vk = bundle.verifying_key().map_err(bundle_fault)?;
        stop_if(control.report(Phase::LoadKey, 0, 2))?;
        let key_path = bundle.checked_proving_key().map_err(bundle_fault)?;
        let damaged = |e: &dyn std::fmt::Display| {
            WorkError::fault("BAD_KEY", format!("the proving key: {e}"))
        };
        let key = ProvingKeyFile::open(&key_path).map_err(|e| damaged(&e))?;
        stop_if(control.report(Phase::LoadKey, 1, 2))?;
        let had_failed = self.compute.has_failed();
        let prover = self
            .backend(bundle.system())
            .prepare(program, key, vk)
            .map_err(|e| damaged(&e))?;
        let max_bytes = self.compute.table_bytes(self.gpu_table_bytes);
        let table_bytes = match prover.tabulate(max_bytes.unwrap_or(self.max_table_bytes)) {
            Ok(bytes) => bytes,
            // The CPU goes on, without tables.
            Err(_) if self.compute.has_failed() => 0,
            Err(e) => return Err(damaged(&e)),
        };
        self.compute.has_failed_since(had_failed, None);
        stop_if(control.report(Phase::LoadKey, 2, 2))?;
        Ok(LocalProver {
            prover,
            model,
            table_bytes,
            compute: self.compute.clone(),
        })
    }
}

fn stop_if(flow: ControlFlow<()>) -> Result<(), WorkError> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(WorkError::Cancelled),
    }
}

fn bundle_fault(e: BundleError) -> WorkError {
    WorkError::fault("BAD_BUNDLE", e.to_string())
}

fn read_model(bundle: &Bundle) -> Result<Model, WorkError> {
    let bytes = bundle.read(bundle::MODEL).map_err(bundle_fault)?;
    Model::decode(&bytes)
        .map_err(|e| WorkError::fault("BAD_BUNDLE", format!("the model of the bundle: {e}")))
}

fn read_program(bundle: &Bundle) -> Result<Program, WorkError> {
    let bytes = bundle.read(bundle::PROGRAM).map_err(bundle_fault)?;
    Program::decode(&bytes)
        .map_err(|e| WorkError::fault("BAD_BUNDLE", format!("the program of the bundle: {e}")))
}

/// Reads model and program of a bundle and checks that they are the ones of its manifest.
///
/// # Errors
/// The bundle is damaged.
pub fn read_circuit(bundle: &Bundle) -> Result<(Model, Arc<Program>), WorkError> {
    let (model, program) = (read_model(bundle)?, read_program(bundle)?);
    bundle
        .check_identity(&model.model_id(), &program.digest())
        .map_err(bundle_fault)?;
    Ok((model, Arc::new(program)))
}

/// The engine's progress as the farm's.
struct Watched<'a>(&'a dyn Control);

impl Progress for Watched<'_> {
    fn report(&self, phase: engine::Phase, done: u64, total: u64) -> ControlFlow<()> {
        let phase = match phase {
            engine::Phase::Lower | engine::Phase::LoadKey => Phase::LoadKey,
            engine::Phase::Keys | engine::Phase::Prove => Phase::Prove,
            engine::Phase::Witness => Phase::Witness,
            engine::Phase::Commit => Phase::Commit,
            engine::Phase::Verify => Phase::Verify,
        };
        self.0.report(phase, done, total)
    }
}

/// Compiles a model into a bundle, in this process.
pub(super) fn compile(
    model: &[u8],
    calibration: &[u8],
    settings: CompileSettings,
    system: ProofSystem,
    path: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<CompileFacts, WorkError> {
    let bad_samples = |e: &dyn std::fmt::Display| {
        WorkError::invalid("BAD_CALIBRATION", format!("calibration: {e}"))
    };
    let calibration = Calibration::parse(calibration).map_err(|e| bad_samples(&e))?;
    let wanted = Settings {
        input: settings.input.into(),
        output: settings.output.into(),
        visibilities: settings
            .visibilities
            .iter()
            .map(|(name, shown)| (name.clone(), (*shown).into()))
            .collect(),
        batch: settings.batch,
        precisions: settings.precisions.clone(),
    };
    let compiled =
        zkinfer_circuits::compile(model, &calibration, &wanted, &mut |_, done, total| {
            progress(done, total + 1)
        })
        .map_err(|e| WorkError::invalid("BAD_MODEL", e.to_string()))?;
    let program = Arc::new(compiled.program);
    // A program that the proof system cannot take must fail here, not at setup.
    let quote = engine::quote(&program, system)
        .map_err(|e| WorkError::invalid("NO_CIRCUIT", e.to_string()))?;
    let layout = program.layout().clone();
    let report = serde_json::to_vec_pretty(&compiled.report)
        .map_err(|e| WorkError::internal("REPORT", format!("cannot write the report: {e}")))?;
    Bundle::create(
        path,
        &Compiled {
            system,
            settings,
            model_id: compiled.model.model_id(),
            program_digest: program.digest(),
            model: &compiled.model.encode(),
            program: &program.encode(),
            report: &report,
            layout: &layout,
        },
        false,
    )
    .map_err(bundle_fault)?;
    Ok(CompileFacts {
        program: program.digest(),
        inputs: tensors(&layout, Role::Input),
        outputs: tensors(&layout, Role::Output),
        // An estimate; a lease's limit must not stop an honest proof.
        ram_bytes: quote.ram_bytes + quote.ram_bytes / 4,
        estimated_prove_ms: (quote.prove_seconds * 1000.0) as u64,
    })
}

fn tensors(layout: &StatementLayout, role: Role) -> Vec<TensorFacts> {
    let facts = |t: &zkinfer_verifier::TensorSpec| TensorFacts {
        name: t.name.clone(),
        shape: t.shape.iter().map(|&d| u64::from(d)).collect(),
        dtype: t.dtype.to_string(),
        private: t.visibility != Visibility::Public,
        hashed: t.visibility == Visibility::Hashed,
    };
    layout
        .tensors
        .iter()
        .filter(|t| t.role == role)
        .map(facts)
        .collect()
}

impl Work for LocalWork {
    fn compile(
        &self,
        request: &CompileRequest,
        bundle: &Path,
        control: &dyn Control,
    ) -> Result<CompileFacts, WorkError> {
        super::run_child(&self.limits, request, bundle, control)
    }

    fn setup(&self, bundle: &Path, control: &dyn Control) -> Result<SetupFacts, WorkError> {
        let mut bundle = Bundle::open(bundle).map_err(bundle_fault)?;
        let vk = if bundle.has_keys() {
            bundle.verifying_key().map_err(bundle_fault)?
        } else {
            self.make_keys(&mut bundle, control)?
        };
        let entry = |name: &str| {
            let file = bundle.file(name).ok_or_else(|| {
                WorkError::internal("SETUP", "the bundle has no keys after setup")
            })?;
            let digest: Digest = file
                .sha256
                .parse()
                .map_err(|_| WorkError::fault("BAD_BUNDLE", "the manifest has a bad digest"))?;
            Ok::<_, WorkError>((digest.0, file.size))
        };
        let (proving_key, proving_key_bytes) = entry(bundle::PROVING_KEY)?;
        let (verifying_key, _) = entry(bundle::VERIFYING_KEY)?;
        Ok(SetupFacts {
            proving_key,
            proving_key_bytes,
            verifying_key,
            vk_digest: vk.digest(),
        })
    }

    fn gate(&self, bundle: &Path) -> Result<Arc<dyn Gate>, WorkError> {
        let bundle = Bundle::open(bundle).map_err(bundle_fault)?;
        let vk = bundle.verifying_key().map_err(bundle_fault)?;
        let model = read_model(&bundle)?;
        let batch = inputs::batch_of(&model, &vk.layout).ok_or_else(|| {
            let message = "the verifying key states other tensors than the model has";
            WorkError::fault("BAD_BUNDLE", message)
        })?;
        Ok(Arc::new(LocalGate {
            model,
            batch,
            vk_digest: vk.digest(),
            vk,
        }))
    }

    fn prepare(
        &self,
        bundle: &Path,
        control: &dyn Control,
    ) -> Result<Arc<dyn WarmProver>, WorkError> {
        let bundle = Bundle::open(bundle).map_err(bundle_fault)?;
        Ok(Arc::new(self.load(&bundle, control)?))
    }
}

/// The gateway's view of one bundle.
#[derive(Debug)]
struct LocalGate {
    model: Model,
    /// Inferences of one proof.
    batch: usize,
    vk: VerifyingKey,
    vk_digest: [u8; 32],
}

impl LocalGate {
    fn read(&self, parts: &ProofParts) -> Result<(Statement, Proof), String> {
        let short = || {
            "public_values: expected the 32 bytes of the context, the bytes of the public tensors and the digests of the hashed ones".to_owned()
        };
        let (context, shown) = parts.public_values.split_at_checked(32).ok_or_else(short)?;
        let context = Context::from_bytes(context.try_into().map_err(|_| short())?)
            .map_err(|e| e.to_string())?;
        let proof = Proof::from_bytes(self.vk.system, &parts.proof).map_err(|e| e.to_string())?;
        let statement = Statement::from_bytes(&self.vk.layout, context, shown)
            .map_err(|e| format!("public_values: {e}"))?;
        Ok((statement, proof))
    }
}

fn public_values(statement: &Statement) -> Vec<u8> {
    [&statement.context.to_bytes()[..], &statement.to_bytes()].concat()
}

fn as_bytes(files: SourceTree) -> Vec<(String, Vec<u8>)> {
    let files = files.into_iter();
    files
        .map(|(path, text)| (path, text.into_bytes()))
        .collect()
}

impl Gate for LocalGate {
    fn quantize(&self, input: &[u8]) -> Result<Vec<u8>, String> {
        let tensors =
            inputs::one(&self.model, self.batch, input, None).map_err(|e| e.to_string())?;
        serde_json::to_vec(&tensors).map_err(|e| e.to_string())
    }

    fn verify(&self, parts: &ProofParts) -> Result<(), String> {
        let (statement, proof) = self.read(parts)?;
        zkinfer_verifier::verify(&self.vk, &statement, &proof).map_err(|e| e.to_string())
    }

    fn check_input(&self, parts: &ProofParts, input: &[u8]) -> Result<(), Mismatch> {
        let (statement, _) = self.read(parts).map_err(Mismatch::Proof)?;
        let shown = statement
            .tensors(&self.vk.layout)
            .map_err(|e| Mismatch::Proof(e.to_string()))?;
        let damaged = || Mismatch::Input("the stored input is damaged".to_owned());
        let inputs: Vec<Tensor> = serde_json::from_slice(input).map_err(|_| damaged())?;
        let layout = &self.vk.layout;
        let specs = |role| {
            let tensors = layout.tensors.iter().enumerate();
            tensors.filter(move |(_, t)| t.role == role)
        };
        let hidden = |(_, spec): (usize, &TensorSpec)| spec.visibility == Visibility::Private;
        // A proof with a private input holds for whatever input its prover chose: what it shows must be what the job's input gives.
        let outputs = match specs(Role::Input).any(hidden) {
            true => inputs::eval(&self.model, &inputs).map_err(|_| damaged())?,
            false => Vec::new(),
        };
        for (role, tensors) in [(Role::Input, &inputs), (Role::Output, &outputs)] {
            if !tensors.is_empty() && tensors.len() != specs(role).count() {
                return Err(damaged());
            }
            for ((position, spec), tensor) in specs(role).zip(tensors) {
                let values = shown.iter().find(|(shown, _)| std::ptr::eq(*shown, spec));
                let other = values.is_some_and(|(_, values)| *values != tensor.data);
                let hashed = spec.visibility == Visibility::Hashed;
                let revealed = || statement.check_revealed(layout, position, &tensor.data);
                if other || (hashed && revealed().is_err()) {
                    let message = format!("the proof is about another {}", spec.name);
                    return Err(Mismatch::Proof(message));
                }
            }
        }
        Ok(())
    }

    fn vk_digest(&self) -> [u8; 32] {
        self.vk_digest
    }

    fn decode(
        &self,
        encoding: ProofEncoding,
        proof: &[u8],
        values: &[u8],
    ) -> Result<ProofParts, String> {
        match encoding {
            ProofEncoding::Native => Ok(ProofParts {
                proof: proof.to_vec(),
                public_values: values.to_vec(),
            }),
            ProofEncoding::SolidityCalldata => {
                Err("calldata is checked by the contract; send NATIVE or JSON".to_owned())
            }
            ProofEncoding::Json => {
                let file = ProofFile::parse(proof).map_err(|e| e.to_string())?;
                let (statement, proof) = file.decode(&self.vk).map_err(|e| e.to_string())?;
                let parts = ProofParts {
                    proof: proof.to_bytes(),
                    public_values: public_values(&statement),
                };
                if !values.is_empty() && values != parts.public_values {
                    return Err("public_values differ from those in the JSON".to_owned());
                }
                Ok(parts)
            }
        }
    }

    fn encode(&self, encoding: ProofEncoding, parts: &ProofParts) -> Result<Vec<u8>, String> {
        let (statement, proof) = self.read(parts)?;
        match encoding {
            ProofEncoding::Native => Ok(parts.proof.clone()),
            ProofEncoding::SolidityCalldata => Solidity {
                allow_dev_key: true,
            }
            .encode(&self.vk, &statement, &proof)
            .map_err(|e| e.to_string()),
            ProofEncoding::Json => {
                Ok(
                    ProofFile::new(&self.vk_digest, self.vk.system, &statement, &proof)
                        .to_json()
                        .into_bytes(),
                )
            }
        }
    }

    fn solidity(&self) -> Result<VerifierFiles, String> {
        // A development key's contract refuses every chain but 31337.
        let files = Solidity {
            allow_dev_key: true,
        }
        .generate(&self.vk)
        .map_err(|e| e.to_string())?;
        Ok(VerifierFiles {
            files: as_bytes(files),
            bytecode: zkinfer_contracts::creation_code(&self.vk, true)
                .map_err(|e| e.to_string())?,
            verifying_key: self.vk.encode(),
            vk_digest: self.vk_digest,
            compiler: SOLC.to_owned(),
        })
    }

    fn substrate(&self, example: &ProofParts) -> Result<VerifierFiles, String> {
        let (statement, proof) = self.read(example)?;
        // A runtime refuses a development key unless it says that it accepts them.
        let target = Substrate {
            allow_dev_key: true,
            example: Some(Example { statement, proof }),
            ..Substrate::default()
        };
        let files = target.generate(&self.vk).map_err(|e| e.to_string())?;
        Ok(VerifierFiles {
            files: as_bytes(files),
            bytecode: call_register_key(target.pallet_index, &self.vk),
            verifying_key: self.vk.encode(),
            vk_digest: self.vk_digest,
            compiler: String::new(),
        })
    }
}
