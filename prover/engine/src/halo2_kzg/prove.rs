//! # Proving in halo2-kzg
//!
//! `prepare` lays the circuit out anew and commits to its fixed part with the powers in the key file; the protocol description that comes out
//! must be the one in the verifying key. That the file's points are powers of one τ is not checked again: a file bent with care makes proofs
//! that fail the check below, and whether they fail may depend on the witness. Prove with key files of your own making. A proof is that of
//! [`rounds`](super::rounds) with the caller's randomness, and our verifier's word on it.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroizing;
use zkinfer_circuits::arithmetization::halo2::{Halo2Circuit, Synthesis};
use zkinfer_circuits::constraint::{Program, solve};
use zkinfer_gpu::{Device, DeviceError, G1, G2};
use zkinfer_params::keys::{ProvingKeyFile, SectionKind};
use zkinfer_verifier::{Proof, ProofSystem, VerifyingKey, verify};

use super::key::{KeygenError, Powers, ProvingKey};
use super::library::LibraryFr;
use super::rounds::{Witness, create_proof};
use crate::backend::{CryptoRngCore, Phase, Progress, ProofInput, Proven, Prover, Steps};
use crate::crs::{check_identity, section};
use crate::error::{PrepareError, ProveError};

/// A circuit with its keys.
#[derive(Debug)]
pub(super) struct Halo2KzgProver {
    device: Arc<dyn Device>,
    circuit: Halo2Circuit,
    key: Mutex<Arc<ProvingKey>>,
    vk: VerifyingKey,
    vk_digest: [u8; 32],
}

impl Halo2KzgProver {
    pub(super) fn new(
        device: Arc<dyn Device>,
        program: &Arc<Program>,
        file: &ProvingKeyFile,
        vk: VerifyingKey,
    ) -> Result<Self, PrepareError> {
        let circuit = Halo2Circuit::lower(program)?;
        check_identity(file, &vk, program, circuit.digest(), ProofSystem::Halo2Kzg)?;
        file.verify()?;
        let n = 1usize << circuit.k();
        let powers = Powers {
            monomial: section::<G1>(file, SectionKind::Monomial, n)?,
            lagrange: section::<G1>(file, SectionKind::Lagrange, n)?,
            s_g2: section::<G2>(file, SectionKind::PointsG2, 1)?.points(0..1)?[0],
        };
        let key = generate(&*device, &circuit, &Arc::new(powers), &vk)?;
        if vk.halo2_kzg() != Some(key.protocol()) {
            return Err(PrepareError::OtherSrs);
        }
        Ok(Self {
            device,
            circuit,
            key: Mutex::new(Arc::new(key)),
            vk_digest: vk.digest(),
            vk,
        })
    }

    fn key(&self) -> MutexGuard<'_, Arc<ProvingKey>> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key, made anew: a GPU that failed has taken its vectors with it.
    fn renewed(&self, lost: &Arc<ProvingKey>) -> Result<Arc<ProvingKey>, KeygenError> {
        // Nobody waits for it with a thread of the pool that makes it; another proof may make one, too.
        let made = generate(&*self.device, &self.circuit, &lost.powers, &self.vk)?;
        let mut key = self.key();
        if Arc::ptr_eq(&key, lost) {
            *key = Arc::new(made);
        }
        Ok(Arc::clone(&key))
    }
}

/// The key of a circuit on a device. One that fails on the way is asked a second time: everything is done by the CPU then.
fn generate(
    device: &dyn Device,
    circuit: &Halo2Circuit,
    powers: &Arc<Powers>,
    vk: &VerifyingKey,
) -> Result<ProvingKey, KeygenError> {
    let repr = vk.halo2_kzg().map(|protocol| protocol.transcript_repr);
    let made = || {
        let synthesis = circuit.synthesis();
        ProvingKey::generate(device, &synthesis, circuit.k(), Arc::clone(powers), repr)
    };
    match made() {
        Err(KeygenError::Device(DeviceError::Gpu(_))) => made(),
        made => made,
    }
}

impl Witness for Synthesis<'_> {
    fn advice(
        &self,
        phase: u8,
        challenges: &[Option<LibraryFr>],
        column: &mut dyn FnMut(usize, &[LibraryFr]),
    ) {
        self.with_advice(phase, challenges, column);
    }
}

impl Prover for Halo2KzgProver {
    fn prove(
        &self,
        input: &ProofInput,
        rng: &mut dyn CryptoRngCore,
        progress: &dyn Progress,
    ) -> Result<Proven, ProveError> {
        let mut steps = Steps::begin(progress, Phase::Witness, 1)?;
        let program = self.circuit.program();
        let solved = solve(program, &input.tensors)?;
        let statement = solved.statement(program, input.context)?;
        let mut outputs = Zeroizing::new(solved.outputs(program));
        let witness = self.circuit.assign(&solved, &statement);
        steps.advance(1)?;

        let words = statement.words();
        let mut create = |key: &ProvingKey| {
            let digest = &self.vk_digest;
            create_proof(key, &*self.device, digest, &words, &witness, rng, progress)
        };
        let key = Arc::clone(&self.key());
        let bytes = match create(&key) {
            Err(ProveError::Device(DeviceError::Gpu(_))) => create(&*self.renewed(&key)?)?,
            made => made?,
        };
        let proof = Proof::Halo2Kzg { bytes };

        let mut steps = Steps::begin(progress, Phase::Verify, 1)?;
        verify(&self.vk, &statement, &proof).map_err(|reason| ProveError::SelfCheck {
            reason,
            violation: self.circuit.check(&solved, &statement).err(),
        })?;
        steps.advance(1)?;
        Ok(Proven {
            statement,
            proof,
            outputs: mem::take(&mut *outputs),
        })
    }

    fn verifying_key(&self) -> &VerifyingKey {
        &self.vk
    }
}
