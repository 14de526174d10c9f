//! Times, the table on standard output, the file of results.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};

/// Seconds of runs of one thing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Times {
    /// Of `repeats` runs of `run`, after one that warms up. What `prepare` makes for a run is not timed.
    pub(crate) fn of<T>(
        repeats: usize,
        mut prepare: impl FnMut() -> T,
        mut run: impl FnMut(T),
    ) -> Self {
        run(prepare());
        let mut seconds: Vec<f64> = (0..repeats.max(1))
            .map(|_| {
                let prepared = prepare();
                let begun = Instant::now();
                run(prepared);
                begun.elapsed().as_secs_f64()
            })
            .collect();
        seconds.sort_by(f64::total_cmp);
        Self {
            min: seconds[0],
            median: seconds[seconds.len() / 2],
            max: seconds[seconds.len() - 1],
        }
    }

    /// Of one of `n` things that a run did.
    pub(crate) fn each(self, n: usize) -> Self {
        let n = n as f64;
        Self {
            min: self.min / n,
            median: self.median / n,
            max: self.max / n,
        }
    }
}

/// What a line is about.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) what: &'static str,
    pub(crate) log_n: u32,
    /// Which scalars.
    pub(crate) scalars: String,
    /// Bytes of tables of bases.
    pub(crate) table_bytes: u64,
}

/// The limit at the clock that was measured beside the times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AtClock {
    pub(crate) seconds: f64,
    pub(crate) clock_hz: f64,
}

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    path: Option<PathBuf>,
    all: Value,
}

impl Report {
    pub(crate) fn new(path: Option<PathBuf>, machine: Value) -> Self {
        let command: Vec<String> = std::env::args().collect();
        let all = json!({ "command": command, "machine": machine, "rates": [], "times": [] });
        Self { path, all }
    }

    /// Begins the table of rates.
    pub(crate) fn begin_rates(&self) {
        println!("\n| rate | measured | at most | measured / at most | by the wall |");
        println!("|---|---:|---:|---:|---:|");
    }

    /// A rate: what was measured, what it can be at most, and the same for the whole GPU by the wall.
    pub(crate) fn rate(
        &mut self,
        name: &str,
        unit: &str,
        measured: f64,
        most: Option<f64>,
        wall: &str,
    ) {
        let (limit, ratio) = most.map_or_else(
            || ("".to_owned(), "".to_owned()),
            |most| (format!("{most:.1}"), format!("{:.2}", measured / most)),
        );
        println!("| {name}, {unit} | {measured:.2} | {limit} | {ratio} | {wall} |");
        let line = json!({ "name": name, "unit": unit, "measured": measured, "at_most": most, "wall": wall });
        self.add("rates", line);
    }

    /// Begins the table of times.
    pub(crate) fn begin_times(&self) {
        println!("\nMilliseconds; the limit is that of the clock in the same line.\n");
        println!(
            "| what | n | scalars | table | min | median | max | limit | limit / median | MHz |"
        );
        println!("|---|---:|---|---:|---:|---:|---:|---:|---:|---:|");
    }

    pub(crate) fn times(&mut self, subject: &Subject, times: Times, limit: Option<AtClock>) {
        let ms = |seconds: f64| format!("{:.3}", seconds * 1e3);
        let table = match subject.table_bytes {
            0 => "".to_owned(),
            bytes => format!("{} MiB", bytes >> 20),
        };
        let [limit_ms, ratio, clock] = limit.map_or_else(Default::default, |limit| {
            [
                ms(limit.seconds),
                format!("{:.2}", limit.seconds / times.median),
                format!("{:.0}", limit.clock_hz / 1e6),
            ]
        });
        println!(
            "| {} | 2^{} | {} | {table} | {} | {} | {} | {limit_ms} | {ratio} | {clock} |",
            subject.what,
            subject.log_n,
            subject.scalars,
            ms(times.min),
            ms(times.median),
            ms(times.max),
        );
        let line = json!({
            "what": subject.what,
            "log_n": subject.log_n,
            "scalars": subject.scalars,
            "table_bytes": subject.table_bytes,
            "min_s": times.min,
            "median_s": times.median,
            "max_s": times.max,
            "limit_s": limit.map(|limit| limit.seconds),
            "clock_hz": limit.map(|limit| limit.clock_hz),
        });
        self.add("times", line);
    }

    /// Keeps a line, in the file at once: a run that ends early leaves what it measured.
    fn add(&mut self, list: &str, line: Value) {
        if let Some(lines) = self.all[list].as_array_mut() {
            lines.push(line);
        }
        if let Some(path) = &self.path {
            let text = format!("{:#}\n", self.all);
            fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}
