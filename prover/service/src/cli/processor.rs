//! Processor time of this process: what its threads spent on processors, in all.

use std::{
    fs,
    sync::OnceLock,
    time::{Duration, Instant},
};

/// Where Linux tells it, in nanoseconds for each thread.
const TASKS: &str = "/proc/self/task";

/// Processor time of the threads that are there. Where the system does not tell it, the time that passed, times the threads of the pool: what
/// it is while nothing else runs.
pub(super) fn time() -> Duration {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let begun = BEGUN.get_or_init(Instant::now);
    of_threads().unwrap_or_else(|| begun.elapsed() * rayon::current_num_threads() as u32)
}

fn of_threads() -> Option<Duration> {
    let mut nanoseconds = 0u64;
    for task in fs::read_dir(TASKS).ok()?.flatten() {
        // A thread may have ended since.
        if let Ok(text) = fs::read_to_string(task.path().join("schedstat")) {
            nanoseconds += text.split_whitespace().next()?.parse::<u64>().ok()?;
        }
    }
    (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_time() {
        let begun = time();
        let mut x = 1u64;
        while time() == begun {
            for _ in 0..1_000_000 {
                x = std::hint::black_box(x.wrapping_mul(3));
            }
        }
        assert!(time() > begun);
    }
}
