//! Work without mathematics: a proof is the digest of its statement, so the service can be tested by itself.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use zkinfer_service::{
    store::{CompileFacts, Digest, Phase, SetupFacts, TensorFacts},
    work::{
        CompileRequest, Control, Gate, Mismatch, ProofEncoding, ProofParts, VerifierFiles,
        WarmProver, Work, WorkError,
    },
};

/// Fake work; a proof takes `prove_ms`.
#[derive(Debug, Default)]
pub struct Fake {
    pub prove_ms: AtomicU64,
    /// Running proofs end now.
    pub finish: AtomicBool,
    pub proofs: AtomicUsize,
    /// What a verification takes.
    pub verify_ms: AtomicU64,
    pub verified: AtomicUsize,
}

const VK: [u8; 32] = [7; 32];

#[derive(Debug)]
struct FakeGate(Arc<Fake>);

#[derive(Debug)]
struct FakeProver(Arc<Fake>);

/// The handle that the server owns.
#[derive(Debug, Clone)]
pub struct FakeWork(pub Arc<Fake>);

impl Work for FakeWork {
    fn compile(
        &self,
        request: &CompileRequest,
        bundle: &Path,
        _: &dyn Control,
    ) -> Result<CompileFacts, WorkError> {
        let model =
            std::fs::read(&request.model).map_err(|e| WorkError::fault("IO", e.to_string()))?;
        if !model.starts_with(b"model") {
            return Err(WorkError::invalid(
                "BAD_MODEL",
                "the model does not begin with the word model",
            ));
        }
        std::fs::create_dir_all(bundle).map_err(|e| WorkError::fault("IO", e.to_string()))?;
        let private = request.settings.input == zkinfer_service::bundle::Shown::Private;
        let tensor = |name: &str, private| TensorFacts {
            name: name.into(),
            shape: vec![1],
            dtype: "int8".into(),
            private,
            hashed: false,
        };
        Ok(CompileFacts {
            program: [1; 32],
            inputs: vec![tensor("x", private)],
            outputs: vec![tensor("y", false)],
            ram_bytes: 1,
            estimated_prove_ms: 1,
        })
    }

    fn setup(&self, _: &Path, _: &dyn Control) -> Result<SetupFacts, WorkError> {
        Ok(SetupFacts {
            proving_key: [2; 32],
            proving_key_bytes: 100,
            verifying_key: [3; 32],
            vk_digest: VK,
        })
    }

    fn gate(&self, _: &Path) -> Result<Arc<dyn Gate>, WorkError> {
        Ok(Arc::new(FakeGate(Arc::clone(&self.0))))
    }

    fn prepare(&self, _: &Path, _: &dyn Control) -> Result<Arc<dyn WarmProver>, WorkError> {
        Ok(Arc::new(FakeProver(Arc::clone(&self.0))))
    }
}

impl Gate for FakeGate {
    fn quantize(&self, input: &[u8]) -> Result<Vec<u8>, String> {
        let text = std::str::from_utf8(input).map_err(|_| "not text".to_owned())?;
        if text.starts_with('{') {
            Ok(input.to_vec())
        } else {
            Err("expected JSON".to_owned())
        }
    }

    fn verify(&self, parts: &ProofParts) -> Result<(), String> {
        std::thread::sleep(Duration::from_millis(
            self.0.verify_ms.load(Ordering::Relaxed),
        ));
        self.0.verified.fetch_add(1, Ordering::Relaxed);
        if Digest::of(&parts.public_values).0[..] == parts.proof {
            Ok(())
        } else {
            Err("another statement".to_owned())
        }
    }

    fn check_input(&self, parts: &ProofParts, input: &[u8]) -> Result<(), Mismatch> {
        if parts.public_values[32..] == Digest::of(input).0 {
            Ok(())
        } else {
            Err(Mismatch::Proof("another input".to_owned()))
        }
    }

    fn vk_digest(&self) -> [u8; 32] {
        VK
    }

    fn decode(
        &self,
        _: ProofEncoding,
        proof: &[u8],
        public_values: &[u8],
    ) -> Result<ProofParts, String> {
        Ok(ProofParts {
            proof: proof.to_vec(),
            public_values: public_values.to_vec(),
        })
    }

    fn encode(&self, _: ProofEncoding, parts: &ProofParts) -> Result<Vec<u8>, String> {
        Ok(parts.proof.clone())
    }

    fn solidity(&self) -> Result<VerifierFiles, String> {
        Err("a fake has no contract".to_owned())
    }

    fn substrate(&self, example: &ProofParts) -> Result<VerifierFiles, String> {
        // Shows which proof it was asked to test on.
        Ok(VerifierFiles {
            files: vec![("example".to_owned(), example.public_values.clone())],
            bytecode: Vec::new(),
            verifying_key: Vec::new(),
            vk_digest: self.vk_digest(),
            compiler: String::new(),
        })
    }
}

impl WarmProver for FakeProver {
    fn prove(
        &self,
        input: &[u8],
        context: [u8; 32],
        control: &dyn Control,
    ) -> Result<ProofParts, WorkError> {
        let total = self.0.prove_ms.load(Ordering::Relaxed);
        let begun = Instant::now();
        loop {
            let done = begun.elapsed().as_millis() as u64;
            if control
                .report(Phase::Prove, done.min(total), total.max(1))
                .is_break()
            {
                return Err(WorkError::Cancelled);
            }
            if done >= total || self.0.finish.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.0.proofs.fetch_add(1, Ordering::Relaxed);
        if input.windows(4).any(|w| w == b"lie!") {
            return Ok(ProofParts {
                proof: vec![0; 32],
                public_values: context.to_vec(),
            });
        }
        let public_values = [&context[..], &Digest::of(input).0].concat();
        Ok(ProofParts {
            proof: Digest::of(&public_values).0.to_vec(),
            public_values,
        })
    }
}
