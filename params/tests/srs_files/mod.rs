//! `.ptau` files of a known τ, written as snarkjs writes them.

use ark_bn254::{Fq, Fr, G1Affine, G1Projective, G2Affine, G2Projective};
use ark_ec::{AffineRepr, CurveGroup, PrimeGroup};
use ark_ff::{FftField, Field, PrimeField};
use sha2::{Digest, Sha256};
use zkinfer_params::dev_setup::Trapdoor;
use zkinfer_params::srs::Ceremonies;

/// What a `.ptau` file holds, to be changed before it is written.
#[derive(Clone)]
pub struct Ptau {
    pub modulus: Vec<u8>,
    pub power: u32,
    pub ceremony: u32,
    pub g1: Vec<G1Affine>,
    pub g2: Vec<G2Affine>,
    /// The Lagrange forms of a prepared file.
    pub lagrange: Option<Vec<G1Affine>>,
}

pub fn trapdoor() -> Trapdoor {
    Trapdoor::insecure_from_seed_for_tests(33)
}

impl Ptau {
    /// The file of the tests' τ.
    pub fn new(power: u32) -> Self {
        let tau = trapdoor().tau;
        let g = G1Projective::generator();
        let n = 1u64 << power;
        let powers = |n: u64| (0..n).map(|i| tau.pow([i])).collect::<Vec<Fr>>();
        let lagrange = (0..=power).flat_map(|l| {
            let n = 1u64 << l;
            let omega = Fr::get_root_of_unity(n).unwrap();
            (0..n).map(move |i| {
                let root = omega.pow([i]);
                root * (tau.pow([n]) - Fr::from(1u64)) / (Fr::from(n) * (tau - root))
            })
        });
        let mut lagrange: Vec<G1Affine> = lagrange.map(|l| (g * l).into_affine()).collect();
        // The form of twice as many powers, which nobody reads.
        lagrange.extend(std::iter::repeat_n(G1Affine::generator(), 2 * n as usize));
        Self {
            modulus: Fq::MODULUS.0.iter().flat_map(|l| l.to_le_bytes()).collect(),
            power,
            ceremony: 28,
            g1: powers(2 * n - 1)
                .iter()
                .map(|p| (g * p).into_affine())
                .collect(),
            g2: powers(n)
                .iter()
                .map(|p| (G2Projective::generator() * p).into_affine())
                .collect(),
            lagrange: Some(lagrange),
        }
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut header = (self.modulus.len() as u32).to_le_bytes().to_vec();
        header.extend_from_slice(&self.modulus);
        header.extend_from_slice(&self.power.to_le_bytes());
        header.extend_from_slice(&self.ceremony.to_le_bytes());
        let mut sections = vec![
            (1u32, header),
            (2, self.g1.iter().flat_map(g1).collect()),
            (3, self.g2.iter().flat_map(g2).collect()),
            (4, vec![4; 640]),
            (7, vec![0; 4]),
        ];
        if let Some(lagrange) = &self.lagrange {
            sections.push((12, lagrange.iter().flat_map(g1).collect()));
            sections.push((13, vec![13; 100]));
        }
        file(&sections)
    }
}

/// A `.ptau` file of these sections.
pub fn file(sections: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = b"ptau".to_vec();
    bytes.extend_from_slice(&1u32.to_le_bytes());
    bytes.extend_from_slice(&(sections.len() as u32).to_le_bytes());
    for (kind, content) in sections {
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(&(content.len() as u64).to_le_bytes());
        bytes.extend_from_slice(content);
    }
    bytes
}

fn limbs(value: &Fq) -> Vec<u8> {
    value.0.0.iter().flat_map(|l| l.to_le_bytes()).collect()
}

/// A raw point.
pub fn g1(point: &G1Affine) -> Vec<u8> {
    point
        .xy()
        .map_or(vec![0; 64], |(x, y)| [limbs(&x), limbs(&y)].concat())
}

fn g2(point: &G2Affine) -> Vec<u8> {
    let (x, y) = point.xy().unwrap();
    [&x.c0, &x.c1, &y.c0, &y.c1].map(limbs).concat()
}

/// A list that knows exactly this file.
pub fn knows(bytes: &[u8]) -> Ceremonies {
    let digest: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut list = Ceremonies::none();
    list.add("the test's ceremony", &digest).unwrap();
    list
}
