//! Time and memory of compiling and solving, from 10^4 to 10^8 multiply-accumulates.
//!
//! Each step of each model runs in a child process of its own, whose peak resident memory (VmHWM) is taken; that of the same step on
//! a model of a few weights is taken off. Which of its program's pages a process holds is chance, so for small models both are the least of three.
//! Seconds are those of processors: what else runs does not count. Activations are the elements of inputs and requantized tensors,
//! not accumulators; weights are those of the layers, without biases. Exits with 1 when compiling and solving take more than 64 bytes for every weight and 512 for
//! every activation, or when their time grows by more than [`MAX_GROWTH`] from 10^6 to 10^8.

#![forbid(unsafe_code)]

mod child;
mod shapes;

use child::{Report, Step};
use shapes::Shape;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Multiply-accumulates of the models, roughly.
const SIZES: [u64; 5] = [10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
/// A model whose memory is what the process itself takes.
const NOTHING: u64 = 400;
/// Below it, the pages of the program itself are a part of the peak that shows.
const SMALL: u64 = 10_000_000;
const BYTES_PER_WEIGHT: f64 = 64.0;
const BYTES_PER_ACTIVATION: f64 = 512.0;
/// Most growth of the time of one unit from a model of 10^6 to one of 10^8.
const MAX_GROWTH: f64 = 3.0;

/// What the children of one model reported.
struct Measured {
    import: Report,
    compile: Report,
    lower: Report,
}

impl Measured {
    /// Runs every step on the model of this shape and size.
    fn new(shape: Shape, macs: u64, folder: &Path) -> Self {
        std::fs::write(folder.join("model.onnx"), shape.onnx(macs)).expect("a file in TMPDIR");
        let run = |step| {
            let mut report = in_child(step, shape, macs, folder);
            if macs < SMALL {
                let peaks = (1..3).map(|_| in_child(step, shape, macs, folder)["peak"]);
                let least = peaks.fold(report["peak"], f64::min);
                report.insert("peak".to_owned(), least);
            }
            report
        };
        Self {
            import: run(Step::Import),
            compile: run(Step::Compile),
            lower: run(Step::Lower),
        }
    }

    fn seconds(&self) -> f64 {
        self.compile["synthesize"] + self.compile["solve"]
    }

    fn bound(&self) -> f64 {
        BYTES_PER_WEIGHT * self.compile["weights"]
            + BYTES_PER_ACTIVATION * self.compile["activations"]
    }

    fn units(&self) -> f64 {
        self.compile["weights"] + self.compile["activations"]
    }
}

/// Runs a step in a process of its own.
fn in_child(step: Step, shape: Shape, macs: u64, folder: &Path) -> Report {
    let program = std::env::current_exe().expect("a running program has a path");
    let output = Command::new(program)
        .args(["--child", step.name(), shape.name(), &macs.to_string()])
        .arg(folder)
        .output()
        .expect("this program runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{} of {}/{macs}: {errors}",
        step.name(),
        shape.name()
    );
    child::parse(&String::from_utf8_lossy(&output.stdout))
}

/// The peak of a step without what the process itself takes; 0 where the processes differ by more than the model takes.
fn above(report: &Report, nothing: &Report) -> f64 {
    (report["peak"] - nothing["peak"]).max(0.0)
}

/// Prints one line for each model and returns what is wrong.
fn print_bounded(shape: Shape, nothing: &Measured, all: &[Measured]) -> Vec<String> {
    let unit = shape.unit();
    println!("\n### {}\n\n{}\n", shape.name(), shape.what());
    println!(
        "| MACs | weights | activations | synthesize s | solve s | ns per weight + activation | ns per MAC | peak bytes | bound | of it | holds |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|");
    let mut wrong = vec![];
    for measured in all {
        let report = &measured.compile;
        let peak = above(report, &nothing.compile);
        let holds = peak <= measured.bound();
        println!(
            "| {} | {} | {} | {:.6} | {:.6} | {:.1} | {:.2} | {peak} | {} | {:.0} % | {} |",
            report["macs"],
            report["weights"],
            report["activations"],
            report["synthesize"],
            report["solve"],
            1e9 * measured.seconds() / measured.units(),
            1e9 * measured.seconds() / report["macs"],
            measured.bound(),
            100.0 * peak / measured.bound(),
            if holds { "yes" } else { "NO" }
        );
        if !holds {
            wrong.push(format!(
                "{} of {} MACs: {peak} bytes, at most {} are allowed",
                shape.name(),
                report["macs"],
                measured.bound()
            ));
        }
    }
    let time = |measured: &Measured| measured.seconds() / unit.of(&measured.compile);
    if let [.., million, _, last] = all {
        let growth = time(last) / time(million);
        println!(
            "\nTime per {} from 10^6 to 10^8: times {growth:.2}.",
            unit.name()
        );
        if growth > MAX_GROWTH {
            wrong.push(format!(
                "{}: the time per {} grows {growth:.2} times, at most {MAX_GROWTH} is allowed",
                shape.name(),
                unit.name()
            ));
        }
    }
    wrong
}

/// What comes before and after: shown, and held to no bound.
fn print_beside(nothing: &Measured, all: &[Measured]) {
    println!(
        "\n| MACs | file bytes | import s | quantize s | peak bytes | of the bound | lower s | rows | synthesize and lower, peak bytes | of the bound |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for measured in all {
        let (import, lower) = (&measured.import, &measured.lower);
        let peak_import = above(import, &nothing.import);
        let peak_lower = above(lower, &nothing.lower);
        println!(
            "| {} | {} | {:.4} | {:.4} | {peak_import} | {:.0} % | {:.4} | {} | {peak_lower} | {:.0} % |",
            measured.compile["macs"],
            import["file"],
            import["import"],
            import["quantize"],
            100.0 * peak_import / measured.bound(),
            lower["lower"],
            lower["rows"],
            100.0 * peak_lower / measured.bound(),
        );
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, step, shape, macs, folder] = &arguments[..]
        && flag == "--child"
    {
        child::run(step, shape, macs, Path::new(folder));
        return ExitCode::SUCCESS;
    }
    // a part of a shape's name chooses; cargo adds arguments of its own
    let words: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let chosen = |shape: &Shape| {
        words.is_empty()
            || words
                .iter()
                .any(|word| shape.name().contains(word.as_str()))
    };
    let folder = tempfile::tempdir().expect("a folder in TMPDIR");
    let mut wrong = vec![];
    for shape in Shape::ALL.into_iter().filter(chosen) {
        let nothing = Measured::new(shape, NOTHING, folder.path());
        let all = SIZES.map(|macs| Measured::new(shape, macs, folder.path()));
        wrong.extend(print_bounded(shape, &nothing, &all));
        print_beside(&nothing, &all);
        println!(
            "\nTaken off: {} bytes (import), {} (compile and solve), {} (lower).",
            nothing.import["peak"], nothing.compile["peak"], nothing.lower["peak"]
        );
    }
    for line in &wrong {
        eprintln!("{line}");
    }
    match wrong.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
