//! Times and peak memory at sizes that CI does not run. Run with
//! `cargo test --release --workspace --test scale -- --ignored --nocapture`.

mod small;

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use small::{Bundle, input, layers, rng};
use zkinfer_circuits::constraint::{Builder, LinearMap, Program, TableFunction};
use zkinfer_circuits::gadgets::requantize::requantize;
use zkinfer_circuits::tensor::ConvGeometry;
use zkinfer_circuits::testing::spec;
use zkinfer_engine::quote::Rates;
use zkinfer_engine::{CircuitCost, Phase, Progress, Silent, quote};
use zkinfer_verifier::{Dtype, ProofSystem, Role, Visibility};

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

/// Prints how far the work is, at most once in five seconds and for every phase that ends.
#[derive(Default)]
struct Sparse(Mutex<Option<(Phase, Instant, Instant)>>);

impl Progress for Sparse {
    fn report(&self, phase: Phase, done: u64, total: u64) -> std::ops::ControlFlow<()> {
        let mut last = self.0.lock().expect("one thread reports");
        let now = Instant::now();
        let (began, printed) = match *last {
            Some((of, began, printed)) if of == phase => (began, printed),
            _ => (now, now),
        };
        let due = done == total || (now - printed).as_secs() >= 5;
        *last = Some((phase, began, if due { now } else { printed }));
        if due {
            let spent = (now - began).as_secs_f64();
            let left = spent * (total - done) as f64 / done.max(1) as f64;
            let percent = 100 * done / total.max(1);
            println!(
                "    {phase:?} {percent:3} %  {spent:6.1} s, {left:.0} s left, peak {} MiB",
                peak_mib()
            );
        }
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
    measure_program(system, program);
}

/// A random net of convolutions over a private square image: about `rows` constraints of ultragroth.
fn conv_net(rows: usize, seed: u64) -> Arc<Program> {
    use rand::Rng;
    // four rows an activation, 60 activations a pixel
    let side = ((rows / 240) as f64).sqrt() as usize / 4 * 4;
    let mut random = rng(seed);
    let mut b = Builder::new();
    b.node("input");
    let (private, int8) = (Visibility::Private, Dtype::Int8);
    let shape = [1, 3, side, side];
    let mut x = b
        .input(spec("x", Role::Input, private, &shape, int8))
        .expect("a valid input");
    let relu = TableFunction::clamp(0, 127);
    let (mut channels, mut size) = (3, side);
    for (layer, (channels_out, stride)) in [(8, 1), (16, 1), (16, 1), (32, 2), (32, 1), (64, 2)]
        .into_iter()
        .enumerate()
    {
        b.node(&format!("conv {layer}"));
        let geometry = ConvGeometry {
            channels_in: channels,
            height: size,
            width: size,
            channels_out,
            kernel: [3, 3],
            strides: [stride, stride],
            pads: [1; 4],
            dilations: [1, 1],
            groups: 1,
        };
        let taps = 9 * channels;
        let weights = (0..channels_out * taps)
            .map(|_| random.gen_range(-127..=127))
            .collect();
        let (accumulators, size_out) = (LinearMap::Conv { geometry, weights }, size / stride);
        let bias = (0..channels_out * size_out * size_out)
            .map(|k| (k / (size_out * size_out)) as i64 * 37 - 300)
            .collect();
        let acc = b.linear(accumulators, &x, bias).expect("a valid map");
        // a spread of a few hundred around zero
        let multiplier = (1 << 24) / (9 * channels as i64);
        x = requantize(&mut b, &acc, vec![multiplier], 24, 3, &relu).expect("a valid layer");
        (channels, size) = (channels_out, size_out);
    }
    let shape = [1, channels, size, size];
    b.output(&x, spec("y", Role::Output, private, &shape, int8))
        .expect("a valid output");
    Arc::new(b.finish().expect("a complete program"))
}

fn measure_program(system: ProofSystem, program: Arc<Program>) {
    let quoted = quote(&program, system).expect("a quote");
    let rates = Rates::reference();
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
    let bundle = Bundle::watched(program, system, 1, &Sparse::default());
    lap("setup", quoted.setup.core_seconds(&rates));
    let prover = bundle.prover();
    lap("prepare", quoted.load.core_seconds(&rates));
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
        lap("prove", quoted.prove.core_seconds(&rates));
    }
}

#[test]
#[ignore = "measures; run by hand"]
fn ultragroth_of_a_domain_of_2_to_the_16() {
    measure(ProofSystem::UltraGroth, 1200, 9, 16);
}

/// 10^6 constraints, or `ZKINFER_ROWS` of them: 10^7 take 7 GB of disk, in `TMPDIR`, and about as much memory.
#[test]
#[ignore = "measures; run by hand"]
fn ultragroth_of_a_large_convolutional_net() {
    let rows = std::env::var("ZKINFER_ROWS").map_or(Ok(1_000_000), |rows| rows.parse());
    let start = Instant::now();
    let program = conv_net(rows.expect("a number of rows"), 1);
    println!(
        "\nprogram built in {:.1} s, peak {} MiB",
        start.elapsed().as_secs_f64(),
        peak_mib()
    );
    measure_program(ProofSystem::UltraGroth, program);
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
