//! # Proving in UltraGroth
//!
//! 1. Solve the program; C1 = Σ_W1 a_j·D1_j + k·\[δ2\].
//! 2. ρ, α' = H(domain ‖ vk_digest ‖ words ‖ C1 ‖ i) (verifier::transcript).
//! 3. Fill W2; a zero denominator goes back to step 1 with a fresh k.
//! 4. h = (A·B − C)/Z on the coset; A, B as in Groth16 with δ2.
//! 5. C2 = Σ_W2 a_j·D2_j + Σ h_i·H_i + s·A + r·B1 − r·s·\[δ2\] − k·\[δ1\].
//! 6. Verify.
//!
//! k, r, s are fresh in every attempt. k makes C1 uniform: it hides the committed values.

use std::mem;
use std::sync::Arc;

use ark_bn254::Fr;
use ark_ec::CurveGroup;
use ark_std::UniformRand;
use zeroize::Zeroizing;
use zkinfer_circuits::arithmetization::r1cs::trace::{Trace, Tracer};
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::{Program, solve};
use zkinfer_gpu::{Device, ScalarClass};
use zkinfer_params::keys::ProvingKeyFile;
use zkinfer_verifier::transcript::challenges;
use zkinfer_verifier::{Proof, ProofSystem, Statement, VerifyingKey, verify};

use crate::backend::{CryptoRngCore, Phase, Progress, ProofInput, Proven, Prover, Steps};
use crate::crs::{OPEN_STEPS, Opened, ProvingKey};
use crate::error::{PrepareError, ProveError};
use crate::qap::Qap;

/// Commitments tried; two zero denominators in a row have probability below 2⁻⁴⁰⁰.
const MAX_ATTEMPTS: u32 = 8;

/// A circuit with its key.
#[derive(Debug)]
pub(super) struct UltraGrothProver {
    device: Arc<dyn Device>,
    tracer: Tracer,
    qap: Qap,
    key: ProvingKey,
    vk: VerifyingKey,
    vk_digest: [u8; 32],
}

impl UltraGrothProver {
    pub(super) fn new(
        device: Arc<dyn Device>,
        program: &Arc<Program>,
        file: ProvingKeyFile,
        vk: VerifyingKey,
    ) -> Result<Self, PrepareError> {
        let r1cs = R1cs::lower(program, Form::Committed)?;
        let qap = Qap::new(&r1cs).ok_or(PrepareError::DomainTooLarge {
            rows: r1cs.n_rows().saturating_add(r1cs.n_instance()),
        })?;
        let key = ProvingKey::map(file, &vk, &r1cs, &qap, ProofSystem::UltraGroth)?;
        Ok(Self {
            vk_digest: vk.digest(),
            device,
            tracer: Tracer::new(r1cs),
            qap,
            key,
            vk,
        })
    }

    /// Proves `statement` from a trace of the committed round and its wires; `None` when a denominator is zero.
    fn attempt(
        &self,
        statement: &Statement,
        trace: &mut Trace<'_>,
        mut wires: Zeroizing<Vec<Fr>>,
        rng: &mut dyn CryptoRngCore,
        progress: &dyn Progress,
    ) -> Result<Option<Proof>, ProveError> {
        let device = &*self.device;
        let r1cs = self.tracer.r1cs();
        let words = statement.words();

        let mut steps = Steps::begin(progress, Phase::Commit, 2)?;
        let k = Zeroizing::new(Fr::rand(rng));
        // What is lent is overwritten when a later step fails, as the wires here are.
        let committed = r1cs.n_instance()..r1cs.n_instance() + r1cs.n_committed();
        let round = device.lend(mem::take(&mut *wires), committed)?;
        let c1 = device.msm_g1(&self.key.d1, round.part(), ScalarClass::Full)?;
        let c1 = (c1 + self.key.delta2_g1 * *k).into_affine();
        steps.advance(1)?;
        let drawn = challenges(&self.vk_digest, &words, &c1);
        *wires = device.take_back(round)?;
        let filled = trace.second_round(&mut wires, &words, drawn.rho, drawn.alpha);
        if filled.is_err() {
            return Ok(None);
        }
        steps.advance(1)?;

        let mut steps = Steps::begin(progress, Phase::Prove, 1 + OPEN_STEPS)?;
        let quotient = self.qap.quotient(device, trace, &wires)?;
        steps.advance(1)?;
        let [r, s] = [(); 2].map(|()| Zeroizing::new(Fr::rand(rng)));
        let mut opened = Opened {
            trace,
            wires: &mut wires,
            alpha: drawn.alpha,
        };
        let opening = self
            .key
            .open(device, &mut opened, quotient, [&r, &s], &mut steps)?;
        let proof = Proof::UltraGroth {
            a: opening.a.into_affine(),
            b: opening.b.into_affine(),
            c1,
            c2: (opening.c - self.key.delta1_g1 * *k).into_affine(),
        };

        let mut steps = Steps::begin(progress, Phase::Verify, 1)?;
        if let Err(reason) = verify(&self.vk, statement, &proof) {
            self.key.check_sections()?;
            trace.restore(&mut wires);
            let violation = r1cs.check(&trace.witness(&wires)).err();
            return Err(ProveError::SelfCheck { reason, violation });
        }
        steps.advance(1)?;
        Ok(Some(proof))
    }
}

impl Prover for UltraGrothProver {
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
        steps.advance(1)?;
        for _ in 0..MAX_ATTEMPTS {
            let context = input.context.as_fr();
            let (mut trace, wires) = self.tracer.first_round(&solved, context)?;
            let wires = Zeroizing::new(wires);
            let proof = self.attempt(&statement, &mut trace, wires, rng, progress)?;
            if let Some(proof) = proof {
                return Ok(Proven {
                    statement,
                    proof,
                    outputs: mem::take(&mut *outputs),
                });
            }
        }
        Err(ProveError::ZeroDenominator {
            attempts: MAX_ATTEMPTS,
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
    use std::ops::ControlFlow;

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
    use crate::ultragroth::setup::setup;

    fn prover() -> (UltraGrothProver, tempfile::TempDir) {
        let program = tiny_dense(vec![3, -5, 7, 2], vec![1, -1], 2, Visibility::Public)
            .expect("a valid program");
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut writer = KeyWriter::create(&dir.path().join("proving.key")).expect("created");
        let trapdoor = Trapdoor::insecure_from_seed_for_tests(1);
        let vk = setup(&Cpu, &program, [0; 32], trapdoor, &mut writer, &Silent).expect("keys");
        let key = writer.finish().expect("written");
        let prover = UltraGrothProver::new(Arc::new(Cpu), &program, key, vk).expect("prepared");
        (prover, dir)
    }

    #[test]
    fn no_changed_value_of_the_committed_round_passes_the_own_check() {
        let (prover, _dir) = prover();
        let program = prover.tracer.r1cs().program();
        let tensors = [Tensor {
            shape: vec![1, 2],
            data: vec![100, -7],
        }];
        let solved = solve(program, &tensors).expect("a witness");
        let statement = solved
            .statement(program, Context::ZERO)
            .expect("a statement");
        let round = prover.tracer.first_round(&solved, Fr::from(0u64));
        let (mut trace, honest) = round.expect("every query is a row");
        let mut rng = StdRng::seed_from_u64(1);
        let mut attempt = |wires: Vec<Fr>| {
            let wires = Zeroizing::new(wires);
            prover.attempt(&statement, &mut trace, wires, &mut rng, &Silent)
        };
        assert!(matches!(attempt(honest.clone()), Ok(Some(_))));
        // A multiplicity enters the sums only: one wire in each part of the round is enough here, the forge tests of
        // `circuits` change every one.
        let (first, n) = (
            prover.tracer.r1cs().n_instance(),
            prover.tracer.r1cs().n_committed(),
        );
        for wire in [0, 1, 2, 3, n / 2, n - 2, n - 1] {
            let mut forged = honest.clone();
            forged[first + wire] += Fr::from(1u64);
            let refused = attempt(forged);
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

    #[test]
    fn a_commitment_to_too_few_values_is_an_error() {
        let (prover, _dir) = prover();
        let tensors = [Tensor {
            shape: vec![1, 2],
            data: vec![0, 0],
        }];
        let program = prover.tracer.r1cs().program();
        let solved = solve(program, &tensors).expect("a witness");
        let statement = solved
            .statement(program, Context::ZERO)
            .expect("a statement");
        let round = prover.tracer.first_round(&solved, Fr::from(0u64));
        let (mut trace, mut short) = round.expect("every query is a row");
        short.truncate(prover.tracer.r1cs().n_committed());
        let mut rng = StdRng::seed_from_u64(1);
        let go_on = |_: Phase, _: u64, _: u64| ControlFlow::Continue(());
        let refused = prover.attempt(
            &statement,
            &mut trace,
            Zeroizing::new(short),
            &mut rng,
            &go_on,
        );
        assert!(matches!(refused, Err(ProveError::Device(_))));
    }
}
