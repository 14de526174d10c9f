//! # Making a key: fixed-base products, streamed
//!
//! Memory: the three evaluations of every wire and the coset's, 32 bytes each, and one chunk of points. Every vector of
//! exponents is overwritten when dropped: the trapdoor can be computed from each.

use std::ops::Range;
use std::sync::Arc;

use ark_bn254::{Fr, G1Affine, G2Affine};
use ark_ec::{AffineRepr, CurveGroup};
use ark_ff::Field;
use rayon::prelude::*;
use zeroize::Zeroizing;
use zkinfer_circuits::arithmetization::r1cs::R1cs;
use zkinfer_circuits::constraint::Program;
use zkinfer_gpu::curve::{AffineOf, encode_points};
use zkinfer_gpu::{Curve, Device, DeviceError, FixedBase, G1, G2};
use zkinfer_params::dev_setup::Trapdoor;
use zkinfer_params::keys::{KeyHeader, KeySink, SectionKind};
use zkinfer_verifier::{GrothKey, KeyMaterial, ProofSystem, Setup, VerifyingKey};

use crate::backend::{Phase, Progress, Steps, form_of};
use crate::error::SetupError;
use crate::qap::{Qap, QapAtTau};

/// Points made at once.
const CHUNK: usize = 1 << 14;

/// A set-up in progress.
pub(crate) struct KeyMaker<'a> {
    device: &'a dyn Device,
    trapdoor: Trapdoor,
    r1cs: R1cs,
    at_tau: QapAtTau,
    g1: FixedBase<G1>,
    g2: FixedBase<G2>,
    steps: Steps<'a>,
}

impl<'a> KeyMaker<'a> {
    /// Lowers `program` and evaluates its polynomials at τ.
    pub(crate) fn new(
        device: &'a dyn Device,
        system: ProofSystem,
        program: &Arc<Program>,
        trapdoor: Trapdoor,
        progress: &'a dyn Progress,
    ) -> Result<Self, SetupError> {
        let mut lowering = Steps::begin(progress, Phase::Lower, 2)?;
        let form = form_of(system).ok_or(SetupError::System { system })?;
        let r1cs = R1cs::lower(program, form)?;
        lowering.advance(1)?;
        let qap = Qap::new(&r1cs).ok_or(SetupError::DomainTooLarge {
            rows: r1cs.n_rows().saturating_add(r1cs.n_instance()),
        })?;
        let at_tau = qap
            .at(&r1cs, trapdoor.tau)
            .ok_or(SetupError::DegenerateTrapdoor)?;
        lowering.advance(1)?;
        let (n_wires, n_bound) = (r1cs.n_wires(), r1cs.n_committed() + r1cs.n_private());
        let n_points = 3 * n_wires + n_bound + qap.n();
        Ok(Self {
            steps: Steps::begin(progress, Phase::Keys, n_points as u64)?,
            g1: FixedBase::new(G1Affine::generator(), n_points - n_wires),
            g2: FixedBase::new(G2Affine::generator(), n_wires),
            device,
            trapdoor,
            r1cs,
            at_tau,
        })
    }

    pub(crate) fn trapdoor(&self) -> &Trapdoor {
        &self.trapdoor
    }

    /// Wires of the instance, of the committed round, and the private ones.
    pub(crate) fn wire_classes(&self) -> [Range<usize>; 3] {
        let committed = self.r1cs.n_instance();
        let private = committed + self.r1cs.n_committed();
        [
            0..committed,
            committed..private,
            private..self.r1cs.n_wires(),
        ]
    }

    /// The verifying key with `IC_j = [K_j/γ]` for the instance and the given δ's.
    pub(crate) fn verifying_key(
        &self,
        system: ProofSystem,
        model_id: [u8; 32],
        deltas: &[Fr],
    ) -> Result<VerifyingKey, SetupError> {
        let Trapdoor {
            alpha, beta, gamma, ..
        } = &self.trapdoor;
        let [instance, ..] = self.wire_classes();
        let inverse = inverse(gamma)?;
        let ic: Zeroizing<Vec<Fr>> =
            Zeroizing::new(instance.map(|j| self.combined(j) * *inverse).collect());
        let key = VerifyingKey {
            system,
            setup: Setup::Development,
            model_id,
            circuit_digest: self.r1cs.digest(),
            layout: self.r1cs.program().layout().clone(),
            material: KeyMaterial::Groth(GrothKey {
                alpha_g1: (G1Affine::generator() * alpha).into_affine(),
                beta_g2: (G2Affine::generator() * beta).into_affine(),
                gamma_g2: (G2Affine::generator() * gamma).into_affine(),
                deltas_g2: deltas
                    .iter()
                    .map(|delta| (G2Affine::generator() * delta).into_affine())
                    .collect(),
                ic: self.device.fixed_base_g1(&self.g1, &ic)?,
            }),
        };
        key.check()?;
        Ok(key)
    }

    /// Begins the proving key: header, single points, and the queries that both systems have.
    pub(crate) fn write_common(
        &mut self,
        key: &VerifyingKey,
        deltas: &[Fr],
        sink: &mut dyn KeySink,
    ) -> Result<(), SetupError> {
        sink.begin(&KeyHeader {
            system: key.system,
            setup: key.setup,
            vk_digest: key.digest(),
            circuit_digest: key.circuit_digest,
            program_digest: self.r1cs.program().digest(),
        })?;
        let mut singles = Zeroizing::new(Vec::with_capacity(2 + deltas.len()));
        singles.extend_from_slice(&[self.trapdoor.alpha, self.trapdoor.beta]);
        singles.extend_from_slice(deltas);
        self.section::<G1>(sink, SectionKind::PointsG1, singles.len(), |_, k| {
            singles[k]
        })?;
        self.section::<G2>(sink, SectionKind::PointsG2, 2, |maker, k| match k {
            0 => maker.trapdoor.beta,
            _ => maker.trapdoor.delta2,
        })?;
        let n_wires = self.r1cs.n_wires();
        self.section::<G1>(sink, SectionKind::A, n_wires, |maker, j| maker.at_tau.u[j])?;
        self.section::<G1>(sink, SectionKind::B1, n_wires, |maker, j| maker.at_tau.v[j])?;
        self.section::<G2>(sink, SectionKind::B2, n_wires, |maker, j| maker.at_tau.v[j])
    }

    /// `[K_j/divisor]` for the wires of a class.
    pub(crate) fn write_bound(
        &mut self,
        kind: SectionKind,
        wires: Range<usize>,
        divisor: &Fr,
        sink: &mut dyn KeySink,
    ) -> Result<(), SetupError> {
        let inverse = inverse(divisor)?;
        self.section::<G1>(sink, kind, wires.len(), move |maker, k| {
            maker.combined(wires.start + k) * *inverse
        })
    }

    /// `H_i = [L_i(τ)·Z(τ)/δ2]` for the points of the coset.
    pub(crate) fn write_quotient(&mut self, sink: &mut dyn KeySink) -> Result<(), SetupError> {
        let inverse = inverse(&self.trapdoor.delta2)?;
        let n = self.at_tau.quotient.len();
        self.section::<G1>(sink, SectionKind::H, n, move |maker, i| {
            maker.at_tau.quotient[i] * *inverse
        })
    }

    /// K_j.
    fn combined(&self, j: usize) -> Fr {
        let QapAtTau { u, v, w, .. } = &self.at_tau;
        self.trapdoor.beta * u[j] + self.trapdoor.alpha * v[j] + w[j]
    }

    fn section<C: Generate>(
        &mut self,
        sink: &mut dyn KeySink,
        kind: SectionKind,
        count: usize,
        exponent: impl Fn(&Self, usize) -> Fr + Sync,
    ) -> Result<(), SetupError> {
        sink.start_section(kind, count as u64)?;
        let mut bytes = Vec::new();
        for start in (0..count).step_by(CHUNK) {
            let end = count.min(start + CHUNK);
            let exponents: Zeroizing<Vec<Fr>> = {
                let maker = &*self;
                let exponents = (start..end).into_par_iter().map(|k| exponent(maker, k));
                Zeroizing::new(exponents.collect())
            };
            let points = C::generate(self, &exponents)?;
            bytes.clear();
            encode_points::<C>(&points, &mut bytes);
            sink.append(&bytes)?;
            self.steps.advance((end - start) as u64)?;
        }
        Ok(())
    }
}

/// The generator of a group times many exponents.
trait Generate: Curve {
    fn generate(maker: &KeyMaker<'_>, exponents: &[Fr])
    -> Result<Vec<AffineOf<Self>>, DeviceError>;
}

impl Generate for G1 {
    fn generate(maker: &KeyMaker<'_>, exponents: &[Fr]) -> Result<Vec<G1Affine>, DeviceError> {
        maker.device.fixed_base_g1(&maker.g1, exponents)
    }
}

impl Generate for G2 {
    fn generate(maker: &KeyMaker<'_>, exponents: &[Fr]) -> Result<Vec<G2Affine>, DeviceError> {
        maker.device.fixed_base_g2(&maker.g2, exponents)
    }
}

/// 1/x of a part of the trapdoor.
fn inverse(x: &Fr) -> Result<Zeroizing<Fr>, SetupError> {
    let inverse = x.inverse().ok_or(SetupError::DegenerateTrapdoor)?;
    Ok(Zeroizing::new(inverse))
}
