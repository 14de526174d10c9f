//! # The library behind three functions: parameters, keys, a proof
//!
//! Whatever the library answers with a panic (a point at infinity that the transcript refuses, an assignment outside the domain) becomes
//! an error here. Cancelling unwinds out of it too, at the next point it commits to: that frees what it holds, and calls no panic
//! hook.

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use halo2_proofs::SerdeFormat;
use halo2_proofs::plonk::{Circuit, ConstraintSystem, ProvingKey, create_proof, keygen_pk2};
use halo2_proofs::poly::kzg::commitment::{KZGCommitmentScheme, ParamsKZG};
use halo2_proofs::poly::kzg::multiopen::ProverSHPLONK;
use halo2_proofs::transcript::{Transcript, TranscriptWrite};
use halo2curves::bn256::{Bn256, Fr, G1Affine};
use zkinfer_params::srs::{SrsPart, g2_generator};

use super::protocol::{ExtractError, protocol_of};
use super::transcript::{Challenge, EvmTranscript};
use crate::backend::{Cancelled, CryptoRngCore, Phase, Progress};
use zkinfer_verifier::halo2_kzg::Protocol;

/// Why the library did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// The parameters are not points of the groups.
    #[error("the points of the key: {0}")]
    Params(#[from] io::Error),
    /// An error of the library.
    #[error("the proving library: {0}")]
    Plonk(#[from] halo2_proofs::plonk::Error),
    /// The key has no protocol description.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// The library gave up with a panic.
    #[error("the proving library gave up while {doing}")]
    Panicked {
        /// What it was doing.
        doing: &'static str,
    },
}

/// Parameters, and the keys of one circuit under them.
#[derive(Debug)]
pub(super) struct Keys {
    params: ParamsKZG<Bn256>,
    key: ProvingKey<G1Affine>,
    pub(super) protocol: Protocol,
}

impl Keys {
    /// Generates the keys of `circuit` (without a witness) under the powers of `part`.
    pub(super) fn generate<C: Circuit<Fr>>(
        part: &SrsPart,
        circuit: &C,
    ) -> Result<Self, LibraryError> {
        let params = parameters(part)?;
        let generated = catch_unwind(AssertUnwindSafe(|| keygen_pk2(&params, circuit, false)));
        let key = generated.map_err(|_| LibraryError::Panicked {
            doing: "generating keys",
        })??;
        let protocol = protocol_of(key.get_vk(), &params)?;
        Ok(Self {
            params,
            key,
            protocol,
        })
    }

    /// The bytes of a proof that `circuit` (with its witness) shows `instance`.
    pub(super) fn prove<C: Circuit<Fr>>(
        &self,
        circuit: C,
        instance: &[Fr],
        vk_digest: &[u8; 32],
        rng: &mut dyn CryptoRngCore,
        progress: &dyn Progress,
    ) -> Result<Result<Vec<u8>, LibraryError>, Cancelled> {
        let mut transcript = Watched {
            inner: EvmTranscript::new(vk_digest, Vec::new()),
            progress,
            done: 0,
            total: self.protocol.proof_bytes() as u64,
        };
        if transcript.report().is_break() {
            return Err(Cancelled);
        }
        let proved = catch_unwind(AssertUnwindSafe(|| {
            create_proof::<KZGCommitmentScheme<Bn256>, ProverSHPLONK<'_, Bn256>, Challenge, _, _, C>(
                &self.params,
                &self.key,
                &[circuit],
                &[&[instance]],
                rng,
                &mut transcript,
            )
        }));
        match proved {
            Ok(Ok(())) => Ok(Ok(transcript.inner.into_stream())),
            Ok(Err(error)) => Ok(Err(error.into())),
            Err(panic) if panic.is::<Cancelled>() => Err(Cancelled),
            Err(_) => Ok(Err(LibraryError::Panicked { doing: "proving" })),
        }
    }
}

/// The library's parameters, every point checked once more by its own reader.
fn parameters(part: &SrsPart) -> Result<ParamsKZG<Bn256>, LibraryError> {
    let k = part.k.to_le_bytes();
    let generator = g2_generator();
    let mut raw = k
        .chain(&*part.monomial)
        .chain(&*part.lagrange)
        .chain(&generator[..])
        .chain(&part.s_g2[..]);
    Ok(ParamsKZG::read_custom(&mut raw, SerdeFormat::RawBytes)?)
}

/// A transcript that reports the points it is given, and unwinds when nobody wants the proof any more.
struct Watched<'a> {
    inner: EvmTranscript<Vec<u8>>,
    progress: &'a dyn Progress,
    done: u64,
    total: u64,
}

impl Watched<'_> {
    fn report(&self) -> ControlFlow<()> {
        self.progress
            .report(Phase::Prove, self.done.min(self.total), self.total)
    }
}

impl Transcript<G1Affine, Challenge> for Watched<'_> {
    fn squeeze_challenge(&mut self) -> Challenge {
        self.inner.squeeze_challenge()
    }

    fn common_point(&mut self, point: G1Affine) -> io::Result<()> {
        self.inner.common_point(point)
    }

    fn common_scalar(&mut self, scalar: Fr) -> io::Result<()> {
        self.inner.common_scalar(scalar)
    }
}

impl TranscriptWrite<G1Affine, Challenge> for Watched<'_> {
    fn write_point(&mut self, point: G1Affine) -> io::Result<()> {
        self.done += 64;
        if self.report().is_break() {
            // The library answers an error of the transcript with a panic of its own, which would be printed.
            resume_unwind(Box::new(Cancelled));
        }
        self.inner.write_point(point)
    }

    fn write_scalar(&mut self, scalar: Fr) -> io::Result<()> {
        self.done += 32;
        self.inner.write_scalar(scalar)
    }
}

/// What a constraint system makes of proofs and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Commitments in a proof.
    pub(crate) n_points: usize,
    /// Evaluations in a proof.
    pub(crate) n_evals: usize,
    /// Commitments that a verifier multiplies: those of the proof and of the key.
    pub(crate) n_commitments: usize,
    /// Advice columns.
    pub(crate) n_advice: usize,
    /// Fixed columns.
    pub(crate) n_fixed: usize,
    /// Permuted columns.
    pub(crate) n_permuted: usize,
    /// Degree of the constraint system.
    pub(crate) degree: usize,
}

impl Size {
    /// Bytes of a proof.
    pub(crate) fn proof_bytes(&self) -> usize {
        64 * self.n_points + 32 * self.n_evals
    }
}

/// Counts what the configuration of a circuit asks for, before any key.
pub(crate) fn size<C: Circuit<Fr>>(circuit: &C) -> Size {
    let mut cs = ConstraintSystem::default();
    C::configure_with_params(&mut cs, circuit.params());
    let (n_advice, n_fixed) = (cs.num_advice_columns(), cs.num_fixed_columns());
    let n_permuted = cs.permutation().get_columns().len();
    let degree = cs.degree();
    let n_products = n_permuted.div_ceil(degree.saturating_sub(2).max(1));
    // The random polynomial, the pieces of the quotient, two opening points.
    let n_points = n_advice + n_products + 1 + (degree - 1) + 2;
    let n_evals = cs.advice_queries().len()
        + cs.fixed_queries().len()
        + 1
        + n_permuted
        + (3 * n_products).saturating_sub(1);
    Size {
        n_points,
        n_evals,
        n_commitments: n_points + n_fixed + n_permuted,
        n_advice,
        n_fixed,
        n_permuted,
        degree,
    }
}
