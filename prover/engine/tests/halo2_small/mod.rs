//! A small circuit of the library's own kind with its keys, for tests of everything that reads halo2-kzg proofs. [`Shape::Full`] has what
//! our lowering uses: two phases, challenges, a permutation of more columns than one product takes, several rotations, an empty fixed
//! column; [`Shape::Plain`] has none of it and reads the words in a gate. [`Bundle::of_program`] is the same for our own lowering.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::sync::Arc;

use halo2_proofs::SerdeFormat;
use halo2_proofs::circuit::{Layouter, SimpleFloorPlanner, Value};
use halo2_proofs::plonk::{
    Advice, Any, Assigned, Assignment, Challenge, Circuit, Column, ConstraintSystem, Error,
    FirstPhase, Fixed, FloorPlanner, Instance, ProvingKey, SecondPhase, Selector, create_proof,
    keygen_pk, keygen_vk, verify_proof,
};
use halo2_proofs::poly::Rotation;
use halo2_proofs::poly::commitment::Params;
use halo2_proofs::poly::kzg::commitment::{KZGCommitmentScheme, ParamsKZG};
use halo2_proofs::poly::kzg::multiopen::{ProverSHPLONK, VerifierSHPLONK};
use halo2_proofs::poly::kzg::strategy::SingleStrategy;
use halo2_proofs::transcript::TranscriptWrite;
use halo2curves::bn256::{Bn256, Fr, G1Affine};
use halo2curves::ff::Field;
use rand::SeedableRng;
use rand::rngs::StdRng;
use zkinfer_circuits::arithmetization::halo2::Halo2Circuit;
use zkinfer_circuits::constraint::{Program, solve};
use zkinfer_circuits::tensor::Tensor;
use zkinfer_engine::Silent;
use zkinfer_engine::halo2_kzg::key::{self, Powers};
use zkinfer_engine::halo2_kzg::protocol::protocol_of;
use zkinfer_engine::halo2_kzg::rounds::{self, Witness};
use zkinfer_engine::halo2_kzg::transcript::{self, EvmTranscript, from_verifier};
use zkinfer_gpu::curve::decode_point;
use zkinfer_gpu::{Bases, Curve, Device, G1, G2};
use zkinfer_verifier::{
    Context, Dtype, KeyMaterial, ProofSystem, Role, Setup, Statement, StatementLayout, TensorSpec,
    VerifyingKey, Visibility,
};

/// Rows that the gates hold on.
const ROWS: usize = 16;
/// Logarithm of the number of rows.
pub const K: u32 = 6;

/// Which circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Two phases, challenges, permutation, rotations.
    Full,
    /// One phase, no permutation, no challenge.
    Plain,
    /// Our own lowering of a program.
    Program,
}

/// The circuit, with the words it is proved for.
#[derive(Clone, Debug)]
pub struct Small {
    /// Which circuit.
    pub shape: Shape,
    /// The instance column.
    pub words: Vec<Fr>,
    /// What the advice cells that hold no word are filled with.
    pub seed: u64,
}

#[derive(Clone, Debug)]
pub struct Config {
    shape: Shape,
    a: Column<Advice>,
    b: Column<Advice>,
    c: Column<Advice>,
    second: Option<Second>,
    active: Column<Fixed>,
    inner: Column<Fixed>,
    constant: Column<Fixed>,
    instance: Column<Instance>,
}

#[derive(Clone, Debug)]
struct Second {
    d: Column<Advice>,
    e: Column<Advice>,
    theta: Challenge,
    eta: Challenge,
}

impl Circuit<Fr> for Small {
    type Config = Config;
    type FloorPlanner = SimpleFloorPlanner;
    type Params = bool;

    fn params(&self) -> bool {
        self.shape == Shape::Full
    }

    fn without_witnesses(&self) -> Self {
        self.clone()
    }

    fn configure(_: &mut ConstraintSystem<Fr>) -> Config {
        unreachable!("configured with parameters")
    }

    fn configure_with_params(cs: &mut ConstraintSystem<Fr>, full: bool) -> Config {
        let [a, b, c] = [(); 3].map(|()| cs.advice_column_in(FirstPhase));
        let [active, inner, constant, empty] = [(); 4].map(|()| cs.fixed_column());
        let instance = cs.instance_column();
        // active·(a·b²·(a + constant) − c) + empty·b: degree 5.
        cs.create_gate("product", |cells| {
            let [a, b, c] = [a, b, c].map(|column| cells.query_advice(column, Rotation::cur()));
            let [active, constant, empty] =
                [active, constant, empty].map(|column| cells.query_fixed(column, Rotation::cur()));
            vec![active * (a.clone() * b.clone() * b.clone() * (a + constant) - c) + empty * b]
        });
        let second = full.then(|| {
            cs.enable_equality(a);
            cs.enable_equality(c);
            cs.enable_equality(instance);
            cs.enable_equality(constant);
            // b is a Fibonacci sequence.
            cs.create_gate("sequence", |cells| {
                let [before, now, next] = [-1, 0, 1].map(|r| cells.query_advice(b, Rotation(r)));
                let inner = cells.query_fixed(inner, Rotation::cur());
                vec![inner * (next - now - before)]
            });
            let [theta, eta] = [(); 2].map(|()| cs.challenge_usable_after(FirstPhase));
            let [d, e] = [(); 2].map(|()| cs.advice_column_in(SecondPhase));
            // Squeezed directly before the library's own challenges.
            let _unused = cs.challenge_usable_after(SecondPhase);
            // d' = θ·d + a + 3·η·c, e'' = e + d.
            cs.create_gate("second phase", |cells| {
                let next = cells.query_advice(d, Rotation::next());
                let after = cells.query_advice(e, Rotation(2));
                let [a, c, d, e] = [a, c, d, e].map(|x| cells.query_advice(x, Rotation::cur()));
                let active = cells.query_fixed(active, Rotation::cur());
                let [theta, eta] = [theta, eta].map(|x| cells.query_challenge(x));
                let sum = d.clone() * theta + a + eta * c * Fr::from(3);
                vec![active.clone() * (next - sum), active * (after - e - d)]
            });
            Second { d, e, theta, eta }
        });
        if !full {
            cs.create_gate("words", |cells| {
                let a = cells.query_advice(a, Rotation::cur());
                let word = cells.query_instance(instance, Rotation::cur());
                let inner = cells.query_fixed(inner, Rotation::cur());
                vec![inner * (a - word)]
            });
        }
        cs.set_minimum_degree(5);
        Config {
            shape: if full { Shape::Full } else { Shape::Plain },
            a,
            b,
            c,
            second,
            active,
            inner,
            constant,
            instance,
        }
    }

    fn synthesize(&self, config: Config, mut layouter: impl Layouter<Fr>) -> Result<(), Error> {
        let full = config.shape == Shape::Full;
        let constants: Vec<Fr> = (0..ROWS).map(|row| Fr::from(7 * row as u64 + 2)).collect();
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut b = vec![Fr::random(&mut rng), Fr::random(&mut rng)];
        while b.len() <= ROWS {
            b.push(b[b.len() - 1] + b[b.len() - 2]);
        }
        let mut a: Vec<Fr> = (0..ROWS).map(|_| Fr::random(&mut rng)).collect();
        let n_words = self.words.len();
        a[..n_words].copy_from_slice(&self.words);
        a[n_words + 1] = constants[3];
        let product = |a: &[Fr], row: usize| a[row] * b[row].square() * (a[row] + constants[row]);
        a[n_words] = product(&a, 0);
        let c: Vec<Fr> = (0..ROWS).map(|row| product(&a, row)).collect();

        let first = layouter.assign_region(
            || "all",
            |mut region| {
                let mut words = Vec::new();
                let mut cells = Vec::new();
                for row in 0..ROWS {
                    region.assign_fixed(config.active, row, Fr::ONE);
                    let inner = if full { row > 0 } else { row < n_words };
                    region.assign_fixed(config.inner, row, if inner { Fr::ONE } else { Fr::ZERO });
                    let k = region.assign_fixed(config.constant, row, constants[row]);
                    let x = region
                        .assign_advice(config.a, row, Value::known(a[row]))
                        .cell();
                    let z = region
                        .assign_advice(config.c, row, Value::known(c[row]))
                        .cell();
                    words.push(x);
                    cells.push((x, z, k));
                }
                for (row, value) in b.iter().enumerate() {
                    region.assign_advice(config.b, row, Value::known(*value));
                }
                if full {
                    region.constrain_equal(cells[n_words].0, cells[0].1);
                    region.constrain_equal(cells[n_words + 1].0, cells[3].2);
                }
                if let Some(second) = &config.second {
                    region.next_phase();
                    let [theta, eta] = [second.theta, second.eta].map(|x| region.get_challenge(x));
                    let mut d = Value::known(Fr::from(9));
                    let mut e = vec![Value::known(Fr::from(4)), Value::known(Fr::from(5))];
                    for row in 0..=ROWS {
                        region.assign_advice(second.d, row, d);
                        if row < ROWS {
                            let next = e[row] + d;
                            e.push(next);
                            let (a, c) = (Value::known(a[row]), Value::known(c[row]));
                            d = d * theta + a + eta * c * Value::known(Fr::from(3));
                        }
                    }
                    for (row, value) in e.into_iter().enumerate() {
                        region.assign_advice(second.e, row, value);
                    }
                }
                Ok(words)
            },
        )?;
        if full {
            for (row, cell) in first.into_iter().take(n_words).enumerate() {
                layouter.constrain_instance(cell, config.instance, row);
            }
        }
        Ok(())
    }
}

/// The circuit with keys of the library and of ours.
#[derive(Debug)]
pub struct Bundle {
    /// Which circuit.
    pub shape: Shape,
    /// The lowered program, if it is one.
    pub circuit: Option<Halo2Circuit>,
    /// Parameters whose secret comes from the seed.
    pub params: ParamsKZG<Bn256>,
    /// The library's key.
    pub pk: ProvingKey<G1Affine>,
    /// Our key.
    pub key: VerifyingKey,
}

impl Bundle {
    /// Keys for statements of `public_bytes` bytes, 12 words at most.
    pub fn new(shape: Shape, public_bytes: u32, seed: u64) -> Self {
        let layout = layout(public_bytes);
        let circuit = Small {
            shape,
            words: vec![Fr::ZERO; layout.n_words()],
            seed: 0,
        };
        let params = ParamsKZG::<Bn256>::setup(K, StdRng::seed_from_u64(seed));
        Self::keys(shape, params, &circuit, layout)
    }

    /// Keys of a program.
    pub fn of_program(program: Arc<Program>, seed: u64) -> Self {
        let circuit = Halo2Circuit::lower(&program).expect("a circuit");
        let params = ParamsKZG::<Bn256>::setup(circuit.k(), StdRng::seed_from_u64(seed));
        let layout = program.layout().clone();
        let bundle = Self::keys(Shape::Program, params, &circuit.synthesis(), layout);
        Self {
            circuit: Some(circuit),
            ..bundle
        }
    }

    fn keys(
        shape: Shape,
        params: ParamsKZG<Bn256>,
        circuit: &impl Circuit<Fr>,
        layout: StatementLayout,
    ) -> Self {
        let vk = keygen_vk(&params, circuit).expect("a key");
        let pk = keygen_pk(&params, vk, circuit).expect("a key");
        let protocol = protocol_of(pk.get_vk(), &params).expect("a description");
        let key = VerifyingKey {
            system: ProofSystem::Halo2Kzg,
            setup: Setup::Development,
            model_id: [0x33; 32],
            circuit_digest: [0x44; 32],
            layout,
            material: KeyMaterial::Halo2Kzg(protocol),
        };
        key.check().expect("an acceptable key");
        Self {
            shape,
            circuit: None,
            params,
            pk,
            key,
        }
    }

    /// A statement and the library's proof, both from seeds.
    pub fn proven(&self, statement: u8, seed: u64) -> (Statement, Vec<u8>) {
        let mut transcript = EvmTranscript::new(&self.key.digest(), Vec::new());
        let statement = self.library_proof(statement, seed, &mut transcript);
        (statement, transcript.into_stream())
    }

    /// A statement from a seed that the library proves, with randomness from another, to a transcript.
    pub fn library_proof(
        &self,
        statement: u8,
        seed: u64,
        transcript: &mut impl TranscriptWrite<G1Affine, transcript::Challenge>,
    ) -> Statement {
        let Some(circuit) = &self.circuit else {
            let statement = self.statement(statement);
            let words = library_words(&statement);
            self.create(self.small(&words, seed), &words, seed, transcript);
            return statement;
        };
        let (solved, statement) = self.solved(circuit, statement);
        let words = library_words(&statement);
        self.create(
            circuit.assign(&solved, &statement),
            &words,
            seed,
            transcript,
        );
        statement
    }

    /// The same statement with our proof of it, from the same randomness.
    pub fn ours(
        &self,
        key: &key::ProvingKey,
        device: &dyn Device,
        statement: u8,
        seed: u64,
    ) -> (Statement, Vec<u8>) {
        let create = |statement: &Statement, witness: &dyn Witness| {
            let (digest, words) = (self.key.digest(), statement.words());
            let mut rng = StdRng::seed_from_u64(seed);
            rounds::create_proof(key, device, &digest, &words, witness, &mut rng, &Silent)
                .expect("a proof")
        };
        match &self.circuit {
            None => {
                let statement = self.statement(statement);
                let circuit = self.small(&library_words(&statement), seed);
                let proof = create(&statement, &Collected(circuit));
                (statement, proof)
            }
            Some(circuit) => {
                let (solved, statement) = self.solved(circuit, statement);
                let proof = create(&statement, &circuit.assign(&solved, &statement));
                (statement, proof)
            }
        }
    }

    /// Our proving key.
    pub fn our_key(&self, device: &dyn Device) -> key::ProvingKey {
        let (k, powers) = (self.params.k(), self.powers());
        match &self.circuit {
            None => {
                let circuit = self.small(&[Fr::ZERO; 12], 0);
                key::ProvingKey::generate(device, &circuit, k, powers, None)
            }
            Some(circuit) => {
                key::ProvingKey::generate(device, &circuit.synthesis(), k, powers, None)
            }
        }
        .expect("a key")
    }

    /// The parameters as ours.
    pub fn powers(&self) -> Powers {
        let mut raw = Vec::new();
        self.params
            .write_custom(&mut raw, SerdeFormat::RawBytes)
            .expect("written");
        let n = 1 << self.params.k();
        let (monomial, rest) = raw[4..].split_at(n * G1::POINT_BYTES);
        let (lagrange, rest) = rest.split_at(n * G1::POINT_BYTES);
        let bases = |bytes: &[u8]| {
            let points = bytes.chunks(G1::POINT_BYTES).map(decode_point::<G1>);
            Bases::from_points(points.map(|p| p.expect("a point")).collect())
        };
        Powers {
            monomial: bases(monomial),
            lagrange: bases(lagrange),
            s_g2: decode_point::<G2>(&rest[G2::POINT_BYTES..]).expect("a point"),
        }
    }

    fn solved(
        &self,
        circuit: &Halo2Circuit,
        seed: u8,
    ) -> (zkinfer_circuits::constraint::Assignment, Statement) {
        let program = circuit.program();
        let shape: Vec<usize> = program.layout().tensors[0]
            .shape
            .iter()
            .map(|&d| d as usize)
            .collect();
        let len: usize = shape.iter().product();
        let element = |i| (i as i64 * 37 + i64::from(seed) * 11) % 256 - 128;
        let data = (0..len).map(element).collect();
        let solved = solve(program, &[Tensor { shape, data }]).expect("a solution");
        let context = Context::from_bytes([seed & 0x1f; 32]).expect("below 2^253");
        let statement = solved.statement(program, context).expect("a statement");
        (solved, statement)
    }

    fn small(&self, words: &[Fr], seed: u64) -> Small {
        Small {
            shape: self.shape,
            words: words[..self.key.layout.n_words()].to_vec(),
            seed,
        }
    }

    /// A statement whose bytes come from the seed.
    pub fn statement(&self, seed: u8) -> Statement {
        let mut context = [seed; 32];
        context[0] = 0x1f & seed;
        let n = self.key.layout.public_bytes();
        Statement {
            context: Context::from_bytes(context).expect("below 2^253"),
            public_bytes: (0..n).map(|i| (i as u8).wrapping_mul(seed | 1)).collect(),
            digests: vec![],
        }
    }

    /// The library's proof of a statement.
    pub fn prove(&self, statement: &Statement, seed: u64) -> Vec<u8> {
        self.prove_words(&library_words(statement), seed)
    }

    /// The library's proof of any words.
    pub fn prove_words(&self, words: &[Fr], seed: u64) -> Vec<u8> {
        let mut transcript = EvmTranscript::new(&self.key.digest(), Vec::new());
        self.create(self.small(words, seed), words, seed, &mut transcript);
        transcript.into_stream()
    }

    fn create(
        &self,
        circuit: impl Circuit<Fr>,
        words: &[Fr],
        seed: u64,
        transcript: &mut impl TranscriptWrite<G1Affine, transcript::Challenge>,
    ) {
        create_proof::<KZGCommitmentScheme<Bn256>, ProverSHPLONK<'_, Bn256>, _, _, _, _>(
            &self.params,
            &self.pk,
            &[circuit],
            &[&[words]],
            StdRng::seed_from_u64(seed),
            transcript,
        )
        .expect("a proof");
    }

    /// What the library says.
    pub fn library_accepts(&self, words: &[Fr], proof: &[u8]) -> bool {
        let mut transcript = EvmTranscript::new(&self.key.digest(), proof);
        verify_proof::<KZGCommitmentScheme<Bn256>, VerifierSHPLONK<'_, Bn256>, _, _, _>(
            &self.params,
            self.pk.get_vk(),
            SingleStrategy::new(&self.params),
            &[&[words]],
            &mut transcript,
        )
        .is_ok()
    }

    /// The library's key in its own format.
    pub fn library_key(&self) -> Vec<u8> {
        self.pk.get_vk().to_bytes(SerdeFormat::RawBytes)
    }
}

fn library_words(statement: &Statement) -> Vec<Fr> {
    statement.words().into_iter().map(from_verifier).collect()
}

/// A circuit of the library's kind as a witness of ours: synthesized again for each phase.
struct Collected<C>(C);

impl<C: Circuit<Fr>> Witness for Collected<C> {
    fn advice(&self, phase: u8, challenges: &[Option<Fr>], column: &mut dyn FnMut(usize, &[Fr])) {
        let mut cs = ConstraintSystem::default();
        let config = C::configure_with_params(&mut cs, self.0.params());
        let mut cells = Cells {
            columns: vec![Vec::new(); cs.num_advice_columns()],
            challenges: challenges.to_vec(),
        };
        C::FloorPlanner::synthesize(&mut cells, &self.0, config, Vec::new()).expect("cells");
        for (i, values) in cells.columns.iter().enumerate() {
            if cs.advice_column_phase()[i] == phase {
                column(i, values);
            }
        }
    }
}

struct Cells {
    columns: Vec<Vec<Fr>>,
    challenges: Vec<Option<Fr>>,
}

impl Assignment<Fr> for Cells {
    fn enter_region<NR: Into<String>, N: FnOnce() -> NR>(&mut self, _: N) {}

    fn annotate_column<A: FnOnce() -> AR, AR: Into<String>>(&mut self, _: A, _: Column<Any>) {}

    fn exit_region(&mut self) {}

    fn enable_selector<A: FnOnce() -> AR, AR: Into<String>>(
        &mut self,
        _: A,
        _: &Selector,
        _: usize,
    ) -> Result<(), Error> {
        Ok(())
    }

    fn query_instance(&self, _: Column<Instance>, _: usize) -> Result<Value<Fr>, Error> {
        Ok(Value::unknown())
    }

    fn assign_advice<'v>(
        &mut self,
        column: Column<Advice>,
        row: usize,
        to: Value<Assigned<Fr>>,
    ) -> Value<&'v Assigned<Fr>> {
        let cells = &mut self.columns[column.index()];
        cells.resize(cells.len().max(row + 1), Fr::ZERO);
        to.map(|value| cells[row] = value.evaluate());
        Value::unknown()
    }

    fn assign_fixed(&mut self, _: Column<Fixed>, _: usize, _: Assigned<Fr>) {}

    fn copy(&mut self, _: Column<Any>, _: usize, _: Column<Any>, _: usize) {}

    fn fill_from_row(
        &mut self,
        _: Column<Fixed>,
        _: usize,
        _: Value<Assigned<Fr>>,
    ) -> Result<(), Error> {
        Ok(())
    }

    fn get_challenge(&self, challenge: Challenge) -> Value<Fr> {
        self.challenges[challenge.index()].map_or(Value::unknown(), Value::known)
    }

    fn push_namespace<NR: Into<String>, N: FnOnce() -> NR>(&mut self, _: N) {}

    fn pop_namespace(&mut self, _: Option<String>) {}
}

/// One public tensor.
pub fn layout(public_bytes: u32) -> StatementLayout {
    let tensor = |name: &str, role, visibility, n| TensorSpec {
        name: name.to_owned(),
        role,
        visibility,
        shape: vec![n],
        dtype: Dtype::Int8,
        scale: 0.5,
        zero_point: 0,
    };
    StatementLayout {
        tensors: vec![
            tensor("x", Role::Input, Visibility::Private, 3),
            tensor("y", Role::Output, Visibility::Public, public_bytes),
        ],
    }
}
