//! Other libraries beside zkinfer, in one process, in turns: multiplications, transforms, a whole Groth16 proof.
//!
//! `cargo bench -p zkinfer-benches --bench peers -- [msm] [ntt] [groth16] [--threads N] [--repeats N]`; prints Markdown. Each round runs
//! every contender once, so that a slow moment of the machine meets all of them; the ratio is of medians.

#![forbid(unsafe_code)]

mod groth16;
mod kernels;

use std::time::Instant;

/// One library's name and one run of it.
pub(crate) type Contender<'a> = (&'static str, Box<dyn FnMut() + 'a>);

/// A result that the compiler may not leave out.
pub(crate) fn keep<T>(result: T) {
    std::hint::black_box(result);
}

/// Runs the contenders in turns and prints minimum, median, maximum and the ratio to the first one's median.
pub(crate) fn compare(what: &str, repeats: usize, mut contenders: Vec<Contender<'_>>) {
    let mut times = vec![Vec::with_capacity(repeats); contenders.len()];
    for (_, run) in &mut contenders {
        run();
    }
    for _ in 0..repeats {
        for ((_, run), times) in contenders.iter_mut().zip(&mut times) {
            let start = Instant::now();
            run();
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    for times in &mut times {
        times.sort_by(f64::total_cmp);
    }
    let first = times[0][repeats / 2];
    for ((name, _), times) in contenders.iter().zip(&times) {
        let median = times[repeats / 2];
        println!(
            "| {what} | {name} | {:.2} | {median:.2} | {:.2} | {:.2} |",
            times[0],
            times[repeats - 1],
            median / first
        );
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |flag: &str, default: usize| {
        let at = words.iter().position(|word| word == flag);
        let value = at.and_then(|at| words.get(at + 1)?.parse().ok());
        value.unwrap_or(default)
    };
    let (threads, repeats) = (number("--threads", 2), number("--repeats", 5).max(1));
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .expect("the first pool of the process");
    let all = ["msm", "ntt", "groth16"];
    let asked = |name: &str| {
        let none = !words.iter().any(|word| all.contains(&word.as_str()));
        none || words.iter().any(|word| word == name)
    };
    println!(
        "{threads} threads, {repeats} repeats, milliseconds; vector instructions: {}\n",
        zkinfer_gpu::Cpu::has_lanes()
    );
    println!("| what | library | min | median | max | × ours |");
    println!("|---|---|---:|---:|---:|---:|");
    if asked("msm") {
        kernels::multiplications(repeats);
    }
    if asked("ntt") {
        kernels::transforms(repeats);
    }
    if asked("groth16") {
        groth16::proofs(repeats);
    }
}
