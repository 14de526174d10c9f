//! # Keys whose secrets are known, and proofs of anything under them
//! For tests and benchmarks: the forgery that a development key allows gives honest-looking proofs of every size. Of `halo2-kzg` there are
//! only descriptions and noise of the right form: verifying it takes the same steps up to the last pairing, which fails.

use alloc::{string::String, vec, vec::Vec};

use ark_ec::{AdditiveGroup, AffineRepr, CurveGroup, PrimeGroup};
use ark_ff::Field;
use zkinfer_verifier::{
    Context, Dtype, Fr, G1Affine, G2Affine, GrothKey, KeyMaterial, Proof, ProofSystem, Role, Setup,
    Statement, StatementLayout, TensorSpec, VerifyingKey, Visibility,
    curve::{scalar_mod_order, scalar_to_bytes, write_g1},
    halo2_kzg::{Op, Protocol, Query},
    keccak256,
    transcript::{challenges, evaluate_words},
};

/// A tensor with a name of three bytes and no dimensions, encoded: tags 3, name 2 + 3, dimensions 1, scale 8, zero point 8.
const SMALL_TENSOR_BYTES: u32 = 25;

/// A stream of scalars from a seed.
#[derive(Debug)]
struct Scalars([u8; 32]);

impl Scalars {
    fn next(&mut self) -> Fr {
        self.0 = keccak256(&self.0);
        scalar_mod_order(&self.0)
    }

    fn take(&mut self, n: usize) -> Vec<Fr> {
        (0..n).map(|_| self.next()).collect()
    }
}

/// A key and the scalars behind its points.
#[derive(Debug, Clone)]
pub struct Simulator {
    /// The key.
    pub key: VerifyingKey,
    alpha: Fr,
    beta: Fr,
    gamma: Fr,
    deltas: Vec<Fr>,
    ic: Vec<Fr>,
}

fn g1(scalar: Fr) -> G1Affine {
    (G1Affine::generator() * scalar).into_affine()
}

fn g2(scalar: Fr) -> G2Affine {
    (G2Affine::generator() * scalar).into_affine()
}

fn tensor(name: String, visibility: Visibility, elements: u32) -> TensorSpec {
    TensorSpec {
        name,
        role: Role::Output,
        visibility,
        shape: vec![1, elements],
        dtype: Dtype::Int8,
        scale: 0.03125,
        zero_point: -3,
    }
}

/// A statement of `words` words, 1 at least, and about `filler` more bytes of layout: as many tensors as they make, which nobody sees.
#[must_use]
pub fn layout(words: u32, filler: u32) -> StatementLayout {
    let mut tensors = Vec::new();
    if let Some(bytes) = words.saturating_sub(1).checked_mul(31).filter(|n| *n > 0) {
        tensors.push(tensor("y".into(), Visibility::Public, bytes));
    }
    for i in 0..filler / SMALL_TENSOR_BYTES {
        tensors.push(TensorSpec {
            shape: Vec::new(),
            ..tensor(alloc::format!("{i:03x}"), Visibility::Private, 1)
        });
    }
    if tensors.is_empty() {
        tensors.push(tensor("y".into(), Visibility::Private, 1));
    }
    StatementLayout { tensors }
}

/// As [`layout`], and a digest for each of `n_hashed` tensors.
#[must_use]
pub fn hashed_layout(words: u32, filler: u32, n_hashed: u32) -> StatementLayout {
    let mut layout = layout(words, filler);
    layout
        .tensors
        .extend((0..n_hashed).map(|i| tensor(alloc::format!("h{i:02x}"), Visibility::Hashed, 1)));
    layout
}

fn key(system: ProofSystem, layout: StatementLayout, material: KeyMaterial) -> VerifyingKey {
    VerifyingKey {
        system,
        // As a ceremony's would look, so that every runtime takes it.
        setup: Setup::Ceremony,
        model_id: [0x11; 32],
        circuit_digest: [0x22; 32],
        layout,
        material,
    }
}

impl Simulator {
    /// A key of `groth16` or `ultragroth` for statements of this layout.
    #[must_use]
    pub fn new(system: ProofSystem, layout: StatementLayout, seed: u8) -> Self {
        let mut scalars = Scalars([seed; 32]);
        let deltas = scalars.take(system.n_deltas());
        let ic = scalars.take(system.n_ic(layout.n_words()));
        let (alpha, beta, gamma) = (scalars.next(), scalars.next(), scalars.next());
        let material = KeyMaterial::Groth(GrothKey {
            alpha_g1: g1(alpha),
            beta_g2: g2(beta),
            gamma_g2: g2(gamma),
            deltas_g2: deltas.iter().map(|delta| g2(*delta)).collect(),
            ic: ic.iter().map(|scalar| g1(*scalar)).collect(),
        });
        Self {
            key: key(system, layout, material),
            alpha,
            beta,
            gamma,
            deltas,
            ic,
        }
    }

    /// The key, as if this set-up had made it.
    #[must_use]
    pub fn key_with_setup(&self, setup: Setup) -> VerifyingKey {
        VerifyingKey {
            setup,
            ..self.key.clone()
        }
    }

    /// A statement of the key's layout.
    #[must_use]
    pub fn statement(&self, seed: u8) -> Statement {
        statement(&self.key.layout, seed)
    }

    /// A proof of a statement, true or not. Empty for `halo2-kzg`, whose keys this type does not make.
    #[must_use]
    pub fn prove(&self, statement: &Statement, seed: u8) -> Vec<u8> {
        let mut scalars = Scalars([seed; 32]);
        let words = statement.words();
        let (a, b) = (scalars.next(), scalars.next());
        let left = a * b - self.alpha * self.beta;
        let public = |inputs: &[Fr]| {
            let combined = self.ic.iter().skip(1).zip(inputs);
            combined.fold(
                self.ic.first().copied().unwrap_or_default(),
                |sum, (ic, input)| sum + *ic * input,
            )
        };
        let over = |at: usize| {
            self.deltas
                .get(at)
                .and_then(Field::inverse)
                .unwrap_or_default()
        };
        let proof = match self.key.system {
            ProofSystem::Groth16 => Proof::Groth16 {
                a: g1(a),
                b: g2(b),
                c: g1((left - self.gamma * public(&words)) * over(0)),
            },
            ProofSystem::UltraGroth => {
                let c1 = scalars.next();
                let challenges = challenges(&self.key.digest(), &words, &g1(c1));
                let e = evaluate_words(&words, challenges.alpha);
                let public = public(&[challenges.rho, challenges.alpha, e]);
                let committed = self.deltas.first().copied().unwrap_or_default() * c1;
                Proof::UltraGroth {
                    a: g1(a),
                    b: g2(b),
                    c1: g1(c1),
                    c2: g1((left - self.gamma * public - committed) * over(1)),
                }
            }
            ProofSystem::Halo2Kzg => return Vec::new(),
        };
        proof.to_bytes()
    }
}

/// A statement of a layout.
#[must_use]
pub fn statement(layout: &StatementLayout, seed: u8) -> Statement {
    let mut context = keccak256(&[seed]);
    context[0] >>= 3;
    Statement {
        context: Context::from_bytes(context).unwrap_or_default(),
        public_bytes: vec![seed; layout.public_bytes()],
        digests: Scalars([seed; 32]).take(layout.n_hashed()),
    }
}

/// A key of `halo2-kzg` whose proofs take at least `points` points and `operations` operations of the gate program.
#[must_use]
pub fn halo2_key(points: u32, operations: u32, layout: StatementLayout) -> VerifyingKey {
    // Beside the fixed columns: one of advice, R, two quotient pieces, G, W, W'.
    let n_fixed = u16::try_from(points.saturating_sub(7).clamp(1, 256)).unwrap_or(u16::MAX);
    let mut gates = vec![Op::Instance, Op::End];
    for at in 0..operations.div_ceil(4) {
        let query = u16::try_from(at % u32::from(n_fixed)).unwrap_or_default();
        gates.extend([Op::Fixed(query), Op::Challenge(0), Op::Mul, Op::End]);
    }
    let query = |column| Query {
        column,
        rotation: 0,
    };
    let protocol = Protocol {
        k: 20,
        degree: 3,
        blinding_factors: 5,
        advice_phases: vec![0],
        challenge_phases: vec![0],
        advice_queries: vec![query(0)],
        fixed_queries: (0..n_fixed).map(query).collect(),
        permuted: Vec::new(),
        gates,
        transcript_repr: Fr::from(99_u64),
        fixed: (1..=u64::from(n_fixed)).map(|i| g1(Fr::from(i))).collect(),
        sigma: Vec::new(),
        s_g2: g2(Fr::from(11_u64)),
    };
    key(
        ProofSystem::Halo2Kzg,
        layout,
        KeyMaterial::Halo2Kzg(protocol),
    )
}

/// Bytes with the form of a proof under a key of [`halo2_key`]: points on the curve, scalars below the order.
#[must_use]
pub fn halo2_noise(key: &VerifyingKey) -> Vec<u8> {
    let Some(protocol) = key.halo2_kzg() else {
        return Vec::new();
    };
    let mut point = <G1Affine as AffineRepr>::Group::generator();
    let mut bytes = Vec::new();
    let mut write_points = |bytes: &mut Vec<u8>, n: usize| {
        for _ in 0..n {
            point.double_in_place();
            write_g1(bytes, &point.into_affine());
        }
    };
    write_points(&mut bytes, protocol.n_commitments());
    let mut scalars = Scalars([5; 32]);
    for _ in 0..protocol.n_evals() {
        bytes.extend_from_slice(&scalar_to_bytes(scalars.next()));
    }
    write_points(&mut bytes, 2);
    bytes
}
