//! Times and peak memory at sizes that CI does not run. Run with
//! `cargo test --release -p zkinfer-engine --test scale -- --ignored --nocapture`.

mod small;

use std::fs;
use std::time::Instant;

use small::{Bundle, input, layers, rng};
use zkinfer_engine::{Phase, Progress, Silent, quote};
use zkinfer_verifier::ProofSystem;

fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

/// Prints the moment of every report.
struct Clock(Instant);

impl Progress for Clock {
    fn report(&self, phase: Phase, done: u64, total: u64) -> std::ops::ControlFlow<()> {
        println!("    {:8.3} s  {phase:?} {done}/{total}", self.0.elapsed().as_secs_f64());
        std::ops::ControlFlow::Continue(())
    }
}

fn measure(system: ProofSystem, width: usize, n_layers: usize) {
    let program = layers(width, n_layers);
    let quoted = quote(&program, system).expect("a quote");
    println!(
        "{system}: {} rows, domain 2^{}, {} wires, key {} MiB",
        quoted.rows,
        quoted.domain.ilog2(),
        quoted.wires,
        quoted.key_bytes >> 20
    );
    let start = Instant::now();
    let bundle = Bundle::new(program, system, 1);
    println!("  setup {:.2} s (quoted {:.2}), peak {} MiB", start.elapsed().as_secs_f64(), quoted.setup_seconds, peak_mib());
    let start = Instant::now();
    let prover = bundle.prover();
    println!("  prepare {:.2} s, peak {} MiB", start.elapsed().as_secs_f64(), peak_mib());
    // Forgets the set-up's peak, where the kernel allows it.
    let _ = fs::write("/proc/self/clear_refs", "5");
    let one = input(&bundle.program, 1);
    for round in 0..3 {
        let start = Instant::now();
        match round {
            2 => prover.prove(&one, &mut rng(round), &Clock(start)),
            _ => prover.prove(&one, &mut rng(round), &Silent),
        }
        .expect("a proof");
        println!(
            "  prove {:.2} s (quoted {:.2}), peak {} MiB (quoted {})",
            start.elapsed().as_secs_f64(),
            quoted.prove_seconds,
            peak_mib(),
            quoted.ram_bytes >> 20
        );
    }
}

#[test]
#[ignore = "measures; run by hand"]
fn ultragroth_of_a_domain_of_2_to_the_16() {
    measure(ProofSystem::UltraGroth, 1200, 9);
}

#[test]
#[ignore = "measures; run by hand"]
fn groth16_of_a_domain_of_2_to_the_16() {
    measure(ProofSystem::Groth16, 400, 2);
}

#[test]
#[ignore = "measures; run by hand"]
fn groth16_of_a_domain_of_2_to_the_19() {
    measure(ProofSystem::Groth16, 1200, 8);
}
