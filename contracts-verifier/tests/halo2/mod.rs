//! # Proofs of halo2-kzg from a trapdoor
//! Every commitment has a known discrete logarithm, so any evaluations can be opened: the last opening commitment is a division away.
//! The equations are written here once more, without batching, from the paper and the halo2 book. Test code only: this is the forgery that
//! a development reference string allows.
#![allow(dead_code, reason = "each test file uses its part")]

use ark_bn254::{Fr, G1Affine};
use ark_ff::{Field, PrimeField, UniformRand, Zero};
use rand::{Rng, SeedableRng, rngs::StdRng};
use zkinfer_contracts::{
    Solidity, Target, creation_code,
    evm::{Deployed, Evm, EvmError},
    solidity::DEVELOPMENT_CHAIN_ID,
};
use zkinfer_verifier::{
    Context, KeyMaterial, Proof, ProofSystem, Setup, Statement, StatementLayout, VerifyingKey,
    curve::{scalar_to_bytes, write_g1},
    halo2_kzg::{Column, Eval, Op, Poly, Protocol, Query},
    keccak256,
};

use crate::{
    simulator::{g1, g2, layout},
    solc::{EMBEDDED, compile},
    vectors::{Call, selector, word},
};

/// What kind of circuit is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One phase, one advice column, no permutation: the least there is.
    Least,
    /// Two phases, rotations back and forth, all kinds of permuted columns, an empty fixed column.
    Small,
    /// Three phases, columns of phases mixed, many rotations, three products.
    Large,
    /// What a lowered model looks like: for gas figures.
    Model,
}

pub const SHAPES: [Shape; 4] = [Shape::Least, Shape::Small, Shape::Large, Shape::Model];

/// A key and the scalars behind its points.
#[derive(Debug, Clone)]
pub struct Halo2Simulator {
    pub key: VerifyingKey,
    pub protocol: Protocol,
    s: Fr,
    fixed: Vec<Fr>,
    sigma: Vec<Fr>,
}

fn queries(columns: &[&[i32]]) -> Vec<Query> {
    let columns = columns.iter().zip(0..);
    columns
        .flat_map(|(rotations, column)| {
            rotations.iter().map(move |rotation| Query {
                column,
                rotation: *rotation,
            })
        })
        .collect()
}

fn draw(shape: Shape, rng: &mut StdRng) -> (Protocol, Vec<Fr>, Vec<Fr>, Fr) {
    use Column::{Advice, Fixed, Instance};
    let (k, degree, blinding, phases, challenges): (u8, u8, u8, &[u8], &[u8]) = match shape {
        Shape::Least => (6, 3, 5, &[0], &[]),
        Shape::Small => (7, 4, 6, &[0, 0, 1], &[0, 0]),
        Shape::Large => (9, 6, 8, &[1, 0, 2, 0, 1, 0, 2], &[1, 0, 2, 1]),
        Shape::Model => (15, 5, 5, &[0, 0, 0, 0, 1, 1, 1, 1], &[0, 0, 0]),
    };
    let advice: &[&[i32]] = match shape {
        Shape::Least => &[&[0]],
        Shape::Small => &[&[0], &[-1, 0, 1], &[0, 1]],
        Shape::Large => &[&[0, 1], &[1, 0], &[0], &[2, 0, -3, 1, -9], &[0], &[], &[-1]],
        Shape::Model => &[
            &[0],
            &[0],
            &[0],
            &[0],
            &[0, 1],
            &[0, 1],
            &[0, 1, 2],
            &[0, 1],
        ],
    };
    let fixed: &[&[i32]] = match shape {
        Shape::Least => &[],
        Shape::Small => &[&[0], &[0, 1], &[0]],
        Shape::Large => &[&[0], &[3], &[0, 1], &[], &[0, 1, 2]],
        Shape::Model => &[&[0_i32] as &[i32]; 11],
    };
    let permuted = match shape {
        Shape::Least => vec![],
        Shape::Small => vec![Advice(0), Instance, Fixed(2), Advice(2)],
        Shape::Large => vec![
            Advice(0),
            Advice(1),
            Advice(2),
            Fixed(0),
            Instance,
            Advice(3),
            Fixed(4),
            Fixed(2),
            Advice(4),
        ],
        Shape::Model => vec![Advice(0), Advice(1), Instance, Advice(2)],
    };
    let advice_queries = queries(advice);
    let fixed_queries = queries(fixed);
    let n_constraints = match shape {
        Shape::Least => 1,
        Shape::Small => 5,
        Shape::Large => 30,
        Shape::Model => 16,
    };
    let mut gates = Vec::new();
    for i in 0..n_constraints {
        // A sum of products, each of at most `degree` factors.
        let n_terms = if i == 0 { 2 } else { rng.gen_range(1..=3) };
        for term in 0..n_terms {
            for factor in 0..rng.gen_range(1..=usize::from(degree)) {
                let op = match rng.gen_range(0..10) {
                    _ if i + term + factor == 0 => Op::Instance,
                    0 => Op::Const(Fr::rand(rng)),
                    1 if !challenges.is_empty() => {
                        Op::Challenge(rng.gen_range(0..challenges.len() as u16))
                    }
                    2..=4 if !fixed_queries.is_empty() => {
                        Op::Fixed(rng.gen_range(0..fixed_queries.len() as u16))
                    }
                    _ => Op::Advice(rng.gen_range(0..advice_queries.len() as u16)),
                };
                gates.push(op);
                match rng.gen_range(0..12) {
                    0 => gates.push(Op::Neg),
                    1 => gates.push(Op::Scale(
                        Fr::from(rng.gen_range(0..5_u64)) - Fr::from(1_u64),
                    )),
                    2 => gates.extend([Op::Const(Fr::from(1_u64)), Op::Add]),
                    3 => gates.extend([Op::Const(-Fr::from(2_u64)), Op::Neg, Op::Add]),
                    _ => {}
                }
                if factor > 0 {
                    gates.push(Op::Mul);
                }
            }
            if term > 0 {
                gates.push(if rng.r#gen() {
                    Op::Neg
                } else {
                    Op::Scale(Fr::from(7_u64))
                });
                gates.push(Op::Add);
            }
        }
        gates.push(Op::End);
    }
    let scalars = |rng: &mut StdRng, n: usize| (0..n).map(|_| Fr::rand(rng)).collect::<Vec<Fr>>();
    let mut fixed = scalars(rng, fixed.len());
    if shape == Shape::Small {
        fixed[0] = Fr::zero();
    }
    let sigma = scalars(rng, permuted.len());
    let s = Fr::rand(rng);
    let protocol = Protocol {
        k,
        degree,
        blinding_factors: blinding,
        advice_phases: phases.to_vec(),
        challenge_phases: challenges.to_vec(),
        advice_queries,
        fixed_queries,
        permuted,
        gates,
        transcript_repr: Fr::rand(rng),
        fixed: fixed.iter().map(|scalar| g1(*scalar)).collect(),
        sigma: sigma.iter().map(|scalar| g1(*scalar)).collect(),
        s_g2: g2(s),
    };
    (protocol, fixed, sigma, s)
}

/// The transcript, written again from its description.
struct Hasher {
    buffer: Vec<u8>,
    fresh: bool,
}

impl Hasher {
    fn absorb(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.fresh = true;
    }

    fn squeeze(&mut self) -> Fr {
        if !self.fresh {
            self.buffer.push(1);
        }
        let hash = keccak256(&self.buffer);
        self.buffer = hash.to_vec();
        self.fresh = false;
        Fr::from_be_bytes_mod_order(&hash)
    }
}

/// Bytes of a proof being made, and what has been committed to.
struct Proving {
    hasher: Hasher,
    bytes: Vec<u8>,
    rng: StdRng,
}

impl Proving {
    fn point(&mut self, log: Fr) -> Fr {
        let point: G1Affine = g1(log);
        let mut bytes = Vec::new();
        write_g1(&mut bytes, &point);
        self.hasher.absorb(&bytes);
        self.bytes.extend_from_slice(&bytes);
        log
    }

    fn commit(&mut self) -> Fr {
        let log = Fr::rand(&mut self.rng);
        self.point(log)
    }

    fn scalar(&mut self) -> Fr {
        let value = Fr::rand(&mut self.rng);
        let bytes = scalar_to_bytes(value);
        self.hasher.absorb(&bytes);
        self.bytes.extend_from_slice(&bytes);
        value
    }
}

impl Halo2Simulator {
    pub fn new(shape: Shape, setup: Setup, public_bytes: u32, seed: u64) -> Self {
        Self::of_layout(shape, setup, layout(public_bytes), seed)
    }

    /// A key for statements of any layout.
    pub fn of_layout(shape: Shape, setup: Setup, layout: StatementLayout, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let (protocol, fixed, sigma, s) = draw(shape, &mut rng);
        let key = VerifyingKey {
            system: ProofSystem::Halo2Kzg,
            setup,
            model_id: [0x11; 32],
            circuit_digest: [0x22; 32],
            layout,
            material: KeyMaterial::Halo2Kzg(protocol.clone()),
        };
        key.check().expect("a good key");
        Self {
            key,
            protocol,
            s,
            fixed,
            sigma,
        }
    }

    /// A random statement of the key's layout.
    pub fn statement(&self, seed: u64) -> Statement {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut context: [u8; 32] = rng.r#gen();
        context[0] >>= 3;
        let public_bytes = (0..self.key.layout.public_bytes()).map(|_| rng.r#gen());
        Statement {
            context: Context::from_bytes(context).expect("shifted below 2^253"),
            public_bytes: public_bytes.collect(),
            digests: (0..self.key.layout.n_hashed())
                .map(|_| Fr::rand(&mut rng))
                .collect(),
        }
    }

    pub fn prove(&self, statement: &Statement, seed: u64) -> Proof {
        self.prove_words(&statement.words(), seed)
    }

    /// A proof of any words.
    pub fn prove_words(&self, words: &[Fr], seed: u64) -> Proof {
        let written: Vec<_> = words.iter().map(|word| scalar_to_bytes(*word)).collect();
        self.prove_written(&written, seed)
    }

    /// A proof of words that the transcript absorbs as they are written here, less than the order of the field or not.
    pub fn prove_written(&self, written: &[[u8; 32]], seed: u64) -> Proof {
        let p = &self.protocol;
        let words = written.iter().map(|word| Fr::from_be_bytes_mod_order(word));
        let one = Fr::from(1_u64);
        let hasher = Hasher {
            buffer: Vec::new(),
            fresh: true,
        };
        let mut proving = Proving {
            hasher,
            bytes: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
        };
        proving.hasher.absorb(b"zkinfer/halo2-kzg/transcript/v1\0");
        proving.hasher.absorb(&self.key.digest());
        proving.hasher.absorb(&scalar_to_bytes(p.transcript_repr));
        for word in written {
            proving.hasher.absorb(word);
        }
        let mut advice = vec![Fr::zero(); p.advice_phases.len()];
        let mut challenges = vec![Fr::zero(); p.challenge_phases.len()];
        for phase in 0..=*p.advice_phases.iter().max().expect("a column") {
            for column in (0..advice.len()).filter(|column| p.advice_phases[*column] == phase) {
                advice[column] = proving.commit();
            }
            for i in (0..challenges.len()).filter(|i| p.challenge_phases[*i] == phase) {
                challenges[i] = proving.hasher.squeeze();
            }
        }
        let _theta = proving.hasher.squeeze();
        let beta = proving.hasher.squeeze();
        let gamma = proving.hasher.squeeze();
        let chunk_len = usize::from(p.degree) - 2;
        let n_products = p.permuted.len().div_ceil(chunk_len);
        let products: Vec<Fr> = (0..n_products).map(|_| proving.commit()).collect();
        let random = proving.commit();
        let y = proving.hasher.squeeze();
        let pieces: Vec<Fr> = (1..p.degree).map(|_| proving.commit()).collect();
        let x = proving.hasher.squeeze();
        let advice_evals: Vec<Fr> = p.advice_queries.iter().map(|_| proving.scalar()).collect();
        let fixed_evals: Vec<Fr> = p.fixed_queries.iter().map(|_| proving.scalar()).collect();
        let random_eval = proving.scalar();
        let sigma_evals: Vec<Fr> = p.permuted.iter().map(|_| proving.scalar()).collect();
        let product_evals: Vec<[Fr; 3]> = (0..n_products)
            .map(|i| {
                let (now, next) = (proving.scalar(), proving.scalar());
                let last = if i + 1 < n_products {
                    proving.scalar()
                } else {
                    Fr::zero()
                };
                [now, next, last]
            })
            .collect();

        // The quotient's claimed value.
        let n = Fr::from(1_u64 << p.k);
        let x_n = x.pow([1_u64 << p.k]);
        let root = zkinfer_verifier::halo2_kzg::omega(p);
        let at = |rotation: i32| {
            let power = root.pow([u64::from(rotation.unsigned_abs())]);
            if rotation < 0 {
                power.inverse().expect("a root")
            } else {
                power
            }
        };
        let lagrange = |row: i32| {
            let root = at(row);
            (x_n - one) * root / (n * (x - root))
        };
        let instance: Fr = words.zip(0..).map(|(word, row)| word * lagrange(row)).sum();
        let blinding = i32::from(p.blinding_factors);
        let l_0 = lagrange(0);
        let l_last = lagrange(-blinding - 1);
        let l_blind: Fr = (1..=blinding).map(|row| lagrange(-row)).sum();
        let mut constraints = Vec::new();
        let mut stack: Vec<Fr> = Vec::new();
        for op in &p.gates {
            let mut pop = || stack.pop().expect("a checked program");
            let value = match op {
                Op::Const(value) => *value,
                Op::Fixed(query) => fixed_evals[usize::from(*query)],
                Op::Advice(query) => advice_evals[usize::from(*query)],
                Op::Instance => instance,
                Op::Challenge(i) => challenges[usize::from(*i)],
                Op::Neg => -pop(),
                Op::Add => pop() + pop(),
                Op::Mul => pop() * pop(),
                Op::Scale(factor) => pop() * factor,
                Op::End => {
                    constraints.push(pop());
                    continue;
                }
            };
            stack.push(value);
        }
        if n_products > 0 {
            constraints.push(l_0 * (one - product_evals[0][0]));
            let last = product_evals[n_products - 1][0];
            constraints.push(l_last * (last * last - last));
            for i in 1..n_products {
                constraints.push(l_0 * (product_evals[i][0] - product_evals[i - 1][2]));
            }
            let value = |column: &Column| {
                let find = |queries: &[Query], column: u16| {
                    let wanted = Query {
                        column,
                        rotation: 0,
                    };
                    queries
                        .iter()
                        .position(|query| *query == wanted)
                        .expect("queried")
                };
                match column {
                    Column::Advice(i) => advice_evals[find(&p.advice_queries, *i)],
                    Column::Fixed(i) => fixed_evals[find(&p.fixed_queries, *i)],
                    Column::Instance => instance,
                }
            };
            let delta = Fr::from(7_u64).pow([1_u64 << 28]);
            for (i, chunk) in p.permuted.chunks(chunk_len).enumerate() {
                let (mut left, mut right) = (product_evals[i][1], product_evals[i][0]);
                for (j, column) in chunk.iter().enumerate() {
                    let j = i * chunk_len + j;
                    left *= value(column) + beta * sigma_evals[j] + gamma;
                    right *= value(column) + beta * delta.pow([j as u64]) * x + gamma;
                }
                constraints.push((one - l_last - l_blind) * (left - right));
            }
        }
        let numerator = constraints
            .iter()
            .fold(Fr::zero(), |sum, value| sum * y + value);
        let quotient_eval = numerator / (x_n - one);
        let quotient = pieces
            .iter()
            .rev()
            .fold(Fr::zero(), |sum, log| sum * x_n + log);

        // The opening: discrete logarithm of F, then W'.
        let evals: Vec<Fr> = [
            advice_evals,
            fixed_evals,
            vec![random_eval],
            sigma_evals,
            product_evals.concat(),
        ]
        .concat();
        let fold = proving.hasher.squeeze();
        let v = proving.hasher.squeeze();
        let w = proving.commit();
        let u = proving.hasher.squeeze();
        let sets = p.openings();
        let distance = |rotation: &i32| u - x * at(*rotation);
        let mut all: Vec<i32> = sets.iter().flat_map(|set| set.rotations.clone()).collect();
        all.sort_unstable();
        all.dedup();
        let outside = |rotations: &[i32]| -> Fr {
            let others = all.iter().filter(|rotation| !rotations.contains(rotation));
            others.map(distance).product()
        };
        let mut total = Fr::zero();
        for (set, i) in sets.iter().zip(0_u64..) {
            let mut sum = Fr::zero();
            for ((poly, claims), j) in set.polys.iter().zip(0_u64..) {
                let log = match *poly {
                    Poly::Advice(i) => advice[usize::from(i)],
                    Poly::Fixed(i) => self.fixed[usize::from(i)],
                    Poly::Product(i) => products[usize::from(i)],
                    Poly::Sigma(i) => self.sigma[usize::from(i)],
                    Poly::Quotient => quotient,
                    Poly::Random => random,
                };
                let mut value = Fr::zero();
                for (rotation, claim) in set.rotations.iter().zip(claims) {
                    let mut term = match claim {
                        Eval::Given(i) => evals[*i],
                        Eval::Quotient => quotient_eval,
                    };
                    for other in set.rotations.iter().filter(|other| *other != rotation) {
                        term *= distance(other) / (x * at(*rotation) - x * at(*other));
                    }
                    value += term;
                }
                sum += fold.pow([j]) * (log - value);
            }
            total += v.pow([i]) * outside(&set.rotations) * sum;
        }
        let first = &sets[0].rotations;
        let inside: Fr = first.iter().map(distance).product();
        let total = total / outside(first) - inside * w;
        proving.point(total / (self.s - u));
        Proof::Halo2Kzg {
            bytes: proving.bytes,
        }
    }
}

/// Both contracts of one key on one chain: the reusable one from its embedded code, the specialised one from solc.
pub struct Chain {
    pub evm: Evm,
    pub contracts: [Deployed; 2],
    pub key: VerifyingKey,
}

impl Chain {
    pub fn new(key: &VerifyingKey) -> Self {
        let target = Solidity {
            allow_dev_key: true,
        };
        let tree = target.generate(key).expect("a good key");
        let specialised = &compile(&tree["ZkinferVerifier.sol"], EMBEDDED)["ZkinferVerifier"];
        let mut evm = Evm::new(DEVELOPMENT_CHAIN_ID);
        let reusable = creation_code(key, true).expect("a good key");
        let contracts = [reusable.as_slice(), specialised]
            .map(|creation| evm.deploy(creation).expect("the contract deploys"));
        Self {
            evm,
            contracts,
            key: key.clone(),
        }
    }

    /// What both contracts say; they agree.
    pub fn accepts(&mut self, data: &[u8]) -> bool {
        let [reusable, specialised] = self.outputs(data);
        assert_eq!(reusable, specialised, "the contracts disagree");
        reusable.is_ok()
    }

    /// The revert data of each contract, or nothing if it accepted.
    pub fn outputs(&mut self, data: &[u8]) -> [Result<(), Vec<u8>>; 2] {
        self.contracts
            .map(|contract| match self.evm.call(contract.address, data) {
                Ok(outcome) => {
                    assert_eq!(
                        outcome.output,
                        word(1),
                        "a call that succeeds returns exactly 1"
                    );
                    Ok(())
                }
                Err(EvmError::Reverted { output, gas_used }) => {
                    assert!(gas_used < 1_000_000, "a refusal does not take all gas");
                    Err(output)
                }
                Err(other) => panic!("a call neither accepts nor reverts: {other}"),
            })
    }

    /// Refused by both contracts with this error, and by the native verifier.
    pub fn refuses(&mut self, call: &Call, error: &str) {
        assert!(!call.holds(&self.key), "the native verifier accepts");
        self.refuses_data(&call.encode(), error);
    }

    pub fn refuses_data(&mut self, data: &[u8], error: &str) {
        for output in self.outputs(data) {
            assert_eq!(output, Err(selector(error)), "{error}");
        }
    }
}

/// A simulator, a statement and its proof.
pub fn valid_halo2(shape: Shape, public_bytes: u32) -> (Halo2Simulator, Statement, Proof) {
    valid_halo2_of(shape, layout(public_bytes))
}

/// The same for any layout.
pub fn valid_halo2_of(shape: Shape, layout: StatementLayout) -> (Halo2Simulator, Statement, Proof) {
    let simulator = Halo2Simulator::of_layout(shape, Setup::Development, layout, 7);
    let statement = simulator.statement(1);
    let proof = simulator.prove(&statement, 2);
    (simulator, statement, proof)
}
