//! Small random integer models: eval = solver = both R1CS forms = Halo2 in several layouts, and a tampered witness is refused.
//!
//! `ZKINFER_FUZZ_SECONDS` goes on with further seeds for so long (default: the first graphs only), from `ZKINFER_FUZZ_SEED`.

#![allow(clippy::unwrap_used)]

mod graphs;

use graphs::{Growing, random_input};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zkinfer_circuits::arithmetization::halo2::{Halo2Circuit, Plan, Products};
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::{Assignment, BuildError, Program, solve};
use zkinfer_circuits::model::Model;
use zkinfer_circuits::ops::Op;
use zkinfer_circuits::tensor::Tensor;
use zkinfer_circuits::testing::{Forger, Halo2Forger};

const GRAPHS: u64 = 40;

/// Operators that no random graph has, and why.
const NOT_IN_GRAPHS: &[(&str, &str)] = &[(
    "Lookup",
    "its index stands for itself, and layers pass real numbers on",
)];

fn random_model(seed: u64) -> (Model, StdRng) {
    graphs::random_model(StdRng::seed_from_u64(seed))
}

#[test]
fn every_operator_grows_in_random_graphs() {
    let layers = Growing::<StdRng>::layers();
    let grown: Vec<&str> = layers.iter().flat_map(|layer| layer.0).copied().collect();
    for case in Op::cases() {
        let name = case.op.name();
        let excused = NOT_IN_GRAPHS
            .iter()
            .any(|(op, why)| *op == name && !why.is_empty());
        assert!(
            grown.contains(&name) || excused,
            "{name}: add it to graphs::Growing::layers"
        );
    }
}

/// Changes `n` random wires in either form of R1CS, and as often tampers in the ways of [`Forger::tampering`], with the wires of
/// `other` at hand; each must be refused. How many were tried.
fn refused_in_both_forms(
    program: &Arc<Program>,
    [solved, other]: [&Assignment; 2],
    rng: &mut StdRng,
    n: usize,
    seed: u64,
) -> usize {
    let mut forgeries = 0;
    for form in [Form::Plain, Form::Committed] {
        let circuit = R1cs::lower(program, form).unwrap();
        let forger = Forger::new(&circuit, solved);
        forger
            .check_honest()
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let single: Vec<_> = forger.single_changes().collect();
        let other = Forger::new(&circuit, other);
        for k in 0..2 * single.len().min(n) {
            let changes = match k % 2 {
                0 => single[rng.gen_range(0..single.len())].clone(),
                _ => forger.tampering(&other, &mut |n| rng.gen_range(0..n)),
            };
            assert!(
                !forger.accepts(&changes, None),
                "seed {seed}, {form:?}: {changes:?}"
            );
            forgeries += 1;
        }
    }
    forgeries
}

/// The program of a model; none when a table would be too wide: the builder's intervals know less of a table's values than the model's
/// facts, by which the graph chose its multipliers.
fn synthesized(model: &Model, seed: u64) -> Option<Program> {
    match model.synthesize() {
        Ok(program) => Some(program),
        Err(BuildError::TableTooWide { .. }) => None,
        Err(e) => {
            let names = model.nodes().iter().map(|n| &n.name);
            let nodes: Vec<_> = names.zip(&model.facts()[1..]).collect();
            panic!("seed {seed}: {e}: {nodes:?}")
        }
    }
}

/// One graph in every form; how many forgeries were refused.
fn check_graph(seed: u64) -> usize {
    let (model, mut rng) = random_model(seed);
    let Some(program) = synthesized(&model, seed).map(Arc::new) else {
        return 0;
    };
    assert_eq!(
        Program::decode(&program.encode()).unwrap(),
        *program,
        "seed {seed}"
    );
    assert_eq!(
        Model::decode(&model.encode()).unwrap(),
        model,
        "seed {seed}"
    );
    let x = random_input(&model, &mut rng);
    let y = model.eval(std::slice::from_ref(&x)).unwrap();
    let solved = solve(&program, &[x]).unwrap();
    assert_eq!(solved.outputs(&program), y, "seed {seed}: solver and eval");
    let other = solve(&program, &[random_input(&model, &mut rng)]).unwrap();
    let mut forgeries = refused_in_both_forms(&program, [&solved, &other], &mut rng, 40, seed);
    for products in [Products::Always, Products::Never] {
        let plan = Plan {
            limb_bits: rng.gen_range(4..=9),
            width: [1, 2, 3, 8][rng.gen_range(0..4)],
            products,
        };
        let circuit = Halo2Circuit::lower_with(&program, plan).unwrap();
        let forger = Halo2Forger::new(&circuit, &solved);
        forger
            .check_honest()
            .unwrap_or_else(|e| panic!("seed {seed}, {plan:?}: {e}"));
        let lies = forger.lies(false);
        let mut lie = || lies[rng.gen_range(0..lies.len())].clone();
        // one, or several at once
        let some: Vec<_> = (0..lies.len().min(40))
            .map(|k| (0..k % 4).fold(lie(), |all, _| all.and(&lie())))
            .collect();
        forgeries += forger
            .check_lies(&some)
            .unwrap_or_else(|e| panic!("seed {seed}, {plan:?}: {e}"));
    }
    forgeries
}

#[test]
fn random_graphs_agree_in_every_form_and_refuse_tampering() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let until = number("ZKINFER_FUZZ_SECONDS").map(|s| Instant::now() + Duration::from_secs(s));
    let first = number("ZKINFER_FUZZ_SEED").unwrap_or(0);
    let (mut seed, mut forgeries) = (first, 0);
    while seed < first + GRAPHS || until.is_some_and(|until| Instant::now() < until) {
        forgeries += check_graph(seed);
        seed += 1;
    }
    println!("{} graphs, {forgeries} forgeries refused", seed - first);
    assert!(forgeries > 1000);
}

/// Writes what the targets in `fuzz/` start from into the folder that SEEDS names.
#[test]
#[ignore = "writes files; set SEEDS"]
fn write_seeds() {
    let folder = PathBuf::from(std::env::var("SEEDS").unwrap());
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    };
    for seed in 0..200 {
        let (model, mut rng) = random_model(seed);
        write("decode_model", &format!("graph-{seed}"), &model.encode());
        if let Some(program) = synthesized(&model, seed) {
            write(
                "decode_program",
                &format!("graph-{seed}"),
                &program.encode(),
            );
        }
        let drawn: Vec<u8> = (0..512).map(|_| rng.r#gen()).collect();
        write("random_graph", &format!("drawn-{seed}"), &drawn);
    }
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    for kind in ["ops", "bad", "float", "quantized"] {
        for entry in std::fs::read_dir(models.join(kind)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap_or_default();
            if path.extension().is_some_and(|e| e == "onnx") && bytes.len() < 20_000 {
                let name = path.file_name().unwrap().to_string_lossy();
                write("import_onnx", &format!("{kind}-{name}"), &bytes);
            }
        }
    }
}

/// Inferences in the batches of random graphs.
const BATCH: u32 = 3;

#[test]
fn random_graphs_in_batches_are_their_single_inferences_and_refuse_tampering() {
    // models whose pooling comes before a requantization in a batch, and some others
    let reordered = |seed: &u64| {
        let model = random_model(*seed).0;
        let Some(single) = synthesized(&model, *seed) else {
            return false;
        };
        single.batched(BATCH).unwrap() != model.synthesize_batch(BATCH).unwrap()
    };
    let pooled: Vec<u64> = (0..800).filter(reordered).take(8).collect();
    assert_eq!(pooled.len(), 8);
    let mut forgeries = 0usize;
    for seed in pooled.into_iter().chain(0..8) {
        let (model, mut rng) = random_model(seed);
        let program = Arc::new(model.synthesize_batch(BATCH).unwrap());
        assert_eq!(Program::decode(&program.encode()).unwrap(), *program);
        let xs: Vec<Tensor> = (0..BATCH).map(|_| random_input(&model, &mut rng)).collect();
        let ys: Vec<Tensor> = xs
            .iter()
            .flat_map(|x| model.eval(std::slice::from_ref(x)).unwrap())
            .collect();
        let solved = solve(&program, &xs).unwrap();
        assert_eq!(solved.outputs(&program), ys, "seed {seed}: solver and eval");
        let others: Vec<Tensor> = (0..BATCH).map(|_| random_input(&model, &mut rng)).collect();
        let other = solve(&program, &others).unwrap();
        forgeries += refused_in_both_forms(&program, [&solved, &other], &mut rng, 20, seed);
        let circuit = Halo2Circuit::lower(&program).unwrap();
        let forger = Halo2Forger::new(&circuit, &solved);
        forger
            .check_honest()
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let lies = forger.lies(false);
        let some: Vec<_> = (0..lies.len().min(20))
            .map(|_| lies[rng.gen_range(0..lies.len())].clone())
            .collect();
        forgeries += forger
            .check_lies(&some)
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
    assert!(forgeries > 500, "{forgeries}");
}
