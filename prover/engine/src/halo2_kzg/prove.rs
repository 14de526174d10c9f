//! # Proving in halo2-kzg
//!
//! `prepare` generates the library's keys anew from the program and the powers in the key file; the protocol description that comes out
//! must be the one in the verifying key. That the file's points are powers of one τ is not checked again: a file bent with care makes proofs that fail
//! the check below, and whether they fail may depend on the witness. Prove with key files of your own making. A proof is the library's `create_proof` with SHPLONK, our transcript and the caller's
//! randomness, and our verifier's word on it.
//!
//! The first phase's cells are overwritten when they are dropped; the library's own copies (columns, coefficients, the second phase)
//! are freed without that.

use std::mem;
use std::sync::Arc;

use zeroize::Zeroizing;
use zkinfer_circuits::arithmetization::halo2::Halo2Circuit;
use zkinfer_circuits::constraint::{Program, solve};
use zkinfer_params::keys::{ProvingKeyFile, SectionKind};
use zkinfer_params::srs::{G2_BYTES, SrsPart};
use zkinfer_verifier::{Proof, ProofSystem, VerifyingKey, verify};

use super::library::Keys;
use crate::backend::{CryptoRngCore, Phase, Progress, ProofInput, Proven, Prover, Steps};
use crate::crs::check_identity;
use crate::error::{PrepareError, ProveError};

/// A circuit with its keys.
#[derive(Debug)]
pub(super) struct Halo2KzgProver {
    circuit: Halo2Circuit,
    keys: Keys,
    vk: VerifyingKey,
    vk_digest: [u8; 32],
}

impl Halo2KzgProver {
    pub(super) fn new(
        program: &Arc<Program>,
        file: &ProvingKeyFile,
        vk: VerifyingKey,
    ) -> Result<Self, PrepareError> {
        let circuit = Halo2Circuit::lower(program)?;
        check_identity(file, &vk, program, circuit.digest(), ProofSystem::Halo2Kzg)?;
        let n = 1u64 << circuit.k();
        let mut s_g2 = [0u8; G2_BYTES];
        s_g2.copy_from_slice(&file.read_section(SectionKind::PointsG2, 1)?);
        let part = SrsPart {
            k: circuit.k(),
            monomial: file.read_section(SectionKind::Monomial, n)?,
            lagrange: file.read_section(SectionKind::Lagrange, n)?,
            s_g2,
        };
        let keys = Keys::generate(&part, &circuit.synthesis())?;
        if vk.halo2_kzg() != Some(&keys.protocol) {
            return Err(PrepareError::OtherSrs);
        }
        Ok(Self {
            circuit,
            keys,
            vk_digest: vk.digest(),
            vk,
        })
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
        let circuit = self.circuit.assign(&solved, &statement);
        let instance = Halo2Circuit::instance(&statement.words());
        steps.advance(1)?;

        let bytes = self
            .keys
            .prove(circuit, &instance, &self.vk_digest, rng, progress)??;
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
