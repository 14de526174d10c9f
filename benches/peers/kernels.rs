//! Multiplications and transforms beside `ark-ec`, `halo2curves` and `ark-poly`.

use ark_bn254::{Fr, G1Affine, G1Projective, G2Affine, G2Projective};
use ark_ec::{AffineRepr, CurveGroup, VariableBaseMSM};
use ark_ff::PrimeField;
use ark_poly::{EvaluationDomain, Radix2EvaluationDomain};
use halo2curves_peer::CurveAffine;
use halo2curves_peer::bn256;
use halo2curves_peer::group::Curve as _;
use halo2curves_peer::msm::msm_best;
use zkinfer_gpu::testing::scalars;
use zkinfer_gpu::{
    Bases, Cpu, Device, Direction, Domain, FixedBase, FrVec, G1, G2, Points, PortableCpu,
    ScalarClass,
};

use super::{compare, keep};

const LOG_G1: u32 = 18;
const LOG_G2: u32 = 16;
const LOG_NTT: [u32; 2] = [16, 20];

fn element<F: halo2curves_peer::ff::PrimeField<Repr = R>, R: From<[u8; 32]>>(
    x: &impl PrimeField,
) -> F {
    let mut bytes = [0; 32];
    for (bytes, limb) in bytes.chunks_exact_mut(8).zip(x.into_bigint().as_ref()) {
        bytes.copy_from_slice(&limb.to_le_bytes());
    }
    F::from_repr(R::from(bytes)).expect("a canonical element of the same field")
}

fn peer_point(point: &G1Affine) -> bn256::G1Affine {
    if point.is_zero() {
        return bn256::G1Affine::default();
    }
    let (x, y) = (element(&point.x), element(&point.y));
    bn256::G1Affine::from_xy(x, y).expect("a point of the same curve")
}

/// Scalars of a class: full, or the low bits of full ones.
fn class(full: &[Fr], bits: u32) -> Vec<Fr> {
    let low = |s: &Fr| Fr::from(s.into_bigint().0[0] & ((1 << bits) - 1));
    match bits {
        0 => full.to_vec(),
        _ => full.iter().map(low).collect(),
    }
}

/// Multiplications in both groups.
pub(crate) fn multiplications(repeats: usize) {
    let n = 1 << LOG_G1;
    let full = scalars(1, n);
    // Random points: halo2curves gives up on an infinite one.
    let exponents = scalars(7, n);
    let (base_g1, base_g2) = (G1Affine::generator(), G2Affine::generator());
    let g1 = Cpu.fixed_base_g1(&FixedBase::new(base_g1, n), &exponents);
    let g1 = g1.expect("the host's memory");
    let g2 = Cpu.fixed_base_g2(&FixedBase::new(base_g2, n), &exponents[..1 << LOG_G2]);
    let g2 = g2.expect("the host's memory");
    let peer_g1: Vec<bn256::G1Affine> = g1.iter().map(peer_point).collect();
    let (bases_g1, bases_g2) = (
        Bases::<G1>::from_points(g1.clone()),
        Bases::<G2>::from_points(g2.clone()),
    );
    for (name, bits) in [
        ("full", 0),
        ("32 bits", 32),
        ("16 bits", 16),
        ("8 bits", 8),
        ("bits", 1),
    ] {
        let ours = class(&full, bits);
        let peers: Vec<bn256::Fr> = ours.iter().map(element).collect();
        let vector = Cpu.upload(ours.clone()).expect("the host's memory");
        let msm = |device: &dyn Device| {
            let result = device.msm_g1(&bases_g1, vector.as_slice(), ScalarClass::Full);
            result.expect("sound bases").into_affine()
        };
        let expected = G1Projective::msm_unchecked(&g1, &ours).into_affine();
        assert_eq!(msm(&Cpu), expected, "the same group element");
        assert_eq!(
            peer_point(&expected),
            msm_best(&peers, &peer_g1).to_affine()
        );
        let what = format!("MSM G1 2^{LOG_G1}, {name}");
        compare(
            &what,
            repeats,
            vec![
                ("zkinfer", Box::new(|| keep(msm(&Cpu)))),
                ("zkinfer, portable", Box::new(|| keep(msm(&PortableCpu)))),
                (
                    "ark-ec 0.6",
                    Box::new(|| keep(G1Projective::msm_unchecked(&g1, &ours))),
                ),
                (
                    "halo2curves 0.9",
                    Box::new(|| keep(msm_best(&peers, &peer_g1))),
                ),
            ],
        );
        let short = &ours[..1 << LOG_G2];
        let vector = Cpu.upload(short.to_vec()).expect("the host's memory");
        let msm = |device: &dyn Device| {
            let result = device.msm_g2(&bases_g2, vector.as_slice(), ScalarClass::Full);
            result.expect("sound bases").into_affine()
        };
        assert_eq!(
            msm(&Cpu),
            G2Projective::msm_unchecked(&g2, short).into_affine()
        );
        let what = format!("MSM G2 2^{LOG_G2}, {name}");
        compare(
            &what,
            repeats,
            vec![
                ("zkinfer", Box::new(|| keep(msm(&Cpu)))),
                ("zkinfer, portable", Box::new(|| keep(msm(&PortableCpu)))),
                (
                    "ark-ec 0.6",
                    Box::new(|| keep(G2Projective::msm_unchecked(&g2, short))),
                ),
            ],
        );
    }
}

/// Transforms of the scalar field, in place, natural order.
pub(crate) fn transforms(repeats: usize) {
    for log in LOG_NTT {
        let n = 1usize << log;
        let values = scalars(2, n);
        let domain = Domain::new(n).expect("a small domain");
        let ark = Radix2EvaluationDomain::<Fr>::new(n).expect("a small domain");
        let upload = || Cpu.upload(values.clone()).expect("the host's memory");
        let ntt = |vector: &mut FrVec| {
            Cpu.ntt(vector, &domain, Direction::Forward, Points::Subgroup)
                .expect("a vector of the domain's length");
        };
        let mut once = upload();
        ntt(&mut once);
        assert_eq!(
            Cpu.download(once).expect("the host's memory"),
            ark.fft(&values)
        );
        let (mut vector, mut other) = (upload(), values.clone());
        compare(
            &format!("NTT 2^{log}"),
            repeats,
            vec![
                ("zkinfer", Box::new(|| ntt(&mut vector))),
                ("ark-poly 0.6", Box::new(|| ark.fft_in_place(&mut other))),
            ],
        );
        let coset = ark
            .get_coset(ark_ff::FftField::GENERATOR)
            .expect("not zero");
        let (mut vector, mut other) = (upload(), values.clone());
        compare(
            &format!("values on H to values on g·H, 2^{log}"),
            repeats,
            vec![
                (
                    "zkinfer",
                    Box::new(|| {
                        Cpu.to_coset(&mut vector, &domain)
                            .expect("the domain's length")
                    }),
                ),
                (
                    "ark-poly 0.6",
                    Box::new(|| {
                        ark.ifft_in_place(&mut other);
                        coset.fft_in_place(&mut other);
                    }),
                ),
            ],
        );
    }
}
