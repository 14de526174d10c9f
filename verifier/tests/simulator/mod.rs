//! # Proofs from a trapdoor
//! A key whose discrete logarithms are all known; proofs of any statement are then a division away. Test code only: this is the forgery
//! that a development key allows.
#![allow(dead_code, reason = "each test file uses its part")]

use ark_bn254::{Fr, G1Affine, G2Affine};
use ark_ec::{AffineRepr, CurveGroup};
use ark_ff::{Field, UniformRand};
use rand::{Rng, SeedableRng, rngs::StdRng};
use zkinfer_verifier::{
    Context, Dtype, GrothKey, KeyMaterial, Proof, ProofSystem, Role, Setup, Statement,
    StatementLayout, TensorSpec, VerifyingKey, Visibility,
    transcript::{challenges, evaluate_words},
};

pub const SYSTEMS: [ProofSystem; 2] = [ProofSystem::Groth16, ProofSystem::UltraGroth];

/// A key and the scalars behind its points.
#[derive(Debug, Clone)]
pub struct Simulator {
    pub key: VerifyingKey,
    alpha: Fr,
    beta: Fr,
    gamma: Fr,
    deltas: Vec<Fr>,
    ic: Vec<Fr>,
}

/// The points of a key.
pub fn groth(key: &VerifyingKey) -> &GrothKey {
    key.groth().expect("a key of groth16 or ultragroth")
}

/// The points of a key, to change them.
pub fn groth_mut(key: &mut VerifyingKey) -> &mut GrothKey {
    match &mut key.material {
        KeyMaterial::Groth(groth) => groth,
        KeyMaterial::Halo2Kzg(_) => panic!("a key of groth16 or ultragroth"),
    }
}

pub fn g1(scalar: Fr) -> G1Affine {
    (G1Affine::generator() * scalar).into_affine()
}

pub fn g2(scalar: Fr) -> G2Affine {
    (G2Affine::generator() * scalar).into_affine()
}

pub fn tensor(
    name: &str,
    role: Role,
    visibility: Visibility,
    shape: &[u32],
    dtype: Dtype,
) -> TensorSpec {
    TensorSpec {
        name: name.to_owned(),
        role,
        visibility,
        shape: shape.to_vec(),
        dtype,
        scale: 0.03125,
        zero_point: -3,
    }
}

/// An input and an output with `public_bytes` public bytes together.
pub fn layout(public_bytes: u32) -> StatementLayout {
    let tensors = match public_bytes {
        0 => vec![
            tensor("x", Role::Input, Visibility::Private, &[4], Dtype::Int8),
            tensor("y", Role::Output, Visibility::Private, &[2], Dtype::Int8),
        ],
        1..=10 => vec![
            tensor("x", Role::Input, Visibility::Private, &[4], Dtype::Int8),
            tensor(
                "y",
                Role::Output,
                Visibility::Public,
                &[1, public_bytes],
                Dtype::Int8,
            ),
        ],
        _ => vec![
            tensor(
                "x",
                Role::Input,
                Visibility::Public,
                &[1, public_bytes - 10],
                Dtype::Int8,
            ),
            tensor("y", Role::Output, Visibility::Public, &[1, 10], Dtype::Int8),
        ],
    };
    StatementLayout { tensors }
}

/// Hashed inputs, and an output with `public_bytes` public bytes or none.
pub fn hashed_layout(public_bytes: u32, n_hashed: usize) -> StatementLayout {
    let (int8, hashed) = (Dtype::Int8, Visibility::Hashed);
    let mut tensors: Vec<_> = (0..n_hashed)
        .map(|i| tensor(&format!("x{i}"), Role::Input, hashed, &[3], int8))
        .collect();
    let (shown, len) = match public_bytes {
        0 => (Visibility::Private, 2),
        len => (Visibility::Public, len),
    };
    tensors.push(tensor("y", Role::Output, shown, &[len], int8));
    StatementLayout { tensors }
}

impl Simulator {
    pub fn new(system: ProofSystem, setup: Setup, layout: StatementLayout, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut scalars = |n: usize| (0..n).map(|_| Fr::rand(&mut rng)).collect::<Vec<Fr>>();
        let (deltas, ic) = (
            scalars(system.n_deltas()),
            scalars(system.n_ic(layout.n_words())),
        );
        let [alpha, beta, gamma]: [Fr; 3] = scalars(3).try_into().expect("three scalars");
        let key = VerifyingKey {
            system,
            setup,
            model_id: [0x11; 32],
            circuit_digest: [0x22; 32],
            layout,
            material: KeyMaterial::Groth(GrothKey {
                alpha_g1: g1(alpha),
                beta_g2: g2(beta),
                gamma_g2: g2(gamma),
                deltas_g2: deltas.iter().map(|delta| g2(*delta)).collect(),
                ic: ic.iter().map(|scalar| g1(*scalar)).collect(),
            }),
        };
        Self {
            key,
            alpha,
            beta,
            gamma,
            deltas,
            ic,
        }
    }

    /// A random statement of the key's layout.
    pub fn statement(&self, seed: u64) -> Statement {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut context: [u8; 32] = rng.r#gen();
        context[0] >>= 3;
        let values: Vec<Vec<i64>> = self
            .key
            .layout
            .bound_tensors()
            .map(|(_, tensor)| {
                let range = tensor.dtype.min()..=tensor.dtype.max();
                (0..tensor.len())
                    .map(|_| rng.gen_range(range.clone()))
                    .collect()
            })
            .collect();
        let values: Vec<&[i64]> = values.iter().map(Vec::as_slice).collect();
        let context = Context::from_bytes(context).expect("shifted below 2^253");
        Statement::new(&self.key.layout, context, &values).expect("values of the dtype")
    }

    /// Makes an IC point the negative of another.
    pub fn oppose(&mut self, first: usize, second: usize) {
        self.ic[second] = -self.ic[first];
        let key = groth_mut(&mut self.key);
        key.ic[second] = -key.ic[first];
    }

    /// A proof of any statement, true or not.
    pub fn prove(&self, statement: &Statement, seed: u64) -> Proof {
        self.prove_words(&statement.words(), seed)
    }

    /// A proof of any words, those of a statement or not.
    pub fn prove_words(&self, words: &[Fr], seed: u64) -> Proof {
        let mut rng = StdRng::seed_from_u64(seed);
        let (a, b) = (Fr::rand(&mut rng), Fr::rand(&mut rng));
        let left = a * b - self.alpha * self.beta;
        let public = |inputs: &[Fr]| {
            self.ic[0]
                + self.ic[1..]
                    .iter()
                    .zip(inputs)
                    .map(|(ic, input)| *ic * input)
                    .sum::<Fr>()
        };
        let inverse = |scalar: Fr| scalar.inverse().expect("a random scalar is not zero");
        match self.key.system {
            ProofSystem::Groth16 => {
                let c = (left - self.gamma * public(words)) * inverse(self.deltas[0]);
                Proof::Groth16 {
                    a: g1(a),
                    b: g2(b),
                    c: g1(c),
                }
            }
            ProofSystem::Halo2Kzg => panic!("no trapdoor of halo2-kzg is simulated"),
            ProofSystem::UltraGroth => {
                let c1 = Fr::rand(&mut rng);
                let challenges = challenges(&self.key.digest(), words, &g1(c1));
                let e = evaluate_words(words, challenges.alpha);
                let public = public(&[challenges.rho, challenges.alpha, e]);
                let c2 =
                    (left - self.gamma * public - c1 * self.deltas[0]) * inverse(self.deltas[1]);
                Proof::UltraGroth {
                    a: g1(a),
                    b: g2(b),
                    c1: g1(c1),
                    c2: g1(c2),
                }
            }
        }
    }
}

/// A development key, a statement and its proof.
pub fn valid(system: ProofSystem, public_bytes: u32) -> (Simulator, Statement, Proof) {
    let simulator = Simulator::new(
        system,
        Setup::Development,
        layout(public_bytes),
        7 + u64::from(public_bytes),
    );
    let statement = simulator.statement(1);
    let proof = simulator.prove(&statement, 2);
    (simulator, statement, proof)
}

/// A point of G2's curve outside the subgroup of order r.
pub fn off_subgroup() -> G2Affine {
    let mut rng = StdRng::seed_from_u64(5);
    loop {
        let x = ark_bn254::Fq2::rand(&mut rng);
        if let Some(point) = G2Affine::get_point_from_x_unchecked(x, false)
            && !point.is_in_correct_subgroup_assuming_on_curve()
        {
            return point;
        }
    }
}

/// The base-field modulus, big-endian.
pub const Q: [u8; 32] = [
    0x30, 0x64, 0x4e, 0x72, 0xe1, 0x31, 0xa0, 0x29, 0xb8, 0x50, 0x45, 0xb6, 0x81, 0x81, 0x58, 0x5d,
    0x97, 0x81, 0x6a, 0x91, 0x68, 0x71, 0xca, 0x8d, 0x3c, 0x20, 0x8c, 0x16, 0xd8, 0x7c, 0xfd, 0x47,
];

/// The scalar-field modulus, big-endian.
pub const R: [u8; 32] = [
    0x30, 0x64, 0x4e, 0x72, 0xe1, 0x31, 0xa0, 0x29, 0xb8, 0x50, 0x45, 0xb6, 0x81, 0x81, 0x58, 0x5d,
    0x28, 0x33, 0xe8, 0x48, 0x79, 0xb9, 0x70, 0x91, 0x43, 0xe1, 0xf5, 0x93, 0xf0, 0x00, 0x00, 0x01,
];

/// Adds a modulus to the 32-byte word at `at`; `None` if the sum does not fit.
pub fn add_modulus(bytes: &[u8], at: usize, modulus: &[u8; 32]) -> Option<Vec<u8>> {
    let mut out = bytes.to_vec();
    let mut carry = 0;
    for i in (0..32).rev() {
        let sum = u16::from(out[at + i]) + u16::from(modulus[i]) + carry;
        out[at + i] = sum as u8;
        carry = sum >> 8;
    }
    (carry == 0).then_some(out)
}

/// Words that no statement of the layout has, each with the position of the bad one: a context of 2^253 and more, data of 2^248
/// and more, padding that is not zero.
pub fn non_canonical(layout: &StatementLayout, words: &[Fr]) -> Vec<(usize, Vec<Fr>)> {
    let power = |n: u64| Fr::from(2_u64).pow([n]);
    let n_packed = words.len() - layout.n_hashed();
    let spare = 8 * (31 * (n_packed - 1) - layout.public_bytes()) as u64;
    let mut bad = Vec::new();
    let mut push = |i: usize, word: Fr| {
        let mut changed = words.to_vec();
        changed[i] = word;
        bad.push((i, changed));
    };
    for (i, word) in words[..n_packed].iter().enumerate() {
        let bits = if i == 0 { 253 } else { 248 };
        push(i, power(bits));
        push(i, -Fr::from(1_u64));
        if i > 0 {
            push(i, *word + power(248));
            push(i, *word + power(252));
        }
    }
    for bit in [0, spare / 2, spare.saturating_sub(1)] {
        if bit < spare {
            push(n_packed - 1, words[n_packed - 1] + power(bit));
        }
    }
    bad
}

/// The greatest words of a statement of the layout.
pub fn greatest(layout: &StatementLayout) -> Vec<Fr> {
    let mut context = [0xff; 32];
    context[0] = 0x1f;
    Statement {
        context: Context::from_bytes(context).expect("below 2^253"),
        public_bytes: vec![0xff; layout.public_bytes()],
        digests: vec![-Fr::from(1_u64); layout.n_hashed()],
    }
    .words()
}

/// Every byte of `bytes` changed once, by xor with a random non-zero value.
pub fn each_byte_changed(bytes: &[u8], seed: u64) -> impl Iterator<Item = (usize, Vec<u8>)> + '_ {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..bytes.len()).map(move |i| {
        let mut changed = bytes.to_vec();
        changed[i] ^= rng.gen_range(1..=255_u8);
        (i, changed)
    })
}
