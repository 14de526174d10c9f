//! Mutated models and programs: what decodes has exactly these bytes, and becomes a program or R1CS, or is refused. Nothing panics.
//!
//! `ZKINFER_FUZZ_SECONDS` goes on for so long (default: the first mutations only), from `ZKINFER_FUZZ_SEED`. With coverage: `fuzz/`.

#![allow(clippy::unwrap_used)]

mod graphs;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::{Model, Program};

/// Mutations of models that are always tried.
const MODELS: u64 = 4000;
/// Mutations of programs that are always tried.
const PROGRAMS: u64 = 1000;
/// Random graphs that are mutated.
const GRAPHS: u64 = 100;
/// Numbers as postcard writes them: small, the largest of 32 and 64 bits, signed ends.
const NUMBERS: [&[u8]; 8] = [
    &[0],
    &[1],
    &[127],
    &[0x80, 0x80, 0x40],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0x80, 0x80, 0x80, 0x80, 0x10],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
];

fn number(name: &str) -> u64 {
    let value = std::env::var(name).ok().and_then(|v| v.parse().ok());
    value.unwrap_or(0)
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut StdRng) {
    for _ in 0..rng.gen_range(1..4) {
        let at = rng.gen_range(0..bytes.len());
        let end = (at + rng.gen_range(1..24)).min(bytes.len());
        match rng.gen_range(0..10) {
            0 => bytes[at] = rng.r#gen(),
            1 => bytes[at] ^= 1 << rng.gen_range(0..8),
            2..=4 => bytes[at] = bytes[at].wrapping_add(1),
            5 | 6 => bytes[at] = bytes[at].wrapping_sub(1),
            7 => {
                let wide = NUMBERS[rng.gen_range(0..NUMBERS.len())];
                bytes.splice(at..=at, wide.iter().copied());
            }
            8 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let from = rng.gen_range(0..bytes.len());
                bytes[at] = bytes[from];
            }
        }
    }
}

/// Whether the bytes are a model.
fn try_model(bytes: &[u8]) -> bool {
    let Ok(model) = Model::decode(bytes) else {
        return false;
    };
    assert_eq!(model.encode(), bytes, "not canonical");
    let _ = model.synthesize();
    true
}

/// Whether the bytes are a program.
fn try_program(bytes: &[u8]) -> bool {
    let Ok(program) = Program::decode(bytes) else {
        return false;
    };
    assert_eq!(program.encode(), bytes, "not canonical");
    let program = Arc::new(program);
    for form in [Form::Plain, Form::Committed] {
        let _ = R1cs::lower(&program, form);
    }
    true
}

/// Tries so many mutations of `seeds`, each against `accepted`; at least one in a hundred is accepted.
fn check(mutations: u64, seeds: &[Vec<u8>], accepted: impl Fn(&[u8]) -> bool) {
    let until = Instant::now() + Duration::from_secs(number("ZKINFER_FUZZ_SECONDS"));
    let first = number("ZKINFER_FUZZ_SEED");
    let (mut seed, mut taken, mut slowest) = (first, 0, (Duration::ZERO, first));
    while seed < first + mutations || Instant::now() < until {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bytes = seeds[rng.gen_range(0..seeds.len())].clone();
        mutate(&mut bytes, &mut rng);
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| accepted(&bytes)));
        slowest = slowest.max((start.elapsed(), seed));
        taken += u64::from(result.unwrap_or_else(|_| panic!("seed {seed} panics")));
        seed += 1;
    }
    let tried = seed - first;
    println!("{tried} mutations, {taken} taken, the slowest {slowest:?}");
    assert!(taken > tried / 100, "{taken} of {tried} are taken");
    assert!(slowest.0 < Duration::from_secs(60), "{slowest:?}");
}

fn models() -> Vec<Model> {
    let model = |seed| graphs::random_model(StdRng::seed_from_u64(seed)).0;
    (0..GRAPHS).map(model).collect()
}

#[test]
fn mutated_models_are_canonical_or_refused() {
    let seeds: Vec<Vec<u8>> = models().iter().map(Model::encode).collect();
    check(MODELS, &seeds, try_model);
}

#[test]
fn mutated_programs_are_canonical_or_refused() {
    let programs = models().into_iter().filter_map(|m| m.synthesize().ok());
    let seeds: Vec<Vec<u8>> = programs.map(|p| p.encode()).collect();
    check(PROGRAMS, &seeds, try_program);
}
