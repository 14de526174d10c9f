//! # Proving in Groth16
//!
//! 1. Solve the program; the words are the public inputs.
//! 2. h = (A·B − C)/Z on the coset.
//! 3. A, B, C with fresh r, s (see `ProvingKey::open`).
//! 4. Verify.

use std::mem;
use std::sync::Arc;

use ark_bn254::Fr;
use ark_ec::CurveGroup;
use ark_std::UniformRand;
use zeroize::Zeroizing;
use zkinfer_circuits::arithmetization::r1cs::trace::{Trace, Tracer};
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::{Program, solve};
use zkinfer_gpu::Device;
use zkinfer_params::keys::ProvingKeyFile;
use zkinfer_verifier::{Proof, ProofSystem, Statement, VerifyingKey, verify};

use crate::backend::{CryptoRngCore, Phase, Progress, ProofInput, Proven, Prover, Steps};
use crate::crs::{OPEN_STEPS, Opened, ProvingKey};
use crate::error::{PrepareError, ProveError};
use crate::qap::Qap;

/// A circuit with its key.
#[derive(Debug)]
pub(super) struct Groth16Prover {
    device: Arc<dyn Device>,
    tracer: Tracer,
    qap: Qap,
    key: ProvingKey,
    vk: VerifyingKey,
}

impl Groth16Prover {
    pub(super) fn new(
        device: Arc<dyn Device>,
        program: &Arc<Program>,
        file: ProvingKeyFile,
        vk: VerifyingKey,
    ) -> Result<Self, PrepareError> {
        let r1cs = R1cs::lower(program, Form::Plain)?;
        let qap = Qap::new(&r1cs).ok_or(PrepareError::DomainTooLarge {
            rows: r1cs.n_rows().saturating_add(r1cs.n_instance()),
        })?;
        let key = ProvingKey::map(file, &vk, &r1cs, &qap, ProofSystem::Groth16)?;
        Ok(Self {
            device,
            tracer: Tracer::new(r1cs),
            qap,
            key,
            vk,
        })
    }

    /// Proves what the wires satisfy, if it satisfies `statement`.
    fn prove_witness(
        &self,
        statement: &Statement,
        trace: &Trace<'_>,
        mut wires: Zeroizing<Vec<Fr>>,
        rng: &mut dyn CryptoRngCore,
        progress: &dyn Progress,
    ) -> Result<Proof, ProveError> {
        let device = &*self.device;
        let mut steps = Steps::begin(progress, Phase::Prove, 1 + OPEN_STEPS)?;
        let quotient = self.qap.quotient(device, trace, &wires)?;
        steps.advance(1)?;
        let [r, s] = [(); 2].map(|()| Zeroizing::new(Fr::rand(rng)));
        let mut opened = Opened {
            trace,
            wires: &mut wires,
            alpha: Fr::from(0u64),
        };
        let opening = self
            .key
            .open(device, &mut opened, quotient, [&r, &s], &mut steps)?;
        let proof = Proof::Groth16 {
            a: opening.a.into_affine(),
            b: opening.b.into_affine(),
            c: opening.c.into_affine(),
        };

        let mut steps = Steps::begin(progress, Phase::Verify, 1)?;
        if let Err(reason) = verify(&self.vk, statement, &proof) {
            self.key.check_sections()?;
            let violation = self.tracer.r1cs().check(&trace.witness(&wires)).err();
            return Err(ProveError::SelfCheck { reason, violation });
        }
        steps.advance(1)?;
        Ok(proof)
    }
}

impl Prover for Groth16Prover {
    fn prove(
        &self,
        input: &ProofInput,
        rng: &mut dyn CryptoRngCore,
        progress: &dyn Progress,
    ) -> Result<Proven, ProveError> {
        let mut steps = Steps::begin(progress, Phase::Witness, 1)?;
        let program = self.tracer.r1cs().program();
        let solved = solve(program, &input.tensors)?;
        let statement = solved.statement(program, input.context)?;
        let mut outputs = Zeroizing::new(solved.outputs(program));
        let (trace, wires) = self.tracer.plain(&solved, &statement.words());
        let wires = Zeroizing::new(wires);
        steps.advance(1)?;
        let proof = self.prove_witness(&statement, &trace, wires, rng, progress)?;
        Ok(Proven {
            statement,
            proof,
            outputs: mem::take(&mut *outputs),
        })
    }

    fn tabulate(&self, max_bytes: u64) -> Result<u64, PrepareError> {
        Ok(self.key.tabulate(&*self.device, max_bytes)?)
    }

    fn verifying_key(&self) -> &VerifyingKey {
        &self.vk
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use zkinfer_circuits::tensor::Tensor;
    use zkinfer_circuits::testing::tiny_dense;
    use zkinfer_gpu::Cpu;
    use zkinfer_params::dev_setup::Trapdoor;
    use zkinfer_params::keys::KeyWriter;
    use zkinfer_verifier::{Context, Visibility};

    use super::*;
    use crate::backend::Silent;
    use crate::groth16::setup::setup;

    #[test]
    fn no_changed_wire_passes_the_own_check() {
        let program = tiny_dense(vec![3, -5, 7, 2], vec![1, -1], 2, Visibility::Public)
            .expect("a valid program");
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut writer = KeyWriter::create(&dir.path().join("proving.key")).expect("created");
        let trapdoor = Trapdoor::insecure_from_seed_for_tests(1);
        let vk = setup(&Cpu, &program, [0; 32], trapdoor, &mut writer, &Silent).expect("keys");
        let key = writer.finish().expect("written");
        let prover = Groth16Prover::new(Arc::new(Cpu), &program, key, vk).expect("prepared");

        let tensors = [Tensor {
            shape: vec![1, 2],
            data: vec![100, -7],
        }];
        let solved = solve(&program, &tensors).expect("a witness");
        let statement = solved
            .statement(&program, Context::ZERO)
            .expect("a statement");
        let (trace, honest) = prover.tracer.plain(&solved, &statement.words());
        let mut rng = StdRng::seed_from_u64(1);
        let mut prove = |wires| prover.prove_witness(&statement, &trace, wires, &mut rng, &Silent);
        prove(Zeroizing::new(honest.clone())).expect("a proof");
        for wire in (prover.tracer.r1cs().n_instance()..honest.len()).step_by(7) {
            let mut forged = Zeroizing::new(honest.clone());
            forged[wire] += Fr::from(1u64);
            let refused = prove(forged);
            assert!(
                matches!(
                    refused,
                    Err(ProveError::SelfCheck {
                        violation: Some(_),
                        ..
                    })
                ),
                "wire {wire}: {refused:?}"
            );
        }
    }
}
