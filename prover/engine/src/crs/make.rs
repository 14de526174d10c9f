//! # Making a key: fixed-base products, streamed
//!
//! Memory: three field elements a wire, fewer with every query written, and two chunks of points; the coset's values are made when
//! the others are gone. While one chunk is hashed and written the next is computed, and exponents of zero cost nothing. Every vector
//! of exponents is overwritten when dropped: the trapdoor can be computed from each.

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use ark_bn254::{Fr, G1Affine, G2Affine};
use ark_ec::{AffineRepr, CurveGroup};
use ark_ff::{Field, Zero};
use rayon::prelude::*;
use zeroize::Zeroizing;
use zkinfer_circuits::arithmetization::r1cs::{Matrix, R1cs};
use zkinfer_circuits::constraint::Program;
use zkinfer_gpu::curve::{AffineOf, encode_points};
use zkinfer_gpu::{Curve, Device, DeviceError, FixedBase, G1, G2};
use zkinfer_params::dev_setup::Trapdoor;
use zkinfer_params::keys::{KeyHeader, KeySink, SectionKind};
use zkinfer_verifier::{GrothKey, KeyMaterial, ProofSystem, Setup, VerifyingKey};

use crate::backend::{Phase, Progress, Steps, form_of};
use crate::error::SetupError;
use crate::qap::Qap;

/// Points made at once.
const CHUNK: usize = 1 << 14;

/// A set-up in progress.
pub(crate) struct KeyMaker<'a> {
    device: &'a dyn Device,
    trapdoor: Trapdoor,
    r1cs: R1cs,
    qap: Qap,
    /// u_j(τ), until A is written.
    u: Zeroizing<Vec<Fr>>,
    /// v_j(τ), until B is written.
    v: Zeroizing<Vec<Fr>>,
    /// K_j.
    combined: Zeroizing<Vec<Fr>>,
    generators: Generators,
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
        let mut lowering = Steps::begin(progress, Phase::Lower, 4)?;
        let form = form_of(system).ok_or(SetupError::System { system })?;
        let r1cs = R1cs::lower(program, form)?;
        lowering.advance(1)?;
        let qap = Qap::new(&r1cs).ok_or(SetupError::DomainTooLarge {
            rows: r1cs.n_rows().saturating_add(r1cs.n_instance()),
        })?;
        let lagrange = qap
            .lagrange(trapdoor.tau)
            .ok_or(SetupError::DegenerateTrapdoor)?;
        let mut combined = qap.at(&r1cs, Matrix::C, &lagrange);
        lowering.advance(1)?;
        let mut add = |matrix, factor: &Fr| -> Result<_, SetupError> {
            let values = qap.at(&r1cs, matrix, &lagrange);
            combined
                .par_iter_mut()
                .zip(&*values)
                .for_each(|(sum, value)| *sum += *factor * value);
            lowering.advance(1)?;
            Ok(values)
        };
        let u = add(Matrix::A, &trapdoor.beta)?;
        let v = add(Matrix::B, &trapdoor.alpha)?;
        drop(lagrange);
        let (n_wires, n_bound) = (r1cs.n_wires(), r1cs.n_committed() + r1cs.n_private());
        let n_g1 = 2 * n_wires + n_bound + qap.n();
        let n_steps = n_g1 as u64 + G2::STEPS * n_wires as u64;
        Ok(Self {
            steps: Steps::begin(progress, Phase::Keys, n_steps)?,
            generators: Generators {
                g1: FixedBase::new(G1Affine::generator(), n_g1),
                g2: FixedBase::new(G2Affine::generator(), n_wires),
            },
            device,
            trapdoor,
            r1cs,
            qap,
            u,
            v,
            combined,
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
            Zeroizing::new(instance.map(|j| self.combined[j] * *inverse).collect());
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
                ic: self.device.fixed_base_g1(&self.generators.g1, &ic)?,
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
        let g2 = Zeroizing::new([self.trapdoor.beta, self.trapdoor.delta2]);
        self.section::<G1>(sink, SectionKind::PointsG1, &singles, None)?;
        self.section::<G2>(sink, SectionKind::PointsG2, &*g2, None)?;
        let u = mem::take(&mut self.u);
        self.section::<G1>(sink, SectionKind::A, &u, None)?;
        drop(u);
        let v = mem::take(&mut self.v);
        self.section::<G1>(sink, SectionKind::B1, &v, None)?;
        self.section::<G2>(sink, SectionKind::B2, &v, None)
    }

    /// `[K_j/divisor]` for the wires of a class.
    pub(crate) fn write_bound(
        &mut self,
        kind: SectionKind,
        wires: Range<usize>,
        divisor: &Fr,
        sink: &mut dyn KeySink,
    ) -> Result<(), SetupError> {
        let combined = mem::take(&mut self.combined);
        let inverse = inverse(divisor)?;
        self.section::<G1>(sink, kind, &combined[wires], Some(&inverse))?;
        self.combined = combined;
        Ok(())
    }

    /// `H_i = [L_i(τ)·Z(τ)/δ2]` for the points of the coset; the last section, whose values replace those of the wires.
    pub(crate) fn write_quotient(&mut self, sink: &mut dyn KeySink) -> Result<(), SetupError> {
        drop(mem::take(&mut self.combined));
        let inverse = inverse(&self.trapdoor.delta2)?;
        let quotient = self.qap.quotient_at(self.trapdoor.tau);
        self.section::<G1>(sink, SectionKind::H, &quotient, Some(&inverse))
    }

    /// The generator times every exponent, times `factor` if there is one.
    fn section<C: Generate>(
        &mut self,
        sink: &mut dyn KeySink,
        kind: SectionKind,
        exponents: &[Fr],
        factor: Option<&Fr>,
    ) -> Result<(), SetupError> {
        sink.start_section(kind, exponents.len() as u64)?;
        let (device, generators, steps) = (self.device, &self.generators, &mut self.steps);
        let generate = |exponents| encoded::<C>(device, generators, exponents, factor);
        let mut chunks = exponents.chunks(CHUNK);
        let mut made = chunks.next().map(generate).transpose()?;
        while let Some(bytes) = made {
            let next = chunks.next();
            let (written, generated) =
                rayon::join(|| sink.append(&bytes), || next.map(generate).transpose());
            written?;
            made = generated?;
            steps.advance((bytes.len() / C::POINT_BYTES) as u64 * C::STEPS)?;
        }
        Ok(())
    }
}

/// The raw points of a chunk of exponents.
fn encoded<C: Generate>(
    device: &dyn Device,
    generators: &Generators,
    exponents: &[Fr],
    factor: Option<&Fr>,
) -> Result<Vec<u8>, DeviceError> {
    let places: Vec<usize> = (0..exponents.len())
        .filter(|&k| !exponents[k].is_zero())
        .collect();
    let scaled = places.par_iter().map(|&k| match factor {
        Some(factor) => exponents[k] * factor,
        None => exponents[k],
    });
    let scaled = Zeroizing::new(scaled.collect::<Vec<Fr>>());
    let mut points = vec![AffineOf::<C>::zero(); exponents.len()];
    for (k, point) in places.iter().zip(C::generate(device, generators, &scaled)?) {
        points[*k] = point;
    }
    let mut bytes = Vec::with_capacity(points.len() * C::POINT_BYTES);
    encode_points::<C>(&points, &mut bytes);
    Ok(bytes)
}

/// Tables of the generators.
struct Generators {
    g1: FixedBase<G1>,
    g2: FixedBase<G2>,
}

/// The generator of a group times many exponents.
trait Generate: Curve {
    /// Steps of progress for one point, about what it costs beside others.
    const STEPS: u64;

    fn generate(
        device: &dyn Device,
        generators: &Generators,
        exponents: &[Fr],
    ) -> Result<Vec<AffineOf<Self>>, DeviceError>;
}

impl Generate for G1 {
    const STEPS: u64 = 1;

    fn generate(
        device: &dyn Device,
        generators: &Generators,
        exponents: &[Fr],
    ) -> Result<Vec<G1Affine>, DeviceError> {
        device.fixed_base_g1(&generators.g1, exponents)
    }
}

impl Generate for G2 {
    const STEPS: u64 = 3;

    fn generate(
        device: &dyn Device,
        generators: &Generators,
        exponents: &[Fr],
    ) -> Result<Vec<G2Affine>, DeviceError> {
        device.fixed_base_g2(&generators.g2, exponents)
    }
}

/// 1/x of a part of the trapdoor.
fn inverse(x: &Fr) -> Result<Zeroizing<Fr>, SetupError> {
    let inverse = x.inverse().ok_or(SetupError::DegenerateTrapdoor)?;
    Ok(Zeroizing::new(inverse))
}
