//! Small programs with keys in a temporary folder, for every test of this crate.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::PathBuf;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tempfile::TempDir;
use zkinfer_circuits::constraint::{Builder, LinearMap, Program, TableFunction};
use zkinfer_circuits::gadgets::requantize::requantize;
use zkinfer_circuits::tensor::Tensor;
use zkinfer_circuits::testing::{spec, tiny_dense};
use zkinfer_engine::{Backend, Progress, ProofInput, Prover, Silent, backend};
use zkinfer_gpu::Cpu;
use zkinfer_params::dev_setup::Trapdoor;
use zkinfer_params::keys::{KeyWriter, ProvingKeyFile};
use zkinfer_verifier::{Context, Dtype, ProofSystem, Role, VerifyingKey, Visibility};

/// A dense layer of four inputs and three outputs.
pub fn dense(bias: i64) -> Arc<Program> {
    let weights = vec![3, -5, 7, 2, -1, 8, 0, 4, -9, 6, 1, -2];
    tiny_dense(weights, vec![bias, -bias, 2 * bias], 4, Visibility::Public)
        .expect("a valid program")
}

/// Layers of `width` requantized activations with a ReLU, each a scaled copy of the one before.
pub fn layers(width: usize, n_layers: usize) -> Arc<Program> {
    let mut b = Builder::new();
    b.node("input");
    let shape = [1, width];
    let mut x = b
        .input(spec(
            "x",
            Role::Input,
            Visibility::Public,
            &shape,
            Dtype::Int8,
        ))
        .expect("a valid input");
    let relu = TableFunction::clamp(0, 127);
    for layer in 0..n_layers {
        b.node(&format!("layer {layer}"));
        let factors = (0..width).map(|i| 90 + (i % 37) as i64).collect();
        let scaled = b
            .linear(LinearMap::Scale { factors }, &x, vec![11])
            .expect("a valid map");
        x = requantize(&mut b, &scaled, vec![1 << 17], 24, 3, &relu).expect("a valid layer");
    }
    b.output(
        &x,
        spec("y", Role::Output, Visibility::Private, &shape, Dtype::Int8),
    )
    .expect("a valid output");
    Arc::new(b.finish().expect("a complete program"))
}

/// Every row of two `n` × `n` matrices by every row of the same matrix moved by one, requantized.
pub fn products_of_rows(n: usize) -> Arc<Program> {
    let mut b = Builder::new();
    b.node("rows");
    let shape = [2, n, n];
    let io = |name, role, visibility| spec(name, role, visibility, &shape, Dtype::Int8);
    let x = b
        .input(io("x", Role::Input, Visibility::Private))
        .expect("a valid input");
    let moved = b.combine(&[(1, &x)], 1).expect("a small sum");
    let y = b
        .contract(&x, &moved, [2, n, n, n])
        .expect("operands of one shape");
    let clamp = TableFunction::clamp(-128, 127);
    let y = requantize(&mut b, &y, vec![1 << 14], 24, 3, &clamp).expect("a valid layer");
    b.output(&y, io("y", Role::Output, Visibility::Public))
        .expect("a valid output");
    Arc::new(b.finish().expect("a complete program"))
}

/// An input of the program's shape.
pub fn input(program: &Program, seed: i64) -> ProofInput {
    let shape: Vec<usize> = program.layout().tensors[0]
        .shape
        .iter()
        .map(|&d| d as usize)
        .collect();
    let len: usize = shape.iter().product();
    let data = (0..len as i64)
        .map(|i| (i * 37 + seed * 11) % 256 - 128)
        .collect();
    ProofInput {
        tensors: vec![Tensor { shape, data }],
        context: context(7),
    }
}

/// A context that ends in `byte`.
pub fn context(byte: u8) -> Context {
    let mut bytes = [0; 32];
    bytes[31] = byte;
    Context::from_bytes(bytes).expect("below 2^253")
}

/// A random generator with a fixed seed.
pub fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// A program with its keys on disk.
pub struct Bundle {
    pub program: Arc<Program>,
    pub backend: Box<dyn Backend>,
    pub vk: VerifyingKey,
    pub dir: TempDir,
}

impl Bundle {
    pub fn new(program: Arc<Program>, system: ProofSystem, seed: u64) -> Self {
        Self::watched(program, system, seed, &Silent)
    }

    pub fn watched(
        program: Arc<Program>,
        system: ProofSystem,
        seed: u64,
        progress: &dyn Progress,
    ) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let backend = backend(system, Arc::new(Cpu));
        let mut writer = KeyWriter::create(&dir.path().join("proving.key")).expect("created");
        let trapdoor = Trapdoor::insecure_from_seed_for_tests(seed);
        let vk = backend
            .setup(&program, [9; 32], trapdoor.into(), &mut writer, progress)
            .expect("keys are made");
        writer.finish().expect("the key is written");
        Self {
            program,
            backend,
            vk,
            dir,
        }
    }

    pub fn key_path(&self) -> PathBuf {
        self.dir.path().join("proving.key")
    }

    pub fn key(&self) -> ProvingKeyFile {
        ProvingKeyFile::open(&self.key_path()).expect("the key opens")
    }

    pub fn prover(&self) -> Box<dyn Prover> {
        self.backend
            .prepare(self.program.clone(), self.key(), self.vk.clone())
            .expect("the parts belong together")
    }
}
