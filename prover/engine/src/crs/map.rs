//! # A proving key mapped for proving, and the part of a proof that both systems compute alike

use std::mem;

use ark_bn254::{Bn254, Fr, G1Affine, G1Projective, G2Affine, G2Projective};
use ark_ec::AffineRepr;
use ark_ec::pairing::Pairing;
use ark_ff::Zero;
use zeroize::Zeroizing;
use zkinfer_circuits::arithmetization::r1cs::R1cs;
use zkinfer_circuits::arithmetization::r1cs::trace::Trace;
use zkinfer_circuits::constraint::Program;
use zkinfer_gpu::{Bases, Curve, Device, DeviceError, FrVec, G1, G2, ScalarClass};
use zkinfer_params::keys::{KeyOpenError, ProvingKeyFile, SectionKind};
use zkinfer_verifier::{ProofSystem, VerifyingKey};

use crate::backend::Steps;
use crate::error::{PrepareError, ProveError};
use crate::qap::Qap;

/// The proving key of a circuit, mapped from its file.
#[derive(Debug)]
pub(crate) struct ProvingKey {
    pub(crate) alpha_g1: G1Affine,
    pub(crate) beta_g1: G1Affine,
    /// \[δ1\]; the same as `delta2_g1` in plain Groth16, which has no committed round.
    pub(crate) delta1_g1: G1Affine,
    pub(crate) delta2_g1: G1Affine,
    pub(crate) beta_g2: G2Affine,
    pub(crate) delta2_g2: G2Affine,
    pub(crate) a: Bases<G1>,
    pub(crate) b1: Bases<G1>,
    pub(crate) b2: Bases<G2>,
    /// The private wires of `a`, `b1` and `b2`, once more.
    a_private: Bases<G1>,
    b1_private: Bases<G1>,
    b2_private: Bases<G2>,
    /// Empty in plain Groth16.
    pub(crate) d1: Bases<G1>,
    pub(crate) d2: Bases<G1>,
    pub(crate) h: Bases<G1>,
    file: ProvingKeyFile,
}

impl ProvingKey {
    /// Maps `file`, after checking that it belongs to the circuit and the verifying key. Of the sections only the single points are
    /// compared with their digests: see [`ProvingKey::check_sections`].
    pub(crate) fn map(
        file: ProvingKeyFile,
        vk: &VerifyingKey,
        r1cs: &R1cs,
        qap: &Qap,
        system: ProofSystem,
    ) -> Result<Self, PrepareError> {
        check_identity(&file, vk, r1cs.program(), r1cs.digest(), system)?;
        for singles in [SectionKind::PointsG1, SectionKind::PointsG2] {
            file.verify_section(file.section(singles)?)?;
        }
        let n_singles = 2 + system.n_deltas();
        let g1 = section::<G1>(&file, SectionKind::PointsG1, n_singles)?;
        let g1 = g1.points(0..n_singles)?;
        let g2 = section::<G2>(&file, SectionKind::PointsG2, 2)?;
        let g2 = g2.points(0..2)?;
        check_singles(&g1, &g2, vk)?;
        let n_wires = r1cs.n_wires();
        let private = n_wires - r1cs.n_private()..n_wires;
        let a = section::<G1>(&file, SectionKind::A, n_wires)?;
        let b1 = section::<G1>(&file, SectionKind::B1, n_wires)?;
        let b2 = section::<G2>(&file, SectionKind::B2, n_wires)?;
        Ok(Self {
            alpha_g1: g1[0],
            beta_g1: g1[1],
            delta1_g1: g1[2],
            delta2_g1: g1[n_singles - 1],
            beta_g2: g2[0],
            delta2_g2: g2[1],
            a_private: a.part(private.clone())?,
            b1_private: b1.part(private.clone())?,
            b2_private: b2.part(private)?,
            a,
            b1,
            b2,
            d1: match system {
                ProofSystem::Groth16 | ProofSystem::Halo2Kzg => Bases::from_points(Vec::new()),
                ProofSystem::UltraGroth => section(&file, SectionKind::D1, r1cs.n_committed())?,
            },
            d2: section(&file, SectionKind::D2, r1cs.n_private())?,
            h: section(&file, SectionKind::H, qap.n())?,
            file,
        })
    }

    /// Compares every section with its digest: what a prover does when its own check refused a proof, to tell a damaged key from
    /// a wrong witness. It need not be done before: a damaged section gives no proof that the check accepts, unless no scalar meets
    /// the damage.
    pub(crate) fn check_sections(&self) -> Result<(), KeyOpenError> {
        self.file.verify()
    }

    /// Tabulates sections, those that gain most first, in at most `max_bytes` in all; the bytes of the tables.
    pub(crate) fn tabulate(&self, device: &dyn Device, max_bytes: u64) -> Result<u64, DeviceError> {
        // The quotient is full-size. Of the wires only the inverses that no reduction took out are, and few of them meet B.
        let n_wires = self.a.len();
        let (some, few) = (n_wires / 16, n_wires / 128);
        let mut used = device.tabulate_g1(&self.h, self.h.len(), max_bytes)?;
        used += device.tabulate_g2(&self.b2, few, max_bytes.saturating_sub(used))?;
        used += device.tabulate_g1(&self.a, some, max_bytes.saturating_sub(used))?;
        used += device.tabulate_g1(&self.d2, some, max_bytes.saturating_sub(used))?;
        used += device.tabulate_g1(&self.b1, few, max_bytes.saturating_sub(used))?;
        Ok(used)
    }

    /// A, B and the part of the last element that both systems share, for blinding factors r and s:
    ///
    /// A = \[α\] + Σ a_j·A_j + r·\[δ2\], B = \[β\] + Σ a_j·B_j + s·\[δ2\] in both groups,
    /// C = Σ_private a_j·D2_j + Σ h_i·H_i + s·A + r·B1 − r·s·\[δ2\].
    ///
    /// Six steps.
    pub(crate) fn open(
        &self,
        device: &dyn Device,
        opened: &mut Opened<'_>,
        quotient: FrVec,
        [r, s]: [&Fr; 2],
        steps: &mut Steps<'_>,
    ) -> Result<Opening, ProveError> {
        let full = ScalarClass::Full;
        let mut c = device.msm_g1(&self.h, quotient.as_slice(), full)?;
        drop(quotient);
        steps.advance(1)?;
        let mut reduced = opened.trace.reduce(opened.wires);
        let n_wires = opened.wires.len();
        let lent = device.lend(mem::take(opened.wires), 0..n_wires)?;
        let wires = lent.part();
        let private = wires.slice(n_wires - self.d2.len()..n_wires)?;
        let mut folded = None;
        if let Some(y) = reduced.folded.take() {
            folded = Some(device.upload(y)?);
        }
        let mut grouped = None;
        if let Some(parts) = &mut reduced.grouped {
            let values = device.upload(mem::take(&mut parts.values))?;
            grouped = Some((&parts.groups, values));
        }
        let folded_g1 = |bases: &Bases<G1>| match &folded {
            Some(y) => Ok(device.msm_g1(bases, y.as_slice(), full)? * opened.alpha),
            None => Ok::<_, DeviceError>(G1Projective::zero()),
        };
        let grouped_g1 = |bases: &Bases<G1>| match &grouped {
            Some((groups, values)) => device.msm_grouped_g1(bases, groups, values.as_slice()),
            None => Ok(G1Projective::zero()),
        };
        let a = device.msm_g1(&self.a, wires, full)? + grouped_g1(&self.a_private)?;
        let a = a + self.alpha_g1 + self.delta2_g1 * r;
        steps.advance(1)?;
        c += device.msm_g1(&self.d2, private, full)? + folded_g1(&self.d2)? + grouped_g1(&self.d2)?;
        steps.advance(1)?;
        let b1 = device.msm_g1(&self.b1, wires, full)? + folded_g1(&self.b1_private)?;
        let b1 = b1 + self.beta_g1 + self.delta2_g1 * s;
        steps.advance(1)?;
        let mut b = device.msm_g2(&self.b2, wires, full)?;
        if let Some(y) = &folded {
            b += device.msm_g2(&self.b2_private, y.as_slice(), full)? * opened.alpha;
        }
        let b = b + self.beta_g2 + self.delta2_g2 * s;
        steps.advance(1)?;
        let rs = Zeroizing::new(*r * s);
        c += a * s + b1 * r - self.delta2_g1 * *rs;
        steps.advance(1)?;
        *opened.wires = device.take_back(lent)?;
        Ok(Opening { a, b, c })
    }
}

/// What an opening is computed from.
pub(crate) struct Opened<'a> {
    pub(crate) trace: &'a Trace<'a>,
    /// Every wire; afterwards without those that [`Trace::reduce`] takes out.
    pub(crate) wires: &'a mut Vec<Fr>,
    /// The challenge α'; anything in plain Groth16, where no wire is folded.
    pub(crate) alpha: Fr,
}

/// Steps of [`ProvingKey::open`].
pub(crate) const OPEN_STEPS: u64 = 6;

/// The elements that [`ProvingKey::open`] computes.
pub(crate) struct Opening {
    pub(crate) a: G1Projective,
    pub(crate) b: G2Projective,
    pub(crate) c: G1Projective,
}

/// Checks that the single points are those of the verifying key, in both groups.
///
/// r·\[δ2\] and s·\[δ2\] make A and B uniform and k·\[δ2\] makes C1 so, whatever the queries hold, if \[δ2\] is not infinite in either
/// group; the accepted equation fixes the rest. So an accepted proof shows nothing of the witness, whoever wrote the key file. What it may
/// still show is one bit: whether a proof was refused.
fn check_singles(g1: &[G1Affine], g2: &[G2Affine], vk: &VerifyingKey) -> Result<(), PrepareError> {
    let Some(groth) = vk.groth() else {
        return Err(PrepareError::Single { what: "system" });
    };
    let ensure = |holds: bool, what: &'static str| {
        if holds {
            Ok(())
        } else {
            Err(PrepareError::Single { what })
        }
    };
    ensure(g1[0] == groth.alpha_g1, "[α] in G1")?;
    ensure(g2[0] == groth.beta_g2, "[β] in G2")?;
    ensure(groth.deltas_g2.last() == Some(&g2[1]), "[δ2] in G2")?;
    let same = |left: &G1Affine, right: &G2Affine| {
        let pairs = [
            (*left, G2Affine::generator()),
            (-G1Affine::generator(), *right),
        ];
        let (left, right): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        pairs[0].0.is_on_curve() && Bn254::multi_pairing(left, right).is_zero()
    };
    ensure(same(&g1[1], &groth.beta_g2), "[β] in G1")?;
    ensure(g1.len() == 2 + groth.deltas_g2.len(), "number of δ's")?;
    for (delta_g1, delta_g2) in g1[2..].iter().zip(&groth.deltas_g2) {
        ensure(same(delta_g1, delta_g2), "[δ] in G1")?;
    }
    Ok(())
}

/// Maps a section of exactly `expected` points.
pub(crate) fn section<C: Curve>(
    file: &ProvingKeyFile,
    kind: SectionKind,
    expected: usize,
) -> Result<Bases<C>, PrepareError> {
    let section = file.section(kind)?;
    if section.count != expected as u64 {
        return Err(PrepareError::SectionCount {
            kind,
            expected,
            got: section.count,
        });
    }
    Ok(Bases::map(file.file(), section.offset, expected)?)
}

/// Checks that both keys are of `program` and of its circuit, and of each other.
pub(crate) fn check_identity(
    file: &ProvingKeyFile,
    vk: &VerifyingKey,
    program: &Program,
    circuit: [u8; 32],
    expected: ProofSystem,
) -> Result<(), PrepareError> {
    let header = file.header();
    for (what, got) in [("proving key", header.system), ("verifying key", vk.system)] {
        if got != expected {
            return Err(PrepareError::System {
                what,
                expected,
                got,
            });
        }
    }
    if header.setup != vk.setup {
        return Err(PrepareError::Setup {
            proving_key: header.setup,
            verifying_key: vk.setup,
        });
    }
    vk.check()?;
    for (what, expected, got) in [
        (
            "the program's digest in the proving key",
            program.digest(),
            header.program_digest,
        ),
        (
            "the circuit's digest in the proving key",
            circuit,
            header.circuit_digest,
        ),
        (
            "the circuit's digest in the verifying key",
            circuit,
            vk.circuit_digest,
        ),
        (
            "the verifying key's digest in the proving key",
            vk.digest(),
            header.vk_digest,
        ),
    ] {
        if expected != got {
            return Err(PrepareError::Digest {
                what,
                expected,
                got,
            });
        }
    }
    if vk.layout != *program.layout() {
        return Err(PrepareError::Layout);
    }
    Ok(())
}
