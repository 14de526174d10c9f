//! Times and peak memory at sizes that CI does not run. Run with
//! `cargo test --release --workspace --test scale -- --ignored --nocapture`.

mod small;

use std::fs;
use std::time::Instant;

use small::{Bundle, input, layers, rng};
use zkinfer_engine::{CircuitCost, Phase, Progress, Silent, quote};
use zkinfer_verifier::ProofSystem;

fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

/// Seconds of all threads of this process: steadier than wall-clock time on a busy machine.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit(')').next().map_or(0, |fields| {
        fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum::<u64>()
    });
    ticks as f64 / 100.0
}

/// Prints the moment of every report.
struct Clock(Instant, f64);

impl Progress for Clock {
    fn report(&self, phase: Phase, done: u64, total: u64) -> std::ops::ControlFlow<()> {
        println!(
            "    {:8.3} s wall {:6.2} s cpu  {phase:?} {done}/{total}",
            self.0.elapsed().as_secs_f64(),
            cpu_seconds() - self.1
        );
        std::ops::ControlFlow::Continue(())
    }
}

fn measure(system: ProofSystem, width: usize, n_layers: usize, log_domain: u32) {
    let program = layers(width, n_layers);
    let quoted = quote(&program, system).expect("a quote");
    assert_eq!(
        quoted.domain.ilog2(),
        log_domain,
        "the size in the test's name"
    );
    println!();
    let (wires, committed) = match &quoted.circuit {
        CircuitCost::R1cs { cost, wires } => (*wires, cost.committed),
        CircuitCost::Halo2(_) => (0, 0),
    };
    println!(
        "{system}: {} rows, domain 2^{}, {wires} wires ({committed} committed), key {} MiB",
        quoted.rows,
        quoted.domain.ilog2(),
        quoted.key_bytes >> 20
    );
    let mut clock = (Instant::now(), cpu_seconds());
    let mut lap = |what: &str, quoted_core_seconds: f64| {
        println!(
            "  {what}: {:.2} s wall, {:.2} s cpu (quoted {quoted_core_seconds:.2}), peak {} MiB",
            clock.0.elapsed().as_secs_f64(),
            cpu_seconds() - clock.1,
            peak_mib(),
        );
        clock = (Instant::now(), cpu_seconds());
    };
    let bundle = Bundle::new(program, system, 1);
    lap("setup", quoted.setup_core_seconds);
    let prover = bundle.prover();
    lap("prepare", 0.0);
    // Forgets the set-up's peak, where the kernel allows it.
    let _ = fs::write("/proc/self/clear_refs", "5");
    println!("  quoted {} MiB", quoted.ram_bytes >> 20);
    let one = input(&bundle.program, 1);
    for round in 0..3 {
        let start = Clock(Instant::now(), cpu_seconds());
        match round {
            2 => prover.prove(&one, &mut rng(round), &start),
            _ => prover.prove(&one, &mut rng(round), &Silent),
        }
        .expect("a proof");
        lap("prove", quoted.prove_core_seconds);
    }
}

#[test]
#[ignore = "measures; run by hand"]
fn ultragroth_of_a_domain_of_2_to_the_16() {
    measure(ProofSystem::UltraGroth, 1200, 9, 16);
}

#[test]
#[ignore = "measures; run by hand"]
fn groth16_of_a_domain_of_2_to_the_15() {
    measure(ProofSystem::Groth16, 400, 2, 15);
}

#[test]
#[ignore = "measures; run by hand"]
fn groth16_of_a_domain_of_2_to_the_19() {
    measure(ProofSystem::Groth16, 1200, 8, 19);
}

#[test]
#[ignore = "measures; run by hand"]
fn halo2_kzg_of_a_domain_of_2_to_the_12() {
    measure(ProofSystem::Halo2Kzg, 400, 2, 12);
}

#[test]
#[ignore = "measures; run by hand"]
fn halo2_kzg_of_a_domain_of_2_to_the_15() {
    measure(ProofSystem::Halo2Kzg, 1200, 8, 15);
}
